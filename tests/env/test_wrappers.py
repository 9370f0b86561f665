"""The wrappers of games that are seen as images, on a real game and on images whose every number is known."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import FrameStackObservation

from slmx.env import EnvSpec, describe, make
from slmx.env.base import Env, Step
from slmx.env.wrappers import BinaryImage, CropImage, GreyImage, ResizeImage
from slmx.errors import SpecError
from slmx.spec.load import load_one
from tests.programs import Keys, trained
from tests.programs import spec as spec_of

NAME, PENALTY, CROP = "ALE/Pong-v5", 0.01, {"name": "CropImage", "rows": [33, 194], "columns": [16, -16]}
SHIPPED = load_one(Path("spec/merlin.json"), "merlin_pong")


def pong(*wrappers: Keys | str) -> EnvSpec:
    """Pong in these wrappers, where actions are always what was asked for."""
    keys = {"name": NAME, "max_frame": 1, "kwargs": {"repeat_action_probability": 0.0}, "wrappers": list(wrappers)}
    return EnvSpec.model_validate(keys)


def played(env: Env, actions: np.ndarray) -> tuple[np.ndarray, list[Step]]:
    """The first observation of the only copy, and the steps that actions lead to."""
    first = env.reset()
    return first, [env.step(np.array([[action]])) for action in actions]


class Slides(gymnasium.Env):
    """Shows given images one after the other, and at the end the last."""

    def __init__(self, *images: np.ndarray):
        self.images, self.at = images, 0
        self.observation_space = spaces.Box(0, 255, images[0].shape, np.uint8)
        self.action_space = spaces.Discrete(3, start=5)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.at = 0
        return self.images[0], {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert action in self.action_space
        self.at = min(self.at + 1, len(self.images) - 1)
        return self.images[self.at], float(action), self.at == len(self.images) - 1, False, {}


def shown(wrapper: Any, image: np.ndarray, **arguments: Any) -> np.ndarray:
    """What a wrapper makes of an image, which it leaves as it was."""
    before, env = image.copy(), wrapper(Slides(image), **arguments)
    seen, _ = env.reset()
    assert env.observation_space.contains(seen)
    np.testing.assert_array_equal(image, before)
    return seen


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


# ---- the shipped spec, on the game itself ----


def test_the_game_as_merlin_sees_it() -> None:
    """Four pictures of 64 x 64 in black and white, three actions, sixteen frames of the game a step."""
    spec = SHIPPED.env[0]
    known, env = describe(spec), make(spec, np.array([[3]]))
    assert known.backend == "gymnasium" and known.obs_space == env.obs_space
    assert known.obs_space.shape == (4, 64, 64) and known.action_space == spaces.Discrete(3)
    first, steps = played(env, np.random.default_rng(0).integers(3, size=350))
    frames = [first, *(step.next_obs for step in steps)]
    assert all(obs.dtype == np.uint8 and obs.shape == (1, 1, 4, 64, 64) for obs in frames)
    assert all(np.isin(obs, (0, 255)).all() for obs in frames)
    white = np.mean([obs[0, 0, -1] > 0 for obs in frames])
    assert 0.005 < white < 0.05, "the background is black, paddles and ball are white"
    (end,) = [t for t, step in enumerate(steps) if step.done.any()][:1]
    assert sum(step.reward.item() for step in steps[: end + 1]) < -15 and steps[end].terminated.all()
    assert env._copies[0].unwrapped.ale.getEpisodeFrameNumber() == 16 * (len(steps) - end - 1)  # type: ignore[attr-defined]


def test_a_stack_goes_back_to_where_the_episode_began() -> None:
    spec = SHIPPED.env[0].model_copy(update={"max_t": 60})  # of the game's own steps, of which an agent's takes four
    first, steps = played(make(spec, np.array([[0]])), np.arange(50) % 3)
    assert [t for t, step in enumerate(steps, 1) if step.truncated.any()] == [15, 30, 45]
    obs = first[0, 0]
    for step in steps:
        if obs is not None:
            np.testing.assert_array_equal(step.next_obs[0, 0, :-1], obs[1:])
        obs = step.obs[0, 0]
        if step.done.any():
            assert (obs == obs[0]).all(), "the first picture stands for those before it"
    assert (first[0, 0] == first[0, 0, 0]).all()
    assert any((step.obs[0, 0, 0] != step.obs[0, 0, -1]).any() for step in steps), "else things move"


def test_actions_keep_their_meaning() -> None:
    actions = np.random.default_rng(1).integers(3, size=150)
    small = {"name": "ResizeImage", "input_dim": 20}
    _, whole = played(make(pong(small), np.array([[5]])), np.array([0, 3, 2])[actions])
    meant: list[list[Any]] = [["NOOP", "LEFT", "RIGHT"], [0, 3, 2], ["NOOP", 3, "RIGHT"]]
    for allowed in meant:
        env = make(pong(small, {"name": "AllowedActions", "actions": allowed}), np.array([[5]]))
        assert env.action_space == spaces.Discrete(3)
        _, some = played(env, actions)
        for one, other in zip(some, whole, strict=True):
            np.testing.assert_array_equal(one.next_obs, other.next_obs)
    _, others = played(make(pong(small), np.array([[5]])), np.array([0, 2, 3])[actions])
    assert any((one.next_obs != other.next_obs).any() for one, other in zip(whole, others, strict=True))


def test_of_allowed_actions_others_can_be_chosen_by_name() -> None:
    wrappers = [{"name": "AllowedActions", "actions": names} for names in (["LEFT", "FIRE", "RIGHT"], ["RIGHT", 0])]
    env = make(pong(*wrappers), np.array([[0]]))
    assert env._copies[0].get_action_meanings() == ["RIGHT", "LEFT"]  # type: ignore[attr-defined]
    assert env._copies[0].action(0) == 2  # type: ignore[attr-defined]  # of the three, of which it is the last


def test_a_step_that_is_rewarded_with_nothing_costs_something() -> None:
    repeat, small = {"name": "RepeatAction", "num_repeats": 4}, {"name": "ResizeImage", "input_dim": 8}
    actions = np.zeros(60, np.int64)
    _, free = played(make(pong(repeat, small), np.array([[0]])), actions)
    _, paid = played(
        make(pong(repeat, {"name": "StepPenalty", "step_penalty": PENALTY}, small), np.array([[0]])), actions
    )
    rewards = np.array([[one.reward.item(), other.reward.item()] for one, other in zip(free, paid, strict=True)])
    assert (rewards[:, 0] == -1).sum() >= 2
    np.testing.assert_array_equal(rewards[:, 1], np.where(rewards[:, 0] == 0, np.float32(-PENALTY), rewards[:, 0]))


def test_replay_keeps_one_picture_a_step() -> None:
    """Of wrapped stacks too; and there is nothing that they could not be put together from again."""
    agent: Keys = {"name": "DQN", "training_start_step": 1000}
    env = SHIPPED.env[0].model_dump(exclude_defaults=True) | {"max_frame": 90, "max_t": 100}
    rings = [
        trained(spec_of(agent, {"name": name, "max_size": 80}, env)).agents[0].memory[0]
        for name in ("FrameReplay", "Replay")
    ]
    for memory in rings:
        memory.write()
    numbers = np.arange(80)[None]
    frames, plain = (memory.ring.read(memory.ring.first.new_tensor(numbers)) for memory in rings)
    assert all((one == other).all() for one, other in zip(frames, plain, strict=True))
    assert rings[0].ring.count.item() <= 90 + 4, "a picture a step, and one where each of four episodes begins"
    memory = SHIPPED.agent[0].memory
    assert memory and memory.max_size * rings[0].observed_bytes((4, 64, 64), 1) < 2.2e9  # type: ignore[attr-defined]


# ---- images whose every number is known ----


def test_what_is_cropped() -> None:
    image = noise(6, 5, 3)
    np.testing.assert_array_equal(shown(CropImage, image, rows=[1, 4], columns=[1, -2]), image[1:4, 1:3])
    np.testing.assert_array_equal(shown(CropImage, image, rows=[-2, None]), image[4:])
    np.testing.assert_array_equal(shown(CropImage, image[..., 0], columns=[None, 2]), image[:, :2, 0])


@pytest.mark.parametrize("shape", [(7, 5, 3), (6, 9), (3, 3, 1), (161, 128, 3), (2, 3)])
@pytest.mark.parametrize("size", [1, 3, 4, 8])
def test_a_pixel_is_the_mean_of_the_area_that_it_covers(shape: tuple[int, ...], size: int) -> None:
    """As if each pixel were first divided into as many as it takes to have whole ones in each area."""
    image = noise(*shape)
    fine = image.repeat(size, 0).repeat(size, 1).astype(np.float64)
    rows, columns = shape[:2]
    means = fine.reshape(size, rows, size, columns, *shape[2:]).mean((1, 3))
    np.testing.assert_array_equal(shown(ResizeImage, image, input_dim=size), np.rint(means).astype(np.uint8))


def test_shades_of_grey_and_black_and_white() -> None:
    colours = np.array([[(144, 72, 17), (92, 186, 92), (213, 130, 74), (236, 236, 236), (255, 0, 0)]], np.uint8)
    grey = shown(GreyImage, colours)
    assert grey[..., 0].tolist() == [[87, 147, 148, 236, 76]] and grey.shape == (1, 5, 1)
    merlins = shown(GreyImage, colours, weights=[0.114, 0.587, 0.299])
    assert merlins[..., 0].tolist() == [[64, 147, 123, 236, 29]], "red and blue change places"
    assert shown(GreyImage, colours, weights=[0, 0, 2])[..., 0].tolist() == [[17, 92, 74, 236, 0]]
    assert shown(BinaryImage, merlins, threshold=64)[..., 0].tolist() == [[0, 255, 255, 255, 0]]
    assert shown(BinaryImage, merlins, threshold=63)[..., 0].tolist() == [[255, 255, 255, 255, 0]]


def test_images_that_were_given_out_stay_as_they_are() -> None:
    images = [noise(6, 6), noise(6, 6).T, noise(6, 6)[::-1]]
    env = FrameStackObservation(BinaryImage(CropImage(Slides(*images), rows=[1, 5]), threshold=99), 2)
    seen = [env.reset()[0], *(env.step(5)[0] for _ in range(2))]
    binary = [np.where(image[1:5] > 99, 255, 0) for image in images]
    for stack, expected in zip(seen, [(0, 0), (0, 1), (1, 2)], strict=True):
        np.testing.assert_array_equal(stack, [binary[i] for i in expected])


# ---- what is refused ----

GREY: Keys = {"name": "GreyImage"}
STACK: Keys = {"name": "FrameStackObservation", "stack_size": 4}
REFUSED: list[tuple[list[Keys | str], str, str]] = [
    ([{"name": "CropImag"}], "wrappers.0", 'unknown wrapper "CropImag"; did you mean "CropImage"?'),
    ([{"name": "slmx.env.wrappers:Crop"}], "wrappers.0", 'did you mean "CropImage"?'),
    ([{"name": "CropImage", "row": [1, 2]}], "wrappers.0",
     "got an unexpected keyword argument 'row'; did you mean \"rows\"?"),
    ([{"name": "CropImage", "rows": [1]}], "wrappers.0.rows", "must be two integers, [from, to], not [1]"),
    ([{"name": "CropImage", "rows": [1, 2.5]}], "wrappers.0.rows", "must be two integers, [from, to], not [1, 2.5]"),
    ([{"name": "CropImage", "columns": [90, -90]}], "wrappers.0.columns", "[90, -90] leaves nothing of 160"),
    ([CROP, "ResizeImage"], "wrappers.1", "missing a required argument: 'input_dim'"),
    ([CROP, {"name": "ResizeImage", "input_dim": 0}], "wrappers.1.input_dim", "must be an integer >= 1, not 0"),
    ([{"name": "ResizeImage", "input_dim": "64"}], "wrappers.0.input_dim", "must be an integer >= 1, not '64'"),
    ([{**GREY, "weights": [1, 2]}], "wrappers.0.weights",
     "must be three numbers >= 0, for red, green and blue, not [1, 2]"),
    ([{**GREY, "weights": [1, -2, 3]}], "wrappers.0.weights", "must be three numbers >= 0"),
    ([{**GREY, "weights": [0, 0, 0]}], "wrappers.0.weights", "must be three numbers >= 0"),
    ([GREY, GREY], "wrappers.1", "it needs images of three colours, not Box(0, 255, (210, 160, 1), uint8)"),
    ([{"name": "BinaryImage", "threshold": 255}], "wrappers.0.threshold", "must be an integer from 0 to 254, not 255"),
    ([{"name": "BinaryImage", "threshold": True}], "wrappers.0.threshold", "from 0 to 254, not True"),
    ([STACK, GREY], "wrappers.1", "it needs images of three colours"),
    ([STACK, CROP], "wrappers.1", "it needs single images"),
    ([{**STACK, "stack_size": 0}], "wrappers.0", "FrameStackObservation: The stack_size needs to be greater than zero"),
    ([{"name": "RepeatAction", "num_repeats": 2.0}], "wrappers.0",
     "RepeatAction: The num_repeats is expected to be an integer"),
    ([{"name": "AllowedActions", "actions": []}], "wrappers.0.actions", "must be a list of actions, not []"),
    ([{"name": "AllowedActions", "actions": "NOOP"}], "wrappers.0.actions", "must be a list of actions, not 'NOOP'"),
    ([{"name": "AllowedActions", "actions": ["NOOP", "RIHGT"]}], "wrappers.0.actions.1",
     'the game has no action "RIHGT"; did you mean "RIGHT"?'),
    ([{"name": "AllowedActions", "actions": [0, 6]}], "wrappers.0.actions.1", "must be an integer from 0 to 5, not 6"),
    ([{"name": "AllowedActions", "actions": [2, "RIGHT"]}], "wrappers.0.actions.1", "'RIGHT' stands there already"),
    ([{"name": "StepPenalty", "step_penalty": -1}], "wrappers.0.step_penalty", "must be a number >= 0, not -1"),
]  # fmt: skip


@pytest.mark.parametrize(("wrappers", "path", "says"), REFUSED)
def test_arguments_that_make_no_sense_are_refused_where_they_stand(
    wrappers: list[Keys | str], path: str, says: str
) -> None:
    with pytest.raises(SpecError) as caught:
        describe(pong(*wrappers))
    assert caught.value.path == path and says in str(caught.value)


@pytest.mark.parametrize(
    ("name", "wrapper", "wrong"),
    [
        ("CartPole-v1", CROP, "wrappers.0: it needs single images, of numbers from 0 to 255, not Box("),
        ("CartPole-v1", {"name": "AllowedActions", "actions": ["LEFT"]},
         'wrappers.0.actions.0: "LEFT": these actions have no names; give their numbers, from 0 to 1'),
        ("Pendulum-v1", {"name": "AllowedActions", "actions": [0]}, "wrappers.0: it chooses among actions that can be"),
    ],
)  # fmt: skip
def test_what_they_cannot_wrap(name: str, wrapper: Keys, wrong: str) -> None:
    with pytest.raises(SpecError) as caught:
        describe(EnvSpec.model_validate({"name": name, "max_frame": 1, "wrappers": [wrapper]}))
    assert str(caught.value).startswith(wrong)


def test_actions_of_any_environment_can_be_chosen_by_number() -> None:
    keys = {"name": "CartPole-v1", "max_frame": 1, "wrappers": [{"name": "AllowedActions", "actions": [1]}]}
    env, right = make(EnvSpec.model_validate(keys), np.array([[0]])), gymnasium.make("CartPole-v1")
    right.reset(seed=0)
    _, steps = played(env, np.zeros(5, np.int64))
    for step in steps:
        np.testing.assert_array_equal(step.next_obs[0, 0], right.step(1)[0])


def test_a_game_of_atari_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match=r'name: unknown environment "ALE/Pnog-v5"; did you mean "ALE/Pong-v5"\?'):
        describe(EnvSpec(name="ALE/Pnog-v5", max_frame=1))
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ale_py" else found(name))
    monkeypatch.setattr(gymnasium, "registry", {})
    with pytest.raises(SpecError, match=r"name: ale-py is not installed; pip install 'slmx\[atari\]'"):
        describe(EnvSpec(name="ALE/Pong-v5", max_frame=1))
