"""The one thread that runs the engine over the log, and answers questions about it in between."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from aiops.connectors.replay import LogSource
from aiops.engine.engine import Engine, Step
from aiops.engine.ports import DurableLog, LogRecord, Position, Sink
from aiops.engine.run import Checkpoint, run

T = TypeVar("T")

PRESSED_S = 5.0
"""Not even then is the state saved more often."""
NAP_S = 0.25
"""How long the thread waits for telemetry before it looks at other things."""
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
        """Write the engine's state and the position together, and say so."""
        super().save(engine, position)
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
        Who takes the results; closed when the thread ends.
    checkpoint
        Where the state is kept.
    hear
        Told of the records in the log that are no telemetry, in their place.
    """

    def __init__(
        self,
        engine: Engine,
        log: DurableLog,
        sinks: Sequence[Sink],
        checkpoint: Checkpoint,
        hear: Callable[[Engine, int, LogRecord], None],
    ) -> None:
        self.engine = engine
        self._log = log
        self._sinks = [*sinks, self]
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
        self._goal = 0

    def start(self, goal: int) -> None:
        """Begin; `goal` is the last record to judge before `caught_up`."""
        self._goal = goal
        self._thread.start()

    def wake(self) -> None:
        """Say that there is more in the log."""
        self._woken.set()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Judge what is committed, save, and end.

        Raises
        ------
        TimeoutError
            It did not end in time; what was not saved is judged again at the next start.
        """
        self._stopping.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                raise TimeoutError(f"the engine did not stop within {timeout_s:g} s")

    def ask(self, question: Callable[[Engine], T]) -> Future[T]:
        """Answer a question between two frames, when the engine stands still."""
        answer: Future[T] = Future()
        if self.failure is not None or not self._thread.is_alive():
            answer.set_exception(RuntimeError(f"the engine does not run: {self.failure}"))
            return answer
        self._questions.append((question, answer))
        self._woken.set()
        return answer

    # In the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            run(
                self.engine,
                LogSource(self._log, wait=self._wait, hear=self._heard),
                self._sinks,
                self._checkpoint,
                watch=self._watch,
            )
        except BaseException as error:
            self.failure = error
            logger.exception("engine stopped", after_seq=self.seq)
        finally:
            self._answer()

    def _heard(self, number: int, record: LogRecord) -> None:
        self._hear(self.engine, number, record)
        self.reached(number)

    def _watch(self, rows: int, step: Step) -> bool:
        self._answer()
        return True

    def reached(self, seq: int) -> None:
        """Note that all up to a record of the log is judged."""
        self.seq = max(self.seq, seq)
        if self.seq >= self._goal:
            self.caught_up.set()

    def write(self, step: Step, position: Position) -> None:
        """Note how far results are recorded: the last of the sinks."""
        self.reached(position["seq"])

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

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
            question, answer = self._questions.popleft()
            if not answer.set_running_or_notify_cancel():
                continue
            if self.failure is not None:
                answer.set_exception(RuntimeError(f"the engine does not run: {self.failure}"))
                continue
            try:
                answer.set_result(question(self.engine))
            except Exception as error:  # it is the asker's
                answer.set_exception(error)
