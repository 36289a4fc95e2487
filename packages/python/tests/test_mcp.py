"""`boxer mcp` by the protocol's own client library (`pip install mcp`); without it these are skipped."""

import asyncio
import json
import os
import subprocess
import time
import unittest

try:
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client
except ImportError:
    ClientSession = None

def field(message, *names):
    """A field of a message, which versions of the library name differently."""
    return next(getattr(message, name) for name in names if hasattr(message, name))


WORDS = ["mcp", os.environ.get("BOXER_SANDBOX_TEMPLATE", "sandbox")]


@unittest.skipIf(ClientSession is None, "there is no mcp library")
class Client(unittest.TestCase):
    def test_the_tools(self):
        asyncio.run(asyncio.wait_for(self.tools(), 300))

    async def tools(self):
        server = StdioServerParameters(command=os.environ["BOXER"], args=WORDS, env=dict(os.environ))
        async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
            about = await session.initialize()
            self.assertEqual(field(about, "serverInfo", "server_info").name, "boxer")
            names = {tool.name for tool in (await session.list_tools()).tools}
            every = "run_code run_command read_file write_file list_files list_ports fork restore"
            self.assertEqual(names, set(every.split()))

            async def call(name, **arguments):
                result = await session.call_tool(name, arguments)
                return field(result, "isError", "is_error"), "\n".join(part.text for part in result.content)

            self.assertEqual(await call("run_code", code="x = 1\nprint('a')\nx + 1"), (False, "stdout: a\n\nresult: 2"))
            failed, text = await call("run_code", code="1/0")
            self.assertTrue(failed and "ZeroDivisionError" in text)
            self.assertEqual(await call("write_file", path="/tmp/f", content="é"), (False, "2 bytes written to /tmp/f"))
            self.assertEqual(await call("read_file", path="/tmp/f"), (False, "é"))
            self.assertIn('"/tmp/f"', (await call("list_files", path="/tmp"))[1])
            self.assertEqual(await call("list_ports"), (False, "[]"))
            self.assertEqual(await call("run_command", command="cat /tmp/f; exit 3"), (True, "stdout: é\nexit status: 3"))
            _, name = await call("fork")
            await call("run_code", code="x = 99")
            self.assertFalse((await call("restore", fork=name))[0])
            self.assertEqual(await call("run_code", code="x"), (False, "result: 1"))
            self.assertTrue((await call("restore", fork="nothing"))[0])


class Messages(unittest.TestCase):
    def setUp(self):
        words = [os.environ["BOXER"], *WORDS]
        self.server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.server.wait)
        self.addCleanup(self.server.stdout.close)
        self.addCleanup(self.server.stdin.close)

    def say(self, message):
        self.server.stdin.write((message if isinstance(message, str) else json.dumps(message)) + "\n")
        self.server.stdin.flush()

    def ask(self, method, params=None, number=1):
        self.say({"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}})
        return json.loads(self.server.stdout.readline())

    def test_wrong_messages_get_errors_of_the_protocol(self):
        for message, code in (
            ("{", -32700),
            ("[]", -32600),
            ({"id": 1, "method": "ping"}, -32600),
            ({"jsonrpc": "2.0", "id": {}, "method": "ping"}, -32600),
            ({"jsonrpc": "2.0", "id": 1, "method": "nothing"}, -32601),
            ({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "nothing"}}, -32602),
            ({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "run_code"}}, -32602),
            (
                {
                    "jsonrpc": "2.0",
                    "id": 1,
                    "method": "tools/call",
                    "params": {"name": "run_code", "arguments": {"code": "1", "network": "host"}},
                },
                -32602,
            ),
        ):
            self.say(message)
            self.assertEqual(json.loads(self.server.stdout.readline())["error"]["code"], code, message)
        self.assertEqual(self.ask("ping")["result"], {})
        version = self.ask("initialize", {"protocolVersion": "2024-11-05"})["result"]["protocolVersion"]
        self.assertEqual(version, "2024-11-05")
        self.assertEqual(self.ask("initialize", {"protocolVersion": "1"})["result"]["protocolVersion"], "2025-06-18")

    def test_a_call_that_is_cancelled_ends(self):
        call = {"name": "run_code", "arguments": {"code": "import time\ntime.sleep(60)"}}
        self.ask("tools/call", {"name": "run_code", "arguments": {"code": "1"}})
        self.say({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call})
        time.sleep(1)
        self.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}})
        start = time.monotonic()
        # It waits until the interpreter is free again.
        answer = self.ask("tools/call", {"name": "run_code", "arguments": {"code": "'free'"}}, 3)
        self.assertEqual((answer["id"], answer["result"]["content"][0]["text"]), (3, "result: 'free'"))
        self.assertLess(time.monotonic() - start, 10)


if __name__ == "__main__":
    unittest.main()
