"""Each import contract bites: a copy of the package with one forbidden import fails on it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONTRACTS = {
    contract["id"]: contract["name"] for contract in PROJECT["tool"]["importlinter"]["contracts"]
}

# contract, and the files planted into the copy: where -> what
PLANTED = [
    ("rooms", {"kernels/planted.py": "import aiops.telemetry"}),
    ("rooms", {"telemetry/planted.py": "from aiops.fleet import planted", "fleet/planted.py": ""}),
    ("rooms", {"engine/planted.py": "import aiops.connectors"}),
    ("rooms", {"alerts/planted.py": "import aiops.placement"}),
    ("rooms", {"placement/planted.py": "import aiops.alerts"}),
    ("rooms", {"planted/__init__.py": ""}),
    (
        "connectors",
        {
            "connectors/planted_a.py": "import aiops.connectors.planted_b",
            "connectors/planted_b.py": "",
        },
    ),
    (
        "detectors",
        {
            "detectors/planted_a.py": "from aiops.detectors.planted_b import x",
            "detectors/planted_b.py": "from aiops.detectors.protocol import Detector",
        },
    ),
    ("kernels", {"kernels/planted.py": "import aiops.errors"}),
    ("numba", {"detectors/planted.py": "from numba import njit"}),
    ("numba", {"planted_numba.py": "import numba"}),
    ("world", {"engine/planted.py": "from urllib.request import urlopen"}),
    ("world", {"fleet/planted.py": "import duckdb"}),
    ("world", {"detectors/planted.py": "import random"}),
    ("world", {"alerts/planted.py": "import time"}),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the package, beside the contracts that it is held to."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(
        ROOT / "aiops", tmp_path / "aiops", ignore=shutil.ignore_patterns("__pycache__")
    )
    return tmp_path


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the package in `folder` as ``make check`` does."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_package_keeps_every_contract(copy: Path) -> None:
    run = lint_imports(copy)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{len(CONTRACTS)} kept, 0 broken" in run.stdout


@pytest.mark.parametrize(
    ("contract", "planted"),
    PLANTED,
    ids=[f"{contract}-{min(planted)}" for contract, planted in PLANTED],
)
def test_a_forbidden_import_breaks_its_contract(
    copy: Path, contract: str, planted: dict[str, str]
) -> None:
    for path, text in planted.items():
        target = copy / "aiops" / path
        target.parent.mkdir(exist_ok=True)
        target.write_text(text + "\n", encoding="utf-8")
    run = lint_imports(copy)
    assert run.returncode == 1, run.stdout + run.stderr
    assert f"{CONTRACTS[contract]} BROKEN" in run.stdout


def test_every_contract_has_its_plant() -> None:
    assert {contract for contract, _ in PLANTED} == set(CONTRACTS)
