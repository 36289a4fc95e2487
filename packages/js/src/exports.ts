export { BoxError, type BoxErrorCode } from "./errors.js";
export type { BoxFiles, Dirent, Stats, WatchListener } from "./fs.js";
export { type DirectoryHandle, type FileTree, Mount, type MountOptions } from "./mount.js";
export type { FetchInit } from "./http.js";
export { type BoxProcess, SIGNALS, type Signal } from "./process.js";
export type { BoxBytes, FreezeOptions, Limits, MissingListener, PortListener, SpawnOptions } from "./box.js";
export type { BoxTerminal, TerminalOptions, XTerm } from "./terminal.js";
