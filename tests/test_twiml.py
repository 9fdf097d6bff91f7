"""TwiML is read as Twilio reads it: the official SDK's documents whole, and what is wrong with others is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.twiml.voice_response import Pay as SdkPay  # type: ignore[import-untyped]  # it ships no types
from twilio.twiml.voice_response import VoiceResponse

from generic_connector.twilio import twiml
from generic_connector.twilio.entries import BankAccountType, CardType, Step
from generic_connector.twilio.pay_connector import PaymentMethod, TokenType
from generic_connector.twilio.pay_errors import PayError
from generic_connector.twilio.switches import Switches
from generic_connector.twilio.twiml import (
    BODY_BYTES_MAX,
    Gather,
    Hangup,
    Pause,
    Pay,
    Play,
    Prompt,
    Redirect,
    Say,
    Script,
    Skipped,
    Unreadable,
)

SWITCHES = Switches()


def read(text: object, switches: Switches = SWITCHES) -> Script:
    """Parse what can be read."""
    script = twiml.parse(str(text), switches)
    assert isinstance(script, Script), script
    return script


def pay_of(text: object, switches: Switches = SWITCHES) -> Pay:
    """Parse a document that is one <Pay>."""
    [verb] = read(text, switches).verbs
    assert isinstance(verb, Pay)
    return verb


def response(inside: str) -> str:
    """Put verbs into a document."""
    return f"<Response>{inside}</Response>"


# --- Verbs ---


def test_each_verb_of_a_payment_call_is_read_with_its_line() -> None:
    """Say, Play, Pause, Gather, Redirect and Hangup, with all that is said of them."""
    script = read(
        """<?xml version="1.0" encoding="UTF-8"?>
<Response>
  <Say voice="alice" language="en-GB" loop="2">Good <emphasis>day</emphasis>,
    caller</Say>
  <Play digits="1w2"/>
  <Play loop="1"> https://app.example/a.mp3 </Play>
  <Pause length="3"/>
  <Pause/>
  <Gather action="/keyed" method="GET" timeout="7" numDigits="4" finishOnKey="*" actionOnEmptyResult="true">
    <Say>Key.</Say><Pause/><Play>b.mp3</Play>
  </Gather>
  <Redirect method="GET">/next</Redirect>
  <Redirect/>
  <Hangup/>
</Response>"""
    )

    assert (
        Say(line=3, text="Good day, caller", voice="alice", language="en-GB"),
        Play(line=5, digits="1w2"),
        Play(line=6, url="https://app.example/a.mp3"),
        Pause(line=7, length_s=3),
        Pause(line=8),
        Gather(
            line=9,
            action="/keyed",
            method="GET",
            timeout_s=7,
            num_digits=4,
            finish_on_key="*",
            action_on_empty_result=True,
            spoken=(Say(line=10, text="Key."), Pause(line=10), Play(line=10, url="b.mp3")),
        ),
        Redirect(line=12, url="/next", method="GET"),
        Redirect(line=13),
        Hangup(line=14),
    ) == script.verbs
    assert () == script.warnings
    assert ["Say", "Play", "Play", "Pause", "Pause", "Gather", "Redirect", "Redirect", "Hangup"] == [
        twiml.name_of(verb) for verb in script.verbs
    ]


def test_all_that_the_sdk_can_say_to_gather_is_known() -> None:
    """No attribute of the official SDK's Gather brings a warning, and with no attribute it has Twilio's defaults."""
    document = VoiceResponse()
    document.gather(
        input="dtmf speech",
        action="/a",
        method="POST",
        timeout="auto",
        speech_timeout="auto",
        max_speech_time=9,
        profanity_filter=True,
        finish_on_key="",
        num_digits=1,
        partial_result_callback="/p",
        partial_result_callback_method="GET",
        language="en-US",
        hints="a, b",
        barge_in=True,
        debug=True,
        action_on_empty_result=False,
        speech_model="default",
        enhanced=False,
    )
    document.gather()

    script = read(document)

    assert () == script.warnings
    assert (
        Gather(line=1, action="/a", finish_on_key="", num_digits=1),
        Gather(line=1, method="POST", timeout_s=5, num_digits=None, finish_on_key="#", action_on_empty_result=False),
    ) == script.verbs


def test_a_gather_for_speech_hears_no_keys() -> None:
    """It says so, since it will only time out."""
    script = read(response('<Gather input="speech"/>'))

    assert [False] == [verb.hears_keys for verb in script.verbs if isinstance(verb, Gather)]
    assert ["speech is not simulated"] == [
        "speech is not simulated" for warning in script.warnings if "speech is not simulated" in warning.text
    ]


@pytest.mark.parametrize(
    ("inside", "code", "said"),
    [
        ("<Dial>+1555</Dial>", None, "not simulated"),
        ("<Reject/>", None, "not simulated"),
        ("<say>Hi</say>", 12200, "did you mean <Say>?"),
        ("<Speak/>", 12200, "there is no such verb"),
    ],
)
def test_another_verb_is_skipped_with_a_warning(inside: str, code: int | None, said: str) -> None:
    """Verbs that exist, that are misspelt, and that do not exist: the document goes on, and the line is told."""
    script = read(response(f"\n{inside}\n<Hangup/>"))

    assert [Skipped, Hangup] == [type(verb) for verb in script.verbs]
    assert inside[1:].replace("/", " ").replace(">", " ").split()[0] == twiml.name_of(script.verbs[0])
    [warning] = script.warnings
    assert code == warning.code
    assert warning.text.startswith("line 2: <")
    assert said in warning.text


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ('<Say tone="warm">Hi</Say>', 'no attribute "tone"'),
        ('<Gather numdigits="4"/>', 'did you mean "numDigits"?'),
        ('<Gather num-digits="4"/>', 'did you mean "numDigits"?'),
        ('<Gather numDigits="0"/>', '"numDigits" must be a whole number, 1 or more.'),
        ('<Gather timeout="1.5"/>', '"timeout" must be a whole number, 1 or more.'),
        ('<Gather timeout="9999999"/>', '"timeout" must be a whole number, 1 or more.'),
        ('<Gather finishOnKey="##"/>', '"finishOnKey" must be one of'),
        ('<Gather method="PUT"/>', '"method" must be one of: GET, POST'),
        ('<Gather input="telepathy"/>', '"input" must be one of'),
        ('<Gather actionOnEmptyResult="yes"/>', '"actionOnEmptyResult" must be one of: true, false.'),
        ('<Pause length="long"/>', '"length" must be a whole number, 0 or more.'),
        ("<Play/>", "it needs a URL"),
        ("<Play>a.mp3<Say/></Play>", "this cannot stand in <Play>"),
        ("<Pause><Say/></Pause>", "this cannot stand in <Pause>"),
        ("<Redirect>/a<Say/></Redirect>", "this cannot stand in <Redirect>"),
        ("<Hangup><Say/></Hangup>", "this cannot stand in <Hangup>"),
        ("<Gather><Dial/></Gather>", "only <Say>, <Play> and <Pause> can stand in <Gather>"),
        ("<Gather>Press one.</Gather>", "text that stands here is not spoken"),
        ("Good day", "text that stands here is not spoken"),
        ("<Gather><Play/></Gather>", "it needs a URL"),
        ("<Pay><Say>Hi</Say></Pay>", "only <Prompt> and <Parameter> can stand in <Pay>"),
        ("<Pay>Pay.</Pay>", "text that stands here is not spoken"),
        ('<Pay colour="red" action="/a"/>', 'no attribute "colour"'),
        ('<Pay maxattempts="2"/>', 'did you mean "maxAttempts"?'),
        ('<Pay method="POST"/>', 'no attribute "method"'),
        ('<Pay validCardTypes="visa,amex"/>', "separated by spaces"),
    ],
)
def test_what_is_not_in_the_schema_is_a_warning(inside: str, said: str) -> None:
    """It is 12200, as with Twilio; the attribute gets its default, and the verb runs."""
    script = read(response(inside))

    assert [12200] == [warning.code for warning in script.warnings]
    assert said in script.warnings[0].text


def test_a_warning_does_not_repeat_the_value() -> None:
    """What was given may be anything, so that only what may be given is told."""
    script = read(response('<Gather numDigits="4111111111111111"/>'))

    assert "4111" not in repr(script)


def test_namespaces_and_comments_mean_nothing() -> None:
    """As schema-aware editors write them."""
    script = read(
        '<Response xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="v.xsd">'
        '<!-- here --><?editor mode?><Say xml:lang="en">Hi</Say></Response>'
    )

    assert () == script.warnings
    assert (Say(line=1, text="Hi"),) == script.verbs


def test_an_attribute_of_the_root_is_unknown() -> None:
    """<Response> has none."""
    assert 1 == len(read('<Response version="2"/>').warnings)


# --- What cannot be read ---

BILLION_LAUGHS = (
    """<!DOCTYPE Response [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><Response><Say>&b;</Say></Response>"""
)
OUTSIDE = """<!DOCTYPE Response SYSTEM "https://evil.example/x.dtd"><Response/>"""
PASSWORDS = """<!DOCTYPE R [<!ENTITY x SYSTEM "file:///etc/passwd">]><Response><Say>&x;</Say></Response>"""


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", 12100, "not XML"),
        ("Hello", 12100, "not XML"),
        ('{"error": "no"}', 12100, "not XML"),
        ("<!DOCTYPE html><html><body>It works!</body></html>", 12100, "no document type declaration"),
        ("<html><body/></html>", 12100, "must be <Response>"),
        ("<response/>", 12100, "must be <Response>"),
        ("<Response>", 12100, "line 1: this is not XML"),
        ("<Response>\n<Say>a & b</Say></Response>", 12100, "line 2: this is not XML"),
        ("<Response><Say a=b/></Response>", 12100, "not XML"),
        ('\n<?xml version="1.0"?><Response/>', 12100, "Nothing may stand before the XML declaration"),
        ("<Response/><Response/>", 12100, "not XML"),
        ("<Response><Say>&undefined;</Say></Response>", 12100, "not XML"),
        ("<Response>\x00</Response>", 12100, "not XML"),
        ("<Response>\ud83d</Response>", 12100, "half a character"),
        (BILLION_LAUGHS, 12100, "no document type declaration"),
        (OUTSIDE, 12100, "no document type declaration"),
        (PASSWORDS, 12100, "no document type declaration"),
    ],
)
def test_what_is_no_twiml_cannot_be_read(text: str, code: int, said: str) -> None:
    """Not XML, another root, or a DTD, with which entities and files of the host could come in."""
    found = twiml.parse(text, SWITCHES)

    assert isinstance(found, Unreadable)
    assert code == found.code
    assert said in found.text


def test_a_document_has_at_most_64_kilobytes() -> None:
    """In bytes, not characters; one more is 11750."""
    frame = len(response("<Say></Say>"))
    text = response(f"<Say>{'é' * ((BODY_BYTES_MAX - frame) // 2)}</Say>")
    text += " " * (BODY_BYTES_MAX - len(text.encode()))

    assert 1 == len(read(text).verbs)
    found = twiml.parse(text + " ", SWITCHES)
    assert isinstance(found, Unreadable)
    assert 11750 == found.code


def test_a_declared_encoding_is_not_believed() -> None:
    """The text has been decoded already."""
    script = read('<?xml version="1.0" encoding="ISO-8859-1"?><Response><Say>é</Say></Response>')

    assert (Say(line=1, text="é"),) == script.verbs


@given(st.text(alphabet=st.sampled_from('<>/&;!"= \n\x00aRé') | st.characters()))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing that an application answers breaks the parser."""
    assert isinstance(twiml.parse(text, SWITCHES), Script | Unreadable)
    assert isinstance(twiml.parse(response(text), SWITCHES), Script | Unreadable)


def test_deep_documents_are_read() -> None:
    """As deep as 64 kB allow."""
    depth = 9000

    [say] = read(response(f"<Say>{'<b>' * depth}x{'</b>' * depth}</Say>")).verbs

    assert Say(line=1, text="x") == say


# --- <Pay> ---


def test_a_pay_of_the_sdk_with_every_argument_is_understood() -> None:
    """Every argument of `VoiceResponse.pay`, prompts with every argument, and parameters."""
    document = VoiceResponse()
    pay = document.pay(
        input="dtmf",
        action="https://app.example/paid",
        bank_account_type="consumer-savings",
        status_callback="/status",
        status_callback_method="GET",
        timeout=7,
        max_attempts=2,
        security_code=False,
        postal_code=False,
        min_postal_code_length=5,
        payment_connector="Desk",
        payment_method="ach-debit",
        token_type="one-time",
        charge_amount="20.45",
        currency="eur",
        description="Order 66",
        valid_card_types="visa mastercard",
        language="en-GB",
    )
    prompt = pay.prompt(
        for_="bank-account-number",
        error_type="timeout invalid-bank-account-number",
        card_type="visa amex",
        attempt="2 3",
        require_matching_inputs=True,
    )
    prompt.say("Account?", voice="alice", language="en-US")
    prompt.play("/a.mp3")
    prompt.pause(length=2)
    pay.parameter(name="AVSName", value="Ada")
    pay.parameter(name="empty", value="")

    script = read(document)

    assert () == script.warnings
    assert (
        Pay(
            line=1,
            action="https://app.example/paid",
            bank_account_type=BankAccountType.CONSUMER_SAVINGS,
            status_callback="/status",
            status_callback_method="GET",
            timeout_s=7,
            max_attempts=2,
            security_code=False,
            postal_code=False,
            min_postal_code_length=5,
            payment_connector="Desk",
            payment_method=PaymentMethod.ACH_DEBIT,
            token_type=TokenType.ONE_TIME,
            charge_amount="20.45",
            currency="eur",
            description="Order 66",
            valid_card_types=frozenset({CardType.VISA, CardType.MASTERCARD}),
            language="en-GB",
            prompts=(
                Prompt(
                    line=1,
                    step=Step.BANK_ACCOUNT_NUMBER,
                    error_types=frozenset({"timeout", "invalid-bank-account-number"}),
                    card_types=frozenset({CardType.VISA, CardType.AMEX}),
                    attempts=frozenset({2, 3}),
                    require_matching_inputs=True,
                    spoken=(
                        Say(line=1, text="Account?", voice="alice", language="en-US"),
                        Play(line=1, url="/a.mp3"),
                        Pause(line=1, length_s=2),
                    ),
                ),
            ),
            parameters={"AVSName": "Ada", "empty": ""},
        ),
    ) == script.verbs


def test_a_pay_without_attributes_has_twilios_defaults() -> None:
    """What Twilio's table says where TwiML says nothing."""
    document = VoiceResponse()
    document.append(SdkPay())

    pay = pay_of(document)

    assert Pay(line=1) == pay
    assert (
        None,
        "Default",
        PaymentMethod.CREDIT_CARD,
        TokenType.REUSABLE,
        5,
        None,
        True,
        True,
        None,
        None,
        "usd",
        "en-US",
        frozenset({CardType.VISA, CardType.MASTERCARD, CardType.AMEX}),
    ) == (
        pay.action,
        pay.payment_connector,
        pay.payment_method,
        pay.token_type,
        pay.timeout_s,
        pay.max_attempts,
        pay.security_code,
        pay.postal_code,
        pay.min_postal_code_length,
        pay.charge_amount,
        pay.currency,
        pay.language,
        pay.valid_card_types,
    )


CARD_LANGUAGES = ["en-AU", "en-CA", "en-GB", "en-IN", "en-US", "es-ES", "es-MX", "fr-CA", "fr-FR", "de-DE", "it-IT"]


@pytest.mark.parametrize(
    ("attribute", "value", "field", "expected"),
    [
        ("input", "dtmf", "problems", ()),
        ("statusCallbackMethod", "GET", "status_callback_method", "GET"),
        ("statusCallbackMethod", "POST", "status_callback_method", "POST"),
        ("paymentMethod", "credit-card", "payment_method", PaymentMethod.CREDIT_CARD),
        ("paymentMethod", "ach-debit", "payment_method", PaymentMethod.ACH_DEBIT),
        ("bankAccountType", "consumer-checking", "bank_account_type", BankAccountType.CONSUMER_CHECKING),
        ("bankAccountType", "consumer-savings", "bank_account_type", BankAccountType.CONSUMER_SAVINGS),
        ("bankAccountType", "commercial-checking", "bank_account_type", BankAccountType.COMMERCIAL_CHECKING),
        ("timeout", "1", "timeout_s", 1),
        ("timeout", "600", "timeout_s", 600),
        ("maxAttempts", "1", "max_attempts", 1),
        ("maxAttempts", "2", "max_attempts", 2),
        ("maxAttempts", "3", "max_attempts", 3),
        ("securityCode", "true", "security_code", True),
        ("securityCode", "false", "security_code", False),
        ("postalCode", "true", "postal_code", True),
        ("postalCode", "false", "postal_code", False),
        ("postalCode", "False", "postal_code", False),
        ("postalCode", "94105", "postal_code", "94105"),
        ("postalCode", "SW1A 1AA", "postal_code", "SW1A 1AA"),
        ("postalCode", "", "postal_code", True),
        ("minPostalCodeLength", "5", "min_postal_code_length", 5),
        ("paymentConnector", "My_Connector", "payment_connector", "My_Connector"),
        ("paymentConnector", "", "payment_connector", "Default"),
        ("tokenType", "one-time", "token_type", TokenType.ONE_TIME),
        ("tokenType", "reusable", "token_type", TokenType.REUSABLE),
        ("tokenType", "payment-method", "token_type", TokenType.PAYMENT_METHOD),
        ("chargeAmount", "10.00", "charge_amount", "10.00"),
        ("chargeAmount", "anything", "charge_amount", "anything"),
        ("currency", "JPY", "currency", "JPY"),
        ("description", " Order 66 ", "description", " Order 66 "),
        ("description", "", "description", None),
        ("maxAttempts", " 2 ", "max_attempts", 2),
        *[("language", language, "language", language) for language in CARD_LANGUAGES],
        ("language", "en-us", "language", "en-US"),
        *[("validCardTypes", str(kind), "valid_card_types", frozenset({kind})) for kind in CardType],
        ("validCardTypes", "visa  amex", "valid_card_types", frozenset({CardType.VISA, CardType.AMEX})),
        ("validCardTypes", "visa, amex", "valid_card_types", frozenset({CardType.VISA, CardType.AMEX})),
    ],
)
def test_each_attribute_of_pay_takes_what_it_may_be(attribute: str, value: str, field: str, expected: object) -> None:
    """Row by row of Twilio's table. An amount is judged later, with its currency."""
    pay = pay_of(response(f'<Pay {attribute}="{value}"/>'))

    assert expected == getattr(pay, field)
    assert () == pay.problems


@pytest.mark.parametrize(
    ("attributes", "name", "allowed"),
    [
        ('input="speech"', "input", "dtmf"),
        ('statusCallbackMethod="PUT"', "statusCallbackMethod", "GET, POST"),
        ('paymentMethod="cash"', "paymentMethod", "credit-card, ach-debit"),
        ('bankAccountType="savings"', "bankAccountType", "consumer-checking, consumer-savings, commercial-checking."),
        ('bankAccountType="commercial-savings"', "bankAccountType", "commercial-checking."),
        ('timeout="0"', "timeout", "1 or more"),
        ('timeout="-5"', "timeout", "1 or more"),
        ('timeout="\uff15"', "timeout", "1 or more"),
        ('maxAttempts="0"', "maxAttempts", "1 to 3"),
        ('maxAttempts="4"', "maxAttempts", "1 to 3"),
        ('securityCode="no"', "securityCode", "true, false"),
        ('minPostalCodeLength="0"', "minPostalCodeLength", "1 or more"),
        ('tokenType="single"', "tokenType", "one-time, reusable, payment-method"),
        ('language="xx-XX"', "language", "it-IT"),
        ('language="fr-FR" paymentMethod="ach-debit"', "language", "en-US."),
        ('validCardTypes="visa unionpay"', "validCardTypes", "diners-club"),
        ('validCardTypes=""', "validCardTypes", "separated by spaces"),
    ],
)
def test_a_value_that_an_attribute_of_pay_cannot_have_is_a_problem_of_that_pay(
    attributes: str, name: str, allowed: str
) -> None:
    """It is 64020, and names the attribute and what is allowed."""
    script = read(response(f"\n<Pay {attributes}/>"))

    assert () == script.warnings
    [pay] = script.verbs
    assert isinstance(pay, Pay)
    [problem] = pay.problems
    assert PayError.INVALID_PARAMETER is problem.error
    assert problem.text.startswith(f'line 2: <Pay>: "{name}" must be ')
    assert allowed in problem.text


def test_commercial_savings_is_a_switch() -> None:
    """An older SDK has it."""
    pay = pay_of(response('<Pay bankAccountType="commercial-savings"/>'), Switches(commercial_savings=True))

    assert BankAccountType.COMMERCIAL_SAVINGS is pay.bank_account_type


@pytest.mark.parametrize(
    ("attributes", "field", "expected"),
    [
        *[("", "step", step) for step in Step],
        *[
            (f'errorType="{error}"', "error_types", frozenset({error}))
            for error in (
                "timeout",
                "invalid-card-number",
                "invalid-card-type",
                "invalid-date",
                "invalid-security-code",
                "invalid-postal-code",
                "invalid-bank-routing-number",
                "invalid-bank-account-number",
                "input-matching-failed",
                "internal-error",
            )
        ],
        ('errorType="timeout invalid-date"', "error_types", frozenset({"timeout", "invalid-date"})),
        *[(f'cardType="{kind}"', "card_types", frozenset({kind})) for kind in CardType],
        *[(f'attempt="{attempt}"', "attempts", frozenset({attempt})) for attempt in range(1, 11)],
        ('attempt="2 3"', "attempts", frozenset({2, 3})),
        ('requireMatchingInputs="true"', "require_matching_inputs", True),
        ('requireMatchingInputs="false"', "require_matching_inputs", False),
        ("", "error_types", frozenset()),
        ("", "card_types", frozenset()),
        ("", "attempts", frozenset()),
        ("", "require_matching_inputs", False),
    ],
)
def test_each_attribute_of_prompt_takes_what_it_may_be(attributes: str, field: str, expected: object) -> None:
    """Row by row of the <Prompt> page."""
    step = expected if isinstance(expected, Step) else Step.PAYMENT_CARD_NUMBER
    script = read(response(f'<Pay><Prompt for="{step}" {attributes}/></Pay>'))

    assert () == script.warnings
    [pay] = script.verbs
    assert isinstance(pay, Pay)
    [prompt] = pay.prompts
    assert expected == getattr(prompt, field)


@pytest.mark.parametrize(
    "attributes",
    [
        "",
        'for="card"',
        'for="payment-card-number expiration-date"',
        'for="postal-code" errorType="input-timeout"',
        'for="postal-code" errorType=""',
        'for="postal-code" attempt="0"',
        'for="postal-code" attempt="11"',
        'for="postal-code" cardType="master-card"',
    ],
)
def test_a_prompt_with_a_value_that_does_not_exist_is_never_spoken(attributes: str) -> None:
    """It is a warning, not the end of the <Pay>: without that attribute it would be spoken where it was not meant."""
    script = read(response(f"<Pay><Prompt {attributes}><Say>Hi</Say></Prompt></Pay>"))

    assert (Pay(line=1),) == script.verbs
    assert {12200} == {warning.code for warning in script.warnings}
    assert "it is never spoken" in script.warnings[-1].text


def test_the_highest_attempt_of_a_prompt_is_a_switch() -> None:
    """10 by one page, 3 by another."""
    text = response('<Pay><Prompt for="postal-code" attempt="4"/></Pay>')

    assert [1, 0] == [len(pay_of(text, Switches(prompt_attempts=most)).prompts) for most in (10, 3)]


@pytest.mark.parametrize(
    ("inside", "expected", "warnings"),
    [
        ('<Parameter name="a" value="1"/><Parameter name="b" value=""/>', {"a": "1", "b": ""}, 0),
        ('<Parameter name="a" value="1"/><Parameter name="a" value="2"/>', {"a": "2"}, 1),
        ('<Parameter value="1"/>', {}, 1),
        ('<Parameter name="a"/>', {}, 1),
        ('<Parameter name=" snake_case " value=" a b "/>', {"snake_case": " a b "}, 0),
    ],
)
def test_parameters_are_names_and_values(inside: str, expected: dict[str, str], warnings: int) -> None:
    """As they are written; the last of a name counts, and half of one does not."""
    script = read(response(f"<Pay>{inside}</Pay>"))

    [pay] = script.verbs
    assert isinstance(pay, Pay)
    assert expected == pay.parameters
    assert warnings == len(script.warnings)
