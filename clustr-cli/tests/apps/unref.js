// A server that does not hold its process.
const http = require('http');
http.createServer((request, response) => {
  response.end(JSON.stringify({ pid: process.pid }));
}).listen(process.env.PORT).unref();
