// Runs a box (a core module) on node:wasi: run_node.mjs [--dir HOST GUEST]… [--env NAME=VALUE]… FILE [ARG…]
import { readFileSync } from "node:fs";
import { WASI } from "node:wasi";
import { named, options } from "./command_line.mjs";

const { directories, env, file, args } = options(process.argv.slice(2));
const preopens = Object.fromEntries(directories.map(({ host, guest }) => [guest, host]));
const wasi = new WASI({ version: "preview1", args: ["box", ...args], env: named(env), preopens, returnOnExit: true });
const module = await WebAssembly.compile(readFileSync(file));
// Not the functions themselves: those V8 calls by a short way of its own once the code is hot, and long runs of boxes end by SIGSEGV then.
const wrapped = Object.entries(wasi.wasiImport).map(([name, call]) => [name, (...words) => call(...words)]);
const functions = Object.fromEntries(wrapped);
// Bun has not all of them, and who does not call them need not miss them.
const NOSYS = 52;
for (const { name } of WebAssembly.Module.imports(module)) functions[name] ??= () => NOSYS;
const instance = await WebAssembly.instantiate(module, { wasi_snapshot_preview1: functions });
process.exitCode = wasi.start(instance);
