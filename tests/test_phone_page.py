"""The phone page in a real Chromium, served by the desk over TLS, with this project's own gateway behind it."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import trustme
from playwright.sync_api import Browser, Page, expect

from browser import DESKTOP, NARROW, NARROWEST, WAIT_MS, chromium, grave_violations, opened
from caller import LIVE_VISA, VISA
from canaries import Canary, Evidence, find
from generic_connector.secret import Secret
from generic_connector.twilio.configuration import ACCOUNT_SID, Configuration
from generic_connector.twilio.desk import serve_desk
from generic_connector.twilio.pay_connector import PayConnector
from generic_connector.twilio.presets import PRESETS, Preset
from generic_connector.twilio.switches import Switches
from generic_connector.twilio.twiml import Script, parse
from serving import WAIT_S, Served

WRONG_VISA = "4111111111111112"
EXPIRY, CODE, POSTAL_CODE = "1230", "123", "94105#"
ACCOUNT = "987654321012345"
ROUTING = "021000021"

expect.set_options(timeout=WAIT_MS)


# --- The desk and the browser ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _served_desk(directory: Path, gateway: Served) -> Iterator[str]:
    """Serve a desk whose Default connector is the gateway. The browser trusts anything, the desk these two only."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authorities = directory / "authorities.pem"
    gateway_authorities = [ssl.DER_cert_to_PEM_cert(one) for one in gateway.tls.get_ca_certs(binary_form=True)]
    authorities.write_text(authority.cert_pem.bytes().decode() + "".join(gateway_authorities))
    username, password = gateway.credentials["Default"]
    connector = PayConnector(
        unique_name="Default",
        url=f"{gateway.url}/",
        username=username,
        password=Secret(password),
        ca_file=str(authorities),
    )
    configuration = Configuration(
        account_sid=ACCOUNT_SID,
        auth_token=Secret("token"),
        is_token_made=True,
        connectors={"Default": connector},
        switches=Switches(),
        ca_file=str(authorities),
    )
    ready = threading.Event()
    found: dict[str, str] = {}
    ends: list[Callable[[], object]] = []

    def announce(url: str) -> None:
        found["url"] = url
        ready.set()

    async def main(listening: socket.socket) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        ends.append(lambda: loop.call_soon_threadsafe(stop.set))
        await serve_desk(configuration, [listening], host="localhost", context=context, announce=announce, stop=stop)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(main(listening)), daemon=True)
        thread.start()
        if not ready.wait(WAIT_S):
            raise TimeoutError("the desk did not start")
        try:
            yield found["url"]
        finally:
            ends[0]()
            thread.join(WAIT_S)


@dataclass(frozen=True)
class Opener:
    """Opens the desk's page."""

    browser: Browser
    url: str

    @contextlib.contextmanager
    def __call__(
        self,
        size: tuple[int, int] = DESKTOP,
        scheme: Literal["light", "dark"] = "light",
        expected: str | None = None,
    ) -> Iterator[Page]:
        with opened(self.browser, f"{self.url}/", size=size, scheme=scheme, expected=expected) as page:
            expect(page.locator("#link-state")).to_have_text("Live")
            yield page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, started once."""
    with chromium() as started:
        yield started


@pytest.fixture
def phone_page(browser: Browser, gateway: Served, tmp_path: Path) -> Iterator[Opener]:
    """The page, of a desk of this test's own: no call of another's is on it."""
    with _served_desk(tmp_path, gateway) as url:
        yield Opener(browser, url)


@pytest.fixture
def page(phone_page: Opener) -> Iterator[Page]:
    """The page on a desktop."""
    with phone_page() as one:
        yield one


# --- What a caller does ----------------------------------------------------------------------------------------------


def _call(page: Page, preset: str) -> None:
    page.get_by_label("Begin with").select_option(preset)
    page.get_by_role("button", name="Call", exact=True).click()


def _is_asked(page: Page, step: str) -> None:
    expect(page.locator("#asked")).to_have_text(step)


def _click(page: Page, keys: str) -> None:
    """Press keys with the mouse."""
    names = {"*": "star", "#": "pound"}
    keypad = page.get_by_role("group", name="Keypad")
    for key in keys:
        keypad.get_by_role("button", name=names.get(key, key), exact=True).click()


def _type(page: Page, keys: str) -> None:
    page.keyboard.type(keys)


def _key_card(page: Page, press: Callable[[Page, str], None] = _type, number: str = VISA) -> None:
    """Key all that a card payment asks for."""
    entries = {
        "card number": number,
        "expiry date": EXPIRY,
        "postal code": POSTAL_CODE,
        "security code": CODE,
    }
    for step, keys in entries.items():
        _is_asked(page, step)
        press(page, keys)


def _result(page: Page) -> str:
    """Wait for the result, and return what stands there of its id."""
    expect(page.locator("#outcome")).not_to_have_attribute("data-kind", "none")
    return page.locator("#outcome-id").inner_text()


def _field(page: Page, name: str) -> str | None:
    """Return a field of the result, as the application gets it."""
    return page.locator("#outcome-fields dt", has_text=name).locator("+ dd").first.text_content()


def _is_over(page: Page) -> None:
    expect(page.locator("#call-state")).to_have_text("Call ended")


# --- Payments --------------------------------------------------------------------------------------------------------


def test_a_caller_completes_a_charge_by_clicking_keys(page: Page, gateway: Served) -> None:
    """Keys that are clicked pay: the charge stands in the result, the gateway's book has it, the call says so."""
    before = len(gateway.statement())
    _call(page, "card-charge")
    _key_card(page, _click)
    charge_id = _result(page)
    expect(page.locator("#outcome-word")).to_have_text("Charged 20.45 USD")
    assert charge_id
    assert _field(page, "PaymentConfirmationCode") == charge_id
    assert _field(page, "PaymentCardNumber") == "xxxxxxxxxxxx1111"
    assert len(gateway.statement()) == before + 1
    expect(page.locator("#caption")).to_contain_text("Your payment was successful")
    _is_over(page)


def test_a_caller_has_a_card_kept_by_typing(page: Page, gateway: Served) -> None:
    """Keys that are typed do the same; without an amount a token of the vault stands in the result, and no charge."""
    before = len(gateway.statement())
    _call(page, "card-tokenize")
    _key_card(page)
    token = _result(page)
    expect(page.locator("#outcome-word")).to_have_text("Kept in the vault")
    assert token
    assert _field(page, "PaymentToken") == token
    assert len(gateway.statement()) == before


def test_a_wrong_card_is_asked_for_again(page: Page) -> None:
    """A number that is none gets the prompt for that error, in the words of the TwiML, and then a good one works."""
    _call(page, "prompts")
    _is_asked(page, "card number")
    _type(page, f"{WRONG_VISA}#")
    expect(page.locator("#caption")).to_contain_text("a digit too many, too few, or wrong")
    _key_card(page)
    _result(page)
    expect(page.locator("#outcome-word")).to_have_text("Charged 12.00 USD")


def test_star_cancels(page: Page) -> None:
    """`*` ends the payment, and the result says so."""
    _call(page, "card-charge")
    _is_asked(page, "card number")
    _type(page, "4111*")
    _result(page)
    expect(page.locator("#outcome-word")).to_have_text("Stopped with star")
    assert _field(page, "Result") == "caller-interrupted-with-star"
    _is_over(page)


def test_a_declined_payment_tells_why(page: Page) -> None:
    """A decline shows Twilio's number for it, and the endpoint's own words."""
    _call(page, "declined")
    for step, keys in {"card number": VISA, "expiry date": EXPIRY, "security code": CODE}.items():
        _is_asked(page, step)
        _type(page, keys)
    _result(page)
    expect(page.locator("#outcome")).to_have_attribute("data-kind", "bad")
    expect(page.locator("#outcome-about")).to_contain_text("64008")
    expect(page.locator("#outcome-about")).to_contain_text("do_not_honor")


def test_a_question_leads_to_the_payment(page: Page) -> None:
    """Gather and then Pay: the second document is shown, with its verb marked, and the first can be looked at again."""
    _call(page, "gather")
    expect(page.locator("#caption")).to_contain_text("press 1")
    expect(page.locator("#listing li[aria-current=step]")).to_contain_text("<Gather")
    _type(page, "1")
    _is_asked(page, "card number")
    expect(page.locator("#document-name")).to_have_text("/desk/app/chosen")
    expect(page.locator("#listing li[aria-current=step]")).to_contain_text("<Pay")
    page.get_by_role("button", name="Document 1").click()
    expect(page.locator("#listing")).to_contain_text("<Gather")
    page.get_by_role("button", name="Hang up").click()
    _is_over(page)


def test_test_numbers_can_be_keyed_for_the_caller(page: Page) -> None:
    """Who has no test number at hand lets the page key one, for each step in its turn."""
    _call(page, "two-questions")
    page.get_by_role("button", name="Visa").click()
    _is_asked(page, "expiry date")
    page.get_by_role("button", name="12 /").click()
    _result(page)
    expect(page.locator("#outcome-word")).to_have_text("Charged 8.50 USD")


def test_the_bank_account_preset_charges(page: Page) -> None:
    """ACH from end to end, in the browser."""
    _call(page, "bank-charge")
    _is_asked(page, "routing number")
    _type(page, ROUTING)
    _is_asked(page, "account number")
    _type(page, "123456789#")
    _result(page)
    expect(page.locator("#outcome-word")).to_have_text("Charged 45.00 USD")
    assert _field(page, "BankAccountNumber") == "*******89"


def test_twiml_can_be_edited_and_run(page: Page) -> None:
    """What is written in the editor is what the call runs; what is wrong with it is told, with its line."""
    page.get_by_label("TwiML that the call runs").fill("<Response>\n<Say>One moment.</Say>\n<Dail/>\n</Response>")
    page.get_by_role("button", name="Run this TwiML").click()
    expect(page.locator("#caption")).to_contain_text("One moment.")
    expect(page.get_by_role("list", name="Warnings")).to_contain_text("line 3")
    _is_over(page)


def test_a_switch_holds_for_the_next_call(page: Page) -> None:
    """A switch that is changed reaches the call: the mask of the security code is the other one."""
    page.get_by_text("Switches").click()
    page.get_by_label("security_code_mask").select_option("***")
    expect(page.locator("#switches-count")).to_have_text("1 changed")
    _call(page, "card-charge")
    _key_card(page)
    _result(page)
    assert _field(page, "SecurityCode") == "***"


# --- The agent -------------------------------------------------------------------------------------------------------


def _ask(page: Page, step: str, keys: str) -> None:
    """The agent asks for a step, and the caller keys it."""
    page.get_by_role("button", name=f"Ask: {step}").click()
    _is_asked(page, f"Agent asks: {step}")
    _type(page, keys)
    row = page.locator(".capture", has_text=step.capitalize())
    expect(row).to_have_attribute("data-state", "good")


def _agent_starts(page: Page) -> None:
    page.get_by_role("tab", name="Agent").click()
    page.get_by_role("button", name="Put a caller on the line").click()
    page.get_by_role("button", name="Start payment").click()
    expect(page.get_by_role("button", name="Ask: ")).to_have_count(4)


def test_an_agent_completes_a_payment(page: Page) -> None:
    """The agent starts, asks in an order of its own, sees marks and what is required, and completes."""
    _agent_starts(page)
    _ask(page, "card number", VISA)
    expect(page.locator("#required")).to_have_text("Still required: expiration-date, security-code, postal-code")
    _ask(page, "postal code", POSTAL_CODE)
    _ask(page, "security code", CODE)
    page.get_by_role("button", name="Ask: expiry date").click()
    _is_asked(page, "Agent asks: expiry date")
    _type(page, EXPIRY[:2])
    expect(page.locator(".capture", has_text="Expiry date").locator(".capture-value")).to_have_text("xx")
    _type(page, EXPIRY[2:])
    expect(page.locator("#required")).to_have_text("All is here: complete it.")
    page.get_by_role("button", name="Complete").click()
    assert _result(page)
    expect(page.locator("#outcome-word")).to_have_text("Charged 20.45 USD")
    expect(page.locator("#required")).to_have_text("This payment is over.")


def test_an_agent_sees_what_the_api_refuses_and_can_cancel(phone_page: Opener) -> None:
    """Completing too early is refused with 64019, a wrong number is said in its row, and a cancel ends it."""
    with phone_page(expected="400") as page:
        _agent_starts(page)
        page.get_by_role("button", name="Complete").click()
        expect(page.locator("#agent-trouble")).to_contain_text("64019")
        page.get_by_role("button", name="Ask: card number").click()
        _is_asked(page, "Agent asks: card number")
        _type(page, f"{WRONG_VISA}#")
        expect(page.locator(".capture", has_text="Card number")).to_contain_text("invalid-card-number")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#required")).to_have_text("This payment is over.")
        expect(page.locator("#outcome-word")).to_have_text("Canceled")


# --- The wire --------------------------------------------------------------------------------------------------------


def test_every_message_unfolds_to_its_masked_body(page: Page) -> None:
    """The request to the connector is there with status and time, and unfolds to what was sent and answered, masked."""
    _call(page, "two-questions")
    for step, keys in {"card number": VISA, "expiry date": EXPIRY}.items():
        _is_asked(page, step)
        _type(page, keys)
    _result(page)
    _is_over(page)
    row = page.locator("details.exchange", has_text="→ connector")
    expect(row.locator(".row-end")).to_contain_text("200")
    expect(row.locator(".row-end")).to_contain_text("s")
    expect(row.locator("pre").first).not_to_be_visible()
    row.locator("summary").click()
    expect(row.locator("pre").first).to_contain_text('"method": "charge"')
    expect(row.locator("pre").first).to_contain_text("1111")
    expect(row.locator("pre").last).to_contain_text("charge_id")
    expect(page.locator("details.exchange", has_text="→ application")).to_have_count(1)


def test_a_late_answer_shows_each_attempt(page: Page, gateway: Served) -> None:
    """An attempt without an answer in time and the one after it are two rows, told apart; the charge is one."""
    before = len(gateway.statement())
    page.get_by_text("Switches").click()
    page.get_by_label("timeout_s", exact=True).fill("0.5")
    page.get_by_label("Begin with").select_option("slow")
    editor = page.get_by_label("TwiML that the call runs")
    editor.fill(editor.input_value().replace("12000", "800"))
    page.get_by_role("button", name="Run this TwiML").click()
    for step, keys in {"card number": VISA, "expiry date": EXPIRY}.items():
        _is_asked(page, step)
        page.get_by_role("heading", name="Caller").click()
        _type(page, keys)
    _result(page)
    rows = page.locator("details.exchange", has_text="→ connector")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("no answer")
    expect(rows.first).to_contain_text("Twilio asks again")
    expect(rows.last).to_contain_text("attempt 2")
    expect(rows.last.locator(".row-end")).to_contain_text("200")
    assert len(gateway.statement()) == before + 1


def test_a_page_that_is_opened_late_shows_the_call(phone_page: Opener) -> None:
    """Who opens the page in the middle of a call sees it from its beginning, and can go on with it."""
    with phone_page() as first:
        _call(first, "card-charge")
        _is_asked(first, "card number")
        _type(first, VISA)
        _is_asked(first, "expiry date")
        with phone_page() as second:
            _is_asked(second, "expiry date")
            expect(second.locator("#events")).to_contain_text("x" * 16)
            _type(second, "*")
            _is_over(second)
        _is_over(first)


# --- Who uses it -----------------------------------------------------------------------------------------------------

LOOKS: dict[str, tuple[tuple[int, int], Literal["light", "dark"]]] = {
    "desktop": (DESKTOP, "light"),
    "desktop, dark": (DESKTOP, "dark"),
    "narrow": (NARROW, "light"),
}


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing_grave(phone_page: Opener, look: str) -> None:
    """No serious or critical violation: amid a payment, at its end with all unfolded, at the agent's desk."""
    size, scheme = LOOKS[look]
    with phone_page(size, scheme) as page:
        _call(page, "card-charge")
        _is_asked(page, "card number")
        _type(page, VISA)
        _is_asked(page, "expiry date")
        assert [] == grave_violations(page)
        _type(page, "*")
        _is_over(page)
        page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        assert [] == grave_violations(page)
        _agent_starts(page)
        _ask(page, "card number", VISA)
        assert [] == grave_violations(page)
        page.get_by_role("button", name="Hang up").click()
        _is_over(page)


def test_axe_finds_what_is_grave(browser: Browser) -> None:
    """The control: a page with a button without a name and grey text on grey is faulted for both."""
    with opened(browser, "about:blank") as page:
        page.set_content(
            '<html lang="en"><title>x</title><main><h1>x</h1><button></button>'
            '<p style="color: #aaa; background: #999">pale</p></main></html>'
        )
        found = grave_violations(page)
    assert {"button-name", "color-contrast"} == {one.partition(":")[0] for one in found}


def test_a_call_needs_no_mouse(page: Page) -> None:
    """The keyboard alone places a call, keys, unfolds a message, and moves between the tabs."""
    page.get_by_role("button", name="Call", exact=True).focus()
    page.keyboard.press("Enter")
    _is_asked(page, "card number")
    _type(page, "4111*")
    _is_over(page)
    page.locator("details.exchange summary").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("details.exchange pre").first).to_be_visible()
    page.get_by_role("tab", name="Application").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Agent")).to_be_focused()
    expect(page.get_by_role("tabpanel", name="Agent")).to_be_visible()


def test_sound_is_off_until_it_is_switched_on(page: Page) -> None:
    """Key tones and spoken prompts are silent at first; what is switched on sounds, and is remembered."""
    page.evaluate(
        """() => {
          window.heard = [];
          speechSynthesis.speak = (said) => window.heard.push(said.text);
          const start = OscillatorNode.prototype.start;
          OscillatorNode.prototype.start = function (...when) {
            window.heard.push(this.frequency.value);
            start.apply(this, when);
          };
        }"""
    )
    _click(page, "5")
    assert page.evaluate("window.heard") == []
    page.get_by_role("button", name="Key tones").click()
    page.get_by_role("button", name="Spoken prompts").click()
    _click(page, "5")
    assert page.evaluate("window.heard") == [770, 1336]
    _call(page, "agent")
    expect(page.locator("#caption")).to_contain_text("You are talking to Kim of Owl Books.")
    assert page.evaluate("window.heard").pop() == "You are talking to Kim of Owl Books."
    page.reload()
    expect(page.get_by_role("button", name="Key tones")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", name="Spoken prompts")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Hang up").click()
    _is_over(page)


def test_digits_that_are_written_are_not_keyed(page: Page) -> None:
    """A digit that is typed into a field is that field's, and no key of the phone."""
    _call(page, "agent")
    expect(page.locator("#call-state")).to_have_text("On the line")
    page.get_by_role("tab", name="Agent").click()
    page.get_by_role("textbox", name="Amount").fill("")
    page.get_by_role("textbox", name="Amount").press_sequentially("12")
    expect(page.get_by_role("textbox", name="Amount")).to_have_value("12")
    _click(page, "7")
    expect(page.locator("#keyed")).to_have_text("x")
    page.get_by_role("button", name="Hang up").click()
    _is_over(page)


def test_the_narrowest_screen_needs_no_scrolling_sideways(phone_page: Opener) -> None:
    """360 pixels are enough, with everything unfolded."""
    with phone_page(NARROWEST) as page:
        _call(page, "card-charge")
        _key_card(page)
        _result(page)
        page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        assert page.evaluate("document.documentElement.scrollWidth") == NARROWEST[0]


# --- Safety ----------------------------------------------------------------------------------------------------------

CANARIES = [Canary("card number", LIVE_VISA.encode()), Canary("account number", ACCOUNT.encode())]


def _everything(page: Page) -> Evidence:
    """All that the page holds: its elements, with what is in its fields, its storage, and its address."""
    text = page.evaluate(
        """() => [
          document.documentElement.outerHTML,
          ...[...document.querySelectorAll("input, textarea, select")].map((one) => one.value),
          JSON.stringify({ ...localStorage }), JSON.stringify({ ...sessionStorage }), location.href, document.title,
        ].join("\\n")"""
    )
    return Evidence("page", text.encode())


def test_no_number_ever_stands_on_the_page(page: Page) -> None:
    """After every single key, and at the end with all that unfolds, no card or account number is in the page.

    The control: the same search finds one that is planted.
    """
    entries = {
        "card-charge": {"card number": LIVE_VISA},
        "bank-charge": {"routing number": ROUTING, "account number": ACCOUNT},
    }
    for preset, keyed in entries.items():
        _call(page, preset)
        for step, keys in keyed.items():
            _is_asked(page, step)
            for key in keys:
                _type(page, key)
                assert [] == list(find(CANARIES, [_everything(page)]))
        _type(page, "#" if preset == "bank-charge" else "")
        if preset == "card-charge":
            for step, keys in {"expiry date": EXPIRY, "postal code": POSTAL_CODE, "security code": CODE}.items():
                _is_asked(page, step)
                _type(page, keys)
        _result(page)
        _is_over(page)
        assert [] == list(find(CANARIES, [_everything(page)]))
    page.evaluate("(number) => document.querySelector('#events').append(number)", LIVE_VISA)
    assert "card number" in {name for name, _form, _where in find(CANARIES, [_everything(page)])}


def test_what_strangers_write_is_text(page: Page) -> None:
    """Markup in a prompt is shown as it is written, and becomes no element."""
    markup = "<img src=x onerror=alert(1)>"
    escaped = markup.replace("<", "&lt;").replace(">", "&gt;")
    page.get_by_label("TwiML that the call runs").fill(f"<Response><Say>{escaped}</Say></Response>")
    page.get_by_role("button", name="Run this TwiML").click()
    expect(page.locator("#caption")).to_contain_text(markup)
    _is_over(page)
    expect(page.locator("img")).to_have_count(0)


def test_the_page_runs_nothing_but_its_own_files(phone_page: Opener) -> None:
    """A script that is written into the page does not run: the server's policy forbids it, and the browser says so."""
    with phone_page(expected="Content Security Policy") as page:
        page.evaluate(
            """() => {
              document.addEventListener("securitypolicyviolation", (event) => {
                document.title = event.effectiveDirective;
              });
              const script = document.createElement("script");
              script.textContent = "window.hasRun = true";
              document.body.append(script);
            }"""
        )
        expect(page).to_have_title("script-src-elem")
        assert not page.evaluate("window.hasRun ?? false")


# --- Presets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_a_preset_is_flawless(preset: Preset) -> None:
    """Each is TwiML without a warning, names no address but the desk's, and fits the list."""
    document = preset.at("https://localhost")
    script = parse(document, Switches())
    assert isinstance(script, Script)
    assert script.warnings == ()
    assert "{" not in document
    assert preset.name == preset.name.lower()
    assert preset.title
    assert preset.about.endswith(".")


def test_presets_have_names_of_their_own() -> None:
    """No two have the same name or title."""
    assert len({preset.name for preset in PRESETS}) == len({preset.title for preset in PRESETS}) == len(PRESETS)
