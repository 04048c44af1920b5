r"""Influx line protocol: ``measurement,tag=v field=1i,other=2.0,state="on" time``.

In names and tags a backslash in front of a comma, an equals sign or a space takes it for a letter;
in texts it does so with quotes and itself. A line break ends the line, in a text too.
(docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol.)
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from aiops.connectors.wire.build import Builder
from aiops.connectors.wire.decoded import Decoded
from aiops.connectors.wire.limits import MIB, Limits
from aiops.connectors.wire.naming import cohort_of, device_of, excess, labels_json, site_of
from aiops.errors import PayloadError
from aiops.telemetry.dialects import named
from aiops.telemetry.vocabulary import VOCABULARY

UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "u": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
"""Precision -> its unit, in ns."""
KNOWN_BYTES_MAX = 32 * MIB
"""Of heads remembered between bodies; beyond, all of them are forgotten and learnt anew."""


def decode(body: bytes, recv_ns: int, limits: Limits, precision: str = "ns") -> Decoded:
    """Decode lines to `READINGS` and, for fields that are texts, `TEXTS`.

    A metric is called ``measurement_field``, see `metric_of`; true is 1 and false 0. A line without
    a time happened at `recv_ns`. A line that cannot be read is refused, and counts as one reading.

    Raises
    ------
    TooLarge
        It holds more readings than the limits allow.
    PayloadError
        The precision is unknown, or so many lines are bad that this is no line protocol.
    """
    unit_ns = UNITS_NS.get(precision)
    if unit_ns is None:
        raise PayloadError(f"no precision {precision[:20]!r}; there are {', '.join(UNITS_NS)}")
    return _Lines(limits, recv_ns, unit_ns).decoded(body)


def metric_of(measurement: str, field: str) -> str:
    """Return the name of a field's metric.

    ``measurement_field``; but the field's own where that is canonical or came from Prometheus, and
    the measurement's where that is a known metric, with nothing but its value to tell.
    """
    if measurement == "prometheus" or field.partition("/")[0] in VOCABULARY:
        return field
    if field in ("value", "gauge", "counter") and named(measurement).aliases:
        return measurement
    return f"{measurement}_{field}"


class Head(NamedTuple):
    """What stands in front of the fields of a line."""

    measurement: str
    device: str
    labels: str | None
    site: str | None
    cohort: str | None
    metrics: dict[str, str]
    """Field as it is spelt -> metric, or "": a name that is too long."""


class Known:
    """Heads (``measurement,tags``) that were seen before, which come again with every time.

    It makes decoding faster and changes no result. Threads may share it: what an entry holds
    follows from its key, so any thread's will do.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.size = 0
        """In bytes, about."""
        self._heads: dict[str, Head | str] = {}

    def head(self, text: str) -> Head | str:
        """Return what a measurement and tags are, or why they are refused."""
        known = self._heads.get(text)
        if known is None:
            known = self._heads[text] = _parsed(text, self.limits)
            self.size += 3 * len(text) + 600
        return known

    def metric(self, head: Head, field: str) -> str:
        """Return the name of a field's metric, or "" if it is too long."""
        known = head.metrics.get(field)
        if known is None:
            name = metric_of(head.measurement, _unescaped(field))
            known = head.metrics[field] = "" if excess(name, {}, self.limits) else name
            self.size += len(field) + len(name) + 200
        return known


_known: dict[Limits, Known] = {}


def _remembered(limits: Limits) -> Known:
    """Return what to remember in; who has it may go on with it, whatever others do."""
    known = _known.get(limits)
    if known is None or known.size > KNOWN_BYTES_MAX:
        _known.clear()
        known = _known[limits] = Known(limits)
    return known


def _parsed(text: str, limits: Limits) -> Head | str:
    if "\\" in text:
        name, *tags = _COMMA.split(text)
        pairs = [[_unescaped(part) for part in _EQUALS.split(tag)] for tag in tags]
        measurement = name.replace("\\,", ",").replace("\\ ", " ")
    else:
        measurement, *tags = text.split(",")
        pairs = [tag.split("=") for tag in tags]
    labels: dict[str, str] = {}
    for pair in pairs:
        if len(pair) != 2 or not all(pair):
            return f"a tag was expected, found {'='.join(pair)[:40]!r}"
        labels[pair[0]] = pair[1]
    if len(labels) < len(pairs):
        return "a tag is there twice"
    too_much = excess(measurement, labels, limits)
    if too_much is not None:
        return too_much
    device = device_of(labels)
    if device is None:
        return "no tag names the device"
    if excess(device, {}, limits):
        return f"a device's name of more than {limits.name_bytes} bytes"
    return Head(measurement, device, labels_json(labels), site_of(labels), cohort_of(labels), {})


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


class _Lines:
    """One body on its way."""

    def __init__(self, limits: Limits, recv_ns: int, unit_ns: int) -> None:
        self.limits = limits
        self.recv_ns = recv_ns
        self.unit_ns = unit_ns
        self.build = Builder(limits)
        self.known = _remembered(limits)

    def decoded(self, body: bytes) -> Decoded:
        for number, raw in enumerate(io.BytesIO(body), 1):
            if raw.isspace() or raw.startswith(b"#"):
                continue
            try:
                self.read(raw.decode().strip("\r\n "))
            except UnicodeDecodeError:
                self.build.refusals.add_line(number, "no UTF-8", raw)
            except ValueError as cause:
                self.build.refusals.add_line(number, str(cause), raw)
        return self.build.decoded()

    def read(self, line: str) -> None:
        """Take the readings of a line, or raise ValueError with the reason."""
        fields: list[tuple[str, str, bool]]
        if '"' in line or "\\" in line:
            begin = _end_of_head(line)
            text, fields, time = line[:begin], *_fields(line, begin)
        else:
            text, _, rest = line.partition(" ")
            told, _, time = rest.strip().partition(" ")
            fields = [_plain(pair) for pair in told.split(",")]
        ts_ns = self.time(time.strip())
        values = [text if is_text else number(text) for _, text, is_text in fields]
        head = self.known.head(text)
        if isinstance(head, str):
            self.build.refuse(head, line, len(fields))
            return
        for (field, _, _), value in zip(fields, values, strict=True):
            metric = self.known.metric(head, field)
            if metric:
                self.build.add(
                    head.device, ts_ns, metric, value, head.labels, head.site, head.cohort
                )
            else:
                self.build.refuse(
                    f"a metric name of more than {self.limits.name_bytes} bytes", field
                )

    def time(self, text: str) -> int:
        if not text:
            return self.recv_ns
        if not _TIME.fullmatch(text):
            raise ValueError(f"a time was expected, found {text[:40]!r}")
        return int(text) * self.unit_ns


# Pieces of a line --------------------------------------------------------------------------------

_COMMA, _EQUALS, _SPACE = (re.compile(rf"(?<!\\){mark}") for mark in ",= ")
_ESCAPED = re.compile(r"\\([,= ])")
_TIME = re.compile(r"-?[0-9]{1,19}")
_FIELD = re.compile(r' *((?:\\[,= ]|[^,= "])+)=(?:"((?:[^"\\]|\\.)*)"|([^, "]+))', re.DOTALL)
_ESCAPED_IN_TEXT = re.compile(r'\\(["\\])')
_NUMBER = re.compile(
    r"([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)|(-?[0-9]+)i|([0-9]+)u"
)
_DIGITS = frozenset("0123456789")
_BOOLEANS = {
    **dict.fromkeys(("t", "T", "true", "True", "TRUE"), 1.0),
    **dict.fromkeys(("f", "F", "false", "False", "FALSE"), 0.0),
}


def number(text: str) -> float:
    """Return the number that a field's value spells.

    Raises
    ------
    ValueError
        It spells none, or one beyond a double's.
    """
    known = _BOOLEANS.get(text)
    if known is not None:
        return known
    if text[-1:] in _DIGITS and text.isascii() and "_" not in text:
        value = float(text)
        if math.isfinite(value):
            return value
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ValueError(f"a value was expected, found {text[:40]!r}")
    value = float(match[match.lastindex or 0])
    if not math.isfinite(value):
        raise ValueError(f"a number beyond a double's: {text[:40]!r}")
    return value


def _plain(pair: str) -> tuple[str, str, bool]:
    name, equals, value = pair.partition("=")
    if not name or not equals:
        raise ValueError(f"a field was expected, found {pair[:40]!r}")
    return name, value, False


def _end_of_head(line: str) -> int:
    match = _SPACE.search(line)
    if match is None:
        raise ValueError("no fields")
    return match.start()


def _fields(line: str, at: int) -> tuple[list[tuple[str, str, bool]], str]:
    """Return name, value and whether it is a text, of each field from a place on; and the time."""
    found: list[tuple[str, str, bool]] = []
    for match in _matches(line, at):
        name, text, value = match.groups()
        is_text = text is not None
        found.append((name, _ESCAPED_IN_TEXT.sub(r"\1", text) if is_text else value, is_text))
        at = match.end()
    return found, line[at:]


def _matches(line: str, at: int) -> Iterator[re.Match[str]]:
    while True:
        match = _FIELD.match(line, at)
        if match is None:
            raise ValueError(f"a field was expected, found {line[at : at + 40]!r}")
        yield match
        at = match.end()
        if not line.startswith(",", at):
            if at < len(line) and line[at] != " ":
                raise ValueError(f"a comma or a space was expected, found {line[at : at + 40]!r}")
            return
        at += 1
