/**
 * Files of a box that lie outside of it: the box's worker gets their bytes, in chunks, when a program touches them. The worker waits for them in the call in
 * which the box asks, and so do all programs of the box; the page does not.
 */

import { sha256 } from "./digest.js";
import { BoxError } from "./errors.js";
import { inflate } from "./inflate.js";

/** What a box of `boxer build -o type=web` says of its files, in the custom section `boxer.chunks`. */
export interface Manifest {
  version: number;
  /** Bytes of a chunk; the last one may have fewer. */
  chunk: number;
  /** Bytes of all. */
  length: number;
  /** SHA-256 of each chunk's bytes, which is also its name. */
  digests: string[];
  /** Chunks that a start of the image's command touched, in that order. */
  start: number[];
}

/** What a worker needs to get them. */
export interface Outside {
  manifest: Manifest;
  /** The folder of chunks: a URL that ends with a slash, or in Node a path. */
  place: string;
}

const VERSION = 1;

/** Checks what the section says. */
export function manifestOf(section: unknown): Manifest {
  const { version, chunk, length, digests, start } = section as Manifest;
  if (version !== VERSION) throw new BoxError("too-old", `the box keeps its files outside in version ${version} of that format; this package knows ${VERSION}`);
  const sound =
    Number.isInteger(chunk) && chunk > 0 && Array.isArray(digests) && digests.length === Math.ceil(length / chunk) && digests.every((digest) => /^[0-9a-f]{64}$/.test(digest));
  if (!sound || !Array.isArray(start) || !start.every((index) => Number.isInteger(index) && index >= 0 && index < digests.length)) {
    throw new BoxError("not-a-box", "what the box says of its files is damaged");
  }
  return { version, chunk, length, digests, start };
}

/** Where chunks come from. Names are digests. */
export interface Store {
  /** Compressed bytes, waited for. `again`: what a cache on the way gave was wrong. An error if they cannot be had. */
  fetchSync(name: string, again: boolean): Uint8Array;
  /** The same without waiting, if there is such a way. */
  fetch(name: string): Promise<Uint8Array>;
  /** Bytes that were kept, perhaps wrong ones. */
  kept(name: string, length: number): Uint8Array | undefined;
  /** Keeps bytes for another time, if there is room. */
  keep(name: string, bytes: Uint8Array): void;
}

/** Fetches that are under way at once. */
const AT_ONCE = 16;

export class Image {
  #manifest: Manifest;
  #store: Store;
  #failed: (error: BoxError) => void;
  /** What was fetched before it was asked for. */
  #ahead = new Map<number, Uint8Array>();

  constructor(manifest: Manifest, store: Store, failed: (error: BoxError) => void) {
    this.#manifest = manifest;
    this.#store = store;
    this.#failed = failed;
  }

  /** Gets what a start needs. What fails now is tried again when it is touched. */
  async prefetch(): Promise<void> {
    const wanted = [...this.#manifest.start];
    const work = async () => {
      for (let index; (index = wanted.shift()) !== undefined; ) {
        const bytes = await this.#early(index).catch(() => undefined);
        if (bytes) this.#ahead.set(index, bytes);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  }

  async #early(index: number): Promise<Uint8Array> {
    const [name, length] = [this.#manifest.digests[index]!, this.#lengthOf(index)];
    const kept = this.#store.kept(name, length);
    if (kept && (await digest(kept)) === name) return kept;
    const bytes = await expand(await this.#store.fetch(name), length);
    if ((await digest(bytes)) !== name) throw new Error("a wrong chunk");
    this.#store.keep(name, bytes);
    return bytes;
  }

  /** Fills `to` with what lies at `offset`; how much that is, undefined if it cannot be had. */
  read(offset: number, to: Uint8Array): number | undefined {
    const { chunk, length } = this.#manifest;
    const end = Math.min(offset + to.byteLength, length);
    for (let at = offset; at < end; ) {
      const index = Math.floor(at / chunk);
      const bytes = this.#chunk(index);
      if (!bytes) return undefined;
      const part = bytes.subarray(at - index * chunk, end - index * chunk);
      to.set(part, at - offset);
      at += part.byteLength;
    }
    return Math.max(0, end - offset);
  }

  #lengthOf(index: number): number {
    return Math.min(this.#manifest.chunk, this.#manifest.length - index * this.#manifest.chunk);
  }

  #chunk(index: number): Uint8Array | undefined {
    const ahead = this.#ahead.get(index);
    // The box keeps it from now on.
    this.#ahead.delete(index);
    if (ahead) return ahead;
    const [name, length] = [this.#manifest.digests[index]!, this.#lengthOf(index)];
    const kept = this.#store.kept(name, length);
    if (kept && sha256(kept) === name) return kept;
    try {
      const bytes = this.#fetched(name, length, false) ?? this.#fetched(name, length, true);
      if (!bytes) throw new BoxError("not-a-box", `the chunk ${name} has other bytes than its digest says`);
      this.#store.keep(name, bytes);
      return bytes;
    } catch (cause) {
      this.#failed(cause instanceof BoxError ? cause : new BoxError("unreachable", `a part of the box's files cannot be had: ${(cause as Error).message}`, { cause }));
      return undefined;
    }
  }

  /** Bytes that are what the digest says, or none. */
  #fetched(name: string, length: number, again: boolean): Uint8Array | undefined {
    const compressed = this.#store.fetchSync(name, again);
    try {
      const bytes = inflate(compressed, length);
      return sha256(bytes) === name ? bytes : undefined;
    } catch {
      return undefined;
    }
  }
}

/** Without waiting the browser's own means serve, where it has them: a page without TLS has no `crypto.subtle`. */
async function digest(bytes: Uint8Array): Promise<string> {
  if (!globalThis.crypto?.subtle) return sha256(bytes);
  const hash = await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function expand(compressed: Uint8Array, length: number): Promise<Uint8Array> {
  if (typeof DecompressionStream === "undefined") return inflate(compressed, length);
  const stream = new Blob([compressed as BlobPart]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
