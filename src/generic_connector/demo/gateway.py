"""The gateway of the demonstration: `serve` in a process of its own, as anybody would start it, and a place for it.

Home, certificates and log are in one temporary directory (where TMPDIR says). Leaving the context ends the server and
removes the directory, however it is left.
"""

import contextlib
import json
import shlex
import ssl
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import httpx

from generic_connector.administration import RefusedError
from generic_connector.certificates import make_development_certificates
from generic_connector.demo.process import DemoError, Process
from generic_connector.demo.steps import FIRST_CHARGE
from generic_connector.home import CONTROL_SOCKET, make_home
from generic_connector.journal import read_only
from generic_connector.processors.sandbox import StatementLine, statement
from generic_connector.web.control import NoServerError, ask

ANSWER_S_MAX = 30.0


class Gateway:
    """A server that can be started, killed and started again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.url = ""

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="generic-connector-demo-")
        try:
            root = Path(self._directory.name)
            self.place, self._charge, self._home = root, root / "charge.json", root / "home"
            self._server = Process("the gateway", root / "log")
            make_home(self._home)
            self.certificates = make_development_certificates(root / "certs", now=datetime.now(UTC))
        except BaseException:
            self._directory.cleanup()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            self._server.stop()
        finally:
            self._directory.cleanup()

    # --- The process ---

    def start(self) -> float:
        """Start `serve` and wait until it is ready. Returns how long that took. A second start has the same port."""
        self.url, seconds = self._server.start(
            [
                *("serve", "--home", str(self._home), "--host", "127.0.0.1", "--port", str(self._port)),
                *("--tls-cert", str(self.certificates.certificate), "--tls-key", str(self.certificates.key)),
            ]
        )
        self._port = httpx.URL(self.url).port or 0
        return seconds

    def kill(self) -> None:
        """End the process as a power cut would: SIGKILL."""
        self._server.kill()

    def wait(self) -> None:
        """Wait until the process ends, which it does by a signal, or in trouble."""
        self._server.wait()

    # --- What one can do with it ---

    def client(self) -> httpx.Client:
        """Return a client that trusts the gateway and ignores proxies: nothing leaves the machine."""
        trusted = ssl.create_default_context(cafile=str(self.certificates.ca))
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
            f"    curl --cacert {shlex.quote(str(self.certificates.ca))} \\",
            f"        -u {username}:{password} \\",
            f"        -d @{shlex.quote(str(self._charge))} {self.url}",
            "",
            "Once more: the same charge_id. With another amount in the file: a conflict. What was captured:",
            "",
            f"    {_program()} sandbox statement --home {shlex.quote(str(self._home))}",
            "",
            f"The home is {self._home},",
            f"the server's log {self._server.log}.",
        ]


def _program() -> str:
    """How to call this program in another terminal: by its path where it has one beside the interpreter."""
    script = Path(sys.executable).with_name("generic-connector")
    return shlex.quote(str(script)) if script.exists() else "generic-connector"
