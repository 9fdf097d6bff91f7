"""Deliveries: one HTTP attempt each, as it may be shown.

A **delivery** is one request that the simulated Twilio makes, to a connector's endpoint or to the application, with the
answer that came. Whoever listens is told of it twice: when it begins, and, with the same `id`, when it ends. It is for
people: a timeline, a transcript, a test that counts.

Nothing in it is secret. A card number shows its last four digits, an account number its last two, a security code
nothing, a user name and password in a URL are left out, and an answer is scrubbed of all of them before it comes here.
"""

from dataclasses import dataclass
from typing import Literal

SHOWN_BYTES_MAX = 4096
"""How much of a connector's answer is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One attempt. What is only known once it is over is None before.

    `why` is for people: `charge`, `tokenize`, `document`, `action` and so on. `attempt` counts from 1.
    """

    id: int
    """The same in both tellings, unique for whoever sends."""
    to: Literal["connector", "application"]
    why: str
    method: str
    url: str
    attempt: int
    request: str
    """The body, masked."""
    status: int | None = None
    """The HTTP status of the answer; None where no whole answer came."""
    failure: str | None = None
    """Why there is no answer, in a sentence of our own."""
    milliseconds: float | None = None
    """How long it took. None: it has only begun."""
    reply: str | None = None
    """The answer's body, scrubbed and cut to size."""
    is_last: bool | None = None
    """Whether no other attempt follows."""
