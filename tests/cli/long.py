"""What takes long: the demo, and a real panel of drives. Made on the second core, see conftest."""

from __future__ import annotations

import gzip
import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

from tests.cli.fleets import cut_lines
from tests.cli.process import JIT, ROOT, Said, aiops, stop, succeeds

SHARED = Path(os.environ.get("AIOPS_SHARED") or ROOT.parent / "shared")
PANEL = SHARED / "data" / "flash" / "wear_panel.csv.gz"


class Tour(NamedTuple):
    """What the demo has said."""

    out: Path
    text: Said
    json: Said | None
    """None without the JIT: once is slow enough."""


def tour(folder: Path) -> Tour:
    """Take the demo, for people and for programs."""
    text = aiops("demo", cwd=folder)
    json = aiops("demo", "--json", "--out", "again", cwd=folder) if JIT else None
    return Tour(folder / "aiops-demo", text, json)


class Replay(NamedTuple):
    """The panel, run through the command line."""

    rows: int
    whole: Path
    seven: Path
    thousand: Path
    """In a thousand pieces, and killed half way."""
    said: Said
    seconds: float


def replay(folder: Path) -> Replay | None:
    """Run the panel in 1, 7 and 1,000 pieces; None where there is none."""
    if not PANEL.exists():
        return None
    with gzip.open(PANEL) as file:
        header, *lines = file
    if not JIT:  # kernels as plain Python: one drive in forty
        drives = sorted({drive(line) for line in lines})[::40]
        kept = set(drives)
        lines = [line for line in lines if drive(line) in kept]
    for pieces in (1, 7, 1000):
        cut_lines(lines, header, min(pieces, len(lines)), folder / f"cut{pieces}", seed=pieces)
    begun = time.monotonic()
    said = succeeds("run", "cut1", "--out", "out1", cwd=folder)
    seconds = time.monotonic() - begun
    succeeds("run", "cut7", "--out", "out7", cwd=folder)
    again = ("run", "cut1000", "--out", "out1000", "--checkpoint-rows", max(50, len(lines) // 9))
    killed = stop(*again, cwd=folder, out="out1000", after="2021-10-09")
    assert killed.code == -signal.SIGKILL, killed
    succeeds(*again, cwd=folder)
    outs = (folder / f"out{pieces}" for pieces in (1, 7, 1000))
    return Replay(len(lines), *outs, said, seconds)


def drive(line: bytes) -> bytes:
    return line.rpartition(b",")[2]
