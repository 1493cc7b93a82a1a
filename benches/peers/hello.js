// The app of every peer: knows nothing of clusters.
require('http').createServer((request, response) => response.end('hello\n')).listen(process.env.PORT);
