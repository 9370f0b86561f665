"""The ring of transitions: what it holds, what it hands out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from slmx.member.hyper import Stacked
from slmx.member.streams import Streams, seed_sequence
from slmx.memory.prioritized import PrioritizedReplay
from slmx.memory.replay import Replay

M = 2


def replay(kind: type[Replay] = Replay, **keys: float) -> Replay:
    streams = Streams([seed_sequence(0, 0, m) for m in range(M)])
    return kind(Stacked([kind.Hyper(**keys) for _ in range(M)]), streams)


def rows(*numbers: int) -> tuple[Tensor, ...]:
    """Transitions of both members that tell which they are: member m's i-th holds i + 1000 m in every field."""
    which = torch.tensor(numbers)[None] + 1000 * torch.arange(M)[:, None]
    number = which.float()
    return torch.stack([number, -number], -1), which, number, torch.stack([number + 0.5, number], -1), number


@pytest.mark.parametrize("kind", [Replay, PrioritizedReplay])
@settings(max_examples=25, deadline=None)
@given(capacity=st.integers(3, 12), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=12))
def test_holds_the_last_of_all_that_was_added(kind: type[Replay], capacity: int, sizes: list[int]) -> None:
    memory, count = replay(kind, max_size=capacity, batch_size=3), 0
    for n in sizes:
        memory.add(*rows(*range(count, count + n)))
        count += n
    assert memory.size == min(count, capacity)
    kept = {(i + 1000 * m) for m in range(M) for i in range(max(0, count - capacity), count)}
    memory.write()
    assert memory.ring is not None
    held = memory.ring.read(torch.arange(memory.size).expand(M, -1))[1]
    assert set(held.flatten().tolist()) == kept
    assert held.numel() == len(kept)
    for _ in range(5):
        batch = memory.sample()
        assert batch.index.shape == (M, 3)
        assert set(batch.action.flatten().tolist()) <= kept
        for m in range(M):
            assert (batch.action[m] // 1000 == m).all()
        number = batch.action.float()
        assert torch.equal(batch.obs, torch.stack([number, -number], -1))
        assert torch.equal(batch.next_obs, torch.stack([number + 0.5, number], -1))
        assert torch.equal(batch.reward, number)
        assert torch.equal(batch.bootstrap, number)


def test_uniform_sampling_is_uniform_and_each_members_own() -> None:
    memory = replay(max_size=10, batch_size=50)
    memory.add(*rows(*range(10)))
    drawn = [memory.sample() for _ in range(400)]
    index = torch.cat([batch.index for batch in drawn], 1)
    for m in range(M):
        assert index[m].bincount().tolist() == pytest.approx([2000] * 10, rel=0.1)
    assert not torch.equal(index[0], index[1])
    assert drawn[0].weight is None


@pytest.mark.parametrize("kind", [Replay, PrioritizedReplay])
def test_combined_experience_replay_has_the_newest_in_every_batch(kind: type[Replay]) -> None:
    memory = replay(kind, max_size=5, batch_size=3, use_cer=True)
    for i in range(12):
        memory.add(*rows(i))
        assert memory.sample().action[:, -1].tolist() == [i, 1000 + i]


def test_the_weight_of_the_newest_is_its_own() -> None:
    memory = replay(PrioritizedReplay, max_size=5, batch_size=4, use_cer=True, alpha=1.0, beta=1.0)
    memory.add(*rows(*range(5)))
    memory.learned(torch.arange(5).expand(M, 5), torch.tensor([10.0, 10, 10, 10, 1]).expand(M, 5))
    weight = memory.sample().weight
    assert weight is not None
    torch.testing.assert_close(weight[:, -1], torch.ones(M))
    torch.testing.assert_close(weight[:, :-1], torch.full((M, 3), 0.1), atol=1e-3, rtol=0, equal_nan=False)


def test_refuses_a_batch_larger_than_the_ring() -> None:
    assert Replay.Hyper(max_size=4, batch_size=5).conflicts() == {"batch_size": "5 is more than max_size 4"}
    assert Replay.Hyper(max_size=4, batch_size=4).conflicts() == {}
