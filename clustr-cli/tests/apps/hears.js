// Prints the messages and the signals that it gets.
const http = require('http');
process.on('message', (message) => console.log('message', JSON.stringify(message)));
process.on('SIGUSR2', () => console.log('usr2'));
http.createServer((request, response) => response.end('hello')).listen(process.env.PORT);
