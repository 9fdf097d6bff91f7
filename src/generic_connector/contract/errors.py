"""The error table: every code that the gateway can answer, once.

What a reply, the log, openapi.yaml and the README say about a code comes from here or is compared with it by a test.
The statuses follow one rule: 200 for all that is about the payment, since Twilio's own samples answer declines so and a
caller on the phone is told what `error_code` says; 4xx for what is no contract request; 503 where this delivery
certainly sent nothing.
"""

from dataclasses import dataclass
from enum import StrEnum

from generic_connector.payment import DeclineCode


class ErrorCode(StrEnum):
    """The codes of the contract that are no declines."""

    MALFORMED_REQUEST = "malformed_request"
    UNSUPPORTED_METHOD = "unsupported_method"
    MISSING_FIELD = "missing_field"
    INVALID_FIELD = "invalid_field"
    INVALID_CARD_NUMBER = "invalid_card_number"
    UNSUPPORTED_CARD_BRAND = "unsupported_card_brand"
    INVALID_EXPIRY = "invalid_expiry"
    EXPIRED_CARD = "expired_card"
    INVALID_CVV = "invalid_cvv"
    INVALID_POSTAL_CODE = "invalid_postal_code"
    INVALID_ROUTING_NUMBER = "invalid_routing_number"
    INVALID_ACCOUNT_NUMBER = "invalid_account_number"
    INVALID_AMOUNT = "invalid_amount"
    UNSUPPORTED_CURRENCY = "unsupported_currency"
    TEST_NUMBER_REQUIRED = "test_number_required"
    LIVE_NUMBER_REQUIRED = "live_number_required"
    NOT_PERMITTED = "not_permitted"
    TRANSACTION_ID_REUSED = "transaction_id_reused"
    OUTCOME_UNKNOWN = "outcome_unknown"
    PROCESSOR_UNAVAILABLE = "processor_unavailable"
    UNAUTHORIZED = "unauthorized"
    INSTANCE_DISABLED = "instance_disabled"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    TOO_MANY_REQUESTS = "too_many_requests"
    STORE_UNAVAILABLE = "store_unavailable"
    INTERNAL_ERROR = "internal_error"


Code = ErrorCode | DeclineCode


@dataclass(frozen=True, slots=True)
class Entry:
    """What a code means.

    `status` is HTTP's. `message` says what is wrong and what to do, for whoever reads the reply. `may_retry` tells
    whether a new transaction with the same card can succeed: at once, later, or with what was wrong keyed in anew.
    """

    status: int
    message: str
    may_retry: bool = False


ERRORS: dict[Code, Entry] = {
    ErrorCode.MALFORMED_REQUEST: Entry(
        400,
        "The body is not a contract request. Send one JSON object, in UTF-8, for one card or one bank account.",
    ),
    ErrorCode.UNSUPPORTED_METHOD: Entry(400, "The method is not supported. Send charge or tokenize, in lower case."),
    ErrorCode.MISSING_FIELD: Entry(400, "A field that this method needs is missing or null."),
    ErrorCode.INVALID_FIELD: Entry(400, "A field has a value that cannot be used."),
    ErrorCode.INVALID_CARD_NUMBER: Entry(
        200,
        "The card number is not valid: 12 to 19 digits with a correct check digit. Ask for it again.",
        may_retry=True,
    ),
    ErrorCode.UNSUPPORTED_CARD_BRAND: Entry(
        200,
        "Cards of this brand, or of this length for the brand, are not accepted. Ask for another card.",
    ),
    ErrorCode.INVALID_EXPIRY: Entry(
        200,
        "The expiry is not valid: a month from 01 to 12 and a year of two or four digits. Ask for it again.",
        may_retry=True,
    ),
    ErrorCode.EXPIRED_CARD: Entry(200, "The card has expired. Ask for another card."),
    ErrorCode.INVALID_CVV: Entry(
        200,
        "The security code is not valid: three digits, four for American Express. Ask for it again.",
        may_retry=True,
    ),
    ErrorCode.INVALID_POSTAL_CODE: Entry(
        200,
        "The postal code is not valid: 1 to 10 letters, digits, spaces and hyphens. Ask for it again.",
        may_retry=True,
    ),
    ErrorCode.INVALID_ROUTING_NUMBER: Entry(
        200,
        "The routing number is not valid: nine digits with a correct checksum. Ask for it again.",
        may_retry=True,
    ),
    ErrorCode.INVALID_ACCOUNT_NUMBER: Entry(
        200, "The account number is not valid: 4 to 17 digits. Ask for it again.", may_retry=True
    ),
    ErrorCode.INVALID_AMOUNT: Entry(
        200,
        "The amount is not valid: plain decimal, above zero, at most 1000000, no more decimals than the currency has.",
    ),
    ErrorCode.UNSUPPORTED_CURRENCY: Entry(200, "The currency is not one that can be charged: send an ISO 4217 code."),
    ErrorCode.TEST_NUMBER_REQUIRED: Entry(
        200,
        "This instance is in test mode and takes only the published test numbers. Use one, or a live instance.",
    ),
    ErrorCode.LIVE_NUMBER_REQUIRED: Entry(
        200,
        "This instance is live and refuses the published test numbers. Use a real card, or a test instance.",
    ),
    ErrorCode.NOT_PERMITTED: Entry(200, "This instance or credential may not do this. Ask its operator to permit it."),
    ErrorCode.TRANSACTION_ID_REUSED: Entry(
        200,
        "This transaction_id was used for another payment. Nothing was sent; use a new transaction_id.",
    ),
    ErrorCode.OUTCOME_UNKNOWN: Entry(
        200,
        "It is not known whether the payment went through. Do not charge again: it is being looked into.",
    ),
    ErrorCode.PROCESSOR_UNAVAILABLE: Entry(
        200,
        "The processor cannot be reached. Nothing was charged; try again later.",
        may_retry=True,
    ),
    ErrorCode.UNAUTHORIZED: Entry(401, "The username, password or access token is missing or wrong."),
    ErrorCode.INSTANCE_DISABLED: Entry(403, "This instance is disabled. Ask its operator to enable it."),
    ErrorCode.NOT_FOUND: Entry(404, "There is nothing at this path. The endpoint is POST /."),
    ErrorCode.METHOD_NOT_ALLOWED: Entry(405, "Send POST."),
    ErrorCode.PAYLOAD_TOO_LARGE: Entry(413, "The body is larger than 16 KiB."),
    ErrorCode.TOO_MANY_REQUESTS: Entry(429, "Too many requests. Nothing was sent; try again later.", may_retry=True),
    ErrorCode.STORE_UNAVAILABLE: Entry(
        503,
        "The payment could not be recorded, so nothing was sent. Try again later.",
        may_retry=True,
    ),
    ErrorCode.INTERNAL_ERROR: Entry(503, "An error inside the gateway. Nothing was sent; try again.", may_retry=True),
    DeclineCode.CARD_DECLINED: Entry(200, "The card was declined.", may_retry=True),
    DeclineCode.INSUFFICIENT_FUNDS: Entry(200, "There are not enough funds for this amount.", may_retry=True),
    DeclineCode.DO_NOT_HONOR: Entry(200, "The issuer declined and gave no reason.", may_retry=True),
    DeclineCode.LOST_CARD: Entry(200, "The card was declined."),
    DeclineCode.STOLEN_CARD: Entry(200, "The card was declined."),
    DeclineCode.INCORRECT_CVV: Entry(200, "The security code does not match the card.", may_retry=True),
    DeclineCode.INCORRECT_POSTAL_CODE: Entry(200, "The postal code does not match the card.", may_retry=True),
    DeclineCode.PROCESSING_ERROR: Entry(200, "The payment did not go through. No money moved.", may_retry=True),
    DeclineCode.ACCOUNT_CLOSED: Entry(200, "The account is closed."),
    DeclineCode.NO_ACCOUNT: Entry(200, "There is no such account."),
    DeclineCode.ACH_RETURNED: Entry(200, "The bank returned the debit."),
}
