"""Whose a reading is, where a protocol has only labels to say so: one rule for all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from aiops.connectors.wire.limits import Limits
from aiops.telemetry.layout import NAMES


def _spellings(role: str, *, leave_out: str = "") -> tuple[str, ...]:
    """Return the names of a role, best first; Prometheus writes ``_`` where others write a dot."""
    names = dict.fromkeys(NAMES[role])
    names.pop(leave_out, None)
    spelt = dict.fromkeys(s for name in names for s in (name, name.replace(".", "_")))
    return tuple(
        name
        for known in spelt
        # What a scraped target said of itself, where the scraper's own word won.
        for name in ((known, "exported_instance") if known == "instance" else (known,))
    )


DEVICE = _spellings("device", leave_out="device")
"""Labels that name the device, best first. ``device`` does not: there it is a disk, or a fan."""
SITE = _spellings("site")
COHORT = _spellings("cohort")
INSTANCES = frozenset({"instance", "exported_instance"})
"""Labels whose values are addresses: the port says which exporter, not which device."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
PARTS = ("device", "part", "disk", "block_device")
OF_PARTS = frozenset({"serial_number", "serial_no", "serial", "model"})
"""Labels that describe the part, where a label names one, and the device else."""

_ADDRESS = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]/]+))(?::[0-9]{1,5})?")


def device_of(labels: Mapping[str, str]) -> str | None:
    """Return the device that labels name, or None.

    An address that each device calls itself by (``localhost:9100``) gives way to any other name.

    >>> device_of({"job": "node", "instance": "gw-17:9100", "device": "sda"})
    'gw-17'
    """
    itself = None
    for name in DEVICE:
        value = labels.get(name)
        if not value or (name in OF_PARTS and any(part in labels for part in PARTS)):
            continue
        if name not in INSTANCES:
            return value
        host = host_of(value)
        if host not in LOOPBACK:
            return host
        itself = itself or host
    return itself


def host_of(address: str) -> str:
    """Return an address without its port: ``gw-17:9100``, ``10.0.0.7:9100``, ``[fe80::1]:9100``.

    An IPv6 address loses its brackets too, so that it is the same device with and without a port.
    What is no ``host[:port]`` comes back as it is.
    """
    match = _ADDRESS.fullmatch(address)
    return address if match is None else match[1] or match[2]


def site_of(labels: Mapping[str, str]) -> str | None:
    """Return the site that labels name, or None."""
    return next((labels[name] for name in SITE if labels.get(name)), None)


def cohort_of(labels: Mapping[str, str]) -> str | None:
    """Return the cohort that labels name, or None; a ``model`` may be that of a part."""
    for name in COHORT:
        if labels.get(name) and not (name in OF_PARTS and any(part in labels for part in PARTS)):
            return labels[name]
    return None


_write = msgspec.json.Encoder(order="sorted").encode


def labels_json(labels: Mapping[str, str]) -> str | None:
    """Return labels as the `READINGS` column has them; None: there are none."""
    return _write(labels).decode() if labels else None


def excess(metric: str, labels: Mapping[str, str], limits: Limits) -> str | None:
    """Return in what a series is beyond the limits, in words for its sender; None: in nothing."""
    if not metric:
        return "no metric name"
    if _bytes(metric) > limits.name_bytes:
        return f"a metric name of more than {limits.name_bytes} bytes"
    if len(labels) > limits.labels:
        return f"more than {limits.labels} labels"
    longest = max(map(len, labels), default=0), max(map(len, labels.values()), default=0)
    if 4 * longest[0] <= limits.name_bytes and 4 * longest[1] <= limits.value_bytes:
        return None  # no character takes more than four bytes
    for name, value in labels.items():
        if _bytes(name) > limits.name_bytes:
            return f"a label name of more than {limits.name_bytes} bytes"
        if _bytes(value) > limits.value_bytes:
            return f"a label value of more than {limits.value_bytes} bytes"
    return None


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
