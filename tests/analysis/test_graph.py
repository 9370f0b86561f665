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
    "trial": [0, 1, 2, 3, 4, 5], "state": ["DONE", "DONE", "FAILED", "DONE", "DONE", "CULLED"],
    "objective": [5.0, 3.0, np.nan, 9.0, 7.0, np.nan],
    "a.lr": ['{"name": "linear_decay"}', 1e-4, 1e-3, 1e-2, 1e-1, 1e-2], "a.gamma": [0.9, 0.91, 0.92, 0.93, 0.94, 0.95],
    "a.layers": ["[8]", "[8]", "[8]", "[16]", "[8]", "[16]"],
})  # fmt: skip
NAMES = {"a.lr": "lr", "a.gamma": "gamma", "a.layers": "layers"}
KINDS = {"lr": "loguniform", "gamma": "uniform", "layers": "choice"}


def seen(experiment=SEARCHED, sign=1, **rest):
    return graph.Seen(graph.experiment_table(experiment, NAMES), "title", "goal", sign, KINDS, **rest)


def of_panel(figure, number):
    """The traces of one panel, by what they show: points that have no name are those of trials."""
    axis = "x" if number == 1 else f"x{number}"
    return {trace.name or "trials": trace for trace in figure.data if (trace.xaxis or "x") == axis}


def test_an_experiment_graph_shows_every_trial():
    table = graph.experiment_table(SEARCHED, NAMES)
    assert list(table) == ["trial", "state", "objective", "front", "key", "value"] and len(table) == 6 * 3
    for sign, so_far, best in ((1, [5, 5, 9, 9, 9], 3), (-1, [5, 3, 3, 3, 3], 1)):
        figure = graph.experiment_graph(seen(sign=sign))
        first = of_panel(figure, 1)
        assert list(first["trials"].x) == [1, 3, 4] and list(first["trials"].y) == [3, 9, 7]
        assert list(first["the spec's own"].x) == [0] and list(first["the spec's own"].y) == [5]
        assert list(first["best so far"].x) == [0, 1, 3, 4, 5] and list(first["best so far"].y) == so_far
        assert list(first["best"].x) == [best]
        assert list(first["failed"].x) == [2] and list(first["culled"].x) == [5]
        low, high = figure.layout.yaxis.range
        foot = first["failed"].y[0]
        assert low < foot < 3 if sign > 0 else 9 < foot < high, "at the worse end"
        assert all(list(trace.marker.color) == list(trace.y) for trace in (first["trials"], first["the spec's own"]))
        assert (
            f"goal, 6 trials, 1 failed, 1 culled, best {9 if sign > 0 else 3} (trial {best})"
            in figure.layout.title.text
        )


def test_keys_lie_on_axes_of_their_domains():
    figure = graph.experiment_graph(seen())
    lr, gamma, layers = (of_panel(figure, number) for number in (2, 3, 4))
    assert not lr["the spec's own"].x, "a schedule has no place among numbers"
    assert list(lr["trials"].x) == pytest.approx([1e-4, 1e-2, 1e-1]) and list(lr["failed"].x) == pytest.approx([1e-3])
    assert list(gamma["trials"].x) == [0.91, 0.93, 0.94] and list(gamma["the spec's own"].x) == [0.9]
    assert [round(x) for x in layers["trials"].x] == [0, 1, 0] and round(layers["culled"].x[0]) == 1
    axes = [figure.layout[f"xaxis{i}"] for i in (2, 3, 4)]
    assert [axis.type for axis in axes] == ["log", None, None]
    assert [axis.title.text for axis in axes] == ["lr", "gamma", "layers"]
    assert list(axes[2].ticktext) == ["[8]", "[16]"] and list(axes[2].tickvals) == [0, 1]
    assert not any(trace.showlegend for trace in (*lr.values(), *gamma.values(), *layers.values())), "said once"


@pytest.mark.parametrize(("keys", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2), (5, 3), (8, 3)])
def test_every_key_has_a_panel(keys, columns):
    names = {f"a.key{i}": f"key{i}" for i in range(keys)}
    experiment = pd.DataFrame({"trial": range(4), "state": "DONE", "objective": range(4)})
    experiment = experiment.assign(**{path: [0.1, 0.2, 0.3, 0.4] for path in names})
    table = graph.experiment_table(experiment, names)
    importance = pd.DataFrame({"key": names.values(), "importance": 1 / keys, "explained": 0.5})
    for bars in (importance, importance.head(0)):
        figure = graph.experiment_graph(graph.Seen(table, "title", "goal", importance=bars))
        axes = [axis for axis in figure.select_xaxes() if axis.title.text in names.values()]
        assert [axis.title.text for axis in axes] == list(names.values())
        assert len({round(axis.domain[0], 3) for axis in axes}) == min(columns, keys)
        assert all(len([t for t in figure.data if t.xaxis == axis.plotly_name.replace("axis", "")]) for axis in axes)
        drawn = [trace for trace in figure.data if trace.type == "bar"]
        assert [list(trace.x) for trace in drawn] == ([[1 / keys] * keys] if len(bars) else [])


def test_importance_is_drawn_or_said_to_be_unknown():
    shares = pd.DataFrame({"key": ["gamma", "lr", "layers"], "importance": [0.6, 0.3, 0.1], "explained": 0.42})
    figure = graph.experiment_graph(seen(importance=shares))
    (bars,) = (trace for trace in figure.data if trace.type == "bar")
    assert list(bars.x) == [0.6, 0.3, 0.1] and list(bars.y) == [2, 1, 0] and list(bars.text) == ["60 %", "30 %", "10 %"]
    assert [note.text for note in figure.layout.annotations] == ["gamma", "lr", "layers"]
    assert any(axis.title.text == "importance (42 % explained)" for axis in figure.select_xaxes())
    unknown = graph.experiment_graph(seen(note="importance of keys: known from 20 finished trials on"))
    assert "known from 20 finished trials on" in unknown.layout.title.text
    assert not [trace for trace in unknown.data if trace.type == "bar"]


def test_several_objectives_have_a_front_and_a_panel_each():
    further = SEARCHED.assign(
        objective_speed=[1.0, 2, np.nan, 3, 4, np.nan], pareto=[False, False, None, True, True, None]
    )
    table = graph.experiment_table(further, NAMES, {"objective_speed": "speed"})
    figure = graph.experiment_graph(graph.Seen(table, "title", "goal", kinds=KINDS | {"speed": "uniform"}))
    assert list(of_panel(figure, 1)["Pareto front"].x) == [3, 4] and "best" not in of_panel(figure, 1)
    assert list(of_panel(figure, 2)["Pareto front"].x) == [3, 4] and figure.layout.xaxis2.title.text == "speed"


def test_parallel_coordinates_show_trials_that_have_a_place_on_every_axis():
    (lines,) = graph.parallel_graph(seen()).data
    assert [axis.label for axis in lines.dimensions] == ["lr", "gamma", "layers", "objective"]
    assert list(lines.dimensions[0]["values"]) == [-4, -2, -1] and lines.dimensions[0].ticktext[0] == "0.0001"
    assert list(lines.dimensions[2]["values"]) == [0, 1, 0] and list(lines.dimensions[2].ticktext) == ["[8]", "[16]"]
    assert list(lines.dimensions[3]["values"]) == list(lines.line.color) == [3, 9, 7]
    assert not lines.line.reversescale and graph.parallel_graph(seen(sign=-1)).data[0].line.reversescale


def test_an_experiment_graph_without_a_finished_trial_shows_those_that_failed():
    failed = SEARCHED.assign(objective=np.nan, state="FAILED")
    figure = graph.experiment_graph(seen(failed))
    assert list(of_panel(figure, 1)["failed"].x) == [0, 1, 2, 3, 4, 5] and not of_panel(figure, 1)["best so far"].x
    assert len(graph.parallel_graph(seen(failed)).data[0].line.color or []) == 0


def test_what_is_for_the_mouse_follows_in_the_html_alone(tmp_path, set_browser):
    set_browser(None)
    path = tmp_path / "experiment_graph"
    graph.write_figures({path: graph.experiment_graph(seen())}, tmp_path, below={path: graph.parallel_graph(seen())})
    html = path.with_suffix(".html").read_text()
    assert html.count("Plotly.newPlot(") == 2 and html.count("plotly.min.js") == 1
    assert 'id="experiment_graph_below"' in html and html.index("Parallel coordinates") < html.index("</body>")
    assert not (tmp_path / "experiment_graph_below.html").exists()
