"""The laws of sources and sinks, each a function that raises AssertionError."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyarrow as pa

from aiops.engine.ports import Position, Sink, Source
from aiops.telemetry.normalised import SET_ASIDE

Frames = list[tuple[pa.Table, Position]]


@dataclass(frozen=True)
class Results:
    """Stands for a step of the engine, as far as sinks look at one."""

    kinds: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    set_aside: pa.Table = field(default_factory=SET_ASIDE.remove(0).empty_table)

    def records(self) -> dict[str, list[dict[str, Any]]]:
        empty: dict[str, list[dict[str, Any]]] = {
            kind: [] for kind in ("findings", "incidents", "plans", "actions")
        }
        return empty | self.kinds


def check_source(make: Callable[[], Source]) -> Frames:
    """Check a source of a finite history; return its frames.

    No frame is empty, positions survive JSON, the last frame and no other is the end of history,
    and going on from any position gives the frames that are left: at the end, none.
    """
    frames = list(make().frames(None))
    assert frames, "a history without even an end"
    assert all(len(frame) for frame, _ in frames), "an empty frame"
    for place, (_, position) in enumerate(frames, start=1):
        stored = msgspec.json.decode(msgspec.json.encode(position))
        assert stored == position, "a position is not plain JSON"
        rest = list(make().frames(stored))
        assert plain(rest) == plain(frames[place:]), f"going on from {position}"
    *_, (last, _) = frames
    assert len(last) == 1
    assert is_end(last), "the last frame does not end the history"
    assert not any(
        is_end(frame.slice(row, 1)) for frame, _ in frames[:-1] for row in range(len(frame))
    )
    return frames


def check_sink(
    make: Callable[[], Sink], read_back: Callable[[], Any], steps: Sequence[Results]
) -> None:
    """Check that writing again, at once or after opening again, leaves what was there."""

    def write(those: Iterable[Results]) -> Any:
        sink = make()
        for step in those:
            sink.write(step, {})  # type: ignore[arg-type]
        sink.close()
        return read_back()

    once = write(steps)
    assert write([]) == once, "opening and closing changed what is kept"
    assert write(steps) == once, "writing again after opening again changed what is kept"
    assert write([*steps, *steps]) == once, "writing again changed what is kept"
    for first in range(len(steps)):
        assert write(steps[first:]) == once, "writing part of it again changed what is kept"


def is_end(frame: pa.Table) -> bool:
    return all(column.null_count == len(frame) for column in frame.columns)


def plain(frames: Frames) -> list[tuple[list[str], list[dict[str, Any]], Position]]:
    return [(frame.column_names, frame.to_pylist(), position) for frame, position in frames]


def rows_of(frames: Frames) -> list[dict[str, Any]]:
    """Return all rows but the end of history, without the values that are null."""
    return [
        {name: value for name, value in row.items() if value is not None}
        for frame, _ in frames[:-1]
        for row in frame.to_pylist()
    ]
