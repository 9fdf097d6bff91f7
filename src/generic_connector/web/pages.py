"""The pages beside the payments: health, readiness, and the interface's description. GET only, JSON errors only.

`/healthz` says that the process turns. `/readyz` says whether payments can be taken: 503 only where the store
or the keys are unusable or the process drains; a processor that cannot be reached is told in the body, since
refusing calls would not help it. Metrics are not here: they are on the management listener.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from generic_connector.connector import Connector
from generic_connector.contract.errors import ErrorCode
from generic_connector.contract.reply import render_failure
from generic_connector.identifier import Randomness, new_id
from generic_connector.keyring import Keyring
from generic_connector.ports import Clock, Log, Processor, Store

_REACHABLE_TIMEOUT_S = 2.0
_CODES = {404: ErrorCode.NOT_FOUND, 405: ErrorCode.METHOD_NOT_ALLOWED}


@cache
def openapi_yaml() -> bytes:
    """Return openapi.yaml: from the wheel, or from the checkout where this runs from one."""
    packed = files("generic_connector") / "openapi.yaml"
    if packed.is_file():
        return packed.read_bytes()
    return (Path(__file__).parents[3] / "openapi.yaml").read_bytes()


def make_pages(
    *,
    connector: Connector,
    keyring: Keyring,
    store: Store,
    processors: Mapping[str, Processor],
    clock: Clock,
    randomness: Randomness,
    log: Log,
) -> Starlette:
    """Return the application that answers what is no payment."""

    def logged(response: Response, event: str = "page", code: str | None = None) -> Response:
        """Give a reply its id, which the log has too."""
        id_ = new_id("req", now_ms=clock(), randomness=randomness)
        response.headers["x-request-id"] = id_
        log(event, request_id=id_, code=code, status=response.status_code)
        return response

    async def healthz(_request: Request) -> Response:
        return logged(JSONResponse({"status": "alive"}))

    async def readyz(_request: Request) -> Response:
        is_store_usable = await store.is_usable()
        is_ready = is_store_usable and keyring.is_usable and not connector.is_draining
        status = "draining" if connector.is_draining else "ready" if is_ready else "not_ready"
        reached = await asyncio.gather(*(_reach(processor) for processor in processors.values()))
        body = {
            "status": status,
            "store": "ok" if is_store_usable else "unusable",
            "keys": "ok" if keyring.is_usable else "unusable",
            "processors": dict(zip(processors, reached, strict=True)),
        }
        return logged(JSONResponse(body, 200 if is_ready else 503))

    async def openapi(_request: Request) -> Response:
        return logged(Response(openapi_yaml(), media_type="application/yaml"))

    async def refused(_request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        code = _CODES.get(status, ErrorCode.INTERNAL_ERROR)
        reply = render_failure(code, None, message="Send GET." if code is ErrorCode.METHOD_NOT_ALLOWED else None)
        headers = getattr(error, "headers", None)
        return logged(Response(reply.body, reply.status, headers, "application/json"), "refused", code)

    pages: Mapping[str, Callable[[Request], Awaitable[Response]]] = {
        "/healthz": healthz,
        "/readyz": readyz,
        "/openapi.yaml": openapi,
    }
    app = Starlette(
        routes=[Route(path, endpoint) for path, endpoint in pages.items()],
        exception_handlers={HTTPException: refused, Exception: refused},
    )
    app.router.redirect_slashes = False  # a redirect is no reply of the contract
    return app


async def _reach(processor: Processor) -> str:
    try:
        async with asyncio.timeout(_REACHABLE_TIMEOUT_S):
            return "ok" if await processor.is_reachable() else "unreachable"
    except TimeoutError:
        return "unreachable"
    except Exception:  # noqa: BLE001 - a processor's failure is told, not passed on
        return "unknown"
