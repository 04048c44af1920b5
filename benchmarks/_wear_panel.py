"""The real panel: what each drive's next probe will read, foretold from those before it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from aiops.detectors.flash_wear import FlashWear
from aiops.detectors.protocol import FleetShape
from aiops.detectors.wear_prior import Histories
from aiops.kernels.rows import B1, F8, I4, I8
from aiops.telemetry.batch import TelemetryBatch
from aiops.telemetry.columns import identity_code

HOUR_NS = 3600 * 10**9
START_NS = 10**18
CEILINGS = {"177": 99.0, "233": 99.0}
"""Normalised values end at 1, so these sources end at 99 % used; other attributes at 100 %."""
MOST = 300
"""Percent of a rise that is told apart."""
COLUMNS = (
    "drive_id",
    "kind",
    "vendor",
    "model",
    "capacity_bytes",
    "probe",
    "power_on_h",
    "percentage_used",
    "wear_source",
    "data_units_written_512kB",
)


@dataclass(frozen=True)
class Panel:
    """Probes, each drive's in order of its power-on hours; and the pairs of which one is foretold.

    A drive's own clock is its power-on time. A pair is two successive probes at least a day of
    power-on time apart, of one source, whose readings are below 255 (the end of the byte), with
    less than 20 years of power-on time. A drive whose reading has fallen by more than 2 points is
    left out from then on: its byte has wrapped, or it is another drive. A rule on the data, the
    same for every method.
    """

    probes: pd.DataFrame

    @cached_property
    def order(self) -> I8:
        """How many probes of its drive came before each."""
        return self.probes.groupby("drive_id").cumcount().to_numpy()

    @cached_property
    def drive(self) -> I4:
        """Dense index of the drive of each probe."""
        return self.probes["drive_id"].astype("category").cat.codes.to_numpy().astype(np.int32)

    @cached_property
    def reading(self) -> F8:
        """Percent used."""
        return self.probes["percentage_used"].to_numpy(np.float64)

    @cached_property
    def hours(self) -> F8:
        """Power-on hours."""
        return self.probes["power_on_h"].to_numpy(np.float64)

    @cached_property
    def bytes_written(self) -> F8:
        """Host bytes: the column counts sectors for SATA and 512,000 bytes for NVMe."""
        unit = np.where(self.probes["kind"] == "NVMe", 512_000.0, 512.0)
        written = self.probes["data_units_written_512kB"].to_numpy(np.float64) * unit
        return np.where(written > 0.0, written, np.nan)

    @cached_property
    def codes(self) -> tuple[F8, F8]:
        """Codes of model and vendor."""
        model, vendor = (
            self.probes[name].map(
                {text: identity_code(text) for text in self.probes[name].unique()}
            )
            for name in ("model", "vendor")
        )
        return model.to_numpy(np.float64), vendor.to_numpy(np.float64)

    @cached_property
    def ceiling(self) -> F8:
        """Highest percent that the source of each probe can tell."""
        source = self.probes["wear_source"]
        direct = source.isin(["nvme", "devstat"])
        return np.where(direct, np.inf, source.map(CEILINGS).fillna(100.0).to_numpy(np.float64))

    @cached_property
    def pairs(self) -> tuple[I8, I8]:
        """Rows of the earlier and the later probe of each pair."""
        later = np.flatnonzero(self.order > 0)
        earlier = later - 1
        source = self.probes["wear_source"].to_numpy()
        fell = np.zeros(len(self.reading), np.bool_)
        fell[later] = self.reading[later] < self.reading[earlier] - 2.0
        fell = pd.Series(fell).groupby(self.drive).cummax().to_numpy()
        kept = (
            (self.hours[later] - self.hours[earlier] >= 24.0)
            & (self.hours[later] < 20.0 * 8766.0)
            & (self.reading[earlier] < 255.0)
            & (self.reading[later] < 255.0)
            & ~fell[later]
            & (source[later] == source[earlier])
        )
        return earlier[kept], later[kept]

    def of(self, drives: B1) -> Panel:
        """Return only some drives, `drives` being true for their probes."""
        return Panel(self.probes[drives].reset_index(drop=True))

    @cached_property
    def held_out(self) -> B1:
        """Whether the drive of each probe is in the half that no prior was fitted on."""
        return np.array([split(name) == 1 for name in self.probes["drive_id"]])

    def histories(self) -> Histories:
        """Return what the last probe of each drive says of its whole life."""
        last = np.flatnonzero(~self.probes["drive_id"].duplicated(keep="last"))
        model, vendor = self.codes
        capacity = self.probes["capacity_bytes"].to_numpy(np.float64)
        return Histories(
            level=self.reading[last] / 100.0,
            step=np.full(len(last), 0.01),
            power_on_s=self.hours[last] * 3600.0,
            writes=(self.bytes_written / capacity)[last],
            model=model[last],
            vendor=vendor[last],
        )


def split(drive_id: str) -> int:
    """Return 0 for the half of drives a prior is fitted on, 1 for the half that measures it."""
    return int(hashlib.sha1(str(drive_id).encode()).hexdigest(), 16) % 2


def read_panel(path: Path) -> Panel:
    """Read a file with the columns of ``wear_panel.csv.gz``."""
    probes = pd.read_csv(path)
    missing = [name for name in COLUMNS if name not in probes.columns]
    if missing:
        raise SystemExit(f"{path}: lacks the columns {', '.join(missing)}")
    probes = probes.dropna(subset=["power_on_h", "percentage_used", "drive_id"])
    return Panel(
        probes.sort_values(["drive_id", "power_on_h", "probe"], kind="stable").reset_index(
            drop=True
        )
    )


@dataclass(frozen=True)
class Foretold:
    """Of each pair, the probability [m, MOST + 1] that the reading has risen by at most 0, 1 ..."""

    chance: F8
    rise: F8
    """[m] as it was, at least 0: an earlier reading recalculated stands."""

    @cached_property
    def median(self) -> F8:
        """Return the median rise [m]."""
        return (self.chance < 0.5).sum(axis=1).astype(np.float64)

    def reaches(self, rise: F8) -> F8:
        """Return the probability [m] of a rise by at least `rise` [m]."""
        at = np.clip(np.ceil(rise).astype(int) - 1, 0, MOST)
        return 1.0 - self.chance[np.arange(len(at)), at]

    def pit(self, rng: np.random.Generator) -> F8:
        """Return the randomised probability integral transform [m].

        Uniform if the forecast tells the truth (Czado, Gneiting and Held 2009,
        doi:10.1111/j.1541-0420.2009.01191.x).
        """
        row, at = np.arange(len(self.rise)), self.rise.astype(int)
        high = self.chance[row, at]
        low = np.where(at > 0, self.chance[row, np.maximum(at - 1, 0)], 0.0)
        return low + rng.random(len(row)) * (high - low)

    @property
    def surprise(self) -> F8:
        """Negative log of the probability of what was read [m], nats."""
        row, at = np.arange(len(self.rise)), self.rise.astype(int)
        low = np.where(at > 0, self.chance[row, np.maximum(at - 1, 0)], 0.0)
        return -np.log(np.maximum(self.chance[row, at] - low, 1e-4))


ASKED = np.unique(np.concatenate([np.arange(12.0), np.round(np.geomspace(13.0, MOST, 38))]))
"""Rises whose probability is computed; between them it is interpolated."""


def foretell(panel: Panel, detector: FlashWear) -> Foretold:
    """Show a detector all probes in turn and ask it for the next one, each time."""
    memory = detector.init(FleetShape(int(panel.drive.max()) + 1))
    earlier, later = panel.pairs
    model, vendor = panel.codes
    columns = {
        "storage.wear.used_ratio": panel.reading / 100.0,
        "storage.wear.step_ratio": np.full(len(panel.drive), 0.01),
        "storage.power_on_time": panel.hours * 3600.0,
        "storage.bytes_written": panel.bytes_written,
        "storage.capacity": panel.probes["capacity_bytes"].to_numpy(np.float64),
        "storage.model": model,
        "storage.vendor": vendor,
    }
    ts = START_NS + (panel.hours * HOUR_NS).astype(np.int64)
    reached = np.zeros((len(earlier), len(ASKED)))
    for order in range(int(panel.order.max())):
        rows = np.flatnonzero(panel.order == order)
        batch = TelemetryBatch(
            device=panel.drive[rows],
            cohort=np.zeros(len(rows), np.int32),
            ts=ts[rows],
            historical=np.zeros(len(rows), np.bool_),
            columns={name: values[rows] for name, values in columns.items()},
            indptr=np.arange(len(rows) + 1),
        )
        detector.update(memory, batch)
        asked = np.flatnonzero(panel.order[earlier] == order)
        row = earlier[asked]
        limit = (panel.reading[row, None] + ASKED + 1.0) / 100.0
        horizon_s = (panel.hours[later[asked]] - panel.hours[row]) * 3600.0
        reached[asked] = detector.chances(memory, panel.drive[row], limit, horizon_s)
    return Foretold(*_by_point(panel, reached))


def _by_point(panel: Panel, reached: F8) -> tuple[F8, F8]:
    """Spread probabilities at `ASKED` over each point of rise; nothing rises over its ceiling."""
    earlier, later = panel.pairs
    known = np.maximum.accumulate(1.0 - np.nan_to_num(reached), axis=1)
    known = np.where(panel.reading[earlier, None] + ASKED >= panel.ceiling[earlier, None], 1, known)
    points = np.arange(MOST + 1.0)
    left = np.searchsorted(ASKED, points, side="right") - 1
    right = np.minimum(left + 1, len(ASKED) - 1)
    part = (points - ASKED[left]) / np.maximum(ASKED[right] - ASKED[left], 1.0)
    chance = known[:, left] * (1.0 - part) + known[:, right] * part
    chance[:, -1] = 1.0
    return chance, np.maximum(panel.reading[later] - panel.reading[earlier], 0.0)


def baselines(panel: Panel) -> dict[str, F8]:
    """Return the next reading [m] of each pair as simple rules foretell it, within 0 to 255."""
    earlier, later = panel.pairs
    reading, hours, order = panel.reading, panel.hours, panel.order
    ahead = hours[later] - hours[earlier]
    life = reading[earlier] * hours[later] / np.maximum(hours[earlier], 1.0)
    before = np.where(order[earlier] > 0, earlier - 1, earlier)
    run = np.maximum(hours[earlier] - hours[before], 1.0)
    slope = reading[earlier] + (reading[earlier] - reading[before]) / run * ahead
    theil_sen = []
    for row, hours_ahead in zip(earlier, ahead, strict=True):
        past = slice(row - order[row], row + 1)
        rise = reading[past][:, None] - reading[past]
        span = hours[past][:, None] - hours[past]
        slopes = rise[span > 0.0] / span[span > 0.0]
        usual = np.median(slopes) if len(slopes) else reading[row] / max(hours[row], 1.0)
        theil_sen.append(reading[row] + usual * hours_ahead)
    return {
        "persistence": reading[earlier],
        "life_average": np.clip(life, 0.0, 255.0),
        "last_slope": np.clip(np.where(order[earlier] > 0, slope, life), 0.0, 255.0),
        "theil_sen": np.clip(np.array(theil_sen), 0.0, 255.0),
    }
