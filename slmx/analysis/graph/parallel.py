"""Parallel coordinates: each trial of a search as a line through its values, to be narrowed down by the mouse."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go

from slmx.analysis.graph.experiment import Seen
from slmx.analysis.graph.style import INK, finish
from slmx.analysis.scale import Scale

HEIGHT = 460
LONG = 16  # characters of a key from which on names are turned


def parallel_graph(seen: Seen) -> go.Figure:
    """An axis for each key, the objective last; a line for each trial that has an objective and a place on all axes."""
    done = seen.done.set_index("trial")
    columns = {}
    for key in seen.keys:
        own, scale = seen.of_key(key)
        columns[key] = own.set_index("trial")["value"].reindex(done.index), scale
    places = {key: scale.places(values) for key, (values, scale) in columns.items()}
    whole = [i for i in range(len(done)) if not any(math.isnan(at[i]) for at in places.values())]
    objective = [float(done["objective"].iloc[i]) for i in whole]
    dimensions = [axis(key, [at[i] for i in whole], columns[key][1]) for key, at in places.items()]
    dimensions.append({"label": "objective", "values": objective, "tickformat": "~g"})
    line = {"color": objective, "colorscale": "Viridis", "reversescale": seen.sign < 0}
    figure = go.Figure(
        go.Parcoords(
            dimensions=dimensions, line=line, labelfont={"size": 13, "color": INK}, tickfont={"color": INK, "size": 11},
            rangefont={"color": "rgba(0,0,0,0)"}, labelangle=-10 if any(len(key) > LONG for key in seen.keys) else 0,
            unselected={"line": {"color": "#d5dbe1", "opacity": 0.25}},
        )
    )  # fmt: skip
    finish(figure, "Parallel coordinates", "drag along an axis to select trials, drag a name to move its axis", HEIGHT)
    figure.update_layout(margin={"t": 150, "l": 90, "r": 90})
    return figure


def axis(key: str, places: list[float], scale: Scale) -> dict[str, Any]:
    """One axis, in the words of its values."""
    dimension: dict[str, Any] = {"label": key, "values": places, "tickformat": "~g"}
    if scale.categories:
        ticks = list(range(len(scale.categories)))
        return dimension | {"tickvals": ticks, "ticktext": list(scale.categories), "range": [-0.2, len(ticks) - 0.8]}
    if not scale.is_log or not places:
        return dimension
    steps = (1, 2, 5) if max(places) - min(places) < 1.5 else (1,)
    exponents = range(math.floor(min(places)), math.ceil(max(places)) + 1)
    ticks = [math.log10(step) + exponent for exponent in exponents for step in steps]
    inside = [tick for tick in ticks if min(places) <= tick <= max(places)]
    ends = [min(places), max(places)]
    return dimension | {"range": ends, "tickvals": inside, "ticktext": [f"{10**tick:.4g}" for tick in inside]}
