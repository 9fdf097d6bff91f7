"""Charges: every brand and both kinds of account are charged, and each payment gets an id of its own."""

from typing import Final

from generic_connector.conformance.check import Ask, Level, Need, Register, Unmet
from generic_connector.conformance.checks.brands import BRANDS, Brand
from generic_connector.conformance.footing import taken
from generic_connector.conformance.probe import Probe

register = Register("charge")

_PAGE: Final = "Twilio: Generic Pay Connector"


def _charges(brand: Brand) -> Ask:
    async def ask(probe: Probe) -> None:
        await taken(probe, "charge", brand.card(probe), fix=brand.fix, is_basis=brand is BRANDS[0])

    return ask


for _number, _brand in enumerate(BRANDS, 1):
    register.check(
        _number,
        _brand.level,
        claim=f"Charges cards of {_brand.title}.",
        source=_brand.source,
        why=f"A caller with a card of {_brand.title} cannot pay, and hears that the card was refused.",
        sends=f"A charge with the {_brand.title} number, its security code, expiry and postal code.",
        expects="HTTP 200, JSON, charge_id a text, error_code null.",
        needs=[Need.CHARGE],
    )(_charges(_brand))


@register.check(
    9,
    Level.MUST,
    claim="Charges a US bank account.",
    source=f"{_PAGE}, ACH charge",
    why="Callers who pay by bank account are told that the payment failed.",
    sends="A charge with bankaccountnumber and routingnumber, and no field of a card.",
    expects="HTTP 200, JSON, charge_id a text, error_code null.",
    needs=[Need.CHARGE, Need.ACH],
)
async def _bank_account(probe: Probe) -> None:
    await taken(
        probe,
        "charge_account",
        fix="Twilio sends no flag for the kind of payment: it is a bank account where bankaccountnumber is there, and "
        "then there are no cardnumber, cvv and expiry.",
        is_basis=True,
    )


@register.check(
    10,
    Level.MUST,
    claim="Charges each published test bank account.",
    source=f"{_PAGE}, test mode: published test bank accounts",
    why="Account numbers differ in length. One that takes only the length of the first sample loses callers.",
    sends="A charge of every account of the profile, by default one of eight and one of nine digits.",
    expects="HTTP 200, JSON, charge_id a text, error_code null, each time.",
    needs=[Need.CHARGE, Need.ACH],
)
async def _every_bank_account(probe: Probe) -> None:
    for number in probe.profile.numbers.accounts:
        await taken(
            probe,
            "charge_account",
            {"bankaccountnumber": number},
            fix="Take account numbers of any length from 4 to 17 digits.",
        )


@register.check(
    11,
    Level.MUST,
    claim="Gives every charge an id of its own, also where card and amount are the same.",
    source=f"{_PAGE}, Response: charge_id is the confirmation code of one payment",
    why="Two payments under one id cannot be told apart: one of them is refunded, disputed or booked for the other.",
    sends="Three charges, one after another, each with a transaction_id of its own: the same card and amount twice, "
    "then another card.",
    expects="Three different values in charge_id.",
    needs=[Need.CHARGE],
)
async def _distinct_ids(probe: Probe) -> None:
    numbers = probe.profile.numbers
    other = {"cardnumber": numbers.other_card, "cvv": numbers.cvv_of(numbers.other_card)}
    ids = []
    for changes in ({}, {}, other):
        reply = await taken(probe, "charge", changes, fix="Charge this card as the first one.")
        ids.append(reply.id("charge"))
    if len(set(ids)) != len(ids):
        raise Unmet(
            f"Three payments got {len(set(ids))} different ids.",
            expected="Three different ids: each payment has its own",
            fix="Make charge_id anew for each new transaction_id, at random. Neither card nor amount make a payment "
            "the same: only its transaction_id does.",
        )


@register.check(
    12,
    Level.MUST,
    claim="Charges other amounts than the one that it was tried with.",
    source=f"{_PAGE}, Request: amount is what the application put into chargeAmount",
    why="An endpoint that knows one amount, or has a limit in the wrong unit, refuses the next customer.",
    sends="Charges of the profile's other amount, and of 1.00.",
    expects="HTTP 200, JSON, charge_id a text, error_code null, each time.",
    needs=[Need.CHARGE],
)
async def _other_amounts(probe: Probe) -> None:
    for amount in (probe.profile.amounts.other, "1.00"):
        await taken(
            probe,
            "charge",
            {"amount": amount},
            fix="The amount is in units of the currency, such as dollars, and not in cents. Take any amount above "
            "zero, or put those that are approved into the profile, under amounts.",
        )
