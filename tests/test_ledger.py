"""The ledger: nothing happens to a transaction that is not in the table, and every delivery knows what to do."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generic_connector import ledger
from generic_connector.ledger import (
    TRANSITIONS,
    Event,
    ImpossibleTransitionError,
    Row,
    Standing,
    State,
    advance,
    judge,
)
from generic_connector.payment import Method

# The whole life of a transaction, once more and by hand: what is not here must be impossible.
LIFE = {
    None: "claim=running save=saved refuse=declined unavailable=unavailable",
    State.RUNNING: (
        "approve=approved decline=declined unavailable=unavailable doubt=in_doubt take_over=running"
        " settle_captured=approved settle_declined=declined settle_not_captured=not_captured"
    ),
    State.IN_DOUBT: "settle_captured=approved settle_declined=declined settle_not_captured=not_captured",
}
EDGES = {
    (state, Event(event)): State(after)
    for state, edges in LIFE.items()
    for event, after in (edge.split("=") for edge in edges.split())
}
STATES: list[State | None] = [None, *State]

DIGEST = b"d" * 32
ROW = Row(
    id="ch_a",
    instance_id=1,
    transaction_id="t",
    method=Method.CHARGE,
    state=State.RUNNING,
    digest=DIGEST,
    digest_key_id=3,
    owner="boot_a",
    fence=1,
    lease_until_ms=60_000,
    processor="sandbox",
    idempotency_key="gc_a",
    kind="card",
    brand="visa",
    bin="411111",
    last4="1111",
    fingerprint=b"f" * 32,
    fingerprint_key_id=2,
    amount_minor=1000,
    currency="USD",
    reference=None,
    confirmation_number="123456789",
    token_id=None,
    request_id="req_a",
    claimed_at_ms=0,
)


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", STATES)
def test_only_what_is_in_the_table_happens(state: State | None, event: Event) -> None:
    """Of all pairs of a state and an event, the edges of the table lead on and all others raise."""
    expected = EDGES.get((state, event))

    if expected is None:
        with pytest.raises(ImpossibleTransitionError, match=f"{event} cannot happen"):
            advance(state, event)
    else:
        assert expected == advance(state, event)


def test_the_table_has_no_other_edges() -> None:
    """The table is what was written down here by hand, edge for edge."""
    assert EDGES == TRANSITIONS


def test_the_modules_diagram_shows_the_table() -> None:
    """The picture in the module's essay has the very edges of the table."""
    arrows = re.findall(r"([A-Z][A-Z_, ]*|\(new\)|\||') *-+(\w+?)-+> (?=([A-Z_]+))", ledger.__doc__ or "")
    signs: dict[str, State | None] = {state.name: state for state in State}
    signs |= {"(new)": None, "|": State.RUNNING, "'": State.RUNNING}
    drawn = {
        (signs[name], Event(event)): State[after]
        for names, event, after in arrows
        for name in names.strip().split(", ")
    }

    assert TRANSITIONS == drawn


def test_every_state_is_reached() -> None:
    """Each state can come about from nothing, by edges of the table alone."""
    reached: set[State | None] = {None}
    for _ in State:
        reached |= {after for (before, _event), after in TRANSITIONS.items() if before in reached}

    assert {None, *State} == reached


def test_every_event_happens_somewhere() -> None:
    """There is no event without an edge."""
    assert set(Event) == {event for _state, event in TRANSITIONS}


def test_nothing_leads_out_of_a_terminal_state() -> None:
    """A terminal state is final, and every other state has a way to one."""
    leaving = {state for state, _event in TRANSITIONS if state is not None}
    ending = {state for (state, _event), after in TRANSITIONS.items() if state is not None and after.is_terminal}

    assert {State.RUNNING, State.IN_DOUBT} == leaving == ending
    assert set(State) - leaving == {state for state in State if state.is_terminal}


@given(st.lists(st.sampled_from(Event), max_size=12))
def test_no_story_leaves_the_table(events: list[Event]) -> None:
    """Whatever is attempted in whatever order, a transaction ends at most once and then stays as it is."""
    state: State | None = None
    endings = 0
    for event in events:
        try:
            state = advance(state, event)
        except ImpossibleTransitionError:
            continue
        endings += state.is_terminal

    assert endings == (state is not None and state.is_terminal)


STANDINGS = {
    State.RUNNING: (Standing.WAIT, Standing.TAKE_OVER, Standing.TAKE_OVER),
    State.IN_DOUBT: (Standing.LOOK_UP, Standing.LOOK_UP, Standing.LOOK_UP),
}
REPLAYED = (Standing.REPLAY, Standing.REPLAY, Standing.REPLAY)


@pytest.mark.parametrize("state", State)
def test_a_retry_is_judged_by_state_and_lease(state: State) -> None:
    """Running rows are waited for until the lease ends, doubtful ones looked up, ended ones replayed at any time."""
    row = ROW._replace(state=state)
    moments = (row.lease_until_ms - 1, row.lease_until_ms, row.lease_until_ms + 1)

    actual = tuple(judge(row, digest=DIGEST, now_ms=now_ms) for now_ms in moments)

    assert STANDINGS.get(state, REPLAYED) == actual


@pytest.mark.parametrize("other", [b"e" * 32, DIGEST[:-1] + b"e", DIGEST[:-1], DIGEST + b"d", b""])
@pytest.mark.parametrize("state", State)
def test_another_payment_is_always_a_conflict(state: State, other: bytes) -> None:
    """The same id with another digest is refused, whatever became of the first and whenever it comes."""
    row = ROW._replace(state=state)

    actual = {judge(row, digest=other, now_ms=now_ms) for now_ms in (0, row.lease_until_ms, 2**48)}

    assert {Standing.CONFLICT} == actual


def test_every_standing_can_be_met() -> None:
    """There is no judgement that is never passed."""
    met = {judge(ROW._replace(state=state), digest=DIGEST, now_ms=now_ms) for state in State for now_ms in (0, 60_000)}

    assert set(Standing) == met | {Standing.CONFLICT}


# --- A row that is written once --------------------------------------------------------------------------------------


def test_a_finished_row_differs_in_what_became_of_it_and_nothing_else() -> None:
    """State, token, time, error code and reply: every other field is the claim's."""
    before = ledger.Row(*range(len(ledger.Row._fields)))  # any values that differ

    after = before.finished(State.SAVED, token_id="tok_a", at_ms=7, error_code="e", status=200, body=b"{}")

    changes = {"state": State.SAVED, "token_id": "tok_a", "recorded_at_ms": 7, "error_code": "e"}
    assert after == before._replace(**changes, reply_status=200, reply_body=b"{}")  # type: ignore[arg-type]
