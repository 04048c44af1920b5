"""Which metrics that nobody knows are taken in, and what tells their series apart."""

from __future__ import annotations

import json

import numpy as np
import pytest

from aiops.fleet.buffer import Merged
from aiops.fleet.open_metrics import OpenMetrics
from aiops.telemetry.normalised import OpenReadings


def epoch(*readings, rows=4):
    """Return an epoch of `rows` rows, two a device, with readings (row, name, labels, value)."""
    names = sorted({name for _, name, _, _ in readings})
    texts = list(dict.fromkeys(json.dumps(labels) for _, _, labels, _ in readings))
    opened = OpenReadings(
        np.array([row for row, _, _, _ in readings], np.int32),
        np.array([names.index(name) for _, name, _, _ in readings], np.int32),
        np.array([texts.index(json.dumps(labels)) for _, _, labels, _ in readings], np.int32),
        np.array([value for _, _, _, value in readings], float),
        names,
        texts,
    )
    device = np.arange(rows, dtype=np.int32) // 2
    ts = np.arange(rows, dtype=np.int64)
    return Merged(device, ts, np.zeros(rows, np.bool_), {}, {}, (opened,))


def columns(opened):
    return {name: column.tolist() for name, column in opened.columns.items()}


NAN = pytest.approx(float("nan"), nan_ok=True)


def test_labels_that_never_tell_apart_stay_out_of_the_name():
    metrics = OpenMetrics(most=10)
    opened = metrics.take(epoch((0, "up", {"pod": "a"}, 1.0), (2, "up", {"pod": "b"}, 2.0)))
    assert columns(opened) == {"up": [1.0, NAN, 2.0, NAN]}
    opened = metrics.take(epoch((0, "up", {"pod": "c"}, 3.0)))
    assert columns(opened) == {"up": [3.0, NAN, NAN, NAN]}


def test_labels_that_do_are_in_the_name_from_then_on():
    metrics = OpenMetrics(most=10)
    both = epoch(
        (0, "busy", {"cpu": "0", "mode": "idle", "pod": "a"}, 1.0),
        (0, "busy", {"cpu": "1", "mode": "idle", "pod": "a"}, 2.0),
        (2, "busy", {"cpu": "0", "mode": "user", "pod": "b"}, 3.0),
    )
    opened = metrics.take(both)
    expected = {'busy{cpu="0"}': [1.0, NAN, 3.0, NAN], 'busy{cpu="1"}': [2.0, NAN, NAN, NAN]}
    assert columns(opened) == expected
    assert opened.renamed == ()
    opened = metrics.take(epoch((1, "busy", {"cpu": "1", "mode": "user"}, 4.0)))
    assert columns(opened) == {'busy{cpu="1"}': [NAN, 4.0, NAN, NAN]}
    opened = metrics.take(
        epoch(
            (0, "busy", {"cpu": "0", "mode": "idle"}, 5.0),
            (0, "busy", {"cpu": "0", "mode": "user"}, 6.0),
        )
    )
    assert set(opened.columns) == {'busy{cpu="0",mode="idle"}', 'busy{cpu="0",mode="user"}'}
    assert opened.renamed == ('busy{cpu="0"}', 'busy{cpu="1"}')


def test_two_readings_of_one_series_and_instant_are_duplicates():
    metrics = OpenMetrics(most=10)
    opened = metrics.take(epoch((0, "up", {"replica": "a"}, 1.0), (0, "up", {"replica": "b"}, 2.0)))
    assert columns(opened) == {"up": [2.0, NAN, NAN, NAN]}
    device, ts, value = opened.duplicate["up"]
    assert (device.tolist(), ts.tolist(), value.tolist()) == ([0], [0], [2.0])


def test_the_room_goes_to_what_most_devices_show():
    metrics = OpenMetrics(most=2)
    opened = metrics.take(
        epoch(
            *((row, "a", {}, 1.0) for row in (0, 1)),
            *((row, "b", {}, 1.0) for row in (0, 2)),
            *((row, "c", {}, 1.0) for row in (1, 3)),
            (3, "d", {}, 1.0),
        )
    )
    assert set(opened.columns) == {"b", "c"}
    assert opened.unknown == {"a": 2, "d": 1}
    opened = metrics.take(epoch((0, "a", {}, 1.0), (0, "b", {}, 1.0)))
    assert (set(opened.columns), opened.unknown) == ({"b"}, {"a": 1})


def test_a_name_per_device_does_not_take_the_room_of_a_column_each():
    metrics = OpenMetrics(most=3)
    told = [(0, "x", {"id": str(i)}, float(i)) for i in range(5000)]
    opened = metrics.take(epoch(*told, (1, "y", {}, 1.0)))
    assert len(opened.columns) == 3
    assert sum(opened.unknown.values()) == 5001 - 3


def test_what_is_asked_for_comes_in_whatever_the_room():
    metrics = OpenMetrics(['up{rail="5V"}', "x"], most=0)
    opened = metrics.take(
        epoch((0, "up", {"rail": "5V"}, 5.0), (0, "up", {"rail": "3V"}, 3.0), (0, "y", {}, 1.0))
    )
    assert columns(opened) == {'up{rail="5V"}': [5.0, NAN, NAN, NAN]}
    assert opened.unknown == {"up": 1, "y": 1}


def test_names_that_mean_something_else_and_names_that_cannot_be_are_counted():
    metrics = OpenMetrics(most=9, reserved=frozenset({"storage.wear.step_ratio"}))
    opened = metrics.take(
        epoch(
            (0, "storage.wear.step_ratio", {}, 1.0),
            (0, "z", {"a": "\x00"}, 1.0),
            (0, "z", {"a": "b"}, 2.0),
        )
    )
    assert set(opened.columns) == {'z{a="b"}'}
    assert opened.unknown == {"storage.wear.step_ratio": 1, "z": 1}


def test_what_is_saved_is_what_is_restored():
    metrics = OpenMetrics(most=3)
    metrics.take(epoch((0, "up", {"k": "1"}, 1.0), (0, "up", {"k": "2"}, 1.0)))
    again = OpenMetrics(most=3)
    again.restore(json.loads(json.dumps(metrics.save())))
    one = epoch((0, "up", {"k": "3"}, 1.0), (0, "up", {"k": "4"}, 1.0))
    assert columns(again.take(one)) == {'up{k="3"}': [1.0, NAN, NAN, NAN]}
    assert columns(metrics.take(one)) == {'up{k="3"}': [1.0, NAN, NAN, NAN]}
    assert again.save() == metrics.save()
