/** The host's end of a box's network (docs/network.md: Wisp with extensions): connections go in, and out where a way was given. */

import { BoxError } from "./errors.js";
import { type Connection, Flow } from "./flow.js";
import { Frames } from "./frames.js";
import type { Way } from "./network.js";
import * as wire from "./packets.js";
import { ERRNO, EXTENSION, framed, packet, Refused, u16, u32, WINDOW } from "./packets.js";

/** First stream number of the host. */
const HOST_STREAMS = 2 ** 31;
/** Longest name of a host. */
const MAX_HOST = 255;
/** Connections outward at once. */
const MAX_OUTWARD = 4096;
/** Who connects from outside, seen from the box: anybody that is none of its own addresses. */
const PEER = [4, 172, 17, 0, 1, 0x39, 0x30];
/** Families of addresses that are reached: IPv4. */
const FAMILIES = 1;
/** What a box may have as an answer to a query. */
const MAX_ANSWER = 65535;

interface Inward {
  flow: Flow;
  port: number;
  /** Anything came: it stands. */
  stands: boolean;
}

export class WispServer {
  #inward = new Map<number, Inward>();
  #outward = new Map<number, Flow>();
  #frames = new Frames();
  #next = HOST_STREAMS;
  #firstCredit = 0;
  #broken: unknown;
  #send: (bytes: Uint8Array) => void;
  #way: Way | undefined;

  /** `send` takes bytes for the box. */
  constructor(send: (bytes: Uint8Array) => void, way?: Way) {
    this.#send = send;
    this.#way = way;
  }

  /** What the box finds when it starts. */
  greeting(): Uint8Array {
    const way = this.#way;
    const info = wire.info([
      ...(way?.datagrams ? [[EXTENSION.udp] as [number]] : []),
      [EXTENSION.credit, ...u32(WINDOW)],
      [EXTENSION.halfClose],
      [EXTENSION.published],
      [EXTENSION.names],
      [EXTENSION.outcome, way ? FAMILIES : 0],
    ]);
    return framed(packet(wire.INFO, 0, info), packet(wire.CONTINUE, 0, u32(wire.PLAIN_PACKETS)));
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
    this.#broken ??= error;
    for (const { flow } of this.#inward.values()) flow.end(error);
    for (const flow of this.#outward.values()) flow.end(error);
    this.#inward.clear();
    this.#outward.clear();
    this.#way?.close();
  }

  /** Connects to a TCP port in the box. Where nobody listens, reading and writing fail. */
  connect(port: number): Connection {
    if (this.#broken) throw this.#broken;
    if (!Number.isInteger(port) || port < 1 || port > 65535) throw new BoxError("invalid-argument", `${port} is no port`);
    const stream = this.#next++;
    const broken = new BoxError("connection-broken", "the connection was broken off");
    const flow = this.#flow(stream, this.#inward, broken);
    this.#inward.set(stream, { flow, port, stands: false });
    this.#put(wire.INCOMING, stream, [wire.TCP, ...u16(port), ...PEER]);
    return flow;
  }

  #flow(stream: number, table: Map<number, unknown>, broken: Error, datagrams = false): Flow {
    const send = {
      data: (bytes: Uint8Array) => this.#put(wire.DATA, stream, bytes),
      finish: () => this.#put(wire.FINISH, stream),
      grant: (bytes: number) => this.#put(wire.CREDIT, stream, u32(bytes)),
      reset: (reason: unknown) => {
        if (table.delete(stream)) this.#put(wire.CLOSE, stream, [wire.NETWORK, ...u16(reason instanceof Refused ? reason.errno : ERRNO.ECONNRESET)]);
        flow.end(broken);
      },
    };
    const gone = () => new BoxError("connection-broken", "the server has closed the connection");
    const flow = new Flow(send, { bytes: this.#firstCredit }, { datagrams, gone });
    return flow;
  }

  #packet(bytes: Uint8Array) {
    const view = wire.viewOf(bytes);
    const [type, stream, payload] = [bytes[0]!, view.getUint32(1, true), bytes.subarray(5)];
    const inward = this.#inward.get(stream);
    const flow = inward?.flow ?? this.#outward.get(stream);
    if (inward && type !== wire.CLOSE) inward.stands = true;
    switch (type) {
      case wire.INFO:
        this.#agree(payload);
        return;
      case wire.CONNECT:
        void this.#connected(stream, payload);
        return;
      case wire.DNS:
        void this.#query(stream, payload.slice());
        return;
      case wire.CREDIT:
        flow?.credited(view.getUint32(5, true));
        return;
      case wire.DATA:
        flow?.arrived(payload.slice());
        return;
      case wire.FINISH:
        flow?.finished();
        return;
      case wire.CLOSE: {
        if (!flow) return;
        this.#inward.delete(stream);
        this.#outward.delete(stream);
        const broken =
          !inward || inward.stands
            ? new BoxError("connection-broken", "the server has broken off the connection")
            : new BoxError("connection-refused", `nobody in the box takes connections at port ${inward.port}; a server must listen at 0.0.0.0`);
        flow.end(payload[0] === wire.VOLUNTARY ? undefined : broken);
        return;
      }
    }
  }

  #agree(payload: Uint8Array) {
    const theirs = wire.extensionsOf(payload);
    for (const needed of [EXTENSION.credit, EXTENSION.halfClose, EXTENSION.published]) {
      if (!theirs.has(needed)) throw new Error("the box's network is another version's");
    }
    this.#firstCredit = theirs.get(EXTENSION.credit)!;
    for (const { flow } of this.#inward.values()) flow.credited(this.#firstCredit);
  }

  /** A program asks for a way out. */
  async #connected(stream: number, payload: Uint8Array) {
    const refuse = (errno: number) => this.#put(wire.CLOSE, stream, [wire.NETWORK, ...u16(errno)]);
    if (!this.#way) return refuse(ERRNO.ENETUNREACH);
    if (this.#outward.size >= MAX_OUTWARD) return refuse(ERRNO.ENOBUFS);
    if (payload.byteLength < 4 || payload.byteLength > 3 + MAX_HOST || stream === 0 || stream >= HOST_STREAMS || this.#outward.has(stream)) return refuse(ERRNO.EHOSTUNREACH);
    const datagrams = payload[0] === wire.UDP;
    const hostname = new TextDecoder().decode(payload.subarray(3));
    const port = wire.viewOf(payload).getUint16(1, true);
    const flow = this.#flow(stream, this.#outward, new Error("broken off"), datagrams);
    this.#outward.set(stream, flow);
    let socket;
    try {
      socket = await this.#way.connect({ hostname, port, datagrams });
    } catch (error) {
      const known = this.#outward.delete(stream);
      flow.end(error);
      if (known) refuse(error instanceof Refused ? error.errno : ERRNO.EHOSTUNREACH);
      return;
    }
    // The box may have given up, or have said already all that it had to say.
    const [stopOut, stopBack] = [new AbortController(), new AbortController()];
    if (!flow.isOver && !datagrams) this.#put(wire.OPENED, stream, [0]);
    const out = flow.readable.pipeTo(socket.writable, { signal: stopOut.signal });
    const back = socket.readable.pipeTo(flow.writable, { signal: stopBack.signal });
    out.catch(() => {});
    back.catch(() => {});
    const over = (clean: boolean) => {
      if (!clean) stopOut.abort();
      // What a program has sent before close(2) still goes out.
      void out.then(
        () => socket.close(),
        () => socket.abort(),
      ).finally(() => stopBack.abort());
    };
    flow.onOver = over;
    if (flow.isOver) over(true);
    // A stream of bytes is over when the box closes it: its program may not have read everything. Failures have ended it by now.
    if (!datagrams) return;
    await Promise.allSettled([out, back]);
    if (!this.#outward.delete(stream)) return;
    this.#put(wire.CLOSE, stream, [wire.VOLUNTARY]);
    flow.end();
  }

  async #query(number: number, question: Uint8Array) {
    const answer = (await this.#way?.ask(question).catch(() => undefined)) ?? new Uint8Array();
    this.#put(wire.DNS, number, answer.byteLength > MAX_ANSWER ? [] : answer);
  }

  #put(type: number, stream: number, payload: ArrayLike<number> = []) {
    if (!this.#broken) this.#send(framed(packet(type, stream, payload)));
  }
}
