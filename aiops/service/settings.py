"""What `aiops serve` is told: a TOML file, then the environment, then the command line.

``AIOPS_LISTEN__PORT=9000`` sets ``port`` under ``[listen]``. Every bound has a default that is safe
for a small machine, and none can be switched off.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from aiops.actions.action import Kind
from aiops.errors import FileError, SettingsError
from aiops.telemetry.layout import NAMES
from aiops.telemetry.vocabulary import closest

MIB = 1 << 20
ENV = "AIOPS_"
MessageKind = Literal["finding", "incident", "action"]


class Section(BaseModel):
    """A table of the file; a name that nobody knows is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Listen(Section):
    """Where the service listens, and what makes that safe beyond this machine."""

    host: str = "127.0.0.1"
    port: int = Field(8470, ge=0, le=65535)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    """Whose certificates say who a device is."""
    behind_proxy: tuple[str, ...] = ()
    """Addresses of a proxy that does TLS in front."""
    allow: tuple[str, ...] = ()
    """Start checks that may fail, by name."""
    connections: int = Field(4096, ge=1)
    head_s: float = Field(5.0, gt=0)
    body_s: float = Field(30.0, gt=0)
    idle_s: float = Field(30.0, gt=0)

    @model_validator(mode="after")
    def _both(self) -> Listen:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together: give both, or neither")
        return self


class Engine(Section):
    """How telemetry is judged; see `aiops run --help`."""

    detectors: tuple[str, ...] = ()
    alarm_budget: float | None = Field(None, ge=1e-6, le=1e6)
    """Of all detectors together; none: the sum of what each has by itself."""
    watch: bool = True
    """Learn what is normal of every metric that arrives, also of those that nobody knows."""
    open_metrics_max: int = Field(200, ge=0)
    """Of those that nobody knows, so many."""
    epoch_s: int = Field(60, ge=1)
    lateness_s: int = Field(120, ge=0)
    columns: dict[str, str] = {}
    """Role -> column, where a guess is wrong."""

    @field_validator("columns")
    @classmethod
    def _roles(cls, given: dict[str, str]) -> dict[str, str]:
        for role in given:
            if role not in NAMES:
                raise ValueError(
                    f"no role {role!r}{closest(role, NAMES)}; roles: {', '.join(NAMES)}"
                )
        return given

    wear_prior: Path | None = None
    checkpoint_rows: int = Field(5_000_000, ge=1)
    checkpoint_s: float = Field(900.0, gt=0)
    """Save after so many rows, or so long, whichever is first."""


class Log(Section):
    """The durable log."""

    segment_bytes: int = Field(64 * MIB, ge=MIB)
    retain_bytes: int = Field(4096 * MIB, ge=64 * MIB)
    """What is older and judged is forgotten, a segment at a time."""
    group_bytes: int = Field(16 * MIB, ge=MIB)
    queue_bytes: int = Field(64 * MIB, ge=MIB)
    backlog_bytes: int = Field(1024 * MIB, ge=MIB)
    """Beyond so much that is not judged yet, senders are told to wait."""
    ballast_bytes: int = Field(16 * MIB, ge=0)
    shed_free_bytes: int = Field(1024 * MIB, ge=0)
    """With less room on the disk senders are told to wait..."""
    stop_free_bytes: int = Field(256 * MIB, ge=0)
    """...and with less than this nothing is taken."""


class Bounds(Section):
    """What one sender may ask for, and all of them together."""

    body_bytes: int = Field(8 * MIB, ge=1024)
    unpacked_bytes: int = Field(16 * MIB, ge=1024)
    in_flight_bytes: int = Field(64 * MIB, ge=MIB)
    """Bodies that are being read, decoded and written, unpacked."""
    device_rows_per_s: float = Field(1000.0, gt=0)
    device_burst_rows: int = Field(200_000, ge=1)
    """A device that comes back with its backlog may send so many at once."""
    devices: int = Field(200_000, ge=1)
    series_per_device: int = Field(1024, ge=1)
    series: int = Field(3_000_000, ge=1)
    metrics: int = Field(10_000, ge=1)
    """Distinct names of metrics."""
    memory_bytes: int = Field(4096 * MIB, ge=256 * MIB)
    """Holding more than this the service takes nothing until it holds less."""


class Broker(Section):
    """An MQTT broker."""

    host: str
    port: int = Field(8883, ge=1, le=65535)
    client_id: str = "aiops"
    username: str = ""
    password_file: Path | None = None
    tls: bool = True
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


class Mqtt(Broker):
    """A broker to listen to."""

    topics: tuple[str, ...] = ("fleet/+/metrics", "spBv1.0/#")


class Egress(Section):
    """Whom the service may call; nobody, until somebody is listed."""

    hosts: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    """Addresses that are not public and that a listed host may have."""
    plain_http: tuple[str, ...] = ()
    """Listed hosts that may be called without TLS."""


class Webhook(Section):
    """Somebody who is told by POST, as CloudEvents."""

    name: str = "webhook"
    url: str
    secret_file: Path
    """Holds ``whsec_`` and the secret shared with the receiver, in base64."""
    kinds: tuple[MessageKind, ...] = ("incident", "action")
    ca: Path | None = None


class Alertmanager(Section):
    """Alertmanagers of one cluster."""

    name: str = "alertmanager"
    urls: tuple[str, ...] = Field(min_length=1)
    repeat_s: float = Field(60.0, gt=0)
    ca: Path | None = None


class MqttCommands(Broker):
    """A broker to which approved actions are published."""

    name: str = "mqtt"
    client_id: str = "aiops-commands"
    prefix: str = "aiops"
    kinds: tuple[MessageKind, ...] = ("action",)


class Actions(Section):
    """What happens to an action that the guard allows."""

    automatic: tuple[Kind, ...] = ("notify",)
    """Kinds that need nobody's approval."""


class Settings(BaseSettings):
    """All of it."""

    model_config = SettingsConfigDict(
        env_prefix=ENV, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    data: Path = Path("aiops-data")
    inventory: Path | None = None
    listen: Listen = Listen()
    engine: Engine = Engine()
    log: Log = Log()
    bounds: Bounds = Bounds()
    actions: Actions = Actions()
    mqtt: tuple[Mqtt, ...] = ()
    egress: Egress = Egress()
    webhook: tuple[Webhook, ...] = ()
    alertmanager: tuple[Alertmanager, ...] = ()
    mqtt_commands: tuple[MqttCommands, ...] = ()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let what is given win over the environment, and that over the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def read_settings(path: Path | None = None, **given: Any) -> Settings:
    """Return the settings of a TOML file (None: none), the environment and what is `given`.

    Raises
    ------
    FileError
        The file cannot be read, or is no TOML.
    SettingsError
        A name nobody knows, or a value out of range; the message names each.
    """
    if path is not None:
        try:
            tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            raise FileError(f"settings {path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise FileError(f"settings {path} is no TOML: {error}") from error

    known = {f"{ENV}{name}".upper() for name in Settings.model_fields}
    for name in sorted(os.environ):
        section = name.upper().partition("__")[0]
        if name.upper().startswith(ENV) and "__" in name and section not in known:
            raise SettingsError(
                f"the environment sets {name}, and there are no settings "
                f"{section.removeprefix(ENV).lower()!r}{closest(section, known)}"
            )

    class OfFile(Settings):
        model_config = SettingsConfigDict(toml_file=path)

    try:
        return OfFile(**given)
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']} (found {one['input']!r})"
            for one in error.errors()
        )
        raise SettingsError(f"{path or 'settings'}: {told}") from error
