"""Attributes of OpenTelemetry as labels: spelt once for all the points that share them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from aiops.connectors.wire.limits import Limits
from aiops.connectors.wire.naming import cohort_of, device_of, excess, labels_json, site_of


class Series(NamedTuple):
    """What a set of attributes says."""

    device: str | None
    labels: str | None
    """All of it, as JSON."""
    site: str | None
    cohort: str | None
    excess: str | None
    """In what it is beyond the limits, in words."""


class Spelling:
    """Attributes of a resource, or of a scope in it, with those of its points.

    The resource says which device it is; only if it does not may a point's own attributes, as some
    agents know no resources. Of attributes of one name the innermost counts.
    """

    def __init__(
        self, attributes: Sequence[Any], limits: Limits, outer: Spelling | None = None
    ) -> None:
        self._limits = limits
        self._many: int = len(attributes) + (outer._many if outer else 0)
        own = {} if self._is_beyond(0) else {one.key: text_of(one.value) for one in attributes}
        self._told: dict[str, str] = outer._told | own if outer else own
        self._device: str | None = outer._device if outer else device_of(own)
        self._known: dict[tuple[tuple[str, str], ...], Series] = {}

    def within(self, attributes: Sequence[Any]) -> Spelling:
        """Return the spelling of a scope that has attributes of its own."""
        return Spelling(attributes, self._limits, self)

    def series(self, attributes: Sequence[Any], *more: tuple[str, str]) -> Series:
        """Return what attributes of a point say, and `more` labels."""
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
