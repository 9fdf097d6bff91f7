"""The SQLite store: ledger, vault and registry in one file, behind the journal.

A claim is the whole of at-most-once: the unique index on (instance, transaction_id) lets one row in. Most ids are new,
so a batch of claims is inserted as it is, in one `executemany`. That cannot tell who lost: where the index refuses one,
the batch is taken back, its keys are looked up inside the same transaction, and the rest is inserted. What finishes a
row is an update that names the fence and the states it may come from; an update that touches nothing lost.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from operator import itemgetter
from pathlib import Path
from typing import NoReturn

from generic_connector.envelope import Purpose
from generic_connector.instance import Dialect, Instance, Mode
from generic_connector.journal import Journal
from generic_connector.ledger import Event, Row, State, advance
from generic_connector.payment import Method
from generic_connector.ports import (
    AccessToken,
    Act,
    Claimed,
    Credential,
    Existing,
    Note,
    Settlement,
    StoreUnavailableError,
    Vaulted,
    WrappedKey,
)

NOTES_PER_ROW_MAX = 64
"""A history of deliveries longer than this is an attack or a loop, and tells nothing more. What the connector itself
does, such as to send again, is noted all the same."""
_OF_DELIVERIES = "('replayed', 'conflict', 'waiting', 'waited', 'left', 'looked_up')"


def migrations() -> Sequence[str]:
    """Return the schema's scripts in their order."""
    folder = files(__package__) / "schema"
    return [script.read_text() for script in sorted(folder.iterdir(), key=lambda script: script.name)]


def open_sqlite(path: Path, end: Callable[[BaseException], NoReturn]) -> "SqliteStore":
    """Return the store of a file, made or brought up to date if need be."""
    return SqliteStore(Journal(path, migrations(), end))


# --- Rows and columns ------------------------------------------------------------------------------------------------

_ROW = Row._fields
_VAULTED = Vaulted._fields


def _insert(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - names are ours


_INSERT_ROW = _insert("ledger", _ROW)
_CLAIMED = _ROW[: _ROW.index("token_id") + 1]
_INSERT_CLAIMED = _insert("ledger", _CLAIMED)
_NOTHING_YET = (None,) * (len(_ROW) - len(_CLAIMED))
_SAVED = tuple(
    name
    for name in _ROW
    if name
    not in {
        "amount_minor", "currency", "confirmation_number", "sent_at_ms", "possible_duplicate_of", "authorization_code",
        "processor_reference", "error_code", "settled_by",
    }
)  # fmt: skip
"""What a saved token's row has. The two rows that are common are written without their nulls."""
_INSERT_SAVED = _insert("ledger", _SAVED)
_of_saved = itemgetter(*map(_ROW.index, _SAVED))
_not_of_saved = itemgetter(*(place for place, name in enumerate(_ROW) if name not in _SAVED))
_NOTHING_ELSE = (None,) * (len(_ROW) - len(_SAVED))
_INSERT_VAULTED = _insert("vault", _VAULTED)
_SELECT_ROW = f"SELECT {', '.join(_ROW)} FROM ledger"  # noqa: S608 - names are ours
_FIND = f"{_SELECT_ROW} WHERE instance_id = ? AND transaction_id = ?"
_IS_THERE = "SELECT 1 FROM ledger WHERE instance_id = ? AND transaction_id = ?"
_METHOD, _STATE, _BRAND = _ROW.index("method"), _ROW.index("state"), _ROW.index("brand")
_DIGEST, _FINGERPRINT, _REPLY_BODY = _ROW.index("digest"), _ROW.index("fingerprint"), _ROW.index("reply_body")


def row_of(values: Sequence[object]) -> Row:
    """Return the ledger row of a line of the table."""
    columns = list(values)
    columns[_METHOD], columns[_STATE] = Method(str(columns[_METHOD])), State(str(columns[_STATE]))
    return Row._make(columns)


# sqlite3 looks for an adapter for every value whose type is not exactly a text, a number or a bytearray. So what goes
# into a table in every payment is made such a type: no member of an enum, no bool, no bytes, and no null where the
# statement can do without.


def _line_of(row: Row) -> list[object]:
    """Return the line of a row."""
    line: list[object] = list(row)
    line[_METHOD], line[_STATE] = str(row.method), str(row.state)
    line[_BRAND] = None if row.brand is None else str(row.brand)
    line[_DIGEST], line[_FINGERPRINT] = bytearray(row.digest), bytearray(row.fingerprint)
    if row.reply_body is not None:
        line[_REPLY_BODY] = bytearray(row.reply_body)
    return line


def _line_of_vaulted(vaulted: Vaulted) -> tuple[object, ...]:
    token_id, instance_id, is_active, kind, brand, bin_, last4, sealed, key_id, fingerprint, fingerprint_key_id, at = (
        vaulted
    )
    return (
        token_id, instance_id, int(is_active), kind, None if brand is None else str(brand), bin_, last4,
        bytearray(sealed), key_id, bytearray(fingerprint), fingerprint_key_id, at,
    )  # fmt: skip


_FIND_ANY = [
    f"{_SELECT_ROW} WHERE {condition} ORDER BY id LIMIT 20"
    for condition in (
        "id = :id",
        "(instance_id, transaction_id) IN (SELECT id, :id FROM instance)",
        "request_id = :id OR token_id = :id OR id IN (SELECT row_id FROM note WHERE request_id = :id)",
    )
]
"""The first two use an index; only what they do not know makes the third read the whole ledger."""


def find_any(connection: sqlite3.Connection, id_: str) -> list[Row]:
    """Return the rows that a person may mean by an id: of a charge, token, transaction or request."""
    for query in _FIND_ANY:
        lines = connection.execute(query, {"id": id_}).fetchall()
        if lines:
            return [row_of(line) for line in lines]
    return []


# --- Batches ---------------------------------------------------------------------------------------------------------


_KEYS_AT_ONCE = 32
# A join and not `IN (VALUES ...)`, which SQLite answers by reading the whole table.
_SELECT_KEYS = [
    f"WITH wanted (instance_id, transaction_id) AS (VALUES {', '.join(['(?, ?)'] * count)})"  # noqa: S608 - marks only
    " SELECT l.instance_id, l.transaction_id FROM wanted AS w CROSS JOIN ledger AS l"
    " WHERE l.instance_id = w.instance_id AND l.transaction_id = w.transaction_id"
    for count in range(_KEYS_AT_ONCE + 1)
]
# The partial index serves only a query that says its condition word for word.
_IN_DOUBT = "ledger INDEXED BY ledger_unsettled WHERE state IN ('running', 'in_doubt') AND state = 'in_doubt'"
_BEFORE_CLAIMS = f"SELECT EXISTS (SELECT 1 FROM {_IN_DOUBT}), (SELECT coalesce(max(rowid), 0) FROM ledger)"  # noqa: S608 - ours
_DUPLICATE = (
    f"SELECT id FROM {_IN_DOUBT} AND instance_id = ? AND fingerprint = ?"  # noqa: S608 - ours
    " AND amount_minor = ? AND currency = ? LIMIT 1"
)
_Claim = tuple[Row, Vaulted | None]
_WON = Claimed(None)


def _claim(connection: sqlite3.Connection, claims: Sequence[_Claim]) -> Sequence[Claimed | Existing]:
    told: Sequence[Claimed | Existing] = [_WON] * len(claims)
    in_doubt, last = connection.execute(_BEFORE_CLAIMS).fetchone()
    if in_doubt:
        flagged = [_possible_duplicate(connection, row) for row, _vaulted in claims]
        told = [Claimed(duplicate) for duplicate in flagged]
        claims = [
            (row._replace(possible_duplicate_of=duplicate), vaulted)
            for (row, vaulted), duplicate in zip(claims, flagged, strict=True)
        ]
    try:
        _insert_rows(connection, [row for row, _vaulted in claims])
    except sqlite3.IntegrityError:
        # Not with a savepoint: that copies every page that is written behind it.
        connection.execute("DELETE FROM ledger WHERE rowid > ?", (last,))
        claims, told = _claim_apart(connection, claims, told)
    connection.executemany(
        _INSERT_VAULTED, [_line_of_vaulted(vaulted) for _row, vaulted in claims if vaulted is not None]
    )
    return told


def _claim_apart(
    connection: sqlite3.Connection, claims: Sequence[_Claim], told: Sequence[Claimed | Existing]
) -> tuple[Sequence[_Claim], Sequence[Claimed | Existing]]:
    """Insert the rows whose keys are new. Return their claims, and what all are told: the others, what is there."""
    taken: set[tuple[int, str]] = set()
    keys = [(row.instance_id, row.transaction_id) for row, _vaulted in claims]
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        some = keys[start : start + _KEYS_AT_ONCE]
        taken.update(connection.execute(_SELECT_KEYS[len(some)], [part for key in some for part in key]))
    first: dict[tuple[int, str], int] = {}
    for place, key in enumerate(keys):
        if key not in taken:
            first.setdefault(key, place)
    new = [claims[place] for place in first.values()]
    _insert_rows(connection, [row for row, _vaulted in new])
    return new, [
        won if first.get(key) == place else Existing(row_of(connection.execute(_FIND, key).fetchone()))
        for place, (key, won) in enumerate(zip(keys, told, strict=True))
    ]


def _insert_rows(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    saved: list[Sequence[object]] = []
    claimed: list[Sequence[object]] = []
    others: list[Sequence[object]] = []
    for row in rows:
        line = _line_of(row)
        if _not_of_saved(row) == _NOTHING_ELSE:
            saved.append(_of_saved(line))
        elif row[len(_CLAIMED) :] == _NOTHING_YET:
            claimed.append(line[: len(_CLAIMED)])
        else:
            others.append(line)
    for insert, lines in ((_INSERT_SAVED, saved), (_INSERT_CLAIMED, claimed), (_INSERT_ROW, others)):
        if lines:
            connection.executemany(insert, lines)


def _possible_duplicate(connection: sqlite3.Connection, row: Row) -> str | None:
    """Return the id of a charge like this one that is in doubt."""
    if row.amount_minor is None:
        return None
    found = connection.execute(_DUPLICATE, (row.instance_id, row.fingerprint, row.amount_minor, row.currency))
    return next((id_ for (id_,) in found), None)


_RECORD, _RECORD_GOOD = (
    f"""
UPDATE ledger SET state = ?, recorded_at_ms = ?, sent_at_ms = coalesce(?, sent_at_ms), authorization_code = ?,
    processor_reference = ?, reply_status = ?, reply_body = ?, {rest}
WHERE id = ? AND fence = ? AND state = ?
"""  # noqa: S608 - ours
    for rest in ("error_code = ?, settled_by = ?", "error_code = NULL, settled_by = NULL")
)
"""The second is for a success that no person had to tell of, as most are."""


def _record(connection: sqlite3.Connection, settlements: Sequence[Settlement]) -> Sequence[bool]:
    return [_record_one(connection, settlement) for settlement in settlements]


def _record_one(connection: sqlite3.Connection, settlement: Settlement) -> bool:
    """One by one: each must know whether it won. The edge is looked up for the state that the settlement saw."""
    row, error_code, settled_by = settlement.row, settlement.error_code, settlement.settled_by
    state = advance(row.state, settlement.event)
    is_good = error_code is None and settled_by is None
    done = connection.execute(
        _RECORD_GOOD if is_good else _RECORD,
        (
            str(state),
            settlement.recorded_at_ms,
            settlement.sent_at_ms,
            settlement.authorization_code,
            settlement.processor_reference,
            settlement.reply_status,
            None if settlement.reply_body is None else bytearray(settlement.reply_body),
            *(() if is_good else (error_code, settled_by)),
            row.id,
            row.fence,
            str(row.state),
        ),
    )
    if done.rowcount == 1 and row.token_id is not None:
        if state is State.APPROVED:
            connection.execute("UPDATE vault SET is_active = 1 WHERE token_id = ?", (row.token_id,))
        elif state.is_terminal:
            connection.execute("DELETE FROM vault WHERE token_id = ? AND is_active = 0", (row.token_id,))
    return done.rowcount == 1


_NOTE = (
    "INSERT INTO note SELECT :row_id, :at_ms, :event, :request_id"  # noqa: S608 - words and a number of ours
    f" WHERE :event NOT IN {_OF_DELIVERIES}"
    f" OR (SELECT count(*) FROM note WHERE row_id = :row_id AND event IN {_OF_DELIVERIES}) < {NOTES_PER_ROW_MAX}"
)


def _note(connection: sqlite3.Connection, notes: Sequence[Note]) -> Sequence[None]:
    connection.executemany(
        _NOTE, [{"row_id": n.row_id, "at_ms": n.at_ms, "event": n.event, "request_id": n.request_id} for n in notes]
    )
    return [None] * len(notes)


_TakeOver = tuple[Row, str, int, int]


def _take_over(connection: sqlite3.Connection, attempts: Sequence[_TakeOver]) -> Sequence[Row | None]:
    return [_take_over_one(connection, *attempt) for attempt in attempts]


def _take_over_one(
    connection: sqlite3.Connection, row: Row, owner: str, lease_until_ms: int, now_ms: int
) -> Row | None:
    advance(row.state, Event.TAKE_OVER)
    done = connection.execute(
        "UPDATE ledger SET owner = ?, fence = fence + 1, lease_until_ms = ?"
        " WHERE id = ? AND fence = ? AND state = ? AND lease_until_ms <= ?",
        (owner, lease_until_ms, row.id, row.fence, row.state.value, now_ms),
    )
    return row._replace(owner=owner, fence=row.fence + 1, lease_until_ms=lease_until_ms) if done.rowcount else None


# --- What anybody may read -------------------------------------------------------------------------------------------


class SqliteReader:
    """The registry, to read: on the writer's connection, or beside it on one of `journal.read_only`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def installation(self) -> str:
        """Return the installation's id. Raises `LookupError` before `found`."""
        line = self._connection.execute("SELECT id FROM installation").fetchone()
        if line is None:
            raise LookupError("the database belongs to no installation yet")
        return str(line[0])

    def instances(self) -> Sequence[Instance]:
        """Return all instances, oldest first."""
        return [
            Instance(
                id=id_,
                unique_name=unique_name,
                username=username,
                mode=Mode(mode),
                allow=frozenset(map(Method, allow.split())),
                processor=processor,
                dialect=Dialect(dialect),
                enabled=bool(enabled),
                require_cvv=bool(require_cvv),
                save_card_on_charge=bool(save_card_on_charge),
                rate_per_s=rate_per_s,
            )
            for (
                id_,
                unique_name,
                username,
                mode,
                allow,
                processor,
                dialect,
                enabled,
                require_cvv,
                save_card_on_charge,
                rate_per_s,
            ) in self._connection.execute(
                "SELECT id, unique_name, username, mode, allow, processor, dialect, enabled, require_cvv,"
                " save_card_on_charge, rate_per_s FROM instance ORDER BY id"
            )
        ]

    def credentials(self) -> Sequence[Credential]:
        """Return all credentials that are valid, oldest first."""
        return [
            Credential(
                instance_id=instance_id,
                kind=kind,
                hash=hash_,
                key_id=key_id,
                created_at_ms=created_at_ms,
            )
            for instance_id, kind, hash_, key_id, created_at_ms in self._connection.execute(
                "SELECT instance_id, kind, hash, key_id, created_at_ms FROM credential ORDER BY created_at_ms"
            )
        ]

    def access_tokens(self) -> Sequence[AccessToken]:
        """Return all access tokens, oldest first."""
        return [
            AccessToken(
                id=id_,
                instance_id=instance_id,
                scopes=tuple(scopes.split()),
                issued_at_ms=issued_at_ms,
                expires_at_ms=expires_at_ms,
                revoked_at_ms=revoked_at_ms,
            )
            for id_, instance_id, scopes, issued_at_ms, expires_at_ms, revoked_at_ms in self._connection.execute(
                "SELECT id, instance_id, scopes, issued_at_ms, expires_at_ms, revoked_at_ms"
                " FROM access_token ORDER BY id"
            )
        ]

    def keys(self) -> Sequence[WrappedKey]:
        """Return all keys, oldest first."""
        return [
            WrappedKey(
                id=id_,
                purpose=Purpose(purpose),
                wrapped=wrapped,
                kek_id=kek_id,
                is_active=bool(is_active),
                created_at_ms=created_at_ms,
                seals=seals,
            )
            for id_, purpose, wrapped, kek_id, is_active, created_at_ms, seals in self._connection.execute(
                "SELECT id, purpose, wrapped, kek_id, is_active, created_at_ms, seals FROM key ORDER BY id"
            )
        ]


@dataclass(frozen=True, slots=True)
class Tokens:
    """How many tokens of one kind an instance has."""

    instance: str
    kind: str
    brand: str | None
    is_active: bool
    count: int


def count_tokens(connection: sqlite3.Connection) -> list[Tokens]:
    """Return how many tokens there are, by instance, kind, brand, and whether they are active."""
    return [
        Tokens(instance, kind, brand, bool(is_active), count)
        for instance, kind, brand, is_active, count in connection.execute(
            "SELECT unique_name, kind, brand, is_active, count(*) FROM vault JOIN instance ON instance.id = instance_id"
            " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4 DESC"
        )
    ]


def count_states(connection: sqlite3.Connection) -> dict[State, int]:
    """Return how many ledger rows there are in each state."""
    return {State(state): count for state, count in connection.execute("SELECT state, count(*) FROM ledger GROUP BY 1")}


def token_times(connection: sqlite3.Connection) -> tuple[int | None, int | None]:
    """Return when the oldest and the newest token were made."""
    oldest, newest = connection.execute("SELECT min(created_at_ms), max(created_at_ms) FROM vault").fetchone()
    return oldest, newest


def find_vaulted(connection: sqlite3.Connection, token_id: str) -> Vaulted | None:
    """Return a token's entry in the vault, sealed as it is."""
    line = connection.execute(f"SELECT {', '.join(_VAULTED)} FROM vault WHERE token_id = ?", (token_id,)).fetchone()  # noqa: S608 - names are ours
    if line is None:
        return None
    entry = dict(zip(_VAULTED, line, strict=True))
    return Vaulted(**{**entry, "is_active": bool(entry["is_active"])})


def notes_of(connection: sqlite3.Connection, row_id: str) -> list[Note]:
    """Return a transaction's history, oldest first."""
    return [
        Note(*line)
        for line in connection.execute(
            "SELECT row_id, at_ms, event, request_id FROM note WHERE row_id = ? ORDER BY at_ms, rowid", (row_id,)
        )
    ]


def unsettled_rows(connection: sqlite3.Connection, *, claimed_before_ms: int) -> list[Row]:
    """Return the rows that are running or in doubt and were claimed before then, oldest first."""
    return [
        row_of(line)
        for line in connection.execute(
            f"{_SELECT_ROW} INDEXED BY ledger_unsettled WHERE state IN ('running', 'in_doubt')"
            " AND claimed_at_ms <= ? ORDER BY id",
            (claimed_before_ms,),
        )
    ]


def schema_version(connection: sqlite3.Connection) -> int:
    """Return how many migrations the database has had."""
    (applied,) = connection.execute("SELECT coalesce(max(number), 0) FROM migration").fetchone()
    return int(applied)


def claimed_first_and_last(connection: sqlite3.Connection) -> tuple[int | None, int | None]:
    """Return when the ledger's first row and the latest of its last rows were claimed."""
    first = connection.execute("SELECT claimed_at_ms FROM ledger ORDER BY rowid LIMIT 1").fetchone()
    last = connection.execute(
        "SELECT max(claimed_at_ms) FROM (SELECT claimed_at_ms FROM ledger ORDER BY rowid DESC LIMIT 100)"
    ).fetchone()
    return (None if first is None else first[0]), last[0]


# --- What has been kept long enough ----------------------------------------------------------------------------------

_PAST = "state NOT IN ('running', 'in_doubt') AND coalesce(recorded_at_ms, claimed_at_ms) < :before_ms"
# A token and the charge that it was saved with are named in the same millisecond: the ids share their twelve letters of
# time, so the charge is found through its primary index.
_LEFT_PENDING = """
is_active = 0 AND NOT EXISTS (
    SELECT 1 FROM ledger
    WHERE id BETWEEN 'ch_' || substr(vault.token_id, 5, 12) AND 'ch_' || substr(vault.token_id, 5, 12) || 'z'
    AND ledger.token_id = vault.token_id AND state IN ('running', 'in_doubt', 'approved'))
"""


@dataclass(frozen=True, slots=True)
class Purged:
    """How many ledger rows, lines of their history, and pending tokens are past their time, or were deleted."""

    rows: int = 0
    notes: int = 0
    pending: int = 0


def count_past(connection: sqlite3.Connection, before_ms: int) -> Purged:
    """Return what a purge would delete."""
    before = {"before_ms": before_ms}
    return Purged(
        *(
            connection.execute(f"SELECT count(*) FROM {what}", before).fetchone()[0]  # noqa: S608 - ours
            for what in (
                f"ledger WHERE {_PAST}",
                f"note WHERE row_id IN (SELECT id FROM ledger WHERE {_PAST})",  # noqa: S608 - ours
                f"vault WHERE {_LEFT_PENDING}",
            )
        )
    )


def some_past(connection: sqlite3.Connection, before_ms: int, count: int) -> tuple[list[str], list[str]]:
    """Return some ids of ledger rows, and of pending tokens, that a purge would delete; oldest first."""
    rows = connection.execute(
        f"SELECT id FROM ledger WHERE {_PAST} ORDER BY rowid LIMIT :count",  # noqa: S608 - ours
        {"before_ms": before_ms, "count": count},
    )
    pending = connection.execute(f"SELECT token_id FROM vault WHERE {_LEFT_PENDING} LIMIT ?", (count,))  # noqa: S608 - ours
    return [id_ for (id_,) in rows], [id_ for (id_,) in pending]


# --- The store -------------------------------------------------------------------------------------------------------


class SqliteStore(SqliteReader):
    """`ports.Store` and `ports.Registry` on one SQLite file."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(journal.connection)
        self.journal = journal
        self._fresh: dict[str, tuple[str, int]] = {}
        self._changes = 0

    def close(self) -> None:
        """Commit what is queued, and close the file."""
        self.journal.close()

    # --- Ledger and vault ---

    async def find(self, instance_id: int, transaction_id: str) -> Row | None:
        """Return the row of a transaction."""
        try:
            key = (instance_id, transaction_id)
            # Most ids are new. To ask for one column costs a third of asking for all: sqlite3 describes every column.
            if self._connection.execute(_IS_THERE, key).fetchone() is None:
                return None
            line = self._connection.execute(_FIND, key).fetchone()
        except sqlite3.Error as error:
            raise StoreUnavailableError(type(error).__name__) from error
        return None if line is None else row_of(line)

    async def is_usable(self) -> bool:
        """Whether it can be read, and written."""
        try:
            self._connection.execute(_IS_THERE, (0, "")).fetchone()
        except sqlite3.Error:
            return False
        return self.journal.can_write()

    async def claim(self, row: Row, vaulted: Vaulted | None) -> Claimed | Existing:
        """Insert a row, with its token where it has one, unless the transaction has a row already."""
        try:
            return await self.journal.submit(self._claim, (row, vaulted))
        except sqlite3.Error as error:
            raise StoreUnavailableError(type(error).__name__) from error

    def _claim(self, connection: sqlite3.Connection, claims: Sequence[_Claim]) -> Sequence[Claimed | Existing]:
        told = _claim(connection, claims)
        self._fresh = {
            row.id: (row.owner, row.fence)
            for (row, _vaulted), each in zip(claims, told, strict=True)
            if row.state is State.RUNNING and isinstance(each, Claimed)
        }
        self._changes = connection.total_changes
        return told

    async def holds(self, row: Row) -> bool:
        """Whether the row still is running under this owner and fence.

        Nobody else writes: whoever does must hold the home's lock. So where nothing was written since the claim there
        is nothing to look up, and a look-up outside of a transaction takes and gives back the file's locks.
        """
        if self._connection.total_changes == self._changes and self._fresh.get(row.id) == (row.owner, row.fence):
            return True
        found = self._connection.execute(
            "SELECT 1 FROM ledger WHERE id = ? AND fence = ? AND owner = ? AND state = 'running'",
            (row.id, row.fence, row.owner),
        ).fetchone()
        return found is not None

    async def take_over(self, row: Row, *, owner: str, lease_until_ms: int, now_ms: int) -> Row | None:
        """Make a running row whose lease is over this owner's, under the next fence; None where another was quicker."""
        return await self.journal.submit(_take_over, (row, owner, lease_until_ms, now_ms))

    async def record(self, settlement: Settlement) -> bool:
        """Take the edge, if the row still stands where the settlement says under the same fence."""
        return await self.journal.submit(_record, settlement)

    async def unsettled(self, *, claimed_before_ms: int) -> Sequence[Row]:
        """Return the rows that are running or in doubt and were claimed before then, oldest first."""
        return unsettled_rows(self._connection, claimed_before_ms=claimed_before_ms)

    async def void_leases(self, *, but_of: str) -> int:
        """End the leases of all other owners: whoever holds the home's lock knows that they are dead."""
        return self.journal.run(
            lambda connection: (
                connection.execute(
                    "UPDATE ledger SET lease_until_ms = 0"
                    " WHERE state = 'running' AND owner <> ? AND lease_until_ms > 0",
                    (but_of,),
                ).rowcount
            )
        )

    def note(self, note: Note) -> None:
        """Add to a history with the next commit."""
        self.journal.submit_unwaited(_note, note)

    # --- Registry ---

    def found(self, installation: str, now_ms: int) -> None:
        """Give a new database its installation's id."""
        self.journal.run(
            lambda connection: connection.execute("INSERT INTO installation VALUES (?, ?)", (installation, now_ms))
        )

    def add_instance(self, instance: Instance, credentials: Sequence[Credential], act: Act) -> None:
        """Add an instance with its first credentials."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO instance VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    instance.id,
                    instance.unique_name,
                    instance.username,
                    instance.mode.value,
                    " ".join(sorted(instance.allow)),
                    instance.processor,
                    instance.dialect.value,
                    instance.enabled,
                    instance.require_cvv,
                    instance.save_card_on_charge,
                    instance.rate_per_s,
                    act.at_ms,
                ),
            )
            _add_credentials(connection, credentials)
            _keep(connection, act)

        self.journal.run(work)

    def set_enabled(self, instance_id: int, act: Act, *, enabled: bool) -> None:
        """Enable or disable an instance."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE instance SET enabled = ? WHERE id = ?", (enabled, instance_id))
            _keep(connection, act)

        self.journal.run(work)

    def replace_credentials(self, instance_id: int, kind: str, credentials: Sequence[Credential], act: Act) -> None:
        """Make these the only valid credentials of that kind."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM credential WHERE instance_id = ? AND kind = ?", (instance_id, kind))
            _add_credentials(connection, credentials)
            _keep(connection, act)

        self.journal.run(work)

    def add_access_token(self, token: AccessToken, act: Act) -> None:
        """Remember an access token."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO access_token VALUES (?, ?, ?, ?, ?, ?)",
                (
                    token.id,
                    token.instance_id,
                    " ".join(token.scopes),
                    token.issued_at_ms,
                    token.expires_at_ms,
                    token.revoked_at_ms,
                ),
            )
            _keep(connection, act)

        self.journal.run(work)

    def revoke_access_token(self, token_id: str, act: Act) -> None:
        """Revoke an access token. The first revocation counts."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE access_token SET revoked_at_ms = coalesce(revoked_at_ms, ?) WHERE id = ?",
                (act.at_ms, token_id),
            )
            _keep(connection, act)

        self.journal.run(work)

    def add_keys(self, keys: Sequence[WrappedKey], act: Act) -> None:
        """Add wrapped keys."""

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT INTO key VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        k.id,
                        k.purpose.value,
                        k.wrapped,
                        k.kek_id,
                        k.is_active,
                        k.created_at_ms,
                        k.seals,
                    )
                    for k in keys
                ],
            )
            _keep(connection, act)

        self.journal.run(work)

    def reserve_seals(self, key_id: int, seals: int) -> int:
        """Reserve that many seals of a key, durably; return how many are reserved in all."""

        def work(connection: sqlite3.Connection) -> int:
            connection.execute("UPDATE key SET seals = seals + ? WHERE id = ?", (seals, key_id))
            (reserved,) = connection.execute("SELECT seals FROM key WHERE id = ?", (key_id,)).fetchone()
            return int(reserved)

        try:
            return self.journal.run(work)
        except sqlite3.Error as error:
            raise StoreUnavailableError(type(error).__name__) from error

    def purge(self, rows: Sequence[str], pending: Sequence[str], *, before_ms: int, act: Act | None) -> Purged:
        """Delete these rows with their histories, and these pending tokens, as far as they are past their time."""

        def work(connection: sqlite3.Connection) -> Purged:
            if act is not None:
                _keep(connection, act)
            purged = Purged()
            for id_ in rows:
                purged = _purge_row(connection, id_, before_ms, purged)
            for id_ in pending:
                done = connection.execute(f"DELETE FROM vault WHERE token_id = ? AND {_LEFT_PENDING}", (id_,))  # noqa: S608 - ours
                purged = replace(purged, pending=purged.pending + done.rowcount)
            return purged

        return self.journal.run(work)

    def keep(self, act: Act) -> None:
        """Keep an act that changed nothing else here."""
        self.journal.run(lambda connection: _keep(connection, act))


def _purge_row(connection: sqlite3.Connection, id_: str, before_ms: int, purged: Purged) -> Purged:
    done = connection.execute(f"DELETE FROM ledger WHERE id = :id AND {_PAST}", {"id": id_, "before_ms": before_ms})  # noqa: S608 - ours
    if not done.rowcount:
        return purged
    notes = connection.execute("DELETE FROM note WHERE row_id = ?", (id_,))
    return replace(purged, rows=purged.rows + 1, notes=purged.notes + notes.rowcount)


def _add_credentials(connection: sqlite3.Connection, credentials: Iterable[Credential]) -> None:
    connection.executemany(
        "INSERT INTO credential VALUES (?, ?, ?, ?, ?)",
        [(c.instance_id, c.kind, c.hash, c.key_id, c.created_at_ms) for c in credentials],
    )


def _keep(connection: sqlite3.Connection, act: Act) -> None:
    connection.execute(
        "INSERT INTO act VALUES (?, ?, ?, ?, ?)",
        (act.at_ms, act.actor, act.action, act.target, act.result),
    )
