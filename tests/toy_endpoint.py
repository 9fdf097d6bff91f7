"""A toy endpoint: a small, correct endpoint of the Generic Pay Connector, in memory, as plain ASGI.

What the conformance kit is tried against. It shares no line with the gateway, so that both can be right or wrong by
themselves. Each step from a request to its reply is a small method, in the order in which they are called: a broken
endpoint is a subclass that replaces one of them.

- Two instances with HTTP Basic: `Default` and `Other`, whose credentials are below. Each has its own transaction ids.
- A card charge, a card token, and the same for a US bank account; the published test numbers skip Luhn, as one of them
  fails it. A token is random, and tells nothing of the card.
- The retry rule: a duplicate gets the first one's answer, and waits for it where that is not there yet; another
  payment under the same id is refused. The payment goes on when its caller hangs up.
- What a profile can ask for: an amount of 2000.xx or the parameter `sandbox_outcome` is declined, and the parameter
  `sandbox_delay_ms` makes a payment slow. `pace` turns those milliseconds into less than that: 0.01 is a hundred times
  as fast.
- An answer in JSON to everything, with the id key. What is no request is a 4xx, what is refused a 200.

It remembers in `book`, which may be handed on to another one: that is a restart.
"""

import asyncio
import base64
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Fields = dict[str, Any]

DEFAULT = ("toy", "correct-Horse:Bätterie")
"""Username and password. A colon and a letter outside ASCII are in it on purpose."""
OTHER = ("other-toy", "another-staple")
INSTANCES: Mapping[str, str] = dict([DEFAULT, OTHER])

PUBLISHED = {
    "4111111111111111",
    "5555555555554444",
    "378282246310005",
    "6011111111111117",
    "3065930009020004",
    "3566002020360505",
    "6200000000000005",
    "6771798021000008",
}
BODY_BYTES_MAX = 16 * 1024
DEPTH_MAX = 32
ID_KEYS = {"charge": "charge_id", "tokenize": "token_id"}
DECIMALS = {"USD": 2, "EUR": 2, "GBP": 2, "CAD": 2, "JPY": 0, "KWD": 3}


class Refused(Exception):  # noqa: N818 - a refusal is an answer, not an error
    """Ends a request with an error code. `status` is 200 where the payment is refused, 4xx where it is none."""

    def __init__(self, code: str, message: str, status: int = 200) -> None:
        super().__init__(code)
        self.code = code
        self.message = message
        self.status = status


@dataclass(frozen=True)
class Answer:
    """A reply to be. `headers` are names in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


@dataclass(frozen=True)
class Request:
    """A request as it came. `method` and `path` are HTTP's; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Payment:
    """A request that was understood."""

    method: str
    transaction_id: str
    number: str
    amount: Decimal | None
    currency: str | None
    parameters: Mapping[str, str]
    fields: Fields

    @property
    def about(self) -> object:
        """What a second request under the same id must have in common with the first."""
        return (self.method, self.number, self.amount, self.currency)


@dataclass
class Page:
    """What is known of one transaction id."""

    about: object
    task: asyncio.Task[Fields] | None = None
    reply: Fields | None = None


Book = dict[tuple[str, str], Page]


class ToyEndpoint:
    """The endpoint. `purchases` counts what was really bought: once for each charge and each token."""

    body_wait_s = 30.0

    def __init__(self, *, pace: float = 1.0, book: Book | None = None) -> None:
        self.pace = pace
        self.book: Book = {} if book is None else book
        self.purchases = 0

    # --- HTTP ---

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert scope["type"] == "http"
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        answer = await self.hear(scope["method"], scope["path"], headers, receive)
        await self.say(answer, send)

    async def hear(self, method: str, path: str, headers: Mapping[str, str], receive: Receive) -> Answer:
        """Read the body, bounded in size and time, and answer."""
        body = b""
        try:
            async with asyncio.timeout(self.body_wait_s):
                while (event := await receive())["type"] == "http.request":
                    body += event.get("body", b"")
                    if not event.get("more_body") or len(body) > BODY_BYTES_MAX:
                        break
        except TimeoutError:
            return self.error(Refused("request_timeout", "The body did not come. Send it at once.", 408), None)
        return await self.answer(Request(method, path, headers, body))

    async def say(self, answer: Answer, send: Send) -> None:
        """Send a reply."""
        headers = {**answer.headers, "content-length": str(len(answer.body))}
        named = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": named})
        await send({"type": "http.response.body", "body": answer.body})

    async def answer(self, request: Request) -> Answer:
        """Answer a request: the steps below, in their order."""
        method: str | None = None
        try:
            self.at(request)
            instance = self.caller(request.headers)
            fields = self.parse(request)
            method = self.method(fields)
            reply = await self.transact(instance, self.payment(method, fields))
        except Refused as refused:
            return self.error(refused, method)
        return self.reply(200, reply)

    def at(self, request: Request) -> None:
        """Refuse another path, another HTTP method and a body that is too large."""
        if request.path not in {"", "/"}:
            raise Refused("not_found", "There is nothing here.", 404)
        if request.method != "POST":
            raise Refused("method_not_allowed", "Send POST.", 405)
        if len(request.body) > BODY_BYTES_MAX:
            raise Refused("payload_too_large", "The body is too large.", 413)

    def caller(self, headers: Mapping[str, str]) -> str:
        """Return the username of the instance that is asked for."""
        scheme, _space, coded = headers.get("authorization", "").partition(" ")
        try:
            username, colon, password = base64.b64decode(coded, validate=True).decode().partition(":")
        except ValueError:
            username, colon, password = "", "", ""
        known = INSTANCES.get(username)
        is_right = known is not None and secrets.compare_digest(known.encode(), password.encode())
        if scheme.lower() != "basic" or not colon or not is_right:
            raise Refused("unauthorized", "The username or the password is wrong.", 401)
        return username

    def reply(self, status: int, fields: Mapping[str, object]) -> Answer:
        """Return a reply in JSON."""
        return Answer(status, json.dumps(fields).encode())

    def error(self, refused: Refused, method: str | None) -> Answer:
        """Return the reply to a refusal."""
        answer = self.reply(refused.status, self.refusal(refused, method))
        extra = {401: {"www-authenticate": 'Basic realm="toy"'}, 405: {"allow": "POST"}}.get(refused.status, {})
        return Answer(answer.status, answer.body, {**answer.headers, **extra})

    def refusal(self, refused: Refused, method: str | None) -> Fields:
        """Return the fields of the reply to a refusal: the id key is there, and null."""
        keys = ID_KEYS.values() if method is None else [ID_KEYS[method]]
        return {**dict.fromkeys(keys), "error_code": refused.code, "error_message": refused.message}

    # --- From the body to a payment ---

    def parse(self, request: Request) -> Fields:
        """Return the JSON object that the body is. `Content-Type` does not count."""
        try:
            text = request.body.decode()
            if text.count("[") + text.count("{") > DEPTH_MAX:
                self.refuse_malformed()
            fields = json.loads(text, object_pairs_hook=self.unique, parse_constant=self.refuse_malformed)
        except ValueError:
            self.refuse_malformed()
        if not isinstance(fields, dict):
            self.refuse_malformed()
        return fields

    def unique(self, pairs: list[tuple[str, Any]]) -> Fields:
        """Return an object of pairs. A key that stands twice is no JSON here."""
        if len(dict(pairs)) != len(pairs):
            self.refuse_malformed()
        return dict(pairs)

    def refuse_malformed(self, _constant: str = "") -> NoReturn:
        """The body is no request."""
        raise Refused("malformed_request", "The body is not a JSON object of the contract.", 400)

    def method(self, fields: Fields) -> str:
        """Return what is asked for."""
        method = self.text(fields, "method")
        if method not in ID_KEYS:
            raise Refused("unsupported_method", "Send charge or tokenize.", 400)
        return method

    def text(self, fields: Fields, name: str) -> str:
        """Return a needed text."""
        value = fields.get(name)
        if not isinstance(value, str) or not value:
            raise Refused("invalid_field", f"The field {name} is missing or no text.", 400)
        return value

    def optional(self, fields: Fields, name: str) -> str | None:
        """Return an optional text. Null and empty are as good as missing."""
        return None if fields.get(name) in (None, "") else self.text(fields, name)

    def payment(self, method: str, fields: Fields) -> Payment:
        """Return the payment that is asked for."""
        transaction_id = self.text(fields, "transaction_id")
        if fields.get("bankaccountnumber") and fields.get("cardnumber"):
            self.refuse_malformed()
        number = self.account(fields) if fields.get("bankaccountnumber") else self.card(fields)
        parameters = self.parameters(fields)
        amount = currency = None
        if method == "charge":
            currency = self.currency(self.text(fields, "currency_code"))
            amount = self.amount(self.text(fields, "amount"), currency)
        return Payment(method, transaction_id, number, amount, currency, parameters, fields)

    def card(self, fields: Fields) -> str:
        """Return the number of a card that is good."""
        number = self.card_number(self.text(fields, "cardnumber"))
        self.expiry(self.text(fields, "expiry_month"), self.text(fields, "expiry_year"))
        cvv = self.optional(fields, "cvv")
        if cvv is not None and not (is_number(cvv) and len(cvv) in {3, 4}):
            raise Refused("invalid_cvv", "The security code is not valid.")
        self.optional(fields, "postal_code")
        return number

    def card_number(self, number: str) -> str:
        """Return a card number that is good."""
        is_good = is_number(number) and 12 <= len(number) <= 19 and (number in PUBLISHED or passes_luhn(number))
        if not is_good:
            raise Refused("invalid_card_number", "The card number is not valid.")
        return number

    def expiry(self, month: str, year: str) -> None:
        """Refuse a card that is over."""
        if not is_number(month + year) or not 1 <= int(month) <= 12 or len(year) not in {2, 4}:
            raise Refused("invalid_expiry", "The expiry is not valid.")
        now = datetime.now(UTC)
        if (int(year[-2:]) + 2000, int(month)) < (now.year, now.month):
            raise Refused("expired_card", "The card has expired.")

    def account(self, fields: Fields) -> str:
        """Return the number of a bank account that is good."""
        number, routing = self.text(fields, "bankaccountnumber"), self.text(fields, "routingnumber")
        if not is_number(number) or not 4 <= len(number) <= 17:
            raise Refused("invalid_account_number", "The account number is not valid.")
        if not is_number(routing) or len(routing) != 9 or not passes_aba(routing):
            raise Refused("invalid_routing_number", "The routing number is not valid.")
        return number

    def parameters(self, fields: Fields) -> Mapping[str, str]:
        """Return the custom parameters: an object, null, or missing."""
        parameters = fields.get("parameters") or {}
        if not isinstance(parameters, dict):
            raise Refused("invalid_field", "parameters is no object.", 400)
        if not is_number(str(parameters.get("sandbox_delay_ms", "0"))):
            raise Refused("invalid_field", "sandbox_delay_ms is no number.", 400)
        return parameters

    def currency(self, code: str) -> str:
        """Return a currency that is known."""
        if code.upper() not in DECIMALS:
            raise Refused("unsupported_currency", "The currency is not supported.")
        return code.upper()

    def amount(self, text: str, currency: str) -> Decimal:
        """Return an amount above zero, with no more decimals than the currency has."""
        try:
            amount = Decimal(text if text.replace(".", "").isascii() and text.replace(".", "").isdigit() else "no")
        except InvalidOperation:
            raise Refused("invalid_amount", "The amount is not valid.") from None
        if not 0 < amount <= 1_000_000 or amount != round(amount, DECIMALS[currency]):
            raise Refused("invalid_amount", "The amount is not valid.")
        return amount.normalize()

    # --- The payment ---

    async def transact(self, instance: str, payment: Payment) -> Fields:
        """Return the reply to a payment, from the book where it has been asked for."""
        page = self.page(instance, payment)
        if page.about != payment.about:
            raise Refused("transaction_id_reused", "This transaction_id stands for another payment.")
        if page.reply is None:
            if page.task is None:
                page.task = asyncio.create_task(self.purchase(payment))
            page.reply = await self.wait(page.task)
        return page.reply

    def page(self, instance: str, payment: Payment) -> Page:
        """Return what is known of a transaction id, which may be nothing yet."""
        return self.book.setdefault((instance, payment.transaction_id), Page(payment.about))

    async def wait(self, task: asyncio.Task[Fields]) -> Fields:
        """Wait for a payment that is under way. It goes on where the caller hangs up."""
        return await asyncio.shield(task)

    async def purchase(self, payment: Payment) -> Fields:
        """Buy, and return the reply: this is done once for each payment."""
        if delay_ms := payment.parameters.get("sandbox_delay_ms"):
            await asyncio.sleep(int(delay_ms) / 1000 * self.pace)
        if code := self.declined(payment):
            return self.refusal(Refused(code, "The card was declined."), payment.method)
        self.purchases += 1
        return self.success(payment, self.new_id(payment))

    def declined(self, payment: Payment) -> str | None:
        """Return why a payment is declined, or None."""
        if outcome := payment.parameters.get("sandbox_outcome"):
            return None if outcome == "approve" else outcome
        return "card_declined" if payment.amount is not None and int(payment.amount) == 2000 else None

    def new_id(self, payment: Payment) -> str:
        """Return a new charge or token id: random, and with no digits in it."""
        prefix = {"charge": "ch_", "tokenize": "tok_"}[payment.method]
        return prefix + "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(24))

    def success(self, payment: Payment, id_: str) -> Fields:
        """Return the reply to a payment that succeeded."""
        return {
            ID_KEYS[payment.method]: id_,
            "error_code": None,
            "error_message": None,
            "parameters": {"status": "approved", "last4": payment.number[-4:]},
        }


def is_number(text: str) -> bool:
    """Whether a text is ASCII digits."""
    return text.isascii() and text.isdigit()


def passes_luhn(number: str) -> bool:
    """Whether the check digit of a card number is right."""
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(number))]
    return sum(value // 10 + value % 10 for value in doubled) % 10 == 0


def passes_aba(number: str) -> bool:
    """Whether the check digit of a routing number is right."""
    return sum(int(digit) * weight for digit, weight in zip(number, [3, 7, 1] * 3, strict=True)) % 10 == 0
