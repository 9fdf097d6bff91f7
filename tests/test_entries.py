"""Entries: Twilio's rules for what a caller keys, row by row, and what each switch changes."""

import string
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import luhn

from generic_connector.card import PUBLISHED_CARDS
from generic_connector.instance import Mode
from generic_connector.payment import Method
from generic_connector.secret import Secret
from generic_connector.twilio import entries
from generic_connector.twilio.entries import (
    DEFAULT_CARD_TYPES,
    BankAccountType,
    CardType,
    ErrorType,
    Step,
    charge_amount,
    is_whole,
    judge,
    judge_account_number,
    judge_card_number,
    judge_expiry,
    judge_postal_code,
    judge_routing_number,
    judge_security_code,
    mask_account,
    mask_card,
    mask_partial,
    mask_security_code,
    parse_bank_account_type,
    parse_card_types,
    recognise,
    refusal,
    steps_of,
)
from generic_connector.twilio.orders import KeyedAccount, KeyedCard
from generic_connector.twilio.pay_connector import PayConnector, PaymentMethod, TokenType
from generic_connector.twilio.pay_errors import PayError
from generic_connector.twilio.switches import Switches

DEFAULTS = Switches()
AS_DOCUMENTED = Switches(visa_lengths="as-documented")
NO_EXCEPTIONS = Switches(test_numbers_pass=False)
VISA, AMEX, DINERS, UNIONPAY = "4111111111111111", "378282246310005", "3065930009020004", "6200000000000005"
ROUTING = "121181976"
NOW_S = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
FULL_WIDTH_FOUR = "\uff14"


def number(prefix: str, length: int) -> str:
    """Return a number of that length that begins with `prefix` and passes Luhn."""
    payload = prefix.ljust(length - 1, "7")
    return payload + luhn.calc_check_digit(payload)


# --- The table -------------------------------------------------------------------------------------------------------

# Prefixes at both ends of each row, and the lengths that it has.
TABLE: Mapping[CardType, tuple[tuple[tuple[str, ...], tuple[int, ...]], ...]] = {
    CardType.VISA: ((("4", "49"), (13, 15, 16, 19)),),
    CardType.MASTERCARD: ((("51", "55", "510000", "559999", "222100", "272099"), (16,)),),
    CardType.AMEX: ((("34", "37"), (15,)),),
    CardType.MAESTRO: ((("50", "56", "57", "58", "60", "62", "67", "69"), tuple(range(12, 20))),),
    CardType.DISCOVER: ((("6011", "64", "65"), (16, 17, 18, 19)),),
    CardType.JCB: ((("3528", "3589"), (16, 17, 18, 19)),),
    CardType.DINERS_CLUB: (
        (("300", "304", "3095", "38", "39"), (16, 17, 18, 19)),
        (("36",), (14, 15, 16, 17, 18, 19)),
    ),
    CardType.ENROUTE: ((("2014", "2149"), (15,)),),
    CardType.OPTIMA: (),
}
ROWS = [
    (card_type, prefix, lengths)
    for card_type, rows in TABLE.items()
    for prefixes, lengths in rows
    for prefix in prefixes
]


def test_the_table_has_all_types() -> None:
    """Every type of Twilio's has its row, though optima's is empty."""
    assert set(CardType) == set(TABLE)


@pytest.mark.parametrize(("card_type", "prefix", "lengths"), ROWS, ids=[f"{row[0]}-{row[1]}" for row in ROWS])
def test_a_number_is_recognised_by_prefix_and_length(
    card_type: CardType, prefix: str, lengths: tuple[int, ...]
) -> None:
    """A number of a row's prefix and length is of its type, and good where that is accepted; no other length is."""
    for length in range(12, 20):
        candidate = number(prefix, length)

        assert (recognise(candidate, DEFAULTS) is card_type) is (length in lengths)
        if length in lengths:
            assert judge_card_number(candidate, {card_type}, DEFAULTS) is None
            assert judge_card_number(candidate, set(CardType) - {card_type}, DEFAULTS) is ErrorType.INVALID_CARD_TYPE


@pytest.mark.parametrize(
    "prefix",
    ["222099", "272100", "3527", "3590", "305", "3094", "3096", "33", "59", "2013", "1", "7", "9"],
)
def test_beside_the_ranges_is_nobody(prefix: str) -> None:
    """A prefix just outside a row belongs to no type: such a number has a type that is not accepted."""
    candidate = number(prefix, 16)

    assert recognise(candidate, DEFAULTS) is None
    assert judge_card_number(candidate, set(CardType), DEFAULTS) is ErrorType.INVALID_CARD_TYPE


@pytest.mark.parametrize(("prefix", "length"), [("4", 14), ("4", 17), ("51", 15), ("34", 16), ("300", 14), ("36", 13)])
def test_a_length_that_its_prefix_does_not_allow(prefix: str, length: int) -> None:
    """A known prefix with another length is a wrong number, not another type."""
    assert judge_card_number(number(prefix, length), set(CardType), DEFAULTS) is ErrorType.INVALID_CARD_NUMBER


def test_narrow_rows_win() -> None:
    """Discover's numbers are Discover's, though Maestro's row has every 6; what is too short for it is Maestro's."""
    assert recognise(number("6011", 16), DEFAULTS) is CardType.DISCOVER
    assert recognise(number("6011", 12), DEFAULTS) is CardType.MAESTRO
    assert recognise(number("62", 16), DEFAULTS) is CardType.MAESTRO


@pytest.mark.parametrize("text", ["", "4", number("4", 13)[:-2], number("4", 16) + "00000", "4111111111111112"])
def test_no_card_number(text: str) -> None:
    """Too short, too long, or a wrong check digit."""
    assert judge_card_number(text, set(CardType), DEFAULTS) is ErrorType.INVALID_CARD_NUMBER


def test_other_digits_are_none() -> None:
    """A card number is ASCII digits, and nothing else, here too."""
    for text in (FULL_WIDTH_FOUR + VISA[1:], "4111-1111-1111-1111", "4111 1111 1111 1111"):
        assert judge_card_number(text, set(CardType), DEFAULTS) is ErrorType.INVALID_CARD_NUMBER


@given(st.text(string.digits, max_size=25))
def test_what_is_good_has_an_accepted_type(text: str) -> None:
    """Nothing but a published number passes without Luhn and one of the accepted types."""
    if judge_card_number(text, DEFAULT_CARD_TYPES, DEFAULTS) is None and text not in PUBLISHED_CARDS:
        assert luhn.is_valid(text)
        assert recognise(text, DEFAULTS) in DEFAULT_CARD_TYPES


def test_visa_as_documented() -> None:
    """By the letter of the table a Visa number of 16 digits is none, unless it is the published one."""
    sixteen = number("4", 16)

    assert judge_card_number(sixteen, DEFAULT_CARD_TYPES, DEFAULTS) is None
    assert judge_card_number(sixteen, DEFAULT_CARD_TYPES, AS_DOCUMENTED) is ErrorType.INVALID_CARD_NUMBER
    assert judge_card_number(VISA, DEFAULT_CARD_TYPES, AS_DOCUMENTED) is None
    assert judge_card_number(number("4", 15), DEFAULT_CARD_TYPES, AS_DOCUMENTED) is None


PUBLISHED_TYPES = {
    VISA: CardType.VISA,
    "5555555555554444": CardType.MASTERCARD,
    AMEX: CardType.AMEX,
    "6011111111111117": CardType.DISCOVER,
    DINERS: CardType.DINERS_CLUB,
    "3566002020360505": CardType.JCB,
    UNIONPAY: None,
    "6771798021000008": CardType.MAESTRO,
}


def test_all_published_numbers_are_tried() -> None:
    """The list here is the list that Twilio publishes."""
    assert set(PUBLISHED_CARDS) == set(PUBLISHED_TYPES)


@pytest.mark.parametrize(("text", "card_type"), PUBLISHED_TYPES.items(), ids=PUBLISHED_TYPES)
def test_published_numbers(text: str, card_type: CardType | None) -> None:
    """Each has the type that it is published as and needs that type accepted; UnionPay's has none and needs none."""
    others = set(CardType) - {card_type}

    assert recognise(text, DEFAULTS) is card_type
    assert judge_card_number(text, set(CardType), DEFAULTS) is None
    assert judge_card_number(text, others, DEFAULTS) is (None if card_type is None else ErrorType.INVALID_CARD_TYPE)


def test_without_exceptions_for_test_numbers() -> None:
    """By the rules alone the Diners number fails Luhn, and UnionPay's is one of Maestro's wide row."""
    assert judge_card_number(DINERS, set(CardType), NO_EXCEPTIONS) is ErrorType.INVALID_CARD_NUMBER
    assert recognise(UNIONPAY, NO_EXCEPTIONS) is CardType.MAESTRO
    assert judge_card_number(VISA, DEFAULT_CARD_TYPES, NO_EXCEPTIONS) is None


# --- The other entries -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mmyy", "is_good"),
    [
        ("1126", True),
        ("1226", True),
        ("0130", True),
        ("1026", False),
        ("1225", False),
        ("0027", False),
        ("1327", False),
        ("127", False),
        ("12027", False),
        ("", False),
        ("1" + FULL_WIDTH_FOUR + "27", False),
    ],
)
def test_expiry(mmyy: str, is_good: bool) -> None:  # noqa: FBT001 - a table's column
    """An expiry is four digits, a real month, and not past: its own month is good."""
    assert judge_expiry(mmyy, NOW_S) is (None if is_good else ErrorType.INVALID_DATE)


def test_an_expiry_counts_until_its_month_is_over_everywhere() -> None:
    """At UTC-12 the month ends half a day later."""
    ends_s = datetime(2026, 12, 1, tzinfo=UTC).timestamp()

    assert judge_expiry("1126", ends_s + 11 * 3600) is None
    assert judge_expiry("1126", ends_s + 12 * 3600) is ErrorType.INVALID_DATE


@pytest.mark.parametrize(
    ("code", "card_type", "is_good"),
    [
        ("123", CardType.VISA, True),
        ("123", None, True),
        ("1234", CardType.AMEX, True),
        ("123", CardType.AMEX, False),
        ("1234", CardType.VISA, False),
        ("12", CardType.VISA, False),
        ("", CardType.VISA, False),
        ("12" + FULL_WIDTH_FOUR, CardType.VISA, False),
    ],
)
def test_security_code(code: str, card_type: CardType | None, is_good: bool) -> None:  # noqa: FBT001 - a column
    """Three digits, and four for American Express."""
    assert judge_security_code(code, card_type) is (None if is_good else ErrorType.INVALID_SECURITY_CODE)


@pytest.mark.parametrize(
    ("code", "minimum", "at_least", "exactly"),
    [
        ("94105", None, True, True),
        ("1", None, True, True),
        ("", None, False, False),
        ("94105", 5, True, True),
        ("9410", 5, False, False),
        ("941051234", 5, True, False),
        ("9410" + FULL_WIDTH_FOUR, 5, False, False),
    ],
)
def test_postal_code(code: str, minimum: int | None, at_least: bool, exactly: bool) -> None:  # noqa: FBT001 - columns
    """At least as many digits as asked for, or by switch exactly as many; at least one."""
    for length, is_good in (("at-least", at_least), ("exactly", exactly)):
        switches = Switches.model_validate({"postal_code_length": length})

        assert judge_postal_code(code, minimum, switches) is (None if is_good else ErrorType.INVALID_POSTAL_CODE)


@pytest.mark.parametrize(
    ("text", "is_good"),
    [
        (ROUTING, True),
        ("021000021", True),
        ("021000022", False),
        ("02100002", False),
        ("000000000", False),
        ("", False),
    ],
)
def test_routing_number(text: str, is_good: bool) -> None:  # noqa: FBT001 - a column
    """Nine digits with the ABA checksum."""
    assert judge_routing_number(text) is (None if is_good else ErrorType.INVALID_BANK_ROUTING_NUMBER)


@pytest.mark.parametrize(
    ("minimum", "text", "is_good"),
    [
        (4, "1234", True),
        (4, "123", False),
        (4, "1" * 17, True),
        (4, "1" * 18, False),
        (1, "1", True),
        (6, "12345", False),
    ],
)
def test_account_number(minimum: int, text: str, is_good: bool) -> None:  # noqa: FBT001 - a column
    """As many digits as the switch says, and 17 at most."""
    switches = Switches(account_number_digits_min=minimum)

    assert judge_account_number(text, switches) is (None if is_good else ErrorType.INVALID_BANK_ACCOUNT_NUMBER)
    assert judge_account_number(FULL_WIDTH_FOUR * 8, switches) is ErrorType.INVALID_BANK_ACCOUNT_NUMBER


@pytest.mark.parametrize(
    ("step", "good", "bad", "error"),
    [
        (Step.PAYMENT_CARD_NUMBER, VISA, "4111", ErrorType.INVALID_CARD_NUMBER),
        (Step.PAYMENT_CARD_NUMBER, AMEX, "6011111111111117", ErrorType.INVALID_CARD_TYPE),
        (Step.EXPIRATION_DATE, "1230", "1320", ErrorType.INVALID_DATE),
        (Step.SECURITY_CODE, "1234", "123", ErrorType.INVALID_SECURITY_CODE),
        (Step.POSTAL_CODE, "94105", "941", ErrorType.INVALID_POSTAL_CODE),
        (Step.BANK_ROUTING_NUMBER, ROUTING, "1", ErrorType.INVALID_BANK_ROUTING_NUMBER),
        (Step.BANK_ACCOUNT_NUMBER, "12345678", "1", ErrorType.INVALID_BANK_ACCOUNT_NUMBER),
    ],
)
def test_each_step_is_judged_by_its_rule(step: Step, good: str, bad: str, error: ErrorType) -> None:
    """`judge` asks the rule of the step."""

    def judged(entered: str) -> ErrorType | None:
        return judge(step, entered, now_s=NOW_S, switches=DEFAULTS, card_type=CardType.AMEX, minimum=5)

    assert judged(good) is None
    assert judged(bad) is error


def test_nothing_is_keyed_while_processing() -> None:
    """The seventh step takes no keys: none are wrong, and none are enough."""
    assert judge(Step.PAYMENT_PROCESSING, "1", now_s=NOW_S, switches=DEFAULTS) is None
    assert not is_whole(Step.PAYMENT_PROCESSING, "1" * 40, switches=DEFAULTS)


# --- When an entry is whole ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entered", "length"),
    [
        (VISA, 16),
        ("4111111111111112" + "000", 19),  # not good at 16: it may be one of 19
        (AMEX, 15),
        ("378282246310006", 15),  # American Express has 15, good or not
        ("5555555555554445", 16),
        (number("2014", 15), 15),
        (DINERS, 16),
        (UNIONPAY, 16),
        (number("62", 19)[:15] + "0000", 19),
        ("9" * 19, 19),
    ],
)
def test_a_card_number_ends_itself(entered: str, length: int) -> None:
    """At 16 digits that are good, or at the longest that its prefix allows, and no sooner."""
    whole = [
        end
        for end in range(1, len(entered) + 1)
        if is_whole(Step.PAYMENT_CARD_NUMBER, entered[:end], switches=DEFAULTS)
    ]

    assert whole[0] == length == len(entered)


@pytest.mark.parametrize(
    ("step", "card_type", "minimum", "length"),
    [
        (Step.EXPIRATION_DATE, None, None, 4),
        (Step.SECURITY_CODE, CardType.VISA, None, 3),
        (Step.SECURITY_CODE, CardType.AMEX, None, 4),
        (Step.SECURITY_CODE, None, None, 3),
        (Step.POSTAL_CODE, None, None, 11),
        (Step.POSTAL_CODE, None, 5, 11),
        (Step.POSTAL_CODE, None, 12, 13),
        (Step.BANK_ROUTING_NUMBER, None, None, 9),
        (Step.BANK_ACCOUNT_NUMBER, None, None, 17),
    ],
)
def test_other_entries_end_themselves(step: Step, card_type: CardType | None, minimum: int | None, length: int) -> None:
    """Fixed lengths end at once; a postal code only where it has become too long for one."""

    def whole(keys: int) -> bool:
        return is_whole(step, "1" * keys, switches=DEFAULTS, card_type=card_type, minimum=minimum)

    assert [False] * (length - 1) + [True, True] == [whole(keys) for keys in range(1, length + 2)]


def test_a_postal_code_of_exact_length_ends_itself() -> None:
    """By switch the minimum is the length, and then no `#` is needed."""
    exactly = Switches(postal_code_length="exactly")

    assert is_whole(Step.POSTAL_CODE, "94105", switches=exactly, minimum=5)
    assert not is_whole(Step.POSTAL_CODE, "9410", switches=exactly, minimum=5)
    assert not is_whole(Step.POSTAL_CODE, "94105", switches=exactly)


@given(
    st.sampled_from([step for step in Step if step is not Step.PAYMENT_PROCESSING]), st.text(string.digits, min_size=19)
)
def test_every_entry_ends(step: Step, entered: str) -> None:
    """However long somebody keys, no entry grows without end."""
    assert is_whole(step, entered, switches=DEFAULTS)


# --- Names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("security_code", "postal_code", "postal_first", "code_first"),
    [
        (True, True, [Step.POSTAL_CODE, Step.SECURITY_CODE], [Step.SECURITY_CODE, Step.POSTAL_CODE]),
        (True, False, [Step.SECURITY_CODE], [Step.SECURITY_CODE]),
        (False, True, [Step.POSTAL_CODE], [Step.POSTAL_CODE]),
        (False, False, [], []),
    ],
)
def test_the_steps_of_a_card(
    security_code: bool,  # noqa: FBT001 - a column
    postal_code: bool,  # noqa: FBT001 - a column
    postal_first: list[Step],
    code_first: list[Step],
) -> None:
    """Number, expiry, and then what is asked for, in the order of the switch."""
    for order, last in (("postal-code-first", postal_first), ("security-code-first", code_first)):
        steps = steps_of(
            PaymentMethod.CREDIT_CARD,
            security_code=security_code,
            postal_code=postal_code,
            switches=Switches.model_validate({"prompt_order": order}),
        )

        assert (Step.PAYMENT_CARD_NUMBER, Step.EXPIRATION_DATE, *last) == steps


def test_the_steps_of_a_bank_account() -> None:
    """Routing number, then account number, whatever the flags for a card say."""
    for flag in (True, False):
        steps = steps_of(PaymentMethod.ACH_DEBIT, security_code=flag, postal_code=flag, switches=DEFAULTS)

        assert (Step.BANK_ROUTING_NUMBER, Step.BANK_ACCOUNT_NUMBER) == steps


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("visa mastercard amex", DEFAULT_CARD_TYPES),
        ("visa, diners-club", {CardType.VISA, CardType.DINERS_CLUB}),
        ("  optima\n", {CardType.OPTIMA}),
        ("visa visa", {CardType.VISA}),
        ("Visa", None),
        ("visa unionpay", None),
        ("", None),
        (" , ", None),
    ],
)
def test_card_types(text: str, types: set[CardType] | None) -> None:
    """The names, with spaces or commas between them, and none that Twilio does not have."""
    assert types == parse_card_types(text)


def test_bank_account_types() -> None:
    """Three names, and a fourth by switch."""
    with_fourth = Switches(commercial_savings=True)

    assert parse_bank_account_type("consumer-savings", DEFAULTS) is BankAccountType.CONSUMER_SAVINGS
    assert parse_bank_account_type("commercial-savings", DEFAULTS) is None
    assert parse_bank_account_type("commercial-savings", with_fourth) is BankAccountType.COMMERCIAL_SAVINGS
    assert parse_bank_account_type("personal-checking", with_fourth) is None


def test_all_names_are_twilios() -> None:
    """Steps and errors are protocol constants, spelled as Twilio spells them."""
    assert [
        "payment-card-number",
        "expiration-date",
        "security-code",
        "postal-code",
        "bank-routing-number",
        "bank-account-number",
        "payment-processing",
    ] == list(Step)
    assert [
        "input-timeout",
        "invalid-card-number",
        "invalid-card-type",
        "invalid-date",
        "invalid-security-code",
        "invalid-postal-code",
        "invalid-bank-routing-number",
        "invalid-bank-account-number",
        "invalid-bank-account-type",
        "invalid-card-number-security-code-capture-sequence",
        "input-matching-failed",
        "session-in-progress",
        "internal-error",
    ] == list(ErrorType)


# --- Masks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "card_type", "plain", "dashed"),
    [
        (VISA, CardType.VISA, "xxxxxxxxxxxx1111", "xxxx-xxxx-xxxx-1111"),
        ("371449635394001", CardType.AMEX, "xxxxxxxxxxx4001", "xxxx-xxxxxx-x4001"),
        ("4" * 13, CardType.VISA, "xxxxxxxxx4444", "xxxx-xxxx-x444-4"),
        (UNIONPAY, None, "xxxxxxxxxxxx0005", "xxxx-xxxx-xxxx-0005"),
        ("41111111111", None, "xxxxxxxxxxx", "xxxxxxxxxxx"),
        ("", None, "", ""),
    ],
)
def test_card_masks(text: str, card_type: CardType | None, plain: str, dashed: str) -> None:
    """The last four digits, plainly or as printed on the card; of what is too short, nothing."""
    assert plain == mask_card(text, card_type, DEFAULTS)
    assert dashed == mask_card(text, card_type, Switches(card_mask="dashed"))


def test_security_code_masks() -> None:
    """One mark for each digit, of either kind."""
    assert mask_security_code("1234", DEFAULTS) == "xxxx"
    assert mask_security_code("123", Switches(security_code_mask="***")) == "***"


@pytest.mark.parametrize(
    ("text", "masked"), [("508862392", "*******92"), ("1234", "**34"), ("123", "***"), ("1", "*"), ("", "")]
)
def test_account_masks(text: str, masked: str) -> None:
    """All but the last two, as documented; nothing of what is shorter than four."""
    assert masked == mask_account(text)


@given(st.text(string.digits, max_size=25))
def test_masks_hide(text: str) -> None:
    """No mask shows more than the last four, and each is as long as what it masks."""
    for masked, shown in ((mask_partial(text), 0), (mask_card(text, None, DEFAULTS), 4), (mask_account(text), 2)):
        assert len(text) == len(masked)
        assert masked.rstrip(string.digits).strip("x*") == ""
        assert len(masked) - len(masked.rstrip(string.digits)) <= shown


# --- Amounts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "currency", "result"),
    [
        (None, "usd", None),
        ("", "usd", None),
        ("  ", "usd", None),
        ("0", "usd", None),
        ("0.00", "usd", None),
        ("000", "usd", None),
        ("10.00", "usd", "10.00"),
        ("10.0", "USD", "10.0"),
        ("10", "usd", "10"),
        ("0.01", "usd", "0.01"),
        ("007", "usd", "007"),
        ("999999.99", "usd", "999999.99"),
        ("1000000", "usd", "1000000"),
        ("1000000.00", "usd", "1000000.00"),
        ("500", "jpy", "500"),
        ("1.250", "kwd", "1.250"),
        ("1.2345", "XXA", "1.2345"),
        ("1000000.01", "usd", PayError.INVALID_CHARGE_AMOUNT),
        ("1000001", "usd", PayError.INVALID_CHARGE_AMOUNT),
        ("10.001", "usd", PayError.INVALID_CHARGE_AMOUNT),
        ("10.000", "usd", "10.000"),
        ("500.0", "jpy", "500.0"),
        ("500.5", "jpy", PayError.INVALID_CHARGE_AMOUNT),
        ("1.23456", "XXA", PayError.INVALID_CHARGE_AMOUNT),
        ("-0.5", "usd", PayError.INVALID_CHARGE_AMOUNT),
        ("$10", "usd", PayError.INVALID_CHARGE_AMOUNT),
        ("1,000", "usd", PayError.INVALID_CHARGE_AMOUNT),
        ("1e3", "usd", PayError.INVALID_CHARGE_AMOUNT),
        (".5", "usd", PayError.INVALID_CHARGE_AMOUNT),
        ("5.", "usd", PayError.INVALID_CHARGE_AMOUNT),
        (" 5", "usd", PayError.INVALID_CHARGE_AMOUNT),
        (FULL_WIDTH_FOUR, "usd", PayError.INVALID_CHARGE_AMOUNT),
        ("0" * 65, "usd", PayError.INVALID_CHARGE_AMOUNT),
        ("ten", "usd", PayError.INVALID_CHARGE_AMOUNT),
    ],
)
def test_charge_amount(text: str | None, currency: str, result: str | PayError | None) -> None:
    """An amount stays as it is given, none or zero means a tokenize, and what is no such amount is 64003."""
    assert result == charge_amount(text, currency, DEFAULTS)


@pytest.mark.parametrize("text", ["1000000", "1000000.00", "0001000000.0"])
def test_the_largest_amount(text: str) -> None:
    """By switch a million itself is too much, and just below it is not."""
    excluded = Switches(largest_amount="excluded")

    assert text == charge_amount(text, "usd", DEFAULTS)
    assert charge_amount(text, "usd", excluded) is PayError.INVALID_CHARGE_AMOUNT
    assert charge_amount("999999.99", "usd", excluded) == "999999.99"


# --- What a connector refuses ----------------------------------------------------------------------------------------


def connector(**settings: object) -> PayConnector:
    """Return an instance with some settings changed."""
    known: dict[str, object] = {
        "unique_name": "Default",
        "url": "https://pay.example.com/pay",
        "username": "user",
        "password": Secret("secret"),
    }
    return PayConnector(**(known | settings))  # type: ignore[arg-type]  # the table's values have their types


CHARGE: Mapping[str, object] = {
    "method": Method.CHARGE,
    "payment_method": PaymentMethod.CREDIT_CARD,
    "token_type": TokenType.REUSABLE,
    "currency": "usd",
    "parameters": {},
}
TOKENIZE = {**CHARGE, "method": Method.TOKENIZE}
ACH = {**CHARGE, "payment_method": PaymentMethod.ACH_DEBIT}


@pytest.mark.parametrize(
    ("settings", "asked", "error"),
    [
        ({}, CHARGE, None),
        ({}, TOKENIZE, None),
        ({}, ACH, None),
        ({"url": "http://localhost:8000"}, CHARGE, None),
        ({"url": ""}, CHARGE, PayError.CONFIGURATION),
        ({"url": "pay.example.com"}, CHARGE, PayError.CONFIGURATION),
        ({"url": "ftp://pay.example.com"}, CHARGE, PayError.CONFIGURATION),
        ({"url": "https://[::1"}, CHARGE, PayError.CONFIGURATION),
        ({"url": "https://pay.example.com:eighty"}, CHARGE, PayError.CONFIGURATION),
        ({"username": ""}, CHARGE, PayError.CONFIGURATION),
        ({"password": Secret("")}, CHARGE, PayError.CONFIGURATION),
        ({"is_authorized": False}, CHARGE, PayError.NOT_AUTHORIZED),
        ({"payment_methods": {PaymentMethod.CREDIT_CARD}}, ACH, PayError.NO_PAYMENT_METHOD),
        ({"payment_methods": {PaymentMethod.ACH_DEBIT}}, CHARGE, PayError.NO_PAYMENT_METHOD),
        ({"charges": False}, CHARGE, PayError.NO_CHARGE),
        ({"charges": False}, TOKENIZE, None),
        ({"tokenizes": False}, TOKENIZE, PayError.NO_TOKENIZATION),
        ({"tokenizes": False}, CHARGE, None),
        ({}, {**TOKENIZE, "token_type": TokenType.PAYMENT_METHOD}, PayError.NO_TOKEN_TYPE),
        ({"token_types": {TokenType.REUSABLE}}, {**TOKENIZE, "token_type": TokenType.ONE_TIME}, PayError.NO_TOKEN_TYPE),
        ({"token_types": {TokenType.REUSABLE}}, {**CHARGE, "token_type": TokenType.ONE_TIME}, None),
        ({"currencies": {"USD"}}, CHARGE, None),
        ({"currencies": {"EUR"}}, CHARGE, PayError.NO_CURRENCY),
        ({"currencies": {"EUR"}}, TOKENIZE, None),
        ({"needs_avs_name": True}, ACH, PayError.AVS_NAME_REQUIRED),
        ({"needs_avs_name": True}, {**ACH, "parameters": {"AVSName": " "}}, PayError.AVS_NAME_REQUIRED),
        ({"needs_avs_name": True}, {**ACH, "parameters": {"AVSName": "Jane Doe"}}, None),
        ({"needs_avs_name": True}, CHARGE, None),
        ({"required_parameters": {"MerchantAccountId"}}, CHARGE, PayError.PARAMETER_MISSING),
        ({"required_parameters": {"a"}}, {**CHARGE, "parameters": {"a": "1", "b": "2"}}, None),
    ],
)
def test_refusals(settings: Mapping[str, object], asked: Mapping[str, object], error: PayError | None) -> None:
    """What a connector cannot do brings its own error before anything is asked."""
    assert refusal(connector(**settings), **asked) is error  # type: ignore[arg-type]  # as above


def test_an_unknown_connector() -> None:
    """A name that no instance has is 64004, whatever else is wrong."""
    assert refusal(None, **CHARGE) is PayError.UNKNOWN_CONNECTOR  # type: ignore[arg-type]  # as above


def card(text: str) -> KeyedCard:
    """Return a keyed card."""
    return KeyedCard(number=Secret(text), expiry="1230")


def account(text: str) -> KeyedAccount:
    """Return a keyed account."""
    return KeyedAccount(routing_number=ROUTING, account_number=Secret(text))


@pytest.mark.parametrize(
    ("settings", "instrument", "error"),
    [
        *(({}, card(text), None) for text in PUBLISHED_CARDS),
        ({}, card("4012888888881881"), PayError.INVALID_TEST_CARD),
        ({}, account("12345678"), None),
        ({}, account("123456789"), None),
        ({}, account("1234567"), PayError.INVALID_TEST_ACCOUNT),
        ({"is_approved": False}, card(VISA), None),
        ({"mode": Mode.LIVE}, card("4012888888881881"), None),
        ({"mode": Mode.LIVE}, account("1234567"), None),
        ({"mode": Mode.LIVE, "is_approved": False}, card(VISA), PayError.NOT_APPROVED),
    ],
)
def test_what_does_not_reach_the_endpoint(
    settings: Mapping[str, object], instrument: KeyedCard | KeyedAccount, error: PayError | None
) -> None:
    """The test mode lets the published numbers through and no other, and the live mode needs Twilio's approval."""
    assert entries.test_refusal(connector(**settings), instrument) is error
