"""Canaries: secrets of a test's own making, and the search for them in every shape in which they could get out.

Evidence is a directory: whatever a test could lay hands on, as files. `find` names each canary, shape and file. It
looks for a text as it is and backwards, in hex, in base64 wherever it begins, in UTF-16, escaped for JSON, XML and
URLs, in upper and lower case; for digits also grouped in any way, in full-width characters, as an integer and as
packed decimals; and for a part that is too long to be what may be shown.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_PART_OF_NUMBER = 10  # a BIN and last four are ten digits too, but never ten in a row
_PART_OF_TEXT = 16
_STEP_OF_TEXT = 4
_BETWEEN_DIGITS = re.compile(rb"(?<=[0-9])(?:\\u00a0|\xc2\xa0|[\s.,_/|:-]){1,2}(?=[0-9])")
_WIDE = str.maketrans("0123456789", "".join(chr(0xFF10 + digit) for digit in range(10)))


@dataclass(frozen=True, slots=True)
class Canary:
    """A secret, and what to call it in a report."""

    name: str
    clear: bytes

    @property
    def is_number(self) -> bool:
        return self.clear.isdigit()

    @property
    def is_text(self) -> bool:
        return self.clear.isascii() and self.clear.decode().isprintable()


def forms(canary: Canary) -> Mapping[str, bytes]:
    """Return the shapes to look for by name."""
    clear = canary.clear
    found = {"plain": clear, "reversed": clear[::-1], "hex": clear.hex().encode()}
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + clear)
        core = encoded[-(-offset * 8 // 6) : (offset + len(clear)) * 8 // 6]
        found[f"base64 at {offset}"] = core
        found[f"base64 for URLs at {offset}"] = core.replace(b"+", b"-").replace(b"/", b"_")
    if canary.is_text:
        found |= _text_forms(clear.decode())
    if canary.is_number:
        found |= _number_forms(clear.decode())
    part, step = (_PART_OF_NUMBER, 1) if canary.is_number else (_PART_OF_TEXT, _STEP_OF_TEXT)
    found |= {f"part at {start}": clear[start : start + part] for start in range(0, len(clear) - part + 1, step)}
    return found


def _text_forms(text: str) -> dict[str, bytes]:
    return {
        "UTF-16 LE": text.encode("utf-16-le"),
        "UTF-16 BE": text.encode("utf-16-be"),
        "escaped for JSON": "".join(f"\\u{ord(char):04x}" for char in text).encode(),
        "escaped for URLs": "".join(f"%{ord(char):02x}" for char in text).encode(),
        "escaped for XML": "".join(f"&#{ord(char)};" for char in text).encode(),
    }


def _number_forms(digits: str) -> dict[str, bytes]:
    number = int(digits)
    size = -(-number.bit_length() // 8)
    wide = digits.translate(_WIDE)
    return {
        "full-width": wide.encode(),
        "full-width, escaped": wide.encode("ascii", "backslashreplace"),
        "big-endian integer": number.to_bytes(size, "big"),
        "little-endian integer": number.to_bytes(size, "little"),
        "packed decimals": bytes.fromhex(digits if len(digits) % 2 == 0 else f"0{digits}"),
    }


class Evidence:
    """One file: its bytes, in lower case, and with its digits pushed together."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        self.data = data
        self._lower = data.lower()
        self._squeezed = _BETWEEN_DIGITS.sub(b"", data)

    def holds(self, canary: Canary, form: bytes) -> bool:
        """Whether a shape of a canary is in it."""
        is_in_some_case = not canary.is_number and canary.is_text and form.lower() in self._lower
        is_grouped = canary.is_number and form in self._squeezed
        return form in self.data or is_in_some_case or is_grouped


def collect(directory: Path) -> list[Evidence]:
    """Return all files below a directory, those that begin with a dot too."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return [Evidence(str(path.relative_to(directory)), path.read_bytes()) for path in files]


def find(canaries: Iterable[Canary], evidence: Iterable[Evidence]) -> Iterator[tuple[str, str, str]]:
    """Say which canary is in which file, and in which shape."""
    known = [(canary, form, shape) for canary in canaries for form, shape in forms(canary).items()]
    for one in evidence:
        for canary, form, shape in known:
            if one.holds(canary, shape):
                yield canary.name, form, one.name
