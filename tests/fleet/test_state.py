"""Admission: epochs, lateness, duplicates, pinned sources, counters, memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest

from aiops.errors import CheckpointError, StateMismatch
from aiops.fleet import checkpoint
from aiops.fleet.inventory import Inventory, Node
from aiops.fleet.owner import FleetShape
from aiops.fleet.state import FleetState
from tests.fleet.frames import END, SECOND, START, frame

TEMPERATURE = "temperature.celsius"
WEAR = "storage.wear.used_ratio"
WRITTEN = "storage.bytes_written"


def fleet(**settings):
    return FleetState([TEMPERATURE, WEAR, WRITTEN], **settings)


def values(closed, name):
    """Give (device, seconds, value) of what closed epochs report of a metric."""
    return [
        (int(d), int(t) // SECOND - START, float(v))
        for one in closed
        for d, t, v in zip(one.batch.device, one.batch.ts, one.batch.column(name), strict=True)
        if not np.isnan(v)
    ]


def reasons(closed):
    return [
        (r["reason"], r["device_id"], r["metric"]) for c in closed for r in c.set_aside.to_pylist()
    ]


def test_rows_wait_until_their_epoch_closes():
    state = fleet()
    first = state.admit(frame(("a", 0, {TEMPERATURE: 20.0}), ("b", 5, {TEMPERATURE: 21.0})))
    assert first.epochs == ()
    # The epoch ends at 60 s and waits 120 s more; the second device vouches for the time.
    still = state.admit(frame(("a", 179, {}), ("b", 179, {})))
    assert still.epochs == ()
    closed = state.admit(frame(("a", 180, {}), ("b", 180, {}))).epochs
    assert [c.epoch.end // SECOND - START for c in closed] == [60]
    assert values(closed, TEMPERATURE) == [(0, 0, 20.0), (1, 5, 21.0)]


def test_a_late_row_is_historical_and_its_epoch_never_reopens():
    state = fleet()
    state.admit(frame(("a", 0, {}), ("b", 600, {}), ("a", 600, {})))
    closed = state.admit(frame(("a", 30, {TEMPERATURE: 9.0}), END)).epochs
    batch = next(c.batch for c in closed if values([c], TEMPERATURE))
    late = batch.column(TEMPERATURE) == 9.0
    assert batch.historical[late].all()
    assert not batch.historical[~late].any()


def test_late_is_judged_per_series():
    state = fleet()
    closed = state.admit(
        frame(
            ("a", 10, {TEMPERATURE: 20.0}, 10),
            ("a", 200, {TEMPERATURE: 21.0}, 200),
            ("a", 500, {}, 500),
            ("a", 150, {WEAR + "/nvme": 0.5, TEMPERATURE: 1.0}, 500),
            END,
        )
    ).epochs
    assert values(closed, WEAR) == [(0, 150, 0.5)]
    assert values(closed, TEMPERATURE) == [(0, 10, 20.0), (0, 200, 21.0)]
    assert reasons(closed) == [("late", "a", TEMPERATURE)]


def test_readings_of_one_instant_are_one_row_and_the_largest_counts():
    state = fleet()
    closed = state.admit(
        frame(
            ("a", 10, {TEMPERATURE: 20.0}),
            ("a", 10, {TEMPERATURE: 25.0}),
            ("a", 10, {WEAR + "/nvme": 0.1}),
            END,
        )
    ).epochs
    (only,) = closed
    assert len(only.batch) == 1
    assert values(closed, TEMPERATURE) == [(0, 10, 25.0)]
    assert values(closed, WEAR) == [(0, 10, 0.1)]
    assert reasons(closed) == [("duplicate", "a", TEMPERATURE)]


def test_a_source_is_pinned_at_first_sight():
    state = fleet()
    closed = state.admit(
        frame(
            ("a", 0, {WEAR + "/attr233_remaining": 0.30}),
            ("a", 60, {WEAR + "/devstat": 0.90, WEAR + "/attr233_remaining": 0.31}),
            ("a", 120, {WEAR + "/devstat": 0.91}),
            END,
        )
    ).epochs
    assert values(closed, WEAR) == [(0, 0, 0.30), (0, 60, 0.31)]
    assert values(closed, "storage.wear.step_ratio") == [(0, 0, 0.01), (0, 60, 0.01)]
    assert reasons(closed) == [("other_source", "a", WEAR)]


def test_the_best_source_is_taken_and_brings_its_step():
    closed = fleet().admit(frame(("a", 0, {WEAR + "/emmc": 0.2, WEAR + "/ufs": 0.4}), END)).epochs
    assert values(closed, WEAR) == [(0, 0, 0.2)]
    assert values(closed, "storage.wear.step_ratio") == [(0, 0, 0.1)]


def test_counters_continue_across_boot_and_wrap():
    wrap = 2.0**41
    state = fleet()
    closed = state.admit(
        frame(
            ("a", 0, {WRITTEN + "/diskstats": 1000.0}),
            ("a", 60, {WRITTEN + "/diskstats": 300.0}),
            ("b", 0, {WRITTEN + "/diskstats": wrap - 10}),
            ("b", 60, {WRITTEN + "/diskstats": 5.0}),
            ("c", 0, {WRITTEN + "/nvme": 50.0}),
            ("c", 60, {WRITTEN + "/nvme": 40.0}),
            END,
        )
    ).epochs
    assert values(closed, WRITTEN) == [
        (0, 0, 1000.0),
        (1, 0, wrap - 10),
        (2, 0, 50.0),
        (0, 60, 1300.0),
        (1, 60, wrap + 5),
    ]
    assert reasons(closed) == [("counter_backwards", "c", WRITTEN)]


def test_rows_far_beyond_the_end_of_a_history_are_refused():
    state = fleet()
    closed = state.admit(
        frame(("a", 0, {}), ("b", 30, {}), ("mad", 9 * 366 * 86_400, {TEMPERATURE: 1.0}), END)
    ).epochs
    assert values(closed, TEMPERATURE) == []
    assert ("ahead_of_clock", "mad", "") in reasons(closed)
    assert state.counts["ahead_of_clock"] == 1


def test_the_clock_of_an_epoch_needs_a_second_device_or_a_stamp():
    alone = fleet().admit(frame(("a", 0, {}), ("a", 600, {}), END)).epochs
    assert {c.epoch.clock for c in alone} == {0}
    together = fleet().admit(frame(("a", 0, {}), ("b", 40, {}), END)).epochs
    assert together[0].epoch.clock == START * SECOND
    stamped = fleet().admit(frame(("a", 0, {}, 0), ("a", 600, {}, 600))).epochs
    assert stamped[0].epoch.clock == stamped[0].epoch.end


def test_heartbeats_move_the_clock_when_everybody_is_silent():
    state = fleet()
    state.admit(frame(("a", 0, {}), ("b", 1, {})))
    # The log stamps a heartbeat; its own time is nobody's word.
    closed = state.admit(frame(*((None, 9e8, {}, t) for t in range(60, 601, 60)))).epochs
    assert [c.epoch.start // SECOND - START for c in closed] == [0, *range(60, 480, 60)]
    assert closed[-1].epoch.clock == closed[-1].epoch.end


def test_parts_belong_to_their_device_and_inherit_its_place():
    state = FleetState([TEMPERATURE], Inventory((Node("gw-1", site="lyon", cohort="m1"),)))
    state.registry._register(("gw-1", "nvme0", "S1"), None, 0)
    registry = state.registry
    assert registry.identities == [("gw-1", "", ""), ("gw-1", "nvme0", "S1")]
    assert registry.root.tolist() == [0, 0]
    assert [registry.site_of(i) for i in (0, 1)] == ["lyon", "lyon"]
    assert registry.cohort_of(1) == "m1"


class Counted(NamedTuple):
    rows: np.ndarray


@dataclass(frozen=True)
class Counter:
    """A smallest owner of memory."""

    start: float = 0.0
    name: str = "counter"
    version: int = 1

    def init(self, shape: FleetShape) -> Counted:
        return Counted(np.full(shape.capacity, self.start))


def test_memory_grows_and_survives_a_checkpoint(tmp_path):
    state = fleet()
    state.admit(frame(("a", 0, {TEMPERATURE: 1.0}), ("b", 500, {})))
    state.recall(Counter()).rows[0] = 7.0
    path = tmp_path / "state.npz"
    checkpoint.save(path, *state.save())
    again = fleet()
    again.restore(*checkpoint.load(path))
    assert again.recall(Counter()).rows[0] == 7.0
    again.admit(frame(*((f"n{i}", 0, {}) for i in range(200))))
    grown = again.recall(Counter()).rows
    assert grown[0] == 7.0
    assert len(grown) >= 202
    assert (grown[1:] == 0.0).all()
    with pytest.raises(StateMismatch, match="rebuild it"):
        again.recall(Counter(start=1.0))


def test_open_epochs_survive_a_checkpoint(tmp_path):
    rows = [
        ("a", 0, {TEMPERATURE: 1.0}),
        ("b", 10, {WEAR + "/nvme": 0.5}),
        ("a", 70, {TEMPERATURE: 2.0}),
        END,
    ]
    whole = fleet().admit(frame(*rows)).epochs
    state = fleet()
    state.admit(frame(*rows[:2]))
    checkpoint.save(tmp_path / "s", *state.save())
    state = fleet()
    state.restore(*checkpoint.load(tmp_path / "s"))
    rest = state.admit(frame(*rows[2:])).epochs
    for name in (TEMPERATURE, WEAR):
        assert values(whole, name) == values(rest, name)


def test_a_checkpoint_of_another_engine_is_refused():
    arrays, saved = fleet(epoch_s=60).save()
    with pytest.raises(CheckpointError, match="same settings"):
        fleet(epoch_s=30).restore(arrays, saved)


def test_no_checkpoint_is_none_and_a_torn_one_says_so(tmp_path):
    assert checkpoint.load(tmp_path / "none") is None
    path = tmp_path / "torn"
    checkpoint.save(path, *fleet().save())
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CheckpointError, match="remove it"):
        checkpoint.load(path)
