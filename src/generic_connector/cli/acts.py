"""Acts: how a command changes something, and how it reads much.

Whoever holds the home's lock may write. Where the lock is free, the command takes it and does the act itself;
where a server has it, the server is asked through its control socket and the act takes effect there at once.
Where neither works, another command has the lock for a moment: the act is tried again for a few seconds. An
act that was asked and not answered is never asked again: it may have been done.

What reads many rows does not ask anybody: it reads the files with connections that cannot write.
"""

import asyncio
import os
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from enum import Enum, auto
from pathlib import Path
from typing import Any

from generic_connector.cli.options import command
from generic_connector.home import (
    CONTROL_SOCKET,
    HomeError,
    HomeLockedError,
    assemble,
    database_path,
    locked,
    require_home,
    require_installation,
    wall_clock,
)
from generic_connector.journal import read_only
from generic_connector.processors.sandbox import book_path
from generic_connector.settings import load_settings
from generic_connector.telemetry import EventLog
from generic_connector.web.control import NoAnswerError, NoServerError, ask

_TRIED_FOR_S = 5.0
_PAUSE_S = 0.05
_ANSWER_TIMEOUT_S = 30.0
_LONG_ANSWER_TIMEOUT_S = {"reconcile": 3600.0}
"""Looking up many payments at a slow processor takes its time; everything else is a commit or two."""


def act(home: Path, name: str, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """Do one administrative act, here or in the running server. Returns its JSON. Raises `RefusedError`."""
    give_up_at = time.monotonic() + _TRIED_FOR_S
    while True:
        try:
            with locked(home):
                return asyncio.run(_do(home, name, arguments))
        except HomeLockedError:
            pass
        try:
            return ask(home / CONTROL_SOCKET, name, arguments, _LONG_ANSWER_TIMEOUT_S.get(name, _ANSWER_TIMEOUT_S))
        except NoAnswerError as error:
            raise NoAnswerError(f"{error}; whether the server is at work, `{command('doctor', home)}` says") from None
        except NoServerError:
            if time.monotonic() > give_up_at:
                raise HomeLockedError(
                    f"another process uses {home} and takes no commands: wait for it to end, or end it"
                ) from None
        time.sleep(_PAUSE_S)


async def _do(home: Path, name: str, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
    log = EventLog(sys.stderr, wall_clock, "warning")
    parts = await assemble(home, load_settings(home), log)
    try:
        return await parts.administration.do(name, arguments, actor=f"uid {os.getuid()}")
    finally:
        await parts.close()


@contextmanager
def lock_for_server(home: Path) -> Iterator[None]:
    """Hold the home's lock. A command that has it is waited for; where a server has it, raises `HomeLockedError`."""
    give_up_at = time.monotonic() + _TRIED_FOR_S
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(home))
                break
            except HomeLockedError:
                if served(home) is Served.YES or time.monotonic() > give_up_at:
                    raise HomeLockedError(
                        f"a server runs on {home} already, and a SQLite home has one: stop it, or give another --home"
                    ) from None
            time.sleep(_PAUSE_S)
        yield


class Served(Enum):
    """What is at a home's control socket."""

    YES = auto()
    NO = auto()
    SILENT = auto()
    """Something listens and does not answer: a server that is stopped, or has far too much to do."""


def served(home: Path) -> Served:
    """Return whether a server answers at the home's control socket."""
    try:
        ask(home / CONTROL_SOCKET, "instance list", {}, _TRIED_FOR_S)
    except NoServerError:
        return Served.NO
    except NoAnswerError:
        return Served.SILENT
    return Served.YES


@contextmanager
def reading(home: Path) -> Iterator[sqlite3.Connection]:
    """Read the ledger, the vault and the registry, beside a running server or without one."""
    require_home(home)
    path = database_path(home, load_settings(home))
    if not path.exists():
        raise HomeError(f"there is no database at {path}: run `generic-connector init --home {home}`")
    with _reading(path) as connection:
        require_installation(home, path, connection)
        yield connection


@contextmanager
def reading_sandbox(home: Path) -> Iterator[sqlite3.Connection | None]:
    """Read the sandbox's book. None before its first purchase."""
    require_home(home)
    book = book_path(home, "sandbox")
    if not book.exists():
        yield None
        return
    with _reading(book) as connection:
        yield connection


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    connection = read_only(path)
    try:
        yield connection
    finally:
        connection.close()
