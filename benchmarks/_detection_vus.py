"""Volume under the precision-recall surface (VUS-PR): no line, and a little late is a little right.

Paparrizos et al., "Volume under the surface: a new accuracy evaluation measure for time-series
anomaly detection" (2022), doi:10.14778/3551793.3551830. For each buffer l from 0 to a window, the
label falls from 1 at an event's edge as sqrt(1 - distance / l), half of l to each side; recall asks
for as much as halfway between the event and the event with the buffer that was entered, times the
share of events (with buffers) in which anything was said; precision is the mean label of what was
said. The area over all lines, averaged over l.

Lines are all distinct scores, so equal scores are one point; the authors' code takes 250 ranks,
which `ranks` does. Everything is a running sum over rows in the order of scores.
"""

from __future__ import annotations

import numpy as np
from _detection_data import label_of

from aiops.kernels.rows import F8, I8

LEAST_PERIOD, MOST_PERIOD, NO_PERIOD = 3, 300, 125


def vus_pr(score: F8, events: I8, window: int, ranks: int = 0) -> float:
    """Return VUS-PR of `score` [n], where `events` [k, 2] are first and last rows, to `window`.

    A score that is NaN says nothing: it is below all others. With no event it is NaN.
    """
    if len(events) == 0:
        return float("nan")
    n = len(score)
    said = np.where(np.isnan(score), -np.inf, score)
    order = np.argsort(-said, kind="stable")
    falling = said[order]
    last = np.append(np.flatnonzero(falling[1:] != falling[:-1]), n - 1)  # of equal scores
    if ranks:
        at = np.linspace(0, n - 1, ranks).astype(np.int64)
        last = last[np.searchsorted(last, at)]
    place = np.empty(n, dtype=np.int64)
    place[order] = np.arange(n)
    hit = label_of(events, n)[order]
    hits = hit.cumsum()[last]
    areas = np.zeros(window + 1)
    for buffer in range(window + 1):
        beside = np.where(hit, 0.0, _slopes(events, buffer, place)).cumsum()[last]
        right = hits + beside
        recall = np.minimum(right / (hits[-1] + beside / 2.0), 1.0)
        recall *= _entered(events, buffer // 2, place)[last]
        areas[buffer] = (np.diff(recall, prepend=0.0) * right / (last + 1.0)).sum()
    return float(areas.mean())


def _slopes(events: I8, buffer: int, place: I8) -> F8:
    """Return the label [n] beside events, by `place`; where slopes meet they add up to 1."""
    n = len(place)
    distance = np.arange(1, buffer // 2 + 1)
    row = np.concatenate((events[:, :1] - distance, events[:, 1:] + distance)).ravel()
    height = np.tile(np.sqrt(1.0 - distance / max(buffer, 1)), 2 * len(events))
    there = (row >= 0) & (row < n)
    return np.minimum(np.bincount(place[row[there]], height[there], n), 1.0)


def _entered(events: I8, half: int, place: I8) -> F8:
    """Return the share of events, those whose buffers overlap being one, entered by each place."""
    n = len(place)
    apart = events[1:, 0] - half > events[:-1, 1] + half
    first = np.maximum(events[np.concatenate(([True], apart)), 0] - half, 0)
    after = np.minimum(events[np.concatenate((apart, [True])), 1] + half + 1, n)
    ends = np.column_stack((first, after)).ravel()  # the last may be n, which reduceat wants not
    soonest = np.minimum.reduceat(np.append(place, n), ends)[::2]
    return np.bincount(soonest, minlength=n).cumsum() / len(soonest)


def period(value: F8) -> int:
    """Return the lag, in rows, at which autocorrelation has its highest peak: the window.

    Between 3 and 300 rows; 125 where there is no such peak, as the authors have it.
    """
    known = np.where(np.isfinite(value), value, np.nanmean(value))
    centred = known - known.mean()
    power = np.abs(np.fft.rfft(centred, 2 * len(centred))) ** 2
    of = np.fft.irfft(power)[: min(len(centred), MOST_PERIOD + 2)]
    if len(of) < LEAST_PERIOD + 2 or not of[0] > 0.0:
        return NO_PERIOD
    lag = np.arange(LEAST_PERIOD, len(of) - 1)
    peak = lag[(of[lag] > of[lag - 1]) & (of[lag] > of[lag + 1])]
    return int(peak[of[peak].argmax()]) if len(peak) else NO_PERIOD
