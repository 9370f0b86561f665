"""The objective: a failed seed makes a trial worse, NaN never wins, whatever the sign of returns and the way up."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from slmx.analysis.analyze import analyze
from slmx.analysis.files import TrialFiles
from slmx.analysis.objective import AGGREGATES, Objective, ranked, short_names
from slmx.analysis.statistics import bootstrap_interval
from slmx.analysis.trial import analyze_trial
from slmx.metric import METRICS, SEED_METRICS
from tests.analysis.conftest import write_run

VALUES = {"positive": [1.0, 2.0, 3.0, 10.0], "negative": [-1.0, -2.0, -3.0, -10.0], "mixed": [-5.0, 0.0, 5.0, 6.0]}


def test_aggregates() -> None:
    values = VALUES["positive"]
    found = {name: Objective("return_ma", "max", name).score(values) for name in AGGREGATES}
    assert found == {"mean": 4.0, "iqm": 2.5, "worst": 1.0, "lcb": bootstrap_interval(values)[0]}
    less = {name: Objective("return_ma", "min", name).score(values) for name in AGGREGATES}
    assert less["worst"] == 10.0 and less["mean"] == 4.0
    assert less["lcb"] == pytest.approx(bootstrap_interval(values)[1]), "the worse end"


@pytest.mark.parametrize("random", [None, -100.0, 0.0, 100.0])
@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("sign", VALUES)
def test_a_failed_seed_never_makes_a_trial_better(sign: str, aggregate: str, mode: str, random: float | None) -> None:
    objective = Objective("return_ma", mode, aggregate)
    values = VALUES[sign]
    whole = objective.score(values, 0, random)
    for lost in range(4):
        kept = [value for i, value in enumerate(values) if i != lost]
        hurt = objective.score(kept, 1, random)
        assert objective.sign * hurt <= objective.sign * objective.score(kept, 0, random)
        best = max if mode == "max" else min
        if values[lost] == best(values):
            assert objective.sign * hurt <= objective.sign * whole, "nor than it would be with any value it had"


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_has_no_score(mode: str, bad: float) -> None:
    for aggregate in AGGREGATES:
        objective = Objective("return_ma", mode, aggregate)
        assert math.isnan(objective.score([1.0, bad, 2.0])) and math.isnan(objective.score([], 3))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_best_are_done_and_have_a_number(sign: int) -> None:
    table = pd.DataFrame(
        [[0, "DONE", 0, -5], [1, "FAILED", 2, np.nan], [2, "DONE", 1, -5], [3, "DONE", 0, np.nan],
         [4, "STOPPED", 0, -4], [5, "DONE", 0, -9], [6, "DONE", 0, np.inf]],
        columns=["trial", "state", "failed", "objective"],
    )  # fmt: skip
    assert ranked(table, sign)["trial"].tolist() == ([0, 2, 5] if sign == 1 else [5, 0, 2])


def test_short_names_are_the_shortest_that_differ() -> None:
    paths = ["agent.0.algorithm.gamma", "agent.0.net.lr", "agent.0.critic_net.lr", "agent.1.algorithm.lam"]
    assert list(short_names(paths).values()) == ["gamma", "net.lr", "critic_net.lr", "lam"]


def searched(root: Path, failed: tuple[int, ...] = (), **objective: str) -> Path:
    """A run by hand, made one of a search."""
    run = write_run(root, failed=failed)
    trial = run / "trial_0"
    (trial / "setting.json").write_text(json.dumps({"agent.0.algorithm.gamma": 0.9, "agent.0.net.hid_layers": [8, 8]}))
    record = json.loads((trial / "spec.json").read_text())
    record["spec"]["meta"] = {"objective": {"metric": "final_return", "mode": "max", "aggregate": "mean"} | objective}
    (trial / "spec.json").write_text(json.dumps(record))
    return run


def score(root: Path, **options: object) -> float:
    root.mkdir()
    return analyze_trial(TrialFiles(searched(root, **options) / "trial_0"))[1]["objective"]  # type: ignore[arg-type]


def test_a_trial_s_objective_is_made_of_its_files(tmp_path: Path) -> None:
    returns = {"return_ma": (220 + 200 + 180) / 3, "final_return": 100.5}
    for metric, value in returns.items():
        assert score(tmp_path / metric, metric=metric) == pytest.approx(value)
    assert score(tmp_path / "worst", metric="return_ma", aggregate="worst") == 180
    assert score(tmp_path / "least", metric="return_ma", mode="min", aggregate="worst") == 220
    hurt = score(tmp_path / "hurt", failed=(2,), metric="return_ma")
    assert hurt == pytest.approx((220 + 200 + 20) / 3), "a failed seed stands with random play"
    assert math.isnan(score(tmp_path / "all", failed=(0, 1, 2)))


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_is_a_column_and_has_the_trial_s_value(metric: str, tmp_path: Path) -> None:
    row = analyze(searched(tmp_path, metric=metric), graphs=False).iloc[0]
    assert row["objective"] == pytest.approx(row[metric], nan_ok=True)
    assert not math.isnan(row["objective"])
    assert metric in SEED_METRICS or "final_return_" in metric or "consistency" in metric or "fitness" in metric


def test_experiment_csv_has_a_column_for_each_searched_key(tmp_path: Path) -> None:
    run = searched(tmp_path)
    analyze(run, graphs=False)
    table = pd.read_csv(run / "experiment.csv")
    assert list(table.columns[:7]) == [
        "trial", "state", "sessions", "failed", "objective", "agent.0.algorithm.gamma", "agent.0.net.hid_layers"
    ]  # fmt: skip
    assert table["agent.0.net.hid_layers"][0] == "[8, 8]" and table["agent.0.algorithm.gamma"][0] == 0.9
