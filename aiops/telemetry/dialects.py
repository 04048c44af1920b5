"""How others name and measure what we know: names, units and polarity as data.

Each file in ``dialects/`` is one dialect; ``DIALECTS`` lists them. An alias says that a column or
metric of some name, where the conditions on its labels hold, is a canonical metric, and how to get
there. Of the aliases of a name a row takes the first whose conditions hold, in the order of
`DIALECTS` and of the file; so what a row becomes depends on the row alone.

To teach the engine a dialect: write a file, add its name to `DIALECTS`, add cases to
``tests/cases/normalise/``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Literal

from aiops.errors import SettingsError
from aiops.telemetry.transforms import TRANSFORMS
from aiops.telemetry.vocabulary import VOCABULARY, closest, metric

DIALECTS = (
    "opentelemetry",
    "enterprise_drive",
    "smartctl_json",
    "smartctl_exporter",
    "node_exporter",
    "telegraf",
    "collectd",
    "memfault",
    "reboots",
    "sysfs",
    "sdmon",
    "plain",
)
"""The more a dialect asks of a row, the earlier it stands."""

Conditions = tuple[tuple[str, tuple[str, ...]], ...]
"""Label and shell patterns of which one must match its value; "" stands for no such label.

`Alias.when` asks for all of its conditions, `Alias.unless` for none.
"""


@dataclass(frozen=True)
class Alias:
    """One name in one dialect, and the way from its reading to a canonical value."""

    name: str
    """``{part}`` stands for the name of a part, ``{any}`` for anything."""
    metric: str
    source: str = ""
    when: Conditions = ()
    unless: Conditions = ()
    same_as: str = ""
    """Holds only where the reading equals that of this other column."""
    reads: Literal["number", "largest", "word", "identity"] = "number"
    """``largest``: of several numbers in a string; ``word``: of `words` and nothing else;
    ``identity``: whatever tells apart."""
    label: str = ""
    """Label that holds an identity, where the reading itself says nothing."""
    words: Mapping[str, float] = field(default_factory=dict)
    """What words, or shell patterns of them, mean where others send numbers. In a file it may be
    the name of one of the dialect's tables of ``words``."""
    transform: str = ""
    """Name in `TRANSFORMS`, applied to the reading before what follows."""
    scale: float = 1.0
    offset: float = 0.0
    per: float = 1.0
    part: tuple[str, ...] = ()
    """Labels that name the part, best first; only where each reading is a row of its own."""
    medium: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Name of its column in a normalised frame."""
        return VOCABULARY[self.metric].key(self.source)


@dataclass(frozen=True)
class Named:
    """What is known by one name."""

    aliases: tuple[Alias, ...] = ()
    part: str | None = None
    """The part that the name itself names."""


_FIELDS = frozenset(Alias.__dataclass_fields__) | {"remaining", "source_column", "sources"}


def _read(stem: str) -> dict[str, Any]:
    path = resources.files("aiops.telemetry").joinpath("dialects", f"{stem}.toml")
    return tomllib.loads(path.read_text("utf-8"))


def _texts(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _conditions(table: Mapping[str, str | list[str]]) -> Conditions:
    return tuple((label, _texts(patterns)) for label, patterns in table.items())


def _aliases(entry: dict[str, Any], dialect: Mapping[str, Any], where: str) -> Iterator[Alias]:
    """Yield the aliases an entry of a file stands for."""
    for key in entry:
        if key not in _FIELDS:
            raise SettingsError(f"{where}: no field {key!r} in an alias{closest(key, _FIELDS)}")
    known = metric(entry["metric"])
    transform = entry.get("transform", "")
    if transform and transform not in TRANSFORMS:
        raise SettingsError(f"{where}: no transform {transform!r}{closest(transform, TRANSFORMS)}")
    words = entry.get("words", {})
    if isinstance(words, str):
        words = dialect["words"][words]
    per = float(entry.get("per", 1.0))
    remaining = entry.get("remaining", False)
    alias = Alias(
        name="",
        metric=known.name,
        source=entry.get("source", ""),
        when=_conditions(entry.get("when", {})),
        unless=_conditions(entry.get("unless", {})),
        same_as=entry.get("same_as", ""),
        reads=entry.get("reads", "identity" if known.is_identity else "number"),
        label=entry.get("label", ""),
        words=MappingProxyType({k: float(v) for k, v in words.items()}),
        transform=transform,
        scale=-1.0 if remaining else float(entry.get("scale", 1.0)),
        offset=per if remaining else float(entry.get("offset", 0.0)),
        per=per,
        part=_texts(entry.get("part", dialect.get("part", ()))),
        medium=_texts(entry.get("medium", dialect.get("medium", ()))),
    )
    column = entry.get("source_column")
    variants = (
        [
            replace(alias, source=source, when=((column, (value,)), *alias.when))
            for value, source in entry["sources"].items()
        ]
        if column
        else [alias]
    )
    for variant in variants:
        if (variant.source in {s.name for s in known.sources}) is not bool(known.sources):
            names = ", ".join(s.name for s in known.sources) or "no sources"
            raise SettingsError(
                f"{where}: {known.name} has no source {variant.source!r}; it has {names}"
            )
        for name in _texts(entry["name"]):
            yield replace(variant, name=name)


def _attributes(dialect: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the SMART attributes as entries in the spelling of a dialect."""
    spelling = dialect.get("attributes")
    if spelling is None:
        return
    for attribute in _read("attributes")["attribute"]:
        meaning = {k: v for k, v in attribute.items() if k not in {"id", "names", "field"}}
        if "part" in spelling:
            meaning["part"] = spelling["part"]
        for name in attribute["names"]:
            spelt = {
                "id": str(attribute["id"]),
                "name": name,
                "field": spelling[attribute["field"]],
            }
            yield {
                **meaning,
                "name": [text.format_map(spelt) for text in _texts(spelling["name"])],
                "when": {
                    label: [text.format_map(spelt) for text in _texts(patterns)]
                    for label, patterns in spelling.get("when", {}).items()
                },
            }


def _canonical() -> Iterator[Alias]:
    """Yield the vocabulary's own names: ``metric``, and ``metric/source`` where it has sources."""
    for known in VOCABULARY.values():
        alias = Alias(
            name=known.name,
            metric=known.name,
            reads="identity" if known.is_identity else "number",
            part=("part",),
            medium=("medium_id",),
        )
        if not known.sources:
            yield alias
            continue
        yield replace(alias, source="reported")
        for source in known.sources:
            yield replace(alias, name=known.key(source.name), source=source.name)


def _load() -> tuple[dict[str, tuple[Alias, ...]], frozenset[str]]:
    found: dict[str, list[Alias]] = {}
    for alias in _canonical():
        found.setdefault(alias.name, []).append(alias)
    labels: set[str] = set()
    for stem in DIALECTS:
        dialect = _read(stem)
        labels.update(dialect.get("labels", ()))
        for entry in [*dialect["alias"], *_attributes(dialect)]:
            for alias in _aliases(entry, dialect, f"aiops/telemetry/dialects/{stem}.toml"):
                found.setdefault(alias.name, []).append(alias)
                labels.update(label for label, _ in (*alias.when, *alias.unless))
                labels.update(alias.part, alias.medium, filter(None, [alias.label]))
    return {name: tuple(aliases) for name, aliases in found.items()}, frozenset(labels)


_FOUND, LABELS = _load()
"""`LABELS`: names of columns that tell what another column means, and carry nothing themselves."""

ALIASES: Mapping[str, tuple[Alias, ...]] = MappingProxyType(_FOUND)
"""Name, maybe with ``{part}`` or ``{any}`` in it -> its aliases, first match first."""

_PATTERNS = tuple(
    (
        re.compile(
            re.escape(name).replace(r"\{part\}", "(?P<part>[^/]+?)").replace(r"\{any\}", ".+")
        ),
        aliases,
    )
    for name, aliases in ALIASES.items()
    if "{" in name
)


@lru_cache(maxsize=4096)
def named(name: str) -> Named:
    """Return what is known by `name`; without aliases if nothing is."""
    exact = ALIASES.get(name)
    if exact is not None:
        return Named(exact)
    for pattern, aliases in _PATTERNS:
        match = pattern.fullmatch(name)
        if match:
            return Named(aliases, match.groupdict().get("part"))
    return Named()


def suggestion(name: str) -> str:
    """Return "; did you mean ...?" for a name that nobody knows, or nothing."""
    return closest(name, ALIASES)


_NAMESPACE = re.compile(r"(nvme\d+)n\d+")


def part_name(label: str) -> str:
    """Return the part that a device node names: ``/dev/nvme0n1`` is ``nvme0``.

    SMART counts by NVMe controller and the kernel by namespace; they must meet in one part.
    """
    name = label.removeprefix("/dev/")
    namespace = _NAMESPACE.fullmatch(name)
    return namespace[1] if namespace else name
