"""Bodies: the payments that a check asks for, as the caller that is played writes them into a request.

A body is an ordinary payment with a few changes. Ordinary is what the profile says: its card or account, its amount,
two digits of the year, and nothing that Twilio does not send. The rules:

- Fields have Twilio's names and stand in Twilio's order; what a check adds comes last.
- A change replaces a field or adds one, as it is. None is JSON's null, and `ABSENT` leaves a field out.
- A dialect is how another carrier spells the same payment. A check writes Twilio's names whatever the dialect, and what
  SignalWire calls otherwise is renamed here.
- A transaction id is never used twice, differs from run to run, and comes again where seed and run id do. Nothing in it
  looks like a number, or a report would mask a part of it.

What is charged for, and what it proves, is the checks' business. How a body is sent is the request's.
"""

import random
import re
import uuid
from collections.abc import Mapping
from enum import Enum
from typing import Final

from generic_connector.conformance.profile import Profile
from generic_connector.scrub import scrub

CARD: Final = "cardnumber"
ID_KEYS: Final[Mapping[str, str]] = {"charge": "charge_id", "tokenize": "token_id"}
"""Twilio's methods, and the key of the id that each of them gives."""

_ORDER: Final = (
    "transaction_id",
    CARD,
    "bankaccountnumber",
    "routingnumber",
    "cvv",
    "expiry_month",
    "expiry_year",
    "description",
    "amount",
    "chargeAmount",
    "currency_code",
    "postal_code",
    "method",
    "token_type",
    "parameters",
)
_CODE_LIKE: Final = re.compile(r"(?<![0-9])[0-9]{3,4}(?![0-9])")


class Absent(Enum):
    """The value of a field that is to be left out."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


class Bodies:
    """What one check asks for. `origin` is what its transaction ids come from: with the same one they are the same."""

    def __init__(self, profile: Profile, dialect: str, *, origin: str) -> None:
        self._profile = profile
        self._dialect = dialect
        self._origin = origin
        self._ids = 0

    def new_id(self, label: str = "") -> str:
        """Return a transaction id that was never used: like a UUID, and nothing in it looks like a number."""
        while True:
            self._ids += 1
            origin = f"{self._origin}:{self._ids}:{label}"
            made = str(uuid.UUID(bytes=random.Random(origin).randbytes(16), version=4))  # noqa: S311 - repeatable
            # Nothing in it is like a security code or a card number: a report would mask it.
            if scrub(made) == made and _CODE_LIKE.search(made) is None:
                return made

    def charge(self, changes: Mapping[str, object]) -> dict[str, object]:
        """Return a card charge."""
        return self._spelled({**self._card(changes), **self._money()}, "charge", changes)

    def tokenize(self, changes: Mapping[str, object]) -> dict[str, object]:
        """Return a request to keep a card."""
        return self._spelled(self._card(changes), "tokenize", changes)

    def charge_account(self, changes: Mapping[str, object]) -> dict[str, object]:
        """Return an ACH charge."""
        return self._spelled({**self._account(), **self._money()}, "charge", changes)

    def tokenize_account(self, changes: Mapping[str, object]) -> dict[str, object]:
        """Return a request to keep a bank account."""
        return self._spelled(self._account(), "tokenize", changes)

    def _card(self, changes: Mapping[str, object]) -> dict[str, object]:
        numbers = self._profile.numbers
        month, year = self._profile.expiry()
        card = changes.get(CARD, numbers.card)
        return {
            "transaction_id": "",
            CARD: card,
            "cvv": numbers.cvv_of(card) if isinstance(card, str) else numbers.cvv,
            "expiry_month": month,
            "expiry_year": year,
            "description": None,
            "postal_code": numbers.postal_code,
        }

    def _account(self) -> dict[str, object]:
        numbers = self._profile.numbers
        return {
            "transaction_id": "",
            "bankaccountnumber": numbers.accounts[0],
            "routingnumber": numbers.routing_number,
            "description": None,
        }

    def _money(self) -> dict[str, object]:
        return {"amount": self._profile.amounts.approve, "currency_code": self._profile.endpoint.currency}

    def _spelled(self, fields: dict[str, object], method: str, changes: Mapping[str, object]) -> dict[str, object]:
        """Order the fields as Twilio does, spell them as the caller that is played does, and change them."""
        body: dict[str, object] = {**fields, "method": method, "parameters": {}}
        if self._dialect == "signalwire":
            # It names the payment method, tells a token by its amount, and writes currencies in lower case.
            currency = str(body.get("currency_code", self._profile.endpoint.currency)).lower()
            body |= {"amount": body.get("amount", "0"), "currency_code": currency, "token_type": "reusable"}
            body["method"] = "credit-card" if CARD in body else ABSENT
        if "transaction_id" not in changes:
            body["transaction_id"] = self.new_id()
        body |= changes
        if self._dialect == "signalwire":
            if changes.get("method") in ID_KEYS:
                body["method"] = "credit-card" if CARD in body else ABSENT
            body["chargeAmount"] = body.pop("amount")
        names = [*(name for name in _ORDER if name in body), *(name for name in body if name not in _ORDER)]
        return {name: body[name] for name in names if body[name] is not ABSENT}
