"""The REST API: Calls and Payments, in the shapes in which the official SDKs read them.

    POST, GET  /2010-04-01/Accounts/{AC}/Calls.json                        place a call, list calls
    GET, POST  /2010-04-01/Accounts/{AC}/Calls/{CA}.json                   look at one, redirect it or hang it up
    POST       /2010-04-01/Accounts/{AC}/Calls/{CA}/Payments.json          start a payment
    POST       /2010-04-01/Accounts/{AC}/Calls/{CA}/Payments/{PK}.json     capture, complete, cancel

An SDK needs nothing but this address. In Python:

    client = twilio.rest.Client(account_sid, auth_token)
    client.api.base_url = "https://localhost:8443"
    call = client.calls.create(to="+14155550199", from_="+14155550100", url="https://localhost:5000/voice")
    payment = client.calls(call.sid).payments.create(idempotency_key="1", status_callback="https://localhost:5000/paid")

Over TLS with a development certificate, `REQUESTS_CA_BUNDLE` names its authority, for that SDK uses requests. Leave
`region` and `edge` unset: they would write another host over this one.

Who asks gives the account's SID and auth token (HTTP Basic); there are no API keys. A call is answered at once, whoever
`To` is: there is nobody to ring. It is `queued` in the answer that creates it, as Twilio has it.

- **Url or Twiml**: one of the two. There are no applications and no fallback URLs, and no machine is detected: what
  asks for these is ignored, as are all parameters that are not known.
- **SendDigits** are keyed once the call runs; `w` is half a second, `W` a second.
- **A list** goes from the newest to the oldest, and can be asked for by To, From, Status, and days of StartTime and
  EndTime. Its next page begins after a call, and not at a number, so that new calls do not shift it.
- **Status=completed** hangs up, `canceled` too while the call is queued. Url or Twiml redirects a call that is in
  progress; otherwise that is 21220.
- Errors have Twilio's numbers where its dictionary has one that fits. None repeats a parameter's value.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from email.utils import format_datetime
from itertools import dropwhile
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from generic_connector.digits import is_digits
from generic_connector.scrub import scrub
from generic_connector.secret import Secret
from generic_connector.twilio.exchange import (
    CALL_EVENTS,
    INTERNAL_ERROR,
    KEYS,
    PAUSES_S,
    Dialled,
    Exchange,
    Line,
    NoSuchCallError,
    NotInProgressError,
    TooManyCallsError,
    apology,
)
from generic_connector.twilio.payments_api import MISSING_PARAMETER, Answer, ApiError, not_found

PREFIX: Final = "/2010-04-01"
BODY_BYTES_MAX: Final = 262_144
PAGE_SIZE: Final = 50
PAGE_SIZE_MAX: Final = 1_000
SEND_DIGITS_MAX: Final = 1_024
TEXT_CHARS_MAX: Final = 256
"""Of `To` and `From`."""

NOT_AUTHENTICATED: Final = 20003
METHOD_NOT_ALLOWED: Final = 20004
TOO_MANY_REQUESTS: Final = 20429
TOO_LARGE: Final = 20413
INVALID_PARAMETER: Final = 20001
NO_TO, INVALID_URL, NO_FROM, NOT_IN_PROGRESS = 21201, 21205, 21213, 21220
_UNAUTHORIZED = ApiError(401, NOT_AUTHENTICATED, "Authenticate")
_REALM = {"WWW-Authenticate": 'Basic realm="Twilio API"'}
_AFTER, _BEFORE = "PA", "PB"
"""How a PageToken begins: a page after this call, or before it."""

Endpoint = Callable[[Request], Awaitable[Response]]


class RefusedError(Exception):
    """A request that is refused: carries the answer out of where that was found."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message)
        self.error = error


async def read_body(request: Request) -> bytes:
    """Return a request's body. Raises `RefusedError` where it is too large."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES_MAX:
            raise RefusedError(ApiError(413, TOO_LARGE, f"The body is too large: send {BODY_BYTES_MAX} bytes at most"))
    return bytes(body)


def answered(answer: Answer | ApiError) -> JSONResponse:
    """Return an answer of the API as HTTP has it."""
    return JSONResponse(dict(answer.body), answer.status)


class Rest:
    """The API of one exchange."""

    def __init__(self, exchange: Exchange, auth_token: Secret) -> None:
        self._exchange = exchange
        self._auth_token = auth_token

    @property
    def routes(self) -> Sequence[Route]:
        """What there is below `PREFIX`; all else is not found, for who may ask."""
        account = f"{PREFIX}/Accounts/{{account}}"
        call = f"{account}/Calls/{{call}}"
        every = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        endpoints: Mapping[str, Mapping[str, Endpoint]] = {
            f"{account}/Calls.json": {"POST": self._create, "GET": self._list},
            f"{call}.json": {"GET": self._fetch, "POST": self._update},
            f"{call}/Payments.json": {"POST": self._start_payment},
            f"{call}/Payments/{{payment}}.json": {"POST": self._update_payment},
            f"{PREFIX}/{{rest:path}}": {},
        }
        return [Route(path, self._asked(by_method), methods=every) for path, by_method in endpoints.items()]

    def _asked(self, by_method: Mapping[str, Endpoint]) -> Endpoint:
        """Return the endpoint of a path: checks who asks, chooses by method, and puts errors into Twilio's shape."""

        async def endpoint(request: Request) -> Response:
            if not self._is_known(request.headers.get("authorization", "")):
                return JSONResponse(dict(_UNAUTHORIZED.body), _UNAUTHORIZED.status, _REALM)
            path, method = scrub(request.url.path), "GET" if request.method == "HEAD" else request.method
            try:
                if not by_method or request.path_params["account"] != self._exchange.account_sid:
                    return answered(not_found(path))
                if method not in by_method:
                    allowed = ", ".join(by_method)
                    error = ApiError(405, METHOD_NOT_ALLOWED, f"Method not allowed: send {allowed}")
                    return JSONResponse(dict(error.body), error.status, {"Allow": allowed})
                return await by_method[method](request)
            except RefusedError as refused:
                return answered(refused.error)
            except NoSuchCallError:
                return answered(not_found(path))
            except Exception as error:  # noqa: BLE001 - the last net: the server would print its words
                return answered(ApiError(500, INTERNAL_ERROR, f"The simulator failed: {apology(error)}"))

        return endpoint

    def _is_known(self, authorization: str) -> bool:
        scheme, _space, encoded = authorization.partition(" ")
        try:
            username, _colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):  # a UnicodeError is a ValueError
            return False
        is_token = Secret(password) == self._auth_token
        return scheme.lower() == "basic" and username == self._exchange.account_sid and is_token

    def _line(self, request: Request) -> Line:
        return self._exchange.line(request.path_params["call"])

    # --- Calls -------------------------------------------------------------------------------------------------------

    async def _create(self, request: Request) -> Response:
        pairs = await _read_pairs(request)
        form = dict(pairs)
        url, twiml = _one_source(form)
        try:
            line = self._exchange.dial(
                Dialled(
                    to=_number(form, "To", NO_TO),
                    from_=_number(form, "From", NO_FROM),
                    url=url,
                    method=_method(form, "Method"),
                    twiml=twiml,
                    send_digits=_send_digits(form),
                    status_callback=web_url(form, "StatusCallback"),
                    status_callback_method=_method(form, "StatusCallbackMethod"),
                    status_callback_events=_events(pairs),
                )
            )
        except TooManyCallsError:
            raise RefusedError(
                ApiError(429, TOO_MANY_REQUESTS, "Too many calls are on: hang up some, or wait for their end")
            ) from None
        return JSONResponse(self._shown(line), 201)

    async def _list(self, request: Request) -> Response:
        asked = request.query_params
        page_size = _integer(asked, "PageSize", PAGE_SIZE, least=1, most=PAGE_SIZE_MAX)
        page = _integer(asked, "Page", 0, least=0, most=10**6)
        found = [line for line in self._exchange.lines if _matches(line, asked)]
        first = _first_of_page(found, asked.get("PageToken", ""), page, page_size)
        lines = found[first : first + page_size]
        path = f"{PREFIX}/Accounts/{self._exchange.account_sid}/Calls.json"
        filters = {name: value for name, value in asked.items() if name not in {"Page", "PageSize", "PageToken"}}

        def uri(number: int, token: str | None = None) -> str:
            paging = {"PageSize": str(page_size), "Page": str(number)} | ({} if token is None else {"PageToken": token})
            return f"{path}?{urlencode({**filters, **paging})}"

        has_more, has_less = bool(lines) and first + page_size < len(found), bool(lines) and first > 0
        return JSONResponse(
            {
                "calls": [self._shown(line) for line in lines],
                "first_page_uri": uri(0),
                "next_page_uri": uri(page + 1, _AFTER + lines[-1].sid) if has_more else None,
                "previous_page_uri": uri(max(0, page - 1), _BEFORE + lines[0].sid) if has_less else None,
                "page": page,
                "page_size": page_size,
                "start": first,
                "end": first + max(0, len(lines) - 1),
                "uri": uri(page, asked.get("PageToken")),
            }
        )

    async def _fetch(self, request: Request) -> Response:
        return JSONResponse(self._shown(self._line(request)))

    async def _update(self, request: Request) -> Response:
        line = self._line(request)
        form = dict(await _read_pairs(request))
        status = form.get("Status", "")
        if status not in {"", "completed", "canceled"}:
            raise _invalid("Status", "completed or canceled")
        if status:
            if status == "completed" or line.status == "queued":
                line.hang_up()
            return JSONResponse(self._shown(line))
        url, twiml = _one_source(form)
        try:
            line.redirect(url=url, twiml=twiml, method=_method(form, "Method"))
        except NotInProgressError:
            raise RefusedError(ApiError(400, NOT_IN_PROGRESS, "Call is not in-progress. Cannot redirect.")) from None
        return JSONResponse(self._shown(line))

    def _shown(self, line: Line) -> Mapping[str, object]:
        """Return the resource as the SDKs read it. What is not simulated is null."""
        uri = f"{PREFIX}/Accounts/{self._exchange.account_sid}/Calls/{line.sid}"
        dialled = line.dialled
        unknown = (
            "annotation", "answered_by", "caller_name", "forwarded_from", "group_sid", "parent_call_sid",
            "phone_number_sid", "price", "trunk_sid",
        )  # fmt: skip
        return {
            **dict.fromkeys(unknown),
            "account_sid": self._exchange.account_sid,
            "api_version": PREFIX.strip("/"),
            "date_created": _rfc2822(line.created_at_s),
            "date_updated": _rfc2822(line.updated_at_s),
            "direction": dialled.direction,
            "duration": None if line.duration_s is None else str(line.duration_s),
            "end_time": _rfc2822(line.ended_at_s),
            "from": dialled.from_,
            "from_formatted": dialled.from_,
            "price_unit": "USD",
            "queue_time": "0",
            "sid": line.sid,
            "start_time": _rfc2822(line.started_at_s),
            "status": line.status,
            "subresource_uris": {"payments": f"{uri}/Payments.json"},
            "to": dialled.to,
            "to_formatted": dialled.to,
            "uri": f"{uri}.json",
        }

    # --- Payments ----------------------------------------------------------------------------------------------------

    async def _start_payment(self, request: Request) -> Response:
        line = self._line(request)
        return answered(line.start_payment(dict(await _read_pairs(request))))

    async def _update_payment(self, request: Request) -> Response:
        line = self._line(request)
        return answered(line.update_payment(request.path_params["payment"], dict(await _read_pairs(request))))


async def refuse(request: Request, error: Exception) -> Response:
    """Answer what no endpoint answers, in Twilio's shape."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    match status:
        case 404:
            return answered(not_found(scrub(request.url.path)))
        case 405:
            return answered(ApiError(405, METHOD_NOT_ALLOWED, "Method not allowed"))
        case _:
            return answered(ApiError(status, INTERNAL_ERROR, "The request could not be answered"))


# --- Parameters ------------------------------------------------------------------------------------------------------


async def _read_pairs(request: Request) -> Sequence[tuple[str, str]]:
    body = await read_body(request)
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=1_000)
    except ValueError:  # a UnicodeError is a ValueError
        raise RefusedError(
            ApiError(400, INVALID_PARAMETER, "The body is no form: send application/x-www-form-urlencoded in UTF-8")
        ) from None


def _invalid(name: str, must_be: str) -> RefusedError:
    return RefusedError(ApiError(400, INVALID_PARAMETER, f"Parameter {name} must be {must_be}"))


def _number(form: Mapping[str, str], name: str, code: int) -> str:
    value = form.get(name, "").strip()
    if not value:
        raise RefusedError(ApiError(400, code, f"No '{name}' number is specified"))
    if len(value) > TEXT_CHARS_MAX or not value.isprintable():
        raise _invalid(name, f"a number or a name of {TEXT_CHARS_MAX} characters at most")
    return value


def _one_source(form: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return a URL or TwiML."""
    twiml = form.get("Twiml", "")
    url = web_url(form, "Url")
    if url is not None and twiml.strip():
        raise RefusedError(ApiError(400, MISSING_PARAMETER, "Url and Twiml exclude each other: leave one out"))
    if twiml.strip():
        return None, twiml
    if url is None:
        raise RefusedError(ApiError(400, INVALID_URL, "Url parameter is required, or Twiml"))
    return url, None


def web_url(form: Mapping[str, str], name: str) -> str | None:
    """Return an absolute URL, or None where there is none. Raises `RefusedError`."""
    value = form.get(name, "").strip()
    if not value:
        return None
    try:
        parts = urlsplit(value)
        is_url = parts.scheme.lower() in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        is_url = False
    if not is_url:
        raise RefusedError(ApiError(400, INVALID_URL, f"{name} is not a valid URL: give it with http:// or https://"))
    return value


def _method(form: Mapping[str, str], name: str) -> str:
    value = form.get(name, "").upper() or "POST"
    if value not in {"GET", "POST"}:
        raise _invalid(name, "GET or POST")
    return value


def _send_digits(form: Mapping[str, str]) -> str:
    value = form.get("SendDigits", "")
    if len(value) > SEND_DIGITS_MAX or not set(value) <= KEYS | PAUSES_S.keys():
        raise _invalid("SendDigits", f"{SEND_DIGITS_MAX} at most of 0 to 9, *, #, and w for half a second of silence")
    return value


def _events(pairs: Sequence[tuple[str, str]]) -> Sequence[str]:
    """Return what StatusCallbackEvent names, given more than once or with spaces between."""
    named = [word for name, value in pairs if name == "StatusCallbackEvent" for word in value.split()]
    if not set(named) <= set(CALL_EVENTS):
        raise _invalid("StatusCallbackEvent", f"some of {', '.join(CALL_EVENTS)}")
    return named or ["completed"]


def _integer(asked: Mapping[str, str], name: str, default: int, *, least: int, most: int) -> int:
    value = asked.get(name, "")
    if not value:
        return default
    if not is_digits(value) or len(value) > len(str(most)) or not least <= int(value) <= most:
        raise _invalid(name, f"a whole number from {least} to {most}")
    return int(value)


# --- Lists -----------------------------------------------------------------------------------------------------------


def _matches(line: Line, asked: Mapping[str, str]) -> bool:
    """Whether a list asks for this call. Days are those of UTC; `<` is before one, `>` on it or after."""
    texts = {"To": line.dialled.to, "From": line.dialled.from_, "Status": line.status}
    if any(asked.get(name, "") not in {"", value} for name, value in texts.items()):
        return False
    for name, at_s in (("StartTime", line.started_at_s), ("EndTime", line.ended_at_s)):
        day = None if at_s is None else datetime.fromtimestamp(at_s, UTC).date()
        on, before, after = (_day(asked, name + sign) for sign in ("", "<", ">"))
        if (on, before, after) == (None, None, None):
            continue
        if day is None or (on not in {None, day}) or (before and day >= before) or (after and day < after):
            return False
    return True


def _day(asked: Mapping[str, str], name: str) -> date | None:
    value = asked.get(name, "")
    if not value:
        return None
    try:
        return date.fromisoformat(value[:10])
    except ValueError:
        raise _invalid(name, "a day such as 2026-11-24") from None


def _first_of_page(found: Sequence[Line], token: str, page: int, page_size: int) -> int:
    """Return where a page begins: by its token, and where that names no call that is there, by its number."""
    mark, sid = token[: len(_AFTER)], token[len(_AFTER) :]
    places = dropwhile(lambda place: found[place].sid != sid, range(len(found)))
    place = next(iter(places), None) if sid else None
    match mark:
        case "PA" if place is not None:
            return place + 1
        case "PB" if place is not None:
            return max(0, place - page_size)
        case _:
            return page * page_size


def _rfc2822(at_s: float | None) -> str | None:
    return None if at_s is None else format_datetime(datetime.fromtimestamp(at_s, UTC))
