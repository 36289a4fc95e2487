/** A box: one file of boxer's, loaded and run. */

import { BoxError } from "./errors.js";
import { ExecClient } from "./exec.js";
import { BoxFiles } from "./fs.js";
import { type FetchInit, fetchFrom } from "./http.js";
import { DESCRIPTOR, type FromWorker, STDIN, type ToWorker } from "./messages.js";
import type { Platform, WorkerHandle } from "./platform.js";
import { VARIABLES } from "./preview1.js";
import { BoxProcess, type Wire } from "./process.js";
import { attach, type BoxTerminal, type TerminalOptions } from "./terminal.js";
import { manifestOf, type Outside } from "./image.js";
import { concat, customSection, type Extent, refill, type Segment, type Source, takeApart } from "./wasm.js";
import { WispServer } from "./wisp.js";

/** Bounds of a box (`boxer run --help` describes them). Without one, what there is. */
export interface Limits {
  /** Memory of programs, `"512m"` or bytes. When it is used up the largest process is killed. */
  memory?: string | number;
  /** Files that are written. */
  storage?: string | number;
  /** Threads at once. */
  pids?: number;
  /** Time from the start, `"10s"`, after which the box ends with status 124. */
  timeout?: string;
  /** CPU time of all programs, after which it ends with status 152. */
  cpuTime?: string;
}

export interface OpenOptions {
  /** Breaks loading off, and later terminates the box. */
  signal?: AbortSignal;
  limits?: Limits;
  /**
   * What programs and the files that they write may take of the device's memory, bytes or `"256m"`: `/proc/meminfo` says so, and when it is used up
   * allocations fail or the largest process is killed. The box as a whole stays below that, its file, and 256 MB for the kernel's own records.
   */
  maxMemory?: string | number;
  hostname?: string;
  /** Where the chunks are of a box of `boxer build -o type=web`; without it, in the folder `chunks` beside its file. In Node also a path. */
  chunks?: string | URL;
  /** Where the worker's script is, if a bundler has moved it. */
  workerUrl?: string | URL;
}

export interface SpawnOptions {
  /** Laid over the image's environment. */
  env?: Record<string, string>;
  cwd?: string;
  /** `name`, `uid`, `name:group`, as in a Dockerfile. */
  user?: string;
  /** The standard streams are a terminal of that size (80 × 24). Its output is all on `stdout`. */
  tty?: boolean | { cols: number; rows: number };
}

export interface FreezeOptions {
  /** The box goes on; otherwise it ends with status 147, as with `boxer freeze`. */
  keepRunning?: boolean;
}

/** A program has begun to listen at a TCP port, or does so no more. */
export type PortListener = (port: number, type: "open" | "close") => void;

/** A part of the box's files, which lie outside of it, could not be had: a program got EIO or SIGBUS. It is tried again when it is touched again. */
export type MissingListener = (error: BoxError) => void;

/** Where a box's bytes are: a URL (in Node also a path), the bytes, a Blob, a Response. */
export type BoxBytes = string | URL | ArrayBuffer | ArrayBufferView | Blob | Response;

interface File {
  module: WebAssembly.Module;
  source: Source | undefined;
  segments: Segment[];
  outside: Outside | undefined;
}

/** What a host that steps boxes calls. */
const NEEDED = ["memory", "boxer-begin", "boxer-step", "boxer-ports"];
/** What the kernel in a box may need of its own beside programs and files, in bytes (`guest::boot::OWN_MEMORY`). */
const OWN_MEMORY = 256 << 20;
const HANGUP = "the box was terminated";

export class Box {
  /** @internal Set by the entry for Node or browsers. */
  static platform: Platform;

  /**
   * Loads a box: from a URL (in Node also a path), from its bytes, from a Blob (of `freeze`, of a file input), from a Response, or compiled
   * already (then it cannot be frozen). Nothing runs before {@link spawn}.
   */
  static async open(what: BoxBytes | WebAssembly.Module, options: OpenOptions = {}): Promise<Box> {
    options.signal?.throwIfAborted();
    const file = await load(what, options);
    options.signal?.throwIfAborted();
    return new Box(file, options);
  }

  #file: File;
  #options: OpenOptions;
  #worker: WorkerHandle | undefined;
  /** The box's own program, or the first process of a box without one. */
  #main: BoxProcess | undefined;
  #network: WispServer;
  #exec: ExecClient;
  #over: BoxError | undefined;
  #portListeners = new Set<PortListener>();
  #missingListeners = new Set<MissingListener>();
  #ports: number[] = [];
  #freezing: { resolve: (blob: Blob) => void; reject: (error: unknown) => void } | undefined;

  private constructor(file: File, options: OpenOptions) {
    this.#file = file;
    this.#options = options;
    const sends = (fd: number) => (bytes: Uint8Array) => this.#post({ type: "input", fd, bytes }, [bytes.buffer as ArrayBuffer]);
    this.#network = new WispServer(sends(DESCRIPTOR.network));
    this.#exec = new ExecClient(sends(DESCRIPTOR.exec));
    options.signal?.addEventListener("abort", () => this.terminate(), { once: true });
  }

  /**
   * Starts the box's own program: `command` with `args` in place of the image's ENTRYPOINT and CMD, or without a command the image's own (of boxes
   * with a snapshot and frozen ones: what was under way). The box ends with it. Once for each box, before anything else.
   */
  async start(command?: string, args: string[] = [], options: SpawnOptions = {}): Promise<BoxProcess> {
    if (this.#over) throw this.#over;
    if (this.#main) throw new BoxError("busy", "the box has been started; `spawn` starts further programs in it");
    const env = environment(options, this.#options);
    if (command !== undefined) env.push(`BOXER_ENTRYPOINT=${command}`);
    return this.#begin(args, env, Boolean(options.tty));
  }

  /**
   * Starts a program in the box, as often as wanted. The first starts the box, if {@link start} has not, with no program of its own; it then lives until
   * {@link terminate}. A program that cannot be started is an error (`"no-such-program"` …).
   */
  async spawn(command: string, args: string[] = [], options: SpawnOptions = {}): Promise<BoxProcess> {
    const client = await this.#reach();
    const variables = Object.entries(options.env ?? {}).map(([name, value]) => variable(name, value));
    const tty = options.tty ? sizeOf(options.tty) : undefined;
    noZero([command, ...args, ...variables, options.cwd ?? "", options.user ?? ""]);
    return client.spawn({ argv: [command, ...args], env: variables, cwd: options.cwd ?? "", user: options.user ?? "", tty });
  }

  /** Files of the box. The first use starts the box, as {@link spawn} does. */
  readonly fs: BoxFiles = new BoxFiles(() => this.#reach());

  /** Starts the box, if nobody has, without a program of its own. */
  async #reach(): Promise<ExecClient> {
    if (this.#over) throw this.#over;
    if (!this.#main) {
      const env = [...environment({}, this.#options), "BOXER_INIT=pause"];
      const init = this.#begin([], env, false);
      // Its own messages are for whoever looks for them; the box must not stand still for them.
      void init.stdout.cancel();
      void init.stdin.close().catch(() => {});
      void complain(init.stderr);
    }
    return this.#exec;
  }

  #begin(args: string[], env: string[], tty: boolean): BoxProcess {
    noZero([...args, ...env]);
    const { module, source, segments, outside } = this.#file;
    if (outside) env.push(`BOXER_IMAGE=${DESCRIPTOR.image}`);
    const process = new BoxProcess(this.#wire());
    this.#main = process;
    this.#worker = Box.platform.worker({ message: (message) => this.#heard(message), failed: (error) => this.#fail(crash(error)) }, this.#options.workerUrl);
    const input: [number, Uint8Array][] = [
      [DESCRIPTOR.network, WispServer.greeting()],
      [DESCRIPTOR.exec, ExecClient.greeting()],
    ];
    this.#post({ type: "start", module, source, segments, outside, args: ["box", ...args], env, tty, input });
    if (this.#portListeners.size) this.#post({ type: "watch-ports" });
    return process;
  }

  /** Starts a program at a terminal on the page: xterm.js (`@xterm/xterm`), which the page brings. */
  async terminal(element: HTMLElement, options: TerminalOptions = {}): Promise<BoxTerminal> {
    return attach(element, options, (tty) => {
      const env = { TERM: "xterm-256color", ...options.env };
      const { command, args } = options;
      return command === undefined ? this.start(undefined, args, { ...options, env, tty }) : this.spawn(command, args, { ...options, env, tty });
    });
  }

  /**
   * Asks an HTTP server in the box, which listens at 0.0.0.0 and `port`: as `fetch` does, but for cookies and caches. Redirects are
   * followed on the same server. Names of hosts in the URL only tell the server who is meant.
   */
  async fetch(port: number, input: string | URL | Request, init?: FetchInit): Promise<Response> {
    this.#running();
    return fetchFrom((port) => this.#network.connect(port), port, input, init);
  }

  /**
   * Calls `listener` when a program begins to listen at a TCP port, and when it does so no more; or when a part of files that lie outside of the box cannot be had
   * (without a listener that is an error on the console). Returns how to stop that.
   */
  on(event: "port", listener: PortListener): () => void;
  on(event: "missing", listener: MissingListener): () => void;
  on(event: "port" | "missing", listener: PortListener | MissingListener): () => void {
    if (event === "missing") {
      this.#missingListeners.add(listener as MissingListener);
      return () => void this.#missingListeners.delete(listener as MissingListener);
    }
    if (event !== "port") throw new BoxError("invalid-argument", `there is no event ${String(event)}`);
    const added = listener as PortListener;
    this.#portListeners.add(added);
    if (this.#worker) this.#post({ type: "watch-ports" });
    for (const port of this.#ports) queueMicrotask(() => added(port, "open"));
    return () => void this.#portListeners.delete(added);
  }

  /** Resolves when a program listens at the port. */
  async waitForPort(port: number): Promise<void> {
    const process = this.#running();
    let stop: (() => void) | undefined;
    const opened = new Promise<void>((resolve) => (stop = this.on("port", (which, type) => which === port && type === "open" && resolve())));
    const ended = process.exit.then((status) => {
      throw new BoxError("ended", `the program has ended with status ${status}`);
    });
    try {
      await Promise.race([opened, ended]);
    } finally {
      stop?.();
    }
  }

  /**
   * The box as it is now, as a file: {@link Box.open} and {@link spawn} without a command go on from there, as do `boxer run` and other hosts. It ends
   * with status 147 unless `keepRunning` is given.
   */
  async freeze({ keepRunning = false }: FreezeOptions = {}): Promise<Blob> {
    this.#running();
    if (!this.#file.source) throw new BoxError("cannot-freeze", "a box that was opened as a WebAssembly.Module cannot be frozen; open its bytes");
    if (this.#freezing) throw new BoxError("busy", "the box is being frozen already");
    const frozen = new Promise<Blob>((resolve, reject) => (this.#freezing = { resolve, reject }));
    this.#post({ type: "freeze", keepRunning });
    this.#control(3, 0, 0);
    return frozen;
  }

  /** Ends the box at once, whatever it does. What waits for it fails with code `"terminated"`. */
  terminate(): void {
    this.#fail(new BoxError("terminated", HANGUP, { cause: this.#options.signal?.reason }));
  }

  async [Symbol.asyncDispose]() {
    this.terminate();
  }

  #running(): BoxProcess {
    if (this.#over) throw this.#over;
    if (!this.#main) throw new BoxError("not-started", "no program has been started");
    return this.#main;
  }

  #wire(): Wire {
    return {
      input: (fd, bytes) => this.#post({ type: "input", fd, bytes }, [bytes.buffer as ArrayBuffer]),
      end: (fd) => this.#post({ type: "end", fd }),
      used: (fd, bytes) => this.#post({ type: "used", fd, bytes }),
      closed: (fd) => this.#post({ type: "closed", fd }),
      signal: (signal) => this.#control(1, signal, 0),
      resize: ({ cols, rows }) => this.#control(2, rows, cols),
    };
  }

  /** A message of `mux::control`. */
  #control(kind: number, first: number, second: number) {
    const bytes = Uint8Array.of(kind, 0, first & 0xff, first >> 8, second & 0xff, second >> 8, 0, 0);
    this.#post({ type: "input", fd: DESCRIPTOR.control, bytes });
  }

  #post(message: ToWorker, transfer: ArrayBuffer[] = []) {
    this.#worker?.post(message, transfer);
  }

  #heard(message: FromWorker) {
    switch (message.type) {
      case "output":
        if (message.fd === DESCRIPTOR.network) this.#network.arrived(message.bytes);
        else if (message.fd === DESCRIPTOR.exec) this.#exec.arrived(message.bytes);
        else this.#main?._output(message.fd, message.bytes);
        return;
      case "taken":
        if (message.fd === STDIN) this.#main?._taken(message.bytes);
        return;
      case "ports":
        this.#tellPorts(message.ports);
        return;
      case "frozen":
        void this.#frozen(message.pages, message.extents);
        return;
      case "unfit":
        this.#freezing?.reject(new BoxError("cannot-freeze", `the box cannot be frozen now: ${message.reason}`));
        this.#freezing = undefined;
        return;
      case "missing":
        this.#tellMissing(new BoxError(message.code, message.reason));
        return;
      case "exit":
        this.#end(new BoxError("ended", `the box has ended with status ${message.status}`));
        this.#main?._exit(message.status);
        return;
      case "crash":
        this.#fail(crash(Object.assign(new Error(message.reason), { stack: message.stack })));
        return;
    }
  }

  #tellMissing(error: BoxError) {
    if (!this.#missingListeners.size) console.error(error);
    for (const listener of [...this.#missingListeners]) listener(error);
  }

  #tellPorts(ports: number[]) {
    const tell = (list: number[], other: number[], type: "open" | "close") => {
      for (const port of list) if (!other.includes(port)) for (const listener of [...this.#portListeners]) listener(port, type);
    };
    const before = this.#ports;
    this.#ports = ports;
    tell(before, ports, "close");
    tell(ports, before, "open");
  }

  async #frozen(pages: number, extents: Extent[]) {
    const freezing = this.#freezing;
    this.#freezing = undefined;
    const source = this.#file.source!;
    try {
      const before = (await customSection(source, "boxer.life")) as { number?: number } | undefined;
      const life = { number: (before?.number ?? 0) + 1, frozenAt: Math.floor(Date.now() / 1000) };
      freezing?.resolve(await refill(source, pages, extents, life));
    } catch (error) {
      freezing?.reject(error);
    }
  }

  /** The box is over, for this reason. */
  #end(error: BoxError) {
    this.#over ??= error;
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#network.fail(this.#over);
    this.#exec.fail(this.#over);
    // A file that is under way is written whole; one that was only asked for is none.
    if (this.#freezing) this.#freezing.reject(this.#over);
    this.#freezing = undefined;
    this.#tellPorts([]);
  }

  #fail(error: BoxError) {
    if (this.#over) return;
    this.#end(error);
    this.#main?._fail(error);
  }
}

async function load(what: BoxBytes | WebAssembly.Module, { signal, chunks, maxMemory }: OpenOptions): Promise<File> {
  if (what instanceof WebAssembly.Module) return { module: checked(what), source: undefined, segments: [], outside: undefined };
  const source = await bytesOf(what as BoxBytes, signal);
  const outside = await filesOf(source, what as BoxBytes, chunks);
  const { code, segments } = await takeApart(source, maxMemory === undefined ? undefined : bytesIn(maxMemory) + OWN_MEMORY);
  let module: WebAssembly.Module;
  try {
    module = await WebAssembly.compile(concat(code) as Uint8Array<ArrayBuffer>);
  } catch (cause) {
    const message = (cause as Error).message;
    // A policy that forbids compiling is an EvalError or says so.
    const forbidden = cause instanceof WebAssembly.CompileError && !/Content Security Policy|disallowed by embedder/.test(message);
    throw forbidden
      ? new BoxError("not-a-box", `the file does not compile: it is damaged, or this engine lacks what it needs (\`boxer inspect\` lists that): ${message}`, { cause })
      : new BoxError("unsupported", `WebAssembly cannot be compiled here: ${message}`, { cause });
  }
  return { module: checked(module), source, segments, outside };
}

/** Where a box's files are, if not in it. */
async function filesOf(source: Source, what: BoxBytes, chunks: string | URL | undefined): Promise<Outside | undefined> {
  const section = await customSection(source, "boxer.chunks");
  if (section === undefined) return undefined;
  const manifest = manifestOf(section);
  if (chunks !== undefined) return { manifest, place: Box.platform.absolute(`${chunks}`.replace(/\/*$/, "/")) };
  const own = what instanceof Response ? what.url : typeof what === "string" || what instanceof URL ? String(what) : "";
  if (!own) throw new BoxError("invalid-argument", "the box's files lie outside of it: say where with `chunks`");
  return { manifest, place: Box.platform.beside(own, "chunks/") };
}

async function bytesOf(what: BoxBytes, signal: AbortSignal | undefined): Promise<Source> {
  if (typeof what === "string" || what instanceof URL) return Box.platform.load(what, signal);
  if (what instanceof Response) {
    if (!what.ok) throw new BoxError("unreachable", `${what.url}: status ${what.status}`);
    return what.blob();
  }
  if (what instanceof Blob) return what;
  if (ArrayBuffer.isView(what)) return Box.platform.keep(new Uint8Array(what.buffer, what.byteOffset, what.byteLength));
  if (what instanceof ArrayBuffer || (typeof SharedArrayBuffer !== "undefined" && (what as unknown) instanceof SharedArrayBuffer)) {
    return Box.platform.keep(new Uint8Array(what));
  }
  throw new BoxError("invalid-argument", "a box is opened from a URL, bytes, a Blob, a Response or a WebAssembly.Module");
}

/** A module of ours that can be stepped. */
function checked(module: WebAssembly.Module): WebAssembly.Module {
  const exports = WebAssembly.Module.exports(module).map(({ name }) => name);
  const foreign = WebAssembly.Module.imports(module).find(({ module, kind }) => module !== "wasi_snapshot_preview1" || kind !== "function");
  if (foreign || !exports.includes("memory") || !exports.includes("boxer-desk")) throw new BoxError("not-a-box", "the module is no box of boxer's");
  if (!NEEDED.every((name) => exports.includes(name))) {
    throw new BoxError("too-old", "the box was built by a boxer whose boxes run on plain WASI hosts only; build it again");
  }
  return module;
}

/** The variables that steer the box and those of its own program. */
function environment(options: SpawnOptions, { limits = {}, maxMemory, hostname }: OpenOptions): string[] {
  const env = [...VARIABLES];
  const steer = (name: string, value: string | number | undefined) => {
    if (value !== undefined) env.push(`BOXER_${name}=${value}`);
  };
  steer("WORKDIR", options.cwd);
  steer("USER", options.user);
  steer("HOSTNAME", hostname);
  const { cols, rows } = sizeOf(options.tty);
  steer("TTY", options.tty ? `${cols}x${rows}` : "0");
  if (limits.memory !== undefined && maxMemory !== undefined) throw new BoxError("invalid-argument", "`maxMemory` and `limits.memory` are one bound: give one of them");
  steer("MEMORY", maxMemory ?? limits.memory);
  steer("STORAGE", limits.storage);
  steer("PIDS", limits.pids);
  steer("TIMEOUT", limits.timeout);
  steer("CPU_TIME", limits.cpuTime);
  for (const [name, value] of Object.entries(options.env ?? {})) env.push(variable(name, value));
  return env;
}

/** Bytes of `"64m"` and its like. */
function bytesIn(size: string | number): number {
  const [, number, unit] = /^([0-9]+)([bkmg]?)b?$/i.exec(String(size)) ?? [];
  if (number === undefined) throw new BoxError("invalid-argument", `${JSON.stringify(size)} is no size: bytes, or a number with k, m or g`);
  return Number(number) * 1024 ** "bkmg".indexOf(unit!.toLowerCase() || "b");
}

function sizeOf(tty: SpawnOptions["tty"]): { cols: number; rows: number } {
  return typeof tty === "object" ? tty : { cols: 80, rows: 24 };
}

function variable(name: string, value: string): string {
  if (name && !name.includes("=") && !name.startsWith("BOXER_")) return `${name}=${value}`;
  throw new BoxError("invalid-argument", `${JSON.stringify(name)} is no name of a variable, or one that steers boxes`);
}

function noZero(texts: string[]) {
  if (texts.some((text) => text.includes("\0"))) throw new BoxError("invalid-argument", "arguments and variables hold no zero byte");
}

/** Shows what a box has to say of itself. */
async function complain(stream: ReadableStream<Uint8Array>) {
  const [reader, decoder] = [stream.getReader(), new TextDecoder()];
  let text = "";
  try {
    for (let part; !(part = await reader.read()).done; ) {
      const lines = (text + decoder.decode(part.value, { stream: true })).split("\n");
      text = lines.pop()!;
      for (const line of lines) console.error(line);
    }
  } catch {
    // It was terminated.
  }
}

function crash(cause: unknown): BoxError {
  return new BoxError("crashed", `the box broke: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
}
