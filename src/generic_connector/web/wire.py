"""The wire: a connection whose writes of one turn of the event loop leave together.

An ASGI server writes a reply's head and its body one after the other. Each write is a TLS record, a system call and,
with TCP_NODELAY, a packet of its own, for two hundred bytes. Here what is written within one turn of the loop is
joined, and leaves as one of each. Nothing waits longer than that: not a head whose body is still to come, and not an
interim `100 Continue`. To close sends what is held; to abort drops it, as a reset would.

A reply that is there as a whole, and ordinary, need not even be two messages: `JoiningProtocol.reply`, which an
application finds in its scope under `REPLY`, writes it in one step. uvicorn's own way checks each header of each reply
for bytes that break out of it; who uses this one must know that its headers hold none.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol


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


REPLY = "generic_connector.reply"
"""The name of `JoiningProtocol.reply` among a scope's extensions."""
WholeReply = Callable[[object, int, bytes, bytes], bool]


class JoiningProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol on such a transport."""

    transport: JoiningTransport

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["extensions"] = self._extensions

    def reply(self, scope: object, status: int, headers: bytes, body: bytes) -> bool:
        """Write a whole reply: `headers` are lines that end with CRLF, Content-Length among them.

        False, with nothing written, where the reply is not ordinary: the connection is to end with it, is gone, is slow
        to take more, or has begun its next request. Then ASGI's messages are to be sent.
        """
        cycle = self.cycle
        if (
            cycle.scope is not scope
            or cycle.response_started
            or cycle.disconnected
            or not cycle.keep_alive
            or self.flow.write_paused
            or cycle.scope["method"] == "HEAD"
        ):
            return False
        cycle.response_started = cycle.response_complete = True
        ours = b"".join([b"%s: %s\r\n" % header for header in self.server_state.default_headers])
        self.transport.write_now(b"%s%s%s\r\n%s" % (STATUS_LINE[status], ours, headers, body))
        cycle.message_event.set()
        self.on_response_complete()
        return True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        """Begin a connection."""
        self._extensions: dict[str, dict[object, object]] = {REPLY: {"whole": self.reply}}
        super().connection_made(JoiningTransport(transport, self.loop))
