import { Box } from "./node_modules/boxer-js/dist/browser.js";
import { Terminal } from "./node_modules/@xterm/xterm/lib/xterm.mjs";

const at = (id) => document.getElementById(id);
const state = at("state");

async function start() {
  // Requests of the frame come to the service worker, which asks this page, which asks the box.
  await navigator.serviceWorker.register("service-worker.js");
  await navigator.serviceWorker.ready;

  const begun = performance.now();
  const box = await Box.open("web.wasm");
  const { process, xterm } = await box.terminal(at("terminal"), { xterm: Terminal });
  xterm.focus();
  state.value = `loaded in ${((performance.now() - begun) / 1000).toFixed(1)} s`;
  process.exit.then(
    (status) => (state.value = `ended with status ${status}`),
    (error) => (state.value = error.message),
  );

  navigator.serviceWorker.addEventListener("message", async ({ data, ports: [answer] }) => {
    try {
      const { port, path, method, headers, body } = data;
      const response = await box.fetch(port, path, { method, headers, body, redirect: "manual" });
      const content = await response.arrayBuffer();
      answer.postMessage({ status: response.status, headers: [...response.headers], content }, [content]);
    } catch (error) {
      answer.postMessage({ status: 502, headers: [["content-type", "text/plain"]], content: error.message });
    }
  });

  box.on("port", (port, type) => {
    if (type !== "open") return;
    const url = new URL(`box/${port}/`, location.href);
    at("address").textContent = `port ${port}`;
    at("reload").disabled = false;
    at("reload").onclick = () => (at("frame").src = url.href);
    at("frame").src = url.href;
  });
}

start().catch((error) => {
  state.value = error.message;
  throw error;
});
