/** The longest packet, in bytes, without its length. */
export const MAX_PACKET = 128 << 10;

/** Packets as they come piece by piece, each with its length (u32, little-endian) before it. */
export class Frames {
  #input = new Uint8Array();

  /** Calls `take` for each packet that is whole now, without its length; one of less than `least` bytes is an error, as one that is too long. */
  arrived(bytes: Uint8Array, least: number, take: (packet: Uint8Array) => void) {
    const input = new Uint8Array(this.#input.byteLength + bytes.byteLength);
    input.set(this.#input);
    input.set(bytes, this.#input.byteLength);
    let at = 0;
    while (input.byteLength - at >= 4) {
      const length = new DataView(input.buffer, at).getUint32(0, true);
      if (length > MAX_PACKET || length < least) throw new RangeError("a packet has an impossible length");
      if (input.byteLength - at - 4 < length) break;
      take(input.subarray(at + 4, at + 4 + length));
      at += 4 + length;
    }
    this.#input = input.slice(at);
  }
}
