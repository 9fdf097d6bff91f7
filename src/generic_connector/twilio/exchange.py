"""The exchange: where the calls are, on the event loop. It has the hands that the state machines lack.

A `Line` is one call with all that hangs on it: the call's machine, its payments, their alarm, their requests on the
wire. What happens to it (keys, time, answers, updates) goes into a machine, and the effects that come back are carried
out: orders go to the contract client, documents and reports to the callbacks, and all that may be seen to the timeline.

- **Nothing is polled.** Each line has one alarm, set to the earliest time that one of its machines wants to be woken.
- **Keys** go to the agent's payment while that wants them, otherwise to the call.
- **SendDigits** are keyed while the call listens: they wait for the first document, and whenever the application or the
  connector is being asked. `w` and `W` are half a second and a second of silence.
- **One call's failure is its own.** Whatever goes wrong in the code that drives it ends that call as `failed`, with a
  warning that names the place and no value. The others go on.
- **It is bounded**: so many calls at a time, so many finished ones that can still be looked at.
- `aclose` hangs up what is on, waits a while for the last callbacks, and ends everything.

SIDs and transaction ids are made so that nothing in them can look like a card number.
"""

import asyncio
import contextlib
import itertools
import re
import secrets
import time
import traceback
import uuid
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final, Protocol, assert_never
from urllib.parse import urljoin

from generic_connector.twilio.call import Call, Document
from generic_connector.twilio.callbacks import Callbacks
from generic_connector.twilio.client import ContractClient
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
from generic_connector.twilio.pay_connector import DEFAULT_NAME, PayConnector
from generic_connector.twilio.payments_api import Answer, ApiError, Form, Payments
from generic_connector.twilio.switches import Switches
from generic_connector.twilio.timeline import Timeline

LIVE_CALLS_MAX: Final = 200
KEPT_CALLS_MAX: Final = 1_000
"""Calls that can be looked at: those that are on, and the newest of those that are over."""

GRACE_S: Final = 3.0
"""How long `aclose` waits for what is on the wire."""

PAUSES_S: Final[Mapping[str, float]] = {"w": 0.5, "W": 1.0}
"""What stands for silence in SendDigits."""

KEYS: Final = frozenset("0123456789*#")
CALL_EVENTS: Final = ("initiated", "ringing", "answered", "completed")
"""What StatusCallbackEvent may name."""

INTERNAL_ERROR: Final = 20500

_SID_LETTERS, _SID_CHARS = "abcdef", 32
_ON: ContextVar[str] = ContextVar("call")
"""The call that a task works for: so a request on the wire is known for whose it is."""


class NoSuchCallError(LookupError):
    """There is no call of that SID: it never was, or has been forgotten."""


class TooManyCallsError(Exception):
    """No line is free."""


class NotInProgressError(Exception):
    """The call is not in progress, and what was asked for needs one that is."""


class Alarm(Protocol):
    """Something that will be done at some time, unless it is cancelled."""

    def cancel(self) -> None:
        """Do not do it."""


class Clock(Protocol):
    """The time, and someone who wakes at it."""

    def now_s(self) -> float:
        """The time in Unix seconds. It never goes back."""

    def at(self, at_s: float, do: Callable[[], None]) -> Alarm:
        """Do this then, or soon if that has passed."""


class LoopClock:
    """The machine's time, and the running event loop to wake at it.

    It goes on as the monotonic clock does, so that no timeout waits because somebody set the time back; where the
    machine slept, it follows.
    """

    def __init__(self) -> None:
        self._ahead_s = time.time() - time.monotonic()

    def now_s(self) -> float:
        """The time in Unix seconds. It never goes back."""
        self._ahead_s = max(self._ahead_s, time.time() - time.monotonic())
        return time.monotonic() + self._ahead_s

    def at(self, at_s: float, do: Callable[[], None]) -> Alarm:
        """Do this then, or soon if that has passed."""
        return asyncio.get_running_loop().call_later(max(0.0, at_s - self.now_s()), do)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialled:
    """What a call is placed with: a URL or TwiML, and who calls whom.

    `send_digits` are keys, `w` and `W`: they may be a card number, so nothing shows them, and the line does not keep
    them. `connector` names the Pay Connector that stands in for `Default` on this call.
    """

    from_: str
    to: str
    url: str | None = None
    method: str = "POST"
    twiml: str | None = field(default=None, repr=False)
    direction: str = "outbound-api"
    send_digits: str = field(default="", repr=False)
    connector: str | None = None
    switches: Switches | None = None
    status_callback: str | None = None
    status_callback_method: str = "POST"
    status_callback_events: Sequence[str] = ("completed",)


_CARD_LIKE = re.compile(r"(?:[0-9]-?){12}")


def new_sid(prefix: str) -> str:
    """Return a SID of Twilio's form: two letters, and 32 of the hexadecimal digits that are letters."""
    return prefix + "".join(secrets.choice(_SID_LETTERS) for _ in range(_SID_CHARS))


def new_transaction_id() -> str:
    """Return a transaction id as Twilio makes them: a UUID, though none with as many digits in a row as a card has."""
    return next(id_ for id_ in iter(lambda: str(uuid.uuid4()), None) if _CARD_LIKE.search(id_) is None)


def apology(error: Exception) -> str:
    """Return what may be told of a mistake in this code: type and place. An exception's words may hold anything."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {place.filename.rpartition('/')[2]}:{place.lineno}: please report that."


class Exchange:
    """All calls of one simulated account. Use it on one event loop, and `aclose` it there.

    `base_url` is where relative callbacks of calls without a document's URL lead; `ca_file` a PEM file of authorities
    to trust for the application, beside the system's. `seconds_per_character` is how long prompts take to be spoken.
    """

    def __init__(
        self,
        account_sid: str,
        auth_token: str,
        connectors: Mapping[str, PayConnector],
        switches: Switches,
        timeline: Timeline,
        *,
        base_url: str | None = None,
        ca_file: str | None = None,
        seconds_per_character: float = 0.0,
        clock: Clock | None = None,
        live_calls_max: int = LIVE_CALLS_MAX,
        kept_calls_max: int = KEPT_CALLS_MAX,
        call_type: type[Call] = Call,
    ) -> None:
        self.account_sid = account_sid
        self.connectors = connectors
        self.switches = switches
        self.timeline = timeline
        self.clock = LoopClock() if clock is None else clock
        self._seconds_per_character = seconds_per_character
        self._live_calls_max = live_calls_max
        self._kept_calls_max = kept_calls_max
        self._call_type = call_type
        self._numbers = itertools.count(1)
        self._lines: dict[str, Line] = {}
        self._clients: dict[str, ContractClient] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self.callbacks = Callbacks(auth_token, base_url=base_url, ca_file=ca_file, heard=self._heard, ids=self._numbers)

    # --- Calls -------------------------------------------------------------------------------------------------------

    def dial(self, dialled: Dialled) -> "Line":
        """Place a call. It is queued, and begins at the loop's next turn. Raises `TooManyCallsError`."""
        if self._is_closed or sum(line.is_at_work for line in self._lines.values()) >= self._live_calls_max:
            raise TooManyCallsError
        self._forget()
        line = Line(self, dialled, self._call_type, self._seconds_per_character)
        self._lines[line.sid] = line
        line.ring()
        return line

    def line(self, sid: str) -> "Line":
        """Return a call. Raises `NoSuchCallError`."""
        try:
            return self._lines[sid]
        except KeyError:
            raise NoSuchCallError from None

    @property
    def lines(self) -> Sequence["Line"]:
        """All calls that are known, the newest first."""
        return list(reversed(self._lines.values()))

    @property
    def _tasks(self) -> Sequence[asyncio.Task[None]]:
        """All that is on the wire."""
        return [task for line in self._lines.values() for task in line.tasks]

    def _forget(self) -> None:
        """Make room for one call more."""
        spare = len(self._lines) + 1 - self._kept_calls_max
        for line in [line for line in self._lines.values() if not line.is_at_work][: max(0, spare)]:
            del self._lines[line.sid]

    # --- The wire ----------------------------------------------------------------------------------------------------

    def client(self, connector: PayConnector) -> ContractClient:
        """Return the client of a connector, as the exchange's own switches have it."""
        client = self._clients.get(connector.unique_name)
        if client is None:
            client = self._clients[connector.unique_name] = self.new_client(connector, self.switches)
        return client

    def new_client(self, connector: PayConnector, switches: Switches) -> ContractClient:
        """Return a client of a connector, which whoever asked for it closes."""
        return ContractClient(connector, switches, heard=self._heard, ids=self._numbers)

    def close_soon(self, client: ContractClient) -> None:
        """Close a client that nobody needs any more."""
        task = asyncio.get_running_loop().create_task(client.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _heard(self, delivery: Delivery) -> None:
        kind, fields = _told(delivery)
        self.timeline.tell(_ON.get(), kind, **fields)

    # --- The end -----------------------------------------------------------------------------------------------------

    async def aclose(self, *, grace_s: float = GRACE_S) -> None:
        """Hang up every call, let the last callbacks go out, and end everything. No call can be placed any more."""
        if self._is_closed:
            return
        self._is_closed = True
        for line in self.lines:
            line.hang_up()
        deadline = asyncio.get_running_loop().time() + grace_s
        # An answer may bring one more callback: so until there is none.
        while tasks := self._tasks:
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0:
                break
            await asyncio.wait(tasks, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        late = self._tasks
        for task in late:
            task.cancel()
        clients = [*self._clients.values(), *(client for line in self.lines for client in line.clients)]
        closing = [client.aclose() for client in clients]
        await asyncio.gather(*late, *closing, *self._closing, return_exceptions=True)
        for line in self.lines:
            line.stop()
        await self.callbacks.aclose()
        self.timeline.close()


class Line:
    """One call, and what hangs on it. Made by the exchange."""

    def __init__(
        self, exchange: Exchange, dialled: Dialled, call_type: type[Call], seconds_per_character: float
    ) -> None:
        self.sid = new_sid("CA")
        self.dialled = replace(dialled, send_digits="")
        self.created_at_s = self.updated_at_s = exchange.clock.now_s()
        self.started_at_s: float | None = None
        self.ended_at_s: float | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        self._exchange = exchange
        self._timeline = exchange.timeline
        self._clock = exchange.clock
        self._switches = dialled.switches or exchange.switches
        self._connectors = dict(exchange.connectors)
        if dialled.connector is not None:
            self._connectors[DEFAULT_NAME] = self._connectors[dialled.connector]
        self.call = call_type(
            account_sid=exchange.account_sid,
            sid=self.sid,
            from_=dialled.from_,
            to=dialled.to,
            switches=self._switches,
            connectors=self._connectors,
            new_transaction_id=new_transaction_id,
            direction=dialled.direction,
            seconds_per_character=seconds_per_character,
        )
        self.payments = Payments(
            account_sid=exchange.account_sid,
            call_sid=self.sid,
            switches=self._switches,
            connectors=self._connectors,
            new_sid=lambda: new_sid("PK"),
            new_transaction_id=new_transaction_id,
        )
        self._clients: dict[str, ContractClient] = {}
        """Of this call alone, where it has switches of its own."""
        self._alarm: Alarm | None = None
        self._digits = dialled.send_digits
        self._silent_until_s: float | None = None
        self._verb: str | None = None
        self._awaited: set[int] = set()
        """The tickets of what the call waits for on the wire."""
        self._document_url: str | None = None
        self._last_report: asyncio.Task[None] | None = None
        self._failed_status: str | None = None
        """What the status is since the simulator failed in this call."""

    @property
    def status(self) -> str:
        """Twilio's word for where the call is."""
        return self._failed_status or self.call.status.value

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.ended_at_s is not None

    @property
    def duration_s(self) -> int | None:
        """How long it took, in whole seconds; None before it has ended."""
        if self.started_at_s is None or self.ended_at_s is None:
            return None
        return round(self.ended_at_s - self.started_at_s)

    @property
    def is_at_work(self) -> bool:
        """Whether it is on, or something of it is still on the wire."""
        return not self.is_over or bool(self.tasks)

    @property
    def clients(self) -> Iterable[ContractClient]:
        """The clients that are this call's own."""
        return self._clients.values()

    # --- What happens to it ------------------------------------------------------------------------------------------

    def ring(self) -> None:
        """Tell that it is queued, and begin soon."""
        self._tell_call("queued")
        self._report_call("initiated")
        self._alarm = self._clock.at(self.created_at_s, self._begin)

    def _begin(self) -> None:
        with self._guarded():
            self.started_at_s = self._clock.now_s()
            dialled = self.dialled
            effects = self.call.begin(self.started_at_s, url=dialled.url, method=dialled.method, twiml=dialled.twiml)
            self._tell_call("in-progress")  # its own status may be further on
            self._report_call("ringing")
            self._report_call("answered")
            if dialled.twiml is not None:
                self._tell_document(None, dialled.twiml, effects)
            self._do(effects)

    def press(self, keys: str) -> None:
        """The caller presses these keys, one after the other."""
        for key in keys:
            with self._guarded():
                self._press(key)

    def _press(self, key: str) -> None:
        if self.payments.wants_keys:
            self._do_of_payments(self.payments.press(key, self._clock.now_s()))
        else:
            self._do(self.call.press(key, self._clock.now_s()))

    def hang_up(self) -> None:
        """The caller hangs up, or the application ends the call."""
        with self._guarded():
            self._do(self.call.hang_up(self._clock.now_s()))

    def redirect(self, *, url: str | None = None, method: str = "POST", twiml: str | None = None) -> None:
        """The application has it run something else. Raises `NotInProgressError`."""
        if self.is_over or self.started_at_s is None:
            raise NotInProgressError
        with self._guarded():
            effects = self.call.redirect(self._clock.now_s(), url=url, method=method, twiml=twiml)
            if twiml is not None:
                self._document_url = None
                self._tell_document(None, twiml, effects)
            self._do(effects)

    def start_payment(self, form: Form) -> Answer:
        """Start a payment: what the Payments API answers."""
        is_on = not self.is_over and self.started_at_s is not None
        is_pay_on = self._verb == "Pay"
        return self._answered(lambda now_s: self.payments.create(form, now_s, is_call_on=is_on, is_pay_on=is_pay_on))

    def update_payment(self, sid: str, form: Form) -> Answer:
        """Update a payment: what the Payments API answers."""
        return self._answered(lambda now_s: self.payments.update(sid, form, now_s))

    def _answered(self, ask: Callable[[float], Answer]) -> Answer:
        answer = Answer(500, ApiError(500, INTERNAL_ERROR, "The simulator failed: its timeline says where.").body)
        with self._guarded():
            answer = ask(self._clock.now_s())
            self._do_of_payments(answer.effects)
        return answer

    def stop(self) -> None:
        """Let the alarm be."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    # --- Effects -----------------------------------------------------------------------------------------------------

    def _do_of_payments(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Reports):
                self._tell("payment", sid=effect.fields.get("Sid", ""), fields=effect.fields)
            self._do_one(effect, self.payments)

    def _do(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            self._do_one(effect, self.call)

    def _do_one(self, effect: Effect, machine: Call | Payments) -> None:
        self.updated_at_s = self._clock.now_s()
        match effect:
            case Executes():
                self._verb = effect.verb
                self._tell("verb", verb=effect.verb, index=effect.index)
            case Speaks() | Plays() | Hears() | Warns():
                kind, fields = _seen(effect)
                self._tell(kind, **fields)
            case Fetches():
                self._verb = None
                if effect.why == "action":
                    self._tell("result", fields=effect.fields)
                self._awaited.add(effect.ticket)
                self._spawn(self._fetch(effect, self.call.fields()))
            case Reports():
                self._report(effect)
            case Transacts():
                self._awaited.add(effect.ticket)
                self._spawn(self._transact(effect, machine))
            case Ends():
                self._end()
            case _:
                assert_never(effect)

    async def _fetch(self, effect: Fetches, fields: Mapping[str, str]) -> None:
        document = await self._exchange.callbacks.fetch(effect, fields)
        self._awaited.discard(effect.ticket)
        effects = self.call.fetched(effect.ticket, document, self._clock.now_s())
        if effects and isinstance(document, Document):
            self._document_url = document.url
            self._tell_document(document.url, document.text, effects)
        self._do(effects)

    async def _transact(self, effect: Transacts, machine: Call | Payments) -> None:
        settlement = await self._client(effect.order.connector).send(effect.order)
        self._awaited.discard(effect.ticket)
        effects = machine.settled(effect.ticket, settlement, self._clock.now_s())
        if machine is self.payments:
            self._do_of_payments(effects)
        else:
            self._do(effects)

    def _client(self, name: str) -> ContractClient:
        connector = self._connectors[name]
        if self._switches == self._exchange.switches:
            return self._exchange.client(connector)
        if name not in self._clients:
            self._clients[name] = self._exchange.new_client(connector, self._switches)
        return self._clients[name]

    def _report(self, effect: Reports) -> None:
        """Make a status callback, after those that were made before: an application sees them in order.

        A relative URL is below the current document's, where there is one.
        """
        url = effect.url if self._document_url is None else urljoin(self._document_url, effect.url)
        report = self._report_after(self._last_report, Reports(url, effect.method, effect.fields, effect.why))
        self._last_report = self._spawn(report)

    async def _report_after(self, earlier: asyncio.Task[None] | None, effect: Reports) -> None:
        if earlier is not None and not earlier.done():
            await asyncio.wait({earlier})
        await self._exchange.callbacks.report(effect)

    def _report_call(self, event: str) -> None:
        """Tell the call's own status callback, if it wants to know of that."""
        dialled = self.dialled
        if dialled.status_callback is None or event not in dialled.status_callback_events:
            return
        words = {"initiated": "initiated", "ringing": "ringing", "answered": "in-progress"}
        now = datetime.fromtimestamp(self._clock.now_s(), UTC)
        fields = {
            **self.call.fields(),
            "CallStatus": words.get(event, self.status),
            "CallbackSource": "call-progress-events",
            "SequenceNumber": str(CALL_EVENTS.index(event)),
            "Timestamp": format_datetime(now),
        }
        if self.duration_s is not None:
            fields["CallDuration"] = str(self.duration_s)
        self._report(Reports(dialled.status_callback, dialled.status_callback_method, fields, f"call {event}"))

    def _end(self) -> None:
        """The call is over: for its payments, for who watches, for the application. Once."""
        if self.ended_at_s is not None:
            return
        self.ended_at_s = self.updated_at_s = self._clock.now_s()
        self._digits, self._silent_until_s = "", None
        try:
            self._do_of_payments(self.payments.hung_up(self.ended_at_s))
        finally:
            self._tell("ended", status=self.status)
            self._report_call("completed")

    # --- Time --------------------------------------------------------------------------------------------------------

    def _set_alarm(self) -> None:
        if self.started_at_s is None and not self.is_over:
            return  # it is set to begin
        self.stop()
        wakes = (self.call.wake_at_s, self.payments.wake_at_s, self._silent_until_s)
        wake_at_s = min((at_s for at_s in wakes if at_s is not None), default=None)
        if wake_at_s is not None:
            self._alarm = self._clock.at(wake_at_s, self._wake)

    def _wake(self) -> None:
        with self._guarded():
            now_s = self._clock.now_s()
            if self._silent_until_s is not None and now_s >= self._silent_until_s:
                self._silent_until_s = None
            self._do_of_payments(self.payments.passed(now_s))
            self._do(self.call.passed(now_s))

    def _send_digits(self) -> None:
        """Key what is left of SendDigits, as far as the call listens now."""
        while self._digits and self.started_at_s is not None and not self._awaited and self._silent_until_s is None:
            digit, self._digits = self._digits[0], self._digits[1:]
            if digit in PAUSES_S:
                self._silent_until_s = self._clock.now_s() + PAUSES_S[digit]
            else:
                self._press(digit)

    # --- Tasks, and what goes wrong ----------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._working(work))
        self.tasks.add(task)
        task.add_done_callback(self._worked)
        return task

    async def _working(self, work: Coroutine[Any, Any, None]) -> None:
        _ON.set(self.sid)
        with self._guarded():
            await work

    def _worked(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not self.is_at_work:
            clients, self._clients = self._clients, {}
            for client in clients.values():
                self._exchange.close_soon(client)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Something happens to the call. Afterwards it goes on, or, where the code failed, ends."""
        try:
            yield
            self._send_digits()
            self._set_alarm()
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends this call and no other
            self._break(error)

    def _break(self, error: Exception) -> None:
        """End the call as failed."""
        self.stop()
        if self._failed_status is not None:
            return  # what fails in a call that has failed is no news
        self._failed_status = self.status if self.is_over else "failed"
        self._tell("warning", code=None, text=f"The simulator failed in this call: {apology(error)}")
        # What is left of the machines may fail again; the call is over all the same.
        with contextlib.suppress(Exception):
            self._do(self.call.hang_up(self._clock.now_s()))
        with contextlib.suppress(Exception):
            self._end()
        self.stop()

    # --- The timeline ------------------------------------------------------------------------------------------------

    def _tell(self, kind: str, **fields: object) -> None:
        self._timeline.tell(self.sid, kind, **fields)

    def _tell_call(self, status: str) -> None:
        self._tell("call", status=status, **{"from": self.dialled.from_, "to": self.dialled.to})

    def _tell_document(self, url: str | None, text: str, effects: Sequence[Effect]) -> None:
        """Tell of a document, and of its verbs if it could be read."""
        verbs: Sequence[Mapping[str, object]] = ()
        if any(isinstance(effect, Executes) for effect in effects):
            named = zip(self.call.document_verbs, self.call.document_lines, strict=True)
            verbs = [{"name": name, "index": index, "line": line} for index, (name, line) in enumerate(named)]
        self._tell("document", url=url, twiml=text, verbs=verbs)


def _seen(effect: Speaks | Plays | Hears | Warns) -> tuple[str, Mapping[str, object]]:
    """Return kind and fields of the event that an effect is which asks for nothing."""
    match effect:
        case Speaks():
            how = {"language": effect.language, "voice": effect.voice, "step": effect.step}
            return "speaks", {"text": effect.text, **how}
        case Plays():
            return "plays", {"url": effect.url, "digits": effect.digits, "step": effect.step}
        case Hears():
            return "hears", {"shown": effect.shown, "step": effect.step}
        case Warns():
            return "warning", {"code": effect.code, "text": effect.text}
        case _:
            assert_never(effect)


def _told(delivery: Delivery) -> tuple[str, Mapping[str, object]]:
    """Return kind and fields of the event that a delivery is."""
    common = {"exchange": delivery.id, "to": delivery.to, "attempt": delivery.attempt}
    if delivery.milliseconds is None:
        asked = {"why": delivery.why, "method": delivery.method, "url": delivery.url, "body": delivery.request}
        return "request", {**common, **asked}
    came = {"status": delivery.status, "failure": delivery.failure, "ms": round(delivery.milliseconds, 1)}
    return "response", {**common, **came, "body": delivery.reply, "is_last": delivery.is_last}
