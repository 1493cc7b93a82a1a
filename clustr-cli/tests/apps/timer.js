// A timer that holds its process when all servers are closed.
const http = require('http');
setInterval(() => {}, 1000);
http.createServer((request, response) => {
  response.end(JSON.stringify({ pid: process.pid }));
}).listen(process.env.PORT);
