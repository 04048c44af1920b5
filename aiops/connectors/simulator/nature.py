"""What the devices of a simulated fleet measure: their lives at an instant, and a little noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from aiops.connectors.simulator.life import Life, Traits
from aiops.connectors.simulator.scenario import DAY_MS, FaultKind, Scenario
from aiops.connectors.simulator.streams import Intervals, Timeline
from aiops.kernels.rows import B1, F8, I8

NORMALS = 7
"""Normal numbers that a device's metrics need at a tick."""

MEDIA_ERRORS = 40.0
"""Counted until a failing flash is read-only."""

DISKSTATS_WRAP = 2.0**41
"""Bytes: a 32-bit kernel counts 2**32 sectors of 512."""

DEVICE_METRICS = (
    "device.uptime",
    "device.boot_time",
    "device.boot_count",
    "device.reboot_planned",
    "temperature.celsius",
    "battery.soc_ratio",
    "power.on_mains",
    "net.rssi_dbm",
    "net.loss_ratio",
    "net.rtt_ms",
    "cpu.utilization_ratio",
    "memory.utilization_ratio",
)
PART_METRICS = (
    "storage.wear.used_ratio/nvme",
    "storage.wear.used_ratio/emmc",
    "storage.bytes_written/nvme",
    "storage.bytes_written/diskstats",
    "storage.capacity",
    "storage.pre_eol",
    "storage.spare_ratio",
    "storage.spare_threshold_ratio",
    "storage.critical_warning",
    "storage.media_errors",
    "storage.power_on_time",
    "storage.unsafe_shutdowns",
)


class Window(NamedTuple):
    """A passing condition (heat, a weak link) of some devices."""

    member: B1
    start_ms: float
    end_ms: float
    size: float

    def strength(self, ms: I8, ramp_ms: float) -> F8:
        """Return how strong it is at `ms` [devices, ticks]: up by a ramp, down by a ramp."""
        edge = np.minimum(ms - self.start_ms, self.end_ms - ms) / ramp_ms
        strength: F8 = self.size * np.clip(edge, 0.0, 1.0) * self.member[:, None]
        return strength


class Nature:
    """The lives of a fleet laid out as arrays, device axis first."""

    def __init__(self, scenario: Scenario, lives: Sequence[Life]) -> None:
        self.start_ms = scenario.start_ns // 1_000_000
        self.traits: Traits[F8] = Traits(*np.array([life.traits for life in lives]).T[:, :, None])
        self.off = Intervals([life.off for life in lives])
        self.cut_off = Intervals([life.cut_off for life in lives])
        self.boots = Timeline([life.boot_ms for life in lives])
        self.boot_bad_clock = np.concatenate([life.boot_bad_clock for life in lives])

        self._interval_ms = scenario.interval_s * 1000
        self._is_nvme = np.array([life.model.part.startswith("nvme") for life in lives])
        self._capacity_bytes = np.array([life.model.capacity_bytes for life in lives])
        self._bytes = np.stack([life.bytes_written for life in lives])
        self._wear = np.stack([life.wear for life in lives])
        self._wander_frequency = np.stack([life.wander_frequency for life in lives])
        self._wander_phase = np.stack([life.wander_phase for life in lives])
        count = np.array([len(life.boot_ms) for life in lives])
        owner = np.repeat(np.arange(len(lives)), count)
        self._first_boot = np.cumsum(count) - count
        self._boot_planned = np.concatenate([life.boot_planned for life in lives])
        self._unplanned = np.cumsum(~self._boot_planned)
        self._bytes_at_boot = np.maximum(along_days(self._bytes, owner, self.boots.ms), 0.0)

        climates = [scenario.site(site) for site in range(scenario.sites)]
        site = np.array([life.site for life in lives])
        self._utc_offset_h = np.array([c.utc_offset_h for c in climates])[site]
        self._rtt_ms = np.array([c.rtt_ms for c in climates])[site]
        self._climate = np.array(
            [
                (c.mean_c, c.yearly_swing_c, c.hottest_day, c.daily_swing_c, 0.57 * i)
                for i, c in enumerate(climates)
            ]
        ).T[:, site]
        self._heat = _windows("heat", scenario, lives)
        self._leaks = _windows("leak", scenario, lives)
        self._weak_links = _windows("link", scenario, lives)
        self._failing = _failing(scenario, lives)

    def true_wear(self, device: I8, ms: I8) -> F8:
        """Return the true wear of the flash of `device` at `ms` (same shapes)."""
        return along_days(self._wear, device, ms)

    def of_devices(self, ms: I8, boot: I8, cut: B1, normal: F8) -> dict[str, F8]:
        """Return `DEVICE_METRICS` [devices, ticks] at `ms`, of boots `boot`, where `cut` off.

        `normal` is the noise, [devices, NORMALS, ticks].
        """
        traits = self.traits
        hour = (ms / 3_600_000.0 + self._utc_offset_h[:, None]) % 24.0
        wander = np.sqrt(2.0 / self._wander_phase.shape[2]) * np.sin(
            self._wander_frequency[:, :, :, None] * ms[:, None, None, :]
            + self._wander_phase[:, :, :, None]
        ).sum(axis=2)
        boot_ms = self.boots.ms[boot]
        uptime_ms = ms - boot_ms

        busy = np.clip(np.sin((hour - 7.0) * np.pi / 12.0), 0.0, 1.0)
        cpu = traits.cpu + 0.12 * busy + 0.05 * wander[:, 0] + 0.03 * normal[:, 1]
        cpu = np.clip(cpu, 0.01, 1.0)
        leak = 0.0025 * np.sqrt(np.maximum(uptime_ms, 0) / 3_600_000.0)
        for window in self._leaks:
            begun_ms = np.maximum(boot_ms, window.start_ms)
            lost_days = np.maximum(np.minimum(ms, window.end_ms) - begun_ms, 0.0) / DAY_MS
            leak += 0.01 * window.size * lost_days * window.member[:, None]
        memory = np.clip(traits.memory + leak + 0.01 * normal[:, 2], 0.0, 1.0)
        warm = self._ambient(ms, hour) + traits.warmth_c + 22.0 * cpu + 0.4 * normal[:, 0]

        rssi = traits.rssi_dbm + 2.5 * wander[:, 1] + 1.5 * normal[:, 3] - 25.0 * cut
        for window in self._weak_links:
            rssi -= window.strength(ms, self._interval_ms)
        rssi = np.clip(rssi, -130.0, -20.0)
        loss = 0.6 / (1.0 + np.exp((rssi + 97.0) / 3.0)) * np.exp(0.3 * normal[:, 4])
        loss = np.where(cut, 1.0, np.clip(loss, 0.0, 1.0))
        rtt = (self._rtt_ms[:, None] + traits.access_ms) * (1.0 + 0.06 * np.abs(normal[:, 4]))
        rtt = np.where(cut, np.nan, rtt + 400.0 * loss)

        charge = traits.charge + traits.charge_swing * np.cos((hour - 16.0) * np.pi / 12.0)
        charge += 0.03 * wander[:, 0] + 0.005 * normal[:, 5]
        # Whole seconds, as in /proc/stat; a clock that NTP nudges makes them flicker.
        boot_time = np.rint((self.start_ms + boot_ms) / 1000.0 + 0.25 * normal[:, 6])
        return {
            "device.uptime": np.floor(uptime_ms / 1000.0),
            "device.boot_time": boot_time,
            "device.boot_count": traits.first_boot_count + boot - self._first_boot[:, None],
            "device.reboot_planned": self._boot_planned[boot].astype(np.float64),
            "temperature.celsius": np.round(warm, 1),
            "battery.soc_ratio": np.round(np.clip(charge, 0.02, 1.0), 2),
            "power.on_mains": np.isnan(charge).astype(np.float64),
            "net.rssi_dbm": np.rint(rssi),
            "net.loss_ratio": np.round(loss, 3),
            "net.rtt_ms": np.round(rtt, 1),
            "cpu.utilization_ratio": np.round(cpu, 2),
            "memory.utilization_ratio": np.round(memory, 2),
        }

    def of_parts(self, device: I8, ms: I8, boot: I8) -> dict[str, F8]:
        """Return `PART_METRICS` [n] of the flash of `device` at `ms`, of boots `boot`, [n] each."""
        traits = Traits(*(values[device, 0] for values in self.traits))
        wear = along_days(self._wear, device, ms)
        written = along_days(self._bytes, device, ms)
        since_boot = (written - self._bytes_at_boot[boot]) % DISKSTATS_WRAP
        nvme = np.where(self._is_nvme[device], 1.0, np.nan)
        emmc = np.where(self._is_nvme[device], np.nan, 1.0)
        start_ms, days_ms = self._failing[device].T
        failed = np.clip((ms - start_ms) / days_ms, 0.0, 1.0)
        # Spare goes from weak_at on and is gone a tenth of a life later, worn or failed.
        worn = np.clip((wear - traits.weak_at) / 0.1, 0.0, 1.0)
        spare = 1.0 - np.maximum(worn, failed**2)
        warning = 1.0 * (spare < 0.1) + 4.0 * (wear >= 1.05) + 8.0 * (failed >= 1.0)
        unsafe = self._unplanned[boot] - self._unplanned[self._first_boot[device]]
        on_hours = np.floor((traits.age_s + ms / 1000.0) / 3600.0)
        return {
            "storage.wear.used_ratio/nvme": nvme * np.minimum(np.floor(wear * 100), 255) / 100,
            "storage.wear.used_ratio/emmc": emmc * np.minimum(np.floor(wear * 10), 10) / 10,
            "storage.bytes_written/nvme": nvme * np.floor(written / 512e3) * 512e3,
            "storage.bytes_written/diskstats": emmc * np.floor(since_boot / 512.0) * 512.0,
            "storage.capacity": self._capacity_bytes[device],
            "storage.pre_eol": emmc * (1.0 + (spare <= 0.2) + (spare <= 0.1)),
            "storage.spare_ratio": nvme * np.ceil(spare * 100.0) / 100.0,
            "storage.spare_threshold_ratio": nvme * 0.1,
            "storage.critical_warning": nvme * warning,
            "storage.media_errors": nvme * np.floor(MEDIA_ERRORS * failed),
            "storage.power_on_time": nvme * on_hours * 3600.0,
            "storage.unsafe_shutdowns": nvme * (traits.unsafe_shutdowns + unsafe),
        }

    def _ambient(self, ms: I8, hour: F8) -> F8:
        """Return the temperature around each device, [devices, ticks] Cel."""
        year = 2.0 * np.pi / 365.2425 * ((self.start_ms + ms) / DAY_MS)
        mean, yearly, hottest, daily, weather = self._climate[:, :, None]
        warm = mean + yearly * np.cos(year - 2.0 * np.pi / 365.2425 * hottest)
        warm += daily * np.cos((hour - 15.0) * np.pi / 12.0)
        # Weather: warm and cold spells of about two weeks and one.
        warm += 1.6 * np.sin(29.0 * year + weather) + 1.2 * np.sin(61.0 * year + 2.0 * weather)
        for window in self._heat:
            warm += window.strength(ms, min(DAY_MS, (window.end_ms - window.start_ms) / 4.0))
        ambient: F8 = warm
        return ambient


def along_days(path: F8, device: I8, ms: I8) -> F8:
    """Return `path` [devices, days + 2], straight within a day, of `device` at `ms` [n]."""
    day = np.clip(ms // DAY_MS, 0, path.shape[1] - 2)
    low = path[device, day]
    value: F8 = low + (path[device, day + 1] - low) * (ms / DAY_MS - day)
    return value


def _windows(kind: FaultKind, scenario: Scenario, lives: Sequence[Life]) -> list[Window]:
    return [
        Window(
            np.array([fault in life.faults for life in lives]),
            fault.start_day * DAY_MS,
            fault.end_day * DAY_MS,
            fault.size,
        )
        for fault in scenario.faults
        if fault.kind == kind
    ]


def _failing(scenario: Scenario, lives: Sequence[Life]) -> F8:
    """Return [devices, 2] when the flash begins to fail, and for how long it fails, in ms."""
    began = np.full((len(lives), 2), (np.inf, 1.0))
    for i, life in enumerate(lives):
        for fault in life.faults:
            if fault.kind == "failing" and fault.start_day * DAY_MS < began[i, 0]:
                began[i] = fault.start_day * DAY_MS, fault.days * DAY_MS
    return began
