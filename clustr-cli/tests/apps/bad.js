// Answers with its generation and pid. VERSION says how it is bad, if it is; ONLY_SLOT, in which slot alone.
// One that crashes writes down every client's port before it does anything else for it.
const fs = require('fs');
const http = require('http');
const { VERSION, ONLY_SLOT, CLUSTR_SLOT, CLUSTR_GENERATION, FOLDER, PORT } = process.env;
const bad = !ONLY_SLOT || ONLY_SLOT === CLUSTR_SLOT ? VERSION : undefined;
if (bad === 'exits') {
  console.error('Error: no database');
  process.exit(3);
}
if (bad === 'lingers') setTimeout(() => process.exit(6), 2000);
if (bad === 'hangs') for (;;);
if (bad === 'silent') setInterval(() => {}, 1000);
const server = http.createServer((request, response) => response.end(`${CLUSTR_GENERATION} ${process.pid}`));
if (bad === 'crashes') {
  const log = fs.openSync(`${FOLDER}/crashed.log`, 'a');
  server.on('connection', (socket) => fs.writeSync(log, `${socket.remotePort}\n`));
}
if (bad === undefined || bad === 'crashes') {
  server.listen(PORT, () => {
    if (bad === 'crashes') setTimeout(() => process.exit(5), 300);
  });
}
