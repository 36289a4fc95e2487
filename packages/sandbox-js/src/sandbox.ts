/** A sandbox. */

import { connect, type Connection, type ConnectionOptions, type Json } from "./client.js";
import { Commands, type Heard, type OutputOptions, type Reach, unlessMissing } from "./commands.js";
import { SandboxError } from "./errors.js";
import { Filesystem } from "./files.js";
import { type Context, type Difference, Execution, type ExecutionError, type Exported, Result, type SandboxInfo, type Usage } from "./models.js";

export interface SandboxOptions extends ConnectionOptions {
  /** It ends so many milliseconds from now. */
  timeoutMs?: number;
  metadata?: Record<string, string>;
  envs?: Record<string, string>;
  /** Less than the daemon gives; names as in its OpenAPI description. */
  policy?: Record<string, unknown>;
  /** The name that {@link Sandbox.snapshot} gave. */
  snapshot?: string;
}

export interface RunCodeOptions extends OutputOptions {
  /** `python` (without one, or that of the context), `javascript`, `bash`. */
  language?: string;
  context?: Context;
  onResult?: Heard<Result>;
  onError?: Heard<ExecutionError>;
  envs?: Record<string, string>;
  cwd?: string;
  timeoutMs?: number;
  /** Instructions that may be executed for it, counted one by one. */
  instructions?: number;
}

export class Sandbox implements AsyncDisposable {
  readonly sandboxId: string;
  readonly commands: Commands;
  readonly files: Filesystem;
  readonly #connection: Connection;
  readonly #path: string;

  private constructor(connection: Connection, id: string) {
    this.#connection = connection;
    this.sandboxId = id;
    this.#path = `/sandboxes/${id}`;
    const reach: Reach = { connection, path: this.#path };
    this.commands = new Commands(reach);
    this.files = new Filesystem(reach);
  }

  /** Makes one, of the box `template`. */
  static create(options?: SandboxOptions): Promise<Sandbox>;
  static create(template: string, options?: SandboxOptions): Promise<Sandbox>;
  static async create(first: string | SandboxOptions = {}, more: SandboxOptions = {}): Promise<Sandbox> {
    const options = typeof first === "string" ? { ...more, template: first } : first;
    const { timeoutMs, metadata = {}, envs, snapshot } = options;
    const connection = await connect(options);
    const policy: Record<string, unknown> = { ...options.policy };
    if (timeoutMs !== undefined) policy.timeout = timeoutMs / 1000;
    if (envs) policy.env = envs;
    return new Sandbox(connection, (await connection.json("POST", "/sandboxes", {}, { policy, metadata, snapshot })).id);
  }

  /** One that was made before; if it is paused it goes on. */
  static async connect(sandboxId: string, options: ConnectionOptions = {}): Promise<Sandbox> {
    const connection = await connect(options);
    const found = await connection.json("GET", `/sandboxes/${encodeURIComponent(sandboxId)}`);
    const sandbox = new Sandbox(connection, found.id);
    if (found.state === "paused") await sandbox.resume();
    return sandbox;
  }

  /** Those that have not been killed. */
  static async list(options: ConnectionOptions = {}): Promise<SandboxInfo[]> {
    return (await (await connect(options)).json("GET", "/sandboxes")).map(about);
  }

  /** Runs code where variables live on from call to call. Its errors are in the answer. */
  async runCode(code: string, options: RunCodeOptions = {}): Promise<Execution> {
    const { language, context, envs = {}, cwd, timeoutMs, instructions, onStdout, onStderr, onResult, onError, signal } = options;
    const timeout = timeoutMs === undefined ? undefined : timeoutMs / 1000;
    const request = { code, language: language ?? context?.language, context: context?.id, env: envs, cwd, timeout, instructions };
    const execution = new Execution();
    let ended = false;
    for await (const event of await this.#connection.lines("POST", `${this.#path}/code`, {}, request, signal)) {
      switch (event.type) {
        case "stdout":
          execution.logs.stdout.push(event.text);
          await onStdout?.(event.text);
          break;
        case "stderr":
          execution.logs.stderr.push(event.text);
          await onStderr?.(event.text);
          break;
        case "result": {
          const result = new Result(event.data, event.main);
          execution.results.push(result);
          await onResult?.(result);
          break;
        }
        case "error":
          execution.error = { name: event.name, value: event.value, traceback: event.traceback };
          await onError?.(execution.error);
          break;
        case "end":
          execution.executionCount = event.execution_count;
          if (event.limit) execution.limit = event.limit;
          if (event.instructions != null) execution.instructions = event.instructions;
          ended = true;
      }
    }
    if (!ended) throw new SandboxError("the daemon broke off");
    return execution;
  }

  /** An interpreter with variables of its own. */
  async createCodeContext({ language = "python" }: { language?: string } = {}): Promise<Context> {
    return { id: (await this.#connection.json("POST", `${this.#path}/contexts`, {}, { language })).context, language };
  }

  /** Stops what runs (in all contexts, or this one), as Ctrl-C does; whether anything ran. */
  async interrupt(context?: Context): Promise<boolean> {
    return (await this.#connection.json("POST", `${this.#path}/interrupt`, { context: context?.id })).interrupted;
  }

  /** What is known of it. */
  async getInfo(): Promise<SandboxInfo> {
    return about(await this.#connection.json("GET", this.#path));
  }

  /** Whether it runs. */
  async isRunning(): Promise<boolean> {
    return unlessMissing(this.getInfo().then(({ state }) => state === "running"));
  }

  /** It ends so many milliseconds from now. */
  async setTimeout(timeoutMs: number): Promise<void> {
    await this.#connection.call("POST", `${this.#path}/timeout`, {}, { timeout: timeoutMs / 1000 });
  }

  /** Ends it; whether it had not ended yet. */
  async kill(): Promise<boolean> {
    return unlessMissing(this.#connection.json("DELETE", this.#path).then(({ killed }) => killed));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  /** Lets it stand still; {@link resume} or {@link Sandbox.connect} lets it go on. */
  async pause(): Promise<void> {
    await this.#connection.call("POST", `${this.#path}/pause`);
  }

  /** Lets it go on. */
  async resume(): Promise<void> {
    await this.#connection.call("POST", `${this.#path}/resume`);
  }

  /** Copies of it, which go on from where it is. */
  async fork(count = 1): Promise<Sandbox[]> {
    const found: { id: string }[] = await this.#connection.json("POST", `${this.#path}/fork`, {}, { count });
    return found.map(({ id }) => new Sandbox(this.#connection, id));
  }

  /** Keeps its state under a name, for `Sandbox.create({snapshot})`, as long as the daemon runs. */
  async snapshot(): Promise<string> {
    return (await this.#connection.json("POST", `${this.#path}/snapshot`)).snapshot;
  }

  /** What is different in its files since it started. */
  async diff(): Promise<Difference[]> {
    return this.#connection.json("GET", `${this.#path}/diff`);
  }

  /** Writes its files to a local file: a tar archive, or a layer of an OCI image (tar and gzip, with whiteouts for what was removed). */
  async export(path: string, options: { what?: "changes" | "all"; format?: "tar" | "layer"; signal?: AbortSignal } = {}): Promise<Exported> {
    const { what = "changes", format = "tar", signal } = options;
    const headers = await this.#connection.download(`${this.#path}/export`, { what, format }, path, signal);
    return {
      path,
      digest: String(headers["boxer-digest"]),
      diffId: String(headers["boxer-diff-id"]),
      size: Number(headers["content-length"]),
      mediaType: String(headers["content-type"]),
      entries: Number(headers["boxer-entries"]),
    };
  }

  /** What it uses, and has used since it was made. */
  async usage(): Promise<Usage> {
    const used = await this.#connection.json("GET", `${this.#path}/usage`);
    const { instructions, cpu_time, memory, storage, processes, open_files, network_bytes } = used;
    return { instructions, cpuTimeMs: cpu_time * 1000, memory, storage, processes, openFiles: open_files, networkBytes: network_bytes };
  }

  /** Its audit trail, lines of JSON. */
  async audit(): Promise<string> {
    return (await this.#connection.call("GET", `${this.#path}/audit`)).toString();
  }

  /** TCP ports at which servers listen in it. */
  async listPorts(): Promise<number[]> {
    return this.#connection.json("GET", `${this.#path}/ports`);
  }

  /** Where a port of it is reached from this machine. */
  async getUrl(port: number): Promise<string> {
    return (await this.#connection.json("POST", `${this.#path}/ports/${port}`)).url;
  }

  /** The same without the scheme. */
  async getHost(port: number): Promise<string> {
    return new URL(await this.getUrl(port)).host;
  }
}

function about({ id, state, reason, started_at, time_left, metadata, policy }: Json): SandboxInfo {
  const known: SandboxInfo = { sandboxId: id, state, startedAt: new Date(started_at * 1000), timeLeftMs: time_left * 1000, metadata, policy };
  return reason == null ? known : { ...known, reason };
}
