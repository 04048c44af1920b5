"""Slow, obvious twin of the reboot kernel. Plain Python only."""

from __future__ import annotations

import math

MS_WRAP_S = 2**32 / 1000
HUNDREDTHS_WRAP_S = 2**32 / 100


def is_new_boot(elapsed_s, old_uptime_s, new_uptime_s):
    """Say whether uptime went back, and neither a clock nor a wrap nor sleep explains it."""
    slack_s = max(60.0, elapsed_s * 2e-4)
    missing_s = old_uptime_s + elapsed_s - new_uptime_s
    if missing_s <= slack_s:
        return False
    if new_uptime_s > elapsed_s + slack_s:
        return False
    for wrap_s in (MS_WRAP_S, HUNDREDTHS_WRAP_S):
        for laps in range(1, 400):
            if abs(missing_s - laps * wrap_s) <= slack_s:
                return False
    return True


def reboots_between(old, new, gap_s):
    """Count the reboots between what was last known and a row; None: cannot be compared.

    Gives the count by boots and the count by power cycles apart.
    """
    boots = None
    sure = False
    if "boot_count" in old and "boot_count" in new and new["boot_count"] >= old["boot_count"]:
        boots, sure = new["boot_count"] - old["boot_count"], True
    if "boot_id" in old and "boot_id" in new:
        changed = 1 if old["boot_id"] != new["boot_id"] else 0
        boots, sure = max(boots or 0, changed), True
    if not sure:
        if "uptime" in old and "uptime" in new:
            elapsed_s = (new["ts"] - old["uptime_ts"]) * 1e-9
            boots = int(is_new_boot(elapsed_s, old["uptime"], new["uptime"]))
        elif "boot_time" in old and "boot_time" in new:
            boots = int(new["boot_time"] - old["boot_time"] > max(60.0, gap_s * 2e-4))
    elif boots is None:
        boots = 0
    cycles = None
    if "cycles" in old and "cycles" in new and new["cycles"] >= old["cycles"]:
        cycles = new["cycles"] - old["cycles"]
    return boots, cycles


def exposure_between(old, new, gap_s, boots, cycles, credited_s):
    """Say how long the device ran between what was last known and a row."""
    n = max(boots or 0, cycles or 0)
    if boots is not None:
        return gap_s if n == 0 else min(gap_s, new.get("uptime", 0.0) + credited_s)
    if cycles is None:
        return 0.0
    if "on" in old and "on" in new:
        return min(max(new["on"] - old["on"], 0.0), gap_s)
    return gap_s if n == 0 else min(gap_s, credited_s)


class Device:
    """One device's bins, and the weights over hazards."""

    def __init__(self, prior):
        self.known = {}
        self.before = list(prior)
        self.after = [0.0] * len(prior)
        self.rate_before = 0.0
        self.hits = []
        self.open_s = 0.0
        self.open_hit = False
        self.episode_ts = 0
        self.reboots = 0
        self.planned = 0

    def close_bin(self, hit, quiet, steps, rates):
        self.hits.append(hit)
        likelihood = [1.0 - q if hit else q for q in quiet]
        mean = sum(p * rate for p, rate in zip(self.before, rates, strict=True))
        kept = sum(w * f for w, f in zip(self.after, likelihood, strict=True))
        size = len(quiet)
        arriving = [
            sum(self.before[j - step] for step in steps if j >= step) / len(steps)
            for j in range(size)
        ]
        self.after = [(self.after[j] + arriving[j]) * likelihood[j] for j in range(size)]
        share = kept / sum(self.after)
        self.rate_before = share * self.rate_before + (1.0 - share) * mean
        self.before = [self.before[j] * likelihood[j] for j in range(size)]
        total = sum(self.before)
        self.after = [weight / total for weight in self.after]
        self.before = [max(weight / total, 1e-12) for weight in self.before]


def reboot_update(rows, prior, rates, quiet, steps, bin_s, credited_s, episode_ns, line):
    """Give (score, observed, expected) of each row, and the devices.

    `rows` are dictionaries with `device`, `ts` and whichever of `boot_id`, `boot_time`, `uptime`,
    `boot_count`, `planned`, `cycles`, `on` the row reports.
    """
    nan = float("nan")
    devices = {}
    said = []
    for row in rows:
        device = devices.setdefault(row["device"], Device(prior))
        old = device.known
        telling = {"boot_id", "boot_time", "uptime", "boot_count", "cycles"} & set(row)
        if not telling or row["ts"] <= old.get("ts", 0):
            said.append((nan, nan, nan))
            continue
        gap_s = (row["ts"] - old.get("ts", 0)) * 1e-9
        boots, cycles = reboots_between(old, row, gap_s)
        exposure_s = exposure_between(old, row, gap_s, boots, cycles, credited_s)
        n = max(boots or 0, cycles or 0)

        for name in telling:
            old[name] = row[name]
        if "cycles" in telling and "on" in row:
            old["on"] = row["on"]
        if "uptime" in telling:
            old["uptime_ts"] = row["ts"]
        old["ts"] = row["ts"]

        if n > 0 and row.get("planned", 0.0) >= 0.5:
            n -= 1
            device.planned += 1
            if row["ts"] - device.episode_ts >= episode_ns:
                device.episode_ts = row["ts"]
        episodes = 0
        if n > 0:
            device.reboots += int(n)
            episodes = int(min(n, 1 + gap_s * 1e9 // episode_ns))
            if row["ts"] - device.episode_ts < episode_ns:
                episodes -= 1
            if episodes > 0:
                device.episode_ts = row["ts"]

        filled = int((device.open_s + exposure_s) // bin_s)
        device.open_s = (device.open_s + exposure_s) % bin_s
        if filled == 0:
            device.open_hit = device.open_hit or episodes > 0
        else:
            # Evenly over the bins that close, the first into the first.
            places = {int(filled * e / episodes + 1e-9) for e in range(episodes)}
            for b in range(filled):
                device.close_bin(b in places or (b == 0 and device.open_hit), quiet, steps, rates)
            device.open_hit = False

        if not device.hits:
            said.append((nan, nan, nan))
            continue
        total = sum(device.after)
        said.append(
            (
                math.log1p(total) / line,
                sum(w * rate for w, rate in zip(device.after, rates, strict=True)) / total,
                device.rate_before,
            )
        )
    return said, devices


def evidence(hits, prior, quiet, steps):
    """Sum, over when a change may have begun, the likelihood ratio of that change to none."""

    def likelihood(j, bins):
        return math.prod(1.0 - quiet[j] if hit else quiet[j] for hit in bins)

    unchanged = sum(p * likelihood(j, hits) for j, p in enumerate(prior))
    total = 0.0
    for start in range(len(hits)):
        for j, p in enumerate(prior):
            for step in steps:
                if j + step < len(prior):
                    past, since = likelihood(j, hits[:start]), likelihood(j + step, hits[start:])
                    total += p * past * since / len(steps)
    return total / unchanged
