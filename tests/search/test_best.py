"""Which trial of a search is played and drawn, among failed, culled and unfinished ones. Without Ray."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from slmx import lab, play
from slmx.analysis.analyze import analyze
from slmx.analysis.best import best_trial
from slmx.errors import SlmxError
from slmx.run_directory import write_state
from slmx.search.job import Job
from tests.command import call
from tests.search.test_job import finish, order_of


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A search under way, of which four trials came to their end."""
    directory = tmp_path / "run"
    directory.mkdir()
    write_state(directory, "search", "RUNNING")
    finish(Job(order_of(directory, [0.9, 0.95, 0.99, 0.5])))
    shutil.copy(directory / "trial_0" / "spec.json", directory)
    return directory


def scores(run: Path) -> dict[int, float]:
    """The mean greedy return of each trial."""
    found = {}
    for trial in run.glob("trial_*"):
        tables = [pd.read_csv(trial / f"eval_{s}.csv")["return"].mean() for s in (0, 1)]
        found[int(trial.name.removeprefix("trial_"))] = sum(tables) / 2
    return found


def leave(run: Path, trial: int, state: str) -> None:
    """Say of a trial that all its sessions ended so."""
    path = run / f"trial_{trial}" / "sessions.json"
    path.write_text(json.dumps([session | {"state": state} for session in json.loads(path.read_text())]))


def test_the_best_trial_is_the_one_of_the_best_objective_that_came_to_its_end(run: Path) -> None:
    by_score = scores(run)
    order = sorted(by_score, key=lambda trial: (-by_score[trial], trial))
    assert best_trial(run) == order[0]
    for place, state in enumerate(("CULLED", "FAILED", "STOPPED")):
        leave(run, order[place], state)
        assert best_trial(run) == order[place + 1], f"{state} is not the best"
    leave(run, order[3], "FAILED")
    assert best_trial(run) is None
    assert play.find_trial(run) == run / "trial_0", "then the first that left a model"


def test_a_finished_search_has_its_best_trial_in_its_table(run: Path) -> None:
    analyze(run, graphs=False)
    path = run / "experiment.csv"
    table = pd.read_csv(path)
    worst = int(table["objective"].idxmin())
    table.loc[worst, "objective"] = 1e9
    table.to_csv(path, index=False)
    assert best_trial(run) != worst, "it is under way, and the table may be of an earlier time"
    write_state(run, "search", "DONE")
    assert best_trial(run) == worst
    tested = pd.DataFrame({"rank": [1, 2, None], "trial": [2, 1, 3], "test_score": [7.0, 5.0, None]})
    tested.to_csv(run / "validation.csv", index=False)
    assert best_trial(run) == 2, "on seeds that it was not chosen by"
    tested.assign(rank=None).to_csv(run / "validation.csv", index=False)
    assert best_trial(run) == worst
    assert best_trial(run / "trial_0") is None


def test_enjoy_plays_the_best_trial_and_says_so(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(run, 0, "CULLED")  # else the first might be the best
    best = best_trial(run)
    played = lab.enjoy(run)
    assert (played.trial, played.session) == (best, 0) and played.repeats
    assert lab.enjoy(run / "trial_0").trial == 0
    assert call(monkeypatch, "enjoy", run) == 0
    assert capsys.readouterr().out.startswith(f"trial {best}, session 0: return ")
    assert call(monkeypatch, "analyze", run) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    drawn = f"the search and trial {best}, the best by its objective"
    assert said == f"drawn: {drawn}; slmx analyze {run}/trial_N draws a trial"
    assert (run / f"trial_{best}" / "trial_graph.html").exists() and not (run / "trial_0/trial_graph.html").exists()


def test_nothing_is_played_of_what_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "trial_0").mkdir()
    with pytest.raises(SlmxError, match="no trained model here"):
        play.find_trial(tmp_path)
