"""Sandboxes in programs of asyncio. The verbs are those of test_sandbox: these are the same lines, and _sync.py is made of them."""

import asyncio
import pathlib
import subprocess
import sys
import time
import unittest

from boxer_sandbox import AsyncSandbox, CommandExitException, NotFoundException, SandboxException, TimeoutException


class Async(unittest.IsolatedAsyncioTestCase):
    async def test_code_files_and_commands(self):
        async with await AsyncSandbox.create(metadata={"a": "b"}) as sandbox:
            heard = []

            async def say(text):
                await asyncio.sleep(0)
                heard.append(text)

            execution = await sandbox.run_code("x = 20\nprint('hi')\nx + 1", on_stdout=say)
            self.assertEqual((execution.text, heard, execution.execution_count), ("21", ["hi\n"], 1))
            await sandbox.files.write("/tmp/a/b", "text")
            self.assertEqual(await sandbox.files.read("/tmp/a/b"), "text")
            self.assertEqual([entry.name for entry in await sandbox.files.list("/tmp/a")], ["b"])
            self.assertFalse(await sandbox.files.exists("/tmp/a/c"))
            self.assertEqual((await sandbox.commands.run("cat /tmp/a/b")).stdout, "text")
            with self.assertRaises(CommandExitException) as raised:
                await sandbox.commands.run("echo no >&2; exit 3")
            self.assertEqual((raised.exception.exit_code, raised.exception.stderr), (3, "no\n"))
            with self.assertRaises(TimeoutException):
                await sandbox.commands.run("sleep 60", timeout=1)
            [copy] = await sandbox.fork()
            self.assertEqual((await copy.run_code("x")).text, "20")
            self.assertTrue(await copy.kill())
            self.assertEqual((await sandbox.get_info()).metadata, {"a": "b"})
        self.assertFalse(await sandbox.is_running())
        with self.assertRaises(NotFoundException):
            await sandbox.get_info()

    async def test_a_command_in_the_background(self):
        async with await AsyncSandbox.create() as sandbox:
            handle = await sandbox.commands.run("read x; echo got $x", background=True, stdin=True)
            await handle.send_stdin("word\n")
            self.assertEqual((await handle.wait()).stdout, "got word\n")

    async def test_many_at_once_and_the_loop_goes_on(self):
        turns = 0

        async def turn():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.01)

        turning = asyncio.create_task(turn())
        sandboxes = await asyncio.gather(*(AsyncSandbox.create() for _ in range(8)))
        answers = await asyncio.gather(*(one.run_code(f"import time; time.sleep(0.5); {i}") for i, one in enumerate(sandboxes)))
        self.assertEqual([answer.text for answer in answers], [str(i) for i in range(8)])
        await asyncio.gather(*(one.kill() for one in sandboxes))
        turning.cancel()
        self.assertGreater(turns, 10)

    async def test_a_cancelled_call_ends_and_the_sandbox_stays(self):
        async with await AsyncSandbox.create() as sandbox:
            await sandbox.run_code("kept = 1")
            call = asyncio.create_task(sandbox.run_code("import time\nwhile True: time.sleep(0.01)"))
            await asyncio.sleep(1)
            start = time.monotonic()
            call.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await call
            self.assertLess(time.monotonic() - start, 0.5)
            # What it ran is interrupted, not left to run on.
            self.assertEqual((await asyncio.wait_for(sandbox.run_code("kept"), 20)).text, "1")

    async def test_what_happens_in_a_directory(self):
        async with await AsyncSandbox.create() as sandbox:
            events = await sandbox.files.watch_dir("/tmp")
            await sandbox.files.write("/tmp/new", "")
            event = await asyncio.wait_for(events.__anext__(), 10)
            self.assertEqual(event.name, "new")
            await events.aclose()

    async def test_a_daemon_that_is_not_there(self):
        with self.assertRaises(SandboxException):
            await AsyncSandbox.create(url="unix:/nowhere/socket", token="t")


class Sync(unittest.TestCase):
    def test_it_is_made_of_the_async_one(self):
        script = pathlib.Path(__file__).parents[1] / "unasync.py"
        subprocess.run([sys.executable, script, "--check"], check=True)


if __name__ == "__main__":
    unittest.main()
