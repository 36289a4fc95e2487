// A box in a worker, with the streams and directories of `run_browser.mjs`: a worker may wait, a page may not.
import { Directory, Fd, File, PreopenDirectory, WASI, wasi as defs } from "/shim/index.js";

function ask(path, body) {
  const request = new XMLHttpRequest();
  request.open("POST", path, false);
  request.responseType = "arraybuffer";
  request.send(body);
  return new Uint8Array(request.response);
}

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

class Input extends Stream {
  rest = new Uint8Array();
  fd_read(size) {
    if (!this.rest.length) this.rest = ask("/in");
    const data = this.rest.slice(0, size);
    this.rest = this.rest.slice(size);
    return { ret: 0, data };
  }
}

class Output extends Stream {
  fd_write(data) {
    const answer = new TextDecoder().decode(ask(`/out/${this.fd}`, data));
    return answer === "closed" ? { ret: defs.ERRNO_PIPE, nwritten: 0 } : { ret: 0, nwritten: data.length };
  }
}

const bytes = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
const text = (data) => btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join(""));
const load = (contents) =>
  new Map(Object.entries(contents).map(([name, entry]) => [name, typeof entry === "string" ? new File(bytes(entry)) : new Directory(load(entry))]));
const save = (contents) => Object.fromEntries([...contents].map(([name, entry]) => [name, entry.contents ? save(entry.contents) : text(entry.data)]));

const end = (told) => fetch("/end", { method: "POST", body: JSON.stringify(told) });
try {
  const { args, env, folders } = await (await fetch("/job")).json();
  const preopens = folders.map(({ guest, contents }) => new PreopenDirectory(guest, load(contents)));
  const streams = [new Input(0, defs.RIGHTS_FD_READ), new Output(1, defs.RIGHTS_FD_WRITE), new Output(2, defs.RIGHTS_FD_WRITE)];
  const wasi = new WASI(args, env, [...streams, ...preopens], { debug: false });
  // The shim's own wait for a time is a loop.
  const pause = new Int32Array(new SharedArrayBuffer(4));
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
  const { instance } = await WebAssembly.instantiateStreaming(new Response(await (await fetch("/box")).arrayBuffer(), { headers: { "Content-Type": "application/wasm" } }), {
    wasi_snapshot_preview1: wasi.wasiImport,
  });
  const status = wasi.start(instance);
  await end({ status, folders: preopens.map((preopen) => save(preopen.dir.contents)) });
} catch (error) {
  await end({ error: `${error}\n${error.stack ?? ""}` });
}
