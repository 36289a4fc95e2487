/** The byte streams of a box, at the worker's end: what has come and is not read yet, and what is on its way out. */

import { STDERR, STDOUT } from "./messages.js";

/** Output that may be under way before the box stands still, in bytes for each stream. */
const MOST_UNDER_WAY = 256 << 10;

interface Input {
  pieces: Uint8Array[];
  /** Bytes of the first piece that are gone. */
  from: number;
  ended: boolean;
}

export class Pipes {
  #inputs = new Map<number, Input>();
  #underWay = new Map<number, number>();
  #closed = new Set<number>();

  constructor(
    readonly send: (fd: number, bytes: Uint8Array) => void,
    readonly taken: (fd: number, bytes: number) => void,
  ) {}

  has(fd: number): boolean {
    return this.#inputs.has(fd);
  }

  /** Makes a stream. */
  open(fd: number) {
    this.#inputs.set(fd, { pieces: [], from: 0, ended: false });
  }

  arrived(fd: number, bytes: Uint8Array) {
    const input = this.#inputs.get(fd);
    if (bytes.byteLength && input && !input.ended) input.pieces.push(bytes);
  }

  end(fd: number) {
    const input = this.#inputs.get(fd);
    if (input) input.ended = true;
  }

  /** Whether a read gives something, or the end. */
  readable(fd: number): boolean {
    const input = this.#inputs.get(fd);
    return input !== undefined && (input.pieces.length > 0 || input.ended);
  }

  /** Reads into `to`: bytes, 0 at the end, undefined if there is nothing. */
  read(fd: number, to: Uint8Array): number | undefined {
    const input = this.#inputs.get(fd);
    if (!input) return undefined;
    let done = 0;
    for (let piece; (piece = input.pieces[0]) && done < to.byteLength; ) {
      const part = piece.subarray(input.from, input.from + to.byteLength - done);
      to.set(part, done);
      done += part.byteLength;
      input.from += part.byteLength;
      if (input.from === piece.byteLength) {
        input.pieces.shift();
        input.from = 0;
      }
    }
    if (done) this.taken(fd, done);
    return done || input.ended || !to.byteLength ? done : undefined;
  }

  /** Takes output, all of it; false if nobody reads it. */
  write(fd: number, bytes: Uint8Array): boolean {
    if (this.#closed.has(fd)) return false;
    if (!bytes.byteLength) return true;
    this.#underWay.set(fd, (this.#underWay.get(fd) ?? 0) + bytes.byteLength);
    // Memory may grow, and must not be given away: a copy.
    this.send(fd, bytes.slice());
    return true;
  }

  used(fd: number, bytes: number) {
    this.#underWay.set(fd, (this.#underWay.get(fd) ?? 0) - bytes);
  }

  close(fd: number) {
    this.#closed.add(fd);
    this.#underWay.delete(fd);
  }

  /** Whether a reader of standard output or error is behind. Other streams are bounded by what goes over them. */
  isFull(): boolean {
    return [STDOUT, STDERR].some((fd) => (this.#underWay.get(fd) ?? 0) >= MOST_UNDER_WAY);
  }
}
