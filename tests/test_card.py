"""Cards: what is a card number, whose it is, and what of it may be shown."""

import string
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import luhn

from generic_connector.card import (
    IIN_RANGES,
    PUBLISHED_CARDS,
    Brand,
    Card,
    Cvv,
    Expiry,
    Pan,
    without_pans,
)

VISA = "4111111111111111"
FULL_WIDTH = str.maketrans(string.digits, "".join(chr(0xFF10 + digit) for digit in range(10)))


def number(prefix: str, length: int) -> str:
    """Return a card number of that length that begins with `prefix` and passes Luhn."""
    payload = prefix.ljust(length - 1, "0")
    return payload + luhn.calc_check_digit(payload)


@st.composite
def card_numbers(draw: st.DrawFn) -> str:
    """Draw any text of 12 to 19 digits that passes Luhn and is not all zeros."""
    payload = draw(st.text(string.digits, min_size=11, max_size=18).filter(lambda text: text.strip("0") != ""))
    return payload + luhn.calc_check_digit(payload)


# --- PAN -------------------------------------------------------------------------------------------------------------


@given(card_numbers())
def test_a_number_with_a_right_check_digit_is_a_pan(text: str) -> None:
    """Twelve to nineteen digits that pass Luhn are a card number, of whatever brand."""
    pan = Pan.parse(text)

    assert pan is not None
    assert text == pan.reveal()


@given(card_numbers(), st.data())
def test_any_single_wrong_digit_fails(text: str, data: st.DataObject) -> None:
    """Luhn finds every mistake in a single digit, as it promises."""
    place = data.draw(st.integers(0, len(text) - 1))
    wrong = data.draw(st.sampled_from([digit for digit in string.digits if digit != text[place]]))
    mistyped = text[:place] + wrong + text[place + 1 :]

    assert mistyped in PUBLISHED_CARDS or Pan.parse(mistyped) is None


@given(card_numbers(), st.data())
def test_most_transpositions_fail(text: str, data: st.DataObject) -> None:
    """Luhn finds two neighbours that changed places, but for 0 and 9, which it cannot tell apart."""
    place = data.draw(st.integers(0, len(text) - 2))
    one, other = text[place], text[place + 1]
    mistyped = text[:place] + other + one + text[place + 2 :]

    is_found = mistyped in PUBLISHED_CARDS or Pan.parse(mistyped) is None

    assert is_found is (one != other and {one, other} != {"0", "9"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        number("4", 11),
        number("4", 20),
        "4111111111111112",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        " 4111111111111111",
        "4111111111111111\n",
        "+4111111111111111",
        VISA.translate(FULL_WIDTH),
        VISA[:-1] + VISA[-1].translate(FULL_WIDTH),
        "\u0664" + VISA[1:],
        "411111111111111\u00b9",
        "card number here",
    ],
)
def test_anything_else_is_no_pan(text: str) -> None:
    """Wrong lengths, wrong check digits, separators, signs and digits of other scripts are refused."""
    assert Pan.parse(text) is None


@pytest.mark.parametrize("length", range(12, 20))
def test_all_zeros_are_no_pan(length: int) -> None:
    """Zeros pass Luhn, which shows what this guard is for, and are no card number."""
    assert luhn.is_valid("0" * length), "control"
    assert Pan.parse("0" * length) is None


@pytest.mark.parametrize("text", PUBLISHED_CARDS)
def test_every_published_number_is_a_pan(text: str) -> None:
    """Twilio's eight test numbers are accepted, each with its brand, and known for what they are."""
    pan = Pan.parse(text)

    assert pan is not None
    assert (True, PUBLISHED_CARDS[text]) == (pan.is_published, pan.brand)


def test_the_published_numbers_cover_every_brand_once() -> None:
    """There is one published number for each of the eight brands."""
    assert sorted(Brand) == sorted(PUBLISHED_CARDS.values())


def test_the_published_diners_number_fails_luhn() -> None:
    """Twilio's Diners number is accepted although it fails Luhn, and its neighbours are not."""
    failing = [text for text in PUBLISHED_CARDS if not luhn.is_valid(text)]

    assert ["3065930009020004"] == failing
    assert Pan.parse("3065930009020005") is None


def test_other_numbers_are_not_published() -> None:
    """A number one digit away from a published one is an ordinary card number."""
    pan = Pan.parse(number("411111111111112", 16))

    assert pan is not None
    assert pan.is_published is False


# --- Brand -----------------------------------------------------------------------------------------------------------

# Each edge of each range: the last number outside, the first inside, the last inside, the first outside.
BRANDS = [
    ("3999", 16, Brand.DINERS),
    ("4000", 16, Brand.VISA),
    ("4999", 16, Brand.VISA),
    ("5000", 16, Brand.MAESTRO),
    ("5099", 16, Brand.MAESTRO),
    ("5100", 16, Brand.MASTERCARD),
    ("5599", 16, Brand.MASTERCARD),
    ("5600", 16, Brand.MAESTRO),
    ("5899", 16, Brand.MAESTRO),
    ("5900", 16, None),
    ("5999", 16, None),
    ("6000", 16, Brand.MAESTRO),
    ("6010", 16, Brand.MAESTRO),
    ("6011", 16, Brand.DISCOVER),
    ("6012", 16, Brand.MAESTRO),
    ("6199", 16, Brand.MAESTRO),
    ("6200", 16, Brand.UNIONPAY),
    ("6299", 16, Brand.UNIONPAY),
    ("6300", 16, Brand.MAESTRO),
    ("6399", 16, Brand.MAESTRO),
    ("6400", 16, Brand.DISCOVER),
    ("6599", 16, Brand.DISCOVER),
    ("6600", 16, Brand.MAESTRO),
    ("6999", 16, Brand.MAESTRO),
    ("7000", 16, None),
    ("8099", 16, None),
    ("8100", 16, Brand.UNIONPAY),
    ("8199", 16, Brand.UNIONPAY),
    ("8200", 16, None),
    ("222099", 16, None),
    ("222100", 16, Brand.MASTERCARD),
    ("272099", 16, Brand.MASTERCARD),
    ("272100", 16, None),
    ("2999", 16, None),
    ("3000", 16, Brand.DINERS),
    ("3059", 16, Brand.DINERS),
    ("3060", 16, None),
    ("3094", 16, None),
    ("3095", 16, Brand.DINERS),
    ("3096", 16, None),
    ("3399", 15, None),
    ("3400", 15, Brand.AMEX),
    ("3499", 15, Brand.AMEX),
    ("3500", 15, None),
    ("3527", 16, None),
    ("3528", 16, Brand.JCB),
    ("3589", 16, Brand.JCB),
    ("3590", 16, None),
    ("3599", 16, None),
    ("3600", 16, Brand.DINERS),
    ("3699", 16, Brand.DINERS),
    ("3700", 15, Brand.AMEX),
    ("3799", 15, Brand.AMEX),
    ("3800", 16, Brand.DINERS),
    ("0000001", 16, None),
    ("1", 16, None),
    ("9", 16, None),
]


@pytest.mark.parametrize(("prefix", "length", "expected"), BRANDS)
def test_the_first_digits_tell_the_brand(prefix: str, length: int, expected: Brand | None) -> None:
    """On both sides of every boundary of every range the brand is the one of Twilio's table."""
    pan = Pan.parse(number(prefix, length))

    assert pan is not None
    assert expected == pan.brand


@pytest.mark.parametrize(
    ("prefix", "lengths"),
    [
        ("4", {13, 15, 16, 19}),
        ("51", {16}),
        ("2221", {16}),
        ("34", {15}),
        ("37", {15}),
        ("300", {14, 15, 16, 17, 18, 19}),
        ("3095", {14, 15, 16, 17, 18, 19}),
        ("36", {14, 15, 16, 17, 18, 19}),
        ("38", {14, 15, 16, 17, 18, 19}),
        ("3528", {16, 17, 18, 19}),
        ("81", {16, 17, 18, 19}),
        ("50", {12, 13, 14, 15, 16, 17, 18, 19}),
        ("56", {12, 13, 14, 15, 16, 17, 18, 19}),
        ("60", {12, 13, 14, 15, 16, 17, 18, 19}),
    ],
)
def test_a_brand_has_its_lengths(prefix: str, lengths: set[int]) -> None:
    """A number of a brand's range but of another length has no brand."""
    branded = {length for length in range(12, 20) if Pan(number(prefix, length)).brand is not None}

    assert lengths == branded


@pytest.mark.parametrize(("prefix", "brand"), [("6011", "discover"), ("65", "discover"), ("62", "unionpay")])
def test_where_ranges_overlap_the_narrow_one_wins(prefix: str, brand: str) -> None:
    """Inside Maestro's 60 to 69 the other brands come first, with their lengths; what they do not want is Maestro's."""
    brands = [Pan(number(prefix, length)).brand for length in range(12, 20)]

    assert ["maestro"] * 4 + [brand] * 4 == brands


def test_the_brands_have_the_names_of_replies() -> None:
    """`card_brand` is one of eight words, and these are they."""
    assert ["visa", "mastercard", "amex", "discover", "diners", "jcb", "unionpay", "maestro"] == list(Brand)


def test_every_brand_is_in_the_table() -> None:
    """Each brand has a row, and each row's ends have the same number of digits, in order."""
    assert set(Brand) == {row.brand for row in IIN_RANGES}
    assert all(len(row.low) == len(row.high) and row.low <= row.high for row in IIN_RANGES)


def test_no_row_of_the_table_is_out_of_reach() -> None:
    """For every row there is a card that gets its brand from that row and no earlier one."""
    for row in IIN_RANGES:
        assert {row.brand} == {Pan(number(row.low, length)).brand for length in row.lengths}


# --- What may be shown -----------------------------------------------------------------------------------------------


@given(card_numbers())
def test_six_digits_stay_hidden(text: str) -> None:
    """BIN and last four never show more than all but six digits, whatever the length."""
    pan = Pan(text)

    hidden = len(text) - len(pan.bin) - len(pan.last4)

    assert hidden >= 6
    assert (pan.bin, pan.last4) == (text[: len(pan.bin)], text[-4:])


def test_the_bin_gets_shorter_with_the_number() -> None:
    """From sixteen digits on the BIN has six; below, as many as leave six hidden."""
    lengths = {length: len(Pan(number("5", length)).bin) for length in range(12, 20)}

    assert {12: 2, 13: 3, 14: 4, 15: 5, 16: 6, 17: 6, 18: 6, 19: 6} == lengths


def test_a_card_shows_the_last_four_of_its_pan() -> None:
    """A card's last four digits are its PAN's."""
    assert "1111" == Card(Pan(VISA), Expiry(2027, 8)).last4


# --- CVV -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("brand", [*Brand, None])
def test_a_cvv_has_its_brands_length(brand: Brand | None) -> None:
    """Three digits, four for American Express, either where the brand is not known."""
    expected = {Brand.AMEX: [4], None: [3, 4]}.get(brand, [3])

    accepted = [length for length in range(7) if Cvv.parse("123456"[:length], brand) is not None]

    assert expected == accepted


@pytest.mark.parametrize(
    "text", ["", "12a", " 12", "12\n", "1.2", "-12", "\uff11\uff12\uff13", "12\u00b3", "\u0661\u0662\u0663"]
)
def test_anything_else_is_no_cvv(text: str) -> None:
    """Letters, spaces, signs and digits of other scripts are no security code."""
    assert Cvv.parse(text, Brand.VISA) is None


def test_a_cvv_keeps_its_zeros() -> None:
    """A security code is a text: 007 stays 007."""
    cvv = Cvv.parse("007", Brand.VISA)

    assert cvv is not None
    assert "007" == cvv.reveal()


# --- Expiry ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("month", "year", "expected"),
    [
        ("8", "27", (2027, 8)),
        ("08", "27", (2027, 8)),
        ("08", "2027", (2027, 8)),
        ("12", "99", (2099, 12)),
        ("1", "00", (2000, 1)),
        ("01", "2000", (2000, 1)),
    ],
)
def test_an_expiry_is_a_month_and_a_year(month: str, year: str, expected: tuple[int, int]) -> None:
    """Months have one digit or two, years two or four, and all years are of this century."""
    assert Expiry(*expected) == Expiry.parse(month, year)


@pytest.mark.parametrize(
    ("month", "year"),
    [
        ("0", "27"),
        ("00", "27"),
        ("13", "27"),
        ("99", "27"),
        ("008", "27"),
        ("", "27"),
        ("8 ", "27"),
        ("-8", "27"),
        ("aug", "27"),
        ("\uff18", "27"),
        ("8", ""),
        ("8", "7"),
        ("8", "027"),
        ("8", "1927"),
        ("8", "2127"),
        ("8", "02027"),
        ("8", "'27"),
        ("8", "\uff12\uff17"),
        ("8", "20\uff12\uff17"),
    ],
)
def test_anything_else_is_no_expiry(month: str, year: str) -> None:
    """Months that there are not, years of other centuries or lengths, and other scripts' digits are refused."""
    assert Expiry.parse(month, year) is None


@pytest.mark.parametrize(
    ("expiry", "first_moment_after"),
    [
        (Expiry(2027, 8), datetime(2027, 9, 1, 12, tzinfo=UTC)),
        (Expiry(2027, 12), datetime(2028, 1, 1, 12, tzinfo=UTC)),
        (Expiry(2028, 2), datetime(2028, 3, 1, 12, tzinfo=UTC)),
    ],
)
def test_a_card_is_good_through_its_last_day_everywhere(expiry: Expiry, first_moment_after: datetime) -> None:
    """A card expires when its month is over at UTC-12, which is noon of the next first in UTC, and not before."""
    last_moment = first_moment_after - timedelta(microseconds=1)

    assert [False, True] == [expiry.is_past(now) for now in (last_moment, first_moment_after)]


@given(st.datetimes(datetime(2000, 1, 2), datetime(2099, 11, 30), timezones=st.just(UTC)), st.integers(1, 12))  # noqa: DTZ001 - with a zone
def test_a_card_of_this_month_is_good(now: datetime, hours: int) -> None:
    """The month in which it is used, in whichever zone west of Greenwich, has not passed."""
    there = now - timedelta(hours=hours)

    assert Expiry(there.year, there.month).is_past(now) is False


def test_twenty_years_ahead_is_the_limit() -> None:
    """The same month twenty years on is believed, the month after it is not."""
    now = datetime(2026, 11, 23, tzinfo=UTC)
    expiries = [Expiry(2046, 10), Expiry(2046, 11), Expiry(2046, 12), Expiry(2047, 1), Expiry(2099, 12)]

    assert [False, False, True, True, True] == [expiry.is_too_far(now) for expiry in expiries]


@given(st.integers(2000, 2099), st.integers(1, 12))
def test_an_expiry_survives_the_round_trip(year: int, month: int) -> None:
    """`yyyymm` is six digits, and its parts are read back as the same expiry."""
    expiry = Expiry(year, month)

    assert expiry == Expiry.parse(expiry.yyyymm[4:], expiry.yyyymm[:4])
    assert 6 == len(expiry.yyyymm)


# --- Ids that others chose -------------------------------------------------------------------------------------------


@given(st.uuids(), st.integers(1_600_000_000_000, 2_400_000_000_000))
def test_an_id_of_the_usual_kinds_is_shown_as_it_is(uuid: UUID, at_ms: int) -> None:
    """No group of a UUID is a card number, nor is a time in milliseconds: whoever looks for the id must find it."""
    for id_ in (str(uuid), f"run-{at_ms}", f"{at_ms}-{uuid}"):
        assert id_ == without_pans(id_)


@pytest.mark.parametrize(
    ("id_", "expected"),
    [
        ("68ae3bc7-de8c-4e4d-a173-971027575268", "68ae3bc7-de8c-4e4d-a173-971027575268"),
        ("4111111111111111", "************1111"),
        ("order-4242424242424242-a", "order-************4242-a"),
        ("4111111111111112", "4111111111111112"),
        ("14111111111111111", "14111111111111111"),
    ],
    ids=["digits across groups", "a card", "a card in it", "no card by Luhn", "a card within a number"],
)
def test_a_card_number_in_an_id_is_masked(id_: str, expected: str) -> None:
    """An unbroken number that passes Luhn and has a brand is masked to its last four digits."""
    assert expected == without_pans(id_)
