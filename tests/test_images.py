"""Images from end to end: learned from, played, and counted by whole games where episodes are parts of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from slmx.env.base import Step
from slmx.evaluation import evaluate
from slmx.session import Program, Session
from slmx.space import Body, Space
from slmx.watch import Tracker
from tests.programs import Keys, parameters, program, spec, trained

M = 8
NET: Keys = {
    "type": "ConvNet", "conv_layers": [[16, 4, 2, 1]], "hid_layers": [64],
    "optim_spec": {"name": "Adam", "lr": {"name": "linear_decay", "start_val": 0.003, "end_val": 0.0}},
}  # fmt: skip
# algorithm, memory, changes to the network, bodies, frames of a member
WAYS: dict[str, tuple[Keys, Keys, Keys, int, int]] = {
    "DQN": (
        {"name": "DQN", "gamma": 0.95, "training_start_step": 200, "training_frequency": 4, "update_frequency": 100,
         "explore_var": {"name": "linear_decay", "start_val": 1.0, "end_val": 0.05, "end_step": 3000}},
        {"name": "Replay", "max_size": 8000, "batch_size": 32}, {}, 4, 7000,
    ),
    "PPO": (
        {"name": "PPO", "time_horizon": 16, "minibatch_size": 128}, {"name": "Rollout"},
        {"shared": True, "clip_grad_val": 0.5}, 16, 24576,
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", ["DQN", pytest.param("PPO", marks=pytest.mark.slow)])
def test_catch_is_learned_from_images(way: str) -> None:
    """Random play comes to -0.6, the best to 1."""
    algorithm, memory, changes, bodies, frames = WAYS[way]
    env = {"name": "tests.probes:Catch", "max_frame": frames, "kwargs": {"width": 2}}
    played = trained(spec(algorithm, memory, env, NET | changes, bodies), M)
    returns = np.zeros(M)
    for episode in evaluate(played, 20):
        returns[episode.member] += episode.total / 20
    assert (returns >= 0.8).sum() >= M - 1, returns


SMALL: Keys = {"type": "ConvNet", "conv_layers": [[2, 8, 8]], "hid_layers": [8], "optim_spec": {"name": "Adam"}}
GAMES: dict[str, Keys] = {
    "gymnasium": {"name": "tests.probes:Catch", "kwargs": {"size": 16}},
    "envpool": {"name": "Pong-v5", "max_t": 30, "atari": {"img_height": 24, "img_width": 24}},
}


@pytest.mark.parametrize("algorithm", ["A2C", "DQN"])
@pytest.mark.parametrize("backend", GAMES)
def test_memories_keep_images_as_they_are(backend: str, algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: Keys = {"name": algorithm} | ({"training_start_step": 20} if algorithm == "DQN" else {"time_horizon": 10})
    memory = {"name": "Replay", "max_size": 50} if algorithm == "DQN" else {"name": "Rollout"}
    one = program(spec(keys, memory, GAMES[backend] | {"max_frame": 40, "backend": backend}, SMALL), 2)
    agent, handed = one.agents[0], []
    held = agent.memory[0] if algorithm == "DQN" else agent.memory
    method = "sample" if algorithm == "DQN" else "take"
    hand_out = getattr(held, method)

    def listened() -> object:
        result = hand_out()
        handed.extend(result if isinstance(result, list) else [result])
        return result

    monkeypatch.setattr(held, method, listened)
    before = parameters(agent).clone()
    one.run()
    shape = one.spaces[0].obs_space.shape
    assert handed and not one.failures and not torch.equal(parameters(agent), before)
    for batch in handed:
        assert batch.obs.dtype == batch.next_obs.dtype == torch.uint8
        assert batch.obs.shape[-3:] == batch.next_obs.shape[-3:] == shape
        assert batch.obs.max() > 1


@pytest.mark.parametrize("backend", GAMES)
def test_a_model_of_images_is_played_as_it_was_evaluated(backend: str) -> None:
    env = GAMES[backend] | {"max_frame": 20, "backend": backend}
    one = spec({"name": "A2C"}, {"name": "Rollout"}, env, SMALL, meta={"max_session": 1})
    first, again = (Program([Session(one, 0, 0)]) for _ in range(2))
    first.run()
    again.load([first.model(0)])
    pictures: list[np.ndarray] = []
    renders = backend == "envpool"  # Catch has no picture
    assert evaluate(first, 2) == [
        type(e)(e.member, first.frames[0], e.agent, e.env, e.seed, e.total, e.length)
        for e in evaluate(again, 2, see=(lambda picture, env: pictures.append(picture)) if renders else None)
    ]
    assert (
        all(picture.dtype == np.uint8 and picture.shape[2] == 3 for picture in pictures) and bool(pictures) == renders
    )


def test_tables_count_whole_games() -> None:
    tracker = Tracker(0, Space((Body(0, 0, 0), Body(0, 0, 1))).layout([1]), 1)
    no, row = np.zeros((1, 2), bool), lambda *x: np.array([x])
    lost, over = row(True, False), row(True, True)
    obs = np.zeros((1, 2, 3))
    told = [
        tracker.add(Step(obs, obs, row(2.0, 1.0), terminated, truncated, game), tick)
        for tick, (terminated, truncated, game) in enumerate([(no, no, no), (lost, no, no), (lost, ~lost, over)], 1)
    ]
    assert told[:2] == [[], []]
    assert [(e.body, e.total, e.length, e.end) for e in told[2]] == [
        (0, 6.0, 3, "terminated"),
        (1, 3.0, 3, "truncated"),
    ]


def test_learners_see_the_ends_of_lives_and_tables_those_of_games() -> None:
    env = {"name": "Breakout-v5", "max_frame": 400, "max_t": 100, "atari": {"img_height": 24, "img_width": 24}}
    one = spec({"name": "A2C"}, {"name": "Rollout"}, env, SMALL, 2, {"max_session": 1})
    seen: list[int] = []
    played = program(one)
    update = played.agents[0].update

    def noted(obs, action, step) -> None:  # type: ignore[no-untyped-def]
        assert step[0].over is None
        seen.append(int(step[0].done.sum()))
        update(obs, action, step)

    played.agents[0].update = noted  # type: ignore[method-assign]
    played.run()
    games = played.watcher.returns  # type: ignore[attr-defined]
    assert len(games) == 4 and all(game.length == 100 for game in games), "no game is over so soon, but for the limit"
    assert sum(seen) > 2 * len(games)
