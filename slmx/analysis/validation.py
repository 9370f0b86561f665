"""The validation of a search: what the settings it chose reach on seeds that it has not seen, beside the spec's own.

A tuned score is the best of many on the very seeds by which it was chosen, and so too good. All settings are tested on
the same seeds, and the intervals draw the same ones for all of them: a difference is one of pairs. What is drawn is the
run, never the episode. A failed seed counts as in the search.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slmx.analysis.files import TrialFiles
from slmx.analysis.objective import objective_of, ranked, seed_values
from slmx.analysis.statistics import RESAMPLES, draw_runs, percentile_interval
from slmx.analysis.trial import session_vectors, summarize
from slmx.metric import TRIAL_METRICS

NAME = "validation"  # the folder in a search's directory where its settings are tested
COLUMNS = (
    *("rank", "trial", "tuned_score", "test_score", "test_low", "test_high", "gap"),
    *("difference", "difference_low", "difference_high", "sessions", "failed", "state"),
)
RUN_COLUMNS = ("trial", "session", "state", "value")
SLOW_RESAMPLES = 1_000  # of a score that takes a millisecond to make


def comparison(
    tuned: pd.DataFrame, tested: pd.DataFrame, trials: Sequence[TrialFiles], tables: Sequence[pd.DataFrame]
) -> pd.DataFrame:
    """A row per tested setting with `COLUMNS`, best test score first; without one it has no rank.

    `tuned` is experiment.csv of the search, `tested` that of its validation, whose `trials` have `tables`, trial.csv.
    `gap` is the test score minus the tuned score; `difference` the test score minus that of the spec's own setting
    (trial 0). Intervals are of 95 %: the middle of what the score is over resampled runs.
    """
    before = dict(zip(tuned["trial"].tolist(), tuned["objective"].astype(float).tolist(), strict=True))
    drawn = {trial.number: drawn_scores(trial, table) for trial, table in zip(trials, tables, strict=True)}
    found = {row["trial"]: row for row in tested.to_dict("records")}
    best = ranked(tested, objective_of(trials[0]).sign)["trial"].tolist()
    own, own_drawn = found.get(0, {}).get("objective", math.nan), drawn.get(0, np.array([math.nan]))
    rows = []
    for number in dict.fromkeys([*best, *found]):
        score, tuned_score = found[number]["objective"], before.get(number, math.nan)
        row = {key: found[number][key] for key in ("trial", "sessions", "failed", "state")}
        row |= {"rank": best.index(number) + 1 if number in best else None}
        row |= {"tuned_score": tuned_score, "test_score": score, "gap": score - tuned_score}
        row["test_low"], row["test_high"] = percentile_interval(drawn[number], row["sessions"])
        if number:
            row["difference"] = score - own
            row["difference_low"], row["difference_high"] = percentile_interval(
                drawn[number] - own_drawn, row["sessions"]
            )
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"rank": "Int64"})


def drawn_scores(trial: TrialFiles, table: pd.DataFrame) -> NDArray[np.float64]:
    """A trial's objective over resampled runs, `[resamples]`; one NaN where the trial has none."""
    objective, count = objective_of(trial), len(trial.sessions)
    if any(session.state not in ("DONE", "FAILED") for session in trial.sessions):
        return np.array([math.nan])
    if objective.metric not in TRIAL_METRICS:
        seeds = seed_values(trial, table, objective_of(trial)).to_numpy()
        return objective.over(seeds[draw_runs(count, SLOW_RESAMPLES if objective.aggregate == "lcb" else RESAMPLES)])
    vectors = session_vectors(trial)
    samples = ([trial.sessions[i] for i in places] for places in draw_runs(count, SLOW_RESAMPLES))
    scores = np.array([summarize(trial, sessions, vectors).get(objective.metric, math.nan) for sessions in samples])
    known = scores[~np.isnan(scores)]
    # failed runs alone have no number: they count as the worst that there is
    worst = objective.sign * (objective.sign * known).min() if len(known) else math.nan
    return np.where(np.isnan(scores), worst, scores)


def run_table(trials: Sequence[TrialFiles], tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """What each run counts as, a row per setting and session; none of an objective that only all runs have together."""
    rows = []
    for trial, table in zip(trials, tables, strict=True):
        if objective_of(trial).metric not in TRIAL_METRICS:
            values = seed_values(trial, table, objective_of(trial))
            rows += [(trial.number, s.session, s.state, values[s.session]) for s in trial.sessions]
    return pd.DataFrame(rows, columns=list(RUN_COLUMNS))


def verdict(row: Mapping[str, Any], sign: int) -> str:
    """How a setting compares with the spec's own, in words; `row` is one of validation.csv, `sign` the objective's.

    Better and worse are said where the whole interval of the difference is.
    """
    if math.isnan(row["test_score"]):
        return f"no test score: {row['state']}"
    if not row["trial"]:
        return "the default"
    if math.isnan(row["difference"]):
        return "the default has no test score to compare with"
    by, low, high = (row[key] for key in ("difference", "difference_low", "difference_high"))
    by, low, high = (by, low, high) if sign > 0 else (-by, -high, -low)
    if low > 0:
        by, low, high = alike(by, low, high)
        return f"better than the default by {by} [{low}, {high}]"
    if high < 0:
        by, low, high = alike(-by, -high, -low)
        return f"worse than the default by {by} [{low}, {high}]"
    by, low, high = alike(row["difference"], row["difference_low"], row["difference_high"])
    return f"not distinguishable from the default: difference {by} [{low}, {high}]"


def alike(*values: float) -> list[str]:
    """Numbers as they are shown side by side: with equally many decimals, and four digits of the largest."""
    size = max((abs(value) for value in values if not math.isnan(value)), default=0.0)
    decimals = max(0, 3 - math.floor(math.log10(size))) if size else 0
    return ["-" if math.isnan(value) else f"{value:.{decimals}f}" for value in values]
