/** Connections to a daemon, and the daemon that is started where none is named. */

import { spawn } from "node:child_process";
import { mkdtemp, rename, rm } from "node:fs/promises";
import { createWriteStream, rmSync } from "node:fs";
import { Agent, type IncomingMessage, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pipeline } from "node:stream/promises";
import { errorOf, InvalidArgumentError, SandboxError } from "./errors.js";

export type Query = Record<string, string | number | boolean | undefined>;

/** What the daemon tells, line by line. */
export type Json = any;

/** Which daemon is meant; unless one is named here or in the environment, this process starts one. */
export interface ConnectionOptions {
  /** `http://…` or `unix:PATH`; else `BOXER_SANDBOX_URL`. */
  url?: string;
  /** Else `BOXER_SANDBOX_TOKEN`. */
  token?: string;
  /** The box, where this process starts a daemon; else `BOXER_SANDBOX_TEMPLATE`, else `sandbox`. */
  template?: string;
}

/** A way to a daemon. */
export class Connection {
  readonly url: string;
  readonly #token: string;
  readonly #agent = new Agent({ keepAlive: true });
  readonly #place: { socketPath: string } | { host: string; port: string };

  constructor(url: string, token: string) {
    this.url = url;
    this.#token = token;
    if (url.startsWith("unix:")) {
      this.#place = { socketPath: url.slice("unix:".length) };
    } else {
      const parts = URL.canParse(url) ? new URL(url) : undefined;
      if (parts?.protocol !== "http:") throw new InvalidArgumentError(`${url} is neither http: nor unix:`);
      this.#place = { host: parts.hostname.replace(/^\[|\]$/g, ""), port: parts.port || "80" };
    }
  }

  /** A request; the bytes of its answer. */
  async call(method: string, path: string, query: Query = {}, body?: unknown, signal?: AbortSignal): Promise<Buffer> {
    return whole(await this.#send(method, path, query, body, signal), signal);
  }

  /** A request; the JSON of its answer. */
  async json(method: string, path: string, query: Query = {}, body?: unknown, signal?: AbortSignal): Promise<Json> {
    const bytes = await this.call(method, path, query, body, signal);
    return bytes.length ? JSON.parse(bytes.toString()) : undefined;
  }

  /** A request whose answer becomes a local file, which appears whole or not at all; the headers of the answer. */
  async download(path: string, query: Query, to: string, signal?: AbortSignal): Promise<IncomingMessage["headers"]> {
    const response = await this.#send("GET", path, query, undefined, signal);
    const part = `${to}.part-${process.pid}-${parts++}`;
    try {
      await pipeline(pieces<Buffer>(response, signal), createWriteStream(part));
      await rename(part, to);
    } catch (error) {
      response.destroy();
      await rm(part, { force: true });
      throw error;
    }
    return response.headers;
  }

  /** A request; the events of its answer, as they come. Who breaks off the loop breaks off the request. */
  async lines(method: string, path: string, query: Query = {}, body?: unknown, signal?: AbortSignal): Promise<AsyncGenerator<Json>> {
    return events(await this.#send(method, path, query, body, signal), signal);
  }

  async #send(method: string, path: string, query: Query, body: unknown, signal: AbortSignal | undefined): Promise<IncomingMessage> {
    signal?.throwIfAborted();
    const given = Object.entries(query).flatMap(([name, value]): [string, string][] => (value === undefined ? [] : [[name, String(value)]]));
    const data = body === undefined ? undefined : body instanceof Uint8Array ? body : JSON.stringify(body);
    const full = given.length ? `${path}?${new URLSearchParams(given)}` : path;
    try {
      return await this.#ask(method, full, data, signal);
    } catch (error) {
      if (error !== CLOSED) throw error;
      // It was closed while nobody used it.
      return this.#ask(method, full, data, signal);
    }
  }

  #ask(method: string, path: string, data: Uint8Array | string | undefined, signal: AbortSignal | undefined): Promise<IncomingMessage> {
    const headers: Record<string, string> = { authorization: `Bearer ${this.#token}` };
    headers["content-length"] = String(data === undefined ? 0 : Buffer.byteLength(data));
    return new Promise((resolve, reject) => {
      const asked = request({ ...this.#place, agent: this.#agent, method, path, headers, ...(signal ? { signal } : {}) });
      asked.on("error", (error: NodeJS.ErrnoException) => {
        if (signal?.aborted) reject(signal.reason);
        else if (asked.reusedSocket && (error.code === "ECONNRESET" || error.code === "EPIPE")) reject(CLOSED);
        else reject(new SandboxError(`the daemon at ${this.url} does not answer: ${error.message}`, "unreachable", { cause: error }));
      });
      asked.on("response", (response) => {
        if ((response.statusCode ?? 500) < 400) return resolve(response);
        whole(response, signal).then((bytes) => reject(failure(response.statusCode, bytes)), reject);
      });
      asked.end(data);
    });
  }
}

const CLOSED = new Error("closed");

/** Files that were begun, for names of their own. */
let parts = 0;

/** What comes; when it was broken off, the reason for that is what is thrown. */
async function* pieces<T>(response: IncomingMessage, signal: AbortSignal | undefined): AsyncGenerator<T> {
  try {
    yield* response as AsyncIterable<T>;
  } catch (error) {
    signal?.throwIfAborted();
    throw new SandboxError(`the daemon broke off: ${(error as Error).message}`, "unreachable", { cause: error });
  }
}

async function whole(response: IncomingMessage, signal: AbortSignal | undefined): Promise<Buffer> {
  const got: Buffer[] = [];
  for await (const part of pieces<Buffer>(response, signal)) got.push(part);
  return Buffer.concat(got);
}

async function* events(response: IncomingMessage, signal: AbortSignal | undefined): AsyncGenerator<Json> {
  let rest = "";
  response.setEncoding("utf8");
  try {
    for await (const text of pieces<string>(response, signal)) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const event = JSON.parse(line);
        if (event.type === "failed") throw errorOf(event.error);
        yield event;
      }
    }
  } finally {
    if (!response.complete) response.destroy();
  }
}

function failure(status: number | undefined, bytes: Buffer): SandboxError {
  try {
    return errorOf(JSON.parse(bytes.toString()).error);
  } catch {
    return new SandboxError(`the daemon answers ${status}: ${bytes.toString().slice(0, 200)}`);
  }
}

const known = new Map<string, Promise<Connection>>();

/** The daemon that is meant. */
export function connect({ url, token, template }: ConnectionOptions): Promise<Connection> {
  const place = url ?? process.env.BOXER_SANDBOX_URL;
  const secret = token ?? process.env.BOXER_SANDBOX_TOKEN ?? "";
  const box = template ?? process.env.BOXER_SANDBOX_TEMPLATE ?? "sandbox";
  const key = place ? `${place}\n${secret}` : box;
  let connection = known.get(key);
  if (!connection) {
    connection = place ? Promise.resolve().then(() => new Connection(place, secret)) : start(box);
    known.set(key, connection);
    // Another attempt may go better.
    connection.catch(() => known.delete(key));
  }
  return connection;
}

/** Starts a daemon, which ends with this process. */
async function start(box: string): Promise<Connection> {
  const program = process.env.BOXER ?? "boxer";
  const folder = await mkdtemp(join(tmpdir(), "boxer-sandbox-"));
  const words = ["sandboxd", "--until-stdin-ends", "--listen", `unix:${join(folder, "socket")}`];
  const more = (process.env.BOXER_SANDBOX_OPTIONS ?? "").split(/\s+/).filter(Boolean);
  const daemon = spawn(program, [...words, ...more, box], { stdio: ["pipe", "pipe", "inherit"] });
  try {
    const line = await new Promise<string>((resolve, reject) => {
      daemon.on("error", (error) => reject(new SandboxError(`${program} cannot be started: ${error.message}`, "unreachable", { cause: error })));
      daemon.on("exit", (status, signal) => reject(new SandboxError(`boxer sandboxd has ended with ${signal ?? `status ${status}`}`, "unreachable")));
      createInterface(daemon.stdout).once("line", resolve);
    });
    const { url, token } = JSON.parse(line);
    // Neither the daemon nor its streams keep this process from ending; its end closes them.
    daemon.unref();
    for (const stream of [daemon.stdin, daemon.stdout]) (stream as unknown as { unref(): void }).unref();
    process.on("exit", () => {
      daemon.kill();
      rmSync(folder, { recursive: true, force: true });
    });
    return new Connection(url, token);
  } catch (error) {
    daemon.kill();
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}
