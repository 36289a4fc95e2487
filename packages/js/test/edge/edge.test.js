// In workerd, Cloudflare's runtime, which compiles nothing and has no workers: EDGE_BOX=FILE node --test test/edge/edge.test.js, after `npm ci` in this folder.
// EDGE_BOX is a small box with busybox.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = fileURLToPath(new URL(".", import.meta.url));
const dist = fileURLToPath(new URL("../../dist/", import.meta.url));
const box = process.env.EDGE_BOX;
assert.ok(box, "EDGE_BOX is not set: a small box with busybox");
const place = mkdtempSync(join(tmpdir(), "boxer-edge-"));
let child, origin, echo;

const listening = (server) => new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));

before(async () => {
  const free = createServer();
  const port = await listening(free);
  await new Promise((resolve) => free.close(resolve));
  // Only what the script imports is deployed.
  const modules = new Set();
  const take = (name) => {
    if (modules.has(name)) return;
    modules.add(name);
    for (const [, other] of readFileSync(join(dist, name), "utf8").matchAll(/from "\.\/([^"]+)"/g)) take(other);
  };
  take("edge.js");
  for (const name of modules) cpSync(join(dist, name), join(place, name));
  cpSync(join(here, "main.js"), join(place, "main.mjs"));
  cpSync(box, join(place, "box.wasm"));
  const list = [...modules].map((name) => `(name = "boxer-js/${name}", esModule = embed "${name}")`);
  writeFileSync(
    join(place, "config.capnp"),
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .main), (name = "internet", network = (allow = ["public", "private", "local"]))],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")]
);
const main :Workerd.Worker = (
  modules = [(name = "main", esModule = embed "main.mjs"), ${list.join(", ")}, (name = "box.wasm", wasm = embed "box.wasm")],
  compatibilityDate = "2026-01-01"
);
`,
  );
  const package_ = [...modules].map((name) => readFileSync(join(dist, name)));
  const kB = (bytes) => `${Math.round(bytes / 1000)} kB`;
  const [scripts, wasm] = [Buffer.concat(package_), readFileSync(box)];
  console.log(`on an edge: the package ${kB(scripts.length)}, compressed ${kB(gzipSync(scripts).length)}; the box ${kB(wasm.length)}, compressed ${kB(gzipSync(wasm).length)}`);
  child = spawn(join(here, "node_modules/.bin/workerd"), ["serve", join(place, "config.capnp")], { stdio: "inherit" });
  origin = `http://127.0.0.1:${port}`;
  for (let tries = 0; ; tries++) {
    if (await fetch(`${origin}/bytes`).then(({ ok }) => ok, () => false)) break;
    assert.ok(tries < 300, "workerd does not listen");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  echo = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
  echo.port = await listening(echo);
});

after(() => {
  child?.kill();
  echo?.close();
  rmSync(place, { recursive: true });
});

const ask = async (script, { path = "/", body, query = "" } = {}) => {
  const response = await fetch(`${origin}${path}?script=${encodeURIComponent(script)}${query}`, { method: "POST", body: body ?? "" });
  const text = await response.text();
  assert.equal(response.status, 200, text);
  return path === "/" ? JSON.parse(text) : text;
};

test("programs: output, input, status", { timeout: 60_000 }, async () => {
  assert.deepEqual(await ask("echo out; echo wrong >&2; exit 7"), { out: "out\n", error: "wrong\n", status: 7 });
  assert.deepEqual(await ask("tr a-z A-Z | sed 's/^/> /'; grep MemTotal /proc/meminfo", { body: "from the request\n" }), { out: "> FROM THE REQUEST\nMemTotal:          65536 kB\n", error: "", status: 0 });
});

test("what takes long, and what waits", { timeout: 60_000 }, async () => {
  const { out, status } = await ask("i=0; while [ $i -lt 500 ]; do i=$((i+1)); done; sleep 0.2; (sleep 0.1; echo later) & wait; head -c 1000000 /dev/zero | md5sum");
  assert.deepEqual([out, status], ["later\n879f4bba57ed37c9ec5e5aedf9864698  -\n", 0]);
});

test("many requests at once, each with a box of its own", { timeout: 120_000 }, async () => {
  const all = await Promise.all(Array.from({ length: 8 }, (_, n) => ask(`echo ${n} > /tmp/f; sleep 0.1; cat /tmp/f`)));
  assert.deepEqual(all.map(({ out }) => out), Array.from({ length: 8 }, (_, n) => `${n}\n`));
});

test("a server in the box", { timeout: 60_000 }, async () => {
  const script = String.raw`printf 'HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nserved' | nc -l -p 8000`;
  assert.equal(await ask(script, { path: "/fetch" }), "served");
});

test("the way out, by the runtime's sockets", { timeout: 60_000 }, async () => {
  const script = `echo to and fro | nc -w 5 host.test ${echo.port}; echo status $?`;
  assert.deepEqual([(await ask(script)).out, (await ask(script, { query: "&network" })).out], ["status 1\n", "to and fro\nstatus 0\n"]);
});

test("bytes are not compiled, and that is said", { timeout: 60_000 }, async () => assert.equal(await ask("", { path: "/bytes" }), "unsupported"));
