"""The facts of each option of each workload, gathered from inventory and conditions."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from aiops.kernels.rows import B1, F8, I4, I8
from aiops.placement.conditions import Conditions
from aiops.placement.topology import Topology

Some: TypeAlias = slice | I4 | I8
"""Rows of workloads."""

RTO_MS = 200.0
"""Least retransmission timeout of TCP in common kernels."""
QUANTILE_Z = 2.33
"""Standard deviations from the mean to the 99th percentile: replies are judged by their p99."""
HEAT_ZONE_C = 15.0
"""Width of the zone below the limit in which a node slows down."""
THROTTLE_PER_C = 0.04
"""Speed lost by each degree within that zone..."""
THROTTLE_LEAST = 0.4
"""...down to this: a Raspberry Pi 4 at its limit runs at 0.6 of 1.5 GHz."""
BUSIEST = 0.95
"""A busier processor is taken for one as busy as this: twenty times as slow."""


class Options(NamedTuple):
    """The facts of each option of each workload, all [w, k]; NaN where unknown.

    Option 0 is the workload's home; the last is `shed`: running nowhere.
    """

    value: F8
    """Worth of the workload, micro-dollars per hour."""
    cpu_cores: F8
    memory_gb: F8
    power_w: F8
    bandwidth_mbit_s: F8
    payload_kb: F8
    compute_ms: F8
    """Of a request on an idle reference core."""
    slo_ms: F8
    """Longest admissible reply."""
    egress_gb_h: F8
    data_loss_cost: F8
    """Micro-dollars, once, if the node fails."""
    shed: B1
    """Running nowhere."""
    away: B1
    """Somewhere else than at home, so that every request crosses a link."""
    arriving: B1
    """Not where the workload is now."""
    foreign: B1
    """In a region where it must not be."""
    unbuilt: B1
    """Of an architecture it is not built for."""
    unfit: B1
    """Of a kind it must not run on."""
    node_cores: F8
    node_gb: F8
    speed: F8
    """Of a core, relative to the reference core."""
    on_battery: B1
    battery_wh: F8
    endurance_h: F8
    harvest_w: F8
    idle_w: F8
    supply_w: F8
    limit_c: F8
    ambient_c: F8
    heating: F8
    """Degrees above the air for each watt."""
    tau_s: F8
    price: F8
    """Micro-dollars per core and hour."""
    memory_price: F8
    """Micro-dollars per GB and hour."""
    energy_price: F8
    """Micro-dollars per kWh."""
    carbon_g_kwh: F8
    cordoned: B1
    soc_ratio: F8
    temperature_c: F8
    utilization_ratio: F8
    failure_risk: F8
    gone: B1
    """Known to be no more: dead, which silence alone does not say."""
    silent: B1
    age_s: F8
    """Time since the node last reported; NaN: it never did, as a cloud region."""
    egress_price: F8
    """Micro-dollars per GB sent home."""
    rtt_ms: F8
    """Round trip from the home to the node."""
    jitter_ms: F8
    loss_ratio: F8
    rssi_dbm: F8
    """Signal at the home."""
    link_mbit_s: F8
    """What the way between home and node carries."""


class Nodes(NamedTuple):
    """What is declared or known of each node, [m+1] each; the last stands for running nowhere."""

    here: dict[str, Any]
    """Facts of an option that depend on its node alone, by their names in `Options`."""
    declared_rtt_ms: F8
    """Round trip of a node, where none is measured."""
    egress_price_per_gb: F8
    """Micro-dollars for what leaves the node for another."""
    rtt_ms: F8
    """From the node to the cloud, as measured; so the others."""
    jitter_ms: F8
    loss_ratio: F8
    rssi_dbm: F8
    bandwidth_mbit_s: F8


MEASURED = ("rtt_ms", "jitter_ms", "loss_ratio", "rssi_dbm", "bandwidth_mbit_s")
"""What `Nodes` takes from conditions as it is."""


def nodes_of(topology: Topology, conditions: Conditions, risk: F8) -> Nodes:
    """Return what is known of the nodes; what was measured replaces what was declared.

    Args:
        topology: the inventory.
        conditions: as `believed` leaves them.
        risk: [m] probability of failing within the horizon, as findings tell.
    """
    declared = topology.declared

    def known(name: str, last: float = np.nan) -> F8:
        return np.append(getattr(conditions, name), last)

    mains, ambient = known("on_mains"), known("ambient_c")
    own = told(conditions.failure_risk)
    here = declared._asdict() | {
        "on_battery": np.where(np.isnan(mains), declared.on_battery, mains < 0.5),
        "ambient_c": np.where(np.isnan(ambient), declared.ambient_c, ambient),
        "soc_ratio": known("soc_ratio"),
        "temperature_c": known("temperature_c"),
        "utilization_ratio": known("utilization_ratio"),
        "failure_risk": np.append(1.0 - (1.0 - own) * (1.0 - risk), 0.0),
        "gone": np.zeros(len(own) + 1, dtype=np.bool_),
        "silent": np.append(conditions.silent, False),
        "age_s": known("age_s"),
        "cordoned": declared.cordoned | np.append(conditions.cordoned, False),
    }
    return Nodes(
        here=here,
        declared_rtt_ms=topology.rtt_ms,
        egress_price_per_gb=topology.egress_price,
        **{name: known(name) for name in MEASURED},
    )


def gather(topology: Topology, nodes: Nodes, current: I4, rows: Some) -> Options:
    """Return the facts of the options of some workloads.

    Args:
        topology: the inventory.
        nodes: as `nodes_of` gives them.
        current: [w] option where each workload is.
        rows: which workloads.
    """
    at = topology.option[rows]
    shape, home = at.shape, at[:, :1]
    away, remote, shed = topology.away[rows], topology.remote[rows], topology.shed[rows]

    def wide(values: Any) -> Any:
        return np.broadcast_to(values[:, None], shape)

    def either(values: F8) -> F8:
        """Of both ends of a way: the worse where more is worse. Local ways have one end."""
        return np.fmax(values[home], np.where(remote, values[at], np.nan))

    # The home measures its way to the nearest cloud region; others lie a declared detour beyond.
    declared = nodes.declared_rtt_ms[at]
    nearest = nodes.declared_rtt_ms[topology.clouds].min(initial=np.inf)
    detour = told(declared - (nearest if nearest < np.inf else 0.0))
    measured = nodes.rtt_ms[home] + np.maximum(0.0, detour)
    beyond = np.where(remote & ~np.isnan(measured), measured, declared)
    speed = nodes.bandwidth_mbit_s
    link = -either(-np.where(np.isnan(speed), topology.link_mbit_s, speed))
    link_price = topology.link_price
    crossing = np.where(remote, link_price[home] + link_price[at], 0.0)
    return Options(
        **{name: wide(values[rows]) for name, values in topology.asked._asdict().items()},
        **{name: values[at] for name, values in nodes.here.items()},
        shed=shed,
        away=away,
        arriving=(np.arange(shape[1]) != current[rows][:, None]) & ~shed,
        foreign=topology.foreign[rows],
        unbuilt=topology.unbuilt[rows],
        unfit=topology.unfit[rows],
        egress_price=np.where(away, nodes.egress_price_per_gb[at], 0.0) + crossing,
        rtt_ms=np.where(away, beyond, 0.0),
        jitter_ms=np.where(remote, either(nodes.jitter_ms), np.nan),
        # Everything that leaves crosses the home's uplink, and the node's own when that is remote.
        loss_ratio=either(nodes.loss_ratio),
        rssi_dbm=np.broadcast_to(nodes.rssi_dbm[home], shape),
        link_mbit_s=np.where(remote, link, np.nan),
    )


def told(values: F8, otherwise: float = 0.0) -> F8:
    """Return `values`, and `otherwise` where they are not known."""
    return np.where(np.isnan(values), otherwise, values)


def link_loss(o: Options) -> F8:
    """Share of packets lost between home and node; 0 at home or when nothing is known.

    Where no loss was measured it is guessed from the signal: half at -90 dBm, 3 % at -80 dBm.
    """
    # loss = 1 / (1 + e^((rssi + 90) / 3))
    guess = 1.0 / (1.0 + np.exp((o.rssi_dbm + 90.0) / 3.0))
    loss = np.where(np.isnan(o.loss_ratio), guess, o.loss_ratio)
    return np.where(o.away, told(loss), 0.0)


def warmth(o: Options) -> F8:
    """How far into the zone below its limit a node is: 0 to 1."""
    return np.clip(told(1.0 - (o.limit_c - o.temperature_c) / HEAT_ZONE_C), 0.0, 1.0)


def throttle(o: Options) -> F8:
    """Share of its speed that heat leaves a node."""
    # clip(1 - kappa (T - (limit - zone)), least, 1)
    return np.maximum(THROTTLE_LEAST, 1.0 - THROTTLE_PER_C * HEAT_ZONE_C * warmth(o))


def way_ms(o: Options) -> F8:
    """Time that a request and its reply spend on the way, at the 99th percentile."""
    # rtt + z jitter + loss / (1 - loss) * max(RTO, 2 rtt) + payload / bandwidth
    loss = np.minimum(link_loss(o), 0.99)  # beyond 99 % lost it is all the same
    rtt = told(o.rtt_ms)
    sent = told(8.0 * o.payload_kb / np.maximum(o.link_mbit_s, 1e-3))
    waiting = QUANTILE_Z * told(o.jitter_ms)
    waiting = waiting + loss / (1.0 - loss) * np.maximum(RTO_MS, 2.0 * rtt)
    return np.where(o.away, rtt + waiting + sent, 0.0)


def work_ms(o: Options) -> F8:
    """Time that a request is computed, others before it included."""
    # compute / (speed * throttle) / (1 - utilisation)
    idle = 1.0 - np.minimum(told(o.utilization_ratio), BUSIEST)
    return np.where(o.shed, 0.0, o.compute_ms / (o.speed * throttle(o)) / idle)


def reply_ms(o: Options) -> F8:
    """Time of a reply at the 99th percentile."""
    return way_ms(o) + work_ms(o)
