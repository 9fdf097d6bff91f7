"""The test of the checks about money and card data: broken endpoints, each with one mistake, and the ids it turns red.

Every endpoint below is the toy with one method replaced, as its docstring tells. The whole kit is run against it, and
the checks that fail must be exactly those that are named: none less, or the kit would not see the mistake, and none
more, or its report would not say where to look.
"""

import base64
import hashlib
import json
import re
import secrets
from asyncio import Event
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest

from generic_connector.conformance.check import Run, Verdict
from generic_connector.conformance.profile import Decline, Endpoint, Profile
from generic_connector.conformance.runner import Target, all_checks, conform_sync
from generic_connector.secret import Secret
from mutation_table import Row, record, table
from toy_endpoint import (
    DEFAULT,
    ID_KEYS,
    OTHER,
    Answer,
    Fields,
    Payment,
    Refused,
    Request,
    ToyEndpoint,
    is_number,
)

BROKEN: list[tuple[type[ToyEndpoint], frozenset[str]]] = []
# What measures time, and what looks at memory and health afterwards, is not asked here a hundred times.
CHECKS = [check for check in all_checks() if check.family not in {"time", "health"}]
FAMILIES = {"charge", "tokenize", "tolerance", "reply", "errors", "secrecy"}
BRANDS = "charge/2 charge/3 charge/4 charge/5 charge/6 charge/7 charge/8"
TOKEN_BRANDS = BRANDS.replace("charge", "tokenize")
HTML = {"content-type": "text/html"}
PAGE = Answer(500, b"<html><body><h1>Internal Server Error</h1></body></html>", HTML)


def red(ids: str) -> Callable[[type[ToyEndpoint]], type[ToyEndpoint]]:
    """Put an endpoint into the table, with the ids of the checks that it must turn red."""

    def keep(endpoint: type[ToyEndpoint]) -> type[ToyEndpoint]:
        BROKEN.append((endpoint, frozenset(ids.split())))
        return endpoint

    return keep


# Nothing is slow here, and there is no restart: those checks have a table of their own.
PROFILE = Profile(
    endpoint=Endpoint(ach=True),
    decline=Decline(amount="2000.00"),
    decline_tokenize=Decline(parameters={"sandbox_outcome": "card_declined"}),
)


def run(endpoint: ToyEndpoint, profile: Profile = PROFILE) -> Run:
    """Run the whole kit against an endpoint, in process."""
    target = Target(
        url="http://toy.example/",
        credentials=(DEFAULT[0], Secret(DEFAULT[1])),
        other=(OTHER[0], Secret(OTHER[1])),
        asgi=endpoint,
        profile=profile,
        timeout_s=1.0,
    )
    return conform_sync(target, checks=CHECKS, seed=7)


# --- Charges and tokens ----------------------------------------------------------------------------------------------


@red("charge/11 retry/20")
class SameChargeId(ToyEndpoint):
    """One charge_id for all charges."""

    def new_id(self, payment: Payment) -> str:
        return "ch_the_only_one" if payment.method == "charge" else super().new_id(payment)


@red("charge/11 retry/20")
class ChargeIdOfCardAndAmount(ToyEndpoint):
    """A charge_id made of card and amount: the second coffee is the first one."""

    def new_id(self, payment: Payment) -> str:
        if payment.method == "tokenize":
            return super().new_id(payment)
        return "ch_" + letters(hashlib.sha256(f"key {payment.number} {payment.amount}".encode()).hexdigest())


@red("tokenize/11")
class SameToken(ToyEndpoint):
    """One token for all cards."""

    def new_id(self, payment: Payment) -> str:
        return "tok_the_only_one" if payment.method == "tokenize" else super().new_id(payment)


@red(f"{BRANDS} {TOKEN_BRANDS} charge/11 tokenize/11")
class VisaOnly(ToyEndpoint):
    """Only cards that begin with 4."""

    def card_number(self, number: str) -> str:
        if not number.startswith("4"):
            raise Refused("unsupported_card_brand", "We take Visa.")
        return super().card_number(number)


@red("charge/5 tokenize/5")
class LuhnForPublishedNumbersToo(ToyEndpoint):
    """The published Diners number fails Luhn, and is refused."""

    def card_number(self, number: str) -> str:
        if number == "3065930009020004":
            raise Refused("invalid_card_number", "The card number is not valid.")
        return super().card_number(number)


@red("charge/3 tokenize/3")
class ThreeDigitCodes(ToyEndpoint):
    """American Express has four digits on its front, and cannot pay."""

    def card(self, fields: Fields) -> str:
        if len(str(fields.get("cvv"))) == 4 and is_number(str(fields.get("cvv"))):
            raise Refused("invalid_cvv", "The security code has three digits.")
        return super().card(fields)


@red("charge/9 tokenize/9 errors/24")
class CrashesOnBankAccounts(ToyEndpoint):
    """It reads cardnumber before it asks whether there is one."""

    async def answer(self, request: Request) -> Answer:
        return (
            PAGE
            if b"bankaccountnumber" in request.body and b"cardnumber" not in request.body
            else (await super().answer(request))
        )


@red("charge/9 tokenize/9")
class NoBankAccounts(ToyEndpoint):
    """It says so properly. The profile says that it takes them."""

    def account(self, fields: Fields) -> str:  # noqa: ARG002 - the hook's signature
        raise Refused("not_permitted", "No bank accounts here.")


@red("charge/10")
class NineDigitAccounts(ToyEndpoint):
    """Account numbers as long as the first sample's."""

    def account(self, fields: Fields) -> str:
        if len(fields["bankaccountnumber"]) != 9:
            raise Refused("invalid_account_number", "The account number has nine digits.")
        return super().account(fields)


@red("charge/12")
class TenOrMore(ToyEndpoint):
    """It reads 1.00 as a hundred of something, and has a limit below."""

    def amount(self, text: str, currency: str) -> Decimal:
        amount = super().amount(text, currency)
        if amount < 10:
            raise Refused("invalid_amount", "The amount is too small.")
        return amount


@red("tokenize/10")
class AmountOnTokenizeDemanded(ToyEndpoint):
    """It wants an amount, and be it zero, where nothing is charged."""

    def payment(self, method: str, fields: Fields) -> Payment:
        if method == "tokenize" and "cardnumber" in fields:
            self.text(fields, "amount")
        return super().payment(method, fields)


@red("tokenize/12")
class ZeroAmountOnTokenize(ToyEndpoint):
    """It looks at an amount that does not matter."""

    def payment(self, method: str, fields: Fields) -> Payment:
        if method == "tokenize" and "amount" in fields:
            self.amount(fields["amount"], "USD")
        return super().payment(method, fields)


# --- Tolerance -------------------------------------------------------------------------------------------------------


@red("tolerance/1 tolerance/2 tolerance/3")
class ContentTypeDemanded(ToyEndpoint):
    """As most frameworks do: without application/json there is no body."""

    def parse(self, request: Request) -> Fields:
        if not request.headers.get("content-type", "").startswith("application/json"):
            raise Refused("unsupported_media_type", "Send application/json.", 415)
        return super().parse(request)


@red("tolerance/3")
class FormsParsed(ToyEndpoint):
    """A form parser reads the body first."""

    def at(self, request: Request) -> None:
        super().at(request)
        if request.headers.get("content-type") == "application/x-www-form-urlencoded":
            self.refuse_malformed()


def demands(name: str) -> type[ToyEndpoint]:
    """Return an endpoint for which an optional field is not optional."""

    class Demanding(ToyEndpoint):
        def payment(self, method: str, fields: Fields) -> Payment:
            if "bankaccountnumber" not in fields and not fields.get(name):
                raise Refused("missing_field", f"The field {name} is missing.", 400)
            return super().payment(method, fields)

    Demanding.__name__ = f"Demands_{name}"
    return Demanding


red("tolerance/4 tolerance/5 tolerance/12")(demands("cvv"))
red("tolerance/6 tolerance/7 tolerance/12")(demands("postal_code"))
red("tolerance/8 tolerance/9 tolerance/12")(demands("description"))
red("tolerance/10 tolerance/11 tolerance/14")(demands("parameters"))


CRASH = Refused("internal_error", "Something went wrong.", 500)


@red("tolerance/8")
class NullDescriptionCrashes(ToyEndpoint):
    """len(None) is a server error. What the carriers send has a null description most of the time."""

    def payment(self, method: str, fields: Fields) -> Payment:
        if "description" in fields and fields["description"] is None:
            raise CRASH
        return super().payment(method, fields)


@red("tolerance/9")
class MissingDescriptionCrashes(ToyEndpoint):
    """fields["description"] is a server error."""

    def card(self, fields: Fields) -> str:
        if "description" not in fields:
            raise CRASH
        return super().card(fields)


@red("tolerance/12")
class EmptyTextsAreValues(ToyEndpoint):
    """An empty security code has the wrong length."""

    def optional(self, fields: Fields, name: str) -> str | None:
        if fields.get(name) == "":
            raise Refused("invalid_field", f"The field {name} is empty.")
        return super().optional(fields, name)


@red("tolerance/13")
class DescriptionIsText(ToyEndpoint):
    """A description that is an object fails the payment."""

    def payment(self, method: str, fields: Fields) -> Payment:
        self.optional(fields, "description")
        return super().payment(method, fields)


@red("tolerance/14")
class EmptyParametersRefused(ToyEndpoint):
    """None and some are fine, and an empty object is not."""

    def parameters(self, fields: Fields) -> Mapping[str, str]:
        if fields.get("parameters") == {}:
            raise Refused("invalid_field", "parameters is empty.", 400)
        return super().parameters(fields)


@red("tolerance/15")
class AsciiOnly(ToyEndpoint):
    """Parameters go into a column of ASCII."""

    def parameters(self, fields: Fields) -> Mapping[str, str]:
        parameters = super().parameters(fields)
        if not str(parameters).isascii():
            raise Refused("internal_error", "A character cannot be stored.", 503)
        return parameters


@red("tolerance/16")
class TenParameters(ToyEndpoint):
    """A limit that nobody told of."""

    def parameters(self, fields: Fields) -> Mapping[str, str]:
        parameters = super().parameters(fields)
        if len(parameters) > 10:
            raise Refused("invalid_field", "Too many parameters.", 400)
        return parameters


@red("tolerance/17")
class StrictFields(ToyEndpoint):
    """A schema that forbids what it does not know."""

    def parse(self, request: Request) -> Fields:
        fields = super().parse(request)
        if any(name.startswith("x_") for name in fields):
            self.refuse_malformed()
        return fields


@red("tolerance/18")
class PostalDigits(ToyEndpoint):
    """Five digits, as at home."""

    def card(self, fields: Fields) -> str:
        if fields.get("postal_code") and not is_number(fields["postal_code"]):
            raise Refused("invalid_postal_code", "The postal code has five digits.")
        return super().card(fields)


class YearDigits(ToyEndpoint):
    digits = 0

    def expiry(self, month: str, year: str) -> None:
        if len(year) != self.digits:
            raise Refused("invalid_expiry", f"The year has {self.digits} digits.")
        super().expiry(month, year)


@red("tolerance/19")
class TwoDigitYearRefused(YearDigits):
    """Only 2030."""

    digits = 4


@red("tolerance/20")
class FourDigitYearRefused(YearDigits):
    """Only 30."""

    digits = 2


@red("tolerance/21")
class PaddedMonth(ToyEndpoint):
    """Only 08."""

    def expiry(self, month: str, year: str) -> None:
        if len(month) != 2:
            raise Refused("invalid_expiry", "The month has two digits.")
        super().expiry(month, year)


class AmountPattern(ToyEndpoint):
    pattern = ""

    def amount(self, text: str, currency: str) -> Decimal:
        if not re.fullmatch(self.pattern, text):
            raise Refused("invalid_amount", "The amount is not valid.")
        return super().amount(text, currency)


@red("tolerance/22")
class WholeAmountRefused(AmountPattern):
    """10 has no point in it."""

    pattern = r"\d+\.\d+"


@red("tolerance/23")
class OneDecimalRefused(AmountPattern):
    """10.0 is what the documents' sample has."""

    pattern = r"\d+(\.|\.\d{2,})?"


@red("tolerance/24 tolerance/25 tolerance/23 charge/12")
class CentsRefused(AmountPattern):
    """Dollars only."""

    pattern = r"\d+"


@red("tolerance/25")
class TwoDecimalsAtMost(AmountPattern):
    """Zeros at the end count."""

    pattern = r"\d+(\.\d{1,2})?"


@red("tolerance/26")
class UpperCurrencyOnly(ToyEndpoint):
    """USD and not usd."""

    def currency(self, code: str) -> str:
        if code != code.upper():
            raise Refused("unsupported_currency", "The currency is not supported.")
        return super().currency(code)


@red("tolerance/27")
class LowerCurrencyOnly(ToyEndpoint):
    """usd and not USD."""

    def currency(self, code: str) -> str:
        if code != code.lower():
            raise Refused("unsupported_currency", "The currency is not supported.")
        return super().currency(code)


# --- Replies ---------------------------------------------------------------------------------------------------------


class Success(ToyEndpoint):
    """An endpoint whose successful replies are wrong."""

    def change(self, fields: Fields, payment: Payment) -> Fields:
        raise NotImplementedError

    def success(self, payment: Payment, id_: str) -> Fields:
        return self.change(super().success(payment, id_), payment)


@red("reply/1 charge/1 tokenize/1 charge/9 tokenize/9")
class JsonInJson(ToyEndpoint):
    """The reply is turned into a text, and the text into JSON."""

    def reply(self, status: int, fields: Mapping[str, object]) -> Answer:
        answer = super().reply(status, fields)
        return replace(answer, body=json.dumps(answer.body.decode()).encode()) if status == 200 else answer


@red("reply/2 charge/1 tokenize/1 charge/9 tokenize/9 retry/10")
class Created(ToyEndpoint):
    """201 for a payment."""

    async def answer(self, request: Request) -> Answer:
        answer = await super().answer(request)
        return replace(answer, status=201) if answer.status == 200 and b'"error_code": null' in answer.body else answer


@red("reply/3 reply/4 charge/1 tokenize/1 charge/9 tokenize/9 retry/10")
class NumbersAsIds(Success):
    """The id is the number of a row."""

    def change(self, fields: Fields, payment: Payment) -> Fields:
        return {**fields, ID_KEYS[payment.method]: secrets.randbelow(10**6) + 1}


@red("reply/3 charge/1 charge/9")
class IdUnderAnotherName(Success):
    """It is called id."""

    def change(self, fields: Fields, payment: Payment) -> Fields:  # noqa: ARG002 - as above
        return {"id" if name == "charge_id" else name: value for name, value in fields.items()}


@red("reply/5 charge/1 tokenize/1 charge/9 tokenize/9")
class CodeOfApproval(Success):
    """error_code "00", as in ISO 8583."""

    def change(self, fields: Fields, payment: Payment) -> Fields:  # noqa: ARG002 - the hook's signature
        return {**fields, "error_code": "00"}


@red("reply/6")
class MessageIsAnObject(Success):
    """error_message {}."""

    def change(self, fields: Fields, payment: Payment) -> Fields:  # noqa: ARG002 - as above
        return {**fields, "error_message": {}}


@red("reply/7")
class NestedParameters(Success):
    """The card in an object of its own."""

    def change(self, fields: Fields, payment: Payment) -> Fields:
        return {**fields, "parameters": {"card": {"last4": payment.number[-4:]}}}


@red("reply/7")
class NumbersInParameters(Success):
    """A number that is no text."""

    def change(self, fields: Fields, payment: Payment) -> Fields:  # noqa: ARG002 - as above
        return {**fields, "parameters": {"attempt": 1}}


@red("reply/8")
class NamesWithSpaces(Success):
    """A parameter that cannot be a form field."""

    def change(self, fields: Fields, payment: Payment) -> Fields:  # noqa: ARG002 - as above
        return {**fields, "parameters": {"authorization code [1]": "A1"}}


@red("reply/9 charge/1 tokenize/1 charge/9 tokenize/9")
class Redirects(ToyEndpoint):
    """To the same address with a slash."""

    async def answer(self, request: Request) -> Answer:
        answer = await super().answer(request)
        return Answer(307, b"", {"location": "https://toy.example/pay/"}) if answer.status == 200 else answer


@red("reply/10")
class SaysHtml(ToyEndpoint):
    """The framework's default type."""

    def reply(self, status: int, fields: Mapping[str, object]) -> Answer:
        return replace(super().reply(status, fields), headers={"content-type": "text/html"})


@red("reply/11")
class WholeAnswer(Success):
    """All that the processor said."""

    def change(self, fields: Fields, payment: Payment) -> Fields:  # noqa: ARG002 - as above
        return {**fields, "processor": "x" * 70_000}


@red("reply/12")
class IdWithUmlaut(ToyEndpoint):
    """Ids with spaces and letters outside ASCII."""

    def new_id(self, payment: Payment) -> str:
        return f"Beleg für {super().new_id(payment)}"


# --- Errors ----------------------------------------------------------------------------------------------------------


class Errors(ToyEndpoint):
    """An endpoint whose refusals are wrong."""

    def change(self, fields: Fields, refused: Refused) -> Fields:
        raise NotImplementedError

    def refusal(self, refused: Refused, method: str | None) -> Fields:
        return self.change(super().refusal(refused, method), refused)


SHAPES = "errors/6 errors/9 errors/26 errors/27 errors/28 errors/29 errors/30 errors/31 errors/32"


@red(f"errors/1 {SHAPES}")
class NumberAsErrorCode(Errors):
    """error_code 51."""

    def change(self, fields: Fields, refused: Refused) -> Fields:  # noqa: ARG002 - the hook's signature
        return {**fields, "error_code": 51}


@red(f"errors/2 {SHAPES}")
class IdMissingOnError(Errors):
    """No id key where there is no id."""

    def change(self, fields: Fields, refused: Refused) -> Fields:  # noqa: ARG002 - as above
        return {name: value for name, value in fields.items() if value is not None}


@red("errors/3 errors/6")
class IdOnDecline(Errors):
    """An id beside the error_code."""

    def change(self, fields: Fields, refused: Refused) -> Fields:
        is_decline = refused.code == "card_declined"
        return {name: "ch_declined" if is_decline and value is None else value for name, value in fields.items()}


@red("errors/4")
class PaymentRequired(ToyEndpoint):
    """402 for a decline."""

    async def answer(self, request: Request) -> Answer:
        answer = await super().answer(request)
        return replace(answer, status=402) if b"card_declined" in answer.body else answer


@red("errors/5")
class NoMessage(Errors):
    """Nothing for people."""

    def change(self, fields: Fields, refused: Refused) -> Fields:  # noqa: ARG002 - as above
        return {**fields, "error_message": None}


@red("errors/6")
class DeclinedCardsKept(ToyEndpoint):
    """A tokenize asks nobody, and answers with neither token nor code where it was declined."""

    def refusal(self, refused: Refused, method: str | None) -> Fields:
        fields = super().refusal(refused, method)
        return {"token_id": None} if refused.code == "card_declined" and method == "tokenize" else fields


@red("errors/7 errors/8")
class LuhnNotChecked(ToyEndpoint):
    """Any sixteen digits."""

    def card_number(self, number: str) -> str:
        return number if is_number(number) and len(number) == 16 else super().card_number(number)


@red("errors/9")
class BareTextOnBadCard(ToyEndpoint):
    """A page of its own for a bad card."""

    def error(self, refused: Refused, method: str | None) -> Answer:
        if refused.code == "invalid_card_number":
            return Answer(400, b"Bad card", {"content-type": "text/plain"})
        return super().error(refused, method)


@red("errors/10")
class ExpiredTaken(ToyEndpoint):
    """Nobody looks at the date."""

    def expiry(self, month: str, year: str) -> None:
        super().expiry(month, "40" if len(year) == 2 else year)


@red("errors/11")
class ThirteenthMonth(ToyEndpoint):
    """The month is the processor's business."""

    def expiry(self, month: str, year: str) -> None:
        super().expiry("12" if is_number(month) else month, year)


@red("errors/12")
class AnyCode(ToyEndpoint):
    """A security code of any length."""

    def card(self, fields: Fields) -> str:
        cvv = fields.get("cvv")
        return super().card({**fields, "cvv": "123"} if isinstance(cvv, str) and is_number(cvv) else fields)


class Reads(ToyEndpoint):
    """An endpoint that reads some amounts wrongly."""

    def read(self, text: str) -> str:
        raise NotImplementedError

    def amount(self, text: str, currency: str) -> Decimal:
        return super().amount(self.read(text), currency)


@red("errors/13")
class ChargesNothing(Reads):
    """Zero is fine."""

    def read(self, text: str) -> str:
        return "10" if re.fullmatch(r"0(\.0+)?", text) else text


@red("errors/14")
class ChargesLessThanNothing(Reads):
    """abs()."""

    def read(self, text: str) -> str:
        return text.removeprefix("-")


@red("errors/15")
class ReadsAsFarAsPossible(Reads):
    """parseFloat() || 10."""

    def read(self, text: str) -> str:
        found = re.match(r"\$?(\d+(?:\.\d\d?)?)", text)
        return text if text[:1] == "-" or re.search(r"[,e]|\.\d{5}", text) else found[1] if found else "10"


@red("errors/16")
class Scientific(Reads):
    """1e2, and 1,000.00 with the comma thrown away."""

    def read(self, text: str) -> str:
        text = text.replace(",", "")
        return str(int(float(text))) if re.fullmatch(r"\d+e\d+", text) else text


@red("errors/17")
class Rounds(Reads):
    """10.00001 is nearly 10."""

    def read(self, text: str) -> str:
        if not re.fullmatch(r"\d+\.\d+", text):
            return text
        return str(Decimal(text).quantize(Decimal("0.01"), ROUND_HALF_UP))


@red("errors/18")
class AnyCurrency(ToyEndpoint):
    """What is not known is dollars."""

    def currency(self, code: str) -> str:  # noqa: ARG002 - its very mistake
        return "USD"


@red("errors/19")
class DefaultAmount(ToyEndpoint):
    """No amount is ten dollars."""

    def payment(self, method: str, fields: Fields) -> Payment:
        return super().payment(method, {"amount": "10", **fields})


@red("errors/20")
class ChargesNobody(ToyEndpoint):
    """No card is fine."""

    def card(self, fields: Fields) -> str:
        return super().card(fields) if "cardnumber" in fields else "nobody"


@red("errors/21")
class MakesUpTransactionIds(ToyEndpoint):
    """No transaction_id: a new one."""

    def payment(self, method: str, fields: Fields) -> Payment:
        return super().payment(method, {"transaction_id": secrets.token_hex(), **fields})


@red("errors/22")
class CardBeforeAccount(ToyEndpoint):
    """Both are there: the card pays."""

    def payment(self, method: str, fields: Fields) -> Payment:
        kept = {name: value for name, value in fields.items() if name != "bankaccountnumber"}
        return super().payment(method, kept if fields.get("cardnumber") else fields)


@red("errors/23")
class RoutingNotChecked(ToyEndpoint):
    """Any nine digits."""

    def account(self, fields: Fields) -> str:
        return super().account({**fields, "routingnumber": "021000021"})


@red("errors/25")
class ChargesForUnknownMethods(ToyEndpoint):
    """Everything that is no tokenize is a charge."""

    def method(self, fields: Fields) -> str:
        return "tokenize" if self.text(fields, "method") == "tokenize" else "charge"


@red("errors/25 errors/30")
class HangsOnUnknownMethods(ToyEndpoint):
    """A promise that nobody keeps."""

    async def answer(self, request: Request) -> Answer:
        if b'"refund"' in request.body:
            await Event().wait()
        return await super().answer(request)


@red("errors/26 errors/27 errors/28")
class HtmlOnMalformed(ToyEndpoint):
    """The framework's page for what is no JSON object."""

    def error(self, refused: Refused, method: str | None) -> Answer:
        if refused.code == "malformed_request":
            return Answer(400, b"<!DOCTYPE html><pre>SyntaxError: Unexpected token</pre>", HTML)
        return super().error(refused, method)


@red("errors/27 errors/31 limits/4 limits/5")
class CrashesOnTypes(ToyEndpoint):
    """A list has no get()."""

    async def answer(self, request: Request) -> Answer:
        try:
            fields = json.loads(request.body)
        except ValueError:
            return await super().answer(request)
        is_odd = not isinstance(fields, dict) or isinstance(fields.get("cardnumber"), list)
        return PAGE if is_odd else await super().answer(request)


@red("errors/29 errors/32")
class CrashesOnMissingFields(ToyEndpoint):
    """None has no upper()."""

    def text(self, fields: Fields, name: str) -> str:
        if fields.get(name) is None:
            raise Refused("internal_error", "Something went wrong.", 500)
        return super().text(fields, name)


@red("errors/33")
class ShowsItsInsides(Errors):
    """The exception goes into the message."""

    def change(self, fields: Fields, refused: Refused) -> Fields:
        if refused.code != "malformed_request":
            return fields
        where = 'Traceback (most recent call last): File "/app/pay.py", line 12'
        return {**fields, "error_message": where}


@red("errors/34")
class RepeatsTheMethod(ToyEndpoint):
    """Unknown method: what was sent."""

    def method(self, fields: Fields) -> str:
        method = self.text(fields, "method")
        if method not in ID_KEYS:
            raise Refused("unsupported_method", f"Unknown method {method}.", 400)
        return method


@red("errors/35")
class Welcomes(ToyEndpoint):
    """GET is a page."""

    async def answer(self, request: Request) -> Answer:
        return Answer(200, b"<h1>It works!</h1>", HTML) if request.method == "GET" else await super().answer(request)


# --- Secrecy ---------------------------------------------------------------------------------------------------------


def with_parameter(fields: Fields, name: str, value: object) -> Fields:
    """Return a successful reply with one parameter more."""
    return {**fields, "parameters": {**fields["parameters"], name: str(value)}}


@red("secrecy/1 secrecy/2")
class CardInReply(Success):
    """For the application's convenience."""

    def change(self, fields: Fields, payment: Payment) -> Fields:
        return with_parameter(fields, "card", payment.number) if "cardnumber" in payment.fields else fields


@red("secrecy/1 secrecy/2")
class CardInBase64(Success):
    """It does not look like one."""

    def change(self, fields: Fields, payment: Payment) -> Fields:
        if "cardnumber" not in payment.fields:
            return fields
        return with_parameter(fields, "ref", base64.b64encode(f"v1:{payment.number}".encode()).decode())


@red("secrecy/1 secrecy/2")
class CardInHeader(ToyEndpoint):
    """For the proxy's log."""

    async def answer(self, request: Request) -> Answer:
        answer = await super().answer(request)
        found = re.search(rb'"cardnumber": ?"(\d{12,19})"', request.body)
        if found is None or b'"error_code": null' not in answer.body:
            return answer
        return replace(
            answer, headers={**answer.headers, "x-card": " ".join(re.findall(r"\d{1,4}", found[1].decode()))}
        )


@red("secrecy/3")
class CardInError(ToyEndpoint):
    """Which number is not valid."""

    def card_number(self, number: str) -> str:
        try:
            return super().card_number(number)
        except Refused as refused:
            raise Refused(refused.code, f"{number} is not valid.") from None


@red("secrecy/4")
class CardInDecline(ToyEndpoint):
    """The processor's own words."""

    async def purchase(self, payment: Payment) -> Fields:
        reply = await super().purchase(payment)
        is_declined = reply["error_code"] and payment.method == "charge"
        return {**reply, "error_message": f"Card {payment.number} declined."} if is_declined else reply


@red("secrecy/5")
class MalformedRepeated(ToyEndpoint):
    """The parser quotes the body."""

    async def answer(self, request: Request) -> Answer:
        answer = await super().answer(request)
        if b"malformed_request" not in answer.body or request.body.startswith(b"["):
            return answer
        text = json.loads(answer.body) | {"error_message": f"Cannot read {request.body[:80].decode(errors='replace')}"}
        return replace(answer, body=json.dumps(text).encode())


@red("secrecy/6")
class ParametersRepeated(Success):
    """All parameters come back."""

    def change(self, fields: Fields, payment: Payment) -> Fields:
        sent = {f"sent_{number}": str(value) for number, value in enumerate(payment.parameters.values())}
        return {**fields, "parameters": {**fields["parameters"], **sent}}


@red("secrecy/7")
class CodeRepeated(Success):
    """The security code among the parameters."""

    def change(self, fields: Fields, payment: Payment) -> Fields:
        return with_parameter(fields, "cvv", payment.fields.get("cvv"))


@red("secrecy/8")
class CodeInError(ToyEndpoint):
    """The security code in an error."""

    def card(self, fields: Fields) -> str:
        try:
            return super().card(fields)
        except Refused as refused:
            raise Refused(refused.code, f"{refused.message} CVV: {fields.get('cvv')}", refused.status) from None


@red("secrecy/9")
class AccountRepeated(Success):
    """The account number among the parameters."""

    def change(self, fields: Fields, payment: Payment) -> Fields:
        account = payment.fields.get("bankaccountnumber")
        return with_parameter(fields, "account", account) if account else fields


@red("secrecy/10")
class PasswordRepeated(ToyEndpoint):
    """Wrong password: what was sent."""

    def caller(self, headers: Mapping[str, str]) -> str:
        try:
            return super().caller(headers)
        except Refused as refused:
            try:
                sent = base64.b64decode(headers.get("authorization", "").removeprefix("Basic ")).decode("latin-1")
            except ValueError:
                sent = ""
            raise Refused(refused.code, f"{sent} may not come in.", 401) from None


class Tokens(ToyEndpoint):
    """An endpoint whose tokens tell something of the card."""

    def token(self, number: str) -> str:
        raise NotImplementedError

    def new_id(self, payment: Payment) -> str:
        return self.token(payment.number) if payment.method == "tokenize" else super().new_id(payment)


@red("secrecy/11")
class DigitsAsToken(Tokens):
    """Sixteen digits, so that it fits into the old column."""

    def token(self, number: str) -> str:  # noqa: ARG002 - the hook's signature
        return f"9{secrets.randbelow(10**15):015d}"


@red("secrecy/12 secrecy/14")
class NumberInToken(Tokens):
    """The first twelve digits, and something random."""

    def token(self, number: str) -> str:
        return f"tok_{number[:12]}_{letters(secrets.token_hex(8))}"


@red("secrecy/2 secrecy/12")
class NumberAsToken(Tokens):
    """The card number, in base64."""

    def token(self, number: str) -> str:
        return base64.b64encode(number.encode()).decode()


@red("secrecy/2 secrecy/13")
class HashAsToken(Tokens):
    """The card number's SHA-256."""

    def token(self, number: str) -> str:
        return "tok_" + hashlib.sha256(number.encode()).hexdigest()


@red("secrecy/13")
class ShortHashAsToken(Tokens):
    """The beginning of the card number's MD5."""

    def token(self, number: str) -> str:
        return "tok_" + hashlib.md5(number.encode(), usedforsecurity=False).hexdigest()[:20]


@red("secrecy/14")
class EncryptedPrefixInToken(Tokens):
    """The card number's beginning, encrypted always with the same key, and something random."""

    def token(self, number: str) -> str:
        hidden = hashlib.sha256(b"key" + number[:8].encode()).hexdigest()[:12]
        return f"tok_{letters(hidden)}{letters(secrets.token_hex(8))}"


def letters(text: str) -> str:
    """Return hexadecimal as letters, so that nothing in it looks like a number by chance."""
    return text.translate(str.maketrans("0123456789", "ghijklmnop"))


# --- The tests -------------------------------------------------------------------------------------------------------


def red_ids(outcome: Run) -> set[str]:
    """Return the ids of the checks that failed."""
    return {finding.check.id for finding in outcome.of(Verdict.FAILED)}


def told(outcome: Run) -> Any:  # noqa: ANN401 - for pytest to show
    """Return what failed, and why."""
    return [(finding.check.id, finding.found) for finding in outcome.of(Verdict.FAILED)]


def test_good_toy() -> None:
    """An endpoint without a mistake turns nothing red, and of these families nothing is left out."""
    outcome = run(ToyEndpoint())
    assert [] == told(outcome)
    assert [] == outcome.of(Verdict.BROKEN)
    assert set() == {f.check.id for f in outcome.of(Verdict.SKIPPED) if f.check.family in FAMILIES}


@pytest.mark.parametrize(("endpoint", "expected"), [pytest.param(*row, id=row[0].__name__) for row in BROKEN])
def test_broken(endpoint: type[ToyEndpoint], expected: frozenset[str]) -> None:
    """One mistake turns red the checks that are about it, and no others; the kit itself does not break."""
    outcome = run(endpoint())
    record(endpoint.__name__, expected, red_ids(outcome))
    assert expected == red_ids(outcome), told(outcome)
    assert [] == outcome.of(Verdict.BROKEN)


def test_every_check_can_be_red() -> None:
    """Each check of these families is red for at least one endpoint above: none of them is satisfied by everything."""
    checks = {check.id for check in all_checks() if check.family in FAMILIES}
    assert set() == checks - frozenset().union(*(expected for _endpoint, expected in BROKEN))


class Hopeless(ToyEndpoint):
    """It answers everything alike."""

    reply_to_all = PAGE

    async def answer(self, request: Request) -> Answer:  # noqa: ARG002 - that is the point
        return self.reply_to_all


class RefusesAll(Hopeless):
    """In the contract's shape, at that."""

    reply_to_all = Answer(200, b'{"charge_id": null, "token_id": null, "error_code": "no", "error_message": "No."}')


class Garbage(Hopeless):
    """Bytes that are no text."""

    reply_to_all = Answer(200, bytes(range(256)) * 64, {"content-type": "application/json"})


class DeepReply(Hopeless):
    """JSON that is nested as deep as can be."""

    reply_to_all = Answer(200, b'{"parameters": ' + b"[" * 900 + b"]" * 900 + b"}")


class EverythingSucceeds(Hopeless):
    """Whatever is asked, it is done."""

    reply_to_all = Answer(200, b'{"charge_id": "ch", "token_id": "tok", "error_code": null, "parameters": {}}')


@pytest.mark.parametrize(
    ("endpoint", "passed"),
    [
        pytest.param(Hopeless, {"reply/9"}, id="crashes"),
        pytest.param(RefusesAll, {"reply/1", "reply/9"}, id="refuses everything"),
        pytest.param(Garbage, {"reply/9"}, id="garbage"),
        pytest.param(DeepReply, {"reply/1", "reply/9"}, id="deep"),
    ],
)
def test_refusing_is_not_passing(endpoint: type[ToyEndpoint], passed: set[str]) -> None:
    """Where no payment succeeds, that bad ones do not either is no merit: nearly all is red or skipped, none broken."""
    outcome = run(endpoint())
    assert [] == outcome.of(Verdict.BROKEN)
    assert passed == {finding.check.id for finding in outcome.of(Verdict.PASSED) if finding.check.family in FAMILIES}


def test_taking_is_not_passing() -> None:
    """An endpoint that takes everything is red on every claim that something is refused or kept apart."""
    outcome = run(EverythingSucceeds())
    assert [] == outcome.of(Verdict.BROKEN)
    never = {f"errors/{number}" for number in (1, 6, 7, 8, *range(10, 24), 25, *range(26, 30), 35)}
    assert set() == (never | {"charge/11", "tokenize/11"}) - red_ids(outcome)


def test_table() -> None:
    """The table tells what was not red, and what should not have been, and counts the endpoints that were exact."""
    rows = [
        Row("Exact", frozenset({"charge/2", "charge/11"}), frozenset({"charge/11", "charge/2"})),
        Row("Off", frozenset({"reply/1", "reply/2"}), frozenset({"reply/2", "reply/3"})),
        Row("Unseen", frozenset({"errors/1"}), frozenset()),
    ]
    text = table(rows)
    assert "3 broken endpoints, 1 of them red on exactly the right checks" in text
    assert re.search(r"Exact +charge/2 charge/11\n", text)
    assert re.search(r"Off +reply/2 reply/3\n +\(not red: reply/1\)\n +\(red, but should not be: reply/3\)\n", text)
    assert re.search(r"Unseen +-\n +\(not red: errors/1\)\n", text)
    assert "4 checks were red" in text
    assert "" == table([])
