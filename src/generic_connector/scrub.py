"""Scrubbing: card numbers taken out of text that people wrote.

Descriptions, references, metadata and error texts are free text, and sooner or later somebody writes a card number into
one. Whatever is stored, logged or echoed passes through here first.

- `scrub` masks every run of 12 to 19 digits that passes Luhn: spaces, dots, hyphens and the like between its digits do
  not save it, nor do digits of other scripts, nor another number beside it, such as an expiry. It also masks any secret
  of the payment at hand that it is told of. Other numbers, such as most order numbers, stay readable.
- `blot` is for text nobody vouches for, such as another library's exception: every digit becomes `#`.
"""

import re
import string
from collections.abc import Container, Sequence
from itertools import accumulate

RUN_DIGITS_MIN = 12
RUN_DIGITS_MAX = 19
RUN_DIGITS_JUDGED_MAX = 256
"""A longer run means nothing to anybody, almost surely holds a number that passes, and would take time to judge."""
_LAST_SHOWN = 4
_LONG_SECRET = 8

# Here `\d` and `\s` are meant: full-width and other scripts' digits are digits to the person who reads them, and
# no-break spaces are spaces. The escapes are hyphens, dashes, minus and full-width marks.
_BETWEEN = r"[\s.,\-_/\u2010-\u2015\u2212\uff0d\uff0e\uff0f]{0,2}"
_RUN = re.compile(rf"\d(?:{_BETWEEN}\d){{{RUN_DIGITS_MIN - 1},}}")
_SHORTER_RUN = re.compile(rf"\d(?:{_BETWEEN}\d){{{_LONG_SECRET - 1},}}")
"""What may be a secret that is told of, and is shorter than a card number."""
_MANY_DIGITS = re.compile(rb"[0-9]{%d}" % RUN_DIGITS_MIN)
_BETWEEN_IN_ASCII = string.whitespace.encode() + b"\x1c\x1d\x1e\x1f.,-_/"
_DIGITS = re.compile(r"\d+")
_DIGIT = re.compile(r"\d")
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
"""What Luhn makes of each second digit: its double, the digits of that added up."""


def scrub(text: str, secrets: Sequence[str] = ()) -> str:
    """Return `text` with card numbers masked to their last four digits.

    Every one of `secrets` is masked whole. No pattern is made of them: `re` would remember it.
    """
    if not secrets and len(text) < RUN_DIGITS_MIN:
        return text
    if not secrets and text.isascii() and not _MANY_DIGITS.search(text.encode().translate(None, _BETWEEN_IN_ASCII)):
        return text  # most texts: not even twelve digits in a row, whatever stands between them
    for secret in secrets:
        if secret in text:
            text = _without(secret, text)
    whole = [secret for secret in secrets if len(secret) >= _LONG_SECRET]
    return (_SHORTER_RUN if whole else _RUN).sub(lambda found: _masked(found.group(), whole), text)


def blot(text: str) -> str:
    """Return `text` with every digit replaced by `#`."""
    return _DIGIT.sub("#", text)


def _without(secret: str, text: str) -> str:
    """A long secret is masked wherever it stands, a short one only as a number of its own."""
    mask = "*" * len(secret)
    if len(secret) >= _LONG_SECRET:
        return text.replace(secret, mask)
    return _DIGITS.sub(lambda found: mask if found.group() == secret else found.group(), text)


def _masked(found: str, secrets: Sequence[str]) -> str:
    groups = ["".join(str(int(char)) for char in group) for group in _DIGITS.findall(found)]
    hidden = _hidden(groups, secrets)
    masked = []
    for char in found:
        masked.append("*" if char.isdecimal() and hidden > 0 else char)
        hidden -= char.isdecimal()
    return "".join(masked)


def _hidden(groups: Sequence[str], secrets: Sequence[str]) -> int:
    """How many digits to mask, from the left: all but four of a card number, all where other digits stand beside it.

    A card number begins and ends where a group does; in a group that is too long for one it may stand anywhere.
    """
    digits = "".join(groups)
    length = len(digits)
    if length > RUN_DIGITS_JUDGED_MAX or any(secret in digits for secret in secrets):
        return length
    cuts: Container[int] = set(accumulate(map(len, groups), initial=0))
    if max(map(len, groups)) > RUN_DIGITS_MAX:
        cuts = range(length + 1)
    found = [
        (end - digits_in_it, end)
        for end in range(RUN_DIGITS_MIN, length + 1)
        if end in cuts
        for digits_in_it in range(RUN_DIGITS_MIN, RUN_DIGITS_MAX + 1)
        if end - digits_in_it in cuts
    ]
    passing = _passing(digits, found)
    return 0 if not passing else length - _LAST_SHOWN if passing == [(0, length)] else length


def _passing(digits: str, spans: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
    """Return the spans that pass Luhn. By running sums, since a run of digits can be as long as a whole body."""
    sums = ([0], [0])  # up to each place, for a check digit that stands at an even or at an odd place
    for place, digit in enumerate(map(int, digits)):
        plain, doubled = sums[place % 2], sums[1 - place % 2]
        plain.append(plain[-1] + digit)
        doubled.append(doubled[-1] + _DOUBLED[digit])
    return [(start, end) for start, end in spans if (sums[(end - 1) % 2][end] - sums[(end - 1) % 2][start]) % 10 == 0]
