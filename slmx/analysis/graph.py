"""Graphs, each in two steps: a tidy table of exactly what it shows, then a Plotly figure of that table.

HTML files open without a network: they read one plotly.min.js that lies in the run's directory. PNG files need a
Chrome or Chromium; without one there is a hint in the log and HTML alone, and never an error.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from html import escape
from itertools import cycle
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from slmx.analysis.files import Port, of_port, write_whole
from slmx.analysis.fitness import WINDOW
from slmx.analysis.standards import Standard
from slmx.errors import counted

log = logging.getLogger(__name__)

BROWSER_HINT = "no Chrome or Chromium found, so graphs are HTML only; `plotly_get_chrome` installs one for PNG"

RETURN, AVERAGE, SPREAD = "return", f"mean of last {WINDOW} episodes", "± 1 standard deviation"
PANELS = {
    "loss": "loss",
    "policy_loss": "policy loss",
    "value_loss": "value loss",
    "entropy": "entropy (nats)",
    "explore": "exploration",
    "lr": "learning rate",
}
"""Columns of a session's table that the session graph shows below the return, where present, and their axis titles."""

COLOURS = ("#2f6db5", "#e07b39", "#3a9a5f", "#b8479b", "#7a6bc4", "#c9a227", "#2aa5b3", "#c94f4f")
INK, FAINT, GRID = "#26323f", "#7d8a98", "#e8ecf0"
PNG_SCALE = 2


# --- what a graph shows ----------------------------------------------------------------------------------------------


def session_table(rows: pd.DataFrame, labels: Mapping[Port, str]) -> pd.DataFrame:
    """What a session graph shows: `port, quantity, frame, value`, without gaps; quantities in the order of the panels.

    `rows` is session_{s}.csv; `labels` names each (agent, env). `loss` stands for its parts where there is one.
    """
    names = {"return": RETURN, "return_ma": AVERAGE}
    parts = () if "loss" in rows and bool(rows["loss"].notna().any()) else ("policy_loss", "value_loss")
    names |= {
        name: title for name, title in PANELS.items() if name not in ("policy_loss", "value_loss") or name in parts
    }
    pieces = []
    for port, label in labels.items():
        own = of_port(rows, port)
        for column, title in names.items():
            if column in own:
                shown = pd.DataFrame({"frame": own["frame"], "value": own[column]}).dropna()
                pieces.append(shown.assign(port=label, quantity=title))
    return _tidy(pieces, ["port", "quantity", "frame", "value"])


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
    return _tidy(pieces, ["port", "curve", "state", "frame", "value", "low", "high"])


def experiment_table(experiment: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """What an experiment graph shows: `trial, objective, key, value`, for each searched key and finished trial.

    `experiment` is experiment.csv; `names` maps searched paths to what they are called here.
    """
    known = experiment.loc[experiment["objective"].notna(), ["trial", "objective", *names]]
    pieces = [
        known[["trial", "objective"]].assign(key=name, value=known[path]).dropna(subset="value")
        for path, name in names.items()
    ]
    return _tidy(pieces, ["trial", "objective", "key", "value"])


def _tidy(pieces: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    filled = [piece for piece in pieces if len(piece)]
    table = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
    return table.reindex(columns=columns)


# --- figures ---------------------------------------------------------------------------------------------------------


def session_graph(table: pd.DataFrame, title: str, subtitle: str = "", standard: Standard | None = None) -> go.Figure:
    """A session's return and its moving average over frames; below, what the algorithm reported, one panel each.

    `table` is of `session_table`; `standard` draws its two returns as dotted lines.
    """
    panels = [name for name in PANELS.values() if name in set(table["quantity"])]
    cols = 3 if len(panels) in (3, 5, 6) else max(1, min(len(panels), 2))
    below = -(-len(panels) // cols)
    top, pitch = 340, 190
    figure = make_subplots(
        rows=1 + below,
        cols=cols,
        specs=[
            [{"colspan": cols}, *[None] * (cols - 1)],
            *[[{} if row * cols + col < len(panels) else None for col in range(cols)] for row in range(below)],
        ],
        row_heights=[top, *[pitch - 60] * below],
        vertical_spacing=70 / (top + pitch * below) if below else 0,
        horizontal_spacing=0.1,
    )
    several = len(set(table["port"])) > 1
    for colour, (port, own) in zip(cycle(COLOURS), _split(table, "port")):
        for quantity, values in _split(own, "quantity"):
            style: dict[str, Any] = {"line": {"color": colour, "width": 1.6}, "showlegend": False}
            row, col = 1, 1
            if quantity == RETURN:
                thin = {"color": colour, "width": 1}
                style = {"line": thin, "opacity": 0.35, "name": RETURN, "showlegend": not several}
            elif quantity == AVERAGE:
                thick = {"color": colour, "width": 2.6}
                style = {"line": thick, "name": port if several else AVERAGE, "showlegend": True}
            else:
                place = panels.index(quantity)
                row, col = 2 + place // cols, 1 + place % cols
            hover = f"{port}: {quantity}" if several else quantity
            figure.add_trace(_line(values, hover, legendgroup=port if several else None, **style), row=row, col=col)
    _draw_standard(figure, standard)
    figure.update_yaxes(title_text="return", row=1, col=1)
    for place, name in enumerate(panels):
        figure.update_yaxes(title_text=name, nticks=5, row=2 + place // cols, col=1 + place % cols)
    figure.update_xaxes(title_text="frames")
    meaning = [f"thick: {AVERAGE}"] if several else list(table["port"].unique())
    finish(figure, title, ", ".join([*meaning, *([subtitle] if subtitle else [])]), top + pitch * below + 110)
    figure.update_xaxes(matches="x")
    return figure


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
    for colour, (port, own) in zip(cycle(COLOURS), _split(table, "port")):
        group = port if several else None
        mean = own.loc[own["curve"] == "mean"]
        band = mean.loc[mean["low"].notna()]
        if len(band):
            figure.add_trace(
                go.Scatter(
                    x=[*band["frame"], *band["frame"][::-1]],
                    y=[*band["high"], *band["low"][::-1]],
                    fill="toself",
                    fillcolor=_translucent(colour, 0.16),
                    line={"width": 0},
                    hoverinfo="skip",
                    name=SPREAD,
                    showlegend=not several,
                    legendgroup=group,
                    legendrank=1001,
                )
            )
        for curve, values in _split(own.loc[own["curve"] != "mean"], "curve"):
            failed_here = "FAILED" in set(values["state"])
            hover = (f"{port}: " if several else "") + curve + (" (FAILED)" if failed_here else "")
            line = {"color": colour, "width": 1, "dash": "dot" if failed_here else "solid"}
            figure.add_trace(_line(values, hover, line=line, opacity=0.45, showlegend=False, legendgroup=group))
        if len(mean):
            # means come last, to lie on top
            name = port if several else "mean of sessions"
            line = {"color": colour, "width": 2.8}
            figure.add_trace(_line(mean, name, line=line, name=name, showlegend=True, legendgroup=group))
    _draw_standard(figure, standard)
    figure.update_yaxes(title_text=f"return ({AVERAGE})")
    figure.update_xaxes(title_text="frames")
    meaning = [f"mean {SPREAD}" if has_band else "mean"] if several else list(table["port"].unique())
    count = counted(sessions, "session")
    dropped = [f"{failed} FAILED (dotted, not in the mean)"] if failed else []
    finish(figure, title, ", ".join([*meaning, count, *dropped]), 520)
    return figure


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


def speed_graph(table: pd.DataFrame, title: str) -> go.Figure:
    """Frames per second of a trial's program (all its sessions together) over frames; `table` is speed.csv."""
    figure = go.Figure(
        _line(table.rename(columns={"frames_per_second": "value"}), "speed", line={"color": COLOURS[0], "width": 2})
    )
    figure.update_yaxes(title_text="speed (frames/s, all sessions)", rangemode="tozero", tickformat="~s")
    figure.update_xaxes(title_text="frames of each session")
    finish(figure, title, "all sessions of the trial together", 420)
    figure.update_layout(showlegend=False)
    return figure


def _line(values: pd.DataFrame, hover: str, **style: Any) -> go.Scatter:
    template = f"%{{y:.4~g}} at %{{x:,}} frames<extra>{hover}</extra>"
    # a single point draws no line
    mode = "lines" if len(values) > 1 else "markers"
    # lists, not binary arrays: the same numbers give the same, readable HTML
    return go.Scatter(
        x=values["frame"].tolist(), y=values["value"].tolist(), mode=mode, hovertemplate=template, **style
    )


def _split(table: pd.DataFrame, column: str) -> list[tuple[str, pd.DataFrame]]:
    """The table's parts by the values of a column, in order of appearance."""
    return [(str(key), table.loc[table[column] == key]) for key in dict.fromkeys(table[column])]


def _translucent(colour: str, alpha: float) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def _draw_standard(figure: go.Figure, standard: Standard | None) -> None:
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


# --- files -----------------------------------------------------------------------------------------------------------


def write_figures(figures: Mapping[Path, go.Figure], home: Path) -> None:
    """Write each figure as `{path}.html` and `{path}.png`; `home` gets the plotly.min.js that all of them read.

    All PNG files are drawn in one start of the browser (2 s). Where there is no browser, or it fails, one line in the
    log says so and the HTML files stand.
    """
    if not figures:
        return
    script = home / "plotly.min.js"
    source = get_plotlyjs()
    if not script.exists() or script.read_text(encoding="utf-8") != source:
        write_whole(script, lambda file: file.write_text(source, encoding="utf-8"))
    for path, figure in figures.items():
        html = figure.to_html(
            include_plotlyjs=os.path.relpath(script.resolve(), path.resolve().parent).replace(os.sep, "/"),
            div_id=path.name,
            config={"displaylogo": False, "responsive": True},
        )
        write_whole(
            path.with_name(path.name + ".html"), lambda file, html=html: file.write_text(html, encoding="utf-8")
        )
    _write_png({path.with_name(path.name + ".png"): figure for path, figure in figures.items()})


def _write_png(figures: Mapping[Path, go.Figure]) -> None:
    # here, for it is slow to import and HTML needs none of it
    import kaleido
    from choreographer.browsers import BrowserClosedError, BrowserDepsError, BrowserFailedError, ChromeNotFoundError

    temporary = {path: path.with_name(f".{path.stem}.{os.getpid()}.tmp.png") for path in figures}
    jobs = [
        {
            "fig": figure,
            "path": temporary[path],
            "opts": {"format": "png", "width": 1000, "height": figure.layout.height, "scale": PNG_SCALE},
        }
        for path, figure in figures.items()
    ]
    try:
        # MathJax would be fetched from the network
        failures = kaleido.write_fig_from_object_sync(jobs, kopts={"mathjax": False})
    except ChromeNotFoundError:
        log.warning(BROWSER_HINT)
        return
    except (BrowserClosedError, BrowserDepsError, BrowserFailedError, TimeoutError) as error:
        log.warning(
            "the browser failed, so graphs are HTML only: %s", error.args[0] if error.args else type(error).__name__
        )
        return
    for failure in failures:
        log.warning("a graph could not be drawn as PNG: %s", failure)
    for path, drawn in temporary.items():
        if drawn.exists():
            drawn.replace(path)
