"""Stubborn servers: what the conformance kit may meet out there, on real sockets.

Each hangs, streams for ever, closes early, answers what is no HTTP, or sends its callers elsewhere. A **manner** is a
coroutine that has one connection in its hands. Nothing in here waits for a time, but for what drips.
"""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

Manner = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

DRIP_S = 0.02
_CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
_GOOD = {"charge_id": "ch_stubborn", "error_code": None, "error_message": None}


@dataclass
class Stubborn:
    """A server that runs. `asked` counts its connections."""

    url: str
    asked: int = 0


@contextlib.asynccontextmanager
async def stubborn(
    manner: Manner, *, tls: ssl.SSLContext | None = None, scheme: str = "http"
) -> AsyncIterator[Stubborn]:
    """Serve until the context ends, whatever a connection is still at."""
    working: set[asyncio.Task[None]] = set()
    is_over = asyncio.Event()
    server = Stubborn("")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.asked += 1
        task = asyncio.current_task()
        assert task is not None
        working.add(task)
        try:
            if is_over.is_set():  # it came in the last moment
                return
            await manner(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return  # the caller hung up: it may
        except asyncio.CancelledError:
            return
        finally:
            working.discard(task)
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    scheme = "https" if tls is not None else scheme
    host = "localhost" if scheme == "https" else "127.0.0.1"
    server.url = f"{scheme}://{host}:{listening.sockets[0].getsockname()[1]}/pay"
    try:
        yield server
    finally:
        listening.close()
        is_over.set()
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)


async def _request(reader: asyncio.StreamReader) -> bytes:
    """Read one request, if it is one."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head + (await reader.readexactly(int(lengths[0])) if lengths else b"")


def says(data: bytes) -> Manner:
    """Read a request, send these bytes, and close."""

    async def manner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(data)
        await writer.drain()

    return manner


def answers(status: int, body: bytes, **headers: str) -> Manner:
    """Answer every request alike, and close."""
    given = {"Content-Length": str(len(body)), "Connection": "close", **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
    return says(f"HTTP/1.1 {status} Said\r\n{lines}\r\n".encode() + body)


def repeats(head: bytes, piece: bytes, pause_s: float = 0.0) -> Manner:
    """Send a head, and then the same piece for ever."""

    async def manner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return manner


async def hangs(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Read whatever comes, and say nothing."""
    while await reader.read(65_536):
        pass


async def hangs_after_the_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Promise a body, and keep it."""
    await _request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    await hangs(reader, writer)


async def reads_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take a connection, and do nothing with it."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport for both ways
    await asyncio.Event().wait()


async def closes(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Hang up at once."""


async def closes_after_the_request(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Hear a request out, and hang up."""
    await _request(reader)


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End the connection as a firewall does."""
    await reader.read(1)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def turncoat() -> Manner:
    """Answer the first request well, and hang from then on: the worst that a bound has to hold for."""
    asked = 0

    async def manner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await (answers(200, json.dumps(_GOOD).encode()) if asked == 1 else hangs)(reader, writer)

    return manner


async def echoes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with what was asked."""
    heard = await _request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(heard) + heard)


SILENT: Mapping[str, Manner] = {
    "hangs": hangs,
    "hangs after the head": hangs_after_the_head,
    "reads nothing": reads_nothing,
    "closes": closes,
    "closes after the request": closes_after_the_request,
    "resets": resets,
    "breaks off": says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
    "breaks off a chunk": says(_CHUNKED + b"64\r\n{"),
    "streams for ever": repeats(_CHUNKED, b"1000\r\n" + b" " * 4096 + b"\r\n"),
    "streams for ever, without a length": repeats(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65_536),
    "headers for ever": repeats(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n" * 100),
    "one header for ever": repeats(b"HTTP/1.1 200 OK\r\nX-More: ", b"x" * 65_536),
    "goes on for ever": repeats(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "drips a head": repeats(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x", DRIP_S),
    "drips a body": repeats(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x", DRIP_S),
    "a petabyte": says(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000\r\n\r\n{}"),
    "garbage": says(bytes(range(256)) * 64),
    "HTML without HTTP": says(b"<!doctype html><title>Hello</title>"),
    "a status in letters": says(b"HTTP/1.1 OK 200\r\n\r\n{}"),
    "a chunk in letters": says(_CHUNKED + b"many\r\n{}\r\n0\r\n\r\n"),
    "two lengths": says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}\n"),
    "another protocol": says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: chat\r\nConnection: Upgrade\r\n\r\n"),
    "SSH": says(b"SSH-2.0-OpenSSH_9.9\r\n"),
}
"""Never a whole answer."""

TALKATIVE: Mapping[str, Manner] = {
    "redirects to itself": answers(302, b"", Location="/pay"),
    "HTML": answers(200, b"<!doctype html><title>Hello</title>", Content_Type="text/html"),
    "nothing": answers(204, b""),
    "bytes": answers(200, bytes(range(256)) * 16, Content_Type="application/json"),
    "deep JSON": answers(200, b"[" * 20_000 + b"]" * 20_000),
    "long numbers": answers(200, b'{"charge_id":' + b"9" * 10_000 + b"}"),
    "odd types": answers(
        200, b'{"charge_id":[1],"token_id":{},"error_code":{"a":[]},"error_message":7,"parameters":[]}'
    ),
    "errors": answers(500, b"Internal Server Error"),
    "a large body": answers(200, b'{"charge_id":"' + b"x" * 100_000 + b'"}'),
    "echoes": echoes,
    "a turncoat": turncoat(),
}
"""Answers of a kind, at least once."""
