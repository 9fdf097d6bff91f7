"""Callbacks over real sockets, judged by the official SDK's own validator."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx
import pytest
import trustme
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from generic_connector.twilio import callbacks
from generic_connector.twilio.call import Document, FetchFailed
from generic_connector.twilio.callbacks import (
    DOCUMENT_BYTES_MAX,
    REDIRECTS_MAX,
    SIGNATURE_HEADER,
    Callbacks,
    signature,
)
from generic_connector.twilio.delivery import Delivery
from generic_connector.twilio.effects import Fetches, Reports

Came = TypeVar("Came")

TOKEN = "facefeedfacefeedfacefeedfacefeed"
CARD = "4" + "1" * 15
TWIML = "<Response><Hangup/></Response>"
CALL_FIELDS = {"CallSid": "CA" + "ab" * 16, "AccountSid": "AC" + "cd" * 16, "CallStatus": "in-progress"}


class Form:
    """A form as frameworks give it to the validator: every value of a name."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self.pairs = pairs

    def __iter__(self) -> Iterator[str]:
        return iter({name for name, _value in self.pairs})

    def __len__(self) -> int:
        return len(self.pairs)

    def getlist(self, name: str) -> list[str]:
        return [value for one, value in self.pairs if one == name]


@dataclass(frozen=True)
class Asked:
    """A request as the application has it."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: str

    @property
    def form(self) -> Form:
        return Form(parse_qsl(self.body, keep_blank_values=True))

    def is_accepted(self, **changed: Any) -> bool:  # noqa: ANN401 - the validator's arguments
        """What the official validator says of it, or of it with something changed."""
        seen = {"uri": self.url, "params": self.form, "signature": self.headers[SIGNATURE_HEADER], **changed}
        return bool(RequestValidator(TOKEN).validate(**seen))


Answers = Callable[[Asked], tuple[int, Mapping[str, str], bytes]]


def document(_asked: Asked) -> tuple[int, Mapping[str, str], bytes]:
    """Answer a document."""
    return 200, {"Content-Type": "text/xml"}, TWIML.encode()


@dataclass
class Application:
    """An application on a real socket, which remembers what it was asked."""

    url: str
    answers: Answers = document
    asked: list[Asked] = field(default_factory=list)


@contextmanager
def application(answers: Answers = document, tls: ssl.SSLContext | None = None) -> Iterator[Application]:
    """Serve an application."""
    scheme = "http" if tls is None else "https"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
            asked = Asked(self.command, f"{scheme}://{self.headers['Host']}{self.path}", dict(self.headers), body)
            made.asked.append(asked)
            status, headers, reply = made.answers(asked)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        do_GET = do_POST = answer  # noqa: N815 - the standard library's names

        def log_message(self, *_words: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_request: object) -> None:
            """A caller who hangs up in the middle is part of the tests."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    made = Application(f"{scheme}://localhost:{server.server_address[1]}", answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(make: Callable[[Callbacks], Coroutine[Any, Any, Came]], **options: Any) -> Came:  # noqa: ANN401 - its arguments
    """Do something with callbacks, in a loop of its own."""

    async def once() -> Came:
        async with Callbacks(TOKEN, **options) as made:
            return await make(made)

    return asyncio.run(once())


def fetch(
    url: str,
    method: str = "POST",
    fields: Mapping[str, str] | None = None,
    **options: Any,  # noqa: ANN401 - of Callbacks
) -> Document | FetchFailed:
    """Ask for one document."""
    asked = Fetches(1, url, method, fields or {}, "document")
    return run(lambda made: made.fetch(asked, CALL_FIELDS), **options)


def code(came: Document | FetchFailed) -> int | None:
    """Return the number of a failure."""
    assert isinstance(came, FetchFailed)
    return came.code


# --- Signed as the official validator wants it -----------------------------------------------------------------------

FORMS = {
    "plain": {"Digits": "1"},
    "empty": {"PaymentToken": "", "PaymentError": ""},
    "unicode": {"City": "Zürich", "Größe": "8 µm", "Smile": "😀"},
    "reserved": {"From": "+15005550006", "Text": "a&b=c?d#e%20f+g /\\\"'", "PayConnector_a.b[c]": "~"},
    "lines": {"Text": "one\ntwo\r\nthree"},
    "nothing": {},
}
PATHS = {
    "root": "/",
    "bare": "",
    "path": "/pay/done.xml",
    "query": "/pay?order=7&order=8&empty=&x=%2F%20",
    "odd-query": "/pay?a|b=c d&q='\"",
    "only-question-mark": "/pay?",
    "escaped": "/p%C3%A4y/a%2Fb",
    "unicode": "/päy/☎?ort=Zürich",
    "fragment": "/pay?a=1#ct=2000",
}


@pytest.fixture(scope="module")
def served() -> Iterator[Application]:
    """One application for all requests that are judged."""
    with application() as made:
        yield made


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_the_official_validator_accepts_every_request(served: Application, method: str, path: str) -> None:
    """Any form, any query, a port in the URL: what the application sees is what was signed."""
    served.asked.clear()

    async def ask_all(made: Callbacks) -> list[Document | FetchFailed]:
        asked = [Fetches(1, served.url + path, method, fields, "document") for fields in FORMS.values()]
        return [await made.fetch(one, CALL_FIELDS) for one in asked]

    assert [Document] * len(FORMS) == [type(came) for came in run(ask_all)]
    for fields, asked in zip(FORMS.values(), served.asked, strict=True):
        assert (method, True) == (asked.method, asked.is_accepted()), fields
        assert (asked.body == "") is (method == "GET")
        sent = asked.body if method == "POST" else urlsplit(asked.url).query
        assert {**CALL_FIELDS, **fields}.items() <= set(parse_qsl(sent, keep_blank_values=True))


TAMPERED: Mapping[str, Callable[[Asked], dict[str, Any]]] = {
    "a value": lambda asked: {"params": Form([(name, value + "0") for name, value in asked.form.pairs])},
    "a field more": lambda asked: {"params": Form([*asked.form.pairs, ("Result", "success")])},
    "a field less": lambda asked: {"params": Form(asked.form.pairs[1:])},
    "the path": lambda asked: {"uri": asked.url.replace("/pay", "/paid")},
    "the query": lambda asked: {"uri": asked.url + "&admin=1"},
    "the scheme": lambda asked: {"uri": asked.url.replace("http:", "https:")},
    "the signature": lambda asked: {"signature": asked.headers[SIGNATURE_HEADER][::-1]},
}


@pytest.mark.parametrize("tamper", TAMPERED.values(), ids=TAMPERED)
def test_the_official_validator_rejects_a_tampered_request(
    served: Application, tamper: Callable[[Asked], dict[str, Any]]
) -> None:
    """The control: whatever is changed on the way, the same validator says no."""
    served.asked.clear()
    fetch(f"{served.url}/pay?order=7", fields={"Result": "payment-connector-error"})
    (asked,) = served.asked

    assert asked.is_accepted()
    assert not asked.is_accepted(**tamper(asked))


def test_another_token_signs_otherwise(served: Application) -> None:
    """The control of the token: a request signed with another one is not accepted."""
    served.asked.clear()
    asked = Fetches(1, served.url, "POST", {}, "document")

    async def once() -> None:
        async with Callbacks("another") as made:
            await made.fetch(asked, CALL_FIELDS)

    asyncio.run(once())

    assert not served.asked[0].is_accepted()


@pytest.mark.parametrize(
    "pairs",
    [
        [("a", "2"), ("a", "1"), ("b", "")],
        [("a", "1"), ("a", "1")],
        [("b", "1"), ("B", "2"), ("", "3")],
        [("ab", "c"), ("a", "bc")],
        [],
    ],
    ids=["repeated", "repeated the same", "case", "borders", "none"],
)
@pytest.mark.parametrize(
    "url",
    ["https://example.com/a?b=c", "https://example.com:8443/", "http://example.com", "https://[::1]:8443/x"],
)
def test_the_signature_is_the_official_one(url: str, pairs: Sequence[tuple[str, str]]) -> None:
    """For repeated names too, which no callback of ours has."""
    assert RequestValidator(TOKEN).compute_signature(url, Form(pairs)) == signature(TOKEN, url, pairs)


def test_the_signature_takes_a_mapping() -> None:
    """A form of single values may be a dictionary, in any order."""
    assert signature(TOKEN, "https://a/", {"b": "2", "a": "1"}) == signature(
        TOKEN, "https://a/", [("a", "1"), ("b", "2")]
    )


def test_half_a_character_is_sent_as_a_question_mark(served: Application) -> None:
    """JSON can hold half of a surrogate pair; a form cannot, and what is sent is what is signed."""
    served.asked.clear()

    fetch(served.url, fields={"Text": "a\ud800"})

    assert served.asked[0].is_accepted()
    assert ["a?"] == served.asked[0].form.getlist("Text")


# --- What is sent ----------------------------------------------------------------------------------------------------


def test_a_document_comes_back(served: Application) -> None:
    """Text, type and address; asked for as Twilio's proxy asks, without compression."""
    served.asked.clear()

    came = fetch(f"{served.url}/a")

    headers = served.asked[0].headers
    assert Document(f"{served.url}/a", TWIML, "text/xml") == came
    assert ("TwilioProxy/1.1", "identity") == (headers["User-Agent"], headers["Accept-Encoding"])
    assert "application/x-www-form-urlencoded; charset=UTF-8" == headers["Content-Type"]


@pytest.mark.parametrize(
    ("url", "path"), [("/paid?a=1", "/paid?a=1"), ("next", "/ivr/next"), ("", "/ivr/start"), ("?b=2", "/ivr/start?b=2")]
)
def test_relative_urls_lead_to_the_base(served: Application, url: str, path: str) -> None:
    """As a browser resolves them."""
    served.asked.clear()

    fetch(url, base_url=f"{served.url}/ivr/start")

    assert [served.url + path] == [asked.url for asked in served.asked]


def test_a_status_callback_is_a_signed_form_too(served: Application) -> None:
    """Its fields are whole: nothing is added. What the application answers is nobody's concern."""
    served.asked.clear()
    told = Reports(f"{served.url}/status", "POST", {"For": "payment-card-number", "Attempt": "1"}, "status")

    served.answers = lambda _asked: (500, {}, b"no")
    run(lambda made: made.report(told))
    served.answers = document

    assert [("For", "payment-card-number"), ("Attempt", "1")] == served.asked[0].form.pairs
    assert served.asked[0].is_accepted()


def test_credentials_of_a_url_go_to_who_asks_for_them() -> None:
    """First without, then with; they are no part of the signed URL, and a wrong password is not tried twice."""

    def locked(asked: Asked) -> tuple[int, Mapping[str, str], bytes]:
        if asked.headers.get("Authorization") == "Basic YW5uOnMzY3JldA==":
            return document(asked)
        return 401, {"WWW-Authenticate": "Basic"}, b""

    heard: list[Delivery] = []
    with application(locked) as served:
        right = fetch(served.url.replace("//", "//ann:s3cret@"), heard=heard.append)
        wrong = fetch(served.url.replace("//", "//ann:wrong@"))

    assert isinstance(right, Document)
    assert 11200 == code(wrong)
    assert [None, True, None, True] == ["Authorization" in asked.headers or None for asked in served.asked]
    assert all(asked.is_accepted() for asked in served.asked)
    assert "s3cret" not in repr(heard) + repr(right)


def test_cookies_come_back() -> None:
    """A session that the application keeps in a cookie lasts."""
    with application(lambda _asked: (200, {"Set-Cookie": "session=7"}, b"")) as served:
        asked = Fetches(1, served.url, "POST", {}, "document")

        async def twice(made: Callbacks) -> None:
            await made.fetch(asked, {})
            await made.fetch(asked, {})

        run(twice)

    assert [None, "session=7"] == [one.headers.get("Cookie") for one in served.asked]


# --- Redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "method", "followed_as"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "POST", "GET"),
        (307, "POST", "POST"),
        (302, "GET", "GET"),
        (307, "GET", "GET"),
    ],
)
def test_redirects_are_followed_and_signed(status: int, method: str, followed_as: str) -> None:
    """Each hop is signed for its own URL; fields go along where the method does."""

    def answers(asked: Asked) -> tuple[int, Mapping[str, str], bytes]:
        return document(asked) if "/there" in asked.url else (status, {"Location": "/there?a=1"}, b"")

    with application(answers) as served:
        came = fetch(f"{served.url}/here", method)

    assert isinstance(came, Document)
    assert f"{served.url}/there?a=1" == came.url
    assert [method, followed_as] == [asked.method for asked in served.asked]
    assert all(asked.is_accepted() for asked in served.asked)
    assert ("CallSid" in served.asked[1].body) is (followed_as == "POST")


@pytest.mark.parametrize(("hops", "expected"), [(REDIRECTS_MAX, None), (REDIRECTS_MAX + 1, 11215)])
def test_ten_redirects_are_the_most(hops: int, expected: int | None) -> None:
    """The eleventh is one too many."""
    numbers = count()

    def answers(asked: Asked) -> tuple[int, Mapping[str, str], bytes]:
        return (302, {"Location": "/again"}, b"") if next(numbers) < hops else document(asked)

    with application(answers) as served:
        came = fetch(served.url)

    assert expected == (None if isinstance(came, Document) else came.code)
    assert REDIRECTS_MAX + 1 == len(served.asked)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (302, {}),
        (308, {"Location": "/there"}),
        (302, {"Location": "ftp://localhost/there"}),
        (302, {"Location": "file:///etc/passwd"}),
        (302, {"Location": "http://localhost:port/"}),
    ],
    ids=["no Location", "308", "ftp", "file", "no URL"],
)
def test_an_invalid_redirect_is_called_one(status: int, headers: Mapping[str, str]) -> None:
    """Twilio follows 301, 302, 303 and 307, to the web."""
    with application(lambda _asked: (status, headers, b"")) as served:
        assert 11216 == code(fetch(served.url))


def test_credentials_do_not_follow_to_another_host() -> None:
    """They were written for one host."""
    with application() as other:

        def locked(asked: Asked) -> tuple[int, Mapping[str, str], bytes]:
            if "Authorization" not in asked.headers:
                return 401, {"WWW-Authenticate": "Basic"}, b""
            return 307, {"Location": other.url}, b""

        with application(locked) as served:
            came = fetch(served.url.replace("//", "//ann:s3cret@"))

    assert isinstance(came, Document)
    assert "Authorization" not in other.asked[0].headers


# --- What goes wrong -------------------------------------------------------------------------------------------------


def free_port() -> int:
    """Return a port that nobody listens on."""
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503])
def test_an_error_status_is_no_document(status: int) -> None:
    """11200, and the status."""
    with application(lambda _asked: (status, {}, b"<Response/>")) as served:
        came = fetch(served.url)

    assert FetchFailed(f"HTTP retrieval failure: the application answered {status}: see its log", 11200) == came


@pytest.mark.parametrize(
    "url",
    ["/relative", "ftp://localhost/", "https://", "http://[::1", "http:///a", "mailto:a@example.com", "http://a:b/"],
)
def test_what_is_no_url_is_told(url: str) -> None:
    """11100, before anything is sent."""
    assert 11100 == code(fetch(url))


def test_nobody_there() -> None:
    """11205, with the address that was tried."""
    port = free_port()

    came = fetch(f"http://localhost:{port}/")

    assert isinstance(came, FetchFailed)
    assert 11205 == came.code
    assert f"localhost:{port} cannot be reached" in came.why


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64 + ".invalid"], ids=["unknown", "too long"])
def test_no_such_host(host: str) -> None:
    """11210."""
    assert 11210 == code(fetch(f"http://{host}/"))


@contextmanager
def blurting(words: bytes) -> Iterator[str]:
    """Serve bytes to whoever connects, and hang up."""

    def serve() -> None:
        with closing(server.accept()[0]) as connection:
            connection.recv(65_536)
            connection.sendall(words)

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"localhost:{server.getsockname()[1]}"
        finally:
            thread.join()


@pytest.mark.parametrize("words", [b"220 mail ready\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<Res"])
def test_what_is_not_http_is_told(words: bytes) -> None:
    """11206: another protocol, no word, half a document."""
    with blurting(words) as address:
        assert 11206 == code(fetch(f"http://{address}/", "GET"))


def test_tls_with_who_speaks_none() -> None:
    """11220."""
    with blurting(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address:
        assert 11220 == code(fetch(f"https://{address}/", "GET"))


def test_an_answer_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """11205 once patience is at its end, whatever dribbles in meanwhile."""
    monkeypatch.setattr(callbacks, "PATIENCE_S", 0.2)
    ended = threading.Event()

    def never(asked: Asked) -> tuple[int, Mapping[str, str], bytes]:
        ended.wait(10)
        return document(asked)

    heard: list[Delivery] = []
    with application(never) as served:
        came = fetch(served.url, heard=heard.append)
        ended.set()

    assert FetchFailed("HTTP connection failure: no answer within 0.2 s: answer sooner", 11205) == came
    assert [None, "11205 HTTP connection failure: no answer within 0.2 s: answer sooner"] == [d.failure for d in heard]


@pytest.mark.parametrize(("size", "expected"), [(DOCUMENT_BYTES_MAX, None), (DOCUMENT_BYTES_MAX + 1, 11750)])
def test_a_document_has_64_kb_at_most(size: int, expected: int | None) -> None:
    """11750 where it has one byte more."""
    with application(lambda _asked: (200, {}, b" " * size)) as served:
        came = fetch(served.url)

    assert expected == (came.code if isinstance(came, FetchFailed) else None)
    assert expected or (isinstance(came, Document) and len(came.text) == size)


def test_a_document_without_end_is_left() -> None:
    """Reading stops at the limit: the rest is never asked for."""
    pieces = count()

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:  # noqa: ANN401 - an iterator of bytes
            while True:
                next(pieces)
                yield b" " * 1024

    came = fetch("http://localhost/", transport=httpx.MockTransport(lambda _r: httpx.Response(200, stream=Endless())))

    assert 11750 == code(came)
    assert DOCUMENT_BYTES_MAX // 1024 + 1 == next(pieces)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/xml", "<Say>Grüezi</Say>".encode()),
        ("text/xml; charset=ISO-8859-1", "<Say>Grüezi</Say>".encode("latin-1")),
        ("text/xml; charset=klingon", "<Say>Grüezi</Say>".encode()),
        ("text/xml", b"\xef\xbb\xbf" + "<Say>Grüezi</Say>".encode()),
    ],
    ids=["none", "latin-1", "unknown", "mark"],
)
def test_the_text_is_read_in_its_charset(content_type: str, body: bytes) -> None:
    """UTF-8 where none is named, or none that is known."""
    with application(lambda _asked: (200, {"Content-Type": content_type}, body)) as served:
        came = fetch(served.url)

    assert isinstance(came, Document)
    assert "<Say>Grüezi</Say>" == came.text


def test_a_call_that_ends_gives_up() -> None:
    """What was begun is told to have ended, and the cancellation goes on."""
    heard: list[Delivery] = []
    asked, ended = threading.Event(), threading.Event()

    def never(request: Asked) -> tuple[int, Mapping[str, str], bytes]:
        asked.set()
        ended.wait(10)
        return document(request)

    async def cancelled(made: Callbacks) -> None:
        task = asyncio.create_task(made.fetch(Fetches(1, there.url, "POST", {}, "document"), {}))
        await asyncio.to_thread(asked.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with application(never) as there:
        run(cancelled, heard=heard.append)
        ended.set()

    assert ["11205 HTTP connection failure: given up with the call"] == [d.failure for d in heard[1:]]


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    """A development CA, and its file."""
    made = trustme.CA()
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    made.cert_pem.write_to_path(path)
    return made, path


def context(issued: trustme.LeafCert) -> ssl.SSLContext:
    """Return a server's TLS with this certificate."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(made)
    return made


def test_a_development_ca_may_be_trusted(authority: tuple[trustme.CA, Path]) -> None:
    """With its file the request goes through, and is accepted; without, nothing is sent: 11237."""
    ca, path = authority
    with application(tls=context(ca.issue_cert("localhost"))) as served:
        refused = fetch(served.url)
        came = fetch(served.url, ca_file=str(path))

    assert 11237 == code(refused)
    assert isinstance(came, Document)
    assert [True] == [asked.is_accepted() for asked in served.asked]


def test_certificates_are_verified(authority: tuple[trustme.CA, Path]) -> None:
    """Another host's has a number of its own, and so has one that is past its time."""
    ca, path = authority
    past = datetime.now(UTC) - timedelta(days=1)
    with application(tls=context(ca.issue_cert("elsewhere.example"))) as served:
        assert 11235 == code(fetch(served.url, ca_file=str(path)))
    with application(tls=context(ca.issue_cert("localhost", not_after=past))) as served:
        assert 11236 == code(fetch(served.url, ca_file=str(path)))


# --- What is heard ---------------------------------------------------------------------------------------------------


def test_every_request_is_told_twice() -> None:
    """When it begins and when it ends: numbers, times, and whether another follows."""
    heard: list[Delivery] = []

    def answers(asked: Asked) -> tuple[int, Mapping[str, str], bytes]:
        return document(asked) if "/there" in asked.url else (307, {"Location": "/there"}, b"moved")

    with application(answers) as served:
        fetch(f"{served.url}/here", fields={"Digits": "1"}, heard=heard.append, ids=count(40))

    begun, moved, again, ended = heard
    assert ("application", "document", "POST", f"{served.url}/here", 1) == (
        begun.to,
        begun.why,
        begun.method,
        begun.url,
        begun.attempt,
    )
    assert (None, None, None, None) == (begun.status, begun.failure, begun.milliseconds, begun.reply)
    assert "Digits=1" in begun.request
    assert (307, "moved", False) == (moved.status, moved.reply, moved.is_last)
    assert (2, f"{served.url}/there") == (again.attempt, again.url)
    assert (200, TWIML, True) == (ended.status, ended.reply, ended.is_last)
    assert ended.milliseconds is not None
    assert [40, 40, 41, 41] == [one.id for one in heard]


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("written", [CARD, " ".join([CARD[:4], CARD[4:8], CARD[8:12], CARD[12:]])])
def test_no_card_number_is_heard(method: str, written: str) -> None:
    """Not in a field, a query, a path or a reply; the application gets what it got itself into."""
    heard: list[Delivery] = []

    with application(lambda _asked: (200, {}, f"<Say>{written}</Say>".encode())) as served:
        fetch(f"{served.url}/{CARD}?card={written}", method, {"Note": f"card {written}"}, heard=heard.append)

    assert CARD in unquote(served.asked[0].url + served.asked[0].body).replace(" ", "").replace("+", "")
    told = unquote(repr(heard)).replace(" ", "").replace("+", "")
    assert CARD not in told
    assert "*" * 12 + "1111" in told


def test_the_search_for_numbers_finds_one() -> None:
    """The control: a request that nobody scrubbed would have been found."""
    told = Delivery(
        id=1, to="application", why="document", method="GET", url=f"http://a/?card={CARD}", attempt=1, request=""
    )

    assert CARD in unquote(repr([told]))
