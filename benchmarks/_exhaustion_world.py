"""Simulated readings for `exhaustion.py`: memory that leaks or not, heat that creeps or weather."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aiops.detectors.exhaustion import Exhaustion
from aiops.detectors.protocol import QUANTILES, Epoch, FleetShape
from aiops.kernels.exhaustion_memory import ExhaustionMemory
from aiops.kernels.rows import F8
from aiops.telemetry.batch import TelemetryBatch

HOURS = 24
DAY_NS = 86_400 * 10**9
HOUR_NS = 3_600 * 10**9
START_NS = 20_454 * DAY_NS
CLEAR = 0.8


class Readings(NamedTuple):
    """Hourly readings of devices, and what is true of them."""

    value: F8
    """[n, days * 24]"""
    site: np.ndarray
    """[n]"""
    onset: np.ndarray
    """[n] day the creep begins; -1: never."""


def correlated(rng: np.random.Generator, shape: tuple[int, int], sd: F8, rho: F8) -> F8:
    """Return stationary first-order noise [n, hours] of deviation `sd` [n], hourly `rho` [n]."""
    n, hours = shape
    noise = np.empty(shape)
    noise[:, 0] = sd * rng.standard_normal(n)
    fresh = sd * np.sqrt(1.0 - rho**2)
    for h in range(1, hours):
        noise[:, h] = rho * noise[:, h - 1] + fresh * rng.standard_normal(n)
    return noise


def memory(
    rng: np.random.Generator,
    n: int,
    days: int,
    leak: float = 0.01,
    onset: int = 30,
    restart_days: float = 45.0,
    shift_days: float = np.inf,
    highest: float = 0.50,
) -> Readings:
    """Return memory in use: a base, a daily cycle of 2-6 %, noise, restarts, a leak.

    The base is from 25 % to `highest`. The noise has a deviation of 3-5 %, a correlation time of 6
    to 48 hours, and 1 % of white noise on top. A restart, on average every `restart_days`, gives
    back what has leaked. Every `shift_days` what runs changes, and with it the base, by a normal
    jump with a deviation of 6 %.
    """
    hours = days * HOURS
    hour = np.arange(hours)
    base = rng.uniform(0.25, highest, n)[:, None]
    cycle = rng.uniform(0.02, 0.06, n)[:, None]
    phase = rng.uniform(0.0, HOURS, n)[:, None]
    value = base + 0.5 * cycle * np.sin(2.0 * np.pi * (hour - phase) / HOURS)
    last = np.exp(-1.0 / rng.uniform(6.0, 48.0, n))
    value += correlated(rng, (n, hours), rng.uniform(0.03, 0.05, n), last)
    value += 0.01 * rng.standard_normal((n, hours))
    jumps = rng.random((n, hours)) < 1.0 / (shift_days * HOURS)
    value += np.cumsum(jumps * rng.normal(0.0, 0.06, (n, hours)), axis=1)
    restart = rng.random((n, hours)) < 1.0 / (restart_days * HOURS)
    since = np.broadcast_to(np.maximum(hour - onset * HOURS, 0), (n, hours))
    at_restart = np.maximum.accumulate(np.where(restart, since, 0), axis=1)
    value += leak / HOURS * (since - at_restart)
    began = np.full(n, onset if leak > 0.0 else -1)
    return Readings(np.maximum(value, 0.02), np.full(n, -1, np.int32), began)


def heat(
    rng: np.random.Generator, sites: int, members: int, days: int, creep: float, onset: int = 30
) -> Readings:
    """Return temperatures of sites in spring; in each one device's heat creeps by `creep` a day.

    Weather: 0.15 degrees a day of season, a daily cycle of 8 degrees, correlated days of 3 degrees
    (correlation time 3 days). A device adds heat of its own, takes 70 to 110 % of the weather, and
    has noise of 0.7 degrees, correlated over 12 hours. The first of each site creeps.
    """
    hours = days * HOURS
    hour = np.arange(hours)
    weather = 10.0 + 0.15 * hour / HOURS + 4.0 * np.sin(2.0 * np.pi * hour / HOURS)
    weather = weather + correlated(
        rng, (sites, hours), np.full(sites, 3.0), np.full(sites, np.exp(-1.0 / 72.0))
    )
    n = sites * members
    site = np.repeat(np.arange(sites, dtype=np.int32), members)
    value = rng.uniform(25.0, 40.0, n)[:, None] + rng.uniform(0.7, 1.1, n)[:, None] * weather[site]
    value += correlated(rng, (n, hours), np.full(n, 0.7), np.full(n, np.exp(-1.0 / 12.0)))
    began = np.full(n, -1)
    if creep > 0.0:
        first = np.arange(0, n, members)
        began[first] = onset
        value[first] += creep / HOURS * np.maximum(hour - onset * HOURS, 0)
    return Readings(value, site, began)


class Said(NamedTuple):
    """What a detector said of each device."""

    memory: ExhaustionMemory
    first: np.ndarray
    """[n] day of the first alert; -1: none."""
    alerts: np.ndarray
    """[n] how many alerts began."""
    dates: F8
    """[n, q] dates foretold at the first alert, in days; NaN: none."""


def run(detector: Exhaustion, readings: Readings, last_day: np.ndarray | None = None) -> Said:
    """Show a detector each day's readings, and close the day; no readings after `last_day` [n]."""
    value, site, _ = readings
    n, days = len(value), value.shape[1] // HOURS
    memory_ = detector.init(FleetShape(n))
    first, alerts = np.full(n, -1), np.zeros(n, dtype=np.int64)
    firing = np.zeros(n, dtype=np.bool_)
    dates = np.full((n, len(QUANTILES)), np.nan)
    device = np.arange(n, dtype=np.int32)
    nowhere = np.full(n, -1, np.int32)
    alive = np.full(n, days) if last_day is None else last_day
    for day in range(days):
        there = np.flatnonzero(alive >= day).astype(np.int32)
        if len(there) == 0:
            break
        at = START_NS + day * DAY_NS + np.arange(HOURS) * HOUR_NS
        # the first hour closes the day before, so that it is judged before the rest of this one
        for part in (slice(0, 1), slice(1, HOURS)):
            hours = at[part]
            m = len(hours)
            batch = TelemetryBatch(
                device=np.repeat(there, m),
                cohort=np.full(len(there) * m, -1, np.int32),
                ts=np.tile(hours, len(there)),
                historical=np.zeros(len(there) * m, np.bool_),
                columns={
                    detector.metric: value[there, day * HOURS : (day + 1) * HOURS][:, part].ravel()
                },
                indptr=np.arange(len(there) + 1) * m,
            )
            score = detector.update(memory_, batch).score.reshape(len(there), m)[:, 0]
            end = int(hours[-1]) + HOUR_NS
            epoch = Epoch(int(hours[0]), end, end, n, device, site, nowhere)
            detector.close(memory_, epoch)
        over = np.zeros(n, dtype=np.bool_)
        over[there] = score >= 1.0
        low = np.zeros(n, dtype=np.bool_)
        low[there] = ~(score >= CLEAR)
        fresh = np.flatnonzero(over & ~firing)
        alerts[fresh] += 1
        firing = (firing | over) & ~low
        new = fresh[first[fresh] < 0].astype(np.int32)
        if len(new):
            first[new] = day
            told = detector.forecast(memory_, new)
            assert told is not None
            dates[new] = (told.quantile - START_NS) / DAY_NS
    return Said(memory_, first, alerts, dates)


def exhausted(readings: Readings, limit: float) -> np.ndarray:
    """Return the day [n] of the first hour at the limit; the last day there is if it never was."""
    over = readings.value >= limit
    day = np.where(over.any(axis=1), over.argmax(axis=1), readings.value.shape[1])
    return np.asarray(day / HOURS)
