"""The graph of a search: its trials in order, which keys matter, and the objective against each searched key."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from slmx.analysis.graph.style import COLOURS, FAINT, INK, finish, tidy
from slmx.analysis.scale import Scale, scale_of
from slmx.errors import counted

LOST = {"FAILED": ("failed", "x-thin", COLOURS[7]), "CULLED": ("culled", "line-ns", FAINT)}
"""States without an objective that are marked nevertheless: name, symbol, colour."""
TOP, ROW, GAP = 320, 190, 76  # pixels: heights of the first panel and of those of keys, and what lies between them
COLUMNS = 6  # of the grid: one, two or three keys a row divide it
MOST_BARS, BAR = 8, 15  # keys whose importance is drawn, and pixels of a bar
JITTER = 0.22  # of the distance between categories, to each side
WIDEST = 16  # characters of a category on an axis
FEW, CROWD = 12, 60  # trials up to which each has a tick, and from which on points are smaller


@dataclass(frozen=True)
class Seen:
    """A search as its graphs show it.

    `table` is of `experiment_table`; `goal` names the objective, `sign` is 1 where more of it is better, else -1.
    `kinds`: of the domains, by key, as far as they are known. `importance` is importance.csv with the names of keys
    that the table has, and `note` says why it is empty.
    """

    table: pd.DataFrame
    title: str
    goal: str
    sign: int = 1
    kinds: Mapping[str, str | None] = field(default_factory=dict)
    importance: pd.DataFrame = field(default_factory=pd.DataFrame)
    note: str = ""

    @property
    def keys(self) -> list[str]:
        """Searched keys, and further objectives before them."""
        return list(dict.fromkeys(self.table["key"].dropna()))

    @property
    def trials(self) -> pd.DataFrame:
        """A row per trial, in order."""
        return self.table.drop_duplicates("trial").sort_values("trial")

    @property
    def done(self) -> pd.DataFrame:
        """Those of them that have an objective."""
        return self.trials.dropna(subset="objective")

    @property
    def best(self) -> int | None:
        """The trial with the best objective, the first of equals."""
        return int(self.done.loc[(self.sign * self.done["objective"]).idxmax(), "trial"]) if len(self.done) else None

    @property
    def limits(self) -> tuple[float, float, float]:
        """The ends of an axis of the objective, and at the worse one where trials are marked that have none."""
        if not len(self.done):
            return -1.0, 1.0, 0.0
        objective = self.done["objective"].to_numpy(float)
        least, most = float(objective.min()), float(objective.max())
        spread = (most - least) or abs(most) or 1.0
        low, high = least - 0.08 * spread, most + 0.08 * spread
        foot = least - 0.11 * spread if self.sign > 0 else most + 0.11 * spread
        if set(self.trials["state"]) & set(LOST):
            low, high = (low - 0.08 * spread, high) if self.sign > 0 else (low, high + 0.08 * spread)
        return low, high, foot

    def of_key(self, key: str) -> tuple[pd.DataFrame, Scale]:
        """The rows of one key, and how its values lie."""
        own = self.table.loc[self.table["key"] == key]
        return own, scale_of(own["value"], self.kinds.get(key))


def experiment_table(
    experiment: pd.DataFrame, names: Mapping[str, str], further: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """What an experiment graph shows: `trial, state, objective, front, key, value`, for each key and trial.

    `experiment` is experiment.csv; `names` maps searched paths to what they are called here, `further` likewise the
    columns of further objectives. `front`: whether the trial is on the Pareto front, where there is one.
    """
    base = experiment.reindex(columns=["trial", "state", "objective", "pareto"]).rename(columns={"pareto": "front"})
    base = base.assign(front=base["front"].eq(True), objective=base["objective"].astype(float))
    pieces = [base.assign(key=name, value=experiment[path]) for path, name in {**(further or {}), **names}.items()]
    return tidy(pieces, ["trial", "state", "objective", "front", "key", "value"])


def experiment_graph(seen: Seen) -> go.Figure:
    """The objective over trials with the best so far, the importance of keys, and below a panel for each key.

    Points are coloured by objective; the spec's own setting is a diamond, the best trial has a ring, or each on the
    Pareto front. Trials that failed or were culled are marked at the worse end of each panel.
    """
    keys, has_bars = seen.keys, len(seen.importance) > 0
    figure, places = panels(len(keys), has_bars)
    finish(figure, seen.title, subtitle(seen), 170 + TOP + -(-len(keys) // per_row(len(keys))) * (ROW + GAP))
    over_trials = seen.trials.assign(x=seen.trials["trial"], text="")
    figure.add_traces([best_so_far(seen), *points(seen, over_trials, legend=True)], 1, 1)
    few = {"dtick": 1} if len(over_trials) < FEW else {}
    figure.update_xaxes(few, title_text="trial", tickformat="d", row=1, col=1)
    for key, place in zip(keys, places, strict=True):
        draw_key(figure, seen, key, place)
    if has_bars:
        draw_importance(figure, seen.importance)
    low, high, _ = seen.limits
    for row, column in [(1, 1), *places]:
        title = "objective" if column == 1 else None
        ticks = {"range": [low, high], "tickformat": "~g", "showticklabels": bool(len(seen.done))}
        figure.update_yaxes(ticks, title_text=title, row=row, col=column)
    figure.update_xaxes(rangemode="normal")
    figure.update_layout(
        showlegend=bool(len(seen.trials)),
        coloraxis={"colorscale": "Viridis", "reversescale": seen.sign < 0, "showscale": bool(len(seen.done))},
    )
    bar = {
        "title": {"text": "objective<br>&nbsp;", "font": {"size": 13}},
        "thickness": 12,
        "outlinewidth": 0,
        "lenmode": "pixels",
        "len": TOP,
    }
    figure.update_coloraxes(colorbar=bar | {"y": 1, "yanchor": "top"})
    return figure


def per_row(keys: int) -> int:
    """How many keys stand beside one another."""
    return {0: 1, 1: 1, 2: 2, 4: 2}.get(keys, 3)


def panels(keys: int, has_bars: bool) -> tuple[go.Figure, list[tuple[int, int]]]:
    """An empty figure, and where in its grid (row, column) the panel of each key is."""
    span, below = COLUMNS // per_row(keys), -(-keys // per_row(keys))
    specs: list[list[Any]] = [[None] * COLUMNS for _ in range(1 + below)]
    specs[0][0] = {"colspan": 4 if has_bars else COLUMNS}
    if has_bars:
        specs[0][4] = {"colspan": 2}
    places = [(2 + i // per_row(keys), 1 + span * (i % per_row(keys))) for i in range(keys)]
    for row, column in places:
        specs[row - 1][column - 1] = {"colspan": span}
    figure = make_subplots(
        1 + below, COLUMNS, specs=specs, row_heights=[TOP, *[ROW] * below], horizontal_spacing=0.045,
        vertical_spacing=GAP / (TOP + below * (ROW + GAP)),
    )  # fmt: skip
    return figure, places


def draw_key(figure: go.Figure, seen: Seen, key: str, place: tuple[int, int]) -> None:
    """The objective against one key."""
    row, column = place
    own, scale = seen.of_key(key)
    x = scale.places(own["value"])
    figure.update_xaxes(title_text=key, tickformat="~g", nticks=6, row=row, col=column)
    if scale.categories:  # side by side, for many trials share one
        x = [at + JITTER * aside(trial) for at, trial in zip(x, own["trial"], strict=True)]
        texts = [text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…" for text in scale.categories]
        ticks = {"tickvals": list(range(len(texts))), "ticktext": texts, "range": [-0.5, len(texts) - 0.5]}
        figure.update_xaxes(ticks, row=row, col=column)
    elif scale.is_log:
        x = [10**at for at in x]
        steps = {"dtick": 1, "tickformat": "~e"} if decades(x) > 1.5 else {"dtick": "D2"}
        figure.update_xaxes(steps, type="log", row=row, col=column)
    texts = [f", {key} {value}" for value in own["value"]]
    placed = own.assign(x=x, text=texts).loc[[not math.isnan(at) for at in x]]
    figure.add_traces(points(seen, placed), row, column)


def points(seen: Seen, rows: pd.DataFrame, legend: bool = False) -> list[go.Scatter]:
    """A point for each trial of `rows` at its `x`, marks for those without an objective, and rings."""
    size = 9 if len(rows) <= CROWD else 7
    done, is_own = rows["objective"].notna(), rows["trial"] == 0
    coloured = {"coloraxis": "coloraxis", "line": {"color": "white", "width": 0.8}}
    traces = []
    for which, name, style in (
        (done & ~is_own, "", {"symbol": "circle", "size": size, **coloured}),
        (done & is_own, "the spec's own", {"symbol": "diamond", "size": size + 3, **coloured}),
    ):
        shown = rows.loc[which]
        traces.append(marks(shown, shown["objective"], name, style | {"color": shown["objective"].tolist()}, legend))
    for state, (name, symbol, colour) in LOST.items():
        shown = rows.loc[~done & (rows["state"] == state)]
        style = {"symbol": symbol, "size": 6, "color": colour, "line": {"width": 1.3, "color": colour}}
        traces.append(marks(shown, [seen.limits[2]] * len(shown), name, style, legend))
    has_front = bool(rows["front"].any())
    name, ringed = ("Pareto front", rows["front"]) if has_front else ("best", rows["trial"] == seen.best)
    shown = rows.loc[done & ringed]
    style = {"symbol": "circle-open", "size": size + 8, "color": INK, "line": {"width": 1.6}}
    return [*traces, marks(shown, shown["objective"], name, style, legend)]


def marks(rows: pd.DataFrame, y: Iterable[float], name: str, marker: dict[str, Any], legend: bool) -> go.Scatter:
    """Markers at the `x` of `rows`, in the legend if they have a name there and there are any."""
    number = "" if name in (own[0] for own in LOST.values()) else ": %{y:.4~g}"
    state = f" ({name})" if name else ""
    return go.Scatter(
        x=rows["x"].tolist(), y=list(y), mode="markers", marker=marker, name=name, legendgroup=name or None,
        showlegend=legend and bool(name) and len(rows) > 0,
        text=[f"trial {trial}{text}" for trial, text in zip(rows["trial"], rows["text"], strict=True)],
        hovertemplate=f"%{{text}}{state}{number}<extra></extra>",
    )  # fmt: skip


def best_so_far(seen: Seen) -> go.Scatter:
    """A step wherever a trial is better than all before it."""
    done = seen.done
    best = (seen.sign * done["objective"]).cummax() * seen.sign
    x, y = done["trial"].tolist(), best.tolist()
    if len(done):
        x, y = [*x, seen.trials["trial"].iloc[-1].item()], [*y, y[-1]]
    line = {"color": INK, "width": 1.3, "shape": "hv"}
    return go.Scatter(x=x, y=y, mode="lines", line=line, name="best so far", hoverinfo="skip")


def draw_importance(figure: go.Figure, importance: pd.DataFrame) -> None:
    """A bar for each key, the most important on top, its name above it."""
    shown = importance.head(MOST_BARS)
    rows = list(range(len(shown)))[::-1]
    width = BAR * len(rows) / TOP
    bars = go.Bar(
        x=shown["importance"].tolist(), y=rows, orientation="h", width=width, marker={"color": COLOURS[0]},
        text=[f"{100 * share:.0f} %" for share in shown["importance"]], textposition="outside", showlegend=False,
        textfont={"color": INK, "size": 12}, cliponaxis=False, hoverinfo="skip",
    )  # fmt: skip
    figure.add_trace(bars, 1, 5)
    for row, key in zip(rows, shown["key"], strict=True):
        figure.add_annotation(
            x=0,
            y=row + width / 2,
            text=str(key),
            showarrow=False,
            xanchor="left",
            yanchor="bottom",
            font_size=12,
            row=1,
            col=5,
        )
    explained = f"importance ({100 * float(shown['explained'].iloc[0]):.0f} % explained)"
    figure.update_xaxes(
        title_text=explained,
        range=[0, 1.2 * shown["importance"].iloc[0]],
        showticklabels=False,
        ticks="",
        row=1,
        col=5,
    )
    figure.update_yaxes(visible=False, range=[-0.5, len(shown) - 0.4], row=1, col=5)


def subtitle(seen: Seen) -> str:
    """What is shown, how many trials there are, and which is the best."""
    counts = seen.trials["state"].value_counts()
    said = [seen.goal, counted(len(seen.trials), "trial")]
    said += [f"{counts[state]} {name}" for state, (name, *_) in LOST.items() if state in counts]
    if seen.best is not None:
        best = seen.done.loc[seen.done["trial"] == seen.best, "objective"].iloc[0]
        said.append(f"best {best:.4g} (trial {seen.best})")
    return ", ".join([*said, *([seen.note] if seen.note else [])])


def aside(trial: int) -> float:
    """A trial's place to the side of its category, from -1 to 1: spread evenly, and always the same; 0 for trial 0."""
    return 2 * ((0.5 + trial * 0.6180339887) % 1) - 1


def decades(x: Iterable[float]) -> float:
    """How many powers of ten the values spread over."""
    known = [value for value in x if value > 0]
    return math.log10(max(known) / min(known)) if known else 0.0
