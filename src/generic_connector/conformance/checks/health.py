"""Health: after everything that was sent, the endpoint is what it was.

These come last, and one after the other. Whatever the hostile requests before them broke shows here: a process that
died and came back without its memory, a pool that ran out, a check that now lets everybody in.
"""

from typing import Final

from generic_connector.conformance.check import Level, Need, NotAskable, Register, Unmet
from generic_connector.conformance.checks.answers import RETRIES, did_not_crash, did_not_pay, on_any_footing, paid, said
from generic_connector.conformance.probe import Probe
from generic_connector.conformance.request import END

MUST: Final = Level.MUST
_AFTER: Final = "Twilio's document is silent; OWASP API Security 2023, API4: unrestricted resource consumption"
_FIX: Final = (
    "Look into the endpoint's log for the time of this run. Something that came in made it fail, run out of something,"
    " or start again without its memory."
)

_BRIEFLY_S: Final = 0.5

register = Register("health")
check = register.check


async def _hostile(probe: Probe) -> None:
    """Send what no endpoint likes, a little of each. What is answered does not matter here."""
    body = probe.charge()
    for text in ("", "{", "[" * 2000, "\x00" * 100, '{"method": "refund"}', "null", "x" * 200_000):
        await probe.post(text)
    for name in body:
        await probe.post({**probe.charge(), name: [{"a": None}]})
    await probe.post(probe.charge(), credentials=("nobody", "nothing"))
    if probe.has(Need.SOCKET):
        request = probe.request_bytes(probe.charge())
        for piece in (b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", request[:30], request[:-20]):
            await probe.raw([piece, END], timeout_s=_BRIEFLY_S)


@check(
    1,
    MUST,
    claim="Gives the same answer to a retry after a burst of hostile requests as before.",
    source=RETRIES,
    why="A process that dies and comes back has forgotten who has paid.",
    sends="A charge; broken JSON, wrong types, wrong credentials and senders who hang up; then the charge again.",
    expects="The first charge_id.",
    needs=[Need.CHARGE],
    is_alone=True,
)
async def _same_answer(probe: Probe) -> None:
    body = probe.charge()
    first = await probe.post(body)
    probe.need_success(first, "charge")
    before = await probe.post(body)
    if paid(before, "charge") != paid(first, "charge"):
        raise NotAskable("A retry does not hear the first answer, so nothing can be said about it afterwards.")
    await _hostile(probe)
    again = await probe.post(body)
    if paid(again, "charge") != paid(first, "charge"):
        raise Unmet(
            f"The retry, after hostile requests: {said(again)}",
            expected=f"the first answer: {first.shown}",
            fix=_FIX,
        )


@check(
    2,
    MUST,
    claim="Still declines what it declined, after everything that was sent.",
    source=_AFTER,
    why="A connection to the processor that broke must not make every card a good one.",
    sends="A charge that is declined, before and after hostile requests.",
    expects="The same error_code twice.",
    needs=[Need.CHARGE, Need.DECLINE],
    is_alone=True,
)
async def _still_declines(probe: Probe) -> None:
    before = await probe.post(probe.declined_charge())
    if not before.error_code:
        raise NotAskable(f"The charge that the profile says is declined was not declined: {said(before)}.")
    await _hostile(probe)
    after = await probe.post(probe.declined_charge())
    if after.error_code != before.error_code or after.is_success("charge"):
        raise Unmet(f"The decline, at the end: {said(after)}", expected=before.shown, fix=_FIX)


@check(
    3,
    MUST,
    claim="Still refuses wrong credentials after everything that was sent.",
    source="Twilio: Generic Pay Connector, section on authentication (HTTP Basic)",
    why="A check that gives up after a failure must give up closed, not open.",
    sends="A charge without credentials, at the end of the run.",
    expects="No id.",
    needs=[Need.CHARGE, Need.CREDENTIALS],
    is_alone=True,
)
async def _still_refuses(probe: Probe) -> None:
    reply = await probe.post(probe.charge(), credentials=None)
    did_not_pay(reply, "A charge without credentials, at the end, was paid", fix=_FIX)


@check(
    4,
    MUST,
    claim="Still answers after everything that was sent.",
    source=_AFTER,
    why="Who can be brought down by a stranger's requests does not sell.",
    sends="A charge, at the end of the run.",
    expects="An answer below 500.",
    needs=[Need.CHARGE],
    is_alone=True,
)
async def _still_answers(probe: Probe) -> None:
    reply = await probe.post(probe.charge(), timeout_s=2 * probe.timeout_s)
    did_not_crash(reply, "An ordinary charge, at the end", fix=_FIX)


on_any_footing(register)
