"""Bodies that no carrier sends, made from those that carriers do send. The same seed makes the same bodies.

A `Mutator` takes a body of the wire corpus and damages it, in one of two ways or both: as JSON (a field gets a value
of another type, another field's value, another name, a second one; parameters are added), and as bytes (flipped, cut,
doubled, spliced with another body, with pieces thrown in that parsers have stumbled over).

What would make the sandbox wait is never made: outcomes are declines, delays a millisecond or two.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from generic_connector.contract.body import BODY_BYTES_MAX
from generic_connector.payment import DeclineCode
from wire_cases import WIRE_CASES, WireCase


def _wide(digits: str) -> str:
    """Full-width digits, which Python reads as numbers."""
    return "".join(chr(ord(digit) - ord("0") + ord("\uff10")) for digit in digits)


VISA: Final = "4111111111111111"
FIELDS: Final = (
    "transaction_id", "method", "cardnumber", "cvv", "expiry_month", "expiry_year", "description", "amount",
    "currency_code", "postal_code", "parameters", "bankaccountnumber", "routingnumber", "chargeAmount", "token_type",
)  # fmt: skip
ODD_NAMES: Final = (
    "", " ", "Method", "__proto__", "\u0000", "\ud800", _wide("4111"), VISA, "charge_id", "a" * 200,
)  # fmt: skip
PARAMETERS: Final = (
    "operation", "save_card", "saveCard", "Save-Card", "reference", "Reference", "AVSName", "BankAccountType",
    "order_id", "sandbox", "sandbox_x", VISA, "<b>",
)  # fmt: skip
OUTCOMES: Final = ('"approve"', '"unavailable"', '"nothing"', "1", "[]", *(f'"{code}"' for code in DeclineCode))
DELAYS: Final = ("0", '"1"', "2", '"-1"', '"60001"', '"1e3"', "true", "{}")

VALUES: Final = (
    # Other types, and numbers as nobody writes them.
    "null", "true", "false", "0", "-0", "1", "-1", "0.0", "-0.0", "0e5", "1e3", "1E+400", "-1e-999", "10.00", "10.005",
    "9" * 30, "9" * 5000, "-" + "1" * 400, "0." + "1" * 400, "[]", "{}", "[[]]", "[null]", '[{"a":1}]',
    '{"a":{"b":[]}}',
    # Not JSON at all, though some parsers think so.
    "NaN", "-Infinity", "01", "+1", "0x10", "1_000", "'x'", "undefined", "1.", ".5", '"\t"', '"', "",
    # Texts: empty, odd, long, of other scripts, half a character.
    '""', '" "', '"\\u0000"', '"\\ud800"', '"\\udc00x"', '"\\ud83c\\udf55"', '"é"', '"٤١١١"', f'"{_wide("123")}"',
    '"\\n0"', '"0\\n"', '"true\\n"', '"<script>alert(1)</script>"', '"\'; DROP TABLE ledger; --"', '"../../etc/passwd"',
    '"%s%n{0}${x}"', f'"{"A" * 300}"', f'"{"1" * 2000}"', f'"{"4 " * 900}"', f'"{"1,,2--" * 400}"', f'"{"é" * 3000}"',
    # Card numbers where there should be none, in ways that people write them.
    f'"{VISA}"', VISA, '"4111 1111 1111 1111"', '"4111-1111-1111-1111"', f'"{_wide(VISA)}"', f'"0004{VISA[1:]}000"',
    '"card 378282246310005 exp 1240"', '"5555555555554444,6011111111111117"', '"4539578763621486"', f'"{VISA}0"',
    # Values of the contract, where another belongs.
    '"charge"', '"tokenize"', '"credit-card"', '"true"', '"TRUE"', '"sale"', '"refund"', '"0"', '"00"', '"000000000"',
    '"0.00"', '"000.000"', '"8"', '"13"', '"99"', '"2040"', '"40"', '"123"', '"1234"', '"USD"', '"usd"', '"JPY"',
    '"BHD"', '"XAU"', '"ZZZ"', '"50"', '"2001.00"', '"2099.99"', '"1000000"', '"1000000.01"', '"$1"', '"1,000.00"',
    '"-5"', '"1e2"', '"021000021"', '"110000000"', '"12345678"', '"123456789"', '"94111"', '"K1A 0B6"',
    '"378282246310005"', '"3065930009020004"', '"1000000000000008"', '"000000000000"', f'"{"4" * 19}"',
    f'"{"0" * 128}"', f'"{"x" * 129}"',
    # Depth.
    "[" * 31 + "]" * 31, "[" * 33 + "]" * 33, '{"a":' * 200 + "1" + "}" * 200, "[" * 5000, "[{" * 2000,
)  # fmt: skip
PIECES: Final = (
    b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf",
    b"\xf4\x90", b"\\u", b"\\ud800", b"/*", b"NaN", b"1e999", b"-", VISA.encode(), b"\r\n\r\n", b"<html>", b"null",
    b'"amount":"1",', b'"parameters":{"reference":"4111111111111111"},', b"\xe2\x80\xa8", _wide("4").encode(),
    b" " * 500, b"[" * 600,
)  # fmt: skip
_UNQUOTED: Final = "@raw@"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A body, and the case of the corpus that it comes from: whose path and instance suit it best."""

    case: WireCase
    body: bytes


class Mutator:
    """Makes bodies. Without end, and each only from the seed and those before it."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 - the same bodies each time is the point
        self._objects = [(case, parsed) for case in WIRE_CASES if (parsed := _parsed(case.body)) is not None]
        self._byte_edits: Sequence[Callable[[bytes], bytes]] = (
            self._flip, self._flip, self._cut, self._truncate, self._double, self._throw_in, self._throw_in,
            self._splice,
        )  # fmt: skip
        self._object_edits: Sequence[Callable[[dict[str, Any]], None]] = (
            self._set, self._set, self._set, self._add, self._drop, self._rename, self._swap, self._parameter,
            self._parameter,
        )  # fmt: skip

    def next(self) -> "Mutant":
        """Return the next body, and the case that it comes from."""
        draw = self._random.random()
        case, body = self._object_body() if draw < 0.95 else self._whole()
        if draw > 0.8 and b"delay" not in body.lower():
            for _edit in range(self._random.randint(1, 4)):
                body = self._random.choice(self._byte_edits)(body)
        if self._random.random() < 0.005:
            body += b" " * max(0, BODY_BYTES_MAX - len(body) + self._random.randint(-1, 1))
        return Mutant(case, body)

    # --- As JSON -----------------------------------------------------------------------------------------------------

    def _whole(self) -> tuple[WireCase, bytes]:
        case = self._random.choice(WIRE_CASES)
        return case, case.body

    def _object_body(self) -> tuple[WireCase, bytes]:
        case, parsed = self._random.choice(self._objects)
        fields = dict(parsed)
        if isinstance(fields.get("parameters"), dict):
            fields["parameters"] = dict(fields["parameters"])
        if self._random.random() < 0.9:
            fields["transaction_id"] = f"{self._random.getrandbits(128):032x}"
        for _edit in range(self._random.choice((0, 0, 1, 1, 1, 2, 3, 5))):
            self._random.choice(self._object_edits)(fields)
        text = _written(fields, ensure_ascii=self._random.random() < 0.5)
        if self._random.random() < 0.02:  # a key that stands twice
            name = self._random.choice(FIELDS)
            text = f'{{"{name}":{self._random.choice(VALUES)},{text[1:]}'
        return case, text.encode("utf-8", "surrogatepass")

    def _value(self) -> str:
        return _UNQUOTED + self._random.choice(VALUES)

    def _set(self, fields: dict[str, Any]) -> None:
        fields[self._random.choice(list(fields) or FIELDS)] = self._value()

    def _add(self, fields: dict[str, Any]) -> None:
        fields[self._random.choice(FIELDS)] = self._value()

    def _drop(self, fields: dict[str, Any]) -> None:
        fields.pop(self._random.choice(FIELDS), None)

    def _rename(self, fields: dict[str, Any]) -> None:
        if fields:
            fields[self._random.choice((*FIELDS, *ODD_NAMES))] = fields.pop(self._random.choice(list(fields)))

    def _swap(self, fields: dict[str, Any]) -> None:
        if fields:
            one, other = (self._random.choice(list(fields)) for _ in range(2))
            fields[one], fields[other] = fields[other], fields[one]

    def _parameter(self, fields: dict[str, Any]) -> None:
        parameters = fields.get("parameters")
        if not isinstance(parameters, dict):
            parameters = fields["parameters"] = {}
        match self._random.randint(0, 9):
            case 0 | 1:
                name = self._random.choice(("sandbox_outcome", "Sandbox-Outcome", "sandboxOutcome"))
                parameters[name] = _UNQUOTED + self._random.choice(OUTCOMES)
            case 2:
                parameters["sandbox_delay_ms"] = _UNQUOTED + self._random.choice(DELAYS)
            case _:
                parameters[self._random.choice(PARAMETERS)] = self._value()

    # --- As bytes ----------------------------------------------------------------------------------------------------

    def _place(self, body: bytes) -> int:
        return self._random.randint(0, len(body))

    def _slice(self, body: bytes) -> tuple[int, int]:
        start = self._place(body)
        return start, min(len(body), start + self._random.choice((1, 1, 2, 5, 20, 100)))

    def _flip(self, body: bytes) -> bytes:
        if not body:
            return body
        place = self._random.randrange(len(body))
        flipped = body[place] ^ (1 << self._random.randint(0, 7))
        return body[:place] + bytes([flipped]) + body[place + 1 :]

    def _cut(self, body: bytes) -> bytes:
        start, end = self._slice(body)
        return body[:start] + body[end:]

    def _truncate(self, body: bytes) -> bytes:
        return body[: self._place(body)]

    def _double(self, body: bytes) -> bytes:
        start, end = self._slice(body)
        return body[:end] + body[start:end] * self._random.choice((1, 1, 2, 30)) + body[end:]

    def _throw_in(self, body: bytes) -> bytes:
        place = self._place(body)
        return body[:place] + self._random.choice(PIECES) + body[place:]

    def _splice(self, body: bytes) -> bytes:
        _case, other = self._whole()
        return body[: self._place(body)] + other[self._place(other) :]


def _parsed(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _written(fields: Mapping[str, Any], *, ensure_ascii: bool) -> str:
    """JSON, in which a text that says so stands as it is, without quotes."""
    members = []
    for name, value in fields.items():
        if isinstance(value, str) and value.startswith(_UNQUOTED):
            written = value.removeprefix(_UNQUOTED)
        elif isinstance(value, dict):
            written = _written(value, ensure_ascii=ensure_ascii)
        else:
            written = json.dumps(value, ensure_ascii=ensure_ascii)
        members.append(f"{json.dumps(name, ensure_ascii=ensure_ascii)}:{written}")
    return f"{{{','.join(members)}}}"
