"""Where work runs: the plans of a history, and charts of a decision, of time and of prices."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from aiops.chart import BLUE, FAINT, READING, VERMILION, coloured, dress, lines, moments, plotly
from aiops.errors import InputError
from aiops.fleet.inventory import Inventory
from aiops.kernels.rows import I4
from aiops.notebook import played
from aiops.placement.explain import HEADS, Option
from aiops.placement.plan import Plan
from aiops.placement.topology import PlacementSettings
from aiops.placement.whatif import Overlay, WhatIf, what_if

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["Overlay", "WhatIf", "breakdown", "over_time", "plans", "prices", "what_if"]

PALETTE = (BLUE, "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442")
"""Of terms, the dearest first (Okabe and Ito); the least of more are summed, in grey."""
MOVE, OTHER = "what a move must overcome", "all else"
ELSEWHERE = ("on another device", "on a gateway", "in the cloud", "nowhere")
"""What `over_time` counts, besides those at home."""
KINDS = ("device", "gateway", "cloud")
ROW_PX = 44


def plans(
    frame: Any,
    inventory: Inventory,
    *,
    placement: PlacementSettings | None = None,
    epoch_s: int = 60,
    lateness_s: int = 120,
    layout: Mapping[str, str] | None = None,
) -> list[Plan]:
    """Run a history through an engine; return its plans, oldest first.

    Those that moved something, and last the one for the fleet as the history leaves it: ask that
    one with `Plan.explain`, `Plan.why_not` and `what_if`.

    Parameters
    ----------
    frame
        Pandas, polars, Arrow, a DuckDB relation: anything with ``__arrow_c_stream__``.
    inventory
        Nodes and workloads, as of `aiops.read_inventory`.
    placement
        What a move costs, and how far ahead it is judged.
    epoch_s, lateness_s
        How often work is placed, and how long late rows are waited for; an hour and two suit
        devices that report hourly.
    layout
        Column names that cannot be guessed, e.g. ``{"device": "serial", "time": "at"}``.

    Raises
    ------
    FrameError
        It is no frame, or no device or time column can be found.
    InputError
        The inventory has no workloads.
    """
    if not inventory.workloads:
        raise InputError("the inventory has no workloads: there is nothing to place")
    engine, step = played(
        frame,
        layout=layout,
        inventory=inventory,
        placement=placement,
        epoch_s=epoch_s,
        lateness_s=lateness_s,
    )
    last = engine.plan()
    return [*step.plans, *([] if last is None else [last])]


def breakdown(plan: Plan, workload: str) -> Figure:
    """Draw what each place would cost `workload`, term by term, as a plotly figure.

    Bars are micro-dollars per hour, the cheapest place on top; pale ones were not open, and why
    stands beside them.

    Raises
    ------
    InputError
        The plan has no such workload.
    SettingsError
        Plotly is not installed.
    """
    graph = plotly()
    told = plan.explain(workload)
    ranked = sorted(told.options, key=lambda option: (bool(option.blocked), option.effective))
    terms = {name: max(option.terms[name] for option in ranked) for name in ranked[0].terms}
    dear = sorted((name for name in terms if terms[name]), key=lambda name: -terms[name])
    rest = dear[len(PALETTE) :]
    parts: dict[str, tuple[str, list[int]]] = {
        _words(name): (colour, [option.terms[name] for option in ranked])
        for name, colour in zip(dear, PALETTE, strict=False)
    }
    parts[OTHER] = ("#BBBBBB", [sum(option.terms[name] for name in rest) for option in ranked])
    parts[MOVE] = (FAINT, [option.bias for option in ranked])
    figure = graph.Figure()
    places = [html.escape(option.place) for option in ranked]
    opacity = [0.35 if option.blocked else 1.0 for option in ranked]
    for name, (colour, values) in parts.items():
        if any(values):
            figure.add_trace(
                graph.Bar(
                    y=places,
                    x=values,
                    name=name,
                    orientation="h",
                    marker={"color": colour, "opacity": opacity},
                    hovertemplate=f"%{{y}}: %{{x:,}} µ$/h, {name}<extra></extra>",
                )
            )
    most = max(max(option.effective for option in ranked), 1)
    for option, name in zip(ranked, places, strict=True):
        _beside(figure, option, name, told.choice)
    said = [coloured(line, READING) for line in _says(plan, workload)]
    dress(
        figure,
        f"{workload} is at {told.choice}: micro-dollars per hour",
        said,
        190 + ROW_PX * len(ranked),
    )
    figure.update_layout(
        barmode="stack",
        showlegend=True,
        legend={"orientation": "h", "y": -0.02, "yanchor": "top", "traceorder": "normal"},
        yaxis={"autorange": "reversed", "type": "category"},
        xaxis={"range": [0, 1.75 * most], "side": "top"},
    )
    return figure


def over_time(plans: Sequence[Plan]) -> Figure:
    """Draw how many workloads were away from home, by where they ran, as a plotly figure.

    Raises
    ------
    InputError
        There are no plans.
    SettingsError
        Plotly is not installed.
    """
    graph = plotly()
    if not plans:
        raise InputError("there are no plans to draw; `plans` of a history returns some")
    counted = np.array([_elsewhere(plan, plan.reached) for plan in plans])
    before = _elsewhere(plans[0], plans[0].problem.current)
    counted = np.concatenate([before[None], counted])
    ts = np.array([plans[0].ts, *(plan.ts for plan in plans)])
    shown = [kind for kind in range(len(ELSEWHERE)) if counted[:, kind].any()]
    figure = graph.Figure()
    colours = (PALETTE[2], BLUE, PALETTE[1], VERMILION)
    for kind in shown:
        figure.add_trace(
            graph.Scatter(
                x=moments(ts),
                y=counted[:, kind],
                mode="lines",
                name=ELSEWHERE[kind],
                line={"shape": "hv", "color": colours[kind], "width": 2},
                hovertemplate=f"%{{y}} {ELSEWHERE[kind]}, %{{x|%Y-%m-%d %H:%M}}<extra></extra>",
            )
        )
    total, most = len(plans[0].choice), int(counted.sum(axis=1).max())
    moves = sum(len(plan.moves) for plan in plans)
    if shown:
        told = [
            f"At most {most:,} of {total:,} at a time; {moves:,} moves in all.",
            ", ".join(coloured(ELSEWHERE[kind], colours[kind]) for kind in shown),
        ]
    else:
        told = [f"Nobody was: all {total:,} stayed at home."]
    dress(figure, "Workloads away from home", told)
    figure.update_layout(
        yaxis={
            "title": "workloads",
            "range": [0, 1.05 * max(int(counted.max()), 1)],
            "dtick": max(1, math.ceil(int(counted.max()) / 6)),
            "tickformat": ",d",
        },
        # also where nothing is drawn
        xaxis={"type": "date", "range": [str(one) for one in moments(ts[[0, -1]])]}
        if ts[-1] > ts[0]
        else {"type": "date", "visible": bool(shown)},
    )
    return figure


def prices(plan: Plan, top: int = 20) -> Figure:
    """Draw what room is worth where it is scarce, what is worth most on top, as a plotly figure.

    A bar is the price of all of it: of a core, GB, watt or Mbit/s, times how many there are.

    Raises
    ------
    SettingsError
        Plotly is not installed.
    """
    graph = plotly()
    scarce = plan.scarce
    shown = scarce[:top]
    figure = graph.Figure()
    names = [f"{html.escape(one.place)} {one.resource}" for one in shown]
    figure.add_trace(
        graph.Bar(
            y=names,
            x=[one.rent for one in shown],
            orientation="h",
            marker={"color": BLUE},
            text=[
                f"{one.price:,.0f} µ$ a {one.unit}, {100 * one.used / one.capacity:.0f} % used"
                for one in shown
            ],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:,.0f} µ$/h in all<extra></extra>",
        )
    )
    more = f"; the dearest {len(shown)} are shown" if len(scarce) > len(shown) else ""
    said = (
        f"What many share is scarce in {len(scarce):,} of its rows{more}."
        " One more unit would save as much an hour; where there is no price, more saves nothing."
    )
    title = "What is scarce" if shown else "Nothing is scarce"
    dress(figure, title, lines(said), 170 + 26 * max(len(shown), 2))
    most = max([one.rent for one in shown], default=1.0)
    figure.update_layout(
        yaxis={"autorange": "reversed", "type": "category"},
        xaxis={"title": "micro-dollars per hour", "range": [0, 1.6 * most]},
    )
    return figure


def _beside(figure: Figure, option: Option, name: str, choice: str) -> None:
    """Write beside a bar what it comes to, and why it was not open."""
    said = f"{option.effective:,}"
    colour = FAINT
    if option.place == choice:
        said, colour = f"<b>{said}, chosen</b>", READING
    elif option.blocked:
        why = html.escape(" and ".join(option.blocked))
        said, colour = why if len(why) <= 64 else f"{why[:62]} ...", VERMILION
    figure.add_annotation(
        x=option.effective,
        y=name,
        text=f" {said}",
        showarrow=False,
        xanchor="left",
        font={"color": colour, "size": 12},
    )


def _says(plan: Plan, workload: str) -> list[str]:
    """Return how close it was, and what would change it."""
    told = plan.explain(workload)
    said = []
    if told.runner_up is not None:
        said += lines(f"Next is {told.runner_up}, {told.margin:,} micro-dollars an hour dearer.")
    for flip in told.nearest(2):
        said += lines(f"{flip}.")
    return said


def _words(name: str) -> str:
    short = HEADS.get(name)
    return name.replace("_", " ") + (f" ({short})" if short and short != name else "")


def _elsewhere(plan: Plan, choice: I4) -> Any:
    """Return how many workloads are away from home under `choice` [w], by `ELSEWHERE`."""
    topology = plan.problem.topology
    rows = np.arange(len(choice))
    kind = np.array([KINDS.index(node.kind) for node in topology.nodes] + [len(KINDS)])
    away = (choice > 0) & ~topology.absent[rows, choice]
    at = kind[topology.option[rows, choice]]
    return np.bincount(at[away], minlength=len(ELSEWHERE))
