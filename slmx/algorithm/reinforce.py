"""REINFORCE (Williams, 1992, Machine Learning 8), with or without a learned baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from slmx import ops
from slmx.algorithm.policy import PolicyAlgorithm
from slmx.lazy import torch
from slmx.member.hyper import NamedHyper, PerMember, Scheduled
from slmx.memory.batch import Batch
from slmx.ops import flat


class REINFORCE(PolicyAlgorithm):
    """One gradient step on whole episodes, each action weighted with the rewards that came after it.

    An episode that was cut off (truncated) counts with the rewards seen: there is no bootstrap here.
    """

    memories = ("Episodes",)
    recurrent = memories

    class Hyper(NamedHyper):
        """Monte-Carlo policy gradient."""

        gamma: PerMember = Field(0.99, ge=0, le=1, description="discount factor")
        baseline: bool = Field(False, description="subtract a learned value of the state from the return")
        val_loss_coef: PerMember = Field(0.5, ge=0, description="weight of the baseline's loss")
        entropy_coef: Scheduled = Field(0.01, ge=0, description="weight of the entropy bonus")
        normalize_return: bool = Field(True, description="standardise what actions are weighted with in each batch")

        def idle(self) -> dict[str, str]:
            return {} if self.baseline else {"val_loss_coef": "baseline is false"}

    @classmethod
    def idle(cls, hyper: Any, memory: type[Any] | None, bodies: Sequence[int]) -> dict[str, str]:
        return {} if hyper.baseline else {"net.shared": "baseline is false: there is no critic"}

    def build(self) -> None:
        self.build_networks(critic=self.hp.baseline)
        self.memory = self.setting.memory(self.memory_hp.episodes, self.members, len(self.ports))

    def improve(self) -> None:
        if ready := self.memory.ready():
            self.schedule()
            self.learn(self.memory.take(ready), torch.tensor(ready, device=self.setting.device))

    def learn(self, batches: list[Batch], rows: torch.Tensor) -> None:
        """Learn from the finished episodes of the members `rows`."""
        losses = [self.loss(batch, rows) for batch in batches]
        self.optim.step(sum(losses[1:], losses[0]), rows)
        self.updates += 1
        self.log(rows, grad_norm=self.optim.grad_norm[rows])

    def loss(self, batch: Batch, rows: torch.Tensor) -> torch.Tensor:
        """The loss `[len(rows)]` of one batch."""
        hp, mask = self.hp, None if batch.mask is None else flat(batch.mask)
        returns = flat(ops.reward_to_go(batch.reward, batch.done, hp.gamma[rows]))
        weight, value_loss = returns, None
        if hp.baseline:
            policy, value = self.net.both(batch.port, self.seen(batch), rows)
            weight = returns - value.detach()
            value_loss = ops.mean(ops.squared_error(value, returns), mask)
        else:
            policy = self.net.policy(batch.port, self.seen(batch), rows)
        if hp.normalize_return:
            weight = ops.standardize(weight, mask)
        logp, entropy = policy.log_prob_entropy(flat(batch.action))
        policy_loss = ops.mean(-logp * weight, mask)
        entropy = ops.mean(entropy, mask)
        loss = policy_loss - hp.entropy_coef[rows, 0] * entropy
        if value_loss is not None:
            loss = loss + hp.val_loss_coef[rows, 0] * value_loss
            self.log(rows, batch.known, value_loss=value_loss)
        self.log(rows, batch.known, loss=loss, policy_loss=policy_loss, entropy=entropy)
        return loss

    def settings(self) -> dict[str, torch.Tensor]:
        return super().settings() | {"entropy_coef": self.hp.entropy_coef}
