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
from generic_connector.web.wire import REPLY, WholeReply

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

PATHS: dict[str, Method | None] = {"/": None, "/charge": Method.CHARGE, "/tokenize": Method.TOKENIZE}
PATH_SECRET = "/i/"  # noqa: S105 - where path secrets begin
REALM = "generic-connector"

_DRAINED_BYTES_MAX = 1024 * 1024
_SLOW_AFTER_S = 1.0
_SIZE_DIGITS_READ = 20
"""Of a declared size. However many follow, it is too large."""


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
        request_id = new_id("req", now_ms=self._clock(), randomness=self._randomness)
        exchange = Exchange(scope, receive, send, request_id, self._body_timeout_s)
        try:
            with exchange:
                await self._exchange(scope, exchange, PATHS.get(path), path[len(PATH_SECRET) :] if is_secret else None)
        except HungUpError:
            self._log("caller_left", request_id=exchange.request_id)
        except Exception as error:  # noqa: BLE001 - the last net: no stack and no HTML leaves, and nothing was sent
            await self._refuse(exchange, ErrorCode.INTERNAL_ERROR, event="error", error=type(error).__name__)

    async def _exchange(
        self, scope: Scope, exchange: "Exchange", path_method: Method | None, secret: str | None
    ) -> None:
        caller = None if secret is None else self._directory.identify_path(secret)
        if isinstance(caller, Refused) and caller.code is ErrorCode.NOT_FOUND:
            await self._turn_away(exchange, caller, _address(scope))
            return
        if scope["method"] != "POST":
            await self._refuse(exchange, ErrorCode.METHOD_NOT_ALLOWED, (b"allow", b"POST"))
            return
        headers = dict(scope["headers"])
        declared = _declared_length(headers)
        if declared > BODY_BYTES_MAX:
            exchange.is_last = declared > _DRAINED_BYTES_MAX
            await self._refuse(exchange, ErrorCode.PAYLOAD_TOO_LARGE)
            return
        caller = caller or self._directory.identify(headers.get(b"authorization", b"").decode("latin-1"))
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

    async def _turn_away(self, exchange: "Exchange", refused: Refused, address: str) -> None:
        if refused.counts and not self._throttle.may_be_refused(address):
            code = ErrorCode.TOO_MANY_REQUESTS
            await self._refuse(exchange, code, *_RETRY_AFTER, event="throttled", address=address)
            return
        event = "refused_credential" if refused.counts else "refused"
        await self._refuse(exchange, refused.code, event=event, address=address, reason=refused.reason)

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
        answer = await self._connector.pay(caller, asked, exchange.request_id)
        if answer.reply is not None:
            await exchange.reply(answer.reply, *(_RETRY_AFTER if answer.code is ErrorCode.TOO_MANY_REQUESTS else ()))
        self._tell(exchange, caller, asked, answer, began)
        if answer.reply is None:
            await exchange.silence()

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
        self,
        exchange: "Exchange",
        code: Code,
        *extra: tuple[bytes, bytes],
        message: str | None = None,
        event: str = "refused",
        **fields: str,
    ) -> None:
        if code is ErrorCode.UNAUTHORIZED:
            extra = (*extra, (b"www-authenticate", f'Basic realm="{REALM}", charset="UTF-8"'.encode()))
        reply = render_failure(code, None, message=message)
        self._metrics.refused(code)
        self._log(event, request_id=exchange.request_id, code=code, status=reply.status, **fields)
        await exchange.reply(reply, *extra)


_RETRY_AFTER = ((b"retry-after", b"1"),)
_NONE: dict[str, Any] = {}


class HungUpError(Exception):
    """The caller closed the connection. Nobody is left to answer."""


class Exchange:
    """One request and its reply on the wire. Knows ASGI, and nothing of payments.

    While it lasts it has one timer, which most requests outrun: it finds a body that does not come, and later a caller
    who has left while the answer was waited for.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, request_id: str, body_timeout_s: float) -> None:
        self.request_id = request_id
        self.is_last = False
        self._scope = scope
        self._reply_whole: WholeReply | None = scope.get("extensions", _NONE).get(REPLY, _NONE).get("whole")
        self._receive = receive
        self._send = send
        self._body_timeout_s = body_timeout_s
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task(self._loop)
        self._is_body_read = False
        self._is_body_late = False
        self._has_left = False
        self._watcher: asyncio.Task[None] | None = None

    # --- The timer ---

    def __enter__(self) -> Self:
        """Start the timer."""
        self._began = self._loop.time()
        self._timer = self._loop.call_later(min(_SLOW_AFTER_S, self._body_timeout_s), self._is_slow)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it. A caller who has left turns the cancellation that told so into `HungUpError`."""
        self._stop_watching()
        if self._has_left and kind in {None, asyncio.CancelledError}:
            raise HungUpError from None

    def _is_slow(self) -> None:
        if self._is_body_read:
            self._watcher = self._loop.create_task(self._watch())
            return
        left_s = self._began + self._body_timeout_s - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._is_slow)
        elif self._task is not None:
            self._is_body_late = True
            self._task.cancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._has_left = True
        if self._task is not None:
            self._task.cancel()

    def _stop_watching(self) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    # --- Request and reply ---

    async def body(self) -> bytes | ErrorCode:
        """Return the body, or why there is none: too large, or not there in time."""
        try:
            return await self._read()
        except asyncio.CancelledError:
            if not self._is_body_late or self._task is None:
                raise
            self._task.uncancel()
            return ErrorCode.MALFORMED_REQUEST
        finally:
            self._is_body_read = True

    async def _read(self) -> bytes | ErrorCode:
        body = b""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise HungUpError
            body += bytes(message.get("body", b""))
            if len(body) > BODY_BYTES_MAX:
                return ErrorCode.PAYLOAD_TOO_LARGE
            if not message.get("more_body", False):
                return body

    async def reply(self, reply: Reply, *extra: tuple[bytes, bytes]) -> None:
        """Send a reply. Where the request's rest is better not read, the connection ends with it."""
        self._stop_watching()
        if self._reply_whole is not None and not extra and not self.is_last:
            head = b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %s\r\n"
            if self._reply_whole(
                self._scope, reply.status, head % (len(reply.body), self.request_id.encode()), reply.body
            ):
                return
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


def _declared_length(headers: dict[bytes, bytes]) -> int:
    digits = headers.get(b"content-length", b"").lstrip(b"0")
    return int(digits[:_SIZE_DIGITS_READ]) if digits.isdigit() else 0


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "unknown"
