"""The desk on a real socket: the page's requests, who is let in, its own application, and that no number gets out."""

import asyncio
import json
import logging
import re
import signal
import socket
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from canaries import Canary, Evidence, find
from desks import (
    CODE,
    EXPIRY,
    POSTAL_CODE,
    TOKEN,
    Asked,
    Event,
    ServedDesk,
    Server,
    Tls,
    application,
    connector,
    endpoint,
    kind,
    make_tls,
    serve,
)
from generic_connector.instance import Mode
from generic_connector.server import listen
from generic_connector.twilio.configuration import ACCOUNT_SID, load_configuration, switch_rows
from generic_connector.twilio.desk import BadAddressError, Desk, serve_desk
from generic_connector.twilio.exchange import LIVE_CALLS_MAX, Exchange
from generic_connector.twilio.presets import AGENT, PRESETS
from generic_connector.twilio.timeline import Timeline

VISA = "4111111111111111"
CARD_KEYS = f"{VISA}{EXPIRY}{CODE}"
"""For a preset that asks for no postal code."""

JSON = {"Content-Type": "application/json"}
WAITS = '<Response><Pause length="600"/></Response>'


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """What the desk is served with."""
    return make_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def pays() -> Iterator[Server]:
    """An endpoint that approves everything."""
    with endpoint() as made:
        yield made


@pytest.fixture(scope="module")
def desk(tls: Tls, pays: Server) -> Iterator[ServedDesk]:
    """A desk with two connectors, over TLS."""
    with serve([connector(pays.url), connector(pays.url, "Live", mode=Mode.LIVE)], tls) as made:
        yield made


def says(text: str) -> Callable[[Event], bool]:
    """Whether an event is something that is said, with these words in it."""
    return lambda event: event["kind"] == "speaks" and text in event["text"]


# --- The door --------------------------------------------------------------------------------------------------------

PATHS = ("/", "/desk/state", "/desk/app/status", "/2010-04-01/Accounts", "/nothing")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:443", "localhost.evil.example", "", "[", "10.0.0.1"])
def test_another_name_is_not_answered_to(desk: ServedDesk, host: str) -> None:
    """A page whose name was pointed here reads nothing, whatever it asks for."""
    with desk.client(headers={"Host": host}) as client:
        assert {421} == {client.get(path).status_code for path in PATHS}


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8443", "[::1]:8443"])
def test_the_names_of_this_machine_are(desk: ServedDesk, host: str) -> None:
    """With any port: it may be reached through another."""
    with desk.client(headers={"Host": host}) as client:
        assert 200 == client.get("/desk/state").status_code


ORIGINS = {
    "another site": "https://evil.example",
    "another port": "https://localhost:1",
    "none that may be told": "null",
    "an empty one": "",
    "one that is none": "https://[",
    "a file": "file://localhost",
}


@pytest.mark.parametrize("what", ORIGINS)
def test_another_site_s_page_may_not_post(desk: ServedDesk, what: str) -> None:
    """Nothing happens to the calls that there are."""
    sid = desk.place(twiml=WAITS)
    with desk.client(headers={"Origin": ORIGINS[what]}) as client:
        statuses = {client.post(f"/desk/calls/{sid}/hang-up", json={}).status_code}
        statuses |= {client.post(f"/2010-04-01/Accounts/{ACCOUNT_SID}/Calls.json").status_code}
        assert {403} == statuses
    with desk.client(headers={"Origin": desk.url}) as client:
        assert 204 == client.post(f"/desk/calls/{sid}/hang-up", json={}).status_code


@pytest.mark.parametrize("path", ["/", "/page/phone.css", "/desk/state", "/desk/app/status", "/nothing"])
def test_every_answer_protects_the_page(desk: ServedDesk, path: str) -> None:
    """Nothing but its own files runs, and nobody frames it, guesses its types or keeps it."""
    with desk.client() as client:
        headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert ("nosniff", "DENY", "no-store") == (
        headers["x-content-type-options"],
        headers["x-frame-options"],
        headers["cache-control"],
    )
    assert "server" not in headers


def test_beyond_this_machine_it_answers_to_addresses_and_to_names_that_it_was_given() -> None:
    """An IP address cannot be pointed elsewhere; a name can."""
    configuration = load_configuration(connectors=["https://a.example/,u,p"])

    async def status(host: str) -> int:
        door = Desk(configuration, "https://a.test", names=["a.test"], is_anywhere=True)
        transport = httpx.ASGITransport(door.app)
        async with httpx.AsyncClient(transport=transport, base_url=f"https://{host}") as client:
            answer = await client.get("/desk/state")
        await door.aclose()
        return answer.status_code

    hosts = ("a.test", "192.0.2.7:8443", "[2001:db8::1]", "b.test")
    assert [200, 200, 200, 421] == [asyncio.run(status(host)) for host in hosts]


def test_plain_http_is_for_this_machine_only() -> None:
    """Elsewhere cards would be overheard: without a certificate the desk refuses to be served there."""
    sockets = listen("0.0.0.0", 0)  # noqa: S104 - that is the point
    try:
        with pytest.raises(BadAddressError, match="certificate"):
            asyncio.run(serve_desk(load_configuration(), sockets))
    finally:
        for one in sockets:
            one.close()


def test_over_plain_http_its_own_application_can_be_used(pays: Server) -> None:
    """An action of `http://` is allowed there, and a preset comes to its end."""
    with serve([connector(pays.url)], None) as plain:
        sid = plain.place(twiml=next(one for one in PRESETS if one.name == "two-questions").at(plain.url))
        plain.events(sid, kind("verb", verb="Pay"))
        plain.press(sid, f"{VISA}{EXPIRY}")
        events = plain.events(sid, kind("ended"))
    assert any(says("Your payment was successful")(event) for event in events)


def test_a_mistake_is_told_by_its_place_alone(
    tls: Tls, pays: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever an exception says, no answer, no event and no log repeats it."""

    def falls(*_words: object, **_fields: object) -> None:
        raise RuntimeError(f"the number is {VISA}")

    with serve([connector(pays.url)], tls) as desk, desk.rest() as client:
        monkeypatch.setattr(Exchange, "dial", falls)
        form = {"To": "+14155550199", "From": "+14155550100", "Twiml": WAITS}
        answers = [
            client.post("/desk/calls", json={"twiml": WAITS}),
            client.post(f"/2010-04-01/Accounts/{ACCOUNT_SID}/Calls.json", data=form),
        ]
    for answer in answers:
        assert 500 == answer.status_code
        assert "RuntimeError at test_desk.py" in answer.text
        assert VISA not in answer.text
    assert 20500 == answers[1].json()["code"]
    assert VISA not in "".join(capfd.readouterr())


# --- The page --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "content_type"),
    [("/", "text/html"), ("/page/phone.css", "text/css"), ("/page/phone.js", "text/javascript")],
    ids=["page", "style", "script"],
)
def test_the_page_s_files_are_served(desk: ServedDesk, path: str, content_type: str) -> None:
    """With their types, without which a browser runs none of them."""
    with desk.client() as client:
        answer = client.get(path)
    assert (200, content_type) == (answer.status_code, answer.headers["content-type"].partition(";")[0])


@pytest.mark.parametrize(
    "name", ["index.html", "nothing.css", "..%2f__init__.py", "%2e%2e/desk.py", "phone.py", "a/b.js"]
)
def test_no_other_file_is(desk: ServedDesk, name: str) -> None:
    """Whatever stands for a way up."""
    with desk.client() as client:
        assert 404 == client.get(f"/page/{name}").status_code


def test_the_state_has_all_that_the_page_offers(desk: ServedDesk, pays: Server) -> None:
    """Connectors without credentials, every switch, every preset with the desk's own address in it, and the calls."""
    sid = desk.place(twiml="<Response/>")
    desk.events(sid, kind("ended"))
    with desk.client() as client:
        answer = client.get("/desk/state")
    state = answer.json()

    assert {"unique_name": "Live", "url": pays.url, "mode": "live"} == state["connectors"][1]
    assert "testing123" not in answer.text
    assert TOKEN not in answer.text
    assert [row.name for row in switch_rows()] == [one["name"] for one in state["switches"]]
    assert {"name", "value", "default", "choices", "description"} == set(state["switches"][0])
    assert [one.name for one in PRESETS] == [one["name"] for one in state["presets"]]
    assert f'action="{desk.url}/desk/app/paid"' in state["presets"][0]["twiml"]
    assert {"sid": sid, "status": "completed"} in state["calls"]
    assert ACCOUNT_SID == state["account_sid"]


# --- Calls -----------------------------------------------------------------------------------------------------------

ODD_CALLS: Mapping[str, tuple[object, str]] = {
    "nothing to run": ({}, "one of them"),
    "two things to run": ({"twiml": WAITS, "url": "https://a.example"}, "one of them"),
    "no URL": ({"url": "javascript:1"}, "http"),
    "an empty URL": ({"url": ""}, "http"),
    "an unknown connector": ({"twiml": WAITS, "connector": VISA}, "Default, Live"),
    "an unknown switch": ({"twiml": WAITS, "switches": {VISA: 1}}, "there is no switch ************1111"),
    "a value that is none": ({"twiml": WAITS, "switches": {"retries": VISA}}, "retries"),
    "an unknown key": ({"twiml": WAITS, VISA: 1}, "known are twiml"),
    "a number for a text": ({"twiml": int(VISA)}, "twiml"),
    "nobody calls": ({"twiml": WAITS, "from": ""}, "from"),
    "a list": ([VISA], "object"),
}


@pytest.mark.parametrize("what", ODD_CALLS)
def test_a_call_that_cannot_be_is_told_what_is_wrong(desk: ServedDesk, what: str) -> None:
    """And never what was sent, which may be a number."""
    body, told = ODD_CALLS[what]
    with desk.client() as client:
        answer = client.post("/desk/calls", json=body)
    assert 400 == answer.status_code
    assert told in answer.json()["error"]
    assert VISA not in answer.text


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"{}", "application/x-www-form-urlencoded", 415),
        (b" " * 300_000, "application/json", 413),
    ],
    ids=["cut short", "no UTF-8", "deep", "text", "form", "too large"],
)
def test_a_body_that_is_no_json_is_refused(desk: ServedDesk, content: bytes, content_type: str, status: int) -> None:
    """A form of another page can send none, and nothing large or deep does any harm."""
    with desk.client() as client:
        answer = client.post("/desk/calls", content=content, headers={"Content-Type": content_type})
    assert (status, {"error"}) == (answer.status_code, set(answer.json()))


@pytest.mark.parametrize("keys", ["", "12a", "w", 4, None, "1" * 65, "\u0661"], ids=repr)
def test_what_is_no_key_is_refused(desk: ServedDesk, keys: object) -> None:
    """Only 0 to 9, * and # are."""
    sid = desk.place(twiml=WAITS)
    assert 400 == desk.post(f"/desk/calls/{sid}/keys", {"keys": keys}).status_code


@pytest.mark.parametrize("path", ["keys", "hang-up", "payments", "payments/PK1"])
def test_a_call_that_is_not_there_is_not_found(desk: ServedDesk, path: str) -> None:
    """In the page's words."""
    answer = desk.post(f"/desk/calls/CA1/{path}", {"keys": "1"})
    assert (404, "There is no such call: place a new one.") == (answer.status_code, answer.json()["error"])


def test_a_call_is_seen_from_its_beginning_to_its_end(desk: ServedDesk) -> None:
    """Every kind of event has its fields, in the order in which things happened."""
    twiml = (
        '<Response><Say language="en-GB">Hello.</Say><Play digits="1"/><Sing/>\n'
        f'<Pay chargeAmount="5.00" postalCode="false" timeout="30" statusCallback="{desk.url}/desk/app/status"'
        f' action="{desk.url}/desk/app/paid"/></Response>'
    )
    sid = desk.place(twiml=twiml, **{"from": "+14155550111"})
    desk.events(sid, kind("verb", verb="Pay"))
    desk.press(sid, CARD_KEYS)
    events = desk.events(sid, kind("ended"))
    by_kind = {event["kind"]: event for event in reversed(events)}

    assert {"queued", "in-progress"} == {event["status"] for event in events if event["kind"] == "call"}
    assert "+14155550111" == by_kind["call"]["from"]
    assert (None, twiml) == (by_kind["document"]["url"], by_kind["document"]["twiml"])
    assert {"name": "Pay", "index": 3, "line": 2} == by_kind["document"]["verbs"][3]
    assert ("Hello.", "en-GB", None) == tuple(by_kind["speaks"][name] for name in ("text", "language", "step"))
    assert "1" == by_kind["plays"]["digits"]
    assert by_kind["warning"]["text"]
    assert ("x", "payment-card-number") == (by_kind["hears"]["shown"], by_kind["hears"]["step"])
    assert ["success"] == [event["fields"]["Result"] for event in events if event["kind"] == "result"]
    _check_exchanges(events)
    assert [event["id"] for event in events] == sorted(event["id"] for event in events)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["at"]) for event in events)
    assert says("Your payment was successful")(events[-3])
    assert "completed" == events[-1]["status"]


def _check_exchanges(events: Sequence[Event]) -> None:
    """Every response has its request, by the number of their exchange; the numbers are of one count."""
    requests = {event["exchange"]: event for event in events if event["kind"] == "request"}
    responses = {event["exchange"]: event for event in events if event["kind"] == "response"}
    (charge,) = [one for one in requests.values() if one["to"] == "connector"]
    reply = responses[charge["exchange"]]

    assert responses.keys() <= requests.keys()
    assert {"application", "connector"} == {one["to"] for one in requests.values()}
    assert ("charge", "POST", 1) == (charge["why"], charge["method"], charge["attempt"])
    assert (200, None, True) == (reply["status"], reply["failure"], reply["is_last"])
    assert reply["ms"] > 0


def test_a_stream_goes_on_where_it_was_left(desk: ServedDesk) -> None:
    """`Last-Event-ID` is answered with what came after; one that is unknown with everything."""
    sid = desk.place(twiml="<Response/>")
    events = desk.events(sid, kind("ended"))
    resumed = desk.stream(kind("ended", call=sid), after=events[0]["wire_id"])

    assert list(events[1:]) == [event for event in resumed if event["call"] == sid]
    assert list(events) == desk.events(sid, kind("ended"), after="another-boot")


def test_a_call_runs_with_the_connector_and_switches_that_the_page_chose(desk: ServedDesk) -> None:
    """`Live` lets no test number pass unapproved; the switch shows in the mask."""
    twiml = f'<Response><Pay postalCode="false" timeout="30" action="{desk.url}/desk/app/paid"/></Response>'
    sid = desk.place(twiml=twiml, connector="Live", switches={"security_code_mask": "***", "retries": "0"})
    desk.events(sid, kind("verb", verb="Pay"))
    desk.press(sid, CARD_KEYS)
    (result,) = [event for event in desk.events(sid, kind("ended")) if event["kind"] == "result"]
    assert "***" == result["fields"]["SecurityCode"]


# --- The REST API, asked by hand -------------------------------------------------------------------------------------

CALLS = f"/2010-04-01/Accounts/{ACCOUNT_SID}/Calls"
FORM = {"To": "+14155550199", "From": "+14155550100", "Twiml": WAITS}
ODD_REQUESTS: Mapping[str, tuple[str, str, Mapping[str, object], tuple[int, int]]] = {
    "a page that is none": ("GET", f"{CALLS}.json?Page=x", {}, (400, 20001)),
    "a page size of nothing": ("GET", f"{CALLS}.json?PageSize=0", {}, (400, 20001)),
    "a page size beyond all": ("GET", f"{CALLS}.json?PageSize=9999999999999999999", {}, (400, 20001)),
    "a day that is none": ("GET", f"{CALLS}.json?StartTime%3C=yesterday", {}, (400, 20001)),
    "a form that is no UTF-8": ("POST", f"{CALLS}.json", {"content": b"To=\xff"}, (400, 20001)),
    "a form of many fields": ("POST", f"{CALLS}.json", {"content": b"a=b&" * 2_000}, (400, 20001)),
    "a form without an end": ("POST", f"{CALLS}.json", {"content": b"a" * 300_000}, (413, 20413)),
    "a long name": ("POST", f"{CALLS}.json", {"data": {**FORM, "To": "1" * 300}}, (400, 20001)),
    "a name in two lines": ("POST", f"{CALLS}.json", {"data": {**FORM, "From": "a\nb"}}, (400, 20001)),
    "a URL of brackets": ("POST", f"{CALLS}.json", {"data": {**FORM, "Twiml": "", "Url": "https://["}}, (400, 21205)),
    "another status": ("POST", f"{CALLS}/{{sid}}.json", {"data": {"Status": "busy"}}, (400, 20001)),
    "another method": ("PUT", f"{CALLS}.json", {}, (405, 20004)),
    "a method of no endpoint": ("OPTIONS", f"{CALLS}.json", {}, (405, 20004)),
    "the API itself": ("GET", "/2010-04-01/", {}, (404, 20404)),
}


@pytest.mark.parametrize("what", ODD_REQUESTS)
def test_an_odd_request_is_refused_in_twilio_s_shape(desk: ServedDesk, what: str) -> None:
    """Four keys, the HTTP status among them, and where the code is explained."""
    method, path, given, error = ODD_REQUESTS[what]
    path = path.format(sid=desk.place(twiml=WAITS))
    with desk.rest() as client:
        answer = client.request(method, path, **given)  # type: ignore[arg-type]  # httpx's
    body = answer.json()
    assert {"code", "message", "more_info", "status"} == set(body)
    assert (error, error[0]) == ((answer.status_code, body["code"]), body["status"])
    assert body["more_info"].endswith(str(error[1]))


@pytest.mark.parametrize(
    "authorization",
    ["", "Basic", "Basic !!!", "Basic /w==", f"Bearer {TOKEN}", "Basic " + b64encode(TOKEN.encode()).decode()],
    ids=["none", "empty", "no base64", "no UTF-8", "bearer", "no colon"],
)
def test_a_credential_that_is_none_is_refused(desk: ServedDesk, authorization: str) -> None:
    """With the challenge of HTTP Basic."""
    with desk.client(headers={"Authorization": authorization}) as client:
        answer = client.get(f"{CALLS}.json")
    assert (401, 20003) == (answer.status_code, answer.json()["code"])
    assert answer.headers["www-authenticate"].startswith("Basic ")


def test_when_no_line_is_free_both_sides_are_told(tls: Tls, pays: Server) -> None:
    """429, and what to do."""
    with serve([connector(pays.url)], tls) as full, full.rest() as client:
        placed = [client.post("/desk/calls", json={"twiml": WAITS}) for _ in range(LIVE_CALLS_MAX)]
        page, api = client.post("/desk/calls", json={"twiml": WAITS}), client.post(f"{CALLS}.json", data=FORM)
        assert {201} == {one.status_code for one in placed}
        assert (429, 429, 20429) == (page.status_code, api.status_code, api.json()["code"])
        assert "hang up" in page.json()["error"]
        client.post(f"/desk/calls/{placed[0].json()['sid']}/hang-up", json={})
        assert 201 == client.post(f"{CALLS}.json", data=FORM).status_code


@pytest.mark.parametrize(
    "twiml",
    ["\ud800", "<Response><Say>\ud800</Say></Response>", "\x00", "", "no XML", "<Response>" * 500, "<a/>" * 9_000],
    ids=["surrogate", "surrogate inside", "NUL", "empty", "text", "deep", "long"],
)
def test_no_document_harms_the_desk(desk: ServedDesk, twiml: str) -> None:
    """Whatever it is, the call ends, and the next one runs."""
    with desk.client() as client:
        answer = client.post("/desk/calls", content=json.dumps({"twiml": twiml}), headers=JSON)
    sid = answer.json()["sid"]
    events = desk.events(sid, kind("ended"))
    assert not any("The simulator failed" in event.get("text", "") for event in events)
    assert desk.place(twiml="<Response/>")


# --- The agent's view ------------------------------------------------------------------------------------------------


def test_the_page_takes_a_payment_as_an_agent(desk: ServedDesk) -> None:
    """With nothing but the parameters that matter; the callbacks go to the desk's own application."""
    sid = desk.place(twiml=WAITS)
    desk.events(sid, kind("verb", verb="Pause"))
    started = desk.post(f"/desk/calls/{sid}/payments", {"ChargeAmount": "7.00", "PostalCode": False, "Timeout": 30})
    payment = started.json()["sid"]
    path = f"/desk/calls/{sid}/payments/{payment}"
    for capture, keys in (("payment-card-number", VISA), ("expiration-date", EXPIRY), ("security-code", CODE)):
        assert 202 == desk.post(path, {"Capture": capture}).status_code
        desk.press(sid, keys)
    assert 202 == desk.post(path, {"Status": "complete"}).status_code
    events = desk.events(sid, lambda event: event["kind"] == "payment" and "Result" in event["fields"])

    assert 201 == started.status_code
    assert ("success", payment) == (events[-1]["fields"]["Result"], events[-1]["sid"])
    assert desk.url in next(event["url"] for event in events if event["kind"] == "request")


def test_what_the_api_refuses_the_page_is_told_as_it_is(desk: ServedDesk) -> None:
    """Status, code and message."""
    sid = desk.place(twiml=WAITS)
    answer = desk.post(f"/desk/calls/{sid}/payments", {"PaymentConnector": "Nobody"})
    assert (400, 64004) == (answer.status_code, answer.json()["code"])
    assert 400 == desk.post(f"/desk/calls/{sid}/payments", {"Parameter": {"a": 1}}).status_code


# --- The little application ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [one.name for one in PRESETS if one.name not in {"slow", AGENT}])
def test_presets_run_with_nothing_else(desk: ServedDesk, name: str) -> None:
    """Each comes to its end with the desk's own application; `*` ends what asks."""
    preset = next(one for one in PRESETS if one.name == name)
    sid = desk.place(twiml=preset.at(desk.url))
    events = desk.events(sid, lambda event: event["kind"] == "verb" and event["verb"] in {"Pay", "Gather"})
    if events[-1]["verb"] == "Gather":
        desk.press(sid, "1")
        desk.events(sid, kind("verb", verb="Pay"))
    desk.press(sid, "*")
    events = desk.events(sid, kind("ended"))

    assert any(says("You have canceled the payment.")(event) for event in events)
    assert [] == [event for event in events if event["kind"] == "warning"]


TOLD = {
    "a charge": ({"Result": "success", "PaymentConfirmationCode": "ch_1"}, "Your payment was successful"),
    "a token": ({"Result": "success", "PaymentToken": "tok_1"}, "has been saved"),
    "a refusal": ({"Result": "payment-connector-error", "ConnectorError": "<no>"}, "was not accepted"),
    "a hang-up": ({"Result": "caller-hung-up"}, "There was no payment"),
    "nothing": ({}, "There was no payment"),
}


@pytest.mark.parametrize("what", TOLD)
def test_the_application_says_what_came_of_a_payment(desk: ServedDesk, what: str) -> None:
    """In TwiML."""
    told, words = TOLD[what]
    with desk.client() as client:
        answer = client.post("/desk/app/paid", data=told)
    assert (200, "text/xml") == (answer.status_code, answer.headers["content-type"].partition(";")[0])
    assert words in answer.text


def test_the_application_hears_silence_and_status(desk: ServedDesk) -> None:
    """Any other choice than 1 is goodbye, and a status is taken note of."""
    with desk.client() as client:
        assert "Goodbye" in client.post("/desk/app/chosen", data={"Digits": "2"}).text
        assert 204 == client.post("/desk/app/status", data={"For": "postal-code"}).status_code


# --- No number gets out ----------------------------------------------------------------------------------------------

CARD = Canary("card number", b"4539148803436467")
BANK = Canary("account number", b"9081726354")


class Keeper(logging.Handler):
    """Keeps all that is logged."""

    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


@dataclass
class Bare:
    """All that was shown of a session full of numbers."""

    evidence: Sequence[Evidence]
    asked: Sequence[Asked]


@pytest.fixture(scope="module")
def shown(tls: Tls) -> Bare:
    """Pay with numbers in every way, say them where they do not belong, and collect what is shown of it."""
    card, bank = CARD.clear.decode(), BANK.clear.decode()
    records: list[logging.LogRecord] = []
    handler = Keeper(records)
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.DEBUG)

    def echo(asked: Asked) -> tuple[int, str, str]:
        body = json.loads(asked.body)
        number = body.get("cardnumber") or body.get("bankaccountnumber")
        ok = "amount" not in body
        reply = {
            "token_id" if ok else "charge_id": "tok_1" if ok else None,
            "error_code": None if ok else "declined",
            "error_message": None if ok else f"the number {number} is not good",
            "parameters": {"echo": number, number: "name"},
        }
        return 200, "application/json", json.dumps(reply)

    def app_answers(asked: Asked) -> tuple[int, str, str]:
        if asked.path == "/voice":
            pay = f'<Pay chargeAmount="3.00" description="for {card}" action="/paid" statusCallback="/status"/>'
            return 200, "text/xml", f"<Response><Say>Card {card}</Say>{pay}</Response>"
        return 200, "text/xml", f"<Response><Say>{card}</Say></Response>"

    try:
        with (
            endpoint(echo) as pays,
            application(app_answers, tls) as app,
            serve([connector(pays.url, mode=Mode.LIVE)], tls) as desk,
        ):
            pieces = _session(desk, app, card, bank)
            assert card in "".join(asked.body for asked in pays.asked), "the endpoint was asked for nothing"
            asked = list(app.asked)
    finally:
        logging.getLogger().removeHandler(handler)
        logging.getLogger().setLevel(logging.WARNING)
    # What the main thread logs are the test's own requests.
    ours = [one for one in records if one.threadName != threading.current_thread().name]
    pieces["log"] = "\n".join(f"{one.getMessage()} {one.exc_text}" for one in ours)
    pieces["callbacks"] = "\n".join(f"{one.url} {one.body}" for one in asked)
    return Bare([Evidence(name, text.encode()) for name, text in pieces.items()], asked)


def _session(desk: ServedDesk, app: Server, card: str, bank: str) -> dict[str, str]:
    """Do all of it, and return what the desk answered."""
    said: list[str] = []
    paid = desk.place(url=f"{app.url}/voice")
    desk.events(paid, kind("verb", verb="Pay"))
    desk.press(paid, f"{card}{EXPIRY}{POSTAL_CODE}#{CODE}{card}")
    desk.events(paid, kind("ended"))
    for opening, entries in (
        (
            {"PostalCode": "false"},
            (("payment-card-number", card), ("expiration-date", EXPIRY), ("security-code", CODE)),
        ),
        (
            {"PaymentMethod": "ach-debit", "ChargeAmount": "2.00", "Description": f"{card}"},
            (("bank-routing-number", "021000021"), ("bank-account-number", f"{bank}#")),
        ),
    ):
        call = desk.place(twiml=WAITS)
        desk.events(call, kind("verb", verb="Pause"))
        started = desk.post(f"/desk/calls/{call}/payments", {**opening, "StatusCallback": f"{app.url}/agent"})
        path = f"/desk/calls/{call}/payments/{started.json()['sid']}"
        for capture, keys in entries:
            said.append(desk.post(path, {"Capture": capture, "StatusCallback": f"{app.url}/agent"}).text)
            desk.press(call, keys)
        said.append(desk.post(path, {"Status": "complete", "StatusCallback": f"{app.url}/agent"}).text)
        ended = desk.events(call, lambda event: event["kind"] == "payment" and "Result" in event["fields"])
        assert ended[-1]["fields"]["Result"] in {"success", "payment-connector-error"}
    with desk.rest() as client:
        calls = f"/2010-04-01/Accounts/{ACCOUNT_SID}/Calls"
        fields = {"To": "+14155550199", "From": "+14155550100", "Twiml": "<Response/>"}
        answers = (
            client.post(f"{calls}.json", data={**fields, "SendDigits": card}),
            client.post(f"{calls}.json", data={**fields, "SendDigits": f"{card}x"}),
            client.post(f"{calls}.json", data={**fields, "Method": card}),
            client.get(f"{calls}/{card}.json"),
            client.get(f"{calls}.json"),
            client.post(f"/desk/calls/{paid}/keys", json={"keys": f"{card}x"}),
            client.get(f"/{card}"),
            client.get("/desk/state"),
        )
        said += [answer.text for answer in answers]
    last = desk.place(twiml=f"<Response><Say>{card[:4]} {card[4:8]} {card[8:12]} {card[12:]}</Say></Response>")
    events = desk.stream(kind("ended", call=last))
    return {"answers": "\n".join(said), "events": json.dumps(events)}


def test_no_number_is_in_anything_that_is_shown(shown: Bare) -> None:
    """Not in an event, an answer, a callback or a log, in no shape."""
    assert [] == list(find([CARD, BANK], shown.evidence))
    assert all(len(one.data) > 0 for one in shown.evidence)


def test_the_security_code_is_masked_in_every_callback(shown: Bare) -> None:
    """It has three digits, which are everywhere: so its own field is looked at."""
    codes = [asked.form["SecurityCode"] for asked in shown.asked if asked.form.get("SecurityCode")]
    assert codes
    assert all(set(code) <= set("x*") for code in codes)


def test_the_search_finds_what_is_planted(shown: Bare) -> None:
    """A control: the same search finds the numbers where they are, and so does the timeline's scrubbing them."""
    planted = Evidence("planted", b"... " + CARD.clear + b" and " + BANK.clear)
    assert {"card number", "account number"} == {found[0] for found in find([CARD, BANK], [*shown.evidence, planted])}
    event = Timeline().tell("CA", "planted", text=CARD.clear.decode())
    assert CARD.clear.decode() not in event.data


# --- The end ---------------------------------------------------------------------------------------------------------

SERVES = """
import asyncio
from generic_connector.server import listen
from generic_connector.twilio.configuration import load_configuration
from generic_connector.twilio.desk import serve_desk
asyncio.run(serve_desk(load_configuration(), listen("127.0.0.1", 0), announce=lambda url: print(url, flush=True)))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_it_in_order(number: signal.Signals) -> None:
    """Also while somebody watches: calls are hung up, the stream ends, and the exit status is 0."""
    with subprocess.Popen([sys.executable, "-c", SERVES], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().decode().strip()
        desk = ServedDesk(url, None)
        sid = desk.place(twiml=WAITS)
        with desk.client() as client, client.stream("GET", "/desk/events") as stream:
            lines = stream.iter_lines()
            while '"verb"' not in next(lines):
                pass
            process.send_signal(number)
            rest = "".join(lines)
        assert (0, b"") == (process.wait(20), process.stderr.read())
        assert sid in rest
        assert '"kind": "ended"' in rest
    host, port = url.removeprefix("http://").split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


def test_the_package_has_the_page() -> None:
    """What is served is beside the code, so that an installed package has it."""
    page = Path(sys.modules[Desk.__module__].__file__ or "").parent / "page"
    assert {"index.html", "phone.css", "phone.js"} <= {file.name for file in page.iterdir()}
