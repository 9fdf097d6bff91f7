"""Ports: what the connector needs of the outside, as Protocols named for their role.

- `Processor`: whoever moves the money. Third parties write one; everything they must know is on this page.
- `Store`: the ledger and the vault, durable.
- `Registry`: instances, their credentials, and the installation's wrapped keys.
- `KekProvider`: where the key that wraps the keys lives.

Ports are as wide as what the contract can trigger, and no wider.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from generic_connector.envelope import Purpose
from generic_connector.instance import Instance
from generic_connector.ledger import Event, Row
from generic_connector.money import Money
from generic_connector.payment import AchDetails, Approved, Declined, Instrument, LookUpResult, PurchaseResult

Clock = Callable[[], int]
"""Milliseconds since 1970, UTC."""


class Log(Protocol):
    """Takes events: a name, and fields of an allow-list (`telemetry`). Never card data, never free text."""

    def __call__(self, event: str, **fields: str | float | None) -> None:
        """Write one event."""
        ...

    def delivery(
        self,
        *,
        request_id: str,
        instance: str,
        credential: str,
        method: str,
        transaction_id: str,
        how: str,
        charge_id: str | None,
        brand: str | None,
        last4: str | None,
        code: str | None,
        may_retry: bool | None,
        status: int | None,
        ms: float,
    ) -> None:
        """Write the event `payment`: what every delivery of a payment ends with."""
        ...


# --- Processor -------------------------------------------------------------------------------------------------------


class Channel(StrEnum):
    """How the cardholder gave the card. Card networks price and judge by it; on this wire it is always the same."""

    TELEPHONE_ORDER = "telephone_order"
    """MOTO, telephone: the cardholder keyed the card into a call. For ACH, the Nacha entry class is TEL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """What a processor is asked: to take money (`money`), or only to say whether the instrument is good (None).

    `idempotency_key` is the same on every send of one transaction, after restarts too: letters, digits and `_`, 43
    characters. `instance` is the unique name, `transaction_id` the carrier's id: both are for the processor's own
    records. `metadata` are the merchant's custom parameters as texts. `controls` are for the sandbox only, and empty
    elsewhere.
    """

    idempotency_key: str
    instance: str
    transaction_id: str
    instrument: Instrument
    money: Money | None
    channel: Channel = Channel.TELEPHONE_ORDER
    reference: str | None = None
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    ach: AchDetails = field(default_factory=AchDetails)
    controls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What the connector may rely on. Promise less where you are not sure: it costs retries, not money.

    `honours_keys`: a second `purchase` with the same key does nothing and answers as the first did. Then, and only
    then, the connector sends again after an unknown outcome.
    `looks_up`: `look_up` tells what became of a key.
    `conclusive_after_s`: this long after a send, what `look_up` has not found will never happen.
    `is_live`: real money. Test instances cannot use a live processor, live instances no other.
    `controls`: reads `sandbox_*` parameters.
    """

    honours_keys: bool
    looks_up: bool
    conclusive_after_s: float
    is_live: bool = True
    controls: bool = False


class Processor(Protocol):
    """Moves money. One object serves all instances that name it, concurrently, on one event loop.

    Every method may take as long as it needs: the connector has its own clock (`processor_timeout`) and cancels
    what outlasts it. Exceptions are not an answer: one that escapes counts as `Unknown`, is logged without its
    text's digits, and is settled by look-up. Log no card data: `reveal()` what the wire needs, where the wire
    needs it.
    """

    @property
    def traits(self) -> Traits:
        """What may be relied on. Constant."""
        ...

    def check(self, purchase: Purchase) -> str | None:
        """Return the name of a field or parameter that this processor can do nothing with, or None. Pure and quick."""
        ...

    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        """Take the money (authorize and capture; for ACH, submit the debit)."""
        ...

    async def verify(self, purchase: Purchase) -> PurchaseResult:
        """Say whether the instrument is good, moving no money: `money` is None. Called before it is vaulted."""
        ...

    async def look_up(self, idempotency_key: str) -> LookUpResult:
        """Say what became of a purchase. `Unknown` where that cannot be told; `NotFound` only where it is certain."""
        ...

    async def is_reachable(self) -> bool:
        """Whether the processor answers. For `GET /readyz`; never stops the gateway."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


AtOnce = Approved | Declined
"""What can be said of an instrument without asking anybody."""


@runtime_checkable
class VerifiesAtOnce(Protocol):
    """A processor that can say by itself, at least of some instruments, whether they are good.

    Many cannot verify without charging: for them every instrument that is well-formed is good, and to ask would be a
    detour. A tokenize is then one write. Where `verify_at_once` answers None, `verify` is asked.
    """

    def verify_at_once(self, purchase: Purchase) -> AtOnce | None:
        """Say whether the instrument is good. Pure and quick: it may be asked again for a retry."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorContext:
    """What a processor's factory is given: its name, its options from `config.toml`, the home and the clock."""

    name: str
    options: Mapping[str, str]
    home: Path
    clock: Clock


ProcessorFactory = Callable[[ProcessorContext], Processor]
"""What an entry point of the group `generic_connector.processors` names."""


# --- Store -----------------------------------------------------------------------------------------------------------


class Vaulted(NamedTuple):
    """An instrument in the vault: sealed, and what may be shown of it. Inactive until its charge succeeds.

    A tuple, in the order of the table's columns, as the ledger's `Row` is.
    """

    token_id: str
    instance_id: int
    is_active: bool
    kind: str
    brand: str | None
    bin: str
    last4: str
    sealed: bytes
    key_id: int
    fingerprint: bytes
    fingerprint_key_id: int
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """The row is ours, durably. `possible_duplicate_of` names a row in doubt with the same fingerprint and amount."""

    possible_duplicate_of: str | None


@dataclass(frozen=True, slots=True)
class Existing:
    """Somebody was there before."""

    row: Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What became of a row: the edge to take, under which fence, and what to keep. Activates or deletes its token."""

    row: Row
    event: Event
    recorded_at_ms: int
    sent_at_ms: int | None = None
    authorization_code: str | None = None
    processor_reference: str | None = None
    error_code: str | None = None
    settled_by: str | None = None
    reply_status: int | None = None
    reply_body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """A line in a transaction's history: a delivery, a wait, a send, a look-up, a reply."""

    row_id: str
    at_ms: int
    event: str
    request_id: str


class StoreUnavailableError(Exception):
    """The store refused before anything was committed. Nothing of it was written; the caller answers 503."""


class Store(Protocol):
    """The ledger and the vault. What returns has been committed and survives the machine's next breath."""

    async def is_usable(self) -> bool:
        """Whether it can be read and written. For `GET /readyz`."""
        ...

    async def find(self, instance_id: int, transaction_id: str) -> Row | None:
        """Return the row of a transaction. Raises `StoreUnavailableError`."""
        ...

    async def claim(self, row: Row, vaulted: Vaulted | None) -> Claimed | Existing:
        """Insert a row, with its token where it has one, unless the transaction has a row already.

        Raises `StoreUnavailableError`: then nothing was written.
        """
        ...

    async def holds(self, row: Row) -> bool:
        """Whether the row still is running under this owner and fence."""
        ...

    async def take_over(self, row: Row, *, owner: str, lease_until_ms: int, now_ms: int) -> Row | None:
        """Make a running row whose lease is over this owner's, under the next fence; None where another was quicker."""
        ...

    async def record(self, settlement: Settlement) -> bool:
        """Take the edge, if the row still stands where the settlement says under the same fence."""
        ...

    async def unsettled(self, *, claimed_before_ms: int) -> Sequence[Row]:
        """Return the rows that are running or in doubt and were claimed before then, oldest first."""
        ...

    async def void_leases(self, *, but_of: str) -> int:
        """End the leases of all other owners: called where it is certain that they are dead. Returns how many."""
        ...

    def note(self, note: Note) -> None:
        """Add to a history, soon. Not waited for: a history is no promise to anybody."""
        ...


# --- Registry --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A way to prove to be an instance: a password's or a path secret's keyed hash."""

    instance_id: int
    kind: str
    hash: bytes
    key_id: int
    created_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """What is known of an access token. The token itself is not kept."""

    id: str
    instance_id: int
    scopes: tuple[str, ...]
    issued_at_ms: int
    expires_at_ms: int
    revoked_at_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedKey:
    """A key as it is stored: wrapped. `seals` is how many seals are reserved so far, for a key that seals."""

    id: int
    purpose: Purpose
    wrapped: bytes
    kek_id: str
    is_active: bool
    created_at_ms: int
    seals: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """An administrative act, for the audit trail (PCI DSS 10.2.2): who, what, on what, when, with which result."""

    at_ms: int
    actor: str
    action: str
    target: str
    result: str = "done"


class Registry(Protocol):
    """Instances, credentials, access tokens and wrapped keys. Every change carries the act that made it."""

    def installation(self) -> str:
        """Return the installation's id: what keys and access tokens are bound to."""
        ...

    def instances(self) -> Sequence[Instance]:
        """Return all instances, oldest first."""
        ...

    def credentials(self) -> Sequence[Credential]:
        """Return all credentials that are valid, oldest first."""
        ...

    def access_tokens(self) -> Sequence[AccessToken]:
        """Return all access tokens, oldest first."""
        ...

    def keys(self) -> Sequence[WrappedKey]:
        """Return all keys, oldest first."""
        ...

    def add_instance(self, instance: Instance, credentials: Sequence[Credential], act: Act) -> None:
        """Add an instance with its first credentials."""
        ...

    def set_enabled(self, instance_id: int, act: Act, *, enabled: bool) -> None:
        """Enable or disable an instance."""
        ...

    def replace_credentials(self, instance_id: int, kind: str, credentials: Sequence[Credential], act: Act) -> None:
        """Make these the only valid credentials of that kind."""
        ...

    def add_access_token(self, token: AccessToken, act: Act) -> None:
        """Remember an access token."""
        ...

    def revoke_access_token(self, token_id: str, act: Act) -> None:
        """Revoke an access token."""
        ...

    def add_keys(self, keys: Sequence[WrappedKey], act: Act) -> None:
        """Add wrapped keys."""
        ...

    def reserve_seals(self, key_id: int, seals: int) -> int:
        """Reserve that many seals of a key, durably; return how many are reserved in all."""
        ...


# --- Custody ---------------------------------------------------------------------------------------------------------


class KekProvider(Protocol):
    """Keeps the KEK. Development: a file. Production: an HSM or a key service, which never gives it away."""

    @property
    def kek_id(self) -> str:
        """Names the KEK that wraps now."""
        ...

    def wrap(self, clear: bytes, aad: bytes) -> bytes:
        """Return a key wrapped and bound to `aad`."""
        ...

    def unwrap(self, wrapped: bytes, aad: bytes) -> bytes:
        """Return the key. Raises `envelope.TamperedError` where it does not open."""
        ...
