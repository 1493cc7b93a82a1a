// Answers at once; GET /block/1500 keeps its whole process busy for so many milliseconds, once the first byte is out.
const http = require('http')

http.createServer((request, response) => {
  const [, block] = /^\/block\/(\d+)$/.exec(request.url) || []
  if (block === undefined) return response.end('hello\n')
  response.write('blocks\n')
  setImmediate(() => {
    const until = Date.now() + Number(block)
    while (Date.now() < until);
    response.end()
  })
}).listen(Number(process.env.PORT))
