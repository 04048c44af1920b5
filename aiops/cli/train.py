"""`aiops train`: learn from a fleet's own history what a detector is to expect."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from aiops.alerts.rule import AlertRule
from aiops.cli.console import command, console, count, emit_json, progress
from aiops.cli.run import source
from aiops.cli.scan import columns
from aiops.connectors.files import FRAME_ROWS
from aiops.connectors.models import load_prior, save_prior
from aiops.detectors.flash_wear import FlashWear
from aiops.detectors.wear_prior import WearPrior, fit_kinds, shipped_prior
from aiops.engine.engine import Engine
from aiops.engine.run import run as run_engine
from aiops.errors import FileError, SettingsError
from aiops.kernels.wear import YEAR_S

FEWEST = 20
"""Media with power-on time, fewer than which are no population."""


def train(
    model: Annotated[str, typer.Argument(help="What to train: wear.", metavar="MODEL")],
    sources: Annotated[
        list[str],
        typer.Argument(
            help="A history: files, directories or patterns, or reports of smartctl --json.",
            metavar="SOURCE",
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Directory for the prior and its card.", metavar="DIR")
    ] = Path("wear-prior"),
    movement: Annotated[
        Path | None,
        typer.Option(
            help="Prior that says how rates move; the shipped one if not given.", metavar="DIR"
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="Where a guess is wrong, e.g. device=serial.", metavar="ROLE=COLUMN"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Learn how fast media of each model and vendor wear, for `aiops run --wear-prior`.

    The history goes through the same engine as a run. What each medium has shown by its end is
    its whole life: power-on time and, where told, bytes written. How rates move over time is
    taken over from the prior there was.
    """
    if model != "wear":
        raise SettingsError(f"nothing called {model!r} can be trained; there is: wear")
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
