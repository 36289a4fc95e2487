// The page of `boxer build -o type=web`: the image's own command at a terminal. Change it, or write your own: what it uses is packages/js.
import { Box } from "./boxer-js/browser.js";
import { Terminal } from "./xterm/xterm.mjs";

const status = document.getElementById("status");
const tell = (text) => (status.textContent = text);
try {
  const box = await Box.open("box.wasm");
  box.on("missing", (error) => tell(error.message));
  const terminal = await box.terminal(document.getElementById("terminal"), { xterm: Terminal });
  tell("");
  terminal.xterm.focus();
  tell(`Ended with status ${await terminal.process.exit}.`);
} catch (error) {
  tell(error.message);
  console.error(error);
}
