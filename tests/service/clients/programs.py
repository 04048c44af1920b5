"""Programs of others, each in a process of its own, and where they are found."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

CACHE = Path(os.environ.get("AIOPS_CLIENTS") or Path.home() / ".cache" / "aiops-clients")
"""Where `.ci/clients` unpacks what would replace the system's own."""
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
PACKAGES = {
    "collectd": "collectd-core libyajl2 libcurl3-gnutls libmosquitto1",
    "influxd": "influxdb",
    "mosquitto": "mosquitto",
    "mosquitto_pub": "mosquitto-clients",
    "mosquitto_sub": "mosquitto-clients",
    "prometheus": "prometheus",
    "prometheus-node-exporter": "prometheus-node-exporter",
    "vmagent": "victoria-metrics",
    str(CACHE / "prometheus-3/usr/bin/prometheus"): "prometheus of Debian sid, unpacked there",
}
"""Program -> Debian packages that it takes to run it."""
PROMETHEUS_3 = list(PACKAGES)[-1]
MODULES = {
    "opentelemetry.sdk": "opentelemetry-sdk",
    "opentelemetry.exporter.otlp.proto.http": "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry.instrumentation.system_metrics": "opentelemetry-instrumentation-system-metrics",
}
"""Module -> package of PyPI."""


def path_of(name: str) -> str:
    """Return the path of a program that is there."""
    found = shutil.which(name, path=PATH)
    assert found is not None, name
    return found


def there(*names: str) -> bool:
    """Say whether programs and modules are installed."""
    return not _missing(*names)


def needs(*names: str) -> pytest.MarkDecorator:
    """Return a mark that skips a test without these programs and modules, saying where they are."""
    missing = _missing(*names)
    told = "; ".join(f"{name}: {PACKAGES.get(name) or MODULES[name]}" for name in missing)
    return pytest.mark.skipif(bool(missing), reason=f"not installed (see .ci/clients): {told}")


def _missing(*names: str) -> list[str]:
    return [
        name
        for name in names
        if not (_is_module(name) if name in MODULES else shutil.which(name, path=PATH))
    ]


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the package it is in
        return False


def free_port() -> int:
    """Return a port of loopback that nobody listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Program:
    """A program that runs until the block ends; what it says goes to a file.

    Parameters
    ----------
    folder
        Its own; it is made.
    command
        Program and arguments.
    """

    def __init__(self, folder: Path, *command: str, **env: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "said.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | env,
            )

    @property
    def said(self) -> str:
        """All it said up to now."""
        return self._log.read_text(errors="replace")

    @property
    def runs(self) -> bool:
        """Whether it still does; a test waits for nothing of one that does not."""
        assert self._process.poll() is None, f"it ended by itself: {self.said[-2000:]}"
        return True

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        """Ask it to stop, and wait until it has."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
