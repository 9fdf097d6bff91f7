"""`doctor`: what is wrong with this installation, and how to mend it.

Each check looks and changes nothing, beside a running server too, and yields findings: `error` is something
that does not work or must not be so, `warning` something that will not do in production or will not do for
long, `ok` the rest. A finding that is not ok says what to do. Exit status 1 where there is an error.

The checks go from the ground up; where one floor is missing, what stands on it is not looked at.
"""

import glob
import os
import resource
import shlex
import shutil
import sqlite3
import stat
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import click

from generic_connector.administration import RETENTION_MONTHS, iso, months_before
from generic_connector.cli.acts import Served, reading, served
from generic_connector.cli.options import command, example, home_option, json_option
from generic_connector.cli.output import GAP, plain, say_json, words
from generic_connector.custody.file import FileKek, NoKekError
from generic_connector.envelope import SEALS_MAX, Purpose, TamperedError, key_aad
from generic_connector.home import (
    CONTROL_SOCKET,
    HomeError,
    configured_processors,
    database_path,
    fault_of,
    how_to_open,
    kek_path,
    wall_clock,
)
from generic_connector.identity import PASSWORD, days_left
from generic_connector.instance import Instance, Mode
from generic_connector.journal import read_only, version_warning
from generic_connector.ledger import Row, State
from generic_connector.ports import KekProvider
from generic_connector.processors import BUILT_IN, UnknownProcessorError, find_processor
from generic_connector.processors.sandbox import book_path, read_faults
from generic_connector.processors.sandbox import migrations as migrations_of_the_book
from generic_connector.recovery import LEFT_TO_THE_RETRY_MS
from generic_connector.settings import CONFIG_FILE, BadSettingsError, Settings, load_settings
from generic_connector.stores.sqlite import (
    SqliteReader,
    claimed_first_and_last,
    migrations,
    schema_version,
    some_past,
    unsettled_rows,
)

TOKEN_DAYS_LEFT_MIN = 14
FREE_BYTES_WARNED = 2**30
FREE_BYTES_MIN = 100 * 2**20
CLOCK_AHEAD_MS_MAX = 60_000
CLOCK_MS_MIN = 1_767_225_600_000
"""2026-01-01, before this program was written: a clock that says less was never set."""

_OTHERS_ENTER, _OTHERS_WRITE = 0o077, 0o022
_DEFAULT = "Default"
_IDS_SHOWN = 3


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, and what mends it."""

    level: Level
    check: str
    finding: str
    mend: str | None = None


Findings = Iterator[Finding]


@click.command("doctor", epilog=example("doctor --home var"))
@home_option
@json_option
@click.pass_context
def doctor(context: click.Context, home: Path, *, as_json: bool) -> None:
    """Say what is wrong, and how to mend it.

    Changes nothing. Exit status 1 where there is an error.
    """
    findings = list(examine(home))
    if as_json:
        say_json([{"level": f.level, "check": f.check, "finding": f.finding, "mend": f.mend} for f in findings])
    else:
        _say(findings)
    context.exit(1 if any(finding.level is Level.ERROR for finding in findings) else 0)


def _say(findings: Sequence[Finding]) -> None:
    width = max(len(finding.check) for finding in findings)
    for found in findings:
        level = click.style(f"{found.level:<7}", fg=_COLOURS[found.level])
        click.echo(f"{level}{GAP}{found.check:<{width}}{GAP}{plain(found.finding)}")
        if found.mend is not None:
            click.echo(f"{'':<7}{GAP}{'':<{width}}{GAP}mend: {plain(found.mend)}")
    levels = Counter(finding.level for finding in findings)
    click.echo(f"\nerrors: {levels[Level.ERROR]}, warnings: {levels[Level.WARNING]}")


def examine(home: Path) -> Findings:
    """Yield what is found, from the ground up."""
    fault = fault_of(home)
    if fault is not None:
        yield Finding(Level.ERROR, "home", *fault)
        return
    yield from _check_home(home)
    yield from _check_machine()
    yield from _check_server(home)
    try:
        settings = load_settings(home)
        database, kek = database_path(home, settings), kek_path(home, settings)
    except (BadSettingsError, HomeError) as error:
        by_default = Settings.model_construct()
        yield from _check_files(home, database_path(home, by_default), by_default)
        config = home / CONFIG_FILE
        is_closed = config.exists() and not os.access(config, os.R_OK)
        yield Finding(Level.ERROR, "config", str(error), how_to_open(config) if is_closed else f"edit {config}")
        return
    closed = yield from _check_files(home, database, settings)
    yield from _check_config(home, settings)
    yield from _check_disk(database)
    yield from _check_books(home, settings, closed)
    provider = yield from _check_kek(kek, database)
    if not closed & {database, database.parent}:
        yield from _check_database(home, database, settings, provider)


# --- The ground ------------------------------------------------------------------------------------------------------


def _check_home(home: Path) -> Findings:
    found = home.stat()
    quoted = shlex.quote(str(home))
    if found.st_mode & _OTHERS_ENTER:
        level = Level.ERROR if found.st_mode & _OTHERS_WRITE else Level.WARNING
        yield Finding(level, "home", f"others can get into {home}", f"chmod 700 {quoted}")
    else:
        yield Finding(Level.OK, "home", f"{home} is its owner's alone")


def _check_files(home: Path, database: Path, settings: Settings) -> Generator[Finding, None, frozenset[Path]]:
    """Yield what is wrong with owners and modes; return what this user cannot use.

    Copies that lie beside our files are nobody else's either, but need not be written. The KEK has a check of its own.
    """
    used = _used(home, database, settings)
    copies = {copy for path in (database, home / "sandbox") for copy in _beside(path)}
    files = [path for path in sorted({*used, *copies}) if path.exists()]
    wide = [path for path in files if stat.S_IMODE(path.lstat().st_mode) & _OTHERS_ENTER]
    foreign = [path for path in files if path.lstat().st_uid != home.stat().st_uid]
    closed = [path for path in dict.fromkeys((home, database.parent, *used)) if path.exists() and not _is_open(path)]
    if wide:
        mend = f"chmod 600 {shlex.join(map(str, wide))}"
        yield Finding(Level.ERROR, "permissions", f"others can use {words(wide)}", mend)
    if foreign:
        mend = f"chown --reference={shlex.quote(str(home))} {shlex.join(map(str, foreign))}"
        yield Finding(Level.ERROR, "owner", f"{words(foreign)} belong to another user than {home}", mend)
    if closed:
        text = f"this user cannot read and write {words(closed)}, as serve and other commands must"
        yield Finding(Level.ERROR, "permissions", text, how_to_open(*closed))
    if not wide and not foreign and not closed:
        yield Finding(Level.OK, "permissions", "all files are their owner's alone")
    return frozenset(closed)


def _used(home: Path, database: Path, settings: Settings) -> list[Path]:
    """The files that are written while the program runs, and the config."""
    books = [book_path(home, name) for name in _sandboxes(settings)]
    named = [home / CONFIG_FILE, home / "lock", home / CONTROL_SOCKET]
    return [*named, *(file for book in (database, *books) for file in _of_sqlite(book))]


def _of_sqlite(path: Path) -> list[Path]:
    """A database and what SQLite keeps beside it."""
    return [path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")]


def _beside(path: Path) -> Iterator[Path]:
    """What has a database's name, and more of it."""
    for more in ("-*", ".*"):
        yield from path.parent.glob(glob.escape(path.name) + more)


def _sandboxes(settings: Settings) -> list[str]:
    """The names of the processors that are sandboxes, each with a book of its own."""
    known = {BUILT_IN.name, BUILT_IN.value}
    return [name for name, options in configured_processors(settings).items() if options.get("use", name) in known]


def _is_open(path: Path) -> bool:
    """Whether this user can do with a path what the program does with it."""
    if path.name == CONFIG_FILE:
        return os.access(path, os.R_OK)
    return os.access(path, os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0))


def _check_machine() -> Findings:
    warning = version_warning()
    if warning is None:
        yield Finding(Level.OK, "sqlite", f"SQLite {sqlite3.sqlite_version}")
    else:
        yield Finding(Level.WARNING, "sqlite", warning, "use a Python whose SQLite is 3.51.3 or later")
    if wall_clock() < CLOCK_MS_MIN:
        yield Finding(Level.ERROR, "clock", f"the clock says {iso(wall_clock())}", "timedatectl set-ntp true")
    soft, _hard = resource.getrlimit(resource.RLIMIT_CORE)
    said = "are off" if soft == 0 else "are on in this shell; serve turns them off for itself"
    yield Finding(Level.OK, "core dumps", said)


def _check_server(home: Path) -> Findings:
    socket = home / CONTROL_SOCKET
    if not socket.exists():
        yield Finding(Level.OK, "server", "no server runs")
        return
    found = served(home)
    if found is Served.YES:
        yield Finding(Level.OK, "server", "a server runs and takes commands")
    elif found is Served.SILENT:
        text = f"whoever listens at {socket} does not answer: a server that is stopped, or has far too much to do"
        mend = "find its process: `kill -CONT PID` wakes one that is stopped; else end it, and start it again"
        yield Finding(Level.ERROR, "server", text, mend)
    else:
        yield Finding(
            Level.WARNING,
            "server",
            f"nobody answers at {socket}: the last server was killed, or is starting",
            f"start it again, which removes the socket and settles what was left: {command('serve ...', home)}",
        )


def _check_config(home: Path, settings: Settings) -> Findings:
    if not (home / CONFIG_FILE).exists():
        yield Finding(
            Level.WARNING, "config", f"{home / CONFIG_FILE} is missing, so all is as by default", command("init", home)
        )
    else:
        yield Finding(Level.OK, "config", f"{home / CONFIG_FILE} can be used")
    for name, options in settings.processors.items():
        try:
            find_processor(options.get("use", name))
        except UnknownProcessorError as error:
            yield Finding(Level.ERROR, "processors", f"{name}: {error}", f"edit {home / CONFIG_FILE}")


def _check_disk(database: Path) -> Findings:
    free = shutil.disk_usage(database.parent if database.parent.is_dir() else "/").free
    level = Level.ERROR if free < FREE_BYTES_MIN else Level.WARNING if free < FREE_BYTES_WARNED else Level.OK
    mend = (
        None
        if level is Level.OK
        else f"make room on the volume of {database.parent}: what cannot be written is refused"
    )
    yield Finding(level, "disk", f"{free // 2**20} MiB are free", mend)


def _check_books(home: Path, settings: Settings, closed: AbstractSet[Path]) -> Findings:
    """A book that cannot be used keeps serve and every act from working, whatever the processor of the instances."""
    for name in _sandboxes(settings):
        path = book_path(home, name)
        if path in closed or not path.exists() or path.stat().st_size == 0:
            continue
        try:
            with closing(read_only(path)) as connection:
                applied = schema_version(connection)
                read_faults(connection)
        except sqlite3.Error as error:
            files = shlex.join(str(file) for file in _of_sqlite(path) if file.exists())
            aside = shlex.quote(str(home / "set-aside"))
            text = f"{path} cannot be used ({type(error).__name__}: {error})"
            mend = f"mkdir -p {aside} && mv {files} {aside}, with no server running: the sandbox begins a new book"
            yield Finding(Level.ERROR, "sandbox", text, mend)
        else:
            known = len(migrations_of_the_book())
            if applied > known:
                text = f"{path} is of version {applied}, and this program knows {known}"
                yield Finding(Level.ERROR, "sandbox", text, "install the version of the program that made it")
            else:
                yield Finding(Level.OK, "sandbox", f"{path.name} opens")


# --- Keys and database -----------------------------------------------------------------------------------------------


def _check_kek(path: Path, database: Path) -> Generator[Finding, None, KekProvider | None]:
    """Yield what is found; return the KEK where it can be used."""
    try:
        provider = FileKek(path)
    except NoKekError as error:
        text, _semicolon, mend = str(error).partition("; ")
        yield Finding(Level.ERROR, "kek", text, mend.removeprefix("run: ") or "restore it from its backup")
        return None
    if path.resolve().parent == database.resolve().parent:
        yield Finding(
            Level.WARNING,
            "kek",
            "the KEK lies beside the database, so whoever copies one has both: for development only",
            'move it to another volume, and say `kek = "file:/PATH"` in config.toml',
        )
    else:
        yield Finding(Level.OK, "kek", f"{provider.kek_id} can be used")
    return provider


def _check_database(home: Path, path: Path, settings: Settings, kek: KekProvider | None) -> Findings:
    if not path.exists():
        yield Finding(Level.ERROR, "database", f"there is no database at {path}", command("init", home))
        return
    try:
        with reading(home) as connection:
            yield from _check_schema(connection)
            reader = SqliteReader(connection)
            yield from _check_keys(reader, kek)
            yield from _check_instances(home, reader, settings)
            yield from _check_credentials(home, reader)
            yield from _check_ledger(home, connection)
    except HomeError as error:
        text, _colon, mend = str(error).partition(": ")
        yield Finding(Level.ERROR, "database", text, mend)
    except (sqlite3.Error, LookupError) as error:
        text = f"{path} cannot be read ({type(error).__name__}: {error})"
        yield Finding(Level.ERROR, "database", text, "restore it from its backup")


def _check_schema(connection: sqlite3.Connection) -> Findings:
    applied, known = schema_version(connection), len(migrations())
    if applied > known:
        text = f"the database is of version {applied}, and this program knows {known}"
        yield Finding(Level.ERROR, "database", text, "install the version of the program that made it")
    elif applied < known:
        text = f"the database is of version {applied}, and this program makes {known}"
        yield Finding(Level.WARNING, "database", text, "start the server again with this version")
    else:
        yield Finding(Level.OK, "database", f"it opens, and is of version {applied}")


def _check_keys(reader: SqliteReader, kek: KekProvider | None) -> Findings:
    keys, installation, closed = reader.keys(), reader.installation(), []
    for key in keys:
        try:
            if kek is not None:
                kek.unwrap(key.wrapped, key_aad(installation, key.id, key.purpose))
        except TamperedError:
            closed.append(key.id)
    if closed:
        text = f"keys {words(closed)} do not open: another KEK wrapped them, or they were altered"
        yield Finding(Level.ERROR, "keys", text, "restore KEK and database from the same backup")
    missing = sorted(set(Purpose) - {key.purpose for key in keys if key.is_active})
    if missing:
        yield Finding(Level.ERROR, "keys", f"no key is active for {words(missing)}", "restore the database")
    if kek is not None and not closed and not missing:
        yield Finding(Level.OK, "keys", f"all {len(keys)} keys open")
    for key in keys:
        if key.purpose is Purpose.SEAL and key.is_active and key.seals > SEALS_MAX // 2:
            level = Level.ERROR if key.seals >= SEALS_MAX else Level.WARNING
            text = f"key {key.id} has {key.seals} of its {SEALS_MAX} seals reserved; then nothing more can be vaulted"
            yield Finding(level, "seals", text, "update to a version that rotates keys before that")


# --- Who may call ----------------------------------------------------------------------------------------------------


def _check_instances(home: Path, reader: SqliteReader, settings: Settings) -> Findings:
    instances = reader.instances()
    if not instances:
        add = command(f"instance add {_DEFAULT}", home)
        yield Finding(Level.WARNING, "instances", "there is no instance, so nobody can call", add)
        return
    yield Finding(Level.OK, "instances", f"there are {len(instances)}")
    if _DEFAULT not in {instance.unique_name for instance in instances}:
        text = f"none is called {_DEFAULT}: a <Pay> that names no paymentConnector finds nothing"
        yield Finding(Level.WARNING, "instances", text, command(f"instance add {_DEFAULT}", home))
    if all(instance.mode is Mode.TEST for instance in instances):
        text = "all are in test mode: only the published test numbers pass"
        yield Finding(Level.WARNING, "instances", text, command("instance add NAME --mode live --processor P", home))
    yield from _check_processors(instances, settings)


def _check_processors(instances: Sequence[Instance], settings: Settings) -> Findings:
    for instance in instances:
        if instance.processor not in {"sandbox", *settings.processors}:
            text = f"{instance.unique_name} uses the processor {instance.processor}, which config.toml does not have"
            yield Finding(Level.ERROR, "processors", text, f"add [processors.{instance.processor}] to config.toml")


def _check_credentials(home: Path, reader: SqliteReader) -> Findings:
    names = {instance.id: instance.unique_name for instance in reader.instances()}
    now_ms = wall_clock()
    for token in reader.access_tokens():
        left = days_left(token, now_ms)
        if token.revoked_at_ms is None and left < TOKEN_DAYS_LEFT_MIN:
            name = names[token.instance_id]
            said = f"ended at {iso(token.expires_at_ms)}" if token.expires_at_ms <= now_ms else f"ends in {left} days"
            scopes = " ".join(f"--scope {scope}" for scope in token.scopes)
            issue = command(f"access-token issue --instance {name} {scopes}", home)
            mend = f"{issue}; then {command(f'access-token revoke {token.id}', home)}"
            yield Finding(Level.WARNING, "access tokens", f"{token.id} of {name} {said}", mend)
    passwords = Counter(c.instance_id for c in reader.credentials() if c.kind == PASSWORD)
    for instance_id, count in passwords.items():
        if count > 1:
            name = names[instance_id]
            text = f"{name} has {count} valid passwords: the older one was left from a rotation"
            mend = command(f"instance rotate-password {name} --revoke-old", home)
            yield Finding(Level.WARNING, "passwords", text, mend)


# --- Payments --------------------------------------------------------------------------------------------------------


def _check_ledger(home: Path, connection: sqlite3.Connection) -> Findings:
    now_ms = wall_clock()
    yield from _check_unsettled(home, unsettled_rows(connection, claimed_before_ms=now_ms), now_ms)
    first_ms, last_ms = claimed_first_and_last(connection)
    if last_ms is not None and last_ms > now_ms + CLOCK_AHEAD_MS_MAX:
        text = f"the last payment was at {iso(last_ms)}, and the clock says {iso(now_ms)}"
        yield Finding(Level.ERROR, "clock", text, "timedatectl set-ntp true")
    past_ms = months_before(now_ms, RETENTION_MONTHS)
    # The first row alone would not do: one that is in doubt stays, however old it is. It only spares the search.
    if first_ms is not None and first_ms < past_ms and some_past(connection, past_ms, 1)[0]:
        text = f"there are payments that ended before {iso(past_ms)}: they are past {RETENTION_MONTHS} months"
        yield Finding(Level.WARNING, "retention", text, command("vault purge", home))


def _check_unsettled(home: Path, rows: Sequence[Row], now_ms: int) -> Findings:
    in_doubt = [row.id for row in rows if row.state is State.IN_DOUBT]
    left = [
        row.id
        for row in rows
        if row.state is State.RUNNING
        and row.lease_until_ms <= now_ms
        and row.claimed_at_ms < now_ms - LEFT_TO_THE_RETRY_MS
    ]
    running = len(rows) - len(in_doubt) - len(left)
    if in_doubt:
        text = f"{_payments(len(in_doubt), 'is', 'are')} in doubt: money may have moved ({_some(in_doubt)})"
        settle = command("reconcile settle ID captured|not-captured --reason TEXT", home)
        mend = f"{command('reconcile --once', home)}; where that finds nothing out: {settle}"
        yield Finding(Level.ERROR, "payments", text, mend)
    if left:
        text = f"{_payments(len(left), 'was', 'were')} left running by a server that ended ({_some(left)})"
        yield Finding(Level.WARNING, "payments", text, command("reconcile --once", home))
    if running:
        yield Finding(Level.OK, "payments", f"{_payments(running, 'is', 'are')} at work, or left to Twilio's retry")
    if not rows:
        yield Finding(Level.OK, "payments", "none is unsettled")


def _payments(count: int, one: str, many: str) -> str:
    return f"1 payment {one}" if count == 1 else f"{count} payments {many}"


def _some(ids: Sequence[str]) -> str:
    return words(ids[:_IDS_SHOWN]) + (" ..." if len(ids) > _IDS_SHOWN else "")
