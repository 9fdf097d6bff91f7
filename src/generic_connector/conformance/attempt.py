"""An attempt: one request on its way, and the reply that comes of it.

An attempt begins its clock when it is made, bounds what is done of it, and ends as a `Reply` and as one exchange in the
record of its check. The rules:

- All parts of an attempt share its time: opening, sending and hearing have together what one of them would have.
- Nothing raises because an endpoint misbehaves. A `Reply` without a status says why there is no whole answer.
- Only where no secure connection comes about nothing is sent and nothing can be asked: `NotAskable`. After a trusted
  connection came about once, a handshake that fails is a lost request as any other.
- Whatever is kept or shown went through the mask. The body of a reply is as it came, for a check to look at, and is in
  no repr.

A reply is a success where Twilio takes it for one. What else may be said about it is the checks' business.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from generic_connector.conformance.bodies import ID_KEYS
from generic_connector.conformance.check import Exchange, NotAskable
from generic_connector.conformance.line import Came, HandshakeError, LineError, UntrustedError
from generic_connector.conformance.visit import Visit

_EXCHANGES_MAX: Final = 100
_BRIEF: Final = 300
_OK: Final = 200

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back: a status, headers by lower-case name and a body; or why there is no whole answer.

    `status` is None exactly where `failure` is a text. `seconds` is how long it took, from the connection on. `shown`
    is the whole of it in a few words, masked, for findings.
    """

    status: int | None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    failure: str | None = None
    seconds: float = 0.0
    shown: str = ""

    @property
    def json(self) -> dict[str, Any] | None:
        """The body as a JSON object; None where it is none. Of a key that stands twice the last one counts."""
        if self.failure is not None:
            return None
        try:
            parsed = json.loads(self.body.decode("utf-8"), parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return None
        return parsed if isinstance(parsed, dict) else None

    def id(self, method: str) -> str | None:
        """The id that this method gives, if there is one: `charge_id` for charge, `token_id` for tokenize."""
        found = (self.json or {}).get(ID_KEYS[method])
        return found if isinstance(found, str) and found else None

    @property
    def error_code(self) -> Any:  # noqa: ANN401 - a text or null by the contract, anything from an endpoint
        """The value of `error_code`; None where it is null, or the key is missing."""
        return (self.json or {}).get("error_code")

    @property
    def error_message(self) -> Any:  # noqa: ANN401 - as above
        """The value of `error_message`; None where it is null, or the key is missing."""
        return (self.json or {}).get("error_message")

    def is_success(self, method: str) -> bool:
        """Whether Twilio takes it for a success: a 200 with the id as a text, and no error code."""
        return self.status == _OK and self.id(method) is not None and self.error_code is None


class Record:
    """What one check asked, and what was answered."""

    def __init__(self) -> None:
        self._kept: list[Exchange] = []
        self._left_out = 0

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """What was asked and answered up to now, masked, in the order in which it ended."""
        return tuple(self._kept)

    def keep(self, exchange: Exchange) -> None:
        """Keep a record. Of very many the later ones are counted only."""
        if len(self._kept) < _EXCHANGES_MAX:
            self._kept.append(exchange)
            return
        self._left_out += 1
        self._kept[-1] = Exchange(
            request=f"({self._left_out} more requests)", reply="(not kept)", at_s=exchange.at_s, took_s=0.0
        )


class Attempt:
    """One request while it is under way: its clock, its end, its record."""

    def __init__(self, visit: Visit, record: Record, shown: str) -> None:
        self._visit = visit
        self._record = record
        self._shown = shown
        self._began_s = time.monotonic()
        self.failure: str | None = None

    async def bounded(self, doing: Awaitable[_Result], timeout_s: float | None) -> _Result | None:
        """Do a part of it in what is left of its time; None where that fails: `failure` then says why."""
        allowed_s = self._visit.target.timeout_s if timeout_s is None else timeout_s
        left_s = max(0.0, self._began_s + allowed_s - time.monotonic())
        try:
            async with asyncio.timeout(left_s):
                return await doing
        except TimeoutError:
            self.failure = f"timed out after {allowed_s:g} s"
        except HandshakeError as error:
            if self._visit.was_secure and not isinstance(error, UntrustedError):
                self.failure = str(error)
                return None
            self.keep(f"({error}; nothing was sent)")
            raise NotAskable(f"Nothing was sent, because {error}. See the checks of family transport.") from None
        except LineError as error:
            self.failure = str(error)
        return None

    def reply(self, came: Came | None) -> Reply:
        """Return what came, and keep the record."""
        took_s = time.monotonic() - self._began_s
        if came is None:
            failure = self.failure or "there is no connection"
            self.keep(f"(no answer: {failure})")
            return Reply(status=None, failure=failure, seconds=took_s, shown=f"no answer: {failure}")
        text = came.body.decode("utf-8", "replace")
        lines = "".join(f"{name}: {value}\n" for name, value in came.headers.items())
        head = self._visit.mask.shown(lines)
        body = self._visit.mask.shown(text)
        self.keep(f"HTTP/{came.version} {came.status}\n{head}\n{body}")
        brief = body if len(body) <= _BRIEF else f"{body[:_BRIEF]}..."
        shown = f"{came.status} {' '.join(brief.split()) or '(an empty body)'}"
        return Reply(status=came.status, headers=came.headers, body=came.body, seconds=took_s, shown=shown)

    def keep(self, reply: str) -> None:
        """Keep a record of it."""
        now_s = time.monotonic()
        self._record.keep(
            Exchange(
                request=self._visit.mask.shown(self._shown),
                reply=reply,
                at_s=round(self._began_s - self._visit.began_s, 3),
                took_s=round(now_s - self._began_s, 3),
            )
        )


def _no_constant(_name: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")
