"""One call, as Twilio runs it: a document, its verbs in order, keys and time, the next document, the end.

A `Call` is a state machine: `begin` it, bring it what happens (keys, the time, answers), and do what it returns (see
`effects`). At any moment it runs verbs, or waits for one of few things: an answer to a `Fetches`, the end of a Pause,
keys for a Gather, or a `<Pay>` (see `pay`). Whatever it waits for, there is a `wake_at_s`, or a ticket that will be
answered, so that no call waits for ever; and after 100 documents it ends, however they refer to each other.

- **Say and Play take no time**, unless `seconds_per_character` is given: then the prompts of a Gather and a Pay do,
  before their timeout begins. A key interrupts them.
- **Gather** sends `Digits` to its action, or to the current document's URL. With no digits at the timeout, or the
  finishing key first, the next verb follows.
- **Keys that nobody listens for** are heard and dropped (no source tells whether Twilio keeps them), and never shown:
  they may be the rest of a card number.
- **A `<Pay>` ends with one request to its action**, which answers the next document. Two cases have none: an action
  that may not be used (64016), where the next verb follows; and attempts that ran out, with that switch.
- **A hang-up** ends the call at once. A `<Pay>` that asks for something sends its action `caller-hung-up`; one whose
  connector is being asked waits for the answer, and sends its action that: it is `settled` after the call is over.
  Whatever the action answers then is ignored.
- **A redirect** by the application (REST) leaves the document. A `<Pay>` that asks for something sends its action
  `internal-error`, for there is no better word; the rest is as with a hang-up.
- **A document that cannot be had or read** is an application error: the caller hears so, and the call ends, `failed`
  if it was the first document, `completed` if some TwiML had run.

Every call that began has exactly one `Ends`.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never
from urllib.parse import urljoin, urlsplit

from generic_connector.twilio import twiml
from generic_connector.twilio.effects import Effect, Ends, Executes, Fetches, Hears, Speaks, Warns
from generic_connector.twilio.orders import Settlement
from generic_connector.twilio.pay import KEYS, PaySession
from generic_connector.twilio.pay_connector import PayConnector
from generic_connector.twilio.pay_errors import PayError
from generic_connector.twilio.prompts import Speaker
from generic_connector.twilio.switches import Switches
from generic_connector.twilio.twiml import Gather, Hangup, Pause, Pay, Play, Redirect, Say, Script, Skipped, Unreadable

DOCUMENTS_MAX = 100
"""So many documents may one call run, inline ones included."""

GATHERED_KEYS_MAX = 1024
"""A Gather takes no more keys than this, whatever it says."""

API_VERSION = "2010-04-01"
INVALID_URL = 11100
INVALID_CONTENT_TYPE = 12300
_XML_TYPES = frozenset({"", "text/xml", "application/xml", "text/html"})
_HIDDEN: Final = "x"
_APOLOGY = "We are sorry. An application error has occurred. Goodbye."


class CallStatus(StrEnum):
    """Where a call is. `queued` until `begin`; `canceled` if it was hung up before that."""

    QUEUED = "queued"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class Document:
    """What the application answered: `url` is where it came from in the end, after redirects."""

    url: str
    text: str
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """No document came: why, for people, and Twilio's number for it (the 11200 family) where there is one."""

    why: str
    code: int | None = None


@dataclass(frozen=True, slots=True)
class _Fetching:
    ticket: int


@dataclass(frozen=True, slots=True)
class _Pausing:
    until_s: float


class _Gathering:
    """A Gather, and the keys so far."""

    def __init__(self, gather: Gather, until_s: float) -> None:
        self.gather = gather
        self.until_s = until_s
        self.digits = ""


@dataclass(frozen=True, slots=True)
class _Paying:
    """A `<Pay>`, and the URL of its action."""

    session: PaySession
    action: str


_Wait = _Fetching | _Pausing | _Gathering | _Paying


class Call:
    """One call. Every method returns what is to be done now, and is of no effect once the call is over.

    `new_transaction_id` makes the connector's idempotency key. `direction` is Twilio's word (`inbound`,
    `outbound-api`). `seconds_per_character` is how long speech takes; see the module.
    """

    def __init__(
        self,
        *,
        account_sid: str,
        sid: str,
        from_: str,
        to: str,
        switches: Switches,
        connectors: Mapping[str, PayConnector],
        new_transaction_id: Callable[[], str],
        direction: str = "inbound",
        seconds_per_character: float = 0.0,
    ) -> None:
        self.account_sid = account_sid
        self.sid = sid
        self.from_ = from_
        self.to = to
        self.direction = direction
        self.status = CallStatus.QUEUED
        self._switches = switches
        self._connectors = connectors
        self._new_transaction_id = new_transaction_id
        self._tickets = itertools.count(1)
        self._speaker = Speaker(resolve=self._absolute, seconds_per_character=seconds_per_character)
        self._effects: list[Effect] = []
        self._wait: _Wait | None = None
        self._left_behind: list[_Paying] = []
        """Pays whose connector is still being asked, though the call is over or elsewhere."""
        self._script = Script()
        self._next_verb = 0
        self._document_url: str | None = None
        self._documents = 0

    @property
    def is_over(self) -> bool:
        """Whether it has ended. Requests and a connector's answer may still be on their way."""
        return self.status not in {CallStatus.QUEUED, CallStatus.IN_PROGRESS}

    @property
    def is_settling(self) -> bool:
        """Whether a connector's answer is awaited that a call which is over, or elsewhere, has still to report."""
        return bool(self._left_behind)

    @property
    def wake_at_s(self) -> float | None:
        """When `passed` wants to be called, in Unix seconds; None: not before something else happens."""
        match self._wait:
            case _Pausing() | _Gathering():
                return self._wait.until_s
            case _Paying():
                return self._wait.session.wake_at_s
            case _Fetching() | None:
                return None
            case _:
                assert_never(self._wait)

    @property
    def document_verbs(self) -> Sequence[str]:
        """The names of the verbs of the current document, in order."""
        return tuple(twiml.name_of(verb) for verb in self._script.verbs)

    @property
    def document_lines(self) -> Sequence[int]:
        """The line, from 1, that each of them begins on."""
        return tuple(verb.line for verb in self._script.verbs)

    def fields(self) -> Mapping[str, str]:
        """The voice parameters that every request to the application carries."""
        return {
            "AccountSid": self.account_sid,
            "CallSid": self.sid,
            "From": self.from_,
            "To": self.to,
            "Caller": self.from_,
            "Called": self.to,
            "CallStatus": self.status.value,
            "ApiVersion": API_VERSION,
            "Direction": self.direction,
        }

    # --- What happens to it ------------------------------------------------------------------------------------------

    def begin(
        self, now_s: float, *, url: str | None = None, method: str = "POST", twiml: str | None = None
    ) -> Sequence[Effect]:
        """The call is answered: fetch `url`, or run `twiml`. One of the two."""
        _check_one(url, twiml)
        if self.status is CallStatus.QUEUED:
            self.status = CallStatus.IN_PROGRESS
            self._go_to(now_s, url, method, twiml, "document")
        return self._done()

    def press(self, key: str, now_s: float) -> Sequence[Effect]:
        """The caller pressed a key: one of `0`-`9`, `*`, `#`. A wake that is due comes first."""
        if key not in KEYS:
            raise ValueError("a key is one of 0 to 9, * and #")
        self._wake(now_s)
        if self.status is CallStatus.IN_PROGRESS:
            match self._wait:
                case _Gathering() if self._wait.gather.hears_keys:
                    self._gather_key(self._wait, key, now_s)
                case _Paying():
                    self._effects += self._wait.session.press(key, now_s)
                    self._paid(self._wait, now_s)
                case _:
                    self._effects.append(Hears(_HIDDEN))
        return self._done()

    def passed(self, now_s: float) -> Sequence[Effect]:
        """It is `now_s`; before `wake_at_s` nothing comes of that."""
        self._wake(now_s)
        return self._done()

    def fetched(self, ticket: int, document: Document | FetchFailed, now_s: float) -> Sequence[Effect]:
        """The answer to `Fetches`."""
        if isinstance(self._wait, _Fetching) and self._wait.ticket == ticket:
            self._wait = None
            self._take(document, now_s)
        return self._done()

    def settled(self, ticket: int, settlement: Settlement, now_s: float) -> Sequence[Effect]:
        """The answer to `Transacts`. It is told to the action, also when the call is over."""
        if isinstance(self._wait, _Paying) and self._wait.session.ticket == ticket:
            self._effects += self._wait.session.settled(settlement)
            self._paid(self._wait, now_s)
        for paying in self._left_behind:
            if paying.session.ticket == ticket:
                self._left_behind.remove(paying)
                self._effects += paying.session.settled(settlement)
                self._leave(paying)
                break
        return self._done()

    def hang_up(self, now_s: float) -> Sequence[Effect]:  # noqa: ARG002 - as all that happens, it has a time
        """The caller hung up, or the application ended the call (REST)."""
        if self.status is CallStatus.QUEUED:
            self._end(CallStatus.CANCELED)
        elif self.status is CallStatus.IN_PROGRESS:
            if isinstance(self._wait, _Paying):
                self._effects += self._wait.session.hung_up()
                self._leave(self._wait)
            self._end(CallStatus.COMPLETED)
        return self._done()

    def redirect(
        self, now_s: float, *, url: str | None = None, method: str = "POST", twiml: str | None = None
    ) -> Sequence[Effect]:
        """The application updated the call (REST): whatever runs is left, and this runs instead. One of the two."""
        _check_one(url, twiml)
        if self.status is CallStatus.IN_PROGRESS:
            if isinstance(self._wait, _Paying):
                self._effects += self._wait.session.redirected()
                self._leave(self._wait)
            self._wait = None
            self._go_to(now_s, url, method, twiml, "redirect")
        return self._done()

    def _done(self) -> Sequence[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def _wake(self, now_s: float) -> None:
        is_due = self.wake_at_s is not None and now_s >= self.wake_at_s
        match self._wait:
            case _Pausing() if is_due:
                self._wait = None
                self._run(now_s)
            case _Gathering() if is_due:
                self._gathered(self._wait, now_s)
            case _Paying() if is_due:
                self._effects += self._wait.session.passed(now_s)
                self._paid(self._wait, now_s)

    # --- Documents ---------------------------------------------------------------------------------------------------

    def _go_to(self, now_s: float, url: str | None, method: str, text: str | None, why: str) -> None:
        if text is None:
            self._fetch(url, method, {}, why)
        else:
            self._document_url = None
            self._read(text, now_s)

    def _fetch(self, url: str | None, method: str, fields: Mapping[str, str], why: str) -> None:
        """Ask for a document, at `url` or the current one's."""
        absolute = self._url(url)
        if absolute is None:
            self._apologize(
                INVALID_URL,
                f"The {why} URL must be http:// or https:// with a host. In TwiML that was given with the call, it must"
                " be there and absolute.",
            )
            return
        ticket = next(self._tickets)
        self._wait = _Fetching(ticket)
        self._effects.append(Fetches(ticket, absolute, method, dict(fields), why))

    def _url(self, url: str | None) -> str | None:
        """Return the absolute URL of what a document says, by default its own; None where there is none."""
        if url is None and self._document_url is None:
            return None
        absolute = self._absolute(url or "")
        try:
            parts = urlsplit(absolute)
        except ValueError:
            return None
        return absolute if parts.scheme in {"http", "https"} and parts.hostname else None

    def _absolute(self, url: str) -> str:
        try:
            return urljoin(self._document_url or "", url)
        except ValueError:
            return url

    def _take(self, document: Document | FetchFailed, now_s: float) -> None:
        if isinstance(document, FetchFailed):
            self._apologize(document.code, document.why)
            return
        self._document_url = document.url
        content_type = (document.content_type or "").partition(";")[0].strip().lower()
        if content_type in _XML_TYPES:
            self._read(document.text, now_s)
        elif content_type == "text/plain":
            self._effects.append(Warns(None, "The document is text/plain, which is read aloud. TwiML is text/xml."))
            self._play(Script((Say(line=1, text=document.text),)), now_s)
        elif content_type.startswith("audio/"):
            self._play(Script((Play(line=1, url=document.url),)), now_s)
        else:
            self._apologize(INVALID_CONTENT_TYPE, "The document must have the Content-Type text/xml.")

    def _read(self, text: str, now_s: float) -> None:
        script = twiml.parse(text, self._switches)
        if isinstance(script, Unreadable):
            self._apologize(script.code, script.text)
        else:
            self._play(script, now_s)

    def _play(self, script: Script, now_s: float) -> None:
        self._documents += 1
        if self._documents > DOCUMENTS_MAX:
            self._apologize(None, f"This call has run {DOCUMENTS_MAX} documents: it goes round in a circle.")
            return
        self._script = script
        self._next_verb = 0
        self._effects += [Warns(warning.code, warning.text) for warning in script.warnings]
        self._run(now_s)

    def _apologize(self, code: int | None, text: str) -> None:
        """End the call on an application error."""
        self._effects += [Warns(code, text), Speaks(_APOLOGY)]
        self._end(CallStatus.COMPLETED if self._documents else CallStatus.FAILED)

    def _end(self, status: CallStatus) -> None:
        self.status = status
        self._wait = None
        self._effects.append(Ends(status.value))

    # --- Verbs -------------------------------------------------------------------------------------------------------

    def _run(self, now_s: float) -> None:
        """Run verbs until one waits, or the call ends."""
        while self._wait is None and not self.is_over:
            if self._next_verb == len(self._script.verbs):
                self._effects.append(Executes("", -1))
                self._end(CallStatus.COMPLETED)
                return
            index = self._next_verb
            verb = self._script.verbs[index]
            self._next_verb += 1
            self._effects.append(Executes(twiml.name_of(verb), index))
            self._execute(verb, now_s)

    def _execute(self, verb: twiml.Verb, now_s: float) -> None:
        match verb:
            case Say() | Play():
                self._effects += self._speaker.speech((verb,)).effects
            case Pause():
                self._wait = _Pausing(now_s + verb.length_s)
            case Gather():
                speech = self._speaker.speech(verb.spoken)
                self._effects += speech.effects
                self._wait = _Gathering(verb, now_s + speech.length_s + verb.timeout_s)
            case Redirect():
                self._fetch(verb.url, verb.method, {}, "redirect")
            case Hangup():
                self._end(CallStatus.COMPLETED)
            case Pay():
                self._pay(verb, now_s)
            case Skipped():
                pass
            case _:
                assert_never(verb)

    def _gather_key(self, gathering: _Gathering, key: str, now_s: float) -> None:
        gather = gathering.gather
        self._effects.append(Hears(key))
        if key == gather.finish_on_key:
            self._gathered(gathering, now_s)
            return
        gathering.digits += key
        gathering.until_s = now_s + gather.timeout_s
        if len(gathering.digits) in {gather.num_digits, GATHERED_KEYS_MAX}:
            self._gathered(gathering, now_s)

    def _gathered(self, gathering: _Gathering, now_s: float) -> None:
        self._wait = None
        gather = gathering.gather
        if gathering.digits or gather.action_on_empty_result:
            self._fetch(gather.action, gather.method, {"Digits": gathering.digits}, "gather")
        self._run(now_s)

    # --- <Pay> -------------------------------------------------------------------------------------------------------

    def _pay(self, pay: Pay, now_s: float) -> None:
        action = self._url(pay.action)
        is_secure = self._switches.action_scheme == "any" or (action or "").lower().startswith("https:")
        if action is None or not is_secure:
            error = PayError.INVALID_ACTION_URL
            self._effects.append(
                Warns(
                    error.value,
                    f"line {pay.line}: <Pay>: {error.title}. It must be an https:// URL, absolute where the TwiML was"
                    " given with the call; the switch action_scheme=any allows http://. The next verb follows.",
                )
            )
            return
        status_url = None if pay.status_callback is None else self._url(pay.status_callback)
        if pay.status_callback is not None and status_url is None:
            text = f'line {pay.line}: <Pay>: "statusCallback" must be an http:// or https:// URL: nothing is sent.'
            self._effects.append(Warns(INVALID_URL, text))
        session = PaySession(
            pay,
            account_sid=self.account_sid,
            call_sid=self.sid,
            status_url=status_url,
            switches=self._switches,
            connectors=self._connectors,
            new_transaction_id=self._new_transaction_id,
            new_ticket=lambda: next(self._tickets),
            speaker=self._speaker,
        )
        self._wait = _Paying(session, action)
        self._effects += session.begin(now_s)
        self._paid(self._wait, now_s)

    def _paid(self, paying: _Paying, now_s: float) -> None:
        """Go on if it is through: to what its action answers, or to the next verb."""
        outcome = paying.session.outcome
        if outcome is None:
            return
        self._wait = None
        if not outcome.falls_through:
            self._fetch(paying.action, "POST", outcome.fields, "action")
        self._run(now_s)

    def _leave(self, paying: _Paying) -> None:
        """The call is over or elsewhere: tell the action, now or when the connector has answered."""
        outcome = paying.session.outcome
        if outcome is None:
            self._left_behind.append(paying)
        else:
            self._effects.append(Fetches(next(self._tickets), paying.action, "POST", dict(outcome.fields), "action"))


def _check_one(url: str | None, text: str | None) -> None:
    if (url is None) == (text is None):
        raise ValueError("give a call either a URL or TwiML")
