"""The checker that others are judged by: each kind of fault is seen, and nothing else is."""

from __future__ import annotations

from dataclasses import fields
from typing import NamedTuple

import numpy as np
import pytest

from aiops.placement.instance import CLOSED, Instance, write_instance
from benchmarks._placement_check import bound, broken, cost, main, violations
from tests.oracles import place as oracle
from tests.placement.instances import plain, random_instance


class Step(NamedTuple):
    workload: int
    source: int
    target: int
    wave: int = 0
    kind: str = "move"


def arrays(instance: Instance) -> dict[str, object]:
    return {field.name: getattr(instance, field.name) for field in fields(instance)}


def pair() -> dict[str, object]:
    """Two workloads of one home; a shared node for either, across an uplink; and shed."""
    instance = Instance(
        block=np.array([0, 2], np.int32),
        cost=np.array([[1, 5, 90], [2, CLOSED, 80]], np.int64),
        node=np.array([[-1, 0, -1]] * 2, np.int32),
        uplink=np.array([[-1, 0, -1]] * 2, np.int32),
        demand=np.array([[3, 1, 1, 4], [3, 1, 1, 1]], np.int64) * 1_000_000,
        room=np.array([[5, 9, 9]], np.int64) * 1_000_000,
        capacity=np.array([3, 1, 1, 4], np.int64) * 1_000_000,
        nodes=1,
    )
    return arrays(instance)


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ([1, 0], []),
        ([0, 2], []),
        ([0, 0], ["cpu of home 0: 6000000 of 5000000 are taken"]),
        ([2, 1], ["workload 1: option 1 is ruled out"]),
        ([3, -1], ["workload 0: there is no option 3", "workload 1: there is no option -1"]),
        ([0], ["1 choices for 2 workloads"]),
    ],
)
def test_each_fault_is_named(choice: list[int], says: list[str]) -> None:
    assert violations(pair(), choice) == says


@pytest.mark.parametrize(
    ("row", "name"), [(0, "cpu"), (1, "memory"), (2, "power"), (3, "bandwidth")]
)
def test_each_shared_row_counts(row: int, name: str) -> None:
    given = pair()
    given["capacity"] = given["capacity"].copy()
    given["capacity"][row] -= 1
    (one,) = violations(given, [1, 0])
    assert one.startswith(f"{name} of ")


@pytest.mark.parametrize("seed", range(60))
def test_it_agrees_with_the_other_checker(seed: int) -> None:
    instance = random_instance(seed, w=6, tight=2.0)
    rng = np.random.default_rng(seed)
    for _ in range(20):
        choice = rng.integers(0, instance.cost.shape[1], 6)
        found = violations(arrays(instance), choice)
        assert (found == []) == (oracle.violated(*plain(instance), choice.tolist()) == [])
        if not found:
            assert cost(arrays(instance), choice) == instance.total(choice)


@pytest.mark.parametrize("seed", range(30))
def test_any_prices_give_a_bound_and_the_right_ones_a_tight_one(seed: int) -> None:
    instance = random_instance(seed, w=5, tight=2.0)
    best = oracle.optimum(*plain(instance))
    rng = np.random.default_rng(seed)
    for _ in range(5):
        prices = rng.uniform(0.0, 900.0, 8) * (rng.random(8) < 0.5)
        prices[2:6:3] = 0.0
        assert bound(arrays(instance), prices) <= best + 1e-6
    # Where nothing shared is scarce, prices of nothing give the optimum itself.
    loose = random_instance(seed, w=5, tight=0.001)
    assert bound(arrays(loose), np.zeros(8)) == oracle.optimum(*plain(loose))


def test_prices_below_nothing_are_refused() -> None:
    for wrong in np.full(4, -1.0), np.full(4, np.nan), np.zeros(3):
        with pytest.raises(ValueError, match="4 prices"):
            bound(pair(), wrong)


@pytest.mark.parametrize(
    ("before", "steps", "says"),
    [
        ([2, 0], [Step(0, 2, 1, kind="start")], None),
        ([2, 0], [Step(0, 2, 1)], "leaves 2 as a move"),
        ([0, 2], [Step(0, 0, 2)], "goes to 2 as a move"),
        ([1, 0], [Step(0, 0, 1)], "is at 1, not at 0"),
        ([2, 2], [Step(1, 2, 1, kind="start")], "which is ruled out"),
        # The one is stopped at once; the other then has room.
        ([0, 2], [Step(0, 0, 2, kind="stop"), Step(1, 2, 0, kind="start")], None),
        # But who moves holds what it leaves until the wave is over.
        ([0, 2], [Step(0, 0, 1), Step(1, 2, 0, kind="start")], "cpu of home 0: 6000000"),
        ([0, 2], [Step(0, 0, 1), Step(1, 2, 0, 1, "start")], None),
        ([0, 2], [Step(0, 0, 1, 1), Step(1, 2, 0, 0, "start")], "out of order"),
        ([0, 0], [Step(1, 0, 2, kind="stop")], None),
        ([0, 2], [Step(0, 0, 1), Step(0, 1, 0)], "takes two steps"),
    ],
)
def test_what_is_wrong_on_the_way_is_seen(
    before: list[int], steps: list[Step], says: str | None
) -> None:
    found = broken(pair(), before, steps)
    assert (found == []) if says is None else any(says in one for one in found)


def test_a_file_is_checked(tmp_path, capsys) -> None:
    instance = random_instance(3, w=6)
    shed = np.full(6, instance.cost.shape[1] - 1, np.int32)
    good, bad = tmp_path / "good.npz", tmp_path / "bad.npz"
    least = int(np.ceil(bound(arrays(instance), np.zeros(8))))
    write_instance(good, instance, shed, np.zeros(8), least)
    write_instance(bad, instance, np.full(6, 1, np.int32), np.zeros(8), 0)
    assert main([str(good)]) == 0
    assert "0 violations" in capsys.readouterr().out
    assert violations(arrays(instance), np.full(6, 1)) != []
    lied = tmp_path / "lied.npz"
    write_instance(lied, instance, shed, np.zeros(8), least + 5)
    assert main([str(lied)]) == 1
    assert f"states a bound of {least + 5}" in capsys.readouterr().out
    assert main([str(good), str(bad)]) == 1
