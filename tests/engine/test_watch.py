"""Every metric that arrives is watched, without anybody having named it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from aiops.alerts.rule import AlertRule
from aiops.detectors.silence import Silence
from aiops.engine.engine import Engine
from aiops.errors import SettingsError
from aiops.fleet import checkpoint
from aiops.kernels.rows import no_scores
from aiops.testing import as_history, check_checkpoint, check_cut, check_order, check_replay

SECOND = 1_000_000_000
START = 1_772_323_200 * SECOND


class Memory(NamedTuple):
    seen: np.ndarray


@dataclass(frozen=True)
class Level:
    """Says how many readings a device has shown, and that a value above 10 is over the line."""

    metric: str
    alarm_budget: float = field(default=3.0, metadata={"line": True})
    version: int = 1

    @property
    def name(self):
        return f"level:{self.metric}"

    @property
    def reads(self):
        return (self.metric,)

    def init(self, shape):
        return Memory(np.zeros(shape.capacity))

    def update(self, memory, batch):
        scores = no_scores(len(batch))
        value = batch.column(self.metric)
        for i, device in enumerate(batch.device.tolist()):
            if not np.isnan(value[i]):
                memory.seen[device] += 1
                scores.score[i] = value[i] / 10.0
                scores.observed[i] = value[i]
        return scores

    def close(self, memory, epoch):
        return None

    def shared(self, memory, epoch):
        return ()

    def forecast(self, memory, device):
        return None

    def evidence(self, memory, device):
        return {"seen": float(memory.seen[device])}

    def sentence(self, evidence, forecast):
        return "It is high."


def engine(**settings) -> Engine:
    return Engine([AlertRule(Silence())], watch=Level, **settings)


def wide(rows, **columns) -> pa.Table:
    """Return rows (device, seconds) with columns."""
    return pa.table(
        {
            "device_id": [device for device, _ in rows],
            "ts": [START + int(at * SECOND) for _, at in rows],
            **columns,
        }
    )


def long(*readings) -> pa.Table:
    """Return readings (device, seconds, metric, value, labels)."""
    device, at, metric, value, labels = zip(*readings, strict=True)
    return pa.table(
        {
            "device_id": pa.array(device),
            "ts": [START + int(second * SECOND) for second in at],
            "metric": pa.array(metric),
            "value": pa.array(value, pa.float64()),
            "labels": [None if one is None else json.dumps(one) for one in labels],
        }
    )


def scrapes(devices=4, minutes=30, seed=3) -> pa.Table:
    """Return what a scraper takes of a fleet: labels, counters, a metric that comes later."""
    rng = np.random.default_rng(seed)
    readings = []
    for minute in range(minutes):
        for d in range(devices):
            device, at = f"gw-{d}", 60 * minute + 7 * d
            base = {"instance": f"gw-{d}:9100", "job": "node", "pod": f"exporter-{d}"}
            told = [
                ("node_load1", rng.gamma(2.0), {}),
                ("node_boots_total", float(minute * d % 17), {}),
                ("temperature.celsius", 40.0 + rng.normal(), {}),
            ]
            told += [
                ("node_network_up", float(rng.integers(0, 2)), {"device": f"eth{k}"})
                for k in range(1 + (minute > 10))
            ]
            if minute > 20:
                told.append(("late_comer", rng.normal(30.0), {}))
            readings += [
                (device, at, name, value, {**base, **labels}) for name, value, labels in told
            ]
    return long(*readings)


def names(one: Engine) -> set[str]:
    return {detector.name for detector in one.detectors}


def test_a_metric_nobody_knows_gets_a_rule_of_its_own():
    one = engine()
    table = wide([("a", 0), ("b", 1)], frothiness=[1.0, 20.0], colour=["red", "blue"])
    step = one.step(as_history(table))
    assert names(one) == {"silence", "level:frothiness"}
    assert one.watched == ("frothiness",)
    (finding,) = step.findings
    assert (finding.rule, finding.device_id) == ("level:frothiness", "b")
    assert (finding.severity, finding.observed) == ("warning", 20.0)
    assert one.fleet.unknown == {"colour": 2}


def test_what_has_a_detector_of_its_own_is_not_watched():
    one = engine()
    columns = {"device.uptime": [5.0], "temperature.celsius": [40.0], "device.boot_id": ["x"]}
    one.step(as_history(wide([("a", 0)], **columns)))
    assert one.watched == ("temperature.celsius",)


def test_rules_of_ones_own_watch_nothing_else():
    one = Engine([AlertRule(Level("frothiness"))])
    one.step(as_history(wide([("a", 0)], frothiness=[1.0], other=[2.0])))
    assert names(one) == {"level:frothiness"}
    assert one.watched == ()
    assert one.fleet.recall(one.detectors[0]).seen[0] == 1.0
    assert one.fleet.unknown == {"other": 1}


def test_a_detector_of_that_name_is_not_made_twice():
    one = Engine([AlertRule(Level("frothiness", alarm_budget=9.0))], watch=Level)
    one.step(as_history(wide([("a", 0)], frothiness=[1.0], other=[2.0])))
    assert names(one) == {"level:frothiness", "level:other"}
    assert one.watched == ("other",)
    assert one.detectors[0].alarm_budget == 9.0


def test_all_that_are_watched_share_one_alarm_budget():
    one = engine()
    columns = {name: [1.0] for name in "abcdef"}
    one.step(as_history(wide([("x", 0)], **columns)))
    budgets = [d.alarm_budget for d in one.detectors if isinstance(d, Level)]
    assert budgets == [0.5] * 6


def test_labels_tell_series_apart_and_those_of_a_device_do_not():
    one = engine()
    one.step(as_history(scrapes(minutes=5)))
    assert set(one.watched) == {
        "node_load1",
        "node_boots_total",
        "node_network_up",
        "temperature.celsius",
    }


def test_a_second_series_brings_its_label_into_the_name_and_ends_what_fired_under_the_old():
    early = [("a", 60 * m, "volts", 12.0, {"rail": "5V", "pod": "p"}) for m in range(3)]
    late = [
        ("a", 60 * m, "volts", value, {"rail": rail, "pod": "p"})
        for m in range(3, 9)
        for rail, value in (("5V", 12.0), ("3V3", 3.3))
    ]
    one = engine()
    step = one.step(as_history(long(*early, *late)))
    assert set(one.watched) == {'volts{rail="5V"}', 'volts{rail="3V3"}'}
    said = [(f.rule, f.status, f.reason) for f in step.findings]
    assert said == [
        ("level:volts", "firing", ""),
        ("level:volts", "resolved", "replaced"),
        ('level:volts{rail="5V"}', "firing", ""),
    ]
    arrays, _ = one.save()
    assert "memory/level:volts/seen" not in arrays
    assert "series/last_ts/volts" not in arrays


def test_counters_reach_their_detector_unwrapped():
    one = engine()
    table = wide([("a", 60 * i) for i in range(4)], jobs_total=[5.0, 8.0, 1.0, 2.0])
    step = one.step(as_history(table))
    observed = [
        v for scored in step.scored for v in scored.scores.observed if "jobs" in scored.detector
    ]
    assert observed == [5.0, 8.0, 9.0, 10.0]


def test_the_number_of_open_metrics_is_bounded_and_the_shared_come_first():
    one = engine(open_metrics_max=2)
    table = wide([("x", 0), ("y", 1)], a=[1.0, None], b=[1.0, 2.0], c=[3.0, 4.0], d=[None, 1.0])
    one.step(as_history(table))
    assert one.watched == ("b", "c")
    assert one.fleet.unknown == {"a": 1, "d": 1}


def test_no_open_metrics_but_those_of_the_vocabulary():
    one = engine(open_metrics_max=0)
    one.step(as_history(wide([("x", 0)], a=[1.0], **{"temperature.celsius": [3.0]})))
    assert one.watched == ("temperature.celsius",)
    assert one.fleet.unknown == {"a": 1}


def test_a_bound_below_nothing_is_refused():
    with pytest.raises(SettingsError, match="open_metrics_max must be 0 or more"):
        Engine(open_metrics_max=-1)


@pytest.mark.parametrize("most", [4, 200])
def test_watching_obeys_cut_order_checkpoint_and_replay(most):
    table = as_history(scrapes())
    rng = np.random.default_rng(0)

    def make() -> Engine:
        return engine(open_metrics_max=most)

    step = make().step(table)
    assert any(f.rule.startswith("level:late_comer") for f in step.findings) is (most == 200)
    check_cut(make, table, rng)
    check_order(make, table, rng)
    check_checkpoint(make, table, rng)
    check_replay(make, table)


def test_a_checkpoint_brings_the_rules_back_and_open_epochs_with_their_labels(tmp_path):
    table = scrapes()
    first = engine()
    first.step(table.slice(0, 300))
    checkpoint.save(tmp_path / "state.npz", *first.save())
    second = engine()
    second.restore(*checkpoint.load(tmp_path / "state.npz"))
    assert second.watched == first.watched
    assert names(second) == names(first)
    rest = as_history(table.slice(300))
    one, other = first.step(rest), second.step(rest)
    assert repr(one.records()) == repr(other.records())  # NaN is like NaN
    assert second.watched == first.watched
    assert 'node_network_up{device="eth1"}' in second.watched
