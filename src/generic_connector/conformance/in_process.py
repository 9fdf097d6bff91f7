"""In process: an ASGI application asked without a socket, as an HTTP server would ask it.

The server that is played here is uvicorn, as far as an application can tell: a disconnect is told through `receive`
and cancels nothing, what is sent after it goes nowhere, and an application that fails before it answers is answered for
with a plain 500. An application that goes on after its client has left is left to finish until the run ends.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from generic_connector.conformance.line import BODY_MAX, Came, LineError, joined

Message = MutableMapping[str, Any]
App = Callable[[MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Any]

_PORTS: Final = itertools.count(40_000)
_END_S: Final = 5.0


class _Told:
    """What an application said to one request, and what it may hear."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self.has_left = asyncio.Event()
        self.is_whole = asyncio.Event()
        self.status: int | None = None
        self.headers: Sequence[tuple[bytes, bytes]] = ()
        self.said = bytearray()
        self.is_too_long = False

    async def receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        # A client that has its answer is as good as gone: uvicorn tells both in the same way.
        waits = [asyncio.ensure_future(event.wait()) for event in (self.has_left, self.is_whole)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self.has_left.is_set() or self.is_whole.is_set():
            await asyncio.sleep(0)
            return
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            self.headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        elif message["type"] == "http.response.body":
            self.said += message.get("body", b"")
            if len(self.said) > BODY_MAX:
                self.is_too_long = True
                self.has_left.set()
            if not message.get("more_body", False):
                self.is_whole.set()
        # A server's write always lets others run; an application that streams for ever must not stop the clock.
        await asyncio.sleep(0)


@dataclass(slots=True)
class InProcess:
    """An application, and the requests that it still works on."""

    app: App
    host: str = "localhost"
    port: int = 80
    scheme: str = "http"
    _working: set[asyncio.Task[None]] = field(default_factory=set)
    _state: dict[str, Any] = field(default_factory=dict)

    async def ask(self, verb: str, target: str, headers: Sequence[tuple[str, str]], body: bytes) -> Came:
        """Ask once. Raises LineError. Cancelling it is what hanging up is."""
        told = _Told(body)
        raw_path, _mark, query = target.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": verb,
            "scheme": self.scheme,
            "path": unquote(raw_path),
            "raw_path": raw_path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
            "client": ("127.0.0.1", next(_PORTS) % 65_536),
            "server": (self.host, self.port),
            "state": dict(self._state),
        }
        work = asyncio.ensure_future(self._answer(scope, told))
        self._working.add(work)
        work.add_done_callback(self._working.discard)
        whole = asyncio.ensure_future(told.is_whole.wait())
        left = asyncio.ensure_future(told.has_left.wait())
        try:
            await asyncio.wait([work, whole, left], return_when=asyncio.FIRST_COMPLETED)
        finally:
            whole.cancel()
            left.cancel()
            if not told.is_whole.is_set():
                told.has_left.set()
        return self._came(told)

    async def end(self) -> None:
        """Stop what is still worked on."""
        working = list(self._working)
        for task in working:
            task.cancel()
        if working:
            await asyncio.wait(working, timeout=_END_S)

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Start the application, and shut it down afterwards. One that knows no lifespan is left alone."""
        to_app: asyncio.Queue[Message] = asyncio.Queue()
        from_app: asyncio.Queue[Message] = asyncio.Queue()
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state}

        async def run() -> None:
            with contextlib.suppress(Exception):  # an application may refuse lifespan by any exception
                await self.app(scope, to_app.get, from_app.put)

        async def said(task: asyncio.Task[None]) -> str | None:
            heard = asyncio.ensure_future(from_app.get())
            try:
                await asyncio.wait([task, heard], timeout=_END_S * 6, return_when=asyncio.FIRST_COMPLETED)
                return str(heard.result()["type"]) if heard.done() else None
            finally:
                heard.cancel()

        task = asyncio.ensure_future(run())
        try:
            await to_app.put({"type": "lifespan.startup"})
            if await said(task) == "lifespan.startup.failed":
                raise LineError("the application does not start: it answers lifespan.startup.failed")
            yield
        finally:
            await self.end()
            if not task.done():
                await to_app.put({"type": "lifespan.shutdown"})
                await said(task)
            task.cancel()
            await asyncio.wait([task], timeout=_END_S)

    async def _answer(self, scope: Message, told: _Told) -> None:
        try:
            await self.app(scope, told.receive, told.send)
        except Exception:  # noqa: BLE001 - whatever it is, a server would answer for it; its text may hold card data
            if told.status is None:
                told.status = 500
                told.headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
                told.said[:] = b"Internal Server Error"
                told.is_whole.set()

    @staticmethod
    def _came(told: _Told) -> Came:
        if told.is_too_long:
            raise LineError(f"the reply is longer than {BODY_MAX:,} bytes")
        if not told.is_whole.is_set() or told.status is None:
            where = "in the middle of the answer" if told.status is not None else "without an answer"
            raise LineError(f"the connection was closed {where}")
        headers: Mapping[str, str] = joined(told.headers)
        return Came(told.status, headers, bytes(told.said))
