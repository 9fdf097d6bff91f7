"""A tour of all that openapi.yaml promises: every promise is kept by a real request, and nothing else comes back.

The tour asks a gateway over TLS for everything that the document lists: on every payment path, in the spelling of
Twilio and of SignalWire, for charges and tokenizes, each error code, each header, each key and named value of a body,
each retry link, each way in; then the pages in each of their states; and it sends every example of the document. What
it hears is kept, and judged twice:

- by `Description.faults`: nothing came that the document does not say;
- by `Description.promises`: all came that the document says, and what it shows as a reply is what came, word for word
  but for ids and the like.

That these two see what is wrong is shown with the document broken in every place, one at a time, and the same tour:
each broken document is found out.
"""

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import httpx
import pytest

from caller import LIVE_VISA, VISA, basic, charge, tokenize
from described import Description, Exchange, Told, without_chance
from generic_connector.card import PUBLISHED_CARDS
from generic_connector.contract.body import BODY_BYTES_MAX
from generic_connector.home import Installation
from generic_connector.payment import Approved, LookUpResult, PurchaseResult, Unknown
from generic_connector.ports import Purchase
from serving import ApproveAll, Served, serve_gateway

DESCRIPTION = Description.read()
DOCUMENT: Mapping[str, Any] = DESCRIPTION.document

NEVER_SEEN = {
    f'POST {path} 200 /parameters/status: "authorized"': (
        "The word is kept for the operation `authorize`, which is answered `not_permitted` as yet."
    )
    for path in ("/", "/charge", "/i/{secret}")
}
"""Promises that nothing keeps, each with the reason why it stands in the document all the same."""


# --- Who is asked ----------------------------------------------------------------------------------------------------


class Silent(ApproveAll):
    """Never says what became of anything, and cannot be reached."""

    async def purchase(self, purchase: Purchase) -> PurchaseResult:
        self.asked.append(purchase)
        return Unknown("told to be silent")

    async def look_up(self, idempotency_key: str) -> LookUpResult:  # noqa: ARG002 - the port's signature
        return Unknown("told to be silent")

    async def is_reachable(self) -> bool:
        return False


class Broken(ApproveAll):
    """Raises where the connector asks before anything is claimed, and where it asks for health."""

    def check(self, purchase: Purchase) -> str | None:  # noqa: ARG002 - the port's signature
        raise ZeroDivisionError

    async def is_reachable(self) -> bool:
        raise ZeroDivisionError


class Talkative(ApproveAll):
    """Has a code for a card that it only looked at."""

    async def verify(self, purchase: Purchase) -> PurchaseResult:
        self.asked.append(purchase)
        return Approved(authorization_code="LOOKED")


ROLES: Mapping[str, Mapping[str, object]] = {
    "Default": {},
    "Live": {"mode": "live", "processor": "live"},
    "Silent": {"mode": "live", "processor": "silent"},
    "Broken": {"mode": "live", "processor": "broken"},
    "Talkative": {"mode": "live", "processor": "talkative"},
    "Slow": {"rate": 1},
    "Disabled": {},
}
DIALECTS = ("twilio", "signalwire")


class Place(NamedTuple):
    """Where a payment is sent, what it is, and whose spelling it has."""

    path: str
    method: str
    dialect: str


PLACES = [
    Place(path, method, dialect)
    for path, methods in {
        "/": ("charge", "tokenize"),
        "/charge": ("charge",),
        "/tokenize": ("tokenize",),
        "/i/{secret}": ("charge", "tokenize"),
    }.items()
    for method in methods
    for dialect in DIALECTS
]


# --- What is sent ----------------------------------------------------------------------------------------------------

BANK: Mapping[str, object] = {
    "cardnumber": None,
    "routingnumber": "021000021",
    "bankaccountnumber": "123456789",
}
ONLY_CHARGES = {"invalid_amount", "unsupported_currency", "outcome_unknown"}
CODES: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "unsupported_method": ("Default", {"method": "refund"}),
    "missing_field": ("Default", {"expiry_month": None}),
    "invalid_field": ("Default", {"cardnumber": int(VISA)}),
    "invalid_card_number": ("Default", {"cardnumber": f"{VISA[:-1]}2"}),
    "unsupported_card_brand": ("Live", {"cardnumber": "1000000000000008"}),
    "invalid_expiry": ("Default", {"expiry_month": "13"}),
    "expired_card": ("Default", {"expiry_year": "20"}),
    "invalid_cvv": ("Default", {"cvv": "12"}),
    "invalid_postal_code": ("Default", {"postal_code": "#"}),
    "invalid_routing_number": ("Default", {**BANK, "routingnumber": "021000022"}),
    "invalid_account_number": ("Default", {**BANK, "bankaccountnumber": "123"}),
    "invalid_amount": ("Default", {"amount": "1e3"}),
    "unsupported_currency": ("Default", {"currency_code": "XAU"}),
    "test_number_required": ("Default", {"cardnumber": LIVE_VISA}),
    "live_number_required": ("Live", {}),
    "not_permitted": ("Default", {"parameters": {"operation": "authorize"}}),
    "outcome_unknown": ("Silent", {"cardnumber": LIVE_VISA}),
    "processor_unavailable": ("Default", {"parameters": {"sandbox_outcome": "unavailable"}}),
    "instance_disabled": ("Disabled", {}),
    "internal_error": ("Broken", {"cardnumber": LIVE_VISA}),
    **{
        code: ("Default", {"parameters": {"sandbox_outcome": code}})
        for code in DOCUMENT["components"]["schemas"]["DeclineCode"]["enum"]
    },
}
"""How to come by each error code with one payment: who is asked, and what is odd about it. The others take more."""

QUOTED: Mapping[str, Sequence[str]] = {
    "charge": ["CardCharge", "BankCharge", "ChargeAndSave", "Decline", "Conflict"],
    "tokenize": ["CardTokenize", "BankTokenize"],
}
"""Requests of the document that get the replies which it shows, wherever such a payment may be sent."""


def payment(place: Place, **fields: object) -> dict[str, object]:
    """Return a payment as this place wants it spelled, by its reference none of the document's. `fields` replace."""
    fields = {"parameters": {"reference": "A-1"}, **fields}
    made = charge(**fields) if place.method == "charge" else tokenize(**fields)
    return spelled(place, made) if "method" not in fields else made


def spelled(place: Place, made: Mapping[str, object]) -> dict[str, object]:
    """Return a payment with the method that this place wants."""
    if place.dialect == "signalwire":
        return {**made, "method": "credit-card"}
    return {**made, "method": None if place.path in {"/charge", "/tokenize"} else place.method}


class Tour:
    """Asks, and keeps what was asked and heard."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.heard: list[Exchange] = []
        self._secrets: dict[str, str] = {}
        self._tokens: dict[str, str] = {}
        self._client = httpx.Client(base_url=served.url, verify=served.tls, timeout=30)

    def add(self, role: str, dialect: str) -> None:
        """Add an instance, by name and password, by path, and with an access token."""
        name = f"{role}-{dialect}"
        added = self.served.add(name, dialect=dialect, path_secret=True, **ROLES[role])
        self._secrets[name] = added["path"]
        issued = self.served.act(
            "access-token issue", instance=name, scopes=["charge", "tokenize"], expires_in_s=86_400
        )
        self._tokens[name] = issued["token"]
        if role == "Disabled":
            self.served.act("instance disable", unique_name=name)

    def ask(
        self, method: str, path: str, body: bytes = b"", credential: str = "none", authorization: str | None = None
    ) -> httpx.Response:
        """Send a request as it is."""
        headers = {} if authorization is None else {"Authorization": authorization}
        if body:
            headers["Content-Type"] = "application/json"
        reply = self._client.request(method, path, content=body, headers=headers)
        told = Told(reply.status_code, reply.headers.multi_items(), reply.content)
        self.heard.append(Exchange(method, path, credential, headers.get("Content-Type", ""), body, told))
        return reply

    def send(
        self, place: Place, body: bytes, role: str = "Default", *, by: str = "basic", method: str = "POST"
    ) -> None:
        """Send a body to an instance: by its secret where the path has one."""
        name = f"{role}-{place.dialect}"
        if place.path == "/i/{secret}":
            self.ask(method, self._secrets[name], body)
            return
        authorization = basic(*self.served.credentials[name]) if by == "basic" else f"Bearer {self._tokens[name]}"
        self.ask(method, place.path, body, by, authorization)

    def pay(self, place: Place, fields: Mapping[str, object], role: str = "Default", *, by: str = "basic") -> None:
        """Send a payment."""
        self.send(place, json.dumps(fields).encode(), role, by=by)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()


# --- Where it leads --------------------------------------------------------------------------------------------------


def through_outcomes(tour: Tour, place: Place) -> None:
    """Every brand and a bank account, taken and declined; kept beside a charge; with a reference; sent again."""
    no = {"sandbox_outcome": "card_declined", "reference": "A-1"}
    for number in sorted(PUBLISHED_CARDS):
        cvv = "1234" if number.startswith("37") else "123"
        tour.pay(place, payment(place, cardnumber=number, cvv=cvv))
        tour.pay(place, payment(place, cardnumber=number, cvv=cvv, parameters=no))
    tour.pay(place, payment(place, **BANK))
    tour.pay(place, payment(place, **BANK, parameters=no))
    tour.pay(place, payment(place, parameters={"save_card": "true", "reference": "A-1"}), by="bearer")
    tour.pay(place, payment(place, cvv=None, postal_code=None, parameters={"sandbox_outcome": "card_declined"}))
    tour.pay(place, payment(place, cardnumber=LIVE_VISA), "Talkative")
    for again in (payment(place), payment(place, parameters=no)):
        tour.pay(place, again)
        tour.pay(place, again)


def through_codes(tour: Tour, place: Place) -> None:
    """Every error code that this place can answer."""
    for code, (role, fields) in CODES.items():
        if place.method == "charge" or code not in ONLY_CHARGES:
            tour.pay(place, payment(place, **fields), role)
    known = payment(place)
    tour.pay(place, known)
    tour.pay(place, {**known, "expiry_month": "09"})
    tour.send(place, b"card=4111")
    tour.send(place, b" " * (BODY_BYTES_MAX + 1))
    tour.send(place, b"", method="PUT")
    if place.method == "charge":
        tour.pay(place, payment(place, amount=None))
    tour.ask("POST", place.path.replace("{secret}", "nobody"))
    tour.served.clock.forward(2)
    tour.pay(place, payment(place), "Slow")
    tour.pay(place, payment(place), "Slow")
    connection = tour.served.parts.store.journal.connection
    tour.served.call(lambda: connection.execute("PRAGMA query_only = ON"))
    tour.pay(place, payment(place))
    tour.served.call(lambda: connection.execute("PRAGMA query_only = OFF"))


def through_examples(tour: Tour, place: Place) -> None:
    """Every request that the document shows: as it stands where it stands, and respelled elsewhere."""
    for name in QUOTED[place.method]:
        tour.pay(place, spelled(place, DOCUMENT["components"]["examples"][name]["value"]))
    content = DOCUMENT["paths"][place.path]["post"]["requestBody"]["content"]["application/json"]
    if place.dialect == ("signalwire" if place.path == "/i/{secret}" else "twilio"):
        for _, value in DESCRIPTION.examples(content):
            tour.pay(place, value)
    for parameter in DOCUMENT["paths"][place.path].get("parameters", ()):
        tour.ask("POST", place.path.replace(f"{{{parameter['name']}}}", parameter["example"]))


PAGES = ["/healthz", "/readyz", "/openapi.yaml"]


def through_pages(tour: Tour) -> None:
    """Each page, and a method that it does not have."""
    for page in PAGES:
        tour.ask("GET", page)
        tour.ask("POST", page)
    tour.ask("GET", "/nothing")


def _only_the_sandbox(parts: Installation) -> Installation:
    return replace(parts, processors={"sandbox": parts.processors["sandbox"]})


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Exchange]:
    """All that was asked and answered on the tour."""
    processors = {"silent": Silent(), "broken": Broken(), "talkative": Talkative()}
    with serve_gateway(tmp_path_factory.mktemp("home"), processors=processors) as served:
        tour = Tour(served)
        for role in ROLES:
            for dialect in DIALECTS:
                tour.add(role, dialect)
        for place in PLACES:
            through_outcomes(tour, place)
            through_codes(tour, place)
            through_examples(tour, place)
        through_pages(tour)
        served.run(served.parts.connector.drain())
        tour.ask("GET", "/readyz")
        tour.close()
    with serve_gateway(tmp_path_factory.mktemp("home"), rebuild=_only_the_sandbox) as served:
        alone = Tour(served)
        alone.ask("GET", "/readyz")
        served.parts.keyring.is_usable = False
        alone.ask("GET", "/readyz")
        served.parts.keyring.is_usable = True
        served.run(served.parts.connector.drain())
        alone.ask("GET", "/readyz")
        served.call(served.parts.store.journal.connection.close)
        alone.ask("GET", "/readyz")
        alone.close()
    return [*tour.heard, *alone.heard]


# --- What must be true of it -----------------------------------------------------------------------------------------


def faults(description: Description, heard: Sequence[Exchange]) -> Iterator[str]:
    """Yield what came and is not documented."""
    for exchange in heard:
        for fault in description.faults(exchange.method, exchange.path, exchange.told):
            yield f"{exchange.method} {description.template(exchange.path)} {exchange.told.status}: {fault}"


def unkept(description: Description, facts: set[str]) -> set[str]:
    """Return what is documented and did not come."""
    return {promise for promise, keeping in description.promises().items() if not keeping & facts}


def test_nothing_comes_back_that_is_not_documented(heard: Sequence[Exchange]) -> None:
    """Each reply of the tour has a documented status, documented headers and no others, and a documented body."""
    assert [] == list(faults(DESCRIPTION, heard))


def test_everything_documented_comes_back(heard: Sequence[Exchange]) -> None:
    """Each operation, way in, status, header, media type, key, named value, link and example was seen on the tour."""
    missing = unkept(DESCRIPTION, DESCRIPTION.facts(heard))

    print(f"{len(heard)} exchanges keep {len(DESCRIPTION.promises()) - len(missing)} promises")  # noqa: T201 - the figures
    assert NEVER_SEEN.keys() == missing, missing ^ NEVER_SEEN.keys()


# --- The two see what is wrong ---------------------------------------------------------------------------------------

Json = Any
Name = str | int
Edit = tuple[str, Callable[[Json], None]]
"""What is broken, and how to break it in a document of one's own."""


def _at(document: Json, names: Sequence[Name]) -> Json:
    for name in names:
        document = document[name]
    return document


def _called(names: Sequence[Name]) -> str:
    return "/".join(map(str, names))


def _without(*names: Name) -> Edit:
    return _called(names), lambda document: _at(document, names[:-1]).pop(names[-1])


def _with(value: Json, *names: Name) -> Edit:
    return _called(names), lambda document: _at(document, names[:-1]).update({names[-1]: value})


def _less(value: Json, *names: Name) -> Edit:
    return f"{_called(names)} {value}", lambda document: _at(document, names).remove(value)


def _more(value: Json, *names: Name) -> Edit:
    return f"{_called(names)} {value}", lambda document: _at(document, names).append(value)


def _renamed(name: str, *names: Name) -> Edit:
    """The one thing that stands there gets another name."""

    def rename(document: Json) -> None:
        _at(document, names)[name] = _at(document, names).popitem()[1]

    return _called(names), rename


OPERATIONS = [(path, method) for path, item in DOCUMENT["paths"].items() for method in item if method != "parameters"]
INLINE = [
    ("paths", path, method, "responses", status)
    for path, method in OPERATIONS
    for status, reply in DOCUMENT["paths"][path][method]["responses"].items()
    if "$ref" not in reply
]
REPLIES: Sequence[Sequence[str]] = [
    *(("components", "responses", name) for name in DOCUMENT["components"]["responses"]),
    *INLINE,
]
"""Where each reply is described."""
OF_REPLIES = [
    "ChargeSucceeded", "ChargeFailed", "TokenizeSucceeded", "TokenizeFailed", "ReplyParameters", "BadRequest",
    "Refusal", "Health", "Readiness",
]  # fmt: skip
"""The schemas that name the keys of replies."""


def _named_values(value: Json, *names: str) -> Iterator[tuple[tuple[str, ...], Json]]:
    """Yield each value that a schema of replies lists, and where its list stands."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name == "enum" and "not" not in names and "propertyNames" not in names:
                yield from ((((*names, name), each)) for each in inner)
            else:
                yield from _named_values(inner, *names, name)


def _schemas_of_replies() -> Iterator[tuple[tuple[str, ...], Json]]:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        if name in OF_REPLIES or (name.endswith("Code") and name != "CurrencyCode"):
            yield ("components", "schemas", name), schema


def _listed() -> Iterator[tuple[tuple[str, ...], Json]]:
    for names, schema in _schemas_of_replies():
        yield from _named_values(schema, *names)


def _examples() -> Iterator[tuple[tuple[str, ...], Json]]:
    """Yield each example of the document where its value stands."""
    for name, example in DOCUMENT["components"]["examples"].items():
        yield ("components", "examples", name, "value"), example["value"]
    for names in REPLIES:
        for media_type, content in _at(DOCUMENT, names)["content"].items():
            if "example" in content:
                yield (*names, "content", media_type, "example"), content["example"]
            for name, example in content.get("examples", {}).items():
                if "value" in example:
                    yield (*names, "content", media_type, "examples", name, "value"), example["value"]


def _misquoted(names: Sequence[Name], value: Mapping[str, Json]) -> Iterator[Edit]:
    """Yield the example with each key that it has left out, one more, and each plain value another."""
    of_chance = {"charge_id", "token_id", "authorization_code", "confirmation_number"}
    yield _with("?", *names, "phantom")
    for name, inner in value.items():
        yield _without(*names, name)
        if isinstance(inner, Mapping):
            yield from _misquoted([*names, name], inner)
        elif inner is None or name not in of_chance:
            yield _with("?", *names, name)


BREAKS: Mapping[str, Sequence[Edit]] = {
    "a path is missing": [_without("paths", path) for path in DOCUMENT["paths"]],
    "a path that is not there": [_with(DOCUMENT["paths"]["/healthz"], "paths", "/livez")],
    "a status is missing": [
        _without("paths", path, method, "responses", status)
        for path, method in OPERATIONS
        for status in DOCUMENT["paths"][path][method]["responses"]
    ],
    "a status that never comes": [
        _with({"$ref": "#/components/responses/NotFound"}, "paths", path, method, "responses", "410")
        for path, method in OPERATIONS
    ],
    "a header is missing": [
        _without(*names, "headers", header) for names in REPLIES for header in _at(DOCUMENT, names)["headers"]
    ],
    "a header that never comes": [
        _with({"$ref": "#/components/headers/Allow"}, *names, "headers", "X-Phantom") for names in REPLIES
    ],
    "a header is otherwise": [
        _with({"const": "?"}, "components", "headers", header, "schema") for header in DOCUMENT["components"]["headers"]
    ],
    "a media type is otherwise": [_renamed("text/html", *names, "content") for names in REPLIES],
    "a code or a word is missing": [_less(value, *names) for names, value in _listed()],
    "a code or a word that never comes": [
        _more("phantom", *names)
        for names in dict.fromkeys(names for names, _ in _listed())
        if names[-3:] != ("properties", "status", "enum")  # each reply has a shorter list of its own beside it
    ],
    "a code has another status": [
        _with(418, "x-error-codes", place, "status") for place in range(len(DOCUMENT["x-error-codes"]))
    ],
    "a key is missing": [
        _without(*names, "properties", key)
        for names, schema in _schemas_of_replies()
        for key in schema.get("properties", ())
    ],
    "a key that never comes": [
        _with({}, *names, "properties", "phantom") for names, schema in _schemas_of_replies() if "properties" in schema
    ],
    "a link leads elsewhere": [
        edit
        for names in REPLIES
        for link in _at(DOCUMENT, names).get("links", ())
        for edit in (
            _with("health", *names, "links", link, "operationId"),
            _with("$response.body", *names, "links", link, "requestBody"),
        )
    ],
    "an example is otherwise": [edit for names, value in _examples() for edit in _misquoted(names, value)],
    "a credential is not asked for": [
        _with([], "paths", path, method, "security")
        for path, method in OPERATIONS
        if path not in PAGES and "i/" not in path
    ],
    "a credential that does not open": [
        _more({"apiKey": []}, "security"),
        *(_with([{"basic": []}], "paths", path, "get", "security") for path in PAGES),
    ],
    "the example of a path": [_with("another", "paths", "/i/{secret}", "parameters", 0, "example")],
}


@pytest.fixture(scope="module")
def distinct(heard: Sequence[Exchange]) -> Sequence[Exchange]:
    """The tour without replies that differ from one before by chance alone, those first of which there are fewest."""
    found: dict[tuple[object, ...], Exchange] = {}
    kinds = Counter[object]()
    for exchange in heard:
        told, template = exchange.told, DESCRIPTION.template(exchange.path)
        body = json.dumps(without_chance(json.loads(told.body))) if told.body.startswith(b"{") else ""
        key = (template, exchange.method, told.status, body)
        kinds[key[:3]] += key not in found
        found.setdefault(key, exchange)
    return [exchange for _, exchange in sorted(found.items(), key=lambda item: kinds[item[0][:3]])]


@pytest.mark.parametrize("kind", BREAKS)
def test_a_broken_document_is_found_out(heard: Sequence[Exchange], distinct: Sequence[Exchange], kind: str) -> None:
    """However the document is broken in this way, wherever, the same tour no longer fits it."""
    facts = DESCRIPTION.facts(heard)
    unnoticed = []
    for what, break_ in BREAKS[kind]:
        document = copy.deepcopy(dict(DOCUMENT))
        break_(document)
        broken = Description(document)
        if unkept(broken, facts) == NEVER_SEEN.keys() and next(faults(broken, distinct), None) is None:
            unnoticed.append(what)

    print(f"{len(BREAKS[kind])} broken documents", len(distinct))  # noqa: T201 - the figure
    assert BREAKS[kind]
    assert [] == unnoticed
