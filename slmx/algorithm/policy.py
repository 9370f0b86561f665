"""What algorithms share that learn a policy from what that policy itself has lived."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmx.algorithm.base import Algorithm
from slmx.lazy import torch

if TYPE_CHECKING:
    from slmx.env.base import Step


class PolicyAlgorithm(Algorithm):
    """An actor, a critic where `critic` is true, one optimiser for both, and a memory of steps in their order."""

    net_keys = frozenset({"shared"})

    def build_networks(self, critic: bool = True) -> None:
        """Make `net` and `optim`."""
        from slmx.net.actor_critic import ActorCritic

        self.net = ActorCritic(self.setting.net, self.net_hp, self.setting.streams("net"), self.ports, critic)
        self.optim = self.optimize(self.net)

    def networks(self) -> dict[str, torch.nn.Module]:
        return {"net": self.net}

    def explore(self, port: int, obs: torch.Tensor) -> torch.Tensor:
        return self.net.sample(port, obs, self.exploring)

    def exploit(self, port: int, obs: torch.Tensor) -> torch.Tensor:
        return self.net.policy(port, obs).mode()

    def remember(self, port: int, obs: torch.Tensor, action: torch.Tensor, step: Step) -> None:
        self.memory.add(port, obs, action, step)
