"""A run: which checks are asked of an endpoint, in which order, how many at once, and what came of them.

- The longest begin first, a bounded number runs side by side, and what must be alone comes last, one by one.
- What an endpoint lacks is skipped, with the reason. What the kit itself gets wrong is `broken`.
- A check has `CHECK_S` seconds and a run `RUN_S`, whatever an endpoint does: it may hang, stream or answer garbage.
- An endpoint that does not answer one ordinary payment, asked as often as a caller would ask, is asked nothing more.
- With the same seed, run id and endpoint a run sends the same bytes, in the same order as far as anybody can say.

`Target` is what is asked and as whom. `conform` is the whole of it; `conform_sync` the same without asyncio.
"""

import asyncio
import importlib
import secrets
import ssl
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from generic_connector.conformance.attempt import Reply
from generic_connector.conformance.check import (
    Check,
    Finding,
    Level,
    NotAskable,
    Register,
    Run,
    Unmet,
    Verdict,
)
from generic_connector.conformance.in_process import App
from generic_connector.conformance.line import LineError
from generic_connector.conformance.probe import TIMEOUT_S, Probe
from generic_connector.conformance.profile import Profile
from generic_connector.conformance.visit import Visit
from generic_connector.secret import Secret

AT_ONCE: Final = 16
CHECK_S: Final = 90.0
RUN_S: Final = 600.0
_ATTEMPTS: Final = 3
_FAMILIES: Final = (
    "charge",
    "tokenize",
    "tolerance",
    "reply",
    "errors",
    "retry",
    "auth",
    "limits",
    "transport",
    "secrecy",
    "time_",
    "health",
)
_SEEDS: Final = 2**32

Dialect = Literal["twilio", "telnyx", "signalwire"]
Told = Callable[[Finding, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is asked, and as whom. Raises ValueError where it cannot be; its text never quotes a credential.

    `asgi` is asked in process, and `url` is then only what it sees in its requests. `restarts` restarts it, where the
    profile's command does not.
    """

    url: str = field(repr=False)
    credentials: tuple[str, Secret] | None = None
    bearer: Secret | None = None
    other: tuple[str, Secret] | None = None
    dialect: Dialect = "twilio"
    ca_file: Path | None = None
    timeout_s: float = TIMEOUT_S
    asgi: App | None = field(default=None, repr=False)
    profile: Profile = field(default_factory=Profile, repr=False)
    restarts: Callable[[], Awaitable[None]] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        try:
            address = urlsplit(self.url)
            _ = address.port
        except ValueError:
            raise ValueError("The address is not a URL: write it as https://host/path.") from None
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError("The address is not an http:// or https:// URL: write it as https://host/path.")
        if address.username is not None or address.password is not None:
            raise ValueError("The address has credentials in it: give them as a username and a password.")
        if not self.url.isascii() or any(char.isspace() for char in self.url):
            raise ValueError("The address has characters that a URL cannot have: write them percent-encoded.")
        if self.timeout_s <= 0:
            raise ValueError("The timeout is not above zero seconds.")
        if self.credentials is not None and ":" in self.credentials[0]:
            raise ValueError("The username has a colon, and HTTP Basic cannot say where it ends: choose another.")


def all_checks() -> Sequence[Check]:
    """Return every check, in the order of the report."""
    found: list[Check] = [*REACH.checks]
    for family in _FAMILIES:
        module = importlib.import_module(f"generic_connector.conformance.checks.{family}")
        for value in vars(module).values():
            if isinstance(value, Register) and value.family == family.rstrip("_"):
                found += value.checks
    return found


def asgi_app(name: str) -> App:
    """Return the application that `module:app` names. Raises ValueError."""
    module, _colon, attribute = name.partition(":")
    if not module or not attribute:
        raise ValueError("An ASGI application is named as module:app.")
    try:
        found: object = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except ImportError as error:
        raise ValueError(f"The module {module} cannot be imported: {error}.") from None
    except AttributeError:
        raise ValueError(f"The module {module} has no {attribute}.") from None
    if not callable(found):
        raise ValueError(f"{name} is no ASGI application: it cannot be called.")  # noqa: TRY004 - a wrong word in an option
    return found


async def conform(
    target: Target,
    *,
    checks: Iterable[Check] | None = None,
    seed: int | None = None,
    run_id: str | None = None,
    told: Told | None = None,
    at_once: int = AT_ONCE,
    check_s: float = CHECK_S,
    run_s: float = RUN_S,
) -> Run:
    """Ask an endpoint every check, or those given, and return what came of them.

    `told` hears each finding as it comes, how many there are by then and how many there will be. Transaction ids differ
    from run to run, because an endpoint remembers them, unless both `seed` and `run_id` are given.
    """
    chosen = list(all_checks() if checks is None else checks)
    seed = secrets.randbelow(_SEEDS) if seed is None else seed
    started_at = datetime.now(UTC)
    visit = Visit(target, seed=seed, run_id=run_id or f"{started_at.isoformat()}:{secrets.token_hex(8)}")
    course = _Course(visit, chosen, told, check_s)
    await course.run(at_once, run_s)
    return Run(
        url=visit.shown_url,
        dialect=target.dialect,
        seed=seed,
        started_at=started_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        took_s=round(time.monotonic() - visit.began_s, 3),
        findings=course.findings(),
        about=_about(visit),
    )


def conform_sync(
    target: Target,
    *,
    checks: Iterable[Check] | None = None,
    seed: int | None = None,
    run_id: str | None = None,
    told: Told | None = None,
    at_once: int = AT_ONCE,
    check_s: float = CHECK_S,
    run_s: float = RUN_S,
) -> Run:
    """Do the same without asyncio. Not from within an event loop."""
    return asyncio.run(
        conform(
            target,
            checks=checks,
            seed=seed,
            run_id=run_id,
            told=told,
            at_once=at_once,
            check_s=check_s,
            run_s=run_s,
        )
    )


REACH: Final = Register("reach")


@REACH.check(
    1,
    Level.MUST,
    claim="Answers an ordinary payment with an HTTP response, at the latest when it is asked a third time.",
    source="Twilio: Generic Pay Connector, section Request",
    why="An endpoint that answers nothing takes no payments, and there is nothing to ask it.",
    sends="An ordinary payment, and the same again as a caller does that was not answered in time.",
    expects="Any whole HTTP response.",
    seconds=1.0,
)
async def _answers(probe: Probe) -> None:
    body = probe.charge() if probe.profile.endpoint.charges else probe.tokenize()
    reply = Reply(status=None)
    for _ in range(_ATTEMPTS):
        reply = await probe.post(body)
        if reply.failure is None:
            return
        if reply.failure == "connection refused":
            break
    raise Unmet(
        f"{reply.failure}.",
        expected="an HTTP response, whatever its status",
        fix="Start the endpoint, and look at the address, the port and the path that the kit was given.",
    )


class _Course:
    """One run while it lasts."""

    def __init__(self, visit: Visit, checks: Sequence[Check], told: Told | None, check_s: float) -> None:
        self._visit = visit
        self._checks = checks
        self._told = told
        self._check_s = check_s
        self._came: dict[str, Finding] = {}
        self._extra: Finding | None = None

    def findings(self) -> tuple[Finding, ...]:
        """Return what came of each check, in the order in which they were given."""
        found = [self._came[check.id] for check in self._checks]
        return tuple(found if self._extra is None else [self._extra, *found])

    async def run(self, at_once: int, run_s: float) -> None:
        """Run them all, in bounded time."""
        try:
            async with asyncio.timeout(run_s), self._visit.lasting():
                await self._all(at_once)
        except TimeoutError:
            self._rest(f"The run was over after {run_s:g} s, before this was asked.")
        except LineError as error:
            self._rest(f"The endpoint cannot be asked: {error}.")

    async def _all(self, at_once: int) -> None:
        [reach] = REACH.checks
        first = await self._finding(reach)
        if any(check.id == reach.id for check in self._checks):
            self._note(first)
        elif first.verdict is Verdict.FAILED:
            self._extra = first
        if first.verdict is Verdict.FAILED:
            self._rest(f"The endpoint does not answer: {first.found}")
            return
        places = asyncio.Semaphore(at_once)

        async def in_turn(check: Check) -> None:
            async with places:
                self._note(await self._finding(check))

        waiting = [check for check in self._checks if check.id not in self._came]
        async with asyncio.TaskGroup() as group:
            for check in sorted((check for check in waiting if not check.is_alone), key=lambda check: -check.seconds):
                group.create_task(in_turn(check))
        for check in waiting:
            if check.is_alone:
                self._note(await self._finding(check))

    def _rest(self, reason: str) -> None:
        for check in self._checks:
            if check.id not in self._came:
                self._note(Finding(check=check, verdict=Verdict.SKIPPED, found=self._visit.mask.shown(reason)))

    def _note(self, finding: Finding) -> None:
        self._came[finding.check.id] = finding
        if self._told is not None:
            self._told(finding, len(self._came), len(self._checks))

    async def _finding(self, check: Check) -> Finding:
        """Ask one check. Whatever it raises, there is a finding."""
        missing = [reason for need in sorted(check.needs) if (reason := self._visit.missing(need)) is not None]
        if missing:
            return Finding(check=check, verdict=Verdict.SKIPPED, found=" ".join(dict.fromkeys(missing)))
        probe = Probe(self._visit, check.id)
        show = self._visit.mask.shown
        began_s = time.monotonic()
        verdict, found, expected, fix = Verdict.PASSED, "", "", ""
        bound = asyncio.timeout(self._check_s)
        try:
            async with bound:
                await check.ask(probe)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            verdict, found, expected, fix = self._verdict(check, error, has_ended=not bound.expired())
        return Finding(
            check=check,
            verdict=verdict,
            found=show(found),
            expected=show(expected),
            fix=show(fix),
            exchanges=probe.exchanges,
            took_s=round(time.monotonic() - began_s, 3),
        )

    def _verdict(self, check: Check, error: Exception, *, has_ended: bool) -> tuple[Verdict, str, str, str]:
        """Return what an exception says: the verdict, what was found, what was expected, what to change."""
        match _foremost(error):
            case Unmet() as unmet:
                return Verdict.FAILED, unmet.found, unmet.expected, unmet.fix
            case NotAskable() as reason:
                return Verdict.SKIPPED, str(reason), "", ""
            case TimeoutError() if not has_ended:
                found = f"There was no end to it within {self._check_s:g} s."
                return Verdict.FAILED, found, check.expects, "Answer every request in time, or end its connection."
            case mistake:
                # A mistake in a check is told of, and is not the endpoint's.
                return Verdict.BROKEN, _where(mistake), "", ""


def _foremost(error: Exception) -> Exception:
    """Of what several tasks of a check raised, return what says most: unmet before not askable, others before both."""
    if not isinstance(error, ExceptionGroup):
        return error
    inner = [_foremost(one) for one in error.exceptions]
    return min(inner, key=lambda one: (isinstance(one, NotAskable), isinstance(one, Unmet)))


def _where(error: Exception) -> str:
    """Say what went wrong in the kit, and where. Not in its own words: they may quote what an endpoint said."""
    frames = traceback.extract_tb(error.__traceback__)
    last = next((frame for frame in reversed(frames) if "conformance" in frame.filename), frames[-1])
    place = f"{Path(last.filename).name}, line {last.lineno}"
    return f"A mistake in the kit, not in the endpoint: {type(error).__name__} in {place}."


def _about(visit: Visit) -> dict[str, str]:
    target = visit.target
    asked = "in process" if visit.app is not None else "over TLS" if visit.is_tls else "over plain HTTP"
    who = "a bearer token" if target.bearer else "a username and a password" if target.credentials else "no credentials"
    about = {
        "asked": asked,
        "credentials": who,
        "mode": target.profile.endpoint.mode,
        "timeout": f"{target.timeout_s:g} s",
        "run_id": visit.run_id,
    }
    if visit.is_tls and visit.app is None:
        about["openssl"] = ssl.OPENSSL_VERSION
    return about
