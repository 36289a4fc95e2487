/** HTTP/1.1 over a connection into a box (RFC 9112), one request each. */

import { BoxError } from "./errors.js";
import { concat } from "./wasm.js";
import type { Connection } from "./flow.js";

/** What `fetch` takes beside the request. */
export type FetchInit = RequestInit;

/** Most bytes of the head of an answer. */
const MAX_HEAD = 256 << 10;
const MAX_REDIRECTS = 20;
const NULL_BODY = [101, 103, 204, 205, 304];
const ENCODINGS: Record<string, CompressionFormat> = { gzip: "gzip", "x-gzip": "gzip", deflate: "deflate" };

/** Fetches from a port. A relative URL is one of the server; of others the host's name is what the server is told. */
export async function fetchFrom(connect: (port: number) => Connection, port: number, input: string | URL | Request, init?: FetchInit): Promise<Response> {
  const base = `http://localhost:${port}/`;
  let request = input instanceof Request ? new Request(input, init) : new Request(new URL(input, base), init);
  // Read once: it may be sent again, and not every engine sends streams.
  let body = request.body === null && (request.method === "GET" || request.method === "HEAD") ? undefined : new Uint8Array(await request.arrayBuffer());
  let url = new URL(request.url);
  for (let redirects = 0; ; redirects++) {
    const response = await exchange(connect(port), request, url, body);
    const location = response.headers.get("location");
    const redirected = [301, 302, 303, 307, 308].includes(response.status) && location !== null;
    if (!redirected || request.redirect === "manual") return response;
    if (request.redirect === "error") throw new TypeError(`${url} redirects to ${location}`);
    const next = new URL(location, url);
    // Elsewhere nothing is fetched.
    if (next.origin !== url.origin) return response;
    if (redirects === MAX_REDIRECTS) throw new TypeError(`${url} redirects too often`);
    await response.body?.cancel();
    const asGet = response.status === 303 || (response.status < 303 && request.method === "POST");
    if (asGet && request.method !== "HEAD") {
      body = undefined;
      const headers = new Headers(request.headers);
      headers.delete("content-type");
      request = new Request(next, { headers, signal: request.signal, redirect: request.redirect });
    }
    url = next;
  }
}

async function exchange(connection: Connection, request: Request, url: URL, body: Uint8Array | undefined): Promise<Response> {
  const { signal } = request;
  signal.throwIfAborted();
  let failed: unknown;
  const abort = () => {
    failed = signal.reason;
    connection.abort();
  };
  signal.addEventListener("abort", abort);
  const done = () => signal.removeEventListener("abort", abort);
  const input = new Lines(connection.readable);
  try {
    // A server may answer before it has read everything.
    const sent = send(connection, request, url, body).catch((error) => void (failed ??= error));
    let head = await input.head();
    while (head.status >= 100 && head.status < 200) head = await input.head();
    const { status, reason, headers } = head;
    if (status < 200 || status > 599) throw new BoxError("connection-broken", `the server answers with status ${status}`);
    const decoded = ENCODINGS[headers.get("content-encoding")?.toLowerCase() ?? ""];
    const empty = request.method === "HEAD" || NULL_BODY.includes(status);
    let content = empty ? null : input.body(headers, done, connection);
    if (empty) {
      await sent;
      connection.abort();
      done();
    }
    headers.delete("transfer-encoding");
    if (content && decoded) {
      content = content.pipeThrough(new DecompressionStream(decoded) as ReadableWritablePair<Uint8Array, Uint8Array>);
      headers.delete("content-encoding");
      headers.delete("content-length");
    }
    const response = new Response(content as BodyInit | null, { status, statusText: reason, headers });
    Object.defineProperty(response, "url", { value: url.href });
    return response;
  } catch (error) {
    done();
    connection.abort();
    throw signal.aborted ? signal.reason : error instanceof BoxError ? error : (failed ?? error);
  }
}

async function send(connection: Connection, request: Request, url: URL, body: Uint8Array | undefined) {
  const headers = new Headers(request.headers);
  const standing: Record<string, string> = { host: url.host, connection: "close", accept: "*/*", "accept-encoding": "identity" };
  for (const [name, value] of Object.entries(standing)) if (!headers.has(name)) headers.set(name, value);
  headers.set("connection", "close");
  if (body?.byteLength || !["GET", "HEAD"].includes(request.method)) headers.set("content-length", String(body?.byteLength ?? 0));
  // A Headers object of a browser may drop names that pages must not set; those are ours.
  const lines = new Map(Object.entries(standing));
  headers.forEach((value, name) => lines.set(name, value));
  const head = [`${request.method} ${url.pathname}${url.search} HTTP/1.1`, ...[...lines].map(([name, value]) => `${name}: ${value}`), "", ""].join("\r\n");
  const writer = connection.writable.getWriter();
  await writer.write(latin1(head));
  if (body?.byteLength) await writer.write(body);
  // No half close here: some servers take it for a client that is gone.
}

function latin1(text: string): Uint8Array {
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}

interface Head {
  status: number;
  reason: string;
  headers: Headers;
}

/** Bytes that come, by lines and by lengths. */
class Lines {
  #reader: ReadableStreamDefaultReader<Uint8Array>;
  #bytes = new Uint8Array();
  #ended = false;

  constructor(readable: ReadableStream<Uint8Array>) {
    this.#reader = readable.getReader();
  }

  /** More bytes; false at the end. */
  async #more(): Promise<boolean> {
    if (this.#ended) return false;
    const { done, value } = await this.#reader.read();
    if (done) {
      this.#ended = true;
      return false;
    }
    this.#bytes = this.#bytes.byteLength ? concat([this.#bytes, value]) as Uint8Array<ArrayBuffer> : (value as Uint8Array<ArrayBuffer>);
    return true;
  }

  async #line(most: number): Promise<string> {
    for (let from = 0; ; ) {
      const end = this.#bytes.indexOf(10, from);
      if (end >= 0) {
        const line = this.#bytes.subarray(0, end);
        this.#bytes = this.#bytes.subarray(end + 1);
        return String.fromCharCode(...line).replace(/\r$/, "");
      }
      from = this.#bytes.byteLength;
      if (from > most) throw new BoxError("connection-broken", "the server's answer has a head without an end");
      if (!(await this.#more())) throw new BoxError("connection-broken", "the server has closed the connection without an answer");
    }
  }

  async head(): Promise<Head> {
    let left = MAX_HEAD;
    const line = async () => {
      const text = await this.#line(Math.min(left, 65536));
      left -= text.length;
      if (left < 0) throw new BoxError("connection-broken", "the server's answer has too long a head");
      return text;
    };
    const first = await line();
    const [, code, reason] = /^HTTP\/1\.[01] (\d{3})(?: (.*))?$/.exec(first) ?? [];
    if (!code) throw new BoxError("connection-broken", `the server does not speak HTTP/1.1: ${first.slice(0, 80)}`);
    const headers = new Headers();
    for (let text; (text = await line()); ) {
      const colon = text.indexOf(":");
      if (colon < 1) continue;
      try {
        headers.append(text.slice(0, colon), text.slice(colon + 1).trim());
      } catch {
        // A name or value that no header may have.
      }
    }
    return { status: Number(code), reason: (reason ?? "").replace(/[^\t\x20-\x7e\x80-\xff]/g, ""), headers };
  }

  /** The body that follows; `done` is called when it is over. */
  body(headers: Headers, done: () => void, connection: Connection): ReadableStream<Uint8Array> {
    const chunked = /(^|,)\s*chunked\s*$/i.test(headers.get("transfer-encoding") ?? "");
    const length = headers.get("content-length");
    const pieces = chunked ? this.#chunks() : length !== null && /^\d+$/.test(length) ? this.#exactly(Number(length)) : this.#rest();
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          try {
            const { done: over, value } = await pieces.next();
            if (!over) {
              controller.enqueue(value);
              return;
            }
            done();
            connection.abort();
            controller.close();
          } catch (error) {
            done();
            controller.error(error);
          }
        },
        cancel: () => {
          done();
          connection.abort();
        },
      },
      { highWaterMark: 0 },
    );
  }

  async *#exactly(length: number): AsyncGenerator<Uint8Array, void> {
    while (length > 0) {
      if (!this.#bytes.byteLength && !(await this.#more())) throw new BoxError("connection-broken", "the server's answer is cut off");
      const piece = this.#bytes.subarray(0, length);
      this.#bytes = this.#bytes.subarray(piece.byteLength);
      length -= piece.byteLength;
      yield piece;
    }
  }

  async *#chunks(): AsyncGenerator<Uint8Array, void> {
    for (;;) {
      const size = parseInt(await this.#line(4096), 16);
      if (!(size >= 0)) throw new BoxError("connection-broken", "the server's answer has a chunk without a length");
      if (!size) break;
      yield* this.#exactly(size);
      await this.#line(2);
    }
    while (await this.#line(65536));
  }

  async *#rest(): AsyncGenerator<Uint8Array, void> {
    do {
      const piece = this.#bytes;
      this.#bytes = new Uint8Array();
      if (piece.byteLength) yield piece;
    } while (this.#bytes.byteLength || (await this.#more()));
  }
}
