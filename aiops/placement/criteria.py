"""What makes a node a good or a bad place: one entry of `CRITERIA` a criterion.

A criterion is two small pure functions of `Options`: `cost` in micro-dollars per hour, the one unit
of every criterion, and `blocks`, which rules an option out and says so in its `clause`. What is not
known (NaN) costs nothing and blocks nothing. A new criterion is one entry here; pricing, masks,
explanations, flips and the laws in ``tests/placement/test_criteria.py`` follow. Weights and their
reasons stand in ``docs/placement.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aiops.kernels.rows import B1, F8
from aiops.placement.options import Options, link_loss, reply_ms, told, warmth, work_ms
from aiops.placement.power import SOC_FLOOR, battery_watts, supply_watts, thermal_watts

SOC_SCARCE = 0.50
"""Charge below which energy becomes dear."""
BATTERY_PRICE = 300_000.0
"""Micro-dollars per kWh that goes through a battery: cells at 300 $/kWh last a thousand cycles."""
CARBON_PRICE = 70.0
"""Micro-dollars per gram of CO2: about what a ton costs in the EU emissions trade."""
LOSS_LIMIT = 0.5
"""Share of lost packets beyond which a link carries no workload."""
REPAIR_H = 24.0
"""Hours until somebody has repaired a failed node."""
HORIZON_H = 24.0
"""`Options.failure_risk` is the probability of failing within so many hours."""
AWAY_SHARE = 0.05
"""Share of its value a workload loses away from home: why it returns when all is well."""
FRESH_S = 7200.0
"""However slow the rhythm of a node: what it last said is not news after this."""


Judge = Callable[[Options], F8]
Veto = Callable[[Options], B1]


@dataclass(frozen=True)
class Criterion:
    """A cost, a veto, or both."""

    cost: Judge | None = None
    """[w, k] micro-dollars per hour, finite and not negative."""
    blocks: Veto | None = None
    """[w, k] true where the option is ruled out."""
    clause: str = ""
    """Why it is ruled out: a format string over `facts` and `Topology.said`."""
    evicts: bool = True
    """Whether `blocks` also drives out a workload that is already there."""
    worse: Mapping[str, int] = field(default_factory=dict)
    """Variables of `Options` it reads: +1 if a larger value is never better, -1 the reverse."""


def facts(options: Options, i: int, k: int) -> dict[str, Any]:
    """Return the facts of option `k` of workload `i` by name, for a `Criterion.clause`."""
    one = Options._make(column[i : i + 1, k : k + 1] for column in options)
    named: dict[str, Any] = {name: column.item() for name, column in one._asdict().items()}
    return named | {
        "loss": link_loss(one).item(),
        "reply_ms": reply_ms(one).item(),
        "reply_parts": _reply_parts(one),
        "spare_w": spare_watts(one).item(),
        "spare_why": _spare_why(one),
    }


def battery_cost(o: Options) -> F8:
    """The risk of running it down."""
    # value * (max(0, scarce - soc) / scarce)^2, on battery only
    return np.where(o.on_battery, o.value * scarcity(o) ** 2, 0.0)


def battery_blocks(o: Options) -> B1:
    """On battery, and below the floor."""
    return o.on_battery & (o.soc_ratio < SOC_FLOOR)


def scarcity(o: Options) -> F8:
    """How far below half charge a battery is, 0 to 1; 0 on mains."""
    missing = np.maximum(0.0, SOC_SCARCE - told(o.soc_ratio, 1.0)) / SOC_SCARCE
    return np.where(o.on_battery, missing, 0.0)


def energy_cost(o: Options) -> F8:
    """What the workload draws, dearer out of a battery and the dearer the emptier that is."""
    # kW * ($/kWh + battery's) * (1 + scarcity)
    price = o.energy_price + np.where(o.on_battery, BATTERY_PRICE, 0.0)
    return o.power_w / 1000.0 * price * (1.0 + scarcity(o))


def carbon_cost(o: Options) -> F8:
    """What is emitted for what it draws."""
    # kW * g/kWh * price of a gram
    return o.power_w / 1000.0 * o.carbon_g_kwh * CARBON_PRICE


def spare_watts(o: Options) -> F8:
    """What the workloads of a node may draw together; inf: any."""
    battery, heat, supply = _budgets(o)
    return np.minimum(np.minimum(battery, heat), supply)


def power_blocks(o: Options) -> B1:
    """Draws more than battery, heat and supply allow, even alone."""
    return o.power_w > spare_watts(o)


def temperature_cost(o: Options) -> F8:
    """Ageing as it nears the limit."""
    # value * clip(1 - (limit - T) / zone, 0, 1)^2
    return o.value * warmth(o) ** 2


def temperature_blocks(o: Options) -> B1:
    """At the temperature at which it throttles, or above."""
    return o.temperature_c >= o.limit_c


def network_cost(o: Options) -> F8:
    """Work lost with the packets."""
    # value * loss
    return o.value * link_loss(o)


def network_blocks(o: Options) -> B1:
    """More lost than any retransmission mends."""
    return link_loss(o) > LOSS_LIMIT


def bandwidth_blocks(o: Options) -> B1:
    """More traffic than the way carries, even alone."""
    return o.bandwidth_mbit_s > o.link_mbit_s


def latency_cost(o: Options) -> F8:
    """Replies that come late, but not yet too late."""
    # value * max(0, reply / SLO - 1/2)^2, at most the value itself
    return o.value * np.clip(reply_ms(o) / o.slo_ms - 0.5, 0.0, 1.0) ** 2


def latency_blocks(o: Options) -> B1:
    """Replies that come too late."""
    return reply_ms(o) > o.slo_ms


def failure_cost(o: Options) -> F8:
    """Outage and loss of data to be expected."""
    # (value * repair time + data) * P(fails within the horizon) / horizon
    lost = o.value * REPAIR_H + o.data_loss_cost
    return lost * told(o.failure_risk) / HORIZON_H


def compute_cost(o: Options) -> F8:
    """Price of the cores and of the memory."""
    # price * cores + price * GB
    return o.price * o.cpu_cores + o.memory_price * o.memory_gb


def compute_blocks(o: Options) -> B1:
    """Would not fit even if the node were empty."""
    return (o.cpu_cores > o.node_cores) | (o.memory_gb > o.node_gb)


def egress_cost(o: Options) -> F8:
    """Price of what it sends home."""
    # GB/h * $/GB of the node and of metered links
    return o.egress_gb_h * o.egress_price


def absence_cost(o: Options) -> F8:
    """A little for being elsewhere than where it belongs, all it is worth for being nowhere."""
    # value * (1 if shed, share if away, 0 at home)
    return o.value * np.where(o.shed, 1.0, np.where(o.away, AWAY_SHARE, 0.0))


def residency_blocks(o: Options) -> B1:
    """In a region where its data must not be."""
    return o.foreign


def arch_blocks(o: Options) -> B1:
    """Of an architecture it is not built for."""
    return o.unbuilt


def kind_blocks(o: Options) -> B1:
    """Of a kind its owner does not want it on."""
    return o.unfit


def gone_blocks(o: Options) -> B1:
    """No more."""
    return o.gone


def silence_blocks(o: Options) -> B1:
    """Nobody knows how it is. What runs there stays: unreachable is not dead."""
    return o.arriving & o.silent


def freshness_blocks(o: Options) -> B1:
    """Nobody knows how it is by now, though it may only be slow to say."""
    return o.arriving & ~o.silent & (o.age_s > FRESH_S)


def cordon_blocks(o: Options) -> B1:
    """Closed to new work by its owner."""
    return o.arriving & o.cordoned


CRITERIA: dict[str, Criterion] = {
    "battery": Criterion(
        cost=battery_cost,
        blocks=battery_blocks,
        clause=f"runs on battery at {{soc_ratio:.1%}}, floor {SOC_FLOOR:.0%}",
        worse={"soc_ratio": -1},
    ),
    "temperature": Criterion(
        cost=temperature_cost,
        blocks=temperature_blocks,
        clause="is at {temperature_c:.1f} °C, limit {limit_c:.1f} °C",
        worse={"temperature_c": +1, "limit_c": -1},
    ),
    "power": Criterion(
        blocks=power_blocks,
        clause="can spare {spare_w:.2f} W of the {power_w:.2f} W needed: {spare_why}",
        worse={
            "power_w": +1,
            "soc_ratio": -1,
            "battery_wh": -1,
            "endurance_h": +1,
            "harvest_w": -1,
            "temperature_c": +1,
            "ambient_c": +1,
            "limit_c": -1,
            "supply_w": -1,
            "idle_w": +1,
        },
    ),
    "network": Criterion(
        cost=network_cost,
        blocks=network_blocks,
        clause=f"the link loses {{loss:.1%}} of packets, limit {LOSS_LIMIT:.0%}",
        worse={"loss_ratio": +1, "rssi_dbm": -1},
    ),
    "bandwidth": Criterion(
        blocks=bandwidth_blocks,
        clause="the link carries {link_mbit_s:g} of {bandwidth_mbit_s:g} Mbit/s",
        worse={"bandwidth_mbit_s": +1, "link_mbit_s": -1},
    ),
    "latency": Criterion(
        cost=latency_cost,
        blocks=latency_blocks,
        clause="a reply takes {reply_ms:.1f} ms ({reply_parts}), SLO {slo_ms:.1f} ms",
        worse={
            "rtt_ms": +1,
            "jitter_ms": +1,
            "loss_ratio": +1,
            "rssi_dbm": -1,
            "payload_kb": +1,
            "link_mbit_s": -1,
            "compute_ms": +1,
            "speed": -1,
            "temperature_c": +1,
            "limit_c": -1,
            "utilization_ratio": +1,
            "slo_ms": -1,
        },
    ),
    "failure_risk": Criterion(
        cost=failure_cost, worse={"failure_risk": +1, "value": +1, "data_loss_cost": +1}
    ),
    "compute": Criterion(
        cost=compute_cost,
        blocks=compute_blocks,
        clause="needs {cpu_cores:g} cores and {memory_gb:g} GB,"
        " the node has {node_cores:g} and {node_gb:g}",
        worse={
            "price": +1,
            "memory_price": +1,
            "cpu_cores": +1,
            "memory_gb": +1,
            "node_cores": -1,
            "node_gb": -1,
        },
    ),
    "energy": Criterion(
        cost=energy_cost, worse={"power_w": +1, "energy_price": +1, "soc_ratio": -1}
    ),
    "carbon": Criterion(cost=carbon_cost, worse={"power_w": +1, "carbon_g_kwh": +1}),
    "egress": Criterion(cost=egress_cost, worse={"egress_gb_h": +1, "egress_price": +1}),
    "absence": Criterion(cost=absence_cost, worse={"value": +1}),
    "residency": Criterion(
        blocks=residency_blocks, clause="is in region {node_region}, it may run in {regions}"
    ),
    "arch": Criterion(blocks=arch_blocks, clause="is {node_arch}, it is built for {archs}"),
    "kind": Criterion(blocks=kind_blocks, clause="is a {node_kind}, it may run on {kinds}"),
    "gone": Criterion(blocks=gone_blocks, clause="is gone"),
    "silence": Criterion(
        blocks=silence_blocks,
        clause="has been silent for {age_s:.0f} s: nothing is moved to it",
        evicts=False,
    ),
    "freshness": Criterion(
        blocks=freshness_blocks,
        clause=f"was last heard of {{age_s:.0f}} s ago, limit {FRESH_S:.0f} s:"
        " nothing is moved to it",
        evicts=False,
        worse={"age_s": +1},
    ),
    "cordon": Criterion(
        blocks=cordon_blocks, clause="is cordoned: nothing is moved to it", evicts=False
    ),
}

TERMS: tuple[str, ...] = tuple(name for name, one in CRITERIA.items() if one.cost)
"""Names along the last axis of `PlacementProblem.terms`."""

BIT: dict[str, int] = {
    name: 1 << at for at, name in enumerate(name for name, one in CRITERIA.items() if one.blocks)
}
"""Bit of each vetoing criterion in `PlacementProblem.mask_reason`."""

ABSENT = 1 << 30
"""Bit of an option that does not exist: the workload has fewer candidates than others."""

EVICTS = sum(BIT[name] for name, one in CRITERIA.items() if one.blocks and one.evicts)
"""Bits that drive out a workload that is already there."""


def _budgets(o: Options) -> tuple[F8, F8, F8]:
    return (
        battery_watts(
            o.soc_ratio, o.on_battery, o.battery_wh, o.endurance_h, o.harvest_w, o.idle_w
        ),
        thermal_watts(o.temperature_c, o.limit_c, o.ambient_c, o.heating, o.tau_s, o.idle_w),
        supply_watts(o.supply_w, o.idle_w),
    )


def _spare_why(one: Options) -> str:
    """Say what the least of the budgets of one option is made of."""
    named = {name: column.item() for name, column in one._asdict().items()}
    said = (
        "{soc_ratio:.1%} of {battery_wh:g} Wh must last {endurance_h:g} h"
        " ({harvest_w:g} W come in, {idle_w:g} W idle)",
        "{temperature_c:.1f} °C in air of {ambient_c:.1f} °C, {heating:g} °C/W,"
        " limit {limit_c:.1f} °C ({idle_w:g} W idle)",
        "the supply gives {supply_w:g} W ({idle_w:g} W idle)",
    )
    watts = [budget.item() for budget in _budgets(one)]
    return said[watts.index(min(watts))].format(**named)


def _reply_parts(one: Options) -> str:
    """Say what a reply of one option waits for, as far as it is known."""
    loss, computed = link_loss(one).item(), work_ms(one).item()
    sent_ms = 8.0 * one.payload_kb.item() / max(one.link_mbit_s.item(), 1e-3)
    parts = {
        f"RTT {one.rtt_ms.item():.1f} ms": one.rtt_ms.item(),
        f"jitter {one.jitter_ms.item():.1f} ms": one.jitter_ms.item(),
        f"{loss:.1%} lost": loss,
        f"{sent_ms:.1f} ms to send": sent_ms,
        f"{computed:.1f} ms to compute": computed,
    }
    return ", ".join(part for part, size in parts.items() if size > 0.0) or "at once"
