// Loops for ever, if asked to; then it does not even come to hear a signal.
const http = require('http');
process.on('SIGTERM', () => process.exit(0));
http.createServer((request, response) => {
  if (request.url === '/loop') {
    console.log('looping');
    for (;;) ;
  }
  response.end(JSON.stringify({ pid: process.pid }));
}).listen(process.env.PORT);
