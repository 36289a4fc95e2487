/** Files of a running box. What is done is done as root; paths are the box's. */

import { BoxError } from "./errors.js";
import { type DirectoryHandle, type FileTree, isHandle, load, Mount, type MountOptions } from "./mount.js";
import { type ExecClient, type Reader, type Writer } from "./exec.js";

const OPEN = 1;
const READ = 2;
const WRITE = 3;
const CLOSE = 4;
const LIST = 5;
const STAT = 6;
const MKDIR = 7;
const REMOVE = 8;
const RENAME = 9;
const SYMLINK = 10;
const READLINK = 12;
const CHMOD = 14;
const CHOWN = 15;
const SETTIMES = 16;
const WATCH = 17;
const UNWATCH = 18;

const O = { read: 1, write: 2, create: 4, exclusive: 8, truncate: 16, append: 32, directory: 64 } as const;

/** Most bytes that a READ gives, and of one WRITE. */
const PIECE = 32_768;
/** Requests that are under way at once. */
const AHEAD = 8;

const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;

const IN_ISDIR = 0x4000_0000;
const IN_Q_OVERFLOW = 0x4000;
const IN_RENAME = 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800;

/** What stat(2) tells. Times in ms since the epoch. */
export interface Stats {
  mode: number;
  uid: number;
  gid: number;
  size: number;
  nlink: number;
  ino: bigint;
  atimeMs: number;
  mtimeMs: number;
  ctimeMs: number;
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
}

/** An entry of a directory. */
export interface Dirent {
  name: string;
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
}

/** As Node's: `"rename"` when a name appears or goes, `"change"` when a file's content or attributes do. */
export type WatchListener = (event: "rename" | "change", path: string) => void;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export class BoxFiles {
  #client: () => Promise<ExecClient>;

  /** @internal */
  constructor(client: () => Promise<ExecClient>) {
    this.#client = client;
  }

  /** The whole file, as bytes or with an encoding as text. */
  async readFile(path: string): Promise<Uint8Array>;
  async readFile(path: string, encoding: "utf8" | "utf-8"): Promise<string>;
  async readFile(path: string, encoding?: "utf8" | "utf-8"): Promise<Uint8Array | string> {
    const pieces: Uint8Array[] = [];
    await this.#with(path, O.read, 0, async (client, file) => {
      const read = (index: number) => client.call(READ, (writer) => writer.u32(file).u64(BigInt(index * PIECE)).u32(PIECE), path);
      // Several at once: a box answers in order.
      const under = Array.from({ length: AHEAD }, (_, index) => read(index));
      under.forEach((piece) => piece.catch(() => {}));
      for (let next = AHEAD; ; next++) {
        const bytes = (await under.shift()!).result.rest();
        pieces.push(bytes);
        if (bytes.byteLength < PIECE) {
          await Promise.allSettled(under);
          return;
        }
        const piece = read(next);
        piece.catch(() => {});
        under.push(piece);
      }
    });
    const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.byteLength, 0));
    let at = 0;
    for (const piece of pieces) {
      all.set(piece, at);
      at += piece.byteLength;
    }
    return encoding ? decoder.decode(all) : all;
  }

  /** Makes a file, or replaces what is in it. */
  async writeFile(path: string, data: Uint8Array | string, options: { mode?: number; append?: boolean } = {}): Promise<void> {
    const bytes = typeof data === "string" ? encoder.encode(data) : data;
    const flags = O.write | O.create | (options.append ? O.append : O.truncate);
    await this.#with(path, flags, options.mode ?? 0o644, async (client, file) => {
      for (let at = 0; at < bytes.byteLength; ) {
        const part = bytes.subarray(at, at + PIECE);
        const { result } = await client.call(WRITE, (writer) => writer.u32(file).u64(BigInt(at)).counted(part), path);
        at += result.u32();
      }
    });
  }

  /** The names in a directory, sorted; with `withFileTypes` entries. */
  async readdir(path: string): Promise<string[]>;
  async readdir(path: string, options: { withFileTypes: true }): Promise<Dirent[]>;
  async readdir(path: string, options: { withFileTypes?: boolean } = {}): Promise<string[] | Dirent[]> {
    const found: Dirent[] = [];
    await this.#with(path, O.read | O.directory, 0, async (client, file) => {
      for (;;) {
        const { result } = await client.call(LIST, (writer) => writer.u32(file), path);
        if (result.isEmpty) return;
        while (!result.isEmpty) {
          const { mode } = stats(result);
          found.push({ name: decoder.decode(result.counted()), ...kinds(mode) });
        }
      }
    });
    found.sort((a, b) => (a.name < b.name ? -1 : 1));
    return options.withFileTypes ? found : found.map(({ name }) => name);
  }

  async stat(path: string): Promise<Stats> {
    return stats((await this.#call(STAT, (writer) => writer.u8(1).text(path), path)).result);
  }

  /** Of a symbolic link itself. */
  async lstat(path: string): Promise<Stats> {
    return stats((await this.#call(STAT, (writer) => writer.u8(0).text(path), path)).result);
  }

  async exists(path: string): Promise<boolean> {
    try {
      await this.stat(path);
      return true;
    } catch (error) {
      if (error instanceof BoxError && ["ENOENT", "ENOTDIR"].includes(error.code)) return false;
      throw error;
    }
  }

  async mkdir(path: string, options: { recursive?: boolean; mode?: number } = {}): Promise<void> {
    await this.#call(MKDIR, (writer) => writer.u8(Number(options.recursive ?? false)).u32(options.mode ?? 0o755).text(path), path);
  }

  /** Removes a file, an empty directory, or with `recursive` a directory and all that is in it. */
  async rm(path: string, options: { recursive?: boolean; force?: boolean } = {}): Promise<void> {
    try {
      await this.#call(REMOVE, (writer) => writer.u8(Number(options.recursive ?? false)).text(path), path);
    } catch (error) {
      if (!(options.force && error instanceof BoxError && error.code === "ENOENT")) throw error;
    }
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#call(RENAME, (writer) => writer.text(from).text(to), `${from} to ${to}`);
  }

  async symlink(target: string, path: string): Promise<void> {
    await this.#call(SYMLINK, (writer) => writer.text(target).text(path), path);
  }

  async readlink(path: string): Promise<string> {
    return decoder.decode((await this.#call(READLINK, (writer) => writer.text(path), path)).result.rest());
  }

  async chmod(path: string, mode: number): Promise<void> {
    await this.#call(CHMOD, (writer) => writer.u32(mode).text(path), path);
  }

  /** @internal Of a link itself. */
  async _chown(path: string, uid: number, gid: number): Promise<void> {
    await this.#call(CHOWN, (writer) => writer.u8(0).u32(uid).u32(gid).text(path), path);
  }

  /** @internal The time of the last change, in ms, of a link itself. */
  async _setTimes(path: string, mtimeMs: number): Promise<void> {
    const AS_IT_IS = 2n ** 64n - 1n;
    await this.#call(SETTIMES, (writer) => writer.u8(0).u64(AS_IT_IS).u64(BigInt(mtimeMs) * 1_000_000n).text(path), path);
  }

  /** Calls `listener` for what changes; the path is that of what changed. Returns how to stop that. */
  async watch(path: string, listener: WatchListener, options: { recursive?: boolean } = {}): Promise<() => void> {
    const client = await this.#client();
    const { number } = await client.call(WATCH, (writer) => writer.u8(Number(options.recursive ?? false)).text(path), path, true);
    client.watch(number, (mask, below) => {
      const name = decoder.decode(below);
      const changed = name ? `${path.replace(/\/+$/, "")}/${name}` : path;
      if (mask & IN_Q_OVERFLOW) listener("rename", path);
      else listener(mask & ~IN_ISDIR & IN_RENAME ? "rename" : "change", changed);
    });
    return () => {
      client.forget(number);
      client.call(UNWATCH, (writer) => writer.u32(number), path).catch(() => {});
    };
  }

  /**
   * Puts files of the page into the box, at `path`: a tree in memory, or a directory of the File System Access interface or of OPFS with all that is in it. What the box changes
   * below `path` is written to the directory a moment later (names of links, owners and modes are not kept there); what others change there meanwhile does not show in the box.
   */
  async mount(path: string, source: FileTree): Promise<void>;
  async mount(path: string, source: DirectoryHandle, options?: MountOptions): Promise<Mount>;
  async mount(path: string, source: FileTree | DirectoryHandle, options: MountOptions = {}): Promise<Mount | void> {
    const place = path.replace(/\/+$/, "");
    if (!place.startsWith("/")) throw new BoxError("invalid-argument", `${JSON.stringify(path)} is no absolute path of a directory`);
    await load(this, place, source);
    if (!isHandle(source)) return;
    const mount = new Mount(this, place, source, options.onError ?? ((error) => console.error(error)));
    if (!options.readOnly) await mount._watch();
    return mount;
  }

  async #call(operation: number, fields: (writer: Writer) => void, what: string) {
    return (await this.#client()).call(operation, fields, what);
  }

  async #with(path: string, flags: number, mode: number, work: (client: ExecClient, file: number) => Promise<void>) {
    const client = await this.#client();
    const { number } = await client.call(OPEN, (writer) => writer.u32(flags).u32(mode).text(path), path, true);
    try {
      await work(client, number);
    } finally {
      client.forget(number);
      client.call(CLOSE, (writer) => writer.u32(number), path).catch(() => {});
    }
  }
}

/** 84 bytes of attributes. */
function stats(reader: Reader): Stats {
  reader.u64();
  const ino = reader.u64();
  const [nlink, size] = [Number(reader.u64()), Number(reader.u64())];
  reader.u64();
  const [atimeMs, mtimeMs, ctimeMs] = [ms(reader), ms(reader), ms(reader)];
  const [mode, uid, gid] = [reader.u32(), reader.u32(), reader.u32()];
  reader.u64();
  return { mode, uid, gid, size, nlink, ino, atimeMs, mtimeMs, ctimeMs, ...kinds(mode) };
}

function ms(reader: Reader): number {
  return Number(reader.u64()) / 1e6;
}

function kinds(mode: number) {
  const is = (kind: number) => () => (mode & S_IFMT) === kind;
  return { isFile: is(S_IFREG), isDirectory: is(S_IFDIR), isSymbolicLink: is(S_IFLNK) };
}
