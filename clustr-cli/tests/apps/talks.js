// Output of every kind, then a server.
const http = require('http');
process.stdout.write('a plain line\n');
process.stdout.write(Buffer.from([0x62, 0x69, 0x6e, 0xff, 0xfe, 0x00, 0x0a]));
process.stdout.write('L'.repeat(100000) + '\n');
process.stderr.write('an error line\n');
http.createServer((request, response) => {
  if (request.url === '/flood') for (let line = 0; line < 2000; line++) console.log(`flood ${line} ${'.'.repeat(200)}`);
  response.end(JSON.stringify({ pid: process.pid }));
}).listen(process.env.PORT, () => process.stdout.write('no end of line'));
