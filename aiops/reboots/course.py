"""One device: what was counted as a history went by, and a chart of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import gammaincinv

from aiops.chart import (
    BLUE,
    FAINT,
    READING,
    VERMILION,
    band,
    coloured,
    dress,
    label,
    lines,
    moments,
    plotly,
)
from aiops.detectors.protocol import Epoch
from aiops.detectors.reboot_drift import RebootDrift
from aiops.kernels.reboot_memory import RebootMemory
from aiops.kernels.rows import F8, I8, Scores
from aiops.notebook import only, played
from aiops.reboots.table import (
    AFTER,
    BEFORE,
    DAY_S,
    NOW,
    STATES,
    WEEK_S,
    name_of,
    row_of,
    states_of,
    told_boots,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

DAY_NS = 86_400_000_000_000
INTERVAL = (0.1, 0.9)
"""Between which quantiles an interval lies."""
MEANT = {"one": "device", "many": "identities", "told": "told of its boots"}
WINDOW_DAYS, SHORT_DAYS = 28.0, 7.0
"""Running time of a window of the chart, and of one where there is little of it."""


@dataclass
class Course:
    """What was counted of one device, as a history went by; times in ns."""

    ts: list[int] = field(default_factory=list)
    """When it was looked at, last of each day..."""
    exposure_s: list[float] = field(default_factory=list)
    """...and how long it had run by then."""
    own: list[int] = field(default_factory=list)
    """When it rebooted of its own, an episode each."""
    planned: list[int] = field(default_factory=list)
    """When that was planned..."""
    shared: list[int] = field(default_factory=list)
    """...or many did at once."""

    def look(self, memory: RebootMemory, index: int, now: int, bin_s: float) -> None:
        """Note how the memory of the device stands `now`."""
        waits = int(memory.pending[index] > 0)
        episodes = int(memory.episodes[index] + memory.settled[index]) + waits
        boot = (int(memory.pending_lo[index]) + int(memory.pending_hi[index])) // 2
        # One that turns out to be shared is no longer its own.
        missing = episodes - len(self.own)
        self.own = self.own[:episodes] + [boot if waits else now] * missing
        for ticks, last in ((self.planned, memory.planned_ts), (self.shared, memory.shared_ts)):
            if last[index] > max(ticks, default=0):
                ticks.append(int(last[index]))
        if self.ts and now // DAY_NS == self.ts[-1] // DAY_NS:
            self.ts.pop()
            self.exposure_s.pop()
        self.ts.append(now)
        self.exposure_s.append(float(memory.bins[index] * bin_s + memory.open_s[index]))

    @property
    def window_s(self) -> float:
        """Running time of a window."""
        enough = self.exposure_s[-1] >= 6.0 * WINDOW_DAYS * DAY_S
        return DAY_S * (WINDOW_DAYS if enough else SHORT_DAYS)

    def windows(self) -> tuple[I8, I8, F8]:
        """Cut it into windows of as much running time each.

        Returns
        -------
        Edges [w + 1] in ns, episodes [w], and running time [w] in s; w is 0 where there is less
        running time than one needs.
        """
        ts, exposure_s = np.array(self.ts), np.array(self.exposure_s)
        full = int(exposure_s[-1] // self.window_s)
        inner = np.searchsorted(exposure_s, self.window_s * np.arange(1, full))
        edge = np.unique(np.concatenate(([0], inner, [len(ts) - 1]))) if full else np.array([0])
        run_s = exposure_s[edge]
        run_s[0] = 0.0
        own = np.clip(self.own, ts[0], ts[-1])
        return ts[edge], np.histogram(own, ts[edge])[0], np.diff(run_s)


@dataclass(frozen=True)
class Watched(RebootDrift):
    """`RebootDrift` that notes how one device stands whenever an epoch closes."""

    index: int = field(default=0, metadata={"line": True})
    course: Course = field(default_factory=Course, compare=False, metadata={"line": True})

    def close(self, memory: RebootMemory, epoch: Epoch) -> Scores | None:
        """Judge all devices as ever, and look at one."""
        said = super().close(memory, epoch)
        if self.index < epoch.size and memory.ts[self.index] > 0:
            self.course.look(memory, self.index, epoch.end, self.bin_s)
        return said


def drift(
    frame: Any,
    device: str,
    *,
    part: str | None = None,
    medium_id: str | None = None,
    detector: RebootDrift | None = None,
    layout: Mapping[str, str] | None = None,
) -> Figure:
    """Draw how often one device rebooted over time, and the change, as a plotly figure.

    Steps are what was counted in windows of running time; lines are the rates before and after
    the change. Shades hold 80 %. Each reboot is a tick below.

    Parameters
    ----------
    frame, detector, layout
        As `rates` takes them.
    device, part, medium_id
        Which one; the device alone is enough if it has no parts that tell of boots.

    Raises
    ------
    FrameError
        It is no frame, or no device or time column can be found.
    SettingsError
        No such device told of its boots, or several did; or plotly is not installed.
    """
    graph = plotly()
    detector = detector or RebootDrift()
    engine, _ = played(frame, [detector], layout=layout)
    index = only(engine, told_boots(engine, detector), (device, part, medium_id), **MEANT)
    settings = {one.name: getattr(detector, one.name) for one in fields(RebootDrift)}
    watched = Watched(**settings, index=index)
    played(frame, [watched], layout=layout)
    course = watched.course
    row = row_of(engine, detector, index, STATES[states_of(engine, detector)[index]])
    rule = next(rule for rule in engine.rules if rule.detector == detector)
    fires = row["state"] == "drifting"
    found = int(engine.fleet.recall(rule.owner).since[index]) if fires else None
    figure = graph.Figure()
    said = [*lines(row["sentence"]), coloured(_legend(course), FAINT)]
    dress(figure, name_of(row), said, height=540)
    top = _draw_windows(figure, graph, course)
    top = max(top, _draw_rates(figure, graph, row, (course.ts[0], course.ts[-1]), found))
    _draw_ticks(figure, graph, course)
    figure.update_layout(
        margin={"r": 90},
        xaxis={"anchor": "y2"},
        yaxis={
            "title": "unplanned reboots a week of running",
            "range": [0.0, 1.3 * (top or 1.0)],
            "domain": [0.2, 1.0],
        },
    )
    return figure


def _legend(course: Course) -> str:
    weeks = course.window_s / WEEK_S
    window = f"{weeks:.0f} weeks" if weeks > 1.0 else "a week"
    return f"Steps: what was counted in {window} of running. Lines: rates. Shades hold 80 %."


def _draw_windows(figure: Figure, graph: Any, course: Course) -> float:
    """Draw what was counted in windows, with intervals; return how high it reaches."""
    edge, episodes, run_s = course.windows()
    if not len(episodes):
        return 0.0
    weeks = run_s / WEEK_S
    # Of a gamma distribution: what is known of a Poisson rate by Jeffreys' prior.
    low, high = (np.repeat(gammaincinv(episodes + 0.5, p) / weeks, 2) for p in INTERVAL)
    at = moments(np.repeat(edge, 2)[1:-1])
    band(figure, graph, at, high, low, READING, 0.08)
    figure.add_trace(
        graph.Scatter(
            x=at,
            y=np.repeat(episodes / weeks, 2),
            customdata=np.repeat(episodes, 2),
            mode="lines",
            line={"color": FAINT, "width": 1.5},
            hovertemplate="%{customdata} counted: %{y:.2g} a week<extra></extra>",
        )
    )
    return float(high.max())


def _draw_rates(
    figure: Figure, graph: Any, row: Mapping[str, Any], span: tuple[int, int], found: int | None
) -> float:
    """Draw the rates before and after, when it changed and was `found`, and the cohort's.

    Returns how high that reaches.
    """
    first, last = span

    def at(share: float) -> float:
        return first + share * (last - first)

    figure.update_layout(xaxis={"range": [str(end) for end in moments((at(-0.01), at(1.01)))]})
    if row["onset"] is None:
        top = _draw_level(figure, graph, span, row, NOW, "", BLUE)
    else:
        onset = min(max(row["onset"], first), last)
        top = max(
            _draw_level(figure, graph, (first, onset), row, BEFORE, "before: ", BLUE),
            _draw_level(figure, graph, (onset, last), row, AFTER, "since: ", VERMILION),
        )
        _mark(figure, onset, "changed about", VERMILION, 1.0, right=onset < at(0.25))
    if found is not None:
        _mark(figure, found, "found", READING, 0.94, right=found < at(0.78))
    if (cohort := row["cohort_rate_per_week"]) > 0.0:
        figure.add_hline(cohort, line={"color": FAINT, "width": 1, "dash": "dot"}, opacity=1.0)
        figure.add_annotation(
            x=1.005,
            xref="paper",
            y=cohort,
            text=f"cohort {cohort:.2g}",
            showarrow=False,
            font={"color": FAINT, "size": 12},
            xanchor="left",
        )
    return top


def _draw_level(
    figure: Figure,
    graph: Any,
    span: tuple[int, int],
    row: Mapping[str, Any],
    names: Sequence[str],
    when: str,
    colour: str,
) -> float:
    """Draw a rate and its interval over a span of time; return how high it reaches."""
    low, middle, high = (row[name] for name in names)
    if np.isnan(middle):
        return 0.0
    at = moments(span)
    band(figure, graph, at, np.array([high, high]), np.array([low, low]), colour, 0.2)
    figure.add_trace(
        graph.Scatter(
            x=at,
            y=[middle, middle],
            mode="lines",
            line={"color": colour, "width": 2.5},
            hovertemplate=f"{when}%{{y:.2g}} a week<extra></extra>",
        )
    )
    said = f"{when}{middle:.2g} a week ({low:.2g} to {high:.2g})"
    late = names is AFTER
    label(figure, span[-1] if late else span[0], high, said, colour, right=not late)
    return float(high)


def _mark(figure: Figure, ts: int, what: str, colour: str, height: float, *, right: bool) -> None:
    """Mark a moment by a line up to a `height` of the plot, and say there what and when."""
    day = str(moments(ts))
    line = {"color": colour, "width": 1, "dash": "dash"}
    figure.add_shape(
        type="line", x0=day, x1=day, y0=0.0, y1=height, yref="y domain", line=line, opacity=1.0
    )
    said = f" {what} {day[:10]} "
    label(figure, ts, height, said, colour, right=right, above=False, yref="y domain")


def _draw_ticks(figure: Figure, graph: Any, course: Course) -> None:
    """Draw each reboot as a tick, by kinds, in a strip below."""
    kinds = (("episodes", course.own, READING), ("planned", course.planned, BLUE),
             ("shared", course.shared, FAINT))  # fmt: skip
    shown = [kind for kind in kinds if kind[1] or kind[0] == "episodes"]
    for row, (name, ts, colour) in enumerate(shown):
        figure.add_trace(
            graph.Scatter(
                x=moments(ts),
                y=[-row] * len(ts),
                yaxis="y2",
                mode="markers",
                marker={"symbol": "line-ns", "size": 10, "line": {"width": 1.5, "color": colour}},
                hovertemplate=f"{name} %{{x|%Y-%m-%d}}<extra></extra>",
            )
        )
    figure.update_layout(
        yaxis2={
            "domain": [0.0, 0.05 * len(shown)],
            "range": [0.5 - len(shown), 0.5],
            "tickvals": [-row for row in range(len(shown))],
            "ticktext": [f"{name} {len(ts)}" for name, ts, _ in shown],
            "ticks": "",
            "showline": False,
        }
    )
