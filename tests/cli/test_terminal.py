"""In a terminal: colour if it is wanted, no escape sequence at all if not, help in 80 columns."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from itertools import pairwise
from pathlib import Path

import pytest

from tests.cli.process import TINY, command, environment, succeeds, too_wide

COMMANDS = ("demo", "run", "wear", "reboots", "scan", "place", "explain", "simulate")
EXIT_CODES = ("0 done", "1 an error", "2 wrong usage", "3 findings", "130 stopped", "143 stopped")


def in_a_terminal(*arguments: object, cwd: Path, **environ: str) -> tuple[int, str]:
    """Run a command in a pseudo-terminal of 80 columns; return its exit code and all it wrote."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    environ = environment(**environ)
    del environ["COLUMNS"]  # the terminal itself says how wide it is
    process = subprocess.Popen(
        command(*arguments), cwd=cwd, stdin=slave, stdout=slave, stderr=slave, env=environ
    )
    os.close(slave)
    written = b""
    while True:
        try:
            block = os.read(master, 1 << 16)
        except OSError:  # Linux: the other end is closed
            break
        if not block:
            break
        written += block
    os.close(master)
    return process.wait(), written.decode().replace("\r\n", "\n")


def test_colour_and_progress_in_a_terminal(tmp_path):
    code, text = in_a_terminal("run", TINY / "telemetry", "--out", "out", cwd=tmp_path)
    assert code == 0
    assert "\x1b[1m" in text
    assert "sorting" in text, "it shows what it is doing"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("run", TINY / "telemetry", "--out", "out"), 0, "worn out already"),
        (("run", TINY / "no.parquet"), 1, "error: "),
        (("wear", TINY / "telemetry"), 0, "worn out"),
        (("reboots", TINY / "telemetry"), 0, "on watch"),
        (("run", "--help"), 0, "Usage: "),
        (("explian",), 2, "Error: "),
    ],
)
def test_no_escape_sequence_where_no_colour_is_wanted(tmp_path, arguments, code, says):
    ended, text = in_a_terminal(*arguments, cwd=tmp_path, NO_COLOR="1")
    assert ended == code
    assert says in text
    assert "\x1b" not in text
    assert not too_wide(text)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_reads_well_in_80_columns(tmp_path, command):
    text = succeeds(*command.split(), "--help", cwd=tmp_path).out
    words = " ".join(text.split())
    assert text.startswith(f"Usage: aiops {command}".rstrip())
    assert not too_wide(text)
    assert "```" not in text
    assert "``" not in text
    for code in EXIT_CODES:
        assert code in words
    # Prose is folded where the terminal ends, and not where the source did.
    for paragraph in text.split("\n\n"):
        if re.match("  [A-Z]", paragraph):
            for line, following in pairwise(paragraph.splitlines()):
                assert len(line) + 1 + len(following.split()[0]) > 78, line


def test_help_names_every_command(tmp_path):
    text = succeeds("--help", cwd=tmp_path).out
    for name in COMMANDS:
        assert f"\n  {name} " in text
    assert succeeds("--version", cwd=tmp_path).out.startswith("aiops ")
