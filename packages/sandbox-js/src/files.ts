/** Files of a sandbox. */

import { type Reach, unlessMissing } from "./commands.js";
import type { Json, Query } from "./client.js";
import type { EntryInfo, FilesystemEvent } from "./models.js";

export interface FileOptions {
  /** Whose rights count. */
  user?: string;
}

/** Watching that goes on. */
export interface WatchHandle {
  /** Ends it. */
  stop(): Promise<void>;
}

export class Filesystem {
  readonly #reach: Reach;

  /** @internal */
  constructor(reach: Reach) {
    this.#reach = reach;
  }

  /** The content of a file: text (UTF-8), bytes or a Blob. */
  read(path: string, options?: FileOptions & { format?: "text" }): Promise<string>;
  read(path: string, options: FileOptions & { format: "bytes" }): Promise<Uint8Array>;
  read(path: string, options: FileOptions & { format: "blob" }): Promise<Blob>;
  async read(path: string, { format = "text", user }: FileOptions & { format?: "text" | "bytes" | "blob" } = {}): Promise<string | Uint8Array | Blob> {
    const bytes = await this.#reach.connection.call("GET", this.#path(), { path, user });
    if (format === "text") return bytes.toString();
    return format === "blob" ? new Blob([new Uint8Array(bytes)]) : new Uint8Array(bytes);
  }

  /** Writes a whole file; directories above it are made. Or several: each its `path` and `data`. */
  write(path: string, data: string | Uint8Array | ArrayBuffer | Blob, options?: FileOptions): Promise<EntryInfo>;
  write(files: { path: string; data: string | Uint8Array | ArrayBuffer | Blob }[], options?: FileOptions): Promise<EntryInfo[]>;
  async write(what: string | { path: string; data: Data }[], data?: Data | FileOptions, options: FileOptions = {}): Promise<EntryInfo | EntryInfo[]> {
    if (typeof what === "string") return this.#write(what, data as Data, options);
    const written: EntryInfo[] = [];
    for (const file of what) written.push(await this.#write(file.path, file.data, (data as FileOptions) ?? {}));
    return written;
  }

  async #write(path: string, data: Data, { user }: FileOptions): Promise<EntryInfo> {
    const content = data instanceof Blob ? await data.arrayBuffer() : data;
    const bytes = typeof content === "string" ? Buffer.from(content) : content instanceof ArrayBuffer ? new Uint8Array(content) : content;
    return entry(await this.#json("PUT", "", { path, user }, bytes));
  }

  /** What is in a directory, so many levels deep. */
  async list(path: string, { depth = 1, user }: FileOptions & { depth?: number } = {}): Promise<EntryInfo[]> {
    return (await this.#json("GET", "/list", { path, depth, user })).map(entry);
  }

  /** Whether there is such a file. */
  async exists(path: string, options: FileOptions = {}): Promise<boolean> {
    return unlessMissing(this.getInfo(path, options).then(() => true));
  }

  /** What a file is; of a symbolic link, what it is itself. */
  async getInfo(path: string, { user }: FileOptions = {}): Promise<EntryInfo> {
    return entry(await this.#json("GET", "/info", { path, user }));
  }

  /** Removes a file, or a directory with all that is in it. */
  async remove(path: string, { user }: FileOptions = {}): Promise<void> {
    await this.#json("DELETE", "", { path, user });
  }

  /** Gives a file another name. */
  async rename(oldPath: string, newPath: string, { user }: FileOptions = {}): Promise<EntryInfo> {
    return entry(await this.#json("POST", "/rename", { user }, { from: oldPath, to: newPath }));
  }

  /** Makes a directory and those above it; whether it was not there. */
  async makeDir(path: string, { user }: FileOptions = {}): Promise<boolean> {
    return (await this.#json("POST", "/make_dir", { path, user })).made;
  }

  /** Tells what happens in a directory from now on, until it is stopped or the sandbox ends; `onExit` hears of the end, and of its error. */
  async watchDir(
    path: string,
    onEvent: (event: FilesystemEvent) => unknown,
    { recursive, user, onExit }: FileOptions & { recursive?: boolean; onExit?: (error?: Error) => unknown } = {},
  ): Promise<WatchHandle> {
    const stop = new AbortController();
    const query: Query = { path, recursive: recursive || undefined, user };
    const lines = await this.#reach.connection.lines("GET", this.#path("/watch"), query, undefined, stop.signal);
    // It watches when the first line is here.
    await lines.next();
    const told = (async () => {
      try {
        for await (const { type, name } of lines) if (type !== "pulse") await onEvent({ name, type });
        onExit?.();
      } catch (error) {
        onExit?.(stop.signal.aborted ? undefined : (error as Error));
      }
    })();
    return {
      async stop() {
        stop.abort();
        await told;
      },
    };
  }

  #path(more = ""): string {
    return `${this.#reach.path}/files${more}`;
  }

  #json(method: string, more: string, query: Query, body?: unknown): Promise<Json> {
    return this.#reach.connection.json(method, this.#path(more), query, body);
  }
}

type Data = string | Uint8Array | ArrayBuffer | Blob;

function entry({ name, path, type, size, mode, uid, gid, modified_time, symlink_target }: Json): EntryInfo {
  const known: EntryInfo = { name, path, type, size, mode, uid, gid, modifiedTime: new Date(modified_time * 1000) };
  return symlink_target == null ? known : { ...known, symlinkTarget: symlink_target };
}
