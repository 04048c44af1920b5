"""The only thing that moves telemetry from a source through the engine to sinks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiops.engine.engine import Engine, Step
from aiops.engine.ports import Position, Sink, Source
from aiops.fleet import checkpoint as file


@dataclass(frozen=True)
class Checkpoint:
    """Where state and position are kept, and how often."""

    path: Path
    every_rows: int = 1_000_000
    """Save after so many rows; also at the end and when asked to stop."""

    def load(self, engine: Engine) -> Position | None:
        """Restore the engine; return the position it belongs to, or None where none was saved."""
        found = file.load(self.path)
        if found is None:
            return None
        arrays, values = found
        engine.restore(arrays, values["engine"])
        position: Position = values["position"]
        return position

    def due(self, rows: int) -> bool:
        """Say whether to save, so many rows after the last time."""
        return rows >= self.every_rows

    def save(self, engine: Engine, position: Position) -> None:
        """Write the engine's state and the position together."""
        arrays, values = engine.save()
        file.save(self.path, arrays, {"engine": values, "position": position})


def run(
    engine: Engine,
    source: Source,
    sinks: Sequence[Sink],
    checkpoint: Checkpoint | None = None,
    *,
    watch: Callable[[int, Step], bool] | None = None,
) -> None:
    """Run `source` through `engine` into `sinks`, from where `checkpoint` left off.

    Results reach the sinks before the position is saved. After a crash the frames since are run
    again and give the same results with the same ids, which sinks take only once. `watch` is
    called after each frame with its row count and results; when it returns false the state is
    saved and the run ends (so a signal need only be remembered).
    """
    position = checkpoint.load(engine) if checkpoint else None
    unsaved = 0
    try:
        for frame, reached in source.frames(position):
            position = reached
            step = engine.step(frame)
            for sink in sinks:
                sink.write(step, position)
            unsaved += len(frame)
            if checkpoint and checkpoint.due(unsaved):
                checkpoint.save(engine, position)
                unsaved = 0
            if watch and not watch(len(frame), step):
                break
        if checkpoint and unsaved and position is not None:
            checkpoint.save(engine, position)
    finally:
        for sink in sinks:
            sink.close()
