/**
 * The package where scripts neither compile WebAssembly nor start workers, such as Cloudflare's: a box is opened as a `WebAssembly.Module`, which was compiled when the script was
 * deployed, and runs in the script's own thread, in short steps between its other work.
 */

import { Box } from "./box.js";
import { Engine } from "./engine.js";
import { BoxError } from "./errors.js";
import type { Listener, Platform } from "./platform.js";
import { setPlatform } from "./platform.js";

/** A clock there may stand still while a script computes: a step is as short as can be, whatever it says. */
const STEP = 0;

const platform: Platform = {
  worker(listener: Listener) {
    let over = false;
    const engine = new Engine({
      // Not at once: neither side expects an answer within its own call.
      post: (message) => queueMicrotask(() => over || listener.message(message)),
      soon: (work) => void setTimeout(work, 0),
      step: STEP,
      store: () => Promise.reject(new BoxError("unsupported", "a box whose files lie outside of it cannot run here: nothing may be waited for")),
    });
    return {
      post: (message) => engine.heard(message),
      terminate: () => {
        over = true;
        engine.stop();
      },
    };
  },
  load: (place) => Promise.reject(new BoxError("unsupported", `${place}: nothing is compiled here; import the box as a WebAssembly.Module, and open that`)),
  absolute: (place) => place,
  beside: (_place, name) => name,
  keep: (bytes) => bytes,
};

setPlatform(platform);

export { Box };
export * from "./exports.js";
