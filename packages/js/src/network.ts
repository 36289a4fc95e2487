/** Ways out of a box: none, unless whoever opens it gives one. */

import { BoxError } from "./errors.js";
import { Names } from "./names.js";
import { ERRNO, Refused } from "./packets.js";
import { type Channel, type ChannelListener, WispClient } from "./wisp-client.js";

/** Where a program in a box connects to. */
export interface Destination {
  /** The name that it has looked up, or an address. */
  hostname: string;
  port: number;
}

/** A TCP connection as a pair of streams: what `connect` of `cloudflare:sockets` gives, and in Node `Duplex.toWeb(socket)`. */
export interface TcpSocket {
  readable: ReadableStream<Uint8Array>;
  writable: WritableStream<Uint8Array>;
  /** Resolves when it stands; without it, it does. */
  opened?: Promise<unknown>;
}

/** Makes the connections of a box. What it rejects with is the program's error: by Node's codes (`ECONNREFUSED`), otherwise EHOSTUNREACH. */
export type Connect = (to: Destination) => TcpSocket | Promise<TcpSocket>;

/** Packets of Wisp, each a chunk: what the `opened` of a `WebSocketStream` gives. */
export interface PacketStream {
  readable: ReadableStream<Uint8Array | ArrayBuffer>;
  writable: WritableStream<Uint8Array>;
}

/**
 * What programs in a box may reach: a Wisp server by its URL (`ws://localhost:6001/`, that of `boxer serve-wisp`), the same by a stream of packets, or
 * whatever a function connects them to.
 */
export type Network = string | URL | PacketStream | Connect;

/** A connection outward. */
export interface WaySocket {
  readable: ReadableStream<Uint8Array>;
  writable: WritableStream<Uint8Array>;
  /** Nobody reads any more, and all was written. */
  close(): void;
  /** At once. */
  abort(): void;
}

/** @internal A way out. */
export interface Way {
  /** Whether datagrams go, too. */
  datagrams: boolean;
  /** A connection that stands, or {@link Refused}. */
  connect(to: Destination & { datagrams: boolean }): Promise<WaySocket>;
  /** Answers a DNS query; empty if there is no answer. */
  ask(query: Uint8Array): Promise<Uint8Array>;
  close(): void;
}

/** @internal `trouble` is told when a server cannot be reached or goes away. */
export function wayOf(network: Network, trouble: (error: BoxError) => void): Way {
  if (typeof network === "function") return new Connector(network);
  if (typeof network === "string" || network instanceof URL) {
    const url = String(network);
    if (!/^wss?:\/\//.test(url) || !URL.canParse(url)) throw new BoxError("invalid-argument", `${JSON.stringify(url)} is no URL of a Wisp server: ws://… or wss://…`);
    return new WispClient((listener) => byWebSocket(url, listener), url, true, trouble);
  }
  if (!(network?.readable instanceof ReadableStream) || !(network.writable instanceof WritableStream)) {
    throw new BoxError("invalid-argument", "`network` is a Wisp server's URL, a pair of streams, or a function that connects");
  }
  return new WispClient((listener) => byStream(network, listener), "the Wisp server", false, trouble);
}

/** Connections by a function of the page's. */
class Connector implements Way {
  readonly datagrams = false;
  #connect: Connect;
  #names = new Names();

  constructor(connect: Connect) {
    this.#connect = connect;
  }

  async connect({ hostname, port, datagrams }: Destination & { datagrams: boolean }): Promise<WaySocket> {
    if (datagrams) throw new Refused(ERRNO.ENETUNREACH);
    try {
      const socket = await this.#connect({ hostname: this.#names.nameOf(hostname) ?? hostname, port });
      await socket.opened;
      const { readable, writable } = socket;
      const abort = () => {
        // Whoever has a reader ends it itself.
        if (!readable.locked) void readable.cancel().catch(() => {});
        if (!writable.locked) void writable.abort().catch(() => {});
      };
      return { readable, writable, close: abort, abort };
    } catch (error) {
      const code = (error as { code?: string }).code ?? (error as { cause?: { code?: string } }).cause?.code ?? "";
      throw new Refused(ERRNO[code as keyof typeof ERRNO] ?? ERRNO.EHOSTUNREACH, String(error), { cause: error });
    }
  }

  async ask(query: Uint8Array): Promise<Uint8Array> {
    return this.#names.answer(query);
  }

  close() {}
}

function byWebSocket(url: string, listener: ChannelListener): Promise<Channel> {
  if (typeof WebSocket === "undefined") {
    return Promise.reject(new BoxError("unsupported", "this engine has no WebSocket (Node has one from 22 on): give `network` as a pair of streams"));
  }
  const socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  return new Promise((resolve, reject) => {
    socket.onopen = () => resolve({ send: (packet) => socket.send(packet as Uint8Array<ArrayBuffer>), close: () => socket.close() });
    socket.onmessage = ({ data }) => data instanceof ArrayBuffer && listener.packet(new Uint8Array(data));
    const over = (error: Error) => {
      reject(error);
      listener.closed(error);
    };
    // Node's of version 20 is not closed by what keeps it from opening.
    socket.onerror = () => over(new Error("the connection failed"));
    socket.onclose = ({ code, reason }) => over(new Error(reason || `closed with code ${code}`));
  });
}

async function byStream({ readable, writable }: PacketStream, listener: ChannelListener): Promise<Channel> {
  const [reader, writer] = [readable.getReader(), writable.getWriter()];
  const read = async () => {
    try {
      for (let part; !(part = await reader.read()).done; ) {
        const chunk = part.value;
        // Who does not read holds the others up, as far as there is a way to.
        await listener.packet(chunk instanceof ArrayBuffer ? new Uint8Array(chunk) : chunk);
      }
      listener.closed(new Error("the stream has ended"));
    } catch (error) {
      listener.closed(error);
    }
  };
  void read();
  return {
    send: (packet) => void writer.write(packet).catch((error) => listener.closed(error)),
    close: () => {
      void reader.cancel().catch(() => {});
      void writer.close().catch(() => {});
    },
  };
}
