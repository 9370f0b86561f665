"""The graph of a search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from slmx.analysis.graph.style import INK, finish, tidy


def experiment_table(experiment: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """What an experiment graph shows: `trial, objective, key, value`, for each searched key and finished trial.

    `experiment` is experiment.csv; `names` maps searched paths to what they are called here.
    """
    known = experiment.loc[experiment["objective"].notna(), ["trial", "objective", *names]]
    pieces = [
        known[["trial", "objective"]].assign(key=name, value=known[path]).dropna(subset="value")
        for path, name in names.items()
    ]
    return tidy(pieces, ["trial", "objective", "key", "value"])


def experiment_graph(table: pd.DataFrame, title: str, goal: str, sign: int = 1) -> go.Figure:
    """The objective over trials, with the best so far, then against each searched key; coloured by objective.

    `table` is of `experiment_table`; `goal` names the objective, `sign` is 1 where more of it is better, else -1.
    A key whose values are all positive and spread over more than a factor of 20 has a logarithmic axis.
    """
    keys = list(dict.fromkeys(table["key"]))
    cols = min(3, max(1, len(keys)))
    below = -(-len(keys) // cols)
    top, pitch = 300, 260
    figure = make_subplots(
        rows=1 + below, cols=cols, row_heights=[top, *[pitch - 70] * below],
        specs=[
            [{"colspan": cols}, *[None] * (cols - 1)],
            *[[{} if row * cols + col < len(keys) else None for col in range(cols)] for row in range(below)],
        ],
        vertical_spacing=80 / (top + pitch * below) if below else 0, horizontal_spacing=0.09,
    )  # fmt: skip
    trials = table.drop_duplicates("trial").sort_values("trial")
    figure.add_trace(_points(trials["trial"].tolist(), trials), 1, 1)
    if len(trials):
        best = (sign * trials["objective"].astype(float)).cummax() * sign
        line = {"color": INK, "width": 1.4, "shape": "hv"}
        figure.add_trace(
            go.Scatter(x=trials["trial"].tolist(), y=best.tolist(), mode="lines", line=line, name="best so far"), 1, 1
        )
    for i, key in enumerate(keys):
        own = table.loc[table["key"] == key]
        row, col = 2 + i // cols, 1 + i % cols
        numbers = pd.Series([_number(value) for value in own["value"]], own.index, float)
        is_number = not any(math.isnan(x) for x, trial in zip(numbers, own["trial"], strict=True) if trial)
        if is_number:  # the spec's own value may be a schedule, which has no place among numbers
            own, numbers = own.loc[numbers.notna()], numbers.dropna()
        figure.add_trace(_points(list(numbers) if is_number else [str(value) for value in own["value"]], own), row, col)
        figure.update_xaxes(title_text=key, row=row, col=col)
        if not is_number:
            figure.update_xaxes(type="category", row=row, col=col)
        elif len(numbers) and numbers.min() > 0 and numbers.max() > 20 * numbers.min():
            figure.update_xaxes(type="log", row=row, col=col)
    figure.update_xaxes(title_text="trial", row=1, col=1)
    figure.update_yaxes(title_text="objective", col=1)
    finish(figure, title, goal, 170 + top + pitch * below)
    figure.update_xaxes(rangemode="normal", tickformat="~g")
    figure.update_layout(showlegend=bool(len(trials)), coloraxis={"colorscale": "Viridis", "reversescale": sign < 0})
    figure.update_coloraxes(colorbar={"title": {"text": "objective"}, "thickness": 12, "outlinewidth": 0})
    return figure


def _number(value: Any) -> float:
    """A setting's value as a number; NaN where it is none."""
    is_number = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    return float(value) if is_number else math.nan


def _points(x: list[Any], rows: pd.DataFrame) -> go.Scatter:
    """A point for each trial, coloured by its objective; the spec's own setting is a diamond."""
    return go.Scatter(
        x=x, y=rows["objective"].tolist(), mode="markers", showlegend=False,
        marker={
            "color": rows["objective"].tolist(), "coloraxis": "coloraxis",
            "size": 9, "line": {"color": "white", "width": 1},
            "symbol": ["diamond" if trial == 0 else "circle" for trial in rows["trial"]],
        },
        text=[f"trial {trial}" for trial in rows["trial"]], hovertemplate="%{text}: %{y:.4~g} at %{x}<extra></extra>",
    )  # fmt: skip
