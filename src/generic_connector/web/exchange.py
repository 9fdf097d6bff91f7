"""An exchange: one request and its reply on the wire. Knows HTTP, and nothing of payments.

There are two kinds, which the gateway need not tell apart once it has the body: one that ASGI's messages tell, and one
that came whole. Either way a caller who leaves while the answer is waited for cancels the task that waits, and
`has_left` says why; the payment's own work is not in that task, and goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from generic_connector.contract.body import BODY_BYTES_MAX
from generic_connector.contract.reply import Reply
from generic_connector.web.wire import WholeRequest

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_SLOW_AFTER_S = 1.0


class HungUpError(Exception):
    """The caller closed the connection. Nobody is left to answer."""


class Exchange(Protocol):
    """What the gateway does with a request once it knows what it asks."""

    @property
    def request_id(self) -> str:
        """Its id, which the reply carries and the log knows."""
        ...

    @property
    def has_left(self) -> bool:
        """Whether the caller has left while the answer was waited for."""
        ...

    def waits(self) -> None:
        """The answer is waited for from now on: who leaves cancels this task."""
        ...

    def waits_no_longer(self) -> None:
        """The answer is there."""
        ...

    async def reply(self, reply: Reply, *extra: tuple[bytes, bytes]) -> None:
        """Send a reply, with these headers besides."""
        ...

    async def silence(self) -> None:
        """Say nothing until the caller leaves; then raise `HungUpError`."""
        ...


# --- A request that came whole ---------------------------------------------------------------------------------------


class WholeExchange:
    """An exchange about a `WholeRequest`, which the wire cancels by itself when the caller leaves."""

    __slots__ = ("_request", "request_id")

    def __init__(self, request: WholeRequest, request_id: str) -> None:
        self.request_id = request_id
        self._request = request

    @property
    def has_left(self) -> bool:
        """Whether the caller has left."""
        return self._request.has_left

    def waits(self) -> None:
        """Nothing is to be done: the wire sees to it."""

    def waits_no_longer(self) -> None:
        """Neither is here."""

    async def reply(self, reply: Reply, *extra: tuple[bytes, bytes]) -> None:
        """Write the reply."""
        head = b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %s\r\n"
        headers = head % (len(reply.body), self.request_id.encode())
        if extra:
            headers += b"".join([b"%s: %s\r\n" % header for header in extra])
        self._request.reply(reply.status, headers, reply.body)

    async def silence(self) -> None:
        """Say nothing until the caller leaves."""
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            if self._request.has_left:
                raise HungUpError from None
            raise


# --- A request in ASGI's messages ------------------------------------------------------------------------------------


class AsgiExchange:
    """An exchange in ASGI's messages. `is_last`: the connection ends with it, since its rest is better not read."""

    __slots__ = ("_receive", "_scope", "_send", "_task", "_vigil", "_watcher", "has_left", "is_last", "request_id")

    def __init__(self, scope: Scope, receive: Receive, send: Send, request_id: str, vigil: "Vigil") -> None:
        self.request_id = request_id
        self.is_last = False
        self.has_left = False
        self._scope = scope
        self._receive = receive
        self._send = send
        self._vigil = vigil
        self._task: asyncio.Task[Any] | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def body(self) -> bytes | None:
        """Return the body, or None where it is too large."""
        body = b""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise HungUpError
            body += bytes(message.get("body", b""))
            if len(body) > BODY_BYTES_MAX:
                return None
            if not message.get("more_body", False):
                return body

    async def reply(self, reply: Reply, *extra: tuple[bytes, bytes]) -> None:
        """Send a reply. Where the request's rest is better not read, the connection ends with it."""
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(reply.body)),
            (b"x-request-id", self.request_id.encode()),
            *extra,
        ]
        if self.is_last:
            headers.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": reply.body})

    async def silence(self) -> None:
        """Say nothing until the caller leaves. Returning without an answer would make the server send a 500."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        raise HungUpError

    # --- A caller who leaves ---

    def waits(self) -> None:
        """From now on the vigil looks after it."""
        self._task = asyncio.current_task()
        self._vigil.begin(self)

    def waits_no_longer(self) -> None:
        """The answer is there."""
        self._vigil.end(self)
        if self._watcher is not None:
            self._watcher.cancel()

    def watch(self) -> None:
        """From now on, cancel the task that waits when the caller leaves."""
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.has_left = True
        if self._task is not None:
            self._task.cancel()


class Vigil:
    """Finds the callers who leave while their answer is waited for.

    ASGI tells it only to those who ask. One bell for all of them: most have their answer before it rings, and cost no
    timer. Who is still there when it rings a second time is watched from then on.
    """

    def __init__(self) -> None:
        self._new: dict[AsgiExchange, None] = {}
        self._seen: dict[AsgiExchange, None] = {}
        self._is_set = False

    def begin(self, exchange: AsgiExchange) -> None:
        """The wait begins."""
        if not self._is_set:
            self._set()
        self._new[exchange] = None

    def end(self, exchange: AsgiExchange) -> None:
        """The wait is over."""
        self._new.pop(exchange, None)
        self._seen.pop(exchange, None)

    def _set(self) -> None:
        self._is_set = True
        asyncio.get_running_loop().call_later(_SLOW_AFTER_S, self._ring)

    def _ring(self) -> None:
        for exchange in self._seen:
            exchange.watch()
        self._seen, self._new = self._new, {}
        self._is_set = False
        if self._seen:
            self._set()
