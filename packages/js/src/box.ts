/** A box: one file of boxer's, loaded and run. */

import { BoxError } from "./errors.js";
import { ExecClient } from "./exec.js";
import { BoxFiles } from "./fs.js";
import { type FetchInit, fetchFrom } from "./http.js";
import { type BoxBytes, commandOf, type File, imageConfig, load, shelfOf } from "./load.js";
import { DESCRIPTOR, type FromWorker, STDIN, type ToWorker } from "./messages.js";
import { wayOf } from "./network.js";
import { environment, type FreezeOptions, noZero, type OpenOptions, sizeOf, type SpawnOptions, variable } from "./options.js";
import type { Shelf } from "./persist.js";
import { platform, type WorkerHandle } from "./platform.js";
import { BoxProcess, type Wire } from "./process.js";
import { attach, type BoxTerminal, type TerminalOptions } from "./terminal.js";
import { customSection, type Extent, refill } from "./wasm.js";
import { WispServer } from "./wisp.js";

/** A program has begun to listen at a TCP port, or does so no more. */
export type PortListener = (port: number, type: "open" | "close") => void;

/** A part of the box's files, which lie outside of it, could not be had: a program got EIO or SIGBUS. It is tried again when it is touched again. */
export type MissingListener = (error: BoxError) => void;

/** The server that leads out of the box cannot be reached, or has gone; programs get ENETUNREACH, or their connections are reset. It is tried again when a program connects. */
export type NetworkListener = (error: BoxError) => void;

/** What programs have written in a directory that is to persist cannot be kept: the quota is used up. What was kept before is whole; it is tried again with the next change, and by `flush`. */
export type UnsavedListener = (error: BoxError) => void;

const HANGUP = "the box was terminated";

export class Box {
  /**
   * Loads a box: from a URL (in Node also a path), from its bytes, from a Blob (of `freeze`, of a file input), from a Response, or compiled
   * already (then it cannot be frozen). Nothing runs before {@link spawn}.
   */
  static async open(what: BoxBytes | WebAssembly.Module, options: OpenOptions = {}): Promise<Box> {
    options.signal?.throwIfAborted();
    const file = await load(what, options);
    options.signal?.throwIfAborted();
    return new Box(file, options, await shelfOf(file, what, options.persist));
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
  #networkListeners = new Set<NetworkListener>();
  #unsavedListeners = new Set<UnsavedListener>();
  #shelf: Shelf | undefined;
  #loaded: Promise<void> | undefined;
  #ports: number[] = [];
  #freezing: { resolve: (blob: Blob) => void; reject: (error: unknown) => void } | undefined;

  private constructor(file: File, options: OpenOptions, shelf: Shelf | undefined) {
    this.#file = file;
    this.#shelf = shelf;
    this.#options = options;
    const sends = (fd: number) => (bytes: Uint8Array) => this.#post({ type: "input", fd, bytes }, [bytes.buffer as ArrayBuffer]);
    const way = options.network === undefined ? undefined : wayOf(options.network, (error) => tell(this.#networkListeners, error));
    this.#network = new WispServer(sends(DESCRIPTOR.network), way);
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
    if (this.#shelf) return this.#startBeside(command, args, options);
    const env = environment(options, this.#options);
    if (command !== undefined) env.push(`BOXER_ENTRYPOINT=${command}`);
    return this.#begin(args, env, Boolean(options.tty));
  }

  /** The box's own program where files must be in place before it begins. */
  async #startBeside(command: string | undefined, args: string[], options: SpawnOptions): Promise<BoxProcess> {
    const [program, ...rest] = command === undefined ? commandOf(await imageConfig(this.#file), args) : [command, ...args];
    const process = await this.spawn(program, rest, options);
    const ended = async (status: number) => {
      await this.flush().catch((error) => tell(this.#unsavedListeners, error));
      this.#end(new BoxError("ended", `the box has ended with status ${status}`));
    };
    void process.exit.then(ended, () => {});
    return process;
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
    const files = new BoxFiles(async () => this.#exec);
    await (this.#loaded ??= this.#shelf?.load(files, (error) => tell(this.#unsavedListeners, error)));
    return this.#exec;
  }

  #begin(args: string[], env: string[], tty: boolean): BoxProcess {
    noZero([...args, ...env]);
    const { module, source, segments, outside } = this.#file;
    if (outside) env.push(`BOXER_IMAGE=${DESCRIPTOR.image}`);
    const process = new BoxProcess(this.#wire());
    this.#main = process;
    this.#worker = platform().worker({ message: (message) => this.#heard(message), failed: (error) => this.#fail(crash(error)) }, this.#options.workerUrl);
    const input: [number, Uint8Array][] = [
      [DESCRIPTOR.network, this.#network.greeting()],
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
   * Calls `listener` when a program begins to listen at a TCP port, and when it does so no more; or when a part of files that lie outside of the box cannot be had,
   * or the way out of the box, or what was written cannot be kept (without a listener these are errors on the console). Returns how to stop that.
   */
  on(event: "port", listener: PortListener): () => void;
  on(event: "missing", listener: MissingListener): () => void;
  on(event: "network", listener: NetworkListener): () => void;
  on(event: "unsaved", listener: UnsavedListener): () => void;
  on(event: "port" | "missing" | "network" | "unsaved", listener: PortListener | ((error: BoxError) => void)): () => void {
    const troubles = { missing: this.#missingListeners, network: this.#networkListeners, unsaved: this.#unsavedListeners };
    if (event === "missing" || event === "network" || event === "unsaved") {
      const [listeners, added] = [troubles[event], listener as (error: BoxError) => void];
      listeners.add(added);
      return () => void listeners.delete(added);
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

  /** Resolves when what programs have written until now in directories that persist is kept; rejects with code `"cannot-persist"`. */
  async flush(): Promise<void> {
    await this.#loaded;
    await this.#shelf?.flush();
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
        tell(this.#missingListeners, new BoxError(message.code, message.reason));
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
    this.#shelf?.release();
    this.#tellPorts([]);
  }

  #fail(error: BoxError) {
    if (this.#over) return;
    this.#end(error);
    this.#main?._fail(error);
  }
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

/** Tells what is wrong and ends nothing. */
function tell(listeners: Set<(error: BoxError) => void>, error: BoxError) {
  if (!listeners.size) console.error(error);
  for (const listener of [...listeners]) listener(error);
}

function crash(cause: unknown): BoxError {
  return new BoxError("crashed", `the box broke: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
}
