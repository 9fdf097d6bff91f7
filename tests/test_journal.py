"""The journal: what arrives together is committed together, and nobody is told what is not on disk."""

import asyncio
import sqlite3
import stat
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from generic_connector.journal import QUIET_TURNS, TURNS_MAX, Journal, NotAJournalError, read_only, version_warning

SCHEMA = """
CREATE TABLE word (text TEXT PRIMARY KEY);
CREATE TABLE parent (id INTEGER PRIMARY KEY);
CREATE TABLE child (parent INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE strict_word (text TEXT PRIMARY KEY ON CONFLICT ROLLBACK)
"""


class EndedError(BaseException):
    """Stands for the end of the process."""


class FakeEnd:
    """Ends nothing, and remembers why it should have."""

    def __init__(self) -> None:
        self.reasons: list[BaseException] = []

    def __call__(self, reason: BaseException) -> NoReturn:
        self.reasons.append(reason)
        raise EndedError


@pytest.fixture
def end() -> FakeEnd:
    """What the journal calls where it must not go on."""
    return FakeEnd()


@pytest.fixture
def journal(tmp_path: Path, end: FakeEnd) -> Iterator[Journal]:
    """A journal on a new file."""
    made = Journal(tmp_path / "test.db", [SCHEMA], end)
    yield made
    made.connection.close()


def add(connection: sqlite3.Connection, words: Sequence[str]) -> Sequence[int]:
    """Insert words that must be new, and answer with their lengths."""
    connection.executemany("INSERT INTO word VALUES (?)", [(word,) for word in words])
    return [len(word) for word in words]


def add_shouting(connection: sqlite3.Connection, words: Sequence[str]) -> Sequence[str]:
    """Insert words in capitals, one by one, and answer with them."""
    for word in words:
        connection.execute("INSERT INTO word VALUES (?)", (word.upper(),))
    return [word.upper() for word in words]


def add_child(connection: sqlite3.Connection, parents: Sequence[int]) -> Sequence[None]:
    """Insert children. Whether their parents exist is asked at COMMIT, which fails if they do not."""
    connection.executemany("INSERT INTO child VALUES (?)", [(parent,) for parent in parents])
    return [None] * len(parents)


def add_strictly(connection: sqlite3.Connection, words: Sequence[str]) -> Sequence[None]:
    """Insert words into a table on which a conflict rolls back the whole transaction, as a full disk does."""
    connection.executemany("INSERT INTO strict_word VALUES (?)", [(word,) for word in words])
    return [None] * len(words)


def words_in(journal: Journal) -> list[str]:
    """Return the words that are committed, in their order."""
    return [text for (text,) in journal.connection.execute("SELECT text FROM word ORDER BY rowid")]


def traced(journal: Journal) -> list[str]:
    """Return a list to which every statement that begins or ends a transaction will be added."""
    statements: list[str] = []
    journal.connection.set_trace_callback(
        lambda statement: (
            statements.append(statement) if statement.split()[0] in {"BEGIN", "COMMIT", "ROLLBACK"} else None
        )
    )
    return statements


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a story on an event loop of its own."""
    asyncio.run(story())


async def turns(count: int = TURNS_MAX + 2) -> None:
    """Let the event loop go round so many times: more often than the journal ever waits."""
    for _ in range(count):
        await asyncio.sleep(0)


# --- Group commit ----------------------------------------------------------------------------------------------------


def test_what_arrives_together_is_committed_together(journal: Journal) -> None:
    """A hundred items of one turn, from two kinds of work, are one transaction; each gets its own result."""
    statements = traced(journal)

    async def story() -> None:
        lengths = [journal.submit(add, "x" * number) for number in range(1, 51)]
        shouted = [journal.submit(add_shouting, f"word {number}") for number in range(50)]

        assert list(range(1, 51)) == await asyncio.gather(*lengths)
        assert [f"WORD {number}" for number in range(50)] == await asyncio.gather(*shouted)

    run(story)

    assert ["BEGIN IMMEDIATE", "COMMIT"] == statements
    assert 100 == len(words_in(journal))


def test_those_right_behind_are_taken_along(journal: Journal) -> None:
    """What is submitted in the next turns of the loop joins the commit, but only so many turns are waited for."""
    statements = traced(journal)

    async def one_after_another(count: int) -> None:
        futures = []
        for number in range(count):
            futures.append(journal.submit(add, f"{count} {number}"))
            await asyncio.sleep(0)
        await asyncio.gather(*futures)

    async def story() -> None:
        await one_after_another(3)
        assert 1 == statements.count("COMMIT")

        await one_after_another(3 * TURNS_MAX)
        assert 1 < statements.count("COMMIT") <= 5

    run(story)


def test_a_pause_between_two_does_not_part_them(journal: Journal) -> None:
    """A request comes to its claim by several turns: who is a little behind is still in the same commit."""
    statements = traced(journal)

    async def story() -> None:
        first = journal.submit(add, "first")
        await turns(QUIET_TURNS - 1)
        await asyncio.gather(first, journal.submit(add, "second"))

    run(story)

    assert ["BEGIN IMMEDIATE", "COMMIT"] == statements


def test_nobody_waits_for_company(journal: Journal) -> None:
    """An item that comes alone is committed when a few turns of the loop have brought nothing more."""

    async def story() -> None:
        for word in ("alone", "alone again"):
            future = journal.submit(add, word)
            await turns(QUIET_TURNS + 1)

            assert future.done()

    run(story)


def test_nobody_is_answered_before_the_commit(journal: Journal) -> None:
    """While a waiter is not answered nothing is written, and once it is another connection reads it."""

    async def story() -> None:
        future = journal.submit(add, "a")
        before = (future.done(), words_in(journal))
        await future
        reader = read_only(Path(journal.connection.execute("PRAGMA database_list").fetchone()[2]))
        after = reader.execute("SELECT text FROM word").fetchall()
        reader.close()

        assert (False, []) == before
        assert [("a",)] == after

    run(story)


def test_unwaited_work_is_committed_too(journal: Journal) -> None:
    """Work for which nobody waits is in the same commit as the rest, and its failure harms nobody."""
    statements = traced(journal)

    async def story() -> None:
        journal.submit_unwaited(add, "unwaited")
        await journal.submit(add, "waited")

        assert ["BEGIN IMMEDIATE", "COMMIT"] == statements

        journal.submit_unwaited(add, "waited")  # a duplicate
        assert 5 == await journal.submit(add, "again")

    run(story)

    assert ["unwaited", "waited", "again"] == words_in(journal)


def test_closing_commits_what_is_queued(journal: Journal, tmp_path: Path) -> None:
    """What was submitted before the journal closed is on disk after it, and its waiters are answered."""

    async def story() -> None:
        future = journal.submit(add, "last")
        journal.close()

        assert 4 == await future
        await turns()

    run(story)
    reader = read_only(tmp_path / "test.db")
    found = reader.execute("SELECT text FROM word").fetchall()
    reader.close()

    assert [("last",)] == found


def test_work_after_the_end_is_refused(journal: Journal) -> None:
    """Whoever submits to a closed journal gets an exception, and does not wait for ever."""
    journal.close()

    async def story() -> None:
        with pytest.raises(sqlite3.ProgrammingError):
            await journal.submit(add, "late")

    run(story)


# --- Failure ---------------------------------------------------------------------------------------------------------


def test_a_bad_item_fails_alone(journal: Journal) -> None:
    """One bad item among many gets its exception, and its neighbours, of other work too, are written."""

    async def story() -> None:
        results = await asyncio.gather(
            *(journal.submit(add, word) for word in ("a", "b", "a", "c")),
            journal.submit(add_shouting, "d"),
            return_exceptions=True,
        )

        assert [1, 1, 1, "D"] == [result for result in results if not isinstance(result, BaseException)]
        assert isinstance(results[2], sqlite3.IntegrityError)

    run(story)

    assert ["a", "b", "c", "D"] == words_in(journal)


def test_an_item_that_fails_leaves_nothing_behind(journal: Journal) -> None:
    """What a failing item had written before it failed is rolled back."""

    def add_and_fail(connection: sqlite3.Connection, words: Sequence[str]) -> Sequence[None]:
        add(connection, words)
        raise LookupError(words[0])

    async def story() -> None:
        with pytest.raises(LookupError, match="half"):
            await journal.submit(add_and_fail, "half")
        await journal.submit(add, "whole")

    run(story)

    assert ["whole"] == words_in(journal)


def test_work_must_answer_every_item(journal: Journal) -> None:
    """Work that returns too few results is written for nobody: each of its items gets an exception."""

    def forgetful(connection: sqlite3.Connection, words: Sequence[str]) -> Sequence[int]:
        add(connection, words)
        return []

    async def story() -> None:
        results = await asyncio.gather(
            journal.submit(forgetful, "a"), journal.submit(forgetful, "b"), return_exceptions=True
        )

        assert [ValueError, ValueError] == [type(result) for result in results]

    run(story)

    assert [] == words_in(journal)


def test_a_rollback_by_sqlite_itself_is_no_trouble(journal: Journal) -> None:
    """Where SQLite has rolled back already, as on a full disk, the neighbours are written all the same."""

    async def story() -> None:
        results = await asyncio.gather(
            *(journal.submit(add_strictly, word) for word in ("a", "a", "b")), return_exceptions=True
        )

        assert [type(None), sqlite3.IntegrityError, type(None)] == [type(result) for result in results]

    run(story)

    assert [("a",), ("b",)] == journal.connection.execute("SELECT text FROM strict_word").fetchall()
    assert not journal.connection.in_transaction


def test_a_locked_file_fails_a_whole_batch_at_once(journal: Journal, tmp_path: Path) -> None:
    """Where another process writes, no item is tried alone, one wait after the other: all fail, and go on later."""
    journal.connection.execute("PRAGMA busy_timeout = 0")
    intruder = sqlite3.connect(tmp_path / "test.db", isolation_level=None)
    intruder.execute("BEGIN IMMEDIATE")
    statements = traced(journal)

    async def story() -> None:
        journal.submit_unwaited(add, "unwaited")
        gone, *waiting = [journal.submit(add, word) for word in ("gone", "a", "b")]
        gone.cancel()
        results = await asyncio.gather(*waiting, return_exceptions=True)

        assert [sqlite3.OperationalError] * 2 == [type(result) for result in results]
        assert ["BEGIN IMMEDIATE"] == statements

        intruder.execute("ROLLBACK")
        assert 5 == await journal.submit(add, "later")

    run(story)
    intruder.close()

    assert ["later"] == words_in(journal)


def test_a_waiter_that_left_breaks_nothing(journal: Journal) -> None:
    """A cancelled waiter's item is written, and its neighbours are answered, whether all goes well or not."""

    async def story() -> None:
        gone, stays = journal.submit(add, "gone"), journal.submit(add, "stays")
        gone.cancel()
        assert 5 == await stays

        gone, bad, stays = (journal.submit(add, word) for word in ("gone too", "gone", "stays too"))
        gone.cancel()
        assert 9 == await stays
        assert isinstance(bad.exception(), sqlite3.IntegrityError)

        bad, stays = journal.submit(add, "gone"), journal.submit(add, "stays at last")
        bad.cancel()
        assert 13 == await stays

    run(story)

    assert ["gone", "stays", "gone too", "stays too", "stays at last"] == words_in(journal)


@pytest.mark.parametrize("bad_neighbour", [False, True], ids=["in a batch", "one by one"])
def test_a_commit_that_fails_ends_the_process(journal: Journal, end: FakeEnd, *, bad_neighbour: bool) -> None:
    """Where a COMMIT fails, `end` is called with the reason, and nobody is answered, neither well nor badly."""
    unhandled: list[BaseException] = []

    async def story() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: unhandled.append(context["exception"]))
        if bad_neighbour:
            journal.submit_unwaited(add, "a")
            journal.submit_unwaited(add, "a")
        child, behind_it = journal.submit(add_child, 1), journal.submit(add_shouting, "b")
        await turns()

        assert [False, False] == [child.done(), behind_it.done()]

    run(story)

    assert [sqlite3.IntegrityError] == [type(reason) for reason in end.reasons]
    assert [EndedError] == [type(error) for error in unhandled]


def test_the_same_commit_succeeds_where_nothing_is_wrong(journal: Journal, end: FakeEnd) -> None:
    """Control: with its parent there the child is committed, and nothing ends."""
    journal.run(lambda connection: connection.execute("INSERT INTO parent VALUES (1)"))

    async def story() -> None:
        await journal.submit(add_child, 1)

    run(story)

    assert [] == end.reasons
    assert [(1,)] == journal.connection.execute("SELECT parent FROM child").fetchall()


# --- Work at once ----------------------------------------------------------------------------------------------------


def test_work_at_once_is_a_transaction_of_its_own(journal: Journal) -> None:
    """`run` commits and returns what the work returned."""
    statements = traced(journal)

    result = journal.run(lambda connection: add(connection, ["abc"])[0])

    assert (3, ["BEGIN IMMEDIATE", "COMMIT"]) == (result, statements)


def test_work_at_once_that_fails_is_rolled_back(journal: Journal) -> None:
    """`run` raises what the work raised, and nothing of it was written."""
    with pytest.raises(sqlite3.IntegrityError):
        journal.run(lambda connection: add(connection, ["a", "a"]))

    assert [] == words_in(journal)
    assert not journal.connection.in_transaction


def test_work_at_once_whose_commit_fails_ends_the_process(journal: Journal, end: FakeEnd) -> None:
    """A failing COMMIT ends the process here too."""
    with pytest.raises(EndedError):
        journal.run(lambda connection: add_child(connection, [1]))

    assert [sqlite3.IntegrityError] == [type(reason) for reason in end.reasons]


# --- The file --------------------------------------------------------------------------------------------------------


def test_the_file_is_durable_and_strict(journal: Journal) -> None:
    """Write-ahead log, a sync at every commit, foreign keys, and deleted content overwritten."""
    pragmas = ["journal_mode", "synchronous", "foreign_keys", "secure_delete"]

    actual = [journal.connection.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in pragmas]

    assert ["wal", 2, 1, 1] == actual


def test_the_file_is_its_owners_alone(journal: Journal, tmp_path: Path) -> None:
    """The database and the files that SQLite keeps beside it can be read by their owner and nobody else."""
    journal.run(lambda connection: add(connection, ["a"]))

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}

    assert dict.fromkeys(["test.db", "test.db-shm", "test.db-wal"], 0o600) == dict(sorted(modes.items()))


def test_a_reader_cannot_write(journal: Journal, tmp_path: Path) -> None:
    """A connection for reading sees what is committed, and is refused when it writes."""
    journal.run(lambda connection: add(connection, ["a"]))
    reader = read_only(tmp_path / "test.db")

    found = reader.execute("SELECT text FROM word").fetchall()
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("INSERT INTO word VALUES ('b')")
    reader.close()

    assert [("a",)] == found


def test_a_reader_takes_any_path(tmp_path: Path, end: FakeEnd) -> None:
    """Spaces, question marks and percent signs in a path are no part of the reader's options."""
    folder = tmp_path / "a b?mode=rwc%20#c"
    folder.mkdir()
    Journal(folder / "test.db", [SCHEMA], end).close()

    reader = read_only(folder / "test.db")
    found = reader.execute("SELECT count(*) FROM word").fetchone()
    reader.close()

    assert (0,) == found


def test_reading_does_not_make_a_file(tmp_path: Path) -> None:
    """Where there is no database a reader fails, and leaves no file behind."""
    with pytest.raises(sqlite3.OperationalError):
        read_only(tmp_path / "none.db")

    assert [] == list(tmp_path.iterdir())


# --- Migrations ------------------------------------------------------------------------------------------------------


def applied(path: Path) -> list[int]:
    """Return the numbers of the migrations that a file has had."""
    reader = read_only(path)
    numbers = [number for (number,) in reader.execute("SELECT number FROM migration ORDER BY rowid")]
    reader.close()
    return numbers


def test_migrations_are_applied_in_order_and_once(tmp_path: Path, end: FakeEnd) -> None:
    """A new file gets all migrations; an old one gets those that it lacks, and nothing twice."""
    path = tmp_path / "test.db"
    first, second, third = (
        "CREATE TABLE a (x)",
        "ALTER TABLE a RENAME TO b",
        "INSERT INTO b VALUES (1); INSERT INTO b VALUES (2)",
    )

    Journal(path, [first], end).close()
    after_first = applied(path)
    Journal(path, [first, second, third], end).close()
    Journal(path, [first, second, third], end).close()

    assert ([1], [1, 2, 3]) == (after_first, applied(path))
    reader = read_only(path)
    assert [(1,), (2,)] == reader.execute("SELECT x FROM b").fetchall()
    reader.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, end: FakeEnd) -> None:
    """A broken migration is rolled back whole, the file stays as it was, and is refused."""
    path = tmp_path / "test.db"
    good = "CREATE TABLE a (x)"
    Journal(path, [good], end).close()

    with pytest.raises(NotAJournalError, match=r"test\.db cannot be used"):
        Journal(path, [good, "CREATE TABLE b (x); CREATE TABLE a (x)"], end)

    assert [1] == applied(path)
    reader = read_only(path)
    assert [("a",), ("migration",)] == reader.execute("SELECT name FROM sqlite_schema ORDER BY name").fetchall()
    reader.close()


def test_a_newer_database_is_refused(tmp_path: Path, end: FakeEnd) -> None:
    """A file that a newer version of the program has migrated is not touched, and can be opened by that version."""
    path = tmp_path / "test.db"
    Journal(path, [SCHEMA, "SELECT 1"], end).close()

    with pytest.raises(NotAJournalError, match="newer version"):
        Journal(path, [SCHEMA], end)

    Journal(path, [SCHEMA, "SELECT 1"], end).close()


@pytest.mark.parametrize("content", [b"no database" * 100, bytes(range(256)) * 64], ids=["text", "bytes"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, end: FakeEnd, content: bytes) -> None:
    """A file that is no database is refused by its name, and left as it was."""
    path = tmp_path / "test.db"
    path.write_bytes(content)

    with pytest.raises(NotAJournalError, match=r"test\.db cannot be used"):
        Journal(path, [SCHEMA], end)

    assert content == path.read_bytes()


# --- SQLite's own version --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "is_warned"),
    [
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 9), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 0), True),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
        ((4, 0, 0), False),
    ],
    ids=str,
)
def test_versions_that_can_lose_commits_are_warned_of(version: tuple[int, int, int], *, is_warned: bool) -> None:
    """Before 3.51.3, but for two back-ports, SQLite can corrupt a log that two connections write."""
    warning = version_warning(version)

    assert is_warned is (warning is not None)
    assert warning is None or f"SQLite {'.'.join(map(str, version))} " in warning


def test_the_version_in_use_is_judged() -> None:
    """Without an argument it is the SQLite that this program runs on."""
    assert version_warning(sqlite3.sqlite_version_info) == version_warning()
