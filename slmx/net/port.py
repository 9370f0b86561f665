"""What an agent meets in one environment: the sizes that its network needs there."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Port:
    """The bodies of an agent in one environment, all with one observation and action space.

    `obs_shape` of an observation; `action_size` actions to choose from (discrete) or action dimensions (continuous);
    `bodies` per member.
    """

    obs_shape: tuple[int, ...]
    action_size: int
    discrete: bool
    bodies: int

    @property
    def obs_size(self) -> int:
        """Numbers in an observation."""
        return math.prod(self.obs_shape)

    def action_shape(self, n: int) -> tuple[int, ...]:
        """The shape, without the member axis, of the actions for n observations."""
        return (n,) if self.discrete else (n, self.action_size)

    def told(self) -> Port:
        """The same where the last action and reward stand beside each observation."""
        return replace(self, obs_shape=(self.obs_size + self.action_size + 1,))
