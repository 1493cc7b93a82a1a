// Two servers on ports of the system's choice.
const http = require('http');
for (const which of ['first', 'second']) {
  const server = http.createServer((request, response) => {
    response.end(JSON.stringify({ pid: process.pid, which, port: server.address().port }));
  });
  server.listen(0);
}
