"""What a recurrent network looks at in place of observations, and what its agent carries from step to step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from slmx.lazy import torch
from slmx.member.axis import Membered
from slmx.ops import flat, take

if TYPE_CHECKING:
    from slmx.env.base import Step
    from slmx.net.port import Port


@dataclass(frozen=True)
class Unroll:
    """Observations `[M, T, B, ...]` in the order of time, to be gone through from a state `[M, B, S]` on.

    `done` `[M, T, B]`: where an episode ends, after which the state begins anew at 0 (None: nowhere).
    """

    obs: torch.Tensor
    state: torch.Tensor
    done: torch.Tensor | None = None

    def split(self, size: int) -> tuple[Unroll, Unroll]:
        """The same with the first `size` numbers of the state, and with the others."""
        return replace(self, state=self.state[..., :size]), replace(self, state=self.state[..., size:])

    def skip(self, steps: int, net: Any, port: int) -> Unroll:
        """What is left after so many steps, from the states to which a network comes there."""
        if not steps:
            return self
        first = None if self.done is None else self.done[:, :steps]
        state = net.features(port, Unroll(self.obs[:, :steps], self.state, first))[:, -self.obs.shape[2] :]
        if first is None or self.done is None:
            return Unroll(self.obs[:, steps:], state)
        return Unroll(self.obs[:, steps:], state.masked_fill(first[:, -1].unsqueeze(-1), 0), self.done[:, steps:])

    def take(self, bodies: torch.Tensor) -> Unroll:
        """The sequences of each member's own `bodies` `[M, K]`."""
        shape, steps = (self.obs.shape[1], bodies.shape[1]), self.steps(bodies)
        done = None if self.done is None else take(flat(self.done), steps).unflatten(1, shape)
        return Unroll(take(flat(self.obs), steps).unflatten(1, shape), take(self.state, bodies), done)

    def steps(self, bodies: torch.Tensor) -> torch.Tensor:
        """Where the steps of those sequences are among all T * B, `[M, T * K]`, in the order of their features."""
        time, count = self.obs.shape[1:3]
        first = count * torch.arange(time, device=bodies.device)
        return (first[:, None] + bodies.unsqueeze(1)).flatten(1)


@dataclass(frozen=True)
class States:
    """States `[M, N, S]` that a recurrent network has come to: its heads look at them, so it need not run again."""

    state: torch.Tensor

    @property
    def shape(self) -> torch.Size:
        return self.state.shape

    def split(self, size: int) -> tuple[States, States]:
        """The first `size` numbers of the states, and the others."""
        return States(self.state[..., :size]), States(self.state[..., size:])


class Carry(Membered):
    """What a recurrent agent carries from step to step in each of its ports, for however many bodies it has there.

    `state[port]` `[M, B, S]`: of its network, before the step to come. `last[port]` `[M, B, A + 1]`: action (one-hot
    where discrete) and reward of the step before, beside the observation where `told`. Both are 0 where an episode
    begins, and None until the port is met.
    """

    copied = ("state", "last", "_after")

    def __init__(self, size: int, ports: Sequence[Port], told: bool, dtype: torch.dtype):
        self.size, self.ports, self.told, self.dtype = size, list(ports), told, dtype
        self.begin()

    def begin(self) -> None:
        """Episodes begin in every port."""
        self.state: list[Any] = [None] * len(self.ports)
        self.last: list[Any] = [None] * len(self.ports)
        self._after: list[Any] = [None] * len(self.ports)

    def think(self, net: Any, port: int, obs: torch.Tensor) -> States:
        """The states to which observations `[M, B, ...]` lead."""
        if self.state[port] is None:
            like = {"dtype": self.dtype, "device": obs.device}
            self.state[port] = torch.zeros(*obs.shape[:2], self.size, **like)
            self.last[port] = torch.zeros(*obs.shape[:2], self.ports[port].action_size + 1, **like)
        after = net.features(port, Unroll(self._beside(obs, self.last[port]).unsqueeze(1), self.state[port]))
        self._after[port] = after
        return States(after)

    def lived(
        self, port: int, obs: torch.Tensor, action: torch.Tensor, step: Step, reward: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, Step]:
        """A step as the agent sees it: with the last action and reward, as it is told, beside both its observations."""
        next_obs = self._beside(step.next_obs, self._told(port, action, reward))
        return self._beside(obs, self.last[port]), action, replace(step, next_obs=next_obs)

    def advance(self, port: int, action: torch.Tensor, reward: torch.Tensor, done: torch.Tensor) -> None:
        """Go on after a step; anew where an episode ended."""
        ended = done.unsqueeze(-1)
        self.state[port] = self._after[port].masked_fill(ended, 0)
        self.last[port] = self._told(port, action, reward).masked_fill(ended, 0)
        self._after[port] = None

    def _told(self, port: int, action: torch.Tensor, reward: torch.Tensor) -> torch.Tensor:
        """Action and reward as numbers `[M, B, A + 1]`."""
        numbers = self.ports[port].as_vector(action, self.dtype)
        return torch.cat([numbers, reward.unsqueeze(-1).to(self.dtype)], -1)

    def _beside(self, obs: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        return torch.cat([obs.flatten(2), last], -1) if self.told else obs
