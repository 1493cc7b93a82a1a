// A WebSocket server that echoes, with its pid.
const { WebSocketServer } = require('ws');
const server = new WebSocketServer({ port: Number(process.env.PORT) });
server.on('connection', (socket) => {
  socket.on('message', (data) => socket.send(JSON.stringify({ pid: process.pid, echo: String(data) })));
});
