"""What algorithms share whose actor knows one action for each observation, and explores by noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from slmx.algorithm.replay_actor import ReplayActor, ReplayActorHyper
from slmx.dist import Categorical, relaxed_one_hot
from slmx.lazy import torch
from slmx.member.hyper import PerMember, Scheduled
from slmx.memory.replay import Transitions

if TYPE_CHECKING:
    from slmx.env.base import Step


class DeterministicHyper(ReplayActorHyper):
    """How such an algorithm explores, and how its target networks follow."""

    exploration: Literal["gaussian", "ornstein_uhlenbeck", "gumbel"] = Field(
        "gaussian", description="noise on continuous actions; gumbel: on the logits of discrete ones"
    )
    noise: Scheduled = Field(0.1, ge=0, description="standard deviation of what is added to actions in [-1, 1]")
    theta: PerMember = Field(0.15, ge=0, le=1, description="share of Ornstein-Uhlenbeck noise that is lost per step")
    temperature: PerMember = Field(1.0, gt=0, description="of the softened discrete actions that the actor learns by")
    polyak_coef: PerMember = Field(0.005, gt=0, le=1, description="share of each network that its target takes over")

    def idle(self) -> dict[str, str]:
        unused = {}
        if self.exploration != "ornstein_uhlenbeck":
            unused["theta"] = f'exploration is "{self.exploration}"'
        if self.exploration != "gumbel":
            unused["temperature"] = f'exploration is "{self.exploration}"'
        else:
            unused["noise"] = 'exploration is "gumbel"'
        return unused


class Deterministic(ReplayActor):
    """An actor with a target, critics with a target.

    Discrete actions are learned through the Gumbel-softmax (Jang et al., 2016, arXiv:1611.01144): critics see vectors
    of 0 and 1, gradients those of a softmax.
    """

    copied = (*ReplayActor.copied, "actor_target", "critics_target", "drift")

    @classmethod
    def unfit(cls, hyper: Any, kind: str) -> dict[str, str]:
        if (hyper.exploration == "gumbel") is (kind == "discrete"):
            return {}
        fitting = '"gumbel"' if kind == "discrete" else '"gaussian" or "ornstein_uhlenbeck"'
        return {"exploration": f'"{hyper.exploration}" is not for {kind} actions; they take {fitting}'}

    def build(self) -> None:
        from slmx.net.target import Target

        self.build_networks()
        self.actor_target, self.critics_target = Target(self.actor), Target(self.critics)
        self.build_memory()
        self.drift: list[torch.Tensor | None] = [None for _ in self.ports]  # of Ornstein and Uhlenbeck, [M, B, A]

    def vary(self, port: int, obs: torch.Tensor) -> torch.Tensor:
        self.hp.at(self.frame)
        output, own = self.actor(port, "policy", obs), self.ports[port]
        if own.discrete:
            return Categorical(output).sample(self.exploring.uniform(obs.shape[1]))
        noise = self.hp.noise[..., None] * self.exploring.normal(*own.action_shape(obs.shape[1]))
        if self.hp.exploration == "ornstein_uhlenbeck":
            drift = self.drift[port]
            noise = noise if drift is None else drift * (1 - self.hp.theta[..., None]) + noise
            self.drift[port] = noise
        return (output.tanh() + noise).clamp(-1, 1)

    def exploit(self, port: int, obs: torch.Tensor) -> torch.Tensor:
        output = self.actor(port, "policy", obs)
        return output.argmax(-1) if self.ports[port].discrete else output.tanh()

    def remember(self, port: int, obs: torch.Tensor, action: torch.Tensor, step: Step) -> None:
        super().remember(port, obs, action, step)
        drift = self.drift[port]
        if drift is not None:  # each episode begins without
            self.drift[port] = drift * ~step.done[..., None]

    def next_action(self, port: int, next_obs: torch.Tensor) -> torch.Tensor:
        """What the target actor does then, as critics take it, `[M, N, A]`."""
        output = self.actor_target.network(port, "policy", next_obs)
        return self.as_vector(port, output.argmax(-1)) if self.ports[port].discrete else output.tanh()

    def learn_critics(self, batches: Sequence[Transitions]) -> None:
        """One step of the critics towards what their targets say of the next actions, the least where they disagree."""
        losses = []
        for port, batch in enumerate(batches):
            with torch.no_grad():
                next_q = self.critics_target.network(port, batch.next_obs, self.next_action(port, batch.next_obs))
                target = batch.reward + batch.bootstrap * next_q.amin(0)
            q = self.critics(port, batch.obs, self.as_vector(port, batch.action))
            losses.append(self.critic_loss(port, batch, q, target))
        self.step_critics(losses)

    def learn_actor(self, batches: Sequence[Transitions]) -> None:
        """One step of the actor towards what the first critic likes; then the targets follow."""
        losses = []
        for port, batch in enumerate(batches):
            output = self.actor(port, "policy", batch.obs)
            if self.ports[port].discrete:
                noise = self.learning.uniform(*output.shape[1:])
                action = relaxed_one_hot(output, noise, self.hp.temperature[..., None])
            else:
                action = output.tanh()
            losses.append(-self.critics(port, batch.obs, action)[0].mean(1))
        self.step_actor(losses)
        self.actor_target.approach(self.actor_optim.flat, self.hp.polyak_coef)
        self.critics_target.approach(self.critic_optim.flat, self.hp.polyak_coef)

    def settings(self) -> dict[str, torch.Tensor]:
        return super().settings() | ({} if self.hp.exploration == "gumbel" else {"noise": self.hp.noise})
