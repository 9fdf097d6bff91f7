"""A request's body to a payment, in each dialect.

Twilio and Telnyx name the operation in `method`; on Twilio's legacy paths `/charge` and `/tokenize` the path names it.
SignalWire sends its payment method there (`credit-card`), or nothing, and means a charge where the amount is above
zero.

Tolerant where any source shows a variant, strict where money is ambiguous:

- an optional field may be missing, null or empty; unknown fields are ignored; a tokenize may carry an amount;
- a value of the wrong JSON type is a 400, and so is a needed field that is missing or null: that is no contract
  request;
- a value of the right type that breaks a rule of payment has a code of its own and is about the payment.

The order of the checks is fixed, so that a body with two mistakes is always answered in the same way: JSON, method,
transaction_id, kind of instrument, types, then card number, expiry, CVV, postal code (or routing and account number),
then amount and currency. What needs a clock, an instance or a processor is asked later, and only of new transactions.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from generic_connector.bank import AccountNumber, BankAccount, parse_routing_number
from generic_connector.card import Card, Cvv, Expiry, Pan
from generic_connector.contract.body import Json, NotJsonError, Number, parse_object, to_text
from generic_connector.contract.errors import Code, ErrorCode
from generic_connector.instance import Dialect
from generic_connector.money import AMOUNT_CHARS_MAX, Currency, Money, parse_currency
from generic_connector.payment import (
    AchDetails,
    Charge,
    Details,
    Method,
    Payment,
    Tokenize,
)
from generic_connector.scrub import scrub

TRANSACTION_ID_CHARS_MAX = 128
REFERENCE_CHARS_MAX = 64
_POSTAL_CODE = re.compile(r"[A-Za-z0-9 \-]{1,10}")
_ZERO = re.compile(r"0+(?:\.0+)?")
_SIGNALWIRE_METHOD = "credit-card"
_CONTROL = "sandbox"
_ACCOUNT_TYPED_BY_CHANCE = 8
_SEPARATORS = b" .,-_/"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is no payment.

    `method` is None while it is not known; `message` None means the error table's.
    """

    code: Code
    method: Method | None = None
    message: str | None = None


def parse(body: bytes, dialect: Dialect, path_method: Method | None = None) -> Payment | Refusal:
    """Return the payment that `body` asks for, or why it asks for none.

    `path_method` is the method that a legacy path names.
    """
    method: Method | None = None
    try:
        fields = parse_object(body)
        method = _method(fields, dialect, path_method)
        return _payment(fields, method, dialect)
    except NotJsonError as error:
        return Refusal(ErrorCode.MALFORMED_REQUEST, message=str(error))
    except _RefusedError as refused:
        return Refusal(refused.code, method, refused.message)


class _RefusedError(Exception):
    """Carries a refusal from the field at fault to `parse`, and no further."""

    def __init__(self, code: Code, message: str | None = None) -> None:
        self.code = code
        self.message = message


def _payment(fields: Mapping[str, Json], method: Method, dialect: Dialect) -> Payment:
    transaction_id = _transaction_id(fields)
    is_bank = _is_bank(fields)
    number = _needed(fields, "bankaccountnumber" if is_bank else "cardnumber")
    amount = _amount_text(fields, dialect) if method is Method.CHARGE else None
    currency = _needed(fields, "currency_code") if method is Method.CHARGE else None
    parameters = _parameters(fields)
    details = _details(parameters, fields.get("description"), number)
    save_card = method is Method.CHARGE and _flag(parameters.acted_on, "savecard")
    instrument = _bank_account(fields, number) if is_bank else _card(fields, number)
    _keep_out(number, transaction_id)
    if amount is None or currency is None:
        return Tokenize(transaction_id=transaction_id, instrument=instrument, details=details)
    return Charge(
        transaction_id=transaction_id,
        instrument=instrument,
        money=_money(amount, currency),
        save_card=save_card,
        details=details,
    )


# --- The operation ---------------------------------------------------------------------------------------------------


def _method(fields: Mapping[str, Json], dialect: Dialect, path_method: Method | None) -> Method:
    named = _method_of_amount(fields) if dialect is Dialect.SIGNALWIRE else _method_named(fields, path_method)
    if path_method is not None and named is not path_method:
        raise _RefusedError(ErrorCode.INVALID_FIELD, f"The body does not ask for a {path_method}, as the path does.")
    return named


def _method_named(fields: Mapping[str, Json], path_method: Method | None) -> Method:
    value = fields.get("method")
    if value is None:
        if path_method is None:
            raise _missing("method")
        return path_method
    if not isinstance(value, str):
        raise _RefusedError(ErrorCode.UNSUPPORTED_METHOD)
    method = _METHODS.get(value)
    if method is None:
        raise _RefusedError(ErrorCode.UNSUPPORTED_METHOD)
    return method


_METHODS = {method.value: method for method in Method}


def _method_of_amount(fields: Mapping[str, Json]) -> Method:
    """SignalWire: `method` is the payment method, and no or a zero amount means tokenize."""
    if fields.get("method") not in (None, _SIGNALWIRE_METHOD):
        raise _RefusedError(
            ErrorCode.UNSUPPORTED_METHOD,
            "The method is not supported. Send credit-card, or leave it out.",
        )
    amount = _signalwire_amount(fields)
    return Method.TOKENIZE if amount is None or _ZERO.fullmatch(amount) else Method.CHARGE


# --- Fields ----------------------------------------------------------------------------------------------------------


def _missing(name: str) -> _RefusedError:
    return _RefusedError(ErrorCode.MISSING_FIELD, f"The field {name} is missing or null. Send it.")


def _not_a_string(name: str) -> _RefusedError:
    return _RefusedError(ErrorCode.INVALID_FIELD, f"The field {name} is not a string. Send it in quotes.")


def _text(fields: Mapping[str, Json], name: str) -> str | None:
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value
    raise _not_a_string(name)


def _needed(fields: Mapping[str, Json], name: str) -> str:
    value = fields.get(name)
    if isinstance(value, str):
        return value
    if value is None:
        raise _missing(name)
    raise _not_a_string(name)


def _transaction_id(fields: Mapping[str, Json]) -> str:
    value = _needed(fields, "transaction_id")
    if not (0 < len(value) <= TRANSACTION_ID_CHARS_MAX and value.isascii() and value.isprintable()):
        raise _RefusedError(ErrorCode.INVALID_FIELD, "transaction_id is not 1 to 128 printable ASCII characters.")
    return value


def _keep_out(secret: str, transaction_id: str) -> None:
    """A short account number may be in any id by chance; a longer one was put there."""
    if len(secret) < _ACCOUNT_TYPED_BY_CHANCE:
        return
    if secret.encode() in transaction_id.encode().translate(None, _SEPARATORS):
        raise _RefusedError(
            ErrorCode.INVALID_FIELD,
            "transaction_id holds the card or account number, and is kept in clear. Send a random id.",
        )


def _amount_of(fields: Mapping[str, Json], name: str) -> str | None:
    """The one field that may be a JSON number."""
    value = fields.get(name)
    if isinstance(value, Number):
        return value.text
    if value is None or isinstance(value, str):
        return value
    raise _RefusedError(ErrorCode.INVALID_FIELD, f"The field {name} is neither a string nor a number.")


def _signalwire_amount(fields: Mapping[str, Json]) -> str | None:
    """SignalWire has two names for it. Empty is as good as missing: no amount was meant."""
    amounts = [_amount_of(fields, name) or None for name in ("chargeAmount", "amount")]
    given = [amount for amount in amounts if amount is not None]
    if len({_without_zeros(amount) for amount in given}) > 1:
        raise _RefusedError(ErrorCode.INVALID_FIELD, "chargeAmount and amount differ. Send one of them.")
    return given[0] if given else None


def _without_zeros(amount: str) -> str:
    whole, point, decimals = amount.partition(".")
    return whole.lstrip("0") + (point + decimals).rstrip("0").rstrip(".")


def _amount_text(fields: Mapping[str, Json], dialect: Dialect) -> str:
    amount = _signalwire_amount(fields) if dialect is Dialect.SIGNALWIRE else _amount_of(fields, "amount")
    if amount is None:
        raise _missing("amount")
    return amount


def _money(amount: str, currency_code: str) -> Money:
    """The amount by itself first, then the currency, then whether it has that many decimals."""
    currency = parse_currency(currency_code)
    money = Money.parse(amount, currency or _ANY_CURRENCY)
    if money is None or money.minor == 0:
        raise _RefusedError(ErrorCode.INVALID_AMOUNT)
    if currency is None:
        raise _RefusedError(ErrorCode.UNSUPPORTED_CURRENCY)
    return money


_ANY_CURRENCY = Currency("", AMOUNT_CHARS_MAX)
"""Stands in for one that is not known, with room for every decimal that an amount can have."""


# --- The instrument --------------------------------------------------------------------------------------------------


def _is_bank(fields: Mapping[str, Json]) -> bool:
    """Twilio sends no flag: the numbers tell. Empty ones count only where there are no others."""
    card = fields.get("cardnumber")
    if card and "bankaccountnumber" not in fields and "routingnumber" not in fields:
        return False
    bank = [value for value in (fields.get("bankaccountnumber"), fields.get("routingnumber")) if value is not None]
    has_card, has_bank = card not in (None, ""), any(value != "" for value in bank)
    if has_card and has_bank:
        raise _RefusedError(
            ErrorCode.MALFORMED_REQUEST,
            "The body holds both a card and a bank account. Send one of them.",
        )
    return has_bank or (card is None and bool(bank))


def _card(fields: Mapping[str, Json], number: str) -> Card:
    month, year = _needed(fields, "expiry_month"), _needed(fields, "expiry_year")
    security_code, postal_code = _text(fields, "cvv"), _text(fields, "postal_code")
    pan = Pan.parse(number)
    if pan is None:
        raise _RefusedError(ErrorCode.INVALID_CARD_NUMBER)
    expiry = Expiry.parse(month, year)
    if expiry is None:
        raise _RefusedError(ErrorCode.INVALID_EXPIRY)
    cvv = Cvv.parse(security_code, pan.brand) if security_code else None
    if security_code and cvv is None:
        raise _RefusedError(ErrorCode.INVALID_CVV)
    return Card(pan, expiry, cvv, _postal_code(postal_code))


def _bank_account(fields: Mapping[str, Json], number: str) -> BankAccount:
    routing, postal_code = _needed(fields, "routingnumber"), _text(fields, "postal_code")
    routing_number = parse_routing_number(routing)
    if routing_number is None:
        raise _RefusedError(ErrorCode.INVALID_ROUTING_NUMBER)
    account_number = AccountNumber.parse(number)
    if account_number is None:
        raise _RefusedError(ErrorCode.INVALID_ACCOUNT_NUMBER)
    return BankAccount(routing_number, account_number, _postal_code(postal_code))


def _postal_code(text: str | None) -> str | None:
    if not text:
        return None
    if _POSTAL_CODE.fullmatch(text) is None:
        raise _RefusedError(ErrorCode.INVALID_POSTAL_CODE)
    return text


# --- Parameters ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Parameters:
    """The custom parameters: those that are acted on by their folded names, the others as written.

    Twilio may convert names, in a way that no source shows: so case, `_` and `-` do not count.
    """

    acted_on: Mapping[str, Json] = field(default_factory=dict)
    others: Mapping[str, Json] = field(default_factory=dict)


_ACTED_ON = {
    "operation": "operation",
    "savecard": "save_card",
    "reference": "reference",
    "avsname": "AVSName",
    "bankaccounttype": "bank_account_type",
}
"""Folded names, and how to spell them to people. All that begin with `sandbox` come on top."""


def _parameters(fields: Mapping[str, Json]) -> _Parameters:
    value = fields.get("parameters")
    if not value and (value is None or isinstance(value, dict)):
        return _NO_PARAMETERS
    if not isinstance(value, dict):
        raise _RefusedError(ErrorCode.INVALID_FIELD, "parameters is not an object of strings.")
    acted_on: dict[str, Json] = {}
    others: dict[str, Json] = {}
    for name, item in value.items():
        key = name.replace("_", "").replace("-", "").lower()
        if key not in _ACTED_ON and not key.startswith(_CONTROL):
            others[name] = item
        elif acted_on.setdefault(key, item) != item:
            raise _RefusedError(ErrorCode.INVALID_FIELD, "A parameter stands twice, spelled in two ways.")
    return _Parameters(acted_on, others)


def _parameter(acted_on: Mapping[str, Json], key: str) -> str | None:
    """A parameter that the gateway acts on: a scalar. Null and empty are as good as missing."""
    value = acted_on.get(key)
    if isinstance(value, (list, dict)):
        name = _ACTED_ON.get(key, "sandbox_*")
        raise _RefusedError(ErrorCode.INVALID_FIELD, f"The parameter {name} is not a string.")
    return None if value is None else to_text(value) or None


def _flag(acted_on: Mapping[str, Json], key: str) -> bool:
    value = _parameter(acted_on, key)
    if value is None or value.lower() == "false":
        return False
    if value.lower() == "true":
        return True
    name = _ACTED_ON[key]
    raise _RefusedError(ErrorCode.INVALID_FIELD, f"The parameter {name} is neither true nor false.")


def _details(parameters: _Parameters, description: Json, secret: str) -> Details:
    if parameters is _NO_PARAMETERS and description is None:
        return _NO_DETAILS
    acted_on = {
        key: scrub(text, (secret,))
        for key in parameters.acted_on
        if (text := _parameter(parameters.acted_on, key)) is not None
    }
    reference = acted_on.get("reference")
    if reference is not None and len(reference) > REFERENCE_CHARS_MAX:
        raise _RefusedError(
            ErrorCode.INVALID_FIELD,
            f"The parameter reference is longer than {REFERENCE_CHARS_MAX}.",
        )
    return Details(
        operation=acted_on.get("operation", "sale").lower(),
        reference=reference,
        description=None if description in (None, "") else scrub(to_text(description), (secret,)),
        metadata={
            scrub(name, (secret,)): scrub(to_text(value), (secret,))
            for name, value in parameters.others.items()
            if value is not None
        },
        controls={
            scrub(key.removeprefix(_CONTROL), (secret,)): text
            for key, text in acted_on.items()
            if key.startswith(_CONTROL)
        },
        ach=AchDetails(
            account_holder_name=acted_on.get("avsname"),
            account_type=acted_on.get("bankaccounttype"),
        ),
    )


_NO_PARAMETERS = _Parameters()
_NO_DETAILS = Details()
"""What most payments carry, made once."""
