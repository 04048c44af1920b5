"""How much a payload may be, before and after it is unpacked: checked before memory is spent."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa

from aiops.errors import PayloadError, TooLarge

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Bounds on one payload."""

    body_bytes: int = 8 * MIB
    """As it came over the wire."""
    unpacked_bytes: int = 16 * MIB
    ratio: int = 16
    """Unpacked at most so many times its size, though `free_bytes` always may."""
    free_bytes: int = 1 * MIB
    cells: int = 1 << 22
    """Rows times columns of all its frames."""
    labels: int = 64
    """Of one series or reading."""
    name_bytes: int = 256
    """Of a metric, a label's name, a device."""
    value_bytes: int = 4096
    """Of a label's value, or of a reading that is text; longer log messages are cut."""

    def unpacked(self, packed: int) -> int:
        """Return how many bytes `packed` ones may become."""
        return min(self.unpacked_bytes, max(self.free_bytes, self.ratio * packed))


def unpack(body: bytes, encoding: str, limits: Limits) -> bytes:
    """Return a body without its ``Content-Encoding``; several gzip or zstd members are one body.

    Memory is bounded by the limits, whatever the body claims to be.

    Parameters
    ----------
    encoding
        A name in `ENCODINGS`, in any case; ``""`` is ``identity``.

    Raises
    ------
    TooLarge
        The body is, or would become, larger than the limits allow.
    PayloadError
        The body is damaged or cut short, or its encoding is none of `ENCODINGS`.
    """
    if len(body) > limits.body_bytes:
        raise TooLarge(
            f"a body of {len(body)} bytes came; at most {limits.body_bytes} are taken: "
            "send it in smaller ones"
        )
    name = encoding.strip().lower() or "identity"
    if name not in ENCODINGS:
        raise PayloadError(
            f"the encoding {encoding[:40]!r} is not known; known are {', '.join(ENCODINGS)}"
        )
    room = limits.unpacked(len(body))
    try:
        unpacked = ENCODINGS[name](body, room)
    except (OSError, zlib.error, pa.ArrowException) as cause:
        raise PayloadError(f"the body is damaged, or not {name}: {cause}") from cause
    if len(unpacked) > room:
        raise _too_large(room)
    return unpacked


def _too_large(room: int) -> TooLarge:
    return TooLarge(f"the body would unpack to more than {room} bytes: send it in smaller ones")


def _identity(body: bytes, room: int) -> bytes:
    return body[: room + 1] if len(body) > room + 1 else body


def _stream(body: bytes, room: int, codec: str) -> bytes:
    """Return at most one byte more than there is room for."""
    if not body:
        raise OSError("nothing came")
    space = bytearray(room + 1)  # `read` would lose its own for good where the body is damaged
    with pa.CompressedInputStream(pa.BufferReader(body), codec) as stream:
        size = stream.readinto(space)
    return bytes(memoryview(space)[:size])


def _gzip(body: bytes, room: int) -> bytes:
    return _stream(body, room, "gzip")


def _zstd(body: bytes, room: int) -> bytes:
    return _stream(body, room, "zstd")


def _deflate(body: bytes, room: int) -> bytes:
    """Unpack zlib's format (RFC 9110, 8.4.1.2), or bare deflate, which many send under its name."""
    is_zlib = len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2]) % 31 == 0
    machine = zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
    unpacked = machine.decompress(body, room + 1)
    if len(unpacked) <= room and not machine.eof:
        raise OSError("cut short")
    if machine.unused_data:
        raise OSError("something follows its end")
    return unpacked


def _snappy(body: bytes, room: int) -> bytes:
    """Unpack a snappy block, which tells in front how long it will be."""
    declared = shift = 0
    for byte in body[:5]:
        declared |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    else:
        raise OSError("it does not say how long it is")
    if declared > room:
        raise _too_large(room)
    if declared == 0:  # Arrow hands the decoder no room at all, which it takes for a failure
        if len(body) > 1:
            raise OSError("something follows its end")
        return b""
    unpacked: bytes = pa.Codec("snappy").decompress(body, declared, asbytes=True)
    return unpacked


ENCODINGS: Mapping[str, Callable[[bytes, int], bytes]] = MappingProxyType(
    {
        "identity": _identity,
        "gzip": _gzip,
        "x-gzip": _gzip,
        "deflate": _deflate,
        "zstd": _zstd,
        "snappy": _snappy,
    }
)
"""``Content-Encoding`` -> how a body is unpacked, to one byte more than there is room for."""
