// A box on @bjorn3/browser_wasi_shim, in Node or in a worker of a browser: both may wait, a page may not.
const pause = new Int32Array(new SharedArrayBuffer(4));

export function sleep(ms) {
  Atomics.wait(pause, 0, 0, ms);
}

const bytes = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
const text = (data) => btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join(""));

/// Runs `box`, a promise of a WebAssembly.Module: `read(size)` waits for input, at most `size` bytes of it, none at the end; `write(fd, data)` takes
/// all of `data`, or says that nobody reads; `folders`: `guest`, a name, and `contents`, a tree of `folders.mjs`. Its status, and what
/// the folders hold then.
export async function run(shim, box, { args, env, folders, read, write }) {
  const { Directory, Fd, File, PreopenDirectory, WASI, wasi: defs } = shim;

  class Stream extends Fd {
    constructor(rights) {
      super();
      this.rights = rights;
    }
    fd_fdstat_get() {
      const fdstat = new defs.Fdstat(defs.FILETYPE_UNKNOWN, 0);
      fdstat.fs_rights_base = BigInt(this.rights);
      return { ret: 0, fdstat };
    }
  }
  class Input extends Stream {
    fd_read(size) {
      return { ret: 0, data: read(size) };
    }
  }
  class Output extends Stream {
    constructor(fd) {
      super(defs.RIGHTS_FD_WRITE);
      this.fd = fd;
    }
    fd_write(data) {
      return write(this.fd, data) ? { ret: 0, nwritten: data.byteLength } : { ret: defs.ERRNO_PIPE, nwritten: 0 };
    }
  }
  const load = (contents) =>
    new Map(Object.entries(contents).map(([name, entry]) => [name, typeof entry === "string" ? new File(bytes(entry)) : new Directory(load(entry))]));
  const save = (contents) => Object.fromEntries([...contents].map(([name, entry]) => [name, entry.contents ? save(entry.contents) : text(entry.data)]));

  const preopens = folders.map(({ guest, contents }) => new PreopenDirectory(guest, load(contents)));
  const wasi = new WASI(["box", ...args], env, [new Input(defs.RIGHTS_FD_READ), new Output(1), new Output(2), ...preopens], { debug: false });
  // The shim's own wait for a time is a loop.
  const poll = wasi.wasiImport.poll_oneoff;
  wasi.wasiImport.poll_oneoff = (subscriptions, events, count) => {
    const view = new DataView(wasi.inst.exports.memory.buffer);
    const isRelativeClock = view.getUint8(subscriptions + 8) === 0 && !(view.getUint16(subscriptions + 40, true) & 1);
    if (count === 1 && isRelativeClock) {
      sleep(Number(view.getBigUint64(subscriptions + 24, true)) / 1e6);
      view.setBigUint64(subscriptions + 24, 0n, true);
    }
    return poll(subscriptions, events, count);
  };
  const instance = await WebAssembly.instantiate(await box, { wasi_snapshot_preview1: wasi.wasiImport });
  const status = wasi.start(instance);
  return { status, folders: preopens.map((preopen) => save(preopen.dir.contents)) };
}
