"""Remote write messages read by the protobuf library, one field after the other."""

from __future__ import annotations

import struct
from typing import NamedTuple

from google.protobuf.message import DecodeError

from tests.connectors.wire import prometheus_pb2 as pb


class Series(NamedTuple):
    labels: list[bytes] | list[int]
    samples: list[tuple[int, int]]
    """Time, and the bits of the value."""
    histograms: list[bytes]
    exemplars: int


class Message(NamedTuple):
    series: list[Series]
    symbols: list[bytes]


def read(body: bytes, *, is_v2: bool) -> Message | None:
    """Return what a message holds; None: it is damaged."""
    try:
        message = (pb.Request if is_v2 else pb.WriteRequest).FromString(body)
    except DecodeError:
        return None
    return Message(
        [
            Series(
                list(one.labels_refs if is_v2 else one.labels),
                [(sample.timestamp, _bits(sample.value)) for sample in one.samples],
                list(one.histograms),
                len(one.exemplars),
            )
            for one in message.timeseries
        ],
        list(message.symbols) if is_v2 else [],
    )


def _bits(value: float) -> int:
    bits: int = struct.unpack("<q", struct.pack("<d", value))[0]
    return bits
