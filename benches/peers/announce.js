// Writes down when it listens, for those who measure a start: `PID NANOSECONDS`, in the FIFO of BIRTHS.
const fs = require('fs');
const server = require('http').createServer((request, response) => response.end('hello\n'));
server.listen(process.env.PORT, () => {
  fs.writeFileSync(process.env.BIRTHS, `${process.pid} ${process.hrtime.bigint()}\n`, { flag: 'a' });
});
