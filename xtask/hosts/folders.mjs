// Directories of this machine as trees that go through JSON: NAME → a file's content in base64, or a tree.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export function read(folder) {
  return Object.fromEntries(
    readdirSync(folder, { withFileTypes: true }).map((entry) => {
      const path = join(folder, entry.name);
      return [entry.name, entry.isDirectory() ? read(path) : readFileSync(path, "base64")];
    }),
  );
}

/// Makes `folder` what the box has left.
export function write(contents, folder) {
  for (const name of readdirSync(folder)) if (!(name in contents)) rmSync(join(folder, name), { recursive: true });
  for (const [name, entry] of Object.entries(contents)) {
    const path = join(folder, name);
    if (typeof entry === "string") writeFileSync(path, entry, "base64");
    else {
      mkdirSync(path, { recursive: true });
      write(entry, path);
    }
  }
}
