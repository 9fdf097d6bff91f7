"""US bank accounts: routing number, account number, and the accounts published for tests.

Account numbers are no card data, but Nacha wants them unreadable at rest too: they are treated as PANs are.
"""

from dataclasses import dataclass
from typing import Self

from stdnum.us import rtn

from generic_connector.digits import is_digits
from generic_connector.secret import Secret

ACCOUNT_DIGITS_MIN = 4
ACCOUNT_DIGITS_MAX = 17
_ROUTING_DIGITS = 9
_LAST_SHOWN = 4

# Twilio, "Generic Pay Connector": the only accounts that an instance in test mode lets through, with any routing
# number.
PUBLISHED_ACCOUNTS = frozenset({"12345678", "123456789"})


def parse_routing_number(text: str) -> str | None:
    """Return an ABA routing transit number: nine digits with the ABA checksum, or None.

    All zeros, which pass the checksum, are none.
    """
    if is_digits(text) and len(text) == _ROUTING_DIGITS and text.strip("0") and rtn.is_valid(text):
        return text
    return None


class AccountNumber(Secret):
    """A bank account number of 4 to 17 digits."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the account number, or None."""
        return cls(text) if is_digits(text) and ACCOUNT_DIGITS_MIN <= len(text) <= ACCOUNT_DIGITS_MAX else None

    @property
    def is_published(self) -> bool:
        """Whether this is one of Twilio's published test accounts."""
        return self._clear in PUBLISHED_ACCOUNTS

    @property
    def last4(self) -> str:
        """The last digits, as many as leave four hidden, and four at most: `**56` for six digits."""
        shown = min(_LAST_SHOWN, len(self._clear) - _LAST_SHOWN)
        return self._clear[len(self._clear) - shown :].rjust(_LAST_SHOWN, "*")


@dataclass(frozen=True, slots=True)
class BankAccount:
    """A bank account as the caller keyed it."""

    routing_number: str
    account_number: AccountNumber
    postal_code: str | None = None

    @property
    def last4(self) -> str:
        """The last digits of the account number, masked where it is short."""
        return self.account_number.last4
