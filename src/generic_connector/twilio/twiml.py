"""TwiML: the document that an application answers, parsed into verbs.

A `<Response>` becomes a `Script`: frozen verbs in order, each with the line that it begins on, and warnings. Three
things can be wrong with a document, and they are told apart as Twilio tells them apart:

- it cannot be read at all (not XML, no `<Response>`, a DTD, more than 64 kB): `Unreadable`, and the call ends;
- something in it is not in the schema (a misspelt verb or attribute, a value out of range): a warning, 12200, and that
  part is left out or gets its default, and the call goes on;
- an attribute of `<Pay>` has a value that it cannot have: a `Problem` of that `<Pay>`, which ends in its turn with
  `validation-error`, before the caller is asked for anything.

Verbs that a payment call uses are simulated: Say, Play, Pause, Gather, Redirect, Hangup, Pay. Every other verb is
skipped, and says so.

The parser is expat without DTDs, so that there are no entities to expand and nothing outside to load.

Sources: Twilio's pages on TwiML, `<Pay>`, `<Prompt>` and `<Parameter>`, its error dictionary, and its SDKs.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TypeVar
from xml.parsers import expat

from generic_connector.digits import is_digits
from generic_connector.twilio.entries import DEFAULT_CARD_TYPES, BankAccountType, CardType, ErrorType, Step
from generic_connector.twilio.pay_connector import DEFAULT_NAME, PaymentMethod, TokenType
from generic_connector.twilio.pay_errors import PayError
from generic_connector.twilio.switches import Switches

BODY_BYTES_MAX = 64 * 1024
"""Twilio: a TwiML document has at most 64 kB."""

PARSE_FAILURE = 12100
SCHEMA_WARNING = 12200
TOO_LARGE = 11750

PROMPT_TIMEOUT = "timeout"
"""What `<Prompt>` calls the error type that callbacks call `input-timeout`."""

_NUMBER_DIGITS_MAX = 6
_TIMEOUT_DEFAULT_S = 5
_ATTEMPTS_MAX = 3

_T = TypeVar("_T")


# --- What is wrong ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Complaint:
    """Something is not as it should be, and the call goes on. `text` begins with the line."""

    code: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """It is no TwiML: Twilio's code, and what to do."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a `<Pay>` cannot begin. `text` says what is allowed, and not what was given."""

    error: PayError
    text: str


# --- Verbs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """Text to speech. Without `loop`: here everything is said once."""

    line: int
    text: str
    language: str | None = None
    voice: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """A recording, or with `digits` tones. The URL is as written: relative ones are the call's to resolve."""

    line: int
    url: str | None = None
    digits: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """So many seconds of silence."""

    line: int
    length_s: int = 1


Spoken = Say | Play | Pause


@dataclass(frozen=True, slots=True, kw_only=True)
class Gather:
    """Keys for the application. `num_digits` None: until the timeout or `finish_on_key`, which may be empty."""

    line: int
    action: str | None = None
    method: str = "POST"
    timeout_s: int = _TIMEOUT_DEFAULT_S
    num_digits: int | None = None
    finish_on_key: str = "#"
    hears_keys: bool = True
    action_on_empty_result: bool = False
    spoken: tuple[Spoken, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """On to another document. `url` None is the current one."""

    line: int
    url: str | None = None
    method: str = "POST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hangup:
    """The end."""

    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What is said at a step of a `<Pay>`. An empty set: whatever the error, the attempt, the card."""

    line: int
    step: Step
    error_types: AbstractSet[str] = frozenset()
    """In `<Prompt>`'s own words: `timeout`, not `input-timeout`."""
    attempts: AbstractSet[int] = frozenset()
    card_types: AbstractSet[CardType] = frozenset()
    require_matching_inputs: bool = False
    spoken: tuple[Spoken, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pay:
    """A payment. What is None was not given and has no default that needs no knowledge of the call."""

    line: int
    action: str | None = None
    status_callback: str | None = None
    status_callback_method: str = "POST"
    payment_method: PaymentMethod = PaymentMethod.CREDIT_CARD
    bank_account_type: BankAccountType | None = None
    timeout_s: int = _TIMEOUT_DEFAULT_S
    max_attempts: int | None = None
    security_code: bool = True
    postal_code: bool | str = True
    """Whether it is asked for; or the postal code itself, which then is not."""
    min_postal_code_length: int | None = None
    payment_connector: str = DEFAULT_NAME
    token_type: TokenType = TokenType.REUSABLE
    charge_amount: str | None = None
    currency: str = "usd"
    language: str = "en-US"
    description: str | None = None
    valid_card_types: AbstractSet[CardType] = DEFAULT_CARD_TYPES
    prompts: tuple[Prompt, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A verb that is not simulated."""

    line: int
    verb: str


Verb = Say | Play | Pause | Gather | Redirect | Hangup | Pay | Skipped


@dataclass(frozen=True, slots=True)
class Script:
    """A document that could be read."""

    verbs: tuple[Verb, ...] = ()
    warnings: tuple[Complaint, ...] = ()


def name_of(verb: Verb) -> str:
    """Return the verb's name in TwiML."""
    return verb.verb if isinstance(verb, Skipped) else type(verb).__name__


# --- XML -------------------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class _Element:
    name: str
    attributes: Mapping[str, str]
    line: int
    children: list["_Element"] = field(default_factory=list)
    own_text: list[str] = field(default_factory=list)
    whole_text: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text in it, its children's too (SSML), with white space made single."""
        return " ".join("".join(self.whole_text).split())


class _DtdError(Exception):
    pass


class _Tree:
    """Builds elements from what expat tells."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._opened
        self._parser.EndElementHandler = self._closed
        self._parser.CharacterDataHandler = self._heard
        self._parser.StartDoctypeDeclHandler = self._declared
        self._open = [_Element(name="", attributes={}, line=0)]

    def read(self, text: str) -> _Element:
        """Return the root element. ExpatError where the text is no XML."""
        self._parser.Parse(text, True)  # noqa: FBT003 - expat takes no keywords
        return self._open[0].children[0]

    def _opened(self, name: str, attributes: Mapping[str, str]) -> None:
        element = _Element(name=name, attributes=attributes, line=self._parser.CurrentLineNumber)
        self._open[-1].children.append(element)
        self._open.append(element)

    def _closed(self, _name: str) -> None:
        element = self._open.pop()
        self._open[-1].whole_text += element.whole_text

    def _heard(self, text: str) -> None:
        self._open[-1].own_text.append(text)
        self._open[-1].whole_text.append(text)

    def _declared(self, *_doctype: object) -> None:
        raise _DtdError


def _root(text: str) -> _Element | Unreadable:
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError:
        return Unreadable(PARSE_FAILURE, "The document is no text: it holds half a character. Answer it in UTF-8.")
    if size_bytes > BODY_BYTES_MAX:
        return Unreadable(TOO_LARGE, f"The document has more than {BODY_BYTES_MAX} bytes: make it shorter.")
    try:
        root = _Tree().read(text)
    except expat.ExpatError as error:
        why = expat.ErrorString(error.code)
        return Unreadable(
            PARSE_FAILURE,
            f"line {error.lineno}: this is not XML: {why}. Nothing may stand before the XML declaration, and & and <"
            " are written &amp; and &lt;.",
        )
    except _DtdError:
        return Unreadable(PARSE_FAILURE, "TwiML has no document type declaration: leave <!DOCTYPE ...> out.")
    if root.name != "Response":
        return Unreadable(PARSE_FAILURE, f"line {root.line}: the root element must be <Response>, in this spelling.")
    return root


# --- Attributes ------------------------------------------------------------------------------------------------------


class _Attributes:
    """An element's attributes, taken one by one. What a value may be is said to `invalid`; the rest is unknown."""

    def __init__(self, element: _Element, invalid: Callable[[str], None]) -> None:
        self._given = {
            name: value for name, value in element.attributes.items() if ":" not in name and not name.startswith("xml")
        }
        self._known: list[str] = []
        self._invalid = invalid

    def verbatim(self, name: str) -> str | None:
        """Return the value, white space and all, or None where there is none."""
        self._known.append(name)
        return self._given.get(name)

    def text(self, name: str) -> str | None:
        """Return the value, or None where there is none."""
        given = self.verbatim(name)
        return None if given is None else given.strip()

    def some_text(self, name: str) -> str | None:
        """Return the value, or None where there is none or it is blank."""
        return self.text(name) or None

    def number(self, name: str, default: _T, *, at_least: int = 1, at_most: int | None = None) -> int | _T:
        """Return the whole number."""
        given = self.text(name)
        if given is None:
            return default
        if is_digits(given) and len(given) <= _NUMBER_DIGITS_MAX and at_least <= int(given) <= (at_most or int(given)):
            return int(given)
        bounds = f"{at_least} or more" if at_most is None else f"{at_least} to {at_most}"
        self._invalid(f'"{name}" must be a whole number, {bounds}.')
        return default

    def boolean(self, name: str, *, default: bool) -> bool:
        """Return what `true` or `false` means."""
        return self.one_of(name, {"true": True, "false": False}, default)

    def one_of(self, name: str, allowed: Mapping[str, _T], default: _T) -> _T:
        """Return what the value stands for."""
        given = self.text(name)
        if given is None:
            return default
        if given in allowed:
            return allowed[given]
        self._invalid(f'"{name}" must be one of: {", ".join(allowed)}.')
        return default

    def some_of(self, name: str, allowed: Mapping[str, _T], default: tuple[_T, ...]) -> tuple[_T, ...] | None:
        """Return what the values stand for, or None where one of them is none of `allowed`, or there is none.

        A comma is taken for a space: an SDK's docstring has commas, everything else has spaces.
        """
        given = self.text(name)
        if given is None:
            return default
        words = given.replace(",", " ").split()
        if words and all(word in allowed for word in words):
            return tuple(allowed[word] for word in words)
        self._invalid(f'"{name}" must be some of these, separated by spaces: {", ".join(allowed)}.')
        return None

    def ignored(self, *names: str) -> None:
        """Say that these exist and mean nothing here."""
        self._known += names

    def unknown(self) -> Sequence[tuple[str, str | None]]:
        """Return the attributes that were not asked for, each with the one that is probably meant."""
        by_letters = {_letters(name): name for name in self._known}
        return [(name, by_letters.get(_letters(name))) for name in self._given if name not in self._known]


def _letters(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


_METHODS = {"GET": "GET", "POST": "POST", "get": "GET", "post": "POST"}
_INPUTS = {
    "dtmf": True,
    "dtmf speech": True,
    "speech dtmf": True,
    "speech": False,
}
_FINISHING_KEYS = {key: key for key in ("", *"0123456789#*")}

_ACH_LANGUAGES = ("en-AU", "en-CA", "en-GB", "en-IN", "en-US")
_CARD_LANGUAGES = (*_ACH_LANGUAGES, "es-ES", "es-MX", "fr-CA", "fr-FR", "de-DE", "it-IT")
_PROMPT_ERROR_TYPES = (
    PROMPT_TIMEOUT,
    ErrorType.INVALID_CARD_NUMBER,
    ErrorType.INVALID_CARD_TYPE,
    ErrorType.INVALID_DATE,
    ErrorType.INVALID_SECURITY_CODE,
    ErrorType.INVALID_POSTAL_CODE,
    ErrorType.INVALID_BANK_ROUTING_NUMBER,
    ErrorType.INVALID_BANK_ACCOUNT_NUMBER,
    ErrorType.INPUT_MATCHING_FAILED,
    ErrorType.INTERNAL_ERROR,
)
_OTHER_VERBS = frozenset(
    {
        "Connect",
        "Dial",
        "Echo",
        "Enqueue",
        "Leave",
        "Queue",
        "Record",
        "Refer",
        "Reject",
        "Sms",
        "Start",
        "Stop",
    }
)


def _by_value(values: Sequence[_T]) -> Mapping[str, _T]:
    return {str(value): value for value in values}


# --- Reading ---------------------------------------------------------------------------------------------------------


def parse(text: str, switches: Switches) -> Script | Unreadable:
    """Read a document."""
    root = _root(text)
    return root if isinstance(root, Unreadable) else _Reader(switches).script(root)


class _Reader:
    """Reads one document, and gathers warnings on the way."""

    def __init__(self, switches: Switches) -> None:
        self._switches = switches
        self._warnings: list[Complaint] = []

    def script(self, root: _Element) -> Script:
        attributes = self._attributes(root)
        self._is_container(root)
        self._done(root, attributes)
        verbs = [self._verb(child) for child in root.children]
        return Script(tuple(verb for verb in verbs if verb is not None), tuple(self._warnings))

    def _warn(self, element: _Element, text: str, code: int | None = SCHEMA_WARNING) -> None:
        self._warnings.append(Complaint(code, f"line {element.line}: <{element.name}>: {text}"))

    def _attributes(self, element: _Element, invalid: Callable[[str], None] | None = None) -> _Attributes:
        """Return its attributes. A value that is not allowed is a warning, unless it is more."""
        return _Attributes(element, invalid or (lambda text: self._warn(element, f"{text} This one is left out.")))

    def _done(self, element: _Element, attributes: _Attributes) -> None:
        for name, meant in attributes.unknown():
            hint = f': did you mean "{meant}"?' if meant else ": it is left out."
            self._warn(element, f'there is no attribute "{name}"{hint}')

    def _is_container(self, element: _Element) -> None:
        if "".join(element.own_text).strip():
            self._warn(element, "text that stands here is not spoken: put it into a <Say>.")

    def _is_leaf(self, element: _Element) -> None:
        for child in element.children:
            self._warn(child, f"this cannot stand in <{element.name}>: it is left out.")

    def _verb(self, element: _Element) -> Verb | None:
        match element.name:
            case "Say" | "Play" | "Pause":
                return self._spoken(element)
            case "Gather":
                return self._gather(element)
            case "Redirect":
                return self._redirect(element)
            case "Hangup":
                self._done(element, self._attributes(element))
                self._is_leaf(element)
                return Hangup(line=element.line)
            case "Pay":
                return self._pay(element)
            case name if name in _OTHER_VERBS:
                self._warn(element, "this verb is not simulated here: it is skipped.", None)
                return Skipped(line=element.line, verb=name)
            case name:
                known = {known.lower(): known for known in (*_VERBS, *_OTHER_VERBS)}
                hint = f": did you mean <{known[name.lower()]}>?" if name.lower() in known else "."
                self._warn(element, f"there is no such verb{hint} It is skipped.")
                return Skipped(line=element.line, verb=name)

    def _spoken(self, element: _Element) -> Spoken | None:
        attributes = self._attributes(element)
        attributes.ignored("loop")
        spoken: Spoken | None
        match element.name:
            case "Say":  # what stands in it is SSML, of which the words are taken
                spoken = Say(
                    line=element.line,
                    text=element.text,
                    language=attributes.some_text("language"),
                    voice=attributes.some_text("voice"),
                )
            case "Play":
                spoken = Play(line=element.line, url=element.text or None, digits=attributes.some_text("digits"))
                self._is_leaf(element)
                if spoken.url is None and spoken.digits is None:
                    self._warn(element, 'it needs a URL, or "digits": it is left out.')
                    spoken = None
            case _:
                spoken = Pause(line=element.line, length_s=attributes.number("length", 1, at_least=0))
                self._is_leaf(element)
        self._done(element, attributes)
        return spoken

    def _all_spoken(self, element: _Element) -> tuple[Spoken, ...]:
        self._is_container(element)
        spoken: list[Spoken] = []
        for child in element.children:
            if child.name not in _SPOKEN:
                self._warn(child, f"only <Say>, <Play> and <Pause> can stand in <{element.name}>: it is left out.")
            elif (said := self._spoken(child)) is not None:
                spoken.append(said)
        return tuple(spoken)

    def _gather(self, element: _Element) -> Gather:
        attributes = self._attributes(element)
        attributes.ignored(
            "speechTimeout",
            "maxSpeechTime",
            "profanityFilter",
            "partialResultCallback",
            "partialResultCallbackMethod",
            "language",
            "hints",
            "bargeIn",
            "debug",
            "speechModel",
            "enhanced",
        )
        # "auto" is for speech, which is not simulated.
        is_automatic = attributes.text("timeout") == "auto"
        gather = Gather(
            line=element.line,
            action=attributes.some_text("action"),
            method=attributes.one_of("method", _METHODS, "POST"),
            timeout_s=_TIMEOUT_DEFAULT_S if is_automatic else attributes.number("timeout", _TIMEOUT_DEFAULT_S),
            num_digits=attributes.number("numDigits", None),
            finish_on_key=attributes.one_of("finishOnKey", _FINISHING_KEYS, "#"),
            hears_keys=attributes.one_of("input", _INPUTS, default=True),
            action_on_empty_result=attributes.boolean("actionOnEmptyResult", default=False),
            spoken=self._all_spoken(element),
        )
        if not gather.hears_keys:
            self._warn(element, "speech is not simulated: nothing will be heard until the timeout.", None)
        self._done(element, attributes)
        return gather

    def _redirect(self, element: _Element) -> Redirect:
        attributes = self._attributes(element)
        method = attributes.one_of("method", _METHODS, "POST")
        self._is_leaf(element)
        self._done(element, attributes)
        return Redirect(line=element.line, url=element.text or None, method=method)

    # --- <Pay> ---

    def _pay(self, element: _Element) -> Pay:
        problems: list[Problem] = []

        def invalid(text: str) -> None:
            problems.append(Problem(PayError.INVALID_PARAMETER, f"line {element.line}: <Pay>: {text}"))

        attributes = self._attributes(element, invalid)
        attributes.one_of("input", {"dtmf": None}, None)
        method = attributes.one_of("paymentMethod", _by_value(list(PaymentMethod)), PaymentMethod.CREDIT_CARD)
        account_types = list(BankAccountType)
        if not self._switches.commercial_savings:
            account_types.remove(BankAccountType.COMMERCIAL_SAVINGS)
        prompts, parameters = self._nouns(element)
        pay = Pay(
            line=element.line,
            action=attributes.some_text("action"),
            status_callback=attributes.some_text("statusCallback"),
            status_callback_method=attributes.one_of("statusCallbackMethod", _METHODS, "POST"),
            payment_method=method,
            bank_account_type=attributes.one_of("bankAccountType", _by_value(account_types), None),
            timeout_s=attributes.number("timeout", _TIMEOUT_DEFAULT_S),
            max_attempts=attributes.number("maxAttempts", None, at_most=_ATTEMPTS_MAX),
            security_code=attributes.boolean("securityCode", default=True),
            postal_code=_postal_code(attributes),
            min_postal_code_length=attributes.number("minPostalCodeLength", None),
            payment_connector=attributes.some_text("paymentConnector") or DEFAULT_NAME,
            token_type=attributes.one_of("tokenType", _by_value(list(TokenType)), TokenType.REUSABLE),
            charge_amount=attributes.some_text("chargeAmount"),
            currency=attributes.some_text("currency") or "usd",
            language=_language(attributes, method),
            description=attributes.verbatim("description") or None,
            valid_card_types=self._card_types(element, attributes),
            prompts=prompts,
            parameters=parameters,
            problems=tuple(problems),
        )
        self._done(element, attributes)
        return pay

    def _card_types(self, element: _Element, attributes: _Attributes) -> AbstractSet[CardType]:
        if "," in (attributes.text("validCardTypes") or ""):
            self._warn(element, '"validCardTypes" is separated by spaces: commas work here, and perhaps nowhere else.')
        return frozenset(attributes.some_of("validCardTypes", _by_value(list(CardType)), ()) or DEFAULT_CARD_TYPES)

    def _nouns(self, element: _Element) -> tuple[tuple[Prompt, ...], Mapping[str, str]]:
        self._is_container(element)
        prompts: list[Prompt] = []
        parameters: dict[str, str] = {}
        for child in element.children:
            match child.name:
                case "Prompt":
                    prompt = self._prompt(child)
                    prompts += [] if prompt is None else [prompt]
                case "Parameter":
                    self._parameter(child, parameters)
                case _:
                    self._warn(child, "only <Prompt> and <Parameter> can stand in <Pay>: it is left out.")
        return tuple(prompts), parameters

    def _parameter(self, element: _Element, parameters: dict[str, str]) -> None:
        attributes = self._attributes(element)
        name, value = attributes.some_text("name"), attributes.verbatim("value")
        self._is_leaf(element)
        self._done(element, attributes)
        if name is None or value is None:
            self._warn(element, 'it needs "name" and "value": it is left out.')
            return
        if name in parameters:
            self._warn(element, f'there are two of the name "{name}": the last one counts.')
        parameters[name] = value

    def _prompt(self, element: _Element) -> Prompt | None:
        attributes = self._attributes(element)
        step = attributes.one_of("for", _by_value(list(Step)), None)
        attempts = [str(attempt) for attempt in range(1, self._switches.prompt_attempts + 1)]
        error_types = attributes.some_of("errorType", _by_value(_PROMPT_ERROR_TYPES), ())
        chosen_attempts = attributes.some_of("attempt", {attempt: int(attempt) for attempt in attempts}, ())
        card_types = attributes.some_of("cardType", _by_value(list(CardType)), ())
        matching = attributes.boolean("requireMatchingInputs", default=False)
        spoken = self._all_spoken(element)
        self._done(element, attributes)
        if step is None or error_types is None or chosen_attempts is None or card_types is None:
            self._warn(element, 'it is never spoken. It needs "for", and values that exist.')
            return None
        return Prompt(
            line=element.line,
            step=step,
            error_types=frozenset(str(error_type) for error_type in error_types),
            attempts=frozenset(chosen_attempts),
            card_types=frozenset(card_types),
            require_matching_inputs=matching,
            spoken=spoken,
        )


_SPOKEN = ("Say", "Play", "Pause")
_VERBS = (*_SPOKEN, "Gather", "Redirect", "Hangup", "Pay")


def _postal_code(attributes: _Attributes) -> bool | str:
    given = attributes.some_text("postalCode")
    if given is None:
        return True
    return {"true": True, "false": False}.get(given.lower(), given)


def _language(attributes: _Attributes, method: PaymentMethod) -> str:
    """Return the language. Languages are compared in any case: the documented default is `en-us`."""
    allowed = _ACH_LANGUAGES if method is PaymentMethod.ACH_DEBIT else _CARD_LANGUAGES
    given = attributes.text("language")
    by_lower = {language.lower(): language for language in allowed}
    if given is not None and given.lower() in by_lower:
        return by_lower[given.lower()]
    return attributes.one_of("language", _by_value(allowed), "en-US")
