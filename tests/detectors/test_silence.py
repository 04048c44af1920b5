"""Silence: false alarms against the budget, and what is said."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from aiops.detectors import last_gasp
from aiops.detectors.last_gasp import SIGNALS
from aiops.detectors.protocol import Epoch, FleetShape
from aiops.detectors.silence import MONTH_S, Silence, duration
from aiops.errors import SettingsError
from aiops.telemetry.batch import TelemetryBatch, group_bounds

COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") != "1"
START = 1_760_000_000 * 10**9


def feed(detector, memory, device, ts, columns=None):
    device, ts = np.asarray(device, np.int32), np.asarray(ts, np.int64)
    order = np.lexsort((ts, device))
    n = len(device)
    batch = TelemetryBatch(
        device=device[order],
        cohort=np.zeros(n, np.int32),
        ts=ts[order],
        historical=np.zeros(n, np.bool_),
        columns={name: values[order] for name, values in (columns or {}).items()},
        indptr=group_bounds(device[order]),
    )
    detector.update(memory, batch)


def close(detector, memory, clock, size, site=None):
    root = np.arange(size, dtype=np.int32)
    site = np.zeros(size, np.int32) if site is None else np.asarray(site, np.int32)
    return detector.close(memory, Epoch(clock, clock, clock, size, root, site, site))


def every(seconds, n, start=START):
    return start + (np.arange(n) * seconds * 1e9).astype(np.int64)


@pytest.mark.parametrize(
    ("name", "every_s", "draw"),
    [
        ("exponential", 1200.0, lambda rng, n: rng.exponential(1200.0, n)),
        ("lossy", 900.0, lambda rng, n: 900.0 * rng.geometric(0.95, n)),
        ("regular", 900.0, lambda rng, n: 900.0 * rng.uniform(0.9, 1.1, n)),
    ],
)
def test_false_alarms_stay_within_the_budget(name, every_s, draw):
    devices, budget = (400 if COMPILED else 10), 100.0
    detector = Silence(alarm_budget=budget, min_silence_s=1.0)
    memory = detector.init(FleetShape(devices))
    rng = np.random.default_rng(8)
    n = int(MONTH_S / every_s)
    times = START + np.cumsum(draw(rng, (devices, n)) * 1e9, axis=1).astype(np.int64)
    alarms = np.zeros(devices)
    alone = np.full(devices, -1)
    # The silence before a report is longest just before it.
    for k in range(n):
        if k:
            judged = np.zeros(devices)
            allowed = close(detector, memory, int(times[:, k].max()), devices, alone)
            silent_s = (times[:, k] - memory.last[:devices]) * 1e-9
            limit_s = allowed.observed / allowed.score
            judged = silent_s >= limit_s
            alarms += judged
        feed(detector, memory, np.arange(devices), times[:, k])
    rate = alarms.sum() / (devices / 1000.0)
    error = alarms.std(ddof=1) * np.sqrt(devices) / (devices / 1000.0)
    print(f"{name}: {rate:.1f} +- {error:.1f} false alarms per 1,000 device-months, budget 100")
    assert rate - 2.0 * error <= budget


@pytest.mark.parametrize(("every_s", "reports"), [(60.0, 10.0), (3600.0, 4.0), (86_400.0, 4.0)])
def test_a_regular_device_is_missed_after_a_few_reports(every_s, reports):
    detector = Silence()
    memory = detector.init(FleetShape(1))
    ts = every(every_s, 150)
    feed(detector, memory, np.zeros(150), ts)
    late = int(ts[-1] + (reports + 0.01) * every_s * 1e9)
    early = int(ts[-1] + 1.5 * every_s * 1e9)
    assert close(detector, memory, late, 1).score[0] >= 1.0
    assert close(detector, memory, early, 1).score[0] < 1.0


def test_who_was_seen_twice_has_no_rhythm():
    detector = Silence()
    memory = detector.init(FleetShape(3))
    feed(detector, memory, [0, 0, 1, 1, 1], [*every(60, 2), *every(60, 3)])
    score = close(detector, memory, START + 10**15, 3).score
    assert np.isnan(score[[0, 2]]).all()
    assert score[1] > 1.0


def test_the_clock_may_stand_behind_a_device():
    detector = Silence()
    memory = detector.init(FleetShape(1))
    feed(detector, memory, np.zeros(5), every(60, 5))
    scores = close(detector, memory, START, 1)
    assert scores.score[0] == 0.0
    assert scores.observed[0] == 0.0
    assert scores.expected[0] == pytest.approx(60.0)


def test_a_bigger_budget_is_less_patient():
    assert (Silence(alarm_budget=10.0).patience <= Silence().patience).all()
    assert Silence(alarm_budget=10.0).patience[50, 40] < Silence().patience[50, 40]


def test_the_sentence_says_what_is_likelier_and_why():
    detector = Silence()
    memory = detector.init(FleetShape(6))
    ts = every(60, 100)
    feed(detector, memory, np.repeat(np.arange(5), 100), np.tile(ts, 5))
    later = int(ts[-1] + 50 * 60 * 10**9)
    feed(detector, memory, [3, 4], [later - 10**9] * 2)
    close(detector, memory, later, 6, [0, 0, 1, 1, 1, 1])
    said = [detector.sentence(detector.evidence(memory, i), None) for i in range(6)]
    habit = "Silent for 50 min; it usually reports every 60 s."
    assert said[0] == f"{habit} More likely cut off than down (7 to 1): its site is silent too."
    assert said[2] == f"{habit} Nothing says whether it is down or only cut off."
    assert said[3].startswith("Heard 1 s ago")
    assert said[5].startswith("Too few reports")


DAY_S = 86_400
SITE = 8


class Story:
    """Devices of one site that report every ten minutes; who is `away` (device, s) does not."""

    def __init__(self, devices=SITE, **settings):
        self.detector = Silence(**settings)
        self.memory = self.detector.init(FleetShape(devices + 1))
        self.devices, self.now_s, self.away = devices, 0, set()
        self.boot = np.ones(devices)
        self.fired, self.shared, self.columns = {}, [], {}

    def run(self, seconds, step_s=600):
        for _ in range(0, seconds, step_s):
            self.now_s += step_s
            clock = START + self.now_s * 10**9
            here = np.array([d for d in range(self.devices) if d not in self.away], np.int32)
            columns = {"device.boot_count": self.boot[here]}
            columns |= {k: np.asarray(v, float)[here] for k, v in self.columns.items()}
            jitter = (np.arange(self.devices) * 7 % 60)[here] * 10**9
            feed(self.detector, self.memory, here, clock - 60 * 10**9 + jitter, columns)
            epoch = self.epoch(clock)
            scores = self.detector.close(self.memory, epoch)
            for i in np.flatnonzero(scores.score >= 1.0).tolist():
                self.fired.setdefault(i, self.now_s)
            self.shared += [(self.now_s, one) for one in self.detector.shared(self.memory, epoch)]
        return self

    def epoch(self, clock):
        root = np.arange(self.devices, dtype=np.int32)
        site = np.zeros(self.devices, np.int32)
        return Epoch(clock, clock, clock, self.devices, root, site, site)

    def evidence(self, device):
        return self.detector.evidence(self.memory, device)

    def sentence(self, device):
        return self.detector.sentence(self.evidence(device), None)


@pytest.mark.parametrize(("boots", "said"), [(1, "power was lost"), (0, "network was down")])
def test_a_site_that_falls_silent_is_one_finding_that_says_how_it_ended(boots, said):
    story = Story().run(2 * DAY_S)
    story.away = set(range(SITE))
    story.run(3 * 3600)
    ((_, fell),) = story.shared
    assert (fell.group, fell.status, len(fell.device)) == ("site", "firing", SITE)
    assert fell.score >= 1.0
    assert "8 of 8 devices not heard of" in fell.sentence
    story.boot += boots
    while story.away:  # they return one by one, over more than an hour
        story.away.pop()
        story.run(600)
    story.run(DAY_S)
    (_, again) = story.shared
    assert again[1].status == "resolved"
    assert again[1].since == fell.since
    assert said in again[1].sentence
    assert again[1].evidence["devices_still_silent"] + again[1].evidence["devices_returned"] == 8
    assert story.fired == {}


def test_who_does_not_return_with_its_site_is_found_by_itself():
    story = Story().run(2 * DAY_S)
    story.away = set(range(SITE))
    story.run(3 * 3600)
    story.away = {3}
    story.run(600)
    assert story.shared[-1][1].status == "resolved"
    assert "1 is still silent" in story.shared[-1][1].sentence
    assert story.fired == {}
    back_s = story.now_s
    story.run(DAY_S)
    assert list(story.fired) == [3]
    assert back_s + 1800 <= story.fired[3] <= back_s + 2 * 3600
    assert len(story.shared) == 2


def test_one_that_was_gone_before_has_no_part_in_its_sites_silence():
    story = Story().run(2 * DAY_S)
    story.away = {0}
    story.run(DAY_S)
    assert list(story.fired) == [0]
    story.away = set(range(SITE))
    story.run(3 * 3600)
    ((_, fell),) = story.shared
    assert 0 not in fell.device
    assert fell.evidence["devices_of_the_site"] == SITE - 1


def test_the_quick_ones_wait_for_the_slow_ones_of_their_site():
    """One reports every 20 s and would be missed in ten minutes, before the others are due."""
    for gone in ({0}, set(range(SITE))):
        story = Story()
        ts = START + np.arange(2 * DAY_S // 20) * 20 * 10**9
        feed(story.detector, story.memory, np.zeros(len(ts)), ts)
        story.away = {0}  # of the slow rhythm
        story.run(2 * DAY_S)
        story.fired.clear()
        fast = START + story.now_s * 10**9 - np.arange(100)[::-1] * 20 * 10**9
        feed(story.detector, story.memory, np.zeros(100), fast)
        story.away = gone
        story.run(2 * 3600, step_s=60 if gone == {0} else 600)
        if gone == {0}:
            assert list(story.fired) == [0]
        else:
            assert story.fired == {}
            assert [one.status for _, one in story.shared] == ["firing"]


def test_three_weeks_away_is_one_finding_that_says_how_it_ended():
    for boots, said in ((0, "ran all the while"), (1, "had booted anew")):
        story = Story().run(2 * DAY_S)
        story.away = {5}
        story.run(21 * DAY_S, step_s=3600)
        assert list(story.fired) == [5]
        assert story.evidence(5)["neighbours_heard_log_odds"] > 0.0
        story.away = set()
        story.boot[5] += boots
        story.run(1200)
        assert story.sentence(5).startswith("Heard again after 21 days; it ")
        assert said in story.sentence(5)
        assert story.evidence(5)["rebooted"] == boots
        story.away = {5}
        story.run(DAY_S)
        assert story.evidence(5)["returned_before_log_odds"] < 0.0


@pytest.mark.parametrize(
    ("said", "signals", "dead"),
    [
        ({"battery.soc_ratio": 0.04, "power.on_mains": 0.0}, {"low_battery", "on_battery"}, True),
        ({"storage.critical_warning": 1.0}, {"failing_flash"}, True),
        ({"net.rssi_dbm": -93.0, "net.loss_ratio": 0.3}, {"weak_radio", "lossy_link"}, False),
        ({"battery.soc_ratio": 0.9, "net.rssi_dbm": -50.0, "temperature.celsius": 40.0}, (), None),
    ],
)
def test_last_words_tell_the_dead_from_the_disconnected(said, signals, dead):
    story = Story()
    story.columns = {"power.on_mains": np.ones(SITE)}
    story.run(2 * DAY_S)
    story.columns = {name: np.full(SITE, value) for name, value in said.items()}
    story.run(1200)
    story.away = {2}
    story.run(DAY_S)
    evidence = story.evidence(2)
    found = {n.removesuffix("_log_odds") for n in evidence if n.endswith("_log_odds")}
    assert found == {*signals, "neighbours_heard"}
    total = sum(value for name, value in evidence.items() if name.endswith("_log_odds"))
    assert evidence["dead_odds"] == pytest.approx(np.exp(total))
    if dead is None:
        assert "Nothing says" in story.sentence(2)
    else:
        assert (evidence["dead_odds"] > 2.0) == dead
        assert ("down than cut off" if dead else "cut off than down") in story.sentence(2)


def test_heat_and_a_reboot_count_and_what_is_old_does_not():
    story = Story()
    story.columns = {"temperature.celsius": np.full(SITE, 50.0)}
    story.run(2 * DAY_S)
    story.columns["temperature.celsius"][2] = 88.0
    story.boot[2] += 1
    story.run(1200)
    story.away = {2}
    story.run(DAY_S)
    found = {n for n in story.evidence(2) if n.endswith("_log_odds")}
    assert {"hot_log_odds", "warming_log_odds", "just_rebooted_log_odds"} < found
    assert "it was at 88 °C" in story.sentence(2)

    stale = Story()
    stale.columns = {"battery.soc_ratio": np.full(SITE, 0.02), "power.on_mains": np.zeros(SITE)}
    stale.run(DAY_S)
    del stale.columns["battery.soc_ratio"]
    stale.run(2 * DAY_S)
    stale.away = {2}
    stale.run(DAY_S)
    assert "battery_soc_ratio" not in stale.evidence(2)
    assert stale.evidence(2)["on_mains"] == 0.0
    assert "on_battery_log_odds" not in stale.evidence(2), "it never had mains"


def test_the_tables_in_the_docs_are_the_table_in_use():
    page = (Path(__file__).parents[2] / "docs" / "silence.md").read_text(encoding="utf-8")
    for signal in SIGNALS:
        assert f"| `{signal.name}` | {signal.log_odds:+.1f} |" in page
        assert f"``{signal.name}``" in last_gasp.__doc__
        row = next(r for r in last_gasp.__doc__.splitlines() if f"``{signal.name}``" in r)
        assert f" {signal.log_odds:+.1f} " in row
    assert last_gasp.__doc__.count("\n``") == len(SIGNALS)


def test_durations():
    said = [duration(s) for s in (59.0, 119.0, 3000.0, 8000.0, 4 * 86_400.0)]
    assert said == ["59 s", "119 s", "50 min", "2 h", "4 days"]


@pytest.mark.parametrize(
    "wrong",
    [{"alarm_budget": -1.0}, {"min_silence_s": 0.0}, {"memory_reports": 2}, {"site_wait_s": -1.0}],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        Silence(**wrong)


def test_log_lines_of_one_moment_are_no_rhythm_of_a_new_device():
    """A gateway that logs three lines within microseconds, once an hour."""
    detector = Silence(min_silence_s=600.0)
    memory = detector.init(FleetShape(1))
    hours = every(3600, 3)
    for hour in hours.tolist():
        feed(detector, memory, [0, 0, 0], [hour, hour + 1000, hour + 2000])
        found = close(detector, memory, hour + 3590 * 10**9, 1)
        assert not found.score[0] >= 1.0
    assert memory.beats[0] == 3
    assert memory.typical_s[0] == pytest.approx(3600.0)
