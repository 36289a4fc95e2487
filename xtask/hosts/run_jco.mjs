// Runs a component that `jco transpile` has turned into JavaScript: run_jco.mjs MODULES [--dir HOST GUEST]… [--env NAME=VALUE]… FILE.js [ARG…]
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { named, options } from "./command_line.mjs";

const [modules, ...words] = process.argv.slice(2);
const shim = (part) => import(pathToFileURL(createRequire(`${modules}/package.json`).resolve(`@bytecodealliance/preview2-shim/${part}`)));
const cli = await shim("cli");
const files = await shim("filesystem");
const { directories, env, file, args } = options(words);
files._setPreopens?.({});
directories.forEach(({ host, guest }) => files._addPreopen(guest, host));
cli._setEnv(named(env));
cli._setArgs(["box", ...args]);
const { run } = await import(pathToFileURL(file));
// The shim's exit is process.exit, which drops output that is on its way.
const ended = {};
process.exit = (code) => {
  process.exitCode = code;
  throw ended;
};
try {
  run.run();
} catch (error) {
  if (error !== ended) throw error;
}
