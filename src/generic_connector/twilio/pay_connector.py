"""A Pay Connector instance as Twilio's Console keeps it: a unique name, an endpoint, credentials, and what it can do.

`<Pay paymentConnector="...">` names one; `Default` is taken where none is named. Username and password are Secrets.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from generic_connector.instance import Mode
from generic_connector.secret import Secret

DEFAULT_NAME = "Default"


class PaymentMethod(StrEnum):
    """What the caller pays with."""

    CREDIT_CARD = "credit-card"
    ACH_DEBIT = "ach-debit"


class TokenType(StrEnum):
    """What kind of token is asked for. `payment-method` exists for Stripe only."""

    ONE_TIME = "one-time"
    REUSABLE = "reusable"
    PAYMENT_METHOD = "payment-method"


@dataclass(frozen=True, slots=True, kw_only=True)
class PayConnector:
    """One instance. The defaults are a working Generic Pay Connector in test mode.

    `currencies` (upper case) and `parameters` None: whatever is asked. `required_parameters` are the `<Parameter>`
    names without which this connector refuses (64015). `is_approved` is Twilio's approval of a live connector (64024);
    `is_authorized` what the Console shows as connected (64009); an unreadable configuration is 64001.
    """

    unique_name: str
    url: str
    username: str
    password: Secret
    mode: Mode = Mode.TEST
    is_approved: bool = True
    is_authorized: bool = True
    charges: bool = True
    tokenizes: bool = True
    payment_methods: AbstractSet[PaymentMethod] = frozenset(PaymentMethod)
    token_types: AbstractSet[TokenType] = frozenset({TokenType.ONE_TIME, TokenType.REUSABLE})
    currencies: AbstractSet[str] | None = None
    needs_avs_name: bool = False
    required_parameters: AbstractSet[str] = frozenset()
    ca_file: str | None = None
    """A PEM file of authorities to trust for this endpoint, beside the system's: a development CA."""
