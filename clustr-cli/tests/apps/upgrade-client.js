// Speaks on WebSockets until WORKERS workers have echoed: node upgrade-client.js PORT WORKERS
const { WebSocket } = require('ws');
const [port, workers] = process.argv.slice(2);

const ask = (_, number) => new Promise((done, failed) => {
  const socket = new WebSocket(`ws://localhost:${port}`);
  socket.on('error', failed);
  socket.on('open', () => socket.send(`word ${number}`));
  socket.on('message', (data) => {
    const answer = JSON.parse(String(data));
    socket.close();
    if (answer.echo === `word ${number}`) done(answer.pid);
    else failed(new Error(`echo: ${answer.echo}`));
  });
});

(async () => {
  const seen = new Set();
  for (let round = 0; round < 100 && seen.size < Number(workers); round++) {
    (await Promise.all(Array.from({ length: 8 }, ask))).forEach((pid) => seen.add(pid));
  }
  console.log(JSON.stringify({ workers: seen.size }));
})();
