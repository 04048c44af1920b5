"""All devices of a cohort beside each other, in a chart."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from aiops.chart import BLUE, FAINT, READING, VERMILION, coloured, dress, plotly
from aiops.detectors.reboot_drift import RebootDrift
from aiops.errors import SettingsError
from aiops.reboots.table import NOW, RISING, name_of, rates
from aiops.telemetry.vocabulary import closest

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MOST = 40
"""Devices of a forest plot."""
RANK = {"drifting": 0, "watch": 1, "steady": 2}
LOOKS = {"drifting": VERMILION, "watch": BLUE, "steady": FAINT}
LINES = {"cohort_rate_per_week": ("mean", "solid"), "cohort_extreme_per_week": ("extreme", "dot")}
"""Of a cohort: its mean rate, and one that a device in 10,000 is above."""
FOREST_SAID = (
    "Point: rate now. Line: 80 %. Ring: rate before it rose. "
    "Extreme: one device in 10,000 is above."
)


def forest(
    frame: Any,
    cohort: str | None = None,
    *,
    detector: RebootDrift | None = None,
    layout: Mapping[str, str] | None = None,
) -> Figure:
    """Draw how often each device of a cohort reboots now, with intervals, as a plotly figure.

    Those that drift come first, whatever their rate; of all others, those that reboot most. A
    point is the rate now, its line holds 80 %, and a ring is the rate before.

    Parameters
    ----------
    frame, detector, layout
        As `rates` takes them.
    cohort
        Which one; not needed if all devices are of one.

    Raises
    ------
    FrameError
        It is no frame, or no device or time column can be found.
    SettingsError
        No device of such a cohort told of its boots, or there are several; or plotly is not
        installed.
    """
    graph = plotly()
    members = _members(rates(frame, detector, layout=layout).to_pylist(), cohort)
    members.sort(key=lambda row: (RANK[row["state"]], -row["rate_per_week"]))
    rows = sorted(members[:MOST], key=lambda row: row["rate_per_week"])
    figure = graph.Figure()
    name = members[0]["cohort"]
    dress(
        figure,
        f"Cohort {name}" if name else "No cohort",
        [html.escape(_forest_said(members, len(rows))), coloured(FOREST_SAID, FAINT)],
        height=190 + 17 * len(rows),
    )
    top = len(rows) - 0.5
    for column, (what, dash) in LINES.items():
        told = [row[column] for row in members if row[column] > 0.0]
        if told:
            rate = float(np.median(told))
            _draw_line(figure, graph, rate, top, f"{what} {rate:.2g}", dash)
    for state, colour in LOOKS.items():
        some = [(at, row) for at, row in enumerate(rows) if row["state"] == state]
        _draw_rates(figure, graph, some, colour)
    known = [rate for row in rows for rate in (row[NOW[0]], row[NOW[2]], *map(row.get, LINES))]
    known = [rate for rate in known if rate > 0.0]
    ticks = [digit * 10.0**e for e in range(-4, 4) for digit in (1, 3)]
    figure.update_layout(
        margin={"r": 160},
        xaxis={
            "type": "log",
            "title": "unplanned reboots a week of running",
            "range": [math.log10(0.8 * min(known)), math.log10(1.25 * max(known))],
            "tickvals": ticks,
            "ticktext": [f"{tick:g}" for tick in ticks],
        },
        yaxis={
            "tickvals": list(range(len(rows))),
            "ticktext": [coloured(html.escape(name_of(r)), LOOKS[r["state"]]) for r in rows],
            "range": [-0.7, top + 1.2],
            "automargin": True,
            "ticks": "",
            "showline": False,
        },
    )
    return figure


def _members(rows: list[dict[str, Any]], cohort: str | None) -> list[dict[str, Any]]:
    """Return the rows of the cohort that is meant: of devices, or, if there are none, of parts."""
    judged = [row for row in rows if row["state"] != "unjudged"]
    names = sorted({row["cohort"] for row in judged})
    if cohort is None and len(names) == 1:
        cohort = names[0]
    of = [row for row in judged if row["cohort"] == cohort]
    if not of:
        asked = "several cohorts" if cohort is None and names else f"no cohort {cohort!r}"
        some = f"{', '.join(map(repr, names[:4]))}{', ...' * (len(names) > 4)}"
        there = f"there are {len(names)}: {some}" if names else "nor of any other"
        hint = closest(cohort or "", names)
        raise SettingsError(f"{asked} with a device that told of its boots{hint}; {there}")
    return [row for row in of if not row["part"]] or of


def _forest_said(members: list[dict[str, Any]], shown: int) -> str:
    """Return how many there are, how many of them drift, and how many are not shown."""
    n = {state: sum(row["state"] == state for row in members) for state in RISING}
    said = f"{len(members):,} devices: {n['drifting']:,} drifting, {n['watch']:,} on watch."
    more = len(members) - shown
    return said + (f" Not shown: {more:,} that reboot less often." if more else "")


def _draw_rates(
    figure: Figure, graph: Any, some: list[tuple[int, dict[str, Any]]], colour: str
) -> None:
    """Draw devices, each at a height, all in one colour."""
    for at, row in some:
        low, rate, high = (row[name] for name in NOW)
        before = row["rate_before_per_week"]
        line = {"color": colour, "width": 2}
        figure.add_trace(
            graph.Scatter(x=[low, high], y=[at, at], mode="lines", line=line, hoverinfo="skip")
        )
        figure.add_trace(
            graph.Scatter(
                x=[rate, before],
                y=[at, at],
                mode="markers",
                marker={"color": colour, "size": 8, "symbol": ["circle", "circle-open"]},
                hovertemplate=f"%{{x:.2g}} a week<extra>{html.escape(name_of(row))}</extra>",
            )
        )
        since = f" since {row['onset']:%Y-%m-%d}" if row["onset"] else ""
        figure.add_annotation(
            x=1.01,
            xref="paper",
            y=at,
            text=f"x{row['rate_after_per_week'] / before:.2g}{since}" if before > 0.0 else "",
            showarrow=False,
            font={"color": colour, "size": 12},
            xanchor="left",
        )


def _draw_line(figure: Figure, graph: Any, rate: float, top: float, said: str, dash: str) -> None:
    """Draw a rate as a line from the bottom to the `top`, and say there which."""
    figure.add_trace(
        graph.Scatter(
            x=[rate, rate],
            y=[-0.7, top],
            mode="lines+text",
            line={"color": READING, "width": 1, "dash": dash},
            text=["", said],
            textposition="top center",
            textfont={"color": READING, "size": 12},
            cliponaxis=False,
            hoverinfo="skip",
        )
    )
