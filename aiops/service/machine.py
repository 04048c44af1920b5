"""Whether this machine has what the service needs: looked at with Python alone."""

from __future__ import annotations

import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Literal, NamedTuple

DISTRIBUTION = "aiops-edge"
PYTHON_LEAST = (3, 11)
WRITES = 16
WRITE_BYTES = 16 * 1024
SLOW_S = 0.05
"""A flush that takes longer is what every sender waits for."""
_REQUIRED = re.compile(r"([A-Za-z0-9._-]+)[^;]*?>=([0-9.]+)")


class Look(NamedTuple):
    """What was looked at, and how it is."""

    name: str
    state: Literal["ok", "warn", "FAIL"]
    found: str
    mend: str = ""
    """The one command that mends it, or what to do; empty: nothing need be done."""


def machine(requires: Sequence[str] | None = None) -> Iterator[Look]:
    """Look at Python, at the packages of the extra ``serve``, and at the compiled kernels.

    `requires` lists what the package asks for, as its metadata have it; None: those are read.
    """
    found = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    if sys.version_info >= PYTHON_LEAST:
        yield Look("python", "ok", found)
    else:
        yield Look("python", "FAIL", found, "install Python 3.11 or later")
    yield packages(metadata.requires(DISTRIBUTION) or [] if requires is None else requires)
    yield kernels()


def packages(requires: Sequence[str]) -> Look:
    """Look whether what the extra ``serve`` asks for is installed."""
    wrong, n = [], 0
    for line in requires:
        match = _REQUIRED.match(line)
        if match is None or 'extra == "serve"' not in line.replace("'", '"'):
            continue
        n += 1
        try:
            have = metadata.version(match[1])
        except metadata.PackageNotFoundError:
            wrong.append(f"{match[1]} is missing")
            continue
        if _numbers(have) < _numbers(match[2]):
            wrong.append(f"{match[1]} is {have}, and {match[2]} is needed")
    if wrong:
        return Look("packages", "FAIL", "; ".join(wrong), f"pip install '{DISTRIBUTION}[serve]'")
    return Look("packages", "ok", f"the {n} packages of the service are here")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def kernels(folder: Path | None = None) -> Look:
    """Look whether kernels are compiled already, or can be kept once they are."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        return Look("kernels", "warn", "NUMBA_DISABLE_JIT is set: all is slow", "unset it")
    told = os.environ.get("NUMBA_CACHE_DIR")
    if folder is None:
        at = Path(str(resources.files("aiops.kernels")))
        folder = Path(told) if told else at / "__pycache__"
    n = sum(1 for _ in folder.rglob("*.nbi")) if folder.is_dir() else 0
    place = folder if folder.is_dir() else folder.parent
    if not os.access(place, os.W_OK) and not n:
        return Look(
            "kernels",
            "warn",
            f"compiled at every start: {folder} cannot be written",
            "export NUMBA_CACHE_DIR=/var/cache/aiops",
        )
    if not n:
        return Look("kernels", "ok", "not compiled yet: the first start takes some two minutes")
    return Look("kernels", "ok", f"{n} compiled kernels are kept in {folder}")


def disk(folder: Path) -> Look:
    """Write and flush a little in a folder, and say how long that takes."""
    took = []
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for _ in range(WRITES):
                begun = time.perf_counter()
                os.write(file.fileno(), bytes(WRITE_BYTES))
                os.fsync(file.fileno())
                took.append(time.perf_counter() - begun)
    except OSError as error:
        return Look("disk", "FAIL", f"{folder} cannot be written: {error.strerror}", "df -h .")
    typical, worst = statistics.median(took), max(took)
    found = f"a write is on disk after {typical * 1e3:.2g} ms, at worst {worst * 1e3:.2g} ms"
    if typical > SLOW_S:
        return Look("disk", "warn", found, "put the data on a faster disk: --data DIR")
    return Look("disk", "ok", found)


def resident_bytes() -> int:
    """Return how much memory this process holds; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except FileNotFoundError:  # no Linux
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
