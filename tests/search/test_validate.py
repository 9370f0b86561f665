"""Validations of searches, on Ray: on which seeds, what they leave, that they repeat, what comes to grief in them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from choreographer.browsers import Chromium

from slmx import lab, play
from slmx.analysis.graph import png
from slmx.analysis.validation import COLUMNS
from slmx.errors import SpecError
from slmx.evaluation import evaluation_seeds
from slmx.run_directory import read_facts, read_state, write_state
from slmx.search import start
from slmx.search.experiment import SearchRun
from slmx.search.journal import read_ended
from slmx.search.validate import chosen, fresh_spec
from slmx.session import Session
from slmx.spec.check import check_one, problems
from slmx.spec.dump import restore
from slmx.spec.model import Spec
from tests.command import call
from tests.search.specs import AGENT, Keys, raw_of, spec_of

ROOT = Path(__file__).parents[2]
SPACE: Keys = {"agent.algorithm.gamma__uniform": [0.9, 0.99], "agent.net": {"hid_layers__choice": [[8], [16]]}}
GAMMA: Keys = {"agent.algorithm.gamma__uniform": [0.9, 0.99]}  # whose settings are one program
TABLES = ("experiment.csv", "validation.csv", "validation_runs.csv", "validation/experiment.csv")


pytestmark = pytest.mark.xdist_group("validations")  # one process makes what they share


@pytest.fixture(scope="module", autouse=True)
def one_ray() -> Iterator[None]:
    """One Ray for all searches of this module."""
    with start.local_ray():
        yield


def spec_with(validate: Keys | None = None, space: Keys = SPACE, meta: Keys | None = None, **groups: Keys) -> Spec:
    """A tiny search whose two best settings are validated on three seeds."""
    return spec_of(space, meta={"validate": {"top": 2, "sessions": 3} | (validate or {}), **(meta or {})}, **groups)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> SearchRun:
    """A search with validation and graphs, which no browser draws."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png, "browser_path", lambda: None)
        patch.setattr(Chromium, "find_browser", lambda **_: None)
        return lab.search(spec_with(), tmp_path_factory.mktemp("whole"), quiet=True)


def sessions_of(spec: Spec, trials: list[int]) -> list[Session]:
    return [Session(spec, trial, index) for trial in trials for index in range(spec.meta.max_session)]


def fresh(spec: Spec) -> Spec:
    assert spec.meta.validation is not None
    return fresh_spec(spec, spec.meta.validation)


def seeds(session: Session) -> set[int]:
    """Seeds of its environments, its evaluations and its networks."""
    own = [session.seeds("env", 0).generate_state(2), session.seeds("agent", 0, "net").generate_state(2)]
    return {*(int(seed) for drawn in own for seed in drawn), *evaluation_seeds(session, 0, 2)}


@pytest.mark.parametrize(("validate", "meta"), [({}, {}), ({}, {"seed": 5}), ({"seed": 0}, {"seed": 5})])
def test_no_seed_of_the_validation_is_one_of_the_search(validate: Keys, meta: Keys) -> None:
    spec = spec_with(validate, meta=meta)
    tuning = [seeds(session) for session in sessions_of(spec, [0, 1, 2, 3])]
    test = [seeds(session) for session in sessions_of(fresh(spec), [0, 2])]
    assert not set.union(*tuning) & set.union(*test)
    assert test[:3] == test[3:] and len(set.union(*test)) == 18, "the same for all settings, different for each session"
    assert fresh(spec).meta.seed == validate.get("seed", fresh(spec_with(meta=meta)).meta.seed) != spec.meta.seed


def test_seeds_that_overlap_are_an_error_before_anything_starts(tmp_path: Path) -> None:
    spec = spec_with({"seed": 4}, meta={"seed": 4})
    message = "meta.validate.seed: 4 is meta.seed, on whose seeds settings are chosen; choose another, or leave it out"
    assert [str(error) for error in problems(spec)] == [message]
    assert not problems(spec_of({}, meta={"seed": 4, "validate": {"seed": 4}})), "nothing is searched"
    assert not problems(spec_with({"seed": 4, "top": 0}, meta={"seed": 4})), "nothing is validated"
    with pytest.raises(SpecError, match=r"meta\.validate\.seed: 4 is meta\.seed"):
        lab.search(spec, tmp_path, quiet=True)
    assert not list(tmp_path.iterdir())


def test_more_sessions_than_a_program_may_have_are_an_error() -> None:
    (error,) = problems(spec_with({"sessions": 5}, meta={"max_member": 4}))
    assert str(error).startswith("meta.validate.sessions: the 5 sessions of a setting are one program, but meta.max_me")
    assert not problems(spec_with(meta={"max_member": 4}))


def test_the_best_settings_that_differ_are_chosen() -> None:
    specs = {number: {"gamma": gamma} for number, gamma in enumerate([9, 9, 5, 5, 7])}
    assert chosen(specs, [1, 3, 2, 4, 0], 3) == [3, 4], "1 is the spec's own setting, 2 is 3's"
    assert chosen(specs, [4, 3], 1) == [4] and chosen(specs, [0, 1], 3) == [] and chosen(specs, [], 3) == []


def test_a_validation_leaves_its_record(whole: SearchRun) -> None:
    left = {path.name for path in whole.directory.iterdir()}
    assert left >= {*TABLES[:3], "validation_graph.html", "validation", "best_spec.json"}
    table = pd.read_csv(whole.directory / "validation.csv")
    assert list(table) == list(COLUMNS) and table["rank"].tolist() == [1, 2, 3]
    best = whole.table.loc[whole.table["trial"] != 0].sort_values(["objective", "trial"], ascending=[False, True])
    assert set(table["trial"]) == {0, *best["trial"].head(2)}, "under the numbers that they had"
    assert table["test_score"].tolist() == sorted(table["test_score"], reverse=True)
    tuned = dict(zip(whole.table["trial"], whole.table["objective"], strict=True))
    for row in table.to_dict("records"):
        trial = whole.directory / "validation" / f"trial_{row['trial']}"
        tried = whole.directory / f"trial_{row['trial']}"
        assert (trial / "setting.json").read_bytes() == (tried / "setting.json").read_bytes()
        own = pd.read_csv(trial / "trial.csv")
        assert own["final_return"].mean() == pytest.approx(row["test_score"]) and len(own) == 3
        assert row["tuned_score"] == pytest.approx(tuned[row["trial"]])
        assert row["gap"] == pytest.approx(row["test_score"] - row["tuned_score"])
        assert row["test_low"] <= row["test_score"] <= row["test_high"]
    ended = read_ended(whole.directory / "validation")
    assert {number: own.score for number, own in ended.items()} == pytest.approx(
        dict(zip(table["trial"], table["test_score"], strict=True))
    )
    assert read_state(whole.directory) == ("search", "DONE")


def test_a_validated_session_is_that_spec_trained_alone_on_that_seed(whole: SearchRun, tmp_path: Path) -> None:
    trial = whole.directory / "validation" / f"trial_{max(whole.validation['trial'])}"
    spec = restore(json.loads((trial / "spec.json").read_text())["spec"])
    plain = spec.model_copy(update={"meta": spec.meta.model_copy(update={"common_seeds": False})})
    alone = lab.train(plain, tmp_path, quiet=True, graphs=False).directory / "trial_0"
    for name in ("session_1.csv", "eval_2.csv", "trial.csv"):
        pd.testing.assert_frame_equal(pd.read_csv(trial / name), pd.read_csv(alone / name), rtol=1e-5)


def test_a_validated_model_plays_its_final_evaluation_again(whole: SearchRun) -> None:
    trial = max(whole.validation["trial"])
    assert lab.enjoy(whole.directory / "validation" / f"trial_{trial}").repeats


def test_the_best_spec_is_the_best_by_test_score(whole: SearchRun, tmp_path: Path) -> None:
    assert whole.best is not None
    winner, _ = play.read_trial(whole.directory / f"trial_{whole.validation['trial'].iloc[0]}")
    assert check_one(whole.best) == winner.model_copy(update={"name": "tiny_best"})
    assert not lab.train(check_one(whole.best), tmp_path, quiet=True, graphs=False).failed


@pytest.mark.usefixtures("without_ray")
def test_the_same_seed_gives_the_same_validation(whole: SearchRun, tmp_path: Path) -> None:
    again = lab.search(spec_with(), tmp_path, quiet=True, graphs=False)
    for file in (*TABLES, "best_spec.json", f"validation/trial_{max(again.validation['trial'])}/session_1.csv"):
        assert (again.directory / file).read_bytes() == (whole.directory / file).read_bytes(), file


def test_analyze_makes_it_again_from_files_alone(
    whole: SearchRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [*TABLES, "validation_graph.html"]
    before = {file: (whole.directory / file).read_bytes() for file in files}
    shutil.copytree(whole.directory, tmp_path / "moved")
    for file in files:
        (tmp_path / "moved" / file).unlink()
    assert call(monkeypatch, "analyze", tmp_path / "moved") == 0
    assert {file: (tmp_path / "moved" / file).read_bytes() for file in files} == before
    assert "test score" in capsys.readouterr().out


@pytest.mark.usefixtures("without_ray")
def test_a_validation_that_was_killed_goes_on(whole: SearchRun, tmp_path: Path) -> None:
    """All that is missing, and no more, is made again: first of one program, then of the whole validation."""
    expected = {path: path.read_bytes() for path in whole.directory.rglob("*.csv") if path.name != "speed.csv"}
    killed = tmp_path / "killed"
    shutil.copytree(whole.directory, killed)
    facts = read_facts(killed) | {"state": "RUNNING"}
    for lost in (min((killed / "validation" / "ended").iterdir()), killed / "validation"):
        done = {path: path.stat().st_mtime_ns for path in (killed / "validation" / "ended").iterdir() if path != lost}
        write_state(killed, **facts)
        shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
        for file in ("validation.csv", "validation_runs.csv", "best_spec.json"):
            (killed / file).unlink()
        run = lab.resume(killed, quiet=True, graphs=False)
        assert run is not None and not run.interrupted and read_state(killed) == ("search", "DONE")
        found = {path: (killed / path.relative_to(whole.directory)).read_bytes() for path in expected}
        assert found == expected and whole.best is not None
        assert (killed / "best_spec.json").read_bytes() == whole.best.read_bytes()
        assert lost.is_dir() or {path: path.stat().st_mtime_ns for path in done} == done, "what had ended stands"
    assert lab.resume(killed, quiet=True) is None


@pytest.mark.usefixtures("without_ray")
def test_no_validation_where_none_is_asked_for(tmp_path: Path) -> None:
    """Nor with `"validate": null`, in which the other tests of searches are."""
    run = lab.search(spec_of(GAMMA, meta={"validate": {"top": 0}, "max_trial": 1}), tmp_path, quiet=True, graphs=False)
    assert not len(run.validation) and run.best is not None and not run.failed
    assert not list(run.directory.glob("validation*"))


@pytest.mark.usefixtures("without_ray")
def test_less_is_better_in_the_validation_too(tmp_path: Path) -> None:
    goal = {"metric": "return_ma", "mode": "min", "aggregate": "worst"}
    run = lab.search(spec_with(space=GAMMA, meta={"objective": goal}), tmp_path, quiet=True, graphs=False)
    table = run.validation
    assert table["test_score"].tolist() == sorted(table["test_score"])
    for row in table.to_dict("records"):
        own = pd.read_csv(run.directory / "validation" / f"trial_{row['trial']}" / "trial.csv")
        assert own["return_ma"].max() == pytest.approx(row["test_score"]), "the worst is the largest"
    winner, _ = play.read_trial(run.directory / f"trial_{table['trial'].iloc[0]}")
    assert run.best is not None and check_one(run.best).agent == winner.agent


@pytest.mark.usefixtures("without_ray")
def test_a_seed_that_fails_makes_its_setting_worse(tmp_path: Path) -> None:
    """The second session's environments give no reward that is a number, whatever the setting."""
    sick = Session(fresh(spec_with()), 0, 1).seeds("env", 0).generate_state(1) >> 1
    env = {"name": "tests.own:Poisoned", "kwargs": {"seeds": [int(sick[0])]}, "max_frame": 640}
    run = lab.search(spec_with(space=GAMMA, env=env), tmp_path, quiet=True, graphs=False)
    assert run.table["failed"].tolist() == [0, 0, 0, 0]
    table = run.validation
    assert table["failed"].tolist() == [1, 1, 1] and table["state"].tolist() == ["DONE"] * 3
    runs = pd.read_csv(run.directory / "validation_runs.csv")
    for trial, own in runs.groupby("trial"):
        assert own["state"].tolist() == ["DONE", "FAILED", "DONE"]
        assert own["value"].iloc[1] <= own["value"].min()
        assert own["value"].mean() == pytest.approx(table.loc[table["trial"] == trial, "test_score"].item())


def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: Keys) -> tuple[int, Any]:
    """Run a raw spec's search on the command line; its exit code and its directory."""
    (tmp_path / "spec.json").write_text(json.dumps({"shown": raw}))
    data = tmp_path / "data"
    code = call(monkeypatch, "run", tmp_path / "spec.json", "search", "--data", data, "--no-graphs")
    return code, next(data.iterdir())


@pytest.mark.usefixtures("without_ray")
def test_the_terminal_says_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, directory = shown(tmp_path, monkeypatch, raw_of(GAMMA, meta={"validate": {"top": 2, "sessions": 3}}))
    out = capsys.readouterr().out
    assert code == 0 and "validation: the default and the best beside it, 3 settings x 3 fresh seeds" in out
    table = pd.read_csv(directory / "validation.csv")
    first = table["trial"].iloc[0]
    assert f"best by test score: {f'trial {first}' if first else 'the default'}" in out
    words = ("better than the default by ", "worse than the default by ", "not distinguishable from the default: ")
    for trial in set(table["trial"]) - {0}:
        (line,) = (line for line in out.splitlines() if line.startswith(f"trial {trial}: "))
        assert line.removeprefix(f"trial {trial}: ").startswith(words)
    assert f"slmx run {directory}/best_spec.json train" in out and f"slmx enjoy {directory}/trial_{first}" in out


@pytest.mark.usefixtures("without_ray")
def test_where_nothing_was_found_the_validation_is_skipped_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steep = AGENT | {"net": AGENT["net"] | {"optim_spec": {"name": "SGD", "lr": 1e30}}}
    meta = {"search_spec": {"name": "grid"}, "validate": {"sessions": 2}}
    raw = raw_of({"agent.algorithm.gamma__grid_search": [0.9, 0.95]}, {"name": "tests.own:Corridor"}, meta, steep)
    code, directory = shown(tmp_path, monkeypatch, raw)
    assert code == 1 and "validation: skipped, for there is no setting to compare" in capsys.readouterr().out
    assert not list(directory.glob("validation*"))


@pytest.mark.slow
def test_ctrl_c_in_a_validation_keeps_what_there_is(tmp_path: Path) -> None:
    file = tmp_path / "long.json"
    meta = {"log_frequency": 256, "max_session": 1, "max_trial": 1, "validate": {"sessions": 10}}
    file.write_text(json.dumps({"long": raw_of(GAMMA, {"max_frame": 8000}, meta)}))
    running = subprocess.Popen(
        [sys.executable, "-m", "slmx", "run", file, "search", "--data", tmp_path / "data", "--no-graphs"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    waited = time.monotonic()
    while not (rows := list((tmp_path / "data").glob("*/validation/trial_*/session_1.csv"))):
        assert time.monotonic() - waited < 90 and running.poll() is None
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130 and "the validation was interrupted" in out and not err
    assert "to go on: slmx resume" in out and read_state(rows[0].parents[2]) == ("search", "STOPPED")
    directory = rows[0].parents[2]
    table = pd.read_csv(directory / "validation.csv")
    assert len(table) and "STOPPED" in set(table["state"]) and table["rank"].isna().any()
    assert pd.read_csv(directory / "experiment.csv")["state"].tolist() == ["DONE", "DONE"]
    assert check_one(directory / "best_spec.json").meta.max_session == 1, "the best by its tuned score"
