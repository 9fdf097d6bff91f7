"""The gateway's listener: bytes in, bytes out, and every reply in the contract's shape.

A plain ASGI callable, since it is the hot path: `POST /` and its legacy and path-secret forms are answered
here; everything else goes to the pages. The order of the checks is part of the interface: path, method,
declared size, credentials, then the body. Who may not call does not get a body parsed.

What this module must never do: answer early once the connector has the payment (an error would end Twilio's
attempts), log a path (it may be a secret), or put anything of a request into a reply but what the contract
echoes.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from generic_connector.connector import Answer, Connector
from generic_connector.contract.body import BODY_BYTES_MAX
from generic_connector.contract.errors import ERRORS, Code, ErrorCode
from generic_connector.contract.reply import Reply, render_failure
from generic_connector.contract.request import Refusal, parse
from generic_connector.identifier import Randomness, new_id
from generic_connector.identity import Directory, Refused, Throttle
from generic_connector.instance import Caller
from generic_connector.payment import Method, Payment
from generic_connector.ports import Clock, Log
from generic_connector.telemetry import Metrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

PATHS: dict[str, Method | None] = {"/": None, "/charge": Method.CHARGE, "/tokenize": Method.TOKENIZE}
PATH_SECRET = "/i/"  # noqa: S105 - where path secrets begin
REALM = "generic-connector"

_DRAINED_BYTES_MAX = 1024 * 1024
_HANG_UP_WATCHED_AFTER_S = 1.0


class Gateway:
    """The ASGI application of the payment listener. `pages` answers what is no payment."""

    def __init__(
        self,
        *,
        connector: Connector,
        directory: Directory,
        throttle: Throttle,
        pages: AsgiApp,
        log: Log,
        metrics: Metrics,
        clock: Clock,
        randomness: Randomness,
        body_timeout_s: float,
    ) -> None:
        self._connector = connector
        self._directory = directory
        self._throttle = throttle
        self._pages = pages
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._randomness = randomness
        self._body_timeout_s = body_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope["path"]
        is_secret = path.startswith(PATH_SECRET) and len(path) > len(PATH_SECRET)
        if path not in PATHS and not is_secret:
            await self._pages(scope, receive, send)
            return
        exchange = Exchange(
            receive, send, new_id("req", now_ms=self._clock(), randomness=self._randomness), self._body_timeout_s
        )
        try:
            await self._exchange(scope, exchange, PATHS.get(path), path[len(PATH_SECRET) :] if is_secret else None)
        except HungUpError:
            self._log("caller_left", request_id=exchange.request_id)
        except Exception as error:  # noqa: BLE001 - the last net: no stack and no HTML leaves, and nothing was sent
            self._log("error", request_id=exchange.request_id, error=type(error).__name__)
            await self._refuse(exchange, ErrorCode.INTERNAL_ERROR)

    async def _exchange(
        self, scope: Scope, exchange: "Exchange", path_method: Method | None, secret: str | None
    ) -> None:
        if scope["method"] != "POST":
            await self._refuse(exchange, ErrorCode.METHOD_NOT_ALLOWED, (b"allow", b"POST"))
            return
        headers = dict(scope["headers"])
        declared = _declared_length(headers)
        if declared > BODY_BYTES_MAX:
            exchange.is_last = declared > _DRAINED_BYTES_MAX
            await self._refuse(exchange, ErrorCode.PAYLOAD_TOO_LARGE)
            return
        caller = self._identify(headers, secret)
        if isinstance(caller, Refused):
            await self._turn_away(exchange, caller, _address(scope))
            return
        body = await exchange.body()
        if isinstance(body, ErrorCode):
            exchange.is_last = True
            message = "The body did not arrive in time." if body is ErrorCode.MALFORMED_REQUEST else None
            await self._refuse(exchange, body, message=message)
            return
        await self._pay(exchange, caller, parse(body, caller.instance.dialect, path_method))

    # --- Who is calling ---

    def _identify(self, headers: dict[bytes, bytes], secret: str | None) -> Caller | Refused:
        if secret is not None:
            return self._directory.identify_path(unquote(secret))
        return self._directory.identify(headers.get(b"authorization", b"").decode("latin-1"))

    async def _turn_away(self, exchange: "Exchange", refused: Refused, address: str) -> None:
        if refused.counts and not self._throttle.may_be_refused(address):
            self._log("throttled", request_id=exchange.request_id, address=address)
            await self._refuse(exchange, ErrorCode.TOO_MANY_REQUESTS, (b"retry-after", b"1"))
            return
        if refused.counts:
            self._log("refused_credential", request_id=exchange.request_id, address=address, reason=refused.reason)
        await self._refuse(exchange, refused.code)

    # --- The payment ---

    async def _pay(self, exchange: "Exchange", caller: Caller, asked: Payment | Refusal) -> None:
        instance, began = caller.instance, perf_counter()
        if isinstance(asked, Refusal):
            reply = render_failure(asked.code, asked.method, instance.dialect, message=asked.message)
            await exchange.reply(reply)
            self._metrics.payment(asked.method or "unknown", asked.code, "refused", perf_counter() - began)
            self._log(
                "payment",
                request_id=exchange.request_id,
                instance=instance.unique_name,
                method=asked.method,
                how="refused",
                code=asked.code,
                status=reply.status,
            )
            return
        with exchange.watching_for_hang_up():
            answer = await self._connector.pay(caller, asked, exchange.request_id)
            if answer.reply is None:
                self._tell(exchange, caller, asked, answer, began)
                await exchange.silence()
        extra = _RETRY_AFTER if answer.code is ErrorCode.TOO_MANY_REQUESTS else ()
        if answer.reply is not None:
            await exchange.reply(answer.reply, *extra)
            self._tell(exchange, caller, asked, answer, began)

    def _tell(self, exchange: "Exchange", caller: Caller, payment: Payment, answer: Answer, began: float) -> None:
        seconds = perf_counter() - began
        row, code = answer.row, answer.code
        self._metrics.payment(payment.method, code or ("ok" if answer.reply else "silence"), answer.how, seconds)
        self._log(
            "payment",
            request_id=exchange.request_id,
            instance=caller.instance.unique_name,
            credential=caller.credential,
            method=payment.method,
            transaction_id=payment.transaction_id,
            how=answer.how,
            charge_id=None if row is None else row.id,
            brand=None if row is None else row.brand,
            last4=None if row is None else row.last4,
            code=code,
            may_retry=None if code not in ERRORS else ERRORS[code].may_retry,  # type: ignore[index]  # a str of the row
            status=None if answer.reply is None else answer.reply.status,
            ms=round(seconds * 1000, 1),
        )

    async def _refuse(
        self, exchange: "Exchange", code: Code, *extra: tuple[bytes, bytes], message: str | None = None
    ) -> None:
        if code is ErrorCode.UNAUTHORIZED:
            extra = (*extra, (b"www-authenticate", f'Basic realm="{REALM}", charset="UTF-8"'.encode()))
        self._metrics.refused(code)
        await exchange.reply(render_failure(code, None, message=message), *extra)


_RETRY_AFTER = ((b"retry-after", b"1"),)


class HungUpError(Exception):
    """The caller closed the connection. Nobody is left to answer."""


class Exchange:
    """One request and its reply on the wire. Knows ASGI, and nothing of payments."""

    def __init__(self, receive: Receive, send: Send, request_id: str, body_timeout_s: float) -> None:
        self.request_id = request_id
        self.is_last = False
        self._receive = receive
        self._send = send
        self._body_timeout_s = body_timeout_s

    async def body(self) -> bytes | ErrorCode:
        """Return the body, or why there is none: too large, or not there in time."""
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._body_timeout_s):
                while True:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise HungUpError
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    if size > BODY_BYTES_MAX:
                        return ErrorCode.PAYLOAD_TOO_LARGE
                    chunks.append(chunk)
                    if not message.get("more_body", False):
                        return b"".join(chunks) if len(chunks) > 1 else chunk
        except TimeoutError:
            return ErrorCode.MALFORMED_REQUEST

    async def reply(self, reply: Reply, *extra: tuple[bytes, bytes]) -> None:
        """Send a reply. Where the request's rest is better not read, the connection ends with it."""
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(reply.body)),
            (b"x-request-id", self.request_id.encode()),
            *extra,
        ]
        if self.is_last:
            headers.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": reply.body})

    async def silence(self) -> None:
        """Say nothing until the caller leaves. Returning without an answer would make the server send a 500."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        raise HungUpError

    def watching_for_hang_up(self) -> "_Watch":
        """While in this context for long, a caller who leaves ends it with `HungUpError`."""
        return _Watch(self._receive)


class _Watch:
    """Ends a wait when the caller leaves. Starts late, so that a quick answer costs a timer and no task."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None
        self._has_left = False

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(_HANG_UP_WATCHED_AFTER_S, self._start)
        return self

    def _start(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._has_left = True
        if self._task is not None:
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._has_left and kind in {None, asyncio.CancelledError}:
            raise HungUpError from None


def _declared_length(headers: dict[bytes, bytes]) -> int:
    declared = headers.get(b"content-length", b"0")
    return int(declared) if declared.isdigit() and len(declared) < 20 else 0  # noqa: PLR2004 - the parser saw to it


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "unknown"
