"""The payment vocabulary: what a caller asks for, and what a processor can answer.

A **payment** is a `Charge` or a `Tokenize` of one **instrument**, a card or a bank account. It carries one transaction
id, Twilio's idempotency key: the same on every retry of one attempt. Everything in it has been parsed and checked as
far as that can be done without a clock, an instance or a processor; everything written by people in it has been
scrubbed.

A processor's answer is one of few values, and what separates them is what is known about the money:

- `Approved`: it moved (or, for a verification, the card is good);
- `Declined`: it did not, and the processor said why;
- `Unavailable`: certainly nothing was sent;
- `Unknown`: it may have moved. Only a look-up tells;
- `NotFound`: the processor, asked by key, has never seen this payment.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from generic_connector.bank import BankAccount
from generic_connector.card import Card
from generic_connector.money import Money

Instrument = Card | BankAccount


class Method(StrEnum):
    """What the contract can ask for."""

    CHARGE = "charge"
    TOKENIZE = "tokenize"

    @property
    def id_key(self) -> str:
        """The key of the reply that carries the id."""
        return "charge_id" if self is Method.CHARGE else "token_id"


class DeclineCode(StrEnum):
    """Why a processor says no, in the order of the sandbox's amount table (2000 + place)."""

    CARD_DECLINED = "card_declined"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    DO_NOT_HONOR = "do_not_honor"
    LOST_CARD = "lost_card"
    STOLEN_CARD = "stolen_card"
    INCORRECT_CVV = "incorrect_cvv"
    INCORRECT_POSTAL_CODE = "incorrect_postal_code"
    PROCESSING_ERROR = "processing_error"
    ACCOUNT_CLOSED = "account_closed"
    NO_ACCOUNT = "no_account"
    ACH_RETURNED = "ach_returned"


@dataclass(frozen=True, slots=True)
class AchDetails:
    """What an ACH network wants beside the numbers.

    Both are given through `<Parameter>`: Twilio sends no field for either.
    """

    account_holder_name: str | None = None
    account_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What travels with a payment. Texts are scrubbed.

    `operation` is `sale` unless a parameter asked for something else. `reference` is echoed to the IVR. `metadata` is
    for the processor. `controls` are the `sandbox_*` parameters, which no other processor ever sees.
    """

    operation: str = "sale"
    reference: str | None = None
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    controls: Mapping[str, str] = field(default_factory=dict)
    ach: AchDetails = AchDetails()


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """Take this much money from this instrument; with `save_card`, keep the instrument too."""

    transaction_id: str
    instrument: Instrument
    money: Money
    save_card: bool = False
    details: Details = Details()
    method: ClassVar[Method] = Method.CHARGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenize:
    """Keep this instrument and answer a token for it."""

    transaction_id: str
    instrument: Instrument
    details: Details = Details()
    method: ClassVar[Method] = Method.TOKENIZE


Payment = Charge | Tokenize


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """The money moved, or the card is good. The processor's own words for it, all optional.

    `avs_result` and `cvv_result` are the card networks' one-letter codes (`Y` or `M` for a match, `N` for none).
    """

    authorization_code: str | None = None
    processor_reference: str | None = None
    avs_result: str | None = None
    cvv_result: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """The processor said no. No money moved."""

    code: DeclineCode
    processor_reference: str | None = None
    avs_result: str | None = None
    cvv_result: str | None = None


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Certainly nothing was sent: no connection could be made, or the processor is switched off."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may have happened: no answer came, or none that can be read.

    `why` is for the log, and holds no card data.
    """

    why: str


@dataclass(frozen=True, slots=True)
class NotFound:
    """The processor has never seen this key."""


PurchaseResult = Approved | Declined | Unavailable | Unknown
LookUpResult = Approved | Declined | NotFound | Unknown
