// A web server that knows nothing of clusters: `clustr run -- node examples/app.js`
const http = require('http');
const server = http.createServer((request, response) => response.end(`hello from ${process.pid}\n`));
server.listen(process.env.PORT || 3001);
