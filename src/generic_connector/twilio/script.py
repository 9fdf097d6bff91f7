"""A script: what a caller does on a call, as one text.

    0-9 * #    a key
    ,          the end of an entry: where it has not ended by itself, the caller keys nothing until it has
    w  W       half a second, a second, of silence
    H          the caller hangs up
    spaces     nothing; they are for readers

So `4111 1111 1111 1111, 1230, 94105, 123` is a card, its date, a postal code that ends with the timeout, and a code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

_KEYS = frozenset("0123456789*#")
_SILENCES_S: Mapping[str, float] = {"w": 0.5, "W": 1.0}


class BadScriptError(Exception):
    """The script cannot be played. Says where and why, and quotes nothing: it is made of card numbers."""


class Act(Enum):
    """What a caller does beside pressing keys and being silent."""

    END_ENTRY = auto()
    HANG_UP = auto()


@dataclass(frozen=True, slots=True)
class Silence:
    """The caller does nothing for so long."""

    seconds: float


Stroke = str | Silence | Act
"""One thing that a caller does: a key, a silence, an act."""


def read_script(text: str) -> Sequence[Stroke]:
    """Return the strokes of a script. Raises `BadScriptError`."""
    strokes: list[Stroke] = []
    for place, char in enumerate(text, start=1):
        if char in _KEYS:
            strokes.append(char)
        elif char in _SILENCES_S:
            strokes.append(Silence(_SILENCES_S[char]))
        elif char == ",":
            strokes.append(Act.END_ENTRY)
        elif char == "H":
            strokes.append(Act.HANG_UP)
        elif not char.isspace():
            raise BadScriptError(
                f"character {place} is no key: give 0-9, * and #, `,` to end an entry, w or W for half a second or a "
                "second of silence, H to hang up"
            )
    return strokes
