"""Log lines of an epoch: in order, once each, counted and told apart."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from aiops.alerts.rule import AlertRule
from aiops.detectors.error_burst import ErrorBurst
from aiops.detectors.log_heartbeat import LogHeartbeat
from aiops.engine.engine import Engine
from tests.log_fleet import START, log_fleet

SECOND = 10**9


def frame(rows):
    """Return a frame of (device, seconds, severity, line)."""
    device, seconds, severity, message = zip(*rows, strict=True)
    ts = START + np.array(seconds) * SECOND
    return pa.table(
        {
            "device_id": device,
            "ts": pa.array(ts).cast(pa.timestamp("ns", tz="UTC")),
            "severity": severity,
            "message": message,
        }
    )


def engine():
    return Engine([AlertRule(ErrorBurst())], lateness_s=0)


def closing(seconds):
    """Rows by which the clock reaches a time: of two devices, as one alone may be wrong."""
    return [("x-1", seconds, 9.0, "tick"), ("x-2", seconds, 9.0, "tick")]


def counts_of(made, device):
    index = made.fleet.registry.find(device)
    return made.fleet.logs.counted[index].tolist()


def test_lines_are_counted_by_gravity():
    made = engine()
    rows = [("a", 1, 9.0, "i"), ("a", 2, 13.0, "w"), ("a", 2, 17.0, "e"), ("a", 3, 21.0, "f")]
    step = made.step(frame([*rows, *closing(90)]))
    assert counts_of(made, "a") == [4, 1, 2]
    (scored,) = step.scored
    batch = scored.batch
    assert batch.column("log.lines").tolist() == [1.0, 3.0, 4.0]
    assert batch.column("log.errors").tolist() == [0.0, 1.0, 2.0]
    assert batch.logs.row.tolist() == [0, 1, 1, 2]


def test_a_line_sent_twice_is_one_and_a_late_one_is_set_aside():
    made = engine()
    made.step(frame([("a", 10, 17.0, "e"), ("a", 10, 17.0, "e"), ("a", 10, 17.0, "g"),
                     *closing(90)]))  # fmt: skip
    assert counts_of(made, "a") == [2, 0, 2]
    assert made.fleet.counts["duplicate"] == 1
    made.step(frame([("a", 10, 17.0, "e"), ("a", 5, 17.0, "old"), ("a", 95, 17.0, "new"),
                     *closing(200)]))  # fmt: skip
    assert counts_of(made, "a") == [3, 0, 3]
    assert made.fleet.counts["late"] == 2


def test_open_lines_and_templates_are_in_the_checkpoint():
    rows = [("a", k, 17.0, f"disk {k} fails at 0x{k:x}") for k in range(50)]
    whole = engine()
    whole.step(frame([*rows, *closing(400)]))
    first = engine()
    first.step(frame(rows))
    assert counts_or_none(first) is None, "its epoch is still open"
    second = engine()
    second.restore(*first.save())
    second.step(frame(closing(400)))
    assert counts_of(second, "a") == counts_of(whole, "a") == [50, 0, 50]
    assert second.fleet.logs.templates.save() == whole.fleet.logs.templates.save()


def counts_or_none(made):
    return None if not len(made.fleet.logs.counted) else made.fleet.logs.counted.tolist()


def test_a_finding_quotes_the_line_that_it_is_about():
    made = Engine([AlertRule(LogHeartbeat(alarm_budget=30.0))], epoch_s=600)
    history = log_fleet(devices=3, days=5, fault="watchdog", day=3.0)
    fired = [f for f in made.step(history).findings if f.status == "firing"]
    assert [f.device_id for f in fired] == ["gw-1"]
    assert "The line: “watchdog: kicked, load <*>”, as in “watchdog: kicked" in fired[0].sentence
    assert all(isinstance(value, float) for value in fired[0].evidence.values())


@pytest.mark.parametrize("seed", range(3))
def test_templates_do_not_depend_on_the_cut(seed):
    rng = np.random.default_rng(seed)
    table = log_fleet(devices=4, days=1, seed=seed)
    whole = engine()
    whole.step(table)
    cut = engine()
    bounds = np.sort(rng.integers(0, len(table), 20)).tolist()
    for a, b in zip([0, *bounds], [*bounds, len(table)], strict=True):
        cut.step(table.slice(a, b - a))
    assert cut.fleet.logs.templates.save() == whole.fleet.logs.templates.save()
