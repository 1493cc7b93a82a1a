// Answers with its generation.
const http = require('http');
http.createServer((request, response) => response.end(process.env.CLUSTR_GENERATION)).listen(process.env.PORT);
