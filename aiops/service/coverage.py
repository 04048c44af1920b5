"""What the engine makes of telemetry that came: which names it knows, and what detectors lack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aiops.telemetry.columns import column_of, read_names
from aiops.telemetry.dialects import LABELS, named
from aiops.telemetry.layout import Layout
from aiops.telemetry.lines import COUNTS
from aiops.telemetry.normalise import normalise
from aiops.telemetry.normalised import NormalisedFrame

Alternatives = tuple[tuple[str, ...], ...]


class Need(NamedTuple):
    """What a detector cannot do without."""

    one_of: Alternatives
    """Canonical metrics, of which one group must be there as a whole; none: it needs nothing."""
    add: str
    """What would bring it, in words."""


NEEDS: Mapping[str, Need] = MappingProxyType(
    {
        "flash_wear": Need(
            (("storage.wear.used_ratio",), ("storage.bytes_written", "storage.rated_bytes")),
            "add smartctl_exporter to Prometheus, or inputs.smart to Telegraf, or send it yourself",
        ),
        "flash_failure": Need(
            (
                ("storage.spare_ratio",),
                ("storage.critical_warning",),
                ("storage.pre_eol",),
                ("storage.media_errors",),
                ("storage.reallocated",),
            ),
            "add smartctl_exporter to Prometheus, or inputs.smart to Telegraf, or send it yourself",
        ),
        "reboot_drift": Need(
            (
                ("device.boot_count",),
                ("device.boot_id",),
                ("device.uptime",),
                ("device.boot_time",),
                ("storage.power_cycles",),
            ),
            "add node_exporter to Prometheus, inputs.system to Telegraf, the plugin uptime to "
            "collectd, or send it yourself",
        ),
        **{
            name: Need(((metric,),), "send log lines, over OTLP or as rows with a message")
            for name, metric in (
                ("error_burst", "log.errors"),
                ("log_burst", "log.lines"),
                ("log_heartbeat", "log.lines"),
                ("log_novelty", "log.lines"),
            )
        },
        "silence": Need((), ""),
    }
)
"""Detector -> what it needs; one that is not here needs any of the metrics it reads."""


class Known(NamedTuple):
    """A name that somebody sends and the engine knows."""

    name: str
    metrics: tuple[str, ...]
    """What it is, by canonical names; several where labels decide; none: only under others."""
    values: int


class Fed(NamedTuple):
    """Whether a detector has what it needs."""

    detector: str
    has: tuple[str, ...]
    """Canonical metrics that it reads and that came."""
    lacks: Alternatives
    """Of which one group must still come; none: it has what it needs."""
    add: str
    """What would bring it, in words; empty: nothing is lacking."""


@dataclass
class Coverage:
    """What some frames held."""

    rows: int = 0
    devices: Counter[str] = field(default_factory=Counter)
    """Device -> rows."""
    values: Counter[str] = field(default_factory=Counter)
    """Name as it was sent -> values, of names that are known."""
    metrics: dict[str, set[str]] = field(default_factory=dict)
    """Name as it was sent -> canonical metrics that it turned out to be."""
    canonical: set[str] = field(default_factory=set)
    """Canonical metrics that came with a value that can be."""
    unknown: Counter[str] = field(default_factory=Counter)
    """Name that nobody knows -> values."""
    set_aside: Counter[str] = field(default_factory=Counter)
    """Reason -> rows or values, as far as a frame alone can tell."""

    @property
    def known(self) -> list[Known]:
        """Names that are known, those that became something first."""
        found = [Known(n, tuple(sorted(self.metrics[n])), self.values[n]) for n in self.metrics]
        return sorted(found, key=lambda one: (not one.metrics, one.metrics, one.name))

    def add(self, table: pa.Table, columns: Mapping[str, str] | None = None) -> None:
        """Take a frame into account.

        Parameters
        ----------
        table
            As the log has it.
        columns
            Role -> column, where the operator overrules the guess.

        Raises
        ------
        FrameError
            It has no device or no time.
        """
        asked = {r: c for r, c in (columns or {}).items() if c in table.schema.names}
        layout = Layout.guess(table.schema, **asked)
        taken = normalise(table, layout)
        self.rows += len(table)
        self.unknown.update(taken.unknown)
        self.set_aside.update(taken.set_aside["reason"].to_pylist())
        self._count(self.devices, column_of(table, layout.device))
        self.canonical |= _metrics(taken.columns)
        if taken.logs is not None and len(taken.logs.row):
            self.canonical.update(COUNTS)
        became = _became(taken)
        if layout.is_long:
            self._long(table, layout, became)
        else:
            self._wide(table, layout, became)

    @staticmethod
    def _count(into: Counter[str], names: pa.Array) -> None:
        code, value = read_names(names)
        rows = np.bincount(code + 1, minlength=len(value) + 1)[1:].tolist()
        into.update({name: n for name, n in zip(value, rows, strict=True) if n and name})

    def _long(self, table: pa.Table, layout: Layout, became: Collection[str]) -> None:
        column = column_of(table, str(layout.metric))
        found: Counter[str] = Counter()
        self._count(found, column)

        def alone(name: str) -> set[str]:
            """Return what the rows of one name become: their labels decide."""
            rows = pc.equal(pc.cast(column, pa.string()), name)
            return _became(normalise(table.filter(rows), layout))

        for name, values in found.items():
            self._note(name, values, became, partial(alone, name))

    def _wide(self, table: pa.Table, layout: Layout, became: Collection[str]) -> None:
        roles = set(layout.columns.values())
        for name in table.schema.names:
            values = len(table) - table.column(name).null_count
            if values and name not in roles and name not in LABELS:
                self._note(name, values, became, partial(set[str], became))

    def _note(
        self, name: str, values: int, became: Collection[str], alone: Callable[[], set[str]]
    ) -> None:
        may_be = {alias.metric for alias in named(name).aliases}
        if not may_be:
            return
        self.values[name] += values
        is_now = may_be.intersection(became)
        self.metrics.setdefault(name, set()).update(
            is_now if len(may_be) == 1 else is_now & alone()
        )


def _metrics(keys: Iterable[str]) -> set[str]:
    return {key.partition("/")[0] for key in keys}


def _became(taken: NormalisedFrame) -> set[str]:
    """Return what was found in a frame, also where its values had to be set aside."""
    return _metrics(taken.columns) | _metrics(filter(None, taken.set_aside["metric"].to_pylist()))


def feeding(detectors: Iterable[Any], came: Collection[str]) -> Iterator[Fed]:
    """Say of each detector what it has and lacks, given the canonical metrics that came."""
    for detector in detectors:
        reads = dict.fromkeys((*detector.reads, *getattr(detector, "also_reads", ())))
        own = Need(tuple((metric,) for metric in detector.reads), "send one of these")
        need = NEEDS.get(detector.name, own)
        enough = not need.one_of or any(set(group) <= set(came) for group in need.one_of)
        yield Fed(
            detector.name,
            tuple(metric for metric in reads if metric in came),
            () if enough else need.one_of,
            "" if enough else need.add,
        )
