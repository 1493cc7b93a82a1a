// What a worker knows of itself, and what its own children inherit.
const cluster = require('cluster');
const http = require('http');
const { execFileSync } = require('child_process');

const channel = (env) => Object.keys(env).filter((name) => /^NODE_(CHANNEL_|UNIQUE_)/.test(name));
const facts = {
  pid: process.pid,
  isWorker: cluster.isWorker,
  isMaster: cluster.isMaster,
  id: cluster.worker.id,
  connected: process.connected,
  own: channel(process.env),
  child: channel(JSON.parse(execFileSync(process.execPath, ['-p', 'JSON.stringify(process.env)']))),
};
http.createServer((request, response) => response.end(JSON.stringify(facts))).listen(process.env.PORT);
