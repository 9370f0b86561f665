"""CrossQ (Bhatt et al., 2019, arXiv:1902.05605)."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from slmx.algorithm.soft import Soft, SoftHyper
from slmx.lazy import torch
from slmx.member.hyper import Int
from slmx.memory.replay import Transitions


class CrossQ(Soft):
    """Soft actor-critic without target networks: critics see present and next actions in one normalised batch.

    Without that normalisation the bootstrap would run away.
    """

    renorms = True

    class Hyper(SoftHyper):
        """CrossQ."""

        policy_delay: Int = Field(3, ge=1, description="updates of the critics per update of actor and alpha")

    def learn(self) -> None:
        """One step of the critics on a batch of every port; at times one of the actor."""
        batches, losses = self.batches(), []
        self.critics.train()
        for port, batch in enumerate(batches):
            with torch.no_grad():
                proposal = self.propose(port, batch.next_obs)
            action = None if proposal.action is None else torch.cat([batch.action, proposal.action], 1)
            both = self.critics(port, torch.cat([batch.obs, batch.next_obs], 1), action)
            q, next_q = both.chunk(2, 2)
            target = batch.reward + batch.bootstrap * self.soft_value(port, proposal, next_q.detach())
            losses.append(self.critic_loss(port, batch, self.taken(port, q, batch.action), target))
        self.critics.eval()
        self.step_critics(losses)
        self.updates += 1
        if self.updates % self.hp.policy_delay == 0:
            self.learn_actor(batches)

    def learn_actor(self, batches: Sequence[Transitions]) -> None:
        self.actor.train()
        super().learn_actor(batches)
        self.actor.eval()
