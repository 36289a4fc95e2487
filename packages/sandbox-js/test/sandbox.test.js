// Sandboxes as people of Node use them. BOXER is the program, BOXER_SANDBOX_TEMPLATE a box of Debian with python3.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { CommandExitError, InvalidArgumentError, NotFoundError, RefusedError, Sandbox, SandboxError, TimeoutError } from "../dist/index.js";

/** @type {Sandbox} */
let sandbox;
before(async () => {
  sandbox = await Sandbox.create({ metadata: { a: "b" }, envs: { GIVEN: "1" } });
});
after(async () => {
  assert.equal(await sandbox.kill(), true);
  assert.equal(await sandbox.kill(), false);
  assert.equal(await sandbox.isRunning(), false);
});

test("variables live on, values come back, errors are data", async () => {
  const heard = [];
  assert.equal((await sandbox.runCode("x = 20\nprint('hi')")).logs.stdout.join(""), "hi\n");
  const execution = await sandbox.runCode("print('é')\nx + 1", { onStdout: (text) => heard.push(text), onResult: ({ text }) => heard.push(text) });
  assert.deepEqual([execution.text, execution.error, heard], ["21", undefined, ["é\n", "21"]]);
  assert.ok(execution.results[0].isMainResult && execution.executionCount > 1);
  const { error } = await sandbox.runCode("1 / 0");
  assert.deepEqual([error.name, error.value], ["ZeroDivisionError", "division by zero"]);
  const stopped = await sandbox.runCode("while True: pass", { timeoutMs: 1000 });
  assert.deepEqual([stopped.limit, stopped.error.name], ["time", "KeyboardInterrupt"]);
});

test("contexts are apart, languages too", async () => {
  const other = await sandbox.createCodeContext();
  await sandbox.runCode("apart = 1", { context: other });
  assert.equal((await sandbox.runCode("apart", { context: other })).text, "1");
  assert.equal((await sandbox.runCode("apart")).error.name, "NameError");
  assert.deepEqual((await sandbox.runCode("echo $GIVEN", { language: "bash" })).logs.stdout, ["1\n"]);
  await assert.rejects(sandbox.runCode("", { language: "cobol" }), InvalidArgumentError);
});

test("commands", async () => {
  assert.deepEqual(await sandbox.commands.run("printf out; printf err >&2"), { stdout: "out", stderr: "err", exitCode: 0 });
  await assert.rejects(sandbox.commands.run("echo no >&2; exit 3"), (error) => error instanceof CommandExitError && error.exitCode === 3 && error.stderr === "no\n");
  await assert.rejects(sandbox.commands.run("sleep 60", { timeoutMs: 500 }), TimeoutError);
  const handle = await sandbox.commands.run("read x; echo got $x; read y || echo end", { background: true, stdin: true });
  assert.ok((await sandbox.commands.list()).some(({ pid, running }) => pid === handle.pid && running));
  await sandbox.commands.sendStdin(handle.pid, "word\n");
  await handle.closeStdin();
  assert.equal((await handle.wait()).stdout, "got word\nend\n");
  assert.equal(await sandbox.commands.kill(99999), false);
});

test("budgets", async () => {
  const stopped = await sandbox.runCode("while True: pass", { instructions: 30_000_000 });
  assert.deepEqual([stopped.limit, stopped.error.name], ["instructions", "KeyboardInterrupt"]);
  assert.ok(stopped.instructions >= 30_000_000 && stopped.instructions < 40_000_000);
  await assert.rejects(sandbox.commands.run("while :; do :; done", { instructions: 5_000_000 }), (error) => error.exitCode === 137 && error.error === "instructions");
  assert.ok((await sandbox.commands.run("true", { instructions: 1e9 })).instructions > 1000);
  const used = await sandbox.usage();
  assert.ok(used.instructions > 35_000_000 && used.cpuTimeMs > 0 && used.memory > 0 && used.processes >= 2 && used.openFiles > 2 && used.networkBytes === 0, JSON.stringify(used));
});

test("files as archives", async () => {
  await sandbox.commands.run("echo made > /srv/made && rm /etc/issue");
  const folder = await mkdtemp(join(tmpdir(), "boxer-export-"));
  try {
    const path = join(folder, "layer.tar.gz");
    const layer = await sandbox.export(path, { format: "layer" });
    const bytes = await readFile(path);
    assert.equal(layer.digest, `sha256:${createHash("sha256").update(bytes).digest("hex")}`);
    assert.equal(layer.diffId, `sha256:${createHash("sha256").update(gunzipSync(bytes)).digest("hex")}`);
    assert.deepEqual([layer.path, layer.size, layer.mediaType], [path, bytes.length, "application/vnd.oci.image.layer.v1.tar+gzip"]);
    const listed = spawnSync("tar", ["-tzf", path], { encoding: "utf8" }).stdout.split("\n");
    assert.ok(listed.includes("srv/made") && listed.includes("etc/.wh.issue"), String(listed));
    await assert.rejects(sandbox.export(join(folder, "no"), { format: "zip" }), InvalidArgumentError);
    assert.deepEqual(await readdir(folder), ["layer.tar.gz"]);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("files", async () => {
  const { files } = sandbox;
  assert.equal((await files.write("/tmp/a/b", "téxt")).size, 5);
  assert.deepEqual([await files.read("/tmp/a/b"), (await files.read("/tmp/a/b", { format: "bytes" })).length], ["téxt", 5]);
  assert.equal(await (await files.read("/tmp/a/b", { format: "blob" })).text(), "téxt");
  const bytes = new Uint8Array(300_000).map((_, i) => i * 7);
  await files.write([{ path: "/tmp/a/c", data: bytes }, { path: "/tmp/a/d", data: new Blob(["blob"]) }]);
  assert.deepEqual(await files.read("/tmp/a/c", { format: "bytes" }), bytes);
  assert.deepEqual((await files.list("/tmp/a")).map(({ name, type }) => `${name} ${type}`), ["b file", "c file", "d file"]);
  assert.equal((await files.rename("/tmp/a/b", "/tmp/a/e")).path, "/tmp/a/e");
  await files.remove("/tmp/a/c");
  assert.deepEqual([await files.exists("/tmp/a/c"), await files.exists("/tmp/a/e"), await files.makeDir("/tmp/f/g")], [false, true, true]);
  await assert.rejects(files.read("/tmp/none"), NotFoundError);
  assert.ok((await sandbox.diff()).some(({ path, change }) => path === "/tmp/a/e" && change === "added"));
});

test("what happens in a directory", { timeout: 20_000 }, async () => {
  let tell;
  const told = new Promise((resolve) => (tell = resolve));
  const watch = await sandbox.files.watchDir("/tmp", tell);
  await sandbox.files.write("/tmp/new", "");
  assert.deepEqual(await told, { name: "new", type: "create" });
  await watch.stop();
});

test("copies, snapshots and pauses", async () => {
  await sandbox.runCode("kept = [1]");
  const [copy] = await sandbox.fork();
  await copy.runCode("kept.append(2)");
  assert.deepEqual([(await copy.runCode("kept")).text, (await sandbox.runCode("kept")).text], ["[1, 2]", "[1]"]);
  await copy.pause();
  await assert.rejects(copy.runCode("1"), SandboxError);
  const again = await Sandbox.connect(copy.sandboxId);
  assert.equal((await again.runCode("len(kept)")).text, "2");
  const made = await Sandbox.create({ snapshot: await again.snapshot() });
  assert.equal((await made.runCode("kept")).text, "[1, 2]");
  assert.deepEqual([await made.kill(), await again.kill()], [true, true]);
  const info = await sandbox.getInfo();
  assert.deepEqual([info.state, info.metadata.a], ["running", "b"]);
  assert.ok((await Sandbox.list()).some(({ sandboxId }) => sandboxId === sandbox.sandboxId));
});

test("a server in a sandbox", async () => {
  const server = await sandbox.commands.run("cd /tmp && echo served > page && exec python3 -u -m http.server 8000", { background: true });
  while (!(await sandbox.listPorts()).includes(8000)) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(await (await fetch(`${await sandbox.getUrl(8000)}/page`)).text(), "served\n");
  await server.kill();
});

test("a call that is broken off stops what it ran, and no other", { timeout: 60_000 }, async () => {
  const stop = new AbortController();
  const endless = sandbox.runCode("import time\nwhile True: time.sleep(0.01)", { signal: stop.signal });
  setTimeout(() => stop.abort(), 500);
  await assert.rejects(endless, { name: "AbortError" });
  assert.equal((await sandbox.runCode("6 * 7")).text, "42");
  // One that waits for its turn is gone when that comes; the one before it goes on.
  const first = sandbox.runCode("import time\ntime.sleep(1.5)\n'first'");
  await new Promise((resolve) => setTimeout(resolve, 300));
  const second = sandbox.runCode("never = 1", { signal: AbortSignal.timeout(300) });
  await assert.rejects(second, { name: "TimeoutError" });
  assert.equal((await first).text, "'first'");
  assert.equal((await sandbox.runCode("'never' in globals()")).text, "False");
  const command = sandbox.commands.run("echo $$ > /tmp/pid; exec sleep 1000", { signal: AbortSignal.timeout(500) });
  await assert.rejects(command, { name: "TimeoutError" });
  for (let left = 100; ; left--) {
    const running = await sandbox.commands.run("kill -0 $(cat /tmp/pid) 2> /dev/null && echo yes; true");
    if (!running.stdout) break;
    assert.ok(left > 0, "the command runs on");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
});

test("a hundred calls at once", async () => {
  const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => sandbox.commands.run(`echo ${i}`)));
  assert.deepEqual(answers.map(({ stdout }) => Number(stdout)), [...answers.keys()]);
});

test("daemons that are named, refuse, or are not there", { timeout: 60_000 }, async () => {
  const daemon = spawn(process.env.BOXER, ["sandboxd", "--until-stdin-ends", process.env.BOXER_SANDBOX_TEMPLATE], { stdio: ["pipe", "pipe", "inherit"] });
  const line = await new Promise((resolve) => createInterface(daemon.stdout).once("line", resolve));
  const { url, token } = JSON.parse(line);
  const made = await Sandbox.create({ url, token });
  assert.equal((await made.runCode("1 + 1")).text, "2");
  await made[Symbol.asyncDispose]();
  assert.deepEqual(await Sandbox.list({ url, token }), []);
  await assert.rejects(Sandbox.create({ url, token: "wrong" }), RefusedError);
  await assert.rejects(Sandbox.create({ url, token, policy: { network: ["host"] } }), RefusedError);
  daemon.stdin.end();
  await new Promise((resolve) => daemon.on("exit", resolve));
  await assert.rejects(Sandbox.list({ url, token }), { code: "unreachable" });
  await assert.rejects(Sandbox.create({ url: "ftp://x" }), InvalidArgumentError);
});

test("a program that has done its work ends, and its daemon with it", { timeout: 60_000 }, async () => {
  const code = `import { Sandbox } from "${new URL("../dist/index.js", import.meta.url)}"; await Sandbox.create(); console.log("made")`;
  const ran = spawnSync(process.execPath, ["--input-type=module", "-e", code], { encoding: "utf8", timeout: 50_000 });
  assert.deepEqual([ran.status, ran.stdout], [0, "made\n"], ran.stderr);
});
