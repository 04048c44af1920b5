"""Costs that change while work runs: simulated, from measured round trips, and from a car's radio.

Each set is a `Trace`: what options truly cost at every tick, and what is measured of it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aiops.kernels.rows import F8

OPTIONS = 4
NOISE = 0.15
"""Relative, of every reading."""
DOLLARS = 20_000.0
"""What a workload is worth, micro-dollars per hour, in the middle."""
RTO_MS = 200.0


class Trace(NamedTuple):
    """Costs of options; inf where one may not be."""

    true: F8
    """[t, w, k] micro-dollars per hour: what is paid."""
    measured: F8
    """[t, w, k] what is known when it is decided."""
    move: F8
    """[w] micro-dollars."""
    tick_s: float


def synthetic(seed: int, workloads: int = 400, hours: float = 24.0, tick_s: float = 10.0) -> Trace:
    """Return costs that wander about a level (Ornstein-Uhlenbeck in the logarithm), with outages.

    They stay together for two hours and spread by 28 %; each option fails once a day for twenty
    minutes; a move costs a quarter of an hour's running.
    """
    rng = np.random.default_rng(seed)
    shape, ticks = (workloads, OPTIONS), int(hours * 3600 / tick_s)
    size = rng.lognormal(np.log(5_000.0), 0.3, (workloads, 1))
    level = size * rng.lognormal(0.0, 0.2, shape)
    stay, spread = np.exp(-tick_s / 7200.0), 0.28
    fails, mends = tick_s / 86_400.0, tick_s / 1_200.0
    at, up = rng.normal(0.0, spread, shape), np.ones(shape, dtype=np.bool_)
    true = np.empty((ticks, *shape))
    for tick in range(ticks):
        at = stay * at + np.sqrt(1.0 - stay**2) * spread * rng.normal(size=shape)
        up = np.where(up, rng.random(shape) > fails, rng.random(shape) < mends)
        up[:, 0] |= ~up.any(axis=1)  # there is always a place
        true[tick] = np.where(up, level * np.exp(at), np.inf)
    noisy = true * np.clip(1.0 + NOISE * rng.normal(size=true.shape), 0.05, None)
    return Trace(true, noisy, 0.25 * size[:, 0], tick_s)


def round_trips(rtt_s: F8, seed: int, workloads: int = 400, tick_s: float = 15.7) -> Trace:
    """Return costs from measured round trips ``rtt_s [t, n, n]``.

    Workloads stand at random nodes, their options are other nodes; 0 and NaN are not measured, and
    the last round trip stands. What is late costs up to what the workload is worth, as the product
    prices it (``criteria.latency_cost``). A move costs 160 seconds of what a workload is worth.
    """
    rng = np.random.default_rng(seed)
    nodes = rtt_s.shape[1]
    client = rng.integers(0, nodes, workloads)
    others = np.stack([rng.permutation(nodes - 1)[:OPTIONS] for _ in range(workloads)])
    server = others + (others >= client[:, None])
    trip = rtt_s[:, client[:, None], server].astype(np.float64)
    known = trip > 0.0
    last = np.maximum.accumulate(np.where(known, np.arange(len(trip))[:, None, None], 0), axis=0)
    trip = np.take_along_axis(trip, last, axis=0)
    trip = np.where(trip > 0.0, trip, np.nanmedian(rtt_s))
    value = rng.lognormal(np.log(DOLLARS), 0.5, (workloads, 1))
    slo_s = rng.choice([0.15, 0.3, 0.6, 1.2], (workloads, 1))
    price = rng.uniform(2_000.0, 5_000.0, (workloads, OPTIONS))
    noisy = trip * np.clip(1.0 + NOISE * rng.normal(size=trip.shape), 0.05, None)
    true, measured = (price + value * _late(rtt / slo_s) for rtt in (trip, noisy))
    return Trace(true, measured, value[:, 0] * 160.0 / 3600.0, tick_s)


def radio(table: list[dict[str, str]], seed: int, workloads: int = 400) -> Trace:
    """Return costs of a moving device's workloads: at home, at the edge, in two clouds.

    Everything but home is reached over the radio whose pings, losses and rates were measured. Each
    workload rides half an hour that begins somewhere in the measurements, put end to end. A move
    costs a minute of what a workload is worth.
    """
    rng = np.random.default_rng(seed)
    tick_s, ticks = 5.0, 360
    ping_ms = _carried([row["PINGAVG"] for row in table])[::5]
    loss = np.minimum(_carried([row["PINGLOSS"] for row in table])[::5] / 100.0, 0.9)
    rate = np.maximum(np.array([float(row["DL_bitrate"]) for row in table]) / 1000.0, 0.2)
    rate = np.convolve(rate, np.ones(5) / 5.0, mode="same")[::5]  # Mbit/s
    first = rng.integers(0, len(ping_ms) - ticks, workloads)
    at = first[None, :] + np.arange(ticks)[:, None]
    value = rng.lognormal(np.log(DOLLARS), 0.5, (workloads, 1))
    slo_ms = rng.choice([150.0, 300.0, 600.0], (workloads, 1))
    payload = rng.choice([0.05, 0.2, 0.5], (workloads, 1))
    beyond = np.array([2.0, 15.0, 40.0])
    price = np.stack(
        [
            rng.uniform(4_000.0, 12_000.0, workloads),
            *rng.uniform(1_500.0, 4_000.0, (OPTIONS - 1, workloads)),
        ],
        axis=1,
    )

    def cost(noise: F8) -> F8:
        trip = (ping_ms[at][:, :, None] + beyond) * noise
        lost = loss[at][:, :, None]
        reply = trip + lost / (1.0 - lost) * np.maximum(RTO_MS, 2.0 * trip)
        reply = reply + 1000.0 * payload / rate[at][:, :, None]
        late = np.concatenate([np.zeros((ticks, workloads, 1)), _late(reply / slo_ms)], axis=2)
        return np.asarray(price + value * late)

    shape = (ticks, workloads, OPTIONS - 1)
    noisy = np.clip(1.0 + NOISE * rng.normal(size=shape), 0.05, None)
    return Trace(cost(np.ones(shape)), cost(noisy), value[:, 0] * 60.0 / 3600.0, tick_s)


def shared(name: str) -> Path | None:
    """Return the file ``data/placement/NAME`` that is given beside the repository, if it is."""
    given = os.environ.get("AIOPS_SHARED")
    root = Path(given) if given else Path(__file__).resolve().parents[2] / "shared"
    path = root / "data" / "placement" / name
    return path if path.exists() else None


def read_round_trips(path: Path) -> F8:
    """Return the one array of an ``npz`` or ``npy`` file, seconds [t, n, n]."""
    stored = np.load(path, allow_pickle=False)
    if isinstance(stored, np.lib.npyio.NpzFile):
        if len(stored.files) != 1:
            raise SystemExit(f"{path} holds {', '.join(stored.files)}; give a file of one array")
        stored = stored[stored.files[0]]
    if stored.ndim != 3 or stored.shape[1] != stored.shape[2] or stored.shape[1] <= OPTIONS:
        raise SystemExit(
            f"{path} holds {stored.shape}; give seconds [t, n, n] of n > {OPTIONS} nodes"
        )
    return np.asarray(stored, dtype=np.float64)


def _late(share: F8) -> F8:
    return np.asarray(np.clip(share - 0.5, 0.0, 1.0) ** 2)


def _carried(column: list[str]) -> F8:
    """Return numbers; where there is none, the last."""
    found = np.array([float("nan") if one in ("-", "") else float(one) for one in column])
    last = np.maximum.accumulate(np.where(np.isnan(found), 0, np.arange(len(found))))
    return np.nan_to_num(found[last], nan=float(np.nanmedian(found)))
