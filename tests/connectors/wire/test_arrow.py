from __future__ import annotations

import random
import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.connectors.wire.arrow import COLUMNS_MAX, decode
from aiops.connectors.wire.limits import Limits
from aiops.errors import PayloadError, TooLarge
from aiops.telemetry.normalise import normalise
from tests.connectors.wire.encoders import Reading, arrow, arrow_stream

LIMITS = Limits()
T = 1_760_000_000_000_000_000
TIMES = pa.timestamp("ns", "UTC")


def frame(n: int = 3, **columns: object) -> pa.Table:
    first = {
        "device_id": pa.array([f"gw-{k}" for k in range(n)]),
        "ts": pa.array([T + k for k in range(n)], TIMES),
    }
    return pa.table(first | columns)


def only(body: bytes, limits: Limits = LIMITS) -> pa.Table:
    done = decode(body, 0, limits)
    assert done.samples == done.rows
    assert done.rejected == 0
    return done.tables[0]


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_a_frame_comes_out_as_it_went_in(compression):
    table = frame(
        500,
        cpu_percent=np.arange(500.0),
        words=pa.array(["on", "off"] * 250).dictionary_encode(),
        nested=pa.array([{"a": [1, 2], "b": None}] * 500),
        nothing=pa.nulls(500),
    )
    assert only(arrow_stream(table, compression=compression)).equals(table)


def test_views_and_runs_become_plain():
    text = "a text that is long enough for a view"
    table = frame(
        500,
        views=pa.array([text, None] * 250, pa.string_view()),
        runs=pa.RunEndEncodedArray.from_arrays([200, 500], ["north", "south"]),
    )
    found = only(arrow_stream(table))
    assert found["views"].to_pylist() == [text, None] * 250
    assert found["runs"].to_pylist() == ["north"] * 200 + ["south"] * 300
    assert [str(found[name].type) for name in ("views", "runs")] == ["large_string", "string"]


def test_several_batches_and_replaced_dictionaries_come_out():
    one = frame(part=pa.array(["sda", "sdb", "sda"]).dictionary_encode())
    two = frame(part=pa.array(["nvme0", "sda", "sdx"]).dictionary_encode())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, one.schema) as stream:
        stream.write_table(one)
        stream.write_table(two)
    found = only(sink.getvalue().to_pybytes())
    assert found.to_pylist() == one.to_pylist() + two.to_pylist()


@settings(max_examples=40)
@given(
    st.lists(
        st.builds(
            Reading,
            st.text("gw-017", min_size=1),
            st.integers(T, T + 10**15),
            st.sampled_from(["node_boot_time_seconds", "cpu"]),
            st.floats(),
            st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_readings_come_out_as_they_went_in(readings):
    table = only(arrow(readings))
    assert table["device_id"].to_pylist() == [r.device for r in readings]
    values = table["value"].combine_chunks().to_numpy()
    assert values.tobytes() == np.array([r.value for r in readings]).tobytes()


def test_an_empty_frame_is_no_frame():
    done = decode(arrow_stream(frame(0)), 0, LIMITS)
    assert (done.tables, done.samples) == ((), 0)


def test_rows_of_nobody_are_refused():
    table = frame(
        4, device_id=pa.array(["a", None, None, "b"]), cpu=pa.array([1.0, 2.0, None, 3.0])
    )
    done = decode(arrow_stream(table), 0, LIMITS)
    assert done.tables[0]["device_id"].to_pylist() == ["a", "b"]
    assert [(r.reason, r.count) for r in done.refused] == [("no device in column 'device_id'", 2)]


def test_no_payload_can_say_that_a_history_is_at_its_end():
    codes = pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array([None, "a"]))
    table = pa.table({"device_id": codes, "ts": pa.array([None, T], TIMES)})
    done = decode(arrow_stream(table), 0, LIMITS)
    assert done.tables[0]["device_id"].to_pylist() == ["a"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pa.table({"cpu": [1.0], "ts": [T]}), "no column can be the device"),
        (pa.table({"host": ["a"], "cpu": [1.0]}), "no column can be the time"),
        (
            pa.Table.from_arrays([["a"], ["b"], [T]], ["device_id", "device_id", "ts"]),
            "2 columns are called 'device_id'",
        ),
        (pa.table({}), "no column can be the device"),
    ],
)
def test_a_frame_that_nobody_can_read_is_refused_whole(table, said):
    with pytest.raises(PayloadError, match=said):
        decode(arrow_stream(table), 0, LIMITS)


def huge(n: int, **columns: pa.Array) -> bytes:
    """A stream that declares rows it does not have bytes for."""
    nothing = pa.Array.from_buffers(pa.null(), n, [None])
    table = pa.table({"device_id": nothing, "ts": nothing, **columns})
    return arrow_stream(table, allow_64bit=True)


def shared_buffers(n: int) -> bytes:
    """A frame of `n` columns of 1 MiB, all of them the same bytes: what a sender may craft.

    Every offset in the metadata of the batch is set to that of the first column.
    """
    table = pa.table({f"c{k}": np.zeros(1 << 17) for k in range(n)})
    body = bytearray(arrow_stream(table))
    size, at = 1 << 20, 0
    pairs = [struct.pack("<qq", k * size, size) for k in range(n)]
    for pair in pairs[1:]:
        at = body.index(pair, at)
        body[at : at + 16] = pairs[0]
    return bytes(body)


def tiny_batches() -> bytes:
    sink = pa.BufferOutputStream()
    table = frame(1, **{f"c{k}": [1.0] for k in range(30)})
    with pa.ipc.new_stream(sink, table.schema) as stream:
        for _ in range(2100):
            stream.write_table(table)
    return sink.getvalue().to_pybytes()


def runs(n: int, value: str) -> pa.Array:
    return pa.RunEndEncodedArray.from_arrays(pa.array([n], pa.int64()), [value])


def views(value: str, n: int) -> pa.Array:
    one = pa.array([value], pa.string_view())
    _, view, text = one.buffers()
    return pa.Array.from_buffers(
        one.type, n, [None, pa.py_buffer(view.to_pybytes()[:16] * n), text]
    )


def columns(n: int) -> bytes:
    return arrow_stream(pa.schema([(f"c{k}", pa.null()) for k in range(n)]).empty_table())


LONG = "x" * 100_000
N = 250_000
LARGE = {
    "rows without bytes": lambda: huge(1 << 40),
    "many cells": lambda: huge(1 << 21, x=pa.nulls(1 << 21)),
    "packed inside": lambda: arrow_stream(
        pa.table({"host": np.zeros(N, np.int8)} | {f"c{k}": np.zeros(N) for k in range(12)}),
        compression="zstd",
    ),
    "nested rows": lambda: arrow_stream(
        frame(1, x=pa.FixedSizeListArray.from_arrays(pa.nulls(1 << 30), 1 << 30))
    ),
    "rows of one run": lambda: arrow_stream(
        pa.table({"host": runs(1 << 40, "a")}), allow_64bit=True
    ),
    "one long text in a run": lambda: arrow_stream(frame(3000, s=runs(3000, LONG))),
    "one long text in many views": lambda: arrow_stream(frame(1000, s=views(LONG, 1000))),
    "one long text in a dictionary": lambda: arrow_stream(
        frame(1000, s=pa.DictionaryArray.from_arrays([0] * 1000, [LONG]))
    ),
    "many columns": lambda: columns(COLUMNS_MAX + 1),
    "many tiny batches": tiny_batches,
    "shared buffers": lambda: shared_buffers(24),
}


@pytest.mark.parametrize("name", LARGE)
def test_what_would_become_too_large_is_refused(name):
    body = LARGE[name]()
    limits = Limits(free_bytes=24 << 20) if name == "shared buffers" else LIMITS
    with pytest.raises(TooLarge):
        decode(body, 0, limits)


def test_as_many_columns_as_are_allowed_are_read():
    with pytest.raises(PayloadError, match="no column can be the device"):
        decode(columns(COLUMNS_MAX), 0, LIMITS)


def test_types_that_repeat_within_others_are_refused():
    table = frame(2, x=pa.array([["a"], ["b"]], pa.list_(pa.string_view())), device_id=["a", "b"])
    with pytest.raises(PayloadError, match="send it without views"):
        decode(arrow_stream(table.slice(0, 2)), 0, LIMITS)


def test_damage_raises_nothing_else_and_what_is_read_can_be_used():
    draw = random.Random(3)
    table = frame(
        6, cpu=np.arange(6.0), part=pa.array(["a", "b"] * 3).dictionary_encode(), x=[None] * 6
    )
    bodies = [arrow_stream(table), arrow_stream(table, compression="zstd")]
    read = damaged = 0
    for _ in range(2000):
        body = bytearray(draw.choice(bodies))
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(body))
            body[at] = draw.choice((0, 1, 127, 128, 255, draw.randrange(256)))
        if draw.random() < 0.1:
            del body[draw.randrange(len(body)) :]
        try:
            done = decode(bytes(body), 0, LIMITS)
        except PayloadError:
            damaged += 1
        else:
            read += 1
            for one in done.tables:
                normalise(one)
    assert read > 100
    assert damaged > 100
