// Listens on descriptors that the primary was started with.
const http = require('http');
const net = require('net');
let error = null;
const none = net.createServer();
none.on('error', (found) => { error = found.code; });
none.listen({ fd: Number(process.env.NO_SOCKET) });
http.createServer((request, response) => {
  response.end(JSON.stringify({ pid: process.pid, error }));
}).listen({ fd: Number(process.env.SOCKET) });
