"""The Payments API of one call, without HTTP: form parameters in, a status and a JSON body out, and effects.

`Payments` is all of `.../Calls/{CA}/Payments`: it starts payments, hands updates to them, and passes the caller's keys,
the time and the endpoint's answer to the one that is on. There is one at a time. Who serves the API checks who asks,
brings the form, and carries out the effects; who simulates the call brings the rest.

Twilio publishes no HTTP statuses for its payment errors. Here a request that is refused is 400 with the 64xxx as its
`code`: the SDKs make the same exception of any status from 400 on, and people read `code`. A payment or a call that is
not there is 404. A missing parameter is 20001, Twilio's code for that in its whole API. Nothing is 409: a session that
is in progress is 64021, which says it better.

Rules where Twilio's pages are silent:

- Parameters with names that are not known are ignored, as Twilio's API does. An empty value is none.
- `Parameter` is a JSON object in a string, and may be written with single quotes, as Twilio's own sample has it.
  Numbers and booleans in it become their text; what is nested, and null, is refused (64020).
- `BankAccountType` beside a card is refused (64017), even if it says what is the default.
- A start while a payment is in progress is refused (64021), and the `StatusCallback` that came with it is told of
  `session-in-progress`. So is one while a `<Pay>` runs, or on a call that is not on, without that callback.
- An **idempotency key** that comes again with the very same parameters gets the same answer, and nothing else happens.
  Twilio's demos send the CallSid as the key of everything, which works: a key that comes with other parameters is no
  such key, and from then on means nothing. Only what was accepted is remembered.
- An error names the parameter and what it must be, and never repeats what it was.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final, TypeVar, assert_never
from urllib.parse import urlsplit

from generic_connector.contract.body import NotJsonError, Number, parse_object, to_text
from generic_connector.digits import is_digits
from generic_connector.twilio.agent import TIMEOUT_S, AgentPayment, Capture, Opening, Status
from generic_connector.twilio.effects import Effect
from generic_connector.twilio.entries import (
    DEFAULT_CARD_TYPES,
    BankAccountType,
    Step,
    charge_amount,
    parse_bank_account_type,
    parse_card_types,
    refusal,
)
from generic_connector.twilio.orders import Settlement
from generic_connector.twilio.pay_connector import DEFAULT_NAME, PayConnector, PaymentMethod, TokenType
from generic_connector.twilio.pay_errors import PayError
from generic_connector.twilio.switches import Switches

TIMEOUT_S_MAX: Final = 600
POSTAL_CODE_LENGTH_MAX: Final = 100
IDEMPOTENCY_KEYS_MAX: Final = 1_000
"""How many keys of one call are remembered; the oldest are forgotten first."""

MISSING_PARAMETER: Final = 20001
NOT_FOUND: Final = 20404
ERRORS_URL: Final = "https://www.twilio.com/docs/errors/"

_MATCHED_STEPS = {
    step.value: step for step in (Step.PAYMENT_CARD_NUMBER, Step.EXPIRATION_DATE, Step.SECURITY_CODE, Step.POSTAL_CODE)
}
_CURRENCY = re.compile(r"[A-Za-z]{3}")
_INTEGER_DIGITS_MAX = 9
# A string in single or double quotes. One that does not end is none, and then the whole is no JSON.
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*+)'|\"(?:[^\"\\]|\\.)*+\"", re.DOTALL)

Form = Mapping[str, str]
_T = TypeVar("_T")


# --- What is answered ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ApiError:
    """A request that is refused, in Twilio's shape. `status` is HTTP's, `code` Twilio's."""

    status: int
    code: int
    message: str

    @property
    def more_info(self) -> str:
        """Where Twilio explains the code."""
        return f"{ERRORS_URL}{self.code}"

    @property
    def body(self) -> Mapping[str, str | int]:
        """The JSON of it."""
        return {"code": self.code, "message": self.message, "more_info": self.more_info, "status": self.status}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API answers, and what is to be done beside it."""

    status: int
    body: Mapping[str, str | int]
    effects: Sequence[Effect] = ()

    @property
    def is_refusal(self) -> bool:
        """Whether the body is an error."""
        return "code" in self.body


def refused(error: PayError, detail: str | None = None) -> ApiError:
    """Return the answer to a request that this error refuses. `detail` says what to do; it must quote nothing."""
    return ApiError(400, int(error), error.title if detail is None else f"{error.title.rstrip('.')}: {detail}")


def not_found(what: str) -> ApiError:
    """Return the answer to a request for what is not there. `what` is the resource's path."""
    return ApiError(404, NOT_FOUND, f"The requested resource {what} was not found")


# --- What is asked ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A start, parsed."""

    idempotency_key: str
    opening: Opening


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """An update, parsed: a capture, or the end."""

    idempotency_key: str
    status_callback: str
    what: Capture | Status


class _RefusedError(Exception):
    """Carries the answer out of the parsing. Never leaves this module."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message)
        self.error = error


def parse_start(form: Form, switches: Switches) -> Start | ApiError:
    """Return what a start asks for."""
    try:
        return Start(idempotency_key=_needed(form, "IdempotencyKey"), opening=_opening(form, switches))
    except _RefusedError as refusal_:
        return refusal_.error


def parse_update(form: Form) -> Update | ApiError:
    """Return what an update asks for: exactly one of `Capture` and `Status`."""
    try:
        idempotency_key, status_callback = _needed(form, "IdempotencyKey"), _status_callback(form)
        capture = _one_of(form, "Capture", {member.value: member for member in Capture})
        status = _one_of(form, "Status", {member.value: member for member in Status})
    except _RefusedError as refusal_:
        return refusal_.error
    if capture is not None and status is None:
        return Update(idempotency_key=idempotency_key, status_callback=status_callback, what=capture)
    if status is not None and capture is None:
        return Update(idempotency_key=idempotency_key, status_callback=status_callback, what=status)
    return refused(PayError.CAPTURE_OR_STATUS, "Give one of them, and not both.")


def _opening(form: Form, switches: Switches) -> Opening:
    status_callback = _status_callback(form)
    payment_method = _one_of(form, "PaymentMethod", {member.value: member for member in PaymentMethod})
    payment_method = payment_method or PaymentMethod.CREDIT_CARD
    _one_of(form, "Input", {"dtmf": "dtmf"})
    currency = _currency(form)
    amount = charge_amount(form.get("ChargeAmount"), currency, switches)
    if isinstance(amount, PayError):
        raise _RefusedError(
            refused(
                amount,
                f"ChargeAmount must be digits, no more than 1,000,000, with the decimals that {currency.upper()} has.",
            )
        )
    valid_card_types = _parsed(form, "ValidCardTypes", parse_card_types, "card types, separated by spaces")
    return Opening(
        status_callback=status_callback,
        amount=amount,
        currency=currency,
        description=_given(form, "Description"),
        parameters=_parsed(form, "Parameter", _parameters, "a single-level JSON object in a string") or {},
        connector=_given(form, "PaymentConnector") or DEFAULT_NAME,
        payment_method=payment_method,
        bank_account_type=_bank_account_type(form, payment_method, switches),
        token_type=_token_type(form, is_charge=amount is not None, switches=switches),
        security_code=_flag(form, "SecurityCode", default=True),
        postal_code=_flag(form, "PostalCode", default=True),
        min_postal_code_length=_integer(form, "MinPostalCodeLength", POSTAL_CODE_LENGTH_MAX),
        timeout_s=_integer(form, "Timeout", TIMEOUT_S_MAX) or TIMEOUT_S,
        valid_card_types=valid_card_types or DEFAULT_CARD_TYPES,
        matching=_matching(form, switches),
        confirmation=_flag(form, "Confirmation", default=False),
    )


# --- Single parameters -----------------------------------------------------------------------------------------------


def _invalid(name: str, must_be: str) -> _RefusedError:
    return _RefusedError(refused(PayError.INVALID_PARAMETER, f"{name} must be {must_be}."))


def _given(form: Form, name: str) -> str | None:
    """The value, where there is one that is not blank."""
    value = form.get(name, "")
    return value if value.strip() else None


def _needed(form: Form, name: str) -> str:
    value = _given(form, name)
    if value is None:
        raise _RefusedError(
            ApiError(400, MISSING_PARAMETER, f"Missing required parameter {name} in the post body: give it.")
        )
    return value


def _parsed(form: Form, name: str, parse: Callable[[str], _T | None], must_be: str) -> _T | None:
    """The value as `parse` reads it, or None where there is none."""
    value = _given(form, name)
    if value is None:
        return None
    found = parse(value)
    if found is None:
        raise _invalid(name, must_be)
    return found


def _one_of(form: Form, name: str, values: Mapping[str, _T]) -> _T | None:
    return _parsed(form, name, values.get, f"one of {', '.join(values)}")


def _flag(form: Form, name: str, *, default: bool) -> bool:
    found = _parsed(form, name, lambda text: {"true": True, "false": False}.get(text.lower()), "true or false")
    return default if found is None else found


def _integer(form: Form, name: str, most: int) -> int | None:
    def parse(text: str) -> int | None:
        is_number = is_digits(text) and len(text) <= _INTEGER_DIGITS_MAX
        return int(text) if is_number and 1 <= int(text) <= most else None

    return _parsed(form, name, parse, f"a whole number from 1 to {most}")


def _status_callback(form: Form) -> str:
    """An absolute http(s) URL, or a relative one, which has no scheme."""
    url = _needed(form, "StatusCallback")
    try:
        parts = urlsplit(url)
        is_url = parts.scheme == "" or (parts.scheme in {"http", "https"} and bool(parts.hostname))
    except ValueError:
        is_url = False
    if not is_url:
        raise _invalid("StatusCallback", "an http or https URL, or a relative one")
    return url


def _currency(form: Form) -> str:
    def parse(text: str) -> str | None:
        return text if _CURRENCY.fullmatch(text) else None

    return _parsed(form, "Currency", parse, "the three letters of a currency, such as USD") or "USD"


def _bank_account_type(form: Form, payment_method: PaymentMethod, switches: Switches) -> BankAccountType:
    if payment_method is PaymentMethod.CREDIT_CARD and _given(form, "BankAccountType") is not None:
        raise _RefusedError(refused(PayError.BANK_ACCOUNT_TYPE_WITH_CARD))
    known = ", ".join(name for name in BankAccountType if parse_bank_account_type(name, switches) is not None)
    found = _parsed(form, "BankAccountType", lambda text: parse_bank_account_type(text, switches), f"one of {known}")
    return found or BankAccountType.CONSUMER_CHECKING


def _token_type(form: Form, *, is_charge: bool, switches: Switches) -> TokenType:
    found = _one_of(form, "TokenType", {member.value: member for member in TokenType})
    is_allowed = switches.token_type_with_amount == "charge"  # noqa: S105 - a kind of token, not a password
    if found is not None and is_charge and not is_allowed:
        raise _RefusedError(
            refused(PayError.INVALID_PARAMETER, "TokenType and a ChargeAmount exclude each other: leave one out.")
        )
    return found or TokenType.REUSABLE


def _matching(form: Form, switches: Switches) -> Collection[Step]:
    def parse(text: str) -> tuple[Step, ...] | None:
        names = [name.strip() for name in text.split(",")]
        if switches.matching_inputs == "bank-only" or not set(names) <= _MATCHED_STEPS.keys():
            return None
        return tuple(_MATCHED_STEPS[name] for name in names)

    must_be = f"some of {', '.join(_MATCHED_STEPS)}, separated by commas"
    if switches.matching_inputs == "bank-only":
        must_be = "left out: by the switch matching_inputs it works for bank accounts in <Pay> only"
    return _parsed(form, "RequireMatchingInputs", parse, must_be) or ()


def _parameters(text: str) -> Mapping[str, str] | None:
    """Return the object of a `Parameter`, its values as text; None where it is none of one level."""
    try:
        found = parse_object(text.encode(errors="surrogatepass"))
    except NotJsonError:
        try:
            found = parse_object(_QUOTED.sub(_in_double_quotes, text).encode(errors="surrogatepass"))
        except NotJsonError:
            return None
    if not all(isinstance(value, str | bool | Number) for value in found.values()):
        return None
    return {name: to_text(value) for name, value in found.items()}


def _in_double_quotes(found: re.Match[str]) -> str:
    inner = found.group(1)
    if inner is None:
        return found.group()
    return '"' + inner.replace("\\'", "'").replace('"', '\\"') + '"'


# --- The resource ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Remembered:
    """What an idempotency key came with, and what was answered. None: the key came with different things."""

    asked: tuple[str, frozenset[tuple[str, str]]] = field(repr=False)
    answer: Answer | None = field(repr=False)


class Payments:
    """The payments of one call. Nothing here waits; see `effects`."""

    def __init__(
        self,
        *,
        account_sid: str,
        call_sid: str,
        switches: Switches,
        connectors: Mapping[str, PayConnector],
        new_sid: Callable[[], str],
        new_transaction_id: Callable[[], str],
    ) -> None:
        self._account_sid = account_sid
        self._call_sid = call_sid
        self._switches = switches
        self._connectors = connectors
        self._new_sid = new_sid
        self._new_transaction_id = new_transaction_id
        self._payments: dict[str, AgentPayment] = {}
        self._current: AgentPayment | None = None
        self._keys: dict[str, _Remembered] = {}

    # --- The API -----------------------------------------------------------------------------------------------------

    def create(self, form: Form, now_s: float, *, is_call_on: bool = True, is_pay_on: bool = False) -> Answer:
        """Start a payment: POST to `Payments.json`. `is_pay_on`: the call's TwiML runs a `<Pay>`."""
        asked = parse_start(form, self._switches)
        if isinstance(asked, ApiError):
            return _refusal(asked)
        return self._once(
            asked.idempotency_key,
            ("", form),
            lambda: self._start(asked.opening, now_s, is_call_on=is_call_on, is_pay_on=is_pay_on),
        )

    def update(self, sid: str, form: Form, now_s: float) -> Answer:
        """Capture, complete or cancel: POST to `Payments/{PK}.json`."""
        payment = self._payments.get(sid)
        if payment is None:
            return _refusal(not_found(self._uri(sid)))
        asked = parse_update(form)
        if isinstance(asked, ApiError):
            return _refusal(asked)
        return self._once(asked.idempotency_key, (sid, form), lambda: self._update(payment, asked, now_s))

    # --- The call ----------------------------------------------------------------------------------------------------

    @property
    def current(self) -> AgentPayment | None:
        """The payment that is on, if one is."""
        return None if self._current is None or self._current.is_over else self._current

    @property
    def wants_keys(self) -> bool:
        """Whether the caller's keys are for a payment now, and not for the call's TwiML."""
        return self.current is not None and self.current.wants_keys

    @property
    def wake_at_s(self) -> float | None:
        """When `passed` wants to be called, in Unix seconds; None: not before something else happens."""
        return None if self.current is None else self.current.wake_at_s

    def press(self, key: str, now_s: float) -> Sequence[Effect]:
        """The caller pressed a key."""
        return [] if self.current is None else self.current.press(key, now_s)

    def passed(self, now_s: float) -> Sequence[Effect]:
        """It is `now_s`; before `wake_at_s` nothing comes of that."""
        return [] if self.current is None else self.current.passed(now_s)

    def settled(self, ticket: int, settlement: Settlement, now_s: float) -> Sequence[Effect]:
        """The answer to a `Transacts` that came from here."""
        return [] if self.current is None else self.current.settled(ticket, settlement, now_s)

    def hung_up(self, now_s: float) -> Sequence[Effect]:
        """The call is over."""
        return [] if self.current is None else self.current.hung_up(now_s)

    # --- One request -------------------------------------------------------------------------------------------------

    def _once(self, key: str, request: tuple[str, Form], do: Callable[[], Answer]) -> Answer:
        """Do it, unless its idempotency key says that it has been done."""
        sid, form = request
        asked = (sid, frozenset(form.items()))
        known = self._keys.get(key)
        if known is not None and self._switches.repeated_idempotency_key == "refused":
            return _refusal(refused(PayError.INVALID_PARAMETER, "IdempotencyKey must be new for every request."))
        is_repeated = known is not None and self._switches.repeated_idempotency_key == "same-answer"
        if is_repeated and known is not None and known.asked == asked and known.answer is not None:
            return Answer(known.answer.status, known.answer.body)
        answer = do()
        if not answer.is_refusal:
            self._keys[key] = _Remembered(asked, answer if known is None else None)
            if len(self._keys) > IDEMPOTENCY_KEYS_MAX:
                del self._keys[next(iter(self._keys))]
        return answer

    def _start(self, opening: Opening, now_s: float, *, is_call_on: bool, is_pay_on: bool) -> Answer:
        if not is_call_on:
            return _refusal(refused(PayError.INVALID_OPERATION, "The call is not in progress."))
        if is_pay_on:
            return _refusal(refused(PayError.INVALID_OPERATION, "The call runs a <Pay>: wait until that is through."))
        if self.current is not None:
            error = refused(
                PayError.INVALID_OPERATION, f"Payment {self.current.sid} is in progress: complete or cancel it first."
            )
            return Answer(error.status, error.body, self.current.interfered(opening.status_callback, now_s))
        why_not = refusal(
            self._connectors.get(opening.connector),
            method=opening.method,
            payment_method=opening.payment_method,
            token_type=opening.token_type,
            currency=opening.currency,
            parameters=opening.parameters,
        )
        if why_not is not None:
            return _refusal(refused(why_not))
        payment = AgentPayment(
            account_sid=self._account_sid,
            call_sid=self._call_sid,
            sid=self._new_sid(),
            opening=opening,
            switches=self._switches,
            new_transaction_id=self._new_transaction_id,
            # A call counts its own tickets upwards: so they never meet.
            ticket=-1 - len(self._payments),
        )
        self._payments[payment.sid] = self._current = payment
        return self._done(201, payment, payment.start(now_s))

    def _update(self, payment: AgentPayment, asked: Update, now_s: float) -> Answer:
        match asked.what:
            case Capture():
                came = payment.capture(asked.what, asked.status_callback, now_s)
            case Status.COMPLETE:
                came = payment.complete(asked.status_callback, now_s)
            case Status.CANCEL:
                came = payment.cancel(asked.status_callback, now_s)
            case _:
                assert_never(asked.what)
        match came:
            case PayError.INCOMPLETE:
                return _refusal(refused(came, f"Still to be captured: {', '.join(payment.required)}."))
            case PayError():
                return _refusal(refused(came, _why_not(payment, asked.what)))
            case _:
                return self._done(202, payment, came)

    def _done(self, status: int, payment: AgentPayment, effects: Sequence[Effect]) -> Answer:
        body = {
            "account_sid": self._account_sid,
            "call_sid": self._call_sid,
            "date_created": _date(payment.created_at_s),
            "date_updated": _date(payment.updated_at_s),
            "sid": payment.sid,
            "uri": self._uri(payment.sid),
        }
        return Answer(status, body, effects)

    def _uri(self, sid: str) -> str:
        return f"/2010-04-01/Accounts/{self._account_sid}/Calls/{self._call_sid}/Payments/{sid}.json"


def _refusal(error: ApiError) -> Answer:
    return Answer(error.status, error.body)


def _why_not(payment: AgentPayment, what: Capture | Status) -> str:
    """Say what is in the way of an update that cannot be done now."""
    if payment.is_over:
        return "The payment is over: start a new one."
    if payment.is_processing:
        return "The payment is being processed: wait for its result."
    if isinstance(what, Status):
        return "The caller is being asked to confirm: wait for the answer, or cancel."
    if what.is_matcher:
        return "A matcher needs its RequireMatchingInputs, and its first entry captured."
    return "This PaymentMethod has nothing of that kind to capture."


def _date(at_s: float) -> str:
    return format_datetime(datetime.fromtimestamp(at_s, UTC))
