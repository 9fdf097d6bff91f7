"""Settings: what an operator may choose, from `config.toml` in the home and from the environment.

Every setting is also `GENERIC_CONNECTOR_<NAME>`; the environment wins. Durations are seconds. An error names
the setting and what is wrong with it, and never repeats the value: a database URL holds a password.
"""

import tomllib
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

CONFIG_FILE = "config.toml"
ENV_PREFIX = "GENERIC_CONNECTOR_"

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class BadSettingsError(Exception):
    """A setting cannot be used. Names it, and quotes nothing."""


class Settings(BaseSettings):
    """The settings, with their defaults."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_default=True,
        cache_strings="none",
    )

    database: str = Field(
        "sqlite:ledger.db", description="Where ledger and vault are: `sqlite:` and a path in the home."
    )
    kek: str = Field("file:kek", description="Who keeps the key-encrypting key: `file:` and a path in the home.")
    processor_timeout: Seconds = Field(45, description="How long a purchase may take before it is looked up.")
    look_up_timeout: Seconds = Field(5, description="How long a look-up may take.")
    drain_timeout: Seconds = Field(20, description="How long SIGTERM waits for what is in flight.")
    body_timeout: Seconds = Field(10, description="How long a request's body may take to arrive.")
    keep_alive: Seconds = Field(75, description="How long an idle connection is kept.")
    payments_at_once: Count = Field(1000, description="How many new payments may be at work at once.")
    refused_burst: Count = Field(20, description="How many refused credentials one address has before it is throttled.")
    refused_per_second: Count = Field(5, description="How many more it gets each second.")
    reconcile_every: Seconds = Field(60, description="How often unsettled payments are looked up.")
    trusted_proxies: str = Field("", description="Addresses whose X-Forwarded-For is believed, separated by commas.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least that is logged.")
    processors: dict[str, dict[str, str]] = Field(
        default_factory=dict, description="Processors by name: `use` names the entry point, the rest are its options."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the file."""
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls))


def load_settings(home: Path) -> Settings:
    """Return the settings of a home. Raises `BadSettingsError`."""

    class OfThisHome(Settings):
        model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(toml_file=home / CONFIG_FILE)

    try:
        return OfThisHome()
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise BadSettingsError(f"{home / CONFIG_FILE} or a {ENV_PREFIX} variable: {wrong}") from None
    except SettingsError:
        raise BadSettingsError(f"a {ENV_PREFIX} variable that must hold JSON does not: see PROCESSORS") from None
    except PermissionError:
        raise BadSettingsError(f"{home / CONFIG_FILE} may not be read by this user: run this as its owner") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettingsError(f"{home / CONFIG_FILE} is not TOML: {type(error).__name__}") from None


def written_setting(home: Path, name: str) -> str:
    """Return what a setting that is a text is where the environment says nothing: as it is written, or its default."""
    path = home / CONFIG_FILE
    written = tomllib.loads(path.read_text()) if path.exists() else {}
    return str(written.get(name, Settings.model_fields[name].default))


def default_config() -> str:
    """Return the text of a new `config.toml`: every setting with its default, commented out."""
    lines = [
        "# Settings of this installation. Each is also an environment variable, GENERIC_CONNECTOR_<NAME>, which wins.",
        "# Durations are seconds. What is commented out is the default.",
    ]
    for name, field in Settings.model_fields.items():
        if name == "processors":
            continue
        value = f'"{field.default}"' if isinstance(field.default, str) else field.default
        lines += ["", f"# {field.description}", f"# {name} = {value}"]
    lines += [
        "",
        "# A processor of your own, for `instance add --processor acme`:",
        "# [processors.acme]",
        '# use = "acme"',
    ]
    return "\n".join(lines) + "\n"
