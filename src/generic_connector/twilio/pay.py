"""One `<Pay>`: asks for the card or the account step by step, has it charged or kept, and tells what came of it.

A `PaySession` is a state machine. It is asking for one step, or waiting for the connector, or over; once over, it has
an `outcome`, the fields of the request to `action`. It never ends without one, and it has only one.

**Before anything is asked** it looks at what was written and at what the connector can do, in this order: attributes
(64020), the connector's name (64004), an account type beside a card (64017), the amount (64003), and the connector's
abilities (the other 64xxx). What is wrong with the TwiML is a `validation-error`; what the connector cannot do, or is
not allowed to, is a `payment-connector-error`.

**A step** is a prompt (see `prompts`), keys, and a judgement. The entry ends when it cannot become longer, with `#`, or
when no key comes for `timeout` seconds, counted from the end of the prompt or from the last key. An entry that is
wrong, and no entry at all (`input-timeout`), are one attempt: the same step is asked again, with the error, until no
attempt is left. `*` ends it all.

**Matching inputs**: a right entry is asked for once more. A second entry that differs is a wrong entry of this step
(`input-matching-failed`), which begins again.

**Status callbacks**: one for each prompt (so for each step, each repetition and its error, and the processing), and one
for the error after which there is no attempt left. They carry what has been captured so far, masked. `Attempt` counts
all tries, so that it may be 4, though Twilio's page names 1 to 3.

**While the connector is asked** the session listens to nobody: `*` is too late, and a hang-up changes nothing. The
money may have moved, so that the result is what the connector says, told to `action` once it is known, even though the
call is over by then. A caller who hangs up earlier is `caller-hung-up`.

Keys are kept where nothing shows them, and as Secrets once they are captured; whatever the endpoint answers is searched
for them before it goes on, since an endpoint may echo what it got. Then they are dropped.

Sources: Twilio's pages on `<Pay>`, `<Prompt>` and `<Parameter>`, and what people logged; see `switches` for where they
disagree.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Final, assert_never
from urllib.parse import quote

from generic_connector.payment import Method
from generic_connector.scrub import scrub
from generic_connector.secret import Secret
from generic_connector.twilio import entries, prompts
from generic_connector.twilio.effects import Effect, Hears, Reports, Transacts, Warns
from generic_connector.twilio.entries import BankAccountType, CardType, ErrorType, Step
from generic_connector.twilio.orders import Failed, KeyedAccount, KeyedCard, Order, Settled, Settlement
from generic_connector.twilio.pay_connector import PayConnector, PaymentMethod
from generic_connector.twilio.pay_errors import PayError
from generic_connector.twilio.prompts import Speaker
from generic_connector.twilio.switches import Switches
from generic_connector.twilio.twiml import Pay, Spoken

KEYS = frozenset("0123456789*#")
"""A telephone's keys."""

KEYS_PER_ENTRY_MAX = 32
"""No entry is longer: with so many keys it ends, and is judged."""

_HIDDEN: Final = "x"
_NUMBER_DIGITS_MIN = 8


class Result(StrEnum):
    """How a `<Pay>` ended, for `Result`."""

    SUCCESS = "success"
    TOO_MANY_FAILED_ATTEMPTS = "too-many-failed-attempts"
    PAYMENT_CONNECTOR_ERROR = "payment-connector-error"
    CALLER_INTERRUPTED_WITH_STAR = "caller-interrupted-with-star"
    CALLER_HUNG_UP = "caller-hung-up"
    VALIDATION_ERROR = "validation-error"
    INTERNAL_ERROR = "internal-error"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: the fields for `action`, masked. `falls_through`: on to the next verb, nothing is sent."""

    fields: Mapping[str, str]
    falls_through: bool = False


class _Entry:
    """The keys of one step so far. Nothing shows them."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys = ""

    def __repr__(self) -> str:
        return "_Entry(***)"

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: str) -> str:
        """Take one more key, and return all of them."""
        self._keys += key
        return self._keys

    def take(self) -> str:
        """Return all keys, and forget them."""
        keys, self._keys = self._keys, ""
        return keys


@dataclass(slots=True, kw_only=True)
class _Captured:
    """What was keyed and is good."""

    number: Secret | None = None
    card_type: CardType | None = None
    expiry: str | None = None
    security_code: Secret | None = None
    postal_code: str | None = None
    routing_number: str | None = None
    account_number: Secret | None = None

    def instrument(self) -> KeyedCard | KeyedAccount:
        """Return the card or the account, all of which has been asked for."""
        if self.routing_number is not None and self.account_number is not None:
            return KeyedAccount(routing_number=self.routing_number, account_number=self.account_number)
        if self.number is None or self.expiry is None:  # pragma: no cover - the steps come in order
            raise AssertionError("the connector is asked before the caller")
        return KeyedCard(
            number=self.number,
            expiry=self.expiry,
            security_code=self.security_code,
            postal_code=self.postal_code,
        )

    def numbers(self) -> Sequence[str]:
        """Return what must not come back from the endpoint. A number of few digits may stand anywhere by chance."""
        numbers = [secret.reveal() for secret in (self.number, self.account_number) if secret is not None]
        return [number for number in numbers if len(number) >= _NUMBER_DIGITS_MIN]


class _Phase(Enum):
    ASKING = auto()
    PROCESSING = auto()
    OVER = auto()


_CARD_FIELDS = ("PaymentCardNumber", "PaymentCardType", "ExpirationDate", "SecurityCode", "PaymentCardPostalCode")
_BANK_FIELDS = ("BankAccountNumber", "BankRoutingNumber", "BankAccountType")

_PERSONAL_ACCOUNT_TYPES = {
    BankAccountType.CONSUMER_CHECKING: "personal-checking",
    BankAccountType.CONSUMER_SAVINGS: "personal-savings",
    BankAccountType.COMMERCIAL_CHECKING: "business-checking",
    BankAccountType.COMMERCIAL_SAVINGS: "business-savings",
}

_WRONG_TWIML = frozenset(
    {
        PayError.INVALID_CHARGE_AMOUNT,
        PayError.UNKNOWN_CONNECTOR,
        PayError.AVS_NAME_REQUIRED,
        PayError.PARAMETER_MISSING,
        PayError.BANK_ACCOUNT_TYPE_WITH_CARD,
        PayError.INVALID_PARAMETER,
    }
)


class PaySession:
    """One `<Pay>` of one call. `account_sid` and `call_sid` go into status callbacks, which `status_url` gets.

    `new_ticket` numbers what is answered; `new_transaction_id` makes the connector's idempotency key.
    """

    def __init__(
        self,
        pay: Pay,
        *,
        account_sid: str,
        call_sid: str,
        status_url: str | None,
        switches: Switches,
        connectors: Mapping[str, PayConnector],
        new_transaction_id: Callable[[], str],
        new_ticket: Callable[[], int],
        speaker: Speaker,
    ) -> None:
        self.outcome: Outcome | None = None
        self.wake_at_s: float | None = None
        self.ticket: int | None = None
        """The ticket of what the connector was asked, while it is asked."""
        self._pay = pay
        self._sids = {"AccountSid": account_sid, "CallSid": call_sid}
        self._status_url = status_url
        self._switches = switches
        self._connectors = connectors
        self._new_transaction_id = new_transaction_id
        self._new_ticket = new_ticket
        self._speaker = speaker
        self._effects: list[Effect] = []
        self._phase = _Phase.ASKING
        self._amount: str | None = None
        self._steps = self._steps_to_ask()
        self._place = 0
        self._attempt = 1
        self._entry = _Entry()
        self._first_entry: Secret | None = None
        literal = pay.postal_code if isinstance(pay.postal_code, str) and not self._is_bank else None
        self._captured = _Captured(postal_code=literal)
        self._told: dict[str, str] = {}
        """What was captured, as callbacks tell it: masked."""
        if literal is not None:
            self._told["PaymentCardPostalCode"] = literal
        if self._is_bank:
            self._told["BankAccountType"] = self._account_type.value

    @property
    def step(self) -> Step:
        """The step that is being asked for, or `payment-processing`."""
        return self._steps[self._place]

    @property
    def _is_bank(self) -> bool:
        return self._pay.payment_method is PaymentMethod.ACH_DEBIT

    @property
    def _account_type(self) -> BankAccountType:
        return self._pay.bank_account_type or BankAccountType.CONSUMER_CHECKING

    @property
    def _method(self) -> Method:
        return Method.TOKENIZE if self._amount is None else Method.CHARGE

    def _steps_to_ask(self) -> Sequence[Step]:
        pay = self._pay
        asked = entries.steps_of(
            pay.payment_method,
            security_code=pay.security_code,
            postal_code=pay.postal_code is True,
            switches=self._switches,
        )
        return (*asked, Step.PAYMENT_PROCESSING)

    # --- What happens to it ------------------------------------------------------------------------------------------

    def begin(self, now_s: float) -> Sequence[Effect]:
        """The call comes to this verb."""
        refused = self._refusal()
        if refused is None:
            self._ask(now_s, None)
        else:
            error, text = refused
            self._effects.append(Warns(error.value, text))
            self._refuse(error, text)
        return self._done()

    def press(self, key: str, now_s: float) -> Sequence[Effect]:
        """The caller pressed a key. While the connector is asked, nothing comes of it."""
        is_digit = key not in "*#"
        self._effects.append(Hears(_HIDDEN if is_digit else key, self.step))
        if self._phase is _Phase.ASKING:
            if key == "*":
                self._end(Result.CALLER_INTERRUPTED_WITH_STAR)
            elif key == "#":
                self._judge(now_s)
            else:
                self._add(key, now_s)
        return self._done()

    def passed(self, now_s: float) -> Sequence[Effect]:
        """No key came until `wake_at_s`."""
        if len(self._entry):
            self._judge(now_s)
        else:
            self._fail(ErrorType.INPUT_TIMEOUT, now_s)
        return self._done()

    def settled(self, settlement: Settlement) -> Sequence[Effect]:
        """The connector answered the `ticket`."""
        self._settle(settlement)
        return self._done()

    def hung_up(self) -> Sequence[Effect]:
        """The caller hung up. Where the connector is being asked, its answer is still awaited."""
        if self._phase is _Phase.ASKING:
            self._end(Result.CALLER_HUNG_UP)
        return self._done()

    def redirected(self) -> Sequence[Effect]:
        """The application sent the call elsewhere. Where the connector is being asked, its answer is still awaited."""
        if self._phase is _Phase.ASKING:
            self._end(Result.INTERNAL_ERROR, {"PaymentError": "The call was redirected before the payment was made."})
        return self._done()

    def _done(self) -> Sequence[Effect]:
        effects, self._effects = self._effects, []
        return effects

    # --- Before anything is asked ------------------------------------------------------------------------------------

    def _refusal(self) -> tuple[PayError, str] | None:
        pay = self._pay
        if pay.problems:
            problem = pay.problems[0]
            return problem.error, f"{problem.error.title}: {problem.text}"
        connector = self._connectors.get(pay.payment_connector)
        if connector is None:
            error: PayError | None = PayError.UNKNOWN_CONNECTOR
        elif pay.bank_account_type is not None and not self._is_bank:
            error = PayError.BANK_ACCOUNT_TYPE_WITH_CARD
        else:
            amount = entries.charge_amount(pay.charge_amount, pay.currency, self._switches)
            if isinstance(amount, PayError):
                error = amount
            else:
                self._amount = amount
                error = entries.refusal(
                    connector,
                    method=self._method,
                    payment_method=pay.payment_method,
                    token_type=pay.token_type,
                    currency=pay.currency,
                    parameters=pay.parameters,
                )
        return None if error is None else (error, error.title)

    def _refuse(self, error: PayError, text: str) -> None:
        result = Result.VALIDATION_ERROR if error in _WRONG_TWIML else Result.PAYMENT_CONNECTOR_ERROR
        self._end(result, {"PaymentError": text, "PayErrorCode": str(error.value)})

    # --- A step ------------------------------------------------------------------------------------------------------

    def _ask(self, now_s: float, error: ErrorType | None) -> None:
        prompt = prompts.choose(
            self._pay.prompts,
            step=self.step,
            error=error,
            attempt=self._attempt,
            card_type=self._captured.card_type,
        )
        self._say(prompts.default(self.step, error) if prompt is None else prompt.spoken, now_s)
        self._report(error)

    def _say(self, said: Sequence[Spoken], now_s: float) -> None:
        speech = self._speaker.speech(said, language=self._pay.language, step=self.step)
        self._effects += speech.effects
        self.wake_at_s = now_s + speech.length_s + self._pay.timeout_s

    def _report(self, error: ErrorType | None) -> None:
        if self._status_url is None:
            return
        fields = self._sids | {"For": self.step.value, "Attempt": str(self._attempt)}
        if error is not None:
            fields["ErrorType"] = error.value
        why = f"status: {self.step}" + ("" if error is None else f", {error}")
        self._effects.append(Reports(self._status_url, self._pay.status_callback_method, fields | self._told, why))

    def _add(self, key: str, now_s: float) -> None:
        self.wake_at_s = now_s + self._pay.timeout_s
        entered = self._entry.add(key)
        if self._is_whole(entered) or len(entered) == KEYS_PER_ENTRY_MAX:
            self._judge(now_s)

    def _is_whole(self, entered: str) -> bool:
        return entries.is_whole(
            self.step,
            entered,
            switches=self._switches,
            card_type=self._captured.card_type,
            minimum=self._pay.min_postal_code_length,
        )

    def _judge(self, now_s: float) -> None:
        entered = self._entry.take()
        if self._first_entry is not None:
            if self._first_entry == Secret(entered):
                self._capture(entered, now_s)
            else:
                self._fail(ErrorType.INPUT_MATCHING_FAILED, now_s)
            return
        error = self._error(entered, now_s)
        if error is not None:
            self._fail(error, now_s)
        elif self._must_match():
            self._first_entry = Secret(entered)
            self._say(prompts.ONCE_MORE, now_s)
        else:
            self._capture(entered, now_s)

    def _error(self, entered: str, now_s: float) -> ErrorType | None:
        number = self._captured.number
        if self.step is Step.POSTAL_CODE and number is not None and entries.is_part_of(entered, number.reveal()):
            return ErrorType.INVALID_POSTAL_CODE  # postal codes are shown
        return entries.judge(
            self.step,
            entered,
            now_s=now_s,
            switches=self._switches,
            valid_types=self._pay.valid_card_types,
            card_type=self._captured.card_type,
            minimum=self._pay.min_postal_code_length,
        )

    def _must_match(self) -> bool:
        kinds = {"both": True, "bank-only": self._is_bank, "card-only": not self._is_bank}
        return kinds[self._switches.matching_inputs] and any(
            prompt.require_matching_inputs for prompt in self._pay.prompts if prompt.step is self.step
        )

    def _fail(self, error: ErrorType, now_s: float) -> None:
        """Ask again, or give up. What was keyed first of two is forgotten too."""
        self._first_entry = None
        if self._attempt < self._tries:
            self._attempt += 1
            self._ask(now_s, error)
            return
        self._report(error)
        self._end(
            Result.TOO_MANY_FAILED_ATTEMPTS,
            {"PaymentError": error.value},
            falls_through=self._switches.attempts_exhausted == "next-verb",
        )

    @property
    def _tries(self) -> int:
        attempts = self._pay.max_attempts or self._switches.default_max_attempts
        return attempts + (self._switches.max_attempts_counts == "retries")

    def _capture(self, entered: str, now_s: float) -> None:
        match self.step:
            case Step.PAYMENT_CARD_NUMBER:
                self._captured.number = Secret(entered)
                self._captured.card_type = card_type = entries.recognise(entered, self._switches)
                self._told["PaymentCardNumber"] = entries.mask_card(entered, card_type, self._switches)
                self._told["PaymentCardType"] = "" if card_type is None else card_type.value
            case Step.EXPIRATION_DATE:
                self._captured.expiry = self._told["ExpirationDate"] = entered
            case Step.SECURITY_CODE:
                self._captured.security_code = Secret(entered)
                self._told["SecurityCode"] = entries.mask_security_code(entered, self._switches)
            case Step.POSTAL_CODE:
                self._captured.postal_code = self._told["PaymentCardPostalCode"] = entered
            case Step.BANK_ROUTING_NUMBER:
                self._captured.routing_number = self._told["BankRoutingNumber"] = entered
            case _:
                self._captured.account_number = Secret(entered)
                self._told["BankAccountNumber"] = entries.mask_account(entered)
        self._first_entry = None
        self._attempt = 1
        self._place += 1
        self._ask(now_s, None)
        if self.step is Step.PAYMENT_PROCESSING:
            self._process()

    # --- The connector -----------------------------------------------------------------------------------------------

    def _process(self) -> None:
        self._phase = _Phase.PROCESSING
        self.wake_at_s = None
        self.ticket = self._new_ticket()
        order = Order(
            connector=self._pay.payment_connector,
            method=self._method,
            transaction_id=self._new_transaction_id(),
            instrument=self._captured.instrument(),
            amount=self._amount,
            currency=self._pay.currency,
            description=self._pay.description,
            parameters=self._pay.parameters,
        )
        self._effects.append(Transacts(self.ticket, order))

    def _settle(self, settlement: Settlement) -> None:
        self.ticket = None
        numbers = self._captured.numbers()
        match settlement:
            case Settled():
                is_charge = self._method is Method.CHARGE
                id_field = "PaymentConfirmationCode" if is_charge else "PaymentToken"
                fields = {id_field: self._without_numbers(settlement.id)}
                fields |= {
                    f"PayConnector_{scrub(name, numbers)}": scrub(value, numbers)
                    for name, value in settlement.parameters.items()
                }
                self._end(Result.SUCCESS, fields)
            case Failed():
                fields = {
                    "PaymentError": scrub(settlement.payment_error, numbers),
                    "PayErrorCode": str(settlement.error.value),
                }
                if settlement.connector_error is not None:
                    fields[self._switches.connector_error_field] = scrub(settlement.connector_error, numbers)
                self._end(Result.PAYMENT_CONNECTOR_ERROR, fields)
            case _:
                assert_never(settlement)

    def _without_numbers(self, id_: str) -> str:
        """An id may be sixteen digits that pass Luhn, as some tokens are: only the very number is masked in it."""
        for number in self._captured.numbers():
            id_ = id_.replace(number, _HIDDEN * len(number))
        return id_

    # --- The end -----------------------------------------------------------------------------------------------------

    def _end(self, result: Result, fields: dict[str, str] | None = None, *, falls_through: bool = False) -> None:
        """Be over. Fields that are of no use here are told all the same, empty, as Twilio tells them."""
        told = dict.fromkeys(_BANK_FIELDS if self._is_bank else _CARD_FIELDS, "") | self._told
        if self._is_bank and self._switches.personal_account_names:
            told["BankAccountType"] = _PERSONAL_ACCOUNT_TYPES[self._account_type]
        ids = {"PaymentConfirmationCode": "", "PaymentToken": "", "PaymentError": ""}
        if self._method is Method.TOKENIZE:
            ids["ProfileId"] = ""
        whole = {"Result": result.value, "PaymentMethod": self._pay.payment_method.value} | told | ids | (fields or {})
        if self._switches.payment_error_encoding == "percent":
            whole["PaymentError"] = quote(whole["PaymentError"], safe="")
        self.outcome = Outcome(whole, falls_through)
        self._phase = _Phase.OVER
        self.wake_at_s = None
        self._entry.take()
        self._first_entry = None
        self._captured = _Captured()
