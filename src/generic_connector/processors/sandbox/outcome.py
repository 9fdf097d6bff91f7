"""What a send to the sandbox is to meet: an outcome, and a delay before it.

Three can choose, and the first of them that does so decides:

1. a **fault** that an operator has set, for everybody, for a number of sends or until it is cleared;
2. the **parameters** `sandbox_outcome` and `sandbox_delay_ms` of this payment;
3. the **amount** of a charge: 2000 to 2099 are declines, in the order of `DeclineCode`.

Outcome and delay are chosen apart: a fault that delays leaves the outcome to the parameter. There is one fault of
each kind; of those that choose the outcome, the one that was set last counts.

Pure: no clock, no book. Whoever asks tells whether this is the second send of a key, for the outcome that happens
once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from generic_connector.digits import is_digits
from generic_connector.money import Money
from generic_connector.payment import DeclineCode

DELAY_MS_MAX = 60_000
OUTCOME = "outcome"
"""The key of `sandbox_outcome` among a purchase's controls, whose names are folded."""
DELAY = "delayms"

_DELAY_DIGITS_MAX = 5
_DECLINES = tuple(DeclineCode)
_FIRST_DECLINE = 2000
_DECLINES_SPAN = 100


class Outcome(StrEnum):
    """What a send can meet besides a decline. The last two are faults only."""

    APPROVE = "approve"
    TIMEOUT_AFTER_CAPTURE = "timeout_after_capture"
    """Captured; the answer is held, then lost."""
    TIMEOUT_BEFORE_CAPTURE = "timeout_before_capture"
    """Not captured; the line is held, then lost. Once for each key."""
    UNKNOWN = "unknown"
    """Captured; every answer about this key is lost for ever, those of look-ups too."""
    UNAVAILABLE = "unavailable"
    """Nothing was sent."""
    HANG = "hang"
    """Not captured; no answer ever comes."""
    DROP_AFTER_CAPTURE = "drop-after-capture"
    """Captured; the answer is lost at once."""


Ending = Outcome | DeclineCode

_FAULTS_ONLY = {Outcome.HANG, Outcome.DROP_AFTER_CAPTURE}
_BY_NAME: Mapping[str, Ending] = {
    **{outcome.value: outcome for outcome in Outcome if outcome not in _FAULTS_ONLY},
    **{code.value: code for code in DeclineCode},
}
_ONCE_A_VERIFICATION = {Outcome.TIMEOUT_AFTER_CAPTURE, Outcome.TIMEOUT_BEFORE_CAPTURE, Outcome.UNKNOWN}


# --- Parameters and amount -------------------------------------------------------------------------------------------


def unusable(controls: Mapping[str, str]) -> str | None:
    """Return the name of the parameter whose value means nothing here, or None. Other names are not looked at."""
    if controls.get(OUTCOME, Outcome.APPROVE) not in _BY_NAME:
        return "sandbox_outcome"
    if _delay_ms(controls.get(DELAY, "0")) is None:
        return "sandbox_delay_ms"
    return None


def _delay_ms(text: str) -> int | None:
    if not is_digits(text) or len(text) > _DELAY_DIGITS_MAX or int(text) > DELAY_MS_MAX:
        return None
    return int(text)


def of_amount(money: Money) -> Ending:
    """Return what an amount chooses: 2000.xx the first decline, 2001.xx the second, up to 2099.xx; else approval."""
    place = money.minor // 10**money.currency.exponent - _FIRST_DECLINE
    if not 0 <= place < _DECLINES_SPAN:
        return Outcome.APPROVE
    return _DECLINES[place] if place < len(_DECLINES) else DeclineCode.CARD_DECLINED


# --- Faults ----------------------------------------------------------------------------------------------------------


class FaultKind(StrEnum):
    """What an operator can set for everybody: `decline CODE`, `delay MS`, and three without an argument."""

    DECLINE = "decline"
    DELAY = "delay"
    HANG = "hang"
    DROP_AFTER_CAPTURE = "drop-after-capture"
    UNAVAILABLE = "unavailable"


class InvalidFaultError(ValueError):
    """A fault that cannot be set. Says what may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault that is set. `remaining` sends will still meet it; None: until it is cleared. Ids grow."""

    id: int
    kind: FaultKind
    argument: str | None = None
    remaining: int | None = None

    def __str__(self) -> str:
        what = self.kind if self.argument is None else f"{self.kind} {self.argument}"
        return f"{what}, until cleared" if self.remaining is None else f"{what}, {self.remaining} more"

    @property
    def ending(self) -> Ending:
        """The outcome that it chooses. A delay chooses none and is not asked."""
        return DeclineCode(self.argument) if self.argument is not None else Outcome(self.kind.value)


def check_fault(kind: str, argument: str | None, count: int | None) -> FaultKind:
    """Return the kind of a fault that can be set. Raises `InvalidFaultError`."""
    try:
        known = FaultKind(kind)
    except ValueError:
        raise InvalidFaultError(f"There is no such fault. Choose one of {', '.join(FaultKind)}.") from None
    if known is FaultKind.DECLINE:
        if argument not in set(DeclineCode):
            raise InvalidFaultError(f"A decline needs its code: one of {', '.join(DeclineCode)}.")
    elif known is FaultKind.DELAY:
        if _delay_ms(argument or "") is None:
            raise InvalidFaultError(f"A delay needs its milliseconds: 0 to {DELAY_MS_MAX}.")
    elif argument is not None:
        raise InvalidFaultError(f"{known} takes no argument.")
    if count is not None and count < 1:
        raise InvalidFaultError("A count is 1 or more. Leave it out for a fault that lasts until it is cleared.")
    return known


def without(faults: Sequence[Fault], used: Sequence[int]) -> tuple[Fault, ...]:
    """Return the faults that are left once those ids were used up by one send."""
    left = (
        replace(fault, remaining=fault.remaining - 1) if fault.remaining is not None and fault.id in used else fault
        for fault in faults
    )
    return tuple(fault for fault in left if fault.remaining != 0)


# --- The plan --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """What one send meets: a delay, an ending, and the faults with a count that it uses up."""

    ending: Ending
    delay_ms: int = 0
    uses: tuple[int, ...] = ()


def plan(faults: Sequence[Fault], controls: Mapping[str, str], money: Money | None, *, is_second: bool) -> Plan:
    """Return what a send meets. `money` None is a verification: it captures nothing, so nothing is dropped after it.

    `is_second`: what happens once for each key has happened to this one. A value that `unusable` names chooses nothing.
    """
    delaying = [fault for fault in faults if fault.kind is FaultKind.DELAY]
    choosing = [
        fault
        for fault in faults
        if fault.kind is not FaultKind.DELAY and not (money is None and fault.kind is FaultKind.DROP_AFTER_CAPTURE)
    ]
    met = [*delaying[-1:], *choosing[-1:]]
    return Plan(
        ending=choosing[-1].ending if choosing else _chosen(controls, money, is_second=is_second),
        delay_ms=_delay_ms(delaying[-1].argument or "" if delaying else controls.get(DELAY, "0")) or 0,
        uses=tuple(fault.id for fault in met if fault.remaining is not None),
    )


def _chosen(controls: Mapping[str, str], money: Money | None, *, is_second: bool) -> Ending:
    ending = _BY_NAME.get(controls.get(OUTCOME, ""))
    once = _ONCE_A_VERIFICATION if money is None else {Outcome.TIMEOUT_BEFORE_CAPTURE}
    if ending is not None and not (is_second and ending in once):
        return ending
    return Outcome.APPROVE if money is None else of_amount(money)
