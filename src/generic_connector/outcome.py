"""The outcome: how it is found out what became of a claimed payment, and how that is written down, once.

- A processor is asked with a clock of ours. Whatever comes in place of an answer tells nothing: `Unknown`.
- After an unknown outcome comes a look-up; after that a second send under the same key, where the processor honours
  keys and the row still is ours; then a look-up once more. What stays unknown is in doubt.
- "Not found" is believed only where nothing can have been on its way any more when it was asked.
- The fence is checked right before each send, and a record must match it: who slept too long writes nothing.

Used by the connector for deliveries, and by recovery, which only looks up.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar, assert_never

from generic_connector.answer import Answer, How, replay
from generic_connector.contract.errors import Code, ErrorCode
from generic_connector.contract.reply import (
    Reply,
    declined_parameters,
    render_failure,
    render_success,
    success_parameters,
)
from generic_connector.deadline import within
from generic_connector.instance import Instance
from generic_connector.ledger import Event, Row, State, advance
from generic_connector.payment import (
    Approved,
    DeclineCode,
    Declined,
    LookUpResult,
    NotFound,
    PurchaseResult,
    Unavailable,
    Unknown,
)
from generic_connector.ports import Clock, Log, Note, Processor, Purchase, Settlement, Store
from generic_connector.scrub import scrub

Asked = TypeVar("Asked")
Told = TypeVar("Told")

_NOTED_AFTER_S = 0.25
_ON_ITS_WAY = "not found, but it may be on its way"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The connector's clocks and bounds. Times in seconds.

    `lease_s` is how long beyond `processor_timeout_s` a claim is its owner's: time for a look-up and a second send.
    """

    processor_timeout_s: float = 45.0
    look_up_timeout_s: float = 5.0
    lease_s: float = 15.0
    poll_s: float = 0.25
    payments_at_once_max: int = 1000


class Outcomes:
    """Asks processors, and records what they say. `owner` names this boot."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        owner: str,
        log: Log,
        limits: Limits,
    ) -> None:
        self._store = store
        self._clock = clock
        self._owner = owner
        self._log = log
        self._limits = limits
        self._booted_at_ms = clock()
        self.lease_ms = int((limits.processor_timeout_s + limits.lease_s) * 1000)

    # --- Asking ------------------------------------------------------------------------------------------------------

    async def still_ours(self, row: Row) -> bool:
        """Fence and lease once more, right before the send: a process may have slept since its claim."""
        return self._clock() < row.lease_until_ms and await self._store.holds(row)

    async def send(self, processor: Processor, purchase: Purchase, row: Row, timeout_s: float) -> PurchaseResult:
        """Send a purchase."""
        return await self.ask(processor.purchase, purchase, row, timeout_s)

    async def ask(
        self, ask: Callable[[Asked], Awaitable[Told]], what: Asked, row: Row, timeout_s: float | None
    ) -> Told | Unknown:
        """Ask a processor. Whatever comes in place of an answer, even a cancellation inside of it, tells nothing."""
        try:
            return scrubbed(await within(timeout_s, ask(what)))
        except TimeoutError:
            why = "no answer in time"
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # it is this task that ends
                raise
            why = type(error).__name__
        except Exception as error:  # noqa: BLE001 - an exception of a processor is no answer
            why = type(error).__name__
        self._log("processor_unknown", charge_id=row.id, processor=row.processor, why=why)
        return Unknown(why)

    async def look_up(self, processor: Processor, row: Row) -> LookUpResult:
        """Ask what became of a row's purchase. Not to be believed where it says that there is none: see `find_out`."""
        if not processor.traits.looks_up:
            return Unknown("the processor has no look-up")
        return await self.ask(processor.look_up, row.idempotency_key, row, self._limits.look_up_timeout_s)

    async def find_out(self, processor: Processor, row: Row) -> LookUpResult:
        """Look up, and believe "not found" only where nothing can have been on its way any more when that was asked."""
        asked_at_ms = self._clock()
        found = await self.look_up(processor, row)
        last_send_ms = row.recorded_at_ms or row.lease_until_ms or self._booted_at_ms
        is_final = asked_at_ms >= last_send_ms + processor.traits.conclusive_after_s * 1000
        return found if is_final or not isinstance(found, NotFound) else Unknown(_ON_ITS_WAY)

    async def after_unknown(
        self, processor: Processor, purchase: Purchase, row: Row, request_id: str
    ) -> PurchaseResult:
        """Look up; send again under the same key where that is safe; look up once more. Unknown means in doubt."""
        found = await self.look_up(processor, row)
        may_send_again = isinstance(found, NotFound) or not processor.traits.looks_up
        if not (processor.traits.honours_keys and may_send_again):
            return Unknown(_ON_ITS_WAY) if isinstance(found, NotFound) else found
        left_s = (row.lease_until_ms - self._clock()) / 1000 - self._limits.look_up_timeout_s
        if left_s <= 0 or not await self.still_ours(row):
            return Unknown("no time is left to send again")
        self.note(row, "sent_again", self._clock(), request_id)
        result = await self.send(processor, purchase, row, left_s)
        if isinstance(result, (Approved, Declined)):  # nothing else tells anything about the first send
            return result
        found = await self.look_up(processor, row)
        return found if isinstance(found, (Approved, Declined)) else Unknown("sent twice, and still unknown")

    async def record(
        self,
        row: Row,
        result: PurchaseResult | NotFound,
        instance: Instance,
        how: How,
        *,
        sent_at_ms: int | None = None,
        settled_by: str | None = None,
    ) -> Answer:
        """Write what became of a row, and answer it. Where another holds the row by now, the row answers."""
        event, reply, code = self._outcome(row, result, instance)
        settlement = Settlement(
            row=row,
            event=event,
            recorded_at_ms=self._clock(),
            sent_at_ms=sent_at_ms,
            authorization_code=getattr(result, "authorization_code", None),
            processor_reference=getattr(result, "processor_reference", None),
            error_code=code,
            settled_by=settled_by,
            reply_status=None if event is Event.DOUBT else reply.status,
            reply_body=None if event is Event.DOUBT else reply.body,
        )
        if not await self._store.record(settlement):
            self._log("fence_lost", charge_id=row.id)
            again = await self.row_again(row)
            return replay(again) if again.state.is_terminal else Answer(None, how, row)
        if event is Event.DOUBT:  # the row forgets it once it is settled
            self.note(row, State.IN_DOUBT, settlement.recorded_at_ms, row.request_id)
        return Answer(reply, how, row._replace(state=advance(row.state, event)), code)

    def _outcome(
        self, row: Row, result: PurchaseResult | NotFound, instance: Instance
    ) -> tuple[Event, Reply, Code | None]:
        """Return edge, reply and error code of a processor's answer. A late answer takes a settling edge."""
        is_late = row.state is State.IN_DOUBT
        event: Event
        code: Code
        match result:
            case Approved():
                reply = render_success(row.method, row.id, success_parameters(row, result))
                return Event.SETTLE_CAPTURED if is_late else Event.APPROVE, reply, None
            case Declined(code=decline):
                parameters = declined_parameters(row, result)
                reply = render_failure(decline, row.method, instance.dialect, parameters=parameters)
                return Event.SETTLE_DECLINED if is_late else Event.DECLINE, reply, decline
            case Unavailable():
                event, code = Event.UNAVAILABLE, ErrorCode.PROCESSOR_UNAVAILABLE
            case NotFound():
                event, code = Event.SETTLE_NOT_CAPTURED, DeclineCode.PROCESSING_ERROR
            case Unknown():
                event, code = Event.DOUBT, ErrorCode.OUTCOME_UNKNOWN
            case _:
                assert_never(result)
        return event, render_failure(code, row.method, instance.dialect), code

    # --- The row -----------------------------------------------------------------------------------------------------

    async def row_again(self, row: Row) -> Row:
        """Return a row as it stands now."""
        return await self._store.find(row.instance_id, row.transaction_id) or row

    async def take_over(self, row: Row) -> Row | None:
        """Make a row whose lease is over ours. None where another was quicker."""
        now_ms = self._clock()
        return await self._store.take_over(row, owner=self._owner, lease_until_ms=now_ms + self.lease_ms, now_ms=now_ms)

    def note_late(self, row: Row, event: str, at_ms: int, request_id: str) -> asyncio.TimerHandle:
        """Note what happens now, unless it is over soon: then the record tells it, and saves a write."""
        return asyncio.get_running_loop().call_later(_NOTED_AFTER_S, self.note, row, event, at_ms, request_id)

    def note(self, row: Row | None, event: str, at_ms: int, request_id: str) -> None:
        """Add to a row's history, where there is a row yet."""
        if row is not None:
            self._store.note(Note(row.id, at_ms, str(event), request_id))


def scrubbed(told: Told) -> Told:
    """A processor's own words, without what must not be kept: they are stored, and some of them echoed."""
    if not isinstance(told, (Approved, Declined)):
        return told
    unclean: dict[str, Any] = {}
    for name, chars_max in _WORDS.items():
        word = getattr(told, name, None)
        if word is not None:
            clean = scrub(word) if len(word) <= chars_max else None
            if clean != word:
                unclean[name] = clean
    return replace(told, **unclean) if unclean else told


_WORDS = {"authorization_code": 32, "processor_reference": 128, "avs_result": 1, "cvv_result": 1}
"""How many characters each may have; a longer one is dropped. The networks' result codes are single letters."""
