// node's own primary for an app: `node cluster.js APP WORKERS`; NODE_CLUSTER_SCHED_POLICY says rr or none.
// SIGHUP replaces the workers one by one: the new one listens before the old one is told to disconnect.
const cluster = require('cluster');
const [app, workers] = process.argv.slice(2);
cluster.setupPrimary({ exec: app, args: [] });
for (let worker = 0; worker < Number(workers || 2); worker++) cluster.fork();
cluster.on('exit', (worker) => { if (!worker.exitedAfterDisconnect) cluster.fork(); });
process.on('SIGHUP', () => {
  const old = Object.values(cluster.workers);
  const next = () => {
    const worker = old.shift();
    if (worker) cluster.fork().once('listening', () => { worker.disconnect(); next(); });
  };
  next();
});
