"""A phone line: a call with a clock of its own, and everything that came of it.

What an application, a connector and a caller do is said one by one (`answers`, `settles`, `keys`, `waits`), and every
effect is kept in `effects`.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from generic_connector.secret import Secret
from generic_connector.twilio.call import Call, Document, FetchFailed
from generic_connector.twilio.effects import Effect, Ends, Fetches, Plays, Reports, Speaks, Transacts, Warns
from generic_connector.twilio.orders import Settled, Settlement
from generic_connector.twilio.pay_connector import PayConnector
from generic_connector.twilio.switches import Switches

NOW_S = 1_795_000_000.0
"""In November 2026."""

URL = "https://app.example/voice"
ACTION = "https://app.example/paid"
STATUS = "https://app.example/status"
ACCOUNT_SID = "AC" + "a" * 32
CALL_SID = "CA" + "c" * 32

VISA = "4111111111111111"
MASTERCARD = "5555555555554444"
AMEX = "378282246310005"
EXPIRY = "1228"
CODE = "987"
POSTAL_CODE = "94105"
ROUTING = "021000021"
ACCOUNT = "123456789"

CARD_KEYS = VISA + EXPIRY + POSTAL_CODE + "#" + CODE
BANK_KEYS = ROUTING + ACCOUNT + "#"

CONNECTOR = PayConnector(
    unique_name="Default", url="https://pay.example/", username="twilio", password=Secret("testing123")
)

_E = TypeVar("_E", bound=Effect)


class Line:
    """A call that has begun with a document, which came from `URL` unless it is `inline`."""

    def __init__(
        self,
        twiml: object = None,
        *,
        inline: bool = False,
        switches: Switches | None = None,
        connectors: Sequence[PayConnector] = (CONNECTOR,),
        seconds_per_character: float = 0.0,
        call_type: type[Call] = Call,
    ) -> None:
        self.now_s = NOW_S
        self.effects: list[Effect] = []
        transactions = itertools.count(1)
        self.call = call_type(
            account_sid=ACCOUNT_SID,
            sid=CALL_SID,
            from_="+15550100",
            to="+15550199",
            switches=switches or Switches(),
            connectors={connector.unique_name: connector for connector in connectors},
            new_transaction_id=lambda: f"transaction-{next(transactions)}",
            seconds_per_character=seconds_per_character,
        )
        if twiml is not None and inline:
            self.begins(twiml=str(twiml))
        elif twiml is not None:
            self.begins(url=URL)
            self.answers(str(twiml))

    # --- What happens ---

    def begins(self, *, url: str | None = None, twiml: str | None = None) -> None:
        self.effects += self.call.begin(self.now_s, url=url, twiml=twiml)

    def keys(self, keys: str) -> None:
        """Press keys, one each tenth of a second."""
        for key in keys:
            self.now_s += 0.1
            self.effects += self.call.press(key, self.now_s)

    def waits(self) -> None:
        """Wait until the call wants to be woken."""
        assert self.call.wake_at_s is not None, "nothing is waited for"
        self.now_s = max(self.now_s, self.call.wake_at_s)
        self.effects += self.call.passed(self.now_s)

    def answers(self, text: object, *, url: str | None = None, content_type: str | None = "text/xml") -> None:
        """The application answers what it was asked last."""
        fetch = self.fetches[-1]
        self.effects += self.call.fetched(fetch.ticket, Document(url or fetch.url, str(text), content_type), self.now_s)

    def fails(self, why: str, code: int | None = None) -> None:
        self.effects += self.call.fetched(self.fetches[-1].ticket, FetchFailed(why, code), self.now_s)

    def settles(self, settlement: Settlement | None = None) -> None:
        """The connector answers: by default, yes."""
        [transacts] = self.transacts
        self.effects += self.call.settled(transacts.ticket, settlement or Settled(id="id_1"), self.now_s)

    def hangs_up(self) -> None:
        self.effects += self.call.hang_up(self.now_s)

    # --- What came of it ---

    def of(self, kind: type[_E]) -> Sequence[_E]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    @property
    def fetches(self) -> Sequence[Fetches]:
        return self.of(Fetches)

    @property
    def transacts(self) -> Sequence[Transacts]:
        return self.of(Transacts)

    @property
    def reports(self) -> Sequence[Mapping[str, str]]:
        return [report.fields for report in self.of(Reports)]

    @property
    def states(self) -> Sequence[tuple[str, str, str | None]]:
        """Step, attempt and error of each status callback."""
        return [(fields["For"], fields["Attempt"], fields.get("ErrorType")) for fields in self.reports]

    def state(self) -> tuple[str, str, str | None]:
        """The last of `states`."""
        return self.states[-1]

    @property
    def told(self) -> Mapping[str, str]:
        """What the action was told; it was told once."""
        [action] = [fetch for fetch in self.fetches if fetch.why == "action"]
        assert action.method == "POST"
        return action.fields

    @property
    def said(self) -> Sequence[str]:
        return [effect.text for effect in self.of(Speaks)]

    @property
    def heard(self) -> Sequence[str]:
        """What was said and played."""
        return list(self._heard())

    def _heard(self) -> Iterator[str]:
        for effect in self.effects:
            match effect:
                case Speaks():
                    yield effect.text
                case Plays():
                    yield effect.url or effect.digits or ""
                case _:
                    pass

    @property
    def warned(self) -> Sequence[int | None]:
        return [warning.code for warning in self.of(Warns)]

    @property
    def ended(self) -> Sequence[str]:
        return [effect.status for effect in self.of(Ends)]
