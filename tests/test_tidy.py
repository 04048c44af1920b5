"""What the project does not write, each ban with its reason and what to write instead.

`BANS` is the whole list. A ban reads a file (its path, its text, for Python its tree) and yields
the lines that break it; beside it stand examples that it must catch and look-alikes that it must
let pass, so no ban can go blind unnoticed. To add one: write a finder, add an entry.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ANYWHERE = ("",)
PACKAGE = ("aiops/",)
KERNELS = ("aiops/kernels/",)
CORE = tuple(
    f"aiops/{room}/"
    for room in (
        "kernels",
        "telemetry",
        "fleet",
        "detectors",
        "alerts",
        "placement",
        "actions",
        "engine",
    )
)

LINES_MAX = 500
LONG_FILES: dict[str, str] = {
    "aiops/kernels/wear.py": "learning and foretelling share what a kernel may not import",
}


@dataclass(frozen=True)
class Source:
    """A file as the bans see it."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text if self.path.endswith(".py") else "")

    @cached_property
    def names(self) -> dict[str, str]:
        """Local name -> what it was imported as: ``np`` -> ``numpy``."""
        found = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    root = alias.name.partition(".")[0]
                    found[alias.asname or root] = alias.name if alias.asname else root
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        return found

    def full_name(self, node: ast.AST) -> str:
        """``np.random.rand`` -> ``numpy.random.rand``; empty for what is no dotted name."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            owner = self.full_name(node.value)
            return f"{owner}.{node.attr}" if owner else ""
        return ""

    def calls(self) -> Iterator[tuple[ast.Call, str]]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield node, self.full_name(node.func)

    def imports(self) -> Iterator[tuple[int, str, str]]:
        """Yield line, module and, of a ``from`` import, each name taken from it."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name, "") for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                module = "." * node.level + (node.module or "")
                yield from ((node.lineno, module, alias.name) for alias in node.names)

    def uses(self, pattern: str) -> Iterator[int]:
        """Yield the lines where an imported or dotted name matches `pattern` in full."""
        matches = re.compile(pattern).fullmatch
        for line, module, name in self.imports():
            if matches(module) or (name and matches(f"{module}.{name}")):
                yield line
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute) and matches(self.full_name(node)):
                yield node.lineno


Finder = Callable[[Source], Iterable[int]]


@dataclass(frozen=True)
class Ban:
    what: str
    where: tuple[str, ...]
    finds: Finder
    reason: str
    instead: str
    catches: tuple[str, ...]
    """Each must be caught, in a file at `at`."""
    passes: tuple[str, ...] = ()
    """None must be caught."""
    at: str = ""
    """Where the examples stand; by default a new file in the first place of `where`."""
    but: tuple[str, ...] = ()
    """Places within `where` that the ban leaves alone."""

    def covers(self, path: str) -> bool:
        return path.startswith(self.where) and not (self.but and path.startswith(self.but))

    @property
    def example_path(self) -> str:
        return self.at or f"{self.where[0]}planted.py"


# Finders -----------------------------------------------------------------------------------------

VAGUE = re.compile(r"(manager|helper|util|handler|processor|info)s?|common|misc")


def is_vague(name: str) -> bool:
    """Say whether a word of ``HTTPHandler_v2`` (http, handler, v2) is one of the vague ones."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", name)
    return any(VAGUE.fullmatch(word.lower()) for word in words)


def vague_names(source: Source) -> Iterator[int]:
    if any(map(is_vague, Path(source.path).with_suffix("").parts)):
        yield 1
    for node in ast.walk(source.tree):
        named = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if named and is_vague(node.name):
            yield node.lineno


def calls_of(pattern: str) -> Finder:
    matches = re.compile(pattern).fullmatch

    def find(source: Source) -> Iterator[int]:
        yield from (node.lineno for node, name in source.calls() if matches(name))

    return find


def imports_of(*modules: str) -> Finder:
    def find(source: Source) -> Iterator[int]:
        for line, module, name in source.imports():
            whole = f"{module}.{name}"
            if any(whole == one or whole.startswith(f"{one}.") for one in modules):
                yield line

    return find


def uses_of(pattern: str) -> Finder:
    return lambda source: source.uses(pattern)


def text_of(pattern: str) -> Finder:
    matches = re.compile(pattern)

    def find(source: Source) -> Iterator[int]:
        for number, line in enumerate(source.text.splitlines(), start=1):
            if matches.search(line):
                yield number

    return find


def pickles(source: Source) -> Iterator[int]:
    yield from imports_of(
        "pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"
    )(source)
    for node, name in source.calls():
        if re.fullmatch(r"(.*\.)?(read|to)_pickle", name):
            yield node.lineno
        yield from (word.lineno for word in keywords(node, "allow_pickle"))


def keywords(node: ast.Call, *names: str) -> Iterator[ast.expr]:
    """Yield the value of each keyword among `names` that is not plainly false."""
    for keyword in node.keywords:
        false = isinstance(keyword.value, ast.Constant) and not keyword.value.value
        if keyword.arg in names and not false:
            yield keyword.value


def clocks(source: Source) -> Iterator[int]:
    yield from imports_of("time")(source)
    clock = r"(.*\.)?(datetime|date|Timestamp)\.(now|utcnow|today)"
    for node, name in source.calls():
        if re.fullmatch(clock, name):
            yield node.lineno
        elif re.fullmatch(r"(numpy\.datetime64|pandas\.(Timestamp|to_datetime))", name):
            named = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            if {"now", "today"} & {value for value in named if isinstance(value, str)}:
                yield node.lineno


SEEDED = r"numpy\.random\.(default_rng|Generator|BitGenerator|SeedSequence|PCG64|PCG64DXSM|Philox)"


def dice(source: Source) -> Iterator[int]:
    yield from imports_of("random", "secrets", "uuid")(source)
    yield from source.uses(rf"(?!{SEEDED}$)numpy\.random\.\w+")
    for node, name in source.calls():
        if re.fullmatch(SEEDED, name) and not node.args and not node.keywords:
            yield node.lineno


def swallowed(source: Source) -> Iterator[int]:
    everything = {"Exception", "BaseException"}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler):
            silent = all(
                isinstance(line, ast.Pass | ast.Continue)
                or (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
                for line in node.body
            )
            if node.type is None or (
                silent and {source.full_name(each) for each in alternatives(node.type)} & everything
            ):
                yield node.lineno
    for node, name in source.calls():
        if name == "contextlib.suppress" and everything & set(map(source.full_name, node.args)):
            yield node.lineno


def alternatives(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def frame_checks(source: Source) -> Iterator[int]:
    for node, name in source.calls():
        if name in {"isinstance", "issubclass"} and len(node.args) == 2:
            asked = [source.full_name(part) for part in ast.walk(node.args[1])]
            if any(one.rpartition(".")[2] in {"DataFrame", "LazyFrame"} for one in asked):
                yield node.lineno


def forbidden_flags(source: Source) -> Iterator[int]:
    yield from source.uses(r"numba\.(.*\.)?(jitclass|prange)")
    for node, name in source.calls():
        if name.startswith("numba."):
            yield from (word.lineno for word in keywords(node, "parallel", "fastmath"))


def foreign_to_kernels(source: Source) -> Iterator[int]:
    """Yield imports beyond numba, numpy, math, what types need, and the kernels' own types.

    From another kernel file only types may come: a function or a constant of it would be compiled
    into this file's cache, which watches only this file.
    """
    free = {"__future__", "collections", "math", "numba", "numpy", "typing"}
    shared = {"aiops.kernels.compile.kernel"}
    for line, module, name in source.imports():
        of_kernels = module.startswith("aiops.kernels.")
        is_type = re.fullmatch(r"[A-Z]\d|[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*", name)
        if of_kernels and (is_type or f"{module}.{name}" in shared):
            continue
        if module.partition(".")[0] not in free:
            yield line


def too_long(source: Source) -> Iterator[int]:
    if source.path not in LONG_FILES and len(source.text.splitlines()) > LINES_MAX:
        yield LINES_MAX + 1


# Bans --------------------------------------------------------------------------------------------

# Spelt in two halves where the ban reads all files, this one among them.
HOME, INDEX = "/ho" + "me/", "pypi" + ".org"

BANS = (
    Ban(
        what="a name that says nothing",
        where=PACKAGE,
        finds=vague_names,
        reason="manager, helper, utils, common, misc, handler, processor and info fit anything",
        instead="the field's word for what it is or does",
        catches=(
            "class StateManager: ...",
            "def helper_of_rows(): ...",
            "async def rowUtils(): ...",
            "class A:\n    def handler(self): ...",
            "class HTTPHandler: ...",
        ),
        passes=(
            "class Information: ...",
            "def uncommon(): ...",
            "log.info('x')",
            "info = 1",
        ),
    ),
    Ban(
        what="a module name that says nothing",
        where=PACKAGE,
        finds=vague_names,
        reason="such a module takes in whatever has no home",
        instead="put each thing into the room it belongs to",
        catches=("",),
        at="aiops/engine/row_utils.py",
    ),
    Ban(
        what="print",
        where=PACKAGE,
        finds=calls_of(r"((builtins|rich)\.)?print"),
        reason="a library does not write to its caller's screen",
        instead="return a value; the command line shows it through its console",
        catches=("print('x')", "from rich import print\nprint('x')"),
        passes=("console.print('x')",),
    ),
    Ban(
        what="eval or exec",
        where=PACKAGE,
        finds=calls_of(r"(builtins\.)?(eval|exec)"),
        reason="text that came from outside would run",
        instead="parse it into values",
        catches=("eval('1')", "exec('x = 1')", "import builtins\nbuiltins.eval('1')"),
        passes=("frame.eval('a + b')",),
    ),
    Ban(
        what="pickle and its kin",
        where=PACKAGE,
        finds=pickles,
        reason="reading such a file runs what it says, and breaks between versions",
        instead="npz, Arrow, JSON or safetensors; skops for a scikit-learn model",
        catches=(
            "import pickle",
            "from joblib import dump",
            "import marshal",
            "import shelve",
            "from cloudpickle import dumps",
            "import numpy as np\nnp.load('x', allow_pickle=True)",
            "import pandas as pd\npd.read_pickle('x')",
        ),
        passes=("import numpy as np\nnp.load('x', allow_pickle=False)", "import skops.io"),
    ),
    Ban(
        what="numba outside the kernels",
        where=PACKAGE,
        but=KERNELS,
        finds=imports_of("numba", "llvmlite"),
        reason="the compiler is a choice of one room, and may be another one day",
        instead="a function in aiops/kernels that is called from here",
        catches=("import numba", "from numba import njit", "import numba.typed as t"),
        passes=("from aiops.kernels.rows import Rows",),
        at="aiops/detectors/planted.py",
    ),
    Ban(
        what="a clock in the core",
        where=CORE,
        finds=clocks,
        reason="time comes from the data, or a replay would differ from the run",
        instead="take ts or recv_ts of the rows, or the epoch, as an argument",
        catches=(
            "import time\ntime.time()",
            "from time import monotonic",
            "import datetime\ndatetime.datetime.now()",
            "from datetime import datetime as dt\ndt.utcnow()",
            "from datetime import date\ndate.today()",
            "import pandas as pd\npd.Timestamp.now()",
            "import numpy as np\nnp.datetime64('now')",
        ),
        passes=(
            "from datetime import UTC, datetime\ndatetime.fromtimestamp(0, tz=UTC)",
            "import numpy as np\nnp.datetime64('2026-01-01')",
        ),
    ),
    Ban(
        what="chance in the core",
        where=CORE,
        finds=dice,
        reason="the same rows must give the same results, and ids are functions of content",
        instead="numpy.random.default_rng(seed) with a seed from the settings; content_id for ids",
        catches=(
            "import random\nrandom.random()",
            "from random import choice",
            "import uuid",
            "import numpy as np\nnp.random.rand(3)",
            "import numpy as np\nnp.random.seed(0)",
            "from numpy.random import normal",
            "from numpy import random\nrandom.rand(3)",
            "import numpy as np\nnp.random.default_rng()",
            "from numpy.random import default_rng\ndefault_rng()",
        ),
        passes=("import numpy as np\nnp.random.default_rng(7).normal()",),
    ),
    Ban(
        what="a swallowed error",
        where=PACKAGE,
        finds=swallowed,
        reason="what went wrong is then found out weeks later, by its consequences",
        instead="catch the one error that is expected, or count and report what was set aside",
        catches=(
            "try: f()\nexcept: raise",
            "try: f()\nexcept Exception: pass",
            "try: f()\nexcept (ValueError, Exception) as error: ...",
            "for x in y:\n    try: f()\n    except BaseException: continue",
            "import contextlib\nwith contextlib.suppress(Exception): f()",
        ),
        passes=(
            "try: f()\nexcept KeyError: pass",
            "try: f()\nexcept Exception as error: report(error)",
        ),
    ),
    Ban(
        what="work left for later",
        where=PACKAGE,
        finds=text_of(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b"),
        reason="nobody comes back to a note in the code",
        instead="do it now, or open an issue that says why not",
        catches=("# TO" + "DO: later", "x = 1  # FIX" + "ME"),
        passes=("# to do so, call it twice",),
    ),
    Ban(
        what="a kind of data frame asked for by name",
        where=("aiops/telemetry/",),
        finds=frame_checks,
        reason="each frame library would need its own way in",
        instead="the Arrow stream that the frame offers: __arrow_c_stream__",
        catches=(
            "import pandas as pd\nisinstance(x, pd.DataFrame)",
            "from polars import DataFrame, LazyFrame\nisinstance(x, (DataFrame, LazyFrame))",
            "isinstance(x, dict | pl.DataFrame)",
        ),
        passes=("isinstance(x, Mapping)", "hasattr(x, '__arrow_c_stream__')"),
    ),
    Ban(
        what="fastmath, parallel or jitclass",
        where=PACKAGE,
        finds=forbidden_flags,
        reason="NaN means not reported, results may not depend on the cut, and two threads abort",
        instead="plain loops over arrays; shard devices over processes to use more cores",
        catches=(
            "from numba import njit\n@njit(parallel=True)\ndef f(): ...",
            "import numba as nb\n@nb.njit(fastmath={'nnan'})\ndef f(): ...",
            "from numba.experimental import jitclass",
            "import numba\nnumba.prange(3)",
        ),
        passes=("import numba\n@numba.njit(fastmath=False)\ndef f(): ...",),
        at="aiops/kernels/compile.py",
    ),
    Ban(
        what="a compiler called past the one decorator",
        where=PACKAGE,
        but=("aiops/kernels/compile.py",),
        finds=uses_of(
            r"numba\.(.*\.)?(njit|jit|generated_jit|vectorize|guvectorize|cfunc|stencil)"
        ),
        reason="each kernel is compiled with the same flags",
        instead="from aiops.kernels.compile import kernel",
        catches=(
            "import numba\n@numba.njit(cache=True)\ndef f(): ...",
            "import numba\n@numba.njit\ndef f(): ...",
            "from numba import njit as fast",
            "from numba import vectorize",
        ),
        passes=("from aiops.kernels.compile import kernel\n@kernel\ndef f(): ...",),
        at="aiops/kernels/planted.py",
    ),
    Ban(
        what="an import that is not for kernels",
        where=KERNELS,
        finds=foreign_to_kernels,
        reason="a kernel's cache watches only its own file: functions and constants of another "
        "file go stale in it",
        instead="arrays and numbers as arguments; of other kernel files only their types",
        catches=(
            "from aiops.errors import InputError",
            "from aiops.kernels.admission import advance_clock",
            "from aiops.kernels.admission import NO_TIME",
            "import pandas",
            "import aiops.kernels.rows",
            "from .rows import no_scores",
        ),
        passes=(
            "from __future__ import annotations",
            "import math\nimport numba\nimport numpy.typing as npt\nfrom typing import NamedTuple",
            "from aiops.kernels.compile import kernel\nfrom aiops.kernels.rows import F8, I4, Rows",
        ),
    ),
    Ban(
        what=f"a file of more than {LINES_MAX} lines",
        where=PACKAGE,
        finds=too_long,
        reason="nobody reads it whole, so nobody knows it",
        instead="split it where a second subject begins, or say in LONG_FILES why not",
        catches=("x = 1\n" * (LINES_MAX + 1),),
        passes=("x = 1\n" * LINES_MAX,),
    ),
    Ban(
        what="a path of one machine",
        where=ANYWHERE,
        finds=text_of(r"(?<![\w.~/*-])/(home|root|work|tmp)/"),
        reason="it is nowhere else",
        instead="a path relative to the repository, tmp_path in tests, tempfile elsewhere",
        catches=(f"path = '{HOME}me/data.csv'", "open('/t" + "mp/x')", "see /wo" + "rk/main"),
        passes=(f"https://example.org{HOME}page", f"out{HOME}x"),
    ),
    Ban(
        what="a package index named",
        where=ANYWHERE,
        finds=text_of(
            r"pypi\.(org|python\.org)|pythonhosted\.org|anaconda\.org|registry\.npmjs|"
            r"--(extra-)?index[-]url|--find[-]links|(?i:(pip|uv)_((extra|default)_)?index)"
        ),
        reason="where packages come from is the business of whoever installs",
        instead="the name of the package",
        catches=(
            f"https://{INDEX}/project/x",
            "pip install --extra-index" + "-url=x y",
            "UV_IN" + "DEX_URL=x",
        ),
        passes=("uv pip compile --no-emit-index" + "-url",),
        at="docs/planted.md",
    ),
)


def broken(source: Source, bans: Iterable[Ban] = BANS) -> list[str]:
    """Return a sentence for each line of `source` that breaks a ban."""
    return [
        f"{source.path}:{line}: {ban.what}: {ban.reason}. Instead: {ban.instead}."
        for ban in bans
        if ban.covers(source.path)
        for line in sorted(set(ban.finds(source)))
    ]


def files() -> list[str]:
    """Return what git tracks or would track if it were added now; without git, what lies here."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        listed = unpacked()
    return sorted({path for path in listed if (ROOT / path).is_file()})


def unpacked() -> Iterator[str]:
    """Yield the files of a tree that no git looks after, less what tools leave behind."""
    left_behind = {"__pycache__", "build", "dist", "out"}
    for folder, below, here in os.walk(ROOT):
        below[:] = [
            name
            for name in below
            if name not in left_behind and (name == ".ci" or not name.startswith("."))
        ]
        yield from (Path(folder, name).relative_to(ROOT).as_posix() for name in here)


def read(path: str) -> Source | None:
    """Return the file, unless it is no text."""
    content = (ROOT / path).read_bytes()
    if b"\0" in content:
        return None
    return Source(path, content.decode("utf-8", errors="replace"))


# The tree ----------------------------------------------------------------------------------------


def test_the_tree_breaks_no_ban() -> None:
    sources = [source for path in files() if (source := read(path))]
    assert any(source.path.startswith("aiops/") for source in sources)
    found = [line for source in sources for line in broken(source)]
    assert not found, "\n" + "\n".join(found)


def test_without_git_the_same_files_are_read() -> None:
    assert {path for path in files() if path.endswith(".py")} == {
        path for path in unpacked() if path.endswith(".py")
    }


def test_a_long_file_is_excused_only_while_it_is_long() -> None:
    for path, reason in LONG_FILES.items():
        assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) > LINES_MAX, path
        assert reason, path


# The bans ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ban", "planted"),
    [
        pytest.param(ban, planted, id=f"{ban.what}-{number}")
        for ban in BANS
        for number, planted in enumerate(ban.catches)
    ],
)
def test_a_ban_catches(ban: Ban, planted: str) -> None:
    found = broken(Source(ban.example_path, planted), [ban])
    assert found, planted
    assert found[0].startswith(f"{ban.example_path}:")
    assert ban.instead in found[0]


@pytest.mark.parametrize(
    ("ban", "planted"),
    [
        pytest.param(ban, planted, id=f"{ban.what}-{number}")
        for ban in BANS
        for number, planted in enumerate(ban.passes)
    ],
)
def test_a_ban_lets_pass(ban: Ban, planted: str) -> None:
    assert not broken(Source(ban.example_path, planted), [ban])


def test_every_ban_has_an_example() -> None:
    assert all(ban.catches for ban in BANS)
    assert len({ban.what for ban in BANS}) == len(BANS)


def test_a_ban_keeps_to_its_place() -> None:
    clock = "import time\ntime.time()"
    assert broken(Source("aiops/fleet/planted.py", clock))
    assert not broken(Source("aiops/cli.py", clock))
    assert not broken(Source("tests/planted.py", clock))
