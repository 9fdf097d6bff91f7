"""The conformance kit finds what is wrong with the line, and nothing else.

Each broken endpoint below breaks one rule. The kit is run against it, and exactly the checks named here must be red: so
it is shown that each of them can be red, and that it is red for its own reason. The good toy has none.

Most run in process, and against the whole kit. Where the mistake is one of the socket's, the endpoint stands behind a
server of its own, and the families that need one are asked. The clock is twenty times as fast as Twilio's.
"""

import asyncio
import ssl
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

import broken_line as broken
from broken_line import TAKES_S, TIMEOUT_S, Toy
from generic_connector.conformance.check import Run, Verdict
from generic_connector.conformance.profile import Decline, Endpoint, Profile, Restart, Slow
from generic_connector.conformance.runner import Target, all_checks, conform
from generic_connector.secret import Secret
from mutation_table import record
from plain_server import PlainServer
from toy_endpoint import DEFAULT, OTHER

SOCKET = "limits transport health retry"
LINE = ("retry", "auth", "limits", "transport", "time", "health")
PROFILE = Profile(
    endpoint=Endpoint(ach=True),
    decline=Decline(amount="2000.00", error_code="card_declined"),
    decline_tokenize=Decline(parameters={"sandbox_outcome": "card_declined"}, error_code="card_declined"),
    restart=Restart(ready_within_s=5),
)
SLOW = PROFILE.model_copy(update={"slow": Slow(parameters={"sandbox_delay_ms": "11000"}, takes_s=TAKES_S)})


def _as_it_is(context: ssl.SSLContext) -> None:
    """TLS 1.2 and newer."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2


def _old(lowest: ssl.TLSVersion, highest: ssl.TLSVersion) -> Callable[[ssl.SSLContext], None]:
    def set_up(context: ssl.SSLContext) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # old versions are the point
            context.minimum_version = lowest
            context.maximum_version = highest
        context.set_ciphers("ALL:@SECLEVEL=0")

    return set_up


@dataclass(frozen=True)
class Case:
    """A broken endpoint, and what must be red. `server` puts it behind a socket, `tls` behind TLS."""

    what: type[Toy | PlainServer]
    red: str = ""
    families: str = ""
    is_slow: bool = False
    at_once: int = 16
    tls: Callable[[ssl.SSLContext], None] | None = None
    is_trusted: bool = True


async def asked(case: Case, directory: Path) -> Run:
    """Run the kit against an endpoint."""
    endpoint = case.what() if issubclass(case.what, Toy) else Toy()
    server = None if issubclass(case.what, Toy) else case.what
    families = case.families or ("" if server is None else SOCKET)

    async def restarts() -> None:
        endpoint.restarted()

    def target(url: str, ca_file: Path | None = None) -> Target:
        pair, other = ((username, Secret(password)) for username, password in (DEFAULT, OTHER))
        return Target(
            url=url,
            asgi=endpoint if server is None else None,
            credentials=pair,
            other=other,
            ca_file=ca_file,
            timeout_s=TIMEOUT_S,
            profile=SLOW if case.is_slow else PROFILE,
            restarts=restarts,
        )

    checks = [check for check in all_checks() if not families or check.family in [*families.split(), "reach"]]
    if server is None:
        return await conform(target("http://localhost/"), checks=checks, seed=1, at_once=case.at_once)
    context, ca_file = None, None
    if case.tls is not None:
        authority, ca_file = trustme.CA(), directory / "ca.pem"
        (authority if case.is_trusted else trustme.CA()).cert_pem.write_to_path(str(ca_file))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        case.tls(context)
    async with server(endpoint, context).serving() as url:
        return await conform(target(url, ca_file), checks=checks, seed=1, at_once=case.at_once)


def reds(run: Run) -> frozenset[str]:
    """The ids that are red. Nothing of the kit itself may break."""
    assert [] == [(finding.check.id, finding.found) for finding in run.of(Verdict.BROKEN)]
    return frozenset(finding.check.id for finding in run.of(Verdict.FAILED))


GOOD = {
    "in process": Case(Toy, is_slow=True),
    "plain HTTP": Case(PlainServer),
    "TLS": Case(PlainServer, families="transport", tls=_as_it_is),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_toy(name: str, tmp_path: Path) -> None:
    """A correct endpoint has no red check."""
    run = asyncio.run(asked(GOOD[name], tmp_path))

    assert frozenset() == reds(run)
    assert run.of(Verdict.PASSED)


BROKEN = {
    # Retries
    "keeps no transaction_ids": Case(
        broken.NoMemory,
        "retry/1 retry/5 retry/6 retry/7 retry/9 retry/11 retry/12 retry/13 retry/14 retry/16 retry/17 retry/18"
        " retry/19 retry/21",
        is_slow=True,
    ),
    "wants JSON, keeps no ids": Case(
        broken.WantsJsonAndForgets,
        "tolerance/1 tolerance/2 tolerance/3 retry/1 retry/5 retry/6 retry/9 retry/11 retry/12 retry/13 retry/14"
        " retry/16 retry/18 retry/19 retry/21",
    ),
    "new id on retry": Case(
        broken.NewIdOnRetry,
        "retry/1 retry/5 retry/6 retry/7 retry/9 retry/14 retry/16 retry/18 retry/19 retry/21",
        is_slow=True,
    ),
    "buys twice on parallel retries": Case(broken.LooksBeforeItLeaps, "retry/7 retry/9", is_slow=True),
    'early "in progress" error': Case(broken.SaysInProgress, "retry/8 retry/10 retry/17", is_slow=True),
    "constant id": Case(broken.ConstantId, "charge/11 tokenize/11 retry/20 time/2"),
    "slow success starts over": Case(broken.StartsOver, "retry/17", is_slow=True),
    "slow success runs for ever": Case(broken.StaysRunning, "retry/16 retry/17", is_slow=True),
    "forgets after restart": Case(broken.ForgetsAtRestart, "retry/18"),
    "amount is part of the key": Case(broken.AmountInKey, "retry/11 retry/13"),
    "card is part of the key": Case(broken.CardInKey, "retry/12"),
    "instances share their ids": Case(broken.OneBook, "retry/15"),
    "same card and amount is a duplicate": Case(
        broken.OneTicketEach, "charge/11 errors/6 retry/11 retry/12 retry/13 retry/20 time/2"
    ),
    "tokenize hears a charge's answer": Case(broken.ReplaysAnyMethod, "retry/13"),
    "contradiction erases the payment": Case(broken.LastOneWins, "retry/14"),
    "declines are tried again": Case(broken.TriesDeclinesAgain, "retry/4"),
    'says "duplicate" to a retry': Case(broken.SaysDuplicate, "retry/2 retry/14 retry/16 retry/21"),
    "new confirmation on retry": Case(broken.NewConfirmations, "retry/3"),
    "forgets after three retries": Case(broken.RepeatsThrice, "retry/19"),
    "keeps charges alone": Case(broken.ForgetsTokens, "retry/5 retry/13"),
    "keeps cards alone": Case(broken.ForgetsAccounts, "retry/6"),
    "compares bytes": Case(broken.ComparesBytes, "retry/21"),
    # Credentials
    "no credentials at all": Case(
        broken.Open,
        "auth/1 auth/2 auth/3 auth/4 auth/5 auth/6 auth/7 auth/8 auth/9 auth/10 auth/12 auth/13 auth/14 auth/15"
        " auth/17 health/3",
    ),
    "no header, no question": Case(broken.OpenWithoutHeader, "auth/1 auth/10 auth/15 auth/17 health/3"),
    "any password": Case(broken.AnyPassword, "auth/2 auth/6 auth/8 auth/9 auth/13 auth/14"),
    "any username": Case(broken.AnyUsername, "auth/3"),
    "anybody's password": Case(broken.AnybodysPassword, "auth/9"),
    "username without a colon": Case(broken.NoColonNoPassword, "auth/5"),
    "empty credentials": Case(broken.EmptyIsUnset, "auth/6"),
    "any other scheme": Case(broken.AnyScheme, "auth/7"),
    "part of the password": Case(broken.PartOfThePassword, "auth/13"),
    "password without case": Case(broken.CaseBlind, "auth/13"),
    "password up to its colon": Case(broken.SplitsAtEveryColon, "auth/14"),
    "tokenize without auth": Case(broken.TokenizesForAnybody, "auth/10"),
    "older paths without auth": Case(broken.OldPathsOpen, "auth/11"),
    "500 on garbled base64": Case(broken.FailsOnGarbled, "auth/4"),
    "500 on other scripts": Case(broken.FailsOnOtherScripts, "auth/8"),
    "403 for a wrong password": Case(broken.Says403, "auth/12"),
    "no WWW-Authenticate": Case(broken.NoChallenge, "auth/18"),
    "repeats answers to anybody": Case(broken.RepeatsForAnybody, "auth/15"),
    "keeps what it refused": Case(broken.ClaimsForAnybody, "auth/16"),
    "credentials in the address": Case(broken.ReadsTheQuery, "auth/17"),
    "scheme by its case": Case(broken.OnlyBasicAsWritten, "auth/19"),
    "locks out after wrong passwords": Case(broken.LocksOut, "auth/20"),
    # Limits
    "body without a limit": Case(broken.Bottomless, "limits/1"),
    "last of two keys wins": Case(broken.LastKeyWins, "limits/3"),
    "500 on wrong types": Case(broken.TakesTextForGranted, "errors/31 limits/4"),
    "500 on deep nesting": Case(broken.FailsInTheDeep, "limits/5"),
    "500 on long headers": Case(broken.FailsOnLongHeaders, "limits/8"),
    "500 on long ids": Case(broken.FailsOnLongIds, "limits/9"),
    "long ids are cut": Case(broken.CutsIds, "limits/10"),
    "500 on long numbers": Case(broken.FailsOnLongNumbers, "limits/11"),
    "500 on NUL": Case(broken.FailsOnNul, "limits/12"),
    "500 on what is not UTF-8": Case(broken.FailsOnOtherBytes, "limits/13"),
    "one read is the body": Case(broken.ReadsOnce, "limits/6"),
    "keeps half requests": Case(broken.ClaimsHalfRequests, "limits/2"),
    "one body at a time": Case(broken.OneBodyAtATime, "limits/7", at_once=1),
    "waits for a body for ever": Case(broken.WaitsForEver, "limits/14"),
    # Transport
    "http:// for everybody": Case(broken.OnAllAddresses, "transport/1"),
    "TLS 1.1 at best": Case(
        PlainServer,
        "transport/2 transport/3",
        families="transport",
        tls=_old(ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1),
    ),
    "TLS 1.1 too": Case(
        PlainServer, "transport/3", families="transport", tls=_old(ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_3)
    ),
    "TLS 1.0 too": Case(
        PlainServer,
        "transport/3 transport/4",
        families="transport",
        tls=_old(ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_3),
    ),
    "self-signed chain": Case(PlainServer, "transport/5", families="transport", tls=_as_it_is, is_trusted=False),
    "keep-alive broken: closes": Case(broken.ClosesSilently, "transport/6"),
    "keep-alive broken: old answer": Case(broken.SecondAnswerStale, "transport/6 transport/7"),
    "loses what was sent ahead": Case(broken.LosesWhatWasSentAhead, "transport/7"),
    "no chunked bodies": Case(broken.NoChunks, "transport/8"),
    "first of two lengths wins": Case(broken.FirstLengthWins, "transport/9"),
    "pays by GET": Case(broken.AnyVerb, "transport/10"),
    "never closes": Case(broken.NeverCloses, "transport/11"),
    "gzip for everybody": Case(broken.GzipsAlways, "charge/1 charge/9 tokenize/1 tokenize/9 reply/1 transport/12"),
    "length one too long": Case(broken.LengthTooLong, "reach/1"),
    # Time
    "always late": Case(broken.AlwaysLate, "time/1", families="time"),
    "mixes payments up": Case(broken.MixesUp, "time/2", at_once=1),
    "slow each tenth time": Case(broken.SometimesSlow, "time/3", families="retry time health"),
    "one payment at a time": Case(broken.OneAtATime, "time/4", families="retry time", is_slow=True, at_once=1),
    # Health
    "comes back empty": Case(broken.ComesBackEmpty, "health/1"),
    "comes back generous": Case(broken.ComesBackGenerous, "health/2"),
    "comes back open": Case(broken.ComesBackOpen, "health/3"),
    "never comes back": Case(broken.NeverComesBack, "health/2 health/4"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name: str, tmp_path: Path) -> None:
    """What breaks one rule is red on the checks of that rule, and on no other."""
    case = BROKEN[name]

    red = reds(asyncio.run(asked(case, tmp_path)))

    row = record(name, case.red.split(), red)
    assert row.is_exact, sorted(row.expected ^ row.red)


def test_all_are_tried() -> None:
    """Every check of these families is red for at least one broken endpoint."""
    tried = {check for case in BROKEN.values() for check in case.red.split()}

    assert [] == [check.id for check in all_checks() if check.family in LINE and check.id not in tried]
