"""Waking those who wait for something new."""

from __future__ import annotations

import asyncio
import threading


class News:
    """Wakes those who wait for new records, in whatever event loop they are."""

    def __init__(self) -> None:
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._lock = threading.Lock()
        self.count = 0
        """How often there was something new."""

    def announce(self) -> None:
        """Wake everybody."""
        with self._lock:
            self.count += 1
            waiting = list(self._waiting)
        for loop, event in waiting:
            loop.call_soon_threadsafe(event.set)

    async def wait(self, count: int, timeout_s: float) -> bool:
        """Return when there is more than `count` told of, or after so long; say which it was."""
        entry = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            if self.count != count:
                return True
            self._waiting.add(entry)
        try:
            await asyncio.wait_for(entry[1].wait(), timeout_s)
        except TimeoutError:
            return False
        finally:
            with self._lock:
                self._waiting.discard(entry)
        return True
