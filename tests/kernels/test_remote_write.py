from __future__ import annotations

import random
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.kernels.remote_write import (
    DAMAGED,
    GROUPED,
    TOO_MANY,
    UNUSUAL,
    Interned,
    intern,
    pairs,
    scan,
)
from aiops.kernels.rows import I8
from tests.connectors.wire import prometheus_pb2 as pb
from tests.kernels.interning import interned
from tests.oracles.remote_write import Message, Series, read

NOTHING = interned(0, 0)
EXAMPLES = 200 if hasattr(scan, "signatures") else 40
"""Fewer where kernels are not compiled."""


class Scanned(NamedTuple):
    message: Message
    spans: I8
    """[s, 2] labels, from and to."""
    ids: list[int]


def scanned(
    body: bytes,
    *,
    is_v2: bool,
    room: int | None = None,
    known: Interned = NOTHING,
    n_known: int = 0,
) -> Scanned | int:
    n = len(body) + 1 if room is None else room
    series, histogram, symbol = (np.zeros((n, w), np.int64) for w in (4, 2, 2))
    ts, bits = np.zeros(n, np.int64), np.zeros(n, np.int64)
    refs, ids = np.zeros(n, np.uint32), np.zeros(n, np.int32)
    data = np.frombuffer(body, np.uint8)
    s, _, h, k, _, exemplars = scan(
        data, is_v2, series, ts, bits, histogram, symbol, refs, known, n_known, ids
    )
    if s < 0:
        return s
    pieces = [body[begin:end] for begin, end in histogram[:h].tolist()]
    found = []
    at = piece = 0
    for begin, end, samples, histograms in series[:s].tolist():
        labels = (
            refs[begin:end].tolist()
            if is_v2
            else list(pb.TimeSeries1.FromString(body[begin:end]).labels)
        )
        read = [(int(ts[n]), int(bits[n])) for n in range(at, at + samples)]
        found.append(Series(labels, read, pieces[piece : piece + histograms], 0))
        at, piece = at + samples, piece + histograms
    symbols = [body[begin:end] for begin, end in symbol[:k].tolist()]
    message = Message([*found, Series([], [], [], exemplars)], symbols)
    return Scanned(message, series[:s, :2].copy(), ids[:s].tolist())


def agree_when_known(body: bytes, first: Scanned) -> None:
    """Check that a message of version 1 is read the same when its series are known."""
    known = interned(len(first.spans), int(np.diff(first.spans).sum()))
    ids = np.zeros(len(first.spans), np.int32)
    n = intern(known, 0, np.frombuffer(body, np.uint8), first.spans, ids)
    for _ in range(3):  # unknown to be plain, then plain, then passed over
        again = scanned(body, is_v2=False, known=known, n_known=n)
        assert isinstance(again, Scanned)
        assert again.message == first.message
        assert (again.spans == first.spans).all()
        assert again.ids == ids.tolist()
    known.after[:n] = n - 1  # wrong guesses
    last = scanned(body, is_v2=False, known=known, n_known=n)
    assert isinstance(last, Scanned)
    assert (last.message, last.ids) == (first.message, ids.tolist())


def expected(body: bytes, *, is_v2: bool) -> Message | None:
    message = read(body, is_v2=is_v2)
    if message is None:
        return None
    exemplars = sum(one.exemplars for one in message.series)
    found = [one._replace(exemplars=0) for one in message.series]
    return Message([*found, Series([], [], [], exemplars)], message.symbols)


def agree(body: bytes, *, is_v2: bool) -> None:
    found = scanned(body, is_v2=is_v2)
    if found == GROUPED:  # the library passes over them; nobody sends them
        return
    message = found.message if isinstance(found, Scanned) else None
    assert message == expected(body, is_v2=is_v2)
    if isinstance(found, Scanned) and not is_v2:
        agree_when_known(body, found)


NUMBERS = st.integers(-(2**63), 2**63 - 1)
SAMPLES = st.lists(
    st.builds(pb.Sample, value=st.floats(), timestamp=NUMBERS, start_timestamp=NUMBERS), max_size=3
)
SOME = st.lists(st.binary(max_size=9), max_size=3)
V1 = st.builds(
    pb.WriteRequest,
    timeseries=st.lists(
        st.builds(
            pb.TimeSeries1,
            labels=st.lists(st.binary(max_size=200), max_size=4),
            samples=SAMPLES,
            exemplars=SOME,
            histograms=SOME,
        ),
        max_size=4,
    ),
    metadata=SOME,
)
V2 = st.builds(
    pb.Request,
    symbols=st.lists(st.binary(max_size=200), max_size=4),
    timeseries=st.lists(
        st.builds(
            pb.TimeSeries2,
            labels_refs=st.lists(st.integers(0, 2**32 - 1), max_size=6),
            samples=SAMPLES,
            exemplars=SOME,
            histograms=SOME,
            metadata=st.binary(max_size=9),
        ),
        max_size=4,
    ),
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(V1)
def test_a_message_of_version_1_is_read_as_the_library_reads_it(message):
    body = message.SerializeToString()
    agree(body, is_v2=False)
    agree(body, is_v2=True)  # where other fields mean other things
    assert isinstance(scanned(body, is_v2=False), Scanned)


@settings(max_examples=EXAMPLES, deadline=None)
@given(V2)
def test_a_message_of_version_2_is_read_as_the_library_reads_it(message):
    body = message.SerializeToString()
    agree(body, is_v2=True)
    agree(body, is_v2=False)
    assert isinstance(scanned(body, is_v2=True), Scanned)


def typical(*, is_v2: bool) -> bytes:
    sample = pb.Sample(value=1.5, timestamp=1_700_000_000_000)
    if is_v2:
        one = pb.TimeSeries2(labels_refs=[1, 2, 300, 70_000], samples=[sample], histograms=[b"h"])
        return pb.Request(
            symbols=[b"", b"a", b"b" * 200], timeseries=[one, one]
        ).SerializeToString()
    labels = [b"\n\x01a\x12\x01b", b"\n\x01c\x12\x82\x01" + b"d" * 130]
    one1 = pb.TimeSeries1(labels=labels, samples=[sample, sample], exemplars=[b"e"])
    return pb.WriteRequest(timeseries=[one1, one1], metadata=[b"m"]).SerializeToString()


@pytest.mark.parametrize("is_v2", [False, True])
def test_damaged_messages_are_read_as_the_library_reads_them(is_v2):
    draw = random.Random(7)
    body = typical(is_v2=is_v2)
    kinds = set()
    for _ in range(20 * EXAMPLES):
        damaged = bytearray(body)
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(damaged))
            how = draw.randrange(4)
            if how == 0:
                damaged[at] = draw.choice(
                    (0, 1, 8, 9, 10, 13, 16, 18, 127, 128, 255, draw.randrange(256))
                )
            elif how == 1:
                damaged[at:at] = draw.randbytes(draw.randint(1, 11))
            elif how == 2:
                damaged[at:at] = b"\x80" * draw.randint(1, 10) + bytes([draw.randrange(4)])
            else:
                del damaged[at : at + draw.randint(1, 4)]
            damaged = damaged or bytearray(b"\n")
        agree(bytes(damaged), is_v2=is_v2)
        found = scanned(bytes(damaged), is_v2=is_v2)
        kinds.add(found if isinstance(found, int) else 0)
    assert kinds == {0, DAMAGED, GROUPED}


@pytest.mark.parametrize("is_v2", [False, True])
def test_every_cut_of_a_message_is_read_as_the_library_reads_it(is_v2):
    body = typical(is_v2=is_v2)
    for end in range(len(body)):
        agree(body[:end], is_v2=is_v2)


@pytest.mark.parametrize("is_v2", [False, True])
def test_arrays_are_never_written_beyond_their_end(is_v2):
    assert scanned(typical(is_v2=is_v2), is_v2=is_v2, room=1) == TOO_MANY
    empty = scanned(b"", is_v2=is_v2, room=0)
    assert isinstance(empty, Scanned)
    assert empty.message == Message([Series([], [], [], 0)], [])


def test_labels_in_two_places_are_read_when_known_with_what_is_between():
    sample = b"\x12" + bytes([len(SAMPLE)]) + SAMPLE
    a, b = (b"\n\x06\n\x01" + name + b"\x12\x01v" for name in (b"a", b"b"))
    bodies = [
        sample + a + b,
        a + b + sample,
        a + sample + b + sample,
        a + sample + b,
        a + b"\x1a\0" + b,
    ]
    body = b"".join(b"\n" + bytes([len(one)]) + one for one in [*bodies, *bodies])
    agree(body, is_v2=False)


SAMPLE = pb.Sample(value=-1.5, timestamp=-5).SerializeToString()


@pytest.mark.parametrize(
    ("run", "labels"),
    [
        (b"", []),
        (b"\n\x06\n\x01a\x12\x01b\n\x04\n\0\x12\0", [b"a", b"b", b"", b""]),
        (b"\n\x03\n\x01a", None),  # no value
        (b"\n\x06\x12\x01b\n\x01a", None),
        (b"\n\x06\n\x01a\x12\x02b", None),
        (b"\n\x06\n\x01a\x12\x01", None),
        (b"\n\x07\n\x01a\x12\x01bc", None),
        (b"\n\x83\x01\n\x01a\x12\x7e" + b"b" * 126, None),
    ],
)
def test_labels_are_cut_into_names_and_values_or_left_to_others(run, labels):
    other = b"\n\x06\n\x01x\x12\x01y"
    data = other + run + other
    spans, count = np.zeros((len(data) // 3 + 2, 2), np.int64), np.zeros(3, np.int64)
    begin = np.cumsum([0, len(other), len(run), len(other)])
    n = pairs(np.frombuffer(data, np.uint8), begin, spans, count)
    found = [data[first:last] for first, last in spans[:n].tolist()]
    assert found == [b"x", b"y", *(labels or []), b"x", b"y"]
    assert count.tolist() == [1, UNUSUAL if labels is None else len(labels) // 2, 1]
