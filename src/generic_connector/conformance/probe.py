"""A probe: how a check asks an endpoint, and what it is told.

A check gets a probe of its own. It makes requests as Twilio makes them, sends them as they are or broken on purpose,
and keeps a masked record of every one. The rules:

- A request has `timeout_s` in all, ten seconds unless the run says otherwise: from the connection to the last byte of
  the answer, as with Twilio. A connection is used once, unless the check asks for more.
- Nothing raises because an endpoint misbehaves: a `Reply` without a status says why there is no whole answer. Only
  where no secure connection comes about nothing is sent and nothing can be asked: `NotAskable`.
- No redirect is followed, no proxy used, nothing repeated, and no more read than a megabyte.
- Whatever can be shown is masked; see `mask`. The body of a reply is as it came, for a check to look at, and is in no
  repr.
"""

import asyncio
import base64
import contextlib
import json
import os
import random
import re
import shlex
import signal
import ssl
import time
import uuid
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, assert_never
from urllib.parse import urlsplit

from generic_connector.conformance.check import Exchange, Need, NotAskable
from generic_connector.conformance.in_process import InProcess
from generic_connector.conformance.mask import Mask
from generic_connector.conformance.profile import Changes, Profile
from generic_connector.conformance.wire import Came, HandshakeError, Line, LineError, UntrustedError
from generic_connector.scrub import scrub
from generic_connector.secret import Secret

if TYPE_CHECKING:
    from generic_connector.conformance.runner import Target

TIMEOUT_S: Final = 10.0
"""As long as Twilio waits for an answer, and as it waits before it repeats a request."""
USER_AGENT: Final = "AHC/2.1"
CARD: Final = "cardnumber"
AUTH: Final = b"{AUTH}"
"""Stands in raw bytes for the value of the Authorization header, and is replaced while they are sent."""

_EXCHANGES_MAX: Final = 100
_BRIEF: Final = 300
_COMMAND_S: Final = 120.0
_POLL_S: Final = 0.2
_NOT_YET: Final = (502, 503, 504)
_CODE_LIKE: Final = re.compile(r"(?<![0-9])[0-9]{3,4}(?![0-9])")
_WITH_BODY: Final = ("POST", "PUT", "PATCH")
_IDS: Final[Mapping[str, str]] = {"charge": "charge_id", "tokenize": "token_id"}
_OK: Final = 200

Pair = tuple[str, Secret]
_Result = TypeVar("_Result")


class Absent(Enum):
    """The value of a field that is to be left out."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


class Whose(Enum):
    """Whose credentials to send, if not others."""

    DEFAULT = "default"
    """Those of the run: a username and a password, or a bearer token, or none."""
    OTHER = "other"
    """Those of the second instance."""
    BEARER = "bearer"
    """The run's bearer token, or its password as one."""


DEFAULT: Final = Whose.DEFAULT
OTHER: Final = Whose.OTHER
Credentials = Whose | Literal["default", "other", "bearer"] | tuple[str, str | Secret] | None


class Piece(Enum):
    """What may stand between raw bytes, besides pauses."""

    END = "end"
    """Say that nothing more comes, and go on listening. Over TLS it is left unsaid."""


END: Final = Piece.END
Body = Mapping[str, object] | str | bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back: a status, headers by lower-case name and a body; or why there is no whole answer.

    `status` is None exactly where `failure` is a text. `seconds` is how long it took, from the connection on. `shown`
    is the whole of it in a few words, masked, for findings.
    """

    status: int | None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    failure: str | None = None
    seconds: float = 0.0
    shown: str = ""

    @property
    def json(self) -> dict[str, Any] | None:
        """The body as a JSON object; None where it is none. Of a key that stands twice the last one counts."""
        if self.failure is not None:
            return None
        try:
            parsed = json.loads(self.body.decode("utf-8"), parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return None
        return parsed if isinstance(parsed, dict) else None

    def id(self, method: str) -> str | None:
        """The id that this method gives, if there is one: `charge_id` for charge, `token_id` for tokenize."""
        found = (self.json or {}).get(_IDS[method])
        return found if isinstance(found, str) and found else None

    @property
    def error_code(self) -> Any:  # noqa: ANN401 - a text or null by the contract, anything from an endpoint
        """The value of `error_code`; None where it is null, or the key is missing."""
        return (self.json or {}).get("error_code")

    @property
    def error_message(self) -> Any:  # noqa: ANN401 - as above
        """The value of `error_message`; None where it is null, or the key is missing."""
        return (self.json or {}).get("error_message")

    def is_success(self, method: str) -> bool:
        """Whether Twilio takes it for a success: a 200 with the id as a text, and no error code."""
        return self.status == _OK and self.id(method) is not None and self.error_code is None


class Visit:
    """What the probes of one run share: where the endpoint is, whose credentials are used, what is masked."""

    def __init__(self, target: "Target", *, seed: int, run_id: str) -> None:
        self.target = target
        self.seed = seed
        self.run_id = run_id
        self.mask = Mask()
        self.began_s = time.monotonic()
        address = urlsplit(target.url)
        self.is_tls = address.scheme == "https"
        self.host = address.hostname or "localhost"
        self.port = address.port or (443 if self.is_tls else 80)
        self.path = address.path or "/"
        self.query = f"?{address.query}" if address.query else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        is_default = self.port == (443 if self.is_tls else 80)
        self.authority = host if is_default else f"{host}:{self.port}"
        self.app: InProcess | None = None
        if target.asgi is not None:
            self.app = InProcess(target.asgi, host=self.host, port=self.port, scheme=address.scheme)
        self._learn(target, target.profile)
        self.tls = self._trusting() if self.is_tls and self.app is None else None
        self.was_secure = False
        """Whether a trusted connection came about once. A handshake that fails later is a lost request, not a rule."""

    @property
    def shown_url(self) -> str:
        """The address without a query, and without what may be a secret in its path."""
        scheme = "https" if self.is_tls else "http"
        return self.mask.masked(f"{scheme}://{self.authority}{self.path}")

    @contextlib.asynccontextmanager
    async def lasting(self) -> AsyncIterator[None]:
        """Hold what has to be held during a run: an application in process is started, and stopped."""
        if self.app is None:
            yield
            return
        async with self.app.lifespan():
            yield

    def missing(self, need: Need) -> str | None:  # noqa: C901, PLR0912 - one line a need
        """Say why a need is not met, and what would help; None where it is met."""
        target, profile = self.target, self.target.profile
        match need:
            case Need.CHARGE:
                return None if profile.endpoint.charges else "The profile says that the endpoint does not charge."
            case Need.TOKENIZE:
                return None if profile.endpoint.tokenizes else "The profile says that the endpoint makes no tokens."
            case Need.ACH:
                if profile.endpoint.ach:
                    return None
                return "Nobody said that the endpoint takes bank accounts: set endpoint.ach in a profile."
            case Need.CREDENTIALS | Need.BASIC:
                return None if target.credentials else "No username and password were given."
            case Need.OTHER:
                return None if target.other else "The credentials of a second instance were not given."
            case Need.DECLINE:
                return None if profile.decline.is_known else "Nobody said what declines: set [decline] in a profile."
            case Need.SLOW:
                return None if profile.slow.is_known else "Nobody said how to be slow: set [slow] in a profile."
            case Need.RESTART:
                if profile.restart.command or target.restarts is not None:
                    return None
                return "Nobody said how to restart the endpoint: set restart.command in a profile."
            case Need.SOCKET:
                return None if self.app is None else "The endpoint is asked in process, not over a socket."
            case Need.TLS:
                return None if self.is_tls and self.app is None else "The address is not https://."
            case _:
                assert_never(need)

    def header_of(self, credentials: Credentials) -> str | None:
        """Return the value of an Authorization header; None: there is none."""
        match credentials:
            case None:
                return None
            case Whose.DEFAULT | "default":
                if self.target.bearer is not None:
                    return f"Bearer {self.target.bearer.reveal()}"
                return _basic(self.target.credentials) if self.target.credentials else None
            case Whose.OTHER | "other":
                if self.target.other is None:
                    raise NotAskable("The credentials of a second instance were not given.")
                return _basic(self.target.other)
            case Whose.BEARER | "bearer":
                token = self.target.bearer or (self.target.credentials[1] if self.target.credentials else None)
                if token is None:
                    raise NotAskable("Neither a bearer token nor a password was given.")
                return f"Bearer {token.reveal()}"
            case (username, password):
                secret = password if isinstance(password, Secret) else Secret(password)
                if len(secret.reveal()) >= _GUESS_MIN:
                    # Guesses may be almost the right one.
                    self.mask.learn_basic(username, secret)
                return _basic((username, secret))

    def context(self, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """Return a context that trusts anybody: to see what a server would negotiate. Nothing is sent with it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if version is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # old versions are what is asked about
                context.minimum_version = version
                context.maximum_version = version
            # Security level 0: or OpenSSL itself refuses what the server is asked about.
            context.set_ciphers("ALL:@SECLEVEL=0")
        return context

    def _learn(self, target: "Target", profile: Profile) -> None:
        numbers = profile.numbers
        changed = [changes.card for changes in (profile.decline, profile.decline_tokenize, profile.slow)]
        self.mask.learn(
            cards=[
                numbers.card,
                numbers.other_card,
                numbers.bad_card,
                *numbers.cards.values(),
                *(card for card in changed if card),
            ],
            accounts=numbers.accounts,
            codes=[numbers.cvv, numbers.cvv_amex],
            credentials=[target.bearer] if target.bearer is not None else [],
        )
        for pair in (target.credentials, target.other):
            if pair is not None:
                self.mask.learn_basic(*pair)
        if target.credentials is None and target.bearer is None:
            # An endpoint whose callers cannot authenticate may have a secret path.
            self.mask.learn(credentials=[part for part in self.path.split("/") if len(part) >= _SECRET_PATH_MIN])
        if self.query:
            self.mask.learn(credentials=[self.query[1:]])

    def _trusting(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self.target.ca_file is not None:
            context.load_verify_locations(cafile=self.target.ca_file)
        context.set_alpn_protocols(["http/1.1"])
        return context


_SECRET_PATH_MIN: Final = 12
_GUESS_MIN: Final = 6
_STRANGER: Final = b"Basic " + base64.b64encode(b"nobody:nothing")


class Probe:
    """How one check asks. `method`s are Twilio's: "charge" and "tokenize"."""

    def __init__(self, visit: Visit, check_id: str) -> None:
        self._visit = visit
        self._check_id = check_id
        self._ids = 0
        self._kept: list[Exchange] = []
        self._left_out = 0
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
        return tuple(self._kept)

    def has(self, need: Need) -> bool:
        """Whether something that not every endpoint has is there."""
        return self._visit.missing(need) is None

    def show(self, text: str) -> str:
        """Return a text masked, and cut, so that it can be told."""
        return self._visit.mask.shown(text)

    # --- Bodies -----------------------------------------------------------------------------------------------------

    def new_id(self, label: str = "") -> str:
        """Return a transaction id that was never used: like a UUID, and nothing in it looks like a number."""
        while True:
            self._ids += 1
            origin = f"{self._visit.seed}:{self._visit.run_id}:{self._check_id}:{self._ids}:{label}"
            made = str(uuid.UUID(bytes=random.Random(origin).randbytes(16), version=4))  # noqa: S311 - repeatable
            # Nothing in it is like a security code or a card number: a report would mask it.
            if scrub(made) == made and _CODE_LIKE.search(made) is None:
                return made

    def charge(self, **changes: object) -> dict[str, object]:
        """Return a card charge. `changes` replace and add fields by Twilio's names; `ABSENT` leaves one out."""
        return self._dialect({**self._card(changes), **self._money()}, "charge", changes)

    def tokenize(self, **changes: object) -> dict[str, object]:
        """Return a request to keep a card."""
        return self._dialect(self._card(changes), "tokenize", changes)

    def charge_account(self, **changes: object) -> dict[str, object]:
        """Return an ACH charge."""
        return self._dialect({**self._account(), **self._money()}, "charge", changes)

    def tokenize_account(self, **changes: object) -> dict[str, object]:
        """Return a request to keep a bank account."""
        return self._dialect(self._account(), "tokenize", changes)

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
        sent = self._sent(
            body, _How(path=path, headers=headers or {}, credentials=credentials, content_type=content_type, verb=verb)
        )
        return await self._asked(sent, timeout_s)

    async def together(
        self,
        bodies: Sequence[Body],
        *,
        credentials: Credentials = DEFAULT,
        timeout_s: float | None = None,
    ) -> list[Reply]:
        """Send requests at the same moment, each on its own connection, all of which are open by then."""
        ready = _Gate(len(bodies))
        sents = [self._sent(body, _How(credentials=credentials)) for body in bodies]
        return list(await asyncio.gather(*(self._asked(sent, timeout_s, ready) for sent in sents)))

    async def same_connection(
        self,
        bodies: Sequence[Body],
        *,
        credentials: Credentials = DEFAULT,
        timeout_s: float | None = None,
    ) -> list[Reply]:
        """Send requests one after the other on one connection. After the server ended it, replies are failures."""
        sents = [self._sent(body, _How(credentials=credentials)) for body in bodies]
        if self._visit.app is not None:
            return [await self._asked(sent, timeout_s) for sent in sents]
        replies: list[Reply] = []
        line: Line | None = None
        try:
            for sent in sents:
                asked = _Asked(self, sent.shown)
                if line is None:
                    line = await asked.bounded(self._open(), timeout_s)
                reply = None if line is None else await asked.bounded(_converse(line, [sent.data], "POST"), timeout_s)
                replies.append(asked.reply(reply))
        finally:
            if line is not None:
                await line.close()
        return replies

    async def pipeline(
        self,
        bodies: Sequence[Body],
        *,
        credentials: Credentials = DEFAULT,
        timeout_s: float | None = None,
    ) -> list[Reply]:
        """Send requests on one connection without waiting for answers in between. Needs SOCKET."""
        sents = [self._sent(body, _How(credentials=credentials)) for body in bodies]
        shown = "\n\n".join(sent.shown for sent in sents)
        return await self._raw([sent.data for sent in sents], len(sents), timeout_s, shown=shown)

    async def abandon(self, body: Body, *, after_s: float = 0.0, credentials: Credentials = DEFAULT) -> None:
        """Send a whole request, and hang up `after_s` seconds later without reading what came."""
        sent = self._sent(body, _How(credentials=credentials))
        asked = _Asked(self, sent.shown)
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
        how = _How(
            path=path,
            headers=headers or {},
            credentials=credentials,
            content_type=content_type,
            verb=verb,
            version=version,
            has_placeholder=True,
        )
        return self._sent(body, how).data

    async def raw(
        self, pieces: Sequence[bytes | float | Piece], *, timeout_s: float | None = None, tls: bool = True
    ) -> Reply:
        """Send bytes as they are, with pauses of so many seconds between, and return the first reply. Needs SOCKET.

        `tls=False` speaks plain HTTP to the port, whatever the address says: then `{AUTH}` becomes somebody else's.
        """
        return (await self._raw(pieces, 1, timeout_s, tls=tls))[0]

    async def raw_replies(
        self, pieces: Sequence[bytes | float | Piece], *, replies: int, timeout_s: float | None = None, tls: bool = True
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
        asked = _Asked(self, f"(a TLS handshake{'' if tls_version is None else f', {tls_version.name} alone'})")
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
        asked = _Asked(self, "(a TLS handshake that judges the certificate)")
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
        asked = _Asked(self, "(restart)")
        restart = self.profile.restart
        try:
            if self._visit.target.restarts is not None:
                async with asyncio.timeout(_COMMAND_S):
                    await self._visit.target.restarts()
            else:
                await _run(restart.command)
            async with asyncio.timeout(restart.ready_within_s):
                await self._answering()
        except TimeoutError:
            asked.keep("(it did not come back in time)")
            raise NotAskable(
                f"The endpoint did not answer within {restart.ready_within_s:g} s of its restart: "
                "see restart.ready_within_s in the profile."
            ) from None
        asked.keep("(it answers again)")

    async def _answering(self) -> None:
        data = self._sent(None, _How(credentials=None, verb="GET")).data
        while self._visit.app is None:
            with contextlib.suppress(LineError):
                line = await Line.open(self._visit.host, self._visit.port, self._visit.tls)
                try:
                    await line.send(data)
                    async with asyncio.timeout(self.timeout_s):
                        if (await line.hear("GET")).status not in _NOT_YET:
                            return
                except TimeoutError:
                    return  # it takes connections, and does not answer a stranger's GET: the check will see
                finally:
                    line.drop()
            await asyncio.sleep(_POLL_S)

    # --- Inside -----------------------------------------------------------------------------------------------------

    def _must(self, need: Need) -> None:
        reason = self._visit.missing(need)
        if reason is not None:
            raise NotAskable(reason)

    def _card(self, changes: Mapping[str, object]) -> dict[str, object]:
        numbers = self.profile.numbers
        month, year = self.profile.expiry()
        card = changes.get(CARD, numbers.card)
        return {
            "transaction_id": "",
            CARD: card,
            "cvv": numbers.cvv_of(card) if isinstance(card, str) else numbers.cvv,
            "expiry_month": month,
            "expiry_year": year,
            "description": None,
            "postal_code": numbers.postal_code,
        }

    def _account(self) -> dict[str, object]:
        numbers = self.profile.numbers
        return {
            "transaction_id": "",
            "bankaccountnumber": numbers.accounts[0],
            "routingnumber": numbers.routing_number,
            "description": None,
        }

    def _money(self) -> dict[str, object]:
        return {"amount": self.profile.amounts.approve, "currency_code": self.profile.endpoint.currency}

    def _dialect(self, fields: dict[str, object], method: str, changes: Mapping[str, object]) -> dict[str, object]:
        """Order the fields as Twilio does, spell them as the caller that is played does, and change them."""
        body: dict[str, object] = {**fields, "method": method, "parameters": {}}
        if self.dialect == "signalwire":
            # It names the payment method, tells a token by its amount, and writes currencies in lower case.
            currency = str(body.get("currency_code", self.profile.endpoint.currency)).lower()
            body |= {"amount": body.get("amount", "0"), "currency_code": currency, "token_type": "reusable"}
            body["method"] = "credit-card" if CARD in body else ABSENT
        if "transaction_id" not in changes:
            body["transaction_id"] = self.new_id()
        body |= changes
        if self.dialect == "signalwire":
            if changes.get("method") in _IDS:
                body["method"] = "credit-card" if CARD in body else ABSENT
            body["chargeAmount"] = body.pop("amount")
        names = [*(name for name in _ORDER if name in body), *(name for name in body if name not in _ORDER)]
        return {name: body[name] for name in names if body[name] is not ABSENT}

    def _changed(
        self, build: Callable[..., dict[str, object]], how: Changes, need: Need, changes: Mapping[str, object]
    ) -> dict[str, object]:
        self._must(need)
        fields: dict[str, object] = {**how.fields, **changes}
        return build(**fields)

    def _sent(self, body: Body, how: "_How") -> "_Sent":
        """Write a request."""
        content = _content(body)
        self._learn(body)
        authorization = self._visit.header_of(how.credentials)
        if how.has_placeholder and authorization is not None and how.credentials in (DEFAULT, "default"):
            authorization = AUTH.decode()
        given: dict[str, str | None] = {
            "Host": self._visit.authority,
            "User-Agent": USER_AGENT,
            "Accept": "*/*",
            "Content-Type": how.content_type,
            "Authorization": authorization,
            "Content-Length": str(len(content)) if content or how.verb in _WITH_BODY else None,
        }
        for name, value in how.headers.items():
            known = next((key for key in given if key.lower() == name.lower()), name)
            given[known] = value
        headers = [(name, value) for name, value in given.items() if value is not None]
        path = f"{self._visit.path.rstrip('/')}{how.path}" if how.path else self._visit.path
        target = f"{path}{self._visit.query}"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        head = f"{how.verb} {target} HTTP/{how.version}\r\n{lines}\r\n"
        shown = head.replace("\r\n", "\n") + content.decode("utf-8", "replace")
        return _Sent(head.encode("utf-8") + content, shown, how.verb, target, headers, content)

    def _learn(self, body: Body) -> None:
        mask = self._visit.mask
        match body:
            case None:
                return
            case str():
                mask.learn_text(body)
            case bytes():
                mask.learn_text(body.decode("utf-8", "replace"))
            case _:
                mask.learn_body(body)

    async def _open(self, *, tls: bool = True) -> Line:
        context = self._visit.tls if tls else None
        line = await Line.open(self._visit.host, self._visit.port, context)
        self._visit.was_secure |= context is not None
        return line

    async def _in_process(self, sent: "_Sent") -> Came:
        if self._visit.app is None:
            raise LineError("it is not asked in process")
        return await self._visit.app.ask(sent.verb, sent.target, sent.headers, sent.content)

    async def _asked(self, sent: "_Sent", timeout_s: float | None, ready: "_Gate | None" = None) -> Reply:
        asked = _Asked(self, sent.shown)
        return asked.reply(await asked.bounded(self._exchanged(sent, ready), timeout_s))

    async def _exchanged(self, sent: "_Sent", ready: "_Gate | None") -> Came:
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
        self,
        pieces: Sequence[bytes | float | Piece],
        replies: int,
        timeout_s: float | None,
        *,
        tls: bool = True,
        shown: str | None = None,
    ) -> list[Reply]:
        self._must(Need.SOCKET)
        data = b"".join(piece for piece in pieces if isinstance(piece, bytes))
        self._learn(data.partition(b"\r\n\r\n")[2])
        authorization = (self._visit.header_of(DEFAULT) or "").encode()
        if self.is_tls and not tls:
            authorization = _STRANGER
            if self.profile.endpoint.mode == "live" and CARD.encode() in data:
                raise NotAskable("The endpoint is live, and a real card number is not sent without TLS.")
        asked = _Asked(self, shown if shown is not None else _pieces_shown(pieces))
        line = await asked.bounded(self._open(tls=tls), timeout_s)
        if line is None:
            return [asked.reply(None) for _ in range(replies)]
        came: list[Reply] = []
        sending = asyncio.ensure_future(_send(line, _filled(pieces, authorization)))
        try:
            for number in range(replies):
                if number:
                    asked = _Asked(self, f"(answer {number + 1} on the same connection)")
                came.append(asked.reply(await asked.bounded(line.hear(_verb(data)), timeout_s)))
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await line.close()
        return came

    def keep(self, exchange: Exchange) -> None:
        """Keep a record. Of very many the later ones are counted only."""
        if len(self._kept) < _EXCHANGES_MAX:
            self._kept.append(exchange)
            return
        self._left_out += 1
        self._kept[-1] = Exchange(
            request=f"({self._left_out} more requests)", reply="(not kept)", at_s=exchange.at_s, took_s=0.0
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    """How a request is to be written."""

    path: str = ""
    headers: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    credentials: Credentials = field(default=DEFAULT, repr=False)
    content_type: str | None = None
    verb: str = "POST"
    version: str = "1.1"
    has_placeholder: bool = False


@dataclass(frozen=True, slots=True)
class _Sent:
    """A request that is ready to go."""

    data: bytes = field(repr=False)
    shown: str = field(repr=False)
    verb: str
    target: str = field(repr=False)
    headers: Sequence[tuple[str, str]] = field(repr=False)
    content: bytes = field(repr=False)


class _Asked:
    """One request while it is under way: its clock, its end, its record."""

    def __init__(self, probe: Probe, shown: str) -> None:
        self._probe = probe
        self._visit = probe._visit  # noqa: SLF001 - a part of it
        self._shown = shown
        self._began_s = time.monotonic()
        self.failure: str | None = None

    async def bounded(self, doing: Awaitable[_Result], timeout_s: float | None) -> _Result | None:
        """Do a part of it in what is left of its time; None where that fails: `failure` then says why."""
        allowed_s = self._visit.target.timeout_s if timeout_s is None else timeout_s
        left_s = max(0.0, self._began_s + allowed_s - time.monotonic())
        try:
            async with asyncio.timeout(left_s):
                return await doing
        except TimeoutError:
            self.failure = f"timed out after {allowed_s:g} s"
        except HandshakeError as error:
            if self._visit.was_secure and not isinstance(error, UntrustedError):
                self.failure = str(error)
                return None
            self.keep(f"({error}; nothing was sent)")
            raise NotAskable(f"Nothing was sent, because {error}. See the checks of family transport.") from None
        except LineError as error:
            self.failure = str(error)
        return None

    def reply(self, came: Came | None) -> Reply:
        """Return what came, and keep the record."""
        took_s = time.monotonic() - self._began_s
        if came is None:
            failure = self.failure or "there is no connection"
            self.keep(f"(no answer: {failure})")
            return Reply(status=None, failure=failure, seconds=took_s, shown=f"no answer: {failure}")
        text = came.body.decode("utf-8", "replace")
        lines = "".join(f"{name}: {value}\n" for name, value in came.headers.items())
        head = self._visit.mask.shown(lines)
        body = self._visit.mask.shown(text)
        self.keep(f"HTTP/{came.version} {came.status}\n{head}\n{body}")
        brief = body if len(body) <= _BRIEF else f"{body[:_BRIEF]}..."
        shown = f"{came.status} {' '.join(brief.split()) or '(an empty body)'}"
        return Reply(status=came.status, headers=came.headers, body=came.body, seconds=took_s, shown=shown)

    def keep(self, reply: str) -> None:
        """Keep a record of it."""
        now_s = time.monotonic()
        self._probe.keep(
            Exchange(
                request=self._visit.mask.shown(self._shown),
                reply=reply,
                at_s=round(self._began_s - self._visit.began_s, 3),
                took_s=round(now_s - self._began_s, 3),
            )
        )


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


async def _converse(line: Line, pieces: Sequence[bytes | float | Piece], verb: str) -> Came:
    """Send, and listen at the same time: a server may answer before it has everything."""
    sending = asyncio.ensure_future(_send(line, pieces))
    try:
        return await line.hear(verb)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _send(line: Line, pieces: Sequence[bytes | float | Piece]) -> None:
    for piece in pieces:
        match piece:
            case bytes():
                await line.send(piece)
            case Piece.END:
                line.end()
            case _:
                await asyncio.sleep(piece)


async def _run(command: str | Sequence[str]) -> None:
    """Run a command to its end. Its output is nobody's business here."""
    words = shlex.split(command) if isinstance(command, str) else list(command)
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise NotAskable(f"restart.command of the profile cannot be run: {error.strerror}.") from None
    try:
        async with asyncio.timeout(_COMMAND_S):
            status = await process.wait()
    except TimeoutError:
        raise NotAskable(f"restart.command of the profile did not end within {_COMMAND_S:g} s.") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if status:
        raise NotAskable(f"restart.command of the profile ended with status {status}: run it by hand.")


def _basic(pair: Pair) -> str:
    return f"Basic {base64.b64encode(f'{pair[0]}:{pair[1].reveal()}'.encode()).decode()}"


def _content(body: Body) -> bytes:
    match body:
        case None:
            return b""
        case bytes():
            return body
        case str():
            return body.encode("utf-8", "surrogatepass")
        case _:
            written = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
            return written.encode("utf-8", "surrogatepass")


def _no_constant(_name: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


def _verb(data: bytes) -> str:
    """Return the method that raw bytes begin with: a HEAD is answered without a body."""
    start = data[:16].partition(b" ")[0]
    return start.decode("ascii") if start.isalpha() and start.isascii() else "POST"


def _filled(pieces: Sequence[bytes | float | Piece], authorization: bytes) -> Sequence[bytes | float | Piece]:
    """Put the credentials in, also where a piece ends in the middle of the word that stands for them."""
    filled: list[bytes | float | Piece] = []
    line, held = b"", b""
    for piece in pieces:
        if not isinstance(piece, bytes):
            filled += [held, piece] if piece is END else [piece]
            held = b"" if piece is END else held
            continue
        text = (held + piece).replace(AUTH, authorization)
        line = (line + text).rpartition(b"\n")[2]
        is_header = line.lower().startswith(b"authorization:")
        cut = next((size for size in range(len(AUTH) - 1, 0, -1) if is_header and text.endswith(AUTH[:size])), 0)
        held = text[len(text) - cut :]
        line = line[: len(line) - cut]
        filled.append(text[: len(text) - cut])
    if held:
        filled.append(held)
    return filled


def _pieces_shown(pieces: Sequence[bytes | float | Piece]) -> str:
    """Return raw bytes as they can be read. What was sent in one go stands on; a pause has a line of its own."""
    written: list[str] = []
    for piece in pieces[:_EXCHANGES_MAX]:
        match piece:
            case bytes():
                written.append(piece[: 64 * 1024].decode("utf-8", "replace").replace("\r\n", "\n"))
            case Piece.END:
                written.append("\n(nothing more is sent)\n")
            case _:
                written.append(f"\n(pause of {piece:g} s)\n")
    return "".join(written)


_ORDER: Final = (
    "transaction_id",
    CARD,
    "bankaccountnumber",
    "routingnumber",
    "cvv",
    "expiry_month",
    "expiry_year",
    "description",
    "amount",
    "chargeAmount",
    "currency_code",
    "postal_code",
    "method",
    "token_type",
    "parameters",
)
