"""`conform`: does an endpoint honour the contract? Any endpoint, in any language; several side by side.

What it sends are real charges. It says so, with which numbers and to where, and asks, unless every address is this
machine's own or `--yes` stands there. Whatever is wrong with the command is found before the first request.

The table goes to stdout; what is told beside it, and the progress bar, to stderr. Exit status: 0 where every MUST that
could be asked holds (with `--strict`: and every MUST was asked), 1 where one does not, where the kit itself broke, or
where nothing could be asked at all; 2 usage.

Passwords may stand in an address, so that endpoints that are compared can each have their own. They are taken out of
it before anything is shown.
"""

import ipaddress
import os
import shutil
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

import click

from generic_connector.administration import RefusedError
from generic_connector.cli.options import example, home_option, json_option
from generic_connector.cli.output import plain, remark, say, say_facts, say_json, say_table, words
from generic_connector.secret import Secret

if TYPE_CHECKING:
    from generic_connector.conformance.check import Check, Finding, Run
    from generic_connector.conformance.in_process import App
    from generic_connector.conformance.profile import Profile
    from generic_connector.conformance.runner import Target
    from generic_connector.conformance.visit import Visit

DIALECTS = ("twilio", "telnyx", "signalwire")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_KINDS = (".xml", ".json", ".html")
_REFUSED = 1
_IN_PROCESS = "http://in-process.invalid/"
"""What an application in this process is called: no address at all."""


def _check_report(_context: click.Context, _parameter: click.Parameter, files: Sequence[Path]) -> Sequence[Path]:
    """Refuse, before anything is sent, a report that could not be written."""
    for file in files:
        if file.suffix.lower() not in _KINDS:
            raise click.BadParameter("the name tells the kind of report: end it with .xml (JUnit), .json or .html")
        _check_place(file)
    return files


def _check_matrix(_context: click.Context, _parameter: click.Parameter, file: Path | None) -> Path | None:
    if file is not None:
        if file.suffix.lower() != ".html":
            raise click.BadParameter("the comparison is a page: end its name with .html")
        _check_place(file)
    return file


def _check_place(file: Path) -> None:
    if not file.parent.is_dir() or file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise click.BadParameter(f"{file} cannot be written: name a file in a directory that is there and is yours")


@click.command(
    "conform",
    epilog=example(
        "conform https://localhost:8443/ --username USER --password-file secret.txt --ca certs/ca.pem",
        "conform https://pay.example.com/ --bearer TOKEN --profile ours.toml --report report.html --report report.xml",
        "conform http://USER:PASS@localhost:9000/ http://localhost:9001/pay --matrix compared.html",
        "conform --asgi shop.pay:app --only retry --only auth/2",
        "conform --explain retry/3",
    ),
)
@click.argument("typed", metavar="URL...", nargs=-1)
@click.option("--username", metavar="U", help="HTTP Basic. May also stand in an address: https://U:P@host/.")
@click.option("--password", metavar="P", help="Its password. Others on this machine can read it: better is a file.")
@click.option("--password-file", type=_FILE, metavar="FILE", help="A file whose first line is the password.")
@click.option("--bearer", metavar="T", help="A token, in place of username and password.")
@click.option("--other-username", metavar="U", help="A second instance's, whose payments are not the first one's.")
@click.option("--other-password", metavar="P", help="Its password.")
@click.option("--dialect", type=click.Choice(DIALECTS), default="twilio", show_default=True, help="Whose requests.")
@click.option("--profile", "profile_name", metavar="FILE", help="What the endpoint can do, TOML; or `sandbox`.")
@click.option("--only", multiple=True, metavar="ID", help="A check such as retry/3, or a family such as retry.")
@click.option("--strict", is_flag=True, help="Exit 0 only where every MUST was asked, and holds.")
@click.option("--dry-run", is_flag=True, help="Tell what would be asked, and send nothing.")
@click.option("--seed", type=click.IntRange(0), metavar="N", help="Makes the run's choices again. Default: a new one.")
@click.option(
    "--report",
    "reports",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    callback=_check_report,
    help="Write a report: .xml (JUnit), .json or .html. May be given again.",
)
@click.option(
    "--matrix",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    callback=_check_matrix,
    help="Write a page that compares the endpoints.",
)
@click.option("--list", "is_list", is_flag=True, help="List the checks, and send nothing.")
@click.option("--explain", metavar="ID", help="Tell all about one check, and send nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before real charges are sent.")
@click.option("--asgi", metavar="MODULE:APP", help="Ask an ASGI application in this process, in place of a URL.")
@click.option("--ca", type=_FILE, metavar="FILE", help="PEM: authorities to trust beside the system's.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, 120, min_open=True),
    default=10.0,
    show_default=True,
    metavar="S",
    help="Seconds to wait for an answer; Twilio waits 10.",
)
@json_option
@home_option
@click.pass_context
def conform(
    context: click.Context,
    *,
    home: Path,  # noqa: ARG001 - the kit knows no home; every command takes the option
    typed: Sequence[str],
    username: str | None,
    password: str | None,
    password_file: Path | None,
    bearer: str | None,
    other_username: str | None,
    other_password: str | None,
    dialect: str,
    profile_name: str | None,
    only: Sequence[str],
    strict: bool,
    dry_run: bool,
    seed: int | None,
    reports: Sequence[Path],
    matrix: Path | None,
    is_list: bool,
    explain: str | None,
    yes: bool,
    asgi: str | None,
    ca: Path | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Ask an endpoint whether it honours the contract, clause by clause.

    It sends real charges, with the published test numbers or with those of the profile, and asks before it does,
    unless every address is this machine's own. Credentials serve every URL that has none of its own.

    Exit status 0 where every MUST that could be asked holds, 1 where not, 2 for a call that cannot be.
    """
    # What the kit needs, no other command does.
    from generic_connector.conformance.runner import all_checks  # noqa: PLC0415

    everything = all_checks()
    if explain is not None:
        _explain(_one(everything, explain), as_json=as_json)
        return
    urls = [word for word in typed if "://" in word]
    checks = _chosen(everything, only, [word for word in typed if "://" not in word])
    if is_list:
        _list(checks, as_json=as_json)
        return
    profile = _profile(profile_name)
    given = _given(username, password, password_file, bearer)
    other = _other(other_username, other_password, profile, profile_name)
    if not urls and asgi is None:
        raise click.UsageError("whom to ask? Give the endpoint's URL, or --asgi MODULE:APP; --list tells what is asked")
    if urls and asgi is not None:
        raise click.UsageError("--asgi asks in this process, a URL over a socket: give one of them")
    addresses: Sequence[tuple[str, App | None]] = [(url, None) for url in urls]
    if asgi is not None:
        addresses = [(_IN_PROCESS, _application(asgi))]
    targets = [
        _target(url, given, other=other, dialect=dialect, ca_file=ca, timeout_s=timeout, profile=profile, asgi=app)
        for url, app in addresses
    ]
    visits = _visits(targets)
    if dry_run:
        _rehearse(visits, checks, as_json=as_json)
        return
    _warn(visits, checks, is_agreed=yes)
    runs = [_asked(target, checks, seed) for target in targets]
    if asgi is not None:
        runs = [replace(run, url=f"asgi:{asgi}") for run in runs]
    _tell(runs, as_json=as_json)
    _write(runs, reports, matrix)
    context.exit(0 if all(run.is_good(strict=strict) for run in runs) else _REFUSED)


# --- What was given --------------------------------------------------------------------------------------------------


def _one(checks: "Sequence[Check]", name: str) -> "Check":
    for check in checks:
        if check.id == name:
            return check
    raise click.BadParameter(
        "there is no such check: `generic-connector conform --list` tells them", param_hint="--explain"
    )


def _chosen(checks: "Sequence[Check]", only: Sequence[str], more: Sequence[str]) -> "Sequence[Check]":
    """Return the checks whose id or family was named, or all where none was.

    `--only retry auth/2` leaves `auth/2` among the addresses: that is `more`. What is there without `--only`, or is no
    check, was meant as an address.
    """
    known = {name for check in checks for name in (check.id, check.family)}
    if more and not (only and set(more) <= known):
        raise click.BadParameter("not an address: give one such as https://pay.example.com/pay", param_hint="URL")
    named = {name for each in only for name in each.replace(",", " ").split()}
    if not named <= known:
        raise click.BadParameter(
            "there is no such check or family: `generic-connector conform --list` tells them", param_hint="--only"
        )
    named |= set(more)
    return [check for check in checks if not only or {check.id, check.family} & named]


def _profile(name: str | None) -> "Profile":
    from generic_connector.conformance.profile import Profile, ProfileError  # noqa: PLC0415 - as above

    try:
        return Profile() if name is None else Profile.named(name)
    except ProfileError as error:
        raise click.BadParameter(
            f"{error} docs/conformance.md tells what a profile may say", param_hint="--profile"
        ) from None


def _given(
    username: str | None, password: str | None, password_file: Path | None, bearer: str | None
) -> tuple[str, Secret] | Secret | None:
    """Return the credentials of the command line: a pair, a token, or none."""
    if bearer is not None:
        if username or password or password_file:
            raise click.UsageError("--bearer stands in place of username and password: give one or the other")
        return Secret(bearer)
    if password is not None and password_file is not None:
        raise click.UsageError("--password and --password-file are two ways to say one thing: give one of them")
    if password_file is not None:
        password = _first_line(password_file)
    if (username is None) is not (password is None):
        raise click.UsageError("a username and a password belong together: give --username U and --password-file FILE")
    return None if username is None or password is None else (username, Secret(password))


def _first_line(file: Path) -> str:
    try:
        line = file.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    except UnicodeDecodeError:
        line = ""
    if not line:
        raise click.BadParameter(
            f"{file} has no password on its first line: write it there, as UTF-8", param_hint="--password-file"
        )
    return line


def _other(
    username: str | None, password: str | None, profile: "Profile", profile_name: str | None
) -> tuple[str, Secret] | None:
    """Return the second instance's credentials, from the command line or the profile.

    A file that the profile names is looked for from where the profile is.
    """
    if (username is None) is not (password is None):
        raise click.UsageError("--other-username and --other-password belong together: give both")
    if username is not None and password is not None:
        return username, Secret(password)
    named = profile.other
    if named.username is None or named.password_file is None:
        return None
    file = Path(profile_name or "").parent / named.password_file
    if not file.is_file():
        raise click.BadParameter(
            f"its [other] names {file}, and there is no such file: give --other-username and --other-password, or "
            "write the password there",
            param_hint="--profile",
        )
    return named.username, Secret(_first_line(file))


def _target(url: str, given: tuple[str, Secret] | Secret | None, **rest: Any) -> "Target":  # noqa: ANN401 - its fields
    """Return what is asked, and as whom. Credentials in the address are taken out of it, and go before the others."""
    from generic_connector.conformance.runner import Target  # noqa: PLC0415 - as above

    try:
        split = urlsplit(url)
    except ValueError:
        raise click.BadParameter(
            "not an address: give one such as https://pay.example.com/pay", param_hint="URL"
        ) from None
    if split.username is not None:
        given = unquote(split.username), Secret(unquote(split.password or ""))
        url = urlunsplit(split._replace(netloc=split.netloc.rpartition("@")[2]))
    bearer = given if isinstance(given, Secret) else None
    try:
        return Target(url=url, credentials=None if isinstance(given, Secret) else given, bearer=bearer, **rest)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _application(name: str) -> "App":
    """Return the application that `module:app` names, imported from here as `python -m` would."""
    from generic_connector.conformance.runner import asgi_app  # noqa: PLC0415 - as above

    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return asgi_app(name)
    except ValueError as error:
        raise click.BadParameter(
            f"{error} Name one as MODULE:APP, from where `python -c 'import MODULE'` works", param_hint="--asgi"
        ) from None
    except Exception as error:  # noqa: BLE001 - whatever somebody's module raises
        raise click.BadParameter(
            f"importing it ended with {type(error).__name__}: try `python -c 'import MODULE'`", param_hint="--asgi"
        ) from None


def _visits(targets: "Sequence[Target]") -> "Sequence[Visit]":
    """Return how each would be asked. Nothing is sent; an authority that cannot be read is found here."""
    from generic_connector.conformance.visit import Visit  # noqa: PLC0415 - as above

    try:
        return [Visit(target, seed=0, run_id="") for target in targets]
    except (OSError, ValueError):
        raise click.BadParameter("no certificate can be read from it: give a file in PEM", param_hint="--ca") from None


# --- What is told and asked before -----------------------------------------------------------------------------------


def _warn(visits: "Sequence[Visit]", checks: "Sequence[Check]", *, is_agreed: bool) -> None:
    """Tell what will be sent, with which numbers and to where. Ask, unless all that is this machine's own."""
    profile = visits[0].target.profile
    amounts = f"{profile.amounts.approve} and {profile.amounts.other} {profile.endpoint.currency}"
    remark(f"This sends real charges, one or more for nearly each of {len(checks)} checks.")
    remark(f"  amounts    {amounts}, and what single checks need")
    remark(f"  cards      {words(dict.fromkeys(_told_cards(profile)))}")
    if profile.endpoint.ach:
        remark(f"  accounts   {words(f'ending {number[-2:]}' for number in profile.numbers.accounts)}")
    for visit in visits:
        remark(f"  to         {visit.shown_url if visit.app is None else 'an application in this process'}")
    if is_agreed or all(visit.app is not None or _is_loopback(visit.host) for visit in visits):
        return
    if not sys.stdin.isatty():
        raise click.UsageError("an address is not this machine's own, and nobody is here to be asked: give --yes")
    if not click.confirm("Send them?", err=True):
        raise RefusedError("nothing was sent: --dry-run tells what would be asked")


def _told_cards(profile: "Profile") -> Sequence[str]:
    """Return the cards by brand and last digits."""
    numbers = profile.numbers
    brands = {number: brand for brand, number in numbers.cards.items()}
    told = [numbers.card, numbers.other_card, *numbers.cards.values()]
    return [f"{brands.get(number, 'one')} ending {number[-4:]}" for number in told]


def _is_loopback(host: str) -> bool:
    """Whether a host is this machine, by all of its addresses."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_rest, address in found)


# --- What sends nothing ----------------------------------------------------------------------------------------------


def _list(checks: "Sequence[Check]", *, as_json: bool) -> None:
    from generic_connector.conformance.report import check_document  # noqa: PLC0415 - as above

    if as_json:
        say_json([check_document(check) for check in checks])
        return
    say_table(
        ("check", "level", "claim", "needs"),
        [(check.id, check.level, check.claim, words(sorted(check.needs)) or None) for check in checks],
        "there is none",
    )


def _explain(check: "Check", *, as_json: bool) -> None:
    from generic_connector.conformance.report import check_document  # noqa: PLC0415 - as above

    if as_json:
        say_json(check_document(check))
        return
    say(f"{check.id}   {check.level}")
    say_facts(
        {
            "claim": check.claim,
            "sends": check.sends,
            "expects": check.expects,
            "why": check.why,
            "source": check.source,
            "needs": words(sorted(check.needs)) or None,
        }
    )


def _rehearse(visits: "Sequence[Visit]", checks: "Sequence[Check]", *, as_json: bool) -> None:
    """Tell which checks would be asked of each endpoint, and why others would not."""
    told = [(visit, check, _lacking(visit, check)) for visit in visits for check in checks]
    if as_json:
        say_json(
            [
                {"url": visit.shown_url, "check": check.id, "level": check.level, "would_ask": not why, "why_not": why}
                for visit, check, why in told
            ]
        )
        return
    say_table(
        ("endpoint", "check", "level", "would be asked"),
        [(visit.shown_url, check.id, check.level, f"no: {why}" if why else "yes") for visit, check, why in told],
        "there is none",
    )
    remark(f"nothing was sent; of {len(told)} checks {sum(not why for *_rest, why in told)} would be asked")


def _lacking(visit: "Visit", check: "Check") -> str | None:
    reasons = [reason for need in sorted(check.needs) if (reason := visit.missing(need)) is not None]
    return " ".join(dict.fromkeys(reasons)) or None


# --- The run ---------------------------------------------------------------------------------------------------------


def _asked(target: "Target", checks: "Sequence[Check]", seed: int | None) -> "Run":
    """Ask one endpoint, with a bar where somebody watches."""
    from generic_connector.conformance.check import Verdict  # noqa: PLC0415 - as above
    from generic_connector.conformance.runner import conform_sync  # noqa: PLC0415 - as above

    failed = 0
    with click.progressbar(
        length=len(checks),
        label=plain(urlsplit(target.url).hostname),
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
        item_show_func=lambda found: found,
    ) as bar:

        def told(finding: "Finding", _done: int, _all: int) -> None:
            nonlocal failed
            failed += finding.verdict in {Verdict.FAILED, Verdict.BROKEN}
            bar.update(1, f"{failed} failed" if failed else None)

        return conform_sync(target, checks=checks, seed=seed, told=told)


def _tell(runs: "Sequence[Run]", *, as_json: bool) -> None:
    from generic_connector.conformance import report  # noqa: PLC0415 - as above

    if as_json:
        click.echo(report.to_json(*runs), nl=False)
        return
    columns = report.TABLE_COLUMNS
    if sys.stdout.isatty():
        columns = shutil.get_terminal_size((columns, 0)).columns
    click.echo("\n".join(report.table(run, columns=columns) for run in runs), nl=False)


def _write(runs: "Sequence[Run]", reports: Sequence[Path], matrix: Path | None) -> None:
    from generic_connector.conformance import report  # noqa: PLC0415 - as above

    makers: Mapping[str, Callable[..., str]] = {".xml": report.junit, ".json": report.to_json, ".html": report.html}
    made = [(file, makers[file.suffix.lower()](*runs)) for file in reports]
    if matrix is not None:
        made.append((matrix, report.matrix(runs)))
    for file, text in made:
        file.write_text(text, encoding="utf-8")
        remark(f"wrote {file}")
