// Listens past the cluster: `exclusive`, and `reusePort` where node has it.
const http = require('http');
const net = require('net');
const port = Number(process.env.PORT);
const facts = { pid: process.pid };
const attempt = (name, options) => new Promise((done) => {
  const server = net.createServer();
  server.on('error', (error) => done((facts[name] = error.code)));
  server.listen(options, () => done((facts[name] = 'listening')));
});
(async () => {
  await attempt('exclusive', { port: port + 1, exclusive: true });
  await attempt('reusePort', { port: port + 2, reusePort: true });
  http.createServer((request, response) => response.end(JSON.stringify(facts))).listen(port);
})();
