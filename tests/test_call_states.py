"""A call under anything that can happen, in any order: a state machine makes the stories up.

Callers key anything at any time, wait, and hang up; applications answer any document, late, never or wrongly, and
redirect the call; connectors answer or refuse, also after the call is over. After every step:

- a call that goes on waits for something that will come: the time, or an answer that is on its way;
- it has ended once if it is over, and not before;
- every <Pay> that began has told its action once, is still going on, or was allowed to fall through;
- of no card or account number are eleven digits in a row in anything but an order (a postal code and a routing number,
  which are told, have ten and nine at most).

The controls are calls that break one of these each: the machine must find every one.
"""

from collections.abc import Sequence
from typing import ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from generic_connector.twilio.call import Call, Document, FetchFailed
from generic_connector.twilio.effects import Effect, Ends, Executes, Fetches, Reports, Transacts, Warns
from generic_connector.twilio.orders import Failed, KeyedCard, Settled, Settlement
from generic_connector.twilio.pay_errors import PayError
from generic_connector.twilio.switches import Switches
from phone_line import ACCOUNT, ACTION, AMEX, BANK_KEYS, CARD_KEYS, MASTERCARD, ROUTING, STATUS, URL, VISA, Line

EXAMPLES = settings(max_examples=200, stateful_step_count=40, deadline=None)
UNTIL_FOUND = settings(
    EXAMPLES,
    max_examples=500,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
)

LONG_ACCOUNT = "12345678901234567"
NUMBERS = [VISA, MASTERCARD, AMEX, "3566002020360505", "4222222222222", LONG_ACCOUNT, ACCOUNT + "00"]
SHOWN_DIGITS_MAX = 10
RUNS = [number[at : at + 11] for number in NUMBERS for at in range(len(number) - SHOWN_DIGITS_MAX)]


def _pay(attributes: str = "", inside: str = "") -> str:
    return f'<Pay action="{ACTION}" statusCallback="{STATUS}" {attributes}>{inside}</Pay>'


RIGHT = {
    "payment-card-number": VISA,
    "expiration-date": "1228",
    "postal-code": "94105#",
    "security-code": "987",
    "bank-routing-number": ROUTING,
    "bank-account-number": LONG_ACCOUNT,
    "payment-processing": "1",
}


PAYS = [
    _pay('chargeAmount="10.00"'),
    _pay('paymentMethod="ach-debit" timeout="1"'),
    _pay('postalCode="false" securityCode="false" validCardTypes="visa jcb amex"'),
    _pay('chargeAmount="1"', '<Prompt for="payment-card-number" requireMatchingInputs="true"><Say>N</Say></Prompt>'),
    _pay('paymentMethod="ach-debit"', '<Prompt for="bank-account-number" requireMatchingInputs="true"/>'),
    _pay() + "<Pause/>" + _pay(),
    _pay('chargeAmount="a lot"'),
    _pay('timeout="never"'),
    f'<Pay action="http://app.example/plain" statusCallback="{STATUS}"/>',
]
OTHERS = [
    "",
    "<Say>Hello</Say>",
    '<Gather numDigits="2"><Say>Key.</Say></Gather><Say>Nothing.</Say>',
    '<Gather input="speech" timeout="2"/>',
    '<Pause length="2"/><Redirect/>',
    "<Redirect>/again</Redirect>",
    "<Dial>+1</Dial><Hangup/>",
    "<Unclosed>",
]
VERBS = st.sampled_from(PAYS[:6] * 4 + PAYS[6:] + OTHERS)
KEYS = st.text("0123456789*#", min_size=1, max_size=4)
SETTLEMENTS: st.SearchStrategy[Settlement] = st.sampled_from(
    [
        Settled(id="id_1", parameters={"reference": "r"}),
        Settled(id=f"id_{VISA}", parameters={"echo": VISA, "account": LONG_ACCOUNT}),
        Failed(error=PayError.CHARGE_REJECTED, payment_error=f"{AMEX} rejected", connector_error=MASTERCARD),
    ]
)


class HangsError(AssertionError):
    """A call waits for nothing that will come."""


class UntoldError(AssertionError):
    """A <Pay> has not told its action, or told it more than once."""


class EndsError(AssertionError):
    """A call has ended more than once, or without saying so."""


class ShownError(AssertionError):
    """A number is where it can be seen."""


class PhoneCalls(RuleBasedStateMachine):
    """A call, and what is known of it by its effects alone."""

    call_type: ClassVar[type[Call]] = Call
    switches: ClassVar[Switches] = Switches()
    falls_through: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.dial()

    def dial(self) -> None:
        """Begin with nothing known."""
        self.line = Line(switches=self.switches, call_type=self.call_type)
        self.looked_at = 0
        self.fetches: list[Fetches] = []
        self.transacts: list[Transacts] = []
        self.begun = self.told = self.fell_through = self.ends = 0
        self.verb = self.step = ""

    # --- What happens ---

    @initialize(verbs=VERBS, inline=st.booleans())
    def begins(self, verbs: str, inline: bool) -> None:  # noqa: FBT001 - hypothesis gives it by name
        """With a document's URL, or the document."""
        text = f"<Response>{verbs}</Response>"
        if inline:
            self.line.begins(twiml=text)
        else:
            self.line.begins(url=URL)
            self.look()
            self.line.answers(text)
            self.fetches.pop()

    @precondition(lambda self: self.line.call.is_over)
    @rule(verbs=VERBS, inline=st.booleans())
    def the_next_call_begins(self, verbs: str, inline: bool) -> None:  # noqa: FBT001 - hypothesis gives it by name
        """Once one is over, and all that it has left has come."""
        self.comes_to_its_end()
        self.dial()
        self.begins(verbs, inline)

    @rule(keys=KEYS)
    def keys(self, keys: str) -> None:
        """Any keys."""
        self.line.keys(keys)

    @precondition(lambda self: self.verb == "Pay")
    @rule(keys=st.sampled_from([*NUMBERS, "1228", "94105#", "987", ROUTING, CARD_KEYS, CARD_KEYS, BANK_KEYS]))
    def pays(self, keys: str) -> None:
        """Numbers and the like, right or wrong where they are keyed. Nobody keys them into a menu."""
        self.line.keys(keys)

    @precondition(lambda self: self.verb == "Pay" and self.line.call.wake_at_s is not None)
    @rule(steps=st.integers(1, 8))
    def pays_rightly(self, steps: int) -> None:
        """What is asked for, for so many steps."""
        for _step in range(steps):
            if self.line.call.wake_at_s is not None and self.verb == "Pay":
                self.line.keys(RIGHT[self.step])
                self.all_is_well()

    @rule(share=st.sampled_from([0.5, 1.0, 1.0, 3.0]))
    def waits(self, share: float) -> None:
        """Less than what the call waits for, so long, or longer."""
        if self.line.call.wake_at_s is not None:
            self.line.now_s += max(0.0, self.line.call.wake_at_s - self.line.now_s) * share
            self.line.effects += self.line.call.passed(self.line.now_s)

    @precondition(lambda self: self.fetches)
    @rule(verbs=VERBS, which=st.integers(0, 3))
    def the_application_answers(self, verbs: str, which: int) -> None:
        """Any request that is on its way, with any document."""
        fetch = self.fetches.pop(which % len(self.fetches))
        document = Document(fetch.url, f"<Response>{verbs}</Response>", "text/xml")
        self.line.effects += self.line.call.fetched(fetch.ticket, document, self.line.now_s)

    @precondition(lambda self: self.fetches)
    @rule(which=st.integers(0, 3))
    def the_application_fails(self, which: int) -> None:
        """Any request."""
        fetch = self.fetches.pop(which % len(self.fetches))
        self.line.effects += self.line.call.fetched(fetch.ticket, FetchFailed("no answer", 11200), self.line.now_s)

    @rule(ticket=st.integers(1, 5))
    def the_application_answers_again(self, ticket: int) -> None:
        """What nobody asked, or what was answered."""
        if ticket not in {fetch.ticket for fetch in self.fetches}:
            document = Document(URL, "<Response><Say>Again</Say></Response>")
            self.line.effects += self.line.call.fetched(ticket, document, self.line.now_s)

    @precondition(lambda self: self.transacts)
    @rule(settlement=SETTLEMENTS, which=st.integers(0, 3))
    def the_connector_answers(self, settlement: Settlement, which: int) -> None:
        """Yes, or no, or with what it was sent."""
        self.settle(self.transacts.pop(which % len(self.transacts)), settlement)

    def settle(self, transacts: Transacts, settlement: Settlement) -> None:
        instrument = transacts.order.instrument
        number = instrument.number if isinstance(instrument, KeyedCard) else instrument.account_number
        if isinstance(settlement, Settled) and settlement.id != "id_1":  # what it echoes is what it got
            settlement = Settled(id=f"id_{number.reveal()}", parameters={"echo": number.reveal()})
        elif isinstance(settlement, Failed):
            settlement = Failed(error=settlement.error, payment_error=number.reveal(), connector_error=number.reveal())
        self.line.effects += self.line.call.settled(transacts.ticket, settlement, self.line.now_s)

    @rule(chance=st.integers(0, 2))
    def hangs_up(self, chance: int) -> None:
        """Now and then, at any moment."""
        if chance == 0:
            self.line.hangs_up()

    @rule(verbs=VERBS, chance=st.integers(0, 5))
    def the_application_redirects(self, verbs: str, chance: int) -> None:
        """Now and then, with a document or to one."""
        if chance == 0:
            text = f"<Response>{verbs}</Response>"
            self.line.effects += self.line.call.redirect(self.line.now_s, twiml=text)
        elif chance == 1:
            self.line.effects += self.line.call.redirect(self.line.now_s, url=URL)

    # --- What is known of it ---

    def look(self) -> Sequence[Effect]:
        """Take down what is new."""
        new = self.line.effects[self.looked_at :]
        self.looked_at += len(new)
        for effect in new:
            match effect:
                case Executes():
                    self.verb = effect.verb
                    self.begun += effect.verb == "Pay"
                case Warns() if effect.code == PayError.INVALID_ACTION_URL:
                    self.begun -= 1
                case Fetches():
                    self.fetches.append(effect)
                    self.told += effect.why == "action"
                case Reports():
                    self.step = effect.fields["For"]
                    self.fell_through += self.falls_through and "ErrorType" in effect.fields
                case Transacts():
                    self.transacts.append(effect)
                case Ends():
                    self.ends += 1
                case _:
                    pass
        return new

    @invariant()
    def all_is_well(self) -> None:
        """Look at what is new, and hold it against what must be."""
        shown = repr(self.look())
        if any(run in shown for run in RUNS):
            raise ShownError
        call = self.line.call
        if self.ends != call.is_over:
            raise EndsError
        wakes = call.wake_at_s is not None and call.wake_at_s > self.line.now_s
        if call.status == "in-progress" and not (wakes or self.fetches or self.transacts):
            raise HangsError
        open_pays = self.begun - self.told - self.fell_through
        may_be_open = len(self.transacts) + (call.status == "in-progress" and wakes)
        if not 0 <= open_pays <= may_be_open or open_pays < len(self.transacts):
            raise UntoldError

    def teardown(self) -> None:
        """Every story is brought to its end."""
        self.comes_to_its_end()

    def comes_to_its_end(self) -> None:
        """The caller hangs up and the connectors answer: then everything has been told."""
        self.line.hangs_up()
        for transacts in self.transacts:
            self.settle(transacts, Settled(id="id_1"))
        self.transacts.clear()
        self.all_is_well()
        assert self.line.call.wake_at_s is None
        assert not self.line.call.is_settling


class FallingThrough(PhoneCalls):
    """One try for each step, and then the next verb. Every error that is reported is the end of its <Pay>."""

    falls_through = True
    switches = Switches(attempts_exhausted="next-verb", max_attempts_counts="tries", prompt_order="security-code-first")


class OtherSwitches(PhoneCalls):
    """Where the sources disagree, the other way."""

    switches = Switches(
        max_attempts_counts="tries",
        default_max_attempts=3,
        card_mask="dashed",
        security_code_mask="***",
        visa_lengths="as-documented",
        test_numbers_pass=False,
        matching_inputs="bank-only",
        action_scheme="any",
        payment_error_encoding="percent",
        personal_account_names=True,
    )


@pytest.mark.timeout(120)
@pytest.mark.parametrize("machine", [PhoneCalls, FallingThrough, OtherSwitches])
def test_whatever_happens_a_call_goes_on_or_ends_and_tells_what_it_may(machine: type[PhoneCalls]) -> None:
    """Any keys, times, answers and hang-ups, in any order, with any switches."""
    run_state_machine_as_test(machine, settings=EXAMPLES)


# --- Controls ---


class Silent(Call):
    """Says nothing to the action when the caller hangs up."""

    def _leave(self, paying: object) -> None:
        pass


class Deaf(Call):
    """Never wants to be woken."""

    @property
    def wake_at_s(self) -> float | None:
        return None


class Parting(Call):
    """Says good-bye twice."""

    def hang_up(self, now_s: float) -> Sequence[Effect]:
        return [*super().hang_up(now_s), Ends("completed")]


class Blabbing(Call):
    """Tells a card number in a warning."""

    def press(self, key: str, now_s: float) -> Sequence[Effect]:
        effects = list(super().press(key, now_s))
        for effect in effects:
            if isinstance(effect, Transacts) and isinstance(effect.order.instrument, KeyedCard):
                return [*effects, Warns(None, f"charging {effect.order.instrument.number.reveal()}")]
        return effects


CONTROLS = [(Silent, UntoldError), (Deaf, HangsError), (Parting, EndsError), (Blabbing, ShownError)]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("broken", "error"), CONTROLS, ids=[broken.__name__ for broken, _error in CONTROLS])
def test_the_machine_finds_what_is_broken(broken: type[Call], error: type[AssertionError]) -> None:
    """The controls: each breaks one promise, and is found out."""
    machine = type("Control", (PhoneCalls,), {"call_type": broken})

    with pytest.raises(error):
        run_state_machine_as_test(machine, settings=UNTIL_FOUND)
