"""Which hyperparameters matter: how much of the objective's variance over the searched space each key makes alone.

fANOVA (Hutter, Hoos and Leyton-Brown, 2014) by Optuna, over the trials that came to their end. Its numbers are those of
a random forest, so they mean nothing where the forest does not foretell trials that it has not seen: then, and where
there are too few trials to tell, there are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slmx.analysis.scale import Scale, scale_of

FEWEST, EACH = 20, 5  # finished trials, and for each key: with fewer two active keys of six came first by luck alone
TREES = 64
COLUMNS = ("key", "importance", "trials", "explained")


def importance_table(experiment: pd.DataFrame, kinds: Mapping[str, str | None]) -> tuple[pd.DataFrame, str]:
    """A row per searched key, the most important first, and where there is none, why.

    `experiment` is experiment.csv, `kinds` maps the searched columns to the kinds of their domains. `importance` sums
    to 1 over the keys; `explained` is the share of the variance of trials left out that the forest foretells.
    """
    scales = {key: scale_of(experiment[key], kind) for key, kind in kinds.items()}
    places = pd.DataFrame({key: scale.places(experiment[key]) for key, scale in scales.items()})
    known = (experiment["objective"].notna() & places.notna().all(axis=1).to_numpy()).to_numpy()
    places, objective = places.loc[known], experiment.loc[known, "objective"].to_numpy(float)
    needed = max(FEWEST, EACH * len(kinds))
    none = pd.DataFrame(columns=list(COLUMNS))
    if len(kinds) < 2:
        return none, ""
    if len(objective) < needed:
        return none, f"importance of keys: known from {needed} finished trials on"
    explained = foretold(places, scales, objective) if np.ptp(objective) else 0.0
    if not explained > 0:
        return none, "importance of keys: cannot be told from these trials"
    shares = fanova(places, scales, objective)
    rows = [(key, share, len(objective), explained) for key, share in shares.items()]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.sort_values("importance", ascending=False, kind="stable", ignore_index=True), ""


def fanova(places: pd.DataFrame, scales: Mapping[str, Scale], objective: NDArray[np.float64]) -> dict[str, float]:
    """The share of each key, as Optuna makes it out."""
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    distributions: dict[str, BaseDistribution] = {}
    for key, scale in scales.items():
        if scale.categories:
            distributions[key] = CategoricalDistribution(list(range(len(scale.categories))))
        else:
            numbers = places[key].to_numpy(float)
            distributions[key] = FloatDistribution(float(numbers.min()), float(numbers.max()))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    for row, value in zip(places.to_dict("records"), objective.tolist(), strict=True):
        params = {key: int(x) if scales[str(key)].categories else float(x) for key, x in row.items()}
        study.add_trial(optuna.create_trial(value=value, params=params, distributions=distributions))  # type: ignore[arg-type]
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(n_trees=TREES, seed=0))
    return {key: float(found.get(key, 0.0)) for key in scales}


def foretold(places: pd.DataFrame, scales: Mapping[str, Scale], objective: NDArray[np.float64]) -> float:
    """The share of the variance of trials that a forest explains which has not seen them (out of bag)."""
    from sklearn.ensemble import RandomForestRegressor

    columns: list[Any] = []
    for key, scale in scales.items():
        x = places[key].to_numpy(float)
        columns += [x == place for place in range(len(scale.categories))] if scale.categories else [x]
    forest = RandomForestRegressor(TREES, oob_score=True, random_state=0)
    return float(forest.fit(np.stack(columns, axis=1), objective).oob_score_)
