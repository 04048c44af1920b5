from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.connectors.replay import LogSource
from aiops.connectors.wire import arrow, influx, ndjson, otlp, packing, remote_write
from aiops.connectors.wire.decoded import READINGS, Decoded, Refused
from aiops.engine.ports import LogRecord
from aiops.errors import Busy, PayloadError
from aiops.service.intake import (
    FOREIGN,
    NO_DEVICE,
    OVER_QUOTA,
    TOO_MANY_DEVICES,
    TOO_MANY_METRICS,
    TOO_MANY_SERIES,
    Intake,
    Prepared,
    SeriesSet,
)
from aiops.service.keys import Principal
from aiops.service.roles import Role
from aiops.service.settings import Bounds
from tests.connectors.wire import encoders as encode
from tests.connectors.wire import encoders_more as encode_more
from tests.service.fuzz import MemoryLog
from tests.service.payloads import LIMITS, NOW

ANYBODY = Principal("hall", frozenset({Role.INGEST}), patterns=("*",))
ONE = Principal("key-1", frozenset({Role.INGEST}), frozenset({"gw-1"}))
TIME = pa.timestamp("ns", "UTC")


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def long(
    *devices: str | None, metric: str = "m", labels: list[str | None] | None = None
) -> Decoded:
    """Return readings of these devices, one each."""
    n = len(devices)
    columns = {
        "device_id": pa.array(devices, pa.string()),
        "ts": pa.array([NOW] * n, TIME),
        "metric": [metric] * n,
        "value": [1.0] * n,
        "labels": pa.array(labels or [None] * n, pa.string()),
        "site": pa.nulls(n, pa.string()),
        "cohort": pa.nulls(n, pa.string()),
    }
    return Decoded((pa.table(columns).cast(READINGS),))


def kept(prepared: Prepared) -> list[str | None]:
    """Return whose rows an engine will read from the log."""
    record = LogRecord("telemetry", prepared.body, 1)
    log = MemoryLog([record] if prepared.body else [])
    frames = LogSource(log).frames(None)  # type: ignore[arg-type]
    return [name for frame, _ in frames for name in frame["device_id"].to_pylist()]


def refused(prepared: Prepared) -> dict[str, int]:
    return {one.reason: one.count for one in prepared.refused}


def intake(clock: Clock | None = None, **bounds: float) -> Intake:
    return Intake(Bounds(**bounds), clock=clock or Clock())  # type: ignore[arg-type]


# Whose rows --------------------------------------------------------------------------------------


def test_rows_of_another_device_are_refused_and_the_others_kept() -> None:
    of = intake()
    prepared = of.prepare(ONE, long("gw-1", "gw-2", "gw-1", "gw-10"))
    assert kept(prepared) == ["gw-1", "gw-1"]
    assert prepared.refused == (Refused(FOREIGN, 2, "gw-2"),)
    assert of.counts == {FOREIGN: 2}
    assert of.devices == 1  # who may not write takes no place
    alone = of.prepare(ONE, long("gw-2"))
    assert alone.body == b""
    assert isinstance(alone.error, PayloadError)
    assert "gw-2" in str(alone.error)


def test_a_row_of_nobody_is_refused() -> None:
    prepared = intake().prepare(ANYBODY, long(None, "gw-1"))
    assert kept(prepared) == ["gw-1"]
    assert refused(prepared) == {NO_DEVICE: 1}


def smuggled() -> list[bytes]:
    own = encode.arrow([encode.Reading("gw-1", NOW, "m", 1.0)])
    foreign = encode.arrow([encode.Reading("gw-2", NOW, "m", 1.0)])
    nobody = pa.table(
        {"device_id": ["gw-1", None], "ts": pa.array([NOW] * 2, TIME), "x": [1.0] * 2}
    )
    return [
        own + foreign,
        own + b"what follows its end",
        own[:-8] + b"\0" * 64,
        encode.arrow_stream(nobody),
    ]


@pytest.mark.parametrize("body", smuggled())
def test_only_what_was_looked_at_goes_into_the_log(body: bytes) -> None:
    try:
        decoded = arrow.decode(body, NOW, LIMITS)
    except PayloadError:
        return  # better still
    assert kept(intake().prepare(ONE, decoded, body)) == ["gw-1"]


def test_a_payload_of_which_nothing_is_refused_goes_into_the_log_as_it_came() -> None:
    body = encode.arrow([encode.Reading("gw-1", NOW, "m", 1.0)])
    assert intake().prepare(ONE, arrow.decode(body, NOW, LIMITS), body).body == body


# How much ----------------------------------------------------------------------------------------


def test_a_device_that_sends_too_much_pays_its_debt_before_it_is_heard_again() -> None:
    clock = Clock()
    of = intake(clock, device_rows_per_s=10.0, device_burst_rows=20)
    assert kept(of.prepare(ANYBODY, long(*["loud"] * 50)))  # into debt with one payload
    mixed = of.prepare(ANYBODY, long("loud", "calm"))
    assert kept(mixed) == ["calm"]
    assert refused(mixed) == {OVER_QUOTA: 1}
    busy = of.prepare(ANYBODY, long("loud")).error
    assert isinstance(busy, Busy)
    assert busy.retry_after_s == pytest.approx(3.0)
    clock.now_s = 2.9
    assert of.prepare(ANYBODY, long("loud")).error is not None
    clock.now_s = 3.2
    assert kept(of.prepare(ANYBODY, long("loud"))) == ["loud"]


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(1, 60)), max_size=40))
def test_over_any_time_a_device_has_its_rate_its_burst_and_one_payload(
    sent: list[tuple[float, int]],
) -> None:
    clock = Clock()
    of = intake(clock, device_rows_per_s=10.0, device_burst_rows=20)
    taken = 0
    for waits_s, rows in sent:
        clock.now_s += waits_s
        taken += len(kept(of.prepare(ANYBODY, long(*["gw"] * rows))))
        assert taken <= 20 + 10.0 * clock.now_s + 60


def test_a_device_that_was_long_away_has_no_more_than_its_burst() -> None:
    clock = Clock()
    of = intake(clock, device_rows_per_s=10.0, device_burst_rows=20)
    of.prepare(ANYBODY, long("gw"))
    clock.now_s = 1e6
    assert kept(of.prepare(ANYBODY, long(*["gw"] * 21)))
    assert isinstance(of.prepare(ANYBODY, long("gw")).error, Busy)


def test_devices_are_bounded_and_those_known_go_on() -> None:
    of = intake(devices=3)
    first = of.prepare(ANYBODY, long("a", "b", "c", "d", "e"))
    assert kept(first) == ["a", "b", "c"]
    assert refused(first) == {TOO_MANY_DEVICES: 2}
    assert kept(of.prepare(ANYBODY, long("f", "a"))) == ["a"]
    assert of.devices == 3


def test_metrics_are_bounded_in_long_and_in_wide_frames() -> None:
    of = intake(metrics=2)
    for name in ("m1", "m2", "m1"):
        assert kept(of.prepare(ANYBODY, long("gw", metric=name))) == ["gw"]
    assert refused(of.prepare(ANYBODY, long("gw", metric="m3"))) == {TOO_MANY_METRICS: 1}
    wide = pa.table({"device_id": ["gw"], "ts": pa.array([NOW], TIME), "m1": [1.0], "m4": [1.0]})
    assert refused(of.prepare(ANYBODY, Decoded((wide,)))) == {TOO_MANY_METRICS: 1}
    assert kept(of.prepare(ANYBODY, Decoded((wide.drop_columns(["m4"]),)))) == ["gw"]


def test_series_of_a_device_are_bounded_and_those_known_go_on() -> None:
    of = intake(series_per_device=3)
    labels = [f'{{"cpu":"{k}"}}' for k in range(10)]
    prepared = of.prepare(ANYBODY, long(*["gw"] * 10, labels=labels))
    assert len(kept(prepared)) == 3
    assert refused(prepared) == {TOO_MANY_SERIES: 7}
    again = of.prepare(ANYBODY, long(*["gw"] * 10, labels=labels))
    assert kept(again) == ["gw"] * 3
    assert len(kept(of.prepare(ANYBODY, long(*["other"] * 3, labels=labels[:3])))) == 3
    assert of.series == 6


def test_series_of_all_are_bounded() -> None:
    of = intake(series=5, series_per_device=3)
    names = [f"gw-{k}" for k in range(9)]
    assert len(kept(of.prepare(ANYBODY, long(*names)))) == 5
    assert of.series == 5
    assert len(kept(of.prepare(ANYBODY, long(*names)))) == 5


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 9)), max_size=30), max_size=8
    )
)
def test_no_more_series_than_the_bounds_whatever_comes(
    payloads: list[list[tuple[str, int]]],
) -> None:
    of = intake(series=12, series_per_device=5)
    told: dict[str, set[int]] = {}
    for rows in payloads:
        if not rows:
            continue
        sent = long(*(device for device, _ in rows), labels=[f'{{"n":"{n}"}}' for _, n in rows])
        names = kept(of.prepare(ANYBODY, sent))
        assert len(names) <= len(rows)
        for device, n in rows:
            told.setdefault(device, set()).add(n)
    assert of.series <= min(12, sum(min(5, len(of_device)) for of_device in told.values()))


# The set of series -------------------------------------------------------------------------------

KEYS = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 40).map(lambda k: k << 7), max_size=60)


@given(st.lists(KEYS, max_size=6))
def test_a_set_of_series_is_a_set(portions: list[list[int]]) -> None:
    of, model = SeriesSet(1000), set[int]()
    for portion in portions:
        keys = np.array(portion, np.uint64)
        mine = [key or 1 for key in portion]  # 0 stands for a free slot, and counts as 1
        assert of.unseen(keys).tolist() == [key not in model for key in mine]
        of.add(np.unique(keys[of.unseen(keys)] | (keys[of.unseen(keys)] == 0)))
        model.update(mine)
        assert of.size == len(model)
        assert not of.unseen(keys).any()
        assert of.room == 1000 - len(model)


def test_keys_that_want_one_slot_are_all_found_as_far_as_it_looks() -> None:
    of = SeriesSet(100)
    keys = (np.arange(1, 101, dtype=np.uint64) << np.uint64(40)) | np.uint64(3 << 7)
    of.add(keys)
    assert of.size == SeriesSet.PROBES + 1
    assert np.count_nonzero(~of.unseen(keys)) == of.size


@pytest.mark.parametrize("beside", ["device_id", "Device_ID", "host"])
def test_whose_a_row_is_by_the_settings_is_whose_it_is_to_the_engine(beside: str) -> None:
    table = pa.table(
        {beside: ["gw-2"], "asset": ["gw-1"], "time": pa.array([NOW], TIME), "t": [1.0]}
    )
    of = Intake(Bounds(), {"device": "asset"}, Clock())
    told = encode_stream(table)
    assert kept(of.prepare(ONE, Decoded((table,)), told)) == ["gw-1"]
    swapped = table.rename_columns(["asset", beside, "time", "t"])
    assert of.prepare(ONE, Decoded((swapped,)), encode_stream(swapped)).body == b""


def test_a_frame_that_is_guessed_as_the_settings_say_goes_into_the_log_as_it_is() -> None:
    table = pa.table({"device_id": ["gw-1"], "ts": pa.array([NOW], TIME), "t": [1.0]})
    of = Intake(Bounds(), {"device": "device_id"}, Clock())
    told = encode_stream(table)
    assert of.prepare(ONE, Decoded((table,)), told).body == told


def encode_stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


# What is sent again ------------------------------------------------------------------------------

CODECS = {
    "arrow": (encode.arrow, arrow.decode),
    "ndjson": (encode.ndjson, ndjson.decode),
    "remote write": (encode.remote_write_v1, remote_write.decode_v1),
    "otlp": (encode_more.otlp, otlp.decode_metrics),
    "influx": (encode.influx, influx.decode),
}


@pytest.mark.parametrize("name", CODECS)
def test_a_payload_becomes_the_same_record_whatever_came_before_it(name: str) -> None:
    sent, decode = CODECS[name]
    body = sent([encode.Reading("gw-1", NOW, "m_a", 114.0)])
    before = sent([encode.Reading("gw-22", NOW + 10**12, "m_a", 0.0, {"k": "v"}, "lyon")])

    def record_of(payload: bytes) -> bytes:
        return intake().prepare(ANYBODY, decode(payload, NOW, LIMITS)).body

    packing._WRITTEN._found.clear()  # as in a process that has just started
    first = record_of(body)
    packing._WRITTEN._found.clear()
    record_of(before)
    assert record_of(body) == first
