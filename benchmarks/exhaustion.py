"""Slow creep: memory that leaks, heat that builds up, and when it is over; beside common rules.

**Leak.** Memory in use, hourly: a base of 25-50 %, a daily cycle of 2-6 %, noise with a deviation
of 3-5 % and a correlation time of 6-48 hours, 1 % of white noise, restarts every 45 days on average
that give back what leaked, and from day 30 on a leak of 1 % a day. Scored are the runs whose memory
runs out within 160 days: `leak_found` is the share of which the first alert came 10 days or more
before that. *Coverage*: of all runs with an alert, in how many the true date is within the 5 % and
95 % foretold at the first alert; a run that goes on for 240 days counts as inside if the interval
does. The alert line is that of the product's budget: one sixth of a false alarm per 1,000
device-months.

**Heat.** Sites of ten devices in spring: season, days, weather that is correlated over three days;
each device takes 70-110 % of it, has heat of its own, and one of each site heats up by 0.1 degrees
a day from day 30 on. The limit is 85 degrees, some 30 to 45 above, and the horizon a year.

**False alarms** are counted at a budget of 10 per 1,000 device-months, where they can be counted:
on memory without a leak (bases of 25-75 %), with jumps of the base (6 %) every 30 days, with noise
that is correlated over six days, and on weather alone. `..._wander` is beyond what is claimed:
noise that is correlated over twenty days.

**Peers** are given their best: a threshold that lets them raise 50 false alarms per 1,000
device-months on healthy devices (bases of 25-75 %), five times as many. Netdata's rule reads every
five minutes (`_exhaustion_peers.py`); its alert is on a day's anomaly rate. Prometheus'
``predict_linear`` over four hours and over seven days is given the longest look ahead.
"""

from __future__ import annotations

import argparse
import json
import time

import _exhaustion_peers as peer
import _exhaustion_world as world
import numpy as np

from aiops.detectors.exhaustion import CREEPS, MONTH_S, Exhaustion
from aiops.detectors.protocol import FleetShape
from aiops.kernels.rows import F8

MEMORY, HEAT = CREEPS[0], CREEPS[2]
LEAD_DAYS = 10.0
ONSET = 30
LEAK_DAYS, COVER_DAYS, HEALTHY_DAYS, HEAT_DAYS = 160, 240, 180, 150
BUDGET, PEER_BUDGET = 10.0, 50.0
HIGHEST = 0.75
"""Base of some healthy devices: much memory in use is no leak."""
PER_HOUR = 12
LOOKS_AHEAD_H = 24.0 * np.array([0.1, 0.2, 0.5, 1, 2, 3, 4, 5, 7, 10, 14, 20, 30, 45, 60])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=RawText)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="within a minute")
    parser.add_argument("--json", action="store_true", help="print figures as the last line")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    n = 80 if options.quick else 600
    figures: dict[str, float] = {"devices": n}
    figures |= leak(rng, n)
    figures |= heat(rng, n // 10)
    figures |= false_alarms(rng, n)
    figures |= peers(rng, n, 8 if options.quick else 40)
    figures |= speed()
    if options.json:
        print(json.dumps({name: round(float(value), 5) for name, value in figures.items()}))


class RawText(argparse.RawDescriptionHelpFormatter):
    """Keeps the paragraphs of the description."""


def share(name: str, of: np.ndarray) -> dict[str, float]:
    """Return a share and its standard error, by Wilson's middle so that 0 and 1 have one too."""
    n, p = len(of), float(np.mean(of))
    middle = (n * p + 2.0) / (n + 4.0)
    return {name: p, f"{name}_se": float(np.sqrt(middle * (1.0 - middle) / (n + 4.0)))}


def told(figures: dict[str, float]) -> dict[str, float]:
    """Print figures with their errors, and return them."""
    for name, value in figures.items():
        if not name.endswith("_se"):
            error = figures.get(f"{name}_se")
            print(f"  {name:<44}{value:10.3f}" + (f" +- {error:.3f}" if error else ""), flush=True)
    return figures


# -- what is found --------------------------------------------------------------------------------


def leak(rng: np.random.Generator, n: int) -> dict[str, float]:
    """Return how many leaks are found in time, and how good their dates are."""
    print(f"a leak of 1 % a day, {n} devices:")
    readings = world.memory(rng, n, COVER_DAYS, onset=ONSET)
    out = world.exhausted(readings, MEMORY.limit)
    said = world.run(MEMORY, readings, np.ceil(out).astype(int) - 1)
    scored = out < LEAK_DAYS
    found = said.first >= 0
    lead = np.where(found, out - said.first, -np.inf)
    early, late = said.dates[found][:, [0, -1]].T
    truth = out[found]
    still = truth >= COVER_DAYS
    inside = (early <= truth) & (truth <= late)
    figures = {"leak_runs": float(scored.sum())}
    figures |= share("leak_found", lead[scored] >= LEAD_DAYS)
    figures["leak_lead_days_median"] = float(np.median(lead[scored]))
    figures["leak_delay_days_median"] = float(np.median((said.first - ONSET)[found]))
    figures |= share("leak_cover", inside)
    figures |= share("leak_before_p5", truth < early)
    figures |= share("leak_after_p95", ~still & (truth > late))
    figures |= share("leak_before_onset", (said.first < ONSET)[found])
    return told(figures)


def heat(rng: np.random.Generator, sites: int) -> dict[str, float]:
    """Return how many heaters are found among neighbours in the same weather."""
    print(f"heat creeping 0.1 degrees a day, {sites} sites of ten:")
    readings = world.heat(rng, sites, 10, HEAT_DAYS, 0.1, ONSET)
    said = world.run(HEAT, readings)
    creeps = readings.onset >= 0
    first = np.where(said.first < 0, 10_000, said.first)
    figures = share("heat_found_90d", first[creeps] - ONSET <= 90)
    figures |= share("heat_found_60d", first[creeps] - ONSET <= 60)
    figures["heat_delay_days_median"] = float(np.median(first[creeps] - ONSET))
    figures["heat_neighbours_alarmed"] = float(said.alerts[~creeps].sum())
    alone = Exhaustion(
        HEAT.metric, HEAT.limit, horizon_s=HEAT.horizon_s, alarm_budget=HEAT.alarm_budget
    )
    said = world.run(alone, readings)
    first = np.where(said.first < 0, 10_000, said.first)
    figures |= share("heat_found_90d_without_cohort", first[creeps] - ONSET <= 90)
    figures["heat_neighbours_alarmed_without_cohort"] = float(said.alerts[~creeps].sum())
    return told(figures)


def false_alarms(rng: np.random.Generator, n: int) -> dict[str, float]:
    """Return false alarms per 1,000 device-months at `BUDGET`, by what is healthy."""
    print(f"false alarms per 1,000 device-months, budget {BUDGET:g}:")
    days, hours = HEALTHY_DAYS, HEALTHY_DAYS * world.HOURS
    at_work = Exhaustion(alarm_budget=BUDGET)

    def wandering(correlated_days: float) -> world.Readings:
        last = np.full(n, np.exp(-1.0 / (24.0 * correlated_days)))
        value = world.correlated(rng, (n, hours), np.full(n, 0.05), last)
        value += rng.uniform(0.3, 0.7, n)[:, None]
        return world.Readings(value, np.full(n, -1, np.int32), np.full(n, -1))

    figures: dict[str, float] = {}
    figures |= rate("memory", at_work, world.memory(rng, n, days, 0.0, highest=HIGHEST), days)
    jumps = world.memory(rng, n, days, leak=0.0, shift_days=30.0)
    figures |= rate("jumps", at_work, jumps, days)
    figures |= rate("six_days", at_work, wandering(6.0), days)
    figures |= rate("wander", at_work, wandering(20.0), days)
    warm = Exhaustion(
        HEAT.metric, HEAT.limit, compares=True, horizon_s=HEAT.horizon_s, alarm_budget=BUDGET
    )
    weather = world.heat(rng, n // 10, 10, days, 0.0)
    figures |= rate("weather", warm, weather, days)
    return told(figures)


def rate(name: str, detector: Exhaustion, readings: world.Readings, days: int) -> dict[str, float]:
    """Return the false alarms of a healthy fleet per 1,000 device-months."""
    said = world.run(detector, readings)
    months = len(readings.value) * days * world.DAY_NS / 1e9 / MONTH_S / 1000.0
    spread = max(float(said.alerts.std()) * np.sqrt(len(said.alerts)), 1.0)
    key = f"false_alarms_{name}"
    return {key: float(said.alerts.sum()) / months, f"{key}_se": spread / months}


# -- peers ----------------------------------------------------------------------------------------


def peers(rng: np.random.Generator, n: int, few: int) -> dict[str, float]:
    """Return what common rules find of the same leaks and heat."""
    print(f"peers, at {PEER_BUDGET:g} false alarms per 1,000 device-months:")
    figures: dict[str, float] = {}
    leaks = world.memory(rng, n, LEAK_DAYS, onset=ONSET)
    sound = world.memory(rng, n, HEALTHY_DAYS, leak=0.0, highest=HIGHEST)
    out = world.exhausted(leaks, MEMORY.limit)
    sites = max(n // 10, 2)
    warm = world.heat(rng, sites, 10, HEAT_DAYS, 0.1, ONSET)
    cool = world.heat(rng, sites, 10, HEALTHY_DAYS, 0.0)
    creeps = warm.onset >= 0
    for name, hours in (("4h", 4), ("7d", 7 * 24)):
        look = longest_look(sound.value, MEMORY.limit, hours)
        first = first_over(leaks.value, MEMORY.limit, hours, look)
        found = (first >= ONSET) & (out - first >= LEAD_DAYS)
        figures |= share(f"predict_linear_{name}_leak_found", found[out < LEAK_DAYS])
        figures[f"predict_linear_{name}_look_ahead_days"] = look / 24.0
        look = longest_look(cool.value, HEAT.limit, hours)
        first = first_over(warm.value[creeps], HEAT.limit, hours, look)
        soon = (first >= ONSET) & (first <= ONSET + 90)
        figures |= share(f"predict_linear_{name}_heat_found_90d", soon)
    figures |= netdata(rng, few)
    return told(figures)


def allowed(n: int, days: int) -> float:
    """Return how many false alarms `PEER_BUDGET` allows n healthy devices, at least one."""
    return max(PEER_BUDGET * n * days * world.DAY_NS / 1e9 / MONTH_S / 1000.0, 1.0)


def longest_look(value: F8, limit: float, hours: int) -> float:
    """Return the longest look ahead, hours, at which healthy devices keep the peers' budget."""
    now, slope = peer.fits(value, hours)
    most, best = allowed(len(value), value.shape[1] // world.HOURS), 0.0
    for look in LOOKS_AHEAD_H:
        if peer.begins(now + slope * look >= limit).sum() > most:
            break
        best = float(look)
    return best


def first_over(value: F8, limit: float, hours: int, look: float) -> F8:
    """Return the day [n] of the first alert after the onset; inf: none."""
    now, slope = peer.fits(value, hours)
    over = now + slope * look >= limit
    over[:, : ONSET * world.HOURS] = False
    return np.where(over.any(axis=1), over.argmax(axis=1) / world.HOURS, np.inf)


def netdata(rng: np.random.Generator, few: int) -> dict[str, float]:
    """Return what Netdata's rule finds; it is slow here, so of fewer devices."""
    leaks = world.memory(rng, few, 90, onset=ONSET, restart_days=np.inf)
    sound = world.memory(rng, few, 90, leak=0.0, highest=HIGHEST)
    warm = world.heat(rng, few, 1, 90, 0.1, ONSET)
    cool = world.heat(rng, few, 1, 90, 0.0)
    figures = {}
    for name, bad, good, white in (("leak", leaks, sound, 0.01), ("heat", warm, cool, 0.2)):
        rates = [
            np.stack([peer.anomaly_rate(row, PER_HOUR) for row in finer(rng, one.value, white)])
            for one in (good, bad)
        ]
        line = tuned(rates[0])
        after = rates[1][:, ONSET:] > line
        day = np.where(after.any(axis=1), after.argmax(axis=1), np.inf)
        if name == "leak":
            left = world.exhausted(bad, MEMORY.limit) - ONSET - day
            figures |= share("netdata_leak_found", left >= LEAD_DAYS)
        else:
            figures |= share("netdata_heat_found_60d", np.isfinite(day))
        figures[f"netdata_{name}_anomaly_rate"] = float(rates[1][:, ONSET:].mean())
        figures[f"netdata_{name}_anomaly_rate_healthy"] = float(rates[0][:, ONSET:].mean())
    return figures


def tuned(healthy: F8) -> float:
    """Return the daily anomaly rate above which healthy devices keep the peers' budget."""
    most = allowed(*healthy.shape)
    for line in np.unique(healthy):
        if peer.begins(healthy > line).sum() <= most:
            return float(line)
    return float(healthy.max())


def finer(rng: np.random.Generator, value: F8, white: float) -> F8:
    """Return hourly series [n, h] as readings every five minutes, with white noise of their own."""
    hour = np.arange(value.shape[1])
    at = np.minimum(np.arange(value.shape[1] * PER_HOUR) / PER_HOUR, hour[-1])
    fine = np.stack([np.interp(at, hour, row) for row in value])
    return fine + white * rng.standard_normal(fine.shape)


# -- speed ----------------------------------------------------------------------------------------


def speed() -> dict[str, float]:
    """Return readings a CPU second, judging included, and bytes a device."""
    rng = np.random.default_rng(0)
    readings = world.memory(rng, 500, 120)
    world.run(MEMORY, world.Readings(readings.value[:, :480], readings.site, readings.onset))
    spent = []
    for one in (readings, world.memory(rng, 500, 120, leak=0.0)):
        began = time.process_time()
        world.run(MEMORY, one)
        spent.append(time.process_time() - began)
    print("speed:")
    each = [sum(a[0].nbytes for a in one.init(FleetShape(1))) for one in (MEMORY, HEAT)]
    return told(
        {
            "readings_per_s": readings.value.size / spent[1],
            "readings_per_s_all_leak": readings.value.size / spent[0],
            "bytes_per_device": float(each[0]),
            "bytes_per_device_compared": float(each[1]),
        }
    )


if __name__ == "__main__":
    main()
