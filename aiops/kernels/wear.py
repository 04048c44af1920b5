"""Flash wear as a gamma process seen through a coarse reading: its rate, and when it ends."""

from __future__ import annotations

import math

import numpy as np

from aiops.kernels.compile import kernel
from aiops.kernels.rows import F8, I4, Rows, Scores
from aiops.kernels.wear_memory import Nodes, Readings, WearMemory, WearSettings

TIME, WRITES, PACE = 0, 1, 2
"""Clocks that wear goes by (time, full drive writes), and the pace at which writes come."""
NODES = 24
"""Of the log rate, where its posterior is integrated."""
COMMON_STEP = 0.01
"""Step of a reading that does not say its own."""
YEAR_S = 31_557_600.0
DAY_S = 86_400.0
MONTH_S = YEAR_S / 12.0
FASTEST_PER_S = 100.0 / YEAR_S
"""Wear faster than this (worn out in four days) is a broken clock, not wear."""
OLDEST_S = 20.0 * YEAR_S
"""Power-on time beyond this is a broken counter."""
CAP = 2.545
"""A reading at the end of its byte."""
ENOUGH_QUANTA = 10.0
"""Recent wear is compared with the past until it is worth so much, then it becomes past."""
SLACK_S = 3600.0
"""Power-on time counts whole hours."""
LEAST_DUTY = 0.02
SLIPS_TO_RESTART = 5
"""So many contradictions in a row are not a slip: the medium was replaced, or counts anew."""
FALLS_TO_QUARANTINE = 3
"""A reading that falls so often and never rises runs the wrong way."""
HORIZON_S = 100.0 * YEAR_S
"""Whatever lasts longer lasts for ever."""
WALK_LIVES = 4.0
"""A rate walks on until the end; those that take so much longer than usual walk no further."""
MOST_ODDS = 9.0
FALL_ODDS = 4.0
"""Log odds that a count of writes loses when it falls."""
TRIAL_RATIO = 0.05
"""Wear ahead on which the interval is tried, or a tick if that is more."""
TRIAL_STEP = 0.02
"""How far one trial moves the levels of the interval (Gibbs and Candes 2021)."""


@kernel
def wear_update(
    rows: Rows, readings: Readings, memory: WearMemory, settings: WearSettings, scores: Scores
) -> None:
    """Learn from each row and judge it.

    A row without a reading only moves the clocks. A reading that falls by more than two ticks,
    rises faster than any wear or leaps to the end of its byte, or power-on time that falls,
    contradicts what was seen: nothing is learnt from it, until `SLIPS_TO_RESTART` in a row begin
    a new life. Smaller falls are firmware recalculating: the highest reading stands. One that
    only ever falls is quarantined. Between judgements the last one is repeated.
    """
    device, ts = rows.device, rows.ts
    score, observed, expected = scores.score, scores.observed, scores.expected
    per_line = 1.0 / settings.line
    nodes = new_nodes()
    for k in range(device.shape[0]):
        i = device[k]
        t = ts[k]
        score[k] = np.nan
        observed[k] = np.nan
        expected[k] = np.nan
        reading, on_s, written = readings.wear[k], readings.power_on[k], readings.written[k]
        if t <= memory.ts[i]:
            continue
        if math.isnan(memory.capacity[i]):
            memory.capacity[i] = readings.capacity[k]
        # Calls cost more than they do here, with a memory of so many arrays: the common row, which
        # tells nothing new, makes none.
        model, vendor = readings.model[k], readings.vendor[k]
        renamed = not math.isnan(model) and model != memory.model[i]
        if renamed or (not math.isnan(vendor) and vendor != memory.vendor[i]):
            note_name(i, model, vendor, memory, settings)
        if math.isnan(reading) and math.isnan(on_s) and math.isnan(written):
            continue
        memory.ts[i] = t
        if memory.prior[i] < 0:
            look_up(i, memory, settings)
        if on_s > OLDEST_S:
            on_s = np.nan
        tick = COMMON_STEP if math.isnan(readings.step[k]) else readings.step[k]
        if math.isnan(reading) and not (math.isnan(written) or math.isnan(readings.rated[k])):
            reading = math.floor(written / readings.rated[k] / tick) * tick
        told = not math.isnan(reading)
        fell = on_s < memory.power_on_s[i] - SLACK_S
        if told:
            change = reading - memory.last[i]
            if change < -0.5 * tick and not fell:
                memory.falls[i] = min(memory.falls[i] + 1, FALLS_TO_QUARANTINE)
            elif change > 0.5 * tick:
                memory.falls[i] = 0
            memory.last[i] = reading
            rise = reading - memory.level[i]
            most = 2.5 * tick + FASTEST_PER_S * (t - memory.read_ts[i]) * 1e-9
            leapt = reading >= CAP and memory.level[i] < 1.0
            if fell or rise < -2.5 * tick or rise > most or leapt:
                memory.slips[i] += 1
                if memory.slips[i] < SLIPS_TO_RESTART or memory.falls[i] >= FALLS_TO_QUARANTINE:
                    continue
                forget(i, memory)
                look_up(i, memory, settings)
            memory.slips[i] = 0
            memory.read_ts[i] = t
            if memory.first_ts[i] == 0:
                memory.first_ts[i] = t
        elif fell:
            continue

        if not math.isnan(on_s):
            if math.isnan(memory.power_on_s[i]):
                memory.power_on_s[i] = on_s
                memory.first_power_on_s[i] = on_s
                memory.first_ts[i] = t
            memory.power_on_s[i] = max(memory.power_on_s[i], on_s)
            memory.power_on_ts[i] = t
        writes = written / memory.capacity[i]
        if not math.isnan(writes):
            memory.partial[i] = 1 if readings.partial[k] == 1.0 else 0
            paced_s = (t - memory.paced_ts[i]) * 1e-9
            if paced_s >= DAY_S or writes < memory.paced_writes[i]:
                follow_pace(i, t, writes, memory, settings)
            if writes < memory.writes[i]:
                memory.odds[i] = max(memory.odds[i] - FALL_ODDS, -MOST_ODDS)
            memory.writes[i] = writes
            memory.writes_ts[i] = t
        if not told:
            continue

        stepped = not reading <= memory.level[i] + 0.5 * tick
        fresh = math.isnan(memory.clock[i, WRITES]) and not math.isnan(memory.writes[i])
        if stepped or fresh or (memory.timed[i] == 0 and not math.isnan(memory.power_on_s[i])):
            born = math.isnan(memory.level[i])
            memory.trust[i] = readings.trust[k]
            read(i, t, reading, tick, memory, settings)
            if stepped:
                fold(i, memory, settings, nodes)
                memory.due_ts[i] = t
                if not born:
                    try_interval(i, memory, settings, nodes)
        else:
            now_s = on_s if not math.isnan(on_s) else clock_of(TIME, i, t, memory)
            memory.clock[i, TIME] = max(memory.clock[i, TIME], now_s)
            if not math.isnan(memory.clock[i, WRITES]):
                now = writes if not math.isnan(writes) else clock_of(WRITES, i, t, memory)
                memory.clock[i, WRITES] = max(memory.clock[i, WRITES], now)

        if t >= memory.due_ts[i]:
            judge(i, t, memory, settings, nodes)
        if memory.falls[i] >= FALLS_TO_QUARANTINE:
            continue
        score[k] = memory.probability[i] * per_line
        observed[k] = reading
        expected[k] = memory.replace_ratio[i]


@kernel
def wear_horizons(
    device: I4,
    memory: WearMemory,
    settings: WearSettings,
    probability: F8,
    limit: float,
    slower: float,
    horizon_s: F8,
    rate: F8,
) -> None:
    """Write into `horizon_s` [m, q] by when wear of each `device` [m] is at `limit`, by chance [q].

    Seconds of calendar time from the device's last row: 0 if it is there, inf if not within
    `HORIZON_S`, NaN without a reading. From now on it is used `slower` times as much as so far.
    `rate` [m, 2] gets the mean wear rate by calendar time, 1/s, and by full drive writes.
    """
    nodes = new_nodes()
    for row in range(device.shape[0]):
        i = device[row]
        rate[row, :] = np.nan
        horizon_s[row, :] = np.nan
        if math.isnan(memory.level[i]):
            continue
        fill(i, memory, settings, nodes)
        rate[row, TIME] = mean_rate(i, memory, nodes)
        if not math.isnan(memory.clock[i, WRITES]):
            rate[row, WRITES] = (nodes.rate[WRITES] * nodes.weight[WRITES]).sum()
        for q in range(probability.shape[0]):
            wanted = warp(probability[q], i, memory)
            horizon_s[row, q] = when(limit, wanted, i, memory, settings, nodes) / slower


@kernel
def wear_chances(
    device: I4,
    memory: WearMemory,
    settings: WearSettings,
    limit: F8,
    horizon_s: F8,
    chance: F8,
) -> None:
    """Write into `chance` [m, q] the probability that wear is at `limit` [m, q] in `horizon_s` [m].

    Seconds of calendar time from the device's last row; NaN without a reading.
    """
    nodes = new_nodes()
    for row in range(device.shape[0]):
        i = device[row]
        chance[row, :] = np.nan
        if math.isnan(memory.level[i]):
            continue
        fill(i, memory, settings, nodes)
        for q in range(limit.shape[1]):
            raw = worn_within(limit[row, q], horizon_s[row], i, memory, settings, nodes)
            chance[row, q] = unwarp(raw, i, memory)


@kernel
def new_nodes() -> Nodes:
    """Return room for nodes."""
    shape = (2, NODES)
    return Nodes(
        np.empty(shape),
        np.empty(shape),
        np.empty(shape),
        np.empty(shape),
        np.empty(shape),
        np.empty(2),
    )


# -- clocks ----------------------------------------------------------------------------------------


@kernel
def note_name(
    i: int, model: float, vendor: float, memory: WearMemory, settings: WearSettings
) -> None:
    """Take note of what the medium is; its prior applies until evidence has become past."""
    if not math.isnan(model):
        memory.model[i] = model
    if not math.isnan(vendor):
        memory.vendor[i] = vendor
    if memory.folds[i] == 0:
        look_up(i, memory, settings)


@kernel
def look_up(i: int, memory: WearMemory, settings: WearSettings) -> None:
    """Find the prior of a medium: its model's, else its vendor's, else the fleet's."""
    best = 0
    for code in (memory.vendor[i], memory.model[i]):
        at = int(np.searchsorted(settings.code, code))
        if at < settings.code.shape[0] and settings.code[at] == code:
            best = at
    if best == memory.prior[i]:
        return
    memory.prior[i] = best
    if memory.paced_ts[i] == 0:
        memory.pace_log[i] = settings.pace_log[best]
        memory.pace_var[i] = settings.pace_var[best]
    memory.rate_log[i, :] = settings.rate_log[best]
    memory.rate_var[i, :] = settings.rate_var[best]
    memory.odds[i] = settings.odds[best]
    if settings.inverted[best] == 1:
        memory.falls[i] = FALLS_TO_QUARANTINE


@kernel
def forget(i: int, memory: WearMemory) -> None:
    """Forget a life: what is read next begins another one."""
    memory.level[i] = np.nan
    memory.power_on_s[i] = np.nan
    memory.writes[i] = np.nan
    memory.clock[i, :] = np.nan
    memory.first_ts[i] = 0
    memory.timed[i] = 0
    memory.paced_ts[i] = 0
    memory.folds[i] = 0
    memory.falls[i] = 0
    memory.prior[i] = -1
    memory.trial_ratio[i] = np.nan


@kernel
def follow_pace(i: int, t: int, writes: float, memory: WearMemory, settings: WearSettings) -> None:
    """Learn the pace of writes from those since it was last learnt, a day ago or more.

    What a medium wrote before it was seen tells of its pace if it has been powered for a month:
    less may be a count that began anew.
    """
    if memory.paced_ts[i] == 0:
        if writes > 0.0 and memory.power_on_s[i] > MONTH_S and memory.partial[i] == 0:
            pace(i, writes, memory.power_on_s[i], memory, settings)
    elif writes >= memory.paced_writes[i]:
        span_s = (t - memory.paced_ts[i]) * 1e-9
        pace(i, writes - memory.paced_writes[i], span_s, memory, settings)
    memory.paced_writes[i] = writes
    memory.paced_ts[i] = t


@kernel
def pace(i: int, writes: float, span_s: float, memory: WearMemory, settings: WearSettings) -> None:
    """Learn the pace now from `writes` in the `span_s` that ends now.

    Its logarithm is a local level (a random walk, seen as the mean over the span and with noise),
    which may have jumped: both cases are followed and then made one normal distribution.
    """
    drift = settings.drift[PACE] * span_s
    noise = settings.noise * DAY_S / span_s
    # An idle span says that the pace is low, not that it is nil.
    seen = math.log(max(writes, 1e-3 * math.exp(memory.pace_log[i]) * span_s) / span_s)
    jumps = 1.0 - math.exp(-settings.hazard[PACE] * span_s)
    total, first, second = 0.0, 0.0, 0.0
    for jumped in range(2):
        mean, var = memory.pace_log[i], memory.pace_var[i]
        chance = jumps if jumped == 1 else 1.0 - jumps
        if jumped == 1:
            mean += settings.jump_log[PACE]
            var += settings.jump_var[PACE]
        average = var + drift / 3.0 + noise
        off = seen - mean
        chance *= math.exp(-0.5 * off * off / average) / math.sqrt(average) + 1e-12
        gain = (var + 0.5 * drift) / average
        level = mean + gain * off
        total += chance
        first += chance * level
        second += chance * (var + drift - gain * (var + 0.5 * drift) + level * level)
    memory.pace_log[i] = first / total
    memory.pace_var[i] = max(second / total - (first / total) ** 2, 1e-6)


@kernel
def duty_of(i: int, memory: WearMemory) -> float:
    """Return the share of time in which the medium is powered; 1 in its first day."""
    seen_s = (memory.power_on_ts[i] - memory.first_ts[i]) * 1e-9
    if math.isnan(memory.power_on_s[i]) or seen_s < DAY_S:
        return 1.0
    grown_s = memory.power_on_s[i] - memory.first_power_on_s[i]
    duty: float = min(max(grown_s / seen_s, LEAST_DUTY), 1.0)
    return duty


@kernel
def clock_of(clock: int, i: int, t: int, memory: WearMemory) -> float:
    """Return a clock of the medium at `t`; between reports it runs on at its usual pace."""
    now: float
    if clock == WRITES:
        now = memory.writes[i] + math.exp(memory.pace_log[i]) * (t - memory.writes_ts[i]) * 1e-9
    elif math.isnan(memory.power_on_s[i]):
        now = (t - memory.first_ts[i]) * 1e-9
    else:
        since_s = (t - memory.power_on_ts[i]) * 1e-9
        now = memory.power_on_s[i] + duty_of(i, memory) * since_s
    return now


# -- evidence --------------------------------------------------------------------------------------


@kernel
def read(
    i: int, t: int, reading: float, tick: float, memory: WearMemory, settings: WearSettings
) -> None:
    """Take in a believed reading that begins a life, begins to tell a clock, or has stepped."""
    born = math.isnan(memory.level[i])
    timed = not math.isnan(memory.power_on_s[i])
    level = reading if born else max(reading, memory.level[i])
    for clock in range(2):
        now = clock_of(clock, i, t, memory)
        if math.isnan(now):
            continue
        if math.isnan(memory.clock[i, clock]) or (clock == TIME and timed and memory.timed[i] == 0):
            begin(clock, i, level, tick, now, memory)
        else:
            now = max(now, memory.clock[i, clock])
            if level > memory.level[i]:
                cross(clock, i, level, tick, now, memory, settings)
        memory.clock[i, clock] = now
    memory.timed[i] = 1 if timed else 0
    memory.level[i] = level
    memory.step[i] = tick


@kernel
def begin(clock: int, i: int, level: float, tick: float, now: float, memory: WearMemory) -> None:
    """Begin to follow wear on a clock.

    If the clock tells of the whole life, all of it is known: no wear at 0, and now half a tick
    above the level. Else, only that wear now is somewhere in the tick. A count of writes far off
    what is usual does not tell of it either: it began late, or is in another unit.
    """
    unknown = tick * tick / 12.0
    whole = level <= FASTEST_PER_S * memory.power_on_s[i]
    if clock == WRITES and memory.partial[i] == 1:
        whole = False
    elif clock == WRITES and whole and level > 0.0:
        off = math.log((level + 0.5 * tick) / max(now, 1e-12)) - memory.rate_log[i, WRITES]
        whole = off * off <= 9.0 * (memory.rate_var[i, WRITES] + 0.05)
    if whole:
        memory.origin[i, clock] = 0.0
        memory.origin_s[i, clock] = 0.0
        memory.origin_ratio[i, clock] = 0.0
        memory.origin_var[i, clock] = 0.0
        memory.anchor[i, clock] = now * level / (level + 0.5 * tick)
        memory.anchor_ratio[i, clock] = 0.0
        memory.anchor_var[i, clock] = unknown if level > 0.0 else 0.0
    else:
        memory.origin[i, clock] = now
        memory.origin_s[i, clock] = clock_of(TIME, i, memory.ts[i], memory)
        memory.origin_ratio[i, clock] = level + 0.5 * tick
        memory.origin_var[i, clock] = unknown
        memory.anchor[i, clock] = now
        memory.anchor_ratio[i, clock] = 0.5 * tick
        memory.anchor_var[i, clock] = unknown


@kernel
def cross(
    clock: int,
    i: int,
    reading: float,
    tick: float,
    now: float,
    memory: WearMemory,
    settings: WearSettings,
) -> None:
    """Move the anchor to where the reading stepped, which was between the last two rows.

    Since the last step, wear has come further by what the gap wears or by a tick, whichever is
    less; by half of that on average. With its place in the old tick that makes the way of the
    whole gap, and, had it gone steadily, the time of the step. What is left open is the variance.
    """
    quanta, weight = recent(clock, i, memory, settings)
    mean, var = memory.rate_log[i, clock], memory.rate_var[i, clock]
    rate = math.exp(likeliest(mean, var, quanta, weight))
    gap = now - memory.clock[i, clock]
    since = memory.clock[i, clock] - memory.anchor[i, clock]
    inside = min(max(memory.anchor_ratio[i, clock] + rate * since, 0.0), tick)
    width = min(tick, rate * gap)
    way = reading - memory.level[i] + 0.5 * width - inside
    ago = gap * min(0.5 * width / way, 1.0) if way > 0.0 else 0.0
    memory.anchor[i, clock] = now - ago
    # What jumps over a level lands half a quantum above it.
    memory.anchor_ratio[i, clock] = min(0.5 * settings.scale[memory.prior[i]], 0.5 * tick)
    memory.anchor_var[i, clock] = width * width / 12.0


@kernel
def recent(clock: int, i: int, memory: WearMemory, settings: WearSettings) -> tuple[float, float]:
    """Return what happened from origin to anchor as quanta of wear, and their exposure.

    Wear comes in quanta of `scale`, a Poisson process: its moments are those of the gamma process.
    """
    worn = memory.level[i] + memory.anchor_ratio[i, clock] - memory.origin_ratio[i, clock]
    passed = memory.anchor[i, clock] - memory.origin[i, clock]
    if worn <= 1e-12 or passed <= 0.0:
        return 0.0, 0.0
    unknown = memory.origin_var[i, clock] + memory.anchor_var[i, clock]
    quanta = worn * worn / (settings.scale[memory.prior[i]] * worn + unknown)
    return quanta, quanta * passed / worn


@kernel
def likeliest(mean: float, var: float, quanta: float, weight: float) -> float:
    """Return the mode of the log rate: a normal prior, `quanta` in an exposure of `weight`."""
    x = mean
    if quanta > 0.0:
        x = (mean / var + quanta * math.log(quanta / weight)) / (1.0 / var + quanta)
    for _ in range(4):
        seen = weight * math.exp(x)
        x += max(min(((mean - x) / var + quanta - seen) / (1.0 / var + seen), 1.0), -1.0)
    return x


@kernel
def fold(i: int, memory: WearMemory, settings: WearSettings, nodes: Nodes) -> None:
    """Make evidence up to the last step past, once it is worth enough.

    How well each clock foretold the evidence moves the odds between them.
    """
    worth = 0.0
    for clock in range(2):
        if not math.isnan(memory.clock[i, clock]):
            worth = max(worth, recent(clock, i, memory, settings)[0])
    if worth < ENOUGH_QUANTA:
        return
    better = weigh(0.0, 0.0, i, memory, settings, nodes)
    memory.odds[i] = max(min(memory.odds[i] + better, MOST_ODDS), -MOST_ODDS)
    for clock in range(2):
        if math.isnan(memory.clock[i, clock]):
            continue
        x = np.log(nodes.rate[clock])
        mean = (nodes.weight[clock] * x).sum()
        var = max((nodes.weight[clock] * (x - mean) ** 2).sum(), 1e-5)
        span_s = span_of(clock, i, memory)
        memory.rate_log[i, clock] = mean
        memory.rate_var[i, clock] = var + settings.drift[clock] * span_s / 3.0
        memory.origin[i, clock] = memory.anchor[i, clock]
        memory.origin_s[i, clock] = max(memory.clock[i, TIME], memory.origin_s[i, clock])
        memory.origin_ratio[i, clock] = memory.level[i] + memory.anchor_ratio[i, clock]
        memory.origin_var[i, clock] = memory.anchor_var[i, clock]
    memory.folds[i] += 1


@kernel
def weigh(
    since_time: float,
    since_writes: float,
    i: int,
    memory: WearMemory,
    settings: WearSettings,
    nodes: Nodes,
) -> float:
    """Fill `nodes` on both clocks; return how much better writes explain recent evidence than time.

    A log ratio of likelihoods, so both must tell of the same stretch. Writes that stand still
    while the reading steps explain nothing.
    """
    by_time = fill_clock(TIME, since_time, i, memory, settings, nodes)
    if math.isnan(memory.clock[i, WRITES]):
        return 0.0
    by_writes = fill_clock(WRITES, since_writes, i, memory, settings, nodes)
    if memory.origin_s[i, TIME] != memory.origin_s[i, WRITES]:
        return 0.0
    worn = recent(TIME, i, memory, settings)[0] > 0.0
    if worn and recent(WRITES, i, memory, settings)[0] <= 0.0:
        return -FALL_ODDS
    return by_writes - by_time


@kernel
def try_interval(i: int, memory: WearMemory, settings: WearSettings, nodes: Nodes) -> None:
    """See whether the reading came to the level under trial in the time foretold; try the next one.

    Adaptive conformal inference (Gibbs and Candes 2021, arXiv:2106.00170): each miss widens the
    interval on its side, each hit narrows it, so that in the long run 1 in 20 misses on each side.
    """
    if not math.isnan(memory.trial_ratio[i]):
        if memory.level[i] < memory.trial_ratio[i] - 1e-9:
            return
        early = 1.0 if memory.ts[i] < memory.trial_low_ts[i] else 0.0
        late = 1.0 if memory.ts[i] > memory.trial_high_ts[i] else 0.0
        memory.low[i] = min(max(memory.low[i] + TRIAL_STEP * (0.05 - early), 0.002), 0.4)
        memory.high[i] = min(max(memory.high[i] - TRIAL_STEP * (0.05 - late), 0.6), 0.998)
    ahead = memory.level[i] + max(memory.step[i], TRIAL_RATIO)
    fill(i, memory, settings, nodes)
    low_s = when(ahead, memory.low[i], i, memory, settings, nodes)
    high_s = when(ahead, memory.high[i], i, memory, settings, nodes)
    memory.trial_ratio[i] = ahead
    memory.trial_low_ts[i] = memory.ts[i] + int(min(low_s, HORIZON_S) * 1e9)
    memory.trial_high_ts[i] = memory.ts[i] + int(min(high_s, HORIZON_S) * 1e9)


@kernel
def span_of(clock: int, i: int, memory: WearMemory) -> float:
    """Return how long recent evidence reaches back, s of the medium's time."""
    span_s: float = max(memory.clock[i, TIME] - memory.origin_s[i, clock], 0.0)
    return span_s


# -- what is to be thought now ---------------------------------------------------------------------


@kernel
def fill_clock(
    clock: int, since: float, i: int, memory: WearMemory, settings: WearSettings, nodes: Nodes
) -> float:
    """Fill `nodes` with the rates medium `i` may have on a clock; return how likely all this was.

    The prior of the log rate is normal, or, if the rate has jumped since the origin, a wider one;
    recent evidence is gamma. `since` the anchor the reading has not stepped: each rate counts as
    far as it explains that, and says how far wear has come within the tick. The result is the log
    of the marginal likelihood.
    """
    quanta, weight = recent(clock, i, memory, settings)
    span_s = span_of(clock, i, memory)
    usual = memory.rate_log[i, clock]
    usual_var = memory.rate_var[i, clock] + settings.drift[clock] * span_s / 3.0
    jumps = 1.0 - math.exp(-settings.hazard[clock] * span_s)
    jump = usual + settings.jump_log[clock]
    jump_var = usual_var + settings.jump_var[clock]
    tick, at, at_var = memory.step[i], memory.anchor_ratio[i, clock], memory.anchor_var[i, clock]

    low, high, best = np.inf, -np.inf, -np.inf
    for jumped in range(2 if jumps > 1e-6 else 1):
        mean, var = (jump, jump_var) if jumped == 1 else (usual, usual_var)
        x = likeliest(mean, var, quanta, weight)
        bend = 1.0 / var + weight * math.exp(x)
        likely = math.log(jumps if jumped == 1 else 1.0 - jumps) - 0.5 * (x - mean) ** 2 / var
        likely += quanta * x - weight * math.exp(x) - 0.5 * math.log(var * bend)
        if likely < best - 5.0:
            continue  # a jump that nothing speaks for would only spread the nodes
        best = likely
        wide, near = 4.5 * math.sqrt(var), 4.5 / math.sqrt(bend)
        low = min(low, x - (min(wide, near + 8.0 / quanta) if quanta > 0.0 else wide))
        high = max(high, x + min(wide, near))
    if since > 0.0:
        # Had it been faster than this, the reading would have stepped.
        high = max(
            min(high, math.log((3.0 * tick + 30.0 * settings.scale[memory.prior[i]]) / since)),
            low + 1.0,
        )

    gap = (high - low) / NODES
    top = -np.inf
    for n in range(NODES):
        x = low + gap * (n + 0.5)
        rate = math.exp(x)
        prior = (1.0 - jumps) * bell(x - usual, usual_var)
        if jumps > 1e-6:
            prior += jumps * bell(x - jump, jump_var)
        mean = at + rate * since
        var = at_var + settings.scale[memory.prior[i]] * rate * since
        stayed = below(tick, mean, var)
        above = 0.0
        if mean > 1e-12:
            quantum = var / mean
            part = below(tick, mean + quantum, var + quantum * quantum)
            above = min(mean * part / stayed, 0.95 * tick) if stayed > 1e-12 else 0.95 * tick
        nodes.rate[clock, n] = rate
        nodes.above[clock, n] = above
        nodes.var[clock, n] = min(var, above * (tick - above) / 3.0)
        nodes.stayed[clock, n] = stayed
        likely = math.log(max(prior, 1e-300)) + math.log(max(stayed, 1e-300))
        nodes.weight[clock, n] = likely + quanta * x - weight * rate
        top = max(top, nodes.weight[clock, n])
    total = 0.0
    for n in range(NODES):
        nodes.weight[clock, n] = math.exp(nodes.weight[clock, n] - top)
        total += nodes.weight[clock, n]
    for n in range(NODES):
        nodes.weight[clock, n] /= total
    marginal = top + math.log(total * gap)
    if quanta > 0.0:
        marginal += quanta * math.log(weight) - math.lgamma(quanta)
    return marginal


@kernel
def fill(i: int, memory: WearMemory, settings: WearSettings, nodes: Nodes) -> None:
    """Fill `nodes` for both clocks and weigh the clocks by how well they explain what was read."""
    share = 0.0
    since_time = memory.clock[i, TIME] - memory.anchor[i, TIME]
    since_writes = memory.clock[i, WRITES] - memory.anchor[i, WRITES]
    odds = memory.odds[i] + weigh(since_time, since_writes, i, memory, settings, nodes)
    if not math.isnan(memory.clock[i, WRITES]):
        share = 1.0 / (1.0 + math.exp(-max(min(odds, MOST_ODDS), -MOST_ODDS)))
    nodes.share[TIME] = 1.0 - share
    nodes.share[WRITES] = share


@kernel
def worn_within(
    limit: float,
    horizon_s: float,
    i: int,
    memory: WearMemory,
    settings: WearSettings,
    nodes: Nodes,
) -> float:
    """Return the probability that wear reaches `limit` within `horizon_s` of calendar time.

    From now on the rate walks, and it may jump at any moments: of a jump half counts on average,
    and a third of its square. In the tick before the limit, wear is there when the reading steps,
    which asks for no position.
    """
    left = limit - memory.level[i]
    if left <= 1e-9:
        return 1.0
    last_tick = left <= 1.001 * memory.step[i]
    walk_s = min(horizon_s, settings.moves_s)
    walk_s = min(walk_s, WALK_LIVES * left / max(mean_rate(i, memory, nodes), 1e-300))
    probability = 0.0
    for clock in range(2):
        if nodes.share[clock] < 1e-3:
            continue
        walk = settings.drift[clock] * walk_s
        known = settings.drift[clock] * span_of(clock, i, memory) / 3.0
        moves = clock
        passing = duty_of(i, memory) * horizon_s
        if clock == WRITES:
            moves = PACE
            walk += settings.drift[PACE] * walk_s
            known += memory.pace_var[i]
            passing = math.exp(memory.pace_log[i]) * horizon_s
        # The mean of a walk of the log rate is above its start, and spreads by a third.
        passing *= math.exp(walk / 12.0)
        walk = known + walk / 3.0
        expected = settings.hazard[moves] * walk_s
        jumps = 1.0 - math.exp(-expected)
        count = expected / jumps if jumps > 1e-9 else 1.0
        jump = math.exp(0.5 * count * settings.jump_log[moves])
        square = settings.jump_log[moves] ** 2
        jump_var = count * (settings.jump_var[moves] / 3.0 + square / 12.0)
        jump_var += (count - 1.0) * square / 4.0
        since = memory.clock[i, clock] - memory.anchor[i, clock]
        for n in range(NODES):
            weight = nodes.share[clock] * nodes.weight[clock, n]
            if weight < 1e-6:
                continue
            rate = nodes.rate[clock, n]
            for jumped in range(2):
                chance = weight * (jumps if jumped == 1 else 1.0 - jumps)
                if chance < 1e-7:
                    continue
                wears = rate * passing * (jump if jumped == 1 else 1.0)
                now = 1.0
                mean = nodes.above[clock, n] + wears
                var = nodes.var[clock, n] + settings.scale[memory.prior[i]] * wears
                if last_tick:
                    now = nodes.stayed[clock, n]
                    mean = memory.anchor_ratio[i, clock] + rate * since + wears
                    var = memory.anchor_var[i, clock] + settings.scale[memory.prior[i]] * (
                        rate * since + wears
                    )
                survives = 0.0
                if now > 1e-12:
                    # Only wear to come is at a rate that moves.
                    log_var = walk + (jump_var if jumped == 1 else 0.0)
                    log_var *= (wears / max(mean, 1e-300)) ** 2
                    survives = min(product_below(left, mean, var, log_var) / now, 1.0)
                probability += chance * (1.0 - survives)
    return probability


@kernel
def judge(i: int, t: int, memory: WearMemory, settings: WearSettings, nodes: Nodes) -> None:
    """Compute the probability of an end soon, and when to do so again: the sooner the nearer it is.

    By then the medium will have lived at most a hundredth of what it has left.
    """
    fill(i, memory, settings, nodes)
    raw = worn_within(1.0, settings.ahead_s, i, memory, settings, nodes)
    rate = mean_rate(i, memory, nodes)
    left_s = min(max(1.0 - memory.level[i], 0.0) / max(rate, 1e-300), HORIZON_S)
    memory.probability[i] = unwarp(raw, i, memory)
    memory.replace_ratio[i] = max(1.0 - rate * settings.ahead_s, 0.0)
    memory.due_ts[i] = t + max(settings.refresh_ns, int(0.01 * left_s * 1e9))


@kernel
def when(
    limit: float,
    chance: float,
    i: int,
    memory: WearMemory,
    settings: WearSettings,
    nodes: Nodes,
) -> float:
    """Return after which calendar time wear has reached `limit` with probability `chance`, s."""
    if limit <= memory.level[i] + 1e-9:
        return 0.0
    left = max(limit - memory.level[i], 0.0)
    high = min(left / max(mean_rate(i, memory, nodes), 1e-300), HORIZON_S)
    while worn_within(limit, high, i, memory, settings, nodes) < chance:
        if high >= HORIZON_S:
            return np.inf
        high = min(2.0 * high, HORIZON_S)
    low = 0.5 * high
    while low > 1.0 and worn_within(limit, low, i, memory, settings, nodes) >= chance:
        high = low
        low *= 0.5
    while high - low > 2e-3 * high:
        middle = 0.5 * (low + high)
        if worn_within(limit, middle, i, memory, settings, nodes) < chance:
            low = middle
        else:
            high = middle
    found_s: float = 0.5 * (low + high)
    return found_s


@kernel
def mean_rate(i: int, memory: WearMemory, nodes: Nodes) -> float:
    """Return the mean rate by calendar time, 1/s."""
    by_time = (nodes.rate[TIME] * nodes.weight[TIME]).sum() * duty_of(i, memory)
    rate: float = nodes.share[TIME] * by_time
    if nodes.share[WRITES] > 0.0:
        by_writes = (nodes.rate[WRITES] * nodes.weight[WRITES]).sum()
        rate += nodes.share[WRITES] * by_writes * math.exp(memory.pace_log[i])
    return rate


@kernel
def warp(chance: float, i: int, memory: WearMemory) -> float:
    """Return the level of the model that stands for `chance`, as the trials have shown."""
    low, high = memory.low[i], memory.high[i]
    level: float = low * chance / 0.05
    if chance >= 0.95:
        level = high + (1.0 - high) * (chance - 0.95) / 0.05
    elif chance >= 0.5:
        level = 0.5 + (high - 0.5) * (chance - 0.5) / 0.45
    elif chance >= 0.05:
        level = low + (0.5 - low) * (chance - 0.05) / 0.45
    return level


@kernel
def unwarp(level: float, i: int, memory: WearMemory) -> float:
    """Return the chance that a level of the model stands for."""
    low, high = memory.low[i], memory.high[i]
    chance: float = 0.05 * level / low
    if level >= high:
        chance = 0.95 + 0.05 * (level - high) / (1.0 - high)
    elif level >= 0.5:
        chance = 0.5 + 0.45 * (level - 0.5) / (high - 0.5)
    elif level >= low:
        chance = 0.05 + 0.45 * (level - low) / (0.5 - low)
    return chance


@kernel
def bell(off: float, var: float) -> float:
    """Return the normal density, but for a constant."""
    return math.exp(-0.5 * off * off / var) / math.sqrt(var)


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


@kernel
def product_below(limit: float, mean: float, var: float, log_var: float) -> float:
    """Return the probability that a gamma variable times a lognormal one of median 1 is below.

    As gamma if the first has most of the spread, as lognormal if the second has: in proportion.
    """
    if log_var <= 0.0 or mean <= 1e-12 or var <= 0.0:
        return below(limit, mean, var)
    own = var / (mean * mean)
    part = log_var / (log_var + own)
    own_log = math.log(1.0 + own)
    z = (math.log(limit / mean) + 0.5 * own_log) / math.sqrt(own_log + log_var)
    probability = part * 0.5 * math.erfc(-z / math.sqrt(2.0))
    if part < 0.999:
        probability += (1.0 - part) * below(limit, mean, var + mean * mean * log_var)
    return probability
