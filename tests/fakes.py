"""A world for the connector: time that costs nothing, a bank that does what it is told, and a shop that can crash.

- `SkippingLoop`: an event loop on which waiting takes no time. Forty-five seconds of a silent bank are over at once,
  and a wait that nothing can end is an error and not a hang. `story` runs a test on one.
- `WallClock`: goes with the loop, and can be put forward by itself, as it goes on while a process is stopped.
- `Bank`: a processor on the other side of a network that loses, delays and breaks things as it is told. What it
  captured is its own, and outlives every connector.
- `Shop`: connectors on one real SQLite store and one bank. A crash drops what was not committed, and every task.
"""

import asyncio
import functools
import io
import json
import random
import selectors
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum, auto
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

from generic_connector.answer import Answer
from generic_connector.connector import Connector
from generic_connector.contract.request import Refusal, parse
from generic_connector.custody.file import FileKek
from generic_connector.envelope import Place
from generic_connector.home import make_home
from generic_connector.instance import Caller, Dialect, Instance, Mode
from generic_connector.keyring import Keyring
from generic_connector.ledger import Row
from generic_connector.outcome import Limits
from generic_connector.payment import (
    Approved,
    DeclineCode,
    Declined,
    Instrument,
    LookUpResult,
    Method,
    NotFound,
    Payment,
    PurchaseResult,
    Unavailable,
    Unknown,
)
from generic_connector.ports import Claimed, Existing, Processor, Purchase, Traits, Vaulted
from generic_connector.stores.sqlite import SqliteStore, open_sqlite
from generic_connector.telemetry import EventLog

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
VISA, AMEX = "4111111111111111", "378282246310005"
SLOW_S = 4.0
TURNS = 12
"""How often the loop goes round until everything has happened that waits for nobody."""


# --- Time ------------------------------------------------------------------------------------------------------------


class _NothingWillHappenError(Exception):
    """Everybody waits, and for nothing that has a time."""


class _NoWaiting(selectors.SelectSelector):
    """Where there is nothing to do before a timer, the time until then is over."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise _NothingWillHappenError
            self.now += max(0.0, timeout)
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer."""

    def __init__(self) -> None:
        self._no_waiting = _NoWaiting()
        super().__init__(self._no_waiting)

    def time(self) -> float:
        return self._no_waiting.now


def story(test: Callable[Parameters, Coroutine[Any, Any, None]]) -> Callable[Parameters, None]:
    """Run an asynchronous test on a `SkippingLoop`."""

    @functools.wraps(test)
    def told(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        with asyncio.Runner(loop_factory=SkippingLoop) as runner:
            runner.run(test(*args, **kwargs))

    return told


async def turns(count: int = TURNS) -> None:
    """Let the loop go round, without time passing."""
    for _turn in range(count):
        await asyncio.sleep(0)


class WallClock:
    """Milliseconds since 1970: the loop's time, and whatever it was put forward."""

    def __init__(self, at: datetime = datetime(2026, 11, 23, 12, tzinfo=UTC)) -> None:
        self._began_ms = int(at.timestamp() * 1000)

    def __call__(self) -> int:
        return self._began_ms + int(asyncio.get_running_loop().time() * 1000)

    def forward(self, seconds: float) -> None:
        """Let time pass for the world, but not for the processes in it: they were stopped."""
        self._began_ms += int(seconds * 1000)


# --- The bank --------------------------------------------------------------------------------------------------------


class Play(Enum):
    """How one send goes."""

    APPROVE = auto()
    DECLINE = auto()
    UNAVAILABLE = auto()
    LOSE_BEFORE = auto()
    """Not captured; the line breaks at once."""
    LOSE_AFTER = auto()
    HANG_BEFORE = auto()
    """Not captured; no answer ever comes."""
    HANG_AFTER = auto()
    RAISE_BEFORE = auto()
    RAISE_AFTER = auto()
    CANCEL_AFTER = auto()
    """Captured; then a task inside the processor was cancelled, and its `CancelledError` gets out."""
    SLOW = auto()
    """Captured at once; the answer takes `SLOW_S`."""
    LATE = auto()
    """No answer ever comes; the send arrives, and is captured, `conclusive_after_s` later."""
    LATE_LOST = auto()
    """The line breaks at once; the send arrives all the same, `conclusive_after_s` later."""


class Look(Enum):
    """How look-ups go."""

    TRUTH = auto()
    NOT_FOUND = auto()
    UNKNOWN = auto()
    RAISE = auto()
    HANG = auto()
    SLOW = auto()
    """The truth of now, told after `SLOW_S`."""


class BrokenError(Exception):
    """What a processor's bug looks like."""


@dataclass(frozen=True, slots=True)
class Capture:
    """Money that moved."""

    idempotency_key: str
    transaction_id: str
    minor: int


class Bank:
    """A processor that does what it is told. `will` says how the next sends go; after these it approves."""

    def __init__(
        self,
        clock: WallClock,
        *,
        honours_keys: bool = True,
        looks_up: bool = True,
        conclusive_after_s: float = 0,
        controls: bool = False,
    ) -> None:
        self.traits = Traits(
            honours_keys=honours_keys,
            looks_up=looks_up,
            conclusive_after_s=conclusive_after_s,
            controls=controls,
        )
        self.asked: list[Purchase] = []
        self.verified: list[Purchase] = []
        self.looked_up: list[str] = []
        self.captures: list[Capture] = []
        self.look = Look.TRUTH
        self.gate: asyncio.Event | None = None
        self._clock = clock
        self._plays: deque[Play] = deque()
        self._answers: dict[str, Approved | Declined] = {}
        self._on_the_way: list[tuple[int, Purchase]] = []

    # --- What tests say and ask ---

    def will(self, *plays: Play) -> None:
        """Say how the next sends go."""
        self._plays.extend(plays)

    def heal(self) -> None:
        """Let everything go well from now on."""
        self._plays.clear()
        self.look = Look.TRUTH

    def captured(self, transaction_id: str) -> list[int]:
        """What was captured for a transaction, so far: amounts in minor units."""
        self._arrive()
        return [capture.minor for capture in self.captures if capture.transaction_id == transaction_id]

    def is_on_the_way(self, transaction_id: str) -> bool:
        """Whether a send may still arrive."""
        self._arrive()
        return any(purchase.transaction_id == transaction_id for _at, purchase in self._on_the_way)

    # --- ports.Processor ---

    def check(self, purchase: Purchase) -> str | None:  # noqa: ARG002 - the port's signature
        return None

    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        self.asked.append(purchase)
        play = self._next()
        if self.gate is not None:
            await self.gate.wait()
        self._arrive()
        return await self._line(play, self._bank_says(play, purchase))

    async def verify(self, purchase: Purchase) -> PurchaseResult:
        self.verified.append(purchase)
        play = self._next()
        if self.gate is not None:
            await self.gate.wait()
        answers: dict[Play, PurchaseResult] = {
            Play.DECLINE: Declined(code=DeclineCode.DO_NOT_HONOR),
            Play.UNAVAILABLE: Unavailable(),
        }
        return await self._line(play, answers.get(play, Approved(cvv_result="M")))

    async def look_up(self, idempotency_key: str) -> LookUpResult:
        self.looked_up.append(idempotency_key)
        self._arrive()
        match self.look:
            case Look.TRUTH:
                return self._answers.get(idempotency_key, NotFound())
            case Look.SLOW:
                truth = self._answers.get(idempotency_key, NotFound())
                await asyncio.sleep(SLOW_S)
                return truth
            case Look.NOT_FOUND:
                return NotFound()
            case Look.UNKNOWN:
                return Unknown("told to")
            case Look.RAISE:
                raise BrokenError
            case Look.HANG:
                await asyncio.sleep(3600)
                raise BrokenError

    async def is_reachable(self) -> bool:
        return True

    async def close(self) -> None:
        return

    # --- Inside ---

    def _next(self) -> Play:
        return self._plays.popleft() if self._plays else Play.APPROVE

    def _bank_says(self, play: Play, purchase: Purchase) -> PurchaseResult:
        """Capture, or not. A key that is honoured and known gets the first answer again."""
        known = self._answers.get(purchase.idempotency_key) if self.traits.honours_keys else None
        match play:
            case Play.UNAVAILABLE:
                return Unavailable()
            case Play.LOSE_BEFORE | Play.HANG_BEFORE | Play.RAISE_BEFORE:
                return Unknown("never arrived")
            case Play.LATE | Play.LATE_LOST:
                due_ms = self._clock() + int(self.traits.conclusive_after_s * 1000)
                self._on_the_way.append((due_ms, purchase))
                return Unknown("has not arrived yet")
            case _:
                return known or self._decide(purchase, is_approved=play is not Play.DECLINE)

    def _decide(self, purchase: Purchase, *, is_approved: bool) -> Approved | Declined:
        answer: Approved | Declined = Declined(code=DeclineCode.INSUFFICIENT_FUNDS, cvv_result="N")
        if is_approved:
            if purchase.money is None:
                raise BrokenError
            self.captures.append(Capture(purchase.idempotency_key, purchase.transaction_id, purchase.money.minor))
            answer = Approved(authorization_code=f"A{len(self.captures):05}", processor_reference="ref")
        self._answers[purchase.idempotency_key] = answer
        return answer

    def _arrive(self) -> None:
        """What was on the way arrives when its time has come, whether anybody still waits or not."""
        if not self._on_the_way:
            return
        now_ms = self._clock()
        due = [purchase for at_ms, purchase in self._on_the_way if at_ms <= now_ms]
        self._on_the_way = [(at_ms, purchase) for at_ms, purchase in self._on_the_way if at_ms > now_ms]
        for purchase in due:
            if not (self.traits.honours_keys and purchase.idempotency_key in self._answers):
                self._decide(purchase, is_approved=True)

    async def _line(self, play: Play, answer: PurchaseResult) -> PurchaseResult:
        match play:
            case Play.LOSE_BEFORE | Play.LOSE_AFTER | Play.LATE_LOST:
                return Unknown("the line broke")
            case Play.HANG_BEFORE | Play.HANG_AFTER | Play.LATE:
                await asyncio.sleep(3600)
                return Unknown("nobody waits for so long")
            case Play.RAISE_BEFORE | Play.RAISE_AFTER:
                raise BrokenError
            case Play.SLOW:
                await asyncio.sleep(SLOW_S)
                return answer
            case Play.CANCEL_AFTER:
                raise asyncio.CancelledError
            case _:
                return answer


class Wise(Bank):
    """A bank that says by itself whether a card is good, where it has been told what to say."""

    says: Approved | Declined | None = Approved(cvv_result="M")

    def verify_at_once(self, purchase: Purchase) -> Approved | Declined | None:  # noqa: ARG002 - the port's signature
        return self.says


class Forgetful:
    """A bank behind an adapter that makes at-most-once impossible: a new key for each send, and no memory of any."""

    def __init__(self, bank: Bank) -> None:
        self.traits = bank.traits
        self._bank = bank
        self._sends = 0

    def check(self, purchase: Purchase) -> str | None:
        return self._bank.check(purchase)

    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        self._sends += 1
        return await self._bank.purchase(replace(purchase, idempotency_key=f"{self._sends}"))

    async def verify(self, purchase: Purchase) -> PurchaseResult:
        return await self._bank.verify(purchase)

    async def look_up(self, idempotency_key: str) -> LookUpResult:  # noqa: ARG002 - that is the point
        return NotFound()

    async def is_reachable(self) -> bool:
        return True

    async def close(self) -> None:
        return


# --- The shop --------------------------------------------------------------------------------------------------------


def payment(transaction_id: object = "t1", **fields: object) -> Payment:
    """Return what the contract's parser makes of a request: a card charge of 10.00 unless `fields` say otherwise."""
    body: dict[str, object] = {
        "transaction_id": transaction_id,
        "method": "charge",
        "cardnumber": VISA,
        "expiry_month": "12",
        "expiry_year": "2030",
        "cvv": "123",
        "postal_code": "94105",
        "amount": "10.00",
        "currency_code": "usd",
        **fields,
    }
    parsed = parse(json.dumps({name: value for name, value in body.items() if value is not None}).encode(), _TWILIO)
    if isinstance(parsed, Refusal):
        raise TypeError(parsed.code)
    return parsed


_TWILIO = Dialect.TWILIO
_ALL = frozenset(Method)


class Shop:
    """Connectors on one store and one bank. `boot` starts one; another `boot` is a restart, `beside` a second host."""

    def __init__(
        self, home: Path, clock: WallClock, bank: Bank, limits: Limits | None = None, processor: Processor | None = None
    ) -> None:
        make_home(home)
        self.home = home
        self.clock = clock
        self.bank = bank
        self.limits = limits or Limits()
        self.instance = Instance(
            id=1, unique_name="Default", username="ic", mode=Mode.TEST, allow=_ALL, processor="bank", dialect=_TWILIO
        )
        self.log = io.StringIO()
        self._event_log = EventLog(self.log, clock, "debug")
        self._processors = {"bank": processor or bank}
        self.randomness = random.Random(1).randbytes  # noqa: S311 - the same on every run
        self._boots = 0
        self._deliveries = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self.store: SqliteStore
        self.connector: Connector

    async def boot(self, kind: type[SqliteStore] = SqliteStore) -> Connector:
        """Start the one process of a home: no earlier owner lives."""
        self.store = kind(open_sqlite(self.home / "ledger.db", _end).journal)
        self.connector = await self.beside()
        await self.store.void_leases(but_of=f"boot_{self._boots}")
        return self.connector

    async def beside(self) -> Connector:
        """Return another owner on the same store, as on another host."""
        self._boots += 1
        return Connector(
            store=self.store,
            keyring=Keyring(self.store, FileKek(self.home / "kek"), self.randomness),
            processors=self._processors,
            instances={self.instance.id: self.instance},
            clock=self.clock,
            randomness=self.randomness,
            owner=f"boot_{self._boots}",
            log=self._event_log,
            limits=self.limits,
        )

    async def crash(self) -> None:
        """End everything where it stands: what is not committed is lost, and nobody is answered."""
        everybody = asyncio.all_tasks() - {asyncio.current_task()}
        for task in everybody:
            task.cancel()
        self.store.journal.connection.close()
        await asyncio.gather(*everybody, return_exceptions=True)

    async def pay(
        self,
        asked: Payment,
        *,
        by: Connector | None = None,
        scopes: Iterable[Method] = Method,
    ) -> Answer:
        """Deliver a payment, and wait for its answer."""
        self._deliveries += 1
        caller = Caller(self.instance, frozenset(scopes), "password")
        return await (by or self.connector).pay(caller, asked, f"req_{self._deliveries}")

    def start(self, asked: Payment, *, by: Connector | None = None) -> asyncio.Task[Answer]:
        """Deliver a payment, and go on."""
        return self.background(self.pay(asked, by=by))

    def background(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Start something, and keep it alive."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def kill(self) -> None:
        """End every task but this one: their owner is dead, the store lives on."""
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    @property
    def stopped(self) -> "StoppedAfterClaim":
        """The store, which must have been booted as one that stops."""
        if not isinstance(self.store, StoppedAfterClaim):
            raise TypeError(self.store)
        return self.store

    # --- What is stored ---

    def unsealed(self, token_id: str) -> Instrument:
        """Open a vault entry where it stands."""
        found = self.store.journal.connection.execute(
            "SELECT instance_id, sealed FROM vault WHERE token_id = ?", (token_id,)
        )
        ((instance_id, sealed),) = found
        keyring = Keyring(self.store, FileKek(self.home / "kek"), self.randomness)
        return keyring.unseal(sealed, Place("vault", instance_id, token_id, "sealed"))

    def bytes_at_rest(self) -> bytes:
        """Every byte of every file of the home."""
        return b"".join(path.read_bytes() for path in self.home.rglob("*") if path.is_file())

    async def row(self, transaction_id: str = "t1") -> Row:
        """Return a transaction's row."""
        row = await self.store.find(self.instance.id, transaction_id)
        if row is None:
            raise LookupError(transaction_id)
        return row

    def vault(self) -> dict[str, bool]:
        """The vault: whether each token is active."""
        lines = self.store.journal.connection.execute("SELECT token_id, is_active FROM vault")
        return {token_id: bool(is_active) for token_id, is_active in lines}

    def rows(self) -> int:
        """How many transactions the ledger has."""
        (count,) = self.store.journal.connection.execute("SELECT count(*) FROM ledger").fetchone()
        return int(count)

    def execute(self, sql: str) -> None:
        """Do something to the database behind everybody's back."""
        self.store.journal.connection.execute(sql)

    def events(self) -> Sequence[str]:
        """The names of what was logged."""
        self._event_log.flush()
        return [json.loads(line)["event"] for line in self.log.getvalue().splitlines()]


class StoppedAfterClaim(SqliteStore):
    """A store whose process is stopped, or killed, right after its next claim."""

    after_claim: Callable[[], None] | None = None

    async def claim(self, row: Row, vaulted: Vaulted | None) -> Claimed | Existing:
        claimed = await super().claim(row, vaulted)
        after_claim, self.after_claim = self.after_claim, None
        if after_claim is not None:
            after_claim()
        return claimed


def _end(error: BaseException) -> NoReturn:
    raise error


def said(answer: Answer) -> dict[str, Any]:
    """Return the reply of an answer, parsed. There must be one."""
    if answer.reply is None:
        raise LookupError("nothing was said")
    parsed: dict[str, Any] = json.loads(answer.reply.body)
    return parsed


def code(answer: Answer) -> str | None:
    """Return the error code of a reply."""
    told: str | None = said(answer)["error_code"]
    return told
