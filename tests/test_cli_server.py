"""The command line beside a running server, a real one: what is done takes effect there at once."""

import hashlib
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from commanding import (
    COMMAND,
    VISA,
    WAIT_S,
    Done,
    Server,
    certificates_in,
    charge,
    done,
    judge,
    put,
    run,
    serving,
    shown,
)
from generic_connector.administration import months_before
from generic_connector.certificates import DevelopmentCertificates
from generic_connector.home import wall_clock
from generic_connector.ledger import State

Credentials = tuple[str, str]
QUICK = "processor_timeout = 0.3\nlook_up_timeout = 0.3\ndrain_timeout = 1\n"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentCertificates:
    """Certificates for localhost."""
    return certificates_in(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificates: DevelopmentCertificates) -> Iterator[Server]:
    """A server with short patience, for all tests of this module."""
    home = tmp_path_factory.mktemp("served") / "home"
    done(home, "init")
    (home / "config.toml").write_text(QUICK)
    put(home, "ancient", State.DECLINED, months_before(wall_clock(), 14))
    with serving(home, certificates=certificates) as started:
        yield started


def added(home: Path, name: str, *options: str) -> Credentials:
    """Add an instance; return its credentials."""
    credentials = shown(home, "instance", "add", name, *options)
    return credentials["username"], credentials["password"]


def run_apart(*words: str) -> Done:
    """Run one command in a process of its own."""
    ended = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=WAIT_S, check=False)
    result = Done(ended.returncode, ended.stdout, ended.stderr)
    judge(result)
    return result


# --- Effect at once --------------------------------------------------------------------------------------------------


def test_an_added_instance_can_pay_at_once(server: Server) -> None:
    """The next request with new credentials is answered; --path-secret gives a path that needs none."""
    credentials = added(server.home, "Added")
    secret = shown(server.home, "instance", "add", "Secret", "--path-secret")["path"]

    reply = server.pay(credentials, "added-1")
    with server.client() as client:
        by_path = client.post(secret, json=charge("added-2"))

    assert (reply.status_code, reply.json()["error_code"]) == (200, None)
    assert by_path.json()["error_code"] is None
    assert secret not in server.errors.read_text()


def test_disable_and_enable_take_effect_at_once(server: Server) -> None:
    """A disabled instance is answered 403, an enabled one 200."""
    credentials = added(server.home, "Switch")

    done(server.home, "instance", "disable", "Switch")
    off = server.pay(credentials, "switch-1")
    done(server.home, "instance", "enable", "Switch")

    assert off.status_code == 403
    assert server.pay(credentials, "switch-2").status_code == 200


def test_rotated_passwords(server: Server) -> None:
    """Two passwords are valid; the third ends the oldest; --revoke-old ends all others."""
    username, first = added(server.home, "Rotated")

    def rotated(*options: str) -> str:
        return str(shown(server.home, "instance", "rotate-password", "Rotated", *options)["password"])

    def statuses(*passwords: str) -> list[int]:
        return [server.pay((username, password), f"rotated-{password}").status_code for password in passwords]

    second = rotated()
    assert statuses(first, second) == [200, 200]
    third = rotated()
    assert statuses(first, second, third) == [401, 200, 200]
    fourth = rotated("--revoke-old")
    assert statuses(second, third, fourth) == [401, 401, 200]


def test_access_tokens_work_and_end_at_once(server: Server) -> None:
    """A token stands for the password or comes as Bearer, does only what its scopes say, and is dead once revoked."""
    username, _password = added(server.home, "Tokens")
    issued = shown(server.home, "access-token", "issue", "--instance", "Tokens", "--scope", "charge")
    bearer = {"Authorization": f"Bearer {issued['token']}"}

    basic = server.pay((username, issued["token"]), "tokens-1")
    with server.client(headers=bearer) as client:
        paid = client.post("/", json=charge("tokens-2"))
        saved = client.post("/", json=charge("tokens-3", method="tokenize"))
        done(server.home, "access-token", "revoke", issued["id"])
        dead = client.post("/", json=charge("tokens-4"))

    assert (basic.status_code, paid.status_code) == (200, 200)
    assert saved.json()["error_code"] == "not_permitted"
    assert dead.status_code == 401


def test_sandbox_faults_meet_the_next_payment(server: Server) -> None:
    """A fault with a count of one meets one payment; cleared faults meet none; the statement has what was captured."""
    credentials = added(server.home, "Faults")

    done(server.home, "sandbox", "fault", "decline", "insufficient_funds", "--count", "1")
    codes = [server.pay(credentials, f"faults-{number}").json()["error_code"] for number in (1, 2)]
    done(server.home, "sandbox", "fault", "unavailable")
    done(server.home, "sandbox", "clear")

    assert codes == ["insufficient_funds", None]
    assert server.pay(credentials, "faults-3").json()["error_code"] is None
    captured = [line for line in shown(server.home, "sandbox", "statement") if line["instance"] == "Faults"]
    assert [line["transaction_id"] for line in captured] == ["faults-2", "faults-3"]
    columns = "idempotency_key transaction_id instance amount currency state captured_at"
    assert list(captured[0]) == columns.split()
    assert (captured[0]["amount"], captured[0]["currency"], captured[0]["state"]) == ("1.00", "USD", "captured")


# --- What happened ---------------------------------------------------------------------------------------------------


def test_a_timeline_has_every_delivery(server: Server) -> None:
    """First delivery, send, record, replay and conflict, each with its request id and time, and no card number."""
    credentials = added(server.home, "Story")
    replies = [
        server.pay(credentials, "story", amount=amount, parameters={"reference": f"card {VISA}"})
        for amount in ("1.00", "1.00", "2.00")
    ]

    told = shown(server.home, "transaction", "show", "story")

    assert [event["event"] for event in told["timeline"]] == [
        "delivery", "sent", "approved", "replied", "replayed", "conflict",
    ]  # fmt: skip
    first, again, other = (reply.headers["x-request-id"] for reply in replies)
    requests = [event["request_id"] for event in told["timeline"] if event["request_id"]]
    assert requests == [first, first, first, again, other]
    assert told["id"] == replies[0].json()["charge_id"]
    assert told["reply"] == {"status": 200, "body": replies[1].json()}
    for id_ in (told["id"], again):
        assert (
            done(server.home, "transaction", "show", id_).out == done(server.home, "transaction", "show", "story").out
        )


def test_a_carriers_id_is_shown_as_it_came(server: Server) -> None:
    """Digits that pass Luhn across the groups of a UUID are no card: statement, history and log have it as it is."""
    id_ = "68ae3bc7-de8c-4e4d-a173-971027575268"
    server.pay(added(server.home, "Found"), id_)

    told = shown(server.home, "transaction", "show", id_)
    captured = [line["transaction_id"] for line in shown(server.home, "sandbox", "statement")]

    assert id_ == told["transaction_id"]
    assert captured.count(id_) == 1
    assert id_ in done(server.home, "sandbox", "statement").out
    assert f'"transaction_id": "{id_}"' in server.errors.read_text()


def test_a_saved_card_can_be_shown_masked(server: Server) -> None:
    """A token is in the vault's report and can be shown, masked, while the server runs."""
    credentials = added(server.home, "Saved")
    token = server.pay(credentials, "saved", method="tokenize").json()["token_id"]

    told = shown(server.home, "vault", "show", token)

    assert (told["bin"], told["last4"], told["active"]) == ("411111", "1111", True)
    counted = [row for row in shown(server.home, "vault", "report")["tokens"] if row["instance"] == "Saved"]
    assert [row["count"] for row in counted] == [1]


def test_a_payment_in_doubt_is_settled_beside_the_server(server: Server) -> None:
    """`reconcile --once` exits 1 while it stays in doubt; after `settle` the same delivery hears the truth."""
    credentials = added(server.home, "Doubt")
    unknown = {"parameters": {"sandbox_outcome": "unknown"}}
    before = server.pay(credentials, "doubt", **unknown)

    looked = run(server.home, "reconcile", "--once", "--older-than", "0s", "--json")
    doctor = run(server.home, "doctor", "--json")
    done(server.home, "reconcile", "settle", "doubt", "captured", "--reason", "seen on the statement")
    after = server.pay(credentials, "doubt", **unknown)

    assert before.json()["error_code"] == "outcome_unknown"
    assert looked.status == 1
    assert [one["state"] for one in looked.json] == ["in_doubt"]
    assert [one["level"] for one in doctor.json if one["check"] == "payments"] == ["error"]
    assert after.json()["charge_id"] == looked.json[0]["id"]
    assert "seen on the statement" in done(server.home, "transaction", "show", "doubt").out
    assert run(server.home, "reconcile", "--once", "--older-than", "0s").status == 0


def test_doctor_looks_beside_a_server_and_changes_nothing(server: Server) -> None:
    """The server is found to run, and database and journal have the same bytes afterwards."""

    def digests() -> dict[str, str]:
        files = (server.home / name for name in ("ledger.db", "ledger.db-wal", "sandbox.db", "sandbox.db-wal"))
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

    before = digests()
    found = {one["check"]: one["finding"] for one in json.loads(run(server.home, "doctor", "--json").out)}

    assert found["server"] == "a server runs and takes commands"
    assert digests() == before


def test_purge_works_beside_a_server(server: Server) -> None:
    """What is past its time is deleted by the server; a second time there is nothing, and it is asked for nothing."""
    assert [shown(server.home, "vault", "purge", "--yes")["rows"] for _ in range(2)] == [1, 0]
    assert run(server.home, "transaction", "show", "ancient").status == 1


def test_init_beside_a_server_says_that_the_home_is_complete(server: Server) -> None:
    """It takes no lock that it does not get."""
    assert "is complete" in done(server.home, "init").out


# --- The server itself -----------------------------------------------------------------------------------------------


def test_a_second_server_is_refused(server: Server) -> None:
    """On a SQLite home there is one server: the second says so on stderr and exits 1, and the first goes on."""
    result = run_apart("serve", "--plain-http", "--port", "0", "--home", str(server.home))

    assert (result.status, result.out) == (1, "")
    assert "a SQLite home has one" in result.err
    with server.client() as client:
        assert client.get("/healthz").status_code == 200


def test_serve_prints_one_line_and_ends_in_order(tmp_path: Path) -> None:
    """Stdout is one line, whatever happens afterwards; events are JSON lines on stderr; SIGTERM is exit status 0."""
    home = tmp_path / "home"
    done(home, "init")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        management = f"127.0.0.1:{taken.getsockname()[1]}"
        busy = run_apart("serve", "--plain-http", "--port", management.rpartition(":")[2], "--home", str(home))
    credentials = added(home, "Default")

    with serving(home, "--port", "0", "--management", management) as started:
        assert started.line.startswith("ready on http://127.0.0.1:")
        assert started.line.count("\n") == 1
        assert started.pay(credentials, "one").status_code == 200
        with started.client() as client:
            assert "generic_connector_payments" in client.get(f"http://{management}/metrics/").text
            assert client.get("/metrics").status_code == 404
        ended = started.stop()

    assert (busy.status, busy.out) == (1, "")
    assert "cannot be listened on (Address already in use)" in busy.err
    assert (ended.status, ended.out) == (0, "")
    events = [json.loads(line)["event"] for line in ended.err.splitlines()]
    assert {"payment", "stopping", "stopped"} <= set(events)
    assert not (home / "control.sock").exists()


def test_a_free_port_for_metrics_is_told(tmp_path: Path) -> None:
    """With port 0 the kernel picks one; an event says which."""
    home = tmp_path / "home"
    done(home, "init")

    with serving(home, "--port", "0", "--management", "127.0.0.1:0") as started, started.client() as client:
        assert client.get("/healthz").status_code == 200
        events = [json.loads(line) for line in started.errors.read_text().splitlines()]
        (address,) = [event["address"] for event in events if event["event"] == "management"]
        metrics = client.get(f"http://{address}/metrics/").text

    assert "generic_connector_payments" in metrics


def test_after_a_kill_every_command_still_works(tmp_path: Path) -> None:
    """What a killed server leaves behind, socket and journal, is in the way of no command and of no next start."""
    home = tmp_path / "home"
    done(home, "init")
    with serving(home) as started:
        credentials = added(home, "Default")
        reply = started.pay(credentials, "before").json()
        started.process.kill()
        started.ended()

    assert (home / "control.sock").exists()
    assert (home / "ledger.db-wal").stat().st_size > 0
    assert shown(home, "transaction", "show", "before")["id"] == reply["charge_id"]
    assert [line["transaction_id"] for line in shown(home, "sandbox", "statement")] == ["before"]
    assert shown(home, "vault", "report")["ledger"] == {"approved": 1}
    assert run(home, "doctor").status == 0
    assert len(shown(home, "instance", "list")) == 1
    with serving(home) as again:
        assert again.pay(credentials, "before").json() == reply
        assert again.stop().status == 0


def test_reconcile_repeats_until_it_is_interrupted(server: Server) -> None:
    """Without --once it prints a line a round; Ctrl-C ends it with exit status 0."""
    words = [*COMMAND, "reconcile", "--home", str(server.home)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.send_signal(2)
        rest, errors = process.communicate(timeout=WAIT_S)

    assert "unsettled" in line or "in_doubt" in line
    assert (process.returncode, rest, errors) == (0, "", "")
