"""Tokens: every brand and both kinds of account are kept, without an amount, and each has a token of its own."""

from typing import Final

from generic_connector.conformance.bodies import ABSENT
from generic_connector.conformance.check import Ask, Level, Need, Register, Unmet
from generic_connector.conformance.checks.brands import BRANDS, Brand
from generic_connector.conformance.footing import taken
from generic_connector.conformance.probe import Probe

register = Register("tokenize")

_PAGE: Final = "Twilio: Generic Pay Connector"


def _tokenizes(brand: Brand) -> Ask:
    async def ask(probe: Probe) -> None:
        await taken(probe, "tokenize", brand.card(probe), fix=brand.fix, is_basis=brand is BRANDS[0])

    return ask


for _number, _brand in enumerate(BRANDS, 1):
    register.check(
        _number,
        _brand.level,
        claim=f"Keeps cards of {_brand.title} and answers with a token.",
        source=_brand.source,
        why=f"A caller with a card of {_brand.title} cannot leave it for later payments.",
        sends=f"A tokenize with the {_brand.title} number, its security code, expiry and postal code.",
        expects="HTTP 200, JSON, token_id a text, error_code null.",
        needs=[Need.TOKENIZE],
    )(_tokenizes(_brand))


@register.check(
    9,
    Level.MUST,
    claim="Keeps a US bank account and answers with a token.",
    source=f"{_PAGE}, ACH tokenize",
    why="Callers who pay by bank account are told that it could not be kept.",
    sends="A tokenize with bankaccountnumber and routingnumber, and no field of a card.",
    expects="HTTP 200, JSON, token_id a text, error_code null.",
    needs=[Need.TOKENIZE, Need.ACH],
)
async def _bank_account(probe: Probe) -> None:
    await taken(
        probe,
        "tokenize_account",
        fix="Twilio sends no flag for the kind of payment: it is a bank account where bankaccountnumber is there, and "
        "then there are no cardnumber, cvv and expiry.",
        is_basis=True,
    )


@register.check(
    10,
    Level.MUST,
    claim="Keeps a card without an amount and a currency.",
    source=f"{_PAGE}, tokenize request: it has neither amount nor currency_code",
    why="No card can be kept at all: Twilio names no amount where nothing is charged.",
    sends="A tokenize in which amount and currency_code are missing.",
    expects="HTTP 200, JSON, token_id a text, error_code null.",
    needs=[Need.TOKENIZE],
)
async def _no_amount(probe: Probe) -> None:
    # On SignalWire it is the amount of zero that tells a token from a charge.
    amount = {} if probe.dialect == "signalwire" else {"amount": ABSENT}
    await taken(
        probe,
        "tokenize",
        {**amount, "currency_code": ABSENT},
        fix="Ask for amount and currency_code only where method is charge.",
    )


@register.check(
    11,
    Level.MUST,
    claim="Gives two cards two tokens.",
    source=f"{_PAGE}, Response: token_id stands for the card of this request",
    why="The next charge with the token goes to somebody else's card.",
    sends="Two tokenize requests, for two cards.",
    expects="Two different values in token_id.",
    needs=[Need.TOKENIZE],
)
async def _distinct_tokens(probe: Probe) -> None:
    numbers = probe.profile.numbers
    tokens = []
    for number in (numbers.card, numbers.other_card):
        reply = await taken(
            probe,
            "tokenize",
            {"cardnumber": number, "cvv": numbers.cvv_of(number)},
            fix="Keep this card as the first one.",
        )
        tokens.append(reply.id("tokenize"))
    if tokens[0] == tokens[1]:
        raise Unmet(
            "Two different cards got the same token.",
            expected="A token of its own for each card",
            fix="Make token_id anew for each card that is kept, at random.",
        )


@register.check(
    12,
    Level.SHOULD,
    claim="Keeps a card for which a tokenize asks with an amount of zero.",
    source="Requests that were seen in 2021 carried amount 0 and a currency. Today's documents show neither",
    why="An older path of the carrier, or another carrier, still sends it, and no card can be kept.",
    sends='A tokenize with amount "0" and a currency_code.',
    expects="HTTP 200, JSON, token_id a text, error_code null.",
    needs=[Need.TOKENIZE],
)
async def _amount_zero(probe: Probe) -> None:
    await taken(
        probe,
        "tokenize",
        {"amount": "0", "currency_code": probe.profile.endpoint.currency},
        fix="Where method is tokenize, do not look at amount and currency_code at all.",
    )
