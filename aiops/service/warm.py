"""Compiling before anybody waits: what the engine runs on live telemetry is run once on made-up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from aiops.alerts.rule import AlertRule
from aiops.connectors.wire import otlp, remote_write
from aiops.connectors.wire.limits import Limits
from aiops.engine.engine import Engine
from aiops.engine.watch import Watch
from aiops.fleet.inventory import Inventory, Node, Workload
from aiops.telemetry.vocabulary import VOCABULARY

HOURS = 60
DEVICES = 3
BEGIN_NS = 1_700_000_000_000_000_000
HOUR_NS = 3_600_000_000_000


def warm(rules: Sequence[AlertRule], limits: Limits, watch: Watch | None = None) -> None:
    """Run an engine with these rules and `watch` through two and a half days of three devices.

    Remote write and OTLP, which are read by kernels too, are decoded under the `limits`.
    """
    remote_write.warm(limits)
    otlp.decode_metrics(b"\n\0", 0, limits)
    engine = Engine(rules, watch=watch, inventory=_inventory(), epoch_s=3600, lateness_s=0)
    frame = _telemetry()
    half = len(frame) // 2
    engine.step(frame.slice(0, half))
    engine.step(frame.slice(half))
    engine.forecasts()
    engine.plan()


def _telemetry() -> pa.Table:
    """Return an hour a row, with every metric of the vocabulary as its column, and a log line."""
    hour = np.repeat(np.arange(HOURS), DEVICES)
    columns: dict[str, pa.Array] = {
        "device_id": pa.array([f"gw-{i}" for i in range(DEVICES)] * HOURS).dictionary_encode(),
        "ts": pa.array(BEGIN_NS + hour * HOUR_NS).cast(pa.timestamp("ns", tz="UTC")),
    }
    columns["message"] = pa.array([f"the usual, {h}" if h % 9 else f"odd {h}" for h in hour])
    columns["severity"] = pa.array(np.where(hour % 20 == 0, "error", "info"))
    for name, metric in VOCABULARY.items():
        lower = metric.lower if np.isfinite(metric.lower) else 0.0
        upper = metric.upper if np.isfinite(metric.upper) else lower + 1e6
        value = lower + (upper - lower) * (0.1 + 0.5 * hour / HOURS)
        columns[metric.key(metric.sources[0].name) if metric.sources else name] = pa.array(value)
    return pa.table(columns)


def _inventory() -> Inventory:
    nodes = (Node("gw-0"), Node("gw-1"), Node("cloud", kind="cloud", cpu_cores=100.0))
    workloads = tuple(
        Workload(f"w-{i}", f"gw-{i}", candidates=("cloud",), cpu_cores=0.6) for i in range(2)
    )
    return Inventory(nodes, workloads)
