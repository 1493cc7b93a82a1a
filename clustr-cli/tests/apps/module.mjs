// address.js as an ES module.
import http from 'node:http';
const server = http.createServer((request, response) => {
  response.end(JSON.stringify({ pid: process.pid, address: server.address() }));
});
server.listen(process.env.PORT);
