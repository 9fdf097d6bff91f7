"""Prompts: what a caller hears, and which `<Prompt>` that is.

A prompt is chosen by step, error, attempt and card type. A `<Prompt>` fits where each attribute that it has names the
present value; of those that fit, the one with the most attributes wins, then `errorType` before `attempt` before
`cardType`, then the one that comes first. (Twilio's page shows which attributes there are, not which prompt wins.)
Where none fits, the words are ours, and English whatever the language.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

from generic_connector.twilio.effects import Plays, Speaks
from generic_connector.twilio.entries import CardType, ErrorType, Step
from generic_connector.twilio.twiml import PROMPT_TIMEOUT, Pause, Play, Prompt, Say, Spoken

_QUESTIONS = {
    Step.PAYMENT_CARD_NUMBER: "Please key in the number of your card.",
    Step.EXPIRATION_DATE: "Please key in the date until which your card is good: two digits for the month, two for the"
    " year.",
    Step.SECURITY_CODE: "Please key in the security code that is printed on your card.",
    Step.POSTAL_CODE: "Please key in the postal code of your billing address, and then the pound key.",
    Step.BANK_ROUTING_NUMBER: "Please key in the nine digits of your bank's routing number.",
    Step.BANK_ACCOUNT_NUMBER: "Please key in the number of your bank account, and then the pound key.",
    Step.PAYMENT_PROCESSING: "Thank you. Please hold while the payment is made.",
}
ONCE_MORE: Sequence[Spoken] = (Say(line=0, text="To be sure, please key in the same once more."),)
"""What is said where inputs must match."""

_REGRETS = {
    ErrorType.INPUT_TIMEOUT: "Nothing was keyed in.",
    ErrorType.INVALID_CARD_NUMBER: "That is not the number of a card.",
    ErrorType.INVALID_CARD_TYPE: "Cards of that kind are not taken here.",
    ErrorType.INVALID_DATE: "That date is not right, or it is past.",
    ErrorType.INVALID_SECURITY_CODE: "That is not a security code.",
    ErrorType.INVALID_POSTAL_CODE: "That is not a postal code.",
    ErrorType.INVALID_BANK_ROUTING_NUMBER: "That is not a routing number.",
    ErrorType.INVALID_BANK_ACCOUNT_NUMBER: "That is not the number of an account.",
    ErrorType.INPUT_MATCHING_FAILED: "These were not the same.",
}


def choose(
    prompts: Sequence[Prompt], *, step: Step, error: ErrorType | None, attempt: int, card_type: CardType | None
) -> Prompt | None:
    """Return the prompt that fits best, or None. `attempt` counts from 1; `error` is why it is not the first."""
    word = PROMPT_TIMEOUT if error is ErrorType.INPUT_TIMEOUT else error
    fitting = [
        prompt
        for prompt in prompts
        if prompt.step is step
        and (not prompt.error_types or word in prompt.error_types)
        and (not prompt.attempts or attempt in prompt.attempts)
        and (not prompt.card_types or card_type in prompt.card_types)
    ]
    return max(fitting, key=_specificity, default=None)  # the first of equals


def _specificity(prompt: Prompt) -> tuple[int, bool, bool, bool]:
    named = (bool(prompt.error_types), bool(prompt.attempts), bool(prompt.card_types))
    return (sum(named), *named)


def default(step: Step, error: ErrorType | None) -> Sequence[Spoken]:
    """Return our own words."""
    regret = "" if error is None else f"{_REGRETS[error]} "
    return (Say(line=0, text=regret + _QUESTIONS[step]),)


@dataclass(frozen=True, slots=True)
class Speech:
    """What the caller hears, and how long that takes."""

    effects: tuple[Speaks | Plays, ...]
    length_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """Turns what stands in TwiML into speech.

    `resolve` makes a URL absolute. `seconds_per_character` is how long a text takes; a recording takes no time.
    """

    resolve: Callable[[str], str]
    seconds_per_character: float = 0.0

    def speech(self, spoken: Sequence[Spoken], *, language: str | None = None, step: str | None = None) -> Speech:
        """Say all that. `language` is for what names none itself."""
        effects: list[Speaks | Plays] = []
        length_s = 0.0
        for one in spoken:
            match one:
                case Say():
                    effects.append(Speaks(one.text, one.language or language, one.voice, step))
                    length_s += len(one.text) * self.seconds_per_character
                case Play():
                    effects.append(Plays(None if one.url is None else self.resolve(one.url), one.digits, step))
                case Pause():
                    length_s += one.length_s
                case _:
                    assert_never(one)
        return Speech(tuple(effects), length_s)
