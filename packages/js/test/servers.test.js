// `box.fetch` from unmodified servers, in Node and Chromium: SERVERS=NAME:FILE,… node --test test/servers.test.js. NAMEs are nginx, node and python; the FILEs are
// boxes of Dockerfile.examples.
import assert from "node:assert/strict";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { Box } from "boxer-js";
import { chromium } from "playwright-core";
import { serve } from "./static.js";

const boxes = Object.fromEntries((process.env.SERVERS ?? "").split(",").map((pair) => pair.split(/:(.*)/)));
assert.ok(process.env.SERVERS, "SERVERS is not set: boxes of Dockerfile.examples");
const root = fileURLToPath(new URL("..", import.meta.url));
const ports = { nginx: 80, node: 3000, python: 8000 };
const AT_ONCE = 100;

/** Asks the server of an open box; runs in Node and in a page alike. What is wrong, or how long all took in ms. */
async function ask(box, name, port, AT_ONCE) {
  const equal = (found, expected) => {
    if (JSON.stringify(found) !== JSON.stringify(expected)) throw new Error(`found ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`);
  };
  const get = async (path, init) => {
    const response = await box.fetch(port, path, init);
    return [response.status, response.headers.get("content-type"), await response.text()];
  };
  const process = await box.start();
  // Read, and not closed: a server that finds nobody to log to may end.
  for (const stream of [process.stdout, process.stderr]) void stream.pipeTo(new WritableStream());
  await box.waitForPort(port);
  const json = { method: "POST", headers: { "Content-Type": "application/json" } };
  const one = {
    nginx: async () => {
      const [status, type, text] = await get("/", { headers: { "Accept-Encoding": "gzip" } });
      equal([status, type, text.includes("Served by nginx.")], [200, "text/html", true]);
      equal(await get("/style.css", { headers: { "Accept-Encoding": "gzip" } }), [200, "text/css", "p { color: teal; }\n"]);
      equal((await get("/none"))[0], 404);
    },
    node: async (n = 0) => {
      equal(await get(`/hello/${n}`), [200, "application/json; charset=utf-8", `{"hello":"${n}"}`]);
      equal((await get("/sort", { ...json, body: '["c","a","b"]' }))[2], '["a","b","c"]');
    },
    python: async (n = 0) => {
      const [status, type, text] = await get(`/hello/${n}`);
      equal([status, type, JSON.parse(text).hello], [200, "application/json", String(n)]);
      equal(JSON.parse((await get("/sum", { ...json, body: "[40, 2]" }))[2]), { sum: 42 });
    },
  }[name];
  await one();
  const start = performance.now();
  await Promise.all(Array.from({ length: AT_ONCE }, (_, n) => one(n)));
  const took = performance.now() - start;
  process.kill("SIGTERM");
  await process.exit;
  return Math.round(took);
}

for (const [name, file] of Object.entries(boxes)) {
  test(`${name}, in Node`, { timeout: 300_000 }, async () => {
    const box = await Box.open(file);
    try {
      console.log(`${name}: ${AT_ONCE} visitors at once took ${await ask(box, name, ports[name], AT_ONCE)} ms in Node`);
    } finally {
      box.terminate();
    }
  });
}

test("the same in Chromium", { timeout: 900_000 }, async () => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
  const places = Object.fromEntries(Object.entries(boxes).map(([name, file]) => [`/${name}.wasm`, file]));
  const server = await serve({ "/dist/": join(root, "dist/"), "/test/": join(root, "test/"), ...places });
  try {
    const page = await browser.newPage();
    await page.goto(`${server.origin}/test/programs.html`);
    await page.waitForFunction(() => window.ready);
    for (const name of Object.keys(boxes)) {
      const args = [String(ask), name, ports[name], AT_ONCE];
      const took = await page.evaluate((args) => window.askServer(...args), args);
      console.log(`${name}: ${AT_ONCE} visitors at once took ${took} ms in Chromium`);
    }
  } finally {
    await browser.close();
    server.close();
  }
});
