// Directories of this machine as those in memory that @bjorn3/browser_wasi_shim has, and back.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

function entries(shim, folder) {
  return readdirSync(folder, { withFileTypes: true }).map((entry) => {
    const path = join(folder, entry.name);
    return [entry.name, entry.isDirectory() ? new shim.Directory(new Map(entries(shim, path))) : new shim.File(readFileSync(path))];
  });
}

/// The directory `host` with the name `guest`.
export function load(shim, host, guest) {
  return new shim.PreopenDirectory(guest, new Map(entries(shim, host)));
}

function write(contents, folder) {
  for (const name of readdirSync(folder)) if (!contents.has(name)) rmSync(join(folder, name), { recursive: true });
  for (const [name, entry] of contents) {
    const path = join(folder, name);
    if (entry.contents) {
      mkdirSync(path, { recursive: true });
      write(entry.contents, path);
    } else writeFileSync(path, entry.data);
  }
}

/// Makes `host` what the box has left.
export function store(preopen, host) {
  write(preopen.dir.contents, host);
}
