/** DEFLATE (RFC 1951), at once: the browser's own decompression answers later, and a worker that a box waits for cannot wait. */

/** Base and extra bits of lengths 257 …, and of distances. */
const LENGTHS = table([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0], 3);
LENGTHS.base[28] = 258;
const DISTANCES = table(
  Array.from({ length: 30 }, (_, code) => Math.max(0, (code >> 1) - 1)),
  1,
);
/** The order of code lengths' code lengths. */
const ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
const LONGEST = 15;

function table(extra: number[], first: number) {
  const base: number[] = [];
  for (const bits of extra) {
    base.push(first);
    first += 1 << bits;
  }
  return { extra, base };
}

/** Codes by the bits that come: `symbol << 4 | length`, for all values of `bits` bits; 0: there is none. */
interface Codes {
  bits: number;
  symbols: Uint16Array;
}

function codes(lengths: Uint8Array): Codes {
  const counts = new Uint16Array(LONGEST + 1);
  for (const length of lengths) counts[length]!++;
  counts[0] = 0;
  const next = new Uint16Array(LONGEST + 2);
  let left = 1;
  for (let length = 1; length <= LONGEST; length++) {
    left = left * 2 - counts[length]!;
    if (left < 0) throw damaged();
    next[length + 1] = (next[length]! + counts[length]!) << 1;
  }
  const bits = Math.max(1, counts.findLastIndex((count) => count > 0));
  const symbols = new Uint16Array(1 << bits);
  for (let symbol = 0; symbol < lengths.length; symbol++) {
    const length = lengths[symbol]!;
    if (!length) continue;
    let reversed = 0;
    for (let code = next[length]!++, n = 0; n < length; n++, code >>= 1) reversed = (reversed << 1) | (code & 1);
    for (let at = reversed; at < symbols.length; at += 1 << length) symbols[at] = (symbol << 4) | length;
  }
  return { bits, symbols };
}

let fixed: [Codes, Codes] | undefined;

function fixedCodes(): [Codes, Codes] {
  const lengths = new Uint8Array(288).fill(8).fill(9, 144, 256).fill(7, 256, 280);
  return [codes(lengths), codes(new Uint8Array(30).fill(5))];
}

/** The bytes, of which there must be exactly `length`. */
export function inflate(from: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const to = new Uint8Array(length);
  let at = 0;
  let done = 0;
  let held = 0;
  let count = 0;
  const bits = (wanted: number): number => {
    while (count < wanted) {
      if (at >= from.length) throw damaged();
      held |= from[at++]! << count;
      count += 8;
    }
    const value = held & ((1 << wanted) - 1);
    held >>>= wanted;
    count -= wanted;
    return value;
  };
  const symbol = ({ bits, symbols }: Codes): number => {
    // Fewer may be left than the longest code has.
    while (count < bits && at < from.length) {
      held |= from[at++]! << count;
      count += 8;
    }
    const found = symbols[held & ((1 << bits) - 1)]!;
    const used = found & 15;
    if (!used || used > count) throw damaged();
    held >>>= used;
    count -= used;
    return found >> 4;
  };
  const dynamic = (): [Codes, Codes] => {
    const [literals, distances, own] = [bits(5) + 257, bits(5) + 1, bits(4) + 4];
    const ownLengths = new Uint8Array(19);
    for (let n = 0; n < own; n++) ownLengths[ORDER[n]!] = bits(3);
    const ownCodes = codes(ownLengths);
    const lengths = new Uint8Array(literals + distances);
    for (let n = 0; n < lengths.length; ) {
      const code = symbol(ownCodes);
      if (code < 16) {
        lengths[n++] = code;
        continue;
      }
      if (code === 16 && !n) throw damaged();
      const value = code === 16 ? lengths[n - 1]! : 0;
      const times = code === 16 ? 3 + bits(2) : code === 17 ? 3 + bits(3) : 11 + bits(7);
      if (n + times > lengths.length) throw damaged();
      lengths.fill(value, n, n + times);
      n += times;
    }
    return [codes(lengths.subarray(0, literals)), codes(lengths.subarray(literals))];
  };
  for (let last = 0; !last; ) {
    last = bits(1);
    const kind = bits(2);
    if (kind === 3) throw damaged();
    if (kind === 0) {
      // Whole bytes that are held already come again.
      at -= count >> 3;
      held = count = 0;
      const size = from[at]! | (from[at + 1]! << 8);
      const end = at + 4 + size;
      if (!(end <= from.length) || done + size > length || (size ^ 0xffff) !== (from[at + 2]! | (from[at + 3]! << 8))) throw damaged();
      to.set(from.subarray(at + 4, end), done);
      done += size;
      at = end;
      continue;
    }
    const [literals, distances] = kind === 1 ? (fixed ??= fixedCodes()) : dynamic();
    for (;;) {
      const code = symbol(literals);
      if (code < 256) {
        if (done === length) throw damaged();
        to[done++] = code;
        continue;
      }
      if (code === 256) break;
      const far = code - 257;
      if (far >= LENGTHS.base.length) throw damaged();
      const size = LENGTHS.base[far]! + bits(LENGTHS.extra[far]!);
      const near = symbol(distances);
      if (near >= DISTANCES.base.length) throw damaged();
      const back = DISTANCES.base[near]! + bits(DISTANCES.extra[near]!);
      if (back > done || done + size > length) throw damaged();
      if (back >= size) to.copyWithin(done, done - back, done - back + size);
      else for (let n = 0; n < size; n++) to[done + n] = to[done + n - back]!;
      done += size;
    }
  }
  if (done !== length) throw damaged();
  return to;
}

function damaged(): Error {
  return new Error("the compressed bytes are damaged");
}
