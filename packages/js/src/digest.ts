/** SHA-256 (FIPS 180-4), at once: what the browser has of it answers later, and a worker that a box waits for cannot wait. */

const primes = (count: number): number[] => {
  const found: number[] = [];
  for (let n = 2; found.length < count; n++) if (found.every((prime) => n % prime)) found.push(n);
  return found;
};
/** The first 32 bits of a number's fraction. */
const fraction = (x: number) => Math.floor((x - Math.floor(x)) * 2 ** 32) | 0;
const K = Int32Array.from(primes(64), (prime) => fraction(Math.cbrt(prime)));
const START = Int32Array.from(primes(8), (prime) => fraction(Math.sqrt(prime)));

/** The digest, in hexadecimal. */
export function sha256(bytes: Uint8Array): string {
  const state = START.slice();
  const schedule = new Int32Array(64);
  const whole = bytes.byteLength & ~63;
  const rest = new Uint8Array(bytes.byteLength - whole < 56 ? 64 : 128);
  rest.set(bytes.subarray(whole));
  rest[bytes.byteLength - whole] = 0x80;
  const length = new DataView(rest.buffer);
  length.setUint32(rest.byteLength - 8, Math.floor(bytes.byteLength / 2 ** 29));
  length.setUint32(rest.byteLength - 4, bytes.byteLength << 3);
  blocks(state, schedule, bytes, whole);
  blocks(state, schedule, rest, rest.byteLength);
  return Array.from(state, (word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
}

function blocks(state: Int32Array, w: Int32Array, bytes: Uint8Array, end: number) {
  const k = K;
  let [h0, h1, h2, h3, h4, h5, h6, h7] = state as unknown as [number, number, number, number, number, number, number, number];
  for (let at = 0; at < end; at += 64) {
    for (let n = 0, place = at; n < 16; n++, place += 4) {
      w[n] = (bytes[place]! << 24) | (bytes[place + 1]! << 16) | (bytes[place + 2]! << 8) | bytes[place + 3]!;
    }
    for (let n = 16; n < 64; n++) {
      const [x, y] = [w[n - 15]!, w[n - 2]!];
      const low = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
      const high = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
      w[n] = (w[n - 16]! + low + w[n - 7]! + high) | 0;
    }
    let a = h0, b = h1, c = h2, d = h3, e = h4, f = h5, g = h6, h = h7;
    for (let n = 0; n < 64; n++) {
      const sum1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const t1 = (h + sum1 + ((e & f) ^ (~e & g)) + k[n]! + w[n]!) | 0;
      const sum0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      const t2 = (sum0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g;
      g = f;
      f = e;
      e = (d + t1) | 0;
      d = c;
      c = b;
      b = a;
      a = (t1 + t2) | 0;
    }
    h0 = (h0 + a) | 0;
    h1 = (h1 + b) | 0;
    h2 = (h2 + c) | 0;
    h3 = (h3 + d) | 0;
    h4 = (h4 + e) | 0;
    h5 = (h5 + f) | 0;
    h6 = (h6 + g) | 0;
    h7 = (h7 + h) | 0;
  }
  state.set([h0, h1, h2, h3, h4, h5, h6, h7]);
}
