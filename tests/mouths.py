"""A program that says a secret in every way in which Python and its libraries say what they were not asked.

    python mouths.py SECRET gated|open

Before each way it writes a line to stderr: `### ` and its name.
"""

import asyncio
import gc
import logging
import sys
import threading
import time
import warnings
from collections.abc import Callable

from generic_connector.telemetry import EventLog, gate_other_logs

_LOGGER = logging.getLogger("acme")


def _throw(secret: str) -> None:
    raise ValueError(secret)


async def _throw_later(secret: str) -> None:
    _throw(secret)


class _Finalized:
    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __del__(self) -> None:
        _throw(self._secret)


def _in_a_task(secret: str) -> None:
    asyncio.get_running_loop().create_task(_throw_later(secret))


def _in_a_callback(secret: str) -> None:
    asyncio.get_running_loop().call_soon(_throw, secret)


def _to_the_exception_handler(secret: str) -> None:
    context = {"message": f"failed\n{secret}", "exception": ValueError(secret), "card": secret}
    asyncio.get_running_loop().call_exception_handler(context)


def _in_a_thread(secret: str) -> None:
    thread = threading.Thread(target=_throw, args=(secret,), name=secret)
    thread.start()
    thread.join()


def _in_a_finalizer(secret: str) -> None:
    _Finalized(secret)


def _in_a_warning(secret: str) -> None:
    warnings.warn(secret, UserWarning, stacklevel=1)


def _in_a_logged_exception(secret: str) -> None:
    _LOGGER.error("failed", exc_info=ValueError(secret))


def _in_a_logged_argument(secret: str) -> None:
    _LOGGER.error("failed %s", secret)


def _in_a_second_line(secret: str) -> None:
    _LOGGER.error("failed\n%s", secret)
    _LOGGER.error(f"failed\n{secret}")  # noqa: G004 - as some do


WAYS: dict[str, Callable[[str], None]] = {
    "a task that nobody asks": _in_a_task,
    "a callback": _in_a_callback,
    "an exception handler": _to_the_exception_handler,
    "a thread": _in_a_thread,
    "a finalizer": _in_a_finalizer,
    "a warning": _in_a_warning,
    "a logged exception": _in_a_logged_exception,
    "a logged argument": _in_a_logged_argument,
    "a second line": _in_a_second_line,
    "the last exception": _throw,
}


async def _say_all(secret: str) -> None:
    for name, say in WAYS.items():
        sys.stderr.write(f"### {name}\n")
        sys.stderr.flush()
        say(secret)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()


if __name__ == "__main__":
    if sys.argv[2] == "gated":
        gate_other_logs(EventLog(sys.stderr, lambda: int(time.time() * 1000)))
    else:
        logging.basicConfig()
    asyncio.run(_say_all(sys.argv[1]))
