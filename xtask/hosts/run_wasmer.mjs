// Runs a box (a core module) under Wasmer's SDK for JavaScript: run_wasmer.mjs MODULES [--env NAME=VALUE]… FILE [ARG…]
// MODULES is the directory that holds node_modules.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { named, options } from "./command_line.mjs";

const [modules, ...words] = process.argv.slice(2);
const { Wasmer } = await import(pathToFileURL(`${modules}/node_modules/@wasmer/sdk/dist/node.js`));
const { env, file, args } = options(words);
const wasmer = new Wasmer();
const box = await wasmer.packages.load(readFileSync(file));
const sandbox = await wasmer.sandboxes.create({ packages: [box] });
const running = await sandbox.command(box, args, { env: named(env) }).spawn({ stdin: "pipe", stdout: "pipe", stderr: "pipe" });
const forward = async (from, to) => {
  for await (const piece of from) if (!to.write(piece)) await new Promise((ready) => to.once("drain", ready));
};
const feed = async () => {
  for await (const piece of process.stdin) await running.stdin.write(piece);
  await running.stdin.close();
};
feed().catch(() => {});
await Promise.all([forward(running.stdout, process.stdout), forward(running.stderr, process.stderr)]);
const { exitCode } = await running.wait();
process.exit(exitCode);
