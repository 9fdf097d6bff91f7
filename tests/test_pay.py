"""One <Pay>, from its first prompt to its action: every row of Twilio's tables, and every switch on them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generic_connector.payment import Method
from generic_connector.secret import Secret
from generic_connector.twilio.effects import Fetches, Hears, Plays, Reports, Speaks
from generic_connector.twilio.orders import Failed, KeyedAccount, KeyedCard, Order, Settled
from generic_connector.twilio.pay import KEYS_PER_ENTRY_MAX
from generic_connector.twilio.pay_connector import PayConnector, PaymentMethod, TokenType
from generic_connector.twilio.pay_errors import PayError
from generic_connector.twilio.switches import Switches
from phone_line import (
    ACCOUNT,
    ACCOUNT_SID,
    ACTION,
    AMEX,
    BANK_KEYS,
    CALL_SID,
    CARD_KEYS,
    CODE,
    CONNECTOR,
    EXPIRY,
    MASTERCARD,
    POSTAL_CODE,
    ROUTING,
    STATUS,
    VISA,
    Line,
)

CARD = "payment-card-number"
DATE = "expiration-date"
ZIP = "postal-code"
CVV = "security-code"
BANK = "bank-routing-number"
NUMBER = "bank-account-number"
WAIT = "payment-processing"

WRONG_LUHN = "4111111111111112"
JCB = "3566002020360505"
UNIONPAY = "6200000000000005"
VISA_13 = "4222222222222"
DINERS = "3065930009020004"


def document(attributes: str = "", inside: str = "", after: str = "") -> str:
    """Write a <Pay> with an action and a status callback."""
    return f'<Response><Pay action="{ACTION}" statusCallback="{STATUS}" {attributes}>{inside}</Pay>{after}</Response>'


def pay(attributes: str = "", inside: str = "", *, switches: Switches | None = None, keys: str = "") -> Line:
    """Call a <Pay>, and press keys."""
    line = Line(document(attributes, inside), switches=switches)
    line.keys(keys)
    return line


def order_of(line: Line) -> Order:
    """Return what the connector was asked, once."""
    [transacts] = line.transacts
    return transacts.order


# --- What is asked of the connector ---


def test_a_card_is_asked_for_step_by_step_and_charged() -> None:
    """Number, date, postal code, security code; then the connector gets what was keyed."""
    line = pay('chargeAmount="20.45" description="Order 66"', '<Parameter name="a" value="b"/>', keys=CARD_KEYS)

    assert [(CARD, "1", None), (DATE, "1", None), (ZIP, "1", None), (CVV, "1", None), (WAIT, "1", None)] == line.states
    assert Order(
        connector="Default",
        method=Method.CHARGE,
        transaction_id="transaction-1",
        instrument=KeyedCard(number=Secret(VISA), expiry=EXPIRY, security_code=Secret(CODE), postal_code=POSTAL_CODE),
        amount="20.45",
        currency="usd",
        description="Order 66",
        parameters={"a": "b"},
    ) == order_of(line)
    assert line.call.wake_at_s is None


def test_an_account_is_asked_for_in_two_steps() -> None:
    """Routing number, then account number."""
    line = pay('paymentMethod="ach-debit" currency="cad"', keys=BANK_KEYS)

    assert [(BANK, "1", None), (NUMBER, "1", None), (WAIT, "1", None)] == line.states
    assert Order(
        connector="Default",
        method=Method.TOKENIZE,
        transaction_id="transaction-1",
        instrument=KeyedAccount(routing_number=ROUTING, account_number=Secret(ACCOUNT)),
        currency="cad",
    ) == order_of(line)


@pytest.mark.parametrize(
    ("amount", "method", "expected"),
    [
        (None, Method.TOKENIZE, None),
        ("", Method.TOKENIZE, None),
        ("0", Method.TOKENIZE, None),
        ("0.00", Method.TOKENIZE, None),
        ("0.01", Method.CHARGE, "0.01"),
        ("10", Method.CHARGE, "10"),
        ("10.00", Method.CHARGE, "10.00"),
        ("1000000", Method.CHARGE, "1000000"),
    ],
)
def test_an_amount_makes_a_charge_and_none_a_token(amount: str | None, method: Method, expected: str | None) -> None:
    """More than nothing is charged, as the text that it was; otherwise the card is kept."""
    line = pay("" if amount is None else f'chargeAmount="{amount}"', keys=CARD_KEYS)

    assert (method, expected) == (order_of(line).method, order_of(line).amount)


@pytest.mark.parametrize(
    ("attributes", "steps", "postal_code"),
    [
        ("", [CARD, DATE, ZIP, CVV], POSTAL_CODE),
        ('securityCode="false"', [CARD, DATE, ZIP], POSTAL_CODE),
        ('postalCode="false"', [CARD, DATE, CVV], None),
        ('postalCode="10117"', [CARD, DATE, CVV], "10117"),
        ('postalCode="false" securityCode="false"', [CARD, DATE], None),
    ],
)
@pytest.mark.parametrize("order", ["postal-code-first", "security-code-first"])
def test_what_is_not_wanted_is_not_asked(
    attributes: str, steps: list[str], postal_code: str | None, order: str
) -> None:
    """No prompt for a security code that is not wanted, nor for a postal code that is not wanted or known."""
    line = pay(attributes, switches=Switches.model_validate({"prompt_order": order}))
    keyed = {CARD: VISA, DATE: EXPIRY, ZIP: POSTAL_CODE + "#", CVV: CODE}
    expected = list(steps)
    if order == "security-code-first" and ZIP in steps and CVV in steps:
        expected = [CARD, DATE, CVV, ZIP]

    line.keys("".join(keyed[step] for step in expected))

    assert [*expected, WAIT] == [step for step, _attempt, _error in line.states]
    instrument = order_of(line).instrument
    assert isinstance(instrument, KeyedCard)
    assert postal_code == instrument.postal_code
    assert (CVV in steps) is (instrument.security_code is not None)


# --- What the action is told ---

MASKED_CARD = {
    "PaymentMethod": "credit-card",
    "PaymentCardNumber": "xxxxxxxxxxxx1111",
    "PaymentCardType": "visa",
    "ExpirationDate": EXPIRY,
    "SecurityCode": "xxx",
    "PaymentCardPostalCode": POSTAL_CODE,
}
NO_CARD = {
    "PaymentMethod": "credit-card",
    "PaymentCardNumber": "",
    "PaymentCardType": "",
    "ExpirationDate": "",
    "SecurityCode": "",
    "PaymentCardPostalCode": "",
}
MASKED_ACCOUNT = {
    "PaymentMethod": "ach-debit",
    "BankAccountNumber": "*******89",
    "BankRoutingNumber": ROUTING,
    "BankAccountType": "consumer-checking",
}


def test_a_charge_tells_its_confirmation_code() -> None:
    """And the card, masked; what is of no use for a charge is there, and empty."""
    line = pay('chargeAmount="10"', keys=CARD_KEYS)
    line.settles(Settled(id="ch_1", parameters={"balance": "0.50", "reference": "r 1"}))

    assert {
        "Result": "success",
        **MASKED_CARD,
        "PaymentConfirmationCode": "ch_1",
        "PaymentToken": "",
        "PaymentError": "",
        "PayConnector_balance": "0.50",
        "PayConnector_reference": "r 1",
    } == line.told
    assert ACTION == line.fetches[-1].url


def test_a_tokenize_tells_its_token() -> None:
    """And an empty ProfileId, since a generic connector has none."""
    line = pay(keys=CARD_KEYS)
    line.settles(Settled(id="tok_1"))

    assert {
        "Result": "success",
        **MASKED_CARD,
        "PaymentConfirmationCode": "",
        "PaymentToken": "tok_1",
        "ProfileId": "",
        "PaymentError": "",
    } == line.told


@pytest.mark.parametrize(
    ("attributes", "switches", "expected"),
    [
        ("", Switches(), "consumer-checking"),
        ('bankAccountType="consumer-savings"', Switches(), "consumer-savings"),
        ('bankAccountType="commercial-checking"', Switches(), "commercial-checking"),
        ("", Switches(personal_account_names=True), "personal-checking"),
        ('bankAccountType="consumer-savings"', Switches(personal_account_names=True), "personal-savings"),
        ('bankAccountType="commercial-checking"', Switches(personal_account_names=True), "business-checking"),
        (
            'bankAccountType="commercial-savings"',
            Switches(personal_account_names=True, commercial_savings=True),
            "business-savings",
        ),
    ],
)
def test_an_account_is_told_masked_with_its_type(attributes: str, switches: Switches, expected: str) -> None:
    """All but two digits masked, the routing number clear, the type by either of two names."""
    line = pay(f'paymentMethod="ach-debit" chargeAmount="10" {attributes}', switches=switches, keys=BANK_KEYS)
    line.settles(Settled(id="ch_1"))

    assert {
        "Result": "success",
        **MASKED_ACCOUNT,
        "BankAccountType": expected,
        "PaymentConfirmationCode": "ch_1",
        "PaymentToken": "",
        "PaymentError": "",
    } == line.told


def test_a_literal_postal_code_is_told() -> None:
    """As one that was keyed."""
    line = pay('postalCode="SW1A 1AA"', keys=VISA + EXPIRY + CODE)
    line.settles()

    assert "SW1A 1AA" == line.told["PaymentCardPostalCode"]
    assert "SW1A 1AA" == line.reports[0]["PaymentCardPostalCode"]
    assert "PaymentCardPostalCode" not in pay('postalCode="94105" paymentMethod="ach-debit"').reports[0]


@pytest.mark.parametrize(
    ("switches", "number", "shown"),
    [
        (Switches(), VISA, "xxxxxxxxxxxx1111"),
        (Switches(card_mask="dashed"), VISA, "xxxx-xxxx-xxxx-1111"),
        (Switches(card_mask="dashed"), AMEX, "xxxx-xxxxxx-x0005"),
    ],
)
def test_how_a_card_number_is_masked_is_a_switch(switches: Switches, number: str, shown: str) -> None:
    """As observed, or as documented."""
    line = pay(switches=switches, keys=number + "*")

    assert shown == line.told["PaymentCardNumber"]


@pytest.mark.parametrize(
    ("mask", "number", "code", "shown"),
    [("xxx", VISA, "123", "xxx"), ("***", VISA, "123", "***"), ("xxx", AMEX, "1234", "xxxx")],
)
def test_how_a_security_code_is_masked_is_a_switch(mask: str, number: str, code: str, shown: str) -> None:
    """One mark for each digit: four for American Express."""
    line = pay(
        'postalCode="false"',
        switches=Switches.model_validate({"security_code_mask": mask}),
        keys=number + EXPIRY + code,
    )
    line.settles()

    assert shown == line.told["SecurityCode"]


@pytest.mark.parametrize(
    ("number", "types", "expected"),
    [
        (VISA, "visa", "visa"),
        (MASTERCARD, "mastercard", "mastercard"),
        (AMEX, "amex", "amex"),
        ("6011111111111117", "discover", "discover"),
        (DINERS, "diners-club", "diners-club"),
        (JCB, "jcb", "jcb"),
        ("6771798021000008", "maestro", "maestro"),
        (UNIONPAY, "visa", ""),
    ],
)
def test_the_type_of_the_card_is_told(number: str, types: str, expected: str) -> None:
    """By Twilio's names; its table knows no UnionPay."""
    line = pay(f'validCardTypes="{types}"', keys=number + "*")

    assert expected == line.told["PaymentCardType"]


# --- What goes wrong at a step ---

BAD_ENTRIES = [
    ("", "", None, CARD, "input-timeout"),
    ("", "411", None, CARD, "invalid-card-number"),
    ("", "#", "#", CARD, "invalid-card-number"),
    ("", WRONG_LUHN + "#", "#", CARD, "invalid-card-number"),
    ("", JCB, "key", CARD, "invalid-card-type"),
    ('validCardTypes="mastercard"', VISA, "key", CARD, "invalid-card-type"),
    ("", VISA, None, DATE, "input-timeout"),
    ("", VISA + "1326", "key", DATE, "invalid-date"),
    ("", VISA + "0026", "key", DATE, "invalid-date"),
    ("", VISA + "1026", "key", DATE, "invalid-date"),
    ("", VISA + "12", None, DATE, "invalid-date"),
    ("", VISA + EXPIRY, None, ZIP, "input-timeout"),
    ("", VISA + EXPIRY + "#", "#", ZIP, "invalid-postal-code"),
    ('minPostalCodeLength="5"', VISA + EXPIRY + "1234#", "#", ZIP, "invalid-postal-code"),
    ("", VISA + EXPIRY + MASTERCARD[:11], "key", ZIP, "invalid-postal-code"),
    ("", VISA + EXPIRY + VISA[-8:] + "#", "#", ZIP, "invalid-postal-code"),
    ("", VISA + EXPIRY + VISA[:10], None, ZIP, "invalid-postal-code"),
    ('postalCode="false"', VISA + EXPIRY, None, CVV, "input-timeout"),
    ('postalCode="false"', VISA + EXPIRY + "12#", "#", CVV, "invalid-security-code"),
    ('postalCode="false"', AMEX + EXPIRY + "123", None, CVV, "invalid-security-code"),
    ('paymentMethod="ach-debit"', "", None, BANK, "input-timeout"),
    ('paymentMethod="ach-debit"', "021000022", "key", BANK, "invalid-bank-routing-number"),
    ('paymentMethod="ach-debit"', "000000000", "key", BANK, "invalid-bank-routing-number"),
    ('paymentMethod="ach-debit"', ROUTING, None, NUMBER, "input-timeout"),
    ('paymentMethod="ach-debit"', ROUTING + "123", None, NUMBER, "invalid-bank-account-number"),
]


@pytest.mark.parametrize(
    ("attributes", "keys", "ended_by", "step", "error"),
    BAD_ENTRIES,
    ids=[f"{row[3]} {row[4]} {row[1]}" for row in BAD_ENTRIES],
)
def test_each_wrong_entry_is_told_and_asked_for_again(
    attributes: str, keys: str, ended_by: str | None, step: str, error: str
) -> None:
    """The same step, with the error, as attempt 2; when attempts run out, the action hears the error."""
    line = pay(f'maxAttempts="1" {attributes}', keys=keys)
    if ended_by is None:
        line.waits()

    assert (step, "2", error) == line.state()
    assert [(step, "1", None)] == line.states[-2:-1]
    line.waits()
    line.waits() if line.call.wake_at_s else None
    assert ("too-many-failed-attempts", "input-timeout") == (line.told["Result"], line.told["PaymentError"])
    assert (step, "2", "input-timeout") == line.state()
    assert "PayErrorCode" not in line.told


def test_the_last_wrong_entry_is_the_error_that_the_action_hears() -> None:
    """Its type, as PaymentError."""
    line = pay('maxAttempts="1"', keys=VISA + "1326" + "0026")

    assert ("too-many-failed-attempts", "invalid-date") == (line.told["Result"], line.told["PaymentError"])
    assert [(DATE, "1", None), (DATE, "2", "invalid-date"), (DATE, "2", "invalid-date")] == line.states[1:]


def test_each_step_has_attempts_of_its_own() -> None:
    """A mistake in the number leaves the date all of its attempts."""
    line = pay('maxAttempts="1"', keys=WRONG_LUHN + "#" + VISA + "1326" + EXPIRY)

    assert [(CARD, "1"), (CARD, "2"), (DATE, "1"), (DATE, "2"), (ZIP, "1")] == [state[:2] for state in line.states]


@pytest.mark.parametrize(
    ("attributes", "switches", "tries"),
    [
        ("", Switches(), 2),
        ("", Switches(default_max_attempts=2), 3),
        ("", Switches(default_max_attempts=3), 4),
        ('maxAttempts="1"', Switches(), 2),
        ('maxAttempts="2"', Switches(default_max_attempts=1), 3),
        ('maxAttempts="3"', Switches(), 4),
        ("", Switches(max_attempts_counts="tries"), 1),
        ('maxAttempts="3"', Switches(max_attempts_counts="tries"), 3),
    ],
)
def test_how_many_attempts_there_are_is_said_or_a_switch(attributes: str, switches: Switches, tries: int) -> None:
    """MaxAttempts counts repetitions, or by a switch all tries."""
    line = pay(attributes, switches=switches, keys=(WRONG_LUHN + "#") * tries)

    assert [str(attempt) for attempt in range(1, tries + 1)] == [state[1] for state in line.states if state[0] == CARD][
        :-1
    ]
    assert "too-many-failed-attempts" == line.told["Result"]


def test_what_follows_the_last_attempt_is_a_switch() -> None:
    """The action, or the next verb."""
    text = document(after="<Say>Call us.</Say>")
    keys = (WRONG_LUHN + "#") * 2
    line = Line(text, switches=Switches(attempts_exhausted="next-verb"))
    line.keys(keys)

    assert [] == [fetch for fetch in line.fetches if fetch.why == "action"]
    assert (CARD, "2", "invalid-card-number") == line.state()
    assert "Call us." == line.said[-1]
    assert ["completed"] == line.ended

    control = Line(text)
    control.keys(keys)
    assert "Call us." not in control.said
    assert "too-many-failed-attempts" == control.told["Result"]


# --- How an entry ends ---


@pytest.mark.parametrize(
    ("attributes", "keys", "step"),
    [
        ("", VISA, CARD),
        ("", AMEX, CARD),
        ("", VISA + EXPIRY, DATE),
        ('postalCode="false"', VISA + EXPIRY + CODE, CVV),
        ('postalCode="false"', AMEX + EXPIRY + "1234", CVV),
        ('paymentMethod="ach-debit"', ROUTING, BANK),
        ('paymentMethod="ach-debit"', ROUTING + "12345678901234567", NUMBER),
    ],
)
def test_an_entry_ends_when_it_cannot_become_longer(attributes: str, keys: str, step: str) -> None:
    """With its last key, and not before."""
    line = pay(attributes, keys=keys[:-1])
    assert step == line.state()[0]

    line.keys(keys[-1])

    assert step == line.states[-2][0]
    assert "1" == line.state()[1]


@pytest.mark.parametrize("ending", ["#", None])
@pytest.mark.parametrize(
    ("attributes", "keys", "step"),
    [
        ("", VISA_13, CARD),
        ("", VISA + EXPIRY + "12345", ZIP),
        ("", VISA + EXPIRY + "1234567890", ZIP),
        ('paymentMethod="ach-debit"', ROUTING + "1234", NUMBER),
    ],
)
def test_the_pound_key_and_the_timeout_end_an_entry(attributes: str, keys: str, step: str, ending: str | None) -> None:
    """An entry that may be longer is judged as it stands then."""
    line = pay(attributes, keys=keys)
    assert step == line.state()[0]

    if ending is None:
        line.waits()
    else:
        line.keys(ending)

    assert step == line.states[-2][0]
    assert "1" == line.state()[1]


@pytest.mark.parametrize(("attributes", "timeout_s"), [("", 5), ('timeout="1"', 1), ('timeout="60"', 60)])
def test_the_timeout_counts_from_the_last_key(attributes: str, timeout_s: int) -> None:
    """And from the prompt, before the first. Before it, nothing comes of the time."""
    line = pay(attributes)
    assert line.now_s + timeout_s == line.call.wake_at_s
    before = list(line.effects)

    line.effects += line.call.passed(line.now_s + timeout_s - 0.01)
    assert before == line.effects

    line.now_s += timeout_s - 0.5
    line.keys("4")
    assert line.now_s + timeout_s == line.call.wake_at_s


def test_a_key_that_comes_too_late_belongs_to_the_next_attempt() -> None:
    """Whoever is late to say what time it is."""
    line = pay(keys="411")
    line.now_s += 6
    line.keys("4")

    assert (CARD, "2", "invalid-card-number") == line.state()
    line.keys(VISA[1:])
    assert (DATE, "1", None) == line.state()


def test_an_entry_has_its_bounds() -> None:
    """Who leans on a key is judged after so many."""
    line = pay('minPostalCodeLength="100"', keys=VISA + EXPIRY + "1" * (KEYS_PER_ENTRY_MAX - 1))
    assert (ZIP, "1", None) == line.state()

    line.keys("1")

    assert (ZIP, "2", "invalid-postal-code") == line.state()


@pytest.mark.parametrize("switch", ["at-least", "exactly"])
def test_how_long_a_postal_code_is_is_a_switch(switch: str) -> None:
    """Five digits or more; or five, after which it ends by itself."""
    switches = Switches.model_validate({"postal_code_length": switch})
    line = pay('minPostalCodeLength="5"', switches=switches, keys=VISA + EXPIRY + "12345")

    assert (CVV if switch == "exactly" else ZIP) == line.state()[0]


@pytest.mark.parametrize(
    ("switches", "keys", "error"),
    [
        (Switches(), VISA, None),
        (Switches(visa_lengths="as-documented", test_numbers_pass=False), VISA + "#", "invalid-card-number"),
        (Switches(test_numbers_pass=False), DINERS + "#", "invalid-card-number"),
        (Switches(test_numbers_pass=True), DINERS, None),
    ],
)
def test_which_numbers_pass_is_a_switch(switches: Switches, keys: str, error: str | None) -> None:
    """A table without 16-digit Visa, and test numbers that fail Luhn."""
    line = pay('validCardTypes="visa diners-club"', switches=switches, keys=keys)

    assert ((DATE, "1", None) if error is None else (CARD, "2", error)) == line.state()


@pytest.mark.parametrize(("least", "error"), [(4, None), (7, "invalid-bank-account-number")])
def test_how_short_an_account_number_may_be_is_a_switch(least: int, error: str | None) -> None:
    """No source says."""
    line = pay(
        'paymentMethod="ach-debit"', switches=Switches(account_number_digits_min=least), keys=ROUTING + "123456#"
    )

    assert ((WAIT, "1", None) if error is None else (NUMBER, "2", error)) == line.state()


# --- The caller leaves ---

STEPS = [
    ("", "", CARD),
    ("", "4111", CARD),
    ("", VISA, DATE),
    ("", VISA + EXPIRY, ZIP),
    ("", VISA + EXPIRY + POSTAL_CODE + "#", CVV),
    ('paymentMethod="ach-debit"', "", BANK),
    ('paymentMethod="ach-debit"', ROUTING + "1", NUMBER),
]


@pytest.mark.parametrize(("attributes", "keys", "step"), STEPS)
def test_the_star_ends_it_at_any_step(attributes: str, keys: str, step: str) -> None:
    """The action hears so, with what was captured, and the call goes on with what it answers."""
    line = pay(attributes, keys=keys)
    assert step == line.state()[0]

    line.keys("*")

    assert "caller-interrupted-with-star" == line.told["Result"]
    assert "" == line.told["PaymentError"]
    line.answers("<Response><Say>As you like.</Say></Response>")
    assert "As you like." == line.said[-1]


@pytest.mark.parametrize(("attributes", "keys", "step"), STEPS)
def test_a_hang_up_at_any_step_is_told(attributes: str, keys: str, step: str) -> None:
    """The action hears so, though there is no call any more."""
    line = pay(attributes, keys=keys)
    assert step == line.state()[0]

    line.hangs_up()

    assert "caller-hung-up" == line.told["Result"]
    assert ["completed"] == line.ended
    assert "completed" == line.call.fields()["CallStatus"]


def test_what_was_captured_before_the_end_is_told() -> None:
    """Masked, and the rest is empty."""
    line = pay(keys=VISA + EXPIRY + "*")

    assert {
        **NO_CARD,
        "Result": "caller-interrupted-with-star",
        "PaymentCardNumber": "xxxxxxxxxxxx1111",
        "PaymentCardType": "visa",
        "ExpirationDate": EXPIRY,
        "PaymentConfirmationCode": "",
        "PaymentToken": "",
        "ProfileId": "",
        "PaymentError": "",
    } == line.told


def test_while_the_connector_is_asked_nobody_is_listened_to() -> None:
    """Not even to a star: the money may have moved."""
    line = pay('chargeAmount="1"', keys=CARD_KEYS)
    before = len(line.effects)

    line.keys("*1#")

    assert [Hears("*", WAIT), Hears("x", WAIT), Hears("#", WAIT)] == line.effects[before:]
    line.settles(Settled(id="ch_1"))
    assert "success" == line.told["Result"]


# --- Prompts ---


def test_without_prompts_the_words_are_ours() -> None:
    """Each step has a sentence, and each error one before it; in the language of the <Pay>."""
    line = pay('language="en-GB"', keys=WRONG_LUHN + "#" + CARD_KEYS)

    assert [
        "Please key in the number of your card.",
        "That is not the number of a card. Please key in the number of your card.",
    ] == line.said[:2]
    assert [CARD, CARD, DATE, ZIP, CVV, WAIT] == [spoken.step for spoken in line.of(Speaks)]
    assert {"en-GB"} == {spoken.language for spoken in line.of(Speaks)}
    assert 6 == len(set(line.said))


PROMPTS = "".join(
    f'<Prompt for="{CARD}" {attributes}><Say>{said}</Say></Prompt>'
    for attributes, said in [
        ("", "plain"),
        ('attempt="2 3"', "again"),
        ('errorType="timeout invalid-card-type"', "error"),
        ('errorType="invalid-card-type" attempt="3"', "error at three"),
        ('errorType="invalid-card-type"', "later"),
        ('cardType="visa"', "never"),
    ]
)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], "plain"),
        (["#"], "again"),
        ([None], "error"),
        ([JCB], "error"),
        ([None, JCB], "error at three"),
        ([None, None], "error"),
        ([None, WRONG_LUHN + "#"], "again"),
        ([None, None, "#"], "plain"),
    ],
)
def test_the_most_specific_prompt_wins(entries: list[str | None], expected: str) -> None:
    """Most attributes first; errorType before attempt; the first of equals; a plain one for the rest."""
    line = pay('maxAttempts="3"', PROMPTS)
    for keys in entries:
        if keys is None:
            line.waits()
        else:
            line.keys(keys)

    assert expected == line.said[-1]


@pytest.mark.parametrize(("number", "expected"), [(VISA, "three"), (AMEX, "four"), (MASTERCARD, "any")])
def test_a_prompt_may_be_for_a_card_type(number: str, expected: str) -> None:
    """Which is known once the number is: American Express has four digits."""
    prompts = (
        f'<Prompt for="{CVV}"><Say>any</Say></Prompt>'
        f'<Prompt for="{CVV}" cardType="visa"><Say>three</Say></Prompt>'
        f'<Prompt for="{CVV}" cardType="amex"><Say>four</Say></Prompt>'
    )
    line = pay('postalCode="false"', prompts, keys=number + EXPIRY)

    assert expected == line.said[-1]


def test_two_attributes_win_over_one() -> None:
    """Even over errorType, which wins over each of them alone."""
    prompts = (
        f'<Prompt for="{CVV}" errorType="invalid-security-code"><Say>error</Say></Prompt>'
        f'<Prompt for="{CVV}" attempt="2" cardType="visa"><Say>visa again</Say></Prompt>'
    )
    visa = pay('postalCode="false"', prompts, keys=VISA + EXPIRY + "1#")
    mastercard = pay('postalCode="false"', prompts, keys=MASTERCARD + EXPIRY + "1#")

    assert ["visa again", "error"] == [visa.said[-1], mastercard.said[-1]]


@pytest.mark.parametrize("step", [CARD, DATE, ZIP, CVV, WAIT])
def test_each_step_of_a_card_has_its_prompt(step: str) -> None:
    """Spoken once, when it comes to that step."""
    line = pay("", f'<Prompt for="{step}"><Say>Mine</Say></Prompt>', keys=CARD_KEYS)

    assert [step] == [spoken.step for spoken in line.of(Speaks) if spoken.text == "Mine"]


@pytest.mark.parametrize("step", [BANK, NUMBER, WAIT])
def test_each_step_of_an_account_has_its_prompt(step: str) -> None:
    """Spoken once, when it comes to that step."""
    line = pay('paymentMethod="ach-debit"', f'<Prompt for="{step}"><Say>Mine</Say></Prompt>', keys=BANK_KEYS)

    assert [step] == [spoken.step for spoken in line.of(Speaks) if spoken.text == "Mine"]


def test_a_prompt_is_said_played_and_paused() -> None:
    """A <Say> may have a language and a voice of its own; a recording's URL is resolved against the document's."""
    prompt = (
        f'<Prompt for="{CARD}"><Say language="fr-FR" voice="alice">Oui</Say><Pause length="2"/>'
        '<Play>card.mp3</Play><Play digits="1"/></Prompt>'
    )
    line = pay('timeout="5"', prompt)

    assert [
        Speaks("Oui", "fr-FR", "alice", CARD),
        Plays("https://app.example/card.mp3", None, CARD),
        Plays(None, "1", CARD),
    ] == line.effects[-4:-1]
    assert line.now_s + 2 + 5 == line.call.wake_at_s


def test_speech_takes_time_if_it_is_told_to() -> None:
    """Then the timeout begins at its end, and a key interrupts it."""
    prompt = f'<Prompt for="{CARD}"><Say>{"a" * 100}</Say></Prompt>'
    line = Line(document('timeout="5"', prompt), seconds_per_character=0.1)
    assert line.now_s + 10 + 5 == line.call.wake_at_s

    line.keys("4")

    assert line.now_s + 5 == line.call.wake_at_s


# --- Matching inputs ---

TWICE = "".join(f'<Prompt for="{step}" requireMatchingInputs="true"><Say>Q</Say></Prompt>' for step in (CARD, BANK))


@pytest.mark.parametrize(
    ("switch", "card", "bank"), [("both", True, True), ("card-only", True, False), ("bank-only", False, True)]
)
def test_matching_inputs_are_asked_for_twice(switch: str, card: bool, bank: bool) -> None:  # noqa: FBT001 - a table
    """Where a prompt of the step says so; for which steps at all is a switch."""
    switches = Switches.model_validate({"matching_inputs": switch})
    by_card = pay("", TWICE, switches=switches, keys=VISA)
    by_account = pay('paymentMethod="ach-debit"', TWICE, switches=switches, keys=ROUTING)

    assert card is (by_card.state()[0] == CARD)
    assert bank is (by_account.state()[0] == BANK)
    assert card is ("once more" in by_card.said[-1])
    by_card.keys(VISA if card else "")
    by_account.keys(ROUTING if bank else "")
    assert [(DATE, "1", None), (NUMBER, "1", None)] == [by_card.state(), by_account.state()]


def test_inputs_that_do_not_match_begin_the_step_again() -> None:
    """As one attempt, with its own error; both entries are asked for anew."""
    line = pay('maxAttempts="1"', TWICE, keys=VISA + MASTERCARD)
    assert (CARD, "2", "input-matching-failed") == line.state()

    line.keys(VISA + VISA)
    assert (DATE, "1", None) == line.state()


@pytest.mark.parametrize(("second", "error"), [("#", "input-matching-failed"), (None, "input-timeout")])
def test_no_second_input_begins_the_step_again(second: str | None, error: str) -> None:
    """The first is forgotten."""
    line = pay('maxAttempts="2"', TWICE, keys=VISA)
    if second is None:
        line.waits()
    else:
        line.keys(second)
    assert (CARD, "2", error) == line.state()

    line.keys(MASTERCARD)
    assert "once more" in line.said[-1]
    line.keys(MASTERCARD)
    assert (DATE, "1", None) == line.state()


# --- Status callbacks ---


def test_status_callbacks_tell_what_has_been_captured() -> None:
    """More at each step, masked; the call's own sids with it."""
    line = pay('statusCallbackMethod="GET"', keys=CARD_KEYS)

    sids = {"AccountSid": ACCOUNT_SID, "CallSid": CALL_SID, "Attempt": "1"}
    number = {"PaymentCardNumber": "xxxxxxxxxxxx1111", "PaymentCardType": "visa"}
    date = number | {"ExpirationDate": EXPIRY}
    postal = date | {"PaymentCardPostalCode": POSTAL_CODE}
    code = postal | {"SecurityCode": "xxx"}
    assert [
        sids | {"For": CARD},
        sids | {"For": DATE} | number,
        sids | {"For": ZIP} | date,
        sids | {"For": CVV} | postal,
        sids | {"For": WAIT} | code,
    ] == line.reports
    assert {("GET", STATUS)} == {(report.method, report.url) for report in line.of(Reports)}


def test_status_callbacks_of_an_account() -> None:
    """Its type is known from the first, and has the enumeration's name whatever the switch."""
    line = pay('paymentMethod="ach-debit"', switches=Switches(personal_account_names=True), keys=BANK_KEYS)

    kind = {"AccountSid": ACCOUNT_SID, "CallSid": CALL_SID, "Attempt": "1", "BankAccountType": "consumer-checking"}
    routing = kind | {"BankRoutingNumber": ROUTING}
    assert [
        kind | {"For": BANK},
        routing | {"For": NUMBER},
        routing | {"For": WAIT, "BankAccountNumber": "*******89"},
    ] == line.reports


def test_without_a_status_callback_nothing_is_reported() -> None:
    """The action is told all the same."""
    line = Line(f'<Response><Pay action="{ACTION}"/></Response>')
    line.keys(CARD_KEYS)
    line.settles()

    assert [] == line.reports
    assert "success" == line.told["Result"]


# --- What the connector says ---

FAILURES = [
    Failed(error=error, payment_error=error.title, connector_error=words)
    for error, words in [
        (PayError.CHARGE_REJECTED, "card_declined: Insufficient funds"),
        (PayError.TOKEN_REJECTED, "expired001"),
        (PayError.SERVICE_UNAVAILABLE, None),
        (PayError.CARD_REJECTED, "no"),
        (PayError.INVALID_TEST_CARD, None),
        (PayError.INVALID_TEST_ACCOUNT, None),
        (PayError.NOT_APPROVED, None),
    ]
]


@pytest.mark.parametrize("failed", FAILURES, ids=[failed.error.name for failed in FAILURES])
@pytest.mark.parametrize("field", ["ConnectorError", "connectorError"])
def test_a_connectors_no_is_told(failed: Failed, field: str) -> None:
    """The error's number and text, and the endpoint's own words by either spelling."""
    line = pay('chargeAmount="10"', switches=Switches.model_validate({"connector_error_field": field}), keys=CARD_KEYS)
    line.settles(failed)

    words = {} if failed.connector_error is None else {field: failed.connector_error}
    assert {
        "Result": "payment-connector-error",
        **MASKED_CARD,
        "PaymentConfirmationCode": "",
        "PaymentToken": "",
        "PaymentError": failed.error.title,
        "PayErrorCode": str(failed.error.value),
        **words,
    } == line.told


def test_percent_encoding_of_the_error_is_a_switch() -> None:
    """Twilio's samples decode it once more."""
    line = pay(switches=Switches(payment_error_encoding="percent"), keys=CARD_KEYS)
    line.settles(Failed(error=PayError.TOKEN_REJECTED, payment_error="50% off/now"))

    assert "50%25%20off%2Fnow" == line.told["PaymentError"]


@pytest.mark.parametrize(
    ("attributes", "keys", "number"), [("", CARD_KEYS, VISA), ('paymentMethod="ach-debit"', BANK_KEYS, ACCOUNT)]
)
@pytest.mark.parametrize("good", [True, False])
def test_a_number_that_the_endpoint_sends_back_is_masked(
    attributes: str,
    keys: str,
    number: str,
    good: bool,  # noqa: FBT001 - a table
) -> None:
    """Wherever it stands: an endpoint that echoes its request must not reach the application's log."""
    line = pay(attributes, keys=keys)
    line.settles(
        Settled(id=f"tok_{number}", parameters={"echo": f"for {number}", "n" + number: "1"})
        if good
        else Failed(error=PayError.TOKEN_REJECTED, payment_error=f"bad {number}", connector_error=f"no {number}.")
    )

    assert number not in repr(line.effects)
    assert number not in "".join(line.told) + "".join(line.told.values())


def test_an_id_may_look_like_a_card_number() -> None:
    """Some tokens are sixteen digits that pass Luhn. Only the very number is masked."""
    line = pay(keys=CARD_KEYS)
    line.settles(Settled(id=MASTERCARD))

    assert MASTERCARD == line.told["PaymentToken"]


def test_a_short_number_may_stand_in_an_id_by_chance() -> None:
    """An account number of six digits is not searched for."""
    line = pay('paymentMethod="ach-debit"', keys=ROUTING + "123456#")
    line.settles(Settled(id="ch_20123456"))

    assert "ch_20123456" == line.told["PaymentToken"]


# --- What is refused before anything is asked ---


def connector(**abilities: object) -> PayConnector:
    """Make an instance that differs from a working one in this."""
    given = {"unique_name": "Default", "url": CONNECTOR.url, "username": "u", "password": Secret("p"), **abilities}
    return PayConnector(**given)  # type: ignore[arg-type]  # a table of abilities


REFUSALS = [
    ("", connector(url="no URL"), PayError.CONFIGURATION, "payment-connector-error"),
    ("", connector(password=Secret("")), PayError.CONFIGURATION, "payment-connector-error"),
    ('chargeAmount="-1"', CONNECTOR, PayError.INVALID_CHARGE_AMOUNT, "validation-error"),
    ('chargeAmount="1.234"', CONNECTOR, PayError.INVALID_CHARGE_AMOUNT, "validation-error"),
    ('chargeAmount="$10"', CONNECTOR, PayError.INVALID_CHARGE_AMOUNT, "validation-error"),
    ('chargeAmount="1000000.01"', CONNECTOR, PayError.INVALID_CHARGE_AMOUNT, "validation-error"),
    ('paymentConnector="Desk"', CONNECTOR, PayError.UNKNOWN_CONNECTOR, "validation-error"),
    ("", connector(tokenizes=False), PayError.NO_TOKENIZATION, "payment-connector-error"),
    ('tokenType="payment-method"', CONNECTOR, PayError.NO_TOKEN_TYPE, "payment-connector-error"),
    (
        'tokenType="one-time"',
        connector(token_types=frozenset({TokenType.REUSABLE})),
        PayError.NO_TOKEN_TYPE,
        "payment-connector-error",
    ),
    ('chargeAmount="1"', connector(charges=False), PayError.NO_CHARGE, "payment-connector-error"),
    ("", connector(is_authorized=False), PayError.NOT_AUTHORIZED, "payment-connector-error"),
    (
        'chargeAmount="1" currency="eur"',
        connector(currencies=frozenset({"USD"})),
        PayError.NO_CURRENCY,
        "payment-connector-error",
    ),
    (
        'paymentMethod="ach-debit"',
        connector(payment_methods=frozenset({PaymentMethod.CREDIT_CARD})),
        PayError.NO_PAYMENT_METHOD,
        "payment-connector-error",
    ),
    ('paymentMethod="ach-debit"', connector(needs_avs_name=True), PayError.AVS_NAME_REQUIRED, "validation-error"),
    ("", connector(required_parameters=frozenset({"a"})), PayError.PARAMETER_MISSING, "validation-error"),
    (
        'bankAccountType="consumer-checking"',
        CONNECTOR,
        PayError.BANK_ACCOUNT_TYPE_WITH_CARD,
        "validation-error",
    ),
    ('maxAttempts="9"', CONNECTOR, PayError.INVALID_PARAMETER, "validation-error"),
]


@pytest.mark.parametrize(
    ("attributes", "instance", "error", "result"),
    REFUSALS,
    ids=[f"{row[2].value} {place}" for place, row in enumerate(REFUSALS)],
)
def test_what_cannot_be_done_is_refused_before_the_caller_is_asked(
    attributes: str, instance: PayConnector, error: PayError, result: str
) -> None:
    """The action hears the number and the title; the caller hears nothing, and no status is reported."""
    line = Line(document(attributes), connectors=[instance])

    assert (result, str(error.value)) == (line.told["Result"], line.told["PayErrorCode"])
    assert line.told["PaymentError"].startswith(error.title)
    assert [error.value] == line.warned
    assert [] == [*line.said, *line.reports, *line.transacts]
    line.answers("<Response><Say>Sorry.</Say></Response>")
    assert ["Sorry."] == line.said


def test_a_problem_of_an_attribute_says_what_is_allowed() -> None:
    """In the error that the action hears, with the line."""
    line = Line(document('maxAttempts="9" chargeAmount="-1"'))

    assert (
        'Pay: Invalid Parameter Value: line 1: <Pay>: "maxAttempts" must be a whole number, 1 to 3.'
        == line.told["PaymentError"]
    )


@pytest.mark.parametrize(("switch", "result"), [("included", None), ("excluded", "validation-error")])
def test_whether_a_million_may_be_charged_is_a_switch(switch: str, result: str | None) -> None:
    """Up to it, or less than it."""
    line = Line(document('chargeAmount="1000000"'), switches=Switches.model_validate({"largest_amount": switch}))

    assert (result is None) is bool(line.states)


def test_a_connector_is_chosen_by_its_name() -> None:
    """Default where none is named."""
    instances = [CONNECTOR, connector(unique_name="Desk")]
    orders = []
    for attributes in ("", 'paymentConnector="Desk"'):
        line = Line(document(attributes), connectors=instances)
        line.keys(CARD_KEYS)
        orders.append(order_of(line).connector)

    assert ["Default", "Desk"] == orders


# --- Secrets ---

NUMBERS = [VISA, MASTERCARD, AMEX, JCB, WRONG_LUHN, VISA_13]


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(NUMBERS),
    st.lists(st.sampled_from([*NUMBERS, EXPIRY, POSTAL_CODE, "#", "*", "1", "246"]), max_size=8),
)
def test_no_card_number_is_in_anything_that_is_told(first: str, rest: list[str]) -> None:
    """Whatever is keyed when: in no prompt, callback, warning, or repr of the session, eleven digits in a row."""
    line = pay('maxAttempts="3" validCardTypes="visa"', keys=first + "".join(rest))
    session = getattr(line.call, "_wait", None)

    told = repr(line.effects) + repr(session) + repr(getattr(getattr(session, "session", None), "__dict__", ""))

    assert [] == [number for number in NUMBERS for at in range(len(number) - 10) if number[at : at + 11] in told]


def test_that_search_finds_what_is_there() -> None:
    """Control: a number in an effect is found in its repr."""
    assert VISA in repr([Fetches(1, ACTION, "POST", {"PaymentCardNumber": VISA}, "action")])


@pytest.mark.parametrize("keys", [CARD_KEYS, VISA[:9], VISA + EXPIRY + "12"])
def test_once_it_is_over_the_session_knows_no_number(keys: str) -> None:
    """The caller's keys are gone, captured or not: what is left of them is masks."""
    line = pay(keys=keys)
    session = getattr(line.call, "_wait").session  # noqa: B009 - looked into, which nobody else does
    if keys == CARD_KEYS:
        line.settles()
    else:
        assert len(session._entry) > 0  # noqa: SLF001
        line.hangs_up()

    held = [getattr(session._captured, name) for name in session._captured.__slots__]  # noqa: SLF001

    assert ({None}, 0, None) == (set(held), len(session._entry), session.wake_at_s)  # noqa: SLF001
