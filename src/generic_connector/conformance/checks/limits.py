"""Limits: what is too much, too deep, too slow or no good, and that it neither is paid nor does harm.

Twilio sends none of this; whoever finds the address does. The contract is silent here, so most of it is SHOULD: an
answer, no crash, no payment. MUST is what touches money: a request that is cut off, and ids that are cut short.
"""

import asyncio
import json
from typing import Final

from generic_connector.conformance.check import Level, Need, NotAskable, Register, Unmet
from generic_connector.conformance.checks.answers import (
    RETRIES,
    answered,
    did_not_crash,
    did_not_pay,
    ids,
    on_any_footing,
    said,
)
from generic_connector.conformance.probe import Probe
from generic_connector.conformance.request import END

MUST, SHOULD = Level.MUST, Level.SHOULD
_SILENT: Final = "Twilio's document is silent"
_OWASP: Final = f"{_SILENT}; OWASP API Security 2023, API4: unrestricted resource consumption"
_MEGABYTE: Final = 1024 * 1024
_DEPTHS: Final = (5_000, 10_000)
"""The first is small enough to get past a limit to the size; no stack is that deep."""
_HEADER: Final = 64 * 1024
_LONG_ID: Final = 10_000
_STALLED: Final = 8
_PIECES: Final = 5
_PAUSE: Final = 0.02
"""Between pieces, as a part of the time that a caller waits."""

_CATCH: Final = (
    "Answer what is no good request with 400 and a JSON error. Catch the parser's failures, all of them, in one place."
)

register = Register("limits")
check = register.check


async def _basis(probe: Probe) -> None:
    """Charge as usual: an endpoint that takes nothing at all cannot be asked what is too much."""
    probe.need_success(await probe.post(probe.charge()), "charge")


@check(
    1,
    SHOULD,
    claim="Refuses a body of one megabyte.",
    source=_OWASP,
    why="A real request has less than a kilobyte. Who reads whatever comes can be filled up from one laptop.",
    sends="A charge with a description of one megabyte.",
    expects="No id: best 413, or a connection that is closed.",
    needs=[Need.CHARGE],
)
async def _large(probe: Probe) -> None:
    await _basis(probe)
    reply = await probe.post(probe.charge(description="x" * _MEGABYTE))
    fix = "Refuse by Content-Length, and count while you read: 16 KiB are plenty. Answer 413."
    did_not_crash(reply, "A body of one megabyte", fix=fix, may_close=True)
    did_not_pay(reply, "A body of one megabyte was paid", fix=fix)


@check(
    2,
    MUST,
    claim="Keeps nothing of a request that breaks off before its body is whole.",
    source=f"RFC 9112, section 8; {RETRIES}",
    why="The retry brings the same transaction_id. Where the half request has used it up, the payment cannot be made.",
    sends="A charge whose sender says Content-Length, sends half of the body and hangs up; then the whole request.",
    expects="A success.",
    needs=[Need.CHARGE, Need.SOCKET],
)
async def _cut_off(probe: Probe) -> None:
    await _basis(probe)
    body = probe.charge()
    whole = probe.request_bytes(body)
    await probe.raw([whole[: -len(json.dumps(body)) // 2], END], timeout_s=min(1.0, probe.timeout_s))
    reply = await probe.post(body)
    if not reply.is_success("charge"):
        raise Unmet(
            f"After a request that broke off, the whole one: {said(reply)}",
            expected="a success",
            fix="Read and parse the whole body before you look at any of it.",
        )


@check(
    3,
    SHOULD,
    claim="Refuses a body in which a key stands twice.",
    source="RFC 8259, section 4: what a reader makes of it is unpredictable",
    why="Two programs on the way read two different amounts. About money there is no guessing.",
    sends='A charge with "amount" twice: first one amount, then another.',
    expects="An error, and no id.",
    needs=[Need.CHARGE],
)
async def _twice(probe: Probe) -> None:
    await _basis(probe)
    body = probe.charge()
    name = "amount" if "amount" in body else "chargeAmount"
    text = json.dumps(body)[:-1] + f', "{name}": {json.dumps(probe.profile.amounts.other)}}}'
    fix = "Let the JSON parser refuse duplicate keys (in Python: object_pairs_hook)."
    reply = await probe.post(text)
    did_not_crash(reply, "A body with two amounts", fix=fix)
    did_not_pay(reply, "A body with two amounts was paid", fix=fix)


@check(
    4,
    MUST,
    claim="Answers fields of the wrong JSON type with an error, and does not fail.",
    source=f"{_SILENT}; RFC 9110, 15.6: a 5xx says that the server is at fault",
    why="Code that expects a text fails on a list. What a stranger can make fail, he will.",
    sends="Charges in which one field is a list, an object, true, or a number: transaction_id, cardnumber,"
    " expiry_month, amount, parameters.",
    expects="Answers below 500, with no id.",
    needs=[Need.CHARGE],
)
async def _wrong_types(probe: Probe) -> None:
    await _basis(probe)
    card = probe.profile.numbers.card
    for name, value in (
        ("transaction_id", ["a", "b"]),
        ("cardnumber", [card]),
        ("cardnumber", {"number": card}),
        ("expiry_month", {"month": 12}),
        ("amount", ["10.00"]),
        ("amount", True),
        ("currency_code", ["USD"]),
        ("parameters", "text"),
    ):
        sent = "chargeAmount" if name == "amount" and "chargeAmount" in probe.charge() else name
        reply = await probe.post({**probe.charge(), sent: value})
        what = f"A charge whose {name} is a {type(value).__name__}"
        did_not_crash(reply, what, fix=_CATCH)
        did_not_pay(reply, f"{what} was paid", fix="Check each field's JSON type before you use it.")


@check(
    5,
    SHOULD,
    claim="Answers a body that is nested thousands deep.",
    source=f"{_SILENT}; RFC 8259, section 9: a parser may limit the depth",
    why="Parsers that call themselves run out of stack: a 500 in some languages, the end of the process in others.",
    sends="Charges whose description is a list in a list, five and ten thousand times.",
    expects="An answer below 500.",
    needs=[Need.CHARGE],
)
async def _deep(probe: Probe) -> None:
    await _basis(probe)
    body = json.dumps(probe.charge(description="@"))
    for depth in _DEPTHS:
        reply = await probe.post(body.replace('"@"', "[" * depth + "]" * depth))
        did_not_crash(reply, f"A body nested {depth:,} deep", fix=_CATCH)


@check(
    6,
    MUST,
    claim="Takes a body that comes in pieces.",
    source="RFC 9112, section 6.3: the length tells where a body ends, not the packet",
    why="Networks cut where they like. Who reads once and parses fails now and then, on real payments.",
    sends="A charge whose head and body come in five pieces, a fifth of a second apart.",
    expects="A success.",
    needs=[Need.CHARGE, Need.SOCKET],
)
async def _in_pieces(probe: Probe) -> None:
    await _basis(probe)
    whole = probe.request_bytes(probe.charge())
    size = -(-len(whole) // _PIECES)
    pieces: list[bytes | float] = []
    for start in range(0, len(whole), size):
        pieces += [whole[start : start + size], _PAUSE * probe.timeout_s]
    reply = await probe.raw(pieces[:-1])
    if not reply.is_success("charge"):
        raise Unmet(
            f"A body in five pieces: {said(reply)}",
            expected="a success",
            fix="Read until Content-Length bytes are there.",
        )


@check(
    7,
    MUST,
    claim="Answers others while some senders do not finish.",
    source="Twilio: Generic Pay Connector, section on retries: an answer within ten seconds",
    why="A few connections from one laptop would stop all payments.",
    sends=f"{_STALLED} requests that stop in the middle of their bodies, and meanwhile a charge.",
    expects="A success.",
    needs=[Need.CHARGE, Need.SOCKET],
)
async def _stalled(probe: Probe) -> None:
    await _basis(probe)
    half = probe.request_bytes(probe.charge())[:-40]
    stalled = [asyncio.create_task(probe.raw([half], timeout_s=3 * probe.timeout_s)) for _sender in range(_STALLED)]
    try:
        await asyncio.sleep(0.2)
        reply = await probe.post(probe.charge())
    finally:
        for task in stalled:
            task.cancel()
        await asyncio.gather(*stalled, return_exceptions=True)
    if not reply.is_success("charge"):
        raise Unmet(
            f"While {_STALLED} senders did not finish: {said(reply)}",
            expected="a success",
            fix="Serve connections side by side, and give a body a few seconds to come.",
        )


@check(
    8,
    SHOULD,
    claim="Answers a request with a header of 64 KB, or closes.",
    source="RFC 6585, section 5; RFC 9110, 5.4",
    why="A header without a limit is memory without a limit; a crash is worse.",
    sends="A charge with a header of 64 KB.",
    expects="An answer below 500, best 431, or a connection that is closed.",
    needs=[Need.CHARGE],
)
async def _huge_header(probe: Probe) -> None:
    await _basis(probe)
    reply = await probe.post(probe.charge(), headers={"X-Filler": "x" * _HEADER})
    did_not_crash(reply, "A header of 64 KB", fix="Limit the size of headers, and answer 431.", may_close=True)


@check(
    9,
    SHOULD,
    claim="Answers a transaction_id of ten thousand characters.",
    source=f"{_SILENT}; Twilio sends 36",
    why="It goes into a column with a limit. Where the database refuses it and nobody catches that, it is a 500.",
    sends="A charge with a transaction_id of ten thousand letters.",
    expects="An answer below 500.",
    needs=[Need.CHARGE],
)
async def _long_id(probe: Probe) -> None:
    await _basis(probe)
    reply = await probe.post(probe.charge(transaction_id=probe.new_id() + "a" * _LONG_ID))
    did_not_crash(reply, "A transaction_id of ten thousand characters", fix="Refuse what is longer than your column.")


@check(
    10,
    MUST,
    claim="Does not take two transaction_ids for one because they begin alike.",
    source=RETRIES,
    why="A column that cuts long texts makes two payments one: the second caller is told that he paid, and did not.",
    sends="Two charges whose transaction_ids of 300 characters differ in the last one.",
    expects="Two ids, or errors.",
    needs=[Need.CHARGE],
)
async def _cut_id(probe: Probe) -> None:
    usual = await probe.post(probe.charge())
    probe.need_success(usual, "charge")
    start = (probe.new_id() + "-" + "a" * 300)[:299]
    replies = [await probe.post(probe.charge(transaction_id=start + last)) for last in "xy"]
    for reply in replies:
        answered(reply, "A transaction_id of 300 characters", fix=_CATCH)
    if usual.id("charge") in ids(replies, "charge"):
        raise NotAskable("Other payments get the same id, too: see retry/20.")
    if all(reply.is_success("charge") for reply in replies) and len(ids(replies, "charge")) == 1:
        raise Unmet(
            f"Two long transaction_ids that differ at their end were one payment: {replies[1].shown}",
            expected="two payments, or two refusals",
            fix="Refuse a transaction_id that is longer than your column: never cut it.",
        )


@check(
    11,
    SHOULD,
    claim="Answers numbers of many thousand digits.",
    source=f"{_SILENT}; RFC 9110, 15.6",
    why="Turning a long text into a number takes very long, or fails: some languages refuse it on purpose.",
    sends="Charges with a cardnumber, an expiry_year and an amount of 8,000 digits each.",
    expects="Answers below 500, with no id.",
    needs=[Need.CHARGE],
)
async def _long_numbers(probe: Probe) -> None:
    await _basis(probe)
    digits = "7" * 8000
    for name in ("cardnumber", "expiry_year", "amount"):
        reply = await probe.post(probe.charge(**{name: digits}))
        did_not_crash(reply, f"A charge whose {name} has 8,000 digits", fix="Check the length before the value.")
        did_not_pay(reply, f"A charge whose {name} has 8,000 digits was paid", fix="Check the length of every field.")


@check(
    12,
    SHOULD,
    claim="Answers characters that databases and encoders choke on.",
    source=f"{_SILENT}; RFC 8259, section 8.2: a lone surrogate is unpredictable",
    why="PostgreSQL takes no NUL in a text, and UTF-8 no lone surrogate. Both stand in valid JSON.",
    sends="Charges with a NUL and with half a surrogate pair in the description, and with both in a parameter.",
    expects="Answers below 500.",
    needs=[Need.CHARGE],
)
async def _characters(probe: Probe) -> None:
    await _basis(probe)
    for what, text in (("NUL", "\\u0000"), ("half a surrogate pair", "\\ud83d")):
        body = json.dumps(probe.charge(description="@", parameters={"note": "@"})).replace("@", text)
        did_not_crash(await probe.post(body), f"A charge with {what} in its texts", fix=_CATCH)


@check(
    13,
    MUST,
    claim="Answers a body that is not UTF-8, with an error.",
    source="RFC 8259, section 8.1: JSON between systems is UTF-8",
    why="Decoding what is no UTF-8 fails, before any of the endpoint's own checks.",
    sends="A charge with a byte in its description that is in no UTF-8 text.",
    expects="An answer below 500.",
    needs=[Need.CHARGE],
)
async def _not_utf8(probe: Probe) -> None:
    await _basis(probe)
    body = json.dumps(probe.charge(description="@")).encode().replace(b"@", b"\xff\xfe")
    did_not_crash(await probe.post(body), "A body that is not UTF-8", fix=_CATCH)


@check(
    14,
    SHOULD,
    claim="Gives up on a body that never comes, within a minute.",
    source=_OWASP,
    why="Each connection that waits for ever is one less for payments; a few thousand are all there are.",
    sends="A request that stops in the middle of its body.",
    expects="An answer below 500, best 408 or 400, or a connection that is closed.",
    needs=[Need.CHARGE, Need.SOCKET],
    seconds=12,
)
async def _never_comes(probe: Probe) -> None:
    await _basis(probe)
    half = probe.request_bytes(probe.charge())[:-40]
    reply = await probe.raw([half], timeout_s=6 * probe.timeout_s)
    did_not_crash(
        reply,
        "A body that stops in its middle",
        fix="Give a body ten seconds to come, then answer 408 and close.",
        may_close=True,
    )


on_any_footing(register)
