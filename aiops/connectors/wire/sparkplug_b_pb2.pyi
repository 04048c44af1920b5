# Types of what is generated from sparkplug_b.proto.

from collections.abc import Iterable, MutableSequence

from google.protobuf.message import Message

class Metric(Message):  # type: ignore[misc]
    name: str
    alias: int
    timestamp: int
    datatype: int
    is_historical: bool
    is_transient: bool
    is_null: bool
    int_value: int
    long_value: int
    float_value: float
    double_value: float
    boolean_value: bool
    string_value: str
    bytes_value: bytes
    dataset_value: bytes
    template_value: bytes
    extension_value: bytes
    def __init__(self, **fields: object) -> None: ...

class Payload(Message):  # type: ignore[misc]
    timestamp: int
    metrics: MutableSequence[Metric]
    seq: int
    def __init__(
        self, *, timestamp: int = ..., seq: int = ..., metrics: Iterable[Metric] = ...
    ) -> None: ...
