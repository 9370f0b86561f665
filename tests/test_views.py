"""Pictures of what networks see (meta.save_state_img): which there are, of what, and that they change nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from slmx import lab
from slmx.algorithm.base import Algorithm
from slmx.record import Records
from slmx.session import Program, Session
from slmx.spec.build import build
from slmx.spec.check import problems
from slmx.spec.model import Spec
from tests.programs import Keys, spec
from tests.test_resume import interrupted, left, resumed, whole

NET: Keys = {"type": "ConvNet", "conv_layers": [[2, 4, 4]], "hid_layers": [8], "optim_spec": {"name": "Adam"}}
STACK: Keys = {"name": "FrameStackObservation", "stack_size": 3}
CATCH: Keys = {"name": "tests.probes:Catch", "max_frame": 240, "wrappers": [STACK]}
DQN: Keys = {"name": "DQN", "training_start_step": 20, "update_frequency": 50}
WAYS: dict[str, tuple[Keys, Keys, Keys]] = {
    "DQN": (DQN, {"name": "FrameReplay", "max_size": 100, "batch_size": 8}, NET),
    "DQN of a perceptron": (
        DQN, {"name": "Replay", "max_size": 100, "batch_size": 8},
        {"type": "MLP", "hid_layers": [8], "optim_spec": {"name": "Adam"}},
    ),
    "PPO": ({"name": "PPO", "time_horizon": 10, "minibatch_size": 10}, {"name": "Rollout"}, NET),
}  # fmt: skip


def seen(way: str = "DQN", env: Keys | None = None, **meta: Any) -> Spec:
    """A spec of two sessions, of two bodies each."""
    algorithm, memory, net = WAYS[way]
    settings = {"max_session": 2, "log_frequency": 40, "checkpoint_frequency": 80, "eval_frequency": 60, **meta}
    return spec(algorithm, memory, CATCH | (env or {}), net, 2, settings)


def pictures(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name.removeprefix("trial_0/img/"): content for name, content in files.items() if "/img/" in name}


def others(files: dict[str, bytes]) -> dict[str, bytes]:
    """All but the pictures and what says that there are any."""
    return {name: file for name, file in files.items() if "/img/" not in name and not name.endswith("spec.json")}


@pytest.fixture
def acted_on(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """What the only agent has acted on in its training, `[M, B, C, H, W]` each."""
    kept: list[np.ndarray] = []
    act = Algorithm.act

    def noted(self: Algorithm, obs: Any, greedy: bool = False) -> Any:
        if not greedy:
            kept.append(obs[0].numpy().copy())
        return act(self, obs, greedy)

    monkeypatch.setattr(Algorithm, "act", noted)
    return kept


@pytest.mark.parametrize("way", WAYS)
def test_they_show_what_is_acted_on_and_change_nothing(way: str, tmp_path: Path, acted_on: list[np.ndarray]) -> None:
    """Tables and models are the same, byte for byte."""
    one = seen(way, save_state_img=20)
    assert not problems(one)
    files = whole(one, tmp_path / "seen")
    frames, obs = range(20, 241, 20), [*acted_on]
    assert sorted(pictures(files)) == sorted(f"session_{s}_{frame}.png" for s in (0, 1) for frame in frames)
    for name, content in pictures(files).items():
        session, frame = map(int, name.removesuffix(".png").split("_")[1:])
        shown = imageio.imread(content)
        assert shown.dtype == np.uint8 and shown.shape == (10, 30)
        np.testing.assert_array_equal(shown, np.hstack(list(obs[frame // 2 - 1][session, 0])))
    assert len(set(pictures(files).values())) > 10
    plain = whole(seen(way), tmp_path / "plain")
    assert others(files) == others(plain) and not pictures(plain)
    assert any(name.endswith(".safetensors") for name in plain) and any(name.endswith(".csv") for name in plain)


def test_a_resumed_run_leaves_the_same_pictures(tmp_path: Path) -> None:
    one = seen(save_state_img=30)
    directory = interrupted(one, tmp_path, 120)
    assert 0 < len(pictures(left(directory))) < 16
    files = resumed(directory)
    assert files == whole(one, tmp_path) and len(pictures(files)) == 16


def test_who_is_seen_where_is_said_where_there_are_several(tmp_path: Path) -> None:
    """Of what is no image there is no picture, nor of an environment that is over."""
    envs = [CATCH | {"max_frame": 40}, {"name": "CartPole-v1", "max_frame": 80}, CATCH | {"max_frame": 80}]
    agents = [{"name": name, "algorithm": {"name": "Random"}} for name in ("one", "other")]
    meta = {"max_session": 1, "eval_episode": 1, "save_state_img": 40}
    run = lab.train(build("two", {"agent": agents, "env": envs, "meta": meta}), tmp_path, quiet=True, graphs=False)
    expected = [f"session_0_40_agent_{a}_env_{e}.png" for a in (0, 1) for e in (0, 2)]
    expected += [f"session_0_80_agent_{a}_env_2.png" for a in (0, 1)]
    assert sorted(pictures(left(run.directory))) == sorted(expected)


def test_each_trial_of_a_program_has_its_own(tmp_path: Path) -> None:
    one = seen(save_state_img=120)
    sessions = [Session(one, trial, index) for trial in (3, 5) for index in (0, 1)]
    program = Program(sessions)
    for trial in (3, 5):
        (tmp_path / f"trial_{trial}").mkdir()
    records = program.watcher = Records(tmp_path, sessions)
    records.open_ports(program)
    rows: Iterator[bool] = program.rows()
    while program.tick < 60:
        next(rows)
    records.failed(3, 120, "for a test")
    for _ in rows:
        pass
    names = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")]
    every = {f"trial_{trial}/img/session_{s}_{frame}.png" for trial in (3, 5) for s in (0, 1) for frame in (120, 240)}
    assert set(names) == every - {"trial_5/img/session_1_240.png"}, "none of what has failed"


def test_atari_is_seen_as_it_is_prepared(tmp_path: Path) -> None:
    env = {"name": "Pong-v5", "max_frame": 40, "max_t": 30, "atari": {"img_height": 24, "img_width": 20}}
    one = spec({"name": "Random"}, {}, env, {}, 2, {"max_session": 1, "save_state_img": 20})
    files = pictures(left(lab.train(one, tmp_path, quiet=True, graphs=False).directory))
    assert [imageio.imread(content).shape for content in files.values()] == [(24, 80)] * 2


WRONG: dict[str, tuple[Keys, Keys, str]] = {
    "no images": (
        {"name": "CartPole-v1", "wrappers": []}, {},
        "there are no images: CartPole-v1 (env.0) shows 4 numbers; set it to null",
    ),
    "too late": (
        {}, {"save_state_img": 241},
        "takes no picture: 241 is more than 240 frames; set it to fewer, or to null for none",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_pictures_that_there_would_be_none_of_are_one_error(case: str) -> None:
    env, meta, wrong = WRONG[case]
    one = seen("DQN of a perceptron", env, **{"save_state_img": 20, **meta})
    assert [str(error) for error in problems(one)] == [f"meta.save_state_img: {wrong}"]
    without = one.model_copy(update={"meta": one.meta.model_copy(update={"save_state_img": None})})
    assert not problems(without)


def test_what_is_told_is_a_copy() -> None:
    program = Program([Session(seen(save_state_img=20), 0, 0)])
    obs = torch.zeros(1, 2, 3, 4, 4, dtype=torch.uint8)
    (view,) = program._views([[obs]])
    view.image[:] = 9
    assert not obs.any()
