"""What small bodies must not do: each is decoded in a process of its own, which is weighed."""

from __future__ import annotations

import gzip
import subprocess
import sys
import zlib

import numpy as np
import pyarrow as pa
import pytest

from tests.connectors.wire import prometheus_pb2 as pb
from tests.connectors.wire.encoders import arrow_stream

MEASURE = """
import os, resource, sys, time
from pathlib import Path
from functools import partial
from aiops.connectors.wire import arrow, influx, limits, ndjson, otlp, remote_write, sparkplug
from aiops.errors import PayloadError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

def of_sparkplug(body, recv_ns, bounds):
    return sparkplug.Sparkplug(bounds).take("spBv1.0/g/NBIRTH/n", body, recv_ns)[0]

def attempt(decode, body, encoding):
    try:
        done = decode(limits.unpack(body, encoding, bounds), 0, bounds)
        return f"{done.rows} rows, {done.rejected} refused"
    except PayloadError as error:
        return type(error).__name__

bounds = limits.Limits()
decoders = {
    "arrow": arrow.decode,
    "ndjson": ndjson.decode,
    "json": ndjson.decode_json,
    "influx": influx.decode,
    "v1": remote_write.decode_v1,
    "v2": remote_write.decode_v2,
    "metrics": otlp.decode_metrics,
    "logs": otlp.decode_logs,
    "metrics_json": partial(otlp.decode_metrics, json=True),
    "sparkplug": of_sparkplug,
}
for decode in decoders.values():  # whatever is loaded or compiled at first
    attempt(decode, b"[]", "")
for number, line in enumerate(sys.stdin.read().splitlines()):
    decoder, encoding = line.split(",")
    child = os.fork()  # so that each has a peak of its own
    if child:
        os.waitpid(child, 0)
        continue
    body = Path(sys.argv[1], str(number)).read_bytes()
    before, start = peak(), time.process_time()
    said = attempt(decoders[decoder], body, encoding)
    print(number, said, peak() - before, time.process_time() - start, sep="|", flush=True)
    os._exit(0)
"""

ZEROS = bytes(1 << 20)


def gzip_of(size_mib: int) -> bytes:
    machine = zlib.compressobj(9, wbits=31)
    return b"".join([*(machine.compress(ZEROS) for _ in range(size_mib)), machine.flush()])


def zstd_of(size_mib: int) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        for _ in range(size_mib):
            stream.write(ZEROS)
    return sink.getvalue().to_pybytes()


def packed_inside() -> bytes:
    """Columns of zeros, packed: half a gigabyte of numbers."""
    zeros = np.zeros(1 << 20)
    table = pa.table({f"c{k}": zeros for k in range(64)})
    return arrow_stream(table, compression="zstd")


def nothing(n: int) -> bytes:
    none = pa.Array.from_buffers(pa.null(), n, [None])
    return arrow_stream(pa.table({"host": none, "ts": none}), allow_64bit=True)


DEEP = b"[" * 200_000
ROW = b'{"host":"a","ts":1}'


def references(each: int, n: int) -> bytes:
    """As many series, their labels all one long symbol."""
    sample = pb.Sample(value=1.0)
    symbols = pb.Request(symbols=[b"", b"x" * 4000]).SerializeToString()
    series = pb.TimeSeries2(labels_refs=[1] * each, samples=[sample])
    return symbols + pb.Request(timeseries=[series]).SerializeToString() * n


MIB = 1 << 20


def inside(body: bytes, *path: int) -> bytes:
    """Return a message in fields of others, the outermost first."""
    for field in reversed(path):
        size, length = len(body), b""
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        body = bytes([field << 3 | 2]) + length + bytes([size]) + body
    return body


def points(body: bytes) -> bytes:
    """Return OTLP metrics: the data of an exponential histogram."""
    return inside(body, 1, 2, 2, 10)


def counts(n: int) -> bytes:
    return inside(bytes(n - 64), 1, 8, 2)


def told(one: bytes, n: int) -> bytes:
    return b'{"resourceMetrics":[' + b",".join([one] * n) + b"]}"


BOMBS = {
    "gzip": ("ndjson", "gzip", lambda: gzip_of(64), "TooLarge"),
    "many empty gzip members": ("ndjson", "gzip", lambda: gzip.compress(b"") * 100_000, "0 rows"),
    "zstd": ("ndjson", "zstd", lambda: zstd_of(128), "TooLarge"),
    "snappy that claims 4 GiB": ("v1", "snappy", lambda: b"\xff\xff\xff\xff\x0f", "TooLarge"),
    "arrow, packed inside": ("arrow", "", packed_inside, "TooLarge"),
    "arrow, rows without bytes": ("arrow", "", lambda: nothing(1 << 40), "TooLarge"),
    "json without end": ("json", "", lambda: DEEP, "PayloadError"),
    "line without end": ("ndjson", "", lambda: ROW[:-1] + b',"x":' + DEEP, "0 rows, 1 refused"),
    "empty lines": ("ndjson", "gzip", lambda: gzip.compress(b"\n" * (1 << 20)), "0 rows"),
    "bad lines": ("ndjson", "", lambda: b"x\n" * (4 << 20), "PayloadError"),
    "bad influx lines": ("influx", "", lambda: b"x\n" * (4 << 20), "PayloadError"),
    "tiny objects": ("json", "", lambda: b"[" + b"{}," * (2 << 20) + b"{}]", "TooLarge"),
    "a name a row": (
        "ndjson",
        "",
        lambda: b"\n".join(b'{"host":"a","ts":1,"m%d":1}' % k for k in range(200_000)),
        "TooLarge",
    ),
    "kinds that alternate": (
        "ndjson",
        "",
        lambda: (ROW + b'\n{"node":"a","ts":1}\n') * 20_000,
        "TooLarge",
    ),
    "more samples than cells": ("v1", "", lambda: b"\n\x02\x12\x00" * (1 << 20), "TooLarge"),
    "series without samples": ("v1", "", lambda: b"\n\x00" * (1 << 22), "TooLarge"),
    "one long symbol, referred to": ("v2", "", lambda: references(126, 15_000), "TooLarge"),
    "nothing but references": ("v2", "", lambda: references(128, 30_000), "TooLarge"),
    "messages of nothing": ("metrics", "gzip", lambda: gzip.compress(b"\n\0" * MIB, 1), "TooLarge"),
    "logs of nothing": ("logs", "", lambda: inside(b"\x12\0" * (3 << 20), 1, 2), "TooLarge"),
    "points of nothing": ("metrics", "", lambda: points(b"\n\0" * (3 << 20)), "TooLarge"),
    "nothing, and then damage": ("metrics", "", lambda: b"\n\0" * (3 << 20) + b"\n", "TooLarge"),
    "counts of a byte": ("metrics", "", lambda: points(counts(7 << 20)), "TooLarge"),
    "as many counts as are taken": ("metrics", "", lambda: points(counts(1 << 20)), "0 rows, 1"),
    "names of an entity": (
        "metrics",
        "",
        lambda: inside(b"\x1a\0" * (3 << 20), 1, 1, 3),
        "TooLarge",
    ),
    "metrics of nothing": ("sparkplug", "", lambda: b"\x12\0" * (4 << 20), "TooLarge"),
    "objects of nothing": ("metrics_json", "", lambda: told(b"{}", 2 << 20), "TooLarge"),
    "objects of nothing, as are taken": ("metrics_json", "", lambda: told(b"{}", 60_000), "0 rows"),
    "lists of nothing": ("metrics_json", "", lambda: told(b"[]", 2 << 20), "TooLarge"),
    "one wide character": (
        "metrics_json",
        "",
        lambda: told(b'"' + b"x" * (6_290_000) + "\U0001f600".encode() + b'"', 1),
        "PayloadError",
    ),
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """What came of each bomb, by name: what was said, MiB it took, and seconds."""
    folder = tmp_path_factory.mktemp("bombs")
    told = ""
    for number, (decoder, encoding, make, _) in enumerate(BOMBS.values()):
        body = make()
        assert len(body) <= 8 << 20
        (folder / str(number)).write_bytes(body)
        told += f"{decoder},{encoding}\n"
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder)],
        input=told,
        capture_output=True,
        check=True,
        text=True,
    )
    names = list(BOMBS)
    lines = (line.split("|") for line in ran.stdout.splitlines())
    return {names[int(number)]: (said, int(mib), float(s)) for number, said, mib, s in lines}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_body_takes_little_memory_and_time(name, measured):
    said, extra_mib, seconds = measured[name]
    assert said.startswith(BOMBS[name][-1])
    assert extra_mib <= 64
    assert seconds < 1
