from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.connectors.replay import LogSource
from aiops.connectors.wire.packing import pack
from aiops.engine.ports import LogRecord
from aiops.testing import check_source
from tests.connectors.wire.encoders import arrow_stream

TIME = pa.timestamp("ns", "UTC")


class MemoryLog:
    def __init__(self, records: Sequence[LogRecord]) -> None:
        self.records = records

    def read(self, after: int) -> Iterator[tuple[int, LogRecord]]:
        yield from enumerate(self.records[after:], after + 1)


def wide(device: str, rows: int) -> pa.Table:
    return pa.table(
        {
            "device_id": pa.array([device] * rows).dictionary_encode(),
            "ts": pa.array(range(rows), TIME),
            "x": pa.array([float("nan"), *map(float, range(1, rows))]),
        }
    )


def long(device: str, rows: int) -> pa.Table:
    return (
        wide(device, rows)
        .rename_columns(["device_id", "ts", "value"])
        .append_column("metric", pa.array(["m"] * rows))
    )


TABLE = st.builds(
    lambda make, device, rows: make(device, rows),
    st.sampled_from([wide, long]),
    st.sampled_from(["gw-1", "gw-2"]),
    st.integers(1, 7),
)
BODY = st.one_of(
    st.lists(TABLE, min_size=1, max_size=4).map(pack),
    TABLE.map(arrow_stream),  # as its sender made it
)
RECORD = st.one_of(
    BODY.map(lambda body: ("telemetry", body)),
    st.just(("heartbeat", b"")),
    st.just(("label", b"{}")),
)
KINDS = st.lists(RECORD, min_size=1, max_size=12)


def log_of(records: list[tuple[str, bytes]]) -> MemoryLog:
    return MemoryLog([LogRecord(kind, body, 10 * n) for n, (kind, body) in enumerate(records, 1)])


@settings(max_examples=60)
@given(KINDS, st.sampled_from([1, 5, 4096]))
def test_a_log_is_resumed_from_any_position(
    records: list[tuple[str, bytes]], frame_rows: int
) -> None:
    log = log_of([*records, ("heartbeat", b"")])  # a source without a frame would break the law
    check_source(lambda: LogSource(log, frame_rows=frame_rows))  # type: ignore[arg-type]


@settings(max_examples=60)
@given(KINDS, st.sampled_from([1, 5, 4096]))
def test_every_row_comes_once_in_its_order_however_frames_are_joined(
    records: list[tuple[str, bytes]], frame_rows: int
) -> None:
    log = log_of(records)
    heard: list[tuple[int, int]] = []
    rows: list[str] = []

    def hear(number: int, record: LogRecord) -> None:
        heard.append((number, len(rows)))

    for frame, _ in LogSource(log, hear=hear, frame_rows=frame_rows).frames(None):  # type: ignore[arg-type]
        rows += map(repr, frame.to_pylist())
    expected: list[str] = []
    said: list[tuple[int, int]] = []
    for number, record in log.read(0):
        if record.kind == "label":  # in its place between the rows
            said.append((number, len(expected)))
            continue
        one = LogSource(MemoryLog([record]))  # type: ignore[arg-type]
        expected += [repr(row) for frame, _ in one.frames(None) for row in frame.to_pylist()]
    assert rows == expected
    assert heard == said


def test_a_device_does_not_say_when_it_was_heard() -> None:
    lying = wide("gw-1", 2).append_column("recv_ts", pa.array([5, 5], TIME))
    log = log_of([("telemetry", arrow_stream(lying))])
    ((frame, position),) = LogSource(log).frames(None)  # type: ignore[arg-type]
    assert frame["recv_ts"].cast(pa.int64()).to_pylist() == [10, 10]
    assert position == {"seq": 1, "tables": 0}


@pytest.mark.parametrize("more", [[], [("heartbeat", b"")]])
def test_a_source_that_waits_goes_on_with_what_has_come(more: list[tuple[str, bytes]]) -> None:
    records = [("telemetry", pack([wide("gw-1", 2)]))]
    log = MemoryLog(list(log_of(records).records))
    waits = [True, False]

    def wait() -> bool:
        if waits[0]:
            log.records = log_of([*records, *more]).records
        return waits.pop(0)

    frames = list(LogSource(log, wait=wait).frames(None))  # type: ignore[arg-type]
    assert len(frames) == 1 + len(more)
