/** Directories of a box that are kept in the origin's private file system (OPFS), as docker keeps volumes. */

import { BoxError } from "./errors.js";
import type { BoxFiles, Stats } from "./fs.js";
import { type DirectoryHandle, load, Mount } from "./mount.js";

/** Which directories of a box outlive it. */
export interface PersistOptions {
  /** Their paths in the box; by default the image's volumes (VOLUME). */
  paths?: string[];
  /** Under which name they are kept in this origin; by default the box's URL. Two boxes of one name cannot be open at once. */
  name?: string;
}

/** The folder of the origin with all that is kept. */
const FOLDER = "boxer-files-1";
/** What OPFS does not know of files, beside the directory that has their contents. */
const ATTRIBUTES = "attributes.json";
const CONTENTS = "contents";
/** Directories that are no place for files. */
const NEVER = /^\/*$|^\/(proc|sys|dev)(\/|$)/;

export class Shelf {
  #folder: DirectoryHandle;
  #paths: string[];
  #release: () => void;
  #mounts: Mount[] = [];

  /** Takes what is kept under a name, for itself alone. */
  static async open(paths: string[], name: string): Promise<Shelf> {
    const bad = paths.find((path) => !path.startsWith("/") || NEVER.test(path) || path.split("/").includes(".."));
    if (bad !== undefined) throw new BoxError("invalid-argument", `${JSON.stringify(bad)} cannot be kept: it must be an absolute path of a directory, and not / or one of the system's`);
    if (!globalThis.navigator?.storage?.getDirectory || !navigator.locks) {
      throw new BoxError("unsupported", "there is no private file system of the origin here (a page must come by https or from localhost), so nothing can be kept");
    }
    const release = await lock(`boxer:${name}`);
    if (!release) throw new BoxError("busy", `the files of ${name} are in use by another box, perhaps in another tab`);
    try {
      const all = await (await navigator.storage.getDirectory()).getDirectoryHandle(FOLDER, { create: true });
      return new Shelf(await all.getDirectoryHandle(encodeURIComponent(name), { create: true }), paths, release);
    } catch (cause) {
      release();
      throw new BoxError("cannot-persist", `the origin's private file system cannot be used: ${(cause as Error).message}`, { cause });
    }
  }

  constructor(folder: DirectoryHandle, paths: string[], release: () => void) {
    this.#folder = folder;
    // One that lies in another comes with it.
    const places = paths.map((path) => path.replace(/\/+/g, "/").replace(/\/$/, ""));
    this.#paths = [...new Set(places)].filter((path) => !places.some((other) => path.startsWith(`${other}/`)));
    this.#release = release;
  }

  /** Puts what is kept into the box, and keeps from now on what changes. */
  async load(files: BoxFiles, onError: (error: BoxError) => void) {
    try {
      for (const path of this.#paths) {
        const place = await this.#folder.getDirectoryHandle(encodeURIComponent(path), { create: true });
        const known = await Attributes.read(place);
        // Without the list the first time was not finished, and is made again.
        if (!known) await place.removeEntry(CONTENTS, { recursive: true }).catch(() => {});
        const contents = await place.getDirectoryHandle(CONTENTS, { create: true });
        const attributes = known ?? new Attributes(place);
        if (known) await bringBack(files, path, contents, attributes);
        else await files.mkdir(path, { recursive: true });
        const mount = new Mount(files, path, contents, onError, attributes);
        await mount._watch();
        if (!known) await mount._all();
        this.#mounts.push(mount);
      }
    } catch (cause) {
      if (cause instanceof BoxError) throw cause;
      throw new BoxError("cannot-persist", `what is kept cannot be brought into the box: ${(cause as Error).message}`, { cause });
    }
  }

  async flush() {
    await Promise.all(this.#mounts.map((mount) => mount.flush()));
  }

  /** Others may have it. */
  release() {
    this.#release();
  }
}

async function bringBack(files: BoxFiles, path: string, contents: DirectoryHandle, attributes: Attributes) {
  const image = await files.readdir(path).catch(() => [] as string[]);
  // What the image has there was copied the first time; what is gone since is gone.
  for (const name of image) await files.rm(`${path}/${name}`, { recursive: true });
  await load(files, path, contents, attributes);
  await attributes.apply(files, path);
}

/** Modes, owners, times and links of the files below a directory. */
export class Attributes {
  #place: DirectoryHandle;
  #known: Map<string, Attribute>;
  #changed = false;

  static async read(place: DirectoryHandle): Promise<Attributes | undefined> {
    try {
      const file = await (await place.getFileHandle(ATTRIBUTES)).getFile();
      return new Attributes(place, new Map(Object.entries(JSON.parse(await file.text()) as Record<string, Attribute>)));
    } catch (error) {
      if ((error as DOMException).name === "NotFoundError") return undefined;
      throw error;
    }
  }

  constructor(place: DirectoryHandle, known = new Map<string, Attribute>()) {
    this.#place = place;
    this.#known = known;
  }

  /** The mode of a file, which is there from its beginning. */
  modeOf(path: string): number {
    return this.#known.get(path)?.mode ?? 0o644;
  }

  note(path: string, { mode, uid, gid, mtimeMs, isDirectory }: Stats, link?: string) {
    // It may have been a directory.
    if (!isDirectory()) this.keepOnly(path, new Set());
    const attribute: Attribute = { mode: mode & 0o7777, uid, gid, mtime: Math.round(mtimeMs) };
    if (link !== undefined) attribute.link = link;
    const before = JSON.stringify(this.#known.get(path));
    if (before === JSON.stringify(attribute)) return;
    this.#known.set(path, attribute);
    this.#changed = true;
  }

  /** A name is gone, and all below it. */
  forget(path: string) {
    for (const other of this.#known.keys()) {
      if (other !== path && !other.startsWith(`${path}/`)) continue;
      this.#known.delete(other);
      this.#changed = true;
    }
  }

  /** What lies below a directory is this, and nothing else. */
  keepOnly(path: string, names: Set<string>) {
    const below = `${path}/`;
    for (const other of [...this.#known.keys()]) {
      if (other.startsWith(below) && !names.has(other.slice(below.length).split("/")[0]!)) this.forget(other);
    }
  }

  /** Writes the list, whole or not at all. */
  async save() {
    if (!this.#changed) return;
    this.#changed = false;
    try {
      const writable = await (await this.#place.getFileHandle(ATTRIBUTES, { create: true })).createWritable();
      try {
        await writable.write(JSON.stringify(Object.fromEntries(this.#known)));
        await writable.close();
      } catch (error) {
        await writable.abort().catch(() => {});
        throw error;
      }
    } catch (error) {
      this.#changed = true;
      throw error;
    }
  }

  /** Gives files in the box what they had; those below before those above, whose times they change. */
  async apply(files: BoxFiles, root: string) {
    for (const [path, { mode, uid, gid, mtime, link }] of [...this.#known].reverse()) {
      const place = root + path;
      try {
        if (link !== undefined) await files.symlink(link, place);
        await files._chown(place, uid, gid);
        if (link === undefined) await files.chmod(place, mode);
        await files._setTimes(place, mtime);
      } catch (error) {
        // A page that was closed between contents and list: there is no such file.
        if (!(error instanceof BoxError && ["ENOENT", "EEXIST", "ENOTDIR"].includes(error.code))) throw error;
      }
    }
  }
}

/** Times in ms since the epoch. */
interface Attribute {
  mode: number;
  uid: number;
  gid: number;
  mtime: number;
  link?: string;
}

/** Has a lock until what it gives is called; undefined if somebody else has it. */
function lock(name: string): Promise<(() => void) | undefined> {
  return new Promise((resolve, reject) => {
    const held = navigator.locks.request(name, { ifAvailable: true }, (got) => {
      if (!got) return resolve(undefined);
      return new Promise<void>((release) => resolve(release));
    });
    held.catch(reject);
  });
}
