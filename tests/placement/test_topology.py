"""The inventory as arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aiops.errors import SettingsError
from aiops.fleet.inventory import Inventory, Node, Site
from aiops.placement.topology import PlacementSettings, money, move_cost, resolve
from tests.placement.fleets import NODES, inventory, posed, workload


def test_options_are_home_candidates_padding_and_shed():
    of = inventory(
        workload("a", candidates=("cloud", "gw-near")),
        workload("c", home="gw-oslo", candidates=("gw-oslo", "cloud")),
        workload("b", candidates=()),
    )
    topology = resolve(of)
    names = [*topology.node, "-"]
    assert [[names[at] for at in row] for row in topology.option] == [
        ["gw-lyon", "cloud", "gw-near", "-"],
        ["gw-lyon", "-", "-", "-"],
        ["gw-oslo", "cloud", "-", "-"],
    ]
    assert topology.workload == ("a", "b", "c")  # by home, by id within it
    assert topology.shed.tolist() == [[False, False, False, True]] * 3
    assert topology.absent.sum(axis=1).tolist() == [0, 2, 1]
    assert topology.away.sum(axis=1).tolist() == [2, 0, 1]


def test_remote_is_what_lies_beyond_the_uplink():
    of = inventory(workload(candidates=("gw-near", "gw-oslo", "cloud")))
    assert resolve(of).remote.tolist() == [[False, False, True, True, False]]


def test_a_farther_region_is_a_detour():
    far = Node("far", "cloud", rtt_ms=130)
    of = inventory(workload(candidates=("far", "cloud")), nodes=(*NODES, far))
    assert posed(of).options.rtt_ms.tolist() == [[0.0, 130.0, 40.0, 0.0]]
    told = posed(of, rtt_ms={"gw-lyon": 55.0})
    assert told.options.rtt_ms.tolist() == [[0.0, 55.0 + 90.0, 55.0, 0.0]]


@pytest.mark.parametrize(
    ("of", "says"),
    [
        (inventory(workload(home="gw-rome")), "gw-rome"),
        (inventory(workload(candidates=("gw-rome",))), "gw-rome"),
        (inventory(workload("a"), workload("a")), "more than one workload"),
        (Inventory((*NODES, NODES[0])), "more than one node"),
        (inventory(workload(latency_slo_ms=0.0)), "latency_slo_ms of 'api' is 0.0"),
        (inventory(workload(value_per_hour=float("nan"))), "value_per_hour of 'api' is nan"),
        (inventory(workload(cpu_cores=-0.1)), "cpu_cores of 'api'"),
        (inventory(nodes=(replace(NODES[0], memory_gb=float("inf")), *NODES[1:])), "memory_gb"),
        (inventory(nodes=(replace(NODES[0], speed=0.0), *NODES[1:])), "speed of 'gw-lyon' is 0.0"),
        (inventory(nodes=(replace(NODES[0], battery_wh=-1.0), *NODES[1:])), "0 or more"),
        (inventory(nodes=(replace(NODES[0], ambient_c=float("nan")), *NODES[1:])), "ambient_c"),
        (inventory(workload(cpu_cores=1e9)), "at most 1e\\+06"),
        (Inventory(sites=(Site("x", uplink_mbit_s=-1.0),)), "uplink_mbit_s of 'x'"),
        (Inventory(sites=(Site("x", price_per_gb=-1.0),)), "price_per_gb of 'x'"),
        (Inventory(sites=(Site("x"), Site("x"))), "more than one site"),
    ],
)
def test_a_contradiction_is_refused(of, says):
    with pytest.raises(SettingsError, match=says):
        resolve(of)


def test_an_empty_inventory_has_a_shape():
    topology = resolve(Inventory())
    assert topology.option.shape == (0, 1)
    assert topology.node_cpu.shape == (0,)


def test_state_that_crosses_an_uplink_is_paid_for():
    of = inventory(workload(candidates=("gw-near", "gw-oslo", "cloud"), state_gb=0.1))
    settings = PlacementSettings(
        fixed_cost=7, downtime_s=36, transfer_mbit_s=8, egress_per_gb=50_000
    )
    # 0.1 GB at 8 Mbit/s is 100 s; with 36 s of downtime 136 s of a workload worth 10,000 an hour.
    idle = 7 + 10_000 * 136 / 3600
    at_home = move_cost(resolve(of), np.array([0], np.int32), settings)
    assert at_home.tolist() == [[0, round(idle), round(idle + 5_000), round(idle + 5_000), 7]]
    in_cloud = move_cost(resolve(of), np.array([3], np.int32), settings)
    assert in_cloud.tolist() == [[round(idle + 5_000)] * 3 + [0, 7]]


def test_a_metered_link_is_paid_for_by_state_too():
    of = replace(
        inventory(workload(candidates=("cloud",), state_gb=0.1)),
        sites=(Site("lyon", price_per_gb=10_000),),
    )
    metered = move_cost(resolve(of), np.array([0], np.int32), PlacementSettings())
    free = move_cost(resolve(replace(of, sites=())), np.array([0], np.int32), PlacementSettings())
    assert (metered - free).tolist() == [[0, 1_000, 0]]


def test_power_is_that_of_the_cores_unless_it_is_declared():
    of = inventory(workload("a", cpu_cores=0.5), workload("b", power_w=0.0))
    assert resolve(of).power.tolist() == [2_500_000, 0]


@pytest.mark.parametrize(
    "wrong",
    [{"horizon_s": 0}, {"fixed_cost": 0}, {"transfer_mbit_s": 0}, {"horizon_s": float("nan")}],
)
def test_settings_out_of_range_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(SettingsError, match=name):
        PlacementSettings(**wrong)


def test_money_is_whole_and_bounded():
    assert money(np.array([0.4, 0.6, -3.0, 1e30])).tolist() == [0, 1, 0, 2**40]
