"""Searches from end to end, on Ray: what they leave, that they repeat, and trials and searches that come to grief."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import ray

from slmx import lab, play
from slmx.analysis.analyze import analyze
from slmx.errors import SpecError
from slmx.record import Records
from slmx.search import start
from slmx.session import Program, Session
from slmx.spec.check import check_one
from slmx.spec.dump import with_settings
from tests.command import call
from tests.search.specs import AGENT, Keys, raw_of, spec_of

ROOT = Path(__file__).parents[2]
SPACE: Keys = {"agent.algorithm.gamma__uniform": [0.9, 0.99], "agent.net": {"hid_layers__choice": [[8], [16]]}}
STEEP: Keys = AGENT | {"net": AGENT["net"] | {"optim_spec": {"name": "SGD", "lr": 0.01}}}


pytestmark = pytest.mark.xdist_group("searches")  # one process makes what they share


@pytest.fixture(scope="module", autouse=True)
def one_ray() -> Iterator[None]:
    """One Ray for all searches of this module."""
    with start.local_ray():
        yield
    assert not ray.is_initialized()


def search(data: Path, space: Keys = SPACE, graphs: bool = False, **groups: Keys) -> lab.SearchRun:
    return lab.search(spec_of(space, **groups), data, quiet=True, graphs=graphs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> lab.SearchRun:
    """A search with graphs."""
    return search(tmp_path_factory.mktemp("whole"), graphs=True)


def journal_of(directory: Path) -> list[Keys]:
    return [json.loads(line) for line in (directory / "journal.jsonl").read_text().splitlines()]


def setting(run: lab.SearchRun, trial: int) -> Keys:
    return json.loads((run.directory / f"trial_{trial}" / "setting.json").read_text())


def test_a_search_leaves_its_record(whole: lab.SearchRun) -> None:
    left = {path.name for path in whole.directory.iterdir()} - {"experiment_graph.png"}
    assert left == {
        *(
            "spec.json",
            "run.json",
            "space.json",
            "ended",
            "experiment.csv",
            "experiment_graph.html",
            "journal.jsonl",
            "best_spec.json",
            "plotly.min.js",
        ),
        *(f"trial_{t}" for t in range(4)),
    }
    for trial in range(4):
        names = {path.name for path in (whole.directory / f"trial_{trial}").iterdir()}
        expected = {"setting.json", "spec.json", "sessions.json", "trial.csv", "speed.csv", "model"}
        assert names >= expected | {f"{kind}_{s}.csv" for kind in ("session", "episodes", "eval") for s in (0, 1)}
    assert whole.table["state"].tolist() == ["DONE"] * 4 and not whole.failed and not whole.interrupted
    assert whole.table["objective"].tolist() == pytest.approx(whole.table["final_return"].tolist())


def test_trial_0_is_the_spec_s_own_setting(whole: lab.SearchRun) -> None:
    assert setting(whole, 0) == {"agent.0.algorithm.gamma": 0.99, "agent.0.net.hid_layers": [8]}
    saved, _ = play.read_trial(whole.directory / "trial_0")
    assert saved == spec_of(SPACE).model_copy(update={"search": {}})
    assert len({setting(whole, trial)["agent.0.algorithm.gamma"] for trial in range(4)}) == 4


def test_the_journal_tells_the_whole_search(whole: lab.SearchRun) -> None:
    lines = journal_of(whole.directory)
    asked = {line["trial"]: line["setting"] for line in lines if line["event"] == "asked"}
    assert asked == {trial: setting(whole, trial) for trial in range(4)}
    ended = {line["trial"]: line for line in lines if line["event"] == "ended"}
    assert len(lines) == 8 and {line["state"] for line in ended.values()} == {"DONE"}
    scores = [ended[trial]["score"] for trial in range(4)]
    assert scores == pytest.approx(whole.table["objective"].tolist())


def test_analyze_makes_the_same_table_from_files_alone(whole: lab.SearchRun) -> None:
    tables = [whole.directory / "experiment.csv", *whole.directory.glob("trial_*/trial.csv")]
    before = [table.read_bytes() for table in tables]
    for table in tables:
        table.unlink()
    analyze(whole.directory, graphs=False)
    assert len(tables) == 5 and [table.read_bytes() for table in tables] == before


@pytest.mark.usefixtures("without_ray")
def test_the_same_seed_gives_the_same_experiment(whole: lab.SearchRun, tmp_path: Path) -> None:
    again = search(tmp_path)
    assert (again.directory / "experiment.csv").read_bytes() == (whole.directory / "experiment.csv").read_bytes()
    for file in ("trial_2/session_1.csv", "trial_2/episodes_0.csv", "trial_1/model/session_0.safetensors"):
        assert (again.directory / file).read_bytes() == (whole.directory / file).read_bytes()


def test_a_session_of_a_search_is_that_session_trained_alone(whole: lab.SearchRun, tmp_path: Path) -> None:
    for trial in (0, 3):
        settings = setting(whole, trial) if trial else {}
        session = Session(with_settings(spec_of(SPACE), settings), trial, 1)
        records = Records(tmp_path, [session])
        alone = Program([session], records)
        records.open_ports(alone)
        alone.run()
        records.close(alone, True)
        for name in ("session_1.csv", "episodes_1.csv", "eval_1.csv"):
            one, other = (pd.read_csv(place / f"trial_{trial}" / name) for place in (tmp_path, whole.directory))
            pd.testing.assert_frame_equal(one, other, rtol=1e-5)


def test_the_best_spec_can_be_trained_as_it_is(whole: lab.SearchRun, tmp_path: Path) -> None:
    assert whole.best is not None
    spec = check_one(whole.best)
    best = int(whole.table.sort_values(["objective", "trial"], ascending=[False, True])["trial"].iloc[0])
    tried, _ = play.read_trial(whole.directory / f"trial_{best}")
    assert spec == tried.model_copy(update={"name": "tiny_best"})
    assert not lab.train(spec, tmp_path, quiet=True, graphs=False).failed


@pytest.mark.usefixtures("without_ray")
def test_a_setting_that_makes_nan_is_failed_and_never_best(tmp_path: Path) -> None:
    env = {"name": "Pendulum-v1", "max_frame": 400}
    space = {"agent.net.optim_spec.lr__grid_search": [1e30, 0.001]}
    run = search(tmp_path, space, env=env, agent=STEEP, meta={"max_trial": 1, "max_member": 64})
    assert run.table["state"].tolist() == ["DONE", "FAILED", "DONE"], "in one program"
    assert run.table["objective"].isna().tolist() == [False, True, False]
    assert (run.table["objective"].dropna() < 0).all() and run.best is not None
    lr = check_one(run.best).agent[0].net.optim_spec.lr  # type: ignore[union-attr]
    assert lr in (0.01, 0.001)
    (failed,) = (line for line in journal_of(run.directory) if line.get("state") == "FAILED")
    assert failed["trial"] == 1 and "not a finite number" in failed["reason"] and failed["score"] is None


@pytest.mark.usefixtures("without_ray")
def test_a_search_whose_trials_all_fail_ends_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steep = AGENT | {"net": AGENT["net"] | {"optim_spec": {"name": "SGD", "lr": 1e30}}}
    space = {"agent.algorithm.gamma__grid_search": [0.9, 0.95]}
    raw = raw_of(space, {"name": "tests.own:Corridor"}, {"search_spec": {"name": "grid"}, "max_member": 64}, steep)
    (tmp_path / "spec.json").write_text(json.dumps({"steep": raw}))
    assert call(monkeypatch, "run", tmp_path / "spec.json", "search", "--data", tmp_path / "data", "--no-graphs") == 1
    printed = capsys.readouterr()
    assert "grid search over 1 key, 3 trials x 2 sessions" in printed.out
    assert "3 trials FAILED (0, 1, 2)" in printed.out and "not a finite number" in printed.out
    assert "ray" not in (printed.out + printed.err).replace("array", "").lower()
    (directory,) = (tmp_path / "data").iterdir()
    assert not (directory / "best_spec.json").exists()


WORLD = '''
"""An environment of a user's own."""
import gymnasium
import numpy as np

from slmx.algorithm.ppo import PPO
from slmx.member.hyper import PerMember


class World(gymnasium.Env):
    observation_space, action_space = gymnasium.spaces.Box(0, 1, (1,), np.float32), gymnasium.spaces.Discrete(2)
    def __init__(self, patience=10**9, render_mode=None):
        self.patience = patience
    def reset(self, *, seed=None, options=None):
        self.age = 0
        return np.zeros(1, np.float32), {}
    def step(self, action):
        self.age += 1
        if self.age > self.patience:
            raise ValueError("the world is tired")
        return np.zeros(1, np.float32), float(action), False, self.age >= 10, {}


class Mine(PPO):
    """PPO by another name."""
    class Hyper(PPO.Hyper):
        """With a key of its own."""
        zeal: PerMember = 1.0
'''


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    """An environment that lies where only this process looks for it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "my_world.py").write_text(WORLD)
    monkeypatch.syspath_prepend(tmp_path / "outside")
    return {"name": "my_world:World"}


def test_own_classes_are_found_by_the_workers_and_what_breaks_in_them_is_said(world: Keys, tmp_path: Path) -> None:
    agent = AGENT | {"algorithm": AGENT["algorithm"] | {"name": "my_world:Mine"}}
    env = world | {"kwargs": {"patience": 100}}
    space = {"agent.algorithm.zeal__choice": [0.5], "env.kwargs.patience__grid_search": [5, 200]}
    run = search(tmp_path, space, env=env, agent=agent, meta={"max_trial": 1})
    assert run.table["state"].tolist() == ["DONE", "FAILED", "DONE"]
    assert run.table["agent.0.algorithm.zeal"].tolist() == [1.0, 0.5, 0.5]
    states = json.loads((run.directory / "trial_1" / "sessions.json").read_text())
    assert {state["reason"] for state in states} == {"ValueError: the world is tired (my_world.py, line 20)"}
    assert "Traceback" in (run.directory / "trial_1" / "error.txt").read_text()


def test_a_worker_that_dies_fails_its_trials(tmp_path: Path) -> None:
    space = {"env.kwargs.deadly__grid_search": [True, False]}
    env = {"name": "tests.own:Deadly", "kwargs": {"deadly": False}}
    run = search(tmp_path, space, env=env, meta={"search_spec": {"name": "grid"}})
    assert run.table["state"].tolist() == ["DONE", "FAILED", "DONE"]
    states = json.loads((run.directory / "trial_1" / "sessions.json").read_text())
    assert {state["reason"] for state in states} == {"its worker died; is there enough memory?"}


@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize("searcher", ["optuna", "hyperopt"])
def test_searchers_that_learn_search_too(searcher: str, tmp_path: Path) -> None:
    run = search(tmp_path, meta={"search_spec": {"name": searcher, "startup": 1}, "max_trial": 4, "max_member": 4})
    assert run.table["state"].tolist() == ["DONE"] * 5


@pytest.mark.usefixtures("without_ray")
def test_several_objectives_leave_their_front(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    searcher = {"name": "optuna", "sampler": "nsga2", "population": 2, "objectives": [{"metric": "strength_corrected"}]}
    searcher["objectives"] += [{"metric": "stability_corrected", "mode": "min"}]
    spec = spec_of(SPACE, meta={"search_spec": searcher, "max_trial": 6, "max_member": 8})
    run = lab.search(spec, tmp_path, graphs=False)
    table = pd.read_csv(run.directory / "experiment.csv")
    names = ["objective", "objective_strength_corrected", "objective_stability_corrected"]
    columns = list(table.columns)
    assert columns[columns.index("objective") : columns.index("pareto") + 1] == [*names, "pareto"]
    assert table[names[1]].tolist() == pytest.approx(table["strength_corrected"].tolist())
    goodness = table[names].to_numpy() * [1, 1, -1]
    for own, stands in zip(goodness, table["pareto"], strict=True):
        assert stands == (not ((goodness >= own).all(1) & (goodness > own).any(1)).any())
    best = int(table.sort_values(["objective", "trial"], ascending=[False, True])["trial"].iloc[0])
    assert run.best is not None, "which the one objective decides"
    assert check_one(run.best) == play.read_trial(run.directory / f"trial_{best}")[0].model_copy(
        update={"name": "tiny_best"}
    )
    ended = [line for line in journal_of(run.directory) if line["event"] == "ended"]
    by_trial = {line["trial"]: [line["score"], *line["others"]] for line in ended}
    assert [by_trial[trial] for trial in table["trial"]] == pytest.approx(table[names].to_numpy())
    printed = capsys.readouterr().out
    assert f"{table['pareto'].sum()} of 7 trials beaten by no other in all objectives" in printed
    assert "strength_corrected" in printed


def test_what_cannot_be_searched_is_a_spec_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="search: there is nothing to search; for example"):
        search(tmp_path, {})
    with pytest.raises(SpecError, match=r"meta.resources.cpu: 1e\+06 for each program, but there is"):
        search(tmp_path, meta={"resources": {"cpu": 1e6}})
    with pytest.raises(SpecError, match=r"meta.objective.metric: strength needs the standard return of tests.own"):
        search(tmp_path, env={"name": "tests.own:Corridor"}, meta={"objective": {"metric": "strength"}})
    assert not list(tmp_path.iterdir())
