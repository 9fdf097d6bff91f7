"""The gateway of the demonstration: `serve` in a process of its own, as anybody would start it, and a place for it.

Home, certificates and log are in one temporary directory (where TMPDIR says). Leaving the context ends the server and
removes the directory, however it is left.
"""

import contextlib
import json
import select
import shlex
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import httpx

from generic_connector.administration import RefusedError
from generic_connector.certificates import make_development_certificates
from generic_connector.demo.steps import FIRST_CHARGE
from generic_connector.home import CONTROL_SOCKET, make_home
from generic_connector.journal import read_only
from generic_connector.processors.sandbox import StatementLine, statement
from generic_connector.web.control import NoServerError, ask

ANSWER_S_MAX = 30.0
_START_S_MAX = 30.0
_STOP_S_MAX = 30.0
_LAST_WORDS_LINES = 10


class DemoError(Exception):
    """The demonstration cannot go on. Says why."""


class Gateway:
    """A server that can be started, killed and started again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="generic-connector-demo-")
        try:
            root = Path(self._directory.name)
            self._log, self._charge, self._home = root / "log", root / "charge.json", root / "home"
            make_home(self._home)
            self._certificates = make_development_certificates(root / "certs", now=datetime.now(UTC))
        except BaseException:
            self._directory.cleanup()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            self._stop()
        finally:
            self._directory.cleanup()

    # --- The process ---

    def start(self) -> float:
        """Start `serve` and wait until it is ready. Returns how long that took. A second start has the same port."""
        began = time.perf_counter()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [
                    *(sys.executable, "-m", "generic_connector", "serve", "--home", str(self._home)),
                    *("--host", "127.0.0.1", "--port", str(self._port)),
                    *("--tls-cert", str(self._certificates.certificate), "--tls-key", str(self._certificates.key)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.url = self._address(self._process)
        self._port = httpx.URL(self.url).port or 0
        return time.perf_counter() - began

    def _address(self, process: subprocess.Popen[str]) -> str:
        """Return the address of the one line that `serve` prints."""
        line = ""
        if process.stdout is not None and select.select([process.stdout], [], [], _START_S_MAX)[0]:
            line = process.stdout.readline()
        if not line.startswith("ready on "):
            raise DemoError(f"the gateway did not start.\n{self._last_words()}")
        return line.removeprefix("ready on ").strip()

    def _last_words(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_LAST_WORDS_LINES:])

    def kill(self) -> None:
        """End the process as a power cut would: SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._reap(self._process)

    def _stop(self) -> None:
        """End the process as an operator would: SIGTERM. SIGKILL where that takes too long."""
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S_MAX)
        except BaseException:
            process.kill()
            raise
        finally:
            self._reap(process)

    def _reap(self, process: subprocess.Popen[str]) -> None:
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._process = None

    def wait(self) -> None:
        """Wait until the process ends, which it does by a signal, or in trouble."""
        if self._process is not None and self._process.wait() != 0:
            raise DemoError(f"the gateway ended.\n{self._last_words()}")

    # --- What one can do with it ---

    def client(self) -> httpx.Client:
        """Return a client that trusts the gateway and ignores proxies: nothing leaves the machine."""
        trusted = ssl.create_default_context(cafile=str(self._certificates.ca))
        return httpx.Client(base_url=self.url, verify=trusted, timeout=ANSWER_S_MAX, trust_env=False)

    def act(self, name: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON
        """Have the running server do an administrative act, as the command line does."""
        try:
            return ask(self._home / CONTROL_SOCKET, name, arguments)
        except (RefusedError, NoServerError) as error:
            raise DemoError(f"{name} was not done: {error}") from None

    def statement(self) -> Sequence[StatementLine]:
        """Return what the sandbox has captured."""
        with contextlib.closing(read_only(self._home / "sandbox.db")) as connection:
            return statement(connection)

    def invitation(self, username: str, password: str) -> list[str]:
        """Return how to charge by hand. The card is in a file, and so in nobody's shell history."""
        self._charge.write_text(json.dumps({**FIRST_CHARGE, "transaction_id": "my-first-charge"}, indent=2) + "\n")
        return [
            f"The gateway goes on at {self.url}. In another terminal:",
            "",
            f"    curl --cacert {shlex.quote(str(self._certificates.ca))} \\",
            f"        -u {username}:{password} \\",
            f"        -d @{shlex.quote(str(self._charge))} {self.url}",
            "",
            "Once more: the same charge_id. With another amount in the file: a conflict. What was captured:",
            "",
            f"    {_program()} sandbox statement --home {shlex.quote(str(self._home))}",
            "",
            f"The home is {self._home},",
            f"the server's log {self._log}.",
        ]


def _program() -> str:
    """How to call this program in another terminal: by its path where it has one beside the interpreter."""
    script = Path(sys.executable).with_name("generic-connector")
    return shlex.quote(str(script)) if script.exists() else "generic-connector"
