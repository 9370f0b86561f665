"""What algorithms share that learn from transitions lived long ago, by whatever policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from slmx import ops
from slmx.algorithm.base import Algorithm
from slmx.lazy import torch
from slmx.member.hyper import Int, NamedHyper

if TYPE_CHECKING:
    from slmx.env.base import Step


class ReplayHyper(NamedHyper):
    """When such an algorithm learns, and how far its transitions reach."""

    num_step_returns: Int = Field(1, ge=1, description="rewards between an observation and its bootstrap")
    training_start_step: Int = Field(1000, ge=0, description="frames before the first update")
    training_frequency: Int = Field(4, ge=1, description="frames per training")
    training_iter: Int = Field(1, ge=1, description="updates per training")


class ReplayAlgorithm(Algorithm):
    """A memory of transitions for each port; `learn` is one update, made as often as its keys say."""

    memories = ("Replay", "PrioritizedReplay")
    copied = (*Algorithm.copied, "recent")

    @classmethod
    def unlearned(
        cls, hyper: Any, memory: type[Any] | None, bodies: Sequence[int], steps: Sequence[int]
    ) -> dict[str, str]:
        frames = sum(own * count for own, count in zip(bodies, steps, strict=True))
        return {
            key: f"{value} is more than the {frames} frames that there are"
            for key in ("training_start_step", "training_frequency")
            if (value := getattr(hyper, key)) > frames > 0
        }

    def build_memory(self) -> None:
        """Make `memory`."""
        self.memory = [
            self.setting.memory(self.memory_hp, self.setting.streams(f"memory {port}"))
            for port in range(len(self.ports))
        ]
        self.recent: list[list[tuple[torch.Tensor, ...]]] = [[] for _ in self.ports]
        self.trained = 0

    def as_kept(self, port: int, obs: torch.Tensor, step: Step) -> tuple[torch.Tensor, Step]:
        """As they came; `batch` normalises them. Rewards are clipped one by one, before they are added up."""
        return obs, replace(step, reward=self.normalizers[port].clip(step.reward))

    def batch(self, port: int) -> Any:
        """A batch of a port's memory, normalised as observations and rewards are now."""
        batch, normalizer = self.memory[port].sample(), self.normalizers[port]
        if normalizer.active:
            batch.obs, batch.next_obs = (self._observe(port, obs) for obs in (batch.obs, batch.next_obs))
            batch.reward = normalizer.divide(batch.reward)
        return batch

    def batches(self) -> list[Any]:
        """A batch of every port's memory."""
        return [self.batch(port) for port in range(len(self.ports))]

    def _observe(self, port: int, obs: torch.Tensor) -> torch.Tensor:
        """Kept observations normalised; not what the agent was told beside them, which it was told normalised."""
        shape, normalizer = self.setting.ports[port].obs_shape, self.normalizers[port]
        if self.ports[port].obs_shape == shape:
            return normalizer.observe(obs)
        size = self.setting.ports[port].obs_size
        seen = normalizer.observe(obs[..., :size].unflatten(-1, shape)).flatten(-len(shape))
        return torch.cat([seen, obs[..., size:]], -1)

    def remember(self, port: int, obs: torch.Tensor, action: torch.Tensor, step: Step) -> None:
        if self.hp.num_step_returns == 1:
            bootstrap = self.hp.gamma.masked_fill(step.terminated, 0.0)
            self.memory[port].add(obs, action, step.reward, step.next_obs, bootstrap)
            return
        recent = self.recent[port]
        recent.append((obs, action, step.reward, step.next_obs, step.terminated, step.done))
        if len(recent) == self.hp.num_step_returns:
            reward, next_obs, terminated, done = (torch.stack([row[i] for row in recent], 1) for i in range(2, 6))
            reward, next_obs, terminated, discount = ops.n_step_transition(
                reward, next_obs, terminated, done, self.hp.gamma
            )
            first_obs, first_action = recent.pop(0)[:2]
            self.memory[port].add(first_obs, first_action, reward, next_obs, discount * ~terminated)

    def improve(self) -> None:
        due = self.frame // self.hp.training_frequency
        ready = self.frame >= self.hp.training_start_step and all(memory.size for memory in self.memory)
        if ready and due > self.trained:
            self.schedule()
            for _ in range((due - self.trained) * self.hp.training_iter):
                self.learn()
        self.trained = due

    def learn(self) -> None:
        """One update from a batch of every port."""
        raise NotImplementedError
