/**
 * The host's end of a box's network (docs/network.md: Wisp with extensions): connections go in, nothing goes out.
 */

import { BoxError } from "./errors.js";
import { Frames } from "./frames.js";

const CONNECT = 0x01;
const DATA = 0x02;
const CONTINUE = 0x03;
const CLOSE = 0x04;
const INFO = 0x05;
const CREDIT = 0xb0;
const FINISH = 0xb1;
const INCOMING = 0xb2;
const DNS = 0xb3;

const EXTENSION_CREDIT = 0xb0;
const EXTENSION_HALF_CLOSE = 0xb1;
const EXTENSION_PUBLISHED = 0xb2;
const EXTENSION_NAMES = 0xb3;
const EXTENSION_OUTCOME = 0xb4;

const TCP = 1;
const VOLUNTARY = 0x02;
const NETWORK = 0x03;
const UNREACHABLE = 0x42;
const ENETUNREACH = 101;

/** Bytes that each direction of a stream may have under way. */
const WINDOW = 256 << 10;
/** Most bytes of a stream in a packet. */
const MAX_DATA = 32 << 10;
const MAX_EXTENSIONS = 64;
/** First stream number of the host. */
const HOST_STREAMS = 2 ** 31;
/** Who connects from outside, seen from the box: anybody that is none of its own addresses. */
const PEER = [4, 172, 17, 0, 1, 0x39, 0x30];

/** A connection to a server in the box. */
export interface Connection {
  readable: ReadableStream<Uint8Array>;
  writable: WritableStream<Uint8Array>;
  /** Ends it at once; the server sees a reset. */
  abort(): void;
}

interface Flow {
  port: number;
  queue: Uint8Array[];
  /** The box sends no more, or the connection is over. */
  ended: boolean;
  error: unknown;
  /** Bytes that were used up and are not granted again yet. */
  owed: number;
  /** Bytes that this end may send. */
  credit: number;
  /** Somebody waits for what comes, or for leave to send. */
  came: (() => void) | undefined;
  room: (() => void) | undefined;
  /** Anything came: it stands. */
  stands: boolean;
}

export class WispServer {
  #flows = new Map<number, Flow>();
  #frames = new Frames();
  #next = HOST_STREAMS;
  #firstCredit = 0;
  #broken: unknown;

  /** `send` takes bytes for the box. */
  constructor(readonly send: (bytes: Uint8Array) => void) {}

  /** What the box finds when it starts. */
  static greeting(): Uint8Array {
    const extension = (id: number, ...metadata: number[]) => [id, ...u32(metadata.length), ...metadata];
    const info = [
      2,
      1,
      ...extension(EXTENSION_CREDIT, ...u32(WINDOW)),
      ...extension(EXTENSION_HALF_CLOSE),
      ...extension(EXTENSION_PUBLISHED),
      ...extension(EXTENSION_NAMES),
      // It reaches addresses of no family.
      ...extension(EXTENSION_OUTCOME, 0),
    ];
    const packets = [packet(INFO, 0, info), packet(CONTINUE, 0, u32(64))];
    const greeting = new Uint8Array(packets.reduce((sum, { byteLength }) => sum + byteLength, 0));
    greeting.set(packets[0]!);
    greeting.set(packets[1]!, packets[0]!.byteLength);
    return greeting;
  }

  /** Bytes from the box. */
  arrived(bytes: Uint8Array) {
    if (this.#broken) return;
    try {
      this.#frames.arrived(bytes, 5, (packet) => this.#packet(packet));
    } catch (cause) {
      this.fail(new BoxError("connection-broken", "the box broke the protocol of its network", { cause }));
    }
  }

  /** The box is gone. */
  fail(error: unknown) {
    this.#broken = error;
    for (const [stream, flow] of this.#flows) this.#end(stream, flow, error);
  }

  /** Connects to a TCP port in the box. Where nobody listens, reading and writing fail. */
  connect(port: number): Connection {
    if (this.#broken) throw this.#broken;
    if (!Number.isInteger(port) || port < 1 || port > 65535) throw new BoxError("invalid-argument", `${port} is no port`);
    const stream = this.#next++;
    const flow: Flow = {
      port,
      queue: [],
      ended: false,
      error: undefined,
      owed: 0,
      credit: this.#firstCredit,
      came: undefined,
      room: undefined,
      stands: false,
    };
    this.#flows.set(stream, flow);
    this.#put(INCOMING, stream, [TCP, ...u16(port), ...PEER]);
    const abort = () => {
      if (!this.#flows.has(stream)) return;
      this.#put(CLOSE, stream, [NETWORK]);
      this.#end(stream, flow, new BoxError("connection-broken", "the connection was broken off"));
    };
    const readable = new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          while (!flow.queue.length && !flow.ended) await new Promise<void>((resolve) => (flow.came = resolve));
          const bytes = flow.queue.shift();
          if (bytes) {
            controller.enqueue(bytes);
            this.#used(stream, flow, bytes.byteLength);
          } else if (flow.error) controller.error(flow.error);
          else controller.close();
        },
        cancel: abort,
      },
      { highWaterMark: 0 },
    );
    const writable = new WritableStream<Uint8Array>({
      write: async (bytes) => {
        for (let at = 0; at < bytes.byteLength; ) {
          if (flow.error) throw flow.error;
          if (!this.#flows.has(stream)) throw new BoxError("connection-broken", "the server has closed the connection");
          const length = Math.min(bytes.byteLength - at, flow.credit, MAX_DATA);
          if (!length) {
            await new Promise<void>((resolve) => (flow.room = resolve));
            continue;
          }
          flow.credit -= length;
          this.#put(DATA, stream, bytes.subarray(at, at + length));
          at += length;
        }
      },
      close: () => {
        if (this.#flows.has(stream)) this.#put(FINISH, stream, []);
      },
      abort,
    });
    return { readable, writable, abort };
  }

  #packet(bytes: Uint8Array) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const [type, stream, payload] = [bytes[0]!, view.getUint32(1, true), bytes.subarray(5)];
    const flow = this.#flows.get(stream);
    switch (type) {
      case INFO:
        this.#agree(payload);
        return;
      case CONNECT:
        this.#put(CLOSE, stream, [UNREACHABLE, ...u16(ENETUNREACH)]);
        return;
      case DNS:
        this.#put(DNS, stream, []);
        return;
      case CREDIT:
        if (!flow) return;
        flow.stands = true;
        flow.credit += view.getUint32(5, true);
        flow.room?.();
        return;
      case DATA:
        if (!flow || flow.ended || !payload.byteLength) return;
        flow.stands = true;
        flow.queue.push(payload.slice());
        flow.came?.();
        return;
      case FINISH:
        if (!flow) return;
        flow.stands = true;
        flow.ended = true;
        flow.came?.();
        return;
      case CLOSE: {
        if (!flow) return;
        const error = flow.stands
          ? new BoxError("connection-broken", "the server has broken off the connection")
          : new BoxError("connection-refused", `nobody in the box takes connections at port ${flow.port}; a server must listen at 0.0.0.0`);
        this.#end(stream, flow, payload[0] === VOLUNTARY ? undefined : error);
        return;
      }
    }
  }

  #agree(info: Uint8Array) {
    const view = new DataView(info.buffer, info.byteOffset, info.byteLength);
    const theirs = new Map<number, number>();
    for (let at = 2, count = 0; at < info.byteLength && count < MAX_EXTENSIONS; count++) {
      const [id, length] = [view.getUint8(at), view.getUint32(at + 1, true)];
      theirs.set(id, length >= 4 ? view.getUint32(at + 5, true) : 0);
      at += 5 + length;
    }
    for (const needed of [EXTENSION_CREDIT, EXTENSION_HALF_CLOSE, EXTENSION_PUBLISHED]) {
      if (!theirs.has(needed)) throw new Error("the box's network is another version's");
    }
    this.#firstCredit = theirs.get(EXTENSION_CREDIT)!;
    for (const flow of this.#flows.values()) {
      flow.credit += this.#firstCredit;
      flow.room?.();
    }
  }

  #used(stream: number, flow: Flow, bytes: number) {
    flow.owed += bytes;
    if (flow.owed < WINDOW / 4 || flow.ended || !this.#flows.has(stream)) return;
    this.#put(CREDIT, stream, u32(flow.owed));
    flow.owed = 0;
  }

  #end(stream: number, flow: Flow, error: unknown) {
    this.#flows.delete(stream);
    flow.ended = true;
    flow.error = error;
    flow.came?.();
    flow.room?.();
  }

  #put(type: number, stream: number, payload: ArrayLike<number>) {
    this.send(packet(type, stream, payload));
  }
}

function packet(type: number, stream: number, payload: ArrayLike<number>): Uint8Array {
  const bytes = new Uint8Array(9 + payload.length);
  bytes.set(u32(5 + payload.length));
  bytes[4] = type;
  bytes.set(u32(stream), 5);
  bytes.set(payload, 9);
  return bytes;
}

function u32(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}

function u16(value: number): number[] {
  return [value & 0xff, value >>> 8];
}
