"""What is written in one turn of the loop leaves together, what comes whole is taken whole, and nothing is lost."""

import asyncio
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from fakes import story, turns
from generic_connector.web.wire import JoiningProtocol, JoiningTransport, WholeRequest


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


# --- A request that comes whole --------------------------------------------------------------------------------------

BODY = b'{"a": 1}'
HEAD = b"POST / HTTP/1.1\r\nhost: a\r\nContent-Length: 8\r\n\r\n"
REPLY = b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 2\r\n\r\nok"


class Application:
    """An application that takes whole requests at `/`, holds all that it is given, and answers when it is told to."""

    whole_paths = (b"/",)

    def __init__(self) -> None:
        self.whole_ones: list[WholeRequest] = []
        self.cancelled: list[WholeRequest] = []
        self.others: list[tuple[str, bytes]] = []
        self.clients: list[str] = []

    async def whole(self, request: WholeRequest) -> None:
        self.whole_ones.append(request)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append(request)
            raise

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        self.others.append((f"{scope['method']} {scope['path']}", body))
        self.clients.append(scope["client"][0])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


def connected(application: Application, *, proxies: str | None = None) -> tuple[Line, JoiningProtocol]:
    """Return a line, and the protocol that has begun on it."""
    line = Line()
    config = Config(
        application,
        http=JoiningProtocol,
        lifespan="off",
        log_config=None,
        server_header=False,
        proxy_headers=proxies is not None,
        forwarded_allow_ips=proxies,
    )
    config.load()
    protocol = JoiningProtocol(config, ServerState(), {})
    protocol.server_state.default_headers = [(b"date", b"today")]
    protocol.connection_made(line)
    return line, protocol


async def ended(protocol: JoiningProtocol, application: Application) -> None:
    """Let go of everything."""
    tasks = [*protocol.tasks, *(request.task for request in application.whole_ones)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if protocol.timeout_keep_alive_task is not None:
        protocol.timeout_keep_alive_task.cancel()


def written(line: Line) -> bytes:
    """What was written so far."""
    return b"".join(done for done in line.done if isinstance(done, bytes))


@story
async def test_a_request_in_one_piece_is_handed_over_as_one() -> None:
    """Path, headers, body and caller are there; the reply is one write, once; the connection stays for the next."""
    application = Application()
    line, protocol = connected(application)

    for number in (1, 2):
        protocol.data_received(HEAD + BODY)
        await turns()
        (*_earlier, request) = application.whole_ones
        request.reply(200, b"content-length: 2\r\n", b"ok")
        request.reply(200, b"content-length: 2\r\n", b"ok")
        await turns()
        assert (number, REPLY * number) == (len(application.whole_ones), written(line))

    last = application.whole_ones[-1]
    assert ("/", b"8", BODY) == (last.path, dict(last.headers)[b"content-length"], last.body)
    assert ("192.0.2.1", 1) == last.client
    assert ([], "close" in line.done) == (application.others, False)
    assert protocol.timeout_keep_alive_task is not None
    await ended(protocol, application)


@story
async def test_what_is_not_ordinary_goes_by_asgi() -> None:
    """A body that is still to come, at any place, another method or path, a query, an end, an upgrade, `Expect`."""
    pieces = [[(HEAD + BODY)[:cut], (HEAD + BODY)[cut:]] for cut in range(1, len(HEAD + BODY))]
    same = [(f"POST {path}", BODY) for path in ("/", "/charge")]
    cases = [(parts, same[0]) for parts in pieces]
    cases += [
        ([HEAD.replace(b"POST / ", b"POST /charge ") + BODY], same[1]),
        ([HEAD.replace(b"POST / ", b"POST /?a=b ") + BODY], same[0]),
        ([HEAD.replace(b"POST", b"PUT") + BODY], ("PUT /", BODY)),
        ([HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + BODY], same[0]),
        ([HEAD.replace(b"host", b"Connection: close\r\nhost") + BODY], same[0]),
        ([HEAD.replace(b"host", b"Expect: 100-continue\r\nhost") + BODY], same[0]),
        ([HEAD.replace(b" 8\r", b" 16385\r") + b"x" * 16385], ("POST /", b"x" * 16385)),
    ]
    by_head_alone = 0
    for parts, expected in cases:
        application = Application()
        line, protocol = connected(application)
        for part in parts:
            protocol.data_received(part)
            await turns()
        # Cut within its head, a request is there as a whole all the same once its last piece is.
        if application.whole_ones:
            assert (len(parts[0]) < len(HEAD), BODY) == (True, application.whole_ones[0].body)
            by_head_alone += 1
        else:
            assert [expected] == application.others
            assert written(line).endswith(b"ok")
        await ended(protocol, application)

    assert len(HEAD) - 1 == by_head_alone


@pytest.mark.parametrize(
    ("proxies", "named", "expected"),
    [
        ("192.0.2.1", ["203.0.113.9"], "203.0.113.9"),
        ("192.0.2.1", ["203.0.113.8", "203.0.113.9"], "203.0.113.9"),
        ("192.0.2.1,203.0.113.9", ["203.0.113.8", "203.0.113.9"], "203.0.113.8"),
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", [""], "192.0.2.1"),
        ("198.51.100.1", ["203.0.113.9"], "192.0.2.1"),
        (None, ["203.0.113.9"], "192.0.2.1"),
    ],
    ids=["a proxy", "the nearest", "two proxies", "no header", "an empty one", "another's proxy", "nobody is believed"],
)
def test_a_proxy_that_is_believed_names_the_caller(proxies: str | None, named: list[str], expected: str) -> None:
    """As uvicorn's middleware tells it to ASGI: a request come whole and one come in pieces are the same caller's."""

    @story
    async def told() -> None:
        application = Application()
        _line, protocol = connected(application, proxies=proxies)
        head = HEAD.replace(b"host", b"".join(b"X-Forwarded-For: %s\r\n" % name.encode() for name in named) + b"host")

        protocol.data_received(head + BODY)
        await turns()
        application.whole_ones[0].reply(200, b"content-length: 2\r\n", b"ok")
        protocol.data_received(head)
        protocol.data_received(BODY)
        await turns()

        client = application.whole_ones[0].client
        assert client is not None
        assert (expected, [expected]) == (client[0], application.clients)
        await ended(protocol, application)

    told()


@story
async def test_requests_in_a_row_are_answered_in_a_row() -> None:
    """The second of two that come together waits, in ASGI's way, until the first has its reply."""
    application = Application()
    line, protocol = connected(application)

    protocol.data_received((HEAD + BODY) * 2)
    await turns()
    assert ((1, []), b"") == ((len(application.whole_ones), application.others), written(line))

    application.whole_ones[0].reply(200, b"content-length: 2\r\n", b"ok")
    await turns()

    assert [("POST /", BODY)] == application.others
    assert REPLY * 2 == written(line)
    await ended(protocol, application)


@story
async def test_a_caller_who_leaves_cancels_the_task_that_waits() -> None:
    """Once, and nothing is written any more; after a reply there is nothing to cancel."""
    application = Application()
    line, protocol = connected(application)
    protocol.data_received(HEAD + BODY)
    await turns()
    (request,) = application.whole_ones

    protocol.connection_lost(None)
    await turns()
    request.reply(200, b"content-length: 2\r\n", b"ok")
    assert (True, [request], b"") == (request.has_left, application.cancelled, written(line))

    again, protocol = connected(application)
    protocol.data_received(HEAD + BODY)
    await turns()
    application.whole_ones[-1].reply(200, b"content-length: 2\r\n", b"ok")
    protocol.connection_lost(None)
    await turns()

    assert (False, 1) == (application.whole_ones[-1].has_left, len(application.cancelled))
    assert REPLY == written(again)
    await ended(protocol, application)


@story
async def test_a_reply_at_the_servers_end_ends_its_connection() -> None:
    """The request in flight gets its reply, which says that the connection ends, and it is closed."""
    application = Application()
    line, protocol = connected(application)
    protocol.data_received(HEAD + BODY)
    await turns()

    protocol.shutdown()
    assert "close" not in line.done
    application.whole_ones[0].reply(200, b"content-length: 2\r\n", b"ok")

    assert b"content-length: 2\r\nconnection: close\r\n\r\nok" in written(line)
    assert "close" in line.done
    await ended(protocol, application)


@story
async def test_who_does_not_read_is_not_written_to_without_end() -> None:
    """While the line takes nothing more, requests go by ASGI, which waits."""
    application = Application()
    line, protocol = connected(application)

    protocol.pause_writing()
    protocol.data_received(HEAD + BODY)
    await turns()
    assert ([], b"") == (application.whole_ones, written(line))

    protocol.resume_writing()
    await turns()
    assert REPLY == written(line)
    await ended(protocol, application)
