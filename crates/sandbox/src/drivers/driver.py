# What runs a sandbox's Python code: it waits for the host at a port of the sandbox and keeps one namespace, as a notebook does.
# Requests and events are lines of JSON. It is given by `python3 -c`, so no file of it is in the sandbox.
import ast
import builtins
import codecs
import json
import linecache
import os
import select
import signal
import socket
import sys
import threading
import traceback
import types

PIECE = 65536
# CO_COROUTINE: code that awaits outside of a function.
AWAITS = 0x80
# Both what the interpreter's own streams write and what goes to descriptors 1 and 2 (of child processes too).
NAMES = ("stdout", "stderr")


OWN = (lambda: 0).__code__.co_filename


class Link:
    """The host's connection. Once it is gone, what is said is lost."""

    def __init__(self, connection):
        self.connection = connection
        self.lock = threading.RLock()
        self.rest = b""

    def say(self, **event):
        line = json.dumps(event).encode() + b"\n"
        with self.lock:
            if self.connection is None:
                return
            try:
                self.connection.sendall(line)
            except OSError:
                self.connection = None

    def hear(self):
        """The next request; None when the host is gone."""
        while b"\n" not in self.rest:
            try:
                data = self.connection.recv(PIECE) if self.connection else b""
            except OSError:
                data = b""
            if not data:
                return None
            self.rest += data
        line, self.rest = self.rest.split(b"\n", 1)
        return json.loads(line)


class Stream:
    """sys.stdout and sys.stderr: text goes to the host at once, in order."""

    encoding = "utf-8"
    errors = "backslashreplace"
    newlines = None
    closed = False
    mode = "w"

    def __init__(self, shell, number):
        self.shell = shell
        self.number = number
        self.name = "<%s>" % NAMES[number]
        self.buffer = Bytes(self)

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError("write() argument must be str, not %s" % type(text).__name__)
        if text:
            self.shell.output(self.number, text.encode("utf-8", "backslashreplace"))
        return len(text)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def flush(self):
        if os.getpid() == self.shell.pid:
            with self.shell.lock:
                self.shell.release(self.number)

    def fileno(self):
        return self.number + 1

    def isatty(self):
        return False

    def readable(self):
        return False

    def writable(self):
        return True

    def seekable(self):
        return False

    def close(self):
        pass

    def reconfigure(self, **_):
        pass


class Bytes:
    """The binary side of a Stream."""

    closed = False
    mode = "wb"

    def __init__(self, stream):
        self.stream = stream
        self.raw = self

    def write(self, data):
        data = bytes(data)
        self.stream.shell.output(self.stream.number, data)
        return len(data)

    def flush(self):
        pass

    def fileno(self):
        return self.stream.fileno()

    def isatty(self):
        return False

    def readable(self):
        return False

    def writable(self):
        return True

    def seekable(self):
        return False


class Shell:
    def __init__(self):
        self.link = Link(None)
        self.cell = 0
        self.id = None
        self.life = None
        self.loop = None
        module = types.ModuleType("__main__")
        module.__builtins__ = builtins
        sys.modules["__main__"] = module
        self.names = module.__dict__
        self.pid = os.getpid()
        self.pipes = []
        self.decoders = [codecs.getincrementaldecoder("utf-8")("replace") for _ in NAMES]
        self.lock = threading.RLock()
        self.held = ["", ""]

    def take_streams(self):
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, 0)
        for number in range(len(NAMES)):
            reader, writer = os.pipe()
            os.dup2(writer, number + 1)
            os.close(writer)
            os.set_blocking(reader, False)
            self.pipes.append(reader)
        os.close(null)
        sys.stdin = open(0, closefd=False)
        sys.stdout = sys.__stdout__ = Stream(self, 0)
        sys.stderr = sys.__stderr__ = Stream(self, 1)
        sys.displayhook = self.display
        threading.Thread(target=self.pump, daemon=True).start()

    def pump(self):
        # Signals are for the main thread, which may be sleeping.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        poll = select.poll()
        for reader in self.pipes:
            poll.register(reader, select.POLLIN)
        while True:
            poll.poll()
            self.drain()

    def drain(self):
        """Tells what child processes have written."""
        with self.lock:
            for number, reader in enumerate(self.pipes):
                while True:
                    try:
                        data = os.read(reader, PIECE)
                    except BlockingIOError:
                        break
                    if not data:
                        break
                    self.tell(number, data)

    def output(self, number, data):
        if os.getpid() != self.pid:
            # A child made by os.fork: the parent hears of it by the pipe.
            while data:
                data = data[os.write(number + 1, data):]
            return
        self.drain()
        with self.lock:
            self.tell(number, data)

    def tell(self, number, data):
        self.release(1 - number)
        self.held[number] += self.decoders[number].decode(data)
        # One event for a line that comes in pieces.
        if self.held[number].endswith("\n") or len(self.held[number]) > PIECE:
            self.release(number)

    def release(self, number):
        text, self.held[number] = self.held[number], ""
        if text:
            self.link.say(id=self.id, type=NAMES[number], text=text)

    def result(self, value, main):
        self.drain()
        self.link.say(id=self.id, type="result", main=main, data=formats(value))

    def display(self, value):
        if value is not None:
            self.result(value, False)

    def begin_life(self):
        """After a start from a frozen state: what all starts share is made anew."""
        try:
            with open("/dev/boxer/snapshot") as file:
                life = file.read()
        except OSError:
            return
        if life == self.life:
            return
        self.life = life
        for name in ("random", "numpy.random"):
            module = sys.modules.get(name)
            if module is not None and hasattr(module, "seed"):
                module.seed()

    def run(self, request):
        self.id = request["id"]
        self.cell += 1
        error = None
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            os.environ.update(request.get("env") or {})
            if request.get("cwd"):
                os.chdir(request["cwd"])
            self.execute(request["code"])
        except BaseException as caught:
            error = self.describe(caught)
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            self.figures()
        except BaseException as caught:
            error = error or self.describe(caught)
        self.drain()
        with self.lock:
            for number, decoder in enumerate(self.decoders):
                self.held[number] += decoder.decode(b"", True)
                decoder.reset()
                self.release(number)
        if error is not None:
            self.link.say(id=self.id, type="error", **error)
        self.link.say(id=self.id, type="done", count=self.cell)

    def rehearse(self, request):
        """As `run`, and nothing of it stays but what the interpreter and the box have found out on the way."""
        names, cell = self.names, self.cell
        self.names = dict(names)
        try:
            self.run(request)
        finally:
            for number in range(cell, self.cell):
                linecache.cache.pop(cell_name(number + 1), None)
            self.names, self.cell = names, cell

    def execute(self, code):
        name = cell_name(self.cell)
        linecache.cache[name] = (len(code), None, code.splitlines(True), name)
        tree = compile(code, name, "exec", ast.PyCF_ONLY_AST)
        last = None
        if tree.body and isinstance(tree.body[-1], ast.Expr) and not code.rstrip().endswith(";"):
            last = ast.Expression(tree.body.pop().value)
        if tree.body:
            self.evaluate(compile(tree, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT))
        if last is not None:
            value = self.evaluate(compile(last, name, "eval", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT))
            if value is not None:
                self.names["_"] = value
                if not is_plot(value):
                    self.result(value, True)

    def evaluate(self, code):
        value = eval(code, self.names)
        if not code.co_flags & AWAITS:
            return value
        import asyncio

        if self.loop is None:
            self.loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self.loop)
        return self.loop.run_until_complete(value)

    def describe(self, error):
        inner = error.__traceback__
        # This program is a string, too; what user code compiles from strings comes below its cells.
        while inner is not None and inner.tb_frame.f_code.co_filename == OWN:
            inner = inner.tb_next
        try:
            lines = traceback.format_exception(type(error), error, inner)
            value = str(error)
        except BaseException:
            lines, value = [type(error).__name__], ""
        return {"name": type(error).__name__, "value": value, "traceback": "".join(lines)}

    def figures(self):
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is None:
            return
        for number in pyplot.get_fignums():
            figure = pyplot.figure(number)
            self.link.say(id=self.id, type="result", main=False, data=png(figure))
        pyplot.close("all")

    def serve(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:
                # Who called has gone already.
                continue
            self.link = Link(connection)
            self.begin_life()
            self.link.say(type="hello", pid=self.pid)
            while True:
                request = self.link.hear()
                if request is None:
                    break
                (self.rehearse if request.get("rehearse") else self.run)(request)
            connection.close()


def cell_name(number):
    return "<cell %d>" % number


def is_plot(value):
    """What pyplot's functions give back: the figure is shown, not the object."""
    kind = type(value).__module__
    if isinstance(value, (list, tuple)) and value:
        kind = type(value[0]).__module__
    return kind.startswith("matplotlib.") and bool(sys.modules["matplotlib.pyplot"].get_fignums())


def png(figure):
    import base64
    import io

    out = io.BytesIO()
    figure.savefig(out, format="png", bbox_inches="tight")
    return {"text/plain": repr(figure), "image/png": base64.b64encode(out.getvalue()).decode()}


REPRESENTATIONS = (
    ("text/html", "_repr_html_"),
    ("text/markdown", "_repr_markdown_"),
    ("image/svg+xml", "_repr_svg_"),
    ("image/png", "_repr_png_"),
    ("image/jpeg", "_repr_jpeg_"),
    ("text/latex", "_repr_latex_"),
    ("application/json", "_repr_json_"),
)


def formats(value):
    """A value by MIME type, as notebooks have it. Pictures are in base64."""
    if type(value).__module__ == "matplotlib.figure":
        sys.modules["matplotlib.pyplot"].close(value)
        return png(value)
    data = {}
    for mime, method in REPRESENTATIONS:
        shows = getattr(type(value), method, None)
        try:
            shown = shows(value) if shows else None
        except Exception:
            shown = None
        if isinstance(shown, tuple):
            shown = shown[0]
        if isinstance(shown, bytes):
            import base64

            shown = base64.b64encode(shown).decode()
        if isinstance(shown, str) or (shown is not None and mime == "application/json"):
            data[mime] = shown
    data["text/plain"] = repr(value)
    return data


def main(port, preload):
    out = os.dup(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("MPLBACKEND", "agg")
    # What a script has that is given by name: no path of ours, but the directory at hand.
    sys.argv = [""]
    shell = Shell()
    for name in preload:
        __import__(name)
    if "matplotlib.pyplot" in sys.modules:
        # Fonts are found, and kept.
        figure = sys.modules["matplotlib.pyplot"].figure()
        figure.gca().set_title("0")
        png(figure)
        sys.modules["matplotlib.pyplot"].close("all")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("", port))
    listener.listen(4)
    shell.take_streams()
    os.write(out, b"%d\n" % listener.getsockname()[1])
    os.close(out)
    shell.serve(listener)


main(int(sys.argv[1]), sys.argv[2:])
