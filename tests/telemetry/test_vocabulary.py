from __future__ import annotations

import math

import pytest

from aiops.errors import SettingsError
from aiops.telemetry.vocabulary import VOCABULARY, metric


def test_a_metric_is_found_by_its_name() -> None:
    wear = metric("storage.wear.used_ratio")
    assert wear is VOCABULARY["storage.wear.used_ratio"]
    assert wear.kind == "gauge"
    assert wear.key("nvme") == "storage.wear.used_ratio/nvme"
    assert {source.name: source.step for source in wear.sources}["emmc"] == 0.10


def test_an_unknown_metric_names_similar_ones() -> None:
    with pytest.raises(SettingsError, match=r"did you mean storage\.wear\.used_ratio"):
        metric("storage.wear.used_ration")


@pytest.mark.parametrize("known", VOCABULARY.values(), ids=list(VOCABULARY))
def test_every_metric_is_sound(known) -> None:  # type: ignore[no-untyped-def]
    assert known.text.endswith(".")
    assert known.lower < known.upper
    names = [source.name for source in known.sources]
    assert len(set(names)) == len(names)
    assert all(math.isfinite(source.wrap) for source in known.sources)
    assert not any("/" in name for name in [known.name, *names])


def test_only_identities_are_unbounded() -> None:
    identities = {
        "storage.model",
        "storage.vendor",
        "device.boot_id",
        "device.software_version",
    }
    assert {m.name for m in VOCABULARY.values() if m.is_identity} == identities
    assert {m.name for m in VOCABULARY.values() if math.isinf(m.upper)} == identities
