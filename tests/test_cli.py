"""The command line alone: every command on a home where no server runs."""

import json
import os
import pty
import re
import socket
import sqlite3
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fcntl import ioctl
from pathlib import Path
from threading import Thread, Timer

import click
import pytest

from commanding import COMMAND, VISA, Done, done, judge, put, run, run_like_anybody, shown
from generic_connector.administration import months_before
from generic_connector.cli import acts, program
from generic_connector.cli.options import Duration, duration
from generic_connector.home import HomeLockedError, locked, wall_clock
from generic_connector.ledger import State
from generic_connector.payment import DeclineCode
from generic_connector.stores.sqlite import open_sqlite

DAY_MS = 86_400_000
NOUNS = {
    "init": None,
    "serve": None,
    "instance": {"add", "list", "show", "disable", "enable", "rotate-password"},
    "access-token": {"issue", "list", "revoke"},
    "transaction": {"show"},
    "sandbox": {"statement", "fault", "clear"},
    "reconcile": {"settle"},
    "vault": {"report", "purge", "show"},
    "doctor": None,
    "demo": None,
    "twilio": {"pay", "serve", "switches"},
    "conform": None,
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A new home, without an instance."""
    done(tmp_path / "home", "init")
    return tmp_path / "home"


@pytest.fixture
def shop(home: Path) -> Path:
    """A home with the instance Default."""
    done(home, "instance", "add", "Default")
    return home


def commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield every command and group, as it is typed."""
    for name, command in group.commands.items():
        yield (*words, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))


# --- The words -------------------------------------------------------------------------------------------------------


def test_there_are_the_agreed_commands_and_no_others() -> None:
    """Every agreed word is there, and nothing that is not ready yet."""
    found = {
        name: set(command.commands) if isinstance(command, click.Group) else None
        for name, command in program.commands.items()
    }

    assert found == NOUNS


@pytest.mark.parametrize("words", list(commands(program)), ids=" ".join)
def test_help_teaches(words: tuple[str, ...]) -> None:
    """Each command's help says what it is for, has `--home`, and (but for mere groups) an example that is typed so."""
    result = run(None, *words, "--help")

    assert result.status == 0
    assert "--home DIR" in result.out
    assert "Example:" in result.out or words[-1] in {"instance", "access-token", "transaction", "sandbox", "vault"}
    for line in re.findall(r"^    generic-connector (.*)$", result.out, re.MULTILINE):
        assert line.startswith(words[0])


def test_home_is_taken_from_the_last_word_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--home after the command beats the group's, which beats the program's, the environment and ./var."""
    monkeypatch.chdir(tmp_path)
    for name in ("var", "environment", "program", "group", "command"):
        done(Path(name), "init")
        done(Path(name), "instance", "add", name)

    def named(*words: str) -> str:
        result = run(None, *words, "--json")
        return str(result.json[0]["unique_name"])

    assert named("instance", "list") == "var"
    monkeypatch.setenv("GENERIC_CONNECTOR_HOME", "environment")
    assert named("instance", "list") == "environment"
    assert named("--home", "program", "instance", "list") == "program"
    assert named("--home", "program", "instance", "--home", "group", "list") == "group"
    assert named("--home", "program", "instance", "--home", "group", "list", "--home", "command") == "command"


@pytest.mark.parametrize(
    ("typed", "seconds"), [("30s", 30), ("15m", 900), ("12h", 43_200), ("90d", 7_776_000), ("0s", 0)]
)
def test_durations(typed: str, seconds: int) -> None:
    """Durations are a number and a unit."""
    assert Duration().convert(typed, None, None) == seconds
    assert duration(seconds) == typed


@pytest.mark.parametrize("typed", ["", "90", "d", "1.5h", "-1d", "90 d", "9999999d", "1w", "٩d"])
def test_what_is_no_duration_is_a_usage_error(home: Path, typed: str) -> None:
    """Anything else is refused as usage, and not repeated."""
    result = run(home, "access-token", "issue", "--instance", "X", "--scope", "charge", "--expires-in", typed)

    assert result.status == 2
    assert "such as 30s, 15m, 12h or 90d" in result.err


@pytest.mark.parametrize(
    "words",
    [
        (VISA,),
        ("instance", VISA),
        ("instance", "add", "X", VISA),
        ("instance", "add", "X", "--mode", VISA),
        ("instance", "add", VISA),
        ("instance", "show", f"4111-1111-1111-{VISA[-4:]}"),
        ("transaction", "show", VISA),
        ("vault", "show", VISA),
        ("sandbox", "fault", "decline", VISA),
        ("access-token", "revoke", VISA),
        ("reconcile", "settle", VISA, "captured", "--reason", VISA),
        ("serve", "--management", VISA),
        ("doctor", f"--{VISA}"),
    ],
)
def test_a_card_number_in_the_wrong_place_is_not_repeated(home: Path, words: tuple[str, ...]) -> None:
    """A card number that is pasted where none belongs is in no answer; what cannot be done is one line that helps."""
    result = run(home, *words)

    assert result.status in {1, 2}
    assert VISA not in result.out + result.err
    if result.status == 1:
        assert result.err.startswith("error: ")
        assert result.err.count("\n") == 1


def test_json_is_one_document_and_errors_are_not_in_it(home: Path) -> None:
    """An error leaves stdout empty, with `--json` too."""
    result = run(home, "instance", "show", "Nobody", "--json")

    assert Done(1, "", "error: there is no instance Nobody: see `instance list`, or `instance add Nobody`\n") == result


# --- init ------------------------------------------------------------------------------------------------------------


def test_init_makes_a_home_that_is_its_owners_alone(tmp_path: Path) -> None:
    """Config, KEK and database are made, readable by nobody else, and the next two commands are told."""
    home = tmp_path / "deep" / "home"

    made = shown(home, "init")

    assert made["made"] == ["config.toml", "kek", "ledger.db"]
    assert [command.split()[1] for command in made["next"]] == ["instance", "serve"]
    assert home.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in home.iterdir()}
    assert modes == dict.fromkeys(("config.toml", "kek", "ledger.db", "lock"), 0o600)


def test_init_overwrites_nothing(home: Path) -> None:
    """On a home that is complete it changes no byte, says so, and is content, also where it is told what is there."""
    before = {path.name: path.read_bytes() for path in home.iterdir()}

    results = [run(home, "init"), run(home, "init", "--kek", f"file:{home}/kek", "--database", "sqlite:./ledger.db")]

    assert [result.status for result in results] == [0, 0]
    assert all("is complete" in result.out for result in results)
    assert before == {path.name: path.read_bytes() for path in home.iterdir()}


@pytest.mark.parametrize(
    "words",
    [
        ("--kek", "file:other"),
        ("--database", "sqlite:other.db"),
        ("--kek", "nonsense"),
        ("--kek", ""),
        ("--database", "oracle:x"),
    ],
)
def test_init_refuses_what_the_home_does_not_have(home: Path, words: tuple[str, ...]) -> None:
    """Another database or KEK than that of the home is not taken, and not passed over: exit status 1, nothing changed.

    So it is while another process has the lock, and so it is where the config was lost.
    """
    before = {path.name: path.read_bytes() for path in home.iterdir()}

    refused = run(home, "init", *words)
    with locked(home):
        refused_beside = run(home, "init", *words)
    assert before == {path.name: path.read_bytes() for path in home.iterdir()}
    (home / "config.toml").unlink()
    refused_without_config = run(home, "init", *words)

    results = (refused, refused_beside, refused_without_config)
    assert [(1, "")] * 3 == [(result.status, result.out) for result in results]
    assert before.keys() - {"config.toml"} == {path.name for path in home.iterdir()}


@pytest.mark.parametrize("words", [("--database", "sqlite:sub/led.db"), ("--kek", "file:sub/kek")])
def test_init_that_fails_leaves_nothing_behind(tmp_path: Path, words: tuple[str, ...]) -> None:
    """A directory that is not there is named before anything is made; the corrected command then does what it says."""
    home = tmp_path / "home"

    failed = run(home, "init", *words)

    assert failed.status == 1
    assert f"there is no directory {home / 'sub'}" in failed.err
    assert not home.exists()
    assert shown(home, "init", words[0], words[1].replace("sub/", ""))["made"][0] == "config.toml"
    assert {"config.toml", "lock", "led.db" if "led" in words[1] else "ledger.db", "kek"} == {
        path.name for path in home.iterdir()
    }


def test_init_that_fails_half_way_takes_back_what_it_made(tmp_path: Path) -> None:
    """A disk that cannot take the database leaves neither config nor KEK; what was there before stays."""
    home, full = tmp_path / "home", tmp_path / "full"
    full.mkdir(mode=0o500)

    failed = run_like_anybody(home, "init", "--database", f"sqlite:{full / 'ledger.db'}")
    again = run_like_anybody(home, "init", "--database", f"sqlite:{full / 'ledger.db'}", "--kek", "file:kek2")
    left = {path.name for path in home.iterdir()}

    assert (failed.status, again.status) == (1, 1)
    assert left == {"lock"}
    assert shown(home, "init")["made"] == ["config.toml", "kek", "ledger.db"]


def test_init_writes_down_what_the_environment_chose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes later without the variables finds the same database and KEK, and a second init makes no others."""
    home = tmp_path / "home"
    monkeypatch.setenv("GENERIC_CONNECTOR_DATABASE", "sqlite:led2.db")
    monkeypatch.setenv("GENERIC_CONNECTOR_KEK", f"file:{tmp_path / 'kek2'}")
    assert run(home, "init", "--database", "sqlite:led3.db").status == 1
    assert shown(home, "init")["made"] == ["config.toml", "kek2", "led2.db"]
    done(home, "instance", "add", "Default")

    monkeypatch.delenv("GENERIC_CONNECTOR_DATABASE")
    monkeypatch.delenv("GENERIC_CONNECTOR_KEK")

    assert len(shown(home, "instance", "list")) == 1
    assert shown(home, "init")["made"] == []


def test_init_makes_no_second_database_in_a_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that names another database than the one that is there would split the installation in two."""
    monkeypatch.setenv("GENERIC_CONNECTOR_DATABASE", "sqlite:led2.db")

    result = run(home, "init")

    assert result.status == 1
    assert "gets no second one" in result.err
    assert not (home / "led2.db").exists()


def test_init_mends_what_is_missing_but_never_the_key(home: Path) -> None:
    """A missing config is made again; a missing KEK beside a database is an error: a new one would open nothing."""
    (home / "config.toml").unlink()
    assert shown(home, "init")["made"] == ["config.toml"]
    (home / "kek").unlink()

    result = run(home, "init")

    assert result.status == 1
    assert "restore" in result.err
    assert not (home / "kek").exists()


def test_init_refuses_a_database_that_it_does_not_have_before_it_writes_anything(tmp_path: Path) -> None:
    """An unknown kind of database leaves no half-made home, and its password is not repeated."""
    result = run(tmp_path / "home", "init", "--database", "oracle://user:hunter2@host/db")

    assert result.status == 1
    assert "hunter2" not in result.err
    assert shown(tmp_path / "home", "init")["made"] == ["config.toml", "kek", "ledger.db"]


def test_init_puts_database_and_key_where_it_is_told(tmp_path: Path) -> None:
    """--database and --kek are kept in config.toml, whatever characters they have."""
    home = tmp_path / "home"

    done(home, "init", "--database", 'sqlite:a "quoted" name.db', "--kek", f"file:{tmp_path / 'kek'}")

    assert (home / 'a "quoted" name.db').exists()
    assert (tmp_path / "kek").exists()
    assert shown(home, "instance", "list") == []


# --- Instances and access tokens -------------------------------------------------------------------------------------


def test_instance_add_prints_the_credentials_once(home: Path) -> None:
    """The password is printed by `add` and by nothing after it; what to type into Twilio's Console is told."""
    result = done(home, "instance", "add", "Default")

    password = re.search(r"password +([a-p]{40})\n", result.out)
    assert password is not None
    assert re.search(r"username +ic[a-p]{16}\n", result.out)  # letters and digits only, as the password
    assert "shown this once" in result.out
    assert re.search(r"Unique Name +Default\n.*Mode +TEST\n.*Endpoint URL +https://.*/\n", result.out, re.DOTALL)
    for words in (("instance", "list"), ("instance", "show", "Default"), ("doctor",)):
        assert password[1] not in done(home, *words).out


def test_instance_add_takes_every_option(home: Path) -> None:
    """What is asked for is what is made."""
    added = shown(
        home, "instance", "add", "Shop-1", "--allow", "tokenize", "--dialect", "signalwire", "--path-secret",
        "--require-cvv", "--save-card-on-charge", "--rate", "2.5",
    )  # fmt: skip

    assert {"unique_name", "username", "password", "mode", "allow"} <= added.keys()
    assert added["path"].startswith("/i/")
    asked = {
        "unique_name": "Shop-1",
        "mode": "test",
        "allow": ["tokenize"],
        "processor": "sandbox",
        "dialect": "signalwire",
        "enabled": True,
        "require_cvv": True,
        "save_card_on_charge": True,
        "rate": 2.5,
    }
    assert asked.items() <= added.items()
    assert asked.items() <= shown(home, "instance", "show", "Shop-1").items()


def test_instance_add_has_sensible_defaults(home: Path) -> None:
    """Without options: test mode, both methods, the sandbox, Twilio's dialect."""
    added = shown(home, "instance", "add", "Default")

    defaults = {"mode": "test", "allow": ["charge", "tokenize"], "processor": "sandbox", "dialect": "twilio"}
    assert defaults.items() <= added.items()
    assert "path" not in added


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("Default",), 1),
        (("a b",), 1),
        (("x" * 65,), 1),
        ((VISA,), 1),
        (("X", "--mode", "live"), 1),
        (("X", "--processor", "acme"), 1),
        (("X", "--mode", "both"), 2),
        (("X", "--allow", "refund"), 2),
        (("X", "--dialect", "bandwidth"), 2),
        (("X", "--rate", "0"), 2),
        ((), 2),
    ],
)
def test_instance_add_refuses(shop: Path, words: tuple[str, ...], status: int) -> None:
    """A name that is taken or is none, a live instance of the sandbox, unknown words: refused, and nothing is added."""
    result = run(shop, "instance", "add", *words)

    assert result.status == status
    assert [one["unique_name"] for one in shown(shop, "instance", "list")] == ["Default"]


def test_instance_disable_and_enable(shop: Path) -> None:
    """Both say what the instance is now."""
    assert shown(shop, "instance", "disable", "Default")["enabled"] is False
    assert "enabled               no" in done(shop, "instance", "show", "Default").out
    assert shown(shop, "instance", "enable", "Default")["enabled"] is True


def test_rotate_password_keeps_two_at_most(shop: Path) -> None:
    """Each rotation makes a new password beside the one before; --revoke-old leaves the new one alone."""
    rotated = [shown(shop, "instance", "rotate-password", "Default") for _ in range(3)]
    alone = shown(shop, "instance", "rotate-password", "Default", "--revoke-old")

    assert [one["passwords_valid"] for one in (*rotated, alone)] == [2, 2, 2, 1]
    assert len({one["password"] for one in (*rotated, alone)}) == 4
    assert {one["username"] for one in rotated} == {alone["username"]}
    assert "No other password is valid" in done(shop, "instance", "rotate-password", "Default", "--revoke-old").out


def test_access_tokens_are_issued_listed_and_revoked(shop: Path) -> None:
    """The token is printed once; the list has ids, scopes and ends; a revoked one stays in it."""
    issued = shown(shop, "access-token", "issue", "--instance", "Default", "--scope", "charge", "--expires-in", "12h")

    assert {"id", "token", "scopes", "expires_at"} <= issued.keys()
    assert issued["scopes"] == ["charge"]
    left = datetime.fromisoformat(issued["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=11, minutes=59) < left <= timedelta(hours=12)
    assert issued["token"] not in done(shop, "access-token", "list").out
    assert [one["state"] for one in shown(shop, "access-token", "list")] == ["valid"]
    assert shown(shop, "access-token", "revoke", issued["id"])["state"] == "revoked"
    assert [one["state"] for one in shown(shop, "access-token", "list")] == ["revoked"]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("issue", "--instance", "Nobody", "--scope", "charge"), 1),
        (("issue", "--instance", "Default", "--scope", "charge", "--expires-in", "367d"), 1),
        (("issue", "--instance", "Default"), 2),
        (("issue", "--scope", "charge"), 2),
        (("issue", "--instance", "Default", "--scope", "refund"), 2),
        (("revoke", "at_unknown"), 1),
    ],
)
def test_access_token_refuses(shop: Path, words: tuple[str, ...], status: int) -> None:
    """Unknown instances, ids and scopes, and a life of more than a year, are refused."""
    assert run(shop, "access-token", *words).status == status


@pytest.mark.parametrize(("allowed", "other"), [("charge", "tokenize"), ("tokenize", "charge")])
def test_a_token_that_could_do_nothing_is_not_issued(home: Path, allowed: str, other: str) -> None:
    """A scope that the instance has not is refused, alone or among others, with what to do; nothing is kept of it."""
    done(home, "instance", "add", "Shop", "--allow", allowed)
    words = ("access-token", "issue", "--instance", "Shop", "--scope")

    refused = [run(home, *words, other), run(home, *words, other, "--scope", allowed)]

    assert [(1, ""), (1, "")] == [(result.status, result.out) for result in refused]
    assert all(
        f"Shop may not {other}" in result.err and f"leave --scope {other} out" in result.err for result in refused
    )
    assert shown(home, "access-token", "list") == []
    assert shown(home, *words, allowed)["scopes"] == [allowed]


# --- The sandbox -----------------------------------------------------------------------------------------------------


def test_sandbox_statement_of_an_unused_sandbox_is_empty(home: Path) -> None:
    """Before the first purchase there is nothing, and that is no error."""
    assert shown(home, "sandbox", "statement") == []
    assert done(home, "sandbox", "statement").out == "nothing was captured yet\n"


def test_sandbox_faults_are_set_and_cleared(home: Path) -> None:
    """All five kinds can be set, with or without a count, and both spellings of `clear` clear them."""
    done(home, "sandbox", "fault", "decline", "insufficient_funds", "--count", "2")
    done(home, "sandbox", "fault", "delay", "250")
    done(home, "sandbox", "fault", "hang")
    done(home, "sandbox", "fault", "drop-after-capture")
    faults = shown(home, "sandbox", "fault", "unavailable")

    assert len(faults) == 5
    assert "insufficient_funds" in faults[0]
    assert shown(home, "sandbox", "fault", "clear") == []
    assert len(shown(home, "sandbox", "fault", "hang")) == 1
    assert done(home, "sandbox", "clear").out == "no fault is set any more\n"
    assert len(shown(home, "sandbox", "fault", "hang")) == 1


def test_the_declines_to_choose_from_are_in_the_help() -> None:
    """Whoever types `--help` need not make a mistake to see the codes."""
    told = re.sub(r"\s+", " ", run(None, "sandbox", "fault", "decline", "--help").out)

    assert f"CODE is one of: {', '.join(DeclineCode)}." in told


def test_the_demo_says_that_it_uses_no_home() -> None:
    """`--home` is taken after every command; where it means nothing, the help says so."""
    assert "--home DIR Not used" in re.sub(r"\s+", " ", run(None, "demo", "--help").out)


@pytest.mark.parametrize(
    "words", [("decline", "bad_luck"), ("decline",), ("delay", "60001"), ("delay", "soon"), ("hang", "--count", "0")]
)
def test_sandbox_fault_refuses(home: Path, words: tuple[str, ...]) -> None:
    """What is no fault is a usage error."""
    assert run(home, "sandbox", "fault", *words).status == 2


# --- Transactions ----------------------------------------------------------------------------------------------------


def test_transaction_show_finds_a_row_by_any_id(shop: Path) -> None:
    """Charge id, transaction_id, token id, and the request id of any delivery lead to the same transaction."""
    row = put(shop, "one", State.APPROVED, token_id="tok_one")
    store = open_sqlite(shop / "ledger.db", lambda error: pytest.fail(str(error)))
    store.journal.run(
        lambda connection: connection.execute(
            "INSERT INTO note VALUES (?, ?, ?, ?)", (row.id, row.claimed_at_ms + 9, "replayed", "req_again")
        )
    )
    store.close()

    found = {
        json.dumps(shown(shop, "transaction", "show", id_))
        for id_ in ("ch_one", "one", "tok_one", "req_one", "req_again")
    }

    assert len(found) == 1
    told = json.loads(found.pop())
    assert [event["event"] for event in told["timeline"]] == ["delivery", "approved", "replied", "replayed"]
    assert told["timeline"][3]["request_id"] == "req_again"


def test_transaction_show_says_whether_a_decline_may_be_retried(shop: Path) -> None:
    """A decline comes with its meaning, a possible duplicate with the other one, a settlement with who said so."""
    put(shop, "soft", State.DECLINED, error_code="insufficient_funds", possible_duplicate_of="ch_first")
    put(shop, "hard", State.DECLINED, error_code="lost_card", settled_by=f"uid 0: card {VISA}")

    soft, hard = shown(shop, "transaction", "show", "soft"), shown(shop, "transaction", "show", "hard")

    assert soft["may_retry"] is True
    assert soft["possible_duplicate_of"] == "ch_first"
    assert hard["may_retry"] is False
    assert hard["settled_by"] == "uid 0: card ************1111"
    assert "yes, as a new transaction" in done(shop, "transaction", "show", "soft").out


def test_transaction_show_asks_which_where_an_id_means_several(shop: Path) -> None:
    """One transaction_id of two instances is refused, with the ids to choose from; an unknown one with what to try."""
    done(shop, "instance", "add", "Other")
    put(shop, "same", State.APPROVED)
    put(shop, "twin", State.APPROVED, instance_id=2, transaction_id="same")

    several, unknown = run(shop, "transaction", "show", "same"), run(shop, "transaction", "show", "nothing")

    assert (several.status, unknown.status) == (1, 1)
    assert "ch_same" in several.err
    assert "ch_twin" in several.err
    assert "X-Request-Id" in unknown.err


def test_a_text_cannot_steer_the_terminal(shop: Path) -> None:
    """Control characters of others' texts are not printed."""
    put(shop, "evil", State.APPROVED, reference="\x1b[2Jgone\r\n\x07")

    assert "\x1b" not in done(shop, "transaction", "show", "evil").out
    assert shown(shop, "transaction", "show", "evil")["reference"] == " [2Jgone   "


# --- Reconcile -------------------------------------------------------------------------------------------------------


def test_reconcile_says_what_stays_in_doubt(shop: Path) -> None:
    """--once exits 1 while a payment of a processor without an answer is in doubt, and 0 when none is left."""
    assert shown(shop, "reconcile", "--once") == []
    assert run(shop, "reconcile", "--once").out == "nothing is unsettled\n"
    put(shop, "doubt", State.IN_DOUBT, processor="gone", sent_at_ms=wall_clock())

    young = run(shop, "reconcile", "--once", "--json")
    old = run(shop, "reconcile", "--once", "--older-than", "0s", "--json")

    assert (young.status, young.json) == (1, [])
    assert (old.status, old.json) == (1, [{"id": "ch_doubt", "state": "in_doubt"}])
    assert "reconcile settle" in run(shop, "reconcile", "--once", "--older-than", "0s").out


def test_reconcile_tells_of_what_is_too_young_to_be_looked_at(shop: Path) -> None:
    """A young row at work is nothing wrong, a young doubt is; neither is passed over, and the option is named."""
    put(shop, "young", State.RUNNING)
    at_work = run(shop, "reconcile", "--once")
    put(shop, "doubt", State.IN_DOUBT)
    doubt, doubt_json = run(shop, "reconcile", "--once"), run(shop, "reconcile", "--once", "--json")

    told = "; they are left to the retry, and `--older-than 0s` looks at them too\n"
    assert at_work == Done(0, f"nothing older than 2m is unsettled\nyounger: 1 running{told}", "")
    assert doubt == Done(1, f"nothing older than 2m is unsettled\nyounger: 1 in_doubt, 1 running{told}", "")
    assert doubt_json == Done(1, "[]\n", f"younger: 1 in_doubt, 1 running{told}")


@pytest.mark.parametrize(("outcome", "state"), [("captured", "approved"), ("not-captured", "not_captured")])
def test_a_person_settles(shop: Path, outcome: str, state: str) -> None:
    """`settle` ends the doubt, keeps who said so and why (without card numbers), and is refused a second time."""
    put(shop, "doubt", State.IN_DOUBT)
    words = ("reconcile", "settle", "doubt", outcome, "--reason", f"statement of card {VISA}")

    settled, again = shown(shop, *words), run(shop, *words)

    assert settled["state"] == state
    assert again.status == 1
    told = shown(shop, "transaction", "show", "doubt")
    assert told["state"] == state
    assert told["settled_by"] == f"uid {os.getuid()}: statement of card ************1111"
    with sqlite3.connect(shop / "ledger.db") as connection:
        assert VISA not in "".join(connection.iterdump())
    assert shown(shop, "reconcile", "--once", "--older-than", "0s") == []


def test_reconcile_settle_needs_a_reason_and_an_outcome(shop: Path) -> None:
    """Both are usage; an unknown id is refused, and so is a reason that says nothing."""
    assert run(shop, "reconcile", "settle", "x", "captured").status == 2
    assert run(shop, "reconcile", "settle", "x", "maybe", "--reason", "r").status == 2
    assert run(shop, "reconcile", "settle", "x", "captured", "--reason", "r").status == 1
    put(shop, "doubt", State.IN_DOUBT)
    for reason in ("", "  ", "\t-\n"):
        refused = run(shop, "reconcile", "settle", "doubt", "captured", "--reason", reason)
        assert refused.status == 1
        assert "--reason TEXT" in refused.err
    assert shown(shop, "transaction", "show", "doubt")["state"] == "in_doubt"
    assert run(shop, "reconcile", "--json").status == 2


# --- The vault -------------------------------------------------------------------------------------------------------


def test_vault_report_counts(shop: Path) -> None:
    """Tokens by instance, kind, brand and state; ledger rows by state; seals of their maximum; rows past 13 months."""
    put(shop, "new", State.RUNNING, token_id="tok_new")
    put(shop, "old", State.DECLINED, at_ms=months_before(wall_clock(), 14))

    counted = shown(shop, "vault", "report")

    token = {"instance": "Default", "kind": "card", "brand": "visa", "active": False, "count": 1}
    assert counted["tokens"] == [token]
    assert counted["oldest"] == counted["newest"]
    assert counted["ledger"] == {"declined": 1, "running": 1}
    assert counted["past_retention"] == 1
    assert [(key["seals_reserved"], key["seals_max"]) for key in counted["keys"]] == [(0, 2**30)]
    assert "1 rows are past 13 months" in done(shop, "vault", "report").out


def test_vault_show_is_masked(shop: Path) -> None:
    """BIN, last four, instance, times, key; of the fingerprint eight digits; nothing is unsealed."""
    put(shop, "new", State.RUNNING, token_id="tok_new")

    told = shown(shop, "vault", "show", "tok_new")

    wanted = {"bin": "411111", "last4": "1111", "instance": "Default", "active": False, "key_id": 1}
    assert wanted.items() <= told.items()
    assert told["fingerprint"] == b"ffff".hex()
    assert "411111******1111" in done(shop, "vault", "show", "tok_new").out
    assert run(shop, "vault", "show", "tok_other").status == 1


def test_purge_deletes_what_is_past_its_time_and_nothing_else(shop: Path) -> None:
    """Finished rows past 13 months go, with histories and what they left pending; unsettled and young ones stay."""
    past, young = months_before(wall_clock(), 13) - 60_000, months_before(wall_clock(), 13) + 60_000
    prefix = "tok_aaaaaaaaaaaa"
    put(shop, "aaaaaaaaaaaa_old", State.DECLINED, past, token_id=f"{prefix}_left")
    put(shop, "aaaaaaaaaaaa_kept", State.APPROVED, past, token_id=f"{prefix}_kept")
    put(shop, "aaaaaaaaaaaa_doubt", State.IN_DOUBT, past, token_id=f"{prefix}_doubt")
    put(shop, "aaaaaaaaaaaa_young", State.DECLINED, young)
    with sqlite3.connect(shop / "ledger.db") as connection:
        connection.execute("INSERT INTO note VALUES ('ch_aaaaaaaaaaaa_old', 1, 'replayed', 'req')")
        connection.execute(f"UPDATE vault SET is_active = 1 WHERE token_id = '{prefix}_kept'")  # noqa: S608 - ours

    counted = shown(shop, "vault", "purge", "--dry-run")
    refused = run(shop, "vault", "purge", typed="n\n")
    purged = shown(shop, "vault", "purge", "--yes")

    counts = {"rows": 2, "notes": 1, "pending": 1}
    assert counted.items() >= counts.items()
    assert refused.status == 1
    assert purged.items() >= counts.items()
    with sqlite3.connect(shop / "ledger.db") as connection:
        left = [name for (name,) in connection.execute("SELECT transaction_id FROM ledger ORDER BY 1")]
        tokens = [name for (name,) in connection.execute("SELECT token_id FROM vault ORDER BY 1")]
        acts_kept = connection.execute("SELECT count(*) FROM act WHERE action = 'vault purge'").fetchone()
    assert left == ["aaaaaaaaaaaa_doubt", "aaaaaaaaaaaa_young"]
    assert tokens == [f"{prefix}_doubt", f"{prefix}_kept"]
    assert acts_kept == (1,)
    assert shown(shop, "vault", "purge", "--yes").items() >= {"rows": 0, "notes": 0, "pending": 0}.items()


def test_purge_leaves_the_last_day_alone(shop: Path) -> None:
    """What is younger than a day may have to answer a retry: refused, whoever asks."""
    put(shop, "fresh", State.DECLINED, wall_clock() - 2 * 3_600_000)

    result = run(shop, "vault", "purge", "--older-than", "1h", "--yes")

    assert result.status == 1
    assert shown(shop, "transaction", "show", "fresh")["state"] == "declined"
    assert run(shop, "vault", "purge", "--older-than", "soon").status == 2


def test_purge_goes_on_in_batches_until_all_is_gone(shop: Path) -> None:
    """More rows than one act takes are deleted by one command."""
    put(shop, "first", State.DECLINED, wall_clock() - 401 * DAY_MS)
    with sqlite3.connect(shop / "ledger.db") as connection:
        connection.execute("CREATE TEMP TABLE copy AS SELECT * FROM ledger")
        for number in range(600):
            connection.execute("UPDATE copy SET id = ?, transaction_id = ?", (f"ch_{number}", f"row{number}"))
            connection.execute("INSERT INTO ledger SELECT * FROM copy")

    assert shown(shop, "vault", "purge", "--older-than", "400d", "--yes")["rows"] == 601


# --- The lock --------------------------------------------------------------------------------------------------------


def test_a_command_waits_for_another_that_has_the_lock_for_a_moment(shop: Path) -> None:
    """Where another command has the lock and no server answers, the act is tried again until the lock is free."""
    holder = locked(shop)
    holder.__enter__()
    Timer(0.2, lambda: holder.__exit__(None, None, None)).start()

    assert len(shown(shop, "instance", "list")) == 1


def test_a_command_gives_up_where_the_lock_stays_taken(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the end it says that another process uses the home; what only reads works all the while."""
    monkeypatch.setattr(acts, "_TRIED_FOR_S", 0.1)

    with locked(shop):
        result, report = run(shop, "instance", "list"), run(shop, "vault", "report")

    assert result.status == 1
    assert "another process uses" in result.err
    assert report.status == 0


def test_an_act_that_was_asked_and_not_answered_is_not_asked_again(shop: Path) -> None:
    """A server that dies in the middle may have done it: the command says so, and asks no second time."""
    asked: list[bytes] = []

    def die(listener: socket.socket) -> None:
        connection, _address = listener.accept()
        asked.append(connection.recv(4096))
        connection.close()

    with locked(shop), socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(shop / "control.sock"))
        listener.listen()
        server = Thread(target=die, args=(listener,))
        server.start()
        result = run(shop, "instance", "rotate-password", "Default")
        server.join()

    assert result.status == 1
    assert "may or may not be done" in result.err
    assert len(asked) == 1


def test_a_server_that_is_stopped_is_not_waited_for(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the socket takes and nobody answers ends soon, with where to look; and `doctor` finds it."""
    monkeypatch.setattr(acts, "_ANSWER_TIMEOUT_S", 0.1)
    monkeypatch.setattr(acts, "_LONG_ANSWER_TIMEOUT_S", {"reconcile": 0.3})
    monkeypatch.setattr(acts, "_TRIED_FOR_S", 0.1)

    with locked(shop), socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(shop / "control.sock"))
        listener.listen()
        results = [run(shop, "instance", "list")]
        began = time.monotonic()
        results.append(run(shop, "reconcile", "--once"))
        waited_s = time.monotonic() - began
        found = [one for one in run(shop, "doctor", "--json").json if one["check"] == "server"]

    assert [result.status for result in results] == [1, 1]
    assert all(f"doctor --home {shop}" in result.err for result in results)
    assert waited_s >= 0.3
    assert [one["level"] for one in found] == ["error"]
    assert "kill -CONT" in found[0]["mend"]


def test_only_looking_up_may_take_long() -> None:
    """An hour for `reconcile`, which asks a processor about each payment; half a minute for all else."""
    assert acts._ANSWER_TIMEOUT_S <= 30  # noqa: SLF001 - the claim is about this number
    assert set(acts._LONG_ANSWER_TIMEOUT_S) == {"reconcile"}  # noqa: SLF001 - as above


def test_a_server_waits_for_a_command_that_has_the_lock_for_a_moment(shop: Path) -> None:
    """Only a server that answers keeps another from starting; a command is waited for."""
    holder = locked(shop)
    holder.__enter__()
    Timer(0.2, lambda: holder.__exit__(None, None, None)).start()

    with acts.lock_for_server(shop), pytest.raises(HomeLockedError), locked(shop):
        pass


# --- Things that are wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("instance", "list"),
        ("access-token", "list"),
        ("transaction", "show", "x"),
        ("sandbox", "statement"),
        ("sandbox", "clear"),
        ("reconcile", "--once"),
        ("vault", "report"),
        ("vault", "purge"),
        ("doctor",),
        ("serve", "--plain-http"),
    ],
)
def test_without_a_home_every_command_says_how_to_make_one(tmp_path: Path, words: tuple[str, ...]) -> None:
    """No traceback: exit status 1, and `init`."""
    result = run(tmp_path / "nowhere", *words)

    assert result.status == 1
    assert "generic-connector init" in result.err + result.out


@pytest.mark.parametrize(
    "words",
    [
        ("init",),
        ("instance", "list"),
        ("vault", "report"),
        ("sandbox", "statement"),
        ("doctor",),
        ("serve", "--plain-http"),
    ],
)
def test_a_home_that_is_a_file_is_said_to_be_one(tmp_path: Path, words: tuple[str, ...]) -> None:
    """No advice that cannot be followed: `init` cannot make a home where a file is."""
    (tmp_path / "file").touch()

    result = run(tmp_path / "file", *words)

    assert result.status == 1
    assert "is a file, and a home is a directory" in result.err + result.out
    assert "--home" in result.err + result.out
    assert "init" not in result.err + result.out


@pytest.mark.parametrize(
    ("name", "mode", "words"),
    [
        ("", 0o000, ("instance", "list")),
        ("", 0o300, ("instance", "list")),
        ("", 0o000, ("vault", "report")),
        ("", 0o000, ("sandbox", "statement")),
        ("", 0o000, ("init",)),
        ("", 0o000, ("serve", "--plain-http")),
        ("lock", 0o400, ("instance", "list")),
        ("config.toml", 0o000, ("vault", "report")),
        ("kek", 0o000, ("instance", "list")),
    ],
)
def test_a_home_that_is_closed_is_no_usage_error(home: Path, name: str, mode: int, words: tuple[str, ...]) -> None:
    """Exit status 2 is for usage alone. Who may not use a home, or a file of it, hears so, and what to do."""
    (home / name).chmod(mode)

    result = run_like_anybody(home, *words)
    (home / name).chmod(0o700)

    assert (result.status, result.out) == (1, "")
    assert re.fullmatch(r"error: .+ user.*: run .+\n|error: .+ user; run .+\n", result.err)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.toml", "nonsense = 1", "nonsense"),
        ("config.toml", "not toml", "TOML"),
        ("config.toml", '[processors.acme]\nuse = "acme"', "acme"),
        ("kek", "nothing", "restore"),
        ("ledger.db", "garbage" * 1000, "generic-connector doctor"),
    ],
)
def test_a_damaged_home_ends_in_one_line(shop: Path, file: str, content: str, words: str) -> None:
    """What is wrong and where to look, in one line on stderr, for acts; and `doctor` still runs."""
    (shop / file).write_text(content)

    result, doctor = run(shop, "instance", "list"), run(shop, "doctor")

    assert result.status == 1
    assert result.out == ""
    assert re.fullmatch(r"error: .+\n", result.err)
    assert words in result.err
    assert doctor.status == 1


@pytest.mark.parametrize("words", [("instance", "list"), ("vault", "report"), ("serve", "--plain-http"), ("doctor",)])
def test_a_database_without_an_installation_is_left_alone(shop: Path, words: tuple[str, ...]) -> None:
    """An empty file, such as a full disk leaves, is named and gets no tables; `init` makes it new."""
    (shop / "ledger.db").write_bytes(b"")

    result = run(shop, *words)

    assert result.status == 1
    assert "ledger.db belongs to no installation" in result.err + result.out
    assert "restore it from its backup" in result.err + result.out
    assert (shop / "ledger.db").stat().st_size == 0
    assert shown(shop, "init")["made"] == []
    assert shown(shop, "instance", "list") == []


def test_a_database_that_init_did_not_finish_is_no_mistake_of_the_program(home: Path) -> None:
    """Tables without an installation, or an installation without keys: one line, and `init` goes on with it."""
    results = []
    for statement in ("DELETE FROM key", "DELETE FROM installation"):
        with sqlite3.connect(home / "ledger.db") as connection:
            connection.execute(statement)
        results.append(run(home, "instance", "list"))

    assert [result.status for result in results] == [1, 1]
    assert "run `generic-connector doctor`" in results[0].err
    assert "belongs to no installation" in results[1].err
    assert shown(home, "init")["made"] == []
    assert shown(home, "instance", "list") == []


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ((), 2, "--tls-cert FILE and --tls-key FILE"),
        (("--tls-cert", "CERT"), 2, "belong together"),
        (("--tls-key", "CERT"), 2, "belong together"),
        (("--plain-http", "--tls-cert", "CERT", "--tls-key", "CERT"), 2, "contradict"),
        (("--plain-http", "--client-ca", "CERT"), 2, "needs TLS"),
        (("--plain-http", "--host", "0.0.0.0"), 2, "loopback only"),  # noqa: S104 - refused
        (("--plain-http", "--host", "::"), 2, "loopback only"),
        (("--plain-http", "--host", ""), 2, "loopback only"),
        (("--plain-http", "--host", "192.0.2.1"), 2, "loopback only"),
        (("--plain-http", "--port", "65536"), 2, "--port"),
        (("--plain-http", "--management", "9090"), 2, "HOST:PORT"),
        (("--plain-http", "--workers", "2"), 1, "one writer"),
        (("--plain-http", "--workers", "0"), 2, "--workers"),
    ],
)
def test_serve_refuses_what_would_not_be_safe(home: Path, options: tuple[str, ...], status: int, words: str) -> None:
    """Half a TLS pair, plain HTTP beyond loopback, more workers than SQLite can have: refused before all else."""
    certificate = home / "some.pem"
    certificate.touch()

    result = run(home, "serve", *(str(certificate) if option == "CERT" else option for option in options))

    assert result.status == status
    assert words in result.err
    assert result.out == ""


def test_what_the_system_refuses_ends_in_one_line() -> None:
    """A path that cannot be made is named, with what to look at."""
    cannot = run(Path("/proc/nowhere"), "init")

    assert cannot.status == 1
    assert "error: /proc/nowhere: " in cannot.err
    assert "check the path" in cannot.err


# --- Terminals -------------------------------------------------------------------------------------------------------


def on_a_terminal(columns: int, home: Path, *words: str, **environment: str) -> str:
    """Run one command on a pseudo-terminal that is so wide; return what it shows."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    process = subprocess.Popen(
        [*COMMAND, *words, "--home", str(home)],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={**inherited, "TERM": "xterm", **environment},
    )
    os.close(theirs)
    shown_bytes = b""
    while True:
        try:
            some = os.read(ours, 4096)
        except OSError:  # Linux says so when the other end is closed
            break
        if not some:
            break
        shown_bytes += some
    os.close(ours)
    process.wait()
    text = shown_bytes.decode()
    judge(Done(process.returncode, text, ""))
    return text


@pytest.mark.skipif(sys.platform != "linux", reason="pseudo-terminals elsewhere end differently")
def test_tables_know_the_terminal(shop: Path) -> None:
    """A table that does not fit is laid on its side, whole; colour is for terminals, unless NO_COLOR is set."""
    wide = on_a_terminal(120, shop, "instance", "list")
    narrow = on_a_terminal(40, shop, "instance", "list", NO_COLOR="1")

    assert re.search(r"Default   test   charge, tokenize   sandbox", wide)
    assert "\x1b[1m" in wide
    assert re.search(r"name        Default\r\nmode        test\r\nallow       charge, tokenize\r\n", narrow)
    assert "\x1b" not in narrow
    assert "\x1b" not in done(shop, "doctor").out
