// Listens where it cannot, and tells the errors.
const http = require('http');
const net = require('net');
const port = Number(process.env.PORT);
const errors = {};
const attempt = (name, ...where) => new Promise((done) => {
  const server = net.createServer();
  server.on('error', (error) => done((errors[name] = { code: error.code, syscall: error.syscall })));
  server.listen(...where, () => done((errors[name] = 'listening')));
});
const server = http.createServer((request, response) => {
  response.end(JSON.stringify({ pid: process.pid, errors }));
});
server.listen(port, async () => {
  await attempt('twice', port);
  await attempt('unusable', port + 1, '192.0.2.1');
  await attempt('privileged', 81);
  await attempt('after', port + 1);
  http.createServer((request, response) => {
    response.end(JSON.stringify({ pid: process.pid, errors }));
  }).listen(port + 2);
});
