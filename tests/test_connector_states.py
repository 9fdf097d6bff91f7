"""The connector's promise under anything that can happen, in any order: a state machine makes the stories up.

It delivers payments (alone, together, again, with another amount, to one of two hosts), lets the bank answer, refuse,
break off, hang, capture late or raise, lets look-ups fail, stops processes for longer than a lease, kills them all at
any point and starts them again, reconciles, and settles by hand what a person can know. After every step it holds what
everybody heard against what the bank captured.

The control is the same machine with a processor adapter that breaks the one rule (a new key for every send, and
look-ups that find nothing): it must find a double charge.
"""

import asyncio
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from fakes import Bank, Forgetful, Look, Play, Shop, SkippingLoop, WallClock, payment, turns
from generic_connector.answer import Answer
from generic_connector.connector import Connector
from generic_connector.contract.reply import Reply
from generic_connector.home import make_home
from generic_connector.ledger import Row, State
from generic_connector.ports import Processor

AMOUNT = "10.00"
IDS = st.sampled_from(["t1", "t2", "t3"])
AMOUNTS = st.sampled_from([AMOUNT, AMOUNT, AMOUNT, "20.00"])
HOSTS = st.integers(0, 1)
COPIES = st.sampled_from([1, 1, 1, 2, 5])
PLAYS = st.lists(st.sampled_from(list(Play)), max_size=3)
LATE_S = 100
LONG_S = 300
LEASE_S = 60
NOT_FINAL = {"transaction_id_reused", "outcome_unknown"}

EXAMPLES = settings(max_examples=100, stateful_step_count=40, deadline=None)
UNTIL_FOUND = settings(
    EXAMPLES,
    max_examples=500,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
)


class DoubleChargeError(AssertionError):
    """Money of one transaction moved twice."""


class Payments(RuleBasedStateMachine):
    """A shop with two hosts, a bank, and the memory of everything that anybody heard."""

    honours_keys = True
    looks_up = True
    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(dir=self.template.parent))
        shutil.copytree(self.template, self.directory / "home")
        self.runner = asyncio.Runner(loop_factory=SkippingLoop)
        self.clock = WallClock()
        self.bank = Bank(self.clock, honours_keys=self.honours_keys, looks_up=self.looks_up, conclusive_after_s=LATE_S)
        self.shop = Shop(self.directory / "home", self.clock, self.bank, processor=self.processor())
        self.waiting: list[tuple[str, str, asyncio.Task[Answer]]] = []
        self.heard: dict[str, tuple[str, Reply]] = {}
        self.terminal: dict[str, Row] = {}
        self.hosts: list[Connector] = []
        self.runner.run(self.boot())

    def processor(self) -> Processor:
        """What stands between the connector and the bank."""
        return self.bank

    async def boot(self) -> None:
        """Start both hosts. Nothing here cuts the power, so nothing need wait for the disk."""
        first = await self.shop.boot()
        self.shop.execute("PRAGMA synchronous=OFF")
        self.hosts = [first, await self.shop.beside()]

    def teardown(self) -> None:
        self.runner.run(self.shop.crash())
        self.runner.close()
        shutil.rmtree(self.directory)

    # --- What happens ---

    @rule(transaction_id=IDS, amount=AMOUNTS, host=HOSTS, plays=PLAYS, copies=COPIES)
    def deliver(self, transaction_id: str, amount: str, host: int, plays: list[Play], copies: int) -> None:
        """Some deliveries of one payment at once; what they send goes so."""
        self.bank.will(*plays)
        self.begin(transaction_id, amount, host, copies)
        self.listen()

    @rule(transaction_id=IDS, host=HOSTS, copies=COPIES)
    def deliver_again(self, transaction_id: str, host: int, copies: int) -> None:
        """As a carrier does that has not been answered, or not understood."""
        self.begin(transaction_id, AMOUNT, host, copies)
        self.listen()

    @rule(transaction_id=IDS, host=HOSTS, plays=PLAYS, moments=st.integers(0, 10))
    def crash_while_paying(self, transaction_id: str, host: int, plays: list[Play], moments: int) -> None:
        """Both hosts die so many moments after a delivery came."""
        self.bank.will(*plays)
        self.begin(transaction_id, AMOUNT, host, 1, moments)
        self.crash()

    @rule(transaction_id=IDS, host=HOSTS, plays=PLAYS, moments=st.integers(0, 10))
    def stall_while_paying(self, transaction_id: str, host: int, plays: list[Play], moments: int) -> None:
        """A host is stopped so many moments after a delivery came, past its lease; the other gets the retry."""
        self.bank.will(*plays)
        self.begin(transaction_id, AMOUNT, host, 1, moments)
        self.the_hosts_are_stopped(LEASE_S + 1)
        self.begin(transaction_id, AMOUNT, 1 - host, 1)
        self.listen()

    def begin(self, transaction_id: str, amount: str, host: int, copies: int, moments: int = 30) -> None:
        """Deliver, and let the loop go round so many times."""

        async def deliver() -> None:
            asked = payment(transaction_id, amount=amount)
            for _copy in range(copies):
                self.waiting.append((transaction_id, amount, self.shop.start(asked, by=self.hosts[host])))
            await turns(moments)

        self.runner.run(deliver())

    @rule(look=st.sampled_from(list(Look)))
    def look_ups_go(self, look: Look) -> None:
        """Look-ups may fail, but they do not lie."""
        self.bank.look = Look.TRUTH if look is Look.NOT_FOUND else look

    @rule(seconds=st.sampled_from([0.3, 5.0, 20.0, 46.0, 101.0]))
    def time_passes(self, seconds: float) -> None:
        """For everybody."""
        self.runner.run(asyncio.sleep(seconds))
        self.listen()

    @precondition(lambda self: self.is_unsettled())
    @rule(seconds=st.sampled_from([20, LEASE_S + 1]))
    def the_hosts_are_stopped(self, seconds: int) -> None:
        """Time passes for the world and the bank; the hosts, and their timers, stand still."""
        self.clock.forward(seconds)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def a_caller_leaves(self, data: st.DataObject) -> None:
        """And is not told anything any more."""
        left = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(left)
        left[2].cancel()
        self.runner.run(turns())

    @precondition(lambda self: self.waiting)
    @rule()
    def crash(self) -> None:
        """Both hosts die, wherever they stand, and start again."""
        self.listen()
        self.waiting.clear()
        self.runner.run(self.shop.crash())
        self.runner.run(self.boot())

    @precondition(lambda self: self.is_unsettled())
    @rule(older_than_s=st.sampled_from([0, 120]), host=HOSTS)
    def reconcile(self, older_than_s: int, host: int) -> None:
        """Look up, and never send."""
        sent = len(self.bank.asked)
        working = sum(connector.at_work for connector in self.hosts)
        self.runner.run(self.hosts[host].recovery.reconcile(older_than_ms=older_than_s * 1000))
        assert working or sent == len(self.bank.asked), "reconcile has sent something"
        self.listen()

    @precondition(lambda self: self.is_unsettled())
    @rule(transaction_id=IDS)
    def settle(self, transaction_id: str) -> None:
        """A person reads the bank's statement, once nothing can be on its way any more, and says what is in it."""

        async def say() -> None:
            row = await self.shop.store.find(1, transaction_id)
            if row is None or row.state is not State.IN_DOUBT or self.bank.is_on_the_way(transaction_id):
                return
            captured = bool(self.bank.captured(transaction_id))
            await self.hosts[0].recovery.settle(row, captured=captured, by="a person")

        self.runner.run(say())

    @rule()
    def all_is_well_for_long(self) -> None:
        """With a bank and look-ups that work again, everybody is answered, and one round leaves nothing unsettled."""
        self.bank.heal()

        async def wait_and_reconcile() -> None:
            await asyncio.sleep(LONG_S)
            await self.hosts[0].recovery.reconcile(older_than_ms=0)
            unsettled = await self.shop.store.unsettled(claimed_before_ms=self.clock())
            assert not self.looks_up or not unsettled, "there is a look-up, and it was not believed"
            assert all(row.state is State.IN_DOUBT for row in unsettled), "something runs for ever"

        self.runner.run(wait_and_reconcile())
        self.listen()
        assert not self.waiting, "somebody waits for ever"

    def is_unsettled(self) -> bool:
        """Whether anything runs or is in doubt."""

        async def look() -> bool:
            return bool(await self.shop.store.unsettled(claimed_before_ms=self.clock()))

        return self.runner.run(look())

    # --- What must hold ---

    def listen(self) -> None:
        """Take down what was answered."""
        for transaction_id, amount, delivery in list(self.waiting):
            if not delivery.done():
                continue
            self.waiting.remove((transaction_id, amount, delivery))
            answer = delivery.result()
            if answer.reply is None:
                continue
            told = json.loads(answer.reply.body)
            if told["error_code"] in NOT_FINAL:
                continue
            assert answer.reply.status == 200, "an error after a claim"
            before = self.heard.setdefault(transaction_id, (amount, answer.reply))
            assert before == (amount, answer.reply), "two different answers under one id"

    @invariant()
    def no_money_moves_twice(self) -> None:
        """One capture at most for a transaction, and for a key."""

        async def count() -> dict[str, int]:
            return {transaction_id: len(self.bank.captured(transaction_id)) for transaction_id in ("t1", "t2", "t3")}

        counted = self.runner.run(count())
        keys = [capture.idempotency_key for capture in self.bank.captures]
        if max(counted.values()) > 1 or len(keys) != len(set(keys)):
            raise DoubleChargeError(counted)

    @invariant()
    def without_keys_there_is_one_send(self) -> None:
        """Where the processor does not honour keys, whatever else it can."""
        sent = [purchase.transaction_id for purchase in self.bank.asked]
        assert self.honours_keys or len(sent) == len(set(sent)), "sent twice without keys"

    @invariant()
    def what_was_answered_is_what_the_bank_did(self) -> None:
        """A charge_id is money that moved, in that amount; any other final answer is money that never will."""
        captured = {capture.transaction_id: capture.minor for capture in self.bank.captures}
        for transaction_id, (amount, reply) in self.heard.items():
            has_id = json.loads(reply.body)["charge_id"] is not None
            expected = int(amount.replace(".", "")) if has_id else None
            assert captured.get(transaction_id) == expected, f"{transaction_id}: {reply.body!r}"

    @invariant()
    def terminal_rows_never_change(self) -> None:
        """Once there is a reply in it, not a byte of a row changes, and none is gone."""

        async def read() -> list[Row | None]:
            return [await self.shop.store.find(1, transaction_id) for transaction_id in ("t1", "t2", "t3")]

        rows = {row.id: row for row in self.runner.run(read()) if row is not None and row.state.is_terminal}
        assert {id_: rows.get(id_) for id_ in self.terminal} == self.terminal
        self.terminal |= rows


class OnlyKeys(Payments):
    """A processor that honours keys and cannot be asked."""

    looks_up = False


class OnlyLookUps(Payments):
    """A processor that can be asked and honours no keys."""

    honours_keys = False


class Neither(Payments):
    """A processor of which one can only hope."""

    honours_keys = False
    looks_up = False


class Control(Payments):
    """An adapter that says it honours keys, and does not."""

    def processor(self) -> Processor:
        return Forgetful(self.bank)

    def what_was_answered_is_what_the_bank_did(self) -> None:
        """Not looked at here: such an adapter has many faults, and the worst is to be found."""


@pytest.fixture(autouse=True)
def _template(tmp_path: Path) -> Iterator[None]:
    """A home that is made once, and copied for every story."""
    Payments.template = tmp_path / "template"
    make_home(Payments.template)
    yield
    del Payments.template


@pytest.mark.timeout(300)
@pytest.mark.parametrize("machine", [Payments, OnlyKeys, OnlyLookUps, Neither])
def test_whatever_happens_each_transaction_is_charged_once_at_most_and_everybody_hears_the_truth(
    machine: type[Payments],
) -> None:
    """Crashes, stalls, duplicates, lost and late answers, in any order, at processors of every kind."""
    run_state_machine_as_test(machine, settings=EXAMPLES)


@pytest.mark.timeout(300)
def test_the_machine_finds_the_double_charge_of_an_adapter_that_changes_keys() -> None:
    """The control: with a new key for every send, and look-ups that find nothing, money moves twice, and is seen to."""
    with pytest.raises(DoubleChargeError):
        run_state_machine_as_test(Control, settings=UNTIL_FOUND)
