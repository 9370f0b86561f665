"""The objective of a search: one number a trial, made of what its seeds reached. What is not a number never wins.

A failed seed stands with a floor: the worst finished seed, or random play where that is worse. So it can only make its
trial worse, whatever the sign of returns and whichever way is up.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from slmx.analysis import fitness
from slmx.analysis.files import FAILED, TrialFiles
from slmx.analysis.statistics import bootstrap_interval, iqm, mean
from slmx.metric import RETURN_COLUMNS, TRIAL_METRICS

AGGREGATES: dict[str, Callable[[np.ndarray], Any]] = {
    "mean": mean,
    "iqm": iqm,
    "worst": lambda values: np.min(values, axis=-1),
    "lcb": lambda values: np.apply_along_axis(lambda own: bootstrap_interval(own)[0], -1, values),
}
"""From goodness over seeds (more is better) to one number, `[..., n] -> [...]`."""


@dataclass(frozen=True)
class Objective:
    """What a search looks for; the keys of meta.objective."""

    metric: str
    mode: str
    aggregate: str

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self.mode == "max" else -1

    def score(self, values: ArrayLike, failed: int = 0, random: float | None = None) -> float:
        """One number from those of the finished seeds, `[n]`; NaN where there is none.

        `random`: what random play reaches, if it is known.
        """
        filled = self.fill(values, failed, random)
        return float(self.over(filled)) if len(filled) and np.isfinite(filled).all() else math.nan

    def fill(self, values: ArrayLike, failed: int, random: float | None) -> NDArray[np.float64]:
        """What each seed counts as, `[n] -> [n + failed]`: failed ones come last, with the floor."""
        floor = math.inf if random is None else self.sign * random
        return self.sign * fitness.fill_failed(self.sign * np.asarray(values, float), failed, floor)

    def over(self, seeds: ArrayLike) -> NDArray[np.float64]:
        """One number from what all seeds count as, `[..., n] -> [...]`."""
        return self.sign * np.asarray(AGGREGATES[self.aggregate](self.sign * np.asarray(seeds, float)))


def objective_of(trial: TrialFiles) -> Objective:
    """What the trial's search looks for, as its spec says."""
    return Objective(**trial.record["spec"]["meta"]["objective"])


def further_objectives(trial: TrialFiles) -> dict[str, Objective]:
    """What the trial's searcher weighs beside the objective, by the columns of experiment.csv."""
    meta = trial.record["spec"]["meta"]
    goals = meta.get("search_spec", {}).get("objectives", [])
    return {
        f"objective_{goal['metric']}": Objective(aggregate=meta["objective"]["aggregate"], **goal) for goal in goals
    }


def trial_score(trial: TrialFiles, table: pd.DataFrame, row: Mapping[str, Any], objective: Objective) -> float:
    """An objective of a trial, from its table and its row of experiment.csv; NaN unless it came to its end."""
    if row["state"] != "DONE":
        return math.nan
    if objective.metric in TRIAL_METRICS:
        return float(row.get(objective.metric, math.nan))
    seeds = seed_values(trial, table, objective)
    return float(objective.over(seeds)) if np.isfinite(seeds).all() else math.nan


def seed_values(trial: TrialFiles, table: pd.DataFrame, objective: Objective) -> pd.Series:
    """What each seed of a trial counts as in an objective, by session; NaN where the trial has no number.

    A seed's own number is the mean over its ports; failed ones stand with the floor.
    """
    own = table.loc[table["state"] != FAILED].groupby("session")[objective.metric]
    values = own.agg(lambda of_ports: of_ports.to_numpy(float).mean())
    failed = [session.session for session in trial.sessions if session.failed]
    random: float | None = 0.0
    if objective.metric in RETURN_COLUMNS:
        standards = [trial.standard(env) for env in range(len(trial.envs))]
        random = standards[0].rand_return if standards[0] is not None else None
    filled = objective.fill(values, len(failed), random)
    return pd.Series(filled, [*values.index, *failed], name="value").sort_index()


def ranked(experiment: pd.DataFrame, sign: int) -> pd.DataFrame:
    """The trials that have an objective, best first; of equal ones first those with fewer failed seeds."""
    known = experiment.loc[(experiment["state"] == "DONE") & np.isfinite(experiment["objective"].astype(float))]
    order = known.assign(_goodness=-sign * known["objective"].astype(float))
    return known.loc[order.sort_values(["_goodness", "failed", "trial"]).index]


def pareto_front(experiment: pd.DataFrame, signs: Mapping[str, int]) -> pd.Series:
    """Whether no other trial is better in one objective and as good in all others; None of one that lacks a number.

    `signs`: 1 where more is better, -1 where less is, by column.
    """
    goodness = experiment[list(signs)].to_numpy(float) * np.array(list(signs.values()))
    goodness[(experiment["state"] != "DONE").to_numpy() | ~np.isfinite(goodness).all(1)] = np.nan
    front = [
        None if np.isnan(own).any() else not ((goodness >= own).all(1) & (goodness > own).any(1)).any()
        for own in goodness
    ]
    return pd.Series(front, experiment.index, object)


def cell(value: Any) -> Any:
    """A setting's value as a table shows it: a list or a schedule as JSON."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def short_names(paths: list[str]) -> dict[str, str]:
    """Each path's shortest ending that no other has: `agent.0.algorithm.gamma` is called `gamma`."""
    names = {}
    for path in paths:
        parts = path.split(".")
        endings = [".".join(parts[i:]) for i in range(len(parts) - 1, -1, -1)]
        others = [other for other in paths if other != path]
        names[path] = next(
            (end for end in endings if not any(f".{other}".endswith(f".{end}") for other in others)), path
        )
    return names
