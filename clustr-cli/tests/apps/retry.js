// Tries to listen until it can, and says each time why it cannot.
const http = require('http');
const server = http.createServer((request, response) => {
  response.end(JSON.stringify({ pid: process.pid, address: server.address() }));
});
server.on('error', (error) => {
  console.log(`cannot listen: ${error.code} ${error.syscall} ${error.port}`);
  setTimeout(() => server.listen(process.env.PORT), 50);
});
server.listen(process.env.PORT);
