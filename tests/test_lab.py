"""The lab from end to end: what a run leaves on disk, that it repeats, and sessions that fail or are stopped."""

from __future__ import annotations

import copy
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from ctypes.util import find_library
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from slmx import lab, play
from slmx.analysis.analyze import analyze
from slmx.analysis.standards import load_standards
from slmx.env import describe
from slmx.env.spec import EnvSpec
from slmx.errors import SlmxError
from slmx.evaluation import evaluate
from slmx.memory.episodes import Episodes
from slmx.run_directory import provenance
from slmx.session import Program, Session
from slmx.spec.benchmark import is_benchmark
from slmx.spec.build import build
from slmx.spec.check import problems
from slmx.spec.dump import with_settings
from slmx.spec.load import find, load, read
from slmx.spec.model import Spec
from tests import own_learning
from tests.command import call

ROOT = Path(__file__).parents[1]
SPEC_FILES = [path for path in find([ROOT / "spec"]) if not is_benchmark(read(path))]
NET = {"type": "MLP", "hid_layers": [16], "optim_spec": {"name": "Adam", "lr": 0.003}}
AGENTS: dict[str, dict[str, Any]] = {
    "PPO": {
        "algorithm": {"name": "PPO", "time_horizon": 32, "minibatch_size": 64, "training_epoch": 2},
        "memory": {"name": "Rollout"},
        "net": NET,
    },
    "DQN": {
        "algorithm": {"name": "DQN", "training_start_step": 64, "training_frequency": 4},
        "memory": {"name": "Replay", "max_size": 2000},
        "net": NET,
    },
    "REINFORCE": {"algorithm": {"name": "REINFORCE"}, "memory": {"name": "Episodes", "episodes": 2}, "net": NET},
}
REPEATABLE = ("session_{}.csv", "episodes_{}.csv", "eval_{}.csv")


def agent(algorithm: str = "PPO", **changes: Any) -> dict[str, Any]:
    """An agent with small networks and short rollouts."""
    return {"name": algorithm.lower()} | copy.deepcopy(AGENTS[algorithm]) | changes


def spec_of(agents: Any = None, envs: Any = "CartPole-v1", *, frames: int = 1024, **groups: Any) -> Spec:
    """A small spec: one agent in CartPole, two bodies, two sessions, where nothing else is said."""
    envs = [envs] if isinstance(envs, str) else envs
    envs = [{"name": e, "max_frame": frames} if isinstance(e, str) else e for e in envs]
    raw = {
        "agent": agents or [agent()],
        "env": envs,
        "body": groups.get("body", {"num": 2}),
        "meta": {"max_session": 2, "eval_episode": 3, **groups.get("meta", {})},
    }
    return build("tiny", raw)


def train(spec: Spec, data: Path, **options: Any) -> lab.Run:
    """Train in silence, without graphs."""
    return lab.train(spec, data, quiet=True, **{"graphs": False, **options})


def table(run: lab.Run, name: str) -> Any:
    """A table of the run's only trial, a pandas.DataFrame."""
    return pd.read_csv(run.directory / "trial_0" / name)


def tables(run: lab.Run, sessions: tuple[int, ...] = (0, 1)) -> dict[str, bytes]:
    """The bytes of all tables of some sessions, wall clock apart."""
    trial = run.directory / "trial_0"
    return {name: (trial / name).read_bytes() for s in sessions for name in (n.format(s) for n in REPEATABLE)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> lab.Run:
    """A run with graphs."""
    return train(spec_of(meta={"eval_frequency": 512}), tmp_path_factory.mktemp("whole"), graphs=True)


def test_a_run_leaves_the_whole_layout(whole: lab.Run) -> None:
    left = {str(path.relative_to(whole.directory)) for path in whole.directory.rglob("*") if path.is_file()}
    expected = {"spec.json", "run.json", "experiment.csv"}
    expected |= {
        f"trial_0/{name}" for name in ("spec.json", "sessions.json", "trial.csv", "speed.csv", "trial_graph.html")
    }
    for s in (0, 1):
        names = (
            "session_{}.csv",
            "episodes_{}.csv",
            "eval_{}.csv",
            "session_{}_graph.html",
            "model/session_{}.safetensors",
        )
        expected |= {f"trial_0/{name.format(s)}" for name in names}
    assert expected <= left
    assert all(name.endswith(".png") or name == "plotly.min.js" for name in left - expected), "nothing temporary stays"
    assert whole.directory.name.startswith("tiny_20")


def test_tables_have_their_columns(whole: lab.Run) -> None:
    rows, episodes = table(whole, "session_0.csv"), table(whole, "episodes_0.csv")
    assert list(rows.columns[:7]) == ["frame", "agent", "env", "episode", "return", "return_ma", "length"]
    assert {"loss", "policy_loss", "value_loss", "entropy", "lr", "grad_norm"} <= set(rows)
    assert list(episodes) == ["frame", "agent", "env", "body", "episode", "return", "length", "end"]
    assert list(table(whole, "eval_0.csv")) == ["frame", "agent", "env", "episode", "seed", "return", "length"]
    assert list(table(whole, "speed.csv")) == ["frame", "seconds", "frames_per_second"]
    trial = table(whole, "trial.csv")
    assert list(trial.columns[:8]) == ["session", "seed", "agent", "env", "state", "reason", "frame", "final_return"]
    assert trial["state"].tolist() == ["DONE", "DONE"] and trial["frame"].tolist() == [1024, 1024]
    # frames rise to the end, and the tables agree with one another
    assert rows["frame"].is_monotonic_increasing and rows["frame"].iloc[-1] == 1024
    assert rows["episode"].iloc[-1] == len(episodes) == episodes["episode"].iloc[-1] + 1
    assert rows["return_ma"].iloc[-1] == pytest.approx(episodes["return"].tail(100).mean())
    assert set(episodes["body"]) == {0, 1} and set(episodes["end"]) <= {"terminated", "truncated"}
    assert (episodes["return"] == episodes["length"]).all(), "CartPole pays 1 a step"


def test_the_saved_spec_restores_and_says_where_it_ran(whole: lab.Run) -> None:
    saved = json.loads((whole.directory / "spec.json").read_text())
    assert {"spec", "slmx", "git_sha", "versions", "backend", "fitness"} <= set(saved)
    spec, ended = play.read_trial(whole.directory / "trial_0")
    assert spec == spec_of(meta={"eval_frequency": 512})
    assert [session.state for session in ended] == ["DONE", "DONE"]
    assert saved["backend"] == ["envpool"] and saved["fitness"]["CartPole-v1"]["std_return"] == 475


def test_evaluations_come_at_their_frequency_and_at_the_end(whole: lab.Run) -> None:
    evaluated = table(whole, "eval_1.csv")
    assert evaluated["frame"].drop_duplicates().tolist() == [512, 1024]
    assert evaluated["episode"].tolist() == [0, 1, 2] * 2
    final = evaluated[evaluated["frame"] == 1024]["return"]
    assert table(whole, "trial.csv")["final_return"][1] == pytest.approx(final.mean())


def test_analyze_makes_the_same_tables_from_files_alone(whole: lab.Run, tmp_path: Path) -> None:
    copied = tmp_path / whole.directory.name
    shutil.copytree(whole.directory, copied)
    for name in ("experiment.csv", "trial_0/trial.csv", "trial_0/trial_graph.html"):
        (copied / name).unlink()
    analyze(copied, graphs=False)
    for name in ("experiment.csv", "trial_0/trial.csv"):
        assert (copied / name).read_bytes() == (whole.directory / name).read_bytes()
    assert not (copied / "trial_0/trial_graph.html").exists()


def test_the_same_spec_and_seed_give_the_same_bytes(whole: lab.Run, tmp_path: Path) -> None:
    again = train(spec_of(meta={"eval_frequency": 512}), tmp_path)
    assert tables(again) == tables(whole)
    models = [run.directory / "trial_0/model/session_1.safetensors" for run in (again, whole)]
    assert models[0].read_bytes() == models[1].read_bytes()
    other = train(spec_of(meta={"eval_frequency": 512, "seed": 1}), tmp_path)
    assert tables(other) != tables(whole)


@pytest.mark.parametrize("algorithm", AGENTS)
def test_a_session_alone_is_that_session_in_company(algorithm: str, tmp_path: Path) -> None:
    wide = {"dtype": "float64"}
    company = train(spec_of([agent(algorithm)], frames=600, meta={"max_session": 3, **wide}), tmp_path)
    alone = train(spec_of([agent(algorithm)], frames=600, meta={"max_session": 1, **wide}), tmp_path)
    for name in REPEATABLE:
        one, other = table(alone, name.format(0)), table(company, name.format(0))
        pd.testing.assert_frame_equal(one, other, rtol=1e-5)


@pytest.fixture(scope="module")
def swing(tmp_path_factory: pytest.TempPathFactory) -> lab.Run:
    """A run with normalised observations, whose statistics must be saved with the model."""
    env = {"name": "Pendulum-v1", "max_frame": 800, "normalize_obs": True, "normalize_reward": True}
    return train(spec_of(envs=[env]), tmp_path_factory.mktemp("swing"))


def test_enjoy_repeats_returns_that_the_last_bit_of_a_network_changes(tmp_path: Path) -> None:
    """Continuous actions of networks that a BLAS may round otherwise alone than in company."""
    net = NET | {"hid_layers": [64, 64]}
    env = {"name": "Pendulum-v1", "max_frame": 1600}
    a2c = {"name": "a2c", "algorithm": {"name": "A2C"}, "memory": {"name": "Rollout"}, "net": net}
    run = train(spec_of([a2c], [env], meta={"max_session": 5, "eval_episode": 20}), tmp_path)
    assert all(lab.enjoy(run.directory, session=session).repeats for session in range(5))


@pytest.mark.parametrize("name", ["whole", "swing"])
def test_enjoy_repeats_the_final_evaluation(name: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(name)
    for session in (0, 1):
        played = lab.enjoy(run.directory, session=session)
        assert played.repeats
        evaluated = table(run, f"eval_{session}.csv")
        final = evaluated[evaluated["frame"] == evaluated["frame"].max()]["return"]
        assert played.returns == pytest.approx(final.tolist(), rel=1e-9)
    assert lab.enjoy(run.directory / "trial_0").session == 0


def test_episodes_without_end_count_in_an_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Left out, the episodes that a policy never ends would leave no score, or the score of the others."""
    monkeypatch.setattr("slmx.evaluation.LONGEST_EPISODE", 5)  # no pole falls so soon
    program = Program([Session(spec_of(), 0, index) for index in range(2)])
    evaluations = evaluate(program, 3)
    assert [(e.member, e.total, e.length) for e in evaluations] == [(m, 5.0, 5) for m in (0, 1) for _ in range(3)]


def test_enjoy_plays_other_episodes_on_request(swing: lab.Run) -> None:
    final = lab.enjoy(swing.directory).returns
    other = lab.enjoy(swing.directory, seed=7)
    assert other.returns != final and other.stored is None
    assert lab.enjoy(swing.directory, seed=7).returns == other.returns
    assert len(lab.enjoy(swing.directory, episodes=5).returns) == 5


def test_enjoy_on_the_command_line(
    swing: lab.Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "run", swing.directory, "enjoy", "--session", "1") == 0
    out = capsys.readouterr().out
    assert "session 1: return -" in out and "over 3 episodes" in out and "the same as its final evaluation" in out
    assert call(monkeypatch, "enjoy", swing.directory, "--quiet") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_film_shows_the_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from imageio_ffmpeg import count_frames_and_secs

    env = {"name": "tests.own:Corridor", "max_frame": 200}
    run = train(spec_of(envs=[env], meta={"max_session": 1}), tmp_path)
    film = tmp_path / "films" / "corridor.mp4"
    assert call(monkeypatch, "enjoy", run.directory, "--video", film, "-n", "2", "-q") == 0
    lengths = sum(e.length for e in lab.enjoy(run.directory, episodes=2).evaluations)
    pictures, seconds = count_frames_and_secs(film)
    assert pictures == lengths and seconds == pytest.approx(lengths / 30, abs=0.1)


def test_what_is_shown_of_several_agents_and_environments_is_the_stored_evaluation(tmp_path: Path) -> None:
    from imageio_ffmpeg import count_frames_and_secs

    envs = [{"name": "CartPole-v1", "max_frame": 256}, {"name": "Acrobot-v1", "max_frame": 256, "max_t": 30}]
    run = train(spec_of([agent(), agent("REINFORCE")], envs, meta={"max_session": 1, "dtype": "float64"}), tmp_path)
    played = lab.enjoy(run.directory, video=tmp_path / "film.mp4")
    assert len(played.returns) == 3 * 4 and played.repeats
    for e in (0, 1):  # whose pictures differ in size
        lengths = [one.length for one in played.evaluations if one.env == e]
        longest = sum(map(max, lengths[:3], lengths[3:]))  # an episode of both agents at once
        assert count_frames_and_secs(tmp_path / f"film_env_{e}.mp4")[0] == longest


@pytest.mark.skipif(find_library("EGL") is None, reason="there is nothing that draws MuJoCo without a screen")
def test_mujoco_is_filmed_without_a_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from imageio_ffmpeg import count_frames_and_secs

    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    run = train(
        spec_of(envs=[{"name": "HalfCheetah-v5", "max_frame": 64, "max_t": 5}], meta={"max_session": 1}), tmp_path
    )
    film = tmp_path / "cheetah.mp4"
    assert call(monkeypatch, "enjoy", run.directory, "--video", film, "-n", "2", "-q") == 0
    assert count_frames_and_secs(film)[0] == 2 * 5


def test_what_was_trained_on_a_gpu_can_be_played_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(spec_of(meta={"max_session": 1}), tmp_path)
    place = run.directory / "trial_0" / "spec.json"
    record = json.loads(place.read_text())
    record["spec"]["meta"]["device"] = "cuda"
    place.write_text(json.dumps(record))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert lab.enjoy(run.directory).repeats


def test_a_failing_session_fails_alone(tmp_path: Path) -> None:
    env = {"name": "tests.own:Poisoned", "max_frame": 600}
    healthy = spec_of(envs=[env], meta={"max_session": 3})
    bodies = Session(healthy, 0, 1).seeds("env", 0).generate_state(2) >> 1
    sick = train(spec_of(envs=[env | {"kwargs": {"seeds": bodies[:1].tolist()}}], meta={"max_session": 3}), tmp_path)
    states = sick.table["state"].tolist()
    assert states == ["DONE", "FAILED", "DONE"] and not sick.failed
    assert tables(sick, (0, 2)) == tables(train(healthy, tmp_path), (0, 2)), "the others do not notice"
    for row in sick.table.to_dict("records"):
        model = sick.directory / f"trial_0/model/session_{row['session']}.safetensors"
        if row["state"] == "FAILED":
            assert "not a finite number" in row["reason"] and row["frame"] < 600 and not model.exists()
            assert np.isnan(row["final_return"])
        else:
            assert row["frame"] == 600 and model.exists() and np.isfinite(row["final_return"])
    with (sick.directory / "experiment.csv").open() as file:
        trial = next(csv.DictReader(file))
    assert trial["state"] == "DONE" and trial["failed"] == "1"
    assert table(sick, "eval_1.csv").empty, "a failed session is not evaluated"
    assert lab.enjoy(sick.directory).session == 0
    with pytest.raises(SlmxError, match="no model of session 1; there are those of: 0, 2"):
        lab.enjoy(sick.directory, session=1)


def test_a_run_whose_sessions_all_fail_ends_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "steep.json"
    steep = agent("PPO", net=NET | {"optim_spec": {"name": "SGD", "lr": 1e30}})
    file.write_text(json.dumps({
        "steep": {"agent": steep, "env": {"name": "CartPole-v1", "max_frame": 2000}, "body": {"num": 2},
            "meta": {"max_session": 2},
        }
    }))  # fmt: skip
    assert call(monkeypatch, "run", file, "--data", tmp_path / "data", "--no-graphs") == 1
    printed = capsys.readouterr()
    assert "FAILED" in printed.out and "not a finite number" in printed.out and "nan" not in printed.out
    (directory,) = (tmp_path / "data").iterdir()
    states = pd.read_csv(directory / "trial_0/trial.csv")
    assert states["state"].tolist() == ["FAILED", "FAILED"]
    assert call(monkeypatch, "enjoy", directory) == 2
    assert "no model" in capsys.readouterr().err


def test_ctrl_c_keeps_what_there_is(tmp_path: Path) -> None:
    file = tmp_path / "long.json"
    file.write_text(json.dumps({"long": {
        "agent": agent(), "env": {"name": "CartPole-v1", "max_frame": 10**8}, "body": {"num": 2},
        "meta": {"max_session": 2, "log_frequency": 256},
    }}))  # fmt: skip
    running = subprocess.Popen(
        [sys.executable, "-m", "slmx", "run", file, "train", "--data", tmp_path / "data", "--no-graphs"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    waited = time.monotonic()
    while not (rows := list((tmp_path / "data").glob("*/trial_0/session_1.csv"))) or rows[0].stat().st_size < 1000:
        assert time.monotonic() - waited < 60 and running.poll() is None
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130 and "interrupted after" in out and "Traceback" not in err
    trial = rows[0].parent
    states = json.loads((trial / "sessions.json").read_text())
    assert [state["state"] for state in states] == ["STOPPED", "STOPPED"] and states[0]["frame"] > 0
    assert len(pd.read_csv(trial / "session_0.csv")) > 2
    assert (trial / "model/session_0.safetensors").exists() and (trial / "trial.csv").exists()
    assert len(lab.enjoy(trial.parent, episodes=2).returns) == 2


@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_one_agent_in_two_environments_at_once(algorithm: str, tmp_path: Path) -> None:
    envs = [{"name": "CartPole-v1", "max_frame": 1536}, {"name": "Acrobot-v1", "max_frame": 3072}]
    run = train(spec_of([agent(algorithm)], envs), tmp_path)
    rows = table(run, "session_0.csv")
    assert rows[["agent", "env"]].drop_duplicates().to_numpy().tolist() == [[0, 0], [0, 1]]
    assert rows.groupby("env")["frame"].max().tolist() == [1536, 3072], "each environment has its own limit"
    assert rows["loss"].notna().any()
    assert set(table(run, "episodes_0.csv")["env"]) == {0, 1}
    evaluated = table(run, "eval_0.csv")
    assert evaluated.groupby("env").size().tolist() == [3, 3]
    played = lab.enjoy(run.directory)
    assert played.repeats
    assert table(run, "trial.csv")["final_return"].notna().tolist() == [True] * 4


def test_two_agents_in_two_environments(tmp_path: Path) -> None:
    agents = [agent("PPO"), agent("DQN")]
    envs = [{"name": "CartPole-v1", "max_frame": 1024}, {"name": "Acrobot-v1", "max_frame": 1024}]
    run = train(spec_of(agents, envs, body={"product": "inner", "num": [4, 1]}), tmp_path)
    rows = table(run, "session_1.csv")
    assert rows[["agent", "env"]].drop_duplicates().to_numpy().tolist() == [[0, 0], [1, 1]]
    assert set(table(run, "episodes_1.csv").query("agent == 0")["body"]) == {0, 1, 2, 3}
    # an agent's neighbour does not matter to it
    alone = train(spec_of(agents[:1], envs[:1], body={"num": 4}), tmp_path)
    columns = ["frame", "return", "length"]
    first = table(run, "episodes_1.csv").query("agent == 0")[columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(first, table(alone, "episodes_1.csv")[columns])


def test_two_agents_in_one_environment_have_bodies_of_their_own(tmp_path: Path) -> None:
    bodies = {"product": "custom", "num": [[0, 0, 0], [0, 0, 1], [1, 0, 0]]}
    run = train(spec_of([agent("PPO"), agent("REINFORCE")], body=bodies, frames=900), tmp_path)
    episodes = table(run, "episodes_0.csv")
    assert episodes[["agent", "body"]].drop_duplicates().sort_values(["agent", "body"]).to_numpy().tolist() == [
        [0, 0], [0, 1], [1, 0],
    ]  # fmt: skip


def test_dev_looks_briefly_and_closely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lab, "has_screen", lambda: False)
    code = call(monkeypatch, "run", ROOT / "spec/demo.json", "dev", "--data", tmp_path, "--no-graphs")
    out = capsys.readouterr().out
    assert code == 0 and "1 session x 5,000 frames" in out and out.count("frames/s") >= 20
    (directory,) = tmp_path.iterdir()
    assert not list(directory.rglob("*.html"))


@pytest.mark.parametrize(
    ("env", "interrupted", "shown"),
    [("CartPole-v1", False, 1), ("CartPole-v1", True, 0), ("tests.own:Worth", False, 0)],
    ids=["as it went", "after Ctrl-C", "without pictures"],
)
def test_dev_shows_what_can_be_seen_where_there_is_a_screen(
    env: str, interrupted: bool, shown: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    ended = lab.Run(tmp_path, pd.DataFrame({"state": ["DONE"]}), interrupted)
    monkeypatch.setattr(lab, "has_screen", lambda: True)
    monkeypatch.setattr(lab, "train", lambda *_, **__: ended)
    monkeypatch.setattr(lab, "enjoy", lambda directory, **options: asked.append(options))
    assert lab.dev(spec_of(envs=env), tmp_path) is ended
    assert asked == [{"episodes": 1, "render": "human"}] * shown


LATE = agent("DQN") | {"algorithm": {"name": "DQN", "training_start_step": 80_000}}


def test_dev_looks_long_enough_to_see_something_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "has_screen", lambda: False)
    late = spec_of([LATE], frames=10**7, meta={"max_session": 2})
    run = lab.dev(late, tmp_path, quiet=True, graphs=False)
    rows = table(run, "session_0.csv")
    assert rows["frame"].max() == 5000 and rows["opt_step"].max() == (5000 - 1250) // 4 + 1
    wide = agent() | {"algorithm": {"name": "PPO", "time_horizon": 4000, "minibatch_size": 8000}}
    brief = lab.brief(spec_of([wide, LATE], frames=10**7))
    assert brief.env[0].max_frame == 4 * 4001, "a rollout of all four bodies"
    assert brief.agent[1].algorithm.training_start_step == 2 * 4001 // 4  # type: ignore[attr-defined]
    short = spec_of(frames=128)
    assert lab.brief(short).env == short.env and lab.brief(short).agent == short.agent


def test_a_short_look_at_any_shipped_spec_sees_it_learn() -> None:
    for file in SPEC_FILES:
        for name, spec in load(file).items():
            said = [str(error) for error in problems(lab.brief(spec)) if "nothing would be learned" in str(error)]
            assert not said, (name, said)


ENOUGH: dict[str, tuple[dict[str, Any], int, str]] = {
    "start": (agent("DQN") | {"algorithm": {"name": "DQN", "training_start_step": 64}}, 64, "training_start_step"),
    "frequency": (
        agent("DQN") | {"algorithm": {"name": "DQN", "training_start_step": 0, "training_frequency": 64}}, 64,
        "training_frequency",
    ),
    "rollout": (agent("PPO"), 64, "time_horizon"),
    "rollout and one": (agent() | {"algorithm": {"name": "SARSA", "time_horizon": 32}}, 66, "time_horizon"),
}  # fmt: skip


@pytest.mark.parametrize("case", ENOUGH)
def test_a_training_in_which_nothing_would_be_learned_is_refused(case: str) -> None:
    one, least, key = ENOUGH[case]
    for frames in (least, least - 2):
        spec = spec_of([one], frames=frames)
        program = Program([Session(spec)])
        program.run()
        assert (program.agents[0].updates > 0) == (frames == least)
        wrong = [f"agent.0.algorithm.{key}"] if frames < least else []
        assert [error.path for error in problems(spec)] == wrong
    assert "nothing would be learned: " in str(problems(spec)[0]) and str(least - 2) in str(problems(spec)[0])


def test_components_of_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    monkeypatch.setattr(own_learning.Recent, "take", lambda self, m: taken.append(m) or Episodes.take(self, m))
    file = tmp_path / "own.json"
    file.write_text(json.dumps({"own": {
        "agent": {
            "name": "cautious",
            "algorithm": {"name": "tests.own_learning:Cautious", "caution": 2.0},
            "memory": {"name": "tests.own_learning:Recent"},
            "net": {"type": "tests.own_learning:Affine", "optim_spec": {"name": "Adam", "lr": 0.05}},
        },
        "env": {"name": "tests.own:Corridor", "max_frame": 6000, "kwargs": {"length": 6}},
        "body": {"num": 2},
        "meta": {"max_session": 2, "eval_episode": 5},
    }}))  # fmt: skip
    assert call(monkeypatch, "run", file, "--data", tmp_path / "data", "--no-graphs", "--quiet") == 0
    (directory,) = (tmp_path / "data").iterdir()
    trial = pd.read_csv(directory / "trial_0/trial.csv")
    assert min(trial["final_return"]) > 0.9, "it learns to walk to the right"
    assert taken, "its own memory was asked"
    saved = json.loads((directory / "spec.json").read_text())
    assert saved["fitness"]["tests.own:Corridor"]["rand_return"] < 0.9
    played = lab.enjoy(directory)
    assert played.repeats


def test_random_returns_repeat_the_shipped_numbers() -> None:
    for name in ("CartPole-v1", "MountainCar-v0"):
        env = EnvSpec.model_validate({"name": name, "max_frame": 1})
        mean, error = lab.random_return(env, describe(env), 1000)
        standard = load_standards()[name]
        assert mean == pytest.approx(standard.rand_return, abs=1e-3)
        assert f"standard error {error:.3f}" in standard.source
    # a walk from the closed end of two cells takes 6 steps on average: E0 = 1 + (E0 + E1) / 2, E1 = 1 + E0 / 2
    env = EnvSpec.model_validate({"name": "tests.own:Corridor", "max_frame": 1, "kwargs": {"length": 2}})
    mean, error = lab.random_return(env, describe(env), 400)
    assert 0 < error < 0.005 and abs(mean - (1 - 5 * 0.01)) < 4 * error
    # six switches, each worth half a point a step, and ten steps on average
    env = EnvSpec.model_validate({"name": "tests.env.probes:Switches", "max_frame": 1})
    mean, error = lab.random_return(env, describe(env), 400)
    assert 0 < error < 2 and abs(mean - 30) < 4 * error


def shipped() -> list[Any]:
    """Every spec of every shipped file; games of Atari and bodies of MuJoCo, but for a file's first, when slow."""
    found, bodies = [], ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5")
    for file in SPEC_FILES:
        seen: set[str] = set()
        for name, spec in load(file).items():
            kind = {"atari"} if file.stem.endswith("_atari") else {"body"} if spec.env[0].name in bodies else set()
            marks = [pytest.mark.slow] if kind & seen else []
            seen |= kind
            found.append(pytest.param(spec, id=f"{file.stem}:{name}", marks=marks))
    return found


@pytest.mark.parametrize("spec", shipped())
def test_every_shipped_spec_trains(spec: Spec, tmp_path: Path) -> None:
    images = any("Frame" in getattr(one.memory, "name", "") or hasattr(one.net, "conv_layers") for one in spec.agent)
    quick: dict[str, Any] = {"meta.max_session": 1, "meta.eval_episode": 1, "meta.eval_frequency": None}
    bodies = max(1, len(spec.body.num) if isinstance(spec.body.num, list) else spec.body.num)
    frames = 300 if images else 600
    for a, one in enumerate(spec.agent):
        hyper, keys = one.algorithm, f"agent.{a}.algorithm"
        horizon = getattr(hyper, "time_horizon", 100)
        if images and hasattr(hyper, "time_horizon"):
            quick[f"{keys}.time_horizon"] = horizon = min(horizon, 32)
        frames = max(frames, 2 * bodies * (horizon + 1))
        for often in ("training_epoch", "training_iter"):
            if hasattr(hyper, often):
                quick[f"{keys}.{often}"] = 1
        if hasattr(one.memory, "episodes"):
            quick[f"agent.{a}.memory.episodes"] = 2
        if hasattr(hyper, "training_frequency"):  # ten times, as often as each time has updates
            quick[f"{keys}.training_start_step"] = 64
            quick[f"{keys}.training_frequency"] = max(hyper.training_frequency, frames // 10)
    quick |= {f"env.{e}.max_frame": frames for e in range(len(spec.env))}
    quick |= {f"env.{e}.max_t": 100 for e, env in enumerate(spec.env) if env.backend != "envpool"}
    run = train(with_settings(spec, quick), tmp_path)
    assert run.table["state"].tolist() == ["DONE"] * len(run.table)
    rows = table(run, "session_0.csv")
    if "opt_step" in rows:
        assert rows["opt_step"].max() >= 2 and rows["loss"].notna().any()


def test_a_package_that_is_not_there_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def without_atari(package: str) -> str:
        if package == "ale-py":  # it comes with an extra
            raise metadata.PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(metadata, "version", without_atari)
    versions = provenance.__wrapped__()["versions"]
    assert versions["ale-py"] == "not installed" and versions["torch"] == version("torch")
