// One worker per CPU, and a new one for each that dies: how node's own documentation began.
// `clustr run -- node examples/cluster.js` runs this file unchanged: clustr is the primary, each process only serves.
const cluster = require('cluster');
const http = require('http');
const cpus = require('os').cpus().length;

if (cluster.isMaster) {
  for (let i = 0; i < cpus; i++) cluster.fork();
  cluster.on('death', (worker) => {
    console.log(`worker ${worker.pid} died`);
    cluster.fork();
  });
} else {
  http.createServer((request, response) => {
    response.end(`hello from ${process.pid}\n`);
  }).listen(process.env.PORT || 3001);
}
