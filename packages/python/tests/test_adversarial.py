"""Programs that mean no good. After each of them the daemon and a neighbour answer as before.

BOXER is the program, BOXER_SANDBOX_TEMPLATE a box of Debian with python3.
"""

import json
import os
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from boxer_sandbox import CommandExitException, NotEnoughSpaceException, Sandbox, SandboxException, TimeoutException

SMALL = {"memory": 192 << 20, "storage": 32 << 20, "processes": 32, "output": 1 << 20}


def quietly(work, *arguments, **options):
    """Does what may fail."""
    try:
        return work(*arguments, **options)
    except SandboxException as error:
        return error


class Adversarial(unittest.TestCase):
    policy = SMALL

    @classmethod
    def setUpClass(cls):
        cls.neighbour = Sandbox()
        cls.neighbour.run_code("mine = 'still here'")

    @classmethod
    def tearDownClass(cls):
        cls.neighbour.kill()

    def setUp(self):
        self.sandbox = Sandbox(policy=self.policy)

    def tearDown(self):
        start = time.monotonic()
        self.assertEqual(self.neighbour.run_code("mine").text, "'still here'")
        self.assertLess(time.monotonic() - start, 30)
        start = time.monotonic()
        self.sandbox.kill()
        self.assertLess(time.monotonic() - start, 30)

    def code(self, code, **options):
        return self.sandbox.run_code(code, **{"timeout": 60, **options})

    def works(self):
        """What is left of the sandbox can be used."""
        self.assertEqual(self.sandbox.commands.run("echo fine").stdout, "fine\n")
        self.assertEqual(self.code("6 * 7").text, "42")


class Resources(Adversarial):
    def test_a_fork_bomb(self):
        error = quietly(self.sandbox.commands.run, ":(){ :|:& };: ; sleep 3", timeout=5)
        self.assertIsInstance(error, (SandboxException, object))
        self.assertLessEqual(len(self.sandbox.files.list("/proc")), 32 + 200)
        # What it has left behind belongs to the session of the command that was killed.
        quietly(self.sandbox.commands.run, "kill -9 -1", timeout=10)

    def test_a_fork_bomb_in_code(self):
        code = "import os\nn = 0\ntry:\n    while True:\n        if os.fork() == 0:\n            import time; time.sleep(100); os._exit(0)\n        n += 1\nexcept OSError as e:\n    print(n, e.errno)"
        said = "".join(self.code(code).logs.stdout)
        count, errno = map(int, said.split())
        self.assertTrue(0 < count < 32 and errno == 11, said)

    def test_threads_without_end(self):
        code = "import threading, time\nn = 0\ntry:\n    while True:\n        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()\n        n += 1\nexcept RuntimeError:\n    print(n)"
        self.assertLess(int("".join(self.code(code).logs.stdout)), 32)

    def test_memory_at_once(self):
        self.assertEqual(self.code("bytearray(1 << 30)").error.name, "MemoryError")
        self.works()

    def test_memory_little_by_little(self):
        execution = self.code("a = []\nwhile True: a.append(bytearray(1 << 20))")
        self.assertIn(execution.error.name, ("MemoryError", "ContextLost"))
        self.code("a = None")
        self.works()

    def test_files_fill_the_storage(self):
        with self.assertRaises(CommandExitException) as caught:
            self.sandbox.commands.run("dd if=/dev/zero of=/tmp/big bs=1M count=200")
        self.assertIn("No space left", caught.exception.stderr)
        with self.assertRaises(NotEnoughSpaceException):
            self.sandbox.files.write("/tmp/more", b"x" * (4 << 20))
        self.sandbox.files.remove("/tmp/big")
        self.works()

    def test_files_without_end(self):
        code = "import os\nn = 0\ntry:\n    while n < 500000:\n        open(f'/tmp/{n}', 'w').close()\n        n += 1\nexcept OSError as e:\n    print(e.errno)\nprint('done')"
        execution = self.code(code, timeout=15)
        self.assertTrue(execution.limit == "time" or "done" in "".join(execution.logs.stdout))
        self.works()

    def test_descriptors_without_end(self):
        code = "import os\nfds = []\ntry:\n    while True: fds.append(os.open('/dev/null', 0))\nexcept OSError as e:\n    print(e.errno)\nfor fd in fds: os.close(fd)"
        self.assertIn("24\n", self.code(code).logs.stdout)
        self.works()

    def test_output_of_a_command_without_end(self):
        with self.assertRaises(CommandExitException) as caught:
            self.sandbox.commands.run("yes")
        self.assertEqual(caught.exception.error, "output")
        self.assertLessEqual(len(caught.exception.stdout), 1 << 20)
        self.works()

    def test_output_of_code_without_end(self):
        execution = self.code("while True: print('x' * 1000)")
        self.assertEqual(execution.limit, "output")
        self.assertLessEqual(len("".join(execution.logs.stdout)), 1 << 20)
        self.works()

    def test_a_line_without_end(self):
        execution = self.code("import sys\nwhile True: sys.stdout.write('x' * 65536)")
        self.assertEqual(execution.limit, "output")
        self.works()

    def test_a_value_without_end(self):
        execution = self.code("'x' * (8 << 20)")
        self.assertIn(execution.error.name if execution.error else execution.limit, ("ContextLost", "output"))
        self.works()


class Time(Adversarial):
    def test_an_endless_loop_in_c(self):
        # sum() looks at no signal.
        execution = self.code("import itertools\nsum(itertools.repeat(1))", timeout=1)
        self.assertEqual((execution.limit, execution.error.name), ("time", "ContextLost"))
        self.works()

    def test_a_loop_that_ignores_signals(self):
        code = "import signal\nfor s in range(1, 32):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nwhile True: pass"
        execution = self.code(code, timeout=1)
        self.assertEqual((execution.limit, execution.error.name), ("time", "ContextLost"))
        self.works()

    def test_a_loop_that_catches_the_interrupt(self):
        execution = self.code("import time\nwhile True:\n    try:\n        while True: time.sleep(0.01)\n    except BaseException: pass", timeout=1)
        self.assertEqual((execution.limit, execution.error.name), ("time", "ContextLost"))
        self.works()

    def test_a_storm_of_signals(self):
        code = "import os, signal\nsignal.signal(signal.SIGUSR1, lambda *_: None)\nif os.fork() == 0:\n    while True: os.kill(os.getppid(), signal.SIGUSR1)\nwhile True: pass"
        self.code(code, timeout=1)
        quietly(self.sandbox.commands.run, "pkill -9 python3", timeout=20)

    def test_a_bomb_with_a_fuse(self):
        self.sandbox.commands.run("(sleep 1; yes > /dev/null) > /dev/null 2>&1 &")
        time.sleep(2)
        self.works()

    def test_what_runs_for_ever_ends_with_the_sandbox(self):
        self.sandbox.set_timeout(2)
        start = time.monotonic()
        error = quietly(self.sandbox.commands.run, "while :; do :; done", timeout=60)
        self.assertIsInstance(error, TimeoutException)
        self.assertLess(time.monotonic() - start, 30)


class Kernel(Adversarial):
    def test_everything_is_killed(self):
        quietly(self.sandbox.commands.run, "kill -9 -1", timeout=10)
        # The interpreter was among them.
        self.assertEqual(self.code("1").error.name, "ContextLost")
        self.works()

    def test_the_first_process_is_killed(self):
        quietly(self.sandbox.commands.run, "kill -9 1; kill -STOP 1", timeout=10)
        self.assertTrue(self.sandbox.is_running())
        self.works()

    def test_files_of_the_kernel(self):
        script = "for f in /proc/1/mem /proc/kcore /proc/sysrq-trigger /dev/mem /proc/sys/kernel/core_pattern /proc/self/oom_score_adj; do echo x > $f; head -c 64 $f; done; ls -l /proc/1/root /proc/1/cwd /proc/1/fd; cat /proc/*/environ | wc -c; mount -t proc none /mnt; mknod /tmp/sda b 8 0; cat /tmp/sda; chroot / true; unshare -r true; true"
        quietly(self.sandbox.commands.run, script, timeout=60)
        self.works()

    def test_crafted_programs(self):
        code = """
import os, random, subprocess
whole = bytearray(open('/bin/true', 'rb').read())
random.seed(7)
for n in range(60):
    bad = bytearray(whole)
    for _ in range(random.randint(1, 24)):
        bad[random.randrange(0x400)] = random.choice((0, 1, 0x7f, 0x80, 0xff, random.randrange(256)))
    with open('/tmp/bad', 'wb') as file: file.write(bad[:random.choice((4, 63, 64, 300, len(bad)))] if n % 3 == 0 else bad)
    os.chmod('/tmp/bad', 0o755)
    try:
        subprocess.run(['/tmp/bad'], timeout=5, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        pass
print('survived')
"""
        self.assertIn("survived\n", self.code(code, timeout=250).logs.stdout)
        self.works()

    def test_a_crash_in_c(self):
        self.assertEqual(self.code("import ctypes\nctypes.string_at(0)").error.name, "ContextLost")
        self.works()

    def test_random_system_calls(self):
        code = """
import ctypes, os, random
libc = ctypes.CDLL(None)
for seed in range(8):
    if os.fork() == 0:
        random.seed(seed)
        for _ in range(300):
            number = random.randrange(0, 460)
            if number in (34, 35, 61, 230, 247): continue
            args = [random.choice((0, 1, -1, 3, 4096, 1 << 31, (1 << 63) - 1, random.getrandbits(64))) for _ in range(6)]
            libc.syscall(ctypes.c_long(number), *[ctypes.c_ulong(a & (2**64 - 1)) for a in args])
        os._exit(0)
"""
        quietly(self.code, code, timeout=20)
        self.assertTrue(self.sandbox.is_running())


class Host(Adversarial):
    def test_garbage_for_the_host(self):
        code = "import os\nfor fd in range(3, 30):\n    try: os.write(fd, b'{\"type\": \"done\", \"count\": 1e999}\\n\\xff\\x00garbage\\n[[[[\\n')\n    except OSError: pass"
        self.code(code)
        self.code("1")
        self.works()

    def test_somebody_else_listens_where_the_interpreter_did(self):
        code = """
import os, socket
if os.fork() == 0:
    os.setsid()
    import time
    time.sleep(0.5)
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(('', 49963)); s.listen()
    while True:
        c, _ = s.accept()
        c.sendall(b'{"type": "hello", "pid": 4294967295}\\n' + b'x' * 100000)
        c.close()
os._exit(0)
"""
        self.code(code)
        time.sleep(1)
        self.works()

    def test_terminal_escapes_stay_in_their_place(self):
        text = "\x1b]0;owned\x07\x1b[2J\x1b[31m"
        self.assertEqual("".join(self.code(f"print({text!r})").logs.stdout), text + "\n")
        self.sandbox.commands.run(f"printf '%s' '{text}'")
        for line in self.sandbox.audit().splitlines():
            self.assertNotIn("\x1b", line)
            json.loads(line)

    def test_names_of_files(self):
        files = self.sandbox.files
        for path in ("../../../../etc/evil", "/tmp/" + "x" * 5000, "/tmp/\x00", "/proc/1/mem", ""):
            quietly(files.write, path, "x")
        self.assertFalse(os.path.exists("/etc/evil"))
        self.sandbox.commands.run("mkfifo /tmp/pipe; ln -s loop /tmp/loop; ln -s /dev/zero /tmp/zero")
        for path in ("/tmp/pipe", "/tmp/loop", "/tmp/zero", "/dev/tty", "/tmp"):
            with self.assertRaises(SandboxException):
                files.read(path)
        self.works()


class Network(Adversarial):
    def connects(self, address, port):
        code = f"import socket\ntry:\n    socket.create_connection(({address!r}, {port}), timeout=3).close()\n    print('connected')\nexcept OSError as e:\n    print('refused', e.errno)"
        return "connected" in "".join(self.code(code).logs.stdout)

    def test_there_is_none(self):
        for address in ("169.254.169.254", "1.1.1.1", "10.0.0.1", "fd00:ec2::254", "172.17.0.1"):
            self.assertFalse(self.connects(address, 80), address)

    def test_the_loopback_of_the_host(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            for address in ("127.0.0.1", "0.0.0.0", "172.17.0.1", "::1", "localhost"):
                self.assertFalse(self.connects(address, port), address)

    def test_others_are_not_seen(self):
        self.neighbour.commands.run("echo secret > /tmp/secret; exec python3 -m http.server 8222", background=True)
        time.sleep(2)
        self.assertFalse(self.connects("127.0.0.1", 8222))
        self.assertFalse(self.sandbox.files.exists("/tmp/secret"))
        said = self.sandbox.commands.run("ps ax; cat /proc/net/tcp").stdout
        self.assertNotIn("http.server", said)


class Granted(unittest.TestCase):
    """With a daemon of its own, which grants something."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.read, self.write = (os.path.join(self.folder.name, name) for name in ("read", "write"))
        for path in (self.read, self.write):
            os.mkdir(path)
        with open(os.path.join(self.folder.name, "secret"), "w") as file:
            file.write("secret")
        with open(os.path.join(self.read, "plain"), "w") as file:
            file.write("plain")
        os.symlink("../secret", os.path.join(self.read, "up"))
        os.symlink(os.path.join(self.folder.name, "secret"), os.path.join(self.read, "absolute"))
        os.symlink("/etc/shadow", os.path.join(self.read, "shadow"))
        words = [os.environ["BOXER"], "sandboxd", "--until-stdin-ends", "--network", "allow=example.invalid:443"]
        words += ["--network", "host", "-v", f"{self.read}:/read", "-v", f"{self.write}:/write:rw"]
        words += [os.environ["BOXER_SANDBOX_TEMPLATE"]]
        self.daemon = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(self.daemon.wait)
        self.addCleanup(self.daemon.stdin.close)
        self.addCleanup(self.daemon.stdout.close)
        self.ready = json.loads(self.daemon.stdout.readline())

    def sandbox(self, **policy):
        sandbox = Sandbox(policy=policy, url=self.ready["url"], token=self.ready["token"])
        self.addCleanup(sandbox.kill)
        return sandbox

    def test_links_lead_nowhere(self):
        sandbox = self.sandbox()
        run = sandbox.commands.run
        self.assertEqual(run("cat /read/plain").stdout, "plain")
        for path in ("/read/up", "/read/absolute", "/read/../read/up", "/read/./../secret"):
            with self.assertRaises(CommandExitException, msg=path):
                run(f"cat {path}")
        with self.assertRaises(CommandExitException):
            run("echo x > /read/plain")
        with open("/etc/shadow") as file:
            shadow = file.read()
        got = quietly(run, "cat /read/shadow")
        self.assertNotEqual(getattr(got, "stdout", ""), shadow)
        # A link that is made inside does not lead the host's own name outside, either.
        run(f"ln -s {self.folder.name}/secret /write/link; ln -s ../secret /write/up")
        for path in ("/write/link", "/write/up"):
            with self.assertRaises(CommandExitException, msg=path):
                run(f"cat {path}")
        run("echo y > /write/new")
        with open(os.path.join(self.write, "new")) as file:
            self.assertEqual(file.read(), "y\n")

    def test_a_link_that_changes_all_the_time(self):
        sandbox = self.sandbox()
        stop = threading.Event()

        def swap():
            path = os.path.join(self.write, "swap")
            while not stop.is_set():
                for target in ("new", "../secret"):
                    os.symlink(target, path + ".tmp")
                    os.replace(path + ".tmp", path)

        thread = threading.Thread(target=swap)
        thread.start()
        try:
            code = "seen = set()\nfor _ in range(2000):\n    try: seen.add(open('/write/swap').read())\n    except OSError: pass\nprint('secret' in seen)"
            self.assertEqual(sandbox.run_code(code, timeout=100).logs.stdout, ["False\n"])
        finally:
            stop.set()
            thread.join()

    def test_the_metadata_address_is_no_part_of_the_network(self):
        sandbox = self.sandbox(network=["host"])
        code = "import socket\nfor a in ('169.254.169.254', '169.254.170.2', '::ffff:169.254.169.254', '127.0.0.1', '172.17.0.1'):\n    try: socket.create_connection((a, 80), timeout=3); print('connected', a)\n    except OSError as e: print(e.errno)"
        said = "".join(sandbox.run_code(code, timeout=60).logs.stdout)
        self.assertNotIn("connected", said)
        self.assertIn("network.refused", sandbox.audit())

    def test_names_that_are_not_allowed_are_not_asked_for(self):
        sandbox = self.sandbox(network=["allow=example.invalid:443"])
        code = "import socket\nfor n in ('secret.attacker.example', 'x.example.invalid', 'localhost.attacker.example'):\n    try: socket.getaddrinfo(n, 443); print('answered', n)\n    except OSError: print('no')"
        said = "".join(sandbox.run_code(code, timeout=60).logs.stdout)
        self.assertNotIn("answered", said)
        self.assertIn("secret.attacker.example", sandbox.audit())


if __name__ == "__main__":
    unittest.main()
