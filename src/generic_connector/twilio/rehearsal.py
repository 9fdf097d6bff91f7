"""A rehearsal: one call, played from its first document to its end, by a script or by somebody at a terminal.

With a script (see `script`) **time is simulated**: it stands still while keys are pressed, goes on by itself only while
something is awaited on the wire, and leaps where the caller waits. A timeout costs nothing. Keys wait until the call
listens, so that a Pause swallows none. When the script is through, the caller is silent, and hangs up after ten
minutes.

At a terminal time is what it is, and a key that nobody listens for is lost, as on the phone.

TwiML from a file has no address that anybody could be asked at. It gets one in the domain `.invalid`, and is its own
application there: what it redirects to itself is answered with itself, and an action that names no other address with
an empty document, after which the call ends. So its result can be seen without any application.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, assert_never

from generic_connector.twilio.call import Call, Document, FetchFailed
from generic_connector.twilio.callbacks import DOCUMENT_BYTES_MAX, Callbacks
from generic_connector.twilio.client import ContractClient
from generic_connector.twilio.configuration import Configuration
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
from generic_connector.twilio.orders import Order, Settlement
from generic_connector.twilio.script import Act, Silence, Stroke

FILE_URL: Final = "https://twiml.invalid/"
"""Where TwiML from a file is said to come from. RFC 2606 promises that nobody answers there."""

PATIENCE_S: Final = 600.0
"""How long the caller listens once the script is through, in simulated seconds."""

_COURTESY_S = 1.0
_END = "<Response/>"
_UNHEARD = (Hears("x"),)


class Rehearsal:
    """One call that is about to be played. `told` hears of everything that happens, with its time, masked.

    `results` are the fields of each action so far: what came of each `<Pay>`.
    """

    def __init__(self, call: Call, configuration: Configuration) -> None:
        self.call = call
        self.results: list[Mapping[str, str]] = []
        self.now_s = time.time()
        self.told: Callable[[float, Effect | Delivery], None] = lambda _now_s, _what: None
        self._configuration = configuration
        self._ids = itertools.count(1)
        self._text: str | None = None
        self._waiting_since_s: float | None = None
        """When the present wait began, by the machine's own clock."""
        self._clients: dict[str, ContractClient] = {}
        self._open = AsyncExitStack()
        self._answers: dict[asyncio.Task[Document | FetchFailed | Settlement], int] = {}
        """What is awaited on the wire, and its ticket."""
        self._reports: set[asyncio.Task[None]] = set()
        self._callbacks = Callbacks(
            configuration.auth_token.reveal(), ca_file=configuration.ca_file, heard=self._heard, ids=self._ids
        )

    def _heard(self, delivery: Delivery) -> None:
        """Tell of a request or its answer. It comes while time goes on, of which the call has not been told yet."""
        gone_by_s = 0.0 if self._waiting_since_s is None else time.monotonic() - self._waiting_since_s
        self.told(self.now_s + gone_by_s, delivery)

    # --- From its beginning to its end -------------------------------------------------------------------------------

    async def play(self, script: Sequence[Stroke], *, url: str | None = None, text: str | None = None) -> None:
        """Play a call by a script, in simulated time, from a URL or a text of TwiML to its end."""
        async with self._open:
            await self._open.enter_async_context(self._callbacks)
            self._begin(url, text)
            has_answered = True
            for stroke in script:
                await self._settle_down()
                if self.call.is_over:
                    break
                match stroke:
                    case str():
                        has_answered = await self._press(stroke)
                    case Silence():
                        await self._wait(stroke.seconds)
                    case Act.END_ENTRY:
                        if not has_answered and self.call.wake_at_s is not None:
                            await self._wait(self.call.wake_at_s - self.now_s)
                        has_answered = True
                    case Act.HANG_UP:
                        self._do(self.call.hang_up(self.now_s))
                    case _:
                        assert_never(stroke)
            await self._wait(PATIENCE_S)
            self._do(self.call.hang_up(self.now_s))
            await self._settle_down()
            await self._finish()

    async def attend(self, keys: asyncio.Queue[str | Act], *, url: str | None = None, text: str | None = None) -> None:
        """Play a call by keys as they come, in the time that it takes, from a URL or a text of TwiML to its end."""
        async with self._open:
            await self._open.enter_async_context(self._callbacks)
            self._begin(url, text)
            key = asyncio.create_task(keys.get())
            try:
                while not self.call.is_over or self._answers:
                    wake_s = self.call.wake_at_s
                    limit_s = None if wake_s is None else max(0.0, wake_s - self.now_s)
                    waited = {*self._answers, key} if not self.call.is_over else set(self._answers)
                    await self._pass_time(waited, limit_s)
                    self._take()
                    if key.done():
                        pressed = key.result()
                        self._do(
                            self.call.press(pressed, self.now_s)
                            if isinstance(pressed, str)
                            else self.call.hang_up(self.now_s)
                        )
                        key = asyncio.create_task(keys.get())
                    self._do(self.call.passed(self.now_s))
            finally:
                key.cancel()
            await self._finish()

    def _begin(self, url: str | None, text: str | None) -> None:
        self._text = text
        self._do(self.call.begin(self.now_s, url=FILE_URL if url is None else url))

    async def _finish(self) -> None:
        if self._reports:
            await asyncio.wait(self._reports)
        for task in self._reports:
            task.result()

    async def _pass_time(self, waited: Iterable[asyncio.Task[Any]], limit_s: float | None) -> None:
        """Wait until one of these is done, or for so long; the call's time goes on meanwhile."""
        self._waiting_since_s = time.monotonic()
        await asyncio.wait(list(waited), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        self.now_s += time.monotonic() - self._waiting_since_s
        self._waiting_since_s = None

    # --- Simulated time ----------------------------------------------------------------------------------------------

    async def _press(self, key: str) -> bool:
        """Press a key as soon as the call listens. Return whether it brought about anything."""
        while not self.call.is_over:
            effects = self.call.press(key, self.now_s)
            if tuple(effects) != _UNHEARD or self.call.wake_at_s is None:
                self._do(effects)
                return any(not isinstance(effect, Hears) for effect in effects)
            await self._wait(self.call.wake_at_s - self.now_s)
        return True

    async def _wait(self, seconds: float) -> None:
        """Let so much simulated time pass, with all that happens in it."""
        until_s = self.now_s + seconds
        while not self.call.is_over:
            await self._settle_down()
            wake_s = self.call.wake_at_s
            if wake_s is None or wake_s > until_s:
                break
            self.now_s = max(self.now_s, wake_s)
            self._do(self.call.passed(self.now_s))
        if not self.call.is_over:
            self.now_s = max(self.now_s, until_s)

    async def _settle_down(self) -> None:
        """Wait until nothing is awaited on the wire any more, and, for a moment, until status callbacks are through."""
        while self._answers:
            await self._pass_time(self._answers, None)
            self._take()
        pending = [task for task in self._reports if not task.done()]
        if pending:
            await asyncio.wait(pending, timeout=_COURTESY_S)

    # --- Effects -----------------------------------------------------------------------------------------------------

    def _do(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            self.told(self.now_s, effect)
            match effect:
                case Fetches():
                    if effect.why == "action":
                        self.results.append(effect.fields)
                    fields = self.call.fields()
                    self._answers[asyncio.create_task(self._fetch(effect, fields))] = effect.ticket
                case Transacts():
                    self._answers[asyncio.create_task(self._transact(effect.order))] = effect.ticket
                case Reports():
                    self._reports.add(asyncio.create_task(self._report(effect)))
                case Executes() | Speaks() | Plays() | Hears() | Warns() | Ends():
                    pass
                case _:
                    assert_never(effect)

    def _take(self) -> None:
        """Bring the answers that have come to the call."""
        for task in [task for task in self._answers if task.done()]:
            ticket, answer = self._answers.pop(task), task.result()
            if isinstance(answer, Document | FetchFailed):
                self._do(self.call.fetched(ticket, answer, self.now_s))
            else:
                self._do(self.call.settled(ticket, answer, self.now_s))

    async def _fetch(self, asked: Fetches, fields: Mapping[str, str]) -> Document | FetchFailed:
        if not asked.url.startswith(FILE_URL):
            return await self._callbacks.fetch(asked, fields)
        if asked.why == "action":
            return Document(asked.url, _END, "text/xml")
        if asked.url == FILE_URL and self._text is not None:
            if len(self._text.encode()) > DOCUMENT_BYTES_MAX:
                return FetchFailed(f"TwiML body too large: {DOCUMENT_BYTES_MAX} bytes are the most", 11750)
            return Document(FILE_URL, self._text, "text/xml")
        return FetchFailed("TwiML from a file has no address: give it absolute URLs", 11100)

    async def _report(self, told: Reports) -> None:
        if told.url.startswith(FILE_URL):
            text = "TwiML from a file has no address: its relative statusCallback is not sent; give it an absolute URL"
            self.told(self.now_s, Warns(11100, text))
        else:
            await self._callbacks.report(told)

    async def _transact(self, order: Order) -> Settlement:
        client = self._clients.get(order.connector)
        if client is None:
            connector = self._configuration.connectors[order.connector]
            client = ContractClient(connector, self._configuration.switches, heard=self._heard, ids=self._ids)
            self._clients[order.connector] = client
            self._open.push_async_callback(client.aclose)
        return await client.send(order)
