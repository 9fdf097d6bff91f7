"""The keyring: one active key a purpose, old keys kept, and never more seals than are safe."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count

import pytest

from generic_connector.card import Card, Expiry, Pan
from generic_connector.envelope import KEY_BYTES, SEALS_MAX, Place, Purpose, TamperedError, key_aad, unwrap, wrap
from generic_connector.instance import Instance
from generic_connector.keyring import SEALS_RESERVED_AT_ONCE, KeyExhaustedError, Keyring, make_keys
from generic_connector.ports import AccessToken, Act, Credential, WrappedKey

CARD = Card(Pan("4111111111111111"), Expiry(2027, 8))
PLACE = Place("vault", 1, "tok_a", "sealed")


def counting() -> Callable[[int], bytes]:
    """Return a source of bytes that never gives the same twice."""
    numbers = count(1)
    return lambda length: next(numbers).to_bytes(length, "big")


class FakeKek:
    """Wraps with a key that everybody knows."""

    def __init__(self, clear: bytes = b"k" * KEY_BYTES) -> None:
        self._clear = clear
        self._nonces = counting()

    @property
    def kek_id(self) -> str:
        return "fake-kek"

    def wrap(self, clear: bytes, aad: bytes) -> bytes:
        return wrap(clear, self._clear, aad, self._nonces(12))

    def unwrap(self, wrapped: bytes, aad: bytes) -> bytes:
        return unwrap(wrapped, self._clear, aad)


class FakeRegistry:
    """Keeps keys in a list, and has nothing else to keep."""

    def __init__(self, installation: str = "inst_a") -> None:
        self._installation = installation
        self.kept: list[WrappedKey] = []
        self.acts: list[Act] = []
        self.reservations: list[tuple[int, int]] = []
        self.reserved = 0

    def installation(self) -> str:
        return self._installation

    def keys(self) -> Sequence[WrappedKey]:
        return list(self.kept)

    def add_keys(self, keys: Sequence[WrappedKey], act: Act) -> None:
        self.kept.extend(keys)
        self.acts.append(act)

    def reserve_seals(self, key_id: int, seals: int) -> int:
        self.reservations.append((key_id, seals))
        self.reserved += seals
        return self.reserved

    def instances(self) -> Sequence[Instance]:
        raise NotImplementedError

    def credentials(self) -> Sequence[Credential]:
        raise NotImplementedError

    def access_tokens(self) -> Sequence[AccessToken]:
        raise NotImplementedError

    def add_instance(self, instance: Instance, credentials: Sequence[Credential], act: Act) -> None:
        raise NotImplementedError

    def set_enabled(self, instance_id: int, act: Act, *, enabled: bool) -> None:
        raise NotImplementedError

    def replace_credentials(self, instance_id: int, kind: str, credentials: Sequence[Credential], act: Act) -> None:
        raise NotImplementedError

    def add_access_token(self, token: AccessToken, act: Act) -> None:
        raise NotImplementedError

    def revoke_access_token(self, token_id: str, act: Act) -> None:
        raise NotImplementedError


@pytest.fixture
def registry() -> FakeRegistry:
    """A registry with the first keys in it."""
    made = FakeRegistry()
    make_keys(made, FakeKek(), counting(), now_ms=1000)
    return made


def ring_of(registry: FakeRegistry) -> Keyring:
    """Open the registry's keys."""
    return Keyring(registry, FakeKek(), counting())


def test_the_first_keys_are_one_for_each_purpose(registry: FakeRegistry) -> None:
    """A new installation has one active key of each purpose, and the act that made them is kept."""
    assert list(Purpose) == [key.purpose for key in registry.kept]
    assert {(True, "fake-kek", 1000, 0)} == {
        (key.is_active, key.kek_id, key.created_at_ms, key.seals) for key in registry.kept
    }
    assert [Act(at_ms=1000, actor="init", action="make keys", target="fake-kek")] == registry.acts


def test_keys_are_stored_wrapped(registry: FakeRegistry) -> None:
    """No key is stored in clear, and each is bound to its installation, id and purpose."""
    ring = ring_of(registry)

    for stored in registry.kept:
        clear = ring.active(stored.purpose).clear
        assert clear not in stored.wrapped
        assert clear == FakeKek().unwrap(stored.wrapped, key_aad("inst_a", stored.id, stored.purpose))


def test_no_key_serves_two_purposes(registry: FakeRegistry) -> None:
    """The keys of the five purposes are five different keys with five ids."""
    ring = ring_of(registry)
    active = [ring.active(purpose) for purpose in Purpose]

    assert 5 == len({key.clear for key in active}) == len({key.id for key in active})


def test_old_keys_are_kept_beside_the_active_one(registry: FakeRegistry) -> None:
    """After a rotation the new key makes what is new, and the old one is still found by its id."""
    registry.kept[0] = replace(registry.kept[0], is_active=False)
    new = FakeKek().wrap(b"n" * KEY_BYTES, key_aad("inst_a", 9, Purpose.SEAL))
    registry.kept.append(replace(registry.kept[0], id=9, wrapped=new, is_active=True))

    ring = ring_of(registry)
    old = ring.key(Purpose.SEAL, 1)

    assert old is not None
    assert 9 == ring.active(Purpose.SEAL).id
    assert [1, 9] == sorted(key.id for key in ring.of(Purpose.SEAL))
    assert [2] == [key.id for key in ring.of(Purpose.FINGERPRINT)]


def test_what_an_old_key_sealed_still_opens(registry: FakeRegistry) -> None:
    """A record that was sealed before a rotation opens after it."""
    sealed, key_id = ring_of(registry).seal(CARD, PLACE)
    registry.kept[0] = replace(registry.kept[0], is_active=False)
    new = FakeKek().wrap(b"n" * KEY_BYTES, key_aad("inst_a", 9, Purpose.SEAL))
    registry.kept.append(replace(registry.kept[0], id=9, wrapped=new, is_active=True))

    ring = ring_of(registry)

    assert (1, CARD) == (key_id, ring.unseal(sealed, PLACE))
    assert 9 == ring.seal(CARD, PLACE)[1]


def test_an_unknown_key_is_none(registry: FakeRegistry) -> None:
    """Neither an id that there is not nor one of another purpose gives a key."""
    ring = ring_of(registry)

    assert [None, None] == [ring.key(Purpose.SEAL, 99), ring.key(Purpose.SEAL, 2)]


@pytest.mark.parametrize("purpose", Purpose)
def test_every_purpose_must_have_an_active_key(registry: FakeRegistry, purpose: Purpose) -> None:
    """Without an active key of some purpose the ring does not open, and says which is missing."""
    registry.kept = [replace(key, is_active=key.purpose is not purpose) for key in registry.kept]

    with pytest.raises(LookupError, match=f"5 keys, and none active for: {purpose}$"):
        ring_of(registry)


def test_a_database_of_another_kek_does_not_open(registry: FakeRegistry) -> None:
    """Keys that another KEK wrapped do not open, and no ring is made."""
    with pytest.raises(TamperedError):
        Keyring(registry, FakeKek(b"x" * KEY_BYTES), counting())


def test_a_database_of_another_installation_does_not_open(registry: FakeRegistry) -> None:
    """Keys that were copied into another installation's database do not open there."""
    other = FakeRegistry("inst_b")
    other.kept = registry.kept

    with pytest.raises(TamperedError):
        ring_of(other)


def test_swapped_keys_do_not_open(registry: FakeRegistry) -> None:
    """A key that was put in another's place in the database does not open."""
    first, second, *rest = registry.kept
    registry.kept = [replace(first, wrapped=second.wrapped), replace(second, wrapped=first.wrapped), *rest]

    with pytest.raises(TamperedError):
        ring_of(registry)


def test_a_record_of_an_unknown_key_is_said_to_be_so(registry: FakeRegistry) -> None:
    """A record whose key this installation does not have is not called tampered with."""
    sealed, _key_id = ring_of(registry).seal(CARD, PLACE)
    elsewhere = FakeRegistry()
    make_keys(elsewhere, FakeKek(), counting(), now_ms=1000)
    moved = FakeKek().wrap(b"n" * KEY_BYTES, key_aad("inst_a", 77, Purpose.SEAL))
    elsewhere.kept[0] = replace(elsewhere.kept[0], id=77, wrapped=moved)

    with pytest.raises(LookupError, match="does not have"):
        ring_of(elsewhere).unseal(sealed, PLACE)


def test_seals_are_reserved_before_they_are_made(registry: FakeRegistry) -> None:
    """The first seal of a block reserves it durably, the rest costs nothing, the next reserves again."""
    ring = ring_of(registry)

    assert [] == registry.reservations
    for _ in range(SEALS_RESERVED_AT_ONCE):
        ring.seal(CARD, PLACE)
    assert [(1, SEALS_RESERVED_AT_ONCE)] == registry.reservations

    ring.seal(CARD, PLACE)

    assert [(1, SEALS_RESERVED_AT_ONCE)] * 2 == registry.reservations


def test_a_restart_wastes_a_block_and_reuses_none(registry: FakeRegistry) -> None:
    """A new process reserves a block of its own: what the last one had left is never used."""
    for _ in range(3):
        ring_of(registry).seal(CARD, PLACE)

    assert 3 * SEALS_RESERVED_AT_ONCE == registry.reserved


def test_a_key_has_a_last_seal(registry: FakeRegistry) -> None:
    """The block that ends at the limit is used, and the one after it is refused."""
    registry.reserved = SEALS_MAX - SEALS_RESERVED_AT_ONCE
    ring_of(registry).seal(CARD, PLACE)

    assert SEALS_MAX == registry.reserved
    with pytest.raises(KeyExhaustedError, match="key 1 has made"):
        ring_of(registry).seal(CARD, PLACE)


def test_an_exhausted_key_stays_exhausted(registry: FakeRegistry) -> None:
    """A refused seal leaves nothing in hand: the same ring goes on refusing, and says that it is of no use any more."""
    registry.reserved = SEALS_MAX
    ring = ring_of(registry)

    assert ring.is_usable
    for _ in range(2):
        with pytest.raises(KeyExhaustedError):
            ring.seal(CARD, PLACE)
    assert not ring.is_usable
