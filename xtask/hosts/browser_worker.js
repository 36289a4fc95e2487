// A box in a worker, with the streams and directories of `run_browser.mjs`, which it asks by requests.
import * as shim from "/shim/index.js";
import { run } from "/shim_box.mjs";

function ask(path, body) {
  const request = new XMLHttpRequest();
  request.open("POST", path, false);
  request.responseType = "arraybuffer";
  request.send(body);
  return new Uint8Array(request.response);
}

let rest = new Uint8Array();
const read = (size) => {
  if (!rest.length) rest = ask("/in");
  const data = rest.slice(0, size);
  rest = rest.slice(size);
  return data;
};
const write = (fd, data) => new TextDecoder().decode(ask(`/out/${fd}`, data)) === "taken";

const end = (told) => fetch("/end", { method: "POST", body: JSON.stringify(told) });
try {
  const job = await (await fetch("/job")).json();
  await end(await run(shim, WebAssembly.compileStreaming(fetch("/box")), { ...job, read, write }));
} catch (error) {
  await end({ error: `${error}\n${error.stack ?? ""}` });
}
