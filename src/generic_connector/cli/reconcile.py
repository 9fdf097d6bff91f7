"""`reconcile`: what became of payments whose answer was lost.

It looks up and never sends: only the carrier's retry brings the card again. What no look-up can tell, a
person finds out at the processor and says with `reconcile settle`.

Young rows are not looked at, since the retry can do more for them. They are counted all the same: who hears that
nothing is unsettled must be able to believe it.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from generic_connector.cli.acts import act, reading
from generic_connector.cli.options import Duration, duration, example, home_option, json_option
from generic_connector.cli.output import remark, say, say_facts, say_json, say_table, words
from generic_connector.home import wall_clock
from generic_connector.ledger import State
from generic_connector.stores.sqlite import unsettled_rows

_EVERY_S = 60.0
Seen = Sequence[Mapping[str, str]]


@click.group(
    "reconcile",
    invoke_without_command=True,
    epilog=example("reconcile --once", 'reconcile settle ch_... captured --reason "on the bank statement"'),
)
@click.option("--once", is_flag=True, help="Look once. Exit status 1 where something is in doubt, young or old.")
@click.option("--older-than", type=Duration(), default="2m", show_default=True, metavar="TIME", help="30s 15m 12h 90d")
@home_option
@json_option
@click.pass_context
def reconcile(context: click.Context, home: Path, older_than: int, *, once: bool, as_json: bool) -> None:
    """Look up what became of unsettled payments.

    Those that are in doubt, and those whose server died; every minute until Ctrl-C, or --once. Sends nothing, ever.
    """
    if context.invoked_subcommand is not None:
        return
    if as_json and not once:
        raise click.UsageError("--json prints one document: give --once with it")
    if once:
        context.exit(_look_once(home, older_than, as_json=as_json))
    _look_every_minute(home, older_than)


@dataclass(frozen=True, slots=True)
class _Look:
    """What a look saw, and how many younger rows, by their state, it left to the carrier's retry."""

    older_than_s: int
    seen: Seen
    younger: Mapping[str, int]

    @property
    def is_in_doubt(self) -> bool:
        """Whether something is in doubt, looked at or not: nobody knows whether that money moved."""
        return any(one["state"] == State.IN_DOUBT for one in self.seen) or State.IN_DOUBT in self.younger

    @property
    def nothing(self) -> str:
        """What there is to say where it saw nothing."""
        return (
            f"nothing older than {duration(self.older_than_s)} is unsettled" if self.younger else "nothing is unsettled"
        )

    @property
    def rest(self) -> str:
        """What it left alone, and how to look at that too."""
        counts = words(f"{count} {state}" for state, count in sorted(self.younger.items()))
        return f"younger: {counts}; they are left to the retry, and `--older-than 0s` looks at them too"


def _look(home: Path, older_than_s: int) -> _Look:
    seen: Seen = act(home, "reconcile", {"older_than_ms": older_than_s * 1000})
    if older_than_s == 0:
        return _Look(older_than_s, seen, {})
    with reading(home) as connection:
        rows = unsettled_rows(connection, claimed_before_ms=wall_clock())
    known = {one["id"] for one in seen}
    return _Look(older_than_s, seen, Counter(row.state.value for row in rows if row.id not in known))


def _look_once(home: Path, older_than_s: int, *, as_json: bool) -> int:
    look = _look(home, older_than_s)
    if as_json:
        say_json(look.seen)
    else:
        say_table(("id", "state"), [(one["id"], one["state"]) for one in look.seen], look.nothing)
    if look.younger:
        (remark if as_json else say)(look.rest)
    if any(one["state"] == State.IN_DOUBT for one in look.seen) and not as_json:
        settle = "generic-connector reconcile settle ID captured|not-captured --reason TEXT"
        say(f"\nFind out at the processor what became of each that is in doubt, then: {settle}")
    return 1 if look.is_in_doubt else 0


def _look_every_minute(home: Path, older_than_s: int) -> None:
    try:
        while True:
            look = _look(home, older_than_s)
            states = [one["state"] for one in look.seen]
            counts = words(f"{states.count(state)} {state}" for state in sorted(set(states)))
            told = [counts or look.nothing, *([look.rest] if look.younger else [])]
            say(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}   {'; '.join(told)}")
            time.sleep(_EVERY_S)
    except KeyboardInterrupt:
        return


@reconcile.command(
    "settle", epilog=example('reconcile settle ch_... not-captured --reason "the acquirer has no such order"')
)
@click.argument("id_", metavar="ID")
@click.argument("outcome", type=click.Choice(["captured", "not-captured"]))
@click.option("--reason", metavar="TEXT", required=True, help="How you know. Kept with the transaction.")
@home_option
@json_option
def settle(home: Path, id_: str, outcome: str, reason: str, *, as_json: bool) -> None:
    """Say what became of a payment that no look-up can tell."""
    settled = act(home, "reconcile settle", {"id": id_, "captured": outcome == "captured", "reason": reason})
    if as_json:
        say_json(settled)
    else:
        say_facts({name.replace("_", " "): value for name, value in settled.items()}, indent="")
