"""`sandbox`: the bank statement of the built-in processor, and faults to play with.

A fault beats the caller's `sandbox_*` parameters, which beat the amount. It lasts until it is cleared, or for
`--count` sends.
"""

from dataclasses import fields, replace
from pathlib import Path

import click

from generic_connector.cli.acts import act, reading_sandbox
from generic_connector.cli.options import Decorated, example, group_home_option, home_option, json_option
from generic_connector.cli.output import CarrierId, say, say_json, say_table, words
from generic_connector.payment import DeclineCode
from generic_connector.processors.sandbox import DELAY_MS_MAX, FaultKind, StatementLine, statement


@click.group("sandbox")
@group_home_option
def sandbox() -> None:
    """The sandbox processor: its statement, and faults to set."""


@sandbox.command("statement", epilog=example("sandbox statement --json"))
@home_option
@json_option
def print_statement(home: Path, *, as_json: bool) -> None:
    """Print the bank statement: one line for each captured purchase."""
    names = [field.name for field in fields(StatementLine)]
    with reading_sandbox(home) as connection:
        found = [] if connection is None else statement(connection)
    lines = [replace(line, transaction_id=CarrierId(line.transaction_id)) for line in found]
    if as_json:
        say_json([{name: getattr(line, name) for name in names} for line in lines])
    else:
        say_table(
            ("captured at", "instance", "amount", "currency", "state", "transaction id", "idempotency key"),
            [
                (
                    line.captured_at,
                    line.instance,
                    line.amount,
                    line.currency,
                    line.state,
                    line.transaction_id,
                    line.idempotency_key,
                )
                for line in lines
            ],
            "nothing was captured yet",
        )


# --- Faults ----------------------------------------------------------------------------------------------------------


def _fault_options(command: Decorated) -> Decorated:
    counted = click.option("--count", type=click.IntRange(min=1), metavar="N", help="For so many sends. Default: all.")
    return home_option(json_option(counted(command)))


@sandbox.group("fault", epilog=example("sandbox fault decline insufficient_funds --count 1"))
@group_home_option
def fault() -> None:
    """Make the sandbox fail, for every instance, until cleared."""


@fault.command(
    "decline",
    epilog=example("sandbox fault decline card_declined"),
    help=f"Decline every payment with CODE.\n\nCODE is one of: {words(code.value for code in DeclineCode)}.",
)
@click.argument("code", type=click.Choice([code.value for code in DeclineCode]), metavar="CODE")
@_fault_options
def decline(home: Path, code: str, count: int | None, *, as_json: bool) -> None:
    """Decline every payment with CODE."""
    _set(home, FaultKind.DECLINE, code, count, as_json=as_json)


@fault.command("delay", epilog=example("sandbox fault delay 11000 --count 1"))
@click.argument("delay_ms", type=click.IntRange(0, DELAY_MS_MAX), metavar="MS")
@_fault_options
def delay(home: Path, delay_ms: int, count: int | None, *, as_json: bool) -> None:
    """Wait MS milliseconds before every capture."""
    _set(home, FaultKind.DELAY, str(delay_ms), count, as_json=as_json)


@fault.command("hang", epilog=example("sandbox fault hang --count 1"))
@_fault_options
def hang(home: Path, count: int | None, *, as_json: bool) -> None:
    """Never answer."""
    _set(home, FaultKind.HANG, None, count, as_json=as_json)


@fault.command("drop-after-capture", epilog=example("sandbox fault drop-after-capture --count 1"))
@_fault_options
def drop_after_capture(home: Path, count: int | None, *, as_json: bool) -> None:
    """Capture the money, and lose the answer."""
    _set(home, FaultKind.DROP_AFTER_CAPTURE, None, count, as_json=as_json)


@fault.command("unavailable", epilog=example("sandbox fault unavailable"))
@_fault_options
def unavailable(home: Path, count: int | None, *, as_json: bool) -> None:
    """Refuse connections: nothing is sent."""
    _set(home, FaultKind.UNAVAILABLE, None, count, as_json=as_json)


def _set(home: Path, kind: FaultKind, argument: str | None, count: int | None, *, as_json: bool) -> None:
    faults = act(home, "sandbox fault", {"kind": kind.value, "argument": argument, "count": count})
    if as_json:
        say_json(faults)
    else:
        say("set:\n" + "\n".join(f"  {one}" for one in faults))


@click.command("clear", epilog=example("sandbox clear"))
@home_option
@json_option
def clear(home: Path, *, as_json: bool) -> None:
    """Clear all faults."""
    faults = act(home, "sandbox clear", {})
    if as_json:
        say_json(faults)
    else:
        say("no fault is set any more")


fault.add_command(clear)
sandbox.add_command(clear)
