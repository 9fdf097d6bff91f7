# ruff: noqa: INP001 - a file to copy from, and no part of a package
"""A processor for Acme, an imaginary acquirer with an HTTP interface: the whole of it, to copy from.

What Acme promises, and so may be promised on: the header `Idempotency-Key` makes a second POST answer as the first did;
a payment can be asked for by its key; 30 s after a POST, what cannot be found will never happen.

The one rule that costs money when it is broken: only what fails **before** a byte was sent is `Unavailable`. Everything
after that, a time-out, a reset, a status nobody expected, an answer that is no JSON, is `Unknown`: the connector looks
it up. No exception's text is passed on, since it may quote the request.
"""

import httpx

from generic_connector import payment
from generic_connector.card import Card
from generic_connector.ports import Processor, ProcessorContext, Purchase, Traits

OTHER = payment.DeclineCode.CARD_DECLINED
DECLINES = {"no_funds": payment.DeclineCode.INSUFFICIENT_FUNDS, "cvv": payment.DeclineCode.INCORRECT_CVV}


def create(context: ProcessorContext) -> Processor:
    """Return the processor: what the entry point names. `options` are what `[processors.acme]` holds besides `use`."""
    headers = {"Authorization": f"Bearer {context.options['api_key']}"}
    # Connecting has a clock of its own; on the answer the connector has one, and cancels.
    timeout = httpx.Timeout(None, connect=5)
    return AcmeProcessor(httpx.AsyncClient(base_url=context.options["url"], headers=headers, timeout=timeout))


class AcmeProcessor:
    """`generic_connector.ports.Processor` over HTTP. One object and one connection pool for all payments."""

    traits = Traits(honours_keys=True, looks_up=True, conclusive_after_s=30)

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    def check(self, purchase: Purchase) -> str | None:
        """Acme takes cards only: the reply will name this field."""
        return None if isinstance(purchase.instrument, Card) else "bankaccountnumber"

    async def purchase(self, purchase: Purchase) -> payment.PurchaseResult:
        """Authorize and capture."""
        return await self._post("/payments", purchase)

    async def verify(self, purchase: Purchase) -> payment.PurchaseResult:
        """Ask whether the card is good."""
        return await self._post("/verifications", purchase)

    async def look_up(self, idempotency_key: str) -> payment.LookUpResult:
        """Ask for the payment by its key. Acme answers 404 only where it has none."""
        try:
            response = await self._client.get(f"/payments/{idempotency_key}")
        except httpx.HTTPError as error:
            return payment.Unknown(type(error).__name__)
        return payment.NotFound() if response.status_code == httpx.codes.NOT_FOUND else _result(response)

    async def is_reachable(self) -> bool:
        """Only told to whoever asks for `/readyz`: it stops no payment."""
        try:
            return (await self._client.get("/health", timeout=2)).is_success
        except httpx.HTTPError:
            return False

    async def close(self) -> None:
        """Close the connections. httpx allows it twice."""
        await self._client.aclose()

    async def _post(self, path: str, purchase: Purchase) -> payment.PurchaseResult:
        key = {"Idempotency-Key": purchase.idempotency_key}
        try:
            return _result(await self._client.post(path, headers=key, json=_body(purchase)))
        except (httpx.ConnectError, httpx.ConnectTimeout):  # nothing was sent, for certain
            return payment.Unavailable()
        except httpx.HTTPError as error:
            return payment.Unknown(type(error).__name__)


def _body(purchase: Purchase) -> dict[str, object]:
    """Build what goes over the wire. The only place that reveals anything."""
    card, money = purchase.instrument, purchase.money
    assert isinstance(card, Card)  # noqa: S101 - `check` has seen to it
    return {
        "amount": None if money is None else {"minor": money.minor, "currency": money.currency.code},
        "card": {"pan": card.pan.reveal(), "expiry": card.expiry.yyyymm, "cvv": card.cvv and card.cvv.reveal()},
        "postal_code": card.postal_code,
    }


def _result(response: httpx.Response) -> payment.Approved | payment.Declined | payment.Unknown:
    """Read an answer. What cannot be read may have moved money."""
    try:
        answer = response.json()
    except ValueError:
        answer = None
    match response.status_code, answer:
        case 200, {"status": "approved", "code": str(code), "id": str(reference)}:
            return payment.Approved(authorization_code=code, processor_reference=reference)
        case 200, {"status": "declined", "reason": str(reason), "id": str(reference)}:
            return payment.Declined(code=DECLINES.get(reason, OTHER), processor_reference=reference)
    return payment.Unknown(f"HTTP {response.status_code}, and no answer that can be used")
