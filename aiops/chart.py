"""What all charts share: colours, a title that says something, words beside what they name."""

from __future__ import annotations

import html
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from aiops.errors import SettingsError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

BLUE, VERMILION, READING, FAINT = "#0072B2", "#D55E00", "#333333", "#767676"
"""Blue and vermilion of Okabe and Ito (2008), which everybody can tell apart, and greys."""
AXIS = {"tickcolor": FAINT, "linecolor": FAINT}
"""An axis without ornament."""
LINE_CHARS = 105
"""What the title says is broken into lines of so many characters."""


def plotly() -> Any:
    """Return ``plotly.graph_objects``.

    Raises
    ------
    SettingsError
        It is not installed.
    """
    try:
        from plotly import graph_objects
    except ModuleNotFoundError as error:
        raise SettingsError(
            "a chart needs plotly, which is not installed; pip install 'aiops-edge[notebook]'"
        ) from error
    return graph_objects


def moments(ns: Any) -> Any:
    """Return ns since the epoch as times that plotly knows."""
    return np.asarray(ns, dtype=np.float64).astype(np.int64).astype("datetime64[ns]")


def lines(text: str) -> list[str]:
    """Return prose, in which devices may have had a part, as lines for `dress`."""
    return textwrap.wrap(html.escape(text), LINE_CHARS)


def coloured(text: str, colour: str) -> str:
    """Return a line for `dress` in a colour."""
    return f"<span style='color:{colour}'>{text}</span>"


def dress(figure: Figure, title: str, said: list[str], height: int = 480) -> None:
    """Give a chart its title and what it says below, line by line, and no ornament."""
    figure.update_layout(
        template="simple_white",
        showlegend=False,
        width=900,
        height=height,
        margin={"l": 60, "r": 30, "t": 70 + 18 * len(said), "b": 40},
        title={
            "text": html.escape(title),
            "subtitle": {"text": "<br>".join(said), "font": {"size": 13, "color": READING}},
            "x": 0.0,
            "xref": "paper",
            "yref": "container",
            "y": 1.0 - 19.0 / height,
            "yanchor": "top",
        },
        xaxis=AXIS,
        yaxis=AXIS,
    )


def label(
    figure: Figure,
    ns: float,
    y: float,
    text: str,
    colour: str,
    *,
    right: bool = False,
    above: bool = True,
    yref: str = "y",
) -> None:
    """Write beside a point in time: `right` of it or left, `above` it or below."""
    figure.add_annotation(
        x=str(moments(ns)),
        y=y,
        yref=yref,
        text=text,
        showarrow=False,
        font={"color": colour, "size": 12},
        xanchor="left" if right else "right",
        yanchor="bottom" if above else "top",
    )


def band(
    figure: Figure, graph: Any, x: Any, high: Any, low: Any, colour: str, opacity: float
) -> None:
    """Fill what lies between `high` and `low` [n] along `x` [n]."""
    figure.add_trace(
        graph.Scatter(
            x=np.concatenate((x, x[::-1])),
            y=np.concatenate((high, low[::-1])),
            mode="none",
            fill="toself",
            fillcolor=colour,
            opacity=opacity,
            hoverinfo="skip",
        )
    )
