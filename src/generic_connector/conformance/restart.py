"""A restart: the endpoint is stopped and started as its owner says, and waited for until it answers again.

What an endpoint forgets when it restarts is asked by a few checks, and only where the profile has a command, or the run
a function, that restarts it. The rules:

- The command is split as a shell would, and run without one. It has two minutes; a longer one is killed with all that
  it started. Its output is nobody's business here.
- Then the endpoint has the profile's `ready_within_s`. It is asked with a stranger's GET, which nobody takes for a
  payment. Whatever it answers, it is back, unless a proxy before it says that it is not there yet. One that takes the
  connection and says nothing is back too.
- An application in process is back when the function that restarts it returns.
- What does not come back cannot be asked: `NotAskable` says which line of the profile to look at.
"""

import asyncio
import contextlib
import os
import shlex
import signal
from collections.abc import Sequence
from typing import Final

from generic_connector.conformance.attempt import Attempt
from generic_connector.conformance.check import NotAskable
from generic_connector.conformance.line import Line, LineError
from generic_connector.conformance.request import How, written
from generic_connector.conformance.visit import Visit

_COMMAND_S: Final = 120.0
_POLL_S: Final = 0.2
_NOT_YET: Final = (502, 503, 504)


async def restarted(visit: Visit, asked: Attempt) -> None:
    """Restart the endpoint, and wait until it answers; `asked` keeps what came of it. Raises NotAskable."""
    restart = visit.target.profile.restart
    try:
        if visit.target.restarts is not None:
            async with asyncio.timeout(_COMMAND_S):
                await visit.target.restarts()
        else:
            await _run(restart.command)
        async with asyncio.timeout(restart.ready_within_s):
            await _answering(visit)
    except TimeoutError:
        asked.keep("(it did not come back in time)")
        raise NotAskable(
            f"The endpoint did not answer within {restart.ready_within_s:g} s of its restart: "
            "see restart.ready_within_s in the profile."
        ) from None
    asked.keep("(it answers again)")


async def _answering(visit: Visit) -> None:
    """Ask until something answers. How long that may take, the caller bounds."""
    data = written(visit, None, How(credentials=None, verb="GET")).data
    while visit.app is None:
        with contextlib.suppress(LineError):
            line = await Line.open(visit.host, visit.port, visit.tls)
            try:
                await line.send(data)
                async with asyncio.timeout(visit.target.timeout_s):
                    if (await line.hear("GET")).status not in _NOT_YET:
                        return
            except TimeoutError:
                return  # it takes connections, and does not answer a stranger's GET: the check will see
            finally:
                line.drop()
        await asyncio.sleep(_POLL_S)


async def _run(command: str | Sequence[str]) -> None:
    """Run a command to its end."""
    words = shlex.split(command) if isinstance(command, str) else list(command)
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise NotAskable(f"restart.command of the profile cannot be run: {error.strerror}.") from None
    try:
        async with asyncio.timeout(_COMMAND_S):
            status = await process.wait()
    except TimeoutError:
        raise NotAskable(f"restart.command of the profile did not end within {_COMMAND_S:g} s.") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if status:
        raise NotAskable(f"restart.command of the profile ended with status {status}: run it by hand.")
