"""Nothing that was acknowledged is lost, and nobody is charged twice, whenever the process is killed.

Gateways are killed by the hundred on one home, under load, with SIGKILL, at the points where it hurts: after the claim
and before the send, after the capture and before the record, after the record and before the reply, within a group
commit, and at any time. Clients do as Twilio does: what was not answered they send again, the same bytes under the same
transaction_id, to the next start. Some hang up for good.

Then ledger, vault and the bank's statement are held against each other and against what every client was told. The
control is the same test with an adapter between connector and bank that forgets: it must be found out.
"""

import asyncio
import base64
import contextlib
import json
import os
import random
import signal
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from commanding import charge as request
from commanding import done, serving, shown
from crash_server import Order, Point
from generic_connector.card import PUBLISHED_CARDS, Card
from generic_connector.envelope import Place
from generic_connector.home import assemble, locked, wall_clock
from generic_connector.journal import read_only
from generic_connector.ledger import State
from generic_connector.money import CURRENCIES, Money
from generic_connector.processors.sandbox import statement
from generic_connector.settings import load_settings
from generic_connector.stores.sqlite import SqliteStore
from generic_connector.telemetry import EventLog

CLIENTS = 12
KILLS_AT_EACH_POINT = 50
KILLS_OF_THE_CONTROL = 20
ROUND_S = 20.0
USD = CURRENCIES["USD"]


# --- The clients -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Asked:
    """One payment as its caller sends it, every time, and all that the caller was told."""

    transaction_id: str
    body: bytes
    card: str
    minor: int | None
    answers: set[bytes] = field(default_factory=set)

    @property
    def told_id(self) -> str | None:
        """The id that was acknowledged, if any."""
        for answer in self.answers:
            told = json.loads(answer)
            id_: str | None = told.get("charge_id") or told.get("token_id")
            return id_
        return None


class Load:
    """What the clients send: what is new, and first what has not been answered yet."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - the same on every run
        self.asked: list[Asked] = []
        self._again: deque[Asked] = deque()

    def next(self) -> Asked:
        if self._again:
            return self._again.popleft()
        asked = self._new()
        self.asked.append(asked)
        if self.random.random() < 0.1:
            self._again.append(asked)  # a duplicate, right behind
        return asked

    def unanswered(self, asked: Asked) -> None:
        """Most are sent again; some callers have hung up."""
        if self.random.random() < 0.85:
            self._again.append(asked)

    def _new(self) -> Asked:
        transaction_id = f"T{len(self.asked)}{self.random.getrandbits(64):x}"
        card = self.random.choice(list(PUBLISHED_CARDS))
        minor: int | None = self.random.randrange(1, 190_000)
        fields: dict[str, object] = {"cardnumber": card, "cvv": "1234" if len(card) == 15 else "123"}
        match self.random.random():
            case chance if chance < 0.2:
                minor = None
                fields |= {"method": "tokenize", "amount": None}
            case chance if chance < 0.4:
                fields |= {"parameters": {"save_card": "true"}}
            case chance if chance < 0.5:
                minor = 200_100  # the bank declines this amount
        if minor is not None:
            fields["amount"] = Money(minor, USD).decimal
        return Asked(transaction_id, json.dumps(request(transaction_id, **fields)).encode(), card, minor)


class Client:
    """A connection, and as much HTTP as is needed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, credentials: str) -> None:
        self._reader = reader
        self._writer = writer
        self._credentials = credentials

    async def post(self, body: bytes) -> tuple[int, bytes]:
        """Send a request; return status and body. Raises where the connection ends first."""
        head = (
            "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            f"authorization: {self._credentials}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line)
        return int(first.split()[1]), await self._reader.readexactly(int(headers["content-length"]))

    def close(self) -> None:
        self._writer.transport.abort()


@contextlib.asynccontextmanager
async def connected(url: str, credentials: str) -> AsyncIterator[Client]:
    """Connect to a gateway."""
    host, _colon, port = url.removeprefix("http://").partition(":")
    client = Client(*await asyncio.open_connection(host, int(port)), credentials)
    try:
        yield client
    finally:
        client.close()


# --- The gateways ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Home:
    """A home with the instance `Default`, and its credentials."""

    path: Path
    username: str
    password: str

    @property
    def authorization(self) -> str:
        return f"Basic {base64.b64encode(f'{self.username}:{self.password}'.encode()).decode()}"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Made by the command line, as an operator would."""
    path = tmp_path / "home"
    done(path, "init")
    added = shown(path, "instance", "add", "Default")
    return Home(path, added["username"], added["password"])


class Gateways:
    """The process that forks gateways, and the home that they share."""

    def __init__(self, home: Home, process: asyncio.subprocess.Process) -> None:
        self.home = home
        self._process = process
        self._pid = 0

    async def start(self, order: Order) -> str:
        """Start one; return its URL, or nothing where it died before it was ready."""
        assert self._process.stdin is not None
        fields = {name: getattr(order, name) for name in Order.__dataclass_fields__}
        self._process.stdin.write(json.dumps(fields).encode() + b"\n")
        self._pid = int((await self._line("pid")).removeprefix("pid "))
        return (await self._line("ready", "ended")).removeprefix("ready ")

    async def ended(self) -> int:
        """Wait for its end; return its exit status, negative for a signal."""
        return int((await self._line("ended")).removeprefix("ended "))

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end."""
        self.signal(number)
        return await self.ended()

    def signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self._pid, number)

    def connect(self, url: str) -> contextlib.AbstractAsyncContextManager[Client]:
        """Connect as the instance that the home has."""
        return connected(url, self.home.authorization)

    async def _line(self, *beginnings: str) -> str:
        assert self._process.stdout is not None
        line = (await asyncio.wait_for(self._process.stdout.readline(), ROUND_S)).decode().strip()
        assert line.startswith(beginnings), f"{line!r}: see {errors_of(self.home)}"
        return line


@contextlib.asynccontextmanager
async def gateways(home: Home) -> AsyncIterator[Gateways]:
    """The process that forks gateways on a home."""
    with errors_of(home).open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("crash_server.py")),
            str(home.path),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
        try:
            yield Gateways(home, process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()


def errors_of(home: Home) -> Path:
    """Where the gateways of a home write their logs."""
    return home.path.with_suffix(".errors")


async def one_round(served: Gateways, order: Order, load: Load) -> None:
    """Start a gateway, load it until it has died as ordered, and see that it has."""
    url = await served.start(order)
    if url.startswith("http"):
        clients = [asyncio.create_task(send_until_the_end(served, url, load)) for _client in range(CLIENTS)]
        if order.point is Point.ANY_TIME:
            await asyncio.sleep(load.random.uniform(0, 0.2))
            served.signal(signal.SIGKILL)
        status = await served.ended()
        await asyncio.gather(*clients)
    else:
        status = int(url.removeprefix("ended "))
    assert status == -signal.SIGKILL, f"it ended with {status}, and not as ordered: {order}"


async def send_until_the_end(served: Gateways, url: str, load: Load) -> None:
    """One client: sends, listens, and leaves what was not answered for the next start."""
    with contextlib.suppress(OSError):
        async with served.connect(url) as client:
            while True:
                asked = load.next()
                try:
                    status, body = await client.post(asked.body)
                except (OSError, asyncio.IncompleteReadError):
                    load.unanswered(asked)
                    return
                assert status == 200, (status, body)
                asked.answers.add(body)


async def replay(served: Gateways, load: Load) -> None:
    """Send everything once more that was ever answered, and take down what is said now."""
    url = await served.start(Order())
    answered = deque(asked for asked in load.asked if asked.answers)

    async def send() -> None:
        async with served.connect(url) as client:
            while answered:
                asked = answered.popleft()
                status, body = await client.post(asked.body)
                assert status == 200, (status, body)
                asked.answers.add(body)

    await asyncio.gather(*(send() for _client in range(CLIENTS)))
    assert await served.stop() == 0


# --- What must hold --------------------------------------------------------------------------------------------------


@dataclass
class Findings:
    """What is wrong, by what it is: transaction ids, keys and ids. All empty where nothing is."""

    lost: list[str] = field(default_factory=list)
    answered_in_two_ways: list[str] = field(default_factory=list)
    charged_twice: list[str] = field(default_factory=list)
    keys_captured_twice: list[str] = field(default_factory=list)
    not_as_the_bank_has_it: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    tokens_that_do_not_open: list[str] = field(default_factory=list)
    integrity: list[str] = field(default_factory=list)


async def examine(home: Path, load: Load) -> Findings:
    """Look up what is still open, and hold all books against each other and against what clients were told."""
    findings = Findings()
    parts = await assemble(home, load_settings(home), EventLog(sys.stderr, wall_clock, "error"))
    try:
        await parts.connector.recovery.reconcile(older_than_ms=0)
        findings.unsettled = [row.id for row in await parts.store.unsettled(claimed_before_ms=wall_clock())]
        hold_against_clients(findings, load, parts.store)
        hold_against_bank(findings, home, parts.store)
        cards = {asked.told_id: asked.card for asked in load.asked}
        connection = parts.store.journal.connection
        for token_id, instance_id, sealed, charge_id in connection.execute(
            "SELECT v.token_id, v.instance_id, v.sealed, l.id FROM vault v JOIN ledger l USING (token_id)"
        ):
            instrument = parts.keyring.unseal(sealed, Place("vault", instance_id, token_id, "sealed"))
            card = cards.get(charge_id)
            if not isinstance(instrument, Card) or (card is not None and instrument.pan.reveal() != card):
                findings.tokens_that_do_not_open.append(token_id)
        for book in (home / "ledger.db", home / "sandbox.db"):
            with contextlib.closing(read_only(book)) as reader:
                findings.integrity += [text for (text,) in reader.execute("PRAGMA integrity_check") if text != "ok"]
    finally:
        await parts.close()
    return findings


def hold_against_clients(findings: Findings, load: Load, store: SqliteStore) -> None:
    """What was acknowledged is in ledger and vault, and everybody who asked heard one answer."""
    connection = store.journal.connection
    ids = {
        id_: (transaction_id, state)
        for id_, transaction_id, state in connection.execute("SELECT id, transaction_id, state FROM ledger")
    }
    vault = dict(connection.execute("SELECT token_id, is_active FROM vault"))
    for asked in load.asked:
        if len(asked.answers) > 1:
            findings.answered_in_two_ways.append(asked.transaction_id)
        if asked.told_id is None:
            continue
        state = State.SAVED if asked.minor is None else State.APPROVED
        told = json.loads(next(iter(asked.answers)))
        token_id = told.get("token_id") or told["parameters"].get("token_id")
        is_kept = ids.get(asked.told_id) == (asked.transaction_id, state)
        if not is_kept or (token_id is not None and vault.get(token_id) != 1):
            findings.lost.append(asked.told_id)
    active = {
        token_id
        for (token_id,) in connection.execute(
            "SELECT token_id FROM ledger WHERE state IN ('approved', 'saved') AND token_id IS NOT NULL"
        )
    }
    findings.tokens_that_do_not_open += sorted(vault.keys() ^ active)


def hold_against_bank(findings: Findings, home: Path, store: SqliteStore) -> None:
    """Each approved row has its one capture, each capture its one approved row, and the amounts agree."""
    with contextlib.closing(read_only(home / "sandbox.db")) as book:
        lines = statement(book)
    findings.keys_captured_twice = twice([line.idempotency_key for line in lines])
    findings.charged_twice = twice([f"{line.instance} {line.transaction_id}" for line in lines])
    captured = {(line.idempotency_key, line.transaction_id, line.amount) for line in lines}
    approved = {
        (key, transaction_id, Money(minor, USD).decimal)
        for key, transaction_id, minor in store.journal.connection.execute(
            "SELECT idempotency_key, transaction_id, amount_minor FROM ledger"
            " WHERE method = 'charge' AND state = 'approved'"
        )
    }
    findings.not_as_the_bank_has_it = sorted(f"{key} {id_} {amount}" for key, id_, amount in captured ^ approved)


def twice(names: Sequence[str]) -> list[str]:
    """The names that are there more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it all. `taken_over` counts the charges that a dead process had left behind."""

    kills: Counter[Point]
    seconds: float
    payments: int
    acknowledged: int
    taken_over: int
    findings: Findings

    def __str__(self) -> str:
        by_point = ", ".join(f"{count} {point}" for point, count in sorted(self.kills.items()))
        return (
            f"\n{self.kills.total()} kills ({by_point}) in {self.seconds:.0f} s: {self.payments} payments, "
            f"{self.acknowledged} acknowledged, {self.taken_over} taken over, {len(self.findings.lost)} lost, "
            f"{len(self.findings.charged_twice)} charged twice, {len(self.findings.unsettled)} in doubt"
        )


# --- The tests -------------------------------------------------------------------------------------------------------


def orders(load: Load, kills_at_each: int) -> Iterator[Order]:
    """Deaths at all points, mixed."""
    points = [point for point in Point for _kill in range(kills_at_each)]
    load.random.shuffle(points)
    for point in points:
        is_commit = point is Point.COMMITTING
        yield Order(
            point=point,
            at=load.random.randint(1, 30 if is_commit else 60),
            book=load.random.choice(["ledger.db", "sandbox.db"]),
            fuse_s=load.random.choice([None, load.random.uniform(0, 0.001), load.random.uniform(0, 0.005)]),
        )


async def kill_and_examine(home: Home, load: Load, ordered: Iterator[Order]) -> Outcome:
    """The whole story: rounds, the replay, the examination."""
    began, kills = time.monotonic(), Counter[Point]()
    async with gateways(home) as served:
        for order in ordered:
            await one_round(served, order, load)
            kills[order.point] += 1
        await replay(served, load)
    with locked(home.path):
        findings = await examine(home.path, load)
    with contextlib.closing(read_only(home.path / "ledger.db")) as reader:
        (taken_over,) = reader.execute("SELECT count(*) FROM ledger WHERE fence > 1").fetchone()
    return Outcome(
        kills=kills,
        seconds=time.monotonic() - began,
        payments=len(load.asked),
        acknowledged=sum(asked.told_id is not None for asked in load.asked),
        taken_over=taken_over,
        findings=findings,
    )


@pytest.mark.timeout(600)
def test_whenever_the_gateway_is_killed_nothing_is_lost_and_nobody_is_charged_twice(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """250 kills under load: what was acknowledged is kept, said again in the same bytes, and captured once."""
    load = Load(seed=1)

    outcome = asyncio.run(kill_and_examine(home, load, orders(load, KILLS_AT_EACH_POINT)))

    with capsys.disabled():
        print(outcome)  # noqa: T201 - what the figures of the design are about
    assert outcome.findings == Findings()
    assert outcome.kills == dict.fromkeys(Point, KILLS_AT_EACH_POINT)
    assert min(outcome.acknowledged, outcome.taken_over) > outcome.kills.total()


@pytest.mark.timeout(300)
def test_the_same_kills_find_out_an_adapter_that_forgets(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """The control: a new key for every send and blind look-ups charge somebody twice, and the examination sees it."""
    load = Load(seed=2)
    ordered = (
        Order(point=Point.CAPTURED, at=load.random.randint(1, 20), is_forgetful=True)
        for _kill in range(KILLS_OF_THE_CONTROL)
    )

    outcome = asyncio.run(kill_and_examine(home, load, ordered))

    with capsys.disabled():
        print(outcome, "(the control)")  # noqa: T201
    assert outcome.findings.charged_twice
    assert outcome.findings.not_as_the_bank_has_it


# --- Starts and ends -------------------------------------------------------------------------------------------------


def rows(home: Home) -> dict[str, str]:
    """The state of each transaction, as a reader beside the server sees it."""
    with contextlib.closing(read_only(home.path / "ledger.db")) as reader:
        return dict(reader.execute("SELECT transaction_id, state FROM ledger"))


def captured(home: Home) -> list[str]:
    """The transactions of the bank's statement."""
    with contextlib.closing(read_only(home.path / "sandbox.db")) as book:
        return [line.transaction_id for line in statement(book)]


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    give_up_at = time.monotonic() + ROUND_S
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def test_a_restart_looks_up_what_the_dead_process_left_behind(home: Home) -> None:
    """Two minutes after the claim the start itself finds the capture, without a retry; the retry then hears of it."""

    async def story() -> None:
        body = json.dumps(request("T1")).encode()
        async with gateways(home) as served:
            url = await served.start(Order(point=Point.CAPTURED, at=1))
            async with served.connect(url) as client:
                with pytest.raises((OSError, asyncio.IncompleteReadError)):
                    await client.post(body)
            assert await served.ended() == -signal.SIGKILL
            assert (rows(home), captured(home)) == ({"T1": "running"}, ["T1"])

            await served.start(Order())
            await asyncio.sleep(0.2)
            assert rows(home) == {"T1": "running"}, "a young row is left to the retry"
            assert await served.stop() == 0

            url = await served.start(Order(clock_ahead_s=180))
            until(lambda: rows(home) == {"T1": "approved"})
            async with served.connect(url) as client:
                status, answer = await client.post(body)
            assert await served.stop() == 0
            assert (status, json.loads(answer)["error_code"], captured(home)) == (200, None, ["T1"])

    asyncio.run(story())


def test_a_stop_while_the_server_starts_is_obeyed(home: Home) -> None:
    """SIGTERM right before the listener is there ends the process in order, and is not forgotten."""

    async def story() -> None:
        async with gateways(home) as served:
            await served.start(Order(is_stopped_at_start=True))
            assert await served.ended() == 0

    asyncio.run(story())


def test_a_stop_lets_a_slow_charge_finish(home: Home) -> None:
    """SIGTERM: the listener is closed at once, the charge in flight is answered, exit 0, and a retry hears the same."""
    slow = {"parameters": {"sandbox_delay_ms": "3000"}}
    credentials = (home.username, home.password)
    with ThreadPoolExecutor(1) as pool:
        with serving(home.path) as server:
            charge = pool.submit(server.pay, credentials, "slow", **slow)
            until(lambda: rows(home) == {"slow": "running"})
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            until(lambda: not accepts(server.url))
            assert time.monotonic() - began < 1
            assert not charge.done()
            ended = server.ended()
        first = charge.result()
    with serving(home.path) as server:
        retry = server.pay(credentials, "slow", **slow)

    assert (ended.status, first.status_code, first.json()["error_code"]) == (0, 200, None)
    assert retry.content == first.content
    assert captured(home) == ["slow"]


def test_a_charge_that_outlasts_the_drain_is_dropped_without_an_answer_and_charged_by_its_retry(home: Home) -> None:
    """An error would end the carrier's attempts. The process ends in time and with 0; the next start takes over."""
    with (home.path / "config.toml").open("a") as config:
        config.write("drain_timeout = 0.5\n")
    slow = {"parameters": {"sandbox_delay_ms": "4000"}}
    credentials = (home.username, home.password)
    with ThreadPoolExecutor(1) as pool, serving(home.path) as server:
        charge = pool.submit(server.pay, credentials, "slow", **slow)
        until(lambda: rows(home) == {"slow": "running"})
        began = time.monotonic()
        ended = server.stop()
        seconds = time.monotonic() - began
        with pytest.raises(httpx.TransportError):
            charge.result()
    with serving(home.path) as server:
        retry = server.pay(credentials, "slow", **slow)

    assert ended.status == 0
    assert seconds < 3
    assert (retry.status_code, retry.json()["error_code"]) == (200, None)
    assert (rows(home), captured(home)) == ({"slow": "approved"}, ["slow"])


def accepts(url: str) -> bool:
    """Whether anybody listens there."""
    address = httpx.URL(url)
    try:
        socket.create_connection((address.host, address.port or 0), timeout=1).close()
    except OSError:
        return False
    return True
