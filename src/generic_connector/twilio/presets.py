"""Presets: TwiML to begin with, one for each thing that people do with `<Pay>`.

The phone page offers them in a list; each is run as it is, or edited first. Together they show every documented use:
cards and bank accounts, charged and kept, prompts of one's own for what goes wrong, a question before the payment, and
parameters, with which this project's own gateway plays declines and slow answers. Against another endpoint those
parameters mean nothing, and such a payment ends like any other.

`{base}` stands for the desk's own address, which answers an action with a few words, so that a preset runs without an
application. The timeout between keys is longer than Twilio's five seconds: who tries a preset reads along.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import dedent


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One document. `name` is for requests, `title` for the list, `about` says in a sentence what there is to see."""

    name: str
    title: str
    about: str
    twiml: str

    def at(self, base: str) -> str:
        """Return its TwiML for a desk at this address, which has no slash at its end."""
        return self.twiml.replace("{base}", base)


def _document(text: str) -> str:
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + dedent(text).strip() + "\n"


AGENT = "agent"
"""The preset on which an agent takes a payment: a call that waits."""

PRESETS: Sequence[Preset] = (
    Preset(
        name="card-charge",
        title="Charge a card",
        about="The caller keys card number, expiry, postal code and security code; 20.45 USD are charged.",
        twiml=_document(
            """
            <Response>
              <Say>Thank you for calling Owl Books.</Say>
              <Pay chargeAmount="20.45"
                   currency="usd"
                   description="Two books"
                   timeout="20"
                   maxAttempts="2"
                   statusCallback="{base}/desk/app/status"
                   action="{base}/desk/app/paid"/>
            </Response>
            """
        ),
    ),
    Preset(
        name="card-tokenize",
        title="Keep a card for later",
        about="Without an amount the card is vaulted instead: a token comes back, and no money moves.",
        twiml=_document(
            """
            <Response>
              <Say>We will keep your card for the next order.</Say>
              <Pay tokenType="reusable"
                   timeout="20"
                   maxAttempts="2"
                   action="{base}/desk/app/paid"/>
            </Response>
            """
        ),
    ),
    Preset(
        name="bank-charge",
        title="Charge a bank account",
        about="ACH: routing number and account number instead of a card. An account number ends with the pound key.",
        twiml=_document(
            """
            <Response>
              <Pay paymentMethod="ach-debit"
                   bankAccountType="consumer-checking"
                   chargeAmount="45.00"
                   timeout="20"
                   maxAttempts="2"
                   action="{base}/desk/app/paid">
                <Parameter name="AVSName" value="Robin Caller"/>
              </Pay>
            </Response>
            """
        ),
    ),
    Preset(
        name="bank-tokenize",
        title="Keep a bank account, keyed twice",
        about="requireMatchingInputs asks for both numbers a second time; what differs is asked for again.",
        twiml=_document(
            """
            <Response>
              <Pay paymentMethod="ach-debit"
                   bankAccountType="commercial-checking"
                   tokenType="reusable"
                   timeout="20"
                   maxAttempts="3"
                   action="{base}/desk/app/paid">
                <Prompt for="bank-routing-number" requireMatchingInputs="true">
                  <Say>Please key in the nine digits of your routing number.</Say>
                </Prompt>
                <Prompt for="bank-account-number" requireMatchingInputs="true">
                  <Say>Please key in your account number, then press pound.</Say>
                </Prompt>
                <Prompt for="bank-account-number" errorType="input-matching-failed">
                  <Say>The two numbers differ. Let us start again with the account number.</Say>
                </Prompt>
              </Pay>
            </Response>
            """
        ),
    ),
    Preset(
        name="prompts",
        title="Prompts in your own words",
        about="A prompt for each step, and other words for a wrong card, a wrong date, silence, and American Express.",
        twiml=_document(
            """
            <Response>
              <Pay chargeAmount="12.00"
                   validCardTypes="visa mastercard amex"
                   timeout="20"
                   maxAttempts="3"
                   action="{base}/desk/app/paid">
                <Prompt for="payment-card-number">
                  <Say>What is the number of your card?</Say>
                </Prompt>
                <Prompt for="payment-card-number" errorType="invalid-card-number">
                  <Say>That number has a digit too many, too few, or wrong. Once more, please.</Say>
                </Prompt>
                <Prompt for="payment-card-number" errorType="invalid-card-type">
                  <Say>We take Visa, Mastercard and American Express. Have you another card?</Say>
                </Prompt>
                <Prompt for="payment-card-number" errorType="timeout">
                  <Say>Take your time. The number is on the front of your card.</Say>
                </Prompt>
                <Prompt for="payment-card-number" attempt="3">
                  <Say>One last time: the number of your card, please.</Say>
                </Prompt>
                <Prompt for="expiration-date">
                  <Say>Until when is it good? Two digits for the month, two for the year.</Say>
                </Prompt>
                <Prompt for="expiration-date" errorType="invalid-date">
                  <Say>That date has gone by, or is none. For May 2031, press 0 5 3 1.</Say>
                </Prompt>
                <Prompt for="postal-code">
                  <Say>What is your postal code? End it with pound.</Say>
                </Prompt>
                <Prompt for="security-code" cardType="visa mastercard">
                  <Say>And the three digits on the back?</Say>
                </Prompt>
                <Prompt for="security-code" cardType="amex">
                  <Say>And the four digits on the front?</Say>
                </Prompt>
                <Prompt for="payment-processing">
                  <Say>Thank you. One moment, please.</Say>
                </Prompt>
              </Pay>
            </Response>
            """
        ),
    ),
    Preset(
        name="two-questions",
        title="Only number and expiry",
        about="The postal code is known and goes along as it is; the security code is left out.",
        twiml=_document(
            """
            <Response>
              <Pay chargeAmount="8.50"
                   postalCode="94105"
                   securityCode="false"
                   timeout="20"
                   maxAttempts="2"
                   action="{base}/desk/app/paid"/>
            </Response>
            """
        ),
    ),
    Preset(
        name="declined",
        title="A card that is declined",
        about="The sandbox declines 2002.00; the action gets PayErrorCode 64008 and the endpoint's own words.",
        twiml=_document(
            """
            <Response>
              <Pay chargeAmount="2002.00"
                   postalCode="false"
                   timeout="20"
                   maxAttempts="2"
                   action="{base}/desk/app/paid"/>
            </Response>
            """
        ),
    ),
    Preset(
        name="parameters",
        title="Parameters for the endpoint",
        about="They reach the endpoint beside the payment. This one tells the sandbox which outcome to play.",
        twiml=_document(
            """
            <Response>
              <Pay chargeAmount="30.00"
                   postalCode="false"
                   timeout="20"
                   maxAttempts="2"
                   action="{base}/desk/app/paid">
                <Parameter name="order_id" value="A-1017"/>
                <Parameter name="sandbox_outcome" value="insufficient_funds"/>
              </Pay>
            </Response>
            """
        ),
    ),
    Preset(
        name="slow",
        title="An answer that is late",
        about="The endpoint needs 12 seconds, Twilio waits 10: watch it ask again, and the caller charged once.",
        twiml=_document(
            """
            <Response>
              <Pay chargeAmount="15.00"
                   postalCode="false"
                   securityCode="false"
                   timeout="20"
                   maxAttempts="2"
                   action="{base}/desk/app/paid">
                <Prompt for="payment-processing">
                  <Say>This takes a moment. Please stay on the line.</Say>
                </Prompt>
                <Parameter name="sandbox_delay_ms" value="12000"/>
              </Pay>
            </Response>
            """
        ),
    ),
    Preset(
        name="gather",
        title="A question, then the payment",
        about="Gather comes before Pay: with 1 the call goes on to the payment, with no answer it ends kindly.",
        twiml=_document(
            """
            <Response>
              <Gather numDigits="1" timeout="20" action="{base}/desk/app/chosen">
                <Say>Your bill is 18 dollars. To pay it by card, press 1.</Say>
              </Gather>
              <Say>Then perhaps another time. Goodbye.</Say>
            </Response>
            """
        ),
    ),
    Preset(
        name=AGENT,
        title="An agent takes the payment",
        about="The call only waits. Use the agent's view: it speaks the Payments API, step by step.",
        twiml=_document(
            """
            <Response>
              <Say>You are talking to Kim of Owl Books.</Say>
              <Pause length="600"/>
            </Response>
            """
        ),
    ),
)
