// An http2 server without TLS.
const server = require('http2').createServer();
server.on('stream', (stream) => {
  stream.respond({ ':status': 200 });
  stream.end(JSON.stringify({ pid: process.pid }));
});
server.listen(process.env.PORT);
