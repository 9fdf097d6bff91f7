"""`conform`: what it says before it sends, what it sends, what it says then, and how it ends.

The endpoint is the toy, correct or broken by a line or two: in this process, or on a socket where an address is needed.
"""

import asyncio
import contextlib
import json
import os
import pty
import re
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import uvicorn

from commanding import COMMAND, VISA, WAIT_S, Done, run
from generic_connector.cli import program
from generic_connector.conformance.check import Check
from generic_connector.conformance.profile import Profile
from generic_connector.conformance.runner import all_checks
from toy_endpoint import DEFAULT, OTHER, Fields, Payment, ToyEndpoint

USERNAME, PASSWORD = DEFAULT
ELSEWHERE = "https://192.0.2.1/pay"
"""An address that nobody has."""


class ForgetfulToy(ToyEndpoint):
    """Every retry is a new purchase."""

    async def transact(self, instance: str, payment: Payment) -> Fields:
        self.book.clear()
        return await super().transact(instance, payment)


class WordyToy(ToyEndpoint):
    """Its error_message is a number: a SHOULD."""

    def success(self, payment: Payment, id_: str) -> Fields:
        return {**super().success(payment, id_), "error_message": 7}


toy, forgetful, wordy = ToyEndpoint(), ForgetfulToy(), WordyToy()
not_callable = "no application"


def conform(*words: str, name: str = "toy", typed: str | None = None) -> Done:
    """Run `conform` against an endpoint of this module."""
    me = f"test_conform_command:{name}"
    return run(None, "conform", "--asgi", me, "--username", USERNAME, "--password", PASSWORD, *words, typed=typed)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The toy on a socket of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(ToyEndpoint(), log_config=None, lifespan="off"))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        thread.join(WAIT_S)


def with_credentials(address: str) -> str:
    """Return an address with the toy's credentials in it, encoded as they must be there."""
    return address.replace("://", "://toy:correct-Horse%3AB%C3%A4tterie@")


# --- How it ends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words", "status", "said"),
    [
        ("toy", ["--only", "charge"], 0, "Every MUST that could be asked holds"),
        ("toy", ["--only", "charge", "--profile", "sandbox", "--strict"], 0, "every MUST holds"),
        ("toy", ["--only", "charge", "--strict"], 1, "set endpoint.ach in a profile"),
        ("toy", ["--only", "transport/1"], 1, "Nothing could be asked"),
        ("forgetful", ["--only", "charge"], 0, "Every MUST that could be asked holds"),
        ("forgetful", ["--only", "retry/1"], 1, "does not honour the contract"),
        ("wordy", ["--only", "reply"], 0, "SHOULD "),
    ],
    ids=["good", "strict", "strict and skipped", "nothing asked", "other checks", "a MUST fails", "a SHOULD fails"],
)
def test_the_exit_status_says_what_came_of_it(name: str, words: list[str], status: int, said: str) -> None:
    """0 where every MUST that could be asked holds, 1 where not; `--strict` wants every one asked."""
    result = conform(*words, name=name)

    assert status == result.status, result.out
    assert said in result.out


def test_an_unmet_should_is_told() -> None:
    """Although it does not change the exit status."""
    assert re.search(r"SHOULD .*1 failed", conform("--only", "reply", name="wordy").out)


def test_an_endpoint_that_is_not_there_is_one_clear_answer() -> None:
    """It ends at once, says why, and what to look at; nothing is told as passed."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    result = run(None, "conform", f"http://127.0.0.1:{port}/", "--only", "charge,retry")

    assert result.status == 1
    assert "Start the endpoint" in result.out
    assert " passed" not in result.out


@pytest.mark.parametrize(
    ("words", "helps"),
    [
        ([], "--asgi MODULE:APP"),
        (["pay.example.com"], "such as https://"),
        (["ftp://pay.example.com/"], "https://host/path"),
        (["https:///pay"], "https://host/path"),
        (["https://[::1/"], "such as https://"),
        (["http://localhost/", "--asgi", "test_conform_command:toy"], "give one of them"),
        (["--asgi", "test_conform_command"], "MODULE:APP"),
        (["--asgi", "no_such_module:app"], "python -c"),
        (["--asgi", "test_conform_command:nothing"], "MODULE:APP"),
        (["--asgi", "test_conform_command:not_callable"], "cannot be called"),
        (["http://localhost/", "--only", "charge/999"], "--list"),
        (["http://localhost/", "--explain", "charge/999"], "--list"),
        (["http://localhost/", "charge/1"], "such as https://"),
        (["http://localhost/", "--username", "U"], "--password-file FILE"),
        (["http://localhost/", "--password", "P"], "--username U"),
        (["http://localhost/", "--username", "a:b", "--password", "P"], "colon"),
        (["http://localhost/", "--bearer", "T", "--username", "U", "--password", "P"], "one or the other"),
        (["http://localhost/", "--other-username", "U"], "give both"),
        (["http://localhost/", "--profile", "no-such.toml"], "docs/conformance.md"),
        (["http://localhost/", "--report", "report.pdf"], ".xml (JUnit), .json or .html"),
        (["http://localhost/", "--report", "no-such-directory/report.html"], "a directory that is there"),
        (["http://localhost/", "--matrix", "compared.xml"], ".html"),
        (["http://localhost/", "--dialect", "vonage"], "signalwire"),
        (["http://localhost/", "--timeout", "0"], "--timeout"),
        (["https://localhost/", "--ca", __file__], "PEM"),
        ([ELSEWHERE], "--yes"),
    ],
    ids=lambda value: " ".join(value)[:60].replace(__file__, "FILE") if isinstance(value, list) else None,
)
def test_what_cannot_be_is_a_usage_error(words: list[str], helps: str) -> None:
    """Exit status 2 before anything is sent, and the next step is named."""
    result = run(None, "conform", *words)

    assert (result.status, result.out) == (2, "")
    assert helps in " ".join(result.err.split())


@pytest.mark.parametrize("text", ["", "\n", "\nsecond line"], ids=["empty", "an empty line", "on the second line"])
def test_a_file_without_a_password_is_a_usage_error(text: str, tmp_path: Path) -> None:
    """An empty password is no password; the file is named."""
    (tmp_path / "secret.txt").write_text(text)

    result = run(
        None, "conform", "http://localhost/", "--username", "U", "--password-file", str(tmp_path / "secret.txt")
    )

    assert result.status == 2
    assert "first line" in result.err


def test_a_second_instance_is_taken_from_the_profile(tmp_path: Path) -> None:
    """Its password file lies where the profile says, seen from the profile; one that is missing is a usage error."""
    profile = tmp_path / "ours.toml"
    profile.write_text(f'[other]\nusername = "{OTHER[0]}"\npassword_file = "second.txt"\n')
    words = ("--profile", str(profile), "--only", "retry", "--dry-run", "--json")

    missing = conform(*words)
    (tmp_path / "second.txt").write_text(OTHER[1])
    told = conform(*words).json

    assert missing.status == 2
    assert "--other-username" in missing.err
    assert not [each for each in told if "second instance" in str(each["why_not"])]
    assert [each for each in conform("--dry-run", "--json").json if "second instance" in str(each["why_not"])]


# --- Before it sends -------------------------------------------------------------------------------------------------


def test_it_tells_what_it_sends_with_which_numbers_and_to_where(address: str) -> None:
    """Real charges, of how much, with which cards and accounts, to which address. Numbers by their last digits."""
    result = run(None, "conform", with_credentials(address), "--only", "charge", "--profile", "sandbox")

    assert result.status == 0
    for told in ("real charges", "10.00", "visa ending 1111", "diners ending 0004", "accounts   ending 89", address):
        assert told in result.err


def asked(answer: str | None, *words: str) -> tuple[int, str]:
    """Run it at a terminal, answer its question, and return its exit status and all that it printed."""
    keeper, terminal = pty.openpty()
    with subprocess.Popen([*COMMAND, "conform", *words], stdin=terminal, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        said = b""
        with contextlib.suppress(OSError):  # the other end is closed: it has ended
            while select.select([keeper], [], [], WAIT_S)[0] and (piece := os.read(keeper, 4096)):
                said += piece
                if answer is not None and said.endswith(b"[y/N]: "):
                    os.write(keeper, answer.encode())
                    answer = None
        os.close(keeper)
        return process.wait(WAIT_S), said.decode(errors="replace")


def test_it_asks_before_it_sends_to_somebody_else() -> None:
    """Who says no has sent nothing."""
    status, said = asked("n\n", ELSEWHERE)

    assert status == 1
    assert "Send them? [y/N]" in said
    assert "nothing was sent" in said


def test_who_says_yes_is_not_asked_twice() -> None:
    """The control: a yes is taken, and `--yes` is asked nothing; then the address is tried."""
    status, said = asked("y\n", ELSEWHERE, "--only", "charge/1", "--timeout", "0.1")
    told, silent = asked(None, ELSEWHERE, "--only", "charge/1", "--timeout", "0.1", "--yes")

    assert (status, told) == (1, 1)
    assert "does not answer" in said
    assert "does not answer" in silent
    assert "Send them?" not in silent


def test_a_terminal_shows_how_far_it_is(address: str) -> None:
    """A bar, which is nowhere where nobody watches; and this machine's own address is not asked about."""
    status, said = asked(None, with_credentials(address), "--only", "charge")

    assert status == 0
    assert "Send them?" not in said
    assert "100%" in said
    assert "%" not in run(None, "conform", with_credentials(address), "--only", "charge").err


def test_what_is_only_told_sends_nothing() -> None:
    """`--dry-run`, `--list` and `--explain`: not a single purchase. The control: without them there are some."""
    toy.purchases = 0
    for words in (["--dry-run"], ["--list"], ["--explain", "charge/1"]):
        assert 0 == conform(*words).status
    assert 0 == toy.purchases

    conform("--only", "charge/1")
    assert 0 < toy.purchases


def test_a_dry_run_says_what_would_be_asked() -> None:
    """Each check, and why some would not be."""
    told = {each["check"]: each["why_not"] for each in conform("--dry-run", "--json").json}

    assert [check.id for check in all_checks()] == list(told)
    assert told["charge/1"] is None
    assert "not over a socket" in told["transport/1"]
    assert "would be asked" in conform("--dry-run").out


# --- What there is ---------------------------------------------------------------------------------------------------


def test_all_checks_are_listed() -> None:
    """Each with its level and its claim; no endpoint is needed for that."""
    listed = run(None, "conform", "--list")

    assert listed.status == 0
    for check in all_checks():
        assert re.search(rf"^{check.id} +{check.level} +{re.escape(check.claim)}", listed.out, re.MULTILINE)
    assert [check.id for check in all_checks()] == [
        each["id"] for each in run(None, "conform", "--list", "--json").json
    ]


@pytest.mark.parametrize("check", all_checks(), ids=lambda check: check.id)
def test_each_check_explains_itself(check: Check) -> None:
    """Claim, source, why it matters, what is sent and expected: each says something."""
    told = run(None, "conform", "--explain", check.id, "--json").json

    assert all(told[name] for name in ("claim", "source", "why", "sends", "expects"))


def test_an_explanation_is_readable() -> None:
    """As lines for people."""
    told = run(None, "conform", "--explain", "retry/1").out

    for name in ("retry/1", "MUST", "claim", "source", "why"):
        assert name in told


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (["--only", "charge/1"], ["charge/1"]),
        (["--only", "charge/2", "--only", "charge/1"], ["charge/1", "charge/2"]),
        (["--only", "charge/1,charge/2"], ["charge/1", "charge/2"]),
        (["--only", "charge/1", "charge/2"], ["charge/1", "charge/2"]),
        (["--only", "charge"], [check.id for check in all_checks() if check.family == "charge"]),
        (
            ["--only", "health", "--only", "charge/1"],
            ["charge/1", *(check.id for check in all_checks() if check.family == "health")],
        ),
    ],
    ids=["an id", "two", "with a comma", "one after the other", "a family", "both"],
)
def test_checks_are_chosen_by_id_or_family(words: list[str], ids: list[str]) -> None:
    """In the order of the kit, each once."""
    assert ids == [each["check"] for each in conform("--dry-run", "--json", *words).json]


# --- What it leaves --------------------------------------------------------------------------------------------------


def test_it_writes_the_reports_that_it_is_asked_for(tmp_path: Path) -> None:
    """The kind by the name, more than one in one run, and the same outcome in all of them."""
    files = {kind: tmp_path / f"report.{kind}" for kind in ("html", "xml", "json")}
    matrix = tmp_path / "compared.html"

    result = conform(
        "--only", "retry/1", *(f"--report={file}" for file in files.values()), "--matrix", str(matrix), name="forgetful"
    )

    told = json.loads(files["json"].read_text())
    failures = ET.fromstring(files["xml"].read_text()).findall(".//failure")  # noqa: S314 - we wrote it
    assert (result.status, len(failures)) == (1, 1)
    assert ("failed", False) == (told["checks"][0]["verdict"], told["is_good"])
    for page in (files["html"], matrix):
        assert "retry/1" in page.read_text()
        assert f"wrote {page}" in result.err


def test_json_is_one_document_and_nothing_else() -> None:
    """On stdout, with everything in it."""
    told = conform("--only", "charge/1", "--json", "--seed", "7").json

    assert (7, True, ["charge/1"]) == (told["seed"], told["is_good"], [each["id"] for each in told["checks"]])


def test_several_endpoints_are_compared(address: str, tmp_path: Path) -> None:
    """Each with its own credentials; one that is not well makes the exit status 1."""
    good, bad = with_credentials(address), address.replace("http://", "http://toy:wrong@")

    result = run(
        None, "conform", good, bad, "--only", "charge/1", "--json", "--matrix", str(tmp_path / "compared.html")
    )

    runs = result.json["runs"]
    assert [address, address] == [each["url"] for each in runs]
    assert ["passed", "failed"] == [each["checks"][-1]["verdict"] for each in runs]
    assert result.status == 1
    page = (tmp_path / "compared.html").read_text()
    assert page[: page.index("</thead>")].count('scope="col"') == 1 + len(runs)


def test_no_secret_is_in_anything_that_it_leaves(address: str, tmp_path: Path) -> None:
    """Neither passwords, wherever they were given, nor card numbers: not on the terminal and in no report."""
    (tmp_path / "secret.txt").write_text(f"{PASSWORD}\n", encoding="utf-8")
    files = [tmp_path / f"report.{kind}" for kind in ("html", "xml", "json")]
    runs = [
        run(
            None,
            "conform",
            *(address, "--username", USERNAME, "--password-file", str(tmp_path / "secret.txt")),
            *("--other-username", OTHER[0], "--other-password", OTHER[1], "--only", "auth", "--only", "errors"),
            *(f"--report={file}" for file in files),
        ),
        run(None, "conform", with_credentials(address), "--only", "charge", "--json"),
        run(None, "conform", f"ftp://{USERNAME}:{OTHER[1]}@localhost/"),
    ]

    left = "".join([*(file.read_text() for file in files), *(each.out + each.err for each in runs)])
    assert "charge/1" in left
    for secret in (VISA, PASSWORD, "B%C3%A4tterie", OTHER[1]):
        assert secret not in left


# --- What its guide says ---------------------------------------------------------------------------------------------

GUIDE = (Path(__file__).parents[1] / "docs" / "conformance.md").read_text(encoding="utf-8")


def test_the_guide_names_every_option() -> None:
    """All but `--home` and `--help`, which every command has."""
    options = {name for option in program.commands["conform"].params for name in option.opts if name.startswith("--")}

    assert {"--only", "--report", "--yes"} <= options
    assert set() == {name for name in options - {"--home"} if f"`{name}`" not in GUIDE}


def test_the_guides_profile_can_be_used() -> None:
    """Every line of it means something."""
    [text] = re.findall(r"^```toml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)

    profile = Profile.parse(text)

    assert profile.endpoint.ach
    assert profile.decline.is_known
    assert profile.slow.is_known
    assert profile.restart.command


def test_the_guides_example_finds_what_it_imports() -> None:
    """The names are there."""
    [text] = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}

    exec(compile("\n".join(re.findall(r"^from .*$", text, re.MULTILINE)), "guide", "exec"), names)  # noqa: S102 - our own
    compile(text, "guide", "exec")

    assert {"Profile", "Target", "conform_sync", "html"} <= names.keys()


def test_the_guide_names_the_options_of_the_pytest_plugin() -> None:
    """Each `--connector-...` that pytest shows."""
    shown = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "generic_connector.conformance.plugin", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_S,
    ).stdout
    options = set(re.findall(r"--connector-[a-z-]+", shown))

    assert options
    assert set() == {name for name in options if name not in GUIDE}
