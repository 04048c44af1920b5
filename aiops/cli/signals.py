"""Being told to stop a service: heard from before it starts until its process ends."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from types import FrameType

SAID = b"stopping: saving the state\n"


class Signals:
    """Hears SIGTERM and Ctrl-C, so that neither ends the process half-way.

    A signal that comes before there is what can be stopped is kept until there is. Once heard,
    signals stay heard: while the state is being saved another must not end the process.
    """

    def __init__(self) -> None:
        self.heard = 0
        self._stop: Callable[[], object] | None = None

    def listen(self) -> None:
        """Begin to hear; only in the main thread."""
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, self._hear)

    def call(self, stop: Callable[[], object] | None) -> None:
        """Call `stop` at each signal, and now if one came already; None: nothing any more."""
        self._stop = stop
        if stop is not None and self.heard:
            stop()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.heard += 1
        if self.heard == 1:
            with contextlib.suppress(OSError):  # nobody reads it: it stops all the same
                os.write(2, SAID)  # no buffer, which may be in use just now
        if self._stop is not None:
            self._stop()
