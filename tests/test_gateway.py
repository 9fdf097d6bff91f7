"""The gateway over a real TLS socket: every clause of the contract that is about HTTP, limits and time."""

import asyncio
import contextlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from caller import (
    LIVE_AMEX,
    LIVE_VISA,
    VISA,
    Wire,
    ask,
    basic,
    charge,
    debit,
    events,
    tokenize,
    until,
)
from generic_connector.administration import RefusedError
from generic_connector.card import PUBLISHED_CARDS, Card
from generic_connector.contract.body import BODY_BYTES_MAX
from generic_connector.envelope import SEALS_MAX, Place, Purpose
from generic_connector.payment import Approved, PurchaseResult
from generic_connector.ports import Purchase, Vaulted
from generic_connector.stores.sqlite import count_tokens, find_vaulted
from serving import ApproveAll, Served, serve_gateway

ID = re.compile(r"(?:ch|tok)_[a-p]{38}")
REQUEST_ID = re.compile(r"req_[a-p]{38}")
BOTH_IDS = {"charge_id", "token_id"}
AT_ONCE = 64


class Held(ApproveAll):
    """Approves, once it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = asyncio.Event()

    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        self.asked.append(purchase)
        await self.let_go.wait()
        return self.captured.setdefault(purchase.idempotency_key, Approved(authorization_code="HELD01"))


class Odd(ApproveAll):
    """Says, raises or never says whether it can be reached."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    async def is_reachable(self) -> bool:
        match self._kind:
            case "raises":
                raise ConnectionError
            case "hangs":
                await asyncio.Event().wait()
        return False


@pytest.fixture(scope="module", autouse=True)
def _other_instances(gateway: Served) -> None:
    """Beside `Default`: one that is disabled, one that is live, and one with a path secret."""
    gateway.add("Disabled")
    gateway.act("instance disable", unique_name="Disabled")
    gateway.add("Live", mode="live", processor="live")
    gateway.add("Secret", path_secret=True)


@pytest.fixture(autouse=True)
def _forgiven(gateway: Served) -> None:
    """Refused credentials of earlier tests do not count against the next."""
    gateway.clock.forward(10)


@pytest.fixture
def wire(gateway: Served) -> Iterator[Wire]:
    """A bare connection to the gateway."""
    with Wire(gateway) as wire:
        yield wire


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[Served, Held]]:
    """A gateway with two payments at once, whose live processor holds every purchase until it is let go."""
    processor = Held()
    with serve_gateway(tmp_path, processors={"held": processor}, environment={"payments_at_once": "2"}) as served:
        served.add("Default", mode="live", processor="held")
        yield served, processor


def credentials(served: Served, instance: str = "Default") -> str:
    """Return the `Authorization` header of an instance."""
    return basic(*served.credentials[instance])


def encoded(body: Mapping[str, object]) -> bytes:
    """Return a request's body."""
    return json.dumps(body).encode()


def padded(size: int) -> bytes:
    """Return a good charge of exactly so many bytes."""
    return encoded(charge(description="")).replace(
        b'"description": ""', b'"description": "%s"' % (b"x" * (size - len(encoded(charge(description="")))))
    )


def in_chunks(body: bytes, size: int = 4096) -> bytes:
    """Return a body in HTTP's chunked coding."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def send(served: Served, path: str = "/", instance: str | None = "Default", **request: Any) -> httpx.Response:  # noqa: ANN401 - httpx's
    """Send whatever it is; a POST without a body, unless `request` says otherwise."""
    with served.client(instance) as client:
        return client.request(request.pop("method", "POST"), path, **request)


def captured(served: Served, body: Mapping[str, object]) -> Sequence[Mapping[str, Any]]:
    """Return the captured purchases of a transaction, from the sandbox's book."""
    lines = served.statement()
    return [x for x in lines if x["transaction_id"] == body["transaction_id"] and x["state"] == "captured"]


def vaulted(served: Served, token_id: str) -> Vaulted | None:
    """Return a token's entry in the vault."""
    found: Vaulted | None = served.call(lambda: find_vaulted(served.parts.store.journal.connection, token_id))
    return found


def refused_as(reply: httpx.Response, ids: set[str]) -> tuple[int, str]:
    """Return status and error code of a refusal, which must have the contract's shape with these id keys."""
    body = reply.json()

    assert "application/json" == reply.headers["content-type"]
    assert ids | {"error_code", "error_message"} == body.keys() - {"parameters"}
    assert {None} == {body[key] for key in ids}
    assert REQUEST_ID.fullmatch(reply.headers["x-request-id"])
    assert isinstance(body["error_message"], str)
    assert body["error_message"] != ""
    return reply.status_code, body["error_code"]


# --- The order of the checks -----------------------------------------------------------------------------------------

CHECKS = [
    "not_found",
    "method_not_allowed",
    "payload_too_large",
    "unauthorized",
    "instance_disabled",
    "malformed_request",
]


@pytest.mark.parametrize("first", range(len(CHECKS)), ids=CHECKS)
def test_of_many_mistakes_the_first_check_speaks(gateway: Served, wire: Wire, first: int) -> None:
    """The order is path, method, declared size, credentials, disabled instance, body. Nothing later is asked."""
    path, method, size, credential, instance, _body = (place >= first for place in range(len(CHECKS)))
    username, password = gateway.credentials["Disabled" if instance else "Default"]

    wire.request(
        "GET" if method else "POST",
        "/nothing/here" if path else "/",
        body=b"no JSON",
        Content_Length=str(BODY_BYTES_MAX + 1) if size else "7",
        Authorization=basic(username, "wrong" if credential else password),
    )

    assert CHECKS[first] == wire.hear().code


def test_a_wrong_path_secret_is_no_path_whatever_else_is_wrong(wire: Wire) -> None:
    """Neither method nor size is looked at where there is nothing, so a wrong secret is like any unknown path."""
    wire.request("GET", "/i/wrong", Content_Length=str(BODY_BYTES_MAX + 1))

    assert "not_found" == wire.hear().code


# --- The shape of every reply ----------------------------------------------------------------------------------------

WITHOUT_METHOD: Mapping[str, tuple[Callable[[Served], httpx.Response], tuple[int, str]]] = {
    "unknown path": (lambda served: send(served, "/nothing"), (404, "not_found")),
    "unknown page": (lambda served: send(served, "/nothing", method="GET"), (404, "not_found")),
    "wrong path secret": (lambda served: send(served, "/i/wrong"), (404, "not_found")),
    "not a POST": (lambda served: send(served, method="GET"), (405, "method_not_allowed")),
    "POST to a page": (lambda served: send(served, "/healthz"), (405, "method_not_allowed")),
    "too large": (lambda served: send(served, content=bytes(BODY_BYTES_MAX + 1)), (413, "payload_too_large")),
    "no credentials": (lambda served: send(served, instance=None), (401, "unauthorized")),
    "wrong credentials": (lambda served: send(served, instance=None, auth=("ic", "no")), (401, "unauthorized")),
    "disabled instance": (lambda served: send(served, instance="Disabled"), (403, "instance_disabled")),
    "no body": (send, (400, "malformed_request")),
    "no object": (lambda served: send(served, json=[]), (400, "malformed_request")),
    "no method": (lambda served: send(served, json=charge(method=None)), (400, "missing_field")),
    "unknown method": (lambda served: send(served, json=charge(method="refund")), (400, "unsupported_method")),
}


@pytest.mark.parametrize("name", WITHOUT_METHOD)
def test_where_no_method_is_known_the_reply_has_both_ids_as_null(gateway: Served, name: str) -> None:
    """Every refusal that comes before the method is JSON of the contract's shape with both id keys."""
    provoke, expected = WITHOUT_METHOD[name]

    assert expected == refused_as(provoke(gateway), BOTH_IDS)


@pytest.mark.parametrize(
    ("body", "id_key", "expected"),
    [
        (charge(amount=None), "charge_id", (400, "missing_field")),
        (charge(cardnumber=4111111111111111), "charge_id", (400, "invalid_field")),
        (charge(cardnumber="4111111111111112"), "charge_id", (200, "invalid_card_number")),
        (charge(parameters={"sandbox_outcome": "lost_card"}), "charge_id", (200, "lost_card")),
        (charge(parameters={"operation": "refund"}), "charge_id", (200, "not_permitted")),
        (tokenize(expiry_year="20"), "token_id", (200, "expired_card")),
        (tokenize(cardnumber=None), "token_id", (400, "missing_field")),
        (debit(routingnumber="123456789"), "charge_id", (200, "invalid_routing_number")),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_failure_has_the_id_of_its_method_as_null(
    gateway: Served, body: dict[str, object], id_key: str, expected: tuple[int, str]
) -> None:
    """A refusal or decline of a known method has that method's id key, and not the other."""
    assert expected == refused_as(ask(gateway, body), {id_key})


@pytest.mark.parametrize(
    ("make", "id_key"),
    [(charge, "charge_id"), (debit, "charge_id"), (tokenize, "token_id")],
    ids=["card", "bank", "token"],
)
def test_a_success_is_an_id_and_no_error(gateway: Served, make: Callable[..., dict[str, object]], id_key: str) -> None:
    """A success has its id, a null code and message, and parameters that are strings; ids are letters, and differ."""
    replies = [ask(gateway, make()).json() for _turn in range(5)]

    assert all({id_key, "error_code", "error_message", "parameters"} == reply.keys() for reply in replies)
    assert all(reply["error_code"] is None and reply["error_message"] is None for reply in replies)
    assert {str} == {type(value) for reply in replies for value in reply["parameters"].values()}
    assert all(ID.fullmatch(reply[id_key]) for reply in replies)
    assert 5 == len({reply[id_key] for reply in replies})


def test_every_reply_has_an_id_of_its_own_that_the_log_has_too(gateway: Served) -> None:
    """Successes, refusals of every kind, and pages: each `X-Request-Id` is in the log, and no two are the same."""
    replies = [provoke(gateway) for provoke, _expected in WITHOUT_METHOD.values()]
    replies += [ask(gateway, make()) for make in (charge, tokenize, debit)]
    replies += [ask(gateway, charge(amount="0"))]
    replies += [send(gateway, page, method="GET") for page in ("/healthz", "/readyz", "/openapi.yaml")]

    ids = [reply.headers["x-request-id"] for reply in replies]

    assert len(ids) == len(set(ids))
    for id_ in ids:
        assert REQUEST_ID.fullmatch(id_)
        assert until(lambda id_=id_: events(gateway, request_id=id_))  # type: ignore[misc]  # mypy infers no default


def test_the_log_of_a_payment_says_what_became_of_it(gateway: Served) -> None:
    """The line has the request's, transaction's and charge's ids, the instance, the credential's kind and the code."""
    body = charge(parameters={"sandbox_outcome": "insufficient_funds"})

    reply = ask(gateway, body)

    (event,) = until(lambda: events(gateway, event="payment", transaction_id=body["transaction_id"]))
    expected = {
        "request_id": reply.headers["x-request-id"],
        "instance": "Default",
        "credential": "password",
        "method": "charge",
        "how": "first",
        "brand": "visa",
        "last4": "1111",
        "code": "insufficient_funds",
        "may_retry": True,
        "status": 200,
    }
    assert expected.items() <= event.items()
    assert ID.fullmatch(event["charge_id"])


# --- Paths and methods -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/charge", "/tokenize", "/i/"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_payments_are_posted(gateway: Served, path: str, method: str) -> None:
    """Every other HTTP method is a 405 that says which one to use, even with a right path secret."""
    if path == "/i/":
        path = gateway.act("instance add", unique_name=f"Path-{method}", path_secret=True)["path"]

    reply = send(gateway, path, method=method)

    assert (405, "POST") == (reply.status_code, reply.headers["allow"])
    assert REQUEST_ID.fullmatch(reply.headers["x-request-id"])
    assert (reply.content == b"") is (method == "HEAD")


@pytest.mark.parametrize("page", ["/healthz", "/readyz", "/openapi.yaml"])
def test_pages_are_read(gateway: Served, page: str) -> None:
    """A page that is posted to is a 405 that names GET."""
    reply = send(gateway, page, json=charge())

    assert 405 == reply.status_code
    assert "GET" in reply.headers["allow"].split(", ")


@pytest.mark.parametrize(
    "path",
    [
        "/charge/",
        "/Charge",
        "/i",
        "/i/",
        "//",
        "//charge",
        "/%2F",
        "/charge%00",
        "/..%2Fcharge",
        "/charge;a=b",
        "*",
        "/metrics",
        "/instances",
        "/docs",
        "/" + "a" * 60_000,
    ],
    ids=lambda path: path[:10],
)
def test_where_nothing_is_the_answer_is_a_404_of_the_contract(gateway: Served, wire: Wire, path: str) -> None:
    """Neighbours of real paths, odd, long and encoded ones; and metrics and management are not on this listener."""
    wire.request("POST", path, body=encoded(charge()), Authorization=credentials(gateway))

    reply = wire.hear()

    assert (404, "not_found") == (reply.status, reply.code)
    assert {"charge_id", "token_id"} < json.loads(reply.body).keys()


def test_a_path_that_http_cannot_carry_ends_the_connection(gateway: Served, wire: Wire) -> None:
    """What the HTTP parser refuses is outside the contract: a 400, the end of the connection, and nothing else."""
    wire.request("POST", "/" + "a" * 70_000)

    assert 400 == wire.hear().status
    assert wire.is_ended()
    assert ask(gateway, charge()).json()["error_code"] is None


@pytest.mark.parametrize("path", ["/?a=b", "/?transaction_id=1&x=%00", "/charge?" + "q" * 10_000, "/%63harge", "/#top"])
def test_queries_and_spellings_of_a_path_do_not_matter(gateway: Served, wire: Wire, path: str) -> None:
    """A query is ignored, and an encoded path is the path that it encodes."""
    wire.request("POST", path, body=encoded(charge()), Authorization=credentials(gateway))

    assert (200, None) == ((reply := wire.hear()).status, reply.code)


def test_the_legacy_paths_name_the_method(gateway: Served) -> None:
    """`/charge` and `/tokenize` take the body without `method`; one that contradicts the path is a 400."""
    paid, kept = charge(), tokenize()
    del paid["method"], kept["method"]

    assert "charge_id" in ask(gateway, paid, path="/charge").json()
    assert "token_id" in ask(gateway, kept, path="/tokenize").json()
    assert 400 == ask(gateway, charge(), path="/tokenize").status_code


# --- Connections -----------------------------------------------------------------------------------------------------


def test_a_connection_outlives_refusals(gateway: Served, wire: Wire) -> None:
    """After a 404, 405, 413, 401, 403, 400 and a decline the same connection takes the next payment."""
    right = credentials(gateway)
    requests: list[tuple[dict[str, Any], int]] = [
        ({"path": "/nothing", "body": b"x" * 100}, 404),
        ({"method": "PUT", "body": b"x" * 100}, 405),
        ({"body": b"x" * (BODY_BYTES_MAX + 1)}, 413),
        ({"body": b"x" * BODY_BYTES_MAX}, 401),
        ({"Authorization": credentials(gateway, "Disabled"), "body": b"x" * 100}, 403),
        ({"Authorization": right, "body": b"x" * 100}, 400),
        ({"Authorization": right, "body": encoded(charge(amount="2000"))}, 200),
        ({"Authorization": right, "body": encoded(charge())}, 200),
    ]

    for request, status in requests:
        wire.request(**request)

        assert status == wire.hear().status


def test_pipelined_payments_are_answered_in_their_order(gateway: Served, wire: Wire) -> None:
    """Payments sent without waiting for each other's answers are all made, once each, in order."""
    bodies = [charge(parameters={"reference": str(place)}) for place in range(5)]

    for body in bodies:
        wire.request(body=encoded(body), Authorization=credentials(gateway))
    replies = [json.loads(wire.hear().body) for _body in bodies]

    assert ["0", "1", "2", "3", "4"] == [reply["parameters"]["reference"] for reply in replies]
    assert [1] * 5 == [len(captured(gateway, body)) for body in bodies]


def test_a_caller_who_waits_for_100_continue_gets_it_once_the_credentials_hold(gateway: Served) -> None:
    """The body is asked for after path, method, size and credentials; a wrong credential is a 401 at once."""
    body = encoded(charge())
    with Wire(gateway) as right, Wire(gateway) as wrong:
        for wire, authorization in ((right, credentials(gateway)), (wrong, basic("ic", "no"))):
            wire.request(Authorization=authorization, Expect="100-continue", Content_Length=str(len(body)))

        assert 401 == wrong.hear().status
        assert 100 == right.hear().status
        right.send(body)
        assert (200, None) == ((reply := right.hear()).status, reply.code)


def test_http_1_0_is_answered_and_ended(gateway: Served, wire: Wire) -> None:
    """An old client gets its answer, and the end of the connection."""
    wire.request(version="1.0", body=encoded(charge()), Authorization=credentials(gateway))

    assert wire.hear().code is None
    assert wire.is_ended()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0\1\2\3\r\n\r\n",
        b"POST / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"POST /\xff HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nno colon\r\n\r\n",
    ],
    ids=["bytes", "version", "negative length", "two lengths", "smuggling", "raw bytes in the path", "no header"],
)
def test_what_is_no_http_ends_its_connection_and_no_other(gateway: Served, wire: Wire, garbage: bytes) -> None:
    """Garbage, and what proxies and servers read differently, is a 400 and the end; the gateway goes on."""
    wire.send(garbage)

    assert 400 == wire.hear().status
    assert wire.is_ended()
    assert ask(gateway, charge()).json()["error_code"] is None


# --- Bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "status"), [(BODY_BYTES_MAX, 200), (BODY_BYTES_MAX + 1, 413)])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["declared", "chunked"])
def test_sixteen_kibibytes_are_taken_and_not_a_byte_more(
    gateway: Served, wire: Wire, size: int, status: int, *, is_chunked: bool
) -> None:
    """A body of exactly 16384 bytes is paid, one of 16385 is a 413, whether its size was declared or not."""
    body = padded(size)
    assert size == len(body)

    if is_chunked:
        wire.request(
            Content_Length=None,
            Transfer_Encoding="chunked",
            Authorization=credentials(gateway),
            body=in_chunks(body),
        )
    else:
        wire.request(Authorization=credentials(gateway), body=body)

    assert status == wire.hear().status


@pytest.mark.parametrize(
    ("declared", "status"),
    [
        (str(10**19), 413),
        (str(2**64 - 1), 413),
        (str(10**8), 413),
        ("0" * 6000 + "16385", 413),
        ("0" * 6000 + "2", 401),
    ],
    ids=["20 digits", "the most that HTTP's parser takes", "100 MB", "zeros before 16385", "zeros before 2"],
)
def test_a_declared_size_is_read_however_it_is_written(wire: Wire, declared: str, status: int) -> None:
    """A size that is too large is a 413 before anything else is asked; zeros before it do not count."""
    wire.request(Content_Length=declared, body=b"{}")

    assert status == wire.hear().status


def test_the_rest_of_a_body_that_is_far_too_large_is_not_read(wire: Wire) -> None:
    """Beyond a megabyte it is cheaper to end the connection than to read on."""
    wire.request(Content_Length=str(10**8))

    assert (413, "close") == ((reply := wire.hear()).status, reply.headers["connection"])
    assert wire.is_ended()


@pytest.mark.parametrize("sent", [b"", b'{"method": "charge",'], ids=["nothing", "a part"])
def test_a_body_that_does_not_arrive_is_a_400_and_not_a_hang(tmp_path: Path, sent: bytes) -> None:
    """After `body_timeout` the caller hears `malformed_request`, and the connection ends."""
    with serve_gateway(tmp_path, environment={"body_timeout": "0.3"}) as served:
        served.add("Default")
        with Wire(served) as wire:
            wire.request(Authorization=credentials(served), body=sent, Content_Length="500")

            assert (400, "malformed_request") == ((reply := wire.hear()).status, reply.code)
            assert wire.is_ended()


def test_a_caller_who_hangs_up_in_the_middle_of_a_body_has_paid_nothing(gateway: Served) -> None:
    """Half a body is no payment: nothing is claimed, and it is logged as a caller who left."""
    body, before = charge(), len(events(gateway, event="caller_left"))
    half = encoded(body)[:-20]
    with Wire(gateway) as wire:
        wire.request(Authorization=credentials(gateway), body=half, Content_Length=str(len(half) + 20))

    until(lambda: len(events(gateway, event="caller_left")) > before)
    found = gateway.run(gateway.parts.store.find(1, body["transaction_id"]))

    assert found is None
    assert [] == captured(gateway, body)


@pytest.mark.parametrize("kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "a;b;c"])
def test_the_body_is_json_whatever_its_type_says(gateway: Served, wire: Wire, kind: str | None) -> None:
    """A missing, empty or wrong `Content-Type` changes nothing."""
    wire.request(Content_Type=kind, Authorization=credentials(gateway), body=encoded(charge()))

    assert wire.hear().code is None


# --- Limits ----------------------------------------------------------------------------------------------------------


def test_an_instances_rate_is_for_new_payments_only(gateway: Served) -> None:
    """Over its rate an instance hears 429 and when to come again; what it has paid already is told as ever."""
    gateway.add("Slow", rate=1)
    first, second = charge(), charge()

    paid = ask(gateway, first, "Slow")
    refused = ask(gateway, second, "Slow")
    again = ask(gateway, first, "Slow")
    gateway.clock.forward(1)
    later = ask(gateway, second, "Slow")

    assert (429, "too_many_requests") == refused_as(refused, BOTH_IDS)
    assert "1" == refused.headers["retry-after"]
    assert paid.content == again.content
    assert later.json()["error_code"] is None
    assert (1, 1) == (len(captured(gateway, first)), len(captured(gateway, second)))


def test_a_rate_is_its_instances_own(gateway: Served) -> None:
    """Where one instance has used up its rate, the others pay as ever."""
    gateway.add("Busy", rate=1)
    codes = [ask(gateway, charge(), "Busy").json()["error_code"] for _turn in range(3)]

    assert [None, "too_many_requests", "too_many_requests"] == codes
    assert ask(gateway, charge()).json()["error_code"] is None


def test_a_replay_takes_nothing_of_the_rate(gateway: Served) -> None:
    """However often a payment is asked for again, the next new one is let through."""
    gateway.add("Repeating", rate=2)
    body = charge()

    replies = {ask(gateway, body, "Repeating").content for _turn in range(10)}

    assert 1 == len(replies)
    assert ask(gateway, charge(), "Repeating").json()["error_code"] is None


def test_payments_at_once_are_limited_for_new_ones_only(held: tuple[Served, Held]) -> None:
    """With the server's limit at work a third payment is a 429 at once; a retry of the first waits with it."""
    served, processor = held
    bodies = [charge(cardnumber=LIVE_VISA) for _turn in range(3)]
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(ask, served, body) for body in bodies[:2]]
        until(lambda: len(processor.asked) == 2)
        refused = ask(served, bodies[2])
        retry = pool.submit(ask, served, bodies[0])
        asked_again = served.parts.connector.at_work
        served.call(processor.let_go.set)
        replies = [one.result() for one in waiting]

    assert (429, "too_many_requests") == refused_as(refused, BOTH_IDS)
    assert "1" == refused.headers["retry-after"]
    assert 2 == asked_again
    assert [None, None] == [reply.json()["error_code"] for reply in replies]
    assert replies[0].content == retry.result().content
    assert ask(served, bodies[2]).json()["error_code"] is None


# --- Duplicates, and purchases that take long ------------------------------------------------------------------------


def test_deliveries_of_one_payment_at_once_are_one_purchase(gateway: Served) -> None:
    """Sixty-four deliveries that come together get the same bytes, and one purchase is in the book."""
    body = charge(parameters={"sandbox_delay_ms": "200"})
    with gateway.client() as client, ThreadPoolExecutor(AT_ONCE) as pool:
        deliveries: list[Future[httpx.Response]] = [
            pool.submit(client.post, "/", json=body) for _turn in range(AT_ONCE)
        ]
        replies = [delivery.result() for delivery in deliveries]

    assert 1 == len({reply.content for reply in replies})
    assert 1 == len(captured(gateway, body))
    assert replies[0].json()["error_code"] is None
    assert AT_ONCE == len({reply.headers["x-request-id"] for reply in replies})


def test_a_transaction_id_means_one_payment(gateway: Served) -> None:
    """The same id with another amount, card or method is refused, and buys nothing."""
    body = charge()
    ask(gateway, body)

    others = [
        {**body, "amount": "10.01"},
        {**body, "cardnumber": "5555555555554444"},
        {**body, "method": "tokenize"},
        {**body, "parameters": {"save_card": "true"}},
    ]

    assert ["transaction_id_reused"] * 4 == [ask(gateway, other).json()["error_code"] for other in others]
    assert ["10.00"] == [f"{line['amount_minor'] / 100:.2f}" for line in captured(gateway, body)]


def test_a_transaction_id_belongs_to_its_instance(gateway: Served) -> None:
    """Two merchants may use the same id."""
    gateway.add("Other")
    body = charge()

    ids = {ask(gateway, body, instance).json()["charge_id"] for instance in ("Default", "Other")}

    assert 2 == len(ids)
    assert 2 == len(captured(gateway, body))


@pytest.mark.parametrize(("takes_ms", "patience_s"), [("1500", 1.0), ("11000", 10.0)], ids=["quick", "as Twilio waits"])
def test_a_purchase_that_outlasts_the_caller_is_told_to_the_retry(
    gateway: Served, takes_ms: str, patience_s: float
) -> None:
    """The first caller gives up; the retry gets the id of the one purchase that was made."""
    body = charge(parameters={"sandbox_delay_ms": takes_ms})
    with gateway.client() as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/", json=body, timeout=patience_s)

        retry = client.post("/", json=body, timeout=patience_s)

    assert (200, None) == (retry.status_code, retry.json()["error_code"])
    assert 1 == len(captured(gateway, body))


def test_a_caller_who_leaves_cancels_nothing(held: tuple[Served, Held]) -> None:
    """The purchase goes on without its caller, who is seen to have left; whoever asks again hears of it."""
    served, processor = held
    body = charge(cardnumber=LIVE_VISA)
    with Wire(served) as wire:
        wire.request(Authorization=credentials(served), body=encoded(body))
        until(lambda: processor.asked)
    until(lambda: events(served, event="caller_left"))
    served.call(processor.let_go.set)
    until(lambda: events(served, event="unheard"))
    left, unheard = events(served, event="caller_left")[-1], events(served, event="unheard")[-1]
    assert [body["transaction_id"]] * 2 == [left["transaction_id"], unheard["transaction_id"]]
    assert ("approved", "Default") == (unheard["state"], left["instance"])

    retry = ask(served, body)

    assert "HELD01" == retry.json()["parameters"]["authorization_code"]
    assert 1 == len(processor.asked)


# --- Pages -----------------------------------------------------------------------------------------------------------


def test_healthz_says_that_the_process_lives(gateway: Served) -> None:
    """It asks for no credentials."""
    reply = send(gateway, "/healthz", method="GET", instance=None)

    assert (200, {"status": "alive"}) == (reply.status_code, reply.json())


def test_readyz_says_that_payments_can_come(gateway: Served) -> None:
    """Store and keys are usable, and the processors can be reached."""
    reply = send(gateway, "/readyz", method="GET", instance=None)

    expected = {"status": "ready", "store": "ok", "keys": "ok", "processors": {"sandbox": "ok", "live": "ok"}}
    assert (200, expected) == (reply.status_code, reply.json())


def test_a_processor_that_cannot_be_reached_is_told_and_no_reason_to_refuse_calls(tmp_path: Path) -> None:
    """One that says no, one that raises and one that hangs: the gateway is ready all the same."""
    odd = {kind: Odd(kind) for kind in ("says no", "raises", "hangs")}
    with serve_gateway(tmp_path, processors=odd) as served:
        reply = send(served, "/readyz", method="GET", instance=None)

    assert (200, "ready") == (reply.status_code, reply.json()["status"])
    expected = {"says no": "unreachable", "raises": "unknown", "hangs": "unreachable"}
    assert expected.items() <= reply.json()["processors"].items()


def test_without_its_store_the_gateway_is_not_ready_and_takes_nothing(tmp_path: Path) -> None:
    """A payment that cannot be claimed is a 503, nothing is sent, and the same payment goes through afterwards."""
    with serve_gateway(tmp_path) as served:
        served.add("Default")
        body, connection = charge(), served.parts.store.journal.connection
        ask(served, charge())
        served.call(lambda: connection.execute("ALTER TABLE ledger RENAME TO lost"))
        ready, reply = send(served, "/readyz", method="GET", instance=None), ask(served, body)
        sent = captured(served, body)
        served.call(lambda: connection.execute("ALTER TABLE lost RENAME TO ledger"))
        again = ask(served, body)

    assert (503, "not_ready", "unusable") == (ready.status_code, ready.json()["status"], ready.json()["store"])
    assert (503, "store_unavailable") == refused_as(reply, BOTH_IDS)
    assert [] == sent
    assert again.json()["error_code"] is None


def test_a_key_that_has_made_all_its_seals_is_not_ready(tmp_path: Path) -> None:
    """Nothing more is vaulted, which `/readyz` says; charges that keep no card go on."""
    with serve_gateway(tmp_path) as served:
        served.add("Default")
        key = served.parts.keyring.active(Purpose.SEAL)
        served.call(lambda: served.parts.store.reserve_seals(key.id, SEALS_MAX))
        kept, paid = ask(served, tokenize()), ask(served, charge())
        ready = send(served, "/readyz", method="GET", instance=None)

    assert (503, "store_unavailable") == refused_as(kept, BOTH_IDS)
    assert paid.json()["error_code"] is None
    assert (503, "not_ready", "unusable") == (ready.status_code, ready.json()["status"], ready.json()["keys"])


def test_readyz_says_that_nothing_can_be_written(tmp_path: Path) -> None:
    """After a claim that failed it is a 503 until the file can be written again; until then retries hear the truth."""
    with serve_gateway(tmp_path) as served:
        served.add("Default")
        body = charge()
        paid = ask(served, body)
        served.parts.store.journal.connection.execute("PRAGMA busy_timeout = 20")
        with contextlib.closing(sqlite3.connect(served.parts.home / "ledger.db", isolation_level=None)) as stranger:
            stranger.execute("BEGIN IMMEDIATE")
            new, again = ask(served, charge()), ask(served, body)
            locked = send(served, "/readyz", method="GET", instance=None)
            stranger.execute("ROLLBACK")
        well = send(served, "/readyz", method="GET", instance=None)

    assert (503, "store_unavailable") == refused_as(new, BOTH_IDS)
    assert paid.content == again.content
    assert (503, "unusable") == (locked.status_code, locked.json()["store"])
    assert 200 == well.status_code


def test_while_it_drains_the_gateway_refuses_what_is_new_and_tells_what_was(tmp_path: Path) -> None:
    """A new payment is a 503, `/readyz` is a 503, and a retry of what was paid gets its bytes."""
    with serve_gateway(tmp_path) as served:
        served.add("Default")
        body = charge()
        paid = ask(served, body)
        served.run(served.parts.connector.drain())
        new, again = ask(served, charge()), ask(served, body)
        ready, alive = (send(served, page, method="GET", instance=None) for page in ("/readyz", "/healthz"))

    assert (503, "store_unavailable") == refused_as(new, BOTH_IDS)
    assert paid.content == again.content
    assert (503, "draining") == (ready.status_code, ready.json()["status"])
    assert 200 == alive.status_code


def test_the_description_of_the_interface_is_served(gateway: Served) -> None:
    """`/openapi.yaml` is the file that people read and tests check against."""
    reply = send(gateway, "/openapi.yaml", method="GET", instance=None)

    assert (Path(__file__).parents[1] / "openapi.yaml").read_bytes() == reply.content
    assert {"/", "/charge", "/tokenize"} <= yaml.safe_load(reply.content)["paths"].keys()


# --- Instances: modes, permissions, saved cards ----------------------------------------------------------------------


def test_a_test_instance_takes_the_published_numbers_only(gateway: Served) -> None:
    """A real card number, or an account that is not published, is refused, and reaches no processor."""
    bodies = [charge(cardnumber=LIVE_VISA), tokenize(cardnumber=LIVE_VISA), debit(bankaccountnumber="55443322")]

    assert ["test_number_required"] * 3 == [ask(gateway, body).json()["error_code"] for body in bodies]
    assert [] == [line for body in bodies for line in captured(gateway, body)]


@pytest.mark.parametrize("number", PUBLISHED_CARDS)
def test_a_live_instance_refuses_the_published_cards(gateway: Served, number: str) -> None:
    """Test numbers are told apart before Luhn, which one of them fails; the processor never hears of them."""
    asked = len(gateway.live.asked)

    reply = ask(gateway, charge(cardnumber=number, cvv=None), "Live")

    assert "live_number_required" == reply.json()["error_code"]
    assert asked == len(gateway.live.asked)


def test_a_live_instance_charges_real_numbers(gateway: Served) -> None:
    """The live processor gets the very number, the CVV, the amount and the merchant's parameters; it answers."""
    body = charge(cardnumber=LIVE_VISA, cvv="987", amount="12.34", parameters={"order": "7", "sandbox_outcome": "hang"})

    reply = ask(gateway, body, "Live")

    purchase = gateway.live.asked[-1]
    assert isinstance(purchase.instrument, Card)
    assert purchase.instrument.cvv is not None
    assert (LIVE_VISA, "987") == (purchase.instrument.pan.reveal(), purchase.instrument.cvv.reveal())
    assert purchase.money is not None
    assert (1234, "USD") == (purchase.money.minor, purchase.money.currency.code)
    assert ({"order": "7"}, {}) == (purchase.metadata, purchase.controls)
    assert "LIVE01" == reply.json()["parameters"]["authorization_code"]


def test_money_that_moves_and_money_that_does_not_are_kept_apart(gateway: Served) -> None:
    """A live instance cannot have the sandbox, nor a test instance a processor that moves real money."""
    for arguments in ({"mode": "live", "processor": "sandbox"}, {"mode": "test", "processor": "live"}):
        with pytest.raises(RefusedError, match="cannot use"):
            gateway.add("Wrong", **arguments)


@pytest.mark.parametrize(
    ("allow", "codes"), [("charge", [None, "not_permitted"]), ("tokenize", ["not_permitted", None])]
)
def test_an_instance_does_what_it_may(gateway: Served, allow: str, codes: list[str | None]) -> None:
    """What an instance was not allowed at its making is a 200 `not_permitted`, and buys nothing."""
    gateway.add(f"Only-{allow}", allow=[allow])

    replies = [ask(gateway, make(), f"Only-{allow}") for make in (charge, tokenize)]

    assert [200, 200] == [reply.status_code for reply in replies]
    assert codes == [reply.json()["error_code"] for reply in replies]


def test_a_security_code_can_be_demanded(gateway: Served) -> None:
    """Then a card without one is `invalid_cvv`; bank accounts have none, and other instances do not mind."""
    gateway.add("Careful", require_cvv=True)

    codes = [ask(gateway, body, "Careful").json()["error_code"] for body in (charge(cvv=None), charge(), debit())]

    assert ["invalid_cvv", None, None] == codes
    assert ask(gateway, charge(cvv=None)).json()["error_code"] is None


def test_a_charge_can_save_its_card(gateway: Served) -> None:
    """`save_card` adds a token that is active; the card that it keeps is the one that was charged."""
    parameters = ask(gateway, charge(parameters={"save_card": "true"})).json()["parameters"]

    token = vaulted(gateway, parameters["token_id"])
    assert token is not None
    place = Place("vault", token.instance_id, token.token_id, "sealed")
    kept = gateway.parts.keyring.unseal(token.sealed, place)
    assert isinstance(kept, Card)
    assert (True, VISA, None) == (token.is_active, kept.pan.reveal(), kept.cvv)
    assert ID.fullmatch(parameters["token_id"])


def test_a_card_is_saved_only_where_that_was_asked_for(gateway: Served) -> None:
    """A plain charge has no token, and a declined one leaves nothing in the vault."""
    before = gateway.call(lambda: count_tokens(gateway.parts.store.journal.connection))

    plain = ask(gateway, charge()).json()
    declined = ask(gateway, charge(parameters={"save_card": "true", "sandbox_outcome": "card_declined"})).json()

    assert before == gateway.call(lambda: count_tokens(gateway.parts.store.journal.connection))
    assert "token_id" not in plain["parameters"]
    assert ("card_declined", False) == (declined["error_code"], "token_id" in declined["parameters"])


def test_saving_a_card_needs_the_permission_to_tokenize(gateway: Served) -> None:
    """An instance that may only charge is refused, and nothing is charged either."""
    gateway.add("Charges", allow=["charge"])
    body = charge(parameters={"save_card": "true"})

    assert "not_permitted" == ask(gateway, body, "Charges").json()["error_code"]
    assert [] == captured(gateway, body)


def test_an_instance_can_save_every_card_that_it_charges(gateway: Served) -> None:
    """With `save_card_on_charge` each success has a token, unless the credential may not tokenize: then it charges."""
    gateway.add("Saving", save_card_on_charge=True)
    issued = gateway.act("access-token issue", instance="Saving", scopes=["charge"], expires_in_s=60)

    with_password = ask(gateway, charge(), "Saving").json()
    with_token = send(
        gateway, instance=None, json=charge(), headers={"Authorization": f"Bearer {issued['token']}"}
    ).json()

    assert ID.fullmatch(with_password["parameters"]["token_id"])
    assert (None, False) == (with_token["error_code"], "token_id" in with_token["parameters"])


# --- What the IVR hears ----------------------------------------------------------------------------------------------


def test_a_card_charge_tells_the_ivr_what_it_can_say(gateway: Served) -> None:
    """Status, brand, last four, the authorization code, the reference, and nine digits to read out."""
    parameters = ask(gateway, charge(parameters={"reference": "A-17"})).json()["parameters"]

    assert re.fullmatch(r"[0-9]{9}", parameters.pop("confirmation_number"))
    assert parameters.pop("authorization_code")
    expected = {"status": "approved", "card_brand": "visa", "card_last4": "1111", "reference": "A-17"}
    assert expected.items() <= parameters.items()


def test_a_bank_account_is_submitted_and_not_approved(gateway: Served) -> None:
    """An ACH debit may still come back: its status says so."""
    parameters = ask(gateway, debit()).json()["parameters"]

    assert {"status": "submitted", "bank_last4": "6789"}.items() <= parameters.items()
    assert not {"card_brand", "card_last4"} & parameters.keys()


def test_a_saved_card_is_told_as_saved(gateway: Served) -> None:
    """A tokenize has the status `saved`, brand and last four, and no confirmation number: nothing was bought."""
    parameters = ask(gateway, tokenize(cardnumber="378282246310005", cvv="1234")).json()["parameters"]

    assert {"status": "saved", "card_brand": "amex", "card_last4": "0005"}.items() <= parameters.items()
    assert "confirmation_number" not in parameters


def test_a_decline_echoes_the_reference(gateway: Served) -> None:
    """The IVR can tell which order it was that did not go through."""
    reply = ask(gateway, charge(parameters={"reference": "A-18", "sandbox_outcome": "lost_card"})).json()

    assert {"status": "declined", "reference": "A-18"}.items() <= reply["parameters"].items()


@pytest.mark.parametrize("number", [LIVE_VISA, LIVE_AMEX])
def test_a_card_number_in_a_reference_is_masked(gateway: Served, number: str) -> None:
    """Whoever's number it is: what the IVR reads out and the ledger keeps has stars in its place."""
    spaced = " ".join(re.findall(".{1,4}", number))
    for written in (number, spaced):
        reply = ask(gateway, charge(parameters={"reference": f"card {written}"})).json()

        assert "*" in reply["parameters"]["reference"]
        assert written not in reply["parameters"]["reference"]


# --- A processor's own words -----------------------------------------------------------------------------------------


class Careless(ApproveAll):
    """Puts what it was given into what it says."""

    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        assert isinstance(purchase.instrument, Card)
        assert purchase.instrument.cvv is not None
        number, cvv = purchase.instrument.pan.reveal(), purchase.instrument.cvv.reveal()
        return Approved(authorization_code=number, processor_reference=f"for {number}", avs_result="Y", cvv_result=cvv)


def test_what_a_careless_processor_says_is_scrubbed_before_it_is_kept_or_echoed(tmp_path: Path) -> None:
    """A card number in an authorization code or reference is masked, and what is longer than a result code is none."""
    with serve_gateway(tmp_path / "home", processors={"careless": Careless()}) as served:
        served.add("Live", mode="live", processor="careless")
        with served.client("Live") as client:
            reply = client.post("/", json=charge(cardnumber=LIVE_VISA, cvv="987")).json()
        rows = served.call(lambda: served.parts.store.journal.connection.execute("SELECT * FROM ledger").fetchall())

    assert reply["parameters"]["authorization_code"] == "*" * 12 + LIVE_VISA[-4:]
    assert reply["parameters"]["avs_result"] == "Y"
    assert "cvv_result" not in reply["parameters"]
    assert LIVE_VISA not in str(rows)
