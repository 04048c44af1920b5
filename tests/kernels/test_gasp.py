"""Last words and boots, against the twin and in stories."""

from __future__ import annotations

import numpy as np
import pytest

from aiops.kernels.gasp import remember_words, see_boots
from tests.oracles import gasp as oracle

SECOND = 10**9
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND
START = 1_760_000_000 * SECOND
FIELDS = ("known_id", "known_count", "booted", "rebooted", "boot_said", "clock_reset")


class Boots:
    """The kernel's arrays, and the times at which devices were heard."""

    def __init__(self, n=1):
        self.last = np.zeros(n, np.int64)
        kinds = (np.float64, np.float64, np.int64, np.int64, np.int64, np.int8)
        self.kept = {name: np.zeros(n, kind) for name, kind in zip(FIELDS, kinds, strict=True)}
        for name in ("known_id", "known_count"):
            self.kept[name][:] = np.nan

    def feed(self, device, ts, *columns):
        device, ts = np.asarray(device, np.int32), np.asarray(ts, np.int64)
        columns = [np.asarray(column, np.float64) for column in columns]
        see_boots(device, ts, *columns, self.last, *self.kept.values())
        np.maximum.at(self.last, device, ts)

    def row(self, ts, id=np.nan, count=np.nan, uptime_s=np.nan, boot_time_s=np.nan):
        self.feed([0], [ts], [id], [count], [uptime_s], [boot_time_s])

    def __getattr__(self, name):
        return self.kept[name][0]


def or_none(value):
    return None if np.isnan(value) else float(value)


@pytest.mark.parametrize("seed", range(10))
def test_boots_against_the_twin(seed):
    rng = np.random.default_rng(seed)
    boots, twins = Boots(4), [oracle.Device() for _ in range(4)]
    for device, twin in enumerate(twins):
        ts, booted, number = START, START - 10 * DAY, 5
        kinds = rng.random(4) < 0.6
        rows = []
        for _ in range(80):
            gap = int(rng.choice([MINUTE, 600 * SECOND, 2 * DAY, 30 * DAY]))
            if rng.random() < 0.2:
                booted, number = ts + int(rng.integers(1, gap)), number + int(rng.integers(1, 3))
            ts += gap
            wrap = float(rng.choice([2**32 / 1e3, 2**32 / 1e2]))
            unset = rng.random() < 0.1
            values = np.array(
                [
                    number * 7.0,
                    number,
                    (ts - booted) * 1e-9 % wrap,
                    300.0 if unset else booted * 1e-9 + rng.normal(0, 2),
                ]
            )
            values[~kinds | (rng.random(4) < 0.3)] = np.nan
            rows.append((ts if rng.random() < 0.95 else ts - gap, *values))
        for cut in np.array_split(np.arange(len(rows)), 7):
            some = sorted({rows[k][0]: rows[k] for k in cut}.items())
            fresh = [row for _, row in some]
            boots.feed([device] * len(fresh), *zip(*fresh, strict=True))
            for at, *said in fresh:
                twin.row(at, *map(or_none, said))
    for i, twin in enumerate(twins):
        found = tuple(int(boots.kept[name][i]) for name in FIELDS[2:])
        assert found == (twin.booted, twin.rebooted, twin.said, twin.clock_reset)
        assert or_none(boots.kept["known_id"][i]) == twin.id
        assert or_none(boots.kept["known_count"][i]) == twin.count
    assert any(twin.rebooted for twin in twins)


@pytest.mark.parametrize("wrap_s", [2**32 / 1000, 2**32 / 100])
def test_an_uptime_that_wraps_is_no_boot(wrap_s):
    boots = Boots()
    boots.row(START, uptime_s=wrap_s - 100.0)
    boots.row(START + 10 * MINUTE, uptime_s=500.0)
    assert boots.rebooted == 0
    boots.row(START + 20 * MINUTE, uptime_s=30.0)
    assert boots.rebooted == START + 20 * MINUTE


def test_a_boot_time_that_ntp_moves_is_no_boot():
    boots = Boots()
    for k in range(50):
        boots.row(START + k * MINUTE, boot_time_s=START / 1e9 - 500.0 + (-1) ** k * 20.0)
    assert boots.rebooted == 0
    boots.row(START + 50 * MINUTE, boot_time_s=START / 1e9 + 49 * 60.0 + 30.0)
    assert boots.rebooted == START + 50 * MINUTE
    assert not boots.clock_reset


def test_a_clock_that_nobody_set_is_told():
    boots = Boots()
    boots.row(START, id=1.0, boot_time_s=START / 1e9 - 500.0)
    boots.row(START + DAY, id=2.0, boot_time_s=12.0)
    assert boots.rebooted == START + DAY
    assert boots.clock_reset


def test_the_better_source_decides():
    boots = Boots()
    boots.row(START, id=1.0, uptime_s=5000.0)
    boots.row(START + MINUTE, id=1.0, uptime_s=10.0)
    assert boots.rebooted == 0


def test_words_are_the_latest_and_the_usual_a_slow_mean():
    words = np.full((2, 2), np.nan, np.float32)
    said_min = np.zeros((2, 2), np.int32)
    last = np.array([START, 0])
    device = np.array([0, 0, 1, 1, 1], np.int32)
    ts = START + np.array([0, 1, 1, 2, 3]) * MINUTE
    value = np.array([9.0, 1.0, 4.0, np.nan, 8.0])
    for which, share in ((0, 1.0), (1, 0.25)):
        remember_words(device, ts, value, last, which, share, words, said_min)
        kept = None
        for k in (2, 4):
            kept = oracle.keep(kept, share, float(value[k]), int(ts[k]))
        assert (words[1, which], said_min[1, which]) == kept
        assert words[0, which] == 1.0  # the row of START had been seen
