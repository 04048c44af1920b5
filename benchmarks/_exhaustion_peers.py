"""What is commonly used against slow creep, written afresh from what its documentation says.

*Netdata* (docs, "Machine learning configuration"): of each metric, vectors of a smoothed difference
and its five lags; k-means with two clusters on six hours of them, every three hours; a vector is
anomalous for a model if its distance, scaled so that 0 and 100 are the least and greatest in
training, is above 99; its bit is set if all of the last 18 models, some 57 hours, agree.

*Prometheus* (docs, "predict_linear"): a least-squares line through a range of samples, extended.
"""

from __future__ import annotations

import numpy as np

from aiops.kernels.rows import B1, F8

DIFF, SMOOTH, LAGS = 1, 3, 5
TRAIN_H, EVERY_H, MODELS = 6, 3, 18
ROUNDS = 10


def vectors(value: F8) -> F8:
    """Return the vectors [m, 6] of one series [m + DIFF + SMOOTH - 1 + LAGS]."""
    change = np.diff(value, DIFF)
    smooth = np.convolve(change, np.full(SMOOTH, 1.0 / SMOOTH), "valid")
    return np.lib.stride_tricks.sliding_window_view(smooth, LAGS + 1)


def two_means(points: F8) -> F8:
    """Return two centres [2, 6] of points [m, 6], by Lloyd's rounds from the two ends."""
    order = np.argsort(points.sum(axis=1), kind="stable")
    centre = points[order[[0, -1]]].copy()
    for _ in range(ROUNDS):
        near = distance(points, centre).argmin(axis=1)
        for k in (0, 1):
            if (near == k).any():
                centre[k] = points[near == k].mean(axis=0)
    return centre


def distance(points: F8, centre: F8) -> F8:
    """Return distances [m, 2]."""
    return np.linalg.norm(points[:, None, :] - centre[None, :, :], axis=2)


def anomaly_rate(value: F8, per_hour: int) -> F8:
    """Return the share of set bits of each day [days] of one series."""
    lost = DIFF + SMOOTH - 1 + LAGS
    point = vectors(value)
    when = np.arange(lost, len(value))
    agree = np.zeros(len(point), dtype=np.int64)
    for end in range(TRAIN_H * per_hour + lost, len(value), EVERY_H * per_hour):
        trained = point[(when >= end - TRAIN_H * per_hour) & (when < end)]
        centre = two_means(trained)
        seen = distance(trained, centre).mean(axis=1)
        low, high = seen.min(), seen.max()
        judged = np.flatnonzero((when >= end) & (when < end + MODELS * EVERY_H * per_hour))
        score = 100.0 * np.abs(distance(point[judged], centre).mean(axis=1) - low) / (high - low)
        agree[judged] += score > 99.0
    bit = np.zeros(len(value))
    bit[lost:] = agree >= MODELS
    return bit.reshape(-1, 24 * per_hour).mean(axis=1)


def fits(value: F8, hours: int) -> tuple[F8, F8]:
    """Return the line now and its slope an hour [n, h], through the last `hours` of series [n, h].

    NaN until so many are there.
    """
    n, length = value.shape
    zero = np.zeros((n, 1))
    total = np.concatenate((zero, np.cumsum(value, axis=1)), axis=1)
    moment = np.concatenate((zero, np.cumsum(value * np.arange(length), axis=1)), axis=1)
    end = np.arange(hours, length + 1)
    plain = total[:, end] - total[:, end - hours]
    centre = end - (hours + 1) / 2.0
    lean = moment[:, end] - moment[:, end - hours] - centre * plain
    slope = lean / (hours * (hours**2 - 1) / 12.0)
    now = plain / hours + slope * (hours - 1) / 2.0
    lost = np.full((n, hours - 1), np.nan)
    return np.concatenate((lost, now), axis=1), np.concatenate((lost, slope), axis=1)


def begins(over: B1) -> np.ndarray:
    """Return how often each row [n, m] begins to be true."""
    before = np.concatenate((np.zeros((len(over), 1), dtype=np.bool_), over[:, :-1]), axis=1)
    return np.asarray((over & ~before).sum(axis=1))
