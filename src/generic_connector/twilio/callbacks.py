"""Callbacks: Twilio's signed requests to the application, for documents, actions and status.

Each is a form, posted or in the query of a GET, with an `X-Twilio-Signature`: HMAC-SHA1 under the account's auth token
over the URL and, for a POST, every field's name and value in the order of the names. The official SDKs check it, so
what is signed here is the URL exactly as it is sent.

What Twilio's pages tell of these requests holds here too. All of a request, redirects included, has 15 s. A document
has at most 64 kB. 301, 302, 303 and 307 are followed, ten times at most; after the first three a POST goes on as a GET
without its fields, as browsers have it, and each hop is signed anew. Name and password in a URL are sent to who asks
for them, and are no part of what is signed. Cookies come back. What goes wrong has Twilio's number, from 11100 on.

TLS is verified as always; a development CA may be trusted beside the system's. Plain `http://` is allowed: the card is
not in here. What is told to `heard` is scrubbed all the same, for anybody may write a card number into a field.
"""

import asyncio
import base64
import hashlib
import hmac
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from itertools import count
from typing import Final, Self, assert_never
from urllib.parse import parse_qsl, urlencode, urljoin

import httpx

from generic_connector.scrub import scrub
from generic_connector.twilio.call import Document, FetchFailed
from generic_connector.twilio.delivery import Delivery
from generic_connector.twilio.effects import Fetches, Reports

PATIENCE_S: Final = 15.0
DOCUMENT_BYTES_MAX: Final = 65_536
REDIRECTS_MAX: Final = 10
SIGNATURE_HEADER: Final = "X-Twilio-Signature"
USER_AGENT: Final = "TwilioProxy/1.1"

_FORM = "application/x-www-form-urlencoded; charset=UTF-8"
_TO_GET = (301, 302, 303)
_FOLLOWED = (*_TO_GET, 307)
_TLS_NUMBERS = {10: 11236, 62: 11235}
"""OpenSSL's reasons that Twilio has numbers for: an expired certificate, and one of another host."""

_INVALID_REDIRECT = FetchFailed("HTTP invalid redirect: answer 301, 302, 303 or 307, and the URL in Location", 11216)

Fields = Mapping[str, str] | Iterable[tuple[str, str]]


def signature(auth_token: str, url: str, fields: Fields = ()) -> str:
    """Return what `X-Twilio-Signature` must be. `fields` are a POST's, and a name may come more than once."""
    pairs = fields.items() if isinstance(fields, Mapping) else fields
    # A set: the same name with the same value counts once, as the official validators count it.
    signed = url + "".join(name + value for name, value in sorted(set(pairs)))
    mac = hmac.digest(auth_token.encode(), signed.encode(errors="replace"), hashlib.sha1)
    return base64.b64encode(mac).decode()


@dataclass(frozen=True, slots=True)
class _Hop:
    """One request of a callback: the first, or one that a redirect or a challenge brought about."""

    method: str
    url: httpx.URL
    fields: Mapping[str, str]
    auth: httpx.BasicAuth | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of one request. `text` stops at the most that a document may have."""

    response: httpx.Response
    text: str
    is_too_large: bool


class Callbacks:
    """Asks an application for documents, and tells it what happens.

    Relative URLs are resolved against `base_url`. `heard` is told of every request twice, when it begins and when it
    ends; `ids` numbers them. `transport` replaces the network.
    """

    def __init__(
        self,
        auth_token: str,
        *,
        base_url: str | None = None,
        ca_file: str | None = None,
        heard: Callable[[Delivery], None] | None = None,
        ids: Iterator[int] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._auth_token = auth_token
        self._base_url = base_url
        self._heard = heard
        self._ids = count(1) if ids is None else ids
        trusted = httpx.create_ssl_context()
        trusted.load_default_certs()  # the system's
        if ca_file is not None:
            trusted.load_verify_locations(ca_file)
        # trust_env=False: a proxy of the environment is not part of the laptop that is simulated, and cannot reach it.
        # The timeout is only for a network that forgets the deadline.
        self._client = httpx.AsyncClient(transport=transport, verify=trusted, trust_env=False, timeout=2 * PATIENCE_S)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End all connections."""
        await self._client.aclose()

    async def fetch(self, asked: Fetches, call_fields: Mapping[str, str]) -> Document | FetchFailed:
        """Return the document that the application answers to the call's own fields and those of the request."""
        came = await self._ask(asked.url, asked.method, {**call_fields, **asked.fields}, asked.why)
        if isinstance(came, FetchFailed):
            return came
        return Document(str(came.response.url), came.text, came.response.headers.get("content-type"))

    async def report(self, told: Reports) -> None:
        """Make a status callback. Nobody waits for its answer, and nothing follows from one that fails."""
        await self._ask(told.url, told.method, told.fields, told.why)

    # --- One callback ------------------------------------------------------------------------------------------------

    async def _ask(self, url: str, method: str, fields: Mapping[str, str], why: str) -> _Answer | FetchFailed:
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        hop, credentials = _first_hop(urljoin(self._base_url or "", url), method, fields)
        if hop is None:
            return FetchFailed("Invalid URL format: give an absolute http:// or https:// URL", 11100)
        attempt = 0
        while True:
            attempt += 1
            begun = self._begin(hop, why, attempt)
            started = time.perf_counter()
            try:
                came = await self._exchange(hop, deadline)
            except asyncio.CancelledError:
                self._end(begun, started, FetchFailed("HTTP connection failure: given up with the call", 11205))
                raise
            following = _following(hop, came, credentials, attempt) if isinstance(came, _Answer) else came
            self._end(begun, started, came, is_last=not isinstance(following, _Hop))
            if not isinstance(following, _Hop):
                return came if following is None else following
            hop = following

    async def _exchange(self, hop: _Hop, deadline: float) -> _Answer | FetchFailed:
        """Send one request, and read its answer as far as a document may go."""
        try:
            async with asyncio.timeout_at(deadline), self._stream(hop) as response:
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > DOCUMENT_BYTES_MAX:
                        break
        except TimeoutError:
            return FetchFailed(f"HTTP connection failure: no answer within {PATIENCE_S:g} s: answer sooner", 11205)
        except (httpx.HTTPError, UnicodeError) as error:
            return _explained(error, hop.url)
        return _Answer(response, _text(response, bytes(body[:DOCUMENT_BYTES_MAX])), len(body) > DOCUMENT_BYTES_MAX)

    def _stream(self, hop: _Hop) -> AbstractAsyncContextManager[httpx.Response]:
        headers = {
            "User-Agent": USER_AGENT,
            "Accept": "*/*",
            "Accept-Encoding": "identity",  # 64 kB are 64 kB
            SIGNATURE_HEADER: signature(self._auth_token, _as_sent(hop.url), hop.fields),
        }
        if hop.method == "POST":
            headers["Content-Type"] = _FORM
        body = urlencode(hop.fields).encode() if hop.method == "POST" else None
        return self._client.stream(hop.method, hop.url, headers=headers, content=body, auth=hop.auth)

    # --- What is told ------------------------------------------------------------------------------------------------

    def _begin(self, hop: _Hop, why: str, attempt: int) -> Delivery:
        begun = Delivery(
            id=next(self._ids),
            to="application",
            why=why,
            method=hop.method,
            url=_shown_url(hop.url),
            attempt=attempt,
            request=urlencode(_scrubbed(hop.fields.items()), safe="*"),
        )
        if self._heard is not None:
            self._heard(begun)
        return begun

    def _end(self, begun: Delivery, started: float, came: _Answer | FetchFailed, *, is_last: bool = True) -> None:
        if self._heard is None:
            return
        ended = replace(begun, milliseconds=(time.perf_counter() - started) * 1000, is_last=is_last)
        match came:
            case _Answer():
                self._heard(replace(ended, status=came.response.status_code, reply=scrub(came.text)))
            case FetchFailed():
                self._heard(replace(ended, failure=f"{came.code} {came.why}"))
            case _:
                assert_never(came)


# --- Requests --------------------------------------------------------------------------------------------------------


def _first_hop(url: str, method: str, fields: Mapping[str, str]) -> tuple[_Hop | None, httpx.BasicAuth | None]:
    """Return the first request, and the credentials of its URL, for who asks. None where the URL is none."""
    fields = {_encodable(name): _encodable(value) for name, value in fields.items()}
    is_post = method.upper() == "POST"
    try:
        whole = httpx.URL(url).copy_with(fragment=None)
        auth = httpx.BasicAuth(whole.username, whole.password) if whole.userinfo else None
        whole = whole.copy_with(userinfo=b"")
        if fields and not is_post:
            query = whole.query.decode("ascii")
            whole = whole.copy_with(query=f"{query}{'&' if query else ''}{urlencode(fields)}".encode())
        if not whole.query:  # validators drop a question mark that nothing follows
            whole = whole.copy_with(query=None)
    except (httpx.InvalidURL, ValueError):  # a UnicodeError is a ValueError
        return None, None
    hop = _Hop("POST" if is_post else "GET", whole, fields if is_post else {})
    return (hop if _is_web(whole) else None), auth


def _following(hop: _Hop, came: _Answer, auth: httpx.BasicAuth | None, attempt: int) -> _Hop | FetchFailed | None:
    """Return the request that this answer asks for, why it is none, or None where it is the document."""
    status, headers = came.response.status_code, came.response.headers
    if status == httpx.codes.UNAUTHORIZED and auth is not None and hop.auth is None:
        return replace(hop, auth=auth)
    if httpx.codes.is_redirect(status):
        if attempt > REDIRECTS_MAX:
            return FetchFailed("HTTP too many redirects: let the URL lead to the document itself", 11215)
        return _redirected(hop, status, headers.get("location"))
    if not httpx.codes.is_success(status):
        return FetchFailed(f"HTTP retrieval failure: the application answered {status}: see its log", 11200)
    if came.is_too_large:
        return FetchFailed(f"TwiML response body too large: answer {DOCUMENT_BYTES_MAX} bytes at most", 11750)
    return None


def _redirected(hop: _Hop, status: int, location: str | None) -> _Hop | FetchFailed:
    url = hop.url.join(location or "").copy_with(fragment=None, userinfo=b"")  # httpx has parsed it once
    if status not in _FOLLOWED or location is None or not _is_web(url):
        return _INVALID_REDIRECT
    # Credentials are for the host that they were written for.
    auth = hop.auth if url.host == hop.url.host and url.port == hop.url.port else None
    return _Hop("GET", url, {}, auth) if status in _TO_GET else replace(hop, url=url, auth=auth)


def _as_sent(url: httpx.URL) -> str:
    """Return a URL as the application finds it in `Host` and the request line."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}{url.raw_path.decode('ascii')}"


def _is_web(url: httpx.URL) -> bool:
    return url.scheme in ("http", "https") and bool(url.host)


def _encodable(text: str) -> str:
    """Half a surrogate pair, which JSON can hold and UTF-8 cannot, becomes a question mark."""
    return text.encode(errors="replace").decode()


# --- Answers ---------------------------------------------------------------------------------------------------------


def _text(response: httpx.Response, body: bytes) -> str:
    try:
        return body.decode(response.charset_encoding or "utf-8-sig", errors="replace")
    except LookupError:  # a charset that nobody knows
        return body.decode("utf-8-sig", errors="replace")


def _explained(error: Exception, url: httpx.URL) -> FetchFailed:
    """Return what a failure means, by its causes."""
    where = f"{url.host}:{url.port or (443 if url.scheme == 'https' else 80)}"
    cause: BaseException | None = error
    while cause is not None:
        match cause:
            case ssl.SSLCertVerificationError():
                number = _TLS_NUMBERS.get(cause.verify_code, 11237)
                return FetchFailed(f"Certificate invalid ({cause.verify_message}): mend it, or trust its CA", number)
            case ssl.SSLError():
                return FetchFailed(f"SSL/TLS handshake error: does {where} speak TLS? Else give http://", 11220)
            case socket.gaierror() | UnicodeError():
                return FetchFailed("HTTP bad host name: correct the host in the URL", 11210)
            case httpx.RemoteProtocolError() if isinstance(cause.__context__, httpx.InvalidURL):
                return _INVALID_REDIRECT
            case httpx.ProtocolError() | httpx.DecodingError():
                return FetchFailed(f"HTTP protocol violation: {where} gave no answer that is HTTP", 11206)
            case _:
                cause = cause.__cause__ or cause.__context__
    return FetchFailed(f"HTTP connection failure: {where} cannot be reached: is the application running?", 11205)


# --- What may be shown -----------------------------------------------------------------------------------------------


def _scrubbed(pairs: Iterable[tuple[str, str]]) -> Sequence[tuple[str, str]]:
    return [(scrub(name), scrub(value)) for name, value in pairs]


def _shown_url(url: httpx.URL) -> str:
    """Return a URL without numbers that may be a card's, in its query or anywhere else."""
    query = url.query.decode("ascii")
    if query:
        url = url.copy_with(query=urlencode(_scrubbed(parse_qsl(query, keep_blank_values=True)), safe="*").encode())
    return scrub(str(url))
