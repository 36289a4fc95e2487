/** A client of Wisp servers (docs/network.md), plain ones of version 1 and 2 and those with boxer's extensions. */

import { BoxError } from "./errors.js";
import { type Allowance, Flow } from "./flow.js";
import { Names } from "./names.js";
import type { Destination, Way, WaySocket } from "./network.js";
import * as wire from "./packets.js";
import { ERRNO, errnoOf, EXTENSION, packet, Refused, u16, u32, WINDOW } from "./packets.js";

/** Packets to and from a server. */
export interface Channel {
  send(packet: Uint8Array): void;
  close(): void;
}

export interface ChannelListener {
  /** A packet has come; a promise asks for no more before it resolves. */
  packet(packet: Uint8Array): void | Promise<void>;
  closed(reason: unknown): void;
}

/** How long a server that has sent CONTINUE may take for its INFO, in ms; one of version 1 sends none. */
const PATIENCE = 1000;
/** How long a server that cannot be reached is left alone, in ms. */
const AGAIN = 1000;
/** What may wait of a plain server's streams together, which know no limit, in bytes: what comes by WebSocket cannot be held up. */
const MOST_WAITING = 64 << 20;
/** Above this a stream of packets is not read. */
const HOLD = 8 << 20;

type Opened = { resolve: () => void; reject: (error: Refused) => void };

export class WispClient implements Way {
  readonly datagrams = true;
  #open: (listener: ChannelListener) => Promise<Channel>;
  #what: string;
  #reopens: boolean;
  #trouble: (error: BoxError) => void;
  #session: Promise<Session> | undefined;
  #closed = false;
  #names = new Names();

  constructor(open: (listener: ChannelListener) => Promise<Channel>, what: string, reopens: boolean, trouble: (error: BoxError) => void) {
    this.#open = open;
    this.#what = what;
    this.#reopens = reopens;
    this.#trouble = trouble;
  }

  async connect({ hostname, port, datagrams }: Destination & { datagrams: boolean }): Promise<WaySocket> {
    const session = await this.#reach();
    return session.connect(this.#names.nameOf(hostname) ?? hostname, port, datagrams);
  }

  async ask(query: Uint8Array): Promise<Uint8Array> {
    const session = await this.#reach();
    return session.has(EXTENSION.names) ? session.ask(query) : this.#names.answer(query);
  }

  close() {
    this.#closed = true;
    void this.#session?.then((session) => session.close()).catch(() => {});
  }

  /** The connection to the server; made when the first program wants out, and again when it has broken. */
  #reach(): Promise<Session> {
    if (this.#closed) return Promise.reject(new Refused(ERRNO.ENETUNREACH));
    this.#session ??= this.#begin();
    return this.#session;
  }

  async #begin(): Promise<Session> {
    const session = new Session((reason) => this.#lost(reason));
    try {
      await session.begin(this.#open);
      if (this.#closed) session.close();
      return session;
    } catch (cause) {
      this.#lost(cause);
      throw new Refused(ERRNO.ENETUNREACH, String(cause), { cause });
    }
  }

  #told = false;
  #lost(cause: unknown) {
    if (this.#closed || this.#told) return;
    this.#told = true;
    const reason = cause instanceof Error ? cause.message : String(cause);
    this.#trouble(cause instanceof BoxError ? cause : new BoxError("unreachable", `${this.#what} cannot be reached any more, and with it the box's network: ${reason}`, { cause }));
    if (!this.#reopens) return;
    setTimeout(() => {
      this.#session = undefined;
      this.#told = false;
    }, AGAIN);
  }
}

/** One connection to a server. */
class Session {
  #channel: Channel | undefined;
  #lost: (reason: unknown) => void;
  #extensions = new Map<number, number>();
  #allowance: Allowance = { packets: 0 };
  #flows = new Map<number, Flow>();
  #opening = new Map<number, Opened>();
  #queries = new Map<number, (answer: Uint8Array) => void>();
  #nextStream = 1;
  #nextQuery = 1;
  #over = false;
  #ready: { resolve: () => void; reject: (error: unknown) => void } | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isReady = false;

  constructor(lost: (reason: unknown) => void) {
    this.#lost = lost;
  }

  async begin(open: (listener: ChannelListener) => Promise<Channel>) {
    const ready = new Promise<void>((resolve, reject) => (this.#ready = { resolve, reject }));
    ready.catch(() => {});
    // What comes before somebody can answer it waits.
    const early: Uint8Array[] = [];
    const listener: ChannelListener = {
      packet: (bytes) => {
        if (!this.#channel) return void early.push(bytes);
        return this.#came(bytes);
      },
      closed: (reason) => this.#fail(reason),
    };
    this.#channel = await open(listener);
    for (const bytes of early) void this.#came(bytes);
    await ready;
  }

  has(extension: number): boolean {
    return this.#extensions.has(extension);
  }

  async connect(hostname: string, port: number, datagrams: boolean): Promise<WaySocket> {
    if (this.#over || (datagrams && !this.has(EXTENSION.udp))) throw new Refused(ERRNO.ENETUNREACH);
    const stream = this.#nextStream++;
    const send = {
      data: (bytes: Uint8Array) => this.#put(wire.DATA, stream, bytes),
      finish: () => {
        if (this.has(EXTENSION.halfClose) && !datagrams) this.#put(wire.FINISH, stream);
      },
      grant: (bytes: number) => {
        if (this.has(EXTENSION.credit)) this.#put(wire.CREDIT, stream, u32(bytes));
      },
      reset: () => this.#close(stream, wire.NETWORK),
    };
    const allowance = this.#allowance;
    const own: Allowance = allowance === "any" || (datagrams && "packets" in allowance) ? "any" : { ...allowance };
    const flow = new Flow(send, own, { datagrams });
    this.#flows.set(stream, flow);
    const opened = new Promise<void>((resolve, reject) => {
      if (!datagrams && (this.has(EXTENSION.outcome) || this.has(EXTENSION.confirm))) this.#opening.set(stream, { resolve, reject });
      else resolve();
    });
    this.#put(wire.CONNECT, stream, [datagrams ? wire.UDP : wire.TCP, ...u16(port), ...new TextEncoder().encode(hostname)]);
    await opened;
    const close = () => this.#close(stream, wire.VOLUNTARY);
    return { readable: flow.readable, writable: flow.writable, close, abort: () => flow.abort() };
  }

  ask(query: Uint8Array): Promise<Uint8Array> {
    if (this.#over) return Promise.resolve(new Uint8Array());
    const number = this.#nextQuery++;
    return new Promise((resolve) => {
      this.#queries.set(number, resolve);
      this.#put(wire.DNS, number, query);
    });
  }

  close() {
    this.#fail(new Error("closed"));
  }

  #close(stream: number, reason: number) {
    const flow = this.#flows.get(stream);
    if (!flow) return;
    this.#flows.delete(stream);
    this.#opening.delete(stream);
    this.#put(wire.CLOSE, stream, this.has(EXTENSION.outcome) && reason !== wire.VOLUNTARY ? [reason, ...u16(ERRNO.ECONNRESET)] : [reason]);
    flow.end(reason === wire.VOLUNTARY ? undefined : new Refused(ERRNO.ECONNRESET));
  }

  #fail(reason: unknown) {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    this.#channel?.close();
    this.#ready?.reject(reason);
    const broken = new Refused(ERRNO.ECONNRESET, "the server is gone", { cause: reason });
    for (const { reject } of this.#opening.values()) reject(broken);
    for (const flow of this.#flows.values()) flow.end(broken);
    for (const answer of this.#queries.values()) answer(new Uint8Array());
    for (const table of [this.#opening, this.#flows, this.#queries]) table.clear();
    this.#lost(reason);
  }

  #came(bytes: Uint8Array): void | Promise<void> {
    if (this.#over) return;
    try {
      this.#packet(bytes);
    } catch (cause) {
      this.#fail(new Error("it broke the protocol", { cause }));
      return;
    }
    if (this.has(EXTENSION.credit) || bytes[0] !== wire.DATA) return;
    if (this.#waiting() > MOST_WAITING) this.#fail(new Error("more comes than is read, and this server cannot be held up"));
    else if (this.#waiting() > HOLD) return this.#hold();
  }

  #waiting(): number {
    let sum = 0;
    for (const flow of this.#flows.values()) sum += flow.waiting;
    return sum;
  }

  async #hold() {
    while (!this.#over && this.#waiting() > HOLD) await new Promise((resolve) => setTimeout(resolve, 20));
  }

  #packet(bytes: Uint8Array) {
    const view = wire.viewOf(bytes);
    const [type, stream, payload] = [view.getUint8(0), view.getUint32(1, true), bytes.subarray(5)];
    if (!this.#isReady) {
      this.#handshake(type, stream, payload, view);
      return;
    }
    const flow = this.#flows.get(stream);
    switch (type) {
      case wire.DATA:
        flow?.arrived(payload);
        return;
      case wire.CONTINUE:
        this.#opened(stream);
        flow?.continued(view.getUint32(5, true));
        return;
      case wire.OPENED:
        this.#opened(stream);
        return;
      case wire.CREDIT:
        flow?.credited(view.getUint32(5, true));
        return;
      case wire.FINISH:
        flow?.finished();
        return;
      case wire.DNS:
        this.#queries.get(stream)?.(payload);
        this.#queries.delete(stream);
        return;
      case wire.CLOSE: {
        if (stream === 0) throw new Error("the server has ended it");
        const reason = view.getUint8(5);
        const told = this.has(EXTENSION.outcome) && payload.byteLength >= 3 ? view.getUint16(6, true) : errnoOf(reason);
        const opening = this.#opening.get(stream);
        this.#opening.delete(stream);
        this.#flows.delete(stream);
        opening?.reject(new Refused(told));
        flow?.end(reason === wire.VOLUNTARY ? undefined : new Refused(told));
        return;
      }
    }
  }

  #opened(stream: number) {
    this.#opening.get(stream)?.resolve();
    this.#opening.delete(stream);
  }

  /** A server says CONTINUE, and from version 2 on before or after it INFO; what both can do holds. */
  #handshake(type: number, stream: number, payload: Uint8Array, view: DataView) {
    if (stream !== 0) return;
    if (type === wire.CONTINUE) {
      this.#allowance = { packets: view.getUint32(5, true) };
      if (this.#extensions.size) this.#begun();
      else this.#timer = setTimeout(() => this.#begun(), PATIENCE);
    } else if (type === wire.INFO) {
      const theirs = wire.extensionsOf(payload);
      if (theirs.has(AUTHENTICATION)) throw new Error("the server wants a password, which this package has not");
      const own: [number, ...number[]][] = [
        [EXTENSION.udp],
        [EXTENSION.confirm],
        [EXTENSION.credit, ...u32(WINDOW)],
        [EXTENSION.halfClose],
        [EXTENSION.names],
        [EXTENSION.outcome, 0],
      ];
      const both = own.filter(([id]) => theirs.has(id));
      for (const [id] of both) this.#extensions.set(id, theirs.get(id)!);
      // Without any, it is known by this that there was an answer.
      this.#extensions.set(0, 0);
      this.#put(wire.INFO, 0, wire.info(both));
      const packets = this.#allowance !== "any" && "packets" in this.#allowance && this.#allowance.packets;
      if (this.has(EXTENSION.credit)) {
        this.#allowance = { bytes: this.#extensions.get(EXTENSION.credit)! };
        this.#begun();
      } else if (packets) this.#begun();
    } else if (type === wire.CLOSE) throw new Error("the server will not talk to us");
  }

  #begun() {
    clearTimeout(this.#timer);
    this.#isReady = true;
    this.#ready?.resolve();
  }

  #put(type: number, stream: number, payload: ArrayLike<number> = []) {
    if (!this.#over) this.#channel?.send(packet(type, stream, payload));
  }
}

/** Wisp's own: a name and a password. */
const AUTHENTICATION = 0x02;
