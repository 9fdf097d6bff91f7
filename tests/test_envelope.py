"""The envelope: what was sealed opens where it belongs and nowhere else, and fingerprints need their key."""

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from generic_connector.bank import AccountNumber, BankAccount
from generic_connector.card import Card, Cvv, Expiry, Pan
from generic_connector.envelope import (
    KEY_BYTES,
    NONCE_BYTES,
    SEALS_MAX,
    Key,
    Place,
    Purpose,
    TamperedError,
    credential_hash,
    digest,
    fingerprint,
    key_aad,
    length_prefixed,
    seal,
    seal_instrument,
    sealed_key_id,
    unseal,
    unseal_instrument,
    unwrap,
    wrap,
)
from generic_connector.money import CURRENCIES, Money
from generic_connector.payment import AchDetails, Charge, Details, Instrument, Payment, Tokenize

VISA = "4111111111111111"
KEY = Key(7, Purpose.SEAL, bytes(range(KEY_BYTES)))
OTHER = Key(8, Purpose.SEAL, bytes(range(1, KEY_BYTES + 1)))
PLACE = Place("vault", 3, "tok_abc", "sealed")
NONCE = bytes(range(100, 100 + NONCE_BYTES))
USD = CURRENCIES["USD"]

CARD = Card(Pan(VISA), Expiry(2027, 8), Cvv("987"), "94111")
ACCOUNT = BankAccount("021000021", AccountNumber("55443322"), "94111")
CHARGE = Charge(transaction_id="t", instrument=CARD, money=Money(1000, USD))

PLACES = st.builds(Place, st.text(), st.integers(), st.text(), st.text())
KEYS = st.builds(
    Key,
    st.integers(0, 2**32 - 1),
    st.sampled_from(Purpose),
    st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES),
)
NONCES = st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES)


def flipped(raw: bytes, bit: int) -> bytes:
    """Return the bytes with one bit flipped."""
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def counting() -> Callable[[int], bytes]:
    """Return a source of bytes that never gives the same twice, and is not random at all."""
    numbers = itertools.count(1)
    return lambda count: next(numbers).to_bytes(count, "big")


# --- Records ---------------------------------------------------------------------------------------------------------


@given(st.binary(), PLACES, KEYS, NONCES)
def test_what_was_sealed_opens_in_its_place(clear: bytes, place: Place, key: Key, nonce: bytes) -> None:
    """Any record sealed for any place opens there with the key that it names."""
    sealed = seal(clear, place, key, nonce)

    assert clear == unseal(sealed, place, key)
    assert key.id == sealed_key_id(sealed)


def test_a_sealed_record_has_a_header() -> None:
    """Version, key id and nonce stand before ciphertext and tag, so that keys can be rotated."""
    sealed = seal(b"clear", PLACE, KEY, NONCE)

    assert b"\x01" + (7).to_bytes(4, "big") + NONCE == sealed[: 5 + NONCE_BYTES]
    assert 5 + NONCE_BYTES + len(b"clear") + 16 == len(sealed)


def test_a_sealed_record_hides_what_is_in_it() -> None:
    """No part of the card number is in the sealed bytes."""
    clear = VISA.encode()
    sealed = seal(clear, PLACE, KEY, NONCE)

    assert clear in b"" + clear, "control"
    assert not any(clear[start : start + 4] in sealed for start in range(len(clear) - 3))


def test_every_flipped_bit_is_noticed() -> None:
    """One bit flipped anywhere in a sealed card, header and nonce included, and it does not open."""
    sealed = seal_instrument(CARD, PLACE, KEY, counting())
    opened = []
    for bit in range(len(sealed) * 8):
        try:
            opened.append(unseal(flipped(sealed, bit), PLACE, KEY))
        except TamperedError:
            continue

    assert [] == opened


def test_without_a_tag_a_flipped_bit_is_not_noticed() -> None:
    """Control: the same cipher without authentication opens an altered record, and gives another card number."""
    cipher = Cipher(algorithms.AES(KEY.clear), modes.CTR(bytes(16)))
    encryptor, decryptor = cipher.encryptor(), cipher.decryptor()
    encrypted = encryptor.update(VISA.encode()) + encryptor.finalize()

    opened = decryptor.update(flipped(encrypted, 8)) + decryptor.finalize()

    assert b"4011111111111111" == opened


@given(st.binary(), st.data())
def test_no_altered_record_opens(clear: bytes, data: st.DataObject) -> None:
    """Records that are cut short, made longer or altered in one byte do not open."""
    sealed = seal(clear, PLACE, KEY, NONCE)
    place = data.draw(st.integers(0, len(sealed) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != sealed[place]))
    altered = [
        sealed[:place],
        sealed[place + 1 :],
        sealed + bytes([byte]),
        sealed[:place] + bytes([byte]) + sealed[place + 1 :],
    ]

    for record in altered:
        with pytest.raises(TamperedError):
            unseal(record, PLACE, KEY)


@given(st.binary(max_size=80))
def test_no_bytes_at_all_are_another_error(raw: bytes) -> None:
    """Bytes that nobody sealed are a `TamperedError` and nothing else, whether short, long or of our version."""
    for record in (raw, b"\x01" + KEY.id.to_bytes(4, "big") + raw):
        with pytest.raises(TamperedError):
            unseal(record, PLACE, KEY)


@pytest.mark.parametrize(
    "place",
    [
        replace(PLACE, table="ledger"),
        replace(PLACE, instance_id=4),
        replace(PLACE, record_id="tok_abd"),
        replace(PLACE, field="other"),
        Place("vaul", 3, "ttok_abc", "sealed"),
        Place("vault", 3, "tok_abcs", "ealed"),
        Place("vault", 3, "tok_ab", "csealed"),
    ],
    ids=str,
)
def test_a_record_opens_nowhere_else(place: Place) -> None:
    """A record copied to another table, instance, row or field does not open there."""
    sealed = seal(b"clear", PLACE, KEY, NONCE)

    with pytest.raises(TamperedError, match="does not fit"):
        unseal(sealed, place, KEY)


def test_without_a_bound_place_a_swapped_row_opens() -> None:
    """Control: the same cipher with nothing bound to it opens in whichever row it is put."""
    rows = {
        "mine": NONCE + AESGCM(KEY.clear).encrypt(NONCE, b"my card", None),
        "yours": bytes(NONCE_BYTES) + AESGCM(KEY.clear).encrypt(bytes(NONCE_BYTES), b"your card", None),
    }
    rows["mine"] = rows["yours"]

    opened = AESGCM(KEY.clear).decrypt(rows["mine"][:NONCE_BYTES], rows["mine"][NONCE_BYTES:], None)

    assert b"your card" == opened


@given(PLACES, PLACES)
def test_two_places_never_open_each_others_records(one: Place, other: Place) -> None:
    """Whatever the names of table, row and field, only the very same place opens a record."""
    sealed = seal(b"clear", one, KEY, NONCE)

    try:
        opened = unseal(sealed, other, KEY) == b"clear"
    except TamperedError:
        opened = False

    assert (one == other) is opened


@pytest.mark.parametrize(
    ("key", "reason"),
    [(OTHER, "names another key"), (replace(OTHER, id=KEY.id), "does not fit"), (replace(KEY, id=9), "another key")],
    ids=["another key", "another key of the same id", "the same key of another id"],
)
def test_a_record_opens_with_its_own_key_only(key: Key, reason: str) -> None:
    """Neither another key nor the right key under another id opens a record."""
    with pytest.raises(TamperedError, match=reason):
        unseal(seal(b"clear", PLACE, KEY, NONCE), PLACE, key)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "too short"),
        (b"\x01\x00\x00\x00", "too short"),
        (b"\x02\x00\x00\x00\x07", "version"),
        (b"\x00" * 40, "version"),
    ],
)
def test_a_header_that_cannot_be_read_is_refused(raw: bytes, reason: str) -> None:
    """A record that is too short for a header, or of another version, names no key."""
    with pytest.raises(TamperedError, match=reason):
        sealed_key_id(raw)


def test_a_dek_makes_far_fewer_seals_than_nist_permits() -> None:
    """NIST SP 800-38D 8.3 permits 2^32 seals with random nonces; here a quarter of that is the end."""
    assert 2**32 // 4 == SEALS_MAX


# --- Instruments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "instrument",
    [
        replace(CARD, cvv=None),
        replace(CARD, cvv=None, postal_code=None, expiry=Expiry(2031, 12)),
        ACCOUNT,
        replace(ACCOUNT, postal_code=None),
    ],
    ids=["card", "card without postal code", "account", "account without postal code"],
)
def test_an_instrument_survives_the_round_trip(instrument: Instrument) -> None:
    """Numbers, expiry and postal code come out of the envelope as they went in."""
    sealed = seal_instrument(instrument, PLACE, KEY, counting())

    assert instrument == unseal_instrument(sealed, PLACE, KEY)


def test_the_cvv_is_never_sealed() -> None:
    """The CVV does not go into the envelope: what is sealed is the same without one, byte for byte."""
    with_cvv = seal_instrument(CARD, PLACE, KEY, counting())
    without = seal_instrument(replace(CARD, cvv=None), PLACE, KEY, counting())

    clear = unseal(with_cvv, PLACE, KEY)

    assert without == with_cvv
    assert VISA.encode() in clear, "control"
    assert b"987" not in clear


def test_every_seal_has_a_nonce_of_its_own() -> None:
    """Each seal takes twelve fresh bytes for its nonce, even for the same card in the same place."""
    asked: list[int] = []
    source = counting()

    def remembered(count: int) -> bytes:
        asked.append(count)
        return source(count)

    sealed = [seal_instrument(CARD, PLACE, KEY, remembered) for _ in range(100)]

    assert [NONCE_BYTES] * 100 == asked
    assert 100 == len({record[5 : 5 + NONCE_BYTES] for record in sealed})
    assert 100 == len(set(sealed))


# --- Keys ------------------------------------------------------------------------------------------------------------

AAD = key_aad("inst_a", 7, Purpose.SEAL)
KEK = bytes(reversed(range(KEY_BYTES)))


@given(st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES), st.binary(), NONCES)
def test_a_wrapped_key_unwraps(clear: bytes, aad: bytes, nonce: bytes) -> None:
    """A key wrapped by a KEK comes out of it again, and is not in the wrapped bytes."""
    wrapped = wrap(clear, KEK, aad, nonce)

    assert clear == unwrap(wrapped, KEK, aad)
    assert clear not in wrapped


def test_every_flipped_bit_of_a_wrapped_key_is_noticed() -> None:
    """One bit flipped anywhere in a wrapped key, and it does not unwrap."""
    wrapped = wrap(KEY.clear, KEK, AAD, NONCE)
    opened = []
    for bit in range(len(wrapped) * 8):
        try:
            opened.append(unwrap(flipped(wrapped, bit), KEK, AAD))
        except TamperedError:
            continue

    assert [] == opened


@pytest.mark.parametrize(
    "aad",
    [
        key_aad("inst_b", 7, Purpose.SEAL),
        key_aad("inst_a", 8, Purpose.SEAL),
        key_aad("inst_a", 7, Purpose.DIGEST),
        key_aad("inst_a7", 7, Purpose.SEAL),
        b"",
    ],
)
def test_a_wrapped_key_cannot_be_substituted(aad: bytes) -> None:
    """A key of another installation, id or purpose does not unwrap in this one's place (PCI DSS 3.7.7)."""
    with pytest.raises(TamperedError, match="does not fit"):
        unwrap(wrap(KEY.clear, KEK, AAD, NONCE), KEK, aad)


def test_a_wrapped_key_needs_its_kek() -> None:
    """Another KEK unwraps nothing."""
    with pytest.raises(TamperedError, match="does not fit"):
        unwrap(wrap(KEY.clear, KEK, AAD, NONCE), KEY.clear, AAD)


@given(st.binary(max_size=80))
def test_bytes_that_are_no_wrapped_key_are_refused(raw: bytes) -> None:
    """Whatever stands where a wrapped key should be is a `TamperedError` and nothing else."""
    for wrapped in (raw, b"\x01" + raw):
        with pytest.raises(TamperedError):
            unwrap(wrapped, KEK, AAD)


def test_a_keys_repr_shows_no_key() -> None:
    """Printing a key shows its id and purpose, and not a byte of it."""
    assert "Key(id=7, purpose=seal)" == repr(KEY) == str(KEY) == f"{KEY}"


PARTS = st.lists(st.one_of(st.text(max_size=6), st.text("0123456789:", max_size=6)), max_size=5)


@given(PARTS, PARTS)
def test_length_prefixes_leave_no_ambiguity(one: list[str], other: list[str]) -> None:
    """Two lists of parts have the same bytes only if they have the same parts."""
    assert (one == other) is (length_prefixed(*one) == length_prefixed(*other))


@given(PARTS)
def test_length_prefixed_parts_can_be_told_apart_again(parts: list[str]) -> None:
    """The parts can be read back from their bytes, so no other parts can have the same."""
    left, found = length_prefixed(*parts).decode(), []
    while left:
        length, _colon, left = left.partition(":")
        found.append(left[: int(length)])
        left = left[int(length) :]

    assert parts == found


def test_without_length_prefixes_parts_run_together() -> None:
    """Control: parts that are merely joined, with a separator too, collide."""
    pairs = {"": (["12", "3"], ["1", "23"]), "|": (["a|", "b"], ["a", "|b"])}

    for separator, (one, other) in pairs.items():
        assert separator.join(one) == separator.join(other)
        assert length_prefixed(*one) != length_prefixed(*other)


# --- Fingerprints ----------------------------------------------------------------------------------------------------

PRINT_KEY = Key(2, Purpose.FINGERPRINT, b"f" * KEY_BYTES)


def test_the_same_card_has_the_same_fingerprint() -> None:
    """Expiry, CVV and postal code do not count: the number alone makes the fingerprint."""
    again = Card(Pan(VISA), Expiry(2030, 1))

    assert fingerprint(CARD, 3, PRINT_KEY) == fingerprint(again, 3, PRINT_KEY)
    assert 32 == len(fingerprint(CARD, 3, PRINT_KEY))


def test_other_numbers_instances_and_keys_have_other_fingerprints() -> None:
    """One number in two instances, or under two keys, cannot be seen to be one; nor are two numbers ever the same."""
    prints = [
        fingerprint(CARD, 3, PRINT_KEY),
        fingerprint(CARD, 4, PRINT_KEY),
        fingerprint(CARD, 3, replace(PRINT_KEY, clear=b"g" * KEY_BYTES)),
        fingerprint(replace(CARD, pan=Pan("378282246310005")), 3, PRINT_KEY),
        fingerprint(ACCOUNT, 3, PRINT_KEY),
        fingerprint(replace(ACCOUNT, routing_number="011000015"), 3, PRINT_KEY),
        fingerprint(BankAccount("021000021", AccountNumber(VISA)), 3, PRINT_KEY),
        fingerprint(BankAccount(VISA, AccountNumber("")), 3, PRINT_KEY),
    ]

    assert len(prints) == len(set(prints))


def brute_forced(target: bytes, hashed: Callable[[str], bytes]) -> str | None:
    """Try the card numbers that a BIN and the last four digits leave open (here the first 20,000 of a million)."""
    candidates = (f"411111{middle:06}1111" for middle in range(20_000))
    return next((candidate for candidate in candidates if hashed(candidate) == target), None)


def sha256(number: str) -> bytes:
    """Return a hash without a key."""
    return hashlib.sha256(number.encode()).digest()


def test_a_fingerprint_cannot_be_found_by_trying() -> None:
    """Whoever has BIN, last four and fingerprint, and no key, does not find the number by trying them all."""
    number = "4111110123451111"
    attacker = Key(2, Purpose.FINGERPRINT, bytes(KEY_BYTES))
    target = fingerprint(Card(Pan(number), Expiry(2027, 8)), 3, PRINT_KEY)

    def guessed(candidate: str) -> bytes:
        return fingerprint(Card(Pan(candidate), Expiry(2027, 8)), 3, attacker)

    assert brute_forced(target, sha256) is None
    assert brute_forced(target, guessed) is None


def test_a_hash_without_a_key_is_found_by_trying() -> None:
    """Control: the same search finds the number behind an unkeyed hash (PCI DSS 3.5.1.1 is why there is a key)."""
    number = "4111110123451111"

    assert number == brute_forced(sha256(number), sha256)


# --- Digests ---------------------------------------------------------------------------------------------------------

DIGEST_KEY = Key(3, Purpose.DIGEST, b"d" * KEY_BYTES)
NOT_DIGESTED: list[Payment] = [
    replace(CHARGE, transaction_id="u"),
    replace(CHARGE, instrument=replace(CARD, cvv=Cvv("123"))),
    replace(CHARGE, instrument=replace(CARD, cvv=None)),
    replace(CHARGE, instrument=replace(CARD, postal_code=None)),
    replace(CHARGE, details=Details(description="pizza")),
    replace(CHARGE, details=Details(reference="r")),
    replace(CHARGE, details=Details(metadata={"a": "b"})),
    replace(CHARGE, details=Details(controls={"outcome": "approve"})),
    replace(CHARGE, details=Details(ach=AchDetails("Ada", "savings"))),
]
DIGESTED: list[Payment] = [
    Tokenize(transaction_id="t", instrument=CARD),
    replace(CHARGE, save_card=True),
    replace(CHARGE, details=Details(operation="authorize")),
    replace(CHARGE, instrument=replace(CARD, pan=Pan("378282246310005"))),
    replace(CHARGE, instrument=replace(CARD, expiry=Expiry(2027, 9))),
    replace(CHARGE, instrument=replace(CARD, expiry=Expiry(2028, 8))),
    replace(CHARGE, money=Money(1001, USD)),
    replace(CHARGE, money=Money(1000, CURRENCIES["EUR"])),
    replace(CHARGE, money=Money(1000, CURRENCIES["JPY"])),
    replace(CHARGE, instrument=ACCOUNT),
    replace(CHARGE, instrument=replace(ACCOUNT, routing_number="011000015")),
    replace(CHARGE, instrument=replace(ACCOUNT, account_number=AccountNumber("55443323"))),
    Tokenize(transaction_id="t", instrument=ACCOUNT),
]


@pytest.mark.parametrize("retry", NOT_DIGESTED, ids=str)
def test_a_digest_ignores_what_may_differ_on_a_retry(retry: Payment) -> None:
    """CVV, postal code, description, reference, metadata and controls make no other payment."""
    assert digest(CHARGE, DIGEST_KEY) == digest(retry, DIGEST_KEY)


def test_a_digest_sees_everything_else() -> None:
    """Method, operation, save_card, numbers, expiry, amount and currency each make another payment."""
    digests = {digest(payment, DIGEST_KEY) for payment in [CHARGE, *DIGESTED]}

    assert 1 + len(DIGESTED) == len(digests)
    assert {32} == {len(one) for one in digests}


def test_a_digest_needs_its_key() -> None:
    """Another key makes another digest of the same payment."""
    assert digest(CHARGE, DIGEST_KEY) != digest(CHARGE, replace(DIGEST_KEY, clear=b"e" * KEY_BYTES))


DIGITS = st.text("0123456789", min_size=1, max_size=6)
INSTRUMENTS: st.SearchStrategy[Instrument] = st.one_of(
    st.builds(Card, DIGITS.map(Pan), st.builds(Expiry, st.integers(2026, 2028), st.integers(1, 12))),
    st.builds(BankAccount, DIGITS, DIGITS.map(AccountNumber)),
)
DETAILS = st.builds(Details, operation=st.sampled_from(["sale", "refund", "", "charge"]))
PAYMENTS: st.SearchStrategy[Payment] = st.one_of(
    st.builds(
        Charge,
        transaction_id=st.just("t"),
        instrument=INSTRUMENTS,
        money=st.builds(Money, st.integers(0, 200), st.sampled_from([USD, CURRENCIES["JPY"]])),
        save_card=st.booleans(),
        details=DETAILS,
    ),
    st.builds(Tokenize, transaction_id=st.just("t"), instrument=INSTRUMENTS, details=DETAILS),
)


@given(PAYMENTS, PAYMENTS)
def test_two_payments_have_one_digest_only_if_they_are_one(one: Payment, other: Payment) -> None:
    """No two different payments have the same digest, however their fields run into each other."""
    assert (one == other) is (digest(one, DIGEST_KEY) == digest(other, DIGEST_KEY))


# --- What is kept for years ------------------------------------------------------------------------------------------


def test_what_is_stored_today_is_understood_tomorrow() -> None:
    """Sealed records, wrapped keys, fingerprints and digests are pinned: a change here would orphan what is stored."""
    card, account = replace(CARD, cvv=None), ACCOUNT

    assert {
        "sealed card": (
            "01000000076465666768696a6b6c6d6e6f2b7aac0266dd67af0f536ed9eb545bcc73f3373bba73c14295e69c70e49a91"
            "79a5d8c1cf002da31d4ab5d9d68f0b1358381c"
        ),
        "sealed account": (
            "01000000076465666768696a6b6c6d6e6f2a7ab00d66dc63aa0a516cdae87a5acf73f2363abb5ec26d9ee59d79ca7da0"
            "70445b1c78892f29f850ec2782e4"
        ),
        "wrapped key": (
            "016465666768696a6b6c6d6e6f8810c93873afa2df13d8b7a79baa9911bac44773b210e74f69fb5dbed957ebeda58466"
            "ff3e7b3a5dabfbf4347c8a53be"
        ),
        "fingerprint of a card": "c69b0ad3f256c229d16a0e2a524f6ddb0a58969bd1dcbab03002a946b8c43410",
        "fingerprint of an account": "354e36d7fbf89dd02c6979ce07a7fa54d75615e8fab99be3705a8dc832a10afc",
        "digest of a charge": "d80989d0653e762be0e8bb127a7d2e132894a066cbbc073092b8eeba840c20d6",
        "digest of a tokenize": "cf7994a80cb955a7e1c83e92e87f2dcb2892fb7b46f3b8f3123a751bb423adad",
    } == {
        "sealed card": seal_instrument(card, PLACE, KEY, lambda _count: NONCE).hex(),
        "sealed account": seal_instrument(account, PLACE, KEY, lambda _count: NONCE).hex(),
        "wrapped key": wrap(KEY.clear, KEK, AAD, NONCE).hex(),
        "fingerprint of a card": fingerprint(card, 3, PRINT_KEY).hex(),
        "fingerprint of an account": fingerprint(account, 3, PRINT_KEY).hex(),
        "digest of a charge": digest(CHARGE, DIGEST_KEY).hex(),
        "digest of a tokenize": digest(Tokenize(transaction_id="t", instrument=account), DIGEST_KEY).hex(),
    }


def test_purposes_keep_their_names() -> None:
    """The purposes are part of what wrapped keys are bound to, and are stored with them."""
    assert ["seal", "fingerprint", "digest", "credential", "access-token"] == list(Purpose)


# --- Credentials -----------------------------------------------------------------------------------------------------


def test_a_credentials_hash_needs_its_key() -> None:
    """The same password has the same hash under one key and another under another, and is not in it."""
    key = Key(4, Purpose.CREDENTIAL, b"c" * KEY_BYTES)
    hashed = credential_hash("secret", key)

    assert hashed == credential_hash("secret", key)
    assert hashed not in {
        credential_hash("secret", replace(key, clear=b"x" * KEY_BYTES)),
        credential_hash("secre", key),
    }
    assert hashed != hashlib.sha256(b"secret").digest()
