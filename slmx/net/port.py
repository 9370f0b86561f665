"""What an agent meets in one environment: the sizes that its network needs there."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING

from slmx.lazy import torch

if TYPE_CHECKING:
    from slmx.member.streams import Streams


@dataclass(frozen=True)
class Port:
    """The bodies of an agent in one environment, all with one observation and action space.

    `obs_shape` of an observation; `action_size` actions to choose from (discrete) or action dimensions (continuous);
    `bodies` per member. `choices`: where a discrete action has several components, among how many each of them chooses,
    together `action_size`; empty where it is one choice alone.
    """

    obs_shape: tuple[int, ...]
    action_size: int
    discrete: bool
    bodies: int
    choices: tuple[int, ...] = ()

    @property
    def obs_size(self) -> int:
        """Numbers in an observation."""
        return math.prod(self.obs_shape)

    def action_shape(self, n: int) -> tuple[int, ...]:
        """The shape, without the member axis, of the actions for n observations."""
        if self.choices:
            return n, len(self.choices)
        return (n,) if self.discrete else (n, self.action_size)

    def uniform(self, streams: Streams, n: int) -> torch.Tensor:
        """Uniformly random actions for n observations of each member: int64, or in [-1, 1] where continuous."""
        if self.discrete:
            return streams.integers(self.choices or self.action_size, *self.action_shape(n))
        return 2 * streams.uniform(*self.action_shape(n)) - 1

    def as_vector(self, action: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Actions `[M, N, ...]` as numbers `[M, N, action_size]`: discrete ones, each component, as 1 among 0s."""
        if self.choices:
            first = torch.tensor([0, *accumulate(self.choices[:-1])], device=action.device)
            zeros = torch.zeros(*action.shape[:-1], self.action_size, dtype=dtype, device=action.device)
            return zeros.scatter_(-1, action + first, 1)
        return (torch.nn.functional.one_hot(action, self.action_size) if self.discrete else action).to(dtype)

    def told(self) -> Port:
        """The same where the last action and reward stand beside each observation."""
        return replace(self, obs_shape=(self.obs_size + self.action_size + 1,))
