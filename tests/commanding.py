"""The command line under test: in this process, and as a server in a process of its own.

Whatever a command prints passes one judgement here, in every test: no card number in it, and no traceback.
"""

import asyncio
import json
import logging
import re
import signal
import ssl
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from click.testing import CliRunner
from stdnum import luhn

from generic_connector.certificates import DevelopmentCertificates, make_development_certificates
from generic_connector.cli import program
from generic_connector.home import wall_clock
from generic_connector.ledger import Row, State
from generic_connector.payment import Method
from generic_connector.ports import Vaulted
from generic_connector.stores.sqlite import open_sqlite

WAIT_S = 30
VISA = "4111111111111111"
COMMAND = [sys.executable, "-m", "generic_connector"]
_UUID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LIKE_ANYBODY = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, which let root pass every mode
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP: gone with the exec that follows
os.execv(sys.executable, [sys.executable, "-m", "generic_connector", *sys.argv[1:]])
"""
_RUN = re.compile(r"[0-9](?:[ .\-]?[0-9]){11,}")


@dataclass(frozen=True)
class Done:
    """What a command did: its exit status, and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.out)


@contextmanager
def mouths_as_they_were() -> Iterator[None]:
    """Undo what a server does to its process: all that it says, other libraries' logs too, goes through one gate."""
    known = [
        logging.getLogger(),
        *(one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)),
    ]
    loggers = [(one, one.handlers[:], one.level, one.propagate) for one in known]
    last, hooks = logging.lastResort, (sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning)
    try:
        yield
    finally:
        for logger, handlers, level, propagate in loggers:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
        logging.lastResort = last
        sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning = hooks


def run(home: Path | None, *words: str, typed: str | None = None) -> Done:
    """Run one command in this process."""
    named = [] if home is None else ["--home", str(home)]
    with mouths_as_they_were():
        result = CliRunner().invoke(program, [*words, *named], input=typed, prog_name="generic-connector")
    done = Done(result.exit_code, result.stdout, result.stderr)
    judge(done)
    return done


def run_like_anybody(home: Path, *words: str) -> Done:
    """Run one command in a process for which the modes of files count, though the tests be run by root."""
    ended = subprocess.run(
        [sys.executable, "-c", _LIKE_ANYBODY, *words, "--home", str(home)],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    result = Done(ended.returncode, ended.stdout, ended.stderr)
    judge(result)
    return result


def done(home: Path, *words: str, typed: str | None = None) -> Done:
    """Run one command, which must succeed."""
    result = run(home, *words, typed=typed)
    assert result.status == 0, (words, result.err)
    return result


def shown(home: Path, *words: str) -> Any:  # noqa: ANN401 - JSON
    """Run one command, which must succeed, with `--json`."""
    return done(home, *words, "--json").json


def judge(result: Done) -> None:
    """No card number, and no traceback, in anything that anybody prints. A UUID is a carrier's id, and holds none."""
    for text in (result.out, result.err):
        assert "Traceback" not in text
        for found in _RUN.findall(_UUID.sub("", text)):
            digits = re.sub("[^0-9]", "", found)
            for length in range(12, min(19, len(digits)) + 1):
                starts = range(len(digits) - length + 1)
                assert not any(luhn.is_valid(digits[start : start + length]) for start in starts), text


# --- A server --------------------------------------------------------------------------------------------------------


@dataclass
class Server:
    """A server in a process of its own, and its first line."""

    home: Path
    process: subprocess.Popen[str]
    errors: Path
    tls: ssl.SSLContext | bool
    line: str = ""

    @property
    def url(self) -> str:
        return self.line.removeprefix("ready on ").strip()

    def ended(self) -> Done:
        """Wait for its end; return what it printed after its first line."""
        rest, _nothing = self.process.communicate(timeout=WAIT_S)
        result = Done(self.process.returncode, rest, self.errors.read_text())
        judge(result)
        return result

    def stop(self, number: int = signal.SIGTERM) -> Done:
        """Send a signal, and wait for the end."""
        self.process.send_signal(number)
        return self.ended()

    def client(self, username: str = "", password: str = "", **options: Any) -> httpx.Client:  # noqa: ANN401 - httpx's
        auth = (username, password) if username else None
        return httpx.Client(base_url=self.url, verify=self.tls, auth=auth, timeout=WAIT_S, **options)

    def pay(self, credentials: tuple[str, str], transaction_id: str, **fields: object) -> httpx.Response:
        """Send a charge of one dollar, or what the fields say."""
        with self.client(*credentials) as client:
            return client.post("/", json=charge(transaction_id, **fields))


@contextmanager
def serving(home: Path, *options: str, certificates: DevelopmentCertificates | None = None) -> Iterator[Server]:
    """Start a server, and read its first line. Without certificates: plain HTTP."""
    tls: ssl.SSLContext | bool = True
    if certificates is None:
        listener = ["--plain-http"]
    else:
        listener = ["--tls-cert", str(certificates.certificate), "--tls-key", str(certificates.key)]
        tls = ssl.create_default_context(cafile=certificates.ca)
    words = [*COMMAND, "serve", *listener, *(options or ("--port", "0")), "--home", str(home)]
    errors = home.parent / f"{home.name}.stderr"
    with (
        errors.open("w") as file,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=file, text=True) as process,
    ):
        assert process.stdout is not None
        server = Server(home, process, errors, tls)
        try:
            server.line = process.stdout.readline()
            yield server
        finally:
            process.kill()


def certificates_in(directory: Path) -> DevelopmentCertificates:
    """Make certificates for localhost."""
    return make_development_certificates(directory, now=datetime.now(UTC))


def charge(transaction_id: str, **fields: object) -> dict[str, object]:
    """Return the body of a charge of one dollar, changed by the fields."""
    return {
        "method": "charge",
        "transaction_id": transaction_id,
        "cardnumber": VISA,
        "cvv": "123",
        "expiry_month": "12",
        "expiry_year": str(datetime.now(UTC).year + 2),
        "amount": "1.00",
        "currency_code": "USD",
        **fields,
    }


# --- A ledger --------------------------------------------------------------------------------------------------------


def put(home: Path, name: str, state: State, at_ms: int | None = None, **changes: Any) -> Row:  # noqa: ANN401 - a row's fields
    """Write a row straight into the ledger, with a pending token where it names one. Returns it."""
    at_ms = wall_clock() if at_ms is None else at_ms
    fields: dict[str, Any] = {
        "id": f"ch_{name}",
        "instance_id": 1,
        "transaction_id": name,
        "method": Method.CHARGE,
        "state": state,
        "digest": b"",
        "digest_key_id": 3,
        "owner": "boot_gone",
        "fence": 1,
        "lease_until_ms": 0,
        "processor": "sandbox",
        "idempotency_key": f"gc_{name}",
        "kind": "card",
        "brand": "visa",
        "bin": "411111",
        "last4": "1111",
        "fingerprint": b"f" * 32,
        "fingerprint_key_id": 2,
        "amount_minor": 100,
        "currency": "USD",
        "reference": None,
        "confirmation_number": None,
        "token_id": None,
        "request_id": f"req_{name}",
        "claimed_at_ms": at_ms,
        "recorded_at_ms": at_ms if state.is_terminal else None,
    }
    row = Row(**{**fields, **changes})
    vaulted = None if row.token_id is None else _pending(row)
    store = open_sqlite(home / "ledger.db", _end)
    try:
        asyncio.run(_claim(store, row, vaulted))
    finally:
        store.close()
    return row


async def _claim(store: Any, row: Row, vaulted: Vaulted | None) -> None:  # noqa: ANN401 - the store
    await store.claim(row, vaulted)


def _pending(row: Row) -> Vaulted:
    return Vaulted(
        token_id=str(row.token_id),
        instance_id=row.instance_id,
        is_active=False,
        kind=row.kind,
        brand=row.brand,
        bin=row.bin,
        last4=row.last4,
        sealed=b"sealed",
        key_id=1,
        fingerprint=row.fingerprint,
        fingerprint_key_id=row.fingerprint_key_id,
        created_at_ms=row.claimed_at_ms,
    )


def _end(error: BaseException) -> Any:  # noqa: ANN401 - never returns
    raise error
