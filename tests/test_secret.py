"""Secrets: one word unmasks, and nothing else shows anything."""

import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable

import pytest
from pydantic import BaseModel, ConfigDict

from generic_connector.bank import AccountNumber, BankAccount
from generic_connector.card import Card, Cvv, Expiry, Pan
from generic_connector.money import CURRENCIES, Money
from generic_connector.payment import Charge
from generic_connector.secret import Secret

CLEAR = "4" + "1" * 15  # never as one literal: tracebacks quote lines of source


class Loose(BaseModel):
    """Takes anything and says so."""

    value: object


class Strict(BaseModel):
    """Takes integers only, and quotes what is none in its errors, as pydantic does by default."""

    model_config = ConfigDict(strict=True)

    value: int


def raise_with(value: object) -> None:
    """Raise an error that has the value among its arguments, and in a local variable of its frame."""
    held = value
    raise ValueError(held)


def traceback_with_locals(value: object) -> str:
    """Return what a traceback printer that shows local variables makes of the value."""
    try:
        raise_with(value)
    except ValueError as error:
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    raise AssertionError


def logged(value: object) -> str:
    """Return the line that the standard library logs."""
    return logging.Formatter().format(logging.LogRecord("t", logging.INFO, "t.py", 1, "got %s", (value,), None))


WAYS: dict[str, Callable[[object], object]] = {
    "repr": repr,
    "str": str,
    "format": format,
    "format with a width": lambda value: format(value, ">40"),
    "f-string": lambda value: f"{value} {value!s} {value!r} {value!a} {value:<5}",
    "percent": lambda value: "%s %r" % (value, value),  # noqa: UP031 - one of the ways
    "in a list": lambda value: str([value]),
    "in a dict": lambda value: str({"value": value}),
    "log line": logged,
    "traceback": raise_with,
    "traceback with locals": traceback_with_locals,
    "json": lambda value: json.dumps({"value": value}),
    "pickle": pickle.dumps,
    "pydantic model": lambda value: f"{Loose(value=value)!r} {Loose(value=value).model_dump()}",
    "pydantic as JSON": lambda value: Loose(value=value).model_dump_json(),
    "pydantic error": lambda value: Strict.model_validate({"value": value}),
}


def said(way: Callable[[object], object], value: object) -> str:
    """Return all that comes out one way, errors and their tracebacks included."""
    try:
        return str(way(value))
    except Exception as error:  # noqa: BLE001 - whatever it is, what it says is what counts
        return "".join(traceback.format_exception(error))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("kind", [Secret, Pan, Cvv, AccountNumber])
def test_nothing_shows_a_secret(kind: type[Secret], way: Callable[[object], object]) -> None:
    """However a secret is printed, formatted, logged, raised or serialized, no digit of it comes out."""
    actual = said(way, kind(CLEAR))

    assert CLEAR not in actual
    assert CLEAR[:6] not in actual


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_the_same_ways_show_a_plain_text(way: Callable[[object], object]) -> None:
    """Control: a card number that is a mere string leaks in every one of these ways."""
    assert CLEAR in said(way, CLEAR)


def test_only_reveal_unmasks() -> None:
    """`reveal()` returns the clear text, and no other public name does."""
    secret = Secret(CLEAR)

    shows = [name for name in dir(secret) if not name.startswith("_")]

    assert ["reveal"] == shows
    assert CLEAR == secret.reveal()


def test_payments_mask_what_they_hold() -> None:
    """The repr of a whole payment shows neither PAN nor CVV nor account number."""
    money = Money(1000, CURRENCIES["USD"])
    card = Card(Pan(CLEAR), Expiry(2027, 8), Cvv("987"))
    account = BankAccount("021000021", AccountNumber("55443322"))

    actual = "".join(repr(Charge(transaction_id="t", instrument=one, money=money)) for one in (card, account))

    assert [True, True, True] == [mask in actual for mask in ("Pan(***)", "Cvv(***)", "AccountNumber(***)")]
    assert [False, False, False] == [clear in actual for clear in (CLEAR, "987", "55443322")]


def test_a_secret_says_its_type_and_not_its_length() -> None:
    """A short secret and a long one look the same."""
    assert ["Cvv(***)", "Cvv(***)"] == [repr(Cvv("123")), repr(Cvv("1234"))]


def test_the_mask_is_formatted_like_any_text() -> None:
    """A width or an alignment applies to the mask, so that tables with secrets in them can be printed."""
    assert ["Pan(***)", "  Pan(***)", "Pan(***)--"] == [
        f"{Pan(CLEAR)}",
        f"{Pan(CLEAR):>10}",
        f"{Pan(CLEAR):-<10}",
    ]


def test_equality_compares_the_clear_text() -> None:
    """Two secrets are equal if their type and their clear text are, whatever they are compared with."""
    one = Pan(CLEAR)
    others: list[object] = [Pan(CLEAR), Pan(CLEAR[::-1]), Secret(CLEAR), CLEAR, None]

    assert [True, False, False, False, False] == [one == other for other in others]


def test_a_secret_has_no_hash() -> None:
    """A secret cannot be a dictionary's key or a set's member, nor can what holds one."""
    card = Card(Pan(CLEAR), Expiry(2027, 8))

    for value in (Secret(CLEAR), Pan(CLEAR), card):
        with pytest.raises(TypeError, match="unhashable"):
            hash(value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_cannot_be_pickled(protocol: int) -> None:
    """No pickle protocol takes a secret, alone or inside something else."""
    for value in (Pan(CLEAR), [Card(Pan(CLEAR), Expiry(2027, 8))]):
        with pytest.raises(TypeError, match="Pan is a secret"):
            pickle.dumps(value, protocol)


def test_copies_are_the_secret_itself() -> None:
    """Copying, deep or shallow, makes no second clear text in memory."""
    secret = Pan(CLEAR)

    assert secret is copy.copy(secret)
    assert secret is copy.deepcopy([secret])[0]


def test_a_secret_has_no_dictionary() -> None:
    """`vars()`, which debuggers and serializers like to dump, finds nothing in any kind of secret."""
    for secret in (Secret(CLEAR), Pan(CLEAR), Cvv("123"), AccountNumber("12345678")):
        with pytest.raises(TypeError, match="__dict__"):
            vars(secret)
