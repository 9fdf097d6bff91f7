"""Administration: every act on an installation, by name, with plain JSON in and out.

The command line asks for these; a running server does them (through its control socket), or the command
itself does where no server runs. Either way it is this code, with the same checks and the same audit: each
act that changes something is kept in the transaction that makes the change, and logged.

An act that cannot be done raises `RefusedError`, whose text says what is wrong and what to do next.
"""

import asyncio
from calendar import monthrange
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

from generic_connector.connector import Connector
from generic_connector.envelope import Purpose, credential_hash
from generic_connector.identifier import Randomness, letters
from generic_connector.identity import PASSWORD, PATH, Directory, days_left, new_access_token, new_credential
from generic_connector.instance import NAME_CHARS_MAX, Dialect, Instance, Mode, is_unique_name
from generic_connector.keyring import Keyring
from generic_connector.ledger import Row
from generic_connector.payment import DeclineCode, Method
from generic_connector.ports import AccessToken, Act, Clock, Credential, Log, Processor, Registry
from generic_connector.processors.sandbox import FaultKind, SandboxProcessor
from generic_connector.recovery import LEFT_TO_THE_RETRY_MS
from generic_connector.scrub import scrub

Arguments = Mapping[str, Any]  # JSON, checked field by field by the act that takes it
Result = Any  # JSON
Finder = Callable[[str], Sequence[Row]]
"""Finds the rows that a person may mean by an id."""


class Purger(Protocol):
    """Deletes ledger rows and pending tokens, as far as they are past their time."""

    def __call__(self, rows: Sequence[str], pending: Sequence[str], *, before_ms: int, act: Act | None) -> "Purged":
        """Delete them in one commit."""
        ...


class Purged(Protocol):
    """How much was deleted."""

    @property
    def rows(self) -> int:
        """Ledger rows."""
        ...

    @property
    def notes(self) -> int:
        """Lines of their histories."""
        ...

    @property
    def pending(self) -> int:
        """Tokens whose charge did not keep them."""
        ...


PASSWORDS_VALID_MAX = 2
TOKEN_LIFE_S_MAX = 366 * 86_400
DELAY_MS_MAX = 60_000
RETENTION_MONTHS = 13
RETENTION_MS_MIN = 86_400_000
"""A row younger than this may still have to answer a retry."""
PURGED_AT_ONCE = 50
"""A commit of this size holds up no payment."""


class RefusedError(Exception):
    """The act was not done. Says what is wrong and what to do next; exit status 1."""


class Administration:
    """The acts. `actor` says who asks, for the audit."""

    def __init__(
        self,
        *,
        registry: Registry,
        keyring: Keyring,
        directory: Directory,
        connector: Connector,
        processors: Mapping[str, Processor],
        find_rows: Finder,
        purge: Purger,
        clock: Clock,
        randomness: Randomness,
        log: Log,
    ) -> None:
        self._registry = registry
        self._keyring = keyring
        self._directory = directory
        self._connector = connector
        self._processors = processors
        self._find_rows = find_rows
        self._purge = purge
        self._clock = clock
        self._randomness = randomness
        self._log = log
        self.acts: Mapping[str, Callable[[Arguments, str], Awaitable[Result]]] = {
            "instance add": self._instance_add,
            "instance list": self._instance_list,
            "instance show": self._instance_show,
            "instance disable": self._instance_disable,
            "instance enable": self._instance_enable,
            "instance rotate-password": self._instance_rotate_password,
            "access-token issue": self._access_token_issue,
            "access-token list": self._access_token_list,
            "access-token revoke": self._access_token_revoke,
            "reconcile": self._reconcile,
            "reconcile settle": self._reconcile_settle,
            "sandbox fault": self._sandbox_fault,
            "sandbox clear": self._sandbox_clear,
            "vault purge": self._vault_purge,
        }

    async def do(self, name: str, arguments: Arguments, actor: str) -> Result:
        """Do one act. Raises `RefusedError`."""
        act = self.acts.get(name)
        if act is None:
            raise RefusedError(f"the running server knows no {name!r}: restart it with this version")
        return await act(arguments, actor)

    def _act(self, actor: str, action: str, target: str) -> Act:
        self._log("act", actor=actor, action=action, target=target)
        return Act(at_ms=self._clock(), actor=actor, action=action, target=target)

    # --- Instances ---------------------------------------------------------------------------------------------------

    async def _instance_add(self, arguments: Arguments, actor: str) -> Result:
        instance = self._new_instance(arguments)
        password, path_secret = new_credential(self._randomness), None
        credentials = [self._credential(instance.id, PASSWORD, password)]
        if arguments.get("path_secret"):
            path_secret = new_credential(self._randomness)
            credentials.append(self._credential(instance.id, PATH, path_secret))
        self._registry.add_instance(instance, credentials, self._act(actor, "instance add", instance.unique_name))
        self._directory.reload()
        shown = {"unique_name": instance.unique_name, "username": instance.username, "password": password}
        return shown | self._described(instance) | ({} if path_secret is None else {"path": f"/i/{path_secret}"})

    def _new_instance(self, arguments: Arguments) -> Instance:
        name = str(arguments["unique_name"])
        if not is_unique_name(name) or scrub(name) != name:
            raise RefusedError(
                f"an instance's name is letters, digits, '_', '.' and '-', {NAME_CHARS_MAX} at most: choose another"
            )
        if self._directory.by_name(name) is not None:
            raise RefusedError(
                f"there is an instance {name} already: choose another name, or see `instance show {name}`"
            )
        mode, processor = Mode(arguments.get("mode", Mode.TEST)), str(arguments.get("processor", "sandbox"))
        self._check_processor(processor, mode)
        return Instance(
            id=max(self._directory.instances, default=0) + 1,
            unique_name=name,
            username=f"ic{letters(self._randomness(8))}",
            mode=mode,
            allow=frozenset(map(Method, arguments.get("allow") or list(Method))),
            processor=processor,
            dialect=Dialect(arguments.get("dialect", Dialect.TWILIO)),
            require_cvv=bool(arguments.get("require_cvv")),
            save_card_on_charge=bool(arguments.get("save_card_on_charge")),
            rate_per_s=None if arguments.get("rate") is None else float(arguments["rate"]),
        )

    def _check_processor(self, name: str, mode: Mode) -> None:
        processor = self._processors.get(name)
        if processor is None:
            known = ", ".join(sorted(self._processors))
            raise RefusedError(
                f"there is no processor {name} here (there are: {known}): name it in config.toml and restart the server"
            )
        if mode is Mode.LIVE and not processor.traits.is_live:
            raise RefusedError(f"a live instance cannot use {name}, which moves no money: choose a live --processor")
        if mode is Mode.TEST and processor.traits.is_live:
            raise RefusedError(
                f"a test instance cannot use {name}, which moves real money: use the sandbox, or --mode live"
            )

    async def _instance_list(self, _arguments: Arguments, _actor: str) -> Result:
        return [self._shown(instance) for instance in self._directory.instances.values()]

    async def _instance_show(self, arguments: Arguments, _actor: str) -> Result:
        return self._shown(self._instance(arguments))

    async def _instance_disable(self, arguments: Arguments, actor: str) -> Result:
        return self._set_enabled(arguments, actor, enabled=False)

    async def _instance_enable(self, arguments: Arguments, actor: str) -> Result:
        return self._set_enabled(arguments, actor, enabled=True)

    def _set_enabled(self, arguments: Arguments, actor: str, *, enabled: bool) -> Result:
        instance = self._instance(arguments)
        act = self._act(actor, "instance enable" if enabled else "instance disable", instance.unique_name)
        self._registry.set_enabled(instance.id, act, enabled=enabled)
        self._directory.reload()
        return self._shown(self._directory.instances[instance.id])

    async def _instance_rotate_password(self, arguments: Arguments, actor: str) -> Result:
        """A second password beside the first, so that Twilio's Console can be changed without a gap."""
        instance = self._instance(arguments)
        password = new_credential(self._randomness)
        kept = [] if arguments.get("revoke_old") else self._passwords(instance)[-(PASSWORDS_VALID_MAX - 1) :]
        made = self._credential(instance.id, PASSWORD, password)
        latest_ms = max((credential.created_at_ms for credential in kept), default=0)
        # Their order tells which is older, even where two are made within a millisecond.
        credentials = [*kept, replace(made, created_at_ms=max(made.created_at_ms, latest_ms + 1))]
        act = self._act(actor, "instance rotate-password", instance.unique_name)
        self._registry.replace_credentials(instance.id, PASSWORD, credentials, act)
        self._directory.reload()
        shown = {"unique_name": instance.unique_name, "username": instance.username, "password": password}
        return shown | {"passwords_valid": len(credentials)}

    def _passwords(self, instance: Instance) -> list[Credential]:
        return [c for c in self._registry.credentials() if c.instance_id == instance.id and c.kind == PASSWORD]

    def _credential(self, instance_id: int, kind: str, clear: str) -> Credential:
        key = self._keyring.active(Purpose.CREDENTIAL)
        return Credential(
            instance_id=instance_id,
            kind=kind,
            hash=credential_hash(clear, key),
            key_id=key.id,
            created_at_ms=self._clock(),
        )

    def _instance(self, arguments: Arguments) -> Instance:
        name = str(arguments.get("unique_name") or arguments.get("instance"))
        instance = self._directory.by_name(name)
        if instance is None:
            raise RefusedError(f"there is no instance {name}: see `instance list`, or `instance add {name}`")
        return instance

    def _described(self, instance: Instance) -> dict[str, Result]:
        return {
            "mode": instance.mode.value,
            "allow": sorted(method.value for method in instance.allow),
            "processor": instance.processor,
            "dialect": instance.dialect.value,
            "enabled": instance.enabled,
            "require_cvv": instance.require_cvv,
            "save_card_on_charge": instance.save_card_on_charge,
            "rate": instance.rate_per_s,
        }

    def _shown(self, instance: Instance) -> dict[str, Result]:
        return {
            "unique_name": instance.unique_name,
            "username": instance.username,
            **self._described(instance),
            "passwords_valid": len(self._passwords(instance)),
        }

    # --- Access tokens -----------------------------------------------------------------------------------------------

    async def _access_token_issue(self, arguments: Arguments, actor: str) -> Result:
        instance = self._instance(arguments)
        scopes = tuple(sorted({Method(scope).value for scope in arguments["scopes"]}))
        life_s = int(arguments["expires_in_s"])
        if not scopes or not 0 < life_s <= TOKEN_LIFE_S_MAX:
            raise RefusedError("an access token has one scope or more, and lives for a year at most")
        idle = [scope for scope in scopes if Method(scope) not in instance.allow]
        if idle:
            raise RefusedError(
                f"{instance.unique_name} may not {' or '.join(idle)}, so neither may a token of it: leave --scope "
                f"{idle[0]} out, or name an instance that may (`instance list`)"
            )
        token = new_access_token(
            instance, scopes, now_ms=self._clock(), expires_in_s=life_s, randomness=self._randomness
        )
        self._registry.add_access_token(token, self._act(actor, "access-token issue", token.id))
        self._directory.reload()
        return {**self._shown_token(token), "token": self._directory.sign(token)}

    async def _access_token_list(self, _arguments: Arguments, _actor: str) -> Result:
        return [self._shown_token(token) for token in self._registry.access_tokens()]

    async def _access_token_revoke(self, arguments: Arguments, actor: str) -> Result:
        token_id = str(arguments["id"])
        if all(token.id != token_id for token in self._registry.access_tokens()):
            raise RefusedError("there is no access token with this id: see `access-token list`")
        self._registry.revoke_access_token(token_id, self._act(actor, "access-token revoke", token_id))
        self._directory.reload()
        return next(self._shown_token(token) for token in self._registry.access_tokens() if token.id == token_id)

    def _shown_token(self, token: AccessToken) -> dict[str, Result]:
        now_ms = self._clock()
        state = (
            "revoked" if token.revoked_at_ms is not None else "expired" if token.expires_at_ms <= now_ms else "valid"
        )
        return {
            "id": token.id,
            "instance": self._directory.instances[token.instance_id].unique_name,
            "scopes": list(token.scopes),
            "expires_at": iso(token.expires_at_ms),
            "days_left": max(0, days_left(token, now_ms)),
            "state": state,
        }

    # --- Unsettled payments ------------------------------------------------------------------------------------------

    async def _reconcile(self, arguments: Arguments, actor: str) -> Result:
        older_than_ms = int(arguments.get("older_than_ms", LEFT_TO_THE_RETRY_MS))
        self._act(actor, "reconcile", f"older than {older_than_ms} ms")
        seen = await self._connector.recovery.reconcile(older_than_ms=older_than_ms)
        return [{"id": id_, "state": state.value} for id_, state in seen.items()]

    async def _reconcile_settle(self, arguments: Arguments, actor: str) -> Result:
        id_, captured, reason = str(arguments["id"]), bool(arguments["captured"]), scrub(str(arguments["reason"]))
        if not any(char.isalnum() for char in reason):
            raise RefusedError("nothing was settled: say how you know, --reason TEXT; it is kept with the payment")
        rows = [row for row in self._find_rows(id_) if row.method is Method.CHARGE]
        if len(rows) != 1:
            raise RefusedError("no charge, or more than one, has this id: give the charge id (ch_...) that logs show")
        act = self._act(actor, f"settle {'captured' if captured else 'not-captured'}", rows[0].id)
        answer = await self._connector.recovery.settle(rows[0], captured=captured, by=f"{act.actor}: {reason}")
        if answer is None or answer.row is None:
            raise RefusedError(f"{rows[0].id} is {rows[0].state.value}, and not in doubt: there is nothing to settle")
        return {"id": answer.row.id, "state": answer.row.state.value, "settled_by": act.actor, "reason": reason}

    # --- What has been kept long enough ------------------------------------------------------------------------------

    async def _vault_purge(self, arguments: Arguments, actor: str) -> Result:
        """Delete what the command found: it searches with a connection of its own, so that nobody waits for that."""
        before_ms, rows, pending = int(arguments["before_ms"]), list(arguments["rows"]), list(arguments["pending"])
        if before_ms > self._clock() - RETENTION_MS_MIN:
            raise RefusedError(
                "rows of the last day may still have to answer retries: purge what is older, --older-than 13M"
            )
        act: Act | None = self._act(actor, "vault purge", f"before {iso(before_ms)}")
        total = {"rows": 0, "notes": 0, "pending": 0}
        for start in range(0, max(len(rows), len(pending)), PURGED_AT_ONCE):
            some = slice(start, start + PURGED_AT_ONCE)
            purged = self._purge(rows[some], pending[some], before_ms=before_ms, act=act)
            total = {name: count + getattr(purged, name) for name, count in total.items()}
            act = None
            await asyncio.sleep(0)
        return total

    # --- The sandbox -------------------------------------------------------------------------------------------------

    async def _sandbox_fault(self, arguments: Arguments, actor: str) -> Result:
        kind, argument = FaultKind(arguments["kind"]), arguments.get("argument")
        if kind is FaultKind.DECLINE and argument not in set(DeclineCode):
            raise RefusedError(f"no decline is called so: choose one of {', '.join(DeclineCode)}")
        if kind is FaultKind.DELAY and not (str(argument).isdecimal() and int(str(argument)) <= DELAY_MS_MAX):
            raise RefusedError(f"a delay is a number of milliseconds up to {DELAY_MS_MAX}")
        count = arguments.get("count")
        sandbox = self._sandbox()
        self._act(actor, "sandbox fault", kind.value)
        sandbox.set_fault(kind, None if argument is None else str(argument), None if count is None else int(count))
        return [*map(str, sandbox.faults())]

    async def _sandbox_clear(self, _arguments: Arguments, actor: str) -> Result:
        self._act(actor, "sandbox fault", "clear")
        self._sandbox().clear_faults()
        return []

    def _sandbox(self) -> SandboxProcessor:
        sandbox = self._processors.get("sandbox")
        if not isinstance(sandbox, SandboxProcessor):
            raise RefusedError("the sandbox processor is not in use here: remove [processors.sandbox] from config.toml")
        return sandbox


def months_before(now_ms: int, months: int) -> int:
    """Return the same moment so many months ago; the month's last day where it has no such day."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    year, month = divmod(now.year * 12 + now.month - 1 - months, 12)
    day = min(now.day, monthrange(year, month + 1)[1])
    return int(now.replace(year=year, month=month + 1, day=day).timestamp() * 1000)


def iso(ms: int) -> str:
    """Return a time as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
