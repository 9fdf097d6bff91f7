"""The contract client: asks a connector's endpoint as Twilio does, and says what came of it.

A test suite of an endpoint uses it in five lines:

    connector = PayConnector(unique_name="Default", url=url, username=username, password=Secret(password))
    with SyncContractClient(connector) as twilio:
        outcome = twilio.charge(number="4111111111111111", expiry="0830", security_code="123", amount="10.00")
        assert outcome.is_success, outcome.payment_error
        assert twilio.tokenize(number="4111111111111111", expiry="0830").id

`ContractClient` is the same for asyncio. `outcome.deliveries` has every attempt, masked; `heard` is told of each while
it happens. `ca_file` of the connector names a development CA to trust, and `switches` (see there) changes whatever
Twilio's sources leave open, the ten seconds included.

**Retries.** An attempt has ten seconds in all, from the connection to the last byte of the answer, and a connection of
its own, which is dropped when they are over. What was not answered is asked again at once, five times at most, with the
same bytes and so the same `transaction_id`. Whatever was answered is not, whatever the answer says.

- No answer: nothing in time, and, unless switched off, no connection, one that broke off before the answer was whole,
  no such host, no TLS, a certificate that is not trusted.
- Answers of a kind, hence malformed and not asked again: bytes that are not HTTP, HTML, more than 64 KiB, a redirect.

**Modes.** A connector in test mode lets the published numbers through and nothing else, and one in live mode nothing
before it is approved: refused without an attempt, as Twilio does.

**Errors.** A payment that fails is an outcome, not an exception: 64008 (charge) or 64010 (tokenize) for an error of the
endpoint and for a malformed answer; 64002 where no attempt was answered, since no code is known for it and that one
says what it means. `PaymentError` is the code's title, followed by what is known.

Nothing that is shown has a secret in it. A card number, a security code or an account number that the endpoint repeats
is masked in what it said too, as are its credentials: an id is kept as it is, unless it holds the whole number.
"""

import asyncio
import ipaddress
import socket
import ssl
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Final, Self, TypedDict, TypeVar, Unpack, assert_never, cast

import httpx

from generic_connector.digits import is_digits
from generic_connector.instance import Mode
from generic_connector.payment import Method
from generic_connector.secret import Secret
from generic_connector.twilio import entries, messages
from generic_connector.twilio.delivery import Delivery
from generic_connector.twilio.orders import Failed, KeyedAccount, KeyedCard, Order, Settled, Settlement
from generic_connector.twilio.pay_connector import PayConnector
from generic_connector.twilio.pay_errors import PayError
from generic_connector.twilio.switches import Switches

MALFORMED: Final = "Got malformed response from Payment Provider."
UNANSWERED: Final = "Got no response from Payment Provider"

_NUMBER_DIGITS_MIN = 8
"""A shorter number may stand in an id by chance."""
_SERVER_ERRORS = range(500, 600)
_LAYERS = 2
_BROKEN_OFF = "the connection broke off before the answer was whole"
_TLS_REASONS: Final[Mapping[int, str]] = {
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is signed by itself: trust it, or its authority, with the connector's CA file",
    19: "its authority is not trusted: name it as the connector's CA file",
    20: "its authority is not trusted: name it as the connector's CA file",
    21: "its authority is not trusted: name it as the connector's CA file",
    62: "it is for another host name",
    64: "it is for another address",
}
"""OpenSSL's reasons, in our words."""

_Result = TypeVar("_Result")


class Details(TypedDict, total=False):
    """What may be given with any payment. Without a transaction id it gets a new one, a random UUID."""

    description: str | None
    parameters: Mapping[str, str]
    transaction_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one payment. `deliveries` are its attempts, in their order."""

    transaction_id: str
    settlement: Settlement
    deliveries: Sequence[Delivery] = ()

    @property
    def is_success(self) -> bool:
        """Whether the endpoint said yes."""
        return isinstance(self.settlement, Settled)

    @property
    def id(self) -> str | None:
        """The charge_id or token_id; None where it failed."""
        return self.settlement.id if isinstance(self.settlement, Settled) else None

    @property
    def parameters(self) -> Mapping[str, str]:
        """The parameters of a success: what Twilio hands on as `PayConnector_*`."""
        return self.settlement.parameters if isinstance(self.settlement, Settled) else {}

    @property
    def error(self) -> PayError | None:
        """Twilio's error code; None where it succeeded."""
        return self.settlement.error if isinstance(self.settlement, Failed) else None

    @property
    def payment_error(self) -> str | None:
        """The text of `PaymentError`; None where it succeeded."""
        return self.settlement.payment_error if isinstance(self.settlement, Failed) else None

    @property
    def connector_error(self) -> str | None:
        """The endpoint's own code and words, as in `ConnectorError`; None where it gave none."""
        return self.settlement.connector_error if isinstance(self.settlement, Failed) else None


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came, as far as it was read. `status` None: it was no HTTP."""

    status: int | None
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class _NoAnswer:
    """Nothing came, or not the whole of it."""

    why: str
    is_late: bool = False


class ContractClient:
    """Asks one connector's endpoint, for asyncio. Several payments may be under way at the same time.

    `heard` is told of each attempt twice, when it begins and when it ends; `ids` numbers them. `transport` replaces the
    network. Raises `ValueError` where the connector's URL is none or would send live cards over plain http, and where
    its CA file cannot be read.
    """

    def __init__(
        self,
        connector: PayConnector,
        switches: Switches | None = None,
        *,
        heard: Callable[[Delivery], None] | None = None,
        ids: Iterator[int] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._connector = connector
        self._switches = Switches() if switches is None else switches
        self._heard = heard
        self._ids = count(1) if ids is None else ids
        self._url = _endpoint(connector)
        self._headers = messages.request_headers(connector, self._switches)
        # A transport and no client: nothing is to be added to a request, followed, remembered or logged.
        try:
            self._transport = _network(self._url, connector.ca_file) if transport is None else transport
        except OSError:  # an SSLError is one
            raise ValueError(
                f"connector {connector.unique_name}: its CA file is no PEM file that can be read"
            ) from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End all connections."""
        await self._transport.aclose()

    # --- Payments ----------------------------------------------------------------------------------------------------

    async def charge(
        self,
        *,
        number: str,
        expiry: str,
        amount: str,
        currency: str = "USD",
        security_code: str | None = None,
        postal_code: str | None = None,
        **details: Unpack[Details],
    ) -> Outcome:
        """Charge a card. `expiry` is MMYY, `amount` the text of `chargeAmount`."""
        card = _card(number, expiry, security_code, postal_code)
        return await self.ask(self._order(Method.CHARGE, card, details, amount=amount, currency=currency))

    async def tokenize(
        self,
        *,
        number: str,
        expiry: str,
        security_code: str | None = None,
        postal_code: str | None = None,
        **details: Unpack[Details],
    ) -> Outcome:
        """Ask for a token of a card. `expiry` is MMYY."""
        return await self.ask(self._order(Method.TOKENIZE, _card(number, expiry, security_code, postal_code), details))

    async def charge_account(
        self,
        *,
        routing_number: str,
        account_number: str,
        amount: str,
        currency: str = "USD",
        **details: Unpack[Details],
    ) -> Outcome:
        """Charge a bank account, by ACH."""
        account = KeyedAccount(routing_number=routing_number, account_number=Secret(account_number))
        return await self.ask(self._order(Method.CHARGE, account, details, amount=amount, currency=currency))

    async def tokenize_account(
        self, *, routing_number: str, account_number: str, **details: Unpack[Details]
    ) -> Outcome:
        """Ask for a token of a bank account."""
        account = KeyedAccount(routing_number=routing_number, account_number=Secret(account_number))
        return await self.ask(self._order(Method.TOKENIZE, account, details))

    async def send(self, order: Order) -> Settlement:
        """Carry out an order, and return what came of it."""
        return (await self.ask(order)).settlement

    async def ask(self, order: Order) -> Outcome:
        """Carry out an order, and return what came of it with every attempt."""
        refused = entries.test_refusal(self._connector, order.instrument)
        if refused is not None:
            failed = Failed(error=refused, payment_error=refused.title, attempts=0)
            return Outcome(transaction_id=order.transaction_id, settlement=failed)
        payment = _Payment(order, self._switches)
        last = 1 + self._switches.retries
        for attempt in range(1, last):
            came = await self._attempt(payment, attempt, is_last=False)
            if not self._is_asked_again(came):
                return self._outcome(payment, came)
            await asyncio.sleep(self._switches.retry_pause_s)
        return self._outcome(payment, await self._attempt(payment, last, is_last=True))

    def _order(
        self,
        method: Method,
        instrument: KeyedCard | KeyedAccount,
        details: Details,
        *,
        amount: str | None = None,
        currency: str = "USD",
    ) -> Order:
        return Order(
            connector=self._connector.unique_name,
            method=method,
            transaction_id=details.get("transaction_id") or str(uuid.uuid4()),
            instrument=instrument,
            amount=amount,
            currency=currency,
            description=details.get("description"),
            parameters=details.get("parameters") or {},
        )

    # --- One attempt -------------------------------------------------------------------------------------------------

    async def _attempt(self, payment: "_Payment", attempt: int, *, is_last: bool) -> _Answer | _NoAnswer:
        """Ask once, and tell of it."""
        path = messages.request_path(self._url.raw_path, payment.order.method, self._switches)
        begun = Delivery(
            id=next(self._ids),
            to="connector",
            why=payment.order.method.value,
            method="POST",
            url=f"{self._url.scheme}://{self._url.netloc.decode('ascii')}{messages.shown_path(path)}",
            attempt=attempt,
            request=payment.shown,
        )
        self._tell(begun)
        started = time.perf_counter()
        try:
            came = await self._exchange(path, payment.body)
        except asyncio.CancelledError:
            self._end(payment, begun, started, _NoAnswer("given up: the payment was ended here"), is_last=True)
            raise
        self._end(payment, begun, started, came, is_last=is_last or not self._is_asked_again(came))
        return came

    async def _exchange(self, path: bytes, body: bytes) -> _Answer | _NoAnswer:
        """Send the request on a connection of its own, and read the answer as far as it may go."""
        url = self._url.copy_with(raw_path=path)
        request = httpx.Request("POST", url, headers=self._headers, content=body)
        response = None
        try:
            async with asyncio.timeout(self._switches.timeout_s):
                response = await self._transport.handle_async_request(request)
                came = await _read(response)
        except TimeoutError:
            return _NoAnswer(f"no answer within {self._switches.timeout_s:g} s", is_late=True)
        except httpx.RemoteProtocolError as error:
            if response is not None:
                return _NoAnswer(_BROKEN_OFF)
            # httpx's error has httpcore's behind it, and only what the parser complained of has a third.
            is_said = len(_causes(error)) > _LAYERS
            return _Answer(None) if is_said else _NoAnswer("the connection was closed without an answer")
        except (httpx.TransportError, OSError, UnicodeError) as error:
            return _NoAnswer(_explained(error, self._url))
        finally:
            if response is not None:
                await response.aclose()
        return _Answer(response.status_code, came)

    def _is_asked_again(self, came: _Answer | _NoAnswer) -> bool:
        match came:
            case _NoAnswer():
                return came.is_late or self._switches.retry_after_refused_connection
            case _Answer():
                return self._switches.retry_on == "no-answer-or-5xx" and came.status in _SERVER_ERRORS
            case _:
                assert_never(came)

    # --- What is told ------------------------------------------------------------------------------------------------

    def _end(
        self, payment: "_Payment", begun: Delivery, started: float, came: _Answer | _NoAnswer, *, is_last: bool
    ) -> None:
        ended = replace(begun, milliseconds=(time.perf_counter() - started) * 1000, is_last=is_last)
        match came:
            case _NoAnswer():
                ended = replace(ended, failure=came.why)
            case _Answer():
                reply = messages.shown_reply(came.body, payment.secrets, self._connector)
                ended = replace(ended, status=came.status, failure=self._reading(payment, came).remark, reply=reply)
            case _:
                assert_never(came)
        payment.deliveries.append(ended)
        self._tell(ended)

    def _tell(self, delivery: Delivery) -> None:
        if self._heard is not None:
            self._heard(delivery)

    # --- What came of it ---------------------------------------------------------------------------------------------

    def _reading(self, payment: "_Payment", answer: _Answer) -> messages.Reading:
        if answer.status is None:
            return messages.Malformed("The answer is not HTTP.")
        return messages.read_reply(payment.order.method, answer.status, answer.body, self._switches)

    def _outcome(self, payment: "_Payment", came: _Answer | _NoAnswer) -> Outcome:
        if isinstance(came, _NoAnswer):
            settlement: Settlement = self._unanswered(payment, came)
        else:
            settlement = self._settlement(payment, self._reading(payment, came))
        return Outcome(
            transaction_id=payment.order.transaction_id, settlement=settlement, deliveries=tuple(payment.deliveries)
        )

    def _unanswered(self, payment: "_Payment", came: _NoAnswer) -> Failed:
        error, attempts = PayError.SERVICE_UNAVAILABLE, len(payment.deliveries)
        times = "one attempt" if attempts == 1 else f"{attempts} attempts, at last"
        text = f"{error.title} {UNANSWERED}: {times}: {came.why}."
        return Failed(error=error, payment_error=text, attempts=attempts)

    def _settlement(self, payment: "_Payment", reading: messages.Reading) -> Settlement:
        attempts = len(payment.deliveries)
        is_charge = payment.order.method is Method.CHARGE
        error = PayError.CHARGE_REJECTED if is_charge else PayError.TOKEN_REJECTED

        def clean(text: str) -> str:
            return messages.without_secrets(text, payment.secrets, self._connector)

        match reading:
            case messages.Accepted():
                parameters = {clean(name): clean(value) for name, value in reading.parameters.items()}
                return Settled(id=payment.without_number(reading.id), parameters=parameters, attempts=attempts)
            case messages.Rejected():
                return Failed(
                    error=error,
                    payment_error=clean(f"{error.title} {reading.message}".rstrip()),
                    connector_error=clean(": ".join(filter(None, (reading.code, reading.message)))),
                    attempts=attempts,
                )
            case messages.Malformed():
                return Failed(error=error, payment_error=f"{error.title} {MALFORMED}", attempts=attempts)
            case _:
                assert_never(reading)


class _Payment:
    """An order under way: its bytes, what may be shown of them, and the attempts so far."""

    def __init__(self, order: Order, switches: Switches) -> None:
        self.order = order
        self.body = messages.request_body(order, switches)
        self.shown = messages.shown_body(order, switches)
        self.secrets = messages.secrets_of(order)
        self.deliveries: list[Delivery] = []

    def without_number(self, id_: str) -> str:
        """An id may be sixteen digits that pass Luhn, as some tokens are: only the very number is masked in it."""
        for secret in self.secrets:
            if len(secret) >= _NUMBER_DIGITS_MIN:
                id_ = id_.replace(secret, "*" * len(secret))
        return id_


# --- For programs without asyncio ------------------------------------------------------------------------------------


class SyncContractClient:
    """The same, for programs without asyncio. It works in a thread of its own, in which `heard` is called.

    Close it, or use it as a context manager.
    """

    def __init__(
        self,
        connector: PayConnector,
        switches: Switches | None = None,
        *,
        heard: Callable[[Delivery], None] | None = None,
        ids: Iterator[int] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._client = ContractClient(connector, switches, heard=heard, ids=ids, transport=transport)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="contract-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End all connections, and the thread. What is asked after that is a `RuntimeError`."""
        if self._loop.is_closed():
            return
        self._wait(self._client.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def charge(
        self,
        *,
        number: str,
        expiry: str,
        amount: str,
        currency: str = "USD",
        security_code: str | None = None,
        postal_code: str | None = None,
        **details: Unpack[Details],
    ) -> Outcome:
        """Charge a card. `expiry` is MMYY, `amount` the text of `chargeAmount`."""
        return self._wait(
            self._client.charge(
                number=number,
                expiry=expiry,
                amount=amount,
                currency=currency,
                security_code=security_code,
                postal_code=postal_code,
                **details,
            )
        )

    def tokenize(
        self,
        *,
        number: str,
        expiry: str,
        security_code: str | None = None,
        postal_code: str | None = None,
        **details: Unpack[Details],
    ) -> Outcome:
        """Ask for a token of a card. `expiry` is MMYY."""
        return self._wait(
            self._client.tokenize(
                number=number, expiry=expiry, security_code=security_code, postal_code=postal_code, **details
            )
        )

    def charge_account(
        self,
        *,
        routing_number: str,
        account_number: str,
        amount: str,
        currency: str = "USD",
        **details: Unpack[Details],
    ) -> Outcome:
        """Charge a bank account, by ACH."""
        return self._wait(
            self._client.charge_account(
                routing_number=routing_number,
                account_number=account_number,
                amount=amount,
                currency=currency,
                **details,
            )
        )

    def tokenize_account(self, *, routing_number: str, account_number: str, **details: Unpack[Details]) -> Outcome:
        """Ask for a token of a bank account."""
        return self._wait(
            self._client.tokenize_account(routing_number=routing_number, account_number=account_number, **details)
        )

    def send(self, order: Order) -> Settlement:
        """Carry out an order, and return what came of it."""
        return self.ask(order).settlement

    def ask(self, order: Order) -> Outcome:
        """Carry out an order, and return what came of it with every attempt."""
        return self._wait(self._client.ask(order))

    def _wait(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        if self._loop.is_closed():
            work.close()
            raise RuntimeError("this client has been closed: make another one")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()  # where Ctrl-C ended the wait


# --- Connections -----------------------------------------------------------------------------------------------------


def _card(number: str, expiry: str, security_code: str | None, postal_code: str | None) -> KeyedCard:
    if not is_digits(expiry) or len(expiry) != entries.EXPIRY_DIGITS:
        raise ValueError("expiry: give month and year as four digits, such as 0830")
    code = None if security_code is None else Secret(security_code)
    return KeyedCard(number=Secret(number), expiry=expiry, security_code=code, postal_code=postal_code)


def _endpoint(connector: PayConnector) -> httpx.URL:
    """Return the URL to ask, without name and password: the connector has its own."""
    wrong = f"connector {connector.unique_name}: its URL is none: give one such as https://localhost:8443/"
    try:
        url = httpx.URL(connector.url).copy_with(userinfo=b"", fragment=None)
    except (httpx.InvalidURL, ValueError):
        raise ValueError(wrong) from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(wrong)
    if url.scheme == "http" and connector.mode is Mode.LIVE and not _is_this_machine(url.host):
        raise ValueError(f"connector {connector.unique_name}: live cards go over https:// only: give such a URL")
    return url


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _network(url: httpx.URL, ca_file: str | None) -> httpx.AsyncHTTPTransport:
    """Return what connects. No proxy of the environment: it is none of Twilio's."""
    trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody: for plain http it is all the same
    if url.scheme == "https":
        trusted = httpx.create_ssl_context()
        trusted.load_default_certs()  # the system's
        if ca_file is not None:
            trusted.load_verify_locations(ca_file)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx.AsyncHTTPTransport(verify=trusted, trust_env=False, http1=True, http2=False, limits=limits)


async def _read(response: httpx.Response) -> bytes:
    """Return the body as it came, and of one that is too long one byte too many."""
    body = bytearray()
    # Raw: no compression was offered, so none is undone.
    async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) > messages.REPLY_BYTES_MAX:
                break
    return bytes(body[: messages.REPLY_BYTES_MAX + 1])


def _explained(error: Exception, url: httpx.URL) -> str:
    """Return why there is no answer, by the causes of an error."""
    where = f"{url.host}:{url.port or (443 if url.scheme == 'https' else 80)}"
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                reason = _TLS_REASONS.get(cause.verify_code, "it cannot be verified")
                return f"the certificate of {where} is not accepted: {reason}"
            case ssl.SSLError():
                return f"no TLS with {where}: does it speak it?"
            case socket.gaierror() | UnicodeError():
                return f"the host name {url.host} is not known"
            case ConnectionRefusedError():
                return f"the connection was refused: does anything listen at {where}?"
            case _:
                pass
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return f"{where} cannot be reached: does anything listen there?"
    return _BROKEN_OFF


def _causes(error: BaseException) -> Sequence[BaseException]:
    """Return an error, what caused it, what caused that, and so on."""
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None:
        found.append(cause)
        cause = cause.__cause__ or cause.__context__
    return found
