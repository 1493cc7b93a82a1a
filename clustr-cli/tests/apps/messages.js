// Says that it is ready before it listens, and sends one message of each kind if asked to.
const http = require('http');
const messages = ['text', 42, true, null, { cmd: 'NODE_' }, { deep: ['ünïcödé', '日本', '\u2028'] }, 'x'.repeat(200000)];
http.createServer((request, response) => {
  if (request.url === '/') {
    for (const message of messages) process.send(message);
    process.send('last');
  }
  const many = { '/many': 20000, '/few': 1 }[request.url] || 0;
  for (let number = 0; number < many; number++) process.send({ number, padding: '.'.repeat(100) });
  response.end(JSON.stringify({ pid: process.pid }));
}).listen(process.env.PORT, () => process.send('ready'));
