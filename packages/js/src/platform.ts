/** What differs between Node and browsers. */

import type { FromWorker, ToWorker } from "./messages.js";
import type { Source } from "./wasm.js";

/** A thread that runs one box. */
export interface WorkerHandle {
  post(message: ToWorker, transfer?: ArrayBuffer[]): void;
  terminate(): void;
}

export interface Listener {
  message(message: FromWorker): void;
  /** The worker is gone, or cannot be started. */
  failed(error: unknown): void;
}

export interface Platform {
  /** Starts a worker; `url` in place of the package's own file. */
  worker(listener: Listener, url: string | URL | undefined): WorkerHandle;
  /** The bytes behind a path or URL, wherever they are kept best. */
  load(place: string | URL, signal: AbortSignal | undefined): Promise<Source>;
  /** A place as workers find it, too. */
  absolute(place: string): string;
  /** The place of `name` beside another. */
  beside(place: string, name: string): string;
  /** Bytes as they are given to workers without another copy. */
  keep(bytes: Uint8Array): Source;
}

let current: Platform | undefined;

/** What the entry for Node or browsers has set. */
export function platform(): Platform {
  return current!;
}

export function setPlatform(platform: Platform) {
  current = platform;
}
