"""A footing: the plain way in which an endpoint takes a payment at all, to ask one particular question from there.

An endpoint that wants `Content-Type: application/json`, or refuses two-digit years, takes no request of Twilio's. Then
every other question would fail for the same reason, and the report would say nothing more. So a question is asked as
Twilio asks first. Where that fails, an ordinary payment is tried, in the ways below; if one of them works, the question
is asked again in that way, and only the check whose claim is about the difference stays red. If none does, nothing can
be said, and the check is skipped.

- `taken`: a payment that must succeed.
- `asked`: a request that must not, from an endpoint of which it is known that the same request without the mistake
  succeeds. Otherwise an endpoint that refuses everything would pass.

An ordinary payment here has a description and parameters, as the documents' example has: that they may be absent is a
claim of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal, assert_never

from generic_connector.conformance.attempt import Reply
from generic_connector.conformance.bodies import ID_KEYS
from generic_connector.conformance.check import Need, NotAskable, Unmet
from generic_connector.conformance.probe import Probe

Kind = Literal["charge", "tokenize", "charge_account", "tokenize_account"]
"""What is asked for, and of what: a card, or a bank account."""

Method = Literal["charge", "tokenize"]

_PLAIN: Final[Mapping[str, object]] = {"description": "Order 1001", "parameters": {"order": "1001"}}
_JSON: Final = "application/json"
_SERVER_ERROR: Final = 500


class Unset(Enum):
    """The type of `AS_FOOTING`."""

    AS_FOOTING = "as footing"


AS_FOOTING: Final = Unset.AS_FOOTING
"""The content type that works: what a check says that does not care."""


@dataclass(frozen=True, slots=True)
class Footing:
    """One way to ask: with a content type, and with one value of an ordinary payment spelled in another way."""

    content_type: str | None = None
    spelling: Literal["as Twilio", "whole year", "lower currency", "whole amount", "zero amount"] = "as Twilio"

    def changes(self, probe: Probe, kind: Kind) -> Mapping[str, object]:
        """Return what an ordinary payment has in this way of asking."""
        amount = probe.profile.amounts.approve
        match self.spelling:
            case "whole year" if kind in {"charge", "tokenize"}:
                return {**_PLAIN, "expiry_year": f"20{probe.profile.expiry()[1]}"}
            case "lower currency":
                return {**_PLAIN, "currency_code": probe.profile.endpoint.currency.lower()}
            case "whole amount" if not amount.partition(".")[2].strip("0"):
                return {**_PLAIN, "amount": amount.partition(".")[0]}
            case "zero amount":
                return {**_PLAIN, "amount": "0", "currency_code": probe.profile.endpoint.currency}
            case _:
                return _PLAIN

    async def post(
        self, probe: Probe, kind: Kind, changes: Mapping[str, object], content_type: str | Unset | None = AS_FOOTING
    ) -> Reply:
        """Ask. `changes` are made to an ordinary payment."""
        body = made(probe, kind, {**self.changes(probe, kind), **changes})
        return await self.send(probe, body, content_type)

    async def send(
        self, probe: Probe, body: Mapping[str, object] | str | bytes, content_type: str | Unset | None = AS_FOOTING
    ) -> Reply:
        """Send a body as it is."""
        chosen = self.content_type if isinstance(content_type, Unset) else content_type
        return await probe.post(body, content_type=chosen)


TWILIO: Final = Footing()
_OTHERS: Final[Mapping[Method, Sequence[Footing]]] = {
    "charge": (
        Footing(_JSON),
        Footing(_JSON, "whole year"),
        Footing(_JSON, "lower currency"),
        Footing(_JSON, "whole amount"),
    ),
    "tokenize": (Footing(_JSON), Footing(_JSON, "whole year"), Footing(_JSON, "zero amount")),
}


def others(method: Method) -> Sequence[Footing]:
    """Return the ways to ask besides Twilio's own, in the order in which they are tried."""
    return _OTHERS[method]


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked, and what came. `method` is what an id is looked for under."""

    reply: Reply
    method: Method
    footing: Footing = field(default=TWILIO)


def method_of(kind: Kind) -> Method:
    """Return what the contract calls it."""
    return "charge" if kind in {"charge", "charge_account"} else "tokenize"


def ordinary(probe: Probe) -> Kind:
    """Return what to ask of a card where the question is about neither charges nor tokens."""
    return "charge" if probe.has(Need.CHARGE) else "tokenize"


def made(probe: Probe, kind: Kind, changes: Mapping[str, Any]) -> dict[str, object]:
    """Return the body of an ordinary payment with a few changes."""
    match kind:
        case "charge":
            return probe.charge(**changes)
        case "tokenize":
            return probe.tokenize(**changes)
        case "charge_account":
            return probe.charge_account(**changes)
        case "tokenize_account":
            return probe.tokenize_account(**changes)
        case _:
            assert_never(kind)


async def found(probe: Probe, kind: Kind) -> Footing:
    """Return the first footing on which an ordinary payment succeeds. Raises NotAskable where there is none.

    An endpoint that does not answer at all is not asked in other ways: waiting longer tells nothing.
    """
    method = method_of(kind)
    first = await TWILIO.post(probe, kind, {})
    if first.is_success(method):
        return TWILIO
    for footing in others(method) if first.status is not None else ():
        if (await footing.post(probe, kind, {})).is_success(method):
            return footing
    raise NotAskable(f"An ordinary {method} does not succeed, and this is asked on top of one: {first.shown}")


async def taken(
    probe: Probe,
    kind: Kind,
    changes: Mapping[str, object] | None = None,
    *,
    fix: str,
    content_type: str | Unset | None = AS_FOOTING,
    is_basis: bool = False,
) -> Reply:
    """Ask for a payment that must succeed, and return the reply. Raises Unmet where it does not.

    `is_basis`: it is itself the ordinary payment, so that no other can excuse it but one on another footing.
    """
    method = method_of(kind)
    first = await TWILIO.post(probe, kind, changes or {}, content_type)
    if first.is_success(method):
        return first
    reply = first
    try:
        footing = await found(probe, kind)
    except NotAskable:
        if not is_basis:
            raise
    else:
        if footing != TWILIO:
            reply = await footing.post(probe, kind, changes or {}, content_type)
        if reply.is_success(method):
            return reply
    what, mend = _not_taken(reply, method)
    raise Unmet(
        f"{what} {reply.shown}",
        expected=f"HTTP 200 and a JSON object with a {ID_KEYS[method]} that is text, and an error_code that is null",
        fix=mend or fix,
    )


def _not_taken(reply: Reply, method: Method) -> tuple[str, str]:
    """Say in what way a reply is no success, and what to change, unless that depends on what was asked."""
    key = ID_KEYS[method]
    said = reply.json
    if reply.status is None:
        return "There was no whole answer.", "Answer every request within ten seconds. See the endpoint's own log."
    if reply.status in {401, 403}:
        return "The credentials were not accepted.", "Give the run the username and password of the instance."
    if reply.status // 100 == 3:  # noqa: PLR2004 - HTTP's redirects
        return "It is a redirect.", "Answer at the very URL that is configured, or give Twilio the one it leads to."
    if reply.status >= _SERVER_ERROR:
        return "It is a server error.", ""
    if said is None:
        return "The body is no JSON object.", ""
    if reply.error_code is not None:
        if said.get(key) is None:
            return "It was refused.", ""
        return (
            f"There is a {key}, and an error_code that is not null: Twilio takes it for a failure.",
            "Set error_code to null where the payment succeeded: no empty text, no 0, no code of approval.",
        )
    if said.get(key) is None:
        return f"There is no {key}.", f"Answer a {method} that succeeds with its id under the name {key}, as a text."
    if reply.id(method) is None:
        return f"The {key} is no text, or empty.", f"Put {key} in quotes: a number becomes a text."
    return f"It has an id, and the status is {reply.status}.", "Answer a payment that succeeds with HTTP 200."


async def asked(
    probe: Probe,
    kind: Kind,
    changes: Mapping[str, object],
    *,
    content_type: str | Unset | None = AS_FOOTING,
) -> Asked:
    """Ask for a payment with a mistake in it, of an endpoint that takes the same without the mistake."""
    footing = await found(probe, kind)
    return Asked(await footing.post(probe, kind, changes, content_type), method_of(kind), footing)


def refused(reply: Reply, *, fix: str, but: Method | None = None) -> None:
    """Raise Unmet where a payment succeeded that must not, or where nothing was answered. `but` is what it may be."""
    answered(reply)
    for method, key in ID_KEYS.items():
        if method != but and reply.is_success(method):
            raise Unmet(
                f"It was taken: the reply has a {key} and no error_code. {reply.shown}",
                expected="A refusal: an error_code, and no id",
                fix=fix,
            )


def answered(reply: Reply) -> None:
    """Raise Unmet where no whole answer came."""
    if reply.status is None:
        raise Unmet(
            f"There was no whole answer: {reply.failure}.",
            expected="An answer in JSON, at once",
            fix="Answer every request, also one that makes no sense: Twilio asks again six times, ten seconds each.",
        )


def shaped(reply: Reply, method: Method | None, *, fix: str = "") -> None:
    """Raise Unmet where a refusal is not of the contract's shape. `method` None: which one it was cannot be known."""
    answered(reply)
    keys = list(ID_KEYS.values()) if method is None else [ID_KEYS[method]]
    wanted = f"JSON with {' or '.join(keys)} null and error_code a text"
    problem = _problem(reply, keys)
    if problem is not None:
        what, mend = problem
        raise Unmet(
            f"{what} {reply.shown}",
            expected=wanted,
            fix=mend or fix or "Answer in one place for all errors, with a JSON object of the contract's keys.",
        )


def _problem(reply: Reply, keys: Sequence[str]) -> tuple[str, str] | None:
    """Say what is wrong with a refusal, and what to change, unless that depends on what was asked."""
    if reply.status is not None and reply.status >= _SERVER_ERROR:
        return "It is a server error.", ""
    if reply.json is None:
        return "The body is no JSON object.", ""
    code = reply.json.get("error_code")
    if code is None:
        return "There is no error_code.", ""
    if not isinstance(code, str) or not code:
        return (
            "The error_code is no text, or empty.",
            'Write error_code as a text, in quotes: "51" and not 51, and never empty where something failed.',
        )
    if not any(key in reply.json for key in keys):
        return (
            f"There is no key {' or '.join(keys)}.",
            f"Put {' and '.join(keys)} into every error, null, from one place for all errors.",
        )
    if any(reply.json.get(key) is not None for key in keys):
        return "There is an id beside the error_code.", "Make ids only for what succeeds, and write null elsewhere."
    return None
