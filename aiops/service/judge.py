"""The one thread that runs the engine over the log, and answers questions about it in between."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import apsw
import structlog

from aiops.connectors.durable.files import no_room
from aiops.connectors.replay import LogSource
from aiops.engine.engine import Engine, Step
from aiops.engine.ports import DurableLog, LogRecord, Position, Sink
from aiops.engine.run import Checkpoint, run

T = TypeVar("T")

PRESSED_S = 5.0
"""Not even then is the state saved more often."""
NAP_S = 0.25
"""How long the thread waits for telemetry before it looks at other things."""
LINGER_S = 3.0
"""Told to stop, it goes on for so long with what is committed; the rest is judged after the next
start."""
FULL_S = 1.0
"""While the disk is full it is tried again so often..."""
UNSAVED_S = 60.0
"""...and so often the state."""
logger = structlog.get_logger("aiops.judge")


@dataclass(frozen=True)
class TimedCheckpoint(Checkpoint):
    """Saves after so many rows, or so much time, whichever is first."""

    every_s: float = 900.0
    saved: Callable[[Position], None] = lambda position: None
    """Told of each position that is safe: what lies before it need not be replayed."""
    pressed: Callable[[], bool] = lambda: False
    """Says that the log should be trimmed, and so a position be safe, now."""
    clock: Callable[[], float] = time.monotonic
    _at: list[float] = field(default_factory=lambda: [time.monotonic()], repr=False)

    def due(self, rows: int) -> bool:
        """Say whether to save, so many rows after the last time."""
        since = self.clock() - self._at[0]
        return super().due(rows) or since >= self.every_s or (since > PRESSED_S and self.pressed())

    def load(self, engine: Engine) -> Position | None:
        """Restore the engine, and say from which position."""
        position = super().load(engine)
        if position is not None:
            self.saved(position)
        return position

    def save(self, engine: Engine, position: Position) -> None:
        """Write the engine's state and the position together, and say so.

        While the disk is full the state that was saved before stays, and the log with it.
        """
        try:
            super().save(engine, position)
        except OSError as error:
            if not no_room(error):
                raise
            self.path.with_name(f"{self.path.name}.new").unlink(missing_ok=True)
            logger.warning("the state is not saved", because=str(error))
            self._at[0] = self.clock() - self.every_s + UNSAVED_S
            return
        self._at[0] = self.clock()
        self.saved(position)


class Judge:
    """Runs the engine in a thread of its own until it is stopped.

    Parameters
    ----------
    engine
        Nobody else touches it from `start` on, but through `ask`.
    log
        Where telemetry comes from; `wake` says that there is more.
    sinks
        Who takes the results; others use them too, and so they stay open when the thread ends.
    checkpoint
        Where the state is kept.
    hear
        Told of the records in the log that are no telemetry, in their place.
    linger_s
        Told to stop, it goes on for so long with what is committed.
    """

    def __init__(
        self,
        engine: Engine,
        log: DurableLog,
        sinks: Sequence[Sink],
        checkpoint: Checkpoint,
        hear: Callable[[Engine, int, LogRecord], None],
        linger_s: float = LINGER_S,
    ) -> None:
        self.engine = engine
        self._log = log
        self._sinks = tuple(sinks)
        self._checkpoint = checkpoint
        self._hear = hear
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._questions: deque[tuple[Callable[[Engine], Any], Future[Any]]] = deque()
        self._thread = threading.Thread(target=self._run, name="judge", daemon=True)
        self.seq = 0
        """The last record of the log that was judged."""
        self.caught_up = threading.Event()
        """Set once everything that was in the log at the start is judged."""
        self.failure: BaseException | None = None
        self.full = False
        """Whether it waits for room on the disk."""
        self._ended = False
        self._goal = 0
        self._linger_s = linger_s
        self._until_s = 0.0

    def start(self, goal: int) -> None:
        """Begin; `goal` is the last record to judge before `caught_up`."""
        self._goal = goal
        self._thread.start()

    def wake(self) -> None:
        """Say that there is more in the log."""
        self._woken.set()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Judge what is committed as far as there is time, save, and end.

        Raises
        ------
        TimeoutError
            It did not end in time; what was not saved is judged again at the next start.
        """
        self._until_s = time.monotonic() + self._linger_s
        self._stopping.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                raise TimeoutError(f"the engine did not stop within {timeout_s:g} s")

    def ask(self, question: Callable[[Engine], T]) -> Future[T]:
        """Answer a question between two frames, when the engine stands still."""
        answer: Future[T] = Future()
        self._questions.append((question, answer))
        self._woken.set()
        if not self._runs():  # it looks at no more questions
            self._answer()
        return answer

    def _runs(self) -> bool:
        return self._thread.is_alive() and not self._ended

    # In the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            run(
                self.engine,
                LogSource(self._log, wait=self._wait, hear=self._heard),
                [self],
                self._checkpoint,
                watch=self._watch,
            )
        except BaseException as error:
            self.failure = error
            logger.exception("engine stopped", after_seq=self.seq)
        finally:
            self._ended = True
            self._answer()

    def _heard(self, number: int, record: LogRecord) -> None:
        self._hear(self.engine, number, record)
        self.reached(number)

    def _watch(self, rows: int, step: Step) -> bool:
        self._answer()
        return not self._stopping.is_set() or time.monotonic() < self._until_s

    def reached(self, seq: int) -> None:
        """Note that all up to a record of the log is judged."""
        self.seq = max(self.seq, seq)
        if self.seq >= self._goal:
            self.caught_up.set()

    def write(self, step: Step, position: Position) -> None:
        """Hand results to the sinks, and note how far they are recorded."""
        for sink in self._sinks:
            self.patiently(partial(sink.write, step, position))
        self.reached(position["seq"])

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def patiently(self, write: Callable[[], None]) -> None:
        """Write, again and again while the disk is full: all of it, or nothing, and then stop.

        Raises
        ------
        apsw.FullError, OSError
            It is full still, and it is time to stop.
        """
        while True:
            try:
                write()
            except (apsw.FullError, OSError) as error:
                if not no_room(error) or self._stopping.is_set():
                    raise
                if not self.full:
                    logger.warning("the engine waits for room on the disk", because=str(error))
                self.full = True
            else:
                self.full = False
                return
            self._answer()
            self._stopping.wait(FULL_S)

    def _wait(self) -> bool:
        """Wait for more; false when all is judged and there will be no more."""
        self._answer()
        if self._stopping.is_set():
            return False
        self.caught_up.set()
        self._woken.wait(NAP_S)
        self._woken.clear()
        return True

    def _answer(self) -> None:
        while self._questions:
            try:
                question, answer = self._questions.popleft()
            except IndexError:  # somebody else just did, at the end
                return
            if not answer.set_running_or_notify_cancel():
                continue
            if not self._runs():
                answer.set_exception(RuntimeError(f"the engine does not run: {self.failure}"))
                continue
            try:
                answer.set_result(question(self.engine))
            except Exception as error:  # it is the asker's
                answer.set_exception(error)
