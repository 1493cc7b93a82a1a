// An https server that tells its ticket keys and whether a session was resumed.
const fs = require('fs');
const https = require('https');
const path = require('path');
const read = (name) => fs.readFileSync(path.join(__dirname, 'tls', name));
const server = https.createServer({ key: read('key.pem'), cert: read('cert.pem') }, (request, response) => {
  const keys = server.getTicketKeys().toString('hex');
  response.end(JSON.stringify({ pid: process.pid, keys, reused: request.socket.isSessionReused() }));
});
server.listen(process.env.PORT);
