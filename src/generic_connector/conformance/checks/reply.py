"""Replies to payments that succeed: what has to be in them, and of which type, so that Twilio reads them as success.

A success is an id that is there and an error_code that is null. Each check looks at one property of the reply to an
ordinary payment. Where the payment was refused, there is nothing to look at.
"""

import re
from collections.abc import Mapping
from typing import Final

from generic_connector.conformance.attempt import Reply
from generic_connector.conformance.bodies import ID_KEYS
from generic_connector.conformance.check import Level, Need, NotAskable, Register, Unmet
from generic_connector.conformance.footing import (
    TWILIO,
    Footing,
    Kind,
    Method,
    found,
    method_of,
    ordinary,
    others,
)
from generic_connector.conformance.probe import Probe

register = Register("reply")

_RESPONSE: Final = "Twilio: Generic Pay Connector, Response"
_PARAMETERS: Final = "Twilio: Generic Pay Connector, Response: custom parameters become PayConnector_<name>"
_OK: Final = 200
_BODY_BYTES_MAX: Final = 64 * 1024
_ID_CHARS_MAX: Final = 255
_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]{1,64}")


async def _hear(probe: Probe, kind: Kind) -> Reply:
    """Return the reply to an ordinary payment: one that succeeds if any does, else what Twilio would get."""
    first = await TWILIO.post(probe, kind, {})
    if _is_near_success(first, method_of(kind)):
        return first
    try:
        footing: Footing = await found(probe, kind)
    except NotAskable:
        return await _nearest(probe, kind, first)
    return await footing.post(probe, kind, {})


async def _nearest(probe: Probe, kind: Kind, first: Reply) -> Reply:
    """Return the first reply that is meant as a success, however wrongly it is written."""
    for footing in others(method_of(kind)) if first.status is not None else ():
        reply = await footing.post(probe, kind, {})
        if _is_near_success(reply, method_of(kind)):
            return reply
    return first


_KINDS: Final[Mapping[type, str]] = {str: "a text", dict: "an object", list: "a list", bool: "true or false"}


def kind_of(value: object) -> str:
    """Return what JSON calls a value."""
    return "null" if value is None else _KINDS.get(type(value), "a number")


def _is_near_success(reply: Reply, method: Method) -> bool:
    """Whether somebody meant this as a success: any 2xx with something where the id belongs."""
    is_2xx = reply.status is not None and reply.status // 100 == 2  # noqa: PLR2004 - HTTP's successes
    return is_2xx and reply.json is not None and reply.json.get(ID_KEYS[method]) is not None


def _is_redirect(reply: Reply) -> bool:
    return reply.status is not None and reply.status // 100 == 3  # noqa: PLR2004 - HTTP's redirects


async def _hear_success(probe: Probe, kind: Kind) -> Reply:
    """Return the reply to a payment that is meant as a success. Raises NotAskable where there is none."""
    reply = await _hear(probe, kind)
    if not _is_near_success(reply, method_of(kind)):
        raise NotAskable("No ordinary payment succeeds, so there is no reply to look at.")
    return reply


@register.check(
    1,
    Level.MUST,
    claim="Answers a payment with a JSON object.",
    source=_RESPONSE,
    why="Twilio reports a malformed response: the customer may have been charged, and is told that it failed.",
    sends="An ordinary payment.",
    expects="A body that is one JSON object, in UTF-8.",
)
async def _object(probe: Probe) -> None:
    reply = await _hear(probe, ordinary(probe))
    if _is_redirect(reply):
        raise NotAskable("The endpoint redirects, and what is there is not asked.")
    if reply.status is not None and reply.json is None:
        raise Unmet(
            f"The body is no JSON object. {reply.shown}",
            expected="One JSON object, in UTF-8, and nothing before or after it",
            fix="Answer with a JSON object, and not with HTML, a text, or a list. Return it as the body, not as a "
            "text inside of another JSON.",
        )


@register.check(
    2,
    Level.MUST,
    claim="Answers a payment that succeeds with HTTP 200.",
    source=f"{_RESPONSE}. The status is not told; all of Twilio's samples answer 200",
    why="Nobody says that Twilio takes 201 or 202 for success: the customer may be charged, and told otherwise.",
    sends="An ordinary payment.",
    expects="HTTP 200.",
)
async def _status(probe: Probe) -> None:
    reply = await _hear_success(probe, ordinary(probe))
    if reply.status != _OK:
        raise Unmet(
            f"The reply has an id, and HTTP status {reply.status}.",
            expected="HTTP 200",
            fix="Answer a payment with 200. Nothing is created at an address of its own, so 201 says nothing.",
        )


def _id_check(number: int, kind: Kind, need: Need) -> None:
    method = method_of(kind)
    key = ID_KEYS[method]

    @register.check(
        number,
        Level.MUST,
        claim=f"Answers a {method} that succeeds with {key} as a text.",
        source=f"{_RESPONSE}: {key}",
        why="Without it the application gets neither a confirmation code nor a token, and takes success for failure.",
        sends=f"An ordinary {method}.",
        expects=f"{key} is there, a text, and not empty.",
        needs=[need],
    )
    async def _ask(probe: Probe) -> None:
        reply = await _hear(probe, kind)
        said = reply.json or {}
        is_2xx = reply.status is not None and reply.status // 100 == 2  # noqa: PLR2004 - HTTP's successes
        if not is_2xx or reply.json is None or said.get("error_code") is not None:
            raise NotAskable(f"No ordinary {method} succeeds, so there is no reply to look at.")
        value = said.get(key)
        if not isinstance(value, str) or not value:
            others = ", ".join(sorted(name for name in said if name.lower().endswith("id"))) or "none"
            raise Unmet(
                f"{key} is {'missing' if key not in said else kind_of(value)}; other ids in the reply: {others}.",
                expected=f"{key} is a text that is not empty",
                fix=f"Put the id under the name {key}, at the top of the reply, in quotes. An internal number becomes "
                "a text.",
            )


_id_check(3, "charge", Need.CHARGE)
_id_check(4, "tokenize", Need.TOKENIZE)


@register.check(
    5,
    Level.MUST,
    claim="Answers a payment that succeeds with a null error_code.",
    source=f"{_RESPONSE}: any error_code that is not null is a failure",
    why='A code such as "00" or "" for "all is well" is read as an error: the customer is charged and told otherwise.',
    sends="An ordinary payment.",
    expects="error_code is null, or missing.",
)
async def _error_code(probe: Probe) -> None:
    reply = await _hear_success(probe, ordinary(probe))
    code = (reply.json or {}).get("error_code")
    if code is not None:
        raise Unmet(
            f"The reply has an id, and error_code is {code!r:.20}: not null.",
            expected="error_code is null where the payment succeeded",
            fix="Set error_code to null on success: no empty text, no 0, no code of your processor's for approval.",
        )


@register.check(
    6,
    Level.SHOULD,
    claim="Answers with error_message as a text, or null.",
    source=f"{_RESPONSE}: error_message",
    why="An object or a list there cannot be shown to anybody.",
    sends="An ordinary payment.",
    expects="error_message is a text, null, or missing.",
)
async def _error_message(probe: Probe) -> None:
    reply = await _hear_success(probe, ordinary(probe))
    message = (reply.json or {}).get("error_message")
    if message is not None and not isinstance(message, str):
        raise Unmet(
            f"error_message is {kind_of(message)}.",
            expected="error_message is a text or null",
            fix="Set error_message to null on success, and to one sentence on failure.",
        )


@register.check(
    7,
    Level.MUST,
    claim="Answers with parameters that are flat, each of them a text.",
    source=_PARAMETERS,
    why="Each becomes a form field. What is nested or no text is lost, or fails the payment that has been made.",
    sends="An ordinary payment.",
    expects="parameters is missing, null, or an object whose values are texts.",
)
async def _flat(probe: Probe) -> None:
    reply = await _hear_success(probe, ordinary(probe))
    parameters = (reply.json or {}).get("parameters")
    if parameters is None:
        return
    if not isinstance(parameters, dict):
        wrong = f"parameters is {kind_of(parameters)}."
    else:
        odd = [name for name, value in parameters.items() if not isinstance(value, str)]
        if not odd:
            return
        wrong = f"{len(odd)} of {len(parameters)} parameters are no texts: {', '.join(sorted(odd)[:5])[:80]}."
    raise Unmet(
        wrong,
        expected="An object of texts, one level deep",
        fix='Write numbers and truth values as texts ("12", "true"), leave null ones out, and flatten objects: '
        '{"card": {"last4": "1111"}} becomes {"card_last4": "1111"}.',
    )


@register.check(
    8,
    Level.SHOULD,
    claim="Names its parameters so that they can be names of form fields.",
    source=f"{_PARAMETERS}. Which characters a name may have is not told",
    why="An application cannot read PayConnector_<name> where the name has spaces, brackets or other scripts.",
    sends="An ordinary payment.",
    expects="Letters, digits, underscores, hyphens and dots, 64 at most.",
)
async def _names(probe: Probe) -> None:
    reply = await _hear_success(probe, ordinary(probe))
    parameters = (reply.json or {}).get("parameters")
    odd = [name for name in parameters if not _NAME.fullmatch(name)] if isinstance(parameters, dict) else []
    if odd:
        raise Unmet(
            f"{len(odd)} names of parameters have other characters in them, or are longer than 64.",
            expected="Names of letters, digits, underscores, hyphens and dots, 64 at most",
            fix="Rename them, such as authorization_code.",
        )


@register.check(
    9,
    Level.MUST,
    claim="Answers at the address it was asked at, without a redirect.",
    source="Twilio: Generic Pay Connector: the endpoint is one URL. That a redirect is followed is nowhere said",
    why="A client that follows it may repeat the card number to another host, or ask again with GET and no body.",
    sends="An ordinary payment.",
    expects="No status from 300 to 399.",
)
async def _no_redirect(probe: Probe) -> None:
    reply = await TWILIO.post(probe, ordinary(probe), {})
    if _is_redirect(reply):
        raise Unmet(
            f"HTTP {reply.status}: a redirect.",
            expected="The answer itself",
            fix="Answer at the very URL that is configured: with and without a slash at its end, and over HTTPS. Give "
            "Twilio the address that the redirect leads to.",
        )


@register.check(
    10,
    Level.SHOULD,
    claim="Says that its reply is JSON.",
    source="RFC 9110, 8.3; all of Twilio's samples set it. The documents do not demand it",
    why="Proxies and browsers guess otherwise, and a reply taken for HTML can be made to run.",
    sends="An ordinary payment.",
    expects="Content-Type: application/json.",
)
async def _content_type(probe: Probe) -> None:
    reply = await _hear_success(probe, ordinary(probe))
    given = reply.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() != "application/json":
        raise Unmet(
            f"Content-Type is {given[:60]!r}." if given else "There is no Content-Type.",
            expected="Content-Type: application/json",
            fix="Set Content-Type: application/json on every reply.",
        )


@register.check(
    11,
    Level.SHOULD,
    claim="Answers in no more than 64 KiB.",
    source=f"{_RESPONSE}. How large a reply may be is not told; TwiML, its like, may have 64 kB",
    why="Who hands on the processor's whole answer hands on more than was asked for, and may be cut off.",
    sends="An ordinary payment.",
    expects="A body of at most 64 KiB.",
)
async def _size(probe: Probe) -> None:
    reply = await _hear_success(probe, ordinary(probe))
    if len(reply.body) > _BODY_BYTES_MAX:
        raise Unmet(
            f"The body has {len(reply.body):,} bytes.",
            expected=f"At most {_BODY_BYTES_MAX:,} bytes",
            fix="Answer with the id, error_code, error_message and a few parameters, and not with all that your "
            "processor says.",
        )


@register.check(
    12,
    Level.SHOULD,
    claim="Makes ids that can be read out and written down: printable ASCII, 255 characters at most.",
    source=f"{_RESPONSE}: the id becomes PaymentConfirmationCode or PaymentToken, a form field. Its form is not told",
    why="Other characters come out changed on the way through forms, headers and databases, and the id is lost.",
    sends="An ordinary payment.",
    expects="An id of 1 to 255 printable ASCII characters, without spaces.",
)
async def _id_characters(probe: Probe) -> None:
    kind = ordinary(probe)
    reply = await _hear_success(probe, kind)
    value = str((reply.json or {}).get(ID_KEYS[method_of(kind)]))
    if len(value) > _ID_CHARS_MAX or not (value.isascii() and value.isprintable()) or " " in value:
        raise Unmet(
            f"The id has {len(value)} characters"
            + ("." if value.isascii() and " " not in value else ", and others than printable ASCII."),
            expected="1 to 255 printable ASCII characters, without spaces",
            fix="Make ids of letters, digits, underscores and hyphens.",
        )
