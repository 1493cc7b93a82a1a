// node as a supervisor of programs that are no node: `node spawn.js N PROGRAM [ARG]...` starts them, and again whenever one ends.
const { spawn } = require('child_process');
const [workers, program, ...args] = process.argv.slice(2);
const start = () => spawn(program, args, { stdio: 'ignore' }).on('exit', start);
for (let worker = 0; worker < Number(workers); worker++) start();
