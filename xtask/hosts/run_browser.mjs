// Runs a box (a core module) in a browser, on @bjorn3/browser_wasi_shim in a worker of a page:
// run_browser.mjs BROWSER DRIVER SHIM [--dir HOST GUEST]… [--env NAME=VALUE]… FILE [ARG…]
// BROWSER is chromium or firefox; DRIVER and SHIM are directories that hold node_modules.
import { createReadStream, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { options } from "./command_line.mjs";
import * as folders from "./folders.mjs";
import { writeAll } from "./streams.mjs";

const [browserName, driver, shim, ...words] = process.argv.slice(2);
const here = dirname(fileURLToPath(import.meta.url));
const { directories, env, file, args } = options(words);

// The page asks for everything and tells everything by requests; one for input is answered when there is some.
const input = [];
let asks = null, ended = false;
const give = () => {
  if (!asks || (!input.length && !ended)) return;
  asks.end(input.length ? input.shift() : Buffer.alloc(0));
  asks = null;
};
process.stdin.on("data", (piece) => (input.push(piece), give()));
process.stdin.on("end", () => ((ended = true), give()));

const whole = async (request) => {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return Buffer.concat(pieces);
};
let browser, finish;
const finished = new Promise((resolve) => (finish = resolve));
const files = { "/": "browser.html", "/worker.js": "browser_worker.js", "/shim_box.mjs": "shim_box.mjs" };
const server = createServer(async (request, response) => {
  // What shared memory is allowed for.
  response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
  response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
  const path = request.url;
  if (path === "/box") {
    response.setHeader("Content-Type", "application/wasm");
    createReadStream(file).pipe(response);
  } else if (path === "/job") {
    const given = directories.map(({ host, guest }) => ({ guest, contents: folders.read(host) }));
    response.end(JSON.stringify({ args, env, folders: given }));
  } else if (path === "/in") {
    asks = response;
    give();
  } else if (path === "/out/1" || path === "/out/2") {
    response.end(writeAll(Number(path.slice(5)), await whole(request)) ? "taken" : "closed");
  } else if (path === "/end") {
    const { status, folders: left, error } = JSON.parse(await whole(request));
    if (error) console.error(error);
    left?.forEach((contents, index) => folders.write(contents, directories[index].host));
    response.end();
    finish(error ? 70 : status);
  } else if (path in files) {
    response.setHeader("Content-Type", path === "/" ? "text/html" : "text/javascript");
    createReadStream(join(here, files[path])).pipe(response);
  } else if (/^\/shim\/[\w.]+\.js$/.test(path)) {
    response.setHeader("Content-Type", "text/javascript");
    createReadStream(join(shim, "node_modules/@bjorn3/browser_wasi_shim/dist", path.slice(6))).pipe(response);
  } else response.writeHead(404).end();
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));

const profile = mkdtempSync(join(tmpdir(), "boxer-browser-"));
const stop = async (status) => {
  await browser?.close().catch(() => {});
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  process.exit(status);
};
process.on("SIGINT", () => stop(130));
const puppeteer = createRequire(`${driver}/package.json`)("puppeteer-core");
const chromium = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
browser = await puppeteer.launch({
  browser: browserName === "firefox" ? "firefox" : "chrome",
  executablePath: browserName === "firefox" ? "/usr/bin/firefox-esr" : "/usr/bin/chromium",
  args: browserName === "firefox" ? [] : chromium,
  userDataDir: profile,
  headless: true,
  handleSIGINT: false,
});
const page = await browser.newPage();
page.on("pageerror", (error) => console.error(error));
await page.goto(`http://127.0.0.1:${server.address().port}/`);
await stop(await finished);
