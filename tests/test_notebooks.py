"""Every notebook runs from top to bottom, imports only what a reader has, and keeps no output."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MAY_IMPORT = {"aiops", "dataclasses", "pandas", "polars", "pyarrow", "duckdb", "numpy", "river"}


def cells(path: Path) -> list[str]:
    document = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(c["source"]) for c in document["cells"] if c["cell_type"] == "code"]


def test_there_is_a_notebook():
    assert "first_look" in {path.stem for path in NOTEBOOKS}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    namespace: dict = {}
    for number, source in enumerate(cells(path)):
        exec(compile(source, f"{path.name} cell {number}", "exec"), namespace)
    assert capsys.readouterr().out
    assert os.getcwd() == str(ROOT)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_knows_aiops_by_its_public_names_only(path):
    for source in cells(path):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} <= MAY_IMPORT
            if isinstance(node, ast.ImportFrom):
                assert node.module.split(".")[0] in MAY_IMPORT - {"aiops"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path):
    document = json.loads(path.read_text(encoding="utf-8"))
    assert not any(cell.get("outputs") for cell in document["cells"])
