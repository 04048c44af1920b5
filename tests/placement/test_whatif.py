"""What if: only what the overlay touches is judged anew, and the answer is that of a new plan."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from aiops.errors import InputError
from aiops.placement.problem import pose
from aiops.placement.solver import solve
from aiops.placement.whatif import Overlay, overlaid, what_if
from benchmarks._placement_check import violations
from tests.placement.fleets import (
    NOON,
    conditions,
    inventory,
    posed,
    random_conditions,
    random_inventory,
    workload,
)


def test_a_gateway_that_is_gone_is_left():
    of = inventory(*(workload(f"w-{i}", home="gw-near", candidates=("cloud",)) for i in range(2)))
    plan, _ = solve(posed(of), None)
    assert plan.where("w-0") == "gw-near"
    then = what_if(plan, Overlay(kill=("gw-near",)))
    assert {(name, old) for name, old, _ in then.moved} == {("w-0", "gw-near"), ("w-1", "gw-near")}
    assert "gw-near" not in {new for _, _, new in then.moved}
    assert then.cost == then.after.cost - plan.cost > 0
    assert then.after.gap <= 1e-3
    assert then.to_record()["moved"][0]["from"] == "gw-near"
    assert "gw-near: is gone." in then.after.explain("w-0").text()


def test_a_site_can_be_warmer_and_a_cloud_dearer():
    of = inventory(workload(candidates=("cloud",)))
    plan, _ = solve(posed(of, temperature_c={"gw-lyon": 60.0}), None)
    assert what_if(plan, Overlay(heat={"lyon": 5.0})).moved == []
    assert what_if(plan, Overlay(heat={"lyon": 30.0})).moved == [("api", "gw-lyon", "cloud")]
    both = Overlay.of({"heat": {"lyon": 30}, "price": {"cloud": "+900%"}})
    hot, dear = what_if(plan, Overlay(heat={"lyon": 30.0})), what_if(plan, both)
    assert dear.after.cost > hot.after.cost
    assert what_if(plan, Overlay(cordon=("cloud",), heat={"lyon": 30.0})).moved == [
        ("api", "gw-lyon", "shed")
    ]


@pytest.mark.parametrize("seed", range(6))
def test_it_is_the_problem_that_would_be_posed(seed):
    of = random_inventory(seed, w=30, m=6)
    state = random_conditions(of, np.random.default_rng(seed))
    problem = pose(state, (), of, None, NOON)
    second, third = np.arange(len(of.nodes)) == 2, np.arange(len(of.nodes)) == 3
    air = np.where(np.isnan(state.ambient_c), 25.0, state.ambient_c)
    warmer = replace(
        state,
        temperature_c=np.where(second, state.temperature_c + 7.0, state.temperature_c),
        ambient_c=np.where(second, air + 7.0, state.ambient_c),
        rtt_ms=np.where(third, state.rtt_ms * 2.0, state.rtt_ms),
    )
    overlay = Overlay(heat={"gw-2": 7.0}, rtt={"gw-3": 2.0})
    farther = tuple(
        replace(node, rtt_ms=2.0 * node.rtt_ms) if node.id == "gw-3" else node for node in of.nodes
    )
    posed_anew = pose(warmer, (), replace(of, nodes=farther), None, NOON)
    ours = overlaid(problem, overlay)
    np.testing.assert_array_equal(ours.mask_reason, posed_anew.mask_reason)
    np.testing.assert_array_equal(ours.cost, posed_anew.cost)
    np.testing.assert_array_equal(ours.node_power, posed_anew.node_power)
    plan, _ = solve(problem, None)
    then = what_if(plan, overlay).after
    instance = then.problem.instance
    arrays = {one.name: getattr(instance, one.name) for one in fields(instance)}
    assert violations(arrays, then.choice) == []
    assert then.bound <= then.cost


def test_what_is_not_known_cannot_be_another():
    plan, _ = solve(posed(inventory()), None)
    with pytest.raises(InputError, match="no temperature of lyon is known"):
        what_if(plan, Overlay(heat={"lyon": 5.0}))
    assert what_if(plan, Overlay(rtt={"gw-near": 1.0})).same
    assert not what_if(plan, Overlay(kill=("gw-near",))).same


def test_an_overlay_that_says_something_else_is_refused():
    plan, _ = solve(posed(inventory()), None)
    with pytest.raises(InputError, match="no node or site is called 'moon'; there are gw-lyon"):
        what_if(plan, Overlay(kill=("moon",)))
    for given, said in (
        ({"explode": ["gw-1"]}, "an overlay has cordon, heat, kill, price, rtt"),
        ({"kill": "gw-1"}, "give a list of names"),
        ({"heat": 5}, "give a number for each name"),
        ({"heat": {"lyon": "warm"}}, "give degrees, such as"),
        ({"heat": {"lyon": "5%"}}, "give degrees, such as"),
        ({"price": {"cloud": float("nan")}}, "give a factor such as"),
        ({"price": {"cloud": -1}}, "give a factor such as"),
        ({"price": {"cloud": "-150%"}}, "give a factor such as"),
        ({"rtt": {"cloud": "inf%"}}, "give a factor such as"),
        ({"rtt": {"cloud": True}}, "give a factor such as"),
        ({"kill": 5}, "give a list of names"),
    ):
        with pytest.raises(InputError, match=said):
            Overlay.of(given)
    assert Overlay.of({"price": {"cloud": "+10%"}}).price == {"cloud": pytest.approx(1.1)}


def test_nothing_different_is_the_same_plan():
    of = random_inventory(3, w=30, m=6)
    plan, _ = solve(pose(conditions(of), (), of, None, NOON), None)
    same = what_if(plan, Overlay())
    assert (same.moved, same.cost) == ([], 0)
