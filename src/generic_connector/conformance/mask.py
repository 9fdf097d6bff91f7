"""A mask: what of a text may be shown.

Whatever the kit keeps of an exchange, says in a finding or writes into a report goes through a mask first. It knows
every card number, security code, account number, password and token that was ever sent, and takes them out of any text,
whoever wrote it: an endpoint that repeats a card number in an error is reported, and the report does not repeat it.

- Card numbers keep their last four digits, account numbers their last two, security codes and credentials nothing.
- They are found as they are, with separators, backwards, in base64 and hex, in UTF-16, and behind the escapes of JSON,
  URLs and HTML; of card and account numbers also ten digits in a row, of credentials sixteen characters.
- Any other run of digits that could be a card number is masked too.

What a text was encrypted or compressed to is not found. Nobody can read it either.
"""

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import unquote

from generic_connector.digits import is_digits
from generic_connector.scrub import scrub
from generic_connector.secret import Secret

_NUMBER_DIGITS_MIN: Final = 8
SHOWN_MAX: Final = 2048
"""As much of a body is kept, in characters."""
_READ_MAX: Final = 2 * SHOWN_MAX
_STRADDLE: Final = 160
"""A secret may lie across the place where a body was cut: this much before it is not shown."""
_URL_SAFE: Final = str.maketrans("-_", "+/")
_WHOLE_MAX: Final = 40
"""A longer number is a check's own nonsense."""
_ROUNDS: Final = 3
"""As many escapes may be wrapped around each other."""
_HIDDEN: Final = "***"

_CARD_FIELDS: Final = ("cardnumber",)
_CODE_FIELDS: Final = ("cvv",)
_ACCOUNT_FIELDS: Final = ("bankaccountnumber",)
_PART: Final = 10
"""So many digits of a number in a row are masked. A prefix and the last four, which may be shown, never are so many."""
_CREDENTIAL_PART: Final = 16
_JUDGED_MAX: Final = 4096
_RUN: Final = re.compile(rf"[0-9]{{{_PART},}}")
_ENDLESS: Final = re.compile(r"[0-9]{64,}")
"""Almost surely holds a number that could be a card's, and means nothing to anybody."""
_LONG_ENOUGH: Final = re.compile(rf"[0-9]{{{_NUMBER_DIGITS_MIN},}}")
_CODED: Final = re.compile(r"[A-Za-z0-9+/_-]{10,}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_UNICODE_ESCAPE: Final = re.compile(r"\\u([0-9a-fA-F]{4})")
_AUTHORIZATION: Final = re.compile(r"(?im)^(authorization|proxy-authorization|cookie)[ \t]*:.*$")
_CODE_IN_JSON: Final = re.compile(r'("(?:cvv|cvc|cvv2|security_?code)"\s*:\s*)("[^"]*"?|-?[0-9.eE+]+)', re.IGNORECASE)
_ACCOUNT_IN_JSON: Final = re.compile(r'("(?:bank)?_?account_?number"\s*:\s*"?)([0-9]+)', re.IGNORECASE)
_CREDENTIAL_MIN: Final = 4
"""A shorter password is hidden only where it stands by itself: everywhere, it would hide half of the text."""


class Mask:
    """What is to be hidden. It learns more with every request."""

    def __init__(self) -> None:
        self._kept: dict[str, str] = {}
        self._codes: set[str] = set()
        self._words: set[str] = set()
        self._parts: set[str] = set()
        self._credentials: set[str] = set()
        self._ordered: list[str] = []
        self._numbers: list[str] = []
        self._judged: dict[str, bool] = {}
        """What words of ten letters and more hide, by what is known now: names of fields come again and again."""

    def __repr__(self) -> str:
        return f"<Mask of {len(self._kept) + len(self._codes) + len(self._words)} secrets>"

    def learn(
        self,
        *,
        cards: Iterable[str] = (),
        accounts: Iterable[str] = (),
        codes: Iterable[str] = (),
        credentials: Iterable[Secret | str] = (),
    ) -> None:
        """Hide these from now on: of a credential that is a `Secret` its parts too."""
        for card in cards:
            self._number(card, 4)
        for account in accounts:
            self._number(account, 2)
        self._codes.update(code for code in codes if code)
        for credential in credentials:
            clear = credential.reveal() if isinstance(credential, Secret) else credential
            raw = clear.encode("utf-8", "surrogatepass")
            coded = base64.b64encode(raw).decode()
            if len(clear) >= _CREDENTIAL_MIN:
                self._credentials.update((clear, clear[::-1]))
            for written in (clear, json.dumps(clear)[1:-1], coded, clear[::-1], raw.hex()):
                if len(written) >= _CREDENTIAL_MIN:
                    self._kept[written] = _HIDDEN
                elif written:
                    self._words.add(written)
            is_username_in_it = isinstance(credential, str)  # and that may be read
            for start in range(0 if is_username_in_it else len(clear) - _CREDENTIAL_PART + 1):
                part = clear[start : start + _CREDENTIAL_PART]
                self._kept.setdefault(part, _HIDDEN)
                self._credentials.add(part)

    def learn_basic(self, username: str, password: Secret) -> None:
        """Hide a password, and the header that it is sent in."""
        pair = f"{username}:{password.reveal()}"
        self.learn(credentials=[password, pair])

    def learn_body(self, body: object) -> None:
        """Hide what the fields of a request hold that are for secrets, however deep they stand."""
        for name, value in _leaves(body):
            text = value if isinstance(value, str) else str(value)
            if name in _CARD_FIELDS:
                self.learn(cards=[text])
            elif name in _ACCOUNT_FIELDS:
                self.learn(accounts=[text])
            elif name in _CODE_FIELDS:
                self.learn(codes=[text])

    def learn_text(self, text: str) -> None:
        """Hide the same in a body that is a text, if it is JSON; duplicate keys are looked at, every one."""
        try:
            self.learn_body(json.loads(text, object_pairs_hook=_Pairs))
        except (ValueError, RecursionError):
            return

    def shown(self, text: str) -> str:
        """Return `text`, masked and cut."""
        is_cut = len(text) > _READ_MAX
        masked = self.masked(text[:_READ_MAX])
        if is_cut:
            masked = masked[: max(0, len(masked) - _STRADDLE)]
        if not is_cut and len(masked) <= SHOWN_MAX:
            return masked
        return f"{masked[:SHOWN_MAX]}... ({len(text):,} characters in all)"

    def masked(self, text: str) -> str:
        """Return `text`, masked, all of it."""
        text = _CONTROL.sub("", text)
        plain = _unescaped(text)
        if plain != text and self._plainly(plain) != plain:
            text = plain  # what it hides behind escapes can only be shown, and masked, without them
        return self._plainly(text)

    def _plainly(self, text: str) -> str:
        text = _ENDLESS.sub(_HIDDEN, text)
        text = _AUTHORIZATION.sub(rf"\1: {_HIDDEN}", text)
        text = _CODE_IN_JSON.sub(rf'\1"{_HIDDEN}"', text)
        text = _ACCOUNT_IN_JSON.sub(lambda found: found.group(1) + _but_last(found.group(2), 2), text)
        if len(self._ordered) != len(self._kept):
            # The longest first: a shorter secret may be a part of a longer one.
            self._ordered = sorted(self._kept, key=len, reverse=True)
            self._numbers = [secret for secret in self._ordered if is_digits(secret)]
            self._judged.clear()
        for secret in self._ordered:
            if secret in text:
                text = text.replace(secret, self._kept[secret])
        for code in self._codes:
            if code in text:
                text = re.sub(rf"(?<![0-9]){re.escape(code)}(?![0-9])", _HIDDEN, text)
        for word in self._words:
            if word in text:
                text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", _HIDDEN, text)
        text = _CODED.sub(lambda found: _HIDDEN if self._judge(found.group()) else found.group(), text)
        text = _RUN.sub(lambda found: _HIDDEN if self._is_part(found.group()) else found.group(), text)
        return scrub(text, self._numbers)

    def _judge(self, coded: str) -> bool:
        judged = self._judged.get(coded)
        if judged is None:
            if len(self._judged) >= _JUDGED_MAX:
                self._judged.clear()
            judged = self._judged[coded] = self._hides(coded)
        return judged

    def _hides(self, coded: str) -> bool:
        """Whether a secret is in what this is base64 or hex of, wherever that begins."""
        raws = [_hex(coded[start : len(coded) - (len(coded) - start) % 2]) for start in range(2)]
        # With other characters before it: it may begin anywhere in somebody else's base64.
        raws += [_base64("A" * before + coded) for before in range(4)]
        plain = b"\n".join(raws).decode("latin-1").replace("\x00", "")
        numbers = _LONG_ENOUGH.findall(plain)
        return any(clear in plain for clear in self._credentials) or any(
            self._is_part(run) or any(number in run for number in self._numbers) for run in numbers
        )

    def _is_part(self, run: str) -> bool:
        return any(run[start : start + _PART] in self._parts for start in range(len(run) - _PART + 1))

    def _number(self, number: str, last: int) -> None:
        if len(number) < _NUMBER_DIGITS_MIN:
            if number:
                self._codes.add(number)
            return
        self._kept[number] = _but_last(number, last)
        for written in (number[::-1], number.encode().hex()):
            self._kept[written] = _HIDDEN
        if len(number) <= _WHOLE_MAX and is_digits(number):
            for digits in (number, number[::-1]):
                self._parts.update(digits[start : start + _PART] for start in range(len(digits) - _PART + 1))


class _Pairs(list[tuple[str, object]]):
    """An object's members as they were written, duplicates too."""


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Yield the names and values of all members, without recursion: a body may be nested deeper than the stack."""
    waiting: list[tuple[str, object]] = [(name, value)]
    while waiting:
        key, here = waiting.pop()
        if isinstance(here, _Pairs):
            waiting.extend(here)
        elif isinstance(here, Mapping):
            waiting.extend((str(inner), member) for inner, member in here.items())
        elif isinstance(here, Sequence) and not isinstance(here, str | bytes):
            waiting.extend((key, member) for member in here)
        elif here is not None and not isinstance(here, bool):
            yield key, here


def _but_last(number: str, last: int) -> str:
    return "*" * (len(number) - last) + number[-last:] if len(number) > last else _HIDDEN


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def _base64(text: str) -> bytes:
    whole = text[: len(text) - (len(text) % 4 == 1)].translate(_URL_SAFE)
    try:
        return base64.b64decode(whole + "=" * (-len(whole) % 4), validate=True)
    except ValueError:
        return b""


def _unescaped(text: str) -> str:
    """Return `text` without JSON's, URLs' and HTML's escapes, if there are any."""
    for _ in range(_ROUNDS):
        plain = text
        if "\\u" in plain:
            plain = _UNICODE_ESCAPE.sub(lambda found: chr(int(found.group(1), 16)), plain)
        if "%" in plain:
            plain = unquote(plain, errors="replace")
        if "&#" in plain:
            plain = html.unescape(plain)
        if plain == text:
            break
        text = plain
    return text.encode(errors="replace").decode() if any("\ud800" <= char <= "\udfff" for char in text) else text
