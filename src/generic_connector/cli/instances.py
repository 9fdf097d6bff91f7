"""`instance` and `access-token`: who may call, and with what.

Passwords, path secrets and access tokens are shown once, here, at the moment when they are made. The
installation keeps keyed hashes and ids, so what was not noted down is made anew and not looked up.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from generic_connector.cli.acts import act
from generic_connector.cli.options import Duration, example, group_home_option, home_option, json_option
from generic_connector.cli.output import say, say_facts, say_json, say_table, words, yes_or_no
from generic_connector.instance import Dialect, Mode
from generic_connector.payment import Method

_METHODS = click.Choice([method.value for method in Method])
_SHOWN_ONCE = "Note it down now: it is shown this once, and kept only as a hash."


@click.group("instance")
@group_home_option
def instance() -> None:
    """Instances: who may call, what they may do, their passwords."""


@instance.command("add", epilog=example("instance add Default --mode test --allow charge --allow tokenize"))
@click.argument("unique_name", metavar="NAME")
@click.option("--mode", type=click.Choice([mode.value for mode in Mode]), default=Mode.TEST.value, show_default=True)
@click.option("--allow", type=_METHODS, multiple=True, help="May be given twice. Default: both.")
@click.option("--processor", metavar="P", default="sandbox", show_default=True, help="Who moves the money.")
@click.option(
    "--dialect", type=click.Choice([d.value for d in Dialect]), default=Dialect.TWILIO.value, show_default=True
)
@click.option("--path-secret", is_flag=True, help="Also make a secret path, for a caller that cannot authenticate.")
@click.option("--require-cvv", is_flag=True, help="Refuse cards without a CVV.")
@click.option("--save-card-on-charge", is_flag=True, help="Keep a token of every card that is charged.")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="New payments a second, at most."
)
@home_option
@json_option
def add(home: Path, *, as_json: bool, **arguments: object) -> None:
    """Add an instance, and print its credentials, once."""
    added = act(home, "instance add", {**arguments, "allow": list(arguments["allow"])})  # type: ignore[call-overload]  # click's tuple
    if as_json:
        say_json(added)
    else:
        _say_added(added)


def _say_added(added: Mapping[str, Any]) -> None:
    say(f"added {added['unique_name']}: {words(added['allow'])}, in {added['mode']} mode, by {added['processor']}\n")
    say_facts({name: added.get(name) for name in ("username", "password", "path")})
    say(f"\n{_SHOWN_ONCE}\n")
    if added["dialect"] == Dialect.TWILIO:
        say("In Twilio's Console, on the page of the Generic Pay Connector, type:\n")
        _say_form(added)
    else:
        say("Give these to the carrier, with the https address under which it reaches this server.")


def _say_form(added: Mapping[str, Any]) -> None:
    path = added.get("path", "/")
    say_facts(
        {
            "Unique Name": added["unique_name"],
            "Mode": str(added["mode"]).upper(),
            "Endpoint URL": f"https://the-public-name-of-this-server{path}",
            "Username": added["username"],
            "Password": "the one above",
        }
    )


@instance.command("list", epilog=example("instance list"))
@home_option
@json_option
def list_(home: Path, *, as_json: bool) -> None:
    """List all instances."""
    instances = act(home, "instance list", {})
    if as_json:
        say_json(instances)
        return
    say_table(
        ("name", "mode", "allow", "processor", "dialect", "enabled", "passwords"),
        [
            (
                one["unique_name"],
                one["mode"],
                words(one["allow"]),
                one["processor"],
                one["dialect"],
                yes_or_no(one["enabled"]),
                one["passwords_valid"],
            )
            for one in instances
        ],
        "there is no instance: run `generic-connector instance add Default`",
    )


@instance.command("show", epilog=example("instance show Default"))
@click.argument("unique_name", metavar="NAME")
@home_option
@json_option
def show(home: Path, unique_name: str, *, as_json: bool) -> None:
    """Show one instance. Its passwords cannot be shown."""
    _say_instance(act(home, "instance show", {"unique_name": unique_name}), as_json=as_json)


@instance.command("disable", epilog=example("instance disable Default"))
@click.argument("unique_name", metavar="NAME")
@home_option
@json_option
def disable(home: Path, unique_name: str, *, as_json: bool) -> None:
    """Disable an instance: its calls are answered 403 from now on."""
    _say_instance(act(home, "instance disable", {"unique_name": unique_name}), as_json=as_json)


@instance.command("enable", epilog=example("instance enable Default"))
@click.argument("unique_name", metavar="NAME")
@home_option
@json_option
def enable(home: Path, unique_name: str, *, as_json: bool) -> None:
    """Enable an instance that was disabled."""
    _say_instance(act(home, "instance enable", {"unique_name": unique_name}), as_json=as_json)


def _say_instance(shown: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json(shown)
        return
    say_facts(
        {
            "name": shown["unique_name"],
            "username": shown["username"],
            "mode": shown["mode"],
            "may": words(shown["allow"]),
            "processor": shown["processor"],
            "dialect": shown["dialect"],
            "enabled": yes_or_no(shown["enabled"]),
            "requires CVV": yes_or_no(shown["require_cvv"]),
            "saves charged cards": yes_or_no(shown["save_card_on_charge"]),
            "payments a second": shown["rate"] or "no limit of its own",
            "valid passwords": shown["passwords_valid"],
        },
        indent="",
    )


@instance.command("rotate-password", epilog=example("instance rotate-password Default"))
@click.argument("unique_name", metavar="NAME")
@click.option("--revoke-old", is_flag=True, help="End all older passwords at once.")
@home_option
@json_option
def rotate_password(home: Path, unique_name: str, *, revoke_old: bool, as_json: bool) -> None:
    """Make a new password. The one before stays valid until the next rotation.

    So Twilio's Console can be changed without a gap. Two are valid at a time at most.
    """
    rotated = act(home, "instance rotate-password", {"unique_name": unique_name, "revoke_old": revoke_old})
    if as_json:
        say_json(rotated)
        return
    say_facts({"username": rotated["username"], "password": rotated["password"]}, indent="")
    say(f"\n{_SHOWN_ONCE}")
    if rotated["passwords_valid"] > 1:
        say("The password before this one is valid too, until the next rotation. Type this one into Twilio's Console.")
    else:
        say("No other password is valid any more. Type this one into Twilio's Console now.")


# --- Access tokens ---------------------------------------------------------------------------------------------------


@click.group("access-token")
@group_home_option
def access_token() -> None:
    """Access tokens: credentials that end by themselves."""


@access_token.command(
    "issue", epilog=example("access-token issue --instance Default --scope tokenize --expires-in 90d")
)
@click.option("--instance", "unique_name", metavar="NAME", required=True, help="Whose calls it lets through.")
@click.option("--scope", "scopes", type=_METHODS, multiple=True, required=True, help="May be given twice.")
@click.option("--expires-in", type=Duration(), default="90d", show_default=True, metavar="TIME", help="30s 15m 12h 90d")
@home_option
@json_option
def issue(home: Path, unique_name: str, scopes: tuple[str, ...], expires_in: int, *, as_json: bool) -> None:
    """Issue an access token, and print it, once."""
    issued = act(
        home, "access-token issue", {"instance": unique_name, "scopes": list(scopes), "expires_in_s": expires_in}
    )
    if as_json:
        say_json(issued)
        return
    say(issued["token"])
    say(f"\n{issued['id']}: {words(issued['scopes'])} for {issued['instance']}, until {issued['expires_at']}")
    say("Note it down now: it is shown this once, and not kept. It goes where the password goes, with the instance's")
    say("username; or, without one, into the header `Authorization: Bearer`.")


@access_token.command("list", epilog=example("access-token list"))
@home_option
@json_option
def list_tokens(home: Path, *, as_json: bool) -> None:
    """List all access tokens: ids and ends. The tokens themselves are not kept."""
    tokens = act(home, "access-token list", {})
    if as_json:
        say_json(tokens)
        return
    say_table(
        ("id", "instance", "scopes", "expires at", "days left", "state"),
        [
            (one["id"], one["instance"], words(one["scopes"]), one["expires_at"], one["days_left"], one["state"])
            for one in tokens
        ],
        "there is no access token: run `generic-connector access-token issue --instance NAME --scope charge`",
    )


@access_token.command("revoke", epilog=example("access-token revoke at_..."))
@click.argument("token_id", metavar="ID")
@home_option
@json_option
def revoke(home: Path, token_id: str, *, as_json: bool) -> None:
    """Revoke an access token: calls with it are answered 401 from now on."""
    revoked = act(home, "access-token revoke", {"id": token_id})
    if as_json:
        say_json(revoked)
    else:
        say(f"{revoked['id']} of {revoked['instance']} is {revoked['state']}")
