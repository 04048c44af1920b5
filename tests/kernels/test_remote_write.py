from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.kernels.remote_write import DAMAGED, GROUPED, TOO_MANY, scan
from tests.connectors.wire import prometheus_pb2 as pb
from tests.kernels.interning import interned
from tests.oracles.remote_write import Message, Series, read

NOTHING = interned(0, 0)


def scanned(body: bytes, *, is_v2: bool, room: int | None = None) -> Message | int:
    n = len(body) + 1 if room is None else room
    series, histogram, symbol = (np.zeros((n, w), np.int64) for w in (4, 2, 2))
    ts, bits = np.zeros(n, np.int64), np.zeros(n, np.int64)
    refs = np.zeros(n, np.uint32)
    data = np.frombuffer(body, np.uint8)
    ids = np.zeros(n, np.int32)
    s, _, h, k, _, exemplars = scan(
        data, is_v2, series, ts, bits, histogram, symbol, refs, NOTHING, 0, ids
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
    return Message([*found, Series([], [], [], exemplars)], symbols)


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
    assert (None if found == DAMAGED else found) == expected(body, is_v2=is_v2)


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


@settings(max_examples=150, deadline=None)
@given(V1)
def test_a_message_of_version_1_is_read_as_the_library_reads_it(message):
    body = message.SerializeToString()
    agree(body, is_v2=False)
    agree(body, is_v2=True)  # where other fields mean other things
    assert isinstance(scanned(body, is_v2=False), Message)


@settings(max_examples=150, deadline=None)
@given(V2)
def test_a_message_of_version_2_is_read_as_the_library_reads_it(message):
    body = message.SerializeToString()
    agree(body, is_v2=True)
    agree(body, is_v2=False)
    assert isinstance(scanned(body, is_v2=True), Message)


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
    for _ in range(4000):
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
    assert scanned(b"", is_v2=is_v2, room=0) == Message([Series([], [], [], 0)], [])
