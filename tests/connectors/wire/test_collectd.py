from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.connectors.wire.collectd import LISTS_MAX, decode, decode_text
from aiops.connectors.wire.limits import Limits
from aiops.errors import PayloadError, TooLarge
from aiops.telemetry.normalise import normalise
from tests.connectors.wire.encoders import MS, Reading, collectd, collectd_text

LIMITS = Limits()
T = 1_760_000_000_123 * MS

DISK = {
    "values": [197141504, 175136768],
    "dstypes": ["derive", "derive"],
    "dsnames": ["read", "write"],
    "time": 1251533299.265,
    "interval": 10,
    "host": "leeloo.lan.home.verplant.org",
    "plugin": "disk",
    "plugin_instance": "sda",
    "type": "disk_octets",
    "type_instance": "",
}


def test_a_value_list_is_a_reading_for_each_source():
    done = decode(json.dumps([DISK]).encode(), T, LIMITS)
    rows = done.tables[0].to_pylist()
    assert [(r["metric"], r["value"]) for r in rows] == [
        ("collectd.disk.disk_octets.read", 197141504.0),
        ("collectd.disk.disk_octets.write", 175136768.0),
    ]
    assert {r["device_id"] for r in rows} == {DISK["host"]}
    assert json.loads(rows[0]["labels"]) == {"host": DISK["host"], "plugin_instance": "sda"}
    assert done.tables[0]["ts"].cast("int64").to_pylist() == [1_251_533_299_265 * MS] * 2


def test_the_dialect_knows_the_names():
    readings = [
        Reading("a", T, "collectd.cpu.percent", 90.0, {"type_instance": "idle"}),
        Reading("a", T, "collectd.disk.disk_octets.write", 5.0, {"plugin_instance": "sda"}),
        Reading("a", T, "collectd.uptime.uptime", 7.0),
    ]
    frame = normalise(decode(collectd(readings), T, LIMITS).tables[0])
    assert not frame.unknown


READINGS = st.lists(
    st.builds(
        Reading,
        st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=5),
        st.integers(0, 4 * 10**12).map(lambda ms: ms * MS),
        st.sampled_from(["collectd.cpu.percent", "collectd.ping.ping_droprate"]),
        st.floats(allow_nan=False, allow_infinity=False),
        st.dictionaries(
            st.sampled_from(["plugin_instance", "type_instance"]),
            st.text("ab-é.", min_size=1, max_size=3),
            max_size=2,
        ),
        st.none(),  # the texts cannot tell a site
        st.none(),
    ),
    min_size=1,
    max_size=10,
)


@settings(max_examples=60)
@given(READINGS)
def test_readings_come_out_as_they_went_in(readings):
    done = decode(collectd(readings), T, LIMITS)
    assert done.refused == ()
    texts = [decode_text(*collectd_text(reading)) for reading in readings]
    assert [t.refused for t in texts] == [()] * len(readings)
    for rows in (done.tables[0].to_pylist(), [t.tables[0].to_pylist()[0] for t in texts]):
        assert [(r["device_id"], r["ts"].value, r["metric"], r["value"]) for r in rows] == [
            (r.device, r.ts_ns, r.metric, r.value) for r in readings
        ]
        assert [json.loads(r["labels"]) for r in rows] == [r.all_labels("host") for r in readings]


def test_what_collectd_does_not_know_is_no_reading():
    done = decode(json.dumps([DISK | {"values": [None, 1]}]).encode(), T, LIMITS)
    assert (done.samples, done.rejected) == (1, 0)
    assert decode_text("collectd/a/cpu/percent", b"1:nan\0").rows == 0


def test_what_has_no_time_happened_when_it_came():
    told = {k: v for k, v in DISK.items() if k != "time"}
    assert set(
        decode(json.dumps([told]).encode(), T, LIMITS).tables[0]["ts"].cast("int64").to_pylist()
    ) == {T}
    assert decode_text("collectd/a/cpu/percent", b"N:1\0", T).tables[0]["ts"][0].value == T


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dsnames": ["value"]}, "as many values as names"),
        ({"host": ""}, "no label names the device"),
        ({"plugin": "x" * 300}, "a metric name of more than 256 bytes"),
        ({"type_instance": "x" * 5000}, "a label value of more than 4096 bytes"),
        ({"time": 1e300}, "a time beyond"),
    ],
)
def test_a_value_list_that_cannot_be_taken_is_refused(change, said):
    done = decode(json.dumps([DISK | change, DISK]).encode(), T, LIMITS)
    assert (done.rows, done.rejected) == (2, 2)
    assert done.refused[0].reason.startswith(said)


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[1]", b"[{}]", b'[{"host": 1}]', b"[" * 10_000, b"[null]"],
)
def test_what_is_no_array_of_value_lists_is_no_payload(body):
    with pytest.raises(PayloadError, match="no array of collectd's value lists"):
        decode(body, T, LIMITS)


def test_more_value_lists_than_allowed_are_too_large():
    with pytest.raises(TooLarge):
        decode(b"[" + b"{}," * (2 * LISTS_MAX + 1) + b"{}]", T, LIMITS)


@pytest.mark.parametrize(
    ("topic", "body", "expected"),
    [
        (
            "collectd/a/load/load",
            b"1.5:1:2:3\0",
            [f"load.load.{n}term" for n in ("short", "mid", "long")],
        ),
        ("x/y/a/interface-eth0/if_octets", b"1:1:2", [f"interface.if_octets.{n}x" for n in "rt"]),
        (
            "collectd/a/disk-sda/disk_time",
            b"1:1:2\n",
            ["disk.disk_time.read", "disk.disk_time.write"],
        ),
        ("a/cpu-0/percent-idle", b"1:5", ["cpu.percent"]),
        ("collectd/a/some/thing", b"1:5:6", ["some.thing.0", "some.thing.1"]),
    ],
)
def test_a_topic_and_its_payload_are_readings(topic, body, expected):
    table = decode_text(topic, body).tables[0]
    assert table["metric"].to_pylist() == [f"collectd.{name}" for name in expected]
    assert set(table["device_id"].to_pylist()) == {"a"}


@pytest.mark.parametrize(
    ("topic", "body"),
    [
        ("cpu/percent", b"1:5"),
        ("collectd//cpu/percent", b"1:5"),
        ("collectd/a/-x/percent", b"1:5"),
        ("collectd/a/cpu/percent", b"1"),
        ("collectd/a/cpu/percent", b""),
        ("collectd/a/cpu/percent", b"1:x"),
        ("collectd/a/cpu/percent", b"noon:1"),
        ("collectd/a/cpu/percent", b"1:5\0\xff"),
    ],
)
def test_what_collectd_does_not_publish_is_no_payload(topic, body):
    with pytest.raises(PayloadError):
        decode_text(topic, body)


def test_damage_raises_nothing_else():
    draw = random.Random(4)
    array = json.dumps([DISK]).encode()
    told = [0, 0]
    for _ in range(2000):
        for number, body in enumerate((array, b"1760000000.5:1.5:2\0")):
            damaged = bytearray(body)
            damaged[draw.randrange(len(damaged))] = draw.choice((*b'",:[', draw.randrange(256)))
            try:
                if number:
                    decode_text("collectd/a/x/y", bytes(damaged))
                else:
                    decode(bytes(damaged), T, LIMITS)
            except PayloadError:
                told[number] += 1
    assert all(100 < one < 1990 for one in told)
