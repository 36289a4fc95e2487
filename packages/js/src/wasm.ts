/**
 * A box's file taken apart, as `boxer run` does it: the code, which is compiled, and what its memory holds, which is read
 * from the file into the memory. So engines neither keep the image a second time nor stumble over their limits for modules. And the
 * way back: a box's file with another memory.
 */

import { BoxError } from "./errors.js";

/** Where a file is: in memory, or wherever the browser keeps it. */
export type Source = Blob | Uint8Array;

/** Bytes of memory and where they lie in the file. */
export interface Segment {
  address: number;
  length: number;
  offset: number;
}

/** A module taken apart. */
export interface Parts {
  /** The module without what its memory holds. */
  code: Uint8Array[];
  segments: Segment[];
}

const HEADER = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
const COMPONENT = 0x0d;
const PAGE = 65536;
/** Pages of a memory whose addresses have 32 bits. */
const MOST_PAGES = 65536;
/** Bytes that are read at once when heads are looked at. */
const WINDOW = 65536;
/** More than the head of any section or segment has. */
const HEAD = 32;
/** What engines accept in a module. */
const MAX_SEGMENTS = 100_000;

const enum Section {
  Custom = 0,
  Memory = 5,
  Start = 8,
  Data = 11,
  DataCount = 12,
}

export function sizeOf(source: Source): number {
  return source instanceof Uint8Array ? source.byteLength : source.size;
}

/** Some bytes of the file; fewer at its end. */
export async function readAt(source: Source, offset: number, length: number): Promise<Uint8Array> {
  if (source instanceof Uint8Array) return source.subarray(offset, offset + length);
  return new Uint8Array(await source.slice(offset, offset + length).arrayBuffer());
}

/** Takes a file apart. `growth`: bytes by which its memory may grow, if not as far as an engine lets it. */
export async function takeApart(source: Source, growth?: number): Promise<Parts> {
  const { sections, segments, passive } = await survey(source);
  const code: Uint8Array[] = [Uint8Array.from(HEADER)];
  for (const { id, offset, length } of sections) {
    if (id === Section.Custom) continue;
    if (id === Section.DataCount) code.push(section(id, leb(passive.length)));
    else if (id === Section.Data) {
      if (passive.length) code.push(section(id, leb(passive.length), ...passive));
    } else {
      const bytes = await whole(source, offset, length);
      code.push(section(id, id === Section.Memory && growth !== undefined ? capped(bytes, growth) : bytes));
    }
  }
  return { code, segments };
}

/** A run of memory that is not zero. */
export interface Extent {
  address: number;
  bytes: Uint8Array;
}

/**
 * The box in `source` with a memory of `pages` (of 64 KiB) that holds `extents`, in order and not overlapping; `life` is what is said of where it
 * comes from (`boxer inspect` shows it).
 */
export async function refill(source: Source, pages: number, extents: Extent[], life: unknown): Promise<Blob> {
  const { sections, passive } = await survey(source);
  const count = leb(passive.length + extents.length);
  const parts: Uint8Array[] = [Uint8Array.from(HEADER)];
  let at = HEADER.length;
  const put = (...bytes: Uint8Array[]) => {
    for (const part of bytes) {
      parts.push(part);
      at += part.byteLength;
    }
  };
  for (const { id, offset, length } of sections) {
    const read = () => whole(source, offset, length);
    if (id === Section.Memory) put(section(id, memory(await read(), pages)));
    else if (id === Section.DataCount) put(section(id, count));
    else if (id === Section.Data) {
      const heads = extents.map(({ address, bytes }) => concat([Uint8Array.of(0, 0x41), signedLeb(address | 0), Uint8Array.of(0x0b), leb(bytes.byteLength)]));
      const body = [count, ...passive, ...extents.flatMap(({ bytes }, index) => [heads[index]!, bytes])];
      const size = body.reduce((sum, part) => sum + part.byteLength, 0);
      const head = concat([Uint8Array.of(id), leb(size)]);
      // Whoever maps files finds the largest extent at the same place in a page of the file as in a page of memory.
      const largest = extents.reduce((best, extent, index) => (extent.bytes.byteLength > extents[best]!.bytes.byteLength ? index : best), 0);
      const before = body.slice(0, 1 + passive.length + 2 * largest + 1).reduce((sum, part) => sum + part.byteLength, 0);
      put(alignment(at, head.byteLength + before, extents[largest]?.address ?? 0));
      put(head, ...body);
    } else if (id === Section.Custom) {
      const bytes = await read();
      if (!["boxer.align", "boxer.life"].includes(customName(bytes))) put(section(id, bytes));
    } else put(section(id, await read()));
  }
  put(custom("boxer.life", new TextEncoder().encode(JSON.stringify(life))));
  return new Blob(parts as BlobPart[], { type: "application/wasm" });
}

/** A custom section (JSON), if the file has one. */
export async function customSection(source: Source, name: string): Promise<unknown> {
  for (const { id, offset, length } of (await survey(source)).sections) {
    if (id !== Section.Custom) continue;
    const start = await readAt(source, offset, Math.min(length, 256));
    if (customName(start) !== name) continue;
    const bytes = await whole(source, offset, length);
    const skip = name.length + 1;
    return JSON.parse(new TextDecoder().decode(bytes.slice(skip)));
  }
  return undefined;
}

interface At {
  id: number;
  offset: number;
  length: number;
}

/** Where everything is. Nothing but heads, and the passive segments, is read. */
async function survey(source: Source): Promise<{ sections: At[]; segments: Segment[]; passive: Uint8Array[] }> {
  const size = sizeOf(source);
  const window = new Window(source, size);
  const header = (await window.at(0)).bytes.subarray(0, HEADER.length);
  if (header.length < HEADER.length || !HEADER.slice(0, 4).every((byte, index) => header[index] === byte)) {
    throw new BoxError("not-a-box", size ? "the file is not WebAssembly" : "the file is empty");
  }
  if (header[4] === COMPONENT) {
    throw new BoxError("component", "the file is a component; JavaScript runs the core module that `boxer build -o type=wasm,dest=FILE` makes");
  }
  if (header[4] !== 1) throw new BoxError("not-a-box", "the file is not a WebAssembly module of version 1");
  const sections: At[] = [];
  let at = HEADER.length;
  while (at < size) {
    const reader = await window.at(at);
    const id = reader.byte();
    const length = reader.leb();
    at = reader.offset;
    if (length > size - at) throw cutOff();
    sections.push({ id, offset: at, length });
    at += length;
  }
  if (sections.some(({ id }) => id === Section.Start) || !sections.some(({ id }) => id === Section.Memory)) {
    throw new BoxError("not-a-box", "the module is no box of boxer's");
  }
  const segments: Segment[] = [];
  const passive: Uint8Array[] = [];
  const data = sections.find(({ id }) => id === Section.Data);
  if (data) await readSegments(source, window, data, segments, passive);
  return { sections, segments, passive };
}

async function readSegments(source: Source, window: Window, data: At, segments: Segment[], passive: Uint8Array[]) {
  const end = data.offset + data.length;
  let reader = await window.at(data.offset);
  const count = reader.leb();
  if (count > MAX_SEGMENTS) throw damaged();
  let at = reader.offset;
  // The code knows segments by number: what was put into memory is empty for it, up to the last that is not.
  let empty = 0;
  for (let index = 0; index < count; index++) {
    reader = await window.at(at);
    const kind = reader.leb();
    if (kind > 2 || (kind === 2 && reader.leb() !== 0)) throw damaged();
    const address = kind === 1 ? undefined : reader.constant();
    const length = reader.leb();
    const offset = reader.offset;
    at = offset + length;
    if (at > end) throw damaged();
    if (address !== undefined) {
      segments.push({ address, length, offset });
      empty++;
      continue;
    }
    for (; empty; empty--) passive.push(Uint8Array.of(1, 0));
    passive.push(concat([Uint8Array.of(1), leb(length), await whole(source, offset, length)]));
  }
  if (at !== end) throw damaged();
}

/** Reads heads, which may lie side by side or far apart. */
class Window {
  #start = 0;
  #bytes: Uint8Array = new Uint8Array();

  constructor(
    readonly source: Source,
    readonly size: number,
  ) {}

  async at(offset: number): Promise<Reader> {
    const end = this.#start + this.#bytes.byteLength;
    if (offset < this.#start || Math.min(offset + HEAD, this.size) > end) {
      this.#bytes = await readAt(this.source, offset, WINDOW);
      this.#start = offset;
    }
    return new Reader(this.#bytes.subarray(offset - this.#start), offset);
  }
}

class Reader {
  constructor(
    readonly bytes: Uint8Array,
    public offset: number,
  ) {
    this.#base = offset;
  }
  #base: number;

  byte(): number {
    const byte = this.bytes[this.offset - this.#base];
    if (byte === undefined) throw cutOff();
    this.offset++;
    return byte;
  }

  /** An unsigned number of 32 bits. */
  leb(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) {
        if (value >= 2 ** 32) break;
        return value;
      }
    }
    throw damaged();
  }

  /** The address in `i32.const N; end`. */
  constant(): number {
    if (this.byte() !== 0x41) throw damaged();
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      if (shift > 28) throw damaged();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte >= 0x80) continue;
      if (byte & 0x40 && shift < 28) value -= 2 ** (shift + 7);
      break;
    }
    if (this.byte() !== 0x0b) throw damaged();
    return value >>> 0;
  }
}

function damaged(): BoxError {
  return new BoxError("not-a-box", "the file is damaged");
}

function cutOff(): BoxError {
  return new BoxError("not-a-box", "the file is cut off");
}

async function whole(source: Source, offset: number, length: number): Promise<Uint8Array> {
  const bytes = await readAt(source, offset, length);
  if (bytes.byteLength !== length) throw cutOff();
  return bytes;
}

export function concat(parts: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.byteLength;
  }
  return all;
}

function leb(value: number): Uint8Array {
  const bytes: number[] = [];
  do {
    const low = value % 128;
    value = (value - low) / 128;
    bytes.push(value ? low | 0x80 : low);
  } while (value);
  return Uint8Array.from(bytes);
}

function signedLeb(value: number): Uint8Array {
  const bytes: number[] = [];
  for (;;) {
    const low = value & 0x7f;
    value >>= 7;
    if ((value === 0 && !(low & 0x40)) || (value === -1 && low & 0x40)) {
      bytes.push(low);
      return Uint8Array.from(bytes);
    }
    bytes.push(low | 0x80);
  }
}

function section(id: number, ...parts: Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.byteLength, 0);
  return concat([Uint8Array.of(id), leb(length), ...parts]);
}

function custom(name: string, data: Uint8Array): Uint8Array {
  return section(Section.Custom, leb(name.length), new TextEncoder().encode(name), data);
}

/** The name of a custom section; names of ours have fewer than 128 bytes. */
function customName(bytes: Uint8Array): string {
  const length = bytes[0] ?? 0;
  return length < 128 ? new TextDecoder().decode(bytes.slice(1, 1 + length)) : "";
}

/** Padding before the data section, which begins at `at` without it, so that `within` it comes what goes to `address`. */
function alignment(at: number, within: number, address: number): Uint8Array {
  const MAP = 4096;
  // Long enough for the section's length to take two bytes, whatever is added.
  const least = 128;
  const pad = (length: number) => custom("boxer.align", new Uint8Array(length));
  const place = at + pad(least).byteLength + within;
  return pad(least + ((((address - place) % MAP) + MAP) % MAP));
}

/** The memory section with another size. */
function memory(bytes: Uint8Array, pages: number): Uint8Array {
  const reader = new Reader(bytes, 0);
  const [count, flags] = [reader.leb(), reader.byte()];
  if (count !== 1 || flags > 1) throw damaged();
  reader.leb();
  const most = flags ? [leb(reader.leb())] : [];
  return concat([Uint8Array.of(1, flags), leb(pages), ...most]);
}

/** The memory section with a bound: what it begins with and so many bytes. */
function capped(bytes: Uint8Array, growth: number): Uint8Array {
  const reader = new Reader(bytes, 0);
  const [count, flags, pages] = [reader.leb(), reader.byte(), reader.leb()];
  if (count !== 1 || flags > 1) throw damaged();
  const most = Math.min(pages + Math.ceil(growth / PAGE), flags ? reader.leb() : MOST_PAGES);
  return concat([Uint8Array.of(1, 1), leb(pages), leb(most)]);
}

/** Runs of memory that are not zero, in pages of 4 KiB; copies, all in one buffer. */
export function extentsOf(memory: ArrayBuffer): Extent[] {
  const MAP = 4096;
  // Few zeros between two runs cost less than another segment.
  const GAP = 8;
  const words = new Int32Array(memory);
  const perPage = MAP / 4;
  const used = (page: number) => {
    for (let at = page * perPage, end = at + perPage; at < end; at++) if (words[at] !== 0) return true;
    return false;
  };
  const runs: { start: number; end: number }[] = [];
  for (let page = 0; page < memory.byteLength / MAP; page++) {
    if (!used(page)) continue;
    const last = runs.at(-1);
    if (last && page - last.end <= GAP) last.end = page + 1;
    else runs.push({ start: page, end: page + 1 });
  }
  const all = new Uint8Array(runs.reduce((sum, run) => sum + (run.end - run.start) * MAP, 0));
  let at = 0;
  return runs.map(({ start, end }) => {
    const bytes = all.subarray(at, (at += (end - start) * MAP));
    bytes.set(new Uint8Array(memory, start * MAP, bytes.byteLength));
    return { address: start * MAP, bytes };
  });
}

/** Pages of a memory. */
export function pagesOf(memory: ArrayBuffer): number {
  return memory.byteLength / PAGE;
}
