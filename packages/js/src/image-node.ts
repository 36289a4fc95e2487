/** Chunks of a box's files in Node: from a folder, or a server. */

import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { MessageChannel, receiveMessageOnPort, Worker } from "node:worker_threads";
import type { Store } from "./image.js";

/** Chunks below `place`, a path or URL. */
export async function openStore(place: string): Promise<Store> {
  const nothing = { kept: () => undefined, keep: () => {} };
  if (!/^https?:/.test(place)) {
    const folder = place.startsWith("file:") ? fileURLToPath(place) : place;
    return { ...nothing, fetchSync: (name) => readFileSync(join(folder, name)), fetch: (name) => readFile(join(folder, name)) };
  }
  let waiter: Waiter | undefined;
  return {
    ...nothing,
    fetchSync: (name) => (waiter ??= new Waiter()).fetch(place + name),
    async fetch(name) {
      const response = await fetch(place + name);
      if (!response.ok) throw new Error(`${place}${name}: status ${response.status}`);
      return new Uint8Array(await response.arrayBuffer());
    },
  };
}

/** Node has no request that is waited for: another thread makes it. */
class Waiter {
  #flag = new Int32Array(new SharedArrayBuffer(4));
  #port;

  constructor() {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    const script = `
      const { workerData: { flag, port } } = require("node:worker_threads");
      port.on("message", async (url) => {
        let answer;
        try {
          const response = await fetch(url);
          answer = response.ok ? { bytes: new Uint8Array(await response.arrayBuffer()) } : { error: url + ": status " + response.status };
        } catch (error) {
          answer = { error: url + ": " + (error.cause?.message ?? error.message) };
        }
        port.postMessage(answer);
        Atomics.store(flag, 0, 1);
        Atomics.notify(flag, 0);
      });`;
    const worker = new Worker(script, { eval: true, workerData: { flag: this.#flag, port: port2 }, transferList: [port2] });
    worker.unref();
  }

  fetch(url: string): Uint8Array {
    Atomics.store(this.#flag, 0, 0);
    this.#port.postMessage(url);
    Atomics.wait(this.#flag, 0, 0);
    const { bytes, error } = receiveMessageOnPort(this.#port)!.message as { bytes?: Uint8Array; error?: string };
    if (!bytes) throw new Error(error);
    return bytes;
  }
}
