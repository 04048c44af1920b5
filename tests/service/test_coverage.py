from __future__ import annotations

import json
import time

import pyarrow as pa
import pytest

from aiops.connectors.wire import influx
from aiops.connectors.wire.limits import Limits
from aiops.detectors import DETECTORS
from aiops.errors import FrameError
from aiops.service.arrivals import KEPT, Arrival, Arrivals
from aiops.service.coverage import NEEDS, Coverage, feeding
from aiops.telemetry.vocabulary import VOCABULARY

NOW = time.time_ns()


def wide(**columns: object) -> pa.Table:
    n = len(next(iter(columns.values())))  # type: ignore[arg-type]
    return pa.table({"device_id": ["gw-1", "gw-2", "gw-1"][:n], "ts": [NOW] * n} | columns)


def covered(*tables: pa.Table) -> Coverage:
    found = Coverage()
    for table in tables:
        found.add(table)
    return found


def lines(text: str) -> tuple[pa.Table, ...]:
    return influx.decode(text.encode(), NOW, Limits()).tables


def test_a_wide_frame_tells_devices_and_which_columns_are_known():
    found = covered(wide(temp_c=[40.0, None, 41.0], froth=[1, 2, 3], site=["a", "a", "a"]))
    assert found.rows == 3
    assert found.devices == {"gw-1": 2, "gw-2": 1}
    assert [tuple(one) for one in found.known] == [("temp_c", ("temperature.celsius",), 2)]
    assert found.unknown == {"froth": 3}


def test_a_long_frame_tells_names_and_counts_each():
    found = covered(
        *lines(
            "smart_device,host=gw-1,device=nvme0 percentage_used=3i\n"
            "system,host=gw-1 uptime=1000i\nsystem,host=gw-2 uptime=7i\nfoo,host=gw-2 bar=3\n"
        )
    )
    assert found.devices == {"gw-1": 2, "gw-2": 2}
    assert {one.name: (one.metrics, one.values) for one in found.known} == {
        "system_uptime": (("device.uptime",), 2),
        "smart_device_percentage_used": (("storage.wear.used_ratio",), 1),
    }
    assert found.unknown == {"foo_bar": 1}


def attribute(id: str, name: str) -> tuple[str, str, float, str]:
    labels = {"attribute_id": id, "attribute_name": name, "attribute_value_type": "raw"}
    return "gw-1", "smartctl_device_attribute", 3.0, json.dumps({"device": "sda"} | labels)


def test_a_name_that_may_be_many_things_is_what_its_own_labels_say():
    others = ("gw-1", "smartctl_device_power_cycle_count", 7.0, '{"device": "sda"}')
    found = covered(_long([attribute("5", "Reallocated_Sector_Ct"), others]))
    names = {one.name: one.metrics for one in found.known}
    assert names == {
        "smartctl_device_attribute": ("storage.reallocated",),
        "smartctl_device_power_cycle_count": ("storage.power_cycles",),
    }


def test_a_name_that_is_known_only_with_other_labels_is_listed_as_nothing():
    found = covered(_long([attribute("250", "Froth_Level")]))
    assert [tuple(one) for one in found.known] == [("smartctl_device_attribute", (), 1)]
    assert found.canonical == set()
    assert found.unknown == {}


def _long(rows: list[tuple[str, str, float, str | None]]) -> pa.Table:
    device, metric, value, labels = zip(*rows, strict=True)
    return pa.table(
        {
            "device_id": device,
            "ts": [NOW] * len(rows),
            "metric": metric,
            "value": value,
            "labels": pa.array(labels, pa.string()),
        }
    )


def test_what_cannot_be_true_is_counted_with_its_reason():
    found = covered(wide(**{"battery.soc_ratio": [0.5, 7.0]}))
    assert found.set_aside == {"out_of_range": 1}
    assert found.canonical == {"battery.soc_ratio"}


def test_a_name_whose_every_value_is_set_aside_is_known_and_feeds_nobody():
    found = covered(wide(**{"storage.wear.used_ratio": [3.1, 7.0]}))
    assert [one.metrics for one in found.known] == [("storage.wear.used_ratio",)]
    assert found.canonical == set()


def test_a_frame_of_nobody_is_an_error():
    with pytest.raises(FrameError):
        covered(pa.table({"temp_c": [1.0]}))


def test_every_need_is_of_a_detector_that_reads_it():
    for name, need in NEEDS.items():
        reads = DETECTORS[name]().reads
        for metric in (metric for group in need.one_of for metric in group):
            assert metric in VOCABULARY
            assert metric in reads


def test_each_detector_says_what_it_has_and_one_thing_that_it_lacks():
    detectors = [make() for make in DETECTORS.values()]
    nothing = {one.detector: one for one in feeding(detectors, ())}
    assert ("storage.wear.used_ratio",) in nothing["flash_wear"].lacks
    assert "smartctl_exporter" in nothing["flash_wear"].add
    assert nothing["silence"].lacks == ()
    fed = {one.detector: one for one in feeding(detectors, {"device.uptime", "storage.model"})}
    assert fed["reboot_drift"].has == ("device.uptime",)
    assert fed["reboot_drift"].lacks == ()
    assert fed["flash_wear"].has == ("storage.model",)
    assert fed["flash_wear"].lacks


def test_bytes_written_are_enough_only_with_what_the_medium_is_rated_for():
    detectors = [DETECTORS["flash_wear"]()]
    (short,) = feeding(detectors, {"storage.bytes_written"})
    (enough,) = feeding(detectors, {"storage.bytes_written", "storage.rated_bytes"})
    assert short.lacks
    assert not enough.lacks


def test_the_newest_payloads_of_each_protocol_are_remembered_and_all_rows_counted():
    arrivals = Arrivals()
    for i in range(KEPT + 10):
        arrivals.note("mqtt", Arrival(NOW + i, i + 1, 2))
    arrivals.note("prometheus", Arrival(NOW + 5, 7777, 1))
    assert arrivals.rows == {"mqtt": 2 * (KEPT + 10), "prometheus": 1}
    assert len(arrivals.since(0)) == KEPT + 1
    assert [one.seq for one in arrivals.since(NOW + KEPT + 7, ["mqtt"])] == [KEPT + 10, KEPT + 9]
    assert [one.seq for one in arrivals.since(0, ["prometheus"])] == [7777]
    assert arrivals.last_ns("mqtt") == NOW + KEPT + 9
    assert arrivals.last_ns("nobody") is None
