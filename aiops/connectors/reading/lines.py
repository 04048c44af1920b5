"""Chunks of whole lines out of a stream of bytes.

NDJSON and CSV are read by one rule: what a line is depends on the line alone, never on its
neighbours, so that the cut of a stream into chunks changes nothing. Each value stays the text that
the line wrote (``1.50``, ``2026-01-01``), and the front door reads texts by one rule, whatever the
column. Types inferred from a chunk, a file or a sample would differ between cuts. A line that no
row can be made of is counted and named, never fatal.
"""

from __future__ import annotations

from aiops.connectors.reading.opening import BadLines, ByteStream

CHUNK_BYTES = 4 << 20
LINE_BYTES_MAX = 1 << 20
"""A longer line is bad; a much longer one is passed over without being held."""
TOO_LONG = f"longer than {LINE_BYTES_MAX >> 20} MiB"

Bad = list[tuple[int, str]]
"""Number of a line within its chunk, counted from 0, and why it is bad."""


def count_lines(chunk: bytes) -> int:
    """Return how many lines there are; the last one need not end."""
    return chunk.count(b"\n") + (not chunk.endswith(b"\n") if chunk else 0)


class LineReader:
    """Chunks of whole lines; each depends on where it begins, not on how one got there.

    Parameters
    ----------
    stream
        Whose lines are read.
    bad
        Told of lines too long to be held, and of damage.
    chunk_bytes
        How much a chunk may hold, unless a single line is more.
    offset, line
        How many bytes and lines of the stream to leave out.

    Raises
    ------
    FileError
        The stream is shorter than `offset`.
    """

    def __init__(
        self,
        stream: ByteStream,
        bad: BadLines,
        chunk_bytes: int = CHUNK_BYTES,
        offset: int = 0,
        line: int = 0,
    ) -> None:
        self._stream = stream
        self._bad = bad
        self._chunk_bytes = chunk_bytes
        self._pending = b""
        self.offset = offset
        """Bytes of the stream, unpacked, that were taken."""
        self.line = line
        """Lines that were taken."""
        stream.skip(offset)

    def take(self) -> bytes:
        """Return the next lines, as many as fit into a chunk and at least one; b"": the end."""
        pending = self._pending + self._read(self._chunk_bytes - len(self._pending))
        while (end := pending.rfind(b"\n") + 1) == 0:
            if len(pending) > LINE_BYTES_MAX:
                pending = self._pass_over(pending)
                continue
            more = self._read(self._chunk_bytes)
            if not more:
                end = len(pending)
                break
            pending += more
        if not end and self._stream.damage:
            self._bad.add(self._stream.name, self.line + 1, self._stream.damage)
        self._pending = pending[end:]
        self._count(pending[:end], 1)
        return pending[:end]

    def give_back(self, lines: bytes) -> None:
        """Put back the last of the lines taken."""
        self._pending = lines + self._pending
        self._count(lines, -1)

    def _count(self, lines: bytes, sign: int) -> None:
        self.offset += sign * len(lines)
        self.line += sign * count_lines(lines)

    def _read(self, size: int) -> bytes:
        return self._stream.read(size) if size > 0 else b""

    def _pass_over(self, begun: bytes) -> bytes:
        """Pass over a line too long to be held; return what was read of the lines behind it."""
        while (end := begun.find(b"\n") + 1) == 0:
            self.offset += len(begun)
            begun = self._read(self._chunk_bytes)
            if not begun:
                break
        self.offset += end
        self.line += 1
        self._bad.add(self._stream.name, self.line, TOO_LONG)
        return begun[end:]
