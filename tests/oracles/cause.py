"""Slow, obvious twin of `aiops.kernels.cause`: every moment is a candidate, everybody is asked."""

from __future__ import annotations

import math


def tail(count, mean):
    """Probability that a Poisson count of that mean is `count` or more."""
    if mean <= 0.0:
        return 1.0 if count <= 0 else 0.0
    logs = [k * math.log(mean) - mean - math.lgamma(k + 1.0) for k in range(count, count + 400)]
    return sum(math.exp(value) for value in logs)


def covers(boot, moment, window):
    """A boot (lo, hi) is taken to have been in [lo, lo + width): at least a window wide."""
    lo, hi = boot
    return lo <= moment < lo + max(hi - lo, window)


def shared(boots, sites, odds, chance, window, is_cohort):
    """Return, by name, at which moment a boot was shared, of the pending `boots` of one group.

    `boots` and `sites` are by name; `odds` reboots of the whole group a nanosecond. Of a cohort,
    what was at fewer than three sites, or nearly all at one (above 0.8), is that site's.
    """
    here, taken = dict(boots), {}
    while len(here) >= 2:
        moments = sorted({lo for lo, _ in here.values()})
        depth = {m: sum(covers(b, m, window) for b in here.values()) for m in moments}
        most = max(depth.values())
        moment = min(m for m in moments if depth[m] == most)
        those = [name for name, boot in here.items() if covers(boot, moment, window)]
        widths = [max(here[n][1] - here[n][0], window) for n in those]
        mean = odds * sum(widths) / len(widths)
        others = most - 1
        if others < 1 or mean >= others or tail(others, mean) >= chance:
            return taken
        if is_cohort:
            at = [sites[name] for name in those]
            places = {place: at.count(place) for place in at if place >= 0}
            count = len(places) + at.count(-1)
            main = max(places, key=lambda p: (places[p], -p), default=None)
            if count < 3 or (main is not None and places[main] > 0.8 * len(at)):
                if main is None:
                    return taken
                here = {n: b for n, b in here.items() if n not in those or sites[n] != main}
                continue
        for name in those:
            taken[name] = moment
            del here[name]
    return taken
