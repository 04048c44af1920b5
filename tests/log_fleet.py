"""Logs of a small fleet: regular lines and others, rare ones, errors, and faults on request."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

START = 1_760_000_400 * 10**9  # a full hour
DAY_S = 86_400
WORDS = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "kilo")

FAULTS = {
    "error_burst": "link errors",
    "log_burst": "logins",
    "log_novelty": "filesystem",
    "log_heartbeat": "watchdog",
}
"""Detector -> the fault that is its own."""


def log_fleet(
    devices=6, days=8, seed=0, fault="", whom="gw-1", day=6.0, cohorts=2, step_s=600
) -> pa.Table:
    """Return a history of logs, a wide frame in order of time.

    Each device kicks its watchdog every `step_s`, logs in people at random, has an error now and
    then and, rarely, a line that it never had before. With a `fault`, one device from a `day` on:
    ``logins`` (two hundred in ten minutes), ``link errors`` (a hundred of a kind that it knows),
    ``filesystem`` (errors nobody ever had, at every second kick), ``watchdog`` (it is kicked no
    more).
    """
    rng = np.random.default_rng(seed)
    rare = [" ".join(rng.permutation(WORDS)[:6]) for _ in range(60)]
    steps = days * DAY_S // step_s
    onset = int(day * DAY_S) // step_s
    rows: list[tuple[int, str, float, str]] = []
    for d in range(devices):
        name = f"gw-{d}"
        broken = fault if name == whom else ""
        for k in range(steps):
            ts = START + k * step_s * 10**9
            if not (broken == "watchdog" and k >= onset):
                rows.append((ts, name, 9.0, f"watchdog: kicked, load {rng.uniform(0, 2):.2f}"))
            rows.append((ts + 1000, name, 9.0, f"cpu temperature {rng.integers(40, 60)} C"))
            if rng.random() < 0.3:
                user = WORDS[rng.integers(len(WORDS))]
                rows.append((ts + 2000, name, 9.0, f"session opened for user {user}"))
            if rng.random() < 0.01:
                line = f"eth0: link error, retry {rng.integers(9)}"
                rows.append((ts + 3000, name, 17.0, line))
            if rng.random() < 0.3 / (30 * DAY_S / step_s):
                rows.append((ts + 4000, name, 9.0, rare[rng.integers(len(rare))]))
            if broken == "logins" and k == onset:
                for n in range(200):
                    line = f"session opened for user {WORDS[n % len(WORDS)]}"
                    rows.append((ts + 5000 + n * 3 * 10**9, name, 9.0, line))
            if broken == "link errors" and k == onset:
                for n in range(100):
                    line = f"eth0: link error, retry {n}"
                    rows.append((ts + 5000 + n * 10**9, name, 17.0, line))
            if broken == "filesystem" and k >= onset and k % 2:
                line = f"EXT4-fs error (device mmcblk0p2): block {977 * k}: checksum is bad"
                rows.append((ts + 6000, name, 17.0, line))
    rows.sort()
    ts, device, severity, message = zip(*rows, strict=True)
    return pa.table(
        {
            "device_id": device,
            "ts": pa.array(ts).cast(pa.timestamp("ns", tz="UTC")),
            "severity": severity,
            "message": message,
            "cohort": [f"fw-{int(name[3:]) % cohorts}" for name in device],
        }
    )
