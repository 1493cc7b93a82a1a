// Listens, and takes ever more memory.
const kept = [];
require('http').createServer(() => {}).listen(process.env.PORT, () => {
  setInterval(() => kept.push(Buffer.alloc(8 << 20, 1)), 5);
});
