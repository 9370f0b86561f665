"""What algorithms share that learn a policy from what that policy itself has lived."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmx.algorithm.base import Algorithm
from slmx.lazy import torch
from slmx.net.sequence import States, Unroll
from slmx.ops import flat

if TYPE_CHECKING:
    from slmx.dist import Policy
    from slmx.env.base import Step
    from slmx.memory.batch import Batch


class PolicyAlgorithm(Algorithm):
    """An actor, a critic where `critic` is true, one optimiser for both, and a memory of steps in their order."""

    actions = ("discrete", "continuous", "multidiscrete")
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
        if self.carry is None:
            self.memory.add(port, obs, action, step)
        else:
            self.memory.add(port, obs, action, step, self.carry.state[port])

    def seen(self, batch: Batch) -> torch.Tensor | Unroll:
        """What of a batch the networks look at: observations `[M, T * B, ...]`, or in the order of time."""
        if self.carry is None:
            return flat(batch.obs)
        state = batch.state
        if state is None:
            like = {"dtype": batch.reward.dtype, "device": batch.reward.device}
            state = torch.zeros(len(batch.obs), batch.obs.shape[2], self.carry.size, **like)
        return Unroll(batch.obs, state, batch.done)

    def predict(self, batch: Batch, rows: torch.Tensor | None = None) -> tuple[Policy, torch.Tensor, torch.Tensor]:
        """Policy and values `[M, T * B]` of a batch's steps, and without gradients the values of their successors.

        Each successor is looked at after all that was seen before it, so also where an episode was cut off there.
        """
        seen, following = self.seen(batch), flat(batch.next_obs)
        if isinstance(seen, Unroll):
            states = self.net.features(batch.port, seen, rows)
            seen, following = States(states), Unroll(following.unsqueeze(1), states.detach())
        policy, value = self.net.both(batch.port, seen, rows)
        with torch.no_grad():
            return policy, value, self.net.value(batch.port, following, rows)
