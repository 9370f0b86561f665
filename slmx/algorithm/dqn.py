"""Deep Q-learning (Mnih et al., 2015, Nature 518), with the options that grew around it.

Double Q-learning: van Hasselt et al., 2015, arXiv:1509.06461. Dueling and noisy networks: the network's keys.
Prioritised replay: the memory's name. n-step returns: Sutton and Barto, section 7.1. Distributions of returns over
atoms: categorical DQN, C51 (Bellemare et al., 2017, arXiv:1707.06887). All together: Rainbow (Hessel et al., 2017,
arXiv:1710.02298). Recurrent: Hausknecht and Stone, 2015, arXiv:1507.06527, with stored states, burn-in and rescaled
values as in R2D2: Kapturowski et al., 2019, "Recurrent experience replay in distributed reinforcement learning".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from slmx import ops
from slmx.algorithm.action_values import ActionValueAlgorithm
from slmx.algorithm.exploration import ExploringHyper
from slmx.algorithm.replay import ReplayAlgorithm, ReplayHyper
from slmx.lazy import torch
from slmx.member.hyper import Int, PerMember
from slmx.net.sequence import States, Unroll
from slmx.ops import flat

if TYPE_CHECKING:
    from slmx.env.base import Step


class DQN(ActionValueAlgorithm, ReplayAlgorithm):
    """Off-policy Q-learning from replay, bootstrapped with a slowly following target network."""

    memories = (
        "Replay", "PrioritizedReplay", "FrameReplay", "PrioritizedFrameReplay",
        "SequenceReplay", "PrioritizedSequenceReplay",
    )  # fmt: skip
    recurrent = memories[4:]
    copied = (*ReplayAlgorithm.copied, "target")

    class Hyper(ReplayHyper, ExploringHyper):
        """Deep Q-learning."""

        double: bool = Field(
            False, description="the online network chooses the next action, the target network values it"
        )
        atoms: Int | None = Field(
            None,
            ge=2,
            description="learn how returns are distributed, over so many of them (C51: 51); null: their mean",
        )
        v_min: PerMember = Field(-10.0, description="the least return that has an atom")
        v_max: PerMember = Field(10.0, description="the greatest return that has an atom")
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

        def idle(self) -> dict[str, str]:
            unused = super().idle()
            if self.atoms is None:
                unused |= dict.fromkeys(("v_min", "v_max"), "atoms is null")
            else:
                unused["loss"] = "atoms is not null: it is the divergence of distributions"
                unused["value_rescale"] = "atoms is not null: they have their places"
            if self.update_type != "replace":
                unused["update_frequency"] = f'update_type is "{self.update_type}"'
            if self.update_type != "polyak":
                unused["polyak_coef"] = f'update_type is "{self.update_type}"'
            if self.update_type == "none":
                unused["double"] = 'update_type is "none": both networks are one'
            return unused

        def conflicts(self) -> dict[str, str]:
            if self.atoms is not None and self.v_min >= self.v_max:
                return super().conflicts() | {"v_min": f"{self.v_min} is not below v_max {self.v_max}"}
            return super().conflicts()

    @classmethod
    def misfits_of_sequences(cls, hyper: Any, bodies: Sequence[int]) -> dict[str, str]:
        return {} if hyper.atoms is None else {"atoms": "a recurrent network learns no distributions of returns"}

    def build(self) -> None:
        from slmx.net.target import Target

        self.build_network(self.hp.atoms)
        self.target = Target(self.net)
        self.build_memory()
        self.replaced = 0

    def values(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs if self.hp.atoms is None else ops.expectation(self.by_atom(outputs), self.support)

    def by_atom(self, outputs: torch.Tensor) -> torch.Tensor:
        """The logits `[M, N, A, K]` of the distributions over atoms."""
        return outputs.unflatten(-1, (-1, self.hp.atoms))

    @property
    def support(self) -> torch.Tensor:
        """The returns `[M, K]` of the atoms."""
        return ops.support(self.hp.v_min, self.hp.v_max, self.hp.atoms)

    def remember(self, port: int, obs: torch.Tensor, action: torch.Tensor, step: Step) -> None:
        if self.carry is None:
            super().remember(port, obs, action, step)
        else:
            row = (obs, action, step.reward, step.next_obs, step.terminated, step.done)
            self.memory[port].add(*row, self.carry.state[port])

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
        if self.carry is not None:
            return self.loss_of_sequences(port)
        batch = self.batch(port)
        outputs = self.outputs(self.net, port, batch.obs, self.learning)
        with torch.no_grad():
            following = self.outputs(self.target.network, port, batch.next_obs, self.learning)
            chooser = self.outputs(self.net, port, batch.next_obs, self.learning) if self.hp.double else following
        if self.hp.atoms is None:
            next_value = ops.pick(following, chooser.argmax(-1)) if self.hp.double else following.amax(-1)
            target = self.learned(batch.reward + batch.bootstrap * self.meant(next_value))
            q = ops.pick(outputs, batch.action)
            loss, error = self.distance(q, target), q.detach() - target
        else:
            best = self.values(chooser).argmax(-1)
            probability = ops.pick(self.by_atom(following), best).softmax(-1)
            target = ops.project(probability, batch.reward, batch.bootstrap, self.support)
            loss = ops.kl_divergence(target, ops.pick(self.by_atom(outputs), batch.action))
            error = loss.detach()  # transitions come by their loss, as in Rainbow
        self.memory[port].learned(batch.index, error)
        return ops.weighted_mean(loss, batch.weight)

    def distance(self, q: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """How wrong each value is."""
        return (ops.huber if self.hp.loss == "huber" else ops.squared_error)(q, target)

    def meant(self, outputs: torch.Tensor) -> torch.Tensor:
        """The values that outputs stand for."""
        return ops.rescale_back(outputs) if self.hp.value_rescale else outputs

    def learned(self, values: torch.Tensor) -> torch.Tensor:
        """What outputs are to be for such values."""
        return ops.rescale(values) if self.hp.value_rescale else values

    def loss_of_sequences(self, port: int) -> torch.Tensor:
        """The loss `[M]` of a batch of sequences of one port, each network with the states that it comes to itself."""
        batch, burn_in = self.batch(port), self.memory_hp.burn_in
        target_net = self.target.network
        whole = Unroll(batch.obs, batch.state, batch.done)
        learned = (batch.action, batch.reward, batch.next_obs, batch.terminated, batch.done)
        action, reward, next_obs, terminated, done = (field[:, burn_in:] for field in learned)
        with torch.no_grad():
            own, targets = (whole.skip(burn_in, network, port) for network in (self.net, target_net))
        states = self.net.features(port, own)
        q = ops.pick(self.net(port, "q", States(states)), flat(action)).view(reward.shape)
        with torch.no_grad():
            following = flat(next_obs).unsqueeze(1)
            next_q = target_net(port, "q", Unroll(following, target_net.features(port, targets)))
            chooser = self.net(port, "q", Unroll(following, states)) if self.hp.double else next_q
            next_value = self.meant(ops.pick(next_q, chooser.argmax(-1)).view(reward.shape))
            n = self.hp.num_step_returns
            target = self.learned(ops.n_step_return(reward, next_value, terminated, done, self.hp.gamma, n))
        self.memory[port].learned(batch.index, (q.detach() - target).transpose(1, 2))
        return ops.weighted_mean(self.distance(q, target).mean(1), batch.weight)
