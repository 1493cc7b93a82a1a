// Servers on Unix sockets: absolute, relative to a changed folder, abstract, and open to all users.
const http = require('http');
const path = require('path');
const folder = process.env.FOLDER;
process.chdir(folder);
const places = {
  absolute: { path: path.join(folder, 'absolute.sock') },
  relative: { path: './relative.sock' },
  abstract: { path: `\0${process.env.ABSTRACT}` },
  open: { path: path.join(folder, 'open.sock'), readableAll: true, writableAll: true },
};
for (const [which, options] of Object.entries(places)) {
  http.createServer((request, response) => {
    response.end(JSON.stringify({ pid: process.pid, which }));
  }).listen(options);
}
