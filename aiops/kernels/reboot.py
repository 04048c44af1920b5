"""Reboots counted with their exposure, and the evidence that their rate has risen."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from aiops.kernels.compile import kernel
from aiops.kernels.rows import F8, I8, Rows, Scores

CLOCK_SET_S = 60.0
"""A boot instant that moves by less was moved by a clock being set."""
CLOCK_DRIFT = 2e-4
"""So much of a gap may a boot instant move besides: two free-running clocks."""
WRAPS_S = (4294967.296, 42949672.96)
"""Uptime starts again after 2^32 ms (49.7 days) or 2^32 hundredths of a second (497.1 days)."""
BINS_AT_ONCE = 3660
"""More bins than this are never closed by one row: nobody was there to count for ten years."""
REVIVAL = 1e-12
"""No rate is ever less likely than this, so that after years a baseline can still be relearnt."""


class BootColumns(NamedTuple):
    """What rows [n] report of boots, each [n], NaN where a row does not."""

    boot_id: F8
    boot_time: F8
    uptime: F8
    boot_count: F8
    planned: F8
    power_cycles: F8
    power_on: F8


class RebootMemory(NamedTuple):
    """What is known of each device's boots; 0 in a time means never, NaN not yet."""

    ts: I8
    """[c] time of the last row that said something of boots, ns."""
    boot_id: F8
    """[c] code of the current boot."""
    boot_time_s: F8
    """[c] Unix time of the boot, as the device believes."""
    uptime_s: F8
    """[c]"""
    uptime_ts: I8
    """[c] when the uptime was read, ns."""
    boot_count: F8
    """[c] boots ever counted."""
    power_cycles: F8
    """[c] of a drive."""
    power_on_s: F8
    """[c] of a drive: the exposure of its power cycles."""
    episode_ts: I8
    """[c] when the last episode of reboots, planned or not, was seen first, ns."""
    reboots: I8
    """[c] unplanned reboots counted."""
    planned: I8
    """[c] planned reboots, not counted."""
    bins: I8
    """[c] bins of exposure closed."""
    open_s: F8
    """[c] exposure in the open bin, seconds."""
    open_hit: F8
    """[c] 1: an episode fell into the open bin."""
    before: F8
    """[c, h] probability of each hazard if nothing changed."""
    after: F8
    """[c, h] Shiryaev-Roberts weight of each hazard since a change, in bins."""
    evidence: F8
    """[c] log(1 + sum of `after`), nats."""
    rate_before: F8
    """[c] mean rate before the change, if there was one, 1/s of exposure."""
    rate_after: F8
    """[c] mean rate since then, 1/s of exposure."""


class RebootSettings(NamedTuple):
    """What shapes the memory, and the line."""

    bin_s: float
    """Exposure of a bin, seconds."""
    gap_s: float
    """Exposure credited, at most, to a gap in which the device went down, beyond its uptime."""
    episode_ns: int
    """Reboots this close to the first of an episode belong to it."""
    line: float
    """Evidence that is on the alert line, nats."""
    rate: F8
    """[h] hazards, 1/s of exposure, ascending by a constant factor."""
    quiet: F8
    """[h] probability of a bin without a reboot at each hazard."""
    steps: I8
    """[r] ratios looked for, as steps between hazards."""


@kernel
def reboot_update(
    rows: Rows,
    columns: BootColumns,
    memory: RebootMemory,
    settings: RebootSettings,
    scores: Scores,
) -> None:
    """Count the reboots that each row [n] shows, and judge the device by all of them.

    Whether a row shows a reboot is decided by the best source it has: a boot counter says how
    many, a boot id that there was one or none; only without both are uptime and then boot time
    asked, which clocks, wraps and sleep disturb. Power cycles count beside them. Several sources
    in one row tell of the same reboots (their maximum counts), and if the last boot was planned,
    one of these is taken off and opens an episode, to which what follows at once belongs: updates
    take several boots, and other sources may tell of the same one a moment later.

    Exposure is time in which the device ran: all of a gap without a reboot; of a gap with one, no
    more than the new uptime and `gap_s`; for a drive alone the growth of its power-on time.

    A row that says nothing of boots, or is not newer than the last that did, leaves no trace.
    """
    device, ts = rows.device, rows.ts
    boot_id, boot_time, uptime, boot_count, planned, power_cycles, power_on = columns
    score, observed, expected = scores.score, scores.observed, scores.expected
    bin_s = settings.bin_s
    per_line = 1.0 / settings.line
    known_ts, known_id, known_time = memory.ts, memory.boot_id, memory.boot_time_s
    known_up, known_up_ts, known_count = memory.uptime_s, memory.uptime_ts, memory.boot_count
    known_cycles, known_on = memory.power_cycles, memory.power_on_s
    bins, open_s, open_hit = memory.bins, memory.open_s, memory.open_hit
    evidence, before, after = memory.evidence, memory.rate_before, memory.rate_after

    for k in range(device.shape[0]):
        i = device[k]
        t = ts[k]
        identity, born, up = boot_id[k], boot_time[k], uptime[k]
        count, cycles, on = boot_count[k], power_cycles[k], power_on[k]
        silent = (
            math.isnan(identity)
            and math.isnan(born)
            and math.isnan(up)
            and math.isnan(count)
            and math.isnan(cycles)
        )
        if silent or t <= known_ts[i]:
            score[k] = np.nan
            observed[k] = np.nan
            expected[k] = np.nan
            continue
        gap_s = (t - known_ts[i]) * 1e-9
        known_ts[i] = t
        n = 0.0
        sure = False
        compared = False

        if not math.isnan(count):
            if count >= known_count[i]:
                sure = True
                n = count - known_count[i]
            known_count[i] = count
        if not math.isnan(identity):
            if not math.isnan(known_id[i]):
                sure = True
                if identity != known_id[i]:
                    n = max(n, 1.0)
            known_id[i] = identity
        if not math.isnan(up):
            if not math.isnan(known_up[i]):
                compared = True
                if not sure:
                    elapsed_s = (t - known_up_ts[i]) * 1e-9
                    if restarted(elapsed_s, known_up[i], up):
                        n = max(n, 1.0)
            known_up[i] = up
            known_up_ts[i] = t
        if not math.isnan(born):
            if not math.isnan(known_time[i]):
                slack_s = max(CLOCK_SET_S, CLOCK_DRIFT * gap_s)
                if not (sure or compared) and born - known_time[i] > slack_s:
                    n = max(n, 1.0)
                compared = True
            known_time[i] = born
        compared = compared or sure
        exposure_s = gap_s if compared else 0.0
        if not math.isnan(cycles):
            if cycles >= known_cycles[i]:
                n = max(n, cycles - known_cycles[i])
                if not compared:
                    grown_s = on - known_on[i]
                    exposure_s = gap_s if math.isnan(grown_s) else min(max(grown_s, 0.0), gap_s)
                    if n > 0.0 and math.isnan(grown_s):
                        exposure_s = min(gap_s, settings.gap_s)
            known_cycles[i] = cycles
            if not math.isnan(on):
                known_on[i] = on
        if n > 0.0 and compared:
            exposure_s = min(gap_s, settings.gap_s + (0.0 if math.isnan(up) else up))

        episodes = 0
        if n > 0.0:
            if planned[k] >= 0.5:
                n -= 1.0
                memory.planned[i] += 1
                if t - memory.episode_ts[i] >= settings.episode_ns:
                    memory.episode_ts[i] = t
            if n > 0.0:
                episodes = episodes_of(n, t, gap_s, i, memory, settings.episode_ns)

        filled_s = open_s[i] + exposure_s
        if filled_s < bin_s:
            open_s[i] = filled_s
            if episodes > 0:
                open_hit[i] = 1.0
        else:
            open_s[i] = filled_s % bin_s
            close_bins(i, int(min(filled_s // bin_s, BINS_AT_ONCE)), episodes, memory, settings)

        score[k] = evidence[i] * per_line if bins[i] > 0 else np.nan
        observed[k] = after[i]
        expected[k] = before[i]


@kernel
def restarted(elapsed_s: float, old_s: float, new_s: float) -> bool:
    """Say whether uptime [s], read twice `elapsed_s` apart, belongs to two boots.

    It does if the boot instant moved, unless the device cannot have booted in between (uptime that
    stands still in sleep) or the counter wrapped.
    """
    moved_s = elapsed_s - (new_s - old_s)
    slack_s = max(CLOCK_SET_S, CLOCK_DRIFT * elapsed_s)
    if moved_s <= slack_s or new_s > elapsed_s + slack_s:
        return False
    for wrap_s in WRAPS_S:
        laps = math.floor(moved_s / wrap_s + 0.5)
        if laps >= 1.0 and abs(moved_s - laps * wrap_s) <= slack_s:
            return False
    return True


@kernel
def episodes_of(
    n: float, t: int, gap_s: float, i: int, memory: RebootMemory, episode_ns: int
) -> int:
    """Return how many episodes `n` reboots within the last `gap_s` are; the device's own go on."""
    memory.reboots[i] += int(n)
    episodes = int(min(n, 1.0 + math.floor(gap_s * 1e9 / episode_ns)))
    if t - memory.episode_ts[i] < episode_ns:
        episodes -= 1
    if episodes > 0:
        memory.episode_ts[i] = t
    return episodes


@kernel
def close_bins(
    i: int, closing: int, episodes: int, memory: RebootMemory, settings: RebootSettings
) -> None:
    """Close bins of device `i`; `episodes` fall into them evenly, the first into the first.

    The recursion is Shiryaev-Roberts over hazards instead of over pairs of hazard and ratio: the
    ratios are whole steps of the hazards' grid, so that a change leads from one node to another
    and what counts afterwards is only where it led. Both weights are divided by the marginal
    likelihood of no change, so `evidence` is a sum of likelihood ratios and grows, as long as
    nothing changes, by one a bin on average: an e-detector (Shin, Ramdas and Rinaldo,
    arXiv:2203.03532). A bin counts as with or without reboots; how many is not asked, as
    reboots of one day have one cause more often than not.

    The rate before the change is what `before` meant by the rate when the change began, weighted
    like the beginnings; only where each change led is left out of that weight.
    """
    rate, quiet, steps = settings.rate, settings.quiet, settings.steps
    before, after = memory.before[i], memory.after[i]
    rate_before = memory.rate_before[i] if memory.bins[i] > 0 else 0.0
    h, r = quiet.shape[0], steps.shape[0]
    for b in range(closing):
        fallen = (episodes * b + closing - 1) // closing
        hit = (episodes * (b + 1) + closing - 1) // closing > fallen
        if b == 0:
            hit = hit or memory.open_hit[i] > 0.0
        kept, mean = 0.0, 0.0
        for j in range(h):
            kept += after[j] * (1.0 - quiet[j] if hit else quiet[j])
            mean += before[j] * rate[j]
        for s in range(r):
            for j in range(steps[s], h):
                after[j] += before[j - steps[s]] / r
        unchanged, changed = 0.0, 0.0
        for j in range(h):
            likelihood = 1.0 - quiet[j] if hit else quiet[j]
            after[j] *= likelihood
            before[j] *= likelihood
            changed += after[j]
            unchanged += before[j]
        for j in range(h):
            after[j] /= unchanged
            before[j] = max(before[j] / unchanged, REVIVAL)
        rate_before = mean + (rate_before - mean) * kept / changed
    memory.open_hit[i] = 0.0
    memory.bins[i] += closing

    bins, mean = 0.0, 0.0
    for j in range(h):
        bins += after[j]
        mean += after[j] * rate[j]
    memory.evidence[i] = math.log1p(bins)
    memory.rate_before[i] = rate_before
    memory.rate_after[i] = mean / bins
