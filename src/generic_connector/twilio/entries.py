"""Entries: what a caller may key, when an entry is whole, whether it is good, and what of it may be shown.

The rules are Twilio's, from the pages of `<Pay>` and of the Payment resource; `<Pay>` and the Payments API share them.
Nothing here waits, asks or remembers: keys, switches and the time come as arguments. Keys are ASCII digits.

Where the pages are silent, this is what holds:

- **Recognition** asks the rows of the table in the order in which they stand below, the narrow ones first. Maestro's
  row, which is any number that begins with a 6, comes last, and so holds what Discover's leaves over. A row fits by
  prefix and length both.
- **A card number** is `invalid-card-number` if it has fewer than 12 digits or more than 19, fails Luhn, or has a length
  that its prefix does not allow; it is `invalid-card-type` if no row knows its prefix or the type is not accepted.
- **The published test numbers** skip Luhn and the table while `test_numbers_pass`: each has the type that it is
  published as, and must be accepted like any. UnionPay's has no type among Twilio's: it has none, and always passes.
- **A number is whole**, and needs no `#` and no timeout, at 16 digits that are good (observed), and at the longest that
  its prefix allows: 15 for American Express, 16 for Mastercard, otherwise 19. A postal code has no length of its own,
  and needs `#` or the timeout unless it must have exactly so many digits.
- **A charge amount** is digits, with a point and decimals or without: no sign, symbol, exponent or space. Zeros after
  the last decimal that counts are no decimals: an SDK that takes a float says `500.0` of 500 yen.
"""

import re
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, assert_never
from urllib.parse import urlsplit

from stdnum import luhn

from generic_connector.bank import ACCOUNT_DIGITS_MAX, PUBLISHED_ACCOUNTS, parse_routing_number
from generic_connector.card import PAN_DIGITS_MAX, PAN_DIGITS_MIN, PUBLISHED_CARDS, Brand, Expiry
from generic_connector.digits import is_digits
from generic_connector.instance import Mode
from generic_connector.money import AMOUNT_CHARS_MAX, CURRENCIES, MAJOR_UNITS_MAX, parse_currency
from generic_connector.payment import Method
from generic_connector.secret import Secret
from generic_connector.twilio.orders import KeyedAccount, KeyedCard
from generic_connector.twilio.pay_connector import PayConnector, PaymentMethod, TokenType
from generic_connector.twilio.pay_errors import PayError
from generic_connector.twilio.switches import Switches

EXPIRY_DIGITS: Final = 4
ROUTING_DIGITS: Final = 9
POSTAL_CODE_DIGITS_MAX: Final = 10
_PART_DIGITS_MIN: Final = 8
"""No postal code is longer; one that must be is as long as it must."""
AVS_NAME: Final = "AVSName"
"""The `<Parameter>` that some connectors want for ACH."""

_WHOLE_NUMBER_DIGITS = 16
_LAST_SHOWN = 4
_LAST_SHOWN_OF_ACCOUNT = 2
_ACCOUNT_DIGITS_SHOWN_MIN = 4
_MONTH_DIGITS = 2
_DECIMALS_MAX = max(currency.exponent for currency in CURRENCIES.values())
_AMOUNT = re.compile(r"([0-9]+)(?:\.([0-9]+))?")
_BETWEEN_WORDS = re.compile(r"[\s,]+")


class Step(StrEnum):
    """What is asked for, by the names of `<Prompt for>`, of a callback's `For`, and of the API's `Capture`."""

    PAYMENT_CARD_NUMBER = "payment-card-number"
    EXPIRATION_DATE = "expiration-date"
    SECURITY_CODE = "security-code"
    POSTAL_CODE = "postal-code"
    BANK_ROUTING_NUMBER = "bank-routing-number"
    BANK_ACCOUNT_NUMBER = "bank-account-number"
    PAYMENT_PROCESSING = "payment-processing"


class ErrorType(StrEnum):
    """What can be wrong with an entry, by the names of the callbacks. `<Prompt>` says `timeout` for the first."""

    INPUT_TIMEOUT = "input-timeout"
    INVALID_CARD_NUMBER = "invalid-card-number"
    INVALID_CARD_TYPE = "invalid-card-type"
    INVALID_DATE = "invalid-date"
    INVALID_SECURITY_CODE = "invalid-security-code"
    INVALID_POSTAL_CODE = "invalid-postal-code"
    INVALID_BANK_ROUTING_NUMBER = "invalid-bank-routing-number"
    INVALID_BANK_ACCOUNT_NUMBER = "invalid-bank-account-number"
    INVALID_BANK_ACCOUNT_TYPE = "invalid-bank-account-type"
    SECURITY_CODE_BEFORE_NUMBER = "invalid-card-number-security-code-capture-sequence"
    INPUT_MATCHING_FAILED = "input-matching-failed"
    SESSION_IN_PROGRESS = "session-in-progress"
    INTERNAL_ERROR = "internal-error"


class CardType(StrEnum):
    """The card types by Twilio's names. `optima` is named in the documents, and no number is known to be one."""

    VISA = "visa"
    MASTERCARD = "mastercard"
    AMEX = "amex"
    MAESTRO = "maestro"
    DISCOVER = "discover"
    OPTIMA = "optima"
    JCB = "jcb"
    DINERS_CLUB = "diners-club"
    ENROUTE = "enroute"


class BankAccountType(StrEnum):
    """The bank account types. The last is an older SDK's, by switch."""

    CONSUMER_CHECKING = "consumer-checking"
    CONSUMER_SAVINGS = "consumer-savings"
    COMMERCIAL_CHECKING = "commercial-checking"
    COMMERCIAL_SAVINGS = "commercial-savings"


DEFAULT_CARD_TYPES: Final = frozenset({CardType.VISA, CardType.MASTERCARD, CardType.AMEX})

_CARD_TYPES = {card_type.value: card_type for card_type in CardType}
_BANK_ACCOUNT_TYPES = {account_type.value: account_type for account_type in BankAccountType}


# --- What is asked for -----------------------------------------------------------------------------------------------


def steps_of(
    payment_method: PaymentMethod, *, security_code: bool, postal_code: bool, switches: Switches
) -> tuple[Step, ...]:
    """Return what is collected, in the order in which it is asked. The flags are about a card only."""
    if payment_method is PaymentMethod.ACH_DEBIT:
        return (Step.BANK_ROUTING_NUMBER, Step.BANK_ACCOUNT_NUMBER)
    last = [step for step, asked in ((Step.POSTAL_CODE, postal_code), (Step.SECURITY_CODE, security_code)) if asked]
    if switches.prompt_order == "security-code-first":
        last.reverse()
    return (Step.PAYMENT_CARD_NUMBER, Step.EXPIRATION_DATE, *last)


def parse_card_types(text: str) -> frozenset[CardType] | None:
    """Return the card types of `visa mastercard`, or None where there is none or one is no such type.

    Commas will do for spaces: one of the SDKs documents them.
    """
    names = [name for name in _BETWEEN_WORDS.split(text) if name]
    if not names or not set(names) <= _CARD_TYPES.keys():
        return None
    return frozenset(_CARD_TYPES[name] for name in names)


def parse_bank_account_type(text: str, switches: Switches) -> BankAccountType | None:
    """Return the bank account type of its name, or None."""
    found = _BANK_ACCOUNT_TYPES.get(text)
    return None if found is BankAccountType.COMMERCIAL_SAVINGS and not switches.commercial_savings else found


# --- Cards -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CardRow:
    """Numbers that begin with `low` to `high`, both of one length, and have one of `lengths` digits are `card_type`."""

    low: str
    high: str
    card_type: CardType
    lengths: Collection[int]


_FROM_16 = range(16, 20)

# Twilio's table on the page of <Pay>. The first row that fits wins: Discover before Maestro, which would take it.
CARD_ROWS: Final = (
    CardRow("2014", "2014", CardType.ENROUTE, (15,)),
    CardRow("2149", "2149", CardType.ENROUTE, (15,)),
    CardRow("34", "34", CardType.AMEX, (15,)),
    CardRow("37", "37", CardType.AMEX, (15,)),
    CardRow("36", "36", CardType.DINERS_CLUB, range(14, 20)),
    CardRow("300", "304", CardType.DINERS_CLUB, _FROM_16),
    CardRow("3095", "3095", CardType.DINERS_CLUB, _FROM_16),
    CardRow("38", "39", CardType.DINERS_CLUB, _FROM_16),
    CardRow("3528", "3589", CardType.JCB, _FROM_16),
    CardRow("4", "4", CardType.VISA, (13, 15, 19)),  # and 16, by switch
    CardRow("510000", "559999", CardType.MASTERCARD, (16,)),
    CardRow("222100", "272099", CardType.MASTERCARD, (16,)),
    CardRow("6011", "6011", CardType.DISCOVER, _FROM_16),
    CardRow("64", "65", CardType.DISCOVER, _FROM_16),
    CardRow("50", "50", CardType.MAESTRO, range(12, 20)),
    CardRow("56", "58", CardType.MAESTRO, range(12, 20)),
    CardRow("6", "6", CardType.MAESTRO, range(12, 20)),
)

_TYPE_OF_BRAND: Final[Mapping[Brand, CardType]] = {
    Brand.VISA: CardType.VISA,
    Brand.MASTERCARD: CardType.MASTERCARD,
    Brand.AMEX: CardType.AMEX,
    Brand.DISCOVER: CardType.DISCOVER,
    Brand.DINERS: CardType.DINERS_CLUB,
    Brand.JCB: CardType.JCB,
    Brand.MAESTRO: CardType.MAESTRO,
}


def recognise(number: str, switches: Switches) -> CardType | None:
    """Return the type of a card number by prefix and length, or None where no row fits. Luhn is not asked."""
    if _is_waved_through(number, switches):
        return _TYPE_OF_BRAND.get(PUBLISHED_CARDS[number])
    for row in _rows_of_prefix(number):
        if len(number) in _lengths(row, switches):
            return row.card_type
    return None


def judge_card_number(number: str, valid_types: Collection[CardType], switches: Switches) -> ErrorType | None:
    """Return what is wrong with a card number, or None."""
    card_type = recognise(number, switches)
    if _is_waved_through(number, switches):
        return None if card_type is None or card_type in valid_types else ErrorType.INVALID_CARD_TYPE
    if not (is_digits(number) and PAN_DIGITS_MIN <= len(number) <= PAN_DIGITS_MAX and luhn.is_valid(number)):
        return ErrorType.INVALID_CARD_NUMBER
    if card_type is None:
        return ErrorType.INVALID_CARD_NUMBER if _rows_of_prefix(number) else ErrorType.INVALID_CARD_TYPE
    return None if card_type in valid_types else ErrorType.INVALID_CARD_TYPE


def judge_expiry(mmyy: str, now_s: float) -> ErrorType | None:
    """Return what is wrong with an expiry of four digits, or None. Its month counts until it is over everywhere."""
    expiry = Expiry.parse(mmyy[:_MONTH_DIGITS], mmyy[_MONTH_DIGITS:]) if len(mmyy) == EXPIRY_DIGITS else None
    if expiry is None or expiry.is_past(datetime.fromtimestamp(now_s, UTC)):
        return ErrorType.INVALID_DATE
    return None


def security_code_digits(card_type: CardType | None) -> int:
    """Return how many digits a security code has: four for American Express, otherwise three."""
    return 4 if card_type is CardType.AMEX else 3


def judge_security_code(code: str, card_type: CardType | None) -> ErrorType | None:
    """Return what is wrong with a security code for this type of card, or None."""
    is_good = is_digits(code) and len(code) == security_code_digits(card_type)
    return None if is_good else ErrorType.INVALID_SECURITY_CODE


def judge_postal_code(code: str, minimum: int | None, switches: Switches) -> ErrorType | None:
    """Return what is wrong with a postal code as keyed, or None. `minimum` is `minPostalCodeLength`."""
    if not is_digits(code):
        return ErrorType.INVALID_POSTAL_CODE
    if minimum is not None and switches.postal_code_length == "exactly":
        is_good = len(code) == minimum
    else:
        is_good = (minimum or 1) <= len(code) <= _postal_code_digits_max(minimum)
    return None if is_good else ErrorType.INVALID_POSTAL_CODE


def _postal_code_digits_max(minimum: int | None) -> int:
    return max(minimum or 0, POSTAL_CODE_DIGITS_MAX)


def is_part_of(entered: str, number: str) -> bool:
    """Whether this is so much of a card's number, keyed in the wrong place, that it must not be shown."""
    return len(entered) >= _PART_DIGITS_MIN and entered in number


def _is_waved_through(number: str, switches: Switches) -> bool:
    return switches.test_numbers_pass and number in PUBLISHED_CARDS


def _rows_of_prefix(number: str) -> list[CardRow]:
    return [row for row in CARD_ROWS if row.low <= number[: len(row.low)] <= row.high]


def _lengths(row: CardRow, switches: Switches) -> Collection[int]:
    if row.card_type is CardType.VISA and switches.visa_lengths == "with-16":
        return (*row.lengths, 16)
    return row.lengths


# --- Bank accounts ---------------------------------------------------------------------------------------------------


def judge_routing_number(number: str) -> ErrorType | None:
    """Return what is wrong with a routing number, or None: nine digits with the ABA checksum, not all zeros."""
    return ErrorType.INVALID_BANK_ROUTING_NUMBER if parse_routing_number(number) is None else None


def judge_account_number(number: str, switches: Switches) -> ErrorType | None:
    """Return what is wrong with an account number, or None."""
    is_good = is_digits(number) and switches.account_number_digits_min <= len(number) <= ACCOUNT_DIGITS_MAX
    return None if is_good else ErrorType.INVALID_BANK_ACCOUNT_NUMBER


# --- Any step --------------------------------------------------------------------------------------------------------


def judge(
    step: Step,
    entered: str,
    *,
    now_s: float,
    switches: Switches,
    valid_types: Collection[CardType] = DEFAULT_CARD_TYPES,
    card_type: CardType | None = None,
    minimum: int | None = None,
) -> ErrorType | None:
    """Return what is wrong with the entry of any step, or None. `card_type` is that of the number keyed before."""
    match step:
        case Step.PAYMENT_CARD_NUMBER:
            return judge_card_number(entered, valid_types, switches)
        case Step.EXPIRATION_DATE:
            return judge_expiry(entered, now_s)
        case Step.SECURITY_CODE:
            return judge_security_code(entered, card_type)
        case Step.POSTAL_CODE:
            return judge_postal_code(entered, minimum, switches)
        case Step.BANK_ROUTING_NUMBER:
            return judge_routing_number(entered)
        case Step.BANK_ACCOUNT_NUMBER:
            return judge_account_number(entered, switches)
        case Step.PAYMENT_PROCESSING:
            return None  # nothing is keyed
        case _:
            assert_never(step)


def is_whole(
    step: Step,
    entered: str,
    *,
    switches: Switches,
    card_type: CardType | None = None,
    minimum: int | None = None,
) -> bool:
    """Whether so many keys end the entry of a step without `#` or timeout. It need not be good."""
    match step:
        case Step.PAYMENT_CARD_NUMBER:
            return _is_whole_number(entered, switches)
        case Step.EXPIRATION_DATE:
            return len(entered) >= EXPIRY_DIGITS
        case Step.SECURITY_CODE:
            return len(entered) >= security_code_digits(card_type)
        case Step.POSTAL_CODE:
            is_exact = minimum is not None and switches.postal_code_length == "exactly"
            # One too many ends it, and is wrong: who keys a card number here must not have ten digits of it shown.
            return len(entered) >= minimum if is_exact and minimum else len(entered) > _postal_code_digits_max(minimum)
        case Step.BANK_ROUTING_NUMBER:
            return len(entered) >= ROUTING_DIGITS
        case Step.BANK_ACCOUNT_NUMBER:
            return len(entered) >= ACCOUNT_DIGITS_MAX
        case Step.PAYMENT_PROCESSING:
            return False  # nothing is keyed
        case _:
            assert_never(step)


def _is_whole_number(entered: str, switches: Switches) -> bool:
    if len(entered) == _WHOLE_NUMBER_DIGITS and judge_card_number(entered, _CARD_TYPES.values(), switches) is None:
        return True
    lengths = [max(_lengths(row, switches)) for row in _rows_of_prefix(entered)]
    return len(entered) >= (max(lengths) if lengths else PAN_DIGITS_MAX)


# --- Masks -----------------------------------------------------------------------------------------------------------


def mask_partial(entered: str) -> str:
    """Return an `x` for each key: all that is shown of what is not whole or not good."""
    return "x" * len(entered)


def mask_card(number: str, card_type: CardType | None, switches: Switches) -> str:
    """Return a card number with its last four digits: `xxxxxxxxxxxx1111`, or dashed as it is printed on the card.

    What is too short to be a card number shows nothing.
    """
    if len(number) < PAN_DIGITS_MIN:
        return mask_partial(number)
    masked = "x" * (len(number) - _LAST_SHOWN) + number[-_LAST_SHOWN:]
    if switches.card_mask == "plain":
        return masked
    if card_type is CardType.AMEX:
        return "-".join((masked[:4], masked[4:10], masked[10:]))
    return "-".join(masked[at : at + 4] for at in range(0, len(masked), 4))


def mask_security_code(code: str, switches: Switches) -> str:
    """Return a security code with all of it masked."""
    return switches.security_code_mask[0] * len(code)


def mask_account(number: str) -> str:
    """Return an account number with all but its last two digits masked: `*******92`. Very short ones show nothing."""
    shown = _LAST_SHOWN_OF_ACCOUNT if len(number) >= _ACCOUNT_DIGITS_SHOWN_MIN else 0
    return "*" * (len(number) - shown) + number[len(number) - shown :]


# --- Amounts ---------------------------------------------------------------------------------------------------------


def charge_amount(text: str | None, currency: str, switches: Switches) -> str | PayError | None:
    """Return the amount to charge as it was given; None where there is none to charge, so that it is a tokenize.

    What is no amount, is more than may be charged, or has more decimals than its currency is refused (64003). A
    currency that ISO 4217 does not know may have as many decimals as any.
    """
    if text is None or not text.strip():
        return None
    match = _AMOUNT.fullmatch(text) if len(text) <= AMOUNT_CHARS_MAX else None
    if match is None:
        return PayError.INVALID_CHARGE_AMOUNT
    whole, decimals = match[1].lstrip("0"), (match[2] or "").rstrip("0")
    if not whole and not decimals:
        return None
    known = parse_currency(currency)
    if len(decimals) > (_DECIMALS_MAX if known is None else known.exponent) or not _is_within(
        whole, decimals, switches
    ):
        return PayError.INVALID_CHARGE_AMOUNT
    return text


def _is_within(whole: str, decimals: str, switches: Switches) -> bool:
    units = int(whole or "0")
    if units == MAJOR_UNITS_MAX and not decimals:
        return switches.largest_amount == "included"
    return units < MAJOR_UNITS_MAX


# --- What a connector refuses ----------------------------------------------------------------------------------------


def refusal(
    connector: PayConnector | None,
    *,
    method: Method,
    payment_method: PaymentMethod,
    token_type: TokenType,
    currency: str,
    parameters: Mapping[str, str],
) -> PayError | None:
    """Return why this connector cannot do this at all, before anything is asked; None if it can.

    None for the connector: there is none of that name. The kind of token matters for a tokenize only, the currency for
    a charge only.
    """
    if connector is None:
        return PayError.UNKNOWN_CONNECTOR
    if not _is_readable(connector):
        return PayError.CONFIGURATION
    if not connector.is_authorized:
        return PayError.NOT_AUTHORIZED
    if payment_method not in connector.payment_methods:
        return PayError.NO_PAYMENT_METHOD
    return _refusal_of_method(connector, method, token_type, currency) or _refusal_of_parameters(
        connector, payment_method, {name for name, value in parameters.items() if value.strip()}
    )


def test_refusal(connector: PayConnector, instrument: KeyedCard | KeyedAccount) -> PayError | None:
    """Return why what was keyed does not reach the endpoint: the test mode's list, or a live mode not yet approved."""
    if connector.mode is Mode.LIVE:
        return None if connector.is_approved else PayError.NOT_APPROVED
    match instrument:
        case KeyedCard():
            return None if instrument.number.reveal() in PUBLISHED_CARDS else PayError.INVALID_TEST_CARD
        case KeyedAccount():
            is_published = instrument.account_number.reveal() in PUBLISHED_ACCOUNTS
            return None if is_published else PayError.INVALID_TEST_ACCOUNT
        case _:
            assert_never(instrument)


def _is_readable(connector: PayConnector) -> bool:
    """Whether the configuration makes sense: a URL, and credentials, which the Console insists on."""
    try:
        url = urlsplit(connector.url)
        is_url = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        return False
    return is_url and bool(connector.username) and connector.password != Secret("")


def _refusal_of_method(
    connector: PayConnector, method: Method, token_type: TokenType, currency: str
) -> PayError | None:
    match method:
        case Method.CHARGE:
            if not connector.charges:
                return PayError.NO_CHARGE
            is_known = connector.currencies is None or currency.upper() in connector.currencies
            return None if is_known else PayError.NO_CURRENCY
        case Method.TOKENIZE:
            if not connector.tokenizes:
                return PayError.NO_TOKENIZATION
            return None if token_type in connector.token_types else PayError.NO_TOKEN_TYPE
        case _:
            assert_never(method)


def _refusal_of_parameters(
    connector: PayConnector, payment_method: PaymentMethod, given: AbstractSet[str]
) -> PayError | None:
    if payment_method is PaymentMethod.ACH_DEBIT and connector.needs_avs_name and AVS_NAME not in given:
        return PayError.AVS_NAME_REQUIRED
    return None if connector.required_parameters <= given else PayError.PARAMETER_MISSING
