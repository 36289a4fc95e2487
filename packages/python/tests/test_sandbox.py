"""Sandboxes as people use them. BOXER is the program, BOXER_SANDBOX_TEMPLATE a box of Debian with python3."""

import concurrent.futures
import contextlib
import io
import itertools
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
import unittest
import urllib.request

from boxer_sandbox import (
    CommandExitException,
    Connection,
    InvalidArgumentException,
    NotFoundException,
    RefusedException,
    Sandbox,
    SandboxException,
    TimeoutException,
)


class Code(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sandbox = Sandbox.create()

    @classmethod
    def tearDownClass(cls):
        cls.sandbox.kill()

    def test_variables_live_on_and_values_come_back(self):
        self.assertEqual(self.sandbox.run_code("x = 20\nprint('hi')").logs.stdout, ["hi\n"])
        execution = self.sandbox.run_code("x + 1")
        self.assertEqual((execution.text, execution.error), ("21", None))
        self.assertTrue(execution.results[0].is_main_result)
        self.assertGreater(execution.execution_count, 1)

    def test_errors_are_data(self):
        execution = self.sandbox.run_code("def f():\n    return 1 / 0\nf()")
        self.assertEqual((execution.error.name, execution.error.value), ("ZeroDivisionError", "division by zero"))
        self.assertIn('line 2, in f\n    return 1 / 0', execution.error.traceback)
        self.assertNotIn("evaluate", execution.error.traceback)
        self.assertEqual(self.sandbox.run_code("(").error.name, "SyntaxError")

    def test_output_comes_as_it_is_written_in_its_order(self):
        heard = []
        code = "import sys, os, time\nprint('a')\ntime.sleep(0.3)\nprint('b', file=sys.stderr)\nos.system('echo c')\nprint('d')"
        say = lambda text: heard.append((text, time.monotonic()))
        self.sandbox.run_code(code, on_stdout=say, on_stderr=say)
        self.assertEqual([text for text, _ in heard], ["a\n", "b\n", "c\n", "d\n"])
        self.assertGreater(heard[1][1] - heard[0][1], 0.15)

    def test_await_and_display(self):
        self.assertEqual(self.sandbox.run_code("import asyncio\nawait asyncio.sleep(0.01)\n'é'").text, "'é'")
        rich = "class R:\n    def _repr_html_(self):\n        return '<b>'\n    def __repr__(self):\n        return 'R'\nR()"
        result = self.sandbox.run_code(rich).results[0]
        self.assertEqual((result.html, result.text), ("<b>", "R"))

    def test_time_is_over_and_variables_stay(self):
        self.sandbox.run_code("kept = 1")
        start = time.monotonic()
        execution = self.sandbox.run_code("while True: pass", timeout=1)
        self.assertEqual((execution.limit, execution.error.name), ("time", "KeyboardInterrupt"))
        self.assertLess(time.monotonic() - start, 20)
        self.assertEqual(self.sandbox.run_code("kept").text, "1")

    def test_an_interpreter_that_ends_is_replaced(self):
        execution = self.sandbox.run_code("import os\nos._exit(3)")
        self.assertEqual(execution.error.name, "ContextLost")
        self.assertEqual(self.sandbox.run_code("1 + 1").text, "2")

    def test_contexts_are_apart(self):
        other = self.sandbox.create_code_context("python")
        self.sandbox.run_code("apart = 1", context=other)
        self.assertEqual(self.sandbox.run_code("apart", context=other).text, "1")
        self.assertEqual(self.sandbox.run_code("apart").error.name, "NameError")

    def test_bash_keeps_its_variables(self):
        self.sandbox.run_code("A=1; cd /tmp", language="bash")
        execution = self.sandbox.run_code('echo "$A $PWD"; echo oh >&2; (exit 4)', language="bash")
        self.assertEqual("".join(execution.logs.stdout), "1 /tmp\n")
        self.assertEqual("".join(execution.logs.stderr), "oh\n")
        self.assertEqual((execution.error.name, execution.error.value), ("ExitStatus", "4"))

    def test_what_is_not_there_is_refused(self):
        with self.assertRaises(InvalidArgumentException):
            self.sandbox.run_code("1", language="cobol")
        with self.assertRaisesRegex(InvalidArgumentException, "no interpreter of javascript"):
            self.sandbox.run_code("1", language="javascript")

    def test_interrupt(self):
        threading.Timer(0.5, self.sandbox.interrupt).start()
        self.assertEqual(self.sandbox.run_code("import time\ntime.sleep(60)").error.name, "KeyboardInterrupt")


class Commands(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sandbox = Sandbox.create(envs={"COLOUR": "blue"})

    @classmethod
    def tearDownClass(cls):
        cls.sandbox.kill()

    def test_output_status_environment_directory_and_user(self):
        run = self.sandbox.commands.run
        self.assertEqual(run("echo $COLOUR $MORE; pwd", envs={"MORE": "x"}, cwd="/tmp").stdout, "blue x\n/tmp\n")
        self.assertEqual(run("id -un", user="nobody").stdout, "nobody\n")
        with self.assertRaises(CommandExitException) as caught:
            run("echo no >&2; exit 3")
        self.assertEqual((caught.exception.exit_code, caught.exception.stderr), (3, "no\n"))

    def test_time_is_over(self):
        with self.assertRaises(TimeoutException):
            self.sandbox.commands.run("sleep 60", timeout=1)
        self.assertEqual(self.sandbox.commands.run("pgrep sleep || true").stdout, "")

    def test_background(self):
        handle = self.sandbox.commands.run("while read line; do echo got $line; done", background=True, stdin=True)
        self.assertIn(handle.pid, [process.pid for process in self.sandbox.commands.list() if process.running])
        handle.send_stdin("a\nb\n")
        handle.close_stdin()
        self.assertEqual(handle.wait().stdout, "got a\ngot b\n")
        sleeper = self.sandbox.commands.run("sleep 100", background=True)
        self.assertTrue(sleeper.kill())
        with self.assertRaises(CommandExitException) as caught:
            sleeper.wait()
        self.assertEqual(caught.exception.exit_code, 137)

    def test_files(self):
        files = self.sandbox.files
        info = files.write("/tmp/d/e/f.txt", "é")
        self.assertEqual((info.name, info.size, info.type.value), ("f.txt", 2, "file"))
        self.assertEqual((files.read("/tmp/d/e/f.txt"), files.read("/tmp/d/e/f.txt", "bytes")), ("é", b"\xc3\xa9"))
        self.assertEqual([entry.path for entry in files.list("/tmp/d", depth=2)], ["/tmp/d/e", "/tmp/d/e/f.txt"])
        files.rename("/tmp/d/e/f.txt", "/tmp/d/g")
        self.assertFalse(files.exists("/tmp/d/e/f.txt"))
        self.assertTrue(files.make_dir("/tmp/d/h") and not files.make_dir("/tmp/d/h"))
        files.remove("/tmp/d")
        with self.assertRaises(NotFoundException):
            files.read("/tmp/d/g")
        big = bytes(range(256)) * 8192
        files.write("/tmp/big", big)
        self.assertEqual(files.read("/tmp/big", "bytes"), big)

    def test_a_directory_is_watched(self):
        self.sandbox.files.make_dir("/tmp/watched")
        events = self.sandbox.files.watch_dir("/tmp/watched")
        self.sandbox.files.write("/tmp/watched/new", "x")
        self.assertEqual(next(event for event in events if event.type == "create").name, "new")
        events.close()

    def test_a_server_inside_is_reached(self):
        self.sandbox.files.write("/tmp/www/index.html", "hello")
        self.sandbox.commands.run("cd /tmp/www && exec python3 -m http.server 8123", background=True)
        until = time.monotonic() + 60
        while 8123 not in self.sandbox.list_ports():
            self.assertLess(time.monotonic(), until)
            time.sleep(0.1)
        self.assertEqual(self.sandbox.list_ports(), [8123])
        with urllib.request.urlopen(self.sandbox.get_url(8123) + "/", timeout=30) as answer:
            self.assertEqual(answer.read(), b"hello")


class Lives(unittest.TestCase):
    def test_forks_go_on_apart(self):
        with Sandbox() as sandbox:
            sandbox.run_code("x = [1]")
            first, second = sandbox.fork(2)
            first.run_code("x.append(2)")
            self.assertEqual([s.run_code("x").text for s in (sandbox, first, second)], ["[1]", "[1, 2]", "[1]"])
            chance = {s.run_code("import random, os\nrandom.random(), os.urandom(8)").text for s in (first, second)}
            self.assertEqual(len(chance), 2)
            first.kill()
            second.kill()

    def test_chance_is_its_own_in_each(self):
        sandboxes = [Sandbox() for _ in range(3)]
        drawn = {s.run_code("import random, uuid\nrandom.random(), uuid.uuid4()").text for s in sandboxes}
        self.assertEqual(len(drawn), 3)
        for sandbox in sandboxes:
            sandbox.kill()

    def test_a_pause_keeps_all(self):
        with Sandbox() as sandbox:
            sandbox.run_code("x = 5\nopen('/tmp/f', 'w').write('y')")
            sandbox.pause()
            self.assertEqual(sandbox.get_info().state, "paused")
            with self.assertRaisesRegex(SandboxException, "paused"):
                sandbox.run_code("x")
            sandbox = Sandbox.connect(sandbox.sandbox_id)
            self.assertEqual(sandbox.run_code("x, open('/tmp/f').read()").text, "(5, 'y')")

    def test_a_snapshot_starts_others(self):
        with Sandbox() as sandbox:
            sandbox.run_code("x = 6")
            name = sandbox.snapshot()
            self.assertEqual(sandbox.run_code("x").text, "6")
        with Sandbox(snapshot=name) as other:
            self.assertEqual(other.run_code("x").text, "6")

    def test_what_changed_and_what_was_done(self):
        with Sandbox() as sandbox:
            sandbox.commands.run("echo x > /root/new; echo >> /etc/passwd; rm /etc/debian_version")
            changes = {change.path: change.change for change in sandbox.diff()}
            expected = {"/root/new": "added", "/etc/passwd": "changed", "/etc/debian_version": "removed"}
            self.assertEqual(changes, expected)
            events = [json.loads(line) for line in sandbox.audit().splitlines()]
            names = [event["event"] for event in events]
            self.assertEqual(names, ["sandbox.created", "command.started", "command.finished", "sandbox.compared"])
            self.assertEqual(events[2]["exit_code"], 0)

    def test_they_end(self):
        sandbox = Sandbox(timeout=1)
        until = time.monotonic() + 10
        while sandbox.get_info().state != "ended":
            self.assertLess(time.monotonic(), until)
            time.sleep(0.1)
        with self.assertRaises(TimeoutException):
            sandbox.run_code("1")
        sandbox = Sandbox(metadata={"who": "me"})
        self.assertIn({"who": "me"}, [info.metadata for info in Sandbox.list()])
        self.assertTrue(sandbox.kill())
        self.assertFalse(sandbox.kill() or sandbox.is_running())
        with self.assertRaises(NotFoundException):
            sandbox.run_code("1")

    def test_many_at_once(self):
        def work(number):
            with Sandbox() as sandbox:
                sandbox.run_code(f"n = {number}")
                return sandbox.run_code("n * 2").text

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            self.assertEqual(list(pool.map(work, range(16))), [str(2 * n) for n in range(16)])


class Documentation(unittest.TestCase):
    def test_the_example_gives_what_it_says(self):
        page = os.path.join(os.path.dirname(__file__), "../../../docs/sandbox.md")
        with open(page) as file:
            lines = file.read().splitlines()
        begin = next(n for n, line in enumerate(lines) if "from boxer_sandbox import" in line)
        example = list(itertools.takewhile(lambda line: line.startswith("    ") or not line, lines[begin:]))
        promised = [line.rpartition("# ")[2] for line in example if line.strip().startswith("print(")]
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(textwrap.dedent("\n".join(example)), {})
        self.assertEqual(said.getvalue().splitlines(), promised)


class Daemon(unittest.TestCase):
    def test_what_cannot_be_started_leaves_nothing_open(self):
        code = "import boxer_sandbox\ntry:\n    boxer_sandbox.Sandbox('/nothing.wasm')\nexcept boxer_sandbox.SandboxException as error:\n    print(error)"
        ran = subprocess.run([sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True)
        self.assertEqual(ran.stdout, "boxer sandboxd has ended with status 1\n")
        self.assertNotIn("ResourceWarning", ran.stderr)

    def test_a_program_that_ends_closes_what_it_had(self):
        code = "import boxer_sandbox\nwith boxer_sandbox.Sandbox() as sandbox: print(sandbox.run_code('1 + 1').text)"
        ran = subprocess.run([sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True)
        self.assertEqual((ran.stdout, ran.stderr), ("2\n", ""))

    def test_who_does_not_know_the_token_gets_nothing(self):
        with Sandbox() as sandbox:
            stranger = Connection(sandbox._connection.url, "x" * 48)
            self.addCleanup(stranger.close)
            with self.assertRaises(RefusedException):
                stranger.json("GET", "/sandboxes")

    def test_nobody_gets_more_than_the_daemon_has(self):
        for policy in (
            {"network": ["host"]},
            {"mounts": [{"host": "/", "guest": "/host"}]},
            {"memory": 8 << 30},
            {"processes": 100_000},
        ):
            with self.assertRaises(RefusedException):
                Sandbox(policy=policy)
        with self.assertRaises(InvalidArgumentException):
            Sandbox(policy={"memmory": 1})
        with self.assertRaises(InvalidArgumentException):
            Sandbox(timeout=-1)

    def test_wrong_requests_get_errors(self):
        with Sandbox() as sandbox:
            connection = sandbox._connection
            for method, path, body in (
                ("GET", "/nothing", None),
                ("POST", "/sandboxes", b"{"),
                ("POST", sandbox._path("/code"), {"kode": "1"}),
                ("POST", sandbox._path("/fork"), {"count": 0}),
                ("POST", sandbox._path("/ports/x"), None),
                ("GET", sandbox._path("/files"), None),
                ("DELETE", sandbox._path("/commands/99999"), None),
                ("POST", "/sandboxes", {"snapshot": "../../etc/passwd"}),
            ):
                with self.assertRaises(SandboxException, msg=path) as caught:
                    connection.call(method, path, None, body)
                self.assertIn(caught.exception.name, ("not_found", "invalid"))
            self.assertIn("boxer_sandboxes", connection.call("GET", "/metrics").decode())
            described = connection.json("GET", "/openapi.json")
            self.assertIn("/sandboxes/{id}/code", described["paths"])


if __name__ == "__main__":
    unittest.main()
