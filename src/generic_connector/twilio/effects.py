"""Effects: what a call wants done, as values.

A call (`call`, `pay`, `agent`) is a state machine without hands. Its methods take a key, an answer or the time, and
return the effects that follow, in order; whoever drives it carries them out and brings back what came of them. An
effect that is answered has a `ticket`, a number that is unique within the call: the answer brings it back, and an
answer to a ticket that the call no longer waits for is ignored.

No effect holds a card number but `Transacts`, whose order goes to the contract client alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from generic_connector.twilio.orders import Order


@dataclass(frozen=True, slots=True)
class Executes:
    """A verb of the current document begins: `index` counts verbs from 0, and -1 says that the document is through."""

    verb: str
    index: int


@dataclass(frozen=True, slots=True)
class Speaks:
    """The caller hears this text. `step` is the `<Pay>` step that it belongs to, or None."""

    text: str
    language: str | None = None
    voice: str | None = None
    step: str | None = None


@dataclass(frozen=True, slots=True)
class Plays:
    """The caller hears a recording, or with `digits` the tones."""

    url: str | None = None
    digits: str | None = None
    step: str | None = None


@dataclass(frozen=True, slots=True)
class Hears:
    """A key was heard. `shown` is what may be seen of it: `x` wherever a payment is being keyed."""

    shown: str
    step: str | None = None


@dataclass(frozen=True, slots=True)
class Fetches:
    """The application is asked for the next document: answer with `fetched(ticket, ...)`.

    `fields` are what this request adds to the call's own (`CallSid`, `From`, ...): `Digits`, or all of 1.6 for an
    action. `why` is for people: `document`, `redirect`, `gather`, `action`.
    """

    ticket: int
    url: str
    method: str
    fields: Mapping[str, str]
    why: str


@dataclass(frozen=True, slots=True)
class Reports:
    """A status callback. Nobody waits for its answer. `fields` are whole, `AccountSid` and `CallSid` included."""

    url: str
    method: str
    fields: Mapping[str, str]
    why: str


@dataclass(frozen=True, slots=True)
class Transacts:
    """The connector is asked: answer with `settled(ticket, ...)`."""

    ticket: int
    order: Order


@dataclass(frozen=True, slots=True)
class Warns:
    """Something is wrong with the application or its TwiML: Twilio's error code where there is one, and what to do."""

    code: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Ends:
    """The call is over: `completed`, `failed`, `canceled`. Nothing follows but what is still in flight."""

    status: str


Effect = Executes | Speaks | Plays | Hears | Fetches | Reports | Transacts | Warns | Ends
