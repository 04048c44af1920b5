"""Charts of placement say what the plan says."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from aiops import place
from aiops.errors import InputError
from aiops.fleet.inventory import Inventory
from aiops.placement.problem import pose
from aiops.placement.solver import solve
from tests.placement.fleets import (
    MINUTE,
    NODES,
    NOON,
    inventory,
    posed,
    random_conditions,
    random_inventory,
    workload,
)


@pytest.fixture(scope="module")
def walked():
    of, memory, plans = random_inventory(3, w=20, m=5, tight=2.0), None, []
    rng = np.random.default_rng(3)
    for step in range(4):
        problem = pose(random_conditions(of, rng), (), of, memory, NOON + 60 * step * MINUTE)
        plan, memory = solve(problem, memory)
        plans.append(plan)
    return plans


def test_a_breakdown_adds_up_to_what_was_compared(walked):
    plan = walked[-1]
    for name in plan.problem.topology.workload[:6]:
        figure = place.breakdown(plan, name)
        options = {option.place: option for option in plan.explain(name).options}
        total = dict.fromkeys(options, 0)
        for bar in figure.data:
            for where, value in zip(bar.y, bar.x, strict=True):
                total[where] += value
        assert total == {where: option.effective for where, option in options.items()}


def test_over_time_counts_who_is_where(walked):
    figure = place.over_time(walked)
    assert figure.data
    topology = walked[-1].problem.topology
    last = walked[-1].reached
    away = topology.away[np.arange(len(last)), last] | topology.shed[np.arange(len(last)), last]
    assert sum(trace.y[-1] for trace in figure.data) == np.count_nonzero(away)


def test_nobody_away_is_said_and_not_drawn():
    plan, _ = solve(posed(inventory()), None)
    figure = place.over_time([plan])
    assert not figure.data
    assert "all 1 stayed at home" in str(figure.to_dict())


def test_prices_are_those_of_the_plan():
    of = inventory(*(workload(f"w-{i}", value_per_hour=10_000.0 * (i + 1)) for i in range(30)))
    plan, _ = solve(posed(of, temperature_c={"gw-lyon": 95.0}), None)
    figure = place.prices(plan)
    shown = {value for trace in figure.data for value in trace.x}
    assert plan.scarce
    assert any(value == pytest.approx(plan.scarce[0].price) for value in shown) or any(
        value == pytest.approx(plan.scarce[0].rent) for value in shown
    )


def test_a_history_gives_its_plans():
    hot = [95.0 if 10 <= minute < 40 else 50.0 for minute in range(60)]
    frame = pa.table(
        {
            "device_id": ["gw-lyon"] * 60,
            "ts": pa.array([NOON + i * MINUTE for i in range(60)], pa.timestamp("ns", tz="UTC")),
            "temperature.celsius": hot,
        }
    )
    plans = place.plans(frame, inventory())
    (move,) = next(plan.moves for plan in plans if plan.moves)
    assert (move.workload, move.source) == ("api", "gw-lyon")
    assert plans[-1].ts >= plans[0].ts
    with pytest.raises(InputError, match="nothing to place"):
        place.plans(frame, Inventory(NODES, ()))
