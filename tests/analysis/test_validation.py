"""Validations by hand: literal runs in, literal scores, gaps and intervals out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pytest

from slmx.analysis import validation
from slmx.analysis.analyze import analyze, analyze_validation
from slmx.analysis.files import TrialFiles
from slmx.analysis.objective import AGGREGATES, objective_of, seed_values
from slmx.analysis.statistics import bootstrap_interval, draw_runs, percentile_interval
from slmx.analysis.trial import analyze_trial
from slmx.analysis.validation import COLUMNS, alike, verdict
from slmx.analysis.validation_graph import setting_text, validation_graph
from slmx.metric import TRIAL_METRICS

Runs = Sequence[float | None]
"""What each run's final evaluation reached; None where it failed."""


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer resamples of what takes long."""
    monkeypatch.setattr(validation, "SLOW_RESAMPLES", 100)


STANDARD = {"rand_return": 5.0, "std_return": 100.0, "std_frame": 1000, "source": "by hand"}


def write_trial(run: Path, number: int, returns: Runs, state: str = "DONE", **objective: str) -> None:
    """A trial of a search; each run's evaluation has two episodes, 1000 apart."""
    trial = run / f"trial_{number}"
    trial.mkdir(parents=True)
    goal = {"metric": "final_return", "mode": "max", "aggregate": "mean"} | objective
    spec = {"name": "hand", "agent": [{"name": "a"}], "env": [{"name": "World"}], "meta": {"objective": goal}}
    record = json.dumps({"spec": spec, "fitness": {"World": STANDARD}})
    for directory in (trial, run):
        (directory / "spec.json").write_text(record)
    (trial / "setting.json").write_text(json.dumps({"agent.0.algorithm.gamma": 0.9 + number / 100}))
    states = []
    for s, total in enumerate(returns):
        own = "FAILED" if total is None else state
        states.append({"session": s, "seed": 7, "state": own, "reason": "", "frame": 10})
        known = total or 0.0
        row = {"frame": 10, "agent": 0, "env": 0, "return": known, "return_ma": known, "length": 10, "opt_step": 1}
        pd.DataFrame([row]).to_csv(trial / f"session_{s}.csv", index=False)
        episodes = [row | {"frame": 10 * i + 10} for i in range(120)]
        pd.DataFrame(episodes).to_csv(trial / f"episodes_{s}.csv", index=False)
        ends = [row | {"return": known + half} for half in (-500, 500)] if total is not None else []
        pd.DataFrame(ends, columns=list(row)).to_csv(trial / f"eval_{s}.csv", index=False)
    (trial / "sessions.json").write_text(json.dumps(states))


def validated(root: Path, tuned: Mapping[int, float], tested: Mapping[int, Runs], **objective: str) -> pd.DataFrame:
    """The comparison of settings whose only run in the search reached `tuned`."""
    for number, value in tuned.items():
        write_trial(root, number, [value], **objective)
    for number, returns in tested.items():
        write_trial(root / "validation", number, returns, **objective)
    analyze(root, graphs=False)
    return pd.read_csv(root / "validation.csv")


def numbers(table: pd.DataFrame, *columns: str) -> list[list[float]]:
    return [[round(value, 6) for value in row] for row in table[list(columns)].to_numpy(float).tolist()]


def test_scores_gaps_and_paired_intervals(tmp_path: Path) -> None:
    """Of two pairs the mean difference over resamples is each of two with chance 1/4, their middle with 1/2."""
    table = validated(tmp_path, {0: 12, 1: 60, 2: 50, 3: 40}, {0: [0, 20], 1: [10, 20], 2: [7, 27], 3: [-8, 4]})
    assert list(table) == list(COLUMNS)
    assert numbers(table, "rank", "trial", "tuned_score", "test_score", "gap") == [
        [1, 2, 50, 17, -33], [2, 1, 60, 15, -45], [3, 0, 12, 10, -2], [4, 3, 40, -2, -42]
    ]  # fmt: skip
    assert numbers(table, "test_low", "test_high") == [[7, 27], [10, 20], [0, 20], [-8, 4]]
    assert numbers(table.drop(2), "difference", "difference_low", "difference_high") == [
        [7, 7, 7], [5, 0, 10], [-12, -16, -8]
    ]  # fmt: skip
    assert table.loc[2, ["difference", "difference_low", "difference_high"]].isna().all()
    words = [verdict(row, 1) for row in table.to_dict("records")]
    assert words == [
        "better than the default by 7.000 [7.000, 7.000]",
        "not distinguishable from the default: difference 5.00 [0.00, 10.00]",
        "the default", "worse than the default by 12.00 [8.00, 16.00]",
    ]  # fmt: skip


def test_less_is_better_where_the_objective_says_so(tmp_path: Path) -> None:
    table = validated(tmp_path, {0: 12, 1: 1, 2: 3}, {0: [10, 20], 1: [6, 12], 2: [20, 30]}, mode="min")
    assert numbers(table, "rank", "trial", "test_score", "gap", "difference")[0] == [1, 1, 9, 8, -6]
    assert table["trial"].tolist() == [1, 0, 2]
    assert verdict(table.to_dict("records")[0], -1) == "better than the default by 6.000 [4.000, 8.000]"
    assert verdict(table.to_dict("records")[2], -1) == "worse than the default by 10.00 [10.00, 10.00]"


def test_a_failed_run_counts_as_in_the_search_and_keeps_its_pair(tmp_path: Path) -> None:
    table = validated(tmp_path, {0: 0, 1: 0}, {0: [0, 20], 1: [None, 10]})
    row = table.loc[table["trial"] == 1]
    assert numbers(row, "test_score", "test_low", "test_high", "failed") == [[7.5, 5, 10, 1]], "5 is random play"
    assert numbers(row, "difference", "difference_low", "difference_high") == [[-2.5, -10, 5]], "pairs: 5 and -10"
    runs = pd.read_csv(tmp_path / "validation_runs.csv")
    assert runs.loc[runs["trial"] == 1].to_numpy().tolist() == [[1, 0, "FAILED", 5], [1, 1, "DONE", 10]]


def test_a_setting_without_a_test_score_has_no_rank(tmp_path: Path) -> None:
    for number in range(3):
        write_trial(tmp_path, number, [3])
    write_trial(tmp_path / "validation", 2, [1, 2])
    write_trial(tmp_path / "validation", 1, [1, 2], state="STOPPED")
    write_trial(tmp_path / "validation", 0, [None, None])
    analyze(tmp_path, graphs=False)
    table = pd.read_csv(tmp_path / "validation.csv")
    assert table["trial"].tolist() == [2, 0, 1] and table["state"].tolist() == ["DONE", "FAILED", "STOPPED"]
    assert table["rank"].isna().tolist() == [False, True, True] and table["difference"].isna().all()
    assert table.loc[1:, ["test_score", "test_low", "test_high", "gap"]].isna().all(axis=None)
    words = [verdict(row, 1) for row in table.to_dict("records")]
    assert words == [
        "the default has no test score to compare with", "no test score: FAILED", "no test score: STOPPED"
    ]  # fmt: skip


def test_equal_test_scores_leave_the_default_first(tmp_path: Path) -> None:
    assert validated(tmp_path, {0: 1, 1: 9}, {0: [5, 7], 1: [7, 5]})["trial"].tolist() == [0, 1]


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_intervals_are_of_the_objective_s_own_aggregate(aggregate: str, tmp_path: Path) -> None:
    """With two runs every aggregate is one of them or their mean: of the worst 10 has the chance 3/4."""
    table = validated(tmp_path, {0: 0, 1: 0}, {0: [0, 0, 0, 0, 0, 40], 1: [10, 20]}, aggregate=aggregate)
    row = table.loc[table["trial"] == 1]
    score = {"mean": 15, "iqm": 15, "worst": 10, "lcb": 10}[aggregate]
    assert numbers(row, "test_score", "test_low", "test_high") == [[score, 10, 20]]


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("metric", TRIAL_METRICS)
def test_what_only_all_runs_have_together_has_intervals_too(metric: str, tmp_path: Path) -> None:
    runs = [60.0, 80.0, None, 90.0, 100.0]
    table = validated(tmp_path, {0: 50, 1: 50}, {0: runs[::-1], 1: runs}, metric=metric)
    experiment = pd.read_csv(tmp_path / "validation" / "experiment.csv")
    assert table["test_score"].tolist() == pytest.approx(experiment[metric].tolist())
    assert (table["test_low"] <= table["test_score"]).all() and (table["test_score"] <= table["test_high"]).all()
    assert (table["test_low"] < table["test_high"]).all()
    row = table.loc[table["trial"] == 1].iloc[0]
    assert row["difference"] == pytest.approx(0) and row["difference_low"] <= 0 <= row["difference_high"]
    assert not len(pd.read_csv(tmp_path / "validation_runs.csv")), "no run has this number by itself"


@pytest.mark.usefixtures("hurried")
def test_the_bound_over_all_seeds_of_a_trial_is_bootstrapped_like_the_bound_as_an_aggregate(tmp_path: Path) -> None:
    tables = []
    for name, objective in (("one", {"metric": "final_return_low"}), ("other", {"aggregate": "lcb"})):
        tested = {0: [0.0, 3.0, 5.0], 1: [1.0, 2.0, 9.0]}
        tables.append(validated(tmp_path / name, {0: 0, 1: 0}, tested, **objective))
    pd.testing.assert_frame_equal(*tables)


def test_seed_values_stand_in_the_order_of_sessions(tmp_path: Path) -> None:
    write_trial(tmp_path, 0, [4, None, 8, None])
    trial = TrialFiles(tmp_path / "trial_0")
    values = seed_values(trial, analyze_trial(trial)[0], objective_of(trial))
    assert values.to_dict() == {0: 4, 1: 4, 2: 8, 3: 4}, "worse than random play"


def test_a_run_without_validation_has_no_comparison(tmp_path: Path) -> None:
    write_trial(tmp_path, 0, [1])
    analyze(tmp_path, graphs=False)
    assert not len(analyze_validation(tmp_path)) and not list(tmp_path.glob("validation*"))


def test_drawn_runs_are_those_of_the_bootstrap() -> None:
    runs = [1.0, 5.0, 6.0, 9.0]
    drawn = pd.Series(runs).to_numpy()[draw_runs(4)]
    assert percentile_interval(drawn.mean(axis=1), 4) == bootstrap_interval(runs)
    assert draw_runs(4, 10).shape == (10, 4) and (draw_runs(4) == draw_runs(4)).all()


def test_numbers_side_by_side_have_equally_many_decimals() -> None:
    assert alike(12.3456, 4.1, -120) == ["12.3", "4.1", "-120.0"]
    assert alike(0.00123456, 1e-5) == ["0.001235", "0.000010"]
    assert alike(123456.7, 3.2) == ["123457", "3"] and alike(0.0, 0.0) == ["0", "0"]
    assert alike(math.nan, 2.0) == ["-", "2.000"] and alike(math.nan) == ["-"]


def test_the_graph_shows_every_setting_with_its_runs(tmp_path: Path) -> None:
    table = validated(tmp_path, {0: 12, 1: 60, 2: 9}, {0: [0, 20], 1: [10, 30], 2: [None, 20]})
    runs = pd.read_csv(tmp_path / "validation_runs.csv")
    trials = [TrialFiles(tmp_path / "validation" / f"trial_{number}") for number in range(3)]
    figure = validation_graph(table, runs, trials)
    shown = {trace.name: trace for trace in figure.data if trace.name and trace.x != (None,)}
    assert list(shown["test score, fresh seeds"].x) == [20, 12.5, 10] == table["test_score"].tolist()
    assert list(shown["tuned score"].x) == [60, 9, 12] and list(shown["test score, fresh seeds"].y) == [2, 1, 0]
    assert sorted(shown["run"].x) == [0, 10, 20, 20, 30] and list(shown["failed run"].x) == [5]
    bars = [(trace.x, trace.y) for trace in figure.data if trace.mode == "lines"]
    assert ((10, 30), (2, 2)) in bars and ((5, 20), (1, 1)) in bars
    assert list(figure.layout.yaxis.ticktext) == ["trial 1", "trial 2", "default"]
    text = shown["test score, fresh seeds"].text[0]
    assert text.startswith("trial 1: gamma 0.91<br>better than the default by 10.00 [10.00, 10.00]")


def test_a_setting_in_a_line() -> None:
    assert setting_text({"agent.0.net.lr": 0.00123456, "agent.0.net.hid_layers": [8, 8]}) == (
        "lr 0.001235, hid_layers [8, 8]"
    )
