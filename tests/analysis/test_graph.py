"""Figures are tested by the tables that they show; files by what is in them."""

import logging

import numpy as np
import pandas as pd
import pytest

from slmx.analysis import graph
from slmx.analysis.standards import Standard

LABELS = {(0, 0): "CartPole-v1"}


def rows(frames, averages, env=0, **more):
    columns = {"frame": frames, "agent": 0, "env": env, "return": averages, "return_ma": averages, **more}
    return pd.DataFrame(columns)


def test_session_table_is_what_is_there():
    table = graph.session_table(
        rows([10, 20, 30], [np.nan, 5.0, 6.0], loss=[0.1, np.nan, 0.3], policy_loss=1.0, lr=1e-3, grad_norm=2.0), LABELS
    )
    assert list(dict.fromkeys(table["quantity"])) == ["return", "mean of last 100 episodes", "loss", "learning rate"]
    assert table[table["quantity"] == "return"][["frame", "value"]].to_numpy().tolist() == [[20, 5], [30, 6]]
    assert table[table["quantity"] == "loss"][["frame", "value"]].to_numpy().tolist() == [[10, 0.1], [30, 0.3]]
    assert set(table["port"]) == {"CartPole-v1"}


def test_session_table_shows_the_parts_where_there_is_no_whole_loss():
    table = graph.session_table(rows([10], [1.0], policy_loss=[0.5], value_loss=[0.25]), LABELS)
    assert {"policy loss", "value loss"} <= set(table["quantity"])


def test_trial_table_means_and_spread():
    sessions = {0: rows([10, 20], [1.0, 2.0]), 1: rows([10, 20], [3.0, 6.0]), 2: rows([10], [100.0])}
    table = graph.trial_table(sessions, LABELS, failed={2})
    mean = table[table["curve"] == "mean"]
    assert mean["frame"].tolist() == [10, 20]
    assert mean["value"].tolist() == [2.0, 4.0]
    # standard deviations of (1, 3) and (2, 6) with n - 1: sqrt(2), sqrt(8)
    np.testing.assert_allclose(mean["high"] - mean["value"], [2**0.5, 8**0.5])
    np.testing.assert_allclose(mean["value"] - mean["low"], [2**0.5, 8**0.5])
    failed = table[table["curve"] == "session 2"]
    assert failed[["state", "frame", "value"]].to_numpy().tolist() == [["FAILED", 10, 100.0]]


def test_trial_mean_stands_only_where_every_session_has_a_value():
    sessions = {0: rows([10, 20, 30, 40], [1.0, 2.0, 3.0, 4.0]), 1: rows([10, 15, 25], [np.nan, 5.0, 7.0])}
    mean = graph.trial_table(sessions, LABELS)[lambda table: table["curve"] == "mean"]
    # session 1 has values from 15 to 25; session 0 keeps 1 until 20 and 2 until 30
    assert mean[["frame", "value"]].to_numpy().tolist() == [[15, 3.0], [20, 3.5], [25, 4.5]]


def test_one_session_has_no_spread():
    table = graph.trial_table({0: rows([10, 20], [1.0, 2.0])}, LABELS)
    assert table["low"].isna().all() and table["high"].isna().all()
    figure = graph.trial_graph(table, "title", 1)
    assert [trace.name for trace in figure.data if trace.showlegend] == ["mean of sessions"]


def test_no_rows_make_an_empty_graph():
    empty = rows([], [])
    assert len(graph.session_table(empty, {})) == 0
    assert len(graph.session_graph(graph.session_table(empty, {}), "title").data) == 0
    table = graph.trial_table({0: empty, 1: empty}, LABELS, failed={0, 1})
    assert len(graph.trial_graph(table, "title", 2, 2).data) == 0


@pytest.mark.parametrize("panels", [0, 1, 2, 3, 4, 5, 6])
def test_session_graph_draws_every_quantity_in_its_panel(panels):
    names = list(graph.PANELS)[1:] if panels < 6 else list(graph.PANELS)
    more = dict.fromkeys(names[:panels], 1.0)
    table = graph.session_table(rows([10, 20], [1.0, 2.0], **more), LABELS)
    figure = graph.session_graph(table, "title", "subtitle", Standard(0, 10))
    assert len(figure.data) == table["quantity"].nunique()
    titles = [axis.title.text for axis in figure.select_yaxes()]
    shown = set(table["quantity"]) - {graph.AVERAGE}
    assert sorted(titles) == sorted(shown)
    assert {note.text for note in figure.layout.annotations} == {"random", "standard"}
    assert "subtitle" in figure.layout.title.text


def test_one_colour_per_port():
    table = graph.session_table(
        pd.concat([rows([10, 20], [1.0, 2.0]), rows([10, 20], [3.0, 4.0], env=1)]), {**LABELS, (0, 1): "Acrobot-v1"}
    )
    figure = graph.session_graph(table, "title")
    colours = {(trace.legendgroup, trace.line.color) for trace in figure.data}
    assert len(colours) == 2
    assert [trace.name for trace in figure.data if trace.showlegend] == ["CartPole-v1", "Acrobot-v1"]


def test_files_open_offline(tmp_path, set_browser, caplog):
    set_browser(None)
    trial = tmp_path / "trial_0"
    trial.mkdir()
    figures = {trial / name: graph.trial_graph(graph.trial_table({}, {}), "title", 0) for name in ("one", "two")}
    with caplog.at_level(logging.WARNING, logger="slmx"):
        graph.write_figures(figures, tmp_path)
    assert [record.getMessage() for record in caplog.records] == [graph.BROWSER_HINT]
    assert sorted(path.name for path in trial.iterdir()) == ["one.html", "two.html"]
    html = (trial / "one.html").read_text()
    assert 'src="../plotly.min.js"' in html
    assert 'src="http' not in html
    assert (tmp_path / "plotly.min.js").stat().st_size > 1e6
    graph.write_figures(figures, tmp_path)
    assert (trial / "one.html").read_text() == html


def test_a_broken_browser_costs_only_the_png(tmp_path, set_browser, caplog):
    set_browser("/bin/false")
    graph.write_figures({tmp_path / "one": graph.trial_graph(graph.trial_table({}, {}), "title", 0)}, tmp_path)
    assert "the browser failed" in caplog.text
    assert (tmp_path / "one.html").exists() and not (tmp_path / "one.png").exists()


SEARCHED = pd.DataFrame({
    "trial": [0, 1, 2, 3, 4], "state": ["DONE", "DONE", "FAILED", "DONE", "DONE"],
    "objective": [5.0, 3.0, np.nan, 9.0, 7.0],
    "a.lr": ['{"name": "linear_decay"}', 1e-4, 1e-3, 1e-2, 1e-1], "a.gamma": [0.9, 0.91, 0.92, 0.93, 0.94],
    "a.layers": ["[8]", "[8]", "[8]", "[16]", "[8]"],
})  # fmt: skip
NAMES = {"a.lr": "lr", "a.gamma": "gamma", "a.layers": "layers"}


def test_an_experiment_graph_shows_every_trial_that_has_an_objective():
    table = graph.experiment_table(SEARCHED, NAMES)
    assert set(table) == {"trial", "objective", "key", "value"} and 2 not in set(table["trial"])
    for sign, best in ((1, [5, 5, 9, 9]), (-1, [5, 3, 3, 3])):
        figure = graph.experiment_graph(table, "title", "goal", sign)
        over_trials, so_far, lr, gamma, layers = figure.data
        assert list(over_trials.x) == [0, 1, 3, 4] and list(over_trials.y) == [5, 3, 9, 7]
        assert list(so_far.y) == best
        assert list(lr.x) == [1e-4, 1e-2, 1e-1], "a schedule has no place among numbers"
        assert list(gamma.x) == [0.9, 0.91, 0.93, 0.94] and list(layers.x) == ["[8]", "[8]", "[16]", "[8]"]
        assert all(list(trace.marker.color) == list(trace.y) for trace in (over_trials, lr, gamma, layers))
        axes = [figure.layout[f"xaxis{i}"].type for i in (2, 3, 4)]
        assert axes == ["log", None, "category"]
        assert [figure.layout[f"xaxis{i}"].title.text for i in (2, 3, 4)] == ["lr", "gamma", "layers"]


def test_an_experiment_graph_without_a_finished_trial_is_empty():
    table = graph.experiment_table(SEARCHED.assign(objective=np.nan), NAMES)
    assert not len(table)
    assert graph.experiment_graph(table, "title", "goal").layout.title.text
