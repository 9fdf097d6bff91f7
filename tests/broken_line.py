"""Endpoints that break one rule of the line each: retries, credentials, limits, transport, time, health.

Each is the toy endpoint, or the plain server around it, with one step done wrong in a way that was seen in the wild or
is easily thought of. The docstring says which.
"""

import asyncio
import base64
import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

from plain_server import Headers, PlainServer
from toy_endpoint import (
    DEFAULT,
    INSTANCES,
    Answer,
    Fields,
    Page,
    Payment,
    Receive,
    Refused,
    Request,
    Scope,
    Send,
    ToyEndpoint,
)

TIMEOUT_S = 0.5
TAKES_S = 0.8
PACE = TAKES_S / 11
"""The tests' clock: a charge of eleven seconds takes this long, and a caller gives up after `TIMEOUT_S`."""


class Toy(ToyEndpoint):
    """The toy at the tests' pace. `restarted` is what a restart does to it."""

    def __init__(self) -> None:
        super().__init__(pace=PACE)
        self.lock = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError("lifespan")
        await super().__call__(scope, receive, send)

    def restarted(self) -> None:
        """The book is on a disk."""


# --- Retries ---------------------------------------------------------------------------------------------------------


class NoMemory(Toy):
    """Buys whatever it is asked for: no transaction_id is known to it."""

    def page(self, instance: str, payment: Payment) -> Page:  # noqa: ARG002
        return Page(payment.about)


class WantsJsonAndForgets(NoMemory):
    """Reads a body only where Content-Type says JSON, as frameworks do; and has no memory either."""

    def parse(self, request: Request) -> Fields:
        if request.headers.get("content-type") != "application/json":
            self.refuse_malformed()
        return super().parse(request)


class NewIdOnRetry(Toy):
    """Buys once, and makes up an id for every answer."""

    async def transact(self, instance: str, payment: Payment) -> Fields:
        reply = await super().transact(instance, payment)
        return reply if reply["error_code"] else self.success(payment, self.new_id(payment))


class LooksBeforeItLeaps(Toy):
    """Looks whether there is an answer, and buys where there is none: two at once both find none."""

    async def transact(self, instance: str, payment: Payment) -> Fields:
        if self.page(instance, payment).reply is not None:
            return await super().transact(instance, payment)
        reply = await self.wait(asyncio.ensure_future(self.purchase(payment)))
        self.page(instance, payment).reply = reply
        return reply


class SaysInProgress(Toy):
    """Answers the duplicate of a payment that is under way with an error."""

    async def transact(self, instance: str, payment: Payment) -> Fields:
        page = self.page(instance, payment)
        if page.task is not None and not page.task.done():
            raise Refused("in_progress", "This payment is under way. Ask again later.")
        return await super().transact(instance, payment)


class ConstantId(Toy):
    """Answers every payment with the same id, as samples do."""

    def new_id(self, payment: Payment) -> str:
        return {"charge": "ch_approved", "tokenize": "tok_approved"}[payment.method]


class _SeesHangUps(Toy):
    """Cancels the work on a request whose caller has left, as some frameworks do. In process only."""

    async def hear(self, method: str, path: str, headers: Mapping[str, str], receive: Receive) -> Answer:
        body = (await receive())["body"]
        work = asyncio.ensure_future(self.answer(Request(method, path, headers, body)))
        gone = asyncio.ensure_future(receive())
        await asyncio.wait([work, gone], return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not work.done():
            work.cancel()
        return await work

    async def purchase(self, payment: Payment) -> Fields:
        await asyncio.sleep(0.01)
        return await super().purchase(payment)

    async def wait(self, task: asyncio.Task[Fields]) -> Fields:
        return await task


class StartsOver(_SeesHangUps):
    """Loses a slow success: whoever hangs up ends the payment, and the retry starts it over."""

    async def transact(self, instance: str, payment: Payment) -> Fields:
        page = self.page(instance, payment)
        if page.task is not None and page.task.cancelled():
            page.task = None
        return await super().transact(instance, payment)


class StaysRunning(_SeesHangUps):
    """Loses a slow success: whoever hangs up ends the payment, and its row says "running" for ever."""

    async def transact(self, instance: str, payment: Payment) -> Fields:
        page = self.page(instance, payment)
        if page.task is not None and page.task.cancelled():
            raise Refused("in_progress", "This payment is under way. Ask again later.")
        return await super().transact(instance, payment)


class ForgetsAtRestart(Toy):
    """Keeps transaction_ids in memory."""

    def restarted(self) -> None:
        self.book.clear()


class _Keyed(Toy):
    """Knows payments by something else."""

    def key(self, instance: str, payment: Payment) -> tuple[str, str]:
        raise NotImplementedError

    def page(self, instance: str, payment: Payment) -> Page:
        return self.book.setdefault(self.key(instance, payment), Page(payment.about))


class AmountInKey(_Keyed):
    """Takes another amount under a known id for another payment."""

    def key(self, instance: str, payment: Payment) -> tuple[str, str]:
        return instance, f"{payment.transaction_id} {payment.amount}"


class CardInKey(_Keyed):
    """Takes another card under a known id for another payment."""

    def key(self, instance: str, payment: Payment) -> tuple[str, str]:
        return instance, f"{payment.transaction_id} {payment.number}"


class OneBook(_Keyed):
    """Keeps the ids of all merchants in one book."""

    def key(self, instance: str, payment: Payment) -> tuple[str, str]:  # noqa: ARG002
        return "", payment.transaction_id


class OneTicketEach(_Keyed):
    """Takes the same card and amount for a duplicate, whatever the transaction_id."""

    def key(self, instance: str, payment: Payment) -> tuple[str, str]:
        return instance, str(payment.about)


class CutsIds(_Keyed):
    """Has a column of 128 characters, and a database that cuts what is longer."""

    def key(self, instance: str, payment: Payment) -> tuple[str, str]:
        return instance, payment.transaction_id[:128]


class ReplaysAnyMethod(Toy):
    """Answers a tokenize under a charge's id with the charge's answer."""

    async def transact(self, instance: str, payment: Payment) -> Fields:
        page = self.page(instance, payment)
        if page.reply is not None and "charge_id" in page.reply and payment.method == "tokenize":
            return page.reply
        return await super().transact(instance, payment)


class LastOneWins(Toy):
    """Refuses a contradiction, and forgets the payment that it contradicts."""

    async def transact(self, instance: str, payment: Payment) -> Fields:
        try:
            return await super().transact(instance, payment)
        except Refused:
            del self.book[instance, payment.transaction_id]
            raise


class TriesDeclinesAgain(Toy):
    """Keeps successes alone: what was declined is tried again, and goes through."""

    async def transact(self, instance: str, payment: Payment) -> Fields:
        page = self.page(instance, payment)
        if page.reply is not None and page.reply["error_code"]:
            page.reply = self.success(payment, self.new_id(payment))
        return await super().transact(instance, payment)


class SaysDuplicate(Toy):
    """Answers a repetition with an error: allowed, and a wrong receipt."""

    async def transact(self, instance: str, payment: Payment) -> Fields:
        if self.page(instance, payment).reply is not None:
            raise Refused("duplicate", "This payment was made before.")
        return await super().transact(instance, payment)


class NewConfirmations(Toy):
    """Repeats the id, and makes up a new confirmation number."""

    async def transact(self, instance: str, payment: Payment) -> Fields:
        reply = await super().transact(instance, payment)
        return {**reply, "parameters": {"confirmation": self.new_id(payment)}} if not reply["error_code"] else reply


class RepeatsThrice(Toy):
    """Repeats an answer three times, and then forgets it."""

    repeated: dict[str, int]

    async def transact(self, instance: str, payment: Payment) -> Fields:
        self.repeated = getattr(self, "repeated", {})
        page = self.page(instance, payment)
        if page.reply is not None:
            seen = self.repeated[payment.transaction_id] = self.repeated.get(payment.transaction_id, 0) + 1
            if seen > 3:
                page.task = page.reply = None
        return await super().transact(instance, payment)


class ForgetsTokens(Toy):
    """Keeps charges alone."""

    def page(self, instance: str, payment: Payment) -> Page:
        return Page(payment.about) if payment.method == "tokenize" else super().page(instance, payment)


class ForgetsAccounts(Toy):
    """Keeps cards alone."""

    def page(self, instance: str, payment: Payment) -> Page:
        is_account = payment.fields.get("bankaccountnumber")
        return Page(payment.about) if is_account else super().page(instance, payment)


class ComparesBytes(Toy):
    """Knows a repetition by its bytes."""

    bodies: dict[str, bytes]

    async def answer(self, request: Request) -> Answer:
        self.bodies = getattr(self, "bodies", {})
        found = re.search(rb'"transaction_id": *"([^"]*)"', request.body)
        name = found.group(1).decode("latin-1") + request.headers.get("authorization", "") if found else ""
        answer = await super().answer(request)
        if answer.status == 200 and self.bodies.setdefault(name, request.body) != request.body:
            return self.error(Refused("transaction_id_reused", "The body is another one."), self.asked(request))
        return answer

    def asked(self, request: Request) -> str:
        return "tokenize" if b'"tokenize"' in request.body else "charge"


# --- Credentials -----------------------------------------------------------------------------------------------------


def _header(pair: tuple[str, str] = DEFAULT) -> str:
    return "Basic " + base64.b64encode(":".join(pair).encode()).decode()


def _decoded(headers: Mapping[str, str]) -> str:
    """The text of an Authorization header, or nothing."""
    scheme, _space, coded = headers.get("authorization", "").partition(" ")
    try:
        return base64.b64decode(coded, validate=True).decode() if scheme.lower() == "basic" else ""
    except ValueError:
        return ""


class _LetsIn(Toy):
    """Lets in whom `knows` knows, besides who may come in."""

    def knows(self, username: str, password: str, headers: Mapping[str, str]) -> bool:
        raise NotImplementedError

    def caller(self, headers: Mapping[str, str]) -> str:
        try:
            return super().caller(headers)
        except Refused:
            username, _colon, password = _decoded(headers).partition(":")
            if self.knows(username, password, headers):
                return username if username in INSTANCES else DEFAULT[0]
            raise


class Open(_LetsIn):
    """Asks nobody for credentials."""

    def knows(self, username: str, password: str, headers: Mapping[str, str]) -> bool:  # noqa: ARG002
        return True


class OpenWithoutHeader(_LetsIn):
    """Judges the header where there is one."""

    def knows(self, username: str, password: str, headers: Mapping[str, str]) -> bool:  # noqa: ARG002
        return "authorization" not in headers


class AnyPassword(_LetsIn):
    """Knows the username, and that is enough."""

    def knows(self, username: str, password: str, headers: Mapping[str, str]) -> bool:  # noqa: ARG002
        return username in INSTANCES and ":" in _decoded(headers)


class AnyUsername(_LetsIn):
    """Compares the password with its own, whoever comes."""

    def knows(self, username: str, password: str, headers: Mapping[str, str]) -> bool:  # noqa: ARG002
        return password == DEFAULT[1]


class AnybodysPassword(_LetsIn):
    """Looks whether the password is somebody's, and whether the username is."""

    def knows(self, username: str, password: str, headers: Mapping[str, str]) -> bool:  # noqa: ARG002
        return username in INSTANCES and password in INSTANCES.values()


class NoColonNoPassword(_LetsIn):
    """Compares as many parts as there are."""

    def knows(self, username: str, password: str, headers: Mapping[str, str]) -> bool:  # noqa: ARG002
        return _decoded(headers) in INSTANCES


class EmptyIsUnset(_LetsIn):
    """Takes a header with nothing in it for one that need not be judged."""

    def knows(self, username: str, password: str, headers: Mapping[str, str]) -> bool:  # noqa: ARG002
        return headers.get("authorization", "x").strip() in {"", "Basic"}


class AnyScheme(_LetsIn):
    """Judges Basic, and lets every other scheme pass."""

    def knows(self, username: str, password: str, headers: Mapping[str, str]) -> bool:  # noqa: ARG002
        return headers.get("authorization", "").partition(" ")[0].lower() not in {"", "basic"}


class PartOfThePassword(_LetsIn):
    """Compares as much of the password as it was given."""

    def knows(self, username: str, password: str, headers: Mapping[str, str]) -> bool:  # noqa: ARG002
        return len(password) > 3 and INSTANCES.get(username, "").startswith(password)


class CaseBlind(_LetsIn):
    """Compares passwords without case, as some databases do."""

    def knows(self, username: str, password: str, headers: Mapping[str, str]) -> bool:  # noqa: ARG002
        return INSTANCES.get(username, "\0").lower() == password.lower()


class SplitsAtEveryColon(_LetsIn):
    """Does not compare what comes behind the colon in the password."""

    def knows(self, username: str, password: str, headers: Mapping[str, str]) -> bool:  # noqa: ARG002
        return password.startswith(INSTANCES.get(username, "\0") + ":")


class TokenizesForAnybody(Toy):
    """Asks for credentials in the handler of charges."""

    async def answer(self, request: Request) -> Answer:
        if b'"tokenize"' in request.body and request.headers.get("authorization") != _header():
            request = replace(request, headers={**request.headers, "authorization": _header()})
        return await super().answer(request)


class OldPathsOpen(Toy):
    """Still serves /charge and /tokenize, and guards / alone."""

    async def answer(self, request: Request) -> Answer:
        if request.path in {"/charge", "/tokenize"}:
            request = replace(request, path="/", headers={**request.headers, "authorization": _header()})
        return await super().answer(request)


class FailsOnGarbled(Toy):
    """Decodes base64 where nobody catches its failures."""

    def caller(self, headers: Mapping[str, str]) -> str:
        scheme, _space, coded = headers.get("authorization", "").partition(" ")
        if scheme == "Basic":
            base64.b64decode(coded, validate=True)
        return super().caller(headers)


class FailsOnOtherScripts(Toy):
    """Compares passwords as Latin-1."""

    def caller(self, headers: Mapping[str, str]) -> str:
        _decoded(headers).encode("latin-1")
        return super().caller(headers)


class Says403(Toy):
    """Answers wrong credentials with 403."""

    def error(self, refused: Refused, method: str | None) -> Answer:
        answer = super().error(refused, method)
        return replace(answer, status=403) if answer.status == 401 else answer


class NoChallenge(Toy):
    """Answers 401, and does not say what it wants."""

    def error(self, refused: Refused, method: str | None) -> Answer:
        answer = super().error(refused, method)
        headers = {name: value for name, value in answer.headers.items() if name != "www-authenticate"}
        return replace(answer, headers=headers)


class RepeatsForAnybody(Toy):
    """Looks retries up before it looks at credentials."""

    async def answer(self, request: Request) -> Answer:
        for (_instance, transaction_id), page in self.book.items():
            is_it = f'"{transaction_id}"'.encode() in request.body and "authorization" not in request.headers
            if is_it and page.reply is not None:
                return self.reply(200, page.reply)
        return await super().answer(request)


class ClaimsForAnybody(Toy):
    """Writes a transaction_id down before it looks at credentials."""

    async def answer(self, request: Request) -> Answer:
        answer = await super().answer(request)
        found = re.search(rb'"transaction_id": *"([^"]*)"', request.body)
        if answer.status == 401 and found:
            self.book.setdefault((DEFAULT[0], found.group(1).decode("latin-1")), Page("somebody"))
        return answer


class ReadsTheQuery(Toy):
    """Takes credentials from the address."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = parse_qs(scope.get("query_string", b"").decode())
        if "password" in query:
            pair = (query["username"][0], query["password"][0])
            scope["headers"] = [*scope["headers"], (b"authorization", _header(pair).encode())]
        await super().__call__(scope, receive, send)


class OnlyBasicAsWritten(Toy):
    """Knows the scheme as it is written in most examples, and in no other way."""

    def caller(self, headers: Mapping[str, str]) -> str:
        if not headers.get("authorization", "").startswith("Basic "):
            raise Refused("unauthorized", "Send Basic.", 401)
        return super().caller(headers)


class LocksOut(Toy):
    """Locks an instance after twenty wrong passwords in a row."""

    wrong = 0

    def caller(self, headers: Mapping[str, str]) -> str:
        if self.wrong >= 20:
            raise Refused("locked", "Too many wrong passwords. Ask for a new one.", 403)
        self.wrong += 1
        username = super().caller(headers)
        self.wrong = 0
        return username


# --- Limits ----------------------------------------------------------------------------------------------------------


class Bottomless(Toy):
    """Reads whatever comes."""

    async def hear(self, method: str, path: str, headers: Mapping[str, str], receive: Receive) -> Answer:
        body = (await receive())["body"]
        return await self.answer(Request(method, path, headers, body))

    def at(self, request: Request) -> None:
        super().at(replace(request, body=b""))


class LastKeyWins(Toy):
    """Parses as most parsers do: of a key that stands twice the last one counts."""

    def unique(self, pairs: list[tuple[str, Any]]) -> Fields:
        return dict(pairs)


class TakesTextForGranted(Toy):
    """Strips fields before it looks whether they are texts."""

    def text(self, fields: Fields, name: str) -> str:
        value: Any = fields.get(name) or ""
        return super().text({**fields, name: value.strip()}, name)


class FailsInTheDeep(Toy):
    """Parses without a limit to the depth."""

    def parse(self, request: Request) -> Fields:
        if b"[[[[[[[[" in request.body:
            json.loads(request.body)
        return super().parse(request)


class FailsOnLongHeaders(Toy):
    """Has a buffer for headers, and does not look how much goes into it."""

    def at(self, request: Request) -> None:
        if any(len(value) > 32_768 for value in request.headers.values()):
            raise MemoryError
        super().at(request)


class FailsOnLongIds(Toy):
    """Has a column for the id, and a database that refuses what is longer."""

    def payment(self, method: str, fields: Fields) -> Payment:
        payment = super().payment(method, fields)
        if len(payment.transaction_id) > 1000:
            raise ValueError("value too long for type character varying(1000)")
        return payment


class FailsOnLongNumbers(Toy):
    """Makes a number of digits before it counts them."""

    def text(self, fields: Fields, name: str) -> str:
        text = super().text(fields, name)
        if text.isdigit() and name != "transaction_id":
            int(text)
        return text


class FailsOnNul(Toy):
    """Has a database that takes no NUL in a text."""

    def payment(self, method: str, fields: Fields) -> Payment:
        if "\0" in str(fields.get("description")):
            raise ValueError("a text cannot contain NUL")
        return super().payment(method, fields)


class FailsOnOtherBytes(Toy):
    """Decodes the body where nobody catches its failures."""

    def parse(self, request: Request) -> Fields:
        request.body.decode()
        return super().parse(request)


class ReadsOnce(PlainServer):
    """Takes what one read brings for the whole body."""

    async def whole(self, reader: asyncio.StreamReader, length: int) -> bytes:
        return await reader.read(length) if length else b""


class ClaimsHalfRequests(PlainServer):
    """Writes a transaction_id down as soon as it has read it."""

    async def whole(self, reader: asyncio.StreamReader, length: int) -> bytes:
        try:
            return await super().whole(reader, length)
        except asyncio.IncompleteReadError as error:
            if found := re.search(rb'"transaction_id": *"([^"]*)"', error.partial):
                self.endpoint.book.setdefault((DEFAULT[0], found.group(1).decode()), Page("half"))
            raise


class OneBodyAtATime(PlainServer):
    """Reads one request after the other: who does not finish holds all others up."""

    body_wait_s = 2.0

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first = await reader.read(1)
        if not first:
            return False
        # Put back what was read to see that a request begins.
        reader._buffer[:0] = first  # type: ignore[attr-defined]  # noqa: SLF001
        async with self.endpoint.lock:  # type: ignore[attr-defined]
            return await super().exchange(reader, writer)


class WaitsForEver(PlainServer):
    """Gives a body all the time in the world."""

    body_wait_s = 3600.0


# --- Transport -------------------------------------------------------------------------------------------------------


class AnyVerb(Toy):
    """Pays whatever the method."""

    def at(self, request: Request) -> None:
        super().at(replace(request, method="POST"))


class GzipsAlways(Toy):
    """Compresses answers for everybody, and says so."""

    async def say(self, answer: Answer, send: Send) -> None:
        zipped = replace(
            answer, body=gzip.compress(answer.body), headers={**answer.headers, "content-encoding": "gzip"}
        )
        await super().say(zipped, send)


class ClosesSilently(PlainServer):
    """Keep-alive broken: closes after each answer, and does not say so."""

    def may_go_on(self, *, is_last: bool) -> bool:  # noqa: ARG002
        return False


class SecondAnswerStale(PlainServer):
    """Keep-alive broken: a connection's second request is answered with what the first one was."""

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fresh = self.endpoint.answer
        kept: list[Answer] = []

        async def answer(request: Request) -> Answer:
            if not kept:
                kept.append(await fresh(request))
            return kept[0]

        server = PlainServer(self.endpoint)
        server.endpoint = _Answers(answer, self.endpoint)  # type: ignore[assignment]
        await server.connection(reader, writer)


class _Answers:
    def __init__(self, answer: Any, endpoint: ToyEndpoint) -> None:  # noqa: ANN401
        self.answer = answer
        self.error = endpoint.error


class LosesWhatWasSentAhead(PlainServer):
    """Throws away what has come behind a request when it answers."""

    async def body(self, headers: Headers, reader: asyncio.StreamReader) -> bytes:
        body = await super().body(headers, reader)
        reader._buffer.clear()  # type: ignore[attr-defined]  # noqa: SLF001
        return body


class NeverCloses(PlainServer):
    """Does not know Connection: close."""

    def is_last(self, headers: Mapping[str, str]) -> bool:  # noqa: ARG002
        return False


class NoChunks(PlainServer):
    """Knows Content-Length alone: a body in chunks is empty to it."""

    async def chunks(self, reader: asyncio.StreamReader) -> bytes:
        await super().chunks(reader)
        return b""


class FirstLengthWins(PlainServer):
    """Of two lengths it takes the first."""

    def length(self, headers: Headers) -> int:
        return next((int(value) for name, value in headers if name == "content-length"), 0)


class LengthTooLong(PlainServer):
    """Promises one byte more than it sends."""

    def written(self, answer: Answer, verb: str, *, is_last: bool) -> bytes:
        right = f"content-length: {len(answer.body)}".encode()
        wrong = f"content-length: {len(answer.body) + 1}".encode()
        return super().written(answer, verb, is_last=is_last).replace(right, wrong)


class OnAllAddresses(PlainServer):
    """Is asked over http://, on an address that is not this machine's own."""

    host = "0.0.0.0"  # noqa: S104 - that is the point


# --- Time ------------------------------------------------------------------------------------------------------------


class OneAtATime(Toy):
    """Pays one after the other: a slow bank stops all payments."""

    async def purchase(self, payment: Payment) -> Fields:
        async with self.lock:
            return await super().purchase(payment)


class MixesUp(Toy):
    """Keeps the payment at hand in one place, where the next one overwrites it."""

    latest = ""

    async def purchase(self, payment: Payment) -> Fields:
        self.latest = self.new_id(payment)
        await asyncio.sleep(0.005)
        return self.success(payment, self.latest) if not self.declined(payment) else await super().purchase(payment)


class SometimesSlow(Toy):
    """Is near the limit each tenth time."""

    async def purchase(self, payment: Payment) -> Fields:
        if not payment.parameters and self.purchases % 10 == 9:
            await asyncio.sleep(0.6 * TIMEOUT_S)
        return await super().purchase(payment)


class AlwaysLate(Toy):
    """Answers after the caller gave up."""

    async def purchase(self, payment: Payment) -> Fields:
        await asyncio.sleep(1.3 * TIMEOUT_S)
        return await super().purchase(payment)


# --- Health ----------------------------------------------------------------------------------------------------------


class _Hurt(Toy):
    """Counts a body of many NULs: what follows is up to the class."""

    hurt = 0

    def parse(self, request: Request) -> Fields:
        if request.body.startswith(b"\0\0\0\0\0\0\0\0"):
            self.hurt += 1
            self.suffer()
        return super().parse(request)

    def suffer(self) -> None:
        """It dies, and is started again."""


class ComesBackEmpty(_Hurt):
    """A hostile request ends the process, and the next one knows nothing."""

    def suffer(self) -> None:
        self.book.clear()


class ComesBackOpen(_Hurt):
    """A hostile request breaks the check of credentials, and it fails open."""

    def caller(self, headers: Mapping[str, str]) -> str:
        return DEFAULT[0] if self.hurt else super().caller(headers)


class ComesBackGenerous(_Hurt):
    """The second hostile request breaks the connection to the processor, and every card is good."""

    def declined(self, payment: Payment) -> str | None:
        return None if self.hurt > 1 else super().declined(payment)


class NeverComesBack(_Hurt):
    """After the second hostile request all it says is 500."""

    async def answer(self, request: Request) -> Answer:
        if self.hurt > 1:
            raise RuntimeError("the pool is empty")
        return await super().answer(request)
