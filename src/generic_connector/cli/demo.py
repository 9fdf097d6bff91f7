"""`demo`: the whole of it at work, on this machine, by one command."""

import click

from generic_connector.cli.options import example, is_home_named, unused_home_option
from generic_connector.cli.output import remark


@click.command("demo", epilog=example("demo --once"))
@click.option("--once", is_flag=True, help="Play it, print what happened, and end.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    metavar="P",
    help="Where to serve. Default: 8443; with --once, a free port.",
)
@unused_home_option
@click.pass_context
def demo(context: click.Context, port: int | None, *, once: bool) -> None:
    """Show it at work: a server, a call, a payment.

    In a home of its own, which is thrown away.
    """
    if is_home_named(context):
        remark("--home is not used: the demonstration makes a home of its own, and throws it away")
    from generic_connector.demo import run_demo  # noqa: PLC0415 - what the demo needs, no other command does

    context.exit(run_demo(once=once, port=port))
