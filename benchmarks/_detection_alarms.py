"""What is made of a score, alike for all contenders; and what users see of it.

**State**: the highest score so far, fading by 2 % a row (a decaying peak-hold), for what orders
devices. **Alarm**: a row at or over the line, unless one of the rows before it gave an alarm and
its score is not 1.5 times that one's (a refractory period), for what pages. The period is 200 rows
where NAB is scored, whose windows are as long, and 24 rows where events are counted, which follow
each other sooner: a day of hours, two hours of five minutes. Events found, the delay until the
first alarm in each, and alarms outside events a device-day, at one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
from _detection_data import Series
from _detection_nab import lines_of

from aiops.kernels.rows import B1, F8, I8

FADE = 0.98
"""Of the state, a row."""
NAB_REST_ROWS, EVENT_REST_ROWS, AGAIN = 200, 24, 1.5
DAY_NS = 86_400 * 10**9


@numba.njit(cache=True)
def latched(score):  # type: ignore[no-untyped-def]
    """Return the state [n] of `score` [n] of at least 0; NaN is no news."""
    state = np.empty(len(score))
    held = 0.0
    for i in range(len(score)):
        held *= FADE
        if score[i] > held:
            held = score[i]
        state[i] = held
    return state


@numba.njit(cache=True)
def alarms(score, line, rest=EVENT_REST_ROWS, again=AGAIN):  # type: ignore[no-untyped-def]
    """Return the rows of `score` [n] that give an alarm at `line`."""
    rows = np.empty(len(score), dtype=np.int64)
    count, last, peak = 0, -1 - rest, 0.0
    for i in range(len(score)):
        if not np.isfinite(score[i]) or not score[i] >= line:
            continue
        if i - last > rest or score[i] >= again * peak:
            rows[count], last, peak = i, i, score[i]
            count += 1
    return rows[:count]


class Seen(NamedTuple):
    """What a line gives on some series."""

    events: int
    delay_rows: F8
    """[found] from the first row of an event to the first alarm in it."""
    delay_s: F8
    """[found]"""
    false: int
    """Alarms outside events."""
    days: float

    @property
    def found(self) -> float:
        """Share of events."""
        return len(self.delay_rows) / max(self.events, 1)

    @property
    def false_per_day(self) -> float:
        return self.false / self.days


def seen(series: Sequence[Series], scores: Sequence[F8], line: float) -> Seen:
    """Return what `line` gives; rows that are not judged give no alarm."""
    rows: list[int] = []
    seconds: list[float] = []
    events, false, days = 0, 0, 0.0
    for one, score in zip(series, scores, strict=True):
        said: I8 = alarms(_judged(one, score), line)
        inside = one.label[said]
        false += int((~inside).sum())
        days += one.days
        events += len(one.events)
        for first, last in one.events:
            first_alarm = said[(said >= first) & (said <= last)]
            if len(first_alarm):
                rows.append(int(first_alarm[0] - first))
                seconds.append(float(one.ts[first_alarm[0]] - one.ts[first]) / 1e9)
    return Seen(events, np.array(rows, dtype=float), np.array(seconds), false, days)


def line_for(series: Sequence[Series], scores: Sequence[F8], false_per_day: float) -> float:
    """Return the lowest line that gives at most so many false alarms a device-day."""
    judged: list[B1] = [np.arange(len(one.ts)) >= one.begins for one in series]
    lines = lines_of(scores, judged, 200)
    low, high = 0, len(lines) - 1  # the first is above every score; the count rises but for rests
    while low < high:
        middle = (low + high + 1) // 2
        if seen(series, scores, float(lines[middle])).false_per_day <= false_per_day:
            low = middle
        else:
            high = middle - 1
    return float(lines[low])


def _judged(one: Series, score: F8) -> F8:
    return np.where(np.arange(len(score)) >= one.begins, score, np.nan)
