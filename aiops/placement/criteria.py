"""What makes a node a good or a bad place: one entry of `CRITERIA` a criterion.

A criterion is two small pure functions of `Options`: `cost` in micro-dollars per hour, the one unit
of every criterion, and `blocks`, which rules an option out and says so in its `clause`. What is not
known (NaN) costs nothing and blocks nothing. A new criterion is one entry here; pricing, masks,
explanations, flips and the laws in ``tests/placement/test_criteria.py`` follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from aiops.kernels.rows import B1, F8

SOC_FLOOR = 0.15
"""Charge below which a battery is kept for the device itself."""
SOC_SCARCE = 0.50
"""Charge below which energy becomes dear."""
WATTS_PER_CORE = 5.0
ENERGY_PRICE = 300_000.0
"""Micro-dollars per kWh."""
HEAT_ZONE_C = 15.0
"""Width of the zone below the limit in which a node costs more the hotter it is."""
LOSS_LIMIT = 0.5
"""Share of lost packets beyond which a link carries no workload."""
RTO_MS = 200.0
"""Least retransmission timeout of TCP in common kernels."""
REPAIR_H = 24.0
"""Hours until somebody has repaired a failed node."""
HORIZON_H = 24.0
"""`Options.failure_risk` is the probability of failing within so many hours."""
AWAY_SHARE = 0.05
"""Share of its value a workload loses away from home: why it returns when all is well."""
SETTLE_S = 1800.0
"""An option that was ruled out must have been admissible for so long to be moved to."""


class Options(NamedTuple):
    """The facts of each option of each workload, all [w, k]; NaN where unknown.

    Option 0 is the workload's home; the last is `shed`: running nowhere.
    """

    value: F8
    """Worth of the workload, micro-dollars per hour."""
    cpu_cores: F8
    memory_gb: F8
    slo_ms: F8
    """Longest admissible reply."""
    shed: B1
    """Running nowhere."""
    away: B1
    """Somewhere else than at home, so that every request crosses a link."""
    arriving: B1
    """Not where the workload is now."""
    soc_ratio: F8
    on_battery: B1
    temperature_c: F8
    limit_c: F8
    rtt_ms: F8
    """Round trip from the home to the node."""
    loss_ratio: F8
    rssi_dbm: F8
    """Signal at the home."""
    failure_risk: F8
    price: F8
    """Micro-dollars per core and hour."""
    node_cores: F8
    node_gb: F8
    silent: B1
    age_s: F8
    """Time since the node last reported; NaN: it never did, as a cloud region."""
    cordoned: B1
    well_s: F8
    """Time since the option was last ruled out; inf: never."""


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
    """Why it is ruled out: a format string over `facts`."""
    evicts: bool = True
    """Whether `blocks` also drives out a workload that is already there."""
    worse: Mapping[str, int] = field(default_factory=dict)
    """Variables of `Options` it reads: +1 if a larger value is never better, -1 the reverse."""


def link_loss(o: Options) -> F8:
    """Share of packets lost between home and node; 0 at home or when nothing is known.

    Where no loss was measured it is guessed from the signal: half at -90 dBm, 3 % at -80 dBm.
    """
    # loss = 1 / (1 + e^((rssi + 90) / 3))
    guess = 1.0 / (1.0 + np.exp((o.rssi_dbm + 90.0) / 3.0))
    loss = np.where(np.isnan(o.loss_ratio), guess, o.loss_ratio)
    return np.where(o.away, np.nan_to_num(loss), 0.0)


def reply_ms(o: Options) -> F8:
    """Expected time of a reply: the round trip, and waiting for what was lost on the way."""
    # rtt + loss / (1 - loss) * max(RTO, 2 rtt); beyond 99 % lost it is all the same
    loss = np.minimum(link_loss(o), 0.99)
    rtt = np.where(o.away, np.nan_to_num(o.rtt_ms), 0.0)
    return rtt + loss / (1.0 - loss) * np.maximum(RTO_MS, 2.0 * rtt)


def facts(options: Options, i: int, k: int) -> dict[str, float]:
    """Return the facts of option `k` of workload `i` by name, for a `Criterion.clause`."""
    one = Options._make(column[i : i + 1, k : k + 1] for column in options)
    named = {name: column.item() for name, column in one._asdict().items()}
    return named | {"loss": link_loss(one).item(), "reply_ms": reply_ms(one).item()}


def battery_cost(o: Options) -> F8:
    """Energy of the battery, and the risk of running it down."""
    # W/core * cores * $/kWh + value * (max(0, scarce - soc) / scarce)^2, on battery only
    energy = WATTS_PER_CORE / 1000.0 * o.cpu_cores * ENERGY_PRICE
    scarcity = np.maximum(0.0, SOC_SCARCE - np.nan_to_num(o.soc_ratio, nan=1.0)) / SOC_SCARCE
    return np.where(o.on_battery, energy + o.value * scarcity**2, 0.0)


def battery_blocks(o: Options) -> B1:
    """On battery, and below the floor."""
    return o.on_battery & (o.soc_ratio < SOC_FLOOR)


def temperature_cost(o: Options) -> F8:
    """Slower and ageing as it nears the limit."""
    # value * clip(1 - (limit - T) / zone, 0, 1)^2
    near = 1.0 - (o.limit_c - o.temperature_c) / HEAT_ZONE_C
    return o.value * np.clip(np.nan_to_num(near), 0.0, 1.0) ** 2


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


def latency_cost(o: Options) -> F8:
    """Replies that come late, but not yet too late."""
    # value * max(0, reply / SLO - 1/2)^2, at most the value itself
    return o.value * np.clip(reply_ms(o) / o.slo_ms - 0.5, 0.0, 1.0) ** 2


def latency_blocks(o: Options) -> B1:
    """Replies that come too late."""
    return reply_ms(o) > o.slo_ms


def failure_cost(o: Options) -> F8:
    """Outage to be expected."""
    # value * repair time * P(fails within the horizon) / horizon
    return o.value * np.nan_to_num(o.failure_risk) * (REPAIR_H / HORIZON_H)


def compute_cost(o: Options) -> F8:
    """Price of the cores."""
    # price * cores
    return o.price * o.cpu_cores


def compute_blocks(o: Options) -> B1:
    """Would not fit even if the node were empty."""
    return (o.cpu_cores > o.node_cores) | (o.memory_gb > o.node_gb)


def absence_cost(o: Options) -> F8:
    """A little for being elsewhere than where it belongs, all it is worth for being nowhere."""
    # value * (1 if shed, share if away, 0 at home)
    return o.value * np.where(o.shed, 1.0, np.where(o.away, AWAY_SHARE, 0.0))


def silence_blocks(o: Options) -> B1:
    """Nobody knows how it is. What runs there stays: unreachable is not dead."""
    return o.arriving & o.silent


def cordon_blocks(o: Options) -> B1:
    """Closed to new work by its owner."""
    return o.arriving & o.cordoned


def settling_blocks(o: Options) -> B1:
    """Was ruled out a moment ago: a noisy reading at a limit must not make work flap."""
    return o.arriving & (o.well_s < SETTLE_S)


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
        worse={"temperature_c": +1},
    ),
    "network": Criterion(
        cost=network_cost,
        blocks=network_blocks,
        clause=f"the link loses {{loss:.1%}} of packets, limit {LOSS_LIMIT:.0%}",
        worse={"loss_ratio": +1, "rssi_dbm": -1},
    ),
    "latency": Criterion(
        cost=latency_cost,
        blocks=latency_blocks,
        clause="a reply takes {reply_ms:.1f} ms (RTT {rtt_ms:.1f} ms, {loss:.1%} lost),"
        " SLO {slo_ms:.1f} ms",
        worse={"rtt_ms": +1, "loss_ratio": +1, "rssi_dbm": -1, "slo_ms": -1},
    ),
    "failure_risk": Criterion(cost=failure_cost, worse={"failure_risk": +1}),
    "compute": Criterion(
        cost=compute_cost,
        blocks=compute_blocks,
        clause="needs {cpu_cores:g} cores and {memory_gb:g} GB,"
        " the node has {node_cores:g} and {node_gb:g}",
        worse={"price": +1, "cpu_cores": +1, "memory_gb": +1, "node_cores": -1, "node_gb": -1},
    ),
    "absence": Criterion(cost=absence_cost, worse={"value": +1}),
    "silence": Criterion(
        blocks=silence_blocks,
        clause="has been silent for {age_s:.0f} s: nothing is moved to it",
        evicts=False,
    ),
    "cordon": Criterion(
        blocks=cordon_blocks, clause="is cordoned: nothing is moved to it", evicts=False
    ),
    "settling": Criterion(
        blocks=settling_blocks,
        clause=f"was ruled out {{well_s:.0f}} s ago, must be well for {SETTLE_S:.0f} s",
        evicts=False,
        worse={"well_s": -1},
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
