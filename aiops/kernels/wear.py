"""Flash wear as a gamma process seen through a coarse reading: its rate, and when it ends."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from aiops.kernels.compile import kernel
from aiops.kernels.rows import F8, I1, I4, I8, Rows, Scores

NODES = 24
"""Of the wear rate, where its posterior is integrated."""
COMMON_STEP = 0.01
"""Step of a reading that does not say its own."""
FASTEST_PER_S = 100.0 / 31_557_600.0
"""Wear faster than this (worn out in four days) is a broken clock, not wear."""
ENOUGH_QUANTA = 10.0
"""Recent wear is compared with the past until it is worth so much, then it becomes past."""
ESTRANGED = 2.0
"""More standard deviations between recent and past rate are no chance: the past counts less."""
SLACK_S = 3600.0
"""Power-on time counts whole hours."""
DAY_NS = 86_400_000_000_000
LEAST_DUTY = 0.02
SLIPS_TO_RESTART = 5
"""So many contradictions in a row are not a slip: the medium was replaced, or counts anew."""
HORIZON_S = 100.0 * 31_557_600.0
"""Whatever lasts longer lasts for ever."""


class WearMemory(NamedTuple):
    """What is known of each medium; 0 in a time means never, NaN not yet.

    The clock is power-on time where it is reported, else time since first sight. *Origin* is where
    recent evidence begins, *anchor* where it ends: at the last step of the reading, the one
    instant at which true wear is known. Positions have a variance, as steps fall between rows.
    """

    ts: I8
    """[c] time of the last row, ns."""
    read_ts: I8
    """[c] time of the last reading that was believed, ns."""
    level: F8
    """[c] highest reading."""
    step: F8
    """[c] what one tick of the reading is worth."""
    power_on_s: F8
    """[c] last reported power-on time."""
    power_on_ts: I8
    """[c] when that was, ns."""
    first_power_on_s: F8
    """[c]"""
    first_ts: I8
    """[c] when `first_power_on_s` was reported or, before, when the medium was first seen, ns."""
    timed: I1
    """[c] 1: the clock is power-on time."""
    clock_s: F8
    """[c] at the last reading."""
    past_shape: F8
    """[c] quanta of wear before the origin, as far as they still count."""
    past_s: F8
    """[c] ``past_shape / past_s`` is the rate in the past, 1/s, in units of the rate."""
    origin_s: F8
    """[c]"""
    origin_ratio: F8
    """[c] true wear at the origin."""
    origin_var: F8
    """[c]"""
    anchor_s: F8
    """[c]"""
    anchor_ratio: F8
    """[c] true wear at the anchor, above `level`."""
    anchor_var: F8
    """[c]"""
    slips: I8
    """[c] contradictions in a row."""
    judged_ts: I8
    """[c] when the following were computed, ns."""
    probability: F8
    """[c] that the medium is worn out within `WearSettings.ahead_s`."""
    replace_ratio: F8
    """[c] wear that, at the mean rate, still leaves that time."""


class WearSettings(NamedTuple):
    """What shapes the memory, and the line."""

    scale: float
    """Variance over mean of the wear of any stretch."""
    prior_shape: float
    """One over the squared relative deviation of the rate over media."""
    prior_rate: float
    """Mean rate over media, 1/s."""
    refresh_ns: int
    """A medium is judged anew at each step of its reading, else after this time."""
    ahead_s: float
    """How far ahead, in calendar time, the end is looked for."""
    line: float
    """Probability of that end that is on the alert line."""


class Nodes(NamedTuple):
    """Rates a medium may have, and what each would mean."""

    rate: F8
    """[NODES] 1/s."""
    weight: F8
    """[NODES] sums to 1."""
    above: F8
    """[NODES] mean of true wear now, above the level."""
    var: F8
    """[NODES] its variance."""
    stayed: F8
    """[NODES] probability that the reading has not stepped since the anchor."""


@kernel
def wear_update(
    rows: Rows,
    wear: F8,
    step: F8,
    power_on: F8,
    memory: WearMemory,
    settings: WearSettings,
    scores: Scores,
) -> None:
    """Learn from the readings `wear` [n] (floors of true wear, in ticks of `step`) and judge.

    A row without a reading only moves the clock. A reading that falls by more than two ticks or
    rises faster than any wear, or power-on time that falls, contradicts what was seen: nothing is
    learnt from it, until `SLIPS_TO_RESTART` in a row begin a new life. Smaller falls are firmware
    recalculating: the highest reading stands. Between judgements the last one is repeated.
    """
    device, ts = rows.device, rows.ts
    score, observed, expected = scores.score, scores.observed, scores.expected
    per_line = 1.0 / settings.line
    nodes = new_nodes()
    for k in range(device.shape[0]):
        i = device[k]
        t = ts[k]
        reading, on_s = wear[k], power_on[k]
        score[k] = np.nan
        observed[k] = np.nan
        expected[k] = np.nan
        if t <= memory.ts[i] or (math.isnan(reading) and math.isnan(on_s)):
            continue
        memory.ts[i] = t
        fell = not math.isnan(on_s) and on_s < memory.power_on_s[i] - SLACK_S
        if math.isnan(reading):
            if not fell:
                note_power_on(i, t, on_s, memory)
            continue
        tick = COMMON_STEP if math.isnan(step[k]) else step[k]
        rise = reading - memory.level[i]
        most = 2.5 * tick + FASTEST_PER_S * (t - memory.read_ts[i]) * 1e-9
        if fell or rise < -2.5 * tick or rise > most:
            memory.slips[i] += 1
            if memory.slips[i] < SLIPS_TO_RESTART:
                continue
            memory.level[i] = np.nan
            memory.power_on_s[i] = np.nan
            memory.first_ts[i] = 0
            memory.timed[i] = 0
        memory.slips[i] = 0
        memory.read_ts[i] = t
        if memory.first_ts[i] == 0:
            memory.first_ts[i] = t
        note_power_on(i, t, on_s, memory)

        clock_s = clock_of(i, t, memory)
        timed = not math.isnan(memory.power_on_s[i])
        if math.isnan(memory.level[i]) or (timed and memory.timed[i] == 0):
            begin(i, reading, tick, clock_s, timed, memory)
            memory.judged_ts[i] = 0
        else:
            clock_s = max(clock_s, memory.clock_s[i])
            if reading > memory.level[i] + 0.5 * tick:
                cross(i, reading, tick, clock_s, memory, settings)
                memory.judged_ts[i] = 0
        memory.clock_s[i] = clock_s

        if t - memory.judged_ts[i] >= settings.refresh_ns:
            horizon_s = settings.ahead_s * duty_of(i, memory)
            fill(i, memory, settings, nodes)
            memory.probability[i] = worn_within(horizon_s, i, memory, settings, nodes)
            memory.replace_ratio[i] = max(1.0 - mean_rate(nodes) * horizon_s, 0.0)
            memory.judged_ts[i] = t
        score[k] = memory.probability[i] * per_line
        observed[k] = reading
        expected[k] = memory.replace_ratio[i]


@kernel
def wear_horizons(
    device: I4,
    memory: WearMemory,
    settings: WearSettings,
    probability: F8,
    horizon_s: F8,
    rate: F8,
) -> None:
    """Write into `horizon_s` [m, q] by when each `device` [m] is worn out with `probability` [q].

    Seconds of calendar time from the device's last row: 0 if it is worn out, inf if not within
    `HORIZON_S`, NaN without a reading. `rate` [m] gets the mean wear rate by the medium's clock,
    1/s.
    """
    nodes = new_nodes()
    for row in range(device.shape[0]):
        i = device[row]
        rate[row] = np.nan
        for q in range(probability.shape[0]):
            horizon_s[row, q] = np.nan
        if math.isnan(memory.level[i]):
            continue
        fill(i, memory, settings, nodes)
        rate[row] = mean_rate(nodes)
        duty = duty_of(i, memory)
        for q in range(probability.shape[0]):
            low, high = 0.0, HORIZON_S * duty
            if worn_within(low, i, memory, settings, nodes) >= probability[q]:
                horizon_s[row, q] = 0.0
            elif worn_within(high, i, memory, settings, nodes) < probability[q]:
                horizon_s[row, q] = np.inf
            else:
                while high - low > max(1e-4 * high, 1.0):
                    middle = math.sqrt(low * high) if low > 0.0 else 1e-3 * high
                    if worn_within(middle, i, memory, settings, nodes) < probability[q]:
                        low = middle
                    else:
                        high = middle
                horizon_s[row, q] = 0.5 * (low + high) / duty


@kernel
def new_nodes() -> Nodes:
    """Return room for nodes."""
    return Nodes(
        np.empty(NODES), np.empty(NODES), np.empty(NODES), np.empty(NODES), np.empty(NODES)
    )


@kernel
def note_power_on(i: int, t: int, on_s: float, memory: WearMemory) -> None:
    """Take note of power-on time, if there is one."""
    if math.isnan(on_s):
        return
    if math.isnan(memory.power_on_s[i]):
        memory.power_on_s[i] = on_s
        memory.first_power_on_s[i] = on_s
        memory.first_ts[i] = t
    memory.power_on_s[i] = max(memory.power_on_s[i], on_s)
    memory.power_on_ts[i] = t


@kernel
def duty_of(i: int, memory: WearMemory) -> float:
    """Return the share of time in which the medium's clock runs; 1 in its first day."""
    seen_ns = memory.power_on_ts[i] - memory.first_ts[i]
    if math.isnan(memory.power_on_s[i]) or seen_ns < DAY_NS:
        return 1.0
    grown_s = memory.power_on_s[i] - memory.first_power_on_s[i]
    duty: float = min(max(grown_s / (seen_ns * 1e-9), LEAST_DUTY), 1.0)
    return duty


@kernel
def clock_of(i: int, t: int, memory: WearMemory) -> float:
    """Return the medium's clock [s] at `t`; between reports it runs on at the usual duty."""
    clock_s: float
    if math.isnan(memory.power_on_s[i]):
        clock_s = (t - memory.first_ts[i]) * 1e-9
    else:
        since_s = (t - memory.power_on_ts[i]) * 1e-9
        clock_s = memory.power_on_s[i] + duty_of(i, memory) * since_s
    return clock_s


@kernel
def begin(
    i: int, reading: float, tick: float, clock_s: float, timed: bool, memory: WearMemory
) -> None:
    """Begin a life at its first reading.

    With power-on time all of it is known: no wear at 0 h, and now half a tick above the reading.
    Without, only that wear now is somewhere in the tick.
    """
    memory.level[i] = reading
    memory.step[i] = tick
    memory.timed[i] = 1 if timed else 0
    memory.past_shape[i] = 0.0
    memory.past_s[i] = 0.0
    unknown = tick * tick / 12.0
    if timed and reading <= FASTEST_PER_S * clock_s:
        memory.origin_s[i] = 0.0
        memory.origin_ratio[i] = 0.0
        memory.origin_var[i] = 0.0
        memory.anchor_s[i] = clock_s * reading / (reading + 0.5 * tick)
        memory.anchor_ratio[i] = 0.0
        memory.anchor_var[i] = unknown if reading > 0.0 else 0.0
    else:
        memory.origin_s[i] = clock_s
        memory.origin_ratio[i] = reading + 0.5 * tick
        memory.origin_var[i] = unknown
        memory.anchor_s[i] = clock_s
        memory.anchor_ratio[i] = 0.5 * tick
        memory.anchor_var[i] = unknown


@kernel
def cross(
    i: int,
    reading: float,
    tick: float,
    clock_s: float,
    memory: WearMemory,
    settings: WearSettings,
) -> None:
    """Move the anchor to where the reading stepped, which was between the last two rows.

    Since the last step, wear has come further by what the gap wears or by a tick, whichever is
    less; by half of that on average. With its place in the old tick that makes the way of the
    whole gap, and, had it gone steadily, the time of the step. What is left open is the variance.
    """
    shape, inverse = posterior(i, memory, settings)
    rate = shape / inverse
    gap_s = clock_s - memory.clock_s[i]
    inside = memory.anchor_ratio[i] + rate * (memory.clock_s[i] - memory.anchor_s[i])
    width = min(tick, rate * gap_s)
    way = reading - memory.level[i] + 0.5 * width - min(max(inside, 0.0), tick)
    since_s = gap_s * min(0.5 * width / way, 1.0) if way > 0.0 else 0.0

    # Recent evidence that is worth enough becomes past, and a past that disagrees counts less.
    quanta, weight_s = recent(i, memory, settings)
    if quanta >= ENOUGH_QUANTA:
        kept = kept_share(quanta, weight_s, i, memory)
        memory.past_shape[i] = kept * memory.past_shape[i] + quanta
        memory.past_s[i] = kept * memory.past_s[i] + weight_s
        memory.origin_s[i] = memory.anchor_s[i]
        memory.origin_ratio[i] = memory.level[i] + memory.anchor_ratio[i]
        memory.origin_var[i] = memory.anchor_var[i]
    memory.level[i] = reading
    memory.step[i] = tick
    memory.anchor_s[i] = clock_s - since_s
    memory.anchor_ratio[i] = 0.0
    memory.anchor_var[i] = width * width / 12.0


@kernel
def recent(i: int, memory: WearMemory, settings: WearSettings) -> tuple[float, float]:
    """Return what happened from origin to anchor as quanta of wear, and their exposure [s]."""
    worn = memory.level[i] + memory.anchor_ratio[i] - memory.origin_ratio[i]
    passed_s = memory.anchor_s[i] - memory.origin_s[i]
    if worn <= 0.0 or worn > FASTEST_PER_S * passed_s:
        return 0.0, 0.0
    unknown = memory.origin_var[i] + memory.anchor_var[i]
    quanta = worn * worn / (settings.scale * worn + unknown)
    return quanta, quanta * passed_s / worn


@kernel
def kept_share(quanta: float, weight_s: float, i: int, memory: WearMemory) -> float:
    """Return how much the past still counts beside recent evidence.

    All of it, unless the log rates differ by more than `ESTRANGED` standard deviations; then so
    much that they differ by just that.
    """
    past = memory.past_shape[i]
    if past <= 0.0 or quanta <= 0.0:
        return 1.0
    apart = math.log(quanta / weight_s) - math.log(past / memory.past_s[i])
    room = apart * apart / (ESTRANGED * ESTRANGED) - 1.0 / quanta
    return 1.0 if room * past <= 1.0 else 1.0 / (room * past)


@kernel
def posterior(i: int, memory: WearMemory, settings: WearSettings) -> tuple[float, float]:
    """Return shape and inverse scale [s] of the gamma posterior of the rate, at the anchor.

    Wear comes in quanta of `scale`, a Poisson process: its moments are those of the gamma process,
    and the gamma prior is conjugate.
    """
    quanta, weight_s = recent(i, memory, settings)
    kept = kept_share(quanta, weight_s, i, memory)
    shape = settings.prior_shape + kept * memory.past_shape[i] + quanta
    inverse = settings.prior_shape / settings.prior_rate + kept * memory.past_s[i] + weight_s
    return shape, inverse


@kernel
def fill(i: int, memory: WearMemory, settings: WearSettings, nodes: Nodes) -> None:
    """Fill `nodes` with the rates of medium `i` as they are to be thought of now.

    Since the anchor the reading has not stepped: each rate counts as far as it explains that, and
    says how far wear has come within the tick.
    """
    shape, inverse = posterior(i, memory, settings)
    since_s = memory.clock_s[i] - memory.anchor_s[i]
    tick, at, at_var = memory.step[i], memory.anchor_ratio[i], memory.anchor_var[i]
    scale = settings.scale

    moved = min(shape / inverse * since_s, tick)
    centre = (shape + moved / scale) / (inverse + since_s / scale)
    left = 5.0 / math.sqrt(shape) + 1.0
    right = min(5.0 / math.sqrt(shape), 3.0)
    top = -np.inf
    for n in range(NODES):
        away = -left + (left + right) * n / (NODES - 1.0)
        factor = math.exp(away)
        rate = centre * factor
        mean = at + rate * since_s
        var = at_var + scale * rate * since_s
        stayed = below(tick, mean, var)
        above = 0.0
        if mean > 1e-12:
            quantum = var / mean
            part = below(tick, mean + quantum, var + quantum * quantum)
            above = min(mean * part / stayed, 0.95 * tick) if stayed > 1e-12 else 0.95 * tick
        nodes.rate[n] = rate
        nodes.above[n] = above
        nodes.var[n] = min(var, above * (tick - above) / 3.0)
        nodes.stayed[n] = stayed
        nodes.weight[n] = (
            shape * away - inverse * centre * (factor - 1.0) + math.log(max(stayed, 1e-300))
        )
        top = max(top, nodes.weight[n])
    total = 0.0
    for n in range(NODES):
        nodes.weight[n] = math.exp(nodes.weight[n] - top)
        total += nodes.weight[n]
    for n in range(NODES):
        nodes.weight[n] /= total


@kernel
def worn_within(
    horizon_s: float, i: int, memory: WearMemory, settings: WearSettings, nodes: Nodes
) -> float:
    """Return the probability that wear reaches 1 within `horizon_s` of the medium's clock.

    In its last tick a medium is worn out when the reading steps, which asks for no position.
    """
    left = 1.0 - memory.level[i]
    if left <= 1e-9:
        return 1.0
    last_tick = left <= 1.001 * memory.step[i]
    since_s = memory.clock_s[i] - memory.anchor_s[i]
    probability = 0.0
    for n in range(NODES):
        if nodes.weight[n] < 1e-7:
            continue
        if last_tick:
            now = nodes.stayed[n]
            wears = nodes.rate[n] * (since_s + horizon_s)
            mean = memory.anchor_ratio[i] + wears
            var = memory.anchor_var[i] + settings.scale * wears
        else:
            now = 1.0
            wears = nodes.rate[n] * horizon_s
            mean = nodes.above[n] + wears
            var = nodes.var[n] + settings.scale * wears
        survives = min(below(left, mean, var) / now, 1.0) if now > 1e-12 else 0.0
        probability += nodes.weight[n] * (1.0 - survives)
    return probability


@kernel
def mean_rate(nodes: Nodes) -> float:
    """Return the posterior mean of the rate, 1/s."""
    mean = 0.0
    for n in range(NODES):
        mean += nodes.weight[n] * nodes.rate[n]
    return mean


@kernel
def below(limit: float, mean: float, var: float) -> float:
    """Return the probability that a gamma variable is below `limit`.

    By the cube root of Wilson and Hilferty (1931, doi:10.1073/pnas.17.12.684), good to a
    thousandth from one quantum on.
    """
    if mean <= 1e-12 or var <= 0.0:
        return 1.0 if mean < limit else 0.0
    shape = mean * mean / var
    z = 3.0 * math.sqrt(shape) * ((limit / mean) ** (1.0 / 3.0) - 1.0 + 1.0 / (9.0 * shape))
    return 0.5 * math.erfc(-z / math.sqrt(2.0))
