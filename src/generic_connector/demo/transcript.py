"""How the demonstration is printed: plain text in 100 columns, colour only where somebody looks.

Marks at the left tell the direction, as curl has them: `>` goes to the gateway, `<` comes from it, `!` happens to it.
The numbers that are sent are published test numbers, and masked all the same: a transcript is pasted somewhere sooner
or later, and whoever reads it should not have to know which numbers are real.
"""

import json
import os
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from generic_connector.processors.sandbox import StatementLine

COLUMNS = 100
BOLD, RED, GREEN = "1", "31", "32"

_LAST_SHOWN = 4
_WIDTH = COLUMNS - 6


def say(*lines: str) -> None:
    """Print lines, and keep nobody waiting for them."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def paint(colour: str, text: str) -> str:
    """Return text in a colour, on a terminal whose owner has not asked for none (no-color.org)."""
    is_wanted = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"\x1b[{colour}m{text}\x1b[0m" if is_wanted else text


def masked(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request as it may be shown: the last four digits of a number, nothing of a CVV."""
    shown = dict(body)
    for name in ("cardnumber", "bankaccountnumber"):
        if name in shown:
            number = str(shown[name])
            shown[name] = number[-_LAST_SHOWN:].rjust(len(number), "*")
    if shown.get("cvv") is not None:
        shown["cvv"] = "***"
    return shown


def quoted(mark: str, fields: Mapping[str, Any]) -> list[str]:
    """Return JSON in lines behind their mark, broken between fields where that is possible."""
    lines = [""]
    for piece in ("{" + ", \0".join(_pieces(fields)) + "}").split("\0"):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > _WIDTH:
            lines.append(" ")
        lines[-1] += piece
    wrapped = [part for line in lines for part in textwrap.wrap(line, _WIDTH, subsequent_indent=" " * 2)]
    return [f"    {mark} {line}" for line in wrapped]


def _pieces(fields: Mapping[str, Any]) -> Iterator[str]:
    """Each field, fields within fields too, as a piece that had better stay whole."""
    for name, value in fields.items():
        if isinstance(value, dict) and value:
            first, *others = _pieces(value)
            pieces = [f"{json.dumps(name)}: {{{first}", *others]
            yield from (*pieces[:-1], pieces[-1] + "}")
        else:
            yield f"{json.dumps(name)}: {json.dumps(value)}"


def table(lines: Sequence[StatementLine]) -> list[str]:
    """Return the statement as a table, without the date, which is today's."""
    rows = [("captured at", "instance", "transaction_id", "amount", "state")]
    for line in lines:
        time = line.captured_at.partition("T")[2]
        rows.append((time, line.instance, line.transaction_id, f"{line.amount:>6} {line.currency}", line.state))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "    " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
