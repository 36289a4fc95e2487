#!/usr/bin/env python3
"""A counter that is frozen at random moments and goes on elsewhere: moments.py BOXER BOX CACHE [MOMENTS [SEED]], where the box has python3.

The counter counts in files, by threads, through pipes, by timers and by a child process. `boxer run` freezes it somewhere, and hosts take turns
in going on with the file: what both have printed together must be what an undisturbed run prints. A host that cannot be had here counts as failed.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

sys.dont_write_bytecode = True

from install import Cache, Missing

SCRIPTS = Path(__file__).resolve().parent
BOXER, BOX, CACHE = sys.argv[1:4]
MOMENTS = int(sys.argv[4]) if len(sys.argv) > 4 else 50
SEED = int(sys.argv[5]) if len(sys.argv) > 5 else random.randrange(1 << 30)
HOSTS = ["boxer run", "node:wasi, Node 20", "wasmtime for Python", "Chromium, browser_wasi_shim"]
FROZEN = 147

COUNTER = r"""
import os, signal, sys, threading, time
TURNS = 40
os.makedirs("/tmp/count", exist_ok=True)
log = open("/tmp/count/log", "w+")
held = open("/tmp/count/gone", "w+"); os.unlink("/tmp/count/gone")
# The child doubles what comes through a pipe, and keeps a sum of its own.
to, back = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    os.close(to[1]); os.close(back[0])
    total, out = 0, os.fdopen(back[1], "w", buffering=1)
    for line in os.fdopen(to[0]):
        total += int(line); print(int(line) * 2, total, file=out)
    os._exit(total % 200)
os.close(to[0]); os.close(back[1])
sent, got = os.fdopen(to[1], "w", buffering=1), os.fdopen(back[0])
ticks = []
signal.signal(signal.SIGALRM, lambda *_: ticks.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
sums, ready, lock = [0, 0, 0], threading.Condition(), threading.Lock()
turn = 0
def work(n):
    seen = 0
    while seen < TURNS:
        with ready:
            while turn <= seen: ready.wait()
        seen += 1
        with lock: sums[n] += seen * (n + 1)
        done.release()
done = threading.Semaphore(0)
threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
[t.start() for t in threads]
x = 1
for i in range(1, TURNS + 1):
    for _ in range(3000): x = (x * 6364136223846793005 + 1442695040888963407) % 2**64
    with ready: turn = i; ready.notify_all()
    for _ in threads: done.acquire()
    print(x % 1000, file=sent); double, total = got.readline().split()
    log.write(f"{i} {x}\n"); log.flush(); held.write(str(i)); held.flush()
    before = len(ticks)
    while len(ticks) == before: time.sleep(0.002)
    print(i, x, double, total, sums, os.fstat(held.fileno()).st_size, flush=True)
signal.setitimer(signal.ITIMER_REAL, 0)
[t.join() for t in threads]
sent.close()
log.seek(0); held.seek(0)
print(hash(tuple(map(int, log.read().split()))), held.read()[-5:], os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
sys.exit(7)
"""


def hosts():
    """How each goes on with a file; those that cannot be had here are named."""
    with open(SCRIPTS / "hosts.toml", "rb") as file:
        rows = {row["name"]: row for row in tomllib.load(file)["host"]}
    cache, found = Cache(CACHE, ""), {}
    for name in HOSTS:
        row = rows[name]
        try:
            places = {key: cache.of(package) for key, package in row.get("packages", {}).items()}
        except (Missing, OSError) as error:
            print(f"{name}: not here: {error}")
            continue
        words = [word for word in row["forms"]["module"].split() if word not in ("{options}", "{arguments}")]
        found[name] = lambda box, words=words, places=places: [
            word.format(box=box, boxer=BOXER, scripts=SCRIPTS, **places) for word in words
        ]
    return found


def counter(*options):
    return [BOXER, "run", *options, "--entrypoint", "python3", BOX, "-c", COUNTER]


def freeze(state, after):
    """Runs the counter and freezes it after so many seconds: what freezing said, what the counter printed before, and its status."""
    name = f"moments-{os.getpid()}"
    with subprocess.Popen(counter("--name", name), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as run:
        try:
            time.sleep(after)
            frozen = subprocess.run([BOXER, "freeze", name, "-o", state], capture_output=True, timeout=600)
            before, _ = run.communicate(timeout=600)
        finally:
            run.kill()
    return frozen, before, run.returncode


def main():
    print(f"seed {SEED}")
    random.seed(SEED)
    start = time.monotonic()
    whole = subprocess.run(counter(), stdin=subprocess.DEVNULL, capture_output=True, timeout=600)
    took = time.monotonic() - start
    assert whole.returncode == 7, whole
    print(f"undisturbed: {len(whole.stdout.splitlines())} lines in {took:.2f} s")
    found, failed, done, missed, seen = hosts(), 0, 0, 0, {}
    with tempfile.TemporaryDirectory() as folder:
        state = os.path.join(folder, "state.wasm")
        while done < MOMENTS:
            name = HOSTS[done % len(HOSTS)]
            if name not in found:
                done, failed = done + 1, failed + 1
                continue
            frozen, before, status = freeze(state, random.random() * took)
            if frozen.returncode or status != FROZEN:
                # It had not started, or was over; what goes wrong each time is no matter of chance.
                missed += 1
                assert missed < 20, (frozen, before, status)
                took *= 0.97 if status == 7 else 1
                continue
            done, missed = done + 1, 0
            rest = subprocess.run(found[name](state), stdin=subprocess.DEVNULL, capture_output=True, timeout=600)
            good = before + rest.stdout == whole.stdout and rest.returncode == 7
            failed += not good
            seen[name] = seen.get(name, 0) + good
            word = "same" if good else f"ANOTHER: {before[-200:]} {rest}"
            print(f"{done:3} frozen after {len(before.splitlines())} lines, on in {name}: {word}", flush=True)
    print(f"{MOMENTS - failed} of {MOMENTS} the same: {seen}")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
