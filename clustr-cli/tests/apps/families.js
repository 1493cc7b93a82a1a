// A server on each kind of address: by name, IPv6 alone, IPv4 alone, and both.
const http = require('http');
const port = Number(process.env.PORT);
const kinds = [
  ['both', { port }],
  ['name', { port: port + 1, host: 'localhost' }],
  ['six', { port: port + 2, host: '::', ipv6Only: true }],
  ['four', { port: port + 3, host: '127.0.0.1' }],
];
for (const [which, options] of kinds) {
  const server = http.createServer((request, response) => {
    const { remoteAddress, remotePort } = request.socket;
    const address = server.address();
    response.end(JSON.stringify({ pid: process.pid, which, address, remoteAddress, remotePort }));
  });
  server.listen(options);
}
