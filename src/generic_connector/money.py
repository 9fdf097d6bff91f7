"""Money: integer minor units and a currency. No float comes near it.

Currencies and their exponents are ISO 4217's, from the `iso4217` package; a currency without an exponent (gold, testing
codes) cannot be charged and is not known here. Amounts arrive as the caller's decimal text and are read exactly: what
is ambiguous about money is refused, never guessed.
"""

import re
from dataclasses import dataclass
from typing import Self

import iso4217

MAJOR_UNITS_MAX = 1_000_000
"""Twilio: `chargeAmount` is at most 1,000,000."""

AMOUNT_CHARS_MAX = 64
_AMOUNT = re.compile(r"([0-9]+)(?:\.([0-9]+))?")


@dataclass(frozen=True, slots=True)
class Currency:
    """An ISO 4217 currency: its upper-case code, and its number of decimals (0 to 4)."""

    code: str
    exponent: int


CURRENCIES = {
    currency.code: Currency(currency.code, currency.exponent)
    for currency in iso4217.Currency
    if currency.exponent is not None
}


def parse_currency(text: str) -> Currency | None:
    """Return the currency of a code in any case, or None."""
    return CURRENCIES.get(text.upper()) if text.isascii() else None


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units (cents for USD, yen for JPY)."""

    minor: int
    currency: Currency

    def __post_init__(self) -> None:
        if self.minor < 0:
            msg = "an amount of money here is never negative"
            raise ValueError(msg)

    @classmethod
    def parse(cls, text: str, currency: Currency) -> Self | None:
        """Return the money that a text such as `10.00` means, or None where it is not that clear.

        Zeros after the last decimal that counts are no decimals: `500.0` is 500 yen. Signs, exponents, thousands
        separators, digits of other scripts, more decimals than the currency has and more than a million are refused.
        """
        match = _AMOUNT.fullmatch(text) if len(text) <= AMOUNT_CHARS_MAX else None
        if match is None:
            return None
        whole, decimals = match[1], (match[2] or "").rstrip("0")
        if len(decimals) > currency.exponent:
            return None
        minor = int(whole + decimals.ljust(currency.exponent, "0"))
        if minor > MAJOR_UNITS_MAX * 10**currency.exponent:
            return None
        return cls(minor, currency)

    @property
    def decimal(self) -> str:
        """The amount with all of the currency's decimals: `10.00`, `500`, `1.250`."""
        exponent = self.currency.exponent
        if exponent == 0:
            return str(self.minor)
        digits = str(self.minor).zfill(exponent + 1)
        return f"{digits[:-exponent]}.{digits[-exponent:]}"

    def __str__(self) -> str:
        return f"{self.decimal} {self.currency.code}"
