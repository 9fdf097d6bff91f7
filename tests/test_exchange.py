"""The exchange: calls driven by keys, time and answers; and the timeline, through which all of it is seen."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

from desks import CODE, EXPIRY, POSTAL_CODE, TOKEN, Asked, Server, Tls, application, connector, endpoint, make_tls
from generic_connector.twilio.call import Call
from generic_connector.twilio.configuration import ACCOUNT_SID
from generic_connector.twilio.effects import Effect
from generic_connector.twilio.exchange import (
    Dialled,
    Exchange,
    Line,
    LoopClock,
    NoSuchCallError,
    NotInProgressError,
    TooManyCallsError,
    new_sid,
    new_transaction_id,
)
from generic_connector.twilio.switches import Switches
from generic_connector.twilio.timeline import Event, Timeline

FROM, TO = "+14155550100", "+14155550199"
VISA = "4111111111111111"
CARD_KEYS = f"{VISA}{EXPIRY}{POSTAL_CODE}#{CODE}"
WAITS = '<Response><Pause length="600"/></Response>'
OPENING = {"IdempotencyKey": "k", "StatusCallback": "/status"}

_T = TypeVar("_T")


@dataclass
class HandAlarm:
    at_s: float
    do: Callable[[], None]
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True


@dataclass
class HandClock:
    """A clock that stands where it is put."""

    time_s: float = 1_795_000_000.0
    alarms: list[HandAlarm] = field(default_factory=list)

    def now_s(self) -> float:
        return self.time_s

    def at(self, at_s: float, do: Callable[[], None]) -> HandAlarm:
        alarm = HandAlarm(at_s, do)
        self.alarms.append(alarm)
        return alarm

    @property
    def pending(self) -> Sequence[HandAlarm]:
        self.alarms = [alarm for alarm in self.alarms if not alarm.is_cancelled]
        return self.alarms

    def forward(self, seconds: float = 0.0) -> None:
        """Let so much time pass, with every alarm in it."""
        until_s = self.time_s + seconds
        while due := sorted((one for one in self.pending if one.at_s <= until_s), key=lambda one: one.at_s):
            self.alarms.remove(due[0])
            self.time_s = max(self.time_s, due[0].at_s)
            due[0].do()
        self.time_s = until_s


@dataclass
class Bench:
    """An exchange with a clock to turn."""

    exchange: Exchange
    clock: HandClock

    def dial(self, twiml: str | None = WAITS, **how: object) -> Line:
        """Place a call, which begins at once."""
        line = self.exchange.dial(Dialled(from_=FROM, to=TO, twiml=twiml, **how))  # type: ignore[arg-type]  # a Dialled's
        self.clock.forward()
        return line

    def events(self, line: Line, kind: str | None = None) -> Sequence[Mapping[str, object]]:
        found = [json.loads(event.data) for event in self.exchange.timeline.since() if event.call == line.sid]
        return [event for event in found if kind in {None, event["kind"]}]

    async def settle(self, line: Line) -> None:
        """Wait until nothing of a call is on the wire."""
        while line.tasks:
            await asyncio.wait(line.tasks)


@contextlib.asynccontextmanager
async def exchange_of(*urls: str, ca_file: str | None = None, **how: object) -> AsyncIterator[Bench]:
    """Run an exchange, whose connectors `Default`, `Second` have these endpoints."""
    clock = HandClock()
    named = zip(("Default", "Second"), urls, strict=False)
    made = Exchange(
        ACCOUNT_SID,
        TOKEN,
        {name: connector(url, name) for name, url in named},
        Switches(),
        Timeline(now_s=clock.now_s),
        ca_file=ca_file,
        clock=clock,
        **how,  # type: ignore[arg-type]  # an Exchange's
    )
    try:
        yield Bench(made, clock)
    finally:
        await made.aclose()


def run(what: Callable[[], Awaitable[_T]]) -> _T:
    """Run a test's own coroutine, for some seconds at most."""

    async def bounded() -> _T:
        async with asyncio.timeout(20):
            return await what()

    return asyncio.run(bounded())


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """What the application is served with."""
    return make_tls(tmp_path_factory.mktemp("tls"))


DOCUMENTS: Mapping[str, str] = {
    "/pay": '<Response><Pay chargeAmount="10.00" action="/paid" timeout="7"/></Response>',
    "/waits": WAITS,
}


@pytest.fixture(scope="module")
def app(tls: Tls) -> Iterator[Server]:
    """An application that answers documents, and nothing to what it does not know."""
    with application(lambda asked: (200, "text/xml", DOCUMENTS.get(asked.path, "<Response/>")), tls) as made:
        yield made


@pytest.fixture(scope="module")
def pays() -> Iterator[Server]:
    """An endpoint that approves everything."""
    with endpoint() as made:
        yield made


# --- Time ------------------------------------------------------------------------------------------------------------


def test_a_call_is_woken_by_one_alarm_and_not_before() -> None:
    """A Pause of five seconds: one alarm waits, nothing comes at 4.9, the next verb at 5, and no alarm is left over."""

    async def scene() -> None:
        async with exchange_of() as bench:
            line = bench.dial('<Response><Pause length="5"/><Say>Now.</Say></Response>')
            assert 1 == len(bench.clock.pending)
            bench.clock.forward(4.9)
            assert [] == bench.events(line, "speaks")
            bench.clock.forward(0.1)
            assert ["Now."] == [event["text"] for event in bench.events(line, "speaks")]
            assert ("completed", 5) == (line.status, line.duration_s)
            assert [] == bench.clock.pending

    run(scene)


def test_the_loop_s_own_clock_wakes_calls() -> None:
    """In real time, on the event loop: a second's Pause ends by itself."""

    async def scene() -> str:
        timeline, clock = Timeline(), LoopClock()
        exchange = Exchange(ACCOUNT_SID, TOKEN, {}, Switches(), timeline, clock=clock)
        line = exchange.dial(Dialled(from_=FROM, to=TO, twiml='<Response><Pause length="1"/></Response>'))
        async for event in timeline.follow():
            if event is not None and event.kind == "ended":
                break
        await exchange.aclose()
        return line.status

    assert "completed" == run(scene)


def test_send_digits_are_keyed_with_their_silences() -> None:
    """Keys at once, `w` after half a second, `W` after a second."""

    async def scene() -> None:
        async with exchange_of() as bench:
            gather = '<Response><Gather timeout="60" finishOnKey=""/></Response>'
            line = bench.dial(gather, send_digits="1w2W3")
            heard = [len(bench.events(line, "hears"))]
            for seconds in (0.4, 0.1, 0.9, 0.1):
                bench.clock.forward(seconds)
                heard.append(len(bench.events(line, "hears")))
            assert [1, 1, 2, 2, 3] == heard

    run(scene)


def test_send_digits_wait_for_the_document(app: Server, pays: Server, tls: Tls) -> None:
    """Keys that were sent before the application answered are not lost: they pay."""

    async def scene() -> None:
        async with exchange_of(pays.url, ca_file=tls.ca_file) as bench:
            line = bench.dial(None, url=f"{app.url}/pay", send_digits=CARD_KEYS)
            assert [] == bench.events(line, "hears")
            await bench.settle(line)
            (result,) = bench.events(line, "result")
            assert "success" == result["fields"]["Result"]  # type: ignore[index]  # JSON

    run(scene)


def test_send_digits_are_nowhere_to_be_seen() -> None:
    """They may be a card number: not in a repr, and not with the call once they are keyed."""

    async def scene() -> None:
        async with exchange_of() as bench:
            dialled = Dialled(from_=FROM, to=TO, twiml=WAITS, send_digits=VISA)
            line = bench.exchange.dial(dialled)
            bench.clock.forward()
            line.hang_up()
            assert VISA not in repr(dialled)
            assert VISA not in repr((line, vars(line), line.dialled.send_digits))
            assert 16 == len(bench.events(line, "hears"))

    run(scene)


def test_a_short_call_is_seen_to_begin_and_to_end() -> None:
    """Though nothing in it takes any time: queued, in progress, its document, its end."""

    async def scene() -> None:
        async with exchange_of() as bench:
            told = bench.events(bench.dial("<Response><Hangup/></Response>"))
            statuses = [(event["kind"], event.get("status")) for event in told]
            assert [
                ("call", "queued"),
                ("call", "in-progress"),
                ("document", None),
                ("verb", None),
                ("ended", "completed"),
            ] == statuses

    run(scene)


# --- Where keys go ---------------------------------------------------------------------------------------------------


def test_keys_go_to_the_agent_s_payment_while_it_wants_them(app: Server, pays: Server, tls: Tls) -> None:
    """Before a capture and after it the Gather hears them."""

    async def scene() -> None:
        async with exchange_of(pays.url, ca_file=tls.ca_file, base_url=app.url) as bench:
            line = bench.dial('<Response><Gather timeout="60" numDigits="9"/></Response>')
            line.press("1")
            started = line.start_payment(OPENING)
            line.press("2")
            line.update_payment(str(started.body["sid"]), {**OPENING, "Capture": "expiration-date"})
            line.press(EXPIRY)
            line.press("3")
            steps = [event["step"] for event in bench.events(line, "hears")]
            assert (201, [None, None, *["expiration-date"] * 4, None]) == (started.status, steps)

    run(scene)


def test_a_payment_is_not_started_while_a_pay_runs(app: Server, pays: Server, tls: Tls) -> None:
    """Nor before the call is on, nor when it is over."""

    async def scene() -> None:
        async with exchange_of(pays.url, ca_file=tls.ca_file, base_url=app.url) as bench:
            line = bench.exchange.dial(Dialled(from_=FROM, to=TO, url=f"{app.url}/pay"))
            statuses = [line.start_payment(OPENING).body.get("code")]
            bench.clock.forward()
            await bench.settle(line)
            statuses.append(line.start_payment(OPENING).body.get("code"))
            line.redirect(twiml=WAITS)
            statuses.append(line.start_payment(OPENING).body.get("code"))
            line.hang_up()
            statuses.append(line.start_payment({**OPENING, "IdempotencyKey": "other"}).body.get("code"))
            assert [64021, 64021, None, 64021] == statuses

    run(scene)


# --- The wire --------------------------------------------------------------------------------------------------------


def test_status_callbacks_come_in_order(pays: Server) -> None:
    """Also where the application takes its time for the first: each waits for the one before."""
    others = threading.Event()
    seen: list[str] = []

    def answers(asked: Asked) -> tuple[int, str, str]:
        is_first = "DateUpdated" not in asked.form
        if is_first:
            others.wait(0.3)
        else:
            others.set()
        seen.append(asked.form.get("ExpirationDate", ""))
        return 200, "text/plain", ""

    async def scene(slow: Server) -> None:
        async with exchange_of(pays.url, base_url=slow.url) as bench:
            line = bench.dial()
            sid = str(line.start_payment(OPENING).body["sid"])
            line.update_payment(sid, {**OPENING, "Capture": "expiration-date"})
            line.press(EXPIRY)
            await bench.settle(line)

    with application(answers, None) as slow:
        run(lambda: scene(slow))
    assert ["", "", "x", "xx", "xxx", EXPIRY] == seen[:-1]  # and one more, for the hang-up at the end


def test_a_relative_callback_is_below_the_document(app: Server, pays: Server, tls: Tls) -> None:
    """`StatusCallback=/status` goes to the host that the call's TwiML came from."""

    async def scene() -> str:
        async with exchange_of(pays.url, ca_file=tls.ca_file, base_url="https://elsewhere.invalid") as bench:
            line = bench.dial(None, url=f"{app.url}/waits")
            await bench.settle(line)
            line.start_payment({**OPENING, "StatusCallback": "/agent"})
            await bench.settle(line)
            return line.sid

    sid = run(scene)
    asked = app.wait(lambda asked: asked.form.get("CallSid") == sid and "DateCreated" in asked.form)
    assert f"{app.url}/agent" == asked.url


def test_a_call_has_switches_and_a_connector_of_its_own(app: Server, tls: Tls) -> None:
    """They reach the endpoint of that call, and no other call's."""

    async def scene(urls: Sequence[str]) -> None:
        async with exchange_of(*urls, ca_file=tls.ca_file) as bench:
            for how in ({}, {"switches": Switches(user_agent="Mine/1"), "connector": "Second"}):
                line = bench.dial(None, url=f"{app.url}/pay", send_digits=CARD_KEYS, **how)
                await bench.settle(line)
                assert [] == list(line.clients)

    with endpoint() as first, endpoint() as second:
        run(lambda: scene([first.url, second.url]))
        agents = [[asked.headers["User-Agent"] for asked in server.asked] for server in (first, second)]
    assert [["AHC/2.1"], ["Mine/1"]] == agents


def test_what_the_connector_answers_after_a_hang_up_is_told(app: Server, tls: Tls) -> None:
    """The money may have moved: the action hears of it, and until then the call is at work."""
    is_asked, may_answer = threading.Event(), threading.Event()

    def slowly(asked: Asked) -> tuple[int, str, str]:
        is_asked.set()
        may_answer.wait(10)
        return 200, "application/json", json.dumps({"charge_id": "ch_late", "error_code": None, "n": len(asked.body)})

    async def scene(url: str) -> None:
        async with exchange_of(url, ca_file=tls.ca_file) as bench:
            line = bench.dial(None, url=f"{app.url}/pay", send_digits=CARD_KEYS)
            await asyncio.to_thread(is_asked.wait, 10)
            line.hang_up()
            assert (True, True) == (line.is_over, line.is_at_work)
            may_answer.set()
            await bench.settle(line)
            (result,) = bench.events(line, "result")
            assert "ch_late" == result["fields"]["PaymentConfirmationCode"]  # type: ignore[index]  # JSON
            assert not line.is_at_work

    with endpoint(slowly) as slow:
        run(lambda: scene(slow.url))


# --- What goes wrong -------------------------------------------------------------------------------------------------


class Falls(Call):
    """A call whose code has a mistake, which names what it should not."""

    def press(self, key: str, now_s: float) -> Sequence[Effect]:
        if key == "*":
            raise RuntimeError(f"no such key: {VISA}")
        return super().press(key, now_s)


def test_a_mistake_in_one_call_ends_that_call_alone(app: Server, pays: Server, tls: Tls) -> None:
    """It is `failed`, with a warning that names place and type and nothing else; its payment has its last callback."""

    async def scene() -> None:
        async with exchange_of(pays.url, ca_file=tls.ca_file, base_url=app.url, call_type=Falls) as bench:
            line, other = bench.dial(), bench.dial()
            line.start_payment(OPENING)
            line.press("*")
            other.press("1")
            (warning,) = bench.events(line, "warning")
            assert "RuntimeError at test_exchange.py" in str(warning["text"])
            assert VISA not in str(warning)
            assert (["failed"], "failed") == ([event["status"] for event in bench.events(line, "ended")], line.status)
            last = bench.events(line, "payment")[-1]
            assert "caller-hung-up" == last["fields"]["Result"]  # type: ignore[index]  # JSON
            assert ("in-progress", []) == (other.status, bench.events(other, "warning"))
            assert "in-progress" == bench.dial().status

    run(scene)


def test_there_are_only_so_many_calls() -> None:
    """A call too many is refused, until one ends; of those that are over the oldest is forgotten first."""

    async def scene() -> None:
        async with exchange_of(live_calls_max=2, kept_calls_max=3) as bench:
            first, second = bench.dial(), bench.dial()
            with pytest.raises(TooManyCallsError):
                bench.dial()
            second.hang_up()
            third = bench.dial()
            third.hang_up()
            fourth = bench.dial()
            assert [fourth, third, first] == bench.exchange.lines
            assert first is bench.exchange.line(first.sid)
            with pytest.raises(NoSuchCallError):
                bench.exchange.line(second.sid)

    run(scene)


def test_the_end_waits_for_the_callback_that_an_answer_brings(app: Server, tls: Tls) -> None:
    """The connector is being asked when it all ends: its answer is still told."""
    is_asked, may_answer = threading.Event(), threading.Event()

    def slowly(_asked: Asked) -> tuple[int, str, str]:
        is_asked.set()
        may_answer.wait(10)
        return 200, "application/json", '{"charge_id": "ch_at_the_end", "error_code": null}'

    async def scene(url: str) -> str:
        async with exchange_of(url, ca_file=tls.ca_file) as bench:
            line = bench.dial(None, url=f"{app.url}/pay", send_digits=CARD_KEYS)
            await asyncio.to_thread(is_asked.wait, 10)
            end = asyncio.create_task(bench.exchange.aclose(grace_s=10))
            await asyncio.sleep(0)
            may_answer.set()
            await end
            return line.sid

    with endpoint(slowly) as slow:
        sid = run(lambda: scene(slow.url))
    told = app.wait(lambda asked: asked.form.get("CallSid") == sid and asked.path == "/paid").form
    assert "ch_at_the_end" == told["PaymentConfirmationCode"]


def test_the_end_does_not_wait_for_ever(app: Server, tls: Tls) -> None:
    """An endpoint that says nothing is left after the grace, and nothing runs on."""
    is_asked, may_answer = threading.Event(), threading.Event()

    def slowly(_asked: Asked) -> tuple[int, str, str]:
        is_asked.set()
        may_answer.wait(10)
        return 200, "application/json", "{}"

    async def scene(url: str) -> None:
        async with exchange_of(url, ca_file=tls.ca_file) as bench:
            bench.dial(None, url=f"{app.url}/pay", send_digits=CARD_KEYS)
            await asyncio.to_thread(is_asked.wait, 10)
            await bench.exchange.aclose(grace_s=0.05)
            assert {asyncio.current_task()} == asyncio.all_tasks()

    with endpoint(slowly) as slow:
        run(lambda: scene(slow.url))
        may_answer.set()


def test_only_a_call_in_progress_is_redirected() -> None:
    """Neither a queued one nor one that is over."""

    async def scene() -> None:
        async with exchange_of() as bench:
            line = bench.exchange.dial(Dialled(from_=FROM, to=TO, twiml=WAITS))
            with pytest.raises(NotInProgressError):
                line.redirect(twiml=WAITS)
            line.hang_up()
            assert "canceled" == line.status
            bench.clock.forward()
            assert ("canceled", []) == (line.status, bench.events(line, "document"))
            with pytest.raises(NotInProgressError):
                line.redirect(twiml=WAITS)

    run(scene)


def test_the_end_leaves_nothing_behind(app: Server, pays: Server, tls: Tls) -> None:
    """Calls are hung up, their actions told; nothing runs on, who follows is let go, and no call can be placed."""

    async def scene() -> str:
        async with exchange_of(pays.url, ca_file=tls.ca_file) as bench:
            line, queued = (
                bench.dial(None, url=f"{app.url}/pay"),
                bench.exchange.dial(Dialled(from_=FROM, to=TO, twiml=WAITS)),
            )
            await bench.settle(line)
            follower = asyncio.create_task(_all(bench.exchange.timeline))
            await bench.exchange.aclose()
            assert "ended" in [event.kind for event in await follower]
            assert ("completed", "canceled", set()) == (line.status, queued.status, line.tasks)
            assert {asyncio.current_task()} == asyncio.all_tasks()
            with pytest.raises(TooManyCallsError):
                bench.dial()
            return line.sid

    sid = run(scene)
    action = app.wait(lambda asked: asked.form.get("CallSid") == sid and asked.path == "/paid")
    assert "caller-hung-up" == action.form["Result"]


def test_ids_look_like_no_card_number() -> None:
    """SIDs have Twilio's form and no digits; a transaction id is a UUID of version 4."""
    sid = new_sid("CA")
    assert (34, "CA", True) == (len(sid), sid[:2], sid[2:].isalpha())
    assert "4" == new_transaction_id().split("-")[2][0]


# --- The timeline ----------------------------------------------------------------------------------------------------


async def _all(timeline: Timeline) -> Sequence[Event]:
    return [event async for event in timeline.follow() if event is not None]


def test_every_text_of_an_event_is_scrubbed() -> None:
    """Wherever it is: in a field, deep in a list, as a name. Other numbers stay."""
    timeline = Timeline()
    odd = {
        "fields": {"a": [{"b": f"card {VISA}"}], VISA: "name"},
        "text": "4111 1111 1111 1111",
        "order": "123456789012",
    }
    event = timeline.tell(VISA, "odd", **odd)
    shown = json.loads(event.data)

    assert "1111111" not in event.data.replace(" ", "")
    assert VISA not in event.call
    assert "************1111" in shown["fields"]
    assert "123456789012" == shown["order"]


def test_what_json_does_not_know_is_named_and_not_shown() -> None:
    """A careless field tells its type, at most."""
    event = Timeline().tell("CA", "odd", secret=b"4111", deep=[[[[[[[[[[1]]]]]]]]]])
    assert "bytes" == json.loads(event.data)["secret"]


def test_the_log_is_bounded_by_number_and_by_text() -> None:
    """The oldest events go; the newest stays, however long it is, and a text is cut."""
    few, short = Timeline(events_max=3), Timeline(chars_max=1_000)
    for number in range(10):
        few.tell("CA", "n", number=number)
        short.tell("CA", "n", text="x" * 400)
    assert [8, 9, 10] == [event.id for event in few.since()]
    assert 2 == len(short.since())
    assert [11] == [event.id for event in [short.tell("CA", "n", text="x" * 5_000)] and short.since()]
    assert len(Timeline().tell("CA", "n", text="x" * 200_000).data) < 110_000


@pytest.mark.parametrize(("after", "seen"), [(0, [3, 4, 5]), (2, [3, 4, 5]), (3, [4, 5]), (5, []), (9, [])], ids=str)
def test_who_comes_back_gets_what_is_kept_after_his_place(after: int, seen: Sequence[int]) -> None:
    """What has gone is missed, and nothing comes twice."""
    timeline = Timeline(events_max=3)
    for _ in range(5):
        timeline.tell("CA", "n")
    assert (seen, 5) == ([event.id for event in timeline.since(after)], timeline.last_id)


def test_a_place_of_another_boot_is_the_beginning() -> None:
    """So is what is no place at all."""
    timeline, other = Timeline(), Timeline()
    event = timeline.tell("CA", "n")

    assert 1 == timeline.resumed(timeline.wire_id(event))
    assert [0] * 4 == [timeline.resumed(odd) for odd in (None, "", "1", other.wire_id(event))]


def test_all_who_follow_see_everything_in_order() -> None:
    """Whether they came before it happened or after; once it is closed they are let go."""

    async def scene() -> Sequence[Sequence[int]]:
        timeline = Timeline()
        followers = [asyncio.create_task(_all(timeline)) for _ in range(3)]
        for _ in range(5):
            timeline.tell("CA", "n")
            await asyncio.sleep(0)
        followers.append(asyncio.create_task(_all(timeline)))
        await asyncio.sleep(0)
        timeline.tell("CA", "n")
        timeline.close()
        return [[event.id for event in seen] for seen in await asyncio.gather(*followers)]

    assert [[1, 2, 3, 4, 5, 6]] * 4 == run(scene)


def test_silence_is_told_to_who_is_patient_for_so_long() -> None:
    """Nothing comes as None, so that a server can see whether anybody is still there; then the next event."""

    async def scene() -> Sequence[int | None]:
        timeline = Timeline()
        seen: list[int | None] = []
        async with contextlib.aclosing(timeline.follow(patience_s=0.01)) as follow:
            async for event in follow:
                seen.append(None if event is None else event.id)
                if event is not None:
                    return seen
                timeline.tell("CA", "n")
        return seen

    assert [None, 1] == run(scene)


def test_the_hands_of_a_clock_are_the_tests_own() -> None:
    """A control: without being turned, the clock of these tests wakes nobody."""

    async def scene() -> str:
        async with exchange_of() as bench:
            line = bench.exchange.dial(Dialled(from_=FROM, to=TO, twiml="<Response/>"))
            await asyncio.sleep(0)
            return line.status

    assert "queued" == run(scene)
