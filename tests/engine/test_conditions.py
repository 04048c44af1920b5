"""The last known state of nodes, as placement reads it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from aiops.engine.conditions import READS, ConditionOwner, conditions_of
from aiops.engine.engine import Engine
from aiops.fleet.inventory import Inventory, Node, Workload
from aiops.placement.conditions import PLAUSIBLE, Conditions
from aiops.placement.problem import pose
from aiops.placement.solver import solve
from aiops.telemetry.vocabulary import VOCABULARY

MINUTE = 60 * 1_000_000_000
NOON = 1_767_268_800 * 1_000_000_000
FLEET = Inventory(
    (
        Node("gw-1", "gateway", "lyon", cpu_cores=4, memory_gb=4),
        Node("gw-2", "gateway", "lyon", cpu_cores=4, memory_gb=4, rtt_ms=2),
        Node("cloud", "cloud", rtt_ms=40, cpu_cores=100, memory_gb=100),
    ),
    (
        Workload(
            "api",
            "gw-1",
            candidates=("gw-2", "cloud"),
            value_per_hour=1e5,
            latency_slo_ms=100.0,
            compute_ms=20.0,
        ),
    ),
)


def test_every_reading_is_a_metric_and_every_condition_has_one():
    assert set(READS.values()) <= set(VOCABULARY)
    told_otherwise = {"failure_risk", "age_s"}
    assert set(READS) - {"maintenance"} == set(PLAUSIBLE) - told_otherwise
    assert set(PLAUSIBLE) <= set(Conditions.__dataclass_fields__)


@pytest.mark.parametrize("name", sorted(set(READS) - {"maintenance"}))
def test_what_is_plausible_is_what_the_vocabulary_says(name):
    metric = VOCABULARY[READS[name]]
    assert PLAUSIBLE[name] == (metric.lower, metric.upper)


def told(**columns) -> Conditions:
    """Return the conditions after a quarter of an hour of the same readings of both gateways."""
    minutes = 15
    frame = {
        "device_id": ["gw-1", "gw-2"] * minutes,
        "ts": np.repeat(NOON + MINUTE * np.arange(minutes), 2),
    }
    frame |= {name: np.tile(values, minutes).astype(float) for name, values in columns.items()}
    engine = Engine(rules=(), inventory=FLEET)
    epoch = engine.step(pa.table(frame)).epochs[-1]
    last = engine.fleet.recall(ConditionOwner())
    return conditions_of(FLEET, engine.fleet.registry, last, epoch.size, epoch.clock)


def options(**columns):
    """Return home, neighbour and cloud as the explanation of a plan shows them."""
    plan, _ = solve(pose(told(**columns), (), FLEET, None, NOON), None)
    return plan.explain("api").options[:3]


def test_conditions_are_what_was_told_last():
    conditions = told(**{"net.bandwidth_mbit_s": [5.0, 6.0], "temperature.ambient_celsius": [9, 8]})
    np.testing.assert_array_equal(conditions.bandwidth_mbit_s, [5.0, 6.0, np.nan])
    np.testing.assert_array_equal(conditions.ambient_c, [9.0, 8.0, np.nan])
    assert np.isnan(conditions.jitter_ms).all()
    assert not conditions.silent.any()


def test_a_busy_node_is_slow():
    home, near, _ = options(**{"cpu.utilization_ratio": [0.9, 0.1]})
    assert "200.0 ms to compute" in home.blocked[0]
    assert near.blocked == ()


def test_jitter_of_the_uplink_counts_towards_the_cloud():
    _, near, cloud = options(**{"net.jitter_ms": [30.0, 30.0], "net.rtt_ms": [40.0, 40.0]})
    assert "RTT 40.0 ms, jitter 30.0 ms" in cloud.blocked[0]
    assert near.blocked == ()


def test_nothing_comes_to_a_node_that_is_worked_on():
    home, near, _ = options(**{"device.maintenance": [1.0, 1.0]})
    assert near.blocked == ("is cordoned: nothing is moved to it",)
    assert home.blocked == ()  # what is there stays
