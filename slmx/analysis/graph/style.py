"""What all graphs share: colours, lines, titles, axes, and the tidy tables they are drawn from."""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from slmx.analysis.fitness import WINDOW
from slmx.analysis.standards import Standard

AVERAGE, SPREAD = f"mean of last {WINDOW} episodes", "± 1 standard deviation"
COLOURS = ("#2f6db5", "#e07b39", "#3a9a5f", "#b8479b", "#7a6bc4", "#c9a227", "#2aa5b3", "#c94f4f")
INK, FAINT, GRID = "#26323f", "#7d8a98", "#e8ecf0"


def tidy(pieces: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    """Pieces of a table as one, with these columns though there be no piece."""
    filled = [piece for piece in pieces if len(piece)]
    table = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
    return table.reindex(columns=columns)


def split(table: pd.DataFrame, column: str) -> list[tuple[str, pd.DataFrame]]:
    """The table's parts by the values of a column, in order of appearance."""
    return [(str(key), table.loc[table[column] == key]) for key in dict.fromkeys(table[column])]


def line_over_frames(values: pd.DataFrame, hover: str, **style: Any) -> go.Scatter:
    """Values over frames as a line, or as a point where there is one alone."""
    template = f"%{{y:.4~g}} at %{{x:,}} frames<extra>{hover}</extra>"
    # a single point draws no line
    mode = "lines" if len(values) > 1 else "markers"
    # lists, not binary arrays: the same numbers give the same, readable HTML
    return go.Scatter(
        x=values["frame"].tolist(), y=values["value"].tolist(), mode=mode, hovertemplate=template, **style
    )


def translucent(colour: str, alpha: float) -> str:
    """A colour, `#rrggbb`, that lets through what lies below it."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def draw_standard(figure: go.Figure, standard: Standard | None) -> None:
    """The random and the standard return as dotted lines across the first panel."""
    if standard is None:
        return
    for value, text in ((standard.rand_return, "random"), (standard.std_return, "standard")):
        if value is not None:
            line = {"color": FAINT, "width": 1, "dash": "dot"}
            figure.add_shape(
                type="line", xref="x domain", x0=0, x1=1, yref="y", y0=value, y1=value, line=line, layer="below"
            )
            figure.add_annotation(
                xref="x domain", x=1, yref="y", y=value, text=text, showarrow=False, xanchor="left", xshift=4,
                font={"size": 11, "color": FAINT},
            )  # fmt: skip


def finish(figure: go.Figure, title: str, subtitle: str, height: int) -> None:
    """Titles, axes and legend, as all graphs have them."""
    axis = {
        "gridcolor": GRID,
        "zeroline": False,
        "linecolor": FAINT,
        "ticks": "outside",
        "tickcolor": FAINT,
        "ticklen": 4,
    }
    figure.update_xaxes(**axis, tickformat="~s", showline=True, showgrid=False, title_standoff=8, rangemode="tozero")
    figure.update_yaxes(**axis, showline=False, title_standoff=10, exponentformat="e")
    figure.update_xaxes(title_font_size=13)
    figure.update_yaxes(title_font_size=13)
    figure.update_layout(
        title={
            "text": f"<b>{escape(title)}</b><br><span style='font-size:13px;color:{FAINT}'>{escape(subtitle)}</span>",
            "font": {"size": 18},
            "x": 0,
            "xref": "paper",
            "xanchor": "left",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"t": 38},
        },
        font={
            "family": "Inter, 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif",
            "size": 13,
            "color": INK,
        },
        paper_bgcolor="white",
        plot_bgcolor="white",
        height=height,
        margin={"l": 76, "r": 76, "t": 100, "b": 60},
        legend={
            "orientation": "h",
            "x": 1,
            "xanchor": "right",
            "y": 1,
            "yanchor": "bottom",
            "bgcolor": "rgba(0,0,0,0)",
        },
        hovermode="closest",
    )
