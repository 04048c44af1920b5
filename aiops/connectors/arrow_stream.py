"""Arrow IPC streams and files, and streams on standard input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from aiops.connectors.reading.opening import STDIN, end_of_history, find_files, open_arrow
from aiops.engine.ports import Position
from aiops.errors import FileError

SUFFIXES = (".arrows", ".arrow", ".ipc", ".feather")
FRAME_ROWS = 1 << 17


class ArrowStreamSource:
    """Telemetry as record batches, in the order in which they stand.

    A frame is a batch, or part of one that is very long.

    Parameters
    ----------
    files
        Files, directories, patterns and pipes; ``-`` is standard input, which must be a stream.
    frame_rows
        Longer batches are cut.

    Raises
    ------
    FileError
        A file is not there or not of this format; or, later, is cut off or damaged, or is shorter
        than the position to go on from.
    """

    def __init__(
        self, files: str | Path | Sequence[str | Path] = STDIN, *, frame_rows: int = FRAME_ROWS
    ) -> None:
        self.files = find_files(files, SUFFIXES, pipes=True)
        self._frame_rows = frame_rows

    def frames(self, after: Position | None) -> Iterator[tuple[pa.Table, Position]]:
        """Yield each frame with ``{file, row}``, and at last the end of history.

        ``row`` counts the rows of the file before. A pipe cannot be resumed by itself: give it the
        same stream again, and those before the row are left out.
        """
        place = after or {"file": self.files[0], "row": 0}
        if place["file"] not in self.files:
            raise FileError(
                f"the position to go on from is in {place['file']}, which is not among "
                f"{', '.join(self.files[:5])}; name the same files, or begin without the checkpoint"
            )
        said_anything = False
        for name in self.files[self.files.index(place["file"]) :]:
            row = 0
            skip = place["row"] if name == place["file"] else 0
            with open_arrow(name) as (schema, batches):
                for batch in batches:
                    for begin in range(max(0, skip - row), len(batch), self._frame_rows):
                        part = batch.slice(begin, self._frame_rows)
                        said_anything = True
                        yield (
                            pa.Table.from_batches([part]),
                            {"file": name, "row": row + begin + len(part)},
                        )
                    row += len(batch)
            if row < skip:
                raise FileError(
                    f"{name}: the position to go on from is behind row {skip}, but there are only "
                    f"{row}: it is another file by now; begin without the checkpoint"
                )
            place = {"file": name, "row": row}
        if said_anything or not (after or {}).get("end"):
            yield end_of_history(schema), place | {"end": True}
