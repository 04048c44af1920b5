from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.connectors.wire.limits import Limits
from aiops.connectors.wire.ndjson import TABLES_MAX, decode, decode_json
from aiops.errors import PayloadError, TooLarge
from tests.connectors.wire.encoders import Reading, json_array, ndjson

LIMITS = Limits()
T = 1_760_000_000_000_000_000


def lines(*rows: object) -> bytes:
    return "\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows).encode()


def found(body: bytes, limits: Limits = LIMITS) -> list[dict[str, object]]:
    done = decode(body, 0, limits)
    assert done.refused == ()
    assert done.samples == done.rows
    return [
        {k: v for k, v in row.items() if v is not None}
        for table in done.tables
        for row in table.to_pylist()
    ]


def test_a_row_is_what_its_line_says():
    body = lines(
        '{"device_id": "a", "ts": 1.50, "x": true, "y": null}', {"device_id": "b", "ts": 2}
    )
    assert found(body) == [
        {"device_id": "a", "ts": "1.50", "x": "1"},
        {"device_id": "b", "ts": "2"},
    ]


READINGS = st.lists(
    st.builds(
        Reading,
        st.text(min_size=1, max_size=4),
        st.integers(T, T + 10**15),
        st.sampled_from(["node_boot_time_seconds", "cpu"]),
        st.floats(allow_nan=False, allow_infinity=False),
        st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=60)
@given(READINGS, st.sampled_from([(ndjson, decode), (json_array, decode_json)]))
def test_readings_come_out_as_they_went_in(readings, way):
    encode, read = way
    done = read(encode(readings), 0, LIMITS)
    assert done.refused == ()
    rows = [row for table in done.tables for row in table.to_pylist()]
    assert [r["device_id"] for r in rows] == [r.device for r in readings]
    assert [float(r["value"]) for r in rows] == [r.value for r in readings]
    labels = [json.loads(r["labels"]) if r["labels"] else {} for r in rows]
    assert labels == [r.labels for r in readings]


def test_rows_that_are_not_read_alike_come_in_tables_of_their_own_and_all_of_them():
    rows = [{"host": "a", "ts": k} for k in range(3)]
    rows += [{"gateway": "b", "host": "c", "ts": k} for k in range(2)]
    rows += [{"gateway": "d", "ts": 9}]
    done = decode(lines(*rows), 0, LIMITS)
    assert sum(map(len, done.tables)) == 6
    assert len(done.tables) > 1
    assert done.tables[-1].to_pylist()[-1]["gateway"] == "d"


def test_many_chunks_are_one_table_where_they_are_read_alike():
    rows = [{"host": f"gw-{k % 7}", "ts": k, "note": "x" * 500} for k in range(5000)]
    done = decode(lines(*rows), 0, LIMITS)
    assert len(done.tables) == 1
    assert done.tables[0]["ts"].to_pylist() == [str(k) for k in range(5000)]


def test_bad_lines_are_refused_with_number_and_reason_and_the_others_kept():
    body = lines({"host": "a", "ts": 1}, "", "{", "[1]", {"ts": 2}, {"host": "b", "ts": 3})
    done = decode(body, 0, LIMITS)
    assert done.tables[0]["host"].to_pylist() == ["a", "b"]
    assert done.rejected == 3
    assert [r.example[:6] for r in done.refused] == ["line 3", "line 4", "line 5"]


@pytest.mark.parametrize(
    "line",
    [
        '{"device_id": "a", "device_id": "b", "ts": 1}',
        '{"device_id" : "a", "ts": 1, "device_id"\t:"b"}',
        r'{"device_id": "a", "device\u005fid": "b", "ts": 1}',
        r'{"device_id": "a", "device_id": "b", "ts": "1\u003a2"}',
        r'{"device_id": "a:", "device_id": "b\u003a", "ts": 1}',
        '{"device_id": "a", "ts": 1, "x": "2:3", "x": "4"}',
        '{"device_id": "a", "ts": 1, "labels": {"part": "sda", "part": "sdb"}}',
        '\ufeff{"device_id": "a", "device_id": "b", "ts": 1}',
    ],
)
def test_a_line_with_a_name_twice_is_refused(line):
    good = '{"device_id": "c:", "ts": "12:00", "labels": {"a:b": "c:d", "e": "\\u003a"}}'
    done = decode(lines(good, line, good), 0, LIMITS)
    assert done.rows == 2
    assert [(r.reason, r.count, r.example[:7]) for r in done.refused] == [
        ("a name is there twice in one object", 1, "line 2:")
    ]
    array = decode_json(f"[{good}, {line.removeprefix(chr(0xFEFF))}]".encode(), 0, LIMITS)
    assert (array.rows, array.rejected) == (1, 1)


NAMES = st.sampled_from(["device_id", "ts", "a", "b:", "c"])
VALUES = st.one_of(st.integers(0, 9), st.text(':a\\"', max_size=3), st.just(1.5))


@settings(max_examples=200)
@given(st.lists(st.tuples(NAMES, VALUES), max_size=6), st.booleans())
def test_names_that_are_there_twice_are_always_seen(pairs, ascii_only):
    pairs = [("device_id", "x"), ("ts", 1), *pairs]
    members = (f"{json.dumps(n)}:{json.dumps(v, ensure_ascii=ascii_only)}" for n, v in pairs)
    done = decode(f"{{{','.join(members)}}}".encode(), 0, LIMITS)
    assert done.rejected == (len({n for n, _ in pairs}) < len(pairs))


def test_rows_without_a_device_are_refused():
    done = decode(lines({"host": "a", "ts": 1}, {"host": None, "ts": None}), 0, LIMITS)
    assert (done.rows, done.rejected) == (1, 1)


def test_an_object_alone_and_a_pretty_array_are_json():
    assert decode_json(b' {"host":\n"a", "ts":\n1} \n', 0, LIMITS).rows == 1
    assert decode_json(b"[]", 0, LIMITS).rows == 0
    assert (
        decode_json(json.dumps([{"host": "a", "ts": 1}] * 3, indent=2).encode(), 0, LIMITS).rows
        == 3
    )


@pytest.mark.parametrize("body", [b"", b"7", b'"host"', b"[1", b"[" * 100_000, b'{"a"', b"\xff"])
def test_what_is_neither_array_nor_object_is_no_payload(body):
    try:
        done = decode_json(body, 0, LIMITS)
    except PayloadError:
        return
    assert (done.rows, done.rejected) == (0, 1)


def test_depth_without_end_is_a_bad_line():
    deep = '{"host": "a", "ts": 1, "x": ' + "[" * 200_000 + "]" * 200_000 + "}"
    done = decode(lines(deep, {"host": "b", "ts": 1}), 0, LIMITS)
    assert (done.rows, done.rejected) == (1, 1)


def test_kinds_of_rows_that_alternate_for_ever_are_too_large():
    rows = [{"host": "a", "ts": 1}, {"gateway": "b", "ts": 1}] * (TABLES_MAX // 2)
    assert decode(lines(*rows), 0, LIMITS).rows == TABLES_MAX
    with pytest.raises(TooLarge, match="alternate"):
        decode(lines(*rows, rows[0]), 0, LIMITS)


def test_cells_are_counted_before_tables_are_made():
    rows = [{"host": "a", "ts": 1, f"m{k}": 1} for k in range(100)]
    assert len(found(lines(*rows), Limits(cells=100 * 102))) == 100
    with pytest.raises(TooLarge, match="more than 10199 cells"):
        decode(lines(*rows), 0, Limits(cells=100 * 102 - 1))


def test_a_body_of_nothing_but_bad_lines_is_no_ndjson():
    with pytest.raises(PayloadError, match="more than 10000 lines are bad"):
        decode(b"x\n" * 10_001, 0, LIMITS)


def test_damage_raises_nothing_else():
    draw = random.Random(5)
    rows = [Reading("gw-1", T, "cpu", 0.5, {"a": "b"}, "north"), Reading("gw-2", T, "up", 1.0)]
    bodies = [(ndjson(rows), decode), (json_array(rows), decode_json)]
    told = {True: 0, False: 0}
    for _ in range(2000):
        body, read = draw.choice(bodies)
        damaged = bytearray(body)
        for _ in range(draw.randint(1, 3)):
            damaged[draw.randrange(len(damaged))] = draw.choice((34, 92, 10, draw.randrange(256)))
        try:
            done = read(bytes(damaged), 0, LIMITS)
        except PayloadError:
            continue
        told[done.rejected > 0] += 1
        for table in done.tables:
            table.validate(full=True)
    assert min(told.values()) > 50
