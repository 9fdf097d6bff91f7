"""The reports: what they say of a run that is made up here, and what they never say."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Final, Literal
from xml.etree import ElementTree as ET

import pytest

from browser import DESKTOP, NARROW, chromium, grave_violations, opened
from generic_connector.conformance.check import Check, Exchange, Finding, Level, Need, Run, Verdict
from generic_connector.conformance.report import headline, html, junit, matrix, table, to_json

VISA: Final = "4111111111111111"
HOSTILE: Final = "<script>alert(1)</script>\x1b[2J\x00\u202e]]>&\"'"


async def _ask(_probe: object) -> None:
    raise NotImplementedError


def check(id_: str, level: Level = Level.MUST, **changes: str) -> Check:
    """Make up a check."""
    texts: dict[str, str] = {
        "claim": f"Holds what {id_} claims.",
        "source": f"Twilio: Generic Pay Connector, section of {id_}",
        "why": f"Without {id_} callers pay twice.",
        "sends": f"A charge for {id_}, and the same again.",
        "expects": f"The answer that {id_} wants.",
        **changes,
    }
    return Check(
        id=id_,
        level=level,
        needs=frozenset({Need.CHARGE}),
        ask=_ask,
        claim=texts["claim"],
        source=texts["source"],
        why=texts["why"],
        sends=texts["sends"],
        expects=texts["expects"],
    )


def exchange(request: str = "POST /\n{}", reply: str = "HTTP 200\n{}") -> Exchange:
    """Make up an exchange."""
    return Exchange(request=request, reply=reply, at_s=1.25, took_s=0.012)


PASSED = Finding(check=check("charge/1"), verdict=Verdict.PASSED, exchanges=(exchange(),), took_s=0.02)
UNMET = Finding(
    check=check("retry/1"),
    verdict=Verdict.FAILED,
    found="The retry got another charge_id.",
    expected="The charge_id of the first answer.",
    fix="Keep the answer by transaction_id, and give it again.",
    exchanges=(exchange(reply='{"charge_id": "one"}'), exchange(reply='{"charge_id": "two"}')),
    took_s=0.5,
)
UNMET_SHOULD = Finding(
    check=check("reply/2", Level.SHOULD),
    verdict=Verdict.FAILED,
    found="error_code is the number 7.",
    fix="Answer error_code as text.",
)
SKIPPED = Finding(check=check("auth/4"), verdict=Verdict.SKIPPED, found="no second instance: give --other-username")
SKIPPED_SHOULD = Finding(
    check=check("auth/5", Level.SHOULD), verdict=Verdict.SKIPPED, found="no second instance: give --other-username"
)
BROKEN = Finding(check=check("time/1"), verdict=Verdict.BROKEN, found="ZeroDivisionError in the kit")
ALL = (PASSED, UNMET, UNMET_SHOULD, SKIPPED, SKIPPED_SHOULD, BROKEN)


def run_of(*findings: Finding, url: str = "https://pay.example/") -> Run:
    """Make up a run."""
    return Run(
        url=url,
        dialect="twilio",
        seed=7,
        started_at="2026-11-24T03:00:00Z",
        took_s=12.34,
        findings=findings,
        about={"asked with": "Basic"},
    )


class Page(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, Mapping[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)


REPORTS: Final[Mapping[str, Callable[[Run], str]]] = {
    "table": table,
    "junit": junit,
    "json": to_json,
    "html": html,
    "matrix": lambda run: matrix([run, run]),
}


# --- What is said ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("findings", "said"),
    [
        ((PASSED,), "It honours the contract: every MUST holds."),
        ((PASSED, UNMET_SHOULD), "It honours the contract: every MUST holds."),
        ((PASSED, UNMET), "It does not honour the contract: of 2 MUST checks that were asked, 1 failed."),
        ((PASSED, UNMET, BROKEN), "It does not honour the contract: of 2 MUST checks that were asked, 1 failed."),
        ((PASSED, SKIPPED), "Every MUST that could be asked holds: 1 of 2. 1 could not be asked."),
        ((PASSED, BROKEN), "Not judged: 1 check broke in the kit itself."),
        ((SKIPPED, SKIPPED_SHOULD), "Nothing could be asked."),
        ((), "Nothing could be asked."),
    ],
    ids=["all", "SHOULD", "MUST", "MUST and broken", "skipped", "broken", "nothing asked", "nothing"],
)
def test_the_headline_says_what_came_of_it(findings: tuple[Finding, ...], said: str) -> None:
    """What is skipped or broken is never told as held."""
    assert said == headline(run_of(*findings))


@pytest.mark.parametrize("make", REPORTS.values(), ids=REPORTS)
@pytest.mark.parametrize(
    "text",
    [
        "Holds what retry/1 claims.",
        "Twilio: Generic Pay Connector, section of retry/1",
        "A charge for retry/1, and the same again.",
        "The retry got another charge_id.",
        "The charge_id of the first answer.",
        "Keep the answer by transaction_id, and give it again.",
        "no second instance: give --other-username",
        "ZeroDivisionError in the kit",
        "https://pay.example/",
    ],
)
def test_every_report_says_what_to_change(make: Callable[[Run], str], text: str) -> None:
    """Claim, source, what was sent, found, expected and to change; why others were not asked; and of whom."""
    said = make(run_of(*ALL))
    readable = Page(said).text if said.startswith("<!DOCTYPE") else unescape(said)

    assert text in re.sub(r"\s+", " ", readable)


@pytest.mark.parametrize("make", REPORTS.values(), ids=REPORTS)
def test_the_same_run_makes_the_same_report(make: Callable[[Run], str]) -> None:
    """A report can be compared with the last one."""
    assert make(run_of(*ALL)) == make(run_of(*ALL))


def test_the_table_has_a_line_for_each_check() -> None:
    """Each check, in the order in which it was registered, with its level and verdict."""
    lines = table(run_of(*ALL)).splitlines()[: len(ALL)]

    assert [(one.check.id, one.check.level, one.verdict) for one in ALL] == [tuple(line.split()[:3]) for line in lines]


@pytest.mark.parametrize("columns", [60, 80, 110, 200])
def test_the_table_keeps_to_its_width(columns: int) -> None:
    """Long texts are wrapped, and the words all there."""
    finding = replace(UNMET, found="a long finding " * 40)

    said = table(run_of(finding), columns=columns)

    assert max(map(len, said.splitlines())) <= columns
    assert said.count("finding") == 40


# --- Programs --------------------------------------------------------------------------------------------------------


def test_junit_counts_as_its_cases_do() -> None:
    """Each check is a case: unmet ones of both levels are failures, broken ones errors, the others skipped."""
    root = ET.fromstring(junit(run_of(*ALL)))  # noqa: S314 - we wrote it
    cases = {str(case.get("name")).split()[0]: case for case in root.iter("testcase")}

    assert [one.check.id for one in ALL] == list(cases)
    assert {"charge", "retry", "reply", "auth", "time"} == {suite.get("name") for suite in root}
    for kind, verdict in (("failure", Verdict.FAILED), ("error", Verdict.BROKEN), ("skipped", Verdict.SKIPPED)):
        assert {one.check.id for one in ALL if one.verdict is verdict} == {
            name for name, case in cases.items() if case.find(kind) is not None
        }
    for suite in root:
        for count, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(str(suite.get(count))) == len(list(suite.iter(kind)))
        assert int(str(suite.get("tests"))) == len(suite)
    failure = cases["retry/1"].find("failure")
    assert failure is not None
    assert (failure.get("type"), failure.get("message")) == ("MUST", UNMET.found)
    assert UNMET.fix in str(failure.text)


def test_json_has_everything() -> None:
    """Every field of every finding, by its name; the counts; and the exchanges."""
    told = json.loads(to_json(run_of(*ALL)))

    assert (told["url"], told["dialect"], told["seed"]) == ("https://pay.example/", "twilio", 7)
    assert (False, False) == (told["is_good"], told["is_good_strict"])
    assert told["counts"]["MUST"] == {"passed": 1, "failed": 1, "skipped": 1, "broken": 1}
    assert [one.check.id for one in ALL] == [one["id"] for one in told["checks"]]
    unmet = told["checks"][1]
    assert unmet == {
        "id": "retry/1",
        "family": "retry",
        "level": "MUST",
        "claim": UNMET.check.claim,
        "source": UNMET.check.source,
        "why": UNMET.check.why,
        "sends": UNMET.check.sends,
        "expects": UNMET.check.expects,
        "needs": ["charge"],
        "verdict": "failed",
        "found": UNMET.found,
        "expected": UNMET.expected,
        "fix": UNMET.fix,
        "took_s": 0.5,
        "exchanges": [
            {"request": one.request, "reply": one.reply, "at_s": 1.25, "took_s": 0.012} for one in UNMET.exchanges
        ],
    }


@pytest.mark.parametrize(
    ("findings", "is_good", "is_strictly"),
    [((PASSED,), True, True), ((PASSED, SKIPPED), True, False), ((SKIPPED,), False, False), ((), False, False)],
    ids=["passed", "some skipped", "all skipped", "none"],
)
def test_a_run_in_which_nothing_was_asked_is_not_good(
    findings: tuple[Finding, ...], *, is_good: bool, is_strictly: bool
) -> None:
    """Where nothing failed, but nothing held either."""
    told = json.loads(to_json(run_of(*findings)))

    assert (told["is_good"], told["is_good_strict"]) == (is_good, is_strictly)


def test_several_endpoints_are_in_one_report() -> None:
    """JSON has a list of runs, JUnit a suite for each endpoint and family, the page a section for each."""
    runs = run_of(PASSED, url="https://a.example/"), run_of(UNMET, url="https://b.example/")

    assert ["https://a.example/", "https://b.example/"] == [one["url"] for one in json.loads(to_json(*runs))["runs"]]
    suites = ET.fromstring(junit(*runs))  # noqa: S314 - we wrote it
    assert ["https://a.example/ charge", "https://b.example/ retry"] == [suite.get("name") for suite in suites]
    assert {"e1", "e2"} <= {attributes.get("id") for _tag, attributes in Page(html(*runs)).tags}


# --- What an endpoint said -------------------------------------------------------------------------------------------


def hostile() -> Run:
    """A run against an endpoint that would rather run something in the reader's program."""
    finding = replace(UNMET, found=HOSTILE, expected=HOSTILE, fix=HOSTILE, exchanges=(exchange(HOSTILE, HOSTILE),))
    skipped = replace(SKIPPED, found=HOSTILE)
    return replace(
        run_of(finding, skipped, replace(BROKEN, found=HOSTILE)), url=f"https://x/{HOSTILE}", about={HOSTILE: HOSTILE}
    )


@pytest.mark.parametrize("make", REPORTS.values(), ids=REPORTS)
def test_nothing_that_an_endpoint_says_steers_a_reader(make: Callable[[Run], str]) -> None:
    """No element of its own, no escape for terminals, no text turned around; and what must parse does."""
    said = make(hostile())

    assert not set("\x1b\x00\u202e") & set(said)
    if make is junit:
        ET.fromstring(said)  # noqa: S314 - we wrote it
    if said.startswith("<!DOCTYPE"):
        assert "script" not in {tag for tag, _attributes in Page(said).tags}
        assert "<script>alert(1)</script>" in Page(said).text  # it can be read


@pytest.mark.parametrize("make", REPORTS.values(), ids=REPORTS)
def test_no_card_number_is_in_a_report(make: Callable[[Run], str]) -> None:
    """Even where one was not masked when it was recorded."""
    leaky = replace(
        UNMET,
        check=check("secrecy/1", claim=f"claim {VISA}", sends=f"sends {VISA}"),
        found=f"found {VISA}",
        expected=f"expected {VISA}",
        fix=f"fix {VISA}",
        exchanges=(exchange(f"request {VISA}", f"reply {VISA}"),),
    )
    run = replace(run_of(leaky, replace(SKIPPED, found=VISA)), url=f"https://pay.example/{VISA}", about={"card": VISA})

    assert VISA not in make(run)


# --- The pages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["html", "matrix"])
def test_a_page_is_whole_by_itself(name: str) -> None:
    """It loads nothing, runs nothing, says so by its policy, and every link within it leads somewhere."""
    page = Page(REPORTS[name](run_of(*ALL)))
    ids = [attributes["id"] for _tag, attributes in page.tags if "id" in attributes]
    links = {str(attributes["href"]) for tag, attributes in page.tags if tag == "a"}
    policy = next(str(attributes["content"]) for tag, attributes in page.tags if "http-equiv" in attributes)

    assert len(ids) == len(set(ids))
    assert links <= {f"#{each}" for each in ids}
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert not {"script", "img", "link", "iframe", "object"} & {tag for tag, _attributes in page.tags}
    assert not {name for _tag, attributes in page.tags for name in attributes if name.startswith("on")}


def test_what_to_change_comes_first_and_once() -> None:
    """Checks with the same fix are one item; a MUST comes before a SHOULD; what passed is not among them."""
    twin = replace(UNMET, check=check("retry/2"))
    page = html(run_of(UNMET_SHOULD, UNMET, twin, PASSED))
    changes = page[page.index("What to change") : page.index("Every check")]

    assert 1 == changes.count(UNMET.fix)
    assert changes.index(UNMET.fix) < changes.index(UNMET_SHOULD.fix)
    assert [True, True, False] == [f"#e1-{each}" in changes for each in ("retry-1", "retry-2", "charge-1")]


def test_what_failed_is_open_and_what_passed_is_folded() -> None:
    """Whoever scrolls sees what went wrong, and may unfold the rest."""
    folds = {
        attributes["id"]: "open" in attributes for tag, attributes in Page(html(run_of(*ALL))).tags if tag == "details"
    }

    assert {"e1-retry-1", "e1-reply-2", "e1-time-1"} == {name for name, is_open in folds.items() if is_open}
    assert len(ALL) == len(folds)


def test_a_comparison_has_a_row_for_each_check_and_a_column_for_each_endpoint() -> None:
    """What was not in one endpoint's run is said to be so, and is no mark."""
    page = Page(matrix([run_of(PASSED, UNMET, url="https://a.example/"), run_of(PASSED, url="https://b.example/")]))
    text = re.sub(r"\s+", " ", page.text)

    assert "2 checks, 2 endpoints" in text
    assert 1 == text.count("not in this run")


@pytest.mark.parametrize(
    ("size", "scheme"), [(NARROW, "light"), (DESKTOP, "light"), (DESKTOP, "dark")], ids=["narrow", "wide", "dark"]
)
@pytest.mark.parametrize("name", ["html", "matrix"])
def test_a_browser_shows_it(name: str, size: tuple[int, int], scheme: Literal["light", "dark"], tmp_path: Path) -> None:
    """Styled under its own policy, without a complaint, not wider than the screen, and readable for everybody."""
    file = tmp_path / "report.html"
    file.write_text(REPORTS[name](run_of(*ALL)), encoding="utf-8")

    with chromium() as browser, opened(browser, file.as_uri(), size=size, scheme=scheme) as page:
        assert page.evaluate("getComputedStyle(document.querySelector('.outcome')).fontWeight") == "600"
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert [] == grave_violations(page)


def test_a_browser_can_show_what_failed_alone(tmp_path: Path) -> None:
    """Without a script: the choice hides the others."""
    file = tmp_path / "report.html"
    file.write_text(html(run_of(*ALL)), encoding="utf-8")

    with chromium() as browser, opened(browser, file.as_uri()) as page:
        shown = page.locator("details:visible")
        assert len(ALL) == shown.count()
        page.get_by_text("failed", exact=True).and_(page.locator(".choices span")).click()
        assert 2 == shown.count()
