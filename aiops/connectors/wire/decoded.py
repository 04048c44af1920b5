"""What a payload of any protocol becomes, and how one that cannot be read is refused."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

_NAME = pa.dictionary(pa.int32(), pa.string())

READINGS = pa.schema(
    [
        ("device_id", _NAME),
        ("ts", pa.timestamp("ns", tz="UTC")),
        ("metric", _NAME),
        ("value", pa.float64()),
        ("labels", _NAME),
        ("site", _NAME),
        ("cohort", _NAME),
    ]
)
"""A row a reading. ``labels``: all the labels it came with, as one JSON object with sorted keys, so
that each series is one entry of the dictionary; null: none."""

TEXTS = READINGS.set(3, pa.field("value", pa.string()))
"""Readings that are words: a state, a boot id."""

LOGS = READINGS.append(pa.field("body", pa.string()))
"""Log records: ``metric`` is ``log.severity_number``, ``value`` that number (OpenTelemetry's, 1 to
24; NaN: not told), ``body`` the message."""


@dataclass(frozen=True)
class Refused:
    """Readings that a payload held and that could not be taken."""

    reason: str
    """In words, for the one who sent them."""
    count: int
    example: str = ""
    """The first of them, at most 120 characters."""


@dataclass(frozen=True)
class Decoded:
    """A payload as frames, in the order in which they go into the log.

    Protocols whose payload is a frame of the sender's own making (Arrow, NDJSON) keep its columns;
    all others give `READINGS`, `TEXTS` and `LOGS`, each at most once and never empty.
    """

    tables: tuple[pa.Table, ...]
    refused: tuple[Refused, ...] = ()
    samples: int = 0
    """Readings taken, as the protocol counts them; likewise the next two."""
    histograms: int = 0
    exemplars: int = 0

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(len(table) for table in self.tables)

    @property
    def rejected(self) -> int:
        """Readings refused."""
        return sum(one.count for one in self.refused)
