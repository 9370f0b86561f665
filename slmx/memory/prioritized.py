"""Replay in which transitions with large errors come more often."""

from __future__ import annotations

from pydantic import Field

from slmx.lazy import torch
from slmx.member.axis import Membered
from slmx.member.hyper import PerMember, Scheduled, Stacked
from slmx.member.streams import Streams
from slmx.memory.replay import Replay


class PrioritizedReplay(Replay):
    """Proportional prioritised replay (Schaul et al., 2015, arXiv:1511.05952), section 3.3, with importance weights."""

    copied = (*Replay.copied, "tree", "highest")

    class Hyper(Replay.Hyper):
        """Replay in proportion to the size of the last error."""

        alpha: PerMember = Field(0.6, ge=0, le=1, description="how much the error counts; 0: uniform")
        beta: Scheduled = Field(0.4, ge=0, le=1, description="how far importance weights correct for it")
        epsilon: PerMember = Field(1e-4, gt=0, description="added to errors, so that all can be drawn")

    def __init__(self, hp: Stacked, streams: Streams):
        super().__init__(hp, streams)
        self.tree = SumTree(streams.members, hp.max_size, streams.device)
        # a new transition is as important as the most important so far, so that each is soon seen
        self.highest = torch.ones(streams.members, 1, dtype=torch.float64, device=streams.device)

    def learned(self, index: torch.Tensor, error: torch.Tensor) -> None:
        self.write()
        priority = ((error.double().abs() + self.hp.epsilon) ** self.hp.alpha).nan_to_num(posinf=1.0)
        self.highest = torch.maximum(self.highest, priority.amax(1, keepdim=True))
        self.tree.set(index, priority)

    def _added(self, head: int, n: int) -> None:
        members, capacity = len(self.highest), self.hp.max_size
        index = (torch.arange(head, head + n, device=self.highest.device) % capacity).expand(members, n)
        self.tree.set(index, self.highest.expand(members, n))

    def _draw(self) -> torch.Tensor:
        n = self.hp.batch_size
        # one draw from each of n equal shares of the total, as in the paper
        share = (torch.arange(n, device=self.streams.device) + self.streams.uniform(n).double()) / n
        return self.tree.find(share).clamp_(max=self.size - 1)

    def _weigh(self, index: torch.Tensor) -> torch.Tensor:
        weight = (self.size * self.tree.part(index).clamp(min=1e-12)) ** -self.hp.beta
        return (weight / weight.amax(1, keepdim=True)).to(self.streams.dtype)


class SumTree(Membered):
    """M trees of sums over `capacity` leaves, three levels deep and about cube-root(capacity) wide, in float64.

    Wide and shallow, so that a search is a few tensor operations for all members and samples at once.
    (In float32 the sums would drift from their leaves.)
    """

    copied = ("levels",)

    def __init__(self, members: int, capacity: int, device: str = "cpu"):
        self.width = max(2, round(capacity ** (1 / 3) + 0.5))
        while self.width**3 < capacity:
            self.width += 1
        w = self.width
        self.levels = [torch.zeros(members, w**d, dtype=torch.float64, device=device) for d in (1, 2, 3)]

    def set(self, index: torch.Tensor, value: torch.Tensor) -> None:
        """Set the leaves `index` `[M, N]` to `value` `[M, N]`; of equal indices, any one wins."""
        index = index.contiguous()
        self.levels[2].scatter_(1, index, value)
        for level in (1, 0):
            index = torch.div(index, self.width, rounding_mode="floor")
            self.levels[level].scatter_(1, index, self._children(level + 1, index).sum(-1))

    def part(self, index: torch.Tensor) -> torch.Tensor:
        """What part of the total each of the leaves `index` `[M, N]` holds."""
        return self.levels[2].gather(1, index) / self.levels[0].sum(1, keepdim=True)

    def find(self, share: torch.Tensor) -> torch.Tensor:
        """The leaves `[M, N]` at shares in [0, 1) of the total."""
        top = self.levels[0]
        left = share * top.sum(1, keepdim=True)
        index, left = self._descend(top.unsqueeze(1).expand(-1, share.shape[1], -1), left)
        for level in (1, 2):
            step, left = self._descend(self._children(level, index), left)
            index = index * self.width + step
        return index

    def _children(self, level: int, parent: torch.Tensor) -> torch.Tensor:
        """The children `[M, N, width]`, on `level`, of nodes `parent` `[M, N]` of the level above."""
        m, w = len(parent), self.width
        rows = (parent + torch.arange(m, device=parent.device)[:, None] * (self.levels[level].shape[1] // w)).flatten()
        return self.levels[level].view(-1, w).index_select(0, rows).view(m, -1, w)

    def _descend(self, children: torch.Tensor, left: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Which child `[M, N]` the remainder `left` falls into, and what of it is left there."""
        sums = children.cumsum(-1)
        # never past the last child that holds anything, whatever rounding says
        left = torch.minimum(left, sums[..., -1] * (1 - 1e-12))
        step = (sums <= left.unsqueeze(-1)).sum(-1).clamp_(max=self.width - 1)
        before = sums.gather(-1, (step - 1).clamp(min=0).unsqueeze(-1)).squeeze(-1) * (step > 0)
        return step, left - before
