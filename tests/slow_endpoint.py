"""An endpoint that misbehaves as it is told, on a real socket: what the contract client is tried against.

Each POST that arrives whole is kept, and answered by the next of the given **manners**, the last of which goes on for
ever. A manner is a coroutine that has the connection in its hands: it may answer, wait until the caller hangs up, close
early or never stop. Nothing in here waits for a time.
"""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import trustme

WAIT_S = 30


@dataclass(frozen=True)
class Post:
    """A request as it came. `headers` are in their order."""

    line: str
    headers: Sequence[tuple[str, str]]
    body: bytes

    @property
    def fields(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    def header(self, name: str) -> str | None:
        return {known.lower(): value for known, value in self.headers}.get(name.lower())


@dataclass
class Line:
    """One connection, after its request came."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    post: Post

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hung_up(self) -> None:
        """Wait until the caller closes the connection."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while await self.reader.read(1024):
                pass


Manner = Callable[[Line], Awaitable[None]]


@dataclass
class SlowEndpoint:
    """What came, and where. `hang_ups` counts connections that the caller closed while it was kept waiting."""

    url: str
    ca_file: str | None = None
    posts: list[Post] = field(default_factory=list)
    hang_ups: int = 0


# --- Manners ---------------------------------------------------------------------------------------------------------


def answers(
    body: bytes | str | Mapping[str, object], status: int = 200, headers: Mapping[str, str] | None = None
) -> Manner:
    """Answer at once."""
    data = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())

    async def manner(line: Line) -> None:
        await line.say(f"HTTP/1.1 {status} Said\r\n{lines}Content-Length: {len(data)}\r\n\r\n".encode() + data)

    return manner


def says(data: bytes) -> Manner:
    """Send these bytes, whatever they are, and close."""

    async def manner(line: Line) -> None:
        await line.say(data)

    return manner


async def never_answers(line: Line) -> None:
    """Keep the caller waiting until it gives up."""
    await line.hung_up()


async def hangs_up(_line: Line) -> None:
    """Close without a word."""


async def resets(line: Line) -> None:
    """End the connection as a firewall does: with a reset."""
    line.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.writer.transport.abort()


async def stops_halfway(line: Line) -> None:
    """Begin an answer, and keep the caller waiting for the rest of it."""
    await line.say(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"charge_id": ')
    await line.hung_up()


async def breaks_off(line: Line) -> None:
    """Begin an answer, and close before it is whole."""
    await line.say(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"charge_id": ')


async def never_stops(line: Line) -> None:
    """Answer without an end, until the caller hangs up."""
    await line.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while not line.reader.at_eof():
            await line.say(b"1000\r\n" + b" " * 4096 + b"\r\n")


# --- The server ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def slow_endpoint(*manners: Manner, tls: bool = False, tls_name: str = "localhost") -> Iterator[SlowEndpoint]:
    """Serve until the context ends; with `tls` over TLS, under this name."""
    with contextlib.ExitStack() as stack:
        context, ca_file = None, None
        if tls:
            authority = trustme.CA()
            ca_file = stack.enter_context(authority.cert_pem.tempfile())
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(tls_name).configure_cert(context)
        endpoint = SlowEndpoint("", ca_file)
        stack.enter_context(_served(endpoint, manners, context))
        yield endpoint


@contextlib.contextmanager
def _served(endpoint: SlowEndpoint, manners: Sequence[Manner], context: ssl.SSLContext | None) -> Iterator[None]:
    ready = threading.Event()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.CancelledError):
            post = await _post(reader)
            manner = manners[min(len(endpoint.posts), len(manners) - 1)]
            endpoint.posts.append(post)
            await manner(Line(reader, writer, post))
            endpoint.hang_ups += reader.at_eof()
        with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.CancelledError):
            writer.close()
            await writer.wait_closed()

    async def main() -> None:
        server = await asyncio.start_server(serve_one, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        endpoint.url = f"http://127.0.0.1:{port}/pay" if context is None else f"https://localhost:{port}/pay"
        ready.set()
        await stop.wait()
        server.close()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    if not ready.wait(WAIT_S):
        raise TimeoutError("the endpoint did not start")
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(WAIT_S)


async def _post(reader: asyncio.StreamReader) -> Post:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    headers = [(name, value) for name, _colon, value in (one.partition(": ") for one in lines)]
    length = next(int(value) for name, value in headers if name.lower() == "content-length")
    return Post(line, headers, await reader.readexactly(length))
