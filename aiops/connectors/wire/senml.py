"""SenML: packs of sensor measurements as JSON (RFC 8428)."""

from __future__ import annotations

from math import floor
from typing import Any

import msgspec

from aiops.connectors.wire.build import Builder
from aiops.connectors.wire.decoded import READINGS, Decoded
from aiops.connectors.wire.limits import Limits
from aiops.connectors.wire.naming import excess, labels_json
from aiops.errors import PayloadError, TooLarge

VERSION = 10
"""Of RFC 8428; a pack of a later one cannot be read (section 4.4)."""
RELATIVE = 2.0**28
"""A time of fewer seconds is counted from now (section 4.5.3)."""
SECOND_NS = 1_000_000_000
LATEST = 4e9
"""Seconds since the epoch, either way, beyond which a time is none."""
OTHER_DEVICE = "the body names another device than its topic"
NO_PACK = 'the body is no SenML pack; send an array of records, such as [{"n": "temp", "v": 21.5}]'


class _Base(msgspec.Struct):
    """What holds for a record and those after it (section 4.1)."""

    bn: str = ""
    bt: float = 0.0
    bu: str = ""
    bv: float | None = None
    bver: float = VERSION


class _Record(msgspec.Struct):
    """What holds for one record (section 4.2)."""

    n: str = ""
    u: str = ""
    t: float = 0.0
    v: float | None = None
    vs: str | None = None
    vb: bool | None = None
    vd: str | None = None
    s: float | None = None


def decode(body: bytes, recv_ns: int, limits: Limits, device: str | None = None) -> Decoded:
    """Decode a pack, ``application/senml+json``.

    A record's metric is its name behind the device's. Numbers, truths and text are taken; data
    (``vd``) and sums (``s``) are refused. Its unit becomes the label ``unit``.

    Parameters
    ----------
    device
        Whose it must be: what names another is refused. None: the base name says whose it is, as
        in ``gw-17/`` or ``urn:dev:mac:0024befffe804ff1:``.

    Raises
    ------
    PayloadError
        The body is no pack.
    TooLarge
        It holds more readings than is allowed.
    """
    told = parsed(body)
    if not is_pack(told):
        raise PayloadError(NO_PACK)
    if len(told) > limits.cells // len(READINGS):
        raise TooLarge(f"{len(told)} records in one body; send them in several")
    build = Builder(limits)
    take_pack(build, told, device, recv_ns, limits)
    return build.decoded()


def parsed(body: bytes) -> Any:
    """Return the array or object that a JSON body is.

    Raises
    ------
    PayloadError
        It is not JSON, is too deep, or is neither an array nor an object.
    """
    try:
        told = msgspec.json.decode(body)
    except (ValueError, RecursionError) as found:
        raise PayloadError(
            f"the body is no JSON: {str(found)[:200]}; send an object or an array"
        ) from found
    if not isinstance(told, dict | list):
        raise PayloadError(f"the body is JSON, but no object or array: {str(told)[:100]}")
    return told


def shown(told: object) -> str:
    """Return part of a JSON body as JSON.

    Raises
    ------
    PayloadError
        It is deeper than it can be shown, though it was just not too deep to be read.
    """
    try:
        return msgspec.json.encode(told).decode()
    except RecursionError as found:
        raise PayloadError("the body has arrays within arrays, too deep to be readings") from found


def is_pack(told: object) -> bool:
    """Say whether a JSON value is a pack: an array whose first record has a name."""
    first = told[0] if isinstance(told, list) and told else None
    return isinstance(first, dict) and any(isinstance(first.get(name), str) for name in ("bn", "n"))


def take_pack(
    build: Builder, pack: list[Any], device: str | None, recv_ns: int, limits: Limits
) -> None:
    """Resolve the records of a pack (section 4.6) and take their readings; see `decode`."""
    base: dict[str, Any] = {}
    for told in pack:
        if not isinstance(told, dict):
            build.refuse("a record that is no object", shown(told))
            continue
        try:
            base |= {name: told[name] for name in _Base.__struct_fields__ if name in told}
            holds, record = msgspec.convert(base, _Base), msgspec.convert(told, _Record)
        except msgspec.ValidationError as found:
            build.refuse(f"a record that is none of SenML: {str(found)[:100]}", shown(told))
            continue
        value = _value(holds, record)
        if value is None and set(told) <= set(_Base.__struct_fields__):
            continue  # it only says what holds for those after it
        owner, metric = _whose(holds.bn, record.n, device)
        unit = record.u or holds.bu
        labels = {"unit": unit} if unit else {}
        t_s = holds.bt + record.t
        wrong = _unknown(holds, told) or excess(metric, labels, limits)
        if wrong:
            build.refuse(wrong, shown(told))
        elif value is None:
            build.refuse("a record without a number, a truth or a text (v, vb, vs)", shown(told))
        elif owner and len(owner.encode()) > limits.name_bytes:
            build.refuse(f"a device's name of more than {limits.name_bytes} bytes", metric)
        elif device not in {None, owner}:
            build.refuse(OTHER_DEVICE, shown(told))
        elif not abs(t_s) < LATEST:
            build.refuse("a time beyond the calendar", shown(told))
        else:
            ts = _ns(t_s) + (recv_ns if t_s < RELATIVE else 0)
            build.add(owner, ts, metric, value, labels_json(labels))


def _unknown(base: _Base, told: dict[str, Any]) -> str | None:
    """Return what of a record must be understood and is not (section 4.4)."""
    if base.bver > VERSION:
        return f"a version of SenML after {VERSION}"
    field = next((name for name in told if name.endswith("_")), None)
    return field and f"a field that must be understood: {field[:40]}"


def _value(base: _Base, record: _Record) -> float | str | None:
    """Return a record's value, with the base value where it is a number."""
    if record.vs is not None:
        return record.vs
    if record.vb is not None:
        return float(record.vb)
    if record.v is None and (base.bv is None or record.vd is not None or record.s is not None):
        return None
    return (record.v or 0.0) + (base.bv or 0.0)


def _whose(base: str, name: str, device: str | None) -> tuple[str | None, str]:
    """Return the device and the metric that base name and name are, one behind the other.

    A base name that ends in a slash or a colon is a device's, and so is what is before the last
    colon of a ``urn:dev:``; any other is the beginning of the metric's.
    """
    whole = base + name
    if device and whole.startswith((f"{device}/", f"{device}:")):
        return device, whole[len(device) + 1 :]
    if whole.startswith("urn:dev:"):
        owner, _, metric = whole.rpartition(":")
        return (device if device and owner.endswith(f":{device}") else owner), metric
    if base.endswith(("/", ":")):
        return base[:-1], name
    return device, whole


def _ns(seconds: float) -> int:
    whole = floor(seconds)
    return whole * SECOND_NS + round((seconds - whole) * SECOND_NS)
