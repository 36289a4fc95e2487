// What runs a sandbox's JavaScript: it waits for the host at a port of the sandbox and evaluates as node's own prompt does, which keeps one
// global scope, and knows `await` and `import()` outside of functions. Requests and events are lines of JSON. It is given by `node -e`, so no
// file of it is in the sandbox.
'use strict';
const { PassThrough, Writable } = require('stream');
const fs = require('fs');
const net = require('net');
const repl = require('repl');
const util = require('util');

// Letters of one event: what a sandbox may put out is counted by events.
const PIECE = 16384;

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
    for (let at = 0; at < text.length; at += PIECE) say({ id, type: name, text: text.slice(at, at + PIECE) });
    const call = typeof encoding === 'function' ? encoding : done;
    if (call) process.nextTick(call);
    return true;
  };
}

// It says nothing by itself: values and errors come from `evaluate`.
const prompt = repl.start({
  prompt: '',
  input: new PassThrough(),
  output: new Writable({ write: (chunk, encoding, done) => done() }),
  terminal: false,
  useGlobal: true,
  breakEvalOnSigint: true,
});

// Whoever waits for the code that runs, if any does.
let fail = null;
const uncaught = (error) => {
  if (fail) fail(error);
  else say({ id, type: 'stderr', text: describe(error).traceback + '\n' });
};
// Errors of code come to the prompt's domain, where it has one.
if (prompt._domain) {
  prompt._domain.removeAllListeners('error');
  prompt._domain.on('error', uncaught);
}

const describe = (error) => {
  if (!(error instanceof Error) && !(error && error.stack)) {
    return { name: 'Thrown', value: util.inspect(error), traceback: util.inspect(error) };
  }
  return { name: String(error.name), value: String(error.message), traceback: String(error.stack) };
};

// In a turn of its own, so that ticks and promises of the code have the order that they have in a script.
const evaluate = (code, filename) =>
  new Promise((resolve, reject) => {
    const ended = (settle) => (value) => {
      fail = null;
      settle(value);
    };
    setImmediate(() => {
      fail = ended(reject);
      // While code runs at once the prompt watches for the signal itself, and leaves a handler that ends the process: ours stands in
      // neither's way.
      const listeners = process.listeners('SIGINT');
      process.removeAllListeners('SIGINT');
      try {
        prompt.eval(code + '\n', globalThis, filename, (error, value) => {
          // Code that is not complete is an error within another.
          if (error) ended(reject)(error instanceof repl.Recoverable ? error.err : error);
          else ended(resolve)(value);
        });
      } finally {
        for (const listener of listeners) process.on('SIGINT', listener);
      }
    });
  });

const run = async (request) => {
  id = request.id;
  count += 1;
  try {
    Object.assign(process.env, request.env || {});
    if (request.cwd) process.chdir(request.cwd);
    const value = await evaluate(request.code, `<cell ${count}>`);
    if (value !== undefined) {
      const data = { 'text/plain': util.inspect(value) };
      say({ id, type: 'result', main: true, data });
    }
  } catch (error) {
    say({ id, type: 'error', ...describe(error) });
  }
  // Promises that nobody handles are known after a turn.
  await new Promise(setImmediate);
  say({ id, type: 'done', count });
};

// Code that waits is told as by Ctrl-C at the prompt; a loop hears of the signal itself.
process.on('SIGINT', () => prompt.emit('SIGINT'));
process.on('uncaughtException', uncaught);
process.on('unhandledRejection', uncaught);

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
