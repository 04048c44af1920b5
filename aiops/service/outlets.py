"""The outlets that settings name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from aiops.connectors.alertmanager import AlertmanagerOutlet
from aiops.connectors.mqtt_commands import Broker, MqttOutlet
from aiops.connectors.telling.addresses import Egress
from aiops.connectors.telling.signing import Signer
from aiops.connectors.webhook import WebhookOutlet
from aiops.engine.ports import Outlet
from aiops.errors import FileError, SettingsError
from aiops.service.settings import Alertmanager, MqttCommands, Settings, Webhook

SOURCE = "/aiops"
"""Who we are, in CloudEvents."""


def make_outlets(settings: Settings, signer: Path) -> list[Outlet]:
    """Return the outlets, with the key at `signer` for what must be signed.

    Raises
    ------
    SettingsError
        An address must not be called, or a secret or certificate is none.
    FileError
        A file of a secret cannot be read. Both say which of them it is.
    """
    allowed = settings.egress
    egress = Egress(allowed.hosts, allowed.networks, allowed.plain_http)
    makes: list[tuple[str, Callable[[], Outlet]]] = [
        *((f"webhook {one.name}", partial(_webhook, one, egress)) for one in settings.webhook),
        *(
            (f"alertmanager {one.name}", partial(_alertmanager, one, egress))
            for one in settings.alertmanager
        ),
        *(
            (f"mqtt_commands {one.name}", partial(_commands, one, signer))
            for one in settings.mqtt_commands
        ),
    ]
    outlets = []
    for name, make in makes:
        try:
            outlets.append(make())
        except SettingsError as error:
            raise SettingsError(f"{name}: {error}") from error
        except FileError as error:
            raise FileError(f"{name}: {error}") from error
    return outlets


def secret_of(path: Path | None) -> str:
    """Return what a file of a secret holds; None: nothing."""
    if path is None:
        return ""
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"the secret in {path} cannot be read: {error}") from error


def _webhook(one: Webhook, egress: Egress) -> Outlet:
    return WebhookOutlet(
        one.url,
        secret_of(one.secret_file),
        source=SOURCE,
        egress=egress,
        name=one.name,
        kinds=one.kinds,
        ca_file=one.ca,
    )


def _alertmanager(one: Alertmanager, egress: Egress) -> Outlet:
    return AlertmanagerOutlet(
        one.urls, egress=egress, repeat_s=one.repeat_s, name=one.name, ca_file=one.ca
    )


def _commands(one: MqttCommands, signer: Path) -> Outlet:
    return MqttOutlet(
        _broker(one),
        Signer.at(signer),
        source=SOURCE,
        command_topic=f"{one.prefix}/command",
        event_topic=f"{one.prefix}/event",
        name=one.name,
        kinds=one.kinds,
    )


def _broker(one: MqttCommands) -> Broker:
    return Broker(
        one.host,
        one.port,
        ca_file=one.ca,
        cert_file=one.cert,
        key_file=one.key,
        username=one.username,
        password=secret_of(one.password_file),
        plain=not one.tls,
        client_id=one.client_id,
    )
