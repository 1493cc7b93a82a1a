// UDP sockets that answer each datagram, and what became of them, over http.
const dgram = require('dgram');
const http = require('http');
const port = Number(process.env.PORT);
const facts = { pid: process.pid };

function answer(name, socket, ...where) {
  socket.on('error', (error) => { facts[name] = { error: error.code, syscall: error.syscall }; });
  socket.on('listening', () => { facts[name] = socket.address(); });
  socket.on('message', (message, from) => {
    socket.send(JSON.stringify({ pid: process.pid, name, echo: String(message) }), from.port, from.address);
  });
  socket.bind(...where);
}

answer('four', dgram.createSocket('udp4'), port);
answer('six', dgram.createSocket({ type: 'udp6', reuseAddr: true, ipv6Only: true }), port + 1);
answer('any', dgram.createSocket('udp4'), 0);
answer('taken', dgram.createSocket('udp4'), Number(process.env.TAKEN));
http.createServer((request, response) => response.end(JSON.stringify(facts))).listen(port);
