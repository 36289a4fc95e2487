// In Node: BOX=FILE node --test test/node.test.js
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import test, { afterEach } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Box } from "boxer-js";
import { cases, idle } from "./cases.js";

const file = process.env.BOX;
assert.ok(file, "BOX is not set: a box of Debian with python3");
const opened = [];
const open = async (options) => {
  const box = await Box.open(file, options);
  opened.push(box);
  return box;
};
const t = { Box, file, open, bytes: () => readFile(file) };

// A box without a program of its own lives until it is told not to.
afterEach(() => opened.splice(0).forEach((box) => box.terminate()));

for (const [name, run] of Object.entries(cases)) test(name, { timeout: 120_000 }, () => run(t));

test("boxes that wait take no CPU", { timeout: 120_000 }, async () => {
  const stop = await idle(t);
  const MS = 3000;
  const before = process.cpuUsage();
  await new Promise((resolve) => setTimeout(resolve, MS));
  const { user, system } = process.cpuUsage(before);
  stop();
  const share = (user + system) / 1000 / MS;
  assert.ok(share <= 0.02, `three boxes that wait took ${(share * 100).toFixed(1)} % of a processor`);
});

test("the README's example, as it stands", { timeout: 120_000 }, async () => {
  const root = fileURLToPath(new URL("..", import.meta.url));
  const [, example] = /```js\n(.*?)```/s.exec(await readFile(join(root, "README.md"), "utf8"));
  // Below the package, so that it finds the package by its name.
  const folder = await mkdtemp(join(root, "dist/example-"));
  try {
    await writeFile(join(folder, "example.mjs"), example);
    await symlink(resolve(file), join(folder, "debian.wasm"));
    const { stdout } = await promisify(execFile)(process.execPath, ["example.mjs"], { cwd: folder });
    assert.equal(stdout, '200 PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n143\n');
  } finally {
    await rm(folder, { recursive: true });
  }
});
