"""Replay of sequences: which steps lie in which, with which state before them, and how often they come."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from slmx.member.hyper import Stacked
from slmx.member.streams import Streams, seed_sequence
from slmx.memory.sequence import PrioritizedSequenceReplay, SequenceReplay

M, B = 2, 3


def memory(kind: type[SequenceReplay] = SequenceReplay, **keys: Any) -> Any:
    hyper = kind.Hyper(**{"max_size": 12, "batch_size": 50, "sequence_length": 4, "burn_in": 2, **keys})
    return kind(Stacked([hyper] * M), Streams([seed_sequence(0, 0, m) for m in range(M)]))


def fill(one: SequenceReplay, steps: int) -> None:
    """Every field tells member, body and time."""
    for t in range(steps):
        who = torch.arange(M)[:, None] * 1000 + torch.arange(B) * 100.0 + t
        obs, done = torch.stack([who, who], -1), (who % 5 == 0)
        one.add(obs, who.long(), 10 * who, obs + 1, done & (who % 2 == 0), done, torch.stack([who, -who, who], -1))


def begins(batch: Any) -> Tensor:
    """The first times of the sequences, `[M, N]`."""
    return batch.obs[:, 0, :, 0] % 100


def test_each_step_is_learned_from_in_one_sequence_and_leads_up_to_another() -> None:
    one = memory(burn_in=2)
    fill(one, 5)
    assert one.size == 0, "a sequence is of 6 steps"
    fill(one, 0)
    one = memory()
    fill(one, 14)
    assert one.size == 3 * B
    batch = one.sample()
    assert batch.obs.shape == batch.next_obs.shape == (M, 6, 50, 2)
    assert batch.reward.shape == batch.terminated.shape == (M, 6, 50) and batch.state.shape == (M, 50, 3)
    assert set(begins(batch).flatten().tolist()) == {0.0, 4.0, 8.0}
    assert batch.weight is None and batch.index.max() < one.size


def test_fields_belong_together() -> None:
    one = memory()
    fill(one, 30)
    batch = one.sample()
    who = batch.obs[..., 0]
    assert (who // 1000 == torch.arange(M)[:, None, None]).all(), "members have their own"
    assert set((who // 100 % 10).flatten().tolist()) == {0.0, 1.0, 2.0}
    assert torch.equal(who[:, 1:], who[:, :-1] + 1) and torch.equal(batch.next_obs, batch.obs + 1)
    assert torch.equal(batch.action, who.long()) and torch.equal(batch.reward, 10 * who)
    assert torch.equal(batch.done, who % 5 == 0) and torch.equal(batch.terminated, who % 10 == 0)
    assert torch.equal(batch.state, torch.stack([who[:, 0], -who[:, 0], who[:, 0]], -1)), "the state before the first"
    assert one.size == 12 and begins(batch).min() == 30 - 2 - 4 * 4, "the last 12 sequences of three bodies"


def test_states_may_begin_at_0_and_the_newest_be_in_every_batch() -> None:
    one = memory(stored_state=False, use_cer=True)
    fill(one, 30)
    batch = one.sample()
    assert not batch.state.any() and batch.state.shape == (M, 50, 3)
    assert (begins(batch)[:, -1] == 24).all()


def test_no_burn_in() -> None:
    one = memory(burn_in=0)
    fill(one, 9)
    assert one.size == 2 * B and set(begins(one.sample()).flatten().tolist()) == {0.0, 4.0}


@pytest.mark.parametrize("eta", [0.0, 0.9, 1.0])
def test_priorities_are_of_the_largest_and_the_mean_error(eta: float) -> None:
    one = memory(PrioritizedSequenceReplay, eta=eta, alpha=1.0, epsilon=1e-6, beta=1.0)
    fill(one, 10)
    one.write()
    index = torch.arange(6).expand(M, 6)
    error = torch.zeros(M, 6, 4)
    error[:, 1], error[:, 2, 3] = 1.0, -1.0
    one.learned(index, error)
    part = one.tree.part(index)
    largest, mean = torch.tensor([0, 1.0, 1, 0, 0, 0]), torch.tensor([0, 1.0, 0.25, 0, 0, 0])
    expected = eta * largest + (1 - eta) * mean
    torch.testing.assert_close(part[0].float(), expected / expected.sum(), rtol=0, atol=1e-4)
    batch = one.sample()
    share = (batch.index == 2).double().mean().item()
    assert share == pytest.approx(expected[2].item() / expected.sum().item(), abs=0.05)
    assert batch.weight.shape == (M, 50) and batch.weight.max() == 1
