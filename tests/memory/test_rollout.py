"""Rollouts: the last T steps of each port, some of them kept for the next time where asked."""

from __future__ import annotations

import torch

from slmx.env.base import Step
from slmx.memory.batch import Batch
from slmx.memory.rollout import Rollout


def add(memory: Rollout, port: int, t: int, state: torch.Tensor | None = None) -> None:
    """Two members of three bodies; every field tells the time, terminated at odd times, truncated at multiples of 4."""
    number = torch.full((2, 3), float(t))
    odd, fourth = torch.full((2, 3), t % 2 == 1), torch.full((2, 3), t % 4 == 0)
    step = Step(number[..., None] + 9, number[..., None] + 1, number * 10, odd, fourth)
    memory.add(port, number[..., None], number.long(), step, state)


def times(batch: Batch) -> list[int]:
    return batch.action[1, :, 2].tolist()


def test_hands_out_its_steps_and_starts_anew() -> None:
    memory = Rollout(3, 1)
    for t in range(2):
        add(memory, 0, t)
        assert not memory.full
    add(memory, 0, 2)
    assert memory.full
    (batch,) = memory.take()
    assert not memory.full
    assert batch.obs.shape == batch.next_obs.shape == (2, 3, 3, 1)
    assert batch.reward.shape == (2, 3, 3)
    assert batch.mask is None
    assert times(batch) == [0, 1, 2]
    assert batch.obs[0, :, 0, 0].tolist() == [0, 1, 2]
    assert batch.next_obs[0, :, 0, 0].tolist() == [1, 2, 3]
    assert batch.reward[0, :, 0].tolist() == [0, 10, 20]
    assert batch.terminated[0, :, 0].tolist() == [False, True, False]
    assert batch.done[0, :, 0].tolist() == [True, True, False]


def test_keeps_the_last_steps_where_asked() -> None:
    memory, seen = Rollout(4, 1), []
    for t in range(10):
        add(memory, 0, t)
        if memory.full:
            seen.append(times(memory.take(keep=1)[0]))
    assert seen == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]


def test_a_port_that_has_ended_holds_nobody_up() -> None:
    memory = Rollout(2, 2)
    add(memory, 0, 0)
    add(memory, 1, 0)
    add(memory, 1, 1)
    assert memory.full
    assert [batch.port for batch in memory.take()] == [1]
    add(memory, 1, 2)
    add(memory, 1, 3)
    (batch,) = memory.take()
    assert times(batch) == [2, 3]


def test_keeps_the_state_before_its_first_step() -> None:
    memory, found = Rollout(3, 1), []
    for t in range(9):
        add(memory, 0, t, torch.full((2, 3, 4), float(t)))
        if memory.full:
            (batch,) = memory.take()
            assert batch.state is not None and batch.state.shape == (2, 3, 4)
            found.append(batch.state.unique().tolist())
    assert found == [[0], [3], [6]]
    for t in range(3):
        add(memory, 0, t)
    assert memory.take()[0].state is None
