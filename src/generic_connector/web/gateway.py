"""The gateway's listener: bytes in, bytes out, and every reply in the contract's shape.

A plain ASGI callable, since it is the hot path: `POST /` and its legacy and path-secret forms are answered
here; everything else goes to the pages. Most payments do not even come through ASGI: the wire hands over what came in
one piece (`whole`). The order of the checks is part of the interface: path, method,
declared size, credentials, then the body. Who may not call does not get a body parsed.

What this module must never do: answer early once the connector has the payment (an error would end Twilio's
attempts), log a path (it may be a secret), or put anything of a request into a reply but what the contract
echoes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter

from generic_connector.answer import Answer
from generic_connector.connector import Connector
from generic_connector.contract.body import BODY_BYTES_MAX
from generic_connector.contract.errors import ERRORS, Code, ErrorCode
from generic_connector.contract.reply import render_failure
from generic_connector.contract.request import Refusal, parse
from generic_connector.deadline import within
from generic_connector.identifier import Randomness, new_id
from generic_connector.identity import Directory, Refused, Throttle
from generic_connector.instance import Caller
from generic_connector.payment import Method, Payment
from generic_connector.ports import Clock, Log
from generic_connector.telemetry import Metrics
from generic_connector.web.exchange import (
    AsgiExchange,
    Exchange,
    HungUpError,
    Receive,
    Scope,
    Send,
    Vigil,
    WholeExchange,
)
from generic_connector.web.wire import WholeRequest

AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

PATHS: dict[str, Method | None] = {"/": None, "/charge": Method.CHARGE, "/tokenize": Method.TOKENIZE}
PATH_SECRET = "/i/"  # noqa: S105 - where path secrets begin
REALM = "generic-connector"

_DRAINED_BYTES_MAX = 1024 * 1024
_SIZE_DIGITS_READ = 20
"""Of a declared size. However many follow, it is too large."""


class Gateway:
    """The ASGI application of the payment listener. `pages` answers what is no payment."""

    whole_paths = tuple(path.encode() for path in PATHS)
    """Where `whole` is asked."""

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
        self._vigil = Vigil()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope["path"]
        is_secret = path.startswith(PATH_SECRET) and len(path) > len(PATH_SECRET)
        if path not in PATHS and not is_secret:
            await self._pages(scope, receive, send)
            return
        exchange = AsgiExchange(scope, receive, send, self._new_id(), self._vigil)
        try:
            await self._exchange(scope, exchange, PATHS.get(path), path[len(PATH_SECRET) :] if is_secret else None)
        except Exception as error:  # noqa: BLE001 - the last net
            await self._failed(exchange, error)

    async def whole(self, request: WholeRequest) -> None:
        """Answer a POST to one of `whole_paths` that came in one piece."""
        exchange = WholeExchange(request, self._new_id())
        try:
            caller = self._identified(dict(request.headers))
            if isinstance(caller, Refused):
                await self._turn_away(exchange, caller, _host(request.client))
                return
            await self._pay(exchange, caller, parse(request.body, caller.instance.dialect, PATHS[request.path]))
        except Exception as error:  # noqa: BLE001 - the last net
            await self._failed(exchange, error)

    def _new_id(self) -> str:
        return new_id("req", now_ms=self._clock(), randomness=self._randomness)

    def _identified(self, headers: Mapping[bytes, bytes]) -> Caller | Refused:
        return self._directory.identify(headers.get(b"authorization", b"").decode("latin-1"))

    async def _failed(self, exchange: Exchange, error: Exception) -> None:
        """No stack and no HTML leaves. Nothing was sent: after a claim the connector lets no exception out."""
        if isinstance(error, HungUpError):
            self._log("caller_left", request_id=exchange.request_id)
        else:
            await self._refuse(exchange, ErrorCode.INTERNAL_ERROR, event="error", error=type(error).__name__)

    async def _exchange(
        self, scope: Scope, exchange: AsgiExchange, path_method: Method | None, secret: str | None
    ) -> None:
        caller = None if secret is None else self._directory.identify_path(secret)
        if isinstance(caller, Refused) and caller.code is ErrorCode.NOT_FOUND:
            await self._turn_away(exchange, caller, _host(scope.get("client")))
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
        caller = caller or self._identified(headers)
        if isinstance(caller, Refused):
            await self._turn_away(exchange, caller, _host(scope.get("client")))
            return
        try:
            body = await within(self._body_timeout_s, exchange.body())
        except TimeoutError:
            exchange.is_last = True
            await self._refuse(exchange, ErrorCode.MALFORMED_REQUEST, message="The body did not arrive in time.")
            return
        if body is None:
            exchange.is_last = True
            await self._refuse(exchange, ErrorCode.PAYLOAD_TOO_LARGE)
            return
        await self._pay(exchange, caller, parse(body, caller.instance.dialect, path_method))

    async def _turn_away(self, exchange: Exchange, refused: Refused, address: str) -> None:
        if refused.counts and not self._throttle.may_be_refused(address):
            code = ErrorCode.TOO_MANY_REQUESTS
            await self._refuse(exchange, code, *_RETRY_AFTER, event="throttled", address=address)
            return
        event = "refused_credential" if refused.counts else "refused"
        await self._refuse(exchange, refused.code, event=event, address=address, reason=refused.reason)

    # --- The payment ---

    async def _pay(self, exchange: Exchange, caller: Caller, asked: Payment | Refusal) -> None:
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
        exchange.waits()
        try:
            answer = await self._connector.pay(caller, asked, exchange.request_id)
        except asyncio.CancelledError:
            if not exchange.has_left:
                raise
            self._log(
                "caller_left",
                request_id=exchange.request_id,
                instance=instance.unique_name,
                transaction_id=asked.transaction_id,
            )
            return
        finally:
            exchange.waits_no_longer()
        if answer.reply is not None:
            await exchange.reply(answer.reply, *(_RETRY_AFTER if answer.code is ErrorCode.TOO_MANY_REQUESTS else ()))
        self._tell(exchange, caller, asked, answer, began)
        if answer.reply is None:
            await exchange.silence()

    def _tell(self, exchange: Exchange, caller: Caller, payment: Payment, answer: Answer, began: float) -> None:
        seconds = perf_counter() - began
        row, code = answer.row, answer.code
        self._metrics.payment(payment.method, code or ("ok" if answer.reply else "silence"), answer.how, seconds)
        self._log.delivery(
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
        exchange: Exchange,
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


def _declared_length(headers: dict[bytes, bytes]) -> int:
    digits = headers.get(b"content-length", b"").lstrip(b"0")
    return int(digits[:_SIZE_DIGITS_READ]) if digits.isdigit() else 0


def _host(client: tuple[str, int] | None) -> str:
    return str(client[0]) if client else "unknown"
