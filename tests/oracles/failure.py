"""Slow, obvious twin of the failure kernel. Plain Python only."""

from __future__ import annotations

import math

NEVER_FILLED = {2**16 - 1, 2**24 - 1}


class Counter:
    """One counter of one medium: the stretches between readings, and whether it grew in each."""

    def __init__(self, reading, ts):
        self.first = self.level = int(reading)
        self.since = ts
        self.grew = False
        self.rests = False
        self.stretches = []

    def read(self, reading, ts, episode_ns):
        if reading > self.level:
            self.level, self.grew = int(reading), True
        length = ts - self.since
        if length < episode_ns:
            return
        if self.rests and length < 2 * episode_ns:
            self.rests = False
        else:
            self.stretches.append((length * 1e-9, self.grew))
            self.rests = self.grew
        self.grew, self.since = False, ts


def null_quiet(stretches, k, shape, prior_s, most_rate):
    """Probability that a healthy medium shows no episode in stretch k, given those before."""
    n = sum(hit for _, hit in stretches[:k])
    past_s = prior_s + sum(length for length, _ in stretches[:k])
    length = stretches[k][0]
    return max((past_s / (past_s + length)) ** (shape + n), math.exp(-most_rate * length))


def ratios_of(stretches, shape, prior_s, most_rate, failing_rates):
    """Give the likelihood ratios of each failing rate to health, stretch by stretch."""
    ratios = []
    for k, (length, hit) in enumerate(stretches):
        healthy = null_quiet(stretches, k, shape, prior_s, most_rate)
        failing = [math.exp(-rate * length) for rate in failing_rates]
        ratios.append([(1 - f) / (1 - healthy) if hit else f / healthy for f in failing])
    return ratios


def weights(stretches, ratios, episode_s):
    """Give the weight of each failing rate, of which no more than 1e12 is kept."""
    weight = [0.0] * len(ratios[0])
    for (length, _), ratio in zip(stretches, ratios, strict=True):
        added = length / episode_s / len(weight)
        weight = [min((w + added) * r, 1e12) for w, r in zip(weight, ratio, strict=True)]
    return weight


def evidence(stretches, ratios, episode_s):
    """Sum, over rates and over when the medium began to fail, the likelihood ratios."""
    total = 0.0
    rates = len(ratios[0])
    for start, (length, _) in enumerate(stretches):
        for j in range(rates):
            since = math.prod(ratio[j] for ratio in ratios[start:])
            total += length / episode_s / rates * since
    return total


def signs_of(medium, shape, prior_s, most_rate, failing_rates, episode_s, line):
    """Give (score, channel, observed, expected) of all that is known, in the order of a tie."""
    signs = []
    if "warning" in medium:
        bits = medium["warning"]
        if bits & 8:
            signs.append((3.0, 5, bits, 0.0))
        elif bits & 4:
            signs.append((2.0, 4, bits, 0.0))
        elif bits & 1:
            signs.append((1.5, 2, bits, 0.0))
    if "spare" in medium:
        spare, limit = medium["spare"], medium.get("threshold", 0.1)
        limit = limit if limit < 1.0 else 0.1
        if spare > limit:
            signs.append(((1.0 - spare) / (1.0 - limit), 1, spare, limit))
        else:
            missing = 1.0 - spare / limit if limit else 1.0
            signs.append((1.5 + 0.5 * missing, 1, spare, limit))
    if "pre_eol" in medium:
        score = {1: 0.0, 2: 1.25, 3: 2.0}[medium["pre_eol"]]
        signs.append((score, 3, medium["pre_eol"], 1.0))
    counters = medium["counters"]
    for c in sorted(counters):
        score = 0.0
        stretches = counters[c].stretches
        if any(hit for _, hit in stretches):
            ratios = ratios_of(stretches, shape, prior_s[c], most_rate, failing_rates)
            total = sum(weights(stretches, ratios, episode_s))
            score = math.log1p(total) / math.log1p(line * len(counters))
        signs.append((score, 6 + c, counters[c].level, counters[c].first))
    return signs


def failure_update(rows, shape, prior_s, most_rate, failing_rates, episode_s, line):
    """Give (score, observed, expected) of each row, and channel and media at the end.

    `rows` are dictionaries with `device`, `ts` and whichever of `spare`, `threshold`, `warning`,
    `pre_eol`, `media_errors`, `reallocated`, `wear` the row reports.
    """
    nan = float("nan")
    media = {}
    said = []
    for row in rows:
        medium = media.setdefault(row["device"], {"ts": 0, "counters": {}, "channel": 0})
        if set(row) == {"device", "ts"} or row["ts"] <= medium["ts"]:
            said.append((nan, nan, nan))
            continue
        medium["ts"] = row["ts"]
        if row.get("spare", 0.0) > 0.0 or ("spare" in row and "spare" in medium):
            medium["spare"] = row["spare"]
        for name in ("threshold", "wear"):
            if name in row:
                medium[name] = row[name]
        if "warning" in row and row["warning"] < 64:
            medium["warning"] = int(row["warning"])
        if "pre_eol" in row:
            medium["pre_eol"] = int(row["pre_eol"])
        for c, name in enumerate(("media_errors", "reallocated")):
            count = row.get(name, nan)
            if not count < 2**31 - 1 or count in NEVER_FILLED:
                continue
            if c not in medium["counters"]:
                medium["counters"][c] = Counter(count, row["ts"])
            else:
                medium["counters"][c].read(count, row["ts"], int(episode_s * 1e9))
        signs = signs_of(medium, shape, prior_s, most_rate, failing_rates, episode_s, line)
        if signs:
            score, medium["channel"], observed, expected = max(signs, key=lambda sign: sign[0])
            said.append((score, observed, expected))
        else:
            medium["channel"] = 0
            said.append((0.0 if "warning" in medium else nan, nan, nan))
    return said, media
