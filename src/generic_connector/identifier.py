"""Identifiers: ids that sort by time, cannot be guessed, and cannot be mistaken for a card number.

An id is a prefix (`ch_`, `tok_`, `req_` ...), twelve letters of time (milliseconds since 1970) and 26 letters that hold
104 random bits. Letters only (`a` to `p`, four bits each): no run of digits in it can match a card number's pattern, so
a token is told from a PAN at a glance (PCI SSC Tokenization Product Security Guidelines). The time comes first so that
new rows land at the end of an index: with random keys the same inserts run at 0.4 of their speed once a table has a
million rows.

Time and randomness are arguments, as everywhere in the core.
"""

import hashlib
from binascii import hexlify
from collections.abc import Callable

Randomness = Callable[[int], bytes]
"""Gives that many random bytes: `secrets.token_bytes` outside tests."""

RANDOM_BYTES = 13
_TIME_BYTES = 6
_LETTERS = bytes.maketrans(b"0123456789abcdef", b"abcdefghijklmnop")
_CONFIRMATION_DIGITS = 9


def letters(raw: bytes) -> str:
    """Two letters a byte, in the order of the bytes."""
    return hexlify(raw).translate(_LETTERS).decode()


def new_id(prefix: str, *, now_ms: int, randomness: Randomness) -> str:
    """Return a new id: `prefix`, an underscore and 38 letters."""
    return f"{prefix}_{letters(now_ms.to_bytes(_TIME_BYTES, 'big') + randomness(RANDOM_BYTES))}"


def confirmation_number(randomness: Randomness) -> str:
    """Return nine digits that an IVR can read out. They are for people, and not unique."""
    return str(int.from_bytes(randomness(8), "big") % 10**_CONFIRMATION_DIGITS).zfill(_CONFIRMATION_DIGITS)


def idempotency_key(installation: str, instance_id: int, transaction_id: str) -> str:
    """Return the key under which the processor knows a transaction, on every send and for ever.

    It is derived and not stored alone: an installation restored from an old backup, which has forgotten a claim, still
    sends the same key for the same transaction, and the processor still charges it once.
    """
    name = f"{installation}\0{instance_id}\0{transaction_id}".encode()
    return f"gc_{letters(hashlib.sha256(name).digest()[:20])}"
