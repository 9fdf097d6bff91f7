"""Who is calling: passwords, access tokens and path secrets to a `Caller`, without telling a guesser anything.

Credentials are generated with at least 128 random bits and stored as keyed hashes, which are compared in
constant time. An unknown username costs the same work as a wrong password. A header that was right is remembered by
its hash until the registry is read again. Access tokens are JWTs with the
algorithm pinned; what makes one valid is that its id stands, unrevoked, in the registry, so revoking takes
effect at once.

The directory is the registry in memory. It is read again when an administrative command has changed
something.

A right credential is never throttled for others' mistakes: it is verified first, and only a refused one
counts.
"""

import base64
import binascii
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import jwt

from generic_connector.bucket import Bucket
from generic_connector.contract.errors import ErrorCode
from generic_connector.envelope import Purpose, credential_hash
from generic_connector.identifier import Randomness, letters, new_id
from generic_connector.instance import Caller, Instance
from generic_connector.keyring import Keyring
from generic_connector.payment import Method
from generic_connector.ports import AccessToken, Clock, Credential, Registry

PASSWORD = "password"  # noqa: S105 - the name of a kind of credential
PATH = "path"
_ALGORITHM = "HS256"
_CREDENTIAL_BYTES = 20
_REMEMBERED_MAX = 1024
_ADDRESSES_MAX = 10_000
_ALL_METHODS = frozenset(Method)
_NO_PASSWORD = [Credential(instance_id=0, kind=PASSWORD, hash=bytes(32), key_id=0, created_at_ms=0)]
"""What an unknown username's password is compared with. No keyed hash is all zeros."""


def new_credential(randomness: Randomness) -> str:
    """Return a new password or path secret: 40 letters, 160 random bits. Letters survive every configuration form."""
    return letters(randomness(_CREDENTIAL_BYTES))


@dataclass(frozen=True, slots=True)
class Refused:
    """Why nobody is calling. `reason` is for the log; `counts` tells whether it counts against the address."""

    code: ErrorCode
    reason: str
    counts: bool = True


class Directory:
    """The registry in memory, and the judgement on a credential."""

    def __init__(self, registry: Registry, keyring: Keyring, clock: Clock) -> None:
        self._registry = registry
        self._keyring = keyring
        self._clock = clock
        self._verified: OrderedDict[bytes, str] = OrderedDict()
        self._proved: OrderedDict[bytes, Caller] = OrderedDict()
        self.instances: dict[int, Instance] = {}
        self.reload()

    def reload(self) -> None:
        """Read the registry again."""
        self.instances.clear()
        self.instances.update((instance.id, instance) for instance in self._registry.instances())
        self._by_username = {instance.username: instance for instance in self.instances.values()}
        self._by_name = {instance.unique_name: instance for instance in self.instances.values()}
        self._passwords: dict[int, list[Credential]] = {}
        self._paths: dict[bytes, int] = {}
        for credential in self._registry.credentials():
            if credential.kind == PATH:
                self._paths[credential.hash] = credential.instance_id
            else:
                self._passwords.setdefault(credential.instance_id, []).append(credential)
        self._tokens = {token.id: token for token in self._registry.access_tokens()}
        self._verified.clear()
        self._proved.clear()

    # --- The three ways in ---

    def identify(self, authorization: str | None) -> Caller | Refused:
        """Return who an `Authorization` header proves to be calling."""
        if not authorization:
            return Refused(ErrorCode.UNAUTHORIZED, "no credentials", counts=False)
        name = hashlib.sha256(authorization.encode()).digest()
        return self._proved.get(name) or self._prove(authorization, name)

    def _prove(self, authorization: str, name: bytes) -> Caller | Refused:
        """Judge a header. A password that was right stays so until the registry is read again: Twilio repeats it."""
        caller = self._judge(authorization)
        if isinstance(caller, Caller) and caller.credential == PASSWORD:
            self._proved[name] = caller
            if len(self._proved) > _REMEMBERED_MAX:
                self._proved.popitem(last=False)
        return caller

    def _judge(self, authorization: str) -> Caller | Refused:
        scheme, _space, rest = authorization.partition(" ")
        match scheme.lower():
            case "basic":
                return self._basic(rest.strip())
            case "bearer":
                return self._bearer(rest.strip(), username=None)
            case _:
                return Refused(ErrorCode.UNAUTHORIZED, "unknown scheme")

    def identify_path(self, secret: str) -> Caller | Refused:
        """Return who a path secret proves to be calling. A wrong one is a path where nothing is."""
        for key in self._keyring.of(Purpose.CREDENTIAL):
            # A look-up of a keyed hash: its timing tells nothing about the secret.
            instance_id = self._paths.get(credential_hash(secret, key))
            if instance_id is not None:
                return self._admit(self.instances[instance_id], _ALL_METHODS, PATH)
        return Refused(ErrorCode.NOT_FOUND, "unknown path")

    def _basic(self, encoded: str) -> Caller | Refused:
        try:
            username, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return Refused(ErrorCode.UNAUTHORIZED, "garbled header")
        if not colon:
            return Refused(ErrorCode.UNAUTHORIZED, "garbled header")
        if password.count(".") == 2:  # noqa: PLR2004 - the three parts of a JWT; passwords are letters
            return self._bearer(password, username)
        instance = self._by_username.get(username)
        candidates = _NO_PASSWORD if instance is None else self._passwords.get(instance.id, _NO_PASSWORD)
        if not self._matches(password, candidates) or instance is None:
            return Refused(ErrorCode.UNAUTHORIZED, "wrong username or password")
        return self._admit(instance, _ALL_METHODS, PASSWORD)

    def _matches(self, password: str, candidates: Sequence[Credential]) -> bool:
        """Compare with every valid password, in constant time; an unknown username meets one that nothing matches."""
        found = False
        for candidate in candidates:
            key = self._keyring.key(Purpose.CREDENTIAL, candidate.key_id) or self._keyring.active(Purpose.CREDENTIAL)
            found |= hmac.compare_digest(credential_hash(password, key), candidate.hash)
        return found

    def _bearer(self, token: str, username: str | None) -> Caller | Refused:
        token_id = self._verified_id(token)
        known = None if token_id is None else self._tokens.get(token_id)
        if known is None:
            return Refused(ErrorCode.UNAUTHORIZED, "bad access token")
        instance = self.instances[known.instance_id]
        if username is not None and not hmac.compare_digest(username.encode(), instance.username.encode()):
            return Refused(ErrorCode.UNAUTHORIZED, "another instance's access token")
        if known.revoked_at_ms is not None:
            return Refused(ErrorCode.UNAUTHORIZED, "revoked access token")
        if known.expires_at_ms <= self._clock():
            return Refused(ErrorCode.UNAUTHORIZED, "expired access token")
        return self._admit(instance, frozenset(map(Method, known.scopes)), known.id)

    def _admit(self, instance: Instance, scopes: frozenset[Method], credential: str) -> Caller | Refused:
        if not instance.enabled:
            return Refused(ErrorCode.INSTANCE_DISABLED, "disabled instance", counts=False)
        return Caller(instance, scopes, credential)

    # --- Access tokens ---

    def sign(self, token: AccessToken) -> str:
        """Return an access token as a JWT. It is shown once, and not kept."""
        key = self._keyring.active(Purpose.ACCESS_TOKEN)
        claims = {
            "aud": self._keyring.installation,
            "sub": self.instances[token.instance_id].unique_name,
            "jti": token.id,
            "iat": token.issued_at_ms // 1000,
            "exp": token.expires_at_ms // 1000,
            "scope": " ".join(token.scopes),
        }
        return jwt.encode(claims, key.clear, algorithm=_ALGORITHM, headers={"kid": str(key.id)})

    def _verified_id(self, token: str) -> str | None:
        """The id of a token whose signature and claims hold. Verified once; revocation and expiry are asked always."""
        name = hashlib.sha256(token.encode()).digest()
        token_id = self._verified.get(name)
        if token_id is None:
            token_id = self._verify(token)
            if token_id is not None:
                self._verified[name] = token_id
                if len(self._verified) > _REMEMBERED_MAX:
                    self._verified.popitem(last=False)
        return token_id

    def _verify(self, token: str) -> str | None:
        try:
            kid = jwt.get_unverified_header(token).get("kid", "")
            key = self._keyring.key(Purpose.ACCESS_TOKEN, int(kid)) if str(kid).isdecimal() else None
            if key is None:
                return None
            claims = jwt.decode(
                token,
                key.clear,
                algorithms=[_ALGORITHM],
                audience=self._keyring.installation,
                options={"require": ["aud", "sub", "jti", "exp"], "verify_exp": False, "verify_iat": False},
            )
        except (jwt.InvalidTokenError, ValueError):  # a key id of five thousand digits is no number to Python
            return None
        known = self._tokens.get(claims["jti"])
        is_its_own = known is not None and self.instances[known.instance_id].unique_name == claims["sub"]
        return claims["jti"] if is_its_own else None

    def by_name(self, unique_name: str) -> Instance | None:
        """Return the instance of a unique name."""
        return self._by_name.get(unique_name)


def new_access_token(
    instance: Instance, scopes: tuple[str, ...], *, now_ms: int, expires_in_s: int, randomness: Randomness
) -> AccessToken:
    """Return a new access token's record. It ends on a whole second, as JWTs do."""
    return AccessToken(
        id=new_id("at", now_ms=now_ms, randomness=randomness),
        instance_id=instance.id,
        scopes=scopes,
        issued_at_ms=now_ms,
        expires_at_ms=(now_ms // 1000 + expires_in_s) * 1000,
    )


class Throttle:
    """Counts refused credentials by address: so many at once, then so many a second. Bounded: the oldest goes."""

    def __init__(self, burst: int, per_s: float, clock: Clock) -> None:
        self._burst = burst
        self._per_s = per_s
        self._clock = clock
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def may_be_refused(self, address: str) -> bool:
        """Count a refusal. False where the address has had too many: then it hears 429, and nothing about its guess."""
        bucket = self._buckets.pop(address, None) or Bucket(self._per_s, self._burst)
        self._buckets[address] = bucket
        if len(self._buckets) > _ADDRESSES_MAX:
            self._buckets.popitem(last=False)
        return bucket.take(self._clock())


def days_left(token: AccessToken, now_ms: int) -> int:
    """Return how many whole days an access token still has."""
    ends = datetime.fromtimestamp(token.expires_at_ms / 1000, UTC)
    return (ends - datetime.fromtimestamp(now_ms / 1000, UTC)).days
