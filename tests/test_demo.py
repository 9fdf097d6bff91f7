"""The demonstration: it shows every step, tells the truth about it, prints no number, and leaves nothing behind."""

import io
import os
import re
import shlex
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from generic_connector.demo.phone import CALL, CALL_ID
from generic_connector.demo.steps import CRASH, FIRST_CHARGE, INSTANCES, STEPS
from generic_connector.demo.transcript import COLUMNS, GREEN, masked, paint, quoted
from generic_connector.scrub import scrub

ROOT = Path(__file__).parents[1]
WAIT_S = 50
pytestmark = pytest.mark.timeout(2 * WAIT_S)
LONG_RUN = re.compile(r"[0-9]{13,}")
DEMO = (sys.executable, "-m", "generic_connector", "demo")


@dataclass(frozen=True)
class Played:
    """A demonstration that has ended, and where its temporary files had to be."""

    status: int
    out: str
    err: str
    place: Path


def play(place: Path, *arguments: str, command: tuple[str, ...] = DEMO) -> Played:
    """Play the demonstration with temporary files in `place`, among settings of somebody else."""
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=WAIT_S, env=environment(place), check=False
    )
    return Played(done.returncode, done.stdout, done.stderr, place)


def environment(place: Path) -> dict[str, str]:
    """Return this environment with temporary files in a new `place`, and settings that would break a server."""
    place.mkdir()
    settings = {"GENERIC_CONNECTOR_DATABASE": "sqlite:/nowhere/at.all", "GENERIC_CONNECTOR_PROCESSOR_TIMEOUT": "none"}
    return {**os.environ, **settings, "TMPDIR": str(place)}


def left_behind(place: Path) -> list[str]:
    """What is left: files in the temporary directory, and processes that were started with one of them."""
    commands = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            commands.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it has ended meanwhile
            continue
    return [*map(str, place.iterdir()), *(command for command in commands if str(place) in command)]


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """`demo --once`, played to its end."""
    return play(tmp_path_factory.mktemp("demo") / "tmp", "--once")


# --- demo --once -----------------------------------------------------------------------------------------------------


def test_a_home_that_is_named_is_left_alone_and_that_is_said(tmp_path: Path) -> None:
    """`--home` after the command, or before it: the demonstration goes on in a home of its own, and says so."""
    played = play(tmp_path / "tmp", "--once", "--home", str(tmp_path / "home"))

    assert (0, 1) == (played.status, played.err.count("--home is not used"))
    assert not (tmp_path / "home").exists()


def test_it_succeeds_and_says_so(once: Played) -> None:
    """All is as it must be, whatever is set in the environment for other installations."""
    assert (0, "") == (once.status, once.err)
    assert f"All {len(STEPS) + 2} steps were answered as they must be" in once.out


def test_every_step_is_shown(once: Played) -> None:
    """Each step has its number and title, what is sent and what came back, and one line that explains it."""
    at = -1
    for number, step in enumerate((*STEPS, CRASH), start=1):
        title = once.out.find(f"\n{number:2}  {step.title}\n")
        part = once.out[title:].partition(f"\n{number + 1:2}  ")[0]

        assert at < title
        assert f"> POST / as {step.instance}" in part
        assert re.search(rf"< HTTP {step.status} in [0-9.]+ ms", part)
        assert step.code is None or f'"error_code": "{step.code}"' in part
        assert step.meaning in " ".join(part.split())
        at = title


def test_a_whole_call_is_played(once: Played) -> None:
    """Prompts are heard, keys are pressed unseen, a wrong number is asked for again, and a result is told."""
    call = once.out.partition(f"  {CALL}\n")[2].partition("The processor's book")[0]

    assert 2 == call.count("hears     Please enter your card number.") + call.count("That is no card number.")
    assert 2 == call.count(" keys      xxxxxxxxxxxxxxxx")
    assert "(charge, attempt 1)" in call
    assert f'"transaction_id": "{CALL_ID}"' in call
    assert re.search(r"result  success$", call, re.MULTILINE)
    assert re.search(r"PaymentConfirmationCode +ch_[a-p]{38}$", call, re.MULTILINE)


def test_the_instances_are_those_of_the_documentation(once: Played) -> None:
    """Four instances, added beside the running server."""
    assert ("Stripe_Prod", "Stripe_Stage", "Stripe_Dev", "Default") == INSTANCES
    assert "instances  Stripe_Prod, Stripe_Stage, Stripe_Dev, Default" in once.out


def test_the_statement_has_one_line_for_each_charge(once: Played) -> None:
    """The book is printed, and what it proves: as many captures as charges."""
    charged = [step.body["transaction_id"] for step in (*STEPS, CRASH) if step.is_charged and step.repeats is None]
    charged.append(CALL_ID)
    book = once.out.partition("The processor's book")[2]

    assert charged == re.findall(r"  ([0-9a-f]{8}-[0-9a-f-]{27}) +[0-9.]+ USD  captured$", book, re.MULTILINE)
    assert f"{len(charged)} captured for {len(charged)} charges" in book


def test_ids_are_shown_and_a_retry_gets_the_same(once: Played) -> None:
    """The charge id of step 1 comes again in step 5, and nowhere else."""
    ids = re.findall(r'"charge_id": "(ch_[a-p]{38})"', once.out)

    assert (5, 4) == (len(ids), len(set(ids)))
    assert ids[0] == ids[2]


def test_no_number_is_printed(once: Played) -> None:
    """No run of 13 digits or more, no card number with separators, no CVV, no password."""
    assert [] == LONG_RUN.findall(once.out + once.err)
    assert scrub(once.out) == once.out
    assert '"cvv": "123"' not in once.out
    assert "************1111" in once.out
    assert '"cvv": "***"' in once.out
    assert "****5678" in once.out
    assert [] == re.findall(r"\b[a-p]{40}\b", once.out)


def test_the_search_for_numbers_finds_one() -> None:
    """The control: an unmasked body would have been found."""
    assert [FIRST_CHARGE["cardnumber"]] == LONG_RUN.findall(" ".join(quoted(">", FIRST_CHARGE)))
    assert [] == LONG_RUN.findall(" ".join(quoted(">", masked(FIRST_CHARGE))))


def test_it_fits_into_100_columns_without_colour(once: Played) -> None:
    """Plain text where nobody looks at a terminal."""
    assert [] == [line for line in once.out.splitlines() if len(line) > COLUMNS]
    assert "\x1b" not in once.out


def test_nothing_is_left_behind(once: Played) -> None:
    """No file, no directory, no process."""
    assert [] == left_behind(once.place)


def test_the_readme_shows_it_as_it_is(once: Played) -> None:
    """What the README quotes is what is printed, but for ids, codes and times, and for the call's own lines."""
    quoted_there = re.findall(r"^```text\n( 9  .*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)

    printed = once.out[once.out.index(f"\n 9  {CRASH.title}") + 1 :]
    call = printed[printed.index(f"\n10  {CALL}") :].partition("\nThe processor's book")[0]
    assert [_timeless(printed.replace(call, f"\n10  {CALL}\n    [...]\n"))] == [*map(_timeless, quoted_there)]


def _timeless(text: str) -> str:
    """Return a transcript without what differs each time."""
    for pattern in (
        r"(?<=ch_)[a-p]{38}",
        r'(?<=_code": ")[A-Z0-9]{6}',
        r'(?<=_number": ")[0-9]{9}',
        r"[0-9:]+\.[0-9]+Z",
    ):
        text = re.sub(pattern, "...", text)
    return re.sub(r"[0-9.]+ m?s(?=\.|$)", "...", text, flags=re.MULTILINE)


# --- When something is wrong -----------------------------------------------------------------------------------------

BROKEN = """
import sys
from dataclasses import replace
from generic_connector import demo

demo.STEPS = (replace(demo.STEPS[0], body={**demo.STEPS[0].body, "amount": "2000.00"}), *demo.STEPS[1:])
sys.exit(demo.run_demo(once=True, port=None))
"""


def test_a_wrong_answer_is_named_and_exits_1(tmp_path: Path) -> None:
    """The control: a charge that is declined where it must be approved, and everything that follows from it."""
    played = play(tmp_path / "tmp", command=(sys.executable, "-c", BROKEN))

    assert 1 == played.status
    assert f"step 1 ({STEPS[0].title}): error_code card_declined, and not None" in played.out
    assert "the statement: 3 captured purchases for 4 charges" in played.out
    assert "as they must be" not in played.out
    assert [] == left_behind(played.place)


def test_a_gateway_that_does_not_start_exits_1(tmp_path: Path) -> None:
    """A port that is in use: the server's own words are told, and nothing is left."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        played = play(tmp_path / "tmp", "--once", "--port", str(taken.getsockname()[1]))

    assert 1 == played.status
    assert "The demonstration failed: the gateway did not start." in played.out
    assert "cannot be listened on" in played.out
    assert [] == left_behind(played.place)


# --- Without --once --------------------------------------------------------------------------------------------------


@pytest.fixture
def staying(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """A demonstration that goes on."""
    place = tmp_path / "tmp"
    process = subprocess.Popen(
        [*DEMO, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(place)
    )
    with process:
        yield process, place
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stays_until_a_signal(staying: tuple["subprocess.Popen[str]", Path], number: signal.Signals) -> None:
    """The command that it prints works, twice with one charge id, and so does the phone page; a signal ends it all."""
    process, place = staying
    told = _told(process)
    words = shlex.split(told[told.index("curl ") : told.index("\n\nOnce more")])
    option = {word: words[at + 1] for at, word in enumerate(words) if word in {"--cacert", "-u", "-d"}}
    username, _colon, password = option["-u"].partition(":")
    tls = ssl.create_default_context(cafile=option["--cacert"])
    body = Path(option["-d"].removeprefix("@")).read_bytes()
    with httpx.Client(verify=tls, trust_env=False, auth=(username, password)) as client:
        first, second = (client.post(words[-1], content=body) for _time in range(2))
        phone = told.partition("The phone is at ")[2].split()[0]
        page, state = client.get(phone), client.get(f"{phone}desk/state").json()
    statement = subprocess.run(
        shlex.split(told[told.index("What was captured:") :].splitlines()[2]),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=True,
    )
    process.send_signal(number)

    assert 0 == process.wait(WAIT_S)
    assert first.json()["charge_id"].startswith("ch_")
    assert first.content == second.content
    assert 1 == statement.stdout.count("my-first-charge")
    assert (200, "text/html") == (page.status_code, page.headers["content-type"].partition(";")[0])
    assert set(INSTANCES) == {connector["unique_name"] for connector in state["connectors"]}
    assert [] == left_behind(place)


def _told(process: "subprocess.Popen[str]") -> str:
    """What it has printed once it goes on."""
    told = ""
    if process.stdout is not None:
        for line in process.stdout:
            told += line
            if line.startswith("Ctrl-C"):
                break
    return told


# --- What it sends ---------------------------------------------------------------------------------------------------


def test_the_requests_are_those_of_the_interface_description() -> None:
    """What the demonstration sends is what openapi.yaml documents, which tests check against the server."""
    examples = yaml.safe_load((ROOT / "openapi.yaml").read_text())["components"]["examples"]
    names = ("CardCharge", "CardTokenize", "BankCharge", "BankTokenize", "CardCharge", "Decline", "Conflict")

    assert [examples[name]["value"] for name in names] == [step.body for step in STEPS[: len(names)]]


# --- Colour ----------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("no_color", "term", "expected"),
    [("", "xterm", "\x1b[32myes\x1b[0m"), ("1", "xterm", "yes"), ("", "dumb", "yes")],
)
def test_colour_is_for_terminals_whose_owner_likes_it(
    monkeypatch: pytest.MonkeyPatch, no_color: str, term: str, expected: str
) -> None:
    """Colour on a terminal, and none where NO_COLOR or a dumb terminal says so."""
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", term)

    assert expected == paint(GREEN, "yes")
