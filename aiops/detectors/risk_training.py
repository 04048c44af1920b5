"""Training of `FailureRisk`: what devices had reported by each day, and which of them then failed.

Examples are a device's last complete row of each day. An example is of class 1 if the device fails
within the horizon, of class 0 if it was seen to live through it, and left out if its future is not
known. Devices, not rows, are divided: the line and all figures come from devices that the model has
not seen. They lived at the same time as the others; what is new to all of them shows as drift only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import average_precision_score

from aiops.detectors.failure_risk import DAY_NS, FailureRisk
from aiops.errors import FileError
from aiops.kernels.rows import B1, F8, I4, I8

BINS = 10
MONTH_DAYS = 365.25 / 12.0
FEWEST_FAILURES = 20
"""Of devices, in all: fewer teach nothing that holds."""
HELD_OUT = 0.3
"""Share of the devices that the model does not see."""
EPISODE_DAYS = 7
"""Days over the line that lie no further apart are one alarm."""


class Examples(NamedTuple):
    """Rows of devices as they were, and what came of it."""

    device: I4
    """[n]"""
    ts: I8
    """[n] ns."""
    features: F8
    """[n, k]"""
    fails: B1
    """[n] whether the device failed within the horizon."""

    def of(self, keep: B1) -> Examples:
        """Return those where `keep` [n] is true."""
        return Examples(self.device[keep], self.ts[keep], self.features[keep], self.fails[keep])


@dataclass(frozen=True)
class Quality:
    """How the model did on devices that it had not seen."""

    failures: int
    """Devices that failed, in training and held out together."""
    held_out_failures: int
    share: float
    """Of held-out examples of class 1: the average precision of who knows nothing."""
    average_precision: float
    best_threshold: float
    """Average precision of the best single metric, its direction taken from the training half."""
    found: float
    """Share of held-out failures with an alarm in the horizon before."""
    false_per_1000_device_months: float


def examples(
    device: I4, ts: I8, features: F8, failed: dict[int, I8], horizon_days: float
) -> Examples:
    """Return what a history teaches: the last row of each day of each device, with its future.

    Parameters
    ----------
    device, ts, features
        [n], [n], [n, k] complete rows, in time order within a device.
    failed
        Device -> when it failed, ns, ascending.
    horizon_days
        How soon counts as a failure to be foretold.
    """
    order = np.lexsort((ts, device))
    device, ts, features = device[order], ts[order], features[order]
    day = ts // DAY_NS
    last = np.append((device[1:] != device[:-1]) | (day[1:] != day[:-1]), True)
    device, ts, features = device[last], ts[last], features[last]
    horizon = int(horizon_days * DAY_NS)
    end = int(ts.max()) if len(ts) else 0
    ahead = np.full(len(ts), np.iinfo(np.int64).max)
    for one, times in failed.items():
        rows = np.flatnonzero(device == one)
        place = np.searchsorted(times, ts[rows], side="left")
        known = place < len(times)
        ahead[rows[known]] = times[place[known]] - ts[rows[known]]
    fails = ahead <= horizon
    told = fails | (ts + horizon <= end)
    return Examples(device, ts, features, fails).of(told)


def train(
    history: Examples,
    reads: tuple[str, ...],
    horizon_days: float,
    alarm_budget: float,
    seed: int = 0,
) -> tuple[FailureRisk, Quality]:
    """Fit a random forest (Breiman 2001, doi:10.1023/A:1010933404324); set its line by the budget.

    Parameters
    ----------
    alarm_budget
        False alarms per 1,000 device-months.

    Raises
    ------
    FileError
        Too few devices failed, or all did.
    """
    known = np.unique(history.device)
    failing = np.unique(history.device[history.fails])
    if len(failing) < FEWEST_FAILURES or len(failing) == len(known):
        raise FileError(
            f"{len(failing)} of {len(known)} devices failed within {horizon_days:g} days of a "
            f"complete row; at least {FEWEST_FAILURES} must have, and some must not. A longer "
            "horizon, or metrics that more devices report, give more"
        )
    rng = np.random.default_rng(seed)
    aside = np.zeros(int(known.max()) + 1, np.bool_)
    for some in (failing, np.setdiff1d(known, failing)):
        aside[rng.permutation(some)[: max(1, round(HELD_OUT * len(some)))]] = True
    unseen = aside[history.device]
    seen = ~unseen
    forest = RandomForestClassifier(
        n_estimators=100,
        min_samples_leaf=max(5, int(seen.sum()) // 1000),
        class_weight="balanced_subsample",
        random_state=seed,
    ).fit(history.features[seen], history.fails[seen].astype(np.int64))
    told = forest.predict_proba(history.features[unseen])[:, 1]
    test = history.of(unseen)
    limit = _line(told, test, alarm_budget)
    edges = [
        np.unique(np.quantile(column, np.arange(1, BINS) / BINS))
        for column in history.features[seen].T
    ]
    shares = [
        np.bincount(np.searchsorted(edge, column, side="right"), minlength=len(edge) + 1)
        for edge, column in zip(edges, history.features[seen].T, strict=True)
    ]
    detector = FailureRisk(
        model=forest,
        reads=reads,
        digest="",
        horizon_days=horizon_days,
        limit=limit,
        usual=tuple(np.median(history.features[seen], axis=0).tolist()),
        edges=tuple(tuple(edge.tolist()) for edge in edges),
        shares=tuple(tuple((share / share.sum()).tolist()) for share in shares),
    )
    over = told >= limit
    warned = np.unique(test.device[over & test.fails])
    quality = Quality(
        failures=len(failing),
        held_out_failures=len(np.unique(test.device[test.fails])),
        share=float(test.fails.mean()),
        average_precision=float(average_precision_score(test.fails, told)),
        best_threshold=_best_single(history, seen, test),
        found=len(warned) / max(1, len(np.unique(test.device[test.fails]))),
        false_per_1000_device_months=_false_rate(over, test),
    )
    return detector, quality


def _line(told: F8, test: Examples, alarm_budget: float) -> float:
    """Return the lowest probability whose false alarms keep to the budget."""
    tried = np.unique(told[told > 0.0])
    low, high = 0, len(tried)  # at `high` and above all keep to it
    while low < high:
        middle = (low + high) // 2
        if _false_rate(told >= tried[middle], test) <= alarm_budget:
            high = middle
        else:
            low = middle + 1
    return float(tried[low]) if low < len(tried) else 1.0


def _false_rate(over: B1, test: Examples) -> float:
    """Return alarms per 1,000 device-months of which no failure came within the horizon."""
    wrong = over & ~test.fails
    device, day = test.device[wrong], test.ts[wrong] // DAY_NS
    begins = np.append(True, (device[1:] != device[:-1]) | (np.diff(day) > EPISODE_DAYS))
    alarms = int(begins.sum()) if len(device) else 0
    months = np.count_nonzero(~test.fails) / MONTH_DAYS
    return float(1000.0 * alarms / max(months, 1e-9))


def _best_single(history: Examples, seen: B1, test: Examples) -> float:
    best = 0.0, 0.0
    for train_column, column in zip(history.features[seen].T, test.features.T, strict=True):
        for sign in (1.0, -1.0):
            fitted = average_precision_score(history.fails[seen], sign * train_column)
            best = max(best, (fitted, average_precision_score(test.fails, sign * column)))
    return float(best[1])
