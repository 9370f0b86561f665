"""Deep Q-learning (Mnih et al., 2015, Nature 518), with the options that grew around it.

Double Q-learning: van Hasselt et al., 2015, arXiv:1509.06461. Dueling: the network's key. Prioritised replay: the
memory's name. n-step returns: Sutton and Barto, section 7.1, as in Hessel et al., 2017, arXiv:1710.02298.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from slmx import ops
from slmx.algorithm.exploration import EXPLORATIONS, ExploringHyper
from slmx.algorithm.replay import ReplayAlgorithm, ReplayHyper
from slmx.lazy import torch
from slmx.member.hyper import Int, PerMember


class DQN(ReplayAlgorithm):
    """Off-policy Q-learning from replay, bootstrapped with a slowly following target network."""

    actions = ("discrete",)
    net_keys = frozenset({"dueling"})
    copied = (*ReplayAlgorithm.copied, "target")

    class Hyper(ReplayHyper, ExploringHyper):
        """Deep Q-learning."""

        double: bool = Field(
            False, description="the online network chooses the next action, the target network values it"
        )
        loss: Literal["huber", "squared"] = Field("huber", description="of the temporal-difference error")
        update_type: Literal["replace", "polyak", "none"] = Field(
            "replace", description="how the target network follows"
        )
        update_frequency: Int = Field(500, ge=1, description="frames between replacements of the target network")
        polyak_coef: PerMember = Field(
            0.005, gt=0, le=1, description="share of the online network taken over per update"
        )

        def idle(self) -> dict[str, str]:
            unused = {}
            if self.update_type != "replace":
                unused["update_frequency"] = f'update_type is "{self.update_type}"'
            if self.update_type != "polyak":
                unused["polyak_coef"] = f'update_type is "{self.update_type}"'
            if self.update_type == "none":
                unused["double"] = 'update_type is "none": both networks are one'
            return unused

    def build(self) -> None:
        from slmx.net.target import Target

        heads = [{"q": (port.action_size, 1.0)} for port in self.ports]
        inputs = [port.obs_shape for port in self.ports]
        self.net = self.setting.net.build(self.net_hp, self.setting.streams("net"), inputs, heads)
        self.optim = self.optimize(self.net)
        self.target = Target(self.net)
        self.build_memory()
        self.replaced = 0

    def networks(self) -> dict[str, torch.nn.Module]:
        return {"net": self.net}

    def explore(self, port: int, obs: torch.Tensor) -> torch.Tensor:
        self.hp.at(self.frame)
        return EXPLORATIONS[self.hp.action_policy](self.net(port, "q", obs), self.hp.explore_var, self.exploring)

    def exploit(self, port: int, obs: torch.Tensor) -> torch.Tensor:
        return self.net(port, "q", obs).argmax(-1)

    def improve(self) -> None:
        super().improve()
        if self.hp.update_type == "replace" and self.frame // self.hp.update_frequency > self.replaced:
            self.replaced = self.frame // self.hp.update_frequency
            self.target.replace(self.optim.flat)

    def learn(self) -> None:
        """One gradient step on a batch of every port."""
        losses = [self.loss(port) for port in range(len(self.ports))]
        loss = sum(losses[1:], losses[0])
        self.optim.step(loss)
        self.updates += 1
        if self.hp.update_type == "polyak":
            self.target.approach(self.optim.flat, self.hp.polyak_coef)
        elif self.hp.update_type == "none":
            self.target.replace(self.optim.flat)
        self.log(loss=loss, grad_norm=self.optim.grad_norm)

    def loss(self, port: int) -> torch.Tensor:
        """The loss `[M]` of a batch of one port."""
        batch = self.memory[port].sample()
        with torch.no_grad():
            next_q = self.target.network(port, "q", batch.next_obs)
            if self.hp.double:
                next_value = ops.pick(next_q, self.net(port, "q", batch.next_obs).argmax(-1))
            else:
                next_value = next_q.amax(-1)
            target = batch.reward + batch.bootstrap * next_value
        q = ops.pick(self.net(port, "q", batch.obs), batch.action)
        loss = (ops.huber if self.hp.loss == "huber" else ops.squared_error)(q, target)
        self.memory[port].learned(batch.index, q.detach() - target)
        return (loss if batch.weight is None else batch.weight * loss).mean(1)

    def settings(self) -> dict[str, torch.Tensor]:
        return super().settings() | {"explore": self.hp.explore_var}
