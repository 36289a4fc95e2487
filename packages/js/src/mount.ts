/** Trees and directories of the page that a box sees in its files. */

import { BoxError } from "./errors.js";
import type { BoxFiles, Stats } from "./fs.js";
import type { Attributes } from "./persist.js";

/** Files in memory, as WebContainers has them: names, and what they are. */
export interface FileTree {
  [name: string]: { file: { contents: string | Uint8Array } | { symlink: string } } | { directory: FileTree };
}

/** A directory of the page: of the File System Access interface, or of the origin's private file system (`navigator.storage.getDirectory()`). */
export type DirectoryHandle = FileSystemDirectoryHandle;

export interface MountOptions {
  /** What the box changes is not written to the directory. */
  readOnly?: boolean;
  /** Called when something cannot be written to the directory: its quota is used up, the permission gone. It is tried again with the next change. */
  onError?: (error: BoxError) => void;
}

/** Directories of the page know neither owners nor modes: everybody may do everything, as with those of other hosts. */
const ALL = 0o777;
/** How long changes are gathered, in ms. */
const GATHER = 200;

/** A directory that a box has. */
export class Mount {
  #files: BoxFiles;
  #path: string;
  #handle: DirectoryHandle;
  #stop: (() => void) | undefined;
  #changed = new Set<string>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #writing: Promise<void> = Promise.resolve();
  #onError: (error: BoxError) => void;
  /** Where what the directory cannot say of files is kept, if anywhere. */
  #attributes: Attributes | undefined;

  /** @internal */
  constructor(files: BoxFiles, path: string, handle: DirectoryHandle, onError: (error: BoxError) => void, attributes?: Attributes) {
    this.#attributes = attributes;
    this.#files = files;
    this.#path = path;
    this.#handle = handle;
    this.#onError = onError;
  }

  /** @internal */
  async _watch() {
    const heard = (_event: string, path: string) => {
      this.#changed.add(path);
      this.#timer ??= setTimeout(() => void this.flush().catch(this.#onError), GATHER);
    };
    this.#stop = await this.#files.watch(this.#path, heard, { recursive: true });
  }

  /** @internal Brings everything into the directory. */
  async _all() {
    this.#changed.add(this.#path);
    await this.flush();
  }

  /** Resolves when what the box has changed until now is in the directory; each file changes there whole or not at all. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const done = this.#writing.then(() => this.#write());
    this.#writing = done.catch(() => {});
    return done;
  }

  /** Writes what is left and looks no more. The files stay in the box. */
  async unmount(): Promise<void> {
    await this.flush();
    this.#stop?.();
    this.#stop = undefined;
  }

  async #write() {
    // The box tells a change when its listeners have their turn; whoever asks for all of them gets those that are on their way.
    await this.#files.exists(this.#path);
    const changed = [...this.#changed].sort();
    this.#changed.clear();
    let done = "";
    try {
      for (const path of changed) {
        // What lies below a directory has come with it.
        if (done && path.startsWith(`${done}/`)) continue;
        if (await this.#bring(path)) done = path;
      }
      await this.#attributes?.save();
    } catch (cause) {
      changed.forEach((path) => this.#changed.add(path));
      throw cause instanceof BoxError ? cause : new BoxError("cannot-persist", `${this.#path} cannot be written to its directory: ${(cause as Error).message}`, { cause });
    }
  }

  /** Makes a name in the directory what it is in the box; whether it is a directory. */
  async #bring(path: string): Promise<boolean> {
    const names = path.slice(this.#path.length).split("/").filter(Boolean);
    const name = names.pop();
    if (name === undefined) {
      this.#note(path, await this.#files.lstat(path));
      await this.#bringAll(this.#path, this.#handle);
      return true;
    }
    let folder = this.#handle;
    for (const step of names) folder = await folder.getDirectoryHandle(step, { create: true });
    const found = await this.#files.lstat(path).catch((error) => {
      if (error instanceof BoxError && ["ENOENT", "ENOTDIR"].includes(error.code)) return undefined;
      throw error;
    });
    const link = found?.isSymbolicLink() && this.#attributes ? await this.#files.readlink(path) : undefined;
    if (found && (found.isFile() || found.isDirectory() || link !== undefined)) this.#note(path, found, link);
    else this.#attributes?.forget(path.slice(this.#path.length));
    if (found?.isDirectory()) {
      const inner = await ensure(folder, name, "directory");
      await this.#bringAll(path, inner as DirectoryHandle);
      return true;
    }
    if (found?.isFile()) {
      const file = (await ensure(folder, name, "file")) as FileSystemFileHandle;
      // A swap file takes its place when it is closed.
      const writable = await file.createWritable();
      try {
        await writable.write((await this.#files.readFile(path)) as Uint8Array<ArrayBuffer>);
        await writable.close();
      } catch (error) {
        await writable.abort().catch(() => {});
        throw error;
      }
    } else if (!found || link !== undefined) await folder.removeEntry(name, { recursive: true }).catch(isGone);
    return false;
  }

  #note(path: string, stats: Stats, link?: string) {
    this.#attributes?.note(path.slice(this.#path.length), stats, link);
  }

  /** Makes a whole directory the same. */
  async #bringAll(path: string, folder: DirectoryHandle) {
    const entries = await this.#files.readdir(path, { withFileTypes: true });
    const kept = new Set(entries.filter((entry) => entry.isFile() || entry.isDirectory() || (this.#attributes && entry.isSymbolicLink())).map(({ name }) => name));
    this.#attributes?.keepOnly(path.slice(this.#path.length), kept);
    for await (const name of folder.keys()) if (!kept.has(name)) await folder.removeEntry(name, { recursive: true }).catch(isGone);
    for (const name of kept) await this.#bring(`${path}/${name}`);
  }
}

/** What a box gets: a tree, or a directory with all that is in it. */
export async function load(files: BoxFiles, path: string, source: FileTree | DirectoryHandle, attributes?: Attributes, root = path) {
  await files.mkdir(path, { recursive: true });
  if (isHandle(source)) {
    if (!attributes) await files.chmod(path, ALL);
    for await (const [name, entry] of source.entries()) {
      const place = `${path}/${name}`;
      const mode = attributes ? attributes.modeOf(place.slice(root.length)) : ALL;
      if (entry.kind === "directory") await load(files, place, entry as DirectoryHandle, attributes, root);
      else await files.writeFile(place, new Uint8Array(await (await (entry as FileSystemFileHandle).getFile()).arrayBuffer()), { mode });
    }
    return;
  }
  for (const [name, entry] of Object.entries(source)) {
    if (!name || name.includes("/") || name === "." || name === "..") throw new BoxError("invalid-argument", `${JSON.stringify(name)} is no name of a file`);
    const place = `${path}/${name}`;
    if ("directory" in entry) await load(files, place, entry.directory);
    else if ("symlink" in entry.file) await files.symlink(entry.file.symlink, place);
    else await files.writeFile(place, entry.file.contents);
  }
}

export function isHandle(source: FileTree | DirectoryHandle): source is DirectoryHandle {
  return typeof (source as DirectoryHandle).getDirectoryHandle === "function";
}

/** A name of that kind; one of the other kind makes room. */
async function ensure(folder: DirectoryHandle, name: string, kind: "file" | "directory") {
  const get = () => (kind === "file" ? folder.getFileHandle(name, { create: true }) : folder.getDirectoryHandle(name, { create: true }));
  try {
    return await get();
  } catch (error) {
    if ((error as DOMException).name !== "TypeMismatchError") throw error;
    await folder.removeEntry(name, { recursive: true });
    return get();
  }
}

function isGone(error: DOMException) {
  if (error.name !== "NotFoundError") throw error;
}
