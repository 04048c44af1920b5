"""The laws every detector, source and sink obeys, for ours and for yours.

``check_detector(MyDetector(), table)`` runs the laws of a detector on telemetry of your own, each
through the same `Engine.step` that runs live, in batch and in notebooks; so a law that holds here
holds everywhere. A broken law raises `BrokenLaw`, which names it.

The laws of a detector: *cut* (any cutting of the stream, same bits), *order* (of rows within an
epoch), *independence* (a device is judged by itself, or by its cohort's sealed past), *checkpoint*
(save and load in the middle), *replay* (rows seen before change nothing), *nan* (missing gives NaN
and touches no memory), *growth* (new devices change nobody), *purity* (frames are not written to).
Two more want telemetry of their own: *silence* (`check_silence`: on a healthy fleet the alarm
budget holds) and *voice* (`check_voice`: a labelled fault is found in time).
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aiops.alerts.rule import AlertRule
from aiops.detectors.protocol import Detector
from aiops.engine.engine import Engine, Step
from aiops.fleet import checkpoint
from aiops.telemetry.frame import read_frame
from aiops.telemetry.layout import Layout
from aiops.telemetry.normalise import normalise
from aiops.telemetry.normalised import NO_TIME

MONTH_S = 31_557_600.0 / 12.0
Table: TypeAlias = pa.Table
END = {"device_id": None, "ts": None}
"""A row of nothing but nulls ends a history."""


class BrokenLaw(AssertionError):
    """A law does not hold; the message names the law and what differed."""


def check_detector(detector: Detector[Any], table: Table, seed: int = 0) -> None:
    """Check every law of `detector` on `table`, any frame that the front door takes.

    A detector whose memory no checkpoint can hold says so by an attribute ``is_guest = True``, as
    `RiverGuest` does. The law of checkpoint is then not asked of it, and the other laws see of its
    memory what its later scores show.

    Parameters
    ----------
    detector
        Frozen settings under test.
    table
        Canonical telemetry in log order, of several devices.
    seed
        Of the cuts, shuffles and choices of devices.
    """
    table = as_history(table)

    def engine() -> Engine:
        return Engine([AlertRule(detector)])

    rng = np.random.default_rng(seed)
    check_cut(engine, table, rng)
    check_order(engine, table, rng)
    check_replay(engine, table)
    check_purity(engine, table)
    if not _is_guest(detector):
        check_checkpoint(engine, table, rng)
    if detector.reads:
        check_independence(engine, table, rng, compares=getattr(detector, "compares", False))
        check_nan(engine, table, detector)


def as_history(frame: Any) -> Table:
    """Return a frame as the laws want it: in the order of its log, and with its end."""
    table = read_frame(frame)
    layout = Layout.guess(table.schema)
    said = normalise(table, layout)
    if len(said) and said.device_id.code[-1] < 0 and said.ts[-1] == NO_TIME:
        return table
    table = table.sort_by([(layout.recv_time or layout.time, "ascending")])
    end = pa.table([pa.nulls(1, kind) for kind in table.schema.types], schema=table.schema)
    return pa.concat_tables([table, end]).combine_chunks()


def check_cut(make: Callable[[], Engine], table: Table, rng: np.random.Generator) -> None:
    """However the stream is cut, results and state are the same, bit for bit."""
    whole, state = _run(make(), [table])
    for pieces in (2, 7, min(len(table), 100)):
        cut, cut_state = _run(make(), _cut(table, pieces, rng))
        _same("cut", _flat(whole), _flat(cut))
        _same_state("cut", state, cut_state)


def check_order(make: Callable[[], Engine], table: Table, rng: np.random.Generator) -> None:
    """The order of rows within an epoch changes no result."""
    engine = make()
    epoch_ns = engine.fleet.epoch_ns
    # Rows are shuffled only among neighbours of the same epoch, both of their own time and of the
    # log's: across epochs the order of a log is its clock.
    epoch = np.column_stack((_times(table), _stamps(table))) // epoch_ns
    run = np.cumsum(np.append(True, (epoch[1:] != epoch[:-1]).any(axis=1)))
    order = np.lexsort((rng.random(len(run)), run))
    whole, _ = _run(engine, [table])
    shuffled, _ = _run(make(), [table.take(pa.array(order))])
    _same("order", _flat(whole), _flat(shuffled))


def check_independence(
    make: Callable[[], Engine],
    table: Table,
    rng: np.random.Generator,
    compares: bool = False,
) -> None:
    """What is said of a device's rows does not depend on which other devices there are.

    A detector that declares `compares` knows the sealed past of a device's cohort and what its
    site shares; then it does not depend on the devices of other cohorts and sites.
    """
    devices = [d for d in table["device_id"].unique().to_pylist() if d is not None]
    kept = set(rng.permutation(devices)[: max(1, len(devices) // 2)].tolist())
    if compares:
        table = _apart(table, kept)
    mask = [d is None or d in kept for d in table["device_id"].to_pylist()]
    everyone, _ = _run(make(), [table])
    some, _ = _run(make(), [table.filter(pa.array(mask))])
    said = _scores(everyone)
    _same("independence", {k: v for k, v in said.items() if k[1] in kept}, _scores(some))


def _apart(table: Table, kept: set[str]) -> Table:
    """Return the table with the sites and cohorts of `kept` devices renamed: they are their own."""
    world = pa.array(["" if d in kept else "other " for d in table["device_id"].to_pylist()])
    for label in ("site", "cohort"):
        at = table.schema.get_field_index(label)
        known = pa.nulls(len(table), pa.string()) if at < 0 else table[label].cast(pa.string())
        named = pc.binary_join_element_wise(world, pc.fill_null(known, "unnamed"), "")
        table = table.append_column(label, named) if at < 0 else table.set_column(at, label, named)
    return table


def check_checkpoint(make: Callable[[], Engine], table: Table, rng: np.random.Generator) -> None:
    """Saving and loading in the middle changes nothing."""
    whole, state = _run(make(), [table])
    middle = int(rng.integers(1, max(2, len(table))))
    first = make()
    steps = [first.step(table.slice(0, middle))]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "state.npz"
        checkpoint.save(path, *first.save())
        found = checkpoint.load(path)
    if found is None:
        raise BrokenLaw("checkpoint: what was saved could not be found again")
    second = make()
    second.restore(*found)
    steps.append(second.step(table.slice(middle)))
    _same("checkpoint", _flat(whole), _flat(steps))
    _same_state("checkpoint", state, second.save())


def check_replay(make: Callable[[], Engine], table: Table) -> None:
    """Rows seen before give no new finding and no score, and leave detector memory untouched."""
    engine = make()
    _run(engine, [table])
    before = _memory(engine)
    again = [engine.step(table)]
    if any(step.findings or step.allowed for step in again):
        raise BrokenLaw("replay: rows that were seen before gave findings or actions")
    if any(not np.isnan(values[0]) for values in _scores(again).values()):
        raise BrokenLaw("replay: rows that were seen before were scored again")
    _same("replay", before, _memory(engine))


def check_nan(make: Callable[[], Engine], table: Table, detector: Detector[Any]) -> None:
    """A row that reports nothing the detector reads is not scored and teaches nothing."""
    ts = _times(table)
    blank = table.select(["device_id", "ts"])
    shifted = pa.array(ts + 1).cast(table.schema.field("ts").type)
    known = np.array(table["device_id"].is_valid()) & (ts < np.iinfo(np.int64).max)
    blank = blank.set_column(1, "ts", shifted).filter(pa.array(known))
    both = pa.concat_tables([table, blank], promote_options="permissive")
    rank = np.concatenate((np.arange(len(table)) * 2, np.flatnonzero(known) * 2 + 1))
    both = both.take(pa.array(np.argsort(rank, kind="stable")))
    plain_engine, blank_engine = make(), make()
    plain, _ = _run(plain_engine, [table])
    blanked, _ = _run(blank_engine, [both])
    _same("nan", _scores(plain), _scores(blanked))
    name = f"memory/{detector.name}/"
    _same(
        "nan",
        {k: v for k, v in _memory(plain_engine).items() if k.startswith(name)},
        {k: v for k, v in _memory(blank_engine).items() if k.startswith(name)},
    )


def check_purity(make: Callable[[], Engine], table: Table) -> None:
    """A frame is not written to."""
    copy = pa.Table.from_pylist(table.to_pylist(), schema=table.schema)
    _run(make(), [table])
    if not _equal_tables(table, copy):
        raise BrokenLaw("purity: the frame was changed by stepping through it")


def check_silence(detector: Detector[Any], table: Table, epoch_s: int = 60) -> None:
    """On a healthy fleet the detector stays within its alarm budget.

    The alarms of `table` are compared with what a Poisson count of the budgeted mean exceeds once
    in a thousand fleets, so a detector that keeps its budget is not accused of bad luck.
    """
    steps, _ = _run(Engine([AlertRule(detector)], epoch_s=epoch_s), [table])
    alarms = [f for step in steps for f in step.findings if f.status == "firing"]
    ts = _times(table)
    ts = ts[ts < np.iinfo(np.int64).max]
    devices = len({d for d in table["device_id"].unique().to_pylist() if d is not None})
    months = devices * float(ts.max() - ts.min()) / 1e9 / MONTH_S
    budget = getattr(detector, "alarm_budget", 1.0) * months / 1000.0
    most = next(n for n in range(1_000_000) if _poisson_tail(n, budget) < 1e-3)
    if len(alarms) > most:
        raise BrokenLaw(
            f"silence: {len(alarms)} alarms in {months:.0f} healthy device-months, where the "
            f"budget allows {budget:.2f} on average; the first: {alarms[0].sentence}"
        )


def check_voice(
    detector: Detector[Any],
    table: Table,
    faults: Sequence[tuple[str, int, int]],
    epoch_s: int = 60,
) -> None:
    """Each fault (device, onset, deadline; ns) gives a finding after its onset, in time."""
    steps, _ = _run(Engine([AlertRule(detector)], epoch_s=epoch_s), [table])
    found = [f for step in steps for f in step.findings if f.status == "firing"]
    for device, onset, deadline in faults:
        if not any(f.device_id == device and onset <= f.ts <= deadline for f in found):
            said = [(f.device_id, f.ts) for f in found]
            raise BrokenLaw(
                f"voice: no finding of {device} between {onset} and {deadline}; found {said}"
            )


def _poisson_tail(n: int, mean: float) -> float:
    """Return the probability of more than `n` events."""
    term = total = math.exp(-mean)
    for k in range(1, n + 1):
        term *= mean / k
        total += term
    return max(0.0, 1.0 - total)


def check_source(make: Callable[[], Any]) -> None:
    """Resuming from any position yields the rest and nothing else; a history says its end."""
    frames = list(make().frames(None))
    if not frames:
        raise BrokenLaw("source: no frame at all, not even the end of a history")
    if any(len(frame) == 0 for frame, _ in frames):
        raise BrokenLaw("source: an empty frame")
    for i, (_, position) in enumerate(frames):
        rest = list(make().frames(position))
        expected = [frame for frame, _ in frames[i + 1 :]]
        if len(rest) != len(expected) or not all(
            _equal_tables(a, b[0]) for a, b in zip(expected, rest, strict=True)
        ):
            raise BrokenLaw(f"source: resuming after position {position} yields other frames")


def check_sink(make: Callable[[], Any], read_back: Callable[[], Any], step: Step) -> None:
    """Writing a step twice, or again after reopening, leaves what writing it once leaves."""
    sink = make()
    sink.write(step, {})
    sink.close()
    once = read_back()
    for _ in range(2):
        sink = make()
        sink.write(step, {})
        sink.write(step, {})
        sink.close()
    if read_back() != once:
        raise BrokenLaw("sink: writing a step again changed what is kept")


# -- comparing ------------------------------------------------------------------------------------


def _run(engine: Engine, frames: Sequence[Table]) -> tuple[list[Step], Any]:
    """Return the steps and all state; guests keep objects, of which no copy can be had."""
    steps = [engine.step(frame) for frame in frames]
    return steps, ({}, {}) if any(map(_is_guest, engine.detectors)) else engine.save()


def _is_guest(detector: Detector[Any]) -> bool:
    """Say whether a detector declares ``is_guest``: its memory cannot be saved."""
    return bool(getattr(detector, "is_guest", False))


def _cut(table: Table, pieces: int, rng: np.random.Generator) -> list[Table]:
    bounds = np.sort(rng.integers(0, len(table) + 1, size=max(pieces - 1, 0))).tolist()
    return [table.slice(a, b - a) for a, b in zip([0, *bounds], [*bounds, len(table)], strict=True)]


def _times(table: Table) -> Any:
    """Return the time [n] of each row, ns; the end of a history sorts last."""
    frame = normalise(table, Layout.guess(table.schema))
    if len(frame) != len(table):
        raise BrokenLaw("the laws want telemetry of which nothing is refused at the door")
    ts = frame.ts.copy()
    ts[ts == np.iinfo(np.int64).min] = np.iinfo(np.int64).max
    return ts


def _stamps(table: Table) -> Any:
    """Return when the log took each row [n], ns; as given, so that all are alike without stamps."""
    return normalise(table, Layout.guess(table.schema)).recv_ts


def _flat(steps: Sequence[Step]) -> dict[str, Any]:
    """Return everything steps hold, in order, as if one step had returned it."""
    flat: dict[str, Any] = {}
    for step in steps:
        for kind, records in step.records().items():
            flat.setdefault(kind, []).extend(records)
        flat.setdefault("set_aside", []).extend(step.set_aside.to_pylist())
        flat.setdefault("epochs", []).extend((e.start, e.end, e.clock, e.size) for e in step.epochs)
    return flat | {"scores": _scores(steps)}


def _scores(steps: Sequence[Step]) -> dict[tuple[Any, ...], tuple[bytes, ...]]:
    """Return the bits of each score by detector, identity and time."""
    found: dict[tuple[Any, ...], Any] = {}
    for step in steps:
        for scored in step.scored:
            names = [scored.identities[d] for d in scored.batch.device.tolist()]
            values = zip(*(column.tolist() for column in scored.scores), strict=True)
            for name, ts, value in zip(names, scored.batch.ts.tolist(), values, strict=True):
                found[(scored.detector, *name, ts)] = tuple(np.float64(v).tobytes() for v in value)
    return dict(sorted(found.items()))


def _memory(engine: Engine) -> dict[str, bytes]:
    _, (arrays, _) = _run(engine, [])
    return {name: array.tobytes() for name, array in arrays.items() if name.startswith("memory/")}


def _same(law: str, expected: Any, found: Any, where: str = "") -> None:
    """Raise `BrokenLaw` at the first thing that differs."""
    if repr(expected) == repr(found):  # NaN equals itself here
        return
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys(), key=repr):
            _same(law, expected.get(key), found.get(key), f"{where}{key}: ")
    if isinstance(expected, list) and isinstance(found, list):
        for i, (one, other) in enumerate(zip(expected, found, strict=False)):
            _same(law, one, other, f"{where}{i}: ")
    raise BrokenLaw(f"{law}: {where}{expected!r:.300} became {found!r:.300}")


def _same_state(law: str, expected: Any, found: Any) -> None:
    arrays, values = expected
    other_arrays, other_values = found
    _same(law, values, other_values)
    _same(
        law,
        {name: array.tobytes() for name, array in arrays.items()},
        {name: array.tobytes() for name, array in other_arrays.items()},
    )


def _equal_tables(a: Table, b: Table) -> bool:
    """Compare tables of which some values may be NaN, which equals itself here."""
    return a.column_names == b.column_names and repr(a.to_pylist()) == repr(b.to_pylist())
