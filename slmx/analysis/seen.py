"""A search as its graphs show it, put together from its files; on the way, which of its keys matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from slmx.analysis import graph
from slmx.analysis.files import TrialFiles, read_json, write_table
from slmx.analysis.importance import importance_table
from slmx.analysis.objective import further_objectives, objective_of, short_names
from slmx.run_directory import SPACE

IMPORTANCE = "importance.csv"


def see_search(run: Path, trials: Sequence[TrialFiles], experiment: pd.DataFrame, paths: Sequence[str]) -> graph.Seen:
    """A search over `paths`, of which `experiment` is experiment.csv; writes importance.csv, or takes it away.

    Keys are called by the shortest names that tell them apart.
    """
    objective, further = objective_of(trials[0]), further_objectives(trials[0])
    kinds, names = domain_kinds(run, paths), short_names(list(paths))
    importance, note = write_importance(run, experiment, kinds)
    beside = {column: f"{other.metric} (objective)" for column, other in further.items()}
    return graph.Seen(
        graph.experiment_table(experiment, names, beside),
        title=f"{trials[0].name}, search",
        goal=f"{objective.metric} ({objective.aggregate} of seeds)",
        sign=objective.sign,
        kinds={names[path]: kind for path, kind in kinds.items()} | dict.fromkeys(beside.values(), "uniform"),
        importance=importance.assign(key=[names[path] for path in importance["key"]]),
        note=note,
    )


def domain_kinds(run: Path, paths: Sequence[str]) -> dict[str, str | None]:
    """The kind of the domain that each path was searched over; None where nobody knows."""
    known = read_json(run / SPACE) if (run / SPACE).exists() else {}
    return {path: known.get(path, {}).get("kind") for path in paths}


def write_importance(run: Path, experiment: pd.DataFrame, kinds: Mapping[str, str | None]) -> tuple[pd.DataFrame, str]:
    """Write importance.csv where there is something to say; returns it, and if it is empty, why."""
    table, note = importance_table(experiment, kinds)
    if len(table):
        write_table(table, run / IMPORTANCE)
    else:
        (run / IMPORTANCE).unlink(missing_ok=True)
    return table, note
