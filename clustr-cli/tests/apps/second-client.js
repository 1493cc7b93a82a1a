// Asks by http2, on a connection each, until WORKERS workers have answered: node second-client.js PORT WORKERS
const http2 = require('http2');
const [port, workers] = process.argv.slice(2);

const ask = () => new Promise((done, failed) => {
  const session = http2.connect(`http://localhost:${port}`);
  session.on('error', failed);
  const stream = session.request({ ':path': '/' });
  let body = '';
  stream.on('data', (data) => (body += data));
  stream.on('end', () => {
    session.close();
    done(JSON.parse(body).pid);
  });
});

(async () => {
  const seen = new Set();
  for (let round = 0; round < 100 && seen.size < Number(workers); round++) {
    (await Promise.all(Array.from({ length: 8 }, ask))).forEach((pid) => seen.add(pid));
  }
  console.log(JSON.stringify({ workers: seen.size }));
})();
