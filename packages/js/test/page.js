// What the tests call in a page.
import { Box } from "/dist/browser.js";
import { Terminal } from "/xterm/lib/xterm.mjs";
import { cases, idle } from "./cases.js";

const file = "/box.wasm";
// The bytes are loaded once, as a page with many boxes would.
const blob = await (await fetch(file)).blob();
const text = (stream) => new Response(stream).text();
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
// Runs a script in a box of which directories are kept; what it says, and what cannot be kept.
window.kept = async (script, paths, name = "test") => {
  const box = await t.open({ persist: { paths, name } });
  const unsaved = [];
  box.on("unsaved", ({ code, cause }) => unsaved.push(`${code}: ${cause?.name}`));
  try {
    const process = await box.spawn("sh", ["-c", script], { user: "root" });
    const said = (await Promise.all([text(process.stdout), text(process.stderr)])).join("");
    await process.exit;
    await box.flush().catch(({ code, cause }) => unsaved.push(`${code}: ${cause?.name}`));
    return [said, ...new Set(unsaved)];
  } finally {
    box.terminate();
  }
};
// Writes one file again and again, each time full of another letter.
window.writeOn = async (size) => {
  window.writing = await t.open({ persist: { paths: ["/root"], name: "closed" } });
  const letter = (c) => `head -c ${size} /dev/zero | tr '\\0' ${c} > /root/f.new; mv /root/f.new /root/f`;
  await (await window.writing.spawn("sh", ["-c", letter("a")], { user: "root" })).exit;
  await window.writing.flush();
  const process = await window.writing.spawn("sh", ["-c", `while :; do for c in b c d e f g; do ${letter("$c")}; echo $c; done; done`], { user: "root" });
  await process.stdout.getReader().read();
};
// Runs a program in a box that has a way out.
window.outward = async (network, program, ...args) => {
  const box = await t.open({ network });
  const process = await box.spawn("python3", ["-c", program, ...args.map(String)]);
  const said = await Promise.all([text(process.stdout), text(process.stderr)]);
  box.terminate();
  return said;
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
