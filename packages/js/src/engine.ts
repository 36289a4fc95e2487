/** What a box's worker does: it steps the box, sleeps while every process waits, and wakes on what comes. */

import type { BoxError } from "./errors.js";
import { Image, type Outside, type Store } from "./image.js";
import type { FromWorker, Start, ToWorker } from "./messages.js";
import { DESCRIPTOR, STDIN } from "./messages.js";
import { Pipes } from "./pipes.js";
import { Exit, preview1 } from "./preview1.js";
import { extentsOf, pagesOf, readAt } from "./wasm.js";

/** How long a step of a worker takes, in ms; then whoever has told something is heard. */
export const STEP = 8;
/** A longer time is waited for in parts: timers have 31 bits. */
const LONGEST_SLEEP = 2 ** 31 - 1;
/** Shorter waits than this are no sleep for a timer, in ms. */
const SHORTEST_SLEEP = 1;
/** Bytes of the file that are read at once. */
const PIECE = 8 << 20;

const enum State {
  GoesOn = 0,
  Waits = 1,
  Ended = 2,
}

/** A wait without a time. */
const NEVER = (1n << 40n) - 1n;

/** `mux::freeze`: places in the record at `boxer-life`, and the values there. */
const LIFE = { state: 4, text: 8, textLength: 12, next: 16, status: 20, whole: 1, unfit: 2, goesOn: 0, ends: 1 } as const;

/** The status of a run that ends by being frozen: 128 + SIGSTOP, as `boxer freeze` says it. */
const FROZEN_STATUS = 147;

export interface Port {
  post(message: FromWorker, transfer: ArrayBuffer[]): void;
  /** Calls back once others have had their turn. */
  soon(work: () => void): void;
  /** How long a step takes, in ms. */
  step: number;
  /** Where chunks of a box's files come from. */
  store(place: string, chunk: number): Promise<Store>;
}

interface Exports {
  memory: WebAssembly.Memory;
  "boxer-begin": () => number;
  "boxer-step": (ms: number) => bigint;
  "boxer-ports": () => bigint;
  "boxer-life": WebAssembly.Global;
}

export class Engine {
  #port: Port;
  #pipes: Pipes;
  #exports: Exports | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** A step is about to be made. */
  #due = false;
  /** Something was told that is not to wait for a slow reader. */
  #urgent = false;
  #over = false;
  #watchesPorts = false;
  #ports = "";
  #freeze: { keepRunning: boolean } | undefined;

  constructor(port: Port) {
    this.#port = port;
    this.#pipes = new Pipes(
      (fd, bytes) => port.post({ type: "output", fd, bytes }, [bytes.buffer as ArrayBuffer]),
      (fd, bytes) => port.post({ type: "taken", fd, bytes }, []),
    );
    const { control, network, exec } = DESCRIPTOR;
    for (const fd of [STDIN, control, network, exec]) this.#pipes.open(fd);
  }

  /** Makes no further step. */
  stop() {
    this.#over = true;
    clearTimeout(this.#timer);
  }

  heard(message: ToWorker) {
    switch (message.type) {
      case "start":
        void this.#start(message).catch((error) => this.#crash(error));
        return;
      case "input":
        this.#pipes.arrived(message.fd, message.bytes);
        this.#urgent ||= message.fd !== STDIN;
        break;
      case "end":
        this.#pipes.end(message.fd);
        break;
      case "used":
        this.#pipes.used(message.fd, message.bytes);
        break;
      case "closed":
        this.#pipes.close(message.fd);
        break;
      case "watch-ports":
        this.#watchesPorts = true;
        break;
      case "freeze":
        this.#freeze = message;
        break;
    }
    this.#wake();
  }

  async #start({ module, source, segments, outside, args, env, tty, input }: Start) {
    for (const [fd, bytes] of input) this.#pipes.arrived(fd, bytes);
    const imports = WebAssembly.Module.imports(module).map(({ name }) => name);
    let exports: Exports | undefined;
    const memory = () => (exports as Exports).memory.buffer;
    const image = outside && (await this.#image(outside));
    const world = { args, env, tty, pipes: this.#pipes, image, memory, yields: () => this.#yields() };
    const instance = await WebAssembly.instantiate(module, { wasi_snapshot_preview1: preview1(world, imports) });
    exports = instance.exports as unknown as Exports;
    for (const { address, length, offset } of source ? segments : []) {
      for (let done = 0; done < length; done += PIECE) {
        const bytes = await readAt(source!, offset + done, Math.min(PIECE, length - done));
        new Uint8Array(memory(), address + done).set(bytes);
      }
    }
    this.#exports = exports;
    this.#guard(() => {
      const status = exports["boxer-begin"]();
      if (status) this.#exit(status);
      else this.#wake();
    });
  }

  async #image({ manifest, place }: Outside): Promise<Image> {
    const failed = ({ code, message }: BoxError) => this.#port.post({ type: "missing", code, reason: message }, []);
    const image = new Image(manifest, await this.#port.store(place, manifest.chunk), failed);
    await image.prefetch();
    return image;
  }

  /** Makes a step soon, whatever the box waits for. */
  #wake() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#due || this.#over || !this.#exports) return;
    this.#due = true;
    this.#port.soon(() => {
      this.#due = false;
      this.#guard(() => this.#step());
    });
  }

  #step() {
    if (this.#over || (this.#pipes.isFull() && !this.#urgent)) return;
    this.#urgent = false;
    const answer = this.#exports!["boxer-step"](this.#port.step);
    const state: State = Number(answer & 0xffn);
    if (state === State.Ended) {
      this.#exit(Number((answer >> 8n) & 0xffffn));
      return;
    }
    this.#tellPorts();
    if (state === State.GoesOn) {
      this.#wake();
      return;
    }
    const left = BigInt.asUintN(40, answer >> 24n);
    if (left === NEVER) return;
    const ms = Number(left) / 1000;
    if (ms < SHORTEST_SLEEP) this.#wake();
    else this.#timer = setTimeout(() => this.#wake(), Math.min(Math.ceil(ms), LONGEST_SLEEP));
  }

  #tellPorts() {
    if (!this.#watchesPorts) return;
    const answer = this.#exports!["boxer-ports"]();
    const [at, count] = [Number(answer & 0xffff_ffffn), Number(BigInt.asUintN(32, answer >> 32n))];
    const ports = [...new Uint16Array(this.#exports!.memory.buffer, at, count)];
    const text = ports.join();
    if (text === this.#ports) return;
    this.#ports = text;
    this.#port.post({ type: "ports", ports }, []);
  }

  /** The box has come by, perhaps because its state is whole. */
  #yields() {
    const exports = this.#exports;
    if (!exports || !this.#freeze) return;
    const buffer = exports.memory.buffer;
    const [view, at] = [new DataView(buffer), Number(exports["boxer-life"].value) >>> 0];
    const word = (place: number) => view.getUint32(at + place, true);
    const set = (place: number, value: number) => view.setUint32(at + place, value, true);
    const state = word(LIFE.state);
    if (state !== LIFE.whole && state !== LIFE.unfit) return;
    const { keepRunning } = this.#freeze;
    this.#freeze = undefined;
    set(LIFE.next, LIFE.goesOn);
    if (state === LIFE.unfit) {
      const reason = new TextDecoder().decode(new Uint8Array(buffer, word(LIFE.text), word(LIFE.textLength)).slice());
      this.#port.post({ type: "unfit", reason }, []);
      return;
    }
    try {
      const extents = extentsOf(buffer);
      const transfer = extents.slice(0, 1).map(({ bytes }) => bytes.buffer as ArrayBuffer);
      this.#port.post({ type: "frozen", pages: pagesOf(buffer), extents }, transfer);
    } catch (error) {
      // There is no room for a copy: it goes on.
      this.#port.post({ type: "unfit", reason: String(error) }, []);
      return;
    }
    if (keepRunning) return;
    set(LIFE.status, FROZEN_STATUS);
    set(LIFE.next, LIFE.ends);
  }

  #guard(work: () => void) {
    try {
      work();
    } catch (error) {
      if (error instanceof Exit) this.#exit(error.status);
      else this.#crash(error);
    }
  }

  #exit(status: number) {
    if (this.#over) return;
    this.#over = true;
    this.#port.post({ type: "exit", status }, []);
  }

  #crash(error: unknown) {
    if (this.#over) return;
    this.#over = true;
    const [reason, stack] = error instanceof Error ? [error.message, error.stack] : [String(error), undefined];
    this.#port.post({ type: "crash", reason, stack }, []);
  }
}
