"""The cohort side of `Normality`: what members have in common, and a line that meets the budget.

`init_cohort` makes the arrays, `score_rows` is called by `update` on the raw scores of rows, and
`seal` by `close`. All that looks across devices happens in `seal`, so a row is judged by what was
sealed before it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aiops.detectors.protocol import Epoch
from aiops.kernels.normality import (
    AHEAD_SPREAD,
    FULL,
    INTERVAL,
    MEAN,
    ONE_SAMPLE,
    PER_UNIT,
    SEASON_SPREAD,
    SEEN,
    SHORT,
    SPREAD,
    STEP,
    STEP_NOW,
    USUAL,
)
from aiops.kernels.normality_cohort import (
    COUNTS,
    SLOTS,
    UNKNOWN,
    CohortMemory,
    Loan,
    group_members,
    lend,
    seal_hour,
)
from aiops.kernels.normality_line import (
    SLOTS_OF_COUNTS,
    Tail,
    line_of,
    raised_by,
    score_against_line,
    seal_firings,
)
from aiops.kernels.rows import I4, I8, Scores
from aiops.telemetry.batch import TelemetryBatch

SECOND_NS = 1_000_000_000
HOUR_NS = 3600 * SECOND_NS
DAY_HOURS = 24
LENT = (SPREAD, INTERVAL, STEP, STEP_NOW, AHEAD_SPREAD, SEASON_SPREAD, USUAL)
"""Moments that newcomers are lent: how much a series moves, but not where it is."""
LENT_COLUMNS = np.array(LENT)
LOAN = Loan(
    seen=SEEN,
    level=MEAN,
    short=SHORT,
    spread=LENT.index(SPREAD),
    interval=LENT.index(INTERVAL),
    parts=float(PER_UNIT),
    unit=ONE_SAMPLE,
    full=FULL - 1,
)
LENDERS_SEEN = 64
"""Who has seen fewer values has nothing to lend."""
MONTH_DAYS = 365.25 / 12.0

BASE, RATE, STEEPNESS = 3.0, 1.0, 2.5
"""Of healthy series that nothing was learnt of: one firing a day at this score, and how many fewer
at a higher one. Measured on simulated series; see ``benchmarks/budget.py``."""


def tail_of(alarm_budget: float) -> Tail:
    """Return what is expected of firings, at a budget of false alarms per 1,000 device-months."""
    return Tail(BASE, RATE, STEEPNESS, alarm_budget / 1000.0 / MONTH_DAYS)


def init_cohort(capacity: int, alarm_budget: float) -> dict[str, Any]:
    """Return the arrays of `CohortMemory` by name, of devices nothing is known of."""
    nothing = np.zeros(SLOTS_OF_COUNTS)
    return {
        "sealed_hour": np.zeros(capacity, dtype=np.int32),
        "born_hour": np.zeros(capacity, dtype=np.int32),
        "common": np.zeros(capacity, dtype=np.float32),
        "spread": np.ones(capacity, dtype=np.float32),
        "beta": np.ones(capacity, dtype=np.float32),
        "profile": np.full((capacity, SLOTS), UNKNOWN, dtype=np.int16),
        "level": np.zeros(capacity, dtype=np.uint8),
        "fired": np.zeros((capacity, 4), dtype=np.uint8),
        "today": np.zeros((capacity, COUNTS), dtype=np.uint16),
        "counted": np.zeros((capacity, COUNTS), dtype=np.float32),
        "line": np.full(
            capacity, raised_by(0) * line_of(nothing, 1.0, tail_of(alarm_budget)), dtype=np.float32
        ),
    }


def cohort_of(memory: Any) -> CohortMemory:
    """Return the arrays of a detector's memory that its cohort writes: the same ones, no copies."""
    return CohortMemory(*(getattr(memory, name) for name in CohortMemory._fields))


def score_rows(batch: TelemetryBatch, scores: Scores, memory: Any) -> None:
    """Turn the raw scores of rows, in place, into multiples of their device's line."""
    cohort = cohort_of(memory)
    score_against_line(
        batch.device, ~batch.historical, scores.score, BASE, cohort.line, cohort.level, cohort.fired
    )


def seal(memory: Any, epoch: Epoch, alarm_budget: float) -> None:
    """Seal what cohorts did, once an hour, and lend newcomers what their cohort has.

    `memory` has the arrays of `NormalityMemory` and of `CohortMemory`, and is of devices that were
    all shown the rows of the epoch.
    """
    size, cohort = epoch.size, cohort_of(memory)
    hour = epoch.end // HOUR_NS
    before = int(cohort.sealed_hour[0]) if size else hour
    if before == hour:
        return
    seen = memory.counts[:size, SEEN].astype(np.int64)
    new = (seen > 0) & (cohort.born_hour[:size] == 0)
    cohort.born_hour[:size][new] = hour
    cohort.sealed_hour[:size] = hour
    if before == 0:
        return
    # Who reports seldom is watched in between, too.
    interval_ns = 2.0 * memory.moments[:size, INTERVAL].astype(np.float64) * SECOND_NS
    heard = (seen > 0) & (epoch.end - memory.ts[:size] <= np.maximum(interval_ns, HOUR_NS))
    grown = hour - cohort.born_hour[:size] >= DAY_HOURS
    start, member = members(epoch)
    if new.any():
        lend(
            hour - 1,
            start,
            member,
            new,
            grown & (seen >= LENDERS_SEEN),
            LENT_COLUMNS,
            memory.moments,
            memory.tails,
            memory.largest,
            memory.hours,
            memory.counts,
            LOAN,
        )
    spread = memory.moments[:size, SPREAD].astype(np.float64)
    moved = (memory.moments[:size, SHORT] - memory.moments[:size, MEAN]).astype(np.float64)
    known = heard & grown & (spread > 0.0)
    deviation = np.divide(moved, spread, out=np.full(size, np.nan), where=known)
    seal_hour(hour - 1, start, member, deviation, cohort)
    seal_firings(
        hour,
        start,
        member,
        epoch.root,
        heard & grown,
        hour // DAY_HOURS != before // DAY_HOURS,
        tail_of(alarm_budget),
        cohort,
    )


def members(epoch: Epoch) -> tuple[I8, I4]:
    """Return where the members of each cohort begin [groups + 1], and their indices [size].

    Parts are compared with parts only.
    """
    is_part = epoch.root != np.arange(epoch.size)
    group = (2 * (epoch.cohort + 1) + is_part).astype(np.int32)
    groups = int(group.max()) + 1 if epoch.size else 0
    start, member = np.zeros(groups + 1, dtype=np.int64), np.zeros(epoch.size, dtype=np.int32)
    group_members(group, groups, start, member)
    return start, member
