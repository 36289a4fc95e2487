/** What goes between a box's worker and whoever opened it. Neither side waits inside of anything. */

import type { BoxErrorCode } from "./errors.js";
import type { Outside } from "./image.js";
import type { Extent, Segment, Source } from "./wasm.js";

/** A descriptor of the box: 0 to 2 are the standard streams, those of `DESCRIPTOR` byte streams to this package, but for `image`, which is read at places. */
export const STDIN = 0;
export const STDOUT = 1;
export const STDERR = 2;

/** Numbers that no file of a box gets, as under `boxer run`. */
export const DESCRIPTOR = { control: 2 ** 24, network: 2 ** 24 + 1, exec: 2 ** 24 + 2, image: 2 ** 24 + 3 } as const;

/** Everything that a worker needs. */
export interface Start {
  type: "start";
  module: WebAssembly.Module;
  /** The file, and what of it goes into memory. */
  source: Source | undefined;
  segments: Segment[];
  /** Where the box's files are, if not in it. */
  outside: Outside | undefined;
  args: string[];
  env: string[];
  /** The standard streams are a terminal. */
  tty: boolean;
  /** What lies on descriptors from the beginning. */
  input: [fd: number, bytes: Uint8Array][];
}

export type ToWorker =
  | Start
  /** Bytes for a descriptor. */
  | { type: "input"; fd: number; bytes: Uint8Array }
  /** No more come. */
  | { type: "end"; fd: number }
  /** So many bytes of output were used up. */
  | { type: "used"; fd: number; bytes: number }
  /** Nobody reads this output any more. */
  | { type: "closed"; fd: number }
  /** Report the ports at which programs listen. */
  | { type: "watch-ports" }
  /** The box was told to come to a moment in which it can be frozen. */
  | { type: "freeze"; keepRunning: boolean };

export type FromWorker =
  /** Output. */
  | { type: "output"; fd: number; bytes: Uint8Array }
  /** So many bytes of input were taken by the box. */
  | { type: "taken"; fd: number; bytes: number }
  | { type: "ports"; ports: number[] }
  | { type: "frozen"; pages: number; extents: Extent[] }
  | { type: "unfit"; reason: string }
  /** A part of the box's files could not be had: what touched it got EIO or SIGBUS. */
  | { type: "missing"; code: BoxErrorCode; reason: string }
  | { type: "exit"; status: number }
  | { type: "crash"; reason: string; stack: string | undefined };
