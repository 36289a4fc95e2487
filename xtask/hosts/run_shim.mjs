// Runs a box (a core module) as a browser would, on @bjorn3/browser_wasi_shim: run_shim.mjs MODULES FILE [ARG...]
// MODULES is the directory that holds node_modules.
import { readFileSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [modules, file, ...args] = process.argv.slice(2);
const entry = createRequire(`${modules}/package.json`).resolve("@bjorn3/browser_wasi_shim");
const { Fd, File, OpenFile, WASI, wasi: defs } = await import(pathToFileURL(entry));

class Output extends Fd {
  constructor(fd) {
    super();
    this.fd = fd;
  }
  fd_fdstat_get() {
    const fdstat = new defs.Fdstat(defs.FILETYPE_UNKNOWN, 0);
    fdstat.fs_rights_base = BigInt(defs.RIGHTS_FD_WRITE);
    return { ret: 0, fdstat };
  }
  fd_write(data) {
    let written = 0;
    while (written < data.byteLength) {
      try {
        written += writeSync(this.fd, data, written);
      } catch (error) {
        if (error.code !== "EAGAIN") throw error;
      }
    }
    return { ret: 0, nwritten: written };
  }
}

const stdin = new OpenFile(new File(process.stdin.isTTY ? [] : readFileSync(0)));
const wasi = new WASI(["box", ...args], [], [stdin, new Output(1), new Output(2)], { debug: false });
const module = await WebAssembly.compile(readFileSync(file));
const instance = await WebAssembly.instantiate(module, { wasi_snapshot_preview1: wasi.wasiImport });
process.exitCode = wasi.start(instance);
