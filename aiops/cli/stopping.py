"""Stopping a run where it stands: on SIGTERM and on Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import pyarrow as pa

from aiops.engine.ports import Position, Source
from aiops.errors import AiopsError


class Stopped(BaseException):
    """A signal came while the source was waited for."""


@dataclass
class Stop:
    """Whether a signal has asked to stop."""

    signal: int = 0
    """Its number; 0: none came."""
    waiting: bool = False
    """Set while the source is waited for: only there may a signal interrupt."""

    def note(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal."""
        self.signal = number
        if self.waiting:
            raise Stopped


@contextmanager
def stopping() -> Iterator[Stop]:
    """Yield what remembers SIGTERM and SIGINT, which do not end the process meanwhile."""
    stop = Stop()
    asked = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop.note) for number in asked}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Stoppable:
    """A source that ends when asked to stop, also while a stream is idle or files are sorted."""

    source: Source
    stop: Stop

    def frames(self, after: Position | None) -> Iterator[tuple[pa.Table, Position]]:
        """Yield the frames of the source until asked to stop."""
        frames = self.source.frames(after)
        while True:
            try:
                self.stop.waiting = True
                following = None if self.stop.signal else next(frames, None)
            except (Stopped, AiopsError):  # a source may tell in its own way that it was stopped
                if not self.stop.signal:
                    raise
                return
            finally:
                self.stop.waiting = False
            if following is None:
                return
            yield following
