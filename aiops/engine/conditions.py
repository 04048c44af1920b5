"""The last known state of every device, as placement reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from aiops.fleet.inventory import Inventory
from aiops.fleet.owner import FleetShape
from aiops.fleet.registry import Registry
from aiops.kernels.admission import last_value
from aiops.kernels.rows import F8, I8
from aiops.placement.conditions import Conditions
from aiops.telemetry.batch import TelemetryBatch

SECOND_NS = 1_000_000_000

STALE_S = 900.0
"""A node may at least be quiet for so long before nothing is moved to it..."""
STALE_GAPS = 3.0
"""...and for so many of its usual intervals: some fleets report hourly."""

READS = {
    "soc_ratio": "battery.soc_ratio",
    "on_mains": "power.on_mains",
    "temperature_c": "temperature.celsius",
    "ambient_c": "temperature.ambient_celsius",
    "rtt_ms": "net.rtt_ms",
    "jitter_ms": "net.jitter_ms",
    "loss_ratio": "net.loss_ratio",
    "rssi_dbm": "net.rssi_dbm",
    "bandwidth_mbit_s": "net.bandwidth_mbit_s",
    "utilization_ratio": "cpu.utilization_ratio",
    "maintenance": "device.maintenance",
}
"""What is remembered of a node -> the metric that tells it."""


class LastKnown(NamedTuple):
    """[devices] each: the last value reported in time, NaN before the first."""

    soc_ratio: F8
    on_mains: F8
    temperature_c: F8
    ambient_c: F8
    rtt_ms: F8
    jitter_ms: F8
    loss_ratio: F8
    rssi_dbm: F8
    bandwidth_mbit_s: F8
    utilization_ratio: F8
    maintenance: F8
    """1 while a window is open: nothing new comes to a node that is worked on."""
    seen: I8
    """Time of the last row, ns; -1: none yet."""
    gap: I8
    """Time between the last two epochs in which the device reported, ns; 0: not known yet."""


@dataclass(frozen=True)
class ConditionOwner:
    """Files the last known conditions in the fleet state."""

    name: str = "conditions"
    version: int = 2

    def init(self, shape: FleetShape) -> LastKnown:
        """Return the conditions of devices nothing is known of."""
        values = {name: np.full(shape.capacity, np.nan) for name in READS}
        return LastKnown(
            **values,
            seen=np.full(shape.capacity, -1, dtype=np.int64),
            gap=np.zeros(shape.capacity, dtype=np.int64),
        )


def remember(last: LastKnown, batch: TelemetryBatch) -> None:
    """Take the conditions that rows in time report; historical rows move no work."""
    usable = ~batch.historical
    for name, metric in READS.items():
        if metric in batch.columns:
            last_value(batch.device, batch.columns[metric], usable, getattr(last, name))
    device, ts = batch.device[usable], batch.ts[usable]
    newest = np.append(device[1:] != device[:-1], True)[: len(device)]
    device, ts = device[newest], ts[newest]
    before = last.seen[device]
    last.gap[device] = np.where(before >= 0, ts - before, 0)
    last.seen[device] = ts


def conditions_of(
    inventory: Inventory, registry: Registry, last: LastKnown, size: int, clock: int
) -> Conditions:
    """Return the conditions of the inventory's nodes, in its order, at `clock` (ns).

    Identities from `size` on have not been heard of before.
    """
    found = [registry.find(node.id) for node in inventory.nodes]
    index = np.array([-1 if i is None else i for i in found], dtype=np.int64)
    index[index >= size] = -1
    missing = index < 0

    def known(values: F8) -> F8:
        return np.where(missing, np.nan, values[index])

    age_s = (clock - last.seen[index]) / SECOND_NS
    age_s = np.where(missing | (last.seen[index] < 0), np.nan, np.maximum(age_s, 0.0))
    patience_s = np.maximum(STALE_S, STALE_GAPS * last.gap[index] / SECOND_NS)
    return Conditions(
        **{name: known(getattr(last, name)) for name in READS if name != "maintenance"},
        failure_risk=np.full(len(index), np.nan),
        cordoned=known(last.maintenance) >= 0.5,
        silent=np.nan_to_num(age_s, nan=0.0) > patience_s,
        age_s=age_s,
    )
