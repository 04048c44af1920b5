from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.connectors.wire.packing import pack
from aiops.engine.ports import LogRecord
from aiops.service.readings import Reader
from tests.service.fuzz import MemoryLog
from tests.service.payloads import valid

TIME = pa.timestamp("ns", "UTC")
NUMBER = itertools.count()


def wide(device: str, rows: int) -> pa.Table:
    values = [float(next(NUMBER)) for _ in range(rows)]
    return pa.table(
        {
            "device_id": [device] * rows,
            "ts": pa.array(range(rows), TIME),
            "a": values,
            "b": pa.array([value if k % 2 else None for k, value in enumerate(values)]),
        }
    )


def long(device: str, rows: int) -> pa.Table:
    return pa.table(
        {
            "device_id": pa.array([device] * rows).dictionary_encode(),
            "ts": pa.array(range(rows), TIME),
            "metric": ["a", "c", "b"][:3] * 2 if rows == 6 else ["a"] * rows,
            "value": [float(next(NUMBER)) for _ in range(rows)],
            "labels": [None, '{"k":"v"}'] * (rows // 2) + [None] * (rows % 2),
        }
    )


TABLES = st.lists(
    st.builds(
        lambda make, device, rows: make(device, rows),
        st.sampled_from([wide, long]),
        st.sampled_from(["gw-1", "gw-2"]),
        st.integers(1, 6),
    ),
    min_size=1,
    max_size=3,
)


def paged(reader: Reader, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    place: int | None = 0
    while place is not None:
        page, following = reader.read(place, limit)
        assert len(page) <= limit
        assert following is None or following > place
        found += page
        place = following
    return found


@settings(max_examples=60)
@given(
    st.lists(st.none() | TABLES, max_size=6),
    st.integers(1, 9),
    st.sampled_from([None, "gw-1", "nobody"]),
    st.sampled_from([None, "a", "b"]),
)
def test_pages_of_any_size_lose_and_repeat_nothing(
    told: list[list[pa.Table] | None], limit: int, device: str | None, metric: str | None
) -> None:
    records = [
        LogRecord("heartbeat", b"", 1)
        if tables is None
        else LogRecord("telemetry", pack(tables), 1)
        for tables in told
    ]
    log = MemoryLog(records)
    reader = Reader(log, device, metric)  # type: ignore[arg-type]
    whole, following = reader.read(0, 100_000)
    assert following is None
    assert paged(reader, limit) == whole
    every, _ = Reader(log, None, None).read(0, 100_000)  # type: ignore[arg-type]
    assert whole == [
        one
        for one in every
        if device in (None, one["device_id"]) and metric in (None, one["metric"])
    ]
    cells = sum(
        len(table) if "value" in table.schema.names else len(table) * 2 - table["b"].null_count
        for table in itertools.chain.from_iterable(filter(None, told))
    )
    assert len(every) == cells


def test_a_page_ends_when_much_was_read_and_nothing_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiops.service.readings.SCAN_BYTES", 1000)
    bodies = [pack([wide("gw-1", 6)]) for _ in range(20)] + [pack([wide("gw-2", 1)])]
    log = MemoryLog([LogRecord("telemetry", body, 1) for body in bodies])
    reader = Reader(log, "gw-2", None)  # type: ignore[arg-type]
    page, following = reader.read(0, 10)
    assert page == []
    assert following is not None
    assert [one["metric"] for one in paged(reader, 10)] == ["a"]


def test_what_every_protocol_sends_is_read_with_its_device() -> None:
    for payload in valid():
        tables = payload.decode().tables
        if not tables:
            continue  # of another device than its topic
        log = MemoryLog([LogRecord("telemetry", pack(tables), 1)])
        found, _ = Reader(log, None, None).read(0, 1000)  # type: ignore[arg-type]
        assert found, payload.protocol.name
        assert all(one["device_id"] for one in found)


def test_a_page_looks_at_no_more_records_than_it_has_time_for() -> None:
    body = pack([wide("gw-1", 1)])
    looked: list[int] = []

    class Counted(MemoryLog):
        def read(self, after: int) -> Iterator[tuple[int, LogRecord]]:
            for seq, record in super().read(after):
                looked.append(seq)
                yield seq, record

    log = Counted([LogRecord("telemetry", body, 1)] * 5000)
    found, place = Reader(log, "nobody", None).read(0, 10)  # type: ignore[arg-type]
    assert found == []
    assert place is not None
    assert len(looked) < 2500
    pages = 1
    while place is not None:
        found, place = Reader(log, "nobody", None).read(place, 10)  # type: ignore[arg-type]
        pages += 1
    assert pages < 5
    assert looked[-1] == 5000
