"""`doctor`: what is wrong with this installation, and how to mend it.

Each check looks and changes nothing, beside a running server too, and yields findings: `error` is something
that does not work or must not be so, `warning` something that will not do in production or will not do for
long, `ok` the rest. A finding that is not ok says what to do. Exit status 1 where there is an error.

The checks go from the ground up; where one floor is missing, what stands on it is not looked at.
"""

import resource
import shlex
import shutil
import sqlite3
import stat
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import click

from generic_connector.administration import RETENTION_MONTHS, iso, months_before
from generic_connector.cli.acts import SANDBOX_BOOK, is_served, reading
from generic_connector.cli.options import command, example, home_option, json_option
from generic_connector.cli.output import GAP, plain, say_json, words
from generic_connector.connector import LEFT_TO_THE_RETRY_MS
from generic_connector.custody.file import FileKek, NoKekError
from generic_connector.envelope import SEALS_MAX, Purpose, TamperedError, key_aad
from generic_connector.home import CONTROL_SOCKET, HomeError, database_path, fault_of, kek_path, wall_clock
from generic_connector.identity import PASSWORD, days_left
from generic_connector.instance import Instance, Mode
from generic_connector.journal import version_warning
from generic_connector.ledger import State
from generic_connector.ports import KekProvider
from generic_connector.processors import UnknownProcessorError, find_processor
from generic_connector.settings import CONFIG_FILE, BadSettingsError, Settings, load_settings
from generic_connector.stores.sqlite import (
    SqliteReader,
    claimed_first_and_last,
    migrations,
    schema_version,
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
        yield Finding(Level.ERROR, "config", str(error), f"edit {home / CONFIG_FILE}")
        return
    yield from _check_config(home, settings)
    yield from _check_disk(database)
    provider = yield from _check_kek(kek, database)
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
    wide, foreign = [], []
    for path in _files(home):
        status = path.lstat()
        if stat.S_IMODE(status.st_mode) & _OTHERS_ENTER:
            wide.append(shlex.quote(str(path)))
        if status.st_uid != found.st_uid:
            foreign.append(shlex.quote(str(path)))
    if wide:
        yield Finding(Level.ERROR, "permissions", f"others can use {words(wide)}", f"chmod 600 {' '.join(wide)}")
    if foreign:
        mend = f"chown --reference={quoted} {' '.join(foreign)}"
        yield Finding(Level.ERROR, "owner", f"{words(foreign)} belong to another user than {home}", mend)
    if not wide and not foreign:
        yield Finding(Level.OK, "permissions", "all files are their owner's alone")


def _files(home: Path) -> list[Path]:
    """The files of ours that are there. The KEK has a check of its own."""
    books = [path for name in (SANDBOX_BOOK, "ledger.db") for path in home.glob(f"{name}*")]
    return [path for path in (home / CONFIG_FILE, home / "lock", home / CONTROL_SOCKET, *books) if path.exists()]


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
    elif is_served(home):
        yield Finding(Level.OK, "server", "a server runs and takes commands")
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
    rows = unsettled_rows(connection, claimed_before_ms=now_ms)
    in_doubt = [row.id for row in rows if row.state is State.IN_DOUBT]
    left = [
        row.id
        for row in rows
        if row.state is State.RUNNING
        and row.lease_until_ms <= now_ms
        and row.claimed_at_ms < now_ms - LEFT_TO_THE_RETRY_MS
    ]
    if in_doubt:
        text = f"{len(in_doubt)} payments are in doubt: money may have moved ({words(in_doubt[:3])} ...)"
        settle = command("reconcile settle ID captured|not-captured --reason TEXT", home)
        mend = f"{command('reconcile --once', home)}; where that finds nothing out: {settle}"
        yield Finding(Level.ERROR, "payments", text, mend)
    if left:
        text = f"{len(left)} payments were left running by a server that ended ({words(left[:3])} ...)"
        yield Finding(Level.WARNING, "payments", text, command("reconcile --once", home))
    if not rows:
        yield Finding(Level.OK, "payments", "none is unsettled")
    first_ms, last_ms = claimed_first_and_last(connection)
    if last_ms is not None and last_ms > now_ms + CLOCK_AHEAD_MS_MAX:
        text = f"the last payment was at {iso(last_ms)}, and the clock says {iso(now_ms)}"
        yield Finding(Level.ERROR, "clock", text, "timedatectl set-ntp true")
    if first_ms is not None and first_ms < months_before(now_ms, RETENTION_MONTHS):
        text = f"the first payment was at {iso(first_ms)}: it is past {RETENTION_MONTHS} months"
        yield Finding(Level.WARNING, "retention", text, command("vault purge", home))
