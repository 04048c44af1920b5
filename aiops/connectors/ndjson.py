"""NDJSON files, compressed or not, and standard input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, zip_longest
from pathlib import Path

import pyarrow as pa

from aiops.connectors.reading.json_lines import JsonLines
from aiops.connectors.reading.lines import CHUNK_BYTES, LineReader, count_lines
from aiops.connectors.reading.opening import (
    STDIN,
    BadLines,
    ByteStream,
    end_of_history,
    find_files,
)
from aiops.engine.ports import Position
from aiops.errors import FileError

SUFFIXES = (".ndjson", ".jsonl")


class NdjsonSource:
    """Telemetry as lines of JSON objects, in the order in which they stand.

    Every column is text, spelt as its line spells it, and a row is what its line says: how the
    lines are cut into frames changes nothing. A line without a device and a time, that is no JSON
    object, or longer than a mebibyte is left out and told in `bad_lines`; ``null`` and ``NaN``
    mean *not reported*.

    Parameters
    ----------
    files
        Files, directories, patterns and pipes; ``-`` is standard input.
    roles
        Columns that play a role, where they cannot be guessed: see `Layout.guess`.
    chunk_bytes
        How much is read for a frame, about.

    Raises
    ------
    FileError
        A file is not there or not of this format; or, later, cannot be read, or is shorter than
        the position to go on from.
    """

    def __init__(
        self,
        files: str | Path | Sequence[str | Path] = STDIN,
        *,
        roles: Mapping[str, str | None] | None = None,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self.files = find_files(files, SUFFIXES, pipes=True)
        self.bad_lines = BadLines()
        self._json = JsonLines(roles or {})
        self._chunk_bytes = chunk_bytes

    def frames(self, after: Position | None) -> Iterator[tuple[pa.Table, Position]]:
        """Yield each frame with ``{file, offset, line, bad}``, and at last the end of history.

        ``offset`` counts bytes of the file, unpacked. A pipe cannot be resumed by itself: give it
        the same bytes again, and those before the offset are left out.
        """
        place = after or {"file": self.files[0], "offset": 0, "line": 0, "bad": 0}
        if place["file"] not in self.files:
            raise FileError(
                f"the position to go on from is in {place['file']}, which is not among "
                f"{', '.join(self.files[:5])}; name the same files, or begin without the checkpoint"
            )
        self.bad_lines = BadLines(place["bad"])
        said_anything = False
        for name in self.files[self.files.index(place["file"]) :]:
            resumed = place if name == place["file"] else {"offset": 0, "line": 0}
            with ByteStream(name) as stream:
                reader = LineReader(
                    stream, self.bad_lines, self._chunk_bytes, resumed["offset"], resumed["line"]
                )
                for frame in self._read(name, reader):
                    said_anything = True
                    yield frame
                place = self._position(name, reader.offset, reader.line)
        if said_anything or not (after or {}).get("end"):
            yield self._end(), place | {"end": True}

    def _read(self, name: str, reader: LineReader) -> Iterator[tuple[pa.Table, Position]]:
        while chunk := reader.take():
            size = count_lines(chunk)
            offset, line = reader.offset - len(chunk), reader.line - size
            parsed = self._json.parse(chunk)
            runs = self._json.runs(parsed)
            # A run reaches to the line of the row behind it.
            ends = [parsed.number[r.end] if r.end < len(parsed.rows) else size for r in runs]
            starts = {size: len(chunk)} if ends in ([], [size]) else _starts(chunk)
            ends = ends or [size]
            reader.give_back(chunk[starts[ends[-1]] :])
            told = 0
            for end, run in zip_longest(ends, runs):
                while told < len(parsed.bad) and parsed.bad[told][0] < end:
                    number, reason = parsed.bad[told]
                    self.bad_lines.add(name, line + number + 1, reason)
                    told += 1
                if run:
                    place = self._position(name, offset + starts[end], line + end)
                    yield self._json.table(parsed, run), place

    def _position(self, name: str, offset: int, line: int) -> Position:
        return {"file": name, "offset": offset, "line": line, "bad": self.bad_lines.count}

    def _end(self) -> pa.Table:
        names = {"device": "device_id", "time": "ts"} | self._json.roles
        return end_of_history(pa.schema([(name, pa.string()) for name in names.values() if name]))


def _starts(chunk: bytes) -> dict[int, int]:
    """Return where each line begins, and where the last one ends."""
    lengths = (len(line) + 1 for line in chunk.split(b"\n"))
    return {n: min(at, len(chunk)) for n, at in enumerate(accumulate(lengths, initial=0))}
