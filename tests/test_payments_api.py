"""The Payments API: every parameter of a start and an update, every error with its number, and what a key repeats."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generic_connector.instance import Mode
from generic_connector.secret import Secret
from generic_connector.twilio.agent import Capture, Opening, Status
from generic_connector.twilio.effects import Reports, Speaks, Transacts
from generic_connector.twilio.entries import DEFAULT_CARD_TYPES, BankAccountType, CardType, Step
from generic_connector.twilio.orders import Settled
from generic_connector.twilio.pay_connector import PayConnector, PaymentMethod, TokenType
from generic_connector.twilio.pay_errors import PayError
from generic_connector.twilio.payments_api import (
    IDEMPOTENCY_KEYS_MAX,
    Answer,
    ApiError,
    Payments,
    Start,
    Update,
    not_found,
    parse_start,
    parse_update,
    refused,
)
from generic_connector.twilio.switches import Switches

ACCOUNT, CALL = "AC" + "a" * 32, "CA" + "b" * 32
URL = "https://app.example.com/pay"
NOW_S = datetime(2026, 11, 24, 12, 0, 0, 408_000, UTC).timestamp()
REQUIRED = {"IdempotencyKey": "k1", "StatusCallback": URL}
VISA = "4111111111111111"
DEFAULTS = Switches()
CONNECTOR = PayConnector(
    unique_name="Default", url="https://pay.example.com/pay", username="user", password=Secret("secret")
)
CONNECTORS = {
    "Default": CONNECTOR,
    "Unreadable": replace(CONNECTOR, url="nowhere"),
    "Revoked": replace(CONNECTOR, is_authorized=False),
    "Charges": replace(CONNECTOR, tokenizes=False),
    "Tokenizes": replace(CONNECTOR, charges=False),
    "Euro": replace(CONNECTOR, currencies={"EUR"}),
    "Cards": replace(CONNECTOR, payment_methods={PaymentMethod.CREDIT_CARD}),
    "Ach": replace(CONNECTOR, needs_avs_name=True),
    "Picky": replace(CONNECTOR, required_parameters={"MerchantAccountId"}),
    "Live": replace(CONNECTOR, mode=Mode.LIVE, is_approved=False),
}
KEYED = {"payment-card-number": VISA, "expiration-date": "1230", "security-code": "123", "postal-code": "94105#"}


def opening(form: Mapping[str, str], switches: Switches = DEFAULTS) -> Opening:
    """Return what a good start opens."""
    found = parse_start({**REQUIRED, **form}, switches)
    assert isinstance(found, Start)
    return found.opening


def refusal_of(form: Mapping[str, str], switches: Switches = DEFAULTS) -> ApiError:
    """Return why a start is none."""
    found = parse_start({**REQUIRED, **form}, switches)
    assert isinstance(found, ApiError)
    return found


# --- What a start may say --------------------------------------------------------------------------------------------


def test_the_least_that_starts() -> None:
    """Two parameters are required; all others have Twilio's defaults."""
    found = parse_start(REQUIRED, DEFAULTS)

    assert Start(idempotency_key="k1", opening=Opening(status_callback=URL)) == found
    default = opening({})
    assert (None, "USD", "Default", 5) == (default.amount, default.currency, default.connector, default.timeout_s)
    assert (True, True, False) == (default.security_code, default.postal_code, default.confirmation)
    assert (PaymentMethod.CREDIT_CARD, TokenType.REUSABLE) == (default.payment_method, default.token_type)
    assert (BankAccountType.CONSUMER_CHECKING, DEFAULT_CARD_TYPES) == (
        default.bank_account_type,
        default.valid_card_types,
    )


ACH = {"PaymentMethod": "ach-debit"}
PARAMETERS: list[tuple[Mapping[str, str], str, object]] = [
    ({"StatusCallback": "/relative?a=b"}, "status_callback", "/relative?a=b"),
    ({"StatusCallback": "http://localhost:8000"}, "status_callback", "http://localhost:8000"),
    ({"ChargeAmount": "9.99"}, "amount", "9.99"),
    ({"ChargeAmount": "0"}, "amount", None),
    ({"ChargeAmount": "0.00"}, "amount", None),
    ({"ChargeAmount": " "}, "amount", None),
    ({"ChargeAmount": "500", "Currency": "jpy"}, "amount", "500"),
    ({"Currency": "eur"}, "currency", "eur"),
    ({"Description": "a b"}, "description", "a b"),
    ({"Description": ""}, "description", None),
    ({"Parameter": '{"name": "foobar"}'}, "parameters", {"name": "foobar"}),
    ({"Parameter": "{'name':'foobar'}"}, "parameters", {"name": "foobar"}),
    ({"Parameter": """{'it\\'s': 'a "b"', "c": 'd'}"""}, "parameters", {"it's": 'a "b"', "c": "d"}),
    ({"Parameter": '{"n": 10.10, "b": true, "c": false}'}, "parameters", {"n": "10.10", "b": "true", "c": "false"}),
    ({"Parameter": "{}"}, "parameters", {}),
    ({"Parameter": ""}, "parameters", {}),
    ({"PaymentConnector": "Other"}, "connector", "Other"),
    ({"PaymentConnector": ""}, "connector", "Default"),
    ({"PaymentMethod": "credit-card"}, "payment_method", PaymentMethod.CREDIT_CARD),
    (ACH, "payment_method", PaymentMethod.ACH_DEBIT),
    (ACH, "bank_account_type", BankAccountType.CONSUMER_CHECKING),
    ({**ACH, "BankAccountType": "consumer-checking"}, "bank_account_type", BankAccountType.CONSUMER_CHECKING),
    ({**ACH, "BankAccountType": "consumer-savings"}, "bank_account_type", BankAccountType.CONSUMER_SAVINGS),
    ({**ACH, "BankAccountType": "commercial-checking"}, "bank_account_type", BankAccountType.COMMERCIAL_CHECKING),
    ({"BankAccountType": ""}, "bank_account_type", BankAccountType.CONSUMER_CHECKING),
    ({"TokenType": "one-time"}, "token_type", TokenType.ONE_TIME),
    ({"TokenType": "reusable"}, "token_type", TokenType.REUSABLE),
    ({"TokenType": "payment-method"}, "token_type", TokenType.PAYMENT_METHOD),
    ({"PostalCode": "false"}, "postal_code", False),
    ({"PostalCode": "True"}, "postal_code", True),
    ({"SecurityCode": "false"}, "security_code", False),
    ({"SecurityCode": ""}, "security_code", True),
    ({"Confirmation": "true"}, "confirmation", True),
    ({"MinPostalCodeLength": "5"}, "min_postal_code_length", 5),
    ({"MinPostalCodeLength": "100"}, "min_postal_code_length", 100),
    ({"Timeout": "1"}, "timeout_s", 1),
    ({"Timeout": "600"}, "timeout_s", 600),
    ({"Input": "dtmf"}, "timeout_s", 5),
    ({"ValidCardTypes": "visa jcb"}, "valid_card_types", {CardType.VISA, CardType.JCB}),
    ({"RequireMatchingInputs": "security-code, postal-code"}, "matching", (Step.SECURITY_CODE, Step.POSTAL_CODE)),
    ({"RequireMatchingInputs": "payment-card-number"}, "matching", (Step.PAYMENT_CARD_NUMBER,)),
    ({"Unknown": "is ignored"}, "parameters", {}),
]


@pytest.mark.parametrize(("form", "name", "value"), PARAMETERS)
def test_a_parameter_of_a_start(form: Mapping[str, str], name: str, value: object) -> None:
    """Each parameter of a start, with each of its values, means what the documents say."""
    assert value == getattr(opening(form), name)


INVALID: list[tuple[Mapping[str, str], str]] = [
    ({"StatusCallback": "ftp://app.example.com"}, "StatusCallback"),
    ({"StatusCallback": "javascript:alert(1)"}, "StatusCallback"),
    ({"StatusCallback": "https://"}, "StatusCallback"),
    ({"StatusCallback": "https://[::1"}, "StatusCallback"),
    ({"Currency": "dollars"}, "Currency"),
    ({"Currency": "$"}, "Currency"),
    ({"Parameter": "name=foobar"}, "Parameter"),
    ({"Parameter": "['name']"}, "Parameter"),
    ({"Parameter": '{"a": {"b": "c"}}'}, "Parameter"),
    ({"Parameter": '{"a": ["b"]}'}, "Parameter"),
    ({"Parameter": '{"a": null}'}, "Parameter"),
    ({"Parameter": '{"a": "b", "a": "c"}'}, "Parameter"),
    ({"Parameter": "{'a': 'b"}, "Parameter"),
    ({"Parameter": "\ud800"}, "Parameter"),
    ({"Parameter": "[" * 5000}, "Parameter"),
    ({"PaymentMethod": "cash"}, "PaymentMethod"),
    ({**ACH, "BankAccountType": "personal-checking"}, "BankAccountType"),
    ({**ACH, "BankAccountType": "commercial-savings"}, "BankAccountType"),
    ({"TokenType": "forever"}, "TokenType"),
    ({"PostalCode": "94105"}, "PostalCode"),
    ({"SecurityCode": "yes"}, "SecurityCode"),
    ({"Confirmation": "1"}, "Confirmation"),
    ({"MinPostalCodeLength": "0"}, "MinPostalCodeLength"),
    ({"MinPostalCodeLength": "101"}, "MinPostalCodeLength"),
    ({"MinPostalCodeLength": "9" * 5000}, "MinPostalCodeLength"),
    ({"Timeout": "0"}, "Timeout"),
    ({"Timeout": "601"}, "Timeout"),
    ({"Timeout": "5.0"}, "Timeout"),
    ({"Timeout": "-1"}, "Timeout"),
    ({"Timeout": "\uff15"}, "Timeout"),
    ({"Input": "speech"}, "Input"),
    ({"ValidCardTypes": "visa unionpay"}, "ValidCardTypes"),
    ({"RequireMatchingInputs": "bank-account-number"}, "RequireMatchingInputs"),
    ({"RequireMatchingInputs": "postal-code,,"}, "RequireMatchingInputs"),
]


@pytest.mark.parametrize(("form", "name"), INVALID, ids=itertools.count())
def test_an_invalid_value(form: Mapping[str, str], name: str) -> None:
    """What is no such value is 64020: it is named, and not repeated."""
    error = refusal_of(form)

    assert (400, 64020) == (error.status, error.code)
    assert error.message.startswith(f"Pay: Invalid Parameter Value: {name} must be ")
    for value in form.values():
        assert value == "ach-debit" or value not in error.message or len(value) == 1


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [None, "", "  "])
def test_what_is_required(name: str, value: str | None) -> None:
    """Without an idempotency key or a callback nothing starts and nothing is updated."""
    form = {**REQUIRED, "Capture": "postal-code"}
    del form[name]
    if value is not None:
        form[name] = value

    for error in (parse_start(form, DEFAULTS), parse_update(form)):
        assert isinstance(error, ApiError)
        assert (400, 20001) == (error.status, error.code)
        assert name in error.message


@pytest.mark.parametrize("amount", ["-0.5", "10.001", "$10", "1000000.01", "ten", "2,000"])
def test_an_invalid_amount(amount: str) -> None:
    """64003, with what an amount is."""
    error = refusal_of({"ChargeAmount": amount})

    assert (400, 64003) == (error.status, error.code)
    assert amount not in error.message


def test_a_bank_account_type_beside_a_card() -> None:
    """64017, whatever it says."""
    for form in ({}, {"PaymentMethod": "credit-card"}):
        error = refusal_of({**form, "BankAccountType": "consumer-checking"})

        assert (400, 64017, PayError.BANK_ACCOUNT_TYPE_WITH_CARD.title) == (error.status, error.code, error.message)


def test_a_token_type_beside_an_amount() -> None:
    """The charge wins, as documented; by switch it is refused, as was seen. Without an amount it never is."""
    refusing = Switches(token_type_with_amount="refused")
    both = {"ChargeAmount": "9.99", "TokenType": "reusable"}

    assert opening(both).amount == "9.99"
    assert refusal_of(both, refusing).code == 64020
    assert opening({"TokenType": "one-time", "ChargeAmount": "0"}, refusing).token_type is TokenType.ONE_TIME
    assert opening({"ChargeAmount": "9.99"}, refusing).amount == "9.99"


def test_values_by_switch() -> None:
    """A fourth bank account type, a million that is too much, and matching inputs for `<Pay>`'s bank accounts only."""
    savings = {**ACH, "BankAccountType": "commercial-savings"}
    matching = {"RequireMatchingInputs": "postal-code"}

    found = opening(savings, Switches(commercial_savings=True))
    assert found.bank_account_type is BankAccountType.COMMERCIAL_SAVINGS
    assert refusal_of({"ChargeAmount": "1000000"}, Switches(largest_amount="excluded")).code == 64003
    assert opening(matching, Switches(matching_inputs="card-only")).matching == (Step.POSTAL_CODE,)
    assert refusal_of(matching, Switches(matching_inputs="bank-only")).code == 64020


@given(st.dictionaries(st.sampled_from([name for form, *_ in PARAMETERS for name in form]), st.text(max_size=30)))
def test_any_form_is_understood_or_refused(form: dict[str, str]) -> None:
    """Whatever a form says, the answer is a payment or an error with Twilio's number."""
    for found in (parse_start({**REQUIRED, **form}, DEFAULTS), parse_update({**REQUIRED, **form})):
        assert not isinstance(found, ApiError) or (found.status == 400 and found.code >= 20001)


@given(st.dictionaries(st.text(), st.text(), min_size=1))
def test_parameters_in_json(parameters: dict[str, str]) -> None:
    """Whatever object of strings the SDK writes as `Parameter` is read as it was."""
    found = parse_start({**REQUIRED, "Parameter": json.dumps(parameters)}, DEFAULTS)

    assert isinstance(found, Start)
    assert parameters == found.opening.parameters


# --- What an update may say ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", [*Capture, *Status])
def test_an_update(what: Capture | Status) -> None:
    """One of ten captures, or one of two ends."""
    name = "Capture" if isinstance(what, Capture) else "Status"

    assert Update(idempotency_key="k1", status_callback=URL, what=what) == parse_update({**REQUIRED, name: what.value})


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"Capture": ""},
        {"Capture": "", "Status": " "},
        {"Capture": "postal-code", "Status": "complete"},
        {"Capture": "postal-code", "Status": "cancel"},
    ],
)
def test_neither_or_both(form: Mapping[str, str]) -> None:
    """Exactly one of `Capture` and `Status`: otherwise 64018."""
    error = parse_update({**REQUIRED, **form})

    assert isinstance(error, ApiError)
    assert (400, 64018) == (error.status, error.code)
    assert error.message.startswith(PayError.CAPTURE_OR_STATUS.title)


@pytest.mark.parametrize(
    "form", [{"Capture": "cvv"}, {"Capture": "bank-account-number-matcher"}, {"Status": "completed"}]
)
def test_an_update_with_another_value(form: Mapping[str, str]) -> None:
    """What is no such name is 64020."""
    error = parse_update({**REQUIRED, **form})

    assert isinstance(error, ApiError)
    assert error.code == 64020


# --- The resource ----------------------------------------------------------------------------------------------------


class Line:
    """A call with its payments, as whoever serves the API has it."""

    def __init__(self, **switches: object) -> None:
        self.now_s = NOW_S
        self.keys = itertools.count()
        sids, transactions = itertools.count(1), itertools.count(1)
        self.payments = Payments(
            account_sid=ACCOUNT,
            call_sid=CALL,
            switches=Switches.model_validate(switches),
            connectors=CONNECTORS,
            new_sid=lambda: f"PK{next(sids):032}",
            new_transaction_id=lambda: f"t{next(transactions)}",
        )

    def form(self, form: Mapping[str, str]) -> dict[str, str]:
        """Fill in what is required."""
        self.now_s += 1
        return {"IdempotencyKey": f"k{next(self.keys)}", "StatusCallback": URL, **form}

    def create(self, **form: str) -> Answer:
        """Start a payment."""
        return self.payments.create(self.form(form), self.now_s)

    def update(self, sid: str = f"PK{1:032}", **form: str) -> Answer:
        """Update a payment, the first if no other."""
        return self.payments.update(sid, self.form(form), self.now_s)

    def key(self, keys: str) -> list[object]:
        """The caller keys."""
        return [effect for key in keys for effect in self.payments.press(key, self.now_s)]

    def capture_all(self) -> None:
        """All that a card has."""
        for what, keys in KEYED.items():
            assert self.update(Capture=what).status == 202
            self.key(keys)


def error_of(answer: Answer) -> tuple[int, object]:
    """Return status and code, having looked at the shape."""
    body = answer.body
    assert answer.is_refusal
    assert ["code", "message", "more_info", "status"] == list(body)
    assert (f"https://www.twilio.com/docs/errors/{body['code']}", answer.status) == (body["more_info"], body["status"])
    return answer.status, body["code"]


def test_the_resource() -> None:
    """A start is 201, an update 202, with the six fields that Twilio has, and dates as mail has them."""
    line = Line()
    started, updated = line.create(ChargeAmount="9.99"), line.update(Capture="payment-card-number")
    sid = f"PK{1:032}"

    assert (201, 202) == (started.status, updated.status)
    assert {
        "account_sid": ACCOUNT,
        "call_sid": CALL,
        "date_created": "Tue, 24 Nov 2026 12:00:01 +0000",
        "date_updated": "Tue, 24 Nov 2026 12:00:01 +0000",
        "sid": sid,
        "uri": f"/2010-04-01/Accounts/{ACCOUNT}/Calls/{CALL}/Payments/{sid}.json",
    } == started.body
    assert {**started.body, "date_updated": "Tue, 24 Nov 2026 12:00:02 +0000"} == updated.body
    assert int(line.now_s) == parsedate_to_datetime(str(updated.body["date_updated"])).timestamp()


def test_a_whole_payment() -> None:
    """Started, captured, completed and settled, with keys, time and answers passed on."""
    line = Line()
    started = line.create(ChargeAmount="9.99", Description="d", Parameter="{'a':'b'}")
    assert [type(effect) for effect in started.effects] == [Reports]
    line.capture_all()
    (sent,) = line.update(Status="complete").effects
    assert isinstance(sent, Transacts)
    assert ("9.99", "d", {"a": "b"}, "t1") == (
        sent.order.amount,
        sent.order.description,
        sent.order.parameters,
        sent.order.transaction_id,
    )

    (told,) = line.payments.settled(sent.ticket, Settled(id="ch_1"), line.now_s)

    assert isinstance(told, Reports)
    assert ("success", "ch_1") == (told.fields["Result"], told.fields["PaymentConfirmationCode"])
    assert line.payments.current is None


def test_keys_time_and_hang_up_are_for_the_payment_that_is_on() -> None:
    """Without one nothing comes of them; with one they are passed on."""
    line = Line()
    payments = line.payments
    for effects in (
        payments.press("1", line.now_s),
        payments.passed(line.now_s),
        payments.settled(0, Settled(id="ch_1"), line.now_s),
        payments.hung_up(line.now_s),
    ):
        assert not effects
    assert (False, None, None) == (payments.wants_keys, payments.wake_at_s, payments.current)

    line.create()
    assert (False, None) == (payments.wants_keys, payments.wake_at_s)
    line.update(Capture="postal-code")
    line.key("94105")
    awaited = payments.wants_keys

    assert (True, line.now_s + 5) == (awaited, payments.wake_at_s)
    assert len(payments.passed(line.now_s + 5)) == 1
    assert len(payments.hung_up(line.now_s)) == 1
    assert payments.current is None


def test_tickets_do_not_meet() -> None:
    """Each payment of a call has a ticket of its own, below zero, where no call counts."""
    line, tickets = Line(), []
    for number in (1, 2):
        line.create()
        for what, keys in KEYED.items():
            line.update(f"PK{number:032}", Capture=what)
            line.key(keys)
        (sent,) = line.update(f"PK{number:032}", Status="complete").effects
        assert isinstance(sent, Transacts)
        tickets.append(sent.ticket)
        line.payments.settled(sent.ticket, Settled(id="tok_1"), line.now_s)

    assert tickets == [-1, -2]


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"ChargeAmount": "-1"}, 64003),
        ({"PaymentConnector": "Nobody"}, 64004),
        ({"PaymentConnector": "Charges"}, 64005),
        ({"TokenType": "payment-method"}, 64006),
        ({"PaymentConnector": "Tokenizes", "ChargeAmount": "1"}, 64007),
        ({"PaymentConnector": "Unreadable"}, 64001),
        ({"PaymentConnector": "Revoked"}, 64009),
        ({"PaymentConnector": "Euro", "ChargeAmount": "1"}, 64011),
        ({"PaymentConnector": "Cards", "PaymentMethod": "ach-debit"}, 64013),
        ({"PaymentConnector": "Ach", "PaymentMethod": "ach-debit"}, 64014),
        ({"PaymentConnector": "Picky"}, 64015),
        ({"BankAccountType": "consumer-savings"}, 64017),
        ({"Timeout": "601"}, 64020),
    ],
)
def test_a_start_that_is_refused(form: Mapping[str, str], code: int) -> None:
    """400, Twilio's number, and no payment."""
    line = Line()
    answer = line.create(**form)

    assert error_of(answer) == (400, code)
    assert not answer.effects
    assert line.payments.current is None


@pytest.mark.parametrize(
    "form",
    [
        {"PaymentConnector": "Ach", "PaymentMethod": "ach-debit", "Parameter": "{'AVSName':'Jane Doe'}"},
        {"PaymentConnector": "Picky", "Parameter": '{"MerchantAccountId": "m"}'},
        {"PaymentConnector": "Euro", "ChargeAmount": "1", "Currency": "eur"},
        {"PaymentConnector": "Live", "ChargeAmount": "1"},  # 64024 comes when it is sent
    ],
)
def test_a_start_that_is_not_refused(form: Mapping[str, str]) -> None:
    """The control for the refusals: with what was missing it starts."""
    assert Line().create(**form).status == 201


def test_a_second_start() -> None:
    """64021, and its callback is told that a session is in progress; after that one is over it may start."""
    line = Line()
    line.create()
    answer = line.create(StatusCallback="/other")

    assert error_of(answer) == (400, 64021)
    assert f"PK{1:032}" in str(answer.body["message"])
    (told,) = answer.effects
    assert isinstance(told, Reports)
    assert ("/other", "session-in-progress", f"PK{1:032}") == (told.url, told.fields["ErrorType"], told.fields["Sid"])

    line.update(Status="cancel")

    assert line.create().body["sid"] == f"PK{2:032}"


@pytest.mark.parametrize(("is_call_on", "is_pay_on"), [(False, False), (True, True)])
def test_a_start_at_the_wrong_time(is_call_on: bool, is_pay_on: bool) -> None:  # noqa: FBT001 - columns
    """On a call that is not in progress, and beside a `<Pay>`, nothing starts."""
    line = Line()
    answer = line.payments.create(line.form({}), line.now_s, is_call_on=is_call_on, is_pay_on=is_pay_on)

    assert error_of(answer) == (400, 64021)
    assert not answer.effects


def test_a_payment_that_is_not_there() -> None:
    """404 before anything else is looked at, with the resource that was asked for."""
    answer = Line().update("PK" + "0" * 32, Capture="nonsense")

    assert error_of(answer) == (404, 20404)
    assert f"Payments/PK{'0' * 32}.json was not found" in str(answer.body["message"])


def test_an_update_that_says_nothing() -> None:
    """64018 for neither, or both."""
    line = Line()
    line.create()

    assert error_of(line.update()) == (400, 64018)


def test_completed_too_soon() -> None:
    """64019, with what is still to be captured."""
    line = Line()
    line.create()
    line.update(Capture="payment-card-number")
    line.key(VISA)
    answer = line.update(Status="complete")

    assert error_of(answer) == (400, 64019)
    assert str(answer.body["message"]).endswith("expiration-date, security-code, postal-code.")


def test_what_cannot_be_done_now() -> None:
    """64021, each time with what is in the way."""
    line = Line()
    line.create(Confirmation="true")
    line.capture_all()
    said = [line.update(Capture="bank-routing-number"), line.update(Capture="postal-code-matcher")]
    (question,) = line.update(Status="complete").effects
    assert isinstance(question, Speaks)
    said.append(line.update(Status="complete"))
    *_, sent = line.key("1")
    assert isinstance(sent, Transacts)
    said.append(line.update(Status="cancel"))
    line.payments.settled(sent.ticket, Settled(id="tok_1"), line.now_s)
    said.append(line.update(Capture="postal-code"))

    assert {(400, 64021)} == {error_of(answer) for answer in said}
    wanted = ["PaymentMethod", "RequireMatchingInputs", "confirm", "being processed", "is over"]
    assert all(words in str(answer.body["message"]) for words, answer in zip(wanted, said, strict=True))


# --- Idempotency keys ------------------------------------------------------------------------------------------------

START = {"IdempotencyKey": "s", "ChargeAmount": "9.99"}
CAPTURE = {"IdempotencyKey": "c", "Capture": "payment-card-number"}


def test_a_key_that_comes_again() -> None:
    """With the same parameters it gets the same answer, and nothing happens a second time."""
    line = Line()
    first, again = line.create(**START), line.create(**START)

    assert (first.status, first.body, 0) == (again.status, again.body, len(again.effects))

    captured = line.update(**CAPTURE)
    line.key(VISA[:8])
    again = line.update(**CAPTURE)

    assert (captured.status, captured.body, 0) == (again.status, again.body, len(again.effects))
    line.key(VISA[8:])
    assert line.payments.current is not None
    assert Capture.PAYMENT_CARD_NUMBER not in line.payments.current.required


def test_a_completion_that_comes_again() -> None:
    """A payment is sent once, however often it is completed with one key, over or not."""
    line, complete = Line(), {"IdempotencyKey": "e", "Status": "complete"}
    line.create()
    line.capture_all()
    first = line.update(**complete)
    assert [type(effect) for effect in first.effects] == [Transacts]
    during = line.update(**complete)
    line.payments.settled(-1, Settled(id="tok_1"), line.now_s)
    after = line.update(**complete)

    assert (first.body, first.body) == (during.body, after.body)
    assert not (*during.effects, *after.effects)


def test_one_key_for_everything() -> None:
    """Twilio's demos send the CallSid each time: it works, re-captures and a second payment included."""
    line, key = Line(), {"IdempotencyKey": CALL}
    for number in (1, 2):
        sid = f"PK{number:032}"
        assert line.create(**key).body["sid"] == sid
        for what, keys in [("payment-card-number", "4#"), *KEYED.items()]:
            assert line.update(sid, **key, Capture=what).effects
            line.key(keys)
        (sent,) = line.update(sid, **key, Status="complete").effects
        assert isinstance(sent, Transacts)
        line.payments.settled(sent.ticket, Settled(id="tok_1"), line.now_s)


def test_a_key_belongs_to_its_payment() -> None:
    """The same update of another payment is another request."""
    line = Line()
    line.create()
    line.update(**CAPTURE)
    line.update(Status="cancel")
    line.create()

    assert line.update(f"PK{2:032}", **CAPTURE).effects


def test_a_key_of_what_was_refused() -> None:
    """A request that was refused has used up no key."""
    for mode in ("same-answer", "refused"):
        line = Line(repeated_idempotency_key=mode)
        line.create(**START, PaymentConnector="Nobody")

        assert line.create(**START).status == 201


def test_keys_by_switch() -> None:
    """Used before, a key is refused; or it means nothing at all."""
    refusing, ignoring = Line(repeated_idempotency_key="refused"), Line(repeated_idempotency_key="ignored")
    for line in (refusing, ignoring):
        line.create(**START)
        line.update(**CAPTURE)
        line.key(VISA)

    assert error_of(refusing.update(**CAPTURE)) == (400, 64020)
    assert error_of(refusing.update(IdempotencyKey="s", Capture="postal-code")) == (400, 64020)
    assert refusing.update(Capture="postal-code").status == 202
    assert ignoring.update(**CAPTURE).effects
    assert error_of(ignoring.create(**START)) == (400, 64021)


def test_keys_are_forgotten_in_the_end() -> None:
    """A call remembers so many keys and no more: the oldest goes first."""
    line = Line()
    line.create(**START)
    for _ in range(IDEMPOTENCY_KEYS_MAX - 1):
        line.update(Capture="postal-code")

    assert line.create(**START).status == 201
    line.update(Capture="postal-code")
    assert error_of(line.create(**START)) == (400, 64021)


# --- Shapes ----------------------------------------------------------------------------------------------------------


def test_errors() -> None:
    """Each has its number's page, and the title that Twilio gave it."""
    assert refused(PayError.INCOMPLETE).body == {
        "code": 64019,
        "message": "Pay: Required payment information incomplete",
        "more_info": "https://www.twilio.com/docs/errors/64019",
        "status": 400,
    }
    assert not_found("/x").message == "The requested resource /x was not found"
    assert [*range(64001, 64025)] == [error.value for error in PayError]
