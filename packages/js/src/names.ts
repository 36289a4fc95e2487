/**
 * Names where nobody looks them up but whoever connects: each gets an address of its own, from the range for tests of networks (RFC 2544), and a
 * connection to that address is one to the name.
 */

const FIRST = (198 << 24) | (18 << 16);
/** Addresses of 198.18.0.0/15, without the first and last. */
const MOST = (1 << 17) - 2;
/** Names that are remembered; then the oldest go. */
const KEPT = 1 << 16;
/** Seconds that an address is good for. Short, since programs may keep it longer. */
const TTL = 60;

const HEAD = 12;
const A = 1;
const IN = 1;

export class Names {
  #addresses = new Map<string, string>();
  #names = new Map<string, string>();
  #next = 0;

  /** Answers a DNS query (RFC 1035 §4); empty if it is none. */
  answer(query: Uint8Array): Uint8Array {
    const question = read(query);
    if (!question) return new Uint8Array();
    const { name, type, end } = question;
    const address = type === A && name ? this.#of(name).split(".").map(Number) : undefined;
    // It is an answer, recursion was wanted and is had; other kinds of records are not there.
    const head = Uint8Array.of(query[0]!, query[1]!, 0x81, 0x80, 0, 1, 0, address ? 1 : 0, 0, 0, 0, 0);
    const record = address ? [0xc0, HEAD, 0, A, 0, IN, 0, 0, 0, TTL, 0, 4, ...address] : [];
    const answer = new Uint8Array(end + record.length);
    answer.set(head);
    answer.set(query.subarray(HEAD, end), HEAD);
    answer.set(record, end);
    return answer;
  }

  /** What an address stands for. */
  nameOf(address: string): string | undefined {
    return this.#names.get(address);
  }

  #of(name: string): string {
    const known = this.#addresses.get(name);
    if (known) return known;
    this.#next = (this.#next % MOST) + 1;
    const number = FIRST + this.#next;
    const address = [number >>> 24, (number >>> 16) & 255, (number >>> 8) & 255, number & 255].join(".");
    const before = this.#addresses.size >= KEPT ? this.#addresses.keys().next().value : undefined;
    if (before !== undefined) {
      this.#names.delete(this.#addresses.get(before)!);
      this.#addresses.delete(before);
    }
    this.#addresses.set(name, address);
    this.#names.set(address, name);
    return address;
  }
}

/** The one question of a query. */
function read(query: Uint8Array): { name: string; type: number; end: number } | undefined {
  const isQuery = query.byteLength > HEAD && (query[2]! & 0xf8) === 0 && query[4] === 0 && query[5] === 1;
  if (!isQuery) return undefined;
  const labels: string[] = [];
  let at = HEAD;
  for (let length; (length = query[at]); at += 1 + length) {
    if (length > 63 || at + 1 + length >= query.byteLength) return undefined;
    labels.push(String.fromCharCode(...query.subarray(at + 1, at + 1 + length)).toLowerCase());
  }
  const end = at + 5;
  if (end > query.byteLength || !labels.every((label) => /^[a-z0-9_-]+$/.test(label))) return undefined;
  return { name: labels.join("."), type: (query[at + 1]! << 8) | query[at + 2]!, end };
}
