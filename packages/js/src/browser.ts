/** The package in a browser. */

import { Box } from "./box.js";
import { BoxError } from "./errors.js";
import type { FromWorker } from "./messages.js";
import { type Platform, setPlatform } from "./platform.js";
import type { Source } from "./wasm.js";

const platform: Platform = {
  worker(listener, url) {
    const worker = url ? new Worker(url, { type: "module" }) : new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => listener.message(data);
    worker.onerror = (event) => {
      event.preventDefault();
      listener.failed(new Error(event.message || "the worker's script cannot be loaded"));
    };
    return {
      post: (message, transfer = []) => worker.postMessage(message, transfer),
      terminate: () => worker.terminate(),
    };
  },
  async load(place, signal) {
    let response: Response;
    try {
      response = await fetch(place, { signal: signal ?? null });
    } catch (cause) {
      signal?.throwIfAborted();
      throw new BoxError("unreachable", `${place} cannot be fetched`, { cause });
    }
    return body(response, signal);
  },
  absolute: (place) => new URL(place, document.baseURI).href,
  beside: (place, name) => new URL(name, new URL(place, document.baseURI)).href,
  keep: (bytes) => new Blob([bytes as BlobPart]),
};

async function body(response: Response, signal: AbortSignal | undefined): Promise<Source> {
  if (!response.ok) throw new BoxError("unreachable", `${response.url}: status ${response.status} ${response.statusText}`.trim());
  try {
    return await response.blob();
  } catch (cause) {
    signal?.throwIfAborted();
    throw new BoxError("unreachable", `${response.url} broke off`, { cause });
  }
}

setPlatform(platform);

export { Box };
export * from "./exports.js";
