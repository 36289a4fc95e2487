/** The package under Node. */

import { open } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { Box } from "./box.js";
import { BoxError } from "./errors.js";
import type { FromWorker } from "./messages.js";
import { type Platform, setPlatform } from "./platform.js";
import type { Source } from "./wasm.js";

const platform: Platform = {
  worker(listener, url) {
    const worker = new Worker(url ?? new URL("./worker-node.js", import.meta.url));
    let over = false;
    worker.on("message", (message: FromWorker) => listener.message(message));
    worker.on("error", (error) => listener.failed(error));
    worker.on("exit", () => over || listener.failed(new Error("the worker has ended")));
    return {
      post: (message, transfer = []) => worker.postMessage(message, transfer),
      terminate: () => {
        over = true;
        void worker.terminate();
      },
    };
  },
  async load(place, signal) {
    const text = String(place);
    if (/^https?:/.test(text)) return fetched(text, signal);
    const path = text.startsWith("file:") ? fileURLToPath(text) : text;
    try {
      return await read(path, signal);
    } catch (cause) {
      signal?.throwIfAborted();
      throw new BoxError("unreachable", `${path} cannot be read: ${(cause as Error).message}`, { cause });
    }
  },
  absolute: (place) => (isUrl(place) ? place : resolve(place)),
  beside: (place, name) => (isUrl(place) ? new URL(name, place).href : join(dirname(place), name)),
  keep(bytes) {
    if (bytes.buffer instanceof SharedArrayBuffer) return bytes;
    const shared = room(bytes.byteLength);
    shared.set(bytes);
    return shared;
  },
};

function isUrl(place: string): boolean {
  return /^(https?|file):/.test(place);
}

/** Memory that all boxes of one file share. */
function room(length: number): Uint8Array {
  return new Uint8Array(new SharedArrayBuffer(length));
}

async function read(path: string, signal: AbortSignal | undefined): Promise<Source> {
  const PIECE = 16 << 20;
  const file = await open(path);
  try {
    const bytes = room((await file.stat()).size);
    for (let at = 0; at < bytes.byteLength; ) {
      signal?.throwIfAborted();
      const { bytesRead } = await file.read(bytes, at, Math.min(PIECE, bytes.byteLength - at), at);
      if (!bytesRead) break;
      at += bytesRead;
    }
    return bytes;
  } finally {
    await file.close();
  }
}

async function fetched(url: string, signal: AbortSignal | undefined): Promise<Source> {
  try {
    const response = await fetch(url, { signal: signal ?? null });
    if (!response.ok) throw new BoxError("unreachable", `${url}: status ${response.status} ${response.statusText}`.trim());
    return platform.keep(new Uint8Array(await response.arrayBuffer()));
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof BoxError) throw cause;
    throw new BoxError("unreachable", `${url} cannot be fetched`, { cause });
  }
}

setPlatform(platform);

export { Box };
export * from "./exports.js";
