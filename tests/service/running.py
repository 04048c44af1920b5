"""A service in a process of its own, as an operator runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import httpx

TOKEN = re.compile(r"aiops_demo_\S+")
LISTENS = re.compile(r"listens at (\S+),")
START_S = 300.0


class Running:
    """`aiops serve` on a free port of loopback; a context, so that no process is left behind.

    Epochs last a second and wait for nobody, unless `config` (TOML) says otherwise.
    """

    def __init__(self, data: Path, config: str = "", *args: str, ready: bool = True) -> None:
        self.data = data
        self.args = args
        self._config = data.parent / f"{data.name}.toml"
        self._config.write_text(config or "[engine]\nepoch_s = 1\nlateness_s = 0\n")
        self._ready = ready
        self.port = 0
        self._readers: list[threading.Thread] = []
        self._clients: list[httpx.Client] = []
        try:
            self.start()
        except BaseException:
            self._end()
            raise

    def start(self) -> None:
        """Start it; again, on the port it had, with the data it has."""
        command = [sys.executable, "-m", "aiops", "serve", "--config", str(self._config)]
        command += ["--data", str(self.data), "--port", str(self.port), *self.args]
        env = os.environ | {"NO_COLOR": "1"}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
        self.said: deque[str] = deque(maxlen=2000)
        self.token = ""
        url = ""
        stderr = self.process.stderr
        assert stderr is not None
        for line in stderr:
            self.said.append(line)
            if found := LISTENS.search(line):
                url = found[1]
            if found := TOKEN.search(line):
                self.token = found[0]
                break
            if url and "DEMO" not in line and "listens" not in line:
                break  # it is no demo
            if url and "https" in url:
                break
        if not url:
            raise AssertionError(f"it did not start: {''.join(self.said)}")
        self._readers.append(threading.Thread(target=self._follow, args=(stderr,), daemon=True))
        self._readers[-1].start()
        self.url = url
        self.port = int(url.rpartition(":")[2])
        self.client = httpx.Client(base_url=url, headers=self.headers, timeout=30.0)
        self._clients.append(self.client)
        if self._ready and url.startswith("http:"):
            self.wait_ready()

    def _follow(self, stderr: IO[str]) -> None:
        with stderr:
            self.said.extend(stderr)

    @property
    def headers(self) -> dict[str, str]:
        """What a request of the demo's operator has."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def wait_ready(self) -> None:
        """Wait until it says that it is ready."""
        until(lambda: self.client.get("/readyz").status_code == 200, START_S)

    def wait_judged(self) -> None:
        """Wait until everything in the log is judged."""

        def judged() -> bool:
            figures = self.metrics()
            return figures["aiops_log_judged_seq"] >= figures["aiops_log_last_seq"]

        until(judged)

    def metrics(self) -> dict[str, float]:
        """Return its own figures, by name with labels."""
        text = self.client.get("/metrics").text
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    def items(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """Return all entries of a list, page by page."""
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            asked = query | {"limit": 1000} | ({"cursor": cursor} if cursor else {})
            answer = self.client.get(path, params=asked)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            found += page["items"]
            cursor = page["next"]
            if cursor is None:
                return found

    def kill(self) -> None:
        """Kill it as the kernel does."""
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> int:
        """Ask it to stop, as init does; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)
        for reader in self._readers:
            reader.join(10)
        if self.process.stderr is not None:
            self.process.stderr.close()
        for client in self._clients:
            client.close()


def until(holds: Any, timeout_s: float = 60.0, every_s: float = 0.05) -> Any:
    """Wait until something holds, and return it; fail if it does not in time."""
    end = time.monotonic() + timeout_s
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < end, f"not within {timeout_s:g} s"
        time.sleep(every_s)
