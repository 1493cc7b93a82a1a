// Closes and listens again on the same port, four times, and once more before the closing is over.
const http = require('http');
const net = require('net');
const once = require('events').once;
const port = Number(process.env.PORT);

async function rounds() {
  const server = http.createServer();
  for (let round = 0; round < 4; round++) {
    server.listen(port);
    await once(server, 'listening');
    server.close();
    await once(server, 'close');
  }
}

async function early() {
  const server = net.createServer();
  server.listen(port);
  await once(server, 'listening');
  const client = net.connect(port);
  await once(client, 'connect');
  server.close();
  server.listen(port);
  await once(server, 'listening');
  client.destroy();
  server.close();
}

let failed = null;
rounds().then(early).catch((error) => { failed = String(error); }).then(() => {
  const server = http.createServer((request, response) => {
    response.end(JSON.stringify({ pid: process.pid, failed, port: server.address().port }));
  });
  server.listen(port + 1);
});
