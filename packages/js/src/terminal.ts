/** A program of a box at a terminal on the page. */

import { BoxError } from "./errors.js";
import type { SpawnOptions } from "./options.js";
import type { BoxProcess } from "./process.js";

/** What is used of xterm.js's `Terminal`. */
export interface XTerm {
  readonly cols: number;
  readonly rows: number;
  readonly element?: HTMLElement | undefined;
  open(element: HTMLElement): void;
  write(data: Uint8Array | string, done?: () => void): void;
  resize(cols: number, rows: number): void;
  onData(listener: (data: string) => void): { dispose(): void };
  onBinary(listener: (data: string) => void): { dispose(): void };
  onResize(listener: (size: { cols: number; rows: number }) => void): { dispose(): void };
  focus(): void;
  dispose(): void;
}

export interface TerminalOptions extends Omit<SpawnOptions, "tty"> {
  /** The program; without it the image's own. */
  command?: string;
  args?: string[];
  /** A terminal that the page has made, or xterm.js's class. Without either, `globalThis.Terminal`, or the package `@xterm/xterm`. */
  xterm?: XTerm | (new (options?: object) => XTerm);
  /** Follow the element's size. */
  fit?: boolean;
}

export interface BoxTerminal {
  process: BoxProcess;
  xterm: XTerm;
  /** Takes the terminal off the page; the program gets SIGHUP. */
  dispose(): void;
}

export async function attach(element: HTMLElement, options: TerminalOptions, spawn: (tty: { cols: number; rows: number }) => Promise<BoxProcess>): Promise<BoxTerminal> {
  const xterm = await made(options.xterm);
  if (!xterm.element) xterm.open(element);
  const stops: (() => void)[] = [];
  if (options.fit ?? true) stops.push(fit(element, xterm));
  const process = await spawn({ cols: xterm.cols, rows: xterm.rows });
  const writer = process.stdin.getWriter();
  // A program that is gone takes no more keys.
  const type = (data: Uint8Array | string) => void writer.write(data).catch(() => {});
  const subscriptions = [
    xterm.onData(type),
    xterm.onBinary((data) => type(Uint8Array.from(data, (char) => char.charCodeAt(0)))),
    xterm.onResize((size) => process.resize(size)),
  ];
  stops.push(() => subscriptions.forEach((subscription) => subscription.dispose()));
  for (const stream of [process.stdout, process.stderr]) void show(stream, xterm);
  const dispose = () => {
    stops.splice(0).forEach((stop) => stop());
    process.kill("SIGHUP");
    xterm.dispose();
  };
  return { process, xterm, dispose };
}

/** Writes what comes, no faster than it is shown. */
async function show(stream: ReadableStream<Uint8Array>, xterm: XTerm) {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      await new Promise<void>((resolve) => xterm.write(value, resolve));
    }
  } catch (error) {
    // Whoever waits for the exit hears of it, too.
    xterm.write(`\r\n${error instanceof Error ? error.message : String(error)}\r\n`);
  }
}

async function made(xterm: TerminalOptions["xterm"]): Promise<XTerm> {
  if (typeof xterm === "object") return xterm;
  let Terminal = xterm ?? (globalThis as { Terminal?: new (options?: object) => XTerm }).Terminal;
  if (!Terminal) {
    try {
      // Not a literal: who brings no terminal must be able to bundle without.
      const name = "@xterm/xterm";
      Terminal = ((await import(/* @vite-ignore */ name)) as { Terminal: new (options?: object) => XTerm }).Terminal;
    } catch (cause) {
      throw new BoxError("unsupported", "there is no xterm.js: give its Terminal as the option `xterm`, or install @xterm/xterm", { cause });
    }
  }
  return new Terminal({ convertEol: false, cursorBlink: true });
}

/** Gives the terminal as many cells as the element has room for, now and whenever that changes. */
function fit(element: HTMLElement, xterm: XTerm): () => void {
  const measure = () => {
    const screen = xterm.element?.querySelector<HTMLElement>(".xterm-screen");
    if (!screen?.offsetWidth || !screen.offsetHeight) return;
    const style = getComputedStyle(element);
    const inside = (size: number, ...paddings: string[]) => size - paddings.reduce((sum, padding) => sum + parseFloat(padding || "0"), 0);
    const width = inside(element.clientWidth, style.paddingLeft, style.paddingRight) - SCROLL_BAR;
    const height = inside(element.clientHeight, style.paddingTop, style.paddingBottom);
    const cols = Math.max(2, Math.floor(width / (screen.offsetWidth / xterm.cols)));
    const rows = Math.max(1, Math.floor(height / (screen.offsetHeight / xterm.rows)));
    if (cols !== xterm.cols || rows !== xterm.rows) xterm.resize(cols, rows);
  };
  measure();
  const observer = new ResizeObserver(measure);
  observer.observe(element);
  return () => observer.disconnect();
}

/** Room for xterm.js's scroll bar, in px. */
const SCROLL_BAR = 14;
