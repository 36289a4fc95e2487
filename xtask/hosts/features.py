"""What is tried on every host: a function each, which fails by `Failed` or returns what it measured.

A script is given for the shell and for Python: a box has one of them, and Python's also runs in `python.wasm`, a program of others, by which
a host is judged where a box fails on it.
"""

import hashlib
import os
import pty
import select
import signal
import struct
import subprocess
import tempfile
import termios
import threading
import time

ONE_MB = bytes(range(256)) * 4096
OUTPUT = 3_000_000
# What comes before it, bytes: engines that compile by and by, on threads of their own, have done so then.
WARMING = 3 * OUTPUT

# Longest time of a program, s; hosts that interpret a box that interprets get more.
PATIENCE = 60


class Failed(Exception):
    pass


class Absent(Failed):
    """The program that a host is judged by has no such thing."""


class TooSlow(Failed):
    """Works, but takes `factor` times as long as it may be compared with, `took` seconds."""

    def __init__(self, took, factor):
        super().__init__(f"{took:.2f} s, {factor:.1f} times as long as elsewhere")
        self.took, self.factor = took, factor


def expect(found, wanted):
    if found != wanted:
        raise Failed(f"{found!r} instead of {wanted!r}"[:300])


class Started:
    """A program that runs under a host; `with` ends it."""

    def __init__(self, command, patience, environment, terminal=False):
        self.patience = patience
        self.terminal = None
        if terminal:
            self.terminal, theirs = pty.openpty()
            termios.tcsetwinsize(theirs, (33, 99))
            streams = (theirs, theirs, theirs)
        else:
            streams = (subprocess.PIPE,) * 3
        stdin, stdout, stderr = streams
        self.process = subprocess.Popen(
            command, stdin=stdin, stdout=stdout, stderr=stderr, env=environment, cwd=tempfile.gettempdir(), start_new_session=True, bufsize=0,
            preexec_fn=become_foreground if terminal else hear_interrupts,
        )
        if terminal:
            os.close(theirs)
        self.deadline = time.monotonic() + patience
        self.timer = threading.Timer(patience, self.kill)
        self.timer.daemon = True
        self.timer.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.timer.cancel()
        self.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
        if self.terminal is not None:
            os.close(self.terminal)

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def line(self):
        line = b""
        while not line.endswith(b"\n"):
            byte = self.process.stdout.read(1)
            if not byte:
                raise Failed(f"ends with {line!r} {self.errors()[:200]!r}")
            line += byte
        return line

    def take(self, size):
        """Reads exactly so many bytes of output."""
        while size:
            piece = self.process.stdout.read(min(size, 1 << 20))
            if not piece:
                raise Failed(f"ends {size} bytes early {self.errors()[:200]!r}")
            size -= len(piece)

    def say(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def errors(self):
        return self.process.stderr.read() if self.process.poll() is not None else b""

    def rest(self, data=b""):
        """Output, errors, status."""
        try:
            out, err = self.process.communicate(data, timeout=self.patience)
        except subprocess.TimeoutExpired:
            self.kill()
            out, err = self.process.communicate()
            raise Failed(f"took too long: {out[:100]} {err[:200]}") from None
        except BrokenPipeError:
            raise Failed("does not take its input") from None
        return out, err, self.process.returncode

    def work(self, seconds):
        """Percent of a processor that the program's processes use in `seconds`."""
        before, start = used(self.process.pid), time.monotonic()
        time.sleep(seconds)
        return 100 * (used(self.process.pid) - before) / (time.monotonic() - start)

    def until(self, wanted):
        """What a terminal shows up to `wanted`."""
        seen = b""
        while wanted not in seen:
            left = self.deadline - time.monotonic()
            if left <= 0 or not select.select([self.terminal], [], [], left)[0]:
                raise Failed(f"no {wanted!r}: {seen[-200:]!r}")
            try:
                piece = os.read(self.terminal, 4096)
            except OSError:
                piece = b""
            if not piece:
                raise Failed(f"no {wanted!r} before the end: {seen[-200:]!r}")
            seen += piece
        return seen


def hear_interrupts():
    """A shell lets what it starts in the background ignore them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def become_foreground():
    import fcntl

    hear_interrupts()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def used(pid):
    """Seconds of user and system time of a process and all below it."""
    parents, times = {}, {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents[int(name)] = int(fields[1])
            times[int(name)] = sum(map(int, fields[11:13]))
    family, grows = {pid}, True
    while grows:
        more = {child for child, parent in parents.items() if parent in family} - family
        family |= more
        grows = bool(more)
    return sum(times.get(member, 0) for member in family) / os.sysconf("SC_CLK_TCK")


FEATURES = {}


def feature(title):
    def add(function):
        FEATURES[title] = function
        return function

    return add


@feature("hello")
def hello(run):
    out, err, status = run.whole(sh="echo hello", py="print('hello')")
    expect((out, status), (b"hello\n", 0)) if out else expect((err[-200:], status), (b"", 0))


@feature("status 7")
def status_7(run):
    expect(run.whole(sh="exit 7", py="import os; os._exit(7)")[2], 7)


@feature("status 130")
def status_130(run):
    expect(run.whole(sh="exit 130", py="import os; os._exit(130)")[2], 130)


@feature("arguments")
def arguments(run):
    out = run.whole(
        "a b", "", "*",
        sh='for a; do echo "<$a>"; done',
        py="import sys; [print(f'<{a}>') for a in sys.argv[1:]]",
    )[0]
    expect(out, b"<a b>\n<>\n<*>\n")


@feature("environment")
def environment(run):
    out = run.whole(sh='echo "$GIVEN"', py="import os; print(os.environ['GIVEN'])", env={"GIVEN": "a b=c"})[0]
    expect(out, b"a b=c\n")


COPY = "import sys,shutil; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"


@feature("1 MB of input")
def a_megabyte_of_input(run):
    out, err, status = run.whole(
        sh="md5sum",
        py="import sys; d=sys.stdin.buffer.read(); print(__import__('hashlib').md5(d).hexdigest())",
        input=ONE_MB,
    )
    expect((out.split()[:1], status), ([hashlib.md5(ONE_MB).hexdigest().encode()], 0))


@feature("binary input")
def binary_input(run):
    data = bytes([0, 3, 4, 13, 10, 13, 127, 255, 26, 28]) * 10
    expect(run.whole(sh="cat", py=COPY, input=data)[0], data)


@feature("late input")
def late_input(run):
    py = "print('ready', flush=True)\n" + COPY + "\nprint('end')"
    with run.start(sh="echo ready; cat; echo end", py=py) as started:
        expect(started.line(), b"ready\n")
        time.sleep(1)
        out, _, status = started.rest(b"late\n")
        expect((out, status), (b"late\nend\n" if run.box != "probe" else out, 0))
        expect(b"late\n" in out, True)


@feature("lines")
def lines(run):
    # As a box does, it waits by poll_oneoff before it reads.
    py = "import os,select\nwhile select.select([0],[],[]) and (a := os.read(0, 99)): print('got', a.decode().strip(), flush=True)"
    with run.start(sh='while read -r a; do echo "got $a"; done', py=py) as started:
        for word in (b"one", b"two", b"three"):
            started.say(word + b"\n")
            expect(started.line(), b"got " + word + b"\n")
        expect(started.rest()[2], 0)


def dd(size):
    """The shell's zeros. Not head's: it copies byte by byte."""
    return f"dd if=/dev/zero bs=6000 count={size // 6000} 2>/dev/null"


def zeros(size):
    """Python's."""
    return (
        f"import os, sys\nfor _ in range({size // 6000}):\n  at, piece = 0, bytes(6000)\n  while at < 6000: at += os.write(1, piece[at:])\n"
        "print('end', file=sys.stderr)"
    )


@feature("a slow reader")
def a_slow_reader(run):
    with run.start(sh=f"{dd(OUTPUT)}; echo end >&2", py=zeros(OUTPUT)) as started:
        started.process.stdin.close()
        time.sleep(2)
        read = 0
        while piece := started.process.stdout.read(100_000):
            read += len(piece)
            time.sleep(0.01)
        err = started.process.stderr.read()
        expect((read, err.strip()[-3:], started.process.wait(30)), (OUTPUT, b"end", 0))


@feature("closed output")
def closed_output(run):
    py = "import os, sys\ntry:\n  while True: os.write(1, b'y\\n'*500)\nexcept BrokenPipeError: os.write(2, b'141\\n')"
    if run.box == "debian":
        py = "import subprocess, sys; print(128 - subprocess.run('yes').returncode, file=sys.stderr)"
    with run.start(sh="yes; echo $? >&2", py=py) as started:
        started.process.stdout.read(10)
        started.process.stdout.close()
        started.process.stdin.close()
        deadline = time.monotonic() + 20
        while started.process.poll() is None:
            if time.monotonic() > deadline:
                raise Failed("goes on writing")
            time.sleep(0.1)
        # Hosts may end by the signal themselves.
        if started.process.returncode != -signal.SIGPIPE:
            expect(started.process.stderr.read().split()[-1:], [b"141"])


def in_directory(run, sh, py, wanted):
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/file", "w") as file:
            file.write("content\n")
        os.mkdir(f"{folder}/sub")
        # Some hosts know only one name for both sides.
        at = folder if run.one_name else "/data"
        out, err, status = run.whole(sh=f"cd {at}; " + sh, py=f"import os; D='{at}/'\n" + py, folder=folder)
        # Hosts may have something to say for themselves.
        text = (out if status == 0 else out + err).decode(errors="replace")
        expect((text, status), (wanted, 0))
        return sorted(os.listdir(folder)), sorted(os.listdir(f"{folder}/sub")), folder_text(folder)


def folder_text(folder):
    for name in ("sub/newer", "sub/new"):
        if os.path.exists(f"{folder}/{name}"):
            with open(f"{folder}/{name}") as file:
                return file.read()
    return None


@feature("directory: read")
def directory_read(run):
    in_directory(run, "cat file", "print(open(D+'file').read(), end='')", "content\n")


@feature("directory: write")
def directory_write(run):
    top, sub, text = in_directory(
        run,
        "echo new > sub/new; mv sub/new sub/newer; echo more >> sub/newer; rm file",
        "f=open(D+'sub/new','w'); f.write('new\\n'); f.close(); os.rename(D+'sub/new', D+'sub/newer')\n"
        "f=open(D+'sub/newer','a'); f.write('more\\n'); f.close(); os.remove(D+'file')",
        "",
    )
    expect((top, sub, text), (["sub"], ["newer"], "new\nmore\n"))


@feature("directory: list")
def directory_list(run):
    in_directory(run, "ls; ls -A sub", "print(*sorted(os.listdir(D)), *os.listdir(D+'sub'), sep='\\n')", "file\nsub\n")


@feature("directory: stat")
def directory_stat(run):
    in_directory(
        run,
        "stat -c '%n %F' . sub; stat -c '%n %s %F' file; test $(stat -c %Y file) -gt 1700000000 && echo recent",
        "import stat\nfor n in ('.', 'sub'): print(n, 'directory' if stat.S_ISDIR(os.stat(D+n).st_mode) else os.stat(D+n))\n"
        "s=os.stat(D+'file'); print('file', s.st_size, 'regular file' if stat.S_ISREG(s.st_mode) else s)\n"
        "if s.st_mtime > 1700000000: print('recent')",
        ". directory\nsub directory\nfile 8 regular file\nrecent\n",
    )


# Percent of a processor.
IDLE = 2.0


def idle(run, sh, py):
    """Once what is started has come to rest."""
    with run.start(sh=sh, py=py) as started:
        expect(started.line(), b"ready\n")
        deadline = time.monotonic() + (60 if run.interprets else 30)
        while started.work(0.5) > IDLE and time.monotonic() < deadline:
            pass
        work = started.work(3)
        expect(started.process.poll(), None)
        if work > IDLE:
            raise Failed(f"{work:.1f} % of a processor")
        return f"{work:.1f} %"


@feature("sleeping idle")
def sleeping(run):
    return idle(run, "echo ready; sleep 100", "import time; print('ready', flush=True); time.sleep(100)")


@feature("waiting for input idle")
def waiting(run):
    return idle(run, "echo ready; cat", "print('ready', flush=True)\n" + COPY)


@feature("threads")
def threads(run):
    if run.box == "probe":
        raise Absent("has no threads")
    py = "import threading\nl=[]; t=[threading.Thread(target=l.append, args=(n,)) for n in range(4)]\n[x.start() for x in t]; [x.join() for x in t]; print(sorted(l))"
    out, err, _ = run.whole(sh="exec /threads", py=py)
    expect(out, b"[0, 1, 2, 3]\n" if run.box == "debian" else b"hello from Rust: {0: 0, 1: 500500, 2: 2001000, 3: 4501500}\n")


@feature("a pipeline")
def a_pipeline(run):
    if run.box == "probe":
        raise Absent("has no processes")
    script = "seq 1000 | sort -rn | head -3 | tr '\\n' ' '"
    out, err, _ = run.whole(sh=script, py=f"import subprocess; subprocess.run({script!r}, shell=True)")
    expect(out or err, b"1000 999 998 ")


@feature("an interrupt")
def interrupt(run):
    with run.start(sh="echo ready; exec sleep 1000", py="import time; print('ready', flush=True); time.sleep(1000)") as started:
        expect(started.line(), b"ready\n")
        time.sleep(0.5)
        os.killpg(started.process.pid, signal.SIGINT)
        try:
            status = started.process.wait(5)
        except subprocess.TimeoutExpired:
            raise Failed("goes on") from None
        # The box's, or the host's own end by the signal.
        expect(status in (130, -signal.SIGINT, 1), True)


@feature("a terminal")
def a_terminal(run):
    """Standard streams are a terminal, it echoes once, and Ctrl-C ends what does not read. `boxer run` tells the size; other hosts cannot."""
    py = (
        "import os,sys,time\nprint('tty', *(os.isatty(n) for n in (0, 1)), flush=True)\nos.isatty(0) or os._exit(1)\nprint('you', sys.stdin.readline().strip(), flush=True)\n"
        "print('now', flush=True)\ntime.sleep(1000)"
    )
    if run.box == "probe":
        # A host that calls everything a terminal has told nothing.
        expect(run.whole(sh="", py="import os; print(os.isatty(0), os.isatty(1))")[0], b"False False\n")
    sh = "test -t 0 && test -t 1 && echo tty True True || exit 1; read a; echo you $a; stty size 2>&1; echo now; sleep 1000; true"
    with run.start(sh=sh, py=py, terminal=True) as started:
        started.until(b"tty True True\r\n")
        os.write(started.terminal, b"me\n")
        seen = started.until(b"now\r\n")
        expect(seen.count(b"me\r\n"), 2)
        if run.tells_size and run.box != "debian":
            expect(b"33 99" in seen, True)
        time.sleep(0.5)
        os.write(started.terminal, b"\x03")
        try:
            started.process.wait(5)
        except subprocess.TimeoutExpired:
            raise Failed("Ctrl-C does not end it") from None


def output_time(run):
    """
    Seconds from the first to the last byte of 3 MB of output that come behind `WARMING` others: starting, compiling and ending are not output.
    """
    sh = f"echo ready; cat; {dd(WARMING + OUTPUT)}"
    with run.start(sh=sh, py="print('ready', flush=True)\n" + COPY + "\n" + zeros(WARMING + OUTPUT)) as started:
        expect(started.line(), b"ready\n")
        started.process.stdin.close()
        started.take(WARMING)
        started.take(1)
        start = time.monotonic()
        started.take(OUTPUT - 1)
        took = time.monotonic() - start
        expect(started.process.stdout.read(1), b"")
        return took


OUTPUT_TITLE = "3 MB of output"


@feature(OUTPUT_TITLE)
def output(run):
    """A box is compared with itself under the first host, `boxer run`; the program that hosts are judged by with itself under wasmtime."""
    took = min(output_time(run) for _ in range(4))
    measure = max(run.floor, run.measures.setdefault((run.box, run.form), took))
    factor, limit = took / measure, 10 if run.interprets else 2
    if factor > limit:
        raise TooSlow(took, factor)
    return f"{took:.3f} s"
