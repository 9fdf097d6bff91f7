"""The wire: a connection whose writes leave together, and whose ordinary requests come in one piece.

An ASGI server writes a reply's head and its body one after the other. Each write is a TLS record, a system call and,
with TCP_NODELAY, a packet of its own, for two hundred bytes. Here what is written within one turn of the loop is
joined, and leaves as one of each. Nothing waits longer than that: not a head whose body is still to come, and not an
interim `100 Continue`. To close sends what is held; to abort drops it, as a reset would.

A payment is a POST of some hundred bytes that arrives in one piece, head and body. ASGI would have it told in messages
by an object with a buffer, an event and a task around it, which costs as much as TLS does. An application that has
`whole_paths` and `whole` is given such a request as what it is, a `WholeRequest`. All that is out of the ordinary goes
uvicorn's way, through ASGI: a body that is still to come or is large, another method or path, an upgrade, `Expect`, a
connection that is to end, requests in a row, a caller who does not read.

What uvicorn keeps of a request (its `cycle`) a `WholeRequest` has too, by the same names: so keeping alive, the order
of requests, and the end of the server are uvicorn's own.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

BYTES_MAX = 16 * 1024
"""A body that is larger goes uvicorn's way: it is to be refused, and not all of it need be read."""


class JoiningTransport(asyncio.Transport):
    """A transport around another: joins what is written in one turn."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: "bytes | bytearray | memoryview[Any]") -> None:
        """Hold `data` until the end of this turn of the loop."""
        if self._held:
            self._held += data
        elif data:
            self._held = bytes(data)
            self._loop.call_soon(self._flush)

    def write_now(self, data: bytes) -> None:
        """Send `data`, behind what is held."""
        if self._held:
            self._held += data
        else:
            self._transport.write(data)

    def _flush(self) -> None:
        held, self._held = self._held, b""
        if held:
            self._transport.write(held)

    def close(self) -> None:
        """Send what is held, then close in order."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Drop the connection, with all that was not sent."""
        self._held = b""
        self._transport.abort()

    # --- As the other has it ---

    def is_closing(self) -> bool:
        """Whether the connection is closed or about to be."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - asyncio's signature
        """What the other transport knows: socket, addresses, TLS."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Read no more for now."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._transport.resume_reading()


Headers = Sequence[tuple[bytes, bytes]]
"""As they came, with their names in lower case."""


class WholeRequest:
    """A POST that came in one piece, and its reply. One task answers it; it is cancelled when the caller leaves."""

    __slots__ = (
        "_protocol",
        "body",
        "disconnected",
        "has_left",
        "headers",
        "keep_alive",
        "path",
        "response_complete",
        "task",
    )

    def __init__(self, protocol: "JoiningProtocol", path: str, headers: Headers, body: bytes) -> None:
        self.path = path
        self.headers = headers
        self.body = body
        self.has_left = False
        self.task: asyncio.Task[None]
        self._protocol = protocol
        # As uvicorn has it:
        self.disconnected = False
        self.keep_alive = True
        self.response_complete = False

    @property
    def client(self) -> tuple[str, int] | None:
        """Who is calling: who is at the other end, or whom a proxy that is believed names."""
        return self._protocol.caller(self.headers)

    def reply(self, status: int, headers: bytes, body: bytes) -> None:
        """Write the reply. `headers` are lines that end with CRLF, Content-Length among them: nobody checks them."""
        if self.disconnected or self.response_complete:
            return
        self.response_complete = True
        protocol = self._protocol
        ours = b"".join([b"%s: %s\r\n" % header for header in protocol.server_state.default_headers])
        end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        protocol.transport.write_now(b"%s%s%s%s%s" % (STATUS_LINE[status], ours, headers, end, body))
        if not self.keep_alive:  # the server is about to end
            protocol.transport.close()
        protocol.on_response_complete()

    # --- What uvicorn tells its cycle, when the connection is lost ---

    @property
    def message_event(self) -> "WholeRequest":
        """What uvicorn wakes."""
        return self

    def set(self) -> None:
        """Cancel the task of a caller who has left without a reply."""
        if self.disconnected and not self.has_left:
            self.has_left = True
            self.task.cancel()


Answer = Callable[[WholeRequest], Coroutine[Any, Any, None]]


class JoiningProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol on such a transport, with a short way for requests that come whole."""

    transport: JoiningTransport

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*args, **options)
        app: object = self.app
        self._proxies: Any = None  # uvicorn does not name the type
        if isinstance(app, ProxyHeadersMiddleware):
            self._proxies, app = app.trusted_hosts, app.app
        self._whole: Answer | None = getattr(app, "whole", None)
        self._whole_paths: Sequence[bytes] = getattr(app, "whole_paths", ())
        self._held: bytes | None = None
        """The body so far of a request that may yet come whole."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        """Begin a connection."""
        super().connection_made(JoiningTransport(transport, self.loop))

    def data_received(self, data: bytes) -> None:
        """Take a piece of what the caller sends."""
        super().data_received(data)
        if self._held is not None:  # the rest is still to come
            self._let_go(self._held)

    def on_headers_complete(self) -> None:
        """Go the short way, if what was said so far allows it."""
        if self._whole is not None and self.url in self._whole_paths and self._is_ordinary():
            self._held = b""
        else:
            super().on_headers_complete()

    def _is_ordinary(self) -> bool:
        parser = self.parser
        return (
            parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and not self.flow.write_paused
            and (self.cycle is None or self.cycle.response_complete)  # type: ignore[redundant-expr]  # it begins as None
        )

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        if self._held is None:
            super().on_body(body)
        elif len(self._held) + len(body) > BYTES_MAX:
            self._let_go(self._held + body)
        else:
            self._held += body

    def on_message_complete(self) -> None:
        """Have the request answered: it is there as a whole."""
        if self._held is None or self._whole is None:
            super().on_message_complete()
            return
        body, self._held = self._held, None
        request = WholeRequest(self, self.url.decode("ascii"), self.headers, body)
        self.cycle = request  # type: ignore[assignment]  # it has what uvicorn asks a cycle for
        request.task = self.loop.create_task(self._whole(request))

    def caller(self, headers: Headers) -> tuple[str, int] | None:
        """Return who is calling, as uvicorn's middleware tells it to ASGI."""
        if self._proxies is None or self.client is None or self.client[0] not in self._proxies:
            return self.client
        named = b", ".join([value for name, value in headers if name == b"x-forwarded-for"])
        host, port = self._proxies.get_trusted_client_address(named.decode("latin1"))
        return (host, port) if host else self.client

    def _let_go(self, body: bytes) -> None:
        """Go uvicorn's way after all."""
        self._held = None
        super().on_headers_complete()
        if body:
            super().on_body(body)
