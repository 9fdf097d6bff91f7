"""Secrecy: card numbers, security codes, account numbers and passwords go in, and never come out.

Looked for in bodies and in headers, as they are, with separators, backwards, in base64, in hex, and as hashes without a
key, which anybody undoes by trying: there are not that many card numbers. A token says nothing of its card.
"""

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Final

from generic_connector.conformance.attempt import Reply
from generic_connector.conformance.check import Level, Need, NotAskable, Register, Unmet
from generic_connector.conformance.footing import (
    Footing,
    Kind,
    found,
    method_of,
    ordinary,
    taken,
)
from generic_connector.conformance.probe import Probe
from generic_connector.digits import is_digits

register = Register("secrecy")

_MASKING: Final = "PCI DSS 4.0.1, 3.4.1: a card number is masked wherever it is shown"
_CODES: Final = "PCI DSS 4.0.1, 3.3.1.2: the security code is not kept after authorization, and so in no reply"
_ACCOUNTS: Final = "Nacha Operating Rules, 1.6: account numbers are protected. Twilio shows two digits of them"
_TOKENS: Final = "PCI SSC: Tokenization Product Security Guidelines"

_BETWEEN_DIGITS: Final = re.compile(r"(?<=\d)[ .\-_/](?=\d)")
_SHOWN_RUN: Final = 9
"""So many digits of a card number in a row are more than its first eight or its last four."""
_LOOK_ALIKE: Final = range(12, 20)
_TELLING_PLACES: Final = 5
_ROUNDS: Final = 3


# --- Looking ---------------------------------------------------------------------------------------------------------


def _forms(number: str) -> Sequence[str]:
    """Return a number as it may be written, and as hashes that need no key."""
    raw = number.encode()
    hashes = [hashlib.new(name, raw, usedforsecurity=False).digest() for name in ("md5", "sha1", "sha256", "sha512")]
    return [
        number,
        number[::-1],
        raw.hex(),
        *_inside_base64(raw),
        *(digest.hex() for digest in hashes),
        *(base64.b64encode(digest).decode().rstrip("=") for digest in hashes),
        *(base64.urlsafe_b64encode(digest).decode().rstrip("=") for digest in hashes),
    ]


def _inside_base64(raw: bytes) -> Sequence[str]:
    """Return what can be seen of `raw` in the base64 of a longer text, at each of its three places."""
    seen = []
    for before, skipped in ((0, 0), (1, 2), (2, 3)):
        whole = (before + len(raw)) // 3 * 4
        seen.append(base64.b64encode(b"\0" * before + raw).decode()[skipped:whole])
    return seen


def _texts(reply: Reply) -> Iterable[str]:
    """Return a reply's headers and body as texts, the body also without JSON's escapes and without separators."""
    body = reply.body.decode("utf-8", "replace")
    plain = body
    with contextlib.suppress(RecursionError):
        plain = body if reply.json is None else json.dumps(reply.json, ensure_ascii=False)
    yield from (body, plain, _BETWEEN_DIGITS.sub("", plain))
    for value in reply.headers.values():
        yield from (value, _BETWEEN_DIGITS.sub("", value))


def _holds(reply: Reply, number: str) -> bool:
    texts = [text.lower() for text in _texts(reply)]
    return any(form.lower() in text for form in _forms(number) for text in texts)


def _never(replies: Iterable[Reply], number: str, what: str, fix: str) -> None:
    """Raise Unmet where a number is in one of the replies, in whatever form."""
    for reply in replies:
        if not _holds(reply, number):
            continue
        is_in_body = _holds(Reply(status=reply.status, body=reply.body), number)
        raise Unmet(
            f"The {what} is in the {'body' if is_in_body else 'headers'} of the reply, HTTP {reply.status}.",
            expected=f"No {what} in any reply, in no form",
            fix=fix,
        )


_BUILD_FIX: Final = (
    "Build the reply from the few fields that the contract names. Do not start from the request or from the "
    "processor's answer. The last four digits are fine."
)
_ERROR_FIX: Final = (
    "Write the texts of errors beforehand, and put no value of a field into them. Replace what libraries and the "
    "processor say in their errors."
)


# --- Card numbers ----------------------------------------------------------------------------------------------------


def _card_in_success(number: int, kind: Kind, need: Need) -> None:
    method = method_of(kind)

    @register.check(
        number,
        Level.MUST,
        claim=f"Keeps the card number out of its reply to a {method}.",
        source=_MASKING,
        why="The reply goes to the application, its logs and its database: all of them are then in scope of PCI DSS.",
        sends=f"An ordinary {method}.",
        expects="No card number in body or headers: not as it is, backwards, in base64 or hex, or as a plain hash.",
        needs=[need],
    )
    async def _ask(probe: Probe) -> None:
        reply = await _success(probe, kind)
        _never([reply], probe.profile.numbers.card, "card number", _BUILD_FIX)


async def _success(probe: Probe, kind: Kind, **changes: object) -> Reply:
    """Return the reply to a payment that succeeds. Raises NotAskable where it does not."""
    try:
        return await taken(probe, kind, changes, fix="")
    except Unmet:
        raise NotAskable(f"An ordinary {method_of(kind)} does not succeed, so there is no reply to look at.") from None


_card_in_success(1, "charge", Need.CHARGE)
_card_in_success(2, "tokenize", Need.TOKENIZE)


@register.check(
    3,
    Level.MUST,
    claim="Keeps a card number that it refuses out of its reply.",
    source=_MASKING,
    why="A refused number is mostly a good one with a wrong digit or date, and errors are logged everywhere.",
    sends="Payments with a number that fails its check, a card that has expired, and a month that there is not.",
    expects="No card number in body or headers.",
)
async def _card_in_refusal(probe: Probe) -> None:
    kind, numbers = ordinary(probe), probe.profile.numbers
    footing = await found(probe, kind)
    expired = {"expiry_month": numbers.expired_month, "expiry_year": numbers.expired_year}
    bad = await footing.post(probe, kind, {"cardnumber": numbers.bad_card})
    others = [await footing.post(probe, kind, changes) for changes in (expired, {"expiry_month": "13"})]
    _never([bad], numbers.bad_card, "card number", _ERROR_FIX)
    _never(others, numbers.card, "card number", _ERROR_FIX)


@register.check(
    4,
    Level.MUST,
    claim="Keeps the card number of a declined charge out of its reply.",
    source=_MASKING,
    why="Declines are what support looks at, in tickets and mails.",
    sends="A charge that the profile says is declined.",
    expects="No card number in body or headers.",
    needs=[Need.CHARGE, Need.DECLINE],
)
async def _card_in_decline(probe: Probe) -> None:
    footing = await found(probe, "charge")
    changes = probe.profile.decline.fields
    reply = await footing.post(probe, "charge", changes)
    number = str(changes.get("cardnumber", probe.profile.numbers.card))
    _never([reply], number, "card number", _ERROR_FIX)


@register.check(
    5,
    Level.MUST,
    claim="Keeps a card number out of its reply to a body that it cannot read.",
    source=_MASKING,
    why="Parsers quote what they stumble over, and that is card data.",
    sends="A body that ends in the middle, one with a comma too many, and a card number that is a list.",
    expects="No card number in body or headers.",
)
async def _card_in_malformed(probe: Probe) -> None:
    card = probe.profile.numbers.card
    kind = ordinary(probe)
    footing = await found(probe, kind)
    bodies = (
        f'{{"method": "charge", "cardnumber": "{card}", "cvv": ',
        f'{{"method": "charge", "cardnumber": "{card}",,}}',
        f'"{card}"',
    )
    replies = [await footing.send(probe, body) for body in bodies]
    replies.append(await footing.post(probe, kind, {"cardnumber": [card]}))
    _never(replies, card, "card number", _ERROR_FIX)


@register.check(
    6,
    Level.SHOULD,
    claim="Keeps a card number out of its reply that stands where it does not belong.",
    source=f"{_MASKING}. The documents do not speak of numbers in other fields",
    why="People type card numbers into descriptions, and an application that echoes them hands them on.",
    sends="A payment whose description and two of whose parameters hold the number of another card.",
    expects="No card number in body or headers, whether the payment succeeds or not.",
)
async def _card_elsewhere(probe: Probe) -> None:
    kind, card = ordinary(probe), probe.profile.numbers.other_card
    footing = await found(probe, kind)
    note = f"card {card}"
    changes = {"description": note, "parameters": {"reference": note, "note": note}}
    _never([await footing.post(probe, kind, changes)], card, "card number", _BUILD_FIX)


# --- Security codes, accounts, passwords -----------------------------------------------------------------------------


def _codes(probe: Probe) -> Sequence[str]:
    """Return three security codes. One may stand in an id by chance; three do not."""
    return [str(code) for code in probe.randomness.sample(range(201, 999), _ROUNDS)]


_NUMBER: Final = re.compile(r"\d+")


def _has_code(reply: Reply, code: str) -> bool:
    """Whether a code stands somewhere as a number of its own."""
    return any(code in _NUMBER.findall(text) for text in _texts(reply))


async def _code_echoed(probe: Probe, kind: Kind, footing: Footing, changes: dict[str, object]) -> bool:
    """Whether the security code is in the reply, each of three times."""
    for code in _codes(probe):
        if not _has_code(await footing.post(probe, kind, {**changes, "cvv": code}), code):
            return False
    return True


def _code(number: int, what: str, changes: dict[str, object], sends: str) -> None:
    @register.check(
        number,
        Level.MUST,
        claim=f"Keeps the security code out of its reply to {what}.",
        source=_CODES,
        why="A card number can be stolen in many places; what makes it usable is the code, which nobody may keep.",
        sends=sends,
        expects="No security code in body or headers.",
    )
    async def _ask(probe: Probe) -> None:
        kind = ordinary(probe)
        if probe.profile.numbers.cvv_of(probe.profile.numbers.card) != probe.profile.numbers.cvv:
            raise NotAskable("The profile's card has a security code of four digits: this is asked with three.")
        footing = await found(probe, kind)
        if await _code_echoed(probe, kind, footing, changes):
            raise Unmet(
                "The security code is in the reply, each of three times.",
                expected="No security code in any reply",
                fix=f"{_BUILD_FIX} A match or mismatch is told in a word, such as M or N.",
            )


_code(7, "a payment", {}, "Three payments, each with another security code.")
_code(8, "a payment that it refuses", {"expiry_month": "13"}, "Three payments in a month that there is not.")


@register.check(
    9,
    Level.MUST,
    claim="Keeps account numbers out of its replies.",
    source=_ACCOUNTS,
    why="An account number and a routing number are all that it takes to draw money.",
    sends="A payment of a bank account, and one with a routing number that fails its check.",
    expects="No account number in body or headers.",
    needs=[Need.ACH],
)
async def _account(probe: Probe) -> None:
    kind: Kind = "charge_account" if probe.has(Need.CHARGE) else "tokenize_account"
    footing = await found(probe, kind)
    replies = [
        await footing.post(probe, kind, {}),
        await footing.post(probe, kind, {"routingnumber": "021000022"}),
    ]
    _never(replies, probe.profile.numbers.accounts[0], "account number", f"{_BUILD_FIX} {_ERROR_FIX}")


@register.check(
    10,
    Level.MUST,
    claim="Keeps passwords out of its replies.",
    source="PCI DSS 4.0.1, 8.3.2: passwords are unreadable in transmission and storage; OWASP ASVS 4.0.3, 7.1.1",
    why="A wrong password is mostly a right one with a mistake, or somebody else's.",
    sends="A payment with a wrong password, and one with the right credentials.",
    expects="Neither password in body or headers, as it is or in base64.",
    needs=[Need.BASIC],
)
async def _password(probe: Probe) -> None:
    kind = ordinary(probe)
    footing = await found(probe, kind)
    wrong = "wr0ng-" + "".join(probe.randomness.choice("bcdfghjklmnpqrstvwxz") for _ in range(20))
    username = probe.username or "nobody"
    body = probe.charge() if kind == "charge" else probe.tokenize()
    replies = [await probe.post(body, credentials=(username, wrong), content_type=footing.content_type)]
    right = probe.password.reveal() if probe.password is not None else wrong
    replies.append(await footing.post(probe, kind, {}))
    for reply, password in zip(replies, (wrong, right), strict=True):
        pair = base64.b64encode(f"{username}:{password}".encode()).decode().rstrip("=")
        if any(form in text for form in (password, pair) for text in _texts(reply)):
            raise Unmet(
                f"The password that was sent is in the reply, HTTP {reply.status}.",
                expected="No password in any reply",
                fix="Say that the username or the password is wrong, and repeat neither. Never answer with the "
                "headers of a request.",
            )


# --- Tokens ----------------------------------------------------------------------------------------------------------


async def _token(probe: Probe, number: str) -> str:
    """Return a new token of a card."""
    reply = await _success(probe, "tokenize", cardnumber=number, cvv=probe.profile.numbers.cvv_of(number))
    return reply.id("tokenize") or ""


@register.check(
    11,
    Level.MUST,
    claim="Makes tokens that cannot be taken for card numbers.",
    source=f"{_TOKENS}: tokens can be told from card numbers",
    why="Nobody can tell any more where card numbers are: searches for leaks find tokens, and people ignore them.",
    sends="A tokenize.",
    expects="A token that is not 12 to 19 digits, with or without separators.",
    needs=[Need.TOKENIZE],
)
async def _look_alike(probe: Probe) -> None:
    plain = re.sub(r"[ .\-_/]", "", await _token(probe, probe.profile.numbers.card))
    if is_digits(plain) and len(plain) in _LOOK_ALIKE:
        raise Unmet(
            f"The token is {len(plain)} digits, as a card number is.",
            expected="A token with letters in it",
            fix="Begin tokens with a word, such as tok_, and use letters in them.",
        )


@register.check(
    12,
    Level.MUST,
    claim="Makes tokens without a part of the card number in them.",
    source=f"{_TOKENS}; PCI DSS 4.0.1, 3.4.1: at most the first digits, the BIN, and the last four are shown",
    why="What is left of the number can be guessed: two or three digits and a check digit.",
    sends="A tokenize.",
    expects="No nine digits in a row of the card number in the token, as they are, backwards, or in base64 or hex.",
    needs=[Need.TOKENIZE],
)
async def _part(probe: Probe) -> None:
    card = probe.profile.numbers.card
    token = await _token(probe, card)
    parts = {card[at : at + _SHOWN_RUN] for at in range(len(card) - _SHOWN_RUN + 1)}
    written = {
        form for part in parts for form in (part, part[::-1], part.encode().hex(), *_inside_base64(part.encode()))
    }
    if any(form.lower() in text.lower() for form in written for text in (token, _BETWEEN_DIGITS.sub("", token))):
        raise Unmet(
            "A part of the card number is in the token.",
            expected="A token of random characters, and at most the last four digits beside it",
            fix="Make tokens at random, and keep what they stand for in a table.",
        )


@register.check(
    13,
    Level.MUST,
    claim="Makes tokens that are no plain hashes of card numbers.",
    source=f"{_TOKENS}; PCI DSS 4.0.1, 3.5.1.1: hashes of card numbers are keyed",
    why="There are so few card numbers that every plain hash is undone within hours.",
    sends="A tokenize.",
    expects="A token that holds no MD5, SHA-1, SHA-256 or SHA-512 of the card number, nor the beginning of one.",
    needs=[Need.TOKENIZE],
)
async def _hash(probe: Probe) -> None:
    card = probe.profile.numbers.card
    token = (await _token(probe, card)).lower()
    for name in ("md5", "sha1", "sha256", "sha512"):
        digest = hashlib.new(name, card.encode(), usedforsecurity=False).digest()
        written = (digest.hex(), base64.b64encode(digest).decode(), base64.urlsafe_b64encode(digest).decode())
        if any(form[:16].lower() in token for form in written):
            raise Unmet(
                f"The token is the {name} of the card number, or holds its beginning.",
                expected="A token of random characters",
                fix="Make tokens at random, and keep what they stand for in a table. Where the same card has to get "
                "the same token, look it up by a hash with a secret key.",
            )


@register.check(
    14,
    Level.SHOULD,
    claim="Makes tokens that have no more in common for one card than for two.",
    source=f"{_TOKENS}: tokens do not help to find card numbers. One token for a card, always the same, is allowed",
    why="What is common to them comes from the card number, and can be used to find it.",
    sends="Six tokenize requests, for two cards in turn.",
    expects="The tokens of one card are either the same, or as different as those of two cards.",
    needs=[Need.TOKENIZE],
    seconds=6.0,
)
async def _related(probe: Probe) -> None:
    numbers = probe.profile.numbers
    first, second = [], []
    for _ in range(_ROUNDS):
        first.append(_without_hints(await _token(probe, numbers.card), numbers.card))
        second.append(_without_hints(await _token(probe, numbers.other_card), numbers.other_card))
    if len(set(first)) == 1 and len(set(second)) == 1:
        return  # a token is looked up by its card: allowed, and nothing can be seen from outside
    telling = sum(
        len(set(of_first)) == 1 and len(set(of_second)) == 1 and of_first[0] != of_second[0]
        for of_first, of_second in zip(zip(*first, strict=False), zip(*second, strict=False), strict=False)
    )
    if telling >= _TELLING_PLACES:
        raise Unmet(
            f"In {telling} places all tokens of one card have the same character, and those of the other another one.",
            expected="Places that are either random or the same for all cards",
            fix="Make the whole token at random. Encrypting or hashing a part of the card number into it is no token.",
        )


def _without_hints(token: str, card: str) -> str:
    """Return a token without what it may tell: the last four digits, and the name of the brand."""
    brands = "mastercard|visa|amex|discover|diners|jcb|unionpay|maestro|mc"
    return re.sub(rf"{card[-4:]}|(?i:{brands})", "", token)
