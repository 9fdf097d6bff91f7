"""Twilio's error codes for `<Pay>` and the Payments API: 64001 to 64024, with their titles.

Source: Twilio's error dictionary. The titles are protocol constants: they reach the application in `PaymentError`.
"""

from enum import IntEnum
from typing import Self


class PayError(IntEnum):
    """Why a payment ended without success. `title` is Twilio's own."""

    title: str

    CONFIGURATION = 64001, "Pay: Configuration Error"
    SERVICE_UNAVAILABLE = 64002, "Pay: Service unavailable."
    INVALID_CHARGE_AMOUNT = 64003, "Pay: Invalid charge amount."
    UNKNOWN_CONNECTOR = 64004, "Pay: Invalid paymentConnector attribute in TwiML."
    NO_TOKENIZATION = 64005, "Pay: Connector does not support tokenization."
    NO_TOKEN_TYPE = 64006, "Pay: Connector does not support token type."
    NO_CHARGE = 64007, "Pay: Connector does not support creating charge."
    CHARGE_REJECTED = 64008, "Pay: Payment Gateway rejected charge creation."
    NOT_AUTHORIZED = 64009, "Pay: Twilio is no longer authorized to initiate transactions on your behalf."
    TOKEN_REJECTED = 64010, "Pay: Payment Gateway rejected token creation."
    NO_CURRENCY = 64011, "Pay: Connector does not support the requested currency."
    CARD_REJECTED = 64012, "Pay: Payment Gateway rejected the card."
    NO_PAYMENT_METHOD = 64013, "Pay: Connector does not support supplied paymentMethod attribute."
    AVS_NAME_REQUIRED = 64014, "Pay: ECP/ACH requires AVSName Parameter in the <Pay> verb."
    PARAMETER_MISSING = 64015, "Pay: <Pay> verb is missing a needed Parameter"
    INVALID_ACTION_URL = 64016, "Pay: Invalid Action URL"
    BANK_ACCOUNT_TYPE_WITH_CARD = (
        64017,
        'Pay: BankAccountType Parameter not supported with PaymentMethod = "credit-card"',
    )
    CAPTURE_OR_STATUS = 64018, "Pay: Value needed for either Capture or Status parameters"
    INCOMPLETE = 64019, "Pay: Required payment information incomplete"
    INVALID_PARAMETER = 64020, "Pay: Invalid Parameter Value"
    INVALID_OPERATION = 64021, "Pay: Invalid Operation"
    INVALID_TEST_CARD = 64022, "Pay: Invalid Test Card Number"
    INVALID_TEST_ACCOUNT = 64023, "Pay: Invalid Test Bank Account Number"
    NOT_APPROVED = 64024, "Pay: Connector Instance Not Approved"

    def __new__(cls, code: int, title: str) -> Self:
        """Make a member of a code and its title."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.title = title
        return member
