"""Bank accounts: routing numbers, account numbers, and what of them may be shown."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.us import rtn

from generic_connector.bank import PUBLISHED_ACCOUNTS, AccountNumber, BankAccount, parse_routing_number

ROUTING = "021000021"
FULL_WIDTH = str.maketrans(string.digits, "".join(chr(0xFF10 + digit) for digit in range(10)))


@st.composite
def routing_numbers(draw: st.DrawFn) -> str:
    """Draw nine digits with the ABA checksum."""
    payload = draw(st.text(string.digits, min_size=8, max_size=8).filter(lambda text: text.strip("0") != ""))
    return payload + rtn.calc_check_digit(payload)


@given(routing_numbers())
def test_nine_digits_with_the_checksum_are_a_routing_number(text: str) -> None:
    """Every number with a right checksum is accepted as it is."""
    assert text == parse_routing_number(text)


@given(routing_numbers(), st.data())
def test_any_single_wrong_digit_fails(text: str, data: st.DataObject) -> None:
    """The ABA checksum finds every mistake in a single digit."""
    place = data.draw(st.integers(0, 8))
    wrong = data.draw(st.sampled_from([digit for digit in string.digits if digit != text[place]]))

    assert parse_routing_number(text[:place] + wrong + text[place + 1 :]) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "02100002",
        "0210000210",
        "021000022",
        "021-000-021",
        " 21000021",
        "021000021\n",
        ROUTING.translate(FULL_WIDTH),
    ],
)
def test_anything_else_is_no_routing_number(text: str) -> None:
    """Wrong lengths, wrong checksums, separators and digits of other scripts are refused."""
    assert parse_routing_number(text) is None


def test_nine_zeros_are_no_routing_number() -> None:
    """Zeros pass the checksum, which shows what this guard is for, and name no bank."""
    assert rtn.is_valid("000000000"), "control"
    assert parse_routing_number("000000000") is None


@pytest.mark.parametrize("length", range(20))
def test_an_account_number_has_4_to_17_digits(length: int) -> None:
    """From four digits to seventeen, any digits will do; shorter and longer ones are refused."""
    account = AccountNumber.parse("0" * length)

    assert (4 <= length <= 17) is (account is not None)


@pytest.mark.parametrize(
    "text", ["12 345", "1234-5", "12345a", "12345\n", "-12345", "\uff11\uff12\uff13\uff14", "1234\u0665"]
)
def test_anything_else_is_no_account_number(text: str) -> None:
    """Letters, separators, signs and digits of other scripts are refused."""
    assert AccountNumber.parse(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1234", "****"),
        ("12345", "***5"),
        ("123456", "**56"),
        ("1234567", "*567"),
        ("12345678", "5678"),
        ("12345678901234567", "4567"),
    ],
)
def test_four_digits_stay_hidden(text: str, expected: str) -> None:
    """At most the last four digits are shown, and never so many that fewer than four stay hidden."""
    account = BankAccount(ROUTING, AccountNumber(text))

    assert expected == account.last4


@given(st.text(string.digits, min_size=4, max_size=17))
def test_no_account_number_is_ever_shown_whole(text: str) -> None:
    """What is shown has four characters, and four of the account's digits or more are missing from it."""
    shown = AccountNumber(text).last4

    assert 4 == len(shown)
    assert len(text) - len(shown.strip("*")) >= 4
    assert text.endswith(shown.strip("*"))


def test_the_published_accounts_are_known() -> None:
    """Twilio's two test accounts are recognized, their neighbours are not."""
    texts = ["12345678", "123456789", "12345679", "1234567890", "1234567"]

    assert [True, True, False, False, False] == [AccountNumber(text).is_published for text in texts]
    assert {"12345678", "123456789"} == PUBLISHED_ACCOUNTS
