"""Nothing sensitive leaves: one server is driven through everything, and everything it left behind is searched.

Canaries (card numbers, an account number, security codes, passwords, an access token, path secrets, and the
installation's own keys) go through a real server with a processor that says all it knows (`leaky.py`), through every
success, refusal and error, a `kill -9`, a restart and an orderly end. The evidence is every file of the home at three
moments, the logs at their most talkative, all replies, metrics, what commands print, and temporary files. A control
plants every canary in copies of the same files, in shapes of its own, and must find each.
"""

import base64
import contextlib
import io
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest

import mouths
from caller import charge, debit, new_transaction_id, tokenize, until
from canaries import Canary, Evidence, collect, find, forms
from commanding import WAIT_S, Server, certificates_in, done, run, serving, shown
from generic_connector import envelope
from generic_connector.administration import RefusedError
from generic_connector.card import PUBLISHED_CARDS
from generic_connector.certificates import DevelopmentCertificates
from generic_connector.connector import Connector
from generic_connector.contract.errors import ERRORS, ErrorCode
from generic_connector.contract.request import Refusal, parse
from generic_connector.custody.file import FileKek
from generic_connector.envelope import Place, Purpose
from generic_connector.home import Installation, make_home, system_randomness
from generic_connector.instance import Dialect
from generic_connector.journal import read_only
from generic_connector.keyring import Keyring
from generic_connector.ledger import Row
from generic_connector.outcome import Limits
from generic_connector.payment import Charge
from generic_connector.ports import Claimed, Existing, Settlement, Vaulted
from generic_connector.settings import load_settings
from generic_connector.stores.sqlite import SqliteStore, open_sqlite
from generic_connector.web.control import NoAnswerError, ask
from leaky import ANSWERED, RAISED, SAID
from serving import serve_gateway

PAN = "4532016738942155"
AMEX = "371492863058178"
ACCOUNT = "64820193755640271"  # fails Luhn, so that only who knows it can mask it
NO_BRAND = "201673894212"  # passes Luhn
CVV, AMEX_CVV, UNUSED_CVV = "731", "9137", "6284"
WRONG_PASSWORD = "correcthorsebatterystaple"
SPACED, HYPHENED = " ".join(re.findall("....", PAN)), "-".join(re.findall("....", PAN))
NUMBERS = [
    Canary("card number", PAN.encode()),
    Canary("amex number", AMEX.encode()),
    Canary("account", ACCOUNT.encode()),
]
CONFIG = """
processor_timeout = 1
look_up_timeout = 0.3
drain_timeout = 0.5
body_timeout = 0.3
reconcile_every = 1
log_level = "debug"
trusted_proxies = "127.0.0.1"

[processors.leaky]
use = "leaky:create"
"""
SETTLED_AFTER_S = 2.5  # a purchase, a look-up, a second purchase and a second look-up, all too slow


# --- The drive -------------------------------------------------------------------------------------------------------


@dataclass
class Drive:
    """A server on its way through everything, and what it leaves behind: `evidence` is a directory."""

    evidence: Path
    canaries: list[Canary] = field(default_factory=list)
    heard: list[tuple[int, str | None]] = field(default_factory=list)
    paths: dict[str, str] = field(default_factory=dict)
    credentials: dict[str, tuple[str, str]] = field(default_factory=dict)
    token: str = ""
    ids: list[str] = field(default_factory=list)
    is_memory_private: bool = False
    limits: str = ""

    @property
    def home(self) -> Path:
        return self.evidence / "home"

    def write(self, name: str, text: str) -> None:
        """Add to a file of the evidence."""
        with (self.evidence / name).open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text + "\n")

    def send(self, client: httpx.Client, method: str = "POST", path: str = "/", **request: Any) -> httpx.Response:  # noqa: ANN401 - httpx's
        """Send one request, and keep the whole reply."""
        reply = client.request(method, path, **request)
        self.write("replies", f"{reply.status_code} {reply.headers!r}\n{reply.text}")
        if "json" in reply.headers.get("content-type", ""):
            body = reply.json()
            self.heard.append((reply.status_code, body.get("error_code")))
            self.ids += [body[key] for key in ("charge_id", "token_id") if body.get(key)]
        return reply

    def command(self, *words: str) -> None:
        """Run a command, whatever comes of it, and keep what it prints."""
        result = run(self.home, *words)
        self.write("commands", f"{result.status}\n{result.out}\n{result.err}")

    def snapshot(self, name: str) -> None:
        """Copy the home as it is now."""
        shutil.copytree(self.home, self.evidence / name, ignore=shutil.ignore_patterns("control.sock"))


@pytest.fixture(scope="module")
def evidence(drive: "Drive") -> Sequence[Evidence]:
    """What the drive left behind, read once."""
    return collect(drive.evidence)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    """The drive, done once."""
    base = tmp_path_factory.mktemp("leaks")
    drive = Drive(base / "evidence")
    for directory in ("", "tmp", "user"):
        (drive.evidence / directory).mkdir()
    certificates = certificates_in(base / "certificates")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        environment.setenv("TMPDIR", str(drive.evidence / "tmp"))
        environment.setenv("HOME", str(drive.evidence / "user"))
        _prepare(drive)
        _first_boot(drive, certificates)
        environment.setenv("PYTHONDEVMODE", "1")
        _second_boot(drive, certificates)
    _afterwards(drive)
    return drive


def _prepare(drive: Drive) -> None:
    """Make the home, its instances and their credentials: all but the names are canaries."""
    done(drive.home, "init")
    (drive.home / "config.toml").write_text(CONFIG)
    live = ("--mode", "live", "--processor", "leaky")
    options: Mapping[str, Sequence[str]] = {
        "Default": (),
        "Live": (*live, "--path-secret"),
        "Saving": (*live, "--save-card-on-charge"),
        "Signal": (*live, "--path-secret", "--dialect", "signalwire"),
        "Telnyx": (*live, "--dialect", "telnyx"),
        "Charging": (*live, "--allow", "charge"),
        "Slow": (*live, "--rate", "1"),
        "Off": live,
    }
    for name, chosen in options.items():
        added = shown(drive.home, "instance", "add", name, *chosen)
        drive.credentials[name] = added["username"], added["password"]
        drive.canaries.append(Canary(f"password of {name}", added["password"].encode()))
        if "path" in added:
            drive.paths[name] = added["path"]
            drive.canaries.append(Canary(f"path secret of {name}", added["path"].removeprefix("/i/").encode()))
    done(drive.home, "instance", "disable", "Off")
    issued = shown(drive.home, "access-token", "issue", "--instance", "Live", "--scope", "charge", "--expires-in", "1h")
    drive.token = issued["token"]
    drive.canaries += [
        *NUMBERS,
        Canary("access token", drive.token.encode()),
        Canary("access token's signature", drive.token.rpartition(".")[2].encode()),
        Canary("wrong password", WRONG_PASSWORD.encode()),
    ]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _first_boot(drive: Drive, certificates: DevelopmentCertificates) -> None:
    """Everything that can be asked, and a kill in the middle of three payments."""
    management = f"127.0.0.1:{_free_port()}"
    with serving(drive.home, "--port", "0", "--management", management, certificates=certificates) as server:
        with server.client() as client:
            drive.is_memory_private = drive.send(client, "GET", "/readyz").json()["processors"]["leaky"] == "ok"
        drive.limits = Path(f"/proc/{server.process.pid}/limits").read_text()
        _pay(drive, server)
        _be_refused(drive, server)
        _leak(drive, server)
        _administer(drive)
        with server.client() as client:
            for page in ("/readyz", "/healthz", "/metrics"):
                drive.send(client, "GET", page)
        drive.write("metrics", httpx.get(f"http://{management}/metrics", trust_env=False).text)
        drive.snapshot("home-while-serving")
        _kill(drive, server)
        drive.write("stdout", server.line + server.process.communicate()[0])
    drive.snapshot("home-after-kill")
    shutil.move(server.errors, drive.evidence / "stderr-of-first-boot")


def _pay(drive: Drive, server: Server) -> None:
    """Successes, replays, conflicts and declines; on all dialects, with all credentials."""
    free_text = {"description": f"card {SPACED}", "parameters": {"reference": HYPHENED, "note": SPACED, PAN: PAN}}
    amex = {"cardnumber": AMEX, "cvv": AMEX_CVV}
    with server.client(*drive.credentials["Live"]) as client:
        for make in (charge, tokenize):
            for fields in ({"cardnumber": PAN, "cvv": CVV}, amex, {"cardnumber": PAN, "cvv": None}):
                body = make(**fields, **free_text)
                drive.send(client, json=body)
                drive.send(client, json=body)
                drive.send(client, json={**body, "cvv": None if body["cvv"] else CVV})
                drive.send(client, json={**body, "expiry_month": "09"})
        for fields in ({"cardnumber": PAN, "cvv": CVV}, {**amex, "description": AMEX}):
            drive.send(
                client, json=charge(**fields, parameters={"save_card": "true", "reference": fields["cardnumber"]})
            )
        drive.send(
            client, json=debit(bankaccountnumber=ACCOUNT, parameters={"save_card": "true", "reference": ACCOUNT})
        )
        for _turn in range(20):
            drive.send(client, json=charge(cardnumber=PAN, cvv=CVV))
            drive.send(client, json=tokenize(**amex))
        drive.send(client, json=debit(bankaccountnumber=ACCOUNT, description=f"account {ACCOUNT}"))
        drive.send(client, json={**debit(bankaccountnumber=ACCOUNT), "method": "tokenize"})
        drive.send(client, path="/charge", json={**charge(cardnumber=PAN, cvv=CVV), "method": None})
    with server.client() as client:
        drive.send(client, path=drive.paths["Live"], json=charge(cardnumber=PAN, cvv=CVV))
        drive.send(
            client, path=drive.paths["Signal"], json={**charge(cardnumber=PAN, cvv=CVV), "method": "credit-card"}
        )
        drive.send(client, path=drive.paths["Signal"], json={**charge(cardnumber=PAN, amount="0"), "method": None})
        declined = charge(cardnumber=PAN, cvv=CVV, parameters={"leak": "decline"})
        drive.send(client, path=drive.paths["Signal"], json={**declined, "method": None})
        for path in (f"{drive.paths['Live']}/", f"{drive.paths['Live']}?q={PAN}", f"/{PAN}", f"/i/{PAN}"):
            drive.send(client, path=path, json=charge(cardnumber=PAN, cvv=CVV))
        drive.send(client, "GET", drive.paths["Live"])
        bearer = {"Authorization": f"Bearer {drive.token}"}
        drive.send(client, json=charge(cardnumber=PAN, cvv=CVV), headers=bearer)
        drive.send(client, json=tokenize(cardnumber=PAN, cvv=CVV), headers=bearer)
    for name in ("Saving", "Telnyx", "Charging", "Slow", "Slow", "Off"):
        with server.client(*drive.credentials[name]) as client:
            drive.send(client, json=charge(cardnumber=PAN, cvv=CVV, **free_text))
            drive.send(client, json=charge(**amex, parameters={"save_card": "true"}))
    with server.client(*drive.credentials["Default"]) as client:
        for number in range(12):
            drive.send(client, json=charge(amount=str(2000 + number), **free_text))
        for outcome in ("unavailable", "lost_card", "nonsense"):
            drive.send(client, json=tokenize(parameters={"sandbox_outcome": outcome, "reference": PAN}))
        drive.send(client, json=charge(cardnumber=PAN, cvv=CVV))


def _be_refused(drive: Drive, server: Server) -> None:
    """Every refusal there is, with the numbers in every place where somebody could put them."""
    card = {"cardnumber": PAN, "cvv": CVV}
    bodies: list[object] = [
        charge(**card, transaction_id=f"order {SPACED}"),
        charge(**card, transaction_id=PAN),
        debit(bankaccountnumber=ACCOUNT, transaction_id=f"x{ACCOUNT}"),
        charge(**{**card, "cardnumber": int(PAN)}),
        charge(**{**card, "cardnumber": PAN[:-1] + "9"}),
        charge(**{**card, "cardnumber": PAN + "0" * 5}),
        charge(**{**card, "cardnumber": SPACED}),
        charge(**{**card, "cardnumber": NO_BRAND}),
        charge(**{**card, "cvv": PAN}),
        charge(**{**card, "cvv": int(CVV)}),
        charge(**card, expiry_month=PAN),
        charge(**card, expiry_year="99"),
        charge(**card, expiry_year="20"),
        charge(**card, postal_code=PAN),
        charge(**card, amount=PAN),
        charge(**card, amount="0"),
        charge(**card, currency_code=PAN),
        charge(**card, parameters={"operation": PAN}),
        charge(**card, parameters={"save_card": PAN}),
        charge(**card, parameters={"reference": SPACED * 10}),
        charge(**card, parameters=PAN),
        charge(**card, parameters={"reference": {PAN: PAN}}),
        charge(**card, bankaccountnumber=ACCOUNT),
        charge(**card, method=PAN),
        charge(**card, method=None),
        charge(cardnumber=None, description=PAN),
        charge(cardnumber=next(iter(PUBLISHED_CARDS)), description=PAN),
        debit(bankaccountnumber=ACCOUNT, routingnumber=ACCOUNT[:9]),
        debit(bankaccountnumber=ACCOUNT + "0"),
        [PAN],
        PAN,
        int(PAN),
    ]
    texts = [
        f'{{"cardnumber": "{PAN}", "cvv": "{CVV}"',
        f'{{"cardnumber": "{PAN}", "cardnumber": "{PAN}"}}',
        f'{{"cardnumber": {PAN}, "x": NaN}}',
        f'{{"cardnumber": "{PAN}\\ud800"}}',
        f'{"[" * 40}"{PAN}"{"]" * 40}',
        f"\ufeff{PAN}",
        f"cardnumber={PAN}&cvv={CVV}",
        json.dumps(charge(**card, description=PAN * 1100)),
    ]
    username, password = drive.credentials["Live"]
    with server.client(username, password) as client:
        for body in bodies:
            drive.send(client, json=body)
        for text in texts:
            drive.send(
                client, content=text.encode("utf-8", "surrogatepass"), headers={"X-Request-Id": PAN, "User-Agent": PAN}
            )
        drive.send(client, content=PAN.encode("utf-16"))
        drive.send(client, "PUT", json=charge(**card))
    wrong = [
        _basic(username, WRONG_PASSWORD),
        _basic(password, username),
        _basic(PAN, CVV),
        _basic(username, f"{drive.token}x"),
        f"Basic {password}",
        f"Bearer {password}",
        f"Bearer {drive.token[:-1]}",
        f"Digest {drive.token}",
        _basic(drive.credentials["Off"][0], password),
    ]
    with server.client() as client:
        for header in [*wrong, *wrong, *wrong]:
            headers = {"Authorization": header, "X-Forwarded-For": PAN}
            drive.send(client, json=charge(**card), headers=headers)
    start = f"POST {drive.paths['Live']} HTTP/1.1\r\n"
    for raw in (
        f"POST /{PAN} HTTP/9\r\nX: {PAN}\r\n\r\n",
        f"POST /\xff{PAN} HTTP/1.1\r\nAuthorization: {wrong[0]}\r\n\r\n",
        f"{PAN}\r\n\r\n",
        f"{start}Content-Length: x{PAN}\r\n\r\n",
        f"{start}Upgrade: {PAN}\r\nConnection: Upgrade\r\nContent-Length: 16\r\n\r\n{PAN}",
        f"{start}Content-Length: 100\r\n\r\n{PAN}",
    ):
        drive.write("replies", _raw(server, raw.encode("latin-1")))


def _basic(username: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"


def _raw(server: Server, data: bytes) -> str:
    """Send bytes, and return whatever comes back until the server ends the connection or says no more."""
    address = httpx.URL(server.url)
    assert not isinstance(server.tls, bool)
    with (
        socket.create_connection((address.host, address.port or 0), 10) as plain,
        server.tls.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(data)
        secure.settimeout(0.5)
        heard = b""
        with contextlib.suppress(OSError):
            while more := secure.recv(65_536):
                heard += more
    return heard.decode("latin-1")


def _leak(drive: Drive, server: Server) -> None:
    """A processor that raises, logs, warns and fails in the background, with all the numbers in its words."""
    leaks = [*RAISED, *SAID, *ANSWERED, "check"]
    bodies = [charge(cardnumber=PAN, cvv=CVV, parameters={"leak": leak}) for leak in leaks]
    bodies += [charge(cardnumber=AMEX, cvv=AMEX_CVV, parameters={"leak": leak, "save_card": "true"}) for leak in leaks]
    bodies += [debit(bankaccountnumber=ACCOUNT, parameters={"leak": leak}) for leak in leaks]
    bodies += [tokenize(cardnumber=PAN, cvv=CVV, parameters={"leak": leak}) for leak in leaks]
    with server.client(*drive.credentials["Live"]) as client, ThreadPoolExecutor(len(bodies)) as pool:

        def send(body: Mapping[str, object]) -> None:
            with contextlib.suppress(httpx.ReadTimeout):  # what cannot be settled is met with silence
                drive.send(client, json=body, timeout=SETTLED_AFTER_S)

        list(pool.map(send, bodies))
        list(pool.map(send, bodies))


def _administer(drive: Drive) -> None:
    """Acts and commands with numbers in their arguments, and the errors that they end in."""
    acts: list[tuple[str, dict[str, object]]] = [
        (PAN, {}),
        ("instance add", {"unique_name": PAN}),
        ("instance add", {"unique_name": "Wrong", "mode": PAN}),
        ("instance add", {"unique_name": "Wrong", "processor": PAN}),
        ("instance add", {"unique_name": "Wrong", "rate": SPACED}),
        ("instance show", {"unique_name": "Live"}),
        ("instance disable", {}),
        ("access-token issue", {"instance": "Live", "scopes": [PAN], "expires_in_s": 5}),
        ("access-token revoke", {"id": drive.token}),
        ("reconcile", {"older_than_ms": 0}),
        ("reconcile settle", {"id": PAN, "captured": True, "reason": PAN}),
        ("sandbox fault", {"kind": "decline", "argument": PAN}),
        ("sandbox fault", {"kind": PAN}),
    ]
    for name, arguments in acts:
        try:
            drive.write("control", json.dumps(ask(drive.home / "control.sock", name, arguments)))
        except (RefusedError, NoAnswerError) as error:
            # Who asked knows what was typed: the answer may name it, as far as it is no card number.
            drive.write("control", str(error))
    for line in (f"{PAN}\n", f'{{"act": "{PAN}"\n', f'{{"act": {PAN}, "arguments": "{PAN}"}}\n', PAN * 100_000 + "\n"):
        drive.write("control", _control(drive.home, line.encode()))
    for words in (
        ["transaction", "show", PAN],
        ["transaction", "show", SPACED],
        ["vault", "report", "--json"],
        ["vault", "show", PAN],
        ["instance", "show", PAN],
        ["instance", "add", PAN],
        ["instance", "add", "Wrong", "--mode", PAN],
        ["access-token", "revoke", PAN],
        ["access-token", "list", "--json"],
        ["reconcile", "settle", PAN, "captured", "--reason", f"{SPACED} {CVV}"],
        ["sandbox", "statement", "--json"],
        ["sandbox", "fault", "decline", PAN],
        ["serve", "--host", PAN],
        ["doctor"],
        [PAN],
    ):
        drive.command(*words)
    for id_ in drive.ids[:40:4]:
        drive.command("transaction", "show", id_)
    for id_ in [known for known in drive.ids if known.startswith("tok_")][:2]:
        drive.command("vault", "show", id_)


def _control(home: Path, line: bytes) -> str:
    directory = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as control, contextlib.suppress(OSError):
            control.settimeout(5)
            control.connect(f"/proc/self/fd/{directory}/control.sock")
            control.sendall(line)
            return control.makefile().readline()
    finally:
        os.close(directory)
    return ""


HELD = [
    charge(cardnumber=PAN, cvv=CVV, parameters={"leak": "hang", "save_card": "true"}),
    charge(cardnumber=AMEX, cvv=AMEX_CVV, parameters={"leak": "hang"}),
    debit(bankaccountnumber=ACCOUNT, parameters={"leak": "hang"}),
]


def _kill(drive: Drive, server: Server) -> None:
    """SIGKILL, with payments at the processor."""

    def give_up(body: Mapping[str, object]) -> None:
        with server.client(*drive.credentials["Live"]) as client, contextlib.suppress(httpx.HTTPError):
            client.post("/", json=body)

    def running() -> bool:
        with contextlib.closing(read_only(drive.home / "ledger.db")) as ledger:
            found = ledger.execute("SELECT transaction_id FROM ledger WHERE state = 'running'").fetchall()
        return {body["transaction_id"] for body in HELD} <= {id_ for (id_,) in found}

    with ThreadPoolExecutor(len(HELD)) as pool:
        waiting = [pool.submit(give_up, body) for body in HELD]
        until(running)
        server.process.kill()
    assert all(one.result() is None for one in waiting)


def _second_boot(drive: Drive, certificates: DevelopmentCertificates) -> None:
    """Recovery, in Python's development mode; an end while a payment is at work; a processor that fails to close."""
    with serving(drive.home, certificates=certificates) as server:
        with server.client(*drive.credentials["Live"]) as client:
            for body in HELD:
                drive.send(client, json={**body, "parameters": {**body["parameters"], "leak": "log"}})
            for leak in SAID:
                drive.send(client, json=charge(cardnumber=PAN, cvv=CVV, parameters={"leak": leak}))
            with contextlib.suppress(httpx.HTTPError):
                client.post("/", json={**HELD[0], "transaction_id": new_transaction_id()}, timeout=0.1)
        server.process.terminate()
        drive.write("stdout", server.line + server.process.communicate(timeout=WAIT_S)[0])
    shutil.move(server.errors, drive.evidence / "stderr-of-second-boot")


def _afterwards(drive: Drive) -> None:
    """Everything that the databases hold, as text; and the keys, which must be nowhere but wrapped."""
    for path in sorted(drive.evidence.rglob("*.db")):
        for table, line in rows(path):
            drive.write("rows", f"{path.parent.name} {table} {line}")
    with contextlib.closing(open_sqlite(drive.home / "ledger.db", _end)) as store:
        keyring = Keyring(store, FileKek(drive.home / "kek"), system_randomness)
        for purpose in Purpose:
            drive.canaries.append(Canary(f"key to {purpose}", keyring.active(purpose).clear))


def rows(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """Return every row of every table of a database."""
    with contextlib.closing(read_only(path)) as database:
        database.row_factory = sqlite3.Row
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        for table in tables:
            for line in database.execute(f"SELECT * FROM {table}"):  # noqa: S608 - names are ours
                yield table, dict(line)


def _end(error: BaseException) -> Any:  # noqa: ANN401 - never returns
    raise error


# --- The search ------------------------------------------------------------------------------------------------------


def test_the_drive_went_through_everything(drive: Drive, evidence: Sequence[Evidence]) -> None:
    """Every error code but one was answered, and the files that are searched are there and are not empty."""
    expected = {str(code) for code in ERRORS} - {ErrorCode.STORE_UNAVAILABLE}
    files = {one.name: one.data for one in evidence}

    assert set() == expected - {code for _status, code in drive.heard}
    assert {200, 400, 401, 402, 403, 404, 405, 413, 429, 503} <= {status for status, _code in drive.heard}
    wanted = [
        "replies",
        "commands",
        "control",
        "metrics",
        "stdout",
        "rows",
        "stderr-of-first-boot",
        "stderr-of-second-boot",
    ]
    wanted += [
        f"{home}/{name}" for home in ("home", "home-while-serving", "home-after-kill") for name in ("ledger.db", "kek")
    ]
    wanted += [f"{home}/ledger.db-wal" for home in ("home-while-serving", "home-after-kill")]
    assert [] == [name for name in wanted if not files.get(name)]
    assert b"LEAKY1" in files["replies"]
    assert files["stderr-of-first-boot"].count(b'"logger": "acme_pay"') > 5 * len(NUMBERS)
    assert b'"event": "page"' in files["stderr-of-first-boot"]


def test_no_canary_is_anywhere(drive: Drive, evidence: Sequence[Evidence]) -> None:
    """In no shape: no log, reply, metric, row, file, command or error holds a number, a credential or a key."""
    assert [] == list(find(drive.canaries, evidence))


WILD: Mapping[str, Callable[[str], bytes]] = {
    "in a log line": lambda clear: json.dumps({"event": "error", "text": f"declined: {clear}"}).encode(),
    "in a traceback": lambda clear: f"ValueError: card {clear} of Card(...)".encode(),
    "in upper case": lambda clear: clear.upper().encode(),
    "backwards": lambda clear: f"<{clear[::-1]}>".encode(),
    "a hex dump": lambda clear: f"cardnumber={clear}&cvv=1".encode().hex().encode(),
    "an upper hex dump": lambda clear: f"x{clear}".encode().hex().upper().encode(),
    "base64 of one thing": lambda clear: base64.b64encode(f'{{"cardnumber": "{clear}"}}'.encode()),
    "base64 of another": lambda clear: base64.b64encode(f'{{"cardnumber":"{clear}"}}'.encode()),
    "base64 of a third": lambda clear: base64.urlsafe_b64encode(f'{{"a":"{clear}"}}'.encode()),
    "UTF-16": lambda clear: f"card {clear}".encode("utf-16"),
    "UTF-16 the other way": lambda clear: f"card {clear}".encode("utf-16-be"),
    "for a URL": lambda clear: "".join(f"%{ord(char):02X}" for char in clear).encode(),
    "the most of it": lambda clear: clear[2:-2].encode(),
}
WILD_NUMBERS: Mapping[str, Callable[[str], bytes]] = {
    "in groups": lambda clear: f"card {' '.join(re.findall('.{1,4}', clear))}.".encode(),
    "with hyphens": lambda clear: "-".join(re.findall(".{1,4}", clear)).encode(),
    "with no-break spaces": lambda clear: "\u00a0".join(re.findall(".{1,4}", clear)).encode(),
    "with escaped spaces": lambda clear: json.dumps("\u00a0".join(re.findall(".{1,4}", clear))).encode(),
    "digit by digit": lambda clear: ", ".join(clear).encode(),
    "full-width": lambda clear: "".join(chr(0xFF10 + int(digit)) for digit in clear).encode(),
    "a big-endian integer": lambda clear: int(clear).to_bytes(8, "big"),
    "a little-endian integer": lambda clear: int(clear).to_bytes(8, "little"),
    "packed decimals": lambda clear: bytes.fromhex(clear.zfill(len(clear) + len(clear) % 2)),
}


def test_every_canary_would_be_found(drive: Drive, evidence: Sequence[Evidence]) -> None:
    """Control: planted in copies of the files, in shapes made without the search's own table, each of them is found."""
    missed = []
    for number, canary in enumerate(drive.canaries):
        wild = {**WILD, **(WILD_NUMBERS if canary.is_number else {})} if canary.is_text else {}
        planted = {name: plant(canary.clear.decode()) for name, plant in wild.items()}
        for turn, (name, bytes_) in enumerate({**planted, "as it is": canary.clear}.items()):
            place = evidence[(number * len(WILD) + turn) % len(evidence)]
            middle = len(place.data) // 2
            copy = Evidence(place.name, place.data[:middle] + b"\n" + bytes_ + b"\n" + place.data[middle:])
            if not any(found == canary.name for found, _form, _file in find([canary], [copy])):
                missed.append((canary.name, name, place.name))

    assert [] == missed


def test_a_number_in_the_database_itself_would_be_found(drive: Drive, tmp_path: Path) -> None:
    """Control: a card number in a copy of the ledger, as text in one row and as an integer in another."""
    for name, value in (("text", SPACED), ("integer", int(PAN)), ("log", json.dumps({"at": PAN}))):
        copy = tmp_path / f"{name}.db"
        shutil.copy(drive.home / "ledger.db", copy)
        with contextlib.closing(sqlite3.connect(copy)) as ledger:
            ledger.execute("CREATE TABLE note_more (what)")
            ledger.execute("INSERT INTO note_more VALUES (?)", (value,))
            ledger.commit()

    found = {file for canary, _form, file in find(NUMBERS, collect(tmp_path)) if canary == "card number"}

    assert {"text.db", "integer.db", "log.db"} == found


@pytest.mark.parametrize(
    "canary", [*NUMBERS, Canary("a password", b"abcdefghijklmnopabcdefghijklmnop")], ids=lambda c: c.name
)
def test_no_shape_is_so_short_that_chance_would_find_it(canary: Canary) -> None:
    """Control: every shape that is looked for is six bytes or more, so that what is found was put there."""
    assert min(map(len, forms(canary).values())) > 5


# --- Security codes --------------------------------------------------------------------------------------------------


def standing_alone(code: str, text: str) -> bool:
    """Whether a security code is there as a number of its own."""
    return re.search(rf"(?<![0-9.:]){code}(?![0-9])", text) is not None


def values(document: object) -> Iterator[object]:
    """Return everything that is in a JSON document, keys too, but the times of a log line."""
    if isinstance(document, Mapping):
        for key, value in document.items():
            if key not in {"at", "ms"}:
                yield key
                yield from values(value)
    elif isinstance(document, list):
        for item in document:
            yield from values(item)
    else:
        yield document


def test_a_security_code_is_in_no_log_reply_or_row(drive: Drive, evidence: Sequence[Evidence]) -> None:
    """Of some two hundred cards with two codes, no code stands in any event's field, reply's field or row's column."""
    texts = {one.name: one.data.decode("utf-8", "replace") for one in evidence}
    lines = [
        line for name, text in texts.items() if name.startswith(("stderr", "replies")) for line in text.splitlines()
    ]
    found = [str(value) for line in lines if line.startswith("{") for value in values(json.loads(line))]
    found += [
        str(value) for path in drive.evidence.rglob("*.db") for _table, row in rows(path) for value in row.values()
    ]

    assert [] == [value for value in found if standing_alone(CVV, value) or standing_alone(AMEX_CVV, value)]
    assert len(found) > 10_000
    assert standing_alone(CVV, f"cvv {CVV}, {CVV}0")


def test_a_four_digit_security_code_is_in_no_byte_of_anything(evidence: Sequence[Evidence]) -> None:
    """It is not in any file as a number of its own; nor is a code that was never used, so chance plays no part."""
    found = [
        (code, one.name)
        for one in evidence
        for code in (AMEX_CVV, UNUSED_CVV)
        if standing_alone(code, one.data.decode("latin-1")) or code.encode("utf-16-le") in one.data
    ]

    assert [] == found


@pytest.mark.parametrize("code", [CVV, AMEX_CVV])
def test_no_field_is_called_after_the_security_code(drive: Drive, evidence: Sequence[Evidence], code: str) -> None:
    """`cvv` comes before a code nowhere, in whatever notation; the one column of that name holds letters."""
    pattern = re.compile(rf"cvv[^0-9a-z]{{0,6}}{code}".encode(), re.IGNORECASE)
    columns = {key for path in drive.evidence.rglob("*.db") for _table, row in rows(path) for key in row}
    results = {row.get("cvv_result") for path in drive.evidence.rglob("*.db") for _table, row in rows(path)}

    assert [] == [one.name for one in evidence if pattern.search(one.data)]
    assert {"require_cvv", "cvv_result"} == {column for column in columns if "cvv" in column}
    assert results <= {None, "M", "N", "P", "U"}
    assert pattern.search(b'{"cvv": "' + code.encode() + b'"}')


def test_what_is_sealed_is_the_number_and_never_the_code(drive: Drive) -> None:
    """Opened with the installation's keys, every vault row is kind, number, expiry or routing, and postal code."""
    home = drive.home
    with contextlib.closing(open_sqlite(home / "ledger.db", _end)) as store:
        keyring = Keyring(store, FileKek(home / "kek"), system_randomness)
        key = keyring.active(Purpose.SEAL)
        entries = [row for table, row in rows(home / "ledger.db") if table == "vault"]
        opened = [
            envelope.unseal(row["sealed"], Place("vault", row["instance_id"], row["token_id"], "sealed"), key)  # type: ignore[arg-type]  # columns have types
            for row in entries
        ]

    fields = {tuple(one.decode().split("\x1f")) for one in opened}
    assert len(entries) > 30
    assert {
        ("card", PAN, "203008", "94105"),
        ("card", AMEX, "203008", "94105"),
        ("bank", ACCOUNT, "021000021", ""),
        ("card", next(iter(PUBLISHED_CARDS)), "203008", "94105"),
    } >= fields
    assert {PAN, AMEX, ACCOUNT} <= {number for _kind, number, _second, _postal in fields}


def test_digests_do_not_know_the_code(drive: Drive) -> None:
    """The digest in each row is that of the same payment without a code, and with another."""
    with contextlib.closing(open_sqlite(drive.home / "ledger.db", _end)) as store:
        key = Keyring(store, FileKek(drive.home / "kek"), system_randomness).active(Purpose.DIGEST)
    kept = {row["transaction_id"]: row["digest"] for table, row in rows(drive.home / "ledger.db") if table == "ledger"}

    for body in HELD[:2]:
        digests = {envelope.digest(_parsed({**body, "cvv": code}), key) for code in (None, body["cvv"])}
        assert {kept[body["transaction_id"]]} == digests


def _parsed(body: Mapping[str, object]) -> Charge:
    payment = parse(json.dumps(body).encode(), Dialect.TWILIO)
    assert not isinstance(payment, Refusal)
    assert isinstance(payment, Charge)
    return payment


# --- Bugs of our own -------------------------------------------------------------------------------------------------


class Broken(SqliteStore):
    """A store one of whose methods raises, with the card in its words."""

    def __init__(self, sound: SqliteStore, fails: str) -> None:
        super().__init__(sound.journal)
        self._fails = fails

    def _may_fail(self, name: str) -> None:
        if name == self._fails:
            raise RuntimeError(f"card {PAN} cvv {AMEX_CVV} of {SPACED}")

    async def find(self, instance_id: int, transaction_id: str) -> Row | None:
        self._may_fail("find")
        return await super().find(instance_id, transaction_id)

    async def claim(self, row: Row, vaulted: Vaulted | None) -> Claimed | Existing:
        self._may_fail("claim")
        return await super().claim(row, vaulted)

    async def holds(self, row: Row) -> bool:
        self._may_fail("holds")
        return await super().holds(row)

    async def record(self, settlement: Settlement) -> bool:
        self._may_fail("record")
        return await super().record(settlement)


def with_broken_store(fails: str, parts: Installation) -> Installation:
    """Return the same parts with a connector on a broken store."""
    return replace(
        parts,
        connector=Connector(
            store=Broken(parts.store, fails),
            keyring=parts.keyring,
            processors=parts.processors,
            instances=parts.directory.instances,
            clock=parts.clock,
            randomness=parts.randomness,
            owner="boot_broken",
            log=parts.log,
            limits=Limits(look_up_timeout_s=0.3),
        ),
    )


BUGS: Mapping[str, tuple[Callable[..., dict[str, Any]], str | None]] = {
    "find": (tokenize, "internal_error"),
    "claim": (charge, "internal_error"),
    "holds": (charge, None),
    "record": (charge, None),
}


@pytest.mark.parametrize("method", BUGS)
def test_a_bug_of_our_own_is_told_by_its_type(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], method: str
) -> None:
    """An exception with the card in its words: before the claim a 503, after it silence, and its type in the log."""
    make, heard = BUGS[method]
    with serve_gateway(tmp_path, rebuild=partial(with_broken_store, method)) as served:
        served.add("Live", mode="live", processor="live")
        with served.client("Live") as client:
            try:
                code = client.post("/", json=make(cardnumber=PAN, cvv=CVV), timeout=1.5).json()["error_code"]
            except httpx.ReadTimeout:
                code = None
        log, metrics = served.log.getvalue(), generate_latest(served.metrics.registry)
    said = "".join(capfd.readouterr()) + caplog.text + log + metrics.decode()

    assert heard == code
    assert '"error": "RuntimeError"' in log
    assert [] == list(find(NUMBERS, [Evidence("said", said.encode()), *collect(tmp_path)]))
    assert not standing_alone(AMEX_CVV, said)


# --- What other libraries and Python itself would print --------------------------------------------------------------

PATH_SECRET = Canary("path secret", b"dohikkmbajlhmfgkonpaelcbdijmhgfa")
Said = Mapping[str, str]


def say(canary: Canary, *, gated: bool) -> Said:
    """Return what a process prints that says a secret in every way, by the way's name."""
    program = [sys.executable, "-W", "always", mouths.__file__, canary.clear.decode(), "gated" if gated else "open"]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=WAIT_S, check=False)
    parts = (part.partition("\n") for part in (ended.stdout + ended.stderr).split("### ")[1:])
    return {name: text for name, _end, text in parts}


@pytest.fixture(scope="module", params=[NUMBERS[0], PATH_SECRET], ids=lambda canary: str(canary.name))
def said(request: pytest.FixtureRequest) -> tuple[Canary, Said, Said]:
    """A secret, what is printed of it through the gate, and what without."""
    canary: Canary = request.param
    return canary, say(canary, gated=True), say(canary, gated=False)


@pytest.mark.parametrize("way", mouths.WAYS)
def test_what_others_would_print_is_told_without_its_words(said: tuple[Canary, Said, Said], way: str) -> None:
    """Whoever logs, warns or dies with a secret in its words: lines of JSON have types and places, and no word."""
    canary, gated, _open = said

    assert [] == list(find([canary], [Evidence("said", gated[way].encode())]))
    assert {"log", "error"} >= {json.loads(line)["event"] for line in gated[way].splitlines()} != set()


@pytest.mark.parametrize("way", mouths.WAYS)
def test_without_the_gate_each_of_these_prints_the_secret(said: tuple[Canary, Said, Said], way: str) -> None:
    """Control: Python and its libraries do say it all."""
    canary, _gated, ungated = said

    assert list(find([canary], [Evidence("said", ungated[way].encode())]))


# --- Settings --------------------------------------------------------------------------------------------------------

DATABASE_PASSWORD = Canary("database password", b"open-sesame-open-sesame")
BAD_CONFIGS: Mapping[str, str] = {
    "a number": f'processor_timeout = "{PAN}"',
    "a big number": f"processor_timeout = {PAN}",
    "a text": f'log_level = "{SPACED}"',
    "an unknown setting": f'card = "{PAN}"',
    "no TOML": f"processor_timeout = {SPACED}",
    "no text": f"# {PAN} \xff",
    "a database elsewhere": f'database = "postgresql://gateway:{DATABASE_PASSWORD.clear.decode()}@{PAN}/ledger"',
    "a KEK elsewhere": f'kek = "vault:{DATABASE_PASSWORD.clear.decode()}"',
    "processors": f'processors = "{PAN}"',
    "a processor's option": f"[processors.acme]\nkey = {PAN}",
    "an unknown processor": f'[processors.acme]\nuse = "{PAN}"',
}


@pytest.mark.parametrize("kind", BAD_CONFIGS)
def test_a_bad_setting_is_named_and_its_value_is_not(tmp_path: Path, kind: str) -> None:
    """Whatever is wrong in `config.toml`: neither the error, nor its traceback, nor any command repeats a value."""
    home = tmp_path / "home"
    make_home(home)
    (home / "config.toml").write_bytes(BAD_CONFIGS[kind].encode("latin-1"))

    said = io.StringIO()
    try:
        load_settings(home)
    except Exception as error:  # noqa: BLE001 - whatever it is, what it says is what counts
        said.write("".join(traceback.format_exception(error)))
    for words in (["instance", "list"], ["serve", "--plain-http", "--port", "0"], ["doctor"], ["init"]):
        result = run(home, *words)
        said.write(result.out + result.err)
        assert 0 != result.status or words[0] in {"doctor", "init"}

    assert "" != said.getvalue()
    assert [] == list(find([*NUMBERS, DATABASE_PASSWORD], [Evidence("said", said.getvalue().encode())]))


@pytest.mark.parametrize(
    "name", ["PROCESSOR_TIMEOUT", "LOG_LEVEL", "PROCESSORS", "PROCESSORS__ACME", "KEK", "DATABASE"]
)
def test_a_bad_variable_is_named_and_its_value_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What comes from the environment is not repeated either."""
    home = tmp_path / "home"
    make_home(home)
    monkeypatch.setenv(f"GENERIC_CONNECTOR_{name}", f"{SPACED} {DATABASE_PASSWORD.clear.decode()}")

    result = run(home, "instance", "list")

    assert 0 != result.status
    assert [] == list(find([*NUMBERS, DATABASE_PASSWORD], [Evidence("said", (result.out + result.err).encode())]))


# --- The process -----------------------------------------------------------------------------------------------------


def test_a_crash_leaves_no_core_behind(drive: Drive) -> None:
    """The server may dump no core, and the kernel gives its memory to nobody of its own user."""
    (limit,) = re.findall(r"Max core file size +(\S+) +(\S+)", drive.limits)

    assert ("0", "0") == limit
    assert drive.is_memory_private


def test_nothing_is_left_in_temporary_files(drive: Drive) -> None:
    """The server writes into its home, and nowhere else."""
    assert [] == [*(drive.evidence / "tmp").rglob("*"), *(drive.evidence / "user").rglob("*")]


def test_what_is_in_the_home_is_for_its_owner_alone(drive: Drive) -> None:
    """Nobody else may read the ledger, the sandbox's book, the key, the settings or the lock."""
    modes = {path.name: path.stat().st_mode & 0o077 for path in drive.home.iterdir()}

    assert {0} == set(modes.values())
    assert {"ledger.db", "sandbox.db", "kek", "config.toml", "lock"} <= modes.keys()
