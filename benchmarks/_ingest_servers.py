"""The servers that are measured: ours with and without its log, VictoriaMetrics, Prometheus."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

HERE = Path(__file__).resolve().parent
CONFIG = """
[engine]
epoch_s = {epoch_s}
lateness_s = 0
watch = {watch}
[bounds]
device_rows_per_s = 1e6
device_burst_rows = 1_000_000_000
[log]
backlog_bytes = {backlog}
"""
"""Devices are not held to their allowance: here a few stand for very many."""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Server(ABC):
    """A process that listens; a context."""

    def __init__(self) -> None:
        self.data = Path(tempfile.mkdtemp(prefix="aiops-bench-"))
        self.port = free_port()
        self.start()

    def start(self) -> None:
        log = (self.data / "log.txt").open("ab")
        self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        log.close()
        end = time.monotonic() + 120
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((self.data / "log.txt").read_text()[-2000:])
            time.sleep(0.05)

    @abstractmethod
    def command(self) -> list[str]:
        """Return what starts it."""

    @property
    @abstractmethod
    def ready(self) -> str:
        """URL that answers 200 once it takes requests."""

    def answers(self) -> bool:
        try:
            return httpx.get(self.ready, timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    @property
    def headers(self) -> dict[str, str]:
        """What a request must have."""
        return {}

    def cpu_s(self) -> float:
        """User and system time so far."""
        found = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(found[11]) + int(found[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mib(self) -> float:
        """Memory held now."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.data, ignore_errors=True)


class Ours(Server):
    """`aiops serve`; with `volatile`, the same with a log in memory, which loses all.

    Without `watch` no metric is watched for what is normal; wear, reboots and silence are.
    """

    def __init__(
        self,
        *,
        volatile: bool = False,
        epoch_s: int = 60,
        backlog: int = 1 << 40,
        watch: bool = True,
    ) -> None:
        self._volatile = volatile
        self._config = CONFIG.format(
            epoch_s=epoch_s, backlog=backlog, watch="true" if watch else "false"
        )
        super().__init__()

    def command(self) -> list[str]:
        (self.data / "aiops.toml").write_text(self._config)
        start = [str(HERE / "_ingest_volatile.py")] if self._volatile else ["-m", "aiops"]
        return [
            *(sys.executable, *start, "serve", "--config", str(self.data / "aiops.toml")),
            *("--data", str(self.data / "data"), "--port", str(self.port)),
        ]

    @property
    def ready(self) -> str:
        return f"http://127.0.0.1:{self.port}/readyz"

    @property
    def token(self) -> str:
        said = (self.data / "log.txt").read_text()
        return said[said.rindex("aiops_demo_") :].split()[0]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def figures(self) -> dict[str, float]:
        """Return the service's own figures."""
        text = httpx.get(
            f"http://127.0.0.1:{self.port}/metrics", headers=self.headers, timeout=30
        ).text
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    def wait_judged(self) -> None:
        """Wait until all that was taken is judged."""
        while True:
            found = self.figures()
            if found["aiops_log_judged_seq"] >= found["aiops_log_last_seq"]:
                return
            time.sleep(0.05)


class VictoriaMetrics(Server):
    """Single node, as Debian packages it."""

    def command(self) -> list[str]:
        return [
            "victoria-metrics",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            f"-storageDataPath={self.data / 'data'}",
            "-retentionPeriod=1",
            "-loggerLevel=ERROR",
        ]

    @property
    def ready(self) -> str:
        return f"http://127.0.0.1:{self.port}/health"


class Prometheus(Server):
    """With its remote-write receiver, as Debian packages it."""

    def command(self) -> list[str]:
        (self.data / "prometheus.yml").write_text("global: {}\n")
        return [
            "prometheus",
            f"--config.file={self.data / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.data / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.enable-remote-write-receiver",
            "--log.level=error",
        ]

    @property
    def ready(self) -> str:
        return f"http://127.0.0.1:{self.port}/-/ready"


def installed(name: str) -> bool:
    return shutil.which(name) is not None
