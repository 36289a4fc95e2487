/** WASI preview 1 as far as a box needs it: streams, clocks, entropy. No function waits. There are no directories. */

import { DESCRIPTOR, STDERR, STDIN } from "./messages.js";
import type { Image } from "./image.js";
import type { Pipes } from "./pipes.js";

const SUCCESS = 0;
const AGAIN = 6;
const BADF = 8;
const FAULT = 21;
const INVAL = 28;
const IO = 29;
const NOSYS = 52;
const PIPE = 64;
const SPIPE = 70;

const CHARACTER_DEVICE = 2;
const SOCKET_STREAM = 6;
const NONBLOCK = 1 << 2;
const FD_READ = 1n << 1n;
const FD_WRITE = 1n << 6n;
const POLL_FD_READWRITE = 1n << 27n;

/** `subscription`: userdata u64, tag u8 at 8; of a clock: timeout u64 at 24, flags u16 at 40; of a descriptor: u32 at 16. */
const SUBSCRIPTION = 48;
/** `event`: userdata u64, error u16 at 8, type u8 at 10. */
const EVENT = 32;
/** `getRandomValues` gives no more at once. */
const MOST_ENTROPY = 65536;

/** Ends the box's program. */
export class Exit {
  constructor(readonly status: number) {}
}

export interface World {
  args: string[];
  env: string[];
  tty: boolean;
  pipes: Pipes;
  /** The box's files, if they lie outside. */
  image: Image | undefined;
  memory: () => ArrayBuffer;
  /** The box lets its host do something else. */
  yields: () => void;
}

/** The functions that a module may import from `wasi_snapshot_preview1`; those that it does and are not here answer ENOSYS. */
export function preview1(world: World, imports: string[]): Record<string, (...args: never[]) => number> {
  const { pipes } = world;
  let view = new DataView(new ArrayBuffer(0));
  let bytes = new Uint8Array();
  /** Views of a memory that may have grown. */
  const look = () => {
    const buffer = world.memory();
    if (view.buffer !== buffer) {
      view = new DataView(buffer);
      bytes = new Uint8Array(buffer);
    }
  };
  const encoder = new TextEncoder();
  const strings = (list: string[]) => list.map((text) => encoder.encode(`${text}\0`));
  const sizes = (list: string[]) => (count: number, size: number) => {
    view.setUint32(count >>> 0, list.length, true);
    view.setUint32(
      size >>> 0,
      strings(list).reduce((sum, text) => sum + text.byteLength, 0),
      true,
    );
    return SUCCESS;
  };
  const get = (list: string[]) => (places: number, buffer: number) => {
    places >>>= 0;
    let at = buffer >>> 0;
    for (const text of strings(list)) {
      view.setUint32(places, at, true);
      bytes.set(text, at);
      places += 4;
      at += text.byteLength;
    }
    return SUCCESS;
  };
  /** The first buffer of a vector that is not empty. */
  const buffer = (vector: number, count: number): Uint8Array => {
    for (let index = 0; index < count; index++) {
      const at = (vector >>> 0) + index * 8;
      const [start, length] = [view.getUint32(at, true), view.getUint32(at + 4, true)];
      if (start + length > bytes.byteLength) throw new RangeError();
      if (length) return bytes.subarray(start, start + length);
    }
    return bytes.subarray(0, 0);
  };
  const isStandard = (fd: number) => fd >= STDIN && fd <= STDERR;
  const has = (fd: number) => isStandard(fd) || pipes.has(fd);
  const clock = realtimeClock();

  const functions: Record<string, (...args: never[]) => number> = {
    args_sizes_get: sizes(world.args),
    args_get: get(world.args),
    environ_sizes_get: sizes(world.env),
    environ_get: get(world.env),
    clock_time_get: (id: number, _precision: bigint, time: number) => {
      view.setBigUint64(time >>> 0, id === 0 ? clock() : monotonic(), true);
      return SUCCESS;
    },
    clock_res_get: (_id: number, resolution: number) => {
      view.setBigUint64(resolution >>> 0, 1000n, true);
      return SUCCESS;
    },
    random_get: (start: number, length: number) => {
      const place = bytes.subarray(start >>> 0, (start >>> 0) + (length >>> 0));
      if (place.byteLength !== length >>> 0) return FAULT;
      for (let at = 0; at < place.byteLength; at += MOST_ENTROPY) {
        crypto.getRandomValues(place.subarray(at, at + MOST_ENTROPY));
      }
      return SUCCESS;
    },
    fd_read: (fd: number, vector: number, count: number, done: number) => {
      if (!pipes.has(fd)) return BADF;
      const read = pipes.read(fd, buffer(vector, count));
      if (read === undefined) return AGAIN;
      view.setUint32(done >>> 0, read, true);
      return SUCCESS;
    },
    fd_write: (fd: number, vector: number, count: number, done: number) => {
      if (!has(fd) || fd === STDIN) return BADF;
      const from = buffer(vector, count);
      if (!pipes.write(fd, from)) return PIPE;
      view.setUint32(done >>> 0, from.byteLength, true);
      return SUCCESS;
    },
    fd_pread: (fd: number, vector: number, count: number, offset: bigint, done: number) => {
      if (fd !== DESCRIPTOR.image || !world.image) return BADF;
      const read = world.image.read(Number(offset), buffer(vector, count));
      if (read === undefined) return IO;
      view.setUint32(done >>> 0, read, true);
      return SUCCESS;
    },
    fd_close: (fd: number) => (has(fd) ? SUCCESS : BADF),
    fd_fdstat_get: (fd: number, stat: number) => {
      if (!has(fd)) return BADF;
      const kind = !isStandard(fd) ? SOCKET_STREAM : world.tty ? CHARACTER_DEVICE : 0;
      const rights = !isStandard(fd) ? FD_READ | FD_WRITE : fd === STDIN ? FD_READ : FD_WRITE;
      const at = stat >>> 0;
      bytes.fill(0, at, at + 24);
      view.setUint8(at, kind);
      view.setUint16(at + 2, isStandard(fd) ? 0 : NONBLOCK, true);
      view.setBigUint64(at + 8, rights | POLL_FD_READWRITE, true);
      return SUCCESS;
    },
    fd_fdstat_set_flags: (fd: number) => (has(fd) ? SUCCESS : BADF),
    fd_prestat_get: () => BADF,
    fd_prestat_dir_name: () => BADF,
    fd_filestat_get: (fd: number, stat: number) => {
      if (!has(fd)) return BADF;
      bytes.fill(0, stat >>> 0, (stat >>> 0) + 64);
      return SUCCESS;
    },
    fd_tell: (fd: number) => (has(fd) ? SPIPE : BADF),
    fd_seek: (fd: number) => (has(fd) ? SPIPE : BADF),
    poll_oneoff: (subscriptions: number, events: number, count: number, done: number) => {
      if (!count) return INVAL;
      let written = 0;
      const happened = (at: number, tag: number) => {
        const event = (events >>> 0) + written++ * EVENT;
        const userdata = view.getBigUint64(at, true);
        bytes.fill(0, event, event + EVENT);
        view.setBigUint64(event, userdata, true);
        view.setUint8(event + 10, tag);
      };
      const from = (index: number) => (subscriptions >>> 0) + index * SUBSCRIPTION;
      for (let index = 0; index < count; index++) {
        const [at, tag] = [from(index), view.getUint8(from(index) + 8)];
        const fd = view.getUint32(at + 16, true);
        if (tag === 2 ? has(fd) : tag === 1 && pipes.readable(fd)) happened(at, tag);
      }
      // Nobody can wait here: every time has come, and who steps the box waits outside.
      if (!written) {
        for (let index = 0; index < count; index++) if (view.getUint8(from(index) + 8) === 0) happened(from(index), 0);
      }
      view.setUint32(done >>> 0, written, true);
      return SUCCESS;
    },
    sched_yield: () => {
      world.yields();
      return SUCCESS;
    },
    proc_exit: (status: number) => {
      throw new Exit(status);
    },
  };

  const table: Record<string, (...args: never[]) => number> = {};
  for (const name of imports) {
    const call = functions[name];
    // Wrapped, so that V8 takes no short way of its own that Node 20 to 24 stumble over.
    table[name] = (...args: never[]) => {
      if (!call) return NOSYS;
      look();
      try {
        return call(...args);
      } catch (error) {
        if (error instanceof RangeError) return FAULT;
        throw error;
      }
    };
  }
  return table;
}

/** The descriptors that boxes are told of by variables. */
export const VARIABLES = [`BOXER_CONTROL=${DESCRIPTOR.control}`, `BOXER_NET=${DESCRIPTOR.network}`, `BOXER_EXEC=${DESCRIPTOR.exec}`];

function monotonic(): bigint {
  return BigInt(Math.round(performance.now() * 1e6));
}

/** The time of day in ns: as fine as the monotonic clock, and right after the machine has slept. */
function realtimeClock(): () => bigint {
  const APART = 100;
  let origin = performance.timeOrigin;
  return () => {
    const now = performance.now();
    if (Math.abs(origin + now - Date.now()) > APART) origin = Date.now() - now;
    return BigInt(Math.floor(origin)) * 1_000_000n + BigInt(Math.round((now + (origin % 1)) * 1e6));
  };
}
