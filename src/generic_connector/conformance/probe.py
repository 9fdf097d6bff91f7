"""A probe: how a check asks an endpoint, and what it is told.

A check gets a probe of its own. It makes requests as Twilio makes them, sends them as they are or broken on purpose,
and keeps a masked record of every one. What they say is in `bodies`, how they are written in `request`, what becomes of
one in `attempt`, and what all probes of a run share in `visit`. Here is in which way they are sent: one at a time, at
the same moment, one after another on a connection, in pieces, or left alone half-way. The rules:

- A request has `timeout_s` in all, ten seconds unless the run says otherwise: from the connection to the last byte of
  the answer, as with Twilio. A connection is used once, unless the check asks for more.
- No redirect is followed, no proxy used, nothing repeated, and no more read than a megabyte.
- A server is listened to while it is still written to: it may answer before it has everything.
- Without TLS, where there should be TLS, the run's credentials are not sent; nor is a real card number.
"""

import asyncio
import base64
import contextlib
import random
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from generic_connector.conformance.attempt import Attempt, Record, Reply
from generic_connector.conformance.bodies import CARD, Bodies
from generic_connector.conformance.check import Exchange, Need, NotAskable
from generic_connector.conformance.line import Came, HandshakeError, Line, LineError
from generic_connector.conformance.profile import Changes, Profile
from generic_connector.conformance.request import (
    Body,
    How,
    Piece,
    Pieces,
    Request,
    learn,
    pieces_shown,
    verb_of,
    with_credentials,
    written,
)
from generic_connector.conformance.restart import restarted
from generic_connector.conformance.visit import DEFAULT, Credentials, Visit
from generic_connector.secret import Secret

TIMEOUT_S: Final = 10.0
"""As long as Twilio waits for an answer, and as it waits before it repeats a request."""

_STRANGER: Final = b"Basic " + base64.b64encode(b"nobody:nothing")


class Probe:
    """How one check asks. `method`s are Twilio's: "charge" and "tokenize"."""

    def __init__(self, visit: Visit, check_id: str) -> None:
        self._visit = visit
        self._check_id = check_id
        self._record = Record()
        origin = f"{visit.seed}:{visit.run_id}:{check_id}"
        self._bodies = Bodies(visit.target.profile, visit.target.dialect, origin=origin)
        self.randomness = random.Random(f"{visit.seed}:{check_id}")  # noqa: S311 - to be repeatable is its purpose

    def __repr__(self) -> str:
        return f"<Probe of {self._check_id}>"

    # --- What is known ----------------------------------------------------------------------------------------------

    @property
    def profile(self) -> Profile:
        """What the kit was told about the endpoint."""
        return self._visit.target.profile

    @property
    def dialect(self) -> str:
        """Whose caller is played: "twilio", "telnyx" or "signalwire"."""
        return self._visit.target.dialect

    @property
    def timeout_s(self) -> float:
        """As long as a caller waits for an answer before it repeats the request, in seconds."""
        return self._visit.target.timeout_s

    @property
    def username(self) -> str | None:
        """The username of the run; None without one."""
        return self._visit.target.credentials[0] if self._visit.target.credentials else None

    @property
    def password(self) -> Secret | None:
        """The password of the run; None without one."""
        return self._visit.target.credentials[1] if self._visit.target.credentials else None

    @property
    def is_tls(self) -> bool:
        """Whether the endpoint is asked over TLS."""
        return self._visit.is_tls and self._visit.app is None

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """What was asked and answered up to now, masked, in the order in which it ended."""
        return self._record.exchanges

    def has(self, need: Need) -> bool:
        """Whether something that not every endpoint has is there."""
        return self._visit.missing(need) is None

    def show(self, text: str) -> str:
        """Return a text masked, and cut, so that it can be told."""
        return self._visit.mask.shown(text)

    # --- Bodies -----------------------------------------------------------------------------------------------------

    def new_id(self, label: str = "") -> str:
        """Return a transaction id that was never used: like a UUID, and nothing in it looks like a number."""
        return self._bodies.new_id(label)

    def charge(self, **changes: object) -> dict[str, object]:
        """Return a card charge. `changes` replace and add fields by Twilio's names; `ABSENT` leaves one out."""
        return self._bodies.charge(changes)

    def tokenize(self, **changes: object) -> dict[str, object]:
        """Return a request to keep a card."""
        return self._bodies.tokenize(changes)

    def charge_account(self, **changes: object) -> dict[str, object]:
        """Return an ACH charge."""
        return self._bodies.charge_account(changes)

    def tokenize_account(self, **changes: object) -> dict[str, object]:
        """Return a request to keep a bank account."""
        return self._bodies.tokenize_account(changes)

    def slow_charge(self, **changes: object) -> dict[str, object]:
        """Return a charge that takes longer than a caller waits. Needs SLOW."""
        return self._changed(self.charge, self.profile.slow, Need.SLOW, changes)

    def declined_charge(self, **changes: object) -> dict[str, object]:
        """Return a charge that is declined. Needs DECLINE."""
        return self._changed(self.charge, self.profile.decline, Need.DECLINE, changes)

    def declined_tokenize(self, **changes: object) -> dict[str, object]:
        """Return a request to keep a card that is refused."""
        if not self.profile.decline_tokenize.is_known:
            raise NotAskable("Nobody said what declines a token: set [decline_tokenize] in a profile.")
        return self._changed(self.tokenize, self.profile.decline_tokenize, Need.TOKENIZE, changes)

    def need_success(self, reply: Reply, method: str) -> None:
        """Raise NotAskable where what a question is based on does not work."""
        if not reply.is_success(method):
            raise NotAskable(f"A plain {method} does not succeed, and this is asked on top of one: {reply.shown}")

    # --- Asking -----------------------------------------------------------------------------------------------------

    async def post(
        self,
        body: Body = None,
        *,
        path: str = "",
        headers: Mapping[str, str] | None = None,
        credentials: Credentials = DEFAULT,
        timeout_s: float | None = None,
        content_type: str | None = None,
        verb: str = "POST",
    ) -> Reply:
        """Send a request as Twilio does, on a connection of its own, and return what came.

        A mapping is sent as JSON, a text as UTF-8, bytes as they are. `path` is put behind the endpoint's own, such as
        "/charge". There is no Content-Type unless one is given, as with Twilio. `headers` replace and add.
        """
        sent = written(
            self._visit,
            body,
            How(path=path, headers=headers or {}, credentials=credentials, content_type=content_type, verb=verb),
        )
        return await self._asked(sent, timeout_s)

    async def together(
        self, bodies: Sequence[Body], *, credentials: Credentials = DEFAULT, timeout_s: float | None = None
    ) -> list[Reply]:
        """Send requests at the same moment, each on its own connection, all of which are open by then."""
        ready = _Gate(len(bodies))
        sents = [written(self._visit, body, How(credentials=credentials)) for body in bodies]
        return list(await asyncio.gather(*(self._asked(sent, timeout_s, ready) for sent in sents)))

    async def same_connection(
        self, bodies: Sequence[Body], *, credentials: Credentials = DEFAULT, timeout_s: float | None = None
    ) -> list[Reply]:
        """Send requests one after the other on one connection. After the server ended it, replies are failures."""
        sents = [written(self._visit, body, How(credentials=credentials)) for body in bodies]
        if self._visit.app is not None:
            return [await self._asked(sent, timeout_s) for sent in sents]
        replies: list[Reply] = []
        line: Line | None = None
        try:
            for sent in sents:
                asked = self._attempt(sent.shown)
                if line is None:
                    line = await asked.bounded(self._open(), timeout_s)
                reply = None if line is None else await asked.bounded(_converse(line, [sent.data], "POST"), timeout_s)
                replies.append(asked.reply(reply))
        finally:
            if line is not None:
                await line.close()
        return replies

    async def pipeline(
        self, bodies: Sequence[Body], *, credentials: Credentials = DEFAULT, timeout_s: float | None = None
    ) -> list[Reply]:
        """Send requests on one connection without waiting for answers in between. Needs SOCKET."""
        sents = [written(self._visit, body, How(credentials=credentials)) for body in bodies]
        shown = "\n\n".join(sent.shown for sent in sents)
        return await self._raw([sent.data for sent in sents], len(sents), timeout_s, shown=shown)

    async def abandon(self, body: Body, *, after_s: float = 0.0, credentials: Credentials = DEFAULT) -> None:
        """Send a whole request, and hang up `after_s` seconds later without reading what came."""
        sent = written(self._visit, body, How(credentials=credentials))
        asked = self._attempt(sent.shown)
        if self._visit.app is not None:
            with contextlib.suppress(TimeoutError, LineError):
                async with asyncio.timeout(after_s):
                    await self._in_process(sent)
        else:
            line = await asked.bounded(self._open(), None)
            if line is None:
                asked.reply(None)
                return
            await asked.bounded(line.send(sent.data), None)
            await asyncio.sleep(after_s)
            await line.close()
        asked.keep(f"(hung up after {after_s:g} s without reading)")

    def request_bytes(
        self,
        body: Body = None,
        *,
        path: str = "",
        headers: Mapping[str, str | None] | None = None,
        credentials: Credentials = DEFAULT,
        content_type: str | None = None,
        verb: str = "POST",
        version: str = "1.1",
    ) -> bytes:
        """Return a correct request, to change and to send with `raw`. A header that is None is left out.

        Of the run's own credentials, `{AUTH}` stands for them: `raw` puts them in.
        """
        how = How(
            path=path,
            headers=headers or {},
            credentials=credentials,
            content_type=content_type,
            verb=verb,
            version=version,
            has_placeholder=True,
        )
        return written(self._visit, body, how).data

    async def raw(self, pieces: Pieces, *, timeout_s: float | None = None, tls: bool = True) -> Reply:
        """Send bytes as they are, with pauses of so many seconds between, and return the first reply. Needs SOCKET.

        `tls=False` speaks plain HTTP to the port, whatever the address says: then `{AUTH}` becomes somebody else's.
        """
        return (await self._raw(pieces, 1, timeout_s, tls=tls))[0]

    async def raw_replies(
        self, pieces: Pieces, *, replies: int, timeout_s: float | None = None, tls: bool = True
    ) -> list[Reply]:
        """Send bytes as they are, and return so many replies of one connection. Needs SOCKET."""
        return await self._raw(pieces, replies, timeout_s, tls=tls)

    # --- TLS --------------------------------------------------------------------------------------------------------

    async def connect(self, tls_version: ssl.TLSVersion | None = None) -> str | None:
        """Return the version that a handshake ends with, such as "TLSv1.3"; None where the endpoint refuses it.

        Nothing is sent, and no certificate judged. Without a version any that OpenSSL knows will do. Needs TLS.
        """
        self._must(Need.TLS)
        try:
            context = self._visit.context(tls_version)
        except (ssl.SSLError, ValueError):
            raise NotAskable("The OpenSSL here cannot speak that version.") from None
        asked = self._attempt(f"(a TLS handshake{'' if tls_version is None else f', {tls_version.name} alone'})")
        line: Line | None = None
        try:
            async with asyncio.timeout(self.timeout_s):
                line = await Line.open(self._visit.host, self._visit.port, context)
                version = line.tls_version
        except HandshakeError as error:
            asked.keep(f"({error})")
            return None
        except TimeoutError:
            asked.keep("(no handshake in time)")
            return None
        except LineError as error:
            asked.keep(f"({error})")
            raise NotAskable(f"The endpoint cannot be reached: {error}.") from None
        finally:
            if line is not None:
                await line.close()
        asked.keep(f"({version})")
        return version

    async def certificate_problem(self) -> str | None:
        """Return why the certificate is not trusted, by the system's authorities and `--ca`; None: it is. Needs TLS."""
        self._must(Need.TLS)
        asked = self._attempt("(a TLS handshake that judges the certificate)")
        try:
            async with asyncio.timeout(self.timeout_s):
                line = await Line.open(self._visit.host, self._visit.port, self._visit.tls)
        except HandshakeError as error:
            asked.keep(f"({error})")
            return str(error)
        except TimeoutError:
            asked.keep("(no handshake in time)")
            return "no handshake in time"
        except LineError as error:
            asked.keep(f"({error})")
            raise NotAskable(f"The endpoint cannot be reached: {error}.") from None
        await line.close()
        asked.keep("(trusted)")
        return None

    # --- Restart ----------------------------------------------------------------------------------------------------

    async def restart(self) -> None:
        """Restart the endpoint as the profile says, and wait until it answers. Raises NotAskable where it does not."""
        self._must(Need.RESTART)
        await restarted(self._visit, self._attempt("(restart)"))

    # --- Inside -----------------------------------------------------------------------------------------------------

    def _must(self, need: Need) -> None:
        reason = self._visit.missing(need)
        if reason is not None:
            raise NotAskable(reason)

    def _changed(
        self, build: Callable[..., dict[str, object]], how: Changes, need: Need, changes: Mapping[str, object]
    ) -> dict[str, object]:
        self._must(need)
        fields: dict[str, object] = {**how.fields, **changes}
        return build(**fields)

    def _attempt(self, shown: str) -> Attempt:
        return Attempt(self._visit, self._record, shown)

    async def _open(self, *, tls: bool = True) -> Line:
        context = self._visit.tls if tls else None
        line = await Line.open(self._visit.host, self._visit.port, context)
        self._visit.was_secure |= context is not None
        return line

    async def _in_process(self, sent: Request) -> Came:
        if self._visit.app is None:
            raise LineError("it is not asked in process")
        return await self._visit.app.ask(sent.verb, sent.target, sent.headers, sent.content)

    async def _asked(self, sent: Request, timeout_s: float | None, ready: "_Gate | None" = None) -> Reply:
        asked = self._attempt(sent.shown)
        return asked.reply(await asked.bounded(self._exchanged(sent, ready), timeout_s))

    async def _exchanged(self, sent: Request, ready: "_Gate | None") -> Came:
        if self._visit.app is not None:
            if ready is not None:
                await ready.passed()
            return await self._in_process(sent)
        try:
            line = await self._open()
        finally:
            if ready is not None:
                await ready.passed()
        try:
            return await _converse(line, [sent.data], sent.verb)
        finally:
            line.drop()

    async def _raw(
        self, pieces: Pieces, replies: int, timeout_s: float | None, *, tls: bool = True, shown: str | None = None
    ) -> list[Reply]:
        self._must(Need.SOCKET)
        data = b"".join(piece for piece in pieces if isinstance(piece, bytes))
        learn(self._visit.mask, data.partition(b"\r\n\r\n")[2])
        authorization = (self._visit.header_of(DEFAULT) or "").encode()
        if self.is_tls and not tls:
            authorization = _STRANGER
            if self.profile.endpoint.mode == "live" and CARD.encode() in data:
                raise NotAskable("The endpoint is live, and a real card number is not sent without TLS.")
        asked = self._attempt(shown if shown is not None else pieces_shown(pieces))
        line = await asked.bounded(self._open(tls=tls), timeout_s)
        if line is None:
            return [asked.reply(None) for _ in range(replies)]
        came: list[Reply] = []
        sending = asyncio.ensure_future(_send(line, with_credentials(pieces, authorization)))
        try:
            for number in range(replies):
                if number:
                    asked = self._attempt(f"(answer {number + 1} on the same connection)")
                came.append(asked.reply(await asked.bounded(line.hear(verb_of(data)), timeout_s)))
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await line.close()
        return came


class _Gate:
    """Opens when all have come to it."""

    def __init__(self, number: int) -> None:
        self._awaited = number
        self._is_open = asyncio.Event()

    async def passed(self) -> None:
        """Come to the gate, and wait until it opens."""
        self._awaited -= 1
        if self._awaited <= 0:
            self._is_open.set()
        await self._is_open.wait()


async def _converse(line: Line, pieces: Pieces, verb: str) -> Came:
    """Send, and listen at the same time: a server may answer before it has everything."""
    sending = asyncio.ensure_future(_send(line, pieces))
    try:
        return await line.hear(verb)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _send(line: Line, pieces: Pieces) -> None:
    for piece in pieces:
        match piece:
            case bytes():
                await line.send(piece)
            case Piece.END:
                line.end()
            case _:
                await asyncio.sleep(piece)
