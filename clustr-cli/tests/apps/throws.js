// Throws where nobody catches it, if asked to.
const http = require('http');
const server = http.createServer((request, response) => {
  response.end(JSON.stringify({ pid: process.pid }));
  if (request.url === '/throw') setImmediate(() => { throw new Error('asked to throw'); });
});
server.listen(process.env.PORT);
