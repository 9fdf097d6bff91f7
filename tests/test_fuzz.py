"""A hundred thousand requests that nobody should send: each is answered, in the contract's shape, and nothing leaks.

The gateway runs in this process, on a home of its own with nothing broken in it, and is asked through ASGI: a request
costs half a millisecond, and what the HTTP parser would refuse gets through to it. Bodies come from the corpus,
mutated (`mutations`), from Hypothesis and from schemathesis; paths, methods, headers and credentials are damaged too.

`Judge` looks at every reply: it must be what openapi.yaml says of it, have a request id that no other has, and hold
neither a card or account number or CVV of its request, nor anything else that looks like a card number. A healthy
server has no reason for a 503, so no status of 500 and more will do. A request that is not answered in time has hung.

All seeds are fixed: what fails once fails again.
"""

import asyncio
import base64
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
import schemathesis
import uvloop
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from caller import LIVE_VISA, VISA, basic, charge
from described import OPENAPI_YAML, Description, Told
from generic_connector.contract.errors import ERRORS
from generic_connector.home import assemble, locked, make_home
from generic_connector.server import make_gateway
from generic_connector.settings import load_settings
from generic_connector.telemetry import EventLog, Metrics
from generic_connector.web.exchange import Message, Receive, Scope, Send
from generic_connector.web.gateway import AsgiApp
from mutations import FIELDS, PIECES, Mutator
from serving import ApproveAll, HandClock

DESCRIPTION = Description.read()
THE_FILE: Final = OPENAPI_YAML.read_bytes()
AT_ONCE: Final = 256
ANSWERED_WITHIN_S: Final = 30
"""For the slowest of all that are asked at once, on a busy machine. A gateway that is well needs a hundredth of it."""

STORMS: Final = dict.fromkeys(range(4), 23_000)
BODIES_OF_HYPOTHESIS: Final = 3_000
BODIES_OF_SCHEMATHESIS: Final = 600
REQUESTS_TO_ODD_PLACES: Final = 6_000


# --- Asking ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, as a server would hand it to the application."""

    method: str
    path: str
    headers: Sequence[tuple[bytes, bytes]]
    pieces: Sequence[bytes]
    address: str | None = "192.0.2.1"

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


async def exchange(app: AsgiApp, ask: Ask) -> Told:
    """Ask, and return the reply. The caller stays for as long as it takes."""
    pieces = list(reversed(ask.pieces))
    starts: list[Message] = []
    body: list[bytes] = []

    async def receive() -> Message:
        if not pieces:
            await asyncio.get_running_loop().create_future()
        return {"type": "http.request", "body": pieces.pop(), "more_body": bool(pieces)}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            starts.append(message)
        else:
            body.append(message.get("body", b""))

    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": ask.method,
        "scheme": "https",
        "path": ask.path,
        "raw_path": ask.path.encode("utf-8", "surrogateescape"),
        "root_path": "",
        "query_string": b"",
        "headers": ask.headers,
        "client": None if ask.address is None else (ask.address, 40000),
        "server": ("localhost", 8443),
        "state": {},
    }
    await app(scope, receive, send)
    (start,) = starts
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
    return Told(start["status"], headers, b"".join(body))


# --- Judging ---------------------------------------------------------------------------------------------------------

_REQUEST_ID = re.compile(r"req_[a-p]{38}")
_ID = re.compile(rb'"(ch|tok)_[a-p]{38}"')
_CHANCE = re.compile(rb'"(?:confirmation_number":"[0-9]{9}|authorization_code":"[A-Z][A-Z2-7]{5})"')
_MAY_LOOK_LIKE_A_CVV = re.compile(rb'"(?:card_last4|bank_last4|reference)":"(?:[^"\\]|\\.)*"')
_NUMBER = re.compile(rb'"(?:cardnumber|bankaccountnumber)"\s*:\s*"?([0-9]{5,19})[",}\s]')
_CVV = re.compile(rb'"cvv"\s*:\s*"([0-9]{3,4})"')
_RUN = re.compile(r"\d(?:[\s.\-]?\d){11,}")
_OUR_NUMBERS = {
    *re.findall(rb"\d+", " ".join(entry.message for entry in ERRORS.values()).encode()),
    b"128",
    b"64",
    b"32",
}


class Judge:
    """Says what is wrong with a reply, and counts what came."""

    def __init__(self) -> None:
        self.answered = Counter[tuple[int, str]]()
        self._request_ids: set[str] = set()
        self._seen: dict[object, list[str]] = {}

    @property
    def count(self) -> int:
        return self.answered.total()

    def faults(self, ask: Ask, told: Told) -> list[str]:
        """Return all that is wrong. What has been judged once, but for ids and the like, is not judged again."""
        body = _CHANCE.sub(b"", _ID.sub(rb"\1", told.body))
        others = [(name, value) for name, value in told.headers if name not in {"x-request-id", "content-length"}]
        key = (ask.method, DESCRIPTION.template(ask.path), told.status, tuple(others), body)
        found = self._seen.get(key)
        if found is None:
            found = self._seen[key] = list(self._faults_of_all(ask, told))
        if told.body == THE_FILE:  # whose examples are about card numbers
            return [*found, *self._faults_of_one(told)]
        return [*found, *self._faults_of_one(told), *_echoed(ask.body, body)]

    def _faults_of_all(self, ask: Ask, told: Told) -> Iterator[str]:
        yield from DESCRIPTION.faults(ask.method, ask.path, told)
        if told.status >= 500:
            yield f"a healthy server answered {told.status}"
        if b"<" in told.body[:64].lstrip()[:1]:
            yield "the body is no JSON but markup"
        if told.body != THE_FILE:
            yield from _card_numbers(told)

    def _faults_of_one(self, told: Told) -> Iterator[str]:
        code = re.search(rb'"error_code":"(\w+)"', told.body)
        self.answered[told.status, code[1].decode() if code else ""] += 1
        for name, value in told.headers:
            if name == "x-request-id" and (value in self._request_ids or _REQUEST_ID.fullmatch(value) is None):
                yield "the request id is not its own"
            elif name == "x-request-id":
                self._request_ids.add(value)
            elif name == "content-length" and value != str(len(told.body)):
                yield "the length is not the body's"


def _echoed(asked: bytes, told: bytes) -> Iterator[str]:
    """Card and account numbers of the request, anywhere; its CVV, as a number of its own where none belongs.

    Our sentences have numbers too: an account number 1000000 is also the greatest amount.
    """
    if any(number in told for number in _NUMBER.findall(asked) if number not in _OUR_NUMBERS):
        yield "a card or account number of the request is in the reply"
    rest = _MAY_LOOK_LIKE_A_CVV.sub(b"", told)
    for cvv in set(_CVV.findall(asked)) - _OUR_NUMBERS:
        if re.search(rb"(?<![0-9])%b(?![0-9])" % cvv, rest):
            yield "the request's CVV is in the reply"


def _card_numbers(told: Told) -> Iterator[str]:
    """Runs of 12 to 19 digits of any script that pass Luhn, and such runs within longer ones."""
    try:
        text = json.dumps(json.loads(told.body), ensure_ascii=False)
    except ValueError:
        text = told.body.decode("latin-1")
    for run in _RUN.findall(" ; ".join((text, *(value for _, value in told.headers)))):
        digits = [int(char) for char in run if char.isdecimal()]
        lengths = range(12, 20) if len(digits) > 19 else [len(digits)]
        windows = (digits[at : at + length] for length in lengths for at in range(len(digits) - length + 1))
        if any(_passes_luhn(window) for window in windows):
            yield "a run of digits in the reply passes Luhn"


def _passes_luhn(digits: Sequence[int]) -> bool:
    doubled = [digit if place % 2 == 0 else sum(divmod(digit * 2, 10)) for place, digit in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


# --- A gateway to ask ------------------------------------------------------------------------------------------------


@dataclass
class Arena:
    """A gateway in this process, and what opens it."""

    runner: asyncio.Runner
    app: AsgiApp
    judge: Judge
    log: io.StringIO
    credentials: dict[str, tuple[str, str]] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    access_token: str = ""

    def storm(self, asks: Iterable[Ask]) -> int:
        """Ask all, many at once, and judge every reply. Returns how many there were."""
        return self.runner.run(storm(self.app, asks, self.judge))


async def storm(app: AsgiApp, asks: Iterable[Ask], judge: Judge, within_s: float = ANSWERED_WITHIN_S) -> int:
    """Ask all, `AT_ONCE` at a time. Fails at the first reply with a fault, and where one does not come."""
    count, left = 0, iter(asks)
    while batch := list(itertools.islice(left, AT_ONCE)):
        working = [asyncio.ensure_future(exchange(app, ask)) for ask in batch]
        _, hung = await asyncio.wait(working, timeout=within_s)
        for work in hung:
            work.cancel()
        for ask, work in zip(batch, working, strict=True):
            faults = ["it was never answered"] if work in hung else judge.faults(ask, work.result())
            assert [] == faults, ask
        count += len(batch)
    return count


INSTANCES: Final = {
    f"{dialect}-{mode}": {"dialect": dialect, "mode": mode, "processor": "live" if mode == "live" else "sandbox"}
    for dialect in ("twilio", "telnyx", "signalwire")
    for mode in ("test", "live")
}
ODD_INSTANCES: Final[dict[str, dict[str, object]]] = {
    "strict": {"require_cvv": True},
    "saves": {"save_card_on_charge": True},
    "tokens": {"allow": ["tokenize"]},
    "disabled": {},
}


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """A gateway with every kind of instance, whose clock stands, and whose randomness is the same each time."""
    home: Path = tmp_path_factory.mktemp("home")
    make_home(home)
    clock, log = HandClock(datetime(2026, 7, 20, 12, tzinfo=UTC)), io.StringIO()
    with locked(home), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        parts = runner.run(
            assemble(
                home,
                load_settings(home),
                EventLog(log, clock, "error"),
                clock=clock,
                randomness=Random(7).randbytes,  # noqa: S311 - the same each time is the point
                processors={"live": ApproveAll()},
            )
        )
        arena = Arena(runner, make_gateway(parts, Metrics()), Judge(), log)

        def act(name: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON
            return runner.run(parts.administration.do(name, arguments, "test"))

        for name, how in (INSTANCES | ODD_INSTANCES).items():
            added = act("instance add", unique_name=name, path_secret=True, **how)
            arena.credentials[name] = (added["username"], added["password"])
            arena.secrets[name] = added["path"]
        act("instance disable", unique_name="disabled")
        issued = act("access-token issue", instance="twilio-test", scopes=["charge"], expires_in_s=3600)
        arena.access_token = issued["token"]
        yield arena
        runner.run(parts.close())


# --- Making requests -------------------------------------------------------------------------------------------------

JSON_TYPE: Final = (b"content-type", b"application/json")
TYPES: Final = (
    b"",
    b"text/html",
    b"application/xml",
    b"multipart/form-data; boundary=x",
    b"\xff",
    b"application/json, a/b",
)
LENGTHS: Final = (b"0", b"16384", b"16385", b"99999999", b"-1", b"abc", b"9" * 30, b"1e3", b"", b"\xb2")
METHODS: Final = (
    "GET",
    "PUT",
    "DELETE",
    "PATCH",
    "HEAD",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "QUERY",
    "post",
    "PROPFIND",
    "X" * 99,
)
PATHS: Final = (
    "/", "/charge", "/tokenize", "/healthz", "/readyz", "/openapi.yaml", "/i/", "/i/nobody", "/i//", "/i/../", "//",
    "/charge/",
    "/CHARGE", "/charge/1", "/i/" + "a" * 9000, "/i/%00", "/i/\x00\n", "/i/\u0661\ufffd", "/metrics", "/admin", "/.env",
    f"/{VISA}", f"/i/{VISA}", "/<script>alert(1)</script>", "/healthz/", "/openapi.json", "", "*", "/\U0001f355", "/é",
)  # fmt: skip


class Storm:
    """Requests without end: mutated bodies, mostly sent as they should be, sometimes in every wrong way."""

    def __init__(self, arena: Arena, seed: int) -> None:
        self._arena = arena
        self._random = Random(seed)  # noqa: S311 - the same each time is the point
        self._mutator = Mutator(seed)

    def asks(self, count: int, oddness: float) -> Iterator[Ask]:
        """Return so many. `oddness` is how likely each of path, method, credentials and headers is a wrong one."""
        for _ in range(count):
            yield self._ask(oddness)

    def _ask(self, oddness: float) -> Ask:
        def odd() -> bool:
            return random.random() < oddness

        random, mutant = self._random, self._mutator.next()
        instance = f"{mutant.case.dialect}-{mutant.case.mode}"
        if odd():
            instance = random.choice(list(self._arena.credentials))
        path = mutant.case.path
        if path == "/" and random.random() < 0.2:
            path = self._arena.secrets[instance]
        headers = [self._credential(instance, is_odd=odd())]
        headers.append((b"content-type", random.choice(TYPES)) if odd() else JSON_TYPE)
        if odd():
            headers.append((b"content-length", random.choice(LENGTHS)))
        if odd():
            headers.append((random.choice((b"x-forwarded-for", b"x-request-id", b"expect")), random.choice(PIECES)))
        return Ask(
            method=random.choice(METHODS) if odd() else "POST",
            path=random.choice(PATHS) if odd() else path,
            headers=headers,
            pieces=self._pieces(mutant.body) if odd() else [mutant.body],
            address=None if odd() else f"192.0.2.{random.randint(0, 50)}",
        )

    def _pieces(self, body: bytes) -> list[bytes]:
        places = sorted(self._random.randint(0, len(body)) for _ in range(self._random.randint(1, 4)))
        return [body[start:end] for start, end in itertools.pairwise([0, *places, len(body)])]

    def _credential(self, instance: str, *, is_odd: bool) -> tuple[bytes, bytes]:
        username, password = self._arena.credentials[instance]
        if not is_odd:
            return b"authorization", basic(username, password).encode()
        token = self._arena.access_token
        garbled = bytes(self._random.getrandbits(8) for _ in range(self._random.choice((0, 1, 9, 300))))
        return b"authorization", self._random.choice(
            (
                b"",
                b"Basic",
                b"Basic " + garbled,
                b"Basic " + base64.b64encode(garbled),
                b"Bearer " + garbled,
                b"Bearer " + token.encode(),
                f"Bearer {token[:-3]}".encode(),
                b"Bearer a.b.c",
                b"Bearer eyJhbGciOiJub25lIn0.e30.",
                b"Digest " + base64.b64encode(b"a:b"),
                basic("twilio-test", password).encode(),
                basic(username, f"{password}x").encode(),
                basic(self._arena.credentials["twilio-test"][0], token).encode(),
                basic("é" * 100, "\u0000").encode(),
            )
        )


# --- The claims ------------------------------------------------------------------------------------------------------


def test_the_shares_make_a_hundred_thousand() -> None:
    """What the tests below ask comes to more than 100,000 requests, each with a body of its own."""
    shares = [*STORMS.values(), BODIES_OF_HYPOTHESIS, BODIES_OF_SCHEMATHESIS, REQUESTS_TO_ODD_PLACES]

    print(f"{sum(shares)} requests")  # noqa: T201 - the figure
    assert sum(shares) >= 100_000


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("seed", "count"), STORMS.items())
def test_every_damaged_body_is_answered_in_the_contracts_shape(arena: Arena, seed: int, count: int) -> None:
    """Mutated requests get replies that openapi.yaml describes: no 5xx, no hang, no markup, nothing leaked."""
    before = Counter(arena.judge.answered)

    asked = arena.storm(Storm(arena, seed).asks(count, oddness=0.01))

    answered = arena.judge.answered - before
    by_status = Counter[int]()
    for (status, _), number in answered.items():
        by_status[status] += number
    print(f"seed {seed}: {asked} asked, {answered.total()} answered", dict(sorted(by_status.items())))  # noqa: T201 - the figure
    assert count == asked == answered.total()
    assert {200, 400, 401, 402, 404, 405, 413} <= by_status.keys()
    assert answered[200, ""] > count / 20  # payments that went through
    assert len({code for _, code in answered}) > 25
    assert "" == arena.log.getvalue()  # and the gateway saw no error of its own


@pytest.mark.timeout(180)
def test_odd_places_and_callers_are_answered_in_the_contracts_shape(arena: Arena) -> None:
    """Where nearly everything about a request is wrong, it is still answered with JSON, an id and no more."""
    before = arena.judge.count

    asked = arena.storm(Storm(arena, 99).asks(REQUESTS_TO_ODD_PLACES, oddness=0.4))

    print(f"{asked} asked, {arena.judge.count - before} answered")  # noqa: T201 - the figure
    assert REQUESTS_TO_ODD_PLACES == asked == arena.judge.count - before
    assert {429, 403, 401, 404, 405, 413} <= {status for status, _ in arena.judge.answered}
    assert "" == arena.log.getvalue()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([*FIELDS, VISA, "123", "10.00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
payments = st.fixed_dictionaries(
    {"method": st.sampled_from(["charge", "tokenize", "credit-card"]), "transaction_id": st.uuids().map(str)},
    optional={
        "cardnumber": st.sampled_from([VISA, LIVE_VISA, "378282246310005"])
        | st.from_regex(r"[0-9]{11,20}", fullmatch=True),
        "cvv": st.from_regex(r"[0-9]{2,5}", fullmatch=True) | st.none(),
        "expiry_month": st.from_regex(r"[01]?[0-9]", fullmatch=True),
        "expiry_year": st.from_regex(r"(20)?[0-9]{2}", fullmatch=True),
        "amount": st.decimals(-10, 3000, places=2).map(str) | st.floats(),
        "currency_code": st.sampled_from(["USD", "usd", "JPY", "XAU"]) | st.text(max_size=4),
        "bankaccountnumber": st.from_regex(r"[0-9]{3,18}", fullmatch=True),
        "routingnumber": st.sampled_from(["021000021", "110000000"]) | st.text(max_size=9),
        "parameters": st.dictionaries(
            st.sampled_from(["reference", "save_card", "operation", "x"]), json_values, max_size=3
        ),
        "description": json_values,
    },
)
bodies = (
    st.binary(max_size=400)
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(st.sampled_from(FIELDS), json_values).map(lambda value: json.dumps(value).encode())
    | payments.map(lambda value: json.dumps(value).encode())
)


def only_generated(count: int) -> settings:
    """So many examples, the same each time; nothing is shrunk, and nothing remembered."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.timeout(180)
def test_every_body_of_hypothesis_is_answered_in_the_contracts_shape(arena: Arena) -> None:
    """So are bytes at random, JSON at random, and payments of which any part is at random."""
    before, batch = arena.judge.count, 40

    @only_generated(BODIES_OF_HYPOTHESIS // batch + 20)
    @given(st.lists(bodies, min_size=batch, max_size=batch), st.sampled_from(list(INSTANCES)))
    def ask(made: Sequence[bytes], instance: str) -> None:
        credential = (b"authorization", basic(*arena.credentials[instance]).encode())
        arena.storm(Ask("POST", "/", [credential, JSON_TYPE], [body]) for body in made)

    ask()

    print(f"{arena.judge.count - before} asked and answered")  # noqa: T201 - the figure
    assert arena.judge.count - before >= BODIES_OF_HYPOTHESIS
    assert "" == arena.log.getvalue()


def drawn(strategy: st.SearchStrategy[schemathesis.Case[Any]], count: int) -> list[schemathesis.Case[Any]]:
    """Draw at least so many."""
    cases: list[schemathesis.Case[Any]] = []

    @only_generated(count + 20)
    @given(strategy)
    def draw(case: schemathesis.Case[Any]) -> None:
        cases.append(case)

    draw()
    return cases


@pytest.mark.timeout(180)
def test_every_body_of_schemathesis_is_answered_in_the_contracts_shape(arena: Arena) -> None:
    """So are bodies that schemathesis makes from the request schemas, to fit them and to break them."""
    before = arena.judge.count
    config = schemathesis.Config.from_dict({"analysis": {"constants": {"enabled": False}}, "cache": {"enabled": False}})
    schema = schemathesis.openapi.from_dict(dict(DESCRIPTION.document), config=config)
    places = list(itertools.product(("/", "/charge", "/tokenize"), schemathesis.GenerationMode))

    for path, mode in places:
        instance = "twilio-test" if path != "/" else "signalwire-test"
        credential = (b"authorization", basic(*arena.credentials[instance]).encode())
        cases = drawn(schema[path]["POST"].as_strategy(generation_mode=mode), BODIES_OF_SCHEMATHESIS // len(places))
        bodies_ = [
            case.body if isinstance(case.body, bytes) else json.dumps(case.body, default=repr).encode()
            for case in cases
        ]
        arena.storm(Ask("POST", path, [credential, JSON_TYPE], [body]) for body in bodies_)

    print(f"{arena.judge.count - before} asked and answered")  # noqa: T201 - the figure
    assert arena.judge.count - before >= BODIES_OF_SCHEMATHESIS
    assert "" == arena.log.getvalue()


# --- The judge is not blind ------------------------------------------------------------------------------------------

GOOD = b'{"charge_id":null,"token_id":null,"error_code":"malformed_request","error_message":"The body is not JSON."}'
FREE_TEXT = (
    b'{"charge_id":"ch_%b","error_code":null,"error_message":null,"parameters":{"status":"approved","reference":"%%b"}}'
    % (b"a" * 38)
)


def answering(status: int, body: bytes, *headers: tuple[bytes, bytes], id_: bytes = b"req_" + b"a" * 38) -> AsgiApp:
    """An application that gives everybody the same answer."""

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        sent = [*(headers or (JSON_TYPE,)), *([(b"x-request-id", id_)] if id_ else [])]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": body})

    return app


async def silent(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """An application that answers nobody."""
    await asyncio.get_running_loop().create_future()


BROKEN: Final[dict[str, AsgiApp]] = {
    "it answers HTML": answering(400, b"<html>Bad Request</html>", (b"content-type", b"text/html")),
    "it says that HTML is JSON": answering(400, b"<html>Bad Request</html>"),
    "it fails": answering(500, b"Internal Server Error", (b"content-type", b"text/plain")),
    "it is unavailable": answering(503, GOOD.replace(b"malformed_request", b"store_unavailable")),
    "it has no request id": answering(400, GOOD, id_=b""),
    "its request ids are numbers": answering(400, GOOD, id_=b"12345"),
    "it has no shape": answering(400, b'{"error":"bad"}'),
    "its code is of another status": answering(400, GOOD.replace(b"malformed_request", b"unauthorized")),
    "it is empty": answering(400, b""),
    "it echoes the card number": answering(400, GOOD.replace(b"The body", b"The card " + VISA.encode())),
    "it echoes the CVV": answering(400, GOOD.replace(b"The body", b"The CVV 987")),
    "it tells another's card": answering(200, FREE_TEXT % b"5555 5555 5555 4444"),
    "it hides a card in a long number": answering(200, FREE_TEXT % b"0004111111111111111000"),
    "it writes a card in another script": answering(200, FREE_TEXT % (rb"\uff14" + rb"\uff11" * 15)),
    "it sends a wrong length": answering(400, GOOD, JSON_TYPE, (b"content-length", b"1")),
    "it redirects": answering(400, GOOD, JSON_TYPE, (b"location", b"https://example.com")),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_application_is_caught(fault: str) -> None:
    """Whatever an application does wrong in one of these ways fails the storm: the judge would have seen it."""
    ask = Ask("POST", "/", [JSON_TYPE], [json.dumps(charge(cvv="987")).encode()])

    with pytest.raises(AssertionError):
        asyncio.run(storm(BROKEN[fault], [ask], Judge()))


def test_an_application_that_is_well_is_not_caught() -> None:
    """The same request and a good reply pass: what is caught above is the one thing that is wrong there."""
    ask = Ask("POST", "/", [JSON_TYPE], [json.dumps(charge(cvv="987")).encode()])

    assert 1 == asyncio.run(storm(answering(400, GOOD), [ask], Judge()))
    assert 1 == asyncio.run(storm(answering(200, FREE_TEXT % b"INV-17, 2026-07-20"), [ask], Judge()))


def test_two_replies_with_one_request_id_are_caught() -> None:
    """Each delivery has an id of its own."""
    ask = Ask("POST", "/", [JSON_TYPE], [b""])

    with pytest.raises(AssertionError):
        asyncio.run(storm(answering(400, GOOD), [ask, ask], Judge()))


def test_an_application_that_hangs_is_caught() -> None:
    """A request that is never answered fails the storm, and does not hang it."""
    with pytest.raises(AssertionError, match="never answered"):
        asyncio.run(storm(silent, [Ask("POST", "/", [JSON_TYPE], [b"{}"])], Judge(), within_s=0.05))
