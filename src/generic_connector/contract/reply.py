"""An outcome to the bytes of a reply.

The id key of the method is always there, null on a failure: the carriers look for it. Where the method is not known,
both id keys are. Success is an id with a null `error_code`; a failure is a code and a message. `parameters` are flat
strings; they reach the merchant's IVR as `PayConnector_<name>`.
"""

from collections.abc import Mapping
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, NamedTuple

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
    fields = {
        method.id_key: id_,
        "error_code": None,
        "error_message": None,
        "parameters": parameters,
    }
    return Reply(_OK, _encode(fields))


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
    fields: dict[str, str | Mapping[str, str] | None] = dict.fromkeys([known.id_key for known in methods])
    fields |= {"error_code": str(code), "error_message": message or entry.message}
    if parameters:
        fields["parameters"] = parameters
    status = _PAYMENT_FAILED if entry.status == _OK and dialect is Dialect.SIGNALWIRE else entry.status
    return Reply(status, _encode(fields))


def _encode(fields: "Mapping[str, str | Mapping[str, str] | None]") -> bytes:
    """Compact JSON of texts, null, and objects of texts: for so little, what `json` sets up each time costs more."""
    return _object(fields).encode()


def _object(fields: "Mapping[str, Any]") -> str:
    members = [
        f"{quoted(name)}:null" if value is None
        else f"{quoted(name)}:{quoted(value)}" if isinstance(value, str)
        else f"{quoted(name)}:{_object(value)}"
        for name, value in fields.items()
    ]  # fmt: skip
    return f"{{{','.join(members)}}}"


# --- Parameters ------------------------------------------------------------------------------------------------------


class Shown(NamedTuple):
    """What a reply may tell of a payment. `kind` is `card` or `bank`."""

    method: Method
    kind: str
    brand: str | None
    last4: str
    confirmation_number: str | None
    token_id: str | None
    reference: str | None


def success_parameters(shown: Shown, result: Approved) -> dict[str, str]:
    """Return what the IVR gets as `PayConnector_*`. Strings only, and only what is known."""
    charged = "approved" if shown.kind == "card" else "submitted"
    return _known(
        {
            "status": "saved" if shown.method is Method.TOKENIZE else charged,
            **_instrument(shown),
            "authorization_code": result.authorization_code,
            "confirmation_number": shown.confirmation_number,
            "token_id": shown.token_id if shown.method is Method.CHARGE else None,
            "avs_result": result.avs_result,
            "cvv_result": result.cvv_result,
            "reference": shown.reference,
        }
    )


def declined_parameters(shown: Shown, result: Declined) -> dict[str, str]:
    """Return what the IVR gets of a decline."""
    return _known(
        {
            "status": "declined",
            **_instrument(shown),
            "avs_result": result.avs_result,
            "cvv_result": result.cvv_result,
            "reference": shown.reference,
        }
    )


def _instrument(shown: Shown) -> dict[str, str | None]:
    if shown.kind == "bank":
        return {"bank_last4": shown.last4}
    return {"card_brand": shown.brand, "card_last4": shown.last4}


def _known(parameters: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if value is not None}
