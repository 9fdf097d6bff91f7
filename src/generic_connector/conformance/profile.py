"""A profile: what the kit is told about an endpoint, so that it can ask what no stranger could know how to ask.

Which amount is approved, what declines, how to make a charge take longer than ten seconds, how to restart the server:
only its owner knows. A profile is a small TOML file, and every line of it has a default. What it does not tell is not
asked: the checks that need it are skipped, and say which line would help.

    [endpoint]
    charges = true          # answers method "charge"
    tokenizes = true        # answers method "tokenize"
    ach = true              # takes US bank accounts too
    mode = "test"           # "live": the numbers below are real ones
    currency = "USD"

    [amounts]
    approve = "10.00"       # charged again and again; what a second, different purchase costs is `other`
    other = "11.00"

    [numbers]
    card = "4111111111111111"
    expiry_month = "12"     # with no year: December two years from now
    accounts = ["123456789", "12345678"]

    [decline]               # any of these: they are changes to an ordinary charge
    amount = "2000.00"
    parameters = { sandbox_outcome = "card_declined" }
    error_code = "card_declined"

    [decline_tokenize]      # the same for a token
    parameters = { sandbox_outcome = "card_declined" }

    [slow]                  # longer than the ten seconds that Twilio waits
    parameters = { sandbox_delay_ms = "11000" }
    takes_s = 11.0

    [restart]
    command = "systemctl restart endpoint"
    ready_within_s = 30

    [other]                 # a second instance of the same endpoint, whose payments are not this one's
    username = "second"
    password_file = "second.password"

Card and account numbers stand here in clear. They are test numbers, or it is the owner's file: the kit shows none of
them, here or elsewhere.
"""

import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

SANDBOX: Final = "sandbox"
"""The name of the built-in profile, as in `--profile sandbox`."""
_YEARS_AHEAD = 2

Digits = Annotated[str, Field(pattern=r"^[0-9]+$")]
Amount = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?$")]


class ProfileError(ValueError):
    """The profile cannot be used. The text says which line is wrong, and never quotes a value of it."""


class _Section(BaseModel):
    """A part of the file: nothing can be changed, nothing unknown is let through, no value stands in an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Endpoint(_Section):
    """What the endpoint can do."""

    charges: bool = True
    tokenizes: bool = True
    ach: bool = False
    mode: Literal["test", "live"] = "test"
    currency: str = Field(default="USD", pattern=r"^[A-Za-z]{3}$")


class Amounts(_Section):
    """What an ordinary charge costs, and what another one costs."""

    approve: Amount = "10.00"
    other: Amount = "11.00"


class Numbers(_Section):
    """Whose money it is. The defaults are the numbers that Twilio publishes for connectors in test mode."""

    card: Digits = Field(default="4111111111111111", repr=False)
    other_card: Digits = Field(default="5555555555554444", repr=False)
    cards: Mapping[str, Digits] = Field(
        default={
            "visa": "4111111111111111",
            "mastercard": "5555555555554444",
            "amex": "378282246310005",
            "discover": "6011111111111117",
            "diners": "3065930009020004",
            "jcb": "3566002020360505",
            "unionpay": "6200000000000005",
            "maestro": "6771798021000008",
        },
        repr=False,
    )
    cvv: Digits = Field(default="123", repr=False)
    cvv_amex: Digits = Field(default="1234", repr=False)
    expiry_month: Annotated[str, Field(pattern=r"^(0[1-9]|1[0-2])$")] = "12"
    expiry_year: Annotated[str, Field(pattern=r"^([0-9]{2})?$")] = ""
    """Two digits. Empty: two years from now."""
    expired_month: Annotated[str, Field(pattern=r"^(0[1-9]|1[0-2])$")] = "01"
    expired_year: Annotated[str, Field(pattern=r"^[0-9]{2}$")] = "20"
    postal_code: str = "94105"
    bad_card: Digits = Field(default="4111111111111112", repr=False)
    """A number that fails the Luhn check."""
    accounts: Annotated[Sequence[Digits], Field(min_length=1)] = Field(default=("123456789", "12345678"), repr=False)
    routing_number: Digits = "021000021"

    def cvv_of(self, card: str) -> str:
        """Return a security code of the right length for a card: American Express has four digits."""
        return self.cvv_amex if card.startswith(("34", "37")) else self.cvv


class Changes(_Section):
    """How to change an ordinary request so that something particular happens. Empty: nobody said how."""

    parameters: Mapping[str, str] = {}
    amount: Amount | None = None
    card: Digits | None = Field(default=None, repr=False)

    @property
    def is_known(self) -> bool:
        """Whether anything was said."""
        return bool(self.parameters or self.amount or self.card)

    @property
    def fields(self) -> Mapping[str, object]:
        """The fields to change, by Twilio's names."""
        said = {"parameters": dict(self.parameters) or None, "amount": self.amount, "cardnumber": self.card}
        return {name: value for name, value in said.items() if value is not None}


class Slow(Changes):
    """How to make a charge slow, and how slow it then is, in seconds."""

    takes_s: float = Field(default=11.0, gt=0, le=60)


class Decline(Changes):
    """How to have a payment declined, and the `error_code` it then gets, where that is known."""

    error_code: str | None = None


class Restart(_Section):
    """How to restart the endpoint: a command, split as a shell would, but run without one."""

    command: str | Sequence[str] = ()
    ready_within_s: float = Field(default=30.0, gt=0, le=300)


class Other(_Section):
    """A second instance: its username, and the file that its password is in."""

    username: str | None = None
    password_file: Path | None = None


class Profile(_Section):
    """All of it. `Profile()` is an endpoint that charges and tokenizes cards, of which nothing else is known."""

    endpoint: Endpoint = Endpoint()
    amounts: Amounts = Amounts()
    numbers: Numbers = Numbers()
    decline: Decline = Decline()
    decline_tokenize: Decline = Decline()
    slow: Slow = Slow()
    restart: Restart = Restart()
    other: Other = Other()

    @classmethod
    def sandbox(cls) -> Self:
        """Return the profile of this project's gateway with its sandbox processor: everything but a restart."""
        return cls(
            endpoint=Endpoint(ach=True),
            decline=Decline(amount="2000.00", error_code="card_declined"),
            decline_tokenize=Decline(parameters={"sandbox_outcome": "card_declined"}, error_code="card_declined"),
            slow=Slow(parameters={"sandbox_delay_ms": "11000"}, takes_s=11.0),
        )

    @classmethod
    def named(cls, name: str | Path) -> Self:
        """Return the built-in profile of that name, or the one in the file of that name. Raises ProfileError."""
        return cls.sandbox() if str(name) == SANDBOX else cls.read(Path(name))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the profile in a TOML file. Raises ProfileError."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise ProfileError(f"The profile {path} cannot be read: {reason}.") from None
        return cls.parse(text, name=str(path))

    @classmethod
    def parse(cls, text: str, *, name: str = "profile") -> Self:
        """Return the profile in a TOML text. Raises ProfileError."""
        try:
            return cls.model_validate(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            # Its message ends with a place, and begins with words that may quote a character, no more.
            raise ProfileError(f"The profile {name} is not TOML: {error}.") from None
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, problem['loc'])) or 'the file'}: {problem['msg']}"
                for problem in error.errors(include_input=False, include_url=False, include_context=False)
            )
            raise ProfileError(f"The profile {name} has mistakes: {wrong}.") from None

    def expiry(self, today: datetime | None = None) -> tuple[str, str]:
        """Return a month and a two-digit year in which an ordinary card is good."""
        year = self.numbers.expiry_year or f"{((today or datetime.now(UTC)).year + _YEARS_AHEAD) % 100:02d}"
        return self.numbers.expiry_month, year
