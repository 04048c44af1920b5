"""Bursts of lines of one template: which template is named, and what chance gives."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from aiops.alerts.rule import AlertRule
from aiops.detectors.log_burst import BUCKETS, LogBurst
from aiops.detectors.protocol import Epoch, FleetShape
from aiops.engine.engine import Engine
from aiops.errors import SettingsError
from aiops.telemetry.batch import LogBatch, TelemetryBatch, group_bounds
from aiops.telemetry.templates import Templates
from aiops.testing import as_history
from tests.log_fleet import START, log_fleet

HOUR = 3600 * 10**9


def fires(detector, devices, days, rng, rates, burst=None):
    """Return how often each device begins to fire, its lines of each template being Poisson.

    `rates` [templates] an hour; `burst` is (device, day, template, lines).
    """
    memory = detector.init(FleetShape(devices))
    everyone = np.arange(devices, dtype=np.int32)
    cohort = np.zeros(devices, dtype=np.int32)
    firing, fired = np.zeros(devices, np.bool_), np.zeros(devices, np.int64)
    named = -1
    for hour in range(days * 24):
        lines = rng.poisson(rates, (devices, len(rates)))
        if burst is not None and hour == burst[1] * 24:
            lines[burst[0], burst[2]] += burst[3]
        device, template = np.nonzero(lines)
        many = np.repeat(np.arange(len(device)), lines[device, template])
        device, template = device[many], template[many] + 1
        ts = START + hour * HOUR + rng.integers(0, HOUR, len(device))
        order = np.lexsort((ts, device))
        device, ts, template = device[order].astype(np.int32), ts[order], template[order]
        n = len(device)
        text = pa.nulls(n, pa.large_string())
        row = np.arange(n, dtype=np.int32)
        logs = LogBatch(row, template.astype(np.int32), np.full(n, 9.0), text, Templates())
        batch = TelemetryBatch(
            device, cohort[device], ts, np.zeros(n, np.bool_), {}, group_bounds(device), logs
        )
        score = detector.update(memory, batch).score
        for k in np.flatnonzero(~np.isnan(score)).tolist():
            d = device[k]
            if score[k] >= 1.0 and not firing[d]:
                fired[d] += 1
                firing[d] = True
                named = int(detector.evidence(memory, int(d))["template"])
            elif score[k] < 0.8:
                firing[d] = False
        end = START + (hour + 1) * HOUR
        detector.close(memory, Epoch(end, end, end, devices, everyone, cohort, cohort))
    return fired, named


def test_lines_of_chance_stay_within_the_budget():
    rates = np.array([0.01, 0.05, 0.2, 0.2, 1.0, 1.0, 3.0, 3.0, 0.5, 0.02])
    budget, devices, days = 300.0, 30, 12
    fired, _ = fires(LogBurst(alarm_budget=budget), devices, days, np.random.default_rng(0), rates)
    allowed = devices * days / 30.44 * budget / 1000
    assert fired.sum() <= allowed + 3 * np.sqrt(allowed)


def test_the_template_that_bursts_is_named_beside_others_of_its_heap():
    rates = np.full(2 * BUCKETS, 0.3)  # two templates in each heap
    burst = (3, 6, 5, 120)
    fired, named = fires(LogBurst(), 10, 8, np.random.default_rng(1), rates, burst)
    assert fired.tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert named % BUCKETS == 6 % BUCKETS


def test_the_finding_quotes_the_line():
    engine = Engine([AlertRule(LogBurst(alarm_budget=30.0))], epoch_s=600)
    history = as_history(log_fleet(devices=8, days=7, fault="logins", cohorts=1))
    fired = [f for f in engine.step(history).findings if f.status == "firing"]
    assert [f.device_id for f in fired] == ["gw-1"]
    assert "log lines of a kind within" in fired[0].sentence
    assert "The line: “session opened for user <*>”" in fired[0].sentence


@pytest.mark.parametrize("wrong", [{"alarm_budget": 0.0}, {"clump": 0.0}, {"shape": -1.0}])
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        LogBurst(**wrong)
