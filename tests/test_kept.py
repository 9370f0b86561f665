"""What is kept to be learned from later, over every algorithm that does so: normalised when it is drawn, not before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from slmx.algorithm.replay import ReplayAlgorithm
from slmx.algorithm.self_imitation import ImitatingAlgorithm
from slmx.env.base import Step
from slmx.session import Program
from slmx.spec.registry import REGISTRIES
from tests.test_members import WAYS, kinds_of, sees_images, sessions_of, spec_of

MEMBERS = 2


def kept(kind: type) -> list[str]:
    """The ways of algorithms of a kind."""
    return [way for way, (keys, *_) in WAYS.items() if issubclass(REGISTRIES["algorithm"].find(keys["name"]), kind)]


REPLAYING = kept(ReplayAlgorithm)
IMITATING = [way for way in kept(ImitatingAlgorithm) if "sil_iter" in WAYS[way][0]]


class Emitted:
    """All observations and rewards that an agent was told, each as the environment gave it."""

    def __init__(self) -> None:
        self.obs: list[Tensor] = []
        self.reward: list[Tensor] = []
        self.terminated: list[Tensor] = []
        self.done: list[Tensor] = []

    def add(self, obs: Tensor, step: Step) -> None:
        self.obs += [obs, step.next_obs]
        self.reward.append(step.reward)
        self.terminated.append(step.terminated)
        self.done.append(step.done)

    def holds_obs(self, obs: Tensor) -> bool:
        """Whether each of a member's observations `[M, N, *shape]` is one of them."""
        return all(
            bool((own.flatten(1)[:, None] == known.flatten(1)).all(-1).any(1).all())
            for own, known in zip(obs, torch.cat(self.obs, 1), strict=True)
        )

    def holds_reward(self, reward: Tensor) -> bool:
        """Whether each of a member's rewards `[M, N]` is one of them."""
        known = torch.cat(self.reward, 1)
        return all(bool(torch.isin(own, all_).all()) for own, all_ in zip(reward, known, strict=True))

    def returns(self, gamma: float, last: int) -> list[set[float]]:
        """Of each member the discounted returns of its `last` steps, where their episodes have ended by themselves."""
        found: list[set[float]] = [set() for _ in self.reward[0]]
        for member, own in enumerate(found):
            for body in range(self.reward[0].shape[1]):
                value = None  # of an episode that is under way at the end, or was cut off, nothing is known
                for t in reversed(range(len(self.reward))):
                    if self.done[t][member, body]:
                        value = 0.0 if self.terminated[t][member, body] else None
                    if value is not None:
                        value = self.reward[t][member, body].item() + gamma * value
                        if t >= len(self.reward) - last:
                            own.add(value)
        return found


def lived(way: str) -> tuple[Any, Emitted]:
    """The agent of a trained way whose observations and rewards are normalised, and what it was told."""
    one = spec_of(way, kinds_of(way)[0])
    changes = {"normalize_obs": not sees_images(way), "normalize_reward": True}
    env = one.env[0].model_copy(update=changes)
    program, emitted = Program(sessions_of(one.model_copy(update={"env": [env]}), range(MEMBERS))), Emitted()
    agent = program.agents[0]

    def update(obs: Sequence[Tensor], action: Sequence[Tensor], step: Sequence[Step]) -> None:
        emitted.add(obs[0], step[0])
        type(agent).update(agent, obs, action, step)

    agent.update = update  # type: ignore[assignment, method-assign]
    program.run()
    return agent, emitted


@pytest.mark.parametrize("way", REPLAYING)
def test_replay_keeps_what_came_and_normalises_what_it_draws(way: str) -> None:
    agent, emitted = lived(way)
    batch, norm = agent.batch(0), agent.normalizers[0]
    raw = agent.memory[0].ring.read(batch.index)
    if sequences := WAYS[way][1]["name"].endswith("SequenceReplay"):
        raw = [field.transpose(1, 2) for field in raw[:-1]]
    obs, _, reward, next_obs = raw[:4]
    shape = agent.setting.ports[0].obs_shape
    for came, drawn in ((obs, batch.obs), (next_obs, batch.next_obs)):
        seen = came if came.shape[-len(shape) :] == shape else came[..., : shape[0]]
        told = came[..., shape[0] :] if seen is not came else None
        assert emitted.holds_obs(seen.flatten(1, seen.ndim - len(shape) - 1))
        expected = norm.observe(seen)
        assert torch.equal(drawn, expected if told is None else torch.cat([expected, told], -1))
        assert sees_images(way) or not torch.equal(expected, seen)
    if WAYS[way][0].get("num_step_returns", 1) == 1 or sequences:
        assert emitted.holds_reward(reward.flatten(1))
    deviation = norm.state()["return_var"].sqrt().view(-1, *[1] * (reward.ndim - 1))
    torch.testing.assert_close(batch.reward.double(), reward / deviation, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("way", IMITATING)
def test_imitation_keeps_what_came(way: str) -> None:
    agent, emitted = lived(way)
    returns, norm = agent.returns[0], agent.normalizers[0]
    assert emitted.holds_obs(returns.experience().obs)
    last = returns.hp.max_size // agent.ports[0].bodies
    for member, expected in enumerate(emitted.returns(agent.hp.gamma[0, 0].item(), last)):
        assert len(expected) > 10
        own = returns.achieved[member].double()
        assert all((own - value).abs().min() < 1e-4 for value in expected)
    assert (norm.state()["return_var"].sqrt() - 1).abs().min() > 0.05, "what is normalised would be something else"
