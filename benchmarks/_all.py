"""Run every benchmark in a process of its own and write what it measured to ``results/``.

A benchmark is a file here whose name does not begin with an underscore. It takes ``--json`` and
then prints, as its last line, one object from figure name to number. Each result file holds those
figures, the command, and the machine and versions they were measured with; the tables of the
documentation are made from these files. Arguments (``--quick``, ``--seed 7``) are passed on.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent

MEASURED_WITH = ("duckdb", "numba", "numpy", "pandas", "pyarrow", "river", "scikit-learn", "scipy")


def main(arguments: list[str], here: Path = HERE) -> int:
    benchmarks = sorted(path for path in here.glob("*.py") if not path.name.startswith("_"))
    if not benchmarks:
        print("no benchmark found")
        return 1
    failed = [path.stem for path in benchmarks if not measure(path, arguments)]
    if failed:
        print(f"{len(failed)} of {len(benchmarks)} benchmarks failed: {', '.join(failed)}")
    return 1 if failed else 0


def measure(benchmark: Path, arguments: list[str]) -> bool:
    """Run one benchmark; write its result and return whether it gave one."""
    command = [f"benchmarks/{benchmark.name}", *arguments, "--json"]
    print(f"== python {' '.join(command)}", flush=True)
    began = time.perf_counter()
    run = subprocess.run(
        [sys.executable, str(benchmark), *arguments, "--json"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    print(run.stdout, end="", flush=True)
    figures = last_object(run.stdout)
    if run.returncode != 0 or figures is None:
        print(f"== {benchmark.name}: exit code {run.returncode}, figures: {figures is not None}")
        return False
    result = {
        "command": command,
        "seconds": round(time.perf_counter() - began, 1),
        "machine": machine(),
        "versions": versions(),
        "figures": figures,
    }
    path = benchmark.parent / "results" / f"{benchmark.stem}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return True


def last_object(output: str) -> dict[str, float] | None:
    """Return the object on the last line of `output`, if that is what stands there."""
    lines = output.strip().splitlines()
    try:
        figures = json.loads(lines[-1]) if lines else None
    except json.JSONDecodeError:
        return None
    return figures if isinstance(figures, dict) else None


def machine() -> dict[str, object]:
    """Return what of the machine decides a speed, and nothing that names it."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    return {"processor": processor, "cores": os.cpu_count(), "system": platform.system()}


def versions() -> dict[str, str]:
    """Return the versions of Python, of this project and of what decides its speed."""
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("aiops-edge", *MEASURED_WITH)},
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
