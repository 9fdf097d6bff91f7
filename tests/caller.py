"""A caller: payments as Twilio asks for them, and a bare TLS socket for what no HTTP client would send."""

import base64
import json
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx

from generic_connector.identifier import letters
from serving import WAIT_S, Served

Found = TypeVar("Found")

VISA = "4111111111111111"
LIVE_VISA = "4539578763621486"  # passes Luhn, and is not published
LIVE_AMEX = "371449635392376"
NO_ID = ("charge_id", "token_id")


# --- Payments --------------------------------------------------------------------------------------------------------


def new_transaction_id() -> str:
    """Return a transaction id of Twilio's length, without digits, so that nothing in it looks like a number."""
    return letters(secrets.token_bytes(16))


def charge(**fields: object) -> dict[str, Any]:
    """Return a card charge of 10.00 with a new transaction id. `fields` replace and add."""
    return {**tokenize(), "method": "charge", "amount": "10.00", "currency_code": "usd", **fields}


def tokenize(**fields: object) -> dict[str, Any]:
    """Return a request to keep a card, with a new transaction id."""
    return {
        "method": "tokenize",
        "transaction_id": new_transaction_id(),
        "cardnumber": VISA,
        "cvv": "123",
        "expiry_month": "08",
        "expiry_year": "30",
        "postal_code": "94105",
        "description": None,
        "parameters": {},
        **fields,
    }


def debit(**fields: object) -> dict[str, Any]:
    """Return an ACH charge of 10.00 with a new transaction id."""
    return {
        "method": "charge",
        "transaction_id": new_transaction_id(),
        "bankaccountnumber": "123456789",
        "routingnumber": "021000021",
        "amount": "10.00",
        "currency_code": "usd",
        **fields,
    }


def ask(
    served: Served, body: Mapping[str, object], instance: str | None = "Default", path: str = "/"
) -> httpx.Response:
    """Send one payment on a connection of its own."""
    with served.client(instance) as client:
        return client.post(path, json=body)


def basic(username: str, password: str) -> str:
    """Return an `Authorization` header."""
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"


# --- What happened ---------------------------------------------------------------------------------------------------


def until(look: Callable[[], Found], seconds: float = 10) -> Found:
    """Return what `look` returns as soon as that is true. Fails where it does not become so."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError("it did not happen in time")
        time.sleep(0.01)


def events(served: Served, **fields: object) -> list[dict[str, Any]]:
    """Return the logged events that have these fields."""
    logged = map(json.loads, served.log.getvalue().splitlines())
    return [event for event in logged if fields.items() <= event.items()]


# --- A bare connection -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heard:
    """A reply as it came over the wire. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str | None:
        """The error code."""
        code: str | None = json.loads(self.body)["error_code"]
        return code


class Wire:
    """A TLS connection to a gateway, used byte by byte."""

    def __init__(self, served: Served) -> None:
        address = urlsplit(served.url)
        plain = socket.create_connection((address.hostname, address.port), WAIT_S)
        self._socket = served.tls.wrap_socket(plain, server_hostname=address.hostname)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.hang_up()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def request(
        self, method: str = "POST", path: str = "/", *, body: bytes = b"", version: str = "1.1", **headers: str | None
    ) -> None:
        """Send a request. Underscores in header names stand for hyphens; a header that is None is left out."""
        given = {"Host": "localhost", "Content_Length": str(len(body)), **headers}
        lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items() if value is not None]
        self.send(f"{method} {path} HTTP/{version}\r\n{''.join(lines)}\r\n".encode() + body)

    def hear(self, *, is_head: bool = False) -> Heard:
        """Wait for the next reply. A `100 Continue` is a reply of its own."""
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _end, self._buffer = self._buffer.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _colon, value in (line.partition(": ") for line in lines)}
        length = 0 if is_head else int(headers.get("content-length", "0"))
        while len(self._buffer) < length:
            self._more()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return Heard(int(status.split()[1]), headers, body)

    def is_ended(self) -> bool:
        """Wait until the gateway ends the connection; whether it sent nothing more before."""
        try:
            self._more()
        except EOFError:
            return not self._buffer
        return False

    def hang_up(self) -> None:
        """End the connection without a word."""
        self._socket.close()

    def _more(self) -> None:
        data = self._socket.recv(65_536)
        if not data:
            raise EOFError
        self._buffer += data
