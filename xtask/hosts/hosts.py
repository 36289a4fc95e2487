#!/usr/bin/env python3
"""The same box under every host: hosts.py [--only NAME] CONFIG

CONFIG is a JSON file: `hosts`: name → `forms`: form → words of the command, where {options} stands for directories and
variables; `dir` and `env` say how those are given, as words with {host}, {guest}, {name} and {value}. The boxes have busybox.

A feature is a function that fails. Failures must stand in KNOWN with their reason, which lies in the host; one that stands
there and works is an error, too.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time

ONE_MB = bytes(range(256)) * 4096

# (host, form or "*", feature): why, in the host.
KNOWN = {
    ("wasmtime (Python)", "module", "status above 125"): "wasmtime lets no module end so; the box says it and ends with 125",
    ("wasmtime", "module", "status above 125"): "as above",
    ("wasmtime (Python)", "*", "interrupt"): "Python runs no handler while it waits in C",
    ("Deno", "module", "closed output"): "fd_write succeeds",
    ("Deno", "module", "directory"): "a directory has no right to create files",
    ("jco", "component", "arguments"): "empty ones are left out",
    ("jco", "component", "a slow reader"): "its worker is not waited for at the end (stdio streams are not flushed)",
    ("jco", "component", "closed output"): "writes succeed",
    ("jco", "component", "waiting without work"): "its worker reads standard input again and again (EAGAIN)",
}


class Run:
    def __init__(self, host, form):
        self.host, self.form = host, form

    def command(self, *arguments, env=None, folder=None):
        how = self.host["forms"][self.form]
        more = []
        for name, value in (env or {}).items():
            more += [word.format(name=name, value=value) for word in self.host["env"]]
        if folder:
            more += [word.format(host=folder, guest="/data") for word in self.host["dir"]]
        return [part for word in how for part in (more if word == "{options}" else [word])] + list(arguments)

    def start(self, *arguments, **more):
        command = self.command(*arguments, **more)
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *arguments, input=b"", **more):
        started = self.start(*arguments, **more)
        try:
            out, err = started.communicate(input, timeout=60)
        except subprocess.TimeoutExpired:
            started.kill()
            out, err = started.communicate()
            raise Failed(f"took too long: {out[:200]} {err[:200]}") from None
        return out, err, started.returncode


class Failed(Exception):
    pass


def expect(found, wanted):
    if found != wanted:
        raise Failed(f"{found!r} instead of {wanted!r}"[:500])


FEATURES = {}


def feature(function):
    FEATURES[function.__name__.replace("_", " ")] = function
    return function


@feature
def hello(run):
    expect(run.run("echo", "hello")[::2], (b"hello\n", 0))


@feature
def status(run):
    expect(run.run("sh", "-c", "exit 7")[2], 7)


@feature
def status_above_125(run):
    expect(run.run("sh", "-c", "kill -TERM $(sh -c 'echo $PPID')& wait; exit 130")[2], 130)


@feature
def arguments(run):
    out = run.run("sh", "-c", 'for a; do echo "<$a>"; done', "sh", "a b", "", "*")[0]
    expect(out, b"<a b>\n<>\n<*>\n")


@feature
def environment(run):
    expect(run.run("sh", "-c", 'echo "$GIVEN"', env={"GIVEN": "a b=c"})[0], b"a b=c\n")


@feature
def a_megabyte_of_input(run):
    expect(run.run("md5sum", input=ONE_MB)[0].split()[:1], [__import__("hashlib").md5(ONE_MB).hexdigest().encode()])


@feature
def binary_input(run):
    data = bytes([0, 3, 4, 13, 10, 13, 127, 255, 26, 28]) * 10
    expect(run.run("cat", input=data)[0], data)


@feature
def late_input(run):
    started = run.start("sh", "-c", "echo ready; cat; echo end")
    expect(started.stdout.readline(), b"ready\n")
    time.sleep(1)
    out, _ = started.communicate(b"late\n", timeout=30)
    expect((out, started.returncode), (b"late\nend\n", 0))


@feature
def lines(run):
    started = run.start("sh", "-c", 'while read -r a; do echo "got $a"; done')
    for word in (b"one", b"two", b"three"):
        started.stdin.write(word + b"\n")
        started.stdin.flush()
        expect(started.stdout.readline(), b"got " + word + b"\n")
    started.stdin.close()
    expect(started.wait(30), 0)


@feature
def a_slow_reader(run):
    started = run.start("sh", "-c", "head -c 3000000 /dev/zero; echo end >&2")
    started.stdin.close()
    time.sleep(2)
    read = 0
    while piece := started.stdout.read(100_000):
        read += len(piece)
        time.sleep(0.01)
    expect((read, started.stderr.read().strip()[-3:], started.wait(30)), (3_000_000, b"end", 0))


@feature
def closed_output(run):
    started = run.start("sh", "-c", "yes; echo $? >&2")
    started.stdout.read(10)
    started.stdout.close()
    started.stdin.close()
    deadline = time.time() + 20
    while started.poll() is None and time.time() < deadline:
        time.sleep(0.1)
    if started.poll() is None:
        started.kill()
        raise Failed("goes on writing")
    # SIGPIPE, where the host does not end the box itself.
    expect(started.stderr.read().split()[-1:], [b"141"])


@feature
def directory(run):
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/file", "w") as file:
            file.write("content\n")
        os.mkdir(f"{folder}/sub")
        script = (
            "cd /data; ls; cat file; echo new > sub/new; mv sub/new sub/newer; stat -c '%n %s %F' . file sub/newer; rm file; ls -A"
        )
        out, err, code = run.run("sh", "-c", script, folder=folder)
        size = out.split(b". ")[1].split()[0].decode() if b". " in out else "?"
        wanted = f"file\nsub\ncontent\n. {size} directory\nfile 8 regular file\nsub/newer 4 regular file\nsub\n"
        expect((out.decode() + err.decode(), code), (wanted, 0))
        expect(sorted(os.listdir(folder)), ["sub"])
        with open(f"{folder}/sub/newer") as file:
            expect(file.read(), "new\n")


@feature
def a_pipeline(run):
    expect(run.run("sh", "-c", "seq 1000 | sort -rn | head -3 | tr '\\n' ' '")[0], b"1000 999 998 ")


@feature
def sleep_without_work(run):
    def used():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    def costs(seconds):
        before = used()
        expect(run.run("sleep", str(seconds))[2], 0)
        return used() - before

    costs(0)
    # What starting takes is no part of it.
    start = min(costs(0) for _ in range(2))
    work = costs(4) - start
    if work > 0.4:
        raise Failed(f"{work:.1f} s of work in 4 s of sleep")


@feature
def waiting_without_work(run):
    started = run.start("cat")
    time.sleep(4)
    with open(f"/proc/{started.pid}/stat") as file:
        before = sum(map(int, file.read().rsplit(")", 1)[1].split()[11:13]))
    time.sleep(3)
    with open(f"/proc/{started.pid}/stat") as file:
        after = sum(map(int, file.read().rsplit(")", 1)[1].split()[11:13]))
    started.communicate(b"", timeout=30)
    work = (after - before) / os.sysconf("SC_CLK_TCK")
    if work > 0.3:
        raise Failed(f"{work:.1f} s of work in 3 s of waiting for input")


@feature
def interrupt(run):
    started = run.start("sleep", "1000")
    time.sleep(3)
    started.send_signal(signal.SIGINT)
    try:
        # The box's, or the host's own end by the signal.
        expect(started.wait(15) in (130, -signal.SIGINT, 1), True)
    finally:
        started.kill()


def main():
    words = sys.argv[1:]
    only = words.pop(1) if words[0] == "--only" else None
    if only:
        words.pop(0)
    with open(words[0]) as file:
        config = json.load(file)
    failed = 0
    for name, host in config["hosts"].items():
        for form in host["forms"]:
            if only and only not in f"{name}, {form}":
                continue
            bad, told = [], []
            for title, function in FEATURES.items():
                if title in host.get("without", []):
                    continue
                reason = KNOWN.get((name, form, title)) or KNOWN.get((name, "*", title))
                try:
                    function(Run(host, form))
                    if reason:
                        bad.append(f"{title}: works, but is listed as a limit: {reason}")
                except (Failed, OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
                    if reason:
                        told.append(title)
                    else:
                        bad.append(f"{title}: {error}")
            limits = f" (but by the host's limits: {', '.join(told)})" if told else ""
            print(f"host: {name}, {form}: {'ok' + limits if not bad else 'FAILED'}", flush=True)
            for line in bad:
                print(f"    {line}", flush=True)
            failed += len(bad)
    sys.exit(failed != 0)


main()
