"""The round trip: files in, tables and graphs out."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from slmx.analysis.analyze import TRIAL_COLUMNS, analyze
from slmx.analysis.files import write_table
from slmx.analysis.graph.png import browser_path
from slmx.analysis.trial import state_of
from slmx.errors import SlmxError
from slmx.metric import SESSION_COLUMNS

IDENTITY = ["session", "seed", "agent", "env", "state", "reason", "frame"]


def test_trial_table(run):
    analyze(run, graphs=False)
    table = pd.read_csv(run / "trial_0" / "trial.csv")
    assert list(table.columns) == [*IDENTITY, *SESSION_COLUMNS]
    assert table[IDENTITY].fillna("").to_numpy().tolist() == [
        [0, 7, 0, 0, "DONE", "", 100],
        [1, 7, 0, 0, "DONE", "", 100],
        [2, 7, 0, 0, "FAILED", "the loss is not finite", 30],
    ]
    # returns 220 and 200 are strengths 1 and 0.9; the last evaluation returned 100 and 101
    assert table["strength"][:2].tolist() == [1.0, 0.9]
    assert table["final_return"][:2].tolist() == [100.5, 100.5]
    # a speed by the seed's formula: 1000 / 1 frame; corrected: 1000 / 100 frames; 0.9 never reaches the standard
    assert table["speed"][:2].tolist() == [1000, 0]
    assert table["speed_corrected"][:2].tolist() == [10, 0]
    assert table[list(SESSION_COLUMNS)].iloc[2].isna().all()


def test_experiment_table_counts_the_failed_session_as_random(run):
    table = analyze(run, graphs=False)
    assert list(table.columns) == list(TRIAL_COLUMNS)
    row = pd.read_csv(run / "experiment.csv").iloc[0]
    assert (row["trial"], row["state"], row["sessions"], row["failed"], row["frames"]) == (0, "DONE", 3, 1, 230)
    assert row["strength"] == pytest.approx((1 + 0.9 + 0) / 3)
    assert row["final_return"] == pytest.approx((100.5 + 100.5 + 20) / 3)
    assert row["final_return_low"] == 20 and row["final_return_high"] == 100.5


def test_analysis_is_repeatable_to_the_byte(run):
    names = ("experiment.csv", "trial_0/trial.csv")
    analyze(run, graphs=False)
    first = [(run / name).read_bytes() for name in names]
    analyze(run, graphs=False)
    assert [(run / name).read_bytes() for name in names] == first
    assert not list(run.rglob(".*"))


def test_a_trial_directory_gives_its_sessions(run):
    table = analyze(run / "trial_0", graphs=False)
    assert len(table) == 3
    assert not (run / "experiment.csv").exists()


def test_returns_of_different_environments_are_not_averaged(make_run):
    run = make_run(envs=("CartPole-v1", "Acrobot-v1"), failed=())
    row = analyze(run, graphs=False).iloc[0]
    assert row[["final_return", "final_return_low", "return_ma", "max_strength"]].isna().all()
    assert row["strength"] == pytest.approx((0.9 + 1) / 2)
    table = pd.read_csv(run / "trial_0" / "trial.csv")
    assert table[["session", "env"]].to_numpy().tolist() == [[s, e] for s in range(3) for e in range(2)]


def test_unknown_standard_is_no_number(make_run):
    row = analyze(make_run(fitness={}), graphs=False).iloc[0]
    assert row[["strength", "speed", "fitness", "max_strength"]].isna().all()
    assert row["final_return"] == 100.5  # the floor of the failed session is the worst finished one


def test_all_sessions_failed(make_run):
    row = analyze(make_run(failed=(0, 1, 2)), graphs=False).iloc[0]
    assert (row["state"], row["failed"]) == ("FAILED", 3)
    assert row[["strength", "final_return", "consistency"]].isna().all()


def test_sessions_without_a_row(run):
    """Killed or failed before the first row: no tables, or empty ones."""
    trial = run / "trial_0"
    states = json.loads((trial / "sessions.json").read_text())
    states[1]["state"] = "RUNNING"
    (trial / "sessions.json").write_text(json.dumps(states))
    for name in ("session_1.csv", "episodes_1.csv", "eval_1.csv", "session_2.csv", "episodes_2.csv"):
        (trial / name).write_text("")
    (trial / "session_2.csv").unlink()
    row = analyze(run, graphs=False).iloc[0]
    assert row["state"] == "RUNNING"
    assert pd.isna(row["return_ma"])
    for s in range(3):
        states[s]["state"] = "FAILED"
        (trial / f"session_{s}.csv").unlink(missing_ok=True)
    (trial / "sessions.json").write_text(json.dumps(states))
    assert analyze(run, graphs=False).iloc[0]["state"] == "FAILED"
    assert len(pd.read_csv(trial / "trial.csv")) == 3


def test_state_of():
    assert state_of(["DONE", "FAILED"]) == "DONE"
    assert state_of(["FAILED", "FAILED"]) == "FAILED"
    assert state_of(["DONE", "STOPPED", "FAILED"]) == "STOPPED"


def test_what_is_wrong_is_said_in_one_line(run, tmp_path):
    with pytest.raises(SlmxError, match="not a data directory"):
        analyze(tmp_path, graphs=False)
    rows = run / "trial_0" / "session_0.csv"
    content = rows.read_text()
    rows.write_text("frame,agent,env\n")
    with pytest.raises(SlmxError, match=r"session_0\.csv: no column return, return_ma"):
        analyze(run, graphs=False)
    rows.write_text("")
    with pytest.raises(SlmxError, match=r"session_0\.csv: not a table"):
        analyze(run, graphs=False)
    rows.unlink()
    with pytest.raises(SlmxError, match=r"session_0\.csv: no such file"):
        analyze(run, graphs=False)
    rows.write_text(content)
    (run / "trial_0" / "spec.json").write_text("{")
    with pytest.raises(SlmxError, match=r"spec\.json: not JSON"):
        analyze(run, graphs=False)


def test_a_table_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "table.csv"
    write_table(pd.DataFrame({"a": [1, 2], "b": [0.1, None]}), path)
    assert path.read_bytes() == b"a,b\n1,0.1\n2,\n"
    with pytest.raises(AttributeError):
        write_table(None, path)  # type: ignore[arg-type]
    assert path.read_bytes() == b"a,b\n1,0.1\n2,\n"
    assert list(tmp_path.iterdir()) == [path]


def test_graphs(run, set_browser):
    set_browser(None)
    analyze(run, speed=True)
    names = {path.name for path in (run / "trial_0").glob("*.html")}
    assert names == {f"session_{s}_graph.html" for s in range(3)} | {"trial_graph.html", "speed_graph.html"}
    assert "FAILED: the loss is not finite" in (run / "trial_0" / "session_2_graph.html").read_text()
    assert "3 sessions, 1 FAILED" in (run / "trial_0" / "trial_graph.html").read_text()
    assert (run / "plotly.min.js").exists()


@pytest.mark.skipif(browser_path() is None, reason="no Chrome or Chromium")
def test_graphs_as_png(make_run):
    trial = make_run(sessions=1, failed=()) / "trial_0"
    analyze(trial)
    for name in ("trial_graph.png", "session_0_graph.png"):
        assert (trial / name).read_bytes().startswith(b"\x89PNG")
    assert not list(trial.rglob(".*"))


def test_analysis_needs_no_torch(run):
    code = f"""
import sys
from pathlib import Path
from slmx.analysis.analyze import analyze
analyze(Path({str(run)!r}), graphs=False)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
