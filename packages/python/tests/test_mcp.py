"""`boxer mcp`, by its messages, and by the protocol's own client library (`pip install mcp`): without that the tests which need it are skipped."""

import asyncio
import contextlib
import http.client
import json
import os
import subprocess
import threading
import time
import unittest
import urllib.parse

try:
    from mcp import ClientSession, StdioServerParameters
    from mcp.client import streamable_http
    from mcp.client.stdio import stdio_client
except ImportError:
    ClientSession = None

def field(message, *names):
    """A field of a message, which versions of the library name differently."""
    return next(getattr(message, name) for name in names if hasattr(message, name))


WORDS = ["mcp", os.environ.get("BOXER_SANDBOX_TEMPLATE", "sandbox")]


@contextlib.asynccontextmanager
async def over_http(url, token):
    """The library's streams to a server, whichever version of the library it is."""
    headers = {"Authorization": f"Bearer {token}"}
    if hasattr(streamable_http, "streamablehttp_client"):
        async with streamable_http.streamablehttp_client(url, headers=headers) as streams:
            yield streams[:2]
    else:
        async with streamable_http.create_mcp_http_client(headers=headers) as client:
            async with streamable_http.streamable_http_client(url, http_client=client) as streams:
                yield streams[:2]


class Served(unittest.TestCase):
    """A server over HTTP."""

    options = ()

    @classmethod
    def setUpClass(cls):
        words = [os.environ["BOXER"], "mcp", "--listen", "0", "--until-stdin-ends", *cls.options, *WORDS[1:]]
        cls.server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        cls.ready = json.loads(cls.server.stdout.readline())

    @classmethod
    def tearDownClass(cls):
        cls.server.stdin.close()
        cls.server.stdout.close()
        if cls.server.wait(20) != 0:
            raise AssertionError("the server did not end well")


@unittest.skipIf(ClientSession is None, "there is no mcp library")
class Client(Served):
    def test_the_tools(self):
        asyncio.run(asyncio.wait_for(self.over_streams(), 300))

    async def over_streams(self):
        server = StdioServerParameters(command=os.environ["BOXER"], args=WORDS, env=dict(os.environ))
        async with stdio_client(server) as streams:
            await self.tools(streams)

    def test_the_tools_over_http(self):
        asyncio.run(asyncio.wait_for(self.over_http(), 300))

    async def over_http(self):
        async with over_http(self.ready["url"], self.ready["token"]) as streams:
            await self.tools(streams)

    def test_a_call_that_is_cancelled_over_http(self):
        asyncio.run(asyncio.wait_for(self.cancelled(), 120))

    async def cancelled(self):
        async with over_http(self.ready["url"], self.ready["token"]) as streams, ClientSession(*streams) as session:
            await session.initialize()
            await session.call_tool("run_code", {"code": "x = 7"})
            call = asyncio.ensure_future(session.call_tool("run_code", {"code": "import time\ntime.sleep(100)"}))
            await asyncio.sleep(1)
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call
            start = time.monotonic()
            result = await session.call_tool("run_code", {"code": "x"})
            self.assertEqual(result.content[0].text, "result: 7")
            self.assertLess(time.monotonic() - start, 20)

    async def tools(self, streams):
        async with ClientSession(*streams) as session:
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


class Http(Served):
    """Streamable HTTP, request by request."""

    options = ("--max-sessions", "3")

    def ask(self, method, body=None, path="/mcp", token=None, **headers):
        """A request; its status, its headers and its body."""
        place = urllib.parse.urlsplit(self.ready["url"])
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
        self.addCleanup(connection.close)
        given = {"Authorization": f"Bearer {token or self.ready['token']}", "Accept": "application/json, text/event-stream"}
        given.update({name.replace("_", "-"): value for name, value in headers.items() if value is not None})
        data = body if isinstance(body, (str, type(None))) else json.dumps(body)
        connection.request(method, path, data, given)
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()

    def say(self, method, params=None, number=1, **headers):
        message = {"jsonrpc": "2.0", "method": method, "params": params or {}}
        return self.ask("POST", message if number is None else {**message, "id": number}, **headers)

    def begin(self):
        status, headers, body = self.say("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}})
        self.assertEqual((status, json.loads(body)["result"]["serverInfo"]["name"]), (200, "boxer"))
        name = headers["Mcp-Session-Id"]
        self.addCleanup(self.ask, "DELETE", Mcp_Session_Id=name)
        self.assertEqual(self.say("notifications/initialized", number=None, Mcp_Session_Id=name)[0], 202)
        return name

    def call(self, session, code, number=5):
        status, headers, body = self.say("tools/call", {"name": "run_code", "arguments": {"code": code}}, number, Mcp_Session_Id=session)
        self.assertEqual((status, headers["Content-Type"]), (200, "text/event-stream"))
        events = [json.loads(line[len("data: "):]) for line in body.splitlines() if line.startswith("data: ")]
        return [(event["id"], event["result"]["content"][0]["text"]) for event in events]

    def test_each_session_has_a_sandbox_of_its_own(self):
        one, two = self.begin(), self.begin()
        self.assertEqual(self.call(one, "x = 1\nx", 9), [(9, "result: 1")])
        self.assertIn("NameError", self.call(two, "x")[0][1])
        status, _, body = self.say("tools/list", Mcp_Session_Id=one, MCP_Protocol_Version="2025-06-18")
        self.assertEqual((status, len(json.loads(body)["result"]["tools"])), (200, 8))
        third = self.begin()
        self.assertEqual(self.say("initialize", {"protocolVersion": "2025-06-18"})[0], 403, "there are three already")
        self.assertEqual(self.ask("DELETE", Mcp_Session_Id=third)[0], 204)
        self.assertEqual(self.ask("DELETE", Mcp_Session_Id=third)[0], 404)
        self.assertEqual(self.say("ping", Mcp_Session_Id=third)[0], 404)

    def test_who_may_not_ask_gets_nothing(self):
        session = self.begin()
        self.assertEqual(self.say("ping", token="x" * 48, Mcp_Session_Id=session)[0], 401)
        for origin, status in (
            ("http://evil.example", 403),
            ("null", 403),
            ("http://localhost.evil.example", 403),
            ("http://localhost:6274", 200),
            ("http://127.0.0.1", 200),
        ):
            self.assertEqual(self.say("ping", Mcp_Session_Id=session, Origin=origin)[0], status, origin)

    def test_wrong_requests(self):
        session = self.begin()
        self.assertEqual(self.say("ping")[0], 400, "without a session")
        self.assertEqual(self.say("ping", Mcp_Session_Id="x" * 32)[0], 404)
        self.assertEqual(self.say("ping", Mcp_Session_Id=session, MCP_Protocol_Version="1999-01-01")[0], 400)
        self.assertEqual(self.ask("GET", Mcp_Session_Id=session)[0], 405)
        self.assertEqual(self.ask("POST", "{}", path="/sandboxes")[0], 404)
        for body, code in (
            ("{", -32700),
            ("[]", -32600),
            ({"jsonrpc": "2.0", "id": 1, "method": "nothing"}, -32601),
            ({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "run_code", "arguments": {"kode": "1"}}}, -32602),
        ):
            status, headers, text = self.ask("POST", body, Mcp_Session_Id=session)
            self.assertEqual((status, headers["Content-Type"]), (200, "application/json"))
            self.assertEqual(json.loads(text)["error"]["code"], code, body)

    def test_a_cancelled_call_ends_within_100_ms(self):
        session = self.begin()
        self.call(session, "kept = 1")
        for number, code in ((20, "import time\ntime.sleep(60)"), (21, "while True: pass")):
            ended = []
            thread = threading.Thread(target=lambda: ended.append((self.call(session, code, number), time.monotonic())))
            thread.start()
            time.sleep(1)
            start = time.monotonic()
            self.assertEqual(self.say("notifications/cancelled", {"requestId": number}, None, Mcp_Session_Id=session)[0], 202)
            thread.join(30)
            (events, at), = ended
            self.assertEqual(events, [], "it has no answer")
            self.assertLess(at - start, 0.1)
            start = time.monotonic()
            self.assertEqual(self.call(session, "kept"), [(5, "result: 1")])
            self.assertLess(time.monotonic() - start, 10)


if __name__ == "__main__":
    unittest.main()
