// Runs a box (a core module) as a browser would, on @bjorn3/browser_wasi_shim:
// run_shim.mjs MODULES [--dir HOST GUEST]… [--env NAME=VALUE]… FILE [ARG…]
// MODULES is the directory that holds node_modules.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { options } from "./command_line.mjs";
import * as folders from "./folders.mjs";
import { run } from "./shim_box.mjs";
import { readPiece, writeAll } from "./streams.mjs";

const [modules, ...words] = process.argv.slice(2);
const { directories, env, file, args } = options(words);
const shim = await import(pathToFileURL(createRequire(`${modules}/package.json`).resolve("@bjorn3/browser_wasi_shim")));
const ended = await run(shim, WebAssembly.compile(readFileSync(file)), {
  args,
  env,
  folders: directories.map(({ host, guest }) => ({ guest, contents: folders.read(host) })),
  read: (size) => readPiece(0, size),
  write: writeAll,
});
directories.forEach(({ host }, index) => folders.write(ended.folders[index], host));
process.exitCode = ended.status;
