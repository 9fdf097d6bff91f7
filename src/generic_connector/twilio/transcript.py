"""The transcript of a call, for a terminal and for programs: both sides of it, masked, in the order of what happened.

    0.0  verb      <Pay>
    0.0  hears     Please key in the number of your card.
    0.0  keys      xxxxxxxxxxxxxxxx
    5.0  request   1 > POST https://localhost:8443/ (charge, attempt 1)
                     {"transaction_id": "...", "cardnumber": "xxxxxxxxxxxx1111", ...}
    5.0  response  1 < 200 in 12 ms
                     {"charge_id": "ch_...", "error_code": null, ...}
    5.0  ended     completed

    result  success

At the left the seconds since the call began; `hears` is what the caller is told, `keys` what is keyed, as `x` wherever
a payment is being keyed. Requests have a number, which their responses repeat: status callbacks overlap with the rest.
The result comes last.

What comes in here is masked already. It is scrubbed once more all the same, and rid of what would steer a terminal: an
endpoint and an application write parts of it.
"""

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, assert_never
from urllib.parse import parse_qsl

from generic_connector.scrub import scrub
from generic_connector.twilio.delivery import Delivery
from generic_connector.twilio.effects import (
    Effect,
    Ends,
    Executes,
    Fetches,
    Hears,
    Plays,
    Reports,
    Speaks,
    Transacts,
    Warns,
)

COLUMNS: Final = 100

_SECONDS_WIDTH, _WHO_WIDTH = 7, 10
_INDENT = " " * (_SECONDS_WIDTH + 2 + _WHO_WIDTH)
_LINES_MAX = 12
"""So many lines of a body are shown; a page of TwiML need not be read here."""

_OF_EVERY_REQUEST = frozenset(
    {"AccountSid", "CallSid", "From", "To", "Caller", "Called", "CallStatus", "ApiVersion", "Direction"}
)

_NO_SPACE = re.compile(r'(?<=":)(?=\S)|(?<=,)(?=["{\[])')

Event = dict[str, object]


def shown(text: object) -> str:
    """Return a text that may be shown: no card number, one line, nothing that a terminal obeys."""
    return scrub("".join(char if char.isprintable() else " " for char in str(text)))


class Transcript:
    """Writes a call as it happens. `write` gets pieces of text, with their line ends."""

    def __init__(self, write: Callable[[str], object], *, started_at_s: float) -> None:
        self._write = write
        self._started_at_s = started_at_s
        self._is_keying = False
        self._last_request = ""

    def tell(self, now_s: float, what: Effect | Delivery) -> None:
        """Write one thing that happened, if it is for people."""
        match what:
            case Hears():
                self._key(now_s, what.shown)
            case Delivery():
                self._deliver(now_s, what)
            case _:
                line = _line(what)
                if line is not None:
                    self._say(now_s, *line)

    def conclude(self, result: Mapping[str, str] | None) -> None:
        """Write the result of the payment, and what the action was told; None where no payment came to an end."""
        self._end_keys()
        if result is None:
            self._write("\nresult  none: no <Pay> came to its end\n")
            return
        self._write(f"\nresult  {shown(result.get('Result', ''))}\n")
        told = {name: value for name, value in result.items() if value and name != "Result"}
        width = max(map(len, told), default=0)
        for name, value in told.items():
            self._write(f"  {shown(name):<{width}}   {shown(value)}\n")

    # --- Lines -------------------------------------------------------------------------------------------------------

    def _key(self, now_s: float, key: str) -> None:
        if not self._is_keying:
            self._write(self._start(now_s, "keys"))
            self._is_keying = True
        self._write(shown(key))

    def _end_keys(self) -> None:
        if self._is_keying:
            self._write("\n")
            self._is_keying = False

    def _start(self, now_s: float, who: str) -> str:
        return f"{now_s - self._started_at_s:{_SECONDS_WIDTH}.1f}  {who:<{_WHO_WIDTH}}"

    def _say(self, now_s: float, who: str, text: str, *more: str) -> None:
        self._end_keys()
        lines = _wrapped(shown(text)) or [""]
        self._write(f"{self._start(now_s, who)}{lines[0]}\n")
        for line in (*lines[1:], *more):
            self._write(f"{_INDENT}{line}\n".rstrip(" "))

    def _deliver(self, now_s: float, delivery: Delivery) -> None:
        number = f"{delivery.id}"
        if delivery.milliseconds is None:
            what = f"{number} > {delivery.method} {delivery.url} ({delivery.why}, attempt {delivery.attempt})"
            body = _request(delivery)
            is_repeated = delivery.attempt > 1 and body == self._last_request
            self._last_request = body
            self._say(now_s, "request", what, *_body("the same once more" if is_repeated else body))
            return
        came = "failed" if delivery.status is None else str(delivery.status)
        what = f"{number} < {came} in {delivery.milliseconds:.0f} ms"
        what += ", and once more" if delivery.is_last is False else ""
        what += f": {delivery.failure}" if delivery.failure else ""
        self._say(now_s, "response", what, *_body(_spaced(delivery.reply or "")))


def _line(what: Effect) -> tuple[str, str] | None:
    """Return who does what, where that is one line."""
    match what:
        case Executes():
            return None if what.index < 0 else ("verb", f"<{what.verb}>")
        case Speaks():
            return "hears", what.text
        case Plays():
            return "hears", f"a recording: {what.url}" if what.url else f"the tones {what.digits}"
        case Warns():
            return "warning", what.text if what.code is None else f"{what.code} {what.text}"
        case Ends():
            return "ended", what.status
        case Fetches() if "Result" in what.fields:
            return "result", what.fields["Result"]
        case _:  # what has deliveries of its own
            return None


def _request(delivery: Delivery) -> str:
    """Return a request's body for people: a form's own fields, one behind the other, or the JSON as it is."""
    if delivery.to == "connector":
        return _spaced(delivery.request)
    pairs = parse_qsl(delivery.request, keep_blank_values=True)
    return "  ".join(f"{name}={value}" for name, value in pairs if name not in _OF_EVERY_REQUEST)


def _spaced(text: str) -> str:
    """Return JSON with spaces, where lines can be broken. It is not parsed: that could show what is masked now."""
    return _NO_SPACE.sub(" ", text)


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, COLUMNS - len(_INDENT), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def _body(text: str) -> Iterator[str]:
    lines = _wrapped(shown(text).strip(), indent="  ")
    yield from lines[:_LINES_MAX]
    if len(lines) > _LINES_MAX:
        yield f"  ... and {len(lines) - _LINES_MAX} lines more"


# --- For programs ----------------------------------------------------------------------------------------------------


class Record:
    """Keeps a call's events as JSON values, in the words of the desk's own events."""

    def __init__(self, *, started_at_s: float) -> None:
        self._started_at_s = started_at_s
        self._events: list[Event] = []

    @property
    def events(self) -> Sequence[Event]:
        """What happened, in order."""
        return self._events

    def tell(self, now_s: float, what: Effect | Delivery) -> None:
        """Keep one thing that happened."""
        event = _event(what)
        if event is not None:
            self._events.append({"at_s": round(now_s - self._started_at_s, 3), **_scrubbed(event)})


def _scrubbed(event: Mapping[str, object]) -> Event:
    return {
        name: scrub(value) if isinstance(value, str) else _scrubbed(value) if isinstance(value, dict) else value
        for name, value in event.items()
    }


def _event(what: Effect | Delivery) -> Event | None:
    match what:
        case Executes():
            return {"kind": "verb", "verb": what.verb, "index": what.index}
        case Speaks():
            return {"kind": "speaks", "text": what.text, "step": what.step}
        case Plays():
            return {"kind": "plays", "url": what.url, "digits": what.digits, "step": what.step}
        case Hears():
            return {"kind": "hears", "shown": what.shown, "step": what.step}
        case Warns():
            return {"kind": "warning", "code": what.code, "text": what.text}
        case Ends():
            return {"kind": "ended", "status": what.status}
        case Fetches():
            return {"kind": "result", "fields": dict(what.fields)} if "Result" in what.fields else None
        case Delivery():
            return _delivered(what)
        case Reports() | Transacts():
            return None
        case _:
            assert_never(what)


def _delivered(what: Delivery) -> Event:
    common: Event = {"exchange": what.id, "to": what.to, "attempt": what.attempt}
    if what.milliseconds is None:
        asked: Event = {"why": what.why, "method": what.method, "url": what.url, "body": what.request}
        return {"kind": "request", **common, **asked}
    came: Event = {"status": what.status, "failure": what.failure, "ms": round(what.milliseconds, 1)}
    return {"kind": "response", **common, **came, "body": what.reply, "is_last": what.is_last}
