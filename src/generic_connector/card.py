r"""Cards: PAN, brand, expiry, CVV, and the numbers that Twilio publishes for tests.

Words: the **PAN** is the card number (ISO/IEC 7812-1: 12 to 19 digits here, the last a Luhn check digit); its first
digits, the **IIN** or **BIN**, tell the **brand**; the **CVV** is the printed security code, sensitive authentication
data that may never be stored after authorization, not even encrypted (PCI DSS 3.3.1).

The rules in the order in which they are asked: digits and length, then published number or Luhn, then (elsewhere, since
it depends on the instance) mode and brand. Published numbers skip Luhn, brand and length: Twilio's Diners number fails
Luhn.

`parse` functions return None for what is no such thing; they take ASCII digits only and look before they call a
library, since `\d`, `int` and `stdnum` all read full-width digits.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from stdnum import luhn

from generic_connector.digits import is_digits
from generic_connector.secret import Secret

PAN_DIGITS_MIN = 12
PAN_DIGITS_MAX = 19
EXPIRY_YEARS_AHEAD_MAX = 20
_BIN_DIGITS = 6
_HIDDEN_DIGITS_MIN = 6
_LAST_SHOWN = 4
_MONTHS_PER_YEAR = 12
_CENTURY = 2000
_YEAR_DIGITS_SHORT = 2
_YEAR_DIGITS_LONG = 4


class Brand(StrEnum):
    """The card brands by the names that replies use (`card_brand`)."""

    VISA = "visa"
    MASTERCARD = "mastercard"
    AMEX = "amex"
    DISCOVER = "discover"
    DINERS = "diners"
    JCB = "jcb"
    UNIONPAY = "unionpay"
    MAESTRO = "maestro"


@dataclass(frozen=True, slots=True)
class IinRange:
    """PANs that begin with `low` to `high` and have one of `lengths` digits are of `brand`.

    `low` and `high` have the same number of digits.
    """

    low: str
    high: str
    brand: Brand
    lengths: range | tuple[int, ...]


# As of 2026-11. Sources: Twilio's card recognition table in "TwiML Voice: <Pay>" (with its Visa row read as 13, 15, 16
# and 19: the row omits 16, the length of Twilio's own Visa test number), ISO/IEC 7812-1 ranges as the brands publish
# them for Diners 305, UnionPay 62 and 81, and lengths of 14 for Diners. Earlier rows win: Maestro's wide ranges come
# last.
IIN_RANGES = (
    IinRange("4", "4", Brand.VISA, (13, 15, 16, 19)),
    IinRange("51", "55", Brand.MASTERCARD, (16,)),
    IinRange("222100", "272099", Brand.MASTERCARD, (16,)),
    IinRange("34", "34", Brand.AMEX, (15,)),
    IinRange("37", "37", Brand.AMEX, (15,)),
    IinRange("6011", "6011", Brand.DISCOVER, range(16, 20)),
    IinRange("64", "65", Brand.DISCOVER, range(16, 20)),
    IinRange("300", "305", Brand.DINERS, range(14, 20)),
    IinRange("3095", "3095", Brand.DINERS, range(14, 20)),
    IinRange("36", "36", Brand.DINERS, range(14, 20)),
    IinRange("38", "39", Brand.DINERS, range(14, 20)),
    IinRange("3528", "3589", Brand.JCB, range(16, 20)),
    IinRange("62", "62", Brand.UNIONPAY, range(16, 20)),
    IinRange("81", "81", Brand.UNIONPAY, range(16, 20)),
    IinRange("50", "50", Brand.MAESTRO, range(12, 20)),
    IinRange("56", "58", Brand.MAESTRO, range(12, 20)),
    IinRange("60", "69", Brand.MAESTRO, range(12, 20)),
)

# Twilio, "Generic Pay Connector": the only cards that an instance in test mode lets through.
PUBLISHED_CARDS = {
    "4111111111111111": Brand.VISA,
    "5555555555554444": Brand.MASTERCARD,
    "378282246310005": Brand.AMEX,
    "6011111111111117": Brand.DISCOVER,
    "3065930009020004": Brand.DINERS,
    "3566002020360505": Brand.JCB,
    "6200000000000005": Brand.UNIONPAY,
    "6771798021000008": Brand.MAESTRO,
}


class Pan(Secret):
    """A card number: 12 to 19 digits that pass Luhn, or one of the published test numbers.

    `brand` is the brand by IIN and length, or None where no row of the table fits.
    """

    __slots__ = ("brand",)

    def __init__(self, clear: str) -> None:
        self._clear = clear
        self.brand = PUBLISHED_CARDS.get(clear) or _brand(clear)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the PAN, or None. No separators, no all zeros (which pass Luhn)."""
        if not (is_digits(text) and PAN_DIGITS_MIN <= len(text) <= PAN_DIGITS_MAX):
            return None
        if text in PUBLISHED_CARDS or (luhn.is_valid(text) and text.strip("0")):
            return cls(text)
        return None

    @property
    def is_published(self) -> bool:
        """Whether this is one of Twilio's published test numbers."""
        return self._clear in PUBLISHED_CARDS

    @property
    def bin(self) -> str:
        """The first six digits; fewer where fewer than six would stay hidden.

        PCI DSS 3.4.1: at most the BIN and the last four may be shown.
        """
        return self._clear[: min(_BIN_DIGITS, len(self._clear) - _LAST_SHOWN - _HIDDEN_DIGITS_MIN)]

    @property
    def last4(self) -> str:
        """The last four digits."""
        return self._clear[-_LAST_SHOWN:]


def _brand(clear: str) -> Brand | None:
    for row in IIN_RANGES:
        if row.low <= clear[: len(row.low)] <= row.high and len(clear) in row.lengths:
            return row.brand
    return None


_UNBROKEN = re.compile(rf"(?<![0-9])[0-9]{{{PAN_DIGITS_MIN + 1},{PAN_DIGITS_MAX}}}(?![0-9])")


def without_pans(id_: str) -> str:
    """Return an id that somebody else chose, with card numbers in it masked.

    For free text there is `scrub`, which would rather mask too much. An id must stay what it is: here only an unbroken
    number counts that passes Luhn and has a brand's first digits and length, as no group of a UUID can.
    """
    return _UNBROKEN.sub(_masked_pan, id_)


def _masked_pan(found: "re.Match[str]") -> str:
    digits = found.group()
    pan = Pan.parse(digits)
    return digits if pan is None or pan.brand is None else pan.last4.rjust(len(digits), "*")


_CVV_LENGTHS: dict[Brand | None, tuple[int, ...]] = {Brand.AMEX: (4,), None: (3, 4)}


class Cvv(Secret):
    """A card's security code: three digits, four for American Express.

    It is in memory for one purchase, and nowhere else.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str, brand: Brand | None) -> Self | None:
        """Return the CVV if it has its brand's length, or None.

        Where the brand is not known, three digits and four will do.
        """
        lengths = _CVV_LENGTHS.get(brand, (3,))
        return cls(text) if is_digits(text) and len(text) in lengths else None


@dataclass(frozen=True, slots=True)
class Expiry:
    """The month on the card. The card is good through its last day."""

    year: int
    month: int

    @classmethod
    def parse(cls, month: str, year: str) -> Self | None:
        """Return the expiry of `8` or `08` and `27` or `2027`, or None. Years are 2000 to 2099."""
        if not (is_digits(month) and is_digits(year) and len(month) <= _YEAR_DIGITS_SHORT):
            return None
        if len(year) == _YEAR_DIGITS_SHORT:
            full_year = _CENTURY + int(year)
        elif len(year) == _YEAR_DIGITS_LONG and year.startswith("20"):
            full_year = int(year)
        else:
            return None
        return cls(full_year, int(month)) if 1 <= int(month) <= _MONTHS_PER_YEAR else None

    def is_past(self, now: datetime) -> bool:
        """Whether the card's last day is over everywhere, that is at UTC-12. `now` is in UTC."""
        if (self.year, self.month) >= (now.year, now.month):
            return False
        there = now - timedelta(hours=12)
        return (there.year, there.month) > (self.year, self.month)

    def is_too_far(self, now: datetime) -> bool:
        """Whether the expiry is more than twenty years ahead, which no issuer prints."""
        return (self.year, self.month) > (now.year + EXPIRY_YEARS_AHEAD_MAX, now.month)

    @property
    def yyyymm(self) -> str:
        """The expiry as six digits: `202708`."""
        return str(self.year * 100 + self.month)


@dataclass(frozen=True, slots=True)
class Card:
    """A card as the caller keyed it. What was not asked for is None."""

    pan: Pan
    expiry: Expiry
    cvv: Cvv | None = None
    postal_code: str | None = None

    @property
    def last4(self) -> str:
        """The last four digits of the PAN."""
        return self.pan.last4
