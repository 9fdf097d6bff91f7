"""Output: what people and programs get to read, and what never gets out.

Every text passes `plain` on its way: card numbers in it are masked, and what would steer a terminal is taken
out, since references, reasons and ids were typed by others. A carrier's id is masked by a narrower rule, so that it can
be found. Columns are three spaces apart because `scrub` sees through two: digits of neighbours must not look like one
number, nor be masked as one.

Tables are as wide as their content; one that does not fit the terminal is laid on its side, each row a block,
so that ids stay whole and can be copied. Times are UTC. JSON goes to stdout as one document.
"""

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import click

from generic_connector.card import without_pans
from generic_connector.ledger import Row
from generic_connector.money import CURRENCIES, Money
from generic_connector.ports import Vaulted
from generic_connector.scrub import scrub

GAP = " " * 3
_STARS = "******"


class CarrierId(str):
    """A transaction_id, which must be shown as it came: people and programs look for it."""

    __slots__ = ()


def plain(text: object) -> str:
    """Return a text that may be shown: no card number, one line, nothing that a terminal obeys."""
    shown = "".join(char if char.isprintable() else " " for char in str(text))
    return CarrierId(without_pans(shown)) if isinstance(text, CarrierId) else scrub(shown)


def say(text: str = "") -> None:
    """Print lines for people."""
    click.echo("\n".join(plain(line) for line in text.split("\n")))


def say_json(document: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(_plain_json(document), indent=2))


def remark(text: str) -> None:
    """Print a line beside the answer, on stderr."""
    click.echo(plain(text), err=True)


def _plain_json(value: object) -> object:
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, Mapping):
        return {str(key): _plain_json(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_plain_json(item) for item in value]
    return value


# --- Layout ----------------------------------------------------------------------------------------------------------


def say_facts(facts: Mapping[str, object], indent: str = "  ") -> None:
    """Print names and values in two columns. What is None is left out."""
    shown = {name: value for name, value in facts.items() if value is not None}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        click.echo(f"{indent}{name:<{width}}{GAP}{plain(value)}".rstrip())


def say_table(headings: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Print a table, on its side where the terminal is too narrow, or a sentence where it has no rows."""
    cells = [[plain("-" if cell is None else cell) for cell in row] for row in rows]
    if not cells:
        click.echo(empty)
        return
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    if sum(widths) + len(GAP) * (len(widths) - 1) > _terminal_columns():
        for line in cells:
            say_facts(dict(zip(headings, line, strict=True)), indent="")
            click.echo()
        return
    click.echo(click.style(_line(headings, widths), bold=True))
    for line in cells:
        click.echo(_line(line, widths))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return GAP.join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _terminal_columns() -> int:
    """How wide a table may be: as it likes where a program reads it."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize


# --- Values ----------------------------------------------------------------------------------------------------------


def moment(at_ms: int | None) -> str | None:
    """Return a time as ISO 8601 in UTC, with its milliseconds."""
    if at_ms is None:
        return None
    text = datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{at_ms % 1000:03}Z"


def amount(row: Row) -> str | None:
    """Return a row's amount as a decimal text, or None where it has none."""
    if row.amount_minor is None or row.currency is None:
        return None
    return Money(row.amount_minor, CURRENCIES[row.currency]).decimal


def masked(of: Row | Vaulted) -> str:
    """Return what may be shown of a number: brand, BIN and the last four digits."""
    return f"{of.brand or of.kind} {of.bin}{_STARS}{of.last4}"


def yes_or_no(value: object) -> str:
    """Return a claim's truth in words."""
    return "yes" if value else "no"


def words(values: Iterable[object]) -> str:
    """Return a list of words."""
    return ", ".join(map(str, values))
