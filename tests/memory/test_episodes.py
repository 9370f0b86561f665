"""Batches of whole episodes equal the same episodes cut out by hand, however the window grows and forgets."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from slmx.env.base import Step
from slmx.memory.batch import Batch
from slmx.memory.episodes import Episodes


class World:
    """M members x B bodies whose every observation is a number of its own; keeps all episodes cut by hand."""

    def __init__(self, members: int, bodies: int, seed: int, mean_length: float):
        self.generator = torch.Generator().manual_seed(seed)
        self.shape, self.end = (members, bodies), 1 / mean_length
        self.time = 0
        self.running: dict[tuple[int, int], list[tuple[Tensor, ...]]] = {}
        self.finished: list[list[list[tuple[Tensor, ...]]]] = [[] for _ in range(members)]

    def step(self) -> tuple[Tensor, Tensor, Step]:
        members, bodies = self.shape
        body = torch.arange(members * bodies).view(self.shape)
        obs = torch.stack([body, torch.full(self.shape, self.time)], -1).float()
        self.time += 1
        action = torch.randint(5, self.shape, generator=self.generator)
        reward = torch.rand(self.shape, generator=self.generator)
        terminated = torch.rand(self.shape, generator=self.generator) < self.end / 2
        truncated = ~terminated & (torch.rand(self.shape, generator=self.generator) < self.end / 2)
        step = Step(obs + 1, obs + 0.5, reward, terminated, truncated)
        for m in range(members):
            for b in range(bodies):
                row = (obs, action, reward, step.next_obs, terminated, step.done)
                self.running.setdefault((m, b), []).append(tuple(x[m, b] for x in row))
                if step.done[m, b]:
                    self.finished[m].append(self.running.pop((m, b)))
        return obs, action, step


def compare(batch: Batch, row: int, episodes: list[list[tuple[Tensor, ...]]]) -> None:
    """One member's row of a batch against its episodes, in the order in which they ended."""
    expected = [torch.stack(field) for field in zip(*(step for one in episodes for step in one), strict=True)]
    length = len(expected[0])
    assert batch.mask is not None
    assert batch.mask[row, :length].all()
    assert not batch.mask[row, length:].any()
    assert batch.done[row, length:].all()
    for name, value in zip(Batch.FIELDS, expected, strict=True):
        field = getattr(batch, name)
        assert field.shape[2] == 1
        assert torch.equal(field[row, :length, 0], value), name


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    members=st.integers(1, 3),
    bodies=st.integers(1, 3),
    episodes=st.integers(1, 4),
    mean_length=st.sampled_from([2.0, 30.0, 400.0]),
)
def test_batches_are_the_episodes_since_the_last(
    seed: int, members: int, bodies: int, episodes: int, mean_length: float
) -> None:
    memory, world = Episodes(episodes, members, 1), World(members, bodies, seed, mean_length)
    for _ in range(700):
        memory.add(0, *world.step())
        ready = memory.ready()
        assert ready == [m for m in range(members) if len(world.finished[m]) >= episodes]
        if ready:
            (batch,) = memory.take(ready)
            assert batch.port == 0
            for row, m in enumerate(ready):
                compare(batch, row, world.finished[m])
                world.finished[m] = []
            assert memory.ready() == []
    longest = max(len(steps) for steps in [*world.running.values(), []])
    # what no episode needs is forgotten: the window is at most some times the longest running or waiting episode
    waiting = sum(len(one) for own in world.finished for one in own)
    assert memory.windows[0].fields[0].shape[1] <= max(256, 4 * (longest + waiting + 256))


def test_the_window_grows_with_a_long_episode_and_shrinks_its_content_after_it() -> None:
    memory, world = Episodes(1, 1, 1), World(1, 1, 0, float("inf"))
    for _ in range(1000):
        memory.add(0, *world.step())
    window = memory.windows[0]
    assert window.fields[0].shape[1] == 1024
    world.end = 2.0
    while not memory.ready():
        memory.add(0, *world.step())
    (batch,) = memory.take([0])
    compare(batch, 0, world.finished[0])
    assert batch.reward.shape[1] > 1000
    world.finished[0] = []
    for _ in range(3000):
        memory.add(0, *world.step())
        if ready := memory.ready():
            (batch,) = memory.take(ready)
            compare(batch, 0, world.finished[0])
            world.finished[0] = []
    assert window.fields[0].shape[1] == 1024
    assert window.length <= 1024


def test_ports_count_together_and_give_a_batch_each() -> None:
    memory, worlds = Episodes(3, 1, 2), [World(1, 1, seed, 5.0) for seed in (0, 1)]
    for _ in range(200):
        for port, world in enumerate(worlds):
            memory.add(port, *world.step())
        if memory.ready():
            batches = {batch.port: batch for batch in memory.take([0])}
            assert sum(len(world.finished[0]) for world in worlds) >= 3
            assert set(batches) == {port for port, world in enumerate(worlds) if world.finished[0]}
            for port, batch in batches.items():
                compare(batch, 0, worlds[port].finished[0])
                worlds[port].finished[0] = []


@pytest.mark.parametrize("lengths", [(3, 5)])
def test_a_port_without_episodes_of_a_member_is_all_padding_there(lengths: tuple[int, int]) -> None:
    memory = Episodes(1, 2, 1)
    for t in range(max(lengths)):
        ends = torch.tensor([[t + 1 == n] for n in lengths])
        zero = torch.zeros(2, 1)
        memory.add(0, zero[..., None], zero.long(), Step(zero[..., None], zero[..., None], zero, ends, ends & False))
    (batch,) = memory.take([0, 1])
    assert batch.mask is not None
    assert batch.mask.sum(1).flatten().tolist() == [3, 5]
    assert batch.done[:, :, 0].tolist() == [[False, False, True, True, True], [False] * 4 + [True]]
