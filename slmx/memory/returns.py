"""What was done in finished episodes and what came of it, as self-imitation learns from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from slmx.lazy import torch
from slmx.member.hyper import Stacked
from slmx.member.streams import Streams
from slmx.memory.batch import Batch
from slmx.memory.prioritized import PrioritizedReplay
from slmx.memory.ring import Ring
from slmx.ops import flat


@dataclass
class Experience:
    """Sampled steps `[M, N, ...]`; `achieved` is the return that followed, `index` and `weight` are Transitions'."""

    obs: torch.Tensor
    action: torch.Tensor
    achieved: torch.Tensor
    index: torch.Tensor
    weight: torch.Tensor


class Returns(PrioritizedReplay):
    """A ring of the steps of a port, drawn in proportion to their priorities as soon as their episodes have ended.

    Until then a step has its place and the priority 0. Of an episode longer than the ring its last steps remain.
    """

    copied = (*PrioritizedReplay.copied, "achieved", "began")

    def __init__(self, hp: Stacked, streams: Streams):
        super().__init__(hp, streams)
        # the reward of each step until its episode has ended, then its return
        self.achieved = torch.zeros(streams.members, hp.max_size, dtype=streams.dtype, device=streams.device)
        self.began: np.ndarray | None = None  # the steps `[M, B]` with which the running episodes began,
        self.steps = 0  # of so many that each body has taken

    @property
    def ready(self) -> torch.Tensor:
        """Which members `[M]` have finished an episode."""
        return self.tree.levels[0].sum(1) > 0

    def add_rollout(self, batch: Batch, next_value: torch.Tensor, gamma: torch.Tensor) -> None:
        """Take in a rollout; a truncated episode's return goes on with `next_value` `[M, T, B]`; gamma `[M, 1]`."""
        members, horizon, bodies = batch.reward.shape
        fields, capacity = [flat(batch.obs), flat(batch.action)], self.hp.max_size
        if self.ring is None:
            self.ring = Ring(capacity, fields, self.streams.dtype)
            self.began = np.zeros((members, bodies), np.int64)
        self.ring.write(self.head, fields)
        n = horizon * bodies
        places = (torch.arange(self.head, self.head + n, device=self.achieved.device) % capacity).expand(members, n)
        self.tree.set(places, torch.zeros_like(places, dtype=torch.float64))
        self.achieved.scatter_(1, places, flat(batch.reward))
        self.head, self.size = (self.head + n) % capacity, min(self.size + n, capacity)
        known: list[list[int]] = [[] for _ in range(members)]
        for member, own, value in self._ended(batch, next_value):
            discount, returns = gamma[member].item(), []
            for reward in reversed(self.achieved[member, own].tolist()):
                value = reward + discount * value
                returns.append(value)
            self.achieved[member, own] = self.achieved.new_tensor(returns[::-1])
            known[member] += own.tolist()
        self.steps += horizon
        self._prefer(known)

    def learned(self, index: torch.Tensor, error: torch.Tensor) -> None:
        ready, highest = self.ready[:, None], self.highest
        super().learned(index, error)
        if not ready.all():  # what was drawn of the others is no step of a finished episode
            self.highest = self.highest.where(ready, highest)
            self.tree.set(index, self.tree.levels[2].gather(1, index) * ready)

    def _ended(self, batch: Batch, next_value: torch.Tensor) -> Iterator[tuple[int, torch.Tensor, float]]:
        """The member of each episode that has ended, the places of its steps that remain, and the value after it."""
        assert self.began is not None
        _, horizon, bodies = batch.reward.shape
        capacity = self.hp.max_size
        after = next_value.masked_fill(batch.terminated, 0)[batch.done].tolist()
        for (member, t, body), value in zip(batch.done.nonzero().tolist(), after, strict=True):
            last = self.steps + t
            oldest = -(-((self.steps + horizon) * bodies - capacity - body) // bodies)
            steps = torch.arange(max(int(self.began[member, body]), oldest), last + 1, device=self.achieved.device)
            self.began[member, body] = last + 1
            yield member, (steps * bodies + body) % capacity, value

    def _prefer(self, known: list[list[int]]) -> None:
        """Give each member's places, of which there may be none, the priority of the most important so far."""
        longest = max(map(len, known))
        if longest == 0:
            return
        # filled up with a place that is among them already, or with one that stays as it is where there is none
        filled = [own + [own[0] if own else 0] * (longest - len(own)) for own in known]
        index = torch.tensor(filled, device=self.achieved.device)
        some = torch.tensor([[bool(own)] for own in known], device=self.achieved.device)
        self.tree.set(index, torch.where(some, self.highest, self.tree.levels[2].gather(1, index)))

    def experience(self) -> Experience:
        """A batch for every member, `[M, batch_size, ...]`; of one that is not ready it is nothing, and weighs 0."""
        assert self.ring is not None
        index = self._draw()
        obs, action = self.ring.read(index)
        return Experience(obs, action, self.achieved.gather(1, index), index, self._weigh(index).nan_to_num())
