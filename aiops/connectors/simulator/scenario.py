"""What a simulated fleet is asked to be: its size, its nature, its mess and its faults."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from aiops.errors import SettingsError

DAY_MS = 86_400_000
BLOCK_TICKS = 24
"""Ticks simulated at once. Noise is drawn by blocks, so this is part of what a seed means."""

DEVICE = re.compile(r"gw-\d{4,}\Z")

FaultKind = Literal[
    "wear", "writes", "failing", "reboots", "heat", "leak", "outage", "power_cut", "link", "dead"
]
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)


class Climate(NamedTuple):
    """Where a site is, as far as its devices feel it."""

    name: str
    mean_c: float
    yearly_swing_c: float
    hottest_day: int
    """Day of the year."""
    daily_swing_c: float
    utc_offset_h: float
    rtt_ms: float
    """To the cloud region."""


CLIMATES = (
    Climate("Lyon", 13.0, 9.0, 205, 5.5, 1.0, 18.0),
    Climate("Osaka", 17.0, 11.0, 218, 4.0, 9.0, 46.0),
    Climate("Nairobi", 19.0, 2.0, 60, 6.0, 3.0, 95.0),
    Climate("Oulu", 3.5, 13.5, 202, 3.0, 2.0, 31.0),
    Climate("Recife", 26.0, 1.5, 45, 3.0, -3.0, 72.0),
    Climate("Denver", 10.5, 12.0, 203, 8.0, -7.0, 58.0),
    Climate("Perth", 19.0, 6.0, 35, 7.0, 8.0, 88.0),
    Climate("Porto", 15.0, 5.5, 214, 4.5, 0.0, 27.0),
)


class Model(NamedTuple):
    """A hardware model: what its devices and their flash are made of."""

    name: str
    firmware: tuple[str, str]
    share: float
    part: str
    step: float
    """Of the wear reading."""
    rated_bytes: float
    """Host bytes that wear its flash out."""
    capacity_bytes: float
    cpu_cores: float
    memory_gb: float
    temperature_limit_c: float


MODELS = (
    Model("cm4", ("2.3", "2.4"), 0.40, "mmcblk0", 0.10, 12e12, 16e9, 4.0, 4.0, 75.0),
    Model("imx8", ("5.1", "5.2"), 0.20, "mmcblk0", 0.10, 8e12, 8e9, 4.0, 2.0, 75.0),
    Model("nuc", ("1.8", "1.9"), 0.25, "nvme0", 0.01, 150e12, 256e9, 8.0, 16.0, 80.0),
    Model("orin", ("36.3", "36.4"), 0.15, "nvme0", 0.01, 300e12, 512e9, 8.0, 32.0, 80.0),
)


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong, told in advance.

    ========== ============================================== ===========================
    kind       what happens from `start_day`                  `days`, `size`
    ========== ============================================== ===========================
    wear       so many writes that the flash is worn out      after about `days`
    writes     the write rate is multiplied                   for `days`, by `size`
    failing    the flash errs, loses its spare blocks and is  after `days`
               read-only in the end, worn or not
    reboots    the rate of unplanned reboots is multiplied    for `days`, by `size`
    heat       the ambient temperature rises, stays, falls    for `days`, by `size` Cel
    leak       memory in use grows until the next boot        for `days`, by `size` % a day
    outage     the link is down; devices run on               for `days`
    power_cut  mains devices are off, and boot when it ends   for `days`
    link       the signal weakens                             for `days`, by `size` dB
    dead       the device stops for good
    ========== ============================================== ===========================
    """

    kind: FaultKind
    where: str
    """A device id, ``site:Lyon``, ``cohort:cm4-2.4`` or ``fleet``."""
    start_day: float
    days: float = math.inf
    size: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in FAULT_KINDS:
            raise SettingsError(f"fault kind {self.kind!r}: use one of {', '.join(FAULT_KINDS)}")
        if not (self.days > 0.0 and self.size > 0.0 and math.isfinite(self.start_day)):
            raise SettingsError(f"{self}: days and size must be above 0, start_day finite")
        if self.kind in ("wear", "failing", "power_cut") and math.isinf(self.days):
            raise SettingsError(f"fault {self.kind!r} of {self.where} needs a number of days")

    @property
    def end_day(self) -> float:
        """When it is over; inf: never. Wear, failing flash and death do not end."""
        return math.inf if self.kind in ("wear", "failing", "dead") else self.start_day + self.days


@dataclass(frozen=True)
class Scenario:
    """A fleet and its history; the same scenario gives the same bytes.

    A device's telemetry depends on the scenario and on its own number, never on `devices`.
    """

    devices: int = 48
    sites: int = 4
    days: int = 180
    seed: int = 1
    start: str = "2026-01-05T00:00:00Z"
    interval_s: int = 3600
    """Between two reports of a device."""
    part_interval_s: int = 21_600
    """Between two reports of its flash; a multiple of `interval_s`."""
    spread_s: float = 20.0
    """A tick's reports are spread over this long."""
    frame_ticks: int = BLOCK_TICKS
    """Ticks in a frame; a divisor of 24."""

    faults: tuple[Fault, ...] = ()
    workload_change_share: float = 0.0
    """Of devices whose write rate changes for good, x0.4 to x10."""
    reboot_drift_share: float = 0.0
    """Of devices whose reboot rate is multiplied by 2, 3 or 5, for good."""
    death_share: float = 0.0
    """Of devices that die."""

    wear_per_year: float = 0.05
    """Median over devices, of the rated endurance."""
    wear_sigma: float = 0.7
    """Standard deviation over devices of the log of the wear rate."""
    wear_scale: float = 0.005
    """Scale of the gamma process: variance over mean of the wear of any stretch."""
    reboots_per_week: float = 0.4
    """Unplanned; mean over devices, gamma distributed."""
    reboot_shape: float = 1.5
    update_days: int = 28
    """Between planned reboots; 0: none."""
    burst_share: float = 0.0
    """Chance that a reboot is followed, within minutes, by another one."""
    battery_share: float = 0.25
    link_outages_per_month: float = 0.5
    store_and_forward_share: float = 0.5
    """Of devices that send later what they could not send; the others lose it."""

    lost_share: float = 0.002
    duplicate_share: float = 0.002
    disordered_share: float = 0.002
    """Of reports that arrive one to three intervals late."""
    bad_clock_share: float = 0.05
    """Of boots whose first report is stamped 1970."""
    garbage_share: float = 0.0005
    """Of reports with an impossible value."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("devices", 1, 1_000_000),
            ("sites", 1, 10_000),
            ("days", 1, 10_000),
            ("interval_s", 1, 86_400 * 7),
            ("spread_s", 0.0, self.interval_s / 2),
            ("wear_per_year", 1e-9, 1e3),
            ("wear_sigma", 0.0, 5.0),
            ("wear_scale", 1e-9, 1.0),
            ("reboots_per_week", 1e-9, 1e3),
            ("reboot_shape", 1e-3, 1e6),
            ("update_days", 0, 10_000),
            ("burst_share", 0.0, 0.9),
            ("link_outages_per_month", 0.0, 1e3),
        ):
            self._check(name, low, high)
        for name in self.__dataclass_fields__:
            if name.endswith("_share"):
                self._check(name, 0.0, 1.0)
        if self.part_interval_s < self.interval_s or self.part_interval_s % self.interval_s:
            raise SettingsError(
                f"part_interval_s = {self.part_interval_s}: use a multiple of "
                f"interval_s = {self.interval_s}"
            )
        if self.frame_ticks < 1 or BLOCK_TICKS % self.frame_ticks:
            raise SettingsError(f"frame_ticks = {self.frame_ticks}: use a divisor of {BLOCK_TICKS}")
        sites = [f"site:{self.site(index).name}" for index in range(self.sites)]
        cohorts = [f"cohort:{m.name}-{firmware}" for m in MODELS for firmware in m.firmware]
        for fault in self.faults:
            # A device or cohort that a small fleet lacks is spared; a place that no fleet of these
            # sites could have is a slip of the pen.
            if fault.where not in ("fleet", *sites, *cohorts) and not DEVICE.match(fault.where):
                raise SettingsError(
                    f"fault {fault.kind!r} of {fault.where!r}, which is nowhere: use a device such "
                    f"as gw-0007, fleet, {', '.join(sites[:8])}, {', '.join(cohorts)}"
                )
        if sum(self.mess) > 1.0:
            raise SettingsError(f"lost, duplicate, disordered, garbage {self.mess}: sum above 1")
        try:
            np.datetime64(self.start.removesuffix("Z"), "ns")
        except ValueError as error:
            raise SettingsError(
                f"start = {self.start!r}: use UTC such as 2026-01-05T00:00:00Z"
            ) from error

    def _check(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if not low <= value <= high:
            raise SettingsError(f"{name} = {value!r}: use {low:g} to {high:g}")

    @property
    def mess(self) -> tuple[float, float, float, float]:
        """Shares of reports lost, sent twice, out of order and with garbage."""
        return self.lost_share, self.duplicate_share, self.disordered_share, self.garbage_share

    @property
    def start_ns(self) -> int:
        """Begin of the history, ns since the epoch, UTC."""
        return int(np.datetime64(self.start.removesuffix("Z"), "ns").astype(np.int64))

    @property
    def ticks(self) -> int:
        """How often each device is due to report."""
        return max(1, self.days * DAY_MS // (self.interval_s * 1000))

    def site(self, index: int) -> Climate:
        """Return site `index`; after the named ones they repeat as ``Lyon-2`` ..."""
        lap, place = divmod(index, len(CLIMATES))
        climate = CLIMATES[place]
        return climate._replace(name=f"{climate.name}-{lap + 1}") if lap else climate


SCENARIOS: dict[str, Scenario] = {
    # One story of each kind in half a year that is quiet otherwise.
    "demo": Scenario(
        faults=(
            Fault("wear", "gw-0043", 30.0, days=110.0),
            Fault("wear", "gw-0014", 60.0, days=240.0),
            Fault("writes", "gw-0013", 70.0, size=4.0),
            Fault("reboots", "cohort:cm4-2.4", 84.2, size=5.0),
            # Long enough to be seen by hourly reports: four times their interval.
            Fault("outage", "site:Osaka", 100.52, days=3.0 / 24.0),
            Fault("dead", "gw-0016", 120.3),
            Fault("heat", "site:Lyon", 150.0, days=6.0, size=24.0),
        ),
    ),
    # The demo in small, for tests and examples.
    "tiny": Scenario(
        devices=8,
        sites=2,
        days=28,
        update_days=7,
        reboots_per_week=1.0,
        faults=(
            Fault("wear", "gw-0003", 4.0, days=18.0),
            Fault("reboots", "gw-0004", 12.0, size=6.0),
            Fault("outage", "site:Osaka", 10.52, days=3.0 / 24.0),
            Fault("heat", "site:Lyon", 18.0, days=4.0, size=20.0),
            Fault("dead", "gw-0008", 20.3),
        ),
    ),
    # Nothing is wrong: whatever is raised here is a false alarm.
    "healthy": Scenario(
        devices=100,
        days=90,
        link_outages_per_month=0.0,
        lost_share=0.0,
        duplicate_share=0.0,
        disordered_share=0.0,
        bad_clock_share=0.0,
        garbage_share=0.0,
    ),
    # Everything at once, at any size.
    "fleet": Scenario(
        devices=1000,
        sites=20,
        days=30,
        workload_change_share=0.05,
        reboot_drift_share=0.05,
        death_share=0.01,
        burst_share=0.1,
        faults=(
            Fault("power_cut", "site:Nairobi", 9.4, days=2.0 / 24.0),
            Fault("outage", "site:Osaka", 15.3, days=3.0 / 24.0),
            Fault("heat", "site:Lyon", 18.0, days=5.0, size=18.0),
        ),
    ),
    # Flash alone, long enough for many to wear out.
    "wear": Scenario(
        devices=200,
        days=1096,
        interval_s=86_400,
        part_interval_s=86_400,
        wear_per_year=0.2,
        workload_change_share=0.3,
        link_outages_per_month=0.1,
    ),
    # Reboots alone: a year, drifts from its second fifth on, and one power cut that is nobody's.
    "reboots": Scenario(
        devices=300,
        days=364,
        interval_s=14_400,
        part_interval_s=86_400,
        reboots_per_week=0.7,
        reboot_drift_share=0.2,
        burst_share=0.1,
        link_outages_per_month=0.1,
        faults=(Fault("power_cut", "site:Nairobi", 200.4, days=2.0 / 24.0),),
    ),
}
"""Presets; change one with `dataclasses.replace`."""
