"""The documentation is true: what it shows is run, what it lists is complete, where it links something is.

- A block ```` ```console runnable ```` is run, line by line, in a directory of its own for each document, with one
  shell from its first block to its last. `$ ` begins a command, four spaces go on with it, the rest is what it prints:
  `...` stands for anything, on a line by itself for any lines; `<NAME>` for a word that later commands can name. The
  ports 8443, 8444 and 9090 are free ones. A command fails the test where it exits with anything but what `# exits N`
  says.
- Tables between `<!-- name -->` and `<!-- /name -->` are made from the source. `python tests/test_docs.py` writes them.
"""

import ast
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
import yaml

from generic_connector import __version__
from generic_connector.cli import program
from generic_connector.conformance.runner import all_checks
from generic_connector.contract.errors import ERRORS
from generic_connector.contract.request import parse
from generic_connector.instance import Dialect
from generic_connector.payment import DeclineCode
from generic_connector.processors.sandbox import FaultKind
from generic_connector.processors.sandbox.outcome import Outcome
from generic_connector.settings import ENV_PREFIX, Settings
from generic_connector.telemetry import FIELDS, Metrics
from generic_connector.twilio.configuration import switch_rows

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "generic_connector"
README = ROOT / "README.md"
OPERATING = ROOT / "docs" / "operating.md"
TWILIO_SIDE = ROOT / "docs" / "twilio-side.md"
CONFORMANCE = ROOT / "docs" / "conformance.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").rglob("*.md")), ROOT / "certs" / "README.md"]
WAIT_S = 40
pytestmark = pytest.mark.timeout(240)  # a document is run in one piece, and starts many processes


def name_of(path: Path) -> str:
    """Return a path as people write it."""
    return path.relative_to(ROOT).as_posix()


# --- What it shows is run --------------------------------------------------------------------------------------------

BLOCK = re.compile(r"^```console runnable\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXITS = re.compile(r"# exits ([0-9]+)$")
NAMED = re.compile(r"<([A-Z_]+)>")
PORTS = ("8443", "8444", "9090")
RUN_DOCUMENTS = [document for document in DOCUMENTS if BLOCK.search(document.read_text())]


def _path() -> str:
    """Our own commands first; last a stand-in for curl, which the guides use and a fresh machine may not have."""
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}:{ROOT / 'tests' / 'stand_ins'}"


class Shell:
    """One bash, fed command by command. Ports and captured words are put in and taken out on the way."""

    _END = "end-of-command-4f1c"

    def __init__(self, directory: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],  # noqa: S607 - whatever bash there is
            cwd=directory,
            env={**environment, "PATH": _path(), "HOME": str(directory)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._ports = {port: str(free_port()) for port in PORTS}
        self.words: dict[str, str] = {}

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._lines.put(line)

    def run(self, command: str, expected: str) -> None:
        """Run a command and compare what it prints."""
        exits = EXITS.search(command)
        printed, status = self._run(self._filled(command))
        pattern = self._pattern(expected)
        matched = pattern.fullmatch(printed)
        if command.endswith("&"):  # it prints when it is ready, which is after the shell goes on
            matched = matched or self._wait_for(pattern, printed)

        assert matched, f"$ {command}\nprinted:\n{printed}\nand the document says:\n{expected}"
        assert status == (int(exits[1]) if exits else 0), f"$ {command}\nexited {status}:\n{printed}"
        self.words |= matched.groupdict()

    def _run(self, command: str) -> tuple[str, int]:
        if self._process.stdin is None:
            raise RuntimeError("the shell has no input")
        self._process.stdin.write(f"{{ {command}\n}} </dev/null\nprintf '\\n{self._END} %d\\n' $?\n")
        self._process.stdin.flush()
        lines: list[str] = []
        while True:
            line = self._lines.get(timeout=WAIT_S)
            if line.startswith(self._END):
                return self._tidy("".join(lines)), int(line.split()[1])
            lines.append(line)

    def _wait_for(self, pattern: re.Pattern[str], printed: str) -> "re.Match[str] | None":
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            try:
                printed = self._tidy(printed + "\n" + self._lines.get(timeout=0.1))
            except queue.Empty:
                continue
            matched = pattern.fullmatch(printed)
            if matched:
                return matched
        return None

    def _filled(self, command: str) -> str:
        for port, free in self._ports.items():
            command = command.replace(port, free)
        return NAMED.sub(lambda name: self.words.get(name[1], name[0]), command)

    def _tidy(self, printed: str) -> str:
        for port, free in self._ports.items():
            printed = printed.replace(f":{free}", f":{port}")
        return "\n".join(line.rstrip() for line in printed.strip("\n").splitlines())

    def _pattern(self, expected: str) -> re.Pattern[str]:
        seen: set[str] = set()

        def named(name: str) -> str:
            if name in self.words:
                return re.escape(self.words[name])
            if name in seen:
                return f"(?P={name})"
            seen.add(name)
            return rf'(?P<{name}>[^\s":]+)'

        def line_pattern(line: str) -> str:
            if line == "...":
                return r"(?:.*(?:\n|\Z))*?"
            parts = re.split(r"(\.\.\.|<[A-Z_]+>)", line.rstrip())
            made = [
                ".*?" if part == "..." else named(part[1:-1]) if NAMED.fullmatch(part) else re.escape(part)
                for part in parts
            ]
            return "".join(made) + r"(?:\n|\Z)"

        return re.compile("".join(map(line_pattern, expected.splitlines())))

    def close(self) -> None:
        """End the shell and what it started."""
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def free_port() -> int:
    """Return a port that nobody uses just now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def commands_of(block: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a block with what it is to print."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        end = next((at for at, line in enumerate(lines) if at and not line.startswith("    ")), len(lines))
        yield "\n".join(lines[:end]), "\n".join(lines[end:])


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell in an empty directory."""
    made = Shell(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("document", RUN_DOCUMENTS, ids=name_of)
def test_what_it_shows_is_what_happens(document: Path, shell: Shell) -> None:
    """Every runnable block, in its order, prints what the document says."""
    for block in BLOCK.findall(document.read_text()):
        for command, expected in commands_of(block):
            shell.run(command, expected)


def test_what_it_shows_works_in_a_clone(shell: Shell, tmp_path: Path) -> None:
    """The README's first commands find the program where `scripts/demo` puts it, in a shell that knows of none."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    shell.run("PATH=/usr/local/bin:/usr/bin:/bin", "")
    typed = commands_of(BLOCK.findall(README.read_text())[0])

    for command, expected in typed:
        shell.run(command, expected)
        if command.startswith("python3 "):  # of all that is called, the last
            return
    pytest.fail("no command of the first block calls python3")


def test_what_it_makes_in_a_clone_is_not_for_git() -> None:
    """The files into which the README's examples write are in .gitignore."""
    typed = [command for block in BLOCK.findall(README.read_text()) for command, _expected in commands_of(block)]
    made = set(re.findall(r"(?: 2?>>?|--report) ([\w.]+)", "\n".join(typed)))

    assert {"gateway.log", "twilio.log", "pay.xml", "conform.html"} <= made
    assert set() == {f"/{name}" for name in made} - set((ROOT / ".gitignore").read_text().splitlines())


def test_readme_and_operating_are_run() -> None:
    """The two documents that show commands have runnable blocks."""
    assert {README, OPERATING} <= set(RUN_DOCUMENTS)


@pytest.mark.parametrize(
    ("command", "expected"),
    [("echo one", "two"), ("echo one; false", "one"), ("echo one; echo two", "one"), ("echo one", "one\ntwo")],
    ids=["other words", "exit status", "a line more", "a line less"],
)
def test_what_is_not_so_is_found(command: str, expected: str, shell: Shell) -> None:
    """The control: an example that is wrong fails."""
    with pytest.raises(AssertionError):
        shell.run(command, expected)


def test_anything_and_words(shell: Shell) -> None:
    """What `...` and `<NAME>` stand for."""
    shell.run("printf 'a 1 b\\nc\\nd\\nsecret x\\n'", "a ... b\n...\nsecret <WORD>")
    shell.run("echo <WORD>-y", "<WORD>-y")
    shell.run("echo 1; echo 2", "...")
    shell.run("false  # exits 1", "")

    assert {"WORD": "x"} == shell.words


# --- What it lists is complete ---------------------------------------------------------------------------------------

Cells = Iterable[str]


def table(heads: Cells, rows: Iterable[Cells]) -> str:
    """Return a table of Markdown."""
    heads = tuple(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def openapi() -> dict[str, Any]:
    """Return openapi.yaml."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "openapi.yaml").read_text())
    return document


def error_table() -> str:
    """Every error code: its status, whether it may be retried, what it means, what the caller can be told."""
    return table(
        ("code", "HTTP", "retry", "meaning", "to the caller"),
        (
            (
                f"`{each['code']}`",
                str(each["status"]),
                "yes" if each["may_retry"] else "no",
                each["meaning"].strip(),
                each["ivr"].strip(),
            )
            for each in openapi()["x-error-codes"]
        ),
    )


def setting_table() -> str:
    """Every setting, with its default."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        shown = "(none)" if default in ("", {}) else f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
        rows.append((f"`{name}`", shown, field.description or ""))
    return table(("setting", "default", "what it does"), rows)


def commands(group: click.Group, words: str = "generic-connector") -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, with the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield f"{words} {name}", command
            yield from commands(command, f"{words} {name}")
        else:
            yield f"{words} {name}", command


def command_table() -> str:
    """Every command, with the first sentence of its help."""

    def called(words: str, command: click.Command) -> str:
        arguments = [
            "|".join(each.type.choices)
            if isinstance(each.type, click.Choice) and not each.metavar
            else str(each.metavar)
            for each in command.params
            if isinstance(each, click.Argument)
        ]
        return f"`{' '.join([words.removeprefix('generic-connector '), *arguments])}`"

    rows = [(called(words, command), command.get_short_help_str(limit=200)) for words, command in commands(program)]
    return table(("command", "what it does"), rows)


def metric_table() -> str:
    """Every metric, with its labels."""
    metrics = Metrics()
    metrics.payment("charge", "ok", "first", 0.1)
    metrics.refused("not_found")
    rows = []
    for family in metrics.registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        rows.append((f"`{name}`", family.type, " ".join(f"`{label}`" for label in labels), family.documentation))
    return table(("metric", "kind", "labels", "what it counts"), rows)


def switch_table() -> str:
    """Every switch of Twilio's side: its default, its choices, and what they mean."""
    return table(
        ("switch", "default", "choices", "meaning"),
        (
            (
                f"`{row.name}`",
                f"`{str(row.default).lower() if isinstance(row.default, bool) else row.default}`",
                " ".join(f"`{choice}`" for choice in row.choices or ()),
                re.sub(r"<[A-Za-z]+>", r"`\g<0>`", row.meaning),  # an element is no HTML here
            )
            for row in switch_rows()
        ),
    )


def check_table() -> str:
    """Every check of the conformance kit, with what it claims, needs and rests on."""
    return table(
        ("check", "level", "what the endpoint does", "needs", "source"),
        (
            (
                f"`{check.id}`",
                check.level.value,
                re.sub(r"<[A-Za-z]+>", r"`\g<0>`", check.claim),
                " ".join(f"`{need.value}`" for need in sorted(check.needs)),
                re.sub(r"<[A-Za-z]+>", r"`\g<0>`", check.source),
            )
            for check in all_checks()
        ),
    )


TABLES: Mapping[str, tuple[Path, Callable[[], str]]] = {
    "errors": (README, error_table),
    "settings": (README, setting_table),
    "commands": (OPERATING, command_table),
    "metrics": (OPERATING, metric_table),
    "switches": (TWILIO_SIDE, switch_table),
    "checks": (CONFORMANCE, check_table),
}


def between(name: str, text: str) -> re.Match[str] | None:
    """Return what stands between the marks of a table."""
    return re.search(rf"(?<=<!-- {name} -->\n).*?(?=\n?<!-- /{name} -->)", text, re.DOTALL)


def write_tables() -> None:
    """Write every table into its document."""
    for name, (document, make) in TABLES.items():
        text = document.read_text()
        found = between(name, text)
        if found is None:
            raise LookupError(f"{name_of(document)} has no place for {name}")
        document.write_text(f"{text[: found.start()]}\n{make()}\n{text[found.end() :]}")


@pytest.mark.parametrize("name", TABLES)
def test_a_table_says_what_the_source_says(name: str) -> None:
    """Where this fails: `python tests/test_docs.py` writes the tables anew."""
    document, make = TABLES[name]
    found = between(name, document.read_text())

    assert found is not None
    assert make() == found.group().strip()


def test_every_error_code_is_in_the_interface_description() -> None:
    """The table of the code and that of openapi.yaml, which the README shows, are one: order, status, retry."""
    told = [(each["code"], each["status"], each["may_retry"]) for each in openapi()["x-error-codes"]]

    assert [(str(code), entry.status, entry.may_retry) for code, entry in ERRORS.items()] == told


def rows_of(document: Path, heading: str) -> dict[str, str]:
    """Return the rows of all tables under a heading: what stands first in backticks, and the rest."""
    text = document.read_text()
    section = re.split(r"^#+ ", text[text.index(f"\n{heading}\n") + 1 :], flags=re.MULTILINE)[1]
    rows: dict[str, str] = {}
    for line in section.splitlines():
        cells = line.strip("|").split("|")
        if line.startswith("| `") and len(cells) > 1:
            rows |= dict.fromkeys(re.findall(r"`([^`]+)`", cells[0]), "|".join(cells[1:]))
    return rows


def test_every_outcome_of_the_sandbox_is_documented() -> None:
    """Outcomes that a parameter can ask for, in the order of the amounts; and the faults of the command line."""
    rows = rows_of(README, "## The sandbox")
    faults = [" ".join(name.split()[:1]) for name in rows if name.split()[0] in set(FaultKind)]
    parameters = [str(outcome) for outcome in Outcome if outcome.value not in set(FaultKind)]

    assert [str(code) for code in DeclineCode] == [name for name in rows if name in set(DeclineCode)]
    assert {*parameters, Outcome.UNAVAILABLE} <= rows.keys()
    assert {str(kind) for kind in FaultKind} == set(faults)
    for place, code in enumerate(DeclineCode):
        assert f"{2000 + place}.xx" in rows[code]


def test_every_parameter_that_is_acted_on_is_documented() -> None:
    """What the contract module folds and reads is in the README's table."""
    source = ast.parse((SOURCE / "contract" / "request.py").read_text())
    acted_on = next(
        ast.literal_eval(node.value)
        for node in ast.walk(source)
        if isinstance(node, ast.Assign) and "_ACTED_ON" in {getattr(target, "id", "") for target in node.targets}
    )
    rows = {re.sub("[_-]", "", name).lower() for name in rows_of(README, "### Parameters that the gateway acts on")}

    assert set(acted_on) <= rows
    assert {"sandboxoutcome", "sandboxdelayms"} <= rows


def test_every_parameter_of_a_reply_is_documented() -> None:
    """What openapi.yaml lets a reply have is in the README's table, and nothing else."""
    documented = set(openapi()["components"]["schemas"]["ReplyParameters"]["properties"])
    rows = rows_of(README, "### Parameters of the reply")

    assert documented == set(rows)


def test_every_event_of_the_log_is_documented() -> None:
    """Each event with each of its fields, as the calls in the source have them."""
    documented = {
        event: set(re.findall(r"`([a-z0-9_]+)`", rest)) for event, rest in rows_of(OPERATING, "### Events").items()
    }

    for event, fields in logged().items():
        assert fields <= documented.get(event, set()), f"{event}: {sorted(fields)}"
        assert fields <= FIELDS


def logged() -> dict[str, set[str]]:
    """Return the events that the source logs, and their fields."""
    events: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(node.func, "id", getattr(node.func, "attr", "")) if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Call) and name == "delivery":  # the one event with a method of its own
                events.setdefault("payment", set()).update(str(keyword.arg) for keyword in node.keywords)
            elif isinstance(node, ast.Call) and name in {"log", "_log"} and node.args:
                (event,) = [each.value for each in node.args if isinstance(each, ast.Constant)] or [None]
                if isinstance(event, str):
                    events.setdefault(event, set()).update(str(keyword.arg) for keyword in node.keywords)
    return events


def test_the_events_are_found() -> None:
    """The control: the search sees the event that every payment makes."""
    assert {"transaction_id", "how", "code", "ms"} <= logged()["payment"]


def test_every_field_of_the_log_is_documented() -> None:
    """The allow-list, whole; and no field that is not on it."""
    assert FIELDS == rows_of(OPERATING, "### Fields").keys()


def test_every_dialect_is_named() -> None:
    """Whoever looks for a carrier finds it in the README."""
    assert [] == [dialect for dialect in Dialect if dialect not in README.read_text().lower()]


def test_the_error_codes_that_requests_can_meet_are_real() -> None:
    """The control for the table: a body that is no request has a documented code."""
    refused = parse(b"{}", Dialect.TWILIO)

    assert getattr(refused, "code", None) in {each["code"] for each in openapi()["x-error-codes"]}


# --- Where it links, something is ------------------------------------------------------------------------------------

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub makes of a document's headings."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_link_leads_somewhere(document: Path) -> None:
    """Files and headings that a document links to are there."""
    for link in LINK.findall(document.read_text()):
        url = urlsplit(link)
        if url.scheme:
            continue
        target = (document.parent / url.path).resolve() if url.path else document

        assert target.exists(), f"{name_of(document)} links to {link}"
        assert not url.fragment or url.fragment in anchors(target), f"{name_of(document)} links to {link}"


def test_every_document_can_be_reached() -> None:
    """From the README, link by link."""
    reached, left = {README}, [README]
    while left:
        document = left.pop()
        targets = {(document.parent / urlsplit(link).path).resolve() for link in LINK.findall(document.read_text())}
        new = {target for target in targets if target.suffix == ".md" and target.exists()} - reached
        reached |= new
        left += new

    assert set() == {document for document in DOCUMENTS if document != ROOT / "certs" / "README.md"} - reached


# --- What it claims --------------------------------------------------------------------------------------------------

CLAIMS = re.compile(r"exactly[- ]once|PCI[- ](?:DSS[- ])?(?:certified|compliant)", re.IGNORECASE)
DENIAL = re.compile(r"\b(?:not|never|no|nobody|cannot|neither|nor)\b", re.IGNORECASE)
THE_CLAIM = (
    "at most one charge per transaction_id at processors that honour an idempotency key or a look-up; "
    "at most one send at others"
)


def overstated(text: str) -> list[str]:
    """Return the sentences that claim what must not be claimed."""
    sentences = re.split(r"(?<=[.!?])\s+|\n\s*\n", text)
    return [sentence for sentence in sentences if CLAIMS.search(sentence) and not DENIAL.search(sentence)]


def tracked() -> list[Path]:
    """Return the files that are part of the project, as git sees them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - whatever git there is
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    return [path for top in (README, ROOT / "docs", ROOT / "src", ROOT / "tests") for path in [top, *top.rglob("*.*")]]


def texts() -> Iterator[tuple[Path, str]]:
    """Yield the project's files with their text, but for this one, which has to name what it looks for."""
    for path in tracked():
        if path.is_file() and path != Path(__file__):
            yield path, path.read_bytes().decode(errors="replace")


def test_the_claim_is_made_word_for_word() -> None:
    """At most once, with its conditions."""
    assert THE_CLAIM in README.read_text()


def test_nothing_more_is_claimed() -> None:
    """No "exactly once", no certification, but to say that there is none."""
    read_by_users = {*DOCUMENTS, ROOT / "openapi.yaml", ROOT / "pyproject.toml", *SOURCE.rglob("*.py")}

    assert {} == {name_of(path): found for path in read_by_users if (found := overstated(path.read_text()))}


def test_an_overstatement_is_found() -> None:
    """The control."""
    assert ["It charges exactly once."] == overstated("Nothing is lost. It charges exactly once.")
    assert [] == overstated("It never claims exactly once.")
    assert 1 == len(overstated("A PCI-certified server."))


# --- What it is ------------------------------------------------------------------------------------------------------


def test_there_is_one_version() -> None:
    """In the package, in its metadata, and at the top of the changelog."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = README.read_text()
    newest = re.search(r"^### ([0-9][^ \n]*)", text[text.index("\n## Changelog\n") :], re.MULTILINE)

    assert newest is not None
    assert {__version__} == {project["version"], newest[1], openapi()["info"]["version"]}


def private_places() -> set[str]:
    """Return what tells about the machine that a file was written on: its directories, its package index."""
    configured = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, timeout=WAIT_S, check=False
    ).stdout
    told = " ".join([configured, *(value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_")))])
    indexes = map(urlsplit, re.findall(r"(?:https?|file)://[^\s'\"]+", told))
    hosts = {url.hostname or url.path for url in indexes}
    return {str(ROOT), str(Path.home()), "/home/", "/root/", *hosts} - {"", "/", "pypi.org"}


def test_no_file_tells_about_a_machine() -> None:
    """No absolute path of a checkout or a home directory, and no package index of somebody's own."""
    places = private_places()

    assert {} == {
        name_of(path): found for path, text in texts() if (found := {place for place in places if place in text})
    }


@pytest.mark.parametrize("lock", ["requirements.lock", "tests/requirements.lock"])
def test_the_locks_name_no_index(lock: str) -> None:
    """Versions and hashes come from wherever the reader's pip looks."""
    assert [] == re.findall(
        r"^.*(?:://|--(?:extra-)?index-url|--find-links).*$", (ROOT / lock).read_text(), re.MULTILINE
    )


if __name__ == "__main__":
    write_tables()
