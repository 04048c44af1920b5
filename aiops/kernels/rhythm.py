"""How often each device reports, and how long it has not."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from aiops.kernels.compile import kernel
from aiops.kernels.rows import F8, I4, I8, Rows, Scores

BEATS_NEEDED = 3
"""A device seen fewer times has no rhythm yet."""
FREE_BEATS = 10
"""So many intervals are taken as they are; later ones are cut, or one outage would be a habit."""
CUT = 6.0
"""An interval counts as no longer than the typical one and this many spreads."""
SAME_BEAT, SAME_BEAT_S = 0.25, 60.0
"""Rows closer than this share of the typical interval, and than this, are pieces of one report."""
NARROWEST = 1.0 / 6.0
"""Least spread, in typical intervals: the tail of a device that loses 0.25 % of its reports."""
WIDENING = 1.5
"""Spread per standard deviation. An exponential tail needs 1, rare losses of reports need more."""
OCTAVES = 64
"""Typical intervals are told apart by powers of two, from 2^-32 s."""


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
    place: I4
    """[c] where `rhythm_close` looks up a device's patience; -1: no rhythm yet."""
    silent_s: F8
    """[c] of devices, as the last epoch closed; NaN: not judged, as parts are not."""
    allowed_s: F8
    """[c] of devices, as the last epoch closed; inf: not judged."""
    site_silent_ratio: F8
    """[c] share of a silent device's site that is silent too, as the last epoch closed."""


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
        if beats[i] >= 2 and interval_s < min(SAME_BEAT * typical, SAME_BEAT_S):
            continue
        beat[i] = t
        beats[i] += 1
        intervals = beats[i] - 1
        if intervals == 0:
            continue
        if intervals > FREE_BEATS:
            interval_s = min(interval_s, typical + CUT * spread_s[i])
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
    scores: Scores,
) -> None:
    """Judge at `clock` [ns] how long each of the first `len(root)` devices has been silent.

    A device is heard through any of its parts (`root` [size] tells whose they are) and is allowed
    the shortest silence that it or one of its parts is allowed: were it alive, that one would have
    spoken. `patience` [intervals * OCTAVES] is how many spreads beyond the typical interval are
    allowed. Parts are not judged. `site` [size] is -1 for none.
    """
    score, observed, expected = scores.score, scores.observed, scores.expected
    size = root.shape[0]
    heard = np.zeros(size, dtype=np.int64)
    usual_s, allowed_s = expected, memory.allowed_s
    sites = 0
    for i in range(size):
        usual_s[i] = np.nan
        allowed_s[i] = np.inf
        sites = max(sites, site[i] + 1)
    for i in range(size):
        r = root[i]
        heard[r] = max(heard[r], memory.last[i])
        place = memory.place[i]
        if place >= 0:
            typical = memory.typical_s[i]
            own_s = max(least_s, typical + patience[place] * memory.spread_s[i])
            if own_s < allowed_s[r]:
                allowed_s[r] = own_s
                usual_s[r] = typical

    silent = 0
    for i in range(size):
        score[i] = np.nan
        observed[i] = np.nan
        memory.site_silent_ratio[i] = np.nan
        if allowed_s[i] < np.inf:
            observed[i] = max(clock - heard[i], 0) * 1e-9
            score[i] = observed[i] / allowed_s[i]
            silent += 1 if score[i] >= 1.0 else 0
        memory.silent_s[i] = observed[i]
    if silent == 0:
        return
    judged = np.zeros(sites)
    beyond = np.zeros(sites)
    for i in range(size):
        if site[i] >= 0 and not math.isnan(score[i]):
            judged[site[i]] += 1.0
            beyond[site[i]] += 1.0 if score[i] >= 1.0 else 0.0
    for i in range(size):
        if site[i] >= 0 and score[i] >= 1.0 and judged[site[i]] > 1.0:
            memory.site_silent_ratio[i] = beyond[site[i]] / judged[site[i]]
