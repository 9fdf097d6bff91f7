r"""The conformance kit as a pytest plugin: every check is a test.

    pytest -p generic_connector.conformance.plugin --connector-url https://localhost:8443/ \
        --connector-username USER --connector-password-file password.txt

The tests are called `conform::retry/3`, and `-k retry` chooses among them. A MUST that does not hold fails; a SHOULD
that does not is an expected failure, unless `--connector-strict` is given; what cannot be asked is skipped, with the
reason. Without `--connector-url` the plugin does nothing.

The checks run side by side, in a thread of their own, as soon as the first test begins: a test waits for its own
check. So the slow ones cost the time of one. It sends real charges, as `generic-connector conform` does, and it does
not ask first.
"""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any, Final, get_args

import pytest

from generic_connector.conformance.check import Check, Finding, Level, Verdict
from generic_connector.conformance.profile import Profile, ProfileError
from generic_connector.conformance.runner import CHECK_S, RUN_S, Dialect, Target, all_checks, conform
from generic_connector.secret import Secret

COLLECTOR: Final = "conform"
_END_S: Final = 10.0


class UnmetClaimError(Exception):
    """A check's claim does not hold, or could not be asked because of a mistake in the kit: pytest shows its text."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("connector", "conformance of a Generic Pay Connector endpoint")
    group.addoption("--connector-url", metavar="URL", help="the endpoint: real charges are sent to it")
    group.addoption("--connector-username", metavar="U", help="its username")
    group.addoption("--connector-password-file", metavar="FILE", help="a file whose first line is its password")
    group.addoption("--connector-profile", metavar="FILE", help="what the endpoint can do, TOML; or `sandbox`")
    group.addoption("--connector-ca", metavar="FILE", help="authorities to trust beside the system's, PEM")
    group.addoption("--connector-dialect", choices=get_args(Dialect), default="twilio", help="whose requests are sent")
    group.addoption("--connector-seed", type=int, metavar="N", help="repeat a run's choices")
    group.addoption("--connector-timeout", type=float, default=10.0, metavar="S", help="how long a caller waits")
    group.addoption("--connector-strict", action="store_true", help="a SHOULD that does not hold fails too")


def pytest_configure(config: pytest.Config) -> None:
    """Read the options, before anything is collected."""
    if not config.getoption("--connector-url"):
        return
    if hasattr(config, "workerinput") or config.getoption("numprocesses", None):
        raise pytest.UsageError("The conformance checks run side by side by themselves: leave out -n.")
    config.stash[_LESSON] = _Lesson(_target(config), config.getoption("--connector-seed"))


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what still runs."""
    lesson = config.stash.get(_LESSON, None)
    if lesson is not None:
        lesson.end()


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say what is asked, with which seed."""
    lesson = config.stash.get(_LESSON, None)
    return None if lesson is None else f"connector: real charges are sent to {lesson.host} ({lesson.target.dialect})"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Add a test for each check, before `-k` chooses."""
    lesson = session.config.stash.get(_LESSON, None)
    if lesson is not None:
        items += _Checks.from_parent(session, name=COLLECTOR, nodeid=COLLECTOR).collect()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Ask only what was chosen."""
    lesson = session.config.stash.get(_LESSON, None)
    if lesson is not None:
        lesson.choose([item.check for item in session.items if isinstance(item, CheckItem)])


class CheckItem(pytest.Item):
    """One check as a test."""

    def __init__(self, *, check: Check, lesson: "_Lesson", **rest: Any) -> None:  # noqa: ANN401 - pytest's own
        super().__init__(**rest)
        self.check = check
        self._lesson = lesson
        if self.config.pluginmanager.hasplugin("timeout"):
            # pytest-timeout: the first test waits for a slow one's place in the run, not for its own work.
            self.add_marker(pytest.mark.timeout(RUN_S + CHECK_S))

    def runtest(self) -> None:
        """Wait for what came of it."""
        finding = self._lesson.finding(self.check)
        self.user_properties += [("level", str(finding.check.level)), ("source", finding.check.source)]
        match finding.verdict:
            case Verdict.PASSED:
                return
            case Verdict.SKIPPED:
                pytest.skip(finding.found)
            case Verdict.FAILED if self.check.level is Level.SHOULD and not self._lesson.is_strict(self.config):
                pytest.xfail(f"SHOULD: {finding.found}")
            case _:
                raise UnmetClaimError(_told(finding))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:  # noqa: ANN401
        """Show what came and what to change, and no traceback of the plugin's own."""
        if isinstance(excinfo.value, UnmetClaimError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return where it is said to stand: it has no file of its own."""
        return self.path, None, f"{COLLECTOR}::{self.check.id}"


class _Checks(pytest.Collector):
    """All of them."""

    def collect(self) -> list[pytest.Item]:
        """Return the tests."""
        lesson = self.config.stash[_LESSON]
        return [CheckItem.from_parent(self, name=check.id, check=check, lesson=lesson) for check in all_checks()]


class _Lesson:
    """One run, in a thread of its own, and what has come of it up to now."""

    def __init__(self, target: Target, seed: int | None) -> None:
        self.target = target
        self._seed = seed
        self._checks: Sequence[Check] = ()
        self._futures: dict[str, Future[Finding]] = {}
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[object] | None = None

    @property
    def host(self) -> str:
        """Where the endpoint is, without its path, which may be a secret."""
        return "/".join(self.target.url.split("/")[:3]).partition("?")[0]

    @staticmethod
    def is_strict(config: pytest.Config) -> bool:
        """Whether a SHOULD that does not hold fails."""
        return bool(config.getoption("--connector-strict"))

    def choose(self, checks: Sequence[Check]) -> None:
        """Say what is to be asked."""
        self._checks = checks
        self._futures = {check.id: Future() for check in checks}

    def finding(self, check: Check) -> Finding:
        """Return what came of a check; the first one who asks begins the run."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=COLLECTOR, daemon=True)
            self._thread.start()
        try:
            return self._futures[check.id].result(RUN_S + CHECK_S)
        except (CancelledError, TimeoutError):
            return Finding(check=check, verdict=Verdict.BROKEN, found="The run ended before this was asked.")

    def end(self) -> None:
        """Stop the run, if it still goes on: pytest was told to end."""
        if self._thread is None or not self._thread.is_alive():
            return
        if self._loop is not None and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(_END_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._conform())
        except asyncio.CancelledError:
            return
        finally:
            for future in self._futures.values():
                future.cancel()

    async def _conform(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        await conform(self.target, checks=self._checks, seed=self._seed, told=self._note)

    def _note(self, finding: Finding, _done: int, _all: int) -> None:
        self._futures[finding.check.id].set_result(finding)


_LESSON: Final = pytest.StashKey[_Lesson]()


def _target(config: pytest.Config) -> Target:
    username, password = config.getoption("--connector-username"), config.getoption("--connector-password-file")
    if (username is None) is not (password is None):
        raise pytest.UsageError("--connector-username and --connector-password-file belong together: give both.")
    authorities = config.getoption("--connector-ca")
    profile = config.getoption("--connector-profile")
    try:
        return Target(
            url=config.getoption("--connector-url"),
            credentials=None if username is None else (username, _password(Path(password))),
            dialect=config.getoption("--connector-dialect"),
            ca_file=None if authorities is None else _file(Path(authorities), "--connector-ca"),
            timeout_s=config.getoption("--connector-timeout"),
            profile=Profile() if profile is None else Profile.named(profile),
        )
    except ProfileError as error:
        raise pytest.UsageError(f"--connector-profile: {error}") from None
    except ValueError as error:
        raise pytest.UsageError(f"--connector-url: {error}") from None


def _file(path: Path, option: str) -> Path:
    if not path.is_file():
        raise pytest.UsageError(f"{option}: there is no file {path}.")
    return path


def _password(path: Path) -> Secret:
    try:
        line = _file(path, "--connector-password-file").read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError):
        line = ""
    if not line:
        raise pytest.UsageError(f"--connector-password-file: {path} has no password on its first line, as UTF-8.")
    return Secret(line)


def _told(finding: Finding) -> str:
    return "\n".join(_lines(finding))


def _lines(finding: Finding) -> Iterator[str]:
    check = finding.check
    yield f"{check.id} {check.level}: {check.claim}"
    yield f"  found:    {finding.found}"
    if finding.expected:
        yield f"  expected: {finding.expected}"
    if finding.fix:
        yield f"  fix:      {finding.fix}"
    yield f"  why:      {check.why}"
    yield f"  source:   {check.source}"
    for number, exchange in enumerate(finding.exchanges, 1):
        yield ""
        yield f"  {number}. after {exchange.at_s:g} s, for {exchange.took_s:g} s"
        yield from (f"    > {line}" for line in exchange.request.splitlines())
        yield from (f"    < {line}" for line in exchange.reply.splitlines())
