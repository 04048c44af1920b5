"""Sparkplug's datatypes: a metric's value as a number or a text (Sparkplug 3.0, section 6.4.16)."""

from __future__ import annotations

from aiops.connectors.wire.sparkplug_b_pb2 import Metric

SIGNED = {1: 8, 2: 16, 3: 32, 4: 64}
"""Int8 to Int64, and their bits: in fields without a sign they are two's complement."""
UNSIGNED = frozenset({5, 6, 7, 8, 13})
"""UInt8 to UInt64, and DateTime: ms since the epoch."""
FLOATING = frozenset({9, 10})
BOOLEAN = 11
TEXT = frozenset({12, 14, 15})
"""String, Text and UUID."""
NO_READINGS = {16: "a data set", 17: "bytes", 18: "a file", 19: "a template"} | dict.fromkeys(
    range(20, 35), "an array or properties"
)
"""What is more than one number or text."""


def reading_of(metric: Metric, datatype: int) -> float | str | None:
    """Return a metric's value; None: it has none of its `datatype`.

    Without a datatype (0) the field in which it is decides, unless its sign does not show.
    """
    match metric.WhichOneof("value"):
        case "int_value":
            return _whole(metric.int_value, 32, datatype)
        case "long_value":
            return _whole(metric.long_value, 64, datatype)
        case "float_value" if datatype in FLOATING or not datatype:
            return metric.float_value
        case "double_value" if datatype in FLOATING or not datatype:
            return metric.double_value
        case "boolean_value" if datatype in {BOOLEAN, 0}:
            return float(metric.boolean_value)
        case "string_value" if datatype in TEXT or not datatype:
            return metric.string_value
    return None


def _whole(value: int, held: int, datatype: int) -> float | None:
    """Return a whole number that came in a field of `held` bits."""
    bits = SIGNED.get(datatype)
    if bits is not None:
        value &= (1 << bits) - 1
        return float(value - (1 << bits) if value >> (bits - 1) else value)
    if datatype in UNSIGNED or (not datatype and not value >> (held - 1)):
        return float(value)
    return None
