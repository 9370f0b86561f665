"""Deep Q-learning (Mnih et al., 2015, Nature 518), with the options that grew around it.

Double Q-learning: van Hasselt et al., 2015, arXiv:1509.06461. Dueling: the network's key. Prioritised replay: the
memory's name. n-step returns: Sutton and Barto, section 7.1, as in Hessel et al., 2017, arXiv:1710.02298. Recurrent:
Hausknecht and Stone, 2015, arXiv:1507.06527, with stored states, burn-in and rescaled values as in R2D2: Kapturowski et
al., 2019, "Recurrent experience replay in distributed reinforcement learning".
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from slmx import ops
from slmx.algorithm.base import Algorithm
from slmx.algorithm.exploration import EXPLORATIONS, ExploringHyper
from slmx.lazy import torch
from slmx.member.hyper import Int, PerMember
from slmx.member.optim import bind, flatten
from slmx.net.sequence import States, Unroll
from slmx.ops import flat

if TYPE_CHECKING:
    from slmx.env.base import Step


class DQN(Algorithm):
    """Off-policy Q-learning from replay, bootstrapped with a slowly following target network."""

    memories = ("Replay", "PrioritizedReplay", "SequenceReplay", "PrioritizedSequenceReplay")
    recurrent = memories[2:]
    actions = ("discrete",)
    net_keys = frozenset({"dueling"})
    copied = (*Algorithm.copied, "target", "target_flat", "recent")

    class Hyper(ExploringHyper):
        """Deep Q-learning."""

        double: bool = Field(
            False, description="the online network chooses the next action, the target network values it"
        )
        num_step_returns: Int = Field(1, ge=1, description="rewards between an observation and its bootstrap")
        loss: Literal["huber", "squared"] = Field("huber", description="of the temporal-difference error")
        value_rescale: bool = Field(
            False, description="learn the values' roots, so that large ones do as well as small"
        )
        update_type: Literal["replace", "polyak", "none"] = Field(
            "replace", description="how the target network follows"
        )
        update_frequency: Int = Field(500, ge=1, description="frames between replacements of the target network")
        polyak_coef: PerMember = Field(
            0.005, gt=0, le=1, description="share of the online network taken over per update"
        )
        training_start_step: Int = Field(1000, ge=0, description="frames before the first update")
        training_frequency: Int = Field(4, ge=1, description="frames per training")
        training_iter: Int = Field(1, ge=1, description="updates per training")

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
        heads = [{"q": (port.action_size, 1.0)} for port in self.ports]
        inputs = [port.obs_shape for port in self.ports]
        self.net = self.setting.net.build(self.net_hp, self.setting.streams("net"), inputs, heads)
        self.optim = self.optimize(self.net)
        self.target = copy.deepcopy(self.net).requires_grad_(False)
        self.target_flat = flatten(self.target.parameters())
        self.memory = [
            self.setting.memory(self.memory_hp, self.setting.streams(f"memory {port}"))
            for port in range(len(self.ports))
        ]
        self.recent: list[list[tuple[torch.Tensor, ...]]] = [[] for _ in self.ports]
        self.trained = self.replaced = 0

    def follow(self, index: Sequence[int]) -> None:
        super().follow(index)
        bind(self.target.parameters(), self.target_flat)

    def networks(self) -> dict[str, torch.nn.Module]:
        return {"net": self.net}

    def explore(self, port: int, obs: torch.Tensor) -> torch.Tensor:
        self.hp.at(self.frame)
        return EXPLORATIONS[self.hp.action_policy](self.net(port, "q", obs), self.hp.explore_var, self.exploring)

    def exploit(self, port: int, obs: torch.Tensor) -> torch.Tensor:
        return self.net(port, "q", obs).argmax(-1)

    def remember(self, port: int, obs: torch.Tensor, action: torch.Tensor, step: Step) -> None:
        if self.carry is not None:
            row = (obs, action, step.reward, step.next_obs, step.terminated, step.done)
            self.memory[port].add(*row, self.carry.state[port])
            return
        if self.hp.num_step_returns == 1:
            bootstrap = self.hp.gamma * ~step.terminated
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
        if self.hp.update_type == "replace" and self.frame // self.hp.update_frequency > self.replaced:
            self.replaced = self.frame // self.hp.update_frequency
            self.target_flat.copy_(self.optim.flat)

    def learn(self) -> None:
        """One gradient step on a batch of every port."""
        losses = [self.loss(port) for port in range(len(self.ports))]
        loss = sum(losses[1:], losses[0])
        self.optim.step(loss)
        self.updates += 1
        if self.hp.update_type == "polyak":
            self.target_flat.lerp_(self.optim.flat, self.hp.polyak_coef)
        elif self.hp.update_type == "none":
            self.target_flat.copy_(self.optim.flat)
        self.log(loss=loss, grad_norm=self.optim.grad_norm)

    def loss(self, port: int) -> torch.Tensor:
        """The loss `[M]` of a batch of one port."""
        if self.carry is not None:
            return self.loss_of_sequences(port)
        batch = self.memory[port].sample()
        with torch.no_grad():
            next_q = self.target(port, "q", batch.next_obs)
            if self.hp.double:
                next_value = ops.pick(next_q, self.net(port, "q", batch.next_obs).argmax(-1))
            else:
                next_value = next_q.amax(-1)
            if self.hp.value_rescale:
                next_value = ops.rescale_back(next_value)
            target = batch.reward + batch.bootstrap * next_value
            if self.hp.value_rescale:
                target = ops.rescale(target)
        q = ops.pick(self.net(port, "q", batch.obs), batch.action)
        loss = (ops.huber if self.hp.loss == "huber" else ops.squared_error)(q, target)
        self.memory[port].learned(batch.index, q.detach() - target)
        return (loss if batch.weight is None else batch.weight * loss).mean(1)

    def loss_of_sequences(self, port: int) -> torch.Tensor:
        """The loss `[M]` of a batch of sequences of one port, each network with the states that it comes to itself."""
        batch, burn_in = self.memory[port].sample(), self.memory_hp.burn_in
        whole = Unroll(batch.obs, batch.state, batch.done)
        learned = (batch.action, batch.reward, batch.next_obs, batch.terminated, batch.done)
        action, reward, next_obs, terminated, done = (field[:, burn_in:] for field in learned)
        with torch.no_grad():
            own, targets = (whole.skip(burn_in, network, port) for network in (self.net, self.target))
        states = self.net.features(port, own)
        q = ops.pick(self.net(port, "q", States(states)), flat(action)).view(reward.shape)
        with torch.no_grad():
            following = flat(next_obs).unsqueeze(1)
            next_q = self.target(port, "q", Unroll(following, self.target.features(port, targets)))
            chooser = self.net(port, "q", Unroll(following, states)) if self.hp.double else next_q
            next_value = ops.pick(next_q, chooser.argmax(-1)).view(reward.shape)
            if self.hp.value_rescale:
                next_value = ops.rescale_back(next_value)
            n = self.hp.num_step_returns
            target = ops.n_step_return(reward, next_value, terminated, done, self.hp.gamma, n)
            if self.hp.value_rescale:
                target = ops.rescale(target)
        loss = (ops.huber if self.hp.loss == "huber" else ops.squared_error)(q, target).mean(1)
        self.memory[port].learned(batch.index, (q.detach() - target).transpose(1, 2))
        return (loss if batch.weight is None else batch.weight * loss).mean(1)

    def settings(self) -> dict[str, torch.Tensor]:
        return super().settings() | {"explore": self.hp.explore_var}
