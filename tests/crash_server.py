"""A gateway that dies on order: the child processes of `test_crash`.

Started once, it imports the program and forks a gateway for every line of JSON on stdin (an `Order`), so that hundreds
of starts cost little. The gateway is the real one: uvicorn on a real port, one home that all of them share. It prints
`pid N` and `ready URL`; when it has ended, this prints `ended STATUS`, as `waitpid` has it.

Death comes from outside: the objects that the connector is given are wrapped, and the connections that sqlite3 makes.
No line of the program knows of it. It is SIGKILL, so nothing is tidied up.
"""

import asyncio
import json
import os
import secrets
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import MutableMapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, cast

import uvicorn
import uvloop

from generic_connector.home import Installation, assemble, locked, wall_clock
from generic_connector.ledger import Row
from generic_connector.payment import Approved, LookUpResult, NotFound, PurchaseResult
from generic_connector.ports import Claimed, Existing, Processor, Purchase, Settlement, Vaulted
from generic_connector.server import Listener, serve
from generic_connector.settings import load_settings
from generic_connector.telemetry import EventLog, gate_other_logs


class Point(StrEnum):
    """Where a gateway dies."""

    CLAIMED = "between claim and purchase"
    CAPTURED = "between capture and record"
    RECORDED = "between record and reply"
    COMMITTING = "in a group commit"
    ANY_TIME = "at any time"
    """Killed by who ordered it; here it is simply served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One gateway: where it dies, and at how many times it has come there.

    `book` is the database whose commit it dies in, `fuse_s` how long after that commit began; None: before it began.
    `is_forgetful` puts a broken adapter before the bank: a new key for every send, and look-ups that find nothing.
    """

    point: Point = Point.ANY_TIME
    at: int = 0
    book: str = "ledger.db"
    fuse_s: float | None = None
    is_forgetful: bool = False
    is_stopped_at_start: bool = False
    clock_ahead_s: float = 0


class Death:
    """Comes at the so-manieth time that it is met."""

    def __init__(self, at: int) -> None:
        self._left = at

    def is_due(self) -> bool:
        self._left -= 1
        return self._left == 0

    def meet(self) -> None:
        if self.is_due():
            die()


def die() -> NoReturn:
    """End this process where it stands."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


# --- What is wrapped -------------------------------------------------------------------------------------------------


class DoomedProcessor:
    """The sandbox, with death before or after the capture."""

    def __init__(self, bank: Processor, point: Point, death: Death) -> None:
        self.traits = bank.traits
        self.check, self.verify, self.look_up = bank.check, bank.verify, bank.look_up
        self.is_reachable, self.close = bank.is_reachable, bank.close
        self._bank, self._point, self._death = bank, point, death

    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        if self._point is Point.CLAIMED:
            self._death.meet()
        result = await self._bank.purchase(purchase)
        if self._point is Point.CAPTURED and isinstance(result, Approved):
            self._death.meet()
        return result


class ForgetfulProcessor:
    """An adapter that promises to honour keys and to look up, and does neither."""

    def __init__(self, bank: Processor) -> None:
        self.traits = bank.traits
        self.check, self.verify = bank.check, bank.verify
        self.is_reachable, self.close = bank.is_reachable, bank.close
        self._bank = bank

    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        return await self._bank.purchase(replace(purchase, idempotency_key=secrets.token_hex()))

    async def look_up(self, idempotency_key: str) -> LookUpResult:  # noqa: ARG002 - that is the point
        return NotFound()


def wrap(parts: Installation, order: Order) -> None:
    """Put death, and forgetfulness, between the connector and what it was given."""
    death = Death(order.at)
    processors = cast("MutableMapping[str, Processor]", parts.processors)
    if order.is_forgetful:
        processors["sandbox"] = ForgetfulProcessor(processors["sandbox"])
    processors["sandbox"] = DoomedProcessor(processors["sandbox"], order.point, death)
    store = parts.store
    claim, record = store.claim, store.record

    async def claim_and_die(row: Row, vaulted: Vaulted | None) -> Claimed | Existing:
        claimed = await claim(row, vaulted)
        if row.state.is_terminal:  # a token: claimed and recorded at once
            death.meet()
        return claimed

    async def record_and_die(settlement: Settlement) -> bool:
        recorded = await record(settlement)
        death.meet()
        return recorded

    if order.point is Point.RECORDED:
        store.claim = claim_and_die  # type: ignore[method-assign]
        store.record = record_and_die  # type: ignore[method-assign]


def doom_commits(order: Order) -> None:
    """Make every connection of this process one that dies in a commit."""

    class DoomedConnection(sqlite3.Connection):
        def __init__(self, path: str | Path, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - sqlite3's
            super().__init__(path, *args, **kwargs)
            self._death = Death(order.at if Path(path).name == order.book else 0)

        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:  # noqa: ANN401 - sqlite3's
            if sql != "COMMIT" or not self._death.is_due():
                return super().execute(sql, *args)
            if order.fuse_s is not None:
                threading.Thread(target=burn, args=(order.fuse_s,)).start()
                super().execute(sql)
            die()

    sqlite3.connect = partial(sqlite3.connect, factory=DoomedConnection)  # type: ignore[assignment]


def burn(seconds: float) -> None:
    """A fuse: SQLite lets go of the interpreter while it writes and syncs."""
    time.sleep(seconds)
    die()


def stop_at_start() -> None:
    """Let SIGTERM come when uvicorn is about to listen."""
    startup = uvicorn.Server.startup

    async def stopped(server: uvicorn.Server, *args: Any) -> None:  # noqa: ANN401 - uvicorn's
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.05)
        await startup(server, *args)

    uvicorn.Server.startup = stopped  # type: ignore[method-assign, assignment]


# --- Serving ---------------------------------------------------------------------------------------------------------


async def serve_until_death(home: Path, order: Order, log: EventLog) -> None:
    """What `generic-connector serve` does, on a free port, without TLS."""
    ahead_ms = int(order.clock_ahead_s * 1000)
    parts = await assemble(home, load_settings(home), log, clock=lambda: wall_clock() + ahead_ms)
    wrap(parts, order)
    try:
        await serve(parts, Listener(port=0), lambda url: tell(f"ready {url}"))
    finally:
        await parts.close()


def run(home: Path, order: Order) -> None:
    """Be one gateway."""
    tell(f"pid {os.getpid()}")
    log = EventLog(sys.stderr, wall_clock, "error")
    gate_other_logs(log)
    if order.point is Point.COMMITTING:
        doom_commits(order)
    if order.is_stopped_at_start:
        stop_at_start()
    with locked(home), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_until_death(home, order, log))


def tell(text: str) -> None:
    """Print a line at once, and whole."""
    os.write(1, f"{text}\n".encode())


def main(home: Path) -> None:
    """Fork a gateway for every order. Nothing here has a thread or an event loop."""
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                run(home, Order(**{**order, "point": Point(order["point"])}))
                status = 0
            finally:
                os._exit(status)
        _child, status = os.waitpid(child, 0)
        tell(f"ended {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
