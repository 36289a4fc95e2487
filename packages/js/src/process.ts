/** A program in a box. */

import { BoxError } from "./errors.js";
import { STDERR, STDIN, STDOUT } from "./messages.js";

/** Linux's signals on x86-64 by name (signal(7)). */
export const SIGNALS = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGILL: 4,
  SIGTRAP: 5,
  SIGABRT: 6,
  SIGBUS: 7,
  SIGFPE: 8,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGSEGV: 11,
  SIGUSR2: 12,
  SIGPIPE: 13,
  SIGALRM: 14,
  SIGTERM: 15,
  SIGCHLD: 17,
  SIGCONT: 18,
  SIGSTOP: 19,
  SIGTSTP: 20,
  SIGTTIN: 21,
  SIGTTOU: 22,
  SIGWINCH: 28,
} as const;

/** A signal by name or number. */
export type Signal = keyof typeof SIGNALS | number;

/** Input that may be under way before a write waits, in bytes. */
const MOST_UNDER_WAY = 256 << 10;

/** How a process reaches its box. */
export interface Wire {
  input(fd: number, bytes: Uint8Array): void;
  end(fd: number): void;
  used(fd: number, bytes: number): void;
  closed(fd: number): void;
  signal(signal: number): void;
  resize(size: { cols: number; rows: number }): void;
}

/** The number of a signal. */
export function signalNumber(signal: Signal): number {
  const number = typeof signal === "number" ? signal : SIGNALS[signal];
  if (!Number.isInteger(number) || number < 1 || number > 64) {
    throw new BoxError("invalid-argument", `${String(signal)} is no signal`);
  }
  return number;
}

/** A stream of bytes that says when they are used up: when somebody takes them, not before. */
class Output {
  readonly stream: ReadableStream<Uint8Array>;
  #queue: Uint8Array[] = [];
  #ended = false;
  #cancelled = false;
  #came: (() => void) | undefined;
  #controller!: ReadableStreamDefaultController<Uint8Array>;

  constructor(used: (bytes: number) => void, closed: () => void) {
    this.stream = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: async (controller) => {
          while (!this.#queue.length && !this.#ended) await new Promise<void>((resolve) => (this.#came = resolve));
          const bytes = this.#queue.shift();
          if (bytes) {
            controller.enqueue(bytes);
            used(bytes.byteLength);
          }
          this.#closeIfDone();
        },
        cancel: () => {
          this.#cancelled = true;
          this.#queue = [];
          this.#came?.();
          closed();
        },
      },
      { highWaterMark: 0 },
    );
  }

  push(bytes: Uint8Array) {
    if (this.#cancelled) return;
    this.#queue.push(bytes);
    this.#came?.();
  }

  end() {
    this.#ended = true;
    this.#came?.();
    this.#closeIfDone();
  }

  fail(error: unknown) {
    if (!this.#cancelled && !this.#ended) this.#controller.error(error);
    this.#cancelled = true;
    this.#ended = true;
    this.#came?.();
  }

  #closeIfDone() {
    if (!this.#ended || this.#queue.length || this.#cancelled) return;
    this.#cancelled = true;
    this.#controller.close();
  }
}

/** A program that was started by `Box.spawn` or `Box.start`. */
export class BoxProcess {
  /** Bytes, or text, for standard input; closing it is the end of input. A write waits while 256 KiB are not read. */
  readonly stdin: WritableStream<Uint8Array | string>;
  /** Standard output; with `tty` all output. The box stands still while 256 KiB are not read: `cancel()` what nobody wants. */
  readonly stdout: ReadableStream<Uint8Array>;
  readonly stderr: ReadableStream<Uint8Array>;
  /** The exit status: 128 + n if a signal ended the program. Rejects with a {@link BoxError} if the box broke or was terminated. */
  readonly exit: Promise<number>;

  #wire: Wire;
  #outputs: Record<number, Output>;
  #underWay = 0;
  #room: (() => void)[] = [];
  #over = false;
  #stdin: WritableStreamDefaultController | undefined;
  #ended!: (status: number) => void;
  #failed!: (error: unknown) => void;

  /** @internal */
  constructor(wire: Wire) {
    this.#wire = wire;
    this.exit = new Promise((resolve, reject) => {
      this.#ended = resolve;
      this.#failed = reject;
    });
    // Who does not ask need not catch.
    this.exit.catch(() => {});
    const output = (fd: number) => new Output((bytes) => wire.used(fd, bytes), () => wire.closed(fd));
    this.#outputs = { [STDOUT]: output(STDOUT), [STDERR]: output(STDERR) };
    this.stdout = this.#outputs[STDOUT]!.stream;
    this.stderr = this.#outputs[STDERR]!.stream;
    const encoder = new TextEncoder();
    this.stdin = new WritableStream({
      start: (controller) => {
        this.#stdin = controller;
      },
      write: async (chunk) => {
        // A copy: what is given away with a message is gone for whoever wrote it.
        const bytes = typeof chunk === "string" ? encoder.encode(chunk) : Uint8Array.from(chunk);
        this.#underWay += bytes.byteLength;
        this.#wire.input(STDIN, bytes);
        while (this.#underWay > MOST_UNDER_WAY && !this.#over) await new Promise<void>((resolve) => this.#room.push(resolve));
      },
      close: () => this.#wire.end(STDIN),
      abort: () => this.#wire.end(STDIN),
    });
  }

  /** Sends a signal, SIGTERM unless said otherwise. */
  kill(signal: Signal = "SIGTERM"): void {
    const number = signalNumber(signal);
    if (!this.#over) this.#wire.signal(number);
  }

  /** Tells the terminal's new size; programs hear of it by SIGWINCH. */
  resize(size: { cols: number; rows: number }): void {
    if (!this.#over) this.#wire.resize(size);
  }

  /** @internal */
  _output(fd: number, bytes: Uint8Array) {
    this.#outputs[fd]?.push(bytes);
  }

  /** @internal */
  _taken(bytes: number) {
    this.#underWay -= bytes;
    if (this.#underWay <= MOST_UNDER_WAY) this.#room.splice(0).forEach((go) => go());
  }

  /** @internal No more of this output comes. */
  _ended(fd: number) {
    this.#outputs[fd]?.end();
  }

  /** @internal Nobody reads input any more. */
  _inputClosed() {
    this.#room.splice(0).forEach((go) => go());
    this.#stdin?.error(new BoxError("ended", "the program has closed its standard input"));
  }

  /** @internal The program has ended; output may still come. */
  _status(status: number) {
    this.#finish(new BoxError("ended", "the program has ended"));
    this.#ended(status);
  }

  /** @internal The program has ended, and so have its streams. */
  _exit(status: number) {
    for (const output of Object.values(this.#outputs)) output.end();
    this._status(status);
  }

  /** @internal */
  _fail(error: unknown) {
    this.#finish(error);
    for (const output of Object.values(this.#outputs)) output.fail(error);
    this.#failed(error);
  }

  #finish(error: unknown) {
    this.#over = true;
    this.#room.splice(0).forEach((go) => go());
    this.#stdin?.error(error);
  }
}
