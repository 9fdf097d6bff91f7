"""Instances: their names, and what a caller may do."""

import pytest

from generic_connector.instance import NAME_CHARS_MAX, Caller, Dialect, Instance, Mode, is_unique_name
from generic_connector.payment import Method

BOTH = frozenset(Method)
CHARGE = frozenset({Method.CHARGE})
TOKENIZE = frozenset({Method.TOKENIZE})
NONE: frozenset[Method] = frozenset()


def instance(allow: frozenset[Method]) -> Instance:
    """Return an instance that may do so much."""
    return Instance(
        id=1,
        unique_name="Default",
        username="ic_a",
        mode=Mode.TEST,
        allow=allow,
        processor="sandbox",
        dialect=Dialect.TWILIO,
    )


@pytest.mark.parametrize(
    ("allow", "scopes", "expected"),
    [
        (BOTH, BOTH, BOTH),
        (BOTH, CHARGE, CHARGE),
        (BOTH, NONE, NONE),
        (CHARGE, BOTH, CHARGE),
        (CHARGE, TOKENIZE, NONE),
        (TOKENIZE, BOTH, TOKENIZE),
        (NONE, BOTH, NONE),
    ],
)
def test_a_caller_may_do_what_instance_and_credential_both_permit(
    allow: frozenset[Method], scopes: frozenset[Method], expected: frozenset[Method]
) -> None:
    """An access token narrows what the instance may do and never widens it."""
    caller = Caller(instance(allow), scopes, "password")

    assert expected == {method for method in Method if caller.may(method)}


def test_a_new_instance_is_enabled_and_has_no_limits() -> None:
    """Unless told otherwise an instance is enabled, wants no CVV, saves no card and has no rate of its own."""
    made = instance(BOTH)

    assert (True, False, False, None) == (
        made.enabled,
        made.require_cvv,
        made.save_card_on_charge,
        made.rate_per_s,
    )


@pytest.mark.parametrize("name", ["Default", "a", "7", "My_Connector-2.live", "x" * NAME_CHARS_MAX])
def test_a_name_is_letters_digits_and_a_few_signs(name: str) -> None:
    """A unique name begins with a letter or digit and has at most 64 characters."""
    assert is_unique_name(name)


@pytest.mark.parametrize(
    "name", ["", "x" * (NAME_CHARS_MAX + 1), "_a", "-a", ".a", "a b", "a/b", "a\n", "\uff41", "caf\u00e9"]
)
def test_anything_else_is_no_name(name: str) -> None:
    """Spaces, slashes, other scripts, a sign in front and too many characters are refused."""
    assert not is_unique_name(name)


def test_modes_and_dialects_have_the_carriers_words() -> None:
    """There are two modes and three dialects, by the names that the command line takes."""
    assert (["test", "live"], ["twilio", "telnyx", "signalwire"]) == (list(Mode), list(Dialect))
