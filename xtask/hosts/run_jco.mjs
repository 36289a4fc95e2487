// Runs a component that `jco transpile` has turned into JavaScript: run_jco.mjs MODULES [--dir HOST GUEST]… [--env NAME=VALUE]… FILE.js [ARG…]
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [modules, ...words] = process.argv.slice(2);
const shim = (part) => import(pathToFileURL(createRequire(`${modules}/package.json`).resolve(`@bytecodealliance/preview2-shim/${part}`)));
const cli = await shim("cli");
const files = await shim("filesystem");
const env = {};
files._setPreopens?.({});
while (words[0]?.startsWith("--")) {
  const option = words.shift();
  if (option === "--dir") {
    const host = words.shift();
    files._addPreopen(words.shift(), host);
  } else {
    const [name, ...value] = words.shift().split("=");
    env[name] = value.join("=");
  }
}
const [file, ...args] = words;
cli._setEnv(env);
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
