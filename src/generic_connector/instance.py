"""A Pay Connector instance: one merchant's (or one environment's) way in.

In Twilio's Console an instance of the Generic Pay Connector has a unique name, which `<Pay paymentConnector="...">`
names (one may be called `Default`), a mode, one endpoint URL, a username and a password. Here each has its twin: same
name, same mode, its own credentials, and what it may do.

A **caller** is an instance that proved itself on this request, with what that proof allows: a password allows all that
the instance may do, an access token only its scopes.
"""

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from generic_connector.payment import Method

NAME_CHARS_MAX = 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")


class Mode(StrEnum):
    """Twilio's two modes: `test` takes the published numbers only, `live` refuses those cards."""

    TEST = "test"
    LIVE = "live"


class Dialect(StrEnum):
    """Which carrier's spelling of the contract an instance speaks."""

    TWILIO = "twilio"
    TELNYX = "telnyx"
    SIGNALWIRE = "signalwire"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """What is known of an instance. `rate_per_s` None is no limit of its own."""

    id: int
    unique_name: str
    username: str
    mode: Mode
    allow: AbstractSet[Method]
    processor: str
    dialect: Dialect
    enabled: bool = True
    require_cvv: bool = False
    save_card_on_charge: bool = False
    rate_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """An instance, and what the credential it came with lets it do."""

    instance: Instance
    scopes: AbstractSet[Method]
    credential: str
    """How it proved itself, for the log: `password`, `path`, or an access token's id."""

    def may(self, method: Method) -> bool:
        """Whether both the instance and the credential permit `method`."""
        return method in self.instance.allow and method in self.scopes


def is_unique_name(text: str) -> bool:
    """Whether `text` can name an instance.

    A letter or digit, then letters, digits, `_`, `.` and `-`, 64 characters in all.
    """
    return _NAME.fullmatch(text) is not None
