"""What is written in one turn of the loop leaves together, and nothing is lost or kept on the way."""

import asyncio
from typing import Any

from uvicorn import Config
from uvicorn.server import ServerState

from fakes import story, turns
from generic_connector.web.wire import REPLY, JoiningProtocol, JoiningTransport


class Line(asyncio.Transport):
    """A transport that remembers what was done with it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 1)})
        self.done: list[bytes | str] = []

    def write(self, data: Any) -> None:  # noqa: ANN401 - asyncio's own type cannot be written at run time
        self.done.append(bytes(data))

    def close(self) -> None:
        self.done.append("close")

    def abort(self) -> None:
        self.done.append("abort")

    def is_closing(self) -> bool:
        return "close" in self.done

    def pause_reading(self) -> None:
        self.done.append("pause")

    def resume_reading(self) -> None:
        self.done.append("resume")


def joined() -> tuple[Line, JoiningTransport]:
    """Return a line, and the transport that joins what goes over it."""
    line = Line()
    return line, JoiningTransport(line, asyncio.get_running_loop())


@story
async def test_the_writes_of_a_turn_leave_as_one() -> None:
    """Head and body are one write, and the next turn's are another. Nothing is written before the turn is over."""
    line, transport = joined()

    transport.write(b"head ")
    transport.write(bytearray(b"body"))
    assert line.done == []
    await turns(2)
    transport.write(b"next")
    await turns(2)

    assert line.done == [b"head body", b"next"]


@story
async def test_a_head_without_a_body_leaves_too() -> None:
    """As of a HEAD request, or an interim reply."""
    line, transport = joined()

    transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    transport.write(b"")
    await turns(2)
    transport.write(b"")
    await turns(2)

    assert line.done == [b"HTTP/1.1 100 Continue\r\n\r\n"]


@story
async def test_to_close_sends_what_is_held_first() -> None:
    """A reply that ends its connection is not lost."""
    line, transport = joined()

    transport.write(b"last words")
    transport.close()
    await turns(2)

    assert (line.done, transport.is_closing()) == ([b"last words", "close"], True)


@story
async def test_to_abort_drops_what_is_held() -> None:
    """As a reset does."""
    line, transport = joined()

    transport.write(b"unsent")
    transport.abort()
    await turns(2)

    assert line.done == ["abort"]


@story
async def test_all_else_is_the_other_transports() -> None:
    """Addresses, and the flow of what is read."""
    line, transport = joined()

    transport.pause_reading()
    transport.resume_reading()

    assert (transport.get_extra_info("peername"), transport.get_extra_info("no", 1)) == (("192.0.2.1", 1), 1)
    assert line.done == ["pause", "resume"]


# --- A whole reply ---------------------------------------------------------------------------------------------------


def _protocol(line: Line) -> JoiningProtocol:
    """Return a protocol that a connection has begun on, with an application that waits."""

    async def waits(_scope: object, _receive: object, _send: object) -> None:
        await asyncio.Event().wait()

    config = Config(waits, http=JoiningProtocol, lifespan="off", log_config=None, server_header=False)
    config.load()
    protocol = JoiningProtocol(config, ServerState(), {})
    protocol.connection_made(line)
    return protocol


async def _ended(protocol: JoiningProtocol) -> None:
    for task in protocol.tasks:
        task.cancel()
    await asyncio.gather(*protocol.tasks, return_exceptions=True)


@story
async def test_a_whole_reply_is_one_write() -> None:
    """Status line, the server's own headers, the application's, and the body leave as one, once."""
    line = Line()
    protocol = _protocol(line)
    protocol.server_state.default_headers = [(b"date", b"today")]
    protocol.data_received(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
    scope = protocol.scope

    assert scope["extensions"] == {REPLY: {"whole": protocol.reply}}
    assert protocol.reply(scope, 200, b"content-length: 2\r\n", b"ok")
    assert not protocol.reply(scope, 200, b"content-length: 2\r\n", b"ok")
    await turns(2)

    assert line.done[-1] == b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 2\r\n\r\nok"
    assert protocol.timeout_keep_alive_task is not None
    protocol.timeout_keep_alive_task.cancel()
    await _ended(protocol)


@story
async def test_what_is_not_ordinary_is_left_to_the_server() -> None:
    """A connection that ends, a HEAD, and one whose next request has begun: nothing is written, False is answered."""
    for head in (b"POST / HTTP/1.0", b"HEAD / HTTP/1.1", b"POST / HTTP/1.1\r\nconnection: close"):
        line = Line()
        protocol = _protocol(line)
        protocol.data_received(head + b"\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
        assert not protocol.reply(protocol.scope, 200, b"", b"")
        await _ended(protocol)
        assert not any(isinstance(done, bytes) for done in line.done)

    line = Line()
    protocol = _protocol(line)
    request = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"
    protocol.data_received(request)
    first = protocol.scope
    protocol.data_received(request)
    assert not protocol.reply(first, 200, b"", b"")
    await _ended(protocol)
    assert not any(isinstance(done, bytes) for done in line.done)
