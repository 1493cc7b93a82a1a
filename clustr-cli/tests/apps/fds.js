// Serves on the listener that LISTEN_FDS brings, as descriptor 3, and says which process it is.
const http = require('http');
http.createServer((request, response) => response.end(String(process.pid))).listen({ fd: 3 });
