"""A run of the conformance kit: which checks, how many at once, what came of them, and that it ends.

The checks in here are of the tests' own making, so that these claims are about the runner; only against stubborn
servers it is the whole kit.
"""

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import Mapping
from typing import Any

import pytest

from generic_connector.conformance.check import (
    Ask,
    Check,
    Finding,
    Level,
    Need,
    NotAskable,
    Register,
    Run,
    Unmet,
    Verdict,
)
from generic_connector.conformance.in_process import Message
from generic_connector.conformance.probe import Probe
from generic_connector.conformance.profile import Profile, Slow
from generic_connector.conformance.runner import REACH, Target, all_checks, asgi_app, conform, conform_sync
from generic_connector.secret import Secret
from stubborn import SILENT, TALKATIVE, Manner, answers, hangs, stubborn
from toy_endpoint import DEFAULT, OTHER, ToyEndpoint

KIT_S = 60.0
"""A whole run of the kit must end in that, with a caller's patience of `PATIENCE_S`, whatever it is run against."""
PATIENCE_S = 0.3
AT_ONCE = 6
EVENT_S = 20
"""How long a test waits for what must happen."""
SHOWN_MAX = 8_192


def target(app: Any = None, **changes: Any) -> Target:  # noqa: ANN401 - what Target takes
    """A toy in process, unless told otherwise."""
    given: dict[str, Any] = {
        "url": "http://localhost/",
        "asgi": ToyEndpoint() if app is None else app,
        "credentials": (DEFAULT[0], Secret(DEFAULT[1])),
        **changes,
    }
    return Target(**given)


def checks_of(*asks: Ask, **about: Any) -> list[Check]:  # noqa: ANN401 - what a check takes
    """Checks `try/1`, `try/2`, ... that do this."""
    register = Register("try")
    words = dict.fromkeys(("claim", "source", "why", "sends", "expects"), "-")
    for number, ask in enumerate(asks, 1):
        register.check(number, about.get("level", Level.MUST), **{**words, **about})(ask)
    return register.checks


def one(run: Run) -> Finding:
    """The only finding."""
    [finding] = run.findings
    return finding


async def holds(probe: Probe) -> None:
    """A claim that holds."""
    probe.need_success(await probe.post(probe.charge()), "charge")


# --- Verdicts --------------------------------------------------------------------------------------------------------


async def unmet(_probe: Probe) -> None:
    """A claim that does not hold."""
    raise Unmet("this came", expected="that", fix="change it")


async def not_askable(_probe: Probe) -> None:
    """A question without a meaning."""
    raise NotAskable("It has no meaning here.")


async def mistaken(_probe: Probe) -> None:
    """A mistake in the kit."""
    raise KeyError("a mistake")


async def one_of_several_tasks(_probe: Probe) -> None:
    """A check that asks in several tasks."""
    async with asyncio.TaskGroup() as group:
        group.create_task(unmet(_probe))
        group.create_task(not_askable(_probe))


async def times_out_by_itself(_probe: Probe) -> None:
    """A timeout that is not the runner's."""
    raise TimeoutError


async def never_ends(_probe: Probe) -> None:
    """A check that waits for ever."""
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("ask", "verdict", "found"),
    [
        pytest.param(holds, Verdict.PASSED, r"", id="holds"),
        pytest.param(unmet, Verdict.FAILED, r"this came", id="does not hold"),
        pytest.param(not_askable, Verdict.SKIPPED, r"It has no meaning here\.", id="has no meaning"),
        pytest.param(mistaken, Verdict.BROKEN, r".*KeyError in test_conformance_runner\.py, line \d+\.", id="mistake"),
        pytest.param(one_of_several_tasks, Verdict.FAILED, r"this came", id="in one of several tasks"),
        pytest.param(times_out_by_itself, Verdict.BROKEN, r".*TimeoutError in .*", id="a timeout of the check's own"),
        pytest.param(never_ends, Verdict.FAILED, r"There was no end to it within 0\.1 s\.", id="never ends"),
    ],
)
def test_whatever_a_check_does_there_is_a_finding(ask: Ask, verdict: Verdict, found: str) -> None:
    """A mistake of the kit is `broken`, what has no meaning is `skipped`, and neither ever `passed`."""
    finding = one(conform_sync(target(), checks=checks_of(ask), check_s=0.1 if ask is never_ends else 5))

    assert finding.verdict is verdict
    assert re.fullmatch(found, finding.found)
    assert (finding.expected, finding.fix) == (
        ("that", "change it") if "this" in found else (finding.expected, finding.fix)
    )


def test_a_finding_of_a_mistake_does_not_quote_it() -> None:
    """What an exception says may be what the endpoint said: its kind and place are told, and no more."""

    async def quotes(_probe: Probe) -> None:
        raise ValueError("4539578763621486")

    assert "4539" not in one(conform_sync(target(), checks=checks_of(quotes))).found


@pytest.mark.parametrize(
    ("need", "changes"),
    [
        (Need.CHARGE, {"profile": {"endpoint": {"charges": False}}}),
        (Need.TOKENIZE, {"profile": {"endpoint": {"tokenizes": False}}}),
        (Need.ACH, {}),
        (Need.CREDENTIALS, {"credentials": None}),
        (Need.BASIC, {"credentials": None, "bearer": Secret("a-token")}),
        (Need.OTHER, {}),
        (Need.DECLINE, {}),
        (Need.SLOW, {}),
        (Need.RESTART, {}),
        (Need.SOCKET, {}),
        (Need.TLS, {}),
    ],
    ids=lambda value: str(value) if isinstance(value, Need) else "",
)
def test_what_an_endpoint_lacks_is_skipped_with_the_reason(need: Need, changes: dict[str, Any]) -> None:
    """A check whose need is not met is not asked, and its finding says what is missing."""
    if "profile" in changes:
        changes = {**changes, "profile": Profile.model_validate(changes["profile"])}

    async def asked(_probe: Probe) -> None:
        raise AssertionError

    finding = one(conform_sync(target(**changes), checks=checks_of(asked, needs=[need])))

    assert (finding.verdict, finding.exchanges) == (Verdict.SKIPPED, ())
    assert finding.found.endswith(".")


def test_what_an_endpoint_has_is_asked() -> None:
    """The control of the test before: with all of it there, nothing is skipped that can be had in process."""

    async def again() -> None:
        return

    needs = set(Need) - {Need.SOCKET, Need.TLS}
    given = target(profile=Profile.sandbox(), other=(OTHER[0], Secret(OTHER[1])), restarts=again)

    assert one(conform_sync(given, checks=checks_of(holds, needs=needs))).verdict is Verdict.PASSED


# --- Order, number, time ---------------------------------------------------------------------------------------------


class Course:
    """What ran when."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.running = 0
        self.most = 0
        self.most_beside_the_alone = 0

    def ask(self, name: str, *, is_alone: bool = False) -> Ask:
        async def asked(_probe: Probe) -> None:
            self.order.append(name)
            self.running += 1
            self.most = max(self.most, self.running)
            for _ in range(10):
                await asyncio.sleep(0)
                if is_alone:
                    self.most_beside_the_alone = max(self.most_beside_the_alone, self.running - 1)
            self.running -= 1

        return asked


def test_the_longest_begin_and_what_must_be_alone_is_alone() -> None:
    """Checks start with the longest, as many at once as is allowed; those that must be alone come last, one by one."""
    course = Course()
    checks = [
        *checks_of(course.ask("alone 1", is_alone=True), course.ask("alone 2", is_alone=True), is_alone=True),
        *[
            Check(**{**_fields(check), "id": f"short/{number}"})
            for number, check in enumerate(checks_of(*[course.ask("short")] * 6, seconds=1.0))
        ],
        *[
            Check(**{**_fields(check), "id": f"long/{number}"})
            for number, check in enumerate(checks_of(*[course.ask("long")] * 2, seconds=20.0))
        ],
    ]

    run = conform_sync(target(), checks=checks, at_once=3)

    assert ["long"] * 2 + ["short"] * 6 + ["alone 1", "alone 2"] == course.order
    assert (course.most, course.most_beside_the_alone) == (3, 0)
    assert [check.id for check in checks] == [finding.check.id for finding in run.findings]


def _fields(check: Check) -> dict[str, Any]:
    return {name: getattr(check, name) for name in Check.__dataclass_fields__}


def test_slow_checks_cost_the_time_of_one() -> None:
    """Sixteen checks that each wait for half a second take less than two together."""

    async def waits(probe: Probe) -> None:
        probe.need_success(await probe.post(probe.slow_charge()), "charge")

    profile = Profile(slow=Slow(parameters={"sandbox_delay_ms": "500"}))
    run = conform_sync(target(profile=profile), checks=checks_of(*[waits] * 16))

    assert run.of(Verdict.PASSED) == list(run.findings)
    assert run.took_s < 2


def test_a_run_ends_in_time_and_says_what_was_not_asked() -> None:
    """When a run's time is over, what was not asked is skipped, and says so."""
    began = time.monotonic()
    run = conform_sync(target(), checks=checks_of(holds, never_ends), run_s=0.3)

    assert time.monotonic() - began < EVENT_S
    assert [finding.verdict for finding in run.findings] == [Verdict.PASSED, Verdict.SKIPPED]
    assert "The run was over after 0.3 s" in run.findings[1].found


def test_progress_is_told() -> None:
    """Each finding is told once, with how many there are by then and how many there will be."""
    told: list[tuple[str, int, int]] = []
    run = conform_sync(
        target(),
        checks=checks_of(holds, unmet, not_askable),
        told=lambda finding, done, of: told.append((finding.check.id, done, of)),
    )

    assert {finding.check.id for finding in run.findings} == {name for name, _done, _of in told}
    assert [(1, 3), (2, 3), (3, 3)] == [(done, of) for _name, done, of in told]


# --- Seeds -----------------------------------------------------------------------------------------------------------


class Listening(ToyEndpoint):
    """Keeps the bodies that it was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []

    async def answer(self, request: Any) -> Any:  # noqa: ANN401 - the toy's
        self.bodies.append(request.body)
        return await super().answer(request)


async def rolls(probe: Probe) -> None:
    """Sends what comes by chance."""
    for _ in range(3):
        await probe.post(probe.charge(description=str(probe.randomness.random())))


def _bodies(seed: int | None, run_id: str | None) -> list[bytes]:
    app = Listening()
    conform_sync(target(app), checks=checks_of(rolls, rolls), seed=seed, run_id=run_id, at_once=1)
    return app.bodies


def test_a_run_can_be_repeated_to_the_byte() -> None:
    """With one seed and one run id the same bytes are sent. With another run id, or none, other transaction ids are."""
    first, again = _bodies(7, "a"), _bodies(7, "a")
    ids = re.compile(rb'"transaction_id":"([^"]+)"')
    by_seed, by_run, by_neither = _bodies(8, "a"), _bodies(7, "b"), _bodies(7, None)

    assert first == again
    assert len(set(first)) == len(first) > 6
    for others in (by_seed, by_run, by_neither):
        assert not {ids.findall(body)[0] for body in first} & {ids.findall(body)[0] for body in others}
    assert [ids.sub(b"", body) for body in first] == [ids.sub(b"", body) for body in by_neither]


def test_a_run_tells_its_seed() -> None:
    """A seed that was not given is chosen, and told, so that the run can be repeated."""
    assert conform_sync(target(), checks=[], seed=5).seed == 5
    assert conform_sync(target(), checks=[]).seed != conform_sync(target(), checks=[]).seed


# --- What cannot be asked --------------------------------------------------------------------------------------------


def test_who_does_not_answer_is_asked_nothing_more() -> None:
    """With nobody there, one finding says so, and all the others are skipped."""
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        run = conform_sync(Target(url=url), checks=checks_of(holds, holds))

    assert [finding.check.id for finding in run.findings] == ["reach/1", "try/1", "try/2"]
    assert [finding.verdict for finding in run.findings] == [Verdict.FAILED, Verdict.SKIPPED, Verdict.SKIPPED]
    assert run.findings[0].found == "connection refused."
    assert not run.is_good(strict=False)


def test_an_application_that_does_not_start_is_asked_nothing() -> None:
    """An ASGI application whose lifespan fails cannot be asked, and the run says why."""

    async def app(scope: Message, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's
        assert scope["type"] == "lifespan"
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    finding = one(conform_sync(target(app), checks=checks_of(holds)))

    assert (finding.verdict, "lifespan.startup.failed" in finding.found) == (Verdict.SKIPPED, True)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"url": "ftp://host/"}, "http"),
        ({"url": "host"}, "http"),
        ({"url": "https:///path"}, "http"),
        ({"url": "https://host:port/"}, "not a URL"),
        ({"url": "https://me:hunter22@host/"}, "credentials"),
        ({"url": "https://host/a b"}, "percent"),
        ({"url": "https://host/ü"}, "percent"),
        ({"timeout_s": 0}, "timeout"),
        ({"credentials": ("a:b", Secret("hunter22"))}, "colon"),
    ],
)
def test_a_target_that_cannot_be_is_refused(changes: dict[str, Any], says: str) -> None:
    """A wrong address or username is refused in words, and no word of it is a credential."""
    with pytest.raises(ValueError, match=says) as refused:
        target(**changes)

    assert "hunter22" not in str(refused.value)


def test_a_target_shows_no_secret() -> None:
    """Its repr has no password, no token and no address, whose path may be a secret."""
    shown = repr(target(url="https://host/i/hunter22", bearer=Secret("hunter22"), other=("b", Secret("hunter22"))))

    assert "hunter22" not in shown


@pytest.mark.parametrize(
    ("url", "credentials", "shown"),
    [
        ("https://host/pay?key=hunter22", ("a", Secret("b")), "https://host/pay"),
        ("https://host:8443/i/sekretpathsekretpath", None, "https://host:8443/i/***"),
        ("http://[::1]:80/", None, "http://[::1]/"),
    ],
)
def test_a_run_tells_the_address_without_secrets(url: str, credentials: Any, shown: str) -> None:  # noqa: ANN401
    """A query is left out, and so is a path that may stand for credentials."""
    assert conform_sync(target(url=url, credentials=credentials), checks=[]).url == shown


def test_an_application_is_found_by_its_name() -> None:
    """`module:app` names an application; what names none is refused in words."""
    found: object = asgi_app("toy_endpoint:ToyEndpoint.answer")

    assert found is ToyEndpoint.answer
    for name in ("toy_endpoint", "toy_endpoint:", "no_such_module:app", "toy_endpoint:nothing", "toy_endpoint:DEFAULT"):
        with pytest.raises(ValueError, match=r"module|application"):
            asgi_app(name)


# --- All checks ------------------------------------------------------------------------------------------------------


def test_the_checks_are_well_formed() -> None:
    """Ids are unique and in families, every text is there, a claim is a sentence, a source is none."""
    checks = all_checks()

    assert len({check.id for check in checks}) == len(checks) > 60
    assert all(re.fullmatch(r"[a-z]+/[1-9][0-9]*", check.id) for check in checks)
    assert checks[0] is REACH.checks[0]
    for check in checks:
        assert all((check.claim, check.source, check.why, check.sends, check.expects)), check.id
        assert check.claim.endswith("."), check.id
        assert not check.source.endswith("."), check.id


# --- Stubborn servers ------------------------------------------------------------------------------------------------


async def _judged(manner: Manner) -> tuple[Run, float, int]:
    async with stubborn(manner) as server:
        profile = Profile.sandbox().model_copy(update={"slow": Slow(parameters={"delay": "400"}, takes_s=0.4)})
        asked = Target(
            url=server.url,
            credentials=("user", Secret("correct horse battery")),
            other=("other", Secret("staple staple staple")),
            timeout_s=PATIENCE_S,
            profile=profile,
        )
        began = time.monotonic()
        run = await conform(asked, seed=1, run_s=KIT_S)
        return run, time.monotonic() - began, server.asked


@pytest.fixture(scope="module")
def judged() -> Mapping[str, tuple[Run, float, int]]:
    """The whole kit against all of them, as many at once as one process can ask without being late itself."""

    async def all_of_them() -> dict[str, tuple[Run, float, int]]:
        places = asyncio.Semaphore(AT_ONCE)

        async def in_turn(manner: Manner) -> tuple[Run, float, int]:
            async with places:
                return await _judged(manner)

        manners = {**SILENT, **TALKATIVE}
        found = await asyncio.gather(*map(in_turn, manners.values()))
        return dict(zip(manners, found, strict=True))

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("name", [*SILENT, *TALKATIVE])
def test_a_run_against_a_stubborn_server_ends(name: str, judged: Mapping[str, tuple[Run, float, int]]) -> None:
    """Whatever a server does, every check has a finding in bounded time and of bounded size, and nothing is broken."""
    run, took_s, asked = judged[name]

    assert took_s < KIT_S
    assert asked > 0
    assert [check.id for check in all_checks()] == [finding.check.id for finding in run.findings]
    assert [] == [(finding.check.id, finding.found) for finding in run.of(Verdict.BROKEN)]
    assert not run.is_good(strict=False)
    assert not [finding for finding in run.findings if "The run was over" in finding.found]
    for finding in run.findings:
        texts = [
            finding.found,
            *(each.request for each in finding.exchanges),
            *(each.reply for each in finding.exchanges),
        ]
        assert max(map(len, texts)) < SHOWN_MAX


@pytest.mark.parametrize("name", SILENT)
def test_who_never_answers_is_given_up(name: str, judged: Mapping[str, tuple[Run, float, int]]) -> None:
    """A server that gives no whole answer to an ordinary payment is found out by the first check, and left alone."""
    run, _took_s, asked = judged[name]

    assert ["reach/1"] == [finding.check.id for finding in run.of(Verdict.FAILED)]
    assert len(run.of(Verdict.SKIPPED)) == len(run.findings) - 1
    assert asked <= 3


@pytest.mark.parametrize("name", TALKATIVE)
def test_who_answers_is_judged(name: str, judged: Mapping[str, tuple[Run, float, int]]) -> None:
    """A server that answers anything is asked on, and a MUST says what is wrong."""
    run, _took_s, _asked = judged[name]

    assert run.findings[0].verdict is Verdict.PASSED
    assert run.of(Verdict.FAILED, Level.MUST)


def test_a_redirect_is_not_followed() -> None:
    """Card data goes where the address says, and nowhere else, whatever a server answers."""

    async def main() -> tuple[int, Finding]:
        async with stubborn(hangs) as elsewhere, stubborn(answers(307, b"", Location=elsewhere.url)) as server:
            run = await conform(Target(url=server.url, timeout_s=EVENT_S), checks=REACH.checks)
            return elsewhere.asked, one(run)

    asked, finding = asyncio.run(main())

    assert (asked, finding.verdict) == (0, Verdict.PASSED)
    assert "307" in finding.exchanges[0].reply
