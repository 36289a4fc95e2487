/**
 * Sandboxes for code that nobody has read: the client of `boxer sandboxd`. Names and behaviour are those of E2B's SDK, as far as a sandbox on this machine has
 * them.
 *
 * @module
 */

export type { ConnectionOptions } from "./client.js";
export { CommandHandle, Commands, type CommandStartOptions, type Heard, type OutputOptions } from "./commands.js";
export * from "./errors.js";
export { type FileOptions, Filesystem, type WatchHandle } from "./files.js";
export * from "./models.js";
export { type RunCodeOptions, Sandbox, type SandboxOptions } from "./sandbox.js";
