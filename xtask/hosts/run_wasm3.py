"""Runs a box (a core module without SIMD) under wasm3: run_wasm3.py [--env NAME=VALUE]… FILE [ARG…]

The `pywasm3` package has no WASI: here is what a box needs of it, without directories.
"""

import os
import re
import select
import signal
import struct
import sys
import time

import wasm3

WASI = "wasi_snapshot_preview1"
SUCCESS, AGAIN, BADF, IO, NOSYS, PIPE = 0, 6, 8, 29, 52, 64
CHARACTER_DEVICE, UNKNOWN = 2, 0
READ, SEEK, TELL, WRITE = 1 << 1, 1 << 2, 1 << 5, 1 << 6
# Bytes of wasm3's own stack: the calls of a box nest as its programs' do not.
STACK = 64 << 20


def main():
    words, env = sys.argv[1:], []
    while words and words[0] == "--env":
        env.append(words[1])
        del words[:2]
    path, *args = words
    with open(path, "rb") as file:
        code = file.read()
    runtime = wasm3.Environment().new_runtime(STACK)
    module = wasm3.Environment().parse_module(code)
    runtime.load(module)
    host = Host(runtime, ["box", *args], env)
    for name in imports(code):
        module.link_function(WASI, name, getattr(host, name, lambda *_: NOSYS))
    runtime.find_function("_start")()


def imports(code):
    """Names that follow that of the module of WASI."""
    mark = bytes([len(WASI)]) + WASI.encode()
    found = re.finditer(re.escape(mark), code)
    return [code[at.end() + 1 : at.end() + 1 + code[at.end()]].decode() for at in found if code[at.end()] < 64]


class Host:
    def __init__(self, runtime, args, env):
        self.runtime, self.args, self.env = runtime, args, env

    def put(self, at, layout, *values):
        struct.pack_into("<" + layout, self.runtime.get_memory(0), at & 0xFFFFFFFF, *values)
        return SUCCESS

    def get(self, at, layout):
        return struct.unpack_from("<" + layout, self.runtime.get_memory(0), at & 0xFFFFFFFF)

    def sizes(self, texts, count, size):
        self.put(count, "I", len(texts))
        return self.put(size, "I", sum(len(os.fsencode(text)) + 1 for text in texts))

    def strings(self, texts, list_at, at):
        for index, text in enumerate(texts):
            data = os.fsencode(text) + b"\0"
            self.put(list_at + 4 * index, "I", at & 0xFFFFFFFF)
            self.put(at, f"{len(data)}s", data)
            at += len(data)
        return SUCCESS

    def args_sizes_get(self, count, size):
        return self.sizes(self.args, count, size)

    def args_get(self, list_at, at):
        return self.strings(self.args, list_at, at)

    def environ_sizes_get(self, count, size):
        return self.sizes(self.env, count, size)

    def environ_get(self, list_at, at):
        return self.strings(self.env, list_at, at)

    def clock_time_get(self, clock, _precision, at):
        return self.put(at, "Q", time.time_ns() if clock == 0 else time.monotonic_ns())

    def clock_res_get(self, _clock, at):
        return self.put(at, "Q", 1)

    def random_get(self, at, size):
        return self.put(at, f"{size}s", os.urandom(size))

    def sched_yield(self):
        return SUCCESS

    def proc_exit(self, status):
        os._exit(status)

    def fd_prestat_get(self, _fd, _at):
        return BADF

    def fd_fdstat_get(self, fd, at):
        if fd > 2:
            return BADF
        rights = READ if fd == 0 else WRITE
        if not os.isatty(fd):
            rights |= SEEK | TELL
        return self.put(at, "BxHxxxxQQ", CHARACTER_DEVICE if os.isatty(fd) else UNKNOWN, 0, rights, 0)

    def parts(self, at, count):
        return [self.get(at + 8 * index, "II") for index in range(count)]

    def fd_read(self, fd, at, count, read_at):
        if fd != 0:
            return BADF
        start, size = self.parts(at, count)[0]
        try:
            data = os.read(fd, size)
        except OSError:
            return IO
        self.put(start, f"{len(data)}s", data)
        return self.put(read_at, "I", len(data))

    def fd_write(self, fd, at, count, written_at):
        if fd not in (1, 2):
            return BADF
        data = b"".join(self.get(start, f"{size}s")[0] for start, size in self.parts(at, count))
        try:
            written = os.write(fd, data)
        except BrokenPipeError:
            return PIPE
        except OSError:
            return IO
        return self.put(written_at, "I", written)

    def poll_oneoff(self, at, events_at, count, number_at):
        poll, happened, left = select.poll(), [], None
        for index in range(count):
            userdata, kind = self.get(at + 48 * index, "QB")
            if kind == 0:
                timeout = self.get(at + 48 * index + 24, "Q")[0]
                if left is None or timeout < left[0]:
                    left = (timeout, userdata)
            else:
                fd = self.get(at + 48 * index + 16, "I")[0]
                poll.register(fd, select.POLLIN if kind == 1 else select.POLLOUT)
                happened.append((fd, userdata, kind))
        ready = dict(poll.poll(None if left is None else left[0] / 1e6))
        events = [(userdata, kind) for fd, userdata, kind in happened if fd in ready]
        if not events and left is not None:
            events = [(left[1], 0)]
        for index, (userdata, kind) in enumerate(events):
            self.put(events_at + 32 * index, "QHBxxxxxQHxxxxxx", userdata, 0, kind, 1, 0)
        return self.put(number_at, "I", len(events))


# As programs in C.
signal.signal(signal.SIGINT, signal.SIG_DFL)
main()
