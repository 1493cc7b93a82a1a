require('http').createServer((_, answer) => answer.end(`${process.pid}`)).listen(process.env.PORT);
