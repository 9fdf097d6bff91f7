"""Errors: what must not be paid for is refused, and every refusal has the contract's shape.

Each mistake is made in a payment that succeeds without it: an endpoint that refuses everything shows nothing. What the
documents leave open, such as the HTTP status of a request that makes no sense, is not judged, as long as it is no
server error.
"""

import re
from collections.abc import Mapping
from typing import Final

from generic_connector.conformance.attempt import Reply
from generic_connector.conformance.bodies import ABSENT, ID_KEYS
from generic_connector.conformance.check import Ask, Level, Need, NotAskable, Register, Unmet
from generic_connector.conformance.footing import (
    Kind,
    Method,
    answered,
    asked,
    found,
    method_of,
    ordinary,
    refused,
    shaped,
)
from generic_connector.conformance.probe import Probe

register = Register("errors")

_RESPONSE: Final = "Twilio: Generic Pay Connector, Response"
_REQUEST: Final = "Twilio: Generic Pay Connector, Request"
_SILENT: Final = "The documents do not say how a request that makes no sense is answered"
_SHAPE: Final = "JSON with the id key null, error_code a text, and no server error."
_OK: Final = 200
_SERVER_ERROR: Final = 500


# --- Declines --------------------------------------------------------------------------------------------------------


async def _decline(probe: Probe) -> Reply:
    """Return the reply to a charge that was declined. Raises NotAskable where it was not."""
    reply = (await asked(probe, "charge", probe.profile.decline.fields)).reply
    answered(reply)
    if reply.is_success("charge"):
        raise NotAskable("The charge that the profile says is declined succeeds.")
    return reply


_DECLINE_SENT: Final = "A charge that the profile says is declined."


@register.check(
    1,
    Level.MUST,
    claim="Declines a charge with an error_code that is a text.",
    source=f"{_RESPONSE}: error_code, a text in all samples; not null is a failure",
    why="A decline without it is taken for success or for a broken reply, and a number may be lost on the way.",
    sends=_DECLINE_SENT,
    expects="error_code is a text that is not empty.",
    needs=[Need.CHARGE, Need.DECLINE],
)
async def _decline_code(probe: Probe) -> None:
    reply = (await asked(probe, "charge", probe.profile.decline.fields)).reply
    answered(reply)
    code = (reply.json or {}).get("error_code")
    if not isinstance(code, str) or not code:
        what = "no JSON object" if reply.json is None else f"error_code is {type(code).__name__}"
        raise Unmet(
            f"The reply to a decline: {what}. {reply.shown}",
            expected="error_code is a text that is not empty",
            fix='Name the reason in error_code as a text, such as "card_declined" or "51", in quotes.',
        )


@register.check(
    2,
    Level.MUST,
    claim="Declines a charge with the key charge_id in its reply.",
    source=f"{_RESPONSE}: charge_id is there on errors too",
    why="The reply is malformed without it, and the application hears nothing of the reason.",
    sends=_DECLINE_SENT,
    expects="The reply has the key charge_id.",
    needs=[Need.CHARGE, Need.DECLINE],
)
async def _decline_key(probe: Probe) -> None:
    reply = await _decline(probe)
    if "charge_id" not in (reply.json or {}):
        raise Unmet(
            f"There is no charge_id in the reply to a decline. {reply.shown}",
            expected="The key charge_id, null",
            fix='Put "charge_id": null into every refusal of a charge, and "token_id": null into one of a tokenize.',
        )


@register.check(
    3,
    Level.SHOULD,
    claim="Declines a charge without an id in its reply.",
    source=f"{_RESPONSE}: an id is what a success has. That it is null on errors is the custom of all samples but one",
    why="Who looks at the id first takes a decline for a payment.",
    sends=_DECLINE_SENT,
    expects="charge_id is null or missing.",
    needs=[Need.CHARGE, Need.DECLINE],
)
async def _decline_null(probe: Probe) -> None:
    reply = await _decline(probe)
    if (reply.json or {}).get("charge_id") is not None:
        raise Unmet(
            "The reply to a decline has a charge_id.",
            expected="charge_id is null",
            fix="Make ids only for payments that succeed. For your own look-ups, put an id of the attempt into "
            "parameters or error_message.",
        )


@register.check(
    4,
    Level.SHOULD,
    claim="Declines a charge with HTTP 200; where the carrier is SignalWire, with another status.",
    source="The documents do not tell the status; all of Twilio's samples answer a decline with 200",
    why="Nobody says whether Twilio reads the body of a 402, or reports a broken endpoint in its place.",
    sends=_DECLINE_SENT,
    expects="HTTP 200, or on SignalWire a status from 400 to 499.",
    needs=[Need.CHARGE, Need.DECLINE],
)
async def _decline_status(probe: Probe) -> None:
    reply = await _decline(probe)
    is_signalwire = probe.dialect == "signalwire"
    is_good = reply.status != _OK if is_signalwire else reply.status == _OK
    if not is_good or (reply.status or _SERVER_ERROR) >= _SERVER_ERROR:
        raise Unmet(
            f"A decline is answered with HTTP {reply.status}.",
            expected="A status from 400 to 499" if is_signalwire else "HTTP 200",
            fix="A decline is no failure of HTTP: answer 200, and say it in error_code."
            if not is_signalwire
            else "SignalWire reads the status: answer 402.",
        )


@register.check(
    5,
    Level.SHOULD,
    claim="Declines a charge with an error_message for people.",
    source=f"{_RESPONSE}: error_message",
    why="The application has nothing to say to the caller, and support nothing to look for.",
    sends=_DECLINE_SENT,
    expects="error_message is a text that is not empty.",
    needs=[Need.CHARGE, Need.DECLINE],
)
async def _decline_message(probe: Probe) -> None:
    reply = await _decline(probe)
    message = (reply.json or {}).get("error_message")
    if not isinstance(message, str) or not message:
        raise Unmet(
            "There is no error_message in the reply to a decline.",
            expected="error_message is a text that is not empty",
            fix="Say in one sentence what is wrong and what to do, without any of the input.",
        )


@register.check(
    6,
    Level.MUST,
    claim="Declines a tokenize with an error in the contract's shape.",
    source=f"{_RESPONSE}: token_id is there on errors too; error_code not null is a failure",
    why="A card that the issuer refuses is kept as if it were good, or the reply cannot be read.",
    sends="A tokenize that the profile says is declined (decline_tokenize).",
    expects="token_id is there and null, error_code a text.",
    needs=[Need.TOKENIZE],
)
async def _decline_tokenize(probe: Probe) -> None:
    changes = probe.profile.decline_tokenize
    if not changes.is_known:
        raise NotAskable("The profile does not say how to have a tokenize declined: decline_tokenize.")
    shaped((await asked(probe, "tokenize", changes.fields)).reply, "tokenize")


# --- Payments that must be refused -----------------------------------------------------------------------------------


def _refuses(kind: Kind | None, changes: Mapping[str, object], fix: str) -> Ask:
    """Return a check that a payment with these changes does not succeed."""

    async def ask(probe: Probe) -> None:
        refused((await asked(probe, kind or ordinary(probe), changes)).reply, fix=fix)

    return ask


def _but(probe: Probe) -> Method | None:
    """Return what may be done in place of a charge of nothing: on SignalWire that is how a card is kept."""
    return "tokenize" if probe.dialect == "signalwire" else None


@register.check(
    7,
    Level.MUST,
    claim="Refuses to charge a card number whose check digit is wrong.",
    source="ISO/IEC 7812-1, annex B; TwiML Voice: <Pay> checks card numbers too, other callers may not",
    why="One digit keyed wrongly is somebody else's card, or none. Whoever takes it has not looked at the number.",
    sends="A charge with the profile's bad card, by default the Visa test number with another last digit.",
    expects="A refusal: no id without an error_code.",
    needs=[Need.CHARGE],
)
async def _bad_card(probe: Probe) -> None:
    reply = (await asked(probe, "charge", {"cardnumber": probe.profile.numbers.bad_card})).reply
    refused(reply, fix="Check the card number with Luhn before anything else, and refuse it.")


@register.check(
    8,
    Level.MUST,
    claim="Refuses to keep a card number whose check digit is wrong.",
    source="ISO/IEC 7812-1, annex B; TwiML Voice: <Pay> checks card numbers too, other callers may not",
    why="A token is handed out for a card that does not exist: it fails at the first charge, when nobody is there.",
    sends="A tokenize with the profile's bad card.",
    expects="A refusal: no id without an error_code.",
    needs=[Need.TOKENIZE],
)
async def _bad_card_kept(probe: Probe) -> None:
    reply = (await asked(probe, "tokenize", {"cardnumber": probe.profile.numbers.bad_card})).reply
    refused(reply, fix="Check the card number with Luhn before anything else, and refuse it.")


@register.check(
    9,
    Level.MUST,
    claim="Refuses a bad card number with an error in the contract's shape.",
    source=f"{_RESPONSE}: the id key is there on errors too; error_code not null is a failure",
    why="The application hears of a malformed response, and cannot ask the caller to key the number in again.",
    sends="A payment with the profile's bad card.",
    expects=_SHAPE,
)
async def _bad_card_shape(probe: Probe) -> None:
    kind = ordinary(probe)
    reply = (await asked(probe, kind, {"cardnumber": probe.profile.numbers.bad_card})).reply
    if reply.is_success(method_of(kind)):
        raise NotAskable("It was taken, so there is no refusal to look at.")
    shaped(reply, method_of(kind))


@register.check(
    10,
    Level.MUST,
    claim="Refuses a card that has expired.",
    source="Card network rules: a card is good through the last day of the month that it names",
    why="The charge comes back later as a dispute. Whoever takes it has not looked at the date.",
    sends="A payment with an expiry years ago, by default January 2020.",
    expects="A refusal: no id without an error_code.",
)
async def _expired(probe: Probe) -> None:
    numbers = probe.profile.numbers
    changes = {"expiry_month": numbers.expired_month, "expiry_year": numbers.expired_year}
    refused(
        (await asked(probe, ordinary(probe), changes)).reply,
        fix="Compare year and month with today's, in a time zone in which the day ends last.",
    )


register.check(
    11,
    Level.SHOULD,
    claim="Refuses a month that there is not.",
    source=f"{_REQUEST}: expiry_month. What is no month is not told",
    why="A month of 13 is a mistake of whoever sends it, and must not become another year or a server error.",
    sends='A payment with expiry_month "13".',
    expects="A refusal: no id without an error_code.",
)(_refuses(None, {"expiry_month": "13"}, "Take months from 1 to 12 only."))

register.check(
    12,
    Level.SHOULD,
    claim="Refuses a security code of the wrong length.",
    source="TwiML Voice: <Pay>, noun <Prompt>: three digits, four for American Express",
    why="The code was keyed in wrongly, and the issuer will count a failed attempt.",
    sends='A payment with cvv "12345".',
    expects="A refusal: no id without an error_code.",
)(_refuses(None, {"cvv": "12345"}, "Take security codes of three digits, or of four for American Express."))


def _amount(
    number: int, level: Level, texts: Mapping[str, str], *, claim: str, why: str, fix: str, source: str
) -> None:
    @register.check(
        number,
        level,
        claim=claim,
        source=source,
        why=why,
        sends=f"Charges with an amount that is {', '.join(texts)}.",
        expects="A refusal each time: no id without an error_code.",
        needs=[Need.CHARGE],
    )
    async def _ask(probe: Probe) -> None:
        footing = await found(probe, "charge")
        for what, text in texts.items():
            reply = await footing.post(probe, "charge", {"amount": text})
            try:
                refused(reply, fix=fix, but=_but(probe) if text.strip("0.") == "" else None)
            except Unmet as unmet:
                raise Unmet(f"An amount that is {what}: {unmet.found}", expected=unmet.expected, fix=fix) from None


_PAY_AMOUNT: Final = "TwiML Voice: <Pay>, chargeAmount: a decimal above zero, without a currency sign"

_amount(
    13,
    Level.MUST,
    {"zero": "0", "zero with decimals": "0.00"},
    claim="Refuses to charge nothing.",
    why="The application has made a mistake, and takes an id for money.",
    fix="Refuse an amount of zero where method is charge.",
    source=_PAY_AMOUNT,
)
_amount(
    14,
    Level.MUST,
    {"negative": "-10.00"},
    claim="Refuses to charge less than nothing.",
    why="Somebody is paid out by mistake, or what is owed to others is made smaller.",
    fix="Refuse every amount that is not above zero, before any arithmetic with it.",
    source=_PAY_AMOUNT,
)
_amount(
    15,
    Level.MUST,
    {"empty": "", "a word": "ten", "a number in pieces": "1.0.0", "with a sign before it": "$10.00"},
    claim="Refuses an amount that is no number.",
    why="What is charged then is a guess.",
    fix="Take digits, and at most one point with digits after it. Anything else is refused, and never read as far as "
    "possible.",
    source=_PAY_AMOUNT,
)
_amount(
    16,
    Level.SHOULD,
    {"with an exponent": "1e2", "with a decimal comma": "10,00", "with thousands": "1,000.00"},
    claim="Refuses an amount that can be read in two ways.",
    why="10,00 is ten in one country, and a thousand in another library.",
    fix="Take digits, and at most one point with digits after it: no exponent, no comma, no sign.",
    source=f"{_PAY_AMOUNT}. How other spellings are to be read is not told",
)
_amount(
    17,
    Level.MUST,
    {"finer than any currency": "10.00001"},
    claim="Refuses an amount with more decimals than the currency has.",
    why="Rounded or cut, another amount is charged than the one that was asked for, and the books differ.",
    fix="Refuse what the currency cannot express. Zeros at the end do not count: 10.000 is fine.",
    source="ISO 4217: minor units of currencies. The documents do not speak of rounding",
)

register.check(
    18,
    Level.MUST,
    claim="Refuses a currency that there is not.",
    source=f"{_REQUEST}: currency_code, ISO 4217",
    why="What is charged then is dollars in place of something else.",
    sends='A charge with currency_code "ZZZ".',
    expects="A refusal: no id without an error_code.",
    needs=[Need.CHARGE],
)(_refuses("charge", {"currency_code": "ZZZ"}, "Compare the currency with a list of those that you charge."))


@register.check(
    19,
    Level.MUST,
    claim="Refuses a charge without an amount.",
    source=f"{_REQUEST}: amount is there in a charge",
    why="Some amount is charged that nobody named.",
    sends="A charge in which amount is missing.",
    expects="A refusal: no id without an error_code.",
    needs=[Need.CHARGE],
)
async def _no_amount(probe: Probe) -> None:
    refused(
        (await asked(probe, "charge", {"amount": ABSENT})).reply,
        fix="Refuse a charge in which amount is missing or null. There is no default for money.",
        but=_but(probe),
    )


register.check(
    20,
    Level.MUST,
    claim="Refuses a payment of which it does not say from what.",
    source=f"{_REQUEST}: cardnumber, or bankaccountnumber and routingnumber",
    why="An id for nothing: no card was charged.",
    sends="A payment in which cardnumber is missing.",
    expects="A refusal: no id without an error_code.",
)(_refuses(None, {"cardnumber": ABSENT}, "Refuse a payment that has neither cardnumber nor bankaccountnumber."))

register.check(
    21,
    Level.MUST,
    claim="Refuses a payment without a transaction_id.",
    source=f"{_REQUEST}: transaction_id; section on retries: it is the same in all of them",
    why="Its retry cannot be told from a second payment: the customer is charged twice.",
    sends="A payment in which transaction_id is missing.",
    expects="A refusal: no id without an error_code.",
)(_refuses(None, {"transaction_id": ABSENT}, "Refuse what has no transaction_id. Do not make one up."))

register.check(
    22,
    Level.SHOULD,
    claim="Refuses a payment that names both a card and a bank account.",
    source=f"{_REQUEST}. Which of the two counts is not told",
    why="Which of the two is charged is a guess.",
    sends="A payment with cardnumber and with bankaccountnumber and routingnumber.",
    expects="A refusal: no id without an error_code.",
)(
    _refuses(
        None,
        {"bankaccountnumber": "123456789", "routingnumber": "021000021"},
        "Refuse a payment with both. Null and empty ones do not count.",
    )
)

register.check(
    23,
    Level.SHOULD,
    claim="Refuses a routing number whose check digit is wrong.",
    source="American Bankers Association: routing numbers have a check digit. The documents do not name it",
    why="The debit goes to another bank, and comes back days later.",
    sends='A charge of a bank account with routingnumber "021000022".',
    expects="A refusal: no id without an error_code.",
    needs=[Need.CHARGE, Need.ACH],
)(_refuses("charge_account", {"routingnumber": "021000022"}, "Check nine digits with weights 3, 7, 1."))


# --- Requests that make no sense -------------------------------------------------------------------------------------


@register.check(
    24,
    Level.MUST,
    claim="Answers a bank account in the contract's shape, whether it takes any or not.",
    source=f"{_REQUEST}, ACH; {_RESPONSE}: error_code not null is a failure",
    why="An application that tries it hears of a broken endpoint, and not that bank accounts are not taken.",
    sends="A payment with bankaccountnumber and routingnumber.",
    expects="Success, or JSON with the id key null and error_code a text; no server error.",
)
async def _bank_account(probe: Probe) -> None:
    kind: Kind = "charge_account" if probe.has(Need.CHARGE) else "tokenize_account"
    footing = await found(probe, ordinary(probe))
    reply = await footing.post(probe, kind, {})
    if not reply.is_success(method_of(kind)):
        shaped(
            reply,
            method_of(kind),
            fix="Look which of cardnumber and bankaccountnumber is there before you read either. Where you take no "
            "bank accounts, say so in error_code.",
        )


async def _of_unknown_method(probe: Probe) -> Reply:
    return (await asked(probe, ordinary(probe), {"method": "refund"})).reply


@register.check(
    25,
    Level.MUST,
    claim="Does nothing for a method that it does not know.",
    source=f"{_REQUEST}: method is charge or tokenize",
    why="A refund that is asked for becomes a second charge.",
    sends='An ordinary payment with method "refund".',
    expects="An answer, and no id in it.",
)
async def _unknown_method(probe: Probe) -> None:
    refused(await _of_unknown_method(probe), fix="Compare method with charge and tokenize, and refuse all else.")


_MALFORMED_FIX: Final = (
    "Catch what your parser and your framework throw, in one place, and answer with JSON there: "
    '{"charge_id": null, "token_id": null, "error_code": "malformed_request", "error_message": "..."}.'
)


def _malformed(number: int, what: str, body: bytes, sends: str) -> None:
    @register.check(
        number,
        Level.SHOULD,
        claim=f"Answers {what} with an error in the contract's shape.",
        source=_SILENT,
        why="Whoever connects to the endpoint sees a framework's page, and looks for the mistake elsewhere.",
        sends=sends,
        expects=_SHAPE,
    )
    async def _ask(probe: Probe) -> None:
        footing = await found(probe, ordinary(probe))
        shaped(await footing.send(probe, body), None, fix=_MALFORMED_FIX)


_malformed(26, "a body that is no JSON", b"method=charge&amount=10.00", "A form in place of JSON.")
_malformed(27, "a body that is a JSON list", b'["charge", "10.00"]', "A JSON list in place of an object.")
_malformed(28, "an empty body", b"", "A POST without a body.")
_malformed(29, "a JSON object without fields", b"{}", "An empty object.")


@register.check(
    30,
    Level.SHOULD,
    claim="Answers a method that it does not know with an error in the contract's shape.",
    source=_SILENT,
    why="A spelling mistake in method looks like a broken server.",
    sends='An ordinary payment with method "refund".',
    expects=_SHAPE,
)
async def _unknown_method_shape(probe: Probe) -> None:
    reply = await _of_unknown_method(probe)
    if any(reply.is_success(method) for method in ID_KEYS):
        raise NotAskable("It was taken, so there is no refusal to look at.")
    shaped(reply, None, fix=_MALFORMED_FIX)


@register.check(
    31,
    Level.SHOULD,
    claim="Answers fields of a wrong type with an error in the contract's shape.",
    source=f"{_REQUEST}: all its fields are texts. {_SILENT}",
    why="A number in place of a text throws in the middle of the code, and that is a server error.",
    sends="Payments in which cardnumber is a list, expiry_month an object, cvv a truth value, parameters a text.",
    expects=f"Success, or each time: {_SHAPE}",
)
async def _wrong_types(probe: Probe) -> None:
    kind = ordinary(probe)
    footing = await found(probe, kind)
    wrong: Mapping[str, object] = {
        "cardnumber": [probe.profile.numbers.card],
        "expiry_month": {"month": 8},
        "cvv": True,
        "parameters": "none",
    }
    for name, value in wrong.items():
        reply = await footing.post(probe, kind, {name: value})
        if not reply.is_success(method_of(kind)):
            shaped(reply, None, fix=f"Ask for the type of {name} before its value is used. {_MALFORMED_FIX}")


@register.check(
    32,
    Level.SHOULD,
    claim="Answers null in place of a needed field with an error in the contract's shape.",
    source=f"{_REQUEST}: absent values are null. {_SILENT}",
    why="Null in place of a text throws in the middle of the code, and that is a server error.",
    sends="Payments in which cardnumber, expiry_year, transaction_id and method are null, one after another.",
    expects=f"Success, or each time: {_SHAPE}",
)
async def _nulls(probe: Probe) -> None:
    kind = ordinary(probe)
    footing = await found(probe, kind)
    for name in ("cardnumber", "expiry_year", "transaction_id", "method"):
        reply = await footing.post(probe, kind, {name: None})
        if not reply.is_success(method_of(kind)):
            shaped(reply, None, fix=f"Ask whether {name} is null before its value is used. {_MALFORMED_FIX}")


# --- What an error tells ---------------------------------------------------------------------------------------------

_INSIDES: Final = re.compile(
    rb"Traceback \(most recent|\bat [\w.$<>]+ ?\([^)\n]*:\d+(?::\d+)?\)|node_modules|File \"[^\"]+\", line \d|"
    rb"SQLSTATE|syntax error at or near|\.py\", line|\bjava\.[a-z]+\.|\bSystem\.[A-Z]\w+Exception|goroutine \d|"
    rb"<title>[^<]*Exception[^<]*</title>|Werkzeug Debugger|(?<![\w.])(?:/usr|/home|/var|/app|/opt)/[\w./-]+\.\w+"
)
"""Marks of stack traces and file names, in the languages that endpoints are written in."""


@register.check(
    33,
    Level.MUST,
    claim="Shows nothing of its insides in an error.",
    source="PCI DSS 4.0.1, 6.2.4; OWASP ASVS 4.0.3, 7.4.1",
    why="File names, stack traces and SQL tell an attacker where to look, and traces hold card data.",
    sends="A form, a JSON list, a half object, an unknown method, and a card number that is a list.",
    expects="No stack trace, no file name and no SQL in any reply.",
)
async def _insides(probe: Probe) -> None:
    kind = ordinary(probe)
    footing = await found(probe, kind)
    replies = [
        await footing.send(probe, b"method=charge&amount=10.00"),
        await footing.send(probe, b'["charge"]'),
        await footing.send(probe, b'{"method": "charge", '),
        await footing.post(probe, kind, {"method": "refund"}),
        await footing.post(probe, kind, {"cardnumber": [probe.profile.numbers.card]}),
    ]
    for reply in replies:
        if _INSIDES.search(reply.body):
            raise Unmet(
                f"There are marks of a stack trace, a file name or SQL in the reply, HTTP {reply.status}.",
                expected="An error that says what is wrong with the request, and nothing of the server",
                fix="Switch off the framework's debugging pages, and answer unexpected errors with one fixed text.",
            )


@register.check(
    34,
    Level.SHOULD,
    claim="Repeats nothing of a request in an error.",
    source="OWASP ASVS 4.0.3, 5.3.3 and 7.4.1. The documents do not speak of it",
    why="What is repeated is shown somewhere: card data in a log, or a script in a support page.",
    sends="Payments with an odd method, currency, month and transaction_id, each with a mark in it.",
    expects="The mark is in no reply.",
)
async def _echo(probe: Probe) -> None:
    kind = ordinary(probe)
    footing = await found(probe, kind)
    mark = "".join(probe.randomness.choice("bcdfghjklmnpqrstvwxz") for _ in range(16))
    for name in ("method", "currency_code", "expiry_month", "transaction_id"):
        text = f"<script>{mark}</script>" if name != "transaction_id" else f"é{mark}"
        reply = await footing.post(probe, kind, {name: text})
        is_taken = reply.is_success(method_of(kind))
        if not is_taken and (mark.encode() in reply.body or mark in " ".join(reply.headers.values())):
            raise Unmet(
                f"What was sent as {name} came back in the error.",
                expected="An error that names the field, and not what was in it",
                fix="Write the texts of errors beforehand. Put the name of the field into them, never its value.",
            )


@register.check(
    35,
    Level.SHOULD,
    claim="Answers GET with an error, and without a server error.",
    source="RFC 9110, 15.5.6: a method that is not supported; the documents know only POST",
    why="Whoever looks at the address in a browser, or a monitor, raises an alarm or sees a framework's page.",
    sends="GET at the endpoint's address.",
    expects="A status from 400 to 499, and no id.",
)
async def _get(probe: Probe) -> None:
    reply = await probe.post(b"", verb="GET")
    answered(reply)
    if not 400 <= (reply.status or 0) < _SERVER_ERROR:  # noqa: PLR2004 - the statuses of a caller's mistakes
        raise Unmet(
            f"GET is answered with HTTP {reply.status}.",
            expected="405, with the header Allow: POST",
            fix="Answer 405 to everything but POST. If people are to see a page, give it another address.",
        )
