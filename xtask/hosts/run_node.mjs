// Runs a box (a core module) on node:wasi: run_node.mjs [--dir HOST GUEST] [--env NAME=VALUE]… FILE [ARG…]
import { readFileSync } from "node:fs";
import { WASI } from "node:wasi";

const words = process.argv.slice(2);
const preopens = {}, env = {};
while (words[0]?.startsWith("--")) {
  const option = words.shift();
  if (option === "--dir") {
    const host = words.shift();
    preopens[words.shift()] = host;
  } else {
    const [name, ...value] = words.shift().split("=");
    env[name] = value.join("=");
  }
}
const [file, ...args] = words;
const wasi = new WASI({ version: "preview1", args: ["box", ...args], env, preopens, returnOnExit: true });
const module = await WebAssembly.compile(readFileSync(file));
const instance = await WebAssembly.instantiate(module, wasi.getImportObject?.() ?? { wasi_snapshot_preview1: wasi.wasiImport });
process.exitCode = wasi.start(instance);
