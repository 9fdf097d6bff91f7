"""The contract client: the bytes that Twilio sends, the answers as Twilio reads them, and when it asks again."""

import asyncio
import base64
import gzip
import json
import logging
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caller import LIVE_VISA, VISA
from canaries import Canary, Evidence, find
from fakes import story
from generic_connector.instance import Mode
from generic_connector.payment import Method
from generic_connector.secret import Secret
from generic_connector.twilio import client as client_module
from generic_connector.twilio import messages
from generic_connector.twilio.client import ContractClient, Outcome, SyncContractClient
from generic_connector.twilio.delivery import SHOWN_BYTES_MAX, Delivery
from generic_connector.twilio.messages import REPLY_BYTES_MAX
from generic_connector.twilio.orders import Failed, KeyedAccount, KeyedCard, Order, Settled
from generic_connector.twilio.pay_connector import PayConnector
from generic_connector.twilio.pay_errors import PayError
from generic_connector.twilio.switches import Switches
from serving import Served
from slow_endpoint import (
    Line,
    Manner,
    SlowEndpoint,
    answers,
    breaks_off,
    hangs_up,
    never_answers,
    never_stops,
    resets,
    says,
    slow_endpoint,
    stops_halfway,
)

TRANSACTION_ID = "72500aba-1f2e-4c3d-8b9a-0123456789ab"
CHARGED = {"charge_id": "ch_1", "error_code": None, "error_message": None}
DECLINED = {"charge_id": None, "error_code": "card_declined", "error_message": "The card was declined."}
UUID_4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
ONCE = {"retries": 0}
SHORT = {"timeout_s": 0.3}
REJECTED = PayError.CHARGE_REJECTED.title
MALFORMED = f"{REJECTED} Got malformed response from Payment Provider."


def connector(url: str = "https://endpoint.invalid/pay", **changed: Any) -> PayConnector:  # noqa: ANN401
    """A connector in test mode, changed as given."""
    given = {"unique_name": "Default", "username": "user", "password": Secret("pass:wörd"), **changed}
    return PayConnector(url=url, **given)


def switches(given: Mapping[str, object]) -> Switches:
    """The defaults, but for these."""
    return Switches.model_validate(given)


def card(**changed: Any) -> KeyedCard:  # noqa: ANN401
    """A card as it was keyed, changed as given."""
    given = {"number": Secret(VISA), "expiry": "0830", "security_code": Secret("123"), "postal_code": "02139"}
    return KeyedCard(**{**given, **changed})


ACCOUNT = KeyedAccount(routing_number="021000021", account_number=Secret("123456789"))


def order(**changed: Any) -> Order:  # noqa: ANN401
    """A card charge of 10.00 that has everything, changed as given."""
    given = {
        "connector": "Default",
        "method": Method.CHARGE,
        "transaction_id": TRANSACTION_ID,
        "instrument": card(),
        "amount": "10.00",
        "currency": "usd",
        "description": "Café",
        "parameters": {"orderId": "7"},
    }
    return Order(**{**given, **changed})


class Canned(httpx.AsyncBaseTransport):
    """A network on which every request gets the same answer."""

    def __init__(self, body: bytes, status: int = 200) -> None:
        self._body, self._status = body, status
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(self._status, stream=httpx.ByteStream(self._body))


def ask(
    transport: httpx.AsyncBaseTransport | None = None,
    what: Order | None = None,
    *,
    of: PayConnector | None = None,
    heard: Callable[[Delivery], None] | None = None,
    given: Mapping[str, object] = MappingProxyType({}),
) -> Outcome:
    """Send one order. `given` are switches."""

    async def main() -> Outcome:
        async with ContractClient(of or connector(), switches(given), heard=heard, transport=transport) as client:
            return await client.ask(what or order())

    return asyncio.run(main())


def reply(
    body: object,
    status: int = 200,
    method: Method = Method.CHARGE,
    given: Mapping[str, object] = MappingProxyType({}),
) -> Outcome:
    """What comes of one answer."""
    data = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    return ask(Canned(data, status), order(method=method), given=given)


# --- The request -----------------------------------------------------------------------------------------------------

CARD_FIELDS = '"cardnumber":"4111111111111111","cvv":"123","expiry_month":"08","expiry_year":"30"'
CODE, NO_CODE = '"cvv":"123"', '"cvv":null'
BANK_FIELDS = '"bankaccountnumber":"123456789","routingnumber":"021000021"'
MONEY = '"amount":"10.00","currency_code":"USD"'
ID = f'"transaction_id":"{TRANSACTION_ID}"'
REST = '"method":"charge","parameters":{"orderId":"7"}'

NOTHING = f'"description":null,{MONEY},"postal_code":null,"method":"charge","parameters":{{}}'

BODIES: dict[str, tuple[Mapping[str, Any], Mapping[str, Any], str]] = {
    "card charge": ({}, {}, f'{{{ID},{CARD_FIELDS},"description":"Café",{MONEY},"postal_code":"02139",{REST}}}'),
    "card tokenize": (
        {},
        {"method": Method.TOKENIZE, "amount": None},
        f'{{{ID},{CARD_FIELDS},"description":"Café","postal_code":"02139",{REST.replace("charge", "tokenize")}}}',
    ),
    "account charge": ({}, {"instrument": ACCOUNT}, f'{{{ID},{BANK_FIELDS},"description":"Café",{MONEY},{REST}}}'),
    "account tokenize": (
        {},
        {"instrument": ACCOUNT, "method": Method.TOKENIZE, "amount": None},
        f'{{{ID},{BANK_FIELDS},"description":"Café",{REST.replace("charge", "tokenize")}}}',
    ),
    "nothing optional": (
        {},
        {"instrument": card(security_code=None, postal_code=None), "description": None, "parameters": {}},
        f"{{{ID},{CARD_FIELDS.replace(CODE, NO_CODE)},{NOTHING}}}",
    ),
}


@pytest.mark.parametrize(("given", "changed", "expected"), BODIES.values(), ids=BODIES.keys())
def test_body(given: Mapping[str, Any], changed: Mapping[str, Any], expected: str) -> None:
    """The body is Twilio's byte for byte: its keys in their order, no space, UTF-8."""
    transport = Canned(json.dumps(CHARGED).encode())

    ask(transport, order(**changed), given=given)

    assert expected.encode() == transport.requests[0].content


SWITCHED: dict[str, tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]] = {
    # what is asked, the switch, what the body then has: ... says that the field is not there
    "two digits of the year": ({}, {"expiry_year_digits": 2}, {"expiry_year": "30"}),
    "four digits of the year": ({}, {"expiry_year_digits": 4}, {"expiry_year": "2030"}),
    "amount as given": ({"amount": "10.00"}, {"amount_text": "as-given"}, {"amount": "10.00"}),
    "amount as given, whole": ({"amount": "50"}, {"amount_text": "as-given"}, {"amount": "50"}),
    "shortest amount": ({"amount": "10.00"}, {"amount_text": "shortest"}, {"amount": "10.0"}),
    "shortest amount, whole": ({"amount": "050"}, {"amount_text": "shortest"}, {"amount": "50.0"}),
    "shortest amount, cents": ({"amount": "0.90"}, {"amount_text": "shortest"}, {"amount": "0.9"}),
    "currency in upper case": ({"currency": "usd"}, {"currency_case": "upper"}, {"currency_code": "USD"}),
    "currency in lower case": ({"currency": "USD"}, {"currency_case": "lower"}, {"currency_code": "usd"}),
    "currency as given": ({"currency": "Usd"}, {"currency_case": "as-given"}, {"currency_code": "Usd"}),
    "tokenize without amount": (
        {"method": Method.TOKENIZE},
        {"tokenize_amount": "absent"},
        {"amount": ..., "currency_code": ...},
    ),
    "tokenize with a zero": (
        {"method": Method.TOKENIZE},
        {"tokenize_amount": "zero"},
        {"amount": "0", "currency_code": "USD"},
    ),
    "unset is null": (
        {"description": None, "instrument": card(security_code=None, postal_code=None)},
        {"unset_fields": "null"},
        {"description": None, "cvv": None, "postal_code": None},
    ),
    "unset is absent": (
        {"description": None, "instrument": card(security_code=None, postal_code=None)},
        {"unset_fields": "absent"},
        {"description": ..., "cvv": ..., "postal_code": ...},
    ),
    "unset is empty": (
        {"description": None, "instrument": card(security_code=None, postal_code=None)},
        {"unset_fields": "empty"},
        {"description": "", "cvv": "", "postal_code": ""},
    ),
    "an account has no card's fields": (
        {"instrument": ACCOUNT},
        {"unset_fields": "null"},
        {"cardnumber": ..., "cvv": ..., "expiry_month": ..., "expiry_year": ..., "postal_code": ...},
    ),
    "no parameters: {}": ({"parameters": {}}, {"unset_parameters": "empty-object"}, {"parameters": {}}),
    "no parameters: null": ({"parameters": {}}, {"unset_parameters": "null"}, {"parameters": None}),
    "no parameters: absent": ({"parameters": {}}, {"unset_parameters": "absent"}, {"parameters": ...}),
    "names as given": (
        {"parameters": {"AVSName": "a", "order-no": "b"}},
        {"parameter_names": "as-given"},
        {"parameters": {"AVSName": "a", "order-no": "b"}},
    ),
    "names in snake case": (
        {"parameters": {"AVSName": "a", "merchantAccountId": "b", "line1Item": "c", "order-no": "d"}},
        {"parameter_names": "snake_case"},
        {"parameters": {"avs_name": "a", "merchant_account_id": "b", "line1_item": "c", "order_no": "d"}},
    ),
    "names in camel case": (
        {"parameters": {"AVSName": "a", "merchant_account_id": "b", "-": "c"}},
        {"parameter_names": "camelCase"},
        {"parameters": {"avsName": "a", "merchantAccountId": "b", "-": "c"}},
    ),
    "names in lower case": (
        {"parameters": {"AVSName": "a", "Order-No": "b"}},
        {"parameter_names": "lower"},
        {"parameters": {"avsname": "a", "order-no": "b"}},
    ),
    "method in the body": ({}, {"path": "configured"}, {"method": "charge"}),
    "method in the path alone": ({}, {"path": "with-method"}, {"method": ...}),
}


@pytest.mark.parametrize(("changed", "given", "expected"), SWITCHED.values(), ids=SWITCHED.keys())
def test_switches_of_the_body(
    changed: Mapping[str, Any], given: Mapping[str, Any], expected: Mapping[str, Any]
) -> None:
    """Each switch does to the body what it says."""
    transport = Canned(json.dumps(CHARGED).encode())

    ask(transport, order(**changed), given=given)

    sent = json.loads(transport.requests[0].content)
    assert expected == {name: sent.get(name, ...) for name in expected}


@pytest.mark.parametrize(
    ("url", "path", "method", "expected"),
    [
        ("https://e.invalid", "configured", Method.CHARGE, "https://e.invalid/"),
        ("https://e.invalid/pay?a=b", "configured", Method.CHARGE, "https://e.invalid/pay?a=b"),
        ("https://e.invalid/", "with-method", Method.CHARGE, "https://e.invalid/charge"),
        ("https://e.invalid/pay?a=b", "with-method", Method.TOKENIZE, "https://e.invalid/pay/tokenize?a=b"),
        ("https://some:body@e.invalid/pay#x", "configured", Method.CHARGE, "https://e.invalid/pay"),
    ],
    ids=["bare host", "as it is", "charge", "tokenize", "no credentials, no fragment"],
)
def test_where_it_goes(url: str, path: str, method: Method, expected: str) -> None:
    """A request goes to the configured URL itself, or, as in the private beta, to a path below it."""
    transport = Canned(b"{}")

    ask(transport, order(method=method), of=connector(url), given={"path": path})

    assert expected == str(transport.requests[0].url)


def test_headers() -> None:
    """Credentials come with the first request, in UTF-8, and nothing that Twilio's HTTP client does not send."""
    with slow_endpoint(answers(CHARGED)) as endpoint:
        ask(of=connector(endpoint.url))

    (post,) = endpoint.posts
    assert "POST /pay HTTP/1.1" == post.line
    assert {
        "host": endpoint.url.split("/")[2],
        "user-agent": "AHC/2.1",
        "accept": "*/*",
        "authorization": "Basic " + base64.b64encode("user:pass:wörd".encode()).decode(),
        "content-length": str(len(post.body)),
    } == {name.lower(): value for name, value in post.headers}


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("Content-Type", {"content_type": "none"}, None),
        ("Content-Type", {"content_type": "application/json"}, "application/json"),
        ("Content-Type", {"content_type": "text/plain"}, "text/plain"),
        ("User-Agent", {"user_agent": "TwilioProxy/1.1"}, "TwilioProxy/1.1"),
        ("User-Agent", {"user_agent": " a\r\nX-Evil: b "}, "aX-Evil: b"),
    ],
    ids=["no type", "JSON", "text", "user agent", "no second header in it"],
)
def test_switches_of_the_headers(name: str, given: Mapping[str, Any], expected: str | None) -> None:
    """Content-Type and User-Agent are what they are switched to."""
    with slow_endpoint(answers(CHARGED)) as endpoint:
        ask(of=connector(endpoint.url), given=given)

    assert expected == endpoint.posts[0].header(name)
    assert endpoint.posts[0].header("X-Evil") is None


# --- The answer ------------------------------------------------------------------------------------------------------

READ: dict[str, tuple[object, str | None, Mapping[str, str], str | None]] = {
    # the answer, then the id with parameters and a word of the remark
    "documented": (CHARGED, "ch_1", {}, None),
    "with parameters": ({**CHARGED, "parameters": {"status": "paid"}}, "ch_1", {"status": "paid"}, None),
    "no error_code at all": ({"charge_id": "ch_1"}, "ch_1", {}, None),
    "an error_message without code": ({"charge_id": "ch_1", "error_message": "note"}, "ch_1", {}, None),
    "both ids": ({**CHARGED, "token_id": "tok"}, "ch_1", {}, None),
    "unknown keys": ({**CHARGED, "object": {"deep": [1]}}, "ch_1", {}, None),
    "byte order mark": (b"\xef\xbb\xbf" + json.dumps(CHARGED).encode(), "ch_1", {}, None),
    "id as a number": ('{"charge_id": 12.50}', "12.50", {}, "should be a text"),
    "parameters null": ({**CHARGED, "parameters": None}, "ch_1", {}, None),
    "parameters an empty list": ({**CHARGED, "parameters": []}, "ch_1", {}, None),
    "parameters a list": ({**CHARGED, "parameters": ["a"]}, "ch_1", {}, "should be an object"),
    "parameters a text": ({**CHARGED, "parameters": "a"}, "ch_1", {}, "should be an object"),
    "parameters of other kinds": (
        '{"charge_id": "ch_1", "parameters": {"a": 1.10, "b": true, "c": "x"}}',
        "ch_1",
        {"a": "1.10", "b": "true", "c": "x"},
        "should be a text",
    ),
    "nested parameters": (
        {**CHARGED, "parameters": {"a": {"b": "c"}, "d": ["e"], "f": None, "g": "h"}},
        "ch_1",
        {"g": "h"},
        "nested is left out",
    ),
    "empty error_code": ({**CHARGED, "error_code": ""}, "ch_1", {}, None),
}


@pytest.mark.parametrize(("body", "id_", "parameters", "remark"), READ.values(), ids=READ.keys())
def test_success(body: object, id_: str, parameters: Mapping[str, str], remark: str | None) -> None:
    """The id of the method without an error code is a success, whatever else is said; oddities are remarked on."""
    outcome = reply(body)

    assert Settled(id=id_, parameters=parameters, attempts=1) == outcome.settlement
    assert (True, id_, parameters) == (outcome.is_success, outcome.id, outcome.parameters)
    assert (None, None, None) == (outcome.error, outcome.payment_error, outcome.connector_error)
    assert (outcome.deliveries[0].failure is None) if remark is None else remark in str(outcome.deliveries[0].failure)


REFUSED: dict[str, tuple[object, str, str, str | None]] = {
    # the answer, then what follows the title in PaymentError, ConnectorError, and a word of the remark
    "documented": (DECLINED, " The card was declined.", "card_declined: The card was declined.", None),
    "no message": ({"charge_id": None, "error_code": "x1"}, "", "x1", None),
    "message null": ({"charge_id": None, "error_code": "x1", "error_message": None}, "", "x1", None),
    "no id": ({"error_code": "x1", "error_message": "No."}, " No.", "x1: No.", "should be there"),
    "with an id": ({**DECLINED, "charge_id": "ch_1"}, " The card was declined.", "card_declined: ", "is a failure"),
    "code as a number": ('{"charge_id":null,"error_code":4.20}', "", "4.20", "should be a text"),
    "code zero": ({"charge_id": "ch_1", "error_code": 0}, "", "0", "should be a text"),
    "code false": ({"charge_id": "ch_1", "error_code": False}, "", "false", "should be a text"),
    "code nested": ({"charge_id": None, "error_code": {"a": [1]}}, "", '{"a":[1]}', "should be a text"),
    "message nested": ({"charge_id": None, "error_code": "x", "error_message": ["y"]}, ' ["y"]', 'x: ["y"]', "text"),
    "parameters of a failure": ({**DECLINED, "parameters": {"a": "b"}}, " The card was declined.", "card_", None),
}


@pytest.mark.parametrize(("body", "words", "connector_error", "remark"), REFUSED.values(), ids=REFUSED.keys())
def test_failure(body: object, words: str, connector_error: str, remark: str | None) -> None:
    """Any error code is a failure, an id beside it or not. Code and message reach ConnectorError."""
    outcome = reply(body)

    assert (PayError.CHARGE_REJECTED, REJECTED + words) == (outcome.error, outcome.payment_error)
    assert str(outcome.connector_error).startswith(connector_error)
    assert (False, None, {}) == (outcome.is_success, outcome.id, outcome.parameters)
    assert (outcome.deliveries[0].failure is None) if remark is None else remark in str(outcome.deliveries[0].failure)


BAD: dict[str, object] = {
    "nothing": b"",
    "HTML": "<!doctype html><title>Example Domain</title>",
    "text": "OK",
    "a list": [CHARGED],
    "a string": '"ch_1"',
    "null": "null",
    "no id": {"error_code": None},
    "id null": {"charge_id": None, "error_code": None},
    "id empty": {"charge_id": "", "error_code": None},
    "id true": {"charge_id": True},
    "id nested": {"charge_id": {"id": "ch_1"}},
    "the other method's id": {"token_id": "tok_1", "error_code": None},
    "two ids of one name": '{"charge_id": "a", "charge_id": "b"}',
    "two error codes": '{"charge_id": "a", "error_code": "x", "error_code": null}',
    "NaN": '{"charge_id": "a", "error_code": NaN}',
    "half a surrogate pair": '{"charge_id": "\\ud800"}',
    "Latin-1": '{"charge_id": "é"}'.encode("latin-1"),
    "UTF-16": json.dumps(CHARGED).encode("utf-16"),
    "more after it": json.dumps(CHARGED) + "}",
    "cut off": json.dumps(CHARGED)[:-1],
    "very deep": "[" * 30_000,
    "too long": json.dumps(CHARGED) + " " * REPLY_BYTES_MAX,
    "compressed": gzip.compress(json.dumps(CHARGED).encode()),
    "a form": "charge_id=ch_1",
}


@pytest.mark.parametrize("method", [Method.CHARGE, Method.TOKENIZE])
@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_malformed(body: object, method: Method) -> None:
    """What is neither a success nor an error is malformed: not asked again, and told by the documented words."""
    if body == BAD["the other method's id"] and method is Method.TOKENIZE:
        body = CHARGED
    outcome = reply(body, method=method)

    error = PayError.CHARGE_REJECTED if method is Method.CHARGE else PayError.TOKEN_REJECTED
    text = f"{error.title} Got malformed response from Payment Provider."
    assert Failed(error=error, payment_error=text, attempts=1) == outcome.settlement
    assert outcome.deliveries[0].failure


def test_longest_reply() -> None:
    """A reply of exactly the bound is read."""
    body = json.dumps(CHARGED).ljust(REPLY_BYTES_MAX)

    assert reply(body).is_success
    assert not reply(body + " ").is_success


@pytest.mark.parametrize(
    ("body", "status", "given", "expected"),
    [
        (CHARGED, 500, {}, "ch_1"),
        (CHARGED, 201, {}, "ch_1"),
        (CHARGED, 500, {"error_with_other_status": "malformed"}, MALFORMED),
        (CHARGED, 201, {"error_with_other_status": "malformed"}, MALFORMED),
        (DECLINED, 402, {}, f"{REJECTED} The card was declined."),
        (DECLINED, 402, {"error_with_other_status": "malformed"}, MALFORMED),
        (DECLINED, 200, {"error_with_other_status": "malformed"}, f"{REJECTED} The card was declined."),
        ({**CHARGED, "error_code": ""}, 200, {"empty_error_code": "success"}, "ch_1"),
        ({**CHARGED, "error_code": ""}, 200, {"empty_error_code": "failure"}, REJECTED),
        ({"charge_id": None, "error_code": ""}, 200, {"empty_error_code": "success"}, MALFORMED),
        (b"", 302, {}, MALFORMED),
        (b"", 204, {}, MALFORMED),
    ],
    ids=[
        "good body, 500",
        "good body, 201",
        "good body, 500, malformed",
        "good body, 201, malformed",
        "error, 402",
        "error, 402, malformed",
        "error, 200, malformed",
        "empty code, success",
        "empty code, failure",
        "empty code, no id",
        "redirect",
        "no content",
    ],
)
def test_status_and_empty_code(body: object, status: int, given: Mapping[str, object], expected: str) -> None:
    """A body is read under any status, and an empty code means nothing, unless switched."""
    outcome = reply(body, status, given=given)

    assert expected == (outcome.id or outcome.payment_error)
    assert (status, 1) == (outcome.deliveries[0].status, len(outcome.deliveries))


# --- Asking again, over real sockets ---------------------------------------------------------------------------------


class Book:
    """An endpoint that keeps its word: what it did once, it answers to every later POST, after this many slow ones."""

    def __init__(self, ignored: int, slow: Manner) -> None:
        self._ids: dict[str, str] = {}
        self._ignored, self._slow = ignored, slow
        self.commits = 0

    async def __call__(self, line: Line) -> None:
        transaction_id = line.post.fields["transaction_id"]
        if transaction_id not in self._ids:
            self.commits += 1
            self._ids[transaction_id] = f"ch_{self.commits}"
        if self._ignored > 0:
            self._ignored -= 1
            await self._slow(line)
        else:
            await answers({**CHARGED, "charge_id": self._ids[transaction_id]})(line)


LATE = "Got no response from Payment Provider: {}: no answer within 0.3 s."

MANNERS: dict[str, tuple[Sequence[Manner], Mapping[str, object], int, str]] = {
    # one after the other, switches, POSTs, and the id or what follows in PaymentError
    "answered": ([answers(CHARGED)], {}, 1, "ch_1"),
    "declined": ([answers(DECLINED)], {}, 1, "The card was declined."),
    "error with an id": ([answers({**DECLINED, "charge_id": "ch_9"})], {}, 1, "The card was declined."),
    "slow once": ([never_answers, answers(CHARGED)], {}, 2, "ch_1"),
    "slow five times": ([*[never_answers] * 5, answers(CHARGED)], {}, 6, "ch_1"),
    "never": ([never_answers], {"timeout_s": 0.1}, 6, "6 attempts, at last: no answer within 0.1 s."),
    "never, without retries": ([never_answers], {"retries": 0}, 1, LATE.format("one attempt")),
    "never, two retries": ([never_answers], {"retries": 2}, 3, LATE.format("3 attempts, at last")),
    "never, whatever is switched": (
        [never_answers],
        {"retries": 1, "retry_after_refused_connection": False},
        2,
        LATE.format("2 attempts, at last"),
    ),
    "slow, then declined": ([never_answers, answers(DECLINED)], {}, 2, "The card was declined."),
    "stops halfway": ([stops_halfway, answers(CHARGED)], {}, 2, "ch_1"),
    "hangs up": ([hangs_up, answers(CHARGED)], {}, 2, "ch_1"),
    "always hangs up": ([hangs_up], {}, 6, "6 attempts, at last: the connection was closed without an answer."),
    "hangs up, not asked again": (
        [hangs_up, answers(CHARGED)],
        {"retry_after_refused_connection": False},
        1,
        "one attempt: the connection was closed without an answer.",
    ),
    "reset": ([resets, answers(CHARGED)], {}, 2, "ch_1"),
    "always reset": ([resets], {"retries": 1}, 2, "at last: the connection broke off before the answer was whole."),
    "breaks off": ([breaks_off, answers(CHARGED)], {}, 2, "ch_1"),
    "breaks off, not asked again": (
        [breaks_off],
        {"retry_after_refused_connection": False},
        1,
        "one attempt: the connection broke off before the answer was whole.",
    ),
    "half a status line": ([says(b"HTTP/1.1 20"), answers(CHARGED)], {}, 2, "ch_1"),
    "garbage": ([says(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), answers(CHARGED)], {}, 1, "malformed"),
    "binary garbage": ([says(bytes(range(256)) * 16)], {}, 1, "malformed"),
    "endless headers": ([says(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 40_000)], {}, 1, "malformed"),
    "HTML": ([answers("<html></html>", headers={"Content-Type": "text/html"})], {}, 1, "malformed"),
    "endless body": ([never_stops, answers(CHARGED)], {}, 1, "malformed"),
    "redirect": ([answers("", 302, {"Location": "/elsewhere"}), answers(CHARGED)], {}, 1, "malformed"),
    "redirect to nowhere": ([answers("", 307, {"Location": "https://[::1"})], {}, 1, "malformed"),
    "500 with a good body": ([answers(CHARGED, 500)], {}, 1, "ch_1"),
    "500 with HTML": ([answers("<html></html>", 500), answers(CHARGED)], {}, 1, "malformed"),
    "503, asked again": ([answers("", 503), answers(CHARGED)], {"retry_on": "no-answer-or-5xx"}, 2, "ch_1"),
    "500 good, asked again": (
        [answers(CHARGED, 500), answers({**CHARGED, "charge_id": "ch_2"})],
        {"retry_on": "no-answer-or-5xx"},
        2,
        "ch_2",
    ),
    "503 always": ([answers(DECLINED, 503)], {"retry_on": "no-answer-or-5xx"}, 6, "The card was declined."),
    "503, then never": (
        [answers("", 503), never_answers],
        {"retry_on": "no-answer-or-5xx", "retries": 1},
        2,
        LATE.format("2 attempts, at last"),
    ),
    "429 is not asked again": ([answers("", 429), answers(CHARGED)], {"retry_on": "no-answer-or-5xx"}, 1, "malformed"),
    "a pause between": ([hangs_up, answers(CHARGED)], {"retry_pause_s": 0.01}, 2, "ch_1"),
}


@pytest.mark.parametrize(("manners", "given", "posts", "expected"), MANNERS.values(), ids=MANNERS.keys())
def test_retries(manners: Sequence[Manner], given: Mapping[str, object], posts: int, expected: str) -> None:
    """Each misbehaviour brings the right result, by the right number of POSTs, all of them the same bytes."""
    patience = SHORT if {never_answers, stops_halfway} & set(manners) else {}
    with slow_endpoint(*manners) as endpoint:
        outcome = ask(of=connector(endpoint.url), given={**patience, **given})

    assert expected in (outcome.id or outcome.payment_error or "")
    assert posts == len(endpoint.posts) == len(outcome.deliveries)
    assert outcome.settlement.attempts == posts
    assert 1 == len({post.body for post in endpoint.posts})
    assert {TRANSACTION_ID} == {post.fields["transaction_id"] for post in endpoint.posts}
    assert 1 == len({tuple(post.headers) for post in endpoint.posts})
    if not outcome.is_success and outcome.error is not PayError.CHARGE_REJECTED:
        assert PayError.SERVICE_UNAVAILABLE is outcome.error


@pytest.mark.parametrize("slow", [never_answers, hangs_up, breaks_off], ids=["late", "dropped", "broken off"])
def test_answer_that_got_lost_after_the_commit(slow: Manner) -> None:
    """An endpoint that did it and could not say so is asked again, and its stored answer counts: done once."""
    book = Book(2, slow)
    with slow_endpoint(book) as endpoint:
        outcome = ask(of=connector(endpoint.url), given=SHORT)

    assert ("ch_1", 1, 3) == (outcome.id, book.commits, len(endpoint.posts))


def test_late_attempts_are_dropped() -> None:
    """When an attempt's time is over its connection is closed: no two of them are open at once."""
    with slow_endpoint(never_answers, never_answers, answers(CHARGED)) as endpoint:
        outcome = ask(of=connector(endpoint.url), given=SHORT)

        assert outcome.is_success
    assert 2 == endpoint.hang_ups


@pytest.mark.parametrize("manner", [answers(CHARGED), never_stops], ids=["whole", "too long"])
def test_answered_attempts_are_hung_up(manner: Manner) -> None:
    """A connection is closed as soon as its answer has been read, or is too long: the next payment has its own."""
    hung_up = threading.Semaphore(0)

    async def waiting(line: Line) -> None:
        await manner(line)
        await line.hung_up()
        hung_up.release()

    with slow_endpoint(waiting) as endpoint, SyncContractClient(connector(endpoint.url)) as twilio:
        for _time in range(2):
            assert 1 == len(twilio.ask(order()).deliveries)
            assert hung_up.acquire(timeout=10)

    assert 2 == len(endpoint.posts)


def test_redirect_is_named() -> None:
    """A redirect is not followed, and the delivery says so."""
    assert "A redirect (302) is not followed." == reply("", 302).deliveries[0].failure


def test_answer_after_eleven_seconds() -> None:
    """With Twilio's own ten seconds, an answer that takes eleven comes to the second POST. Over real TLS."""
    done = asyncio.Event()

    async def in_eleven_seconds(line: Line) -> None:
        asyncio.get_running_loop().call_later(11, done.set)
        await line.hung_up()

    async def stored(line: Line) -> None:
        await done.wait()
        await answers(CHARGED)(line)

    with tls_endpoint(in_eleven_seconds, stored) as endpoint:
        outcome = ask(of=connector(endpoint.url, ca_file=endpoint.ca_file))

    first, second = outcome.deliveries
    assert ("ch_1", 2, 1) == (outcome.id, len(endpoint.posts), len({post.body for post in endpoint.posts}))
    assert ("no answer within 10 s", None, False) == (first.failure, first.status, first.is_last)
    assert (None, 200, True) == (second.failure, second.status, second.is_last)
    assert 10_000 <= (first.milliseconds or 0) < 10_900
    assert 1 == endpoint.hang_ups


class Silent(httpx.AsyncBaseTransport):
    """A network that never answers, and notes when it was asked, by the loop's clock."""

    def __init__(self) -> None:
        self.asked_at: list[float] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:  # noqa: ARG002 - not answered
        self.asked_at.append(asyncio.get_running_loop().time())
        never: asyncio.Future[httpx.Response] = asyncio.get_running_loop().create_future()
        return await never


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [0, 10, 20, 30, 40, 50, 60]),
        ({"retry_pause_s": 2}, [0, 12, 24, 36, 48, 60, 70]),
        ({"timeout_s": 3.5, "retries": 1}, [0, 3.5, 7]),
    ],
    ids=["as documented", "with pauses", "otherwise"],
)
def test_times(given: Mapping[str, object], expected: Sequence[float]) -> None:
    """Six attempts of ten seconds each, one at once after the other, and none once a minute is over."""
    transport = Silent()

    @story
    async def waits() -> None:
        loop = asyncio.get_running_loop()
        async with ContractClient(connector(), switches(given), transport=transport) as client:
            settlement = await client.send(order())
        assert isinstance(settlement, Failed)
        assert expected == [*transport.asked_at, loop.time()]

    waits()


# --- Connections that fail -------------------------------------------------------------------------------------------


def tls_endpoint(*manners: Manner, name: str = "localhost") -> AbstractContextManager[SlowEndpoint]:
    """The same endpoint over TLS, with an authority of its own."""
    return slow_endpoint(*manners, tls=True, tls_name=name)


def refusing_url() -> str:
    """A URL where nobody listens any more."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}/"


def unanswered(of: PayConnector, given: Mapping[str, object]) -> Sequence[Delivery]:
    """The deliveries of a charge that nobody answers."""
    outcome = ask(of=of, given=given)
    assert PayError.SERVICE_UNAVAILABLE is outcome.error
    assert str(outcome.payment_error).startswith("Pay: Service unavailable. Got no response from Payment Provider: ")
    assert str(outcome.deliveries[-1].failure) in str(outcome.payment_error)
    return outcome.deliveries


@pytest.mark.parametrize(("given", "attempts"), [({}, 6), ({"retry_after_refused_connection": False}, 1)])
def test_refused_connection(given: Mapping[str, object], attempts: int) -> None:
    """A refused connection is asked again, unless switched off, and named."""
    deliveries = unanswered(connector(refusing_url()), given)

    assert attempts == len(deliveries)
    assert "the connection was refused: does anything listen at 127.0.0.1:" in str(deliveries[0].failure)


def test_unknown_host() -> None:
    """A host that no name server knows is named."""
    deliveries = unanswered(connector("https://nobody.invalid/"), ONCE)

    assert "the host name nobody.invalid is not known" == deliveries[0].failure


class Unreachable(httpx.AsyncBaseTransport):
    """A network that fails in words of its own."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(f"no way to send {request.read()!r}", request=request)


def test_unreachable_host() -> None:
    """Whatever else keeps a connection from being made is told in our words, and not in a library's."""
    outcome = ask(Unreachable(), given=ONCE)

    assert "endpoint.invalid:443 cannot be reached: does anything listen there?" == outcome.deliveries[0].failure
    assert set() == leaks([repr(outcome)])
    assert VISA not in repr(outcome)


def test_untrusted_certificate() -> None:
    """An authority that nobody named is not trusted, and no byte of the payment is sent."""
    with tls_endpoint(answers(CHARGED)) as endpoint:
        deliveries = unanswered(connector(endpoint.url), ONCE)

    assert [] == endpoint.posts
    assert "its authority is not trusted" in str(deliveries[0].failure)


def test_certificate_of_another_host() -> None:
    """A certificate of another name is not accepted, though its authority is trusted."""
    with tls_endpoint(answers(CHARGED), name="other.example") as endpoint:
        deliveries = unanswered(connector(endpoint.url, ca_file=endpoint.ca_file), ONCE)

    assert [] == endpoint.posts
    assert "it is for another host name" in str(deliveries[0].failure)


def test_trusted_certificate() -> None:
    """Control: the same endpoint under its own name, its authority trusted, is asked."""
    with tls_endpoint(answers(CHARGED)) as endpoint:
        outcome = ask(of=connector(endpoint.url, ca_file=endpoint.ca_file))

    assert outcome.is_success


def test_no_tls() -> None:
    """An endpoint that speaks no TLS is named as that."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def answer_without_tls() -> None:
            connection, _address = server.accept()
            with closing(connection):
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer_without_tls)
        thread.start()
        deliveries = unanswered(connector(f"https://127.0.0.1:{server.getsockname()[1]}/"), ONCE)
        thread.join()

    assert str(deliveries[0].failure).startswith("no TLS with 127.0.0.1:")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"url": "no url"}, "its URL is none"),
        ({"url": "ftp://localhost/"}, "its URL is none"),
        ({"url": "https://"}, "its URL is none"),
        ({"url": "https://localhost:port/"}, "its URL is none"),
        ({"url": "http://shop.example/", "mode": Mode.LIVE}, "https:// only"),
        ({"ca_file": "/nowhere/ca.pem"}, "CA file"),
    ],
    ids=["no URL", "another scheme", "no host", "no port", "live cards in the clear", "no CA file"],
)
def test_connectors_that_cannot_be_asked(given: Mapping[str, Any], words: str) -> None:
    """A connector that could never work is refused at once, in words that say what to do."""
    with pytest.raises(ValueError, match=words):
        ContractClient(connector(**given))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_live_cards_in_the_clear_stay_on_this_machine(host: str) -> None:
    """Control: a live connector over plain http is fine where the endpoint is on this machine."""
    of = connector(f"http://{host}/", mode=Mode.LIVE)

    assert ask(Canned(json.dumps(CHARGED).encode()), of=of).is_success


# --- Modes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of", "instrument", "error"),
    [
        (connector(), card(number=Secret(LIVE_VISA)), PayError.INVALID_TEST_CARD),
        (connector(), replace(ACCOUNT, account_number=Secret("987654321")), PayError.INVALID_TEST_ACCOUNT),
        (connector(mode=Mode.LIVE, is_approved=False), card(), PayError.NOT_APPROVED),
        (connector(), card(), None),
        (connector(), ACCOUNT, None),
        (connector(mode=Mode.LIVE), card(number=Secret(LIVE_VISA)), None),
    ],
    ids=["card", "account", "not approved", "test card", "test account", "approved"],
)
def test_modes(of: PayConnector, instrument: KeyedCard | KeyedAccount, error: PayError | None) -> None:
    """What a mode does not let through never reaches the endpoint; what it does, does."""
    transport = Canned(json.dumps(CHARGED).encode())

    outcome = ask(transport, order(instrument=instrument), of=of)

    assert error is outcome.error
    assert (0 if error else 1) == len(transport.requests) == len(outcome.deliveries)
    if error:
        assert Failed(error=error, payment_error=error.title, attempts=0) == outcome.settlement


# --- What is told ----------------------------------------------------------------------------------------------------


def test_deliveries() -> None:
    """Every attempt is told twice under one number: when it begins, and with its answer when it ends."""
    heard: list[Delivery] = []
    with slow_endpoint(hangs_up, answers(CHARGED)) as endpoint:
        outcome = ask(of=connector(endpoint.url), heard=heard.append, given=SHORT)

    begun = [one for one in heard if one.milliseconds is None]
    assert [1, 1, 2, 2] == [one.id for one in heard] == [one.attempt for one in heard]
    assert [False, True, False, True] == [one.milliseconds is not None for one in heard]
    assert [(None, None, None, None)] * 2 == [(one.status, one.failure, one.reply, one.is_last) for one in begun]
    assert tuple(one for one in heard if one.milliseconds is not None) == outcome.deliveries
    assert ("connector", "charge", "POST", endpoint.url) == (heard[0].to, heard[0].why, heard[0].method, heard[0].url)
    assert json.dumps(CHARGED) == outcome.deliveries[1].reply


def test_deliveries_that_are_given_up() -> None:
    """A payment that is cancelled tells that its attempt is over, and drops the connection."""
    heard: list[Delivery] = []
    asked = asyncio.Event()

    def hear(delivery: Delivery) -> None:
        heard.append(delivery)

    async def main(url: str) -> None:
        async with ContractClient(connector(url), heard=hear) as client:
            task = asyncio.create_task(client.send(order()))
            await asyncio.wait_for(asked.wait(), 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    loops: list[asyncio.AbstractEventLoop] = []

    async def wait(line: Line) -> None:
        loops[0].call_soon_threadsafe(asked.set)
        await line.hung_up()

    with slow_endpoint(wait) as endpoint:

        async def with_loop() -> None:
            loops.append(asyncio.get_running_loop())
            await main(endpoint.url)

        asyncio.run(with_loop())

    assert ("given up: the payment was ended here", True) == (heard[1].failure, heard[1].is_last)
    assert 1 == endpoint.hang_ups


MASKED: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "card": ({}, {"cardnumber": "************1111", "cvv": "***", "expiry_month": "08", "postal_code": "02139"}),
    "amex": (
        {"instrument": card(number=Secret("378282246310005"), security_code=Secret("1234"))},
        {"cardnumber": "***********0005", "cvv": "***"},
    ),
    "no code": ({"instrument": card(security_code=None)}, {"cvv": None}),
    "too short for a card": ({"instrument": card(number=Secret("41111111"))}, {"cardnumber": "********"}),
    "account": ({"instrument": ACCOUNT}, {"bankaccountnumber": "*******89", "routingnumber": "021000021"}),
    "short account": ({"instrument": replace(ACCOUNT, account_number=Secret("123"))}, {"bankaccountnumber": "***"}),
    "card in the description": ({"description": f"for {VISA}"}, {"description": "for ****************"}),
    "another card in it": ({"description": f"for {LIVE_VISA}"}, {"description": "for ************1486"}),
    "card in a parameter": ({"parameters": {VISA: VISA}}, {"parameters": {"*" * 16: "*" * 16}}),
    "card as the postal code": ({"instrument": card(postal_code=VISA)}, {"postal_code": "*" * 16}),
    "card as the transaction id": ({"transaction_id": VISA}, {"transaction_id": "*" * 16}),
    "ordinary fields": ({}, {"transaction_id": TRANSACTION_ID, "amount": "10.00", "parameters": {"orderId": "7"}}),
}


@pytest.mark.parametrize(("changed", "expected"), MASKED.values(), ids=MASKED.keys())
def test_shown_request(changed: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """What is shown of a request is the same JSON in the same order, with its secrets masked."""
    of = connector(mode=Mode.LIVE)
    transport = Canned(json.dumps(CHARGED).encode())

    outcome = ask(transport, order(**changed), of=of)

    shown = json.loads(outcome.deliveries[0].request)
    assert list(json.loads(transport.requests[0].content)) == list(shown)
    assert expected == {name: shown[name] for name in expected}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://user:word@e.invalid/pay", "https://e.invalid/pay"),
        (f"https://e.invalid/c/{'k' * 40}/pay", "https://e.invalid/c/***/pay"),
        ("https://e.invalid/pay?key=abc", "https://e.invalid/pay?***"),
        (f"https://e.invalid/{VISA}", "https://e.invalid/************1111"),
        ("https://e.invalid:8443/pay", "https://e.invalid:8443/pay"),
    ],
    ids=["credentials", "path secret", "query", "card", "plain"],
)
def test_shown_url(url: str, expected: str) -> None:
    """What may be a secret in a URL is not shown."""
    assert expected == ask(Canned(b"{}"), of=connector(url)).deliveries[0].url


def test_shown_reply_is_cut() -> None:
    """At most 4 KiB of an answer are shown, and a number that stands where it is cut is masked before."""
    text = "x" * (SHOWN_BYTES_MAX - 8) + VISA + "y" * 100

    shown = reply(text).deliveries[0].reply or ""

    assert "x" * (SHOWN_BYTES_MAX - 8) + "*" * 8 + " ..." == shown


CANARIES = (LIVE_VISA, "9874", "554433221100")
PASSWORD = "kestrel-harrier-merlin"


def echoing(shape: str) -> Manner:
    """An endpoint that says everything it was told."""

    async def manner(line: Line) -> None:
        heard = line.post.body.decode() + str(line.post.header("Authorization")) + PASSWORD
        number = line.post.fields.get("cardnumber") or line.post.fields["bankaccountnumber"]
        grouped = " ".join(re.findall("....", number))
        escaped = "".join(f"\\u{ord(char):04x}" for char in heard)
        body: object = {
            "error": {"error_code": heard, "error_message": heard, "charge_id": heard},
            "success": {"charge_id": f"id_{number}", "parameters": {heard: heard}},
            "html": f"<p>{heard}",
            "escaped error": f'{{"error_code":"{escaped}","error_message":"{escaped}"}}',
            "grouped": {"error_code": grouped, "error_message": grouped.replace(" ", "-")},
        }[shape]
        await answers(body if isinstance(body, str) else json.dumps(body))(line)

    return manner


def leaks(texts: Sequence[str]) -> set[str]:
    """The secrets that stand in these texts, by name."""
    evidence = [Evidence("texts", "\n".join(texts).encode())]
    numbers = [Canary("number", LIVE_VISA.encode()), Canary("account", b"554433221100")]
    found = {name for name, _form, _file in find([*numbers, Canary("password", PASSWORD.encode())], evidence)}
    code = any(re.search(r"(?<![0-9.])9874(?![0-9])", text) for text in texts)
    return found | ({"code"} if code else set())


@pytest.mark.parametrize("instrument", ["card", "account"])
@pytest.mark.parametrize("shape", ["error", "success", "html", "escaped error", "grouped"])
def test_nothing_leaks(shape: str, instrument: str, caplog: pytest.LogCaptureFixture) -> None:
    """An endpoint that repeats all it was told gets no secret into an outcome, a delivery, an error or a log."""
    heard: list[Delivery] = []
    paid = card(number=Secret(LIVE_VISA), security_code=Secret("9874"))
    account = replace(ACCOUNT, account_number=Secret("554433221100"))
    what = order(instrument=paid if instrument == "card" else account)
    with caplog.at_level(logging.DEBUG), slow_endpoint(echoing(shape)) as endpoint:
        of = connector(endpoint.url, mode=Mode.LIVE, password=Secret(PASSWORD))
        outcome = ask(of=of, what=what, heard=heard.append)

    timeless = [replace(one, milliseconds=0) for one in (*heard, *outcome.deliveries)]
    texts = [repr(timeless), repr(outcome.settlement), str(outcome.settlement), repr(what), repr(of), caplog.text]
    assert set() == leaks([*texts, *(one.reply or "" for one in timeless)])
    assert 1 == len(endpoint.posts)


def test_the_search_finds_what_leaks() -> None:
    """Control: the same search finds every secret in what the endpoint got."""
    paid = card(number=Secret(LIVE_VISA), security_code=Secret("9874"))
    account = replace(ACCOUNT, account_number=Secret("554433221100"))
    bodies = [messages.request_body(order(instrument=one), Switches()).decode() for one in (paid, account)]

    assert {"number", "code"} == leaks(bodies[:1])
    assert {"account"} == leaks(bodies[1:])
    assert {"password"} == leaks([PASSWORD])


def test_id_that_looks_like_a_number() -> None:
    """An id of sixteen digits that pass Luhn is kept; the number of the payment itself is masked in it."""
    assert LIVE_VISA == reply({"charge_id": LIVE_VISA}).id
    assert "id_" + "*" * 16 == reply({"charge_id": f"id_{VISA}"}).id


def test_bad_expiry_is_refused_without_repeating_it() -> None:
    """An expiry that is no MMYY is an error that says what to give, and not what was given."""
    with (
        SyncContractClient(connector(), transport=Canned(b"{}")) as twilio,
        pytest.raises(ValueError, match="0830") as caught,
    ):
        twilio.charge(number=VISA, expiry=VISA, amount="1")

    assert VISA not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(""),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
REPLIES = st.dictionaries(st.sampled_from(["charge_id", "token_id", "error_code", "error_message", "parameters"]), JSON)


@given(st.binary() | REPLIES.map(lambda body: json.dumps(body).encode()), st.sampled_from(Method))
def test_any_answer_is_read(body: bytes, method: Method) -> None:
    """Whatever comes is read: a success has an id that is no empty text, and no error code."""
    reading = messages.read_reply(method, 200, body, Switches())

    if isinstance(reading, messages.Accepted):
        said = json.loads(body)
        assert reading.id
        assert method.id_key in said
        assert said.get("error_code") in (None, "")


TEXTS = st.text() | st.sampled_from([LIVE_VISA, f"x{LIVE_VISA}", " ".join(re.findall("....", LIVE_VISA)), "9874"])


@given(st.builds(dict, description=TEXTS, transaction_id=TEXTS, amount=TEXTS, parameters=st.dictionaries(TEXTS, TEXTS)))
def test_any_request_is_masked(changed: Mapping[str, Any]) -> None:
    """Wherever else the card number stands in an order, what is shown of it is JSON without that number."""
    paid = card(number=Secret(LIVE_VISA), security_code=Secret("9874"), postal_code=changed["description"])

    shown = messages.shown_body(order(instrument=paid, **changed), Switches())

    assert "***" == json.loads(shown)["cvv"]
    assert LIVE_VISA not in re.sub(r"[\s-]", "", shown)


# --- The Python interface --------------------------------------------------------------------------------------------


def example() -> str:
    """The lines of code in the module's docstring."""
    lines = str(client_module.__doc__).splitlines()
    return "\n".join(line[4:] for line in lines if line.startswith("    "))


def test_five_lines() -> None:
    """The five lines of the documentation run against an endpoint, and do what they say."""

    async def endpoint_of_both(line: Line) -> None:
        method = line.post.fields["method"]
        await answers({f"{'charge' if method == 'charge' else 'token'}_id": "id_1", "error_code": None})(line)

    with slow_endpoint(endpoint_of_both) as endpoint:
        known = {
            "PayConnector": PayConnector,
            "Secret": Secret,
            "SyncContractClient": SyncContractClient,
            "url": endpoint.url,
            "username": "user",
            "password": "word",
        }
        exec(compile(example(), "docstring", "exec"), known)  # noqa: S102 - our own documentation

    assert 5 == len(example().splitlines())
    assert ["charge", "tokenize"] == [post.fields["method"] for post in endpoint.posts]
    assert 2 == len({post.fields["transaction_id"] for post in endpoint.posts})


CALLS: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "charge": (
        {
            "number": VISA,
            "expiry": "0830",
            "amount": "10.00",
            "currency": "eur",
            "security_code": "123",
            "postal_code": "02139",
            "description": "d",
            "parameters": {"a": "b"},
            "transaction_id": "t1",
        },
        {
            "transaction_id": "t1",
            "cardnumber": VISA,
            "cvv": "123",
            "expiry_month": "08",
            "expiry_year": "30",
            "description": "d",
            "amount": "10.00",
            "currency_code": "EUR",
            "postal_code": "02139",
            "method": "charge",
            "parameters": {"a": "b"},
        },
    ),
    "tokenize": (
        {"number": VISA, "expiry": "0830", "transaction_id": "t1"},
        {
            "transaction_id": "t1",
            "cardnumber": VISA,
            "cvv": None,
            "expiry_month": "08",
            "expiry_year": "30",
            "description": None,
            "postal_code": None,
            "method": "tokenize",
            "parameters": {},
        },
    ),
    "charge_account": (
        {"routing_number": "021000021", "account_number": "12345678", "amount": "5", "transaction_id": "t1"},
        {
            "transaction_id": "t1",
            "bankaccountnumber": "12345678",
            "routingnumber": "021000021",
            "description": None,
            "amount": "5",
            "currency_code": "USD",
            "method": "charge",
            "parameters": {},
        },
    ),
    "tokenize_account": (
        {"routing_number": "021000021", "account_number": "12345678", "transaction_id": "t1"},
        {
            "transaction_id": "t1",
            "bankaccountnumber": "12345678",
            "routingnumber": "021000021",
            "description": None,
            "method": "tokenize",
            "parameters": {},
        },
    ),
}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("name", CALLS)
def test_interface(name: str, is_async: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Each of the four calls sends what it was given, for asyncio and without."""
    given, expected = CALLS[name]
    transport = Canned(b'{"charge_id": "ch_1", "token_id": "tok_1"}')

    async def main() -> Outcome:
        async with ContractClient(connector(), transport=transport) as twilio:
            came: Outcome = await getattr(twilio, name)(**given)
            return came

    if is_async:
        outcome = asyncio.run(main())
    else:
        with SyncContractClient(connector(), transport=transport) as twilio:
            outcome = getattr(twilio, name)(**given)

    assert expected == json.loads(transport.requests[0].content)
    assert ("ch_1" if name.startswith("charge") else "tok_1", "t1") == (outcome.id, outcome.transaction_id)


def test_new_transaction_ids() -> None:
    """A payment that is given none gets a new transaction id: a random UUID in lower case, as observed."""
    transport = Canned(json.dumps(CHARGED).encode())
    with SyncContractClient(connector(), transport=transport) as twilio:
        found = [twilio.charge(number=VISA, expiry="0830", amount="1").transaction_id for _time in range(2)]

    assert found == [json.loads(request.content)["transaction_id"] for request in transport.requests]
    assert 2 == len(set(found))
    assert all(
        re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", id_) for id_ in found
    )


def test_several_at_once() -> None:
    """One client carries several payments at the same time, and keeps their attempts apart."""
    together = asyncio.Barrier(3)

    async def all_at_once(line: Line) -> None:
        await together.wait()
        await answers({**CHARGED, "charge_id": line.post.fields["transaction_id"]})(line)

    async def main(url: str) -> list[Outcome]:
        async with ContractClient(connector(url)) as client:
            return await asyncio.gather(*(client.ask(order(transaction_id=f"t{place}")) for place in range(3)))

    with slow_endpoint(all_at_once) as endpoint:
        outcomes = asyncio.run(main(endpoint.url))

    assert ["t0", "t1", "t2"] == [outcome.id for outcome in outcomes]
    assert [1, 1, 1] == [len(outcome.deliveries) for outcome in outcomes]
    assert 3 == len({outcome.deliveries[0].id for outcome in outcomes})


def test_closed_client() -> None:
    """Closing twice is harmless, ends the thread, and what is asked after that is an error that says so."""
    twilio = SyncContractClient(connector(), transport=Canned(b"{}"))
    assert isinstance(twilio.send(order()), Failed)
    twilio.close()
    twilio.close()

    with pytest.raises(RuntimeError, match="closed"):
        twilio.send(order())
    assert not [thread for thread in threading.enumerate() if thread.name == "contract-client"]


def test_sync_client_inside_a_running_loop() -> None:
    """The synchronous client works in a program that has an event loop of its own, such as a notebook."""
    transport = Canned(json.dumps(CHARGED).encode())

    async def main() -> str | None:
        with SyncContractClient(connector(), transport=transport) as twilio:
            return twilio.charge(number=VISA, expiry="0830", amount="1").id

    assert "ch_1" == asyncio.run(main())


# --- This project's own gateway --------------------------------------------------------------------------------------


@pytest.fixture
def twilio(gateway: Served) -> Iterator[SyncContractClient]:
    """A client of the gateway's `Default`, in test mode."""
    username, password = gateway.credentials["Default"]
    of = PayConnector(unique_name="Default", url=gateway.url, username=username, password=Secret(password))
    with SyncContractClient(of, transport=httpx.AsyncHTTPTransport(verify=gateway.tls)) as client:
        yield client


def test_gateway(twilio: SyncContractClient, gateway: Served) -> None:
    """Our own gateway charges and tokenizes cards and accounts, and a repeated transaction id is charged once."""
    before = len(gateway.statement())
    charged = twilio.charge(number=VISA, expiry="0830", amount="10.00", security_code="123", postal_code="02139")
    again = twilio.charge(
        number=VISA,
        expiry="0830",
        amount="10.00",
        security_code="123",
        postal_code="02139",
        transaction_id=charged.transaction_id,
    )
    tokenized = twilio.tokenize(number=VISA, expiry="0830", security_code="123")
    debited = twilio.charge_account(routing_number="021000021", account_number="123456789", amount="5")
    kept = twilio.tokenize_account(routing_number="021000021", account_number="12345678")

    outcomes = (charged, again, tokenized, debited, kept)
    assert [None] * 5 == [outcome.payment_error for outcome in outcomes]
    assert all(outcome.id for outcome in outcomes)
    assert charged.id == again.id
    assert 2 == len(gateway.statement()) - before
    assert charged.parameters
    assert [None] * 5 == [outcome.deliveries[0].failure for outcome in outcomes]  # not even a remark


def test_gateway_declines(twilio: SyncContractClient) -> None:
    """A decline of our own gateway arrives as 64008, with its code in ConnectorError, and without a remark."""
    outcome = twilio.charge(number=VISA, expiry="0830", amount="2000.00")

    assert (PayError.CHARGE_REJECTED, None) == (outcome.error, outcome.deliveries[0].failure)
    assert str(outcome.connector_error).startswith("card_declined: ")


# --- Nothing forgotten -----------------------------------------------------------------------------------------------


def test_every_switch_of_the_wire_is_tried() -> None:
    """Each switch from the first to the last that the wire has is set by a test in this file."""
    names = list(Switches.model_fields)
    of_the_wire = names[: names.index("default_max_attempts")]
    source = Path(__file__).read_text()

    assert [] == [name for name in of_the_wire if not re.search(rf'"{name}":|{name}=', source)]
