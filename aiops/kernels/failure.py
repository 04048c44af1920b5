"""Signs that a flash medium fails: what it says of itself, and errors that have begun to grow."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from aiops.kernels.compile import kernel
from aiops.kernels.rows import F8, I1, I4, I8, Rows, Scores

NONE, SPARE, SPARE_BIT, PRE_EOL, UNRELIABLE, READ_ONLY, MEDIA_ERRORS, REALLOCATED = range(8)
"""Channels: which sign is the strongest."""
MEDIA, SECTORS = range(2)
"""Counters, as the second axis of the memory has them."""

SPARE_WARNING, UNRELIABLE_WARNING, READ_ONLY_WARNING = 1, 4, 8
"""Bits of the critical warning in NVMe's SMART / Health Information log. Temperature (2), the
backup of volatile memory (16) and a persistent memory region (32) are not the flash."""
WARNINGS_END = 64
"""Higher bits are reserved: a byte that has them set is no warning."""
THRESHOLD = 0.1
"""Spare at which a medium fails, if it does not say: what nearly all that do say."""

AT_THRESHOLD, NOTHING_LEFT = 1.5, 2.0
"""Scores of spare blocks at the threshold, and of none at all."""
RESERVE_WARNING, RESERVE_URGENT = 1.25, 2.0
"""Scores of PRE_EOL_INFO 2 and 3 (JEDEC JESD84-B51): 80 % and 90 % of the reserve is used."""
CALLS_ITSELF_UNRELIABLE, WRITES_NO_MORE = 2.0, 3.0

ALL_ONES = (65535.0, 16777215.0)
"""Registers that were never filled, of 16 and 24 bits."""
COUNT_END = 2147483647.0
"""No count is as high: this, 2^32 - 1 and 2^32 are what drives say that do not count."""
MOST_EVIDENCE = 1e12
"""More is not kept, so that a medium that has become quiet is believed within a few years."""


class FailureColumns(NamedTuple):
    """What rows [n] report of a medium's health, each [n], NaN where a row does not."""

    spare: F8
    threshold: F8
    warning: F8
    pre_eol: F8
    media_errors: F8
    reallocated: F8
    wear: F8


class FailureMemory(NamedTuple):
    """What is known of each medium: 126 bytes. Counters' second axis is `MEDIA`, `SECTORS`."""

    ts: I8
    """[c] time of the last row that was read, ns; 0: none yet."""
    spare: F8
    """[c] last reading; NaN: none that can be believed."""
    threshold: F8
    """[c] as the medium states it; NaN: it does not."""
    wear: F8
    """[c] share of the rated endurance used, for words only; NaN: unknown."""
    warning: I1
    """[c] bits of the last critical warning; -1: none was read."""
    pre_eol: I1
    """[c] 1 to 3; -1: unknown."""
    level: I4
    """[c, 2] highest count read; -1: none yet."""
    first: I4
    """[c, 2] count at first sight, which is no growth; -1: none yet."""
    since: I8
    """[c, 2] when the open stretch began, ns."""
    grew: I1
    """[c, 2] 1: the count grew in the open stretch."""
    rests: I1
    """[c, 2] 1: the stretch before had an episode, which may go on into this one."""
    episodes: I4
    """[c, 2] stretches in which the count grew."""
    exposure_s: F8
    """[c, 2] length of all closed stretches."""
    weight: F8
    """[c, 2, k] Shiryaev-Roberts weight of each failing rate since a change, in episode lengths."""


class FailureSettings(NamedTuple):
    """What shapes the memory, and the line."""

    episode_ns: int
    """Growth within so long is one episode."""
    shape: float
    """Of the gamma distribution over healthy media of their rate of episodes."""
    prior_s: F8
    """[2] exposure that this distribution stands for, by counter, seconds."""
    most_rate: float
    """No healthy medium has a higher rate, 1/s, however long it has been so."""
    failing_rate: F8
    """[k] rates of failing media, 1/s."""
    line: float
    """Evidence that is on the alert line, in episode lengths. All counters of a medium share its
    budget, so the line of a medium with two of them is twice as far."""


@kernel
def failure_update(
    rows: Rows,
    columns: FailureColumns,
    memory: FailureMemory,
    settings: FailureSettings,
    scores: Scores,
) -> None:
    """Take the readings of rows [n] and judge each medium by all that is known of it.

    A row that reports nothing, or is not newer than the last that did, leaves no trace. What
    cannot be is passed over: spare of 0 from a medium that never showed any (exporters say 0 for
    what is not reported), reserved warning bits, counts of `COUNT_END` and more or of ones alone,
    and a count below what it was.
    """
    device, ts = rows.device, rows.ts
    spare, threshold, warning, pre_eol, media_errors, reallocated, wear = columns
    score, observed, expected = scores.score, scores.observed, scores.expected
    known_ts, known_spare, known_threshold = memory.ts, memory.spare, memory.threshold
    known_wear, known_warning, known_pre_eol = memory.wear, memory.warning, memory.pre_eol
    level, first, since = memory.level, memory.first, memory.since
    episodes, weight = memory.episodes, memory.weight
    line, episode_ns = settings.line, settings.episode_ns
    for k in range(device.shape[0]):
        i = device[k]
        silent = (
            math.isnan(spare[k])
            and math.isnan(threshold[k])
            and math.isnan(warning[k])
            and math.isnan(pre_eol[k])
            and math.isnan(media_errors[k])
            and math.isnan(reallocated[k])
            and math.isnan(wear[k])
        )
        t = ts[k]
        if silent or t <= known_ts[i]:
            score[k] = np.nan
            observed[k] = np.nan
            expected[k] = np.nan
            continue
        known_ts[i] = t
        if spare[k] > 0.0 or (spare[k] == 0.0 and not math.isnan(known_spare[i])):
            known_spare[i] = spare[k]
        if not math.isnan(threshold[k]):
            known_threshold[i] = threshold[k]
        if 0.0 <= warning[k] < WARNINGS_END:
            known_warning[i] = int(warning[k])
        if 1.0 <= pre_eol[k] <= 3.0:
            known_pre_eol[i] = int(pre_eol[k])
        if not math.isnan(wear[k]):
            known_wear[i] = wear[k]
        for c in range(2):
            reading = media_errors[k] if c == MEDIA else reallocated[k]
            # Most readings are neither the first, nor higher, nor at the end of a stretch.
            moves = reading != level[i, c] or t - since[i, c] >= episode_ns
            if moves and not math.isnan(reading):
                count(i, c, reading, t, memory, settings)

        channel, sign, seen, due = state_of(
            known_warning[i], known_spare[i], known_threshold[i], known_pre_eol[i]
        )
        for c in range(2):
            if level[i, c] >= 0:
                grown = 0.0
                if episodes[i, c] > 0:
                    counters = 2 if level[i, 0] >= 0 and level[i, 1] >= 0 else 1
                    grown = growth_of(weight[i, c], line * counters)
                if grown > sign or channel == NONE:
                    channel, sign = MEDIA_ERRORS + c, grown
                    seen, due = float(level[i, c]), float(first[i, c])
        score[k] = sign
        observed[k] = seen
        expected[k] = due


@kernel
def count(
    i: int, c: int, reading: float, ts: int, memory: FailureMemory, settings: FailureSettings
) -> None:
    """Take a reading of counter `c` of medium `i`; close the open stretch if it is long enough.

    A stretch ends with the first reading after `episode_ns`. It had an episode or none: how much
    the count grew is not asked, as errors come in bursts that have one cause. A burst may reach
    into the next stretch, so if most of that lies within `episode_ns` of an episode, it is left
    out, with or without growth: when readings come is no sign of failing, so that is fair.
    """
    if not (0.0 <= reading < COUNT_END) or reading == ALL_ONES[0] or reading == ALL_ONES[1]:
        return
    if memory.level[i, c] < 0:
        memory.level[i, c] = int(reading)
        memory.first[i, c] = int(reading)
        memory.since[i, c] = ts
        return
    if reading > memory.level[i, c]:
        memory.level[i, c] = int(reading)
        memory.grew[i, c] = 1
    length = ts - memory.since[i, c]
    if length < settings.episode_ns:
        return
    hit = memory.grew[i, c] == 1
    if memory.rests[i, c] == 1 and length < 2 * settings.episode_ns:
        hit = False
    else:
        length_s = length * 1e-9
        seen = settings.shape + memory.episodes[i, c]
        past_s = settings.prior_s[c] + memory.exposure_s[i, c]
        added = length / settings.episode_ns
        weigh(
            length_s,
            hit,
            seen,
            past_s,
            added,
            settings.most_rate,
            settings.failing_rate,
            memory.weight[i, c],
        )
        memory.exposure_s[i, c] += length_s
        if hit:
            memory.episodes[i, c] += 1
    memory.rests[i, c] = 1 if hit else 0
    memory.grew[i, c] = 0
    memory.since[i, c] = ts


@kernel
def weigh(
    length_s: float,
    hit: bool,
    seen: float,
    past_s: float,
    added: float,
    most_rate: float,
    failing_rate: F8,
    weight: F8,
) -> None:
    """Weigh a stretch of `length_s`, with an episode or without one, into `weight` [k].

    Healthy: rates are gamma distributed over media, so `seen` episodes in `past_s`, both with what
    the prior stands for, foretell the stretch by a gamma-Poisson law, at a rate of at most
    `most_rate`. Failing: from an unknown time on the rate is one of `failing_rate` [k]. The
    weights are sums, over when that began, of likelihood ratios; while a medium is healthy they
    grow by `added` (the stretch in episode lengths) on average, whatever it has shown: an
    e-detector (Shin, Ramdas and Rinaldo, arXiv:2203.03532).
    """
    quiet = math.exp(max(-seen * math.log1p(length_s / past_s), -most_rate * length_s))
    k = failing_rate.shape[0]
    for j in range(k):
        failing_quiet = math.exp(-failing_rate[j] * length_s)
        ratio = (1.0 - failing_quiet) / (1.0 - quiet) if hit else failing_quiet / quiet
        weight[j] = min((weight[j] + added / k) * ratio, MOST_EVIDENCE)


@kernel
def state_of(
    bits: int, spare: float, limit: float, reserve: int
) -> tuple[int, float, float, float]:
    """Return channel, score, observed and expected of what a medium says of its own state.

    Observed and expected are in the channel's own unit: spare and its threshold, warning bits and
    none, PRE_EOL and normal. `NONE` with 0: no warning; with NaN: it says nothing.
    """
    channel, score, observed, expected = NONE, np.nan, np.nan, np.nan
    if bits >= 0:
        score = 0.0
        if bits & READ_ONLY_WARNING:
            channel, score = READ_ONLY, WRITES_NO_MORE
        elif bits & UNRELIABLE_WARNING:
            channel, score = UNRELIABLE, CALLS_ITSELF_UNRELIABLE
        elif bits & SPARE_WARNING:
            channel, score = SPARE_BIT, AT_THRESHOLD
        if channel != NONE:
            observed, expected = float(bits), 0.0
    if not math.isnan(spare):
        if not 0.0 <= limit < 1.0:
            limit = THRESHOLD
        if spare > limit:
            sign = (1.0 - spare) / (1.0 - limit)
        else:
            missing = (limit - spare) / limit if limit > 0.0 else 1.0
            sign = AT_THRESHOLD + missing * (NOTHING_LEFT - AT_THRESHOLD)
        if sign > score or channel == NONE:
            channel, score, observed, expected = SPARE, sign, spare, limit
    if reserve >= 1:
        sign = 0.0
        if reserve >= 2:
            sign = RESERVE_URGENT if reserve == 3 else RESERVE_WARNING
        if sign > score or channel == NONE:
            channel, score, observed, expected = PRE_EOL, sign, float(reserve), 1.0
    return channel, score, observed, expected


@kernel
def growth_of(weight: F8, line: float) -> float:
    """Return the score of a counter's growth: log evidence over log line."""
    evidence = 0.0
    for j in range(weight.shape[0]):
        evidence += weight[j]
    return math.log1p(evidence) / math.log1p(line)


@kernel
def strongest(i: int, memory: FailureMemory, settings: FailureSettings) -> tuple[int, float]:
    """Return channel and score of the strongest sign of medium `i`, as its last row had them."""
    channel, score, _, _ = state_of(
        memory.warning[i], memory.spare[i], memory.threshold[i], memory.pre_eol[i]
    )
    for c in range(2):
        if memory.level[i, c] >= 0:
            grown = 0.0
            if memory.episodes[i, c] > 0:
                counters = 2 if memory.level[i, 0] >= 0 and memory.level[i, 1] >= 0 else 1
                grown = growth_of(memory.weight[i, c], settings.line * counters)
            if grown > score or channel == NONE:
                channel, score = MEDIA_ERRORS + c, grown
    return channel, score
