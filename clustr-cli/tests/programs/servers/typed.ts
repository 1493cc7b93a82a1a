import http from 'node:http';
const port: number = Number(process.env.PORT);
http.createServer((_, answer) => answer.end(`${process.pid}`)).listen(port);
