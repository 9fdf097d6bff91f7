"""The sandbox at work: `ports.Processor` on the book.

Two things are kept apart, as they are in the world. **The bank's work** is to decide, to wait, to capture and to
write it down; it is the bank's own, and a caller who hangs up stops none of it. **The line** is what the answer takes
on its way back: it may be held and lost. So a purchase whose answer was lost is in the book at once, look-ups tell it
while the line is still held, and a second send finds the book and not the held line. A line ends with its caller.

Most purchases meet nothing: no fault, no parameter. They are one item of one commit, without a task. Only what has
something to meet becomes a piece of work with a task of its own, in a set that holds it until it is done. While it
runs, its key is in flight: another send joins it, and a look-up says `Unknown`, since only a finished piece of work
is certain.

What is kept in memory: keys in flight, the faults, and the last verifications that met what happens once. `close`
cancels the work that has not come to its capture.
"""

import asyncio
import hashlib
import os
import string
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import NoReturn

from generic_connector.bank import BankAccount
from generic_connector.identifier import letters
from generic_connector.money import Money
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
from generic_connector.ports import ProcessorContext, Purchase, Traits
from generic_connector.processors.sandbox.book import Book, Entry, Met, open_book
from generic_connector.processors.sandbox.outcome import (
    Ending,
    Fault,
    FaultKind,
    Outcome,
    Plan,
    check_fault,
    of_amount,
    plan,
    unusable,
    without,
)

HOLD_S = 12.0
"""How long a lost answer is held: longer than Twilio waits, shorter than the connector does."""

VERIFICATIONS_REMEMBERED_MAX = 1024
EXIT_COMMIT_FAILED = 70

Sleep = Callable[[float], Awaitable[None]]


def create(context: ProcessorContext) -> "SandboxProcessor":
    """Return the sandbox of a home. Under another name it is another bank, with a book of its own. No options."""
    return SandboxProcessor(open_book(book_path(context.home, context.name), context.clock, _end))


def book_path(home: Path, name: str) -> Path:
    """Return where the book of the sandbox of this name is."""
    return home / ("sandbox.db" if name == "sandbox" else f"sandbox-{name}.db")


def _end(error: BaseException) -> NoReturn:
    """Nobody knows what is on disk: nobody is answered. The next start reads it."""
    sys.stderr.write(f'{{"event": "commit_failed", "processor": "sandbox", "error": "{type(error).__name__}"}}\n')
    os._exit(EXIT_COMMIT_FAILED)


class _Line(Enum):
    """What becomes of an answer on its way back."""

    GOOD = auto()
    LOST = auto()
    HELD = auto()
    DEAD = auto()


_LINES = {
    Outcome.TIMEOUT_AFTER_CAPTURE: _Line.HELD,
    Outcome.TIMEOUT_BEFORE_CAPTURE: _Line.HELD,
    Outcome.UNKNOWN: _Line.HELD,
    Outcome.HANG: _Line.DEAD,
    Outcome.DROP_AFTER_CAPTURE: _Line.LOST,
}
_NOT_CAPTURED = {Outcome.TIMEOUT_BEFORE_CAPTURE, Outcome.UNAVAILABLE, Outcome.HANG}


@dataclass(frozen=True, slots=True)
class _Done:
    """Finished work: the answer (None: the bank never had one) and its line. Dark: everybody's line is held."""

    answer: Approved | Declined | Unavailable | None
    line: _Line = _Line.GOOD
    is_dark: bool = False


class SandboxProcessor:
    """A bank that does what it is told. `sleep` is the only clock that it waits on."""

    traits = Traits(honours_keys=True, looks_up=True, conclusive_after_s=0, is_live=False, controls=True)

    def __init__(self, book: Book, *, sleep: Sleep = asyncio.sleep) -> None:
        self._book = book
        self._sleep = sleep
        self._faults: tuple[Fault, ...] = tuple(book.faults())
        self._at_work: dict[str, asyncio.Task[_Done]] = {}
        self._verified_once: dict[str, None] = {}
        self._closing = asyncio.Event()

    # --- ports.Processor ---------------------------------------------------------------------------------------------

    def check(self, purchase: Purchase) -> str | None:
        """Return the name of the `sandbox_*` parameter whose value means nothing, or None."""
        return unusable(purchase.controls) if purchase.controls else None

    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        """Capture, or whatever else this purchase is to meet."""
        money = purchase.money
        if money is None:
            raise ValueError("a purchase without money is a verification")
        if purchase.controls or self._faults or purchase.idempotency_key in self._at_work:
            return await self._send(purchase, money)
        entry = await self._book.enter(_entry(purchase, money, of_amount(money)))
        return await self._held() if entry.is_dark else entry.answer

    def verify_at_once(self, purchase: Purchase) -> Approved | None:
        """Say that the instrument is good, where no fault and no parameter says otherwise."""
        return None if purchase.controls or self._faults else _approved(purchase)

    async def verify(self, purchase: Purchase) -> PurchaseResult:
        """Say whether the instrument is good. Captures nothing; the book hears of it only where it uses up a fault."""
        if not (purchase.controls or self._faults):
            return _approved(purchase)
        key = purchase.idempotency_key
        planned = self._plan(purchase, None, is_second=key in self._verified_once)
        if planned.uses:
            await self._book.keep(Met(key, None, planned.uses))
        if planned.delay_ms:
            await self._sleep(planned.delay_ms / 1000)
        ending = planned.ending
        if ending is Outcome.UNAVAILABLE:
            return Unavailable()
        line = _LINES.get(ending, _Line.GOOD) if isinstance(ending, Outcome) else _Line.GOOD
        if line is _Line.HELD:
            self._remember_verified(key)
        return await self._deliver(_answer(purchase, ending), line)

    async def look_up(self, idempotency_key: str) -> LookUpResult:
        """Return what the book says; `Unknown` while the key is in flight, and for ever where it is dark."""
        if idempotency_key in self._at_work:
            return Unknown("still at work")
        entry = await self._book.find(idempotency_key)
        if entry is None:
            return NotFound()
        return Unknown("the sandbox was told never to say") if entry.is_dark else entry.answer

    async def is_reachable(self) -> bool:
        """Whether sends arrive: they do unless a fault has switched the bank off."""
        return all(fault.kind is not FaultKind.UNAVAILABLE for fault in self._faults)

    async def close(self) -> None:
        """Cancel what has not come to its capture, and close the book. A second time does nothing."""
        if self._closing.is_set():
            return
        self._closing.set()
        if self._at_work:
            works = tuple(self._at_work.values())
            for work in works:
                work.cancel()
            await asyncio.wait(works)
        self._book.close()

    # --- Faults ------------------------------------------------------------------------------------------------------

    def set_fault(self, kind: str, argument: str | None = None, count: int | None = None) -> None:
        """Set a fault in the place of the one of its kind: for `count` sends, or until cleared.

        Raises `InvalidFaultError`.
        """
        known = check_fault(kind, argument, count)
        fault = self._book.set_fault(known, argument, count)
        self._faults = (*(other for other in self._faults if other.kind is not known), fault)

    def clear_faults(self) -> None:
        """Clear all faults. A send that already hangs goes on doing so until its caller leaves."""
        self._book.clear_faults()
        self._faults = ()

    def faults(self) -> list[Fault]:
        """Return the faults that the next send may meet, the latest last."""
        return list(self._faults)

    def _plan(self, purchase: Purchase, money: Money | None, *, is_second: bool) -> Plan:
        """Decide, and take the counts at once: nobody else meets them while this send waits for its commit."""
        planned = plan(self._faults, purchase.controls, money, is_second=is_second)
        if planned.uses:
            self._faults = without(self._faults, planned.uses)
        return planned

    # --- The bank's work ---------------------------------------------------------------------------------------------

    async def _send(self, purchase: Purchase, money: Money) -> PurchaseResult:
        """Have the work done, or join it where it is being done, and let the answer have its line.

        Who joins is a second send, with a line of its own. Where nothing came of the first, the second is work again.
        """
        key = purchase.idempotency_key
        while True:
            work = self._at_work.get(key)
            is_first = work is None
            if work is None:
                work = asyncio.get_running_loop().create_task(self._work(purchase, money))
                self._at_work[key] = work
                work.add_done_callback(lambda done: self._worked(key, done))
            await asyncio.wait((work,))  # unlike `await work`: to cancel this cancels no work
            if work.cancelled():
                return Unknown("the sandbox was closed before the capture")
            done = work.result()
            if is_first or done.is_dark:
                return await self._deliver(done.answer, done.line)
            if done.answer is not None:
                return done.answer

    def _worked(self, key: str, work: asyncio.Task[_Done]) -> None:
        del self._at_work[key]
        if not work.cancelled():
            work.exception()  # looked at here, since everybody who waited may be gone

    async def _work(self, purchase: Purchase, money: Money) -> _Done:
        """Replay, or decide, wait, capture and write down. What the book knows meets nothing any more."""
        key = purchase.idempotency_key
        known = await self._book.find(key)
        if known is not None:
            return _replayed(known)
        planned = self._plan(purchase, money, is_second=self._book.was_lost(key))
        if planned.delay_ms:
            await self._sleep(planned.delay_ms / 1000)
        ending = planned.ending
        if ending in _NOT_CAPTURED:
            is_lost = ending is Outcome.TIMEOUT_BEFORE_CAPTURE
            if is_lost or planned.uses:
                await self._book.keep(Met(key, None, planned.uses, is_lost))
            return _Done(Unavailable()) if ending is Outcome.UNAVAILABLE else _Done(None, _LINES[Outcome(ending)])
        entry = _entry(purchase, money, ending)
        held = await self._book.keep(Met(key, entry, planned.uses))
        if held is not entry:
            return _replayed(held or entry)
        line = _LINES.get(ending, _Line.GOOD) if isinstance(ending, Outcome) else _Line.GOOD
        return _Done(entry.answer, line, entry.is_dark)

    # --- The line ----------------------------------------------------------------------------------------------------

    async def _deliver(self, answer: PurchaseResult | None, line: _Line) -> PurchaseResult:
        if line is _Line.HELD:
            return await self._held()
        if line is _Line.DEAD:
            await self._closing.wait()
        if line is _Line.GOOD and answer is not None:
            return answer
        return Unknown("the answer was lost")

    async def _held(self) -> Unknown:
        await self._sleep(HOLD_S)
        return Unknown("the answer was held and lost")

    def _remember_verified(self, key: str) -> None:
        self._verified_once[key] = None
        if len(self._verified_once) > VERIFICATIONS_REMEMBERED_MAX:
            del self._verified_once[next(iter(self._verified_once))]


# --- Answers ---------------------------------------------------------------------------------------------------------


def _replayed(entry: Entry) -> _Done:
    return _Done(entry.answer, _Line.HELD if entry.is_dark else _Line.GOOD, entry.is_dark)


def _entry(purchase: Purchase, money: Money, ending: Ending) -> Entry:
    return Entry(
        purchase.idempotency_key,
        purchase.transaction_id,
        purchase.instance,
        money,
        _answer(purchase, ending),
        ending is Outcome.UNKNOWN,
    )


def _answer(purchase: Purchase, ending: Ending) -> Approved | Declined:
    return _declined(purchase, ending) if isinstance(ending, DeclineCode) else _approved(purchase)


def _approved(purchase: Purchase) -> Approved:
    """All of it follows from the purchase. A verification authorizes nothing, and ACH has no authorization."""
    instrument = purchase.instrument
    if purchase.money is None:
        if isinstance(instrument, BankAccount):
            return _ACCOUNT_GOOD
        return _CARD_GOOD[bool(instrument.postal_code)][instrument.cvv is not None]
    digest = hashlib.sha256(purchase.idempotency_key.encode()).digest()
    code, reference = _authorization_code(digest), _reference(digest)
    if isinstance(instrument, BankAccount):
        return Approved(processor_reference=reference)
    return Approved(
        authorization_code=code,
        processor_reference=reference,
        avs_result="Y" if instrument.postal_code else None,
        cvv_result="M" if instrument.cvv is not None else None,
    )


_ACCOUNT_GOOD = Approved()
_CARD_GOOD = [[Approved(avs_result=avs, cvv_result=cvv) for cvv in (None, "M")] for avs in (None, "Y")]
"""By whether there is a postal code, and whether there is a CVV."""


def _declined(purchase: Purchase, code: DeclineCode) -> Declined:
    instrument = purchase.instrument
    digest = hashlib.sha256(purchase.idempotency_key.encode()).digest()
    reference = None if purchase.money is None else _reference(digest)
    if isinstance(instrument, BankAccount):
        return Declined(code=code, processor_reference=reference)
    is_wrong_place, is_wrong_cvv = code is DeclineCode.INCORRECT_POSTAL_CODE, code is DeclineCode.INCORRECT_CVV
    return Declined(
        code=code,
        processor_reference=reference,
        avs_result="N" if is_wrong_place else "Y" if instrument.postal_code else None,
        cvv_result="N" if is_wrong_cvv else "M" if instrument.cvv is not None else None,
    )


def _authorization_code(digest: bytes) -> str:
    """Six upper-case letters and digits, the first a letter: nobody takes it for a number, or for part of one."""
    return (digest[:1].translate(_CAPITALS) + digest[1:6].translate(_CAPITALS_AND_DIGITS)).decode()


_CAPITALS = (string.ascii_uppercase * 10).encode()[:256]
_CAPITALS_AND_DIGITS = ((string.ascii_uppercase + "234567") * 8).encode()
"""Without the digits that look like letters: two hundred and fifty-six, one for each byte."""


def _reference(digest: bytes) -> str:
    return f"sb_{letters(digest[8:18])}"
