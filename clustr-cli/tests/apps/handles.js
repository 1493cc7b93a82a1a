// If asked to: sends a connection to its primary, then words, then listens once more, all of it in order.
const http = require('http');
const net = require('net');
const port = Number(process.env.PORT);
const answer = (request, response) => response.end(JSON.stringify({ pid: process.pid }));
const helper = net.createServer((socket) => socket.on('error', () => {}));

function send() {
  const socket = net.connect(helper.address().port, '127.0.0.1', () => {
    process.send({ word: 'with a connection' }, socket);
    for (let number = 1; number <= 5; number++) process.send({ word: `number ${number}` });
    http.createServer(answer).listen(port + 1);
  });
}

http.createServer((request, response) => {
  send();
  answer(request, response);
}).listen(port);
helper.listen({ port: 0, exclusive: true, host: '127.0.0.1' });
