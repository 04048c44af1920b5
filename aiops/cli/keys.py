"""`aiops keys`: who may speak to the service, what they may do, and for which devices."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from aiops.cli.app import STYLE
from aiops.cli.console import command, console, day, emit_json, say, show_table, table
from aiops.errors import SettingsError
from aiops.service.keys import Credential, KeyStore
from aiops.service.roles import Role, roles_of

if TYPE_CHECKING:
    from aiops.service.authority import Entry

keys = typer.Typer(add_completion=False, no_args_is_help=True, **STYLE)

DURATION = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}
"""Letter -> seconds."""
AUTHORITY = "authority"
"""Folder of the data directory that holds the authority."""
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
def list_(
    certificates: Annotated[
        bool, typer.Option("--certificates", help="Only certificates; with --json: theirs.")
    ] = False,
    data: Data = Path("aiops-data"),
    as_json: Json = False,
) -> None:
    """List all keys and certificates, with those that have expired or are revoked.

    Certificates are those that the data directory's own authority has issued.
    """
    of = store(data)
    issued = certificates_of(data) if certificates or not as_json else []
    known = [] if certificates else of.list()
    if as_json:
        emit_json(issued if certificates else [record(one) for one in known])
        return
    screen = console()
    if not known and not certificates:
        say(screen, "There is no key yet. One for a gateway, for example:")
        command(screen, "aiops keys make 'gateway of hall 1' --role ingest --device gw-1", "  ")
    if not issued and certificates:
        say(screen, "No certificate was issued yet. One for a gateway, for example:")
        command(screen, "aiops keys certificate gw-1", "  ")
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
    shown = table("certificates", ["serial", "name", "of", "until", "state"], wrap=["name"])
    for told in issued:
        shown.add_row(told["serial"], told["name"], told["of"], day(told["until"]), told["state"])
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
    renew: Annotated[
        bool,
        typer.Option("--renew", help="Also if there is one already; that stays good as long."),
    ] = False,
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
    if re.search(r"[*?\[]", name):
        raise SettingsError(
            f"a certificate is of one device, and {name!r} is a pattern; a key may have one: "
            f"aiops keys make LABEL --role ingest --device '{name}'"
        )
    lasts_s = seconds(expires)
    stem = quote(name, safe=" @+=,")
    written, key = out / f"{stem}.pem", out / f"{stem}.key"
    before = _good_still(data, name, server, written)
    if before and not renew:
        raise SettingsError(
            f"{name} has a certificate, serial number {before.serial}, good until "
            f"{before.until:%Y-%m-%d %H:%M} UTC; --renew issues another"
        )
    authority = Authority(data / AUTHORITY)
    issue = authority.for_server if server else authority.for_device
    made = issue(name, lasts_s)
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
    if before:
        say(
            screen,
            f"The one before, serial number {before.serial}, is good until "
            f"{before.until:%Y-%m-%d %H:%M} UTC all the same, unless it is revoked.",
        )
    say(screen, f"Revoke it by its serial number, {made.serial}.")


def certificates_of(data: Path) -> list[dict[str, Any]]:
    """Return what the authority of a data directory has issued, as JSON has it."""
    if not (data / AUTHORITY).is_dir():
        return []
    from aiops.service.authority import issued

    now, of = datetime.now(UTC), store(data)
    return [
        {
            "serial": one.serial,
            "name": one.name,
            "of": "host" if one.server else "device",
            "until": f"{one.until:%Y-%m-%dT%H:%M:%SZ}",
            "state": "revoked"
            if of.revoked_certificate(one.serial)
            else "valid"
            if now < one.until
            else "expired",
        }
        for one in issued(data / AUTHORITY)
    ]


def _good_still(data: Path, name: str, server: bool, written: Path) -> Entry | None:
    """Return the certificate of a name that is good longest, also one that only a file has."""
    from aiops.service.authority import issued, shown

    now, of = datetime.now(UTC), store(data)
    listed = [one for one in issued(data / AUTHORITY) if (one.name, one.server) == (name, server)]
    there = shown(written)
    known = [*listed, *([] if there is None else [there])]
    good = [one for one in known if now < one.until and not of.revoked_certificate(one.serial)]
    return max(good, key=lambda one: one.until, default=None)


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
