"""What devices with findings have in common is blamed, and chance is not."""

from __future__ import annotations

import numpy as np
import pytest

from aiops.alerts.cause import Blame
from aiops.alerts.incident import Grouping
from aiops.errors import SettingsError
from aiops.fleet.attributes import Attributes, attributes_of
from aiops.fleet.inventory import Inventory, Node
from aiops.fleet.registry import Registry
from tests.alerts.test_incident import finding
from tests.oracles.cause_of_storm import best

MINUTE = 60 * 10**9


def fleet(columns, names=None):
    """Give the attributes of devices ``gw-0`` on, by columns of texts (None: not known)."""
    value = [sorted({v for v in column if v is not None}) for column in columns.values()]
    code = [
        [-1 if v is None else told.index(v) for v in column]
        for column, told in zip(columns.values(), value, strict=True)
    ]
    n = len(code[0])
    place = {f"gw-{k}": k for k in range(n)}
    return Attributes(tuple(columns), np.array(code, np.int32), tuple(value), place)


def drawn(rng, n):
    return {
        "firmware": [f"f{k}" for k in rng.integers(4, size=n)],
        "model": [None if k == 3 else f"m{k}" for k in rng.integers(4, size=n)],
        "site": [f"s{k}" for k in rng.integers(8, size=n)],
    }


@pytest.mark.parametrize("seed", range(12))
def test_p_is_that_of_its_twin_and_nothing_that_passes_is_overlooked(seed):
    rng = np.random.default_rng(seed)
    columns = drawn(rng, 60)
    hit = np.array([f == "f1" for f in columns["firmware"]]) & (rng.random(60) < 0.8)
    affected = hit | (rng.random(60) < 0.05)
    devices = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    expected = best(devices, set(np.flatnonzero(affected).tolist()))
    blame = Blame(p_most=0.01, lift_fewest=1.0)
    found = blame.causes(fleet(columns), affected)
    if not found:
        assert min(expected.values()) > 0.01
        return
    key = tuple(zip(found[0].attribute, found[0].value, strict=True))
    assert found[0].p == pytest.approx(expected[key], rel=1e-6)


def test_three_causes_are_three_and_no_device_is_in_two():
    rng = np.random.default_rng(1)
    columns = drawn(rng, 3000)
    array = {name: np.array(column, dtype=object) for name, column in columns.items()}
    affected = (array["firmware"] == "f1") & (rng.random(3000) < 0.6)
    affected |= (array["site"] == "s2") & (rng.random(3000) < 0.7)
    affected |= (array["firmware"] == "f3") & (array["model"] == "m2") & (rng.random(3000) < 0.9)
    affected |= rng.random(3000) < 0.003
    found = Blame().causes(fleet(columns), affected)
    assert {one.key for one in found} == {"firmware:f1", "site:s2", "firmware:f3,model:m2"}
    every = np.concatenate([one.devices for one in found])
    assert len(every) == len(np.unique(every))
    assert all(affected[every])


def test_noise_is_not_blamed():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        affected = rng.random(400) < 0.1
        assert Blame().causes(fleet(drawn(rng, 400)), affected) == []


def test_what_is_explained_is_not_looked_at_again():
    rng = np.random.default_rng(3)
    columns = drawn(rng, 400)
    affected = np.array([f == "f1" for f in columns["firmware"]])
    attributes = fleet(columns)
    (cause,) = Blame().causes(attributes, affected)
    assert cause.lift == np.inf
    known = attributes.having({"firmware": "f1"})
    assert known.tolist() == affected.tolist()
    assert Blame().causes(attributes, affected, known) == []


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(SettingsError, match="p_most"):
        Blame(p_most=1.0)


def storm(n=40):
    columns = {
        "firmware": ["2.1" if k % 4 == 0 else "2.0" for k in range(n)],
        "site": [f"s{k % 5}" for k in range(n)],
    }
    return fleet(columns)


def test_a_storm_with_one_cause_is_one_incident_whatever_rules_found_it():
    opened, attributes = {}, storm()
    rules = ("silence", "flash_wear")
    sick = [finding(f"gw-{k}", site=f"s{k % 5}", rule=rules[k % 8 > 0]) for k in range(0, 40, 4)]
    (first,) = Grouping().group(sick[:9], opened, {}, MINUTE, attributes)
    assert first.key == "cause@firmware:2.1"
    assert len(first.devices) == 9
    assert "9 of 10 devices with firmware 2.1" in first.title
    assert "flash_wear, silence" in first.title
    # Who has it too joins; who has not, does not.
    more = [sick[9], finding("gw-1", site="s1")]
    joined, alone = Grouping().group(more, opened, {}, 2 * MINUTE, attributes)
    assert (joined.incident_id, len(joined.devices)) == (first.incident_id, 10)
    assert alone.key == "silence@gw-1"
    back = [finding(f.device_id, "resolved", f.site, rule=f.rule, ts=9) for f in sick]
    (last,) = Grouping().group(back, opened, {}, 3 * MINUTE, attributes)
    assert (last.incident_id, last.status) == (first.incident_id, "resolved")
    assert list(opened) == ["silence@gw-1"]


def test_incidents_that_were_told_are_folded_aloud():
    opened, attributes = {}, storm()
    grouping = Grouping()
    grouping.group([finding("gw-0", site="s0")], opened, {}, MINUTE, attributes)
    later = [finding(f"gw-{k}", site=f"s{k % 5}", ts=1) for k in range(4, 40, 4)]
    told = grouping.group(later, opened, {}, 2 * MINUTE, attributes)
    assert [(i.key, i.status) for i in told] == [
        ("cause@firmware:2.1", "firing"),
        ("silence@gw-0", "resolved"),
    ]
    assert told[1].title == "now part of cause@firmware:2.1"


def test_the_order_of_findings_changes_nothing():
    sick = [finding(f"gw-{k}", site=f"s{k % 5}") for k in range(0, 40, 4)]
    told = []
    for order in (sick, sick[::-1]):
        opened = {}
        records = Grouping().group(order, opened, {}, MINUTE, storm())
        told.append([(i.id, i.devices, i.title, i.cause) for i in records])
    assert told[0] == told[1]


def test_attributes_come_from_the_registry_and_the_inventory():
    nodes = tuple(
        Node(f"gw-{k}", site=site, attributes={"firmware": firmware})
        for k, (site, firmware) in enumerate([("b", "2.1"), ("a", "2.0"), ("a", "2.1")])
    )
    inventory = Inventory(nodes)
    registry = Registry(inventory)
    for name in ("gw-2", "gw-9", "gw-0"):
        registry._register((name, "", ""), None, 0)
    told = attributes_of(registry, inventory)
    assert told.name == ("site", "cohort", "firmware")
    assert [told.of(d, "firmware") for d in ("gw-2", "gw-9", "gw-0", "gw-1")] == [
        "2.1",
        "",
        "2.1",
        "",
    ]
    assert told.of("gw-2", "site") == "a"
    assert told.having({"firmware": "2.1", "site": "b"}).tolist() == [False, False, True]
    assert not told.having({"vendor": "x"}).any()
