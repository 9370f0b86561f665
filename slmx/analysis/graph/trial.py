"""Graphs of one trial: the mean return of its sessions over frames, and the speed of its program."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

import pandas as pd
import plotly.graph_objects as go

from slmx.analysis.files import Port, of_port
from slmx.analysis.graph.style import (
    AVERAGE,
    COLOURS,
    SPREAD,
    draw_standard,
    finish,
    line_over_frames,
    split,
    tidy,
    translucent,
)
from slmx.analysis.standards import Standard
from slmx.errors import counted


def trial_table(
    sessions: Mapping[int, pd.DataFrame], labels: Mapping[Port, str], failed: set[int] | frozenset[int] = frozenset()
) -> pd.DataFrame:
    """What a trial graph shows: `port, curve, state, frame, value, low, high`.

    `curve` is "session {s}" (its moving average) or "mean": over the sessions that did not fail, at the frames where
    every one of them has a value, with `low` and `high` one standard deviation over sessions (n - 1) to each side;
    empty with fewer than two sessions. A session without a row at a frame keeps its last value
    before it, up to its own last row.
    `sessions` maps numbers to session_{s}.csv; `failed` names those that FAILED.
    """
    pieces = []
    for port, label in labels.items():
        curves = {}
        for session, rows in sessions.items():
            curve = of_port(rows, port).groupby("frame")["return_ma"].last().dropna()
            state = "FAILED" if session in failed else "DONE"
            pieces.append(
                pd.DataFrame({"frame": curve.index, "value": curve.to_numpy()}).assign(
                    port=label, curve=f"session {session}", state=state
                )
            )
            if session not in failed:
                curves[session] = curve
        if not curves:
            continue
        aligned = pd.DataFrame(curves).sort_index()
        aligned = aligned.ffill().where(aligned.bfill().notna()).dropna()
        mean, spread = aligned.mean(axis=1), aligned.std(axis=1, ddof=1)
        pieces.append(
            pd.DataFrame(
                {
                    "frame": aligned.index,
                    "value": mean.to_numpy(),
                    "low": (mean - spread).to_numpy(),
                    "high": (mean + spread).to_numpy(),
                }
            ).assign(port=label, curve="mean", state="DONE")
        )
    return tidy(pieces, ["port", "curve", "state", "frame", "value", "low", "high"])


def trial_graph(
    table: pd.DataFrame, title: str, sessions: int, failed: int = 0, standard: Standard | None = None
) -> go.Figure:
    """The mean moving average over a trial's sessions, its spread as a band, and faintly each session; a colour a port.

    `table` is of `trial_table`. Failed sessions are dotted to where they ended, left out of the mean, and counted in
    the subtitle.
    """
    figure = go.Figure()
    several = len(set(table["port"])) > 1
    has_band = bool(table["low"].notna().any())
    for colour, (port, own) in zip(cycle(COLOURS), split(table, "port")):
        group = port if several else None
        mean = own.loc[own["curve"] == "mean"]
        band = mean.loc[mean["low"].notna()]
        if len(band):
            figure.add_trace(
                go.Scatter(
                    x=[*band["frame"], *band["frame"][::-1]],
                    y=[*band["high"], *band["low"][::-1]],
                    fill="toself",
                    fillcolor=translucent(colour, 0.16),
                    line={"width": 0},
                    hoverinfo="skip",
                    name=SPREAD,
                    showlegend=not several,
                    legendgroup=group,
                    legendrank=1001,
                )
            )
        for curve, values in split(own.loc[own["curve"] != "mean"], "curve"):
            failed_here = "FAILED" in set(values["state"])
            hover = (f"{port}: " if several else "") + curve + (" (FAILED)" if failed_here else "")
            line = {"color": colour, "width": 1, "dash": "dot" if failed_here else "solid"}
            figure.add_trace(
                line_over_frames(values, hover, line=line, opacity=0.45, showlegend=False, legendgroup=group)
            )
        if len(mean):
            # means come last, to lie on top
            name = port if several else "mean of sessions"
            line = {"color": colour, "width": 2.8}
            figure.add_trace(line_over_frames(mean, name, line=line, name=name, showlegend=True, legendgroup=group))
    draw_standard(figure, standard)
    figure.update_yaxes(title_text=f"return ({AVERAGE})")
    figure.update_xaxes(title_text="frames")
    meaning = [f"mean {SPREAD}" if has_band else "mean"] if several else list(table["port"].unique())
    count = counted(sessions, "session")
    dropped = [f"{failed} FAILED (dotted, not in the mean)"] if failed else []
    finish(figure, title, ", ".join([*meaning, count, *dropped]), 520)
    return figure


def speed_graph(table: pd.DataFrame, title: str) -> go.Figure:
    """Frames per second of a trial's program (all its sessions together) over frames; `table` is speed.csv."""
    figure = go.Figure(
        line_over_frames(
            table.rename(columns={"frames_per_second": "value"}), "speed", line={"color": COLOURS[0], "width": 2}
        )
    )
    figure.update_yaxes(title_text="speed (frames/s, all sessions)", rangemode="tozero", tickformat="~s")
    figure.update_xaxes(title_text="frames of each session")
    finish(figure, title, "all sessions of the trial together", 420)
    figure.update_layout(showlegend=False)
    return figure
