/** What a box and its programs are told. */

import { BoxError } from "./errors.js";
import type { Network } from "./network.js";
import type { PersistOptions } from "./persist.js";
import { VARIABLES } from "./preview1.js";

/** Bounds of a box (`boxer run --help` describes them). Without one, what there is. */
export interface Limits {
  /** Memory of programs, `"512m"` or bytes. When it is used up the largest process is killed. */
  memory?: string | number;
  /** Files that are written. */
  storage?: string | number;
  /** Threads at once. */
  pids?: number;
  /** Time from the start, `"10s"`, after which the box ends with status 124. */
  timeout?: string;
  /** CPU time of all programs, after which it ends with status 152. */
  cpuTime?: string;
}

export interface OpenOptions {
  /** Breaks loading off, and later terminates the box. */
  signal?: AbortSignal;
  limits?: Limits;
  /**
   * What programs and the files that they write may take of the device's memory, bytes or `"256m"`: `/proc/meminfo` says so, and when it is used up
   * allocations fail or the largest process is killed. The box as a whole stays below that, its file, and 256 MB for the kernel's own records.
   */
  maxMemory?: string | number;
  hostname?: string;
  /** What programs in the box may reach. Without it nothing: connections fail with ENETUNREACH. */
  network?: Network;
  /**
   * Directories that outlive the box, in the origin's private file system (OPFS): `true` for the image's volumes, or their paths. The first time they have what the image has there.
   * What programs write is kept a moment later ({@link Box.flush} waits for that); what cannot be kept is told by `on("unsaved")`.
   */
  persist?: boolean | string[] | PersistOptions;
  /** Where the chunks are of a box of `boxer build -o type=web`; without it, in the folder `chunks` beside its file. In Node also a path. */
  chunks?: string | URL;
  /** Where the worker's script is, if a bundler has moved it. */
  workerUrl?: string | URL;
}

export interface SpawnOptions {
  /** Laid over the image's environment. */
  env?: Record<string, string>;
  cwd?: string;
  /** `name`, `uid`, `name:group`, as in a Dockerfile. */
  user?: string;
  /** The standard streams are a terminal of that size (80 × 24). Its output is all on `stdout`. */
  tty?: boolean | { cols: number; rows: number };
}

export interface FreezeOptions {
  /** The box goes on; otherwise it ends with status 147, as with `boxer freeze`. */
  keepRunning?: boolean;
}

/** The variables that steer the box and those of its own program. */
export function environment(options: SpawnOptions, { limits = {}, maxMemory, hostname }: OpenOptions): string[] {
  const env = [...VARIABLES];
  const steer = (name: string, value: string | number | undefined) => {
    if (value !== undefined) env.push(`BOXER_${name}=${value}`);
  };
  steer("WORKDIR", options.cwd);
  steer("USER", options.user);
  steer("HOSTNAME", hostname);
  const { cols, rows } = sizeOf(options.tty);
  steer("TTY", options.tty ? `${cols}x${rows}` : "0");
  if (limits.memory !== undefined && maxMemory !== undefined) throw new BoxError("invalid-argument", "`maxMemory` and `limits.memory` are one bound: give one of them");
  steer("MEMORY", maxMemory ?? limits.memory);
  steer("STORAGE", limits.storage);
  steer("PIDS", limits.pids);
  steer("TIMEOUT", limits.timeout);
  steer("CPU_TIME", limits.cpuTime);
  for (const [name, value] of Object.entries(options.env ?? {})) env.push(variable(name, value));
  return env;
}

/** Bytes of `"64m"` and its like. */
export function bytesIn(size: string | number): number {
  const [, number, unit] = /^([0-9]+)([bkmg]?)b?$/i.exec(String(size)) ?? [];
  if (number === undefined) throw new BoxError("invalid-argument", `${JSON.stringify(size)} is no size: bytes, or a number with k, m or g`);
  return Number(number) * 1024 ** "bkmg".indexOf(unit!.toLowerCase() || "b");
}

export function sizeOf(tty: SpawnOptions["tty"]): { cols: number; rows: number } {
  return typeof tty === "object" ? tty : { cols: 80, rows: 24 };
}

export function variable(name: string, value: string): string {
  if (name && !name.includes("=") && !name.startsWith("BOXER_")) return `${name}=${value}`;
  throw new BoxError("invalid-argument", `${JSON.stringify(name)} is no name of a variable, or one that steers boxes`);
}

export function noZero(texts: string[]) {
  if (texts.some((text) => text.includes("\0"))) throw new BoxError("invalid-argument", "arguments and variables hold no zero byte");
}

