// A box whose files lie outside of it, in Node and Chromium: WEB_DIR=FOLDER node --test test/outside.test.js
// WEB_DIR is what `boxer build -o type=web` writes, of a Debian with python3 whose command is an interactive shell. SCREENSHOTS: where
// pictures go.
import assert from "node:assert/strict";
import { copyFileSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, normalize } from "node:path";
import test, { after, before } from "node:test";
import { Box } from "boxer-js";
import { chromium } from "playwright-core";
import { keeps, shell, works } from "./shell.js";

const folder = process.env.WEB_DIR;
assert.ok(folder, "WEB_DIR is not set: a folder of `boxer build -o type=web`");
const box = join(folder, "box.wasm");
const text = (stream) => new Response(stream).text();
const TYPES = { html: "text/html", js: "text/javascript", mjs: "text/javascript", css: "text/css", wasm: "application/wasm" };

/** A static file server that counts, and may be told to fail. */
async function serve(root) {
  const told = { bytes: 0, chunks: 0, gone: false };
  const server = createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, "http://localhost").pathname));
    if (told.gone) return void request.socket.destroy();
    try {
      const body = readFileSync(join(root, path.endsWith("/") ? `${path}index.html` : path));
      told.bytes += body.length;
      told.chunks += Number(path.startsWith("/chunks/"));
      response.writeHead(200, { "Content-Type": TYPES[path.split(".").at(-1)] ?? (path.endsWith("/") ? "text/html" : "application/octet-stream") }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  return { told, origin: `http://127.0.0.1:${server.address().port}`, close: () => (server.closeAllConnections(), server.close()) };
}

const opened = [];
async function open(what, options) {
  const found = await Box.open(what, options);
  opened.push(found);
  return found;
}

let browser;
before(async () => (browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] })));
after(async () => {
  opened.forEach((box) => box.terminate());
  await browser?.close();
});

async function output(box, ...command) {
  const process = await box.spawn(...command);
  const [out, error] = await Promise.all([text(process.stdout), text(process.stderr)]);
  return { out, error, status: await process.exit };
}

/** A copy in which chunks can be spoilt. */
function copy() {
  const place = mkdtempSync(join(tmpdir(), "boxer-web-"));
  cpSync(folder, place, { recursive: true });
  return place;
}

/** Everything but what the start takes. */
function spoil(place, how) {
  const bytes = readFileSync(join(place, "box.wasm"));
  const at = bytes.lastIndexOf('"digests":');
  const { digests, start } = JSON.parse(`{${bytes.subarray(at, bytes.indexOf("]}", at) + 2)}`);
  const kept = new Set(start.map((index) => digests[index]));
  for (const name of readdirSync(join(place, "chunks"))) if (!kept.has(name)) how(join(place, "chunks", name));
}

test("in Node, from a folder", { timeout: 120_000 }, async () => {
  const { out, status } = await output(await open(box), "python3", ["-c", "import json, hashlib; print(hashlib.sha256(open('/usr/bin/perl','rb').read()).hexdigest(), json.dumps([1]))"]);
  assert.match(out, /^[0-9a-f]{64} \[1\]\n$/);
  assert.equal(status, 0);
});

test("in Node, from a server", { timeout: 120_000 }, async () => {
  const server = await serve(folder);
  const { out, status } = await output(await open(`${server.origin}/box.wasm`), "sh", ["-c", "md5sum /usr/bin/perl; cat /etc/hostname /etc/debian_version"]);
  assert.match(out, /^[0-9a-f]{32} /);
  assert.equal(status, 0);
  assert.ok(server.told.chunks > 5);
  server.close();
});

test("a frozen one knows what it has, and where the rest is", { timeout: 120_000 }, async () => {
  const first = await open(box);
  assert.equal((await output(first, "sh", ["-c", "echo kept > /tmp/file"])).status, 0);
  const blob = await first.freeze();
  await assert.rejects(Box.open(blob), { code: "invalid-argument" });
  const next = await open(blob, { chunks: join(folder, "chunks") });
  await next.start();
  const { out } = await output(next, "sh", ["-c", "cat /tmp/file; python3 -c 'print(6 * 7)'"]);
  assert.equal(out, "kept\n42\n");
});

test("a wrong chunk, and a server that is gone, fail who touches them, and say why", { timeout: 240_000 }, async () => {
  const place = copy();
  const other = readdirSync(join(place, "chunks"))[0];
  spoil(place, (path) => copyFileSync(join(folder, "chunks", other), path));
  for (const server of [undefined, await serve(place)]) {
    const missing = [];
    const spoilt = await open(server ? `${server.origin}/box.wasm` : join(place, "box.wasm"));
    spoilt.on("missing", ({ code, message }) => missing.push(`${code}: ${message}`));
    // What the start takes, bash among it, is whole.
    assert.notEqual((await output(spoilt, "bash", ["-c", "cat /usr/bin/perl > /dev/null"])).status, 0);
    assert.match(missing[0], /^not-a-box: the chunk [0-9a-f]{64} has other bytes than its digest says/);
    if (!server) continue;
    server.told.gone = true;
    missing.length = 0;
    assert.notEqual((await output(spoilt, "bash", ["-c", "exec /usr/bin/perl -e 1"])).status, 0);
    assert.match(missing[0], /^unreachable: /);
    // The box goes on, and so does what it has.
    server.told.gone = false;
    assert.equal((await output(spoilt, "bash", ["-c", "echo on"])).out, "on\n");
    server.close();
  }
  rmSync(place, { recursive: true });
});

/** Seconds until the page shows a prompt. */
async function prompt(page, origin) {
  const start = Date.now();
  await page.goto(`${origin}/`);
  await page.waitForFunction((pattern) => new RegExp(pattern).test(document.querySelector(".xterm-rows")?.textContent.trimEnd() + " " ?? ""), "[$#] $", { timeout: 120_000 });
  return (Date.now() - start) / 1000;
}

test("in Chromium: the page, cold and warm", { timeout: 240_000 }, async () => {
  const server = await serve(folder);
  const size = readdirSync(join(folder, "chunks")).reduce((sum, name) => sum + statSync(join(folder, "chunks", name)).size, 0);
  const context = await browser.newContext({ viewport: { width: 900, height: 500 } });
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  const cold = await prompt(page, server.origin);
  const { bytes, chunks } = { ...server.told };
  await page.click("#terminal");
  await page.keyboard.type("python3 -c 'print(6 * 7)'; echo done");
  await page.keyboard.press("Enter");
  await page.locator(".xterm-rows", { hasText: "42" }).waitFor({ timeout: 120_000 });
  if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, "outside.png") });
  const before = server.told.chunks;
  const warm = await prompt(page, server.origin);
  assert.equal(server.told.chunks, before, "chunks came again");
  console.log(`prompt after ${cold} s cold, ${warm} s warm; ${(bytes / 1e6).toFixed(1)} MB loaded, ${chunks} chunks, of ${(size / 1e6).toFixed(1)} MB compressed`);
  assert.deepEqual(errors, []);
  await context.close();
  server.close();
});

test("in Chromium: a shell, job control, copying and pasting, a phone's width; what is in a volume of the image is kept", { timeout: 240_000 }, async () => {
  const server = await serve(folder);
  const context = await browser.newContext({ permissions: ["clipboard-read", "clipboard-write"] });
  const open = async () => {
    const page = await context.newPage();
    page.on("pageerror", (error) => assert.fail(error));
    return shell(page, `${server.origin}/`, (width, height) => page.setViewportSize({ width, height }));
  };
  const first = await open();
  await works(first, "chromium");
  await keeps(first, await open());
  await context.close();
  server.close();
});

test("in Chromium: what is kept and wrong is fetched again", { timeout: 240_000 }, async () => {
  const server = await serve(folder);
  const context = await browser.newContext();
  const page = await context.newPage();
  await prompt(page, server.origin);
  await page.goto("about:blank");
  await page.goto(`${server.origin}/style.css`);
  await page.evaluate(async () => {
    const handle = await (await navigator.storage.getDirectory()).getFileHandle("boxer-chunks-1");
    const file = await handle.createWritable({ keepExistingData: true });
    // As if a page had been closed in the middle of each record.
    for (let at = 5000; at < (await handle.getFile()).size; at += 131104) await file.write({ type: "write", position: at, data: new Uint8Array(9000).fill(7) });
    await file.close();
  });
  const before = server.told.chunks;
  await prompt(page, server.origin);
  assert.ok(server.told.chunks > before);
  await context.close();
  server.close();
});
