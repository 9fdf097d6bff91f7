"""`transaction show`: one transaction and all that happened to it, as a timeline. Masked.

What happened is in two places: the ledger's row has the first delivery, the send and the record; the notes
have every other delivery and second send. Here they are one list, in the order of time. Notes are written
with the next commit, and a crash may lose the last of them; the row it never loses.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from generic_connector.administration import RefusedError
from generic_connector.cli.acts import reading
from generic_connector.cli.options import example, group_home_option, home_option, json_option
from generic_connector.cli.output import GAP, CarrierId, amount, masked, moment, say, say_facts, say_json, words
from generic_connector.contract.errors import ERRORS
from generic_connector.ledger import Row, State
from generic_connector.ports import Note
from generic_connector.stores.sqlite import NOTES_PER_ROW_MAX, SqliteReader, find_any, notes_of

_NOTED = {
    "replayed": "delivery, answered with the stored reply",
    "waiting": "delivery, waits for the work at hand",
    "waited": "delivery, waited for the work at hand and got its reply",
    "left": "the caller of this delivery left before there was a reply; the work goes on",
    "sent": "sent to the processor",
    "in_doubt": "in doubt: whoever waited was answered outcome_unknown",
    "reconciled": "looked up by the server itself",
    "conflict": "delivery of another payment under this id: refused as transaction_id_reused, nothing sent",
    "taken_over": "delivery, took over from a server that died: looked up first",
    "looked_up": "delivery while in doubt: looked up at the processor",
    "sent_again": "sent again under the same idempotency key",
}


@click.group("transaction")
@group_home_option
def transaction() -> None:
    """Payments: what happened to one."""


@transaction.command("show", epilog=example("transaction show ch_..."))
@click.argument("id_", metavar="ID")
@home_option
@json_option
def show(home: Path, id_: str, *, as_json: bool) -> None:
    """Show a transaction: every delivery, wait, send and reply, with times.

    ID is the carrier's transaction_id, the charge or token id, or a request id (the header X-Request-Id, and the logs).
    """
    with reading(home) as connection:
        row = _only(find_any(connection, id_))
        notes = notes_of(connection, row.id)
        names = {instance.id: instance.unique_name for instance in SqliteReader(connection).instances()}
    told = _told(row, names.get(row.instance_id))
    events = _timeline(row, notes)
    if as_json:
        timeline = [{"at": moment(e.at_ms), "event": e.name, "request_id": e.request_id} for e in events]
        say_json({**told, "reply": _reply(row), "timeline": timeline})
    else:
        _say(told, events)


def _only(rows: Sequence[Row]) -> Row:
    if not rows:
        raise RefusedError(
            "nothing has this id: try the transaction_id, the charge or token id of a reply, or its X-Request-Id; "
            "check --home; and mind that a request that was refused leaves no row, only a line in the log, "
            "and that `vault purge` deletes what is older than 13 months"
        )
    if len(rows) > 1:
        raise RefusedError(f"{len(rows)} transactions have this id: give one of {words(row.id for row in rows)}")
    return rows[0]


_HAS_TOKEN = {State.APPROVED, State.SAVED}
"""Where a token that the row names is there. It is pending before, and deleted with a decline."""


def _told(row: Row, instance: str | None) -> dict[str, object]:
    """What may be told of a row, with what its error code means for whoever calls."""
    entry = next((entry for code, entry in ERRORS.items() if code == row.error_code), None)
    return {
        "id": row.id,
        "transaction_id": CarrierId(row.transaction_id),
        "instance": instance,
        "method": row.method.value,
        "state": row.state.value,
        "error_code": row.error_code,
        "may_retry": None if entry is None else entry.may_retry,
        "amount": amount(row),
        "currency": row.currency,
        "kind": row.kind,
        "number": masked(row),
        "token_id": row.token_id if row.state in _HAS_TOKEN else None,
        "reference": row.reference,
        "confirmation_number": row.confirmation_number,
        "authorization_code": row.authorization_code,
        "processor": row.processor,
        "processor_reference": row.processor_reference,
        "idempotency_key": row.idempotency_key,
        "possible_duplicate_of": row.possible_duplicate_of,
        "settled_by": row.settled_by,
        "lease_until": moment(row.lease_until_ms) if row.state is State.RUNNING and row.lease_until_ms else None,
        "fence": row.fence,
    }


def _reply(row: Row) -> object:
    """The stored reply: its status, and the body that every later delivery gets."""
    if row.reply_status is None or row.reply_body is None:
        return None
    return {"status": row.reply_status, "body": json.loads(row.reply_body)}


# --- The timeline ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Event:
    at_ms: int
    name: str
    text: str
    request_id: str | None = None


def _timeline(row: Row, notes: Sequence[Note]) -> list[_Event]:
    """Everything that is known to have happened, in the order of time."""
    noted = {note.event for note in notes}
    events = [_Event(row.claimed_at_ms, "delivery", "first delivery, claimed", row.request_id)]
    if row.sent_at_ms is not None and "sent" not in noted:
        events.append(_Event(row.sent_at_ms, "sent", _NOTED["sent"], row.request_id))
    events += [_Event(note.at_ms, note.event, _NOTED.get(note.event, note.event), note.request_id) for note in notes]
    if row.recorded_at_ms is not None and row.state is not State.IN_DOUBT:
        events.append(_Event(row.recorded_at_ms, row.state.value, _recorded(row)))
        has_left = any(note.event == "left" and note.request_id == row.request_id for note in notes)
        if not (has_left or row.settled_by or noted & _LATER):
            text = f"first delivery, replied {row.reply_status}"
            events.append(_Event(row.recorded_at_ms, "replied", text, row.request_id))
    if sum(note.event in _OF_DELIVERIES for note in notes) >= NOTES_PER_ROW_MAX:
        events.append(_Event(notes[-1].at_ms, "cut", "there may have been more deliveries: so many are not kept"))
    return sorted(events, key=lambda event: (event.at_ms, event.name in _AFTERWARDS))


_LATER = {"in_doubt", "taken_over", "reconciled"}
"""What tells that the first delivery was not there any more when the outcome was recorded."""
_OF_DELIVERIES = {"replayed", "conflict", "waiting", "waited", "left", "looked_up"}
_AFTERWARDS = {"waited", "replied", "replayed", "conflict", "cut"}
"""What comes after the rest of its millisecond."""


def _recorded(row: Row) -> str:
    by = "" if row.settled_by is None else f", settled by {row.settled_by}"
    code = "" if row.error_code is None else f" ({row.error_code})"
    return f"recorded: {row.state.value}{code}{by}; every delivery is answered {row.reply_status} from now on"


def _say(told: Mapping[str, object], events: Sequence[_Event]) -> None:
    facts = {name.replace("_", " "): value for name, value in told.items() if name not in {"currency", "kind", "fence"}}
    if told["amount"] is not None:
        facts["amount"] = f"{told['amount']} {told['currency']}"
    if told["may_retry"] is not None:
        facts["may retry"] = "yes, as a new transaction" if told["may_retry"] else "no"
    say_facts(facts, indent="")
    say("\ntimeline (UTC)")
    for event in events:
        request = "" if event.request_id is None else f" [{event.request_id}]"
        say(f"  {moment(event.at_ms)}{GAP}{_after(event, events[0])}{GAP}{event.text}{request}")


def _after(event: _Event, first: _Event) -> str:
    return f"{f'+{(event.at_ms - first.at_ms) / 1000:.3f} s':>11}"
