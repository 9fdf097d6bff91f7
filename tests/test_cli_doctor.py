"""`doctor`: each thing that can be wrong is found, with what mends it, and looking changes nothing."""

import os
import re
import socket
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from commanding import done, put, run, run_like_anybody, shown
from generic_connector.administration import months_before
from generic_connector.envelope import SEALS_MAX
from generic_connector.home import how_to_open, wall_clock
from generic_connector.ledger import State

Spoil = Callable[[Path], object]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with the instance Default and its KEK elsewhere: nothing is wrong with it but that it is in test mode."""
    done(tmp_path / "home", "init", "--kek", f"file:{tmp_path / 'kek'}")
    done(tmp_path / "home", "instance", "add", "Default")
    return tmp_path / "home"


def sql(home: Path, *statements: str) -> None:
    """Change the database as nobody should."""
    with sqlite3.connect(home / "ledger.db") as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def dead_socket(home: Path) -> None:
    """Leave a control socket where nobody listens."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home / "control.sock"))
    (home / "control.sock").chmod(0o600)


def kek_beside(home: Path) -> None:
    """Put the KEK where the database is."""
    (home.parent / "kek").rename(home / "kek")
    (home / "config.toml").write_text("")
    (home / "config.toml").chmod(0o600)


def ending_token(home: Path, expires_in: str) -> None:
    """Issue an access token."""
    done(home, "access-token", "issue", "--instance", "Default", "--scope", "charge", "--expires-in", expires_in)


def ended_token(home: Path) -> None:
    """Issue an access token that has ended."""
    ending_token(home, "1d")
    sql(home, "UPDATE access_token SET expires_at_ms = 1")


def revoked_token(home: Path) -> None:
    """Issue an access token that would end soon, and revoke it."""
    ending_token(home, "1d")
    (token,) = shown(home, "access-token", "list")
    done(home, "access-token", "revoke", token["id"])


def other_kek(home: Path) -> None:
    """Exchange the KEK for another installation's."""
    done(home.parent / "other", "init")
    (home.parent / "other" / "kek").replace(home.parent / "kek")


def configure_acme(home: Path) -> None:
    """Name a processor that is not installed."""
    with (home / "config.toml").open("a") as config:
        config.write('[processors.acme]\nuse = "acme"\n')


def seals(home: Path, count: int) -> None:
    """Say that all keys have made so many seals."""
    sql(home, f"UPDATE key SET seals = {count}")  # noqa: S608 - a number


def test_a_healthy_home_has_no_errors(home: Path) -> None:
    """Nothing is an error; every warning and error would say what mends it; the exit status is 0."""
    result = run(home, "doctor", "--json")

    assert result.status == 0
    levels = {(found["level"], found["check"]) for found in result.json}
    assert {check for level, check in levels if level == "warning"} <= {"sqlite", "instances", "disk"}
    assert {"home", "permissions", "config", "kek", "database", "keys", "payments", "server", "core dumps"} <= {
        check for level, check in levels if level == "ok"
    }
    assert all((found["mend"] is None) is (found["level"] == "ok") for found in result.json)


def corrupt_book(home: Path) -> None:
    """Make garbage of the sandbox's book."""
    (home / "sandbox.db").write_bytes(b"x" * 9999)
    (home / "sandbox.db").chmod(0o600)


def newer_book(home: Path) -> None:
    """Say that a newer version made the sandbox's book."""
    done(home, "sandbox", "clear")
    with sqlite3.connect(home / "sandbox.db") as connection:
        connection.execute("INSERT INTO migration VALUES (99, '')")
    connection.close()


def corrupt_other_book(home: Path) -> None:
    """Make garbage of the book of a sandbox under another name."""
    with (home / "config.toml").open("a") as config:
        config.write('[processors.bank]\nuse = "sandbox"\n')
    (home / "sandbox-bank.db").write_bytes(b"x" * 9999)
    (home / "sandbox-bank.db").chmod(0o600)


def readable_journal(home: Path) -> None:
    """Let others read a database that has another name, and its journal."""
    (home / "ledger.db").rename(home / "led2.db")
    (home / "led2.db").chmod(0o644)
    (home / "config.toml").write_text(f'database = "sqlite:led2.db"\nkek = "file:{home.parent / "kek"}"\n')
    (home / "led2.db-wal").touch(mode=0o644)


def readable_book(home: Path) -> None:
    """Let others read the book of a sandbox under another name."""
    (home / "sandbox-bank.db").touch(mode=0o644)


WRONG: list[tuple[str, Spoil, str, str, str]] = [
    ("others can enter", lambda home: home.chmod(0o755), "warning", "home", "chmod 700"),
    ("others can write", lambda home: home.chmod(0o777), "error", "home", "chmod 700"),
    ("others read config", lambda home: (home / "config.toml").chmod(0o644), "error", "permissions", "chmod 600"),
    ("others read another database's journal", readable_journal, "error", "permissions", "led2.db-wal"),
    ("others read another sandbox's book", readable_book, "error", "permissions", "sandbox-bank.db"),
    ("others read a copy", lambda home: (home / "ledger.db.bak").touch(mode=0o644), "error", "permissions", ".bak"),
    ("corrupt book", corrupt_book, "error", "sandbox", "set-aside"),
    ("corrupt book of another name", corrupt_other_book, "error", "sandbox", "sandbox-bank.db"),
    ("newer book", newer_book, "error", "sandbox", "install"),
    ("others read the KEK", lambda home: (home.parent / "kek").chmod(0o640), "error", "kek", "chmod 600"),
    ("no KEK", lambda home: (home.parent / "kek").unlink(), "error", "kek", "restore it"),
    ("another KEK", other_kek, "error", "keys", "same backup"),
    ("KEK beside the database", kek_beside, "warning", "kek", "another volume"),
    ("bad config", lambda home: (home / "config.toml").write_text("x = 1"), "error", "config", "config.toml"),
    ("no database", lambda home: (home / "ledger.db").unlink(), "error", "database", "init"),
    ("garbage", lambda home: (home / "ledger.db").write_bytes(b"x" * 9999), "error", "database", "backup"),
    ("empty database", lambda home: (home / "ledger.db").write_bytes(b""), "error", "database", "init"),
    ("newer schema", lambda home: sql(home, "INSERT INTO migration VALUES (99, '')"), "error", "database", "install"),
    ("older schema", lambda home: sql(home, "DELETE FROM migration"), "warning", "database", "start the server"),
    ("no key", lambda home: sql(home, "UPDATE key SET is_active = 0 WHERE id = 2"), "error", "keys", "restore"),
    ("half the seals", lambda home: seals(home, SEALS_MAX // 2 + 1), "warning", "seals", "update"),
    ("all seals", lambda home: seals(home, SEALS_MAX), "error", "seals", "update"),
    ("killed server", dead_socket, "warning", "server", "serve"),
    ("no instance", lambda home: sql(home, "DELETE FROM credential", "DELETE FROM instance"), "warning", "instances",
     "instance add Default"),
    ("no Default", lambda home: sql(home, "UPDATE instance SET unique_name = 'X'"), "warning", "instances",
     "instance add Default"),
    ("lost processor", lambda home: sql(home, "UPDATE instance SET processor = 'acme'"), "error", "processors",
     "[processors.acme]"),
    ("unknown processor", configure_acme, "error", "processors", "config.toml"),
    ("token ends soon", lambda home: ending_token(home, "13d"), "warning", "access tokens", "access-token revoke at_"),
    ("token has ended", ended_token, "warning", "access tokens", "issue --instance Default --scope charge"),
    ("second password", lambda home: done(home, "instance", "rotate-password", "Default"), "warning", "passwords",
     "rotate-password Default --revoke-old"),
    ("in doubt", lambda home: put(home, "doubt", State.IN_DOUBT), "error", "payments", "reconcile settle"),
    ("left running", lambda home: put(home, "left", State.RUNNING, wall_clock() - 180_000), "warning", "payments",
     "reconcile --once"),
    ("from the future", lambda home: put(home, "future", State.SAVED, wall_clock() + 120_000), "error", "clock", "ntp"),
    ("past its time", lambda home: put(home, "old", State.SAVED, months_before(wall_clock(), 14)), "warning",
     "retention", "vault purge"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "level", "check", "mend"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_what_is_wrong_is_found(home: Path, spoil: Spoil, level: str, check: str, mend: str) -> None:
    """Each fault is found at its level, with the command that mends it; an error makes the exit status 1."""
    spoil(home)

    result = run(home, "doctor", "--json")

    found = [one for one in result.json if (one["level"], one["check"]) == (level, check)]
    assert any(mend in one["mend"] for one in found), result.json
    assert result.status == (1 if level == "error" else 0), result.json
    assert f"{level:<7}   {check}" in run(home, "doctor").out


HARMLESS: dict[str, Spoil] = {
    "a read-only copy": lambda home: (home / "ledger.db.bak").touch(mode=0o400),
    "a read-only config": lambda home: (home / "config.toml").chmod(0o400),
    "a book in use": lambda home: done(home, "sandbox", "clear"),
    "an empty book": lambda home: (home / "sandbox.db").touch(mode=0o600),
    "a token of 15 days": lambda home: ending_token(home, "15d"),
    "a revoked token": revoked_token,
    "a payment at work": lambda home: put(home, "fresh", State.RUNNING),
    "a long payment at work": lambda home: put(
        home, "leased", State.RUNNING, wall_clock() - 180_000, lease_until_ms=wall_clock() + 60_000
    ),
    "rows of a year": lambda home: put(home, "done", State.DECLINED, months_before(wall_clock(), 12)),
    "half the seals": lambda home: seals(home, SEALS_MAX // 2),
}


@pytest.mark.parametrize("harmless", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_is_well_is_not_complained_of(home: Path, harmless: Spoil) -> None:
    """A token with more than 14 days or revoked, a payment at work, rows within 13 months: no warning."""
    before = [one for one in shown(home, "doctor") if one["level"] != "ok"]

    harmless(home)

    assert before == [one for one in shown(home, "doctor") if one["level"] != "ok"]


def test_the_mend_of_a_corrupt_book_mends(home: Path) -> None:
    """What doctor says is typed as it stands; then every command works again."""
    corrupt_book(home)
    assert run(home, "instance", "list").status == 1
    (mend,) = [one["mend"] for one in run(home, "doctor", "--json").json if one["check"] == "sandbox"]

    subprocess.run(mend.partition(", with")[0], shell=True, check=True)  # noqa: S602 - as an operator types it

    assert len(shown(home, "instance", "list")) == 1
    assert run(home, "doctor").status == 0
    assert (home / "set-aside" / "sandbox.db").exists()


@pytest.mark.parametrize(("name", "mode"), [("", 0o500), ("lock", 0o400), ("ledger.db", 0o400), ("ledger.db", 0o000)])
def test_what_this_user_cannot_write_is_found(home: Path, name: str, mode: int) -> None:
    """Where commands and serve would fail, doctor does not say that all is well; its mend is `chmod`, for the owner."""
    (home / name).chmod(mode)

    result = run_like_anybody(home, "doctor", "--json")
    failed = run_like_anybody(home, "instance", "list")
    (home / name).chmod(0o700 if not name else 0o600)

    (found,) = [one for one in result.json if (one["level"], one["check"]) == ("error", "permissions")]
    assert (result.status, failed.status) == (1, 1)
    assert str(home / name) in found["finding"]
    assert f"chmod u+rwX {home / name}" in found["mend"]
    assert "backup" not in result.out
    assert run(home, "doctor").status == 0


def test_another_user_is_told_whom_to_be(tmp_path: Path) -> None:
    """What belongs to somebody else is used as that user, who may have no name but a number."""
    theirs = tmp_path if os.geteuid() == 0 else Path("/")
    if os.geteuid() == 0:
        os.chown(theirs, 54321, -1)

    assert re.search(r"as its owner, `sudo -u ('#[0-9]+'|\S+) generic-connector", how_to_open(theirs))


def payments(home: Path) -> list[tuple[str, str]]:
    """What doctor says about payments."""
    return [(one["level"], one["finding"]) for one in run(home, "doctor", "--json").json if one["check"] == "payments"]


def test_every_unsettled_payment_is_in_a_line(home: Path) -> None:
    """Young rows are told of as well, and nothing is told in a plural of one."""
    assert payments(home) == [("ok", "none is unsettled")]
    put(home, "young", State.RUNNING)
    assert [("ok", "1 payment is at work, or left to Twilio's retry")] == payments(home)
    put(home, "younger", State.RUNNING)
    put(home, "doubt0", State.IN_DOUBT)
    put(home, "left", State.RUNNING, wall_clock() - 180_000)
    assert payments(home) == [
        ("error", "1 payment is in doubt: money may have moved (ch_doubt0)"),
        ("warning", "1 payment was left running by a server that ended (ch_left)"),
        ("ok", "2 payments are at work, or left to Twilio's retry"),
    ]
    for number in range(1, 4):
        put(home, f"doubt{number}", State.IN_DOUBT)
    assert "4 payments are in doubt: money may have moved (ch_doubt0, ch_doubt1, ch_doubt2 ...)" in payments(home)[0]


def test_an_old_doubt_is_no_reason_to_purge(home: Path) -> None:
    """A first row that is in doubt stays for as long as it is; only what purge would delete makes the warning."""
    old_ms = months_before(wall_clock(), 14)
    put(home, "a-doubt", State.IN_DOUBT, old_ms)
    before = [one for one in run(home, "doctor", "--json").json if one["check"] == "retention"]
    put(home, "b-done", State.SAVED, old_ms)

    after = [one for one in run(home, "doctor", "--json").json if one["check"] == "retention"]
    done(home, "vault", "purge", "--yes")

    assert (before, len(after)) == ([], 1)
    assert [] == [one for one in run(home, "doctor", "--json").json if one["check"] == "retention"]


def test_looking_changes_nothing(home: Path) -> None:
    """`doctor` writes to no file of the installation."""
    put(home, "doubt", State.IN_DOUBT)
    before = {path.name: path.read_bytes() for path in home.iterdir()}

    run(home, "doctor")

    after = {path.name: path.read_bytes() for path in home.iterdir()}
    assert before == {name: content for name, content in after.items() if not name.endswith(("-shm", "-wal"))}
    assert after.get("ledger.db-wal", b"") == b""
