"""The canonical vocabulary: every metric the engine knows, read from ``vocabulary.toml``."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import Literal

from aiops.errors import SettingsError

Kind = Literal["gauge", "counter", "code"]


@dataclass(frozen=True)
class Source:
    """One of several interfaces through which a device reports the same quantity."""

    name: str
    step: float = math.nan
    """What one tick of the reading is worth, in the metric's unit; NaN: continuous."""
    trust: float = 1.0
    """Share of readings that a better source of the same quantity confirms."""
    wrap: float = 0.0
    """It starts again at zero after this much, in the metric's unit; 0: it does not wrap."""
    resets: bool = False
    """The counter starts again at zero when the device boots."""


@dataclass(frozen=True)
class Metric:
    """A canonical metric: what it is called, measured in, and may be."""

    name: str
    unit: str
    """UCUM."""
    kind: Kind
    text: str
    lower: float = -math.inf
    upper: float = math.inf
    otel: str = ""
    """Name in the OpenTelemetry semantic conventions, where there is one."""
    sources: tuple[Source, ...] = ()
    """Best first: a device is pinned to the first one that it shows."""
    resets: bool = False
    """A counter that has no sources and may start again at zero, as one of a process does."""
    watched: bool = True
    """Whether its own normal is learnt; no for what has a detector of its own, or only grows."""

    @property
    def is_identity(self) -> bool:
        """Say whether values only tell apart (a boot id), whatever they are."""
        return self.kind == "code" and math.isinf(self.upper)

    def key(self, source: str = "") -> str:
        """Return the name of its column in a normalised frame."""
        return f"{self.name}/{source}" if source else self.name


def _load() -> dict[str, Metric]:
    text = resources.files("aiops.telemetry").joinpath("vocabulary.toml").read_text("utf-8")
    metrics = {}
    for entry in tomllib.loads(text)["metric"]:
        sources = tuple(Source(**source) for source in entry.pop("sources", ()))
        watched = entry.pop("watched", entry["kind"] != "code")
        metrics[entry["name"]] = Metric(**entry, sources=sources, watched=watched)
    return metrics


VOCABULARY: Mapping[str, Metric] = MappingProxyType(_load())
"""Canonical name -> metric."""


@lru_cache(maxsize=4096)
def describe(name: str) -> Metric:
    """Return the metric called `name`; of one that nobody knows, what its name alone says.

    Such an *open* metric is a gauge without unit and bounds, or a counter where the name ends in
    ``_total``, as OpenMetrics has it. Its labels may follow the name in braces.
    """
    known = VOCABULARY.get(name)
    if known is not None:
        return known
    if name.partition("{")[0].endswith("_total"):
        return Metric(name, "", "counter", "Counts, under the name it came by.", resets=True)
    return Metric(name, "", "gauge", "Under the name it came by.")


def closest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the names most like `name`, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(found)}?" if found else ""


def metric(name: str) -> Metric:
    """Return the metric called `name`.

    Raises
    ------
    SettingsError
        Nobody knows such a metric; the message names the most similar ones.
    """
    try:
        return VOCABULARY[name]
    except KeyError:
        raise SettingsError(
            f"no metric is called {name!r}{closest(name, VOCABULARY)}; "
            f"the vocabulary has {len(VOCABULARY)} metrics, see aiops/telemetry/vocabulary.toml"
        ) from None
