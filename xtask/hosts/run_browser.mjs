// Runs a box (a core module) in a browser, on @bjorn3/browser_wasi_shim in a worker of a page:
// run_browser.mjs BROWSER DRIVER SHIM [--dir HOST GUEST]… [--env NAME=VALUE]… FILE [ARG…]
// BROWSER is chromium or firefox; DRIVER and SHIM are directories that hold node_modules.
import { createReadStream, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync, writeSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const [browserName, driver, shim, ...words] = process.argv.slice(2);
const here = dirname(fileURLToPath(import.meta.url));
const directories = [], env = [];
while (words[0]?.startsWith("--")) {
  if (words.shift() === "--dir") directories.push({ host: words.shift(), guest: words.shift() });
  else env.push(words.shift());
}
const [file, ...args] = words;

const read = (folder) =>
  Object.fromEntries(
    readdirSync(folder, { withFileTypes: true }).map((entry) => {
      const path = join(folder, entry.name);
      return [entry.name, entry.isDirectory() ? read(path) : readFileSync(path, "base64")];
    }),
  );
const write = (contents, folder) => {
  for (const name of readdirSync(folder)) if (!(name in contents)) rmSync(join(folder, name), { recursive: true });
  for (const [name, entry] of Object.entries(contents)) {
    const path = join(folder, name);
    if (typeof entry === "string") writeFileSync(path, entry, "base64");
    else {
      mkdirSync(path, { recursive: true });
      write(entry, path);
    }
  }
};

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
const put = (fd, data) => {
  for (let at = 0; at < data.length; ) {
    try {
      at += writeSync(fd, data, at);
    } catch (error) {
      if (error.code === "EPIPE") return "closed";
      if (error.code !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
    }
  }
  return "taken";
};
let browser, finish;
const finished = new Promise((resolve) => (finish = resolve));
const files = { "/": "browser.html", "/worker.js": "browser_worker.js" };
const server = createServer(async (request, response) => {
  // What shared memory is allowed for.
  response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
  response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
  const path = request.url;
  if (path === "/box") {
    response.setHeader("Content-Length", statSync(file).size);
    createReadStream(file).pipe(response);
  } else if (path === "/job") {
    const folders = directories.map(({ host, guest }) => ({ guest, contents: read(host) }));
    response.end(JSON.stringify({ args: ["box", ...args], env, folders }));
  } else if (path === "/in") {
    asks = response;
    give();
  } else if (path === "/out/1" || path === "/out/2") {
    response.end(put(Number(path.slice(5)), await whole(request)));
  } else if (path === "/end") {
    const { status, folders, error } = JSON.parse(await whole(request));
    if (error) console.error(error);
    folders?.forEach((contents, index) => write(contents, directories[index].host));
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
