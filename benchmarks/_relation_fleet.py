"""A fleet whose metrics go together, made to be hard on whoever watches that.

Load comes by day and week and in bursts with heavy tails; weather drifts for days and by the year;
every metric has noise of its own, correlated in time and with a Student t of four degrees of
freedom. Temperature follows ambient and load with inertia; memory follows load weakly; a battery
empties while mains are off, some hours a day, and fills again; bandwidth wanders and limits the
round-trip time, which also queues. Gains, noise and habits differ from device to device. One
device in ten has no battery, one in ten no ambient sensor; one report in fifty lacks a metric.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.signal import lfilter

from aiops.detectors.protocol import FleetShape
from aiops.detectors.relation import Relation
from aiops.kernels.relation_memory import RelationMemory
from aiops.kernels.rows import B1, F8, I8
from aiops.telemetry.batch import TelemetryBatch

SECOND_NS = 1_000_000_000
DAY_S = 86_400.0
START_S = 1_767_571_200
METRICS = (
    "temperature.celsius",
    "temperature.ambient_celsius",
    "cpu.utilization_ratio",
    "battery.soc_ratio",
    "power.on_mains",
    "net.rtt_ms",
    "net.loss_ratio",
    "net.bandwidth_mbit_s",
    "memory.utilization_ratio",
)
TEMPERATURE, AMBIENT, CPU, CHARGE, MAINS, RTT, LOSS, BANDWIDTH, MEMORY = range(9)
DIGITS = (1, 1, 2, 2, 0, 1, 4, 1, 2)

BREAKS = ("fan", "stuck", "swapped", "battery", "link")
"""Each leaves every metric where it has been before."""


class Telemetry(NamedTuple):
    """What a fleet reports."""

    ts: I8
    """[ticks] ns."""
    values: F8
    """[devices, ticks, metrics]; NaN: not reported."""


def fleet(
    devices: int,
    days: float,
    rng: np.random.Generator,
    tick_s: float = 600.0,
    broken: str = "",
    from_day: float = 0.0,
) -> Telemetry:
    """Return the telemetry of devices whose relation breaks in the way of `broken`, if any."""
    ticks = int(days * DAY_S / tick_s)
    at_s = np.arange(ticks) * tick_s
    after = (at_s >= from_day * DAY_S) & bool(broken)

    def each(low: float, high: float) -> F8:
        return rng.uniform(low, high, (devices, 1))

    def wander(hours: float, freedom: float = np.inf) -> F8:
        """Return an autoregression of unit variance with this time constant."""
        keep = np.exp(-tick_s / (3600.0 * hours))
        shape = (devices, ticks)
        if np.isinf(freedom):
            shock = rng.standard_normal(shape)
        else:
            shock = rng.standard_t(freedom, shape) / np.sqrt(freedom / (freedom - 2.0))
        shock[:, 0] /= np.sqrt(1.0 - keep * keep)
        out: F8 = lfilter([np.sqrt(1.0 - keep * keep)], [1.0, -keep], shock, axis=1)
        return out

    hour = (at_s / 3600.0 + each(-12.0, 12.0)) % 24.0
    weekday = ((at_s / DAY_S + each(0.0, 7.0)) % 7.0) < 5.0
    busy = np.clip(np.sin((hour - 7.0) * np.pi / 12.0), 0.0, 1.0) * np.where(weekday, 1.0, 0.4)
    burst = np.maximum(wander(1.0, 4.0) - 1.0, 0.0)
    load = each(0.1, 0.3) + each(0.1, 0.4) * busy + 0.06 * wander(3.0) + each(0.03, 0.12) * burst
    load = np.clip(load, 0.01, 1.0)
    cpu = np.clip(load + 0.02 * wander(0.2, 4.0), 0.0, 1.0)

    year = 2.0 * np.pi * (at_s / DAY_S / 365.25 + each(0.0, 1.0))
    ambient = each(5.0, 25.0) + each(2.0, 10.0) * np.cos(year) + each(1.0, 3.0) * wander(60.0)
    ambient += each(1.0, 6.0) * np.cos((hour - 15.0) * np.pi / 12.0)
    gain = each(15.0, 40.0)
    if broken == "fan":
        gain = np.where(after, 0.2 * gain, gain)  # it runs at full speed whatever the load
    heater = load
    if broken == "swapped":
        heater = np.where(after, rescale(np.roll(load, 1, axis=0), load), load)
    warmth = inertia(gain * heater, 1200.0 / tick_s)
    if broken == "fan":
        warmth += np.where(after, 0.8 * (gain / 0.2 * load).mean(axis=1, keepdims=True), 0.0)
    temperature = ambient + each(8.0, 15.0) + warmth + each(0.4, 1.2) * wander(0.5, 4.0)
    felt = ambient + each(0.2, 0.6) * wander(0.5, 4.0)

    memory = each(0.3, 0.6) + each(0.1, 0.4) * inertia(load, 3.0) + 0.03 * wander(30.0)
    memory = np.clip(memory + 0.01 * wander(0.2, 4.0), 0.0, 1.0)

    mains, charge = batteries(devices, ticks, tick_s, after if broken == "battery" else None, rng)
    charge = np.clip(charge + 0.01 * wander(1.0, 4.0), 0.0, 1.0)

    carried = each(5.0, 60.0) * np.exp(0.4 * wander(4.0) - 0.25 * busy)
    limit = carried
    if broken == "link":
        other = each(5.0, 60.0) * np.exp(0.4 * wander(4.0) - 0.25 * busy)
        other *= np.median(carried, axis=1, keepdims=True) / np.median(other, axis=1, keepdims=True)
        limit = np.where(after, other, carried)
    rtt = each(15.0, 90.0) + each(200.0, 600.0) / limit * np.exp(0.15 * wander(0.3, 4.0))
    rtt *= 1.0 + 0.03 * np.abs(wander(0.2, 4.0))
    loss = each(0.002, 0.006) * (30.0 / limit) ** 0.7 * np.exp(0.4 * wander(0.3, 4.0))
    bandwidth = carried * np.exp(0.05 * wander(0.3, 4.0))

    columns = [temperature, felt, cpu, charge, mains, rtt, loss, bandwidth, memory]
    if broken == "stuck":
        at = np.argmax(after)
        where = np.median(columns[TEMPERATURE][:, :at], axis=1, keepdims=True)
        columns[TEMPERATURE] = np.where(after, where, columns[TEMPERATURE])
    values = np.stack(columns, axis=2)
    for j, places in enumerate(DIGITS):
        values[:, :, j] = np.round(values[:, :, j], places)
    lacks = rng.random((devices, 2)) < 0.1
    if broken != "battery":
        values[lacks[:, 0], :, CHARGE] = np.nan
        values[lacks[:, 0], :, MAINS] = 1.0
    if broken != "fan":
        values[lacks[:, 1], :, AMBIENT] = np.nan
    late = rng.random((devices, ticks)) < 0.02
    values[late, rng.integers(0, len(METRICS), int(late.sum()))] = np.nan
    ts = ((START_S + at_s) * SECOND_NS).astype(np.int64)
    return Telemetry(ts, values)


def inertia(x: F8, ticks: float) -> F8:
    """Return what follows `x` [devices, ticks] with this time constant."""
    keep = np.exp(-1.0 / ticks)
    start = x[:, :1] * keep
    out: F8 = lfilter([1.0 - keep], [1.0, -keep], x, axis=1, zi=start)[0]
    return out


def rescale(x: F8, like: F8) -> F8:
    """Return `x` with mean and spread of `like`, a row each: a plausible reading."""
    unit = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    out: F8 = like.mean(axis=1, keepdims=True) + unit * like.std(axis=1, keepdims=True)
    return out


def batteries(
    devices: int, ticks: int, tick_s: float, after: B1 | None, rng: np.random.Generator
) -> tuple[F8, F8]:
    """Return mains and charge: some hours without mains in a day, and half as long to fill."""
    mains, charge = np.ones((devices, ticks)), np.ones((devices, ticks))
    for d in range(devices):
        n = rng.poisson(ticks * tick_s / DAY_S)
        hours = rng.uniform(0.5, 5.0, n)
        for start, length in zip(rng.integers(0, ticks, n), hours, strict=True):
            mains[d, start : start + int(length * 3600.0 / tick_s)] = 0.0
    empties = rng.uniform(0.06, 0.15, devices) * tick_s / 3600.0
    level, lowest = np.ones(devices), np.ones(devices)
    for t in range(ticks):
        draining = after is not None and after[t]
        filling = (1.1 * lowest - level) * tick_s / (12.0 * 3600.0) if draining else 2.0 * empties
        level = np.where(mains[:, t] > 0.0, np.minimum(level + filling, 1.0), level - empties)
        level = np.maximum(level, 0.05)
        if not draining:
            lowest = np.minimum(lowest, level)
        charge[:, t] = level
    return mains, charge


def batch_of(told: Telemetry, some: slice) -> TelemetryBatch:
    """Return ticks `some` as the rows of an epoch, grouped by device."""
    values = told.values[:, some]
    devices, ticks, k = values.shape
    flat = values.reshape(-1, k)
    n = devices * ticks
    return TelemetryBatch(
        device=np.repeat(np.arange(devices, dtype=np.int32), ticks),
        cohort=np.zeros(n, np.int32),
        ts=np.tile(told.ts[some], devices),
        historical=np.zeros(n, np.bool_),
        columns={name: np.ascontiguousarray(flat[:, j]) for j, name in enumerate(METRICS[:k])},
        indptr=np.arange(devices + 1, dtype=np.int64) * ticks,
    )


def watch(told: Telemetry, detector: Relation, chunk: int = 1 << 30) -> tuple[F8, RelationMemory]:
    """Return the score [devices, ticks] of a fleet, and the memory in the end."""
    devices, ticks, _ = told.values.shape
    memory = detector.init(FleetShape(devices))
    scores = []
    for start in range(0, ticks, chunk):
        some = slice(start, min(start + chunk, ticks))
        scores.append(detector.update(memory, batch_of(told, some)).score.reshape(devices, -1))
    return np.concatenate(scores, axis=1), memory


def first_over(score: F8, ts: I8, line: float = 1.0) -> F8:
    """Return when each device [d, ticks] first reached the line, ns; NaN: never."""
    over = score >= line
    found: F8 = np.where(over.any(axis=1), ts[np.argmax(over, axis=1)], np.nan)
    return found
