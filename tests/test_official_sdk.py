"""Twilio's own SDK for Python against the desk: nothing is changed but its base URL, and it judges what comes back."""

import itertools
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from twilio.base.exceptions import TwilioRestException  # type: ignore[import-untyped]
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]
from twilio.twiml.voice_response import VoiceResponse  # type: ignore[import-untyped]

from desks import (
    CODE,
    EXPIRY,
    POSTAL_CODE,
    TOKEN,
    Asked,
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
from generic_connector.secret import Secret
from generic_connector.twilio.configuration import ACCOUNT_SID
from serving import Served

FROM, TO = "+14155550100", "+14155550199"
VISA, ROUTING, ACCOUNT = "4111111111111111", "021000021", "123456789"
WAITS = '<Response><Pause length="600"/></Response>'
LETTERS = itertools.count()


@dataclass
class Bench:
    """A desk, its SDK client, the application, and the two endpoints behind its connectors."""

    desk: ServedDesk
    client: Client
    app: Server
    tiny: Server
    documents: dict[str, str]

    def waiting_call(self) -> str:
        """Create a call that only waits, and return its SID once it does."""
        sid: str = self.client.calls.create(to=TO, from_=FROM, twiml=WAITS).sid
        self.desk.events(sid, kind("verb", verb="Pause"))
        return sid


def _pem(context: ssl.SSLContext) -> str:
    return "".join(map(ssl.DER_cert_to_PEM_cert, context.get_ca_certs(binary_form=True)))


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """One authority for the desk and the application."""
    return make_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def bench(gateway: Served, tls: Tls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """`Default` is this project's own gateway, `Tiny` an endpoint of twenty lines."""
    documents: dict[str, str] = {}

    def answers(asked: Asked) -> tuple[int, str, str]:
        return 200, "text/xml", documents.get(asked.path, "<Response/>")

    ca_file = tmp_path_factory.mktemp("gateway") / "ca.pem"
    ca_file.write_text(_pem(gateway.tls))
    username, password = gateway.credentials["Default"]
    default = connector(gateway.url, username=username, password=Secret(password), ca_file=str(ca_file))
    with (
        application(answers, tls) as app,
        endpoint() as tiny,
        serve([default, connector(tiny.url, "Tiny")], tls) as desk,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("REQUESTS_CA_BUNDLE", tls.ca_file)
        client = Client(ACCOUNT_SID, TOKEN)
        client.api.base_url = desk.url
        yield Bench(desk, client, app, tiny, documents)


def refused(ask: Callable[[], object]) -> tuple[int, int]:
    """Return status and code of the exception that the SDK raises."""
    with pytest.raises(TwilioRestException) as caught:
        ask()
    return caught.value.status, caught.value.code


# --- Calls -----------------------------------------------------------------------------------------------------------


def test_a_call_with_twiml_runs_it(bench: Bench) -> None:
    """It is queued when it is created; afterwards the SDK reads all of it, dates and durations too."""
    twiml = VoiceResponse()
    twiml.say("Good day.")
    created = bench.client.calls.create(to=TO, from_=FROM, twiml=twiml)
    bench.desk.events(created.sid, kind("ended", status="completed"))
    fetched = bench.client.calls(created.sid).fetch()

    assert "queued" == created.status
    assert (created.sid, "completed", TO, FROM) == (fetched.sid, fetched.status, fetched.to, fetched._from)  # noqa: SLF001 - the SDK's name
    assert ("outbound-api", ACCOUNT_SID, "0", "2010-04-01") == (
        fetched.direction,
        fetched.account_sid,
        fetched.duration,
        fetched.api_version,
    )
    assert fetched.date_created <= fetched.start_time <= fetched.end_time
    assert created.sid in fetched.uri


def test_a_call_with_a_url_asks_the_application(bench: Bench) -> None:
    """The document comes from there, with the method that was asked for."""
    bench.documents["/hello"] = "<Response><Hangup/></Response>"
    created = bench.client.calls.create(to=TO, from_=FROM, url=f"{bench.app.url}/hello", method="GET")
    asked = bench.app.wait(lambda asked: created.sid in asked.url)

    assert ("GET", "/hello") == (asked.method, asked.path)
    assert RequestValidator(TOKEN).validate(asked.url, {}, asked.headers["X-Twilio-Signature"])


def test_an_update_redirects_a_call_and_ends_it(bench: Bench) -> None:
    """Twiml has it run something else, Status=completed hangs it up; then it cannot be redirected any more."""
    sid = bench.waiting_call()
    bench.documents["/elsewhere"] = '<Response><Say>Elsewhere.</Say><Pause length="600"/></Response>'

    bench.client.calls(sid).update(twiml='<Response><Say>Here.</Say><Pause length="600"/></Response>')
    bench.desk.events(sid, kind("speaks", text="Here."))
    bench.client.calls(sid).update(url=f"{bench.app.url}/elsewhere", method="POST")
    bench.desk.events(sid, kind("speaks", text="Elsewhere."))
    assert "in-progress" == bench.client.calls(sid).fetch().status
    assert "completed" == bench.client.calls(sid).update(status="completed").status
    assert (400, 21220) == refused(lambda: bench.client.calls(sid).update(twiml=WAITS))


def test_a_call_tells_its_status_callback(bench: Bench) -> None:
    """Of every event that was asked for, in order, signed."""
    created = bench.client.calls.create(
        to=TO,
        from_=FROM,
        twiml="<Response/>",
        status_callback=f"{bench.app.url}/call-status",
        status_callback_event=["initiated", "ringing", "answered", "completed"],
    )
    bench.app.wait(lambda asked: _is_of(asked, created.sid) and asked.form.get("CallStatus") == "completed")

    told = [asked.form["CallStatus"] for asked in bench.app.asked if _is_of(asked, created.sid)]
    assert ["initiated", "ringing", "in-progress", "completed"] == told


def _is_of(asked: Asked, sid: str) -> bool:
    return asked.form.get("CallSid") == sid


def test_lists_go_page_by_page_through_all_calls(bench: Bench) -> None:
    """The newest first, each once, however small the pages, and by what they are asked for."""
    to = "+14155550142"
    sids = [bench.client.calls.create(to=to, from_=FROM, twiml="<Response/>").sid for _ in range(5)]
    for sid in sids:
        bench.desk.events(sid, kind("ended"))

    assert sids[::-1] == [call.sid for call in bench.client.calls.list(to=to, page_size=2)]
    assert sids[:1:-1] == [call.sid for call in bench.client.calls.stream(to=to, limit=3)]
    assert set(sids) <= {call.sid for call in bench.client.calls.list(status="completed", limit=1000)}
    assert [] == bench.client.calls.list(to=to, status="queued")


def test_pages_lead_on_and_back_though_calls_come(bench: Bench) -> None:
    """A page begins after a call: one that was placed meanwhile shifts nothing."""
    to = "+14155550143"
    sids = [bench.client.calls.create(to=to, from_=FROM, twiml="<Response/>").sid for _ in range(4)]
    first = bench.client.calls.page(to=to, page_size=2)
    assert sids[:1:-1] == [call.sid for call in first]
    bench.client.calls.create(to=to, from_=FROM, twiml="<Response/>")
    second = first.next_page()

    assert sids[1::-1] == [call.sid for call in second]
    assert sids[:1:-1] == [call.sid for call in second.previous_page()]
    assert second.next_page() is None


def test_lists_are_asked_for_by_day(bench: Bench) -> None:
    """On it, before it, on it or after; what has not ended has no EndTime."""
    to = "+14155550144"
    sid = bench.client.calls.create(to=to, from_=FROM, twiml="<Response/>").sid
    bench.desk.events(sid, kind("ended"))
    waiting = bench.client.calls.create(to=to, from_=FROM, twiml=WAITS).sid
    bench.desk.events(waiting, kind("verb", verb="Pause"))
    today = bench.client.calls(sid).fetch().start_time.date()
    tomorrow = today + timedelta(days=1)
    asks: Mapping[str, Mapping[str, object]] = {
        "on": {"start_time": today},
        "after": {"start_time_after": today},
        "before tomorrow": {"start_time_before": tomorrow},
        "on tomorrow": {"start_time": tomorrow},
        "before": {"start_time_before": today},
        "ended": {"end_time": today},
        "ended after tomorrow": {"end_time_after": tomorrow},
    }
    found = {name: [call.sid for call in bench.client.calls.list(to=to, **ask)] for name, ask in asks.items()}

    both = [waiting, sid]
    expected = {"on": both, "after": both, "before tomorrow": both, "ended": [sid]}
    assert {name: expected.get(name, []) for name in asks} == found


# --- A whole <Pay> ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Default", "Tiny"])
def test_a_call_pays_with_twiml_of_the_sdk(bench: Bench, name: str) -> None:
    """From `VoiceResponse().pay` by SendDigits to the action, which is told the endpoint's id. All of it is signed."""
    response = VoiceResponse()
    response.pay(
        charge_amount="20.45",
        payment_connector=name,
        action=f"/paid-{name}",
        status_callback="/pay-status",
        valid_card_types="visa",
    )
    bench.documents["/pay"] = str(response)
    created = bench.client.calls.create(
        to=TO, from_=FROM, url=f"{bench.app.url}/pay", send_digits=f"{VISA}{EXPIRY}w{POSTAL_CODE}#{CODE}"
    )
    action = bench.app.wait(lambda asked: asked.path == f"/paid-{name}").form

    assert ("success", "xxxxxxxxxxxx1111", "xxx") == (
        action["Result"],
        action["PaymentCardNumber"],
        action["SecurityCode"],
    )
    assert action["PaymentConfirmationCode"].startswith("ch_")
    assert created.sid == action["CallSid"]
    came = [asked for asked in bench.app.asked if asked.form.get("CallSid") == created.sid]
    assert {"/pay", "/pay-status", f"/paid-{name}"} == {asked.path for asked in came}
    assert all(_is_accepted(asked) for asked in came)
    assert not any(_is_accepted(asked, params={**asked.form, "Result": "tampered"}) for asked in came)


# --- An agent takes the payment --------------------------------------------------------------------------------------

CARD = {
    "payment-card-number": VISA,
    "expiration-date": EXPIRY,
    "security-code": CODE,
    "postal-code": f"{POSTAL_CODE}#",
}
BANK = {"bank-routing-number": ROUTING, "bank-account-number": f"{ACCOUNT}#"}
KINDS: Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]] = {
    "card charge": (CARD, {"charge_amount": "12.34", "currency": "USD"}),
    "card tokenize": (CARD, {"token_type": "reusable"}),
    "bank charge": (BANK, {"charge_amount": "12.34", "payment_method": "ach-debit"}),
    "bank tokenize": (BANK, {"payment_method": "ach-debit", "bank_account_type": "consumer-savings"}),
}


def _key() -> str:
    return f"key-{next(LETTERS)}"


def take_payment(
    bench: Bench, call: str, entries: Mapping[str, str], callback: str, opening: Mapping[str, str]
) -> Mapping[str, str]:
    """Lead a whole payment, and return what its last callback told."""
    payments = bench.client.calls(call).payments
    payment = payments.create(idempotency_key=_key(), status_callback=callback, **opening)
    assert payment.date_created is not None
    for capture, keys in entries.items():
        updated = payments(payment.sid).update(idempotency_key=_key(), status_callback=callback, capture=capture)
        assert (payment.sid, call) == (updated.sid, updated.call_sid)
        bench.desk.press(call, keys)
    payments(payment.sid).update(idempotency_key=_key(), status_callback=callback, status="complete")
    return bench.app.wait(lambda asked: asked.form.get("Sid") == payment.sid and "Result" in asked.form).form


@pytest.mark.parametrize("name", ["Default", "Tiny"])
@pytest.mark.parametrize("what", KINDS)
def test_an_agent_takes_a_payment(bench: Bench, what: str, name: str) -> None:
    """Start, captures, complete: every callback is signed, and the last one has the endpoint's id."""
    entries, opening = KINDS[what]
    call = bench.waiting_call()
    callback = f"{bench.app.url}/agent/{_key()}"
    told = take_payment(bench, call, entries, callback, {**opening, "payment_connector": name})
    id_field = "PaymentConfirmationCode" if "charge_amount" in opening else "PaymentToken"
    came = [asked for asked in bench.app.asked if asked.url == callback]

    assert "success" == told["Result"]
    assert told[id_field].startswith("ch_" if "charge_amount" in opening else "to")
    assert all(_is_accepted(asked) for asked in came)
    # One for the start, one for each capture, one for each key, one for the end.
    assert 2 + len(entries) + sum(len(keys) for keys in entries.values()) == len(came)
    assert not any(VISA in asked.body or ACCOUNT in asked.body for asked in came)
    bench.client.calls(call).update(status="completed")


def _is_accepted(asked: Asked, **changed: object) -> bool:
    seen = {"uri": asked.url, "params": asked.form, "signature": asked.headers["X-Twilio-Signature"], **changed}
    return bool(RequestValidator(TOKEN).validate(**seen))


def test_the_validator_rejects_what_was_tampered_with(bench: Bench) -> None:
    """A field, a field more, the URL or the token: each makes a difference. The request itself is accepted."""
    call = bench.waiting_call()
    callback = f"{bench.app.url}/agent/tampered"
    take_payment(bench, call, CARD, callback, {"payment_connector": "Tiny"})
    (asked, *_others) = [asked for asked in bench.app.asked if "Result" in asked.form and asked.url == callback]
    signature = asked.headers["X-Twilio-Signature"]

    assert _is_accepted(asked)
    assert not _is_accepted(asked, params={**asked.form, "Result": "validation-error"})
    assert not _is_accepted(asked, params={**asked.form, "More": ""})
    assert not _is_accepted(asked, uri=f"{asked.url}?more")
    assert not RequestValidator(TOKEN[::-1]).validate(asked.url, asked.form, signature)


def test_a_payment_is_canceled(bench: Bench) -> None:
    """Status=cancel ends it, and nothing is asked of the endpoint."""
    call = bench.waiting_call()
    callback, before = f"{bench.app.url}/agent/cancel", len(bench.tiny.asked)
    payments = bench.client.calls(call).payments
    payment = payments.create(idempotency_key=_key(), status_callback=callback, payment_connector="Tiny")
    payments(payment.sid).update(idempotency_key=_key(), status_callback=callback, status="cancel")
    told = bench.app.wait(lambda asked: "PaymentToken" in asked.form and asked.url == callback).form

    assert "" == told["PaymentToken"]
    assert before == len(bench.tiny.asked)


# --- Errors ----------------------------------------------------------------------------------------------------------

BAD_CALLS: Mapping[str, tuple[Mapping[str, object], tuple[int, int]]] = {
    "no To": ({"to": "", "from_": FROM, "twiml": WAITS}, (400, 21201)),
    "no From": ({"to": TO, "from_": "", "twiml": WAITS}, (400, 21213)),
    "nothing to run": ({"to": TO, "from_": FROM}, (400, 21205)),
    "two things to run": ({"to": TO, "from_": FROM, "twiml": WAITS, "url": "https://a.example"}, (400, 20001)),
    "no URL": ({"to": TO, "from_": FROM, "url": "ftp://a.example"}, (400, 21205)),
    "no URL for status": ({"to": TO, "from_": FROM, "twiml": WAITS, "status_callback": "x"}, (400, 21205)),
    "digits that are none": ({"to": TO, "from_": FROM, "twiml": WAITS, "send_digits": "12x"}, (400, 20001)),
    "another method": ({"to": TO, "from_": FROM, "url": "https://a.example", "method": "PUT"}, (400, 20001)),
    "another event": (
        {"to": TO, "from_": FROM, "twiml": WAITS, "status_callback_event": ["sung"]},
        (400, 20001),
    ),
}


@pytest.mark.parametrize("what", BAD_CALLS)
def test_a_call_that_cannot_be_is_an_exception_with_its_code(bench: Bench, what: str) -> None:
    """The SDK's exception has the HTTP status and Twilio's number."""
    asked, error = BAD_CALLS[what]
    assert error == refused(lambda: bench.client.calls.create(**asked))


def _update(bench: Bench, sid: str, **how: str) -> object:
    call = bench.waiting_call()
    return bench.client.calls(call).payments(sid).update(_key(), f"{bench.app.url}/x", **how)


def _start(bench: Bench, **how: str) -> object:
    call = bench.waiting_call()
    return bench.client.calls(call).payments.create(_key(), f"{bench.app.url}/x", **how)


def _complete_early(bench: Bench) -> object:
    call = bench.waiting_call()
    payments = bench.client.calls(call).payments
    payment = payments.create(_key(), f"{bench.app.url}/x")
    return payments(payment.sid).update(_key(), f"{bench.app.url}/x", status="complete")


def _start_while_paying(bench: Bench) -> object:
    twiml = f'<Response><Pay action="{bench.app.url}/paid" timeout="60"/></Response>'
    call = bench.client.calls.create(to=TO, from_=FROM, twiml=twiml).sid
    bench.desk.events(call, kind("verb", verb="Pay"))
    return bench.client.calls(call).payments.create(_key(), f"{bench.app.url}/x")


def _start_on_ended(bench: Bench) -> object:
    call = bench.client.calls.create(to=TO, from_=FROM, twiml="<Response/>").sid
    bench.desk.events(call, kind("ended"))
    return bench.client.calls(call).payments.create(_key(), f"{bench.app.url}/x")


NO_SID = "0" * 32
REFUSALS: Mapping[str, tuple[Callable[[Bench], object], tuple[int, int]]] = {
    "unknown call": (lambda bench: bench.client.calls(f"CA{NO_SID}").fetch(), (404, 20404)),
    "payment on an unknown call": (
        lambda bench: bench.client.calls(f"CA{NO_SID}").payments.create("k", "https://a.example"),
        (404, 20404),
    ),
    "unknown payment": (lambda bench: _update(bench, f"PK{NO_SID}", status="cancel"), (404, 20404)),
    "unknown connector": (lambda bench: _start(bench, payment_connector="Nobody"), (400, 64004)),
    "an amount that is none": (lambda bench: _start(bench, charge_amount="much"), (400, 64003)),
    "complete too early": (_complete_early, (400, 64019)),
    "while a <Pay> runs": (_start_while_paying, (400, 64021)),
    "on a call that is over": (_start_on_ended, (400, 64021)),
    "delete, which there is not": (lambda bench: bench.client.calls(bench.waiting_call()).delete(), (405, 20004)),
    "something else of the API": (lambda bench: bench.client.messages("SM" + NO_SID).fetch(), (404, 20404)),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_is_refused_is_an_exception_with_its_code(bench: Bench, what: str) -> None:
    """The SDK's exception has the HTTP status and Twilio's number."""
    ask, error = REFUSALS[what]
    assert error == refused(lambda: ask(bench))


@pytest.mark.parametrize(
    ("username", "password"), [(ACCOUNT_SID, "wrong"), ("AC" + NO_SID, TOKEN)], ids=["token", "account"]
)
def test_who_does_not_know_the_token_gets_nothing(bench: Bench, username: str, password: str) -> None:
    """Whatever is asked: 401, and Twilio's 20003."""
    client = Client(username, password)
    client.api.base_url = bench.desk.url
    asks: Sequence[Callable[[], object]] = (
        lambda: client.calls.create(to=TO, from_=FROM, twiml=WAITS),
        lambda: client.calls(f"CA{NO_SID}").fetch(),
        lambda: client.calls(f"CA{NO_SID}").payments.create("k", "https://a.example"),
        lambda: client.messages("SM" + NO_SID).fetch(),
    )
    assert [(401, 20003)] * 4 == [refused(ask) for ask in asks]


def test_another_account_is_not_there(bench: Bench) -> None:
    """Whoever knows this account's token knows no other's calls."""
    other = bench.client.api.accounts(f"AC{NO_SID}")
    assert (404, 20404) == refused(lambda: other.calls(f"CA{NO_SID}").fetch())


def test_the_file_that_trusts_the_gateway_is_one(gateway: Served, tmp_path: Path) -> None:
    """A control: what `Default` trusts is the gateway's authority, and no switched-off check."""
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text(_pem(gateway.tls))
    assert ssl.create_default_context(cafile=str(ca_file)).verify_mode is ssl.CERT_REQUIRED
