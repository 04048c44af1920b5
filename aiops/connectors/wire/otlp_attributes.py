"""Attributes of OpenTelemetry as labels: spelt once for all the points that share them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from aiops.connectors.wire.limits import MIB, Limits
from aiops.connectors.wire.naming import cohort_of, device_of, excess, labels_json, site_of
from aiops.errors import TooLarge

SERIES_BYTES_MAX = 40 * MIB
"""About what the series of one body may take: points need few bytes to share long attributes."""
SERIES_BYTES = 1000
"""What one takes besides its labels, about."""


class Series(NamedTuple):
    """What a set of attributes says."""

    device: str | None
    labels: str | None
    """All of it, as JSON."""
    site: str | None
    cohort: str | None
    excess: str | None
    """In what it is beyond the limits, in words."""


class Room:
    """What is left for series of one body."""

    def __init__(self, most: int = SERIES_BYTES_MAX) -> None:
        self._left = most

    def take(self, labels: str | None) -> None:
        """Take the room of a series with these labels; they are held up to four times.

        Raises
        ------
        TooLarge
            There is none left.
        """
        self._left -= SERIES_BYTES + 4 * len(labels or "")
        if self._left < 0:
            raise TooLarge(
                "too many series in one payload, or too long attributes; send them in several "
                f"(a series counts as {SERIES_BYTES} bytes and four times its attributes, of "
                f"{SERIES_BYTES_MAX} for all)"
            )


class Spelling:
    """Attributes of a resource, or of a scope in it, with those of its points.

    The resource says which device it is; only if it does not may a point's own attributes, as some
    agents know no resources. Of attributes of one name the innermost counts.
    """

    def __init__(
        self,
        attributes: Sequence[Any],
        limits: Limits,
        room: Room,
        outer: Spelling | None = None,
    ) -> None:
        self._limits = limits
        self._room = room
        self._bare: Series | None = None
        self._many: int = len(attributes) + (outer._many if outer else 0)
        own = {} if self._is_beyond(0) else {one.key: text_of(one.value) for one in attributes}
        self._told: dict[str, str] = outer._told | own if outer else own
        self._device: str | None = outer._device if outer else device_of(own)
        self._known: dict[tuple[tuple[str, str], ...], Series] = {}

    def within(self, attributes: Sequence[Any]) -> Spelling:
        """Return the spelling of a scope that has attributes of its own."""
        return Spelling(attributes, self._limits, self._room, self)

    def series(self, attributes: Sequence[Any], *more: tuple[str, str]) -> Series:
        """Return what attributes of a point say, and `more` labels.

        Raises
        ------
        TooLarge
            There is no room for another series.
        """
        is_bare = not (attributes or more)
        if is_bare and self._bare is not None:
            return self._bare
        if self._is_beyond(len(attributes)):
            many = f"more than {self._limits.labels} attributes"
            return Series(self._device, None, None, None, many)
        key = (*[(a.key, a.value.string_value or text_of(a.value)) for a in attributes], *more)
        known = self._known.get(key)
        if known is None:
            told = self._told | dict(key)
            device = self._device or device_of(told)
            beyond: str | None = excess("attributes", told, self._limits)
            if device and len(device.encode()) > self._limits.name_bytes:
                beyond = f"a device's name of more than {self._limits.name_bytes} bytes"
            known = self._known[key] = Series(
                device, labels_json(told), site_of(told), cohort_of(told), beyond
            )
            self._room.take(known.labels)
            if is_bare:
                self._bare = known
        return known

    def _is_beyond(self, more: int) -> bool:
        return self._many + more > self._limits.labels


def text_of(value: Any) -> str:
    """Return an ``AnyValue`` as text; arrays and lists of pairs as JSON, bytes as base64."""
    match value.WhichOneof("value"):
        case None:
            return ""
        case "string_value":
            return str(value.string_value)
        case "bytes_value":
            return b64encode(value.bytes_value).decode()
        case _:
            return msgspec.json.encode(_plain(value)).decode()


def _plain(value: Any) -> object:
    """Return an ``AnyValue`` as JSON has it. Its parser bounds how deep it can be."""
    kind = value.WhichOneof("value")
    match kind:
        case None:
            return None
        case "array_value":
            return [_plain(one) for one in value.array_value.values]
        case "kvlist_value":
            return {one.key: _plain(one.value) for one in value.kvlist_value.values}
        case _:
            return getattr(value, kind)
