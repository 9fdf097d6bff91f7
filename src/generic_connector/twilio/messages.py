"""Messages: what Twilio sends to a connector's endpoint, and how it reads what comes back. Bytes only, nothing waits.

**A request** is one JSON object without spaces, its keys in the order of Twilio's own sample: transaction_id,
cardnumber, cvv, expiry_month, expiry_year, description, amount, currency_code, postal_code, method, parameters. A bank
account's two numbers stand where the card's fields would. It depends on the order and the switches alone, so that every
attempt sends the same bytes.

**A reply** is a success if it has the id of the method and no error code; an error code makes it a failure whatever
else it says; anything that is neither is malformed. Where no source tells, this is what holds:

- The endpoint's Content-Type means nothing. A byte order mark is skipped. All else that JSON parsers disagree about is
  malformed: a key that stands twice, NaN, half a surrogate pair.
- An id and an error code may be numbers, which is remarked on. An error code of any other kind is an error too; an id
  of any other kind, or an empty one, is malformed.
- A parameter that is a number or a boolean is passed on as its JSON text, null is left out, and so is what is nested.
  `parameters` that is no object is taken for none: some languages write an empty object as `[]`.
- The other method's id, and keys that nobody knows, mean nothing.
"""

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from generic_connector.card import PAN_DIGITS_MIN
from generic_connector.contract.body import Json, NotJsonError, Number, parse_object, to_text
from generic_connector.payment import Method
from generic_connector.scrub import scrub
from generic_connector.twilio import entries
from generic_connector.twilio.delivery import SHOWN_BYTES_MAX
from generic_connector.twilio.orders import KeyedAccount, KeyedCard, Order
from generic_connector.twilio.pay_connector import PayConnector
from generic_connector.twilio.switches import Switches

REPLY_BYTES_MAX: Final = 65_536
"""A longer reply is malformed. No source has a bound; a TwiML document's is this."""

_OK = 200
_REDIRECTS = range(300, 400)
_OPTIONAL = frozenset({"cvv", "description", "postal_code", "parameters"})
_MONTH_DIGITS = _YEAR_DIGITS = 2
_LAST_SHOWN = 4
_PASSWORD_CHARS_MIN = 8
"""A shorter password is often a word that stands in many a text."""
_PATH_SECRET_CHARS_MIN = 32
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_WORD = re.compile(r"[A-Z0-9]+(?![a-z0-9])|[A-Z]?[a-z0-9]+|[^\sA-Za-z0-9_.\-]+")


# --- Requests --------------------------------------------------------------------------------------------------------


def request_body(order: Order, switches: Switches) -> bytes:
    """Return the body of every attempt of an order. The one place where its numbers are clear."""
    return _encode(_fields(order, switches))


def shown_body(order: Order, switches: Switches) -> str:
    """Return the same body, as it may be shown."""
    secrets = secrets_of(order)
    masked = {name: _shown_field(name, value, secrets) for name, value in _fields(order, switches).items()}
    return _encode(masked).decode()


def request_headers(connector: PayConnector, switches: Switches) -> Sequence[tuple[bytes, bytes]]:
    """Return the headers that do not follow from the URL and the body. Credentials come unasked."""
    # What is no printable character cannot be in a header.
    user_agent = "".join(char for char in switches.user_agent if char.isprintable()).strip()
    headers = [
        (b"User-Agent", user_agent.encode(errors="replace")),
        (b"Accept", b"*/*"),
        (b"Authorization", f"Basic {_credentials(connector)}".encode()),
    ]
    if switches.content_type != "none":
        headers.append((b"Content-Type", switches.content_type.encode()))
    return headers


def request_path(path: bytes, method: Method, switches: Switches) -> bytes:
    """Return where a request goes, from the path and query of the configured URL."""
    if switches.path == "configured":
        return path
    before, mark, query = path.partition(b"?")
    return before.rstrip(b"/") + b"/" + method.value.encode() + mark + query


def _credentials(connector: PayConnector) -> str:
    clear = f"{connector.username}:{connector.password.reveal()}"
    return base64.b64encode(clear.encode(errors="surrogateescape")).decode()


def _encode(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def _fields(order: Order, switches: Switches) -> dict[str, object]:
    """Return the fields of a request in their order."""
    fields: dict[str, object] = {"transaction_id": order.transaction_id}
    postal_code: dict[str, object] = {}
    match order.instrument:
        case KeyedCard() as card:
            year = card.expiry[_MONTH_DIGITS:]
            fields |= {
                "cardnumber": card.number.reveal(),
                "cvv": None if card.security_code is None else card.security_code.reveal(),
                "expiry_month": card.expiry[:_MONTH_DIGITS],
                "expiry_year": year if switches.expiry_year_digits == _YEAR_DIGITS else f"20{year}",
            }
            postal_code["postal_code"] = card.postal_code
        case KeyedAccount() as account:
            fields |= {
                "bankaccountnumber": account.account_number.reveal(),
                "routingnumber": account.routing_number,
            }
        case _:
            assert_never(order.instrument)
    fields |= {"description": order.description, **_money(order, switches), **postal_code}
    if switches.path == "configured":  # the path said it, before there was a field for it
        fields["method"] = order.method.value
    fields["parameters"] = {_converted(name, switches): value for name, value in order.parameters.items()}
    return dict(_with_unset(fields, switches))


def _with_unset(fields: Mapping[str, object], switches: Switches) -> Iterator[tuple[str, object]]:
    """Give what may be without a value the form that is chosen for that."""
    for name, value in fields.items():
        if value or name not in _OPTIONAL:
            yield name, value
        elif name == "parameters":
            if switches.unset_parameters != "absent":
                yield name, {} if switches.unset_parameters == "empty-object" else None
        elif switches.unset_fields != "absent":
            yield name, None if switches.unset_fields == "null" else ""


def _money(order: Order, switches: Switches) -> dict[str, str]:
    if order.method is Method.TOKENIZE:
        if switches.tokenize_amount == "absent":
            return {}
        amount = "0"
    else:
        amount = order.amount or "0"
        if switches.amount_text == "shortest":
            amount = _shortest(amount)
    return {"amount": amount, "currency_code": _currency(order.currency, switches)}


def _shortest(amount: str) -> str:
    """Return an amount as a binary floating-point number prints: one decimal at least, and no zeros behind it."""
    whole, _point, decimals = amount.partition(".")
    return f"{whole.lstrip('0') or '0'}.{decimals.rstrip('0') or '0'}"


def _currency(currency: str, switches: Switches) -> str:
    match switches.currency_case:
        case "upper":
            return currency.upper()
        case "lower":
            return currency.lower()
        case "as-given":
            return currency
        case _:
            assert_never(switches.currency_case)


def _converted(name: str, switches: Switches) -> str:
    """Return a `<Parameter>` name as it reaches the wire."""
    match switches.parameter_names:
        case "as-given":
            return name
        case "lower":
            return name.lower()
        case "snake_case":
            return "_".join(_words(name))
        case "camelCase":
            first, *others = _words(name)
            return first + "".join(word.capitalize() for word in others)
        case _:
            assert_never(switches.parameter_names)


def _words(name: str) -> Sequence[str]:
    return [found[0].lower() for found in _WORD.finditer(name)] or [name]


# --- Replies ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Accepted:
    """The endpoint said yes. `remark` is what it should do otherwise, in each of these."""

    id: str
    parameters: Mapping[str, str]
    remark: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """It said no, in these words."""

    code: str
    message: str
    remark: str | None = None


@dataclass(frozen=True, slots=True)
class Malformed:
    """What it said is no reply of the contract. `remark` quotes nothing of it."""

    remark: str


Reading = Accepted | Rejected | Malformed


def read_reply(method: Method, status: int, body: bytes, switches: Switches) -> Reading:
    """Return what a reply means. `body` has one byte more than the bound at most."""
    if status != _OK and switches.error_with_other_status == "malformed":
        return Malformed(f"The status is {status}, and only 200 is read.")
    if len(body) > REPLY_BYTES_MAX:
        return Malformed(f"The body has more than {REPLY_BYTES_MAX} bytes.")
    try:
        reply = parse_object(body.removeprefix(_BYTE_ORDER_MARK))
    except NotJsonError as error:
        return Malformed(f"A redirect ({status}) is not followed." if status in _REDIRECTS else str(error))
    code = reply.get("error_code")
    if code == "" and switches.empty_error_code == "success":
        code = None
    return _accepted(method, reply) if code is None else _rejected(method, code, reply)


def _accepted(method: Method, reply: Mapping[str, Json]) -> Accepted | Malformed:
    id_ = reply.get(method.id_key)
    if not id_ or not isinstance(id_, str | Number):
        return Malformed(f'There is neither a "{method.id_key}", a text, nor an "error_code".')
    parameters = reply.get("parameters")
    given = parameters if isinstance(parameters, dict) else {}
    flat = {name: to_text(value) for name, value in given.items() if isinstance(value, str | bool | Number)}
    remarks = []
    if isinstance(id_, Number):
        remarks.append(f'"{method.id_key}" should be a text.')
    if parameters and not isinstance(parameters, dict):
        remarks.append('"parameters" should be an object: it is left out.')
    if len(flat) < len(given):
        remarks.append('Each of "parameters" should be a text: what is null or nested is left out.')
    elif any(not isinstance(value, str) for value in given.values()):
        remarks.append('Each of "parameters" should be a text.')
    return Accepted(to_text(id_), flat, " ".join(remarks) or None)


def _rejected(method: Method, code: Json, reply: Mapping[str, Json]) -> Rejected:
    message = reply.get("error_message")
    remarks = []
    if not isinstance(code, str):
        remarks.append('"error_code" should be a text.')
    if message is not None and not isinstance(message, str):
        remarks.append('"error_message" should be a text.')
    if method.id_key not in reply:
        remarks.append(f'"{method.id_key}" should be there, and null.')
    elif reply[method.id_key] is not None:
        remarks.append(f'With an "error_code", "{method.id_key}" should be null: this is a failure.')
    return Rejected(to_text(code), "" if message is None else to_text(message), " ".join(remarks) or None)


# --- What may be shown -----------------------------------------------------------------------------------------------


def secrets_of(order: Order) -> Sequence[str]:
    """Return the texts of an order that nobody may see."""
    match order.instrument:
        case KeyedCard() as card:
            secrets = [card.number.reveal(), "" if card.security_code is None else card.security_code.reveal()]
        case KeyedAccount() as account:
            secrets = [account.account_number.reveal()]
        case _:
            assert_never(order.instrument)
    return [secret for secret in secrets if secret]


def without_secrets(text: str, secrets: Sequence[str], connector: PayConnector) -> str:
    """Return a text of the endpoint's without card numbers, an order's secrets, and the connector's credentials."""
    for clear in (_credentials(connector), connector.password.reveal()):
        if len(clear) >= _PASSWORD_CHARS_MIN:
            text = text.replace(clear, "***")
    return scrub(text, secrets)


def shown_reply(body: bytes, secrets: Sequence[str], connector: PayConnector) -> str:
    """Return a reply's body as it may be shown: scrubbed, then cut.

    JSON's escapes are undone before, since digits can be written in them.
    """
    text = _ESCAPE.sub(_unescaped, body.decode(errors="replace"))
    shown = without_secrets(text, secrets, connector).encode(errors="replace")
    if len(shown) <= SHOWN_BYTES_MAX:
        return shown.decode()
    return shown[:SHOWN_BYTES_MAX].decode(errors="ignore") + " ..."


def shown_path(path: bytes) -> str:
    """Return a URL's path and query as it may be shown: some endpoints take a secret in it for a password."""
    text, mark, _query = path.decode("ascii", "replace").partition("?")
    segments = ("***" if len(segment) >= _PATH_SECRET_CHARS_MIN else segment for segment in text.split("/"))
    return scrub("/".join(segments)) + ("?***" if mark else "")


def _unescaped(found: re.Match[str]) -> str:
    char = chr(int(found[1], 16))
    return char if char.isprintable() and char not in '"\\' else found[0]


def _shown_field(name: str, value: object, secrets: Sequence[str]) -> object:
    match name, value:
        case "cardnumber", str():
            shown = _LAST_SHOWN if len(value) >= PAN_DIGITS_MIN else 0
            return "*" * (len(value) - shown) + value[len(value) - shown :]
        case "cvv", str() if value:
            return "***"
        case "bankaccountnumber", str():
            return entries.mask_account(value)
        case "transaction_id", str() if _UUID.fullmatch(value):
            return value  # its digits may pass Luhn by chance
        case (("amount" | "currency_code" | "routingnumber" | "method" | "expiry_month" | "expiry_year"), str()):
            return scrub(value)
        case _, str():
            return scrub(value, secrets)
        case _, dict():
            return {scrub(key, secrets): scrub(item, secrets) for key, item in value.items()}
        case _:
            return value  # null
