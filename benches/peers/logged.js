// Writes down the port of every client, before anything else is done for it.
const fs = require('fs');
const http = require('http');
const log = fs.openSync(`${process.env.FOLDER}/${process.pid}.log`, 'w');
const server = http.createServer((request, response) => response.end(`${process.pid}\n`));
server.on('connection', (socket) => {
  fs.writeSync(log, `${process.hrtime.bigint()} ${socket.remotePort}\n`);
});
server.listen(process.env.PORT);
