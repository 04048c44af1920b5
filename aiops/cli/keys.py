"""`aiops keys`: who may speak to the service, what they may do, and for which devices."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from aiops.cli.app import STYLE
from aiops.cli.console import command, console, day, emit_json, say, show_table, table
from aiops.errors import SettingsError
from aiops.service.keys import Credential, KeyStore
from aiops.service.roles import Role, roles_of

keys = typer.Typer(add_completion=False, no_args_is_help=True, **STYLE)

DURATION = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}
"""Letter -> seconds."""
LONGEST_S = 100 * DURATION["y"]

Data = Annotated[Path, typer.Option(help="The service's data directory.", metavar="DIR")]
Json = Annotated[bool, typer.Option("--json", help="Print the record itself.")]


@keys.callback()
def options() -> None:
    """Say who may speak to the service, what they may do, and for which devices.

    A running service heeds every change within a second.
    """


@keys.command()
def make(
    label: Annotated[str, typer.Argument(help="Whose it is, in words.", metavar="LABEL")],
    role: Annotated[
        list[str], typer.Option(help=f"May be given again: {', '.join(Role)}.", metavar="ROLE")
    ],
    device: Annotated[
        list[str] | None,
        typer.Option(
            help="Device it may write for: an id, or a pattern such as 'gw-*'. May be given again.",
            metavar="ID",
        ),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="How long it is good for: 12h, 90d, 1y.", metavar="TIME")
    ] = None,
    data: Data = Path("aiops-data"),
    as_json: Json = False,
) -> None:
    """Make a key and print its token, which is kept nowhere.

    The token alone goes to standard output, and what is said about it to standard error.
    """
    if Role.INGEST in roles_of(role) and not device:
        raise SettingsError(
            f"a key with the role {Role.INGEST} needs --device, an id or a pattern such as 'gw-*': "
            "it writes for those devices only"
        )
    lasts_s = None if expires is None else seconds(expires)
    token, made = store(data).make(label, role, device or (), lasts_s)
    if as_json:
        emit_json(record(made) | {"token": token})
        return
    aside = console(stderr=True)
    until = "until it is revoked" if made.expires is None else f"until {day(_moment(made.expires))}"
    writes = f" for {', '.join(made.devices)}" if made.devices else ""
    say(aside, f"Key {made.id}, {made.label}: {', '.join(sorted(made.roles))}{writes}, {until}.")
    say(aside, "Its token is shown this once. Send it as Authorization: Bearer TOKEN.")
    command(console(), token)


@keys.command(name="list")
def list_(data: Data = Path("aiops-data"), as_json: Json = False) -> None:
    """List all keys, with those that have expired or are revoked."""
    known = store(data).list()
    if as_json:
        emit_json([record(one) for one in known])
        return
    screen = console()
    if not known:
        say(screen, "There is no key yet. One for a gateway, for example:")
        command(screen, "aiops keys make 'gateway of hall 1' --role ingest --device gw-1", "  ")
    prose = ["label", "roles", "devices"]
    shown = table("keys", ["id", *prose, "made", "until", "state"], wrap=prose)
    for one in known:
        said = record(one)
        shown.add_row(
            one.id,
            one.label,
            ", ".join(said["roles"]),
            ", ".join(one.devices) or "-",
            day(said["created"]),
            day(said["expires"]),
            said["state"],
        )
    show_table(screen, shown)


@keys.command()
def revoke(
    id: Annotated[
        str | None, typer.Argument(help="Id of the key.", metavar="ID", show_default=False)
    ] = None,
    certificate: Annotated[
        str | None,
        typer.Option(
            help="Instead: serial number or SHA-256 fingerprint of a client certificate.",
            metavar="HEX",
        ),
    ] = None,
    data: Data = Path("aiops-data"),
) -> None:
    """Revoke a key, or a client certificate: it opens nothing any more."""
    if (id is None) == (certificate is None):
        raise SettingsError("name what to revoke: the ID of a key, or --certificate HEX")
    if id is not None:
        closed = store(data).revoke(id)
        said = f"Key {closed.id}, {closed.label}, is revoked"
    else:
        said = f"Certificate {store(data).revoke_certificate(certificate or '')} is revoked"
    say(console(), f"{said}: a running service refuses it within a second.")


@keys.command()
def certificate(
    name: Annotated[str, typer.Argument(help="Device, or with --server host.", metavar="NAME")],
    server: Annotated[
        bool, typer.Option("--server", help="For the service itself, not for a device.")
    ] = False,
    expires: Annotated[
        str, typer.Option(help="How long it is good for: 24h, 90d.", metavar="TIME")
    ] = "90d",
    out: Annotated[
        Path, typer.Option(help="Where certificate and key are written.", metavar="DIR")
    ] = Path("."),
    data: Data = Path("aiops-data"),
) -> None:
    """Issue a certificate, of an authority that the data directory holds.

    It is for beginning with mutual TLS: a device that shows its certificate needs no token, and
    writes for itself only. A large fleet has an authority of its own.
    """
    try:
        from aiops.service.authority import Authority, write_private
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"certificates need {error.name}: pip install 'aiops-edge[serve]'"
        ) from error
    lasts_s = seconds(expires)
    authority = Authority(data / "authority")
    issue = authority.for_server if server else authority.for_device
    made = issue(name, lasts_s)
    stem = quote(name, safe=" @+=,")
    written, key = out / f"{stem}.pem", out / f"{stem}.key"
    write_private(key, made.key)
    written.write_bytes(made.certificate)
    screen = console()
    say(screen, f"A certificate for {name}, until {made.until:%Y-%m-%d %H:%M} UTC:")
    for what, path in (
        ("certificate", written),
        ("key        ", key),
        ("authority  ", authority.certificate),
    ):
        command(screen, str(path), f"  {what}  ")
    say(screen, f"Revoke it by its serial number, {made.serial}.")


def store(data: Path) -> KeyStore:
    """Return the keys of a data directory."""
    return KeyStore(data / "keys.json")


def seconds(duration: str) -> int:
    """Return the seconds of "90d".

    Raises
    ------
    SettingsError
        It is no duration, or none that is of use.
    """
    match = re.fullmatch(r"([0-9]{1,12})([smhdwy])", duration.strip())
    found = int(match[1]) * DURATION[match[2]] if match else 0
    if not 0 < found <= LONGEST_S:
        raise SettingsError(
            f"--expires {duration!r}: give a number and one of s, m, h, d, w, y, such as 90d, "
            "at most 100y"
        )
    return found


def record(of: Credential) -> dict[str, Any]:
    """Return a credential as JSON has it."""
    state = "valid" if of.valid(time.time()) else "expired" if of.revoked is None else "revoked"
    return {
        "id": of.id,
        "label": of.label,
        "roles": sorted(of.roles),
        "devices": list(of.devices),
        "created": _moment(of.created),
        "expires": _moment(of.expires),
        "revoked": _moment(of.revoked),
        "state": state,
    }


def _moment(at_s: int | None) -> str | None:
    return None if at_s is None else f"{datetime.fromtimestamp(at_s, tz=UTC):%Y-%m-%dT%H:%M:%SZ}"
