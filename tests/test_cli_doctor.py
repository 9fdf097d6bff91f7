"""`doctor`: each thing that can be wrong is found, with what mends it, and looking changes nothing."""

import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from commanding import done, put, run, shown
from generic_connector.administration import months_before
from generic_connector.envelope import SEALS_MAX
from generic_connector.home import wall_clock
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


WRONG: list[tuple[str, Spoil, str, str, str]] = [
    ("others can enter", lambda home: home.chmod(0o755), "warning", "home", "chmod 700"),
    ("others can write", lambda home: home.chmod(0o777), "error", "home", "chmod 700"),
    ("others read config", lambda home: (home / "config.toml").chmod(0o644), "error", "permissions", "chmod 600"),
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


def test_looking_changes_nothing(home: Path) -> None:
    """`doctor` writes to no file of the installation."""
    put(home, "doubt", State.IN_DOUBT)
    before = {path.name: path.read_bytes() for path in home.iterdir()}

    run(home, "doctor")

    after = {path.name: path.read_bytes() for path in home.iterdir()}
    assert before == {name: content for name, content in after.items() if not name.endswith(("-shm", "-wal"))}
    assert after.get("ledger.db-wal", b"") == b""
