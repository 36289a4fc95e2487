// The way out by `boxer serve-wisp`, in Node and Chromium: BOX=FILE BOXER=PROGRAM node --experimental-websocket --test test/network.test.js
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect as dial, createServer as listen } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Duplex } from "node:stream";
import test, { after, before } from "node:test";
import { fileURLToPath } from "node:url";
import { Box } from "boxer-js";
import { chromium } from "playwright-core";
import { serve } from "./static.js";

const { BOX: file, BOXER: boxer } = process.env;
assert.ok(file && boxer, "BOX and BOXER are not set: a box of Debian with python3, and the program");
const root = fileURLToPath(new URL("..", import.meta.url));
const text = (stream) => new Response(stream).text();
const MEGABYTES = 3;

let site, browser, http, echo, own, wisp, url;
const said = [];
const opened = [];

/** Starts `boxer serve-wisp`; its address. */
async function start(...args) {
  const child = spawn(boxer, ["serve-wisp", "--addr", "127.0.0.1:0", ...args], { stdio: ["ignore", "ignore", "pipe"] });
  const lines = createInterface(child.stderr);
  lines.on("line", (line) => said.push(line));
  const [first] = await once(lines, "line");
  return [child, /ws:\/\/\S+/.exec(first)[0]];
}

before(async () => {
  // A server of HTTP, and one that sends back what it gets when it has all of it.
  http = createServer((request, response) => response.end(request.url === "/large" ? Buffer.alloc(MEGABYTES << 20, 120) : `${request.method} ${request.url}`)).listen(0, "127.0.0.1");
  echo = listen({ allowHalfOpen: true }, (socket) => {
    const parts = [];
    socket.on("error", () => {});
    socket.on("data", (part) => parts.push(part));
    socket.on("end", () => socket.end(Buffer.concat(parts)));
  }).listen(0, "127.0.0.1");
  await Promise.all([once(http, "listening"), once(echo, "listening")]);
  own = { http: http.address().port, echo: echo.address().port };
  [wisp, url] = await start("--allow", `localhost:${own.http},localhost:${own.echo}`);
  site = await serve({ "/dist/": join(root, "dist/"), "/test/": join(root, "test/"), "/box.wasm": file, "/xterm/": join(root, "node_modules/@xterm/xterm/") });
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
});

after(async () => {
  opened.forEach((box) => box.terminate());
  wisp?.kill();
  site?.close();
  http?.closeAllConnections();
  http?.close();
  echo?.close();
  await browser?.close();
});

const PROGRAM = `
import socket, sys, urllib.request
http, echo = int(sys.argv[1]), int(sys.argv[2])
host = sys.argv[3]
print(urllib.request.urlopen(f"http://{host}:{http}/hello").read().decode())
print(len(urllib.request.urlopen(f"http://{host}:{http}/large").read()))
s = socket.create_connection((host, echo), 10); s.sendall(b"ab" * 500000); s.shutdown(socket.SHUT_WR)
got = b""
while part := s.recv(1 << 16): got += part
print(got == b"ab" * 500000)
from concurrent.futures import ThreadPoolExecutor
ask = lambda n: urllib.request.urlopen(f"http://{host}:{http}/{n}").read().decode()
with ThreadPoolExecutor(10) as pool: print(list(pool.map(ask, range(20))) == [f"GET /{n}" for n in range(20)])
for to in ((host, 1), ("192.0.2.1", 80)):
    try: socket.create_connection(to, 10)
    except OSError as e: print(e.errno)
try: socket.getaddrinfo("example.org", 80)
except OSError as e: print(type(e).__name__)
`;
const EXPECTED = `GET /hello\n${MEGABYTES << 20}\nTrue\nTrue\n13\n13\ngaierror\n`;

test("in Node: connections, their ends, and what is not allowed", { timeout: 120_000 }, async () => {
  const box = await Box.open(file, { network: url });
  opened.push(box);
  const process = await box.spawn("python3", ["-c", PROGRAM, own.http, own.echo, "172.17.0.1"].map(String));
  assert.deepEqual([await text(process.stdout), await text(process.stderr)], [EXPECTED, ""]);
  // The server says what it refuses, and to whom it listens.
  assert.ok(said.some((line) => /refused tcp 172\.17\.0\.1:1: it is the loopback of the host/.test(line)), said.join("\n"));
  assert.ok(said.some((line) => /refused to look up example\.org/.test(line)), said.join("\n"));
});

test("in Node: a function that connects by the machine's sockets, as in the README", { timeout: 120_000 }, async () => {
  const network = async ({ hostname, port }) => {
    if (hostname !== "host.test") throw Object.assign(new Error("not allowed"), { code: "EACCES" });
    const socket = dial({ host: "127.0.0.1", port, allowHalfOpen: true });
    await once(socket, "connect");
    return Duplex.toWeb(socket);
  };
  const box = await Box.open(file, { network });
  opened.push(box);
  const process = await box.spawn("python3", ["-c", PROGRAM, own.http, own.echo, "host.test"].map(String));
  // A name that nobody looks up beforehand is one that cannot be reached.
  assert.deepEqual([await text(process.stdout), await text(process.stderr)], [EXPECTED.replace("13\n13\ngaierror\n", "111\n13\n"), ""]);
});

test("in Node: a server that goes away, and comes again", { timeout: 120_000 }, async () => {
  const [child, at] = await start("--allow", `localhost:${own.http}`);
  const box = await Box.open(file, { network: at });
  opened.push(box);
  const told = new Promise((resolve) => box.on("network", resolve));
  const ask = async () => {
    const script = `exec 3<> /dev/tcp/172.17.0.1/${own.http} && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && tail -n 1 <&3`;
    const process = await box.spawn("bash", ["-c", script]);
    return (await Promise.all([text(process.stdout), text(process.stderr)])).join("");
  };
  assert.equal(await ask(), "GET /");
  const exited = once(child, "exit");
  child.kill();
  assert.equal((await exited)[0], 0);
  assert.equal((await told).code, "unreachable");
  await new Promise((resolve) => setTimeout(resolve, 1100));
  assert.match(await ask(), /Network is unreachable/);
  const again = spawn(boxer, ["serve-wisp", "--quiet", "--addr", new URL(at).host, "--allow", `localhost:${own.http}`], { stdio: "ignore" });
  try {
    for (let tries = 0; ; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 1100));
      if ((await ask()) === "GET /") break;
      assert.ok(tries < 10, "it is not tried again");
    }
  } finally {
    again.kill();
  }
});

test("in Chromium: by the page's WebSocket", { timeout: 120_000 }, async () => {
  const page = await browser.newPage();
  await page.goto(`${site.origin}/test/page.html`);
  await page.waitForFunction(() => window.ready);
  assert.deepEqual(await page.evaluate((args) => window.outward(...args), [url, PROGRAM, own.http, own.echo, "172.17.0.1"]), [EXPECTED, ""]);
  await page.close();
});

test("pages of other origins are refused", { timeout: 60_000 }, async () => {
  const key = { "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13", Connection: "Upgrade", Upgrade: "websocket" };
  const { request } = await import("node:http");
  const shake = (headers) =>
    new Promise((resolve, reject) => {
      const asked = request(url.replace("ws:", "http:"), { headers });
      asked.on("upgrade", (response, socket) => {
        socket.destroy();
        resolve([response.statusCode, response.headers["sec-websocket-accept"]]);
      });
      asked.on("response", (response) => {
        response.resume();
        resolve([response.statusCode]);
      });
      asked.on("error", reject);
      asked.end();
    });
  // RFC 6455 §1.3 has this key and what it is answered with.
  assert.deepEqual(await shake(key), [101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]);
  assert.deepEqual(await shake({ ...key, Origin: "http://localhost:1" }), [101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]);
  assert.deepEqual(await shake({ ...key, Origin: "https://example.org" }), [403]);
  assert.deepEqual(await shake({ ...key, Origin: "null" }), [403]);
  assert.deepEqual(await shake({}), [426]);
  assert.ok(said.some((line) => /403 pages of https:\/\/example\.org may not connect/.test(line)), said.join("\n"));
});
