"""What algorithms share that look for return and entropy together (Haarnoja et al., 2018, arXiv:1812.05905).

Discrete actions are not drawn but averaged over (Christodoulou, 2019, arXiv:1910.07207).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from slmx import ops
from slmx.algorithm.replay_actor import ReplayActor, ReplayActorHyper
from slmx.dist import Categorical, SquashedGaussian
from slmx.lazy import torch
from slmx.member.hyper import Int, MaybePerMember
from slmx.memory.replay import Transitions

DISCRETE_SHARE = 0.98  # of the largest entropy that discrete actions can have: Christodoulou's target


class SoftHyper(ReplayActorHyper):
    """What entropy is worth."""

    alpha: MaybePerMember = Field(None, gt=0, description="what a nat of entropy is worth; null: learned")
    target_entropy: MaybePerMember = Field(
        None, description="in nats, which alpha is learned to hold; null: minus the actions' dimensions, or 0.98 log A"
    )
    policy_delay: Int = Field(1, ge=1, description="updates of the critics per update of actor and alpha")

    def idle(self) -> dict[str, str]:
        return {} if self.alpha is None else {"target_entropy": "alpha is not null"}


@dataclass
class Proposal:
    """What a policy would do: an action `[M, N, A]` with which it was drawn, or the probabilities of all, `[M, N, A]`.

    `entropy` `[M, N]` in nats, of one action as far as that tells.
    """

    action: torch.Tensor | None
    probs: torch.Tensor | None
    entropy: torch.Tensor


class Soft(ReplayActor):
    """A stochastic actor, two critics, and the worth of entropy: given, or learned for each port.

    Of a return of n steps the entropy of the state after them counts alone, not that of those between, which were acted
    in by older policies.
    """

    actor_outputs = 2  # mean and logarithm of the standard deviation

    @classmethod
    def sees(cls, kind: str) -> bool:
        return kind == "discrete"  # of which critics value all at once

    def build(self) -> None:
        self.build_networks(every=True)
        self.log_alpha: torch.nn.ParameterList | None = None
        if self.hp.alpha is None:
            zeros = torch.zeros(self.members, 1, dtype=self.setting.dtype, device=self.setting.device)
            self.log_alpha = torch.nn.ParameterList([zeros.clone() for _ in self.ports])
            self.alpha_optim = self.optimize(self.log_alpha)
        self.build_memory()

    def networks(self) -> dict[str, torch.nn.Module]:
        return super().networks() | ({} if self.log_alpha is None else {"log_alpha": self.log_alpha})

    def policy(self, port: int, obs: torch.Tensor) -> Categorical | SquashedGaussian:
        """The distribution over actions for observations `[M, N, ...]`."""
        output = self.actor(port, "policy", obs)
        return Categorical(output) if self.ports[port].discrete else SquashedGaussian(*output.chunk(2, -1))

    def vary(self, port: int, obs: torch.Tensor) -> torch.Tensor:
        own = self.ports[port]
        noise = self.exploring.uniform if own.discrete else self.exploring.normal
        return self.policy(port, obs).sample(noise(*own.action_shape(obs.shape[1])))

    def exploit(self, port: int, obs: torch.Tensor) -> torch.Tensor:
        return self.policy(port, obs).mode()

    def alpha(self, port: int) -> torch.Tensor:
        """What a nat of entropy is worth, `[M, 1]`."""
        return self.hp.alpha if self.log_alpha is None else self.log_alpha[port].detach().exp()

    def target_entropy(self, port: int) -> torch.Tensor | float:
        """The entropy that alpha is to hold, `[M, 1]` or one for all."""
        if self.hp.target_entropy is not None:
            return self.hp.target_entropy
        own = self.ports[port]
        return DISCRETE_SHARE * math.log(own.action_size) if own.discrete else -float(own.action_size)

    def propose(self, port: int, obs: torch.Tensor) -> Proposal:
        """What the policy would do at observations `[M, N, ...]`."""
        policy = self.policy(port, obs)
        if isinstance(policy, Categorical):
            log_probs = policy.log_probs()
            probs = log_probs.exp()
            return Proposal(None, probs, -(probs * log_probs).sum(-1))
        noise = self.learning.normal(*self.ports[port].action_shape(obs.shape[1]))
        action, log_prob = policy.sample_log_prob(noise)
        return Proposal(action, None, -log_prob)

    def soft_value(self, port: int, proposal: Proposal, q: torch.Tensor) -> torch.Tensor:
        """The value `[M, N]` of doing so, entropy included: by the lesser of what critics say, `[E, M, N (, A)]`."""
        least = q.amin(0)
        value = least if proposal.probs is None else (proposal.probs * least).sum(-1)
        return value + self.alpha(port) * proposal.entropy

    def taken(self, port: int, q: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Of what critics say, that of the actions that were taken: `[E, M, N]`."""
        return ops.pick(q.movedim(0, -1), action).movedim(-1, 0) if self.ports[port].discrete else q

    def learn_actor(self, batches: Sequence[Transitions]) -> None:
        """One step of the actor towards value and entropy, and of alpha towards the entropy that is asked for."""
        losses, alpha_losses = [], []
        for port, batch in enumerate(batches):
            proposal = self.propose(port, batch.obs)
            q = self.critics(port, batch.obs, proposal.action)
            losses.append(-self.soft_value(port, proposal, q).mean(1))
            self.log(entropy=proposal.entropy.mean(1), alpha=self.alpha(port)[:, 0])
            if self.log_alpha is not None:
                surplus = proposal.entropy.detach() - self.target_entropy(port)
                alpha_losses.append((self.log_alpha[port] * surplus).mean(1))
        self.step_actor(losses)
        if self.log_alpha is not None:
            self.alpha_optim.step(sum(alpha_losses[1:], alpha_losses[0]))
