"""Returns of finished episodes: which steps they belong to, when they can be drawn, and what is left of long ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from slmx.member.hyper import Stacked
from slmx.member.streams import Streams, seed_sequence
from slmx.memory.batch import Batch
from slmx.memory.prioritized import PrioritizedReplay
from slmx.memory.returns import Returns

GAMMA = 0.5


def memory(members: int, max_size: int = 40, batch_size: int = 6, **keys: float) -> Returns:
    hypers = [PrioritizedReplay.Hyper(max_size=max_size, batch_size=batch_size, **keys) for _ in range(members)]
    sources = [seed_sequence(0, 0, m) for m in range(members)]
    return Returns(Stacked(hypers, torch.float64), Streams(sources, torch.float64))


def rollout(first: int, reward: Tensor, terminated: Tensor, truncated: Tensor) -> Batch:
    """Steps `[M, T, B]`, observing their own number, counted from `first`, and their body's."""
    members, horizon, bodies = reward.shape
    number = torch.arange(first, first + horizon, dtype=torch.float64)[None, :, None].expand(members, -1, bodies)
    obs = torch.stack([number, torch.arange(bodies).double().expand_as(number)], -1)
    return Batch(0, obs, number.long() % 3, reward, obs + 1, terminated.bool(), terminated.bool() | truncated.bool())


def one(*numbers: float) -> Tensor:
    """One member, one body: `[1, T, 1]`."""
    return torch.tensor(numbers, dtype=torch.float64).view(1, -1, 1)


def add(own: Returns, batch: Batch, next_value: float = 100.0) -> None:
    own.add_rollout(
        batch, torch.full_like(batch.reward, next_value), torch.full((len(batch.reward), 1), GAMMA).double()
    )


def held(own: Returns, member: int = 0) -> dict[tuple[float, float], float]:
    """The return of each step that can be drawn, by its number and body."""
    assert own.ring is not None
    places = own.tree.levels[2][member, : own.hp.max_size].nonzero().flatten()
    if not len(places):
        return {}
    obs, _ = own.ring.read(places.expand(len(own.highest), -1))
    returns = own.achieved[member, places].tolist()
    return {(step, body): value for (step, body), value in zip(obs[member].tolist(), returns, strict=True)}


def test_returns_of_an_episode_over_two_rollouts() -> None:
    own, never = memory(1), one(0, 0)
    add(own, rollout(0, one(1, 2), never, never))
    assert not own.ready.any() and held(own) == {}
    add(own, rollout(2, one(4, 8), one(1, 0), never))
    assert own.ready.all()
    assert held(own) == {(0, 0): 1 + 0.5 * 4, (1, 0): 4, (2, 0): 4}
    add(own, rollout(4, one(2, 0), one(1, 0), never))
    assert held(own) == {(0, 0): 3, (1, 0): 4, (2, 0): 4, (3, 0): 9, (4, 0): 2}


def test_a_truncated_episode_goes_on_with_the_value_of_where_it_was_cut_off() -> None:
    own = memory(1)
    add(own, rollout(0, one(1, 2, 4), one(0, 0, 0), one(0, 1, 1)), next_value=10)
    assert held(own) == {(0, 0): 1 + 0.5 * 7, (1, 0): 2 + 0.5 * 10, (2, 0): 4 + 0.5 * 10}


def test_members_finish_at_different_times() -> None:
    own = memory(3)
    reward, ends = torch.ones(3, 2, 2).double(), torch.zeros(3, 2, 2)
    ends[0, 1, 1] = ends[2, 0, 0] = ends[2, 1, 0] = 1
    add(own, rollout(0, reward, ends, torch.zeros(3, 2, 2)))
    assert own.ready.tolist() == [True, False, True]
    assert [held(own, m) for m in range(3)] == [{(0, 1): 1.5, (1, 1): 1}, {}, {(0, 0): 1, (1, 0): 1}]
    experience = own.experience()
    assert experience.weight[0].all() and experience.weight[2].all() and not experience.weight[1].any()
    own.learned(experience.index, torch.full((3, 6), 5.0).double())
    assert own.ready.tolist() == [True, False, True] and own.highest.flatten().tolist()[1] == 1.0


def test_of_an_episode_longer_than_the_ring_the_last_steps_remain() -> None:
    own = memory(1, max_size=5)
    for first in (0, 2, 4):
        add(own, rollout(first, one(1, 1), one(0, 0), one(0, 0)))
    add(own, rollout(6, one(1, 0), one(0, 1), one(0, 0)))
    assert held(own) == {(3, 0): 1.9375 - 0.0625, (4, 0): 1.75, (5, 0): 1.5, (6, 0): 1, (7, 0): 0}


def test_better_steps_are_drawn_more_often() -> None:
    own = memory(1, batch_size=4, alpha=1.0, beta=1.0, epsilon=1e-9)
    add(own, rollout(0, one(1, 2, 3, 4), one(1, 1, 1, 1), one(0, 0, 0, 0)))
    own.learned(torch.tensor([[0, 1, 2, 3]]), torch.tensor([[0.0, 1, 0, 3]]).double())
    drawn = torch.cat([own.experience().achieved for _ in range(500)], 1).flatten()
    assert set(drawn.tolist()) == {2, 4}
    assert (drawn == 4).double().mean().item() == pytest.approx(0.75, abs=0.02)
    drawn = own.experience()
    pairs = zip(drawn.achieved[0].tolist(), drawn.weight[0].tolist(), strict=True)
    assert {(value, round(weight, 6)) for value, weight in pairs} == {(2, 1), (4, round(1 / 3, 6))}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 3), st.integers(1, 5), st.integers(1, 6))
def test_returns_equal_the_definition(seed: int, members: int, bodies: int, horizon: int, rollouts: int) -> None:
    generator, size = torch.Generator().manual_seed(seed), horizon * bodies + seed % 20
    shape = members, horizon * rollouts, bodies
    reward, after = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    terminated, cut = (torch.rand(shape, generator=generator) < 0.2 for _ in range(2))
    own, gamma = memory(members, size, 1), torch.rand(members, 1, generator=generator, dtype=torch.float64)
    for first in range(0, shape[1], horizon):
        part = slice(first, first + horizon)
        own.add_rollout(rollout(first, reward[:, part], terminated[:, part], cut[:, part]), after[:, part], gamma)
    done, last = terminated | cut, shape[1] * bodies
    for m in range(members):
        expected = {}
        for b in range(bodies):
            value = None
            for t in reversed(range(shape[1])):
                if done[m, t, b]:
                    value = 0.0 if terminated[m, t, b] else after[m, t, b].item()
                if value is not None:
                    value = reward[m, t, b].item() + gamma[m].item() * value
                    if t * bodies + b >= last - size:
                        expected[t, b] = value
        assert held(own, m) == pytest.approx(expected)
