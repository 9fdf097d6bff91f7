"""The home: a directory that holds one installation, and the one place where its parts are put together.

    config.toml     settings
    kek             the key-encrypting key (development; `doctor` says so)
    ledger.db       ledger, vault and registry
    sandbox.db      the sandbox processor's own book
    lock            held by whoever may write
    control.sock    where a running server takes administrative acts

One process at a time may write, and holds the lock: `serve`, or a command for as long as it runs. A command
that finds the lock taken asks the server. This is the composition root: nothing else names a concrete store,
processor or provider.
"""

import fcntl
import io
import json
import os
import pwd
import shlex
import sqlite3
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from generic_connector.administration import Administration
from generic_connector.connector import Connector
from generic_connector.custody.file import FileKek, make_kek_file
from generic_connector.identifier import Randomness, new_id
from generic_connector.identity import Directory
from generic_connector.journal import read_only, version_warning
from generic_connector.keyring import Keyring, make_keys
from generic_connector.outcome import Limits
from generic_connector.ports import Clock, KekProvider, Log, Processor, ProcessorContext
from generic_connector.processors import find_processor
from generic_connector.settings import (
    CONFIG_FILE,
    ENV_PREFIX,
    Settings,
    default_config,
    load_settings,
    written_setting,
)
from generic_connector.stores.sqlite import SqliteReader, SqliteStore, find_any, open_sqlite
from generic_connector.telemetry import places

HOME_VARIABLE = "GENERIC_CONNECTOR_HOME"
CONTROL_SOCKET = "control.sock"
EXIT_COMMIT_FAILED = 70


class HomeError(Exception):
    """The home cannot be used as it is. Says what to do."""


class HomeLockedError(HomeError):
    """Another process holds the lock: a server, or a command that is about to end."""


def wall_clock() -> int:
    """Return milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


_POOL_BYTES = 4096
_POOLED_MAX = 16
"""Ids and nonces, which are no secrets. Keys and passwords are longer, and never lie in the pool."""


class _Pool:
    """The operating system's random bytes, fetched many at a time: a payment needs three handfuls.

    No byte is given twice: to read from `BytesIO` is one step of the interpreter, and a child process starts anew.
    """

    def __init__(self) -> None:
        self.empty()
        os.register_at_fork(after_in_child=self.empty)

    def empty(self) -> None:
        """Forget what is there."""
        self._bytes = io.BytesIO()

    def take(self, count: int) -> bytes:
        """Return bytes that nobody else has."""
        if count > _POOLED_MAX:
            return os.urandom(count)
        taken = self._bytes.read(count)
        if len(taken) < count:
            self._bytes = io.BytesIO(os.urandom(_POOL_BYTES))
            taken = self._bytes.read(count)
        return taken


_pool = _Pool()
system_randomness: Randomness = _pool.take
"""Random bytes from the operating system."""


# --- Reaching --------------------------------------------------------------------------------------------------------


def fault_of(home: Path) -> tuple[str, str] | None:
    """Return why nothing can be done with a home, and what to do about it. None where there is a home to look into."""
    try:
        is_directory = stat.S_ISDIR(home.stat().st_mode)
    except FileNotFoundError:
        return f"there is no home at {home}", f"run `generic-connector init --home {shlex.quote(str(home))}`"
    except NotADirectoryError:
        return f"{home} leads through a file", "name a directory with --home"
    except PermissionError:
        return f"{home} cannot be reached by this user", "run this as the home's owner"
    if not is_directory:
        return f"{home} is a file, and a home is a directory", "name a directory with --home"
    if not os.access(home, os.R_OK | os.X_OK):
        return f"{home} is closed to this user", how_to_open(home)
    return None


def require_home(home: Path) -> None:
    """Raise `HomeError` where there is no home, or none that this user can look into."""
    fault = fault_of(home)
    if fault is not None:
        raise HomeError(": ".join(fault))


def how_to_open(path: Path, *others: Path) -> str:
    """Return what a user does who may not use paths of one owner: as that, change their modes; else, be that."""
    quoted, uid = shlex.join(map(str, (path, *others))), path.stat().st_uid
    if uid == os.geteuid():
        return f"run `chmod u+rwX {quoted}`, and see that its volume is not mounted read-only"
    try:
        owner = pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's user need not have a name
        owner = f"#{uid}"
    return f"run this as its owner, `sudo -u {shlex.quote(owner)} generic-connector ...`"


# --- Making ----------------------------------------------------------------------------------------------------------


_SCHEMES = {"database": "sqlite", "kek": "file"}


def make_home(home: Path, *, database: str | None = None, kek: str | None = None) -> list[str]:
    """Make what is missing of a home: config, KEK, database. Returns what was made. Never overwrites.

    It makes all of it or nothing. What was chosen, by an argument or in the environment, is written down in the
    config, so that who comes later with neither finds the same database and the same KEK.
    """
    if home.exists():
        require_home(home)
    asked = {"database": database, "kek": kek}
    _chosen(home, asked)  # what cannot be is refused before there is a directory
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(home):
        urls = _chosen(home, asked)
        made: list[Path] = []
        try:
            _make(home, urls, made)
        except BaseException:
            for path in made:
                for beside in ("", "-wal", "-shm"):
                    Path(f"{path}{beside}").unlink(missing_ok=True)
            raise
    return [path.name for path in made]


def _make(home: Path, urls: Mapping[str, str], made: list[Path]) -> None:
    """Make what is missing, and add to `made` what is being made."""
    database, kek = (_path_of(urls[name], scheme, home, name) for name, scheme in _SCHEMES.items())
    config = home / CONFIG_FILE
    if not config.exists():
        with os.fdopen(os.open(config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            made.append(config)
            file.write(_config(urls))
    if not kek.exists():
        if database.exists():
            raise HomeError(f"{database} is there but its KEK is not: restore {kek}; a new KEK would open nothing")
        make_kek_file(kek)
        made.append(kek)
    if not database.exists():
        made.append(database)
    store = open_sqlite(database, _end_without_log)
    try:
        _found(store, FileKek(kek))
    finally:
        store.close()


def _chosen(home: Path, asked: Mapping[str, str | None]) -> dict[str, str]:
    """Return the URLs of database and KEK. Raises `HomeError` where what is asked is not what the home has."""
    settings = load_settings(home)
    urls: dict[str, str] = {}
    for name, scheme in _SCHEMES.items():
        has = str(getattr(settings, name))
        url = asked[name]
        urls[name] = has if url is None else url
        path = _path_of(urls[name], scheme, home, name).resolve()
        is_said = (home / CONFIG_FILE).exists() or name in settings.model_fields_set
        if is_said and path != _path_of(has, scheme, home, name).resolve():
            raise HomeError(
                f"{home / CONFIG_FILE} or {ENV_PREFIX}{name.upper()} names another {name}, and nothing was changed: "
                f"leave --{name} out, or give another --home"
            )
        written = _path_of(written_setting(home, name), scheme, home, name).resolve()
        if written.exists() and not path.exists():
            raise HomeError(
                f"{home} has a {name} already, {written}, and gets no second one: leave --{name} and "
                f"{ENV_PREFIX}{name.upper()} out, or give another --home"
            )
        if path.parent != home.resolve() and not path.parent.is_dir():
            raise HomeError(f"there is no directory {path.parent} for the {name}: make it, or choose another path")
    return urls


def _found(store: SqliteStore, kek: KekProvider) -> None:
    """Give a new database its installation id and its keys."""
    try:
        store.installation()
    except LookupError:
        now_ms = wall_clock()
        store.found(new_id("in", now_ms=now_ms, randomness=system_randomness), now_ms)
    if not store.keys():
        make_keys(store, kek, system_randomness, wall_clock())


def _config(urls: Mapping[str, str]) -> str:
    """The text of a new config: the defaults as remarks, and what differs from them."""
    text = default_config()
    for name, url in urls.items():
        default = Settings.model_fields[name].default
        if url != default:
            text = text.replace(f'# {name} = "{default}"', f"{name} = {json.dumps(url)}")  # quoted as TOML quotes
    return text


def _path_of(url: str, scheme: str, home: Path, setting: str) -> Path:
    """The path of a `scheme:path` setting. Relative paths are in the home."""
    found, _colon, path = url.partition(":")
    if found != scheme or not path:
        raise HomeError(f"the setting {setting} is not of a kind that this version has: use {scheme}:PATH")
    return home / path.removeprefix("//")


def _end_without_log(_error: BaseException) -> NoReturn:
    os._exit(EXIT_COMMIT_FAILED)


# --- The lock --------------------------------------------------------------------------------------------------------


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the home's lock. Raises `HomeLockedError` at once where another process has it.

    The kernel lets go of it with the process, however that ends: who gets it knows that no earlier owner lives.
    """
    require_home(home)
    try:
        descriptor = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError:
        raise HomeError(f"this user may not write in {home}: {how_to_open(home)}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HomeLockedError(f"{home} is in use by another process: a SQLite home has one server") from None
        yield
    finally:
        os.close(descriptor)


# --- Putting it together ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """The parts of a home, put together. Whoever has it holds the lock."""

    home: Path
    settings: Settings
    store: SqliteStore
    keyring: Keyring
    processors: Mapping[str, Processor]
    directory: Directory
    connector: Connector
    administration: Administration
    clock: Clock
    randomness: Randomness
    log: Log

    async def close(self) -> None:
        """Let go of processors and files."""
        for name, processor in self.processors.items():
            try:
                await processor.close()
            except Exception as error:  # noqa: BLE001 - a processor that cannot end does not keep the others from it
                self.log("error", processor=name, error=type(error).__name__, where=places(error.__traceback__))
        self.store.close()


def database_path(home: Path, settings: Settings) -> Path:
    """Return where the database is."""
    return _path_of(settings.database, "sqlite", home, "database")


def require_installation(home: Path, path: Path, connection: sqlite3.Connection) -> None:
    """Raise `HomeError` where a database belongs to no installation: an empty file, or one that `init` did not finish.

    Whoever opens a database to write would make tables in it; so this is asked before, on a connection that reads.
    """
    try:
        SqliteReader(connection).installation()
    except LookupError:
        pass
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:  # anything but that there is no such table
            raise
    else:
        return
    raise HomeError(
        f"{path} belongs to no installation: restore it from its backup; where it never was in use, run "
        f"`generic-connector init --home {shlex.quote(str(home))}`"
    )


def kek_path(home: Path, settings: Settings) -> Path:
    """Return where the KEK is."""
    return _path_of(settings.kek, "file", home, "kek")


async def assemble(
    home: Path,
    settings: Settings,
    log: Log,
    *,
    clock: Clock = wall_clock,
    randomness: Randomness = system_randomness,
    processors: Mapping[str, Processor] | None = None,
) -> Installation:
    """Return the installation of a home, opened, with the leases of earlier boots ended. The caller holds the lock.

    `processors` are added to the configured ones, for tests and demonstrations.
    """
    path = database_path(home, settings)
    if not path.exists():
        raise HomeError(f"there is no database at {path}: run `generic-connector init --home {home}`")
    with suppress(sqlite3.Error), closing(read_only(path)) as connection:  # what is damaged is found damaged below
        require_installation(home, path, connection)
    warning = version_warning()
    if warning is not None:
        log("sqlite", version=sqlite3.sqlite_version, reason=warning)

    def end(error: BaseException) -> NoReturn:
        log("commit_failed", error=type(error).__name__)
        os._exit(EXIT_COMMIT_FAILED)

    kek = FileKek(kek_path(home, settings))
    store = open_sqlite(path, end)
    try:
        keyring = Keyring(store, kek, randomness)
    except LookupError as error:
        store.close()
        raise HomeError(f"{path} has {error}: run `generic-connector doctor`") from None
    directory = Directory(store, keyring, clock)
    available = {**_make_processors(home, settings, clock), **(processors or {})}
    owner = new_id("boot", now_ms=clock(), randomness=randomness)
    connector = Connector(
        store=store,
        keyring=keyring,
        processors=available,
        instances=directory.instances,
        clock=clock,
        randomness=randomness,
        owner=owner,
        log=log,
        limits=Limits(
            processor_timeout_s=settings.processor_timeout,
            look_up_timeout_s=settings.look_up_timeout,
            payments_at_once_max=settings.payments_at_once,
        ),
    )
    await store.void_leases(but_of=owner)
    return Installation(
        home=home,
        settings=settings,
        store=store,
        keyring=keyring,
        processors=available,
        directory=directory,
        connector=connector,
        administration=Administration(
            registry=store,
            keyring=keyring,
            directory=directory,
            connector=connector,
            processors=available,
            find_rows=lambda id_: find_any(store.journal.connection, id_),
            purge=store.purge,
            clock=clock,
            randomness=randomness,
            log=log,
        ),
        clock=clock,
        randomness=randomness,
        log=log,
    )


def _make_processors(home: Path, settings: Settings, clock: Clock) -> dict[str, Processor]:
    return {
        name: find_processor(options.get("use", name))(
            ProcessorContext(
                name=name,
                options={key: value for key, value in options.items() if key != "use"},
                home=home,
                clock=clock,
            )
        )
        for name, options in configured_processors(settings).items()
    }


def configured_processors(settings: Settings) -> dict[str, dict[str, str]]:
    """Return the sandbox, and what config.toml names."""
    return {"sandbox": {"use": "sandbox"}, **settings.processors}
