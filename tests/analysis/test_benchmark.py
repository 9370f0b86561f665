"""The aggregate of a benchmark and its graph, from tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from slmx.analysis.benchmark import CELL_COLUMNS, Scores, aggregate
from slmx.analysis.benchmark_graph import benchmark_graph


def cells(*rows: tuple[str, str, str, str, list[float] | None]) -> tuple[pd.DataFrame, Scores]:
    """A table of (algorithm, environment, kind of actions, state, scores of its seeds)."""
    table = [
        {"algorithm": a, "env": e, "actions": kind, "state": state}
        | ({"score": np.mean(own), "score_low": min(own), "score_high": max(own)} if own and state == "DONE" else {})
        for a, e, kind, state, own in rows
    ]
    scores = {(a, e): np.array(own) for a, e, _, _, own in rows if own}
    return pd.DataFrame(table, columns=list(CELL_COLUMNS)), scores


def by_algorithm(table: pd.DataFrame, scores: Scores) -> dict[str, Any]:
    """(environments, interquartile mean) of each algorithm."""
    rows = aggregate(table, scores).to_dict("records")
    return {f"{row['algorithm']} {row['actions']}": (row["environments"], round(row["iqm"], 6)) for row in rows}


def test_the_interquartile_mean_is_over_all_seeds_of_the_shared_environments() -> None:
    table, scores = cells(
        ("PPO", "A", "discrete", "DONE", [0.0, 1.0]), ("PPO", "B", "discrete", "DONE", [2.0, 9.0]),
        ("DQN", "A", "discrete", "DONE", [1.0, 1.0]), ("DQN", "B", "discrete", "DONE", [3.0, 3.0]),
        ("PPO", "C", "continuous", "DONE", [0.5, 0.7]),
    )  # fmt: skip
    assert by_algorithm(table, scores) == {
        "PPO discrete": ("A B", 1.5), "DQN discrete": ("A B", 2.0), "PPO continuous": ("C", 0.6),
    }  # fmt: skip
    row = aggregate(table, scores).iloc[1]
    assert row[["sessions", "iqm_low", "iqm_high", "mean"]].tolist() == [4, 2.0, 2.0, 2.0]


def test_only_shared_environments_are_compared() -> None:
    table, scores = cells(
        ("PPO", "A", "discrete", "DONE", [0.2, 0.4]), ("PPO", "B", "discrete", "DONE", [1.0, 1.0]),
        ("DQN", "A", "discrete", "DONE", [0.6, 0.8]),
    )  # fmt: skip
    assert by_algorithm(table, scores) == {"PPO discrete": ("A", 0.3), "DQN discrete": ("A", 0.7)}


@pytest.mark.parametrize("state", ["OPEN", "STOPPED", "RUNNING"])
def test_an_algorithm_with_an_open_cell_waits_and_does_not_hold_up_the_others(state: str) -> None:
    table, scores = cells(
        ("PPO", "A", "discrete", "DONE", [0.2, 0.4]), ("PPO", "B", "discrete", "DONE", [1.0, 1.0]),
        ("DQN", "A", "discrete", "DONE", [9.0, 9.0]), ("DQN", "B", "discrete", state, None),
    )  # fmt: skip
    assert by_algorithm(table, scores) == {"PPO discrete": ("A B", 0.7)}


def test_a_failed_cell_counts_as_random_play() -> None:
    table, scores = cells(
        ("PPO", "A", "discrete", "DONE", [0.2, 0.4]), ("PPO", "B", "discrete", "FAILED", [0.0, 0.0]),
    )  # fmt: skip
    assert by_algorithm(table, scores) == {"PPO discrete": ("A B", 0.1)}


def test_nothing_is_compared_where_nothing_is_shared() -> None:
    table, scores = cells(
        ("PPO", "A", "discrete", "DONE", [0.2, 0.4]), ("DQN", "B", "discrete", "DONE", [0.6, 0.8]),
        ("PPO", "C", "continuous", "DONE", None),
    )  # fmt: skip
    assert aggregate(table, scores).empty and list(aggregate(table, scores))[:2] == ["actions", "algorithm"]


def test_the_graph_shows_every_score_and_says_what_it_does_not_show() -> None:
    table, scores = cells(
        ("PPO", "A", "discrete", "DONE", [0.2, 0.4]), ("DQN", "A", "discrete", "FAILED", [0.0, 0.0]),
        ("PPO", "B", "discrete", "OPEN", None), ("PPO", "C", "continuous", "DONE", None),
    )  # fmt: skip
    figure = benchmark_graph(table, aggregate(table, scores), "name")
    points = {(trace["name"], round(x, 6)) for trace in figure.to_dict()["data"] for x in trace["x"]}
    assert points == {("PPO", 0.3), ("DQN", 0.0)}
    (ppo,) = (trace for trace in figure.to_dict()["data"] if trace["name"] == "PPO" and trace.get("text"))
    assert ppo["text"] == ["PPO in A"]
    assert ppo["error_x"]["array"] == pytest.approx([0.1]) and ppo["error_x"]["arrayminus"] == pytest.approx([0.1])
    (dqn,) = (trace for trace in figure.to_dict()["data"] if trace["name"] == "DQN" and trace.get("text"))
    assert dqn["text"] == ["DQN in A FAILED"] and dqn["marker"]["symbol"] == ["x-thin"]
    title = str(figure.to_dict()["layout"]["title"]["text"])
    assert "1 cell not done" in title and "no standard: C" in title
    low, high = figure.to_dict()["layout"]["xaxis"]["range"]
    assert low < 0 and high > 1, "random play and the standard are always in sight"


def test_a_graph_of_nothing_yet() -> None:
    table, scores = cells(("PPO", "A", "discrete", "OPEN", None))
    assert not benchmark_graph(table, aggregate(table, scores), "name").to_dict()["data"]
