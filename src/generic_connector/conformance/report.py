"""The outcome of a run, for people and for programs: a table, JUnit XML, JSON, a page, and a comparison.

Each is a text made of `Run`s and nothing else, so that a report can be made again from kept findings. The page is one
file that needs no script and no network, and is written for somebody who has only the page: what to change comes first,
in the words of the checks, and each check unfolds to what was sent, what came, and the clause that it rests on.

What an endpoint said is not trusted: it is escaped, control characters are taken out, and the page's policy lets
nothing load or run. Card numbers were masked where they were recorded; every text passes `scrub` once more here.
"""

import base64
import hashlib
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from importlib import resources
from typing import Final
from xml.etree import ElementTree as ET

from generic_connector.conformance.check import Check, Exchange, Finding, Level, Run, Verdict
from generic_connector.scrub import scrub

TABLE_COLUMNS: Final = 110
"""How wide the table is where nobody says."""

ORDER: Final = (Verdict.FAILED, Verdict.BROKEN, Verdict.SKIPPED, Verdict.PASSED)
"""What a reader looks for first."""

_MARKS: Final = {Verdict.PASSED: "✓", Verdict.FAILED: "✗", Verdict.SKIPPED: "\N{EN DASH}", Verdict.BROKEN: "!"}
_UNPRINTABLE: Final = re.compile(r"[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010fffd]")
"""What neither a terminal nor XML should get. Among them the marks that turn text around."""
_TURNING: Final = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]")
_BRIEF: Final = 240
"""As many characters of what was found stand in the list of what to change."""
_PROVES_NOT: Final = (
    "It is no certification. It asks from outside: it sees no books, logs, databases or keys, and a claim that holds "
    "today says nothing about tomorrow."
)


def _clean(text: str) -> str:
    """Return a text without card numbers and without what only steers a reader's program."""
    return scrub(_TURNING.sub("�", _UNPRINTABLE.sub("�", text)))


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def families(findings: Iterable[Finding]) -> Mapping[str, Sequence[Finding]]:
    """Return the findings by family, in the order in which they come."""
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        found.setdefault(finding.check.family, []).append(finding)
    return found


def headline(run: Run) -> str:
    """Return what came of a run, in one sentence."""
    musts = [finding for finding in run.findings if finding.check.level is Level.MUST]
    failed, broken = run.of(Verdict.FAILED, Level.MUST), run.of(Verdict.BROKEN)
    asked = [finding for finding in musts if finding.verdict in {Verdict.PASSED, Verdict.FAILED}]
    if failed:
        return f"It does not honour the contract: of {len(asked)} MUST checks that were asked, {len(failed)} failed."
    if broken:
        return f"Not judged: {_plural(len(broken), 'check')} broke in the kit itself."
    if not any(finding.verdict is Verdict.PASSED for finding in run.findings):
        return "Nothing could be asked."
    skipped = len(run.of(Verdict.SKIPPED, Level.MUST))
    if skipped:
        return f"Every MUST that could be asked holds: {len(asked)} of {len(musts)}. {skipped} could not be asked."
    return "It honours the contract: every MUST holds."


def counts(run: Run) -> Mapping[Level, Mapping[Verdict, int]]:
    """Return how many findings there are of each level and verdict."""
    return {level: {verdict: len(run.of(verdict, level)) for verdict in Verdict} for level in Level}


def _counted(run: Run, level: Level) -> str:
    told = [f"{number} {verdict.value}" for verdict, number in counts(run)[level].items() if number]
    return f"{level.value:<6} {', '.join(told) or 'none'}"


# --- For a terminal --------------------------------------------------------------------------------------------------


def table(run: Run, *, columns: int = TABLE_COLUMNS) -> str:
    """Return the outcome as lines of text: every check, what failed in full, why others were not asked."""
    widths = max([len(finding.check.id) for finding in run.findings], default=0), 6, 7
    indent = " " * (2 + sum(widths) + 2 * len(widths))
    lines: list[str] = []
    for finding in run.findings:
        check = finding.check
        head = f"  {check.id:<{widths[0]}}  {check.level:<{widths[1]}}  {finding.verdict:<{widths[2]}}  "
        lines += _wrapped(check.claim, columns, head, indent)
    for finding in [*run.of(Verdict.FAILED, Level.MUST), *run.of(Verdict.FAILED, Level.SHOULD)]:
        lines += ["", f"{finding.check.id}  {finding.check.level}  {_clean(finding.check.claim)}"]
        for name, text in (
            ("sent", finding.check.sends),
            ("found", finding.found),
            ("expected", finding.expected or finding.check.expects),
            ("fix", finding.fix),
            ("source", finding.check.source),
        ):
            lines += _wrapped(text, columns, f"  {name:<10}", " " * 12) if text else []
    for finding in run.of(Verdict.BROKEN):
        lines += ["", *_wrapped(finding.found, columns, f"{finding.check.id}  broke in the kit itself: ", "  ")]
    for reason, ids in _reasons(run):
        lines += [
            "",
            *_wrapped(f"not asked: {reason}", columns, "", "  "),
            *_wrapped(" ".join(ids), columns, "  ", "  "),
        ]
    lines += ["", _clean(run.url), *(f"  {_counted(run, level)}" for level in Level)]
    lines += [*_wrapped(headline(run), columns, "  ", "  "), f"  seed {run.seed}, {run.took_s:.1f} s"]
    return "\n".join(lines) + "\n"


def _wrapped(text: str, columns: int, first: str, then: str) -> Sequence[str]:
    """Return a text of several lines as lines of so many columns."""
    lines: list[str] = []
    for part in _clean(text).splitlines() or [""]:
        lines += textwrap.wrap(
            part,
            max(columns, len(then) + 20),
            initial_indent=then if lines else first,
            subsequent_indent=then,
            break_on_hyphens=False,
        ) or [first.rstrip()]
    return lines


def _reasons(run: Run) -> Sequence[tuple[str, Sequence[str]]]:
    """Return why checks were not asked, with their ids."""
    found: dict[str, list[str]] = {}
    for finding in run.of(Verdict.SKIPPED):
        found.setdefault(_clean(finding.found) or "no reason was given", []).append(finding.check.id)
    return list(found.items())


# --- For programs ----------------------------------------------------------------------------------------------------


def junit(*runs: Run) -> str:
    """Return the outcome as JUnit XML: a suite for each endpoint and family, a case for each check.

    What does not hold is a `failure` whose type is the level: an unmet SHOULD too, although it does not change the exit
    status. A check that broke is an `error`.
    """
    root = ET.Element("testsuites", name="conform")
    for run in runs:
        for family, findings in families(run.findings).items():
            suite = ET.SubElement(
                root,
                "testsuite",
                name=_clean(family if len(runs) == 1 else f"{run.url} {family}"),
                tests=str(len(findings)),
                failures=str(sum(finding.verdict is Verdict.FAILED for finding in findings)),
                errors=str(sum(finding.verdict is Verdict.BROKEN for finding in findings)),
                skipped=str(sum(finding.verdict is Verdict.SKIPPED for finding in findings)),
                time=f"{sum(finding.took_s for finding in findings):.3f}",
                timestamp=_clean(run.started_at),
                hostname=_clean(run.url),
            )
            for finding in findings:
                _case(suite, finding)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _case(suite: ET.Element, finding: Finding) -> None:
    check = finding.check
    case = ET.SubElement(
        suite,
        "testcase",
        classname=f"conform.{check.family}",
        name=_clean(f"{check.id} {check.claim}"),
        time=f"{finding.took_s:.3f}",
    )
    match finding.verdict:
        case Verdict.FAILED:
            told = ET.SubElement(case, "failure", type=check.level.value, message=_clean(finding.found))
            told.text = _clean(
                "\n".join(
                    f"{name}: {text}"
                    for name, text in (
                        ("claim", check.claim),
                        ("source", check.source),
                        ("sent", check.sends),
                        ("found", finding.found),
                        ("expected", finding.expected or check.expects),
                        ("fix", finding.fix),
                    )
                    if text
                )
            )
        case Verdict.BROKEN:
            ET.SubElement(case, "error", type="kit", message=_clean(finding.found))
        case Verdict.SKIPPED:
            ET.SubElement(case, "skipped", message=_clean(finding.found))
        case Verdict.PASSED:
            pass
    if finding.exchanges:
        said = ET.SubElement(case, "system-out")
        said.text = "\n".join(
            f"--- sent at {each.at_s:.3f} s, {each.took_s:.3f} s\n{_clean(each.request)}\n"
            f"--- came back\n{_clean(each.reply)}"
            for each in finding.exchanges
        )


def to_json(*runs: Run) -> str:
    """Return the outcome as one JSON object: the run; of several endpoints, `{"runs": [...]}`."""
    told = [_document(run) for run in runs]
    return json.dumps(told[0] if len(told) == 1 else {"runs": told}, indent=2) + "\n"


def _document(run: Run) -> Mapping[str, object]:
    return {
        "url": _clean(run.url),
        "dialect": run.dialect,
        "seed": run.seed,
        "started_at": run.started_at,
        "took_s": round(run.took_s, 3),
        "about": {_clean(name): _clean(value) for name, value in run.about.items()},
        "outcome": headline(run),
        "is_good": run.is_good(strict=False),
        "is_good_strict": run.is_good(strict=True),
        "counts": {
            level.value: {verdict.value: number for verdict, number in numbers.items()}
            for level, numbers in counts(run).items()
        },
        "checks": [_finding_document(finding) for finding in run.findings],
    }


def _finding_document(finding: Finding) -> Mapping[str, object]:
    return {
        **check_document(finding.check),
        "verdict": finding.verdict.value,
        "found": _clean(finding.found),
        "expected": _clean(finding.expected),
        "fix": _clean(finding.fix),
        "took_s": round(finding.took_s, 3),
        "exchanges": [
            {
                "request": _clean(each.request),
                "reply": _clean(each.reply),
                "at_s": round(each.at_s, 3),
                "took_s": round(each.took_s, 3),
            }
            for each in finding.exchanges
        ],
    }


def check_document(check: Check) -> Mapping[str, object]:
    """Return what a check says of itself, for JSON."""
    return {
        "id": check.id,
        "family": check.family,
        "level": check.level.value,
        "claim": _clean(check.claim),
        "source": _clean(check.source),
        "why": _clean(check.why),
        "sends": _clean(check.sends),
        "expects": _clean(check.expects),
        "needs": sorted(need.value for need in check.needs),
    }


# --- For a browser ---------------------------------------------------------------------------------------------------


def html(*runs: Run) -> str:
    """Return the outcome as a page: what to change, what was not asked, then every check with its exchanges."""
    body = "".join(_endpoint(run, place) for place, run in enumerate(runs, 1))
    return _page("Conformance report", body)


def matrix(runs: Sequence[Run]) -> str:
    """Return a page that compares endpoints: checks as rows, endpoints as columns, what failed below."""
    checks = {finding.check.id: finding.check for run in runs for finding in run.findings}
    by_id = [{finding.check.id: finding for finding in run.findings} for run in runs]
    heads = "".join(
        f'<th scope="col"><a href="#e{place}">{_shown_url(run.url)}</a><small>{_text(run.dialect)}</small>'
        f"<small>{len(run.of(Verdict.PASSED))} of {len(run.findings)} held, "
        f"{len(run.of(Verdict.FAILED, Level.MUST))} MUST failed</small></th>"
        for place, run in enumerate(runs, 1)
    )
    rows: list[str] = []
    family = ""
    for check in checks.values():
        if check.family != family:
            family = check.family
            rows.append(
                f'<tr class="family"><th scope="rowgroup" colspan="{len(runs) + 1}"><span>{_text(family)}</span></th>'
                "</tr>"
            )
        cells = "".join(_cell(found.get(check.id), place) for place, found in enumerate(by_id, 1))
        rows.append(
            f'<tr><th scope="row"><span class="id">{check.id}</span> {_level(check.level)}'
            f"<small>{_text(check.claim)}</small></th>{cells}</tr>"
        )
    legend = " ".join(f'<span class="key">{_mark(verdict)} {verdict.value}</span>' for verdict in ORDER)
    body = (
        f"<header><h1>Conformance, compared</h1><p>{_plural(len(checks), 'check')}, {_plural(len(runs), 'endpoint')}. "
        f'A mark that failed leads to what was found.</p><p class="legend">{legend}</p></header>'
        '<div class="grid" role="region" aria-label="Checks and endpoints" tabindex="0">'
        f'<table><thead><tr><th scope="col">check</th>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        + "".join(_endpoint(run, place) for place, run in enumerate(runs, 1))
    )
    return _page("Conformance, compared", body)


def _page(title: str, body: str) -> str:
    style = resources.files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{digest}'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<title>{title}</title>\n<style>{style}</style>\n'
        f"</head>\n<body>\n<main>\n{body}\n</main>\n<footer><p>{_PROVES_NOT}</p></footer>\n</body>\n</html>\n"
    )


def _text(text: str) -> str:
    return escape(_clean(text))


def _brief(text: str) -> str:
    """Return the beginning of a text, cut between words. The whole of it stands with its check."""
    return textwrap.shorten(text, _BRIEF, placeholder=" [...]") if len(text) > _BRIEF else text


def _wire(text: str) -> str:
    """Return a message that may be broken after the commas of compact JSON, and not only where the line ends."""
    return _text(text).replace(",&quot;", ",<wbr>&quot;")


def _shown_url(url: str) -> str:
    """Return an address that may be broken after its slashes and dots."""
    return re.sub(r"([/.:@-])", r"\1<wbr>", _text(url).replace("://", "&#58;//"))


def _level(level: Level) -> str:
    return f'<span class="level {level.lower()}">{level}</span>'


def _mark(verdict: Verdict) -> str:
    return f'<span class="mark {verdict}" aria-hidden="true">{_MARKS[verdict]}</span>'


def _cell(finding: Finding | None, place: int) -> str:
    if finding is None:
        return '<td><span class="unasked">not in this run</span></td>'
    said = f'{_mark(finding.verdict)}<span class="said">{finding.verdict}</span>'
    if finding.verdict is Verdict.PASSED:
        return f'<td class="passed">{said}</td>'
    tip = escape(_clean(finding.found), quote=True)
    return f'<td class="{finding.verdict}"><a href="#{_anchor(finding.check, place)}" title="{tip}">{said}</a></td>'


def _anchor(check: Check, place: int) -> str:
    return f"e{place}-{check.id.replace('/', '-')}"


def _endpoint(run: Run, place: int) -> str:
    """Return one run as a section."""
    outcome = "bad" if run.of(Verdict.FAILED, Level.MUST) or run.of(Verdict.BROKEN) else "good"
    if outcome == "good" and (run.of(Verdict.FAILED) or run.of(Verdict.SKIPPED, Level.MUST)):
        outcome = "mixed"
    return (
        f'<section class="endpoint" id="e{place}"><header><p class="kicker">Conformance report</p>'
        f'<h1 class="url">{_shown_url(run.url)}</h1>'
        f'<p class="outcome {outcome}">{escape(headline(run))}</p>{_numbers(run)}{_facts(run)}</header>'
        f"{_changes(run, place)}{_unasked(run, place)}{_all_checks(run, place)}</section>"
    )


def _numbers(run: Run) -> str:
    rows = "".join(
        f'<tr><th scope="row">{_level(level)}</th>'
        + "".join(
            f'<td class="{verdict if number else "none"}">{number}</td>'
            for verdict, number in ((verdict, numbers[verdict]) for verdict in (Verdict.PASSED, *ORDER[:-1]))
        )
        + "</tr>"
        for level, numbers in counts(run).items()
    )
    heads = "".join(f'<th scope="col">{_mark(verdict)} {verdict}</th>' for verdict in (Verdict.PASSED, *ORDER[:-1]))
    return f'<table class="numbers"><thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table>'


def _facts(run: Run) -> str:
    facts = {
        "begun": run.started_at,
        "took": f"{run.took_s:.1f} s",
        "dialect": run.dialect,
        "seed": str(run.seed),
        **run.about,
    }
    told = "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in facts.items())
    return f'<dl class="facts">{told}</dl>'


def _changes(run: Run, place: int) -> str:
    """Return what to change: one item for each fix, with all that it mends."""
    by_fix: dict[str, list[Finding]] = {}
    for finding in [*run.of(Verdict.FAILED, Level.MUST), *run.of(Verdict.FAILED, Level.SHOULD)]:
        by_fix.setdefault(finding.fix or f"Make it so: {finding.check.claim}", []).append(finding)
    if not by_fix:
        return ""
    items = "".join(_change(fix, findings, place) for fix, findings in by_fix.items())
    return (
        '<section class="changes"><h2>What to change</h2><p>In this order: what the contract demands first, then what '
        f"spares callers trouble. Each item leads to what was sent and what came back.</p><ol>{items}</ol></section>"
    )


def _change(fix: str, findings: Sequence[Finding], place: int) -> str:
    found = "".join(
        f'<li><a class="id" href="#{_anchor(finding.check, place)}">{finding.check.id}</a> '
        f"{_level(finding.check.level)} "
        f'<span class="claim">{_text(finding.check.claim)}</span>'
        f'<p class="found"><b>Found:</b> {_text(_brief(finding.found))}</p></li>'
        for finding in findings
    )
    return f'<li><h3>{_text(fix)}</h3><ul>{found}</ul><p class="why">{_text(findings[0].check.why)}</p></li>'


def _unasked(run: Run, place: int) -> str:
    reasons = _reasons(run)
    if not reasons:
        return ""
    by_id = {finding.check.id: finding.check for finding in run.findings}
    items = "".join(
        f"<li>{escape(reason)}<br>"
        + " ".join(f'<a class="id" href="#{_anchor(by_id[each], place)}">{each}</a>' for each in ids)
        + "</li>"
        for reason, ids in reasons
    )
    return (
        '<section class="unasked-checks"><h2>What was not asked</h2>'
        f"<p>Nothing is known of these: they are not passed.</p><ul>{items}</ul></section>"
    )


def _all_checks(run: Run, place: int) -> str:
    parts = "".join(
        f"<section><h3>{_text(family)}</h3>{''.join(_unfolding(finding, place) for finding in findings)}</section>"
        for family, findings in families(run.findings).items()
    )
    choices = "".join(
        f'<label><input type="radio" name="show-{place}" value="{value}"{" checked" if value == "all" else ""}>'
        f"<span>{name}</span></label>"
        for value, name in (("all", "all"), *((verdict.value, verdict.value) for verdict in ORDER))
        if value == "all" or run.of(Verdict(value))
    )
    return (
        '<section class="checks"><h2>Every check</h2>'
        f'<fieldset class="choices"><legend>Show</legend>{choices}</fieldset>{parts}</section>'
    )


def _unfolding(finding: Finding, place: int) -> str:
    """Return a check that unfolds to all that is known of it."""
    check = finding.check
    rows = {
        "Found": finding.found,
        "Expected": (finding.expected or check.expects) if finding.verdict is not Verdict.PASSED else check.expects,
        "Fix": finding.fix,
        "Why it matters": check.why,
        "Sent": check.sends,
        "Source": check.source,
        "Level": f"{check.level}: "
        + (
            "the contract demands it, or money or card data is not safe without it"
            if check.level is Level.MUST
            else "it spares callers trouble"
        ),
    }
    names = {"Found": {Verdict.SKIPPED: "Not asked", Verdict.BROKEN: "Broke"}.get(finding.verdict, "Found")}
    told = "".join(
        f'<div class="row-{name.split()[0].lower()}"><dt>{names.get(name, name)}</dt><dd>{_text(text)}</dd></div>'
        for name, text in rows.items()
        if text
    )
    return (
        f'<details class="{finding.verdict}" id="{_anchor(check, place)}"{" open" if _is_open(finding) else ""}>'
        f'<summary>{_mark(finding.verdict)}<span class="said">{finding.verdict}</span> '
        f'<span class="id">{check.id}</span> {_level(check.level)} <span class="claim">{_text(check.claim)}</span>'
        f'<span class="took">{finding.took_s:.2f} s</span></summary>'
        f"<dl>{told}</dl>{''.join(_exchanges(finding.exchanges))}"
        f'<p class="again">Again, alone: <code>generic-connector conform URL --only {check.id}</code>, with the other '
        "options of this run.</p></details>"
    )


def _is_open(finding: Finding) -> bool:
    return finding.verdict in {Verdict.FAILED, Verdict.BROKEN}


def _exchanges(exchanges: Sequence[Exchange]) -> Iterator[str]:
    for number, each in enumerate(exchanges, 1):
        yield (
            f'<div class="exchange"><h4>{number} of {len(exchanges)}<small>sent {each.at_s:.2f} s into the run, '
            f"over after {each.took_s:.2f} s</small></h4>"
            f'<div class="both"><div><h5>Sent</h5><pre tabindex="0">{_wire(each.request)}</pre></div>'
            f'<div><h5>Came back</h5><pre tabindex="0">{_wire(each.reply)}</pre></div></div></div>'
        )
