/** Packets of Wisp and of its extensions that are boxer's (docs/network.md): type, stream, payload; numbers are little-endian. */

export const CONNECT = 0x01;
export const DATA = 0x02;
export const CONTINUE = 0x03;
export const CLOSE = 0x04;
export const INFO = 0x05;
export const CREDIT = 0xb0;
export const FINISH = 0xb1;
export const INCOMING = 0xb2;
export const DNS = 0xb3;
export const OPENED = 0xb4;

/** What ends can do beyond version 1. */
export const EXTENSION = { udp: 0x01, confirm: 0x05, credit: 0xb0, halfClose: 0xb1, published: 0xb2, names: 0xb3, outcome: 0xb4 } as const;
const MAX_EXTENSIONS = 64;

export const TCP = 1;
export const UDP = 2;

/** Reasons of a CLOSE. */
export const VOLUNTARY = 0x02;
export const NETWORK = 0x03;

/** Bytes that each direction of a stream may have under way. */
export const WINDOW = 256 << 10;
/** Most bytes of a stream in a packet. */
export const MAX_DATA = 32 << 10;
/** What a datagram costs beside its length. */
export const DATAGRAM_COST = 64;
/** Packets that a plain client may have under way. */
export const PLAIN_PACKETS = 64;

/** A packet as it is on a WebSocket, without a length before it. */
export function packet(type: number, stream: number, payload: ArrayLike<number> = []): Uint8Array {
  const bytes = new Uint8Array(5 + payload.length);
  bytes[0] = type;
  bytes.set(u32(stream), 1);
  bytes.set(payload, 5);
  return bytes;
}

/** Packets with their lengths before them, as a box reads them. */
export function framed(...packets: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(packets.reduce((sum, { byteLength }) => sum + 4 + byteLength, 0));
  let at = 0;
  for (const bytes of packets) {
    all.set(u32(bytes.byteLength), at);
    all.set(bytes, at + 4);
    at += 4 + bytes.byteLength;
  }
  return all;
}

/** The payload of an INFO: extensions and their metadata. */
export function info(extensions: [id: number, ...metadata: number[]][]): number[] {
  return [2, 1, ...extensions.flatMap(([id, ...metadata]) => [id, ...u32(metadata.length), ...metadata])];
}

/** And back: the metadata of each extension, as a number. */
export function extensionsOf(payload: Uint8Array): Map<number, number> {
  const view = viewOf(payload);
  const found = new Map<number, number>();
  for (let at = 2, count = 0; at < payload.byteLength && count < MAX_EXTENSIONS; count++) {
    const [id, length] = [view.getUint8(at), view.getUint32(at + 1, true)];
    if (at + 5 + length > payload.byteLength) throw new RangeError("an extension is cut off");
    found.set(id, length >= 4 ? view.getUint32(at + 5, true) : length ? view.getUint8(at + 5) : 0);
    at += 5 + length;
  }
  return found;
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function u32(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}

export function u16(value: number): number[] {
  return [value & 0xff, value >>> 8];
}

/** Error numbers of Linux that connections have (errno(3)). */
export const ERRNO = { EACCES: 13, ENETUNREACH: 101, ECONNRESET: 104, ENOBUFS: 105, ETIMEDOUT: 110, ECONNREFUSED: 111, EHOSTUNREACH: 113 } as const;

/** The error that stands for a reason of a plain server. */
export function errnoOf(reason: number): number {
  return { 0x41: 99, 0x42: ERRNO.EHOSTUNREACH, 0x43: ERRNO.ETIMEDOUT, 0x44: ERRNO.ECONNREFUSED, 0x47: ERRNO.ETIMEDOUT, 0x48: ERRNO.EACCES, 0x49: ERRNO.ENOBUFS }[reason] ?? ERRNO.ECONNRESET;
}

/** A connection that there is not, or is no more: what a program in the box gets to see. */
export class Refused extends Error {
  constructor(
    readonly errno: number,
    message = `error ${errno}`,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
