// In Firefox, by the same page: BOX=FILE [WEB_DIR=FOLDER] node --test test/firefox.test.js
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { fileURLToPath } from "node:url";
// Playwright drives a Firefox of its own alone.
import puppeteer from "puppeteer-core";
import { cases } from "./cases.js";
import { keeps, shell, works } from "./shell.js";
import { serve } from "./static.js";

const FIREFOX = process.env.FIREFOX ?? "/usr/bin/firefox-esr";
const POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src data:";
const root = fileURLToPath(new URL("..", import.meta.url));
const file = process.env.BOX;
assert.ok(file, "BOX is not set: a box of Debian with python3");

let browser, server, page;
const profile = mkdtempSync(join(tmpdir(), "boxer-firefox-"));
const messages = [];

before(async () => {
  browser = await puppeteer.launch({ browser: "firefox", executablePath: FIREFOX, headless: true, userDataDir: profile, protocolTimeout: 180_000 });
  server = await serve({ "/dist/": join(root, "dist/"), "/test/": join(root, "test/"), "/box.wasm": file, "/xterm/": join(root, "node_modules/@xterm/xterm/") }, POLICY);
  page = await browser.newPage();
  page.on("pageerror", (error) => messages.push(String(error)));
  await page.goto(`${server.origin}/test/page.html`);
  await page.waitForFunction(() => window.ready, { timeout: 60_000 });
});

after(async () => {
  await browser?.close();
  server?.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
});

for (const name of Object.keys(cases)) {
  test(name, { timeout: 180_000 }, async () => assert.equal(await page.evaluate((name) => window.runCase(name), name), null));
}

/** CPU time of a process and all below it, in seconds (proc(5), in ticks of 10 ms). */
function cpuTime(root) {
  const processes = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((pid) => {
    try {
      const [ppid, ...fields] = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1).split(" ").slice(1);
      return [{ pid: Number(pid), ppid: Number(ppid), ticks: Number(fields[9]) + Number(fields[10]) }];
    } catch {
      return [];
    }
  });
  const below = (pid) => processes.filter((process) => process.ppid === pid).reduce((sum, process) => sum + process.ticks + below(process.pid), 0);
  return (processes.find(({ pid }) => pid === root).ticks + below(root)) / 100;
}

test("boxes that wait take no CPU", { timeout: 180_000 }, async () => {
  const SECONDS = 4;
  const share = async () => {
    await new Promise((resolve) => setTimeout(resolve, 3000));
    const from = cpuTime(browser.process().pid);
    await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000));
    return (cpuTime(browser.process().pid) - from) / SECONDS;
  };
  // What the browser takes without them is its own.
  const without = await share();
  await page.evaluate(() => window.startIdle());
  const waiting = await share();
  await page.evaluate(() => window.stopIdle());
  assert.ok(waiting - without <= 0.02, `three boxes that wait took ${((waiting - without) * 100).toFixed(1)} % of a processor, the browser alone ${(without * 100).toFixed(1)} %`);
});

const web = process.env.WEB_DIR;
test("the page of type=web: a shell, job control, copying and pasting, a phone's width; what is in a volume of the image is kept", { timeout: 400_000, skip: !web && "WEB_DIR is not set" }, async () => {
  const site = await serve({ "/": web });
  const open = async () => {
    const page = await browser.newPage();
    page.on("pageerror", (error) => messages.push(String(error)));
    return shell(page, `${site.origin}/`, (width, height) => page.setViewport({ width, height }));
  };
  const first = await open();
  await works(first, "firefox");
  const second = await open();
  await first.page.bringToFront();
  await keeps(first, second);
  console.log(`prompt after ${await first.load()} s warm`);
  site.close();
});

test("the page says nothing else is wrong", () => assert.deepEqual(messages, []));
