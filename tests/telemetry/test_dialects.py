from __future__ import annotations

import math
from importlib import resources

import pytest

from aiops.telemetry.dialects import ALIASES, DIALECTS, LABELS, named, part_name, suggestion
from aiops.telemetry.transforms import TRANSFORMS
from aiops.telemetry.vocabulary import VOCABULARY


def test_every_file_is_a_dialect_and_every_dialect_a_file() -> None:
    folder = resources.files("aiops.telemetry").joinpath("dialects")
    files = {path.name.removesuffix(".toml") for path in folder.iterdir()}
    assert files - {"attributes"} == set(DIALECTS)


@pytest.mark.parametrize("name", ALIASES)
def test_every_alias_of_a_name_can_be_reached(name: str) -> None:
    aliases = ALIASES[name]
    for alias in aliases[:-1]:
        assert alias.when or alias.unless or alias.same_as, f"nothing of {name} comes after {alias}"
    assert len({(a.when, a.unless, a.same_as) for a in aliases}) == len(aliases)


@pytest.mark.parametrize("name", ALIASES)
def test_every_alias_leads_to_a_canonical_column(name: str) -> None:
    for alias in ALIASES[name]:
        metric, _, source = alias.key.partition("/")
        assert source in {s.name for s in VOCABULARY[metric].sources} | {""}
        assert bool(source) == bool(VOCABULARY[metric].sources)
        assert math.isfinite(alias.scale)
        assert math.isfinite(alias.offset)
        assert alias.scale != 0.0
        assert alias.per > 0.0


def test_every_transform_is_used() -> None:
    assert {a.transform for aliases in ALIASES.values() for a in aliases} - {""} == set(TRANSFORMS)


def test_every_canonical_name_is_its_own_alias() -> None:
    for metric in VOCABULARY.values():
        (alias,) = ALIASES[metric.name]
        assert (alias.metric, alias.scale, alias.offset, alias.per) == (metric.name, 1.0, 0.0, 1.0)
        for source in metric.sources:
            assert ALIASES[metric.key(source.name)][0].key == metric.key(source.name)


@pytest.mark.parametrize(
    ("name", "part", "metric"),
    [
        ("diskstats/mmcblk0/lifetime_pct", "mmcblk0", "storage.wear.used_ratio"),
        ("disk_wear.vdc.bytes_written.mean", "vdc", "storage.bytes_written_delta"),
        ("disk_wear.pre_eol.latest", None, "storage.pre_eol"),
        ("thermal/cpu-thermal", None, "temperature.celsius"),
        ("temp_c", None, "temperature.celsius"),
    ],
)
def test_a_name_may_name_a_part(name: str, part: str | None, metric: str) -> None:
    known = named(name)
    assert known.part == part
    assert {alias.metric for alias in known.aliases} == {metric}


def test_an_unknown_name_is_nothing_but_may_resemble_something() -> None:
    assert named("tempc").aliases == ()
    assert "temp_c" in suggestion("tempc")
    assert suggestion("xyzzy") == ""


def test_a_condition_on_a_label_makes_it_known() -> None:
    assert {"kind", "wear_source", "attribute_name", "serial_number"} <= LABELS
    assert "percentage_used" not in LABELS


@pytest.mark.parametrize(
    ("label", "part"),
    [
        ("/dev/nvme0n1", "nvme0"),
        ("nvme12n2", "nvme12"),
        ("nvme0", "nvme0"),
        ("nvme0n1p1", "nvme0n1p1"),
        ("/dev/sda", "sda"),
        ("mmcblk0", "mmcblk0"),
    ],
)
def test_parts_are_named_alike_by_everybody(label: str, part: str) -> None:
    assert part_name(label) == part
