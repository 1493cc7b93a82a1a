// `node listening.js APP FD`: an app under a supervisor that hands its workers the listener as a descriptor.
const { Server } = require('net');
const [app, fd] = process.argv.slice(2);
const listen = Server.prototype.listen;
Server.prototype.listen = function (where, ...rest) {
  const done = rest.find((argument) => typeof argument === 'function');
  return listen.call(this, { fd: Number(fd) }, done);
};
require(app);
