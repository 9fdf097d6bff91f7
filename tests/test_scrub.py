"""Scrubbing: card numbers leave the text, and the rest of it stays."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from stdnum import luhn

from generic_connector.scrub import blot, scrub

VISA = "4111111111111111"
SEPARATORS = [
    "",
    " ",
    "-",
    ".",
    "/",
    "_",
    ",",
    ", ",
    " - "[:2],
    "\t",
    "\n",
    "\u00a0",
    "\u2011",
    "\u2013",
    "\u3000",
    "\uff0d",
]
FULL_WIDTH = str.maketrans(string.digits, "".join(chr(0xFF10 + digit) for digit in range(10)))
ARABIC = str.maketrans(string.digits, "".join(chr(0x0660 + digit) for digit in range(10)))


@st.composite
def card_numbers(draw: st.DrawFn) -> str:
    """Draw any text of 12 to 19 digits that passes Luhn."""
    payload = draw(st.text(string.digits, min_size=11, max_size=18))
    return payload + luhn.calc_check_digit(payload)


def digits_of(text: str) -> str:
    """Return the decimal digits of a text, of whatever script, as ASCII."""
    return "".join(str(int(char)) for char in text if char.isdecimal())


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("script", [{}, FULL_WIDTH, ARABIC], ids=["ascii", "full-width", "arabic"])
def test_a_card_number_is_masked_to_its_last_four(separator: str, script: dict[int, int]) -> None:
    """Separators between the digits, and digits of other scripts, do not save a card number."""
    number = separator.join(["4111", "1111", "1111", "1111"]).translate(script)
    text = f"card {number}, thanks"

    actual = scrub(text)

    assert "1111" == digits_of(actual)
    assert VISA == digits_of(text), "control: without the scrub it would be all there"
    assert (len(text), "card *", ", thanks") == (len(actual), actual[:6], actual[-8:])


@given(card_numbers(), st.text(string.ascii_letters + " :;()"), st.sampled_from(SEPARATORS), st.data())
def test_no_card_number_survives(number: str, around: str, separator: str, data: st.DataObject) -> None:
    """Whatever the number, its grouping and the words around it, at most its last four digits stay."""
    cut = data.draw(st.integers(1, len(number) - 1))
    text = f"{around}{number[:cut]}{separator}{number[cut:]}{around}"

    actual = scrub(text)

    assert number == digits_of(text), "control"
    assert digits_of(actual) in {"", number[-4:]}


@given(st.text(string.digits, min_size=1, max_size=19))
@example("0" * 12)
@example("0" * 11)
def test_an_unbroken_run_is_judged_by_luhn_and_length(digits: str) -> None:
    """A run of up to 19 digits is masked if it has 12 or more and passes Luhn, as an independent library sees it."""
    is_one = len(digits) >= 12 and luhn.is_valid(digits)

    expected = "*" * (len(digits) - 4) + digits[-4:] if is_one else digits

    assert expected == scrub(digits)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no digits at all",
        "order 12345678901",  # eleven digits
        "order 4111111111111112",  # fails Luhn
        "2026-11-23 04:15:00",
        "call +1 555 010 9999",
        "1b0e9a52-6f3c-4d7e-9b21-5c8f0d4e7a31",
    ],
)
def test_other_numbers_stay_readable(text: str) -> None:
    """Short numbers, numbers that fail Luhn, dates, telephone numbers and UUIDs are left as they are."""
    assert text == scrub(text)


@pytest.mark.parametrize("beside", ["{} 123", "{} 08/27", "{} 08/27 123", "7 {}", "7-{}-9"])
def test_other_digits_beside_a_card_number_are_masked_with_it(beside: str) -> None:
    """What stands right beside a card number may be its expiry or CVV: nothing of the run stays."""
    for number in (VISA, "4111 1111 1111 1111", "378282246310005"):
        actual = scrub(beside.format(number))

        assert "" == digits_of(actual)


@given(st.text(string.digits, max_size=40), st.text(string.digits, max_size=40))
def test_a_card_number_in_a_run_too_long_for_one_is_masked(before: str, after: str) -> None:
    """In an unbroken run of more than 19 digits any 12 to 19 that pass Luhn count, and the whole run is masked."""
    run = f"{before}{VISA}{after}"
    run += "0" * (20 - len(run))

    assert "*" * len(run) == scrub(run)


@pytest.mark.parametrize("digit", string.digits)
@pytest.mark.parametrize("length", [20, 21, 40])
def test_a_long_run_is_searched_to_both_ends(length: int, digit: str) -> None:
    """Ones alone hold no card number; one other digit, at either end of them, may make the only one there is."""
    ones = "1" * (length - 1)

    for run in (digit + ones, ones + digit):
        parts = {run[end - size : end] for size in range(12, 20) for end in range(size, length + 1)}
        is_one = any(luhn.is_valid(part) for part in parts)

        assert ("*" * length if is_one else run) == scrub(run)


def test_a_run_that_is_too_long_to_judge_is_masked_whole() -> None:
    """A run of 256 digits of which no 12 to 19 pass Luhn stays; one digit more, and it is masked unjudged."""
    assert "1" * 256 == scrub("1" * 256)
    assert "*" * 257 == scrub("1" * 257)


def test_two_card_numbers_are_both_masked() -> None:
    """Each of two numbers with words between them is masked to its own last four digits."""
    assert "************1111 or ***********0005" == scrub("4111111111111111 or 378282246310005")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("account 55443322", "account ********"),
        ("x5544332299", "x********99"),
        ("55-44-33-22", "**-**-**-**"),
        ("5544 3322 and 9", "**** **** and 9"),
        ("55443322".translate(FULL_WIDTH), "********"),
        ("55443321", "55443321"),
    ],
)
def test_a_long_secret_is_masked_wherever_it_stands(text: str, expected: str) -> None:
    """A secret of eight digits or more is masked whole: inside a word, grouped, or in another script's digits."""
    assert expected == scrub(text, ("55443322",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("pin 4321.", "pin ****."), ("54321", "54321"), ("43210", "43210"), ("4321 4321", "**** ****"), ("no", "no")],
)
def test_a_short_secret_is_masked_as_a_number_of_its_own(text: str, expected: str) -> None:
    """A secret of fewer than eight digits is masked where it stands alone; inside longer numbers it is chance."""
    assert expected == scrub(text, ("4321",))


def test_a_secret_is_masked_even_if_it_fails_luhn() -> None:
    """The payment's own number is masked whole, Luhn or not; a scrub that is not told of it leaves it."""
    diners = "3065930009020004"

    assert "*" * 16 == scrub(diners, (diners,))
    assert diners == scrub(diners), "control"


@given(st.text())
def test_blot_leaves_no_digit(text: str) -> None:
    """After `blot` no digit of any script is left, and everything else is where it was."""
    actual = blot(text)

    assert "" == digits_of(actual)
    assert ["#" if char.isdecimal() else char for char in text] == list(actual)


@given(st.text(alphabet="0123456789 .,-_/a\t", min_size=8, max_size=40))
def test_the_quick_look_misses_nothing(text: str) -> None:
    """Text in ASCII is looked at in a quicker way first: with a letter beyond ASCII behind it, the same is masked."""
    assert scrub(f"{text}é") == f"{scrub(text)}é"
