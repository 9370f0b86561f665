"""What algorithms share that learn the values of actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmx.algorithm.base import Algorithm
from slmx.algorithm.exploration import EXPLORATIONS
from slmx.lazy import torch

if TYPE_CHECKING:
    from slmx.member.streams import Streams
    from slmx.net.layer import Network


class ActionValueAlgorithm(Algorithm):
    """A network of Q-values, one optimiser, and actions that explore by what the network says.

    Noisy layers have new noise at every step and every update; without exploration they have none.
    """

    actions = ("discrete",)
    net_keys = frozenset({"dueling", "noisy"})

    def build_network(self, atoms: int | None = None) -> None:
        """Make `net` and `optim`; the network has an output for each action, or `atoms` of them."""
        heads = [{"q": (port.action_size if atoms is None else (port.action_size, atoms), 1.0)} for port in self.ports]
        inputs = [port.obs_shape for port in self.ports]
        self.net = self.setting.net.build(self.net_hp, self.setting.streams("net"), inputs, heads)
        self.noisy = getattr(self.net_hp, "noisy", False)
        self.optim = self.optimize(self.net)

    def networks(self) -> dict[str, torch.nn.Module]:
        return {"net": self.net}

    def outputs(self, network: Network, port: int, obs: torch.Tensor, noise: Streams | None = None) -> torch.Tensor:
        """A network's outputs for observations `[M, N, ...]`; of noisy layers with new noise, or without any."""
        if self.noisy and noise is not None:
            with network.noise(noise):
                return network.forward(port, "q", obs)
        return network.forward(port, "q", obs)

    def values(self, outputs: torch.Tensor) -> torch.Tensor:
        """The Q-values `[M, N, A]` that the network's outputs mean."""
        return outputs

    def explore(self, port: int, obs: torch.Tensor) -> torch.Tensor:
        self.hp.at(self.frame)
        choose, n, choices = EXPLORATIONS[self.hp.action_policy], obs.shape[1], self.ports[port].action_size

        def q() -> torch.Tensor:
            return self.values(self.outputs(self.net, port, obs, self.exploring))

        if self.noisy:  # noise is drawn whether all explore or not: else a member's would depend on its company
            known = q()
            return choose(lambda: known, self.hp.explore_var, self.exploring, n, choices)
        return choose(q, self.hp.explore_var, self.exploring, n, choices)

    def exploit(self, port: int, obs: torch.Tensor) -> torch.Tensor:
        return self.values(self.outputs(self.net, port, obs)).argmax(-1)

    def settings(self) -> dict[str, torch.Tensor]:
        explores = {} if self.hp.action_policy == "greedy" else {"explore": self.hp.explore_var}
        return super().settings() | explores
