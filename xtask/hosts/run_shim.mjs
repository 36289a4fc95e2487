// Runs a box (a core module) as a browser would, on @bjorn3/browser_wasi_shim:
// run_shim.mjs MODULES [--dir HOST GUEST]… [--env NAME=VALUE]… FILE [ARG…]
// MODULES is the directory that holds node_modules.
import { readFileSync, readSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { load, store } from "./shim_directories.mjs";

const [modules, ...words] = process.argv.slice(2);
const entry = createRequire(`${modules}/package.json`).resolve("@bjorn3/browser_wasi_shim");
const shim = await import(pathToFileURL(entry));
const { Fd, WASI, wasi: defs } = shim;

class Stream extends Fd {
  constructor(fd, rights) {
    super();
    this.fd = fd;
    this.rights = rights;
  }
  fd_fdstat_get() {
    const fdstat = new defs.Fdstat(defs.FILETYPE_UNKNOWN, 0);
    fdstat.fs_rights_base = BigInt(this.rights);
    return { ret: 0, fdstat };
  }
}

const pause = new Int32Array(new SharedArrayBuffer(4));

class Input extends Stream {
  fd_read(size) {
    const buffer = new Uint8Array(size);
    for (;;) {
      try {
        return { ret: 0, data: buffer.slice(0, readSync(this.fd, buffer)) };
      } catch (error) {
        if (error.code === "EOF") return { ret: 0, data: new Uint8Array() };
        if (error.code !== "EAGAIN") throw error;
        Atomics.wait(pause, 0, 0, 10);
      }
    }
  }
}

class Output extends Stream {
  fd_write(data) {
    let written = 0;
    while (written < data.byteLength) {
      try {
        written += writeSync(this.fd, data, written);
      } catch (error) {
        if (error.code === "EPIPE") return { ret: defs.ERRNO_PIPE, nwritten: written };
        if (error.code !== "EAGAIN") throw error;
        Atomics.wait(pause, 0, 0, 10);
      }
    }
    return { ret: 0, nwritten: written };
  }
}

const directories = [], env = [];
while (words[0]?.startsWith("--")) {
  if (words.shift() === "--dir") directories.push({ host: words.shift(), guest: words.shift() });
  else env.push(words.shift());
}
const [file, ...args] = words;
const preopens = directories.map(({ host, guest }) => load(shim, host, guest));
const streams = [new Input(0, defs.RIGHTS_FD_READ), new Output(1, defs.RIGHTS_FD_WRITE), new Output(2, defs.RIGHTS_FD_WRITE)];
const wasi = new WASI(["box", ...args], env, [...streams, ...preopens], { debug: false });
// The shim's own wait for a time is a loop.
const poll = wasi.wasiImport.poll_oneoff;
wasi.wasiImport.poll_oneoff = (subscriptions, events, count) => {
  const view = new DataView(wasi.inst.exports.memory.buffer);
  const isRelativeClock = view.getUint8(subscriptions + 8) === 0 && !(view.getUint16(subscriptions + 40, true) & 1);
  if (count === 1 && isRelativeClock) {
    Atomics.wait(pause, 0, 0, Number(view.getBigUint64(subscriptions + 24, true)) / 1e6);
    view.setBigUint64(subscriptions + 24, 0n, true);
  }
  return poll(subscriptions, events, count);
};
const module = await WebAssembly.compile(readFileSync(file));
const instance = await WebAssembly.instantiate(module, { wasi_snapshot_preview1: wasi.wasiImport });
process.exitCode = wasi.start(instance);
directories.forEach(({ host }, index) => store(preopens[index], host));
