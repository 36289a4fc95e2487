// The page of `boxer build -o type=web`: the image's own command at a terminal. Change it, or write your own: what it uses is packages/js.
import { Box } from "./boxer-js/browser.js";
import { Terminal } from "./xterm/xterm.mjs";

const status = document.getElementById("status");
const tell = (text) => (status.textContent = text);
try {
  // What the image declares as volumes outlives the tab, in one tab at a time.
  const box = await Box.open("box.wasm", { persist: true }).catch((error) => {
    if (error.code !== "busy" && error.code !== "unsupported") throw error;
    tell(`${error.message}: this time nothing is kept.`);
    return Box.open("box.wasm");
  });
  box.on("missing", (error) => tell(error.message));
  box.on("unsaved", (error) => tell(error.message));
  const terminal = await box.terminal(document.getElementById("terminal"), { xterm: Terminal });
  if (status.textContent === "Loading…") tell("");
  terminal.xterm.focus();
  tell(`Ended with status ${await terminal.process.exit}.`);
} catch (error) {
  tell(error.message);
  console.error(error);
}
