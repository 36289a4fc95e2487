/** One stream of Wisp as a pair of web streams, at either end of the protocol. */

import { DATAGRAM_COST, MAX_DATA, WINDOW } from "./packets.js";

/** What a stream of Wisp is for whoever uses it. */
export interface Connection {
  readable: ReadableStream<Uint8Array>;
  writable: WritableStream<Uint8Array>;
  /** Ends it at once; the peer sees a reset. */
  abort(): void;
}

/** The other end of the protocol, of one stream. */
export interface FlowWire {
  data(bytes: Uint8Array): void;
  /** No more comes in this direction. */
  finish(): void;
  /** So many bytes more are taken. */
  grant(bytes: number): void;
  reset(reason: unknown): void;
}

/** How much may be sent: bytes, packets, or anything. */
export type Allowance = { bytes: number } | { packets: number } | "any";

export class Flow implements Connection {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
  /** Called once when it is over: cleanly, so that what came before it counts, or not. */
  onOver: ((clean: boolean) => void) | undefined;
  #wire: FlowWire;
  #datagrams: boolean;
  #allowance: Allowance;
  #queue: Uint8Array[] = [];
  /** No more comes: the other end has finished, or it is over. */
  #ended = false;
  #over = false;
  #error: unknown;
  /** Bytes that were used up and are not granted again yet. */
  #owed = 0;
  /** Somebody waits for what comes, or for leave to send. */
  #came: (() => void) | undefined;
  #room: (() => void) | undefined;

  constructor(wire: FlowWire, allowance: Allowance, { datagrams = false, gone = () => new Error("the connection is closed") } = {}) {
    this.#wire = wire;
    this.#allowance = allowance;
    this.#datagrams = datagrams;
    this.readable = new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          while (!this.#queue.length && !this.#ended) await new Promise<void>((resolve) => (this.#came = resolve));
          const bytes = this.#queue.shift();
          if (bytes) {
            controller.enqueue(bytes);
            this.#used(bytes.byteLength + (datagrams ? DATAGRAM_COST : 0));
          } else if (this.#error) controller.error(this.#error);
          else controller.close();
        },
        cancel: (reason) => this.abort(reason),
      },
      { highWaterMark: 0 },
    );
    this.writable = new WritableStream<Uint8Array>({
      write: async (bytes) => {
        for (let at = 0; at < bytes.byteLength || (datagrams && !at); ) {
          if (this.#error) throw this.#error;
          if (this.#over) throw gone();
          const length = this.#leave(bytes.byteLength - at);
          if (length === undefined) {
            await new Promise<void>((resolve) => (this.#room = resolve));
            continue;
          }
          this.#wire.data(bytes.subarray(at, at + length));
          at += Math.max(length, 1);
        }
      },
      close: () => {
        if (!this.#over) this.#wire.finish();
      },
      abort: (reason) => this.abort(reason),
    });
  }

  get isOver(): boolean {
    return this.#over;
  }

  /** Bytes that nobody has read yet. */
  get waiting(): number {
    return this.#queue.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  /** Takes a part of what may be sent; undefined if nothing may. Datagrams go whole. */
  #leave(wanted: number): number | undefined {
    const allowance = this.#allowance;
    if (allowance === "any") return this.#datagrams ? wanted : Math.min(wanted, MAX_DATA);
    if ("packets" in allowance) {
      if (!allowance.packets) return undefined;
      allowance.packets--;
      return this.#datagrams ? wanted : Math.min(wanted, MAX_DATA);
    }
    const length = this.#datagrams ? wanted : Math.min(wanted, allowance.bytes, MAX_DATA);
    const cost = this.#datagrams ? length + DATAGRAM_COST : length;
    if (!cost || cost > allowance.bytes) return undefined;
    allowance.bytes -= cost;
    return length;
  }

  #used(bytes: number) {
    this.#owed += bytes;
    if (this.#owed < WINDOW / 4 || this.#ended || this.#over) return;
    this.#wire.grant(this.#owed);
    this.#owed = 0;
  }

  arrived(bytes: Uint8Array) {
    if (this.#ended || (!bytes.byteLength && !this.#datagrams)) return;
    this.#queue.push(bytes);
    this.#came?.();
  }

  /** The other end sends no more. */
  finished() {
    this.#ended = true;
    this.#came?.();
  }

  /** The other end takes so many bytes more. */
  credited(bytes: number) {
    if (typeof this.#allowance === "object" && "bytes" in this.#allowance) this.#allowance.bytes += bytes;
    this.#room?.();
  }

  /** The other end takes so many packets now. */
  continued(packets: number) {
    if (typeof this.#allowance === "object" && "packets" in this.#allowance) this.#allowance.packets = packets;
    this.#room?.();
  }

  /** It is over: with an error, or after what has come. */
  end(error?: unknown) {
    if (this.#over) return;
    this.#over = true;
    this.#ended = true;
    this.#error = error;
    this.#came?.();
    this.#room?.();
    this.onOver?.(error === undefined);
  }

  abort(reason?: unknown) {
    if (!this.#over) this.#wire.reset(reason);
  }
}
