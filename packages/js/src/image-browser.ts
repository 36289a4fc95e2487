/** Chunks of a box's files in a browser: from the place where the page found the box, and kept in the origin's private file system. */

import type { Store } from "./image.js";

/** The file that keeps them: records of a digest and as many bytes as the largest chunk has. */
const FILE = "boxer-chunks-1";
const DIGEST = 32;
/** What is kept at most, in bytes; then it begins anew. */
const MOST = 1 << 30;

/** TypeScript's library for pages does not have what workers have. */
interface AccessHandle {
  read(to: Uint8Array, options: { at: number }): number;
  write(from: Uint8Array, options: { at: number }): number;
  truncate(size: number): void;
  getSize(): number;
  flush(): void;
}

/** Chunks below `place`, a URL; `chunk`: the bytes of one. */
export async function openStore(place: string, chunk: number): Promise<Store> {
  const shelf = await Shelf.open(chunk).catch(() => undefined);
  return {
    fetchSync(name, again) {
      const request = new XMLHttpRequest();
      // A worker may wait for an answer.
      request.open("GET", place + name, false);
      request.responseType = "arraybuffer";
      if (again) request.setRequestHeader("Cache-Control", "no-cache");
      request.send();
      if (request.status !== 200) throw new Error(`${place}${name}: status ${request.status}`);
      return new Uint8Array(request.response as ArrayBuffer);
    },
    async fetch(name) {
      const response = await fetch(place + name);
      if (!response.ok) throw new Error(`${place}${name}: status ${response.status}`);
      return new Uint8Array(await response.arrayBuffer());
    },
    kept: (name, length) => shelf?.take(name, length),
    keep: (name, bytes) => shelf?.put(name, bytes),
  };
}

/** One worker of an origin has the file; others do without. */
class Shelf {
  #file: AccessHandle;
  #record: number;
  #places = new Map<string, number>();
  #next = 0;

  static async open(chunk: number): Promise<Shelf> {
    const folder = await navigator.storage.getDirectory();
    const handle = (await folder.getFileHandle(FILE, { create: true })) as unknown as { createSyncAccessHandle(): Promise<AccessHandle> };
    return new Shelf(await handle.createSyncAccessHandle(), chunk);
  }

  constructor(file: AccessHandle, chunk: number) {
    this.#file = file;
    this.#record = DIGEST + chunk;
    const digest = new Uint8Array(DIGEST);
    const size = file.getSize();
    // One that a page was closed over has wrong bytes, which are found out when they are read.
    for (; this.#next + DIGEST <= size; this.#next += this.#record) {
      file.read(digest, { at: this.#next });
      this.#places.set(hex(digest), this.#next);
    }
  }

  take(name: string, length: number): Uint8Array | undefined {
    const at = this.#places.get(name);
    if (at === undefined) return undefined;
    const bytes = new Uint8Array(length);
    return this.#file.read(bytes, { at: at + DIGEST }) === length ? bytes : undefined;
  }

  put(name: string, bytes: Uint8Array) {
    if (bytes.byteLength + DIGEST > this.#record) return;
    try {
      if (this.#next > MOST) {
        this.#file.truncate(0);
        this.#places.clear();
        this.#next = 0;
      }
      const at = this.#places.get(name) ?? this.#next;
      const record = new Uint8Array(this.#record);
      record.set(Uint8Array.from(name.match(/../g)!, (byte) => parseInt(byte, 16)));
      record.set(bytes, DIGEST);
      if (this.#file.write(record, { at }) !== record.byteLength) throw new Error("no room");
      this.#places.set(name, at);
      if (at === this.#next) this.#next += this.#record;
    } catch {
      // The origin's quota is used up: it is fetched again next time.
    }
  }
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
