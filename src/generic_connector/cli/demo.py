"""`demo`: the whole of it at work, on this machine, by one command."""

from pathlib import Path

import click

from generic_connector.cli.options import example, home_option


@click.command("demo", epilog=example("demo --once"))
@click.option("--once", is_flag=True, help="Play it, print what happened, and end.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    metavar="P",
    help="Where to serve. Default: 8443; with --once, a free port.",
)
@home_option
@click.pass_context
def demo(context: click.Context, home: Path, port: int | None, *, once: bool) -> None:  # noqa: ARG001 - the demo has its own home
    """Show it at work: a server, a call, a payment.

    In a home of its own, which is thrown away.
    """
    from generic_connector.demo import run_demo  # noqa: PLC0415 - what the demo needs, no other command does

    context.exit(run_demo(once=once, port=port))
