"""A gateway in this process, on a real socket over real TLS: what most end-to-end tests talk to.

`serve_gateway` makes a home, puts the same parts together that `serve` does, and runs them with uvicorn in a
thread with an event loop of its own. Time is a `HandClock`. Live instances get `ApproveAll`, a processor that
approves everything and remembers what it was asked.
"""

import asyncio
import contextlib
import io
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import trustme
import uvicorn

from generic_connector.home import Installation, assemble, locked, make_home, system_randomness
from generic_connector.payment import Approved, LookUpResult, NotFound, PurchaseResult
from generic_connector.ports import Processor, Purchase, Traits
from generic_connector.server import Listener, make_gateway, uvicorn_config
from generic_connector.settings import load_settings
from generic_connector.telemetry import EventLog, Metrics

WAIT_S = 30


class HandClock:
    """A clock that stands where it is put, in milliseconds since 1970."""

    def __init__(self, at: datetime = datetime(2026, 11, 23, 12, tzinfo=UTC)) -> None:
        self.now_ms = 0
        self.put(at)

    def put(self, at: datetime) -> None:
        self.now_ms = int(at.timestamp() * 1000)

    def forward(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)

    def __call__(self) -> int:
        return self.now_ms


class ApproveAll:
    """A live processor that approves everything, once per key."""

    traits = Traits(honours_keys=True, looks_up=True, conclusive_after_s=0, is_live=True)

    def __init__(self) -> None:
        self.asked: list[Purchase] = []
        self.captured: dict[str, Approved] = {}

    def check(self, purchase: Purchase) -> str | None:  # noqa: ARG002 - the port's signature
        return None

    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        self.asked.append(purchase)
        return self.captured.setdefault(purchase.idempotency_key, Approved(authorization_code="LIVE01"))

    async def verify(self, purchase: Purchase) -> PurchaseResult:
        self.asked.append(purchase)
        return Approved()

    async def look_up(self, idempotency_key: str) -> LookUpResult:
        return self.captured.get(idempotency_key, NotFound())

    async def is_reachable(self) -> bool:
        return True

    async def close(self) -> None:
        return


@dataclass
class Served:
    """A gateway that is served, and the ways to reach into it."""

    home: Path
    url: str
    tls: ssl.SSLContext
    clock: HandClock
    live: ApproveAll
    parts: Installation
    log: io.StringIO
    metrics: Metrics
    loop: asyncio.AbstractEventLoop
    credentials: dict[str, tuple[str, str]] = field(default_factory=dict)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - whatever the coroutine returns
        """Run a coroutine on the gateway's loop, and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(WAIT_S)

    def call(self, function: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the function returns
        """Call a function on the gateway's loop, and wait for it."""

        async def once() -> Any:  # noqa: ANN401
            return function()

        return self.run(once())

    def act(self, name: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON
        """Do an administrative act."""
        return self.run(self.parts.administration.do(name, arguments, "test"))

    def add(self, unique_name: str, **arguments: object) -> dict[str, Any]:
        """Add an instance, and remember its credentials."""
        added: dict[str, Any] = self.act("instance add", unique_name=unique_name, **arguments)
        self.credentials[unique_name] = (added["username"], added["password"])
        return added

    def client(self, instance: str | None = "Default") -> httpx.Client:
        """A client that trusts the gateway, with an instance's credentials."""
        auth = None if instance is None else self.credentials[instance]
        return httpx.Client(base_url=self.url, verify=self.tls, auth=auth, timeout=WAIT_S)

    def statement(self) -> Sequence[Mapping[str, Any]]:
        """The sandbox's book: one row a captured purchase."""
        import sqlite3  # noqa: PLC0415 - here alone

        with contextlib.closing(sqlite3.connect(self.home / "sandbox.db")) as book:
            book.row_factory = sqlite3.Row
            return [dict(line) for line in book.execute("SELECT * FROM purchase WHERE state IS NOT NULL")]


@contextlib.contextmanager
def serve_gateway(
    home: Path,
    *,
    clock: HandClock | None = None,
    processors: Mapping[str, Processor] | None = None,
    environment: Mapping[str, str] | None = None,
    rebuild: Callable[[Installation], Installation] = lambda parts: parts,
) -> Iterator[Served]:
    """Serve a home until the context ends. The home may be there already: then this is a restart.

    `rebuild` may replace parts before they are served.
    """
    clock = clock or HandClock()
    make_home(home)
    if environment:
        text = "\n".join(f"{name} = {value}" for name, value in environment.items())
        (home / "config.toml").write_text(text + "\n")
    live, log = ApproveAll(), io.StringIO()
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    client_tls = ssl.create_default_context()
    authority.configure_trust(client_tls)
    ready = threading.Event()
    box: dict[str, Any] = {}

    async def main() -> None:
        parts = await assemble(
            home,
            load_settings(home),
            EventLog(log, clock, "debug"),
            clock=clock,
            randomness=system_randomness,
            processors={"live": live, **(processors or {})},
        )
        parts = rebuild(parts)
        metrics = Metrics()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        listener = Listener(host="localhost", port=0)
        server = uvicorn.Server(uvicorn_config(make_gateway(parts, metrics), listener, context, parts.settings))
        box.update(parts=parts, server=server, loop=asyncio.get_running_loop(), metrics=metrics)
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.005)
        box["port"] = server.servers[0].sockets[0].getsockname()[1]
        ready.set()
        await serving
        await parts.close()

    with locked(home):
        thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
        thread.start()
        if not ready.wait(WAIT_S):
            raise TimeoutError("the gateway did not start")
        served = Served(
            home=home,
            url=f"https://localhost:{box['port']}",
            tls=client_tls,
            clock=clock,
            live=live,
            parts=box["parts"],
            log=log,
            metrics=box["metrics"],
            loop=box["loop"],
        )
        try:
            yield served
        finally:
            for connection in list(box["server"].server_state.connections):
                box["loop"].call_soon_threadsafe(connection.transport.abort)
            box["server"].should_exit = True
            thread.join(WAIT_S)
