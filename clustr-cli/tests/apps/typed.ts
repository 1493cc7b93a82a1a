// address.js as TypeScript, whose types node removes by itself from 22.18 on.
import http from 'node:http';
import type { AddressInfo } from 'node:net';
const server: http.Server = http.createServer((request, response) => {
  const address = server.address() as AddressInfo;
  response.end(JSON.stringify({ pid: process.pid, address }));
});
server.listen(process.env.PORT);
