"""Money: exact, in every currency, and never guessed."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generic_connector.money import (
    CURRENCIES,
    MAJOR_UNITS_MAX,
    Currency,
    Money,
    parse_currency,
)

USD, JPY, BHD, CLF = (CURRENCIES[code] for code in ("USD", "JPY", "BHD", "CLF"))
BY_EXPONENT = [JPY, USD, BHD, CLF]


def parsed(text: str, currency: Currency = USD) -> int | None:
    """Return the minor units that a text means, or None."""
    money = Money.parse(text, currency)
    return None if money is None else money.minor


# --- Currencies ------------------------------------------------------------------------------------------------------


def test_the_currencies_are_those_of_iso_4217() -> None:
    """Currencies with every exponent are known, under their upper-case codes."""
    assert {0, 2, 3, 4} == {currency.exponent for currency in CURRENCIES.values()}
    assert [0, 2, 3, 4] == [currency.exponent for currency in BY_EXPONENT]
    assert all(code == currency.code and code.isupper() for code, currency in CURRENCIES.items())


@pytest.mark.parametrize("code", ["USD", "usd", "Usd"])
def test_a_currency_is_known_in_any_case(code: str) -> None:
    """Twilio writes currencies in lower case, its documents in upper case: both are read."""
    assert USD == parse_currency(code)


@pytest.mark.parametrize(
    "code", ["", "US", "USDD", "ZZZ", " USD", "XAU", "XXX", "XTS", "\uff35\uff33\uff24", "\u0131nr"]
)
def test_what_cannot_be_charged_is_no_currency(code: str) -> None:
    """Unknown codes, gold, testing codes and other scripts' letters are refused."""
    assert parse_currency(code) is None


# --- Amounts ---------------------------------------------------------------------------------------------------------


@given(st.sampled_from(sorted(CURRENCIES)), st.data())
def test_every_amount_of_every_currency_survives_the_round_trip(code: str, data: st.DataObject) -> None:
    """Writing an amount as a decimal text and reading it again gives the same minor units."""
    currency = CURRENCIES[code]
    money = Money(data.draw(st.integers(0, MAJOR_UNITS_MAX * 10**currency.exponent)), currency)

    assert money == Money.parse(money.decimal, currency)
    assert Decimal(money.decimal) * 10**currency.exponent == money.minor


@given(st.sampled_from(BY_EXPONENT), st.integers(0, 999_999), st.text("0123456789", max_size=6), st.integers(0, 9))
def test_an_amount_means_what_its_decimal_text_means(currency: Currency, whole: int, decimals: str, zeros: int) -> None:
    """An amount is accepted exactly when the currency has room for its decimals, and then it is exact."""
    text = f"{whole}.{decimals}{'0' * zeros}" if decimals + "0" * zeros else str(whole)

    minor = Decimal(text) * 10**currency.exponent

    assert (int(minor) if minor == int(minor) else None) == parsed(text, currency)


@pytest.mark.parametrize(
    ("text", "currency", "expected"),
    [
        ("50", USD, 5000),
        ("10.0", USD, 1000),
        ("10.00", USD, 1000),
        ("10.10", USD, 1010),
        ("0.01", USD, 1),
        ("007.50", USD, 750),
        ("10.000", USD, 1000),
        ("500", JPY, 500),
        ("500.0", JPY, 500),
        ("500.000", JPY, 500),
        ("1.250", BHD, 1250),
        ("1.2345", CLF, 12345),
        ("0", USD, 0),
        ("0.00", JPY, 0),
        ("1000000", USD, 100_000_000),
        ("1000000.00", USD, 100_000_000),
        ("1000000", JPY, 1_000_000),
    ],
)
def test_plain_decimals_are_read_exactly(text: str, currency: Currency, expected: int) -> None:
    """Whole and decimal amounts are read to the last minor unit; zeros at the end are no decimals."""
    assert expected == parsed(text, currency)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-1",
        "-0.01",
        "+1",
        "1e3",
        "1E3",
        "1e-2",
        "1,000",
        "1,000.00",
        "1.000,00",
        "1 000",
        "1'000",
        "1_000",
        "10.",
        ".50",
        ".",
        "1.2.3",
        " 10",
        "10 ",
        "10\n",
        "$10",
        "10 USD",
        "0x10",
        "NaN",
        "Infinity",
        "ten",
        "\uff11\uff10",
        "\u0661\u0660",
        "1\u0660",
        "\u00b2",
        "\u00bd",
        "10\u066b50",
        "10.001",
        "0.001",
        "1000000.01",
        "1000001",
        "99999999999999999999",
    ],
)
def test_what_is_ambiguous_is_refused(text: str) -> None:
    """Signs, exponents, separators, other scripts, too many decimals and too much money are no amount."""
    assert parsed(text) is None


def test_more_decimals_than_the_currency_has_are_refused() -> None:
    """One decimal that counts, more than there are minor units for, makes the amount unreadable."""
    texts = ["1.0", "1.01", "1.001", "1.0001", "1.00001"]

    accepted = [[parsed(text, currency) is not None for text in texts] for currency in BY_EXPONENT]

    assert [
        [True, False, False, False, False],
        [True, True, False, False, False],
        [True, True, True, False, False],
        [True, True, True, True, False],
    ] == accepted


def test_an_amount_has_a_longest_text() -> None:
    """A text of 64 characters is read, one of 65 is refused, before any number is made of it."""
    longest = "0" * 62 + "10"

    assert [1000, None] == [parsed(longest), parsed("0" + longest)]


@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    """Whatever the text, the answer is an amount or None, and an amount is within its limits."""
    for currency in BY_EXPONENT:
        minor = parsed(text, currency)
        assert minor is None or 0 <= minor <= MAJOR_UNITS_MAX * 10**currency.exponent


@pytest.mark.parametrize(
    ("minor", "currency", "expected"),
    [
        (0, USD, "0.00"),
        (1, USD, "0.01"),
        (1010, USD, "10.10"),
        (0, JPY, "0"),
        (500, JPY, "500"),
        (5, BHD, "0.005"),
        (1250, BHD, "1.250"),
        (12345, CLF, "1.2345"),
    ],
)
def test_an_amount_is_written_with_all_of_its_decimals(minor: int, currency: Currency, expected: str) -> None:
    """The decimal text has exactly as many decimals as the currency, and `str` adds its code."""
    money = Money(minor, currency)

    assert expected == money.decimal
    assert f"{expected} {currency.code}" == str(money)


def test_money_is_never_negative() -> None:
    """There is no negative money, not even by a mistake inside the program."""
    with pytest.raises(ValueError, match="never negative"):
        Money(-1, USD)
