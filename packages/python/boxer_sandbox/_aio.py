"""Connections to a daemon for programs of asyncio: each request goes its way on a thread, and is broken off when its task is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import threading
from typing import Any, AsyncIterator, Callable, Dict, Iterator, Optional, Tuple

from . import _client


class Connection:
    """A way to a daemon, in one event loop or several."""

    def __init__(self, waits: _client.Connection) -> None:
        self._waits = waits
        self.url = waits.url

    async def call(self, method: str, path: str, query: Optional[Dict[str, Any]] = None, body: Any = None) -> bytes:
        """A request; the body of its answer."""
        exchange = _client.Exchange()
        return bytes(await _on_a_thread(lambda: self._waits.call(method, path, query, body, exchange), exchange))

    async def json(self, method: str, path: str, query: Optional[Dict[str, Any]] = None, body: Any = None) -> Any:
        """A request; the JSON of its answer."""
        data = await self.call(method, path, query, body)
        return json.loads(data) if data else None

    async def download(self, path: str, query: Optional[Dict[str, Any]], to: str) -> Dict[str, str]:
        """A request whose answer becomes a local file; the headers of the answer."""
        exchange = _client.Exchange()
        return dict(await _on_a_thread(lambda: self._waits.download(path, query, to, exchange), exchange))

    async def lines(
        self, method: str, path: str, query: Optional[Dict[str, Any]] = None, body: Any = None
    ) -> AsyncIterator[Dict[str, Any]]:
        """A request; the events of its answer, as they come."""
        exchange = _client.Exchange()
        lines = await _on_a_thread(lambda: self._waits.lines(method, path, query, body, exchange), exchange)
        return _events(lines, exchange)


async def _events(lines: Iterator[Dict[str, Any]], exchange: _client.Exchange) -> AsyncIterator[Dict[str, Any]]:
    loop = asyncio.get_running_loop()
    # An event, or how it ended: None, or what was raised.
    events: "asyncio.Queue[Tuple[Optional[Dict[str, Any]], Optional[BaseException]]]" = asyncio.Queue()

    def pump() -> None:
        try:
            for event in lines:
                _call_soon(loop, events.put_nowait, (event, None))
            _call_soon(loop, events.put_nowait, (None, None))
        except BaseException as error:  # noqa: B902 (whatever it is, it belongs to who waits)
            _call_soon(loop, events.put_nowait, (None, error))

    threading.Thread(target=pump, name="boxer-sandbox", daemon=True).start()
    try:
        while True:
            event, error = await events.get()
            if error is not None:
                raise error
            if event is None:
                return
            yield event
    finally:
        exchange.break_off()


async def _on_a_thread(work: Callable[[], Any], exchange: _client.Exchange) -> Any:
    """What `work` gives; it is broken off when this is. A thread of its own: a pool would make calls that take long wait for each other."""
    loop = asyncio.get_running_loop()
    future: "asyncio.Future[Any]" = loop.create_future()

    def run() -> None:
        try:
            value = work()
        except BaseException as error:  # noqa: B902 (as above)
            _call_soon(loop, _settle, future, None, error)
        else:
            _call_soon(loop, _settle, future, value, None)

    threading.Thread(target=run, name="boxer-sandbox", daemon=True).start()
    try:
        return await future
    except asyncio.CancelledError:
        exchange.break_off()
        raise


def _settle(future: "asyncio.Future[Any]", value: Any, error: Optional[BaseException]) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)


def _call_soon(loop: asyncio.AbstractEventLoop, what: Callable[..., Any], *args: Any) -> None:
    # A loop that was closed waits for nothing any more.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(what, *args)


async def connect(url: Optional[str], token: Optional[str], template: Optional[str]) -> Connection:
    """The daemon that is named here or in the environment; else one of this process for the box ``template``."""
    return Connection(await _on_a_thread(lambda: _client.connect(url, token, template), _client.Exchange()))


async def tell(listener: Optional[Callable[[Any], Any]], what: Any) -> None:
    """Calls who wants to hear of it, and waits for it where it is a coroutine."""
    if listener is not None:
        answer = listener(what)
        if inspect.isawaitable(answer):
            await answer
