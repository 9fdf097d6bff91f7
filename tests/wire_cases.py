"""The corpus: what carriers put on the wire, and what the gateway must answer.

A payment contract lives in its bodies. Twilio documents four of them (a card or a bank account,
charged or tokenized), yet between its private beta and today its own pages, tutorials and staff
repositories show some fifty ways of writing those four, and two other carriers speak dialects of
them. Each way found so far is a `WireCase`: one request, byte for byte, with the answer that the
gateway owes to it. The cases are data: nothing here imports the gateway, so that the same corpus
can judge the parser, the whole server, the Twilio side and anyone else's endpoint.

**Where the bytes come from.** `source` begins with a grade, then names the document:

- `D` documented, `O` observed in a log, `C` read in another implementer's code, `X` another
  carrier, `I` inferred from one of those, `P` a rule of this project where no source speaks.
- GPC: Twilio's page "Generic Pay Connector"; TUT1: its tutorial on capturing a payment; PARAM,
  PAY, CL22: its pages on `<Parameter>` and `<Pay>`, its changelog of March 2022; OLD: the request
  that its beta documents showed, kept in a comment of GenesysPay; PGP: request logs of 2021 in a
  sample by Twilio staff; SIM21: the staff's simulators of 2021; FF: an agent-built endpoint of
  2026; HS: Hyperswitch's telephone-order route; TEL: Telnyx; SWML and cXML: SignalWire.

The samples of OLD, PGP, TEL and SWML stand as they were printed, layout included (OLD's first
brace, misprinted as a closing one, is mended). TUT1 was printed by JavaScript and is written here
as the JSON that it came from. Of GPC and cXML the fields and values are theirs; their layout and
key order, and GPC's `parameters`, are ours: compact, in the order that all of Twilio's logs have.

**Variants.** A variant is a printed request and the few bytes in which it differs: `_vary` makes
the edits, insists that each one matches exactly once, and puts in a transaction_id of the usual
form, derived from the case's name. So a case shows what it is about and nothing else, and all of
them can be sent to one server: no two different bodies share an instance and a transaction_id.
Samples that must keep a printed id which others have too get an instance of their own.

**What is expected.** `status`, the id key (`id_key`; None where no method can be known, so that
the reply carries both keys), `error_code` (None for a success) and pairs that the reply's
`parameters` must contain. A success has the id and a null code, a failure a null id. `test`
instances take the published numbers and no other; `live` ones are to have a processor that
approves everything. Old requests carry old cards: `valid_on` is a day on which the server's clock
must stand for the case: before the card's end, or after it where the case is about that.

**To add one**: paste the body as it was seen into a `WireCase` of the family where it belongs, say
in `source` where it was seen, and give it an instance of its own if its id is already taken. If
it differs from a printed request in a detail only, `_vary` that one instead. Never paste a card
that is not a test number, nor an id that could lead to a person.
"""

import hashlib
import re
import uuid
from dataclasses import dataclass, replace
from datetime import date
from typing import Final, Literal, TypedDict, Unpack

Dialect = Literal["twilio", "telnyx", "signalwire"]
Mode = Literal["test", "live"]
IdKey = Literal["charge_id", "token_id"]
Pairs = tuple[tuple[str, str], ...]

THEN: Final = date(2021, 8, 10)  # the day of the beta's logs, cards good until 12/25
BETA: Final = date(2022, 3, 28)  # the day that made "/" the endpoint, cards until 08/22 and 12/25
NOW: Final = date(2026, 7, 20)  # the samples in print today, cards good until 08/27


@dataclass(frozen=True, slots=True, kw_only=True)
class WireCase:
    """One request as it arrives, and what the reply to it must be."""

    name: str
    source: str
    body: bytes
    dialect: Dialect = "twilio"
    mode: Mode = "test"
    path: str = "/"
    content_type: str | None = "application/json"  # None: no such header; "": an empty one
    headers: Pairs = ()
    valid_on: date
    status: int = 200
    id_key: IdKey | None  # None: no method can be known, the reply has both keys
    error_code: str | None = None  # None: a success
    parameters: Pairs = ()  # the reply's must contain these
    instance: str = "Default"


class _Changes(TypedDict, total=False):
    """What a variant may change beside its body; an instance follows from mode and dialect."""

    source: str
    dialect: Dialect
    mode: Mode
    path: str
    content_type: str | None
    headers: Pairs
    valid_on: date
    status: int
    id_key: IdKey | None
    error_code: str | None
    parameters: Pairs
    instance: str


_INSTANCES: Final[dict[tuple[Dialect, Mode], str]] = {
    ("twilio", "test"): "Default",
    ("twilio", "live"): "Live",
    ("telnyx", "test"): "Telnyx",
    ("telnyx", "live"): "Telnyx_Live",
    ("signalwire", "test"): "SignalWire",
    ("signalwire", "live"): "SignalWire_Live",
}
_PRINTED_ID: Final = re.compile(rb'("transaction_id" ?: ?)"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"')


def _vary(base: WireCase, name: str, *edits: tuple[bytes, bytes], **changes: Unpack[_Changes]) -> WireCase:
    """Derive a case from `base`: its body edited, its transaction_id its own."""
    body = base.body
    for old, new in edits:
        if body.count(old) != 1:
            message = f"{name}: {old!r} occurs {body.count(old)} times in {base.name}"
            raise ValueError(message)
        body = body.replace(old, new)
    fresh = uuid.UUID(bytes=hashlib.sha256(name.encode()).digest()[:16], version=4)
    body = _PRINTED_ID.sub(rb'\1"%b"' % str(fresh).encode(), body)
    mode, dialect = changes.get("mode", base.mode), changes.get("dialect", base.dialect)
    changes.setdefault("instance", _INSTANCES[dialect, mode])
    if changes.get("error_code") is not None:
        changes.setdefault("parameters", ())
    return replace(base, name=name, body=body, **changes)


# What a reply says of the payments that recur.
VISA_1111: Final[Pairs] = (("card_brand", "visa"), ("card_last4", "1111"))
CHARGED: Final[Pairs] = (("status", "approved"), *VISA_1111)
SAVED: Final[Pairs] = (("status", "saved"), *VISA_1111)
MASTERCARD_4444: Final[Pairs] = (("card_brand", "mastercard"), ("card_last4", "4444"))

# --- The four requests that Twilio documents ---------------------------------------------------

CARD_CHARGE: Final = WireCase(
    name="gpc-card-charge",
    source="D: GPC",
    body=(
        b'{"transaction_id":"1b0e9a52-6f3c-4d7e-9b21-5c8f0d4e7a31",'
        b'"cardnumber":"4111111111111111","cvv":"123","expiry_month":"08","expiry_year":"27",'
        b'"description":"pizza","amount":"10.0","currency_code":"USD","postal_code":"94111",'
        b'"method":"charge","parameters":{"order_id":"A-1001"}}'
    ),
    valid_on=NOW,
    id_key="charge_id",
    parameters=CHARGED,
)
CARD_TOKENIZE: Final = WireCase(
    name="gpc-card-tokenize",
    source="D: GPC",
    body=(
        b'{"transaction_id":"2c1fab63-704d-4e8f-8c32-6d901e5f8b42",'
        b'"cardnumber":"4111111111111111","cvv":"123","expiry_month":"08","expiry_year":"27",'
        b'"description":"pizza","postal_code":"94111",'
        b'"method":"tokenize","parameters":{"order_id":"A-1001"}}'
    ),
    valid_on=NOW,
    id_key="token_id",
    parameters=SAVED,
)
# The numbers that the page prints are placeholders: a card as account, eight digits as routing.
ACH_CHARGE: Final = WireCase(
    name="gpc-ach-charge",
    source="D: GPC",
    body=(
        b'{"transaction_id":"3d20bc74-815e-4f90-9d43-7ea12f609c53",'
        b'"bankaccountnumber":"4111111111111111","routingnumber":"12345678",'
        b'"description":"pizza","amount":"10.0","currency_code":"USD",'
        b'"method":"charge","parameters":{"order_id":"A-1001"}}'
    ),
    valid_on=NOW,
    id_key="charge_id",
    error_code="invalid_routing_number",
)
ACH_TOKENIZE: Final = WireCase(
    name="gpc-ach-tokenize",
    source="D: GPC",
    body=(
        b'{"transaction_id":"4e31cd85-926f-4a01-8e54-8fb2306fad64",'
        b'"bankaccountnumber":"4111111111111111","routingnumber":"12345678",'
        b'"description":"pizza",'
        b'"method":"tokenize","parameters":{"order_id":"A-1001"}}'
    ),
    valid_on=NOW,
    id_key="token_id",
    error_code="invalid_routing_number",
)

_ABA: Final = (b'"12345678"', b'"021000021"')  # a routing number whose checksum is right
_ACCOUNT_8: Final = (b'"4111111111111111"', b'"12345678"')
_ACCOUNT_9: Final = (b'"4111111111111111"', b'"123456789"')
SUBMITTED: Final[Pairs] = (("status", "submitted"), ("bank_last4", "5678"))

ACH_CHARGE_VALID: Final = _vary(
    ACH_CHARGE, "ach-charge-account-8", _ABA, _ACCOUNT_8, error_code=None, parameters=SUBMITTED
)
ACH_TOKENIZE_VALID: Final = _vary(
    ACH_TOKENIZE,
    "ach-tokenize-account-8",
    _ABA,
    _ACCOUNT_8,
    error_code=None,
    parameters=(("status", "saved"), ("bank_last4", "5678")),
)

DOCUMENTED: Final = (
    CARD_CHARGE,
    CARD_TOKENIZE,
    ACH_CHARGE,
    ACH_TOKENIZE,
    ACH_CHARGE_VALID,
    ACH_TOKENIZE_VALID,
    _vary(
        ACH_CHARGE,
        "ach-charge-account-9",
        _ABA,
        _ACCOUNT_9,
        error_code=None,
        parameters=(("status", "submitted"), ("bank_last4", "6789")),
    ),
    _vary(
        ACH_TOKENIZE,
        "ach-tokenize-account-9",
        _ABA,
        _ACCOUNT_9,
        error_code=None,
        parameters=(("status", "saved"), ("bank_last4", "6789")),
    ),
    _vary(ACH_CHARGE, "ach-charge-account-placeholder", _ABA, error_code="test_number_required"),
    _vary(ACH_TOKENIZE, "ach-tokenize-account-placeholder", _ABA, error_code="test_number_required"),
    _vary(ACH_CHARGE, "ach-charge-routing-placeholder", _ACCOUNT_8),
    _vary(
        ACH_CHARGE_VALID,
        "ach-charge-routing-zeros",
        (b'"021000021"', b'"000000000"'),
        source="P",
        error_code="invalid_routing_number",
    ),
    _vary(
        ACH_CHARGE_VALID,
        "ach-charge-routing-checksum",
        (b'"021000021"', b'"021000022"'),
        source="P",
        error_code="invalid_routing_number",
    ),
    # The account type has no field of its own: what ACH needs beside travels as parameters.
    _vary(
        ACH_CHARGE_VALID,
        "ach-charge-avs-name",
        (
            b'{"order_id":"A-1001"}',
            b'{"AVSName":"Jane Doe","BankAccountType":"consumer-checking"}',
        ),
        source="D: PARAM",
    ),
    _vary(CARD_CHARGE, "gpc-card-charge-live", mode="live", error_code="live_number_required"),
    _vary(CARD_TOKENIZE, "gpc-card-tokenize-live", mode="live", error_code="live_number_required"),
)

# --- The published test cards, charged and tokenized -------------------------------------------

_PUBLISHED: Final = (  # Visa's is in every other family
    ("mastercard", "5555555555554444", "123"),
    ("amex", "378282246310005", "1234"),
    ("discover", "6011111111111117", "123"),
    (
        "diners",
        "3065930009020004",
        "123",
    ),  # fails Luhn and the prefixes, and is published all the same
    ("jcb", "3566002020360505", "123"),
    ("unionpay", "6200000000000005", "123"),
    ("maestro", "6771798021000008", "123"),
)
TEST_NUMBERS: Final = tuple(
    _vary(
        base,
        f"test-number-{brand}-{operation}",
        (b'"4111111111111111"', f'"{number}"'.encode()),
        (b'"cvv":"123"', f'"cvv":"{cvv}"'.encode()),
        parameters=(("status", status), ("card_brand", brand), ("card_last4", number[-4:])),
    )
    for base, operation, status in (
        (CARD_CHARGE, "charge", "approved"),
        (CARD_TOKENIZE, "tokenize", "saved"),
    )
    for brand, number, cvv in _PUBLISHED
)

# --- Logs: the tutorial of 2022 ----------------------------------------------------------------

# The log prints description and parameters as [Object]: null and {} both print so.
TUTORIAL: Final = WireCase(
    name="tut1-log",
    source="O: TUT1",
    body=(
        b'{"transaction_id":"72500aba-328c-445c-a12e-da5700e10b17",'
        b'"cardnumber":"4111111111111111","cvv":"333","expiry_month":"12","expiry_year":"25",'
        b'"description":null,"amount":"10.00","currency_code":"USD","postal_code":"94150",'
        b'"method":"charge","parameters":null}'
    ),
    valid_on=BETA,
    id_key="charge_id",
    parameters=CHARGED,
    instance="My_Pay_Connector",
)
LOGS_2022: Final = (
    TUTORIAL,
    _vary(TUTORIAL, "tut1-parameters-empty", (b'"parameters":null', b'"parameters":{}')),
    _vary(TUTORIAL, "tut1-description-object", (b'"description":null', b'"description":{}')),
    _vary(
        TUTORIAL,
        "tut1-both-objects",
        (b'"description":null', b'"description":{}'),
        (b'"parameters":null', b'"parameters":{}'),
    ),
    # Twilio Functions put the request's own headers into the event; harmless if it came so.
    _vary(TUTORIAL, "tut1-request-key", (b'{"transaction', b'{"request":{},"transaction')),
    _vary(TUTORIAL, "tut1-keyed-postal-code", (b'"94150"', b'"94105"')),
    _vary(TUTORIAL, "tut1-today", valid_on=NOW, error_code="expired_card"),
)

# --- Logs: the private beta of 2021 ------------------------------------------------------------

# No method: the path says it. The header Content-Type was absent or empty, the client was AHC.
BETA_HEADERS: Final[Pairs] = (("User-Agent", "AHC/2.1"),)
PGP_CHARGE: Final = WireCase(
    name="pgp-charge-99.99",
    source="O: PGP 2021",
    body=b"""{
      "transaction_id": "81e3c0b7-7680-4d3c-b22b-f3974925c4d1",
      "cardnumber": "4444333322221111",
      "cvv": "123",
      "expiry_month": "12",
      "expiry_year": "25",
      "description": null,
      "amount": "99.99",
      "currency_code": "USD",
      "postal_code": null
    }""",
    path="/charge",
    content_type="",
    headers=BETA_HEADERS,
    valid_on=THEN,
    id_key="charge_id",
    error_code="test_number_required",
    instance="PGP_Charge",
)
PGP_TOKENIZE_0: Final = replace(
    PGP_CHARGE,
    name="pgp-tokenize-0",
    body=PGP_CHARGE.body.replace(b'"99.99"', b'"0"'),
    path="/tokenize",
    id_key="token_id",
    instance="PGP_Tokenize_0",
)
PGP_TOKENIZE_50: Final = replace(
    PGP_TOKENIZE_0,
    name="pgp-tokenize-50",
    body=PGP_CHARGE.body.replace(b'"99.99"', b'"50"'),
    instance="PGP_Tokenize_50",
)
LOGS_2021: Final = (
    PGP_CHARGE,
    PGP_TOKENIZE_0,
    PGP_TOKENIZE_50,
    *(
        replace(
            case,
            name=f"{case.name}-live",
            mode="live",
            error_code=None,
            parameters=CHARGED if case is PGP_CHARGE else SAVED,
            instance=f"{case.instance}_Live",
        )
        for case in (PGP_CHARGE, PGP_TOKENIZE_0, PGP_TOKENIZE_50)
    ),
    *(
        _vary(
            case,
            f"{case.name}-test-number",
            (b'"4444333322221111"', b'"4111111111111111"'),
            error_code=None,
            parameters=CHARGED if case is PGP_CHARGE else SAVED,
        )
        for case in (PGP_CHARGE, PGP_TOKENIZE_0, PGP_TOKENIZE_50)
    ),
    _vary(
        PGP_CHARGE,
        "pgp-charge-50",
        (b'"4444333322221111"', b'"4111111111111111"'),
        (b'"99.99"', b'"50"'),
        error_code=None,
        parameters=CHARGED,
    ),
    _vary(PGP_CHARGE, "pgp-charge-no-content-type", content_type=None),
    # The body of the beta at today's address: nobody can tell what it asks for.
    _vary(
        PGP_CHARGE,
        "pgp-charge-at-root",
        source="I: PGP 2021",
        path="/",
        status=400,
        id_key=None,
        error_code="missing_field",
    ),
    # The path of the beta with the body of today.
    _vary(CARD_CHARGE, "legacy-path-charge-with-method", source="I: CL22", path="/charge"),
    _vary(CARD_TOKENIZE, "legacy-path-tokenize-with-method", source="I: CL22", path="/tokenize"),
    _vary(
        ACH_CHARGE_VALID,
        "legacy-path-ach-charge",
        (b'"method":"charge",', b""),
        source="I: CL22",
        path="/charge",
    ),
    _vary(
        ACH_TOKENIZE_VALID,
        "legacy-path-ach-tokenize",
        (b'"method":"tokenize",', b""),
        source="I: CL22",
        path="/tokenize",
    ),
)

# The simulators of 2021 had no `parameters` to read and parsed the description instead.
SIMULATOR_CHARGE: Final = WireCase(
    name="sim21-charge",
    source="C: SIM21",
    body=(
        b'{"transaction_id":"5f42de96-a370-4b12-9f65-90c34170be75",'
        b'"cardnumber":"5555555555554444","cvv":"123","expiry_month":"12","expiry_year":"25",'
        b'"description":"{\\"order\\": \\"A-17\\", \\"agent\\": \\"7\\"}",'
        b'"amount":"10.00","currency_code":"USD","postal_code":"94105"}'
    ),
    path="/charge",
    content_type="",
    headers=BETA_HEADERS,
    valid_on=THEN,
    id_key="charge_id",
    parameters=(("status", "approved"), *MASTERCARD_4444),
)
# The beta's documents: four digits of year, and no transaction_id at all.
OLD_CHARGE: Final = WireCase(
    name="old-charge",
    source="D: OLD",
    body=b"""{
 "cardnumber" : "4111111111111111",
 "cvv":"123",
 "expiry_month":"08",
 "expiry_year":"2022",
 "description":"pizza",
 "amount":"10.0",
 "currency_code":"USD",
 "postal_code":"94111"
}""",
    path="/charge",
    valid_on=BETA,
    status=400,
    id_key="charge_id",
    error_code="missing_field",
)
_WITH_ID: Final = (
    b'{\n "cardnumber"',
    b'{\n "transaction_id" : "60530fa7-b481-4c23-8076-a1d45281cf86",\n "cardnumber"',
)
SAMPLES_OF_THE_BETA: Final = (
    SIMULATOR_CHARGE,
    _vary(
        SIMULATOR_CHARGE,
        "sim21-tokenize",
        (b'"amount":"10.00"', b'"amount":"0"'),
        path="/tokenize",
        id_key="token_id",
        parameters=(("status", "saved"), *MASTERCARD_4444),
    ),
    OLD_CHARGE,
    _vary(OLD_CHARGE, "old-tokenize", path="/tokenize", id_key="token_id"),
    _vary(
        OLD_CHARGE,
        "old-charge-with-id",
        _WITH_ID,
        status=200,
        error_code=None,
        parameters=CHARGED,
    ),
    _vary(
        OLD_CHARGE,
        "old-tokenize-with-id",
        _WITH_ID,
        path="/tokenize",
        status=200,
        id_key="token_id",
        error_code=None,
        parameters=SAVED,
    ),
    _vary(
        OLD_CHARGE,
        "old-charge-with-id-and-method",
        _WITH_ID,
        (b'"94111"\n', b'"94111",\n "method":"charge"\n'),
        path="/",
        status=200,
        error_code=None,
        parameters=CHARGED,
    ),
)

# --- method and transaction_id -----------------------------------------------------------------

METHODS_AND_IDS: Final = (
    _vary(
        CARD_CHARGE,
        "method-missing",
        (b'"method":"charge",', b""),
        source="I: PGP 2021",
        status=400,
        id_key=None,
        error_code="missing_field",
    ),
    _vary(
        CARD_CHARGE,
        "method-null",
        (b'"method":"charge"', b'"method":null'),
        source="P",
        status=400,
        id_key=None,
        error_code="missing_field",
    ),
    # What an agent guessed before it had seen a request (and mended after its first one).
    _vary(
        CARD_CHARGE,
        "ff-first-guess",
        (b'"method"', b'"Method"'),
        (b'"cardnumber"', b'"CardNumber"'),
        (b'"amount"', b'"Amount"'),
        source="C: FF 2026",
        status=400,
        id_key=None,
        error_code="missing_field",
    ),
    # An instance that speaks Twilio does not guess SignalWire's meaning.
    _vary(
        CARD_CHARGE,
        "method-credit-card",
        (b'"charge"', b'"credit-card"'),
        source="X: SWML",
        status=400,
        id_key=None,
        error_code="unsupported_method",
    ),
    _vary(
        CARD_CHARGE,
        "method-capital",
        (b'"charge"', b'"Charge"'),
        source="P",
        status=400,
        id_key=None,
        error_code="unsupported_method",
    ),
    _vary(
        CARD_CHARGE,
        "transaction-id-missing",
        (b'"transaction_id":"1b0e9a52-6f3c-4d7e-9b21-5c8f0d4e7a31",', b""),
        source="D: OLD",
        status=400,
        error_code="missing_field",
    ),
    _vary(
        CARD_TOKENIZE,
        "transaction-id-missing-tokenize",
        (b'"transaction_id":"2c1fab63-704d-4e8f-8c32-6d901e5f8b42",', b""),
        source="D: OLD",
        status=400,
        error_code="missing_field",
    ),
    _vary(
        CARD_CHARGE,
        "transaction-id-null",
        (b'"1b0e9a52-6f3c-4d7e-9b21-5c8f0d4e7a31"', b"null"),
        source="P",
        status=400,
        error_code="missing_field",
    ),
    _vary(
        CARD_CHARGE,
        "transaction-id-number",
        (b'"1b0e9a52-6f3c-4d7e-9b21-5c8f0d4e7a31"', b"20260720"),
        source="P",
        status=400,
        error_code="invalid_field",
    ),
    _vary(
        CARD_CHARGE,
        "transaction-id-upper",
        (b"1b0e9a52-6f3c-4d7e-9b21-5c8f0d4e7a31", b"7164A0B8-C592-4D34-9187-B2E56392DA97"),
        source="P",
    ),
    _vary(
        CARD_CHARGE,
        "transaction-id-colon",
        (b"1b0e9a52-6f3c-4d7e-9b21-5c8f0d4e7a31", b"CA0c5e:pay:1"),
        source="P",
    ),
)

# --- Card fields -------------------------------------------------------------------------------

_CVV: Final = b'"cvv":"123",'
_MONTH: Final = b'"expiry_month":"08"'
_YEAR: Final = b'"expiry_year":"27"'
_POSTAL: Final = b'"postal_code":"94111",'

CARD_FIELDS: Final = (
    # securityCode="false": nobody says which of the three comes.
    _vary(CARD_CHARGE, "cvv-null", (_CVV, b'"cvv":null,'), source="I: GPC"),
    _vary(CARD_CHARGE, "cvv-missing", (_CVV, b""), source="I: GPC"),
    _vary(CARD_CHARGE, "cvv-empty", (_CVV, b'"cvv":"",'), source="P"),
    _vary(CARD_TOKENIZE, "cvv-null-tokenize", (_CVV, b'"cvv":null,'), source="I: GPC"),
    _vary(CARD_TOKENIZE, "cvv-missing-tokenize", (_CVV, b""), source="I: GPC"),
    _vary(CARD_CHARGE, "cvv-short", (_CVV, b'"cvv":"12",'), source="P", error_code="invalid_cvv"),
    _vary(CARD_CHARGE, "cvv-long", (_CVV, b'"cvv":"1234",'), source="P", error_code="invalid_cvv"),
    _vary(
        CARD_CHARGE,
        "cvv-amex-short",
        (b"4111111111111111", b"378282246310005"),
        source="D: PAY",
        error_code="invalid_cvv",
    ),
    _vary(CARD_CHARGE, "year-four-digits", (_YEAR, b'"expiry_year":"2027"'), source="D: OLD"),
    _vary(CARD_CHARGE, "month-12", (_MONTH, b'"expiry_month":"12"'), source="O: TUT1"),
    _vary(CARD_CHARGE, "month-one-digit", (_MONTH, b'"expiry_month":"8"'), source="P"),
    _vary(
        CARD_CHARGE,
        "month-13",
        (_MONTH, b'"expiry_month":"13"'),
        source="P",
        error_code="invalid_expiry",
    ),
    _vary(
        CARD_CHARGE,
        "month-number",
        (_MONTH, b'"expiry_month":8'),
        source="P",
        status=400,
        error_code="invalid_field",
    ),
    _vary(
        CARD_CHARGE,
        "month-missing",
        (_MONTH + b",", b""),
        source="P",
        status=400,
        error_code="missing_field",
    ),
    # postalCode="false" logged null; a literal or a keyed one is a string.
    _vary(CARD_CHARGE, "postal-null", (_POSTAL, b'"postal_code":null,'), source="O: PGP 2021"),
    _vary(CARD_CHARGE, "postal-missing", (_POSTAL, b""), source="I: PGP 2021"),
    _vary(CARD_CHARGE, "postal-empty", (_POSTAL, b'"postal_code":"",'), source="P"),
    _vary(
        CARD_TOKENIZE,
        "postal-null-tokenize",
        (_POSTAL, b'"postal_code":null,'),
        source="O: PGP 2021",
    ),
    _vary(CARD_CHARGE, "postal-leading-zero", (b'"94111"', b'"02139"'), source="D: GPC"),
    _vary(CARD_CHARGE, "postal-leading-zeros", (b'"94111"', b'"00501"'), source="D: GPC"),
    _vary(CARD_CHARGE, "postal-zip-plus-4", (b'"94111"', b'"94111-1234"'), source="P"),
    _vary(CARD_CHARGE, "postal-letters", (b'"94111"', b'"K1A 0B6"'), source="I: PAY"),
    _vary(
        CARD_CHARGE,
        "postal-bad",
        (b'"94111"', b'"94#11"'),
        source="P",
        error_code="invalid_postal_code",
    ),
    _vary(
        CARD_CHARGE,
        "card-luhn",
        (b"4111111111111111", b"4111111111111112"),
        source="P",
        error_code="invalid_card_number",
    ),
    _vary(
        CARD_CHARGE,
        "card-separators",
        (b"4111111111111111", b"4111 1111 1111 1111"),
        source="P",
        error_code="invalid_card_number",
    ),
    _vary(
        CARD_CHARGE,
        "card-number-type",
        (b'"4111111111111111"', b"4111111111111111"),
        source="P",
        status=400,
        error_code="invalid_field",
    ),
    _vary(
        CARD_CHARGE,
        "card-not-published",
        (b"4111111111111111", b"4444333322221111"),
        source="O: PGP 2021",
        error_code="test_number_required",
    ),
    _vary(
        CARD_CHARGE,
        "card-not-published-live",
        (b"4111111111111111", b"4444333322221111"),
        source="O: PGP 2021",
        mode="live",
    ),
    _vary(
        CARD_TOKENIZE,
        "card-not-published-live-tokenize",
        (b"4111111111111111", b"4444333322221111"),
        source="O: PGP 2021",
        mode="live",
    ),
)

# --- Which instrument it is --------------------------------------------------------------------

INSTRUMENTS: Final = (
    # A serializer that writes every field it has: the other instrument is there, and null.
    _vary(
        CARD_CHARGE,
        "card-with-null-bank",
        (_CVV, b'"cvv":"123","bankaccountnumber":null,"routingnumber":null,'),
        source="I: HS",
    ),
    _vary(
        ACH_CHARGE_VALID,
        "bank-with-null-card",
        (
            b'"description"',
            b'"cardnumber":null,"cvv":null,"expiry_month":null,"postal_code":null,"description"',
        ),
        source="I: HS",
    ),
    _vary(
        CARD_CHARGE,
        "card-and-bank",
        (_CVV, b'"cvv":"123","bankaccountnumber":"12345678","routingnumber":"021000021",'),
        source="P",
        status=400,
        error_code="malformed_request",
    ),
    _vary(
        CARD_CHARGE,
        "no-instrument",
        (b'"cardnumber":"4111111111111111",', b""),
        source="P",
        status=400,
        error_code="missing_field",
    ),
    _vary(
        ACH_CHARGE_VALID,
        "routing-number-missing",
        (b'"routingnumber":"021000021",', b""),
        source="P",
        status=400,
        error_code="missing_field",
    ),
    _vary(
        ACH_CHARGE_VALID,
        "account-number-missing",
        (b'"bankaccountnumber":"12345678",', b""),
        source="P",
        status=400,
        error_code="missing_field",
    ),
)

# --- amount and currency_code ------------------------------------------------------------------

_AMOUNT: Final = b'"amount":"10.0"'
_CURRENCY: Final = b'"currency_code":"USD"'
_TOKENIZED: Final = b'"description":"pizza",'

AMOUNTS: Final = (
    _vary(CARD_CHARGE, "amount-10.00", (_AMOUNT, b'"amount":"10.00"'), source="O: TUT1"),
    _vary(CARD_CHARGE, "amount-50", (_AMOUNT, b'"amount":"50"'), source="O: PGP 2021"),
    _vary(CARD_CHARGE, "amount-99.99", (_AMOUNT, b'"amount":"99.99"'), source="O: PGP 2021"),
    _vary(ACH_CHARGE_VALID, "amount-50-ach", (_AMOUNT, b'"amount":"50"'), source="I: PGP 2021"),
    _vary(CARD_CHARGE, "amount-one-cent", (_AMOUNT, b'"amount":"0.01"'), source="P"),
    _vary(CARD_CHARGE, "amount-greatest", (_AMOUNT, b'"amount":"1000000"'), source="D: PAY"),
    _vary(
        CARD_CHARGE,
        "amount-too-great",
        (_AMOUNT, b'"amount":"1000000.01"'),
        source="D: PAY",
        error_code="invalid_amount",
    ),
    _vary(CARD_CHARGE, "amount-number", (_AMOUNT, b'"amount":10.0'), source="X: cXML"),
    _vary(CARD_CHARGE, "amount-whole-number", (_AMOUNT, b'"amount":10'), source="X: cXML"),
    _vary(
        CARD_CHARGE,
        "amount-missing",
        (_AMOUNT + b",", b""),
        source="P",
        status=400,
        error_code="missing_field",
    ),
    _vary(
        CARD_CHARGE,
        "amount-null",
        (_AMOUNT, b'"amount":null'),
        source="P",
        status=400,
        error_code="missing_field",
    ),
    _vary(
        CARD_CHARGE,
        "amount-0",
        (_AMOUNT, b'"amount":"0"'),
        source="P",
        error_code="invalid_amount",
    ),
    _vary(
        CARD_CHARGE,
        "amount-three-decimals",
        (_AMOUNT, b'"amount":"10.005"'),
        source="P",
        error_code="invalid_amount",
    ),
    _vary(
        CARD_CHARGE,
        "amount-symbol",
        (_AMOUNT, b'"amount":"$10.00"'),
        source="D: PAY",
        error_code="invalid_amount",
    ),
    # A tokenize moves no money, whatever it carries.
    _vary(
        CARD_TOKENIZE,
        "tokenize-amount-0",
        (_TOKENIZED, b'"description":"pizza","amount":"0","currency_code":"USD",'),
        source="O: PGP 2021",
    ),
    _vary(
        CARD_TOKENIZE,
        "tokenize-amount-50",
        (_TOKENIZED, b'"description":"pizza","amount":"50","currency_code":"USD",'),
        source="O: PGP 2021",
    ),
    _vary(
        CARD_TOKENIZE,
        "tokenize-amount-null",
        (_TOKENIZED, b'"description":"pizza","amount":null,"currency_code":null,'),
        source="I: HS",
    ),
    _vary(
        ACH_TOKENIZE_VALID,
        "tokenize-amount-0-ach",
        (_TOKENIZED, b'"description":"pizza","amount":"0","currency_code":"USD",'),
        source="I: PGP 2021",
    ),
    _vary(CARD_CHARGE, "currency-lower", (b'"USD"', b'"usd"'), source="X: SWML"),
    _vary(CARD_CHARGE, "currency-mixed", (b'"USD"', b'"Usd"'), source="P"),
    _vary(CARD_CHARGE, "currency-eur-lower", (b'"USD"', b'"eur"'), source="I: PAY"),
    _vary(
        CARD_CHARGE,
        "currency-jpy",
        (_AMOUNT, b'"amount":"500.0"'),
        (b'"USD"', b'"JPY"'),
        source="P",
    ),
    _vary(
        CARD_CHARGE,
        "currency-jpy-decimals",
        (_AMOUNT, b'"amount":"500.5"'),
        (b'"USD"', b'"JPY"'),
        source="P",
        error_code="invalid_amount",
    ),
    _vary(
        CARD_CHARGE,
        "currency-unknown",
        (b'"USD"', b'"ZZZ"'),
        source="P",
        error_code="unsupported_currency",
    ),
    _vary(
        CARD_CHARGE,
        "currency-missing",
        (_CURRENCY + b",", b""),
        source="P",
        status=400,
        error_code="missing_field",
    ),
    _vary(
        CARD_CHARGE,
        "currency-null",
        (_CURRENCY, b'"currency_code":null'),
        source="P",
        status=400,
        error_code="missing_field",
    ),
)

# --- description -------------------------------------------------------------------------------

_DESCRIPTION: Final = b'"description":"pizza"'

DESCRIPTIONS: Final = (
    _vary(CARD_CHARGE, "description-null", (_DESCRIPTION, b'"description":null'), source="O: PGP 2021"),
    _vary(CARD_CHARGE, "description-missing", (_DESCRIPTION + b",", b""), source="I: GPC"),
    _vary(CARD_CHARGE, "description-empty", (_DESCRIPTION, b'"description":""'), source="P"),
    _vary(
        CARD_CHARGE,
        "description-json-text",
        (_DESCRIPTION, b'"description":"{\\"order\\":\\"A-17\\"}"'),
        source="C: SIM21",
    ),
    _vary(
        CARD_CHARGE,
        "description-object",
        (_DESCRIPTION, b'"description":{"order":"A-17","lines":[1,2]}'),
        source="I: TUT1",
    ),
    _vary(CARD_CHARGE, "description-list", (_DESCRIPTION, b'"description":["pizza"]'), source="P"),
    _vary(CARD_CHARGE, "description-number", (_DESCRIPTION, b'"description":17'), source="P"),
    _vary(CARD_CHARGE, "description-true", (_DESCRIPTION, b'"description":true'), source="P"),
    _vary(
        CARD_CHARGE,
        "description-utf-8",
        (_DESCRIPTION, b'"description":"caf\xc3\xa9 \xf0\x9f\x8d\x95"'),
        source="P",
    ),
    _vary(
        CARD_CHARGE,
        "description-escaped",
        (_DESCRIPTION, b'"description":"caf\\u00e9 \\ud83c\\udf55"'),
        source="P",
    ),
    _vary(
        CARD_CHARGE,
        "description-call-sid",
        (_DESCRIPTION, b'"description":"CAab0cde1fab2cde3fab4cde5fab6cde7f"'),
        source="D: PAY",
    ),
    _vary(
        CARD_TOKENIZE,
        "description-null-tokenize",
        (_DESCRIPTION, b'"description":null'),
        source="O: PGP 2021",
    ),
    _vary(
        ACH_CHARGE_VALID,
        "description-null-ach",
        (_DESCRIPTION, b'"description":null'),
        source="I: PGP 2021",
    ),
)

# --- parameters and unknown fields -------------------------------------------------------------

_PARAMETERS: Final = b'"parameters":{"order_id":"A-1001"}'

PARAMETERS: Final = (
    _vary(CARD_CHARGE, "parameters-null", (_PARAMETERS, b'"parameters":null'), source="O: TUT1"),
    _vary(CARD_CHARGE, "parameters-empty", (_PARAMETERS, b'"parameters":{}'), source="X: TEL"),
    _vary(CARD_CHARGE, "parameters-missing", (b"," + _PARAMETERS, b""), source="O: PGP 2021"),
    _vary(CARD_TOKENIZE, "parameters-null-tokenize", (_PARAMETERS, b'"parameters":null'), source="I"),
    _vary(CARD_TOKENIZE, "parameters-empty-tokenize", (_PARAMETERS, b'"parameters":{}'), source="I"),
    _vary(CARD_TOKENIZE, "parameters-missing-tokenize", (b"," + _PARAMETERS, b""), source="I"),
    _vary(ACH_CHARGE_VALID, "parameters-missing-ach", (b"," + _PARAMETERS, b""), source="I"),
    _vary(
        CARD_CHARGE,
        "parameters-card-type",
        (_PARAMETERS, b'"parameters":{"card_type":"mastercard"}'),
        source="D: PARAM",
    ),
    _vary(
        CARD_CHARGE,
        "parameters-several",
        (_PARAMETERS, b'"parameters":{"waive_fees":"true","customerId":"c-7","Agent-Name":"Ann"}'),
        source="D: PARAM",
    ),
    _vary(
        CARD_CHARGE,
        "parameters-hundred",
        (
            _PARAMETERS,
            b'"parameters":{%b}' % b",".join(b'"key_%d":"value %d"' % (n, n) for n in range(100)),
        ),
        source="D: PARAM",
    ),
    _vary(
        CARD_CHARGE,
        "parameters-reference",
        (_PARAMETERS, b'"parameters":{"reference":"INV-17"}'),
        source="P",
        parameters=(*CHARGED, ("reference", "INV-17")),
    ),
    # Twilio converts names, and does not say how.
    _vary(
        CARD_CHARGE,
        "parameters-reference-capital",
        (_PARAMETERS, b'"parameters":{"Reference":"INV-18"}'),
        source="I: PARAM",
        parameters=(*CHARGED, ("reference", "INV-18")),
    ),
    _vary(
        CARD_CHARGE,
        "parameters-operation-sale",
        (_PARAMETERS, b'"parameters":{"operation":"sale"}'),
        source="P",
    ),
    _vary(
        CARD_CHARGE,
        "parameters-operation-refund",
        (_PARAMETERS, b'"parameters":{"operation":"refund"}'),
        source="D: CL22",
        error_code="not_permitted",
    ),
    _vary(
        CARD_CHARGE,
        "parameters-operation-authorize",
        (_PARAMETERS, b'"parameters":{"operation":"authorize"}'),
        source="D: CL22",
        error_code="not_permitted",
    ),
    _vary(
        CARD_CHARGE,
        "unknown-fields",
        (b'"method"', b'"token_type":"reusable","card_type":"visa","unknown":[{}],"method"'),
        source="X: SWML",
    ),
    _vary(
        CARD_CHARGE,
        "hs-profile-id",
        (b"1b0e9a52-6f3c-4d7e-9b21-5c8f0d4e7a31", b"TXN123456789"),
        (b"4111111111111111", b"4242424242424242"),
        (_MONTH, b'"expiry_month":"10"'),
        (_YEAR, b'"expiry_year":"35"'),
        (_DESCRIPTION, b'"description":"Toll violation payment"'),
        (_AMOUNT, b'"amount":"25.00"'),
        (b"94111", b"94107"),
        (_PARAMETERS, b'"parameters":{"profile_id":"pro_7"}'),
        source="C: HS",
        error_code="test_number_required",
    ),
)
HYPERSWITCH_LIVE: Final = (
    replace(
        PARAMETERS[-1],
        name="hs-profile-id-live",
        mode="live",
        error_code=None,
        parameters=(("status", "approved"), ("card_brand", "visa"), ("card_last4", "4242")),
        instance="Live",
    ),
)

# --- Telnyx: Twilio's fields in an order of its own --------------------------------------------

TELNYX_CHARGE: Final = WireCase(
    name="telnyx-card-charge",
    source="X: TEL",
    body=b"""{
  "method": "charge",
  "transaction_id": "550e8400-e29b-41d4-a716-446655440000",
  "amount": "10.00",
  "currency_code": "USD",
  "description": "Order #12345",
  "cardnumber": "4111111111111111",
  "cvv": "123",
  "expiry_month": "08",
  "expiry_year": "27",
  "postal_code": "94111",
  "parameters": {
    "order_id": "12345",
    "customer_id": "cust_67890"
  }
}""",
    dialect="telnyx",
    valid_on=NOW,
    id_key="charge_id",
    parameters=CHARGED,
    instance="Telnyx_Card_Charge",
)
TELNYX_TOKENIZE: Final = WireCase(
    name="telnyx-card-tokenize",
    source="X: TEL",
    body=b"""{
  "method": "tokenize",
  "transaction_id": "550e8400-e29b-41d4-a716-446655440000",
  "description": "Save card for future use",
  "cardnumber": "4111111111111111",
  "cvv": "123",
  "expiry_month": "08",
  "expiry_year": "27",
  "postal_code": "94111",
  "parameters": {}
}""",
    dialect="telnyx",
    valid_on=NOW,
    id_key="token_id",
    parameters=SAVED,
    instance="Telnyx_Card_Tokenize",
)
TELNYX_ACH: Final = WireCase(
    name="telnyx-ach-charge",
    source="X: TEL",
    body=b"""{
  "method": "charge",
  "transaction_id": "550e8400-e29b-41d4-a716-446655440000",
  "amount": "10.00",
  "currency_code": "USD",
  "description": "Order #12345",
  "bankaccountnumber": "1234567890",
  "routingnumber": "021000021",
  "parameters": {}
}""",
    dialect="telnyx",
    valid_on=NOW,
    id_key="charge_id",
    error_code="test_number_required",
    instance="Telnyx_ACH",
)
TELNYX: Final = (
    TELNYX_CHARGE,
    TELNYX_TOKENIZE,
    TELNYX_ACH,
    replace(
        TELNYX_ACH,
        name="telnyx-ach-charge-live",
        mode="live",
        error_code=None,
        parameters=(("status", "submitted"), ("bank_last4", "7890")),
        instance="Telnyx_ACH_Live",
    ),
    _vary(
        TELNYX_ACH,
        "telnyx-ach-charge-test-number",
        (b"1234567890", b"123456789"),
        error_code=None,
        parameters=(("status", "submitted"), ("bank_last4", "6789")),
    ),
    _vary(
        TELNYX_ACH,
        "telnyx-ach-tokenize",
        (b'"charge"', b'"tokenize"'),
        (b'  "amount": "10.00",\n  "currency_code": "USD",\n', b""),
        (b"1234567890", b"123456789"),
        source="I: TEL",
        id_key="token_id",
        error_code=None,
        parameters=(("status", "saved"), ("bank_last4", "6789")),
    ),
    # A token that Telnyx was handed replaces the card; the name of its field is not printed.
    _vary(
        TELNYX_CHARGE,
        "telnyx-payment-token",
        (b'"cardnumber": "4111111111111111"', b'"payment_token": "tok_abc123"'),
        (b'  "cvv": "123",\n  "expiry_month": "08",\n  "expiry_year": "27",\n', b""),
        (b'  "postal_code": "94111",\n', b""),
        source="I: TEL",
        status=400,
        error_code="missing_field",
    ),
)

# --- SignalWire: the amount tells charge from tokenize, a failure is a 402 ---------------------

# Printed with its card masked and a card of 2099: a server that answers it 200 read nothing.
SWML_PRINTED: Final = WireCase(
    name="swml-printed",
    source="X: SWML",
    body=b"""{
  "transaction_id": "8c9d14d5-52ae-4e2e-b880-a14e6e1cda7d",
  "method": "credit-card",
  "cardnumber": "************1234",
  "cvv": "***",
  "postal_code": "123456",
  "description": "Payment description",
  "chargeAmount": "10.55",
  "token_type": "reusable",
  "expiry_month": "12",
  "expiry_year": "99",
  "currency_code": "usd"
}""",
    dialect="signalwire",
    valid_on=NOW,
    status=402,
    id_key="charge_id",
    error_code="invalid_card_number",
    instance="SignalWire_Printed",
)
SWML_CHARGE: Final = _vary(
    SWML_PRINTED,
    "swml-charge",
    (b"************1234", b"4111111111111111"),
    (b"***", b"123"),
    (b'"99"', b'"27"'),
    status=200,
    error_code=None,
    parameters=CHARGED,
)
_SWML_AMOUNT: Final = b'"chargeAmount": "10.55"'
CXML_CHARGE: Final = WireCase(
    name="cxml-charge",
    source="X: cXML",
    body=(
        b'{"transaction_id":"8275b1c9-d6a3-4e45-a298-c3f674a3eba8","method":"credit-card",'
        b'"cardnumber":"4111111111111111","cvv":"123","postal_code":"94111",'
        b'"description":"Payment description","chargeAmount":10.55,"token_type":"one-time",'
        b'"expiry_month":"12","expiry_year":"27","currency_code":"USD",'
        b'"parameters":{"order_id":"A-1001"}}'
    ),
    dialect="signalwire",
    valid_on=NOW,
    id_key="charge_id",
    parameters=CHARGED,
    instance="SignalWire",
)
CXML_TOKENIZE: Final = WireCase(
    name="cxml-tokenize",
    source="X: cXML",
    body=(
        b'{"transaction_id":"9386c2da-e7b4-4f56-b3a9-d407854fcb9b",'
        b'"cardnumber":"4111111111111111","cvv":"123","postal_code":"94111",'
        b'"description":"Payment description","amount":0,"token_type":"reusable",'
        b'"expiry_month":"12","expiry_year":"27","currency_code":"USD",'
        b'"parameters":{"order_id":"A-1001"}}'
    ),
    dialect="signalwire",
    valid_on=NOW,
    id_key="token_id",
    parameters=SAVED,
    instance="SignalWire",
)
SIGNALWIRE: Final = (
    SWML_PRINTED,
    SWML_CHARGE,
    _vary(
        SWML_CHARGE,
        "swml-year-99",
        (b'"27"', b'"99"'),
        status=402,
        error_code="invalid_expiry",
    ),
    _vary(
        SWML_CHARGE,
        "swml-tokenize-0",
        (_SWML_AMOUNT, b'"chargeAmount": "0"'),
        id_key="token_id",
        parameters=SAVED,
    ),
    _vary(
        SWML_CHARGE,
        "swml-tokenize-0.00",
        (_SWML_AMOUNT, b'"chargeAmount": "0.00"'),
        source="I: SWML",
        id_key="token_id",
        parameters=SAVED,
    ),
    _vary(
        SWML_CHARGE,
        "swml-tokenize-no-amount",
        (_SWML_AMOUNT + b",\n  ", b""),
        id_key="token_id",
        parameters=SAVED,
    ),
    _vary(
        SWML_CHARGE,
        "swml-tokenize-null-amount",
        (_SWML_AMOUNT, b'"chargeAmount": null'),
        source="I: SWML",
        id_key="token_id",
        parameters=SAVED,
    ),
    _vary(
        SWML_CHARGE,
        "swml-no-cvv-no-postal-code",
        (b'"cvv": "123",\n  "postal_code": "123456",\n  ', b""),
        source="I: SWML",
    ),
    _vary(
        SWML_CHARGE,
        "swml-not-published",
        (b"4111111111111111", b"4444333322221111"),
        source="P",
        status=402,
        error_code="test_number_required",
    ),
    _vary(
        SWML_CHARGE,
        "swml-not-published-live",
        (b"4111111111111111", b"4444333322221111"),
        source="P",
        mode="live",
    ),
    _vary(
        SWML_CHARGE,
        "swml-expired",
        (b'"27"', b'"25"'),
        source="P",
        status=402,
        error_code="expired_card",
    ),
    _vary(
        SWML_CHARGE,
        "swml-three-decimals",
        (_SWML_AMOUNT, b'"chargeAmount": "10.555"'),
        source="P",
        status=402,
        error_code="invalid_amount",
    ),
    # What is no contract request stays a 400 in every dialect.
    _vary(
        SWML_CHARGE,
        "swml-no-card",
        (b'"cardnumber": "4111111111111111",\n  ', b""),
        source="P",
        status=400,
        error_code="missing_field",
    ),
    CXML_CHARGE,
    CXML_TOKENIZE,
    _vary(CXML_CHARGE, "cxml-charge-whole-number", (b"10.55", b"25")),
    _vary(CXML_CHARGE, "cxml-charge-two-decimals", (b"10.55", b"25.00")),
    _vary(CXML_CHARGE, "cxml-charge-by-amount", (b'"chargeAmount"', b'"amount"'), source="I: cXML"),
    _vary(CXML_CHARGE, "cxml-charge-no-method", (b'"method":"credit-card",', b""), source="I: cXML"),
    _vary(
        CXML_TOKENIZE,
        "cxml-tokenize-charge-amount-0",
        (b'"amount":0', b'"chargeAmount":0'),
        source="I: cXML",
    ),
    _vary(CXML_TOKENIZE, "cxml-tokenize-no-amount", (b'"amount":0,', b""), source="I: cXML"),
    _vary(
        CXML_TOKENIZE,
        "cxml-tokenize-not-published",
        (b"4111111111111111", b"4444333322221111"),
        source="P",
        status=402,
        error_code="test_number_required",
    ),
)

# --- The envelope: headers and JSON ------------------------------------------------------------

_AHC: Final = replace(CARD_CHARGE, headers=BETA_HEADERS)
ENVELOPES: Final = (
    _vary(_AHC, "content-type-missing", source="O: SIM21", content_type=None),
    _vary(_AHC, "content-type-empty", source="O: SIM21", content_type=""),
    _vary(_AHC, "content-type-json", source="C: SIM21"),
    _vary(
        CARD_CHARGE,
        "content-type-charset",
        source="P",
        content_type="application/json; charset=utf-8",
    ),
    _vary(
        CARD_CHARGE,
        "content-type-form",
        source="P",
        content_type="application/x-www-form-urlencoded",
    ),
    _vary(CARD_CHARGE, "content-type-text", source="P", content_type="text/plain"),
    _vary(CARD_CHARGE, "content-type-octets", source="P", content_type="application/octet-stream"),
    _vary(CARD_CHARGE, "content-type-nonsense", source="P", content_type="json"),
    _vary(CARD_TOKENIZE, "content-type-missing-tokenize", source="O: SIM21", content_type=None),
    _vary(ACH_CHARGE_VALID, "content-type-missing-ach", source="I: SIM21", content_type=None),
    _vary(
        CARD_CHARGE,
        "method-first",
        (b'{"transaction', b'{"method":"charge","transaction'),
        (b'"method":"charge","parameters"', b'"parameters"'),
        source="X: TEL",
    ),
    _vary(
        CARD_CHARGE,
        "spaces-around-colons",
        (b'"cardnumber":"', b'"cardnumber" : "'),
        (b'"method":"', b'"method"\t:\r\n"'),
        source="D: OLD",
    ),
    _vary(CARD_CHARGE, "newline-at-end", (b'"A-1001"}}', b'"A-1001"}}\r\n'), source="P"),
    _vary(
        CARD_CHARGE,
        "escaped-digits",
        (b'"4111111111111111"', b'"\\u0034111111111111111"'),
        source="P",
    ),
    _vary(
        CARD_CHARGE,
        "byte-order-mark",
        (b'{"transaction', b'\xef\xbb\xbf{"transaction'),
        source="P",
        status=400,
        id_key=None,
        error_code="malformed_request",
    ),
    _vary(
        CARD_CHARGE,
        "duplicate-key",
        (b'"method":"charge"', b'"amount":"1.00","method":"charge"'),
        source="P",
        status=400,
        id_key=None,
        error_code="malformed_request",
    ),
    _vary(
        CARD_CHARGE,
        "cut-short",
        (b',"parameters":{"order_id":"A-1001"}}', b""),
        source="P",
        status=400,
        id_key=None,
        error_code="malformed_request",
    ),
    replace(
        CARD_CHARGE,
        name="form-body",
        source="P",
        body=b"method=charge&cardnumber=4111111111111111&amount=10.0",
        content_type="application/x-www-form-urlencoded",
        status=400,
        id_key=None,
        error_code="malformed_request",
        parameters=(),
    ),
    replace(
        CARD_CHARGE,
        name="empty-body",
        source="P",
        body=b"",
        content_type=None,
        status=400,
        id_key=None,
        error_code="malformed_request",
        parameters=(),
    ),
    replace(
        CARD_CHARGE,
        name="list-body",
        source="P",
        body=b"[]",
        status=400,
        id_key=None,
        error_code="malformed_request",
        parameters=(),
    ),
    _vary(
        SWML_CHARGE,
        "signalwire-cut-short",
        (b'"usd"\n}', b'"usd"'),
        source="P",
        status=400,
        id_key=None,
        error_code="malformed_request",
    ),
)

# --- Which of several faults is told -----------------------------------------------------------

_BAD_CARD: Final = (b"4111111111111111", b"4111111111111112")
_PAST: Final = (_YEAR, b'"expiry_year":"20"')
_BAD_CVV: Final = (_CVV, b'"cvv":"1",')
_BAD_POSTAL: Final = (b'"94111"', b'"!"')
_BAD_AMOUNT: Final = (_AMOUNT, b'"amount":"0"')
_BAD_CURRENCY: Final = (b'"USD"', b'"ZZZ"')

# What the body alone tells comes first; the clock is asked last, and only of new transactions.
_FAULTS: Final = (
    ("invalid_card_number", _BAD_CARD),
    ("invalid_cvv", _BAD_CVV),
    ("invalid_postal_code", _BAD_POSTAL),
    ("invalid_amount", _BAD_AMOUNT),
    ("unsupported_currency", _BAD_CURRENCY),
    ("expired_card", _PAST),
)
ORDER_OF_FAULTS: Final = (
    # Each case has the fault that it is named after and every later one.
    *(
        _vary(
            CARD_CHARGE,
            f"first-fault-{code}",
            *(edit for _, edit in _FAULTS[place:]),
            source="P",
            error_code=code,
        )
        for place, (code, _) in enumerate(_FAULTS)
    ),
    _vary(
        ACH_CHARGE,
        "first-fault-invalid_routing_number",
        (b'"4111111111111111"', b'"123"'),
        _BAD_AMOUNT,
        source="P",
    ),
    _vary(
        ACH_CHARGE,
        "first-fault-invalid_account_number",
        _ABA,
        (b'"4111111111111111"', b'"123"'),
        _BAD_AMOUNT,
        source="P",
        error_code="invalid_account_number",
    ),
    # A field of the wrong type is a fault of the request, and told before any of the payment.
    _vary(
        CARD_CHARGE,
        "first-fault-invalid_field",
        _BAD_CARD,
        _PAST,
        (_CURRENCY, b'"currency_code":840'),
        source="P",
        status=400,
        error_code="invalid_field",
    ),
)

WIRE_CASES: Final[tuple[WireCase, ...]] = (
    *DOCUMENTED,
    *TEST_NUMBERS,
    *LOGS_2022,
    *LOGS_2021,
    *SAMPLES_OF_THE_BETA,
    *METHODS_AND_IDS,
    *CARD_FIELDS,
    *INSTRUMENTS,
    *AMOUNTS,
    *DESCRIPTIONS,
    *PARAMETERS,
    *HYPERSWITCH_LIVE,
    *TELNYX,
    *SIGNALWIRE,
    *ENVELOPES,
    *ORDER_OF_FAULTS,
)
