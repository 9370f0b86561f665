"""One suite over every backend: shapes, exact successors, seeds, limits, and agreement between backends."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.box2d.lunar_lander import heuristic
from gymnasium.wrappers import TimeLimit

from slmx.env import BACKENDS, EnvSpec, choose, describe, filmable, make
from slmx.env.ale import _games
from slmx.env.base import Env, Step
from slmx.env.flatten import flat_obs_space, flatten
from slmx.env.spec import AtariSpec, WrapperSpec
from slmx.errors import SlmxError, SpecError
from tests.env.probes import Tally, Walk

WALK, CATCH, PONG = "tests.env.probes:Walk", "tests.probes:Catch", "ALE/Pong-v5"
DIALS, SWITCHES = "tests.env.probes:Dials", "tests.env.probes:Switches"
SWINGUP = "CartpoleSwingup-v1"  # of the DeepMind Control Suite
CONTROL = ["CartPole-v1", "Acrobot-v1", "Pendulum-v1", "LunarLander-v3", "FrozenLake-v1"]
CASES = [(name, backend) for name in CONTROL for backend in ("envpool", "gymnasium")]
CASES += [("LunarLanderContinuous-v3", "envpool"), ("MiniGrid-Empty-5x5-v0", "envpool"), ("HalfCheetah-v5", "envpool")]
CASES += [(WALK, "gymnasium"), (CATCH, "gymnasium"), ("Breakout-v5", "envpool"), (PONG, "gymnasium")]
CASES += [
    (DIALS, "gymnasium"),
    (SWITCHES, "gymnasium"),
    ("Breakout-v5", "ale"),
    ("HalfCheetah-v5", "gymnasium"),
    (SWINGUP, "envpool"),
]
OBS_SHAPES = {
    "CartPole-v1": (4,),
    "Acrobot-v1": (6,),
    "Pendulum-v1": (3,),
    "LunarLander-v3": (8,),
    "LunarLanderContinuous-v3": (8,),
    "FrozenLake-v1": (16,),
    "MiniGrid-Empty-5x5-v0": (4 + 147 + 96,),
    "HalfCheetah-v5": (17,),
    SWINGUP: (5,),
    WALK: (2 + 3 + 2 + 2 + 5,),
    CATCH: (1, 10, 10),
    "Breakout-v5": (4, 84, 84),
    PONG: (3, 210, 160),
    DIALS: (7,),
    SWITCHES: (7,),
}
ALIKE = {"FrozenLake-v1", "MiniGrid-Empty-5x5-v0", CATCH, "Breakout-v5", PONG}  # first observations, or some of them


def spec(name: str, backend: str = "auto", **keys: object) -> EnvSpec:
    return EnvSpec(name=name, backend=backend, max_frame=1000, **keys)


def seeds(*shape: int, first: int = 0) -> np.ndarray:
    return first + np.arange(math.prod(shape)).reshape(shape)


def sample(env: Env, rng: np.random.Generator) -> np.ndarray:
    """Uniformly random actions for every row."""
    shape = (env.members, env.rows)
    space = env.action_space
    if isinstance(space, spaces.Discrete):
        return rng.integers(space.n, size=shape)
    if isinstance(space, spaces.MultiDiscrete):
        return rng.integers(space.nvec, size=(*shape, *space.shape))
    return rng.uniform(space.low, space.high, (*shape, *space.shape)).astype(np.float32)


def roll(env: Env, actions: np.ndarray) -> tuple[np.ndarray, list[Step]]:
    """First observations and the steps that the actions `[T, M, B, ...]` lead to."""
    first = env.reset()
    return first, [env.step(action) for action in actions]


def draw(env: Env, steps: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([sample(env, rng) for _ in range(steps)])


def assert_same(one: Step, other: Step, at: object = ..., other_at: object = ...) -> None:
    for key in ("obs", "next_obs", "reward", "terminated", "truncated"):
        np.testing.assert_array_equal(getattr(one, key)[at], getattr(other, key)[other_at], err_msg=key)


@pytest.mark.parametrize(("name", "backend"), CASES)
def test_shapes_and_types(name: str, backend: str) -> None:
    env = make(spec(name, backend), seeds(2, 3))
    known = describe(spec(name, backend))
    assert (env.backend, env.members, env.rows, env.slots) == (backend, 2, 3, 1) == (known.backend, 2, 3, known.slots)
    assert env.obs_space == known.obs_space and env.action_space == known.action_space and env.max_t == known.max_t
    kind = np.uint8 if len(OBS_SHAPES[name]) == 3 else np.float32
    assert env.obs_space.shape == OBS_SHAPES[name] and env.obs_space.dtype == kind
    first, steps = roll(env, draw(env, 40))
    assert first.shape == (2, 3, *OBS_SHAPES[name]) and first.dtype == kind
    for step in steps:
        assert step.obs.shape == step.next_obs.shape == first.shape
        assert step.obs.dtype == step.next_obs.dtype == kind and step.reward.dtype == np.float32
        assert step.reward.shape == step.terminated.shape == step.truncated.shape == step.done.shape == (2, 3)
        assert step.terminated.dtype == step.truncated.dtype == step.done.dtype == np.bool_
        assert not (step.terminated & step.truncated).any()
        assert (step.obs is step.next_obs) == (not step.done.any())
        assert np.isfinite(step.obs).all() and np.isfinite(step.reward).all()
        same = (step.obs == step.next_obs).reshape(2, 3, -1).all(-1)
        assert same[~step.done].all()  # they differ only where an episode ended
    env.close()


@pytest.mark.parametrize(("name", "backend"), CASES)
def test_a_stream_depends_on_its_seed_alone(name: str, backend: str) -> None:
    env = make(spec(name, backend, max_t=20), seeds(2, 3, first=7))
    actions = draw(env, 50)
    first, steps = roll(env, actions)
    again, repeated = roll(make(spec(name, backend, max_t=20), seeds(2, 3, first=7), threads=2), actions)
    np.testing.assert_array_equal(first, again)
    for one, other in zip(steps, repeated, strict=True):
        assert_same(one, other)
    alone, kept = roll(make(spec(name, backend, max_t=20), np.array([[11]])), actions[:, 1:2, 1:2])
    np.testing.assert_array_equal(first[1, 1], alone[0, 0])
    for one, other in zip(steps, kept, strict=True):
        assert_same(one, other, (1, 1), (0, 0))
    if name not in ALIKE:
        assert len(np.unique(first.reshape(6, -1), axis=0)) == 6
    assert any(step.done.any() for step in steps)


@pytest.mark.parametrize(("name", "backend"), CASES)
def test_arrays_already_given_out_never_change(name: str, backend: str) -> None:
    env = make(spec(name, backend, max_t=4), seeds(1, 2))
    kept, copies = [env.reset()], []
    copies.append(kept[0].copy())
    for action in draw(env, 12):
        step = env.step(action)
        kept += [step.obs, step.next_obs, step.reward, step.terminated, step.truncated]
        copies += [array.copy() for array in kept[-5:]]
    for array, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(("name", "limit"), [*zip(CONTROL, (20, 60, 60, 80, 5), strict=True), (WALK, 20)])
def test_every_transition_is_that_of_the_environment_itself(name: str, limit: int) -> None:
    """gymnasium: the same environments stepped by hand, through terminations and truncations."""
    env = make(spec(name, "gymnasium", max_t=limit), seeds(2, 2))
    actions = draw(env, 200)
    first, steps = roll(env, actions)
    ends = set()
    for m, b in np.ndindex(2, 2):
        single = gymnasium.make(name, max_episode_steps=limit) if name != WALK else TimeLimit(Walk(), limit)
        space = single.observation_space
        flat = lambda obs, space=space: spaces.flatten(space, obs).astype(np.float32)
        obs, _ = single.reset(seed=int(seeds(2, 2)[m, b]))
        np.testing.assert_array_equal(first[m, b], flat(obs))
        for action, step in zip(actions[:, m, b], steps, strict=True):
            action = action + single.action_space.start if name != "Pendulum-v1" else action
            obs, reward, terminated, truncated, _ = single.step(action)
            np.testing.assert_array_equal(step.next_obs[m, b], flat(obs))
            assert step.reward[m, b] == np.float32(reward)
            assert step.terminated[m, b] == terminated and step.truncated[m, b] == (truncated and not terminated)
            if terminated or truncated:
                ends.add("terminated" if terminated else "truncated")
                obs, _ = single.reset()
            np.testing.assert_array_equal(step.obs[m, b], flat(obs))
    never = {"Acrobot-v1", "Pendulum-v1"}  # end by themselves, under random actions
    assert ends == {"truncated"} | (set() if name in never else {"terminated"})


@pytest.mark.parametrize(
    ("name", "choices", "start"),
    [(DIALS, (2, 3, 4, 5, 2, 3), [1, -2, 0, 3, 0, 10]), (SWITCHES, (2,) * 6, [0] * 6)],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_several_choices_come_in_the_environment_s_own_shape_and_numbers(
    name: str, choices: tuple[int, ...], start: list[int], workers: int
) -> None:
    known = describe(spec(name, workers=workers))
    assert (known.kind, known.choices, known.action_size) == ("multidiscrete", choices, sum(choices))
    env = make(spec(name, workers=workers), seeds(2, 3))
    assert env.action_space == spaces.MultiDiscrete(choices)
    actions = draw(env, 60)
    assert actions.shape == (60, 2, 3, 6) and [len(set(column)) for column in actions.reshape(-1, 6).T] == [*choices]
    _, steps = roll(env, actions)
    env.close()
    for action, step in zip(actions, steps, strict=True):
        np.testing.assert_array_equal(step.next_obs[..., :6], action + start)
        np.testing.assert_array_equal(step.reward, (action + start).sum(-1))
        np.testing.assert_array_equal(step.obs[..., :6], (action + start) * ~step.done[..., None])
    with pytest.raises(ValueError, match=r"actions must be \(2, 3, 6\), not \(2, 3\)"):
        make(spec(name), seeds(2, 3)).step(np.zeros((2, 3), np.int64))


@pytest.mark.parametrize("backend", ["envpool", "gymnasium"])
def test_cartpole_obeys_its_equations_across_episodes(backend: str) -> None:
    """No invented transition: every successor follows from what was acted on, every end is beyond the bounds."""
    env = make(spec("CartPole-v1", backend, max_t=30), seeds(3, 4))
    obs, length, lengths = env.reset(), np.zeros((3, 4), int), []
    for action in draw(env, 300):
        step = env.step(action)
        np.testing.assert_allclose(step.next_obs[..., 0], obs[..., 0] + 0.02 * obs[..., 1], atol=1e-6)
        np.testing.assert_allclose(step.next_obs[..., 2], obs[..., 2] + 0.02 * obs[..., 3], atol=1e-6)
        assert (np.sign(step.next_obs[..., 1] - obs[..., 1]) == 2 * action - 1).all()  # pushed as told
        out = (np.abs(step.next_obs[..., 0]) > 2.4) | (np.abs(step.next_obs[..., 2]) > 12 * 2 * math.pi / 360)
        np.testing.assert_array_equal(step.terminated, out)
        length += 1
        np.testing.assert_array_equal(step.truncated, (length == 30) & ~out)
        assert (np.abs(step.obs[step.done]) <= 0.05).all()
        assert (step.reward == 1).all()
        lengths += length[step.done].tolist()
        length[step.done] = 0
        obs = step.obs
    assert sum(lengths) + length.sum() == 300 * 12
    assert min(lengths) >= 8 and max(lengths) == 30


@pytest.mark.parametrize(("name", "backend"), CASES)
def test_truncation_exactly_at_the_limit(name: str, backend: str) -> None:
    env = make(spec(name, backend, max_t=5), seeds(2, 2))
    assert env.max_t == describe(spec(name, backend, max_t=5)).max_t == 5
    elapsed = np.zeros((2, 2), int)
    env.reset()
    for action in draw(env, 23):
        step = env.step(action)
        elapsed += 1
        np.testing.assert_array_equal(step.truncated, (elapsed == 5) & ~step.terminated)
        elapsed[step.done] = 0
    env.reset()  # begins anew everywhere, the clocks too
    for t, action in enumerate(draw(env, 5), 1):
        step = env.step(action)
        assert not step.truncated.any() or t == 5 or step.terminated.any()


@pytest.mark.parametrize("backend", ["envpool", "gymnasium"])
def test_a_terminal_state_at_the_limit_is_terminal(backend: str) -> None:
    """envpool alone would call it a truncation, and learning would bootstrap from it."""
    right = np.ones((1, 1), np.int64)
    for seed in range(4):
        env = make(spec("CartPole-v1", backend), np.array([[seed]]))
        env.reset()
        length = 1
        while not env.step(right).done.all():
            length += 1
        env = make(spec("CartPole-v1", backend, max_t=length), np.array([[seed]]))
        env.reset()
        step = [env.step(right) for _ in range(length)][-1]
        assert step.terminated.all() and not step.truncated.any()


def test_the_own_limit_holds_by_default() -> None:
    for backend in ("envpool", "gymnasium"):
        env = make(spec("Pendulum-v1", backend), seeds(1, 2))
        _, steps = roll(env, draw(env, 401))
        assert [t for t, step in enumerate(steps, 1) if step.truncated.any()] == [200, 400]


def test_lost_lives_do_not_begin_a_new_game(monkeypatch: pytest.MonkeyPatch) -> None:
    env = make(spec("Breakout-v5", kwargs={"episodic_life": True}), seeds(1, 1))
    assert env.backend == "envpool" and env.obs_space.shape == (4, 84, 84) and env.obs_space.dtype == np.uint8
    lives, pool_step = [], env._pool.step
    monkeypatch.setattr(
        env._pool, "step", lambda *args: (out := pool_step(*args), lives.append(out[-1]["lives"][0]))[0]
    )
    first, steps = roll(env, np.ones((130, 1, 1), np.int64))
    assert first.dtype == steps[0].obs.dtype == np.uint8
    assert sum(step.terminated.sum() for step in steps) == 5
    assert [b for a, b in pairwise(lives) if a != b] == [4, 3, 2, 1, 0, 5]


DQN_GAME = AtariSpec()  # the defaults


def of_game(env: Env, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, np.ndarray]]:
    """What the pool will tell beside the contract after each step of all copies, `[copies]` each."""
    told: list[dict[str, np.ndarray]] = []
    pool_step = env._pool.step  # type: ignore[attr-defined]

    def step(*args: np.ndarray) -> tuple:
        answer = pool_step(*args)
        if len(args) == 1:
            told.append({key: np.copy(answer[-1][key]) for key in ("lives", "terminated", "reward", "elapsed_step")})
        return answer

    monkeypatch.setattr(env._pool, "step", step)  # type: ignore[attr-defined]
    return told


def test_an_episode_of_atari_ends_with_a_life_and_a_game_with_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    env = make(spec("Breakout-v5", atari=DQN_GAME), seeds(1, 2))
    told = of_game(env, monkeypatch)
    _, steps = roll(env, draw(env, 400))
    assert all(step.over is not None and step.over.shape == (1, 2) for step in steps)
    assert not any((step.over & ~step.done).any() for step in steps)
    for row in range(2):
        ends = [t for t, step in enumerate(steps) if step.done[0, row]]
        games = [t for t, step in enumerate(steps) if step.over[0, row]]
        assert games == [t for t, own in enumerate(told) if own["terminated"][row]] and len(games) >= 2
        assert [told[t]["lives"][row] for t in ends] == [4 - i % 5 for i in range(len(ends))]
        assert all(steps[t].terminated[0, row] for t in ends)


def test_the_time_limit_of_atari_ends_the_game_and_hides_no_terminal_state(monkeypatch: pytest.MonkeyPatch) -> None:
    free = make(spec("Breakout-v5", atari=DQN_GAME), seeds(1, 1))
    actions = draw(free, 250)
    _, steps = roll(free, actions)
    ends = [t for t, step in enumerate(steps, 1) if step.done.any()]
    over = next(t for t, step in enumerate(steps, 1) if step.over.any())
    for limit in (ends[0], over, ends[0] + 1):
        env = make(spec("Breakout-v5", atari=DQN_GAME, max_t=limit), seeds(1, 1))
        told = of_game(env, monkeypatch)
        _, cut = roll(env, actions[: limit + 5])
        for one, other in zip(steps[: limit - 1], cut, strict=False):
            assert_same(one, other)
        last = cut[limit - 1]
        assert last.over.all() and last.terminated.all() == (limit in ends) and last.done.all()
        assert told[limit]["elapsed_step"] == 1 and told[limit]["lives"] == 5, "a new game has begun"
    whole = make(spec("Breakout-v5", atari=DQN_GAME.model_copy(update={"episodic_life": False})), seeds(1, 1))
    _, steps = roll(whole, draw(whole, 5))
    assert all(step.over is None for step in steps), "episodes are games"


ATARI_KEYS = {
    "frame_skip": 3, "stack_num": 2, "img_height": 42, "img_width": 40, "gray_scale": False, "noop_max": 1,
    "use_fire_reset": False, "episodic_life": False, "repeat_action_probability": 0.25, "full_action_space": True,
}  # fmt: skip


@pytest.mark.parametrize("backend", ["envpool", "ale"])
def test_every_key_of_atari_reaches_the_game(backend: str) -> None:
    def played(**keys: object) -> list[bytes]:
        env = make(spec("Breakout-v5", backend, atari=AtariSpec(**keys)), seeds(1, 1))
        first, steps = roll(env, draw(env, 50))
        parts = [(step.obs, step.reward, step.terminated) for step in steps]
        return [first.tobytes(), *(part.tobytes() for step in parts for part in step)]

    assert set(AtariSpec.model_fields) == {*ATARI_KEYS, "reward_clip"}
    control = played()
    assert played() == control
    assert not [key for key, value in ATARI_KEYS.items() if played(**{key: value}) == control]


@pytest.mark.parametrize("backend", ["envpool", "ale"])
def test_shapes_of_atari(backend: str) -> None:
    for keys, shape in (
        ({}, (4, 84, 84)),
        ({"gray_scale": False, "stack_num": 2}, (6, 84, 84)),
        ({"stack_num": 1, "img_height": 50, "img_width": 40}, (1, 50, 40)),
    ):
        one = spec("Pong-v5", backend, atari=AtariSpec(**keys))
        assert describe(one).obs_space.shape == make(one, seeds(1, 1)).reset().shape[2:] == shape
    assert describe(spec("Pong-v5", backend, atari=AtariSpec(full_action_space=True))).action_space.n == 18
    assert describe(spec("Pong-v5", backend, atari=DQN_GAME)).max_t == 27000


def test_a_life_that_ends_in_ale_is_followed_by_the_next_of_the_same_game() -> None:
    env = make(spec("Breakout-v5", "ale", atari=DQN_GAME), seeds(1, 2))
    env.reset()
    lives, games = np.array([5, 5]), 0
    for action in draw(env, 700):
        step, left = env.step(action), env._lives  # type: ignore[attr-defined]
        lost, over = step.done[0], step.over[0]
        assert not (over & ~lost).any() and (step.terminated[0] == lost).all()
        assert (left[lost & ~over] == lives[lost & ~over] - 1).all() and (left[~lost] == lives[~lost]).all()
        assert (left[over] == 5).all() and (lives[over] == 1).all()
        new = (step.obs[0] != step.next_obs[0]).any(axis=(1, 2, 3))
        assert (new == over).all()
        lives, games = left.copy(), games + over.sum()
    assert games >= 4


@pytest.mark.parametrize("wait", [0, 1])
def test_the_time_limit_of_a_game_in_ale_hides_no_terminal_state(wait: int) -> None:
    whole = AtariSpec(episodic_life=False)
    actions = draw(make(spec("Breakout-v5", "ale"), seeds(1, 1)), 600)
    _, free = roll(make(spec("Breakout-v5", "ale", atari=whole), seeds(1, 1)), actions)
    end = next(t for t, step in enumerate(free, 1) if step.done.any())
    limit = end - wait
    _, cut = roll(make(spec("Breakout-v5", "ale", atari=whole, max_t=limit), seeds(1, 1)), actions[: limit + 2])
    for one, other in zip(free[: limit - 1], cut, strict=False):
        assert_same(one, other)
    last = cut[limit - 1]
    assert last.terminated.all() == (not wait) and last.truncated.all() == bool(wait) and last.over is None
    assert (last.next_obs == free[limit - 1].next_obs).all() and (last.obs != last.next_obs).any()
    assert not cut[limit].done.any()


def test_what_ale_cannot_do_and_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    game = spec("Pong-v5", "ale")
    with pytest.raises(SpecError, match='kwargs: the backend "ale" has none'):
        describe(game.model_copy(update={"kwargs": {"frameskip": 2}}))
    assert choose(game).renders(game) is False and filmable(game).backend == "envpool"
    with pytest.raises(SlmxError, match='does not render Pong-v5; use the backend "envpool"'):
        make(game, seeds(1, 1), render_mode="rgb_array")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ale_py" else found(name))
    _games.cache_clear()
    with pytest.raises(SpecError, match=r"backend: ale-py is not installed; pip install 'slmx\[atari\]'"):
        describe(game)
    _games.cache_clear()


@pytest.mark.slow
def test_envpool_and_ale_play_the_same_game() -> None:
    pictures, returns = {}, {}
    for backend in ("envpool", "ale"):
        env = make(spec("Breakout-v5", backend, atari=DQN_GAME), seeds(1, 32))
        _, steps = roll(env, draw(env, 400))
        pictures[backend] = np.mean([step.next_obs[0, :, -1].astype(float).mean(0) for step in steps[:40]], 0)
        returns[backend] = sum(step.reward.sum() for step in steps) / sum(step.over.sum() for step in steps)
    assert np.corrcoef(*(picture.ravel() for picture in pictures.values()))[0, 1] > 0.99
    assert abs(returns["envpool"] - returns["ale"]) < 0.5, returns


def play(env: Env, episodes: int, policy: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Returns of the first `episodes` episodes of every row: `[rows * episodes]`. Equal shares, so none is favoured."""
    obs, total = env.reset(), np.zeros((env.members, env.rows))
    returns: list[list[float]] = [[] for _ in range(env.rows)]
    while min(map(len, returns)) < episodes:
        step = env.step(policy(obs))
        total += step.reward
        for b in np.flatnonzero(step.done[0]):
            returns[b].append(total[0, b])
        total[step.done] = 0
        obs = step.obs
    return np.array([row[:episodes] for row in returns]).ravel()


def assert_agree(one: np.ndarray, other: np.ndarray) -> None:
    error = math.hypot(one.std() / math.sqrt(one.size), other.std() / math.sqrt(other.size))
    assert abs(one.mean() - other.mean()) <= 4 * error, (one.mean(), other.mean(), error)


@pytest.mark.parametrize(
    ("name", "episodes", "low", "high"), [("CartPole-v1", 25, 19, 26), ("Pendulum-v1", 3, -1400, -1050)]
)
def test_random_returns_agree_between_backends(name: str, episodes: int, low: float, high: float) -> None:
    returns = []
    for backend in ("envpool", "gymnasium"):
        env, rng = make(spec(name, backend), seeds(1, 16, first=100)), np.random.default_rng(3)
        returns.append(play(env, episodes, lambda _, env=env, rng=rng: sample(env, rng)))
        assert low <= returns[-1].mean() <= high
    assert_agree(*returns)


PLAYED_AT_RANDOM = {  # how many episodes of each of 16 copies
    "Acrobot-v1": 4, "MountainCar-v0": 4, "MountainCarContinuous-v0": 4, "LunarLander-v3": 12,
    "LunarLanderContinuous-v3": 12, "BipedalWalker-v3": 8, "FrozenLake-v1": 100, "Blackjack-v1": 100,
    "CliffWalking-v1": 4, "Hopper-v5": 20, "HalfCheetah-v5": 4,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAYED_AT_RANDOM)
def test_random_returns_agree_between_backends_in_many_environments(name: str) -> None:
    returns = []
    for backend in ("envpool", "gymnasium"):
        env, rng = make(spec(name, backend, max_t=400), seeds(1, 16, first=100)), np.random.default_rng(3)
        returns.append(play(env, PLAYED_AT_RANDOM[name], lambda _, env=env, rng=rng: sample(env, rng)))
        env.close()
    assert_agree(*returns)


def test_pumped_acrobots_agree_between_backends() -> None:
    """Torque along the second joint's velocity swings it up; random actions hardly ever do."""
    envs = [make(spec("Acrobot-v1", backend), seeds(1, 16)) for backend in ("envpool", "gymnasium")]
    returns = [play(env, 4, lambda obs: 1 + np.sign(obs[..., 5]).astype(np.int64)) for env in envs]
    assert all(-150 < each.mean() < -60 for each in returns)
    assert_agree(*returns)


def test_a_heuristic_lands_equally_well_on_both_backends() -> None:
    """gymnasium's own controller: 235 +- 5 there, 238 +- 4 in envpool, over more episodes."""
    continuous = gymnasium.make("LunarLander-v3")
    returns = []
    for backend in ("envpool", "gymnasium"):
        policy = lambda obs: np.array([[heuristic(continuous, row) for row in obs[0]]])
        returns.append(play(make(spec("LunarLander-v3", backend), seeds(1, 40)), 1, policy))
        assert returns[-1].mean() > 200
    assert_agree(*returns)


@pytest.mark.parametrize("backend", ["envpool", "gymnasium"])
def test_a_diverged_member_leaves_the_others_as_they_are(backend: str) -> None:
    env = make(spec("LunarLanderContinuous-v3", backend), seeds(2, 2))
    actions = draw(env, 60)
    _, well = roll(env, actions)
    actions[5:, 0] = np.nan
    _, ill = roll(make(spec("LunarLanderContinuous-v3", backend), seeds(2, 2)), actions)
    for one, other in zip(well, ill, strict=True):
        assert_same(one, other, 1, 1)


@pytest.mark.parametrize("backend", ["envpool", "gymnasium"])
def test_continuous_actions_are_clipped_to_the_bounds(backend: str) -> None:
    made = [make(spec("Pendulum-v1", backend), seeds(1, 2)) for _ in range(2)]
    for env in made:
        env.reset()
    for size in (3.0, -7.0, np.inf):
        beyond, bound = (np.full((1, 2, 1), value, np.float32) for value in (size, np.clip(size, -2, 2)))
        assert_same(made[0].step(beyond), made[1].step(bound))


@pytest.mark.parametrize("workers", [0, 2])
def test_clipped_actions_lie_within_bounds_that_float32_does_not_know(workers: int) -> None:
    env = make(spec("tests.env.probes:Narrow", workers=workers), seeds(1, 2))
    assert (env.action_space.high > np.array([0.1, 0.7])).any() and (env.action_space.low < np.array([-0.3, 0.0])).any()
    env.reset()
    for size in (1.0, -1.0, 0.05):
        step = env.step(np.full((1, 2, 2), size, np.float32))
        np.testing.assert_allclose(step.obs[0], [np.clip([size] * 2, [-0.3, 0.0], [0.1, 0.7])] * 2, rtol=1e-6)
    env.close()


def test_actions_of_the_wrong_shape_are_refused() -> None:
    env = make(spec("CartPole-v1"), seeds(2, 3))
    env.reset()
    with pytest.raises(ValueError, match=r"actions must be \(2, 3\)"):
        env.step(np.zeros((3, 2), np.int64))


@pytest.mark.parametrize("bad", [seeds(3), np.array([[-1]]), np.array([[2**31]]), np.zeros((0, 2), int)])
def test_bad_seeds_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="seeds must be"):
        make(spec("CartPole-v1"), bad)


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("backend", ["envpool", "gymnasium"])
def test_agents_see_what_is_visible(name: str, backend: str) -> None:
    """Without velocities: all else is that of the whole environment, at the ends of episodes too."""
    visible = {"CartPole-v1": [2, 0], "Pendulum-v1": [0, 1]}[name]
    whole = make(spec(name, backend, max_t=15), seeds(2, 3))
    masked = make(spec(name, backend, max_t=15, visible=visible), seeds(2, 3))
    assert masked.obs_space.shape == describe(spec(name, backend, visible=visible)).obs_space.shape == (2,)
    actions = draw(whole, 40)
    (first, steps), (masked_first, masked_steps) = roll(whole, actions), roll(masked, actions)
    np.testing.assert_array_equal(masked_first, first[..., visible])
    for one, other in zip(steps, masked_steps, strict=True):
        np.testing.assert_array_equal(other.obs, one.obs[..., visible])
        np.testing.assert_array_equal(other.next_obs, one.next_obs[..., visible])
        np.testing.assert_array_equal(other.reward, one.reward)
        np.testing.assert_array_equal(other.done, one.done)
        assert (other.obs is other.next_obs) == (one.obs is one.next_obs)
    assert any(step.done.any() for step in steps)


@pytest.mark.parametrize(
    ("name", "visible", "wrong"),
    [
        ("CartPole-v1", [0, 4], "4 is no index of an observation, which has 4 numbers"),
        ("CartPole-v1", [1, 1], r"\[1, 1\] names a number twice"),
    ],
)
def test_what_is_not_there_cannot_be_visible(name: str, visible: list[int], wrong: str) -> None:
    with pytest.raises(SpecError, match=f"visible: {wrong}"):
        describe(spec(name, visible=visible))


@pytest.mark.parametrize(("name", "backend"), [("Breakout-v5", "envpool"), ("Breakout-v5", "ale"), (PONG, "gymnasium")])
def test_of_images_there_is_nothing_to_choose_from(name: str, backend: str) -> None:
    with pytest.raises(SpecError, match=r"^visible: images have no numbers to choose from$"):
        describe(spec(name, backend, visible=[0]))


def test_slots_fill_the_rows_copy_by_copy() -> None:
    env = Tally(spec("tally"), np.array([[2, 3, 4], [5, 6, 7]]))
    assert (env.members, env.copies, env.slots, env.rows) == (2, 3, 2, 6)
    obs = env.reset()
    np.testing.assert_array_equal(obs[..., 0], [[2, 2, 3, 3, 4, 4], [5, 5, 6, 6, 7, 7]])
    np.testing.assert_array_equal(obs[..., 1], [[0, 1] * 3] * 2)
    action = np.arange(12).reshape(2, 6) % 5
    even = obs[..., 0] % 2 == 0
    age = np.zeros((2, 6))
    for _ in range(7):
        step = env.step(action)
        age += 1
        np.testing.assert_array_equal(step.next_obs[..., 2], age)
        np.testing.assert_array_equal(step.reward, age * action)
        np.testing.assert_array_equal(step.terminated, even & (age == 2))
        np.testing.assert_array_equal(step.truncated, ~even & (age == 3))
        age[step.done] = 0
        np.testing.assert_array_equal(step.obs[..., 2], age)
        np.testing.assert_array_equal(step.obs[..., :2], obs[..., :2])


def test_flattening_is_gymnasiums() -> None:
    space = Walk().observation_space
    space.seed(0)
    singles = [space.sample() for _ in range(9)]
    batch = gymnasium.vector.utils.concatenate(space, singles, gymnasium.vector.utils.create_empty_array(space, 9))
    flat = flatten(space, batch)
    assert flat.shape[1:] == flat_obs_space(space).shape
    for row, single in zip(flat, singles, strict=True):
        np.testing.assert_array_equal(row, spaces.flatten(space, single).astype(np.float32))


@pytest.mark.parametrize(
    ("shape", "image"),
    [
        ((5, 6), (1, 5, 6)),
        ((5, 6, 3), (3, 5, 6)),
        ((4, 5, 6), (4, 5, 6)),
        ((5, 6, 1), (1, 5, 6)),
        ((4, 5, 6, 3), (12, 5, 6)),
        ((2, 3, 5, 6), (6, 5, 6)),
    ],
)
def test_images_get_their_channels_first(shape: tuple[int, ...], image: tuple[int, ...]) -> None:
    space = spaces.Box(0, 255, shape, np.uint8)
    batch = np.stack([np.random.default_rng(i).integers(0, 256, shape, np.uint8) for i in range(2)])
    flat = flatten(space, batch)
    assert flat_obs_space(space).shape == flat.shape[1:] == image and flat.dtype == np.uint8
    assert flat.flags.c_contiguous and not np.shares_memory(flat, batch)
    for row, single in zip(flat, batch, strict=True):
        layers = single[None] if single.ndim < 4 else single
        if shape in ((5, 6, 3), (5, 6, 1), (4, 5, 6, 3)):
            layers = np.concatenate([np.stack([each[..., c] for c in range(shape[-1])]) for each in layers])
        np.testing.assert_array_equal(row, layers.reshape(image))


def test_an_image_among_other_parts_is_refused_unless_it_is_a_grid() -> None:
    eyes = "tests.env.probes:Eyes"
    with pytest.raises(SpecError) as caught:
        describe(spec(eyes))
    assert str(caught.value) == (
        'name: the part "eyes.1" of its observations is an image (84, 84, 3), of which but numbers would be left; '
        "let a wrapper leave it out (FilterObservation), or show it alone (one of your own)"
    )
    assert describe(spec(eyes, kwargs={"size": 16})).obs_space.shape == (147 + 2 + 16 * 16 * 3,)
    with pytest.raises(SpecError, match=r"an image \(17, 17, 3\)"):
        describe(spec(eyes, kwargs={"size": 17}))
    cells = WrapperSpec(name="FilterObservation", filter_keys=["cells"])
    assert describe(spec(eyes, wrappers=[cells])).obs_space.shape == (147,)


def test_auto_prefers_envpool_and_falls_back() -> None:
    assert choose(spec("CartPole-v1")).backend == "envpool"
    assert choose(spec("CartPole-v1", kwargs={"sutton_barto_reward": True})).backend == "gymnasium"
    assert choose(spec("CartPole-v1", wrappers=["TimeAwareObservation"])).backend == "gymnasium"
    assert choose(spec("MountainCar-v0")).backend == "envpool"
    assert choose(spec(WALK)).backend == "gymnasium"
    assert choose(spec("gymnasium:CartPole-v1")).backend == "gymnasium"  # gymnasium's own way of naming a module
    assert [choose(spec(name)).backend for name in ("Pong-v5", PONG)] == ["envpool", "gymnasium"]


def test_every_backend_can_be_named_in_a_spec() -> None:
    assert EnvSpec.model_fields["backend"].annotation == Literal["auto", *BACKENDS]


def test_describing_needs_no_torch() -> None:
    code = f"""
import sys
from slmx.env import EnvSpec, describe
assert not {{"torch", "gymnasium", "envpool"}} & set(sys.modules)
for name in ("CartPole-v1", {WALK!r}):
    describe(EnvSpec(name=name, max_frame=1))
assert "ale_py" not in sys.modules
assert describe(EnvSpec(name={PONG!r}, max_frame=1)).backend == "gymnasium"
import slmx.env.normalize
assert "torch" not in sys.modules
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert not said.stdout + said.stderr, "nobody introduces himself"


def test_envpool_is_not_asked_to_draw_mujoco() -> None:
    with pytest.raises(SlmxError, match='backend "gymnasium"'):
        make(spec("HalfCheetah-v5", "envpool"), seeds(1, 1), render_mode="rgb_array")


def test_mujoco_comes_with_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(spec("HalfCheetah-v5")).backend == "envpool"
    for name in [name for name in sys.modules if name.startswith("gymnasium.envs.mujoco")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(SpecError) as caught:
        describe(spec("HalfCheetah-v5", "gymnasium"))
    assert str(caught.value) == "name: mujoco is not installed; pip install 'slmx[mujoco]'"


def test_what_cannot_be_drawn_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def dark() -> None:
        raise AttributeError("no light\nat all")

    for name, error, says in (
        ("CartPole-v1", SlmxError, "^CartPole-v1 cannot be drawn here: AttributeError: no light at all$"),
        (WALK, AttributeError, "^no light\nat all$"),
    ):
        env = make(spec(name, "gymnasium"), seeds(1, 1), render_mode="rgb_array")
        env.reset()
        monkeypatch.setattr(env._copies[0], "render", dark)  # type: ignore[attr-defined]
        with pytest.raises(error, match=says):
            env.render()


def test_kwargs_and_wrappers_reach_the_environment() -> None:
    wrappers = ["TimeAwareObservation", WrapperSpec(name="ClipReward", min_reward=-0.1, max_reward=0.1)]
    env = make(spec("CartPole-v1", wrappers=wrappers, kwargs={"sutton_barto_reward": True}), seeds(1, 2))
    assert env.obs_space.shape == (5,)
    _, steps = roll(env, np.ones((12, 1, 2), np.int64))
    assert {float(r) for step in steps for r in step.reward.ravel()} == {0.0, np.float32(-0.1)}
    lake = make(spec("FrozenLake-v1", "envpool", kwargs={"size": 8}), seeds(1, 1))
    assert lake.obs_space.shape == (64,)
    near, far = (make(spec(WALK, kwargs={"stride": stride}), seeds(1, 1)) for stride in (0.0, 1.0))
    assert (near.reset() == far.reset()).all()
    assert (near.step(np.ones((1, 1), int)).obs != far.step(np.ones((1, 1), int)).obs).any()


@pytest.mark.parametrize(
    ("keys", "path", "says"),
    [
        ({"name": "CartPole-v7"}, "name", 'did you mean "CartPole-v1"'),
        ({"name": "Lunarlander-v3"}, "name", 'did you mean "LunarLander-v3"'),
        ({"name": "Pong-v5", "backend": "gymnasium"}, "name", "known to: envpool, ale"),
        ({"name": "ALE/Pung-v5"}, "name", 'did you mean "ALE/Pong-v5"'),
        ({"name": "ALE/Pong-v4"}, "name", 'did you mean "ALE/Pong-v5"'),
        ({"name": PONG, "backend": "envpool"}, "name", "known to: gymnasium"),
        ({"name": PONG, "atari": DQN_GAME}, "atari", "envpool"),
        ({"name": PONG, "kwargs": {"frame_skip": 4}}, "kwargs", "'frame_skip'; did you mean \"frameskip\"?"),
        ({"name": PONG, "kwargs": {"frameskip": 0}}, "kwargs", f"refused by {PONG}: Invalid frameskip of 0"),
        (
            {"name": "LunarLander-v3", "backend": "gymnasium", "kwargs": {"gravity": 5}},
            "kwargs",
            "refused by LunarLander-v3: gravity (current value: 5) must be between -12 and 0",
        ),
        (
            {"name": "FrozenLake-v1", "kwargs": {"map_name": "9x9"}},
            "kwargs",
            "refused by FrozenLake-v1: KeyError: '9x9'",
        ),
        (
            {"name": "phys2d/CartPole-v1", "backend": "gymnasium"},
            "name",
            "phys2d/CartPole-v1 cannot be loaded: No module named 'jax'",
        ),
        ({"name": ":X"}, "name", '"" is no module'),
        ({"name": ".m:X"}, "name", '".m" is no module'),
        ({"name": "nowhere.at_all:Env"}, "name", 'no module "nowhere.at_all"'),
        ({"name": "tests.env.probes:Wolk"}, "name", 'did you mean "Walk"'),
        ({"name": "tests.env.probes:Strange", "kwargs": {"which": "obs"}}, "name", "cannot be flattened"),
        (
            {"name": "tests.env.probes:Strange", "kwargs": {"which": "action"}},
            "name",
            "neither Discrete, MultiDiscrete",
        ),
        ({"name": "tests.env.probes:Strange"}, "kwargs", "missing a required argument: 'which'"),
        ({"name": "JobShop-v0"}, "name", "neither Discrete, Multi"),
        ({"name": "Go9x9-v1"}, "name", "several players"),
        ({"name": "CartPole-v1", "kwargs": {"gravity": 1}}, "kwargs", "unexpected keyword argument 'gravity'"),
        ({"name": "Pong-v5", "kwargs": {"stack_nun": 2}}, "kwargs.stack_nun", 'did you mean "stack_num"'),
        ({"name": "Pong-v5", "kwargs": {"stack_num": "2"}}, "kwargs.stack_num", "must be of type int"),
        ({"name": "CartPole-v1", "kwargs": {"max_episode_steps": 9}}, "kwargs.max_episode_steps", '"max_t"'),
        ({"name": "CartPole-v1", "backend": "envpool", "wrappers": ["ClipReward"]}, "wrappers", '"gymnasium"'),
        ({"name": "Pong-v5", "wrappers": ["ClipReward"]}, "wrappers", '"gymnasium"'),
        ({"name": WALK, "backend": "envpool"}, "backend", '"gymnasium"'),
        ({"name": "CartPole-v1", "wrappers": ["ClipRevard"]}, "wrappers.0", 'did you mean "ClipReward"'),
        ({"name": "CartPole-v1", "wrappers": ["NormalizeReward"]}, "wrappers.0", '"normalize_reward"'),
        (
            {"name": "CartPole-v1", "wrappers": ["gymnasium.wrappers:NormalizeObservation"]},
            "wrappers.0",
            '"normalize_obs"',
        ),
        ({"name": "CartPole-v1", "wrappers": ["vector"]}, "wrappers.0", 'unknown wrapper "vector"'),
        ({"name": "CartPole-v1", "wrappers": ["gymnasium.wrappers:vector"]}, "wrappers.0", "unknown wrapper"),
        ({"name": "CartPole-v1", "wrappers": ["JaxToNumpy"]}, "wrappers.0", "JaxToNumpy cannot be loaded: "),
        ({"name": "CartPole-v1", "wrappers": [".m:X"]}, "wrappers.0", '".m" is no module'),
        (
            {"name": "CartPole-v1", "wrappers": [{"name": "RescaleAction", "min_action": 0, "max_action": 1}]},
            "wrappers.0",
            "RescaleAction: ",
        ),
        ({"name": "CartPole-v1", "wrappers": [{"name": "ClipReward", "max": 1}]}, "wrappers.0", "argument 'max'"),
        ({"name": "Pong-v5", "normalize_obs": True}, "normalize_obs", "images"),
        ({"name": "Pong-v5", "clip_obs": 1.0}, "clip_obs", "images"),
        ({"name": "CartPole-v1", "atari": DQN_GAME}, "atari", "no Atari game"),
        ({"name": WALK, "atari": DQN_GAME}, "atari", "envpool"),
        ({"name": "Pung-v5", "atari": DQN_GAME}, "name", 'did you mean "Pong-v5"'),
        ({"name": "Pong-v5", "atari": DQN_GAME, "kwargs": {"stack_num": 2}}, "kwargs.stack_num", "atari.stack_num"),
        ({"name": "Pong-v5", "atari": DQN_GAME, "clip_reward": 1.0}, "clip_reward", "atari.reward_clip"),
        ({"name": "Pong-v5", "atari": DQN_GAME, "normalize_reward": True}, "normalize_reward", "atari.reward_clip"),
        ({"name": "Pong-v5", "atari": DQN_GAME, "reward_scale": 0.5}, "reward_scale", "atari.reward_clip"),
        ({"name": WALK, "normalize_reward": True, "reward_scale": 0.5}, "reward_scale", "does nothing"),
    ],
)
def test_what_cannot_be_run_is_refused_where_it_stands(keys: dict, path: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        describe(EnvSpec(max_frame=1, **keys))
    assert caught.value.path == path
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("name", "backend"),
    [("LunarLander-v3", "envpool"), ("CartPole-v1", "gymnasium"), (WALK, "gymnasium"), (PONG, "gymnasium")],
)
def test_a_picture(name: str, backend: str) -> None:
    env = make(spec(name, backend), seeds(1, 1), render_mode="rgb_array")
    env.reset()
    picture = env.render()
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    env.close()
    with pytest.raises(RuntimeError, match="render_mode"):
        make(spec(name, backend), seeds(1, 1)).render()
