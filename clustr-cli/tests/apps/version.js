// Answers with its generation. VERSION says how it is bad, if it is.
const http = require('http');
const bad = process.env.VERSION;
if (bad === 'exits') {
  console.error('Error: no database');
  process.exit(3);
}
const server = http.createServer((request, response) => response.end(process.env.CLUSTR_GENERATION));
if (bad === 'hangs') setInterval(() => {}, 1000);
else server.listen(process.env.PORT, () => {
  if (bad === 'crashes') setTimeout(() => process.exit(5), 50);
});
