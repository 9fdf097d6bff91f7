"""The switches: what Twilio's sources leave open, or disagree on, each with a stated default.

Twilio's documentation, its SDKs and what people logged do not always agree, and on some things all are silent. Where an
application or an endpoint might care, the simulator lets you choose, so that you can try both. One value, `Switches`,
holds every choice: per call, in a file, and on the command line (`--switch NAME=VALUE`).

A default is what is best supported, what was observed before what was documented, and otherwise the mildest.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Switches(BaseModel):
    """Every choice, frozen. Names are the command line's too. An unknown name or value is refused."""

    # hide_input_in_errors: an error text never repeats what was typed.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    # --- What is sent to the connector's endpoint --------------------------------------------------------------------

    timeout_s: float = Field(
        default=10.0, gt=0, le=600, description="seconds to wait for the endpoint's answer (documented: 10)"
    )
    retries: int = Field(default=5, ge=0, le=20, description="how many times it is asked again (documented: up to 5)")
    retry_pause_s: float = Field(
        default=0.0, ge=0, le=60, description="seconds between an attempt and the next (no source tells)"
    )
    retry_on: Literal["no-answer", "no-answer-or-5xx"] = Field(
        default="no-answer",
        description="what is asked again: only what was not answered in time (documented), or a 5xx too",
    )
    retry_after_refused_connection: bool = Field(
        default=True, description="whether a connection that was refused or dropped is an answer that did not come"
    )
    content_type: Literal["none", "application/json", "text/plain"] = Field(
        default="none", description="the request's Content-Type (observed in 2021: none at all)"
    )
    user_agent: str = Field(default="AHC/2.1", description="the request's User-Agent (observed in 2021: AHC/2.1)")
    path: Literal["configured", "with-method"] = Field(
        default="configured",
        description="the configured URL itself, or the private beta's /charge and /tokenize below it",
    )
    expiry_year_digits: Literal[2, 4] = Field(default=2, description="the digits of expiry_year (older samples: 4)")
    amount_text: Literal["as-given", "shortest"] = Field(
        default="as-given", description='amount as in chargeAmount, or "10.0" for 10.00 as one sample shows'
    )
    currency_case: Literal["upper", "lower", "as-given"] = Field(
        default="upper", description="currency_code on the wire (observed: USD, though <Pay> says usd)"
    )
    tokenize_amount: Literal["absent", "zero"] = Field(
        default="absent", description='whether a tokenize carries "amount": "0" and a currency (observed in 2021)'
    )
    unset_fields: Literal["null", "absent", "empty"] = Field(
        default="null", description="how an optional field without a value is sent (observed: null)"
    )
    unset_parameters: Literal["empty-object", "null", "absent"] = Field(
        default="empty-object", description="how `parameters` is sent when there are none (no source tells)"
    )
    parameter_names: Literal["as-given", "snake_case", "camelCase", "lower"] = Field(
        default="as-given",
        description="how <Parameter> names reach the wire (some conversion exists, its rule is unknown)",
    )
    error_with_other_status: Literal["read", "malformed"] = Field(
        default="read", description="a good body under a status other than 200: read it, or call it malformed"
    )
    empty_error_code: Literal["success", "failure"] = Field(
        default="success", description='whether "error_code": "" counts as null'
    )

    # --- <Pay> -------------------------------------------------------------------------------------------------------

    default_max_attempts: Literal[1, 2, 3] = Field(
        default=1, description="maxAttempts where TwiML gives none (documented: none, 1, and in Studio 2)"
    )
    max_attempts_counts: Literal["retries", "tries"] = Field(
        default="retries", description="whether maxAttempts counts reprompts (documented) or all tries of a step"
    )
    attempts_exhausted: Literal["action", "next-verb"] = Field(
        default="action", description="then: the action URL with too-many-failed-attempts, or on to the next verb"
    )
    prompt_order: Literal["postal-code-first", "security-code-first"] = Field(
        default="postal-code-first", description="which of the two is asked first (sources: 3 to 1 for the postal code)"
    )
    visa_lengths: Literal["with-16", "as-documented"] = Field(
        default="with-16", description="Visa numbers of 13, 15 and 19 digits (documented), and of 16 (obviously)"
    )
    test_numbers_pass: bool = Field(
        default=True,
        description="whether the published test numbers skip Luhn and the table of brands (one fails both)",
    )
    card_mask: Literal["plain", "dashed"] = Field(
        default="plain", description="xxxxxxxxxxxx1111 (observed) or xxxx-xxxxxx-x4001 (documented)"
    )
    security_code_mask: Literal["xxx", "***"] = Field(
        default="xxx", description="xxx (observed) or *** (documented for <Pay>), one mark for each digit"
    )
    commercial_savings: bool = Field(
        default=False, description="whether bankAccountType may be commercial-savings (an older SDK has it)"
    )
    personal_account_names: bool = Field(
        default=False, description="BankAccountType in the action: personal-checking for consumer-checking, and so on"
    )
    prompt_attempts: Literal[10, 3] = Field(
        default=10, description="the highest attempt that a <Prompt> may name (two pages differ)"
    )
    account_number_digits_min: int = Field(
        default=4, ge=1, le=17, description="the fewest digits of an account number (not documented)"
    )
    largest_amount: Literal["included", "excluded"] = Field(
        default="included", description="whether 1,000,000 itself may be charged (<Pay>: up to; API: less than)"
    )
    postal_code_length: Literal["at-least", "exactly"] = Field(
        default="at-least", description="how minPostalCodeLength is meant (two pages differ)"
    )
    matching_inputs: Literal["both", "bank-only", "card-only"] = Field(
        default="both", description="which steps requireMatchingInputs works for (<Prompt>: bank; API: card)"
    )
    action_scheme: Literal["https-only", "any"] = Field(
        default="https-only", description="whether an http:// action is refused with 64016 (documented)"
    )
    payment_error_encoding: Literal["plain", "percent"] = Field(
        default="plain", description="whether PaymentError is percent-encoded once more (Twilio's samples decode it)"
    )
    connector_error_field: Literal["ConnectorError", "connectorError"] = Field(
        default="ConnectorError", description="the field's name in the action (two spellings)"
    )

    # --- The Payments API --------------------------------------------------------------------------------------------

    required_names: Literal["hyphenated", "pascal"] = Field(
        default="hyphenated", description="Required: expiration-date (observed) or ExpirationDate (documented)"
    )
    callback_dates: Literal["iso", "rfc2822"] = Field(
        default="iso", description="DateCreated in callbacks: 2021-08-10T03:55:53.408Z (observed) or RFC 2822"
    )
    capture_wait: Literal["unlimited", "timeout"] = Field(
        default="unlimited",
        description="how long a capture waits for its first key (timeout counts after it: documented)",
    )
    last_partial_result: Literal["false", "absent"] = Field(
        default="false", description="PartialResult of a field that is whole (two consumers differ)"
    )
    token_type_with_amount: Literal["charge", "refused"] = Field(
        default="charge", description="TokenType beside an amount: the charge wins (documented), or 64020 (observed)"
    )
    cancel_result: Literal["absent", "caller-interrupted-with-star"] = Field(
        default="absent", description="the Result that a cancel reports (undocumented)"
    )
    parameters_in_callbacks: bool = Field(
        default=False, description="PayConnector_* in the Payments API's callbacks too (documented: <Pay> only)"
    )
    repeated_idempotency_key: Literal["same-answer", "refused", "ignored"] = Field(
        default="same-answer", description="a key that was used before on this call (demos reuse the CallSid)"
    )
