"""Advantage actor-critic, synchronous (Mnih et al., 2016, arXiv:1602.01783); with self-imitation it is SIL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from slmx import ops
from slmx.algorithm.self_imitation import KEYS, ImitatingAlgorithm, ImitatingHyper
from slmx.lazy import torch
from slmx.member.hyper import Int, MaybePerMember, PerMember, Scheduled
from slmx.memory.batch import Batch
from slmx.memory.episodes import Episodes
from slmx.ops import flat


class A2C(ImitatingAlgorithm):
    """One gradient step on each rollout, or on each batch of whole episodes."""

    memories = ("Rollout", "Episodes")
    recurrent = memories

    class Hyper(ImitatingHyper):
        """Advantage actor-critic with generalised advantages or n-step returns."""

        gamma: PerMember = Field(0.99, ge=0, le=1, description="discount factor")
        lam: MaybePerMember = Field(
            0.95, ge=0, le=1, description="decay of the advantages' trace; null: n-step returns"
        )
        num_step_returns: Int | None = Field(None, ge=1, description="rewards per return where lam is null; null: all")
        entropy_coef: Scheduled = Field(0.01, ge=0, description="weight of the entropy bonus")
        val_loss_coef: PerMember = Field(0.5, ge=0, description="weight of the value loss")
        normalize_advantage: bool = Field(False, description="standardise advantages in each batch")
        time_horizon: Int = Field(32, ge=1, description="steps of each body per update, with memory Rollout")

        def idle(self) -> dict[str, str]:
            return super().idle() | ({} if self.lam is None else {"num_step_returns": "lam is not null"})

    @classmethod
    def idle(cls, hyper: Any, memory: type[Any] | None, bodies: Sequence[int]) -> dict[str, str]:
        if memory is not None and issubclass(memory, Episodes):
            return {f"algorithm.{key}": "the memory holds whole episodes" for key in ("time_horizon", *KEYS)}
        if hyper.num_step_returns is not None and hyper.num_step_returns >= hyper.time_horizon:
            return {"algorithm.num_step_returns": f"no return has more than the {hyper.time_horizon} of time_horizon"}
        return {}

    def build(self) -> None:
        self.build_networks()
        if issubclass(self.setting.memory, Episodes):
            self.memory = self.setting.memory(self.memory_hp.episodes, self.members, len(self.ports))
        else:
            self.memory = self.setting.memory(self.hp.time_horizon, len(self.ports))
        self.build_imitation()

    def improve(self) -> None:
        if isinstance(self.memory, Episodes):
            if ready := self.memory.ready():
                self.schedule()
                self.learn(self.memory.take(ready), torch.tensor(ready, device=self.setting.device))
        elif self.memory.full:
            self.schedule()
            batches = self.memory.take()
            self.learn(batches)
            self.imitate(batches)

    def learn(self, batches: list[Batch], rows: torch.Tensor | None = None) -> None:
        """Learn from one batch per port; only the members `rows` where given."""
        losses = [self.loss(batch, rows) for batch in batches]
        self.optim.step(sum(losses[1:], losses[0]), rows)
        self.updates += 1
        self.log(rows, grad_norm=self.optim.grad_norm if rows is None else self.optim.grad_norm[rows])

    def loss(self, batch: Batch, rows: torch.Tensor | None) -> torch.Tensor:
        """The loss `[M]`, or `[len(rows)]`, of one batch."""
        hp, shape = self.hp, batch.reward.shape
        own = slice(None) if rows is None else rows
        gamma, mask = hp.gamma[own], None if batch.mask is None else flat(batch.mask)
        policy, value, next_value = self.predict(batch, rows)
        old_value, next_value = value.detach(), next_value.view(shape)
        with torch.no_grad():
            ends = batch.terminated, batch.done
            if hp.lam is None:
                n = hp.num_step_returns or shape[1]
                target = flat(ops.n_step_return(batch.reward, next_value, *ends, gamma, n))
                advantage = target - old_value
            else:
                lam = hp.lam[own]
                advantage = flat(ops.gae(batch.reward, old_value.view(shape), next_value, *ends, gamma, lam))
                target = advantage + old_value
            if hp.normalize_advantage:
                advantage = ops.standardize(advantage, mask)
        logp, entropy = policy.log_prob_entropy(flat(batch.action))
        policy_loss = ops.mean(-logp * advantage, mask)
        value_loss = ops.mean(ops.squared_error(value, target), mask)
        entropy = ops.mean(entropy, mask)
        loss = policy_loss + hp.val_loss_coef[own, 0] * value_loss - hp.entropy_coef[own, 0] * entropy
        self.log(rows, batch.known, loss=loss, policy_loss=policy_loss, value_loss=value_loss, entropy=entropy)
        return loss

    def settings(self) -> dict[str, torch.Tensor]:
        return super().settings() | {"entropy_coef": self.hp.entropy_coef}
