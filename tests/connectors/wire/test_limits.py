from __future__ import annotations

import gzip
import random
import zlib

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.connectors.wire.limits import ENCODINGS, Limits, unpack
from aiops.errors import PayloadError, TooLarge

LIMITS = Limits()


def raw_deflate(body: bytes) -> bytes:
    machine = zlib.compressobj(wbits=-15)
    return machine.compress(body) + machine.flush()


def arrow_codec(name: str):
    return lambda body: pa.Codec(name).compress(body, asbytes=True)


PACKERS = [
    ("identity", bytes),
    ("", bytes),
    ("gzip", gzip.compress),
    ("X-GZip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    (" zstd ", arrow_codec("zstd")),
    ("snappy", arrow_codec("snappy")),
]


@settings(max_examples=60)
@given(st.binary(max_size=3000), st.sampled_from(PACKERS))
def test_what_was_packed_comes_out(body, packer):
    encoding, pack = packer
    assert unpack(pack(body), encoding, LIMITS) == body


@pytest.mark.parametrize(("encoding", "pack"), PACKERS[2:4] + PACKERS[6:7])
def test_several_members_are_one_body(encoding, pack):
    assert unpack(pack(b"one ") + pack(b"") + pack(b"two"), encoding, LIMITS) == b"one two"


@pytest.mark.parametrize(("encoding", "pack"), PACKERS)
def test_the_bound_is_exact(encoding, pack):
    limits = Limits(unpacked_bytes=1000, free_bytes=1000)
    assert len(unpack(pack(bytes(1000)), encoding, limits)) == 1000
    with pytest.raises(TooLarge):
        unpack(pack(bytes(1001)), encoding, limits)


def test_small_bodies_may_be_packed_well_and_large_ones_only_so_well():
    limits = Limits(free_bytes=1000, ratio=4, unpacked_bytes=100_000)
    assert len(unpack(gzip.compress(bytes(1000)), "gzip", limits)) == 1000
    with pytest.raises(TooLarge, match="more than 1000 bytes"):
        unpack(gzip.compress(bytes(1001)), "gzip", limits)
    noise = random.Random(0).randbytes(600)
    assert unpack(gzip.compress(noise * 3), "gzip", limits) == noise * 3


def test_a_body_beyond_the_limit_is_not_looked_at():
    with pytest.raises(TooLarge, match="11 bytes came"):
        unpack(b"not gzip at", "gzip", Limits(body_bytes=10))


def test_an_unknown_encoding_is_told_the_known_ones():
    with pytest.raises(PayloadError, match=r"'br' is not known; known are identity, gzip"):
        unpack(b"", "br", LIMITS)


@pytest.mark.parametrize(("encoding", "pack"), PACKERS[2:])
def test_a_body_cut_short_is_damaged(encoding, pack):
    packed = pack(b"some readings " * 20)
    for end in range(len(packed) - 1):
        with pytest.raises(PayloadError):
            unpack(packed[:end], encoding, LIMITS)


@pytest.mark.parametrize("encoding", list(ENCODINGS))
def test_no_damage_raises_anything_else(encoding):
    draw = random.Random(encoding)
    packed = bytearray(
        {e.strip().lower(): p for e, p in PACKERS}.get(encoding, gzip.compress)(
            draw.randbytes(100) + b"some readings " * 20
        )
    )
    damaged = 0
    for _ in range(2000):
        body = bytearray(packed)
        for _ in range(draw.randint(1, 3)):
            body[draw.randrange(len(body))] = draw.randrange(256)
        try:
            unpack(bytes(body), encoding, LIMITS)
        except PayloadError:
            damaged += 1
    assert (damaged > 0) == (encoding != "identity")
