"""Uniformly random actions: the baseline from which strength is measured."""

from __future__ import annotations

from slmx.algorithm.base import Algorithm
from slmx.lazy import torch
from slmx.member.hyper import NamedHyper


class Random(Algorithm):
    """Learns nothing."""

    learns = False

    class Hyper(NamedHyper):
        """Uniformly random actions."""

    def build(self) -> None:
        """There is nothing to build."""

    def explore(self, port: int, obs: torch.Tensor) -> torch.Tensor:
        return self._act(port, obs)

    def exploit(self, port: int, obs: torch.Tensor) -> torch.Tensor:
        return self._act(port, obs)

    def _act(self, port: int, obs: torch.Tensor) -> torch.Tensor:
        at = self.ports[port]
        if at.discrete:
            return self.exploring.integers(at.action_size, obs.shape[1])
        return 2 * self.exploring.uniform(obs.shape[1], at.action_size) - 1
