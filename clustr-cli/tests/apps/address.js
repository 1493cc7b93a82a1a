// Who answers, where it believes to listen, and whom it sees.
const http = require('http');
const server = http.createServer((request, response) => {
  const { remoteAddress, remotePort } = request.socket;
  response.end(JSON.stringify({ pid: process.pid, address: server.address(), remoteAddress, remotePort }));
});
server.listen(process.env.PORT);
