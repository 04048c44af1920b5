"""Which addresses outside may be reached: a host is listed, or nothing is sent to it.

A listed name may still resolve to where nobody should be able to send us (server-side request
forgery, OWASP; RFC 6890 registries of special addresses): so a name is resolved once, all of its
addresses are checked, and the connection is made to a checked address, not to the name.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from aiops.errors import DeliveryError, SettingsError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Sequence[str]]
"""Name and port -> addresses as text; raises OSError when there are none."""

REFUSED_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "168.63.129.16/32",  # public by number, yet it answers as the host of a virtual machine
        "169.254.0.0/16",  # link-local, and the metadata of clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",  # documentation, as the two below
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
"""Only these are global unicast: what lies outside (loopback, ``fe80::``, ``fc00::``, ``ff00::``,
IPv4-mapped, NAT64 ``64:ff9b::`` ...) need not be listed one by one."""
REFUSED_V6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo, benchmarks, ORCHID and other protocols
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3ffe::/16",  # the former 6bone
        "3fff::/20",  # documentation
    )
)
ISATAP = frozenset({0x00005EFE, 0x02005EFE})
"""Upper half of an interface id that carries an IPv4 address (RFC 5214, section 6.1)."""

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*)?(?P<query>\?[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*)?"
)
"""The part of RFC 3986 that is not read differently by different readers: no user, no fragment, no
character that would have to be quoted."""
_NAME = re.compile(
    r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
)
"""The last label begins with a letter: ``0x7f.1`` and ``2130706433`` are no names."""


class Target(NamedTuple):
    """Where a URL points."""

    secure: bool
    host: str
    """Lower case; of an address its shortest form, without brackets."""
    port: int
    path: str
    """With the query."""


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a name, as the system resolves it, in its order."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True)
class Egress:
    """Whom the service may call.

    Parameters
    ----------
    hosts
        Names or addresses, each exact: ``hooks.example.org``. Empty: nobody is called.
    networks
        Addresses or networks that a listed host may have though they are not public, such as
        ``10.20.0.0/16``.
    plain_http
        Listed hosts that may be called without TLS.
    resolve
        From a name to its addresses.

    Raises
    ------
    SettingsError
        An entry is no host or no network, or `plain_http` names a host that is not listed.
    """

    hosts: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    plain_http: tuple[str, ...] = ()
    resolve: Resolve = resolve

    def __post_init__(self) -> None:
        listed = self._listed
        if extra := sorted({_host(name) for name in self.plain_http} - listed):
            raise SettingsError(
                f"egress.plain_http names {', '.join(extra)}, which is not in egress.hosts;"
                " list it there too"
            )
        assert self._networks is not None  # parsed now, so that a bad entry is told at the start

    @cached_property
    def _listed(self) -> frozenset[str]:
        return frozenset(_host(name) for name in self.hosts)

    @cached_property
    def _networks(self) -> tuple[Network, ...]:
        try:
            return tuple(ipaddress.ip_network(text) for text in self.networks)
        except ValueError as error:
            raise SettingsError(
                f"egress.networks has {list(self.networks)}: {error}; give addresses or networks"
                " such as 10.20.0.0/16"
            ) from error

    def target(self, url: str) -> Target:
        """Read a URL and say where it points, when that is allowed.

        Raises
        ------
        SettingsError
            The URL cannot be read in one way only, or its host is not listed, or it asks for
            plain HTTP where that is not allowed.
        """
        match = _URL.fullmatch(url)
        if match is None:
            raise SettingsError(
                f"{url!r} is no address that can be called; give https://HOST[:PORT]/PATH with"
                " neither user nor fragment"
            )
        host = _host(match["host"].strip("[]"))
        secure = match["scheme"] == "https"
        port = int(match["port"] or (443 if secure else 80))
        if not 1 <= port <= 65535:
            raise SettingsError(f"{url!r} names port {port}; give 1 to 65535")
        if host not in self._listed:
            raise SettingsError(f"host {host} is not in egress.hosts; list it there to call it")
        if not secure and host not in {_host(name) for name in self.plain_http}:
            raise SettingsError(
                f"{url!r} is not https; use https, or list {host} in egress.plain_http"
            )
        return Target(secure, host, port, (match["path"] or "/") + (match["query"] or ""))

    def addresses(self, host: str, port: int) -> list[str]:
        """Resolve a host and return its addresses, all of them checked.

        Raises
        ------
        DeliveryError
            The host is not listed, has no address now, or has one that must not be called. It is
            worth another try: a name may be mended.
        """
        if host not in self._listed:
            raise DeliveryError(f"host {host} is not in egress.hosts; list it there to call it")
        try:
            found = [host] if _is_address(host) else list(self.resolve(host, port))
        except (OSError, UnicodeError) as error:
            raise DeliveryError(f"{host} has no address now: {error}") from error
        parsed = [ipaddress.ip_address(text.partition("%")[0]) for text in found]
        refused = sorted({str(one) for one in parsed if not self._may(one)})
        if refused or not parsed:
            raise DeliveryError(
                f"{host} has {', '.join(refused) or 'no address'}: that is not public, and not in"
                " egress.networks; nothing was sent"
            )
        return [str(one) for one in parsed]

    def _may(self, address: Address) -> bool:
        return is_public(address) or any(address in network for network in self._networks)


def is_public(address: Address) -> bool:
    """Say whether an address is one of a host on the public internet, and of no other kind."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in REFUSED_V4)
    carries_v4 = int(address) >> 32 & 0xFFFFFFFF in ISATAP
    refused = any(address in network for network in REFUSED_V6)
    return address in GLOBAL_V6 and not refused and not carries_v4


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _host(text: str) -> str:
    """Return a host in the one form that is compared."""
    name = text.lower()
    if _is_address(name):
        return str(ipaddress.ip_address(name))
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"{text!r} is no host; give a name such as hooks.example.org (without a dot at its"
            " end, other letters as xn--...), or an address in its usual form"
        )
    return name
