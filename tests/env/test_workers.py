"""Environments stepped by processes (env.workers): the same samples, errors as they are, and nothing left behind."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from slmx.env import EnvSpec, describe, make
from slmx.env.base import Env
from slmx.env.gymnasium import GymnasiumEnv
from slmx.env.workers import WorkerEnv
from slmx.errors import SpecError
from slmx.spec.model import Spec
from tests.processes import running
from tests.programs import Keys, spec
from tests.test_resume import A2C, interrupted, resumed, whole

NAMES = {"CartPole-v1": 20, "Pendulum-v1": 15, "tests.env.probes:Walk": 15, "tests.env.probes:Dials": 15}
SEEDS = np.arange(6).reshape(2, 3)
RIGHT = np.ones(SEEDS.shape, np.int64)


def spec_of(name: str, workers: int, **keys: Any) -> EnvSpec:
    return EnvSpec(name=name, backend="gymnasium", max_frame=1, workers=workers, **keys)


def played(env: Env) -> list[np.ndarray]:
    """All that an environment emits, over many episodes, and after being reset as a whole."""
    rng, emitted = np.random.default_rng(0), []
    try:
        for _ in range(2):
            emitted.append(env.reset())
            for _ in range(50):
                shape = (env.members, env.rows, *(env.action_space.shape or ()))
                real = isinstance(env.action_space, spaces.Box)
                step = env.step(rng.normal(size=shape).astype(np.float32) if real else rng.integers(2, size=shape))
                emitted += [step.obs, step.next_obs, step.reward, step.terminated, step.truncated]
    finally:
        env.close()
    return emitted


@pytest.mark.parametrize("name", NAMES)
def test_processes_emit_what_one_emits(name: str) -> None:
    env = make(spec_of(name, 0, max_t=NAMES[name]), SEEDS)
    assert type(env) is GymnasiumEnv
    expected = played(env)
    copies = [array.copy() for array in expected]
    for workers in (3, 16):
        env = make(spec_of(name, workers, max_t=NAMES[name]), SEEDS)
        assert isinstance(env, WorkerEnv) and len(env._workers) == min(workers, SEEDS.size)
        ends = 0
        for one, other, copy in zip(expected, played(env), copies, strict=True):
            np.testing.assert_array_equal(one, other, strict=True)
            np.testing.assert_array_equal(one, copy)
            ends += one.dtype == np.bool_ and int(one.sum())
        assert ends > 10, "through the ends of episodes"


def test_the_picture_is_that_of_the_first_copy() -> None:
    pictures = []
    for workers in (0, 2):
        env = make(spec_of("tests.own:Corridor", workers), SEEDS, "rgb_array")
        env.reset()
        pictures.append(env.render())
        env.close()
    np.testing.assert_array_equal(*pictures)


def frail(workers: int = 2, **kwargs: Any) -> Env:
    return make(spec_of("tests.own:Frail", workers, kwargs=kwargs), SEEDS)


def test_an_error_in_a_process_comes_out_as_what_it_is() -> None:
    for workers in (0, 2):
        env = frail(workers, breaks=7)
        env.reset()
        with pytest.raises(ArithmeticError) as caught:
            for _ in range(10):
                env.step(RIGHT)
        env.close()
        assert str(caught.value) == "it broke at 7"
    assert any("own.py" in note and "in step" in note for note in caught.value.__notes__), "with where that was"


def test_an_error_that_cannot_travel_is_told_by_its_name() -> None:
    env = frail(breaks=3, strange=True)
    env.reset()
    with pytest.raises(RuntimeError, match="Strange: it broke at 3"):
        for _ in range(10):
            env.step(RIGHT)
    env.close()


def test_a_process_that_dies_is_an_error() -> None:
    env = make(spec_of("tests.own:Deadly", 2), SEEDS)
    env.reset()
    with pytest.raises(ChildProcessError, match=r"a process that steps tests.own:Deadly ended with code 1"):
        env.step(RIGHT)
    env.close()


def test_an_environment_that_cannot_be_made_in_a_process_is_an_error() -> None:
    before = describe(spec_of("tests.own:Frail", 2))
    assert before == describe(spec_of("tests.own:Frail", 0))
    with pytest.raises(ArithmeticError, match="nobody is to make it twice"):
        frail(once=True)


def test_closed_environments_leave_no_process_and_say_goodbye(tmp_path: Path) -> None:
    env: Any = frail(3, farewell=str(tmp_path / "closed"))
    processes = [worker._process for worker in env._workers]
    env.reset()
    env.close()
    assert [process.poll() for process in processes] == [0, 0, 0]
    assert (tmp_path / "closed").read_text() == "." * SEEDS.size, "each copy was closed"
    env.close()


def training(workers: int) -> Spec:
    env: Keys = {"name": "tests.own:Corridor", "max_frame": 300, "normalize_obs": True, "workers": workers}
    meta = {"max_session": 2, "log_frequency": 50, "eval_episode": 3, "checkpoint_frequency": 150}
    return spec(A2C, {"name": "Rollout"}, env, bodies=3, meta=meta)


def test_a_training_leaves_the_same_and_is_resumed(tmp_path: Path) -> None:
    files = whole(training(0), tmp_path), resumed(interrupted(training(2), tmp_path, 250))
    plain, worked = ({name: x for name, x in own.items() if not name.endswith("spec.json")} for own in files)
    assert plain == worked and len(plain) > 10


def test_threads_are_not_workers() -> None:
    with pytest.raises(
        SpecError, match=r"workers: envpool steps its copies in threads, which are meta.threads; or choose"
    ):
        describe(EnvSpec(name="CartPole-v1", max_frame=1, workers=2))
    assert EnvSpec(name="CartPole-v1", backend="envpool", max_frame=1, workers=2).conflicts() == {
        "workers": "envpool steps its copies in threads, which are meta.threads"
    }


@pytest.mark.parametrize(("number", "seconds"), [(signal.SIGINT, 0.001), (signal.SIGKILL, 1000.0)])
def test_no_process_outlives_the_program(number: signal.Signals, seconds: float, tmp_path: Path) -> None:
    """Be it between two steps or in the middle of one that takes long."""
    env = {"name": "tests.own:Frail", "max_frame": 10**7, "workers": 2, "kwargs": {"seconds": seconds}}
    meta = {"max_session": 1, "log_frequency": 100}
    raw = {"agent": {"name": "a", "algorithm": {"name": "Random"}}, "env": env, "body": {"num": 4}, "meta": meta}
    raw["env"]["kwargs"]["mark"] = str(tmp_path / "stepped")
    (tmp_path / "spec.json").write_text(json.dumps({"long": raw}))
    (tmp_path / "_fitness.json").write_text("{}")
    with running("run", "spec.json", "train", "--no-graphs", cwd=tmp_path) as command:
        command.wait_for(lambda: (tmp_path / "stepped").exists() and len(command.alive()) >= 3)
        command.gone(number)
