/** A box's file, read and compiled. */

import { BoxError } from "./errors.js";
import { manifestOf, type Outside } from "./image.js";
import { bytesIn, type OpenOptions } from "./options.js";
import { type PersistOptions, Shelf } from "./persist.js";
import { platform } from "./platform.js";
import { concat, customSection, type Segment, type Source, takeApart } from "./wasm.js";

/** Where a box's bytes are: a URL (in Node also a path), the bytes, a Blob, a Response. */
export type BoxBytes = string | URL | ArrayBuffer | ArrayBufferView | Blob | Response;

export interface File {
  module: WebAssembly.Module;
  source: Source | undefined;
  segments: Segment[];
  outside: Outside | undefined;
}

/** What a host that steps boxes calls. */
const NEEDED = ["memory", "boxer-begin", "boxer-step", "boxer-ports"];
/** What the kernel in a box may need of its own beside programs and files, in bytes (`guest::boot::OWN_MEMORY`). */
const OWN_MEMORY = 256 << 20;
export async function load(what: BoxBytes | WebAssembly.Module, { signal, chunks, maxMemory }: OpenOptions): Promise<File> {
  if (what instanceof WebAssembly.Module) {
    if (WebAssembly.Module.customSections(what, "boxer.chunks").length) throw new BoxError("invalid-argument", "the box's files lie outside of it: open its bytes or its URL, not a WebAssembly.Module");
    return { module: checked(what), source: undefined, segments: [], outside: undefined };
  }
  const source = await bytesOf(what as BoxBytes, signal);
  const outside = await filesOf(source, what as BoxBytes, chunks);
  const { code, segments } = await takeApart(source, maxMemory === undefined ? undefined : bytesIn(maxMemory) + OWN_MEMORY);
  let module: WebAssembly.Module;
  try {
    module = await WebAssembly.compile(concat(code) as Uint8Array<ArrayBuffer>);
  } catch (cause) {
    const message = (cause as Error).message;
    // A policy that forbids compiling is an EvalError or says so.
    const forbidden = cause instanceof WebAssembly.CompileError && !/Content Security Policy|disallowed by embedder/.test(message);
    throw forbidden
      ? new BoxError("not-a-box", `the file does not compile: it is damaged, or this engine lacks what it needs (\`boxer inspect\` lists that): ${message}`, { cause })
      : new BoxError("unsupported", `WebAssembly cannot be compiled here: ${message}`, { cause });
  }
  return { module: checked(module), source, segments, outside };
}

/** Where a box's files are, if not in it. */
async function filesOf(source: Source, what: BoxBytes, chunks: string | URL | undefined): Promise<Outside | undefined> {
  const section = await customSection(source, "boxer.chunks");
  if (section === undefined) return undefined;
  const manifest = manifestOf(section);
  if (chunks !== undefined) return { manifest, place: platform().absolute(`${chunks}`.replace(/\/*$/, "/")) };
  const own = what instanceof Response ? what.url : typeof what === "string" || what instanceof URL ? String(what) : "";
  if (!own) throw new BoxError("invalid-argument", "the box's files lie outside of it: say where with `chunks`");
  return { manifest, place: platform().beside(own, "chunks/") };
}

/** The directories that are to persist, if any. */
export async function shelfOf(file: File, what: BoxBytes | WebAssembly.Module, persist: OpenOptions["persist"]): Promise<Shelf | undefined> {
  if (!persist) return undefined;
  const options: PersistOptions = persist === true ? {} : Array.isArray(persist) ? { paths: persist } : persist;
  if (file.source && (await customSection(file.source, "boxer.life"))) {
    throw new BoxError("invalid-argument", "a box that goes on from a state has its files in it: `persist` is for boxes that begin with their programs");
  }
  const config = options.paths ? undefined : await imageConfig(file);
  const paths = options.paths ?? Object.keys(config?.config?.Volumes ?? {});
  if (!paths.length) return undefined;
  const place = what instanceof Response ? what.url : typeof what === "string" || what instanceof URL ? platform().absolute(String(what)) : undefined;
  const name = options.name ?? place?.replace(/[?#].*/, "");
  if (!name) throw new BoxError("invalid-argument", "the box has no URL: say under which name its files are to be kept");
  return Shelf.open(paths, name);
}

interface ImageConfig {
  config?: { Entrypoint?: string[] | null; Cmd?: string[] | null; Volumes?: Record<string, unknown> | null };
}

export async function imageConfig({ source }: File): Promise<ImageConfig> {
  if (!source) throw new BoxError("invalid-argument", "what the image says is not in a WebAssembly.Module: open the box's bytes, or say `paths` and a command");
  return ((await customSection(source, "boxer.config")) ?? {}) as ImageConfig;
}

/** ENTRYPOINT and CMD, which arguments replace. */
export function commandOf({ config }: ImageConfig, args: string[]): [string, ...string[]] {
  const [program, ...rest] = [...(config?.Entrypoint ?? []), ...(args.length ? args : (config?.Cmd ?? []))];
  if (program === undefined) throw new BoxError("no-such-program", "the image has no command");
  return [program, ...rest];
}

async function bytesOf(what: BoxBytes, signal: AbortSignal | undefined): Promise<Source> {
  if (typeof what === "string" || what instanceof URL) return platform().load(what, signal);
  if (what instanceof Response) {
    if (!what.ok) throw new BoxError("unreachable", `${what.url}: status ${what.status}`);
    return what.blob();
  }
  if (what instanceof Blob) return what;
  if (ArrayBuffer.isView(what)) return platform().keep(new Uint8Array(what.buffer, what.byteOffset, what.byteLength));
  if (what instanceof ArrayBuffer || (typeof SharedArrayBuffer !== "undefined" && (what as unknown) instanceof SharedArrayBuffer)) {
    return platform().keep(new Uint8Array(what));
  }
  throw new BoxError("invalid-argument", "a box is opened from a URL, bytes, a Blob, a Response or a WebAssembly.Module");
}

/** A module of ours that can be stepped. */
function checked(module: WebAssembly.Module): WebAssembly.Module {
  const exports = WebAssembly.Module.exports(module).map(({ name }) => name);
  const foreign = WebAssembly.Module.imports(module).find(({ module, kind }) => module !== "wasi_snapshot_preview1" || kind !== "function");
  if (foreign || !exports.includes("memory") || !exports.includes("boxer-desk")) throw new BoxError("not-a-box", "the module is no box of boxer's");
  if (!NEEDED.every((name) => exports.includes(name))) {
    throw new BoxError("too-old", "the box was built by a boxer whose boxes run on plain WASI hosts only; build it again");
  }
  return module;
}

