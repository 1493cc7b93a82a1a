// node's own primary for the same app; NODE_CLUSTER_SCHED_POLICY says rr or none.
const cluster = require('cluster');
const path = require('path');
cluster.setupPrimary({ exec: path.join(__dirname, 'hello.js') });
for (let worker = 0; worker < 2; worker++) cluster.fork();
cluster.on('exit', () => cluster.fork());
