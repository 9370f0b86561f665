"""Which trial of a search is the best."""

from __future__ import annotations

from pathlib import Path

from slmx.analysis.analyze import experiment_table, read_trials
from slmx.analysis.files import read_table
from slmx.analysis.objective import objective_of, ranked
from slmx.analysis.trial import analyze_trial
from slmx.run_directory import read_facts


def best_trial(run: Path) -> int | None:
    """The number of a search's best trial; None where none has come to its end, or the run is no search.

    By the test scores of its validation, else by experiment.csv; while the search has not come to its end, by the files
    of its trials.
    """
    trials = read_trials(run)
    if not trials or trials[0].setting is None:
        return None
    ended = (run / "run.json").exists() and read_facts(run)["state"] == "DONE"
    if ended and (run / "validation.csv").exists():
        tested = read_table(run / "validation.csv", ("rank", "trial"))
        if 1 in tested["rank"].tolist():
            return int(tested.loc[tested["rank"] == 1, "trial"].iloc[0])
    if ended and (run / "experiment.csv").exists():
        experiment = read_table(run / "experiment.csv", ("trial", "state", "failed", "objective"))
    else:
        experiment = experiment_table(trials, [analyze_trial(trial)[1] for trial in trials])
    best = ranked(experiment, objective_of(trials[0]).sign)
    return int(best["trial"].iloc[0]) if len(best) else None
