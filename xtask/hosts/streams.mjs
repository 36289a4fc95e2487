// This machine's streams, which Node may have made such that they give EAGAIN instead of waiting.
import { readSync, writeSync } from "node:fs";
import { sleep } from "./shim_box.mjs";

/// At most `size` bytes, once there are some; none at the end.
export function readPiece(fd, size) {
  const buffer = new Uint8Array(size);
  for (;;) {
    try {
      return buffer.slice(0, readSync(fd, buffer));
    } catch (error) {
      if (error.code === "EOF") return new Uint8Array();
      if (error.code !== "EAGAIN") throw error;
      sleep(10);
    }
  }
}

/// Writes all of it; whether anybody reads.
export function writeAll(fd, data) {
  for (let at = 0, pause = 1; at < data.length; ) {
    try {
      at += writeSync(fd, data, at);
      pause = 1;
    } catch (error) {
      if (error.code === "EPIPE") return false;
      if (error.code !== "EAGAIN") throw error;
      sleep(pause);
      pause = Math.min(pause * 2, 10);
    }
  }
  return true;
}
