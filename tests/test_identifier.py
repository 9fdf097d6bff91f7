"""Identifiers: sorted by time, unguessable, and never a card number."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generic_connector.identifier import RANDOM_BYTES, confirmation_number, idempotency_key, letters, new_id

NOW_MS = 1_795_407_300_000
LAST_MS = 2**48 - 1


def zeros(count: int) -> bytes:
    """Give so many zero bytes."""
    return bytes(count)


def ones(count: int) -> bytes:
    """Give so many bytes of ones."""
    return b"\xff" * count


@pytest.mark.parametrize("prefix", ["ch", "tok", "req"])
def test_an_id_is_a_prefix_and_38_letters(prefix: str) -> None:
    """An id has no digit at all, so no pattern for card numbers can match in it."""
    actual = new_id(prefix, now_ms=NOW_MS, randomness=lambda count: bytes(range(count)))

    assert re.fullmatch(rf"{prefix}_[a-p]{{38}}", actual)


def test_an_id_holds_at_least_100_random_bits() -> None:
    """All of the randomness it asks for is in the id, and that is 104 bits."""
    asked: list[int] = []

    def remembered(count: int) -> bytes:
        asked.append(count)
        return ones(count)

    actual = new_id("ch", now_ms=NOW_MS, randomness=remembered)

    assert [RANDOM_BYTES] == asked
    assert RANDOM_BYTES * 8 >= 100
    assert "p" * 26 == actual[-26:]


@given(st.integers(0, LAST_MS), st.integers(0, LAST_MS))
def test_ids_sort_by_time(one: int, other: int) -> None:
    """The id of an earlier millisecond sorts first, whatever the randomness."""
    earlier, later = sorted((one, other))
    if earlier == later:
        return

    first, second = (new_id("ch", now_ms=earlier, randomness=ones), new_id("ch", now_ms=later, randomness=zeros))

    assert first < second


@given(st.binary(max_size=32), st.binary(max_size=32))
def test_letters_tell_bytes_apart(one: bytes, other: bytes) -> None:
    """Two texts of letters are the same only if their bytes are."""
    assert (one == other) == (letters(one) == letters(other))


@given(st.binary(min_size=8, max_size=8))
def test_a_confirmation_number_is_nine_digits(random: bytes) -> None:
    """A confirmation number has nine digits, leading zeros included."""
    actual = confirmation_number(lambda count: random[:count])

    assert re.fullmatch(r"[0-9]{9}", actual)


def test_a_confirmation_number_keeps_its_zeros() -> None:
    """The smallest confirmation number is nine zeros and not one."""
    assert "000000000" == confirmation_number(zeros)


def test_an_idempotency_key_never_changes() -> None:
    """The key of a transaction is pinned: an installation restored from an old backup must send the same one."""
    actual = idempotency_key("inst_a", 7, "1b0e9a52-6f3c-4d7e-9b21-5c8f0d4e7a31")

    assert "gc_cpljmlhicbohclhjghhfgnfdbaafjicaaplcglag" == actual


@given(st.tuples(st.text("ab1", min_size=1), st.integers(1, 200), st.text("ab1", min_size=1)), st.data())
def test_an_idempotency_key_depends_on_each_part(name: tuple[str, int, str], data: st.DataObject) -> None:
    """Another installation, instance or transaction has another key: 43 letters and underscores."""
    other = data.draw(st.tuples(st.text("ab1", min_size=1), st.integers(1, 200), st.text("ab1", min_size=1)))

    one_key, other_key = idempotency_key(*name), idempotency_key(*other)

    assert (name == other) == (one_key == other_key)
    assert re.fullmatch(r"gc_[a-p]{40}", one_key)
