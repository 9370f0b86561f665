"""A policy and a value function over the ports of an agent. (This module imports torch at once; name it late.)"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from slmx.dist import Categorical, Categoricals, Gaussian, Policy
from slmx.member.hyper import Stacked
from slmx.member.streams import Streams
from slmx.net.port import Port
from slmx.net.sequence import States, Unroll

LOG_STD = "log_std"
Seen = Tensor | Unroll | States  # observations, or what stands for them where networks are recurrent


class ActorCritic(nn.Module):
    """Actor and critic, with a shared body or each its own; `critic=False` leaves the critic out.

    Discrete ports get categorical policies, one for each component of an action; continuous ones Gaussians whose
    standard deviations are parameters of their own, one per action dimension, from exp(0). The policy's last layer
    starts small, so that the first policy is near uniform (Andrychowicz et al., 2020, arXiv:2006.05990). Where the
    networks are recurrent, observations may be an Unroll, or States, which hold the numbers of the actor first, then
    those of a critic of its own.
    """

    def __init__(self, net: Any, hp: Stacked, streams: Streams, ports: Sequence[Port], critic: bool = True):
        super().__init__()
        self.ports, self.shared = list(ports), critic and hp.shared
        inputs = [port.obs_shape for port in ports]
        policy = [{"policy": (port.action_size, 0.01)} for port in ports]
        value = [{"value": (1, 1.0)} for _ in ports]
        if self.shared:
            self.actor = net.build(hp, streams, inputs, [p | v for p, v in zip(policy, value, strict=True)])
            self.critic = None
        else:
            self.actor = net.build(hp, streams, inputs, policy)
            self.critic = net.build(hp, streams, inputs, value) if critic else None
        self.state_size = sum(getattr(own, "state_size", 0) for own in (self.actor, self.critic))
        for i, port in enumerate(ports):
            if not port.discrete:
                zeros = torch.zeros(streams.members, 1, port.action_size, dtype=streams.dtype, device=streams.device)
                self.register_parameter(f"{LOG_STD}_{i}", nn.Parameter(zeros))

    def policy(self, port: int, obs: Seen, rows: Tensor | None = None) -> Policy:
        """The distribution over actions for observations `[M, N, ...]`."""
        return self._distribution(port, self.actor(port, "policy", self._split(obs)[0], rows), rows)

    def value(self, port: int, obs: Seen, rows: Tensor | None = None) -> Tensor:
        """The values `[M, N]` of observations `[M, N, ...]`."""
        return (self.critic or self.actor)(port, "value", self._split(obs)[1], rows).squeeze(-1)

    def features(self, port: int, obs: Unroll, rows: Tensor | None = None) -> Tensor:
        """The states `[M, T * B, S]` after each step of a sequence, where the networks are recurrent."""
        if self.critic is None:
            return self.actor.features(port, obs, rows)
        own, critics = obs.split(self.actor.state_size)
        return torch.cat([self.actor.features(port, own, rows), self.critic.features(port, critics, rows)], -1)

    def both(self, port: int, obs: Seen, rows: Tensor | None = None) -> tuple[Policy, Tensor]:
        """Policy and values; a shared body is evaluated once."""
        if not self.shared:
            return self.policy(port, obs, rows), self.value(port, obs, rows)
        features = self.actor.features(port, obs, rows)
        policy = self._distribution(port, self.actor.head(port, "policy", features, rows), rows)
        return policy, self.actor.head(port, "value", features, rows).squeeze(-1)

    def sample(self, port: int, obs: Tensor | States, streams: Streams) -> Tensor:
        """An action for each observation, from the members' own streams."""
        policy = self.policy(port, obs)
        noise = streams.uniform if self.ports[port].discrete else streams.normal
        return policy.sample(noise(*self.ports[port].action_shape(obs.shape[1])))

    def _split(self, obs: Seen) -> tuple[Seen, Seen]:
        """What of it the actor looks at, and what the critic."""
        if self.critic is None or isinstance(obs, Tensor):
            return obs, obs
        return obs.split(self.actor.state_size)

    def _distribution(self, port: int, output: Tensor, rows: Tensor | None) -> Policy:
        at = self.ports[port]
        if at.choices:
            return Categoricals(output, at.choices)
        if at.discrete:
            return Categorical(output)
        log_std = getattr(self, f"{LOG_STD}_{port}")
        return Gaussian(output, log_std if rows is None else log_std[rows])
