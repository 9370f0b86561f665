"""What an agent meets in one environment: the sizes that its network needs there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Port:
    """The bodies of an agent in one environment, all with one observation and action space.

    `obs_size` numbers an observation; `action_size` actions to choose from (discrete) or action dimensions
    (continuous);
    `bodies` per member.
    """

    obs_size: int
    action_size: int
    discrete: bool
    bodies: int

    def action_shape(self, n: int) -> tuple[int, ...]:
        """The shape, without the member axis, of the actions for n observations."""
        return (n,) if self.discrete else (n, self.action_size)
