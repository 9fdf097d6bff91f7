"""A probe: what it sends, what it makes of an answer, how long it waits, and that nothing secret can be seen of it."""

import asyncio
import base64
import contextlib
import json
import logging
import re
import ssl
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trustme

from canaries import Canary, Evidence, find, forms
from generic_connector.conformance.attempt import Reply
from generic_connector.conformance.bodies import ABSENT
from generic_connector.conformance.check import Level, NotAskable, Register
from generic_connector.conformance.in_process import App, Message
from generic_connector.conformance.mask import Mask
from generic_connector.conformance.probe import Probe
from generic_connector.conformance.profile import Numbers, Profile, ProfileError, Restart
from generic_connector.conformance.request import END, Body
from generic_connector.conformance.runner import Target, all_checks, conform_sync
from generic_connector.conformance.visit import OTHER, Visit
from generic_connector.secret import Secret
from stubborn import SILENT, Manner, answers, echoes, hangs, stubborn
from toy_endpoint import DEFAULT, ToyEndpoint

Result = TypeVar("Result")
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]

PASSWORD = "correct horse battery staple"
EVENT_S = 20


def over_socket(
    manner: Manner,
    what: Callable[[Probe], Coroutine[Any, Any, Result]],
    **changes: Any,  # noqa: ANN401 - Target's
) -> Result:
    """Serve so, and ask."""

    async def main() -> Result:
        async with stubborn(manner) as server:
            return await asked(what, url=server.url, **changes)

    return asyncio.run(main())


def in_process(app: App, what: Callable[[Probe], Coroutine[Any, Any, Result]], **changes: Any) -> Result:  # noqa: ANN401
    """Ask an application in process."""
    return asyncio.run(asked(what, url="http://localhost/pay", asgi=app, **changes))


async def asked(what: Callable[[Probe], Coroutine[Any, Any, Result]], **changes: Any) -> Result:  # noqa: ANN401
    """Ask with a probe of a target."""
    given: dict[str, Any] = {"credentials": ("user", Secret(PASSWORD)), "timeout_s": EVENT_S, **changes}
    visit = Visit(Target(**given), seed=1, run_id="try")
    async with visit.lasting():
        return await what(Probe(visit, "try/1"))


def probe(**changes: Any) -> Probe:  # noqa: ANN401
    """A probe that asks nothing."""
    return Probe(Visit(Target(**{"url": "http://localhost/", **changes}), seed=1, run_id="try"), "try/1")


# --- What is sent ----------------------------------------------------------------------------------------------------


def test_a_request_is_twilio_s() -> None:
    """The body is JSON in Twilio's order, there is no Content-Type, and the credentials come unasked."""

    async def ask(probe: Probe) -> bytes:
        return (await probe.post(probe.charge(transaction_id="t-1"))).body

    head, _end, body = over_socket(echoes, ask).decode().partition("\r\n\r\n")
    line, *headers = head.split("\r\n")
    names = [header.partition(": ")[0] for header in headers]
    values = dict(header.partition(": ")[::2] for header in headers)

    assert line == "POST /pay HTTP/1.1"
    assert names == ["Host", "User-Agent", "Accept", "Authorization", "Content-Length"]
    assert base64.b64decode(values["Authorization"].removeprefix("Basic ")).decode() == f"user:{PASSWORD}"
    assert json.loads(body)["transaction_id"] == "t-1"
    order = "transaction_id cardnumber cvv expiry_month expiry_year description amount currency_code postal_code method"
    assert " ".join(json.loads(body)) == f"{order} parameters"


@pytest.mark.parametrize(
    ("how", "has", "has_not"),
    [
        ({"content_type": "text/plain"}, b"Content-Type: text/plain\r\n", b"application"),
        ({"path": "/charge"}, b"POST /pay/charge HTTP/1.1\r\n", b"POST /pay HTTP"),
        ({"verb": "PUT"}, b"PUT /pay HTTP/1.1\r\n", b"POST"),
        ({"headers": {"user-agent": "Other", "X-New": "1"}}, b"User-Agent: Other\r\n", b"AHC"),
        ({"credentials": None}, b"Host: ", b"Authorization"),
        ({"credentials": ("a", "b:ü")}, f"Basic {base64.b64encode('a:b:ü'.encode()).decode()}".encode(), b"Bearer"),
        ({"credentials": "bearer"}, f"Bearer {PASSWORD}".encode(), b"Basic"),
        ({"credentials": OTHER}, b"Basic " + base64.b64encode(b"other:second"), b"Bearer"),
        ({"body": b"\xff\x00"}, b"Content-Length: 2\r\n\r\n\xff\x00", b"{"),
        ({"body": "ü"}, b"Content-Length: 2\r\n\r\n\xc3\xbc", b"{"),
        ({"body": None, "verb": "GET"}, b"GET /pay HTTP/1.1\r\n", b"Content-Length"),
    ],
)
def test_a_request_can_be_changed(how: dict[str, Any], has: bytes, has_not: bytes) -> None:
    """A check chooses path, method, headers, credentials and bytes."""

    async def ask(probe: Probe) -> bytes:
        return (await probe.post(**{"body": {}, **how})).body

    sent = over_socket(echoes, ask, other=("other", Secret("second")))

    assert has in sent
    assert has_not not in sent


@pytest.mark.parametrize("dialect", ["twilio", "telnyx", "signalwire"])
def test_each_dialect_is_spelt_as_its_caller_does(dialect: str) -> None:
    """SignalWire names the payment method, the amount and the currency in its own way; the others are as Twilio."""
    charge, token = probe(dialect=dialect).charge(amount="5"), probe(dialect=dialect).tokenize()
    account = probe(dialect=dialect).charge_account()

    if dialect == "signalwire":
        assert (charge["method"], charge["chargeAmount"], charge["currency_code"]) == ("credit-card", "5", "usd")
        assert (token["method"], token["chargeAmount"]) == ("credit-card", "0")
        assert not {"amount"} & {*charge, *token, *account}
        assert "method" not in account
    else:
        assert (charge["method"], charge["amount"], charge["currency_code"]) == ("charge", "5", "USD")
        assert token["method"] == "tokenize"
        assert not {"amount", "currency_code"} & set(token)
        assert {"bankaccountnumber", "routingnumber", "amount"} < set(account)


def test_fields_are_changed_by_name() -> None:
    """None is JSON's null, ABSENT leaves a field out, an unknown one is added, and American Express has four digits."""
    body = probe().charge(cvv=None, postal_code=ABSENT, extra=1, cardnumber="378282246310005")

    assert body["cvv"] is None
    assert "postal_code" not in body
    assert body["extra"] == 1
    assert probe().charge(cardnumber="378282246310005")["cvv"] == "1234"


def test_what_the_profile_tells_changes_a_charge() -> None:
    """A slow and a declined charge are an ordinary one with the profile's changes; without a profile there is none."""
    told = probe(profile=Profile.sandbox())

    assert told.slow_charge()["parameters"] == {"sandbox_delay_ms": "11000"}
    assert told.declined_charge()["amount"] == "2000.00"
    assert told.declined_tokenize()["parameters"] == {"sandbox_outcome": "card_declined"}
    for build in (probe().slow_charge, probe().declined_charge, probe().declined_tokenize):
        with pytest.raises(NotAskable):
            build()


def test_transaction_ids_are_new_and_unlike_numbers() -> None:
    """They are like UUIDs, no two are the same, and a report masks nothing in them."""
    asking, mask = probe(), Mask()
    mask.learn(codes=["123", "1234"])
    made = [asking.new_id() for _ in range(500)]

    assert len(set(made)) == len(made)
    assert all(
        re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", one) for one in made
    )
    assert [mask.masked(one) for one in made] == made


# --- What comes back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "is_success"),
    [
        (200, b'{"charge_id":"c","error_code":null}', True),
        (200, b'{"charge_id":"c"}', True),
        (200, b'{"charge_id":"c","charge_id":"d"}', True),
        (200, b'{"charge_id":"c","error_code":"no"}', False),
        (200, b'{"charge_id":"c","error_code":""}', False),
        (200, b'{"charge_id":"","error_code":null}', False),
        (200, b'{"charge_id":7,"error_code":null}', False),
        (200, b'{"token_id":"t","error_code":null}', False),
        (201, b'{"charge_id":"c","error_code":null}', False),
        (200, b'["charge_id"]', False),
        (200, b'{"charge_id":"c","x":NaN}', False),
        (200, b'\xef\xbb\xbf{"charge_id":"c"}', False),
        (200, b"\xff", False),
        (200, b"[" * 100_000, False),
        (200, b"9" * 10_000, False),
        (200, b"", False),
    ],
)
def test_a_success_is_what_twilio_takes_for_one(status: int, body: bytes, is_success: bool) -> None:  # noqa: FBT001
    """A 200, a JSON object, the id as a text, no error code: all of them, and whatever else comes raises nothing."""
    assert Reply(status=status, body=body).is_success("charge") is is_success


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("hangs", "timed out after 0.3 s"),
        ("drips a head", "timed out after 0.3 s"),
        ("drips a body", "timed out after 0.3 s"),
        ("closes after the request", "the connection was closed without an answer"),
        ("breaks off", "the connection was closed in the middle of the answer"),
        ("breaks off a chunk", "the connection was closed in the middle of the answer"),
        ("streams for ever", "the reply is longer than 1,048,576 bytes"),
        ("garbage", "what came is not HTTP/1.1, or its head is too long"),
        ("HTML without HTTP", "what came is not HTTP/1.1, or its head is too long"),
        ("headers for ever", "what came is not HTTP/1.1, or its head is too long"),
        ("another protocol", "what came is not HTTP/1.1, or its head is too long"),
    ],
)
def test_what_is_no_whole_answer_is_said_in_words(name: str, failure: str) -> None:
    """There is no status then, and the reason is one that a person can act on."""

    async def ask(probe: Probe) -> Reply:
        return await probe.post(probe.charge())

    reply = over_socket(SILENT[name], ask, timeout_s=0.3 if "timed" in failure else EVENT_S)

    assert (reply.status, reply.failure, reply.json) == (None, failure, None)


def test_a_missing_host_is_said_in_words() -> None:
    """A name that does not exist is no exception."""

    async def ask(probe: Probe) -> Reply:
        return await probe.post({})

    reply = asyncio.run(asked(ask, url="http://nowhere.invalid/"))

    assert (reply.status, (reply.failure or "").startswith("no connection: ")) == (None, True)


# --- Raw bytes and connections ---------------------------------------------------------------------------------------


def test_raw_bytes_get_their_credentials_wherever_they_are_cut() -> None:
    """`request_bytes` holds no credentials, and `raw` puts them in, also when each byte is a piece of its own."""

    async def ask(probe: Probe) -> tuple[bytes, bytes]:
        data = probe.request_bytes(probe.charge())
        reply = await probe.raw([bytes([byte]) for byte in data])
        return data, reply.body

    data, heard = over_socket(echoes, ask)

    assert b"Authorization: {AUTH}\r\n" in data
    assert data.replace(b"{AUTH}", b"Basic " + base64.b64encode(f"user:{PASSWORD}".encode())) == heard


def test_a_pause_and_an_end_are_sent_between_pieces() -> None:
    """A request may stop for a while, and be cut off: the server is told that nothing more comes, and still heard."""
    heard: list[bytes] = []

    async def manner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())
        writer.write(b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async def ask(probe: Probe) -> Reply:
        return await probe.raw([b"POST / HTTP/1.1\r\n", 0.01, b"Content-Length: 9\r\n\r\n{", END])

    assert over_socket(manner, ask).status == 400
    assert heard == [b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"]


def test_an_answer_that_comes_before_the_request_is_whole_is_heard() -> None:
    """A server may refuse a large body by its head, and close."""

    async def manner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        await hangs(reader, writer)

    async def ask(probe: Probe) -> Reply:
        return await probe.post(b"x" * 20_000_000)

    assert over_socket(manner, ask).status == 413


def _keeps_alive(answered: list[int], *, until: int = 1000) -> Manner:
    """Answer request after request on a connection; `answered` says how many each of them brought."""

    async def manner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine = len(answered)
        answered.append(0)
        while answered[mine] < until:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"Content-Length: (\d+)", head)
            body = await reader.readexactly(int(length.group(1)) if length else 0)
            answered[mine] += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()

    return manner


@pytest.mark.parametrize("way", ["one after the other", "without waiting"])
def test_one_connection_is_used_for_several_requests(way: str) -> None:
    """Answers come in the order of the requests, on one connection."""
    answered: list[int] = []
    bodies: Sequence[Body] = ["first", "second", "third"]

    async def ask(probe: Probe) -> list[Reply]:
        return await (probe.same_connection(bodies) if way == "one after the other" else probe.pipeline(bodies))

    replies = over_socket(_keeps_alive(answered), ask)

    assert [reply.body.decode() for reply in replies] == bodies
    assert answered == [3]


def test_a_connection_that_the_server_ends_is_a_failure_of_the_next_request() -> None:
    """What was answered was answered; what came after it was not."""

    async def ask(probe: Probe) -> list[Reply]:
        return await probe.same_connection(["first", "second"])

    first, second = over_socket(_keeps_alive([], until=1), ask)

    assert (first.body, second.failure) == (b"first", "the connection was closed without an answer")


def test_requests_together_are_under_way_at_the_same_time() -> None:
    """A server that answers nobody before all six are there answers all six."""
    waiting = asyncio.Barrier(6)

    async def manner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await waiting.wait()
        await echoes(reader, writer)

    async def ask(probe: Probe) -> list[Reply]:
        return await probe.together([probe.charge()] * 6)

    assert [200] * 6 == [reply.status for reply in over_socket(manner, ask)]


def test_an_abandoned_request_arrives_whole() -> None:
    """The server hears all of it, and then that the caller is gone."""
    heard: list[bytes] = []

    async def main() -> None:
        gone = asyncio.Event()

        async def manner(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            heard.append(head + await reader.readexactly(5))
            with contextlib.suppress(ConnectionError):
                await reader.read()
            gone.set()

        async def ask(probe: Probe) -> None:
            await probe.abandon(b"whole", after_s=0.05)
            await gone.wait()

        async with asyncio.timeout(EVENT_S), stubborn(manner) as server:
            await asked(ask, url=server.url)

    asyncio.run(main())

    assert heard[0].endswith(b"\r\n\r\nwhole")


# --- In process ------------------------------------------------------------------------------------------------------


def test_an_application_is_asked_in_process() -> None:
    """The toy charges, tokenizes, refuses and gives a retry its first answer, without a socket."""

    async def ask(probe: Probe) -> tuple[list[Reply], list[Reply]]:
        body = probe.charge()
        return await probe.together([body] * 3), [await probe.post(probe.tokenize()), await probe.post({}, verb="GET")]

    same, others = asyncio.run(
        asked(ask, url="http://localhost/", asgi=ToyEndpoint(), credentials=(DEFAULT[0], Secret(DEFAULT[1])))
    )

    assert len({reply.id("charge") for reply in same}) == 1
    assert others[0].is_success("tokenize")
    assert (others[1].status, others[1].headers["allow"]) == (405, "POST")


@dataclass
class Theatre:
    """An application that does something, and what it saw."""

    play: Callable[["Theatre", Receive, Send], Awaitable[None]]
    seen: list[str] = field(default_factory=list)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["bank"] = "open"
            while True:
                self.seen.append(str((await receive())["type"]))
                await send({"type": f"{self.seen[-1]}.complete"})
                if self.seen[-1] == "lifespan.shutdown":
                    return
        self.seen.append(f"{scope['method']} {scope['path']} {scope['state']['bank']}")
        await self.play(self, receive, send)


async def _starts(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def streams(_theatre: Theatre, _receive: Receive, send: Send) -> None:
    """Answers in pieces."""
    await _starts(send)
    for piece in (b"one ", b"two ", b"three"):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


async def streams_for_ever(_theatre: Theatre, _receive: Receive, send: Send) -> None:
    """Answers without an end, and never waits."""
    await _starts(send)
    while True:
        await send({"type": "http.response.body", "body": b"x", "more_body": True})


async def floods(_theatre: Theatre, _receive: Receive, send: Send) -> None:
    """Answers without an end, and much at once."""
    await _starts(send)
    while True:
        await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})


async def waits_for_the_end(theatre: Theatre, receive: Receive, send: Send) -> None:
    """Waits until its caller is gone, and goes on."""
    while (message := await receive())["type"] != "http.disconnect":
        theatre.seen.append(str(message["body"].decode()))
    theatre.seen.append("disconnected")
    await _starts(send)
    theatre.seen.append("went on")


async def raises(_theatre: Theatre, _receive: Receive, _send: Send) -> None:
    """Fails with a card number in its words."""
    raise RuntimeError("4539578763621486")


async def says_nothing(_theatre: Theatre, _receive: Receive, _send: Send) -> None:
    """Returns without an answer."""


async def stops_in_the_middle(_theatre: Theatre, _receive: Receive, send: Send) -> None:
    """Begins an answer, and fails."""
    await _starts(send)
    raise RuntimeError


@pytest.mark.parametrize(
    ("play", "status", "said"),
    [
        (streams, 200, "one two three"),
        (streams_for_ever, None, "timed out after 0.2 s"),
        (floods, None, "the reply is longer than 1,048,576 bytes"),
        (waits_for_the_end, None, "timed out after 0.2 s"),
        (raises, 500, "Internal Server Error"),
        (says_nothing, None, "the connection was closed without an answer"),
        (stops_in_the_middle, None, "the connection was closed in the middle of the answer"),
    ],
)
def test_an_application_in_process_is_treated_as_a_server_would(play: Any, status: int | None, said: str) -> None:  # noqa: ANN401
    """It is started and stopped, may stream, fail and say nothing, and is told when its caller is gone."""
    theatre = Theatre(play)

    async def ask(probe: Probe) -> Reply:
        reply = await probe.post("hello", timeout_s=None if play is floods or status else 0.2)
        for _ in range(20):  # an application that goes on when its caller has left is left to do so
            await asyncio.sleep(0)
        return reply

    reply = in_process(theatre, ask)

    assert (reply.status, reply.failure or reply.body.decode()) == (status, said)
    assert theatre.seen[:2] == ["lifespan.startup", "POST /pay open"]
    assert theatre.seen[-1] == "lifespan.shutdown"
    if play is waits_for_the_end:
        assert theatre.seen[2:-1] == ["hello", "disconnected", "went on"]


def test_what_needs_a_socket_is_not_asked_in_process() -> None:
    """Raw bytes, TLS and a restart that nobody described have no meaning there."""

    async def ask(probe: Probe) -> None:
        for way in (
            probe.raw([b""]),
            probe.pipeline([{}]),
            probe.connect(),
            probe.certificate_problem(),
            probe.restart(),
        ):
            with pytest.raises(NotAskable):
                await way

    in_process(ToyEndpoint(), ask)


# --- TLS -------------------------------------------------------------------------------------------------------------


@dataclass
class Secured:
    """Certificates of one authority."""

    authority: trustme.CA
    ca_file: Path

    def context(self, *, name: str = "localhost", **about: Any) -> ssl.SSLContext:  # noqa: ANN401 - trustme's
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(name, **about).configure_cert(context)
        return context


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Secured:
    """An authority, and its certificate in a file."""
    authority = trustme.CA()
    ca_file = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    return Secured(authority, ca_file)


def _over_tls(context: ssl.SSLContext, ca_file: Path | None, what: Callable[[Probe], Any]) -> tuple[Any, list[bytes]]:
    heard: list[bytes] = []

    async def manner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()

    async def main() -> Any:  # noqa: ANN401 - whatever is asked
        async with stubborn(manner, tls=context) as server:
            return await asked(what, url=server.url, ca_file=ca_file)

    return asyncio.run(main()), heard


async def _tls(probe: Probe) -> tuple[str | None, str | None, str]:
    """The certificate's problem, the version, and what came of a request."""
    try:
        came = str((await probe.post({})).status)
    except NotAskable as reason:
        came = str(reason)
    return await probe.certificate_problem(), await probe.connect(), came


@pytest.mark.parametrize(
    ("name", "about", "trusts", "problem"),
    [
        pytest.param("localhost", {}, True, None, id="trusted"),
        pytest.param("localhost", {}, False, "its authority is not trusted", id="an authority that nobody knows"),
        pytest.param("other.example", {}, True, "it is for another host name", id="another host"),
        pytest.param(
            "localhost", {"not_after": datetime.now(UTC) - timedelta(days=1)}, True, "it has expired", id="expired"
        ),
        pytest.param(
            "localhost",
            {"not_before": datetime.now(UTC) + timedelta(days=1)},
            True,
            "it is not valid yet",
            id="too early",
        ),
    ],
)
def test_nothing_is_sent_to_whom_nobody_vouches_for(
    name: str,
    about: dict[str, Any],
    trusts: bool,  # noqa: FBT001 - a parameter of the table
    problem: str | None,
    secured: Secured,
) -> None:
    """A certificate that is not trusted is said to be so, and neither a card nor a password is sent after it."""
    (found, version, came), heard = _over_tls(
        secured.context(name=name, **about), secured.ca_file if trusts else None, _tls
    )

    assert version == "TLSv1.3"
    if problem is None:
        assert (found, came, len(heard)) == (None, "200", 1)
    else:
        assert found == f"the certificate is not trusted: {problem}"
        assert f"Nothing was sent, because {found}" in came
        assert heard == []


def test_a_certificate_that_signed_itself_is_said_to_be_so() -> None:
    """The authority's own certificate, as a server's."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with authority.cert_pem.tempfile() as cert, authority.private_key_pem.tempfile() as key:
        context.load_cert_chain(cert, key)

    (found, _version, came), heard = _over_tls(context, None, _tls)

    assert "signed by itself" in found
    assert "Nothing was sent" in came
    assert heard == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls_is_told_from_new(secured: Secured) -> None:
    """Of a server that speaks TLS 1.1 alone the version is found, and nothing is sent to it."""
    old = secured.context()
    old.maximum_version = old.minimum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")

    async def ask(probe: Probe) -> list[object]:
        versions = [await probe.connect(version) for version in (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2)]
        return [*versions, (await _tls(probe))[2]]

    (first, second, came), heard = _over_tls(old, secured.ca_file, ask)

    assert (first, second) == ("TLSv1.1", None)
    assert "no TLS connection came about" in str(came)
    assert heard == []

    (first, second, came), heard = _over_tls(secured.context(), secured.ca_file, ask)

    assert (first, second, came) == (None, "TLSv1.2", "200")
    assert len(heard) == 1


def test_who_does_not_speak_tls_is_sent_nothing() -> None:
    """An https:// address behind which plain HTTP is spoken."""

    async def manner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(16)
        writer.write(b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async def main() -> tuple[str | None, str | None, str]:
        async with stubborn(manner, scheme="https") as server:
            return await asked(_tls, url=server.url)

    problem, version, came = asyncio.run(main())

    assert "Nothing was sent, because no TLS connection came about" in came
    assert "no TLS connection came about" in str(problem)
    assert version is None


def test_a_handshake_that_hangs_is_given_up() -> None:
    """A server that takes a connection and never shakes hands costs no more time than is allowed."""

    async def ask(probe: Probe) -> tuple[str | None, str | None, str | None]:
        reply = await probe.post({}, timeout_s=0.3)
        return reply.failure, await probe.connect(), await probe.certificate_problem()

    async def main() -> tuple[str | None, str | None, str | None]:
        async with stubborn(hangs, scheme="https") as server:
            return await asked(ask, url=server.url, timeout_s=0.3)

    assert asyncio.run(main()) == ("timed out after 0.3 s", None, "no handshake in time")


def test_without_tls_the_credentials_stay_at_home(secured: Secured) -> None:
    """Plain HTTP to the port of an https:// address carries somebody else's, and a live card is not sent at all."""
    heard: list[bytes] = []

    async def manner(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))

    async def ask(probe: Probe) -> None:
        await probe.raw([probe.request_bytes(probe.charge())], tls=False)

    async def main() -> None:
        async with stubborn(manner, scheme="https") as server:
            await asked(ask, url=server.url, ca_file=secured.ca_file)
            live = Profile.model_validate({"endpoint": {"mode": "live"}})
            with pytest.raises(NotAskable, match="live"):
                await asked(ask, url=server.url, ca_file=secured.ca_file, profile=live)

    asyncio.run(main())

    [head] = heard
    assert b"Authorization: Basic " in head
    assert base64.b64encode(f"user:{PASSWORD}".encode()) not in head


# --- Restart ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "says"),
    [
        pytest.param([sys.executable, "-c", ""], None, id="it ends well"),
        pytest.param(f"{sys.executable} -c ''", None, id="a text, split as a shell would"),
        pytest.param([sys.executable, "-c", "raise SystemExit(3)"], "ended with status 3", id="it fails"),
        pytest.param("/no/such/program", "cannot be run", id="there is none"),
    ],
)
def test_a_restart_is_the_profile_s_command(command: str | list[str], says: str | None) -> None:
    """The command is run, and the endpoint waited for; where the command fails, nothing can be asked."""

    async def ask(probe: Probe) -> str | None:
        try:
            await probe.restart()
        except NotAskable as reason:
            return str(reason)
        return None

    found = over_socket(answers(405, b""), ask, profile=Profile(restart=Restart(command=command)))

    assert (found is None) is (says is None)
    assert (says or "") in (found or "")


def test_a_restart_waits_until_the_endpoint_answers() -> None:
    """Not while nobody listens, and not while a proxy says 503; not for ever either."""

    async def main() -> tuple[int, str]:
        async with contextlib.AsyncExitStack() as servers:
            first = await servers.enter_async_context(stubborn(answers(503, b"")))
            hook = _nothing
            profile = Profile(restart=Restart(ready_within_s=0.5))
            with pytest.raises(NotAskable, match=r"did not answer within 0\.5 s"):
                await asked(lambda probe: probe.restart(), url=first.url, profile=profile, restarts=hook)
            second = await servers.enter_async_context(stubborn(_first_then([503, 503, 200])))
            await asked(lambda probe: probe.restart(), url=second.url, restarts=hook)
            return second.asked, first.url

    count, _url = asyncio.run(main())

    assert count == 3


async def _nothing() -> None:
    """A restart that is over at once."""


def _first_then(statuses: list[int]) -> Manner:
    async def manner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answers(statuses.pop(0), b"")(reader, writer)

    return manner


# --- Profiles --------------------------------------------------------------------------------------------------------


def test_a_profile_is_a_file() -> None:
    """What stands in the module's own example is a profile."""
    text = (sys.modules[Profile.__module__].__doc__ or "").split("[endpoint]", 1)[1].split("\n\nCard and", 1)[0]
    profile = Profile.parse("[endpoint]" + "\n".join(line.strip() for line in text.splitlines()))

    assert profile.endpoint.ach
    assert profile.slow.fields == {"parameters": {"sandbox_delay_ms": "11000"}}
    assert profile.decline.error_code == "card_declined"
    assert profile.expiry(datetime(2026, 1, 1, tzinfo=UTC)) == ("12", "28")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[endpoint]\nchargez = true", "endpoint.chargez"),
        ("[numbers]\ncard = 4539578763621486", "numbers.card"),
        ('[numbers]\ncard = "4539 5787 6362 1486"', "numbers.card"),
        ('[numbers]\naccounts = ["4539578763621486", "x"]', "numbers.accounts.1"),
        ("[numbers", "not TOML"),
        ('[amounts]\napprove = "ten"', "amounts.approve"),
    ],
)
def test_a_profile_with_a_mistake_names_the_line_and_no_number(text: str, says: str) -> None:
    """What is wrong is named; a card number that stands there is not repeated, here or in a repr."""
    with pytest.raises(ProfileError, match=re.escape(says)) as refused:
        Profile.parse(text)

    assert "4539" not in f"{refused.value}{refused.value.__cause__}{refused.value.__context__!r}"


def test_a_profile_shows_no_number() -> None:
    """Its repr has no card and no account number."""
    shown = repr(Profile(numbers=Numbers(card="4539578763621486", accounts=("4539578763621486",))))

    assert "4539" not in shown


def test_a_file_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    """And one that is no text."""
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xff")
    for name in ("nothing.toml", "bytes.toml"):
        with pytest.raises(ProfileError, match=name):
            Profile.named(tmp_path / name)
    assert Profile.named("sandbox") == Profile.sandbox()


# --- Nothing secret is seen ------------------------------------------------------------------------------------------

CARD, ACCOUNT, CVV = "4539578763621486", "90817263544", "739"
CANARIES = [
    Canary("card", CARD.encode()),
    Canary("account", ACCOUNT.encode()),
    Canary("password", b"canary-Password-of-the-run-1"),
    Canary("other password", b"canary-Password-of-another-2"),
]
SHAPES = [shape for canary in CANARIES for shape in forms(canary).values()]


class Leaky(ToyEndpoint):
    """Puts secrets into its answers: a shape of each in turn, what was asked, or an exception with all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError
        body = (await receive())["body"]
        secrets = [value for _name, value in scope["headers"]] + [body, b"cvv " + CVV.encode(), CVV.encode()]
        self.turn += 1
        shape = SHAPES[self.turn % len(SHAPES)]
        if self.turn % 5 == 0:
            raise RuntimeError(repr(secrets))
        said = (
            b'{"charge_id":"' + shape + b'","error_code":"' + CVV.encode() + b'","said":"' + b" ".join(secrets) + b'"}'
        )
        headers = [(b"x-card", CARD.encode()), (b"x-shape", shape), (b"set-cookie", secrets[0])]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": said if self.turn % 2 else shape * 30})


def _leaks(text: str) -> set[tuple[str, str]]:
    found = {(name, form) for name, form, _where in find(CANARIES, [Evidence("run", text.encode())])}
    return found | ({("cvv", "plain")} if re.search(rf"(?<![0-9a-f.]){CVV}(?![0-9a-f])", text) else set())


def test_no_secret_is_seen_in_a_run(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """An endpoint repeats every secret in every shape, in bodies, headers and exceptions; the run repeats none."""
    caplog.set_level(logging.DEBUG)
    profile = Profile.sandbox().model_copy(update={"numbers": Numbers(card=CARD, accounts=(ACCOUNT,), cvv=CVV)})
    given = Target(
        url="http://localhost/",
        asgi=Leaky(),
        credentials=("user", Secret("canary-Password-of-the-run-1")),
        other=("other", Secret("canary-Password-of-another-2")),
        profile=profile,
        timeout_s=2,
    )
    planted = Register("planted")

    @planted.check(1, Level.MUST, claim="-", source="-", why="-", sends="-", expects="-")
    async def shapes(probe: Probe) -> None:
        """Every shape, and an exception of the check's own that quotes one."""
        for _ in range(2 * len(SHAPES)):
            await probe.post(probe.charge())
        reply = await probe.post(probe.charge_account())
        raise ValueError(reply.body)

    run = conform_sync(given, checks=[*all_checks(), *planted.checks], seed=1)
    everything = "\n".join(
        [
            repr(run),
            *(text for finding in run.findings for text in (finding.found, finding.expected, finding.fix)),
            *(text for finding in run.findings for each in finding.exchanges for text in (each.request, each.reply)),
            caplog.text,
            *capfd.readouterr(),
            repr(given),
        ]
    )

    assert len(run.findings[-1].exchanges) > len(SHAPES) / 2
    assert set() == _leaks(everything)
    # The control: each of them would have been found.
    for canary in CANARIES:
        assert canary.name in {name for name, _form in _leaks(everything + canary.clear.decode())}
    assert ("cvv", "plain") in _leaks(f'{everything}"{CVV}"')
    unmasked = "\n".join(shape.decode("utf-8", "replace") for shape in SHAPES)
    assert len(_leaks(unmasked)) > len(SHAPES) / 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f'{{"cardnumber":"{CARD}"}}', '{"cardnumber":"************1486"}'),
        (f'{{"bankaccountnumber":"{ACCOUNT}"}}', '{"bankaccountnumber":"*********44"}'),
        (f'{{"cvv":"{CVV}"}}', '{"cvv":"***"}'),
        ('{"cvv":"8', '{"cvv":"***"'),
        ('{"bankaccountnumber":"7654', '{"bankaccountnumber":"**54'),
        ("Authorization: Basic abc\nHost: x", "Authorization: ***\nHost: x"),
        ("4539 5787 6362 1486", "**** **** **** 1486"),
        ("amount 10.00 of ch_123", "amount 10.00 of ch_123"),
    ],
)
def test_what_is_masked_can_still_be_told_apart(text: str, shown: str) -> None:
    """Cards keep their last four digits and accounts their last two; codes and credentials keep nothing."""
    mask = Mask()
    mask.learn(cards=[CARD], accounts=[ACCOUNT], codes=[CVV])

    assert mask.masked(text) in {shown, shown.replace("**** **** **** 1486", "**** **** **** ****")}


def test_a_long_text_is_cut_without_showing_half_a_secret() -> None:
    """Wherever a secret lies across the cut, not ten of its digits are seen."""
    mask = Mask()
    mask.learn(cards=[CARD])
    for before in range(4000, 4100, 3):
        shown = mask.shown("x" * before + " " + CARD + " " + "y" * 5000)
        assert len(shown) < 2200
        assert CARD[:10] not in shown
    for before in range(2020, 2060):
        assert CARD[:10] not in mask.shown("x" * before + " " + CARD)


def test_a_short_password_does_not_hide_a_report() -> None:
    """One of a letter is hidden where it stands alone, and not in every word."""
    mask = Mask()
    mask.learn(credentials=[Secret("a")])

    assert mask.masked("a card: a") == "*** card: ***"
