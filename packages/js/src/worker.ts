/** The worker of a page. */

import { Engine, STEP } from "./engine.js";
import { openStore } from "./image-browser.js";
import type { FromWorker, ToWorker } from "./messages.js";

const scope = globalThis as unknown as {
  postMessage(message: FromWorker, transfer: ArrayBuffer[]): void;
  onmessage: ((event: MessageEvent<ToWorker>) => void) | null;
};

// Timers of a page take 4 ms at least; messages to oneself take none.
const { port1, port2 } = new MessageChannel();
const waiting: (() => void)[] = [];
port1.onmessage = () => waiting.shift()?.();

const engine = new Engine({
  post: (message, transfer) => scope.postMessage(message, transfer),
  soon: (work) => {
    waiting.push(work);
    port2.postMessage(0);
  },
  step: STEP,
  store: openStore,
});
scope.onmessage = ({ data }) => engine.heard(data);
