// In Chromium, by a page from a static server without special headers but a strict policy for scripts: BOX=FILE node --test test/browser.test.js
// BOX is a box of Dockerfile.examples/web, or any of Debian with python3 for all but the example's page. SCREENSHOTS: where pictures go; ALL: what
// takes long, too.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { cases } from "./cases.js";
import { serve } from "./static.js";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src data:";
const root = fileURLToPath(new URL("..", import.meta.url));
const file = process.env.BOX;
assert.ok(file, "BOX is not set: a box of Debian with python3");
const modules = { "/xterm/": join(root, "node_modules/@xterm/xterm/") };
const shots = process.env.SCREENSHOTS;

let browser, server, page;
const messages = [];

before(async () => {
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
  server = await serve({ "/dist/": join(root, "dist/"), "/test/": join(root, "test/"), "/box.wasm": file, ...modules }, POLICY);
  page = await browser.newPage();
  page.on("pageerror", (error) => messages.push(String(error)));
  page.on("console", (message) => message.type() === "error" && messages.push(message.text()));
  await page.goto(`${server.origin}/test/page.html`);
  await page.waitForFunction(() => window.ready, null, { timeout: 60_000 });
});

after(async () => {
  await browser?.close();
  server?.close();
});

for (const name of Object.keys(cases)) {
  test(name, { timeout: 180_000 }, async () => assert.equal(await page.evaluate((name) => window.runCase(name), name), null));
}

test("a directory of the origin, which is there again after a reload", { timeout: 120_000 }, async () => {
  const other = await browser.newPage();
  const load = async () => {
    await other.goto(`${server.origin}/test/page.html`);
    await other.waitForFunction(() => window.ready);
  };
  await load();
  const first = await other.evaluate(() => window.persist("mkdir -p d/e; echo kept > d/e/f; echo x > gone; rm gone; head -c 1000000 /dev/urandom > big; md5sum < big"));
  await load();
  assert.equal(await other.evaluate(() => window.persist("cat d/e/f; ls; md5sum < big; rm -r d; mkdir big2; mv big big2")), `kept\nbig\nd\n${first}`);
  await load();
  assert.equal(await other.evaluate(() => window.persist("find . -type f; md5sum < big2/big")), `./big2/big\n${first}`);
  await other.close();
});

/** A page of its own, on which boxes can be opened. */
async function fresh(context = browser) {
  const other = await context.newPage();
  await other.goto(`${server.origin}/test/page.html`);
  await other.waitForFunction(() => window.ready);
  return other;
}

test("directories that persist: contents, modes, owners, times and links, over reloads", { timeout: 180_000 }, async () => {
  const other = await fresh();
  const kept = (script, paths = ["/root", "/srv/a"]) => other.evaluate((args) => window.kept(...args), [script, paths]);
  const reload = async () => {
    await other.reload();
    await other.waitForFunction(() => window.ready);
  };
  const look = "cd /root; stat -c '%n %a %U %s %Y %F' .bashrc d d/tool; readlink d/link; cat d/tool; ls -A /root /srv/a; md5sum < big";
  const made = "cd /root; rm .profile; mkdir -m 750 d; printf '#!/bin/sh\\necho ran\\n' > d/tool; chown nobody d/tool; chmod 4751 d/tool; touch -d @1000000000 d/tool; ln -s /no/where d/link; head -c 3000000 /dev/urandom > big; echo a > /srv/a/b";
  const [first, ...unsaved] = await kept(`${made}; ${look}`);
  assert.deepEqual(unsaved, []);
  assert.match(first, /^\.bashrc 644 root \d+ \d+ regular file\nd 750 root \d+ \d+ directory\nd\/tool 4751 nobody 19 1000000000 regular file\n\/no\/where\n#!\/bin\/sh\necho ran\n\/root:\n\.bashrc\nbig\nd\n\n\/srv\/a:\nb\n/);
  await reload();
  assert.deepEqual(await kept(`${look}; /root/d/tool >&2`), [first + "ran\n"]);
  // What is removed and changed is so, too; a directory that becomes a file, and the other way round.
  await reload();
  await kept("cd /root; rm -r d big; echo file > d; rm .bashrc; mkdir .bashrc; touch .bashrc/in");
  await reload();
  assert.deepEqual(await kept("cd /root; cat d; ls -A . .bashrc"), ["file\n.:\n.bashrc\nd\n\n.bashrc:\nin\n"]);
  // One box at a time.
  const error = await other.evaluate(async () => {
    const first = window.kept("sleep 2", ["/root"]);
    await new Promise((resolve) => setTimeout(resolve, 500));
    const second = await window.kept("true", ["/root"]).catch(({ code }) => code);
    await first;
    return [second, (await window.kept("echo free", ["/root"]))[0]];
  });
  assert.deepEqual(error, ["busy", "free\n"]);
  const refused = (paths) => other.evaluate((paths) => window.kept("true", paths).catch(({ code }) => code), paths);
  for (const path of ["/", "/proc/1", "root", "/a/../b"]) assert.equal(await refused([path]), "invalid-argument", path);
  await other.close();
});

const long = { timeout: 180_000, skip: !process.env.ALL && "ALL is not set" };
test("a quota that is used up is told, and what was kept is whole", long, async () => {
  const other = await fresh();
  const session = await other.context().newCDPSession(other);
  const quota = (quotaSize) => session.send("Storage.overrideQuotaForOrigin", { origin: server.origin, ...(quotaSize && { quotaSize }) });
  const kept = (script) => other.evaluate((args) => window.kept(...args), [script, ["/srv/q"], "quota"]);
  const [sum] = await kept("cd /srv/q; head -c 2000000 /dev/urandom > f; md5sum < f");
  const { usage } = await other.evaluate(() => navigator.storage.estimate());
  await quota(usage + 5_000_000);
  const [said, ...unsaved] = await kept("cd /srv/q; head -c 20000000 /dev/urandom > f; echo written; wc -c < f");
  assert.deepEqual([said, unsaved], ["written\n20000000\n", ["cannot-persist: QuotaExceededError"]]);
  assert.deepEqual(await kept("cd /srv/q; md5sum < f; rm f; echo small > g"), [sum]);
  await quota();
  assert.deepEqual(await kept("cd /srv/q; ls; cat g"), ["g\nsmall\n"]);
  await other.close();
});

test("a tab that is closed while it writes leaves whole files", long, async () => {
  const SIZE = 3_000_000;
  const context = await browser.newContext();
  for (const wait of [0, 300]) {
    const other = await fresh(context);
    await other.evaluate((size) => window.writeOn(size), SIZE);
    await other.waitForTimeout(wait);
    await other.close();
    const next = await fresh(context);
    const [said, ...unsaved] = await next.evaluate(() => window.kept("head -c 1 /root/f; wc -c < /root/f; tr -d $(head -c 1 /root/f) < /root/f | wc -c", ["/root"], "closed"));
    assert.deepEqual(unsaved, []);
    assert.match(said, new RegExp(`^[a-g]${SIZE}\\n0\\n$`));
    await next.close();
  }
  await context.close();
});

test("a box reaches neither the origin's storage nor a network that it was not given", { timeout: 120_000 }, async () => {
  const TOKEN = "secret-7b1f";
  const other = await fresh();
  await other.evaluate(async (token) => {
    localStorage.setItem("token", token);
    document.cookie = `token=${token}`;
    const root = await navigator.storage.getDirectory();
    for (const folder of [root, await root.getDirectoryHandle("boxer-files-1", { create: true })]) {
      const writable = await (await folder.getFileHandle(token, { create: true })).createWritable();
      await writable.write(token);
      await writable.close();
    }
    await new Promise((resolve, reject) => {
      const asked = indexedDB.open(token);
      asked.onsuccess = resolve;
      asked.onerror = reject;
    });
    const cache = await caches.open(token);
    await cache.put(`/${token}`, new Response(token));
    await window.kept(`echo ${token} > /root/of-another`, ["/root"], "another");
  }, TOKEN);
  const port = new URL(server.origin).port;
  const before = server.requests.length;
  // What the box has is the image's, its own, and what it is told; the script has the token in two pieces.
  const script = `
import os, re, socket
token = b"secret-" + b"7b1f"
found = []
for place, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(place, name) not in ("/proc", "/sys", "/dev", "/usr", "/lib", "/var/lib")]
    for name in files:
        path = os.path.join(place, name)
        try:
            if token in path.encode() or token in open(path, "rb").read(1 << 20): found.append(path)
        except OSError: pass
for pid in filter(str.isdigit, os.listdir("/proc")):
    for name in ("environ", "mountinfo", "maps"):
        try:
            if token in open(f"/proc/{pid}/{name}", "rb").read(): found.append(name)
        except OSError: pass
print(found, sorted(os.listdir("/root")))
errors = set()
for host in ("127.0.0.1", "localhost", "172.17.0.1", "172.17.0.2", "10.0.2.2", "192.168.0.1", "169.254.169.254", "198.18.0.1"):
    try: socket.create_connection((host, ${port}), 5); errors.add("connected to " + host)
    except OSError as e: errors.add(e.errno)
print(sorted(errors))
os.symlink("/", "/root/all")`;
  const [said, ...unsaved] = await other.evaluate(([script]) => window.kept(`python3 - <<'EOF'\n${script}\nEOF\n`, ["/root"], "own"), [script]);
  assert.deepEqual(unsaved, []);
  assert.match(said, /^\[\] \['\.bashrc', '\.profile'\]\n\[101, 111\]\n$/);
  // The worker's scripts are the page's own.
  assert.deepEqual(server.requests.slice(before).filter((path) => !path.startsWith("/dist/")), []);
  // A link is kept as one: nothing of what it leads to is in the origin's storage.
  const kept = await other.evaluate(async () => {
    const names = [];
    const walk = async (folder, path) => {
      for await (const [name, entry] of folder.entries()) {
        names.push(`${path}/${name}`);
        if (entry.kind === "directory") await walk(entry, `${path}/${name}`);
      }
    };
    await walk(await (await (await navigator.storage.getDirectory()).getDirectoryHandle("boxer-files-1")).getDirectoryHandle("own"), "");
    return names.sort();
  });
  assert.deepEqual(kept, ["/%2Froot", "/%2Froot/attributes.json", "/%2Froot/contents", "/%2Froot/contents/.bashrc", "/%2Froot/contents/.profile"]);
  await other.close();
});

test("from a URL, in a page that has no shared memory", async () => {
  assert.equal(await page.evaluate(() => window.fromUrl()), "from a URL\n");
  assert.equal(await page.evaluate(() => crossOriginIsolated), false);
});

test("a policy without wasm-unsafe-eval is named", async () => {
  const strict = await serve({ "/dist/": join(root, "dist/"), "/test/": join(root, "test/"), "/box.wasm": file, ...modules }, POLICY.replace(" 'wasm-unsafe-eval'", ""));
  const other = await browser.newPage();
  await other.goto(`${strict.origin}/test/page.html`);
  await other.waitForFunction(() => window.ready);
  const error = await other.evaluate(() => window.fromUrl().catch(({ code, message }) => `${code}: ${message}`));
  assert.match(error, /^unsupported: WebAssembly cannot be compiled here/);
  await other.close();
  strict.close();
});

test("xterm.js: keys, output, Ctrl-C, a new size", { timeout: 120_000 }, async () => {
  const shows = (text) => page.waitForFunction((text) => window.screen_().includes(text), text, { timeout: 60_000 });
  await page.evaluate(() => window.openTerminal());
  await shows("$");
  await page.click("#terminal");
  await page.keyboard.type("echo typed in a page");
  await page.keyboard.press("Enter");
  await shows("\ntyped in a page");
  const before = await page.evaluate(() => [window.terminal.xterm.rows, window.terminal.xterm.cols].join(" "));
  await page.keyboard.type("stty size");
  await page.keyboard.press("Enter");
  await shows(`\n${before}\n`);
  await page.keyboard.type("sleep 1000");
  await page.keyboard.press("Enter");
  await page.waitForTimeout(300);
  await page.keyboard.press("Control+c");
  await shows("^C");
  await page.evaluate(() => (document.getElementById("terminal").style.width = "500px"));
  await page.waitForFunction((before) => [window.terminal.xterm.rows, window.terminal.xterm.cols].join(" ") !== before, before);
  const size = await page.evaluate(() => [window.terminal.xterm.rows, window.terminal.xterm.cols].join(" "));
  await page.keyboard.type("stty size");
  await page.keyboard.press("Enter");
  await shows(`\n${size}\n`);
  if (shots) await page.screenshot({ path: join(shots, "terminal.png") });
  await page.evaluate(() => window.terminal.dispose());
  assert.equal(await page.evaluate(() => window.terminal.process.exit), 129);
});

test("boxes that wait take no CPU", { timeout: 120_000 }, async () => {
  const session = await browser.newBrowserCDPSession();
  const cpu = async () => {
    const { processInfo } = await session.send("SystemInfo.getProcessInfo");
    return processInfo.filter(({ type }) => type === "renderer").reduce((sum, { cpuTime }) => sum + cpuTime, 0);
  };
  await page.evaluate(() => window.startIdle());
  await page.waitForTimeout(2000);
  const SECONDS = 4;
  const from = await cpu();
  await page.waitForTimeout(SECONDS * 1000);
  const share = ((await cpu()) - from) / SECONDS;
  await page.evaluate(() => window.stopIdle());
  assert.ok(share <= 0.02, `three boxes that wait took ${(share * 100).toFixed(1)} % of a processor`);
});

// What the cases bring about: an address where there is nothing, and the case of bounds, in which the box says whom it has killed.
const WANTED = /status of 404|^boxer: out of memory: killed process/;
test("the page says nothing else is wrong", () => assert.deepEqual(messages.filter((text) => !WANTED.test(text)), []));

const site = fileURLToPath(new URL("../../../Dockerfile.examples/web/site/", import.meta.url));
const example = process.env.WEB_BOX;
test("the example's page", { timeout: 240_000, skip: !(example && existsSync(site)) && "WEB_BOX is not set: a box of Dockerfile.examples/web" }, async () => {
  const places = { "/": site, "/web.wasm": example, "/node_modules/boxer-js/dist/": join(root, "dist/"), "/node_modules/@xterm/xterm/": join(root, "node_modules/@xterm/xterm/") };
  const plain = await serve(places);
  const context = await browser.newContext({ viewport: { width: 1100, height: 620 } });
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(`${plain.origin}/`);
  const frame = page.frameLocator("#frame");
  await frame.getByText("Served from the box").waitFor({ timeout: 120_000 });
  assert.equal(await frame.locator("body").evaluate((body) => getComputedStyle(body).backgroundColor), "rgb(244, 247, 250)");
  await page.click("#terminal");
  await page.keyboard.type("sed -i 's/Served from/Changed in/' index.html; ls; python3 -c 'print(6 * 7)'");
  await page.keyboard.press("Enter");
  await page.locator(".xterm-rows", { hasText: "42" }).waitFor();
  await page.click("#reload");
  await frame.getByText("Changed in the box").waitFor();
  if (shots) await page.screenshot({ path: join(shots, "web.png") });
  await frame.getByRole("link", { name: "Another file" }).click();
  await frame.getByText("hello from the box").waitFor();
  await page.setViewportSize({ width: 360, height: 640 });
  await page.waitForTimeout(500);
  if (shots) await page.screenshot({ path: join(shots, "web-360.png") });
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
  await page.click("#terminal");
  await page.keyboard.type("exit 4");
  await page.keyboard.press("Enter");
  await page.getByText("ended with status 4").waitFor();
  assert.deepEqual(errors, []);
  await context.close();
  plain.close();
});
