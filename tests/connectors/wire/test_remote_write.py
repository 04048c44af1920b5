from __future__ import annotations

import json
import random
import struct
import threading
from collections.abc import Callable
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.connectors.wire import remote_write, remote_write_series
from aiops.connectors.wire.decoded import READINGS, Decoded
from aiops.connectors.wire.limits import Limits
from aiops.connectors.wire.remote_write import SERIES_MAX, STALE, decode_v1, decode_v2
from aiops.errors import PayloadError, TooLarge
from tests.connectors.wire import prometheus_pb2 as pb
from tests.connectors.wire.encoders import (
    MS,
    Reading,
    address,
    label_bytes,
    remote_write_v1,
    remote_write_v2,
)
from tests.oracles.remote_write import read

LIMITS = Limits()
T = 1_760_000_000_000 * MS
BOTH = [(remote_write_v1, decode_v1), (remote_write_v2, decode_v2)]
both = pytest.mark.parametrize(("encode", "decode"), BOTH, ids=["v1", "v2"])

SAMPLE = pb.Sample(value=1.0, timestamp=T // MS)

WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=4)
SAMPLES = st.lists(
    st.builds(
        Reading,
        st.sampled_from(["gw-1", "gw-2", "fe80::1", "é"]),
        st.integers(-(10**6), 2 * 10**12).map(lambda ms: ms * MS),
        st.sampled_from(["up", "node_boot_time_seconds"]),
        st.floats(),
        st.dictionaries(st.sampled_from(["job", "device", "é"]), WORDS, max_size=3),
        st.sampled_from([None, "north"]),
        st.sampled_from([None, "B"]),
    ),
    min_size=1,
    max_size=30,
)


def bits(values: object) -> list[int]:
    return np.asarray(values, np.float64).view(np.uint64).tolist()


@both
@settings(max_examples=60)
@given(readings=SAMPLES)
def test_readings_come_out_as_they_went_in(encode, decode, readings):
    done = decode(encode(readings), 0, LIMITS)
    assert done.refused == ()
    (table,) = done.tables
    table.validate(full=True)
    assert table.schema == READINGS
    assert done.samples == done.rows == len(readings)
    rows = table.to_pylist()
    assert [r["device_id"] for r in rows] == [r.device for r in readings]
    assert [r["metric"] for r in rows] == [r.metric for r in readings]
    assert table["ts"].cast("int64").to_pylist() == [r.ts_ns for r in readings]
    assert bits(table["value"].to_numpy()) == bits([r.value for r in readings])
    for row, reading in zip(rows, readings, strict=True):
        told = json.loads(row["labels"])
        assert told.pop("instance") == address(reading.device)
        assert told == {k: v for k, v in reading.all_labels("").items() if k}
        assert (row["site"], row["cohort"]) == (reading.site, reading.cohort)


@both
def test_one_device_has_several_exporters(encode, decode):
    readings = [Reading("gw-17", T, "up", 1.0, {"job": job}) for job in ("node", "smartctl")]
    done = decode(encode(readings).replace(b"9100", b"9633", 1), 0, LIMITS)
    assert set(done.tables[0]["device_id"].to_pylist()) == {"gw-17"}


@both
def test_what_was_seen_before_changes_speed_only(encode, decode, monkeypatch):
    draw = random.Random(1)
    series = [
        Reading(f"gw-{k % 9}", T, f"m{k % 5}", 0.0, {"k": str(k)}, draw.choice([None, "north"]))
        for k in range(60)
    ]
    messages = []
    for n in range(40):
        some = draw.sample(series, draw.randint(1, 60)) if n % 3 else series
        messages.append(encode([r._replace(value=draw.random(), ts_ns=T + n * MS) for r in some]))
    warm = [decode(body, 0, LIMITS) for body in messages]
    cold = []
    for body in messages:
        remote_write._known.clear()
        cold.append(decode(body, 0, LIMITS))
    monkeypatch.setattr(
        remote_write_series, "KNOWN_BYTES_MAX", 30_000
    )  # forgets every few messages
    monkeypatch.setattr(remote_write_series, "SHAPES_BYTES_MAX", 5_000)
    forgetful = [decode(body, 0, LIMITS) for body in messages]
    assert warm == cold == forgetful


def fleet(begin: int, end: int) -> list[Reading]:
    return [Reading(f"d{k}", T, "up", 1.0, {"x": "y" * 500}) for k in range(begin, end)]


def odd_v1() -> bytes:
    """Return labels around samples, twice, without values, and not UTF-8."""
    sample = b"\x12" + bytes([SAMPLE.ByteSize()]) + SAMPLE.SerializeToString()
    up, gw, other, bad, empty = (
        b"\n" + bytes([len(pair)]) + pair
        for pair in (
            b"\n\x08__name__\x12\x02up",
            b"\n\x08instance\x12\x04gw-1",
            b"\n\x08instance\x12\x04gw-2",
            b"\n\x01a\x12\x01\xff",
            b"\n\x01\xff\x12\0",
        )
    )
    several = [
        up + gw + sample,
        up + sample + gw + sample,
        sample + up + gw,
        up + gw + other + sample,
        up + gw + bad + sample,
        up + gw + empty + sample + sample,
        up + sample,
        sample,
        up + gw + b"\x12\x0b\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ]
    return b"".join(b"\n" + bytes([len(one)]) + one for one in several + several[:3])


def pool() -> list[tuple[Callable[..., Decoded], bytes]]:
    some = fleet(0, 6)
    found = [
        (decode, encode(part))
        for encode, decode in BOTH
        for part in (some, some[::-1], some[2:], some[:3] + some[:3], fleet(6, 12), fleet(9, 18))
    ]
    whole = remote_write_v1(some)
    return [*found, (decode_v1, odd_v1()), (decode_v1, whole[:-3]), (decode_v2, found[6][1][:-3])]


POOL = pool()


def told(decode: Callable[..., Decoded], body: bytes) -> Decoded | str:
    try:
        return decode(body, 0, LIMITS)
    except PayloadError as error:
        return str(error)


@settings(max_examples=60)
@given(
    order=st.lists(st.integers(0, len(POOL) - 1), min_size=5, max_size=60),
    most=st.sampled_from([1_000, 8_000, 20_000]),
)
def test_no_result_depends_on_what_came_before(order, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote_write_series, "KNOWN_BYTES_MAX", most)
        patch.setattr(remote_write_series, "SHAPES_BYTES_MAX", 8_000)
        patch.setattr(remote_write_series, "PATIENCE", 0.5)
        remote_write._known.clear()
        found = [told(*POOL[k]) for k in order]
    assert found == [alone(k) for k in order]


@cache
def alone(k: int) -> Decoded | str:
    remote_write._known.clear()
    return told(*POOL[k])


@both
def test_memory_is_bounded(encode, decode, monkeypatch):
    monkeypatch.setattr(remote_write_series, "KNOWN_BYTES_MAX", 200_000)
    monkeypatch.setattr(remote_write_series, "SHAPES_BYTES_MAX", 100_000)
    remote_write._known.clear()
    for n in range(100):
        decode(encode(fleet(20 * n, 20 * n + 20)), 0, LIMITS)
        known = remote_write._known[LIMITS]
        assert known.size <= 200_000
        assert known.shapes_size <= 100_000
    assert known.size > 50_000
    assert known.shapes_size > 50_000


@both
def test_series_that_are_used_stay_when_there_is_no_room_and_others_go(encode, decode, monkeypatch):
    monkeypatch.setattr(remote_write_series, "KNOWN_BYTES_MAX", 200_000)
    remote_write._known.clear()
    often, gone = encode(fleet(0, 20)), encode(fleet(20, 40))
    first, _ = decode(often, 0, LIMITS), decode(gone, 0, LIMITS)
    known = remote_write._known[LIMITS]
    for n in range(2, 100):
        again = decode(often, 0, LIMITS)
        assert again == first
        decode(encode(fleet(20 * n, 20 * n + 20)), 0, LIMITS)
    learnt: list[int] = []
    learn = known.learn
    monkeypatch.setattr(
        known, "learn", lambda book, told: (learnt.append(len(told)), learn(book, told))
    )
    assert decode(often, 0, LIMITS) == first
    assert learnt == []
    decode(gone, 0, LIMITS)
    assert learnt == [20]


@both
def test_what_is_left_after_forgetting_means_the_same(encode, decode):
    gone, left, both_ = (encode(fleet(*span)) for span in ((0, 20), (20, 40), (0, 40)))
    odd = (decode_v1, odd_v1())
    remote_write._known.clear()
    first = [told(*one) for one in ((decode, gone), (decode, left), (decode, both_), odd)]
    remote_write._known.clear()
    decode(gone, 0, LIMITS)
    known = remote_write._known[LIMITS]
    book = known.v1 if decode is decode_v1 else known.v2
    before = decode(left, 0, LIMITS)
    for _ in range(3):
        decode(gone, 0, LIMITS)
    book.rest()
    decode(left, 0, LIMITS)
    texts = known.texts.n
    known.forget()
    assert book.n == 20
    assert known.texts.n < texts
    again = decode(left, 0, LIMITS)
    assert book.n == 20
    assert again == before
    dictionaries = [t.tables[0]["labels"].chunk(0).dictionary for t in (before, again)]
    assert address_of(dictionaries[0]) == address_of(dictionaries[1])
    for _ in range(4):
        new = [told(*odd)]  # its strings take the numbers of those that have gone
        assert new == first[3:]
    assert [told(decode, body) for body in (gone, left, both_)] == first[:3]
    assert [told(decode, body) for body in (both_, left, gone)] == first[2::-1]


@both
def test_the_same_series_in_the_same_order_have_the_same_dictionaries(encode, decode):
    remote_write._known.clear()
    some = fleet(0, 20)
    one, two = (
        decode(encode([r._replace(value=v, ts_ns=T + n * MS) for r in some]), 0, LIMITS).tables[0]
        for n, v in enumerate((1.0, 2.0))
    )
    other = decode(encode(some[::-1]), 0, LIMITS).tables[0]
    for name in ("device_id", "metric", "labels"):
        first, second, third = (t[name].chunk(0).dictionary for t in (one, two, other))
        assert address_of(first) == address_of(second) != address_of(third)


def address_of(texts: pa.Array) -> int:
    return texts.buffers()[1].address


@both
def test_threads_may_decode_at_once(encode, decode):
    remote_write._known.clear()
    bodies = [
        encode([Reading(f"gw-{k}", T, f"m{n % 3}", float(k), {"n": str(n % 7)}) for k in range(50)])
        for n in range(21)
    ]
    alone = [decode(body, 0, LIMITS) for body in bodies]
    remote_write._known.clear()
    results: dict[int, list[object]] = {}

    def work(number: int) -> None:
        results[number] = [decode(body, 0, LIMITS) for body in bodies]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(results[n] == alone for n in range(4))


@both
def test_a_stale_marker_keeps_its_bits(encode, decode):
    done = decode(encode([Reading("gw-1", T, "up", STALE_NAN)]), 0, LIMITS)
    assert bits(done.tables[0]["value"].to_numpy()) == [STALE]


def v1(labels: dict[str, str], **fields: object) -> bytes:
    series = pb.TimeSeries1(labels=label_bytes(labels), **fields)
    return pb.WriteRequest(timeseries=[series]).SerializeToString()


UP = {"__name__": "up", "instance": "gw-1:9100"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (v1({"__name__": "up", "device": "sda"}, samples=[SAMPLE]), "no label names the device"),
        (v1({"instance": "gw-1:9100"}, samples=[SAMPLE]), "no metric name"),
        (v1(UP | {str(k): "x" for k in range(64)}, samples=[SAMPLE]), "more than 64 labels"),
        (v1(UP | {"x": "x" * 4097}, samples=[SAMPLE]), "a label value of more than 4096 bytes"),
        (v1(UP | {"x" * 257: "x"}, samples=[SAMPLE]), "a label name of more than 256 bytes"),
        (v1(UP | {"__name__": "x" * 257}, samples=[SAMPLE]), "a metric name of more than 256"),
        (v1(UP | {"instance": "x" * 257}, samples=[SAMPLE]), "a device's name of more than 256"),
        (v1(UP, samples=[pb.Sample(timestamp=2**63 - 1)]), "a time beyond what nanoseconds"),
        (v1(UP, samples=[pb.Sample(timestamp=-(2**63))]), "a time beyond what nanoseconds"),
        (v1({**UP, "aa": "b"}, samples=[SAMPLE]).replace(b"aa", b"a\xff"), "a label is no UTF-8"),
        (
            v1({**UP, "instancf": "b"}, samples=[SAMPLE]).replace(b"instancf", b"instance"),
            "a label is there twice",
        ),
    ],
)
def test_a_series_that_cannot_be_taken_is_refused_and_the_others_kept(body, said):
    body += v1(UP, samples=[SAMPLE, SAMPLE])
    for _ in range(2):  # the second time it is known
        done = decode_v1(body, 0, LIMITS)
        assert done.samples == done.rows == 2
        ((reason, count, example),) = [(r.reason, r.count, r.example) for r in done.refused]
        assert reason.startswith(said)
        assert count == 1
        assert example


def test_version_2_refuses_labels_likewise():
    symbols = [b"", b"__name__", b"up", b"instance", b"gw-1:9100", b"x"]
    series = [
        pb.TimeSeries2(labels_refs=refs, samples=[SAMPLE])
        for refs in ([1, 2, 3, 4], [1, 2], [5, 5] * 66, [1, 2, 3, 4, 3, 4], [])
    ]
    done = decode_v2(pb.Request(symbols=symbols, timeseries=series).SerializeToString(), 0, LIMITS)
    assert done.rows == 1
    assert [r.reason for r in done.refused] == [
        "no label names the device",
        "more than 64 labels",
        "a label is there twice",
        "no metric name",
    ]


@pytest.mark.parametrize(
    ("symbols", "refs", "said"),
    [
        ([b"", b"a"], [1, 2], "refers to symbol 2; there are 2"),
        ([], [0, 0], "refers to symbol 0; there are 0"),
        ([b"", b"a"], [1], "a name and to no value"),
        ([b"a"], [], "the first symbol must be empty"),
    ],
)
def test_references_to_nowhere_are_damage(symbols, refs, said):
    series = pb.TimeSeries2(labels_refs=refs, samples=[SAMPLE])
    body = pb.Request(symbols=symbols, timeseries=[series]).SerializeToString()
    with pytest.raises(PayloadError, match=said):
        decode_v2(body, 0, LIMITS)


(STALE_NAN,) = struct.unpack("<d", struct.pack("<Q", STALE))
HISTOGRAMS = [
    (pb.Histogram(count_int=7, sum=2.5, timestamp=5), [7.0, 2.5]),
    (pb.Histogram(count_float=7.5, sum=2.5, timestamp=5, positive_counts=[1.0]), [7.5, 2.5]),
    (pb.Histogram(timestamp=5), [0.0, 0.0]),
    (pb.Histogram(count_int=7, sum=STALE_NAN, timestamp=5), None),
]


@pytest.mark.parametrize(("histogram", "values"), HISTOGRAMS)
def test_a_histogram_becomes_its_count_and_sum(histogram, values):
    labels = {"__name__": "rtt_seconds", "instance": "gw-1:9100"}
    body = v1(labels, histograms=[histogram.SerializeToString()], exemplars=[b"e", b"e"])
    symbols = [b"", *(text.encode() for label in labels.items() for text in label)]
    series = pb.TimeSeries2(
        labels_refs=[1, 2, 3, 4], histograms=[histogram.SerializeToString()], exemplars=[b"e", b"e"]
    )
    two = pb.Request(symbols=symbols, timeseries=[series]).SerializeToString()
    done = decode_v1(body + v1(UP, samples=[SAMPLE]), 0, LIMITS)
    assert (done.samples, done.histograms, done.exemplars, done.rows) == (1, 1, 2, 3)
    table = done.tables[0].slice(1)
    assert table["metric"].to_pylist() == ["rtt_seconds_count", "rtt_seconds_sum"]
    assert table["ts"].cast("int64").to_pylist() == [5 * MS] * 2
    found = table["value"].to_numpy()
    assert bits(found) == ([STALE] * 2 if values is None else bits(values))
    again = decode_v2(two, 0, LIMITS)
    assert again.tables[0].to_pylist()[0]["device_id"] == "gw-1"
    assert bits(again.tables[0]["value"].to_numpy()) == bits(found)
    assert (again.samples, again.histograms, again.exemplars) == (0, 1, 2)


def test_histograms_of_refused_series_are_refused():
    one = pb.Histogram(count_int=1, timestamp=2**60).SerializeToString()
    body = v1({"__name__": "x"}, histograms=[one], samples=[SAMPLE]) + v1(UP, histograms=[one])
    done = decode_v1(body, 0, LIMITS)
    assert (done.rows, done.samples, done.histograms) == (0, 0, 0)
    assert [r.count for r in done.refused] == [2, 1]


@both
def test_times_are_kept_beside_histograms_that_are_all_refused(encode, decode):
    late = pb.Histogram(count_int=1, timestamp=2**60).SerializeToString()
    body = encode([Reading("gw-1", T, "up", 1.0)])
    if decode is decode_v1:
        body += v1(UP, histograms=[late])
    else:
        body += pb.Request(
            timeseries=[pb.TimeSeries2(labels_refs=[], histograms=[late])]
        ).SerializeToString()
    done = decode(body, 0, LIMITS)
    assert (done.rows, done.rejected) == (1, 1)
    assert done.tables[0]["ts"].cast("int64").to_pylist() == [T]


def test_series_without_readings_cost_nothing_and_metadata_are_passed_over():
    body = v1({"anything": "x"}) + pb.WriteRequest(metadata=[b"m"]).SerializeToString()
    done = decode_v1(body, 0, LIMITS)
    assert (done.tables, done.refused) == ((), ())
    assert decode_v1(b"", 0, LIMITS).rows == decode_v2(b"", 0, LIMITS).rows == 0


def test_more_than_is_allowed_is_too_large():
    one = v1(UP, samples=[SAMPLE])
    with pytest.raises(TooLarge):
        decode_v1(one * (SERIES_MAX + 1), 0, LIMITS)
    assert decode_v1(one * 10, 0, Limits(cells=70)).rows == 10
    with pytest.raises(TooLarge):
        decode_v1(one * 11, 0, Limits(cells=70))


def test_warming_decodes_a_message_of_each_version():
    remote_write._known.clear()
    remote_write.warm(LIMITS)
    known = remote_write._known[LIMITS]
    assert (known.v1.n, known.v2.n) == (1, 1)
    assert known.meaning(known.v1, 0) == known.meaning(known.v2, 0) == MEANT


MEANT = ("one", "up", '{"instance":"one"}', None, None)


@both
def test_damage_raises_nothing_else_and_counts_as_the_library_does(encode, decode):
    draw = random.Random(11)
    body = encode([Reading(f"gw-{k}", T, "up", 1.0, {"job": "node"}) for k in range(3)])
    damaged = taken = 0
    for _ in range(2000):
        mutated = bytearray(body)
        for _ in range(draw.randint(1, 3)):
            mutated[draw.randrange(len(mutated))] = draw.choice((0, 10, 18, draw.randrange(256)))
        try:
            done = decode(bytes(mutated), 0, LIMITS)
        except PayloadError:
            damaged += 1
            continue
        taken += 1
        message = read(bytes(mutated), is_v2=decode is decode_v2)
        assert message is not None
        assert done.samples + done.histograms + done.rejected == sum(
            len(one.samples) + len(one.histograms) for one in message.series
        )
    assert min(damaged, taken) > 100
