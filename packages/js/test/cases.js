// What the package must do, in Node and in a page alike. Each case gets `t`: `Box`, `open(options)` (a new box of Debian), and `file`, where its
// bytes are. What fails throws.

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const text = (stream) => new Response(stream).text();

function equal(found, expected, what = "") {
  const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${what}: found ${a}, expected ${b}`);
}

function matches(found, pattern) {
  if (!pattern.test(found)) throw new Error(`found ${JSON.stringify(found)}, expected ${pattern}`);
}

async function fails(code, work) {
  try {
    await work();
  } catch (error) {
    if (error.code !== code) throw error;
    if (error.name !== "BoxError") throw new Error(`${error} is no BoxError`);
    return error;
  }
  throw new Error(`expected an error ${code}`);
}

/** Reads until `pattern` has come; what has come. */
async function until(reader, pattern) {
  const decoder = new TextDecoder();
  for (let all = ""; ; ) {
    if (pattern.test(all)) return all;
    const { done, value } = await reader.read();
    if (done) throw new Error(`expected ${pattern}, the stream ended after ${JSON.stringify(all)}`);
    all += decoder.decode(value, { stream: true });
  }
}

const SERVER = `
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/moved":
            self.send_response(302); self.send_header("Location", "/there"); self.send_header("Content-Length", "0"); self.end_headers(); return
        if self.path == "/chunks":
            self.send_response(200); self.send_header("Transfer-Encoding", "chunked"); self.end_headers()
            for n in range(100): self.wfile.write(b"%x\\r\\n%s\\r\\n" % (5000, b"x" * 5000))
            self.wfile.write(b"0\\r\\n\\r\\n"); return
        body = (self.path + " " + self.headers.get("X-Test", "-") + " " + self.headers["Host"]).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body[::-1])
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
`;

/** A Wisp server of version 1 that sends back what it gets, and closes after a "!"; ports above 80 refuse. `seen` hears of connections, and gets how to end it. */
function plainWisp(seen) {
  let controller;
  const send = (type, stream, ...payload) => controller.enqueue(Uint8Array.of(type, stream & 255, (stream >> 8) & 255, 0, 0, ...payload));
  const counts = new Map();
  const readable = new ReadableStream({
    start: (given) => {
      controller = given;
      send(3, 0, 4, 0, 0, 0);
    },
  });
  const writable = new WritableStream({
    write: (packet) => {
      const stream = packet[1] | (packet[2] << 8);
      if (packet[0] === 1) {
        const port = packet[6] | (packet[7] << 8);
        seen.push(`${["", "tcp", "udp"][packet[5]]} ${new TextDecoder().decode(packet.subarray(8))}:${port}`);
        if (port > 80) send(4, stream, 0x44);
        counts.set(stream, 0);
      } else if (packet[0] === 2) {
        const count = counts.get(stream) + 1;
        counts.set(stream, count);
        controller.enqueue(packet.slice());
        // Four may be under way; who sends more has not waited.
        if (count > 4) throw new Error("too many packets");
        if (count === 4) {
          counts.set(stream, 0);
          setTimeout(() => send(3, stream, 4, 0, 0, 0), 1);
        }
        if (packet.at(-1) === 33) send(4, stream, 2);
      }
    },
  });
  seen.end = () => controller.close();
  return { readable, writable };
}

export const cases = {
  async "hello, standard error and an exit status"(t) {
    const box = await t.open();
    const process = await box.spawn("sh", ["-c", "echo hello; echo wrong >&2; exit 7"]);
    equal(await Promise.all([text(process.stdout), text(process.stderr), process.exit]), ["hello\n", "wrong\n", 7]);
    equal(await (await box.spawn("false")).exit, 1);
  },

  async "arguments, environment, directory, user"(t) {
    const box = await t.open({ hostname: "tab" });
    const script = 'printf "%s|" "$@"; echo "$NAME $(pwd) $(id -un) $(hostname)"';
    const process = await box.spawn("sh", ["-c", script, "sh", "a b", "", "ü"], { env: { NAME: "value" }, cwd: "/tmp", user: "nobody" });
    equal(await text(process.stdout), "a b||ü|value /tmp nobody tab\n");
    equal(await process.exit, 0);
  },

  async "programs that cannot be started"(t) {
    const box = await t.open();
    await fails("no-such-program", () => box.spawn("/no/such/program"));
    await fails("cannot-execute", () => box.spawn("/etc/passwd"));
    await fails("no-such-directory", () => box.spawn("true", [], { cwd: "/no/such" }));
    await fails("no-such-user", () => box.spawn("true", [], { user: "nobody-known" }));
    await fails("invalid-argument", () => box.spawn("true", ["a\0b"]));
    await fails("invalid-argument", () => box.spawn("true", [], { env: { BOXER_TTY: "1" } }));
    await fails("busy", () => box.start());
    const own = await (await t.open()).start("/no/such/program");
    equal(await own.exit, 127);
    matches(await text(own.stderr), /no\/such\/program/);
  },

  async "the box's own program, and others beside it"(t) {
    const box = await t.open();
    const own = await box.start("sh", ["-c", "echo own; read -r line; exit 9"]);
    const reader = own.stdout.getReader();
    await until(reader, /own/);
    const [a, b] = await Promise.all([box.spawn("sh", ["-c", "echo from a > /tmp/f; echo $PPID"]), box.spawn("sleep", ["1000"])]);
    equal([await text(a.stdout), await a.exit], ["0\n", 0]);
    equal(await box.fs.readFile("/tmp/f", "utf8"), "from a\n");
    await own.stdin.getWriter().write("end\n");
    equal(await own.exit, 9);
    equal(await b.exit, 137);
    await fails("ended", () => box.spawn("true"));
  },

  async "many programs at once"(t) {
    const box = await t.open();
    const run = async (n) => {
      const process = await box.spawn("sh", ["-c", `read -r x; echo "$x ${n}"; exit ${n}`]);
      const writer = process.stdin.getWriter();
      await writer.write("number\n");
      return [await text(process.stdout), await process.exit];
    };
    const all = await Promise.all(Array.from({ length: 20 }, (_, n) => run(n)));
    equal(all, Array.from({ length: 20 }, (_, n) => [`number ${n}\n`, n]));
  },

  async "files"(t) {
    const { fs } = await t.open();
    await fs.mkdir("/made/a/b", { recursive: true });
    await fails("EEXIST", () => fs.mkdir("/made/a"));
    const bytes = new Uint8Array(1_000_000).map((_, at) => at * 7);
    await fs.writeFile("/made/a/large", bytes);
    const back = await fs.readFile("/made/a/large");
    equal([back.length, back.every((byte, at) => byte === bytes[at])], [bytes.length, true]);
    await fs.writeFile("/made/text", "grüße\n");
    await fs.writeFile("/made/text", "more\n", { append: true });
    equal(await fs.readFile("/made/text", "utf8"), "grüße\nmore\n");
    await fs.symlink("text", "/made/link");
    equal([await fs.readlink("/made/link"), await fs.readFile("/made/link", "utf8")], ["text", "grüße\nmore\n"]);
    equal(await fs.readdir("/made"), ["a", "link", "text"]);
    const entries = await fs.readdir("/made", { withFileTypes: true });
    equal(entries.map((entry) => [entry.isDirectory(), entry.isSymbolicLink(), entry.isFile()]), [[true, false, false], [false, true, false], [false, false, true]]);
    await fs.chmod("/made/text", 0o600);
    const stat = await fs.stat("/made/link");
    equal([stat.size, (stat.mode & 0o777).toString(8), stat.isFile(), Math.abs(Date.now() - stat.mtimeMs) < 60_000], [13, "600", true, true]);
    equal([(await fs.lstat("/made/link")).isSymbolicLink(), await fs.exists("/made/none"), await fs.exists("/made/text/none")], [true, false, false]);
    await fs.rename("/made/text", "/made/a/moved");
    equal(await fs.readdir("/made/a"), ["b", "large", "moved"]);
    await fails("ENOTEMPTY", () => fs.rm("/made/a"));
    await fs.rm("/made/a", { recursive: true });
    await fs.rm("/made/none", { force: true });
    matches((await fails("ENOENT", () => fs.readFile("/made/none"))).message, /no such file or directory, \/made\/none/);
    equal((await fs.readdir("/usr/bin")).length > 100, true);
  },

  async "a tree in memory"(t) {
    const box = await t.open();
    const tree = { "a.txt": { file: { contents: "one" } }, bin: { directory: { b: { file: { contents: Uint8Array.of(1, 2) } }, l: { file: { symlink: "b" } } } } };
    equal(await box.fs.mount("/srv/tree/", tree), undefined);
    equal(await box.fs.readFile("/srv/tree/a.txt", "utf8"), "one");
    equal([...(await box.fs.readFile("/srv/tree/bin/l"))], [1, 2]);
    await fails("invalid-argument", () => box.fs.mount("/srv", { "../x": { file: { contents: "" } } }));
    await fails("invalid-argument", () => box.fs.mount("srv", {}));
  },

  async "files that are watched"(t) {
    const box = await t.open();
    await box.fs.mkdir("/watched");
    const seen = [];
    const stop = await box.fs.watch("/watched", (event, path) => seen.push(`${event} ${path}`));
    await (await box.spawn("sh", ["-c", "echo a > /watched/new; rm /watched/new"], { user: "root" })).exit;
    await sleep(200);
    stop();
    equal([seen.includes("rename /watched/new"), seen.includes("change /watched/new")], [true, true]);
    const count = seen.length;
    await box.fs.writeFile("/watched/later", "");
    await sleep(100);
    equal(seen.length, count);
  },

  async "input that comes late, and its end"(t) {
    const process = await (await t.open()).spawn("cat");
    const output = text(process.stdout);
    const writer = process.stdin.getWriter();
    await sleep(300);
    await writer.write("late\n");
    await sleep(300);
    await writer.close();
    equal([await output, await process.exit], ["late\n", 0]);
  },

  async "lines to and fro"(t) {
    const process = await (await t.open()).spawn("sh", ["-c", 'while read -r line; do echo "<$line>"; done']);
    const [writer, reader] = [process.stdin.getWriter(), process.stdout.getReader()];
    for (const word of ["one", "two", "three"]) {
      await writer.write(`${word}\n`);
      equal(await until(reader, /\n/), `<${word}>\n`);
    }
    await writer.close();
    equal(await process.exit, 0);
  },

  async "a megabyte of binary input and output"(t) {
    const process = await (await t.open()).spawn("cat");
    const bytes = new Uint8Array(1 << 20);
    for (let at = 0; at < bytes.length; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
    const output = new Response(process.stdout).arrayBuffer();
    const writer = process.stdin.getWriter();
    for (let at = 0; at < bytes.length; at += 100_000) await writer.write(bytes.subarray(at, at + 100_000));
    await writer.close();
    const found = new Uint8Array(await output);
    equal([found.length, found.every((byte, at) => byte === bytes[at])], [bytes.length, true]);
  },

  async "3 MB to a slow reader, without holding more than is wanted"(t) {
    const process = await (await t.open()).spawn("sh", ["-c", "head -c 3000000 /dev/zero; echo written >&2"]);
    let written = false;
    const errors = until(process.stderr.getReader(), /written/).then(() => (written = true));
    await sleep(700);
    equal(written, false, "all was written before somebody read");
    let count = 0;
    for await (const piece of process.stdout) {
      count += piece.length;
      if (count < 1_000_000) await sleep(20);
    }
    equal([count, await process.exit, await errors], [3_000_000, 0, true]);
  },

  async "an output that nobody wants"(t) {
    const process = await (await t.open()).spawn("sh", ["-c", "yes; echo $? >&2"]);
    await process.stdout.cancel();
    equal([await text(process.stderr), await process.exit], ["141\n", 0]);
  },

  async "a terminal: echo, editing, Ctrl-C, resize"(t) {
    const process = await (await t.open()).spawn("bash", ["--norc", "-i"], { env: { PS1: "> " }, tty: { cols: 100, rows: 30 } });
    const [writer, reader] = [process.stdin.getWriter(), process.stdout.getReader()];
    await until(reader, /> $/);
    await writer.write("stty size\r");
    matches(await until(reader, /\d+ \d+\r\n.*> $/s), /stty size\r\n.*30 100\r\n/s);
    process.resize({ cols: 120, rows: 40 });
    await writer.write("stty siz\u007fze\r");
    matches(await until(reader, /\d+ \d+\r\n.*> $/s), /40 120\r\n/);
    await writer.write("echo on; cat\r");
    await until(reader, /\ron\r\n/);
    await writer.write("typed\r");
    await until(reader, /typed\r\ntyped\r\n/);
    await writer.write("\u0003");
    await until(reader, /\^C.*> $/s);
    await writer.write("echo $?; exit 3\r");
    matches(await until(reader, /130\r\n/), /130/);
    equal(await process.exit, 3);
  },

  async "signals"(t) {
    const process = await (await t.open()).spawn("sleep", ["1000"]);
    await sleep(200);
    process.kill("SIGINT");
    equal(await process.exit, 130);
    const other = await (await t.open()).spawn("sh", ["-c", 'trap "echo caught; exit 5" USR1; echo ready; while :; do sleep 0.05; done']);
    const reader = other.stdout.getReader();
    await until(reader, /ready/);
    other.kill("SIGUSR1");
    await until(reader, /caught/);
    equal(await other.exit, 5);
    await fails("invalid-argument", async () => other.kill("SIGNOT"));
  },

  async "an endless loop is interrupted, terminated and aborted"(t) {
    const loop = async (options) => {
      const box = await t.open(options);
      const process = await box.spawn("sh", ["-c", "echo on; while :; do :; done"]);
      await until(process.stdout.getReader(), /on/);
      return [box, process];
    };
    const [, first] = await loop();
    first.kill("SIGINT");
    equal(await first.exit, 130);
    const [box, second] = await loop();
    box.terminate();
    await fails("terminated", () => second.exit);
    await fails("terminated", () => box.fetch(80, "/"));
    const abort = new AbortController();
    const [, third] = await loop({ signal: abort.signal });
    abort.abort(new Error("enough"));
    equal((await fails("terminated", () => third.exit)).cause.message, "enough");
  },

  async "two boxes at once"(t) {
    const [a, b] = await Promise.all([t.open(), t.open()]);
    const [first, second] = await Promise.all([a.spawn("sh", ["-c", "echo a > /tmp/f; sleep 0.3; cat /tmp/f"]), b.spawn("sh", ["-c", "echo b > /tmp/f; sleep 0.3; cat /tmp/f"])]);
    equal(await Promise.all([text(first.stdout), text(second.stdout)]), ["a\n", "b\n"]);
  },

  async "fetch from a server in the box"(t) {
    const box = await t.open();
    await fails("not-started", () => box.fetch(80, "/"));
    const process = await box.spawn("python3", ["-m", "http.server", "-d", "/etc", "8000"]);
    const seen = [];
    box.on("port", (port, type) => seen.push(`${port} ${type}`));
    await box.waitForPort(8000);
    const response = await box.fetch(8000, "/debian_version");
    equal(response.status, 200);
    matches(await response.text(), /^12\./);
    equal((await box.fetch(8000, "/missing")).status, 404);
    matches(await (await box.fetch(8000, "/")).text(), /Directory listing/);
    const all = await Promise.all(Array.from({ length: 20 }, async () => (await box.fetch(8000, "/passwd")).text()));
    equal([new Set(all).size, all[0].startsWith("root:")], [1, true]);
    await fails("connection-refused", () => box.fetch(8001, "/"));
    process.kill("SIGTERM");
    equal(await process.exit, 143);
    await fails("connection-refused", () => box.fetch(8000, "/"));
    equal(seen, ["8000 open", "8000 close"]);
    box.terminate();
    await fails("terminated", () => box.fetch(8000, "/"));
  },

  async "fetch: methods, headers, bodies, chunks, redirects, abort"(t) {
    const box = await t.open();
    await box.spawn("python3", ["-c", SERVER]);
    await box.waitForPort(8000);
    const get = await box.fetch(8000, new Request("http://localhost:8000/a?b=c", { headers: { "X-Test": "yes" } }));
    equal([await get.text(), get.url], ["/a?b=c yes localhost:8000", "http://localhost:8000/a?b=c"]);
    const body = new Uint8Array(700_000).map((_, at) => at);
    const post = await box.fetch(8000, "/", { method: "POST", body });
    const back = new Uint8Array(await post.arrayBuffer()).reverse();
    equal([post.status, back.length, back.every((byte, at) => byte === (at & 255))], [201, body.length, true]);
    equal((await (await box.fetch(8000, "/chunks")).text()).length, 500_000);
    matches(await (await box.fetch(8000, "/moved")).text(), /^\/there /);
    equal((await box.fetch(8000, "/moved", { redirect: "manual" })).headers.get("location"), "/there");
    const abort = new AbortController();
    abort.abort(new Error("no more"));
    await box.fetch(8000, "/", { signal: abort.signal }).then(
      () => equal(true, false),
      (error) => equal(error.message, "no more"),
    );
    equal((await box.fetch(8000, "/", { method: "HEAD" }).catch((error) => error.code ?? error)).status, 501);
    box.terminate();
  },

  async "nothing leaves the box"(t) {
    const process = await (await t.open()).spawn("python3", [
      "-c",
      `import socket
for address in ("192.0.2.1", "127.0.0.1", "172.17.0.1"):
    try: socket.create_connection((address, 80), 5)
    except OSError as e: print(e.errno)
try: socket.getaddrinfo("example.com", 80)
except OSError as e: print(type(e).__name__)`,
    ]);
    equal(await text(process.stdout), "101\n111\n101\ngaierror\n");
  },

  async "a way out by a function"(t) {
    const asked = [];
    const network = ({ hostname, port }) => {
      asked.push(`${hostname}:${port}`);
      if (port === 81) throw Object.assign(new Error("nobody"), { code: "ECONNREFUSED" });
      if (port === 82) throw new Error("no idea");
      // What is sent comes back in capitals when all was sent, after a megabyte.
      let all = "";
      const { readable, writable } = new TransformStream({
        transform: (bytes) => void (all += new TextDecoder().decode(bytes)),
        flush: (controller) => {
          for (let n = 0; n < 16; n++) controller.enqueue(new Uint8Array(65536).fill(120));
          controller.enqueue(new TextEncoder().encode(all.toUpperCase()));
        },
      });
      return { readable, writable };
    };
    const box = await t.open({ network });
    const script = `import socket
def ask(host, port):
    s = socket.create_connection((host, port), 10); s.sendall(b"hello"); s.shutdown(socket.SHUT_WR)
    got = b""
    while part := s.recv(1 << 16): got += part
    return len(got), got[-5:]
print(*ask("server.test", 80)); print(*ask("192.0.2.7", 8080))
for port in (81, 82):
    try: ask("server.test", port)
    except OSError as e: print(e.errno)
try: socket.create_connection(("2001:db8::1", 80), 10)
except OSError as e: print(e.errno)
print(socket.getaddrinfo("server.test", 80)[0][4][0].startswith("198.18."), {f for f, *_ in socket.getaddrinfo("other.test", 1)} == {socket.AF_INET})`;
    const process = await box.spawn("python3", ["-c", script]);
    const [out, error] = await Promise.all([text(process.stdout), text(process.stderr)]);
    equal([out, error], ["1048581 b'HELLO'\n1048581 b'HELLO'\n111\n113\n101\nTrue True\n", ""]);
    equal(asked, ["server.test:80", "192.0.2.7:8080", "server.test:81", "server.test:82"]);
    await fails("invalid-argument", () => t.open({ network: "http://localhost/" }));
    await fails("invalid-argument", () => t.open({ network: {} }));
  },

  async "a plain Wisp server, by streams of packets"(t) {
    const seen = [];
    const box = await t.open({ network: plainWisp(seen) });
    const script = `import socket
s = socket.create_connection(("server.test", 80), 10)
for n in range(200): s.sendall(b"x" * 10000)
s.sendall(b"!"); count = 0
while part := s.recv(1 << 16): count += len(part)
print(count)
try: socket.create_connection(("server.test", 81), 10).recv(1)
except OSError as e: print(e.errno)`;
    const process = await box.spawn("python3", ["-c", script]);
    const [out, error] = await Promise.all([text(process.stdout), text(process.stderr)]);
    equal([out, error], ["2000001\n111\n", ""]);
    equal(seen.slice(0, 2), ["tcp server.test:80", "tcp server.test:81"]);
    // One that goes away is told, and after it there is no network.
    const told = new Promise((resolve) => box.on("network", resolve));
    seen.end();
    equal((await told).code, "unreachable");
    const later = await box.spawn("python3", ["-c", "import socket\ntry: socket.create_connection(('192.0.2.1', 80), 5)\nexcept OSError as e: print(e.errno)"]);
    matches(await text(later.stdout), /^10[14]\n$/);
  },

  async "freeze, and go on from the file, twice"(t) {
    const box = await t.open();
    const process = await box.start("sh", ["-c", 'x=6; echo ready; while read -r line; do eval "$line"; done']);
    const [writer, reader] = [process.stdin.getWriter(), process.stdout.getReader()];
    await until(reader, /ready/);
    await writer.write("x=$((x * 7)); echo > /tmp/made; echo set\n");
    await until(reader, /set/);
    const file = await box.freeze({ keepRunning: true });
    await writer.write("echo $x\n");
    equal(await until(reader, /\n/), "42\n", "it goes on");
    const last = await box.freeze();
    equal(await process.exit, 147);
    for (const frozen of [file, last]) {
      const next = await t.Box.open(frozen);
      const again = await next.start();
      const output = text(again.stdout);
      const input = again.stdin.getWriter();
      await input.write("echo $x; ls /tmp\n");
      await input.close();
      equal([await output, await again.exit], ["42\nmade\n", 0]);
    }
    const end = await (await t.Box.open(file)).start("sh");
    matches(await text(end.stderr), /boxer: /);
    equal(await end.exit, 125);
  },

  async "what is no box says so"(t) {
    const { Box } = t;
    const bytes = new Uint8Array(await t.bytes());
    await fails("not-a-box", () => Box.open(new Uint8Array()));
    await fails("not-a-box", () => Box.open(new TextEncoder().encode("FROM debian\nRUN true\n")));
    await fails("not-a-box", () => Box.open(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0)));
    await fails("component", () => Box.open(Uint8Array.of(0, 97, 115, 109, 13, 0, 1, 0)));
    // A module that imports anything but WASI's functions is given nothing.
    const foreign = "0061736d01000000010401600000020901 03656e7601660000 0503010001 070a01066d656d6f72790200".replaceAll(" ", "");
    const module = Uint8Array.from(foreign.match(/../g), (byte) => parseInt(byte, 16));
    equal(WebAssembly.validate(module), true);
    await fails("not-a-box", () => Box.open(module));
    for (const cut of [9, 1000, 1_000_000, bytes.length - 1]) await fails("not-a-box", () => Box.open(bytes.subarray(0, cut)));
    await fails("invalid-argument", () => Box.open(42));
    await fails("unreachable", () => Box.open(t.file + ".missing"));
    // A box as they were before: without the exports for hosts that step.
    const old = bytes.slice();
    const name = new TextEncoder().encode("boxer-step");
    const at = old.findIndex((_, start) => name.every((byte, index) => old[start + index] === byte));
    old.set(new TextEncoder().encode("boxer-past"), at);
    await fails("too-old", () => Box.open(old));
  },

  async "a module that was compiled before"(t) {
    const module = await WebAssembly.compile(await t.bytes());
    const box = await t.Box.open(module);
    const process = await box.start("cat");
    await fails("cannot-freeze", () => box.freeze());
    await process.stdin.close();
    equal(await process.exit, 0);
  },

  async "bounds"(t) {
    const box = await t.open({ limits: { memory: "64m", timeout: "20s" } });
    const process = await box.spawn("python3", ["-c", "x = bytearray(1 << 30)"]);
    matches(await text(process.stderr), /MemoryError/);
    equal(await process.exit, 1);
    const small = await t.open({ maxMemory: "64m" });
    const told = await small.spawn("sh", ["-c", "grep MemTotal /proc/meminfo; exec python3 -c 'x = [bytearray(1 << 20) for n in range(1000)]'"]);
    const [out, error] = await Promise.all([text(told.stdout), text(told.stderr)]);
    equal(Number(/MemTotal: *([0-9]+) kB/.exec(out)[1]), 65536);
    // Its own error, or the kernel's.
    if ((await told.exit) !== 137) matches(error, /MemoryError/);
    equal(await text((await small.spawn("echo", ["goes on"])).stdout), "goes on\n");
    await fails("invalid-argument", () => t.open({ maxMemory: "much" }));
    const bad = await (await t.open({ limits: { memory: "much" } })).start("true");
    matches(await text(bad.stderr), /BOXER_MEMORY/);
    equal(await bad.exit, 125);
  },
};

/** Boxes that wait: for a time, for input, and for whoever connects. Their CPU is measured outside; this returns when they wait. */
export async function idle(t) {
  const [a, b, c] = await Promise.all([t.open(), t.open(), t.open()]);
  await Promise.all([a.spawn("sleep", ["1000"]), b.spawn("cat"), c.spawn("python3", ["-m", "http.server", "8000"])]);
  await c.waitForPort(8000);
  await sleep(500);
  return () => [a, b, c].forEach((box) => box.terminate());
}
