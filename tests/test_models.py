"""The models that a run keeps (meta.save): which, that each can be played, and that a resumed run keeps the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from slmx import lab
from slmx.errors import SlmxError
from slmx.model_file import read_model
from slmx.record import Recorder
from slmx.session import Program, Session
from slmx.spec.build import build
from slmx.spec.check import problems
from slmx.spec.model import Spec
from slmx.watch import Evaluation
from tests import test_members as members
from tests.command import call
from tests.programs import Keys, parameters, spec
from tests.search.specs import AGENT
from tests.search.test_resume import whole as searched
from tests.test_resume import A2C, ENV, interrupted, resumed, whole


def kept(save: str | int, bodies: int = 2, env: Keys | None = None, **meta: Any) -> Spec:
    settings = {"max_session": 2, "log_frequency": 50, "eval_frequency": 200, "eval_episode": 2, "save": save, **meta}
    return spec(A2C, {"name": "Rollout"}, ENV | (env or {}), bodies=bodies, meta=settings)


def train(one: Spec, data: Path) -> Path:
    return lab.train(one, data, quiet=True, graphs=False).directory


def models(directory: Path) -> set[str]:
    """The names of the models in a run's only trial, without what is common to all."""
    return {path.stem.removeprefix("session_") for path in (directory / "trial_0/model").glob("*.safetensors")}


def evaluations(directory: Path, session: int) -> Any:
    """The mean return of each evaluation of a session, by frame, a pandas.Series."""
    return pd.read_csv(directory / f"trial_0/eval_{session}.csv").groupby("frame")["return"].mean()


FRAMES = {
    "last": ([], [200, 400, 600], False),
    "best": ([], [200, 400, 600], True),
    150: ([150, 300, 450, 600], [150, 200, 300, 400, 450, 600], False),
    "all": ([200, 400, 600], [200, 400, 600], True),
}


@pytest.mark.parametrize("save", FRAMES)
def test_models_are_kept_as_it_is_asked_for(save: str | int, tmp_path: Path) -> None:
    frames, evaluated, best = FRAMES[save]
    directory = train(kept(save), tmp_path)
    expected = {f"{s}{end}" for s in (0, 1) for end in ("", *(f"_{f}" for f in frames), *(["_best"] if best else []))}
    assert models(directory) == expected
    assert evaluations(directory, 0).index.tolist() == evaluated, "what is kept every so many frames is evaluated"
    for session in (0, 1):
        for name in ("last", *map(str, frames), *(["best"] if best else [])):
            played = lab.enjoy(directory, session=session, model=name)
            assert played.repeats and played.session == session, name
            assert played.frame == (int(name) if name.isdecimal() else played.frame)


def test_the_model_of_a_frame_is_what_had_been_learned_there(tmp_path: Path) -> None:
    directory, seen = train(kept(150), tmp_path), {}
    program = Program([Session(kept(150), 0, index) for index in (0, 1)])
    program.run(lambda program: seen.update({program.frames[0]: parameters(program.agents[0]).clone()}))
    for frame in (150, 300, 600):
        tensors, known, members = read_model(directory / f"trial_0/model/session_1_{frame}.safetensors")
        other = Program([Session(kept(150), 0, 1)])
        other.load([tensors])
        assert (known, members) == (frame, 2) and (parameters(other.agents[0])[0] == seen[frame][1]).all()
    assert "agent.0.normalizer.0.obs_mean" in tensors, "with its statistics"


def test_the_best_is_that_of_the_highest_mean_and_of_equals_the_first(tmp_path: Path) -> None:
    directory = train(kept("all", eval_frequency=50), tmp_path)
    for session in (0, 1):
        means = evaluations(directory, session)
        assert len(means) == 12
        played = lab.enjoy(directory, session=session, model="best")
        assert played.frame == means.idxmax() and sum(played.returns) / 2 == pytest.approx(means.max())
        best, same = (
            (directory / f"trial_0/model/session_{session}_{name}.safetensors").read_bytes()
            for name in ("best", played.frame)
        )
        assert best == same


def test_ties_and_what_is_no_number(tmp_path: Path) -> None:
    one = kept("best", max_session=1)
    program = Program([Session(one)])
    recorder = Recorder(tmp_path, program.sessions)
    asked: list[int] = []
    frames = []
    for frame, returns in [
        (1, [float("nan"), 9.0]),
        (2, [1.0, 3.0]),
        (3, [2.0, 2.0]),
        (4, [0.0, 0.0]),
        (5, [5.0, 0.0]),
    ]:
        recorder.evaluations([Evaluation(0, frame, 0, 0, 0, total, 1) for total in returns])
        recorder.models(frame, lambda m: asked.append(m) or program.model(m), regular=False)
        frames.append(read_model(tmp_path / "model/session_0_best.safetensors")[1] if asked else None)
    assert frames == [None, 2, 2, 2, 5] and asked == [0, 0], "of equals the first; what is no number is never best"


def test_an_environment_that_is_over_before_another(tmp_path: Path) -> None:
    agent = {"name": "a2c", "algorithm": A2C, "memory": {"name": "Rollout"}, "net": members.NET}
    for first, other in ((200, 600), (600, 200)):
        envs = [ENV | {"max_frame": first}, {"name": "Acrobot-v1", "max_frame": other, "max_t": 20}]
        meta = {"max_session": 1, "save": 150, "eval_episode": 2}
        directory = train(build("two", {"agent": agent, "env": envs, "body": {"num": 2}, "meta": meta}), tmp_path)
        assert models(directory) == {"0", "0_150", "0_300", "0_450", "0_600"}
        for name in ("last", "150", "300", "450", "600"):
            assert lab.enjoy(directory, model=name).repeats, name


@pytest.mark.parametrize(
    ("save", "frame"), [("best", 50), ("best", 350), ("all", 250), ("all", 600), (100, 50), (100, 350)]
)
def test_a_resumed_run_keeps_the_same_models(save: str | int, frame: int, tmp_path: Path) -> None:
    one = kept(save, checkpoint_frequency=150, eval_frequency=50)
    expected = whole(one, tmp_path)
    assert sum(name.endswith(".safetensors") for name in expected) > 2
    assert resumed(interrupted(one, tmp_path, frame)) == expected


def test_a_kept_model_that_is_gone_is_trained_again(tmp_path: Path) -> None:
    one = kept("all", checkpoint_frequency=300)
    expected, directory = whole(one, tmp_path), interrupted(one, tmp_path, 450)
    (directory / "trial_0/model/session_1_200.safetensors").unlink()
    (directory / "trial_0/model/session_1_350.safetensors").write_bytes(b"of an earlier attempt")
    shutil.rmtree(directory / "checkpoint")
    assert resumed(directory) == expected


@pytest.mark.parametrize(
    "scheduler", [None, {"name": "halving", "eta": 2.0}, {"name": "pbt", "interval": 80, "quantile": 0.5}]
)
def test_every_trial_of_a_search_keeps_its_own(scheduler: Keys | None, tmp_path: Path) -> None:
    meta = {"max_session": 2, "max_trial": 4, "eval_episode": 2, "log_frequency": 40, "dtype": "float64"}
    meta |= {"scheduler_spec": scheduler, "save": "all", "eval_frequency": 120, "validate": None}
    search = {"agent.algorithm.gamma__uniform": [0.5, 0.99]}
    env = {"name": "CartPole-v1", "max_frame": 320}
    one = build("s", {"agent": AGENT, "env": env, "body": {"num": 2}, "meta": meta, "search": search})
    run = tmp_path / "run"
    searched(run, one, size=5, workers=1)
    for trial in run.glob("trial_*"):
        for session in (0, 1):
            table = pd.read_csv(trial / f"eval_{session}.csv")
            frames = table["frame"].unique().tolist()
            there = {path.stem for path in (trial / "model").glob(f"session_{session}*")}
            assert there == {f"session_{session}{end}" for end in ("", "_best", *(f"_{f}" for f in frames))}
            means = table.groupby("frame")["return"].mean()
            assert read_model(trial / f"model/session_{session}_best.safetensors")[1] == means.idxmax()
            for frame in frames:
                assert lab.enjoy(trial, session=session, model=str(frame)).repeats


def test_a_trial_of_a_search_is_played_in_company_as_large_as_its_programs(tmp_path: Path) -> None:
    """In float32, of which a BLAS rounds a matrix otherwise alone than among several."""
    agent = AGENT | {"name": "a2c", "algorithm": {"name": "A2C"}, "net": AGENT["net"] | {"hid_layers": [64, 64]}}
    meta = {"max_session": 1, "max_trial": 4, "eval_episode": 20, "validate": None}
    search = {"agent.algorithm.gamma__uniform": [0.5, 0.99]}
    env = {"name": "Pendulum-v1", "max_frame": 800}
    one = build("s", {"agent": agent, "env": env, "body": {"num": 2}, "meta": meta, "search": search})
    run = tmp_path / "run"
    searched(run, one, size=5, workers=1)
    trials = sorted(run.glob("trial_*"))
    assert [read_model(trial / "model/session_0.safetensors")[2] for trial in trials] == [5] * 5
    assert all(lab.enjoy(trial).repeats for trial in trials)


def test_a_model_file_of_before_says_its_frame_alone(tmp_path: Path) -> None:
    for said, frame in ((None, None), ({"frame": "200"}, 200)):
        save_file({"x": torch.zeros(1)}, tmp_path / "old.safetensors", said)
        assert read_model(tmp_path / "old.safetensors")[1:] == (frame, None)


def test_models_that_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = train(kept("all"), tmp_path)
    (directory / "trial_0/model/session_0_best.safetensors").unlink()
    trial = directory / "trial_0"
    with pytest.raises(
        SlmxError, match=rf'{trial}: there is no model "300" of any session; there are: best, last, 200'
    ):
        lab.enjoy(directory, model="300")
    with pytest.raises(SlmxError, match=r'no model "best" of session 0; there are: last, 200, 400, 600$'):
        lab.enjoy(directory, session=0, model="best")
    assert lab.enjoy(directory, model="best").session == 1, "the first session that left such a one"
    assert call(monkeypatch, "enjoy", directory, "--model", "best") == 0
    out = capsys.readouterr().out
    assert out.startswith("session 1, frame ") and "the same as its evaluation at that frame" in out
    assert call(monkeypatch, "run", directory, "enjoy", "--model", "nearly") == 2
    assert 'there is no model "nearly" of any session' in capsys.readouterr().err


def test_what_keeps_nothing_but_the_last_is_an_error() -> None:
    several = kept("best")
    several = several.model_copy(
        update={"env": [*several.env, several.env[0].model_copy(update={"name": "Acrobot-v1"})]}
    )
    assert [
        str(error) for one in (kept(600), kept("best", eval_frequency=None), several) for error in problems(one)
    ] == [
        "meta.save: keeps nothing but the model of the end: 600 is not less than 600 frames",
        "meta.save: there is no evaluation before that of the end, whose model is kept anyway; "
        "set meta.eval_frequency to less than 600",
        "meta.save: which model is best cannot be told: returns have no mean over several environments; "
        "keep one every so many frames: give their number",
    ]
    assert not problems(kept("all")) and not problems(kept(599))
