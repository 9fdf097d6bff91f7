"""An answer: what one delivery is told, and how it came by it.

Deliveries of one transaction all get the same bytes; how each came by them is for logs and histories. An answer without
a reply is silence: after a claim there is no error reply, and the caller is left waiting for Twilio's retry.
"""

from enum import StrEnum
from typing import NamedTuple

from generic_connector.contract.errors import Code
from generic_connector.contract.reply import Reply
from generic_connector.ledger import Row


class How(StrEnum):
    """How a delivery came by its answer, for logs and histories."""

    FIRST = "first"
    REFUSED = "refused"
    REPLAYED = "replayed"
    WAITED = "waited"
    CONFLICT = "conflict"
    TAKEN_OVER = "taken_over"
    LOOKED_UP = "looked_up"


class Answer(NamedTuple):
    """What a delivery is told. `reply` None: nothing may be said now; the caller waits for its own clock."""

    reply: Reply | None
    how: How
    row: Row | None = None
    code: Code | str | None = None


def replay(row: Row) -> Answer:
    """Return the stored reply of a row that is finished."""
    if row.reply_status is None or row.reply_body is None:
        raise LookupError("a terminal row has no reply")
    return Answer(Reply(row.reply_status, row.reply_body), How.REPLAYED, row, row.error_code)
