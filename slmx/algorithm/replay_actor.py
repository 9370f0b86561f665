"""What algorithms share that learn an actor from the critics of its actions, and both from replay."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from slmx import ops
from slmx.algorithm.replay import ReplayAlgorithm, ReplayHyper
from slmx.lazy import torch
from slmx.member.hyper import Int, PerMember
from slmx.memory.replay import Transitions


class ReplayActorHyper(ReplayHyper):
    """When such an algorithm learns."""

    gamma: PerMember = Field(0.99, ge=0, le=1, description="discount factor")
    training_start_step: Int = Field(
        1000, ge=0, description="frames of uniformly random actions before the first update"
    )
    training_frequency: Int = Field(1, ge=1, description="frames per training")


class ReplayActor(ReplayAlgorithm):
    """An actor and E critics, each with its optimiser. Continuous actions lie in [-1, 1]."""

    squashes = True
    critics_count: ClassVar[int] = 2
    actor_outputs: ClassVar[int] = 1  # per continuous action

    @classmethod
    def sees(cls, kind: str) -> bool:
        return False  # critics take observations and actions as one vector

    def build_networks(self, every: bool = False) -> None:
        """Make `actor` and `critics`; `every`: critics value all discrete actions at once."""
        from slmx.net.critics import Critics

        setting, hp = self.setting, self.net_hp
        options = {"renormed": True} if self.renorms else {}
        heads = [
            {"policy": (port.action_size * (1 if port.discrete else self.actor_outputs), 0.01)} for port in self.ports
        ]
        inputs = [port.obs_shape for port in self.ports]
        self.actor = setting.net.build(hp, setting.streams("actor"), inputs, heads, **options).eval()
        self.critics = Critics(
            setting.net, hp, setting.streams, self.ports, self.critics_count, every, **options
        ).eval()
        self.critic_optim, self.actor_optim = self.optimize(self.critics), self.optimize(self.actor)

    def networks(self) -> dict[str, torch.nn.Module]:
        return {"actor": self.actor, "critics": self.critics}

    def explore(self, port: int, obs: torch.Tensor) -> torch.Tensor:
        if self.frame >= self.hp.training_start_step:
            return self.vary(port, obs)
        return self.ports[port].uniform(self.exploring, obs.shape[1])

    def vary(self, port: int, obs: torch.Tensor) -> torch.Tensor:
        """Actions of the policy, as it explores."""
        raise NotImplementedError

    def as_vector(self, port: int, action: torch.Tensor) -> torch.Tensor:
        """Actions as critics take them, `[M, N, A]`: discrete ones as vectors of 0 and 1."""
        return self.ports[port].as_vector(action, self.setting.dtype)

    def critic_loss(self, port: int, batch: Transitions, q: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss `[M]` of estimates `[E, M, N]` that are to come to targets `[M, N]`; the memory hears the errors.

        Their sizes are averaged: where critics err to both sides of a target there is most to learn.
        """
        self.memory[port].learned(batch.index, (q.detach() - target).abs().mean(0))
        return ops.weighted_mean(ops.squared_error(q, target).sum(0), batch.weight)

    def step_critics(self, losses: list[torch.Tensor]) -> None:
        """One step of the critics down the sum of the ports' losses."""
        loss = sum(losses[1:], losses[0])
        self.critic_optim.step(loss)
        self.log(loss=loss, grad_norm=self.critic_optim.grad_norm)

    def step_actor(self, losses: list[torch.Tensor]) -> None:
        """One step of the actor down the sum of the ports' losses."""
        loss = sum(losses[1:], losses[0])
        self.actor_optim.step(loss)
        self.log(policy_loss=loss)
