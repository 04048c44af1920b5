"""The command line as a user has it: a process, its output, its exit code, its files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "data" / "tiny"
RECORDS = ("findings", "incidents", "plans", "actions")
JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")
HOURLY = ("--epoch", 3600, "--lateness", 7200)
"""For devices that report hourly."""
PATIENCE_S = 300.0


@dataclass(frozen=True)
class Said:
    """What a command has said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def words(self) -> str:
        """Output with its lines joined, for sentences that may be folded anywhere."""
        return " ".join((self.out + " " + self.err).split())

    def fails(self, code: int) -> str:
        """Return the one message of a failure: on standard error, and no traceback."""
        assert self.code == code, self
        assert self.out == "", self.out
        assert "Traceback" not in self.err, self.err
        assert len(self.err.splitlines()) == 1, self.err
        assert self.err.startswith("error: "), self.err
        return self.err.removeprefix("error: ").rstrip("\n")


def environment(**more: str) -> dict[str, str]:
    """Return the caller's environment, less what changes how things look."""
    unwanted = {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TERM", "CLICOLOR"}
    kept = {k: v for k, v in os.environ.items() if k not in unwanted}
    return kept | {"COLUMNS": "80", "TERM": "xterm-256color"} | more


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "aiops", *map(str, arguments)]


def aiops(*arguments: object, cwd: Path, stdin: bytes = b"", **environ: str) -> Said:
    """Run a command to its end."""
    done = subprocess.run(
        command(*arguments),
        cwd=cwd,
        input=stdin,
        capture_output=True,
        env=environment(**environ),
        timeout=PATIENCE_S,
        check=False,
    )
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


def succeeds(*arguments: object, cwd: Path, stdin: bytes = b"", **environ: str) -> Said:
    """Run a command to its end, which must be a good one, with nothing to complain of."""
    said = aiops(*arguments, cwd=cwd, stdin=stdin, **environ)
    assert (said.code, said.err) == (0, ""), said
    return said


def start(
    *arguments: object, cwd: Path, stdin: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Start a command; the caller waits for it, or ends it."""
    return subprocess.Popen(
        command(*arguments),
        cwd=cwd,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )


def finish(process: subprocess.Popen[bytes]) -> Said:
    """Wait for a command that was started."""
    out, err = process.communicate(timeout=PATIENCE_S)
    return Said(process.returncode, out.decode(), err.decode())


def wait_until(process: subprocess.Popen[bytes], happened: Callable[[], bool]) -> None:
    """Wait until something has happened while the process is running."""
    end = time.monotonic() + PATIENCE_S
    while not happened():
        assert process.poll() is None, "it ended before: " + str(finish(process))
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.0005)


def stop(*arguments: object, cwd: Path, out: str, after: str, by: int = signal.SIGKILL) -> Said:
    """Start a run and send it a signal once it has judged all until `after`."""
    process = start(*arguments, cwd=cwd)
    wait_until(process, lambda: judged_until(cwd / out) >= after)
    process.send_signal(by)
    return finish(process)


def judged_until(out: Path) -> str:
    """Return up to when a run has judged so far; nothing if it has not."""
    totals = out / "totals.json"
    return str(json.loads(totals.read_bytes()).get("last", "")) if totals.exists() else ""


def records(out: Path) -> dict[str, bytes]:
    """Return the results of a run, byte by byte."""
    return {kind: (out / f"{kind}.jsonl").read_bytes() for kind in RECORDS}


def read(out: Path, kind: str) -> list[dict[str, Any]]:
    """Return the records of one kind."""
    return [json.loads(line) for line in (out / f"{kind}.jsonl").read_bytes().splitlines()]


def too_wide(text: str, width: int = 80) -> list[str]:
    """Return the lines that do not fit."""
    return [line for line in text.splitlines() if len(line) > width]
