"""Made-up fleets as instances: gateways, battery devices, radio links; four degrees of contention.

Each device has 1 + Poisson(2) workloads, three near gateways and two cloud regions; 60 % run on
battery; it is wired, on 5G or on LTE. Workloads have lognormal demands and values and one of seven
SLOs from 15 ms to 2 s. Costs and vetoes follow the formulas of ``aiops/placement/criteria.py`` in
short form. Every workload has an admissible option besides being shed in an idle fleet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiops.placement.instance import CLOSED, MICRO, UNLIMITED, Instance

GATEWAYS, REGIONS = 3, 2
K = 1 + GATEWAYS + REGIONS + 1
PER_GATEWAY = 50
"""Devices to a gateway."""
BOUGHT = 0.1
"""Share of all work that clouds and uplinks are bought for, before the regime's factor."""
SLO_MS = np.array([15.0, 30.0, 60.0, 120.0, 300.0, 800.0, 2000.0])


@dataclass(frozen=True)
class Regime:
    """How much there is of what is shared, as a multiple of what an idle fleet would take."""

    gateway: float
    uplink: float
    cloud: float


REGIMES = {
    "provisioned": Regime(3.0, 2.2, 1.5),
    "loose": Regime(1.8, 1.5, 1.05),
    "contended": Regime(1.25, 1.1, 0.9),
    "overload": Regime(0.5, 0.6, 0.5),
}


def make(regime: str, size: int, seed: int) -> Instance:
    """Return an instance of at least `size` workloads cut to exactly as many."""
    scarce = REGIMES[regime]
    rng = np.random.default_rng([seed, size, sorted(REGIMES).index(regime)])
    counts = 1 + rng.poisson(2.0, size)
    devices = int(np.searchsorted(np.cumsum(counts), size) + 1)
    block = np.minimum(np.concatenate([[0], np.cumsum(counts[:devices])]), size).astype(np.int32)
    home = np.repeat(np.arange(devices), np.diff(block))
    gateways = max(GATEWAYS, devices // PER_GATEWAY)

    # devices
    link = rng.choice(3, devices, p=[0.5, 0.25, 0.25])  # wired, 5G, LTE
    access_ms = np.array([1.0, 9.0, 25.0])[link] * rng.lognormal(0.0, 0.3, devices)
    jitter_ms = access_ms * rng.uniform(0.05, 0.3, devices)
    loss = np.array([0.0002, 0.002, 0.008])[link] * rng.lognormal(0.0, 0.5, devices)
    metered = np.array([0.0, 150_000.0, 400_000.0])[link]  # micro-dollars a GB
    battery = rng.random(devices) < 0.6
    charge = rng.uniform(0.1, 1.0, devices)
    heat_c = rng.normal(48.0, 12.0, devices)
    cores = rng.choice([1.0, 2.0, 4.0], devices, p=[0.4, 0.4, 0.2])
    memory_gb = cores * rng.choice([0.5, 1.0, 2.0], devices)
    speed = rng.uniform(0.3, 0.8, devices)
    risk = np.where(rng.random(devices) < 0.03, rng.uniform(0.02, 0.3, devices), 0.0005)
    battery_w = np.maximum(0.0, (charge - 0.15) * 60.0 * 0.9 / 12.0 - 1.0)
    thermal_w = np.maximum(0.0, (85.0 - 3.0 - heat_c) / 6.0)
    power_w = np.where(battery, np.minimum(battery_w, thermal_w), thermal_w)

    # workloads
    cpu = np.clip(rng.lognormal(np.log(0.2), 0.8, size), 0.02, 4.0)
    memory = np.clip(rng.lognormal(np.log(0.2), 0.8, size), 0.02, 6.0)
    traffic = np.clip(rng.lognormal(np.log(0.4), 1.2, size), 0.01, 30.0)
    value = rng.lognormal(np.log(20_000.0), 1.1, size)
    slo = rng.choice(SLO_MS, size, p=[0.08, 0.12, 0.15, 0.2, 0.2, 0.15, 0.1])
    work_ms = np.minimum(rng.lognormal(np.log(6.0), 0.8, size), 0.3 * slo)
    power = 4.0 * cpu
    payload_mbit = rng.lognormal(np.log(0.02), 0.8, size)

    # options: nearest gateway, two of the neighbourhood, two regions
    nearest = np.minimum(np.arange(devices) * gateways // devices, gateways - 1)
    step = rng.integers(1, max(2, min(4, gateways // 2)), devices)
    near = np.stack([nearest, (nearest + step) % gateways, (nearest - step) % gateways], axis=1)
    hop_ms = np.stack(
        [rng.uniform(0.3, 2.0, devices), *rng.uniform(2.0, 8.0, (2, devices))], axis=1
    )
    region_ms = rng.uniform([12.0, 35.0], [30.0, 90.0], (devices, REGIONS))
    gateway_speed = rng.uniform(1.0, 2.0, gateways)
    gateway_price = rng.uniform(4_000.0, 9_000.0, gateways)  # per core and hour
    region_price = np.array([40_000.0, 33_000.0])

    rtt = np.concatenate([np.zeros((devices, 1)), access_ms[:, None] + hop_ms], axis=1)
    rtt = np.concatenate([rtt, access_ms[:, None] + region_ms], axis=1)[home]
    away = np.arange(K - 1) > 0
    throttle = np.clip(1.0 - 0.03 * (heat_c - 75.0), 0.3, 1.0)
    pace = np.concatenate(
        [(speed * throttle)[:, None], gateway_speed[near], np.full((devices, REGIONS), 2.5)], axis=1
    )[home]
    lost = loss[home][:, None]
    reply = np.where(
        away,
        rtt + 2.33 * jitter_ms[home][:, None] + lost / (1.0 - lost) * np.maximum(200.0, 2.0 * rtt),
        0.0,
    )
    rate = np.array([100.0, 60.0, 15.0])[link][home]
    reply += np.where(away, (payload_mbit / rate * 1000.0)[:, None], 0.0)
    reply += work_ms[:, None] / pace
    late = np.maximum(0.0, reply / slo[:, None] - 0.5) ** 2

    gb_h = traffic * 3600.0 / 8000.0
    cost = np.empty((size, K))
    energy = power / 1000.0 * 300_000.0
    scarcity = np.where(battery, 1.0 + 8.0 * np.maximum(0.0, 0.5 - charge) / 0.5, 0.3)
    cost[:, 0] = energy * scarcity[home] + value * risk[home]
    cost[:, 1:4] = gateway_price[near][home] * cpu[:, None] + value[:, None] * 0.0005
    cost[:, 4:6] = region_price * cpu[:, None] + (gb_h * (2_000.0 + 0.1 * metered[home]))[:, None]
    cost[:, :-1] += value[:, None] * late
    cost[:, -1] = value
    whole = np.rint(cost).astype(np.int64)
    closed = np.zeros((size, K), dtype=np.bool_)
    closed[:, :-1] = reply > slo[:, None]
    resident = rng.random(size) < 0.15  # may not leave the site
    closed[resident, 4:6] = True
    room = np.stack([cores, memory_gb, power_w], axis=1)
    demand = np.stack([cpu, memory, power, traffic], axis=1)
    closed[:, 0] |= (demand[:, :3] > room[home]).any(axis=1)
    # whoever could run nowhere gets the easiest SLO of its nearest gateway
    nowhere = closed[:, :-1].all(axis=1)
    closed[nowhere, 1] = False

    node = np.full((size, K), -1, dtype=np.int32)
    node[:, 1:4] = near[home]
    node[:, 4:6] = gateways + np.arange(REGIONS)
    uplink = np.full((size, K), -1, dtype=np.int32)
    uplink[:, 4:6] = nearest[home][:, None]
    whole[closed] = CLOSED

    # capacities: of what an idle fleet would take, as the regime says
    best = np.argmin(np.where(closed, np.inf, cost), axis=1)
    taken = node[np.arange(size), best]
    load = np.zeros((gateways + REGIONS, 2))
    np.add.at(load, taken[taken >= 0], demand[taken >= 0, :2])
    capacity = np.full(3 * (gateways + REGIONS) + gateways, UNLIMITED, dtype=np.int64)
    typical = load[:gateways].mean(axis=0)
    sizes = rng.lognormal(0.0, 0.25, (gateways, 1)) * scarce.gateway * typical
    at_least = demand[:, :2].max(axis=0)  # every workload fits an empty gateway
    for resource in range(2):
        amounts = np.maximum(sizes[:, resource], at_least[resource])
        capacity[resource : 3 * gateways : 3] = np.rint(amounts * MICRO).astype(np.int64)
    clouds = max(scarce.cloud * BOUGHT * cpu.sum() / REGIONS, 4.0)
    capacity[3 * gateways : 3 * (gateways + REGIONS) : 3] = round(clouds * MICRO)
    pipes = (
        scarce.uplink * 0.4 * BOUGHT * traffic.sum() / gateways * rng.lognormal(0.0, 0.25, gateways)
    )
    capacity[3 * (gateways + REGIONS) :] = np.rint(np.maximum(pipes, traffic.max()) * MICRO)
    return Instance(
        block=block,
        cost=whole,
        node=node,
        uplink=uplink,
        demand=np.rint(demand * MICRO).astype(np.int64),
        room=np.rint(room * MICRO).astype(np.int64),
        capacity=capacity,
        nodes=gateways + REGIONS,
    )
