"""The contract: every accepted and every refused form of a request, the error table, and the replies."""

import json
import re
import string
from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generic_connector.bank import AccountNumber, BankAccount
from generic_connector.card import Card, Cvv, Expiry, Pan
from generic_connector.contract.body import DEPTH_MAX, NotJsonError, Number, parse_object, to_text
from generic_connector.contract.errors import ERRORS, Code, ErrorCode
from generic_connector.contract.reply import (
    declined_parameters,
    render_failure,
    render_success,
    success_parameters,
)
from generic_connector.contract.request import Refusal, parse
from generic_connector.instance import Dialect
from generic_connector.money import CURRENCIES, Money
from generic_connector.payment import Approved, Charge, DeclineCode, Declined, Details, Method, Payment, Tokenize

VISA = "4111111111111111"
AMEX = "378282246310005"
ROUTING = "021000021"
ACCOUNT = "55443322"
ID = "1b0e9a52-6f3c-4d7e-9b21-5c8f0d4e7a31"
FULL_WIDTH = str.maketrans(string.digits, "".join(chr(0xFF10 + digit) for digit in range(10)))
LONE_SURROGATE = "\\ud83d"


class Change(Enum):
    """A change to a field that is no value."""

    ABSENT = "absent"


ABSENT: Final = Change.ABSENT
"""Takes a field away."""

CARD_FIELDS = {
    "transaction_id": ID,
    "cardnumber": VISA,
    "cvv": "123",
    "expiry_month": "08",
    "expiry_year": "27",
    "description": "pizza",
    "amount": "10.0",
    "currency_code": "USD",
    "postal_code": "94111",
    "parameters": {"order_id": "A-1001"},
}
BANK_FIELDS = {
    "transaction_id": ID,
    "routingnumber": ROUTING,
    "bankaccountnumber": ACCOUNT,
    "description": "pizza",
    "amount": "10.0",
    "currency_code": "USD",
    "parameters": {"order_id": "A-1001"},
}


def body(fields: dict[str, object], changes: dict[str, object]) -> bytes:
    """Return a request's bytes: the fields with the changes made."""
    changed = {name: value for name, value in (fields | changes).items() if value is not ABSENT}
    return json.dumps(changed).encode()


def card(method: object = "charge", /, **changes: object) -> bytes:
    """Return the body of a card request."""
    return body({**CARD_FIELDS, "method": method}, changes)


def bank(method: object = "charge", /, **changes: object) -> bytes:
    """Return the body of an ACH request."""
    return body({**BANK_FIELDS, "method": method}, changes)


Maker = Callable[..., bytes]


def accepted(raw: bytes, dialect: Dialect = Dialect.TWILIO, path_method: Method | None = None) -> Payment:
    """Return the payment that a body asks for."""
    result = parse(raw, dialect, path_method)
    assert not isinstance(result, Refusal), result
    return result


def refused(raw: bytes, dialect: Dialect = Dialect.TWILIO, path_method: Method | None = None) -> Refusal:
    """Return why a body asks for nothing."""
    result = parse(raw, dialect, path_method)
    assert isinstance(result, Refusal), "accepted"
    return result


def charged(raw: bytes, dialect: Dialect = Dialect.TWILIO, path_method: Method | None = None) -> Charge:
    """Return the charge that a body asks for."""
    payment = accepted(raw, dialect, path_method)
    assert isinstance(payment, Charge)
    return payment


def card_of(payment: Payment) -> Card:
    """Return the card of a payment."""
    assert isinstance(payment.instrument, Card)
    return payment.instrument


def named(value: object) -> str:
    """Return what a case is called."""
    return str(value) if isinstance(value, Enum) else getattr(value, "__name__", ascii(value))[:60]


def digits_of(text: str) -> str:
    """Return the decimal digits of a text, of whatever script, as ASCII."""
    return "".join(str(int(char)) for char in text if char.isdecimal())


# --- The four documented requests ------------------------------------------------------------------------------------

THE_CARD = Card(Pan(VISA), Expiry(2027, 8), Cvv("123"), "94111")
THE_ACCOUNT = BankAccount(ROUTING, AccountNumber(ACCOUNT))
TEN_DOLLARS = Money(1000, CURRENCIES["USD"])
DETAILS = Details(description="pizza", metadata={"order_id": "A-1001"})


@pytest.mark.parametrize("dialect", [Dialect.TWILIO, Dialect.TELNYX])
def test_the_documented_requests_are_read(dialect: Dialect) -> None:
    """A card or a bank account, charged or tokenized: each field of the documented body is where it belongs."""
    expected = [
        Charge(transaction_id=ID, instrument=THE_CARD, money=TEN_DOLLARS, details=DETAILS),
        Tokenize(transaction_id=ID, instrument=THE_CARD, details=DETAILS),
        Charge(transaction_id=ID, instrument=THE_ACCOUNT, money=TEN_DOLLARS, details=DETAILS),
        Tokenize(transaction_id=ID, instrument=THE_ACCOUNT, details=DETAILS),
    ]

    bodies = [card("charge"), card("tokenize"), bank("charge"), bank("tokenize")]

    assert expected == [accepted(raw, dialect) for raw in bodies]


# --- Accepted --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("empty", [None, "", ABSENT], ids=["null", "empty", "missing"])
def test_optional_fields_may_be_null_empty_or_missing(empty: object) -> None:
    """CVV, postal code and description need not be there, in any of the ways in which carriers leave them out."""
    payment = accepted(card(cvv=empty, postal_code=empty, description=empty))

    assert Card(Pan(VISA), Expiry(2027, 8), None, None) == payment.instrument
    assert payment.details.description is None


@pytest.mark.parametrize("empty", [None, {}, ABSENT], ids=["null", "empty", "missing"])
def test_parameters_may_be_null_empty_or_missing(empty: object) -> None:
    """No parameters are no metadata, and nothing is acted on."""
    assert Details() == accepted(card(parameters=empty, description=None)).details


@pytest.mark.parametrize("empty", [None, "", ABSENT], ids=["null", "empty", "missing"])
def test_the_other_instruments_fields_may_be_null_empty_or_missing(empty: object) -> None:
    """What tells a card from an account is which numbers there are, not which keys."""
    by_card = accepted(card(routingnumber=empty, bankaccountnumber=empty))
    by_bank = accepted(bank(cardnumber=empty, cvv=empty, expiry_month=empty, expiry_year=empty, postal_code=empty))

    assert [THE_CARD, THE_ACCOUNT] == [by_card.instrument, by_bank.instrument]


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("pizza", "pizza"),
        (17.50, "17.5"),
        (True, "true"),
        ([1, "b", None], '[1,"b",null]'),
        ({"a": {"b": 1.0}}, '{"a":{"b":1.0}}'),
        ("caf\u00e9 \U0001f355", "caf\u00e9 \U0001f355"),
    ],
    ids=named,
)
def test_a_description_may_be_of_any_type(description: object, expected: str) -> None:
    """Whatever JSON stands in `description` becomes a text; numbers keep the form in which they came."""
    assert expected == accepted(card(description=description)).details.description


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ('"50"', "USD", 5000),
        ('"10.0"', "USD", 1000),
        ('"10.00"', "USD", 1000),
        ("10", "USD", 1000),
        ("10.5", "USD", 1050),
        ("10.10", "USD", 1010),
        ('"500.0"', "JPY", 500),
        ('"1.250"', "KWD", 1250),
        ('"1000000"', "USD", 100_000_000),
    ],
)
def test_an_amount_is_a_text_or_a_number(amount: str, currency: str, minor: int) -> None:
    """Amounts are read as decimals from the text that was sent, quoted or not, and never as a float."""
    raw = card(currency_code=currency).replace(b'"10.0"', amount.encode())

    assert Money(minor, CURRENCIES[currency]) == charged(raw).money


@pytest.mark.parametrize(("month", "year"), [("08", "27"), ("8", "27"), ("08", "2027"), ("8", "2027")])
def test_an_expiry_has_two_or_four_digits_of_year(month: str, year: str) -> None:
    """Months with and without a zero and years with and without a century mean the same card."""
    assert Expiry(2027, 8) == card_of(accepted(card(expiry_month=month, expiry_year=year))).expiry


@pytest.mark.parametrize("currency", ["USD", "usd", "Usd"])
def test_a_currency_is_read_in_any_case(currency: str) -> None:
    """Currencies in lower case are what `<Pay currency="usd">` sends."""
    assert TEN_DOLLARS == charged(card(currency_code=currency)).money


def test_unknown_fields_are_ignored() -> None:
    """A field that is not of the contract changes nothing, whatever is in it."""
    extra = {"AccountSid": "AC0", "Method": "tokenize", "payment": {"deep": [1, 2, {"er": None}]}, "tip": 10**40}

    assert accepted(card()) == accepted(card(**extra))


@pytest.mark.parametrize("ignored", ["10.00", "no amount", -1, True, [1], {"a": 1}, None, ""], ids=named)
def test_a_tokenize_ignores_amount_and_currency(ignored: object) -> None:
    """A tokenize may carry an amount and a currency; they are not even looked at."""
    expected = accepted(card("tokenize", amount=ABSENT, currency_code=ABSENT))

    assert expected == accepted(card("tokenize", amount=ignored, currency_code=ignored))


@pytest.mark.parametrize("id_", ["1", "x" * 128, " ", "~!@#$%^&*()_+", 'quote " and \\ slash', "A-1001"])
def test_a_transaction_id_is_printable_ascii(id_: str) -> None:
    """One to 128 printable ASCII characters are a transaction id, kept as they are."""
    assert id_ == accepted(card(transaction_id=id_)).transaction_id


def test_a_transaction_id_is_case_sensitive() -> None:
    """Ids that differ in case are ids of different transactions."""
    assert accepted(card(transaction_id="a")) != accepted(card(transaction_id="A"))


@pytest.mark.parametrize("code", ["9", "94111", "SW1A 1AA", "94111-1234", "a-1"])
def test_a_postal_code_is_letters_digits_spaces_and_hyphens(code: str) -> None:
    """Postal codes of all countries, up to ten characters, are kept as they are."""
    assert code == card_of(accepted(card(postal_code=code))).postal_code


def test_an_account_may_have_a_postal_code() -> None:
    """A postal code sent with a bank account is kept as well."""
    assert "94111" == accepted(bank(postal_code="94111")).instrument.postal_code


def test_an_amex_has_four_digits_of_cvv() -> None:
    """A four-digit security code is right for American Express and for nobody else."""
    assert Cvv("1234") == card_of(accepted(card(cardnumber=AMEX, cvv="1234"))).cvv
    assert ErrorCode.INVALID_CVV == refused(card(cardnumber=AMEX, cvv="123")).code
    assert ErrorCode.INVALID_CVV == refused(card(cvv="1234")).code


def test_a_number_without_a_brand_is_for_others_to_refuse() -> None:
    """A card number that no brand owns is parsed: brand and mode are asked of new transactions only."""
    payment = accepted(card(cardnumber="9000000000000001", cvv="1234"))

    assert card_of(payment).pan.brand is None


# --- Refused ---------------------------------------------------------------------------------------------------------

NO_REQUESTS: dict[str, tuple[bytes, ErrorCode]] = {
    "missing method": (card(ABSENT), ErrorCode.MISSING_FIELD),
    "null method": (card(None), ErrorCode.MISSING_FIELD),
    "empty method": (card(""), ErrorCode.UNSUPPORTED_METHOD),
    "method in capitals": (card("Charge"), ErrorCode.UNSUPPORTED_METHOD),
    "padded method": (card("charge "), ErrorCode.UNSUPPORTED_METHOD),
    "other method": (card("refund"), ErrorCode.UNSUPPORTED_METHOD),
    "numeric method": (card(1), ErrorCode.UNSUPPORTED_METHOD),
    "boolean method": (card(True), ErrorCode.UNSUPPORTED_METHOD),  # noqa: FBT003 - a JSON value
    "list of methods": (card(["charge"]), ErrorCode.UNSUPPORTED_METHOD),
    "payment method": (card("credit-card"), ErrorCode.UNSUPPORTED_METHOD),
    "list": (b"[]", ErrorCode.MALFORMED_REQUEST),
    "text": (b'"charge"', ErrorCode.MALFORMED_REQUEST),
    "null": (b"null", ErrorCode.MALFORMED_REQUEST),
    "nothing": (b"", ErrorCode.MALFORMED_REQUEST),
    "form": (b"method=charge&amount=10.0", ErrorCode.MALFORMED_REQUEST),
}


@pytest.mark.parametrize(("raw", "code"), NO_REQUESTS.values(), ids=NO_REQUESTS.keys())
def test_without_a_method_there_is_no_request(raw: bytes, code: ErrorCode) -> None:
    """Whatever does not name its method is refused without one, so that the reply carries both id keys."""
    refusal = refused(raw)

    assert (code, None) == (refusal.code, refusal.method)
    assert {"charge_id", "token_id"} < json.loads(render_failure(refusal.code, refusal.method).body).keys()


NO_STRINGS = [8, 1.5, True, False, [], {}, ["x"]]

REFUSED_ALWAYS: list[tuple[ErrorCode, list[dict[str, object]]]] = [
    (
        ErrorCode.MALFORMED_REQUEST,
        [
            {"routingnumber": ROUTING, "bankaccountnumber": ACCOUNT},
            {"routingnumber": ROUTING},
            {"bankaccountnumber": ACCOUNT},
            {"bankaccountnumber": 55443322},
        ],
    ),
    (
        ErrorCode.MISSING_FIELD,
        [
            {name: empty}
            for name in ("transaction_id", "cardnumber", "expiry_month", "expiry_year")
            for empty in (None, ABSENT)
        ],
    ),
    (
        ErrorCode.INVALID_FIELD,
        [
            {name: value}
            for name in ("transaction_id", "cardnumber", "expiry_month", "expiry_year", "cvv", "postal_code")
            for value in NO_STRINGS
        ],
    ),
    (ErrorCode.INVALID_FIELD, [{"parameters": value} for value in ("", "a=b", 0, 1, True, False, [], [1])]),
    (
        ErrorCode.INVALID_FIELD,
        [
            {"transaction_id": value}
            for value in ("", "x" * 129, "a\tb", "a\n", "caf\u00e9", "\x7f", "\x00", "\uff11", "\u200b")
        ],
    ),
    (
        ErrorCode.INVALID_CARD_NUMBER,
        [
            {"cardnumber": value}
            for value in (
                "",
                " ",
                "4111111111111112",
                "41111111111",
                "41111111111111111111",
                "4111 1111 1111 1111",
                "0" * 16,
                VISA.translate(FULL_WIDTH),
                f"{VISA}\n",
            )
        ],
    ),
    (
        ErrorCode.INVALID_EXPIRY,
        [
            {"expiry_month": month, "expiry_year": year}
            for month, year in (
                ("", "27"),
                ("0", "27"),
                ("13", "27"),
                ("008", "27"),
                ("8", ""),
                ("8", "7"),
                ("8", "1927"),
                ("8", "2127"),
                ("\uff18", "27"),
                ("8", "\uff12\uff17"),
            )
        ],
    ),
    (
        ErrorCode.INVALID_CVV,
        [{"cvv": value} for value in ("12", "1234", "12a", " 123", "\uff11\uff12\uff13", "0")],
    ),
    (
        ErrorCode.INVALID_POSTAL_CODE,
        [{"postal_code": value} for value in ("94111-12345", "9411\u0661", "9_1", "\uff19", "94\n", "a.b", "\u00e9")],
    ),
]


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize(
    ("code", "changes"),
    [(code, changes) for code, variants in REFUSED_ALWAYS for changes in variants],
    ids=named,
)
def test_a_broken_card_request_has_its_code(method: Method, code: ErrorCode, changes: dict[str, object]) -> None:
    """Every form that the contract refuses has one code, and the id key of the method that was asked for."""
    refusal = refused(card(method, **changes))

    assert (code, method) == (refusal.code, refusal.method)
    assert {method.id_key} == {"charge_id", "token_id"} & json.loads(render_failure(code, method).body).keys()


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize(
    ("code", "name", "value"),
    [
        *((ErrorCode.MISSING_FIELD, name, None) for name in ("routingnumber", "bankaccountnumber", "transaction_id")),
        *((ErrorCode.MISSING_FIELD, name, ABSENT) for name in ("routingnumber", "bankaccountnumber")),
        *((ErrorCode.INVALID_FIELD, "routingnumber", value) for value in NO_STRINGS),
        *((ErrorCode.INVALID_FIELD, "bankaccountnumber", value) for value in NO_STRINGS),
        *((ErrorCode.INVALID_FIELD, "postal_code", value) for value in NO_STRINGS),
        *(
            (ErrorCode.INVALID_ROUTING_NUMBER, "routingnumber", value)
            for value in ("", "12345678", "021000022", "0210000210", "0" * 9, ROUTING.translate(FULL_WIDTH))
        ),
        *(
            (ErrorCode.INVALID_ACCOUNT_NUMBER, "bankaccountnumber", value)
            for value in ("", "123", "123456789012345678", "12 345", "\uff11\uff12\uff13\uff14", "account")
        ),
        (ErrorCode.INVALID_POSTAL_CODE, "postal_code", "94111-12345"),
    ],
    ids=named,
)
def test_a_broken_bank_request_has_its_code(method: Method, code: ErrorCode, name: str, value: object) -> None:
    """The same holds of bank accounts."""
    refusal = refused(bank(method, **{name: value}))

    assert (code, method) == (refusal.code, refusal.method)


@pytest.mark.parametrize("changes", [{"routingnumber": "", "bankaccountnumber": ""}, {"bankaccountnumber": ""}])
def test_empty_bank_fields_alone_are_a_broken_bank_request(changes: dict[str, object]) -> None:
    """Where there is no card number at all, empty bank fields are taken for what they say."""
    refusal = refused(bank(**{"routingnumber": ABSENT, **changes}))

    assert refusal.code in {ErrorCode.INVALID_ROUTING_NUMBER, ErrorCode.MISSING_FIELD}


NO_AMOUNTS = [
    "",
    "0",
    "0.00",
    "-1",
    "+1",
    "1e3",
    "1,000",
    "1.000,00",
    "10.001",
    "1000000.01",
    "1000001",
    "\uff11",
    " 1",
]


@pytest.mark.parametrize("make", [card, bank], ids=named)
@pytest.mark.parametrize(
    ("code", "changes"),
    [
        *((ErrorCode.MISSING_FIELD, {name: None}) for name in ("amount", "currency_code")),
        *((ErrorCode.MISSING_FIELD, {name: ABSENT}) for name in ("amount", "currency_code")),
        *((ErrorCode.INVALID_FIELD, {"amount": value}) for value in (True, False, [], ["10"])),
        (ErrorCode.INVALID_FIELD, {"amount": {}}),
        *((ErrorCode.INVALID_FIELD, {"currency_code": value}) for value in NO_STRINGS),
        *((ErrorCode.INVALID_AMOUNT, {"amount": value}) for value in NO_AMOUNTS),
        *((ErrorCode.INVALID_AMOUNT, {"amount": value}) for value in (0, -1, 0.001, 1e-9, 1e22, 10**6 + 1)),
        (ErrorCode.INVALID_AMOUNT, {"amount": "500.5", "currency_code": "JPY"}),
        *(
            (ErrorCode.UNSUPPORTED_CURRENCY, {"currency_code": value})
            for value in ("", "US", "ZZZ", "XAU", "\uff35\uff33\uff24")
        ),
    ],
    ids=named,
)
def test_a_charge_without_clear_money_is_refused(make: Maker, code: ErrorCode, changes: dict[str, object]) -> None:
    """A charge needs an amount that means one thing in a currency that can be charged."""
    refusal = refused(make("charge", **changes))

    assert (code, Method.CHARGE) == (refusal.code, refusal.method)


@pytest.mark.parametrize("number", ["1e1", "1E1", "1.0e1", "-10", "-0", "0", "0.0", "1" + "0" * 5000, "1e999999"])
def test_an_ambiguous_number_is_no_amount(number: str) -> None:
    """An amount as a JSON number is judged by the text that was sent, however large that is."""
    raw = card().replace(b'"10.0"', number.encode())

    assert ErrorCode.INVALID_AMOUNT == refused(raw).code


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("0", "ZZZ", ErrorCode.INVALID_AMOUNT),
        ("ten", "ZZZ", ErrorCode.INVALID_AMOUNT),
        ("1000000.1", "ZZZ", ErrorCode.INVALID_AMOUNT),
        ("10.00", "ZZZ", ErrorCode.UNSUPPORTED_CURRENCY),
        ("10.123456789", "ZZZ", ErrorCode.UNSUPPORTED_CURRENCY),
        ("10.123", "USD", ErrorCode.INVALID_AMOUNT),
    ],
)
def test_the_amount_is_judged_first(amount: str, currency: str, expected: ErrorCode) -> None:
    """First the amount by itself, then the currency, then whether the currency has that many decimals."""
    assert expected == refused(card(amount=amount, currency_code=currency)).code


def test_of_several_mistakes_the_first_is_told() -> None:
    """A body in which everything is wrong is answered in a fixed order, mistake by mistake."""
    wrong: dict[str, object] = {
        "method": "pay",
        "transaction_id": "",
        "routingnumber": ROUTING,
        "currency_code": None,
        "parameters": [],
        "expiry_year": 27,
        "cardnumber": "4111",
        "expiry_month": "13",
        "cvv": "1",
        "postal_code": "?",
        "amount": "0",
    }
    codes: list[Code] = []
    mending = dict(CARD_FIELDS, method="charge", routingnumber=ABSENT)
    for name in list(wrong):
        codes.append(refused(body({**CARD_FIELDS, "method": "charge"}, wrong)).code)
        wrong[name] = mending[name]

    assert [
        ErrorCode.UNSUPPORTED_METHOD,
        ErrorCode.INVALID_FIELD,
        ErrorCode.MALFORMED_REQUEST,
        ErrorCode.MISSING_FIELD,
        ErrorCode.INVALID_FIELD,
        ErrorCode.INVALID_FIELD,
        ErrorCode.INVALID_CARD_NUMBER,
        ErrorCode.INVALID_EXPIRY,
        ErrorCode.INVALID_CVV,
        ErrorCode.INVALID_POSTAL_CODE,
        ErrorCode.INVALID_AMOUNT,
    ] == codes
    assert accepted(body({**CARD_FIELDS, "method": "charge"}, wrong)) == accepted(card())


# --- JSON, strictly --------------------------------------------------------------------------------------------------


def nested(depth: int, opening: str = '{"a":', closing: str = "}", inner: str = "1") -> bytes:
    """Return so many brackets around something."""
    return (opening * depth + inner + closing * depth).encode()


NOT_JSON: dict[str, bytes] = {
    "byte order mark": b"\xef\xbb\xbf" + card(),
    "UTF-16": card().decode().encode("utf-16"),
    "latin-1": card().replace(b"pizza", b"caf\xe9"),
    "overlong": card().replace(b"pizza", b"\xc0\xaf"),
    "surrogate as bytes": card().replace(b"pizza", b"\xed\xa0\xbd"),
    "cut character": card()[:-2] + b"\xf0\x9f",
    "lone high surrogate": card().replace(b"pizza", LONE_SURROGATE.encode()),
    "lone low surrogate": card().replace(b"pizza", b"\\udc00"),
    "surrogates the wrong way round": card().replace(b"pizza", b"\\udc00\\ud83d"),
    "surrogate in a key": card().replace(b"description", b"\\uD800"),
    "surrogate in depth": card().replace(b'"pizza"', b'[{"a": ["\\ud800"]}]'),
    "NaN": card().replace(b'"10.0"', b"NaN"),
    "Infinity": card().replace(b'"10.0"', b"Infinity"),
    "-Infinity": card().replace(b'"10.0"', b"-Infinity"),
    "NaN in a field not of the contract": card().replace(b'"pizza"', b'{"x": NaN}'),
    "duplicate key": card().replace(b'"amount"', b'"amount": "99.00", "amount"'),
    "duplicate key, same value": card().replace(b'"amount"', b'"amount": "10.0", "amount"'),
    "duplicate key, escaped": card().replace(b'"amount"', b'"\\u0061mount": "99.00", "amount"'),
    "duplicate parameter": card().replace(b'"order_id"', b'"order_id": 1, "order_id"'),
    "duplicate key in depth": card().replace(b'"pizza"', b'[{"a": {"b": 1, "b": 1}}]'),
    "duplicate empty key": card().replace(b'"amount"', b'"": 1, "": 2, "amount"'),
    "single quotes": card().replace(b'"', b"'"),
    "trailing comma": card()[:-1] + b",}",
    "trailing text": card() + b" x",
    "two objects": card() + card(),
    "comment": card()[:-1] + b"/* */}",
    "cut short": card()[:-1],
    "control character": card().replace(b"pizza", b"piz\nza"),
    "leading zero": card().replace(b'"10.0"', b"010.0"),
    "bare point": card().replace(b'"10.0"', b"10."),
    "hexadecimal": card().replace(b'"10.0"', b"0x10"),
    "nested too deep": nested(DEPTH_MAX + 1),
    "lists nested too deep": card().replace(b'"pizza"', nested(DEPTH_MAX, "[", "]")),
    "bomb of lists": b"[" * 16_000,
    "bomb of objects": b'{"a":' * 3_000,
    "bomb of closed lists": nested(8_000, "[", "]"),
    "bomb in a string that does not end": b"[" * 40 + b'"' + b'\\"' * 8_000,
    "bomb that ends in a backslash": b"[" * 40 + b'"' + b'\\"' * 8_000 + b"\\",
}


@pytest.mark.parametrize("raw", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_what_is_ambiguous_as_json_is_malformed(raw: bytes) -> None:
    """Whatever two JSON parsers could read in two ways is refused, with a message that quotes nothing of it."""
    refusal = refused(raw)

    assert (ErrorCode.MALFORMED_REQUEST, None) == (refusal.code, refusal.method)
    assert refusal.message is not None


def test_the_same_bodies_unbroken_are_accepted() -> None:
    """Control: what the broken bodies were made of is a charge, with escapes and spaces of all kinds too."""
    raw = card().replace(b"pizza", b"\\ud83d\\ude00 \\u0041").replace(b'"amount"', b'\r\n\t "\\u0061mount"')

    assert "\U0001f600 A" == charged(raw).details.description


@pytest.mark.parametrize("opening", ['{"a":', "["])
def test_nesting_has_a_limit(opening: str) -> None:
    """Thirty-two levels are read, thirty-three are refused, whatever they are made of."""
    closing = "}" if opening.startswith("{") else "]"
    deepest, deeper = (b'{"x":' + nested(levels - 1, opening, closing) + b"}" for levels in (32, 33))

    assert ["x"] == list(parse_object(deepest))
    with pytest.raises(NotJsonError, match="nested deeper than 32"):
        parse_object(deeper)


@pytest.mark.parametrize("opening", ['{"a":', "["])
@pytest.mark.parametrize("where", ["first", "last"])
def test_nesting_has_the_same_limit_among_many_brackets(opening: str, where: str) -> None:
    """Fifty brackets that open and close again, before the deepest place or after it, change nothing."""
    closing = "}" if opening.startswith("{") else "]"
    bodies = []
    for levels in (30, 31):  # the object and the list around them are two more
        deep, flat = [nested(levels, opening, closing)], [b"[]"] * 50
        bodies.append(b'{"x":[' + b",".join(flat + deep if where == "last" else deep + flat) + b"]}")

    assert ["x"] == list(parse_object(bodies[0]))
    with pytest.raises(NotJsonError, match="nested deeper than 32"):
        parse_object(bodies[1])


@pytest.mark.parametrize(
    "text", ["[" * 100, "{" * 100, '\\"' + "[" * 100, "\\\\", '\\\\\\"[' * 20, "]" * 100 + "[" * 100]
)
def test_brackets_in_strings_are_no_nesting(text: str) -> None:
    """A text of brackets, behind escaped quotes and backslashes too, is as flat as any other."""
    raw = f'{{"a": "{text}", "b": [{", ".join(["[]"] * 40)}]}}'.encode()

    assert 40 == len(json.loads(raw)["b"])
    assert json.loads(raw)["a"] == parse_object(raw)["a"]


def test_many_brackets_side_by_side_are_no_nesting() -> None:
    """A thousand brackets that open and close at once are two levels deep."""
    value = parse_object(b'{"a":[' + b",".join([b"{}"] * 1000) + b"]}")["a"]

    assert [{}] * 1000 == value


def test_numbers_keep_their_text() -> None:
    """Numbers are what was written, to the last zero and however large; nothing passes through a float."""
    raw = b'{"a": 10.10, "b": 1e400, "c": -0, "d": 1' + b"0" * 9000 + b"}"

    assert {"a": Number("10.10"), "b": Number("1e400"), "c": Number("-0"), "d": Number("1" + "0" * 9000)} == (
        parse_object(raw)
    )


@pytest.mark.parametrize(
    "text", ['{"a":[1,1.10,-0,1E+2,true,false,null],"b\\"":{"":"caf\u00e9 \\n"}}', "[]", "{}", "1.50", "true", "null"]
)
def test_a_value_is_written_as_it_came(text: str) -> None:
    """As a text, a JSON value is compact JSON in which every number looks as it did."""
    value = parse_object(f'{{"x": {text}}}'.encode())["x"]

    assert text == to_text(value)


# --- Hypothesis: whatever arrives ------------------------------------------------------------------------------------

JSONISH = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(),
        st.text(string.digits + " -", max_size=24),
        st.sampled_from([VISA, ROUTING, ACCOUNT, "charge", "tokenize", "credit-card", "10.0", "USD", "08", "27", ""]),
    ),
    lambda children: st.one_of(
        st.lists(children, max_size=3),
        st.dictionaries(
            st.one_of(st.text(), st.sampled_from(["save_card", "sandbox_x", "Reference"])), children, max_size=3
        ),
    ),
    max_leaves=8,
)
FIELD_NAMES = st.sampled_from([*CARD_FIELDS, *BANK_FIELDS, "method", "chargeAmount"])
WAYS_IN = st.tuples(st.sampled_from(Dialect), st.sampled_from([None, *Method]))
CONSTANTS_IN_MESSAGES = {"1", "128", "64", "32", "8"}
"""The digits that messages may hold: limits of ours, and UTF-8."""


def check_never_raises(raw: bytes, way: tuple[Dialect, Method | None]) -> None:
    """Assert that a body becomes a payment or a refusal, and that a refusal quotes no digits."""
    result = parse(raw, *way)
    if isinstance(result, Refusal):
        assert result.code in ERRORS
        assert set(re.findall(r"\d+", result.message or "")) <= CONSTANTS_IN_MESSAGES


@given(st.binary(), WAYS_IN)
@settings(max_examples=1000)
def test_no_bytes_are_an_error(raw: bytes, way: tuple[Dialect, Method | None]) -> None:
    """Any bytes at all become a payment or a refusal, in every dialect and on every path."""
    check_never_raises(raw, way)


@given(st.text(alphabet='[]{}",:\\u0dDnulltrefas1e+-. \ufeff\x00\ud7ff', max_size=200), WAYS_IN)
@settings(max_examples=1000)
def test_no_text_like_json_is_an_error(text: str, way: tuple[Dialect, Method | None]) -> None:
    """Texts made of JSON's own characters, broken in every way, raise nothing either."""
    check_never_raises(text.encode(), way)


@given(st.dictionaries(st.one_of(FIELD_NAMES, st.text()), JSONISH, max_size=6), WAYS_IN)
@settings(max_examples=500)
def test_no_tree_of_json_is_an_error(fields: dict[str, object], way: tuple[Dialect, Method | None]) -> None:
    """Objects with the contract's fields and anything in them raise nothing, and no message quotes their digits."""
    check_never_raises(json.dumps(fields).encode(), way)


@given(FIELD_NAMES, JSONISH, st.sampled_from([card, bank]), st.sampled_from(Method), WAYS_IN)
@settings(max_examples=1000)
def test_no_single_field_is_an_error(
    name: str, value: object, make: Maker, method: Method, way: tuple[Dialect, Method | None]
) -> None:
    """A good request with anything in one of its fields raises nothing, and no message quotes its digits."""
    check_never_raises(make(method, **{name: value}), way)


@given(st.integers(0, 500), st.integers(0, 255), WAYS_IN)
def test_no_flipped_byte_is_an_error(place: int, byte: int, way: tuple[Dialect, Method | None]) -> None:
    """A good request with any byte replaced raises nothing."""
    raw = bytearray(card())
    raw[place % len(raw)] = byte

    check_never_raises(bytes(raw), way)


@given(JSONISH)
def test_every_tree_survives_the_round_trip(value: object) -> None:
    """What JSON can say is read, and written again, without losing anything but spaces."""
    raw = json.dumps({"x": value}, separators=(",", ":"), ensure_ascii=False)
    try:
        parsed = parse_object(raw.encode())["x"]
    except (NotJsonError, UnicodeEncodeError):  # NaN and infinity, and surrogates that cannot be sent at all
        return

    assert (
        raw == f'{{"x":{to_text(parsed) if not isinstance(parsed, str) else json.dumps(parsed, ensure_ascii=False)}}}'
    )


@pytest.mark.parametrize("name", [*CARD_FIELDS, "chargeAmount", "method"])
def test_no_message_quotes_a_field(name: str) -> None:
    """Whatever stands in a field, the refusal's message does not repeat it."""
    for value in ("canary4242", ["canary4242"], {"canary4242": "canary4242"}, {"save_card": "canary4242"}):
        for dialect in Dialect:
            result = parse(card(**{name: value}), dialect)
            if isinstance(result, Refusal):
                assert "canary" not in (result.message or "")


def test_no_message_quotes_a_parameters_name() -> None:
    """A parameter that cannot be used is named as we spell it, not as it came."""
    names = ["Oper-Ation", "SaVe_CaRd", "REFERENCE", "avs_Name", "Bank-Account-Type", "sandbox_4242"]

    messages = [refused(card(parameters={name: []})).message for name in names]

    assert [
        f"The parameter {name} is not a string."
        for name in ("operation", "save_card", "reference", "AVSName", "bank_account_type", "sandbox_*")
    ] == messages


# --- Parameters ------------------------------------------------------------------------------------------------------


def details(**parameters: object) -> Details:
    """Return what the gateway makes of custom parameters on a charge."""
    return accepted(card(parameters=parameters, description=None)).details


@pytest.mark.parametrize(
    "name", ["save_card", "saveCard", "SaveCard", "SAVE_CARD", "save-card", "savecard", "s_a-v_ecard"]
)
def test_parameter_names_are_folded(name: str) -> None:
    """However Twilio converts a name, case, underscores and hyphens do not count."""
    payment = charged(card(parameters={name: "true"}))

    assert (True, {}) == (payment.save_card, payment.details.metadata)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("true", True), ("TRUE", True), (True, True), ("false", False), (False, False), (None, False), ("", False)],
    ids=named,
)
def test_save_card_is_true_or_false(value: object, expected: bool) -> None:  # noqa: FBT001 - a claim's other half
    """A flag is true or false, quoted or not, and off where it is empty."""
    assert expected is charged(card(parameters={"save_card": value})).save_card


@pytest.mark.parametrize("value", ["yes", "1", 1, 0, "tru e", [True], {}], ids=named)
def test_save_card_is_nothing_else(value: object) -> None:
    """Whether a card is kept is never guessed."""
    assert ErrorCode.INVALID_FIELD == refused(card(parameters={"save_card": value})).code


def test_a_tokenize_saves_anyway() -> None:
    """`save_card` on a tokenize means nothing."""
    expected = accepted(card("tokenize", parameters={}))

    assert expected == accepted(card("tokenize", parameters={"save_card": "perhaps"}))


@pytest.mark.parametrize(
    ("value", "expected"), [("sale", "sale"), ("SALE", "sale"), ("refund", "refund"), ("", "sale")]
)
def test_the_operation_is_told_in_lower_case(value: str, expected: str) -> None:
    """What was asked for is told, and whether it is permitted is for others to say."""
    assert expected == details(operation=value).operation


def test_a_reference_has_at_most_64_characters() -> None:
    """A reference of 64 characters is kept, one of 65 is refused, a number is a text."""
    number = card().replace(b'"order_id": "A-1001"', b'"reference": 17.50')

    assert ["x" * 64, "17.50"] == [details(Reference="x" * 64).reference, accepted(number).details.reference]
    assert ErrorCode.INVALID_FIELD == refused(card(parameters={"reference": "x" * 65})).code


def test_ach_details_come_as_parameters() -> None:
    """Account holder and account type are told apart from metadata."""
    made = details(AVSName="Ada Lovelace", bank_account_type="consumer-savings")

    assert ("Ada Lovelace", "consumer-savings", {}) == (
        made.ach.account_holder_name,
        made.ach.account_type,
        made.metadata,
    )


def test_all_other_parameters_are_metadata() -> None:
    """Names are kept as they are, values become texts, null is nothing."""
    made = details(order_id="A-1001", Count=3, ok=True, none=None, empty="", deep={"a": [1.0, None]})

    assert {"order_id": "A-1001", "Count": "3", "ok": "true", "empty": "", "deep": '{"a":[1.0,null]}'} == made.metadata


@pytest.mark.parametrize("names", [("a_b", "ab"), ("ab", "a_b"), ("AB", "a_b", "ab", "a-b")])
def test_metadata_names_are_not_folded(names: tuple[str, ...]) -> None:
    """Parameters whose names differ in case or underscores only are all kept, in any order."""
    expected = {name: str(number) for number, name in enumerate(names)}

    assert expected == details(**expected).metadata


def test_sandbox_parameters_are_controls() -> None:
    """What begins with `sandbox`, in any spelling, is for the sandbox alone and under its folded name."""
    made = details(sandbox_outcome="approve", SandboxDelayMs=20, SANDBOX_X=None, sand_box_y="1")

    assert ({"outcome": "approve", "delayms": "20", "y": "1"}, {}) == (made.controls, made.metadata)


@pytest.mark.parametrize(
    "names", [("save_card", "saveCard"), ("sandbox_outcome", "SANDBOX_OUTCOME"), ("operation", "OPERATION")]
)
def test_a_parameter_spelled_twice_is_no_metadata(names: tuple[str, str]) -> None:
    """Two spellings with one value are one parameter; with two values they are a contradiction."""
    one, other = names

    assert {} == details(**{one: "false", other: "false"}).metadata
    assert 1 >= len(details(**{one: "false", other: "false"}).controls)
    assert ErrorCode.INVALID_FIELD == refused(card(parameters={one: "true", other: "false"})).code


# --- Free text -------------------------------------------------------------------------------------------------------

SPELLINGS = {
    "plain": VISA,
    "spaces": "4111 1111 1111 1111",
    "hyphens": "4111-1111-1111-1111",
    "full-width": VISA.translate(FULL_WIDTH),
    "full-width with spaces": "4111 1111 1111 1111".translate(FULL_WIDTH),
}
FREE_TEXT: dict[str, dict[str, object]] = {
    "description": {"description": "card {}"},
    "description as a tree": {"description": {"a": ["card {}", {"{}": 1}]}},
    "metadata value": {"parameters": {"note": "card {}"}},
    "metadata name": {"parameters": {"note {}": "x"}},
    "metadata as a tree": {"parameters": {"note": {"deep": ["{}"]}}},
    "reference": {"parameters": {"reference": "r {}"}},
    "operation": {"parameters": {"operation": "{}"}},
    "account holder": {"parameters": {"AVSName": "Ada {}"}},
    "account type": {"parameters": {"bank_account_type": "{}"}},
    "sandbox control": {"parameters": {"sandbox_outcome": "{}"}},
    "sandbox control's name": {"parameters": {"sandbox_{}": "x"}},
}


@pytest.mark.parametrize("number", SPELLINGS.values(), ids=SPELLINGS.keys())
@pytest.mark.parametrize("changes", FREE_TEXT.values(), ids=FREE_TEXT.keys())
def test_free_text_is_scrubbed(changes: dict[str, object], number: str) -> None:
    """A card number that somebody wrote into a text is masked, whosever it is, in every text there is."""
    other = number.replace("4", "5", 1).replace("\uff14", "\uff15", 1)  # fails Luhn, so it stays: the control
    planted, control = (
        json.loads(json.dumps(changes, ensure_ascii=False).replace("{}", text)) for text in (number, other)
    )
    by_somebody_else: dict[str, object] = {"cardnumber": AMEX, "cvv": None}

    for payer in ({}, by_somebody_else):
        assert VISA not in digits_of(repr(accepted(card(**planted, **payer)).details))
        assert VISA.replace("4", "5", 1) in digits_of(repr(accepted(card(**control, **payer)).details))


@pytest.mark.parametrize("changes", FREE_TEXT.values(), ids=FREE_TEXT.keys())
def test_the_payments_own_account_number_is_scrubbed(changes: dict[str, object]) -> None:
    """An account number, which no checksum betrays, is masked where it is the payment's own."""
    planted = json.loads(json.dumps(changes).replace("{}", ACCOUNT))

    assert ACCOUNT not in repr(accepted(bank(**planted)).details)
    assert ACCOUNT in repr(accepted(bank(**planted, bankaccountnumber="66554433")).details), "control"


@pytest.mark.parametrize(
    "id_",
    [VISA, f"tx-{VISA}-1", "4111-1111-1111-1111", "4111 1111 1111 1111", "4111.1111.1111.1111", "4111_1111/1111,1111"],
)
def test_a_transaction_id_that_holds_the_card_number_is_refused(id_: str) -> None:
    """The transaction id is kept in clear, so the payment's own card number may not be in it, in any grouping."""
    refusal = refused(card(transaction_id=id_))

    assert (ErrorCode.INVALID_FIELD, Method.CHARGE) == (refusal.code, refusal.method)
    assert id_ == accepted(card(transaction_id=id_, cardnumber=AMEX, cvv=None)).transaction_id, "control"


def test_a_transaction_id_that_holds_the_account_number_is_refused() -> None:
    """So it is with account numbers that are too long to be there by chance."""
    accounts = ["1234", "1234567", "12345678", "12345678901234567"]
    bodies = [bank(transaction_id=f"a{account}b", bankaccountnumber=account) for account in accounts]

    refusals = [parse(raw, Dialect.TWILIO) for raw in bodies]

    assert [False, False, True, True] == [isinstance(result, Refusal) for result in refusals]


# --- Legacy paths ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path_method", Method)
def test_a_legacy_path_names_the_method(path_method: Method) -> None:
    """On `/charge` and `/tokenize` the body need not name the method; if it does, it must be the same."""
    expected = accepted(card(path_method))

    assert [expected] * 3 == [
        accepted(card(method), path_method=path_method) for method in (ABSENT, None, path_method.value)
    ]


@pytest.mark.parametrize(("path_method", "named"), [(Method.CHARGE, "tokenize"), (Method.TOKENIZE, "charge")])
def test_a_legacy_path_cannot_be_contradicted(path_method: Method, named: str) -> None:
    """A body that names the other method is refused, and no method is known."""
    refusal = refused(card(named), path_method=path_method)

    assert (ErrorCode.INVALID_FIELD, None) == (refusal.code, refusal.method)


def test_a_legacy_path_does_not_excuse_an_unknown_method() -> None:
    """A method that there is not stays unsupported on every path."""
    assert ErrorCode.UNSUPPORTED_METHOD == refused(card("refund"), path_method=Method.CHARGE).code


# --- SignalWire ------------------------------------------------------------------------------------------------------


def signalwire(method: object = ABSENT, /, **changes: object) -> bytes:
    """Return a SignalWire body: no operation in it, and no amount unless one is given."""
    return card(method, **{"amount": ABSENT, **changes})


@pytest.mark.parametrize("method", [ABSENT, None, "credit-card"], ids=["missing", "null", "credit-card"])
@pytest.mark.parametrize("name", ["amount", "chargeAmount"])
@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        ("10.00", Method.CHARGE),
        (10, Method.CHARGE),
        ("0", Method.TOKENIZE),
        ("0.00", Method.TOKENIZE),
        ("000", Method.TOKENIZE),
        (0, Method.TOKENIZE),
        ("", Method.TOKENIZE),
        (None, Method.TOKENIZE),
        (ABSENT, Method.TOKENIZE),
    ],
    ids=named,
)
def test_signalwire_says_the_method_by_the_amount(method: object, name: str, amount: object, expected: Method) -> None:
    """No amount or zero means tokenize, anything else is a charge; `method` is the payment method."""
    payment = accepted(signalwire(method, **{name: amount}), Dialect.SIGNALWIRE)

    assert expected == payment.method


@pytest.mark.parametrize("method", ["charge", "tokenize", "ach-debit", "", 1, ["credit-card"]], ids=named)
def test_signalwire_has_no_other_payment_method(method: object) -> None:
    """Twilio's methods mean nothing to SignalWire and are refused."""
    refusal = refused(signalwire(method, amount="10.00"), Dialect.SIGNALWIRE)

    assert (ErrorCode.UNSUPPORTED_METHOD, None) == (refusal.code, refusal.method)


@pytest.mark.parametrize(
    ("one", "other"),
    [("10", "10.00"), ("010", "10"), ("0", "0.0"), ("10", None), ("", "10"), (10, "10.0"), ("0", 0)],
    ids=named,
)
def test_signalwire_may_say_the_amount_twice(one: object, other: object) -> None:
    """`chargeAmount` and `amount` may both be there if they say the same."""
    payments = [
        accepted(signalwire(amount=first, chargeAmount=second), Dialect.SIGNALWIRE)
        for first, second in ((one, other), (other, one))
    ]

    assert payments[0] == payments[1]


@pytest.mark.parametrize(
    ("one", "other"), [("10", "1"), ("10", "100"), ("0", "10"), ("10.01", "10.1"), (1, 10)], ids=named
)
def test_signalwire_may_not_contradict_itself(one: object, other: object) -> None:
    """Two different amounts are refused before anything is inferred from either."""
    refusal = refused(signalwire(amount=one, chargeAmount=other), Dialect.SIGNALWIRE)

    assert (ErrorCode.INVALID_FIELD, None) == (refusal.code, refusal.method)


@pytest.mark.parametrize("amount", ["-1", "1e2", "0e0", "ten", "0."])
def test_what_is_not_clearly_zero_is_a_charge_and_refused(amount: str) -> None:
    """An amount that is neither zero nor readable is not taken for a tokenize."""
    refusal = refused(signalwire(amount=amount), Dialect.SIGNALWIRE)

    assert (ErrorCode.INVALID_AMOUNT, Method.CHARGE) == (refusal.code, refusal.method)


@pytest.mark.parametrize("amount", [True, [], {}], ids=named)
def test_a_signalwire_amount_of_another_type_is_refused(amount: object) -> None:
    """An amount is a text or a number in every dialect."""
    assert ErrorCode.INVALID_FIELD == refused(signalwire(chargeAmount=amount), Dialect.SIGNALWIRE).code


def test_only_signalwire_knows_charge_amount() -> None:
    """Elsewhere `chargeAmount` is a field like any other that is not of the contract."""
    assert ErrorCode.MISSING_FIELD == refused(card(amount=ABSENT, chargeAmount="10.00")).code


def test_signalwire_on_a_legacy_path_must_agree_with_its_amount() -> None:
    """The path cannot make a charge of what has no amount."""
    refusal = refused(signalwire(), Dialect.SIGNALWIRE, Method.CHARGE)

    assert (ErrorCode.INVALID_FIELD, None) == (refusal.code, refusal.method)
    assert Method.TOKENIZE == accepted(signalwire(), Dialect.SIGNALWIRE, Method.TOKENIZE).method


# --- The error table -------------------------------------------------------------------------------------------------

CODES = [
    "malformed_request",
    "unsupported_method",
    "missing_field",
    "invalid_field",
    "invalid_card_number",
    "unsupported_card_brand",
    "invalid_expiry",
    "expired_card",
    "invalid_cvv",
    "invalid_postal_code",
    "invalid_routing_number",
    "invalid_account_number",
    "invalid_amount",
    "unsupported_currency",
    "test_number_required",
    "live_number_required",
    "not_permitted",
    "transaction_id_reused",
    "outcome_unknown",
    "processor_unavailable",
    "unauthorized",
    "instance_disabled",
    "not_found",
    "method_not_allowed",
    "payload_too_large",
    "too_many_requests",
    "store_unavailable",
    "internal_error",
]
DECLINES = [
    "card_declined",
    "insufficient_funds",
    "do_not_honor",
    "lost_card",
    "stolen_card",
    "incorrect_cvv",
    "incorrect_postal_code",
    "processing_error",
    "account_closed",
    "no_account",
    "ach_returned",
]


def test_every_code_is_in_the_table_once_and_in_order() -> None:
    """The table has the codes of the contract and then the declines, each once, in the documented order."""
    assert CODES + DECLINES == [str(code) for code in ERRORS]
    assert (CODES, DECLINES) == (list(ErrorCode), list(DeclineCode))


def test_every_code_has_its_status() -> None:
    """What is about the payment is a 200; the rest has the HTTP status of what went wrong."""
    others = {
        "malformed_request": 400,
        "unsupported_method": 400,
        "missing_field": 400,
        "invalid_field": 400,
        "unauthorized": 401,
        "instance_disabled": 403,
        "not_found": 404,
        "method_not_allowed": 405,
        "payload_too_large": 413,
        "too_many_requests": 429,
        "store_unavailable": 503,
        "internal_error": 503,
    }

    assert {code: others.get(code, 200) for code in CODES + DECLINES} == {
        str(code): entry.status for code, entry in ERRORS.items()
    }


def test_every_message_is_a_sentence() -> None:
    """Each code has a message of its own to read, but for two declines that must not be told apart."""
    messages = [entry.message for entry in ERRORS.values()]

    assert all(re.fullmatch(r"[A-Z].*\.", message) for message in messages)
    assert {
        DeclineCode.CARD_DECLINED,
        DeclineCode.LOST_CARD,
        DeclineCode.STOLEN_CARD,
    } == {code for code, entry in ERRORS.items() if messages.count(entry.message) > 1}


def test_whether_to_try_again_is_told() -> None:
    """What was keyed wrong, passes by itself or may pass another time may be retried; nothing else may."""
    keyed_wrong = {
        "invalid_card_number",
        "invalid_expiry",
        "invalid_cvv",
        "invalid_postal_code",
        "invalid_routing_number",
        "invalid_account_number",
        "incorrect_cvv",
        "incorrect_postal_code",
    }
    passing = {"processor_unavailable", "too_many_requests", "store_unavailable", "internal_error"}
    another_time = {"card_declined", "insufficient_funds", "do_not_honor", "processing_error"}

    may_retry = {str(code) for code, entry in ERRORS.items() if entry.may_retry}

    assert keyed_wrong | passing | another_time == may_retry
    assert {str(code) for code, entry in ERRORS.items() if "again" in entry.message} <= may_retry | {"outcome_unknown"}


# --- Replies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", Method)
def test_a_success_is_an_id_and_no_error(method: Method) -> None:
    """A success has the method's id key, null for both error fields, and parameters."""
    reply = render_success(method, "ch_a", {"status": "approved", "card_last4": "1111"})

    assert 200 == reply.status
    assert {
        method.id_key: "ch_a",
        "error_code": None,
        "error_message": None,
        "parameters": {"status": "approved", "card_last4": "1111"},
    } == json.loads(reply.body)


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("method", [None, *Method])
@pytest.mark.parametrize("code", ERRORS, ids=str)
def test_a_failure_is_a_code_and_no_id(code: Code, method: Method | None, dialect: Dialect) -> None:
    """Every failure has the id key of its method, or both where it is not known, and all of them are null."""
    keys = ["charge_id", "token_id"] if method is None else [method.id_key]

    reply = render_failure(code, method, dialect)

    assert {**dict.fromkeys(keys), "error_code": code, "error_message": ERRORS[code].message} == json.loads(reply.body)


@pytest.mark.parametrize("code", ERRORS, ids=str)
def test_signalwire_hears_a_failed_payment_as_402(code: Code) -> None:
    """Where the others answer 200 to a payment that failed, SignalWire wants 402; other statuses stay."""
    statuses = {dialect: render_failure(code, Method.CHARGE, dialect).status for dialect in Dialect}
    usual = ERRORS[code].status

    assert {"twilio": usual, "telnyx": usual, "signalwire": 402 if usual == 200 else usual} == statuses


def test_a_failure_may_have_its_own_message_and_parameters() -> None:
    """A message replaces the table's; parameters are there only if there are any."""
    fields = json.loads(
        render_failure(DeclineCode.CARD_DECLINED, Method.CHARGE, message="No.", parameters={"status": "declined"}).body
    )
    without = json.loads(render_failure(DeclineCode.CARD_DECLINED, Method.CHARGE, parameters={}).body)

    assert ("No.", {"status": "declined"}) == (fields["error_message"], fields["parameters"])
    assert "parameters" not in without


@given(st.dictionaries(st.text(), st.text()), st.sampled_from(Method))
def test_a_reply_is_compact_ascii_json(parameters: dict[str, str], method: Method) -> None:
    """Whatever is in its parameters, a reply is JSON in ASCII, with strings for parameters and nothing else."""
    try:
        "".join([*parameters, *parameters.values()]).encode()
    except UnicodeEncodeError:
        return  # half a surrogate pair cannot come in, so it cannot go out

    raw = render_success(method, "tok_a", parameters).body

    assert raw.isascii()
    assert parameters == json.loads(raw)["parameters"]
    assert raw == json.dumps(json.loads(raw), separators=(",", ":")).encode()


# --- What a reply tells ----------------------------------------------------------------------------------------------


class Shown(NamedTuple):
    """What `contract.reply.Shown` asks for, and nothing else."""

    method: Method
    kind: str
    brand: str | None
    last4: str
    confirmation_number: str | None
    token_id: str | None
    reference: str | None


CARD_CHARGED = Shown(
    method=Method.CHARGE,
    kind="card",
    brand="visa",
    last4="1111",
    confirmation_number="123456789",
    token_id=None,
    reference=None,
)
CARD_SAVED = CARD_CHARGED._replace(method=Method.TOKENIZE, confirmation_number=None, token_id="tok_a")
BANK_CHARGED = CARD_CHARGED._replace(kind="bank", brand=None, last4="**56")
BANK_SAVED = CARD_SAVED._replace(kind="bank", brand=None, last4="**56")


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (
            CARD_CHARGED,
            {"status": "approved", "card_brand": "visa", "card_last4": "1111", "confirmation_number": "123456789"},
        ),
        (BANK_CHARGED, {"status": "submitted", "bank_last4": "**56", "confirmation_number": "123456789"}),
        (CARD_SAVED, {"status": "saved", "card_brand": "visa", "card_last4": "1111"}),
        (BANK_SAVED, {"status": "saved", "bank_last4": "**56"}),
        (CARD_SAVED._replace(brand=None), {"status": "saved", "card_last4": "1111"}),
    ],
    ids=["card charged", "account charged", "card saved", "account saved", "no brand known"],
)
def test_a_success_tells_what_was_done_with_what(shown: Shown, expected: dict[str, str]) -> None:
    """A card is approved, a debit submitted, a token saved; the instrument is told by brand and last four only."""
    assert expected == success_parameters(shown, Approved())


def test_a_success_tells_all_that_is_known() -> None:
    """What the processor said, the token of a card that was saved with its charge, and the reference are added."""
    shown = CARD_CHARGED._replace(token_id="tok_a", reference="A-1001")
    result = Approved(authorization_code="A1", processor_reference="p_1", avs_result="Y", cvv_result="M")

    assert {
        "status": "approved",
        "card_brand": "visa",
        "card_last4": "1111",
        "authorization_code": "A1",
        "confirmation_number": "123456789",
        "token_id": "tok_a",
        "avs_result": "Y",
        "cvv_result": "M",
        "reference": "A-1001",
    } == success_parameters(shown, result)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (CARD_CHARGED, {"status": "declined", "card_brand": "visa", "card_last4": "1111"}),
        (BANK_CHARGED, {"status": "declined", "bank_last4": "**56"}),
        (CARD_SAVED, {"status": "declined", "card_brand": "visa", "card_last4": "1111"}),
    ],
    ids=["card", "account", "tokenize"],
)
def test_a_decline_tells_no_numbers_to_quote(shown: Shown, expected: dict[str, str]) -> None:
    """A decline has neither confirmation number nor token: nothing that sounds as if it had gone through."""
    assert expected == declined_parameters(shown._replace(token_id="tok_a"), Declined(code=DeclineCode.LOST_CARD))


def test_a_decline_tells_what_did_not_match() -> None:
    """Results of the address and CVV checks, and the reference, are told of a decline too."""
    shown = CARD_CHARGED._replace(reference="A-1001")
    result = Declined(code=DeclineCode.INCORRECT_CVV, processor_reference="p_1", avs_result="N", cvv_result="N")

    assert {
        "status": "declined",
        "card_brand": "visa",
        "card_last4": "1111",
        "avs_result": "N",
        "cvv_result": "N",
        "reference": "A-1001",
    } == declined_parameters(shown, result)
