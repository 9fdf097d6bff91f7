"""Bytes to a JSON object, strictly.

Whatever `Content-Type` says: Twilio has been seen to send none. What a lenient parser would guess is refused: a byte
order mark, NaN and infinity, lone surrogates, a key that stands twice (which value counts?), nesting deeper than 32.
Numbers keep their text, so that 10.10 does not pass through binary floating point and 1e3 is seen for what it is.
"""

import json
import re
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

DEPTH_MAX = 32
BODY_BYTES_MAX = 16 * 1024

_SPACE = " \t\n\r"

Json: TypeAlias = "str | bool | Number | list[Json] | dict[str, Json] | None"


@dataclass(frozen=True, slots=True)
class Number:
    """A JSON number as it was written."""

    text: str


class NotJsonError(ValueError):
    """The body is not what RFC 8259 and this contract call a JSON object.

    Says what is wrong, and quotes nothing.
    """


def parse_object(body: bytes) -> dict[str, Json]:
    """Return the JSON object that `body` is.

    Raises `NotJsonError` otherwise.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise NotJsonError("The body is not UTF-8.") from None
    if _deepest(text) > DEPTH_MAX:
        raise NotJsonError(f"The body is nested deeper than {DEPTH_MAX}.")
    try:
        value, end = _DECODER.raw_decode(text, len(text) - len(text.lstrip(_SPACE)))
    except NotJsonError:
        raise
    except ValueError:
        raise NotJsonError("The body is not JSON.") from None
    if end < len(text) and text[end:].strip(_SPACE):
        raise NotJsonError("The body is not JSON.")
    if not isinstance(value, dict):
        raise NotJsonError("The body is JSON, but not an object.")
    if "\\u" in text:  # the only way in: bytes that encode half a pair are no UTF-8
        _refuse_surrogates(value)
    return value


def _deepest(text: str) -> int:
    """Return how many brackets are open at most, or 0 where there are not many at all."""
    if text.count("[") + text.count("{") <= DEPTH_MAX:
        return 0
    depth = deepest = 0
    for char in _STRING.sub("", text):
        if char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


# A string that does not end reaches to the end of the text: so no place is looked at twice.
_STRING = re.compile(r'"(?:[^"\\]|\\.?)*+"?', re.DOTALL)


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotJsonError("A key stands twice in one object.")
    return found


def _not_a_number(_text: str) -> NoReturn:
    raise NotJsonError("NaN and infinity are no JSON.")


def _refuse_surrogates(value: Json) -> None:
    try:
        _written(value).encode()
    except UnicodeEncodeError:
        raise NotJsonError("A string holds half a surrogate pair.") from None


def to_text(value: Json) -> str:
    """Return a value as text for people: a string as it is, the rest as compact JSON."""
    return value if isinstance(value, str) else _written(value)


def _written(value: Json) -> str:
    """Compact JSON, with numbers as they came."""
    if isinstance(value, Number):
        return value.text
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{_written(key)}:{_written(item)}' for key, item in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)


# With a `parse_constant` that raises, and hooks that keep pairs and numbers, json's C scanner does the work.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=Number, parse_int=Number, parse_constant=_not_a_number
)
