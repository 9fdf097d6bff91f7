"""The journal: one SQLite file, one writer, and what arrives together is committed together.

SQLite is durable with `synchronous=FULL` in WAL mode: a commit is on disk before it returns. A commit costs a sync, so
work is collected while the event loop goes round, and committed as one transaction (**group commit**) once three turns
have brought nothing more: under load the sync is shared by all who came together, and whoever is alone waits for three
idle turns, some microseconds beside the sync.

All of it happens on the event loop's own thread. A writer thread was measured and is slower: sqlite3 lets go of the GIL
at every statement, and the loop does not give it back for five milliseconds.

Work is submitted as (function, item). The function gets the connection and all the items of one batch, and returns one
result for each, so that a hundred inserts are one `executemany`. The rules of failure:

- a batch that fails is rolled back, and each item is tried alone, so that one bad item does not harm its neighbours;
- an item that fails alone gets the exception, and nothing of it was written;
- where a stranger has locked the file, no item is to blame: all get the exception, after one wait;
- a COMMIT that fails tells nothing about what is on disk (an fsync that failed once may lie the next time): nobody is
  answered, and the process ends. The next start reads what is there.

Other processes may read with connections of their own (`read_only`), which never write and never checkpoint. SQLite
before 3.51.3 can corrupt a WAL with two writers; here there is one, which holds a lock on the home (`version_warning`
tells).
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Batch = Callable[[sqlite3.Connection, Sequence[Item]], Sequence[Result]]

WAL_RESET_FIXED_IN = (3, 51, 3)
_WAL_RESET_BACKPORTS = {(3, 44): 6, (3, 50): 7}
_STATEMENTS_CACHED = 512
_CHECKPOINT_PAGES = 16_000
"""How long the WAL grows, in pages of 4 KiB, before it is copied into the database: a page that many commits touch is
then copied once. 64 MiB, sixteen times SQLite's default: the copying is a pause, and there are fewer of them."""
QUIET_TURNS = 3
"""After so many turns of the loop in a row that have brought nothing, what is queued is committed. A request comes to
its claim by several turns, so one quiet turn says little: with one, thirty-two charges that had come together were
committed in two halves."""
TURNS_MAX = 8
"""At most this many turns of the loop go by before what is queued is committed: well under a millisecond."""
_MIGRATIONS = "CREATE TABLE IF NOT EXISTS migration (number INTEGER PRIMARY KEY, applied_at TEXT NOT NULL) STRICT"


class NotAJournalError(Exception):
    """The file is no SQLite database, or one of a newer version of this program. Restore it, or update the program."""


def version_warning(version: tuple[int, int, int] = sqlite3.sqlite_version_info) -> str | None:
    """Return what is wrong with the SQLite in use, or None."""
    backport = _WAL_RESET_BACKPORTS.get(version[:2])
    if version >= WAL_RESET_FIXED_IN or (backport is not None and version[2] >= backport):
        return None
    return (
        f"SQLite {'.'.join(map(str, version))} can lose commits in WAL mode when two connections write; 3.51.3 cannot. "
        "This program has one writer: never write to its files with another."
    )


def read_only(path: Path) -> sqlite3.Connection:
    """Return a connection that can only read, for commands beside a running server."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5, isolation_level=None)


class Journal:
    """The one writer of a SQLite file.

    `end` is called with the exception of a COMMIT that failed, and does not return.
    """

    def __init__(self, path: Path, migrations: Sequence[str], end: Callable[[BaseException], NoReturn]) -> None:
        self._end = end
        self._queue: dict[Batch[Any, Any], list[tuple[Any, asyncio.Future[Any] | None]]] = {}
        self._queued = 0
        self._turns = 0
        self._has_failed = False
        path.touch(mode=0o600, exist_ok=True)
        self.connection = sqlite3.connect(
            path,
            timeout=5,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_STATEMENTS_CACHED,
        )
        try:
            for pragma in (
                "journal_mode=WAL",
                "synchronous=FULL",
                "foreign_keys=ON",
                "secure_delete=ON",
                f"wal_autocheckpoint={_CHECKPOINT_PAGES}",
            ):
                self.connection.execute(f"PRAGMA {pragma}")
            self._migrate(migrations)
        except sqlite3.DatabaseError as error:
            self.connection.close()
            raise NotAJournalError(f"{path.name} cannot be used: {error}") from error
        except NotAJournalError:
            self.connection.close()
            raise

    def close(self) -> None:
        """Commit what is queued, and close."""
        self._flush()
        self.connection.close()

    # --- Work of one batch ---

    def submit(self, batch: Batch[Item, Result], item: Item) -> asyncio.Future[Result]:
        """Queue `item` for the next commit. The future has its result once that commit is on disk."""
        loop = self._loop if self._queue else self._begin()
        future: asyncio.Future[Result] = loop.create_future()
        self._enqueue(batch, item, future)
        return future

    def submit_unwaited(self, batch: Batch[Item, Result], item: Item) -> None:
        """Queue `item` for the next commit; nobody waits for it."""
        if not self._queue:
            self._begin()
        self._enqueue(batch, item, None)

    def _begin(self) -> asyncio.AbstractEventLoop:
        """Begin a batch. The loop is asked for once in it: each time is a system call."""
        self._loop = asyncio.get_running_loop()
        self._turns = 0
        self._loop.call_soon(self._turn, 0, 0)
        return self._loop

    def _enqueue(self, batch: Batch[Any, Any], item: object, future: asyncio.Future[Any] | None) -> None:
        self._queue.setdefault(batch, []).append((item, future))
        self._queued += 1

    def _turn(self, queued_before: int, quiet: int) -> None:
        """Commit once some turns of the loop have brought nothing more: who is right behind comes along."""
        quiet = 0 if self._queued > queued_before else quiet + 1
        if quiet < QUIET_TURNS and self._turns < TURNS_MAX:
            self._turns += 1
            self._loop.call_soon(self._turn, self._queued, quiet)
        else:
            self._flush()

    def _flush(self) -> None:
        self._queued = 0
        queue, self._queue = self._queue, {}
        if not queue:
            return
        try:
            with self._transaction():
                answers = [
                    (future, result)
                    for batch, entries in queue.items()
                    for (_item, future), result in zip(
                        entries, batch(self.connection, [item for item, _future in entries]), strict=True
                    )
                ]
            self._has_failed = False
        except Exception as error:  # noqa: BLE001 - whatever it was, somebody waits for it
            self._has_failed = True
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                for future in (future for entries in queue.values() for _item, future in entries):
                    if future is not None and not future.done():
                        future.set_exception(error)
            else:
                self._flush_one_by_one(queue)
            return
        for future, result in answers:
            if future is not None and not future.done():
                future.set_result(result)

    def _flush_one_by_one(self, queue: dict[Batch[Any, Any], list[tuple[Any, asyncio.Future[Any] | None]]]) -> None:
        for batch, entries in queue.items():
            for item, future in entries:
                try:
                    with self._transaction():
                        (result,) = batch(self.connection, [item])
                except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for this item
                    if future is not None and not future.done():
                        future.set_exception(error)
                else:
                    if future is not None and not future.done():
                        future.set_result(result)

    def can_write(self) -> bool:
        """Whether commits go through. After one that did not, whether the file can be written now."""
        if not self._has_failed:
            return True
        (patience_ms,) = self.connection.execute("PRAGMA busy_timeout").fetchone()
        try:
            self.connection.execute("PRAGMA busy_timeout = 0")
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.execute("ROLLBACK")
        except sqlite3.Error:
            return False
        finally:
            self.connection.execute(f"PRAGMA busy_timeout = {int(patience_ms)}")
        self._has_failed = False
        return True

    # --- Work at once ---

    def run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Do `work` in a transaction of its own, now. For rare work: administration, start-up, tests."""
        with self._transaction():
            return work(self.connection)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self.connection.in_transaction:  # a full disk has rolled it back already
                self.connection.execute("ROLLBACK")
            raise
        try:
            self.connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - nothing may go on after it, whatever it was
            self._end(error)

    # --- Migrations ---

    def _migrate(self, migrations: Sequence[str]) -> None:
        """Apply the migrations that are missing, each in its own transaction, in order."""
        self.connection.execute(_MIGRATIONS)
        (applied,) = self.connection.execute("SELECT coalesce(max(number), 0) FROM migration").fetchone()
        if applied > len(migrations):
            raise NotAJournalError("the database was made by a newer version of this program")
        for number, script in enumerate(migrations[applied:], start=applied + 1):
            self.connection.executescript(
                f"BEGIN IMMEDIATE; {script}; INSERT INTO migration VALUES ({number}, datetime('now')); COMMIT"  # noqa: S608 - a number
            )
