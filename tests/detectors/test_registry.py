"""What every entry of `DETECTORS` keeps to, on rows in which anything may be missing."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from aiops.detectors import DETECTORS
from aiops.detectors.protocol import Detector, Epoch, FleetShape
from aiops.fleet.owner import settings_hash
from aiops.telemetry.batch import LogBatch, TelemetryBatch, group_bounds
from aiops.telemetry.templates import Templates

START = 1_760_000_000 * 10**9
HOUR_NS = 3600 * 10**9
DEVICES = 5
CAPACITY = 8

everyone = pytest.mark.parametrize("name", DETECTORS)


def stream(seed=0, n=400):
    """Draw rows of a few devices, grouped, with times and columns of which a third is missing."""
    rng = np.random.default_rng(seed)
    device = np.sort(rng.integers(0, DEVICES, n)).astype(np.int32)
    ts = np.empty(n, np.int64)
    for d in range(DEVICES):
        mine = device == d
        ts[mine] = START + np.cumsum(rng.integers(1, 40, mine.sum())) * HOUR_NS
    hours = (ts - START) / HOUR_NS
    boot = np.floor(hours / 170.0)
    columns = {
        "storage.wear.used_ratio": np.floor(hours / 40.0) / 100.0,
        "storage.wear.step_ratio": np.full(n, 0.01),
        "storage.power_on_time": 1e7 + hours * 3600.0,
        "storage.power_cycles": 10.0 + boot,
        "device.boot_id": boot * 7.0,
        "device.boot_time": START * 1e-9 + boot * 170.0 * 3600.0,
        "device.uptime": (hours - boot * 170.0) * 3600.0,
        "device.boot_count": 3.0 + boot,
        "device.reboot_planned": (boot % 2.0),
        "temperature.celsius": 30.0 + hours % 24.0,
        "memory.utilization_ratio": 0.3 + 0.0003 * hours + 0.03 * np.sin(hours / 9.0),
        "storage.spare_ratio": 1.0 - np.floor(hours / 20.0) / 100.0,
        "storage.spare_threshold_ratio": np.full(n, 0.1),
        "storage.critical_warning": np.zeros(n),
        "storage.pre_eol": np.ones(n),
        "storage.media_errors": np.floor(hours / 300.0),
        "storage.reallocated": 5.0 + np.floor(hours / 90.0),
        "cpu.utilization_ratio": 0.2 + hours % 24.0 / 50.0 + hours % 7.0 / 100.0,
    }
    for column in columns.values():
        column[rng.random(n) < 0.33] = np.nan
    last = np.append(device[1:] != device[:-1], True)
    columns["log.lines"] = np.arange(1.0, n + 1.0)
    columns["log.errors"] = np.cumsum(np.where(last, 90.0, rng.random(n) < 0.2))
    template = np.where(last, 5, np.where(hours < 200.0, 4, rng.integers(1, 4, n)))
    logs = LogBatch(
        row=np.arange(n, dtype=np.int32),
        template=template.astype(np.int32),
        severity=np.where(last, 17.0, 9.0),
        text=pa.array(["a line"] * n, pa.large_string()),
        templates=Templates(),
    )
    return TelemetryBatch(
        device=device,
        cohort=np.zeros(n, np.int32),
        ts=ts,
        historical=np.zeros(n, np.bool_),
        columns=columns,
        indptr=group_bounds(device),
        logs=logs,
    )


def run(detector, pieces, capacity=CAPACITY, later=()):
    """Show a detector pieces of an epoch, and close it; then show it `later`, in the next."""
    memory = detector.init(FleetShape(capacity))
    scores = [detector.update(memory, piece.reporting(detector.reads)) for piece in pieces]
    root = np.arange(DEVICES, dtype=np.int32)
    clock = START + 10_000 * HOUR_NS
    closed = detector.close(memory, Epoch(clock, clock, clock, DEVICES, root, root, root))
    scores += [detector.update(memory, piece.reporting(detector.reads)) for piece in later]
    return memory, scores, closed


def by_time(batch, pieces):
    """Cut a batch at moments, as epochs do."""
    edges = np.quantile(batch.ts, np.linspace(0.0, 1.0, pieces + 1))[1:-1]
    place = np.searchsorted(edges, batch.ts)
    return [batch.take(place == p) for p in range(pieces)]


@everyone
def test_is_a_detector_under_its_own_name(name):
    detector = DETECTORS[name]()
    assert isinstance(detector, Detector)
    assert detector.name.partition(":")[0] == name
    assert detector == DETECTORS[name]()
    assert hash(detector) == hash(DETECTORS[name]())


@everyone
def test_the_budget_moves_the_line_and_not_the_memory(name):
    detector, eager = DETECTORS[name](), DETECTORS[name](alarm_budget=1000.0)
    assert settings_hash(detector) == settings_hash(eager)
    lines = {"allowed_s", "silent_s", "site_silent_ratio"}
    early, late = by_time(stream(), 2)
    memory, scores, closed = run(detector, [early], later=[late])
    other, more, more_closed = run(eager, [early], later=[late])
    for field, a, b in zip(memory._fields, memory, other, strict=True):
        if field not in lines:
            np.testing.assert_array_equal(a, b, err_msg=field)
    a = np.concatenate([*(s.score for s in scores), [] if closed is None else closed.score])
    b = np.concatenate([*(s.score for s in more), [] if more_closed is None else more_closed.score])
    assert (b >= a)[~np.isnan(a)].all()
    assert (b > a).any()


@everyone
def test_memory_has_the_device_axis_first_and_strangers_untouched(name):
    detector = DETECTORS[name]()
    empty = detector.init(FleetShape(CAPACITY))
    memory, _, _ = run(detector, [stream()])
    changed = 0
    for field, before, after in zip(memory._fields, empty, memory, strict=True):
        assert after.shape[0] == CAPACITY, field
        np.testing.assert_array_equal(before[DEVICES:], after[DEVICES:], err_msg=field)
        changed += not np.array_equal(before[:DEVICES], after[:DEVICES], equal_nan=True)
    assert changed > len(memory) / 2


@everyone
def test_any_cut_gives_the_same_bits(name):
    detector = DETECTORS[name]()
    batch = stream()
    memory, _, closed = run(detector, [batch])
    cut, _, cut_closed = run(detector, by_time(batch, 9))
    for field, a, b in zip(memory._fields, memory, cut, strict=True):
        assert a.tobytes() == b.tobytes(), field
    if closed is not None:
        assert [a.tobytes() for a in closed] == [b.tobytes() for b in cut_closed]


@everyone
def test_room_for_more_changes_nobody(name):
    detector = DETECTORS[name]()
    memory, scores, _ = run(detector, [stream()])
    grown, grown_scores, _ = run(detector, [stream()], capacity=100)
    for field, a, b in zip(memory._fields, memory, grown, strict=True):
        assert a.tobytes() == b[:CAPACITY].tobytes(), field
    assert [a.tobytes() for a in scores[0]] == [b.tobytes() for b in grown_scores[0]]


@everyone
def test_a_batch_is_not_written_to(name):
    batch, twin = stream(), stream()
    run(DETECTORS[name](), [batch])
    for column, same in zip(batch.columns.values(), twin.columns.values(), strict=True):
        np.testing.assert_array_equal(column, same)
    np.testing.assert_array_equal(batch.ts, twin.ts)


@everyone
def test_rows_seen_before_leave_no_trace(name):
    detector = DETECTORS[name]()
    batch = stream()
    memory, _, _ = run(detector, [batch])
    again, scores, _ = run(detector, [batch, batch])
    for field, a, b in zip(memory._fields, memory, again, strict=True):
        assert a.tobytes() == b.tobytes(), field
    assert np.isnan(scores[1].score).all()


@everyone
def test_facts_are_plain_numbers_and_a_sentence(name):
    detector = DETECTORS[name]()
    memory, _, _ = run(detector, [stream()])
    for device in range(CAPACITY):
        evidence = detector.evidence(memory, device)
        assert all(type(value) is float for value in evidence.values()), evidence
        json.dumps(evidence)
        sentence = detector.sentence(evidence, None)
        assert sentence.endswith(".")
        assert "nan" not in sentence
    forecast = detector.forecast(memory, np.arange(CAPACITY, dtype=np.int32))
    if forecast is not None:
        assert forecast.quantile.shape == (CAPACITY, len(forecast.probability))
        assert np.isnan(forecast.quantile[DEVICES:]).all()
        assert (np.diff(forecast.quantile[:DEVICES], axis=1) >= 0.0).all()
