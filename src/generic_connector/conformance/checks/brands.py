"""Brands: the cards that the checks charge and keep, one check a brand, and what is to be said of each.

The brands are those of which Twilio publishes a test number, in its order. A brand's place is the number of its check,
so none changes its place. How binding each of them is:

- What `<Pay>` lets through where an application does not say otherwise may come any day: an endpoint MUST take it.
- The others come where an application asks for them, and which of them a processor takes is its own business: SHOULD.

The numbers are the profile's, since a live endpoint is asked with real ones. What to change where a brand is refused
stands here, since it is the same for charges and for tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from generic_connector.conformance.check import Level, NotAskable
from generic_connector.conformance.probe import Probe

_PAGE: Final = "Twilio: Generic Pay Connector"


@dataclass(frozen=True, slots=True, kw_only=True)
class Brand:
    """A brand: its key in a profile's `numbers.cards`, its name, and what to change where its cards are refused."""

    key: str
    title: str
    fix: str
    is_let_through: bool = False
    """Whether `<Pay>` lets it through where an application does not say otherwise."""

    @property
    def level(self) -> Level:
        """How binding it is to take it."""
        return Level.MUST if self.is_let_through else Level.SHOULD

    @property
    def source(self) -> str:
        """Where it says that it may come."""
        if self.is_let_through:
            return f"{_PAGE}, test mode; TwiML Voice: <Pay>, validCardTypes, default"
        return f"{_PAGE}, test mode: published test numbers. Which brands a processor takes is its own business"

    def card(self, probe: Probe) -> dict[str, object]:
        """Return the number and the security code of a card, as changes to an ordinary payment. Raises NotAskable."""
        numbers = probe.profile.numbers
        if self.key not in numbers.cards:
            raise NotAskable(f"The profile names no {self.title} card: numbers.cards.{self.key}.")
        number = numbers.cards[self.key]
        return {"cardnumber": number, "cvv": numbers.cvv_of(number)}


BRANDS: Final[Sequence[Brand]] = (
    Brand(
        key="visa",
        title="Visa",
        fix="Take card numbers of 16 digits that begin with 4. An id in charge_id or token_id and error_code null is "
        "all that Twilio reads.",
        is_let_through=True,
    ),
    Brand(
        key="mastercard",
        title="Mastercard",
        fix="Take card numbers of 16 digits that begin with 51 to 55 or 2221 to 2720.",
        is_let_through=True,
    ),
    Brand(
        key="amex",
        title="American Express",
        fix="Take card numbers of 15 digits that begin with 34 or 37, with a security code of four digits.",
        is_let_through=True,
    ),
    Brand(
        key="discover",
        title="Discover",
        fix="Take card numbers that begin with 6011 or 644 to 659.",
    ),
    Brand(
        key="diners",
        title="Diners Club",
        fix="Take card numbers that begin with 30, 36, 38 or 39. The published Diners test number fails the Luhn "
        "check: a test instance has to let it through all the same.",
    ),
    Brand(
        key="jcb",
        title="JCB",
        fix="Take card numbers of 16 digits that begin with 3528 to 3589.",
    ),
    Brand(
        key="unionpay",
        title="UnionPay",
        fix="Take card numbers that begin with 62.",
    ),
    Brand(
        key="maestro",
        title="Maestro",
        fix="Take card numbers of 12 to 19 digits that begin with 50, 56 to 58 or 6, and are of no other brand.",
    ),
)
