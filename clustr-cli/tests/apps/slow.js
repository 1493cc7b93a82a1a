// Answers after ?MS milliseconds, or, asked /?until=FILE, once there is such a file; writes down how it ended.
const fs = require('fs');
const http = require('http');
const server = http.createServer((request, response) => {
  const wish = request.url.split('?')[1] || '0';
  const delay = Number(wish);
  const answer = () => response.end(JSON.stringify({ pid: process.pid }));
  if (wish.startsWith('until=')) until(wish.slice('until='.length), answer);
  else if (delay > 0) setTimeout(answer, delay);
  else answer();
});
const until = (file, answer) => (fs.existsSync(file) ? answer() : setTimeout(until, 10, file, answer));
server.keepAliveTimeout = 60000;
server.listen(process.env.PORT);
if (process.env.ENDS) {
  process.on('exit', (code) => fs.appendFileSync(process.env.ENDS, `${process.pid} exit ${code}\n`));
}
