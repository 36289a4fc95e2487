"""Connections to a daemon, and the daemon that is started where none is named."""

from __future__ import annotations

import atexit
import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import urllib.parse
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from . import _errors


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: Optional[float]) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class _TcpConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Exchange:
    """A request under way, which another thread can break off."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: Optional[http.client.HTTPConnection] = None
        self.broken_off = False

    def holds(self, connection: Optional[http.client.HTTPConnection]) -> None:
        """It goes over this connection from now on, or over none any more."""
        with self._lock:
            self._connection = connection
            if connection is not None and self.broken_off:
                raise ConnectionAbortedError("broken off")

    def break_off(self) -> None:
        """Ends it, wherever it is."""
        with self._lock:
            self.broken_off = True
            if self._connection is not None and self._connection.sock is not None:
                # Whoever reads or writes sees the end, and closes.
                with contextlib.suppress(OSError):
                    self._connection.sock.shutdown(socket.SHUT_RDWR)


class Connection:
    """A way to a daemon. May be used by several threads."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._token = token
        self._idle: List[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        """Closes what nobody uses. The next request opens another."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _open(self) -> http.client.HTTPConnection:
        if self.url.startswith("unix:"):
            return _UnixConnection(self.url[len("unix:"):], None)
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme != "http" or parts.hostname is None:
            raise _errors.InvalidArgumentException(f"{self.url} is neither http: nor unix:")
        return _TcpConnection(parts.hostname, parts.port)

    def _send(
        self, exchange: Exchange, method: str, path: str, query: Optional[Dict[str, Any]], body: Any
    ) -> Tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        if query:
            given = {name: value for name, value in query.items() if value is not None}
            path = f"{path}?{urllib.parse.urlencode(given)}" if given else path
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._token}"}
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is not None:
            try:
                exchange.holds(connection)
                connection.request(method, path, data, headers)
                return connection, connection.getresponse()
            except (ConnectionError, http.client.RemoteDisconnected):
                # It was closed while nobody used it.
                connection.close()
        connection = self._open()
        try:
            connection.connect()
            exchange.holds(connection)
            connection.request(method, path, data, headers)
            return connection, connection.getresponse()
        except OSError as error:
            connection.close()
            raise _errors.SandboxException(f"the daemon at {self.url} does not answer: {error}") from error

    def _done(self, exchange: Exchange, connection: http.client.HTTPConnection) -> None:
        exchange.holds(None)
        if exchange.broken_off:
            connection.close()
            return
        with self._lock:
            self._idle.append(connection)

    def _answer(
        self, exchange: Exchange, method: str, path: str, query: Optional[Dict[str, Any]], body: Any
    ) -> Tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection, response = self._send(exchange, method, path, query, body)
        if response.status < 400:
            return connection, response
        data = response.read()
        self._done(exchange, connection)
        raise _failure(response.status, data)

    def call(
        self,
        method: str,
        path: str,
        query: Optional[Dict[str, Any]] = None,
        body: Any = None,
        exchange: Optional[Exchange] = None,
    ) -> bytes:
        """A request; the body of its answer."""
        exchange = exchange or Exchange()
        connection, response = self._answer(exchange, method, path, query, body)
        data = response.read()
        self._done(exchange, connection)
        return data

    def json(self, method: str, path: str, query: Optional[Dict[str, Any]] = None, body: Any = None) -> Any:
        """A request; the JSON of its answer."""
        data = self.call(method, path, query, body)
        return json.loads(data) if data else None

    def download(
        self, path: str, query: Optional[Dict[str, Any]], to: str, exchange: Optional[Exchange] = None
    ) -> Dict[str, str]:
        """A request whose answer becomes a local file, which appears whole or not at all; the headers of the answer."""
        exchange = exchange or Exchange()
        connection, response = self._answer(exchange, "GET", path, query, None)
        part, whole = f"{to}.part-{os.getpid()}-{threading.get_ident()}", False
        try:
            with open(part, "wb") as file:
                shutil.copyfileobj(response, file, 1 << 20)
                if response.length:
                    raise _errors.SandboxException("the daemon broke off")
            os.replace(part, to)
            whole = True
        except http.client.IncompleteRead as error:
            raise _errors.SandboxException("the daemon broke off") from error
        finally:
            if whole:
                self._done(exchange, connection)
            else:
                exchange.holds(None)
                connection.close()
                with contextlib.suppress(OSError):
                    os.unlink(part)
        return {name.lower(): value for name, value in response.getheaders()}

    def lines(
        self,
        method: str,
        path: str,
        query: Optional[Dict[str, Any]] = None,
        body: Any = None,
        exchange: Optional[Exchange] = None,
    ) -> Iterator[Dict[str, Any]]:
        """A request; the events of its answer, as they come."""
        exchange = exchange or Exchange()
        return self._events(exchange, *self._answer(exchange, method, path, query, body))

    def _events(
        self, exchange: Exchange, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> Iterator[Dict[str, Any]]:
        whole = False
        try:
            for line in response:
                event = json.loads(line)
                if event.get("type") == "failed":
                    response.read()
                    whole = True
                    raise _errors.of(event["error"])
                yield event
            whole = True
        finally:
            if whole:
                self._done(exchange, connection)
            else:
                exchange.holds(None)
                connection.close()


def _failure(status: int, data: bytes) -> _errors.SandboxException:
    try:
        return _errors.of(json.loads(data)["error"])
    except (ValueError, KeyError, TypeError):
        return _errors.SandboxException(f"the daemon answers {status}: {data[:200]!r}")


_started: Dict[Tuple[str, ...], Connection] = {}
_starting = threading.Lock()


def _close_all() -> None:
    with _starting:
        for connection in _started.values():
            connection.close()


# After the daemon of this process has ended, which is registered later.
atexit.register(_close_all)


def connect(url: Optional[str], token: Optional[str], template: Optional[str]) -> Connection:
    """The daemon that is named here or in the environment; else one of this process for the box ``template``."""
    url = url or os.environ.get("BOXER_SANDBOX_URL")
    if url:
        token = token or os.environ.get("BOXER_SANDBOX_TOKEN", "")
        key: Tuple[str, ...] = (url, token)
        with _starting:
            return _started.setdefault(key, Connection(url, token))
    template = template or os.environ.get("BOXER_SANDBOX_TEMPLATE", "sandbox")
    with _starting:
        if (template,) not in _started:
            _started[(template,)] = _start(template)
        return _started[(template,)]


def _start(template: str) -> Connection:
    program = os.environ.get("BOXER", "boxer")
    folder = tempfile.TemporaryDirectory(prefix="boxer-sandbox-")
    words = [program, "sandboxd", "--until-stdin-ends", "--listen", f"unix:{folder.name}/socket"]
    words += os.environ.get("BOXER_SANDBOX_OPTIONS", "").split()
    try:
        daemon = subprocess.Popen([*words, template], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    except OSError as error:
        folder.cleanup()
        raise _errors.SandboxException(f"{program} cannot be started: {error}") from error
    assert daemon.stdin is not None and daemon.stdout is not None
    line = daemon.stdout.readline()
    if not line:
        daemon.stdin.close()
        daemon.stdout.close()
        folder.cleanup()
        raise _errors.SandboxException(f"boxer sandboxd has ended with status {daemon.wait()}")

    def end() -> None:
        daemon.stdin.close()  # type: ignore[union-attr]
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            daemon.kill()
        daemon.stdout.close()  # type: ignore[union-attr]
        folder.cleanup()

    atexit.register(end)
    ready = json.loads(line)
    return Connection(ready["url"], ready["token"])


def tell(listener: Optional[Callable[[Any], Any]], what: Any) -> None:
    """Calls who wants to hear of it."""
    if listener is not None:
        listener(what)
