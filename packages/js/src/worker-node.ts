/** The worker under Node. */

import { parentPort } from "node:worker_threads";
import { Engine, STEP } from "./engine.js";
import { openStore } from "./image-node.js";
import type { ToWorker } from "./messages.js";

const port = parentPort!;
const engine = new Engine({
  post: (message, transfer) => port.postMessage(message, transfer),
  soon: (work) => void setImmediate(work),
  step: STEP,
  store: openStore,
});
port.on("message", (message: ToWorker) => engine.heard(message));
