"""What the pages about the service say is what the service does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import annotated_types
import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from aiops.actions.guard import LIMITS, WEIGHT
from aiops.cli.connect import EXIT_NOTHING, WAYS
from aiops.cli.serve import EXIT_BROKEN, EXIT_CONFIG
from aiops.service.bodies import LabelAsked
from aiops.service.settings import Settings
from tests.service.running import Running, until

DOCS = Path(__file__).resolve().parents[1] / "docs"
API, SERVICE, PROTOCOLS = (
    (DOCS / f"{name}.md").read_text("utf-8") for name in ("api", "service", "protocols")
)
JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")
runs = pytest.mark.skipif(not JIT, reason="a service whose kernels are plain Python is slow")
MIB = 1 << 20


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("docs") / "data") as running:
        yield running


def examples(page: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a page with what it is said to answer."""
    for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL):
        for part in re.split(r"(?m)^\$ ", block)[1:]:
            lines = part.splitlines()
            n = 1
            while lines[n - 1].endswith("\\"):
                n += 1
            if "<<END" in lines[n - 1]:
                n = lines.index("END") + 1
            yield "\n".join(lines[:n]), "\n".join(lines[n:])


def pattern(said: str) -> re.Pattern[str]:
    """Return what matches an answer, whatever its blanks and where it says ``...``."""
    bare = re.sub(r"\s+", "", said)
    return re.compile(".*".join(map(re.escape, bare.split("..."))), re.DOTALL)


@runs
@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples are of curl")
def test_the_examples_of_the_api_are_answered_as_is_said(service):
    environment = os.environ | {"URL": service.url, "TOKEN": service.token}
    n = 0
    for command, said in examples(API):

        def answered(command: str = command, said: str = said) -> bool:
            done = subprocess.run(
                ["bash", "-c", command], env=environment, capture_output=True, check=False
            )
            answered.last = done.stdout.decode()  # type: ignore[attr-defined]
            return pattern(said).fullmatch(re.sub(r"\s+", "", answered.last)) is not None  # type: ignore[attr-defined]

        try:
            until(answered, 15.0, 0.2)
        except AssertionError:
            pytest.fail(f"{command}\nwas answered\n{answered.last}\nand not\n{said}")  # type: ignore[attr-defined]
        n += 1
    assert n > 12


@runs
def test_every_route_of_the_service_is_told_of(service):
    pages = API + PROTOCOLS + SERVICE
    access = DOCS / "access.md"
    pages += access.read_text() if access.exists() else ""
    paths = service.client.get("/openapi.json").json()["paths"]
    untold = [path for path in paths if re.sub(r"/\{.*", "", path) not in pages]
    assert not untold


@runs
def test_every_figure_of_the_service_is_told_of(service):
    told = set(re.findall(r"^\| `(aiops_\w+)", SERVICE, re.MULTILINE))
    text = service.client.get("/metrics").text
    assert told == set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))


def test_every_setting_stands_with_its_default_and_bounds():
    rows = re.findall(r"^\| `([a-z_.]+)` \| (.*?) \| (.*?) \|", SERVICE, re.MULTILINE)
    assert rows == list(settings())


def test_every_exit_code_is_told():
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", SERVICE, re.MULTILINE)}
    assert told == {0, 1, 2, EXIT_NOTHING, EXIT_CONFIG, EXIT_BROKEN, 130}


def test_what_the_guard_allows_in_an_hour_is_told():
    def share(ratio: float) -> str:
        return f"{ratio:.0%}".replace("%", " %")

    def brake(ratio: float) -> str:
        return share(ratio) if ratio < 1.0 else "never"

    rows = re.findall(r"(?m)^\| (move|disrupt|plan|tell) \| (.*) \|$", SERVICE)
    assert [weight for weight, _ in rows] == list(LIMITS)
    for weight, told in rows:
        of = LIMITS[weight]
        assert told.split(" | ") == [
            ", ".join(f"`{kind}`" for kind, its in WEIGHT.items() if its == weight),
            share(of.fleet_share),
            f"{share(of.site_share)}, {share(of.cohort_share)}",
            f"{of.floor}",
            f"{brake(of.brake_fleet_share)}, {brake(of.brake_site_share)}",
            f"{of.cool_down_s:,.0f} s",
        ]


def test_every_answer_to_whether_a_finding_was_right_is_told():
    allowed = typing.get_args(LabelAsked.model_fields["said"].annotation)
    assert len(allowed) > 2
    assert [one for one in allowed if f"`{one}`" not in API] == []


def test_every_collector_is_told_of():
    assert [name for name in WAYS if f"`{name}`" not in PROTOCOLS] == []


# What a table of settings says ----------------------------------------------------------------


def settings(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield name, default and bounds of each setting, in the order of the model."""
    for name, field in model.model_fields.items():
        inner = section(field.annotation)
        if inner is None:
            yield prefix + name, default(name, field), bounds(name, field)
        else:
            yield from settings(inner, f"{prefix}{name}.")


def section(kind: Any) -> type[BaseModel] | None:
    """Return the table of settings that a type is, or is many of; None: it is a value."""
    for one in (kind, *typing.get_args(kind)):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None


def default(name: str, field: FieldInfo) -> str:
    value = field.default
    if field.is_required():
        return "must be given"
    if value is None or value == "" or value == () or value == {}:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(f"`{one}`" for one in value)
    if isinstance(value, int | float):
        return amount(name, value)
    return f"`{value}`"


def bounds(name: str, field: FieldInfo) -> str:
    said = []
    for one in field.metadata:
        match one:
            case annotated_types.Ge(ge=least):
                said.append(f"{amount(name, least)} or more")
            case annotated_types.Gt(gt=least):
                said.append(f"above {amount(name, least)}")
            case annotated_types.Le(le=most):
                said.append(f"at most {amount(name, most)}")
            case annotated_types.MinLen(min_length=n):
                said.append(f"{n} or more")
    inside = typing.get_args(field.annotation)
    if inside and typing.get_origin(inside[0]) is typing.Literal:
        said.append(", ".join(typing.get_args(inside[0])))
    return ", ".join(said)


def amount(name: str, value: float) -> str:
    """Return a number with the unit that the end of its name says."""
    if name.endswith("_bytes") and value >= MIB:
        return f"{value / MIB:g} MiB"
    units = {"_bytes": " B", "_per_s": " a second", "_s": " s"}
    unit = next((unit for end, unit in units.items() if name.endswith(end)), "")
    plain = isinstance(value, float) or value < 1000 or name == "port"
    text = (f"{value:g}" if isinstance(value, float) else str(value)) if plain else f"{value:,}"
    return text + unit
