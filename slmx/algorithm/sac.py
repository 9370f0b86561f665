"""Soft actor-critic (Haarnoja et al., 2018, arXiv:1812.05905)."""

from __future__ import annotations

from pydantic import Field

from slmx.algorithm.soft import Soft, SoftHyper
from slmx.lazy import torch
from slmx.member.hyper import PerMember


class SAC(Soft):
    """Off-policy: two critics with target networks, and an actor that is paid for entropy."""

    copied = (*Soft.copied, "critics_target")

    class Hyper(SoftHyper):
        """Soft actor-critic."""

        polyak_coef: PerMember = Field(0.005, gt=0, le=1, description="share of each critic that its target takes over")

    def build(self) -> None:
        from slmx.net.target import Target

        super().build()
        self.critics_target = Target(self.critics)

    def learn(self) -> None:
        """One step of the critics on a batch of every port; at times one of the actor."""
        batches, losses = self.batches(), []
        for port, batch in enumerate(batches):
            with torch.no_grad():
                proposal = self.propose(port, batch.next_obs)
                next_q = self.critics_target.network(port, batch.next_obs, proposal.action)
                target = batch.reward + batch.bootstrap * self.soft_value(port, proposal, next_q)
            q = self.taken(port, self.critics(port, batch.obs, batch.action), batch.action)
            losses.append(self.critic_loss(port, batch, q, target))
        self.step_critics(losses)
        self.updates += 1
        if self.updates % self.hp.policy_delay == 0:
            self.learn_actor(batches)
        self.critics_target.approach(self.critic_optim.flat, self.hp.polyak_coef)
