"""The sandbox's book: what was captured and declined, which faults are set. On disk before anybody is answered.

One entry for each idempotency key, for ever: the first answer is the answer. Entries and questions about them are
worked on in the order in which they came, in one batch function, so that a question that follows an entry always
finds it, committed or still on its way into the same commit.

A count of a fault is used up in the commit of the entry that met it: a crash in between has used up nothing.

No card number, no CVV, no account number and no metadata is in the book, because nothing of the kind is in an
`Entry`.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import NoReturn

from generic_connector.journal import Journal
from generic_connector.money import CURRENCIES, Money
from generic_connector.payment import Approved, DeclineCode, Declined
from generic_connector.ports import Clock
from generic_connector.processors.sandbox.outcome import Fault, FaultKind

CAPTURED = "captured"
DECLINED = "declined"
_KEYS_AT_ONCE = 32


def migrations() -> Sequence[str]:
    """Return the schema's scripts in their order."""
    folder = files(__package__) / "schema"
    return [script.read_text() for script in sorted(folder.iterdir(), key=lambda script: script.name)]


def open_book(path: Path, clock: Clock, end: Callable[[BaseException], NoReturn]) -> "Book":
    """Return the book of a file, made or brought up to date if need be. `end` is the journal's."""
    return Book(Journal(path, migrations(), end), clock)


@dataclass(frozen=True, slots=True)
class Entry:
    """What the book holds of one purchase: who, what for, how much, and what the bank answers for ever.

    Dark: no answer about this key ever gets through.
    """

    idempotency_key: str
    transaction_id: str
    instance: str
    money: Money
    answer: Approved | Declined
    is_dark: bool = False


# --- Rows and columns ------------------------------------------------------------------------------------------------

_COLUMNS = (
    "idempotency_key, transaction_id, instance, amount_minor, currency, state, decline_code, authorization_code,"
    " processor_reference, avs_result, cvv_result, is_dark, entered_at_ms"
)
_INSERT = f"INSERT INTO purchase ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - names are ours
_SELECT = [
    f"SELECT {_COLUMNS} FROM purchase WHERE idempotency_key IN ({', '.join('?' * count)})"  # noqa: S608 - marks only
    for count in range(_KEYS_AT_ONCE + 1)
]

_Line = tuple[str, str, str, int, str, str, str | None, str | None, str | None, str | None, str | None, int, int]


def _line_of(entry: Entry, now_ms: int) -> _Line:
    answer, money = entry.answer, entry.money
    if isinstance(answer, Approved):
        state, decline_code, authorization_code = CAPTURED, None, answer.authorization_code
    else:
        state, decline_code, authorization_code = DECLINED, answer.code.value, None
    return (
        entry.idempotency_key,
        entry.transaction_id,
        entry.instance,
        money.minor,
        money.currency.code,
        state,
        decline_code,
        authorization_code,
        answer.processor_reference,
        answer.avs_result,
        answer.cvv_result,
        int(entry.is_dark),
        now_ms,
    )


def _entry_of(line: _Line) -> Entry:
    (
        key,
        transaction_id,
        instance,
        minor,
        currency,
        _state,
        code,
        authorization_code,
        reference,
        avs,
        cvv,
        is_dark,
        _at,
    ) = line
    answer: Approved | Declined
    if code is None:
        answer = Approved(
            authorization_code=authorization_code, processor_reference=reference, avs_result=avs, cvv_result=cvv
        )
    else:
        answer = Declined(code=DeclineCode(code), processor_reference=reference, avs_result=avs, cvv_result=cvv)
    return Entry(key, transaction_id, instance, Money(minor, CURRENCIES[currency]), answer, bool(is_dark))


def _held(connection: sqlite3.Connection, keys: Sequence[str]) -> dict[str, Entry]:
    """What the book holds under these keys: one question for as many as fit into one."""
    held: dict[str, Entry] = {}
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        some = keys[start : start + _KEYS_AT_ONCE]
        for line in connection.execute(_SELECT[len(some)], some):
            held[line[0]] = _entry_of(line)
    return held


# --- The statement and the faults, on any connection -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StatementLine:
    """A captured purchase. `state` is one of captured, authorized, voided, refunded; so far always the first."""

    idempotency_key: str
    transaction_id: str
    instance: str
    amount: str
    currency: str
    state: str
    captured_at: str


def statement(connection: sqlite3.Connection) -> list[StatementLine]:
    """Return the captured purchases in the order of their capture. A read-only connection will do."""
    return [
        StatementLine(
            key, transaction_id, instance, Money(minor, CURRENCIES[currency]).decimal, currency, state, _iso(at)
        )
        for key, transaction_id, instance, minor, currency, state, at in connection.execute(
            "SELECT idempotency_key, transaction_id, instance, amount_minor, currency, state, entered_at_ms"
            " FROM purchase WHERE state <> ? ORDER BY place",
            (DECLINED,),
        )
    ]


def _iso(at_ms: int) -> str:
    moment = datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{at_ms % 1000:03}Z"


def read_faults(connection: sqlite3.Connection) -> list[Fault]:
    """Return the faults that are set, the latest last. A read-only connection will do."""
    return [
        Fault(id=id_, kind=FaultKind(kind), argument=argument, remaining=remaining)
        for id_, kind, argument, remaining in connection.execute(
            "SELECT id, kind, argument, remaining FROM fault ORDER BY id"
        )
    ]


# --- The book --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Met:
    """What a send that was not a plain one leaves in the book: its entry, if any, and what it used up."""

    idempotency_key: str
    entry: Entry | None
    uses: tuple[int, ...]
    is_lost: bool = False


class Book:
    """The book of one file. What returns has been committed."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self.connection = journal.connection
        self._journal = journal
        self._clock = clock

    def close(self) -> None:
        """Commit what is queued, and close the file."""
        self._journal.close()

    # --- Purchases ---

    async def enter(self, entry: Entry) -> Entry:
        """Enter a purchase, unless its key is there already. Returns what the book holds from now on."""
        return await self._journal.submit(self._enter, entry) or entry

    async def find(self, idempotency_key: str) -> Entry | None:
        """Return the entry of a key. Whatever was entered before this was asked is found."""
        return await self._journal.submit(self._enter, idempotency_key)

    async def keep(self, met: Met) -> Entry | None:
        """Keep what a send met, with the faults that it uses up, in one commit. Returns what the book holds then."""
        return await self._journal.submit(self._keep, met)

    def was_lost(self, idempotency_key: str) -> bool:
        """Whether a send of this key was lost before the capture."""
        found = self.connection.execute("SELECT 1 FROM lost WHERE idempotency_key = ?", (idempotency_key,))
        return found.fetchone() is not None

    def _enter(self, connection: sqlite3.Connection, items: Sequence[Entry | str]) -> Sequence[Entry | None]:
        """A text is a question. Either way the result is what the book held before this item.

        Most sends are new: where there are no questions all are entered at once, and only where a key is taken are they
        taken back and sorted out.
        """
        now_ms = self._clock()
        entries = [item for item in items if not isinstance(item, str)]
        if len(entries) == len(items):
            (last,) = connection.execute("SELECT coalesce(max(place), 0) FROM purchase").fetchone()
            try:
                connection.executemany(_INSERT, [_line_of(entry, now_ms) for entry in entries])
            except sqlite3.IntegrityError:
                connection.execute("DELETE FROM purchase WHERE place > ?", (last,))
            else:
                return [None] * len(items)
        keys = [item if isinstance(item, str) else item.idempotency_key for item in items]
        held = _held(connection, keys)
        lines: list[_Line] = []
        earlier: list[Entry | None] = []
        for key, item in zip(keys, items, strict=True):
            found = held.get(key)
            earlier.append(found)
            if found is None and not isinstance(item, str):
                held[key] = item
                lines.append(_line_of(item, now_ms))
        connection.executemany(_INSERT, lines)
        return earlier

    def _keep(self, connection: sqlite3.Connection, items: Sequence[Met]) -> Sequence[Entry | None]:
        return [self._keep_one(connection, met) for met in items]

    def _keep_one(self, connection: sqlite3.Connection, met: Met) -> Entry | None:
        if met.entry is not None:
            found = _held(connection, [met.idempotency_key]).get(met.idempotency_key)
            if found is not None:
                return found
            connection.execute(_INSERT, _line_of(met.entry, self._clock()))
        if met.is_lost:
            connection.execute("INSERT OR IGNORE INTO lost VALUES (?)", (met.idempotency_key,))
        for id_ in met.uses:
            connection.execute("UPDATE fault SET remaining = remaining - 1 WHERE id = ?", (id_,))
            connection.execute("DELETE FROM fault WHERE id = ? AND remaining <= 0", (id_,))
        return met.entry

    # --- Faults ---

    def set_fault(self, kind: FaultKind, argument: str | None, count: int | None) -> Fault:
        """Set a fault in the place of the one of its kind, and return it with its id."""

        def work(connection: sqlite3.Connection) -> Fault:
            connection.execute("DELETE FROM fault WHERE kind = ?", (kind.value,))
            ((id_,),) = connection.execute(
                "INSERT INTO fault (kind, argument, remaining) VALUES (?, ?, ?) RETURNING id",
                (kind.value, argument, count),
            )
            return Fault(id=id_, kind=kind, argument=argument, remaining=count)

        return self._journal.run(work)

    def clear_faults(self) -> None:
        """Clear all faults."""
        self._journal.run(lambda connection: connection.execute("DELETE FROM fault"))

    def faults(self) -> Sequence[Fault]:
        """Return the faults as the book has them, the latest last."""
        return read_faults(self.connection)
