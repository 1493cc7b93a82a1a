// address.js with koa.
const Koa = require('koa');
const app = new Koa();
app.use((context) => {
  context.body = { pid: process.pid, address: server.address() };
});
const server = app.listen(process.env.PORT);
