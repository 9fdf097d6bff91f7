"""Orders and settlements: what a `<Pay>` or an agent wants done, and what came of it.

An order is what was collected, before any wire format: the engine makes it, the contract client sends it. It holds the
card number and the security code, as Secrets, for as long as the client needs them and no longer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from generic_connector.payment import Method
from generic_connector.secret import Secret
from generic_connector.twilio.pay_errors import PayError


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedCard:
    """A card as it was keyed. `expiry` is MMYY. A security or postal code that was not asked for is None."""

    number: Secret
    expiry: str
    security_code: Secret | None = None
    postal_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedAccount:
    """A bank account as it was keyed. Twilio sends no account type: it stays with the callbacks."""

    routing_number: str
    account_number: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Charge or tokenize this, through that connector.

    `transaction_id` is the idempotency key: the same on every attempt. `amount` is the text of `chargeAmount`, and
    None for a tokenize; `currency` is as it was given.
    """

    connector: str
    method: Method
    transaction_id: str
    instrument: KeyedCard | KeyedAccount
    amount: str | None = None
    currency: str = "USD"
    description: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The endpoint said yes: `id` is its charge_id or token_id, `parameters` become `PayConnector_*`."""

    id: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """It said no, or nothing that can be understood, or nothing at all.

    `payment_error` is the text for `PaymentError`; `connector_error` the endpoint's own words, for `ConnectorError`.
    """

    error: PayError
    payment_error: str
    connector_error: str | None = None
    attempts: int = 1


Settlement = Settled | Failed
