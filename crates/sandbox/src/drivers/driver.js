// What runs a sandbox's JavaScript: it waits for the host at a port of the sandbox and keeps one global scope, as node's prompt does.
// Requests and events are lines of JSON. It is given by `node -e`, so no file of it is in the sandbox.
'use strict';
const net = require('net');
const vm = require('vm');
const util = require('util');
const fs = require('fs');

let link = null;
let id = null;
let count = 0;
const say = (event) => {
  if (link) link.write(JSON.stringify(event) + '\n');
};

// What console and process.stdout write goes to the host. Child processes have descriptors of their own (`stdio: 'pipe'`).
for (const name of ['stdout', 'stderr']) {
  process[name].write = (data, encoding, done) => {
    const text = typeof data === 'string' ? data : Buffer.from(data).toString('utf8');
    if (text) say({ id, type: name, text });
    const call = typeof encoding === 'function' ? encoding : done;
    if (call) process.nextTick(call);
    return true;
  };
}

globalThis.require = require;
globalThis.module = module;

const describe = (error) => {
  if (!(error instanceof Error) && !(error && error.stack)) {
    return { name: 'Thrown', value: util.inspect(error), traceback: util.inspect(error) };
  }
  return { name: String(error.name), value: String(error.message), traceback: String(error.stack) };
};

// Declarations of a script stay in the global scope; an await outside of a function needs a function around it, in which those of the
// outermost level are made global.
const evaluate = (code, filename) => {
  try {
    return vm.runInThisContext(code, { filename, breakOnSigint: true, importModuleDynamically: undefined });
  } catch (error) {
    if (!(error instanceof SyntaxError) || !/\bawait\b/.test(code)) throw error;
  }
  const global = code.replace(/^(?:const|let|var)\s+([A-Za-z_$][\w$]*)\s*=/gm, 'globalThis.$1 =');
  const lines = global.trimEnd().split('\n');
  const last = lines.pop();
  const tries = [[...lines, `return (${last.replace(/;\s*$/, '')}\n)`].join('\n'), global];
  for (const [index, body] of tries.entries()) {
    try {
      return vm.runInThisContext(`(async () => {${body}\n})()`, { filename, breakOnSigint: true });
    } catch (error) {
      if (index === tries.length - 1 || !(error instanceof SyntaxError)) throw error;
    }
  }
};

const run = async (request) => {
  id = request.id;
  count += 1;
  try {
    Object.assign(process.env, request.env || {});
    if (request.cwd) process.chdir(request.cwd);
    let value = evaluate(request.code, `<cell ${count}>`);
    if (value instanceof Promise) {
      let stop;
      const stopped = new Promise((_, reject) => {
        stop = () => reject(new Error('Script execution was interrupted by `SIGINT`'));
        process.once('SIGINT', stop);
      });
      try {
        value = await Promise.race([value, stopped]);
      } finally {
        process.removeListener('SIGINT', stop);
      }
    }
    if (value !== undefined) {
      const data = { 'text/plain': util.inspect(value) };
      say({ id, type: 'result', main: true, data });
    }
  } catch (error) {
    say({ id, type: 'error', ...describe(error) });
  }
  say({ id, type: 'done', count });
};

process.on('SIGINT', () => {});
process.on('uncaughtException', (error) => say({ id, type: 'stderr', text: describe(error).traceback + '\n' }));
process.on('unhandledRejection', (error) => say({ id, type: 'stderr', text: describe(error).traceback + '\n' }));

const server = net.createServer((socket) => {
  link = socket;
  socket.setNoDelay(true);
  say({ type: 'hello', pid: process.pid });
  let rest = '';
  let turn = Promise.resolve();
  socket.setEncoding('utf8');
  socket.on('data', (data) => {
    const lines = (rest + data).split('\n');
    rest = lines.pop();
    for (const line of lines) turn = turn.then(() => run(JSON.parse(line)));
  });
  const gone = () => {
    if (link === socket) link = null;
  };
  socket.on('error', gone);
  socket.on('close', gone);
});
server.listen(Number(process.argv[1]), '0.0.0.0', () => {
  fs.writeSync(1, `${server.address().port}\n`);
});
