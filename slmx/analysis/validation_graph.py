"""The graph of a validation: tuned and test scores of each setting, and how far it is from the spec's own."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from slmx.analysis.files import FAILED, TrialFiles
from slmx.analysis.graph import COLOURS, FAINT, INK, finish
from slmx.analysis.objective import objective_of, short_names
from slmx.analysis.validation import verdict

OWN, FOUND, LOST = COLOURS[1], COLOURS[0], COLOURS[7]  # the spec's own setting, those of the search, failed runs
SPREAD = 0.36  # of a row's height, over which its runs lie
ENDS = ("difference_low", "difference_high")
MARKS = {"test_score": ("test score, fresh seeds", "circle"), "tuned_score": ("tuned score", "circle-open")}


def validation_graph(table: pd.DataFrame, runs: pd.DataFrame, trials: Sequence[TrialFiles]) -> go.Figure:
    """A row per setting, the best on top: left its scores and runs, right its difference to the spec's own setting.

    `table` is validation.csv, `runs` validation_runs.csv, `trials` are those of the validation.
    """
    objective, rows = objective_of(trials[0]), table.to_dict("records")
    height = {row["trial"]: len(rows) - 1 - i for i, row in enumerate(rows)}
    values = {trial.number: setting_text(trial.setting or {}) for trial in trials}
    hover = [f"{_name(row)}: {values[row['trial']]}<br>{verdict(row, objective.sign)}" for row in rows]
    figure = make_subplots(1, 2, shared_yaxes=True, column_widths=[0.62, 0.38], horizontal_spacing=0.04)
    for name, own in (("run", runs.loc[runs["state"] != FAILED]), ("failed run", runs.loc[runs["state"] == FAILED])):
        if len(own):
            figure.add_trace(_runs(own, height, name), 1, 1)
    for row in rows:
        figure.add_trace(_interval(row, "test", height), 1, 1)
        figure.add_trace(_interval(row, "difference", height), 1, 2)
    for column, (name, symbol) in MARKS.items():
        figure.add_trace(_marks(rows, column, name, symbol, height, hover), 1, 1)
        legend = {"color": INK, "size": 9, "symbol": symbol, "line": {"width": 2, "color": INK}}
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="markers", name=name, marker=legend), 1, 1)
    figure.add_trace(_marks(rows, "difference", "difference", "circle", height, hover), 1, 2)
    dotted = {"color": FAINT, "width": 1, "dash": "dot"}
    for own in (row["test_score"] for row in rows if not row["trial"] and row["rank"] is not pd.NA):
        figure.add_vline(own, line=dotted, layer="below", row=1, col=1)  # type: ignore[arg-type]  # a number, not "all"
    figure.add_vline(0, line=dotted, layer="below", row=1, col=2)  # type: ignore[arg-type]
    figure.update_xaxes(title_text=f"{objective.metric} ({objective.aggregate} of seeds)", col=1)
    figure.update_xaxes(
        title_text=f"test score minus default's ({'more' if objective.sign > 0 else 'less'} is better)", col=2
    )
    seeds = f"{max(row['sessions'] for row in rows)} fresh seeds each; bars: 95 % intervals over runs"
    finish(figure, f"{trials[0].name}, validation", seeds, 220 + 64 * len(rows))
    figure.update_xaxes(rangemode="normal", tickformat="~g")
    ticks = {"tickvals": list(height.values()), "ticktext": [_name(row) for row in rows]}
    ends = [0.0, *(row[key] for row in rows for key in ENDS if not math.isnan(row[key]))]
    margin = 0.06 * (max(ends) - min(ends)) or 1.0  # bars alone get none
    figure.update_xaxes(range=[min(ends) - margin, max(ends) + margin], col=2)
    figure.update_yaxes(range=[-0.6, len(rows) - 0.4], ticks="", showgrid=False, **ticks)
    figure.update_layout(margin_l=120)
    return figure


def setting_text(setting: Mapping[str, Any]) -> str:
    """A setting in a line: `gamma 0.98, lr 0.001`."""
    names = short_names(list(setting))
    return ", ".join(f"{names[path]} {_value(value)}" for path, value in setting.items())


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def _name(row: Mapping[Any, Any]) -> str:
    name = f"trial {row['trial']}" if row["trial"] else "default"
    return f"{name}, {row['state']}" if math.isnan(row["test_score"]) else name


def _colour(row: Mapping[Any, Any]) -> str:
    return FOUND if row["trial"] else OWN


def _runs(runs: pd.DataFrame, height: Mapping[int, int], name: str) -> go.Scatter:
    """The runs of all settings as points, each setting's by session over the height of its row."""
    trials, sessions = runs["trial"].tolist(), runs["session"].tolist()
    spread = [SPREAD * (session / max(1, *sessions) - 0.5) for session in sessions]
    look = {"color": LOST, "size": 7, "symbol": "x"} if name == "failed run" else {"color": FAINT, "size": 6}
    return go.Scatter(
        x=runs["value"].tolist(), y=[height[trial] + own for trial, own in zip(trials, spread, strict=True)],
        mode="markers", name=name, marker=look, opacity=0.6, text=[f"session {session}" for session in sessions],
        hovertemplate=f"{name} %{{x:.4~g}}, %{{text}}<extra></extra>",
    )  # fmt: skip


def _marks(
    rows: Sequence[Mapping[Any, Any]], column: str, name: str, symbol: str, height: Mapping[int, int], hover: list[str]
) -> go.Scatter:
    """One quantity of all settings."""
    colours = [_colour(row) for row in rows]
    look = {"color": colours, "size": 11, "symbol": symbol, "line": {"width": 2, "color": colours}}
    return go.Scatter(
        x=[row[column] for row in rows], y=[height[row["trial"]] for row in rows], mode="markers", name=name,
        showlegend=False, marker=look,
        text=hover, hovertemplate=f"{name} %{{x:.4~g}}<br>%{{text}}<extra></extra>",
    )  # fmt: skip


def _interval(row: Mapping[Any, Any], quantity: str, height: Mapping[int, int]) -> go.Scatter:
    """The 95 % interval of one setting's score or difference, as a bar."""
    return go.Scatter(
        x=[row[f"{quantity}_low"], row[f"{quantity}_high"]], y=[height[row["trial"]]] * 2, mode="lines",
        line={"color": _colour(row), "width": 5}, opacity=0.5, hoverinfo="skip", showlegend=False,
    )  # fmt: skip
