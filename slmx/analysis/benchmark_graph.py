"""The graph of a benchmark: scores by environment and algorithm, and above them one score an algorithm."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from slmx.analysis.graph import COLOURS, FAINT, finish
from slmx.errors import counted

BAR, BETWEEN = 26, 20  # pixels of an algorithm's interval, and between environments
GAP, MARGINS = 92, 160  # pixels between the rows of panels; above and below them


def benchmark_graph(table: pd.DataFrame, aggregated: pd.DataFrame, title: str) -> go.Figure:
    """Interquartile means over environments, a panel a kind of actions; below, mean scores in each environment.

    `table` is benchmark.csv, `aggregated` benchmark_aggregate.csv. Lines are intervals; a cell that FAILED is a cross
    at 0, for it counts as random play.
    """
    algorithms = list(dict.fromkeys(table["algorithm"]))
    colours = dict(zip(algorithms, cycle(COLOURS), strict=False))
    shown = table.loc[table["score"].notna() | (table["state"] == "FAILED")]
    kinds = list(dict.fromkeys(aggregated["actions"]))
    most = max((int((aggregated["actions"] == kind).sum()) for kind in kinds), default=0)
    envs = len(set(shown["env"]))
    heights = [*([BAR * most] if kinds else []), max(BAR * len(shown) + BETWEEN * (envs - 1), BAR)]
    height = sum(heights) + GAP * (len(heights) - 1)
    columns = max(1, len(kinds))
    figure = make_subplots(
        rows=len(heights), cols=columns, row_heights=heights, horizontal_spacing=0.14,
        vertical_spacing=GAP / height if kinds else 0,
        specs=[*([[{}] * columns] if kinds else []), [{"colspan": columns}, *[None] * (columns - 1)]],
        subplot_titles=[*(_heading(aggregated, kind) for kind in kinds), "each environment: mean over seeds"],
    )  # fmt: skip
    for column, kind in enumerate(kinds, 1):
        _draw_aggregate(figure, aggregated.loc[aggregated["actions"] == kind], colours, most, column)
    _draw_cells(figure, shown, colours, len(heights))
    cells, whole = shown[["score", "score_low", "score_high"]], aggregated[["iqm", "iqm_low", "iqm_high"]]
    ends = np.concatenate([[0.0, 1.0], cells.to_numpy(float).ravel(), whole.to_numpy(float).ravel()])
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    finish(figure, title, _subtitle(table, shown), height + MARGINS)
    for heading, axis in zip(figure.select_annotations(), figure.select_xaxes(), strict=True):
        heading.update(x=axis.domain[0], xanchor="left", font={"size": 13})
    margin = 0.05 * (high - low)
    figure.update_xaxes(range=[low - margin, high + margin], tickformat="~g", showgrid=True)
    figure.update_xaxes(title_text="score", row=len(heights))
    figure.update_yaxes(showgrid=False, ticks="")
    figure.update_layout(legend={"y": heights[-1] / height})
    for score in (0, 1):
        figure.add_vline(score, line={"color": FAINT, "width": 1, "dash": "dot"}, layer="below")
    return figure


def _heading(aggregated: pd.DataFrame, kind: str) -> str:
    """What a panel of aggregates is over."""
    envs = aggregated.loc[aggregated["actions"] == kind, "environments"].iloc[0].split()
    return f"{kind} actions: IQM over {envs[0] if len(envs) == 1 else counted(len(envs), 'environment')}"


def _subtitle(table: pd.DataFrame, shown: pd.DataFrame) -> str:
    """What scores mean, and what is not shown."""
    parts = ["greedy return, 0: random play, 1: the standard; lines: 95 % intervals over seeds"]
    if waiting := sum(state not in ("DONE", "FAILED") for state in table["state"]):
        parts.append(f"{counted(waiting, 'cell')} not done")
    unknown = table.loc[(table["state"] == "DONE") & ~table["env"].isin(shown["env"]), "env"]
    if len(unknown):
        parts.append(f"no standard: {', '.join(dict.fromkeys(unknown))}")
    return "; ".join(parts)


def _draw_aggregate(figure: go.Figure, rows: pd.DataFrame, colours: dict[str, str], most: int, column: int) -> None:
    """One score an algorithm, from the top."""
    for place, row in enumerate(rows.to_dict("records")):
        point = _points([row["iqm"]], [row["iqm_low"]], [row["iqm_high"]], [place], colours[row["algorithm"]])
        point.update(name=row["algorithm"], showlegend=False, hovertemplate="%{x:.3~g}")
        figure.add_trace(point, 1, column)
    names = {"tickvals": list(range(len(rows))), "ticktext": rows["algorithm"].tolist()}
    figure.update_yaxes(**names, range=[most - 0.4, -0.6], row=1, col=column)


def _draw_cells(figure: go.Figure, shown: pd.DataFrame, colours: dict[str, str], row: int) -> None:
    """The cells, environment by environment from the top, in each the algorithms in their order."""
    places, centres, at = {}, {}, 0.0
    for env, cells in shown.groupby("env", sort=False):
        for i, algorithm in enumerate(cells["algorithm"]):
            places[env, algorithm] = at + i
        centres[env] = at + (len(cells) - 1) / 2
        at += len(cells) + BETWEEN / BAR
    for algorithm, cells in shown.groupby("algorithm", sort=False):
        colour, failed = colours[str(algorithm)], (cells["state"] == "FAILED").tolist()
        places_here = [places[env, algorithm] for env in cells["env"]]
        ends = cells["score_low"].tolist(), cells["score_high"].tolist()
        points = _points(cells["score"].fillna(0.0).tolist(), *ends, places_here, colour)
        points.update(
            name=algorithm, hovertemplate="%{text}: %{x:.3~g}<extra></extra>",
            text=[f"{algorithm} in {e}{' FAILED' * bad}" for e, bad in zip(cells["env"], failed, strict=True)],
            marker_symbol=["x-thin" if bad else "circle" for bad in failed],
            marker_line={"width": [2.5 * bad for bad in failed], "color": colour},
        )  # fmt: skip
        figure.add_trace(points, row, 1)
    bottom = at - BETWEEN / BAR - 0.4
    names: dict[str, Any] = {"tickvals": list(centres.values()), "ticktext": list(centres)}
    figure.update_yaxes(**names, range=[bottom, -0.6], row=row, col=1)


def _points(x: list[float], low: list[float], high: list[float], y: list[float], colour: str) -> go.Scatter:
    """Points with intervals to both sides, where they are known."""
    bars: dict[str, Any] = {
        "type": "data", "symmetric": False, "thickness": 2.5, "width": 5,
        "array": [end - value for end, value in zip(high, x, strict=True)],
        "arrayminus": [value - end for end, value in zip(low, x, strict=True)],
    }  # fmt: skip
    return go.Scatter(x=x, y=y, error_x=bars, mode="markers", marker={"color": colour, "size": 9})
