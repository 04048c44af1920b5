"""The life of one simulated device: all of it that is not noise, drawn before the history starts.

Flash wears as a gamma process on the bytes written (van Noortwijk 2009,
doi:10.1016/j.ress.2007.03.019): a day's wear has mean `kappa * bytes` and variance `wear_scale`
times that. It is drawn by the day and straight within a day, so the true wear at any instant,
and the instant it reaches 1, are exact. Unplanned reboots are a Poisson process whose rate is
gamma distributed over devices and multiplied by the faults of the day.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar
from uuid import UUID

import numpy as np

from aiops.connectors.simulator.scenario import DAY_MS, MODELS, Fault, Model, Scenario
from aiops.connectors.simulator.streams import FAR_MS, merge
from aiops.kernels.rows import B1, F8, I8

SECONDS_PER_DAY = 86_400.0
DAYS_PER_YEAR = 365.25
WEAR_OUT_YEARS = 50
"""A wear-out later than this is not looked for."""
WANDERS = 3
"""Slow sine waves that make a load or a signal wander."""

T = TypeVar("T")


class Traits(NamedTuple, Generic[T]):
    """What a device is by nature: a number each, or [devices, 1] of a fleet."""

    phase_ms: T
    """When it reports, after the tick."""
    part_delay_ms: T
    """When its flash reports, after the device."""
    report_tick: T
    """First tick at which its flash reports."""
    warmth_c: T
    """Above ambient, when idle."""
    cpu: T
    memory: T
    rssi_dbm: T
    access_ms: T
    """Round trip on its own link."""
    charge: T
    """Mean charge of its battery; NaN: on mains."""
    charge_swing: T
    stores: T
    """1: sends later what it could not send."""
    first_boot_count: T
    """NaN: does not count."""
    unsafe_shutdowns: T
    """Before the history starts."""
    age_s: T
    """Powered before the history starts."""
    weak_at: T
    """True wear at which spare blocks begin to go."""


class Life(NamedTuple):
    """One device from its first day to its last."""

    id: str
    site: int
    model: Model
    cohort: str
    medium_id: str
    faults: tuple[Fault, ...]
    traits: Traits[float]
    wander_frequency: F8
    """[2, WANDERS] of load and signal, radians per ms."""
    wander_phase: F8
    """[2, WANDERS] radians."""
    bytes_written: F8
    """[days + 2] since the flash was new, at the beginning of each day."""
    wear: F8
    """[days + 2] true wear at the beginning of each day; 1 is worn out."""
    wear_rate: float
    """True wear per second, in health."""
    wear_out_ms: float
    """When the true wear reaches 1; NaN: not within `WEAR_OUT_YEARS`."""
    reboot_rate: float
    """Unplanned reboots (episodes, when they come in bursts) per second, in health."""
    boot_ms: I8
    """[boots] ascending; the first before the history starts."""
    boot_planned: B1
    boot_bad_clock: B1
    boot_id: list[str]
    off: list[tuple[int, int]]
    """Without power, or dead: [start, end) in ms."""
    cut_off: list[tuple[int, int]]
    """Without a link: [start, end) in ms."""
    workloads: tuple[int, ...]
    """Kinds of the workloads that live on it."""


def device_id(index: int) -> str:
    """Return the name of device `index`."""
    return f"gw-{index + 1:04d}"


def wear_factor(fault: Fault, wear: float, wear_per_day: float) -> float:
    """Return what `fault` multiplies the write rate of a flash by, whose wear at start is given."""
    if fault.kind == "writes":
        return fault.size
    left = 1.0 - wear - wear_per_day * fault.start_day
    return max(1.0, max(left, 0.05) / (wear_per_day * fault.days))


def draw_life(scenario: Scenario, index: int, rng: np.random.Generator) -> Life:
    """Draw the life of device `index` from its own stream."""
    trait = rng.random(24)
    site = index % scenario.sites
    climate = scenario.site(site)
    model = _pick(MODELS, [m.share for m in MODELS], trait[0])
    cohort = f"{model.name}-{model.firmware[int(trait[1] < 0.5)]}"
    name = device_id(index)
    on_battery = bool(trait[2] < scenario.battery_share)
    counts_boots = bool(trait[3] < 0.5)
    part_every = scenario.part_interval_s // scenario.interval_s

    names = (name, f"site:{climate.name}", f"cohort:{cohort}", "fleet")
    faults = (*(f for f in scenario.faults if f.where in names), *_own_faults(scenario, name, rng))

    # First what does not grow with the history, so that it does not depend on its length.
    reboot_rate = rng.gamma(scenario.reboot_shape) / scenario.reboot_shape
    reboot_rate *= scenario.reboots_per_week / 7.0
    periods_ms = DAY_MS * 10.0 ** rng.uniform(-0.5, 1.0, (2, WANDERS))
    wander_phase = rng.uniform(0.0, 2.0 * np.pi, (2, WANDERS))
    kinds = rng.integers(0, 4, 2)[: int(trait[20] < 0.7) + int(trait[19] < 0.3)]
    medium_id = f"{model.part[:2].upper()}{rng.integers(2**32):08X}{index:06d}"

    wear_rate, age_days, bytes_written, wear, wear_out_day = _wear(scenario, model, faults, rng)
    stops = ("dead",) if on_battery else ("dead", "power_cut")
    off = merge([(f.start_day * DAY_MS, f.end_day * DAY_MS) for f in faults if f.kind in stops])
    boot_ms, boot_planned = _boots(scenario, reboot_rate, faults, off, climate.utc_offset_h, rng)
    boot_bad_clock = rng.random(len(boot_ms)) < scenario.bad_clock_share
    boot_bad_clock[0] = False
    words = rng.bytes(16 * len(boot_ms))

    traits = Traits(
        phase_ms=math.floor(trait[4] * scenario.spread_s * 1000.0),
        part_delay_ms=math.floor(trait[5] * 2000.0) if trait[6] < 0.5 else 0.0,
        report_tick=math.floor(trait[7] * part_every),
        warmth_c=12.0 + 10.0 * trait[8],
        cpu=0.12 + 0.35 * trait[9],
        memory=0.25 + 0.3 * trait[10],
        rssi_dbm=-58.0 - 24.0 * trait[11],
        access_ms=3.0 + 22.0 * trait[12] ** 2,
        charge=0.62 + 0.1 * trait[13] if on_battery else math.nan,
        charge_swing=0.12 + 0.1 * trait[14],
        stores=float(trait[15] < scenario.store_and_forward_share),
        first_boot_count=math.floor(5.0 + 200.0 * trait[16]) if counts_boots else math.nan,
        unsafe_shutdowns=math.floor(2.0 + 40.0 * trait[17]),
        age_s=age_days * SECONDS_PER_DAY,
        weak_at=0.93 + 0.1 * trait[18],
    )
    return Life(
        id=name,
        site=site,
        model=model,
        cohort=cohort,
        medium_id=medium_id,
        faults=faults,
        traits=traits,
        wander_frequency=2.0 * np.pi / periods_ms,
        wander_phase=wander_phase,
        bytes_written=bytes_written,
        wear=wear,
        wear_rate=wear_rate / SECONDS_PER_DAY,
        wear_out_ms=wear_out_day * DAY_MS,
        reboot_rate=reboot_rate / SECONDS_PER_DAY,
        boot_ms=boot_ms,
        boot_planned=boot_planned,
        boot_bad_clock=boot_bad_clock,
        boot_id=[str(UUID(bytes=words[i : i + 16], version=4)) for i in range(0, len(words), 16)],
        off=off,
        cut_off=_cut_off(scenario, faults, rng),
        workloads=tuple(int(kind) for kind in kinds),
    )


def _pick(choices: Sequence[Model], shares: Sequence[float], u: float) -> Model:
    edges = np.cumsum(shares) / sum(shares)
    return choices[min(int(np.searchsorted(edges, u, side="right")), len(choices) - 1)]


def _own_faults(scenario: Scenario, name: str, rng: np.random.Generator) -> list[Fault]:
    """Draw what befalls the device by chance; always the same count of numbers."""
    u = rng.random(8)
    late = scenario.days * (0.2 + 0.6 * u[3:6])
    faults = []
    if u[0] < scenario.workload_change_share:
        size = float(np.exp(np.log(0.4) + u[6] * np.log(10.0 / 0.4)))
        faults.append(Fault("writes", name, float(late[0]), size=size))
    if u[1] < scenario.reboot_drift_share:
        size = (2.0, 3.0, 5.0)[int(3.0 * u[7])]
        faults.append(Fault("reboots", name, float(late[1]), size=size))
    if u[2] < scenario.death_share:
        faults.append(Fault("dead", name, float(late[2])))
    return faults


def _wear(
    scenario: Scenario, model: Model, faults: tuple[Fault, ...], rng: np.random.Generator
) -> tuple[float, float, F8, F8, float]:
    """Return wear per day in health, age in days, bytes and wear [days + 2], day of wear-out."""
    scale = scenario.wear_scale
    rate = scenario.wear_per_year * math.exp(scenario.wear_sigma * rng.standard_normal())
    rate /= DAYS_PER_YEAR
    wear_per_byte = math.exp(0.3 * rng.standard_normal()) / model.rated_bytes
    age_days = DAYS_PER_YEAR * (0.3 + 3.7 * rng.random())
    worn = min(scale * rng.gamma(rate * age_days / scale), 0.85)

    days = np.arange(scenario.days + 1)
    load = np.exp(0.3 * rng.standard_normal(len(days)) - 0.045)
    factor_in_the_end = 1.0
    for fault in faults:
        if fault.kind in ("wear", "writes"):
            factor = wear_factor(fault, worn, rate)
            inside = np.clip(fault.end_day - days, 0.0, 1.0)
            inside = np.minimum(inside, np.clip(days + 1.0 - fault.start_day, 0.0, 1.0))
            load *= 1.0 + (factor - 1.0) * inside
            factor_in_the_end *= factor if fault.end_day > scenario.days else 1.0
    written = rate * load / wear_per_byte
    bytes_written = worn / wear_per_byte + np.concatenate(([0.0], np.cumsum(written)))
    daily = scale * rng.gamma(wear_per_byte * written / scale)
    wear = worn + np.concatenate(([0.0], np.cumsum(daily)))

    # Beyond the history by the month, so that every flash has a true date.
    mean = 30.0 * rate * factor_in_the_end
    months = int(WEAR_OUT_YEARS * 12)
    beyond = wear[-1] + np.cumsum(scale * rng.gamma(mean / scale, size=months))
    at_day = np.concatenate((np.arange(len(wear)), len(wear) - 1 + 30.0 * np.arange(1, months + 1)))
    path = np.concatenate((wear, beyond))
    place = int(np.searchsorted(path, 1.0))
    if place == len(path):
        return rate, age_days, bytes_written, wear, math.nan
    part = (1.0 - path[place - 1]) / (path[place] - path[place - 1])
    wear_out_day = at_day[place - 1] + part * (at_day[place] - at_day[place - 1])
    return rate, age_days, bytes_written, wear, float(wear_out_day)


def _boots(
    scenario: Scenario,
    per_day: float,
    faults: tuple[Fault, ...],
    off: list[tuple[int, int]],
    utc_offset_h: float,
    rng: np.random.Generator,
) -> tuple[I8, B1]:
    """Return when the device booted, in ms, and whether that was planned."""
    drifts = [f for f in faults if f.kind == "reboots"]
    edges = np.unique(
        np.clip(
            [0.0, scenario.days, *(day for f in drifts for day in (f.start_day, f.end_day))],
            0.0,
            scenario.days,
        )
    )
    rate = np.full(len(edges) - 1, per_day)
    for f in drifts:
        rate[(edges[:-1] >= f.start_day) & (edges[:-1] < f.end_day)] *= f.size
    expected = np.concatenate(([0.0], np.cumsum(rate * np.diff(edges))))
    first = -min(rng.exponential(1.0 / per_day), scenario.update_days or 60.0, 60.0)
    episodes = np.interp(
        np.sort(rng.random(rng.poisson(expected[-1])) * expected[-1]), expected, edges
    )
    unplanned = [episodes]
    if scenario.burst_share:
        more = rng.geometric(1.0 - scenario.burst_share, len(episodes)) - 1
        minutes = rng.uniform(2.0, 10.0, int(more.sum()))
        starts = np.repeat(np.cumsum(more) - more, more)
        total = np.cumsum(minutes)
        before = np.concatenate(([0.0], total))[starts]
        unplanned.append(np.repeat(episodes, more) + (total - before) / 1440.0)
    back = [end for _, end in off if end < FAR_MS]
    unplanned.append(np.array(back) / DAY_MS + rng.uniform(20.0, 60.0, len(back)) / SECONDS_PER_DAY)

    every = scenario.update_days
    updates = np.arange(every, scenario.days, every) if every else np.zeros(0)
    at_night = (2.0 - utc_offset_h) % 24.0 / 24.0
    planned = updates + at_night + rng.uniform(0.0, 20.0, len(updates)) / 1440.0

    boots = np.concatenate(([first], *unplanned, planned))
    is_planned = np.arange(len(boots)) >= len(boots) - len(planned)
    order = np.argsort(boots, kind="stable")
    ms = np.floor(boots[order] * DAY_MS).astype(np.int64)
    on = np.ones(len(ms), dtype=np.bool_)
    for start, end in off:
        on &= (ms < start) | (ms >= end)
    return ms[on], is_planned[order][on]


def _cut_off(
    scenario: Scenario, faults: tuple[Fault, ...], rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Return when the link was down: by nature (40 min, up to a day) and by faults."""
    n = int(rng.poisson(scenario.link_outages_per_month * scenario.days / 30.0))
    start = rng.random(n) * scenario.days * DAY_MS
    length = np.minimum(2.4e6 * np.exp(rng.standard_normal(n)), DAY_MS)
    told = [(f.start_day * DAY_MS, f.end_day * DAY_MS) for f in faults if f.kind == "outage"]
    return merge([*zip(start, start + length, strict=True), *told])
