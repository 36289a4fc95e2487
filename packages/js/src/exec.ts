/** The host's end of the stream by which processes and files of a running box are reached (docs/exec.md, version 2). */

import { BoxError, systemError } from "./errors.js";
import { Frames, MAX_PACKET } from "./frames.js";
import { STDERR, STDOUT } from "./messages.js";
import { BoxProcess, type Wire } from "./process.js";

const MAGIC = [0x42, 0x58, 0x45, 0x58]; // BXEX
const VERSION = 2;

const HELLO = 0x00;
const START = 0x01;
const INPUT = 0x02;
const INPUT_END = 0x03;
const CREDIT = 0x04;
const RESIZE = 0x05;
const SIGNAL = 0x06;
const CLOSE = 0x08;
const CALL = 0x10;

const BOX_HELLO = 0x80;
const STARTED = 0x81;
const FAILED = 0x82;
const OUTPUT = 0x83;
const END = 0x84;
const GRANT = 0x85;
const INPUT_CLOSED = 0x86;
const EXITED = 0x87;
const RESULT = 0x90;
const EVENT = 0x91;

const TERMINAL = 8;
/** Bytes of a stream that may be under way before anything is granted. */
const WINDOW = 65536;
/** Most bytes of input in one packet. */
const MAX_INPUT = 32_768;

/** How a process is started. */
export interface ExecStart {
  argv: string[];
  env: string[];
  cwd: string;
  user: string;
  tty: { cols: number; rows: number } | undefined;
}

interface Running {
  process: BoxProcess;
  started: (process: BoxProcess) => void;
  refused: (error: unknown) => void;
  /** Input that waits for leave to be sent, and how much may be sent. */
  waiting: Uint8Array[];
  leave: number;
  inputEnds: boolean;
  /** Bytes that were used up and are not granted again. */
  owed: Record<number, number>;
  open: Set<number>;
  exited: boolean;
}

/** What a watch tells: inotify's mask, and the path below what is watched. */
export type Change = (mask: number, path: Uint8Array) => void;

interface Call {
  done: (result: Uint8Array) => void;
  failed: (error: unknown) => void;
  what: string;
}

export class ExecClient {
  #frames = new Frames();
  #greeted = false;
  #processes = new Map<number, Running>();
  #calls = new Map<number, Call>();
  /** Numbers that stay in use after their RESULT: files and watches. */
  #watches = new Map<number, Change | undefined>();
  #next = 1;
  #broken: unknown;

  /** `send` takes bytes for the box. */
  constructor(readonly send: (bytes: Uint8Array) => void) {}

  /** What the box finds when it starts. */
  static greeting(): Uint8Array {
    return new Writer(HELLO, 0).bytes(MAGIC).u16(VERSION).packet();
  }

  /** Starts a process; fails with the reason why it cannot be started. */
  spawn({ argv, env, cwd, user, tty }: ExecStart): Promise<BoxProcess> {
    if (this.#broken) return Promise.reject(this.#broken);
    const number = this.#number();
    const process = new BoxProcess(this.#wire(number));
    const flags = tty ? 1 | 2 | TERMINAL : 1 | 2 | 4;
    const writer = new Writer(START, number).u8(flags).u16(tty?.rows ?? 0).u16(tty?.cols ?? 0);
    writer.text(user).text(cwd).list(argv).list(env);
    if (tty) process._ended(STDERR);
    return new Promise<BoxProcess>((started, refused) => {
      const open = new Set(tty ? [STDOUT] : [STDOUT, STDERR]);
      this.#processes.set(number, { process, started, refused, waiting: [], leave: WINDOW, inputEnds: false, owed: {}, open, exited: false });
      this.send(writer.packet());
    });
  }

  /** Calls an operation on files as root; `keeps`: its number is then that of a file or watch. The result and the number. */
  async call(operation: number, fields: (writer: Writer) => void, what: string, keeps = false): Promise<{ result: Reader; number: number }> {
    if (this.#broken) throw this.#broken;
    const number = this.#number();
    const writer = new Writer(CALL, number).text("").u8(operation);
    fields(writer);
    const result = await new Promise<Uint8Array>((done, failed) => {
      this.#calls.set(number, { done, failed, what });
      if (keeps) this.#watches.set(number, undefined);
      this.send(writer.packet());
    }).catch((error) => {
      this.#watches.delete(number);
      throw error;
    });
    return { result: new Reader(result), number };
  }

  /** A file or watch of that number is gone. */
  forget(number: number) {
    this.#watches.delete(number);
  }

  /** Calls `change` for events of a watch. */
  watch(number: number, change: Change) {
    this.#watches.set(number, change);
  }

  /** Bytes from the box. */
  arrived(bytes: Uint8Array) {
    if (this.#broken) return;
    try {
      this.#frames.arrived(bytes, 0, (packet) => this.#packet(new Reader(packet)));
    } catch (cause) {
      this.fail(new BoxError("crashed", "the box broke the protocol of its processes", { cause }));
    }
  }

  /** The box is gone. */
  fail(error: unknown) {
    this.#broken ??= error;
    for (const running of this.#processes.values()) {
      running.refused(error);
      running.process._fail(error);
    }
    for (const { failed } of this.#calls.values()) failed(error);
    this.#processes.clear();
    this.#calls.clear();
    this.#watches.clear();
  }

  #number(): number {
    const used = (number: number) => this.#processes.has(number) || this.#calls.has(number) || this.#watches.has(number);
    do this.#next = this.#next >= 2 ** 24 ? 1 : this.#next + 1;
    while (used(this.#next));
    return this.#next;
  }

  #wire(number: number): Wire {
    const running = () => this.#processes.get(number);
    const put = (kind: number, fill: (writer: Writer) => Writer = (writer) => writer) => {
      if (running()) this.send(fill(new Writer(kind, number)).packet());
    };
    return {
      input: (_fd, bytes) => {
        running()?.waiting.push(bytes);
        this.#feed(number);
      },
      end: () => {
        const process = running();
        if (process) process.inputEnds = true;
        this.#feed(number);
      },
      used: (fd, bytes) => {
        const process = running();
        if (!process?.open.has(fd)) return;
        const owed = (process.owed[fd] ?? 0) + bytes;
        process.owed[fd] = owed < WINDOW / 2 ? owed : 0;
        if (owed >= WINDOW / 2) put(CREDIT, (writer) => writer.u8(fd).u32(owed));
      },
      closed: (fd) => put(CLOSE, (writer) => writer.u8(fd)),
      signal: (signal) => put(SIGNAL, (writer) => writer.u8(signal)),
      resize: ({ cols, rows }) => put(RESIZE, (writer) => writer.u16(rows).u16(cols)),
    };
  }

  /** Sends input as far as the box takes it. */
  #feed(number: number) {
    const running = this.#processes.get(number);
    if (!running) return;
    for (let piece; (piece = running.waiting[0]) && running.leave; ) {
      const part = piece.subarray(0, Math.min(running.leave, MAX_INPUT));
      if (part.byteLength === piece.byteLength) running.waiting.shift();
      else running.waiting[0] = piece.subarray(part.byteLength);
      running.leave -= part.byteLength;
      if (part.byteLength) this.send(new Writer(INPUT, number).bytes(part).packet());
      running.process._taken(part.byteLength);
    }
    if (!running.waiting.length && running.inputEnds) {
      running.inputEnds = false;
      this.send(new Writer(INPUT_END, number).packet());
    }
  }

  #packet(packet: Reader) {
    const [kind, number] = [packet.u8(), packet.u32()];
    if (!this.#greeted) {
      const magic = MAGIC.every((byte) => packet.u8() === byte);
      if (kind !== BOX_HELLO || !magic || packet.u16() !== VERSION) throw new Error("another version");
      this.#greeted = true;
      return;
    }
    const call = this.#calls.get(number);
    if (kind === RESULT && call) {
      this.#calls.delete(number);
      const errno = packet.u16();
      if (errno) call.failed(systemError(errno, call.what));
      else call.done(packet.rest());
      return;
    }
    if (kind === EVENT) {
      const mask = packet.u32();
      packet.u32();
      this.#watches.get(number)?.(mask, packet.rest());
      return;
    }
    const running = this.#processes.get(number);
    if (running) this.#told(number, running, kind, packet);
  }

  #told(number: number, running: Running, kind: number, packet: Reader) {
    const { process } = running;
    switch (kind) {
      case STARTED:
        running.started(process);
        return;
      case FAILED: {
        const [why, errno] = [packet.u8(), packet.u16()];
        const text = new TextDecoder().decode(packet.rest());
        const code = ([undefined, "no-such-program", "cannot-execute", "no-such-directory", "no-such-user"] as const)[why];
        const error = new BoxError(code ?? "cannot-start", text, errno ? { cause: systemError(errno, text) } : {});
        this.#processes.delete(number);
        running.refused(error);
        process._fail(error);
        return;
      }
      case OUTPUT: {
        const fd = packet.u8();
        process._output(fd, packet.rest());
        return;
      }
      case END: {
        const fd = packet.u8();
        running.open.delete(fd);
        process._ended(fd);
        this.#settle(number, running);
        return;
      }
      case GRANT:
        running.leave += packet.u32();
        this.#feed(number);
        return;
      case INPUT_CLOSED:
        running.waiting = [];
        running.inputEnds = false;
        process._inputClosed();
        return;
      case EXITED: {
        const [how, status] = [packet.u8(), packet.u8()];
        running.exited = true;
        process._status(how ? 128 + status : status);
        this.#settle(number, running);
        return;
      }
    }
  }

  /** Forgets a process of which nothing more comes. */
  #settle(number: number, { exited, open }: Running) {
    if (exited && !open.size) this.#processes.delete(number);
  }
}

/** A packet that is being written. */
export class Writer {
  #bytes: Uint8Array = new Uint8Array(64);
  #length = 4;

  constructor(kind: number, number: number) {
    this.u8(kind).u32(number);
  }

  #room(length: number): DataView {
    if (this.#length + length > this.#bytes.byteLength) {
      const larger = new Uint8Array(Math.max(this.#bytes.byteLength * 2, this.#length + length));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#length += length;
    return new DataView(this.#bytes.buffer, this.#length - length);
  }

  u8(value: number): this {
    this.#room(1).setUint8(0, value);
    return this;
  }

  u16(value: number): this {
    this.#room(2).setUint16(0, value, true);
    return this;
  }

  u32(value: number): this {
    this.#room(4).setUint32(0, value, true);
    return this;
  }

  u64(value: bigint): this {
    this.#room(8).setBigUint64(0, value, true);
    return this;
  }

  /** Bytes without their length. */
  bytes(bytes: ArrayLike<number>): this {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#length - bytes.length);
    return this;
  }

  /** Bytes after their length. */
  counted(bytes: Uint8Array): this {
    return this.u32(bytes.byteLength).bytes(bytes);
  }

  text(text: string): this {
    return this.counted(new TextEncoder().encode(text));
  }

  list(texts: string[]): this {
    this.u32(texts.length);
    for (const text of texts) this.text(text);
    return this;
  }

  packet(): Uint8Array {
    const length = this.#length - 4;
    if (length > MAX_PACKET) throw new BoxError("invalid-argument", `a request has ${length} bytes; the most is ${MAX_PACKET}`);
    new DataView(this.#bytes.buffer).setUint32(0, length, true);
    return this.#bytes.slice(0, this.#length);
  }
}

/** Fields one after the other. */
export class Reader {
  #view: DataView;
  #at = 0;

  constructor(readonly all: Uint8Array) {
    this.#view = new DataView(all.buffer, all.byteOffset, all.byteLength);
  }

  get isEmpty(): boolean {
    return this.#at >= this.all.byteLength;
  }

  u8(): number {
    return this.#view.getUint8(this.#skip(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#skip(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#skip(4), true);
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#skip(8), true);
  }

  /** Bytes after their length. */
  counted(): Uint8Array {
    const length = this.u32();
    const start = this.#skip(length);
    if (start + length > this.all.byteLength) throw new RangeError("a packet is too short");
    return this.all.slice(start, start + length);
  }

  rest(): Uint8Array {
    return this.all.slice(this.#at);
  }

  #skip(length: number): number {
    this.#at += length;
    return this.#at - length;
  }
}
