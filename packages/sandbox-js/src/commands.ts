/** Commands in a sandbox. */

import type { Connection, Json, Query } from "./client.js";
import { CommandExitError, NotFoundError, SandboxError, TimeoutError } from "./errors.js";
import type { CommandResult, ProcessInfo } from "./models.js";

/** @internal A sandbox, as its parts use it. */
export interface Reach {
  readonly connection: Connection;
  readonly path: string;
}

/** Hears output as it comes; what it returns is awaited. */
export type Heard<T = string> = (what: T) => unknown;

export interface OutputOptions {
  onStdout?: Heard;
  onStderr?: Heard;
  /** Breaks it off: what runs is stopped. */
  signal?: AbortSignal;
}

export interface CommandStartOptions extends OutputOptions {
  envs?: Record<string, string>;
  user?: string;
  cwd?: string;
  /** Input will be sent. */
  stdin?: boolean;
  /** 60,000; 0 for no end. */
  timeoutMs?: number;
  /** Instructions that it and what it starts may execute, counted one by one; after the last all are killed. */
  instructions?: number;
}

/** A command in the background. */
export class CommandHandle {
  readonly pid: number;
  readonly #reach: Reach;

  /** @internal */
  constructor(reach: Reach, pid: number) {
    this.#reach = reach;
    this.pid = pid;
  }

  /** Waits until it has ended, and tells its output from its beginning. */
  async wait(options: OutputOptions & { timeoutMs?: number } = {}): Promise<CommandResult> {
    const query: Query = { timeout: options.timeoutMs === undefined ? undefined : options.timeoutMs / 1000 };
    return collect(await this.#reach.connection.lines("GET", this.#path(), query, undefined, options.signal), options);
  }

  /** Kills it; whether it ran. */
  async kill(): Promise<boolean> {
    return (await this.#reach.connection.json("DELETE", this.#path())).killed;
  }

  /** Sends it input. */
  async sendStdin(data: string | Uint8Array): Promise<void> {
    await this.#reach.connection.call("POST", this.#path("/stdin"), {}, Buffer.from(data as string));
  }

  /** No more input comes. */
  async closeStdin(): Promise<void> {
    await this.#reach.connection.call("DELETE", this.#path("/stdin"));
  }

  #path(more = ""): string {
    return `${this.#reach.path}/commands/${this.pid}${more}`;
  }
}

async function collect(events: AsyncIterable<Json>, { onStdout, onStderr }: OutputOptions): Promise<CommandResult> {
  let stdout = "";
  let stderr = "";
  let end: { exit_code: number; limit: string | null; instructions: number | null } | undefined;
  for await (const event of events) {
    if (event.type === "stdout") {
      stdout += event.text;
      await onStdout?.(event.text);
    } else if (event.type === "stderr") {
      stderr += event.text;
      await onStderr?.(event.text);
    } else if (event.type === "end") {
      end = event;
    }
  }
  if (!end) throw new SandboxError("the daemon broke off");
  if (end.limit === "time") throw new TimeoutError("the command took too long, and was killed", "time");
  if (end.exit_code !== 0) throw new CommandExitError(stdout, stderr, end.exit_code, end.limit ?? undefined);
  return end.instructions == null ? { stdout, stderr, exitCode: 0 } : { stdout, stderr, exitCode: 0, instructions: end.instructions };
}

export class Commands {
  readonly #reach: Reach;

  /** @internal */
  constructor(reach: Reach) {
    this.#reach = reach;
  }

  /** Runs a command line. In the foreground another status than 0 is a {@link CommandExitError}. */
  run(cmd: string, options?: CommandStartOptions & { background?: false }): Promise<CommandResult>;
  run(cmd: string, options: CommandStartOptions & { background: true }): Promise<CommandHandle>;
  async run(cmd: string, options: CommandStartOptions & { background?: boolean } = {}): Promise<CommandResult | CommandHandle> {
    const { envs = {}, user, cwd, stdin = false, background = false, timeoutMs = 60_000, instructions, signal } = options;
    const request = { command: cmd, env: envs, user, cwd, stdin, background, instructions };
    const path = `${this.#reach.path}/commands`;
    if (background) return new CommandHandle(this.#reach, (await this.#reach.connection.json("POST", path, {}, request, signal)).pid);
    const timeout = timeoutMs ? timeoutMs / 1000 : 1e9;
    return collect(await this.#reach.connection.lines("POST", path, {}, { ...request, timeout }, signal), options);
  }

  /** Commands in the background, and those that have ended not long ago. */
  async list(): Promise<ProcessInfo[]> {
    const found: { pid: number; command: string; running: boolean }[] = await this.#reach.connection.json("GET", `${this.#reach.path}/commands`);
    return found.map(({ pid, command, running }) => ({ pid, cmd: command, running }));
  }

  /** A command that was started before. */
  connect(pid: number): CommandHandle {
    return new CommandHandle(this.#reach, pid);
  }

  /** Kills a command; whether it ran. */
  async kill(pid: number): Promise<boolean> {
    return unlessMissing(this.connect(pid).kill());
  }

  /** Sends input to a command that was started with `stdin`. */
  async sendStdin(pid: number, data: string | Uint8Array): Promise<void> {
    await this.connect(pid).sendStdin(data);
  }
}

/** @internal False for what is not there. */
export async function unlessMissing(asked: Promise<boolean>): Promise<boolean> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof NotFoundError) return false;
    throw error;
  }
}
