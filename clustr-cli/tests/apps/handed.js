// Answers with its pid and slot. /block?MS keeps its loop busy; MAX limits its connections.
const http = require('http');
const server = http.createServer((request, response) => {
  const [path, query] = request.url.split('?');
  const until = Date.now() + Number(query || 0);
  const answer = () => response.end(JSON.stringify({ pid: process.pid, slot: Number(process.env.CLUSTR_SLOT) }));
  if (path === '/block') {
    console.log('blocked');
    while (Date.now() < until);
  }
  if (path === '/slow') setTimeout(answer, Number(query));
  else answer();
});
server.keepAliveTimeout = 60000;
if (process.env.MAX) server.maxConnections = Number(process.env.MAX);
server.listen(process.env.PORT);
