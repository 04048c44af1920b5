"""Log lines that stop: what is told, and how often a line that is only lost is taken for one."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from aiops.alerts.rule import AlertRule
from aiops.detectors.log_heartbeat import LogHeartbeat
from aiops.engine.engine import Engine
from aiops.errors import SettingsError
from aiops.testing import as_history
from tests.log_fleet import START, log_fleet

DAY_S = 86_400


def regular(devices, days, loss, seed=0):
    """Return logs with three regular lines of different rhythm, of which some are lost."""
    rng = np.random.default_rng(seed)
    kinds = (
        ("watchdog: kicked", 1800, 0.05),
        ("backup done", 86_400, 0.02),
        ("time set", 7200, 0.3),
    )
    rows = []
    for d in range(devices):
        for line, every, jitter in kinds:
            times = np.arange(rng.uniform(0, every), days * DAY_S, every)
            times = times + rng.normal(0, jitter * every, len(times))
            rows += [(t, f"gw-{d}", line) for t in times[rng.random(len(times)) >= loss] if t > 0]
        chance = np.cumsum(rng.exponential(2400, days * 36))
        rows += [(t, f"gw-{d}", "user logged in") for t in chance if t < days * DAY_S]
    rows.sort()
    seconds, device, message = zip(*rows, strict=True)
    ts = START + (np.array(seconds) * 1e9).astype(np.int64)
    return as_history(
        pa.table(
            {
                "device_id": device,
                "ts": pa.array(ts).cast(pa.timestamp("ns", tz="UTC")),
                "message": message,
            }
        )
    )


@pytest.mark.parametrize("loss", [0.0, 0.003, 0.02])
def test_lines_that_are_only_lost_stay_within_the_budget(loss):
    budget, devices, days = 100.0, 40, 12
    engine = Engine([AlertRule(LogHeartbeat(alarm_budget=budget))], epoch_s=3600)
    found = engine.step(regular(devices, days, loss)).findings
    allowed = devices * days / 30.44 * budget / 1000
    assert sum(f.status == "firing" for f in found) <= allowed + 3 * np.sqrt(allowed)


def test_a_line_that_stops_is_told_within_hours_and_over_when_it_returns():
    engine = Engine([AlertRule(LogHeartbeat())], epoch_s=600)
    table = as_history(log_fleet(devices=3, days=6, fault="watchdog", day=4.0))
    back = log_fleet(devices=3, days=7, fault="watchdog", day=9.0)
    cut = START + 6 * DAY_S * 10**9
    later = back.filter(np.array(back["ts"].cast(pa.int64())) >= cut)
    found = [*engine.step(table).findings, *engine.step(later).findings]
    assert [(f.device_id, f.status) for f in found] == [("gw-1", "firing"), ("gw-1", "resolved")]
    told_h = (found[0].ts - START) / 3600e9
    assert 96.0 < told_h < 98.0
    assert "comes every 10 min has not come for" in found[0].sentence
    assert found[0].evidence["typical_interval_s"] == pytest.approx(600.0)


def test_a_device_that_says_nothing_is_not_judged_here():
    engine = Engine([AlertRule(LogHeartbeat())], epoch_s=600)
    table = log_fleet(devices=3, days=6)
    ts = np.array(table["ts"].cast(pa.int64()))
    gone = (np.array(table["device_id"]) == "gw-1") & (ts > START + 4 * DAY_S * 10**9)
    assert not engine.step(as_history(table.filter(~gone))).findings


@pytest.mark.parametrize(
    "wrong", [{"alarm_budget": 0.0}, {"memory_beats": 3}, {"forget_days": np.nan}]
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        LogHeartbeat(**wrong)
