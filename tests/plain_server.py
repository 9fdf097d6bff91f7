"""HTTP/1.1 by hand, around a toy endpoint: a correct server whose mistakes can be chosen.

Real servers get framing right, so that what a kit says about wrong framing cannot be tried on them. Each step is a
small method, and a broken server is a subclass that replaces one. It runs in the event loop of its caller.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from http import HTTPStatus

from toy_endpoint import BODY_BYTES_MAX, Answer, Refused, Request, ToyEndpoint

Headers = Sequence[tuple[str, str]]


class PlainServer:
    """Serves an endpoint, over TLS where a context is given, on `host` and a free port."""

    host = "127.0.0.1"
    body_wait_s = 0.4

    def __init__(self, endpoint: ToyEndpoint, tls: ssl.SSLContext | None = None) -> None:
        self.endpoint = endpoint
        self.tls = tls

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve until the context ends. Yields the address."""
        working: set[asyncio.Task[None]] = set()

        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self.connection(reader, writer))
            working.add(task)
            task.add_done_callback(working.discard)

        server = await asyncio.start_server(begin, self.host, 0, ssl=self.tls)
        port = server.sockets[0].getsockname()[1]
        try:
            yield f"http://{self.host}:{port}/" if self.tls is None else f"https://localhost:{port}/"
        finally:
            server.close()
            for task in list(working):
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer what comes on one connection, one request after the other."""
        with contextlib.suppress(OSError):
            try:
                while await self.exchange(reader, writer):
                    pass
            finally:
                writer.close()
                await writer.wait_closed()

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request. Returns whether another one may come on this connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            start, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
            verb, target, _version = start.split(" ")
            headers = [(name.lower(), value.strip()) for name, _colon, value in (line.partition(":") for line in lines)]
            async with asyncio.timeout(self.body_wait_s):
                body = await self.body(headers, reader)
        except asyncio.IncompleteReadError:
            return False
        except (ValueError, asyncio.LimitOverrunError, TimeoutError):
            refused = Refused("malformed_request", "This is no HTTP/1.1.", 400)
            writer.write(self.written(self.endpoint.error(refused, None), "POST", is_last=True))
            await writer.drain()
            return False
        answer = await self.endpoint.answer(Request(verb, target.partition("?")[0], dict(headers), body))
        is_last = self.is_last(dict(headers))
        writer.write(self.written(answer, verb, is_last=is_last))
        await writer.drain()
        return self.may_go_on(is_last=is_last)

    async def body(self, headers: Headers, reader: asyncio.StreamReader) -> bytes:
        """Read a body."""
        if dict(headers).get("transfer-encoding", "").lower() == "chunked":
            return await self.chunks(reader)
        length = self.length(headers)
        if length > BODY_BYTES_MAX:
            raise ValueError("too large")
        return await self.whole(reader, length)

    async def whole(self, reader: asyncio.StreamReader, length: int) -> bytes:
        """Read so many bytes."""
        return await reader.readexactly(length)

    async def chunks(self, reader: asyncio.StreamReader) -> bytes:
        """Read a body in chunks."""
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
        return body

    def length(self, headers: Headers) -> int:
        """Return the length of a body. Two that differ are none."""
        said = {value for name, value in headers if name == "content-length"}
        if len(said) > 1:
            raise ValueError("two lengths")
        return int(next(iter(said), "0"))

    def is_last(self, headers: Mapping[str, str]) -> bool:
        """Whether the caller wants the connection closed."""
        return headers.get("connection", "").lower() == "close"

    def may_go_on(self, *, is_last: bool) -> bool:
        """Whether the connection stays."""
        return not is_last

    def written(self, answer: Answer, verb: str, *, is_last: bool) -> bytes:
        """Return an answer as it goes over the wire."""
        headers = {**answer.headers, "content-length": str(len(answer.body))}
        if is_last:
            headers["connection"] = "close"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n{lines}\r\n".encode()
        return head if verb == "HEAD" else head + answer.body
