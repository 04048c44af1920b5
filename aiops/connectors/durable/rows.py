"""A record as a row: what is stored, and the checksum by which damage is told."""

from __future__ import annotations

import struct
import zlib
from hashlib import blake2b
from typing import Any

from aiops.engine.ports import LogRecord
from aiops.errors import PayloadError, TooLarge

RECORD_BYTES_MAX = 64 << 20
"""Of one body; also what SQLite is told, so that a damaged length does not become memory."""

ROW_BYTES = 128
"""What a row is taken to need beside its body."""

COLUMNS = "seq, kind, recv_ns, sender, key, checksum, body"
INSERT = f"INSERT INTO records({COLUMNS}, key_hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
SCHEMA = """
CREATE TABLE records(
    seq INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    recv_ns INTEGER NOT NULL,
    sender TEXT NOT NULL,
    key TEXT NOT NULL,
    key_hash INTEGER,
    checksum INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX keys ON records(key_hash) WHERE key_hash IS NOT NULL;
"""

_HEAD = struct.Struct("<qqIII")


def check(record: LogRecord) -> None:
    """Refuse a record that cannot be stored.

    Raises
    ------
    TooLarge
        Its body has more than `RECORD_BYTES_MAX` bytes.
    PayloadError
        Its kind, sender or key is not text that can be written as UTF-8.
    """
    if len(record.body) > RECORD_BYTES_MAX:
        raise TooLarge(
            f"a record of {len(record.body)} bytes cannot be kept: "
            f"at most {RECORD_BYTES_MAX} bytes can; send it in parts"
        )
    try:
        _texts(record)
    except UnicodeEncodeError as error:
        raise PayloadError(
            f"kind, sender and key of a record must be Unicode text: {error}"
        ) from error


def checksum(seq: int, record: LogRecord) -> int:
    """Return the CRC-32 over number, kind, time, sender, key and body of a record."""
    texts = _texts(record)
    head = _HEAD.pack(seq, record.recv_ns, *map(len, texts)) + b"".join(texts)
    return zlib.crc32(record.body, zlib.crc32(head))


def key_hash(sender: str, key: str) -> int:
    """Return 64 bits of a sender's key: equal keys have equal ones, others rarely."""
    digest = blake2b(f"{sender}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def to_row(seq: int, record: LogRecord) -> tuple[Any, ...]:
    """Return what `INSERT` takes."""
    hashed = key_hash(record.sender, record.key) if record.key else None
    kind, body, recv_ns, sender, key = record
    return (seq, kind, recv_ns, sender, key, checksum(seq, record), body, hashed)


def from_row(row: tuple[Any, ...]) -> LogRecord | None:
    """Return the record of a row of `COLUMNS`; None: it is not what was written."""
    seq, kind, recv_ns, sender, key, said, body = row
    if tuple(map(type, row)) != (int, str, int, str, str, int, bytes):
        return None
    record = LogRecord(kind, body, recv_ns, sender, key)
    return record if checksum(seq, record) == said else None


def _texts(record: LogRecord) -> tuple[bytes, bytes, bytes]:
    return record.kind.encode(), record.sender.encode(), record.key.encode()
