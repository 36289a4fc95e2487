// Runs scripts in boxes in Chromium: node programs.js JOBS RESULTS. JOBS (JSON) is a list of `box` (a file), `shell`, `script` and perhaps `memory` (`maxMemory`); RESULTS gets one of `stdout`, `stderr`
// and `status`, in that order.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { serve } from "./static.js";

const [, , jobs, results] = process.argv;
const root = fileURLToPath(new URL("..", import.meta.url));
const list = JSON.parse(readFileSync(jobs, "utf8"));
const boxes = [...new Set(list.map(({ box }) => box))];
const urls = Object.fromEntries(boxes.map((box, index) => [box, `/box${index}.wasm`]));
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
const places = Object.fromEntries(boxes.map((box) => [urls[box], box]));
const server = await serve({ "/dist/": join(root, "dist/"), "/test/": join(root, "test/"), ...places });
const found = [];
try {
  const page = await browser.newPage();
  await page.goto(`${server.origin}/test/programs.html`);
  await page.waitForFunction(() => window.ready);
  for (const { box, shell, script, memory } of list) {
    found.push(await page.evaluate((job) => window.runScript(...job), [urls[box], shell, script, memory]));
    process.stderr.write(found.length % 10 ? "." : `${found.length}\n`);
  }
} finally {
  await browser.close();
  server.close();
}
writeFileSync(results, JSON.stringify(found));
