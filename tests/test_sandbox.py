"""The sandbox: every path of design 4.4, on real SQLite files, with a clock that nobody waits for."""

import asyncio
import itertools
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generic_connector.bank import AccountNumber, BankAccount
from generic_connector.card import Card, Cvv, Expiry, Pan
from generic_connector.identifier import idempotency_key
from generic_connector.journal import Journal, read_only
from generic_connector.money import CURRENCIES, Money
from generic_connector.payment import (
    Approved,
    DeclineCode,
    Declined,
    Instrument,
    LookUpResult,
    NotFound,
    PurchaseResult,
    Unavailable,
    Unknown,
)
from generic_connector.ports import Processor, ProcessorContext, Purchase
from generic_connector.processors.contract_suite import ProcessorContract
from generic_connector.processors.sandbox import (
    HOLD_S,
    FaultKind,
    InvalidFaultError,
    SandboxProcessor,
    StatementLine,
    create,
    read_faults,
    statement,
)
from generic_connector.processors.sandbox.book import Book, Entry, migrations, open_book
from generic_connector.processors.sandbox.processor import VERIFICATIONS_REMEMBERED_MAX

PAN = "4111111111111111"
CVV = "737"
ACCOUNT = "123456789"
NOW_MS = 1_796_000_000_123
KEYS = itertools.count()


# --- Machinery -------------------------------------------------------------------------------------------------------


class Clock:
    """The sandbox's sleep: remembers what it was asked for. Passes at once, or stands until it is let go."""

    def __init__(self, *, stands: bool = False) -> None:
        self.asked: list[float] = []
        self._passes = asyncio.Event()
        if not stands:
            self._passes.set()

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self._passes.wait()

    def let_go(self) -> None:
        self._passes.set()


def card(cvv: str | None = CVV, postal_code: str | None = "94105") -> Card:
    """Return Twilio's Visa."""
    pan = Pan.parse(PAN)
    assert pan is not None
    return Card(pan, Expiry(2030, 1), None if cvv is None else Cvv.parse(cvv, None), postal_code)


def account() -> BankAccount:
    """Return Twilio's bank account."""
    number = AccountNumber.parse(ACCOUNT)
    assert number is not None
    return BankAccount("110000000", number, "94105")


def a_purchase(
    amount: str = "10.00",
    currency: str = "USD",
    *,
    key: str | None = None,
    instrument: Instrument | None = None,
    outcome: str | None = None,
    delay_ms: str | None = None,
    **controls: str,
) -> Purchase:
    """Return a purchase with a key of its own; `outcome` and `delay_ms` are its `sandbox_*` parameters."""
    money = Money.parse(amount, CURRENCIES[currency])
    assert money is not None
    number = next(KEYS)
    chosen = {"outcome": outcome, "delayms": delay_ms, **controls}
    return Purchase(
        idempotency_key=key or idempotency_key("tests", 1, str(number)),
        instance="Default",
        transaction_id=f"transaction-{number}",
        instrument=instrument or card(),
        money=money,
        metadata={"order": "the-merchants-own"},
        controls={name: value for name, value in chosen.items() if value is not None},
    )


def a_verification(
    *, instrument: Instrument | None = None, outcome: str | None = None, delay_ms: str | None = None
) -> Purchase:
    """Return a purchase without money, with a key of its own."""
    return replace(a_purchase(instrument=instrument, outcome=outcome, delay_ms=delay_ms), money=None)


def never(error: BaseException) -> NoReturn:
    """Stand for the end of the process, where no commit is to fail."""
    raise AssertionError("a commit failed") from error


def new_sandbox(home: Path, sleep: Clock | None = None, clock: Callable[[], int] = lambda: NOW_MS) -> SandboxProcessor:
    """Return a sandbox on the book of a home, old or new."""
    return SandboxProcessor(open_book(home / "sandbox.db", clock, never), sleep=sleep or Clock())


@asynccontextmanager
async def sandbox(home: Path, sleep: Clock | None = None) -> AsyncIterator[SandboxProcessor]:
    """Open a sandbox on the book of a home, and close it."""
    processor = new_sandbox(home, sleep)
    try:
        yield processor
    finally:
        await processor.close()


def captured(home: Path) -> list[StatementLine]:
    """The statement, read as a command beside the server reads it."""
    connection = read_only(home / "sandbox.db")
    try:
        return statement(connection)
    finally:
        connection.close()


def captured_keys(home: Path) -> list[str]:
    """The statement's keys, in its order."""
    return [line.idempotency_key for line in captured(home)]


async def turns(count: int = 20) -> None:
    """Let the loop go round: whatever can happen without time passing has happened then."""
    for _ in range(count):
        await asyncio.sleep(0)


async def started(send: Coroutine[Any, Any, PurchaseResult]) -> asyncio.Task[PurchaseResult]:
    """Return a send that has gone as far as it can."""
    task = asyncio.create_task(send)
    await turns()
    assert not task.done()
    return task


async def cancelled(task: asyncio.Task[PurchaseResult]) -> None:
    """Hang up."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()


# --- The contract ----------------------------------------------------------------------------------------------------


class TestContract(ProcessorContract):
    """The sandbox keeps the contract of all processors, counted in its own statement."""

    @pytest.fixture(autouse=True)
    def _home(self, tmp_path: Path) -> None:
        self.home = tmp_path

    def make_processor(self) -> Processor:
        return new_sandbox(self.home)

    def declined_purchase(self) -> Purchase:
        return a_purchase("2001.00")

    def captures(self, idempotency_key: str) -> int:
        return captured_keys(self.home).count(idempotency_key)

    def make_deaf_processor(self) -> Processor:
        processor = new_sandbox(self.home)
        processor.set_fault(FaultKind.DROP_AFTER_CAPTURE)
        return processor


class TestContractWithDelay(TestContract):
    """So it does where every send takes a while, and is a task of its own."""

    def make_processor(self) -> Processor:
        processor = new_sandbox(self.home)
        processor.set_fault(FaultKind.DELAY, "250")
        return processor


# --- Approvals -------------------------------------------------------------------------------------------------------


def test_an_approval_has_a_code_that_is_no_number(tmp_path: Path) -> None:
    """The authorization code is six upper-case letters and digits, never all digits; it follows from the key alone."""

    async def run() -> None:
        async with sandbox(tmp_path) as processor:
            results = [await processor.purchase(a_purchase()) for _ in range(200)]
        codes = [result.authorization_code for result in results if isinstance(result, Approved)]
        references = [result.processor_reference for result in results if isinstance(result, Approved)]

        assert len(set(codes)) == len(set(references)) == 200
        assert all(re.fullmatch(r"[A-Z][A-Z0-9]{5}", code or "") for code in codes)
        assert all(re.fullmatch(r"sb_[a-p]{20}", reference or "") for reference in references)

        (tmp_path / "other").mkdir()
        async with sandbox(tmp_path / "other") as processor:
            assert await processor.purchase(a_purchase(key="gc_same")) == await elsewhere("gc_same")

    async def elsewhere(key: str) -> PurchaseResult:
        (tmp_path / "elsewhere").mkdir()
        async with sandbox(tmp_path / "elsewhere") as processor:
            return await processor.purchase(a_purchase("99.00", key=key))

    asyncio.run(run())


@pytest.mark.parametrize(
    ("instrument", "avs", "cvv"),
    [
        (card(), "Y", "M"),
        (card(postal_code=None), None, "M"),
        (card(cvv=None), "Y", None),
        (card(None, None), None, None),
        (account(), None, None),
    ],
)
def test_what_was_sent_is_what_matches(
    tmp_path: Path, instrument: Instrument, avs: str | None, cvv: str | None
) -> None:
    """AVS is Y where a postal code was sent, CVV is M where a CVV was; a bank account has neither, and no code."""

    async def run() -> None:
        async with sandbox(tmp_path) as processor:
            for result in (
                await processor.purchase(a_purchase(instrument=instrument)),
                await processor.purchase(a_purchase(instrument=instrument, outcome="approve")),
            ):
                assert isinstance(result, Approved)
                assert (result.avs_result, result.cvv_result) == (avs, cvv)
                assert (result.authorization_code is None) is isinstance(instrument, BankAccount)
                assert result.processor_reference is not None

            verified = await processor.verify(a_verification(instrument=instrument))
            assert verified == Approved(avs_result=avs, cvv_result=cvv)

    asyncio.run(run())


# --- Declines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", DeclineCode)
def test_every_decline_can_be_asked_for(tmp_path: Path, code: DeclineCode) -> None:
    """`sandbox_outcome` takes every decline code, for charge and tokenize; the statement does not have it."""

    async def run() -> None:
        async with sandbox(tmp_path) as processor:
            purchase = a_purchase(outcome=code)
            result = await processor.purchase(purchase)
            assert isinstance(result, Declined)
            assert result.code is code
            assert result.avs_result == ("N" if code is DeclineCode.INCORRECT_POSTAL_CODE else "Y")
            assert result.cvv_result == ("N" if code is DeclineCode.INCORRECT_CVV else "M")
            assert await processor.look_up(purchase.idempotency_key) == result

            verified = await processor.verify(a_verification(outcome=code))
            assert verified == replace(result, processor_reference=None)

            by_bank = await processor.purchase(a_purchase(outcome=code, instrument=account()))
            assert isinstance(by_bank, Declined)
            assert (by_bank.code, by_bank.avs_result, by_bank.cvv_result) == (code, None, None)

    asyncio.run(run())
    assert captured(tmp_path) == []


@pytest.mark.parametrize(
    ("amount", "currency", "code"),
    [
        *((f"{2000 + place}.00", "USD", code) for place, code in enumerate(DeclineCode)),
        ("2001.99", "USD", DeclineCode.INSUFFICIENT_FUNDS),
        ("2001", "JPY", DeclineCode.INSUFFICIENT_FUNDS),
        ("2001.125", "KWD", DeclineCode.INSUFFICIENT_FUNDS),
        ("2011.00", "USD", DeclineCode.CARD_DECLINED),
        ("2099.99", "USD", DeclineCode.CARD_DECLINED),
        ("1999.99", "USD", None),
        ("2100.00", "USD", None),
        ("20.01", "USD", None),
    ],
)
def test_the_amount_chooses(tmp_path: Path, amount: str, currency: str, code: DeclineCode | None) -> None:
    """A whole part of 2000 + n is the n-th decline, card_declined beyond the list, up to 2099."""

    async def run() -> None:
        async with sandbox(tmp_path) as processor:
            for instrument in (card(), account()):
                result = await processor.purchase(a_purchase(amount, currency, instrument=instrument))
                assert getattr(result, "code", None) == code
                assert isinstance(result, Approved if code is None else Declined)

    asyncio.run(run())


def test_fault_beats_parameter_beats_amount(tmp_path: Path) -> None:
    """A fault set on the command line beats the parameter, and the parameter beats the amount."""

    async def run() -> None:
        async with sandbox(tmp_path) as processor:
            approved = await processor.purchase(a_purchase("2001.00", outcome="approve"))
            by_parameter = await processor.purchase(a_purchase("2001.00", outcome="lost_card"))
            processor.set_fault(FaultKind.DECLINE, "stolen_card")
            by_fault = await processor.purchase(a_purchase("2001.00", outcome="lost_card"))
            despite = await processor.purchase(a_purchase("2001.00", outcome="approve"))

            assert isinstance(approved, Approved)
            assert isinstance(by_parameter, Declined)
            assert by_parameter.code is DeclineCode.LOST_CARD
            assert [getattr(result, "code", None) for result in (by_fault, despite)] == [DeclineCode.STOLEN_CARD] * 2

    asyncio.run(run())


# --- Parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("controls", "at_fault"),
    [
        ({}, None),
        ({"colour": "blue"}, None),
        *(({"outcome": code.value}, None) for code in DeclineCode),
        *(
            ({"outcome": name}, None)
            for name in ("approve", "timeout_after_capture", "timeout_before_capture", "unknown", "unavailable")
        ),
        ({"outcome": "hang"}, "sandbox_outcome"),
        ({"outcome": "drop-after-capture"}, "sandbox_outcome"),
        ({"outcome": "Approve"}, "sandbox_outcome"),
        ({"outcome": "approve "}, "sandbox_outcome"),
        ({"delayms": "0"}, None),
        ({"delayms": "60000"}, None),
        ({"delayms": "60001"}, "sandbox_delay_ms"),
        ({"delayms": "-1"}, "sandbox_delay_ms"),
        ({"delayms": "1.5"}, "sandbox_delay_ms"),
        ({"delayms": "1e3"}, "sandbox_delay_ms"),
        ({"delayms": "soon"}, "sandbox_delay_ms"),
        ({"delayms": "１"}, "sandbox_delay_ms"),  # noqa: RUF001 - a full-width digit is what this is about
        ({"delayms": "9" * 5000}, "sandbox_delay_ms"),
        ({"outcome": "nonsense", "delayms": "soon"}, "sandbox_outcome"),
    ],
)
def test_check_names_the_parameter_at_fault(tmp_path: Path, controls: dict[str, str], at_fault: str | None) -> None:
    """A value that means nothing is refused by its parameter's name; names that mean nothing are ignored."""

    async def run() -> None:
        async with sandbox(tmp_path) as processor:
            assert processor.check(replace(a_purchase(), controls=controls)) == at_fault
            assert processor.check(replace(a_verification(), controls=controls)) == at_fault

    asyncio.run(run())


def test_a_value_that_check_refuses_chooses_nothing(tmp_path: Path) -> None:
    """A take-over is not checked again: what came with it and means nothing is as good as missing."""

    async def run() -> None:
        async with sandbox(tmp_path) as processor:
            assert isinstance(await processor.purchase(a_purchase(outcome="nonsense", delay_ms="soon")), Approved)
            assert isinstance(await processor.verify(a_verification(outcome="nonsense", delay_ms="soon")), Approved)

    asyncio.run(run())


# --- Lost answers ----------------------------------------------------------------------------------------------------


def test_timeout_after_capture(tmp_path: Path) -> None:
    """Captured at once, then held 12 s and lost. Meanwhile the book tells; a second send is a replay, and not held."""

    async def run() -> None:
        sleep = Clock(stands=True)
        async with sandbox(tmp_path, sleep) as processor:
            purchase = a_purchase(outcome="timeout_after_capture")
            send = await started(processor.purchase(purchase))
            assert captured_keys(tmp_path) == [purchase.idempotency_key]
            found = await processor.look_up(purchase.idempotency_key)
            again = await processor.purchase(purchase)
            assert isinstance(found, Approved)
            assert again == found
            assert sleep.asked == [HOLD_S] == [12.0]

            sleep.let_go()
            assert isinstance(await send, Unknown)
            assert await processor.purchase(purchase) == found
            assert sleep.asked == [12.0]

    asyncio.run(run())
    assert len(captured(tmp_path)) == 1


def test_timeout_before_capture(tmp_path: Path) -> None:
    """Held 12 s and lost with nothing captured, once for a key: the next send is normal, after a restart too."""
    purchase, restarted = a_purchase(outcome="timeout_before_capture"), a_purchase(outcome="timeout_before_capture")

    async def run() -> None:
        sleep = Clock()
        async with sandbox(tmp_path, sleep) as processor:
            assert isinstance(await processor.purchase(restarted), Unknown)
            assert isinstance(await processor.purchase(purchase), Unknown)
            assert isinstance(await processor.look_up(purchase.idempotency_key), NotFound)
            assert captured(tmp_path) == []
            assert isinstance(await processor.purchase(purchase), Approved)
            assert sleep.asked == [12.0, 12.0]
        async with sandbox(tmp_path, sleep) as processor:
            assert isinstance(await processor.purchase(restarted), Approved)
            assert sleep.asked == [12.0, 12.0]

    asyncio.run(run())
    assert captured_keys(tmp_path) == [purchase.idempotency_key, restarted.idempotency_key]


def test_a_second_send_need_not_wait_for_the_held_line(tmp_path: Path) -> None:
    """While a line is held that captured nothing, NotFound is certain, and a second send is normal."""

    async def run() -> None:
        sleep = Clock(stands=True)
        async with sandbox(tmp_path, sleep) as processor:
            purchase = a_purchase(outcome="timeout_before_capture")
            send = await started(processor.purchase(purchase))
            assert isinstance(await processor.look_up(purchase.idempotency_key), NotFound)
            assert isinstance(await processor.purchase(purchase), Approved)
            await cancelled(send)

    asyncio.run(run())
    assert len(captured(tmp_path)) == 1


def test_a_second_send_after_a_timeout_meets_the_amount(tmp_path: Path) -> None:
    """Once the parameter has had its one effect, the send is as one without it."""

    async def run() -> None:
        async with sandbox(tmp_path) as processor:
            purchase = a_purchase("2001.00", outcome="timeout_before_capture")
            assert isinstance(await processor.purchase(purchase), Unknown)
            result = await processor.purchase(purchase)
            assert isinstance(result, Declined)
            assert result.code is DeclineCode.INSUFFICIENT_FUNDS

    asyncio.run(run())


def test_unknown_is_for_ever(tmp_path: Path) -> None:
    """Captured, and nobody ever hears of it: sends are held and lost, look-ups tell nothing, also after a restart."""
    purchase = a_purchase(outcome="unknown")

    async def run() -> None:
        sleep = Clock()
        for _boot in range(2):
            async with sandbox(tmp_path, sleep) as processor:
                assert isinstance(await processor.purchase(purchase), Unknown)
                assert isinstance(await processor.look_up(purchase.idempotency_key), Unknown)
                assert isinstance(await processor.purchase(replace(purchase, controls={})), Unknown)
        assert sleep.asked == [12.0] * 4

    asyncio.run(run())
    assert captured_keys(tmp_path) == [purchase.idempotency_key]


def test_unavailable_leaves_nothing(tmp_path: Path) -> None:
    """Nothing was sent: nothing is in the book, and a later send without the parameter is normal."""

    async def run() -> None:
        async with sandbox(tmp_path) as processor:
            purchase = a_purchase(outcome="unavailable")
            assert await processor.purchase(purchase) == Unavailable()
            assert await processor.purchase(purchase) == Unavailable()
            assert isinstance(await processor.look_up(purchase.idempotency_key), NotFound)
            assert isinstance(await processor.purchase(replace(purchase, controls={})), Approved)
            assert isinstance(await processor.purchase(purchase), Approved)

    asyncio.run(run())
    assert len(captured(tmp_path)) == 1


# --- Delays and work of the bank's own -------------------------------------------------------------------------------


def test_a_delay_comes_before_the_capture_and_not_on_a_replay(tmp_path: Path) -> None:
    """`sandbox_delay_ms` passes first; until then nothing is captured, and a look-up cannot tell."""

    async def run() -> None:
        sleep = Clock(stands=True)
        async with sandbox(tmp_path, sleep) as processor:
            purchase = a_purchase(delay_ms="1500")
            send = await started(processor.purchase(purchase))
            assert captured(tmp_path) == []
            assert isinstance(await processor.look_up(purchase.idempotency_key), Unknown)

            sleep.let_go()
            assert isinstance(await send, Approved)
            assert len(captured(tmp_path)) == 1
            assert await processor.purchase(purchase) == await processor.look_up(purchase.idempotency_key)
            assert sleep.asked == [1.5]

    asyncio.run(run())


def test_a_delay_goes_with_every_outcome(tmp_path: Path) -> None:
    """The delay passes, then the outcome happens."""

    async def run() -> None:
        sleep = Clock()
        async with sandbox(tmp_path, sleep) as processor:
            for outcome, expected in (
                ("lost_card", Declined),
                ("unavailable", Unavailable),
                ("unknown", Unknown),
                ("timeout_before_capture", Unknown),
            ):
                result = await processor.purchase(a_purchase(outcome=outcome, delay_ms="100"))
                assert isinstance(result, expected)
        assert sleep.asked == [0.1, 0.1, 0.1, 12.0, 0.1, 12.0]

    asyncio.run(run())


def test_who_hangs_up_cancels_no_capture(tmp_path: Path) -> None:
    """The connector's time-out ends the line, not the work: the capture comes, and the look-up finds it."""

    async def run() -> None:
        sleep = Clock(stands=True)
        async with sandbox(tmp_path, sleep) as processor:
            purchase = a_purchase(delay_ms="60000")
            await cancelled(await started(processor.purchase(purchase)))
            assert isinstance(await processor.look_up(purchase.idempotency_key), Unknown)
            sleep.let_go()
            await turns()
            assert isinstance(await processor.look_up(purchase.idempotency_key), Approved)

    asyncio.run(run())
    assert len(captured(tmp_path)) == 1


def test_who_hangs_up_on_a_plain_purchase_cancels_no_capture(tmp_path: Path) -> None:
    """The same for a purchase that meets nothing, cut off before its commit: the book has it, and says so."""

    async def run() -> None:
        async with sandbox(tmp_path) as processor:
            purchase = a_purchase()
            send = asyncio.create_task(processor.purchase(purchase))
            await asyncio.sleep(0)
            await cancelled(send)
            assert isinstance(await processor.look_up(purchase.idempotency_key), Approved)

    asyncio.run(run())
    assert len(captured(tmp_path)) == 1


def test_close_cancels_what_is_not_captured(tmp_path: Path) -> None:
    """Work that waits is cancelled by `close`; whoever waited for it hears that nothing is known."""

    async def run() -> None:
        async with sandbox(tmp_path, Clock(stands=True)) as processor:
            send = await started(processor.purchase(a_purchase(delay_ms="60000")))
            await processor.close()
            assert isinstance(await send, Unknown)

    asyncio.run(run())
    assert captured(tmp_path) == []


def test_a_send_in_flight_is_joined(tmp_path: Path) -> None:
    """A key that is in flight is not run twice: the second send waits, and both hear the one answer."""

    async def run() -> None:
        sleep = Clock(stands=True)
        async with sandbox(tmp_path, sleep) as processor:
            purchase = a_purchase(delay_ms="500")
            first = await started(processor.purchase(purchase))
            second = await started(processor.purchase(purchase))
            plain = await started(processor.purchase(replace(purchase, controls={})))
            await cancelled(await started(processor.purchase(purchase)))
            sleep.let_go()
            results = await asyncio.gather(first, second, plain)
            assert len(set(results)) == 1
            assert isinstance(results[0], Approved)
            assert sleep.asked == [0.5]

    asyncio.run(run())
    assert len(captured(tmp_path)) == 1


@pytest.mark.parametrize(
    ("outcome", "joined", "captures"),
    [
        ("timeout_after_capture", Approved, 1),
        ("timeout_before_capture", Approved, 1),
        ("unknown", Unknown, 1),
        ("unavailable", Unavailable, 0),
        ("do_not_honor", Declined, 0),
    ],
)
def test_who_joins_is_a_second_send(tmp_path: Path, outcome: str, joined: type[object], captures: int) -> None:
    """What happens once to a key happens to the send that came first; who joined it is a second send."""

    async def run() -> None:
        sleep = Clock(stands=True)
        async with sandbox(tmp_path, sleep) as processor:
            purchase = a_purchase(outcome=outcome, delay_ms="500")
            first = await started(processor.purchase(purchase))
            second = await started(processor.purchase(purchase))
            sleep.let_go()
            await first
            assert isinstance(await second, joined)

    asyncio.run(run())
    assert len(captured(tmp_path)) == captures


# --- Faults ----------------------------------------------------------------------------------------------------------


def test_a_fault_lasts_until_it_is_cleared(tmp_path: Path) -> None:
    """Without a count a fault meets every send, after a restart too; `clear_faults` ends it."""

    async def run() -> None:
        async with sandbox(tmp_path) as processor:
            processor.set_fault("decline", "do_not_honor")
            assert isinstance(await processor.purchase(a_purchase()), Declined)
        async with sandbox(tmp_path) as processor:
            assert [str(fault) for fault in processor.faults()] == ["decline do_not_honor, until cleared"]
            assert isinstance(await processor.purchase(a_purchase()), Declined)
            assert isinstance(await processor.verify(a_verification()), Declined)
            processor.clear_faults()
            assert processor.faults() == []
            assert isinstance(await processor.purchase(a_purchase()), Approved)
        async with sandbox(tmp_path) as processor:
            assert processor.faults() == []

    asyncio.run(run())


def test_a_count_is_used_up(tmp_path: Path) -> None:
    """With a count it meets that many sends, over a restart; sends at once take one each; then it is gone."""

    async def run() -> None:
        async with sandbox(tmp_path) as processor:
            processor.set_fault(FaultKind.DECLINE, "do_not_honor", 3)
            assert isinstance(await processor.purchase(a_purchase()), Declined)
            assert [str(fault) for fault in processor.faults()] == ["decline do_not_honor, 2 more"]
        async with sandbox(tmp_path) as processor:
            results = await asyncio.gather(*(processor.purchase(a_purchase()) for _ in range(5)))
            assert [isinstance(result, Declined) for result in results] == [True, True, False, False, False]
            assert processor.faults() == []
        async with sandbox(tmp_path) as processor:
            assert processor.faults() == []
            assert isinstance(await processor.purchase(a_purchase()), Approved)

    asyncio.run(run())


def test_a_replay_uses_up_no_fault(tmp_path: Path) -> None:
    """What the book knows is answered from the book, whatever is set."""

    async def run() -> None:
        sleep = Clock()
        async with sandbox(tmp_path, sleep) as processor:
            purchase = a_purchase()
            result = await processor.purchase(purchase)
            for kind, argument in (("decline", "lost_card"), ("delay", "100"), ("unavailable", None), ("hang", None)):
                processor.set_fault(kind, argument, 1)
                assert await processor.purchase(purchase) == result
            assert [fault.remaining for fault in processor.faults()] == [1, 1, 1, 1]
            assert sleep.asked == []

    asyncio.run(run())


def test_a_count_is_used_up_with_what_met_it(tmp_path: Path) -> None:
    """A send that never came to its commit has used up nothing: the count is spent in the commit of its entry."""

    async def run() -> None:
        async with sandbox(tmp_path, Clock(stands=True)) as processor:
            processor.set_fault(FaultKind.DELAY, "100", 1)
            send = await started(processor.purchase(a_purchase()))
            assert processor.faults() == []
            await processor.close()
            await send
        async with sandbox(tmp_path) as processor:
            assert [fault.remaining for fault in processor.faults()] == [1]
            assert isinstance(await processor.purchase(a_purchase()), Approved)
        assert faults_on_disk(tmp_path) == []

    asyncio.run(run())


def faults_on_disk(home: Path) -> list[str]:
    """The faults, read as a command beside the server reads them."""
    connection = read_only(home / "sandbox.db")
    try:
        return [str(fault) for fault in read_faults(connection)]
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("kind", "argument", "result", "left"),
    [
        ("decline", "stolen_card", Declined, []),
        ("delay", "0", Approved, []),
        ("drop-after-capture", None, Unknown, []),
        ("unavailable", None, Unavailable, []),
    ],
)
def test_a_count_on_disk(
    tmp_path: Path, kind: str, argument: str | None, result: type[object], left: list[str]
) -> None:
    """When the answer is there, the count is used up on disk."""

    async def run() -> None:
        async with sandbox(tmp_path) as processor:
            processor.set_fault(kind, argument, 1)
            assert len(faults_on_disk(tmp_path)) == 1
            assert isinstance(await processor.purchase(a_purchase()), result)
            assert faults_on_disk(tmp_path) == left

    asyncio.run(run())


def test_a_fault_that_was_set_again_loses_nothing_to_a_send_under_way(tmp_path: Path) -> None:
    """A send that met the old fault does not use up the count of the one that took its place."""

    async def run() -> None:
        sleep = Clock(stands=True)
        async with sandbox(tmp_path, sleep) as processor:
            processor.set_fault(FaultKind.DELAY, "100", 1)
            send = await started(processor.purchase(a_purchase()))
            processor.set_fault(FaultKind.DELAY, "0", 1)
            sleep.let_go()
            assert isinstance(await send, Approved)
            assert faults_on_disk(tmp_path) == ["delay 0, 1 more"]
            assert [str(fault) for fault in processor.faults()] == ["delay 0, 1 more"]

    asyncio.run(run())


def test_one_fault_of_each_kind_and_the_last_one_counts(tmp_path: Path) -> None:
    """Setting a kind again replaces it. Of those that choose the outcome the last counts; a delay goes with it."""

    async def run() -> None:
        sleep = Clock()
        async with sandbox(tmp_path, sleep) as processor:
            processor.set_fault("decline", "lost_card")
            processor.set_fault("unavailable", count=1)
            processor.set_fault("delay", "250")
            assert await processor.purchase(a_purchase()) == Unavailable()
            assert [fault.kind for fault in processor.faults()] == ["decline", "delay"]
            processor.set_fault("decline", "stolen_card", 1)
            result = await processor.purchase(a_purchase())
            assert isinstance(result, Declined)
            assert result.code is DeclineCode.STOLEN_CARD
            assert isinstance(await processor.purchase(a_purchase(outcome="lost_card", delay_ms="9")), Declined)
            assert isinstance(await processor.purchase(a_purchase()), Approved)
            assert sleep.asked == [0.25] * 4

    asyncio.run(run())


def test_hang_never_answers(tmp_path: Path) -> None:
    """Nothing is captured, and no answer comes until the caller leaves or the sandbox closes."""

    async def run() -> None:
        async with sandbox(tmp_path) as processor:
            processor.set_fault(FaultKind.HANG, count=2)
            purchase, other = a_purchase(), a_purchase()
            send = await started(processor.purchase(purchase))
            assert isinstance(await processor.look_up(purchase.idempotency_key), NotFound)
            await cancelled(send)
            assert isinstance(await processor.look_up(purchase.idempotency_key), NotFound)
            assert captured(tmp_path) == []

            hangs = await started(processor.purchase(other))
            assert processor.faults() == []
            assert isinstance(await processor.purchase(purchase), Approved)
            await processor.close()
            assert isinstance(await hangs, Unknown)

    asyncio.run(run())
    assert len(captured(tmp_path)) == 1


def test_drop_after_capture(tmp_path: Path) -> None:
    """Captured, and the answer is lost at once, not held; look-up and second send tell."""

    async def run() -> None:
        sleep = Clock()
        async with sandbox(tmp_path, sleep) as processor:
            processor.set_fault(FaultKind.DROP_AFTER_CAPTURE)
            purchase = a_purchase()
            assert isinstance(await processor.purchase(purchase), Unknown)
            found = await processor.look_up(purchase.idempotency_key)
            assert isinstance(found, Approved)
            assert await processor.purchase(purchase) == found
            assert sleep.asked == []

    asyncio.run(run())
    assert len(captured(tmp_path)) == 1


def test_unavailable_is_not_reachable(tmp_path: Path) -> None:
    """While the fault is set, `GET /readyz` can tell."""

    async def run() -> None:
        async with sandbox(tmp_path) as processor:
            assert await processor.is_reachable() is True
            processor.set_fault(FaultKind.UNAVAILABLE)
            assert await processor.is_reachable() is False
            processor.clear_faults()
            assert await processor.is_reachable() is True

    asyncio.run(run())


@pytest.mark.parametrize(
    ("kind", "argument", "count", "says"),
    [
        ("explode", None, None, "drop-after-capture"),
        ("decline", None, None, "insufficient_funds"),
        ("decline", "approve", None, "insufficient_funds"),
        ("delay", None, None, "60000"),
        ("delay", "60001", None, "60000"),
        ("delay", "1 s", None, "60000"),
        ("hang", "5", None, "no argument"),
        ("unavailable", None, 0, "1 or more"),
    ],
)
def test_a_fault_that_cannot_be_set_says_what_can(
    tmp_path: Path, kind: str, argument: str | None, count: int | None, says: str
) -> None:
    """A fault that means nothing is refused with what would mean something, and nothing is set."""

    async def run() -> None:
        async with sandbox(tmp_path) as processor:
            with pytest.raises(InvalidFaultError, match=says):
                processor.set_fault(kind, argument, count)
            assert processor.faults() == []

    asyncio.run(run())


# --- Verifications ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["timeout_after_capture", "timeout_before_capture", "unknown"])
def test_a_verification_is_held_once(tmp_path: Path, outcome: str) -> None:
    """A tokenize that times out is held 12 s, once for a key: asked again, the answer comes."""

    async def run() -> None:
        sleep = Clock()
        async with sandbox(tmp_path, sleep) as processor:
            verification = a_verification(outcome=outcome)
            assert isinstance(await processor.verify(verification), Unknown)
            assert isinstance(await processor.verify(verification), Approved)
            assert sleep.asked == [12.0]
            assert isinstance(await processor.look_up(verification.idempotency_key), NotFound)

    asyncio.run(run())
    assert captured(tmp_path) == []


def test_what_is_remembered_of_verifications_is_bounded(tmp_path: Path) -> None:
    """The oldest is forgotten: a memory that grows with every time-out would be a leak."""

    async def run() -> None:
        async with sandbox(tmp_path) as processor:
            first, *others = (a_verification(outcome="unknown") for _ in range(VERIFICATIONS_REMEMBERED_MAX + 1))
            for verification in (first, *others):
                assert isinstance(await processor.verify(verification), Unknown)
            assert isinstance(await processor.verify(others[0]), Approved)
            assert isinstance(await processor.verify(first), Unknown)

    asyncio.run(run())


def test_a_verification_meets_delay_and_unavailable(tmp_path: Path) -> None:
    """Delay and unavailable apply to tokenize as to charge."""

    async def run() -> None:
        sleep = Clock()
        async with sandbox(tmp_path, sleep) as processor:
            assert isinstance(await processor.verify(a_verification(delay_ms="700")), Approved)
            assert await processor.verify(a_verification(outcome="unavailable")) == Unavailable()
            assert sleep.asked == [0.7]

    asyncio.run(run())


def test_a_verification_meets_faults(tmp_path: Path) -> None:
    """Faults meet verifications and are used up by them; what comes after a capture does not, since there is none."""

    async def run() -> None:
        sleep = Clock()
        async with sandbox(tmp_path, sleep) as processor:
            processor.set_fault("delay", "300", 1)
            processor.set_fault("decline", "lost_card", 1)
            assert isinstance(await processor.verify(a_verification()), Declined)
            assert faults_on_disk(tmp_path) == []
            assert sleep.asked == [0.3]

            processor.set_fault("drop-after-capture", count=1)
            assert isinstance(await processor.verify(a_verification()), Approved)
            assert faults_on_disk(tmp_path) == ["drop-after-capture, 1 more"]

            processor.set_fault("hang")
            await cancelled(await started(processor.verify(a_verification())))

    asyncio.run(run())


def test_a_plain_verification_asks_nobody(tmp_path: Path) -> None:
    """Without parameters and faults a verification touches no file: it works when the book is closed."""

    async def run() -> None:
        async with sandbox(tmp_path) as processor:
            await processor.close()
            assert isinstance(await processor.verify(a_verification()), Approved)

    asyncio.run(run())


def test_a_plain_payment_makes_no_task(tmp_path: Path) -> None:
    """Plain purchases, verifications and look-ups run in their caller's task; with a parameter there is one more."""
    made = 0

    async def run() -> None:
        nonlocal made

        def factory(
            loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any]
        ) -> asyncio.Future[Any]:
            nonlocal made
            made += 1
            return asyncio.Task(coroutine, loop=loop)

        async with sandbox(tmp_path) as processor:
            asyncio.get_running_loop().set_task_factory(factory)
            purchase = a_purchase()
            await processor.purchase(purchase)
            await processor.purchase(purchase)
            await processor.verify(a_verification())
            await processor.look_up(purchase.idempotency_key)
            assert made == 0
            await processor.purchase(a_purchase(outcome="approve"))
            assert made == 1

    asyncio.run(run())


def test_a_purchase_without_money_is_refused(tmp_path: Path) -> None:
    """Whoever mixes up `purchase` and `verify` finds out at once, and nothing is in the book."""

    async def run() -> None:
        async with sandbox(tmp_path) as processor:
            with pytest.raises(ValueError, match="verification"):
                await processor.purchase(a_verification())

    asyncio.run(run())


# --- The book --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [None, "approve", "timeout_after_capture", "incorrect_cvv"])
@pytest.mark.parametrize("instrument", [card(), account()])
def test_the_first_answer_is_the_answer_for_ever(tmp_path: Path, outcome: str | None, instrument: Instrument) -> None:
    """A new sandbox on the same file gives the same answer, field for field, to sends and look-ups; it adds nothing."""
    purchase = a_purchase(outcome=outcome, instrument=instrument)
    answers: list[PurchaseResult | LookUpResult] = []

    async def run() -> None:
        for _boot in range(3):
            async with sandbox(tmp_path) as processor:
                await processor.purchase(purchase)
                answers.append(await processor.look_up(purchase.idempotency_key))
                answers.append(await processor.purchase(replace(purchase, controls={"outcome": "lost_card"})))

    asyncio.run(run())
    assert len(set(answers)) == 1
    assert len(captured(tmp_path)) == (0 if isinstance(answers[0], Declined) else 1)


async def answers_after_the_commit(home: Path, book: type[Book]) -> bool:
    """Whether, when a purchase has its answer, another connection finds it on disk."""
    processor = SandboxProcessor(book(Journal(home / "sandbox.db", migrations(), never), lambda: NOW_MS))
    try:
        purchase = a_purchase()
        assert isinstance(await processor.purchase(purchase), Approved)
        return purchase.idempotency_key in captured_keys(home)
    finally:
        await processor.close()


def test_the_answer_comes_after_the_commit(tmp_path: Path) -> None:
    """What was answered is on disk: another process sees it."""
    assert asyncio.run(answers_after_the_commit(tmp_path, Book))


def test_an_answer_before_the_commit_is_noticed(tmp_path: Path) -> None:
    """The control of the test above: a book that answers when the entry is queued fails it."""

    class BoldBook(Book):
        async def enter(self, entry: Entry) -> Entry:
            self._journal.submit_unwaited(self._enter, entry)
            return entry

    assert not asyncio.run(answers_after_the_commit(tmp_path, BoldBook))


async def a_cut_off_purchase_is_never_not_found(home: Path, book: type[Book]) -> bool:
    """Whether a look-up in the very turn in which a purchase was queued and cut off knows better than NotFound."""
    processor = SandboxProcessor(book(Journal(home / "sandbox.db", migrations(), never), lambda: NOW_MS))
    try:
        purchase, other = a_purchase(), a_purchase()
        # Were look-ups a batch of their own, this one would bring all of them to the front.
        earlier = asyncio.ensure_future(processor.look_up(other.idempotency_key))
        send = asyncio.ensure_future(processor.purchase(purchase))
        found = asyncio.ensure_future(processor.look_up(purchase.idempotency_key))
        await asyncio.sleep(0)
        send.cancel()
        assert isinstance(await earlier, NotFound)
        return not isinstance(await found, NotFound)
    finally:
        await processor.close()


def test_a_look_up_knows_what_is_on_its_way_into_the_book(tmp_path: Path) -> None:
    """NotFound is certain: a look-up behind a purchase finds it, though it is not committed yet."""
    assert asyncio.run(a_cut_off_purchase_is_never_not_found(tmp_path, Book))
    assert len(captured(tmp_path)) == 1


class HastyBook(Book):
    """Looks up in the file, past the queue."""

    async def find(self, idempotency_key: str) -> Entry | None:
        return next(iter(self._enter(self.connection, [idempotency_key])))


class TwoQueuesBook(Book):
    """Looks up in a batch of its own, which may come before the one with the purchase."""

    async def find(self, idempotency_key: str) -> Entry | None:
        return await self._journal.submit(self._ask, idempotency_key)

    def _ask(self, connection: sqlite3.Connection, keys: Sequence[str]) -> Sequence[Entry | None]:
        return self._enter(connection, keys)


@pytest.mark.parametrize("book", [HastyBook, TwoQueuesBook])
def test_a_look_up_out_of_order_is_noticed(tmp_path: Path, book: type[Book]) -> None:
    """The control of the test above: with each of these books NotFound is said, and then money moves."""
    assert not asyncio.run(a_cut_off_purchase_is_never_not_found(tmp_path, book))
    assert len(captured(tmp_path)) == 1


def test_one_commit_takes_many_and_the_same_key_once(tmp_path: Path) -> None:
    """Sends that arrive together, more than fit into one question, are one commit; keys among them count once."""

    async def run() -> None:
        async with sandbox(tmp_path) as processor:
            known = a_purchase()
            await processor.purchase(known)
            purchases = [a_purchase() for _ in range(100)]
            results = await asyncio.gather(*map(processor.purchase, [*purchases, known, *purchases, *purchases]))
            assert all(isinstance(result, Approved) for result in results)
            assert len(set(results)) == 101
            assert results[:100] == results[101:201] == results[201:]

    asyncio.run(run())
    assert len(captured(tmp_path)) == 101


def test_the_book_decides_between_two_sandboxes(tmp_path: Path) -> None:
    """Where another process was quicker, the book's answer is the answer, and no fault is used up for it."""

    async def run() -> None:
        sleep = Clock(stands=True)
        async with sandbox(tmp_path, sleep) as slow, sandbox(tmp_path) as quick:
            slow.set_fault(FaultKind.DELAY, "100")
            slow.set_fault(FaultKind.DECLINE, "lost_card", 1)
            purchase = a_purchase()
            send = await started(slow.purchase(purchase))
            result = await quick.purchase(purchase)
            sleep.let_go()
            assert isinstance(result, Approved)
            assert await send == result
            assert faults_on_disk(tmp_path) == ["delay 100, until cleared", "decline lost_card, 1 more"]

    asyncio.run(run())
    assert len(captured(tmp_path)) == 1


def test_the_statement(tmp_path: Path) -> None:
    """One row for each captured purchase, in order; declines and second sends add none; amounts are decimal strings."""
    dollars, yen, dinars = a_purchase("7.5"), a_purchase("500", "JPY"), a_purchase("1.25", "KWD", instrument=account())
    moments = iter([NOW_MS, NOW_MS + 1, NOW_MS + 877, NOW_MS + 878, NOW_MS + 879, NOW_MS + 880])

    async def run() -> None:
        processor = new_sandbox(tmp_path, clock=lambda: next(moments))
        for purchase in (dollars, a_purchase("2000.00"), yen, dollars, dinars):
            await processor.purchase(purchase)
        assert statement(processor._book.connection) == captured(tmp_path)  # noqa: SLF001 - on either connection
        await processor.close()

    asyncio.run(run())
    assert [field.name for field in fields(StatementLine)] == (
        ["idempotency_key", "transaction_id", "instance", "amount", "currency", "state", "captured_at"]
    )
    assert captured(tmp_path) == [
        StatementLine(purchase.idempotency_key, purchase.transaction_id, "Default", amount, currency, "captured", at)
        for purchase, amount, currency, at in (
            (dollars, "7.50", "USD", "2026-11-30T00:53:20.123Z"),
            (yen, "500", "JPY", "2026-11-30T00:53:21.000Z"),
            (dinars, "1.250", "KWD", "2026-11-30T00:53:21.002Z"),
        )
    ]


def test_a_failed_entry_is_an_exception_and_its_neighbours_are_answered(tmp_path: Path) -> None:
    """A row that the file refuses raises for its own caller; what came in the same commit is captured and answered."""

    async def run() -> None:
        async with sandbox(tmp_path) as processor:
            connection = processor._book.connection  # noqa: SLF001 - to make the file refuse
            connection.execute(
                "CREATE TRIGGER no_pounds BEFORE INSERT ON purchase WHEN NEW.currency = 'GBP'"
                " BEGIN SELECT RAISE(ABORT, 'no pounds'); END"
            )
            for controls in ({}, {"outcome": "approve"}):
                good, bad = a_purchase(), a_purchase(currency="GBP")
                results = await asyncio.gather(
                    *(processor.purchase(replace(purchase, controls=controls)) for purchase in (good, bad)),
                    return_exceptions=True,
                )
                assert isinstance(results[0], Approved)
                assert isinstance(results[1], Exception)
                assert isinstance(await processor.look_up(bad.idempotency_key), NotFound)

    asyncio.run(run())
    assert len(captured(tmp_path)) == 2


# --- Card data -------------------------------------------------------------------------------------------------------


def in_the_files(home: Path, text: str) -> bool:
    """Whether a text stands anywhere in the book's files, the WAL included."""
    return any(text.encode() in path.read_bytes() for path in home.iterdir())


def test_no_card_data_is_in_the_book(tmp_path: Path) -> None:
    """No card number, account number or metadata is in the files, on any path; nor is the CVV in any column."""

    async def run() -> None:
        async with sandbox(tmp_path) as processor:
            for outcome in (None, "approve", "incorrect_cvv", "unknown", "timeout_before_capture", "unavailable"):
                for instrument in (card(), account()):
                    await processor.purchase(a_purchase(outcome=outcome, instrument=instrument))
                    await processor.verify(a_verification(outcome=outcome, instrument=instrument))
            rows = [*processor._book.connection.execute("SELECT * FROM purchase")]  # noqa: SLF001 - what is in it
            assert len(rows) == 8
            assert all(CVV != str(value) for row in rows for value in row)
            for number in (PAN, ACCOUNT, "the-merchants-own"):
                assert not in_the_files(tmp_path, number)

    asyncio.run(run())
    for number in (PAN, ACCOUNT, "the-merchants-own"):
        assert not in_the_files(tmp_path, number)


def test_card_data_in_the_book_is_noticed(tmp_path: Path) -> None:
    """The control of the test above: a card number that is planted in the book is found, in the WAL already."""

    async def run() -> None:
        async with sandbox(tmp_path) as processor:
            await processor.purchase(replace(a_purchase(), transaction_id=PAN))
            assert in_the_files(tmp_path, PAN)

    asyncio.run(run())


# --- Any order of things ---------------------------------------------------------------------------------------------

_OUTCOMES = [
    None,
    "approve",
    "lost_card",
    "timeout_after_capture",
    "timeout_before_capture",
    "unknown",
    "unavailable",
]
_FAULTS: list[tuple[str, str | None]] = [
    ("decline", "stolen_card"),
    ("delay", "5"),
    ("drop-after-capture", None),
    ("unavailable", None),
]
_DELAYS = [None, "5"]
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 2), st.sampled_from(_OUTCOMES), st.sampled_from(_DELAYS)),
        st.tuples(
            st.just("cut"), st.integers(0, 2), st.sampled_from(_OUTCOMES), st.sampled_from(_DELAYS), st.integers(1, 6)
        ),
        st.tuples(st.just("look"), st.integers(0, 2)),
        st.tuples(st.just("fault"), st.sampled_from(_FAULTS), st.sampled_from([None, 1, 2])),
        st.tuples(st.just("clear")),
        st.tuples(st.just("restart")),
    ),
    max_size=25,
)


class History:
    """Three keys, what was done about them, and every answer that was given."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._processor = new_sandbox(home)
        self.keys = [idempotency_key("any", 1, str(number)) for number in range(3)]
        self.answers: dict[str, set[PurchaseResult | LookUpResult]] = {key: set() for key in self.keys}

    async def send(self, number: int, outcome: str | None, delay_ms: str | None) -> None:
        purchase = a_purchase(key=self.keys[number], outcome=outcome, delay_ms=delay_ms)
        self.answers[self.keys[number]].add(await self._processor.purchase(purchase))

    async def cut(self, number: int, outcome: str | None, delay_ms: str | None, count: int) -> None:
        purchase = a_purchase(key=self.keys[number], outcome=outcome, delay_ms=delay_ms)
        task = asyncio.create_task(self._processor.purchase(purchase))
        await turns(count)
        task.cancel()
        await asyncio.wait((task,))

    async def look(self, number: int) -> None:
        found = await self._processor.look_up(self.keys[number])
        if isinstance(found, NotFound):
            await turns()
            assert self.keys[number] not in captured_keys(self._home)
        self.answers[self.keys[number]].add(found)

    async def fault(self, fault: tuple[str, str | None], count: int | None) -> None:
        self._processor.set_fault(*fault, count)

    async def clear(self) -> None:
        self._processor.clear_faults()

    async def restart(self) -> None:
        await self._processor.close()
        self._processor = new_sandbox(self._home)

    async def end(self) -> None:
        await turns()
        await self._processor.close()


@settings(max_examples=60)
@given(steps=_STEPS)
def test_whatever_happens_a_key_is_captured_once_and_keeps_its_answer(steps: list[tuple[Any, ...]]) -> None:
    """In any order of things there is one capture and one answer a key, and NotFound is true."""

    async def run(home: Path) -> None:
        history = History(home)
        for step, *arguments in steps:
            await getattr(history, step)(*arguments)
        await history.end()
        taken = captured_keys(home)
        for key in history.keys:
            final = {answer for answer in history.answers[key] if isinstance(answer, (Approved, Declined))}
            assert len(final) <= 1
            assert taken.count(key) <= 1
            assert all(taken.count(key) == (1 if isinstance(answer, Approved) else 0) for answer in final)

    with tempfile.TemporaryDirectory() as home:
        asyncio.run(run(Path(home)))


# --- The factory -----------------------------------------------------------------------------------------------------


def test_the_factory_puts_the_book_into_the_home(tmp_path: Path) -> None:
    """`create` opens `sandbox.db` in the home; under another name it is another bank with another book."""

    async def run() -> None:
        for name, file in (("sandbox", "sandbox.db"), ("bank", "sandbox-bank.db")):
            processor = create(ProcessorContext(name=name, options={}, home=tmp_path, clock=lambda: NOW_MS))
            try:
                assert isinstance(await processor.purchase(a_purchase(key="gc_one")), Approved)
                assert (tmp_path / file).exists()
            finally:
                await processor.close()

    asyncio.run(run())
    assert len(captured(tmp_path)) == 1


def test_a_commit_that_fails_ends_the_process() -> None:
    """Nobody knows what is on disk then: the process ends with status 70, and says why."""
    program = "from generic_connector.processors.sandbox import processor; processor._end(OSError('4111111111111111'))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30)
    assert ended.returncode == 70
    assert "commit_failed" in ended.stderr
    assert PAN not in ended.stderr
