"""Reboots counted with the exposure they fell into."""

from __future__ import annotations

import math
from typing import NamedTuple

from aiops.kernels.compile import kernel
from aiops.kernels.reboot_memory import RebootMemory, RebootSettings
from aiops.kernels.rows import F8, I4, Rows

CLOCK_SET_S = 60.0
"""A boot instant that moves by less was moved by a clock being set."""
CLOCK_DRIFT = 2e-4
"""So much of a gap may a boot instant move besides: two free-running clocks."""
SKEW_NS = 900_000_000_000
"""A device's clock and that of its rows agree this well, or its boot time is none."""
EARLIEST_S = 978_307_200.0
"""2001: a boot time before is that of a clock nobody has set yet."""
FALLEN_S = 10.0
"""An uptime that falls by more went back; less is the order in which two rows were read."""
WRAPS_S = (4294967.296, 42949672.96)
"""Uptime starts again after 2^32 ms (49.7 days) or 2^32 hundredths of a second (497.1 days)."""
UNSEEN_NS = 86_400_000_000_000
"""Of boots that nobody saw one by one, those of a day are taken for one episode."""
LEAP = 65_535.0
"""A boot counter that leaps further was set."""
PLANNED, POWER, SOFTWARE = 1, 2, 3
"""Causes; 0 is not told."""


class BootColumns(NamedTuple):
    """What rows [n] report of boots, each [n], NaN where a row does not."""

    boot_id: F8
    boot_time: F8
    uptime: F8
    boot_count: F8
    planned: F8
    cause: F8
    version: F8
    maintenance: F8
    clean: F8
    power_cycles: F8
    power_on: F8
    unsafe: F8


@kernel
def boots_update(
    rows: Rows, columns: BootColumns, memory: RebootMemory, settings: RebootSettings
) -> None:
    """Count the reboots that each row [n] shows, and the time in which the device ran.

    Whether a row shows a reboot is decided by the best source it has: a boot counter says how
    many, a boot id that there was one or none; only without both are uptime and then boot time
    asked, which clocks, wraps and sleep disturb. Power cycles count beside them. Several sources in
    one row tell of the same reboots (their maximum counts), and so do several in turns: a source
    that was not there when others told of a reboot begins anew, counters so many further.

    Exposure is time in which the device ran: all of a gap without a reboot, as it was up and only
    out of reach; of a gap with one, no more than the new uptime and `gap_s`; with several, all of
    it, as they spread over who knows how much of it. For a drive alone it is the growth of its
    power-on time.

    A row that says nothing of boots, or is not newer than the last that did, leaves no trace, save
    that causes, versions and maintenance may be told in rows of their own.
    """
    device, ts = rows.device, rows.ts
    boot_id, boot_time, uptime, boot_count = columns[:4]
    planned, cause, version, maintenance, clean = columns[4:9]
    power_cycles, power_on, unsafe = columns[9:]
    known_ts, open_s, maintained = memory.ts, memory.open_s, memory.maintained
    known_id, known_count = memory.boot_id, memory.boot_count
    known_up, known_up_ts = memory.uptime_s, memory.uptime_ts
    known_time, known_time_ts = memory.boot_time_s, memory.boot_time_ts
    known_cycles, known_on, known_unsafe = memory.power_cycles, memory.power_on_s, memory.unsafe
    known_version, pending = memory.version, memory.pending

    for k in range(device.shape[0]):
        i = device[k]
        t, last = ts[k], known_ts[i]
        if t <= last:
            continue
        if not math.isnan(version[k]) and version[k] != known_version[i]:
            version_changed(version[k], i, t, memory, settings.version_ns)
        identity, born, up = boot_id[k], boot_time[k], uptime[k]
        count, cycles = boot_count[k], power_cycles[k]
        if born < EARLIEST_S:
            born = math.nan
        n = 0.0
        if not (
            math.isnan(identity)
            and math.isnan(born)
            and math.isnan(up)
            and math.isnan(count)
            and math.isnan(cycles)
        ):
            known_ts[i] = t
            sure, compared = False, False
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
                    elapsed_s = (t - known_up_ts[i]) * 1e-9
                    if not sure and restarted(elapsed_s, known_up[i], up):
                        n = max(n, 1.0)
                known_up[i] = up
                known_up_ts[i] = t
            if not math.isnan(born):
                if not math.isnan(known_time[i]):
                    asked = not (sure or compared)
                    compared = True
                    heard = known_time_ts[i]
                    slack_s = max(CLOCK_SET_S, CLOCK_DRIFT * 1e-9 * (t - heard))
                    if asked and born - known_time[i] > slack_s and between(born, heard, t):
                        n = max(n, 1.0)
                known_time[i] = born
                known_time_ts[i] = t
            compared = compared or sure
            drive, grown_s, lost = False, math.nan, False
            if not math.isnan(cycles):
                if cycles >= known_cycles[i]:
                    drive = not compared
                    n = max(n, cycles - known_cycles[i])
                    grown_s = power_on[k] - known_on[i]
                    lost = cycles > known_cycles[i] and unsafe[k] > known_unsafe[i]
                known_cycles[i] = cycles
                if not math.isnan(power_on[k]):
                    known_on[i] = power_on[k]
                if not math.isnan(unsafe[k]):
                    known_unsafe[i] = unsafe[k]
            if n > 0.0:
                if not drive:
                    grown_s = math.nan
                booted(min(n, LEAP), i, k, t, last, grown_s, lost, columns, memory, settings)
            elif compared or drive:
                open_s[i] += (t - last) * 1e-9
            elif last > 0:
                open_s[i] += min((t - last) * 1e-9, settings.gap_s)
            if maintained[i] != 0:
                maintained[i] = 0
        if maintenance[k] >= 0.5:
            maintained[i] = 1
        why = not math.isnan(cause[k]) or planned[k] >= 0.5 or clean[k] < 0.5
        if why and n <= 0.0 and pending[i] > 0:
            told_later(i, k, t, columns, memory, settings.episode_ns)


@kernel
def restarted(elapsed_s: float, old_s: float, new_s: float) -> bool:
    """Say whether uptime [s], read twice `elapsed_s` apart, belongs to two boots.

    It does if it fell or the boot instant moved, unless the device cannot have booted in between
    (uptime that stands still in sleep) or the counter wrapped. A counter that has been beyond a
    width does not wrap there.
    """
    moved_s = elapsed_s - (new_s - old_s)
    slack_s = max(CLOCK_SET_S, CLOCK_DRIFT * elapsed_s)
    if moved_s <= slack_s and old_s - new_s <= FALLEN_S:
        return False
    if new_s > elapsed_s + slack_s:
        return False
    for wrap_s in WRAPS_S:
        laps = math.floor(moved_s / wrap_s + 0.5)
        if old_s < wrap_s and laps >= 1.0 and abs(moved_s - laps * wrap_s) <= slack_s:
            return False
    return True


@kernel
def between(born_s: float, last: int, t: int) -> bool:
    """Say whether Unix time `born_s` lies in (last, t] [ns], as far as clocks can tell."""
    born = int(born_s * 1e9)
    return last - SKEW_NS < born <= t + SKEW_NS


@kernel
def booted(
    boots: float,
    i: int,
    k: int,
    t: int,
    last: int,
    grown_s: float,
    lost: bool,
    columns: BootColumns,
    memory: RebootMemory,
    settings: RebootSettings,
) -> None:
    """Count `boots` of device `i` that row `k` shows to have been in (last, t].

    Reboots within an hour of an episode's first belong to it. If the last of them was planned, its
    episode is; so is what follows within the hour, as updates take several boots, unless another
    cause is told. Of unplanned episodes the last waits as pending and those before it are settled.

    `grown_s`: by so much the power-on time of a drive has grown; NaN for whatever else tells when
    it booted. `lost`: power was lost without notice.
    """
    n = int(boots)
    power, software = memory.power, memory.software
    if math.isnan(columns.boot_count[k]):
        memory.boot_count[i] += n
    if math.isnan(columns.power_cycles[k]):
        memory.power_cycles[i] += n
    if math.isnan(columns.boot_id[k]):
        memory.boot_id[i] = math.nan
    if math.isnan(columns.uptime[k]):
        memory.uptime_s[i] = math.nan
    if not columns.boot_time[k] >= EARLIEST_S:
        memory.boot_time_s[i] = math.nan

    up, born = columns.uptime[k], columns.boot_time[k]
    lo, hi = last, t
    dated = True
    if not math.isnan(up):
        hi = t - int(up * 1e9)
    elif born >= EARLIEST_S and between(born, last, t):
        hi = int(born * 1e9)
    else:
        dated = False
    hi = min(max(hi, last + 1), t)
    if dated:
        lo = max(lo, hi - int(CLOCK_SET_S * 1e9))

    gap_s = (t - last) * 1e-9
    if not math.isnan(grown_s):
        memory.open_s[i] += min(max(grown_s, 0.0), gap_s)
    elif n > 1:
        memory.open_s[i] += gap_s
    else:
        memory.open_s[i] += min(gap_s, settings.gap_s + (t - hi) * 1e-9)

    why = told(columns.cause[k], columns.planned[k])
    if why == 0 and (lost or columns.clean[k] < 0.5):
        why = POWER
    changed = memory.version_ts[i]
    updated = changed == t or (changed > 0 and abs(hi - changed) <= settings.version_ns)
    if updated or memory.maintained[i] != 0 or columns.maintenance[k] >= 0.5:
        why = PLANNED
    begun = memory.episode_ts[i] + settings.episode_ns
    own = hi < begun
    episodes = 0 if own else min(n, 1 + (hi - max(last + 1, begun)) // UNSEEN_NS)
    asked_for = memory.planned_ts[i]
    if why == 0 and asked_for > 0 and hi - asked_for < settings.episode_ns:
        memory.planned[i] += n
        return
    if not own:
        memory.episode_ts[i] = hi
    if why == PLANNED:
        episodes = max(episodes - 1, 0)
        memory.planned[i] += n - episodes
        memory.planned_ts[i] = hi
        if episodes == 0:
            return
        n, why, lo, hi = episodes, 0, last, hi - 1

    memory.reboots[i] += n
    if episodes > 0:
        if memory.pending[i] > 0:
            memory.settled[i] += 1
        memory.settled[i] += episodes - 1
        n -= episodes - 1
        memory.pending[i] = n
        memory.pending_lo[i] = lo
        memory.pending_hi[i] = hi
        memory.pending_seen[i] = t
        memory.pending_cause[i] = why
        attribute(n, why, i, power, software)
    elif memory.pending[i] > 0 and memory.pending_hi[i] == memory.episode_ts[i]:
        if memory.pending_cause[i] == 0:
            attribute(memory.pending[i], why, i, power, software)
            memory.pending_cause[i] = why
        memory.pending[i] += n
        attribute(n, memory.pending_cause[i], i, power, software)
    else:
        attribute(n, why, i, power, software)


@kernel
def told(cause: float, planned: float) -> int:
    """Return the cause of the last boot that a row tells."""
    if planned >= 0.5:
        return PLANNED
    return 0 if math.isnan(cause) else int(cause + 0.5)


@kernel
def told_later(
    i: int, k: int, t: int, columns: BootColumns, memory: RebootMemory, episode_ns: int
) -> None:
    """Take the cause that row `k` tells for that of the pending reboot, if none came after it."""
    hi, power, software = memory.pending_hi[i], memory.power, memory.software
    if memory.pending_cause[i] != 0 or memory.episode_ts[i] != hi or memory.planned_ts[i] >= hi:
        return
    if t - memory.pending_seen[i] >= episode_ns:
        return
    why = told(columns.cause[k], columns.planned[k])
    if why == 0 and columns.clean[k] < 0.5:
        why = POWER
    if why == PLANNED:
        take_back(i, memory)
    elif why != 0:
        memory.pending_cause[i] = why
        attribute(memory.pending[i], why, i, power, software)


@kernel
def version_changed(version: float, i: int, t: int, memory: RebootMemory, version_ns: int) -> None:
    """Remember the version of device `i`; a reboot just before its change was part of it."""
    if t <= memory.version_ts[i]:
        return
    changed = not math.isnan(memory.version[i])
    memory.version[i] = version
    if changed:
        memory.version_ts[i] = t
        if memory.pending[i] > 0 and t - memory.pending_hi[i] <= version_ns:
            take_back(i, memory)


@kernel
def take_back(i: int, memory: RebootMemory) -> None:
    """Make the pending episode of device `i` a planned one."""
    n = memory.pending[i]
    attribute(-n, memory.pending_cause[i], i, memory.power, memory.software)
    memory.reboots[i] -= n
    memory.planned[i] += n
    memory.planned_ts[i] = max(memory.planned_ts[i], memory.pending_hi[i])
    memory.pending[i] = 0
    memory.pending_cause[i] = 0


@kernel
def attribute(n: int, why: int, i: int, power: I4, software: I4) -> None:
    """Count `n` unplanned reboots of device `i` to the cause that was told."""
    if why == POWER:
        power[i] += n
    elif why == SOFTWARE:
        software[i] += n
