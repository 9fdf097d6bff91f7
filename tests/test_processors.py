"""Processors: how they are found, what the contract suite proves, and the example that third parties copy from."""

import asyncio
import importlib.util
import json
import logging
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import EntryPoints
from pathlib import Path
from types import ModuleType

import httpx
import pytest

from generic_connector import processors
from generic_connector.bank import AccountNumber, BankAccount
from generic_connector.card import Card
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
from generic_connector.ports import Processor, ProcessorContext, Purchase, Traits
from generic_connector.processors import UnknownProcessorError, contract_suite, find_processor, installed, sandbox
from generic_connector.processors.contract_suite import ProcessorContract, card_purchase

DOCS = Path(__file__).parent.parent / "docs" / "processor"
LOG = logging.getLogger("acquirer")


def context(home: Path, name: str = "acme", **options: str) -> ProcessorContext:
    """Return what a factory is given."""
    return ProcessorContext(name=name, options=options, home=home, clock=lambda: 0)


# --- Finding one -----------------------------------------------------------------------------------------------------


def install(home: Path, monkeypatch: pytest.MonkeyPatch, package: str, **entry_points: str) -> None:
    """Put a package with these entry points on the path, as pip does: metadata beside a module."""
    metadata = home / package / f"{package}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in entry_points.items()]
    (metadata / "entry_points.txt").write_text("\n".join([f"[{processors.GROUP}]", *lines]) + "\n")
    (home / package / f"{package}.py").write_text("def create(context):\n    return context.name\n\nNOTHING = 1\n")
    monkeypatch.syspath_prepend(home / package)


def made_for(factory: Callable[[ProcessorContext], object], home: Path) -> object:
    """Return what a factory of `install` makes: the name that it was given."""
    return factory(context(home))


def test_the_sandbox_is_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox is found, also from a checkout whose metadata lacks it."""
    assert find_processor("sandbox") is sandbox.create

    monkeypatch.setattr(processors, "entry_points", lambda **_wanted: EntryPoints(()))
    assert find_processor("sandbox") is sandbox.create
    assert installed() == ("sandbox",)


def test_the_metadata_names_the_factory() -> None:
    """The entry point that pyproject.toml declares is the one that is built in."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    declared = project["project"]["entry-points"][processors.GROUP]
    assert declared == {"sandbox": processors.BUILT_IN.value}


def test_a_third_party_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package's entry point is found by name; its factory is given the context."""
    install(tmp_path, monkeypatch, "acme_pay", acme="acme_pay:create")
    assert made_for(find_processor("acme"), tmp_path) == "acme"
    assert set(installed()) >= {"acme", "sandbox"}


def test_a_factory_is_found_straight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`module:name` needs no entry point."""
    install(tmp_path, monkeypatch, "direct_pay")
    assert made_for(find_processor("direct_pay:create"), tmp_path) == "acme"


def test_nobody_takes_the_name_of_the_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that calls its processor `sandbox` does not get between test instances and the sandbox."""
    install(tmp_path, monkeypatch, "greedy_pay", sandbox="greedy_pay:create")
    assert find_processor("sandbox") is sandbox.create


def test_an_unknown_name_is_told_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what is installed, and the next step."""
    install(tmp_path, monkeypatch, "other_pay", other="other_pay:create")
    with pytest.raises(
        UnknownProcessorError, match=r"No processor is called acme\. Installed: .*other.*sandbox.*install"
    ):
        find_processor("acme")


def test_one_name_in_two_packages_is_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which processor moves the money is not decided by the order of the path."""
    install(tmp_path, monkeypatch, "one_pay", acme="one_pay:create")
    install(tmp_path, monkeypatch, "two_pay", acme="two_pay:create")
    with pytest.raises(UnknownProcessorError, match=r"one_pay:create, two_pay:create"):
        find_processor("acme")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("no_such_module:create", "cannot be loaded"),
        ("broken_pay:missing", "cannot be loaded"),
        ("broken_pay:NOTHING", "no factory"),
    ],
)
def test_a_processor_that_cannot_be_loaded_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, says: str
) -> None:
    """A package that is there but broken is told apart from one that is not there."""
    install(tmp_path, monkeypatch, "broken_pay", acme=value)
    with pytest.raises(UnknownProcessorError, match=f"{value}, which .*{says}|{value}, which is {says}"):
        find_processor("acme")


# --- The contract suite, on processors right and wrong ---------------------------------------------------------------


class Bank:
    """A bank in memory: what it answered to which key, and every capture."""

    def __init__(self) -> None:
        self.answers: dict[str, Approved | Declined] = {}
        self.captures: list[str] = []

    def take(self, purchase: Purchase) -> Approved | Declined:
        key = purchase.idempotency_key
        if key not in self.answers:
            assert purchase.money is not None
            if purchase.money.minor == 666:
                self.answers[key] = Declined(code=DeclineCode.DO_NOT_HONOR, processor_reference=f"no_{key[3:9]}")
            else:
                self.captures.append(key)
                self.answers[key] = Approved(authorization_code="ABC123", processor_reference=f"ref_{key[3:20]}")
        return self.answers[key]


class RightProcessor:
    """Does everything right, over a wire of a few turns of the loop. `wire` may be cut on either side of the bank."""

    traits = Traits(honours_keys=True, looks_up=True, conclusive_after_s=0, is_live=False)

    def __init__(self, bank: Bank, wire: str = "good") -> None:
        self.bank = bank
        self.wire = wire

    async def travel(self) -> None:
        for _ in range(2):
            await asyncio.sleep(0)

    def check(self, purchase: Purchase) -> str | None:
        return "bankaccountnumber" if isinstance(purchase.instrument, BankAccount) else None

    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        await self.travel()
        if self.wire == "unreachable":
            return Unavailable()
        answer = self.bank.take(purchase)
        await self.travel()
        return Unknown("no answer") if self.wire == "deaf" else answer

    async def verify(self, purchase: Purchase) -> PurchaseResult:
        await self.travel()
        assert purchase.money is None
        return Approved(cvv_result="M") if self.wire == "good" else Unknown("no answer")

    async def look_up(self, idempotency_key: str) -> LookUpResult:
        await self.travel()
        if self.wire != "good":
            return Unknown("no answer")
        return self.bank.answers.get(idempotency_key) or NotFound()

    async def is_reachable(self) -> bool:
        return self.wire != "unreachable"

    async def close(self) -> None:
        pass


class BankContract(ProcessorContract):
    """The suite on a kind of processor, with all its hooks."""

    kind: type[RightProcessor] = RightProcessor

    def __init__(self) -> None:
        self.bank = Bank()

    def make_processor(self) -> Processor:
        return self.kind(self.bank)

    def declined_purchase(self) -> Purchase:
        return card_purchase("6.66")

    def captures(self, idempotency_key: str) -> int:
        return self.bank.captures.count(idempotency_key)

    def make_unreachable_processor(self) -> Processor:
        return self.kind(self.bank, "unreachable")

    def make_deaf_processor(self) -> Processor:
        return self.kind(self.bank, "deaf")


CLAIMS = [name for name in dir(ProcessorContract) if name.startswith("test_")]


def failures(kind: type[RightProcessor], contract: type[BankContract] = BankContract) -> set[str]:
    """Return the claims that do not hold, each tried on a bank of its own."""

    class Contract(contract):  # type: ignore[valid-type,misc]  # a base class that is an argument
        pass

    Contract.kind = kind
    failed = set()
    for name in CLAIMS:
        try:
            getattr(Contract(), name)()
        except Exception:  # noqa: BLE001 - a test fails by any exception
            failed.add(name.removeprefix("test_"))
    return failed


def test_a_right_processor_keeps_the_contract() -> None:
    """With every hook in place, and with none but the first."""

    class FewHooks(BankContract):
        def declined_purchase(self) -> None:  # type: ignore[override]  # as an author who has none
            return None

        captures = ProcessorContract.captures  # type: ignore[assignment]
        make_unreachable_processor = ProcessorContract.make_unreachable_processor  # type: ignore[assignment]
        make_deaf_processor = ProcessorContract.make_deaf_processor  # type: ignore[assignment]

    assert failures(RightProcessor) == set()
    assert failures(RightProcessor, FewHooks) == set()


def test_who_promises_nothing_keeps_the_contract() -> None:
    """Honest traits cost nothing here: a processor that forgets keys and has no look-up may say so."""

    class Modest(RightProcessor):
        traits = Traits(honours_keys=False, looks_up=False, conclusive_after_s=0)

        async def purchase(self, purchase: Purchase) -> PurchaseResult:
            self.bank.answers.pop(purchase.idempotency_key, None)
            return await super().purchase(purchase)

        async def look_up(self, idempotency_key: str) -> LookUpResult:
            raise NotImplementedError

    assert failures(Modest) == set()


def test_the_first_hook_is_needed() -> None:
    """An author who forgot to say how the processor is made hears so."""
    with pytest.raises(NotImplementedError):
        ProcessorContract().test_close_may_come_twice()


class ForgetsKeys(RightProcessor):
    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        self.bank.answers.pop(purchase.idempotency_key, None)
        return await super().purchase(purchase)


class LooksBeforeItLeaps(RightProcessor):
    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        known = self.bank.answers.get(purchase.idempotency_key)
        if known is not None:
            return known
        await self.travel()
        self.bank.answers.pop(purchase.idempotency_key, None)
        return self.bank.take(purchase)


class ForgetsOverARestart(RightProcessor):
    def __init__(self, bank: Bank, wire: str = "good") -> None:
        super().__init__(bank, wire)
        bank.answers.clear()


class ChangesItsMind(RightProcessor):
    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        known = purchase.idempotency_key in self.bank.answers
        result = await super().purchase(purchase)
        return Unknown("seen before") if known and not isinstance(result, Unavailable) else result


class FindsNothing(RightProcessor):
    async def look_up(self, idempotency_key: str) -> LookUpResult:  # noqa: ARG002 - that is what is wrong
        return NotFound()


class FindsEverything(RightProcessor):
    async def look_up(self, idempotency_key: str) -> LookUpResult:
        found = await super().look_up(idempotency_key)
        return Approved() if isinstance(found, NotFound) else found


class AnswersInItsOwnWords(RightProcessor):
    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        await super().purchase(purchase)
        return {"status": "ok"}  # type: ignore[return-value]  # that is what is wrong


class AnswersWithNumbers(RightProcessor):
    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        result = await super().purchase(purchase)
        return replace(result, processor_reference=7) if isinstance(result, Approved) else result  # type: ignore[arg-type]


class ApprovesAll(RightProcessor):
    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        result = await super().purchase(purchase)
        return Approved() if isinstance(result, Declined) else result


class ChargesToVerify(RightProcessor):
    async def verify(self, purchase: Purchase) -> PurchaseResult:
        return await self.purchase(replace(purchase, money=card_purchase("0.01").money))


class MixesUp(RightProcessor):
    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        self.current = purchase
        await self.travel()
        return await super().purchase(self.current)


class CapturesLater(RightProcessor):
    """The work is its own, as it should be; but look-ups do not know of it."""

    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        self.work = asyncio.ensure_future(self.later(purchase))
        return await asyncio.shield(self.work)

    async def later(self, purchase: Purchase) -> PurchaseResult:
        for _ in range(20):
            await asyncio.sleep(0)
        return await super().purchase(purchase)


class DiesOfACancellation(RightProcessor):
    is_alive = True

    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        if not self.is_alive:
            raise RuntimeError("a connection was left half open")
        self.is_alive = False
        result = await super().purchase(purchase)
        self.is_alive = True
        return result


class TakesALostAnswerForANo(RightProcessor):
    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        result = await super().purchase(purchase)
        return Declined(code=DeclineCode.PROCESSING_ERROR) if isinstance(result, Unknown) else result


class TakesALostAnswerForNoConnection(RightProcessor):
    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        result = await super().purchase(purchase)
        return Unavailable() if isinstance(result, Unknown) else result


class DeclinesWithoutAConnection(RightProcessor):
    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        result = await super().purchase(purchase)
        return Declined(code=DeclineCode.PROCESSING_ERROR) if isinstance(result, Unavailable) else result


class TakesNoConnectionForNotFound(RightProcessor):
    async def look_up(self, idempotency_key: str) -> LookUpResult:
        return NotFound() if self.wire == "unreachable" else await super().look_up(idempotency_key)


class TellsTheNumberInAReference(RightProcessor):
    async def verify(self, purchase: Purchase) -> PurchaseResult:
        assert isinstance(purchase.instrument, Card)
        return Approved(processor_reference=f"card-{purchase.instrument.pan.reveal()}")


class TellsTheNumberInGroups(RightProcessor):
    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        assert isinstance(purchase.instrument, Card)
        result = await super().purchase(purchase)
        clear = purchase.instrument.pan.reveal()
        return Unknown(" ".join(re.findall("....", clear))) if isinstance(result, Unknown) else result


class LogsTheNumber(RightProcessor):
    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        assert isinstance(purchase.instrument, Card)
        LOG.debug("sending %s", {"pan": purchase.instrument.pan.reveal()})
        return await super().purchase(purchase)


class LogsAnExceptionWithTheNumber(RightProcessor):
    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        assert isinstance(purchase.instrument, Card)
        try:
            int(purchase.instrument.pan.reveal(), 2)
        except ValueError:
            LOG.exception("it did not go well")
        return await super().purchase(purchase)


class PrintsTheCvv(RightProcessor):
    async def verify(self, purchase: Purchase) -> PurchaseResult:
        assert isinstance(purchase.instrument, Card)
        assert purchase.instrument.cvv is not None
        sys.stdout.write(f"cvv={purchase.instrument.cvv.reveal()}\n")
        return await super().verify(purchase)


class RaisesTheNumber(RightProcessor):
    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        result = await super().purchase(purchase)
        if isinstance(result, Unavailable):
            assert isinstance(purchase.instrument, Card)
            try:
                int(purchase.instrument.pan.reveal(), 2)
            except ValueError as error:
                raise ConnectionError("no connection") from error
        return result


class ClosesOnce(RightProcessor):
    is_closed = False

    async def close(self) -> None:
        if self.is_closed:
            raise RuntimeError("closed already")
        self.is_closed = True


class ChangesItsTraits(RightProcessor):
    asked = 0

    @property
    def traits(self) -> Traits:  # type: ignore[override]  # that is what is wrong
        self.asked += 1
        return Traits(honours_keys=True, looks_up=True, conclusive_after_s=self.asked)


class ChecksTooMuch(RightProcessor):
    def check(self, purchase: Purchase) -> str | None:
        return "amount" if purchase.money is None else super().check(purchase)


class IsAlwaysReachable(RightProcessor):
    async def is_reachable(self) -> bool:
        return True


class NeverAnswers(RightProcessor):
    async def look_up(self, idempotency_key: str) -> LookUpResult:  # noqa: ARG002 - that is what is wrong
        await asyncio.Event().wait()
        raise AssertionError


WRONG: list[tuple[type[RightProcessor], str]] = [
    (ForgetsKeys, "the_same_key_again_captures_once"),
    (ChangesItsMind, "the_same_key_again_captures_once"),
    (LooksBeforeItLeaps, "the_same_key_at_once_captures_once"),
    (ForgetsOverARestart, "the_same_key_after_a_restart_captures_once"),
    (FindsNothing, "a_look_up_finds_what_happened"),
    (FindsEverything, "a_key_that_was_never_sent_is_not_found"),
    (AnswersInItsOwnWords, "an_approved_purchase_is_approved_and_captured_once"),
    (AnswersWithNumbers, "an_approved_purchase_is_approved_and_captured_once"),
    (ApprovesAll, "a_declined_purchase_is_declined_and_captured_never"),
    (ChargesToVerify, "a_verification_moves_no_money"),
    (MixesUp, "purchases_at_once_do_not_mix"),
    (CapturesLater, "a_cancelled_purchase_captures_at_most_once"),
    (DiesOfACancellation, "a_cancelled_purchase_captures_at_most_once"),
    (TakesALostAnswerForANo, "a_lost_answer_is_unknown"),
    (TakesALostAnswerForNoConnection, "a_lost_answer_is_unknown"),
    (DeclinesWithoutAConnection, "a_bank_that_cannot_be_reached_says_nothing"),
    (TakesNoConnectionForNotFound, "a_bank_that_cannot_be_reached_says_nothing"),
    (TellsTheNumberInAReference, "no_card_data_gets_out"),
    (TellsTheNumberInGroups, "no_card_data_gets_out"),
    (LogsTheNumber, "no_card_data_gets_out"),
    (LogsAnExceptionWithTheNumber, "no_card_data_gets_out"),
    (PrintsTheCvv, "no_card_data_gets_out"),
    (RaisesTheNumber, "no_card_data_gets_out"),
    (ClosesOnce, "close_may_come_twice"),
    (ChangesItsTraits, "traits_are_constant_and_possible"),
    (ChecksTooMuch, "check_accepts_what_can_be_purchased"),
    (IsAlwaysReachable, "is_reachable_says_yes_or_no"),
]


@pytest.mark.parametrize(("kind", "claim"), WRONG)
def test_a_wrong_processor_breaks_the_contract(kind: type[RightProcessor], claim: str) -> None:
    """The control of the suite: each of these is wrong in one way, and the claim that is about it fails."""
    assert claim in failures(kind)


def test_every_claim_has_a_processor_that_breaks_it() -> None:
    """No claim of the suite is one that cannot fail."""
    assert {claim for _kind, claim in WRONG} == {name.removeprefix("test_") for name in CLAIMS}


def test_a_processor_that_never_answers_breaks_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite has an end to its patience, and says that it was that."""
    monkeypatch.setattr(contract_suite, "CLAIM_TIMEOUT_S", 0.01)

    class Contract(BankContract):
        kind = NeverAnswers

    with pytest.raises(AssertionError, match=r"no answer after 0\.01 s"):
        Contract().test_a_key_that_was_never_sent_is_not_found()


def test_the_suite_needs_no_pytest() -> None:
    """It can be imported, and run, where pytest is not installed."""
    program = (
        "import sys; sys.modules['pytest'] = None\n"
        "from generic_connector.processors.contract_suite import ProcessorContract\n"
        "print(len([name for name in dir(ProcessorContract) if name.startswith('test_')]))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert int(ended.stdout) == len(CLAIMS)


# --- The example -----------------------------------------------------------------------------------------------------


def load_example() -> ModuleType:
    """Import the example from where people read it."""
    spec = importlib.util.spec_from_file_location("example_processor", DOCS / "example_processor.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXAMPLE = load_example()


class Acme:
    """The imaginary acquirer: payments by key, behind `httpx.MockTransport`."""

    def __init__(self) -> None:
        self.payments: dict[str, dict[str, str]] = {}
        self.requests: list[httpx.Request] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        self.requests.append(request)
        path = request.url.path
        if request.method == "GET":
            found = {"status": "well"} if path == "/v1/health" else self.payments.get(path.rpartition("/")[2])
            return httpx.Response(404 if found is None else 200, json=found)
        body = json.loads(request.content)
        if path == "/v1/verifications":
            return httpx.Response(200, json={"status": "approved", "code": "VER1FY", "id": "v_1"})
        key = request.headers["Idempotency-Key"]
        if key not in self.payments:
            if body["amount"]["minor"] == 666:
                self.payments[key] = {"status": "declined", "reason": "no_funds", "id": f"p_{key[3:20]}"}
            else:
                self.payments[key] = {"status": "approved", "code": "AB12CD", "id": f"p_{key[3:20]}"}
        return httpx.Response(200, json=self.payments[key])

    async def deaf(self, request: httpx.Request) -> httpx.Response:
        await self(request)
        raise httpx.ReadTimeout(f"no answer to {request.content!r}")


async def unreachable(request: httpx.Request) -> httpx.Response:
    """Nobody there: what httpx raises has the request's words in it, to see whether they get out."""
    raise httpx.ConnectError(f"refused: {request.content!r}")


def acme(handler: Callable[..., object]) -> Processor:
    """Return the example, talking to a handler instead of the network."""
    transport = httpx.MockTransport(handler)  # type: ignore[arg-type]  # each handler is of one of its two kinds
    client = httpx.AsyncClient(transport=transport, base_url="https://acme.example/v1")
    processor: Processor = EXAMPLE.AcmeProcessor(client)
    return processor


class TestExample(ProcessorContract):
    """The example keeps the contract, with every hook."""

    def setup_method(self) -> None:
        self.acquirer = Acme()

    def make_processor(self) -> Processor:
        return acme(self.acquirer)

    def declined_purchase(self) -> Purchase:
        return card_purchase("6.66")

    def captures(self, idempotency_key: str) -> int:
        return int(self.acquirer.payments.get(idempotency_key, {}).get("status") == "approved")

    def make_unreachable_processor(self) -> Processor:
        return acme(unreachable)

    def make_deaf_processor(self) -> Processor:
        return acme(self.acquirer.deaf)


def test_what_the_example_sends() -> None:
    """A purchase is one POST with the idempotency key; card number and CVV are in its body and nowhere else."""
    acquirer, purchase = Acme(), card_purchase("12.34")

    async def run() -> None:
        processor = acme(acquirer)
        result = await processor.purchase(purchase)
        assert result == Approved(
            authorization_code="AB12CD", processor_reference=f"p_{purchase.idempotency_key[3:20]}"
        )
        await processor.verify(replace(purchase, money=None))
        await processor.close()

    asyncio.run(run())
    sent, verified = acquirer.requests
    assert (sent.method, str(sent.url)) == ("POST", "https://acme.example/v1/payments")
    assert sent.headers["Idempotency-Key"] == purchase.idempotency_key
    assert "4111111111111111" not in f"{sent.url}{sent.headers}"
    assert json.loads(sent.content) == {
        "amount": {"minor": 1234, "currency": "USD"},
        "card": {"pan": "4111111111111111", "expiry": "204012", "cvv": "739"},
        "postal_code": "94105",
    }
    assert (verified.url.path, json.loads(verified.content)["amount"]) == ("/v1/verifications", None)


Weather = type[httpx.TransportError] | tuple[int, bytes]
"""What happens to every request: an exception, or an answer."""


def in_weather(weather: Weather) -> Processor:
    """Return the example in a network with one kind of weather."""

    def handle(_request: httpx.Request) -> httpx.Response:
        if isinstance(weather, tuple):
            return httpx.Response(weather[0], content=weather[1])
        raise weather("weather")

    return acme(handle)


@pytest.mark.parametrize(
    ("weather", "purchased", "found"),
    [
        (httpx.ConnectError, Unavailable, Unknown),
        (httpx.ConnectTimeout, Unavailable, Unknown),
        (httpx.ReadTimeout, Unknown, Unknown),
        (httpx.WriteTimeout, Unknown, Unknown),
        (httpx.PoolTimeout, Unknown, Unknown),
        (httpx.ReadError, Unknown, Unknown),
        (httpx.WriteError, Unknown, Unknown),
        (httpx.ProxyError, Unknown, Unknown),
        (httpx.RemoteProtocolError, Unknown, Unknown),
        *(((status, b""), Unknown, Unknown) for status in (200, 201, 302, 400, 401, 409, 429, 500, 503)),
        ((404, b""), Unknown, NotFound),
        ((200, b"<html>"), Unknown, Unknown),
        ((200, b"\xff"), Unknown, Unknown),
        ((200, b"[]"), Unknown, Unknown),
        ((200, b'"approved"'), Unknown, Unknown),
        ((200, b'{"status": "pending"}'), Unknown, Unknown),
        ((200, b'{"status": "approved"}'), Unknown, Unknown),
        ((200, b'{"status": "approved", "code": 7, "id": 8}'), Unknown, Unknown),
        ((500, b'{"status": "declined", "reason": "cvv", "id": "p_1"}'), Unknown, Unknown),
        ((200, b'{"status": "declined", "reason": "cvv", "id": "p_1"}'), Declined, Declined),
        ((200, b'{"status": "approved", "code": "A", "id": "p_1"}'), Approved, Approved),
    ],
)
def test_what_the_example_makes_of_an_answer(weather: Weather, purchased: type, found: type) -> None:
    """Only what failed before a byte was sent is Unavailable; only what can be read is an answer."""

    async def run() -> None:
        processor = in_weather(weather)
        purchase = card_purchase()
        assert type(await processor.purchase(purchase)) is purchased
        assert type(await processor.verify(replace(purchase, money=None))) is purchased
        assert type(await processor.look_up(purchase.idempotency_key)) is found
        await processor.close()

    asyncio.run(run())


def test_the_example_maps_declines() -> None:
    """A reason that it knows has its code; one that it does not know is a decline all the same."""

    async def run() -> list[PurchaseResult]:
        results = []
        for reason in (b"no_funds", b"cvv", b"something else"):
            processor = in_weather((200, b'{"status": "declined", "reason": "%s", "id": "p_1"}' % reason))
            results.append(await processor.purchase(card_purchase()))
            await processor.close()
        return results

    assert [result.code for result in asyncio.run(run()) if isinstance(result, Declined)] == [
        DeclineCode.INSUFFICIENT_FUNDS,
        DeclineCode.INCORRECT_CVV,
        DeclineCode.CARD_DECLINED,
    ]


def test_the_example_takes_cards_only() -> None:
    """A bank account is refused by its field's name before anything is sent."""
    number = AccountNumber.parse("123456789")
    assert number is not None
    by_account = replace(card_purchase(), instrument=BankAccount("110000000", number))

    async def run() -> None:
        processor = acme(Acme())
        assert processor.check(by_account) == "bankaccountnumber"
        await processor.close()

    asyncio.run(run())


def test_the_example_is_made_from_its_options(tmp_path: Path) -> None:
    """`create` takes url and key from the options, and is a factory that `find_processor` could have found."""

    async def run() -> None:
        processor = EXAMPLE.create(context(tmp_path, url="https://acme.example/v1", api_key="sk_1"))
        client = processor._client  # noqa: SLF001 - what it was made with
        assert str(client.base_url) == "https://acme.example/v1/"
        assert client.headers["Authorization"] == "Bearer sk_1"
        assert client.timeout == httpx.Timeout(None, connect=5)
        await processor.close()

    asyncio.run(run())


# --- The guide -------------------------------------------------------------------------------------------------------


def blocks(language: str) -> Sequence[str]:
    """Return the guide's code blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / "README.md").read_text(), re.DOTALL)


def test_the_guide_can_be_copied_from() -> None:
    """Its TOML parses, its Python compiles, and the methods and hooks that it lists are all there are."""
    entry_point, config = map(tomllib.loads, blocks("toml"))
    assert entry_point["project"]["entry-points"][processors.GROUP] == {"acme": "acme_pay.processor:create"}
    assert config["processors"]["acme"].keys() == {"use", "url", "api_key"}
    for block in blocks("python"):
        compile(block, "README.md", "exec")

    listed = set(re.findall(r"^\| `([a-z_]+)[(`]", (DOCS / "README.md").read_text(), re.MULTILINE))
    port = {name for name in vars(Processor) if not name.startswith("_")}
    hooks = {name for name in vars(ProcessorContract) if not name.startswith(("_", "test_"))}
    assert listed == port | hooks - {"make_processor"}
