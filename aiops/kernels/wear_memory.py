"""What the wear kernel works on: what is known of each medium, what shapes it, what rows say."""

from __future__ import annotations

from typing import NamedTuple

from aiops.kernels.rows import F8, I1, I4, I8


class WearMemory(NamedTuple):
    """What is known of each medium; 0 in a time means never, NaN not yet.

    Two clocks run beside each other, time (power-on time where it is reported, else since first
    sight) and full drive writes; their arrays are [c, 2]. On each, *origin* is where recent
    evidence begins and *anchor* where it ends: at the last step of the reading, the one instant at
    which true wear is known. Positions have a variance, as steps fall between rows.
    """

    ts: I8
    """[c] time of the last row, ns."""
    read_ts: I8
    """[c] time of the last reading that was believed, ns."""
    level: F8
    """[c] highest reading."""
    last: F8
    """[c] last reading, believed or not."""
    step: F8
    """[c] what one tick of the reading is worth."""
    trust: F8
    """[c] of the source, 0 to 1."""
    slips: I1
    """[c] contradictions in a row."""
    falls: I1
    """[c] readings below the one before, since the last rise."""
    model: F8
    """[c] code."""
    vendor: F8
    """[c] code."""
    prior: I4
    """[c] row of the table of priors; -1: not looked up."""
    capacity: F8
    """[c] bytes of a full drive write."""
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
    writes: F8
    """[c] last reported, full drive writes."""
    writes_ts: I8
    """[c] when that was, ns."""
    partial: I1
    """[c] 1: `writes` are not those of the whole life."""
    paced_writes: F8
    """[c] up to which the pace is known."""
    paced_ts: I8
    """[c] when that was, ns."""
    pace_log: F8
    """[c] mean of the log pace now, full drive writes a second."""
    pace_var: F8
    """[c] its variance."""
    clock: F8
    """[c, 2] at the last reading; NaN: not reported."""
    origin: F8
    """[c, 2]"""
    origin_s: F8
    """[c, 2] the time of it."""
    origin_ratio: F8
    """[c, 2] true wear at the origin."""
    origin_var: F8
    """[c, 2]"""
    anchor: F8
    """[c, 2]"""
    anchor_ratio: F8
    """[c, 2] true wear at the anchor, above `level`."""
    anchor_var: F8
    """[c, 2]"""
    rate_log: F8
    """[c, 2] mean of the log rate at the origin, 1/s and 1 per full drive write."""
    rate_var: F8
    """[c, 2] its variance."""
    folds: I4
    """[c] how often recent evidence has become past."""
    odds: F8
    """[c] log odds that wear goes by writes, not by time, from before the origin."""
    low: F8
    """[c] level of the model that is exceeded downwards once in 20 trials."""
    high: F8
    """[c] and upwards."""
    trial_ratio: F8
    """[c] level at which the interval is tried."""
    trial_low_ts: I8
    """[c] when it was to come at the earliest, ns."""
    trial_high_ts: I8
    """[c] and at the latest."""
    due_ts: I8
    """[c] when the following are to be computed again, ns."""
    probability: F8
    """[c] that the medium is worn out within `WearSettings.ahead_s`."""
    replace_ratio: F8
    """[c] wear that, at the mean rate, still leaves that time."""


class WearSettings(NamedTuple):
    """What shapes the memory, and the line. Rows of the table of priors are a model's, a vendor's.

    Rates of wear and pace walk and jump: arrays over `TIME`, `WRITES`, `PACE`.
    """

    scale: F8
    """[p] variance over mean of wear."""
    code: F8
    """[p] of the model or vendor, ascending; the first row is the fleet's."""
    rate_log: F8
    """[p, 2] mean over media of the log rate of wear, 1/s and 1 per full drive write."""
    rate_var: F8
    """[p, 2] its variance."""
    pace_log: F8
    """[p] mean over media of the log pace of writes, full drive writes a second."""
    pace_var: F8
    """[p] its variance."""
    odds: F8
    """[p] log odds that wear goes by writes, before anything is seen."""
    inverted: I1
    """[p] 1: what it reports as wear is known to run the wrong way."""
    drift: F8
    """[3] variance that a log rate gains in a second."""
    hazard: F8
    """[3] of a jump, 1/s."""
    jump_log: F8
    """[3] mean of a jump of the log rate."""
    jump_var: F8
    """[3] its variance."""
    moves_s: float
    """How far ahead rates walk and jump, s."""
    noise: float
    """Variance of the log pace of a single day."""
    low: float
    """Level of the model that is its 5 % quantile, before anything is seen."""
    high: float
    """Likewise 95 %."""
    refresh_ns: int
    """A medium is judged at each step of its reading, else after this time."""
    ahead_s: float
    """How far ahead, in calendar time, the end is looked for."""
    line: float
    """Probability of that end that is on the alert line."""


class Readings(NamedTuple):
    """What rows report [n]; NaN: nothing."""

    wear: F8
    """Floors of true wear, in ticks of `step`."""
    step: F8
    trust: F8
    power_on: F8
    """s"""
    written: F8
    """Bytes the host wrote, ever growing."""
    partial: F8
    """1: without what was written before the medium was first seen."""
    capacity: F8
    """Bytes."""
    rated: F8
    """Bytes after which a medium that reports no wear is worn out."""
    model: F8
    """Code."""
    vendor: F8
    """Code."""


class Nodes(NamedTuple):
    """Rates a medium may have on each clock, and what each would mean: [2, NODES]."""

    rate: F8
    weight: F8
    """Sums to 1 on each clock."""
    above: F8
    """Mean of true wear now, above the level."""
    var: F8
    """Its variance."""
    stayed: F8
    """Probability that the reading has not stepped since the anchor."""
    share: F8
    """[2] probability that wear goes by this clock."""
