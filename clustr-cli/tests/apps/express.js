// address.js with express.
const app = require('express')();
app.get('/', (request, response) => response.json({ pid: process.pid, address: server.address() }));
const server = app.listen(process.env.PORT);
