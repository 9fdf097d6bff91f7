"""One payment of the Payments API: an agent leads, the caller keys.

The agent starts a payment on a call, asks the caller for one thing after the other in any order (**captures**), and
completes or cancels. All that the agent learns comes as status callbacks: one when the payment starts, one for every
capture that is asked for, one for every key, one when an entry is whole, good or not, and exactly one last one.

    IDLE ──capture──▶ CAPTURING ──whole, #, timeout──▶ IDLE ──complete──▶ PROCESSING ──settled──▶ OVER
                                                          └──complete──▶ CONFIRMING ──1──▶ PROCESSING

`*` while keys are wanted, cancel and a hang-up lead to OVER from everywhere but PROCESSING: what has been sent to the
endpoint is waited for, since the money may have moved, and its result is what the last callback tells.

Rules, where Twilio's pages are silent or leave a choice (the rest are `switches`):

- A capture that begins forgets what it asks for, so that `Required` grows again; one that is left for another is lost.
- An entry that is not good is not kept, and the agent must ask again. `PartialResult` is `true` while keys are awaited.
- A timeout judges what was keyed, as `#` does; with nothing keyed it is `input-timeout`.
- While it is being keyed, an entry shows a mark for each key. Once it is good, the expiry, the postal code and the
  routing number are clear, as documented, the others masked.
- Another card number with another length of security code takes the security code with it.
- A **matcher** asks again for what has been captured and is in `RequireMatchingInputs`; otherwise it is refused
  (64021). It is in `Required` until it matched. A mismatch (`input-matching-failed`) drops the first entry too.
- The security code and the postal code may be captured even if they are not required.
- **Confirmation** comes after complete: the caller hears the last digits, 1 sends the payment, 2 cancels it, other keys
  mean nothing, and without an answer (`input-timeout`) it is the agent's turn again.
- An expiry that went by between its capture and completion ends the payment as `validation-error`.

It is a state machine without hands, like a call: see `effects`. The clear card is in its memory until it is over, and
leaves it in `Transacts` alone; what an endpoint's answer repeats of it is masked.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from enum import Enum, StrEnum, auto
from typing import Final, assert_never

from generic_connector.payment import Method
from generic_connector.scrub import scrub
from generic_connector.secret import Secret
from generic_connector.twilio.effects import Effect, Hears, Reports, Speaks, Transacts
from generic_connector.twilio.entries import (
    DEFAULT_CARD_TYPES,
    BankAccountType,
    CardType,
    ErrorType,
    Step,
    is_part_of,
    is_whole,
    judge,
    mask_account,
    mask_card,
    mask_partial,
    mask_security_code,
    recognise,
    security_code_digits,
)
from generic_connector.twilio.orders import Failed, KeyedAccount, KeyedCard, Order, Settled, Settlement
from generic_connector.twilio.pay_connector import DEFAULT_NAME, PaymentMethod, TokenType
from generic_connector.twilio.pay_errors import PayError
from generic_connector.twilio.switches import Switches

TIMEOUT_S: Final = 5
"""Twilio's default for `Timeout`."""

_KEYS = frozenset("0123456789*#")
_CONFIRM, _CANCEL = "1", "2"
_LAST_SPOKEN = 4
_LONG_NUMBER_DIGITS = 8
_DIGITS = re.compile(r"[0-9]+")
_CARD_STEPS = (Step.PAYMENT_CARD_NUMBER, Step.EXPIRATION_DATE, Step.SECURITY_CODE, Step.POSTAL_CODE)
_BANK_STEPS = (Step.BANK_ROUTING_NUMBER, Step.BANK_ACCOUNT_NUMBER)
_FIELDS: Final[Mapping[Step, str]] = {
    Step.PAYMENT_CARD_NUMBER: "PaymentCardNumber",
    Step.EXPIRATION_DATE: "ExpirationDate",
    Step.SECURITY_CODE: "SecurityCode",
    Step.POSTAL_CODE: "PaymentCardPostalCode",
    Step.BANK_ROUTING_NUMBER: "BankRoutingNumber",
    Step.BANK_ACCOUNT_NUMBER: "BankAccountNumber",
}


class Capture(StrEnum):
    """What an agent can ask the caller for: six things, and four of them a second time."""

    PAYMENT_CARD_NUMBER = "payment-card-number"
    EXPIRATION_DATE = "expiration-date"
    SECURITY_CODE = "security-code"
    POSTAL_CODE = "postal-code"
    BANK_ROUTING_NUMBER = "bank-routing-number"
    BANK_ACCOUNT_NUMBER = "bank-account-number"
    PAYMENT_CARD_NUMBER_MATCHER = "payment-card-number-matcher"
    EXPIRATION_DATE_MATCHER = "expiration-date-matcher"
    SECURITY_CODE_MATCHER = "security-code-matcher"
    POSTAL_CODE_MATCHER = "postal-code-matcher"

    @property
    def step(self) -> Step:
        """What is keyed."""
        return Step(self.removesuffix("-matcher"))

    @property
    def is_matcher(self) -> bool:
        """Whether it asks for it a second time."""
        return self.endswith("-matcher")

    @property
    def pascal(self) -> str:
        """The name as one page has it: `ExpirationDate`."""
        return "".join(word.capitalize() for word in self.split("-"))


class Status(StrEnum):
    """How an agent ends a payment."""

    COMPLETE = "complete"
    CANCEL = "cancel"


class Result(StrEnum):
    """What the last callback says came of a payment."""

    SUCCESS = "success"
    PAYMENT_CONNECTOR_ERROR = "payment-connector-error"
    CALLER_INTERRUPTED_WITH_STAR = "caller-interrupted-with-star"
    CALLER_HUNG_UP = "caller-hung-up"
    VALIDATION_ERROR = "validation-error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What an agent starts a payment with. `amount` is the text of `ChargeAmount`, and None for a tokenize.

    `matching` are the steps of `RequireMatchingInputs`; `timeout_s` is the time between keys.
    """

    status_callback: str
    amount: str | None = None
    currency: str = "USD"
    description: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    connector: str = DEFAULT_NAME
    payment_method: PaymentMethod = PaymentMethod.CREDIT_CARD
    bank_account_type: BankAccountType = BankAccountType.CONSUMER_CHECKING
    token_type: TokenType = TokenType.REUSABLE
    security_code: bool = True
    postal_code: bool = True
    min_postal_code_length: int | None = None
    timeout_s: int = TIMEOUT_S
    valid_card_types: Collection[CardType] = DEFAULT_CARD_TYPES
    matching: Collection[Step] = ()
    confirmation: bool = False

    @property
    def method(self) -> Method:
        """A charge where there is an amount, otherwise a tokenize."""
        return Method.TOKENIZE if self.amount is None else Method.CHARGE


class _Phase(Enum):
    IDLE = auto()
    CAPTURING = auto()
    CONFIRMING = auto()
    PROCESSING = auto()
    OVER = auto()


class AgentPayment:
    """One payment. Methods return what is to be done now, or the error that refuses what was asked for.

    `ticket` is that of its one `Transacts`: the driver gives one that is unique within the call.
    """

    def __init__(
        self,
        *,
        account_sid: str,
        call_sid: str,
        sid: str,
        opening: Opening,
        switches: Switches,
        new_transaction_id: Callable[[], str],
        ticket: int = 0,
    ) -> None:
        self.sid = sid
        self.wake_at_s: float | None = None
        """When `passed` wants to be called, in Unix seconds; None: not before something else happens."""
        self._account_sid = account_sid
        self._call_sid = call_sid
        self._opening = opening
        self._switches = switches
        self._new_transaction_id = new_transaction_id
        self._ticket = ticket
        self._status_callback = opening.status_callback
        self._created_at_s = self._updated_at_s = 0.0
        self._phase = _Phase.IDLE
        self._capture: Capture | None = None
        self._entered = ""
        self._values: dict[Step, Secret] = {}
        self._matched: set[Step] = set()

    @property
    def is_over(self) -> bool:
        """Whether the last callback has been made."""
        return self._phase is _Phase.OVER

    @property
    def is_processing(self) -> bool:
        """Whether it is with its connector."""
        return self._phase is _Phase.PROCESSING

    @property
    def wants_keys(self) -> bool:
        """Whether the caller's keys are for this payment now, and not for the call's TwiML."""
        return self._phase in {_Phase.CAPTURING, _Phase.CONFIRMING}

    @property
    def created_at_s(self) -> float:
        """When it was started, in Unix seconds."""
        return self._created_at_s

    @property
    def updated_at_s(self) -> float:
        """When anything last happened to it, in Unix seconds."""
        return self._updated_at_s

    @property
    def required(self) -> tuple[Capture, ...]:
        """What is still to be captured before it can be completed, each matcher after what it matches."""
        missing = []
        for step in self._asked():
            if step not in self._values:
                missing.append(Capture(step))
            if step in self._opening.matching and step not in self._matched:
                missing.append(Capture(f"{step}-matcher"))
        return tuple(missing)

    # --- What the agent asks for -------------------------------------------------------------------------------------

    def start(self, now_s: float) -> Sequence[Effect]:
        """The payment begins. Once, and before anything else."""
        self._created_at_s = self._updated_at_s = now_s
        return [self._report("payment start", self._common())]

    def capture(self, what: Capture, status_callback: str, now_s: float) -> Sequence[Effect] | PayError:
        """Ask the caller to key this. It may have been asked for before."""
        step = what.step
        if self._phase in {_Phase.PROCESSING, _Phase.OVER} or step not in self._steps():
            return PayError.INVALID_OPERATION
        if what.is_matcher and (step not in self._opening.matching or step not in self._values):
            return PayError.INVALID_OPERATION
        self._hear_from_agent(status_callback, now_s)
        self._wait_for_agent()
        self._capture = what
        self._matched.discard(step)
        if not what.is_matcher:
            self._values.pop(step, None)
        if step is Step.SECURITY_CODE and Step.PAYMENT_CARD_NUMBER not in self._values:
            return [self._update(ErrorType.SECURITY_CODE_BEFORE_NUMBER)]
        self._phase = _Phase.CAPTURING
        if self._switches.capture_wait == "timeout":
            self._wait_for_key(now_s)
        return [self._update()]

    def complete(self, status_callback: str, now_s: float) -> Sequence[Effect] | PayError:
        """Send the payment to its connector, after the caller confirmed it where that is asked for."""
        if self._phase in {_Phase.CONFIRMING, _Phase.PROCESSING, _Phase.OVER}:
            return PayError.INVALID_OPERATION
        if self.required:
            return PayError.INCOMPLETE
        self._hear_from_agent(status_callback, now_s)
        self._wait_for_agent()
        self._capture = None
        if not self._opening.confirmation:
            return self._process(now_s)
        self._phase = _Phase.CONFIRMING
        self._wait_for_key(now_s)
        return [Speaks(self._question(), step=Step.PAYMENT_PROCESSING)]

    def cancel(self, status_callback: str, now_s: float) -> Sequence[Effect] | PayError:
        """End the payment, whatever was captured."""
        if self._phase in {_Phase.PROCESSING, _Phase.OVER}:
            return PayError.INVALID_OPERATION
        self._hear_from_agent(status_callback, now_s)
        return self._canceled()

    def interfered(self, status_callback: str, now_s: float) -> Sequence[Effect]:
        """Another start was refused while this payment is in progress: tell it who asked for that."""
        fields = {**self._common(), **self._progress(ErrorType.SESSION_IN_PROGRESS)}
        fields["DateUpdated"] = self._date(now_s)
        return [Reports(status_callback, "POST", fields, "payment update")]

    # --- What happens ------------------------------------------------------------------------------------------------

    def press(self, key: str, now_s: float) -> Sequence[Effect]:
        """The caller pressed a key: one of `0`-`9`, `*`, `#`. Nothing comes of it unless keys are wanted."""
        effects = list(self.passed(now_s))  # a key that comes too late is for nobody
        if not self.wants_keys or key not in _KEYS:
            return effects
        self._updated_at_s = now_s
        capture = self._capture  # None: the caller is asked to confirm
        step = Step.PAYMENT_PROCESSING if capture is None else capture.step
        effects.append(Hears(key if key in "*#" else "x", step))
        if key == "*":
            return [*effects, *self._end(Result.CALLER_INTERRUPTED_WITH_STAR)]
        if capture is None:
            return [*effects, *self._answered(key, now_s)]
        if key == "#":
            return [*effects, *self._entry_ended(capture, now_s)]
        self._entered += key
        if self._is_whole(step):
            return [*effects, *self._entry_ended(capture, now_s)]
        self._wait_for_key(now_s)
        return [*effects, self._update()]

    def passed(self, now_s: float) -> Sequence[Effect]:
        """It is `now_s`; before `wake_at_s` nothing comes of that."""
        if self.wake_at_s is None or now_s < self.wake_at_s:
            return []
        self._updated_at_s = now_s
        if self._capture is not None and self._entered:
            return self._entry_ended(self._capture, now_s)
        self._wait_for_agent()
        return [self._update(ErrorType.INPUT_TIMEOUT)]

    def settled(self, ticket: int, settlement: Settlement, now_s: float) -> Sequence[Effect]:
        """The answer to `Transacts`. One that is not awaited is ignored."""
        if self._phase is not _Phase.PROCESSING or ticket != self._ticket:
            return []
        self._updated_at_s = now_s
        match settlement:
            case Settled():
                told = {} if not self._switches.parameters_in_callbacks else settlement.parameters
                parameters = {f"PayConnector_{name}": self._masked(value) for name, value in told.items()}
                id_field = "PaymentConfirmationCode" if self._opening.method is Method.CHARGE else "PaymentToken"
                return self._end(Result.SUCCESS, {id_field: self._masked(settlement.id), **parameters})
            case Failed():
                failure = {
                    "PayErrorCode": str(settlement.error.value),
                    "PaymentError": self._scrubbed(settlement.payment_error),
                    "ConnectorError": self._scrubbed(settlement.connector_error or ""),
                }
                return self._end(Result.PAYMENT_CONNECTOR_ERROR, failure)
            case _:
                assert_never(settlement)

    def hung_up(self, now_s: float) -> Sequence[Effect]:
        """The call is over. A payment that is with its connector is waited for."""
        if self._phase in {_Phase.PROCESSING, _Phase.OVER}:
            return []
        self._updated_at_s = now_s
        return self._end(Result.CALLER_HUNG_UP)

    # --- Keys --------------------------------------------------------------------------------------------------------

    def _hear_from_agent(self, status_callback: str, now_s: float) -> None:
        self._status_callback = status_callback
        self._updated_at_s = now_s

    def _wait_for_agent(self) -> None:
        self._phase = _Phase.IDLE
        self._entered = ""
        self.wake_at_s = None

    def _wait_for_key(self, now_s: float) -> None:
        self.wake_at_s = now_s + self._opening.timeout_s

    def _is_whole(self, step: Step) -> bool:
        return is_whole(
            step,
            self._entered,
            switches=self._switches,
            card_type=self._card_type(),
            minimum=self._opening.min_postal_code_length,
        )

    def _entry_ended(self, capture: Capture, now_s: float) -> Sequence[Effect]:
        """Judge what was keyed, keep it if it is good, and tell."""
        entered = Secret(self._entered)
        self._wait_for_agent()
        if capture.is_matcher:
            return [self._update(self._match(capture.step, entered))]
        error = self._judge(capture.step, entered, now_s)
        if error is None:
            self._keep(capture.step, entered)
        return [self._update(error)]

    def _judge(self, step: Step, entered: Secret, now_s: float) -> ErrorType | None:
        number = self._values.get(Step.PAYMENT_CARD_NUMBER)
        if step is Step.POSTAL_CODE and number is not None and is_part_of(entered.reveal(), number.reveal()):
            return ErrorType.INVALID_POSTAL_CODE  # postal codes are shown
        return judge(
            step,
            entered.reveal(),
            now_s=now_s,
            switches=self._switches,
            valid_types=self._opening.valid_card_types,
            card_type=self._card_type(),
            minimum=self._opening.min_postal_code_length,
        )

    def _match(self, step: Step, entered: Secret) -> ErrorType | None:
        if entered == self._values[step]:
            self._matched.add(step)
            return None
        del self._values[step]
        return ErrorType.INPUT_MATCHING_FAILED

    def _keep(self, step: Step, entered: Secret) -> None:
        self._values[step] = entered
        code = self._values.get(Step.SECURITY_CODE)
        if code is not None and len(code.reveal()) != security_code_digits(self._card_type()):
            del self._values[Step.SECURITY_CODE]
            self._matched.discard(Step.SECURITY_CODE)

    def _answered(self, key: str, now_s: float) -> Sequence[Effect]:
        """The caller was asked whether the payment is right."""
        if key == _CONFIRM:
            return self._process(now_s)
        return self._canceled() if key == _CANCEL else []

    def _question(self) -> str:
        """What the caller hears before confirming: no more than four digits, and two of a short account number."""
        if self._opening.payment_method is PaymentMethod.CREDIT_CARD:
            number, what = self._values[Step.PAYMENT_CARD_NUMBER].reveal(), "card"
            last = number[-_LAST_SPOKEN:]
        else:
            number, what = self._values[Step.BANK_ACCOUNT_NUMBER].reveal(), "account"
            is_long = len(number) >= _LONG_NUMBER_DIGITS
            last = number[-_LAST_SPOKEN:] if is_long else mask_account(number).lstrip("*")
        ending = f", ending in {' '.join(last)}" if last else ""
        return f"Your {what} number{ending}. To confirm, press 1. To cancel, press 2."

    # --- The end -----------------------------------------------------------------------------------------------------

    def _process(self, now_s: float) -> Sequence[Effect]:
        """Send what was captured, unless the card expired meanwhile."""
        expiry = self._values.get(Step.EXPIRATION_DATE)
        error = None if expiry is None else self._judge(Step.EXPIRATION_DATE, expiry, now_s)
        if error is not None:
            code = str(PayError.INVALID_PARAMETER.value)
            return self._end(Result.VALIDATION_ERROR, {"PayErrorCode": code, "PaymentError": error})
        self._wait_for_agent()
        self._phase = _Phase.PROCESSING
        opening = self._opening
        order = Order(
            connector=opening.connector,
            method=opening.method,
            transaction_id=self._new_transaction_id(),
            instrument=self._instrument(),
            amount=opening.amount,
            currency=opening.currency,
            description=opening.description,
            parameters=opening.parameters,
        )
        return [Transacts(self._ticket, order)]

    def _instrument(self) -> KeyedCard | KeyedAccount:
        values = self._values
        if self._opening.payment_method is PaymentMethod.ACH_DEBIT:
            return KeyedAccount(
                routing_number=values[Step.BANK_ROUTING_NUMBER].reveal(),
                account_number=values[Step.BANK_ACCOUNT_NUMBER],
            )
        postal_code = values.get(Step.POSTAL_CODE)
        return KeyedCard(
            number=values[Step.PAYMENT_CARD_NUMBER],
            expiry=values[Step.EXPIRATION_DATE].reveal(),
            security_code=values.get(Step.SECURITY_CODE),
            postal_code=None if postal_code is None else postal_code.reveal(),
        )

    def _canceled(self) -> Sequence[Effect]:
        is_told = self._switches.cancel_result != "absent"
        return self._end(Result.CALLER_INTERRUPTED_WITH_STAR if is_told else None)

    def _end(self, result: Result | None, outcome: Mapping[str, str] | None = None) -> Sequence[Effect]:
        """Make the last callback, and forget the card."""
        ids = {"PaymentConfirmationCode": "", "PaymentToken": "", "ProfileId": ""}
        fields = {
            **self._common(),
            "DateUpdated": self._date(self._updated_at_s),
            **self._captured(),
            **({} if result is None else {"Result": result.value}),
            **ids,
            **(outcome or {}),
        }
        self._wait_for_agent()
        self._phase = _Phase.OVER
        self._capture = None
        self._values.clear()
        return [self._report("payment end", fields)]

    # --- Callbacks ---------------------------------------------------------------------------------------------------

    def _report(self, why: str, fields: Mapping[str, str]) -> Reports:
        return Reports(self._status_callback, "POST", fields, why)

    def _update(self, error: ErrorType | None = None) -> Reports:
        return self._report("payment update", {**self._common(), **self._progress(error), **self._captured()})

    def _common(self) -> dict[str, str]:
        """What every callback of the payment carries."""
        opening = self._opening
        fields = {
            "AccountSid": self._account_sid,
            "CallSid": self._call_sid,
            "Sid": self.sid,
            "DateCreated": self._date(self._created_at_s),
            "PaymentConnector": opening.connector,
            "PaymentMethod": opening.payment_method.value,
        }
        if opening.payment_method is PaymentMethod.ACH_DEBIT:
            fields["BankAccountType"] = opening.bank_account_type.value
        if opening.amount is None:
            fields["TokenType"] = opening.token_type.value
        else:
            fields["ChargeAmount"] = opening.amount
        return fields

    def _progress(self, error: ErrorType | None) -> dict[str, str]:
        """What a callback on an update adds, but for the entries themselves."""
        fields = {"DateUpdated": self._date(self._updated_at_s), "Required": self._required_text()}
        if self._capture is not None:
            fields["Capture"] = self._capture.value
            if self._phase is _Phase.CAPTURING:
                fields["PartialResult"] = "true"
            elif self._switches.last_partial_result == "false":
                fields["PartialResult"] = "false"
        if error is not None:
            fields["ErrorType"] = error.value
        return fields

    def _captured(self) -> dict[str, str]:
        """The entries as they may be seen: those that are good, and a mark for each key of the one being keyed."""
        fields = {_FIELDS[step]: self._shown(step, value.reveal()) for step, value in self._values.items()}
        card_type = self._card_type()
        if card_type is not None:
            fields["PaymentCardType"] = card_type.value
        if self._capture is not None and self._entered:
            fields[_FIELDS[self._capture.step]] = self._shown_partly(self._capture.step)
        return fields

    def _shown(self, step: Step, value: str) -> str:
        match step:
            case Step.PAYMENT_CARD_NUMBER:
                return mask_card(value, self._card_type(), self._switches)
            case Step.SECURITY_CODE:
                return mask_security_code(value, self._switches)
            case Step.BANK_ACCOUNT_NUMBER:
                return mask_account(value)
            case _:
                return scrub(value)  # clear; but a postal code may be any number that somebody keyed

    def _shown_partly(self, step: Step) -> str:
        if step is Step.SECURITY_CODE:
            return mask_security_code(self._entered, self._switches)
        if step is Step.BANK_ACCOUNT_NUMBER:
            return "*" * len(self._entered)
        return mask_partial(self._entered)

    def _required_text(self) -> str:
        is_pascal = self._switches.required_names == "pascal"
        return ",".join(capture.pascal if is_pascal else capture.value for capture in self.required)

    def _date(self, at_s: float) -> str:
        at = datetime.fromtimestamp(at_s, UTC)
        if self._switches.callback_dates == "rfc2822":
            return format_datetime(at)
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    # --- What was captured -------------------------------------------------------------------------------------------

    def _steps(self) -> tuple[Step, ...]:
        """What can be captured."""
        return _BANK_STEPS if self._opening.payment_method is PaymentMethod.ACH_DEBIT else _CARD_STEPS

    def _asked(self) -> Sequence[Step]:
        """What must be, in the order in which `Required` names it (observed)."""
        left_out = {
            step
            for step, is_asked in (
                (Step.SECURITY_CODE, self._opening.security_code),
                (Step.POSTAL_CODE, self._opening.postal_code),
            )
            if not is_asked
        }
        return [step for step in self._steps() if step not in left_out]

    def _card_type(self) -> CardType | None:
        number = self._values.get(Step.PAYMENT_CARD_NUMBER)
        return None if number is None else recognise(number.reveal(), self._switches)

    def _secrets(self) -> Sequence[str]:
        secret = (Step.PAYMENT_CARD_NUMBER, Step.BANK_ACCOUNT_NUMBER, Step.SECURITY_CODE)
        return [self._values[step].reveal() for step in secret if step in self._values]

    def _scrubbed(self, text: str) -> str:
        """An endpoint's own words, without any card number in them."""
        return scrub(text, self._secrets())

    def _masked(self, text: str) -> str:
        """An endpoint's id, as it is but for this payment's own number: a token may look like a card number.

        A short account number is masked only where it is a number of its own.
        """
        number = self._secrets()[0]
        mask = "*" * len(number)
        if len(number) >= _LONG_NUMBER_DIGITS:
            return text.replace(number, mask)
        return _DIGITS.sub(lambda found: mask if found.group() == number else found.group(), text)
