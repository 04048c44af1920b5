"""Reboots that are not a Poisson process: how long a fleet that learns of it runs until an alarm.

Here every reboot is told by a row and counted: a row at each boot, and one a day, with boot counter
and uptime. Nothing changes, so every alarm is false. Devices are one cohort at no site; one that
has raised an alarm is switched off.
"""

from __future__ import annotations

from dataclasses import dataclass

import _reboot_limit as limit
import numpy as np
from _reboot_fleet import DAY_NS, START_DAY, Fleet, RunLengths, rates

from aiops.detectors.reboot_drift import RebootDrift
from aiops.kernels.rows import F8, I4, I8
from aiops.telemetry.batch import TelemetryBatch, group_bounds

CHUNK_DAYS = 364
BURST_S = 300.0
"""Mean time between the reboots of a burst of minutes."""


@dataclass(frozen=True)
class World:
    """How episodes of reboots come about."""

    more: float = 0.0
    """Chance of a further reboot after each one of an episode."""
    within_day: bool = False
    """They are spread over a day, not over minutes."""
    factor_var: float = 0.0
    """Variance of the gamma-distributed factor that raises or lowers the rate..."""
    factor_days: int = 7
    """...of so many days, of each device by itself and with weeks of its own."""
    by_day: bool = False
    """Reboots happen from 8 to 18 h only."""
    rate: float | None = 1.0
    """Episodes a week; None: as in the simulated fleets, unlike from device to device."""


WORLDS = {
    "poisson": World(),
    "bursts_p3": World(more=0.3),
    "bursts_p5": World(more=0.5),
    "day_bursts_p3": World(more=0.3, within_day=True),
    "day_bursts_p5": World(more=0.5, within_day=True),
    "modulated_15": World(factor_var=0.5),
    "modulated_2": World(factor_var=1.0),
    "modulated_daily": World(factor_var=3.5, factor_days=1),
    "diurnal": World(by_day=True),
    "modulated_unlike": World(factor_var=1.0, rate=None),
}
"""A week's index of dispersion is 1.5 in ``modulated_15`` and ``modulated_daily``, and 2."""


def boots_of(
    world: World, rate: F8, first_day: int, phase: I8, rng: np.random.Generator
) -> tuple[I4, I8]:
    """Return device and time (ns) of all reboots in `CHUNK_DAYS` from `first_day` on, sorted."""
    n = len(rate)
    factor = np.ones((n, CHUNK_DAYS))
    if world.factor_var > 0.0:
        blocks = CHUNK_DAYS // world.factor_days + 2
        drawn = rng.gamma(1.0 / world.factor_var, world.factor_var, (n, blocks))
        block = (np.arange(CHUNK_DAYS) + phase[:, None]) // world.factor_days
        factor = np.take_along_axis(drawn, block, axis=1)
    counts = rng.poisson(rate[:, None] / limit.WEEK_DAYS * factor)
    device, day = np.nonzero(counts)
    times = counts[device, day]
    device, day = np.repeat(device, times), np.repeat(day, times)
    hour = rng.uniform(8.0, 18.0, len(day)) if world.by_day else rng.uniform(0.0, 24.0, len(day))
    at_s = (first_day + day) * 86_400.0 + hour * 3600.0
    if world.more > 0.0:
        extra = rng.geometric(1.0 - world.more, len(at_s)) - 1
        start = np.repeat(at_s, extra)
        if world.within_day:
            later = start + rng.uniform(0.0, 86_400.0, len(start))
        else:
            gaps = np.cumsum(rng.exponential(BURST_S, len(start)))
            begun = np.concatenate(([0.0], gaps))[np.repeat(np.cumsum(extra) - extra, extra)]
            later = start + gaps - begun
        at_s = np.concatenate((at_s, later))
        device = np.concatenate((device, np.repeat(device, extra)))
    kept = at_s < (first_day + CHUNK_DAYS) * 86_400.0
    device, at_s = device[kept], at_s[kept]
    order = np.lexsort((at_s, device))
    return device[order].astype(np.int32), (at_s[order] * 1e9).astype(np.int64)


class Telemetry:
    """Rows of the devices of a world, a batch a day."""

    def __init__(self, world: World, rate: F8, rng: np.random.Generator) -> None:
        self._world, self._rate, self._rng = world, rate, rng
        n = len(rate)
        self._report_ns = rng.integers(0, DAY_NS, n)
        self._phase = rng.integers(0, world.factor_days, n)
        self._booted = np.full(n, (START_DAY - 1) * DAY_NS)
        self._count = np.zeros(n)

    def chunk(self, first_day: int, active: I4) -> list[TelemetryBatch]:
        """Return the batches of `CHUNK_DAYS` days of the `active` devices."""
        which, boots = boots_of(
            self._world, self._rate[active], first_day, self._phase[active], self._rng
        )
        days = np.arange(first_day, first_day + CHUNK_DAYS)
        daily = (days[None, :] * DAY_NS + self._report_ns[active, None]).ravel()
        device = np.concatenate((active[which], np.repeat(active, CHUNK_DAYS)))
        ts = np.concatenate((boots, daily))
        is_boot = np.concatenate((np.ones(len(boots), bool), np.zeros(len(daily), bool)))
        order = np.lexsort((ts, device))
        device, ts, is_boot = device[order], ts[order], is_boot[order]
        first = np.concatenate(([True], device[1:] != device[:-1]))
        last = np.concatenate((first[1:], [True]))
        so_far = np.cumsum(is_boot)
        before = (so_far - is_boot)[first][np.cumsum(first) - 1]
        count = self._count[device] + so_far - before
        starts = is_boot | first  # a device's first row goes on with the boot it had
        begun = np.where(is_boot, ts, self._booted[device])
        booted = begun[np.flatnonzero(starts)[np.cumsum(starts) - 1]]
        self._booted[device[last]], self._count[device[last]] = booted[last], count[last]
        uptime = (ts - booted) * 1e-9
        by_day = np.argsort(ts // DAY_NS, kind="stable")
        cuts = np.searchsorted((ts // DAY_NS)[by_day], days[1:])
        return [self._batch(device, ts, count, uptime, of) for of in np.split(by_day, cuts)]

    @staticmethod
    def _batch(device: I4, ts: I8, count: F8, uptime: F8, of: I8) -> TelemetryBatch:
        return TelemetryBatch(
            device=device[of],
            cohort=np.zeros(len(of), np.int32),
            ts=ts[of],
            historical=np.zeros(len(of), np.bool_),
            columns={"device.boot_count": count[of], "device.uptime": uptime[of]},
            indptr=group_bounds(device[of]),
        )


def run_lengths(world: World, devices: int, years: float, seed: int) -> RunLengths:
    """Let a fleet of that world run until each device has raised an alarm, or for `years`."""
    rng = np.random.default_rng(seed)
    rate = rates(devices, rng) if world.rate is None else np.full(devices, world.rate)
    detector = RebootDrift(alarm_budget=limit.budget_for(limit.TARGET_DAYS))
    fleet = Fleet(detector, devices)
    telemetry = Telemetry(world, rate, rng)
    days = np.full(devices, np.inf)
    left = np.arange(devices, dtype=np.int32)
    first = fleet.day
    last = int(np.ceil(years * limit.YEAR_DAYS / CHUNK_DAYS)) * CHUNK_DAYS
    while len(left) and fleet.day < first + last:
        present = np.ones(devices, dtype=np.bool_)
        for batch in telemetry.chunk(fleet.day, left):
            here = batch if present[left].all() else batch.take(present[batch.device])
            detector.update(fleet.memory, here)
            fleet.close()
            over = fleet.over & present
            over[np.isfinite(days)] = False
            days[over] = fleet.day - first
            present[over] = False
        left = left[np.isinf(days[left])]
    return RunLengths(rate, np.minimum(days, last), np.isfinite(days))
