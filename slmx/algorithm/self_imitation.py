"""Self-imitation learning (Oh et al., 2018, arXiv:1806.05635), for algorithms that learn a policy and values.

What an agent did counts again where more came of it than its values expect of that state now. Returns are those of
finished episodes alone. One that was truncated goes on with the value of the state where it was cut off, as n-step
returns do: its rewards alone would be too much where rewards are negative, and too little where they are positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from slmx import ops
from slmx.algorithm.base import unfilled
from slmx.algorithm.policy import PolicyAlgorithm
from slmx.lazy import torch
from slmx.member.hyper import Hyper, Int, NamedHyper, PerMember, Stacked
from slmx.memory.batch import Batch
from slmx.memory.prioritized import PrioritizedReplay
from slmx.memory.returns import Returns
from slmx.ops import flat

if TYPE_CHECKING:
    from slmx.env.base import Step

EPSILON = 1e-6  # added to errors, so that all can be drawn, as the authors' code does


class ImitatingHyper(NamedHyper):
    """What every algorithm has that can imitate itself."""

    sil_iter: Int | None = Field(None, ge=1, description="updates by self-imitation after each rollout; null: none")
    sil_policy_loss_coef: PerMember = Field(1.0, ge=0, description="weight of self-imitation's policy loss")
    sil_val_loss_coef: PerMember = Field(0.01, ge=0, description="weight of self-imitation's value loss")
    sil_max_size: Int = Field(100_000, ge=1, description="steps that it remembers per environment")
    sil_batch_size: Int = Field(64, ge=1, description="steps per update by self-imitation and environment")
    sil_alpha: PerMember = Field(0.6, ge=0, le=1, description="how much better steps are drawn more often; 0: not")
    sil_beta: PerMember = Field(0.1, ge=0, le=1, description="how far importance weights correct for it")

    def idle(self) -> dict[str, str]:
        return {} if self.sil_iter is not None else {key: "sil_iter is null" for key in KEYS if key != "sil_iter"}

    def conflicts(self) -> dict[str, str]:
        if self.sil_batch_size > self.sil_max_size:
            return {"sil_batch_size": f"{self.sil_batch_size} is more than sil_max_size {self.sil_max_size}"}
        return {}


KEYS = [key for key in ImitatingHyper.model_fields if key.startswith("sil_")]


class ImitatingAlgorithm(PolicyAlgorithm):
    """An algorithm that learns from rollouts, and between them from what its own episodes came to."""

    copied = (*PolicyAlgorithm.copied, "returns", "came")

    @classmethod
    def misfits(cls, hyper: Any, bodies: Sequence[int]) -> dict[str, str]:
        frames = hyper.time_horizon * max(bodies, default=0)
        if hyper.sil_iter is not None and frames > hyper.sil_max_size:
            return {"sil_max_size": f"{hyper.sil_max_size} is less than the {frames} frames of a rollout"}
        return {}

    @classmethod
    def misfits_of_sequences(cls, hyper: Any, bodies: Sequence[int]) -> dict[str, str]:
        return {} if hyper.sil_iter is None else {"sil_iter": "a recurrent network does not imitate itself"}

    @classmethod
    def unlearned(
        cls, hyper: Any, memory: type[Any] | None, bodies: Sequence[int], steps: Sequence[int]
    ) -> dict[str, str]:
        if "algorithm.time_horizon" in cls.idle(hyper, memory, bodies):
            return {}
        return unfilled(hyper.time_horizon, bodies, steps)

    def build_imitation(self) -> None:
        """Make `returns`, a memory for each port; none where there is no self-imitation."""
        self.returns_hp = Stacked(_replays(self.setting.algorithm_hypers), self.setting.dtype, self.setting.device)
        self.returns = [
            Returns(self.returns_hp, self.setting.streams(f"imitate {port}"))
            for port in range(len(self.ports) if self.hp.sil_iter is not None else 0)
        ]
        # of each step of the rollout under way, observation and reward as they came
        self.came: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in self.returns]

    def retune(self, algorithm: Sequence[NamedHyper], memory: Sequence[NamedHyper], net: Sequence[Hyper]) -> None:
        super().retune(algorithm, memory, net)
        self.returns_hp.restack(_replays(algorithm))

    def as_kept(self, port: int, obs: torch.Tensor, step: Step) -> tuple[torch.Tensor, Step]:
        if self.returns:
            self.came[port].append((obs, self.normalizers[port].clip(step.reward)))
        return super().as_kept(port, obs, step)

    def imitate(self, batches: list[Batch]) -> None:
        """Remember a rollout per port; then learn from the episodes that have ended."""
        if not self.returns:
            return
        with torch.no_grad():
            for batch in batches:
                truncated, next_value = batch.done & ~batch.terminated, torch.zeros_like(batch.reward)
                if truncated.any():
                    next_value = self.net.value(batch.port, flat(batch.next_obs)).view_as(batch.reward)
                    next_value = self.normalizers[batch.port].multiply(next_value)
                obs, reward = (torch.stack(own, 1) for own in zip(*self.came[batch.port], strict=True))
                self.came[batch.port].clear()
                came = replace(batch, obs=obs, reward=reward)
                self.returns[batch.port].add_rollout(came, next_value, self.hp.gamma)
        ports = [port for port, returns in enumerate(self.returns) if returns.ring is not None]
        ready = torch.stack([self.returns[port].ready for port in ports]).any(0)
        rows = None if ready.all() else ready.nonzero().flatten()
        for _ in range(self.hp.sil_iter):  # even if nobody is ready: what a member draws does not depend on others
            losses = [self.imitation_loss(port) for port in ports]
            loss = sum(losses[1:], losses[0])
            if ready.any():
                loss = loss if rows is None else loss[rows]
                self.optim.step(loss, rows)
                self.updates += 1
                self.log(rows, sil_loss=loss)

    def imitation_loss(self, port: int) -> torch.Tensor:
        """The loss `[M]` of a batch of a port; 0 of a member that has finished no episode there."""
        hp, returns, normalizer = self.hp, self.returns[port], self.normalizers[port]
        experience = returns.experience()
        policy, value = self.net.both(port, normalizer.observe(experience.obs))
        better = (normalizer.divide(experience.achieved) - value).clamp(min=0)
        returns.learned(experience.index, better.detach())
        policy_loss, value_loss = ops.imitation_losses(policy.log_prob(experience.action), better)
        loss = hp.sil_policy_loss_coef * policy_loss + hp.sil_val_loss_coef * value_loss
        return ops.weighted_mean(loss, experience.weight)


def _replays(hypers: Sequence[Any]) -> list[PrioritizedReplay.Hyper]:
    """The members' settings of a memory of returns."""
    keys = ("max_size", "batch_size", "alpha", "beta")
    own = [{key: getattr(hyper, f"sil_{key}") for key in keys} for hyper in hypers]
    return [PrioritizedReplay.Hyper.model_validate(each | {"epsilon": EPSILON}) for each in own]
