"""Metrics that nobody knows: what their readings are called, and which of them are no readings."""

from __future__ import annotations

import json
import re
from functools import lru_cache

from aiops.telemetry.dialects import LABELS, named
from aiops.telemetry.layout import NAMES

NAME_MAX = 240
"""Longest name, labels and all: memory is filed under it."""

LabelSet = tuple[tuple[str, str], ...]
"""Labels and their values, sorted by label."""

DESCRIBES = frozenset(
    spelt
    for name in (
        *(name for role in ("device", "site", "cohort") for name in NAMES[role]),
        *("part", "part_id", "medium_id", "exported_instance", "prometheus", "prometheus_replica"),
        *("replica", "receive", "tenant_id", "server.address", "server.port"),
    )
    if name not in {"device", "serial", "serial_no", "serial_number"}  # of a part, as often as not
    for spelt in (name, name.replace(".", "_"))
)
"""Labels that say which device it is, or by whom it was asked: never part of a name."""


BUCKET_LABEL = "le"


def is_bucket(name: str) -> bool:
    """Say whether a metric with a `BUCKET_LABEL` counts what fell into a part of a histogram."""
    return name.endswith("_bucket")


@lru_cache(maxsize=1 << 14)
def may_be_open(name: str) -> bool:
    """Say whether readings of this name can be watched under it: nobody knows it otherwise."""
    return bool(name) and name not in LABELS and name.isprintable() and not named(name).aliases


@lru_cache(maxsize=1 << 17)
def label_set(text: str) -> LabelSet:
    """Return the labels that a JSON object holds, but for those that `DESCRIBES`."""
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    if not isinstance(found, dict):
        return ()
    kept = (
        (label, str(value))
        for label, value in found.items()
        if label not in DESCRIBES and value is not None and value != ""
    )
    return tuple(sorted(kept))


def open_name(metric: str, labels: LabelSet) -> str | None:
    """Return a metric's name with labels, as Prometheus writes it.

    None: it cannot be a name, being too long or not printable.

    >>> open_name("node_network_up", (("device", "eth0"),))
    'node_network_up{device="eth0"}'
    """
    shown = ",".join(f"{label}={_quoted(value)}" for label, value in labels)
    name = f"{metric}{{{shown}}}" if shown else metric
    return name if len(name) <= NAME_MAX and name.isprintable() else None


_LABEL = re.compile(r'(?:^|,)([^=,{}]+)="(?:[^"\\]|\\.)*"')


def split_name(name: str) -> tuple[str, tuple[str, ...]]:
    """Return the metric in a name that `open_name` made, and its labels.

    >>> split_name('node_network_up{device="eth0"}')
    ('node_network_up', ('device',))
    """
    metric, _, labels = name.partition("{")
    return metric, tuple(_LABEL.findall(labels))


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
