"""Proximal policy optimisation (Schulman et al., 2017, arXiv:1707.06347), with or without self-imitation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from slmx import ops
from slmx.algorithm.self_imitation import ImitatingAlgorithm, ImitatingHyper
from slmx.errors import counted
from slmx.lazy import torch
from slmx.member.hyper import Int, PerMember, Scheduled
from slmx.memory.batch import Batch
from slmx.net.sequence import Unroll
from slmx.ops import flat, take


class PPO(ImitatingAlgorithm):
    """Several epochs of minibatches on each rollout, the policy kept near the one that collected it."""

    memories = ("Rollout",)
    recurrent = memories

    class Hyper(ImitatingHyper):
        """Proximal policy optimisation with the clipped surrogate."""

        gamma: PerMember = Field(0.99, ge=0, le=1, description="discount factor")
        lam: PerMember = Field(0.95, ge=0, le=1, description="decay of the advantage estimator's trace")
        clip_eps: Scheduled = Field(0.2, gt=0, description="how far the policy's ratio may move")
        clip_vloss: bool = Field(False, description="keep new values within clip_eps of the old in the value loss")
        entropy_coef: Scheduled = Field(0.01, ge=0, description="weight of the entropy bonus")
        val_loss_coef: PerMember = Field(0.5, ge=0, description="weight of the value loss")
        normalize_advantage: bool = Field(True, description="standardise advantages in each minibatch")
        time_horizon: Int = Field(128, ge=1, description="steps of each body per update")
        minibatch_size: Int = Field(256, ge=2, description="frames per gradient step, over all bodies of a member")
        training_epoch: Int = Field(4, ge=1, description="passes over each rollout")

    @classmethod
    def idle(cls, hyper: Any, memory: type[Any] | None, bodies: Sequence[int]) -> dict[str, str]:
        if hyper.training_epoch == 1 and hyper.minibatch_size == hyper.time_horizon * sum(bodies):
            reason = "each rollout is one minibatch, learned from once: nothing has moved that could be clipped"
            return {"algorithm.clip_eps": reason, "algorithm.clip_vloss": reason}
        return {}

    @classmethod
    def misfits(cls, hyper: Any, bodies: Sequence[int]) -> dict[str, str]:
        wrong, frames = super().misfits(hyper, bodies), hyper.time_horizon * sum(bodies)
        if frames % hyper.minibatch_size:
            rollout = f"time_horizon {hyper.time_horizon} x {sum(bodies)} bodies"
            wrong["minibatch_size"] = (
                f"{hyper.minibatch_size} does not divide the {frames} frames of a rollout ({rollout})"
            )
        minibatches, fewest = frames // hyper.minibatch_size, hyper.time_horizon * min(bodies, default=frames)
        if minibatches > fewest:
            wrong["minibatch_size"] = (
                f"{hyper.minibatch_size} makes {minibatches} minibatches, each with frames of every environment: "
                f"one has {counted(fewest, 'frame')}"
            )
        return wrong

    @classmethod
    def misfits_of_sequences(cls, hyper: Any, bodies: Sequence[int]) -> dict[str, str]:
        size, horizon = hyper.minibatch_size, hyper.time_horizon
        if size % horizon:
            wrong = f"{size} is no multiple of time_horizon {horizon}: a recurrent network learns from whole sequences"
            return {"minibatch_size": wrong}
        minibatches, fewest = horizon * sum(bodies) // size, counted(min(bodies), "sequence")
        if minibatches > min(bodies):
            wrong = (
                f"{size} makes {minibatches} minibatches, each with sequences of every environment: one has {fewest}"
            )
            return {"minibatch_size": wrong}
        return super().misfits_of_sequences(hyper, bodies)

    def build(self) -> None:
        self.build_networks()
        self.memory = self.setting.memory(self.hp.time_horizon, len(self.ports))
        self.build_imitation()

    def improve(self) -> None:
        if self.memory.full:
            self.schedule()
            batches = self.memory.take()
            self.learn(batches)
            self.imitate(batches)

    def learn(self, batches: list[Batch]) -> None:
        """Learn from one rollout per port."""
        with torch.no_grad():
            samples = [(batch.port, self.assess(batch)) for batch in batches]
        frames, bodies = zip(*((batch.reward[0].numel(), batch.reward.shape[2]) for batch in batches), strict=True)
        minibatches = max(1, sum(frames) // self.hp.minibatch_size)  # fewer where an environment has ended
        for _ in range(self.hp.training_epoch):
            # of a recurrent network whole sequences are drawn
            orders = [self.learning.permutation(n) for n in (frames if self.carry is None else bodies)]
            for parts in zip(*(o.tensor_split(minibatches, 1) for o in orders), strict=True):
                losses = [self.loss(port, minibatch(x, i)) for (port, x), i in zip(samples, parts, strict=True)]
                self.optim.step(sum(losses[1:], losses[0]))
                self.updates += 1
        self.log(grad_norm=self.optim.grad_norm)

    def assess(self, batch: Batch) -> dict[str, Any]:
        """Old log-probabilities and values, advantages and value targets, `[M, T * B]`, with what they belong to."""
        hp, shape, action = self.hp, batch.reward.shape, flat(batch.action)
        policy, old_value, next_value = self.predict(batch)
        ends = batch.terminated, batch.done
        advantage = flat(ops.gae(batch.reward, old_value.view(shape), next_value.view(shape), *ends, hp.gamma, hp.lam))
        return {
            "obs": self.seen(batch),
            "action": action,
            "old_logp": policy.log_prob(action),
            "old_value": old_value,
            "advantage": advantage,
            "target": advantage + old_value,
        }

    def loss(self, port: int, mb: dict[str, Any]) -> torch.Tensor:
        """The loss `[M]` of one minibatch, each of its entries `[M, N, ...]`."""
        hp = self.hp
        policy, value = self.net.both(port, mb["obs"])
        logp, entropy = policy.log_prob_entropy(mb["action"])
        advantage = ops.standardize(mb["advantage"]) if hp.normalize_advantage else mb["advantage"]
        policy_loss = ops.clipped_surrogate(logp - mb["old_logp"], advantage, hp.clip_eps).mean(1)
        if hp.clip_vloss:
            value_loss = ops.clipped_squared_error(value, mb["old_value"], mb["target"], hp.clip_eps).mean(1)
        else:
            value_loss = ops.squared_error(value, mb["target"]).mean(1)
        entropy = entropy.mean(1)
        loss = policy_loss + hp.val_loss_coef[:, 0] * value_loss - hp.entropy_coef[:, 0] * entropy
        self.log(loss=loss, policy_loss=policy_loss, value_loss=value_loss, entropy=entropy)
        return loss

    def settings(self) -> dict[str, torch.Tensor]:
        return super().settings() | {"clip_eps": self.hp.clip_eps, "entropy_coef": self.hp.entropy_coef}


def minibatch(x: dict[str, Any], i: torch.Tensor) -> dict[str, Any]:
    """The samples `i` `[M, K]` of a rollout; where these are sequences, all steps of the sequences `i`."""
    obs = x["obs"]
    if not isinstance(obs, Unroll):
        return {key: take(value, i) for key, value in x.items()}
    steps = obs.steps(i)
    return {key: obs.take(i) if value is obs else take(value, steps) for key, value in x.items()}
