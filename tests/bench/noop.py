"""The yardstick: a Starlette application that reads a request's body and answers a constant of a reply's size."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def noop(request: Request) -> JSONResponse:
    """Answer."""
    await request.body()
    return JSONResponse({"charge_id": None, "error_code": None, "error_message": None})


app = Starlette(routes=[Route("/", noop, methods=["POST"])])
