"""Twin delayed deterministic policy gradient (Fujimoto et al., 2018, arXiv:1802.09477)."""

from __future__ import annotations

from pydantic import Field

from slmx.algorithm.deterministic import Deterministic, DeterministicHyper
from slmx.lazy import torch
from slmx.member.hyper import Int, PerMember


class TD3(Deterministic):
    """DDPG with the lesser of two critics as target, smoothed over actions, and an actor that moves less often."""

    class Hyper(DeterministicHyper):
        """Twin delayed deterministic policy gradient."""

        policy_delay: Int = Field(2, ge=1, description="updates of the critics per update of the actor and all targets")
        target_noise: PerMember = Field(0.2, ge=0, description="standard deviation of the target's noise on actions")
        target_noise_clip: PerMember = Field(0.5, gt=0, description="the largest of that noise")

        def idle(self) -> dict[str, str]:
            unused = super().idle()
            if self.exploration == "gumbel":
                unused |= dict.fromkeys(("target_noise", "target_noise_clip"), 'exploration is "gumbel"')
            return unused

    def next_action(self, port: int, next_obs: torch.Tensor) -> torch.Tensor:
        action = super().next_action(port, next_obs)
        if self.ports[port].discrete:
            return action
        most = self.hp.target_noise_clip[..., None]
        noise = self.hp.target_noise[..., None] * self.learning.normal(*action.shape[1:])
        return (action + torch.maximum(-most, torch.minimum(noise, most))).clamp(-1, 1)

    def learn(self) -> None:
        """One step of the critics on a batch of every port; at times one of the actor."""
        batches = self.batches()
        self.learn_critics(batches)
        self.updates += 1
        if self.updates % self.hp.policy_delay == 0:
            self.learn_actor(batches)
