"""The mutation table: which broken endpoint turns which checks of the conformance kit red.

It is the test of the tests. The tests of broken endpoints put a row in for each, and the whole of it is printed when
they are over.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

_NAME_WIDTH = 34
_WIDTH = 118


@dataclass(frozen=True)
class Row:
    """One broken endpoint: what is wrong with it, which checks must be red, and which were."""

    name: str
    expected: frozenset[str]
    red: frozenset[str]

    @property
    def is_exact(self) -> bool:
        return self.expected == self.red


_ROWS: dict[str, Row] = {}


def record(name: str, expected: Iterable[str], red: Iterable[str]) -> Row:
    """Put a row in, and return it. The same endpoint tried again has one row."""
    row = _ROWS[name] = Row(name, frozenset(expected), frozenset(red))
    return row


def summary() -> str:
    """Return the table of all rows as text. Empty where nothing was tried."""
    return table(_ROWS.values())


def table(rows: Collection[Row]) -> str:
    """Return rows as text, in the order of their names."""
    if not rows:
        return ""
    exact = sum(row.is_exact for row in rows)
    lines = [f"{len(rows)} broken endpoints, {exact} of them red on exactly the right checks", ""]
    for row in sorted(rows, key=lambda row: row.name):
        lines += _wrapped(row.name, sorted(row.red, key=_order))
        for what, ids in (("not red", row.expected - row.red), ("red, but should not be", row.red - row.expected)):
            if ids:
                lines.append(f"{'':{_NAME_WIDTH}}  ({what}: {' '.join(sorted(ids, key=_order))})")
    caught = {check for row in rows for check in row.red}
    return "\n".join([*lines, "", f"{len(caught)} checks were red for at least one of them"])


def _order(check: str) -> tuple[str, int]:
    family, _slash, number = check.partition("/")
    return family, int(number)


def _wrapped(name: str, ids: list[str]) -> list[str]:
    lines, line = [], f"{name:{_NAME_WIDTH}} "
    for check in ids or ["-"]:
        if len(line) + len(check) + 1 > _WIDTH:
            lines.append(line)
            line = " " * (_NAME_WIDTH + 1)
        line += f" {check}"
    return [*lines, line]
