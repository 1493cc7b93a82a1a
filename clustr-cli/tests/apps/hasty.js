// Closes a server before anybody can have answered that it may listen.
const http = require('http');
const port = Number(process.env.PORT);
http.createServer().listen(port + 1).close();
const server = http.createServer((request, response) => response.end(JSON.stringify({ pid: process.pid })));
setTimeout(() => server.listen(port), 300);
