/** What comes back. */

/** An error of code in a sandbox. */
export interface ExecutionError {
  name: string;
  value: string;
  traceback: string;
}

/** A value, or something that was shown. */
export class Result {
  /** By MIME type; pictures are in base64. */
  readonly data: Record<string, unknown>;
  /** Whether it is the value of the last expression. */
  readonly isMainResult: boolean;

  /** @internal */
  constructor(data: Record<string, unknown>, isMainResult: boolean) {
    this.data = data;
    this.isMainResult = isMainResult;
  }

  get text(): string | undefined {
    return this.#text("text/plain");
  }
  get html(): string | undefined {
    return this.#text("text/html");
  }
  get markdown(): string | undefined {
    return this.#text("text/markdown");
  }
  get svg(): string | undefined {
    return this.#text("image/svg+xml");
  }
  get png(): string | undefined {
    return this.#text("image/png");
  }
  get jpeg(): string | undefined {
    return this.#text("image/jpeg");
  }
  get latex(): string | undefined {
    return this.#text("text/latex");
  }
  get json(): unknown {
    return this.data["application/json"];
  }

  /** The MIME types that there are. */
  formats(): string[] {
    return Object.keys(this.data);
  }

  #text(type: string): string | undefined {
    const value = this.data[type];
    return typeof value === "string" ? value : undefined;
  }
}

/** What came of running code. */
export class Execution {
  readonly results: Result[] = [];
  /** What it printed, in pieces. */
  readonly logs: { stdout: string[]; stderr: string[] } = { stdout: [], stderr: [] };
  error?: ExecutionError;
  /** Which run of its context this was, from 1. */
  executionCount?: number;
  /** The limit at which the code was stopped. */
  limit?: "time" | "output" | "instructions";
  /** Instructions that were executed for it, if they had a limit. */
  instructions?: number;

  /** The text of the last expression's value. */
  get text(): string | undefined {
    return this.results.find((result) => result.isMainResult)?.text;
  }
}

/** How a command has ended. */
export interface CommandResult {
  stdout: string;
  stderr: string;
  exitCode: number;
  /** Instructions that it has executed, if they had a limit. */
  instructions?: number;
}

/** A command that was started. */
export interface ProcessInfo {
  pid: number;
  cmd: string;
  running: boolean;
}

/** An interpreter with variables of its own. */
export interface Context {
  id: string;
  language: string;
}

export type FileType = "file" | "dir" | "symlink" | "other";

/** A file or directory. */
export interface EntryInfo {
  name: string;
  path: string;
  type: FileType;
  /** Bytes. */
  size: number;
  mode: number;
  uid: number;
  gid: number;
  modifiedTime: Date;
  symlinkTarget?: string;
}

/** What happened to a file. */
export interface FilesystemEvent {
  name: string;
  type: "create" | "write" | "remove" | "rename" | "chmod" | "overflow";
}

/** A file that is different from the start. */
export interface Difference {
  path: string;
  change: "added" | "changed" | "removed";
  type: FileType;
  /** Bytes. */
  size: number;
}

/** What a sandbox uses, and has used since it was made. */
export interface Usage {
  /** Instructions that its programs have executed. */
  instructions: number;
  /** Processor time. */
  cpuTimeMs: number;
  /** Bytes of memory of its programs, now. */
  memory: number;
  /** Bytes of files that were written. */
  storage: number;
  /** Processes and threads. */
  processes: number;
  openFiles: number;
  /** Bytes exchanged with the network. */
  networkBytes: number;
}

/** An archive of the files of a sandbox. */
export interface Exported {
  path: string;
  /** Digest of its bytes, `sha256:…`. */
  digest: string;
  /** Digest of the uncompressed archive, as the configuration of an image has it. */
  diffId: string;
  /** Bytes. */
  size: number;
  mediaType: string;
  /** With 0 nothing has changed. */
  entries: number;
}

/** What is known of a sandbox. */
export interface SandboxInfo {
  sandboxId: string;
  state: "running" | "paused" | "ended";
  /** Why it has ended. */
  reason?: string;
  startedAt: Date;
  /** Milliseconds. */
  timeLeftMs: number;
  metadata: Record<string, string>;
  policy: Record<string, unknown>;
}
