"""Would it start? What only the real parts can tell of settings, before anything listens."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from aiops.connectors.inventory import read_inventory
from aiops.connectors.models import make_rules
from aiops.detectors import EVERY_METRIC
from aiops.engine.engine import Engine
from aiops.engine.run import Checkpoint
from aiops.engine.watch import watching
from aiops.errors import AiopsError
from aiops.fleet.inventory import Inventory
from aiops.service.outlets import make_outlets
from aiops.service.paths import Paths
from aiops.service.settings import Settings


def make_engine(settings: Settings) -> Engine:
    """Return the engine of these settings, without memory.

    Raises
    ------
    SettingsError, FileError
        A detector is not known, or the inventory or a prior cannot be read.
    """
    told = settings.engine
    rules, watch = watching(
        make_rules(told.detectors, told.alarm_budget, told.wear_prior),
        EVERY_METRIC if told.watch else None,
        told.alarm_budget,
    )
    return Engine(
        rules,
        watch=watch,
        open_metrics_max=told.open_metrics_max,
        inventory=read_inventory(settings.inventory) if settings.inventory else Inventory(),
        epoch_s=told.epoch_s,
        lateness_s=told.lateness_s,
        scores_of=(),  # nobody reads them here
    )


def objections(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield what would keep a service with these settings from working: which part, and why.

    Nothing is changed and nobody is called.
    """
    with tempfile.TemporaryDirectory() as aside:  # the real key is made at the first start
        parts: dict[str, Callable[[], object]] = {
            "engine": lambda: make_engine(settings),
            "outlets": lambda: make_outlets(settings, Path(aside) / "signer.pem"),
        }
        for name, make in parts.items():
            said = _said(make)
            if said:
                yield name, said
                return
    said = _said(lambda: Checkpoint(Paths(settings.data).state).load(make_engine(settings)))
    if said:
        yield "state", said


def _said(make: Callable[[], object]) -> str:
    try:
        make()
    except AiopsError as error:
        return " ".join(str(error).split())
    return ""
