"""`aiops train`: learn from a fleet's own history what a detector is to expect."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from aiops.alerts.rule import AlertRule
from aiops.cli.app import STYLE
from aiops.cli.console import command, console, count, emit_json, percent, progress, say
from aiops.cli.run import source
from aiops.cli.scan import columns
from aiops.connectors.files import FRAME_ROWS
from aiops.connectors.models import load_prior, save_model, save_prior
from aiops.detectors.failure_risk import FailureRisk
from aiops.detectors.flash_wear import FlashWear
from aiops.detectors.wear_prior import WearPrior, fit_kinds, shipped_prior
from aiops.engine.engine import Engine
from aiops.engine.run import run as run_engine
from aiops.engine.step import Step
from aiops.errors import FileError, SettingsError
from aiops.kernels.rows import F8, I4, I8
from aiops.kernels.wear import YEAR_S
from aiops.telemetry.layout import Layout
from aiops.telemetry.normalise import normalise
from aiops.telemetry.vocabulary import VOCABULARY

FEWEST = 20
"""Media with power-on time, fewer than which are no population."""


USUAL = 0.8
"""Share of the devices that must report a metric for it to be a feature unasked."""
FEATURES_MOST = 16

train = typer.Typer(add_completion=False, no_args_is_help=True, **STYLE)

Sources = Annotated[
    list[str],
    typer.Argument(
        help="A history: files, directories or patterns, or reports of smartctl --json.",
        metavar="SOURCE",
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", help="Where a guess is wrong, e.g. device=serial.", metavar="ROLE=COLUMN"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@train.callback()
def options() -> None:
    """Learn from a fleet's own history what a detector is to expect."""


@train.command()
def wear(
    sources: Sources,
    out: Annotated[
        Path, typer.Option(help="Directory for the prior and its card.", metavar="DIR")
    ] = Path("wear-prior"),
    movement: Annotated[
        Path | None,
        typer.Option(
            help="Prior that says how rates move; the shipped one if not given.", metavar="DIR"
        ),
    ] = None,
    column: Columns = None,
    as_json: Json = False,
) -> None:
    """Learn how fast media of each model and vendor wear, for `aiops run --wear-prior`.

    The history goes through the same engine as a run. What each medium has shown by its end is
    its whole life: power-on time and, where told, bytes written. How rates move over time is
    taken over from the prior there was.
    """
    before = load_prior(movement) if movement else shipped_prior()
    detector = FlashWear(prior=before)
    engine = Engine([AlertRule(detector)], layout=columns(column))
    with progress(quiet=as_json) as bar:
        task = bar.add_task("reading", total=None, note="")
        seen = 0

        def watch(rows: int, _: object) -> bool:
            nonlocal seen
            seen += rows
            bar.update(task, note=count(seen, "row"))
            return True

        run_engine(engine, source(sources, "ndjson", columns(column), FRAME_ROWS), [], watch=watch)
        bar.update(task, description="fitting")
        histories = detector.histories(engine.fleet.recall(detector))
        timed, written = ((clock > 0.0).sum() for clock in histories.clocks)
        if timed < FEWEST:
            raise FileError(
                f"{count(len(histories.level), 'medium', 'media')} with a wear reading, {timed} of "
                f"them with power-on time; at least {FEWEST} are needed for a prior. "
                f"`aiops scan` shows what is in the files"
            )
        names = {kind.code: kind.name for kind in before.kinds}
        prior = WearPrior(fit_kinds(histories, names), before.movement)
    card = {
        "what": "How fast flash wears by model, vendor and fleet: the prior of flash_wear.",
        "trained_on": f"{timed} media, {written} of them with bytes written: {', '.join(sources)}",
        "made_by": f"aiops train wear {' '.join(sources)} --out {out}",
    }
    save_prior(out, prior, card)
    result: dict[str, Any] = {
        "out": str(out),
        "media": int(timed),
        "with_bytes_written": int(written),
        "kinds": len(prior.kinds) - 1,
        "median_wear_per_year": math.exp(prior.kinds[0].rate_log[0]) * YEAR_S,
        "digest": prior.digest,
    }
    if as_json:
        emit_json(result)
        return
    screen = console()
    kinds = count(len(prior.kinds) - 1, "model or vendor", "models and vendors")
    screen.print(
        f"{count(int(timed), 'medium', 'media')}, {kinds}; half of them wear less than "
        f"{100.0 * result['median_wear_per_year']:.2g} % a year of power-on time."
    )
    command(screen, f"aiops run {' '.join(sources)} --wear-prior {out}", "Use it: ")


@train.command()
def risk(
    sources: Sources,
    failures: Annotated[
        list[str],
        typer.Option(help="Who failed and when: a table of device and time.", metavar="SOURCE"),
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="A feature, by its canonical name; may be given again. By default all gauges that "
            "most devices report.",
            metavar="NAME",
        ),
    ] = None,
    horizon: Annotated[
        float, typer.Option(help="Days in which a failure is to be foretold.", min=1.0)
    ] = 30.0,
    alarm_budget: Annotated[
        float, typer.Option(help="False alarms per 1,000 device-months.", min=0.001)
    ] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the forest, and of who is held out.")] = 0,
    out: Annotated[
        Path, typer.Option(help="Directory for the model and its card.", metavar="DIR")
    ] = Path("models/failure_risk/1"),
    column: Columns = None,
    as_json: Json = False,
) -> None:
    """Learn from devices that failed which of the others are like them.

    The history goes through the same engine as a run. The line and the figures come from devices
    that the model has not seen. Use it: `aiops.AlertRule(aiops.load_model(DIR))`.
    """
    # Brings scikit-learn: a second that no other command should wait.
    from aiops.detectors.risk_training import HELD_OUT, examples
    from aiops.detectors.risk_training import train as fit

    layout = columns(column)
    with progress(quiet=as_json) as bar:
        task = bar.add_task("reading", total=None, note="")
        reads = tuple(metric or _usual(sources, layout))
        rows = _Rows(reads)
        engine = Engine([AlertRule(rows.detector)], layout=layout)

        def watch(n: int, step: Step) -> bool:
            rows.take(step)
            bar.update(task, note=count(rows.count, "row"))
            return True

        run_engine(engine, source(sources, "ndjson", layout, FRAME_ROWS), [], watch=watch)
        bar.update(task, description="fitting")
        registry = engine.fleet.registry
        failed: dict[int, list[int]] = {}
        for frame, _ in source(failures, "ndjson", {}, FRAME_ROWS).frames(None):
            told = normalise(frame)
            for code, ts in zip(told.device_id.code.tolist(), told.ts.tolist(), strict=True):
                index = registry.find(told.device_id.value[code]) if code >= 0 else None
                if index is not None:
                    failed.setdefault(index, []).append(ts)
        device, ts, features = rows.columns()
        root = registry.root[device] if len(device) else device
        history = examples(
            root,
            ts,
            features,
            {one: np.array(sorted(times), np.int64) for one, times in failed.items()},
            horizon,
        )
        detector, quality = fit(history, reads, horizon, alarm_budget, seed)
    card = {
        "what": f"Random forest: the probability that a device fails within {horizon:g} days.",
        "trained_on": f"{count(len(history.device), 'device-day')}, "
        f"{count(quality.failures, 'failure')}: {', '.join(sources)}",
        "measured": f"On {HELD_OUT:.0%} of the devices, held out, by which the line was set: "
        f"average precision {quality.average_precision:.3f} "
        f"(best single metric {quality.best_threshold:.3f}, chance {quality.share:.3f}); "
        f"{quality.found:.0%} of {quality.held_out_failures} failures found at "
        f"{quality.false_per_1000_device_months:.1f} false alarms per 1,000 device-months.",
        "made_by": f"aiops train risk {' '.join(sources)} --failures {' '.join(failures)} "
        f"--horizon {horizon:g} --alarm-budget {alarm_budget:g} --seed {seed}",
    }
    save_model(out, detector, card)
    if as_json:
        emit_json({"out": str(out), "reads": reads, **asdict(quality), "limit": detector.limit})
        return
    screen = console()
    say(
        screen,
        f"Of devices that it had not seen, it finds {percent(quality.found)} of "
        f"{count(quality.held_out_failures, 'failure')} with "
        f"{quality.false_per_1000_device_months:.1f} false alarms per 1,000 device-months. "
        f"Average precision {quality.average_precision:.2f}; the best single metric has "
        f"{quality.best_threshold:.2f}, and who knows nothing {quality.share:.2f}.",
    )
    command(screen, f"aiops.AlertRule(aiops.load_model({str(out)!r}))", "Use it: ")


class _Rows:
    """What `FailureRisk` would ask a model, collected: training sees what judging will see."""

    def __init__(self, reads: tuple[str, ...]) -> None:
        k = len(reads)
        self.detector = FailureRisk(
            model=self,
            reads=reads,
            digest="",
            horizon_days=1.0,
            limit=1.0,
            usual=(0.0,) * k,
            edges=((0.0,),) * k,
            shares=((0.5, 0.5),) * k,
        )
        self.count = 0
        self._asked: list[F8] = []
        self._device: list[I4] = []
        self._ts: list[I8] = []

    def predict_proba(self, X: F8) -> F8:  # noqa: N803  # scikit-learn names it X
        """Note what is asked, and say nothing."""
        self._asked.append(X)
        return np.zeros((len(X), 2))

    def take(self, step: Step) -> None:
        """Note of which devices and when it was asked."""
        for scored in step.scored:
            asked = ~np.isnan(scored.scores.score)
            self._device.append(scored.batch.device[asked])
            self._ts.append(scored.batch.ts[asked])
            self.count += int(asked.sum())

    def columns(self) -> tuple[I4, I8, F8]:
        """Return devices [n], times [n] and features [n, k]."""
        if not self.count:
            raise FileError(
                f"no device reports all of {', '.join(self.detector.reads)} within a day; name "
                "others with --metric. `aiops scan` shows what is in the files"
            )
        return np.concatenate(self._device), np.concatenate(self._ts), np.concatenate(self._asked)


def _usual(sources: list[str], layout: dict[str, str]) -> list[str]:
    """Return the gauges that most devices report, by a first look at the history."""
    who: dict[str, set[str]] = {}
    everybody: set[str] = set()
    for frame, _ in source(sources, "ndjson", layout, FRAME_ROWS).frames(None):
        told = normalise(frame, Layout.guess(frame.schema, **layout))
        names = np.array([*told.device_id.value, ""], dtype=object)[told.device_id.code]
        everybody.update(names.tolist())
        for key, column in told.columns.items():
            name = key.partition("/")[0]
            known = VOCABULARY.get(name)
            if known is not None and known.kind == "gauge":
                seen = names if column.row is None else names[column.row]
                who.setdefault(name, set()).update(seen[~np.isnan(column.value)].tolist())
    everybody.discard("")
    most = sorted(who, key=lambda name: (-len(who[name]), name))
    usual = [name for name in most if len(who[name]) >= USUAL * len(everybody)]
    if not usual:
        raise SettingsError("no metric is reported by most devices: name features with --metric")
    return usual[:FEATURES_MOST]
