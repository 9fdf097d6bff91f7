"""The ledger: the life of a transaction, as one table of transitions, and the judgement on a row that is there.

Two rules: everything that moves a transaction from one state to another is an edge of `TRANSITIONS` (if it is not in
the table it cannot happen), and nothing here does any of it: the store writes, the connector acts.

    (new) --claim--> RUNNING --approve--> APPROVED            money moved
                        |-----decline--> DECLINED            the processor said no
                        |-----unavailable--> UNAVAILABLE     certainly nothing was sent
                        |-----doubt----> IN_DOUBT            it may have moved
                        '-----take_over--> RUNNING           its owner died: the next fence
    RUNNING, IN_DOUBT --settle_captured--> APPROVED          found by look-up, or said by a person
    RUNNING, IN_DOUBT --settle_declined--> DECLINED
    RUNNING, IN_DOUBT --settle_not_captured--> NOT_CAPTURED
    (new) --save--> SAVED                                    a token; nothing runs, so one step
    (new) --refuse--> DECLINED                               the verification refused the card
    (new) --unavailable--> UNAVAILABLE                       there was nobody to verify it

A **running** row has an owner (the boot that claimed it), a lease (until when the owner may act) and a fence (a number
that grows with every take-over). Whoever finishes must name the fence that it holds, so a process that slept too long
cannot overwrite what another has found out in the meantime.
"""

from enum import StrEnum
from hmac import compare_digest
from typing import NamedTuple

from generic_connector.payment import Method


class State(StrEnum):
    """Where a transaction stands."""

    RUNNING = "running"
    APPROVED = "approved"
    DECLINED = "declined"
    UNAVAILABLE = "unavailable"
    IN_DOUBT = "in_doubt"
    NOT_CAPTURED = "not_captured"
    SAVED = "saved"

    @property
    def is_terminal(self) -> bool:
        """Whether the reply is final: stored, and replayed to every later delivery."""
        return self not in {State.RUNNING, State.IN_DOUBT}


class Event(StrEnum):
    """What happens to a transaction."""

    CLAIM = "claim"
    SAVE = "save"
    REFUSE = "refuse"
    APPROVE = "approve"
    DECLINE = "decline"
    UNAVAILABLE = "unavailable"
    DOUBT = "doubt"
    TAKE_OVER = "take_over"
    SETTLE_CAPTURED = "settle_captured"
    SETTLE_DECLINED = "settle_declined"
    SETTLE_NOT_CAPTURED = "settle_not_captured"


TRANSITIONS: dict[tuple[State | None, Event], State] = {
    (None, Event.CLAIM): State.RUNNING,
    (None, Event.SAVE): State.SAVED,
    (None, Event.REFUSE): State.DECLINED,
    (None, Event.UNAVAILABLE): State.UNAVAILABLE,
    (State.RUNNING, Event.APPROVE): State.APPROVED,
    (State.RUNNING, Event.DECLINE): State.DECLINED,
    (State.RUNNING, Event.UNAVAILABLE): State.UNAVAILABLE,
    (State.RUNNING, Event.DOUBT): State.IN_DOUBT,
    (State.RUNNING, Event.TAKE_OVER): State.RUNNING,
    (State.RUNNING, Event.SETTLE_CAPTURED): State.APPROVED,
    (State.RUNNING, Event.SETTLE_DECLINED): State.DECLINED,
    (State.RUNNING, Event.SETTLE_NOT_CAPTURED): State.NOT_CAPTURED,
    (State.IN_DOUBT, Event.SETTLE_CAPTURED): State.APPROVED,
    (State.IN_DOUBT, Event.SETTLE_DECLINED): State.DECLINED,
    (State.IN_DOUBT, Event.SETTLE_NOT_CAPTURED): State.NOT_CAPTURED,
}


class ImpossibleTransitionError(Exception):
    """Somebody asked for an edge that is not in the table: a bug, and nothing was written."""


def advance(state: State | None, event: Event) -> State:
    """Return the state after `event`.

    Raises `ImpossibleTransitionError` where there is no such edge.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ImpossibleTransitionError(f"{event} cannot happen to a row that is {state}") from None


class Row(NamedTuple):
    """One transaction as it is stored. Times are milliseconds since 1970, UTC.

    A tuple: it goes into the table as it is, and a copy that differs in one field costs a tenth of what a frozen
    dataclass's does. Every payment makes several. First what a claim knows, from `state` on what becomes of it.

    `id` is the charge id, or the token id of a tokenize. No card number is in it: brand, BIN, last four, and a keyed
    fingerprint. `reply_status` and `reply_body` are there once the state is terminal.
    """

    id: str
    instance_id: int
    transaction_id: str
    method: Method
    digest: bytes
    digest_key_id: int
    owner: str
    fence: int
    lease_until_ms: int
    processor: str
    idempotency_key: str
    kind: str
    brand: str | None
    bin: str
    last4: str
    fingerprint: bytes
    fingerprint_key_id: int
    amount_minor: int | None
    currency: str | None
    reference: str | None
    confirmation_number: str | None
    request_id: str
    claimed_at_ms: int
    state: State
    token_id: str | None
    sent_at_ms: int | None = None
    recorded_at_ms: int | None = None
    possible_duplicate_of: str | None = None
    authorization_code: str | None = None
    processor_reference: str | None = None
    error_code: str | None = None
    settled_by: str | None = None
    reply_status: int | None = None
    reply_body: bytes | None = None

    def finished(
        self, state: State, *, token_id: str | None, at_ms: int, error_code: str | None, status: int, body: bytes
    ) -> "Row":
        """Return a row that is written once, finished. `_replace` would look at each of its fields."""
        (*claimed, _, _, sent_at_ms, _, duplicate, authorization, reference, _, settled_by, _, _) = self
        return Row._make(
            (
                *claimed, state, token_id, sent_at_ms, at_ms, duplicate, authorization, reference, error_code,
                settled_by, status, body,
            )
        )  # fmt: skip


class Standing(StrEnum):
    """What a delivery that finds a row is to do."""

    CONFLICT = "conflict"
    REPLAY = "replay"
    WAIT = "wait"
    TAKE_OVER = "take_over"
    LOOK_UP = "look_up"


def judge(row: Row, *, digest: bytes, now_ms: int) -> Standing:
    """Return what a delivery with this digest is to do about a row that is there.

    A running row is waited for while its owner's lease lasts; afterwards its owner is taken for dead.
    """
    if not compare_digest(row.digest, digest):
        return Standing.CONFLICT
    if row.state.is_terminal:
        return Standing.REPLAY
    if row.state is State.IN_DOUBT:
        return Standing.LOOK_UP
    return Standing.WAIT if now_ms < row.lease_until_ms else Standing.TAKE_OVER
