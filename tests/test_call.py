"""One call: documents, verbs, keys, time, and its one end."""

import pytest
from twilio.twiml.voice_response import VoiceResponse  # type: ignore[import-untyped]  # it ships no types

from generic_connector.twilio.call import DOCUMENTS_MAX, GATHERED_KEYS_MAX, Call, Document
from generic_connector.twilio.effects import Ends, Executes, Fetches, Hears, Plays, Speaks, Warns
from generic_connector.twilio.orders import Settled
from generic_connector.twilio.switches import Switches
from phone_line import (
    ACCOUNT_SID,
    ACTION,
    CALL_SID,
    CARD_KEYS,
    STATUS,
    URL,
    VISA,
    Line,
)

APOLOGY = "We are sorry. An application error has occurred. Goodbye."
PAY = f'<Pay action="{ACTION}" statusCallback="{STATUS}"/>'


def response(inside: str = "") -> str:
    """Put verbs into a document."""
    return f"<Response>{inside}</Response>"


# --- Documents and verbs ---


def test_a_call_fetches_its_document_and_runs_its_verbs_in_order() -> None:
    """Then the document is through, and the call completed."""
    line = Line()
    assert ("queued", None, False) == (line.call.status, line.call.wake_at_s, line.call.is_over)

    line.begins(url=URL)
    assert [Fetches(1, URL, "POST", {}, "document")] == line.effects
    assert ("in-progress", None) == (line.call.status, line.call.wake_at_s)

    line.answers(response('\n<Say voice="man" language="en-GB">One</Say>\n<Play>two.mp3</Play><Play digits="3"/>'))
    assert [
        Executes("Say", 0),
        Speaks("One", "en-GB", "man"),
        Executes("Play", 1),
        Plays("https://app.example/two.mp3"),
        Executes("Play", 2),
        Plays(None, "3"),
        Executes("", -1),
        Ends("completed"),
    ] == line.effects[1:]
    assert (["Say", "Play", "Play"], [2, 3, 3]) == (list(line.call.document_verbs), list(line.call.document_lines))
    assert line.call.is_over


def test_every_request_carries_the_calls_own_fields() -> None:
    """Twilio's voice parameters, with the status of the moment."""
    line = Line()
    expected = {
        "AccountSid": ACCOUNT_SID,
        "CallSid": CALL_SID,
        "From": "+15550100",
        "To": "+15550199",
        "Caller": "+15550100",
        "Called": "+15550199",
        "ApiVersion": "2010-04-01",
        "Direction": "inbound",
    }

    assert expected | {"CallStatus": "queued"} == line.call.fields()
    line.begins(url=URL)
    assert expected | {"CallStatus": "in-progress"} == line.call.fields()
    line.hangs_up()
    assert expected | {"CallStatus": "completed"} == line.call.fields()


def test_a_call_begins_once_and_with_one_thing() -> None:
    """Either a URL or TwiML; beginning twice is of no effect."""
    line = Line()
    for both in ({}, {"url": URL, "twiml": response()}):
        with pytest.raises(ValueError, match="either a URL or TwiML"):
            line.call.begin(line.now_s, **both)
        with pytest.raises(ValueError, match="either a URL or TwiML"):
            line.call.redirect(line.now_s, **both)
    line.begins(twiml=response('<Pause length="5"/>'))

    assert () == tuple(line.call.begin(line.now_s, url=URL))


def test_a_key_is_a_key() -> None:
    """Anything else is a mistake of the driver, and is not repeated."""
    with pytest.raises(ValueError, match="one of 0 to 9") as refused:
        Line(response("<Gather/>")).call.press("４111", 0.0)  # noqa: RUF001 - not a digit of a keypad

    assert "111" not in str(refused.value)


def test_a_pause_takes_its_time() -> None:
    """And then the next verb follows; a key in between is of no effect, and is not shown."""
    line = Line(response('<Pause length="3"/><Say>Then</Say>'))
    assert line.now_s + 3 == line.call.wake_at_s

    line.keys("7")
    assert [Hears("x")] == line.effects[-1:]
    assert [] == line.said
    line.waits()
    assert ["Then"] == line.said
    assert ["completed"] == line.ended


def test_nothing_comes_of_the_time_before_its_time() -> None:
    """`passed` may be called too early."""
    line = Line(response('<Pause length="3"/>'))

    assert [] == list(line.call.passed(line.now_s + 2.9))
    assert [] != list(line.call.passed(line.now_s + 3))


def test_redirect_goes_on_with_another_document() -> None:
    """By POST or GET, relative to the document's URL; without a URL, to the same document. The rest is left."""
    line = Line(response('<Redirect method="GET">next?a=1</Redirect><Say>Never</Say>'))
    assert Fetches(2, "https://app.example/next?a=1", "GET", {}, "redirect") == line.effects[-1]

    line.answers(response("<Redirect/>"))
    assert Fetches(3, "https://app.example/next?a=1", "POST", {}, "redirect") == line.effects[-1]
    line.answers(response("<Say>Here</Say>"))
    assert ["Here"] == line.said


def test_relative_urls_are_relative_to_where_the_document_came_from_in_the_end() -> None:
    """After the redirects of HTTP."""
    line = Line()
    line.begins(url=URL)
    line.answers(response("<Redirect>next</Redirect>"), url="https://other.example/a/b")

    assert "https://other.example/a/next" == line.fetches[-1].url


def test_hangup_ends_the_call() -> None:
    """Nothing after it runs."""
    line = Line(response("<Hangup/><Say>Never</Say>"))

    assert [Executes("Hangup", 0), Ends("completed")] == line.effects[-2:]


def test_a_verb_that_is_not_simulated_is_passed_over() -> None:
    """With a warning, when the document is read."""
    line = Line(response("<Dial>+1</Dial><Say>Next</Say>"))

    assert [None] == line.warned
    assert Executes("Dial", 0) in line.effects
    assert ["Next"] == line.said


def test_a_document_may_come_with_the_call() -> None:
    """It runs at once. It has no URL, so that what is relative in it cannot be fetched."""
    line = Line(response("<Redirect>/next</Redirect>"), inline=True)

    assert [11100] == line.warned
    assert [APOLOGY] == line.said
    assert ["completed"] == line.ended


@pytest.mark.parametrize("url", ["/next", "ftp://app.example/", "https://", "mailto:a@b", "https://[bad/", ""])
def test_a_url_that_cannot_be_asked_ends_the_call(url: str) -> None:
    """With an application error, before any document `failed`."""
    line = Line()
    line.begins(url=url)

    assert [11100] == line.warned
    assert ["failed"] == line.ended
    assert [] == line.fetches


@pytest.mark.parametrize("code", [11200, None])
def test_a_document_that_does_not_come_ends_the_call(code: int | None) -> None:
    """The caller hears an apology. The first document's failure is the call's."""
    line = Line()
    line.begins(url=URL)
    line.fails("no answer", code)
    assert [Warns(code, "no answer"), Speaks(APOLOGY), Ends("failed")] == line.effects[1:]

    later = Line(response("<Redirect/>"))
    later.fails("no answer", code)
    assert ["completed"] == later.ended


@pytest.mark.parametrize(
    ("text", "code"), [("<html/>", 12100), ("", 12100), ("<!DOCTYPE html><html/>", 12100), (" " * 70_000, 11750)]
)
def test_a_document_that_is_no_twiml_ends_the_call(text: str, code: int) -> None:
    """With the number of what is wrong."""
    line = Line()
    line.begins(url=URL)
    line.answers(text)

    assert [code] == line.warned
    assert [APOLOGY] == line.said
    assert ["failed"] == line.ended


def test_a_warning_of_a_document_is_told_and_the_document_runs() -> None:
    """Before its first verb."""
    line = Line(response('<Say tone="warm">Hi</Say>'))

    assert [12200] == line.warned
    assert isinstance(line.effects[1], Warns)
    assert ["Hi"] == line.said


@pytest.mark.parametrize(
    "content_type", ["text/xml", "application/xml; charset=utf-8", "Text/XML", "text/html", "", None]
)
def test_twiml_is_xml(content_type: str | None) -> None:
    """By any of these types, or none."""
    line = Line()
    line.begins(url=URL)
    line.answers(response("<Say>Hi</Say>"), content_type=content_type)

    assert ["Hi"] == line.said


@pytest.mark.parametrize(
    ("content_type", "heard", "warned", "status"),
    [
        ("text/plain", ["Thanks!"], [None], "completed"),
        ("audio/mpeg", [URL], [], "completed"),
        ("application/json", [APOLOGY], [12300], "failed"),
    ],
)
def test_what_is_no_xml_is_read_aloud_played_or_refused(
    content_type: str, heard: list[str], warned: list[int | None], status: str
) -> None:
    """By its type."""
    line = Line()
    line.begins(url=URL)
    line.answers("Thanks!", content_type=content_type)

    assert (heard, warned, [status]) == (line.heard, line.warned, line.ended)


def test_documents_that_go_round_in_a_circle_come_to_an_end() -> None:
    """After a hundred, the call ends with a warning."""
    line = Line(response("<Redirect/>"))
    while not line.call.is_over:
        line.answers(response("<Redirect/>"))

    assert DOCUMENTS_MAX + 1 == len(line.fetches)
    assert [None] == line.warned
    assert ["completed"] == line.ended


# --- Gather ---


@pytest.mark.parametrize(
    ("attributes", "keys", "digits"),
    [
        ('numDigits="1"', "1", "1"),
        ('numDigits="4"', "12*4", "12*4"),
        ("", "123#", "123"),
        ('finishOnKey="*"', "12#3*", "12#3"),
        ('numDigits="5" finishOnKey=""', "12#45", "12#45"),
        ("", "1" * GATHERED_KEYS_MAX, "1" * GATHERED_KEYS_MAX),
    ],
)
def test_a_gather_sends_the_keys_to_its_action(attributes: str, keys: str, digits: str) -> None:
    """When there are enough of them, or the finishing key comes. They are no payment, and are shown."""
    line = Line(response(f'<Gather action="/keyed" method="GET" {attributes}/><Say>Never</Say>'))
    line.keys(keys)

    assert Fetches(2, "https://app.example/keyed", "GET", {"Digits": digits}, "gather") == line.effects[-1]
    assert list(keys) == [heard.shown for heard in line.of(Hears)]


def test_a_gather_without_an_action_asks_its_own_document() -> None:
    """By POST."""
    line = Line(response('<Gather numDigits="1"/>'))
    line.keys("5")

    assert Fetches(2, URL, "POST", {"Digits": "5"}, "gather") == line.effects[-1]


def test_a_gather_that_came_with_the_call_has_no_document_to_ask() -> None:
    """The call ends with an application error."""
    line = Line(response('<Gather numDigits="1"/>'), inline=True)
    line.keys("5")

    assert ([11100], ["completed"]) == (line.warned, line.ended)


def test_a_gather_waits_for_the_next_key_and_then_sends_what_it_has() -> None:
    """The timeout begins again with each key."""
    line = Line(response('<Gather timeout="3"/>'))
    assert line.now_s + 3 == line.call.wake_at_s
    line.keys("12")
    assert line.now_s + 3 == line.call.wake_at_s

    line.waits()

    assert {"Digits": "12"} == line.fetches[-1].fields


@pytest.mark.parametrize("keys", ["", "#"])
def test_a_gather_without_digits_is_passed_over(keys: str) -> None:
    """At the timeout, and with the finishing key alone; unless empty results are wanted too."""
    line = Line(response("<Gather/><Say>Nothing?</Say>"))
    wanted = Line(response('<Gather actionOnEmptyResult="true"/><Say>Never</Say>'))
    for one in (line, wanted):
        one.keys(keys)
        if not keys:
            one.waits()

    assert ["Nothing?"] == line.said
    assert {"Digits": ""} == wanted.fetches[-1].fields


def test_a_gather_speaks_while_it_listens() -> None:
    """What stands in it; its pauses come before the timeout, which a key need not wait for."""
    line = Line(response('<Gather timeout="5" numDigits="2"><Say>Key.</Say><Pause length="10"/></Gather>'))
    assert ["Key."] == line.said
    assert line.now_s + 15 == line.call.wake_at_s

    line.keys("12")
    assert {"Digits": "12"} == line.fetches[-1].fields


def test_a_gather_for_speech_drops_keys() -> None:
    """They are heard, and not shown."""
    line = Line(response('<Gather input="speech" numDigits="1"/><Say>Next</Say>'))
    line.keys("1")
    assert [Hears("x")] == line.of(Hears)

    line.waits()
    assert ["Next"] == line.said


def test_keys_before_the_document_comes_are_dropped() -> None:
    """Heard, not shown, and not kept for the Gather to come."""
    line = Line()
    line.begins(url=URL)
    line.keys("12")
    line.answers(response('<Gather numDigits="1"/>'))

    assert [Hears("x"), Hears("x")] == line.of(Hears)
    assert 1 == len(line.fetches)


# --- <Pay> ---


def test_a_whole_phone_payment_as_the_sdk_writes_it() -> None:
    """A Gather, a <Pay>, its action, and the end: the official SDK's documents."""
    welcome = VoiceResponse()
    gather = welcome.gather(num_digits=1, action="/menu")
    gather.say("Press one to pay.")
    menu = VoiceResponse()
    menu.pay(charge_amount="20.45", action="/paid", status_callback="/status", payment_connector="Default")
    paid = VoiceResponse()
    paid.say("Thank you.")
    paid.hangup()

    line = Line(welcome)
    line.keys("1")
    line.answers(menu)
    line.keys(CARD_KEYS)
    line.settles(Settled(id="ch_1"))
    assert ("https://app.example/paid", "POST", "action") == (
        line.fetches[-1].url,
        line.fetches[-1].method,
        line.fetches[-1].why,
    )
    line.answers(paid)

    assert ("success", "ch_1") == (line.told["Result"], line.told["PaymentConfirmationCode"])
    assert "Thank you." == line.said[-1]
    assert ["completed"] == line.ended
    assert [] == line.warned
    assert 5 == len(line.reports)


@pytest.mark.parametrize(
    ("action", "url"),
    [
        ("", URL),
        ('action=""', URL),
        ('action="/paid"', "https://app.example/paid"),
        ('action="https://other.example/paid"', "https://other.example/paid"),
    ],
)
def test_the_action_is_by_default_the_document_itself(action: str, url: str) -> None:
    """Relative or absolute."""
    line = Line(response(f"<Pay {action}/>"))
    line.keys("*")

    assert url == line.fetches[-1].url


@pytest.mark.parametrize(
    ("pay", "inline"),
    [
        ('<Pay action="http://app.example/paid"/>', False),
        ('<Pay action="ftp://app.example/paid"/>', False),
        ('<Pay action="https://[bad/"/>', False),
        ("<Pay/>", True),
        ('<Pay action="/paid"/>', True),
    ],
)
def test_an_action_that_cannot_be_used_passes_the_pay_over(pay: str, inline: bool) -> None:  # noqa: FBT001 - a table
    """64016: there is nowhere to tell a result. The caller is asked for nothing, and the next verb follows."""
    line = Line(response(pay + "<Say>Next</Say>"), inline=inline)

    assert [64016] == line.warned
    assert ["Next"] == line.said
    assert [] == [*line.reports, *[fetch for fetch in line.fetches if fetch.why == "action"]]


def test_whether_an_action_may_be_plain_http_is_a_switch() -> None:
    """For a laptop."""
    line = Line(response('<Pay action="http://localhost:5000/paid"/>'), switches=Switches(action_scheme="any"))
    line.keys("*")

    assert "http://localhost:5000/paid" == line.fetches[-1].url


def test_a_pay_may_come_with_the_call() -> None:
    """With an absolute action. A relative status callback has nowhere to go, and is warned of."""
    line = Line(response(f'<Pay action="{ACTION}" statusCallback="/status"/>'), inline=True)
    line.keys(CARD_KEYS)
    line.settles()

    assert "success" == line.told["Result"]
    assert [11100] == line.warned
    assert [] == line.reports


def test_two_pays_in_one_call_are_two_transactions() -> None:
    """Each with an id of its own."""
    line = Line(response(PAY))
    line.keys(CARD_KEYS)
    line.settles()
    line.answers(response(PAY))
    line.keys(CARD_KEYS)

    assert ["transaction-1", "transaction-2"] == [transacts.order.transaction_id for transacts in line.transacts]
    assert line.transacts[0].ticket != line.transacts[1].ticket


def test_keys_while_the_action_is_asked_are_dropped_unseen() -> None:
    """They may be the rest of a card number."""
    line = Line(response(PAY))
    line.keys("*" + VISA)

    assert {"x"} == {heard.shown for heard in line.of(Hears)[1:]}


# --- The end ---


def test_a_hang_up_while_the_connector_is_asked_waits_for_its_answer() -> None:
    """The call is over at once; the action hears what became of the money when that is known, and its reply is left."""
    line = Line(response(PAY))
    line.keys(CARD_KEYS)
    line.hangs_up()
    assert ["completed"] == line.ended
    assert [] == line.fetches[1:]
    settling = [line.call.is_settling]

    line.settles(Settled(id="tok_1"))

    assert [True, False] == [*settling, line.call.is_settling]
    assert ("success", "tok_1") == (line.told["Result"], line.told["PaymentToken"])
    before = list(line.effects)
    line.settles()
    line.answers(response("<Say>Never</Say>"))
    assert before == line.effects


def test_a_hang_up_elsewhere_just_ends_the_call() -> None:
    """While a document is fetched, or a Gather listens: what comes then is left."""
    line = Line()
    line.begins(url=URL)
    line.hangs_up()
    line.answers(response("<Say>Never</Say>"))
    assert [Ends("completed")] == line.effects[1:]

    line = Line(response("<Gather/>"))
    line.hangs_up()
    assert line.call.wake_at_s is None
    assert ["completed"] == line.ended


def test_a_call_that_is_hung_up_before_it_begins_is_canceled() -> None:
    """And does not begin any more."""
    line = Line()
    line.hangs_up()
    line.begins(url=URL)

    assert [Ends("canceled")] == line.effects
    assert "canceled" == line.call.status


def test_nothing_comes_of_anything_once_it_is_over() -> None:
    """Keys, time, hang-ups, redirects and answers."""
    line = Line(response())
    before = list(line.effects)
    assert ["completed"] == line.ended

    line.keys("1")
    line.hangs_up()
    line.effects += line.call.passed(line.now_s + 100)
    line.effects += line.call.redirect(line.now_s, url=URL)
    line.effects += line.call.fetched(1, Document(URL, response("<Say>Never</Say>")), line.now_s)
    line.effects += line.call.settled(1, Settled(id="1"), line.now_s)

    assert before == line.effects


def test_an_answer_to_something_else_is_left() -> None:
    """By its ticket."""
    line = Line(response("<Redirect/>"))

    assert [] == list(line.call.fetched(99, Document(URL, response()), line.now_s))
    assert [] == list(line.call.settled(2, Settled(id="1"), line.now_s))
    line.answers(response(PAY))
    line.keys(CARD_KEYS)
    assert [] == list(line.call.settled(99, Settled(id="1"), line.now_s))
    line.settles()
    assert "success" == line.told["Result"]


# --- The application redirects the call ---


@pytest.mark.parametrize("inside", ["<Gather/>", "<Pause/>", "<Redirect/>"])
def test_a_redirected_call_leaves_what_it_does(inside: str) -> None:
    """And runs the other document: a URL's, or one that comes with it."""
    line = Line(response(inside))
    line.effects += line.call.redirect(line.now_s, twiml=response("<Say>Instead</Say>"))
    assert (["Instead"], ["completed"]) == (line.said, line.ended)

    line = Line(response(inside))
    line.effects += line.call.redirect(line.now_s, url="https://other.example/", method="GET")
    assert "https://other.example/" == line.fetches[-1].url
    assert "GET" == line.fetches[-1].method
    line.answers(response("<Say>There</Say>"))
    assert ["There"] == line.said


def test_a_document_that_comes_with_a_redirect_has_no_address() -> None:
    """What is relative in it is not relative to the document that was left."""
    line = Line(response("<Gather/>"))
    line.effects += line.call.redirect(line.now_s, twiml=response("<Redirect>/next</Redirect>"))

    assert ([11100], ["completed"]) == (line.warned, line.ended)


def test_a_redirected_pay_is_told_and_its_answer_left() -> None:
    """As an internal error; the call runs the other document."""
    line = Line(response(PAY))
    line.keys("411")
    line.effects += line.call.redirect(line.now_s, url="https://other.example/")

    assert ("internal-error", "The call was redirected before the payment was made.") == (
        line.told["Result"],
        line.told["PaymentError"],
    )
    [action] = [fetch for fetch in line.fetches if fetch.why == "action"]
    assert [] == list(line.call.fetched(action.ticket, Document(ACTION, response()), line.now_s))
    line.answers(response("<Say>There</Say>"))
    assert "There" == line.said[-1]


def test_a_pay_that_is_redirected_while_the_connector_is_asked_is_told_the_truth() -> None:
    """Whenever it comes, beside what the call does by then."""
    line = Line(response(PAY))
    line.keys(CARD_KEYS)
    line.effects += line.call.redirect(line.now_s, twiml=response("<Gather/>"))
    assert line.call.is_settling
    assert [] == list(line.call.settled(99, Settled(id="1"), line.now_s))

    line.settles()

    assert "success" == line.told["Result"]
    assert [] == line.ended
    assert line.call.wake_at_s is not None


def test_the_call_shows_no_key() -> None:
    """Neither its repr nor its fields."""
    line = Line(response(PAY))
    line.keys(VISA)

    assert VISA not in repr(line.call) + str(vars(line.call)) + str(line.call.fields())
    assert isinstance(line.call, Call)
