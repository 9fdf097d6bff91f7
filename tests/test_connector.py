"""The connector's promise, as a story: one payment comes in, in any number of deliveries, and at most one goes out."""

import asyncio
import contextlib
import io
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fakes import (
    AMEX,
    SLOW_S,
    VISA,
    Bank,
    Look,
    Play,
    Shop,
    StoppedAfterClaim,
    WallClock,
    Wise,
    code,
    said,
    story,
    turns,
)
from fakes import payment as pay_for
from generic_connector.answer import Answer, How
from generic_connector.bank import BankAccount
from generic_connector.card import Card
from generic_connector.envelope import TamperedError
from generic_connector.instance import Mode
from generic_connector.ledger import Row, State
from generic_connector.outcome import Limits
from generic_connector.payment import AchDetails, DeclineCode, Declined, Instrument, Method, Payment
from generic_connector.ports import Channel, Purchase, Settlement
from generic_connector.stores.sqlite import SqliteStore, notes_of

TIMEOUT_S, LEASE_S, YOUNG_S = 45, 60, 120
DUPLICATES = 64


def without_cvv(instrument: Instrument) -> Instrument:
    """What the vault may know of an instrument."""
    return replace(instrument, cvv=None) if isinstance(instrument, Card) else instrument


@pytest.fixture
def clock() -> WallClock:
    """The time in the world."""
    return WallClock()


@pytest.fixture
def bank(clock: WallClock) -> Bank:
    """A bank that honours keys and looks up."""
    return Bank(clock)


@pytest.fixture
def shop(tmp_path: Path, clock: WallClock, bank: Bank) -> Shop:
    """A shop at that bank, not booted yet."""
    return Shop(tmp_path / "home", clock, bank)


ShopAt = Callable[[Bank], Shop]


@pytest.fixture
def shop_at(tmp_path: Path, clock: WallClock) -> ShopAt:
    """Makes a shop at another bank."""
    return lambda bank: Shop(tmp_path / "home", clock, bank)


# --- One charge, and its replays -------------------------------------------------------------------------------------


@story
async def test_a_charge_is_sent_once_and_answered_with_its_id(shop: Shop, bank: Bank) -> None:
    """A charge goes to the bank once, and the reply's charge_id is the id of its row."""
    await shop.boot()

    answer = await shop.pay(pay_for())

    row = await shop.row()
    assert (row.state, bank.captured("t1"), answer.how) == (State.APPROVED, [1000], How.FIRST)
    assert said(answer) == {
        "charge_id": row.id,
        "error_code": None,
        "error_message": None,
        "parameters": {
            "status": "approved",
            "card_brand": "visa",
            "card_last4": "1111",
            "authorization_code": "A00001",
            "confirmation_number": row.confirmation_number,
        },
    }


@pytest.mark.parametrize("play", [Play.APPROVE, Play.DECLINE, Play.UNAVAILABLE])
@pytest.mark.parametrize("is_restart", [False, True], ids=["same boot", "after a restart"])
@story
async def test_a_retry_gets_the_first_answer_byte_for_byte(
    shop: Shop, bank: Bank, play: Play, *, is_restart: bool
) -> None:
    """Success, decline and refusal are stored and replayed, after a restart too, and nothing is sent again."""
    await shop.boot()
    bank.will(play)

    first = await shop.pay(pay_for())
    if is_restart:
        await shop.crash()
        await shop.boot()
    again = await shop.pay(pay_for())

    assert first.reply == again.reply
    assert again.how is How.REPLAYED
    assert len(bank.asked) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"cvv": "999"},
        {"cvv": None},
        {"postal_code": "10001"},
        {"description": "another text"},
        {"parameters": {"order": "7"}},
        {"amount": 10, "expiry_year": "30", "currency_code": "USD"},
    ],
    ids=str,
)
@story
async def test_what_may_differ_between_retries_is_not_looked_at(
    shop: Shop, bank: Bank, changed: dict[str, object]
) -> None:
    """CVV, postal code, texts, metadata and spelling make no other payment of a retry."""
    await shop.boot()
    first = await shop.pay(pay_for())

    again = await shop.pay(pay_for(**changed))

    assert first.reply == again.reply
    assert len(bank.asked) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"amount": "10.01"},
        {"currency_code": "cad"},
        {"cardnumber": "5555555555554444"},
        {"expiry_month": "11"},
        {"expiry_year": "2031"},
        {"method": "tokenize"},
        {"parameters": {"operation": "refund"}},
        {"parameters": {"save_card": "true"}},
    ],
    ids=str,
)
@story
async def test_another_payment_under_the_same_id_is_refused(shop: Shop, bank: Bank, changed: dict[str, object]) -> None:
    """Another amount, card, expiry, method or operation under a known transaction_id is not sent, and harms nothing."""
    await shop.boot()
    first = await shop.pay(pay_for())

    other = await shop.pay(pay_for(**changed))

    assert code(other) == "transaction_id_reused"
    assert (len(bank.asked), len(bank.verified), shop.vault()) == (1, 0, {})
    assert (await shop.pay(pay_for())).reply == first.reply


@story
async def test_the_same_id_at_another_instance_is_another_payment(shop: Shop, bank: Bank) -> None:
    """transaction_ids belong to an instance; the bank sees two keys."""
    await shop.boot()
    first = await shop.pay(pay_for())
    shop.instance = replace(shop.instance, id=2, unique_name="Other")

    second = await shop.pay(pay_for())

    assert said(first)["charge_id"] != said(second)["charge_id"]
    assert len({purchase.idempotency_key for purchase in bank.asked}) == 2


@story
async def test_the_key_of_a_transaction_is_the_same_for_ever(shop: Shop, bank: Bank) -> None:
    """A ledger that has forgotten a claim (an old backup) still sends the same key, and the bank charges once."""
    await shop.boot()
    await shop.pay(pay_for())
    shop.execute("DELETE FROM ledger")

    again = await shop.pay(pay_for())

    assert code(again) is None
    assert len({purchase.idempotency_key for purchase in bank.asked}) == 1
    assert bank.captured("t1") == [1000]


# --- Many deliveries at once -----------------------------------------------------------------------------------------


@story
async def test_sixty_four_deliveries_at_once_are_one_purchase(shop: Shop, bank: Bank) -> None:
    """Deliveries that come together send once and hear the same bytes."""
    await shop.boot()
    bank.gate = asyncio.Event()

    deliveries = [shop.start(pay_for()) for _ in range(DUPLICATES)]
    await turns()
    bank.gate.set()
    answers = await asyncio.gather(*deliveries)

    assert len({answer.reply for answer in answers}) == 1
    assert code(answers[0]) is None
    assert (len(bank.asked), bank.captured("t1"), shop.rows()) == (1, [1000], 1)


@story
async def test_two_different_payments_under_one_id_at_once_are_one_purchase_and_one_refusal(
    shop: Shop, bank: Bank
) -> None:
    """In one turn of the loop, in one group commit: one claim wins."""
    await shop.boot()

    answers = await asyncio.gather(shop.pay(pay_for()), shop.pay(pay_for(amount="20.00")))

    assert sorted(str(code(answer)) for answer in answers) == ["None", "transaction_id_reused"]
    assert len(bank.captures) == 1


@story
async def test_a_duplicate_waits_while_the_first_runs(shop: Shop, bank: Bank) -> None:
    """A second delivery is neither answered nor sent while the first has no result, and then hears the same."""
    await shop.boot()
    bank.gate = asyncio.Event()
    first = shop.start(pay_for())
    await turns()

    second = shop.start(pay_for())
    await asyncio.sleep(40)

    assert not first.done()
    assert not second.done()
    bank.gate.set()
    assert (await first).reply == (await second).reply
    assert (await second).how is How.WAITED
    assert len(bank.asked) == 1


@story
async def test_a_caller_that_leaves_cancels_no_purchase(shop: Shop, bank: Bank) -> None:
    """The purchase goes on without its caller, and the retry gets its charge_id."""
    await shop.boot()
    bank.gate = asyncio.Event()
    caller = shop.start(pay_for())
    await turns()

    caller.cancel()
    await turns()
    assert caller.cancelled()
    bank.gate.set()
    await turns()

    retry = await shop.pay(pay_for())
    assert (code(retry), retry.how) == (None, How.REPLAYED)
    assert said(retry)["charge_id"] == (await shop.row()).id
    assert len(bank.asked) == 1


@story
async def test_all_callers_may_leave_at_any_moment(shop: Shop, bank: Bank) -> None:
    """However early everybody leaves, what was begun is finished, once."""
    await shop.boot()

    for moment in range(8):
        callers = [shop.start(pay_for(f"t{moment}")) for _ in range(3)]
        await turns(moment)
        for caller in callers:
            caller.cancel()
        await turns()
        retry = await shop.pay(pay_for(f"t{moment}"))
        assert code(retry) is None
        assert len(bank.captured(f"t{moment}")) == 1


# --- The row comes first ---------------------------------------------------------------------------------------------

Hindrance = Callable[[Shop, Bank], None]
"""Something that stands in the way of new payments."""


def new_month(shop: Shop, _bank: Bank) -> None:
    """The card expires."""
    shop.clock.forward(5 * 366 * 86_400)


def operation_disabled(shop: Shop, _bank: Bank) -> None:
    """The instance may no longer charge."""
    shop.instance = replace(shop.instance, allow=frozenset({Method.TOKENIZE}))


def cvv_demanded(shop: Shop, _bank: Bank) -> None:
    """The instance wants what the payment does not bring."""
    shop.instance = replace(shop.instance, require_cvv=True)


def mode_changed(shop: Shop, _bank: Bank) -> None:
    """The instance goes live."""
    shop.instance = replace(shop.instance, mode=Mode.LIVE)


def rate_bucket_empty(shop: Shop, _bank: Bank) -> None:
    """The instance has used up its rate."""
    shop.instance = replace(shop.instance, rate_per_s=1e-6)
    shop.start(pay_for("the one that empties it"))


def payments_at_once_full(shop: Shop, bank: Bank) -> None:
    """As many payments are at work as may be."""
    bank.gate = asyncio.Event()
    for number in range(shop.limits.payments_at_once_max):
        shop.start(pay_for(f"running {number}"))


def drain(shop: Shop, bank: Bank) -> None:
    """The process is about to end, and waits for a payment that runs."""
    bank.gate = asyncio.Event()
    shop.start(pay_for("running"))
    shop.background(shop.connector.drain())


HINDRANCES = [
    (new_month, "expired_card"),
    (operation_disabled, "not_permitted"),
    (cvv_demanded, "invalid_cvv"),
    (mode_changed, "live_number_required"),
    (rate_bucket_empty, "too_many_requests"),
    (payments_at_once_full, "too_many_requests"),
    (drain, "store_unavailable"),
]


@pytest.mark.parametrize(("hindrance", "refusal"), HINDRANCES, ids=lambda value: getattr(value, "__name__", value))
@story
async def test_a_retry_hears_the_first_answer_whatever_stands_in_the_way_of_new_payments(
    tmp_path: Path, clock: WallClock, bank: Bank, hindrance: Hindrance, refusal: str
) -> None:
    """A retry is answered from its row; a new payment under the same conditions is refused (the control)."""
    shop = Shop(tmp_path / "home", clock, bank, Limits(payments_at_once_max=3))
    await shop.boot()
    asked = pay_for(cvv=None)
    first = await shop.pay(asked)

    hindrance(shop, bank)
    await turns()
    sent = len(bank.asked)
    retry, new = await shop.pay(asked), await shop.pay(pay_for("new", cvv=None))

    assert retry.reply == first.reply
    assert code(new) == refusal
    assert len(bank.asked) == sent


@story
async def test_a_retry_with_a_lesser_credential_hears_the_first_answer(shop: Shop, bank: Bank) -> None:
    """An access token whose scope is gone gets the truth about what was charged, and cannot charge anew."""
    await shop.boot()
    first = await shop.pay(pay_for())

    retry = await shop.pay(pay_for(), scopes=[Method.TOKENIZE])
    new = await shop.pay(pay_for("new"), scopes=[Method.TOKENIZE])

    assert retry.reply == first.reply
    assert code(new) == "not_permitted"
    assert len(bank.asked) == 1


@story
async def test_a_lesser_credential_at_the_same_moment_spoils_nothing(shop: Shop, bank: Bank) -> None:
    """A delivery that may not charge is refused by itself: who may, and comes with it, is not."""
    await shop.boot()

    refused, answered = await asyncio.gather(shop.pay(pay_for(), scopes=[]), shop.pay(pay_for()))

    assert [code(refused), code(answered)] == ["not_permitted", None]
    assert bank.captured("t1") == [1000]


@pytest.mark.parametrize(("hindrance", "_refusal"), HINDRANCES, ids=lambda value: getattr(value, "__name__", value))
@story
async def test_a_dead_owners_row_is_taken_over_whatever_stands_in_the_way_of_new_payments(
    tmp_path: Path, clock: WallClock, bank: Bank, hindrance: Hindrance, _refusal: str
) -> None:
    """Money that moved before a crash is told to a retry that would be refused as new."""
    shop = Shop(tmp_path / "home", clock, bank, Limits(payments_at_once_max=3))
    await shop.boot()
    asked = pay_for(cvv=None)
    bank.will(Play.HANG_AFTER)
    shop.start(asked)
    await turns()
    await shop.crash()
    await shop.boot()

    hindrance(shop, bank)
    await turns()
    retry = await shop.pay(asked)

    assert (code(retry), retry.how) == (None, How.TAKEN_OVER)
    assert bank.captured("t1") == [1000]


@story
async def test_a_refusal_takes_nothing_from_the_rate(shop: Shop) -> None:
    """The instance's rate is for new payments that are let through: retries and refusals leave it alone."""
    shop.instance = replace(shop.instance, rate_per_s=1)
    await shop.boot()
    await shop.pay(pay_for())

    for _ in range(5):
        await shop.pay(pay_for())
        await shop.pay(pay_for("other mode", parameters={"operation": "authorize"}))
    await asyncio.sleep(1)

    assert code(await shop.pay(pay_for("t2"))) is None
    assert code(await shop.pay(pay_for("t3"))) == "too_many_requests"


# --- A processor that does not answer --------------------------------------------------------------------------------


@pytest.mark.parametrize("play", [Play.HANG_AFTER, Play.LOSE_AFTER, Play.RAISE_AFTER, Play.CANCEL_AFTER])
@story
async def test_an_answer_that_was_lost_after_the_capture_is_looked_up(shop: Shop, bank: Bank, play: Play) -> None:
    """Timed out, broken off, raised or cancelled inside the processor: the look-up tells, and nothing is sent again."""
    await shop.boot()
    bank.will(play)

    answer = await shop.pay(pay_for())

    assert code(answer) is None
    assert (len(bank.asked), len(bank.looked_up), bank.captured("t1")) == (1, 1, [1000])


@pytest.mark.parametrize("play", [Play.HANG_BEFORE, Play.LOSE_BEFORE, Play.RAISE_BEFORE])
@story
async def test_what_the_bank_has_not_seen_is_sent_again_under_the_same_key(shop: Shop, bank: Bank, play: Play) -> None:
    """Where keys are honoured, "not found" is followed by one more send, under the same key."""
    await shop.boot()
    bank.will(play)

    answer = await shop.pay(pay_for())

    assert code(answer) is None
    assert [purchase.idempotency_key for purchase in bank.asked] == [(await shop.row()).idempotency_key] * 2
    assert bank.captured("t1") == [1000]


@story
async def test_a_purchase_has_forty_five_seconds(shop: Shop, bank: Bank, clock: WallClock) -> None:
    """No look-up before the processor's time is over, and the delivery is not answered before it."""
    await shop.boot()
    bank.will(Play.HANG_AFTER)
    began_ms = clock()
    delivery = shop.start(pay_for())

    await asyncio.sleep(TIMEOUT_S - 1)
    assert (bank.looked_up, delivery.done()) == ([], False)
    await delivery

    assert clock() - began_ms == TIMEOUT_S * 1000


@story
async def test_a_send_that_is_still_on_its_way_is_captured_once(
    clock: WallClock, shop_at: Callable[[Bank], Shop]
) -> None:
    """The first send arrives after the second: both under one key, so one capture."""
    bank = Bank(clock, conclusive_after_s=50)
    shop = shop_at(bank)
    await shop.boot()
    bank.will(Play.LATE)

    answer = await shop.pay(pay_for())
    await asyncio.sleep(100)

    assert (code(answer), len(bank.asked)) == (None, 2)
    assert bank.captured("t1") == [1000]


@story
async def test_keys_without_a_look_up_are_enough_to_send_again(
    clock: WallClock, shop_at: Callable[[Bank], Shop]
) -> None:
    """A processor that only honours keys is asked again under the same key."""
    bank = Bank(clock, looks_up=False)
    shop = shop_at(bank)
    await shop.boot()
    bank.will(Play.HANG_AFTER)

    answer = await shop.pay(pay_for())

    assert code(answer) is None
    assert (len(bank.asked), bank.looked_up, bank.captured("t1")) == (2, [], [1000])


@story
async def test_a_look_up_alone_allows_one_send(clock: WallClock, shop_at: Callable[[Bank], Shop]) -> None:
    """Where keys are not honoured, "not found" is no reason to send: in doubt, until the look-up is conclusive."""
    bank = Bank(clock, honours_keys=False, conclusive_after_s=30)
    shop = shop_at(bank)
    await shop.boot()
    bank.will(Play.HANG_BEFORE)

    first = await shop.pay(pay_for())
    early = await shop.pay(pay_for())
    await asyncio.sleep(30)
    late = await shop.pay(pay_for())

    assert [code(answer) for answer in (first, early, late)] == [
        "outcome_unknown",
        "outcome_unknown",
        "processing_error",
    ]
    assert (len(bank.asked), (await shop.row()).state) == (1, State.NOT_CAPTURED)


@pytest.mark.parametrize("play", [Play.HANG_BEFORE, Play.HANG_AFTER])
@story
async def test_without_keys_and_look_ups_there_is_one_send(
    clock: WallClock, shop_at: Callable[[Bank], Shop], play: Play
) -> None:
    """Nobody can tell what happened: the row is in doubt and every retry hears so, over restarts too."""
    bank = Bank(clock, honours_keys=False, looks_up=False)
    shop = shop_at(bank)
    await shop.boot()
    bank.will(play)

    answers = [await shop.pay(pay_for())]
    answers.append(await shop.pay(pay_for()))
    await shop.crash()
    await shop.boot()
    await asyncio.sleep(3600)
    await shop.connector.recovery.reconcile()
    answers.append(await shop.pay(pay_for()))

    assert {code(answer) for answer in answers} == {"outcome_unknown"}
    assert (len(bank.asked), (await shop.row()).state) == (1, State.IN_DOUBT)


@pytest.mark.parametrize("look", [Look.UNKNOWN, Look.RAISE, Look.HANG])
@story
async def test_a_look_up_that_tells_nothing_leaves_the_row_in_doubt(shop: Shop, bank: Bank, look: Look) -> None:
    """Without a look-up that says "not found" nothing is sent again, though keys are honoured."""
    await shop.boot()
    bank.will(Play.HANG_BEFORE)
    bank.look = look

    answer = await shop.pay(pay_for())

    assert (code(answer), len(bank.asked)) == ("outcome_unknown", 1)


@story
async def test_a_second_send_that_is_lost_too_is_looked_up(shop: Shop, bank: Bank) -> None:
    """Two sends at most; then the look-up has the last word."""
    await shop.boot()
    bank.will(Play.LOSE_BEFORE, Play.LOSE_AFTER)

    answer = await shop.pay(pay_for())

    assert (code(answer), len(bank.asked), bank.captured("t1")) == (None, 2, [1000])


@story
async def test_two_sends_that_are_lost_leave_the_row_in_doubt(shop: Shop, bank: Bank) -> None:
    """There is no third send: not then, and not by retries."""
    await shop.boot()
    bank.will(Play.LOSE_BEFORE, Play.LOSE_BEFORE)

    answer = await shop.pay(pay_for())

    assert (code(answer), len(bank.asked)) == ("outcome_unknown", 2)
    assert code(await shop.pay(pay_for())) == "processing_error"
    assert (len(bank.asked), bank.captures) == (2, [])


@story
async def test_a_processor_that_is_unavailable_for_the_second_send_proves_nothing_about_the_first(
    clock: WallClock, shop_at: Callable[[Bank], Shop]
) -> None:
    """`processor_unavailable` means that certainly nothing was sent. Here something was, and it arrives."""
    bank = Bank(clock, conclusive_after_s=50)
    shop = shop_at(bank)
    await shop.boot()
    bank.will(Play.LATE, Play.UNAVAILABLE)

    first = await shop.pay(pay_for())
    await asyncio.sleep(100)
    retry = await shop.pay(pay_for())

    assert (code(first), code(retry)) == ("outcome_unknown", None)
    assert bank.captured("t1") == [1000]


@story
async def test_a_processor_that_is_unavailable_at_a_take_over_proves_nothing_about_the_dead_owners_send(
    clock: WallClock, shop_at: Callable[[Bank], Shop]
) -> None:
    """What a dead process sent may be on its way when the processor is switched off."""
    bank = Bank(clock, conclusive_after_s=50)
    shop = shop_at(bank)
    await shop.boot()
    bank.will(Play.LATE, Play.UNAVAILABLE)
    shop.start(pay_for())
    await turns()
    await shop.crash()
    await shop.boot()

    first = await shop.pay(pay_for())
    await asyncio.sleep(100)
    retry = await shop.pay(pay_for())

    assert (code(first), code(retry)) == ("outcome_unknown", None)
    assert bank.captured("t1") == [1000]


@story
async def test_not_found_proves_something_only_where_it_was_asked_late_enough(
    clock: WallClock, shop_at: Callable[[Bank], Shop]
) -> None:
    """A look-up that was asked before the send had to arrive is not final because its answer came after."""
    bank = Bank(clock, honours_keys=False, conclusive_after_s=50)
    shop = shop_at(bank)
    await shop.boot()
    bank.will(Play.LATE_LOST)
    bank.look = Look.UNKNOWN
    await shop.pay(pay_for())
    bank.look = Look.SLOW

    await asyncio.sleep(50 - SLOW_S / 2)
    answers = [await shop.pay(pay_for()), await shop.pay(pay_for())]

    assert [code(answer) for answer in answers] == ["outcome_unknown", None]
    assert bank.captured("t1") == [1000]


@story
async def test_unavailable_is_final(shop: Shop, bank: Bank) -> None:
    """Certainly nothing was sent: the answer is stored, and a new transaction is a new chance."""
    await shop.boot()
    bank.will(Play.UNAVAILABLE)

    first = await shop.pay(pay_for())

    assert (code(first), (await shop.row()).state) == ("processor_unavailable", State.UNAVAILABLE)
    assert (await shop.pay(pay_for())).reply == first.reply
    assert code(await shop.pay(pay_for("t2"))) is None
    assert bank.looked_up == []


# --- In doubt, and settled -------------------------------------------------------------------------------------------


@story
async def test_outcome_unknown_is_answered_and_not_stored(clock: WallClock, shop_at: Callable[[Bank], Shop]) -> None:
    """A row in doubt has no reply of its own."""
    shop = shop_at(Bank(clock, honours_keys=False, looks_up=False))
    await shop.boot()
    shop.bank.will(Play.HANG_AFTER)

    assert code(await shop.pay(pay_for())) == "outcome_unknown"

    row = await shop.row()
    assert (row.state, row.reply_status, row.reply_body) == (State.IN_DOUBT, None, None)


@pytest.mark.parametrize(
    ("captured", "expected", "state"),
    [(True, None, State.APPROVED), (False, "processing_error", State.NOT_CAPTURED)],
    ids=["captured", "not captured"],
)
@story
async def test_after_a_person_settled_it_the_same_id_gets_the_truth(
    clock: WallClock,
    shop_at: Callable[[Bank], Shop],
    *,
    captured: bool,
    expected: str | None,
    state: State,
) -> None:
    """`settle` is final: retries replay it, a second settlement is refused, and who said so is kept."""
    bank = Bank(clock, honours_keys=False, looks_up=False)
    shop = shop_at(bank)
    await shop.boot()
    bank.will(Play.HANG_AFTER if captured else Play.HANG_BEFORE)
    await shop.pay(pay_for())

    settled = await shop.connector.recovery.settle(await shop.row(), captured=captured, by="ada: bank statement")
    retry = await shop.pay(pay_for())

    assert settled is not None
    assert (settled.reply, code(retry)) == (retry.reply, expected)
    row = await shop.row()
    assert (row.state, row.settled_by) == (state, "ada: bank statement")
    assert await shop.connector.recovery.settle(row, captured=not captured, by="eve") is None
    assert said(retry)["charge_id"] == (row.id if captured else None)


@story
async def test_what_is_running_cannot_be_settled_by_a_person(shop: Shop, bank: Bank) -> None:
    """While an owner's lease lasts, its own answer is awaited."""
    await shop.boot()
    bank.gate = asyncio.Event()
    delivery = shop.start(pay_for())
    await turns()

    assert await shop.connector.recovery.settle(await shop.row(), captured=False, by="ada: impatient") is None

    bank.gate.set()
    assert code(await delivery) is None


@pytest.mark.parametrize(("play", "expected"), [(Play.HANG_AFTER, None), (Play.HANG_BEFORE, "processing_error")])
@story
async def test_a_look_up_that_works_again_tells_the_truth(
    shop: Shop, bank: Bank, play: Play, expected: str | None
) -> None:
    """A retry of what is in doubt looks up once more, and what that finds is final."""
    await shop.boot()
    bank.will(play)
    bank.look = Look.UNKNOWN
    assert code(await shop.pay(pay_for())) == "outcome_unknown"

    bank.heal()
    truth, again = await shop.pay(pay_for()), await shop.pay(pay_for())

    assert (code(truth), truth.how) == (expected, How.LOOKED_UP)
    assert (again.reply, again.how) == (truth.reply, How.REPLAYED)
    assert len(bank.asked) == 1


@story
async def test_a_second_charge_of_the_same_card_and_amount_is_flagged_while_the_first_is_in_doubt(
    shop: Shop, bank: Bank
) -> None:
    """The caller may have hung up and called again: the new row names the one in doubt. Afterwards no more."""
    await shop.boot()
    bank.will(Play.HANG_AFTER)
    bank.look = Look.UNKNOWN
    await shop.pay(pay_for("t1"))

    await shop.pay(pay_for("t2"))
    await shop.pay(pay_for("another amount", amount="10.01"))
    await shop.pay(pay_for("another card", cardnumber="5555555555554444"))
    bank.heal()
    await shop.pay(pay_for("t1"))
    await shop.pay(pay_for("t3"))

    assert (await shop.row("t2")).possible_duplicate_of == (await shop.row("t1")).id
    for unflagged in ("another amount", "another card", "t3"):
        assert (await shop.row(unflagged)).possible_duplicate_of is None
    assert "possible_duplicate" in shop.events()


# --- What goes wrong after the claim ---------------------------------------------------------------------------------


@pytest.mark.parametrize("play", [Play.APPROVE, Play.DECLINE, Play.HANG_AFTER, Play.RAISE_AFTER])
@story
async def test_a_record_that_fails_is_met_with_silence_and_the_retry_hears_the_truth(
    shop: Shop, bank: Bank, play: Play
) -> None:
    """Money may have moved and cannot be written down: no reply, above all no error, until it can."""
    await shop.boot()
    bank.will(play)
    shop.execute("CREATE TRIGGER full BEFORE UPDATE ON ledger BEGIN SELECT RAISE(ABORT, 'disk full'); END")

    answer = await shop.pay(pay_for())

    assert answer.reply is None
    shop.execute("DROP TRIGGER full")
    retry = await shop.pay(pay_for())
    assert code(retry) == ("insufficient_funds" if play is Play.DECLINE else None)
    assert len(bank.captured("t1")) == (play is not Play.DECLINE)


@story
async def test_a_record_that_fails_once_is_made_up_by_look_up(shop: Shop, bank: Bank) -> None:
    """The same delivery still hears the truth."""

    class FailsOnce(SqliteStore):
        failed = False

        async def record(self, settlement: Settlement) -> bool:
            if not self.failed:
                self.failed = True
                raise OSError
            return await super().record(settlement)

    await shop.boot(FailsOnce)

    answer = await shop.pay(pay_for())

    assert (code(answer), (await shop.row()).state) == (None, State.APPROVED)
    assert (len(bank.asked), len(bank.looked_up)) == (1, 1)
    assert "error_after_claim" in shop.events()


@story
async def test_a_log_that_cannot_be_written_stops_no_payment(shop: Shop, bank: Bank) -> None:
    """Nobody reads stderr any more (`serve 2>&1 | head`): payments go on, and hear the truth."""

    class Broken(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    shop.log = Broken()
    await shop.boot()
    bank.will(Play.RAISE_AFTER)

    answer = await shop.pay(pay_for())

    assert code(answer) is None


@pytest.mark.parametrize("method", ["charge", "tokenize"])
@pytest.mark.parametrize(
    "trouble",
    [
        "CREATE TRIGGER trouble BEFORE INSERT ON ledger BEGIN SELECT RAISE(ABORT, 'disk full'); END",
        "ALTER TABLE ledger RENAME TO trouble",
    ],
    ids=["cannot write", "cannot read"],
)
@story
async def test_a_claim_that_fails_is_a_503_and_nothing_is_sent(
    shop: Shop, bank: Bank, method: str, trouble: str
) -> None:
    """503 means: this delivery sent nothing. When the store is well again, the same id is charged."""
    await shop.boot()
    shop.execute(trouble)

    answer = await shop.pay(pay_for(method=method))

    assert answer.reply is not None
    assert (answer.reply.status, code(answer)) == (503, "store_unavailable")
    assert (bank.asked, shop.vault()) == ([], {})
    shop.execute("ALTER TABLE trouble RENAME TO ledger" if "RENAME" in trouble else "DROP TRIGGER trouble")
    assert code(await shop.pay(pay_for(method=method))) is None


@story
async def test_a_database_that_a_stranger_has_locked_is_waited_for_once(shop: Shop, bank: Bank) -> None:
    """Somebody's shell is in a transaction: all who came together hear 503 after one wait, not after one each."""
    await shop.boot()
    shop.execute("PRAGMA busy_timeout = 20")
    begun: list[str] = []
    with contextlib.closing(sqlite3.connect(shop.home / "ledger.db", isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        shop.store.journal.connection.set_trace_callback(
            lambda statement: begun.append(statement) if statement.startswith("BEGIN") else None
        )
        answers = await asyncio.gather(*(shop.pay(pay_for(f"t{number}")) for number in range(20)))
        stranger.execute("ROLLBACK")

    assert {code(answer) for answer in answers} == {"store_unavailable"}
    assert (len(begun), bank.asked) == (1, [])
    assert code(await shop.pay(pay_for())) is None


@story
async def test_a_vault_that_cannot_seal_is_a_503_and_nothing_is_sent(shop: Shop, bank: Bank) -> None:
    """Where the card could not be kept, the charge that should keep it is not made."""
    await shop.boot()
    shop.execute("CREATE TRIGGER trouble BEFORE UPDATE ON key BEGIN SELECT RAISE(ABORT, 'disk full'); END")

    answer = await shop.pay(pay_for(parameters={"save_card": "true"}))

    assert (code(answer), bank.asked, shop.rows()) == ("store_unavailable", [], 0)


@story
async def test_one_bad_claim_harms_no_neighbour_in_its_group_commit(shop: Shop, bank: Bank) -> None:
    """A batch that fails is tried one by one: only the bad one hears 503."""
    await shop.boot()
    shop.execute(
        "CREATE TRIGGER trouble BEFORE INSERT ON ledger WHEN new.transaction_id = 't3'"
        " BEGIN SELECT RAISE(ABORT, 'this one'); END"
    )

    answers = await asyncio.gather(*(shop.pay(pay_for(f"t{number}")) for number in range(8)))

    assert [code(answer) for answer in answers] == [None, None, None, "store_unavailable", None, None, None, None]
    assert (len(bank.captures), shop.rows()) == (7, 7)


# --- Owner, lease, fence ---------------------------------------------------------------------------------------------


@story
async def test_an_owner_that_was_stopped_for_too_long_loses_its_row(shop: Shop, bank: Bank) -> None:
    """Another takes over after the lease; what the first then records touches nothing, and it tells the same bytes."""
    stalled = await shop.boot()
    other = await shop.beside()
    bank.gate = asyncio.Event()
    first = shop.start(pay_for(), by=stalled)
    await turns()
    gate, bank.gate = bank.gate, None

    shop.clock.forward(LEASE_S)
    taken_over = await shop.pay(pay_for(), by=other)
    row = await shop.row()
    gate.set()

    assert (code(taken_over), taken_over.how, row.fence) == (None, How.TAKEN_OVER, 2)
    assert (await first).reply == taken_over.reply
    assert await shop.row() == row
    assert "fence_lost" in shop.events()
    assert bank.captured("t1") == [1000]


@story
async def test_an_owner_that_lost_its_row_records_nothing_while_the_other_is_still_at_work(
    shop: Shop, bank: Bank
) -> None:
    """The row is running, and another's: what the first found out is not written, and not told."""
    stalled = await shop.boot()
    other = await shop.beside()
    bank.gate = first_gate = asyncio.Event()
    first = shop.start(pay_for(), by=stalled)
    await turns()
    bank.gate = second_gate = asyncio.Event()
    shop.clock.forward(LEASE_S)
    second = shop.start(pay_for(), by=other)
    await turns()
    row = await shop.row()

    first_gate.set()

    assert (await first).reply is None
    assert (row.state, row.fence, await shop.row()) == (State.RUNNING, 2, row)
    second_gate.set()
    assert code(await second) is None
    assert bank.captured("t1") == [1000]


@story
async def test_an_owner_that_lost_its_row_to_a_doubt_says_nothing(
    clock: WallClock, shop_at: Callable[[Bank], Shop]
) -> None:
    """The row answers, and it has no answer yet: the stalled owner does not tell what it alone believes."""
    bank = Bank(clock, honours_keys=False, looks_up=False)
    shop = shop_at(bank)
    stalled = await shop.boot()
    other = await shop.beside()
    bank.gate = asyncio.Event()
    first = shop.start(pay_for(), by=stalled)
    await turns()

    shop.clock.forward(LEASE_S)
    taken_over = await shop.pay(pay_for(), by=other)
    bank.gate.set()

    assert code(taken_over) == "outcome_unknown"
    assert (await first).reply is None
    assert (len(bank.asked), (await shop.row()).state) == (1, State.IN_DOUBT)


@story
async def test_a_lease_that_ended_between_claim_and_send_allows_no_send(
    clock: WallClock, shop_at: Callable[[Bank], Shop]
) -> None:
    """Where a second send would not be safe, an owner that slept through its lease does not make the first."""
    bank = Bank(clock, honours_keys=False, looks_up=False)
    shop = shop_at(bank)
    await shop.boot(StoppedAfterClaim)
    shop.stopped.after_claim = lambda: clock.forward(LEASE_S)

    answer = await shop.pay(pay_for())

    assert (code(answer), bank.asked) == ("outcome_unknown", [])


@story
async def test_an_owner_that_woke_up_after_a_take_over_sends_nothing(shop: Shop, bank: Bank) -> None:
    """The fence is asked again right before the send: the other one's send is the only one."""
    await shop.boot(StoppedAfterClaim)
    other = await shop.beside()
    answered: list[asyncio.Task[Answer]] = []

    def overtake() -> None:
        shop.clock.forward(LEASE_S)
        answered.append(shop.start(pay_for(), by=other))

    shop.stopped.after_claim = overtake
    late = await shop.pay(pay_for())

    assert (await answered[0]).reply == late.reply
    assert code(late) is None
    assert len(bank.asked) == 1


@story
async def test_another_owners_lease_is_waited_for(shop: Shop, bank: Bank) -> None:
    """A delivery at a second host sends nothing while the first works, and hears the first one's bytes."""
    await shop.boot()
    other = await shop.beside()
    bank.gate = asyncio.Event()
    first = shop.start(pay_for())
    await turns()

    second = shop.start(pay_for(), by=other)
    await asyncio.sleep(30)
    assert not second.done()
    bank.gate.set()

    assert (await first).reply == (await second).reply
    assert len(bank.asked) == 1


@story
async def test_a_silent_owners_row_is_taken_over_when_its_lease_ends_and_not_before(
    shop: Shop, bank: Bank, clock: WallClock
) -> None:
    """Without the home's lock nobody knows that an owner is dead: only its lease tells."""
    await shop.boot()
    bank.will(Play.HANG_AFTER)
    other = await shop.beside()
    dead = shop.start(pay_for())
    await turns()
    shop.kill()
    await turns()
    assert dead.cancelled()
    lease_until_ms = (await shop.row()).lease_until_ms

    answer = await shop.pay(pay_for(), by=other)

    assert (code(answer), answer.how) == (None, How.TAKEN_OVER)
    assert lease_until_ms <= clock() <= lease_until_ms + 1000
    assert (len(bank.asked), bank.captured("t1")) == (1, [1000])


@story
async def test_after_a_restart_no_lease_of_an_earlier_boot_is_waited_for(
    shop: Shop, bank: Bank, clock: WallClock
) -> None:
    """Who holds the home's lock knows that earlier owners are dead: the retry is answered at once."""
    await shop.boot()
    bank.will(Play.HANG_AFTER)
    shop.start(pay_for())
    await turns()
    await shop.crash()
    await shop.boot()
    began_ms = clock()

    answer = await shop.pay(pay_for())

    assert (code(answer), clock() - began_ms) == (None, 0)
    assert (len(bank.asked), bank.captured("t1")) == (1, [1000])


@pytest.mark.parametrize("traits", [{}, {"looks_up": False}, {"honours_keys": False}], ids=str)
@story
async def test_a_claim_whose_owner_died_before_the_send_is_charged_only_where_that_is_safe(
    clock: WallClock, shop_at: Callable[[Bank], Shop], traits: dict[str, bool]
) -> None:
    """Nobody knows that nothing was sent. Where keys are honoured the retry sends; elsewhere the look-up decides."""
    bank = Bank(clock, **traits)
    shop = shop_at(bank)
    await shop.boot(StoppedAfterClaim)

    def die() -> None:
        raise asyncio.CancelledError

    shop.stopped.after_claim = die
    shop.start(pay_for())
    await turns()
    await shop.crash()
    await shop.boot()
    assert ((await shop.row()).state, bank.asked) == (State.RUNNING, [])

    answers = [await shop.pay(pay_for()), await shop.pay(pay_for())]

    is_safe = bank.traits.honours_keys
    assert [code(answer) for answer in answers] == (
        [None, None] if is_safe else ["outcome_unknown", "processing_error"]
    )
    assert len(bank.asked) == (1 if is_safe else 0)


# --- Recovery --------------------------------------------------------------------------------------------------------


async def crashed(shop: Shop, play: Play) -> None:
    """A charge whose process died while the bank had it; and a restart."""
    await shop.boot()
    shop.bank.will(play)
    shop.start(pay_for())
    await turns()
    await shop.crash()
    await shop.boot()


@pytest.mark.parametrize(
    ("play", "state"), [(Play.HANG_AFTER, State.APPROVED), (Play.HANG_BEFORE, State.NOT_CAPTURED)], ids=lambda v: v.name
)
@story
async def test_recovery_looks_up_and_never_sends(shop: Shop, bank: Bank, play: Play, state: State) -> None:
    """Without card and CVV nothing is sent, not even where keys are honoured: what was not captured stays so."""
    await crashed(shop, play)
    row = await shop.row()
    await asyncio.sleep(YOUNG_S)

    assert await shop.connector.recovery.reconcile() == {row.id: state}

    assert (len(bank.asked), (await shop.row()).state) == (1, state)
    assert code(await shop.pay(pay_for())) == (None if state is State.APPROVED else "processing_error")
    assert len(bank.asked) == 1


@story
async def test_recovery_leaves_young_rows_to_the_retry(shop: Shop, bank: Bank) -> None:
    """For two minutes the row waits for the retry, which can charge; recovery could only give up."""
    await crashed(shop, Play.HANG_BEFORE)

    await asyncio.sleep(YOUNG_S - 1)
    assert await shop.connector.recovery.reconcile() == {}

    assert code(await shop.pay(pay_for())) is None
    assert bank.captured("t1") == [1000]


@story
async def test_recovery_leaves_living_owners_alone(shop: Shop, bank: Bank) -> None:
    """A row whose lease lasts is its owner's, however soon `reconcile` is told to look."""
    await shop.boot()
    other = await shop.beside()
    bank.gate = asyncio.Event()
    first = shop.start(pay_for())
    await turns()
    row = await shop.row()

    assert await other.recovery.reconcile(older_than_ms=0) == {row.id: State.RUNNING}

    assert (await shop.row(), bank.looked_up) == (row, [])
    bank.gate.set()
    assert code(await first) is None


@pytest.mark.parametrize("look", [Look.UNKNOWN, Look.RAISE, Look.HANG])
@story
async def test_recovery_without_an_answer_leaves_a_doubt_and_settles_it_later(
    shop: Shop, bank: Bank, look: Look
) -> None:
    """Each round looks up again what is in doubt."""
    await crashed(shop, Play.HANG_AFTER)
    row = await shop.row()
    await asyncio.sleep(YOUNG_S)
    bank.look = look

    assert await shop.connector.recovery.reconcile() == {row.id: State.IN_DOUBT}
    assert await shop.connector.recovery.reconcile() == {row.id: State.IN_DOUBT}
    bank.heal()
    assert await shop.connector.recovery.reconcile() == {row.id: State.APPROVED}

    assert await shop.connector.recovery.reconcile() == {}
    assert len(bank.asked) == 1


@story
async def test_recovery_believes_not_found_only_when_nothing_can_be_on_its_way(
    clock: WallClock, shop_at: Callable[[Bank], Shop]
) -> None:
    """What a dead owner sent may arrive until the processor's own maximum after the restart."""
    bank = Bank(clock, conclusive_after_s=300)
    shop = shop_at(bank)
    await crashed(shop, Play.LATE)
    row = await shop.row()
    await asyncio.sleep(YOUNG_S)

    assert await shop.connector.recovery.reconcile() == {row.id: State.IN_DOUBT}
    await asyncio.sleep(299)
    assert await shop.connector.recovery.reconcile() == {row.id: State.APPROVED}
    assert code(await shop.pay(pay_for())) is None


@story
async def test_recovery_and_a_retry_at_once_agree(shop: Shop, bank: Bank) -> None:
    """Whoever is first, the row has one outcome, and the bank one capture at most."""
    await crashed(shop, Play.HANG_BEFORE)
    await asyncio.sleep(YOUNG_S)

    recovery = shop.background(shop.connector.recovery.reconcile())
    retry = await shop.pay(pay_for())
    await recovery

    assert code(retry) in {None, "processing_error"}
    assert (await shop.pay(pay_for())).reply == retry.reply
    assert len(bank.captured("t1")) == (code(retry) is None)


@story
async def test_one_row_that_recovery_cannot_settle_does_not_keep_it_from_the_others(shop: Shop, bank: Bank) -> None:
    """A row that cannot be written is met again next round; its neighbours are settled in this one."""
    await shop.boot()
    bank.will(Play.HANG_AFTER, Play.HANG_AFTER)
    for transaction_id in ("t1", "t2"):
        shop.start(pay_for(transaction_id))
    await turns()
    await shop.crash()
    await shop.boot()
    shop.execute(
        "CREATE TRIGGER trouble BEFORE UPDATE ON ledger WHEN new.transaction_id = 't1'"
        " BEGIN SELECT RAISE(ABORT, 'this one'); END"
    )
    await asyncio.sleep(YOUNG_S)

    await shop.connector.recovery.reconcile()

    assert ((await shop.row("t1")).state, (await shop.row("t2")).state) == (State.RUNNING, State.APPROVED)


@story
async def test_a_drain_waits_for_what_is_in_flight(shop: Shop, bank: Bank) -> None:
    """The end of a process waits for its purchases, with or without callers."""
    await shop.boot()
    bank.gate = asyncio.Event()
    caller = shop.start(pay_for())
    await turns()
    caller.cancel()
    await turns()

    drained = shop.background(shop.connector.drain())
    await turns()
    assert (drained.done(), shop.connector.at_work, shop.connector.is_draining) == (False, 1, True)
    bank.gate.set()
    await drained

    assert (await shop.row()).state is State.APPROVED


# --- A charge that keeps the card ------------------------------------------------------------------------------------

SAVING: dict[str, object] = {"parameters": {"save_card": "true"}}


@pytest.mark.parametrize(
    ("play", "expected"),
    [(Play.APPROVE, None), (Play.DECLINE, "insufficient_funds"), (Play.UNAVAILABLE, "processor_unavailable")],
)
@story
async def test_a_saved_card_is_pending_until_its_charge_succeeds(
    shop: Shop, bank: Bank, play: Play, expected: str | None
) -> None:
    """Sealed with the claim, active with the approval, gone with anything else."""
    await shop.boot()
    bank.will(play)
    bank.gate = asyncio.Event()
    delivery = shop.start(pay_for(**SAVING))
    await turns()
    token_id = (await shop.row()).token_id
    assert token_id is not None
    assert shop.vault() == {token_id: False}

    bank.gate.set()
    answer = await delivery

    assert code(answer) == expected
    assert shop.vault() == ({token_id: True} if expected is None else {})
    assert said(answer).get("parameters", {}).get("token_id") == (token_id if expected is None else None)


@pytest.mark.parametrize("captured", [True, False])
@story
async def test_a_saved_card_stays_pending_while_its_charge_is_in_doubt(
    shop: Shop, bank: Bank, *, captured: bool
) -> None:
    """It becomes active, or goes, with the truth."""
    await shop.boot()
    bank.will(Play.HANG_AFTER if captured else Play.HANG_BEFORE)
    bank.look = Look.UNKNOWN
    assert code(await shop.pay(pay_for(**SAVING))) == "outcome_unknown"
    assert list(shop.vault().values()) == [False]

    bank.heal()
    await shop.pay(pay_for(**SAVING))

    assert list(shop.vault().values()) == ([True] if captured else [])


@story
async def test_a_plain_charge_keeps_no_card(shop: Shop) -> None:
    """Nothing of the PAN is stored but a keyed fingerprint, the BIN and four digits."""
    await shop.boot()

    await shop.pay(pay_for())

    assert shop.vault() == {}
    assert (await shop.row()).token_id is None


@story
async def test_a_charge_that_saves_needs_the_permission_to_tokenize(shop: Shop, bank: Bank) -> None:
    """A credential that may only charge cannot fill the vault: refused, and not charged either."""
    await shop.boot()

    answer = await shop.pay(pay_for(**SAVING), scopes=[Method.CHARGE])

    assert (code(answer), bank.asked, shop.rows()) == ("not_permitted", [], 0)


@story
async def test_an_instance_can_save_the_card_of_every_charge(shop: Shop) -> None:
    """Where the merchant cannot send parameters; a credential that may not tokenize charges all the same."""
    shop.instance = replace(shop.instance, save_card_on_charge=True)
    await shop.boot()

    saved = await shop.pay(pay_for("t1"))
    unsaved = await shop.pay(pay_for("t2"), scopes=[Method.CHARGE])

    assert said(saved)["parameters"]["token_id"] in shop.vault()
    assert (code(unsaved), "token_id" in said(unsaved)["parameters"], len(shop.vault())) == (None, False, 1)


# --- A token ---------------------------------------------------------------------------------------------------------

TOKENIZE: dict[str, object] = {"method": "tokenize", "amount": None, "currency_code": None}


@pytest.mark.parametrize(
    "instrument",
    [
        {},
        {"cardnumber": None, "cvv": None, "bankaccountnumber": "123456789", "routingnumber": "110000000"},
    ],
    ids=["card", "bank account"],
)
@story
async def test_a_token_is_one_row_and_one_vault_entry_that_opens(
    shop: Shop, bank: Bank, instrument: dict[str, object]
) -> None:
    """The token_id is the row's id, the vault holds the instrument sealed, without its CVV, and no money moved."""
    await shop.boot()
    asked = pay_for(**TOKENIZE, **instrument)

    answer = await shop.pay(asked)

    row = await shop.row()
    assert (said(answer)["token_id"], row.state, shop.vault()) == (row.id, State.SAVED, {row.id: True})
    assert said(answer)["parameters"]["status"] == "saved"
    assert shop.unsealed(row.id) == without_cvv(asked.instrument)
    assert (bank.asked, bank.captures, len(bank.verified)) == ([], [], 1)


@story
async def test_a_card_that_is_good_without_asking_is_saved_by_the_claim_alone(
    shop_at: ShopAt, clock: WallClock
) -> None:
    """The bank is not asked, the ledger is not read beforehand, and a replay says the same bytes."""
    bank = Wise(clock)
    shop = shop_at(bank)
    await shop.boot()
    asked = pay_for(**TOKENIZE)

    answer, again = await shop.pay(asked), await shop.pay(asked)

    row = await shop.row()
    assert (said(answer)["token_id"], row.state, shop.vault()) == (row.id, State.SAVED, {row.id: True})
    assert shop.unsealed(row.id) == without_cvv(asked.instrument)
    assert (again.reply, again.how) == (answer.reply, How.REPLAYED)
    assert (bank.verified, shop.connector.at_work) == ([], 0)


@story
async def test_a_card_that_is_bad_without_asking_is_refused_and_stays_so(shop_at: ShopAt, clock: WallClock) -> None:
    """A decline that is known at once is a row without a token; where nothing is known at once, the bank is asked."""
    bank = Wise(clock)
    shop = shop_at(bank)
    await shop.boot()
    bank.says = Declined(code=DeclineCode.LOST_CARD)
    refused = await shop.pay(pay_for("t1", **TOKENIZE))
    bank.says = None

    again, asked = await shop.pay(pay_for("t1", **TOKENIZE)), await shop.pay(pay_for("t2", **TOKENIZE))

    assert (code(refused), again.reply, code(asked)) == ("lost_card", refused.reply, None)
    assert (len(bank.verified), len(shop.vault())) == (1, 1)


@story
async def test_of_many_saves_at_once_one_is_the_first(shop_at: ShopAt, clock: WallClock) -> None:
    """64 deliveries of one tokenize are one token, and identical bytes; another card under its id is a conflict."""
    shop = shop_at(Wise(clock))
    await shop.boot()

    answers = await asyncio.gather(*(shop.pay(pay_for(**TOKENIZE)) for _ in range(DUPLICATES)))
    other = await shop.pay(pay_for(**TOKENIZE, cardnumber="5555555555554444"))

    assert len({answer.reply for answer in answers}) == 1
    assert (len(shop.vault()), shop.rows(), code(other)) == (1, 1, "transaction_id_reused")


@story
async def test_a_caller_who_leaves_a_save_finds_its_token_later(shop_at: ShopAt, clock: WallClock) -> None:
    """The claim is committed without its caller; the retry hears the token."""
    shop = shop_at(Wise(clock))
    await shop.boot()
    delivery = shop.start(pay_for(**TOKENIZE))
    await turns(1)
    assert shop.connector.at_work == 1
    delivery.cancel()
    await asyncio.wait([delivery])

    answer = await shop.pay(pay_for(**TOKENIZE))

    assert (answer.how, shop.connector.at_work) == (How.REPLAYED, 0)
    assert said(answer)["token_id"] == (await shop.row()).id


@story
async def test_the_same_card_twice_is_two_tokens_of_one_fingerprint(shop: Shop) -> None:
    """Tokens tell nothing about each other; who has the key can tell that the card is the same."""
    await shop.boot()

    await shop.pay(pay_for("t1", **TOKENIZE))
    await shop.pay(pay_for("t2", **TOKENIZE))
    await shop.pay(pay_for("t3", **TOKENIZE, cardnumber="5555555555554444"))

    rows = [await shop.row(f"t{number}") for number in (1, 2, 3)]
    assert len({row.id for row in rows}) == 3
    assert rows[0].fingerprint == rows[1].fingerprint != rows[2].fingerprint


@story
async def test_a_sealed_card_opens_nowhere_else(shop: Shop) -> None:
    """Copied to another token, a record is tampered with."""
    await shop.boot()
    await shop.pay(pay_for("t1", **TOKENIZE))
    await shop.pay(pay_for("t2", **TOKENIZE))
    first, second = await shop.row("t1"), await shop.row("t2")

    shop.execute(f"UPDATE vault SET sealed = (SELECT sealed FROM vault WHERE token_id = '{first.id}')")  # noqa: S608

    with pytest.raises(TamperedError):
        shop.unsealed(second.id)


@pytest.mark.parametrize(
    ("play", "expected"), [(Play.DECLINE, "do_not_honor"), (Play.UNAVAILABLE, "processor_unavailable")]
)
@story
async def test_a_card_that_is_not_verified_is_not_kept(shop: Shop, bank: Bank, play: Play, expected: str) -> None:
    """The refusal is a terminal row: the retry hears it, and the vault stays empty."""
    await shop.boot()
    bank.will(play)

    first = await shop.pay(pay_for(**TOKENIZE))
    again = await shop.pay(pay_for(**TOKENIZE))

    assert (code(first), again.reply) == (expected, first.reply)
    assert ((await shop.row()).state.is_terminal, shop.vault(), len(bank.verified)) == (True, {}, 1)


@pytest.mark.parametrize("play", [Play.LOSE_BEFORE, Play.RAISE_AFTER, Play.CANCEL_AFTER])
@story
async def test_a_verification_that_was_lost_is_asked_for_again(shop: Shop, bank: Bank, play: Play) -> None:
    """Nothing moves, so asking twice harms nobody."""
    await shop.boot()
    bank.will(play, play)

    answer = await shop.pay(pay_for(**TOKENIZE))

    assert (code(answer), len(bank.verified), len(shop.vault())) == (None, 3, 1)


@pytest.mark.parametrize("play", [Play.HANG_BEFORE, Play.LOSE_BEFORE, Play.RAISE_BEFORE])
@story
async def test_a_verification_that_never_answers_ends_with_the_processors_time(
    shop: Shop, bank: Bank, clock: WallClock, play: Play
) -> None:
    """It is given up after 45 seconds; others are served meanwhile, and the processor is not asked without pause."""
    await shop.boot()
    bank.will(*[play] * 1000)
    began_ms = clock()
    stuck = shop.start(pay_for(**TOKENIZE))
    await asyncio.sleep(TIMEOUT_S - 1)
    asked = len(bank.verified)
    assert (stuck.done(), asked <= 4 * TIMEOUT_S) == (False, True)

    answer = await stuck

    assert (code(answer), shop.vault()) == ("processing_error", {})
    assert clock() - began_ms <= (TIMEOUT_S + 1) * 1000


@story
async def test_tokens_that_are_asked_for_at_two_hosts_at_once_are_one(shop: Shop) -> None:
    """Both verify, one writes, both tell the same token."""
    await shop.boot()
    other = await shop.beside()

    here, there = await asyncio.gather(shop.pay(pay_for(**TOKENIZE)), shop.pay(pay_for(**TOKENIZE), by=other))

    assert here.reply == there.reply
    assert (len(shop.vault()), shop.rows()) == (1, 1)


# --- What reaches the processor --------------------------------------------------------------------------------------


@pytest.mark.parametrize("controls", [False, True], ids=["another processor", "the sandbox"])
@story
async def test_sandbox_parameters_reach_the_sandbox_only(
    clock: WallClock, shop_at: Callable[[Bank], Shop], *, controls: bool
) -> None:
    """Neither as controls nor as metadata does another processor see them, on a charge or a verification."""
    bank = Bank(clock, controls=controls)
    shop = shop_at(bank)
    await shop.boot()
    parameters = {"sandbox_outcome": "approve", "SandboxDelayMs": "0", "order": "7"}

    await shop.pay(pay_for("t1", parameters=parameters))
    await shop.pay(pay_for("t2", **TOKENIZE, parameters=parameters))

    for purchase in (*bank.asked, *bank.verified):
        assert purchase.controls == ({"outcome": "approve", "delayms": "0"} if controls else {})
        assert purchase.metadata == {"order": "7"}


@story
async def test_a_value_that_the_processor_cannot_use_is_refused_before_the_claim(
    clock: WallClock, shop_at: Callable[[Bank], Shop]
) -> None:
    """`check` is asked of new payments: 400, no row, no send."""

    class Choosy(Bank):
        def check(self, purchase: Purchase) -> str | None:
            return "sandbox_outcome" if purchase.controls else None

    bank = Choosy(clock, controls=True)
    shop = shop_at(bank)
    await shop.boot()

    answer = await shop.pay(pay_for(parameters={"sandbox_outcome": "?"}))

    assert answer.reply is not None
    assert (answer.reply.status, code(answer), bank.asked, shop.rows()) == (400, "invalid_field", [], 0)


@story
async def test_the_processor_hears_that_the_card_came_over_the_telephone(shop: Shop, bank: Bank) -> None:
    """Channel, ids, reference and metadata reach it; so do the numbers that it needs."""
    await shop.boot()

    await shop.pay(pay_for(description="Order 7", parameters={"reference": "R-7", "Order": "7"}))

    (purchase,) = bank.asked
    assert purchase.channel is Channel.TELEPHONE_ORDER
    assert (purchase.instance, purchase.transaction_id, purchase.reference) == ("Default", "t1", "R-7")
    assert (purchase.description, purchase.metadata) == ("Order 7", {"Order": "7"})
    assert purchase.money is not None
    assert (purchase.money.minor, purchase.money.currency.code) == (1000, "USD")
    assert isinstance(purchase.instrument, Card)
    assert purchase.instrument.pan.reveal() == VISA


@story
async def test_ach_details_reach_the_processor(shop: Shop, bank: Bank) -> None:
    """Holder and kind of account, which networks ask for, come through parameters; the reply says `submitted`."""
    await shop.boot()

    answer = await shop.pay(
        pay_for(
            cardnumber=None,
            cvv=None,
            bankaccountnumber="123456789",
            routingnumber="110000000",
            parameters={"AVSName": "Ada Lovelace", "bank_account_type": "consumer-checking"},
        )
    )

    (purchase,) = bank.asked
    assert purchase.ach == AchDetails("Ada Lovelace", "consumer-checking")
    assert isinstance(purchase.instrument, BankAccount)
    assert (purchase.instrument.routing_number, purchase.instrument.account_number.reveal()) == (
        "110000000",
        "123456789",
    )
    assert said(answer)["parameters"]["status"] == "submitted"
    assert said(answer)["parameters"]["bank_last4"] == "6789"


@story
async def test_free_text_arrives_without_card_numbers(shop: Shop, bank: Bank) -> None:
    """Somebody writes the card number into a description: processor, reply and database see a mask."""
    await shop.boot()

    answer = await shop.pay(
        pay_for(description=f"card {VISA}", parameters={"reference": f"R {VISA}", "note": f"n {VISA}", VISA: "name"})
    )

    (purchase,) = bank.asked
    free = f"{purchase.description} {purchase.reference} {purchase.metadata} {said(answer)} {await shop.row()}"
    assert VISA not in free
    assert purchase.metadata["note"].startswith("n ****")
    assert VISA.encode() not in shop.bytes_at_rest()


@pytest.mark.parametrize("method", ["charge", "tokenize", "charge and save"])
@story
async def test_the_cvv_reaches_the_processor_and_nothing_else(shop: Shop, bank: Bank, method: str) -> None:
    """It is in no row, file, log, reply or repr; what may be there (the last four) is found in the same places."""
    await shop.boot()
    fields = {"charge": {}, "tokenize": TOKENIZE, "charge and save": SAVING}[method]
    asked = pay_for(cardnumber=AMEX, cvv=(cvv := "7391"), **fields)

    answer = await shop.pay(asked)

    (purchase,) = (*bank.asked, *bank.verified)
    assert isinstance(purchase.instrument, Card)
    assert purchase.instrument.cvv is not None
    assert purchase.instrument.cvv.reveal() == cvv
    last4 = AMEX[-4:]
    places = {
        "at rest": shop.bytes_at_rest().decode("latin-1"),
        "answer": f"{said(answer)} {answer!r}",
        "row": repr(await shop.row()),
    }
    assert {place: (cvv in text, last4 in text) for place, text in places.items()} == dict.fromkeys(
        places, (False, True)
    )
    assert cvv not in shop.log.getvalue() + repr(asked) + repr(purchase) + f"{asked}"


# --- What meets a tokenize that is being verified --------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        pay_for(method="tokenize", cardnumber=AMEX, cvv="1234"),
        pay_for(),
        pay_for(method="tokenize", parameters={"operation": "refund"}),
    ],
    ids=["another card", "a charge", "another operation"],
)
@story
async def test_another_payment_under_the_id_of_a_verification_is_refused(
    shop: Shop, bank: Bank, other: Payment
) -> None:
    """A tokenize has no row while its card is verified. It has the id all the same: nothing else is asked or sent."""
    await shop.boot()
    bank.gate = asyncio.Event()
    first = shop.start(pay_for(method="tokenize"))
    await turns()

    second = await shop.pay(other)
    again = shop.start(pay_for(method="tokenize"))
    await turns()
    bank.gate.set()

    assert (code(second), second.how) == ("transaction_id_reused", How.CONFLICT)
    assert code(await first) is None
    assert (await again).reply == (await first).reply
    assert (len(bank.verified), bank.asked, shop.rows()) == (1, [], 1)


@story
async def test_of_two_cards_in_the_same_moment_one_is_verified(shop: Shop, bank: Bank) -> None:
    """Two tokenizes of one id and two cards arrive in one turn of the loop: the first has the id, and is saved."""
    await shop.boot()

    answers = await asyncio.gather(
        shop.pay(pay_for(method="tokenize")), shop.pay(pay_for(method="tokenize", cardnumber=AMEX, cvv="1234"))
    )

    assert [None, "transaction_id_reused"] == [code(answer) for answer in answers]
    assert (len(bank.verified), shop.rows()) == (1, 1)


@story
async def test_a_verification_that_failed_leaves_its_id_free(shop: Shop, bank: Bank) -> None:
    """Where nothing was saved because the store could not, the id is nobody's: a corrected card may have it."""
    await shop.boot()
    shop.execute("CREATE TRIGGER trouble BEFORE INSERT ON ledger BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    assert code(await shop.pay(pay_for(method="tokenize"))) == "store_unavailable"
    shop.execute("DROP TRIGGER trouble")

    answer = await shop.pay(pay_for(method="tokenize", cardnumber=AMEX, cvv="1234"))

    assert (code(answer), len(bank.verified)) == (None, 2)


# --- What history tells ----------------------------------------------------------------------------------------------


def history(shop: Shop, row: Row) -> list[tuple[str, str]]:
    """Event and request id of each of a row's notes."""
    return [(note.event, note.request_id) for note in notes_of(shop.store.journal.connection, row.id)]


@story
async def test_a_history_has_deliveries_that_wait_and_that_leave(shop: Shop, bank: Bank) -> None:
    """Twilio's ordinary slow charge: the first two callers give up, the third is there when the answer comes."""
    await shop.boot()
    bank.gate = asyncio.Event()
    callers = []
    for _attempt in range(3):
        callers.append(shop.start(pay_for()))
        await asyncio.sleep(10)
    row = await shop.row()
    assert [("sent", "req_1"), ("waiting", "req_2"), ("waiting", "req_3")] == history(shop, row)

    for caller in callers[:2]:
        caller.cancel()
    await turns()
    bank.gate.set()
    await callers[2]
    await turns()

    assert [("left", "req_1"), ("left", "req_2"), ("waited", "req_3")] == history(shop, row)[3:]
    assert "unheard" not in shop.events()


@story
async def test_an_answer_that_nobody_waited_for_is_logged(shop: Shop, bank: Bank) -> None:
    """When all callers have left, the outcome is told once, with its charge: no delivery's own event tells it."""
    await shop.boot()
    bank.gate = asyncio.Event()
    callers = [shop.start(pay_for()) for _ in range(2)]
    await turns()
    for caller in callers:
        caller.cancel()
    await turns()

    bank.gate.set()
    await turns()

    assert shop.events().count("unheard") == 1
    assert (await shop.row()).id in shop.log.getvalue()


@story
async def test_a_quick_send_costs_no_note(shop: Shop) -> None:
    """Where the bank answers at once, the row tells when it was sent."""
    await shop.boot()

    await shop.pay(pay_for())
    await asyncio.sleep(60)

    row = await shop.row()
    assert ([], True) == (history(shop, row), row.sent_at_ms is not None)


@story
async def test_a_history_keeps_that_the_outcome_was_unknown(clock: WallClock, shop_at: ShopAt) -> None:
    """Once a doubt is settled the row forgets it. The history still says that `outcome_unknown` was heard, and when."""
    bank = Bank(clock, honours_keys=False)
    shop = shop_at(bank)
    await shop.boot()
    bank.will(Play.LOSE_AFTER)
    bank.look = Look.UNKNOWN
    assert code(await shop.pay(pay_for())) == "outcome_unknown"
    bank.heal()

    await asyncio.sleep(YOUNG_S)
    await shop.connector.recovery.reconcile()
    await turns()

    row = await shop.row()
    told = [event for event, _request_id in history(shop, row)]
    assert (State.APPROVED, ["in_doubt", "reconciled"]) == (row.state, told)


@story
async def test_a_second_send_is_told_with_the_delivery_that_brought_it(shop: Shop, bank: Bank) -> None:
    """After a crash the retry brings the card again: the second send is its, not the first delivery's."""
    await shop.boot()
    bank.will(Play.HANG_BEFORE)
    shop.start(pay_for())
    await turns()
    await shop.crash()
    await shop.boot()

    answer = await shop.pay(pay_for())
    await turns()

    assert (code(answer), answer.how, len(bank.asked)) == (None, How.TAKEN_OVER, 2)
    assert {("taken_over", "req_2"), ("sent_again", "req_2")} <= set(history(shop, await shop.row()))


# --- A store that cannot be written ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["charge", "tokenize"])
@story
async def test_what_is_there_is_answered_while_nothing_can_be_written(shop: Shop, bank: Bank, method: str) -> None:
    """The claim fails, and the row can be read: a retry hears the truth, another payment that the id is taken."""
    await shop.boot()
    first = await shop.pay(pay_for(method=method))
    shop.execute("PRAGMA busy_timeout = 20")
    with contextlib.closing(sqlite3.connect(shop.home / "ledger.db", isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        again = await shop.pay(pay_for(method=method))
        other = await shop.pay(pay_for(method=method, cardnumber=AMEX, cvv="1234"))
        new = await shop.pay(pay_for("t2", method=method))
        is_usable = await shop.store.is_usable()
        stranger.execute("ROLLBACK")

    assert (first.reply, How.REPLAYED) == (again.reply, again.how)
    assert [code(other), code(new)] == ["transaction_id_reused", "store_unavailable"]
    assert (is_usable, await shop.store.is_usable()) == (False, True)
    assert len(bank.asked) == (method == "charge")
