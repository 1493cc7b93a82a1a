// Connects with TLS 1.2 until WORKERS workers have answered, with one session; keeps the session in a file.
// node secure-client.js PORT WORKERS SESSION_FILE
const fs = require('fs');
const https = require('https');
const [port, workers, file] = process.argv.slice(2);
let session = fs.existsSync(file) ? fs.readFileSync(file) : undefined;

const ask = () => new Promise((done, failed) => {
  const options = { port, session, maxVersion: 'TLSv1.2', rejectUnauthorized: false, agent: false };
  const request = https.get(options, (response) => {
    let body = '';
    response.on('data', (data) => (body += data));
    response.on('end', () => {
      session = session || request.socket.getSession();
      done(JSON.parse(body));
    });
  });
  request.on('error', failed);
});

(async () => {
  const answers = [await ask()];
  const seen = () => new Set(answers.map((answer) => answer.pid)).size;
  for (let round = 0; round < 100 && seen() < Number(workers); round++) {
    answers.push(...await Promise.all(Array.from({ length: 8 }, ask)));
  }
  fs.writeFileSync(file, session);
  console.log(JSON.stringify({
    workers: seen(),
    first: answers[0].reused,
    later: answers.slice(1).every((answer) => answer.reused),
    keys: [...new Set(answers.map((answer) => answer.keys))],
  }));
})();
