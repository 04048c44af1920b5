"""A large fleet asks for more evidence before a device fires."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from aiops.alerts.rule import AlertRule
from aiops.alerts.selection import MONTH_S, Selection
from aiops.detectors.silence import Silence
from aiops.engine.engine import Engine
from aiops.kernels.rows import no_scores

START = 1_767_571_200
ASKED = Selection(0.1, 1000.0 * 86_400.0 / MONTH_S)
"""Of ten devices of which k stand out, 100,000 / k."""


@dataclass(frozen=True)
class Sure(Silence):
    """Is over its line where the temperature is above 0, with that as its log evidence."""

    bin_s: float = 86_400.0
    name: str = "sure"
    reads: tuple[str, ...] = ("temperature.celsius",)

    def update(self, memory, batch):
        celsius = batch.column("temperature.celsius")
        memory.typical_s[batch.device] = celsius
        scores = no_scores(len(batch))
        scores.score[:] = np.where(celsius > 0.0, 2.0, 0.0)
        return scores

    def close(self, memory, epoch):
        return None

    def shared(self, memory, epoch):
        return ()

    def log_evidence(self, memory, size):
        return memory.typical_s[:size]


def fired(selection, *minutes):
    """Return what fires or resolves, given each minute's values of all devices."""
    rows = [
        {"device_id": f"gw-{d}", "ts": np.datetime64(START + 60 * k, "s").item(), "t": float(v)}
        for k, values in enumerate(minutes)
        for d, v in enumerate(values)
    ]
    rows = [{"temperature.celsius" if k == "t" else k: v for k, v in row.items()} for row in rows]
    table = pa.Table.from_pylist([*rows, dict.fromkeys(rows[0])])
    engine = Engine([AlertRule(Sure())], selection=selection)
    return [(f.device_id, f.status) for f in engine.step(table).findings]


def test_only_the_selected_fire():
    values = [12.0, 11.0, 9.0, *[1.0] * 3, *[0.0] * 4]
    assert fired(ASKED, values) == [("gw-0", "firing"), ("gw-1", "firing")]
    assert len(fired(None, values)) == 6


@pytest.mark.parametrize("after", [[1.0] * 10, [12.0, *[0.0] * 9]])
def test_who_fires_goes_on_until_it_clears(after):
    first = [12.0, *[0.0] * 9]
    assert fired(ASKED, first, after) == [("gw-0", "firing")]
    gone = fired(ASKED, first, after, [0.0] * 10)
    assert gone == [("gw-0", "firing"), ("gw-0", "resolved")]


def test_scores_that_nobody_reads_are_not_kept_and_change_nothing():
    row = {"device_id": "gw-0", "ts": np.datetime64(START, "s").item(), "temperature.celsius": 1.0}
    table = pa.Table.from_pylist([row, dict.fromkeys(row)])
    steps = [Engine([AlertRule(Sure())], scores_of=of).step(table) for of in (None, ["sure"], ())]
    assert [[one.detector for one in step.scored] for step in steps] == [["sure"], ["sure"], []]
    assert len({repr(step.records()) for step in steps}) == 1
