"""A server of the demonstration: a command of ours in a process of its own, started as anybody would start it.

It is ready when it prints `ready on URL`. It can be killed and started again, and is ended in order otherwise.
"""

import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_START_S_MAX = 30.0
_STOP_S_MAX = 30.0
_LAST_WORDS_LINES = 10


class DemoError(Exception):
    """The demonstration cannot go on. Says why."""


class Process:
    """A server that can be started, killed and started again. `name` is for people; what it logs goes to `log`."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self._process: subprocess.Popen[str] | None = None

    def start(self, words: Sequence[str]) -> tuple[str, float]:
        """Start `generic-connector WORDS` and wait until it is ready. Returns its address, and how long that took."""
        began = time.perf_counter()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "generic_connector", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        return self._address(self._process), time.perf_counter() - began

    def _address(self, process: subprocess.Popen[str]) -> str:
        """Return the address of the one line that it prints."""
        line = ""
        if process.stdout is not None and select.select([process.stdout], [], [], _START_S_MAX)[0]:
            line = process.stdout.readline()
        if not line.startswith("ready on "):
            raise DemoError(f"{self.name} did not start.\n{self._last_words()}")
        return line.removeprefix("ready on ").strip()

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_LAST_WORDS_LINES:])

    def kill(self) -> None:
        """End the process as a power cut would: SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._reap(self._process)

    def stop(self) -> None:
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
            raise DemoError(f"{self.name} ended.\n{self._last_words()}")
