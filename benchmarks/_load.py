"""Load on an HTTP server: requests that were rendered before, over connections that stay open."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Outcome:
    """What became of the requests."""

    took_s: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies_s: dict[int, list[float]] = field(default_factory=dict)
    failed: int = 0
    """Connections that broke."""
    answers: dict[int, int] = field(default_factory=dict)
    """Request -> status, of those that were answered."""

    def quantile_s(self, q: float, status: int | None = None) -> float:
        """Return a quantile of the latencies of answers with a status (None: 2xx)."""
        some = [
            one
            for code, latencies in self.latencies_s.items()
            if (code == status if status else code < 300)
            for one in latencies
        ]
        return float(np.quantile(some, q)) if some else float("nan")

    @property
    def accepted(self) -> int:
        """Answers with 2xx."""
        return sum(n for code, n in self.statuses.items() if code < 300)


def rendered(path: str, body: bytes, host: str, **headers: str) -> bytes:
    """Return a request as it goes over the wire."""
    told = {"Host": host, "Content-Length": str(len(body))} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


async def _answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    lowered = head.lower()
    at = lowered.find(b"content-length:")
    if at >= 0:
        length = int(lowered[at + 15 : lowered.index(b"\r\n", at)])
        if length:
            await reader.readexactly(length)
    return status


async def load(
    port: int,
    make: Callable[[int], bytes],
    *,
    connections: int,
    seconds: float = 0.0,
    requests: int = 0,
    per_s: float = 0.0,
    again_s: float = 0.0,
) -> Outcome:
    """Send requests ``make(0)``, ``make(1)`` ... to loopback for so long, or so many.

    With `per_s` they are due at that rate whatever comes back (an open loop, as far as there are
    connections free); without it each connection waits for its answer. A latency counts from the
    moment at which its request leaves. With `again_s` a request that was refused with 429 or 503 is
    sent again after so long, as collectors do.
    """
    found = Outcome()
    begun = time.perf_counter()
    end = begun + seconds if seconds else float("inf")
    turn = iter(range(requests or 1 << 60))

    async def connection() -> None:
        reader = writer = None
        for n in turn:
            due = begun + n / per_s if per_s else time.perf_counter()
            if due >= end:
                break
            ahead = due - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                request = make(n)
                left = time.perf_counter()
                writer.write(request)
                await writer.drain()
                status = await _answer(reader)  # type: ignore[arg-type]
                while status in (429, 503) and again_s:
                    found.statuses[status] += 1
                    await asyncio.sleep(again_s)
                    left = time.perf_counter()
                    writer.write(request)
                    await writer.drain()
                    status = await _answer(reader)  # type: ignore[arg-type]
            except (OSError, asyncio.IncompleteReadError):
                found.failed += 1
                if writer is not None:
                    writer.close()
                writer = None
                continue
            found.statuses[status] += 1
            found.latencies_s.setdefault(status, []).append(time.perf_counter() - left)
            found.answers[n] = status
            if time.perf_counter() >= end:
                break
        if writer is not None:
            writer.close()

    await asyncio.gather(*(connection() for _ in range(connections)))
    found.took_s = time.perf_counter() - begun
    return found


def run(port: int, make: Callable[[int], bytes], **how: float) -> Outcome:
    """Run `load` in an event loop of its own."""
    return asyncio.run(load(port, make, **how))  # type: ignore[arg-type]


def quantiles_ms(seconds: Sequence[float]) -> str:
    """Return median and 99th percentile, for people."""
    p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1e3
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"
