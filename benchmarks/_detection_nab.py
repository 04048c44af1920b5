"""The score of the Numenta Anomaly Benchmark, by its published rule.

Lavin and Ahmad, "Evaluating real-time anomaly detection algorithms" (2015),
doi:10.1109/ICMLA.2015.141. Per window only the earliest alarm counts, the more the earlier; each
other alarm costs, less so just after a window; a window without an alarm costs. Rows of the
probation (15 % of a file, 750 at most) are ignored. 0 is a detector that says nothing, 100 one
that speaks once, in the first row of each window; both depend on the number of windows that the
given files have. There is one line (threshold) for all files and profile.

What a line brings is tallied per file and line once: credit, windows missed, cost. Profiles, halves
and the choice of a line are then sums over that table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
from _detection_data import Series

from aiops.kernels.rows import B1, F8, I8

PROBATION_SHARE, PROBATION_ROWS = 0.15, 750
FAR = 3.0
"""In widths of the window before it; an alarm further away costs in full."""


class Profile(NamedTuple):
    """What a window found, a window missed and a false alarm weigh."""

    found: float
    missed: float
    false: float


PROFILES = {
    "standard": Profile(1.0, 1.0, 0.11),
    "low_fp": Profile(1.0, 1.0, 0.22),
    "low_fn": Profile(1.0, 2.0, 0.11),
}


class Worth(NamedTuple):
    """What an alarm in each row of a file is worth."""

    window: I8
    """[n] which window the row is in; -1: none, -2: of the probation, ignored."""
    value: F8
    """[n] credit within a window (1 in its first row), cost outside (-1 far from any)."""
    windows: int


class Tally(NamedTuple):
    """What each of c lines brings in each of s files."""

    line: F8
    """[c] descending; the first is above every score."""
    credit: F8
    """[s, c] sum over windows of the best alarm's credit."""
    missed: F8
    """[s, c] windows without an alarm."""
    cost: F8
    """[s, c] sum over alarms outside windows; at most 0."""
    windows: F8
    """[s]"""

    def raw(self, profile: Profile, of: B1 | None = None) -> F8:
        """Return the score [c] of the files `of` [s] before it is scaled."""
        total = profile.found * self.credit - profile.missed * self.missed
        total = total + profile.false * self.cost
        return np.asarray((total if of is None else total[of]).sum(axis=0))

    def score(self, profile: Profile, of: B1 | None = None) -> F8:
        """Return the score [c] of the files `of`: 0 for saying nothing, 100 for a perfect one."""
        windows = float((self.windows if of is None else self.windows[of]).sum())
        if windows == 0.0:
            raise ValueError("files without a window cannot be scored; give some that have one")
        null = -profile.missed * windows
        return 100.0 * (self.raw(profile, of) - null) / (profile.found * windows - null)


def worth(series: Series) -> Worth:
    """Return what an alarm in each row is worth."""
    n = len(series.ts)
    row = np.arange(n)
    value, window = np.full(n, -1.0), np.full(n, -1, dtype=np.int64)
    for at, (first, last) in enumerate(series.events):
        width = last - first + 1
        after = row > last
        value[after] = _sigmoid((row[after] - last) / max(width - 1, 1))
        inside = slice(first, last + 1)
        value[inside] = _sigmoid(-(last - row[inside] + 1) / width) / _sigmoid(np.array(-1.0))
        window[inside] = at
    window[: probation(n)] = -2
    return Worth(window, value, len(series.events))


def probation(n: int) -> int:
    """Return how many of the first of `n` rows are ignored."""
    return min(int(PROBATION_SHARE * n), PROBATION_ROWS)


def _sigmoid(y: F8) -> F8:
    return np.where(y > FAR, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(y, FAR))) - 1.0)


def lines_of(scores: Sequence[F8], judged: Sequence[B1], most: int = 600) -> F8:
    """Return lines worth trying: above all scores, then scores by rank, ever more coarsely."""
    pooled = np.concatenate([s[j] for s, j in zip(scores, judged, strict=True)])
    distinct = np.unique(pooled[np.isfinite(pooled)])[::-1]
    if len(distinct) > most:
        ranks = np.geomspace(1.0, len(distinct), most).astype(np.int64) - 1
        head = np.arange(most // 3)
        distinct = distinct[np.unique(np.concatenate((head, ranks)))]
    return np.concatenate(([np.inf], distinct))


def tally(
    series: Sequence[Series], scores: Sequence[F8], rest: int = 0, again: float = 1.0
) -> Tally:
    """Return what each line brings: an alarm in each row at or over it that `rest` lets through.

    After an alarm `rest` rows give none, unless their score is `again` times that of the last.
    A score that is not finite gives none.
    """
    if len(series) != len(scores) or any(
        len(a.ts) != len(s) for a, s in zip(series, scores, strict=True)
    ):
        raise ValueError("one score a row of each of the series is wanted, and no file left out")
    worths = [worth(one) for one in series]
    lines = lines_of(scores, [w.window > -2 for w in worths])
    table = np.zeros((3, len(series), len(lines)))
    for at, (of, score) in enumerate(zip(worths, scores, strict=True)):
        _tally(
            np.asarray(score, np.float64),
            of.window,
            of.value,
            of.windows,
            lines,
            rest,
            again,
            table[:, at],
        )
    return Tally(lines, *table, np.array([float(w.windows) for w in worths]))


@numba.njit(cache=True)
def _tally(score, window, value, windows, lines, rest, again, out):  # type: ignore[no-untyped-def]
    best = np.zeros(windows)
    for c in range(len(lines)):
        best[:] = -1.0
        cost, last, peak = 0.0, -1 - rest, 0.0
        for i in range(len(score)):
            if window[i] == -2 or not score[i] >= lines[c] or not np.isfinite(score[i]):
                continue
            if i - last <= rest and not score[i] >= again * peak:
                continue
            last, peak = i, score[i]
            if window[i] < 0:
                cost += value[i]
            elif value[i] > best[window[i]]:
                best[window[i]] = value[i]
        out[0, c] = best[best >= 0.0].sum()
        out[1, c] = (best < 0.0).sum()
        out[2, c] = cost


def best(of: Tally, profile: Profile) -> float:
    """Return the score of all files at the line that is best for them: the official protocol."""
    return float(of.score(profile)[np.argmax(of.raw(profile))])


class HeldOut(NamedTuple):
    """Scores of all files, each at the line that is best for the other half of them."""

    split: F8
    """[splits]"""
    error: float
    """Standard error of the mean split, were other files drawn of which these are a sample."""

    @property
    def mean(self) -> float:
        return float(self.split.mean())


def held_out(of: Tally, profile: Profile, splits: int, seed: int) -> HeldOut:
    """Return scores at lines that other files chose, of random halves."""
    rng = np.random.default_rng(seed)
    each = np.zeros((splits, len(of.windows)))
    table = profile.found * of.credit - profile.missed * of.missed + profile.false * of.cost
    for split in range(splits):
        half = np.zeros(len(of.windows), dtype=np.bool_)
        half[rng.permutation(len(half))[: len(half) // 2]] = True
        for mine in (half, ~half):
            each[split, mine] = table[mine, np.argmax(table[~mine].sum(axis=0))]
    windows, span = of.windows.sum(), profile.found + profile.missed
    over_null = each + profile.missed * of.windows
    total = 100.0 * over_null.sum(axis=1) / (span * windows)
    # The score is a ratio of sums over files, so its error is that of a ratio.
    away = 100.0 * over_null.mean(axis=0) / span - total.mean() * of.windows
    n = len(of.windows)
    return HeldOut(total, float(np.sqrt(n / max(n - 1, 1) * (away**2).sum()) / windows))
