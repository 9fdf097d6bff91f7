"""The pytest plugin: each check of the conformance kit is a test, run by a pytest of its own."""

import os
import re
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn

from generic_connector.conformance.runner import all_checks
from toy_endpoint import DEFAULT, Refused, ToyEndpoint

pytest_plugins = ["pytester"]

WAIT_S = 50
QUICK = "charge and not tokenize"
"""What `-k` chooses: a family that asks nothing slow."""


class ForgetfulToy(ToyEndpoint):
    """Gives every charge the same id, and says 200 to all."""

    def new_id(self, payment: object) -> str:  # noqa: ARG002 - the toy's
        return "always-the-same"


class PedanticToy(ToyEndpoint):
    """Knows the scheme as `Basic` and in no other case: a SHOULD, and no more."""

    def caller(self, headers: Mapping[str, str]) -> str:
        if not headers.get("authorization", "").startswith("Basic "):
            raise Refused("unauthorized", "Basic is wanted.", 401)
        return super().caller(headers)


@dataclass
class Ran:
    """A pytest that ran."""

    status: int
    text: str
    outcomes: dict[str, str]


class Served:
    """An application on a socket, in a thread."""

    def __init__(self, app: ToyEndpoint) -> None:
        self._server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_level="critical"))
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
        return f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}/"

    def __exit__(self, *_error: object) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(WAIT_S)


@pytest.fixture(scope="module")
def good() -> Iterator[str]:
    """The good toy's address."""
    with Served(ToyEndpoint()) as url:
        yield url


def run(directory: Path, url: str | None, *words: str, inside: pytest.Pytester | None = None) -> Ran:
    """Run pytest with the plugin in an empty directory: as a process of its own, or inside of this one."""
    password = directory / "password.txt"
    password.write_text(f"{DEFAULT[1]}\n", encoding="utf-8")
    (directory / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")  # else one of a directory above is taken
    report = directory / "report.xml"
    report.unlink(missing_ok=True)
    about = () if url is None else ("--connector-url", url, "--connector-username", DEFAULT[0])
    options = [*about, *([] if url is None else ["--connector-password-file", str(password)]), *words]
    given = ["-p", "generic_connector.conformance.plugin", "-rA", "-W", "error", f"--junitxml={report}"]
    given += [f"--rootdir={directory}", *options]
    if inside is not None:
        result = inside.runpytest_inprocess(*given, str(directory))
        return Ran(int(result.ret), f"{result.stdout}{result.stderr}", _outcomes(report))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *given],
        cwd=directory,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    return Ran(done.returncode, done.stdout + done.stderr, _outcomes(report))


def _outcomes(report: Path) -> dict[str, str]:
    outcomes = {}
    if report.exists():
        for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest wrote it
            [*said] = [child for child in case if child.tag in {"failure", "error", "skipped"}]
            kind = said[0].get("type", "") if said else ""
            outcomes[str(case.get("name"))] = "xfailed" if kind == "pytest.xfail" else said[0].tag if said else "passed"
    return outcomes


def names(*families: str) -> Sequence[str]:
    """The ids of checks of these families."""
    return [check.id for check in all_checks() if check.family in families]


def test_each_check_is_a_test(good: str, tmp_path: Path) -> None:
    """They are named by their ids, chosen with `-k`, and pass; what cannot be asked is skipped with the reason."""
    ran = run(tmp_path, good, "-k", QUICK)

    assert ran.status == 0, ran.text
    assert set(names("charge")) <= set(ran.outcomes)
    assert "PASSED conform::charge/1" in ran.text
    assert {"passed", "skipped"} == {ran.outcomes[name] for name in names("charge")}
    assert re.search(r"SKIPPED .*endpoint\.ach", ran.text)
    assert f"real charges are sent to {good.rstrip('/')}" in ran.text


def test_what_does_not_hold_fails_and_says_what_to_change(tmp_path: Path, pytester: pytest.Pytester) -> None:
    """A MUST fails with what came, what was expected, what to change, the source, and the masked exchange."""
    with Served(ForgetfulToy()) as url:
        ran = run(tmp_path, url, "-k", QUICK, inside=pytester)

    assert ran.status == 1, ran.text
    assert "failure" in ran.outcomes.values()
    for word in ("found:", "expected:", "fix:", "why:", "source:", "> POST / HTTP/1.1", "< HTTP/1.1 200"):
        assert word in ran.text
    assert "Traceback" not in ran.text
    assert "4111111111111111" not in ran.text
    assert DEFAULT[1] not in ran.text
    assert "************1111" in ran.text


def test_a_should_that_does_not_hold_is_expected_to_fail(tmp_path: Path, pytester: pytest.Pytester) -> None:
    """It is seen and lets the run pass, unless the run is strict."""
    only = ["-k", "auth/19"]
    with Served(PedanticToy()) as url:
        lenient = run(tmp_path, url, *only, inside=pytester)
        strict = run(tmp_path, url, *only, "--connector-strict", inside=pytester)

    assert (lenient.status, lenient.outcomes) == (0, {"auth/19": "xfailed"}), lenient.text
    assert (strict.status, strict.outcomes) == (1, {"auth/19": "failure"}), strict.text


def test_without_an_address_nothing_happens(tmp_path: Path, pytester: pytest.Pytester) -> None:
    """The plugin can stay loaded: pytest then runs the tests that are there, and no other."""
    (tmp_path / "test_mine.py").write_text("def test_mine() -> None:\n    assert True\n")
    ran = run(tmp_path, None, inside=pytester)

    assert (ran.status, ran.outcomes) == (0, {"test_mine": "passed"}), ran.text


def test_checks_stand_beside_other_tests(good: str, tmp_path: Path, pytester: pytest.Pytester) -> None:
    """A processor's own suite and the checks run in one pytest."""
    (tmp_path / "test_mine.py").write_text("def test_mine() -> None:\n    assert True\n")
    ran = run(tmp_path, good, "-k", "mine or charge/1", inside=pytester)

    assert ran.status == 0, ran.text
    assert {"test_mine", "charge/1"} <= set(ran.outcomes)


def test_an_endpoint_that_is_not_there_fails_no_other_way(tmp_path: Path, pytester: pytest.Pytester) -> None:
    """The first check says that nobody answers, and the others are skipped."""
    ran = run(tmp_path, "http://127.0.0.1:9/", "-k", "reach or charge", inside=pytester)

    assert ran.status == 1, ran.text
    assert ran.outcomes["reach/1"] == "failure"
    assert {"skipped"} == {outcome for name, outcome in ran.outcomes.items() if name != "reach/1"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--connector-url", "ftp://x/"], "--connector-url: The address is not"),
        (["--connector-url", "http://127.0.0.1:9/", "--connector-username", "u"], "belong together"),
        (["--connector-url", "http://127.0.0.1:9/", "--connector-profile", "none.toml"], "--connector-profile: The"),
        (["--connector-url", "http://127.0.0.1:9/", "--connector-ca", "none.pem"], "--connector-ca: there is no file"),
    ],
)
def test_a_wrong_option_is_said_in_words(
    words: list[str], says: str, tmp_path: Path, pytester: pytest.Pytester
) -> None:
    """Before anything is sent, and without a traceback."""
    ran = run(tmp_path, None, *words, inside=pytester)

    assert ran.status == pytest.ExitCode.USAGE_ERROR, ran.text
    assert says in ran.text
    assert "Traceback" not in ran.text
