"""The wire: a connection whose writes of one turn of the event loop leave together.

An ASGI server writes a reply's head and its body one after the other. Each write is a TLS record, a system call and,
with TCP_NODELAY, a packet of its own, for two hundred bytes. Here what is written within one turn of the loop is
joined, and leaves as one of each. Nothing waits longer than that: not a head whose body is still to come, and not an
interim `100 Continue`. To close sends what is held; to abort drops it, as a reset would.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


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


class JoiningProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol on such a transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        """Begin a connection."""
        super().connection_made(JoiningTransport(transport, self.loop))
