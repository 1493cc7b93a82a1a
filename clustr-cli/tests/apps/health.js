// Answers /health well once there is the file GOOD; /block never comes back; says 'ready' when it listens, at WHERE or PORT.
const fs = require('fs');
const http = require('http');
const server = http.createServer((request, response) => {
  if (request.url === '/block') {
    response.end(String(process.pid));
    return setTimeout(() => { for (;;); }, 50);
  }
  if (request.url === '/health' && !fs.existsSync(process.env.GOOD)) response.statusCode = 503;
  response.end(JSON.stringify({ pid: process.pid }));
});
server.listen(process.env.WHERE || process.env.PORT, () => process.send && process.send('ready'));
