// Answers with the pid of the worker.
require('http').createServer((request, response) => response.end(`${process.pid}\n`)).listen(process.env.PORT);
