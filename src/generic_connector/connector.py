"""The connector: the one use case. A payment comes in, at most one purchase goes out, every delivery hears the same.

The promise: at most one charge per transaction_id at processors that honour an idempotency key or a look-up,
at most one send at others. What it rests on, in the order in which it happens:

1. **The row comes first.** What is asked only of new payments (clock, mode, permission, limits) never stands
   between a retry and the truth about money that moved: where a row is there, the row answers.
2. **Claim, then send, then record.** The claim is durable before the first byte goes to the processor. No
   transaction is held across the network.
3. **The work belongs to the connector, not to the request.** Deliveries of one transaction share one task; a
   caller who hangs up cancels nothing. A delivery has no deadline of ours: an early error would end Twilio's
   attempts.
4. **The purchase has a clock**: `processor_timeout`, then a look-up, then a second send under the same key
   where the processor honours keys, else the row is in doubt. `outcome_unknown` is answered only from a row
   in doubt, and is not stored.
5. **Owner, lease, fence.** What a dead process left running is taken over by the next delivery, look-up
   first. Recovery after a restart and `reconcile` only look up: only a retry brings the card and the CVV
   again.
6. **After the claim there is no error reply.** What goes wrong then is logged and settled by look-up, and the
   caller is left waiting for Twilio's retry.

How it is found out what became of a payment, and how it is written down, is in `outcome`; what nobody is at work on any
more is `recovery`'s.

A tokenize moves no money, so nothing needs to be claimed before the processor has verified the card: its row
and its vault entry are written together, once, finished; until then its id is taken in memory. Where the processor need
ask nobody, that one claim is all of it: no look-up before, no task, and of two deliveries at once the second finds the
row of the first.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple, assert_never

from generic_connector import envelope, identifier
from generic_connector.answer import Answer, How, replay
from generic_connector.bank import BankAccount
from generic_connector.bucket import Bucket
from generic_connector.card import Card
from generic_connector.contract.errors import Code, ErrorCode
from generic_connector.contract.reply import (
    Reply,
    declined_parameters,
    render_failure,
    render_success,
    success_parameters,
)
from generic_connector.envelope import Place, Purpose
from generic_connector.identifier import Randomness, new_id
from generic_connector.instance import Caller, Instance, Mode
from generic_connector.keyring import KeyExhaustedError, Keyring
from generic_connector.ledger import Event, Row, Standing, State, advance, judge
from generic_connector.outcome import Limits, Outcomes, scrubbed
from generic_connector.payment import (
    Approved,
    Charge,
    DeclineCode,
    Declined,
    Method,
    NotFound,
    Payment,
    PurchaseResult,
    Tokenize,
    Unavailable,
    Unknown,
)
from generic_connector.ports import (
    AtOnce,
    Claimed,
    Clock,
    Existing,
    Log,
    Processor,
    Purchase,
    Store,
    StoreUnavailableError,
    Vaulted,
    VerifiesAtOnce,
)
from generic_connector.recovery import Recovery
from generic_connector.telemetry import places
from generic_connector.work import Name, Work


class _Delivery(NamedTuple):
    """One delivery on its way: who, what, and what it may do as a new payment."""

    caller: Caller
    payment: Payment
    purchase: Purchase
    digest: bytes
    digest_key_id: int
    refusal: "Answer | None"
    request_id: str

    @property
    def instance(self) -> Instance:
        return self.caller.instance


class Connector:
    """Charges and tokenizes; `recovery` reconciles. One per process; `owner` names this boot."""

    def __init__(
        self,
        *,
        store: Store,
        keyring: Keyring,
        processors: Mapping[str, Processor],
        instances: Mapping[int, Instance],
        clock: Clock,
        randomness: Randomness,
        owner: str,
        log: Log,
        limits: Limits,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._processors = processors
        self._at_once: dict[str, Callable[[Purchase], AtOnce | None] | None] = {
            name: processor.verify_at_once if isinstance(processor, VerifiesAtOnce) else None
            for name, processor in processors.items()
        }
        self._clock = clock
        self._randomness = randomness
        self._owner = owner
        self._log = log
        self._limits = limits
        self._outcomes = Outcomes(store=store, clock=clock, owner=owner, log=log, limits=limits)
        self.recovery = Recovery(
            store=store, outcomes=self._outcomes, processors=processors, instances=instances, clock=clock, log=log
        )
        self._work: dict[Name, Work] = {}
        self._verifying: set[tuple[int, str]] = set()
        self._saving = 0
        self._rates: dict[int, Bucket] = {}
        self._draining = False

    # --- Deliveries --------------------------------------------------------------------------------------------------

    async def pay(self, caller: Caller, payment: Payment, request_id: str) -> Answer:
        """Answer one delivery. Waits as long as it takes; cancelling it cancels no purchase."""
        key = self._keyring.active(Purpose.DIGEST)
        digest = envelope.digest(payment, key)
        transaction = (caller.instance.id, payment.transaction_id)
        name = (*transaction, digest)
        work = self._work.get(name)
        if work is not None:
            return await self._wait(work, request_id)
        if transaction in self._verifying:  # by another payment, or there would be work to wait for
            return self._conflict(None, payment, caller.instance)
        purchase = self._purchase(payment, caller.instance)
        refusal = self._refusal(caller, payment, purchase)
        delivery = _Delivery(caller, payment, purchase, digest, key.id, refusal, request_id)
        if refusal is None and isinstance(payment, Tokenize):
            told = self._told_at_once(caller.instance, purchase)
            if told is not None:
                return await self._save_at_once(delivery, payment, told)
            self._verifying.add(transaction)
        # Nobody joins a refused one: the next delivery may come with a credential that permits more.
        work = Work(self._work, name if refusal is None else (*name, request_id), self._unheard)
        try:
            return await work.begun(self._answer(delivery))
        except asyncio.CancelledError:
            self._outcomes.note(work.row, "left", self._clock(), request_id)
            raise

    async def _wait(self, work: Work, request_id: str) -> Answer:
        """Wait for work that another delivery of the same payment has begun."""
        self._outcomes.note(work.row, "waiting", self._clock(), request_id)
        try:
            answer = await work.answer()
        except asyncio.CancelledError:
            self._outcomes.note(work.row, "left", self._clock(), request_id)
            raise
        self._outcomes.note(answer.row, How.WAITED, self._clock(), request_id)
        return answer._replace(how=How.WAITED)

    def _unheard(self, answer: Answer) -> None:
        """Log an answer that nobody waited for any more: the deliveries have left, and theirs tell nothing."""
        row = answer.row
        if row is not None:
            self._log(
                "unheard", charge_id=row.id, transaction_id=row.transaction_id, state=row.state.value, code=answer.code
            )

    async def _answer(self, delivery: _Delivery) -> Answer:
        try:
            if delivery.refusal is None:
                if isinstance(delivery.payment, Charge):
                    return await self._charge(delivery, delivery.payment)
                return await self._tokenize(delivery, delivery.payment)
            row = await self._store.find(delivery.instance.id, delivery.payment.transaction_id)
            return delivery.refusal if row is None else await self._found(row, delivery)
        except (StoreUnavailableError, KeyExhaustedError) as error:
            return await self._unavailable(error, delivery)

    async def _unavailable(self, error: Exception, delivery: _Delivery) -> Answer:
        """The claim failed, so this delivery sent nothing. Where a row is there and can be read, it still answers."""
        self._log("store_unavailable", error=type(error).__name__, request_id=delivery.request_id)
        try:
            row = await self._store.find(delivery.instance.id, delivery.payment.transaction_id)
        except StoreUnavailableError:
            row = None
        if row is not None:
            self._give_rate_back(delivery.instance)
            return await self._found(row, delivery)
        return self._refused(ErrorCode.STORE_UNAVAILABLE, None, delivery.instance)

    # --- What is asked of new payments only --------------------------------------------------------------------------

    def _refusal(self, caller: Caller, payment: Payment, purchase: Purchase) -> Answer | None:
        """Return why a new payment is refused, or None. Takes from the instance's rate only what it lets through."""
        instance = caller.instance
        code = _not_permitted(caller, payment) or self._unacceptable(instance, payment)
        if code is not None:
            return self._refused(code, payment.method, instance)
        processor = self._processors.get(instance.processor)
        if processor is None:
            self._log("no_processor", instance=instance.unique_name, processor=instance.processor)
            return self._refused(ErrorCode.PROCESSOR_UNAVAILABLE, payment.method, instance)
        at_fault = processor.check(purchase)
        if at_fault is not None:
            message = f"The value of {at_fault} cannot be used. Send one that the documentation lists."
            return self._refused(ErrorCode.INVALID_FIELD, payment.method, instance, message)
        if self._draining:
            return self._refused(ErrorCode.STORE_UNAVAILABLE, None, instance)
        if self.at_work >= self._limits.payments_at_once_max or not self._has_rate(instance):
            return self._refused(ErrorCode.TOO_MANY_REQUESTS, None, instance)
        return None

    def _unacceptable(self, instance: Instance, payment: Payment) -> Code | None:
        """Mode, brand, expiry, and whether a CVV is there where it must be."""
        instrument = payment.instrument
        if isinstance(instrument, BankAccount):
            is_wrong = instance.mode is Mode.TEST and not instrument.account_number.is_published
            return ErrorCode.TEST_NUMBER_REQUIRED if is_wrong else None
        if instrument.pan.is_published is not (instance.mode is Mode.TEST):
            is_test = instance.mode is Mode.TEST
            return ErrorCode.TEST_NUMBER_REQUIRED if is_test else ErrorCode.LIVE_NUMBER_REQUIRED
        if instrument.pan.brand is None:
            return ErrorCode.UNSUPPORTED_CARD_BRAND
        now = datetime.fromtimestamp(self._clock() / 1000, UTC)
        if instrument.expiry.is_past(now):
            return ErrorCode.EXPIRED_CARD
        if instrument.expiry.is_too_far(now):
            return ErrorCode.INVALID_EXPIRY
        return ErrorCode.INVALID_CVV if instance.require_cvv and instrument.cvv is None else None

    def _has_rate(self, instance: Instance) -> bool:
        if instance.rate_per_s is None:
            return True
        bucket = self._rates.get(instance.id)
        if bucket is None or bucket.per_s != instance.rate_per_s:
            bucket = self._rates[instance.id] = Bucket(instance.rate_per_s, max(1.0, instance.rate_per_s))
        return bucket.take(self._clock())

    def _refused(self, code: Code, method: Method | None, instance: Instance, message: str | None = None) -> Answer:
        return Answer(render_failure(code, method, instance.dialect, message=message), How.REFUSED, code=code)

    # --- A charge ----------------------------------------------------------------------------------------------------

    async def _charge(self, delivery: _Delivery, charge: Charge) -> Answer:
        row = self._row(delivery, "ch")
        vaulted = None
        if charge.save_card or (delivery.instance.save_card_on_charge and delivery.caller.may(Method.TOKENIZE)):
            token_id = new_id("tok", now_ms=row.claimed_at_ms, randomness=self._randomness)
            vaulted = self._vaulted(row, token_id, charge, is_active=False)
            row = row._replace(token_id=token_id)
        match await self._store.claim(row, vaulted):
            case Existing(existing):
                self._give_rate_back(delivery.instance)
                return await self._found(existing, delivery)
            case Claimed(duplicate):
                if duplicate is not None:
                    row = row._replace(possible_duplicate_of=duplicate)
                    self._log("possible_duplicate", charge_id=row.id, in_doubt=duplicate)
                self._claimed(row, delivery)
                return await self._settle_somehow(row, delivery, is_first=True)

    async def _settle_somehow(self, row: Row, delivery: _Delivery, *, is_first: bool) -> Answer:
        """Send (or look up and send) and record. Whatever is raised after a claim ends in a look-up or in silence."""
        how = How.FIRST if is_first else How.TAKEN_OVER
        processor, request_id = self._processors[row.processor], delivery.request_id
        purchase = delivery.purchase
        if row.idempotency_key != purchase.idempotency_key:  # made by another derivation: what was sent once stays
            purchase = replace(purchase, idempotency_key=row.idempotency_key)
        sent_at_ms: int | None = None
        result: PurchaseResult | NotFound
        try:
            if is_first:
                if not await self._outcomes.still_ours(row):
                    return await self._found_again(delivery)
                sent_at_ms = self._clock()
                noted = self._outcomes.note_late(row, "sent", sent_at_ms, request_id)
                try:
                    result = await self._outcomes.send(processor, purchase, row, self._limits.processor_timeout_s)
                finally:
                    noted.cancel()
                if isinstance(result, Unknown):
                    result = await self._outcomes.after_unknown(processor, purchase, row, request_id)
            else:
                result = await self._outcomes.after_unknown(processor, purchase, row, request_id)
            return await self._outcomes.record(row, result, delivery.instance, how, sent_at_ms=sent_at_ms)
        except Exception as error:  # noqa: BLE001 - after a claim nothing may become an error reply
            self._log(
                "error_after_claim", charge_id=row.id, error=type(error).__name__, where=places(error.__traceback__)
            )
            return await self._silence(row, delivery.instance, how)

    async def _silence(self, row: Row, instance: Instance, how: How) -> Answer:
        """Try once to settle by look-up; say nothing where that fails too. The retry, or recovery, finds the row."""
        try:
            result = await self._outcomes.look_up(self._processors[row.processor], row)
            if isinstance(result, (Approved, Declined)):
                return await self._outcomes.record(row, result, instance, how)
        except Exception as error:  # noqa: BLE001 - the row stays as it is, and is settled later
            self._log(
                "error_after_claim", charge_id=row.id, error=type(error).__name__, where=places(error.__traceback__)
            )
        return Answer(None, how, row)

    # --- A token -----------------------------------------------------------------------------------------------------

    def _told_at_once(self, instance: Instance, purchase: Purchase) -> AtOnce | None:
        """What a tokenize's processor says by itself, without asking anybody."""
        verify_at_once = self._at_once.get(instance.processor)
        return None if verify_at_once is None else verify_at_once(purchase)

    async def _save_at_once(self, delivery: _Delivery, tokenize: Tokenize, told: AtOnce) -> Answer:
        """Save with no look-up before and no task of its own: the claim alone tells whether the row was there.

        Nobody is asked and nothing moves, so nothing is lost where the caller leaves: the claim is committed without
        it, and its retry finds the row. Nor does a second delivery wait for the first: of two claims one is first.
        """
        self._saving += 1
        try:
            return await self._save(delivery, tokenize, self._row(delivery, "tok"), scrubbed(told))
        except (StoreUnavailableError, KeyExhaustedError) as error:
            return await self._unavailable(error, delivery)
        finally:
            self._saving -= 1

    async def _tokenize(self, delivery: _Delivery, tokenize: Tokenize) -> Answer:
        try:
            existing = await self._store.find(delivery.instance.id, tokenize.transaction_id)
            if existing is not None:
                self._give_rate_back(delivery.instance)
                return await self._found(existing, delivery)
            row = self._row(delivery, "tok")
            return await self._save(delivery, tokenize, row, await self._verify(delivery, row))
        finally:
            self._verifying.discard((delivery.instance.id, tokenize.transaction_id))

    async def _save(
        self, delivery: _Delivery, tokenize: Tokenize, row: Row, result: Approved | Declined | Unavailable
    ) -> Answer:
        """Write what the verification said, and the token where it was good: one row, written once, finished."""
        is_good = isinstance(result, Approved)
        vaulted = self._vaulted(row, row.id, tokenize, is_active=True) if is_good else None
        event, reply, code = self._token_outcome(row, result, delivery.instance)
        row = row.finished(
            advance(None, event),
            token_id=row.id if is_good else None,
            at_ms=self._clock(),
            error_code=code,
            status=reply.status,
            body=reply.body,
        )
        match await self._store.claim(row, vaulted):
            case Existing(existing):
                self._give_rate_back(delivery.instance)
                return await self._found(existing, delivery)
            case Claimed():
                return Answer(reply, How.FIRST, row, code)

    def _token_outcome(
        self, row: Row, result: Approved | Declined | Unavailable, instance: Instance
    ) -> tuple[Event, Reply, Code | None]:
        match result:
            case Approved():
                return (
                    Event.SAVE,
                    render_success(Method.TOKENIZE, row.id, success_parameters(row, result)),
                    None,
                )
            case Declined(code=decline):
                parameters = declined_parameters(row, result)
                reply = render_failure(decline, Method.TOKENIZE, instance.dialect, parameters=parameters)
                return Event.REFUSE, reply, decline
            case Unavailable():
                code = ErrorCode.PROCESSOR_UNAVAILABLE
                return Event.UNAVAILABLE, render_failure(code, Method.TOKENIZE, instance.dialect), code
            case _:
                assert_never(result)

    async def _verify(self, delivery: _Delivery, row: Row) -> Approved | Declined | Unavailable:
        """Ask whether the card is good. Nothing moves, so a lost answer is asked for again, and given up in the end."""
        processor, loop = self._processors[row.processor], asyncio.get_running_loop()
        deadline = loop.time() + self._limits.processor_timeout_s
        while (left_s := deadline - loop.time()) > 0:
            result = await self._outcomes.ask(processor.verify, delivery.purchase, row, left_s)
            if not isinstance(result, Unknown):
                return result
            await asyncio.sleep(self._limits.poll_s)
        return Declined(code=DeclineCode.PROCESSING_ERROR)

    # --- A row that is there already ---------------------------------------------------------------------------------

    async def _found(self, row: Row, delivery: _Delivery) -> Answer:
        """Answer from a row. An error on the way is met with silence: the next attempt may hear the truth."""
        try:
            return await self._judged(row, delivery)
        except Exception as error:  # noqa: BLE001 - money may have moved: nothing here may become an error reply
            self._log(
                "error_after_claim", charge_id=row.id, error=type(error).__name__, where=places(error.__traceback__)
            )
            return Answer(None, How.WAITED, row)

    async def _judged(self, row: Row, delivery: _Delivery) -> Answer:
        """Replay, refuse, wait, look up or take over. Loops only while another owner's lease lasts."""
        while True:
            now_ms = self._clock()
            match judge(row, digest=self._digest_like(row, delivery), now_ms=now_ms):
                case Standing.CONFLICT:
                    self._outcomes.note(row, How.CONFLICT, now_ms, delivery.request_id)
                    return self._conflict(row, delivery.payment, delivery.instance)
                case Standing.REPLAY:
                    self._outcomes.note(row, How.REPLAYED, now_ms, delivery.request_id)
                    return replay(row)
                case Standing.LOOK_UP:
                    self._outcomes.note(row, How.LOOKED_UP, now_ms, delivery.request_id)
                    return await self._look_into(row, delivery.instance)
                case Standing.TAKE_OVER:
                    taken = await self._outcomes.take_over(row)
                    if taken is not None:
                        self._outcomes.note(row, How.TAKEN_OVER, now_ms, delivery.request_id)
                        return await self._settle_somehow(taken, delivery, is_first=False)
                case Standing.WAIT:
                    await asyncio.sleep(self._limits.poll_s)
            row = await self._outcomes.row_again(row)

    def _conflict(self, row: Row | None, payment: Payment, instance: Instance) -> Answer:
        code = ErrorCode.TRANSACTION_ID_REUSED
        return Answer(render_failure(code, payment.method, instance.dialect), How.CONFLICT, row, code)

    async def _found_again(self, delivery: _Delivery) -> Answer:
        row = await self._store.find(delivery.instance.id, delivery.payment.transaction_id)
        if row is None:
            raise LookupError("a claimed row is gone")
        return await self._found(row, delivery)

    async def _look_into(self, row: Row, instance: Instance) -> Answer:
        """A row in doubt: look up once more, and answer `outcome_unknown` where that tells nothing new."""
        processor = self._processors[row.processor]
        result = await self._outcomes.find_out(processor, row)
        if isinstance(result, (Approved, Declined, NotFound)):
            answer = await self._outcomes.record(row, result, instance, How.LOOKED_UP)
            if answer.reply is not None:
                state = row.state if answer.row is None else answer.row.state
                self._log("settled", charge_id=row.id, state=state.value, by="look_up")
                return answer
        code = ErrorCode.OUTCOME_UNKNOWN
        return Answer(render_failure(code, row.method, instance.dialect), How.LOOKED_UP, row, code)

    def _digest_like(self, row: Row, delivery: _Delivery) -> bytes:
        """The delivery's digest under the key that made the row's: keys rotate while rows live on."""
        if row.digest_key_id == delivery.digest_key_id:
            return delivery.digest
        key = self._keyring.key(Purpose.DIGEST, row.digest_key_id)
        return b"" if key is None else envelope.digest(delivery.payment, key)

    # --- Drain -------------------------------------------------------------------------------------------------------

    @property
    def is_draining(self) -> bool:
        """Whether new payments are refused because the process ends."""
        return self._draining

    @property
    def at_work(self) -> int:
        """How many deliveries are being worked on."""
        return len(self._work) + self._saving

    async def drain(self) -> None:
        """Refuse new payments from now on, and wait until all work is done."""
        self._draining = True
        while self._work:
            await asyncio.wait([work.task for work in self._work.values()])

    # --- Making things -----------------------------------------------------------------------------------------------

    def _give_rate_back(self, instance: Instance) -> None:
        bucket = self._rates.get(instance.id)
        if bucket is not None:
            bucket.give_back()

    def _claimed(self, row: Row, delivery: _Delivery) -> None:
        """Tell those who wait which row it is."""
        work = self._work.get((row.instance_id, row.transaction_id, delivery.digest))
        if work is not None:
            work.row = row

    def _purchase(self, payment: Payment, instance: Instance) -> Purchase:
        """What the processor is asked. Its key is derived, so that a row made anew has the same."""
        details, transaction_id = payment.details, payment.transaction_id
        processor = self._processors.get(instance.processor)
        has_controls = processor is not None and processor.traits.controls
        return Purchase(
            idempotency_key=identifier.idempotency_key(self._keyring.installation, instance.id, transaction_id),
            instance=instance.unique_name,
            transaction_id=transaction_id,
            instrument=payment.instrument,
            money=payment.money if isinstance(payment, Charge) else None,
            reference=details.reference,
            description=details.description,
            metadata=details.metadata,
            ach=details.ach,
            controls=details.controls if has_controls else {},
        )

    def _row(self, delivery: _Delivery, prefix: str) -> Row:
        """A new row, running. Its id begins with `prefix`."""
        payment, instance = delivery.payment, delivery.caller.instance
        instrument, now_ms = payment.instrument, self._clock()
        fingerprint_key = self._keyring.active(Purpose.FINGERPRINT)
        if isinstance(instrument, Card):
            kind, brand, bin_ = "card", instrument.pan.brand, instrument.pan.bin
        else:
            kind, brand, bin_ = "bank", None, ""
        is_charge = isinstance(payment, Charge)
        return Row(
            id=new_id(prefix, now_ms=now_ms, randomness=self._randomness),
            instance_id=instance.id,
            transaction_id=payment.transaction_id,
            method=payment.method,
            digest=delivery.digest,
            digest_key_id=delivery.digest_key_id,
            owner=self._owner,
            fence=1,
            lease_until_ms=now_ms + self._outcomes.lease_ms,
            processor=instance.processor,
            idempotency_key=delivery.purchase.idempotency_key,
            kind=kind,
            brand=brand,
            bin=bin_,
            last4=instrument.last4,
            fingerprint=envelope.fingerprint(instrument, instance.id, fingerprint_key),
            fingerprint_key_id=fingerprint_key.id,
            amount_minor=payment.money.minor if isinstance(payment, Charge) else None,
            currency=payment.money.currency.code if isinstance(payment, Charge) else None,
            reference=payment.details.reference,
            confirmation_number=identifier.confirmation_number(self._randomness) if is_charge else None,
            request_id=delivery.request_id,
            claimed_at_ms=now_ms,
            state=State.RUNNING,
            token_id=None,
        )

    def _vaulted(self, row: Row, token_id: str, payment: Payment, *, is_active: bool) -> Vaulted:
        place = Place("vault", row.instance_id, token_id, "sealed")
        sealed, key_id = self._keyring.seal(payment.instrument, place)
        return Vaulted(
            token_id=token_id,
            instance_id=row.instance_id,
            is_active=is_active,
            kind=row.kind,
            brand=row.brand,
            bin=row.bin,
            last4=row.last4,
            sealed=sealed,
            key_id=key_id,
            fingerprint=row.fingerprint,
            fingerprint_key_id=row.fingerprint_key_id,
            created_at_ms=row.claimed_at_ms,
        )


def _not_permitted(caller: Caller, payment: Payment) -> Code | None:
    """Method, operation, and a charge that also saves: that needs the permission to tokenize."""
    is_permitted = (
        caller.may(payment.method)
        and payment.details.operation == "sale"
        and (isinstance(payment, Tokenize) or not payment.save_card or caller.may(Method.TOKENIZE))
    )
    return None if is_permitted else ErrorCode.NOT_PERMITTED
