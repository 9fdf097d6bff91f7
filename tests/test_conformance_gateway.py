"""The gateway honours the contract, as the conformance kit sees it from outside: all of it, in every dialect.

Each dialect has a gateway of its own: a home with SQLite, served over TLS by `generic-connector serve` in its own
process, with the sandbox behind it. The kit restarts it by a command, which is kill -9. The three are asked side by
side, since each waits much and works little.
"""

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from commanding import COMMAND, WAIT_S, certificates_in, done, shown
from generic_connector.certificates import DevelopmentCertificates
from generic_connector.conformance.check import Finding, Run, Verdict
from generic_connector.conformance.profile import Profile, Restart
from generic_connector.conformance.report import table
from generic_connector.conformance.runner import Dialect, Target, all_checks, conform_sync
from generic_connector.secret import Secret

DIALECTS: Final[Sequence[Dialect]] = ("twilio", "telnyx", "signalwire")
WITHIN_S: Final = 90
_KILL: Final = """
import os, signal, sys, time
from pathlib import Path
file = Path(sys.argv[1])
dead = file.read_text()
os.kill(int(dead), signal.SIGKILL)
while file.read_text() == dead:
    time.sleep(0.02)
"""
"""Kills the process that a file names, and waits for the file to name the next one."""

pytestmark = pytest.mark.timeout(4 * WITHIN_S)


class Keeper:
    """Serves a home, and serves it again on the same port whenever it ends, as a service manager does."""

    def __init__(self, home: Path, certificates: DevelopmentCertificates) -> None:
        self.pid_file = home.parent / f"{home.name}.pid"
        self.starts = 0
        self.url = ""
        self._port = "0"
        self._home = home
        self._tls = ["--tls-cert", str(certificates.certificate), "--tls-key", str(certificates.key)]
        self._is_ready = threading.Event()
        self._is_over = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def begin(self) -> None:
        self._thread.start()
        assert self._is_ready.wait(WAIT_S)

    def end(self) -> None:
        self._is_over.set()
        if self._process is not None:
            self._process.terminate()
        self._thread.join(WAIT_S)

    def _keep(self) -> None:
        errors = self._home.parent / f"{self._home.name}.stderr"
        while not self._is_over.is_set():
            words = [*COMMAND, "serve", *self._tls, "--port", self._port, "--home", str(self._home)]
            with (
                errors.open("a") as log,
                subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True) as process,
            ):
                self._process = process
                if self._is_over.is_set():
                    process.terminate()
                assert process.stdout is not None
                self.url = process.stdout.readline().removeprefix("ready on ").strip()
                self._port = self.url.rpartition(":")[2]
                self.starts += 1
                self.pid_file.write_text(str(process.pid))
                self._is_ready.set()
                process.wait()


@contextmanager
def kept(directory: Path, dialect: Dialect, certificates: DevelopmentCertificates) -> Iterator[tuple[Keeper, Target]]:
    """Serve a new home with two instances of a dialect; yield it, and all that the kit is told about it."""
    home = directory / dialect
    done(home, "init")
    first, other = (shown(home, "instance", "add", name, "--dialect", dialect) for name in ("Default", "Other"))
    keeper = Keeper(home, certificates)
    keeper.begin()
    restart = Restart(command=[sys.executable, "-c", _KILL, str(keeper.pid_file)])
    target = Target(
        url=f"{keeper.url}/",
        credentials=(first["username"], Secret(first["password"])),
        other=(other["username"], Secret(other["password"])),
        dialect=dialect,
        ca_file=certificates.ca,
        profile=Profile.sandbox().model_copy(update={"restart": restart}),
    )
    try:
        yield keeper, target
    finally:
        keeper.end()


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, "Future[tuple[Run, int]]"]]:
    """The runs of the whole kit against each dialect, with how often its gateway was started. All begin at once."""
    directory = tmp_path_factory.mktemp("gateways")
    certificates = certificates_in(directory)
    with ExitStack() as gateways, ThreadPoolExecutor(len(DIALECTS)) as pool:
        served = {name: gateways.enter_context(kept(directory, name, certificates)) for name in DIALECTS}

        def ask(keeper: Keeper, target: Target) -> tuple[Run, int]:
            return conform_sync(target, seed=1), keeper.starts

        yield {name: pool.submit(ask, *each) for name, each in served.items()}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_gateway_honours_all_of_the_contract(dialect: str, asked: Mapping[str, "Future[tuple[Run, int]]"]) -> None:
    """Every MUST and every SHOULD was asked and holds, after a restart too, in a minute and a half."""
    run, starts = asked[dialect].result()
    unmet = [each.check.id for each in run.findings if each.verdict is not Verdict.PASSED]

    assert [] == unmet, table(run)
    assert [check.id for check in all_checks()] == [each.check.id for each in run.findings]
    assert run.is_good(strict=True)
    assert run.took_s < WITHIN_S
    assert starts > 1


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_secret_is_in_what_was_kept(dialect: str, asked: Mapping[str, "Future[tuple[Run, int]]"]) -> None:
    """Neither a card number nor an account number is in any exchange of the whole run."""
    run, _starts = asked[dialect].result()
    numbers = Profile().numbers
    secrets = {*numbers.cards.values(), numbers.other_card, numbers.bad_card, *numbers.accounts}

    def said(finding: Finding) -> str:
        return " ".join(f"{each.request} {each.reply}" for each in finding.exchanges)

    assert [] == [each.check.id for each in run.findings for secret in secrets if secret in said(each)]
    assert any(each.exchanges for each in run.findings)
