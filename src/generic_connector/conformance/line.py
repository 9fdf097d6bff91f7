"""A line: one connection to an endpoint, used byte by byte, and never longer or for more than was allowed.

The kit talks to servers that hang, stream for ever, close early and answer what is no HTTP. So it opens its own
sockets, sends exactly the bytes it means, and reads replies with h11, a strict parser. Nothing is retried, redirected
or pooled here, no proxy is asked, and every wait has an end.

A server that hangs up may have answered before: what came in time counts, whatever became of the connection then.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

import h11

BODY_MAX: Final = 1024 * 1024
"""A longer reply is no whole answer."""
HEAD_MAX: Final = 64 * 1024
_READ_AHEAD_MAX: Final = BODY_MAX + HEAD_MAX + 64 * 1024
_CLOSE_S: Final = 1.0
_HTTP: Final = b"HTTP/1."
_IN_THE_MIDDLE: Final = "the connection was closed in the middle of the answer"
_NOT_HTTP: Final = "what came is not HTTP/1.1, or its head is too long"


class LineError(Exception):
    """There is no whole answer. The text says why; it quotes nothing that was sent or received."""


class HandshakeError(LineError):
    """There is no secure connection, so nothing was sent: no TLS that both know, or a handshake that broke off."""


class UntrustedError(HandshakeError):
    """There is no secure connection, so nothing was sent: the certificate is not trusted."""


@dataclass(frozen=True, slots=True)
class Came:
    """A whole reply. Header names are in lower case; of a name that came twice the values are joined by commas."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    version: str = "1.1"


class _Hose(asyncio.Protocol):
    """What comes in, kept until it is read; too much of it is not taken from the socket."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.data = bytearray()
        self.is_ended = False
        self.broke: Exception | None = None
        self._news = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._is_gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.data += data
        if len(self.data) > _READ_AHEAD_MAX and self.transport is not None:
            self.transport.pause_reading()
        self._news.set()

    def eof_received(self) -> bool:
        self.is_ended = True
        self._news.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_ended, self.broke = True, exc
        self._news.set()
        self._may_write.set()
        self._is_gone.set()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    async def more(self) -> bytes:
        """Wait for more bytes, and take them; none: the connection ended."""
        while not self.data and not self.is_ended:
            self._news.clear()
            await self._news.wait()
        taken = bytes(self.data)
        self.data.clear()
        if self.transport is not None and not self.is_ended:
            self.transport.resume_reading()
        return taken

    async def drained(self) -> None:
        """Wait until what was written is mostly on its way."""
        await self._may_write.wait()

    async def gone(self) -> None:
        """Wait until the connection is gone."""
        await self._is_gone.wait()


class Line:
    """A connection. What does not come to its end raises LineError; how long it may take, the caller bounds."""

    def __init__(self, hose: _Hose, transport: asyncio.Transport) -> None:
        self._hose = hose
        self._transport = transport
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX)
        self._is_at_end = False

    @classmethod
    async def open(cls, host: str, port: int, tls: ssl.SSLContext | None, *, server_name: str | None = None) -> "Line":
        """Connect. Raises LineError; HandshakeError where there is a server, and no TLS with it."""
        loop = asyncio.get_running_loop()
        name = (server_name or host) if tls is not None else None
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise LineError(f"no connection: {os_reason(error)}") from None
        why = LineError("no connection: the host name has no address")
        for family, _kind, _protocol, _name, address in found:
            try:
                transport, hose = await loop.create_connection(
                    _Hose, str(address[0]), port, family=family, ssl=tls, server_hostname=name
                )
            except ssl.SSLCertVerificationError as error:
                raise UntrustedError(f"the certificate is not trusted: {certificate_reason(error)}") from None
            except ssl.SSLError as error:
                raise HandshakeError(f"no TLS connection came about: {tls_reason(error)}") from None
            except ConnectionRefusedError:
                why = LineError("connection refused")
            except OSError as error:
                if tls is not None and isinstance(error, ConnectionError):
                    raise HandshakeError("no TLS connection came about: it was closed during the handshake") from None
                why = LineError(f"no connection: {os_reason(error)}")
            else:
                return cls(hose, transport)
        raise why

    @property
    def tls_version(self) -> str | None:
        """The negotiated version, such as `TLSv1.3`."""
        tls = self._transport.get_extra_info("ssl_object")
        return None if tls is None else str(tls.version())

    @property
    def is_open(self) -> bool:
        """Whether the server has not hung up, as far as is known."""
        return not self._hose.is_ended

    async def send(self, data: bytes) -> None:
        """Send bytes as they are. A connection that is gone takes them without complaint: the reply tells."""
        if not self._transport.is_closing():
            self._transport.write(data)
            await self._hose.drained()

    def end(self) -> None:
        """Say that nothing more is sent. Over TLS that cannot be said alone: then it is left unsaid."""
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    async def hear(self, verb: str = "POST") -> Came:
        """Read the reply to a request with that method. Raises LineError."""
        try:
            return await self._heard(verb)
        except h11.RemoteProtocolError:
            # h11's own text may quote what came.
            if self._is_at_end:
                raise LineError(_IN_THE_MIDDLE) from None
            raise LineError(_NOT_HTTP) from None
        except h11.LocalProtocolError:
            raise LineError("the connection was closed after the reply before") from None

    def drop(self) -> None:
        """Hang up without a word."""
        self._transport.abort()

    async def close(self) -> None:
        """Hang up, and wait a moment for it."""
        self._transport.abort()
        try:
            await asyncio.wait_for(self._hose.gone(), _CLOSE_S)
        except TimeoutError:
            return

    async def _heard(self, verb: str) -> Came:
        parser = self._parser
        if parser.our_state is h11.DONE and parser.their_state is h11.DONE:
            parser.start_next_cycle()
        # h11 must believe that a request was sent; what was sent in truth went past it.
        parser.send(h11.Request(method=verb, target="/", headers=[("Host", "h"), ("Content-Length", "0")]))
        parser.send(h11.EndOfMessage())
        head: h11.Response | None = None
        body = bytearray()
        while True:
            match await self._event(has_begun=head is not None):
                case h11.Response() as head:
                    pass
                case h11.Data() as part:
                    body += part.data
                    if len(body) > BODY_MAX:
                        raise LineError(f"the reply is longer than {BODY_MAX:,} bytes")
                case h11.EndOfMessage() if head is not None:
                    return Came(head.status_code, joined(head.headers), bytes(body), head.http_version.decode())
                case h11.InformationalResponse():
                    continue  # the reply itself comes later
                case _:
                    raise LineError(self._why_ended())

    async def _event(self, *, has_begun: bool) -> object:
        """Return h11's next event, and read as much as it needs for that."""
        while True:
            event = self._parser.next_event()
            if event is h11.PAUSED:
                raise LineError("the connection was switched to another protocol")
            if event is not h11.NEED_DATA:
                return event
            data = await self._hose.more()
            self._is_at_end = not data
            if not data and not has_begun:
                raise LineError(self._why_ended())
            self._parser.receive_data(data)

    def _why_ended(self) -> str:
        begun = self._parser.trailing_data[0]
        if begun:
            is_http = begun.startswith(_HTTP[: len(begun)])
            return _IN_THE_MIDDLE if is_http else _NOT_HTTP
        if self._hose.broke is not None:
            return "the connection was reset without an answer"
        return "the connection was closed without an answer"


def joined(headers: Sequence[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """Return headers by lower-case name."""
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def certificate_reason(error: ssl.SSLCertVerificationError) -> str:
    """Say why a certificate is refused, in OpenSSL's words or plainer ones."""
    return _REASONS.get(error.verify_code, error.verify_message or "it was refused")


def tls_reason(error: ssl.SSLError) -> str:
    """Say why a handshake failed, in OpenSSL's words."""
    return (error.reason or "the handshake failed").replace("_", " ").lower()


def os_reason(error: Exception) -> str:
    """Say why there is no connection, without the address, which the reader knows."""
    return str(getattr(error, "strerror", None) or "the address cannot be used")


_REASONS: Final[Mapping[int, str]] = {
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is signed by itself",
    19: "its authority is not trusted",
    20: "its authority is not trusted",
    21: "its authority is not trusted",
    62: "it is for another host name",
    64: "it is for another address",
}
