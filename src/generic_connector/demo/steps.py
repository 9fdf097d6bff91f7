"""The steps of the demonstration, as data: what is sent, what must come back, and what that means.

The requests are the examples of openapi.yaml, which are Twilio's documented ones with test numbers that an instance in
test mode accepts. A test compares the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from generic_connector.contract.errors import Code, ErrorCode
from generic_connector.payment import DeclineCode

INSTANCES = ("Stripe_Prod", "Stripe_Stage", "Stripe_Dev", "Default")
"""The ones of Twilio's documentation. Here all are test instances on the sandbox."""

Body = Mapping[str, Any]  # the JSON of a request


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One delivery: what is sent, what must come back, and what that means.

    `repeats` is the number of the step whose answer must come back again, byte for byte.
    """

    title: str
    instance: str
    body: Body
    meaning: str
    status: int = 200
    code: Code | None = None
    repeats: int | None = None
    has_wrong_password: bool = False

    @property
    def is_charged(self) -> bool:
        """Whether money moves, if all is as it must be."""
        return self.code is None and self.body["method"] == "charge"


FIRST_CHARGE: Body = {
    "method": "charge",
    "transaction_id": "11409f45-6c89-4a67-98d5-12a4eb9df987",
    "cardnumber": "4111111111111111",
    "cvv": "123",
    "expiry_month": "08",
    "expiry_year": "40",
    "postal_code": "94111",
    "amount": "10.0",
    "currency_code": "USD",
    "description": "One large pizza",
    "parameters": {"reference": "A-1001", "customer": "c-7"},
}
_CARD_TOKENIZE: Body = {
    "method": "tokenize",
    "transaction_id": "062203d9-1172-48a4-bceb-7aa10d0ef433",
    "cardnumber": "378282246310005",
    "cvv": None,
    "expiry_month": "08",
    "expiry_year": "40",
    "postal_code": None,
    "description": None,
    "parameters": {},
}
_ACH_CHARGE: Body = {
    "method": "charge",
    "transaction_id": "c55eb31c-6860-4c5d-985f-830a32813110",
    "routingnumber": "110000000",
    "bankaccountnumber": "12345678",
    "amount": "10.0",
    "currency_code": "USD",
    "description": "The rent for May",
    "parameters": {"AVSName": "Jane Doe", "BankAccountType": "consumer-checking"},
}
_ACH_TOKENIZE: Body = {
    "method": "tokenize",
    "transaction_id": "a54b0042-2dfc-493d-b595-f21a3da4f9fc",
    "routingnumber": "110000000",
    "bankaccountnumber": "123456789",
    "description": None,
    "parameters": None,
}
_DECLINE: Body = {
    "method": "charge",
    "transaction_id": "f741d172-71aa-49e3-b98f-6ea186eaae38",
    "cardnumber": "4111111111111111",
    "cvv": "123",
    "expiry_month": "08",
    "expiry_year": "40",
    "postal_code": "94111",
    "amount": "10.00",
    "currency_code": "USD",
    "description": None,
    "parameters": {"sandbox_outcome": "insufficient_funds"},
}
_CRASH: Body = {
    "method": "charge",
    "transaction_id": "38342f6b-49a4-4e58-aeb5-268a9272befc",
    "cardnumber": "5555555555554444",
    "cvv": "123",
    "expiry_month": "12",
    "expiry_year": "2040",
    "postal_code": "02139",
    "amount": "99.99",
    "currency_code": "USD",
    "parameters": {"sandbox_outcome": "timeout_after_capture"},
}

STEPS: tuple[Step, ...] = (
    Step(
        title="Charge a card",
        instance="Stripe_Prod",
        body=FIRST_CHARGE,
        meaning="The card is charged. Twilio hands the charge_id to your IVR as PaymentConfirmationCode.",
    ),
    Step(
        title="Tokenize a card",
        instance="Stripe_Stage",
        body=_CARD_TOKENIZE,
        meaning="No money moved. The card is sealed in the vault; the token says nothing about it.",
    ),
    Step(
        title="Charge a bank account (ACH)",
        instance="Stripe_Dev",
        body=_ACH_CHARGE,
        meaning="Submitted, and not approved: a bank can return a debit days later.",
    ),
    Step(
        title="Tokenize a bank account (ACH)",
        instance="Default",
        body=_ACH_TOKENIZE,
        meaning="Account numbers are sealed as card numbers are.",
    ),
    Step(
        title="A retry of 1, as Twilio sends it after ten silent seconds",
        instance="Stripe_Prod",
        body=FIRST_CHARGE,
        repeats=1,
        meaning="The same bytes in, the same bytes out, charge_id included. No second charge.",
    ),
    Step(
        title="A decline",
        instance="Default",
        body=_DECLINE,
        code=DeclineCode.INSUFFICIENT_FUNDS,
        meaning="About the payment, so HTTP 200. The sandbox declines since sandbox_outcome asks for it.",
    ),
    Step(
        title="A conflict: the transaction_id of 1 with another amount",
        instance="Stripe_Prod",
        body={**FIRST_CHARGE, "amount": "20.0"},
        code=ErrorCode.TRANSACTION_ID_REUSED,
        meaning="One transaction_id is one payment. Nothing was sent to the processor.",
    ),
    Step(
        title="A wrong password",
        instance="Default",
        body={**FIRST_CHARGE, "transaction_id": "0b4f7c86-3f0e-4f4c-9d3c-5e1a2b8d7f60"},
        status=401,
        code=ErrorCode.UNAUTHORIZED,
        has_wrong_password=True,
        meaning="Who may not call does not even get the body parsed.",
    ),
)

CRASH = Step(
    title="kill -9 in the middle of a charge, then Twilio's retry",
    instance="Stripe_Prod",
    body=_CRASH,
    meaning="The new process found its claim on disk, asked the processor, and did not charge again.",
)
