"""What trials had reached in mid-training, and who became a copy of whom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from slmx.analysis.files import TrialFiles, read_table, write_table
from slmx.analysis.objective import objective_of, trial_score
from slmx.analysis.trial import analyze_trial
from slmx.run_directory import LINEAGE, RUNGS


def score_now(directory: Path) -> float:
    """The objective of a trial that is under way, as if it ended now; NaN where it has none."""
    trial = TrialFiles(directory)
    table, row = analyze_trial(trial)
    now = row | {"state": "DONE"} if row["state"] == "RUNNING" else row
    return trial_score(trial, table, now, objective_of(trial))


def rung_scores(directory: Path) -> list[float | None]:
    """The objective of a trial at each rung that it came to; None where it had none."""
    path = directory / RUNGS
    if not path.exists():
        return []
    values = read_table(path, ("objective",))["objective"].astype(float)
    return [value if math.isfinite(value) else None for value in values]


def write_rungs(run: Path, trials: Sequence[TrialFiles]) -> None:
    """Gather what each trial noted of rungs or rounds into one table of the run, by frame."""
    for name in (RUNGS, LINEAGE):
        found = [(trial.number, trial.directory / name) for trial in trials if (trial.directory / name).exists()]
        if found:
            tables = [read_table(path, ("frame",)) for _, path in found]
            for (number, _), table in zip(found, tables, strict=True):
                table.insert(0, "trial", number)
            write_table(pd.concat(tables).sort_values(["frame", "trial"]), run / name)
