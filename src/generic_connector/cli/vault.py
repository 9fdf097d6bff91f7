"""`vault`: what is kept, for how long, and how to delete what has been kept long enough. Nothing is unsealed here.

`purge` searches with a connection that cannot write, and hands what it found to the act in small batches, so
that payments wait for no search and hardly for a delete. The act checks each row again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from generic_connector.administration import RETENTION_MONTHS, RefusedError, iso, months_before
from generic_connector.cli.acts import act, reading
from generic_connector.cli.options import Age, example, group_home_option, home_option, json_option
from generic_connector.cli.output import masked, moment, remark, say, say_facts, say_json, say_table, yes_or_no
from generic_connector.envelope import SEALS_MAX, Purpose
from generic_connector.home import wall_clock
from generic_connector.stores.sqlite import (
    Purged,
    SqliteReader,
    count_past,
    count_states,
    count_tokens,
    find_vaulted,
    some_past,
    token_times,
)

_ASKED_AT_ONCE = 500
_FINGERPRINT_DIGITS_SHOWN = 8


@click.group("vault")
@group_home_option
def vault() -> None:
    """Vault and ledger: what is kept, and deleting it in time."""


@vault.command("report", epilog=example("vault report"))
@home_option
@json_option
def report(home: Path, *, as_json: bool) -> None:
    """Count tokens, ledger rows and seals; say what is past its time."""
    counted = _counted(home)
    if as_json:
        say_json(counted)
    else:
        _say_report(counted)


def _counted(home: Path) -> dict[str, Any]:
    with reading(home) as connection:
        oldest, newest = token_times(connection)
        return {
            "tokens": [
                {"instance": t.instance, "kind": t.kind, "brand": t.brand, "active": t.is_active, "count": t.count}
                for t in count_tokens(connection)
            ],
            "oldest": moment(oldest),
            "newest": moment(newest),
            "keys": [
                {
                    "id": key.id,
                    "active": key.is_active,
                    "created_at": moment(key.created_at_ms),
                    "seals_reserved": key.seals,
                    "seals_max": SEALS_MAX,
                }
                for key in SqliteReader(connection).keys()  # noqa: SIM118 - no dictionary
                if key.purpose is Purpose.SEAL
            ],
            "ledger": {state.value: count for state, count in count_states(connection).items()},
            "past_retention": count_past(connection, months_before(wall_clock(), RETENTION_MONTHS)).rows,
        }


def _say_report(counted: Mapping[str, Any]) -> None:
    say("tokens")
    say_table(
        ("instance", "kind", "brand", "state", "count"),
        [
            (t["instance"], t["kind"], t["brand"], "active" if t["active"] else "pending", t["count"])
            for t in counted["tokens"]
        ],
        "there is no token yet",
    )
    say_facts({"oldest": counted["oldest"], "newest": counted["newest"]}, indent="")
    say("\nkeys that seal")
    say_table(
        ("key", "active", "made at", "seals reserved", "of at most"),
        [
            (k["id"], yes_or_no(k["active"]), k["created_at"], k["seals_reserved"], k["seals_max"])
            for k in counted["keys"]
        ],
        "there is no key: run `generic-connector doctor`",
    )
    say("\nledger")
    say_table(("state", "rows"), list(counted["ledger"].items()), "there is no transaction yet")
    say(f"{counted['past_retention']} rows are past {RETENTION_MONTHS} months: `vault purge` deletes them")


@vault.command("show", epilog=example("vault show tok_..."))
@click.argument("token_id", metavar="TOKEN")
@home_option
@json_option
def show(home: Path, token_id: str, *, as_json: bool) -> None:
    """Show what may be shown of a token. Unseals nothing."""
    with reading(home) as connection:
        entry = find_vaulted(connection, token_id)
        names = {instance.id: instance.unique_name for instance in SqliteReader(connection).instances()}
    if entry is None:
        raise RefusedError("no token has this id: take it from the reply (tok_...), and check --home")
    shown = {
        "token_id": entry.token_id,
        "instance": names.get(entry.instance_id),
        "kind": entry.kind,
        "brand": entry.brand,
        "bin": entry.bin,
        "last4": entry.last4,
        "created_at": moment(entry.created_at_ms),
        "active": entry.is_active,
        "key_id": entry.key_id,
        "fingerprint": entry.fingerprint.hex()[:_FINGERPRINT_DIGITS_SHOWN],
    }
    if as_json:
        say_json(shown)
    else:
        hidden = {"kind", "brand", "bin", "last4"}
        facts = {name.replace("_", " "): value for name, value in shown.items() if name not in hidden}
        say_facts({**facts, "active": yes_or_no(entry.is_active), "number": masked(entry)}, indent="")


# --- Deleting --------------------------------------------------------------------------------------------------------


@vault.command("purge", epilog=example("vault purge --older-than 13M --dry-run"))
@click.option("--older-than", "before_ms", type=Age(), default=f"{RETENTION_MONTHS}M", show_default=True, metavar="AGE")
@click.option("--dry-run", is_flag=True, help="Count, and delete nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@home_option
@json_option
def purge(home: Path, before_ms: int, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Delete finished transactions with their histories, and tokens that no charge kept, once they are old enough.

    Active tokens stay. A transaction that is deleted can no longer answer a retry, nor be shown.
    """
    with reading(home) as connection:
        found = count_past(connection, before_ms)
    text = f"{found.rows} transactions that ended before {iso(before_ms)}, {found.notes} lines of their histories, and"
    (remark if as_json else say)(f"{text} {found.pending} tokens that no charge kept")
    if found != Purged() and not dry_run:
        if not yes and not click.confirm("Delete them for good?", err=True):
            raise RefusedError("nothing was deleted: answer y, or give --yes")
        found = _delete(home, before_ms)
        (remark if as_json else say)(f"deleted {found.rows} transactions, {found.notes} lines, {found.pending} tokens")
    if as_json:
        counts = {"rows": found.rows, "notes": found.notes, "pending": found.pending}
        say_json({"before": iso(before_ms), "dry_run": dry_run, **counts})


def _delete(home: Path, before_ms: int) -> Purged:
    total = Purged()
    while True:
        with reading(home) as connection:
            rows, pending = some_past(connection, before_ms, _ASKED_AT_ONCE)
        if not (rows or pending):
            return total
        done = act(home, "vault purge", {"before_ms": before_ms, "rows": rows, "pending": pending})
        total = Purged(total.rows + done["rows"], total.notes + done["notes"], total.pending + done["pending"])
        if not (done["rows"] or done["pending"]):
            raise RefusedError("some of it could not be deleted: run `generic-connector doctor`")
