"""The keyring: the installation's keys in clear, in memory, for as long as a process runs.

One key a purpose is active and makes what is new; all are kept, so that what an older key made can still be read or
compared. Keys come wrapped from the registry and are unwrapped once, at start, by the KEK provider.

Seals are counted before they are made: the ring reserves a block durably and uses it up, so a crash wastes some of a
block and never goes over `SEALS_MAX`. Two seals with one nonce under one key would open both; 96 random bits and this
count are what stands between.
"""

from collections.abc import Sequence

from generic_connector.envelope import (
    KEY_BYTES,
    SEALS_MAX,
    Key,
    Place,
    Purpose,
    key_aad,
    seal_instrument,
    sealed_key_id,
    unseal_instrument,
)
from generic_connector.identifier import Randomness
from generic_connector.payment import Instrument
from generic_connector.ports import Act, KekProvider, Registry, WrappedKey

SEALS_RESERVED_AT_ONCE = 2**16


class KeyExhaustedError(Exception):
    """The active DEK has made all the seals it may. Nothing is vaulted before there is a new one."""


def make_keys(registry: Registry, kek: KekProvider, randomness: Randomness, now_ms: int) -> None:
    """Make the first key of every purpose, and store them wrapped."""
    installation = registry.installation()
    keys = [
        WrappedKey(
            id=number,
            purpose=purpose,
            wrapped=kek.wrap(randomness(KEY_BYTES), key_aad(installation, number, purpose)),
            kek_id=kek.kek_id,
            is_active=True,
            created_at_ms=now_ms,
        )
        for number, purpose in enumerate(Purpose, start=1)
    ]
    registry.add_keys(keys, Act(at_ms=now_ms, actor="init", action="make keys", target=kek.kek_id))


class Keyring:
    """The keys by purpose and id. Raises `envelope.TamperedError` where one does not open."""

    def __init__(self, registry: Registry, kek: KekProvider, randomness: Randomness) -> None:
        self.installation = registry.installation()
        self._registry = registry
        self._randomness = randomness
        self._keys: dict[tuple[Purpose, int], Key] = {}
        self._active: dict[Purpose, Key] = {}
        self._seals_left = 0
        self.is_usable = True
        stored = registry.keys()
        for wrapped in stored:
            self._add(wrapped, kek)
        self._require(stored)

    def _add(self, wrapped: WrappedKey, kek: KekProvider) -> None:
        clear = kek.unwrap(wrapped.wrapped, key_aad(self.installation, wrapped.id, wrapped.purpose))
        key = Key(wrapped.id, wrapped.purpose, clear)
        self._keys[wrapped.purpose, wrapped.id] = key
        if wrapped.is_active:
            self._active[wrapped.purpose] = key

    def _require(self, keys: Sequence[WrappedKey]) -> None:
        missing = [purpose for purpose in Purpose if purpose not in self._active]
        if missing:
            raise LookupError(f"{len(keys)} keys, and none active for: {', '.join(missing)}")

    def active(self, purpose: Purpose) -> Key:
        """Return the key that makes what is new."""
        return self._active[purpose]

    def key(self, purpose: Purpose, key_id: int) -> Key | None:
        """Return the key that made something old, or None."""
        return self._keys.get((purpose, key_id))

    def of(self, purpose: Purpose) -> Sequence[Key]:
        """Return all keys of a purpose."""
        return [key for (known, _id), key in self._keys.items() if known is purpose]

    def seal(self, instrument: Instrument, place: Place) -> tuple[bytes, int]:
        """Return a sealed instrument and the id of its key. Raises `KeyExhaustedError`."""
        key = self._active[Purpose.SEAL]
        if self._seals_left == 0:
            if self._registry.reserve_seals(key.id, SEALS_RESERVED_AT_ONCE) > SEALS_MAX:
                self.is_usable = False
                raise KeyExhaustedError(f"key {key.id} has made {SEALS_MAX} seals")
            self._seals_left = SEALS_RESERVED_AT_ONCE
        self._seals_left -= 1
        return seal_instrument(instrument, place, key, self._randomness), key.id

    def unseal(self, sealed: bytes, place: Place) -> Instrument:
        """Return a sealed instrument. Raises `envelope.TamperedError`. The caller logs it."""
        key = self._keys.get((Purpose.SEAL, sealed_key_id(sealed)))
        if key is None:
            raise LookupError("a sealed record names a key that this installation does not have")
        return unseal_instrument(sealed, place, key)
