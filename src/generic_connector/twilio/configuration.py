"""Configuration: the simulated account, its Pay Connectors and the switches, from a TOML file and from flags.

    [account]
    sid = "ACfacadefacadefacadefacadefacadead"       # any; this one where none is given
    auth_token = "..."                               # signs callbacks, opens the REST API; made up where none is given

    [[connector]]
    unique_name = "Default"
    url = "https://localhost:8443/"
    username = "..."
    password = "..."
    mode = "test"                                    # or "live"
    ca_file = "certs/ca.pem"                         # trusted beside the system's; relative to this file

    [switches]
    content_type = "application/json"

A flag wins over the file: `--connector NAME=URL,USERNAME,PASSWORD` replaces the connector of that name, and
`--switch NAME=VALUE` one switch. A flag is read by others on the same machine, in the list of processes: what must stay
secret belongs in the file.

Give the account a token of its own, never that of a real one: who can make the simulator sign what he likes could pose
as Twilio before an application that trusts the same token.

An endpoint is `https://`, or `http://` where no card of anybody's can be overheard: on this machine, or in test mode,
which lets nothing but published test numbers through.

What cannot be used is told with its key, what is wrong with it, and what to do. No value is repeated, for it may be a
password.
"""

import difflib
import ipaddress
import re
import secrets
import ssl
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from generic_connector.instance import Mode, is_unique_name
from generic_connector.secret import Secret
from generic_connector.twilio.pay_connector import DEFAULT_NAME, PayConnector, PaymentMethod, TokenType
from generic_connector.twilio.switches import Switches

ACCOUNT_SID: Final = "ACfacadefacadefacadefacadefacadead"
"""The account where none is given. No digits: nothing in it can look like a card number."""

_HEX_LETTERS = "abcdef"
_TOKEN_CHARS = 32
_CONNECTOR = "NAME=URL,USERNAME,PASSWORD"
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_SEE_SWITCHES = "`generic-connector twilio switches` lists them"


class BadConfigurationError(Exception):
    """Something cannot be used. Says what, why, and what to do, and quotes no value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What the simulator runs with. `is_token_made` tells that nobody gave the auth token, so that nobody knows it."""

    account_sid: str
    auth_token: Secret
    is_token_made: bool
    connectors: Mapping[str, PayConnector]
    switches: Switches
    ca_file: str | None = None
    """A PEM file of authorities to trust beside the system's: for the application, and for who has none of its own."""


@dataclass(frozen=True, slots=True)
class SwitchRow:
    """A switch, for people: `choices` None where it is a number or a text."""

    name: str
    default: bool | float | str
    choices: Sequence[str] | None
    meaning: str


# --- The file --------------------------------------------------------------------------------------------------------


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class _Account(_Section):
    sid: Annotated[str, Field(pattern="^AC[0-9a-f]{32}$")] = ACCOUNT_SID
    auth_token: Annotated[SecretStr, Field(min_length=1)] | None = None


class _Connector(_Section):
    """A connector as the file has it. Named as in `PayConnector`."""

    unique_name: str = DEFAULT_NAME
    url: str
    username: Annotated[str, Field(min_length=1)]
    password: Annotated[SecretStr, Field(min_length=1)]
    mode: Mode = Mode.TEST
    is_approved: bool = True
    is_authorized: bool = True
    charges: bool = True
    tokenizes: bool = True
    payment_methods: frozenset[PaymentMethod] = frozenset(PaymentMethod)
    token_types: frozenset[TokenType] = frozenset({TokenType.ONE_TIME, TokenType.REUSABLE})
    currencies: frozenset[str] | None = None
    needs_avs_name: bool = False
    required_parameters: frozenset[str] = frozenset()
    ca_file: str | None = None

    def made(self, directory: Path) -> PayConnector:
        """Return the connector. Paths are relative to `directory`."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        currencies = None if self.currencies is None else frozenset(each.upper() for each in self.currencies)
        ca_file = None if self.ca_file is None else str(directory / self.ca_file)
        password = Secret(self.password.get_secret_value())
        return PayConnector(**{**fields, "password": password, "currencies": currencies, "ca_file": ca_file})


class _File(_Section):
    account: _Account = _Account()
    connector: Sequence[_Connector] = ()
    switches: Mapping[str, object] = {}


# --- Reading ---------------------------------------------------------------------------------------------------------


def load_configuration(
    file: Path | None = None,
    *,
    connectors: Iterable[str] = (),
    switches: Iterable[str] = (),
    auth_token: str | None = None,
    ca_file: Path | None = None,
    new_token: Callable[[], str] | None = None,
) -> Configuration:
    """Return the configuration of a file and of flags, which win. Raises `BadConfigurationError`.

    `ca_file` is trusted for each connector that names none of its own.
    """
    read = _File() if file is None else _read_file(file)
    found = {} if file is None else _connectors_of(file, read.connector)
    given = [read_connector(text) for text in connectors]
    _refuse_twins([one.unique_name for one in given], "--connector")
    found.update({one.unique_name: one for one in given})
    if ca_file is not None:
        found = {name: replace(one, ca_file=one.ca_file or str(ca_file)) for name, one in found.items()}
        _check_ca_file(str(ca_file), "--ca")
    for one in found.values():
        if one.ca_file is not None:
            _check_ca_file(one.ca_file, f"connector {one.unique_name}: ca_file")
    token = auth_token or (read.account.auth_token.get_secret_value() if read.account.auth_token else None)
    chosen = switched(Switches(), read.switches, f"{file}: switches")
    return Configuration(
        account_sid=read.account.sid,
        auth_token=Secret(token or (new_token or new_auth_token)()),
        is_token_made=not token,
        connectors=found,
        switches=switched(chosen, dict(map(read_switch, switches)), "--switch"),
        ca_file=None if ca_file is None else str(ca_file),
    )


def new_auth_token() -> str:
    """Return a token of Twilio's length, of letters alone: 82 random bits."""
    return "".join(secrets.choice(_HEX_LETTERS) for _ in range(_TOKEN_CHARS))


def _read_file(file: Path) -> _File:
    try:
        read = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        # Only the place: the rest of the message may quote what stands there.
        place = re.search(r"at line [0-9]+, column [0-9]+", str(error))
        raise BadConfigurationError(f"{file} is not TOML{f' ({place[0]})' if place else ''}: mend it there") from None
    except UnicodeDecodeError:
        raise BadConfigurationError(f"{file} is not UTF-8: save it as UTF-8") from None
    except OSError as error:
        raise BadConfigurationError(f"{file} cannot be read ({error.strerror}): give the path of a TOML file") from None
    try:
        return _File.model_validate(read)
    except ValidationError as error:
        raise BadConfigurationError(f"{file}: {_faults(error)}") from None


def _faults(error: ValidationError) -> str:
    """Return what is wrong, key by key, without a value."""
    faults = []
    for fault in error.errors(include_input=False, include_url=False, include_context=False):
        # Sections of a list are counted from 1, as people do.
        keys = ".".join(f"[{key + 1}]" if isinstance(key, int) else str(key) for key in fault["loc"]).replace(".[", "[")
        known = _keys_beside(fault["loc"])
        match fault["type"]:
            case "extra_forbidden":
                faults.append(f"{keys} is no key of this file: known here are {', '.join(known)}")
            case "missing":
                faults.append(f"{keys} is missing: give it a value")
            case "string_pattern_mismatch":
                faults.append(
                    f"{keys} must be AC and 32 hexadecimal digits in lower case: leave it out for {ACCOUNT_SID}"
                )
            case _:
                faults.append(f"{keys}: {fault['msg']}")
    return "; ".join(faults)


def _keys_beside(place: tuple[int | str, ...]) -> Sequence[str]:
    """Return the keys that are known where this one stands."""
    sections: Mapping[str | int, type[_Section]] = {"account": _Account, "connector": _Connector}
    section = sections.get(place[0], _File) if len(place) > 1 else _File
    return list(section.model_fields)


# --- Connectors ------------------------------------------------------------------------------------------------------


def _connectors_of(file: Path, sections: Sequence[_Connector]) -> dict[str, PayConnector]:
    made = [section.made(file.parent) for section in sections]
    _refuse_twins([one.unique_name for one in made], str(file))
    for number, one in enumerate(made, start=1):
        _check_connector(one, f"{file}: connector[{number}]")
    return {one.unique_name: one for one in made}


def read_connector(text: str) -> PayConnector:
    """Return the connector that `NAME=URL,USERNAME,PASSWORD` describes. Raises `BadConfigurationError`.

    Without `NAME=` it is `Default`. What follows the second comma is the password, commas included. A last `,LIVE` or
    `,TEST` in capitals chooses the mode, and is no part of the password.
    """
    name, mark, rest = text.partition("=")
    if not mark or "://" in name:
        name, rest = DEFAULT_NAME, text
    url, _comma, credentials = rest.partition(",")
    username, _comma, password = credentials.partition(",")
    mode = Mode.TEST
    for one in Mode:
        if password.endswith(f",{one.upper()}"):
            password, mode = password.removesuffix(f",{one.upper()}"), one
    if not (url and username and password):
        raise BadConfigurationError(f"--connector: not all is there: give {_CONNECTOR}")
    made = PayConnector(unique_name=name, url=url, username=username, password=Secret(password), mode=mode)
    _check_connector(made, "--connector")
    return made


def _check_connector(one: PayConnector, where: str) -> None:
    if not is_unique_name(one.unique_name):
        raise BadConfigurationError(
            f"{where}: this is no unique name: give a letter or digit, then letters, digits, `_`, `.` and `-`"
        )
    if ":" in one.username:
        raise BadConfigurationError(f"{where}: a username cannot hold a colon: choose one without")
    parts = _parts(one.url)
    if parts is None:
        raise BadConfigurationError(f"{where}: this is no URL of an endpoint: give one such as https://localhost:8443/")
    if parts.username is not None or parts.password is not None:
        raise BadConfigurationError(f"{where}: credentials do not belong in the URL: give {_CONNECTOR}")
    if parts.scheme == "http" and one.mode is Mode.LIVE and not _is_this_machine(parts.hostname or ""):
        raise BadConfigurationError(
            f"{where}: a live connector carries cards, over https:// only: give such a URL, or mode test"
        )


def _parts(url: str) -> SplitResult | None:
    """Return the parts of a URL of the web, or None where it is none, also for the client that will ask it."""
    import httpx  # noqa: PLC0415 - takes a while to import, and is needed only where there are connectors

    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        is_one = is_one and bool(httpx.URL(url).host)
    except (ValueError, httpx.InvalidURL):  # brackets, a port or a host that are none
        return None
    return parts if is_one and url.isprintable() and " " not in url else None


def _check_ca_file(path: str, where: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:  # an SSLError is an OSError
        why = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise BadConfigurationError(f"{where}: {path} cannot be used ({why}): give a PEM file of authorities") from None


def _refuse_twins(names: Sequence[str], where: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise BadConfigurationError(f"{where}: there are two connectors {name}: give each a name of its own")


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# --- Switches --------------------------------------------------------------------------------------------------------


def read_switch(text: str) -> tuple[str, str]:
    """Return name and value of `NAME=VALUE`. Raises `BadConfigurationError`."""
    name, mark, value = text.partition("=")
    if not mark:
        raise BadConfigurationError("--switch: not a choice: give NAME=VALUE, such as retries=0")
    return name.strip().replace("-", "_"), value.strip()


def switched(switches: Switches, values: Mapping[str, object], where: str = "switches") -> Switches:
    """Return the switches with some of them changed; a value may be text. Raises `BadConfigurationError`."""
    fields = Switches.model_fields
    for name in values:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise BadConfigurationError(f"{where}: there is no switch {name}: {hint}{_SEE_SWITCHES}")
    typed = {name: _typed(name, value) for name, value in values.items()}
    try:
        return Switches.model_validate({**switches.model_dump(), **typed})
    except ValidationError as error:
        (fault, *_others) = error.errors(include_input=False, include_url=False, include_context=False)
        name = str(fault["loc"][0])
        raise BadConfigurationError(f"{where}: {name}: {fault['msg']}: {_SEE_SWITCHES}") from None


def _typed(name: str, value: object) -> object:
    """Return a text as what the switch takes, and everything else as it is."""
    default = Switches.model_fields[name].default
    if not isinstance(value, str) or isinstance(default, str):
        return value
    if isinstance(default, bool):
        return _BOOLEANS.get(value.lower(), value)
    try:
        return type(default)(value)
    except ValueError:
        return value


def switch_rows() -> Sequence[SwitchRow]:
    """Return every switch in the order of the module: what is sent, `<Pay>`, the Payments API."""
    return [
        SwitchRow(name, field.default, _choices(field.annotation), field.description or "")
        for name, field in Switches.model_fields.items()
    ]


def _choices(annotation: Any) -> Sequence[str] | None:  # noqa: ANN401 - a type, whatever it is
    if annotation is bool:
        return ["true", "false"]
    return [str(choice) for choice in get_args(annotation)] if get_origin(annotation) is Literal else None
