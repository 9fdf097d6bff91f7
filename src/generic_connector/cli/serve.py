"""`init` and `serve`: making an installation, and running it.

`serve` checks what was asked before it touches anything: TLS or, on loopback alone, plain HTTP that was asked
for by name, since card numbers never cross a network in clear. Then it takes the home's lock for as long as
it lives. It prints one line on stdout once everything is ready; everything else is events on stderr.
"""

import asyncio
import ipaddress
import socket
import sys
from pathlib import Path

import click
import uvloop

from generic_connector import server
from generic_connector.cli.acts import lock_for_server
from generic_connector.cli.options import HostPort, command, example, home_option, json_option
from generic_connector.cli.output import remark, say, say_json
from generic_connector.home import (
    HomeError,
    HomeLockedError,
    assemble,
    database_path,
    kek_path,
    make_home,
    wall_clock,
)
from generic_connector.server import Listener
from generic_connector.settings import CONFIG_FILE, load_settings
from generic_connector.telemetry import EventLog, gate_other_logs

_OPEN_TO_OTHERS = 0o077
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_GIVE_TLS = (
    "card numbers travel over TLS only: give --tls-cert FILE and --tls-key FILE (scripts/certs makes a pair for "
    "development), or, on this machine alone, --plain-http"
)


@click.command("init", epilog=example("init --home var"))
@click.option("--database", metavar="URL", help="Where ledger and vault are. Default: sqlite:ledger.db, in the home.")
@click.option("--kek", metavar="URI", help="Who keeps the key-encrypting key. Default: file:kek, in the home.")
@home_option
@json_option
def init(home: Path, database: str | None, kek: str | None, *, as_json: bool) -> None:
    """Make an installation: configuration, key, database.

    Makes no instance, and overwrites nothing: what is there stays as it is. The database and the key that it uses are
    written into config.toml, also where the environment names them.
    """
    made = _make(home, database, kek)
    if home.stat().st_mode & _OPEN_TO_OTHERS:
        remark(f"{home} can be entered by others: run `chmod 700 {home}`")
    following = [
        command("instance add Default", home),
        command("serve --tls-cert certs/localhost.pem --tls-key certs/localhost-key.pem", home),
    ]
    if as_json:
        say_json({"home": str(home), "made": made, "next": following})
    elif made:
        say(f"made in {home}: {', '.join(made)}\nnext, for example:\n  " + "\n  ".join(following))
    else:
        say(f"{home} is complete: nothing was changed")


def _make(home: Path, database: str | None, kek: str | None) -> list[str]:
    try:
        return make_home(home, database=database, kek=kek)
    except HomeLockedError:
        settings = load_settings(home)
        if all(path.exists() for path in (home / CONFIG_FILE, kek_path(home, settings), database_path(home, settings))):
            return []
        raise


@click.command(
    "serve", epilog=example("serve --tls-cert certs/localhost.pem --tls-key certs/localhost-key.pem --port 8443")
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8443, show_default=True, help="0 picks a free port.")
@click.option("--tls-cert", type=_FILE, metavar="FILE", help="The certificate with its chain, PEM.")
@click.option("--tls-key", type=_FILE, metavar="FILE", help="The certificate's private key, PEM.")
@click.option("--client-ca", type=_FILE, metavar="FILE", help="Demand client certificates that this authority signed.")
@click.option("--plain-http", is_flag=True, help="Serve without TLS; on loopback only.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that serve.")
@click.option(
    "--management",
    type=HostPort(),
    metavar="HOST:PORT",
    help="Serve metrics there. Keep it private. The port that 0 picks is in the event `management`.",
)
@home_option
def serve(
    *,
    home: Path,
    host: str,
    port: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    client_ca: Path | None,
    plain_http: bool,
    workers: int,
    management: tuple[str, int] | None,
) -> None:
    """Serve payments until SIGTERM or Ctrl-C.

    Prints `ready on URL` once payments can come; events go to stderr as JSON lines.
    """
    _check_tls(host, tls_cert, tls_key, client_ca, is_plain=plain_http)
    _check_workers(workers)
    _run(
        home,
        Listener(host=host, port=port, certificate=tls_cert, key=tls_key, client_ca=client_ca, management=management),
    )


def _check_tls(
    host: str, certificate: Path | None, key: Path | None, client_ca: Path | None, *, is_plain: bool
) -> None:
    """Refuse, as usage, all that would carry card numbers in clear or is half of a thing."""
    if (certificate is None) is not (key is None):
        raise click.UsageError("--tls-cert and --tls-key belong together: give both")
    if is_plain and certificate is not None:
        raise click.UsageError("--plain-http and --tls-cert contradict each other: give one of them")
    if not is_plain and certificate is None:
        raise click.UsageError(_GIVE_TLS)
    if is_plain and client_ca is not None:
        raise click.UsageError("--client-ca needs TLS: give --tls-cert and --tls-key")
    if is_plain and not _is_loopback(host):
        raise click.UsageError("--plain-http is for loopback only: give --host 127.0.0.1, or --tls-cert and --tls-key")


def _is_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return False
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_rest, address in found)


def _check_workers(workers: int) -> None:
    if workers > 1:
        raise HomeError(
            "a SQLite home has one writer, so one process: leave --workers out; one process uses one core, and that "
            "carries thousands of payments a second"
        )


def _run(home: Path, listener: Listener) -> None:
    with lock_for_server(home):
        settings = load_settings(home)
        log = EventLog(sys.stderr, wall_clock, settings.log_level)
        gate_other_logs(log)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(home, listener, log))
        log.flush()


async def _serve(home: Path, listener: Listener, log: EventLog) -> None:
    parts = await assemble(home, load_settings(home), log)
    try:
        await server.serve(parts, listener, lambda url: click.echo(f"ready on {url}"))
    finally:
        await parts.close()
