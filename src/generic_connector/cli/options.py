"""Options: what many commands take, read the same way everywhere.

`--home` may stand on the program, on a group, or on the command; the one that stands last wins, then the
environment, then `./var`. Durations are a number and a unit (`30s 15m 12h 90d`); an age may also be calendar
months (`13M`).

What cannot be read is a usage error (exit status 2). It does not repeat the value: a card number may have
been pasted.
"""

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from generic_connector.administration import months_before
from generic_connector.home import HOME_VARIABLE, wall_clock

HOME_DEFAULT = "var"
PORT_MAX = 65_535
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([0-9]{1,6})([smhd])")
_MONTHS = re.compile(r"([0-9]{1,3})M")
_HOST_PORT = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]+)):([0-9]{1,5})")
_META = "generic_connector.home"

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def default_home() -> Path:
    """Return the home of who names none."""
    return Path(os.environ.get(HOME_VARIABLE) or HOME_DEFAULT)


def command(words: str, home: Path) -> str:
    """Return a command of ours as it is typed for this home."""
    named = "" if home == default_home() else f" --home {shlex.quote(str(home))}"
    return f"generic-connector {words}{named}"


def _home(context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path:
    if value is not None:
        context.meta[_META] = value
    chosen: Path | None = context.meta.get(_META)
    return chosen or default_home()


def _home_option(
    *,
    is_given_to_command: bool,
    told: str = f"The installation's directory. Else ${HOME_VARIABLE}, else ./{HOME_DEFAULT}.",
) -> Callable[[Decorated], Decorated]:
    return click.option(
        "--home",
        metavar="DIR",
        type=click.Path(readable=False, path_type=Path),  # what cannot be read is no usage error
        callback=_home,
        expose_value=is_given_to_command,
        help=told,
    )


home_option = _home_option(is_given_to_command=True)
"""`--home` on a command, which gets `home`."""

group_home_option = _home_option(is_given_to_command=False)
"""`--home` on a group, for the commands in it."""

unused_home_option = _home_option(
    is_given_to_command=False, told="Not used: this command makes a home of its own, and throws it away."
)
"""`--home` on a command that needs none. It is taken, since every command takes it."""


def is_home_named(context: click.Context) -> bool:
    """Whether some `--home` was typed."""
    return _META in context.meta


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
"""`--json`, as `as_json`."""


def example(*commands: str) -> str:
    """Return the end of a command's help: how it is typed, line by line."""
    return "\b\nExample:\n" + "\n".join(f"  generic-connector {command}" for command in commands)


class Duration(click.ParamType[int]):
    """A duration such as `90d`, in seconds."""

    name = "duration"

    def convert(self, value: object, parameter: click.Parameter | None, context: click.Context | None) -> int:
        """Return the seconds."""
        if isinstance(value, int):
            return value
        match = _DURATION.fullmatch(str(value))
        if match is None:
            self.fail("not a duration: give a number and a unit, such as 30s, 15m, 12h or 90d", parameter, context)
        return int(match[1]) * _SECONDS[match[2]]


def duration(seconds: int) -> str:
    """Return a duration as it is typed."""
    for unit, length_s in reversed(_SECONDS.items()):
        if seconds and seconds % length_s == 0:
            return f"{seconds // length_s}{unit}"
    return "0s"


class Age(click.ParamType[int]):
    """An age such as `13M` or `400d`, as the moment that lies so long ago, in milliseconds since 1970."""

    name = "age"

    def convert(self, value: object, parameter: click.Parameter | None, context: click.Context | None) -> int:
        """Return the moment."""
        if isinstance(value, int):
            return value
        months = _MONTHS.fullmatch(str(value))
        if months is not None:
            return months_before(wall_clock(), int(months[1]))
        days = _DURATION.fullmatch(str(value))
        if days is None:
            self.fail("not an age: give months or days, such as 13M or 400d", parameter, context)
        return max(0, wall_clock() - int(days[1]) * _SECONDS[days[2]] * 1000)


class HostPort(click.ParamType[tuple[str, int]]):
    """An address such as `127.0.0.1:9090` or `[::1]:9090`."""

    name = "host:port"

    def convert(
        self, value: object, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[str, int]:
        """Return host and port."""
        match = _HOST_PORT.fullmatch(str(value))
        if match is None or int(match[3]) > PORT_MAX:
            self.fail("not an address: give HOST:PORT, such as 127.0.0.1:9090", parameter, context)
        return match[1] or match[2], int(match[3])
