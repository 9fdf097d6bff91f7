"""`twilio`: Twilio's side of a phone payment, on this machine: one call, or a simulated Twilio that answers and calls.

`pay` plays one call and prints what both sides saw. With `--digits` a script presses the keys, and time is simulated:
a timeout costs nothing. Without, whoever sits at the terminal does; keys are not echoed, only their masks.

`serve` is the simulator as a server: the REST API that the official SDKs speak, and the phone page. `switches` lists
what Twilio's sources leave open.

Exit status of `pay`: 0 where the payment's Result is success, 1 where it is anything else or there is none.
"""

import asyncio
import ipaddress
import os
import signal
import socket
import ssl
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from generic_connector.administration import RefusedError
from generic_connector.cli.options import Decorated, example, group_home_option, home_option, json_option
from generic_connector.cli.output import remark, say_json, say_table, words
from generic_connector.server import Listener, listen, tls_context
from generic_connector.twilio.configuration import (
    BadConfigurationError,
    Configuration,
    load_configuration,
    read_connector,
    read_switch,
    switch_rows,
    switched,
)
from generic_connector.twilio.script import Act, BadScriptError, read_script
from generic_connector.twilio.switches import Switches

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FROM, _TO = "+14155550100", "+14155550199"
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_HANG_UP_KEYS, _POUND_KEYS = "qQ\x03\x04", "\r\n"


@click.group(
    "twilio",
    epilog=example(
        'twilio pay pay.xml --connector https://localhost:8443/,USER,PASS --digits "$CARD 1230 94105# 123"',
        "twilio serve --plain-http --connector https://localhost:8443/,USER,PASS",
        "twilio switches",
    ),
)
@group_home_option
def twilio() -> None:
    """Develop a phone payment without Twilio: its side of the call, simulated."""


# --- Options ---------------------------------------------------------------------------------------------------------


def _read_by(read: Callable[[str], object]) -> Callable[..., Any]:
    """Return an option's callback that has each text read, so that what cannot be is a usage error of that option."""

    def check(_context: click.Context, parameter: click.Parameter, value: Any) -> Any:  # noqa: ANN401 - click's
        for text in value if isinstance(value, tuple) else () if value is None else (value,):
            try:
                read(text)
            except (BadConfigurationError, BadScriptError) as error:
                raise click.BadParameter(str(error).removeprefix(f"{parameter.opts[0]}: ")) from None
        return value

    return check


def _account_options(command: Decorated) -> Decorated:
    """What both `pay` and `serve` are configured with."""
    options = (
        click.option("--config", "file", type=_FILE, metavar="FILE", help="TOML: account, connectors, switches."),
        click.option(
            "--connector",
            "connectors",
            multiple=True,
            metavar="NAME=URL,USER,PASS",
            callback=_read_by(read_connector),
            help="A Pay Connector in test mode; with `,LIVE` behind it, in live mode. Without `NAME=`: Default.",
        ),
        click.option(
            "--switch",
            "switches",
            multiple=True,
            metavar="NAME=VALUE",
            callback=_read_by(lambda text: switched(Switches(), dict([read_switch(text)]), "--switch")),
            help="What Twilio's sources leave open: `twilio switches` lists all.",
        ),
        click.option("--auth-token", metavar="T", help="Signs callbacks. Never a real account's. Default: made up."),
        click.option("--ca", type=_FILE, metavar="FILE", help="PEM: authorities to trust beside the system's."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _configuration(
    file: Path | None,
    connectors: Sequence[str],
    switches: Sequence[str],
    auth_token: str | None,
    ca: Path | None,
) -> Configuration:
    try:
        return load_configuration(file, connectors=connectors, switches=switches, auth_token=auth_token, ca_file=ca)
    except BadConfigurationError as error:
        raise RefusedError(str(error)) from None


# --- One call --------------------------------------------------------------------------------------------------------


@twilio.command(
    "pay",
    epilog=example(
        'twilio pay pay.xml --connector https://localhost:8443/,USER,PASS --digits "$CARD 1230 94105# 123"',
        "twilio pay pay.xml --connector Shop=https://localhost:8443/,USER,PASS --ca certs/ca.pem",
        "twilio pay http://localhost:5000/voice --config twilio.toml --switch action_scheme=any --digits '1 WW *'",
    ),
)
@click.argument("source", metavar="FILE.xml|URL")
@click.option(
    "--digits",
    "script",
    metavar="SCRIPT",
    callback=_read_by(read_script),
    help="What the caller does: keys 0-9 * #; `,` ends an entry; w, W: half a second, a second; H hangs up.",
)
@click.option("--from", "from_", default=_FROM, show_default=True, metavar="NUMBER", help="Who calls.")
@click.option("--to", default=_TO, show_default=True, metavar="NUMBER", help="Who is called.")
@_account_options
@json_option
@home_option
@click.pass_context
def pay(
    context: click.Context,
    *,
    home: Path,  # noqa: ARG001 - Twilio's side has no home; every command takes the option
    source: str,
    script: str | None,
    from_: str,
    to: str,
    file: Path | None,
    connectors: Sequence[str],
    switches: Sequence[str],
    auth_token: str | None,
    ca: Path | None,
    as_json: bool,
) -> None:
    """Play one call, and print what the caller and the wire saw.

    The TwiML comes from FILE.xml, or from the application at URL, which is asked as Twilio asks. With --digits a
    script presses the keys and no timeout is waited for; without, keys typed here are pressed: Enter is #, q hangs
    up. Use published test numbers: what stands on a command line is read by others.

    A file's <Pay> needs no action: its result is printed. Exit status 0 where the result is success.
    """
    if script is None and not sys.stdin.isatty():
        raise click.UsageError('nobody is at a terminal to press keys: give --digits, such as --digits "4111..."')
    configuration = _configuration(file, connectors, switches, auth_token, ca)
    url, text = _source(source)
    _warn_of_none(configuration)
    played = asyncio.run(_play(configuration, script, url, text, (from_, to), as_json=as_json))
    context.exit(0 if played else 1)


def _warn_of_none(configuration: Configuration) -> None:
    if not configuration.connectors:
        remark("no connector is configured, so that every <Pay> ends with 64004: give --connector or --config")


def _source(source: str) -> tuple[str | None, str | None]:
    """Return a URL, or the text of a file."""
    if "://" in source:
        return source, None
    try:
        return None, Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise click.BadParameter(
            f"it cannot be read ({error.strerror}): give a file of TwiML, or a URL", param_hint="'FILE.xml|URL'"
        ) from None
    except UnicodeDecodeError:
        raise click.BadParameter("it is not UTF-8: save it as UTF-8", param_hint="'FILE.xml|URL'") from None


async def _play(
    configuration: Configuration,
    script: str | None,
    url: str | None,
    text: str | None,
    numbers: tuple[str, str],
    *,
    as_json: bool,
) -> bool:
    """Play the call, and return whether its payment was a success."""
    # What a call needs, no other command does.
    from generic_connector.twilio.call import Call  # noqa: PLC0415
    from generic_connector.twilio.exchange import new_sid, new_transaction_id  # noqa: PLC0415
    from generic_connector.twilio.rehearsal import Rehearsal  # noqa: PLC0415
    from generic_connector.twilio.transcript import Record, Transcript  # noqa: PLC0415

    call = Call(
        account_sid=configuration.account_sid,
        sid=new_sid("CA"),
        from_=numbers[0],
        to=numbers[1],
        switches=configuration.switches,
        connectors=configuration.connectors,
        new_transaction_id=new_transaction_id,
    )
    rehearsal = Rehearsal(call, configuration)
    record = Record(started_at_s=rehearsal.now_s)
    transcript = Transcript(lambda piece: click.echo(piece, nl=False), started_at_s=rehearsal.now_s)
    rehearsal.told = record.tell if as_json else transcript.tell
    if script is None:
        with _keys() as keys:
            await rehearsal.attend(keys, url=url, text=text)
    else:
        await rehearsal.play(read_script(script), url=url, text=text)
    result = rehearsal.results[-1] if rehearsal.results else None
    if as_json:
        say_json({"result": result, "status": call.status.value, "events": record.events})
    else:
        transcript.conclude(result)
    return result is not None and result.get("Result") == "success"


@contextmanager
def _keys() -> "Iterator[asyncio.Queue[str | Act]]":
    """Read the terminal key by key, without echo, for as long as the context lasts.

    Ctrl-C hangs up; the second one does not wait for what the payment's end still takes.
    """
    keys: asyncio.Queue[str | Act] = asyncio.Queue()
    loop, terminal = asyncio.get_running_loop(), sys.stdin.fileno()

    def typed() -> None:
        with suppress(OSError):  # the terminal is gone
            if text := os.read(terminal, 1024).decode(errors="replace"):
                for key in map(_key, text):
                    if key is not None:
                        keys.put_nowait(key)
                return
        loop.remove_reader(terminal)
        keys.put_nowait(Act.HANG_UP)

    def interrupted(number: signal.Signals) -> None:
        loop.remove_signal_handler(number)
        keys.put_nowait(Act.HANG_UP)

    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    loop.add_reader(terminal, typed)
    for number in _INTERRUPTS:
        loop.add_signal_handler(number, interrupted, number)
    try:
        yield keys
    finally:
        for number in _INTERRUPTS:
            loop.remove_signal_handler(number)
        loop.remove_reader(terminal)
        with suppress(termios.error):
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _key(char: str) -> str | Act | None:
    """Return what a typed character does: a key, hanging up, or nothing."""
    if char in _HANG_UP_KEYS:
        return Act.HANG_UP
    if char in _POUND_KEYS:
        return "#"
    return char if char in "0123456789*#" else None


# --- A simulated Twilio ----------------------------------------------------------------------------------------------


@twilio.command(
    "serve",
    epilog=example(
        "twilio serve --plain-http --connector https://localhost:8443/,USER,PASS --ca certs/ca.pem",
        "twilio serve --tls-cert certs/localhost.pem --tls-key certs/localhost-key.pem --config twilio.toml",
    ),
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8444, show_default=True, help="0 picks a free port.")
@click.option("--tls-cert", type=_FILE, metavar="FILE", help="The certificate with its chain, PEM.")
@click.option("--tls-key", type=_FILE, metavar="FILE", help="The certificate's private key, PEM.")
@click.option("--plain-http", is_flag=True, help="Serve without TLS; on loopback only.")
@_account_options
@home_option
def serve(
    *,
    home: Path,  # noqa: ARG001 - as above
    host: str,
    port: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    plain_http: bool,
    file: Path | None,
    connectors: Sequence[str],
    switches: Sequence[str],
    auth_token: str | None,
    ca: Path | None,
) -> None:
    """Serve a simulated Twilio until SIGTERM or Ctrl-C: phone page, REST API, calls.

    Prints `ready on URL` once it is: open that in a browser, or give it to the official SDK in place of Twilio's own
    address, with the account's SID and auth token, which are told on stderr.
    """
    _check_tls(host, tls_cert, tls_key, is_plain=plain_http)
    configuration = _configuration(file, connectors, switches, auth_token, ca)
    _warn_of_none(configuration)
    remark(f"account {configuration.account_sid}")
    if configuration.is_token_made:
        remark(
            f"auth token {configuration.auth_token.reveal()}, made up for this run: --auth-token gives one that stays"
        )
    context = tls_context(Listener(certificate=tls_cert, key=tls_key))
    asyncio.run(_serve(configuration, listen(host, port), host, context))


async def _serve(
    configuration: Configuration, sockets: Sequence[socket.socket], host: str, context: ssl.SSLContext | None
) -> None:
    from generic_connector.twilio.desk import serve_desk  # noqa: PLC0415 - what it needs, no other command does

    await serve_desk(
        configuration, sockets, host=host, context=context, announce=lambda url: click.echo(f"ready on {url}")
    )


def _check_tls(host: str, certificate: Path | None, key: Path | None, *, is_plain: bool) -> None:
    """Refuse, as usage, what would carry keys in clear over a network, or is half of a thing."""
    if (certificate is None) is not (key is None):
        raise click.UsageError("--tls-cert and --tls-key belong together: give both")
    if is_plain and certificate is not None:
        raise click.UsageError("--plain-http and --tls-cert contradict each other: give one of them")
    if not is_plain and certificate is None:
        raise click.UsageError(
            "what is keyed travels over TLS only: give --tls-cert FILE and --tls-key FILE (scripts/certs makes a pair "
            "for development), or, on this machine alone, --plain-http"
        )
    if is_plain and not _is_loopback(host):
        raise click.UsageError("--plain-http is for loopback only: give --host 127.0.0.1, or --tls-cert and --tls-key")


def _is_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return False
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_rest, address in found)


# --- Switches --------------------------------------------------------------------------------------------------------


@twilio.command("switches", epilog=example("twilio switches", "twilio pay pay.xml --switch retries=0 --digits ..."))
@json_option
@home_option
def list_switches(*, home: Path, as_json: bool) -> None:  # noqa: ARG001 - as above
    """List what Twilio's sources leave open: each switch with its default, its choices and its meaning."""
    rows = switch_rows()
    if as_json:
        say_json(
            [{"name": row.name, "default": row.default, "choices": row.choices, "meaning": row.meaning} for row in rows]
        )
    else:
        say_table(
            ("switch", "default", "choices", "meaning"),
            [(row.name, _typed(row.default), words(row.choices) if row.choices else None, row.meaning) for row in rows],
            "there is none",
        )


def _typed(value: float | str) -> str:
    """Return a value as it is typed."""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
