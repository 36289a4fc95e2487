"""Budgets: what happens at each limit, and that it is told. BOXER is the program, BOXER_SANDBOX_TEMPLATE a box of Debian with python3."""

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import threading
import unittest

from boxer_sandbox import CommandExitException, RefusedException, Sandbox, SandboxException

LOOP = "n = 0\nwhile True: n += 1"
WORK = "sum(i * i for i in range(20000))"


def events(sandbox, name):
    """The lines of this event in the audit trail."""
    return [line for line in map(json.loads, sandbox.audit().splitlines()) if line["event"] == name]


class Instructions(unittest.TestCase):
    def test_code_stops_at_the_last_one_and_variables_stay(self):
        with Sandbox() as sandbox:
            sandbox.run_code("kept = 1")
            execution = sandbox.run_code(LOOP, instructions=50_000_000)
            self.assertEqual((execution.limit, execution.error.name), ("instructions", "KeyboardInterrupt"))
            # What comes after that is what the interpreter needs to stop.
            self.assertTrue(50_000_000 <= execution.instructions < 60_000_000, execution.instructions)
            self.assertEqual(sandbox.run_code("kept").text, "1")
            self.assertEqual(sandbox.run_code("2", instructions=1_000_000_000).limit, None)
            self.assertEqual(sandbox.run_code("3").instructions, None)
            self.assertEqual([line["by"] for line in events(sandbox, "limit.reached")], ["code"])
            finished = events(sandbox, "code.finished")
            self.assertEqual([line["limit"] for line in finished], [None, "instructions", None, None, None])

    def test_the_same_code_stops_at_the_same_place(self):
        counted = []
        for _ in range(3):
            with Sandbox() as sandbox:
                sandbox.run_code(LOOP, instructions=30_000_000)
                counted.append(int(sandbox.run_code("n").text))
        self.assertEqual(len(set(counted)), 1, counted)
        self.assertGreater(counted[0], 10_000)

    def test_code_that_goes_on_is_killed(self):
        with Sandbox() as sandbox:
            stubborn = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"
            execution = sandbox.run_code(stubborn, instructions=20_000_000, timeout=120)
            self.assertEqual((execution.limit, execution.error.name), ("instructions", "ContextLost"))
            self.assertEqual(execution.instructions, 120_000_000)
            self.assertEqual(sandbox.run_code("1 + 1").text, "2")

    def test_bash_and_what_it_starts(self):
        with Sandbox() as sandbox:
            execution = sandbox.run_code("python3 -c 'while True: pass'", language="bash", instructions=200_000_000)
            self.assertEqual(execution.limit, "instructions")
            self.assertEqual(sandbox.run_code("echo fine", language="bash").logs.stdout, ["fine\n"])

    def test_commands_are_counted_one_by_one(self):
        with Sandbox() as sandbox:
            run = sandbox.commands.run
            with self.assertRaises(CommandExitException) as caught:
                run("while :; do :; done", instructions=5_000_000)
            self.assertEqual((caught.exception.exit_code, caught.exception.error), (137, "instructions"))
            line = events(sandbox, "command.finished")[-1]
            self.assertEqual((line["instructions"], line["limit"]), (5_000_000, "instructions"))
            first = run("i=0; while [ $i -lt 300 ]; do i=$((i + 1)); done", instructions=10**9)
            second = run("i=0; while [ $i -lt 400 ]; do i=$((i + 1)); done", instructions=10**9)
            self.assertLess(first.instructions, second.instructions)
            # The last one is enough, one less is not.
            run("exec true", instructions=10**9)
            handle = run("sleep 1; true", background=True, instructions=10**9)
            self.assertGreater(handle.wait().instructions, 1000)

    def test_those_of_the_sandbox_end_it(self):
        with Sandbox(policy={"instructions": 400_000_000}) as sandbox:
            sandbox.run_code(WORK)
            used = sandbox.usage().instructions
            self.assertTrue(0 < used < 400_000_000, used)
            with self.assertRaisesRegex(SandboxException, "limit of 400000000 instructions is used up"):
                sandbox.run_code(LOOP)
            self.assertEqual(sandbox.get_info().state, "ended")
            reached = [(line["limit"], line["by"]) for line in events(sandbox, "limit.reached")]
            self.assertEqual(reached, [("instructions", "sandbox")])
            self.assertEqual(len(events(sandbox, "sandbox.ended")), 1)

    def test_a_pause_gives_none_back(self):
        with Sandbox(policy={"instructions": 10**10, "cpu_time": 1000}) as sandbox:
            sandbox.run_code(WORK)
            before = sandbox.usage()
            sandbox.pause()
            sandbox.resume()
            after = sandbox.usage()
            self.assertGreaterEqual(after.instructions, before.instructions)
            self.assertGreaterEqual(after.cpu_time, before.cpu_time)
            self.assertEqual(events(sandbox, "sandbox.ended"), [])
            copy, = sandbox.fork()
            self.assertLess(copy.usage().instructions, before.instructions)
            copy.kill()

    def test_a_limit_of_nothing_is_refused(self):
        with Sandbox() as sandbox, self.assertRaisesRegex(SandboxException, "nothing runs"):
            sandbox.run_code("1", instructions=0)


class Inside(unittest.TestCase):
    """Limits that programs meet as errors; the sandbox goes on."""

    def test_open_files(self):
        with Sandbox(policy={"open_files": 100}) as sandbox:
            code = "import os\nkept = []\ntry:\n    while True: kept.append(os.open('/etc', os.O_RDONLY))\nexcept OSError as e:\n    print(e.errno, len(kept))"
            errno, count = map(int, "".join(sandbox.run_code(code).logs.stdout).split())
            self.assertEqual(errno, 23)
            self.assertTrue(50 < count < 100, count)
            # Others of the sandbox get none, either, as long as they are open.
            with self.assertRaises(SandboxException):
                sandbox.commands.run("echo x")
            sandbox.run_code("for fd in kept: os.close(fd)")
            self.assertEqual(sandbox.commands.run("echo fine; cat /proc/sys/fs/file-max").stdout, "fine\n100\n")
            self.assertIn("open_files", [line["limit"] for line in events(sandbox, "limit.reached")])

    def test_processes_storage_and_memory_are_told(self):
        with Sandbox(policy={"processes": 16, "storage": 8 << 20, "memory": 192 << 20}) as sandbox:
            sandbox.run_code("import os, time\ntry:\n    while True:\n        if os.fork() == 0: time.sleep(1); os._exit(0)\nexcept OSError: pass\ntry:\n    while True: os.wait()\nexcept ChildProcessError: pass")
            sandbox.run_code("try:\n    open('/tmp/f', 'wb').write(bytes(16 << 20))\nexcept OSError as e: print(e)\nos.remove('/tmp/f')")
            with contextlib.suppress(CommandExitException):
                sandbox.commands.run("tail /dev/zero")
            reached = [line["limit"] for line in events(sandbox, "limit.reached")]
            self.assertEqual(reached, ["processes", "storage", "memory"])

    def test_usage(self):
        with Sandbox() as sandbox:
            before = sandbox.usage()
            sandbox.files.write("/tmp/f", bytes(1 << 20))
            sandbox.run_code("kept = bytearray(8 << 20)\nfile = open('/etc/passwd')\nimport subprocess\nchild = subprocess.Popen(['sleep', '100'])")
            after = sandbox.usage()
            self.assertGreaterEqual(after.storage - before.storage, 1 << 20)
            self.assertGreaterEqual(after.memory - before.memory, 7 << 20)
            self.assertGreater(after.open_files, before.open_files)
            self.assertEqual(after.processes - before.processes, 1)
            self.assertGreater(after.instructions, before.instructions)
            self.assertEqual(after.network_bytes, 0)


class Network(unittest.TestCase):
    def setUp(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.server.close)
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()
        words = [os.environ["BOXER"], "sandboxd", "--until-stdin-ends", "--network", f"allow=localhost:{self.port}"]
        words += ["--network-bytes", "1m", os.environ["BOXER_SANDBOX_TEMPLATE"]]
        self.daemon = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(self.daemon.wait)
        self.addCleanup(self.daemon.stdin.close)
        self.addCleanup(self.daemon.stdout.close)
        self.ready = json.loads(self.daemon.stdout.readline())

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self.server.accept()
                with peer, contextlib.suppress(OSError):
                    peer.recv(100)
                    peer.sendall(bytes(3 << 20))

    def test_bytes_are_counted_and_then_connections_are_reset(self):
        options = {"url": self.ready["url"], "token": self.ready["token"]}
        network = [f"allow=localhost:{self.port}"]
        with Sandbox(policy={"network": network, "network_bytes": 100_000}, **options) as sandbox:
            code = f"""
import socket
peer = socket.create_connection(("172.17.0.1", {self.port}))
peer.sendall(b"go")
got = 0
try:
    while part := peer.recv(65536): got += len(part)
except OSError as error:
    print(error.errno, got)
try: socket.create_connection(("172.17.0.1", {self.port}))
except OSError as error: print(error.errno)
"""
            said = "".join(sandbox.run_code(code).logs.stdout).split()
            self.assertEqual((said[0], said[2]), ("104", "13"), said)
            self.assertLess(int(said[1]), 100_000)
            self.assertEqual(sandbox.run_code("1 + 1").text, "2")
            self.assertLessEqual(sandbox.usage().network_bytes, 100_000)
            opened, = events(sandbox, "network.opened")
            self.assertEqual(opened["protocol"], "tcp")
            self.assertEqual([line["limit"] for line in events(sandbox, "limit.reached")], ["network_bytes"])
            self.assertEqual(len(events(sandbox, "network.refused")), 1)
        with self.assertRaises(RefusedException):
            Sandbox(policy={"network_bytes": 2 << 20}, **options)

    def test_what_is_tried_without_a_network_is_told(self):
        with Sandbox() as sandbox:
            code = "import socket\nfor a in ('10.1.2.3', '169.254.169.254'):\n    try: socket.create_connection((a, 80), timeout=5)\n    except OSError as e: print(e.errno)\ntry: socket.getaddrinfo('example.com', 80)\nexcept OSError as e: print('no')"
            self.assertEqual("".join(sandbox.run_code(code).logs.stdout).split(), ["101", "101", "no"])
            tried = [line["to"] for line in events(sandbox, "network.refused")]
            self.assertEqual(tried, ["10.1.2.3:80", "169.254.169.254:80"])
            self.assertIn("example.com", [line["name"] for line in events(sandbox, "network.lookup_refused")])


class Trail(unittest.TestCase):
    def test_everything_that_is_done_has_its_line(self):
        with Sandbox() as sandbox:
            sandbox.run_code("1")
            sandbox.interrupt()
            context = sandbox.create_code_context()
            sandbox.run_code("1", context=context)
            sandbox.commands.run("true")
            handle = sandbox.commands.run("cat", background=True, stdin=True)
            handle.send_stdin("x")
            handle.kill()
            files = sandbox.files
            files.write("/tmp/a", "x" * 5)
            files.read("/tmp/a")
            files.exists("/tmp/a")
            files.rename("/tmp/a", "/tmp/b")
            files.make_dir("/tmp/d")
            files.list("/tmp")
            files.remove("/tmp/b")
            sandbox.diff()
            with tempfile.TemporaryDirectory() as folder:
                sandbox.export(os.path.join(folder, "x.tar"))
            sandbox.set_timeout(100)
            sandbox.get_url(80)
            sandbox.snapshot()
            copy, = sandbox.fork()
            copy.kill()
            sandbox.pause()
            sandbox.resume()
            lines = [json.loads(line) for line in sandbox.audit().splitlines()]
        page = os.path.join(os.path.dirname(__file__), "../../../docs/sandbox.md")
        with open(page) as file:
            rows = [line for line in file if line.startswith("| `")]
        documented = {word for row in rows for word in row.split("|")[1].replace("`", " ").replace(",", " ").split()}
        seen = {line["event"] for line in lines}
        self.assertLessEqual(seen, documented)
        wanted = "sandbox.created code.started code.finished code.interrupted context.created command.started command.finished command.input"
        wanted += " command.signaled file.write file.read file.info file.rename file.make_dir file.list file.remove sandbox.compared sandbox.exported"
        wanted += " sandbox.timeout port.opened sandbox.snapshot sandbox.forked sandbox.paused sandbox.resumed"
        self.assertLessEqual(set(wanted.split()), seen)
        self.assertTrue(all({"time", "sandbox", "event"} <= set(line) for line in lines))
        write = next(line for line in lines if line["event"] == "file.write")
        self.assertEqual((write["path"], write["bytes"], write["error"]), ("/tmp/a", 5, None))


if __name__ == "__main__":
    unittest.main()
