"""An outcome to the bytes of a reply.

The id key of the method is always there, null on a failure: the carriers look for it. Where the method is not known,
both id keys are. Success is an id with a null `error_code`; a failure is a code and a message. `parameters` are flat
strings; they reach the merchant's IVR as `PayConnector_<name>`.
"""

from collections.abc import Mapping
from json.encoder import encode_basestring_ascii as quoted
from typing import NamedTuple, Protocol

from generic_connector.contract.errors import ERRORS, Code
from generic_connector.instance import Dialect
from generic_connector.payment import Approved, Declined, Method

_PAYMENT_FAILED = 402
_OK = 200


class Reply(NamedTuple):
    """What goes out: an HTTP status and a JSON body. Stored, and replayed byte for byte."""

    status: int
    body: bytes


def render_success(method: Method, id_: str, parameters: Mapping[str, str]) -> Reply:
    """Return the reply to a payment that succeeded."""
    told = f'"{method.id_key}":{quoted(id_)},"error_code":null,"error_message":null'
    return Reply(_OK, _object(told, parameters))


def render_failure(
    code: Code,
    method: Method | None,
    dialect: Dialect = Dialect.TWILIO,
    *,
    message: str | None = None,
    parameters: Mapping[str, str] | None = None,
) -> Reply:
    """Return the reply to anything that failed. `message` replaces the error table's.

    SignalWire wants a payment that failed answered with a status that is not 200: 402.
    """
    entry = ERRORS[code]
    methods = (method,) if method is not None else tuple(Method)
    ids = ",".join([f'"{known.id_key}":null' for known in methods])
    told = f'{ids},"error_code":{quoted(code)},"error_message":{quoted(message or entry.message)}'
    status = _PAYMENT_FAILED if entry.status == _OK and dialect is Dialect.SIGNALWIRE else entry.status
    return Reply(status, _object(told, parameters or None))


def _object(told: str, parameters: Mapping[str, str] | None) -> bytes:
    """Compact JSON. By hand: for so little, what `json` sets up each time costs more."""
    if parameters is not None:
        members = ",".join([f"{quoted(name)}:{quoted(value)}" for name, value in parameters.items()])
        told = f'{told},"parameters":{{{members}}}'
    return f"{{{told}}}".encode()


# --- Parameters ------------------------------------------------------------------------------------------------------


class Shown(Protocol):
    """What a reply may tell of a payment: the ledger's row shows it. `kind` is `card` or `bank`."""

    @property
    def method(self) -> Method:
        """Charge or tokenize."""
        ...

    @property
    def kind(self) -> str:
        """`card` or `bank`."""
        ...

    @property
    def brand(self) -> str | None:
        """The card's brand."""
        ...

    @property
    def last4(self) -> str:
        """The last digits of the card or account."""
        ...

    @property
    def confirmation_number(self) -> str | None:
        """Nine digits for people."""
        ...

    @property
    def token_id(self) -> str | None:
        """The token, where a charge was asked to keep the card."""
        ...

    @property
    def reference(self) -> str | None:
        """The merchant's own."""
        ...


def success_parameters(shown: Shown, result: Approved) -> dict[str, str]:
    """Return what the IVR gets as `PayConnector_*`. Strings only, and only what is known."""
    if shown.method is Method.TOKENIZE:
        status, token_id = "saved", None
    else:
        status, token_id = "approved" if shown.kind == "card" else "submitted", shown.token_id
    return _known(
        status,
        shown,
        ("authorization_code", result.authorization_code),
        ("confirmation_number", shown.confirmation_number),
        ("token_id", token_id),
        ("avs_result", result.avs_result),
        ("cvv_result", result.cvv_result),
        ("reference", shown.reference),
    )


def declined_parameters(shown: Shown, result: Declined) -> dict[str, str]:
    """Return what the IVR gets of a decline."""
    return _known(
        "declined",
        shown,
        ("avs_result", result.avs_result),
        ("cvv_result", result.cvv_result),
        ("reference", shown.reference),
    )


def _known(status: str, shown: Shown, *more: tuple[str, str | None]) -> dict[str, str]:
    """Status and instrument, and of the rest what is there."""
    parameters = {"status": status}
    if shown.kind == "bank":
        parameters["bank_last4"] = shown.last4
    else:
        if shown.brand is not None:
            parameters["card_brand"] = shown.brand
        parameters["card_last4"] = shown.last4
    parameters.update({name: value for name, value in more if value is not None})
    return parameters
