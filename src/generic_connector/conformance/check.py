"""A check: one claim about an endpoint, where it comes from, and how it is asked.

Every check has a stable id (`retry/3`), so that a report can be compared with last month's and one check can be run
alone. Its claim is one sentence that begins with what the endpoint does. MUST is what Twilio's documents demand, or
without which money or card data is not safe; SHOULD is what spares callers trouble.

A verdict is one of four. What could not be asked is `skipped`, with the reason, and never `passed`. What went wrong in
the kit itself is `broken`, and never the endpoint's fault.

A check is an async function that gets a `Probe` and asks with it. It returns nothing when the claim holds, and raises
`Unmet` when it does not: what came, what was expected, and what to change. It may raise `NotAskable` where the
endpoint's answers make the question meaningless (no charge succeeds, so nothing can be said about a second one).
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from generic_connector.conformance.probe import Probe


class Level(StrEnum):
    """How binding a claim is."""

    MUST = "MUST"
    SHOULD = "SHOULD"


class Need(StrEnum):
    """What a check cannot do without. What is missing makes it skipped, with the reason."""

    CHARGE = "charge"
    """The endpoint charges."""
    TOKENIZE = "tokenize"
    """The endpoint makes tokens."""
    ACH = "ach"
    """It takes US bank accounts."""
    CREDENTIALS = "credentials"
    """A username and a password were given, so that wrong ones can be told from right ones."""
    BASIC = "basic"
    """It is asked with a username and a password, and not with a token or a secret path."""
    OTHER = "other"
    """The credentials of a second instance were given."""
    DECLINE = "decline"
    """The profile says how to have a charge declined."""
    SLOW = "slow"
    """The profile says how to make a charge take longer than ten seconds."""
    RESTART = "restart"
    """The profile has a command that restarts the endpoint."""
    SOCKET = "socket"
    """The endpoint is asked over a socket, and not in process."""
    TLS = "tls"
    """The address is https://."""


class Verdict(StrEnum):
    """What came of a check."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    BROKEN = "broken"


class Unmet(AssertionError):  # noqa: N818 - it says what a claim is, as in "unmet"
    """The claim does not hold. `found` is what came, `expected` what the contract wants, `fix` what to change.

    None of them quotes a card number, a security code, an account number or a credential: `Probe` masks what it shows,
    and texts of the endpoint go through `Reply.shown`.
    """

    def __init__(self, found: str, *, expected: str, fix: str) -> None:
        super().__init__(found)
        self.found = found
        self.expected = expected
        self.fix = fix


class NotAskable(Exception):  # noqa: N818 - not an error: the question has no meaning here
    """The check cannot be asked of this endpoint. The text says why; the check is skipped."""


Ask = Callable[["Probe"], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check. `source` names a document and its section; `why` is what goes wrong without it, in one sentence."""

    id: str
    level: Level
    claim: str
    source: str
    why: str
    sends: str
    expects: str
    needs: frozenset[Need]
    ask: Ask
    seconds: float = 5.0
    """About how long it takes against an endpoint that is well: for progress, and to begin with the longest."""
    is_alone: bool = False
    """Whether nothing else may run meanwhile: it restarts the endpoint, measures it, or asks how it is afterwards."""

    @property
    def family(self) -> str:
        """The part of the id before the slash."""
        return self.id.partition("/")[0]


@dataclass(slots=True)
class Register:
    """The checks of one family, in the order in which they are written."""

    family: str
    checks: list[Check] = field(default_factory=list)

    def check(
        self,
        number: int,
        level: Level,
        *,
        claim: str,
        source: str,
        why: str,
        sends: str,
        expects: str,
        needs: Iterable[Need] = (),
        seconds: float = 5.0,
        is_alone: bool = False,
    ) -> Callable[[Ask], Ask]:
        """Make a check of the function below."""

        def keep(ask: Ask) -> Ask:
            self.checks.append(
                Check(
                    id=f"{self.family}/{number}",
                    level=level,
                    claim=claim,
                    source=source,
                    why=why,
                    sends=sends,
                    expects=expects,
                    needs=frozenset(needs),
                    ask=ask,
                    seconds=seconds,
                    is_alone=is_alone,
                )
            )
            return ask

        return keep


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and what came back, masked: for reports. Times in seconds since the run began."""

    request: str
    reply: str
    at_s: float
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What came of one check at one endpoint."""

    check: Check
    verdict: Verdict
    found: str = ""
    """Why it failed, was skipped or broke. Empty where it passed."""
    expected: str = ""
    fix: str = ""
    exchanges: tuple[Exchange, ...] = ()
    took_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run against one endpoint. `url` is without credentials and secrets; `about` tells how it was asked."""

    url: str
    dialect: str
    seed: int
    started_at: str
    took_s: float
    findings: tuple[Finding, ...]
    about: Mapping[str, str] = field(default_factory=dict)

    def of(self, verdict: Verdict, level: Level | None = None) -> list[Finding]:
        """Return the findings of a verdict, and of a level if one is given."""
        return [
            finding
            for finding in self.findings
            if finding.verdict is verdict and (level is None or finding.check.level is level)
        ]

    def is_good(self, *, strict: bool) -> bool:
        """Whether every MUST that could be asked holds, and nothing broke; strict: and every MUST was asked.

        Where nothing could be asked, nothing is known: that is not good.
        """
        is_unmet = bool(self.of(Verdict.FAILED, Level.MUST) or self.of(Verdict.BROKEN))
        is_known = bool(self.of(Verdict.PASSED))
        return is_known and not is_unmet and not (strict and self.of(Verdict.SKIPPED, Level.MUST))
