// What the tests call in a page.
import { Box } from "/dist/browser.js";
import { Terminal } from "/xterm/lib/xterm.mjs";
import { cases, idle } from "./cases.js";

const file = "/box.wasm";
// The bytes are loaded once, as a page with many boxes would.
const blob = await (await fetch(file)).blob();
const opened = [];
const open = async (options) => {
  const box = await Box.open(blob, options);
  opened.push(box);
  return box;
};
const t = { Box, file, open, bytes: () => blob.arrayBuffer() };

window.runCase = async (name) => {
  try {
    await cases[name](t);
  } catch (error) {
    return String(error.stack ?? error) + (error.cause ? `\ncause: ${error.cause}` : "");
  } finally {
    opened.splice(0).forEach((box) => box.terminate());
  }
  return null;
};
window.startIdle = async () => void (window.stopIdle = await idle(t));
// Runs a script in a directory that is the origin's.
window.persist = async (script) => {
  const handle = await (await navigator.storage.getDirectory()).getDirectoryHandle("persist", { create: true });
  const box = await t.open();
  const mount = await box.fs.mount("/data", handle);
  const process = await box.spawn("sh", ["-c", script], { cwd: "/data" });
  const out = await new Response(process.stdout).text();
  await process.exit;
  await mount.unmount();
  box.terminate();
  return out;
};
window.fromUrl = async () => {
  const process = await (await Box.open(file)).start("echo", ["from a URL"]);
  return new Response(process.stdout).text();
};
window.openTerminal = async () => {
  const box = await t.open();
  const options = { command: "bash", args: ["--norc", "-i"], env: { PS1: "$ ", TERM: "xterm-256color" }, xterm: Terminal };
  window.terminal = await box.terminal(document.getElementById("terminal"), options);
};
window.screen_ = () => {
  const { active } = window.terminal.xterm.buffer;
  return Array.from({ length: active.length }, (_, row) => active.getLine(row).translateToString(true)).join("\n").trimEnd();
};
window.ready = true;
