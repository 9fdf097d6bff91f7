"""Retries: one transaction_id is one payment, however often and in whatever way it is asked for.

Twilio waits ten seconds, and then sends the same request again, up to five times. It cannot tell a charge that failed
from one whose answer was lost; the endpoint can, by the transaction_id. Most endpoints get this wrong: a caller pays
twice, or has paid and is told that it failed.

What Twilio's document leaves open is asked as SHOULD: that a duplicate hears the first answer rather than an error, and
what a contradiction is answered with.
"""

import asyncio
import json
from typing import Final

from generic_connector.conformance.attempt import Reply
from generic_connector.conformance.check import Level, Need, NotAskable, Register, Unmet
from generic_connector.conformance.checks.answers import RETRIES, answered, ids, on_any_footing, paid, said
from generic_connector.conformance.probe import Probe
from generic_connector.conformance.visit import OTHER

MUST, SHOULD = Level.MUST, Level.SHOULD
ATTEMPTS: Final = 6
"""How often Twilio sends one request: once, and five times more."""
_OVERLAP: Final = 0.1
"""When the next delivery follows, as a part of the time that the charge takes, or that a caller waits."""

_LOOK_UP = (
    "Keep each transaction_id with its answer, with a unique index, before the card is charged. Look it up first: where"
    " it is known, send the answer that is kept."
)
_WAIT = (
    "Where the transaction_id is known and its payment is still under way, wait for that payment and send its answer."
    " Do not buy again, and do not answer with an error meanwhile."
)
_ATOMIC = (
    "Claim the transaction_id in one atomic step (an INSERT under a unique index), so that of several deliveries at"
    " once exactly one buys. Looking first and writing later lets two of them through."
)
_COMPARE = (
    "Keep with the transaction_id what it was for (method, number, amount, currency), and refuse a request that brings"
    " the id for something else."
)
_OWN_TASK = (
    "Let the payment run in a task of its own that does not end when the caller hangs up, and keep its result for the"
    " retry."
)

register = Register("retry")
check = register.check


async def _paid(probe: Probe, body: dict[str, object], method: str = "charge") -> str:
    """Send a request that should succeed, and return its id: what the retries are about."""
    reply = await probe.post(body)
    probe.need_success(reply, method)
    return str(paid(reply, method))


async def _repeat(probe: Probe, body: dict[str, object], method: str = "charge") -> None:
    """Ask for the same payment twice: no second id may come."""
    first = await _paid(probe, body, method)
    again = await probe.post(body)
    answered(again, "The repeated request", fix=_LOOK_UP)
    if paid(again, method) not in {None, first}:
        raise Unmet(
            f"The first request was answered with one id, its repetition with another: {again.shown}",
            expected=f"the id of the first answer, {first}",
            fix=_LOOK_UP,
        )


async def _contradict(probe: Probe, what: str, **changes: object) -> None:
    """Ask for something else under an id that is taken: no second id may come."""
    body = probe.charge()
    first = await _paid(probe, body)
    other = await probe.post(probe.charge(transaction_id=body["transaction_id"], **changes))
    answered(other, f"The transaction_id with {what}", fix=_COMPARE)
    if paid(other, "charge") not in {None, first}:
        raise Unmet(
            f"The transaction_id with {what} was charged as a payment of its own: {other.shown}",
            expected="an error, or the first charge's answer",
            fix=_COMPARE,
        )


@check(
    1,
    MUST,
    claim="Charges once when a charge that succeeded is asked for again.",
    source=RETRIES,
    why="The answer to the first request may have been lost on its way: the caller would pay twice.",
    sends="A charge, and after its answer the very same request again.",
    expects="The first charge_id again, or an error without an id.",
    needs=[Need.CHARGE],
)
async def _charge_again(probe: Probe) -> None:
    await _repeat(probe, probe.charge())


@check(
    2,
    SHOULD,
    claim="Answers the repetition of a charge that succeeded with the first success, and not with an error.",
    source=f"{RETRIES}: an error that says duplicate is allowed, but the caller then hears that the payment failed",
    why="Twilio tells the merchant what the last answer said. An error for a payment that was made is a wrong receipt.",
    sends="A charge, and after its answer the very same request again.",
    expects="A success.",
    needs=[Need.CHARGE],
)
async def _success_again(probe: Probe) -> None:
    body = probe.charge()
    await _paid(probe, body)
    again = await probe.post(body)
    if not again.is_success("charge"):
        raise Unmet(f"The repetition: {said(again)}", expected="the first success once more", fix=_LOOK_UP)


@check(
    3,
    SHOULD,
    claim="Gives a repeated charge the whole first answer, all its fields alike.",
    source=f"{RETRIES}: the original is to be answered; that all of it is meant is good sense",
    why="A confirmation number that changes between two answers cannot be found again.",
    sends="A charge, and after its answer the very same request again.",
    expects="The same JSON object twice.",
    needs=[Need.CHARGE],
)
async def _same_answer(probe: Probe) -> None:
    body = probe.charge()
    first = await probe.post(body)
    probe.need_success(first, "charge")
    again = await probe.post(body)
    if paid(again, "charge") != paid(first, "charge"):
        raise NotAskable("The repetition was not answered with the first charge's id: see retry/1 and retry/2.")
    if again.json != first.json:
        raise Unmet(
            f"The repetition has the id of the first answer, but other fields: {again.shown}",
            expected=f"the first answer: {first.shown}",
            fix="Keep the first answer's body as it was sent, and send that.",
        )


@check(
    4,
    MUST,
    claim="Does not charge when a charge that was declined is asked for again.",
    source=RETRIES,
    why="The caller was told that the payment failed, and perhaps paid in another way.",
    sends="A charge that is declined, and after its answer the very same request again.",
    expects="An error once more, and no id.",
    needs=[Need.CHARGE, Need.DECLINE],
)
async def _decline_again(probe: Probe) -> None:
    body = probe.declined_charge()
    first = await probe.post(body)
    if first.failure or first.is_success("charge") or not first.error_code:
        raise NotAskable(f"The charge that the profile says is declined was not declined: {said(first)}.")
    again = await probe.post(body)
    answered(again, "The repetition of the decline", fix=_LOOK_UP)
    if paid(again, "charge") is not None:
        raise Unmet(
            f"The repetition of the decline: {again.shown}", expected=f"the first answer: {first.shown}", fix=_LOOK_UP
        )


@check(
    5,
    MUST,
    claim="Makes one token when a tokenize that succeeded is asked for again.",
    source=RETRIES,
    why="The card would lie in the vault under tokens that nobody knows.",
    sends="A tokenize, and after its answer the very same request again.",
    expects="The first token_id again, or an error without an id.",
    needs=[Need.TOKENIZE],
)
async def _tokenize_again(probe: Probe) -> None:
    await _repeat(probe, probe.tokenize(), "tokenize")


@check(
    6,
    MUST,
    claim="Charges a bank account once when a charge that succeeded is asked for again.",
    source=RETRIES,
    why="Bank debits often take a road of their own through an endpoint, and the retry rule is forgotten on it.",
    sends="A charge of a bank account, and after its answer the very same request again.",
    expects="The first charge_id again, or an error without an id.",
    needs=[Need.CHARGE, Need.ACH],
)
async def _account_again(probe: Probe) -> None:
    await _repeat(probe, probe.charge_account())


async def _while_it_runs(probe: Probe) -> tuple[Reply, Reply, dict[str, object]]:
    """Send a slow charge twice, the second time while the first is under way. Return both answers."""
    slow = probe.profile.slow
    body = probe.slow_charge()
    patience_s = slow.takes_s + probe.timeout_s

    async def later() -> Reply:
        await asyncio.sleep(slow.takes_s * _OVERLAP)
        return await probe.post(body, timeout_s=patience_s)

    first, second = await asyncio.gather(probe.post(body, timeout_s=patience_s), later())
    if not ids([first, second], "charge"):
        raise NotAskable(f"The charge that the profile says is slow does not succeed: {said(first)}.")
    if first.is_success("charge") and first.seconds < slow.takes_s * 2 * _OVERLAP:
        raise NotAskable("The charge that the profile says is slow was over before the second delivery came.")
    return first, second, body


@check(
    7,
    MUST,
    claim="Charges once when a charge is asked for again while the first request is still under way.",
    source=RETRIES,
    why="This is how Twilio's retries come: the first request is slow, and the second finds it running.",
    sends="A slow charge, and the very same request again a second later.",
    expects="No two ids.",
    needs=[Need.CHARGE, Need.SLOW],
    seconds=13,
)
async def _running_once(probe: Probe) -> None:
    first, second, _body = await _while_it_runs(probe)
    if len(ids([first, second], "charge")) > 1:
        raise Unmet(
            f"Two deliveries of one request were charged: {first.shown} and {second.shown}",
            expected="one charge_id for both",
            fix=_ATOMIC,
        )


@check(
    8,
    MUST,
    claim="Does not answer a retry with an error while the first request is still under way and then succeeds.",
    source=f"{RETRIES}: a success that took longer than ten seconds is to be answered to the retry",
    why="Twilio takes any answer as the last word: the merchant hears that the payment failed, and it succeeds.",
    sends="A slow charge, and the very same request again a second later.",
    expects="The second request waits, and hears the success.",
    needs=[Need.CHARGE, Need.SLOW],
    seconds=13,
)
async def _no_early_error(probe: Probe) -> None:
    _first, second, body = await _while_it_runs(probe)
    if second.failure:  # Twilio would ask once more
        second = await probe.post(body)
    if not second.is_success("charge"):
        raise Unmet(
            f"The retry was answered while the payment ran: {said(second)}",
            expected="the success, when it is there",
            fix=_WAIT,
        )


@check(
    9,
    MUST,
    claim="Charges once when one charge is asked for six times at once.",
    source=f"{RETRIES}: nothing says that retries keep their distance",
    why="Looking a transaction_id up and writing it down later lets two requests at once both find nothing.",
    sends="The very same charge six times at once, each on a connection of its own.",
    expects="No two ids.",
    needs=[Need.CHARGE],
)
async def _six_at_once(probe: Probe) -> None:
    replies = await probe.together([probe.charge()] * ATTEMPTS)
    found = ids(replies, "charge")
    if not found:
        raise NotAskable(f"None of six charges at once was answered with an id: {said(replies[0])}.")
    if len(found) > 1:
        raise Unmet(
            f"Six deliveries of one request at once were answered with {len(found)} different ids",
            expected="one charge_id for all",
            fix=_ATOMIC,
        )


@check(
    10,
    SHOULD,
    claim="Answers each of six deliveries of one charge at once with its success.",
    source=f"{RETRIES}: an error that says duplicate is allowed, but the caller then hears that the payment failed",
    why="Whichever answer arrives is the one that counts: an error among them makes a paid call a failed one.",
    sends="The very same charge six times at once, each on a connection of its own.",
    expects="Six successes.",
    needs=[Need.CHARGE],
)
async def _six_successes(probe: Probe) -> None:
    replies = await probe.together([probe.charge()] * ATTEMPTS)
    if not ids(replies, "charge"):
        raise NotAskable(f"None of six charges at once was answered with an id: {said(replies[0])}.")
    failed = [reply for reply in replies if not reply.is_success("charge")]
    if failed:
        raise Unmet(f"{len(failed)} of six failed: {said(failed[0])}", expected="six successes", fix=_WAIT)


@check(
    11,
    MUST,
    claim="Does not charge another amount under a transaction_id that was charged.",
    source=f"{RETRIES}: one transaction_id is one payment",
    why="A second charge under one id is one too many, whatever it is for.",
    sends="A charge, and after its answer another amount under the same transaction_id.",
    expects="An error, or the first charge's answer.",
    needs=[Need.CHARGE],
)
async def _other_amount(probe: Probe) -> None:
    await _contradict(probe, "another amount", amount=probe.profile.amounts.other)


@check(
    12,
    MUST,
    claim="Does not charge another card under a transaction_id that was charged.",
    source=f"{RETRIES}: one transaction_id is one payment",
    why="A second charge under one id is one too many, whoever pays it.",
    sends="A charge, and after its answer another card under the same transaction_id.",
    expects="An error, or the first charge's answer.",
    needs=[Need.CHARGE],
)
async def _other_card(probe: Probe) -> None:
    await _contradict(probe, "another card", cardnumber=probe.profile.numbers.other_card)


@check(
    13,
    SHOULD,
    claim="Refuses to make a token under a transaction_id that was charged.",
    source="Twilio's document is silent; it follows from one transaction_id being one payment",
    why="An answer made for a charge holds no token_id, so the merchant gets a malformed reply; and a token made under"
    " the charge's id cannot be asked for again.",
    sends="A charge, and after its answer a tokenize of the same card under the same transaction_id.",
    expects="An error that names its code, with no id.",
    needs=[Need.CHARGE, Need.TOKENIZE],
)
async def _other_method(probe: Probe) -> None:
    body = probe.charge()
    await _paid(probe, body)
    other = await probe.post(probe.tokenize(transaction_id=body["transaction_id"]))
    answered(other, "A tokenize under a charge's transaction_id", fix=_COMPARE)
    if paid(other, "tokenize") is not None or paid(other, "charge") is not None or not other.error_code:
        raise Unmet(
            f"A tokenize under a charge's transaction_id: {other.shown}",
            expected="an error with an error_code and no id",
            fix=_COMPARE,
        )


@check(
    14,
    SHOULD,
    claim="Still answers a charge's own retry after somebody else used its transaction_id.",
    source=f"{RETRIES}: the original is to be answered; a contradiction between does not change that",
    why="A refused request that overwrites what was kept loses the record of a payment that was made.",
    sends="A charge; another amount under its transaction_id; then the charge itself again.",
    expects="The first charge_id.",
    needs=[Need.CHARGE],
)
async def _undisturbed(probe: Probe) -> None:
    body = probe.charge()
    first = await _paid(probe, body)
    await probe.post(probe.charge(transaction_id=body["transaction_id"], amount=probe.profile.amounts.other))
    again = await probe.post(body)
    if paid(again, "charge") != first:
        raise Unmet(
            f"The charge's own retry, after the contradiction: {said(again)}",
            expected=f"the id of the first answer, {first}",
            fix="Keep the first request and its answer. What contradicts it is refused, and leaves no trace.",
        )


@check(
    15,
    MUST,
    claim="Keeps the transaction_ids of two instances apart.",
    source="Twilio: Generic Pay Connector, section on credentials; each connector instance is a merchant's own",
    why="Who guesses or reuses another merchant's id would get that merchant's answer, or block the payment.",
    sends="A charge with one instance's credentials, and the same body with the other's.",
    expects="Two successes with two ids.",
    needs=[Need.CHARGE, Need.OTHER],
)
async def _other_instance(probe: Probe) -> None:
    body = probe.charge()
    first = await _paid(probe, body)
    own = await probe.post(probe.charge(), credentials=OTHER)
    probe.need_success(own, "charge")
    if own.id("charge") == first:
        raise NotAskable("Every payment gets the same id: see retry/20.")
    other = await probe.post(body, credentials=OTHER)
    if not other.is_success("charge") or paid(other, "charge") == first:
        raise Unmet(
            f"The other instance, under a transaction_id of the first: {said(other)}",
            expected="a charge of its own, with an id of its own",
            fix="Make the key of what is kept the pair of instance and transaction_id.",
        )


@check(
    16,
    MUST,
    claim="Answers the retries of a charge whose first caller hung up with one success.",
    source=RETRIES,
    why="A caller who hangs up must not leave a payment that is half made, cancelled, or under way for ever.",
    sends="A charge whose sender hangs up right after the last byte; a moment later the same request, twice.",
    expects="A success, and no other id for the second one.",
    needs=[Need.CHARGE],
)
async def _dropped(probe: Probe) -> None:
    probe.need_success(await probe.post(probe.charge()), "charge")
    body = probe.charge()
    await probe.abandon(body)
    await asyncio.sleep(_OVERLAP * probe.timeout_s)
    replies = [await probe.post(body), await probe.post(body)]
    if not replies[0].is_success("charge") or len(ids(replies, "charge")) > 1:
        raise Unmet(
            f"After the hang-up: {said(replies[0])}, then {said(replies[1])}",
            expected="a success, and no other id for the second one",
            fix=_OWN_TASK,
        )


@check(
    17,
    MUST,
    claim="Answers a success that took longer than ten seconds to the retry.",
    source=f"{RETRIES}: a success that took longer than ten seconds is to be answered to the retry",
    why="Else the caller has paid, and every retry starts over or fails.",
    sends="A slow charge as Twilio sends it: given up after ten seconds, and repeated up to five times.",
    expects="One of the retries hears the success.",
    needs=[Need.CHARGE, Need.SLOW],
    seconds=13,
)
async def _late_success(probe: Probe) -> None:
    probe.need_success(await probe.post(probe.charge()), "charge")
    body = probe.slow_charge()
    first = await probe.post(body)
    if not first.failure:
        raise NotAskable(f"The charge that the profile says is slow was answered in time: {first.shown}.")
    reply = first
    for _attempt in range(1, ATTEMPTS):
        reply = await probe.post(body)
        if not reply.failure:
            break
    if not reply.is_success("charge"):
        raise Unmet(f"The last of the retries: {said(reply)}", expected="a success", fix=f"{_OWN_TASK} {_WAIT}")


@check(
    18,
    MUST,
    claim="Charges once when the endpoint is restarted between a charge and its retry.",
    source=RETRIES,
    why="What is kept in memory is lost with it. A deployment in the wrong second, and callers pay twice.",
    sends="A charge; a restart, by the profile's command; then the very same request again.",
    expects="The first charge_id again, or an error without an id.",
    needs=[Need.CHARGE, Need.RESTART],
    seconds=15,
    is_alone=True,
)
async def _restarted(probe: Probe) -> None:
    body = probe.charge()
    first = await _paid(probe, body)
    await probe.restart()
    again = await probe.post(body)
    fix = "Keep transaction_ids and their answers on disk, and commit before you answer."
    answered(again, "The retry after the restart", fix=fix)
    if paid(again, "charge") not in {None, first}:
        raise Unmet(
            f"The retry after the restart was charged again: {again.shown}",
            expected=f"the id of the first answer, {first}",
            fix=fix,
        )


@check(
    19,
    MUST,
    claim="Charges once when one charge is asked for six times in a row.",
    source=f"{RETRIES}: up to five retries",
    why="Some endpoints forget a transaction_id once they have repeated its answer.",
    sends="The very same charge six times, one after the other.",
    expects="No two ids.",
    needs=[Need.CHARGE],
)
async def _six_in_a_row(probe: Probe) -> None:
    body = probe.charge()
    first = await _paid(probe, body)
    replies = [await probe.post(body) for _attempt in range(1, ATTEMPTS)]
    found = {first, *ids(replies, "charge")}
    if len(found) > 1:
        raise Unmet(f"The retries were answered with {len(found)} different ids", expected="one", fix=_LOOK_UP)


@check(
    20,
    MUST,
    claim="Takes another transaction_id as another payment, also for the same card and amount.",
    source=f"{RETRIES}: the transaction_id tells a retry from a new payment",
    why="Two tickets at one price are two payments. An answer that is made up looks like this, too.",
    sends="Two charges that differ in nothing but their transaction_id.",
    expects="Two successes with two ids.",
    needs=[Need.CHARGE],
)
async def _two_payments(probe: Probe) -> None:
    first = await _paid(probe, probe.charge())
    second = await probe.post(probe.charge())
    if not second.is_success("charge") or second.id("charge") == first:
        raise Unmet(
            f"The second payment: {said(second)}",
            expected=f"a success with another id than {first}",
            fix="Tell retries by the transaction_id alone, and give each charge an id of its own.",
        )


@check(
    21,
    SHOULD,
    claim="Knows a retry whose JSON is written in another way.",
    source=f"{RETRIES}: the transaction_id is the same; whether the bytes are is not said",
    why="Nobody promises that a retry has its keys in the same order. Who compares bytes charges twice, or refuses.",
    sends="A charge, and after its answer the same fields in another order and with other white space.",
    expects="The first charge_id.",
    needs=[Need.CHARGE],
)
async def _written_otherwise(probe: Probe) -> None:
    body = probe.charge()
    first = await _paid(probe, body)
    turned = {name: body[name] for name in reversed(body)}
    again = await probe.post(json.dumps(turned, indent=2))
    if paid(again, "charge") != first:
        raise Unmet(
            f"The same fields in another order: {said(again)}",
            expected=f"the id of the first answer, {first}",
            fix="Compare what the request means, and not its bytes.",
        )


on_any_footing(register)
