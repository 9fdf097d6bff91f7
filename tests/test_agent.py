"""Agent-assisted payments: what an agent's payment tells, asks and sends, whatever agent and caller do."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from generic_connector.payment import Method
from generic_connector.secret import Secret
from generic_connector.twilio.agent import AgentPayment, Capture, Opening, Status
from generic_connector.twilio.effects import Effect, Hears, Reports, Speaks, Transacts
from generic_connector.twilio.entries import BankAccountType, CardType, ErrorType, Step
from generic_connector.twilio.orders import Failed, KeyedAccount, KeyedCard, Settled, Settlement
from generic_connector.twilio.pay_connector import PaymentMethod, TokenType
from generic_connector.twilio.pay_errors import PayError
from generic_connector.twilio.switches import Switches

ACCOUNT, CALL, PAYMENT = "AC" + "a" * 32, "CA" + "b" * 32, "PK" + "c" * 32
URL, NEXT_URL = "https://app.example.com/pay", "/next"
TRANSACTION = "72500aba-0000-4000-8000-000000000000"
TICKET = 7
NOW_S = datetime(2026, 11, 24, 12, 0, 0, 408_000, UTC).timestamp()
VISA, AMEX, DISCOVER, UNIONPAY = "4111111111111111", "378282246310005", "6011111111111117", "6200000000000005"
EXPIRY, CODE, AMEX_CODE, ZIP = "1230", "123", "1234", "94105"
ROUTING, BANK_ACCOUNT = "121181976", "508862392"
DEFAULTS = Switches()
CHARGE = Opening(status_callback=URL, amount="9.99")
TOKENIZE = Opening(status_callback=URL)
ACH = Opening(
    status_callback=URL,
    amount="9.99",
    payment_method=PaymentMethod.ACH_DEBIT,
    bank_account_type=BankAccountType.CONSUMER_SAVINGS,
)
CARD_STEPS = (Step.PAYMENT_CARD_NUMBER, Step.EXPIRATION_DATE, Step.SECURITY_CODE, Step.POSTAL_CODE)
KEYED = {
    Capture.PAYMENT_CARD_NUMBER: VISA,
    Capture.EXPIRATION_DATE: EXPIRY,
    Capture.SECURITY_CODE: CODE,
    Capture.POSTAL_CODE: ZIP + "#",
}
KEYED_ACCOUNT = {Capture.BANK_ROUTING_NUMBER: ROUTING, Capture.BANK_ACCOUNT_NUMBER: BANK_ACCOUNT + "#"}
IDS = ("PaymentConfirmationCode", "PaymentToken", "ProfileId")


class Session:
    """An agent and a caller with one payment, one second between whatever they do."""

    def __init__(self, opening: Opening = CHARGE, **switches: object) -> None:
        self.now_s = NOW_S
        self.effects: list[Effect] = []
        self.payment = AgentPayment(
            account_sid=ACCOUNT,
            call_sid=CALL,
            sid=PAYMENT,
            opening=opening,
            switches=Switches.model_validate(switches),
            new_transaction_id=lambda: TRANSACTION,
            ticket=TICKET,
        )
        self.keep(self.payment.start(self.now_s))

    def keep(self, effects: Sequence[Effect] | PayError) -> PayError | None:
        """Remember the effects, and return the error if there is one."""
        if isinstance(effects, PayError):
            return effects
        self.effects.extend(effects)
        self.now_s += 1
        return None

    def capture(self, what: Capture, keys: str = "", url: str = URL) -> PayError | None:
        """The agent asks, and the caller keys."""
        error = self.keep(self.payment.capture(what, url, self.now_s))
        self.key(keys)
        return error

    def key(self, keys: str) -> None:
        """The caller keys."""
        for key in keys:
            self.keep(self.payment.press(key, self.now_s))

    def capture_all(self, keyed: Mapping[Capture, str] = KEYED) -> "Session":
        """All that is needed, in the order given."""
        for what, keys in keyed.items():
            assert self.capture(what, keys) is None
        return self

    def complete(self, url: str = URL) -> PayError | None:
        """The agent completes."""
        return self.keep(self.payment.complete(url, self.now_s))

    def cancel(self, url: str = URL) -> PayError | None:
        """The agent cancels."""
        return self.keep(self.payment.cancel(url, self.now_s))

    def settle(self, settlement: Settlement, ticket: int = TICKET) -> None:
        """The endpoint answers."""
        self.keep(self.payment.settled(ticket, settlement, self.now_s))

    def wait(self, seconds: float) -> None:
        """Nobody does anything for so long."""
        self.now_s += seconds
        self.keep(self.payment.passed(self.now_s))

    def hang_up(self) -> None:
        """The caller hangs up."""
        self.keep(self.payment.hung_up(self.now_s))

    def waits(self) -> bool:
        """Whether the caller's keys are awaited."""
        return self.payment.wants_keys

    @property
    def reports(self) -> list[Reports]:
        """All callbacks."""
        return [effect for effect in self.effects if isinstance(effect, Reports)]

    @property
    def fields(self) -> Mapping[str, str]:
        """The latest callback's fields."""
        return self.reports[-1].fields

    @property
    def sent(self) -> list[Transacts]:
        """All that went to the endpoint."""
        return [effect for effect in self.effects if isinstance(effect, Transacts)]

    @property
    def required(self) -> str:
        """The latest callback's `Required`."""
        return self.fields["Required"]


def column(session: Session, name: str, *, since: int = 0) -> list[str | None]:
    """Return what each callback had in this field, from the `since`-th on."""
    return [report.fields.get(name) for report in session.reports[since:]]


# --- What every callback carries -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("opening", "kind"),
    [
        (CHARGE, {"PaymentMethod": "credit-card", "ChargeAmount": "9.99"}),
        (TOKENIZE, {"PaymentMethod": "credit-card", "TokenType": "reusable"}),
        (
            replace(TOKENIZE, token_type=TokenType.ONE_TIME),
            {"PaymentMethod": "credit-card", "TokenType": "one-time"},
        ),
        (ACH, {"PaymentMethod": "ach-debit", "ChargeAmount": "9.99", "BankAccountType": "consumer-savings"}),
        (
            replace(ACH, amount=None),
            {"PaymentMethod": "ach-debit", "TokenType": "reusable", "BankAccountType": "consumer-savings"},
        ),
    ],
    ids=["charge", "tokenize", "one-time", "ach", "ach-tokenize"],
)
def test_the_first_callback(opening: Opening, kind: Mapping[str, str]) -> None:
    """A start is told at once: who, when, with what connector, and what is to be done."""
    session = Session(opening)

    (first,) = session.effects

    assert isinstance(first, Reports)
    assert (URL, "POST") == (first.url, first.method)
    assert {
        "AccountSid": ACCOUNT,
        "CallSid": CALL,
        "Sid": PAYMENT,
        "DateCreated": "2026-11-24T12:00:00.408Z",
        "PaymentConnector": "Default",
        **kind,
    } == first.fields
    assert not session.waits()


@pytest.mark.parametrize("opening", [CHARGE, TOKENIZE, ACH], ids=["charge", "tokenize", "ach"])
def test_later_callbacks_carry_the_first_ones_fields(opening: Opening) -> None:
    """Whatever a callback is about, it has all that the first one had."""
    session = Session(opening).capture_all(KEYED_ACCOUNT if opening is ACH else KEYED)
    session.complete()
    session.settle(Settled(id="ch_1"))

    first = session.reports[0].fields

    assert all(first.items() <= report.fields.items() for report in session.reports)


def test_dates() -> None:
    """ISO 8601 with milliseconds, as observed; by switch RFC 2822, as the resource has them."""
    iso, rfc = Session(), Session(callback_dates="rfc2822")
    for session in (iso, rfc):
        session.capture(Capture.EXPIRATION_DATE)

    assert ("2026-11-24T12:00:00.408Z", "2026-11-24T12:00:01.408Z") == (
        iso.fields["DateCreated"],
        iso.fields["DateUpdated"],
    )
    assert ("Tue, 24 Nov 2026 12:00:00 +0000", "Tue, 24 Nov 2026 12:00:01 +0000") == (
        rfc.fields["DateCreated"],
        rfc.fields["DateUpdated"],
    )


def test_callbacks_go_where_the_last_request_said() -> None:
    """Each request brings its own URL, for all that follows from it."""
    session = Session()
    session.capture(Capture.PAYMENT_CARD_NUMBER, "41", NEXT_URL)
    session.cancel("/last")

    assert [URL, NEXT_URL, NEXT_URL, NEXT_URL, "/last"] == [report.url for report in session.reports]


# --- Captures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("opening", "what", "keys", "partial", "whole"),
    [
        (CHARGE, Capture.PAYMENT_CARD_NUMBER, VISA, "x", {"PaymentCardNumber": "xxxxxxxxxxxx1111"}),
        (CHARGE, Capture.PAYMENT_CARD_NUMBER, AMEX, "x", {"PaymentCardNumber": "xxxxxxxxxxx0005"}),
        (CHARGE, Capture.EXPIRATION_DATE, EXPIRY, "x", {"ExpirationDate": EXPIRY}),
        (CHARGE, Capture.SECURITY_CODE, CODE, "x", {"SecurityCode": "xxx"}),
        (CHARGE, Capture.POSTAL_CODE, ZIP + "#", "x", {"PaymentCardPostalCode": ZIP}),
        (ACH, Capture.BANK_ROUTING_NUMBER, ROUTING, "x", {"BankRoutingNumber": ROUTING}),
        (ACH, Capture.BANK_ACCOUNT_NUMBER, BANK_ACCOUNT + "#", "*", {"BankAccountNumber": "*******92"}),
    ],
)
def test_a_capture_key_by_key(
    opening: Opening, what: Capture, keys: str, partial: str, whole: Mapping[str, str]
) -> None:
    """One callback when it is asked for, one for each key with a mark more, and one when it is whole."""
    session = Session(opening)
    if what is Capture.SECURITY_CODE:
        session.capture(Capture.PAYMENT_CARD_NUMBER, VISA)
    since = len(session.reports)
    assert session.capture(what) is None
    assert session.waits()
    session.key(keys)

    (name,) = whole
    asked, *growing, last = session.reports[since:]

    assert [str(what)] * (len(growing) + 2) == column(session, "Capture", since=since)
    assert ["true"] * (len(growing) + 1) + ["false"] == column(session, "PartialResult", since=since)
    assert name not in asked.fields
    assert [partial * count for count in range(1, len(keys))] == [report.fields[name] for report in growing]
    assert whole.items() <= last.fields.items()
    assert {"ErrorType"}.isdisjoint(last.fields)
    assert not session.waits()
    assert session.payment.wake_at_s is None


@pytest.mark.parametrize(
    ("switches", "what", "keys", "partial", "field", "whole"),
    [
        (
            {"card_mask": "dashed"},
            Capture.PAYMENT_CARD_NUMBER,
            AMEX,
            "x" * 14,
            "PaymentCardNumber",
            "xxxx-xxxxxx-x0005",
        ),
        ({"security_code_mask": "***"}, Capture.SECURITY_CODE, CODE, "**", "SecurityCode", "***"),
    ],
)
def test_masks_by_switch(  # noqa: PLR0917 - a table's columns
    switches: Mapping[str, str], what: Capture, keys: str, partial: str, field: str, whole: str
) -> None:
    """Dashes as printed on the card, and stars for a security code."""
    session = Session(CHARGE, **switches)
    if what is Capture.SECURITY_CODE:
        session.capture(Capture.PAYMENT_CARD_NUMBER, VISA)
    session.capture(what, keys)

    assert [partial, whole] == column(session, field)[-2:]


def test_the_last_partial_result_by_switch() -> None:
    """When the entry is whole `PartialResult` is false, or by switch not there."""
    session = Session(last_partial_result="absent")
    session.capture(Capture.EXPIRATION_DATE, EXPIRY)

    assert ["true"] * 4 + [None] == column(session, "PartialResult", since=1)


def test_the_card_type_comes_with_the_number() -> None:
    """Once the number is good its type is told, and UnionPay's test number has none."""
    session = Session()
    session.capture(Capture.PAYMENT_CARD_NUMBER, VISA)

    assert [None] * 17 + ["visa"] == column(session, "PaymentCardType")

    session.capture(Capture.PAYMENT_CARD_NUMBER, UNIONPAY)

    assert "PaymentCardType" not in session.fields
    assert session.fields["PaymentCardNumber"] == "xxxxxxxxxxxx0005"


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (
            "hyphenated",
            [
                "payment-card-number,expiration-date,security-code,postal-code",
                "expiration-date,security-code,postal-code",
                "security-code,postal-code",
                "postal-code",
                "",
            ],
        ),
        (
            "pascal",
            [
                "PaymentCardNumber,ExpirationDate,SecurityCode,PostalCode",
                "ExpirationDate,SecurityCode,PostalCode",
                "SecurityCode,PostalCode",
                "PostalCode",
                "",
            ],
        ),
    ],
)
def test_required_shrinks(names: str, told: list[str]) -> None:
    """What is still to be captured, in either spelling, and nothing in the end."""
    session = Session(required_names=names)
    seen = []
    for what, keys in KEYED.items():
        session.capture(what)
        seen.append(session.required)
        session.key(keys)
    seen.append(session.required)

    assert told == seen


@pytest.mark.parametrize(
    ("opening", "required"),
    [
        (CHARGE, "payment-card-number,expiration-date,security-code,postal-code"),
        (replace(CHARGE, security_code=False), "payment-card-number,expiration-date,postal-code"),
        (replace(CHARGE, postal_code=False), "payment-card-number,expiration-date,security-code"),
        (replace(CHARGE, security_code=False, postal_code=False), "payment-card-number,expiration-date"),
        (ACH, "bank-routing-number,bank-account-number"),
        (replace(ACH, security_code=True, postal_code=True), "bank-routing-number,bank-account-number"),
        (
            replace(CHARGE, matching=CARD_STEPS),
            ",".join(f"{step},{step}-matcher" for step in CARD_STEPS),
        ),
    ],
)
def test_what_is_required(opening: Opening, required: str) -> None:
    """It follows from the payment method, the two flags and the fields that are to match."""
    assert required == ",".join(Session(opening).payment.required)


@pytest.mark.parametrize(
    "order", [list(KEYED), [*list(KEYED)[1:2], *list(KEYED)[3:], *list(KEYED)[:1], *list(KEYED)[2:3]]]
)
def test_any_order(order: list[Capture]) -> None:
    """An agent may ask in any order, but for the security code, which needs the number."""
    session = Session()
    for what in order:
        session.capture(what, KEYED[what])

    assert session.required == ""


def test_a_security_code_before_the_number() -> None:
    """How long it is depends on the card: asked for too soon it is an error, and no keys are wanted."""
    session = Session()

    assert session.capture(Capture.SECURITY_CODE) is None
    assert session.fields["ErrorType"] == "invalid-card-number-security-code-capture-sequence"
    assert ("security-code", "false") == (session.fields["Capture"], session.fields["PartialResult"])
    assert not session.waits()


@pytest.mark.parametrize(
    ("opening", "what", "keys", "error"),
    [
        (CHARGE, Capture.PAYMENT_CARD_NUMBER, "4111111111111112#", ErrorType.INVALID_CARD_NUMBER),
        (CHARGE, Capture.PAYMENT_CARD_NUMBER, "#", ErrorType.INVALID_CARD_NUMBER),
        (CHARGE, Capture.PAYMENT_CARD_NUMBER, DISCOVER, ErrorType.INVALID_CARD_TYPE),
        (
            replace(CHARGE, valid_card_types={CardType.AMEX}),
            Capture.PAYMENT_CARD_NUMBER,
            VISA,
            ErrorType.INVALID_CARD_TYPE,
        ),
        (CHARGE, Capture.EXPIRATION_DATE, "1326", ErrorType.INVALID_DATE),
        (CHARGE, Capture.EXPIRATION_DATE, "1025", ErrorType.INVALID_DATE),
        (CHARGE, Capture.SECURITY_CODE, "12#", ErrorType.INVALID_SECURITY_CODE),
        (replace(CHARGE, min_postal_code_length=5), Capture.POSTAL_CODE, "9410#", ErrorType.INVALID_POSTAL_CODE),
        (ACH, Capture.BANK_ROUTING_NUMBER, "121181977", ErrorType.INVALID_BANK_ROUTING_NUMBER),
        (ACH, Capture.BANK_ACCOUNT_NUMBER, "123#", ErrorType.INVALID_BANK_ACCOUNT_NUMBER),
    ],
)
def test_an_entry_that_is_not_good(opening: Opening, what: Capture, keys: str, error: ErrorType) -> None:
    """It is told with its error, is not kept, and the agent may ask again."""
    session = Session(opening)
    if what is Capture.SECURITY_CODE:
        session.capture(Capture.PAYMENT_CARD_NUMBER, VISA)
    session.capture(what, keys)

    assert (error, str(what), "false") == tuple(
        session.fields[name] for name in ("ErrorType", "Capture", "PartialResult")
    )
    assert what in session.payment.required
    assert not session.waits()
    assert session.capture(what) is None
    assert "ErrorType" not in session.fields


def test_what_is_wrong_is_not_shown() -> None:
    """Neither in clear nor masked: the agent learns only what was wrong."""
    session = Session()
    session.capture(Capture.PAYMENT_CARD_NUMBER, DISCOVER)
    session.capture(Capture.EXPIRATION_DATE, "1326")

    assert {"PaymentCardNumber", "PaymentCardType", "ExpirationDate"}.isdisjoint(session.fields)


def test_a_capture_forgets_what_it_asks_for() -> None:
    """Re-captured, a field is required again, until it is good again; another keeps what it had."""
    session = Session().capture_all()
    session.capture(Capture.PAYMENT_CARD_NUMBER)

    assert session.required == "payment-card-number"
    assert session.fields["ExpirationDate"] == EXPIRY
    assert session.complete() is PayError.INCOMPLETE

    session.key("5555555555554444")

    assert session.required == ""
    assert ("mastercard", "xxxxxxxxxxxx4444") == (
        session.fields["PaymentCardType"],
        session.fields["PaymentCardNumber"],
    )


def test_a_capture_that_is_left_is_lost() -> None:
    """Asked for something else in the middle, the caller keys that; what was begun is gone."""
    session = Session()
    session.capture(Capture.PAYMENT_CARD_NUMBER, VISA[:8])
    session.capture(Capture.EXPIRATION_DATE, EXPIRY)

    assert session.fields["ExpirationDate"] == EXPIRY
    assert "PaymentCardNumber" not in session.fields
    assert session.required == "payment-card-number,security-code,postal-code"


def test_another_length_of_security_code() -> None:
    """A Visa's code is no code of an American Express: it goes with the number that it came with, its match too."""
    session = Session(replace(CHARGE, matching=[Step.SECURITY_CODE])).capture_all()
    session.capture(Capture.SECURITY_CODE_MATCHER, CODE)
    session.capture(Capture.PAYMENT_CARD_NUMBER, "5555555555554444")

    assert session.required == ""

    session.capture(Capture.PAYMENT_CARD_NUMBER, AMEX)

    assert session.required == "security-code,security-code-matcher"
    session.capture(Capture.SECURITY_CODE, AMEX_CODE)
    assert session.fields["SecurityCode"] == "xxxx"


def test_what_is_not_required_may_be_captured() -> None:
    """An agent may ask for the postal code though it is not needed, and then it is sent."""
    session = Session(replace(CHARGE, security_code=False, postal_code=False)).capture_all()
    session.complete()

    instrument = session.sent[0].order.instrument
    assert isinstance(instrument, KeyedCard)
    assert (ZIP, Secret(CODE)) == (instrument.postal_code, instrument.security_code)


def test_completing_leaves_a_capture_that_is_not_required() -> None:
    """Completed in its middle, the payment goes without what was being keyed."""
    session = Session(replace(CHARGE, postal_code=False)).capture_all()
    session.capture(Capture.POSTAL_CODE, "9")

    assert session.complete() is None
    instrument = session.sent[0].order.instrument
    assert isinstance(instrument, KeyedCard)
    assert instrument.postal_code is None
    assert session.payment.wake_at_s is None


@pytest.mark.parametrize(
    ("opening", "what"),
    [
        *((CHARGE, what) for what in KEYED_ACCOUNT),
        *((ACH, what) for what in Capture if what not in KEYED_ACCOUNT),
    ],
)
def test_a_card_has_no_routing_number(opening: Opening, what: Capture) -> None:
    """What the payment method does not have cannot be captured."""
    assert Session(opening).capture(what) is PayError.INVALID_OPERATION


# --- Matchers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", CARD_STEPS)
def test_a_matcher_that_matches(step: Step) -> None:
    """The same again is what is wanted: it is required until then, and not after."""
    what, matcher = Capture(step), Capture(f"{step}-matcher")
    session = Session(replace(CHARGE, matching=[step])).capture_all()

    assert (str(matcher), PayError.INCOMPLETE) == (session.required, session.complete())

    session.capture(matcher, KEYED[what])

    assert (str(matcher), "false", "") == tuple(
        session.fields[name] for name in ("Capture", "PartialResult", "Required")
    )
    assert "ErrorType" not in session.fields
    assert session.complete() is None


@pytest.mark.parametrize(
    ("step", "keys"),
    [
        (Step.PAYMENT_CARD_NUMBER, "4012888888881881"),
        (Step.EXPIRATION_DATE, "1231"),
        (Step.SECURITY_CODE, "124"),
        (Step.POSTAL_CODE, "94106#"),
        (Step.POSTAL_CODE, "#"),
    ],
)
def test_a_matcher_that_does_not_match(step: Step, keys: str) -> None:
    """It is told, and both entries are wanted again."""
    matcher = Capture(f"{step}-matcher")
    session = Session(replace(CHARGE, matching=[step])).capture_all()
    session.capture(matcher, keys)

    assert session.fields["ErrorType"] == "input-matching-failed"
    assert f"{step},{matcher}" == session.required
    assert session.capture(matcher) is PayError.INVALID_OPERATION


def test_a_matcher_shows_marks_over_what_it_matches() -> None:
    """While it is keyed the second time, the field has a mark for each key of that."""
    session = Session(replace(CHARGE, matching=[Step.PAYMENT_CARD_NUMBER])).capture_all()
    session.capture(Capture.PAYMENT_CARD_NUMBER_MATCHER, "41")

    assert ["xxxxxxxxxxxx1111", "x", "xx"] == column(session, "PaymentCardNumber")[-3:]


def test_a_new_entry_is_to_be_matched_anew() -> None:
    """A re-capture, and a matcher that is asked for again, undo the match."""
    session = Session(replace(CHARGE, matching=[Step.EXPIRATION_DATE])).capture_all()
    for again in (Capture.EXPIRATION_DATE, Capture.EXPIRATION_DATE_MATCHER):
        session.capture(Capture.EXPIRATION_DATE_MATCHER, EXPIRY)
        assert session.required == ""

        session.capture(again, EXPIRY if again is Capture.EXPIRATION_DATE else "")
        assert session.required == "expiration-date-matcher"


@pytest.mark.parametrize("matching", [(), [Step.POSTAL_CODE]])
def test_a_matcher_that_nobody_asked_for(matching: Sequence[Step]) -> None:
    """Without `RequireMatchingInputs` for that field there is no matcher for it."""
    session = Session(replace(CHARGE, matching=matching)).capture_all()

    assert session.capture(Capture.EXPIRATION_DATE_MATCHER) is PayError.INVALID_OPERATION


def test_a_matcher_before_what_it_matches() -> None:
    """There is nothing yet to match."""
    session = Session(replace(CHARGE, matching=CARD_STEPS))

    assert session.capture(Capture.SECURITY_CODE_MATCHER) is PayError.INVALID_OPERATION


def test_a_matcher_without_a_key() -> None:
    """A timeout says nothing about the first entry: it stays, and the matcher may be asked for again."""
    session = Session(replace(CHARGE, matching=[Step.POSTAL_CODE]), capture_wait="timeout").capture_all()
    session.capture(Capture.POSTAL_CODE_MATCHER)
    session.wait(5)

    assert ("input-timeout", "postal-code-matcher") == (session.fields["ErrorType"], session.required)
    assert session.capture(Capture.POSTAL_CODE_MATCHER, ZIP + "#") is None
    assert session.required == ""


# --- Time ------------------------------------------------------------------------------------------------------------


def test_the_time_between_keys() -> None:
    """Each key gives the next one `Timeout` seconds; then what was keyed is judged, as `#` would have it."""
    session = Session(replace(CHARGE, timeout_s=20))
    session.capture(Capture.POSTAL_CODE)
    at_first = session.payment.wake_at_s
    session.key("9")

    assert (None, session.now_s - 1 + 20) == (at_first, session.payment.wake_at_s)

    session.wait(10)
    session.key("4")
    session.wait(18.5)
    assert session.waits()

    session.wait(0.5)

    assert ("94", "false") == (session.fields["PaymentCardPostalCode"], session.fields["PartialResult"])
    assert not session.waits()


def test_a_short_entry_and_a_timeout() -> None:
    """What is too short has its own error, not the timeout's."""
    session = Session()
    session.capture(Capture.PAYMENT_CARD_NUMBER, VISA[:6])
    session.wait(5)

    assert session.fields["ErrorType"] == "invalid-card-number"


@pytest.mark.parametrize(("wait", "error"), [("unlimited", None), ("timeout", "input-timeout")])
def test_the_wait_for_the_first_key(wait: str, error: str | None) -> None:
    """By the documents it has no end, since a person asks for it; by switch it has the timeout's."""
    session = Session(capture_wait=wait)
    session.capture(Capture.PAYMENT_CARD_NUMBER)
    session.wait(3600)

    assert error == session.fields.get("ErrorType")
    assert (error is None) is session.waits()


def test_a_key_that_comes_too_late() -> None:
    """The entry ended when its time was up, though nobody looked: the key is not part of it."""
    session = Session()
    session.capture(Capture.POSTAL_CODE, ZIP)
    session.now_s += 60
    session.key("9")

    assert session.fields["PaymentCardPostalCode"] == ZIP
    assert not session.waits()


def test_too_early_is_no_time() -> None:
    """Before the time is up nothing comes of it."""
    session = Session()
    session.capture(Capture.POSTAL_CODE, ZIP)
    before = len(session.effects)
    session.wait(1)

    assert before == len(session.effects)


# --- Keys ------------------------------------------------------------------------------------------------------------


def test_keys_that_nobody_waits_for() -> None:
    """Between captures the caller's keys are not this payment's; neither is what no keypad has."""
    session = Session()
    session.key("4*#")
    session.capture(Capture.PAYMENT_CARD_NUMBER)
    before = len(session.effects)
    for key in ("A", "", "41", "\uff14"):
        session.keep(session.payment.press(key, session.now_s))

    assert before == len(session.effects)
    assert not session.payment.is_over


def test_keys_are_heard_as_marks() -> None:
    """Of a digit nothing is seen but that there was one, and for which step; `#` and `*` hide nothing."""
    session = Session()
    session.capture(Capture.POSTAL_CODE, "94#")
    session.capture(Capture.POSTAL_CODE, "*")

    heard = [effect for effect in session.effects if isinstance(effect, Hears)]
    assert [Hears(shown, "postal-code") for shown in "xx#*"] == heard


def test_star_ends_it() -> None:
    """`*` while keys are awaited is the end, and what was captured is shown once more."""
    session = Session()
    session.capture(Capture.EXPIRATION_DATE, EXPIRY)
    session.capture(Capture.PAYMENT_CARD_NUMBER, "411*")

    assert session.payment.is_over
    assert session.fields["Result"] == "caller-interrupted-with-star"
    assert session.fields["ExpirationDate"] == EXPIRY
    assert dict.fromkeys(IDS, "").items() <= session.fields.items()


# --- The end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keyed", [{}, dict(list(KEYED.items())[:3]), dict(list(KEYED.items())[1:2])])
def test_completed_too_soon(keyed: Mapping[Capture, str]) -> None:
    """As long as anything is required a payment cannot be completed, and goes on."""
    session = Session().capture_all(keyed)

    assert session.complete() is PayError.INCOMPLETE
    assert not session.payment.is_over


def test_the_order_of_a_card() -> None:
    """What goes to the connector is all that was keyed and all that the agent gave, under one transaction id."""
    opening = replace(CHARGE, currency="eur", description="d", parameters={"a": "b"}, connector="Other")
    session = Session(opening).capture_all()
    session.complete()

    (sent,) = session.sent

    assert sent.ticket == TICKET
    order = sent.order
    assert ("Other", Method.CHARGE, TRANSACTION) == (order.connector, order.method, order.transaction_id)
    assert ("9.99", "eur", "d", {"a": "b"}) == (order.amount, order.currency, order.description, order.parameters)
    assert (
        KeyedCard(number=Secret(VISA), expiry=EXPIRY, security_code=Secret(CODE), postal_code=ZIP) == order.instrument
    )
    assert session.payment.is_processing
    assert not session.waits()


def test_the_order_of_a_card_with_less() -> None:
    """What was not asked for is not there."""
    opening = replace(TOKENIZE, security_code=False, postal_code=False)
    session = Session(opening).capture_all(dict(list(KEYED.items())[:2]))
    session.complete()

    order = session.sent[0].order
    assert (Method.TOKENIZE, None) == (order.method, order.amount)
    assert KeyedCard(number=Secret(VISA), expiry=EXPIRY) == order.instrument


def test_the_order_of_a_bank_account() -> None:
    """Routing number and account number."""
    session = Session(ACH).capture_all(KEYED_ACCOUNT)
    session.complete()

    assert KeyedAccount(routing_number=ROUTING, account_number=Secret(BANK_ACCOUNT)) == session.sent[0].order.instrument


@pytest.mark.parametrize(
    ("opening", "ids"),
    [
        (CHARGE, {"PaymentConfirmationCode": "id_1", "PaymentToken": "", "ProfileId": ""}),
        (TOKENIZE, {"PaymentConfirmationCode": "", "PaymentToken": "id_1", "ProfileId": ""}),
        (ACH, {"PaymentConfirmationCode": "id_1", "PaymentToken": "", "ProfileId": ""}),
    ],
    ids=["charge", "tokenize", "ach"],
)
def test_success(opening: Opening, ids: Mapping[str, str]) -> None:
    """The last callback has the result, the id in its place, and all that was captured, masked; no error fields."""
    is_card = opening is not ACH
    session = Session(opening).capture_all(KEYED if is_card else KEYED_ACCOUNT)
    session.complete(NEXT_URL)
    session.settle(Settled(id="id_1", parameters={"receipt": "r"}))

    captured = {
        "PaymentCardNumber": "xxxxxxxxxxxx1111",
        "PaymentCardType": "visa",
        "ExpirationDate": EXPIRY,
        "SecurityCode": "xxx",
        "PaymentCardPostalCode": ZIP,
    }
    if not is_card:
        captured = {"BankAccountNumber": "*******92", "BankRoutingNumber": ROUTING}
    expected = {**session.reports[0].fields, "Result": "success", **ids, **captured}
    last = dict(session.fields)

    assert re.fullmatch(r"2026-11-24T12:00:\d\d\.408Z", last.pop("DateUpdated"))
    assert expected == last
    assert session.reports[-1].url == NEXT_URL
    assert session.payment.is_over


def test_connector_parameters_by_switch() -> None:
    """`PayConnector_*` are for `<Pay>`; by switch they come here too, but never with the card in them."""
    session = Session(parameters_in_callbacks=True).capture_all()
    session.complete()
    session.settle(Settled(id="ch_1", parameters={"receipt": "r", "echo": f"card {VISA}"}))

    assert ("r", "card ****************") == (
        session.fields["PayConnector_receipt"],
        session.fields["PayConnector_echo"],
    )


@pytest.mark.parametrize(
    ("connector_error", "told"),
    [("card_declined", "card_declined"), (None, ""), (f"{VISA} {CODE} no", "**************** *** no")],
)
def test_failure(connector_error: str | None, told: str) -> None:
    """The last callback has Twilio's code, its text, and the endpoint's own words, without the card in them."""
    session = Session().capture_all()
    session.complete()
    failed = Failed(error=PayError.CHARGE_REJECTED, payment_error="card is declined", connector_error=connector_error)
    session.settle(failed)

    assert {
        "Result": "payment-connector-error",
        "PayErrorCode": "64008",
        "PaymentError": "card is declined",
        "ConnectorError": told,
        **dict.fromkeys(IDS, ""),
    }.items() <= session.fields.items()
    assert session.payment.is_over


@pytest.mark.parametrize(
    ("number", "id_", "told"),
    [
        (BANK_ACCOUNT, f"tok_{BANK_ACCOUNT}9", "tok_*********9"),
        ("1234", "tok_1234", "tok_****"),
        ("1234", "tok_12345", "tok_12345"),
        (BANK_ACCOUNT, VISA, VISA),
    ],
)
def test_ids_with_the_number_in_them(number: str, id_: str, told: str) -> None:
    """An id is as it came, though it look like a card number; only what was keyed is masked in it."""
    session = Session(ACH).capture_all({**KEYED_ACCOUNT, Capture.BANK_ACCOUNT_NUMBER: number + "#"})
    session.complete()
    session.settle(Settled(id=id_))

    assert told == session.fields["PaymentConfirmationCode"]


def test_a_settlement_that_nobody_waits_for() -> None:
    """Before it is sent, with another ticket, or twice: nothing comes of it."""
    session = Session().capture_all()
    session.settle(Settled(id="ch_0"))
    session.complete()
    session.settle(Settled(id="ch_0"), TICKET + 1)
    assert not session.payment.is_over
    session.settle(Settled(id="ch_1"))
    session.settle(Settled(id="ch_2"))

    assert ["ch_1"] == [
        report.fields["Result"] and report.fields[IDS[0]] for report in session.reports if "Result" in report.fields
    ]


@pytest.mark.parametrize(
    ("result", "told"),
    [("absent", None), ("caller-interrupted-with-star", "caller-interrupted-with-star")],
)
def test_cancel(result: str, told: str | None) -> None:
    """An agent may cancel at any point; what that is called is not documented, so it is a switch."""
    session = Session(cancel_result=result)
    session.capture(Capture.PAYMENT_CARD_NUMBER, "4")

    assert session.cancel(NEXT_URL) is None
    assert told == session.fields.get("Result")
    assert dict.fromkeys(IDS, "").items() <= session.fields.items()
    assert (NEXT_URL, True) == (session.reports[-1].url, session.payment.is_over)


@pytest.mark.parametrize("keys", ["", "4", VISA])
def test_hanging_up(keys: str) -> None:
    """The payment ends with the call."""
    session = Session()
    session.capture(Capture.PAYMENT_CARD_NUMBER, keys)
    session.hang_up()
    session.hang_up()

    assert ["caller-hung-up"] == [told for told in column(session, "Result") if told is not None]
    assert session.payment.is_over


def test_hanging_up_while_it_is_processed() -> None:
    """What was sent is waited for, since the money may have moved: its result is what is told."""
    session = Session().capture_all()
    session.complete()
    session.hang_up()

    assert not session.payment.is_over

    session.settle(Settled(id="ch_1"))

    assert ["success"] == [told for told in column(session, "Result") if told is not None]


def test_a_card_that_expired_meanwhile() -> None:
    """What was good when it was keyed may not be when it is sent: then it is not sent."""
    session = Session()
    keyed = {**KEYED, Capture.EXPIRATION_DATE: "1126"}
    session.capture_all(keyed)
    session.now_s += timedelta(days=8).total_seconds()
    session.complete()

    assert not session.sent
    assert ("validation-error", "invalid-date", "64020") == tuple(
        session.fields[name] for name in ("Result", "PaymentError", "PayErrorCode")
    )


@pytest.mark.parametrize("is_settled", [False, True])
def test_nothing_can_be_asked_for_after_completion(is_settled: bool) -> None:  # noqa: FBT001 - a column
    """While it is processed, and after that, every request is refused, and keys are for nobody."""
    session = Session().capture_all()
    session.complete()
    if is_settled:
        session.settle(Settled(id="ch_1"))
    before = list(session.effects)

    assert session.capture(Capture.PAYMENT_CARD_NUMBER, VISA) is PayError.INVALID_OPERATION
    assert session.complete() is PayError.INVALID_OPERATION
    assert session.cancel() is PayError.INVALID_OPERATION
    session.wait(1000)
    assert before == session.effects


# --- Confirmation ----------------------------------------------------------------------------------------------------

CONFIRMED = replace(CHARGE, confirmation=True)


def test_the_caller_confirms() -> None:
    """Asked with the last four digits, the caller presses 1, and only then is it sent."""
    session = Session(CONFIRMED).capture_all()

    assert session.complete() is None
    (question,) = [effect for effect in session.effects if isinstance(effect, Speaks)]
    assert question == Speaks(
        "Your card number, ending in 1 1 1 1. To confirm, press 1. To cancel, press 2.", step="payment-processing"
    )
    assert session.waits()
    assert not session.sent

    session.key("3#1")

    assert len(session.sent) == 1
    assert not session.waits()


@pytest.mark.parametrize(
    ("account", "ending"), [("12345678", ", ending in 5 6 7 8"), ("123456", ", ending in 5 6"), ("123", "")]
)
def test_the_end_of_an_account_number(account: str, ending: str) -> None:
    """Of a short account number less is said, and of a very short one nothing."""
    session = Session(replace(ACH, confirmation=True), account_number_digits_min=1)
    session.capture_all({**KEYED_ACCOUNT, Capture.BANK_ACCOUNT_NUMBER: account + "#"})
    session.complete()

    (question,) = [effect for effect in session.effects if isinstance(effect, Speaks)]
    assert f"Your account number{ending}. To confirm, press 1. To cancel, press 2." == question.text


@pytest.mark.parametrize(
    ("result", "told"), [("absent", None), ("caller-interrupted-with-star", "caller-interrupted-with-star")]
)
def test_the_caller_does_not_confirm(result: str, told: str | None) -> None:
    """2 cancels the payment, as the agent could."""
    session = Session(CONFIRMED, cancel_result=result).capture_all()
    session.complete()
    session.key("2")

    assert session.payment.is_over
    assert told == session.fields.get("Result")
    assert not session.sent


def test_star_while_confirming() -> None:
    """`*` is the end there too."""
    session = Session(CONFIRMED).capture_all()
    session.complete()
    session.key("*")

    assert session.fields["Result"] == "caller-interrupted-with-star"


def test_the_caller_does_not_answer() -> None:
    """Without an answer in time it is the agent's turn again, who may complete once more."""
    session = Session(CONFIRMED).capture_all()
    session.complete()
    session.wait(5)

    assert ("input-timeout", False) == (session.fields["ErrorType"], session.waits())
    assert {"Capture", "PartialResult", "Result"}.isdisjoint(session.fields)

    session.complete()
    session.key("1")

    assert len(session.sent) == 1


def test_an_agent_goes_on_while_the_caller_is_asked() -> None:
    """Not to complete it twice; but to capture again, or to cancel."""
    session = Session(CONFIRMED).capture_all()
    session.complete()

    assert session.complete() is PayError.INVALID_OPERATION
    assert session.capture(Capture.EXPIRATION_DATE, "1231") is None
    session.complete()
    assert session.cancel() is None
    assert session.payment.is_over


# --- Another start ---------------------------------------------------------------------------------------------------


def test_another_start_is_told() -> None:
    """Who wanted another payment hears which is in progress and how far it is; this one goes on as it was."""
    session = Session()
    session.capture(Capture.PAYMENT_CARD_NUMBER, "4")
    (told,) = session.payment.interfered(NEXT_URL, session.now_s)
    assert isinstance(told, Reports)

    assert (NEXT_URL, PAYMENT, "session-in-progress") == (told.url, told.fields["Sid"], told.fields["ErrorType"])
    session.key(VISA[1:])
    assert (URL, "xxxxxxxxxxxx1111") == (session.reports[-1].url, session.fields["PaymentCardNumber"])


# --- Whatever happens ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keyed", "is_good"),
    [(VISA, False), (VISA[:10], False), (VISA[-8:], False), (VISA[:5], True), (ZIP, True)],
    ids=["card", "its start", "its end", "five digits", "postal code"],
)
def test_a_card_number_keyed_as_a_postal_code_is_not_shown(keyed: str, is_good: bool) -> None:  # noqa: FBT001 - expected
    """Postal codes are clear in callbacks, so what is part of the card's number is no postal code."""
    session = Session()
    session.capture(Capture.PAYMENT_CARD_NUMBER, VISA)

    session.capture(Capture.POSTAL_CODE, keyed + "#")

    shown = [effect.fields.get("PaymentCardPostalCode") for effect in session.effects if isinstance(effect, Reports)]
    assert (keyed in shown) is is_good


CARDS = ("4111111111111111", "378282246310005", "5555555555554444", "4012888888881881", "6011111111111117")
ACCOUNTS = ("508862392", "12345678", "98765432109876543")
EXAMPLES = settings(max_examples=150, stateful_step_count=40, deadline=None)
UNTIL_FOUND = settings(
    EXAMPLES,
    max_examples=1000,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
)
DIGITS_SHOWN = {"PaymentCardNumber": 4, "SecurityCode": 0, "BankAccountNumber": 2}


class LeakError(AssertionError):
    """A number left unmasked."""


class LastCallbackError(AssertionError):
    """There was not exactly one last callback."""


class Payment(RuleBasedStateMachine):
    """One payment, and everything that agent, caller, endpoint and clock can do to it."""

    kind: ClassVar[type[AgentPayment]] = AgentPayment

    def __init__(self) -> None:
        super().__init__()
        self.now_s = NOW_S
        self.payment: AgentPayment | None = None
        self.is_bank = False
        self.sent = 0
        self.last = 0

    def carry_out(self, effects: Sequence[Effect]) -> None:
        """Look at every effect as the world would see it."""
        was_over = self.last > 0
        if was_over and effects:
            raise LastCallbackError("something came after the last callback")
        for effect in effects:
            text = str(effect)
            # An account has nine digits, as an American postal code may have; it is asked for by bank payments only.
            if any(number in text for number in (*CARDS, *(ACCOUNTS if self.is_bank else ()))):
                raise LeakError(text)
            match effect:
                case Transacts():
                    self.sent += 1
                case Reports():
                    self.look(effect.fields)
                    self.last += effect.why == "payment end"
                case _:
                    pass

    def look(self, fields: Mapping[str, str]) -> None:
        """No callback shows more than it may."""
        for name, most in DIGITS_SHOWN.items():
            if len(re.findall(r"\d", fields.get(name, ""))) > most:
                raise LeakError(name)

    @property
    def going(self) -> AgentPayment:
        """The payment that was started."""
        assert self.payment is not None
        return self.payment

    # --- What happens ---

    @precondition(lambda self: self.payment is None)
    @rule(
        method=st.sampled_from([PaymentMethod.CREDIT_CARD, PaymentMethod.CREDIT_CARD, PaymentMethod.ACH_DEBIT]),
        amount=st.sampled_from([None, "9.99"]),
        flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
        matching=st.sets(st.sampled_from(CARD_STEPS)),
        switches=st.sampled_from(
            [
                DEFAULTS,
                Switches(
                    capture_wait="timeout",
                    postal_code_length="exactly",
                    card_mask="dashed",
                    parameters_in_callbacks=True,
                ),
            ]
        ),
    )
    def start(
        self,
        method: PaymentMethod,
        amount: str | None,
        flags: tuple[bool, bool, bool],
        matching: set[Step],
        switches: Switches,
    ) -> None:
        """Any payment begins."""
        self.is_bank = method is PaymentMethod.ACH_DEBIT
        opening = Opening(
            status_callback=URL,
            amount=amount,
            payment_method=method,
            security_code=flags[0],
            postal_code=flags[1],
            confirmation=flags[2],
            matching=matching if method is PaymentMethod.CREDIT_CARD else (),
        )
        self.payment = self.kind(
            account_sid=ACCOUNT,
            call_sid=CALL,
            sid=PAYMENT,
            opening=opening,
            switches=switches,
            new_transaction_id=lambda: TRANSACTION,
        )
        self.carry_out(self.payment.start(self.now_s))

    @precondition(lambda self: self.payment is not None)
    @rule(what=st.sampled_from(Capture), seconds=st.floats(0, 10))
    def capture(self, what: Capture, seconds: float) -> None:
        """The agent asks for anything."""
        self.now_s += seconds
        came = self.going.capture(what, URL, self.now_s)
        if isinstance(came, PayError):
            assert came is PayError.INVALID_OPERATION
        else:
            self.carry_out(came)

    @precondition(lambda self: self.payment is not None and self.payment.required)
    @rule()
    def capture_what_is_missing(self) -> None:
        """The agent asks for what is needed, and the caller keys it well."""
        what = self.going.required[0]
        came = self.going.capture(what, URL, self.now_s)
        if not isinstance(came, PayError):
            self.carry_out(came)
            good = {
                Step.PAYMENT_CARD_NUMBER: VISA,
                Step.EXPIRATION_DATE: EXPIRY,
                Step.SECURITY_CODE: CODE,
                Step.POSTAL_CODE: ZIP,
                Step.BANK_ROUTING_NUMBER: ROUTING,
                Step.BANK_ACCOUNT_NUMBER: BANK_ACCOUNT,
            }
            self.press(good[what.step] + "#")

    @precondition(lambda self: self.payment is not None)
    @rule(status=st.sampled_from([Status.COMPLETE, Status.COMPLETE, Status.COMPLETE, Status.CANCEL]))
    def end(self, status: Status) -> None:
        """The agent completes, or less often cancels."""
        is_missing = bool(self.going.required)
        came = (self.going.complete if status is Status.COMPLETE else self.going.cancel)(URL, self.now_s)
        if isinstance(came, PayError):
            assert came is PayError.INVALID_OPERATION or (is_missing and came is PayError.INCOMPLETE)
        else:
            self.carry_out(came)

    @precondition(lambda self: self.payment is not None)
    @rule(
        keys=st.one_of(
            st.sampled_from([*CARDS, *ACCOUNTS, EXPIRY, CODE, AMEX_CODE, ROUTING]),
            st.text("0123456789#", min_size=1, max_size=8),
            st.sampled_from(["1", "2", "#", "*"]),
        )
    )
    def key(self, keys: str) -> None:
        """The caller keys whatever comes to mind, a card number most often, wherever it belongs."""
        self.press(keys)

    @precondition(lambda self: self.payment is not None)
    @rule(seconds=st.sampled_from([0.5, 4.9, 5.0, 60.0, 1e8]))
    def wait(self, seconds: float) -> None:
        """Time passes, with somebody who looks at the clock when asked to."""
        self.now_s += seconds
        self.carry_out(self.going.passed(self.now_s))
        assert self.going.wake_at_s is None or self.going.wake_at_s > self.now_s

    @precondition(lambda self: self.payment is not None)
    @rule(
        settlement=st.sampled_from(
            [
                Settled(id="ch_1"),
                Settled(id=f"{CARDS[0]}/{BANK_ACCOUNT}", parameters={"echo": f"{CARDS[1]}{CARDS[2]}"}),
                Failed(
                    error=PayError.CHARGE_REJECTED, payment_error="no", connector_error=f"{CARDS[0]} {BANK_ACCOUNT}"
                ),
            ]
        )
    )
    def settle(self, settlement: Settlement) -> None:
        """The endpoint answers, when nobody asked too; what it echoes is what it was sent."""
        self.carry_out(self.going.settled(0, self.echoed(settlement), self.now_s))

    @precondition(lambda self: self.payment is not None)
    @rule()
    def hang_up(self) -> None:
        """The caller hangs up."""
        self.carry_out(self.going.hung_up(self.now_s))

    def press(self, keys: str) -> None:
        """One key after the other."""
        for key in keys:
            self.carry_out(self.going.press(key, self.now_s))

    def echoed(self, settlement: Settlement) -> Settlement:
        """Make the endpoint repeat the number of this payment, and no other: it knows none."""
        values = self.going._values  # noqa: SLF001 - what was sent
        secret = values.get(Step.PAYMENT_CARD_NUMBER) or values.get(Step.BANK_ACCOUNT_NUMBER)
        number = "" if secret is None else secret.reveal()
        if isinstance(settlement, Settled):
            return Settled(id=f"tok_{number}", parameters={"echo": f"number {number}"})
        return replace(settlement, connector_error=f"number {number}.")

    # --- What is always so ---

    @invariant()
    def there_is_one_last_callback(self) -> None:
        """One when it is over, none before; and the endpoint is asked once at most."""
        is_over = self.payment is not None and self.payment.is_over
        if self.last != is_over:
            raise LastCallbackError(self.last)
        assert self.sent <= 1

    @invariant()
    def it_waits_for_somebody(self) -> None:
        """It never hangs: over, sent, or with somebody whose turn it is; keys are wanted only while it is on."""
        if self.payment is not None:
            assert not (self.payment.wants_keys and (self.payment.is_over or self.payment.is_processing))
            assert self.payment.wake_at_s is None or self.payment.wants_keys

    def teardown(self) -> None:
        """However it stands, the end of the call and the endpoint's answer end it."""
        if self.payment is not None:
            self.hang_up()
            self.settle(Settled(id="ch_1"))
            assert self.payment.is_over
            self.there_is_one_last_callback()


class Unmasked(AgentPayment):
    """Shows what is being keyed."""

    def _shown_partly(self, step: Step) -> str:
        return f"{step}: {self._entered}"


class Chatty(AgentPayment):
    """Masks too little."""

    def _shown(self, step: Step, value: str) -> str:
        return value if step is Step.SECURITY_CODE else super()._shown(step, value)


class Impatient(AgentPayment):
    """Ends with the call, even while it is being processed, and then again."""

    def hung_up(self, now_s: float) -> Sequence[Effect]:  # noqa: ARG002 - it does not look
        return self._canceled()


class Trusting(AgentPayment):
    """Repeats what an endpoint says."""

    def _masked(self, text: str) -> str:
        return text


def test_whatever_happens_it_ends_once_and_shows_no_number() -> None:
    """Any captures, keys, times, answers and hang-ups, in any order."""
    run_state_machine_as_test(Payment, settings=EXAMPLES)


@pytest.mark.parametrize(
    ("broken", "error"),
    [(Unmasked, LeakError), (Chatty, LeakError), (Trusting, LeakError), (Impatient, LastCallbackError)],
)
def test_the_machine_finds_what_is_broken(broken: type[AgentPayment], error: type[AssertionError]) -> None:
    """The control: a payment that shows a number, or ends twice, is found out."""

    class Control(Payment):
        kind = broken

    with pytest.raises(error):
        run_state_machine_as_test(Control, settings=UNTIL_FOUND)
