"""Tolerance: what Twilio has been seen to send, or may send by its documents, is taken in every spelling.

One difference to an ordinary payment in each check, so that its id names what has to change.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from generic_connector.conformance.bodies import ABSENT
from generic_connector.conformance.check import Level, Need, NotAskable, Register
from generic_connector.conformance.footing import ordinary, taken
from generic_connector.conformance.probe import Probe

register = Register("tolerance")

_REQUEST: Final = "Twilio: Generic Pay Connector, Request"
_OPTIONAL: Final = "Twilio: Generic Pay Connector, Request: optional fields"
_PARAMETERS: Final = "TwiML Voice: <Pay>, noun <Parameter>"
_TAKEN: Final = "HTTP 200, JSON, the id a text, error_code null."


async def _takes(probe: Probe, changes: Mapping[str, object], *, fix: str) -> None:
    await taken(probe, ordinary(probe), changes, fix=fix)


# --- Content-Type ----------------------------------------------------------------------------------------------------


@register.check(
    1,
    Level.MUST,
    claim="Takes a request without a Content-Type.",
    source="Requests of Twilio's that were seen have no Content-Type; the documents name none",
    why="Most frameworks then parse no body: every payment fails as if all fields were missing.",
    sends="A payment without the header Content-Type.",
    expects=_TAKEN,
)
async def _no_content_type(probe: Probe) -> None:
    await taken(
        probe,
        ordinary(probe),
        content_type=None,
        fix="Parse the body as JSON whatever Content-Type says: express.json({type: () => true}) in Express, "
        "request.get_json(force=True) in Flask, the raw body and a JSON parser elsewhere.",
    )


@register.check(
    2,
    Level.SHOULD,
    claim="Takes a request whose Content-Type is text/plain.",
    source="The documents promise no Content-Type; proxies on the way put one in",
    why="One proxy in front of the endpoint, and every payment fails.",
    sends="A payment with Content-Type: text/plain; charset=utf-8.",
    expects=_TAKEN,
)
async def _text_plain(probe: Probe) -> None:
    await taken(
        probe,
        ordinary(probe),
        content_type="text/plain; charset=utf-8",
        fix="Parse the body as JSON whatever Content-Type says.",
    )


@register.check(
    3,
    Level.SHOULD,
    claim="Takes a request whose Content-Type is that of a form.",
    source="The documents promise no Content-Type; Twilio's other requests are forms",
    why="Frameworks that see this header take the JSON for a form, and find no field in it.",
    sends="A payment in JSON with Content-Type: application/x-www-form-urlencoded.",
    expects=_TAKEN,
)
async def _form(probe: Probe) -> None:
    await taken(
        probe,
        ordinary(probe),
        content_type="application/x-www-form-urlencoded",
        fix="Parse the body as JSON whatever Content-Type says, before any form parser reads it.",
    )


# --- Optional fields -------------------------------------------------------------------------------------------------

_NO_VALUE: Final = "Read optional fields so that missing, null and empty mean the same: not given."


def _absences() -> None:
    """Register a check for each optional field, and for each way in which it may be absent."""
    number = 4
    for name, what, when in (
        ("cvv", "security code", "an application asks for none (securityCode=false)"),
        ("postal_code", "postal code", "an application asks for none (postalCode=false)"),
        ("description", "description", "an application gives none"),
        ("parameters", "parameters", "an application gives none"),
    ):
        for value, how in ((None, "is null"), (ABSENT, "is missing")):
            _absence(number, name, what, when=when, value=value, how=how)
            number += 1


def _absence(number: int, name: str, what: str, *, when: str, value: object, how: str) -> None:
    @register.check(
        number,
        Level.MUST,
        claim=f"Takes a payment in which {name} {how}.",
        source=f"{_OPTIONAL}. How the absence of {name} is written is not told, null and missing were both seen"
        if name != "parameters"
        else f"{_PARAMETERS}. Whether absent parameters are null, {{}} or missing is not told",
        why=f"Every payment fails for which {when}.",
        sends=f"A payment without a {what}: {name} {how}.",
        expects=_TAKEN,
    )
    async def _ask(probe: Probe) -> None:
        await _takes(probe, {name: value}, fix=_NO_VALUE)


_absences()


@register.check(
    12,
    Level.SHOULD,
    claim="Takes a payment in which optional fields are empty texts.",
    source=f"{_OPTIONAL}. Whether an absent one may be an empty text is not told",
    why="Where the carrier sends empty texts for what was not asked, every such payment fails.",
    sends='A payment with cvv, postal_code and description "".',
    expects=_TAKEN,
)
async def _empty_texts(probe: Probe) -> None:
    await _takes(probe, {"cvv": "", "postal_code": "", "description": ""}, fix=_NO_VALUE)


# --- Texts -----------------------------------------------------------------------------------------------------------


@register.check(
    13,
    Level.SHOULD,
    claim="Takes a description that is a JSON object.",
    source=f"{_OPTIONAL}. A logged request shows description as an object",
    why="Applications have put JSON there for lack of parameters, and their payments fail.",
    sends='A payment with description {"order": "1001"}.',
    expects=_TAKEN,
)
async def _description_object(probe: Probe) -> None:
    await _takes(
        probe,
        {"description": {"order": "1001"}},
        fix="The description is for people: keep a text as it is, and anything else as its JSON. Never fail on it.",
    )


@register.check(
    14,
    Level.MUST,
    claim="Takes parameters that are an empty object.",
    source=f"{_PARAMETERS}. Whether absent parameters are null, {{}} or missing is not told",
    why="Every payment fails for which an application gives no parameters.",
    sends="A payment with parameters {}.",
    expects=_TAKEN,
)
async def _parameters_empty(probe: Probe) -> None:
    await _takes(probe, {"parameters": {}}, fix="Take an empty object for parameters as no parameters.")


@register.check(
    15,
    Level.MUST,
    claim="Takes a parameter in any script, and with signs.",
    source=f"{_PARAMETERS}: name and value are texts; RFC 8259, 8.1: JSON is UTF-8",
    why="A customer's name with an accent makes the payment fail.",
    sends="A payment with parameters in Greek, Chinese, emoji, quotes and angle brackets.",
    expects=_TAKEN,
)
async def _parameters_unicode(probe: Probe) -> None:
    texts = {
        "name": "Zoë Ærø",
        "greek": "Πληρωμή",
        "chinese": "付款",
        "emoji": "☕🧾",
        "signs": '<b>"it\'s" & 100 %</b>',
    }
    await _takes(
        probe,
        {"parameters": texts},
        fix="Read the body as UTF-8, and pass parameters on as data: no part of SQL, HTML or a header is made of them.",
    )


@register.check(
    16,
    Level.SHOULD,
    claim="Takes a hundred parameters.",
    source=f"{_PARAMETERS}: their number has no limit but that of the TwiML, 64 kB",
    why="An application with many parameters cannot be paid.",
    sends="A payment with a hundred parameters, about 3 kB.",
    expects=_TAKEN,
)
async def _parameters_many(probe: Probe) -> None:
    await _takes(
        probe,
        {"parameters": {f"field_{number}": f"value {number}" for number in range(100)}},
        fix="Set no limit to the number of parameters. Pass on those that you know, and ignore the others.",
    )


@register.check(
    17,
    Level.SHOULD,
    claim="Takes fields that it does not know.",
    source=f"{_REQUEST}. The documents do not say that its fields are all that there will ever be",
    why="The day on which the carrier adds a field, every payment fails.",
    sends="A payment with two further fields, a text and an object.",
    expects=_TAKEN,
)
async def _unknown_fields(probe: Probe) -> None:
    await _takes(
        probe,
        {"x_field_of_tomorrow": "new", "x_more": {"nested": ["1", None]}},
        fix="Ignore fields that you do not know: no strict schema for requests.",
    )


@register.check(
    18,
    Level.SHOULD,
    claim="Takes a postal code with letters.",
    source="TwiML Voice: <Pay>, minPostalCodeLength counts letters and digits; a literal postalCode is passed on",
    why="Cards from Canada and the United Kingdom are refused.",
    sends='A payment with postal_code "K1A 0B1".',
    expects=_TAKEN,
)
async def _postal_letters(probe: Probe) -> None:
    await _takes(
        probe,
        {"postal_code": "K1A 0B1"},
        fix="Take letters, spaces and hyphens in a postal code, not five digits only.",
    )


# --- Dates and amounts -----------------------------------------------------------------------------------------------


@register.check(
    19,
    Level.MUST,
    claim="Takes an expiry year of two digits.",
    source=f"{_REQUEST}: expiry_year, as in its samples",
    why="Every card is refused: this is what Twilio sends today.",
    sends='A payment with expiry_year such as "30".',
    expects=_TAKEN,
)
async def _year_of_two(probe: Probe) -> None:
    await _takes(probe, {"expiry_year": probe.profile.expiry()[1]}, fix="Read a year of two digits as 20YY.")


@register.check(
    20,
    Level.SHOULD,
    claim="Takes an expiry year of four digits.",
    source=f"{_REQUEST}: expiry_year. Older samples of Twilio's have four digits",
    why="Where a carrier sends the whole year, every card is refused, or taken for expired.",
    sends='A payment with expiry_year such as "2030".',
    expects=_TAKEN,
)
async def _year_of_four(probe: Probe) -> None:
    await _takes(probe, {"expiry_year": f"20{probe.profile.expiry()[1]}"}, fix="Take a year of two or of four digits.")


@register.check(
    21,
    Level.SHOULD,
    claim="Takes an expiry month of one digit.",
    source=f"{_REQUEST}: expiry_month. All samples have two digits; no document says that it must be so",
    why="Other carriers and test tools send 8 for August, and every card is refused from January to September.",
    sends='A payment with expiry_month "8".',
    expects=_TAKEN,
)
async def _month_of_one(probe: Probe) -> None:
    if probe.profile.numbers.expiry_year:
        raise NotAskable("The profile says when the card expires, so no other month can be asked for.")
    await _takes(probe, {"expiry_month": "8"}, fix="Read the month as a number from 1 to 12.")


def _whole(probe: Probe) -> str:
    """Return the approved amount without decimals."""
    amount = Decimal(probe.profile.amounts.approve)
    if amount != amount.to_integral_value():
        raise NotAskable("The profile's approved amount is not a whole one, so it cannot be spelled in other ways.")
    return str(int(amount))


def _amount(number: int, level: Level, decimals: str, seen: str) -> None:
    @register.check(
        number,
        level,
        claim=f'Takes an amount that is written as "10{decimals}".',
        source=seen,
        why="An amount is the text that an application put into chargeAmount. Spelled otherwise, it is refused.",
        sends=f'A charge of the approved amount, written as "10{decimals}".',
        expects="HTTP 200, JSON, charge_id a text, error_code null.",
        needs=[Need.CHARGE],
    )
    async def _ask(probe: Probe) -> None:
        await taken(
            probe,
            "charge",
            {"amount": _whole(probe) + decimals},
            fix="Read the amount as a decimal number from a text, with any number of decimals. Zeros at its end do not "
            "count. Never use binary floating point for it.",
        )


_amount(22, Level.MUST, "", "Logged requests of Twilio's echo chargeAmount as it was given, such as 50")
_amount(23, Level.MUST, ".0", f"{_REQUEST}: its sample has one decimal")
_amount(24, Level.MUST, ".00", "Logged requests of Twilio's have two decimals, such as 10.00")
_amount(25, Level.SHOULD, ".00000000", "TwiML Voice: <Pay>, chargeAmount is a decimal. How many zeros is not told")


@register.check(
    26,
    Level.MUST,
    claim="Takes a currency in lower case.",
    source="TwiML Voice: <Pay>, currency: its default is usd; the samples on the wire have USD",
    why="Which of the two arrives depends on the application: one of them cannot be paid.",
    sends='A charge with currency_code in lower case, such as "usd".',
    expects="HTTP 200, JSON, charge_id a text, error_code null.",
    needs=[Need.CHARGE],
)
async def _currency_lower(probe: Probe) -> None:
    await taken(
        probe,
        "charge",
        {"currency_code": probe.profile.endpoint.currency.lower()},
        fix="Compare currencies without regard to case.",
    )


@register.check(
    27,
    Level.MUST,
    claim="Takes a currency in upper case.",
    source=f"{_REQUEST}: its samples have USD",
    why="Which of the two arrives depends on the application: one of them cannot be paid.",
    sends='A charge with currency_code in upper case, such as "USD".',
    expects="HTTP 200, JSON, charge_id a text, error_code null.",
    needs=[Need.CHARGE],
)
async def _currency_upper(probe: Probe) -> None:
    await taken(
        probe,
        "charge",
        {"currency_code": probe.profile.endpoint.currency.upper()},
        fix="Compare currencies without regard to case.",
    )
