"""A visit: what the probes of one run share. Where the endpoint is, as whom it is asked, what it has, what is masked.

A run makes one visit of its target, and a probe for each check on top of it. What the probes may not disagree about is
settled here, once:

- The address is taken apart once, and shown without its query and without what may be a secret in its path.
- Credentials have one place where they become an Authorization header. Those that a check makes up may be almost the
  right ones, so the mask learns them as well.
- What an endpoint lacks is one sentence for each need, which says what would help. It is why checks are skipped.
- A connection that carries requests trusts the system's authorities and `--ca`. The context that trusts anybody is for
  looking at handshakes: nothing is ever sent with it.

All that can be told of a run goes through its one mask. It learns what the target knows before anything is asked.
"""

import base64
import contextlib
import ssl
import time
import warnings
from collections.abc import AsyncIterator
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal, assert_never
from urllib.parse import urlsplit

from generic_connector.conformance.check import Need, NotAskable
from generic_connector.conformance.in_process import InProcess
from generic_connector.conformance.mask import Mask
from generic_connector.conformance.profile import Profile
from generic_connector.secret import Secret

if TYPE_CHECKING:
    from generic_connector.conformance.runner import Target

_SECRET_PATH_MIN: Final = 12
_GUESS_MIN: Final = 6

Pair = tuple[str, Secret]


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


def _basic(pair: Pair) -> str:
    return f"Basic {base64.b64encode(f'{pair[0]}:{pair[1].reveal()}'.encode()).decode()}"
