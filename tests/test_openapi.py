"""openapi.yaml is the contract: every request that is made here and every reply is held against it.

- The document by itself: valid, its error table the code's, its examples true to the schemas beside them.
- `Checked`, a client through which all requests go. It fails where a reply is not what the document says, and where a
  body that keeps to the schema is refused as no contract request, or one that does not is let through.
- What JSON Schema cannot say is listed (`BEYOND_SCHEMA`), each with a request that shows it.
- Every error code is produced by a request (`PRODUCED`), every example of the document is sent. That all the rest of
  the document comes true, and that a document with any mistake is found out, is for `test_openapi_tour.py`.
- schemathesis makes requests from the document alone, for each dialect, over TLS, in all of its phases and with all of
  its checks, and follows the retry links. Each check is shown to notice its mistake.
"""

import copy
import itertools
import json
import os
import ssl
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import schemathesis
from hatchling.build import build_wheel
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.engine import Status, events, from_schema
from schemathesis.engine.recorder import CheckNode, Request, ScenarioRecorder

from caller import LIVE_VISA, VISA, basic, charge, debit, tokenize
from described import OPENAPI_YAML, Description, Told, without_chance
from generic_connector.bank import PUBLISHED_ACCOUNTS
from generic_connector.card import PUBLISHED_CARDS
from generic_connector.contract.body import BODY_BYTES_MAX
from generic_connector.contract.errors import ERRORS, Code, ErrorCode
from generic_connector.contract.request import Refusal, parse
from generic_connector.instance import Dialect
from generic_connector.payment import DeclineCode, LookUpResult, PurchaseResult, Unknown
from generic_connector.ports import Purchase
from generic_connector.web.gateway import PATHS
from mutations import Mutator
from serving import ApproveAll, Served, serve_gateway
from wire_cases import WIRE_CASES, WireCase

ROOT = OPENAPI_YAML.parent
DESCRIPTION = Description.read()
DOCUMENT: Mapping[str, Any] = DESCRIPTION.document
PAYMENT_PATHS = ["/", "/charge", "/tokenize", "/i/{secret}"]


# --- The document by itself ------------------------------------------------------------------------------------------


def test_the_document_is_openapi_3_1() -> None:
    """openapi.yaml is a valid OpenAPI 3.1 document."""
    assert "3.1.0" == DOCUMENT["openapi"]
    assert [] == list(OpenAPIV31SpecValidator(dict(DOCUMENT)).iter_errors())


def test_the_error_table_of_the_code_is_the_documents() -> None:
    """Every code stands in both tables once, in one order, with one status and one advice on whether to try again."""
    documented = [(each["code"], each["status"], each["may_retry"]) for each in DOCUMENT["x-error-codes"]]

    assert [(str(code), entry.status, entry.may_retry) for code, entry in ERRORS.items()] == documented
    assert [*ErrorCode, *DeclineCode] == list(ERRORS)
    assert all(each["meaning"] and each["ivr"] for each in DOCUMENT["x-error-codes"])


def test_what_can_be_mended_by_keying_it_in_anew_may_be_retried() -> None:
    """A caller who mistyped may try again; a caller whose card is no good, or whose money may have moved, may not."""
    keyed_anew: set[Code] = {
        ErrorCode.INVALID_CARD_NUMBER, ErrorCode.INVALID_EXPIRY, ErrorCode.INVALID_CVV, ErrorCode.INVALID_POSTAL_CODE,
        ErrorCode.INVALID_ROUTING_NUMBER, ErrorCode.INVALID_ACCOUNT_NUMBER, DeclineCode.INCORRECT_CVV,
        DeclineCode.INCORRECT_POSTAL_CODE,
    }  # fmt: skip
    for_good: set[Code] = {
        ErrorCode.OUTCOME_UNKNOWN, ErrorCode.TRANSACTION_ID_REUSED, ErrorCode.EXPIRED_CARD, DeclineCode.LOST_CARD,
        DeclineCode.STOLEN_CARD, DeclineCode.ACCOUNT_CLOSED, DeclineCode.NO_ACCOUNT, DeclineCode.ACH_RETURNED,
    }  # fmt: skip

    assert all(ERRORS[code].may_retry for code in keyed_anew)
    assert not any(ERRORS[code].may_retry for code in for_good)


def test_each_code_stands_in_the_enumeration_of_its_status() -> None:
    """The schemas of the replies know every code, each under the one status that it has."""
    enumerated = {
        200: ["PaymentErrorCode", "DeclineCode"],
        400: ["BadRequestCode"],
        401: ["UnauthorizedCode"],
        403: ["InstanceDisabledCode"],
        404: ["NotFoundCode"],
        405: ["MethodNotAllowedCode"],
        413: ["PayloadTooLargeCode"],
        429: ["TooManyRequestsCode"],
        503: ["UnavailableCode"],
    }
    schemas = DOCUMENT["components"]["schemas"]
    codes = {status: [code for name in names for code in schemas[name]["enum"]] for status, names in enumerated.items()}

    assert codes == {status: [code for code, entry in ERRORS.items() if entry.status == status] for status in codes}
    assert len(ERRORS) == sum(map(len, codes.values()))
    assert list(DeclineCode) == schemas["DeclineCode"]["enum"]


def test_every_code_is_in_the_readme() -> None:
    """Whoever reads only the README has seen every error code."""
    readme = (ROOT / "README.md").read_text()

    assert [] == [str(code) for code in ERRORS if f"`{code}`" not in readme]


def examples() -> Iterator[tuple[str, str, Any]]:
    """Every example in the document: where it stands, the pointer of the schema beside it, and its value."""
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            if method == "parameters":
                continue
            parts = [("requestBody",)] if "requestBody" in operation else []
            for part in [*parts, *(("responses", status) for status in operation["responses"])]:
                pointer, holder = DESCRIPTION.find("paths", path, method, *part)
                for media_type, content in holder["content"].items():
                    schema = f"{pointer}/content/{media_type.replace('/', '~1')}/schema"
                    found = {name: _value(example) for name, example in content.get("examples", {}).items()}
                    if "example" in content:
                        found["example"] = content["example"]
                    for name, value in found.items():
                        yield " ".join((path, method, *part, name)), schema, value


def _value(example: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
    _, found = DESCRIPTION.find(*example["$ref"].split("/")[1:]) if "$ref" in example else ("", example)
    return found["value"]


EXAMPLES = {name: (pointer, value) for name, pointer, value in examples()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_keeps_to_the_schema_beside_it(name: str) -> None:
    """What the document shows is what it describes, requests and replies alike."""
    pointer, value = EXAMPLES[name]

    assert [] == [error.message for error in DESCRIPTION.validator(pointer).iter_errors(value)]


def test_every_path_of_the_gateway_is_documented() -> None:
    """The payment paths of the code, the path of secrets, and the three pages are the document's paths."""
    assert {*PATHS, "/i/{secret}", "/healthz", "/readyz", "/openapi.yaml"} == set(DOCUMENT["paths"])


# --- A client that lets nothing pass that is not described ------------------------------------------------------------


class Checked:
    """Sends requests to a gateway, and fails where a request or its reply is not what the document says.

    A body is judged by the schema of its path and of the instance's dialect. Where a request that keeps to it is a 400
    all the same, `beyond` says why JSON Schema cannot tell.
    """

    def __init__(self, served: Served) -> None:
        self.served = served
        self.paths: dict[str, str] = {}
        self._dialects: dict[str | None, str] = {None: "twilio"}
        self._client = httpx.Client(base_url=served.url, verify=served.tls, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._client.close()

    def add(self, unique_name: str, **arguments: object) -> None:
        """Add an instance."""
        added = self.served.add(unique_name, **arguments)
        self._dialects[unique_name] = added["dialect"]
        self.paths[unique_name] = added.get("path", "/")

    def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        instance: str | None = "Default",
        headers: Mapping[str, str] | None = None,
        beyond: str = "",
    ) -> httpx.Response:
        """Send a request, hold it and its reply against the document, and return the reply."""
        sent = dict(headers or {})
        if instance is not None and not path.startswith("/i/"):
            sent.setdefault("Authorization", basic(*self.served.credentials[instance]))
        reply = self._client.request(method, path, content=body, headers=sent)
        told = Told(reply.status_code, reply.headers.multi_items(), reply.content)
        assert [] == DESCRIPTION.faults(method, path, told), reply.text
        if reply.status_code in {200, 400, 402} and DESCRIPTION.template(path) in PAYMENT_PATHS:
            keeps = DESCRIPTION.accepts(path, self._dialects[instance], body)
            assert keeps is (reply.status_code != 400 or bool(beyond)), (beyond, reply.text)
        return reply

    def pay(self, body: Mapping[str, object], *, instance: str = "Default", path: str | None = None) -> httpx.Response:
        """Send a payment to an instance, by its path secret where it has one."""
        return self.send("POST", path or self.paths[instance], json.dumps(body).encode(), instance=instance)


class Silent(ApproveAll):
    """Never says what became of anything."""

    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        self.asked.append(purchase)
        return Unknown("told to be silent")

    async def look_up(self, idempotency_key: str) -> LookUpResult:  # noqa: ARG002 - the port's signature
        return Unknown("told to be silent")


class Broken(ApproveAll):
    """Raises where the connector asks before anything is claimed."""

    def check(self, purchase: Purchase) -> str | None:  # noqa: ARG002 - the port's signature
        raise ZeroDivisionError


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checked]:
    """A gateway with an instance for everything that these tests need."""
    processors = {"silent": Silent(), "broken": Broken()}
    home = tmp_path_factory.mktemp("home")
    with serve_gateway(home, processors=processors) as served, Checked(served) as checked:
        checked.add("Default")
        checked.add("Live", mode="live", processor="live")
        checked.add("Silent", mode="live", processor="silent")
        checked.add("Broken", mode="live", processor="broken")
        checked.add("Slow", rate=1)
        checked.add("Charges", allow=["charge"])
        checked.add("Telnyx", dialect="telnyx")
        checked.add("SignalWire", dialect="signalwire", path_secret=True)
        checked.add("Disabled")
        served.act("instance disable", unique_name="Disabled")
        yield checked


def test_the_client_finds_what_is_not_as_described(gateway: Checked) -> None:
    """A reply that differs from the document in any one point is found: the judge is not blind."""
    reply = gateway.pay(charge())
    good = Told(200, reply.headers.multi_items(), reply.content)
    body = reply.json()
    without_id = [(name, value) for name, value in good.headers if name != "x-request-id"]
    html = [*without_id, ("content-type", "text/html"), ("x-request-id", "r")]
    spoilt = {
        "an undocumented status": Told(500, good.headers, good.body),
        "no X-Request-Id": Told(200, without_id, good.body),
        "two of them": Told(200, [*good.headers, ("X-Request-Id", "r")], good.body),
        "HTML": Told(200, html, b"<html></html>"),
        "cut short": Told(200, good.headers, good.body[:-1]),
        "a status for another code": Told(401, good.headers, good.body),
        "a header of another reply": Told(200, [*good.headers, ("retry-after", "1")], good.body),
        "no charge_id": Told(200, good.headers, json.dumps({**body, "charge_id": None}).encode()),
        "an unknown key": Told(200, good.headers, json.dumps({**body, "cardnumber": VISA}).encode()),
        "a number as parameter": Told(200, good.headers, json.dumps({**body, "parameters": {"n": 1}}).encode()),
        "a key twice": Told(200, good.headers, good.body.replace(b"{", b'{"charge_id":null,', 1)),
    }

    assert [] == DESCRIPTION.faults("POST", "/", good)
    assert [] == [name for name, told in spoilt.items() if not DESCRIPTION.faults("POST", "/", told)]


# --- The corpus ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def carriers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checked]:
    """A gateway with every instance that the corpus names."""
    with serve_gateway(tmp_path_factory.mktemp("home")) as served, Checked(served) as checked:
        for name, (mode, dialect) in {case.instance: (case.mode, case.dialect) for case in WIRE_CASES}.items():
            checked.add(name, mode=mode, dialect=dialect, processor="live" if mode == "live" else "sandbox")
        yield checked


CORPUS_BEYOND_SCHEMA = {
    "duplicate-key": "JSON Schema sees an object's last value of each key, and not that there were two."
}


@pytest.mark.parametrize("case", WIRE_CASES, ids=lambda case: case.name)
def test_the_corpus_keeps_to_the_document(carriers: Checked, case: WireCase) -> None:
    """What carriers put on the wire keeps to the request schema, unless it is a 400; every reply is described."""
    carriers.served.clock.put(datetime.combine(case.valid_on, time(12), UTC))
    headers = dict(case.headers) | ({} if case.content_type is None else {"Content-Type": case.content_type})
    beyond = CORPUS_BEYOND_SCHEMA.get(case.name, "")

    reply = carriers.send("POST", case.path, case.body, instance=case.instance, headers=headers, beyond=beyond)

    assert case.status == reply.status_code


# --- What JSON Schema cannot say -------------------------------------------------------------------------------------


def _with(member: str, body: Mapping[str, object]) -> bytes:
    """JSON with one more member, written as no JSON library would."""
    return f"{{{member},{json.dumps(body)[1:]}".encode()


def _charge(**fields: object) -> bytes:
    return json.dumps(charge(**fields)).encode()


SIGNALWIRE = {**tokenize(), "method": None}
BEYOND_SCHEMA: Mapping[str, tuple[ErrorCode, bytes]] = {
    "NaN is no JSON": (ErrorCode.MALFORMED_REQUEST, _with('"description":NaN', CHARGE := charge())),
    "nor is infinity": (ErrorCode.MALFORMED_REQUEST, _with('"description":-Infinity', CHARGE)),
    "a key stands twice": (ErrorCode.MALFORMED_REQUEST, _with('"amount":"1"', CHARGE)),
    "half a surrogate pair": (ErrorCode.MALFORMED_REQUEST, _charge(description="\ud800")),
    "nested deeper than 32": (ErrorCode.MALFORMED_REQUEST, _with(f'"deep":{"[" * 32 + "]" * 32}', CHARGE)),
    "transaction_id holds the card number": (ErrorCode.INVALID_FIELD, _charge(transaction_id=f"T-{VISA}")),
    "a parameter stands twice": (ErrorCode.INVALID_FIELD, _charge(parameters={"save_card": "true", "SaveCard": ""})),
    "the wrong type under another spelling": (ErrorCode.INVALID_FIELD, _charge(parameters={"Save-Card": []})),
    "too long under another spelling": (ErrorCode.INVALID_FIELD, _charge(parameters={"REFERENCE": "x" * 65})),
    "a reference that is a long number": (ErrorCode.INVALID_FIELD, _charge(parameters={"reference": 10**64})),
    "a list for the sandbox": (ErrorCode.INVALID_FIELD, _charge(parameters={"sandbox_outcome": ["approve"]})),
    "unknown to the sandbox": (ErrorCode.INVALID_FIELD, _charge(parameters={"sandbox_outcome": "applause"})),
    "SignalWire: two sums": (
        ErrorCode.INVALID_FIELD,
        json.dumps({**CHARGE, "method": None, "chargeAmount": "10.01"}).encode(),
    ),
    "SignalWire: zero with a sign": (ErrorCode.MISSING_FIELD, _with('"amount":-0.0', SIGNALWIRE)),
    "SignalWire: zero with an exponent": (ErrorCode.MISSING_FIELD, _with('"amount":0e5', SIGNALWIRE)),
}


@pytest.mark.parametrize("why", BEYOND_SCHEMA)
def test_what_the_schema_cannot_say_is_refused_all_the_same(gateway: Checked, why: str) -> None:
    """Each reason for a 400 that the document gives in words only is one, and its schemas are blind to it."""
    code, body = BEYOND_SCHEMA[why]
    instance = "SignalWire" if why.startswith("SignalWire") else "Default"

    reply = gateway.send("POST", gateway.paths[instance], body, instance=instance, beyond=why)

    assert (400, code) == (reply.status_code, reply.json()["error_code"])


@pytest.mark.parametrize(
    ("instance", "body"),
    [
        ("Default", charge(parameters={"save_card": "true\n"})),
        ("Default", charge(transaction_id="one\n")),
        ("SignalWire", {**tokenize(), "method": None, "amount": "0\n"}),
    ],
    ids=["save_card", "transaction_id", "amount"],
)
def test_the_patterns_mean_the_whole_text(gateway: Checked, instance: str, body: Mapping[str, object]) -> None:
    """A newline at the end, which `$` lets through in Python, is let through by no pattern of the requests."""
    reply = gateway.pay(body, instance=instance)

    assert 400 == reply.status_code


REASONS_BEYOND_SCHEMA = {
    "A key stands twice in one object.",
    "A string holds half a surrogate pair.",
    "NaN and infinity are no JSON.",
    "The body is nested deeper than 32.",
    "transaction_id holds the card or account number, and is kept in clear. Send a random id.",
    "A parameter stands twice, spelled in two ways.",
    "The parameter save_card is not a string.",  # under another spelling, as the next three
    "The parameter save_card is neither true nor false.",
    "The parameter reference is not a string.",
    "The parameter reference is longer than 64.",
    "The parameter sandbox_* is not a string.",
    "chargeAmount and amount differ. Send one of them.",
}


def test_the_schema_and_the_parser_say_the_same_of_thousands_of_bodies() -> None:
    """Of 4,000 damaged bodies the schema accepts those that are no 400, and no other but for reasons beyond it."""
    mutator, agreed = Mutator(seed=31), Counter[bool]()

    for _ in range(4000):
        mutant = mutator.next()
        case = mutant.case
        parsed = parse(mutant.body, Dialect(case.dialect), PATHS[case.path])
        is_bad = isinstance(parsed, Refusal) and ERRORS[parsed.code].status == 400
        if is_bad and isinstance(parsed, Refusal) and parsed.message in REASONS_BEYOND_SCHEMA:
            continue
        assert DESCRIPTION.accepts(case.path, case.dialect, mutant.body) is not is_bad, mutant.body
        agreed[is_bad] += 1

    assert min(agreed[True], agreed[False]) > 1000


# --- Every error code ------------------------------------------------------------------------------------------------


def _reused(gateway: Checked) -> httpx.Response:
    first = charge()
    assert gateway.pay(first).json()["error_code"] is None
    return gateway.pay({**first, "amount": "10.01"})


def _too_many(gateway: Checked) -> httpx.Response:
    gateway.served.clock.forward(1)
    assert gateway.pay(charge(), instance="Slow").json()["error_code"] is None
    return gateway.pay(charge(), instance="Slow")


def _unwritable(gateway: Checked) -> httpx.Response:
    connection = gateway.served.parts.store.journal.connection
    gateway.served.call(lambda: connection.execute("PRAGMA query_only = ON"))
    try:
        return gateway.pay(charge())
    finally:
        gateway.served.call(lambda: connection.execute("PRAGMA query_only = OFF"))


def _declined(code: str) -> Callable[[Checked], httpx.Response]:
    return lambda gateway: gateway.pay(charge(parameters={"sandbox_outcome": code}))


PRODUCED: Mapping[str, Callable[[Checked], httpx.Response]] = {
    "malformed_request": lambda gateway: gateway.send("POST", "/", b"card=4111"),
    "unsupported_method": lambda gateway: gateway.pay(charge(method="refund")),
    "missing_field": lambda gateway: gateway.pay(charge(amount=None)),
    "invalid_field": lambda gateway: gateway.pay(tokenize(cardnumber=int(VISA))),
    "invalid_card_number": lambda gateway: gateway.pay(tokenize(cardnumber=f"{VISA[:-1]}2")),
    "unsupported_card_brand": lambda gateway: gateway.pay(charge(cardnumber="1000000000000008"), instance="Live"),
    "invalid_expiry": lambda gateway: gateway.pay(charge(expiry_month="13")),
    "expired_card": lambda gateway: gateway.pay(charge(expiry_year="20")),
    "invalid_cvv": lambda gateway: gateway.pay(charge(cvv="12")),
    "invalid_postal_code": lambda gateway: gateway.pay(charge(postal_code="#")),
    "invalid_routing_number": lambda gateway: gateway.pay(debit(routingnumber="021000022")),
    "invalid_account_number": lambda gateway: gateway.pay(debit(bankaccountnumber="123")),
    "invalid_amount": lambda gateway: gateway.pay(charge(amount="1e3")),
    "unsupported_currency": lambda gateway: gateway.pay(charge(currency_code="XAU")),
    "test_number_required": lambda gateway: gateway.pay(charge(cardnumber=LIVE_VISA)),
    "live_number_required": lambda gateway: gateway.pay(charge(), instance="Live"),
    "not_permitted": lambda gateway: gateway.pay(tokenize(), instance="Charges"),
    "transaction_id_reused": _reused,
    "outcome_unknown": lambda gateway: gateway.pay(charge(cardnumber=LIVE_VISA), instance="Silent"),
    "processor_unavailable": _declined("unavailable"),
    "unauthorized": lambda gateway: gateway.send("POST", "/", instance=None),
    "instance_disabled": lambda gateway: gateway.send("POST", "/", instance="Disabled"),
    "not_found": lambda gateway: gateway.send("POST", "/pay"),
    "method_not_allowed": lambda gateway: gateway.send("GET", "/"),
    "payload_too_large": lambda gateway: gateway.send("POST", "/", b" " * (BODY_BYTES_MAX + 1)),
    "too_many_requests": _too_many,
    "store_unavailable": _unwritable,
    "internal_error": lambda gateway: gateway.pay(charge(cardnumber=LIVE_VISA), instance="Broken"),
    **{code: _declined(code) for code in DeclineCode},
}
BOTH_IDS = {"charge_id", "token_id"}


def test_every_code_of_the_table_is_produced_here() -> None:
    """There is a request for each code, in the table's order."""
    assert list(ERRORS) == list(PRODUCED)


@pytest.mark.parametrize("code", PRODUCED)
def test_a_code_is_produced_in_the_one_shape(gateway: Checked, code: str) -> None:
    """Each error code comes with its status, a null id, a message, and nothing else than that and parameters."""
    reply = PRODUCED[code](gateway)

    body = reply.json()
    assert (code, DESCRIPTION.codes[code]["status"]) == (body["error_code"], reply.status_code)
    assert {"error_code", "error_message"} <= body.keys() <= {*BOTH_IDS, "error_code", "error_message", "parameters"}
    assert {None} == {body[key] for key in body.keys() & BOTH_IDS}
    is_about_a_method = reply.status_code == 200 or code in {"missing_field", "invalid_field"}
    assert (1 if is_about_a_method else 2) == len(body.keys() & BOTH_IDS)


def test_the_amount_chooses_the_decline_in_the_documents_order(gateway: Checked) -> None:
    """The sandbox answers a charge of 2000 + n with the n-th decline that the document lists."""
    documented = DOCUMENT["components"]["schemas"]["DeclineCode"]["enum"]

    declined = [gateway.pay(charge(amount=f"{2000 + n}.50")).json()["error_code"] for n in range(len(documented) + 1)]

    assert [*documented, "card_declined"] == declined


@pytest.mark.parametrize("code", DeclineCode)
def test_signalwire_gets_the_same_body_with_402(gateway: Checked, code: DeclineCode) -> None:
    """A payment that fails is a 402 for SignalWire, which takes every 200 for a success. The body is any other's."""
    fields: Mapping[str, object] = {"parameters": {"sandbox_outcome": code}}
    elsewhere = gateway.pay(charge(**fields))

    reply = gateway.pay({**charge(**fields), "method": "credit-card"}, instance="SignalWire")

    assert (402, code, elsewhere.json()) == (reply.status_code, reply.json()["error_code"], reply.json())


# The pages' 405 says "Send GET.", which test_openapi_tour.py has heard.
REFUSALS = {
    name: value for name, (_, value) in EXAMPLES.items() if value.get("error_code") and " get responses 405" not in name
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_documented_refusal_is_what_the_server_says(gateway: Checked, name: str) -> None:
    """The document quotes the server: the message in each example of a failure is what this code comes with."""
    body = PRODUCED[REFUSALS[name]["error_code"]](gateway).json()

    assert REFUSALS[name]["error_message"] == body["error_message"]


def test_a_wrong_credential_is_told_what_to_use_and_then_to_wait(tmp_path: Path) -> None:
    """Twenty wrong passwords from one address are 401s, then come 429s. Right ones, and none at all, are as before."""
    wrong = {"Authorization": basic("ic_nobody", "wrong")}
    with serve_gateway(tmp_path / "home") as served, Checked(served) as gateway:
        gateway.add("Default")

        guessed = [gateway.send("POST", "/", headers=wrong).status_code for _ in range(22)]

        assert [*[401] * 20, 429, 429] == guessed
        assert 200 == gateway.pay(charge()).status_code
        assert 401 == gateway.send("POST", "/", instance=None).status_code


# --- Every example ---------------------------------------------------------------------------------------------------

REPLY_TO = {
    "card_charge": "Charged",
    "card_tokenize": "Saved",
    "ach_charge": "Submitted",
    "ach_tokenize": "SavedAccount",
    "charge_and_save": "ChargedAndSaved",
    "decline": "Declined",
    "conflict": "Conflicted",
}
"""Requests and replies of the document that are two sides of one conversation."""


def test_every_example_is_answered_as_documented(tmp_path: Path) -> None:
    """Sent in their order, the examples of requests get the examples of replies: same keys, same words, ids aside."""
    answered: dict[str, Any] = {}
    with serve_gateway(tmp_path / "home") as served, Checked(served) as gateway:
        gateway.add("Default")
        gateway.add("SignalWire", dialect="signalwire", path_secret=True)
        for path in PAYMENT_PATHS:
            instance = "SignalWire" if path == "/i/{secret}" else "Default"
            content = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]
            for name in content["examples"]:
                _, example = DESCRIPTION.find(
                    "paths", path, "post", "requestBody", "content", "application/json", "examples", name
                )
                sent_to = gateway.paths[instance] if path == "/i/{secret}" else path
                reply = gateway.pay(example["value"], instance=instance, path=sent_to)
                assert 200 == reply.status_code
                answered[name] = reply.json()

    for name, documented in REPLY_TO.items():
        assert without_chance(DOCUMENT["components"]["examples"][documented]["value"]) == without_chance(answered[name])
    others = answered.keys() - REPLY_TO.keys()
    assert {"telnyx_charge", "legacy_charge", "legacy_ach_tokenize", "signalwire_tokenize"} <= others
    for name in others:
        assert answered[name]["error_code"] is None
        assert ("token_id" if "tokenize" in name else "charge_id") in answered[name]


# --- The pages -------------------------------------------------------------------------------------------------------


def test_the_server_hands_out_the_very_file(gateway: Checked) -> None:
    """GET /openapi.yaml is the file of the checkout, byte for byte."""
    reply = gateway.send("GET", "/openapi.yaml", instance=None)

    assert OPENAPI_YAML.read_bytes() == reply.content


def test_the_wheel_holds_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever installs the wheel serves the same file: it lies in the package, where the server looks first."""
    monkeypatch.chdir(ROOT)

    name = build_wheel(os.fspath(tmp_path))

    with zipfile.ZipFile(tmp_path / name) as wheel:
        assert OPENAPI_YAML.read_bytes() == wheel.read("generic_connector/openapi.yaml")
        assert (ROOT / "src" / "generic_connector" / "py.typed").read_bytes() == wheel.read(
            "generic_connector/py.typed"
        )
    assert not (files("generic_connector") / "openapi.yaml").is_file()  # here it is the checkout's


def test_health_and_readiness_are_as_described(gateway: Checked) -> None:
    """A server that is well says so, names its processors, and asks nobody for credentials."""
    assert 200 == gateway.send("GET", "/healthz", instance=None).status_code
    ready = gateway.send("GET", "/readyz", instance=None)
    assert (200, "ready") == (ready.status_code, ready.json()["status"])
    assert {"sandbox", "live", "silent", "broken"} == ready.json()["processors"].keys()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "GET", "POST"])
@pytest.mark.parametrize("path", [*DOCUMENT["paths"], "/nothing", "/i/", "/charge/"])
def test_a_path_has_its_methods_and_no_others(gateway: Checked, method: str, path: str) -> None:
    """Every method on every path gets what the document says: an answer, 405 with `Allow`, or 404."""
    reply = gateway.send(method, path.replace("{secret}", "nobody"), instance=None)

    item = DOCUMENT["paths"].get(path)
    if item is None or path == "/i/{secret}":
        assert 404 == reply.status_code  # no such secret: as any path that leads nowhere
    elif method.lower() in item or (method == "HEAD" and "get" in item):
        assert reply.status_code in {200, 401}
    else:
        assert (405, True) == (reply.status_code, next(iter(item)).upper() in reply.headers["Allow"])


def test_a_server_that_stops_or_cannot_work_says_so(tmp_path: Path) -> None:
    """While it drains, or its store cannot be used, it is not ready, and a new payment is a 503: nothing was sent."""
    with serve_gateway(tmp_path / "home") as served, Checked(served) as gateway:
        gateway.add("Default")
        known = charge()
        first = gateway.pay(known)

        served.run(served.parts.connector.drain())

        draining = gateway.send("GET", "/readyz", instance=None)
        assert (503, "draining") == (draining.status_code, draining.json()["status"])
        assert (503, "store_unavailable") == _status_and_code(gateway.pay(charge()))
        assert first.content == gateway.pay(known).content  # who asks again still hears the truth

    with serve_gateway(tmp_path / "home") as served, Checked(served) as gateway:
        gateway.add("Second")
        served.call(served.parts.store.journal.connection.close)

        unusable = gateway.send("GET", "/readyz", instance=None)
        assert (503, "not_ready", "unusable") == (unusable.status_code, *map(unusable.json().get, ("status", "store")))
        assert (503, "store_unavailable") == _status_and_code(gateway.pay(charge(), instance="Second"))
        assert 200 == gateway.send("GET", "/healthz", instance=None).status_code


def _status_and_code(reply: httpx.Response) -> tuple[int, str | None]:
    return reply.status_code, reply.json()["error_code"]


# --- schemathesis ----------------------------------------------------------------------------------------------------

GOOD_VALUES: Mapping[str, Mapping[str, Sequence[object]]] = {
    "Attempt": {"postal_code": ["94105", "K1A 0B6", "", None]},
    "Card": {
        "cardnumber": sorted(PUBLISHED_CARDS),
        "cvv": ["", None],
        "expiry_month": ["1", "08", "12"],
        "expiry_year": ["30", "2040"],
    },
    "BankAccount": {"bankaccountnumber": sorted(PUBLISHED_ACCOUNTS), "routingnumber": ["021000021", "110000000"]},
    "Sum": {"amount": ["10.00", "50", 0.01, "2001.00"]},
    "SignalWireCharge": {"chargeAmount": ["10.00", "10", 10], "amount": ["10.0", 10.00]},
    "CurrencyCode": {"": ["USD", "usd", "EUR", "BHD"]},
}
"""What a test instance charges and keeps, by schema and property: of what schemathesis makes up, nothing ever is."""


FOREIGN = {"twilio": "/i/{secret}", "telnyx": "/i/{secret}", "signalwire": "/"}
"""The path whose examples are of another dialect. What is read there is what is read at the dialect's own."""


def narrowed(dialect: str, *, to_good_values: bool) -> dict[str, Any]:
    """The document for one instance: AnyRequest is the instance's dialect, as `x-dialects` says."""
    document = copy.deepcopy(dict(DOCUMENT))
    schemas = document["components"]["schemas"]
    schemas["AnyRequest"] = {"$ref": document["x-dialects"][dialect]}
    del document["paths"][FOREIGN[dialect]]["post"]["requestBody"]["content"]["application/json"]["examples"]
    if dialect != "twilio":  # the legacy paths are Twilio's
        del document["paths"]["/charge"], document["paths"]["/tokenize"]
    for reply in document["components"]["responses"].values():
        for link in reply.get("links", {}).values():  # a retry is the whole body again, not parts of it
            link["x-schemathesis"] = {"merge_body": False}
    for name, values in GOOD_VALUES.items() if to_good_values else ():
        within = schemas[name] if "properties" in schemas[name] else schemas[name].get("allOf", [schemas[name]])[-1]
        for property_, good in values.items():
            (within["properties"][property_] if property_ else within)["enum"] = list(good)
    return document


def spelled_out(document: dict[str, Any], dialect: str) -> dict[str, Any]:
    """The same document, each request schema of the dialect's own paths written out as alternatives that are whole.

    Of parts that are joined with `allOf`, schemathesis breaks one and forgets the others: such a body is a 400 for
    what is not there, whatever is wrong with the rest. Of a whole it breaks one thing at a time.
    """
    schemas = document["components"]["schemas"]
    for path, item in document["paths"].items():
        if "requestBody" in item.get("post", {}) and path != FOREIGN[dialect]:
            content = item["post"]["requestBody"]["content"]["application/json"]
            content["schema"] = {"anyOf": list(_alternatives(content["schema"], schemas))}
    return document


def _alternatives(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the objects that a schema allows, each without `allOf` and `anyOf` of its own."""
    if "$ref" in schema:
        yield from _alternatives(schemas[schema["$ref"].rpartition("/")[2]], schemas)
        return
    itself = {name: value for name, value in schema.items() if name not in {"allOf", "anyOf", "description"}}
    choices = [[part] for part in schema.get("allOf", ())] + ([schema["anyOf"]] if "anyOf" in schema else [])
    parts = [list(itertools.chain.from_iterable(_alternatives(each, schemas) for each in choice)) for choice in choices]
    for chosen in itertools.product([itself], *parts):
        joined: dict[str, Any] = {}
        for each in chosen:
            joined = _joined(joined, each, schemas)
        yield joined


def _joined(one: Mapping[str, Any], other: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Return what fits both of two schemas without `allOf` and `anyOf`."""
    joined = {**one, **other}
    for name in one.keys() & other.keys():
        match name:
            case "required":
                joined[name] = sorted({*one[name], *other[name]})
            case "type":
                types = [[each] if isinstance(each, str) else each for each in (one[name], other[name])]
                joined[name] = [each for each in types[0] if each in types[1]]
            case "properties":
                joined[name] = {**one[name], **other[name]}
                for key in one[name].keys() & other[name].keys():
                    first, second = (_resolved(each[name][key], schemas) for each in (one, other))
                    is_plain = "anyOf" not in first and "anyOf" not in second
                    joined[name][key] = _joined(first, second, schemas) if is_plain else {"allOf": [first, second]}
            case "description":
                pass
            case _:
                assert one[name] == other[name], name
    return joined


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found


def configuration(served: Served, dialect: str, certificates: Path, *, to_good_values: bool) -> dict[str, Any]:
    """Where the gateway is, how to get in, how much to try, and what is expected."""
    added = served.add("Default", dialect=dialect, path_secret=True)
    trusted = served.tls.get_ca_certs(binary_form=True)
    certificates.write_text("".join(map(ssl.DER_cert_to_PEM_cert, trusted)))
    if dialect == "telnyx":  # which can be told to send one
        issued = served.act(
            "access-token issue", instance="Default", scopes=["charge", "tokenize"], expires_in_s=86_400
        )
        auth: dict[str, Any] = {"openapi": {"bearer": {"bearer": issued["token"]}}}
    else:
        auth = {"basic": {"username": added["username"], "password": added["password"]}}
    return {
        "base-url": served.url,
        "tls-verify": str(certificates),
        "seed": 4,
        "continue-on-failure": True,
        "auth": auth,
        "parameters": {"path.secret": added["path"].removeprefix("/i/")},
        "generation": {
            "mode": "positive" if to_good_values else "all",
            "deterministic": True,
            "max-examples": 30,
            "no-shrink": True,
            "database": "none",
        },
        # Words of our own source are not put into bodies: among them are orders to the sandbox to hang.
        "analysis": {"constants": {"enabled": False}},
        "cache": {"enabled": False},
        # All that there are, this one with a reason to be off excepted.
        "checks": {
            # A 402 is SignalWire's 200: the request was good, the payment was not. Else stricter than it comes.
            "positive_data_acceptance": {"expected-statuses": ["200", "402"]},
            # Stricter than it comes; off where the schemas are narrowed, since another card number is no 400.
            "negative_data_rejection": {
                "expected-statuses": ["400", "401", "404", "405"],
                "enabled": not to_good_values,
            },
            # 503 is documented, and a healthy server has no reason for it.
            "not_a_server_error": {"expected-statuses": ["200", "400", "401", "402", "404", "405", "413"]},
            # Off as it comes. As long as Twilio waits.
            "max_response_time": 10,
        },
    }


load_all_checks()  # which else happens when the first schema is run
CHECKS_OF_SCHEMATHESIS = {*CHECKS.get_all_names(), "max_response_time"}


@dataclass
class Explored:
    """What schemathesis did, and what it found."""

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)
    retried: Counter[tuple[str, int]] = field(default_factory=Counter)


def explore(schema: schemathesis.BaseSchema) -> Explored:
    """Let schemathesis go through all of its phases."""
    found = Explored()
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError):
            found.failed[event.label] = str(event.value)
        if not isinstance(event, events.ScenarioFinished):
            continue
        for interaction in event.recorder.interactions.values():
            assert interaction.response is not None
            found.statuses[event.phase.value, interaction.response.status_code] += 1
        for node in itertools.chain.from_iterable(event.recorder.checks.values()):
            found.checks[node.name] += 1
            if node.status is not Status.SUCCESS:
                found.failed[node.name] = _told(node)
        found.retried.update(_retried(event.recorder))
    return found


@pytest.mark.timeout(180)
@pytest.mark.parametrize("to_good_values", [False, True], ids=["anything", "good values"])
@pytest.mark.parametrize("dialect", DOCUMENT["x-dialects"])
def test_schemathesis_finds_nothing(tmp_path: Path, dialect: str, *, to_good_values: bool) -> None:
    """Examples, coverage, fuzzing, stateful: of what it makes from the document alone, no check fails.

    Every check that it has takes part, and where the values are good every retry link is followed, and told the same.
    """
    with serve_gateway(tmp_path / "home") as served:
        config = configuration(served, dialect, tmp_path / "ca.pem", to_good_values=to_good_values)
        document = narrowed(dialect, to_good_values=to_good_values)
        if dialect != "telnyx" and not to_good_values:  # where there is something to break, once for each spelling
            document = spelled_out(document, dialect)
        schema = schemathesis.openapi.from_dict(document, config=schemathesis.Config.from_dict(config))

        @schema.hook
        def filter_case(_context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
            """Leave out what the schema is known to be blind to: it is neither good nor bad by it."""
            body = json.dumps(case.body).encode() if isinstance(case.body, dict) else b""
            parsed = parse(body, Dialect(dialect), PATHS.get(case.operation.path))
            return not (isinstance(parsed, Refusal) and parsed.message in REASONS_BEYOND_SCHEMA)

        found = explore(schema)

    print(f"{dialect}: {found.statuses.total()} requests, {found.checks.total()} checks, {dict(found.retried)} retries")  # noqa: T201 - the figures
    assert {} == found.failed
    assert CHECKS_OF_SCHEMATHESIS - found.checks.keys() == ({"negative_data_rejection"} if to_good_values else set())
    assert {"examples", "coverage", "fuzzing", "stateful"} == {phase for phase, _ in found.statuses}
    assert found.statuses.total() > 300
    assert found.statuses["fuzzing", 200] > 0
    if to_good_values:
        assert {(path, 200) for path in document["paths"] if path in PAYMENT_PATHS} <= found.retried.keys()
    else:
        assert found.statuses["fuzzing", 400] > 0


def _told(check: CheckNode) -> str:
    failure = check.failure_info
    return (
        check.name if failure is None else f"{failure.failure.title}: {failure.failure.message}\n{failure.code_sample}"
    )


def _retried(recorder: ScenarioRecorder) -> Iterator[tuple[str, int]]:
    """Yield where requests were the one before them, sent again, and with what status. Each must get the same bytes."""
    order = list(recorder.interactions)
    for id_, node in recorder.cases.items():
        if node.transition is None or node.parent_id not in recorder.interactions:
            continue
        first, again = recorder.interactions[node.parent_id], recorder.interactions[id_]
        if _what(first.request) != _what(again.request) or not first.request.body:
            continue
        between = order[order.index(node.parent_id) + 1 : order.index(id_)]
        if any(_id(recorder.interactions[other].request) == _id(first.request) for other in between):
            continue  # a refusal leaves no row: another payment may have taken the id
        if first.response is not None and again.response is not None and first.response.status_code in {200, 402}:
            assert first.response.content == again.response.content, "a retry was told something else"
            yield node.value.operation.path, first.response.status_code


def _id(request: Request) -> object:
    """The transaction_id of a request, where it has one."""
    try:
        return json.loads(request.body or b"{}").get("transaction_id")
    except (ValueError, AttributeError):
        return None


def _what(request: Request) -> tuple[object, ...]:
    """What makes two requests one: the credential too, which schemathesis spoils now and then."""
    return (
        request.uri,
        request.body,
        {name.lower(): value for name, value in request.headers.items()}.get("authorization"),
    )


# --- schemathesis is not blind ---------------------------------------------------------------------------------------


def _break(value: object, *names: str) -> Callable[[dict[str, Any]], None]:
    """Put something else where these names lead."""

    def break_(document: dict[str, Any]) -> None:
        for name in names[:-1]:
            document = document[name]
        document[names[-1]] = value

    return break_


def _answer(**changes: object) -> Callable[[Any], None]:
    """Make every reply another than the gateway gave."""

    def damage(response: Any) -> None:  # noqa: ANN401 - of schemathesis
        for name, value in changes.items():
            setattr(response, name, value)

    return damage


_HEALTH = ("paths", "/healthz", "get")
_PHANTOM = {"name": "X-Phantom", "in": "header", "required": True, "schema": {"type": "string"}}
NOTICED: Mapping[str, tuple[str, Callable[[dict[str, Any]], None] | None, Callable[[Any], None] | None]] = {
    "not_a_server_error": ("/healthz", None, _answer(status_code=500)),
    "status_code_conformance": ("/healthz", _break({"201": {"description": "?"}}, *_HEALTH, "responses"), None),
    "content_type_conformance": (
        "/healthz",
        _break({"text/html": {}}, *_HEALTH, "responses", "200", "content"),
        None,
    ),
    "response_headers_conformance": (
        "/healthz",
        _break({"type": "string", "pattern": "^[0-9]+$"}, "components", "headers", "X-Request-Id", "schema"),
        None,
    ),
    "response_schema_conformance": (
        "/healthz",
        _break({"const": "dead"}, "components", "schemas", "Health", "properties", "status"),
        None,
    ),
    "negative_data_rejection": (
        "/tokenize",
        _break(["transaction_id", "phantom"], "components", "schemas", "Attempt", "required"),
        None,
    ),
    "positive_data_acceptance": (
        "/tokenize",
        _break({}, "components", "schemas", "Attempt", "properties", "transaction_id"),
        None,
    ),
    "missing_required_header": ("/healthz", _break([_PHANTOM], *_HEALTH, "parameters"), None),
    "unsupported_method": ("/healthz", None, _answer(status_code=200)),
    "allow_header_conformance": ("/healthz", None, _answer(headers={"allow": ["PUT"]})),
    "ignored_auth": ("/healthz", _break([{"basic": []}], *_HEALTH, "security"), None),
    "max_response_time": ("/healthz", None, _answer(elapsed=11)),
}
"""What each check is there to notice: a mistake in the document, or in the replies of one path.

The others (`use_after_free`, `ensure_resource_availability`, `object_level_authorization`) are about things that are
made, fetched and deleted. This contract has none: they take part, and cannot fail.
"""
NOTHING_TO_LOOK_AT = {"use_after_free", "ensure_resource_availability", "object_level_authorization"}


def test_each_check_has_something_to_notice() -> None:
    """No check of schemathesis is without its mistake, but for those that this contract gives nothing to look at."""
    assert CHECKS_OF_SCHEMATHESIS == NOTICED.keys() | NOTHING_TO_LOOK_AT


@pytest.mark.parametrize("check", NOTICED)
def test_schemathesis_notices_a_mistake(tmp_path: Path, check: str) -> None:
    """Each check fails where it should: what it passes above is not passed for want of looking."""
    path, break_, damage = NOTICED[check]
    with serve_gateway(tmp_path / "home") as served:
        config = configuration(served, "twilio", tmp_path / "ca.pem", to_good_values=False)
        config["phases"] = {"fuzzing": {"enabled": False}, "stateful": {"enabled": False}}
        document = narrowed("twilio", to_good_values=False)
        if break_ is not None:
            break_(document)
        document["paths"] = {path: document["paths"][path]}
        if check == "negative_data_rejection":  # which sees little of what is joined
            spelled_out(document, "twilio")
        schema = schemathesis.openapi.from_dict(document, config=schemathesis.Config.from_dict(config))

        @schema.hook
        def after_call(_context: schemathesis.HookContext, _case: schemathesis.Case[Any], response: Any) -> None:  # noqa: ANN401 - of schemathesis
            if damage is not None:
                damage(response)

        found = explore(schema)

    assert check in found.failed


def test_a_retry_that_is_told_something_else_is_noticed(tmp_path: Path) -> None:
    """One more space in every reply, and no two are the same bytes: the retries show it."""
    count = itertools.count()
    with serve_gateway(tmp_path / "home") as served:
        config = configuration(served, "twilio", tmp_path / "ca.pem", to_good_values=True)
        config["phases"] = {phase: {"enabled": False} for phase in ("examples", "coverage", "fuzzing")}
        document = narrowed("twilio", to_good_values=True)
        document["paths"] = {"/tokenize": document["paths"]["/tokenize"]}
        schema = schemathesis.openapi.from_dict(document, config=schemathesis.Config.from_dict(config))

        @schema.hook
        def after_call(_context: schemathesis.HookContext, _case: schemathesis.Case[Any], response: Any) -> None:  # noqa: ANN401 - of schemathesis
            response.content += b" " * next(count)

        with pytest.raises(AssertionError, match="a retry was told something else"):
            explore(schema)
