"""The desk: the simulated Twilio as a server. The REST API, the phone page and what it needs, and a little application.

    /2010-04-01/...          the REST API (see `rest`), for who knows the auth token
    /, /page/...             the phone page
    /desk/state, /desk/events, /desk/calls...     what the page is made of: JSON, and Server-Sent Events
    /desk/app/...            an application, so that a call can be tried with nothing else running

It is for one developer's machine, so it listens on loopback unless told otherwise, and keeps other web pages out:

- **Only its own names** are answered to, by the `Host` header. A page of somebody's, whose name was made to point here
  (DNS rebinding), has another.
- **No page but its own may post**: `Origin`, where a browser sends it, must be this server's. The page's own requests
  are JSON, which no form of another page can send.
- **The page runs nothing but its own files** (Content-Security-Policy), and nobody may frame it.
- Nobody logs in to the page. Where it listens beyond this machine, whoever reaches it can place calls, and so have it
  ask any URL that it can reach. Over anything but loopback it serves TLS only.

Over plain HTTP the switch `action_scheme` begins as `any`: its own application has no other address than `http://`.
Over TLS calls must trust the desk's own certificate to reach it: the authority belongs into the configuration.

The little application takes what it is sent for granted: it is an example of answers, not of checking signatures.
"""

import asyncio
import contextlib
import html
import ipaddress
import json
import re
import signal
import socket
import ssl
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import uvicorn
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from generic_connector.scrub import scrub
from generic_connector.twilio.configuration import BadConfigurationError, Configuration, switch_rows, switched
from generic_connector.twilio.exchange import (
    KEYS,
    Dialled,
    Exchange,
    NoSuchCallError,
    TooManyCallsError,
    apology,
)
from generic_connector.twilio.payments_api import Answer
from generic_connector.twilio.presets import PRESETS
from generic_connector.twilio.rest import (
    PREFIX,
    TEXT_CHARS_MAX,
    RefusedError,
    Rest,
    answered,
    read_body,
    refuse,
    web_url,
)
from generic_connector.twilio.timeline import Timeline

CALLER, CALLED = "+14155550100", "+14155550199"
KEYS_AT_ONCE_MAX: Final = 64
HEARTBEAT_S: Final = 15.0
GRACE_S: Final = 0.5
"""How long answers that are on their way have, when the server ends."""

_HEADERS: Final = (
    (
        b"content-security-policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
            b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_STEP_S = 0.02
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_FILE = re.compile(r"[a-z0-9][a-z0-9_-]{0,40}\.(css|js|svg|png)")
_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "png": "image/png", "html": "text/html"}

Endpoint = Callable[[Request], Awaitable[Response]]


class BadAddressError(Exception):
    """The desk may not be served there. Says why, and what to do."""


class _RefusedHereError(Exception):
    """A request of the page that is refused. `text` says what is wrong and what to do."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


class _Placed(BaseModel):
    """What the page places a call with."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    twiml: str | None = None
    url: str | None = None
    connector: str | None = None
    switches: Mapping[str, str | bool | int | float] = Field(default_factory=dict)
    from_: str = Field(default=CALLER, alias="from", min_length=1, max_length=TEXT_CHARS_MAX)
    to: str = Field(default=CALLED, min_length=1, max_length=TEXT_CHARS_MAX)


class Desk:
    """The server's application, and the exchange behind it.

    `base_url` is its own address, for what is relative and for presets. `names` are host names that it answers to
    beside those of loopback; with `is_anywhere` it answers to every IP address as well.
    """

    def __init__(
        self,
        configuration: Configuration,
        base_url: str,
        *,
        names: Iterable[str] = (),
        is_anywhere: bool = False,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self._configuration = configuration
        self._heartbeat_s = heartbeat_s
        self.timeline = Timeline()
        self.exchange = Exchange(
            configuration.account_sid,
            configuration.auth_token.reveal(),
            configuration.connectors,
            configuration.switches,
            self.timeline,
            base_url=base_url,
            ca_file=configuration.ca_file,
        )
        app = Starlette(
            routes=[*Rest(self.exchange, configuration.auth_token).routes, *self._routes(), *_application()],
            exception_handlers={HTTPException: _not_there, Exception: _not_there},
        )
        app.router.redirect_slashes = False
        self.app: ASGIApp = _Door(app, {*_LOOPBACK_NAMES, *(name.lower() for name in names)}, is_anywhere=is_anywhere)

    async def aclose(self) -> None:
        """Hang up, let the last callbacks go out, and end the streams of events."""
        await self.exchange.aclose()

    def _routes(self) -> Sequence[BaseRoute]:
        call = "/desk/calls/{call}"
        posts: Mapping[str, Endpoint] = {
            "/desk/calls": self._place,
            f"{call}/keys": self._press,
            f"{call}/hang-up": self._hang_up,
            f"{call}/payments": self._start_payment,
            f"{call}/payments/{{payment}}": self._update_payment,
        }
        gets: Mapping[str, Endpoint] = {
            "/": _index,
            "/page/{file}": _page_file,
            "/desk/state": self._state,
            "/desk/events": self._events,
        }
        return [
            *(Route(path, _answering(endpoint), methods=["POST"]) for path, endpoint in posts.items()),
            *(Route(path, _answering(endpoint), methods=["GET"]) for path, endpoint in gets.items()),
        ]

    # --- What there is -----------------------------------------------------------------------------------------------

    async def _state(self, request: Request) -> Response:
        configuration = self._configuration
        values = configuration.switches.model_dump()
        connectors = configuration.connectors.values()
        return JSONResponse(
            {
                "account_sid": configuration.account_sid,
                "connectors": [
                    {"unique_name": one.unique_name, "url": one.url, "mode": one.mode.value} for one in connectors
                ],
                "switches": [
                    {
                        "name": row.name,
                        "value": values[row.name],
                        "default": row.default,
                        "choices": row.choices,
                        "description": row.meaning,
                    }
                    for row in switch_rows()
                ],
                "presets": [
                    {"name": one.name, "title": one.title, "about": one.about, "twiml": one.at(_base(request))}
                    for one in PRESETS
                ],
                "calls": [{"sid": line.sid, "status": line.status} for line in self.exchange.lines],
            }
        )

    async def _events(self, request: Request) -> Response:
        after = self.timeline.resumed(request.headers.get("last-event-id"))
        return StreamingResponse(
            self._stream(after), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
        )

    async def _stream(self, after: int) -> AsyncIterator[str]:
        """Give events as Server-Sent Events have them. A comment now and then finds those who have left."""
        yield "retry: 1000\n\n"
        async with contextlib.aclosing(self.timeline.follow(after, patience_s=self._heartbeat_s)) as events:
            async for event in events:
                yield ":\n\n" if event is None else f"id: {self.timeline.wire_id(event)}\ndata: {event.data}\n\n"

    # --- Calls -------------------------------------------------------------------------------------------------------

    async def _place(self, request: Request) -> Response:
        placed = await _read_placed(request)
        if (placed.twiml is None) == (placed.url is None):
            raise _RefusedHereError("A call runs either twiml or url: give one of them.")
        if placed.url is not None and web_url({"url": placed.url}, "url") is None:
            raise _RefusedHereError("url is empty: give one with http:// or https://.")
        if placed.connector is not None and placed.connector not in self.exchange.connectors:
            known = ", ".join(self.exchange.connectors) or "none"
            raise _RefusedHereError(f"There is no connector of that name: known are {known}.")
        try:
            switches = switched(self.exchange.switches, placed.switches)
        except BadConfigurationError as error:
            raise _RefusedHereError(str(error)) from None
        try:
            line = self.exchange.dial(
                Dialled(
                    from_=placed.from_,
                    to=placed.to,
                    url=placed.url,
                    twiml=placed.twiml,
                    direction="inbound",
                    connector=placed.connector,
                    switches=switches,
                )
            )
        except TooManyCallsError:
            raise _RefusedHereError("Too many calls are on: hang up some, or wait for their end.", 429) from None
        return JSONResponse({"sid": line.sid}, 201)

    async def _press(self, request: Request) -> Response:
        line = self.exchange.line(request.path_params["call"])
        keys = (await _read_object(request)).get("keys")
        if not isinstance(keys, str) or not 1 <= len(keys) <= KEYS_AT_ONCE_MAX or not set(keys) <= KEYS:
            raise _RefusedHereError(f'Give {{"keys": "..."}} with 1 to {KEYS_AT_ONCE_MAX} of 0 to 9, * and #.')
        line.press(keys)
        return Response(status_code=204)

    async def _hang_up(self, request: Request) -> Response:
        self.exchange.line(request.path_params["call"]).hang_up()
        return Response(status_code=204)

    # --- The agent's view --------------------------------------------------------------------------------------------

    async def _start_payment(self, request: Request) -> Response:
        line = self.exchange.line(request.path_params["call"])
        return answered(line.start_payment(await _read_payment(request)))

    async def _update_payment(self, request: Request) -> Response:
        line = self.exchange.line(request.path_params["call"])
        answer: Answer = line.update_payment(request.path_params["payment"], await _read_payment(request))
        return answered(answer)


# --- Requests of the page --------------------------------------------------------------------------------------------


def _base(request: Request) -> str:
    """Return the server's own address, as this request has it: the door has let its Host through."""
    return f"{request.url.scheme}://{request.headers['host']}"


def _answering(endpoint: Endpoint) -> Endpoint:
    """Return the endpoint with its errors as the page reads them."""

    async def answering(request: Request) -> Response:
        try:
            return await endpoint(request)
        except _RefusedHereError as refused:
            return JSONResponse({"error": scrub(refused.text)}, refused.status)
        except RefusedError as refused:
            return JSONResponse({"error": refused.error.message}, refused.error.status)
        except NoSuchCallError:
            return JSONResponse({"error": "There is no such call: place a new one."}, 404)
        except HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - the last net: the server would print its words
            return JSONResponse({"error": f"The simulator failed: {apology(error)}"}, 500)

    return answering


async def _read_object(request: Request) -> Mapping[str, object]:
    """Return the JSON object of a request. No form of another page can send that content type."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise _RefusedHereError("Send JSON, with the Content-Type application/json.", 415)
    try:
        found = json.loads(await read_body(request))
    except (ValueError, RecursionError):  # a UnicodeError is a ValueError
        raise _RefusedHereError("The body is no JSON: send an object.") from None
    if not isinstance(found, dict):
        raise _RefusedHereError("The body is no JSON object: send one.")
    return found


async def _read_placed(request: Request) -> _Placed:
    try:
        return _Placed.model_validate(await _read_object(request))
    except ValidationError as error:
        (fault, *_others) = error.errors(include_input=False, include_url=False, include_context=False)
        known = ", ".join(field.alias or name for name, field in _Placed.model_fields.items())
        if fault["type"] == "extra_forbidden":
            raise _RefusedHereError(f"The object has a key that is not known: known are {known}.") from None
        place = str(fault["loc"][0]) if fault["loc"] else "the object"
        raise _RefusedHereError(f"{place}: {fault['msg']}: send it so, or leave it out.") from None


async def _read_payment(request: Request) -> Mapping[str, str]:
    """Return the API's form, with what the page need not think of filled in."""
    given = await _read_object(request)
    form = {
        "IdempotencyKey": str(uuid.uuid4()),
        "StatusCallback": f"{_base(request)}/desk/app/status",
    }
    for name, value in given.items():
        if not isinstance(value, str | bool | int):
            raise _RefusedHereError("The object's values must be texts, whole numbers, true or false.")
        form[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return form


async def _not_there(request: Request, error: Exception) -> Response:
    """Answer what no endpoint answers: JSON, in Twilio's shape below its API."""
    if request.url.path.startswith(f"{PREFIX}/"):
        return await refuse(request, error)
    status = error.status_code if isinstance(error, HTTPException) else 500
    texts = {404: "There is nothing here.", 405: "That is not how this is asked for."}
    return JSONResponse({"error": texts.get(status, "The simulator failed: please report that.")}, status)


# --- The page's files ------------------------------------------------------------------------------------------------


async def _index(_request: Request) -> Response:
    return _file("index.html")


async def _page_file(request: Request) -> Response:
    name = request.path_params["file"]
    if not _FILE.fullmatch(name):
        raise HTTPException(404)
    return _file(name)


def _file(name: str) -> Response:
    found = files("generic_connector.twilio") / "page" / name
    if not found.is_file():
        raise HTTPException(404)
    return Response(found.read_bytes(), media_type=_TYPES[name.rpartition(".")[2]])


# --- The little application ------------------------------------------------------------------------------------------


def _application() -> Sequence[BaseRoute]:
    endpoints = {"paid": _paid, "chosen": _chosen, "status": _status}
    return [
        Route(f"/desk/app/{name}", _answering(endpoint), methods=["GET", "POST"])
        for name, endpoint in endpoints.items()
    ]


async def _told(request: Request) -> Mapping[str, str]:
    """Return what the simulated Twilio told, in a form or in the query."""
    body = await read_body(request)
    return {**request.query_params, **dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))}


def _twiml(*verbs: str) -> Response:
    return Response(f"<Response>{''.join(verbs)}</Response>", media_type="text/xml")


def _say(text: str) -> str:
    return f"<Say>{html.escape(text, quote=False)}</Say>"


async def _paid(request: Request) -> Response:
    """Say what came of a payment."""
    told = await _told(request)
    if told.get("Result") == "success":
        if told.get("PaymentConfirmationCode"):
            return _twiml(_say("Thank you. Your payment was successful. Goodbye."), "<Hangup/>")
        return _twiml(_say("Thank you. What you pay with has been saved. Goodbye."), "<Hangup/>")
    sentences = {
        "payment-connector-error": "Your payment was not accepted.",
        "too-many-failed-attempts": "That did not work. Please try again later.",
        "caller-interrupted-with-star": "You have canceled the payment.",
        "validation-error": "This payment cannot be taken.",
    }
    sentence = sentences.get(told.get("Result", ""), "There was no payment.")
    return _twiml(_say(f"{sentence} You have not been charged. Goodbye."), "<Hangup/>")


async def _chosen(request: Request) -> Response:
    """Go on to the payment with 1, and say goodbye with anything else."""
    if (await _told(request)).get("Digits") == "1":
        base = html.escape(_base(request))
        return _twiml(
            f'<Pay chargeAmount="18.00" postalCode="false" timeout="20" maxAttempts="2" action="{base}/desk/app/paid"/>'
        )
    return _twiml(_say("Then perhaps another time. Goodbye."), "<Hangup/>")


async def _status(request: Request) -> Response:
    """Take note of a status, which the timeline shows."""
    await _told(request)
    return Response(status_code=204)


# --- The door --------------------------------------------------------------------------------------------------------


class _Door:
    """Turns away whom this server is not for, and gives every answer the headers that protect the page."""

    def __init__(self, app: ASGIApp, names: Iterable[str], *, is_anywhere: bool) -> None:
        self._app = app
        self._names = frozenset(names)
        self._is_anywhere = is_anywhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = message.setdefault("headers", [])
                message["headers"] = [*given, *_HEADERS, (b"cache-control", b"no-store")]
            await send(message)

        refused = self._refusal(Request(scope))
        await (refused or self._app)(scope, receive, sent)

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if not self._is_own(host):
            return JSONResponse(
                {"error": "This server does not answer to that name: use localhost, or name the host when it starts."},
                421,
            )
        origin = request.headers.get("origin")
        if request.method not in _SAFE_METHODS and origin is not None and _netloc(origin) != host.lower():
            return JSONResponse({"error": "Another site's page may not ask this."}, 403)
        return None

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._names:
            return True
        if not self._is_anywhere:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _netloc(origin: str) -> str | None:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in {"http", "https"} else None


# --- The server ------------------------------------------------------------------------------------------------------


async def serve_desk(
    configuration: Configuration,
    sockets: Sequence[socket.socket],
    *,
    host: str = "127.0.0.1",
    context: ssl.SSLContext | None = None,
    names: Iterable[str] = (),
    announce: Callable[[str], None] = lambda _url: None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve the desk on sockets that listen, until SIGTERM or SIGINT, or until `stop` is set, which leaves signals be.

    `host` is what people call it, `names` what they may call it besides; `context` is for TLS, without which only
    loopback is served. `announce` gets the address once everything is ready. Raises `BadAddressError`.
    """
    addresses = [ipaddress.ip_address(one.getsockname()[0].partition("%")[0]) for one in sockets]
    if context is None and not all(address.is_loopback for address in addresses):
        raise BadAddressError(
            "plain HTTP is for this machine only: listen on 127.0.0.1, or give a certificate and its key"
        )
    if context is None:
        switches = configuration.switches.model_copy(update={"action_scheme": "any"})
        configuration = replace(configuration, switches=switches)
    port = sockets[0].getsockname()[1]
    base_url = f"{'http' if context is None else 'https'}://{f'[{host}]' if ':' in host else host}:{port}"
    is_anywhere = not all(address.is_loopback for address in addresses)
    desk = Desk(configuration, base_url, names=[host, *names], is_anywhere=is_anywhere)
    server = _Server(_uvicorn_config(desk.app, context), desk, stop, lambda: announce(base_url))
    try:
        await server.serve(list(sockets))
    finally:
        await desk.aclose()


def _uvicorn_config(app: ASGIApp, context: ssl.SSLContext | None) -> uvicorn.Config:
    """Return uvicorn's configuration: no logs that name paths or bodies, no header that brags."""
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ssl_context_factory=None if context is None else lambda _config, _default: context,
    )


class _Server(uvicorn.Server):
    """uvicorn's server with an end of our own: first the calls and the streams of events, then the connections."""

    def __init__(
        self, config: uvicorn.Config, desk: Desk, stop: asyncio.Event | None, ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._desk = desk
        self._stop = stop
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Both signals end the server in order. uvicorn would raise them again afterwards: no exit 0."""
        loop = asyncio.get_running_loop()
        if self._stop is not None:
            stopping = loop.create_task(self._end_at(self._stop))
            try:
                yield
            finally:
                stopping.cancel()
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def _end(self) -> None:
        self.should_exit = True

    async def _end_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._end()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._desk.aclose()
        connections = self.server_state.connections
        for connection in list(connections):
            connection.shutdown()
        deadline = asyncio.get_running_loop().time() + GRACE_S
        while connections and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - uvicorn has no event
            await asyncio.sleep(_STEP_S)
        for connection in list(connections):  # who keeps a connection open may be gone, and never close it
            connection.transport.abort()
        await super().shutdown(sockets)
