"""Plain MQTT: JSON objects of readings, rows and SenML under ``fleet/DEVICE/metrics``."""

from __future__ import annotations

from functools import lru_cache
from math import floor
from typing import Any

import pyarrow as pa

from aiops.connectors.wire.build import Builder
from aiops.connectors.wire.decoded import READINGS, Decoded
from aiops.connectors.wire.limits import Limits
from aiops.connectors.wire.naming import cohort_of, excess, labels_json, site_of
from aiops.connectors.wire.senml import OTHER_DEVICE, is_pack, parsed, shown, take_pack
from aiops.errors import PayloadError, TooLarge
from aiops.telemetry.normalised import NO_TIME
from aiops.telemetry.times import NS_PER, UNITS, read_times

TIME = ("ts", "timestamp", "time")
OWNER = ("device_id", "device.id", "gateway_id", "node_id")
"""Names under which a body says whose it is; ``device`` may be a disk."""
PLACE = ("site", "site_id", "site.id", "cohort", "cohort_id")
NUMBER = ("seq", "epoch")
"""Names under which a device numbers what it publishes, so that it can be told it was taken."""
ASIDE = frozenset({*TIME, *OWNER, *PLACE, *NUMBER})
"""Names that are no readings."""
LONGEST = 64
"""Characters of a time."""


def device_in(topic: str) -> str:
    """Return the device that a topic ``fleet/DEVICE/metrics`` names.

    Raises
    ------
    PayloadError
        The topic is not of that form.
    """
    match topic.split("/"):
        case ["fleet", device, "metrics"] if device:
            return device
    raise PayloadError(f"no topic of readings: {topic[:200]!r}; publish to fleet/DEVICE/metrics")


def decode(topic: str, body: bytes, recv_ns: int, limits: Limits) -> Decoded:
    """Decode what a device published.

    An object of metrics and their values, and maybe a time ``ts``; or a row with ``metric``,
    ``value``, ``ts`` and maybe ``labels``; or an array of either; or a SenML pack. The device is
    the topic's: what names another is refused. Text is a reading that is a word, null is none.
    What has no time is of `recv_ns`.

    Raises
    ------
    PayloadError
        The topic names no device, or the body is none of these.
    TooLarge
        It holds more readings than is allowed.
    """
    device = device_in(topic)
    if len(device.encode()) > limits.name_bytes:
        raise PayloadError(f"the topic's device has more than {limits.name_bytes} bytes")
    told = parsed(body)
    build = Builder(limits)
    rows = told if isinstance(told, list) else [told]
    if len(rows) > limits.cells // len(READINGS):
        raise TooLarge(f"{len(rows)} rows in one body; send them in several")
    if is_pack(told):
        take_pack(build, rows, device, recv_ns, limits)
        return build.decoded()
    for row in rows:
        if isinstance(row, dict):
            _take(build, row, device, recv_ns, limits)
        else:
            build.refuse("a row that is no object", shown(row))
    return build.decoded()


def _take(build: Builder, row: dict[str, Any], device: str, recv_ns: int, limits: Limits) -> None:
    """Take the readings of one object."""
    labels: dict[str, str] = {}
    if isinstance(row.get("metric"), str) and "value" in row:
        readings = {row["metric"]: row["value"]}
        labels = _labels(row)
    else:
        readings = {name: value for name, value in row.items() if name not in ASIDE}
    if any(row.get(name, device) != device for name in OWNER):
        build.refuse(OTHER_DEVICE, shown(row), len(readings))
        return
    stamp = next((row[name] for name in TIME if row.get(name) is not None), None)
    ts = recv_ns if stamp is None else instant(stamp)
    if ts is None:
        build.refuse("a time that cannot be read", shown(stamp), len(readings))
        return
    words = labels | {name: value for name, value in row.items() if isinstance(value, str)}
    site, cohort, told = site_of(words), cohort_of(words), labels_json(labels)
    beyond = excess("place", {"site": site or "", "cohort": cohort or ""}, limits)
    for name, value in readings.items():
        wrong = beyond or excess(name, labels, limits)
        if wrong:
            build.refuse(wrong, name)
        elif isinstance(value, str | bool | int | float):
            build.add(device, ts, name, value, told, site, cohort)
        elif value is not None:
            build.refuse("a value that is no number, text or truth", f"{name}: {shown(value)}")


def _labels(row: dict[str, Any]) -> dict[str, str]:
    """Return the labels of a row that is one reading: those it lists, and whatever else it has."""
    listed = row.get("labels")
    told = {name: value for name, value in row.items() if name not in ASIDE | {"metric", "value"}}
    if isinstance(listed, dict):
        del told["labels"]
        told |= listed
    return {
        name: value if isinstance(value, str) else shown(value)
        for name, value in told.items()
        if value is not None
    }


def instant(stamp: object) -> int | None:
    """Return a time, a number in a unit that its size tells or a text, in ns; None: it is none."""
    if isinstance(stamp, str):
        return _instant_of(stamp) if len(stamp) <= LONGEST else None
    if isinstance(stamp, bool) or not isinstance(stamp, int | float):
        return None
    whole = floor(stamp)  # JSON knows no infinity
    per = next(NS_PER[unit] for below, unit in UNITS if abs(stamp) < below)
    return whole * per + round((stamp - whole) * per)


@lru_cache(maxsize=1024)
def _instant_of(text: str) -> int | None:
    ns = int(read_times(pa.array([text])).ns[0])
    return None if ns == NO_TIME else ns
