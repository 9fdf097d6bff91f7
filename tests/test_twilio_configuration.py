"""The simulator's configuration: what the file and the flags say, who wins, and errors that tell without quoting."""

import re
from pathlib import Path

import pytest
import trustme

from generic_connector.instance import Mode
from generic_connector.secret import Secret
from generic_connector.twilio.configuration import (
    ACCOUNT_SID,
    BadConfigurationError,
    Configuration,
    load_configuration,
    new_auth_token,
    read_connector,
    switch_rows,
    switched,
)
from generic_connector.twilio.pay_connector import PayConnector, PaymentMethod, TokenType
from generic_connector.twilio.switches import Switches

PASSWORD = "swordfish-0815"
WHOLE = """
[account]
sid = "AC0123456789abcdef0123456789abcdef"
auth_token = "token-of-the-file"

[[connector]]
unique_name = "Shop"
url = "https://pay.example.com/pay"
username = "ann"
password = "swordfish-0815"
mode = "live"
is_approved = false
is_authorized = false
charges = false
tokenizes = true
payment_methods = ["credit-card"]
token_types = ["one-time", "payment-method"]
currencies = ["usd", "EUR"]
needs_avs_name = true
required_parameters = ["MerchantAccountId"]

[[connector]]
url = "http://localhost:5000/"
username = "bob"
password = "swordfish-0815"

[switches]
retries = 0
content_type = "application/json"
commercial_savings = true
"""
LEAST = """
[[connector]]
url = "https://localhost/"
username = "ann"
password = "swordfish-0815"
"""


def written(directory: Path, text: str) -> Path:
    """Write a configuration file."""
    path = directory / "twilio.toml"
    path.write_text(text)
    return path


def refused(directory: Path, text: str) -> str:
    """Return why a file is refused."""
    with pytest.raises(BadConfigurationError) as caught:
        load_configuration(written(directory, text))
    return str(caught.value).removeprefix(str(directory / "twilio.toml"))


# --- What is read ----------------------------------------------------------------------------------------------------


def test_a_whole_file(tmp_path: Path) -> None:
    """Account, connectors with everything that they can be, switches."""
    shop = PayConnector(
        unique_name="Shop",
        url="https://pay.example.com/pay",
        username="ann",
        password=Secret(PASSWORD),
        mode=Mode.LIVE,
        is_approved=False,
        is_authorized=False,
        charges=False,
        tokenizes=True,
        payment_methods=frozenset({PaymentMethod.CREDIT_CARD}),
        token_types=frozenset({TokenType.ONE_TIME, TokenType.PAYMENT_METHOD}),
        currencies=frozenset({"USD", "EUR"}),
        needs_avs_name=True,
        required_parameters=frozenset({"MerchantAccountId"}),
    )
    default = PayConnector(
        unique_name="Default", url="http://localhost:5000/", username="bob", password=Secret(PASSWORD)
    )

    read = load_configuration(written(tmp_path, WHOLE))

    assert read == Configuration(
        account_sid="AC0123456789abcdef0123456789abcdef",
        auth_token=Secret("token-of-the-file"),
        is_token_made=False,
        connectors={"Shop": shop, "Default": default},
        switches=Switches(retries=0, content_type="application/json", commercial_savings=True),
    )


def test_nothing_at_all() -> None:
    """No file, no flag: an account for development, a token that was made up, every switch at its default."""
    read = load_configuration()

    assert (ACCOUNT_SID, True, {}, Switches()) == (
        read.account_sid,
        read.is_token_made,
        read.connectors,
        read.switches,
    )
    assert re.fullmatch("[a-f]{32}", read.auth_token.reveal())
    assert new_auth_token() != new_auth_token()
    assert re.fullmatch("AC[0-9a-f]{32}", ACCOUNT_SID)


def test_an_empty_file_is_nothing_at_all(tmp_path: Path) -> None:
    """As if there were none."""
    made = load_configuration(written(tmp_path, ""), new_token=lambda: "made")

    assert load_configuration(new_token=lambda: "made") == made


def test_flags_win(tmp_path: Path) -> None:
    """One connector is replaced, the other stays; one switch is changed, the others stay; the token is the flag's."""
    read = load_configuration(
        written(tmp_path, WHOLE),
        connectors=["Shop=https://other.example.com/,eve,secret"],
        switches=["retries=2", "timeout-s = 0.5"],
        auth_token="token-of-the-flag",
    )

    assert ["https://other.example.com/", "http://localhost:5000/"] == [one.url for one in read.connectors.values()]
    assert read.switches == Switches(retries=2, timeout_s=0.5, content_type="application/json", commercial_savings=True)
    assert (Secret("token-of-the-flag"), False) == (read.auth_token, read.is_token_made)


def test_a_ca_file_is_found_beside_the_configuration(tmp_path: Path) -> None:
    """A path in the file is relative to it; `--ca` is for connectors without one, and for the application."""
    ca = trustme.CA()
    for name in ("own.pem", "flag.pem"):
        ca.cert_pem.write_to_path(tmp_path / name)
    text = LEAST + 'ca_file = "own.pem"\n'

    read = load_configuration(
        written(tmp_path, text), connectors=["B=https://localhost/,u,p"], ca_file=tmp_path / "flag.pem"
    )

    assert [str(tmp_path / "own.pem"), str(tmp_path / "flag.pem")] == [one.ca_file for one in read.connectors.values()]
    assert str(tmp_path / "flag.pem") == read.ca_file


# --- One connector as a flag -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Shop=https://a.example/pay,ann,pw", ("Shop", "https://a.example/pay", "ann", "pw", Mode.TEST)),
        ("https://a.example/?x=1,ann,pw", ("Default", "https://a.example/?x=1", "ann", "pw", Mode.TEST)),
        ("Shop=https://a.example/?x=1,ann,pw", ("Shop", "https://a.example/?x=1", "ann", "pw", Mode.TEST)),
        ("S=https://a.example/,ann,p,w,=;", ("S", "https://a.example/", "ann", "p,w,=;", Mode.TEST)),
        ("S=https://a.example/,ann,pw,LIVE", ("S", "https://a.example/", "ann", "pw", Mode.LIVE)),
        ("S=https://a.example/,ann,pw,TEST", ("S", "https://a.example/", "ann", "pw", Mode.TEST)),
        ("S=https://a.example/,ann,pw,live", ("S", "https://a.example/", "ann", "pw,live", Mode.TEST)),
        ("S=http://a.example/,ann,pw", ("S", "http://a.example/", "ann", "pw", Mode.TEST)),
        ("S=http://localhost:80/,ann,pw,LIVE", ("S", "http://localhost:80/", "ann", "pw", Mode.LIVE)),
        ("S=http://127.0.0.9/,ann,pw,LIVE", ("S", "http://127.0.0.9/", "ann", "pw", Mode.LIVE)),
        ("S=http://[::1]:80/,ann,pw,LIVE", ("S", "http://[::1]:80/", "ann", "pw", Mode.LIVE)),
    ],
)
def test_a_connector_as_a_flag(text: str, parts: tuple[str, str, str, str, Mode]) -> None:
    """Name, URL, username, and all the rest is the password, but for the mode."""
    name, url, username, password, mode = parts
    expected = PayConnector(unique_name=name, url=url, username=username, password=Secret(password), mode=mode)

    assert expected == read_connector(text)


URL_WANTED = "this is no URL of an endpoint: give one such as https://localhost:8443/"
WHOLE_WANTED = "not all is there: give NAME=URL,USERNAME,PASSWORD"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", WHOLE_WANTED),
        ("Shop", WHOLE_WANTED),
        (f"Shop=https://a.example/,{PASSWORD}", WHOLE_WANTED),
        (f"Shop=https://a.example/,,{PASSWORD}", WHOLE_WANTED),
        ("Shop=https://a.example/,ann,", WHOLE_WANTED),
        (f"Shop=,ann,{PASSWORD}", WHOLE_WANTED),
        (f"Shop=a.example,ann,{PASSWORD}", URL_WANTED),
        (f"Shop=ftp://a.example/,ann,{PASSWORD}", URL_WANTED),
        (f"Shop=https://,ann,{PASSWORD}", URL_WANTED),
        (f"Shop=https://[a/,ann,{PASSWORD}", URL_WANTED),
        (f"Shop=https://a:b/,ann,{PASSWORD}", URL_WANTED),
        (f"Shop=https://a:0/,ann,{PASSWORD}", URL_WANTED),
        (f"Shop=https://a b/,ann,{PASSWORD}", URL_WANTED),
        (f"Shop=https://{'a' * 64}\u00e4.example/,ann,{PASSWORD}", URL_WANTED),
        (f"Shop=https://a\x1b/,ann,{PASSWORD}", URL_WANTED),
        (f"Shop=https://ann:{PASSWORD}@a.example/,ann,x", "credentials do not belong in the URL"),
        (f"Shop=https://a.example/,a:b,{PASSWORD}", "a username cannot hold a colon"),
        (f"My Shop=https://a.example/,ann,{PASSWORD}", "this is no unique name"),
        (f"=https://a.example/,ann,{PASSWORD}", "this is no unique name"),
        (f"Shop=http://a.example/,ann,{PASSWORD},LIVE", "a live connector carries cards, over https:// only"),
    ],
)
def test_what_is_no_connector_is_told_without_its_password(text: str, why: str) -> None:
    """What is wrong and what to give, never what was given."""
    with pytest.raises(BadConfigurationError) as caught:
        read_connector(text)

    assert str(caught.value).startswith(f"--connector: {why}")
    assert PASSWORD not in str(caught.value) + repr(caught.value)
    assert caught.value.__cause__ is None


def test_two_of_one_name() -> None:
    """Nobody could tell which of the two is meant."""
    with pytest.raises(BadConfigurationError, match="--connector: there are two connectors A: give each a name of its"):
        load_configuration(connectors=["A=https://a/,u,p", "A=https://b/,u,p"])


# --- Files that cannot be used ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[connector]\n", " is not TOML (at line 1, column 12): mend it there"),
        (f"password = {PASSWORD}", " is not TOML (at line 1, column 12): mend it there"),
        ("[[conector]]", ": conector is no key of this file: known here are account, connector, switches"),
        (LEAST + "passwort = 1", ": connector[1].passwort is no key of this file: known here are unique_name, url, "),
        ("[account]\nSID = 1", ": account.SID is no key of this file: known here are sid, auth_token"),
        ('[account]\nsid = "AC1"', ": account.sid must be AC and 32 hexadecimal digits in lower case: leave it out"),
        ('[account]\nauth_token = ""', ": account.auth_token: "),
        ('[[connector]]\nusername = "a"\npassword = "b"', ": connector[1].url is missing: give it a value"),
        (LEAST + LEAST, ": there are two connectors Default: give each a name of its own"),
        (LEAST + 'mode = "prod"', ": connector[1].mode: Input should be 'test' or 'live'"),
        (LEAST + 'payment_methods = ["cash"]', ": connector[1].payment_methods[1]: Input should be 'credit-card' or"),
        (LEAST.replace('"swordfish-0815"', "815"), ": connector[1].password: Input should be a valid string"),
        (LEAST.replace("https://localhost/", "localhost"), f": connector[1]: {URL_WANTED}"),
        (LEAST + 'ca_file = "none.pem"', None),
        ("[switches]\nretry = 1", ": switches: there is no switch retry: did you mean retry_on? "),
        ("[switches]\nretries = 99", ": switches: retries: Input should be less than or equal to 20: "),
        ('connector = "https://localhost"', ": connector: "),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path: Path, text: str, why: str | None) -> None:
    """The key, what is wrong with it and what to do, and never the password that stands beside it."""
    told = refused(tmp_path, text)

    assert told.startswith(why or "connector Default: ca_file: ")
    assert PASSWORD not in told


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "cannot be read (No such file or directory): give the path"), (b"\xff", "is not UTF-8: save it as UTF-8")],
)
def test_what_is_no_file_is_told(tmp_path: Path, content: bytes | None, why: str) -> None:
    """With its path."""
    path = tmp_path / "twilio.toml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(BadConfigurationError, match=re.escape(f"{path} {why}")):
        load_configuration(path)


@pytest.mark.parametrize(("content", "why"), [("no PEM", "it holds no certificate"), (None, "No such file")])
def test_what_is_no_ca_file_is_told(tmp_path: Path, content: str | None, why: str) -> None:
    """Before a connection fails because of it."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)

    with pytest.raises(BadConfigurationError, match=f"--ca: .*{why}.*: give a PEM file of authorities"):
        load_configuration(ca_file=path)


def test_nothing_shows_the_secrets(tmp_path: Path) -> None:
    """Not the configuration, not its connectors; the control: they are there."""
    read = load_configuration(written(tmp_path, WHOLE))

    assert PASSWORD not in repr(read)
    assert "token-of-the-file" not in repr(read)
    assert PASSWORD == read.connectors["Shop"].password.reveal()


# --- Switches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", switch_rows(), ids=lambda row: row.name)
def test_every_choice_of_every_switch_can_be_typed(row: object) -> None:
    """As text, as on the command line; what is set is what was typed."""
    name, default, choices = row.name, row.default, row.choices  # type: ignore[attr-defined]

    for text in choices or [str(default)]:
        (value,) = [getattr(load_configuration(switches=[f"{name}={text}"]).switches, name)]
        assert text == (str(value).lower() if isinstance(value, bool) else str(value))


def test_the_rows_are_the_switches() -> None:
    """All of them, with default, choices and meaning."""
    rows = {row.name: row for row in switch_rows()}

    assert list(Switches.model_fields) == list(rows)
    assert (10.0, None) == (rows["timeout_s"].default, rows["timeout_s"].choices)
    assert ["1", "2", "3"] == rows["default_max_attempts"].choices
    assert ["true", "false"] == rows["test_numbers_pass"].choices
    assert ["none", "application/json", "text/plain"] == rows["content_type"].choices
    assert all(row.meaning for row in rows.values())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("retries", "--switch: not a choice: give NAME=VALUE, such as retries=0"),
        ("retris=1", "--switch: there is no switch retris: did you mean retries? "),
        ("xyzzy=1", "--switch: there is no switch xyzzy: `generic-connector twilio switches` lists them"),
        ("retries=many", "--switch: retries: Input should be a valid integer"),
        ("retries=-1", "--switch: retries: Input should be greater than or equal to 0"),
        ("timeout_s=0", "--switch: timeout_s: Input should be greater than 0"),
        ("timeout_s=nan", "--switch: timeout_s: "),
        ("content_type=xml", "--switch: content_type: Input should be 'none', 'application/json' or 'text/plain'"),
        ("test_numbers_pass=maybe", "--switch: test_numbers_pass: Input should be a valid boolean"),
        ("default_max_attempts=4", "--switch: default_max_attempts: Input should be 1, 2 or 3"),
    ],
)
def test_a_switch_that_cannot_be_set_is_told(text: str, why: str) -> None:
    """The name, what it takes, and where all are listed."""
    with pytest.raises(BadConfigurationError) as caught:
        load_configuration(switches=[text])

    assert str(caught.value).startswith(why)


def test_switches_change_from_what_they_were() -> None:
    """For one call, on top of what is configured; typed values and texts alike."""
    configured = Switches(retries=2)

    changed = switched(configured, {"timeout_s": 1, "commercial_savings": "yes", "card_mask": "dashed"})

    assert changed == Switches(retries=2, timeout_s=1.0, commercial_savings=True, card_mask="dashed")
    assert configured == Switches(retries=2)
