"""Speed, as ratios of one run: what a payment costs over what the server costs that does nothing.

Server and load have a core each. The no-op is Starlette on the same uvicorn, with the same TLS; it must
saturate its core, or the ratios would flatter the payments, and the bench says so. Each figure is taken at 1
and at 32 connections, in many short rounds that take turns, since a machine's speed drifts from second to
second while it is measured: a ratio is the median of the rounds' ratios, each to the no-op of its own round.
Afterwards the books are read: every request must have been a success, and must be there.

Only wrk is used: a client in Python would be the bottleneck, and oha cannot give every request a transaction
id of its own.
"""

import argparse
import base64
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import IO, Any

from generic_connector.certificates import make_development_certificates

HERE = Path(__file__).parent
SERVER_CORE, LOAD_CORE = 0, 1
SATURATED = 0.9
Server = tuple[int, str]
"""A process id and a URL."""
KINDS = ("noop", "tokenize", "charge", "replay")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement. Times in milliseconds; `busy` is the share of its core that the server used."""

    kind: str
    connections: int
    requests: int
    per_s: float
    p50_ms: float
    p99_ms: float
    failed: int
    busy: float


def main() -> int:
    """Measure, print, check the books."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1, help="how long each measurement lasts (default 1)")
    parser.add_argument(
        "--rounds", type=int, default=15, help="how often each is taken; the median counts (default 15)"
    )
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 32], help="default: 1 32")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.stderr.write(
            "error: wrk is needed (Debian: apt-get install wrk); a client in Python would be measured instead\n"
        )
        return 1
    if (os.cpu_count() or 1) <= LOAD_CORE:
        sys.stderr.write("error: two cores are needed, one for the server and one for the load\n")
        return 1
    with tempfile.TemporaryDirectory() as directory:
        return bench(Path(directory), options)


def bench(directory: Path, options: argparse.Namespace) -> int:
    """Run everything in a directory of its own."""
    certificates = make_development_certificates(directory / "certs", now=datetime.now(UTC))
    home = directory / "home"
    _command("init", home)
    added = json.loads(_command("instance", "add", "Default", home, "--json"))
    credential = base64.b64encode(f"{added['username']}:{added['password']}".encode()).decode()
    tls = [str(certificates.certificate), str(certificates.key)]
    figures: list[Figure] = []
    replay_run = uuid.uuid4().hex
    with _noop(tls) as (noop, noop_url), _gateway(home, tls) as (gateway, gateway_url):
        for connections in options.connections:
            for kind in KINDS * options.rounds:
                process, url = (noop, noop_url) if kind == "noop" else (gateway, gateway_url)
                environment = {"KIND": kind, "CREDENTIAL": credential, "RUN": replay_run}
                server = (process.pid, url)
                figures.append(_measure(kind, server, connections, options.seconds, environment))
    wrong = _check(figures, home, max(options.connections))
    _print(figures, wrong, as_json=options.json)
    return 1 if wrong else 0


# --- Servers and load ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _noop(tls: list[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "noop:app",
        "--app-dir",
        str(HERE),
        "--port",
        "18444",
        "--http",
        "httptools",
    ]
    command += ["--loop", "uvloop", "--no-access-log", "--ssl-certfile", tls[0], "--ssl-keyfile", tls[1]]
    with _process(command, stderr=subprocess.PIPE) as process:
        _until(process.stderr, "running on")
        yield process, "https://localhost:18444/"


@contextlib.contextmanager
def _gateway(home: Path, tls: list[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "generic_connector", "serve", "--home", str(home), "--host", "localhost"]
    command += ["--port", "0", "--tls-cert", tls[0], "--tls-key", tls[1]]
    with (home / "log").open("w") as log, _process(command, stderr=log) as process:
        line = _until(process.stdout, "ready on")
        yield process, f"{line.split()[-1]}/"


@contextlib.contextmanager
def _process(command: list[str], *, stderr: int | IO[str]) -> Iterator[subprocess.Popen[str]]:
    pinned = ["taskset", "--cpu-list", str(SERVER_CORE), *command]
    with subprocess.Popen(pinned, stdout=subprocess.PIPE, stderr=stderr, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def _until(stream: IO[str] | None, word: str) -> str:
    for line in stream or ():
        if word in line:
            return line
    raise RuntimeError("a server did not start")


def _measure(kind: str, server: Server, connections: int, seconds: float, environment: Mapping[str, str]) -> Figure:
    pid, url = server
    command = ["taskset", "--cpu-list", str(LOAD_CORE), "wrk", "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{seconds:.0f}s", "--script", str(HERE / "payments.lua"), url]
    used_before = _cpu_s(pid)
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    busy = (_cpu_s(pid) - used_before) / seconds
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return Figure(
        kind,
        connections,
        said["requests"],
        said["requests"] / said["seconds"],
        said["p50_ms"],
        said["p99_ms"],
        said["failed"],
        busy,
    )


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _command(*words: object) -> str:
    """Run a command of ours; a path among the words is the home."""
    said = [part for word in words for part in (["--home", str(word)] if isinstance(word, Path) else [str(word)])]
    return subprocess.run(
        [sys.executable, "-m", "generic_connector", *said], capture_output=True, text=True, check=True
    ).stdout


# --- The books -------------------------------------------------------------------------------------------------------


def _check(figures: list[Figure], home: Path, in_flight: int) -> list[str]:
    """Whether every request was a success and is in the books. wrk leaves what is in flight at its end uncounted."""
    wrong = [f"{f.kind} at {f.connections}: {f.failed} requests failed" for f in figures if f.failed]
    wrong += [
        f"the no-op at {f.connections} used {f.busy:.0%} of its core: something else was the bottleneck"
        for f in figures
        if f.kind == "noop" and f.connections > 1 and f.busy < SATURATED
    ]
    books = {
        "tokenize": _count(home / "ledger.db", "ledger WHERE method = 'tokenize' AND state = 'saved'"),
        "charge": _count(home / "ledger.db", "ledger WHERE method = 'charge' AND state = 'approved'") - 1,
    }
    for kind, found in books.items():
        counted = sum(f.requests for f in figures if f.kind == kind)
        runs = sum(f.kind == kind for f in figures)
        if not counted <= found <= counted + runs * in_flight:
            wrong.append(f"{kind}: {counted} were answered, {found} are in the ledger")
    vaulted, captured = _count(home / "ledger.db", "vault"), _count(home / "sandbox.db", "purchase")
    if vaulted != books["tokenize"]:
        wrong.append(f"{books['tokenize']} tokens in the ledger, {vaulted} in the vault")
    if captured != books["charge"] + 1:
        wrong.append(f"{books['charge'] + 1} charges in the ledger, {captured} in the processor's book")
    return wrong


def _count(path: Path, what: str) -> int:
    with contextlib.closing(sqlite3.connect(path)) as book:
        return int(book.execute(f"SELECT count(*) FROM {what}").fetchone()[0])  # noqa: S608 - ours


def _row(connections: int, kind: str, figures: list[Figure]) -> dict[str, str | int | float]:
    """The medians of the rounds."""
    rounds = [f for f in figures if (f.connections, f.kind) == (connections, kind)]
    noops = [f for f in figures if (f.connections, f.kind) == (connections, "noop")]
    ratios = [f.per_s / noop.per_s for f, noop in zip(rounds, noops, strict=True)]
    return {
        "kind": kind,
        "connections": connections,
        "requests_per_s": round(median(f.per_s for f in rounds)),
        "p50_ms": round(median(f.p50_ms for f in rounds), 2),
        "p99_ms": round(median(f.p99_ms for f in rounds), 2),
        "ratio": round(median(ratios), 3),
        "ratio_min": round(min(ratios), 3),
        "ratio_max": round(max(ratios), 3),
        "p99_ratio": round(median(f.p99_ms / noop.p99_ms for f, noop in zip(rounds, noops, strict=True)), 2),
        "busy": round(median(f.busy for f in rounds), 2),
    }


def _print(figures: list[Figure], wrong: list[str], *, as_json: bool) -> None:
    rows = [
        _row(connections, kind, figures)
        for connections, kind in dict.fromkeys((f.connections, f.kind) for f in figures)
    ]
    if as_json:
        sys.stdout.write(json.dumps({"figures": rows, "wrong": wrong}, indent=2) + "\n")
        return
    sys.stdout.write(
        f"{'':10} {'conns':>5} {'req/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'ratio':>6} {'min..max':>12} {'p99 x':>6}"
        f" {'core':>5}\n"
    )
    for row in rows:
        sys.stdout.write(
            f"{row['kind']:10} {row['connections']:5} {row['requests_per_s']:8} {row['p50_ms']:8} {row['p99_ms']:8}"
            f" {row['ratio']:6} {row['ratio_min']:5}..{row['ratio_max']:5} {row['p99_ratio']:6} {row['busy']:5.0%}\n"
        )
    sys.stdout.write(
        "".join(f"WRONG: {line}\n" for line in wrong) or "Every request was a success and is in the books.\n"
    )


if __name__ == "__main__":
    began = time.monotonic()
    status = main()
    sys.stderr.write(f"{time.monotonic() - began:.0f} s\n")
    sys.exit(status)
