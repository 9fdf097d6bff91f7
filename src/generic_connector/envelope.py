"""The envelope: how card data is sealed, and how keys are wrapped. Pure: keys and nonces are arguments.

A **DEK** (data encryption key) seals records with AES-256-GCM. A **KEK** (key encryption key), which lives elsewhere,
wraps the DEKs. What is sealed names its key, so that keys can be rotated while old records stay readable, and is bound
to the place where it belongs, so that a record copied to another row, instance or field does not open there:

    version 1 | key id 4 | nonce 12 | ciphertext | tag 16        sealed record (bytes)
    AAD = length-prefixed (header, table, instance, record id, field)

    version 1 | nonce 12 | ciphertext | tag 16                   wrapped key
    AAD = version, length-prefixed (installation, key id, purpose)

Random 96-bit nonces are safe for 2^32 seals of one key (NIST SP 800-38D 8.3); `SEALS_MAX` stays far below, and the
store counts. A tag that does not fit is a `TamperedError`, never a wrong answer.

Where PAN equality must be seen without the PAN, a **fingerprint** is kept: HMAC-SHA-256 with a key of its own over the
whole number (PCI DSS 3.5.1.1: hashes of a PAN are keyed). A request's **digest** is made in the same way, with yet
another key; the CVV is in neither, since whatever verifies a CVV is a stored CVV.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from generic_connector.bank import AccountNumber, BankAccount
from generic_connector.card import Card, Expiry, Pan
from generic_connector.payment import Charge, Instrument, Payment

KEY_BYTES = 32
NONCE_BYTES = 12
SEALS_MAX = 2**30
"""At most this many records are sealed by one DEK: a quarter of NIST's bound."""

_VERSION_RECORD = b"\x01"
_VERSION_KEY = b"\x01"
_HEADER = struct.Struct(">cI")
_SEPARATOR = "\x1f"


class TamperedError(Exception):
    """A sealed record or a wrapped key does not open where it stands.

    It was altered or moved, or its key is another one. Restore it from a backup.
    """


class Purpose(StrEnum):
    """What a key is for. One key never serves two purposes."""

    SEAL = "seal"
    FINGERPRINT = "fingerprint"
    DIGEST = "digest"
    CREDENTIAL = "credential"
    ACCESS_TOKEN = "access-token"  # noqa: S105 - the name of a purpose


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """A key in clear, in memory only. Its id goes with everything that it made."""

    id: int
    purpose: Purpose
    clear: bytes
    cipher: AESGCM = field(init=False, compare=False)
    """AES-256-GCM under this key: to set it up costs more than to seal."""
    _mac: HMAC = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cipher", AESGCM(self.clear))
        object.__setattr__(self, "_mac", HMAC(self.clear, SHA256()))

    def mac(self, message: bytes) -> bytes:
        """Return HMAC-SHA-256 under this key. A copy of one that was set up costs a third of a new one."""
        mac = self._mac.copy()
        mac.update(message)
        return mac.finalize()

    def __repr__(self) -> str:
        return f"Key(id={self.id}, purpose={self.purpose})"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed record belongs. It opens nowhere else."""

    table: str
    instance_id: int
    record_id: str
    field: str


def length_prefixed(*parts: str) -> bytes:
    """Return an unambiguous concatenation: no two different lists of parts have the same bytes."""
    return "".join([f"{len(part)}:{part}" for part in parts]).encode()


# --- Records ---------------------------------------------------------------------------------------------------------


def seal(clear: bytes, place: Place, key: Key, nonce: bytes) -> bytes:
    """Return `clear` sealed by a DEK for `place`."""
    header = _HEADER.pack(_VERSION_RECORD, key.id)
    return header + nonce + key.cipher.encrypt(nonce, clear, _record_aad(header, place))


def sealed_key_id(sealed: bytes) -> int:
    """Return the id of the DEK that sealed a record.

    Raises `TamperedError` where that cannot be read.
    """
    try:
        version, key_id = _HEADER.unpack_from(sealed)
    except struct.error:
        raise TamperedError("a sealed record is too short") from None
    if version != _VERSION_RECORD:
        raise TamperedError("a sealed record has a version that is not known")
    return int(key_id)


def unseal(sealed: bytes, place: Place, key: Key) -> bytes:
    """Return what was sealed for `place`.

    Raises `TamperedError` where key, place or a single bit differs.
    """
    if sealed_key_id(sealed) != key.id:
        raise TamperedError("a sealed record names another key")
    header, nonce = sealed[: _HEADER.size], sealed[_HEADER.size : _HEADER.size + NONCE_BYTES]
    return _decrypt(key.cipher, nonce, sealed[_HEADER.size + NONCE_BYTES :], _record_aad(header, place))


def _record_aad(header: bytes, place: Place) -> bytes:
    return length_prefixed(header.hex(), place.table, str(place.instance_id), place.record_id, place.field)


def _decrypt(cipher: AESGCM, nonce: bytes, ciphertext: bytes, aad: bytes) -> bytes:
    try:
        return cipher.decrypt(nonce, ciphertext, aad)
    except (InvalidTag, ValueError):
        raise TamperedError("a tag does not fit: altered, moved, or sealed by another key") from None


# --- Keys ------------------------------------------------------------------------------------------------------------


def wrap(clear: bytes, kek: bytes, aad: bytes, nonce: bytes) -> bytes:
    """Return a key wrapped by a KEK and bound to `aad`."""
    return _VERSION_KEY + nonce + AESGCM(kek).encrypt(nonce, clear, _VERSION_KEY + aad)


def unwrap(wrapped: bytes, kek: bytes, aad: bytes) -> bytes:
    """Return the key.

    Raises `TamperedError` where the KEK is another one or the key was altered or moved.
    """
    if wrapped[:1] != _VERSION_KEY:
        raise TamperedError("a wrapped key has a version that is not known")
    nonce, ciphertext = wrapped[1 : 1 + NONCE_BYTES], wrapped[1 + NONCE_BYTES :]
    return _decrypt(AESGCM(kek), nonce, ciphertext, _VERSION_KEY + aad)


def key_aad(installation: str, key_id: int, purpose: Purpose) -> bytes:
    """Return what a wrapped key is bound to: its installation, id and purpose.

    PCI DSS 3.7.7: keys cannot be substituted.
    """
    return length_prefixed(installation, str(key_id), purpose.value)


# --- Fingerprints and digests ----------------------------------------------------------------------------------------


def fingerprint(instrument: Instrument, instance_id: int, key: Key) -> bytes:
    """Return 32 bytes that are the same for the same numbers within one instance.

    The numbers are the PAN, or routing and account number.
    """
    return key.mac(length_prefixed(str(instance_id), *_numbers(instrument)))


def digest(payment: Payment, key: Key) -> bytes:
    """Return 32 bytes that tell a retry of this payment from another with the same transaction id.

    In it: method, operation, save_card, numbers, expiry, amount, currency. Not in it: the CVV, ever; and postal code,
    description and metadata, of which nobody says that they are identical on a retry.
    """
    instrument = payment.instrument
    expiry = instrument.expiry.yyyymm if isinstance(instrument, Card) else ""
    if isinstance(payment, Charge):
        rest = (str(payment.save_card), str(payment.money.minor), payment.money.currency.code)
    else:
        rest = ("", "", "")
    parts = (payment.method.value, payment.details.operation, *_numbers(instrument), expiry, *rest)
    return key.mac(length_prefixed(*parts))


def credential_hash(credential: str, key: Key) -> bytes:
    """Return the keyed hash under which a generated password or path secret is stored.

    A fast hash is right here and only here: these are generated with 128 random bits or more, so there is no dictionary
    to try, and the hash is keyed besides.
    """
    return key.mac(credential.encode())


def _numbers(instrument: Instrument) -> tuple[str, str, str]:
    if isinstance(instrument, Card):
        return ("card", instrument.pan.reveal(), "")
    return ("bank", instrument.routing_number, instrument.account_number.reveal())


# --- What is sealed --------------------------------------------------------------------------------------------------


def seal_instrument(instrument: Instrument, place: Place, key: Key, randomness: Callable[[int], bytes]) -> bytes:
    """Return an instrument sealed for `place`: numbers, expiry, postal code. Never the CVV."""
    if isinstance(instrument, Card):
        kind, number, second = "card", instrument.pan.reveal(), instrument.expiry.yyyymm
    else:
        kind, number = "bank", instrument.account_number.reveal()
        second = instrument.routing_number
    parts = (kind, number, second, instrument.postal_code or "")
    return seal(_SEPARATOR.join(parts).encode(), place, key, randomness(NONCE_BYTES))


def unseal_instrument(sealed: bytes, place: Place, key: Key) -> Instrument:
    """Return a sealed instrument. Raises `TamperedError`.

    Every call is logged by whoever makes it (PCI DSS 10.2.1.1).
    """
    kind, number, second, postal_code = unseal(sealed, place, key).decode().split(_SEPARATOR)
    if kind == "bank":
        return BankAccount(second, AccountNumber(number), postal_code or None)
    return Card(Pan(number), Expiry(int(second[:4]), int(second[4:])), None, postal_code or None)
