"""The store's contract: one claim wins, only the holder of the fence writes, and what is answered survives.

Every store passes the same suite: a store is an opener, which opens the same books again and again, and a way to look
into its tables (`SELECT`s that any SQL database understands), for what no port shows.
"""

import asyncio
import sqlite3
import stat
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, NoReturn, Protocol

import pytest

from generic_connector.card import Brand
from generic_connector.envelope import Purpose
from generic_connector.instance import Dialect, Instance, Mode
from generic_connector.journal import read_only
from generic_connector.ledger import TRANSITIONS, Event, ImpossibleTransitionError, Row, State
from generic_connector.payment import Method
from generic_connector.ports import (
    AccessToken,
    Act,
    Claimed,
    Credential,
    Existing,
    Note,
    Registry,
    Settlement,
    Store,
    StoreUnavailableError,
    Vaulted,
    WrappedKey,
)
from generic_connector.stores.sqlite import NOTES_PER_ROW_MAX, find_any, open_sqlite


class Books(Store, Registry, Protocol):
    """A ledger, a vault and a registry in one."""

    def found(self, installation: str, now_ms: int) -> None: ...

    def keep(self, act: Act) -> None: ...

    def close(self) -> None: ...


@dataclass
class Library:
    """Where the books of one test are: opens them, again too, and looks into them."""

    open_again: Callable[[], Books]
    look: Callable[[str], Sequence[tuple[Any, ...]]]
    opened: list[Books] = field(default_factory=list)

    def open(self) -> Books:
        """Open the books. They are closed at the end of the test, or by `reopen`."""
        self.opened.append(self.open_again())
        return self.opened[-1]

    def reopen(self) -> Books:
        """Close the books and open them again, as after a restart."""
        self.close()
        return self.open()

    def close(self) -> None:
        """Close what is open."""
        while self.opened:
            self.opened.pop().close()

    def tokens(self) -> dict[str, bool]:
        """Return the tokens in the vault, and which of them are active."""
        return {token_id: bool(is_active) for token_id, is_active in self.look("SELECT token_id, is_active FROM vault")}

    def acts(self) -> list[str]:
        """Return the names of the administrative acts that were kept, in their order."""
        return [action for (action,) in self.look("SELECT action FROM act ORDER BY at_ms")]


def never(reason: BaseException) -> NoReturn:
    """Stand for the end of the process, which no test here brings about."""
    raise AssertionError(reason)


def sqlite_library(folder: Path) -> Library:
    """Return a library of SQLite files."""
    path = folder / "home.db"

    def look(query: str) -> Sequence[tuple[Any, ...]]:
        reader = read_only(path)
        try:
            return reader.execute(query).fetchall()
        finally:
            reader.close()

    return Library(lambda: open_sqlite(path, never), look)


LIBRARIES: dict[str, Callable[[Path], Library]] = {"sqlite": sqlite_library}


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Library]:
    """Empty books of each kind."""
    made = LIBRARIES[request.param](tmp_path)
    yield made
    made.close()


@pytest.fixture
def store(library: Library) -> Books:
    """An empty store of each kind."""
    return library.open()


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a story on an event loop of its own."""
    asyncio.run(story())


# --- Rows ------------------------------------------------------------------------------------------------------------

LEASE_MS = 60_000
ROW = Row(
    id="ch_a",
    instance_id=1,
    transaction_id="tx_a",
    method=Method.CHARGE,
    state=State.RUNNING,
    digest=b"d" * 32,
    digest_key_id=3,
    owner="boot_a",
    fence=1,
    lease_until_ms=LEASE_MS,
    processor="sandbox",
    idempotency_key="gc_a",
    kind="card",
    brand=Brand.VISA,
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
    claimed_at_ms=1000,
)
VAULTED = Vaulted(
    token_id="tok_a",
    instance_id=1,
    is_active=False,
    kind="card",
    brand=Brand.VISA,
    bin="411111",
    last4="1111",
    sealed=b"sealed",
    key_id=1,
    fingerprint=b"f" * 32,
    fingerprint_key_id=2,
    created_at_ms=1000,
)


def row(number: int, /, **changes: Any) -> Row:  # noqa: ANN401 - any of a row's fields
    """Return one of many different rows, of different cards."""
    name: dict[str, Any] = {"id": f"ch_{number:06}", "transaction_id": f"tx_{number}"}
    return ROW._replace(**{**name, "fingerprint": number.to_bytes(32, "big"), **changes})


def settled(before: Row, event: Event, **changes: Any) -> Settlement:  # noqa: ANN401 - any of its fields
    """Return a settlement that says something of everything."""
    said = Settlement(
        row=before,
        event=event,
        recorded_at_ms=3000,
        sent_at_ms=2000,
        authorization_code="A1",
        processor_reference="p_1",
        reply_status=200,
        reply_body=b"{}",
    )
    return replace(said, **changes)


async def claimed(store: Books, *rows: Row) -> None:
    """Claim rows that nobody else has."""
    for one in rows:
        assert isinstance(await store.claim(one, None), Claimed)


# --- Claims ----------------------------------------------------------------------------------------------------------


def test_a_new_row_is_claimed_and_found(library: Library, store: Books) -> None:
    """A claimed row is found with every one of its fields, and by its own key only."""
    full = ROW._replace(
        reference="r",
        token_id="tok_a",
        sent_at_ms=1,
        recorded_at_ms=2,
        possible_duplicate_of="ch_0",
        authorization_code="A1",
        processor_reference="p",
        error_code="card_declined",
        settled_by="ann",
        reply_status=200,
        reply_body=b"\x00\xff",
    )
    empty = ROW._replace(id="ch_b", transaction_id="tx_b", brand=None, amount_minor=None, currency=None)

    async def story() -> None:
        assert [Claimed(None), Claimed(None)] == [await store.claim(one, None) for one in (full, empty)]
        assert [full, empty] == [await store.find(1, "tx_a"), await store.find(1, "tx_b")]
        assert [None, None] == [await store.find(2, "tx_a"), await store.find(1, "TX_A")]

    run(story)
    assert {} == library.tokens()


def test_rows_of_every_shape_are_found_as_they_were(store: Books) -> None:
    """Which of its fields a row has decides how it is written, and never what: also among others in one commit."""
    told: dict[str, Any] = {
        "amount_minor": 5, "currency": "EUR", "reference": "r", "confirmation_number": "987654321", "token_id": "tok_z",
        "sent_at_ms": 1, "recorded_at_ms": 2, "possible_duplicate_of": "ch_0", "authorization_code": "A1",
        "processor_reference": "p", "error_code": "card_declined", "settled_by": "ann", "reply_status": 200,
        "reply_body": b"{}",
    }  # fmt: skip
    saved = {**dict.fromkeys(told), "token_id": "tok_y", "recorded_at_ms": 3, "reply_status": 200, "reply_body": b"{}"}
    shapes = [{}, saved, dict.fromkeys(told), told]
    shapes += [{**base, name: value} for base in (dict.fromkeys(told), saved) for name, value in told.items()]
    rows = [row(number, **shape) for number, shape in enumerate(shapes)]

    async def story() -> None:
        claims = await asyncio.gather(*(store.claim(one, None) for one in rows))
        assert all(isinstance(claim, Claimed) for claim in claims)
        assert rows == [await store.find(1, one.transaction_id) for one in rows]

    run(story)


def test_a_second_claim_gets_the_first_ones_row(library: Library, store: Books) -> None:
    """A transaction has one row: whoever comes second gets that, and nothing of its own is written."""
    second = ROW._replace(id="ch_b", digest=b"e" * 32, token_id="tok_a")

    async def story() -> None:
        await claimed(store, ROW)
        assert Existing(ROW) == await store.claim(second, VAULTED)
        assert ROW == await store.find(1, "tx_a")

    run(story)
    assert {} == library.tokens()


def test_sixty_four_claims_at_once_have_one_winner(library: Library, store: Books) -> None:
    """Of many deliveries of one transaction, in the same moment, one claims and all others get its row."""
    rows = [ROW._replace(id=f"ch_{number:06}", token_id=f"tok_{number}") for number in range(64)]

    async def story() -> None:
        results = await asyncio.gather(
            *(store.claim(one, VAULTED._replace(token_id=one.token_id or "")) for one in rows)
        )
        winners = [one for one, result in zip(rows, results, strict=True) if isinstance(result, Claimed)]

        assert 1 == len(winners)
        assert [Existing(winners[0])] * 63 == [result for result in results if isinstance(result, Existing)]
        assert [winners[0].token_id] == list(library.tokens())

    run(story)


def test_many_transactions_at_once_are_told_apart(store: Books) -> None:
    """Among two hundred claims of one moment, new, old and doubled ones each get their own answer."""
    old, new = [row(number) for number in range(60)], [row(number) for number in range(60, 130)]
    again = [one._replace(id=f"{one.id}_again") for one in [*old, *new]]

    async def story() -> None:
        await asyncio.gather(*(store.claim(one, None) for one in old))
        results = await asyncio.gather(*(store.claim(one, None) for one in [*new, *again]))

        assert [Claimed(None)] * 70 == results[:70]
        assert [Existing(one) for one in [*old, *new]] == results[70:]

    run(story)


def test_instances_do_not_share_transactions(store: Books) -> None:
    """The same transaction id is another transaction at another instance."""
    other = ROW._replace(id="ch_b", instance_id=2)

    async def story() -> None:
        await claimed(store, ROW, other)
        assert [ROW, other] == [await store.find(1, "tx_a"), await store.find(2, "tx_a")]

    run(story)


def test_a_claim_that_cannot_be_written_is_unavailable(library: Library, store: Books) -> None:
    """A claim that the database refuses raises, leaves nothing behind, and harms no neighbour."""
    bad = ROW._replace(transaction_id="tx_b", token_id="tok_b")  # an id that is taken

    async def story() -> None:
        results = await asyncio.gather(
            store.claim(ROW, None),
            store.claim(bad, VAULTED._replace(token_id="tok_b")),
            store.claim(row(3), None),
            return_exceptions=True,
        )

        assert [Claimed, StoreUnavailableError, Claimed] == [type(result) for result in results]
        assert await store.find(1, "tx_b") is None

    run(story)
    assert {} == library.tokens()


# --- What finishes a row ---------------------------------------------------------------------------------------------


def test_a_record_takes_its_edge(store: Books) -> None:
    """A settlement moves its row along the edge and keeps all that it says."""
    said = settled(ROW, Event.APPROVE, settled_by="ann", error_code=None)

    async def story() -> None:
        await claimed(store, ROW)
        assert await store.record(said)

        expected = ROW._replace(
            state=State.APPROVED,
            recorded_at_ms=3000,
            sent_at_ms=2000,
            authorization_code="A1",
            processor_reference="p_1",
            settled_by="ann",
            reply_status=200,
            reply_body=b"{}",
        )
        assert expected == await store.find(1, "tx_a")

    run(story)


def test_a_record_keeps_when_it_was_sent(store: Books) -> None:
    """A later settlement that does not know when the purchase was sent keeps what an earlier one knew."""

    async def story() -> None:
        await claimed(store, ROW)
        assert await store.record(settled(ROW, Event.DOUBT, reply_status=None, reply_body=None))
        doubtful = ROW._replace(state=State.IN_DOUBT)
        assert await store.record(settled(doubtful, Event.SETTLE_CAPTURED, sent_at_ms=None))

        found = await store.find(1, "tx_a")
        assert found is not None
        assert (State.APPROVED, 2000) == (found.state, found.sent_at_ms)

    run(story)


EDGES = [(state, event) for state, event in TRANSITIONS if state is not None and event is not Event.TAKE_OVER]


@pytest.mark.parametrize(("state", "event"), EDGES)
def test_a_stale_record_touches_nothing(library: Library, store: Books, state: State, event: Event) -> None:
    """Under another fence, from another state, or on a row that is not there, no edge is taken and no token touched."""
    mine = ROW._replace(state=state, token_id="tok_a")
    other_state = State.IN_DOUBT if state is State.RUNNING else State.RUNNING

    async def story() -> None:
        await store.claim(mine, VAULTED)
        stale = [mine._replace(fence=0), mine._replace(fence=2), mine._replace(id="ch_other")]
        if event in {Event.SETTLE_CAPTURED, Event.SETTLE_DECLINED, Event.SETTLE_NOT_CAPTURED}:
            stale.append(mine._replace(state=other_state))

        assert [False] * len(stale) == [await store.record(settled(one, event)) for one in stale]
        assert mine == await store.find(1, "tx_a")
        assert {"tok_a": False} == library.tokens()

        assert await store.record(settled(mine, event)), "control"

    run(story)


def test_a_row_ends_once(store: Books) -> None:
    """Of two settlements of one row, at once or one after the other, the first counts."""

    async def story() -> None:
        await claimed(store, ROW)
        first, second = settled(ROW, Event.APPROVE), settled(ROW, Event.DECLINE, error_code="lost_card")

        assert [True, False] == list(await asyncio.gather(store.record(first), store.record(second)))
        assert await store.record(second) is False

        found = await store.find(1, "tx_a")
        assert found is not None
        assert (State.APPROVED, None) == (found.state, found.error_code)

    run(story)


def test_an_impossible_edge_is_never_taken(store: Books) -> None:
    """A settlement that the table has no edge for raises, and its neighbours are recorded."""
    done = ROW._replace(state=State.APPROVED)
    running = row(2)

    async def story() -> None:
        await claimed(store, done, running)
        results = await asyncio.gather(
            store.record(settled(done, Event.DECLINE)),
            store.record(settled(running, Event.APPROVE)),
            return_exceptions=True,
        )

        assert [ImpossibleTransitionError, bool] == [type(result) for result in results]
        assert done == await store.find(1, "tx_a")

    run(story)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (Event.APPROVE, {"tok_a": True}),
        (Event.SETTLE_CAPTURED, {"tok_a": True}),
        (Event.DECLINE, {}),
        (Event.UNAVAILABLE, {}),
        (Event.SETTLE_DECLINED, {}),
        (Event.SETTLE_NOT_CAPTURED, {}),
        (Event.DOUBT, {"tok_a": False}),
    ],
)
def test_a_pending_token_shares_the_fate_of_its_charge(
    library: Library, store: Books, event: Event, expected: dict[str, bool]
) -> None:
    """Saved with the claim, a card is active once the charge succeeded, gone once it did not, pending in between."""
    saving = ROW._replace(token_id="tok_a")
    bystander = VAULTED._replace(token_id="tok_b")

    async def story() -> None:
        assert Claimed(None) == await store.claim(saving, VAULTED)
        assert Claimed(None) == await store.claim(row(2, token_id="tok_b"), bystander)
        assert {"tok_a": False, "tok_b": False} == library.tokens()

        assert await store.record(settled(saving, event))

        assert {**expected, "tok_b": False} == library.tokens()

    run(story)


@pytest.mark.parametrize(
    ("event", "expected"), [(Event.SETTLE_CAPTURED, {"tok_a": True}), (Event.SETTLE_NOT_CAPTURED, {})]
)
def test_a_pending_token_outlives_a_doubt(
    library: Library, store: Books, event: Event, expected: dict[str, bool]
) -> None:
    """While a charge is in doubt its card stays pending, and what is found out in the end decides."""
    saving = ROW._replace(token_id="tok_a")

    async def story() -> None:
        await store.claim(saving, VAULTED)
        await store.record(settled(saving, Event.DOUBT))
        assert await store.record(settled(saving._replace(state=State.IN_DOUBT), event))

    run(story)
    assert expected == library.tokens()


def test_a_vaulted_card_is_kept_sealed(library: Library, store: Books) -> None:
    """A tokenize is one step: the row is there and terminal, the token active, with all that belongs to it."""
    saved = ROW._replace(id="tok_a", method=Method.TOKENIZE, state=State.SAVED, token_id="tok_a")

    async def story() -> None:
        assert Claimed(None) == await store.claim(saved, VAULTED._replace(is_active=True))

    run(story)
    assert [("tok_a", 1, "card", "visa", "411111", "1111", b"sealed", 1, b"f" * 32, 2, 1000)] == library.look(
        "SELECT token_id, instance_id, kind, brand, bin, last4, sealed, key_id, fingerprint, fingerprint_key_id,"
        " created_at_ms FROM vault"
    )
    assert {"tok_a": True} == library.tokens()


# --- Owners and leases -----------------------------------------------------------------------------------------------


def test_a_row_is_held_by_its_owner_and_fence(store: Books) -> None:
    """Only the owner under the fence it was given holds a row, and only while it runs."""

    async def story() -> None:
        await claimed(store, ROW)
        others = [ROW._replace(owner="boot_b"), ROW._replace(fence=2), ROW._replace(fence=0), row(2)]

        assert await store.holds(ROW)
        assert [False] * 4 == [await store.holds(one) for one in others]

        await store.record(settled(ROW, Event.APPROVE))
        assert not await store.holds(ROW)

    run(story)


@pytest.mark.parametrize(("now_ms", "expected"), [(LEASE_MS - 1, False), (LEASE_MS, True), (LEASE_MS + 1, True)])
def test_a_row_is_taken_over_when_its_lease_is_over(store: Books, now_ms: int, *, expected: bool) -> None:
    """Up to the last millisecond of its lease a row is its owner's; then another takes it, under the next fence."""

    async def story() -> None:
        await claimed(store, ROW)

        taken = await store.take_over(ROW, owner="boot_b", lease_until_ms=now_ms + LEASE_MS, now_ms=now_ms)

        wanted = ROW._replace(owner="boot_b", fence=2, lease_until_ms=now_ms + LEASE_MS)
        assert (wanted if expected else None) == taken
        assert (wanted if expected else ROW) == await store.find(1, "tx_a")
        assert [not expected, expected] == [await store.holds(ROW), await store.holds(wanted)]

    run(story)


def test_a_row_is_taken_over_once(store: Books) -> None:
    """Of many that would take a row over in one moment one does, and a stale view of it takes nothing."""

    async def story() -> None:
        await claimed(store, ROW)
        attempts = await asyncio.gather(
            *(
                store.take_over(ROW, owner=f"boot_{number}", lease_until_ms=2 * LEASE_MS, now_ms=LEASE_MS)
                for number in range(8)
            )
        )
        taken = [one for one in attempts if one is not None]

        assert [2] == [one.fence for one in taken]
        assert taken[0] == await store.find(1, "tx_a")
        assert await store.take_over(ROW, owner="boot_z", lease_until_ms=10**9, now_ms=10**8) is None

    run(story)


def test_whoever_lost_a_row_cannot_finish_it(store: Books) -> None:
    """An owner that slept past its lease is refused; the one that took over records."""

    async def story() -> None:
        await claimed(store, ROW)
        taken = await store.take_over(ROW, owner="boot_b", lease_until_ms=2 * LEASE_MS, now_ms=LEASE_MS)
        assert taken is not None

        assert await store.record(settled(ROW, Event.APPROVE)) is False
        assert await store.record(settled(taken, Event.DECLINE)) is True

    run(story)


@pytest.mark.parametrize("state", [state for state in State if state is not State.RUNNING])
def test_only_a_running_row_is_taken_over(store: Books, state: State) -> None:
    """Nobody takes over what does not run, whatever its lease says; and who thinks it runs is too late."""
    ended = ROW._replace(state=state, lease_until_ms=0)

    async def story() -> None:
        await claimed(store, ended)

        with pytest.raises(ImpossibleTransitionError):
            await store.take_over(ended, owner="boot_b", lease_until_ms=LEASE_MS, now_ms=LEASE_MS)
        late = ended._replace(state=State.RUNNING)
        assert await store.take_over(late, owner="boot_b", lease_until_ms=LEASE_MS, now_ms=LEASE_MS) is None
        assert ended == await store.find(1, "tx_a")

    run(story)


def test_leases_of_the_dead_are_voided(store: Books) -> None:
    """All running rows of other owners can be taken over at once; one's own and those that ended stay as they are."""
    mine, dead, dead_too = row(1, owner="boot_b"), row(2), row(3, owner="boot_c")
    ended = [row(10 + number, state=state) for number, state in enumerate(State) if state is not State.RUNNING]

    async def story() -> None:
        await claimed(store, mine, dead, dead_too, *ended)

        assert 2 == await store.void_leases(but_of="boot_b")
        assert 0 == await store.void_leases(but_of="boot_b")

        found = [await store.find(1, one.transaction_id) for one in (mine, dead, dead_too, *ended)]
        assert [mine, dead._replace(lease_until_ms=0), dead_too._replace(lease_until_ms=0), *ended] == found
        assert await store.take_over(dead, owner="boot_b", lease_until_ms=LEASE_MS, now_ms=0) is not None

    run(story)


def test_what_is_unsettled_is_listed(store: Books) -> None:
    """Running and doubtful rows are listed, oldest first, those of the very last moment included, younger ones not."""
    rows = [
        row(9 - number, state=state, claimed_at_ms=1000 - number)
        for number, state in enumerate([State.RUNNING, State.IN_DOUBT, State.RUNNING])
    ]
    others = [row(20, claimed_at_ms=1001)]
    others += [row(30 + number, state=state) for number, state in enumerate(State) if state.is_terminal]

    async def story() -> None:
        await claimed(store, *rows, *others)

        assert rows[::-1] == list(await store.unsettled(claimed_before_ms=1000))
        assert rows[:0:-1] == list(await store.unsettled(claimed_before_ms=999))
        assert [] == list(await store.unsettled(claimed_before_ms=0))

    run(story)


# --- Possible duplicates ---------------------------------------------------------------------------------------------


def alike(number: int, /, **changes: Any) -> Row:  # noqa: ANN401 - any of a row's fields
    """Return one of many rows of the same card and amount as `ROW`."""
    return row(number, **{"fingerprint": ROW.fingerprint, **changes})


def test_a_charge_like_one_in_doubt_is_flagged(store: Books) -> None:
    """A new transaction of the same card and amount as one in doubt names it, in its answer and in its row."""

    async def story() -> None:
        await claimed(store, ROW._replace(state=State.IN_DOUBT))

        first, second = await asyncio.gather(store.claim(alike(2), None), store.claim(alike(3), None))

        assert (Claimed("ch_a"), Claimed("ch_a")) == (first, second)
        assert alike(2)._replace(possible_duplicate_of="ch_a") == await store.find(1, "tx_2")

    run(story)


@pytest.mark.parametrize("state", [state for state in State if state is not State.IN_DOUBT])
def test_what_is_not_in_doubt_flags_nothing(store: Books, state: State) -> None:
    """A second charge of the same card and amount is nobody's business while the first is not in doubt."""

    async def story() -> None:
        await claimed(store, ROW._replace(state=state), row(9, state=State.IN_DOUBT))

        assert Claimed(None) == await store.claim(alike(2), None)

    run(story)


@pytest.mark.parametrize(
    "change",
    [
        {"instance_id": 2},
        {"fingerprint": b"g" * 32},
        {"amount_minor": 1001},
        {"currency": "EUR"},
        {"amount_minor": None, "currency": None, "method": Method.TOKENIZE},
    ],
    ids=str,
)
def test_another_payment_is_not_flagged(store: Books, change: dict[str, Any]) -> None:
    """Another instance, card, amount or currency, and a tokenize, are no duplicate of what is in doubt."""

    async def story() -> None:
        await claimed(store, ROW._replace(state=State.IN_DOUBT))

        assert Claimed(None) == await store.claim(alike(2, **change), None)

    run(story)


# --- Notes -----------------------------------------------------------------------------------------------------------


def noted(library: Library, row_id: str) -> list[tuple[Any, ...]]:
    """Return the history of a row."""
    lines = library.look("SELECT row_id, at_ms, event, request_id FROM note ORDER BY at_ms")
    return [line[1:] for line in lines if line[0] == row_id]


def test_notes_are_a_rows_history(library: Library, store: Books) -> None:
    """Notes are written with the next commit, without being waited for, each to its own row."""

    async def story() -> None:
        store.note(Note("ch_a", 1, "claimed", "req_a"))
        store.note(Note("ch_b", 2, "claimed", "req_b"))
        store.note(Note("ch_a", 3, "replayed", "req_c"))
        await claimed(store, ROW)

    run(story)
    assert [(1, "claimed", "req_a"), (3, "replayed", "req_c")] == noted(library, "ch_a")
    assert [(2, "claimed", "req_b")] == noted(library, "ch_b")


@pytest.mark.parametrize("at_once", [True, False], ids=["in one commit", "in many"])
def test_a_history_has_a_limit(library: Library, store: Books, *, at_once: bool) -> None:
    """Sixty-four notes of a row are kept and no more, and other rows keep theirs."""

    async def story() -> None:
        for number in range(NOTES_PER_ROW_MAX + 6):
            store.note(Note("ch_a", number, "waited", "req_a"))
            if not at_once:
                await store.find(1, "tx_a")
                await claimed(store, row(number))
        store.note(Note("ch_b", 0, "claimed", "req_b"))
        await claimed(store, ROW)

    run(story)
    assert list(range(64)) == [at_ms for at_ms, _event, _request_id in noted(library, "ch_a")]
    assert 1 == len(noted(library, "ch_b"))


# --- Registry --------------------------------------------------------------------------------------------------------

INSTANCE = Instance(
    id=1,
    unique_name="Default",
    username="ic_a",
    mode=Mode.TEST,
    allow=frozenset(Method),
    processor="sandbox",
    dialect=Dialect.TWILIO,
)


def act(action: str, at_ms: int = 1) -> Act:
    """Return an act of somebody's."""
    return Act(at_ms=at_ms, actor="ann", action=action, target="Default")


def credential(number: int, kind: str = "password", instance_id: int = 1) -> Credential:
    """Return one of many credentials."""
    return Credential(instance_id=instance_id, kind=kind, hash=bytes([number]) * 32, key_id=4, created_at_ms=number)


def test_an_installation_has_one_id(store: Books) -> None:
    """New books belong to no installation; once founded they have its id for ever."""
    with pytest.raises(LookupError):
        store.installation()

    store.found("inst_a", 1000)

    assert "inst_a" == store.installation()


@pytest.mark.parametrize("allow", [tuple(Method), (Method.CHARGE,), (Method.TOKENIZE,), ()], ids=" ".join)
def test_an_instance_survives_the_round_trip(library: Library, store: Books, allow: tuple[Method, ...]) -> None:
    """Every field of an instance is read as it was written, and the act that added it is kept."""
    flags = product((True, False), repeat=3)
    instances = [
        Instance(
            id=number,
            unique_name=f"n{number}",
            username=f"u{number}",
            mode=mode,
            allow=frozenset(allow),
            processor="sandbox",
            dialect=dialect,
            enabled=enabled,
            require_cvv=require_cvv,
            save_card_on_charge=save_card_on_charge,
            rate_per_s=rate_per_s,
        )
        for number, (mode, dialect, (enabled, require_cvv, save_card_on_charge), rate_per_s) in enumerate(
            product(Mode, Dialect, flags, (None, 2.5)), start=1
        )
    ]
    for instance in instances:
        store.add_instance(instance, [], act(f"add {instance.id}", instance.id))

    assert instances == list(store.instances())
    assert [f"add {instance.id}" for instance in instances] == library.acts()


@pytest.mark.parametrize("change", [{"unique_name": "Default"}, {"username": "ic_a"}, {"id": 1}], ids=str)
def test_a_taken_name_is_refused_whole(library: Library, store: Books, change: dict[str, Any]) -> None:
    """An instance whose name, username or id is taken is not added, nor are its credentials or its act."""
    store.add_instance(INSTANCE, [credential(1)], act("add"))
    other: dict[str, Any] = {"id": 2, "unique_name": "Other", "username": "ic_b", **change}

    with pytest.raises(sqlite3.IntegrityError):
        store.add_instance(replace(INSTANCE, **other), [credential(2, instance_id=other["id"])], act("add again", 2))

    assert [INSTANCE] == list(store.instances())
    assert ([credential(1)], ["add"]) == (list(store.credentials()), library.acts())


def test_an_instance_is_disabled_and_enabled(library: Library, store: Books) -> None:
    """Disabling concerns one instance, can be undone, and each time the act is kept."""
    other = replace(INSTANCE, id=2, unique_name="Other", username="ic_b")
    store.add_instance(INSTANCE, [], act("add", 1))
    store.add_instance(other, [], act("add other", 2))

    store.set_enabled(1, act("disable", 3), enabled=False)
    disabled = list(store.instances())
    store.set_enabled(1, act("enable", 4), enabled=True)

    assert [replace(INSTANCE, enabled=False), other] == disabled
    assert [INSTANCE, other] == list(store.instances())
    assert ["add", "add other", "disable", "enable"] == library.acts()


def test_credentials_are_replaced_by_kind(library: Library, store: Books) -> None:
    """New passwords replace an instance's passwords, and neither its path secret nor anybody else's password."""
    other = replace(INSTANCE, id=2, unique_name="Other", username="ic_b")
    store.add_instance(INSTANCE, [credential(1), credential(2, "path")], act("add", 1))
    store.add_instance(other, [credential(3, instance_id=2)], act("add other", 2))

    store.replace_credentials(1, "password", [credential(4), credential(5)], act("rotate", 3))

    assert [credential(2, "path"), credential(3, instance_id=2), credential(4), credential(5)] == (
        list(store.credentials())
    )
    assert ["add", "add other", "rotate"] == library.acts()


def test_credentials_that_cannot_be_written_replace_nothing(library: Library, store: Books) -> None:
    """If the new credentials are refused, the old ones are still valid, and no act is kept."""
    store.add_instance(INSTANCE, [credential(1)], act("add", 1))

    with pytest.raises(sqlite3.IntegrityError):
        store.replace_credentials(1, "password", [credential(2), credential(2)], act("rotate", 2))

    assert ([credential(1)], ["add"]) == (list(store.credentials()), library.acts())


def test_an_access_token_is_revoked_once(library: Library, store: Books) -> None:
    """A token is remembered with its scopes; revoking it concerns it alone, and the first time counts."""
    tokens = [
        AccessToken(id=f"at_{name}", instance_id=1, scopes=scopes, issued_at_ms=1, expires_at_ms=9)
        for name, scopes in (("a", ("charge", "tokenize")), ("b", ("charge",)))
    ]
    store.add_instance(INSTANCE, [], act("add", 1))
    for number, token in enumerate(tokens, start=2):
        store.add_access_token(token, act("issue", number))

    assert tokens == list(store.access_tokens())
    store.revoke_access_token("at_a", act("revoke", 5))
    store.revoke_access_token("at_a", act("revoke again", 6))

    assert [replace(tokens[0], revoked_at_ms=5), tokens[1]] == list(store.access_tokens())
    assert ["add", "issue", "issue", "revoke", "revoke again"] == library.acts()


def test_keys_are_kept_wrapped_and_counted(library: Library, store: Books) -> None:
    """Keys of every purpose are read as they were written; seals are reserved for one key, durably."""
    keys = [
        WrappedKey(
            id=number,
            purpose=purpose,
            wrapped=bytes([number]) * 61,
            kek_id="kek",
            is_active=number % 2 == 0,
            created_at_ms=number,
            seals=number,
        )
        for number, purpose in enumerate(Purpose, start=1)
    ]
    store.add_keys(keys, act("make keys"))

    assert keys == list(store.keys())
    assert [101, 201] == [store.reserve_seals(1, 100), store.reserve_seals(1, 100)]

    again = library.reopen()
    assert [replace(keys[0], seals=201), *keys[1:]] == list(again.keys())
    assert ["make keys"] == library.acts()


def test_an_act_that_changed_nothing_is_kept(library: Library, store: Books) -> None:
    """An act can be kept for itself, with who did what to what, when, and with which result."""
    store.keep(Act(at_ms=7, actor="ann", action="show", target="tok_a", result="refused"))

    assert [(7, "ann", "show", "tok_a", "refused")] == library.look(
        "SELECT at_ms, actor, action, target, result FROM act"
    )


# --- Restart ---------------------------------------------------------------------------------------------------------


def test_everything_survives_a_restart(library: Library) -> None:
    """Rows, tokens, notes and the registry are all there when the books are opened again."""
    store = library.open()
    saving = ROW._replace(token_id="tok_a")
    token = AccessToken(id="at_a", instance_id=1, scopes=("charge",), issued_at_ms=1, expires_at_ms=9)
    store.found("inst_a", 1)
    store.add_instance(INSTANCE, [credential(1)], act("add"))
    store.add_access_token(token, act("issue", 2))

    async def before() -> None:
        assert Claimed(None) == await store.claim(saving, VAULTED)
        store.note(Note("ch_a", 1, "claimed", "req_a"))
        await claimed(store, row(2))
        assert await store.record(settled(saving, Event.APPROVE))

    run(before)
    again = library.reopen()

    async def after() -> None:
        found = await again.find(1, "tx_a")
        assert found is not None
        assert (State.APPROVED, b"{}") == (found.state, found.reply_body)
        assert [row(2)] == list(await again.unsettled(claimed_before_ms=1000))
        assert Existing(found) == await again.claim(ROW._replace(id="ch_z"), None)

    run(after)
    assert ({"tok_a": True}, 1) == (library.tokens(), len(noted(library, "ch_a")))
    assert ("inst_a", [INSTANCE]) == (again.installation(), list(again.instances()))
    assert ([credential(1)], [token]) == (list(again.credentials()), list(again.access_tokens()))
    assert ["add", "issue"] == library.acts()


# --- SQLite alone ----------------------------------------------------------------------------------------------------


def test_the_sqlite_file_is_its_owners_alone(tmp_path: Path) -> None:
    """The database, with its log beside it, can be read by its owner and nobody else."""
    store = open_sqlite(tmp_path / "home.db", never)
    store.found("inst_a", 1)

    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    store.close()

    assert {0o600} == modes


def test_a_fresh_claim_is_held_without_a_look_up(tmp_path: Path) -> None:
    """Right after its claim nothing is asked of the file; after another write the row is looked up, and still held."""
    store = open_sqlite(tmp_path / "home.db", never)
    asked: list[str] = []

    async def story() -> None:
        await claimed(store, ROW)
        store.journal.connection.set_trace_callback(asked.append)
        assert (True, []) == (await store.holds(ROW), asked)

        await claimed(store, row(2))
        del asked[:]
        assert [True, True] == [await store.holds(ROW), await store.holds(row(2))]
        assert 1 == len(asked)

    run(story)
    store.close()


def test_a_broken_sqlite_file_is_unavailable(tmp_path: Path) -> None:
    """Where the table is gone, finding and claiming say that the store is unavailable, and nothing else."""
    store = open_sqlite(tmp_path / "home.db", never)
    store.journal.run(lambda connection: connection.execute("DROP TABLE ledger"))

    async def story() -> None:
        with pytest.raises(StoreUnavailableError, match="OperationalError"):
            await store.find(1, "tx_a")
        with pytest.raises(StoreUnavailableError, match="OperationalError"):
            await store.claim(ROW, None)

    run(story)
    store.close()


@pytest.mark.parametrize("id_", ["ch_a", "tx_a", "req_a", "req_retry", "tok_a"])
def test_a_row_is_found_by_any_id_that_people_have(tmp_path: Path, id_: str) -> None:
    """Charge, token, transaction, and request ids, of the first delivery and of later ones, all lead to the row."""
    store = open_sqlite(tmp_path / "home.db", never)
    store.add_instance(INSTANCE, [], act("add"))
    saving = ROW._replace(token_id="tok_a")

    async def story() -> None:
        await claimed(store, saving, row(2, request_id="req_b"))
        store.note(Note("ch_a", 1, "replayed", "req_retry"))
        await claimed(store, row(3, request_id="req_c"))

    run(story)

    assert [saving] == find_any(store.journal.connection, id_)
    assert [] == find_any(store.journal.connection, "nothing")
    store.close()
