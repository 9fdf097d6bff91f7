"""`twilio`: one call from the command line, against an endpoint of somebody else, with nothing of our gateway running.

The endpoint is thirty lines of the standard library. Whatever a command prints is judged by `commanding`: no card
number, no traceback; here account numbers, security codes and passwords are looked for too.
"""

import asyncio
import base64
import json
import os
import pty
import re
import select
import signal
import ssl
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

import commanding
from commanding import COMMAND, VISA, WAIT_S, Done, certificates_in, judge
from generic_connector.twilio.call import Call
from generic_connector.twilio.configuration import Configuration, load_configuration
from generic_connector.twilio.delivery import Delivery
from generic_connector.twilio.effects import Effect, Ends, Executes, Fetches, Hears, Plays, Speaks, Warns
from generic_connector.twilio.rehearsal import Rehearsal
from generic_connector.twilio.script import Act, BadScriptError, Silence, Stroke, read_script
from generic_connector.twilio.switches import Switches
from generic_connector.twilio.transcript import COLUMNS, Record, Transcript

PASSWORD = "swordfish-0815"
ACCOUNT = "12345678"
CODE = "737"
CARD_KEYS = f"{VISA} 1239 94105# {CODE}"
CHARGE = '<Pay chargeAmount="10.00"/>'
TOKENIZE = "<Pay/>"
BANK = '<Pay paymentMethod="ach-debit" chargeAmount="5.00"/>'


# --- An endpoint of somebody else's ----------------------------------------------------------------------------------


@dataclass
class Foreign:
    """An endpoint that charges and keeps what it is asked to, but for 13.00; and what it was asked."""

    url: str
    asked: list[dict[str, Any]] = field(default_factory=list)
    callbacks: list[tuple[str, str, str]] = field(default_factory=list)
    """Path, form and signature of what came to the application, which is here too."""

    @property
    def connector(self) -> str:
        return f"{self.url}/,shop,{PASSWORD}"


@contextmanager
def foreign_endpoint(twiml: str = "") -> Iterator[Foreign]:
    """Serve the endpoint, and an application that answers `twiml` at /voice and hangs up elsewhere."""
    expected = f"Basic {base64.b64encode(f'shop:{PASSWORD}'.encode()).decode()}"

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if self.path == "/":
                self.reply(*self.paid(json.loads(body)))
            else:
                made.callbacks.append((self.path, body, self.headers["X-Twilio-Signature"]))
                self.reply(200, twiml if self.path == "/voice" else "<Response><Hangup/></Response>")

        def paid(self, asked: dict[str, Any]) -> tuple[int, str]:
            if self.headers["Authorization"] != expected:
                return 401, ""
            made.asked.append(asked)
            key = "charge_id" if asked["method"] == "charge" else "token_id"
            if asked.get("amount") == "13.00":
                return 200, json.dumps({key: None, "error_code": "card_declined", "error_message": "no"})
            return 200, json.dumps({key: f"{key}_of_theirs", "error_code": None, "parameters": {"receipt": "R7"}})

        def reply(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/xml" if text.startswith("<") else "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_words: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Foreign(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def foreign() -> Iterator[Foreign]:
    """An endpoint for one test."""
    with foreign_endpoint() as made:
        yield made


def written(directory: Path, verbs: str) -> str:
    """Write a file of TwiML."""
    path = directory / "pay.xml"
    path.write_text(f"<Response>{verbs}</Response>")
    return str(path)


def search(text: str) -> list[str]:
    """Return the secrets of these tests that stand in a text."""
    return [secret for secret in (VISA, ACCOUNT, PASSWORD) if secret in text] + re.findall(rf"\b{CODE}\b", text)


def run(*words: str) -> Done:
    """Run `twilio` in this process, and look for secrets in what it prints."""
    done = commanding.run(None, "twilio", *words)
    assert [] == search(done.out + done.err)
    return done


def apart(*words: str) -> Done:
    """Run `twilio` in a process of its own, and look for secrets in what it prints."""
    ended = subprocess.run([*COMMAND, "twilio", *words], capture_output=True, text=True, timeout=WAIT_S, check=False)
    done = Done(ended.returncode, ended.stdout, ended.stderr)
    judge(done)
    assert [] == search(done.out + done.err)
    return done


def result(done: Done) -> Mapping[str, str]:
    """Return the result that stands at the end of a transcript."""
    first, *lines = done.out.rpartition("\nresult  ")[2].splitlines()
    pairs = (line.split(maxsplit=1) for line in lines)
    return {"Result": first, **dict(pairs)}


def kinds(document: Mapping[str, Any], kind: str) -> list[Any]:
    """Return the events of a kind."""
    return [event for event in document["events"] if event["kind"] == kind]


# --- Calls -----------------------------------------------------------------------------------------------------------


def test_a_charge(foreign: Foreign, tmp_path: Path) -> None:
    """A whole call in a process of its own: both sides are shown, the result comes last, the exit status is 0."""
    file = written(tmp_path, f"<Say>Hello.</Say>{CHARGE}")

    done = apart("pay", file, "--connector", foreign.connector, "--digits", CARD_KEYS)

    assert (0, "") == (done.status, done.err)
    (asked,) = foreign.asked
    names = ("method", "cardnumber", "cvv", "postal_code", "amount", "currency_code")
    assert ("charge", VISA, CODE, "94105", "10.00", "USD") == tuple(asked[name] for name in names)
    assert "hears     Hello.\n" in done.out
    assert "keys      xxxxxxxxxxxxxxxx\n" in done.out
    assert f"> POST {foreign.url}/ " in done.out
    assert re.search(r"< 200 in [0-9]+ ms\n", done.out)
    told = {
        "Result": "success",
        "PaymentConfirmationCode": "charge_id_of_theirs",
        "PaymentCardNumber": "xxxxxxxxxxxx1111",
        "SecurityCode": "xxx",
        "PayConnector_receipt": "R7",
    }
    assert told.items() <= result(done).items()


@pytest.mark.parametrize(
    ("twiml", "script", "expected"),
    [
        (TOKENIZE, CARD_KEYS, {"Result": "success", "PaymentToken": "token_id_of_theirs"}),
        (
            BANK,
            f"021000021 {ACCOUNT}#",
            {"Result": "success", "PaymentConfirmationCode": "charge_id_of_theirs", "BankAccountNumber": "******78"},
        ),
        (CHARGE, f"4111111111111112# {CARD_KEYS}", {"Result": "success"}),
        (CHARGE, "4111 *", {"Result": "caller-interrupted-with-star"}),
        (CHARGE, "4111 H", {"Result": "caller-hung-up"}),
        (CHARGE, "", {"Result": "too-many-failed-attempts", "PaymentError": "input-timeout"}),
        (
            CHARGE.replace("10", "13"),
            CARD_KEYS,
            {"Result": "payment-connector-error", "PayErrorCode": "64008"},
        ),
        (CHARGE, CARD_KEYS.replace(VISA, "4012888888881881"), {"PayErrorCode": "64022"}),
        (CHARGE.replace("/>", ' paymentConnector="Nobody"/>'), "", {"PayErrorCode": "64004"}),
        (CHARGE.replace("/>", ' postalCode="false" securityCode="false"/>'), f"{VISA}1239", {"Result": "success"}),
    ],
    ids=[
        "tokenize",
        "ach",
        "a wrong card, then a right one",
        "star",
        "hung up",
        "silence",
        "declined",
        "not a test number",
        "no such connector",
        "nothing more asked",
    ],
)
def test_other_calls(foreign: Foreign, tmp_path: Path, twiml: str, script: str, expected: Mapping[str, str]) -> None:
    """Each ends with its own result, and the exit status tells whether that is success."""
    done = run("pay", written(tmp_path, twiml), "--connector", foreign.connector, "--digits", script)

    assert expected.items() <= result(done).items()
    assert (0 if result(done)["Result"] == "success" else 1) == done.status


def test_a_wrong_card_is_asked_for_again(foreign: Foreign, tmp_path: Path) -> None:
    """The second prompt is heard between the two entries, and one request is made."""
    script = f"4111111111111112# {CARD_KEYS}"

    done = run("pay", written(tmp_path, CHARGE), "--connector", foreign.connector, "--digits", script)

    heard = [line.split("  ")[-1] for line in done.out.splitlines() if " keys " in line or " hears " in line]
    assert "That is not the number of a card. Please key in the number of your card." in " ".join(heard[:4])
    assert ["xxxxxxxxxxxxxxxx#", "xxxxxxxxxxxxxxxx"] == [heard[1], heard[3]]
    assert 1 == len(foreign.asked)


def test_a_dead_endpoint(tmp_path: Path) -> None:
    """Asked six times under one transaction id, each time told; then the payment has failed."""
    with foreign_endpoint() as gone:
        pass
    connector = ("--connector", gone.connector)

    done = run("pay", written(tmp_path, CHARGE), *connector, "--digits", CARD_KEYS, "--json")

    assert 1 == done.status
    assert "payment-connector-error" == done.json["result"]["Result"]
    asked = kinds(done.json, "request")
    assert [1, 2, 3, 4, 5, 6] == [one["attempt"] for one in asked]
    assert 1 == len({json.loads(one["body"])["transaction_id"] for one in asked})
    assert [False] * 5 + [True] == [one["is_last"] for one in kinds(done.json, "response")]


# --- Time ------------------------------------------------------------------------------------------------------------


def test_timeouts_cost_nothing(foreign: Foreign, tmp_path: Path) -> None:
    """A postal code that ends by timeout, a long Pause before and silences in between: simulated, not waited for."""
    file = written(tmp_path, '<Pause length="300"/><Pay timeout="60"/>')
    script = f"{VISA} w 1239, 94105, {CODE}"
    started = time.monotonic()

    done = run("pay", file, "--connector", foreign.connector, "--digits", script, "--json")

    assert 0 == done.status
    assert WAIT_S > time.monotonic() - started
    (ended,) = kinds(done.json, "ended")
    assert 360.5 <= ended["at_s"] < 380


def test_a_pause_swallows_no_key(foreign: Foreign, tmp_path: Path) -> None:
    """Keys wait until the call listens: what is heard is what was meant."""
    file = written(tmp_path, f'<Pause length="2"/>{TOKENIZE}')

    done = run("pay", file, "--connector", foreign.connector, "--digits", CARD_KEYS, "--json")

    assert "success" == done.json["result"]["Result"]
    assert "x" * 16 + "xxxx" + "xxxxx#" + "xxx" == "".join(one["shown"] for one in kinds(done.json, "hears"))
    assert {2.0} <= {one["at_s"] for one in kinds(done.json, "verb")}


def test_a_caller_without_end_hangs_up(foreign: Foreign, tmp_path: Path) -> None:
    """TwiML that asks for ever is left after ten simulated minutes."""
    file = written(tmp_path, '<Gather timeout="50"><Say>Well?</Say></Gather><Redirect/>')

    done = run("pay", file, "--connector", foreign.connector, "--digits", "", "--json")

    assert (1, None, "completed") == (done.status, done.json["result"], done.json["status"])
    assert pytest.approx(600, abs=1) == kinds(done.json, "ended")[0]["at_s"]


# --- The application -------------------------------------------------------------------------------------------------


def test_an_application_is_asked_as_twilio_asks() -> None:
    """The document, status callbacks and the action: signed under the token, with the call's fields and the result."""
    with foreign_endpoint('<Response><Pay action="/paid" statusCallback="/status"/></Response>') as foreign:
        url = f"{foreign.url}/voice"
        options = ("--connector", foreign.connector, "--switch", "action_scheme=any", "--auth-token", "facade")
        done = run("pay", url, *options, "--from", "+15005550006", "--digits", CARD_KEYS)

    assert 0 == done.status
    paths = [path for path, _form, _signature in foreign.callbacks]
    assert ["/voice", *["/status"] * 5, "/paid"] == paths
    for path, form, signature in foreign.callbacks:
        fields = dict(parse_qsl(form, keep_blank_values=True))
        assert RequestValidator("facade").validate(foreign.url + path, fields, signature)
        assert not RequestValidator("another").validate(foreign.url + path, fields, signature)
        assert VISA not in form
    action = dict(parse_qsl(foreign.callbacks[-1][1]))
    assert ("success", "+15005550006", "token_id_of_theirs") == tuple(
        action[name] for name in ("Result", "From", "PaymentToken")
    )


def test_a_file_needs_no_application(foreign: Foreign, tmp_path: Path) -> None:
    """A relative action ends the call, a relative status callback is told about, and the result is printed."""
    file = written(tmp_path, '<Pay action="/paid" statusCallback="/status"/><Say>not heard</Say>')

    done = run("pay", file, "--connector", foreign.connector, "--digits", CARD_KEYS)

    assert (0, "success") == (done.status, result(done)["Result"])
    assert "11100 TwiML from a file has no address" in " ".join(done.out.split())
    assert "not heard" not in done.out
    assert [] == foreign.callbacks


def test_a_file_can_send_its_result_to_an_application(foreign: Foreign, tmp_path: Path) -> None:
    """An absolute action is asked, and the call goes on with what it answers."""
    file = written(tmp_path, f'<Pay action="{foreign.url}/paid"/>')
    options = ("--connector", foreign.connector, "--switch", "action_scheme=any")

    done = run("pay", file, *options, "--digits", CARD_KEYS)

    assert (0, ["/paid"]) == (done.status, [path for path, _form, _signature in foreign.callbacks])
    assert "verb      <Hangup>" in done.out


def test_the_last_payment_of_a_call_decides(tmp_path: Path) -> None:
    """A card is kept, then charged, through one connector: two results are told, and the second is the call's."""
    second = '<Response><Pay chargeAmount="13.00" postalCode="false" action="/paid"/></Response>'
    with foreign_endpoint(second) as foreign:
        file = written(tmp_path, f'<Pay action="{foreign.url}/voice"/>')
        options = ("--connector", foreign.connector, "--switch", "action_scheme=any")
        done = run("pay", file, *options, "--digits", f"{CARD_KEYS} {VISA} 1239 {CODE}", "--json")

    assert 1 == done.status
    assert ["success", "payment-connector-error"] == [one["fields"]["Result"] for one in kinds(done.json, "result")]
    assert "payment-connector-error" == done.json["result"]["Result"]
    assert ["tokenize", "charge"] == [asked["method"] for asked in foreign.asked]


def test_an_application_that_is_not_there(foreign: Foreign) -> None:
    """The transcript says what to do, and there is no result."""
    with foreign_endpoint() as gone:
        pass

    done = run("pay", f"{gone.url}/voice", "--connector", foreign.connector, "--digits", "")

    assert 1 == done.status
    assert "11205 HTTP connection failure" in done.out
    assert "is the application running?" in " ".join(done.out.split())
    assert "\nresult  none: no <Pay> came to its end\n" in done.out


# --- What may be shown -----------------------------------------------------------------------------------------------


def test_the_search_for_secrets_finds_them() -> None:
    """The control: what the search above looks for, it would find."""
    assert [VISA, ACCOUNT, PASSWORD, CODE] == search(f"a{VISA} b{ACCOUNT} {PASSWORD} '{CODE}'")
    with pytest.raises(AssertionError):
        judge(Done(0, f"hears  {VISA[:4]} {VISA[4:8]} {VISA[8:12]} {VISA[12:]}", ""))


def test_numbers_of_other_people_are_masked_too(foreign: Foreign, tmp_path: Path) -> None:
    """The control of the transcript: a number that TwiML speaks comes out masked, and so nothing steers a terminal."""
    file = written(tmp_path, f"<Say>Card {VISA} &#x9b;m</Say>")

    for options in ((), ("--json",)):
        done = run("pay", file, "--connector", foreign.connector, "--digits", "", *options)

        assert "************1111" in done.out
        assert "\x9b" not in done.out


# --- JSON and configuration ------------------------------------------------------------------------------------------


def test_json_is_one_document(foreign: Foreign, tmp_path: Path) -> None:
    """Result, status, and every event in order, with its second."""
    done = run("pay", written(tmp_path, CHARGE), "--connector", foreign.connector, "--digits", CARD_KEYS, "--json")

    document = done.json
    assert ["result", "status", "events"] == list(document)
    assert ("success", "completed") == (document["result"]["Result"], document["status"])
    seconds = [event["at_s"] for event in document["events"]]
    assert sorted(seconds) == seconds
    (asked,), (came,) = kinds(document, "request"), kinds(document, "response")
    assert asked["exchange"] == came["exchange"]
    assert ("connector", 200, True) == (asked["to"], came["status"], came["is_last"])
    assert "payment-card-number" == kinds(document, "hears")[0]["step"]


def test_a_configuration_file(foreign: Foreign, tmp_path: Path) -> None:
    """Account, connector and switches come from it; the password stays there."""
    config = tmp_path / "twilio.toml"
    config.write_text(
        f"""
        [account]
        sid = "AC{"0a" * 16}"
        [[connector]]
        unique_name = "Shop"
        url = "{foreign.url}/"
        username = "shop"
        password = "{PASSWORD}"
        [switches]
        card_mask = "dashed"
        """
    )
    file = written(tmp_path, CHARGE.replace("/>", ' paymentConnector="Shop"/>'))

    done = run("pay", file, "--config", str(config), "--switch", "security_code_mask=***", "--digits", CARD_KEYS)

    assert ("success", "***") == (result(done)["Result"], result(done)["SecurityCode"])
    assert "-" in result(done)["PaymentCardNumber"]


def test_a_configuration_that_cannot_be_used(tmp_path: Path) -> None:
    """One line on stderr: the file, the key, and what is wrong with it."""
    config = tmp_path / "twilio.toml"
    config.write_text(f'[[connector]]\npasword = "{PASSWORD}"')

    done = run("pay", written(tmp_path, CHARGE), "--config", str(config), "--digits", "")

    assert (1, "") == (done.status, done.out)
    assert done.err.startswith(f"error: {config}: connector[1].url is missing: give it a value; ")
    assert 1 == len(done.err.splitlines())


def test_no_connector_is_told(tmp_path: Path) -> None:
    """Before the call, beside the answer: every payment would fail."""
    done = run("pay", written(tmp_path, CHARGE), "--digits", "", "--json")

    assert (1, "64004") == (done.status, done.json["result"]["PayErrorCode"])
    assert "no connector is configured" in done.err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--digits", f"{VISA}x"), "'--digits': character 17 is no key: give 0-9, * and #"),
        (("--digits", "", "--connector", f"Shop=nowhere,shop,{PASSWORD}"), "'--connector': this is no URL"),
        (("--digits", "", "--connector", "Shop"), "'--connector': not all is there: give NAME=URL,USERNAME,PASSWORD"),
        (("--digits", "", "--switch", "retris=1"), "'--switch': there is no switch retris: did you mean retries?"),
        (("--digits", "", "--switch", "retries"), "'--switch': not a choice: give NAME=VALUE"),
        (("--digits", "", "--config", "/nowhere.toml"), "'--config': File '/nowhere.toml' does not exist."),
        ((), "nobody is at a terminal to press keys: give --digits"),
    ],
)
def test_wrong_usage_is_told(tmp_path: Path, words: Sequence[str], why: str) -> None:
    """Exit status 2, the option, and what to give instead."""
    done = run("pay", written(tmp_path, CHARGE), *words)

    assert (2, "") == (done.status, done.out)
    assert why in " ".join(done.err.split())


@pytest.mark.parametrize(
    ("content", "why"), [(None, "it cannot be read (No such file"), (b"\xff", "it is not UTF-8: save it as UTF-8")]
)
def test_what_is_no_twiml_file_is_told(tmp_path: Path, content: bytes | None, why: str) -> None:
    """Exit status 2."""
    path = tmp_path / "pay.xml"
    if content is not None:
        path.write_bytes(content)

    done = run("pay", str(path), "--digits", "")

    assert 2 == done.status
    assert f"'FILE.xml|URL': {why}" in done.err


# --- Switches --------------------------------------------------------------------------------------------------------


def test_switches_are_listed() -> None:
    """Every one of them, with default, choices and meaning."""
    table, document = run("switches").out, run("switches", "--json").json

    assert list(Switches.model_fields) == [row["name"] for row in document]
    assert {"name", "default", "choices", "meaning"} == set(document[0])
    for row in document:
        assert re.search(rf"^{row['name']} .*{re.escape(row['meaning'])}$", table, re.MULTILINE)


@pytest.mark.parametrize("words", [(), ("pay",), ("serve",), ("switches",)])
def test_help_teaches(words: Sequence[str]) -> None:
    """Every command has one, with an example."""
    done = run(*words, "--help")

    assert 0 == done.status
    assert re.search(r"Example:\n +generic-connector twilio", done.out)


# --- Scripts and transcripts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "strokes"),
    [
        ("", []),
        ("0123456789*#", list("0123456789*#")),
        (" 1 \t2\n", ["1", "2"]),
        ("1wW", ["1", Silence(0.5), Silence(1.0)]),
        ("1,2H", ["1", Act.END_ENTRY, "2", Act.HANG_UP]),
    ],
)
def test_a_script_is_strokes(text: str, strokes: Sequence[Stroke]) -> None:
    """Keys, silences, ends of entries, and the receiver put down."""
    assert strokes == read_script(text)


@pytest.mark.parametrize(("text", "place"), [("a", 1), ("12x", 3), ("4\uff11", 2), ("-", 1), ("h", 1)])
def test_what_is_no_script_is_told(text: str, place: int) -> None:
    """Where, and what would be right; the script itself is not repeated."""
    with pytest.raises(BadScriptError, match=f"^character {place} is no key: give 0-9, ") as caught:
        read_script(text)

    assert text not in str(caught.value).partition(":")[0].replace("character", "")


ASKED = Delivery(
    id=7,
    to="application",
    why="action",
    method="POST",
    url="https://shop.example/paid",
    attempt=1,
    request="CallSid=CA1&From=%2B15005550006&Result=success&PaymentError=&Text=a+%26+b",
)


def transcribed(*happened: Effect | Delivery, result: Mapping[str, str] | None = None) -> str:
    """Return the transcript of what happened, a second each."""
    pieces: list[str] = []
    transcript = Transcript(pieces.append, started_at_s=100.0)
    for second, what in enumerate(happened):
        transcript.tell(100.0 + second, what)
    transcript.conclude(result)
    return "".join(pieces)


def test_a_transcript_in_whole() -> None:
    """Who, when and what; keys in one line until something else happens; requests and their responses by number."""
    text = transcribed(
        Executes("Pay", 0),
        Plays(url="https://shop.example/hello.mp3"),
        Plays(digits="12"),
        Hears("x", "payment-card-number"),
        Hears("x", "payment-card-number"),
        ASKED,
        replace(ASKED, status=307, milliseconds=12.3, reply="", is_last=False),
        replace(ASKED, failure="11205 HTTP connection failure", milliseconds=9.9, is_last=True),
        Warns(None, "Mind this."),
        Fetches(1, "https://shop.example/paid", "POST", {"Result": "success"}, "action"),
        Fetches(2, "https://shop.example/", "POST", {}, "redirect"),
        Executes("", -1),
        Ends("completed"),
        result={"Result": "success", "PaymentToken": "", "PaymentConfirmationCode": "ch_1"},
    )

    assert text.splitlines() == [
        "    0.0  verb      <Pay>",
        "    1.0  hears     a recording: https://shop.example/hello.mp3",
        "    2.0  hears     the tones 12",
        "    3.0  keys      xx",
        "    5.0  request   7 > POST https://shop.example/paid (action, attempt 1)",
        "                     Result=success  PaymentError=  Text=a & b",
        "    6.0  response  7 < 307 in 12 ms, and once more",
        "    7.0  response  7 < failed in 10 ms: 11205 HTTP connection failure",
        "    8.0  warning   Mind this.",
        "    9.0  result    success",
        "   12.0  ended     completed",
        "",
        "result  success",
        "  PaymentConfirmationCode   ch_1",
    ]


def test_a_transcript_is_narrow_and_bounded() -> None:
    """In 100 columns, and of a long answer only its beginning."""
    reply = "<Say>word</Say> " * 1000

    text = transcribed(Speaks("word " * 100), replace(ASKED, status=200, milliseconds=1.0, reply=reply, is_last=True))

    assert [] == [line for line in text.splitlines() if len(line) > COLUMNS]
    assert 40 > len(text.splitlines())
    assert re.search(r"\.\.\. and [0-9]+ lines more", text)


def test_a_transcript_ends_the_line_of_keys() -> None:
    """Also where the call ends with a key."""
    assert "    0.0  keys      x\n\nresult  none: no <Pay> came to its end\n" == transcribed(Hears("x"))


def test_an_unmasked_number_is_masked_in_both() -> None:
    """The control: should anything bring a number, neither the transcript nor the document shows it."""
    record = Record(started_at_s=0.0)
    happened = (
        Speaks(f"card {VISA}"),
        Plays(url=f"https://a/{VISA}.mp3"),
        Fetches(1, "https://a/", "POST", {"Result": VISA, "Note": f"card {VISA}"}, "action"),
        replace(ASKED, request=f"Note={VISA}"),
        replace(ASKED, status=200, milliseconds=1.0, reply=f"<Say>{VISA}</Say>"),
    )
    for what in happened:
        record.tell(0.0, what)

    assert [] == search(transcribed(*happened, result={"Result": VISA, "Note": VISA}))
    assert [] == search(str(record.events))
    assert 5 == len(record.events)


# --- Rehearsals ------------------------------------------------------------------------------------------------------


def attended(
    foreign: Foreign, text: str, keys: Sequence[str | Act], at: Callable[[Effect | Delivery], Sequence[str | Act]]
) -> tuple[Rehearsal, list[Effect | Delivery]]:
    """Play a call by keys: some at once, and others when something happens."""

    async def once() -> tuple[Rehearsal, list[Effect | Delivery]]:
        typed: asyncio.Queue[str | Act] = asyncio.Queue()
        happened: list[Effect | Delivery] = []

        def told(_now_s: float, what: Effect | Delivery) -> None:
            happened.append(what)
            for key in at(what):
                typed.put_nowait(key)

        for key in keys:
            typed.put_nowait(key)
        configuration = load_configuration(connectors=[foreign.connector])
        rehearsal = Rehearsal(call_of(configuration), configuration)
        rehearsal.told = told
        await rehearsal.attend(typed, text=f"<Response>{text}</Response>")
        return rehearsal, happened

    return asyncio.run(once())


def call_of(configuration: Configuration) -> Call:
    """Return a call that has not begun."""
    return Call(
        account_sid=configuration.account_sid,
        sid="CA" + "ab" * 16,
        from_="+14155550100",
        to="+14155550199",
        switches=configuration.switches,
        connectors=configuration.connectors,
        new_transaction_id=lambda: "transaction-of-a-test",
    )


def test_a_key_that_nobody_listens_for_is_lost(foreign: Foreign) -> None:
    """At a terminal as on the phone; and time is what it is."""
    started = time.monotonic()

    rehearsal, happened = attended(
        foreign, '<Pause length="1"/><Pay/>', "123", lambda what: "*" if isinstance(what, Speaks) else ""
    )

    assert "caller-interrupted-with-star" == rehearsal.results[-1]["Result"]
    assert ["x", "x", "x", "*"] == [what.shown for what in happened if isinstance(what, Hears)]
    assert 1 <= time.monotonic() - started < WAIT_S


def test_who_hangs_up_while_the_connector_is_asked_learns_what_became_of_it(foreign: Foreign) -> None:
    """The call is over at once; the payment is settled all the same, and its result told."""

    def at(what: Effect | Delivery) -> Sequence[str | Act]:
        is_asked = isinstance(what, Delivery) and what.to == "connector" and what.milliseconds is None
        return [Act.HANG_UP] if is_asked else []

    keys = [stroke for stroke in read_script(CARD_KEYS) if isinstance(stroke, str)]

    rehearsal, happened = attended(foreign, CHARGE, keys, at)

    assert "success" == rehearsal.results[-1]["Result"]
    names = [type(what).__name__ for what in happened]
    assert names.index("Ends") < names.index("Fetches", 1)


def test_what_follows_the_end_of_the_call_is_not_played(foreign: Foreign, tmp_path: Path) -> None:
    """The rest of a script is of no use to a call that is over, nor to one that ends while a key waits."""
    file = written(tmp_path, '<Pause length="9"/>')

    for script in ("*" * 3, "W" * 10 + "123", "H1,W2H"):
        assert 1 == run("pay", file, "--connector", foreign.connector, "--digits", script).status


def test_a_file_is_bounded_as_a_document_is(foreign: Foreign, tmp_path: Path) -> None:
    """64 kB, and no relative redirect."""
    large = written(tmp_path, f"<Say>{'word ' * 14_000}</Say>")
    assert "11750" in run("pay", large, "--connector", foreign.connector, "--digits", "").out

    elsewhere = written(tmp_path, "<Redirect>/elsewhere</Redirect>")
    assert "11100" in run("pay", elsewhere, "--connector", foreign.connector, "--digits", "").out


# --- serve -----------------------------------------------------------------------------------------------------------


@contextmanager
def serving(directory: Path, *words: str) -> Iterator[tuple[str, "subprocess.Popen[str]", Path]]:
    """Start `twilio serve` on a free port; give its address, the process, and where its stderr goes."""
    errors = directory / "stderr"
    with (
        errors.open("w") as file,
        subprocess.Popen(
            [*COMMAND, "twilio", "serve", "--port", "0", *words], stdout=subprocess.PIPE, stderr=file, text=True
        ) as process,
    ):
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("ready on "), errors.read_text()
            yield line.removeprefix("ready on ").strip(), process, errors
        finally:
            process.kill()


def ended(process: "subprocess.Popen[str]", errors: Path, number: int) -> Done:
    """Send a signal; return what was printed after the first line."""
    process.send_signal(number)
    rest, _nothing = process.communicate(timeout=WAIT_S)
    done = Done(process.returncode, rest, errors.read_text())
    judge(done)
    return done


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_simulated_twilio_is_served(foreign: Foreign, tmp_path: Path, number: int) -> None:
    """One line on stdout when it is ready; page and state are there; a signal ends it with status 0."""
    words = ("--plain-http", "--connector", foreign.connector, "--switch", "retries=2")
    with serving(tmp_path, *words) as (url, process, errors):
        page, state = httpx.get(url), httpx.get(f"{url}/desk/state").json()
        done = ended(process, errors, number)

    assert (200, "text/html") == (page.status_code, page.headers["Content-Type"].partition(";")[0])
    assert ["Default"] == [one["unique_name"] for one in state["connectors"]]
    assert [2] == [one["value"] for one in state["switches"] if one["name"] == "retries"]
    assert (0, "") == (done.status, done.out)
    assert PASSWORD not in done.err
    assert f"account {state['account_sid']}\n" in done.err
    assert re.search("^auth token [a-f]{32}, made up for this run", done.err, re.MULTILINE)


def test_it_is_served_over_tls(tmp_path: Path) -> None:
    """With a certificate of one's own; a token that was given is not repeated."""
    made = certificates_in(tmp_path)
    words = ("--tls-cert", str(made.certificate), "--tls-key", str(made.key), "--auth-token", "told-by-me")
    with serving(tmp_path, *words) as (url, process, errors):
        page = httpx.get(url, verify=ssl.create_default_context(cafile=made.ca))
        done = ended(process, errors, signal.SIGTERM)

    assert (True, 200, 0) == (url.startswith("https://"), page.status_code, done.status)
    assert "told-by-me" not in done.err
    assert "no connector is configured" in done.err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "what is keyed travels over TLS only: give --tls-cert FILE and --tls-key FILE"),
        (("--tls-cert", __file__), "--tls-cert and --tls-key belong together: give both"),
        (("--tls-cert", __file__, "--tls-key", __file__, "--plain-http"), "contradict each other: give one of them"),
        (("--plain-http", "--host", "0.0.0.0"), "--plain-http is for loopback only"),  # noqa: S104 - refused
        (("--plain-http", "--host", "no such host"), "--plain-http is for loopback only"),
    ],
)
def test_what_would_carry_keys_in_clear_is_refused(words: Sequence[str], why: str) -> None:
    """Exit status 2, and what to give."""
    done = run("serve", *words)

    assert (2, "") == (done.status, done.out)
    assert why in " ".join(done.err.split())


# --- At a terminal ---------------------------------------------------------------------------------------------------


class Terminal:
    """A command at a terminal of its own: what is typed, and what is seen, echo included."""

    def __init__(self, *words: str) -> None:
        self._ours, theirs = pty.openpty()
        before = termios.tcgetattr(self._ours)
        self.process = subprocess.Popen(
            [*COMMAND, "twilio", *words], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        self.seen = ""
        self.is_restored: bool | None = None
        self._before = before

    def type(self, keys: str) -> None:
        """Type keys."""
        os.write(self._ours, keys.encode())

    def wait_for(self, text: str) -> None:
        """Wait until that is seen."""
        self._read(lambda: text in self.seen)

    def ended(self) -> int:
        """Wait for the end; return the exit status."""
        self._read(lambda: False)
        status = self.process.wait(WAIT_S)
        self.is_restored = not self.is_changed
        os.close(self._ours)
        return status

    @property
    def is_changed(self) -> bool:
        """Whether the terminal is set otherwise than at first."""
        return termios.tcgetattr(self._ours) != self._before

    def leave(self) -> None:
        """Close the terminal."""
        os.close(self._ours)

    def _read(self, is_enough: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not is_enough():
            ready, _writable, _odd = select.select([self._ours], [], [], deadline - time.monotonic())
            assert ready, self.seen
            try:
                self.seen += os.read(self._ours, 4096).decode()
            except OSError:  # the other side is closed
                return


@contextmanager
def at_a_terminal(*words: str) -> Iterator[Terminal]:
    """Run a command at a terminal, and leave no process behind."""
    terminal = Terminal(*words)
    try:
        yield terminal
    finally:
        with suppress(ProcessLookupError):
            terminal.process.kill()
        terminal.process.wait()


def test_keys_are_typed_at_a_terminal(foreign: Foreign, tmp_path: Path) -> None:
    """They are pressed unechoed, and seen as x; Enter is the pound key; the call ends with its result."""
    file = written(tmp_path, CHARGE)
    with at_a_terminal("pay", file, "--connector", foreign.connector) as terminal:
        terminal.wait_for("number of your card")
        terminal.type(f"{VISA[:8]} {VISA[8:]}")
        terminal.wait_for("date until which")
        terminal.type("1239")
        terminal.wait_for("postal code")
        terminal.type("94105\r")
        terminal.wait_for("security code")
        terminal.type(f"{CODE}")
        status = terminal.ended()

    assert 0 == status
    assert "result  success" in terminal.seen
    assert "keys      xxxxxxxxxxxxxxxx\r\n" in terminal.seen
    assert [] == search(terminal.seen)
    assert VISA[:8] not in terminal.seen
    assert [VISA] == [asked["cardnumber"] for asked in foreign.asked]


@pytest.mark.parametrize("way", ["q", "\x04", signal.SIGINT, signal.SIGTERM], ids=["q", "Ctrl-D", "Ctrl-C", "SIGTERM"])
def test_the_caller_hangs_up_at_a_terminal(foreign: Foreign, tmp_path: Path, way: str | signal.Signals) -> None:
    """With q, Ctrl-D, Ctrl-C or a signal: the payment is told so, and the terminal is as it was."""
    with at_a_terminal("pay", written(tmp_path, CHARGE), "--connector", foreign.connector) as terminal:
        terminal.wait_for("number of your card")
        terminal.type("41?x")
        terminal.wait_for("xx")
        assert terminal.is_changed
        if isinstance(way, str):
            terminal.type(way)
        else:
            terminal.process.send_signal(way)
        status = terminal.ended()

    assert (1, True) == (status, terminal.is_restored)
    assert "result  caller-hung-up" in terminal.seen
    assert "keys      xx\r\n" in terminal.seen
    assert "Traceback" not in terminal.seen


def test_a_terminal_that_goes_away_ends_the_call(foreign: Foreign, tmp_path: Path) -> None:
    """Nobody can press a key any more: the process does not stay."""
    with at_a_terminal("pay", written(tmp_path, CHARGE), "--connector", foreign.connector) as terminal:
        terminal.wait_for("number of your card")
        terminal.leave()

        assert terminal.process.wait(WAIT_S) != 0
