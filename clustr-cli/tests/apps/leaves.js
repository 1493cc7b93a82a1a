// Leaves in the three ways that node has.
const cluster = require('cluster');
const http = require('http');
const ways = {
  '/disconnect': () => cluster.worker.disconnect(),
  '/kill': () => cluster.worker.kill(),
  '/channel': () => process.disconnect(),
};
http.createServer((request, response) => {
  response.end(JSON.stringify({ pid: process.pid }));
  if (ways[request.url]) setTimeout(ways[request.url], 50);
}).listen(process.env.PORT);
