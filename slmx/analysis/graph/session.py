"""The graph of one session: its return over frames, and below it what its algorithm reported."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from slmx.analysis.files import Port, of_port
from slmx.analysis.graph.style import AVERAGE, COLOURS, draw_standard, finish, line_over_frames, split, tidy
from slmx.analysis.standards import Standard

RETURN = "return"
PANELS = {
    "loss": "loss",
    "policy_loss": "policy loss",
    "value_loss": "value loss",
    "entropy": "entropy (nats)",
    "explore": "exploration",
    "lr": "learning rate",
}
"""Columns of a session's table that the session graph shows below the return, where present, and their axis titles."""


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
    return tidy(pieces, ["port", "quantity", "frame", "value"])


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
    for colour, (port, own) in zip(cycle(COLOURS), split(table, "port")):
        for quantity, values in split(own, "quantity"):
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
            figure.add_trace(
                line_over_frames(values, hover, legendgroup=port if several else None, **style), row=row, col=col
            )
    draw_standard(figure, standard)
    figure.update_yaxes(title_text="return", row=1, col=1)
    for place, name in enumerate(panels):
        figure.update_yaxes(title_text=name, nticks=5, row=2 + place // cols, col=1 + place % cols)
    figure.update_xaxes(title_text="frames")
    meaning = [f"thick: {AVERAGE}"] if several else list(table["port"].unique())
    finish(figure, title, ", ".join([*meaning, *([subtitle] if subtitle else [])]), top + pitch * below + 110)
    figure.update_xaxes(matches="x")
    return figure
