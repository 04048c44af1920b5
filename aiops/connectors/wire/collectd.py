"""Collectd: what write_http posts and what the MQTT plugin publishes.

(collectd.org, "JSON" and "Naming schema"; MQTT payloads as of its PUTVAL format.)
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from aiops.connectors.wire.build import Builder
from aiops.connectors.wire.decoded import Decoded
from aiops.connectors.wire.limits import Limits
from aiops.connectors.wire.naming import cohort_of, excess, labels_json, site_of
from aiops.errors import PayloadError, TooLarge

SECOND_NS = 1_000_000_000
LISTS_MAX = 1 << 16
"""Value lists in one body; collectd sends a few kilobytes at once."""


class ValueList(msgspec.Struct):
    """Values of one instant, each a data source of one type; see ``types.db``."""

    host: str
    plugin: str
    type: str
    values: list[float | None]
    dsnames: list[str]
    dstypes: list[str] = []
    time: float | None = None
    """Seconds since the epoch, UTC."""
    plugin_instance: str = ""
    type_instance: str = ""
    meta: dict[str, Any] | None = None


_lists = msgspec.json.Decoder(list[ValueList])


def decode(body: bytes, recv_ns: int, limits: Limits) -> Decoded:
    """Decode an array of value lists (``application/json``) to `READINGS`.

    A metric is called ``collectd.PLUGIN.TYPE``, and a data source with a name of its own adds it:
    ``collectd.disk.disk_octets.write``. The device is the host. A value that collectd does not know
    (null) is no reading. What has no time happened at `recv_ns`.

    Raises
    ------
    TooLarge
        It holds more than the limits or `LISTS_MAX` allow.
    PayloadError
        It is no JSON, or not of this form.
    """
    if body.count(b"{") > 2 * LISTS_MAX:
        raise TooLarge(f"more than {LISTS_MAX} value lists in one body: send it in several")
    try:
        lists = _lists.decode(body)
    except (ValueError, RecursionError) as cause:
        raise PayloadError(f"the body is no array of collectd's value lists: {cause}") from cause
    build = Builder(limits)
    for told in lists:
        _add(build, told, recv_ns, limits)
    return build.decoded()


_PARTS = re.compile(r"([^/-]+)(?:-(.*))?")
_TIMED = re.compile(rb"(N|[0-9]+(?:\.[0-9]+)?)((?::[^:]*)+)")


def decode_text(topic: str, body: bytes, recv_ns: int = 0, limits: Limits | None = None) -> Decoded:
    """Decode what collectd publishes over MQTT: ``time:value[:value]``, maybe with a NUL behind.

    Parameters
    ----------
    topic
        ``PREFIX/HOST/PLUGIN[-INSTANCE]/TYPE[-INSTANCE]``; the prefix may have slashes.
    recv_ns
        The time that ``N`` stands for.

    Raises
    ------
    PayloadError
        Topic or payload are not of this form. The names of several values are in collectd's
        ``types.db``, which is not sent: those of ``read``/``write`` and ``rx``/``tx`` types are
        known, others are called by their number.
    """
    limits = limits or Limits()
    *_, host, plugin, kind = ["", "", *topic.split("/")]
    named, typed = _PARTS.fullmatch(plugin), _PARTS.fullmatch(kind)
    match = _TIMED.fullmatch(body.rstrip(b"\0\n"))
    if not (host and named and typed):
        raise PayloadError(
            f"a topic PREFIX/HOST/PLUGIN[-INSTANCE]/TYPE[-INSTANCE] was expected, found "
            f"{topic[:120]!r}"
        )
    if match is None:
        raise PayloadError(f"collectd's time:value[:value] was expected, found {body[:40]!r}")
    try:
        values = [float(value) for value in match[2].split(b":")[1:]]
    except ValueError as cause:
        raise PayloadError(f"a value of {topic[:120]!r} is no number: {cause}") from cause
    when = recv_ns if match[1] == b"N" else _ns(float(match[1]))
    told = ValueList(
        host=host,
        plugin=named[1],
        plugin_instance=named[2] or "",
        type=typed[1],
        type_instance=typed[2] or "",
        values=[None if math.isnan(value) else value for value in values],
        dsnames=_sources(typed[1], len(values)),
    )
    build = Builder(limits)
    _add(build, told, when, limits)
    return build.decoded()


def _sources(kind: str, n: int) -> list[str]:
    """Return the names of a type's data sources, as ``types.db`` has them."""
    if n == 1:
        return ["value"]
    if n == 2 and kind.startswith("disk_"):
        return ["io_time", "weighted_io_time"] if kind == "disk_io_time" else ["read", "write"]
    if n == 2 and kind.startswith(("if_", "io_")):
        return ["rx", "tx"]
    if n == 3 and kind == "load":
        return ["shortterm", "midterm", "longterm"]
    return [str(k) for k in range(n)]


def _ns(seconds: float) -> int:
    """Return a time to the nearest millisecond: a double has no more digits to trust."""
    return round(seconds * 1e3) * 1_000_000 if math.isfinite(seconds) else 2**63


def _add(build: Builder, told: ValueList, recv_ns: int, limits: Limits) -> None:
    """Take the readings of a value list, or refuse them."""
    if len(told.values) != len(told.dsnames):
        build.refuse(
            "as many values as names of data sources were expected",
            f"{told.host} {told.plugin} {told.type}",
            len(told.values),
        )
        return
    known = {
        "host": told.host,
        "plugin_instance": told.plugin_instance,
        "type_instance": told.type_instance,
        **{k: v for k, v in (told.meta or {}).items() if isinstance(v, str)},
    }
    labels = {name: value for name, value in known.items() if value}
    ts_ns = recv_ns if told.time is None else _ns(told.time)
    text = labels_json(labels)
    for name, value in zip(told.dsnames, told.values, strict=True):
        if value is None:
            continue
        metric = f"collectd.{told.plugin}.{told.type}" + (f".{name}" if name != "value" else "")
        too_much = excess(metric, labels, limits)
        if too_much is not None:
            build.refuse(too_much, metric)
        else:
            build.add(told.host, ts_ns, metric, value, text, site_of(labels), cohort_of(labels))
