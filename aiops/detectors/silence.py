"""A device, or a whole site, has not been heard of for longer than its rhythm explains."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from aiops.detectors import last_gasp
from aiops.detectors.last_gasp import GASP, KEPT, USUAL_SHARE, USUALLY, WORDS
from aiops.detectors.protocol import Detector, Epoch, FleetShape, Forecast, Shared
from aiops.errors import SettingsError
from aiops.kernels.gasp import remember_words, see_boots
from aiops.kernels.rhythm import (
    BEGUN,
    NEW,
    OCTAVES,
    OVER,
    RhythmMemory,
    rhythm_close,
    rhythm_update,
)
from aiops.kernels.rows import B1, F8, I4, Scores, no_scores
from aiops.telemetry.batch import TelemetryBatch

MONTH_S = 365.25 / 12.0 * 86_400.0
BOOTS = ("device.boot_id", "device.boot_count", "device.uptime", "device.boot_time")


@dataclass(frozen=True)
class Silence:
    """Silence against a device's own rhythm, judged whenever an epoch closes.

    Beyond the typical interval, the tail of a device's intervals is taken to be exponential with
    the spread that was seen. Of N intervals a month, one in ``1000 * N / alarm_budget`` may be
    longer than is allowed, so with n intervals seen the device is allowed ::

        typical + k * spread,    k = n * ((1000 * N / alarm_budget) ** (1 / n) - 1)

    because an exponential interval exceeds k times the mean of n others with probability
    ``(1 + k / n) ** -n``. As n grows, k tends to the logarithm: who has hardly been seen is hardly
    ever missed, and a device that reports every hour is missed in its fourth.

    A site of three devices or more that falls silent is one finding, of the site, and so is its
    return, which says who came back and whether they had booted: then power was lost, else the
    network. A silent device's finding says whether it is likelier down or cut off (`last_gasp`).
    """

    alarm_budget: float = field(default=1.0, metadata={"line": True})
    """False alarms per 1,000 device-months."""
    min_silence_s: float = field(default=600.0, metadata={"line": True})
    """No shorter silence is ever an alarm."""
    site_wait_s: float = field(default=3600.0, metadata={"line": True})
    """How long a device's alarm waits, at most, for its site to show whether it still speaks."""
    memory_reports: int = 100
    """How many of its last reports a device's rhythm is learnt from."""

    name: ClassVar[str] = "silence"
    version: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = ()
    also_reads: ClassVar[tuple[str, ...]] = (*WORDS, *BOOTS)

    def __post_init__(self) -> None:
        if not 0.0 < self.alarm_budget < math.inf:
            raise SettingsError(
                f"{self.name}: alarm_budget must be above 0; got {self.alarm_budget}"
            )
        if not 0.0 < self.min_silence_s < math.inf:
            raise SettingsError(
                f"{self.name}: min_silence_s must be above 0; got {self.min_silence_s}"
            )
        if not 0.0 <= self.site_wait_s < math.inf:
            raise SettingsError(
                f"{self.name}: site_wait_s must be 0 or more; got {self.site_wait_s}"
            )
        if self.memory_reports < 3:
            raise SettingsError(
                f"{self.name}: memory_reports must be 3 or more; got {self.memory_reports}"
            )

    @cached_property
    def patience(self) -> F8:
        """Spreads allowed beyond the typical interval [intervals seen, octave of the typical].

        Within an octave the shortest interval counts, which is met most often.
        """
        n = np.arange(self.memory_reports + 1, dtype=np.float64)[:, None].clip(min=1.0)
        shortest_s = 2.0 ** (np.arange(OCTAVES) - OCTAVES // 2 - 1.0)
        log_intervals = np.log(1000.0 * MONTH_S / (self.alarm_budget * shortest_s))
        k: F8 = n * np.expm1(log_intervals.clip(min=1.0) / n)
        return k

    def init(self, shape: FleetShape) -> RhythmMemory:
        """Return the memory of devices nothing is known of."""
        n = shape.capacity
        times = ("last", "beat", "beats", "resumed", "gone", "back", "excused", "outage_ts")
        fields: dict[str, Any] = {name: np.zeros(n, dtype=np.int64) for name in times}
        for name in ("booted", "rebooted", "boot_said"):
            fields[name] = np.zeros(n, dtype=np.int64)
        for name in ("typical_s", "variance_s2", "spread_s", "longest_s"):
            fields[name] = np.zeros(n)
        for name in ("silent_s", "site_silent_ratio", "known_id", "known_count"):
            fields[name] = np.full(n, np.nan)
        for name in ("own", "outage", "clock_reset"):
            fields[name] = np.zeros(n, dtype=np.int8)
        return RhythmMemory(
            **fields,
            place=np.full(n, -1, dtype=np.int32),
            allowed_s=np.full(n, np.inf),
            words=np.full((n, KEPT), np.nan, dtype=np.float32),
            said_min=np.zeros((n, KEPT), dtype=np.int32),
            gasp=np.full((n, len(GASP)), np.nan, dtype=np.float32),
        )

    def update(self, memory: RhythmMemory, batch: TelemetryBatch) -> Scores:
        """Learn the rhythm, and remember what was said and which boot it is.

        A row that comes is no sign of silence, so nothing is scored.
        """
        rows, columns = batch.rows, batch.columns
        for which, name in enumerate((*WORDS, *USUALLY)):
            if name in columns:
                share = 1.0 if which < len(WORDS) else USUAL_SHARE
                self._remember(batch, name, memory, which, share)
        if any(name in columns for name in BOOTS):
            see_boots(
                rows.device,
                rows.ts,
                batch.column("device.boot_id"),
                batch.column("device.boot_count"),
                batch.column("device.uptime"),
                batch.column("device.boot_time"),
                memory.last,
                memory.known_id,
                memory.known_count,
                memory.booted,
                memory.rebooted,
                memory.boot_said,
                memory.clock_reset,
            )
        rhythm_update(rows, memory, self.memory_reports)
        nothing = np.full(len(batch), np.nan)
        return Scores(nothing, nothing, nothing)

    def _remember(
        self, batch: TelemetryBatch, name: str, memory: RhythmMemory, which: int, share: float
    ) -> None:
        remember_words(
            batch.device,
            batch.ts,
            batch.columns[name],
            memory.last,
            which,
            share,
            memory.words,
            memory.said_min,
        )

    def close(self, memory: RhythmMemory, epoch: Epoch) -> Scores | None:
        """Judge all devices; observed is the silence, expected the typical interval, seconds.

        Parts are not judged: their device speaks for them, and they for it. A medium that has been
        replaced takes its rhythm with it.
        """
        memory.place[epoch.replaced] = -1
        scores = no_scores(epoch.size)
        fresh = rhythm_close(
            epoch.clock,
            epoch.root,
            epoch.site,
            memory,
            self.patience.ravel(),
            self.min_silence_s,
            self.site_wait_s,
            scores,
        )
        if fresh:
            device = np.flatnonzero(memory.own[: epoch.size] == NEW).astype(np.int32)
            memory.gasp[device] = self._gasps(memory, epoch, device)
        return scores

    def _gasps(self, memory: RhythmMemory, epoch: Epoch, device: I4) -> Any:
        size, gone = epoch.size, memory.gone[device]
        return last_gasp.gasps(
            memory.words[:size], memory.said_min[:size], epoch.root, device, gone
        )

    def shared(self, memory: RhythmMemory, epoch: Epoch) -> Sequence[Shared]:
        """Return the sites that have fallen silent, and those that are heard again."""
        outage = memory.outage[: epoch.size]
        if not (outage & 1).any():
            return ()
        began = np.flatnonzero(outage == BEGUN).astype(np.int32)
        over = np.flatnonzero(outage == OVER).astype(np.int32)
        said = self._gasps(memory, epoch, began)
        mains, usual = (said[:, GASP.index(name)] for name in ("on_mains", "usual_mains_ratio"))
        lost = (mains == 0.0) & (usual >= 0.5)
        size, sites = epoch.size, int(epoch.site.max()) + 1
        judged = np.isfinite(memory.allowed_s[:size]) & (memory.own[:size] == 0) & (epoch.site >= 0)
        of_site = np.bincount(epoch.site[judged], minlength=sites)
        return [
            *(
                self._outage(
                    memory, epoch, int(of_site[epoch.site[began[at[0]]]]), began[at], lost[at]
                )
                for at in _groups(epoch.site[began])
            ),
            *(self._return(memory, epoch, over[at]) for at in _groups(epoch.site[over])),
        ]

    def _outage(
        self, memory: RhythmMemory, epoch: Epoch, of_site: int, device: I4, lost_mains: B1
    ) -> Shared:
        since = int(memory.outage_ts[device[0]])
        on_battery = int(np.count_nonzero(lost_mains))
        text = (
            f"{len(device)} of {of_site} devices not heard of for {lasting(since, epoch.clock)}; "
        )
        if 2 * on_battery > len(device):
            text += f"{on_battery} had lost their mains: it is likely the site's power."
        else:
            text += "the site's network or power is the likeliest cause, not the devices."
        return Shared(
            group="site",
            code=int(epoch.site[device[0]]),
            status="firing",
            since=since,
            ts=epoch.end,
            score=max(1.0, float((memory.silent_s[device] / memory.allowed_s[device]).max())),
            observed=(epoch.clock - since) * 1e-9,
            expected=float(np.median(memory.typical_s[device])),
            device=device,
            evidence={
                "devices_silent": float(len(device)),
                "devices_of_the_site": float(of_site),
                "devices_that_lost_mains": float(on_battery),
            },
            sentence=text,
        )

    def _return(self, memory: RhythmMemory, epoch: Epoch, device: I4) -> Shared:
        gone = memory.gone[device]
        back = memory.back[device] > gone
        booted = int(np.count_nonzero(back & (memory.rebooted[device] > gone)))
        told = int(np.count_nonzero(back & (memory.boot_said[device] > gone)))
        since = int(memory.outage_ts[device[0]])
        until = int(np.median(memory.back[device][back])) if back.any() else epoch.clock
        n, still = int(np.count_nonzero(back)), int(np.count_nonzero(~back))
        text = f"{n} of {len(device)} devices are heard again after {lasting(since, until)}; "
        text += how_they_returned(booted, told - booted)
        if still:
            text += f" {still} {'is' if still == 1 else 'are'} still silent."
        return Shared(
            group="site",
            code=int(epoch.site[device[0]]),
            status="resolved",
            since=since,
            ts=epoch.end,
            score=0.0,
            observed=(until - since) * 1e-9,
            expected=float(np.median(memory.typical_s[device])),
            device=device,
            evidence={
                "devices_returned": float(n),
                "devices_still_silent": float(still),
                "returned_rebooted": float(booted),
                "returned_in_the_same_boot": float(told - booted),
            },
            sentence=text,
        )

    def forecast(self, memory: RhythmMemory, device: I4) -> Forecast | None:
        """Foretell nothing."""
        return None

    def evidence(self, memory: RhythmMemory, device: int) -> dict[str, float]:
        """Return the silence and what was allowed, as the last epoch closed.

        Of a device that is overdue also what it last said and what that is worth (`last_gasp`), of
        one that is back how long it was gone and whether it had booted (1, 0, or NaN: not told).
        """
        gone, back = int(memory.gone[device]), int(memory.back[device])
        facts = {
            "silent_s": float(memory.silent_s[device]),
            "allowed_s": float(memory.allowed_s[device]),
            "typical_interval_s": float(memory.typical_s[device]),
            "reports_seen": float(memory.beats[device]),
            "site_silent_ratio": float(memory.site_silent_ratio[device]),
        }
        if gone == 0:
            return facts
        rebooted = int(memory.rebooted[device])
        if back > gone:
            told = int(memory.boot_said[device]) > gone
            return facts | {
                "was_silent_s": (back - gone) * 1e-9,
                "rebooted": float(rebooted > gone) if told else math.nan,
                "clock_reset": float(rebooted > gone and bool(memory.clock_reset[device])),
            }
        said = dict(zip(GASP, memory.gasp[device].tolist(), strict=True))
        if 0 < rebooted <= gone:
            said["reboot_before_s"] = (gone - rebooted) * 1e-9
        if memory.longest_s[device] > 0.0:
            said["longest_return_s"] = float(memory.longest_s[device])
        facts |= {name: value for name, value in said.items() if not math.isnan(value)}
        return facts | last_gasp.weigh(facts)

    def sentence(self, evidence: dict[str, float], forecast: dict[str, Any] | None) -> str:
        """Say how long the device has been silent and what may be behind it, or how it returned."""
        silent_s, allowed_s = evidence["silent_s"], evidence["allowed_s"]
        typical_s = evidence["typical_interval_s"]
        habit = f"it usually reports every {duration(typical_s)}" if typical_s > 0.0 else ""
        if math.isnan(silent_s):
            return "Too few reports were seen to know a rhythm."
        if "was_silent_s" in evidence:
            return (
                f"Heard again after {duration(evidence['was_silent_s'])}; {how_returned(evidence)}"
            )
        if silent_s < allowed_s:
            return f"Heard {duration(silent_s)} ago" + (f"; {habit}." if habit else ".")
        text = f"Silent for {duration(silent_s)}; {habit or 'only its parts report'}."
        return f"{text} {last_gasp.in_words(evidence)}"


def _groups(site: I4) -> Iterable[Any]:
    """Yield where the devices of each site are, in order of their codes."""
    order = np.argsort(site, kind="stable")
    ends = np.flatnonzero(np.diff(site[order])) + 1
    return np.split(order, ends) if len(site) else ()


def how_returned(evidence: dict[str, float]) -> str:
    """Say what the return of a device tells of its silence."""
    clock = " Its clock had been reset." if evidence["clock_reset"] else ""
    if math.isnan(evidence["rebooted"]):
        return "whether it ran meanwhile it does not tell." + clock
    if evidence["rebooted"]:
        return "it had booted anew, so it had been down." + clock
    return "it ran all the while, so only its connection was gone." + clock


def how_they_returned(booted: int, same: int) -> str:
    """Say what the return of many tells of the outage of their site."""
    if booted + same == 0:
        return "whether they ran meanwhile they do not tell."
    if same == 0:
        return f"{booted} had booted anew: the power was lost."
    if booted == 0:
        return f"{same} ran all the while: the network was down."
    cause = "the power was lost" if booted > same else "the network was down"
    return f"{booted} had booted anew and {same} ran all the while: most likely {cause}."


def lasting(since: int, until: int) -> str:
    """Render the time between two instants, ns."""
    return duration(max(until - since, 0) * 1e-9)


def duration(seconds: float) -> str:
    """Render a duration in the largest unit of which there are two."""
    for unit, size in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2.0 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


if TYPE_CHECKING:
    _: Detector[RhythmMemory] = Silence()
