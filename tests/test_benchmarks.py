"""How `make bench` keeps what a benchmark measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks._all import last_object, main
from benchmarks._tables import BLOCK, PAGES, table


def test_figures_are_kept_with_machine_and_versions(tmp_path: Path) -> None:
    (tmp_path / "speed.py").write_text(
        "import json, sys\nprint('a table')\nprint(json.dumps({'arguments': len(sys.argv) - 1}))\n"
    )
    (tmp_path / "_all.py").write_text("raise SystemExit('not a benchmark')\n")
    assert main(["--quick"], tmp_path) == 0
    result = json.loads((tmp_path / "results" / "speed.json").read_text())
    assert result["figures"] == {"arguments": 2}
    assert result["command"] == ["benchmarks/speed.py", "--quick", "--json"]
    assert result["machine"].keys() == {"processor", "cores", "system"}
    assert {"python", "aiops-edge", "numba"} <= result["versions"].keys()


@pytest.mark.parametrize("text", ["raise SystemExit(3)", "print('no figures')", "print('[1]')"])
def test_a_benchmark_without_figures_fails_the_run_and_leaves_no_result(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "bad.py").write_text(text + "\n")
    (tmp_path / "good.py").write_text("print('{}')\n")
    assert main([], tmp_path) == 1
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["good.json"]


def test_no_benchmark_is_a_failure(tmp_path: Path) -> None:
    assert main([], tmp_path) == 1


def test_only_an_object_on_the_last_line_counts() -> None:
    assert last_object('{"a": 1}\n{"b": 2}\n\n') == {"b": 2}
    assert last_object('{"a": 1}\nend\n') is None
    assert last_object("") is None


def test_the_tables_say_what_was_measured() -> None:
    for page in PAGES:
        for block, name, _ in BLOCK.findall(page.read_text(encoding="utf-8")):
            assert block + table(name) in page.read_text(encoding="utf-8"), "run `make bench`"
