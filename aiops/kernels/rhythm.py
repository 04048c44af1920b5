"""How often each device reports, and how long it has not."""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from aiops.kernels.compile import kernel
from aiops.kernels.rows import F8, I1, I4, I8, Rows, Scores

F4: TypeAlias = npt.NDArray[np.float32]

BEATS_NEEDED = 3
"""A device seen fewer times has no rhythm yet."""
FREE_BEATS = 10
"""So many intervals are taken as they are; later ones are cut, or one outage would be a habit."""
CUT = 6.0
"""An interval counts as no longer than the typical one and this many spreads."""
SAME_BEAT, SAME_BEAT_S = 0.25, 60.0
"""Rows closer than this share of the typical interval, and than this, are pieces of one report."""
FIRST_BEAT_S = 1.0
"""Rows this soon after a device's first are of its first report: log lines of a moment are many."""
NARROWEST = 1.0 / 6.0
"""Least spread, in typical intervals: the tail of a device that loses 0.25 % of its reports."""
WIDENING = 1.5
"""Spread per standard deviation. An exponential tail needs 1, rare losses of reports need more."""
OCTAVES = 64
"""Typical intervals are told apart by powers of two, from 2^-32 s."""
LATE = 3.0
"""A device is overdue this many spreads after its typical interval: a regular one after half of it
more."""
SITE_DEVICES = 3
"""A site is no fewer devices than these."""
OWN, NEW = 1, 2
"""A device's silence is its own, and so since this close; 0: it is not silent, or its site is."""
NO_OUTAGE, BEGUN, GOING, OVER = 0, 1, 2, 3
"""Whether a device is part of an outage of its site, and whether that began or ended now."""


class RhythmMemory(NamedTuple):
    """When each device or part reported; 0 in a time means never."""

    last: I8
    """[c] time of the last row, ns."""
    beat: I8
    """[c] time of the first row of the last report, ns."""
    beats: I8
    """[c] reports seen."""
    typical_s: F8
    """[c] mean interval between reports."""
    variance_s2: F8
    """[c] variance of that interval."""
    spread_s: F8
    """[c] scale of the tail of that interval."""
    resumed: I8
    """[c] time of the first row after its last long interval, ns."""
    place: I4
    """[c] where `rhythm_close` looks up a device's patience; -1: no rhythm yet."""
    silent_s: F8
    """[c] of devices, as the last epoch closed; NaN: not judged, as parts are not."""
    allowed_s: F8
    """[c] of devices, as the last epoch closed; inf: not judged."""
    site_silent_ratio: F8
    """[c] share of its site's other devices that are overdue, as is this one; NaN: it is not."""
    own: I1
    """[c] whether the device is silent for itself: `OWN`, `NEW` or 0."""
    gone: I8
    """[c] when the device had last been heard as it was overdue the last time, ns."""
    back: I8
    """[c] when it was then heard again, ns; at or before `gone`: not yet."""
    longest_s: F8
    """[c] the longest time of being overdue from which the device has come back."""
    excused: I8
    """[c] until when its silence was its site's, ns."""
    outage: I1
    """[c] the device's part in an outage of its site."""
    outage_ts: I8
    """[c] when that outage began, ns."""
    known_id: F8
    """[c] code of the boot id last reported; so are the next four as in `gasp.see_boots`."""
    known_count: F8
    booted: I8
    rebooted: I8
    boot_said: I8
    clock_reset: I1
    words: F4
    """[c, w] what the device or part last reported of each of some metrics, NaN: nothing."""
    said_min: I4
    """[c, w] when it did, minutes since 1970."""
    gasp: F4
    """[c, w] of devices: what they and their parts last reported before a silence of their own."""


@kernel
def rhythm_update(rows: Rows, memory: RhythmMemory, memory_beats: int) -> None:
    """Learn the intervals between the reports that rows [n] are, over some `memory_beats`.

    Rows that are not newer than the last one leave no trace.
    """
    device, ts = rows.device, rows.ts
    last, beat, beats = memory.last, memory.beat, memory.beats
    typical_s, variance_s2, spread_s = memory.typical_s, memory.variance_s2, memory.spread_s
    for k in range(device.shape[0]):
        i = device[k]
        t = ts[k]
        if t <= last[i]:
            continue
        last[i] = t
        interval_s = (t - beat[i]) * 1e-9
        typical = typical_s[i]
        same_s = min(SAME_BEAT * typical, SAME_BEAT_S) if beats[i] >= 2 else FIRST_BEAT_S
        if beats[i] >= 1 and interval_s < same_s:
            continue
        beat[i] = t
        beats[i] += 1
        intervals = beats[i] - 1
        if intervals == 0:
            continue
        longest_s = typical + CUT * spread_s[i]
        if interval_s > longest_s:
            memory.resumed[i] = t
            if intervals > FREE_BEATS:
                interval_s = longest_s
        weight = 1.0 / min(intervals, memory_beats)
        away = interval_s - typical
        typical += weight * away
        variance_s2[i] += weight * (away * (interval_s - typical) - variance_s2[i])
        typical_s[i] = typical
        spread_s[i] = max(WIDENING * math.sqrt(variance_s2[i]), NARROWEST * typical)
        if beats[i] >= BEATS_NEEDED:
            octave = min(max(math.frexp(typical)[1] + OCTAVES // 2, 0), OCTAVES - 1)
            memory.place[i] = min(intervals, memory_beats) * OCTAVES + octave


@kernel
def rhythm_close(
    clock: int,
    root: I4,
    site: I4,
    memory: RhythmMemory,
    patience: F8,
    least_s: float,
    wait_s: float,
    scores: Scores,
) -> int:
    """Judge at `clock` [ns] how long each of the first `len(root)` devices has been silent.

    A device is heard through any of its parts (`root` [size] tells whose they are) and is allowed
    the shortest silence that it or one of its parts is allowed: were it alive, that one would have
    spoken. `patience` [intervals * OCTAVES] is how many spreads beyond the typical interval are
    allowed. Parts are not judged. `site` [size] is -1 for none.

    A site of which `SITE_DEVICES` or more, and at least half, are overdue together is silent as a
    whole, once one of them is beyond its allowance or all together are: tails of independent
    devices multiply, so their spreads add up, less log 2 for each device that may be among them or
    not, after nobody more has become overdue for as long as that takes. Then its devices score 0
    until fewer are overdue, and whoever is still silent has its whole allowance again. Until it is
    plain whether half of the site still speaks, a device beyond its allowance is held back, for
    `wait_s` at most. Devices whose silence is their own already have no part in that.

    Returns how many devices have silence of their own since this close (`own` is `NEW`).
    """
    score, observed, expected = scores.score, scores.observed, scores.expected
    last, place, typical_s, spread_s = memory.last, memory.place, memory.typical_s, memory.spread_s
    usual_s, allowed_s, silent_s = expected, memory.allowed_s, memory.silent_s
    own, outage, gone, back = memory.own, memory.outage, memory.gone, memory.back
    excused, site_silent_ratio = memory.excused, memory.site_silent_ratio
    size = root.shape[0]
    heard = np.zeros(size, dtype=np.int64)
    late_s = np.empty(size)
    sites = 0
    for i in range(size):
        usual_s[i] = np.nan
        allowed_s[i] = np.inf
        late_s[i] = np.inf
        sites = max(sites, site[i] + 1)
    for i in range(size):
        r = root[i]
        heard[r] = max(heard[r], last[i])
        at = place[i]
        if at >= 0:
            typical, spread = typical_s[i], spread_s[i]
            own_s = max(least_s, typical + patience[at] * spread)
            if own_s < allowed_s[r]:
                allowed_s[r] = own_s
                usual_s[r] = typical
                late_s[r] = typical + min(LATE, patience[at]) * spread

    stirred = 0
    for i in range(size):
        known = allowed_s[i] < np.inf
        observed[i] = max(clock - heard[i], 0) * 1e-9 if known else np.nan
        silent_s[i] = observed[i]
        site_silent_ratio[i] = np.nan
        score[i] = (
            max(clock - max(heard[i], excused[i]), 0) * 1e-9 / allowed_s[i] if known else np.nan
        )
        stirred += (observed[i] >= late_s[i]) | (back[i] < gone[i]) | (own[i] + outage[i] != 0)
    if stirred == 0:
        return 0

    returned = 0
    for i in range(size):
        if outage[i] != NO_OUTAGE:
            outage[i] = NO_OUTAGE if outage[i] == OVER else GOING
        if not observed[i] >= late_s[i]:
            own[i] = 0
            if back[i] < gone[i] < heard[i]:
                back[i] = heard[i]
                returned += 1
        else:
            gone[i], back[i] = heard[i], 0
            own[i] = OWN if own[i] != 0 else 0
    if returned > 0:
        note_returns(root, memory)
    if sites > 0:
        judge_sites(clock, sites, site, heard, late_s, least_s, wait_s, memory, scores)
    fresh = 0
    for i in range(size):
        if score[i] >= 1.0 and own[i] == 0:
            own[i] = NEW
            fresh += 1
    return fresh


@kernel
def note_returns(root: I4, memory: RhythmMemory) -> None:
    """Find when who has just been heard again began to speak, and how long it was silent."""
    gone, back = memory.gone, memory.back
    for i in range(root.shape[0]):
        r = root[i]
        if 0 < gone[r] < memory.last[i] and gone[r] < back[r]:
            first = memory.resumed[i] if memory.resumed[i] > gone[r] else memory.last[i]
            back[r] = min(back[r], first)  # of one that came back earlier this changes nothing
    for i in range(root.shape[0]):
        if 0 < gone[i] < back[i]:
            memory.longest_s[i] = max(memory.longest_s[i], (back[i] - gone[i]) * 1e-9)


@kernel
def judge_sites(
    clock: int,
    sites: int,
    site: I4,
    heard: I8,
    late_s: F8,
    least_s: float,
    wait_s: float,
    memory: RhythmMemory,
    scores: Scores,
) -> None:
    """Tell what the devices of a site share in their silence from what is their own."""
    score, silent_s, usual_s = scores.score, scores.observed, scores.expected
    own, outage, excused, began = memory.own, memory.outage, memory.excused, memory.outage_ts
    size = site.shape[0]
    judged = np.zeros(sites, dtype=np.int64)
    late = np.zeros(sites, dtype=np.int64)
    beyond = np.zeros(sites, dtype=np.int64)
    spoke = np.zeros(sites, dtype=np.int64)
    everyone = np.zeros(sites)
    silent = np.zeros(sites)
    since = np.zeros(sites, dtype=np.int64)
    latest = np.zeros(sites, dtype=np.int64)
    spreads = np.zeros(sites)
    least = np.full(sites, np.inf)
    needed = np.zeros(sites)
    due = np.full(sites, np.inf)
    for i in range(size):
        s = site[i]
        if s >= 0 and outage[i] == GOING:
            since[s] = max(since[s], began[i])
        if s < 0 or math.isnan(score[i]):
            continue
        is_late = silent_s[i] >= late_s[i]
        everyone[s] += 1.0
        silent[s] += 1.0 if is_late else 0.0
        if own[i] != 0:
            continue
        judged[s] += 1
        if is_late:
            late[s] += 1
            latest[s] = max(latest[s], heard[i], excused[i])
            spread_s = (late_s[i] - usual_s[i]) / LATE
            allowed_s = memory.allowed_s[i]
            excess = max(score[i] * allowed_s - usual_s[i], 0.0) / spread_s
            spreads[s] += excess
            least[s] = min(least[s], excess)
            needed[s] = max(needed[s], (allowed_s - usual_s[i]) / spread_s)
        if score[i] >= 1.0:
            beyond[s] += 1
            due[s] = min(due[s], heard[i] + usual_s[i] * 1e9)
    for i in range(size):
        s = site[i]
        if s >= 0 and own[i] == 0 and not math.isnan(score[i]) and heard[i] > due[s]:
            spoke[s] += 1
    for i in range(size):
        s = site[i]
        if s < 0 or math.isnan(score[i]):
            continue
        is_late = silent_s[i] >= late_s[i]
        if is_late and everyone[s] > 1.0:
            memory.site_silent_ratio[i] = (silent[s] - 1.0) / (everyone[s] - 1.0)
        if own[i] != 0:
            continue
        going = since[s] > 0
        all_late = late[s] >= SITE_DEVICES and 2 * late[s] >= judged[s]
        enough = spreads[s] - math.log(2.0) * judged[s] >= needed[s]
        enough = enough and least[s] >= 2.0 * LATE and (clock - latest[s]) * 1e-9 >= least_s
        if is_late and (going or (all_late and (beyond[s] > 0 or enough))):
            excused[i] = clock
            score[i] = 0.0
            if outage[i] == NO_OUTAGE:
                outage[i] = GOING if going else BEGUN
                began[i] = since[s] if going else latest[s]
        elif (
            1.0 <= score[i] < 1.0 + wait_s / memory.allowed_s[i]
            and judged[s] >= SITE_DEVICES
            and 2 * spoke[s] < judged[s]
        ):
            score[i] = 0.0
    for i in range(size):
        s = site[i]
        silent_still = s >= 0 and late[s] >= SITE_DEVICES and 2 * late[s] >= judged[s]
        if outage[i] == GOING and not silent_still:
            outage[i] = OVER
