from collections.abc import Sequence
from typing import Self

class Label:
    name: bytes
    value: bytes

class Labels:
    labels: Sequence[Label]
    @classmethod
    def FromString(cls, body: bytes) -> Self: ...  # noqa: N802

class Histogram:
    count_int: int
    count_float: float
    sum: float
    timestamp: int
    @classmethod
    def FromString(cls, body: bytes) -> Self: ...  # noqa: N802
    def WhichOneof(self, name: str) -> str | None: ...  # noqa: N802
