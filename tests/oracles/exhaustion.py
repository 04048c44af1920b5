"""The obvious way to weigh a creep: every unknown a column, every matrix written out."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import norm


def bins_of(ts, value, bin_ns, parts):
    """Return the middle of each bin, and how far its highest part is beyond: a dict by bin."""
    found = {}
    for b in sorted({t // bin_ns for t in ts}):
        means = []
        for p in range(parts):
            mine = [
                v
                for t, v in zip(ts, value, strict=True)
                if t // bin_ns == b and min((t - b * bin_ns) // (bin_ns // parts), parts - 1) == p
            ]
            if mine:
                means.append(sum(mine) / len(mine))
        found[b] = (float(np.median(means)), max(means) - float(np.median(means)))
    return found


def polish(table, rounds):
    """Return what a group did in each bin, of readings [members, bins]; NaN: too few know."""
    course = np.zeros(table.shape[1])
    for _ in range(rounds):
        level = np.array([middle(row) for row in table - course])
        course = np.array([middle(column) for column in (table - level[:, None]).T])
        course[2 * np.sum(~np.isnan(table), axis=0) < len(table)] = np.nan
    return course


def middle(values):
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else math.nan


def weigh(t, y, c, broken, usual, settings, edge):
    """Return the log evidence for a creep, and the moments of level, slope, noise and onset."""
    n = len(t)
    known = [np.ones(n)]
    if np.ptp(c) > 0.0:
        known.append(c)
    known += [(np.arange(n) >= j).astype(float) for j in range(1, n) if broken[j]]
    x = np.column_stack(known)
    onsets = [o for o in settings.onset if 1.25 * t[0] <= o <= -8.0]
    places = range(edge, n - edge + 1)
    least = n * settings.resolution**2
    without, with_ = [], []
    for rho, share in zip(settings.correlation, settings.share, strict=True):
        v = rho ** np.abs(t[:, None] - t[None, :]) / (1.0 - rho**2)
        inverse = np.linalg.inv(v)
        jumps = [(None, math.log(0.5))]
        jumps += [
            ((np.arange(n) >= k).astype(float), math.log(0.5 / max(n - 2 * edge + 1, 1)))
            for k in places
        ]
        for jump, prior in jumps:
            columns, precision = x, []
            if jump is not None:
                off = residual(jump, x, inverse)
                ss = off @ inverse @ off
                if ss < 1e-6 * (1.0 - rho**2):
                    continue
                columns, precision = np.column_stack([x, jump]), [ss / n]
            log, _, _ = marginal(y, columns, precision, v, inverse, x.shape[1], least)
            without.append(math.log(share) + prior + log)
            for onset in onsets:
                ramp = np.maximum(t, onset)
                clear = residual(ramp, columns, inverse)
                lean = clear @ inverse @ clear
                cross = clear @ inverse @ y
                _, left, _ = marginal(y, columns, precision, v, inverse, x.shape[1], least)
                variance = max(left - cross**2 / lean, least) / (n - x.shape[1])
                both = np.column_stack([columns, clear])
                log, left, (mean, cov) = marginal(
                    y, both, [*precision, variance / usual**2], v, inverse, x.shape[1], least
                )
                scale = left / max(n - x.shape[1] - 2.0, 1.0)
                slope, slope_var = mean[-1], scale * cov[-1, -1]
                upward = 2.0 * norm.cdf(slope / math.sqrt(slope_var))
                log += math.log(share) + prior + math.log(upward / len(onsets))
                at_end = both[-1]
                level, level_var = at_end @ mean, scale * (at_end @ cov @ at_end)
                moments = (
                    level,
                    slope,
                    level**2 + level_var,
                    slope**2 + slope_var,
                    level * slope + scale * (at_end @ cov)[-1],
                    scale / (1.0 - rho**2),
                    rho,
                    onset,
                )
                with_.append((log, moments))
    logs = np.array([log for log, _ in with_])
    weights = np.exp(logs - logs.max())
    mean = weights @ np.array([m for _, m in with_]) / weights.sum()
    total = logs.max() + math.log(weights.sum())
    return total - float(np.logaddexp.reduce(without)), mean


def residual(column, others, inverse):
    """Return what of a column the others do not explain, in the metric of the noise."""
    return column - others @ np.linalg.solve(
        others.T @ inverse @ others, others.T @ inverse @ column
    )


def marginal(y, columns, precision, v, inverse, flat, least):
    """Return log integral, what is left, and mean and covariance (over variance) of coefficients.

    The last columns have normal priors of these precisions, the first `flat` ones none.
    """
    n = len(y)
    prior = np.diag([0.0] * flat + list(precision))
    a = columns.T @ inverse @ columns + prior
    mean = np.linalg.solve(a, columns.T @ inverse @ y)
    left = y @ inverse @ y - mean @ a @ mean + least
    log = -0.5 * np.linalg.slogdet(v)[1] - 0.5 * np.linalg.slogdet(a)[1]
    log += 0.5 * sum(math.log(p) for p in precision) - 0.5 * (n - flat) * math.log(left)
    return log, left, (mean, np.linalg.inv(a))


def chance_by(state, limit, times, nodes):
    """Return the chance of having met the limit by each of `times`, from a posterior's moments."""
    slope_sd = math.sqrt(state["slope_var"])
    tilt = state["both_cov"] / state["slope_var"]
    level_sd = math.sqrt(max(state["level_var"] - tilt * state["both_cov"], 0.0))
    total, passed = 0.0, np.zeros(len(times))
    for z in np.linspace(-2.5, 2.5, nodes):
        pace = state["slope"] + z * slope_sd
        if pace <= 0.0:
            continue
        for h, share in ((-1, 1.0), (0, 4.0), (1, 1.0)):
            weight = share * norm.pdf(z)
            level = state["level"] + tilt * z * slope_sd + h * math.sqrt(3.0) * level_sd
            total += weight
            passed += weight * one_way(state, limit - state["peak"], level, pace, times)
    return np.maximum.accumulate(passed / total)


def one_way(state, room, level, pace, times):
    """The same for one level and slope."""
    rho, resets = state["correlation"], state["resets"]
    again = max((room - state["floor"]) / pace, 1.0)
    tries = max((math.exp(resets * again) - 1.0) / resets - again, 1.0)
    alive, met, before, out = 1.0, 0.0, 0.0, []
    for time in times:
        mid = (before + time) / 2.0
        variance = state["noise_var"] * (1.0 - rho ** (2.0 * mid)) + state["peak_var"]
        mean = level + pace * mid + state["away"] * rho**mid
        over = norm.sf(room, mean, math.sqrt(variance))
        stays = alive * (1.0 - min(over, 1.0 - 1e-12)) ** (
            (time - before) * math.sqrt(1.0 - rho**2)
        )
        met += (alive - stays) * math.exp(-resets * mid)
        alive, before = stays, time
        late = 0.0
        if time > again:
            late = (1.0 - math.exp(-resets * time)) * (1.0 - math.exp((again - time) / tries))
        out.append(met + (1.0 - met) * late)
    return np.array(out)
