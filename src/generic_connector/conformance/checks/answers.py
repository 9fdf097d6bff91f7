"""How the checks judge an answer: a few sentences that many of them would else say each in its own words.

And on which footing they ask. An endpoint that takes no request of Twilio's, since it wants a Content-Type or four
digits of the year, may still be asked whether it charges twice: `on_any_footing` asks again in the way that it takes.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from generic_connector.conformance.attempt import Reply
from generic_connector.conformance.bodies import ID_KEYS
from generic_connector.conformance.check import Ask, Check, Need, NotAskable, Register, Unmet
from generic_connector.conformance.footing import TWILIO, Footing, found
from generic_connector.conformance.probe import Probe
from generic_connector.conformance.request import Body as RequestBody
from generic_connector.conformance.visit import DEFAULT, Credentials

RETRIES: Final = "Twilio: Generic Pay Connector, section on retries and idempotency"
"""The ten seconds, the five retries, and the id that they have in common."""


_MOMENT_S: Final = 0.05


def said(reply: Reply) -> str:
    """Return what came, in a few words, masked: the answer, or why there is none."""
    return reply.shown


def paid(reply: Reply, method: str) -> str | None:
    """Return the id of a payment that was made, whatever the status: an id, and no error code."""
    found = (reply.json or {}).get(ID_KEYS[method])
    return None if found is None or reply.error_code is not None else str(found)


def ids(replies: Iterable[Reply], method: str) -> set[str]:
    """Return the different ids that were given in these answers."""
    return {found for reply in replies if (found := paid(reply, method)) is not None}


def answered(reply: Reply, what: str, *, fix: str) -> None:
    """The claim cannot hold without an answer: raise Unmet where there is none."""
    if reply.failure:
        raise Unmet(f"{what}: {reply.shown}", expected="an answer", fix=fix)


def did_not_pay(reply: Reply, what: str, *, fix: str) -> None:
    """Raise Unmet where money moved, or a token was made: where there is an id."""
    for method in ("charge", "tokenize"):
        if paid(reply, method) is not None:
            raise Unmet(f"{what}, and it was taken: {reply.shown}", expected="an error, with no id", fix=fix)


def did_not_crash(reply: Reply, what: str, *, fix: str, may_close: bool = False) -> None:
    """Raise Unmet where the answer is a 5xx, or where there is none. `may_close`: closing the connection is well."""
    if reply.failure and may_close and "timed out" not in reply.failure:
        return
    answered(reply, what, fix=fix)
    if reply.status is not None and reply.status >= 500:  # noqa: PLR2004 - HTTP's server errors
        raise Unmet(f"{what}: {reply.shown}", expected="an answer below 500", fix=fix)


def on_any_footing(register: Register) -> None:
    """Let every check of a family be asked again where nothing can be said as Twilio asks, but in another way."""
    register.checks[:] = [replace(check, ask=_again(check)) for check in register.checks]


def _again(check: Check) -> Ask:
    async def ask(probe: Probe) -> None:
        try:
            await check.ask(probe)
        except NotAskable as reason:
            footing = await _other_footing(probe, check, reason)
            await check.ask(_Footed(probe, footing))

    return ask


async def _other_footing(probe: Probe, check: Check, reason: NotAskable) -> Footing:
    """Return a footing that works, and is not Twilio's. Raises the reason where there is none."""
    if not check.needs & {Need.CHARGE, Need.TOKENIZE}:
        raise reason
    try:
        footing = await found(probe, "charge" if Need.CHARGE in check.needs else "tokenize")
    except NotAskable:
        raise reason from None
    if footing == TWILIO:
        raise reason
    return footing


class _Footed(Probe):
    """A probe whose requests are on another footing. They go into the record of the first."""

    def __init__(self, probe: Probe, footing: Footing) -> None:
        self.__dict__ = probe.__dict__
        self._footing = footing

    def charge(self, **changes: object) -> dict[str, object]:
        """Return a charge on this footing."""
        return super().charge(**{**self._footing.changes(self, "charge"), **changes})

    def tokenize(self, **changes: object) -> dict[str, object]:
        """Return a request to keep a card, on this footing."""
        return super().tokenize(**{**self._footing.changes(self, "tokenize"), **changes})

    def charge_account(self, **changes: object) -> dict[str, object]:
        """Return an ACH charge on this footing."""
        return super().charge_account(**{**self._footing.changes(self, "charge_account"), **changes})

    async def post(
        self,
        body: RequestBody = None,
        *,
        path: str = "",
        headers: Mapping[str, str] | None = None,
        credentials: Credentials = DEFAULT,
        timeout_s: float | None = None,
        content_type: str | None = None,
        verb: str = "POST",
    ) -> Reply:
        """Ask, with the content type that works."""
        return await super().post(
            body,
            path=path,
            headers=headers,
            credentials=credentials,
            timeout_s=timeout_s,
            content_type=content_type or self._footing.content_type,
            verb=verb,
        )

    async def together(
        self, bodies: Sequence[RequestBody], *, credentials: Credentials = DEFAULT, timeout_s: float | None = None
    ) -> list[Reply]:
        """Ask several times at once."""
        asked = (self.post(body, credentials=credentials, timeout_s=timeout_s) for body in bodies)
        return list(await asyncio.gather(*asked))

    async def abandon(self, body: RequestBody, *, after_s: float = 0.0, credentials: Credentials = DEFAULT) -> None:
        """Ask, and hang up a moment later."""
        asking = asyncio.ensure_future(self.post(body, credentials=credentials))
        await asyncio.wait([asking], timeout=max(after_s, _MOMENT_S))
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    def request_bytes(
        self,
        body: RequestBody = None,
        *,
        path: str = "",
        headers: Mapping[str, str | None] | None = None,
        credentials: Credentials = DEFAULT,
        content_type: str | None = None,
        verb: str = "POST",
        version: str = "1.1",
    ) -> bytes:
        """Return a request with the content type that works."""
        return super().request_bytes(
            body,
            path=path,
            headers=headers,
            credentials=credentials,
            content_type=content_type or self._footing.content_type,
            verb=verb,
            version=version,
        )
