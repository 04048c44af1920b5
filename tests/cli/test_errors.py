"""Whatever is wrong is one clear message on standard error, an exit code, and no traceback."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.cli.process import TINY, Said, aiops

TELEMETRY = TINY / "telemetry"


class Wrong(NamedTuple):
    arguments: tuple[Any, ...]
    code: int
    says: tuple[str, ...]
    stdin: bytes = b""


CASES = {
    "a missing file": Wrong(("scan", "no.csv"), 1, ("no.csv: there is no such file",)),
    "a stream to scan": Wrong(("scan", "-"), 1, ("cannot be scanned",)),
    "an unknown format": Wrong(("scan", "notes.txt"), 1, ("notes.txt", ".parquet", ".csv")),
    "an unknown role": Wrong(
        ("scan", TELEMETRY, "--column", "devcie=x"), 2, ("'devcie'", "did you mean device?")
    ),
    "an unknown detector": Wrong(
        ("run", TELEMETRY, "--detector", "flash_waer"),
        2,
        ("'flash_waer'", "did you mean flash_wear", "silence"),
    ),
    "an unknown scenario": Wrong(("simulate", "--scenario", "dmeo"), 2, ("did you mean demo?",)),
    "an unknown stream": Wrong(("run", "-", "--stream", "avro"), 2, ("ndjson or arrow",)),
    "a file for a directory": Wrong(
        ("run", TELEMETRY, "--out", "notes.txt"), 1, ("notes.txt is a file",)
    ),
    "a file to simulate into": Wrong(("simulate", "--out", "notes.txt"), 1, ("notes.txt",)),
    "no inventory": Wrong(("run", TELEMETRY, "--inventory", "no.json"), 1, ("inventory no.json",)),
    "a broken inventory": Wrong(
        ("run", TELEMETRY, "--inventory", "bad.json"), 1, ("bad.json: nodes[0] has 'idd'", "known")
    ),
    "a torn record of a run": Wrong(("run", TELEMETRY, "--out", "torn"), 1, ("torn/run.json",)),
    "torn totals": Wrong(("explain", "fnd-1", "--out", "torn"), 1, ("torn/totals.json",)),
    "prose on standard input": Wrong(
        ("run", "-", "--out", "prose"), 1, ("no telemetry in 2 lines", "line 1"), b"It was\na dark"
    ),
    "lines for arrow": Wrong(
        ("run", "-", "--stream", "arrow", "--out", "lines"), 1, ("not readable as Arrow",), b"{}\n"
    ),
}

USAGE = {
    "no command": ((), "Usage: aiops"),
    "an unknown command": (("explian",), "Did you mean 'explain'?"),
    "an unknown option": (("demo", "--sed", 1), "--sed"),
    "nothing to explain": (("explain",), "Missing argument"),
    "an epoch of ages": (("run", TELEMETRY, "--epoch", 10**17), "--epoch"),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Said]:
    """Return what all the wrong commands have said, two at a time."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "notes.txt").write_text("chapter one")
    (folder / "bad.json").write_text('{"nodes": [{"id": "n", "idd": 1}]}')
    (folder / "torn").mkdir()
    (folder / "torn" / "findings.jsonl").write_text("{}\n")
    for name in ("run.json", "totals.json"):
        (folder / "torn" / name).write_text('{"rows": ')

    def speak(arguments: tuple[Any, ...], stdin: bytes = b"") -> Said:
        return aiops(*arguments, cwd=folder, stdin=stdin)

    with ThreadPoolExecutor(2) as pool:
        wrong = {name: pool.submit(speak, w.arguments, w.stdin) for name, w in CASES.items()}
        usage = {name: pool.submit(speak, arguments) for name, (arguments, _) in USAGE.items()}
    left: set[str] = {path.name for path in Path(folder).iterdir()}
    assert left == {"notes.txt", "bad.json", "torn", "prose", "lines"}, "nothing else is left"
    return {name: one.result() for name, one in (wrong | usage).items()}


@pytest.mark.parametrize("name", CASES)
def test_it_says_what_is_wrong_in_one_message(said, name):
    message = said[name].fails(CASES[name].code)
    for part in CASES[name].says:
        assert part in message


@pytest.mark.parametrize("name", USAGE)
def test_wrong_usage_is_told_with_the_right_one(said, name):
    one = said[name]
    assert one.code == 2
    assert "Traceback" not in one.err
    assert "Usage: aiops" in one.err
    assert USAGE[name][1] in one.err
