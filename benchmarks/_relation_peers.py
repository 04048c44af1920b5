"""What else could watch the metrics of a device: each by itself, or all of them by online PCA.

Both see the bins of `benchmarks/_relation_fleet.py`, standardised as the engine's detector does it:
by a mean of days and a spread of weeks, what is far off counting no more than three spreads. Their
lines are set on a healthy fleet to as many false alarms as the default budget allows there, or as
the engine's detector had if that is more.
"""

from __future__ import annotations

import numpy as np

from aiops.kernels.rows import F8, I8

DAY_S = 86_400.0
CENTRE_S, MEMORY_S = 3.0 * DAY_S, 30.0 * DAY_S
LEARN_DAYS = 14.0
COMPONENTS = 3
SMOOTH_S = 3600.0


def standardised(values: F8, tick_s: float) -> F8:
    """Return `values` [devices, ticks, k] less their mean of days, over their spread of weeks.

    NaN where nothing is reported; 0 where a metric never moves.
    """
    devices, ticks, k = values.shape
    mean, variance, known = (np.zeros((devices, k)) for _ in range(3))
    out = np.empty_like(values)
    for t in range(ticks):
        x = values[:, t]
        there = ~np.isnan(x)
        step = np.where(there, x - mean, 0.0)
        spread = np.sqrt(variance)
        moves = spread > 2e-3 * np.abs(mean) + 1e-6
        with np.errstate(divide="ignore", invalid="ignore"):
            out[:, t] = np.where(there, np.where(moves, step / spread, 0.0), np.nan)
        warm = 2.0 / (known + 2.0)
        limit = np.where(known < 8.0, np.inf, 3.0 * spread + 1e-6)
        step = np.clip(step, -limit, limit)
        mean += np.where(there, np.maximum(warm, tick_s / CENTRE_S), 0.0) * step
        rate = np.where(there & (known > 0), np.maximum(warm, tick_s / MEMORY_S), 0.0)
        variance += rate * (step * step - variance)
        known += there
    return out


def by_itself(z: F8, tick_s: float) -> F8:
    """Return, of each row [devices, ticks], how far any metric is beyond where it has been.

    An EWMA chart of an hour for each metric (Roberts, Technometrics 1, 1959,
    doi:10.1080/00401706.1959.10489860): its distance from the mean, over the largest so far.
    """
    keep = 1.0 - min(1.0, tick_s / SMOOTH_S)
    devices, ticks, k = z.shape
    level, reach, out = np.zeros((devices, k)), np.ones((devices, k)), np.empty((devices, ticks))
    settled = 3.0 * DAY_S / tick_s
    for t in range(ticks):
        now = np.clip(z[:, t], -10.0, 10.0)
        level = np.where(np.isnan(now), level, keep * level + (1.0 - keep) * now)
        out[:, t] = (np.abs(level) / reach).max(axis=1)
        if t > settled:
            reach = np.maximum(reach, np.minimum(np.abs(level), 1.5 * reach))
    return silent_at_first(out, tick_s)


def online_pca(z: F8, tick_s: float) -> F8:
    """Return, of each row [devices, ticks], how unusually far it lies from its main components.

    Components follow by Oja's rule (J. Math. Biol. 15, 1982, doi:10.1007/BF00275687), the squared
    distance of an hour's mean is judged by the mean and spread of its own logarithm.
    """
    devices, ticks, k = z.shape
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((devices, k, COMPONENTS)))[0]
    keep = 1.0 - min(1.0, tick_s / SMOOTH_S)
    far = np.ones(devices)
    mean, variance = np.zeros(devices), np.ones(devices)
    out = np.empty((devices, ticks))
    for t in range(ticks):
        row = np.clip(np.nan_to_num(z[:, t]), -3.0, 3.0)[:, :, None]
        along = np.swapaxes(basis, 1, 2) @ row
        left = row - basis @ along
        far = keep * far + (1.0 - keep) * (left * left).sum(axis=(1, 2))
        size = np.log(far + 1e-3)
        score = (size - mean) / np.sqrt(variance + 1e-6)
        out[:, t] = score
        rate = max(2.0 / (t + 2.0), tick_s / MEMORY_S)
        off = np.clip(size - mean, -3.0 * np.sqrt(variance), 3.0 * np.sqrt(variance))
        calm = np.where(score > 3.0, 0.05, 1.0) if t > LEARN_DAYS * DAY_S / tick_s else 1.0
        mean += rate * calm * off
        variance += rate * calm * (off * off - variance)
        gain = np.minimum(rate, 0.05) * calm
        basis += np.reshape(np.broadcast_to(gain, devices), (-1, 1, 1)) * (
            left @ np.swapaxes(along, 1, 2)
        )
        if t % 64 == 0:
            basis = np.linalg.qr(basis)[0]
    return silent_at_first(out, tick_s)


def silent_at_first(score: F8, tick_s: float) -> F8:
    """Return `score` with nothing said in the first two weeks."""
    out = score.copy()
    out[:, : int(LEARN_DAYS * DAY_S / tick_s)] = np.nan
    return out


def firings(score: F8, line: float, clear: float = 0.8) -> I8:
    """Return how often each device [d] began to fire, as the default rule has it."""
    count = np.zeros(len(score), np.int64)
    firing = np.zeros(len(score), np.bool_)
    for t in range(score.shape[1]):
        now = score[:, t] / line
        count += (now >= 1.0) & ~firing
        firing = (now >= 1.0) | (firing & ~(now < clear))
    return count


def line_for(scores: list[F8], alarms: int) -> float:
    """Return the lowest line at which healthy devices fire at most `alarms` times in all."""
    top = np.sort(np.concatenate([np.nanmax(score, axis=1) for score in scores]))[::-1]
    low, high = float(top[min(alarms, len(top) - 1)]), float(top[0]) * 1.001
    low = min(low, high)
    for _ in range(20):
        middle = 0.5 * (low + high)
        if sum(int(firings(score, middle).sum()) for score in scores) <= alarms:
            high = middle
        else:
            low = middle
    return high
