// Answers with its generation in a header, /slow?MS after so long, a PUT with as many bytes as it was sent. Asked to
// stop, it finishes what it has: the last answer on each connection says that it closes.
const http = require('http');
const { CLUSTR_GENERATION, FOLDER, PORT } = process.env;
let leaves = false;
const server = http.createServer((request, response) => {
  const [path, query] = request.url.split('?');
  const answer = (body) => {
    response.setHeader('X-Generation', CLUSTR_GENERATION);
    if (leaves) response.setHeader('Connection', 'close');
    response.end(body);
  };
  if (request.method === 'PUT') {
    const pieces = [];
    request.on('data', (piece) => pieces.push(piece));
    request.on('end', () => answer(Buffer.concat(pieces)));
  } else if (path === '/slow') setTimeout(answer, Number(query), 'slow\n');
  else answer('hello\n');
});
server.keepAliveTimeout = 60000;
process.on('SIGTERM', () => {
  leaves = true;
  server.close(() => process.exit());
});
server.listen(process.argv[2] === 'unix' ? `${FOLDER}/app.socket` : PORT);
