"""The contract suite: what the author of a processor runs to know that the connector may rely on it.

Inherit from `ProcessorContract` in a test file of your own, name the class `Test...`, and say how your processor is
made:

    class TestAcme(ProcessorContract):
        def make_processor(self) -> Processor:
            return AcmeProcessor(...)

pytest collects the rest. It needs no plugin, and this module needs no pytest: each claim runs an event loop of its own
and raises `AssertionError`.

Three rules for the hooks:

- Within one test, all processors that the hooks make talk to **the same bank**: the suite makes a second one to see
  whether keys are honoured over a restart. Set the bank up in `setup_method`, or use the acquirer's own test system.
- Purchases come with keys that were never used before, so a bank that remembers may be used again and again.
- The more hooks are there, the more is proven. A claim that depends on a trait that is not promised, or on a hook that
  returns None, passes and says nothing. `captures` is the one to have: without it the suite believes what it is told.

Time is not waited for: what happens minutes later is beyond this suite, and so is money.
"""

import asyncio
import contextlib
import io
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from generic_connector.card import Card, Cvv, Expiry, Pan
from generic_connector.identifier import idempotency_key
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
from generic_connector.ports import Processor, Purchase, Traits

CLAIM_TIMEOUT_S = 30.0
SENDS_AT_ONCE = 8
LOOP_TURNS = 64
"""How often the loop is let go round for what a processor may still have under way."""

_CANCELLED_AFTER_TURNS = range(1, 7)
_TEST_CARD = "4111111111111111"
_CVV = "739"

Claim = Callable[[Processor], Awaitable[None]]


def new_key() -> str:
    """Return an idempotency key that nobody has used, in the connector's form."""
    return idempotency_key("contract-suite", 0, secrets.token_hex(16))


def card_purchase(amount: str = "10.00", currency: str = "USD") -> Purchase:
    """Return a purchase with a key of its own, by a published test card with CVV and postal code."""
    money = Money.parse(amount, CURRENCIES[currency])
    pan, cvv = Pan.parse(_TEST_CARD), Cvv.parse(_CVV, None)
    if money is None or pan is None:
        raise ValueError(f"{amount} {currency} is no money")
    key = new_key()
    return Purchase(
        idempotency_key=key,
        instance="Default",
        transaction_id=f"contract-suite-{key}",
        instrument=Card(pan, Expiry(2040, 12), cvv, "94105"),
        money=money,
        description="contract suite",
        metadata={"order": "one"},
    )


class ProcessorContract:
    """The claims. Override `make_processor`, and as many of the other hooks as you can."""

    # --- Hooks -------------------------------------------------------------------------------------------------------

    def make_processor(self) -> Processor:
        """Return a processor that works, at the bank of this test."""
        raise NotImplementedError

    def approved_purchase(self) -> Purchase:
        """Return a purchase, with a new key, that the bank approves."""
        return card_purchase()

    def declined_purchase(self) -> Purchase | None:
        """Return a purchase, with a new key, that the bank declines."""
        return None

    def captures(self, idempotency_key: str) -> int | None:  # noqa: ARG002 - for who can tell
        """Return how often the bank has taken the money of this key, asked at the bank and not at the processor."""
        return None

    def make_unreachable_processor(self) -> Processor | None:
        """Return a processor that cannot connect to its bank."""
        return None

    def make_deaf_processor(self) -> Processor | None:
        """Return a processor whose requests reach the bank of this test, and whose answers are lost on the way back."""
        return None

    # --- What it is --------------------------------------------------------------------------------------------------

    def test_traits_are_constant_and_possible(self) -> None:
        """The traits are a `Traits`, the same whenever they are asked for, and `conclusive_after_s` is not negative."""

        async def claim(processor: Processor) -> None:
            before = processor.traits
            await processor.purchase(self.approved_purchase())
            _must(isinstance(before, Traits), "traits is no Traits")
            _must(processor.traits == before, "the traits have changed")
            _must(before.conclusive_after_s >= 0, "conclusive_after_s is negative")

        self._prove(claim)

    def test_check_accepts_what_can_be_purchased(self) -> None:
        """`check` says None to a purchase that the bank approves, and to the verification of its instrument."""

        async def claim(processor: Processor) -> None:
            for purchase in (self.approved_purchase(), _verification(self.approved_purchase())):
                _must(processor.check(purchase) is None, "check refuses a purchase that the bank approves")

        self._prove(claim)

    def test_is_reachable_says_yes_or_no(self) -> None:
        """`is_reachable` is a bool: True here, and False, not an exception, where nobody can be connected to."""

        async def claim(processor: Processor) -> None:
            _must(await processor.is_reachable() is True, "a processor that works is not reachable")

        async def otherwise(processor: Processor) -> None:
            _must(await processor.is_reachable() is False, "a processor that cannot connect is not unreachable")

        self._prove(claim)
        self._prove(otherwise, self.make_unreachable_processor)

    def test_close_may_come_twice(self) -> None:
        """Closing again does nothing: whoever shuts down in a hurry may do so twice."""

        async def claim(processor: Processor) -> None:
            await processor.purchase(self.approved_purchase())
            await processor.close()
            await processor.close()

        self._prove(claim)

    # --- Answers -----------------------------------------------------------------------------------------------------

    def test_an_approved_purchase_is_approved_and_captured_once(self) -> None:
        """Money that moved is `Approved`, with texts or None in its fields, and the bank took it once."""

        async def claim(processor: Processor) -> None:
            purchase = self.approved_purchase()
            result = await processor.purchase(purchase)
            _well_formed(result)
            _must(isinstance(result, Approved), f"a purchase to be approved is {_kind(result)}")
            self._captured(purchase, 1)

        self._prove(claim)

    def test_a_declined_purchase_is_declined_and_captured_never(self) -> None:
        """A refusal is `Declined` with a code of the contract; the bank took nothing, and no look-up says it did."""

        async def claim(processor: Processor) -> None:
            purchase = self.declined_purchase()
            if purchase is None:
                return
            result = await processor.purchase(purchase)
            _well_formed(result)
            _must(isinstance(result, Declined), f"a purchase to be declined is {_kind(result)}")
            self._captured(purchase, 0)
            if processor.traits.looks_up:
                found = await processor.look_up(purchase.idempotency_key)
                _well_formed(found)
                _must(not isinstance(found, Approved), "the look-up of a declined purchase says that it was approved")

        self._prove(claim)

    def test_a_verification_moves_no_money(self) -> None:
        """`verify` approves a good card and the bank takes nothing, under this key or at all."""

        async def claim(processor: Processor) -> None:
            purchase = _verification(self.approved_purchase())
            result = await processor.verify(purchase)
            _well_formed(result)
            _must(isinstance(result, Approved), f"the verification of a good card is {_kind(result)}")
            self._captured(purchase, 0)
            if processor.traits.looks_up:
                found = await processor.look_up(purchase.idempotency_key)
                _must(not isinstance(found, Approved), "the look-up of a verification says that money moved")

        self._prove(claim)

    def test_purchases_at_once_do_not_mix(self) -> None:
        """Many purchases on one event loop are many captures, each under its own key and with its own reference."""

        async def claim(processor: Processor) -> None:
            purchases = [self.approved_purchase() for _ in range(SENDS_AT_ONCE)]
            results = await asyncio.gather(*map(processor.purchase, purchases))
            for purchase, result in zip(purchases, results, strict=True):
                _must(isinstance(result, Approved), f"one of many purchases is {_kind(result)}")
                self._captured(purchase, 1)
            references = [reference for result in results if (reference := _reference(result)) is not None]
            _must(len(set(references)) == len(references), "two purchases have one reference")
            if processor.traits.looks_up:
                for purchase, result in zip(purchases, results, strict=True):
                    _same(await processor.look_up(purchase.idempotency_key), result)

        self._prove(claim)

    # --- honours_keys ------------------------------------------------------------------------------------------------

    def test_the_same_key_again_captures_once(self) -> None:
        """A second send with the same key answers as the first did, and the bank took the money once."""

        async def claim(processor: Processor) -> None:
            if not processor.traits.honours_keys:
                return
            for purchase in self._approved_and_declined():
                first = await processor.purchase(purchase)
                again = await processor.purchase(purchase)
                _same(again, first)
                self._captured(purchase, 1 if isinstance(first, Approved) else 0)

        self._prove(claim)

    def test_the_same_key_at_once_captures_once(self) -> None:
        """Sends with one key that overlap capture once. Each says what happened, or that it does not know."""

        async def claim(processor: Processor) -> None:
            if not processor.traits.honours_keys:
                return
            purchase = self.approved_purchase()
            results = await asyncio.gather(*(processor.purchase(purchase) for _ in range(SENDS_AT_ONCE)))
            for result in results:
                _must(isinstance(result, (Approved, Unknown)), f"a send that overlaps with its like is {_kind(result)}")
            _same(*(result for result in results if isinstance(result, Approved)))
            self._captured(purchase, 1)

        self._prove(claim)

    def test_the_same_key_after_a_restart_captures_once(self) -> None:
        """The promise about keys is the bank's: a processor that starts afresh gets the first answer too."""
        purchase = self.approved_purchase()
        results: list[PurchaseResult] = []

        async def claim(processor: Processor) -> None:
            if processor.traits.honours_keys:
                results.append(await processor.purchase(purchase))

        self._prove(claim)
        self._prove(claim)
        _same(*results)
        if results:
            self._captured(purchase, 1)

    # --- looks_up ----------------------------------------------------------------------------------------------------

    def test_a_look_up_finds_what_happened(self) -> None:
        """A look-up answers as the purchase did, whichever processor asks."""
        purchase = self.approved_purchase()
        results: list[PurchaseResult | LookUpResult] = []

        async def claim(processor: Processor) -> None:
            if processor.traits.looks_up:
                results.append(await processor.purchase(purchase))
                results.append(await processor.look_up(purchase.idempotency_key))

        async def after(processor: Processor) -> None:
            if processor.traits.looks_up:
                results.append(await processor.look_up(purchase.idempotency_key))

        self._prove(claim)
        self._prove(after)
        for result in results:
            _well_formed(result)
        _same(*results)

    def test_a_key_that_was_never_sent_is_not_found(self) -> None:
        """A look-up of a key that nobody has sent is `NotFound`: only that lets the connector send again."""

        async def claim(processor: Processor) -> None:
            if processor.traits.looks_up:
                found = await processor.look_up(new_key())
                _must(isinstance(found, NotFound), f"a key that was never sent is {_kind(found)}")

        self._prove(claim)

    # --- What goes wrong ---------------------------------------------------------------------------------------------

    def test_a_cancelled_purchase_captures_at_most_once(self) -> None:
        """The connector's clock may cut a purchase off anywhere.

        What the look-up then says holds, a second send captures once in all, and the processor goes on working.
        """
        for turns in _CANCELLED_AFTER_TURNS:

            async def claim(processor: Processor, turns: int = turns) -> None:
                purchase = self.approved_purchase()
                await _cut_off(processor, purchase, turns)
                if processor.traits.looks_up:
                    await self._its_word_holds(processor, purchase)
                if processor.traits.honours_keys:
                    result = await processor.purchase(purchase)
                    _must(isinstance(result, Approved), f"a second send after one that was cut off is {_kind(result)}")
                    self._captured(purchase, 1)
                other = await processor.purchase(self.approved_purchase())
                _must(isinstance(other, Approved), f"a purchase after one that was cut off is {_kind(other)}")

            self._prove(claim)

    def test_a_lost_answer_is_unknown(self) -> None:
        """Where the bank took the money and its answer was lost, the processor does not know, and a look-up does.

        It says `Unknown` or raises. `Declined` would send the caller away who has paid; `Unavailable` would be a lie.
        """
        purchase = self.approved_purchase()
        was_sent = False

        async def claim(processor: Processor) -> None:
            nonlocal was_sent
            was_sent = True
            result = await _attempt(processor.purchase(purchase))
            _must(isinstance(result, (Unknown, Exception)), f"a purchase whose answer was lost is {_kind(result)}")
            if processor.traits.looks_up:
                found = await _attempt(processor.look_up(purchase.idempotency_key))
                _must(
                    isinstance(found, (Approved, Unknown, Exception)),
                    f"a look-up after a lost answer is {_kind(found)}",
                )

        async def after(processor: Processor) -> None:
            if was_sent and processor.traits.looks_up:
                found = await processor.look_up(purchase.idempotency_key)
                _must(isinstance(found, Approved), f"a purchase whose answer was lost is looked up as {_kind(found)}")
                self._captured(purchase, 1)

        self._prove(claim, self.make_deaf_processor)
        self._prove(after)

    def test_a_bank_that_cannot_be_reached_says_nothing(self) -> None:
        """Without a connection a purchase is `Unavailable` (or `Unknown`, or raises); a look-up finds nothing out."""

        async def claim(processor: Processor) -> None:
            purchase = self.approved_purchase()
            result = await _attempt(processor.purchase(purchase))
            _must(
                isinstance(result, (Unavailable, Unknown, Exception)),
                f"a purchase without a connection is {_kind(result)}",
            )
            self._captured(purchase, 0)
            if processor.traits.looks_up:
                found = await _attempt(processor.look_up(purchase.idempotency_key))
                _must(isinstance(found, (Unknown, Exception)), f"a look-up without a connection is {_kind(found)}")

        self._prove(claim, self.make_unreachable_processor)

    def test_no_card_data_gets_out(self) -> None:
        """No card number, CVV or account number is in a result, an exception, any log record, or on the console."""

        async def claim(processor: Processor) -> None:
            seen: list[str] = []
            instruments: list[Instrument] = []
            with _overheard(seen):
                for purchase in self._approved_and_declined():
                    instruments.append(purchase.instrument)
                    verification = replace(purchase, idempotency_key=new_key(), money=None)
                    seen.append(repr(processor.check(purchase)))
                    seen.extend(_texts(await _attempt(processor.purchase(purchase))))
                    seen.extend(_texts(await _attempt(processor.purchase(purchase))))
                    seen.extend(_texts(await _attempt(processor.verify(verification))))
                    seen.extend(_texts(await _attempt(processor.look_up(purchase.idempotency_key))))
                seen.extend((repr(processor), str(processor)))
            _must_not_tell(seen, instruments)

        self._prove(claim)
        self._prove(claim, self.make_deaf_processor)
        self._prove(claim, self.make_unreachable_processor)

    # --- Machinery ---------------------------------------------------------------------------------------------------

    def _prove(self, claim: Claim, make: Callable[[], Processor | None] | None = None) -> None:
        """Run a claim on a new processor, on an event loop of its own, with an end to its patience."""

        async def run() -> None:
            processor = (make or self.make_processor)()
            if processor is None:
                return
            try:
                async with asyncio.timeout(CLAIM_TIMEOUT_S):
                    await claim(processor)
            except TimeoutError:
                raise AssertionError(f"no answer after {CLAIM_TIMEOUT_S:g} s") from None
            finally:
                await processor.close()

        asyncio.run(run())

    def _approved_and_declined(self) -> list[Purchase]:
        declined = self.declined_purchase()
        return [self.approved_purchase(), *([] if declined is None else [declined])]

    def _captured(self, purchase: Purchase, times: int) -> None:
        taken = self.captures(purchase.idempotency_key)
        _must(taken is None or taken == times, f"the bank took the money {taken} times, and not {times}")

    async def _its_word_holds(self, processor: Processor, purchase: Purchase) -> None:
        """Where "not found" is said to be final at once, nothing may turn up later."""
        found = await processor.look_up(purchase.idempotency_key)
        _well_formed(found)
        _must(not isinstance(found, Declined), "a purchase that was cut off is declined")
        if isinstance(found, Approved):
            self._captured(purchase, 1)
        elif isinstance(found, NotFound) and processor.traits.conclusive_after_s == 0:
            await processor.purchase(self.approved_purchase())
            for _ in range(LOOP_TURNS):
                await asyncio.sleep(0)
            later = await processor.look_up(purchase.idempotency_key)
            _must(isinstance(later, NotFound), f"a key that was certainly not found is {_kind(later)} later")
            self._captured(purchase, 0)


# --- Small things ----------------------------------------------------------------------------------------------------


def _must(is_so: object, otherwise: str) -> None:
    if not is_so:
        raise AssertionError(otherwise)


def _kind(result: object) -> str:
    """The name only: a result that is wrong may hold what must not be shown."""
    return type(result).__name__


def _verification(purchase: Purchase) -> Purchase:
    return replace(purchase, money=None)


def _reference(result: object) -> str | None:
    return result.processor_reference if isinstance(result, (Approved, Declined)) else None


def _well_formed(result: object) -> None:
    """One of the port's results, and texts where texts belong."""
    _must(
        isinstance(result, (Approved, Declined, Unavailable, Unknown, NotFound)),
        f"{_kind(result)} is no result of the port",
    )
    if isinstance(result, Declined):
        _must(isinstance(result.code, DeclineCode), f"the code of a decline is a {_kind(result.code)}")
    if isinstance(result, (Approved, Declined)):
        code = result.authorization_code if isinstance(result, Approved) else None
        for text in (code, result.processor_reference, result.avs_result, result.cvv_result):
            _must(text is None or isinstance(text, str), f"a field of {_kind(result)} is a {_kind(text)}")
            _must(text != "", f"a field of {_kind(result)} is empty: where nothing is known it is None")
        for letter in (result.avs_result, result.cvv_result):
            _must(letter is None or len(letter) == 1, "AVS and CVV results are one letter")


def _same(*results: object) -> None:
    """The same answer. A later one may know less of its details, as look-ups often do, and nothing else."""
    for earlier, later in pairwise(results):
        _must(type(later) is type(earlier), f"what was {_kind(earlier)} is {_kind(later)} when it is asked again")
        if isinstance(earlier, Declined) and isinstance(later, Declined):
            _must(later.code is earlier.code, "a decline has another code when it is asked again")
        one, other = _reference(earlier), _reference(later)
        _must(None in {one, other} or one == other, "one key has two references")


async def _attempt(answer: Awaitable[object]) -> object:
    """Return a result or the exception that stood in for it."""
    try:
        return await answer
    except Exception as error:  # noqa: BLE001 - whatever a processor raises is looked at
        return error


async def _cut_off(processor: Processor, purchase: Purchase, turns: int) -> None:
    """Cancel a purchase after the loop has gone round a few times."""
    send = asyncio.ensure_future(processor.purchase(purchase))
    for _ in range(turns):
        await asyncio.sleep(0)
    send.cancel()
    await asyncio.wait((send,))
    if not send.cancelled():
        send.exception()  # it may have been quicker, or have raised something of its own: both happen


@contextlib.contextmanager
def _overheard(seen: list[str]) -> Iterator[None]:
    """Collect what is logged, at any level, and what is printed."""
    console, ear, root = io.StringIO(), _Ear(seen), logging.getLogger()
    level = root.level
    root.addHandler(ear)
    root.setLevel(logging.DEBUG)
    try:
        with contextlib.redirect_stdout(console), contextlib.redirect_stderr(console):
            yield
    finally:
        root.setLevel(level)
        root.removeHandler(ear)
        seen.append(console.getvalue())


class _Ear(logging.Handler):
    """Hears records and the words of their exceptions. Not tracebacks: a line number can look like a CVV."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self._seen = seen

    def emit(self, record: logging.LogRecord) -> None:
        self._seen.append(f"{record.name} {record.getMessage()}")
        if record.exc_info is not None:
            self._seen.extend(_texts(record.exc_info[1]))


def _texts(result: object) -> list[str]:
    """All the words of a result, or of an exception and those behind it."""
    texts = [repr(result), str(result)]
    if isinstance(result, BaseException):
        for behind in (result.__cause__, result.__context__):
            if behind is not None:
                texts.extend(_texts(behind))
    return texts


def _must_not_tell(seen: Sequence[str], instruments: Sequence[Instrument]) -> None:
    """Numbers are found however they are grouped; a CVV, which is short, only as a number of its own."""
    text = "\n".join(seen)
    joined = re.sub(r"(?<=\d)[ .\-](?=\d)", "", text)
    for instrument in instruments:
        if isinstance(instrument, Card):
            number, cvv = instrument.pan.reveal(), instrument.cvv
            is_told = cvv is not None and re.search(rf"(?<![\w.]){cvv.reveal()}(?!\w)", text) is not None
            _must(not is_told, "the CVV got out")
        else:
            number = instrument.account_number.reveal()
        _must(number not in text and number not in joined, "the card or account number got out")
