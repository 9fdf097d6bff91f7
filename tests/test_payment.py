"""The payment vocabulary: its words are the contract's, and its values cannot be changed."""

from dataclasses import FrozenInstanceError

import pytest

from generic_connector.bank import AccountNumber, BankAccount
from generic_connector.card import Card, Expiry, Pan
from generic_connector.money import CURRENCIES, Money
from generic_connector.payment import (
    AchDetails,
    Charge,
    DeclineCode,
    Details,
    Instrument,
    Method,
    Tokenize,
)

CARD = Card(Pan("4111111111111111"), Expiry(2027, 8))
ACCOUNT = BankAccount("021000021", AccountNumber("12345678"))
MONEY = Money(1000, CURRENCIES["USD"])


def test_each_method_has_its_id_key() -> None:
    """A charge is answered with `charge_id`, a tokenize with `token_id`."""
    assert {"charge": "charge_id", "tokenize": "token_id"} == {method.value: method.id_key for method in Method}


@pytest.mark.parametrize("instrument", [CARD, ACCOUNT], ids=["card", "account"])
def test_each_payment_knows_its_method(instrument: Instrument) -> None:
    """A payment's method is the contract's word for what it is."""
    charge = Charge(transaction_id="t", instrument=instrument, money=MONEY)
    tokenize = Tokenize(transaction_id="t", instrument=instrument)

    assert [Method.CHARGE, Method.TOKENIZE] == [charge.method, tokenize.method]


def test_a_payment_asks_for_nothing_special_by_default() -> None:
    """Unless a parameter says otherwise a charge is a sale that keeps no card."""
    charge = Charge(transaction_id="t", instrument=CARD, money=MONEY)

    assert (False, "sale") == (charge.save_card, charge.details.operation)
    assert Details(operation="sale", metadata={}, controls={}, ach=AchDetails(None, None)) == charge.details


def test_a_payment_cannot_be_changed() -> None:
    """Once parsed, a payment stays what it is."""
    charge = Charge(transaction_id="t", instrument=CARD, money=MONEY)

    with pytest.raises(FrozenInstanceError):
        charge.money = Money(1, MONEY.currency)  # type: ignore[misc]  # that is the point


def test_the_declines_stand_in_the_order_of_the_amount_table() -> None:
    """The n-th decline is what an amount of 2000 + n brings about in the sandbox."""
    expected = (
        "card_declined insufficient_funds do_not_honor lost_card stolen_card incorrect_cvv incorrect_postal_code"
        " processing_error account_closed no_account ach_returned"
    )

    assert expected.split() == list(DeclineCode)
