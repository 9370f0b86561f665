"""The sum tree against a plain cumulative sum; how often transitions come, and with what weight."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from slmx.algorithm.replay_actor import ReplayActor
from slmx.member.hyper import Stacked
from slmx.member.schedule import Schedule
from slmx.member.streams import Streams, seed_sequence
from slmx.memory.prioritized import PrioritizedReplay, SumTree

M = 2


@settings(max_examples=60, deadline=None)
@given(
    capacity=st.integers(1, 130),
    updates=st.lists(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 100)), min_size=1, max_size=6), max_size=8),
    shares=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=9),
)
def test_the_tree_equals_a_cumulative_sum(
    capacity: int, updates: list[list[tuple[int, float]]], shares: list[float]
) -> None:
    tree, naive = SumTree(M, capacity), torch.zeros(M, capacity, dtype=torch.float64)
    start = torch.linspace(0.1, 1, capacity, dtype=torch.float64).expand(M, capacity)
    for update in [list(enumerate(start[0].tolist())), *updates]:
        own = {i % capacity: value for i, value in update}  # equal indices: any one may win
        index = torch.tensor([list(own)]).repeat(M, 1)
        value = torch.tensor([list(own.values())], dtype=torch.float64) * torch.tensor([[1.0], [0.5]])
        tree.set(index, value)
        naive.scatter_(1, index, value)
    for level in tree.levels:
        torch.testing.assert_close(level.sum(1), naive.sum(1))
    total = naive.sum(1, keepdim=True)
    if not total.all():
        return
    share = torch.tensor([shares], dtype=torch.float64).repeat(M, 1)
    found = tree.find(share)
    edges = torch.cat([torch.zeros(M, 1), naive.cumsum(1)], 1) / total
    slack = 1e-9
    assert (edges.gather(1, found) <= share + slack).all()
    assert (share <= edges.gather(1, found + 1) + slack).all()
    torch.testing.assert_close(tree.part(found), naive.gather(1, found) / total)


def test_nothing_is_found_that_holds_nothing() -> None:
    tree = SumTree(1, 20)
    tree.set(torch.tensor([[3, 11]]), torch.tensor([[1.0, 3.0]], dtype=torch.float64))
    share = torch.tensor([[0.0, 0.2, 0.2499, 0.2501, 0.9, 1 - 1e-16, 1.0]], dtype=torch.float64)
    assert tree.find(share).tolist() == [[3, 3, 3, 11, 11, 11, 11]]


def memory(hypers: list[PrioritizedReplay.Hyper], count: int) -> PrioritizedReplay:
    result = PrioritizedReplay(Stacked(hypers), Streams([seed_sequence(0, 0, m) for m in range(len(hypers))]))
    zeros = torch.zeros(len(hypers), count)
    result.add(zeros[..., None], zeros.long(), zeros, zeros[..., None], zeros)
    result.write()
    return result


def learn_all(replay: PrioritizedReplay, error: Tensor) -> None:
    replay.learned(torch.arange(error.shape[1]).expand(error.shape), error)


def test_frequencies_and_weights() -> None:
    """Members with exponents of their own: alpha 1 follows the errors, alpha 0 does not look at them."""
    alphas, beta, n = [1.0, 0.5, 0.0], 0.5, 8
    hypers = [PrioritizedReplay.Hyper(max_size=n, batch_size=4, alpha=a, beta=beta, epsilon=1e-6) for a in alphas]
    replay = memory(hypers, n)
    error = torch.arange(1.0, n + 1) * torch.tensor([1.0, -1] * (n // 2))
    learn_all(replay, error.expand(3, n))
    drawn = [replay.sample() for _ in range(3000)]
    index = torch.cat([batch.index for batch in drawn], 1)
    for m, alpha in enumerate(alphas):
        expected = error.abs() ** alpha
        expected = expected / expected.sum()
        frequency = index[m].bincount(minlength=n) / index.shape[1]
        torch.testing.assert_close(frequency, expected, atol=0.01, rtol=0)
        for batch in drawn[:20]:
            weight = (n * expected[batch.index[m]]) ** -beta
            assert batch.weight is not None
            torch.testing.assert_close(batch.weight[m], weight / weight.max(), atol=1e-4, rtol=0)


def test_a_new_transition_is_as_important_as_the_most_important_so_far() -> None:
    replay = memory([PrioritizedReplay.Hyper(max_size=6, batch_size=2, alpha=1.0, epsilon=1e-9)] * M, 3)
    assert replay.tree.levels[2][:, :4].tolist() == [[1, 1, 1, 0]] * M
    learn_all(replay, torch.tensor([[5.0, 2, 1], [0.5, 0.25, 0.125]]))
    row = torch.zeros(M, 1)
    replay.add(row[..., None], row.long(), row, row[..., None], row)
    replay.write()
    torch.testing.assert_close(replay.tree.levels[2][:, 3], torch.tensor([5.0, 1.0], dtype=torch.float64))


def test_a_member_whose_errors_are_no_numbers_harms_nobody() -> None:
    ill, well = (memory([PrioritizedReplay.Hyper(max_size=6, batch_size=4)] * M, 6) for _ in range(2))
    for _ in range(5):
        learn_all(ill, torch.stack([torch.full((6,), math.nan), torch.arange(6.0)]))
        learn_all(well, torch.arange(6.0).expand(M, 6))
        a, b = ill.sample(), well.sample()
        assert torch.equal(a.index[1], b.index[1])
        assert a.weight is not None
        assert b.weight is not None
        assert torch.equal(a.weight[1], b.weight[1])
        assert 0 <= a.index.min() <= a.index.max() < 6


def test_beta_follows_its_schedule() -> None:
    beta = Schedule(name="linear_decay", start_val=0.0, end_val=1.0, end_step=10)
    replay = memory([PrioritizedReplay.Hyper(max_size=2, batch_size=2, alpha=1.0, beta=beta)], 2)
    learn_all(replay, torch.tensor([[1.0, 4.0]]))
    expected = {0: 1.0, 5: 0.5, 10: 0.25}
    for frame, weight in expected.items():
        replay.hp.at(frame)
        # the larger of the two comes in the second half of the total, the smaller sometimes in the first
        batches = [replay.sample() for _ in range(40)]
        both = next(batch for batch in batches if set(batch.index[0].tolist()) == {0, 1})
        assert both.weight is not None
        assert both.weight[0].min().item() == pytest.approx(weight, rel=1e-3)


def test_critics_that_err_to_both_sides_have_much_to_learn() -> None:
    heard: list[Tensor] = []
    agent = SimpleNamespace(memory=[SimpleNamespace(learned=lambda index, error: heard.append(error))])
    batch, target = SimpleNamespace(index=None, weight=None), torch.zeros(1, 2)
    ReplayActor.critic_loss(agent, 0, batch, torch.tensor([[[5.0, 1.0]], [[-5.0, 1.0]]]), target)  # type: ignore[arg-type]
    assert heard[0].tolist() == [[5.0, 1.0]]
