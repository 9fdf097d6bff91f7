"""The timeline: everything that may be seen of the calls, in order, as it happened.

What the exchange does is told here, event by event, and whoever watches, the phone page above all, follows. It is the
one place through which everything shown passes, and so the last line of defence: every text of an event, its names
included, is scrubbed of card numbers once more, whatever was done before. What is kept is the event's JSON, made once.

It is bounded: the oldest events go when there are too many of them, or too much text. Who follows has no queue, only a
place in the log: a slow watcher costs nothing, and misses what has gone before he came to it.

An event's id is a number that counts from 1. The ids of one process mean nothing to the next, so on the wire
(`Last-Event-ID`) each carries the name of its boot, and one of another boot begins anew.
"""

import asyncio
import json
import re
import secrets
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from generic_connector.scrub import scrub

EVENTS_MAX: Final = 5_000
CHARS_MAX: Final = 16_000_000
"""Of all events that are kept, together."""

TEXT_CHARS_MAX: Final = 100_000
"""Of one text. A document has 64 kB at most."""

_DEPTH_MAX = 8
_BOOT_LETTERS, _BOOT_CHARS = "abcdefghijklmnop", 16
_WIRE_ID = re.compile(r"([a-p]{16})-([0-9]{1,15})")


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `data` is its JSON, `call` the call's SID."""

    id: int
    call: str
    kind: str
    data: str


class Timeline:
    """A bounded log of events, and those who follow it. One event loop, one timeline.

    `now_s` tells the time, in Unix seconds.
    """

    def __init__(
        self,
        *,
        now_s: Callable[[], float] = time.time,
        events_max: int = EVENTS_MAX,
        chars_max: int = CHARS_MAX,
    ) -> None:
        self._now_s = now_s
        self._events_max = events_max
        self._chars_max = chars_max
        self._events: deque[Event] = deque()
        self._chars = 0
        self._last = 0
        self._boot = "".join(secrets.choice(_BOOT_LETTERS) for _ in range(_BOOT_CHARS))
        self._waiting: set[asyncio.Future[None]] = set()
        self._is_closed = False

    # --- Telling -----------------------------------------------------------------------------------------------------

    def tell(self, call: str, kind: str, **fields: object) -> Event:
        """Add an event, and wake all who follow. Fields are what JSON knows."""
        self._last += 1
        at = datetime.fromtimestamp(self._now_s(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        told = {"id": self._last, "at": at, "call": call, "kind": kind, **fields}
        event = Event(self._last, scrub(call), kind, json.dumps(_shown(told)))
        self._events.append(event)
        self._chars += len(event.data)
        while len(self._events) > self._events_max or (self._chars > self._chars_max and len(self._events) > 1):
            self._chars -= len(self._events.popleft().data)
        self._wake()
        return event

    def close(self) -> None:
        """End: whoever follows sees what there is, and no more."""
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()

    # --- Following ---------------------------------------------------------------------------------------------------

    @property
    def last_id(self) -> int:
        """The newest event's id; 0 before the first."""
        return self._last

    def since(self, id_: int = 0) -> Sequence[Event]:
        """Return the events after this one that are still kept."""
        if not self._events:
            return []
        return list(islice(self._events, max(0, id_ + 1 - self._events[0].id), None))

    async def follow(self, id_: int = 0, *, patience_s: float | None = None) -> AsyncGenerator[Event | None, None]:
        """Give the events after this one, and then each as it comes, until the timeline is closed.

        After `patience_s` without any, None: there is nothing to tell, but this still works.
        """
        while True:
            news = self.since(id_)
            for event in news:
                id_ = event.id
                yield event
            if news:
                continue
            if self._is_closed:
                return
            if not await self._changed(patience_s):
                yield None

    async def _changed(self, patience_s: float | None) -> bool:
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            async with asyncio.timeout(patience_s):
                await waiting
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(waiting)
        return True

    # --- On the wire -------------------------------------------------------------------------------------------------

    def wire_id(self, event: Event) -> str:
        """Return the id of an event as Server-Sent Events carry it."""
        return f"{self._boot}-{event.id}"

    def resumed(self, wire_id: str | None) -> int:
        """Return the id that a `Last-Event-ID` means: 0, before everything, where it is none of this boot's."""
        found = _WIRE_ID.fullmatch(wire_id or "")
        return int(found[2]) if found is not None and found[1] == self._boot else 0


def _shown(value: object, depth: int = 0) -> object:
    """Return what JSON may hold of a value: texts scrubbed and of some length, nothing deeper than it needs to be."""
    match value:
        case str():
            text = scrub(value)
            return text if len(text) <= TEXT_CHARS_MAX else f"{text[:TEXT_CHARS_MAX]}…"
        case bool() | int() | float() | None:
            return value
        case Mapping() if depth < _DEPTH_MAX:
            return {str(_shown(str(name))): _shown(each, depth + 1) for name, each in value.items()}
        case Sequence() if depth < _DEPTH_MAX and not isinstance(value, bytes | bytearray):
            return [_shown(each, depth + 1) for each in value]
        case _:
            return type(value).__name__
