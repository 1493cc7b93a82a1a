// address.js with fastify.
const app = require('fastify')();
app.get('/', async () => ({ pid: process.pid, address: app.server.address() }));
app.listen({ port: Number(process.env.PORT), host: '::' });
