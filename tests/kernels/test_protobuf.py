from __future__ import annotations

import random

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest as Logs
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest as Metrics,
)
from opentelemetry.proto.common.v1 import common_pb2 as common
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

from aiops.connectors.wire.messages import MESSAGES_MAX, shape_of
from aiops.connectors.wire.sparkplug_b_pb2 import Payload
from aiops.kernels.protobuf import DAMAGED, DEPTH, GROUPED, RUN, count_messages
from tests.oracles.protobuf import GroupFound, count, made

EXAMPLES = 100 if hasattr(count_messages, "signatures") else 40
"""Fewer where kernels are not compiled."""
SHAPES = [shape_of(one) for one in (Metrics, Logs, Payload)]
METRICS = SHAPES[0]

WORDS = st.text(max_size=3)
VALUES = st.recursive(
    st.builds(common.AnyValue, string_value=WORDS),
    lambda inner: st.builds(
        common.AnyValue,
        array_value=st.builds(common.ArrayValue, values=st.lists(inner, max_size=3)),
    ),
    max_leaves=4,
)
PAIRS = st.lists(st.builds(common.KeyValue, key=WORDS, value=VALUES), max_size=2)
COUNTS = st.lists(st.integers(0, 2**64 - 1) | st.just(1), max_size=9)
BUCKETS = st.builds(
    pb.ExponentialHistogramDataPoint.Buckets, offset=st.just(-3), bucket_counts=COUNTS
)
KINDS = st.one_of(
    st.builds(
        pb.Metric,
        name=WORDS,
        gauge=st.builds(
            pb.Gauge,
            data_points=st.lists(
                st.builds(pb.NumberDataPoint, attributes=PAIRS, as_double=st.floats()), max_size=3
            ),
        ),
    ),
    st.builds(
        pb.Metric,
        exponential_histogram=st.builds(
            pb.ExponentialHistogram,
            data_points=st.lists(
                st.builds(pb.ExponentialHistogramDataPoint, positive=BUCKETS, attributes=PAIRS),
                max_size=2,
            ),
        ),
    ),
)
ENTITIES = st.lists(
    st.builds(common.EntityRef, type=WORDS, id_keys=st.lists(WORDS, max_size=3)), max_size=2
)


@st.composite
def requests(draw: st.DrawFn) -> Metrics:
    request = Metrics()
    for _ in range(draw(st.integers(0, 2))):
        one = request.resource_metrics.add()
        one.resource.attributes.extend(draw(PAIRS))
        one.resource.entity_refs.extend(draw(ENTITIES))
        one.scope_metrics.add(schema_url=draw(WORDS)).metrics.extend(
            draw(st.lists(KINDS, max_size=2))
        )
    return request  # fmt: skip


def agree(body: bytes) -> int:
    """Check that a body is counted as by the library, as a message of any type; return the last."""
    for shape in reversed(SHAPES):
        found = shape.count(body, 1 << 40)
        try:
            expected = count(body, shape.message.DESCRIPTOR, RUN)
        except GroupFound:
            expected = GROUPED
        if GROUPED in (found, expected):  # which of the two is met first does not matter
            assert found < 0
            assert expected in (None, GROUPED)
        else:
            assert found == (DAMAGED if expected is None else expected)
        try:
            shape.message.FromString(body)
        except DecodeError:
            continue  # words that are no UTF-8, too
        assert found == GROUPED or found >= 0
    return found


@settings(max_examples=EXAMPLES, deadline=None)
@given(requests())
def test_messages_are_counted_as_the_library_counts_them(request):
    body = request.SerializeToString()
    assert agree(body) >= made(request)


def test_a_request_without_lists_has_the_messages_that_the_library_made_of_it():
    request = typical()
    del request.resource_metrics[0].resource.entity_refs[:]
    del request.resource_metrics[0].scope_metrics[0].metrics[1:]
    assert METRICS.count(request.SerializeToString()) == made(request) == 12


def typical() -> Metrics:
    request = Metrics()
    one = request.resource_metrics.add()
    one.resource.attributes.add(key="host.name").value.string_value = "b" * 200
    one.resource.entity_refs.add(type="e", id_keys=["a", "b"])
    metrics = one.scope_metrics.add().metrics
    point = metrics.add(name="t").gauge.data_points.add(as_double=1.5, time_unix_nano=7)
    values = point.attributes.add(key="k").value.array_value.values
    values.add(int_value=-1)
    metrics.add(name="h").exponential_histogram.data_points.add().positive.bucket_counts.extend(
        [1, 300, 2**63, 0, 0, 0]
    )
    return request


def test_damaged_bodies_are_counted_as_the_library_counts_them():
    draw = random.Random(7)
    body = typical().SerializeToString()
    kinds = set()
    for _ in range(10 * EXAMPLES):
        damaged = bytearray(body)
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(damaged))
            how = draw.randrange(4)
            if how == 0:
                damaged[at] = draw.choice((0, 1, 8, 10, 18, 127, 128, 255, draw.randrange(256)))
            elif how == 1:
                damaged[at:at] = draw.randbytes(draw.randint(1, 11))
            elif how == 2:
                damaged[at:at] = b"\x80" * draw.randint(1, 10) + bytes([draw.randrange(4)])
            else:
                del damaged[at : at + draw.randint(1, 4)]
        kinds.add(min(agree(bytes(damaged)), 0))
    assert kinds == {0, DAMAGED, GROUPED}


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(max_size=40))
def test_bytes_of_no_message_are_read_to_their_end_and_no_further(body):
    agree(body)


def test_every_cut_of_a_body_is_counted_as_the_library_counts_it():
    body = typical().SerializeToString()
    for end in range(len(body)):
        agree(body[:end])


def test_nothing_beyond_the_end_of_a_body_is_read():
    body = typical().SerializeToString()
    for end in range(len(body)):
        counts = {
            count_messages(np.frombuffer(body[:end] + after, np.uint8)[:end], METRICS.child, 0, 99)
            for after in (bytes(300), b"\xff" * 300)
        }
        assert len(counts) == 1


def nested(depth: int) -> bytes:
    """As many values, each the only one of a list that is the only value."""
    inner = b""
    for level in range(depth):
        size = len(inner)
        length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
        inner = (b"\x0a" if level % 2 else b"\x2a") + length + inner
    return inner


@pytest.mark.parametrize(
    ("depth", "counted"), [(99, 99), (DEPTH - 1, DEPTH - 1), (DEPTH, DAMAGED), (2000, DAMAGED)]
)
def test_messages_deeper_than_the_library_goes_are_not_followed(depth, counted):
    body = nested(depth)
    values = shape_of(common.AnyValue if body[0] == 0x2A else common.ArrayValue)
    assert values.count(body) == counted
    if counted == DAMAGED:
        with pytest.raises(DecodeError):
            values.message.FromString(body)


def test_what_is_more_than_allowed_is_not_looked_at():
    body = b"\x0a\0" * 5
    assert [METRICS.count(body, most) for most in (4, 5)] == [5, 5]
    assert METRICS.count(body + b"\xff", 4) == 5
    assert METRICS.count(body + b"\xff", 5) == DAMAGED


def test_no_honest_request_is_too_much():
    point = 1 + 2 * 10  # with ten attributes
    assert 10_000 * point + 20_000 < MESSAGES_MAX
