"""SARSA: on-policy learning of Q-values (Rummery and Niranjan, 1994; Sutton and Barto, section 6.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from slmx import ops
from slmx.algorithm.action_values import ActionValueAlgorithm
from slmx.algorithm.base import unfilled
from slmx.algorithm.exploration import EXPLORATIONS, ExploringHyper
from slmx.lazy import torch
from slmx.member.hyper import Int
from slmx.memory.batch import Batch
from slmx.ops import flat

if TYPE_CHECKING:
    from slmx.env.base import Step


class SARSA(ActionValueAlgorithm):
    """Learns the value of the policy that it follows, from the action that it takes next."""

    memories = ("Rollout",)

    class Hyper(ExploringHyper):
        """On-policy Q-learning with a neural network."""

        time_horizon: Int = Field(32, ge=1, description="steps of each body per update")

    @classmethod
    def unlearned(
        cls, hyper: Any, memory: type[Any] | None, bodies: Sequence[int], steps: Sequence[int]
    ) -> dict[str, str]:
        return unfilled(hyper.time_horizon + 1, bodies, steps)

    def build(self) -> None:
        self.build_network()
        # one step more than it learns from: the last step's action is the next action of the one before
        self.memory = self.setting.memory(self.hp.time_horizon + 1, len(self.ports))

    def remember(self, port: int, obs: torch.Tensor, action: torch.Tensor, step: Step) -> None:
        self.memory.add(port, obs, action, step)

    def improve(self) -> None:
        if self.memory.full:
            self.schedule()
            self.learn(self.memory.take(keep=1))

    def learn(self, batches: list[Batch]) -> None:
        """One gradient step on the steps of every port."""
        losses = [self.loss(batch) for batch in batches]
        loss = sum(losses[1:], losses[0])
        self.optim.step(loss)
        self.updates += 1
        self.log(loss=loss, grad_norm=self.optim.grad_norm)

    def loss(self, batch: Batch) -> torch.Tensor:
        """The loss `[M]` of T + 1 steps, of which the last serves for its action alone."""
        with torch.no_grad():
            next_q = self.outputs(self.net, batch.port, flat(batch.next_obs[:, :-1]), self.learning)
            # after an episode's end the step that follows belongs to another episode: there the policy is asked anew
            explore = EXPLORATIONS[self.hp.action_policy]
            fresh = explore(lambda: next_q, self.hp.explore_var, self.learning, *next_q.shape[1:])
            next_action = torch.where(flat(batch.done[:, :-1]), fresh, flat(batch.action[:, 1:]))
            bootstrap = self.hp.gamma * ~flat(batch.terminated[:, :-1])
            target = flat(batch.reward[:, :-1]) + bootstrap * ops.pick(next_q, next_action)
        q = self.outputs(self.net, batch.port, flat(batch.obs[:, :-1]), self.learning)
        return ops.squared_error(ops.pick(q, flat(batch.action[:, :-1])), target).mean(1)
