"""The command line: `generic-connector`, one word for each thing that an operator does.

    generic-connector init | serve | instance | access-token | transaction | sandbox | reconcile | vault | doctor
    generic-connector demo | twilio | conform

Commands are thin: they read what was typed, do an act or read the files (`acts`), and print (`output`). Exit
status: 0 done, 1 refused or found wrong, 2 usage. Whatever goes wrong ends as one line on stderr that names
the next step: no traceback, and no card number, even where one was pasted into the wrong place. That is
`Program`'s part, for every command alike.
"""

import io
import os
import sqlite3
import sys
from collections.abc import Sequence
from typing import Any

import click

from generic_connector import __version__
from generic_connector.administration import RefusedError
from generic_connector.cli.conform import conform
from generic_connector.cli.demo import demo
from generic_connector.cli.doctor import doctor
from generic_connector.cli.instances import access_token, instance
from generic_connector.cli.options import example, group_home_option
from generic_connector.cli.output import plain
from generic_connector.cli.reconcile import reconcile
from generic_connector.cli.sandbox import sandbox
from generic_connector.cli.serve import init, serve
from generic_connector.cli.transactions import transaction
from generic_connector.cli.twilio import twilio
from generic_connector.cli.vault import vault
from generic_connector.custody.file import NoKekError
from generic_connector.envelope import TamperedError
from generic_connector.home import HomeError
from generic_connector.journal import NotAJournalError
from generic_connector.keyring import KeyExhaustedError
from generic_connector.ports import StoreUnavailableError
from generic_connector.processors import UnknownProcessorError
from generic_connector.processors.sandbox import InvalidFaultError
from generic_connector.scrub import scrub
from generic_connector.server import AddressError, BadTlsError
from generic_connector.settings import BadSettingsError
from generic_connector.telemetry import places
from generic_connector.web.control import NoAnswerError

_SAYS_WHAT_TO_DO = (
    RefusedError,
    HomeError,
    BadSettingsError,
    NoKekError,
    UnknownProcessorError,
    InvalidFaultError,
    AddressError,
    BadTlsError,
    NoAnswerError,
)
_SEE_DOCTOR = (NotAJournalError, TamperedError, KeyExhaustedError, StoreUnavailableError, sqlite3.Error)
_REFUSED = 1


class Program(click.Group):
    """The program. Ends with an exit status and a line, whatever happens."""

    def main(  # type: ignore[override]  # click's overloads only tell whether it returns
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: ARG002, FBT001, FBT002 - click's signature
        **extra: Any,  # noqa: ANN401 - click's signature
    ) -> None:
        """Run one command, and exit."""
        try:
            status = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.ClickException as error:
            _show(error)
            sys.exit(error.exit_code)
        except click.Abort:
            _complain("interrupted: what was asked may not have been done")
            sys.exit(_REFUSED)
        except Exception as error:  # noqa: BLE001 - nothing ends as a traceback
            _complain(_said(error))
            sys.exit(_REFUSED)
        sys.exit(status if isinstance(status, int) else 0)


def _show(error: click.ClickException) -> None:
    """Show a usage error as click does, without numbers that may be a card's."""
    text = io.StringIO()
    error.show(file=text)
    click.echo(scrub(text.getvalue()), err=True, nl=False)


def _complain(text: str) -> None:
    click.echo(f"error: {plain(text)}", err=True)


def _said(error: Exception) -> str:
    """Return what an error means and what to do next, in one line."""
    if isinstance(error, _SAYS_WHAT_TO_DO):
        return str(error)
    if isinstance(error, _SEE_DOCTOR):
        return f"{error}: run `generic-connector doctor`"
    if isinstance(error, OSError):
        path = "" if error.filename is None else f"{error.filename}: "
        return f"{path}{error.strerror or type(error).__name__}: check the path, its owner and its permissions"
    where = places(error.__traceback__)
    return f"a mistake in this program ({type(error).__name__}, {where}): please report this line"


@click.group(
    cls=Program,
    context_settings={"max_content_width": 110},
    epilog=example(
        "init", "instance add Default", "serve --tls-cert certs/localhost.pem --tls-key certs/localhost-key.pem"
    ),
)
@click.version_option(__version__, prog_name="generic-connector")
@group_home_option
@click.pass_context
def program(context: click.Context) -> None:
    """Take payments for Twilio's <Pay>: a Generic Pay Connector of your own."""
    if os.environ.get("NO_COLOR"):
        context.color = False


_COMMANDS = (init, serve, instance, access_token, transaction, sandbox, reconcile, vault, doctor, demo, twilio, conform)
for _command in _COMMANDS:
    program.add_command(_command)


def main() -> None:
    """Run the command line."""
    program(prog_name="generic-connector")
